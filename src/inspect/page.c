/* See page.h. The page is page.html around a block of JSON; the script and the style are let run by their digests. */
#include "inspect/page.h"

#include "base/base64.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "base/try.h"
#include "inspect/rows.h"
#include "io/file.h"
#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

#if defined(QA_F64)
#define PAGE_PRECISION "f64"
#else
#define PAGE_PRECISION "f32"
#endif

/* tools/embed */
extern const char qa_page_html[];
extern const size_t qa_page_html_size;

/* ---- the HTML around the data ---- */

/* Appends what comes before the mark, and moves behind it. */
static qa_status copy_until(qa_text *html, const char **at, const char *mark, qa_error *err) {
    const char *end = strstr(*at, mark);
    QA_FAIL_IF(end == NULL, err, QA_ERR_FORMAT, "page.html has no %s where it is looked for", mark);
    QA_TRY(qa_text_append(html, *at, (size_t)(end - *at), err));
    *at = end + strlen(mark);
    return QA_OK;
}

/* Appends the digest of what stands between two tags, as a content security policy writes it. */
static qa_status put_digest(qa_text *html, const char *open, const char *close, qa_error *err) {
    const char *begin = strstr(qa_page_html, open), *end = begin == NULL ? NULL : strstr(begin, close);
    QA_FAIL_IF(end == NULL, err, QA_ERR_FORMAT, "page.html has no %s", open);
    begin += strlen(open);
    qa_sha256 sha = qa_sha256_begin();
    unsigned char digest[QA_SHA256_BYTES];
    qa_sha256_add(&sha, begin, (size_t)(end - begin));
    qa_sha256_end(&sha, digest);
    return qa_base64_append(html, digest, sizeof digest, err);
}

/* Appends everything before the data; connect: whom the page may ask. *rest is what comes behind the data. */
static qa_status put_page_head(qa_text *html, const char *connect, const char **rest, qa_error *err) {
    const char *at = qa_page_html;
    QA_TRY(copy_until(html, &at, "@SCRIPT@", err));
    QA_TRY(put_digest(html, "<script>", "</script>", err));
    QA_TRY(copy_until(html, &at, "@STYLE@", err));
    QA_TRY(put_digest(html, "<style>", "</style>", err));
    QA_TRY(copy_until(html, &at, "@CONNECT@", err));
    QA_TRY(qa_text_append_z(html, connect, err));
    QA_TRY(copy_until(html, &at, "@DATA@", err));
    *rest = at;
    return QA_OK;
}

/* Appends JSON (of qa_json_writer: all ASCII), in which '<' is the one sign that HTML could take for its own; it stands
 * in strings alone. */
static qa_status put_data(qa_text *html, const qa_text *json, qa_error *err) {
    const char *at = json->data, *end = json->data + json->n;
    while (at < end) {
        const char *mark = memchr(at, '<', (size_t)(end - at));
        QA_TRY(qa_text_append(html, at, (size_t)((mark == NULL ? end : mark) - at), err));
        if (mark != NULL) {
            QA_TRY(qa_text_append_z(html, "\\u003c", err));
        }
        at = mark == NULL ? end : mark + 1;
    }
    return QA_OK;
}

static void put_page_objective(qa_json_writer *out, const char *key, const qa_objective *objective) {
    qa_json_open_object(out, key, QA_JSON_LINE);
    qa_json_put_string(out, "method", qa_method_name(objective->method));
    qa_json_put_string(out, "kind", qa_objective_kind_name(objective->kind));
    qa_json_put_string(out, "q_parametrisation", qa_q_parametrisation_name(objective->q_parametrisation));
    qa_json_put_number(out, "alpha_0", objective->alpha_0);
    qa_json_put_number(out, "alpha_tilde", objective->alpha_tilde);
    qa_json_put_number(out, "gamma", objective->gamma);
    qa_json_put_number(out, "beta", objective->beta);
    qa_json_put_bool(out, "length_normalisation", objective->length_normalisation);
    qa_json_put_number(out, "dpo_beta", objective->dpo_beta);
    qa_json_put_number(out, "ipo_tau", objective->ipo_tau);
    qa_json_put_bool(out, "ipo_mean", objective->ipo_length == QA_IPO_MEAN);
    qa_json_put_number(out, "sppo_beta", objective->sppo_beta);
    qa_json_put_number(out, "label_noise", objective->label_noise);
    qa_json_put_number(out, "kto_beta", objective->kto_beta);
    qa_json_put_number(out, "desirable_weight", objective->desirable_weight);
    qa_json_put_number(out, "undesirable_weight", objective->undesirable_weight);
    qa_json_close(out);
}

static void put_page_text(qa_json_writer *out, const char *key, const qa_tokenizer *tokenizer, int32_t id) {
    qa_text text = {0};
    if (out->status == QA_OK) {
        out->status = qa_token_text(tokenizer, id, &text, out->err);
    }
    qa_json_put_text(out, key, text.data == NULL ? "" : text.data, text.n);
    qa_text_free(&text);
}

/* "pieces": what each token of an answer adds to its text, whole characters only: "" where the next one goes on with
 * it. */
static qa_status put_pieces(qa_json_writer *out, const qa_tokenizer *tokenizer, const int32_t *before, size_t n_before,
                            const qa_inspection *found, qa_error *err) {
    qa_decode_stream *stream = NULL;
    qa_text piece = {0};
    qa_status status = QA_OK;
    QA_TRY(qa_decode_stream_create(&stream, tokenizer, false, before, n_before, err));
    qa_json_open_array(out, "pieces", QA_JSON_LINE);
    for (size_t t = 0; t < found->n; t++) {
        piece.n = 0;
        QA_GOTO(done, qa_decode_stream_push(stream, found->rows[t].id, &piece, err));
        if (t + 1 == found->n) {
            QA_GOTO(done, qa_decode_stream_finish(stream, &piece, err));
        }
        qa_json_put_text(out, NULL, piece.data == NULL ? "" : piece.data, piece.n);
    }
    qa_json_close(out);
done:
    qa_decode_stream_free(stream);
    qa_text_free(&piece);
    return status;
}

/* ---- pairs in a file ---- */

struct qa_page {
    qa_page_about about;
    qa_objective objective;
    qa_atomic_file *file;
    qa_inspector *inspector;
    bool holds_whole; /* the inspector keeps whole rows */
    size_t whole, whole_bytes, V;
    bool *used; /* [V] ids that the file names */
    const char *rest;
    qa_json_writer json; /* the data, a piece at a time */
    qa_text html;        /* the same piece, as it goes into the file */
};

/* Writes what was added to the data. */
static qa_status write_piece(qa_page *page, qa_error *err) {
    QA_TRY(page->json.status);
    page->html.n = 0;
    QA_TRY(put_data(&page->html, &page->json.text, err));
    page->json.text.n = 0;
    return qa_atomic_write(page->file, page->html.data, page->html.n, err);
}

/* Whole rows of one answer, bytes. */
static size_t whole_row_bytes(const qa_page *page) { return 2 * page->V * sizeof(qa_real); }

/* An inspector that keeps whole rows, of answers that the file would have room for; or one that does not. */
static qa_status make_inspector(qa_page *page, bool whole, qa_error *err) {
    const qa_page_about *about = &page->about;
    const size_t most = QA_PAGE_WHOLE_BYTES / 2 / whole_row_bytes(page);
    qa_inspection_limits limits = {about->max_prompt, about->max_response, QA_PAGE_BEST, whole};
    qa_inspector_free(page->inspector);
    page->inspector = NULL;
    page->holds_whole = whole;
    if (whole && limits.max_response > most) {
        limits.max_response = most;
    }
    return qa_inspector_create(&page->inspector, about->model, about->adapter, &page->objective, limits, err);
}

/* {"page": "pairs", ..., "pairs": [ */
static void put_beginning(qa_page *page) {
    const qa_page_about *about = &page->about;
    qa_json_writer *out = &page->json;
    qa_json_open_object(out, NULL, QA_JSON_HANGING);
    qa_json_put_string(out, "page", "pairs");
    qa_json_put_string(out, "program", "qadapter " QA_VERSION ", " PAGE_PRECISION);
    qa_json_put_string(out, "precision", PAGE_PRECISION);
    qa_json_put_string(out, "model", about->model_name);
    qa_json_put_string(out, "adapter", about->adapter_name);
    put_page_objective(out, "objective", &page->objective);
    qa_json_put_size(out, "vocab_size", page->V);
    qa_json_open_array(out, "pairs", QA_JSON_HANGING);
}

qa_status qa_page_open(qa_page **out, const char *path, const qa_page_about *about, qa_error *err) {
    qa_page *page = NULL;
    qa_status status = QA_OK;
    *out = NULL;
    QA_FAIL_IF(
        about->tokens > QA_PAGE_TOKENS, err, QA_ERR_LIMIT,
        "%s: a page of answers of %zu tokens is more than browsers open, %d are the most; --max-pairs takes fewer",
        path, about->tokens, QA_PAGE_TOKENS);
    QA_TRY(QA_NEW(page, 1, err, "a page"));
    page->about = *about;
    page->objective = *about->objective;
    page->about.objective = &page->objective;
    page->V = about->model->config.vocab_size;
    QA_GOTO(failed, QA_NEW(page->used, page->V, err, "a page"));
    QA_GOTO(failed, make_inspector(page, whole_row_bytes(page) <= QA_PAGE_WHOLE_BYTES / 4, err));
    QA_GOTO(failed, qa_atomic_open(&page->file, path, err));
    QA_GOTO(failed, put_page_head(&page->html, "'none'", &page->rest, err));
    QA_GOTO(failed, qa_atomic_write(page->file, page->html.data, page->html.n, err));
    page->json.err = err;
    put_beginning(page);
    QA_GOTO(failed, write_piece(page, err));
    *out = page;
    return QA_OK;
failed:
    return qa_page_close(page, status, err);
}

static void mark_used(qa_page *page, const qa_candidate *best, size_t n) {
    for (size_t i = 0; i < n; i++) {
        page->used[best[i].id] = true;
    }
}

/* The rows of both matrices of all states, which stand one behind another. */
static void put_whole(qa_page *page, const qa_inspection *found, qa_error *err) {
    const qa_real *const values[] = {found->rows[0].full_q, found->rows[0].full_log_pi1};
    static const char *const names[] = {"q", "log_pi1"};
    qa_json_writer *out = &page->json;
    qa_text floats = {0};
    qa_json_open_object(out, "full", QA_JSON_LINE);
    for (size_t i = 0; i < 2 && out->status == QA_OK; i++) {
        floats.n = 0;
        out->status = qa_base64_append(&floats, values[i], (found->n + 1) * page->V * sizeof(qa_real), err);
        qa_json_put_text(out, names[i], floats.data, floats.n);
    }
    qa_json_close(out);
    qa_text_free(&floats);
}

static qa_status put_page_side(qa_page *page, const char *name, const qa_pair *pair, bool chosen, size_t padded_length,
                               bool whole, qa_error *err) {
    const qa_inspection *found = NULL;
    qa_json_writer *out = &page->json;
    QA_TRY(qa_inspect_side(page->inspector, pair, chosen, padded_length, &found, err));
    qa_json_open_object(out, name, QA_JSON_LINE);
    qa_json_open_array(out, "ids", QA_JSON_LINE);
    for (size_t t = 0; t <= found->n; t++) {
        const qa_answer_row *row = &found->rows[t];
        if (row->id >= 0) {
            page->used[row->id] = true;
        }
        if (t < found->n) {
            qa_json_put_ids(out, &row->id, 1);
        }
        mark_used(page, row->base, found->n_best);
        mark_used(page, row->custom, found->n_best);
    }
    qa_json_close(out);
    if (page->about.tokenizer != NULL) {
        const size_t before = pair->prompt_len + (chosen ? pair->chosen_len : pair->rejected_len) - found->n;
        QA_TRY(put_pieces(out, page->about.tokenizer, pair->prompt, before, found, err));
    }
    qa_inspection_put(out, found, NULL);
    if (whole) {
        put_whole(page, found, err);
    }
    qa_json_close(out);
    return out->status;
}

/* The pair's rows fit into what is left for whole rows; from the first that does not on, none is whole. */
static qa_status decide_whole(qa_page *page, size_t states, bool *whole, qa_error *err) {
    size_t bytes = 0;
    *whole = page->holds_whole && qa_mul_size(states, whole_row_bytes(page), &bytes) &&
             bytes <= QA_PAGE_WHOLE_BYTES - page->whole_bytes;
    if (*whole) {
        page->whole_bytes += bytes;
        page->whole++;
    } else if (page->holds_whole) {
        return make_inspector(page, false, err);
    }
    return QA_OK;
}

static qa_status put_prompt_text(qa_page *page, const int32_t *prompt, size_t n, qa_error *err) {
    qa_text text = {0};
    if (page->about.tokenizer == NULL) {
        return QA_OK;
    }
    const qa_status status = qa_tokenizer_decode(page->about.tokenizer, prompt, n, false, &text, err);
    if (status == QA_OK) {
        qa_json_put_text(&page->json, "prompt_text", text.data == NULL ? "" : text.data, text.n);
    }
    qa_text_free(&text);
    return status;
}

qa_status qa_page_add(qa_page *page, const qa_pair *pair, size_t padded_length, const qa_pair_score *score,
                      qa_error *err) {
    const size_t prompt = page->objective.kind == QA_PUBLISHED ? pair->label_start : pair->prompt_len;
    const size_t sides = score == NULL ? 1 : 2;
    qa_json_writer *out = &page->json;
    bool whole = false;
    QA_TRY(decide_whole(page, sides * (pair->prompt_len - prompt + 1) + pair->chosen_len + pair->rejected_len, &whole,
                        err));
    out->err = err;
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_put_size(out, "line", pair->line);
    qa_json_put_size(out, "padded", padded_length);
    if (score == NULL) {
        qa_json_put_size(out, "answer", pair->answer);
    } else {
        qa_json_put_number(out, "logit", score->logit);
        qa_json_put_number(out, "pref", score->pref);
        qa_json_put_number(out, "reg", score->reg);
        qa_json_put_number(out, "loss", score->loss);
    }
    qa_json_put_id_array(out, "prompt", pair->prompt, prompt);
    for (size_t i = 0; i < prompt; i++) {
        page->used[pair->prompt[i]] = true;
    }
    QA_TRY(put_prompt_text(page, pair->prompt, prompt, err));
    QA_TRY(put_page_side(page, "chosen", pair, true, padded_length, whole, err));
    if (score != NULL) {
        QA_TRY(put_page_side(page, "rejected", pair, false, padded_length, whole, err));
    }
    qa_json_close(out);
    return write_piece(page, err);
}

size_t qa_page_whole(const qa_page *page) { return page->whole; }

/* The ids that are special tokens. */
static void put_special(qa_json_writer *out, const qa_tokenizer *tokenizer) {
    const size_t n = tokenizer == NULL ? 0 : qa_tokenizer_vocab_size(tokenizer);
    qa_json_open_array(out, "special", QA_JSON_LINE);
    for (size_t a = 0; a < n; a++) {
        const int32_t id = (int32_t)a;
        if (qa_tokenizer_is_special(tokenizer, id)) {
            qa_json_put_ids(out, &id, 1);
        }
    }
    qa_json_close(out);
}

/* The texts of the tokens, of all of them where the page can show any. */
static void put_texts(qa_page *page) {
    const qa_tokenizer *tokenizer = page->about.tokenizer;
    qa_json_writer *out = &page->json;
    char id[24];
    qa_json_open_object(out, "texts", QA_JSON_TIGHT);
    for (size_t a = 0; a < page->V && tokenizer != NULL; a++) {
        if ((page->used[a] || page->whole > 0) && qa_tokenizer_token(tokenizer, (int32_t)a) != NULL) {
            (void)snprintf(id, sizeof id, "%zu", a);
            put_page_text(out, id, tokenizer, (int32_t)a);
        }
    }
    qa_json_close(out);
    put_special(out, tokenizer);
}

/* What comes behind the pairs, and the rest of the page. */
static qa_status put_ending(qa_page *page, qa_error *err) {
    qa_json_writer *out = &page->json;
    out->err = err;
    qa_json_close(out);
    qa_json_put_size(out, "whole_pairs", page->whole);
    qa_json_put_size(out, "whole_mib", QA_PAGE_WHOLE_BYTES >> 20);
    put_texts(page);
    qa_json_close(out);
    QA_TRY(write_piece(page, err));
    return qa_atomic_write(page->file, page->rest, strlen(page->rest), err);
}

qa_status qa_page_close(qa_page *page, qa_status status, qa_error *err) {
    if (page == NULL) {
        return status;
    }
    if (page->file != NULL && status == QA_OK) {
        status = put_ending(page, err);
    }
    if (page->file != NULL && status == QA_OK) {
        status = qa_atomic_commit(page->file, err);
    } else if (page->file != NULL) {
        qa_atomic_abort(page->file);
    }
    qa_inspector_free(page->inspector);
    qa_text_free(&page->json.text);
    qa_text_free(&page->html);
    free(page->used);
    free(page);
    return status;
}

/* ---- the page of a server ---- */

qa_status qa_page_served(qa_text *html, const char *const *policies, const qa_objective *objectives, size_t n,
                         qa_error *err) {
    qa_json_writer out = {.err = err};
    const char *rest = NULL;
    qa_status status = QA_OK;
    qa_json_open_object(&out, NULL, QA_JSON_LINE);
    qa_json_put_string(&out, "page", "served");
    qa_json_put_string(&out, "program", "qadapter " QA_VERSION ", " PAGE_PRECISION);
    qa_json_open_array(&out, "policies", QA_JSON_LINE);
    for (size_t i = 0; i < n; i++) {
        qa_json_open_object(&out, NULL, QA_JSON_LINE);
        qa_json_put_string(&out, "name", policies[i]);
        put_page_objective(&out, "objective", &objectives[i]);
        qa_json_close(&out);
    }
    qa_json_close(&out);
    qa_json_close(&out);
    QA_GOTO(done, out.status);
    QA_GOTO(done, put_page_head(html, "'self'", &rest, err));
    QA_GOTO(done, put_data(html, &out.text, err));
    QA_GOTO(done, qa_text_append_z(html, rest, err));
done:
    qa_text_free(&out.text);
    return status;
}

static void put_prompt(qa_json_writer *out, const qa_tokenizer *tokenizer, const int32_t *prompt, size_t n) {
    qa_json_open_object(out, "prompt", QA_JSON_LINE);
    qa_json_put_id_array(out, "ids", prompt, n);
    qa_json_open_array(out, "texts", QA_JSON_LINE);
    for (size_t i = 0; i < n && tokenizer != NULL; i++) {
        put_page_text(out, NULL, tokenizer, prompt[i]);
    }
    qa_json_close(out);
    qa_json_close(out);
}

qa_status qa_page_inspect(qa_text *json, qa_model *model, const qa_adapter *adapter, const qa_objective *objective,
                          const qa_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt, const int32_t *answer,
                          size_t n, bool terminal, size_t n_best, qa_error *err) {
    const qa_objective base = qa_objective_for_method(QA_METHOD_QADAPTER);
    const qa_inspection_limits limits = {n_prompt, n, n_best, false};
    const qa_inspection *found = NULL;
    qa_inspector *inspector = NULL;
    qa_json_writer out = {.err = err};
    qa_status status = QA_OK;
    QA_TRY(qa_inspector_create(&inspector, model, adapter, objective, limits, err));
    QA_GOTO(done, qa_inspect(inspector, prompt, n_prompt, answer, n, terminal, &found, err));
    qa_json_open_object(&out, NULL, QA_JSON_LINE);
    put_page_objective(&out, "objective", objective == NULL ? &base : objective);
    put_prompt(&out, tokenizer, prompt, n_prompt);
    put_special(&out, tokenizer);
    if (tokenizer != NULL) {
        QA_GOTO(done, put_pieces(&out, tokenizer, prompt, n_prompt, found, err));
    }
    qa_inspection_put(&out, found, tokenizer);
    qa_json_close(&out);
    QA_GOTO(done, out.status);
    status = qa_text_append(json, out.text.data, out.text.n, err);
done:
    qa_text_free(&out.text);
    qa_inspector_free(inspector);
    return status;
}
