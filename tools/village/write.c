/* Corpus and prompts. */
#include "village/commands.h"

#include "base/try.h"
#include "io/file.h"

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

void vl_put_messages(qa_json_writer *out, const char *prompt, const char *answer) {
    qa_json_open_array(out, "messages", QA_JSON_TIGHT);
    qa_json_put_message(out, "user", prompt, strlen(prompt));
    if (answer != NULL) {
        qa_json_put_message(out, "assistant", answer, strlen(answer));
    }
    qa_json_close(out);
}

static void put_document(qa_json_writer *out, const vl_item *item, bool with_answer) {
    qa_json_open_object(out, NULL, QA_JSON_TIGHT);
    if (item->skill == VL_TEXT) {
        qa_json_put_text(out, "text", item->answer.s, item->answer.n);
    } else {
        vl_put_messages(out, item->prompt.s, with_answer ? item->answer.s : NULL);
    }
    qa_json_close(out);
    qa_json_end_line(out);
}

static void put_prompt(qa_json_writer *out, const vl_item *item) { put_document(out, item, false); }

static qa_status flush(qa_atomic_file *file, qa_json_writer *out, size_t from_bytes, qa_error *err) {
    qa_text *lines = &out->text;
    QA_TRY(out->status);
    if (lines->n > from_bytes) {
        QA_TRY(qa_atomic_write(file, lines->data, lines->n, err));
        lines->n = 0;
    }
    return QA_OK;
}

qa_status vl_write_corpus(const vl_land *land, vl_split split, size_t documents, uint64_t seed, const char *out,
                          qa_error *err) {
    qa_status status = QA_OK;
    qa_json_writer lines = {.err = err};
    qa_atomic_file *file = NULL;
    vl_item item;
    QA_TRY(qa_atomic_open(&file, out, err));
    for (size_t i = 0; i < documents; i++) {
        QA_GOTO(done, vl_corpus_item(land, seed, split, i, &item, err));
        put_document(&lines, &item, true);
        QA_GOTO(done, flush(file, &lines, FLUSH_BYTES, err));
    }
    QA_GOTO(done, flush(file, &lines, 0, err));
    qa_text_free(&lines.text);
    return qa_atomic_commit(file, err);
done:
    qa_text_free(&lines.text);
    qa_atomic_abort(file);
    return status;
}

qa_status vl_write_different(const vl_land *land, const vl_lines *lines, size_t n, uint64_t seed, const char *path,
                             qa_error *err) {
    qa_status status = QA_OK;
    qa_json_writer out = {.err = err};
    vl_set seen = {0};
    vl_item item;
    size_t repeats = 0;
    for (size_t i = 0; seen.n < n; i++) {
        bool added;
        qa_rng rng = vl_stream(seed, lines->purpose, lines->part, i);
        QA_GOTO(done, lines->skills != 0 ? vl_draw_mixed(land, &rng, lines->skills, lines->split, &item, err)
                                         : vl_draw(land, &rng, lines->skill, lines->split, &item, err));
        QA_GOTO(done, vl_set_add(&seen, item.skill == VL_TEXT ? item.answer.s : item.prompt.s, &added, err));
        if (added) {
            lines->put(&out, &item);
        } else if (++repeats > MOST_REPEATS + 20 * n) {
            status = qa_fail(err, QA_ERR_LIMIT, "%s: only %zu different %s found, %zu asked for; ask for fewer", path,
                             seen.n, lines->what, n);
            goto done;
        }
    }
    QA_GOTO(done, out.status);
    status = qa_write_file(path, out.text.data, out.text.n, err);
done:
    qa_text_free(&out.text);
    vl_set_free(&seen);
    return status;
}

qa_status vl_write_prompts(const vl_land *land, vl_prompt_kind kind, vl_split split, size_t count, uint64_t seed,
                           const char *out, qa_error *err) {
    static const unsigned SKILLS[VL_PROMPT_KINDS] = {
        [VL_PROMPTS_OPEN] = 1u << VL_OPEN,
        [VL_PROMPTS_TURN_DOWN] = 1u << VL_TURN_DOWN,
        [VL_PROMPTS_ORDINARY] = 1u << VL_FACTS | 1u << VL_SUMS | 1u << VL_LOGIC | 1u << VL_FOLLOW | 1u << VL_OPEN};
    const vl_lines lines = {.purpose = VL_FOR_PROMPTS,
                            .part = (unsigned)split * VL_PROMPT_KINDS + kind,
                            .skills = SKILLS[kind],
                            .split = split,
                            .what = "prompts",
                            .put = put_prompt};
    return vl_write_different(land, &lines, count, seed, out, err);
}
