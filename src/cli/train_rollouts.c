/* See train_rollouts.h. */
#include "cli/train_rollouts.h"

#include "base/try.h"
#include "cli/format.h"
#include "data/prompts.h"
#include "methods/method.h"

#include <stdio.h>
#include <string.h>

/* Of `train`, and only for pairs. */
static const char *const pair_options[] = {"eval-data",
                                           "val-size",
                                           "eval-every",
                                           "micro-batch",
                                           "gradient-accumulation-steps",
                                           "keep-best",
                                           "base-cache",
                                           "response-end",
                                           "published-data-quirks",
                                           "early-stopping-patience",
                                           "early-stopping-metric"};

qa_status cli_check_rollouts(cli_run *run, const qa_objective *objective, const char *reward_model, qa_error *err) {
    const char *method = qa_method_name(objective->method);
    for (size_t i = 0; i < sizeof pair_options / sizeof *pair_options; i++) {
        if (cli_given(&run->options, pair_options[i]) != NULL) {
            return cli_bad_usage(
                run, err,
                "--%s is for pairs; --method %s learns from answers of its own, and every step's score "
                "is of answers that nothing was learned of yet",
                pair_options[i], method);
        }
    }
    return reward_model != NULL
               ? QA_OK
               : cli_bad_usage(
                     run, err,
                     "--method %s needs --reward-model, a folder that `qadapter train --method reward` writes", method);
}

static qa_status load_prompt_file(cli_run *run, const char *path, size_t max_length, qa_pairs **out, qa_error *err) {
    const qa_model_info *info = qa_model_get_info(run->model);
    const qa_chat *chat = NULL;
    bool assumed = false;
    qa_prompts prompts = {0};
    qa_status status = QA_OK;
    QA_TRY(cli_resolve_chat(run, &chat, &assumed, err));
    const qa_prompts_options options = {.tokenizer = run->tokenizer,
                                        .chat = chat,
                                        .context = info->context,
                                        .vocab_size = info->vocab_size,
                                        .columns = run->args->columns};
    QA_GOTO(done, qa_prompts_load(&prompts, path, &options, err));
    cli_warn_all(run, &prompts.warnings);
    QA_GOTO(done, qa_prefixed(qa_pairs_of_prompts(out, &prompts, chat, max_length, run->args->max_pairs, err), err,
                              "%s: ", path));
done:
    qa_prompts_free(&prompts);
    return status;
}

/* Where the file is none of prompts, it may be one of pairs that have no prompt of their own. */
qa_status cli_load_rollout_prompts(cli_run *run, const char *path, size_t max_length, qa_pairs **prompts,
                                   qa_error *err) {
    qa_error of_pairs = {0};
    const bool readable = run->tokenizer != NULL;
    qa_status status = readable ? load_prompt_file(run, path, max_length, prompts, err) : QA_ERR_FORMAT;
    if (status == QA_ERR_FORMAT && strcmp(path, "-") != 0) {
        const qa_status again = cli_load_pairs(run, path, max_length, prompts, readable ? &of_pairs : err);
        if (again != QA_OK) {
            return readable ? status : again;
        }
        status = QA_OK;
    }
    QA_TRY(status);
    const size_t n = qa_pairs_count(*prompts);
    const qa_skip_report *report = qa_pairs_report(*prompts);
    cli_say(run, "%s: %zu prompt%s (%s), the longest %zu tokens", path, n, cli_plural(n), qa_pairs_format(*prompts),
            qa_pairs_longest_prompt(*prompts));
    const size_t skipped = report->count[QA_SKIP_PROMPT_TOO_LONG];
    if (skipped > 0) {
        QA_FAIL_IF(run->args->strict, err, QA_ERR_LIMIT, "%s: %zu prompts are not shorter than %zu tokens (first: %zu)",
                   path, skipped, max_length, report->first_line[QA_SKIP_PROMPT_TOO_LONG]);
        cli_warn(run, "%s: left out %zu prompt%s of %zu tokens or more (first: line %zu)", path, skipped,
                 cli_plural(skipped), max_length, report->first_line[QA_SKIP_PROMPT_TOO_LONG]);
    }
    return QA_OK;
}

void cli_say_rollouts(cli_run *run, const qa_train_options *options, const qa_pairs *prompts, size_t end_ids) {
    const qa_rollout_options *o = &options->rollout;
    const bool values = qa_method_of(&options->objective)->rollouts->values;
    const size_t wanted = o->answers / o->samples;
    const size_t of_step = wanted < qa_pairs_count(prompts) ? wanted : qa_pairs_count(prompts);
    cli_say(run, "a step: %zu answer%s to each of %zu prompts, of %zu tokens at most; %zu epoch%s of %zu update%s",
            o->samples, cli_plural(o->samples), of_step, o->max_new_tokens, o->epochs, cli_plural(o->epochs),
            o->mini_batches, cli_plural(o->mini_batches));
    if (o->kl_control == QA_KL_ADAPTIVE) {
        cli_say(run, "KL coefficient %g at first, adaptive: target %g nats an answer, horizon %g", o->kl_coefficient,
                o->kl_target, o->kl_horizon);
    } else {
        cli_say(run, "KL coefficient %g, fixed: the optimum is pi1 exp(score / %g)", o->kl_coefficient,
                o->kl_coefficient);
    }
    if (values) {
        cli_say(run, "values: clip %g, weight %g, dropout %g; gamma %g, lambda %g, advantages %s", o->value_clip,
                o->value_weight, o->value_dropout, o->gae_gamma, o->gae_lambda,
                o->whiten_advantages ? "whitened" : "as they are");
    }
    cli_say(run, "score: %s%s; learning rate %g %s", options->reward_model,
            options->reward_output == 0 ? ", its last output" : "", options->learning_rate,
            qa_schedule_name(options->schedule));
    if (end_ids == 0) {
        cli_warn(run, "nothing is known to end an answer: every one will have %zu tokens", o->max_new_tokens);
    }
}

void cli_rollout_text(char *buffer, size_t bytes, const qa_metrics *metrics, bool brief) {
    const qa_rollout_metrics *m = metrics->rollouts;
    if (brief) {
        (void)snprintf(buffer, bytes, "score %+.3f  KL %.2f", m->score, m->kl);
    } else {
        (void)snprintf(buffer, bytes, "score %+.4f  KL %.3f x %.3g  ratio %.3f  clipped %.3f%s", m->score, m->kl,
                       m->kl_coefficient, m->ratio, m->clip_fraction, m->skipped > 0 ? "  SKIPPED" : "");
    }
}
