/* See best_of.h. */
#include "cli/best_of.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "inspect/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW(kind, ...) QA_##kind(cli_best_of_args, __VA_ARGS__), .group = QA_GROUP_SAMPLING

static const qa_option best_of_rows[] = {
    {"best-of", ROW(SIZE, n), .aliases = "best-of-n bon", .range = QA_RANGE_FROM_1, .standard = "1",
     .help = "sample so many answers and give the best one: by the adapter's implied reward, or by --reward-model; "
             "--policy base samples from the base model"},
    {"rank-by", ROW(WORD, by, "return", "mean"), .note = "return; with --reward-model its score",
     .help = "with --best-of: the implied reward of a whole answer, or its mean over the answer's tokens, which does "
             "not grow with the length"},
};
const qa_option_table cli_best_of_table = QA_TABLE(best_of_rows);

/* One of the answers to the prompt at hand; arrays are owned. */
typedef struct kept_answer {
    qa_answer said;
    qa_ids ids;
    qa_token_value *values;
    size_t capacity;
} kept_answer;

struct cli_best_of {
    size_t n, filled, chosen;
    cli_value_by by;
    qa_reward_model *reward_model;
    size_t output;
    qa_inspector *inspector;
    kept_answer *kept;  /* [n] */
    qa_tokens *answers; /* [n] scratch */
    double *values;     /* [n] */
    size_t prompts;     /* done; the sums are over them */
    double best, mean, gain_squares, tokens, chosen_tokens;
};

static const char *name_of_value(cli_value_by by) {
    static const char *const names[] = {
        [CLI_VALUE_RETURN] = "return", [CLI_VALUE_MEAN] = "mean_reward", [CLI_VALUE_REWARD_MODEL] = "reward_model"};
    return names[by];
}

qa_status cli_best_of_check(cli_run *run, const cli_best_of_args *args, qa_error *err) {
    const char *only = args->by != NULL ? "rank-by" : args->reward.dir != NULL ? "reward-model" : NULL;
    QA_TRY(cli_check_reward(run, &args->reward, err));
    if (cli_given(&run->options, "best-of") != NULL && args->n < 2) {
        return cli_bad_usage(run, err, "--best-of %zu: there is nothing to choose from; give at least 2", args->n);
    }
    if (args->n == 1 && only != NULL) {
        return cli_bad_usage(run, err, "--%s chooses among answers: give --best-of N", only);
    }
    if (args->n > 1 && args->reward.dir != NULL && args->by != NULL) {
        return cli_bad_usage(run, err, "--rank-by is of the adapter's implied reward: not with --reward-model");
    }
    if (args->n > 1 && args->reward.dir == NULL && (run->args->adapters.n != 1 || run->weights != NULL)) {
        return cli_bad_usage(run, err,
                             "--best-of needs something that tells a better answer: --reward-model DIR, or one "
                             "--adapter DIR, whose implied reward it is");
    }
    return QA_OK;
}

static qa_status open_value(cli_best_of *best, cli_run *run, const cli_best_of_args *args,
                            const qa_objective *objective, qa_inspection_limits limits, qa_error *err) {
    if (args->reward.dir != NULL) {
        best->by = CLI_VALUE_REWARD_MODEL;
        best->output = cli_reward_output(&args->reward);
        return cli_load_reward(run, &args->reward, &best->reward_model, err);
    }
    best->by = args->by != NULL && strcmp(args->by, "mean") == 0 ? CLI_VALUE_MEAN : CLI_VALUE_RETURN;
    return qa_inspector_create(&best->inspector, run->model, run->adapter, objective, limits, err);
}

qa_status cli_best_of_open(cli_best_of **out, cli_run *run, const cli_best_of_args *args, const qa_objective *objective,
                           size_t max_prompt, size_t max_answer, qa_error *err) {
    const qa_inspection_limits limits = {.max_prompt = max_prompt, .max_response = max_answer};
    cli_best_of *best = NULL;
    qa_status status = QA_OK;
    *out = NULL;
    QA_TRY(QA_NEW(best, 1, err, "the answers to choose from"));
    best->n = args->n;
    QA_GOTO(failed, QA_NEW(best->kept, args->n, err, "%zu answers", args->n));
    QA_GOTO(failed, QA_NEW(best->answers, args->n, err, "%zu answers", args->n));
    QA_GOTO(failed, QA_NEW(best->values, args->n, err, "%zu answers", args->n));
    QA_GOTO(failed, open_value(best, run, args, objective, limits, err));
    *out = best;
    return QA_OK;
failed:
    cli_best_of_free(best);
    return status;
}

void cli_best_of_free(cli_best_of *best) {
    if (best == NULL) {
        return;
    }
    for (size_t i = 0; best->kept != NULL && i < best->n; i++) {
        qa_ids_free(&best->kept[i].ids);
        free(best->kept[i].values);
    }
    free(best->kept);
    free(best->answers);
    free(best->values);
    qa_inspector_free(best->inspector);
    qa_reward_model_free(best->reward_model);
    free(best);
}

static qa_status keep_candidate(kept_answer *kept, const qa_answer *answer, qa_error *err) {
    kept->ids.n = 0;
    QA_TRY(qa_ids_append(&kept->ids, answer->ids, answer->n, err));
    QA_TRY(QA_GROW(kept->values, kept->capacity, answer->n, err, "%zu tokens", answer->n));
    memcpy(kept->values, answer->values, answer->n * sizeof *kept->values);
    kept->said = *answer;
    kept->said.ids = kept->ids.data;
    kept->said.values = kept->values;
    return QA_OK;
}

/* The implied reward of one answer. */
static qa_status imply(cli_best_of *best, const qa_ids *prompt, const qa_answer *said, double *value, qa_error *err) {
    const qa_inspection *found = NULL;
    double sum = 0.0, counted = 0.0;
    QA_TRY(qa_inspect(best->inspector, prompt->data, prompt->n, said->ids, said->n, said->ended, &found, err));
    for (size_t t = 0; t <= found->n; t++) {
        sum += found->rows[t].counted ? found->rows[t].reward : 0.0;
        counted += found->rows[t].counted ? 1.0 : 0.0;
    }
    *value = best->by == CLI_VALUE_MEAN ? sum / counted : found->ret;
    QA_FAIL_IF(!isfinite(*value), err, QA_ERR_NAN, "the %s of answer %zu is %g", name_of_value(best->by),
               said->sample + 1, *value);
    return QA_OK;
}

static qa_status value_answers(cli_best_of *best, const qa_ids *prompt, const qa_answer *answers, double *values,
                               qa_error *err) {
    for (size_t i = 0; i < best->n; i++) {
        best->answers[i] = (qa_tokens){answers[i].ids, answers[i].n};
        QA_TRY(best->inspector == NULL ? QA_OK : imply(best, prompt, &answers[i], &values[i], err));
    }
    return best->reward_model == NULL
               ? QA_OK
               : qa_reward_model_answers(best->reward_model, (qa_tokens){prompt->data, prompt->n}, best->answers,
                                         best->n, best->output, values, err);
}

qa_status cli_best_of_value(cli_best_of *best, const qa_ids *prompt, const qa_answer *answers, double *values,
                            qa_error *err) {
    return qa_prefixed(value_answers(best, prompt, answers, values, err), err, "the answers to choose from: ");
}

static void count_prompt(cli_best_of *best) {
    double mean = 0.0, tokens = 0.0;
    for (size_t i = 0; i < best->n; i++) {
        mean += best->values[i] / (double)best->n;
        tokens += (double)best->kept[i].said.n / (double)best->n;
        best->chosen = best->values[i] > best->values[best->chosen] ? i : best->chosen;
    }
    const double gain = best->values[best->chosen] - mean;
    best->prompts++;
    best->best += best->values[best->chosen];
    best->mean += mean;
    best->gain_squares += gain * gain;
    best->tokens += tokens;
    best->chosen_tokens += (double)best->kept[best->chosen].said.n;
}

qa_status cli_best_of_add(cli_best_of *best, const qa_answer *answer, const qa_answer **chosen, qa_error *err) {
    *chosen = NULL;
    QA_TRY(keep_candidate(&best->kept[best->filled], answer, err));
    best->values[best->filled] = answer->value;
    if (++best->filled < best->n) {
        return QA_OK;
    }
    best->filled = best->chosen = 0;
    count_prompt(best);
    *chosen = &best->kept[best->chosen].said;
    return QA_OK;
}

void cli_best_of_put(qa_json_writer *out, const cli_best_of *best) {
    qa_json_open_object(out, "best_of", QA_JSON_LINE);
    qa_json_put_string(out, "by", name_of_value(best->by));
    qa_json_put_size(out, "sample", best->chosen);
    qa_json_put_number(out, "value", best->values[best->chosen]);
    qa_json_put_numbers(out, "values", best->values, best->n);
    qa_json_close(out);
}

void cli_best_of_say(cli_run *run, const cli_best_of *best) {
    const double n = (double)best->prompts, of = (double)best->n;
    if (best->prompts == 0) {
        return;
    }
    const double gain = (best->best - best->mean) / n;
    char error[64] = "";
    if (best->prompts > 1) {
        (void)snprintf(error, sizeof error, " (standard error %.2g over %zu prompts)",
                       sqrt(fmax(best->gain_squares / n - gain * gain, 0.0) / (n - 1.0)), best->prompts);
    }
    cli_say(run,
            "best of %zu by %s: %.4g, %.4g above the mean of all%s, which is %.4g; %.1f tokens, all %.1f; at most "
            "log N - (N - 1) / N = %.3g nats from the policy that was sampled",
            best->n, name_of_value(best->by), best->best / n, gain, error, best->mean / n, best->chosen_tokens / n,
            best->tokens / n, log(of) - (of - 1.0) / of);
}
