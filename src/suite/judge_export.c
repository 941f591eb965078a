/* Pairs of answers as items whose order and names say nothing of whose they are, and the key to them. */
#include "suite/judge.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "base/try.h"

#include <stdio.h>
#include <stdlib.h>

/* tools/embed */
extern const char qa_judge_html[];

/* A pair with one of its answers in front. */
typedef struct judged_item {
    const qa_answer_pair *pair;
    size_t first; /* which answer */
    char id[QA_JUDGE_ID_BYTES];
} judged_item;

typedef struct judge_sheet {
    judged_item *items; /* [n] */
    size_t n;
    const qa_answer_pairs *pairs;
    const qa_judge_export_options *options;
} judge_sheet;

/* ---- items ---- */

static void cut_digest(qa_sha256 *sha, char id[QA_JUDGE_ID_BYTES]) {
    unsigned char digest[QA_SHA256_BYTES];
    char hex[QA_SHA256_HEX_BYTES];
    qa_sha256_end(sha, digest);
    qa_sha256_to_hex(digest, hex);
    memcpy(id, hex, QA_JUDGE_ID_BYTES - 1);
    id[QA_JUDGE_ID_BYTES - 1] = '\0';
}

void qa_judge_fingerprint(const json_t *answer, char fingerprint[QA_JUDGE_ID_BYTES]) {
    qa_sha256 sha = qa_sha256_begin();
    qa_sha256_add(&sha, json_string_value(answer), json_string_length(answer));
    cut_digest(&sha, fingerprint);
}

/* The same every time for the same files and seed; of the whole pair, and of its place among the pairs. */
static void name_item(judged_item *item, const judge_sheet *sheet) {
    qa_sha256 sha = qa_sha256_begin();
    char numbers[80];
    const int bytes = snprintf(numbers, sizeof numbers, "%llu %zu %zu", (unsigned long long)sheet->options->seed,
                               (size_t)(item->pair - sheet->pairs->items), item->first);
    qa_sha256_add(&sha, numbers, (size_t)bytes);
    for (size_t side = 0; side < 2; side++) {
        char fingerprint[QA_JUDGE_ID_BYTES];
        qa_judge_fingerprint(item->pair->answers[side], fingerprint);
        qa_sha256_add(&sha, fingerprint, sizeof fingerprint);
    }
    cut_digest(&sha, item->id);
}

/* Whichever position chance gives a pair comes in the first half, the other in the second, each half shuffled: both of
 * a pair are far apart, and whoever stops halfway has seen every pair. */
static qa_status lay_out(judge_sheet *sheet, qa_error *err) {
    qa_rng rng = qa_rng_seed(sheet->options->seed, 1);
    const size_t most = sheet->pairs->n;
    size_t *order = NULL, shown = 0;
    qa_status status = QA_OK;
    QA_GOTO(done, QA_NEW(order, most, err, "%zu pairs", most));
    QA_GOTO(done, QA_NEW(sheet->items, 2 * most, err, "%zu items", 2 * most));
    for (size_t i = 0; i < most; i++) {
        const qa_answer_pair *pair = &sheet->pairs->items[i];
        if (!json_equal(pair->answers[0], pair->answers[1])) {
            order[shown++] = 2 * i + (size_t)qa_rng_below(&rng, 2);
        }
    }
    for (size_t half = 0; half < (sheet->options->once ? 1u : 2u); half++) {
        qa_rng_shuffle(&rng, order, shown);
        for (size_t i = 0; i < shown; i++) {
            judged_item *item = &sheet->items[sheet->n++];
            *item = (judged_item){.pair = &sheet->pairs->items[order[i] / 2], .first = (order[i] + half) % 2};
            name_item(item, sheet);
        }
    }
done:
    free(order);
    return status;
}

/* ---- as JSON Lines ---- */

static void put_json_value(qa_json_writer *out, const char *key, const json_t *value) {
    char *text = json_dumps(value, JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    if (text == NULL && out->status == QA_OK) {
        out->status = QA_NO_MEMORY(out->err, "an item");
    }
    qa_json_put_raw(out, key, text == NULL ? "null" : text);
    free(text);
}

static void put_item(qa_json_writer *out, const judged_item *item) {
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_put_string(out, "id", item->id);
    put_json_value(out, json_is_array(item->pair->prompt) ? "messages" : "prompt", item->pair->prompt);
    put_json_value(out, "first", item->pair->answers[item->first]);
    put_json_value(out, "second", item->pair->answers[1 - item->first]);
    qa_json_put_raw(out, "verdict", "null");
    qa_json_close(out);
    qa_json_end_line(out);
}

/* ---- the key ---- */

static void put_key_pair(qa_json_writer *out, const judge_sheet *sheet, size_t i, const judged_item *const *shown) {
    const qa_answer_pair *pair = &sheet->pairs->items[i];
    char fingerprint[QA_JUDGE_ID_BYTES];
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_put_size(out, "prompt", pair->prompt_index);
    for (size_t first = 0; first < 2; first++) {
        const judged_item *item = shown[2 * i + first];
        qa_json_put_string(out, first == 0 ? "a_first" : "b_first", item == NULL ? NULL : item->id);
    }
    for (size_t side = 0; side < 2; side++) {
        qa_judge_fingerprint(pair->answers[side], fingerprint);
        qa_json_put_string(out, side == 0 ? "a" : "b", fingerprint);
    }
    qa_json_close(out);
}

static void put_key_file(qa_json_writer *out, const judge_sheet *sheet, const judged_item *const *shown) {
    qa_json_open_object(out, NULL, QA_JSON_BLOCK);
    qa_json_put_string(out, "format", "qadapter judge key");
    qa_json_put_size(out, "version", 1);
    qa_json_put_string(out, "a", sheet->options->names[0]);
    qa_json_put_string(out, "b", sheet->options->names[1]);
    qa_json_put_size(out, "prompts", sheet->pairs->prompts);
    qa_json_open_array(out, "pairs", QA_JSON_BLOCK);
    for (size_t i = 0; i < sheet->pairs->n; i++) {
        put_key_pair(out, sheet, i, shown);
    }
    qa_json_close(out);
    qa_json_close(out);
    qa_json_end_line(out);
}

static qa_status write_key(qa_json_writer *out, const judge_sheet *sheet, qa_error *err) {
    const judged_item **shown = NULL; /* [2 x pairs] */
    QA_TRY(QA_NEW(shown, 2 * sheet->pairs->n, err, "%zu pairs", sheet->pairs->n));
    for (size_t i = 0; i < sheet->n; i++) {
        const judged_item *item = &sheet->items[i];
        shown[2 * (size_t)(item->pair - sheet->pairs->items) + item->first] = item;
    }
    put_key_file(out, sheet, shown);
    free(shown);
    return out->status;
}

/* ---- the page ---- */

static qa_status put_html(qa_text *page, const json_t *value, qa_error *err) {
    const char *text = json_string_value(value);
    for (size_t i = 0, n = json_string_length(value); i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '<' || c == '>' || c == '&') {
            QA_TRY(qa_text_append_z(page, c == '<' ? "&lt;" : c == '>' ? "&gt;" : "&amp;", err));
        } else if (c >= ' ' || c == '\n' || c == '\t') {
            QA_TRY(qa_text_append(page, &text[i], 1, err));
        }
    }
    return QA_OK;
}

static qa_status put_tagged(qa_text *page, const char *before, const json_t *value, const char *after, qa_error *err) {
    QA_TRY(qa_text_append_z(page, before, err));
    QA_TRY(put_html(page, value, err));
    return qa_text_append_z(page, after, err);
}

static qa_status put_asked(qa_text *page, const json_t *prompt, qa_error *err) {
    QA_TRY(qa_text_append_z(page, "<div class=\"prompt\">\n", err));
    if (json_is_string(prompt)) {
        QA_TRY(put_tagged(page, "<pre>", prompt, "</pre>\n", err));
    }
    for (size_t i = 0; i < json_array_size(prompt); i++) { /* 0 of a string */
        const json_t *message = json_array_get(prompt, i);
        QA_TRY(put_tagged(page, "<b>", json_object_get(message, "role"), "</b>\n", err));
        QA_TRY(put_tagged(page, "<pre>", json_object_get(message, "content"), "</pre>\n", err));
    }
    return qa_text_append_z(page, "</div>\n<div class=\"answers\">\n", err);
}

static qa_status put_section(qa_text *page, const judged_item *item, qa_error *err) {
    static const char *const verdicts[] = {"first", "tie", "second"};
    QA_TRY(qa_text_append_z(page, "<section data-id=\"", err));
    QA_TRY(qa_text_append_z(page, item->id, err));
    QA_TRY(qa_text_append_z(page, "\">\n", err));
    QA_TRY(put_asked(page, item->pair->prompt, err));
    QA_TRY(put_tagged(page, "<div><h3>First</h3><pre>", item->pair->answers[item->first], "</pre></div>\n", err));
    QA_TRY(put_tagged(page, "<div><h3>Second</h3><pre>", item->pair->answers[1 - item->first], "</pre></div>\n", err));
    QA_TRY(qa_text_append_z(page, "</div>\n", err));
    for (size_t i = 0; i < 3; i++) {
        const char *const parts[] = {"<label><input type=\"radio\" name=\"",
                                     item->id,
                                     "\" value=\"",
                                     verdicts[i],
                                     "\"> ",
                                     verdicts[i],
                                     "</label>\n"};
        for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
            QA_TRY(qa_text_append_z(page, parts[part], err));
        }
    }
    return qa_text_append_z(page, "</section>\n", err);
}

static qa_status write_page(qa_text *page, const judge_sheet *sheet, qa_error *err) {
    static const char mark[] = "@ITEMS@";
    const char *at = strstr(qa_judge_html, mark);
    QA_FAIL_IF(at == NULL, err, QA_ERR_FORMAT, "judge.html has no %s", mark);
    QA_TRY(qa_text_append(page, qa_judge_html, (size_t)(at - qa_judge_html), err));
    for (size_t i = 0; i < sheet->n; i++) {
        QA_TRY(put_section(page, &sheet->items[i], err));
    }
    return qa_text_append_z(page, at + sizeof mark - 1, err);
}

/* ---- all ---- */

qa_status qa_judge_export(qa_judge_exported *made, const qa_answer_pairs *pairs, const qa_judge_export_options *options,
                          qa_error *err) {
    judge_sheet sheet = {.pairs = pairs, .options = options};
    qa_json_writer items = {0}, key = {0};
    qa_status status = QA_OK;
    qa_json_restart(&items, err);
    qa_json_restart(&key, err);
    QA_GOTO(done, lay_out(&sheet, err));
    if (sheet.n == 0) {
        status = qa_fail(err, QA_ERR_MISMATCH,
                         "%s and %s have the same answers to all of %zu prompts: there is "
                         "nothing to judge",
                         options->names[0], options->names[1], pairs->prompts);
        goto done;
    }
    for (size_t i = 0; i < sheet.n; i++) {
        put_item(&items, &sheet.items[i]);
    }
    QA_GOTO(done, items.status);
    QA_GOTO(done, write_key(&key, &sheet, err));
    QA_GOTO(done, write_page(&made->page, &sheet, err));
    made->n = sheet.n;
    made->identical = pairs->n - sheet.n / (options->once ? 1 : 2);
done:
    made->items = items.text; /* also after a failure, for qa_judge_export_free */
    made->key = key.text;
    free(sheet.items);
    return status;
}

void qa_judge_export_free(qa_judge_exported *made) {
    qa_text_free(&made->items);
    qa_text_free(&made->page);
    qa_text_free(&made->key);
    *made = (qa_judge_exported){0};
}
