/* See answer_json.h. */
#include "cli/answer_json.h"

#include "cli/mixture.h"
#include "inspect/rows.h"

static void put_token_value(qa_json_writer *out, const qa_tokenizer *tokenizer, int32_t id, const qa_token_value *value,
                            bool measured, bool mixed) {
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_token_put(out, id, tokenizer);
    qa_json_put_number(out, "log_pi", value->log_pi);
    if (measured) {
        qa_json_put_number(out, "log_pi1", value->log_pi1);
        qa_json_put_number(out, "kl", value->kl);
    }
    if (mixed) {
        qa_json_put_number(out, "log_z", value->log_z);
    }
    qa_json_close(out);
}

/* Members of an answer of a mixture. */
static void put_weights(qa_json_writer *out, const cli_answer_values *answer, double log_weight) {
    const qa_answer *weighed = answer->weighed;
    cli_mixture_put(out, answer->run);
    qa_json_put_number(out, "log_weight", log_weight);
    if (weighed == NULL || weighed->log_weights == NULL) {
        return;
    }
    qa_json_put_size(out, "particles", weighed->particles);
    qa_json_put_size(out, "chosen", weighed->chosen);
    qa_json_put_number(out, "effective_samples", weighed->effective_samples);
    qa_json_open_array(out, "log_weights", QA_JSON_LINE);
    for (size_t k = 0; k < weighed->particles; k++) {
        qa_json_put_number(out, NULL, weighed->log_weights[k]);
    }
    qa_json_close(out);
}

void cli_put_answer_values(qa_json_writer *out, const qa_tokenizer *tokenizer, const cli_answer_values *answer) {
    const bool mixed = answer->run != NULL && cli_mixture(answer->run) != NULL;
    double log_ratio = 0.0, kl = 0.0, log_weight = 0.0;
    qa_json_put_string(out, "finish_reason", answer->stopped ? "stop" : "length");
    qa_json_open_object(out, "usage", QA_JSON_LINE);
    qa_json_put_size(out, "prompt_tokens", answer->prompt_tokens);
    qa_json_put_size(out, "completion_tokens", answer->n);
    qa_json_put_size(out, "total_tokens", answer->prompt_tokens + answer->n);
    qa_json_close(out);
    if (answer->best != NULL) {
        cli_best_of_put(out, answer->best);
    }
    for (size_t t = 0; t < answer->n; t++) {
        log_ratio += answer->values[t].log_pi - answer->values[t].log_pi1;
        kl += answer->values[t].kl;
        log_weight += answer->values[t].log_z;
    }
    if (answer->measured) {
        qa_json_put_number(out, "log_ratio", log_ratio);
        qa_json_put_number(out, "kl", kl);
    }
    if (mixed) {
        put_weights(out, answer, log_weight);
    }
    qa_json_open_array(out, "tokens", QA_JSON_LINE);
    for (size_t t = 0; t < answer->n; t++) {
        put_token_value(out, tokenizer, answer->ids[t], &answer->values[t], answer->measured, mixed);
    }
    qa_json_close(out);
}
