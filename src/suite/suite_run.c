/* Running a suite: prompts through the chat template into ids, qa_generate_batch, answers into text, text into grades
 * and counts. Skills are answered greedily, one answer each; open prompts are sampled at temperature 1. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "suite/regex.h"
#include "suite/suite.h"
#include "text/answer_end.h"
#include "text/chat_open.h"
#include "text/chat_turn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct suite_runner {
    const qa_suite *suite;
    qa_model *model;
    const qa_adapter *adapter;
    const qa_tokenizer *tokenizer;
    const qa_suite_options *options;
    qa_answer_end end;
    qa_warnings *warnings; /* of the result */
    qa_transcript *transcript;
    double kl; /* over the skills' answers: sum of the KL at every state, and the states */
    size_t kl_tokens;
} suite_runner;

/* Whether it is another policy than the model's own. */
static bool is_customised(const suite_runner *runner) {
    return runner->adapter != NULL || runner->options->mixture != NULL;
}

/* ---- prompts ---- */

static qa_status encode(const suite_runner *runner, const qa_suite_items *items, size_t i, qa_text *text, qa_ids *ids,
                        qa_error *err) {
    const qa_suite_item *item = &items->items[i];
    const size_t context = qa_model_get_info(runner->model)->context;
    QA_TRY(qa_chat_encode(runner->options->renderer, item->dialogue.messages, item->dialogue.n, text, ids, err));
    if (qa_chat_drops_system(item->dialogue.messages, item->dialogue.n, text)) {
        qa_warn(runner->warnings, "%s: the chat template leaves out what the system messages say", items->path);
    }
    QA_FAIL_IF(ids->n == 0, err, QA_ERR_FORMAT, "the prompt has no tokens");
    QA_FAIL_IF(ids->n >= context, err, QA_ERR_LIMIT,
               "the prompt has %zu tokens and leaves no room for an answer: the model's "
               "context is %zu",
               ids->n, context);
    return QA_OK;
}

static void free_prompts(qa_ids *prompts, size_t n) {
    for (size_t i = 0; prompts != NULL && i < n; i++) {
        qa_ids_free(&prompts[i]);
    }
    free(prompts);
}

/* The first n items as ids, owned by the caller (free_prompts). */
static qa_status encode_all(const suite_runner *runner, const qa_suite_items *items, size_t n, qa_ids **prompts,
                            qa_error *err) {
    qa_text text = {0};
    qa_status status = QA_OK;
    QA_TRY(QA_NEW(*prompts, n, err, "%zu prompts", n));
    for (size_t i = 0; i < n && status == QA_OK; i++) {
        status = qa_prefixed(encode(runner, items, i, &text, &(*prompts)[i], err), err, "%s:%zu: ", items->path,
                             items->items[i].line);
    }
    qa_text_free(&text);
    if (status != QA_OK) {
        free_prompts(*prompts, n);
        *prompts = NULL;
    }
    return status;
}

/* ---- answers ---- */

/* One file of items while it is answered: a skill or shares, the other NULL. */
typedef struct round_of_answers {
    suite_runner *runner;
    const qa_suite_items *items;
    const char *name;
    qa_skill_result *skill;
    const qa_suite_shares *shares;
    qa_shares_result *counts;
    double log_ratio; /* sum over answers */
    qa_answer_text response;
    size_t done, total;
    qa_status status; /* of on_answer: what made it stop */
    qa_error *err;
} round_of_answers;

static void count_kind(qa_skill_result *skill, const char *kind, bool right) {
    size_t i = 0;
    if (kind == NULL) {
        return;
    }
    while (i < skill->n_kinds && strcmp(skill->kinds[i].name, kind) != 0) {
        i++;
    }
    if (i == QA_SUITE_MAX_KINDS) {
        return;
    }
    qa_kind_result *kind_result = &skill->kinds[i];
    if (i == skill->n_kinds) {
        memcpy(kind_result->name, kind, strlen(kind) + 1); /* the loader checked its length */
        skill->n_kinds++;
    }
    kind_result->questions++;
    kind_result->right += right ? 1 : 0;
}

static qa_status takes_too_long(const round_of_answers *round, const char *whose, const qa_text *response) {
    return qa_fail(round->err, QA_ERR_LIMIT,
                   "%s: the regular expression of %s takes too much work on a response of %zu bytes: write it without "
                   "repetitions inside repetitions",
                   round->name, whose, response->n);
}

static qa_status take_suite_answer(round_of_answers *round, const qa_answer *answer) {
    suite_runner *runner = round->runner;
    const qa_suite_item *item = &round->items->items[answer->prompt];
    const qa_text *response = &round->response.text;
    QA_TRY(qa_answer_text_begin(&round->response, runner->tokenizer, &runner->end, runner->end.texts,
                                runner->end.n_texts, NULL, 0, round->err));
    QA_TRY(qa_answer_text_take_all(&round->response, answer->ids, answer->n, round->err));
    if (round->skill != NULL) {
        const bool right = qa_grader_accepts(item->grader, response->data, response->n);
        if (qa_grader_gave_up(item->grader)) {
            return takes_too_long(round, "a question's \"answer\"", response);
        }
        round->skill->questions++;
        round->skill->right += right ? 1 : 0;
        count_kind(round->skill, item->kind, right);
        runner->kl += answer->kl;
        runner->kl_tokens += answer->n;
        return qa_transcript_add(runner->transcript, "skill", round->name, item, answer, response, NULL, right,
                                 round->err);
    }
    const size_t k = qa_suite_classify(round->shares, response->data, response->n);
    for (size_t i = 0; i < round->shares->n_classes; i++) {
        if (qa_regex_gave_up(round->shares->classes[i].pattern)) {
            return takes_too_long(round, round->shares->classes[i].name, response);
        }
    }
    const bool known = k < round->shares->n_classes;
    round->counts->answers++;
    *(known ? &round->counts->classes[k].count : &round->counts->unclassified) += 1;
    round->log_ratio += answer->log_ratio;
    return qa_transcript_add(runner->transcript, "shares", round->name, item, answer, response,
                             known ? round->shares->classes[k].name : "unclassified", false, round->err);
}

static bool on_answer(void *user, const qa_answer *answer) {
    round_of_answers *round = user;
    const qa_suite_options *options = round->runner->options;
    round->status = take_suite_answer(round, answer);
    round->done++;
    return round->status == QA_OK &&
           (options->progress == NULL || options->progress(options->user, round->name, round->done, round->total));
}

static qa_status answer_all(round_of_answers *round, size_t max_tokens, size_t samples, double temperature) {
    suite_runner *runner = round->runner;
    const qa_suite_options *options = runner->options;
    const size_t limit = options->limit;
    const size_t n = limit != 0 && limit < round->items->n ? limit : round->items->n;
    qa_ids *prompts = NULL;
    QA_TRY(encode_all(runner, round->items, n, &prompts, round->err));
    qa_batch_options batch = {.policy = is_customised(runner) ? QA_POLICY_CUSTOM : QA_POLICY_BASE,
                              .objective = options->objective,
                              .mixture = options->mixture,
                              .sampling = qa_sampling_defaults(),
                              .end_ids = runner->end.ids,
                              .n_end_ids = runner->end.n_ids,
                              .max_tokens = max_tokens,
                              .samples = samples,
                              .particles = temperature > 0.0 ? options->particles : 0, /* greedy ones are the same */
                              .batch = options->batch,
                              .measured = options->measured,
                              .on_answer = on_answer,
                              .user = round};
    batch.sampling.temperature = temperature;
    batch.sampling.seed = options->seed;
    round->total = n * samples;
    size_t failed = SIZE_MAX;
    batch.failed_prompt = &failed;
    qa_status status = qa_generate_batch(runner->model, runner->adapter, prompts, n, &batch, round->err);
    if (round->status != QA_OK) {
        status = round->status;
    } else if (status != QA_OK && status != QA_ERR_INTERRUPTED) {
        if (failed < n) {
            qa_error_prefix(round->err, "%s:%zu: ", round->items->path, round->items->items[failed].line);
        } else {
            qa_error_prefix(round->err, "%s: ", round->items->path);
        }
    }
    qa_answer_text_free(&round->response);
    free_prompts(prompts, n);
    return status;
}

/* ---- the parts ---- */

static qa_status run_skill(suite_runner *runner, const qa_suite_skill *skill, qa_skill_result *result, qa_error *err) {
    memcpy(result->name, skill->name, sizeof result->name);
    round_of_answers round = {
        .runner = runner, .items = &skill->questions, .name = skill->name, .skill = result, .err = err};
    return answer_all(&round, skill->max_tokens, 1, 0.0);
}

static qa_status run_shares(suite_runner *runner, size_t i, qa_shares_result *result, qa_error *err) {
    const qa_suite_shares *shares = &runner->suite->shares[i];
    double reward[QA_SUITE_MAX_CLASSES];
    const bool rewarded = qa_suite_summed_reward(reward, runner->suite, i, runner->options);
    round_of_answers round = {.runner = runner,
                              .items = &shares->prompts,
                              .name = shares->name,
                              .shares = shares,
                              .counts = result,
                              .err = err};
    QA_TRY(answer_all(&round, shares->max_tokens, runner->options->samples, 1.0));
    qa_suite_shares_finish(result, shares, rewarded ? reward : NULL,
                           runner->options->objective == NULL ? 1.0 : runner->options->objective->alpha_tilde);
    result->sequence_kl = is_customised(runner) ? round.log_ratio / (double)result->answers : (double)NAN;
    return QA_OK;
}

static qa_status run_parts(suite_runner *runner, qa_suite_result *result, qa_error *err) {
    const qa_suite *suite = runner->suite;
    for (size_t i = 0; i < suite->n_skills; i++) {
        QA_TRY(run_skill(runner, &suite->skills[i], &result->skills[i], err));
    }
    for (size_t i = 0; i < suite->n_shares; i++) {
        QA_TRY(run_shares(runner, i, &result->shares[i], err));
    }
    if (is_customised(runner) && runner->kl_tokens > 0) {
        result->ordinary_kl = runner->kl / (double)runner->kl_tokens;
    }
    if (suite->text == NULL) {
        return QA_OK;
    }
    return qa_suite_perplexity(suite->text, runner->model, runner->adapter, runner->tokenizer, runner->options,
                               &result->perplexity, &result->perplexity_tokens, &result->warnings, err);
}

static qa_status check(const qa_suite *suite, const qa_adapter *adapter, const qa_suite_options *options,
                       qa_error *err) {
    QA_FAIL_IF(options->samples == 0 || options->batch == 0, err, QA_ERR_ARGUMENT,
               "samples and batch must be 1 or more");
    QA_FAIL_IF(adapter != NULL && options->mixture != NULL, err, QA_ERR_ARGUMENT,
               "a suite measures an adapter or a mixture, not both");
    QA_TRY(options->mixture == NULL ? QA_OK : qa_mixture_check(options->mixture, err));
    if (adapter != NULL) {
        QA_FAIL_IF(options->objective == NULL, err, QA_ERR_ARGUMENT, "an adapter needs an objective");
        QA_TRY(qa_objective_check(options->objective, err));
    }
    for (size_t i = 0; i < options->n_sum; i++) {
        const qa_suite_term *term = &options->sum[i];
        const char *names = qa_suite_preference_names(suite);
        QA_FAIL_IF(!qa_suite_has_preference(suite, term->preference), err, QA_ERR_ARGUMENT,
                   "the suite %s has no preference \"%s\"; it has %s", suite->name, term->preference,
                   names[0] == '\0' ? "none" : names);
        QA_FAIL_IF(!isfinite(term->weight), err, QA_ERR_ARGUMENT,
                   "the weight of the preference %s is %g: expected a "
                   "finite number",
                   term->preference, term->weight);
    }
    return QA_OK;
}

qa_status qa_suite_run(const qa_suite *suite, qa_model *model, const qa_adapter *adapter, const qa_tokenizer *tokenizer,
                       const qa_suite_options *options, qa_suite_result *result, qa_error *err) {
    const double begun = qa_seconds();
    qa_status status = QA_OK;
    *result = (qa_suite_result){.ordinary_kl = (double)NAN, .perplexity = (double)NAN};
    QA_TRY(check(suite, adapter, options, err));
    qa_chat *owned = NULL;
    qa_suite_options with = *options;
    suite_runner runner = {.suite = suite,
                           .model = model,
                           .adapter = adapter,
                           .tokenizer = tokenizer,
                           .options = &with,
                           .warnings = &result->warnings};
    const qa_model_info *info = qa_model_get_info(model);
    QA_TRY(qa_chat_of_options(&with.renderer, &owned, options->renderer, options->chat, tokenizer, err));
    QA_GOTO(failed, qa_answer_end_find(&runner.end, with.renderer, tokenizer, info->eos_ids, info->n_eos, err));
    result->n_skills = suite->n_skills;
    result->n_shares = suite->n_shares;
    result->skills = qa_alloc_array(suite->n_skills, sizeof *result->skills);
    result->shares = qa_alloc_array(suite->n_shares, sizeof *result->shares);
    if (result->skills == NULL || result->shares == NULL) {
        QA_GOTO(failed, QA_NO_MEMORY(err, "the results of a suite"));
    }
    QA_GOTO(failed, qa_transcript_open(&runner.transcript, options->transcript, err));
    QA_GOTO(failed, run_parts(&runner, result, err));
    qa_transcript *transcript = runner.transcript;
    runner.transcript = NULL;
    QA_GOTO(failed, qa_transcript_commit(transcript, err));
    result->seconds = qa_seconds() - begun;
    qa_chat_free(owned);
    return QA_OK;
failed:
    qa_chat_free(owned);
    qa_transcript_abort(runner.transcript);
    qa_suite_result_free(result);
    return status;
}

void qa_suite_result_free(qa_suite_result *result) {
    free(result->skills);
    free(result->shares);
    qa_warnings_free(&result->warnings);
    *result = (qa_suite_result){0};
}
