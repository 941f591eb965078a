/* What a prompt's answer and a conversation share: feeding a prompt, and how fast it went. */
#include "base/try.h"
#include "cli/generate.h"

qa_status generation_feed(const generation_run *generation, qa_generator *generator, const qa_ids *ids, double *seconds,
                          qa_error *err) {
    const size_t capacity = qa_generator_capacity(generator);
    const size_t position = qa_generator_position(generator);
    const double begun = cli_now();
    if (ids->n >= capacity - position) {
        const size_t limit = qa_model_get_info(generation->run->model)->context;
        return qa_fail(err, QA_ERR_LIMIT,
                       "%zu token%s do not fit: the context holds %zu, %zu are in use and at least "
                       "one is needed for an answer; %s",
                       ids->n, ids->n == 1 ? "" : "s", capacity, position,
                       capacity < limit ? "raise --ctx-size or shorten the prompt" : "shorten the prompt");
    }
    QA_TRY(qa_generator_feed(generator, ids->data, ids->n, err));
    *seconds = cli_now() - begun;
    return QA_OK;
}

static double rate(size_t n, double seconds) { return seconds > 0.0 ? (double)n / seconds : 0.0; }

void generation_say_speed(const generation_run *generation, const char *label, size_t prompt, double prompt_seconds,
                          const printed_answer *said, size_t capacity) {
    if (said->end == ANSWER_CONTEXT) {
        cli_say(generation->run, "the answer stopped because the context of %zu tokens is full (--ctx-size)", capacity);
    }
    cli_say(generation->run, "%sprompt: %zu token%s, %.1f tokens/s; generation: %zu token%s, %.1f tokens/s", label,
            prompt, prompt == 1 ? "" : "s", rate(prompt, prompt_seconds), said->ids.n, said->ids.n == 1 ? "" : "s",
            rate(said->ids.n, said->seconds));
}
