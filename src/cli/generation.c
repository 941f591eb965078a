/* What a prompt's answer and a conversation share: feeding a prompt, and how fast it went. */
#include "base/try.h"
#include "cli/answer_json.h"
#include "cli/generate.h"
#include "cli/mixture.h"

#include <string.h>

qa_status generation_generator(const generation_run *generation, qa_policy policy, const qa_sampling *sampling,
                               size_t capacity, qa_generator **generator, qa_error *err) {
    cli_run *run = generation->run;
    const qa_mixture *mixture = policy == QA_POLICY_CUSTOM ? cli_mixture(run) : NULL;
    return mixture != NULL ? qa_generator_create_mixture(generator, run->model, mixture, sampling, capacity, err)
                           : qa_generator_create(generator, run->model, run->adapter, policy, &generation->objective,
                                                 sampling, capacity, err);
}

bool generation_is_customised(const generation_run *generation) {
    return generation->run->adapter != NULL || cli_mixture(generation->run) != NULL;
}

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

bool generation_measures(const generation_run *generation, qa_policy policy) {
    return policy == QA_POLICY_CUSTOM && generation_is_customised(generation) &&
           (cli_mixture(generation->run) != NULL || generate_args_of(generation->run)->kl ||
            !qa_objective_is_plain(&generation->objective));
}

/* The prompt and the answer, as the forms of single responses have them. */
static void put_exchange(qa_json_writer *out, const generation_run *generation, const qa_text *given,
                         const qa_ids *prompt, const printed_answer *said) {
    const generate_args *args = generate_args_of(generation->run);
    const qa_text *text = &said->read.text;
    if (args->ids != NULL) {
        qa_json_put_id_array(out, "prompt_ids", prompt->data, prompt->n);
        qa_json_put_id_array(out, "response_ids", said->ids.data, said->ids.n);
    } else if (args->chat) {
        qa_json_open_array(out, "messages", QA_JSON_LINE);
        if (args->system != NULL) {
            qa_json_put_message(out, "system", args->system, strlen(args->system));
        }
        qa_json_put_message(out, "user", given->data, given->n);
        qa_json_put_message(out, "assistant", text->data, text->n);
        qa_json_close(out);
    } else {
        qa_json_put_text(out, "prompt", given->data, given->n);
        qa_json_put_text(out, "completion", text->data, text->n);
    }
}

qa_status generation_print_json(const generation_run *generation, qa_policy policy, const qa_text *given,
                                const qa_ids *prompt, const printed_answer *said, const qa_answer *weighed,
                                const cli_best_of *best, qa_error *err) {
    const bool stopped = said->end == ANSWER_END_TOKEN || said->end == ANSWER_STOP;
    const cli_answer_values values = {.ids = said->ids.data,
                                      .values = said->values,
                                      .n = said->ids.n,
                                      .prompt_tokens = prompt->n,
                                      .stopped = stopped,
                                      .measured = generation_measures(generation, policy),
                                      .run = policy == QA_POLICY_CUSTOM ? generation->run : NULL,
                                      .weighed = weighed,
                                      .best = best};
    qa_json_writer out = {.err = err};
    qa_json_open_object(&out, NULL, QA_JSON_LINE);
    put_exchange(&out, generation, given, prompt, said);
    if (!stopped) {
        qa_json_put_bool(&out, "terminal", false);
    }
    qa_json_put_string(&out, "policy", policy == QA_POLICY_BASE ? "base" : "custom");
    cli_put_answer_values(&out, generation->run->tokenizer, &values);
    qa_json_close(&out);
    qa_json_end_line(&out);
    const qa_status status = out.status == QA_OK ? cli_put(out.text.data, out.text.n, err) : out.status;
    qa_text_free(&out.text);
    QA_TRY(status);
    return cli_flush(err);
}
