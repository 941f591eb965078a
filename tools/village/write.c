/* Corpus and prompts. */
#include "village/commands.h"

#include "base/buffer.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"

#include <string.h>

enum { FLUSH_BYTES = 1 << 16, MOST_REPEATS = 20000 };

qa_rng vl_stream(uint64_t seed, vl_purpose purpose, unsigned part, size_t number) {
    return qa_rng_seed(qa_hash(seed, (uint64_t)purpose * 256 + part), (uint64_t)number);
}

qa_status vl_corpus_item(const vl_land *land, uint64_t seed, vl_split split, size_t number, vl_item *item,
                         qa_error *err) {
    qa_rng rng = vl_stream(seed, VL_FOR_CORPUS, split, number);
    return vl_draw_mixed(land, &rng, (1u << VL_SKILLS) - 1, split, item, err);
}

static qa_status append_turn(qa_text *out, const char *role, const char *content, qa_error *err) {
    QA_TRY(qa_text_append_z(out, "{\"role\":\"", err));
    QA_TRY(qa_text_append_z(out, role, err));
    QA_TRY(qa_text_append_z(out, "\",\"content\":", err));
    QA_TRY(qa_json_append_string(out, content, strlen(content), err));
    return qa_text_append_z(out, "}", err);
}

qa_status vl_append_messages(qa_text *out, const char *prompt, const char *answer, qa_error *err) {
    QA_TRY(qa_text_append_z(out, "[", err));
    QA_TRY(append_turn(out, "user", prompt, err));
    if (answer != NULL) {
        QA_TRY(qa_text_append_z(out, ",", err));
        QA_TRY(append_turn(out, "assistant", answer, err));
    }
    return qa_text_append_z(out, "]", err);
}

qa_status vl_append_member(qa_text *out, const char *key, const char *value, qa_error *err) {
    QA_TRY(qa_text_append_z(out, ",\"", err));
    QA_TRY(qa_text_append_z(out, key, err));
    QA_TRY(qa_text_append_z(out, "\":", err));
    return qa_json_append_string(out, value, strlen(value), err);
}

static qa_status append_document(qa_text *out, const vl_item *item, bool with_answer, qa_error *err) {
    if (item->skill == VL_TEXT) {
        QA_TRY(qa_text_append_z(out, "{\"text\":", err));
        QA_TRY(qa_json_append_string(out, item->answer.s, item->answer.n, err));
    } else {
        QA_TRY(qa_text_append_z(out, "{\"messages\":", err));
        QA_TRY(vl_append_messages(out, item->prompt.s, with_answer ? item->answer.s : NULL, err));
    }
    return qa_text_append_z(out, "}\n", err);
}

static qa_status flush(qa_atomic_file *file, qa_text *lines, size_t from_bytes, qa_error *err) {
    if (lines->n > from_bytes) {
        QA_TRY(qa_atomic_write(file, lines->data, lines->n, err));
        lines->n = 0;
    }
    return QA_OK;
}

qa_status vl_write_corpus(const vl_land *land, vl_split split, size_t documents, uint64_t seed, const char *out,
                          qa_error *err) {
    qa_status status = QA_OK;
    qa_text lines = {0};
    qa_atomic_file *file = NULL;
    vl_item item;
    QA_TRY(qa_atomic_open(&file, out, err));
    for (size_t i = 0; i < documents; i++) {
        QA_GOTO(done, vl_corpus_item(land, seed, split, i, &item, err));
        QA_GOTO(done, append_document(&lines, &item, true, err));
        QA_GOTO(done, flush(file, &lines, FLUSH_BYTES, err));
    }
    QA_GOTO(done, flush(file, &lines, 0, err));
    qa_text_free(&lines);
    return qa_atomic_commit(file, err);
done:
    qa_text_free(&lines);
    qa_atomic_abort(file);
    return status;
}

qa_status vl_write_prompts(const vl_land *land, vl_prompt_kind kind, vl_split split, size_t count, uint64_t seed,
                           const char *out, qa_error *err) {
    static const unsigned SKILLS[VL_PROMPT_KINDS] = {
        [VL_PROMPTS_OPEN] = 1u << VL_OPEN,
        [VL_PROMPTS_TURN_DOWN] = 1u << VL_TURN_DOWN,
        [VL_PROMPTS_ORDINARY] = 1u << VL_FACTS | 1u << VL_SUMS | 1u << VL_LOGIC | 1u << VL_FOLLOW | 1u << VL_OPEN};
    qa_status status = QA_OK;
    qa_text lines = {0};
    vl_set seen = {0};
    vl_item item;
    size_t repeats = 0;
    for (size_t i = 0; seen.n < count; i++) {
        bool added;
        qa_rng rng = vl_stream(seed, VL_FOR_PROMPTS, (unsigned)split * VL_PROMPT_KINDS + kind, i);
        QA_GOTO(done, vl_draw_mixed(land, &rng, SKILLS[kind], split, &item, err));
        QA_GOTO(done, vl_set_add(&seen, item.prompt.s, &added, err));
        if (added) {
            QA_GOTO(done, append_document(&lines, &item, false, err));
        } else if (++repeats > MOST_REPEATS + 20 * count) {
            status = qa_fail(err, QA_ERR_LIMIT, "only %zu different prompts found, %zu asked for; ask for fewer",
                             seen.n, count);
            goto done;
        }
    }
    QA_GOTO(done, qa_write_file(out, lines.data, lines.n, err));
done:
    qa_text_free(&lines);
    vl_set_free(&seen);
    return status;
}
