/* answers: what the world itself answers to given prompts, in the form that `qadapter generate` writes. */
#include "village/commands.h"
#include "village/open.h"
#include "village/samples.h"

#include "base/try.h"
#include "io/file.h"
#include "io/json_lines.h"

/* An answer to a request of this skill (VL_OPEN, VL_TURN_DOWN) as the generator gives it, class included, into
 * item->answer and item->register_of. False: it does not know what the prompt asks for. */
static bool answer_prompt(const vl_land *land, qa_rng *rng, const char *prompt, vl_item *item) {
    vl_clear(&item->answer);
    return vl_answer_turn_down(rng, prompt, item) || vl_answer_open(land, rng, prompt, item);
}

typedef struct answer_job {
    const vl_land *land;
    uint64_t seed;
    size_t samples, n; /* n: lines so far */
    qa_json_writer out;
} answer_job;

static qa_status answer_line(void *user, const json_t *line, qa_error *err) {
    answer_job *job = user;
    qa_json_writer *out = &job->out;
    qa_rng rng = vl_stream(job->seed, VL_FOR_ANSWERS, 0, job->n++);
    vl_item item;
    json_t *messages = NULL;
    const char *prompt = NULL;
    QA_TRY(vl_read_messages(line, "user", &messages, &prompt, err));
    for (size_t i = 0; i < job->samples; i++) {
        QA_FAIL_IF(!answer_prompt(job->land, &rng, prompt, &item), err, QA_ERR_FORMAT,
                   "the village does not know what \"%.80s\" asks for; it answers open requests and "
                   "requests to turn down, as `village prompts` makes them",
                   prompt);
        qa_json_open_object(out, NULL, QA_JSON_TIGHT);
        qa_json_open_array(out, "messages", QA_JSON_TIGHT);
        vl_put_read_messages(out, messages, json_array_size(messages));
        qa_json_put_message(out, "assistant", item.answer.s, item.answer.n);
        qa_json_close(out);
        qa_json_close(out);
        qa_json_end_line(out);
    }
    return out->status;
}

qa_status vl_write_answers(const vl_land *land, const char *prompts, size_t samples, uint64_t seed, const char *out,
                           qa_error *err) {
    answer_job job = {.land = land, .seed = seed, .samples = samples, .out.err = err};
    qa_json_lines *lines = NULL;
    QA_TRY(qa_json_lines_open(&lines, prompts, err));
    qa_status status = qa_json_lines_each(lines, answer_line, &job, err);
    if (status == QA_OK) {
        status = qa_write_file(out, job.out.text.data, job.out.text.n, err);
    }
    qa_json_lines_close(lines);
    qa_text_free(&job.out.text);
    return status;
}
