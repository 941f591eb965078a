/* Many prompts at once (qadapter/infer.h): a client of the engine (infer/engine.h) that has `batch` requests live at a
 * time and the next ones ready. Answers finish in any order and are handed out in that of prompts and samples: one that
 * is early waits. Of a mixture with particles the engine is asked for every particle, and one of each group of them is
 * handed out, chosen by its weight (rl/mixture.h). */
#include "base/buffer.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "infer/engine.h"
#include "rl/mixture.h"

#include <math.h>
#include <stdlib.h>

enum { PARTICLE_STREAM = 0x70617274 }; /* the seed's stream of random numbers that chooses among particles */

/* An answer under way, or one that waits for those before it. */
typedef struct batch_answer {
    struct answer_batch *batch;
    qa_answer said; /* but for ids and n */
    qa_ids ids;
    qa_token_value *values; /* [ids.n] */
    size_t values_capacity;
    bool finished;
} batch_answer;

typedef struct answer_batch {
    const qa_ids *prompts;
    size_t n_prompts;
    const qa_batch_options *options;
    qa_engine_policy policy;
    size_t V, context;
    size_t group;          /* the engine's answers for one that is handed out */
    size_t total;          /* the engine's answers of the whole call */
    size_t started;        /* of them those that it was asked for */
    size_t delivered;      /* answers that were handed out */
    batch_answer *answers; /* [total] */
    double *log_weights;   /* [group] */
    qa_status status;      /* of the first answer that failed */
    qa_error err;
} answer_batch;

/* ---- what is asked ---- */

/* Says which prompt an error is about. */
static void name_prompt(const answer_batch *batch, size_t prompt) {
    if (batch->options->failed_prompt != NULL) {
        *batch->options->failed_prompt = prompt;
    }
}

static qa_status check_prompt(const answer_batch *batch, size_t i, qa_error *err) {
    const qa_ids *prompt = &batch->prompts[i];
    QA_FAIL_IF(prompt->n == 0, err, QA_ERR_ARGUMENT, "prompt %zu has no tokens; at least one is needed", i);
    QA_FAIL_IF(prompt->n >= batch->context, err, QA_ERR_LIMIT,
               "prompt %zu has %zu tokens, which leaves no room for an answer in the model's context of %zu", i,
               prompt->n, batch->context);
    for (size_t j = 0; j < prompt->n; j++) {
        QA_FAIL_IF(prompt->data[j] < 0 || (size_t)prompt->data[j] >= batch->V, err, QA_ERR_ARGUMENT,
                   "prompt %zu: token %zu has id %d, outside the vocabulary of %zu", i, j, prompt->data[j], batch->V);
    }
    return QA_OK;
}

/* Tokens that an answer to the prompt may have. */
static size_t limit_of_prompt(const answer_batch *batch, size_t prompt) {
    const size_t room = batch->context - batch->prompts[prompt].n;
    return batch->options->max_tokens < room ? batch->options->max_tokens : room;
}

/* The weights are those of samples of the mixture itself. */
static qa_status check_particles(const answer_batch *batch, qa_error *err) {
    const qa_sampling *sampling = &batch->options->sampling;
    const bool as_it_is = sampling->temperature == 1.0 && sampling->top_k == 0 && sampling->top_p == 1.0 &&
                          sampling->min_p == 0.0 && sampling->repetition_penalty == 1.0;
    QA_FAIL_IF(batch->group > 1 && batch->policy.mixture == NULL, err, QA_ERR_ARGUMENT,
               "particles correct a mixture, and there is none");
    QA_FAIL_IF(batch->group > 1 && !as_it_is, err, QA_ERR_ARGUMENT,
               "particles are samples of the mixture itself: temperature 1, no top_k, top_p, min_p and no repetition "
               "penalty");
    return QA_OK;
}

static qa_status check_batch(answer_batch *batch, size_t *capacity, qa_error *err) {
    const qa_batch_options *options = batch->options;
    QA_FAIL_IF(options->samples < 1 || options->batch < 1 || options->max_tokens < 1, err, QA_ERR_ARGUMENT,
               "samples (%zu), batch (%zu) and max_tokens (%zu) must be at least 1", options->samples, options->batch,
               options->max_tokens);
    if (batch->policy.adapter != NULL) {
        QA_TRY(qa_objective_check(options->objective, err));
    }
    QA_TRY(batch->policy.mixture == NULL ? QA_OK : qa_mixture_check(batch->policy.mixture, err));
    QA_TRY(check_particles(batch, err));
    *capacity = 1;
    for (size_t i = 0; i < batch->n_prompts; i++) {
        const qa_status status = check_prompt(batch, i, err);
        if (status != QA_OK) {
            name_prompt(batch, i);
            return status;
        }
        const size_t tokens = batch->prompts[i].n + limit_of_prompt(batch, i);
        *capacity = tokens > *capacity ? tokens : *capacity;
    }
    const bool fits = qa_mul_size(batch->n_prompts, options->samples, &batch->total) &&
                      qa_mul_size(batch->total, batch->group, &batch->total);
    QA_FAIL_IF(!fits, err, QA_ERR_LIMIT, "%zu samples of %zu prompts are too many", options->samples, batch->n_prompts);
    return QA_OK;
}

/* As many requests as there is work for; a plain adapter's that are not measured need one stream each, a mixture's one
 * more than it has parts. */
static qa_status make_engine(answer_batch *batch, qa_engine **engine, qa_model *model, size_t capacity, qa_error *err) {
    const qa_engine_policy *policy = &batch->policy;
    const size_t slots = batch->options->batch < batch->total ? batch->options->batch : batch->total;
    const bool one = policy->adapter != NULL && !policy->measured && qa_objective_is_plain(policy->objective);
    const qa_adapter *adapters[QA_MIXTURE_PARTS] = {policy->adapter};
    size_t n = policy->adapter == NULL ? 0 : 1, streams = one ? slots : 0;
    for (size_t i = 0; policy->mixture != NULL && i < policy->mixture->n; i++) {
        adapters[n++] = policy->mixture->parts[i].adapter;
    }
    QA_FAIL_IF(policy->mixture != NULL && !qa_mul_size(slots, 1 + n, &streams), err, QA_ERR_LIMIT,
               "%zu answers at once are too many", slots);
    const qa_engine_limits limits = {
        .slots = slots, .capacity = capacity, .streams = streams, .prompt_tokens = SIZE_MAX, .answers_only = true};
    QA_TRY(QA_NEW(batch->answers, batch->total, err, "%zu answers", batch->total));
    QA_TRY(QA_NEW(batch->log_weights, batch->group, err, "%zu particles", batch->group));
    return qa_engine_create(engine, model, adapters, n, &limits, err);
}

/* ---- answers ---- */

static qa_status keep_answer_token(batch_answer *answer, const qa_engine_token *token, qa_error *err) {
    const qa_engine_policy *policy = &answer->batch->policy;
    const bool measured = policy->measured || policy->mixture != NULL;
    const bool base = policy->adapter == NULL; /* pi1 is the policy */
    const qa_token_value value = {.log_pi = token->log_pi,
                                  .log_z = token->log_z,
                                  .log_pi1 = measured ? token->log_pi1
                                             : base   ? token->log_pi
                                                      : (double)NAN,
                                  .kl = measured ? token->kl
                                        : base   ? 0.0
                                                 : (double)NAN};
    QA_TRY(QA_GROW(answer->values, answer->values_capacity, answer->ids.n + 1, err, "an answer"));
    answer->values[answer->ids.n] = value;
    answer->said.log_ratio += value.log_pi - value.log_pi1;
    answer->said.kl += value.kl;
    answer->said.log_weight += value.log_z;
    return qa_ids_push(&answer->ids, token->id, err);
}

static bool take_token(void *user, const qa_engine_token *token) {
    batch_answer *answer = user;
    const qa_status status = keep_answer_token(answer, token, &answer->batch->err);
    answer->batch->status = answer->batch->status == QA_OK ? status : answer->batch->status;
    return status == QA_OK;
}

static void free_answer(batch_answer *answer) {
    qa_ids_free(&answer->ids);
    free(answer->values);
    answer->values = NULL;
}

static void take_end(void *user, qa_request_end end, const qa_error *err) {
    batch_answer *answer = user;
    answer_batch *batch = answer->batch;
    answer->finished = true;
    answer->said.ended = end == QA_END_TOKEN;
    if (end == QA_END_FAILED && batch->status == QA_OK) {
        batch->status = err->code;
        batch->err = *err;
        name_prompt(batch, answer->said.prompt);
        qa_error_prefix(&batch->err, "prompt %zu, sample %zu: ", answer->said.prompt, answer->said.sample);
    }
}

/* Asks for answers until as many are live as may be. */
static qa_status ask_next(answer_batch *batch, qa_engine *engine, qa_error *err) {
    const qa_batch_options *options = batch->options;
    while (batch->started < batch->total && qa_engine_live(engine) + qa_engine_waiting(engine) < options->batch) {
        batch_answer *answer = &batch->answers[batch->started];
        const size_t of_prompt = options->samples * batch->group;
        const size_t prompt = batch->started / of_prompt, draw = batch->started % of_prompt;
        uint64_t handle = 0;
        *answer = (batch_answer){.batch = batch, .said = {.prompt = prompt, .sample = draw / batch->group}};
        const qa_request request = {.policy = batch->policy,
                                    .prompt = batch->prompts[prompt].data,
                                    .n_prompt = batch->prompts[prompt].n,
                                    .max_tokens = limit_of_prompt(batch, prompt),
                                    .sampling = options->sampling,
                                    .stream = {prompt, draw},
                                    .end_ids = options->end_ids,
                                    .n_end_ids = options->n_end_ids,
                                    .on_token = take_token,
                                    .on_end = take_end,
                                    .user = answer};
        QA_TRY(qa_engine_add(engine, &request, &handle, err));
        batch->started++;
    }
    return QA_OK;
}

/* The answer of a group of particles, all of which have finished: one that is chosen by a uniform number of its own
 * stream. */
static batch_answer *choose_particle(const answer_batch *batch, batch_answer *group) {
    const size_t n = batch->group, prompt = group->said.prompt, sample = group->said.sample;
    if (n == 1) {
        return group;
    }
    qa_rng rng = qa_rng_seed(batch->options->sampling.seed, qa_hash(qa_hash(PARTICLE_STREAM, prompt), sample));
    for (size_t k = 0; k < n; k++) {
        batch->log_weights[k] = group[k].said.log_weight;
    }
    const size_t chosen = qa_m12_choose(batch->log_weights, n, qa_rng_uniform(&rng));
    qa_answer *said = &group[chosen].said;
    said->particles = n;
    said->chosen = chosen;
    said->log_weights = batch->log_weights;
    said->effective_samples = qa_m12_effective_samples(batch->log_weights, n);
    said->log_ratio += said->log_weight - qa_m12_log_mean_weight(batch->log_weights, n);
    return &group[chosen];
}

/* Whether all particles of the next answer have finished. */
static bool is_deliverable(const answer_batch *batch) {
    const size_t first = batch->delivered * batch->group;
    size_t finished = 0;
    while (finished < batch->group && first + finished < batch->started && batch->answers[first + finished].finished) {
        finished++;
    }
    return finished == batch->group;
}

static qa_status deliver(answer_batch *batch, qa_error *err) {
    while (is_deliverable(batch)) {
        batch_answer *group = &batch->answers[batch->delivered * batch->group];
        batch_answer *answer = choose_particle(batch, group);
        answer->said.ids = answer->ids.data;
        answer->said.n = answer->ids.n;
        answer->said.values = answer->values;
        const bool go_on = batch->options->on_answer(batch->options->user, &answer->said);
        for (size_t k = 0; k < batch->group; k++) {
            free_answer(&group[k]);
        }
        batch->delivered++;
        QA_FAIL_IF(!go_on, err, QA_ERR_INTERRUPTED, "stopped after %zu of %zu answers", batch->delivered,
                   batch->total / batch->group);
    }
    return QA_OK;
}

static qa_status answer_batch_all(answer_batch *batch, qa_engine *engine, qa_error *err) {
    const qa_batch_options *options = batch->options;
    const size_t all = batch->total / batch->group;
    while (batch->delivered < all) {
        QA_FAIL_IF(options->should_stop != NULL && options->should_stop(options->user), err, QA_ERR_INTERRUPTED,
                   "stopped after %zu of %zu answers", batch->delivered, all);
        QA_TRY(ask_next(batch, engine, err));
        QA_TRY(qa_engine_step(engine, err));
        if (batch->status != QA_OK) {
            if (err != NULL) {
                *err = batch->err;
            }
            return batch->status;
        }
        QA_TRY(deliver(batch, err));
    }
    return QA_OK;
}

qa_status qa_generate_batch(qa_model *model, const qa_adapter *adapter, const qa_ids *prompts, size_t n_prompts,
                            const qa_batch_options *options, qa_error *err) {
    const bool custom = options->policy == QA_POLICY_CUSTOM && adapter != NULL && options->mixture == NULL;
    answer_batch batch = {.prompts = prompts,
                          .n_prompts = n_prompts,
                          .options = options,
                          .group = options->particles > 1 ? options->particles : 1,
                          .V = model->config.vocab_size,
                          .context = qa_config_context(&model->config)};
    if (custom) {
        batch.policy = (qa_engine_policy){.adapter = adapter, .objective = options->objective};
    } else if (options->policy == QA_POLICY_CUSTOM) {
        batch.policy.mixture = options->mixture;
    }
    size_t capacity = 0;
    qa_engine *engine = NULL;
    qa_status status = QA_OK;
    name_prompt(&batch, SIZE_MAX);
    QA_TRY(qa_sampling_check(&options->sampling, err));
    QA_TRY(check_batch(&batch, &capacity, err));
    if (batch.total == 0) {
        return QA_OK;
    }
    batch.policy.measured = custom && (options->measured || !qa_objective_is_plain(options->objective));
    QA_GOTO(done, make_engine(&batch, &engine, model, capacity, err));
    status = answer_batch_all(&batch, engine, err);
done:
    qa_engine_free(engine);
    for (size_t i = 0; batch.answers != NULL && i < batch.started; i++) {
        free_answer(&batch.answers[i]);
    }
    free(batch.answers);
    free(batch.log_weights);
    return status;
}
