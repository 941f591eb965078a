/* answers: what the world itself answers to given prompts, in the form that `qadapter generate` writes. */
#include "village/commands.h"
#include "village/open.h"
#include "village/samples.h"

#include "base/buffer.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json_lines.h"

#include <stdio.h>
#include <stdlib.h>

/* One line: the prompt's messages with the answer appended. */
static qa_status append_sample(qa_text *out, json_t *messages, const char *answer, qa_error *err) {
    json_t *line = json_pack("{s:O}", "messages", messages);
    char *text = NULL;
    qa_status status = QA_OK;
    if (line != NULL &&
        json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "assistant", "content", answer)) == 0) {
        text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII);
        (void)json_array_remove(messages, json_array_size(messages) - 1);
    }
    if (text == NULL) {
        status = qa_fail(err, QA_ERR_MEMORY, "out of memory for an answer");
    } else {
        status = qa_text_append_z(out, text, err);
    }
    free(text);
    json_decref(line);
    return status == QA_OK ? qa_text_append_z(out, "\n", err) : status;
}

/* An answer to a request of this skill (VL_OPEN, VL_TURN_DOWN) as the generator gives it, class included, into
 * item->answer and item->register_of. False: it does not know what the prompt asks for. */
static bool answer_prompt(const vl_land *land, qa_rng *rng, const char *prompt, vl_item *item) {
    vl_clear(&item->answer);
    return vl_answer_turn_down(rng, prompt, item) || vl_answer_open(land, rng, prompt, item);
}

static qa_status answer_line(const vl_land *land, const json_t *line, const char *where, size_t samples, qa_rng *rng,
                             qa_text *out, qa_error *err) {
    vl_item item;
    json_t *messages = NULL;
    const char *prompt = NULL;
    QA_TRY(vl_read_messages(line, "user", where, &messages, &prompt, err));
    for (size_t i = 0; i < samples; i++) {
        if (!answer_prompt(land, rng, prompt, &item)) {
            return qa_fail(err, QA_ERR_FORMAT,
                           "%s: the village does not know what \"%.80s\" asks for; it answers open requests and "
                           "requests to turn down, as `village prompts` makes them",
                           where, prompt);
        }
        QA_TRY(append_sample(out, messages, item.answer.s, err));
    }
    return QA_OK;
}

qa_status vl_write_answers(const vl_land *land, const char *prompts, size_t samples, uint64_t seed, const char *out,
                           qa_error *err) {
    qa_status status = QA_OK;
    qa_json_lines *lines = NULL;
    json_t *line = NULL;
    qa_text text = {0};
    QA_TRY(qa_json_lines_open(&lines, prompts, err));
    for (size_t n = 0;; n++) {
        char where[400];
        QA_GOTO(done, qa_json_lines_next(lines, &line, err));
        if (line == NULL) {
            break;
        }
        qa_rng rng = vl_stream(seed, VL_FOR_ANSWERS, 0, n);
        (void)snprintf(where, sizeof where, "%s:%zu", qa_json_lines_name(lines), qa_json_lines_number(lines));
        QA_GOTO(done, answer_line(land, line, where, samples, &rng, &text, err));
        json_decref(line);
        line = NULL;
    }
    QA_GOTO(done, qa_write_file(out, text.data, text.n, err));
done:
    json_decref(line);
    qa_json_lines_close(lines);
    qa_text_free(&text);
    return status;
}
