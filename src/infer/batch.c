/* Many prompts at once (qadapter/infer.h): a client of the engine (infer/engine.h) that has `batch` requests live at a
 * time and the next ones ready. Answers finish in any order and are handed out in that of prompts and samples: one that
 * is early waits. Of a mixture with particles the engine is asked for every particle, and one of each group of them is
 * handed out, chosen by its weight (rl/mixture.h).
 *
 * Rounding depends on which sequences run together. So all answers are cut into consecutive lots, each by an engine of
 * its own; lots are a function of what is asked alone, and whole ones are shared out among ranks (cluster/blocks.h). */
#include "base/buffer.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "cluster/blocks.h"
#include "infer/engine.h"
#include "rl/mixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PARTICLE_STREAM = 0x70617274, /* the seed's stream of random numbers that chooses among particles */
    LOT_BATCHES = 4,              /* at a lot's end fewer run together: the longer it is, the less that costs */
    LOTS_OF_RANK = 2              /* of a block */
};

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
    qa_model *model;
    const qa_ids *prompts;
    size_t n_prompts;
    const qa_batch_options *options;
    qa_engine_policy policy;
    size_t V, context, capacity;
    size_t group; /* the engine's answers for one that is handed out */
    size_t span;  /* answers that are handed out together: those that are valued together */
    size_t all;   /* answers to hand out, of the whole call */
    size_t taken; /* of them those that were */
    size_t lot;   /* of a lot, but for the last one */
    /* of the lot at hand */
    size_t first;          /* answer */
    size_t total;          /* the engine's answers */
    size_t started;        /* of them those that it was asked for */
    size_t delivered;      /* answers that were handed on */
    batch_answer *answers; /* [lot * group] */
    double *log_weights;   /* [group] */
    qa_answer *valued;     /* [span] */
    double *values;        /* [span] */
    qa_text piece;         /* an answer that is handed on */
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
    QA_FAIL_IF(batch->group > 1 && batch->options->value != NULL, err, QA_ERR_ARGUMENT,
               "answers that are chosen among particles are not valued");
    QA_FAIL_IF(batch->group > 1 && !as_it_is, err, QA_ERR_ARGUMENT,
               "particles are samples of the mixture itself: temperature 1, no top_k, top_p, min_p and no repetition "
               "penalty");
    return QA_OK;
}

/* Answers of a lot: `together` of the engine's, whole spans, and of whole prompts where those are no more. */
static size_t size_of_lot(const answer_batch *batch) {
    const qa_batch_options *options = batch->options;
    const size_t wanted = options->together != 0                    ? options->together
                          : options->batch > SIZE_MAX / LOT_BATCHES ? SIZE_MAX
                                                                    : LOT_BATCHES * options->batch;
    const size_t answers = wanted / batch->group;
    const size_t unit = options->samples <= answers ? options->samples : batch->span;
    const size_t lot = answers < unit ? unit : answers - answers % unit;
    return lot < batch->all ? lot : batch->all;
}

static qa_status check_batch(answer_batch *batch, qa_error *err) {
    const qa_batch_options *options = batch->options;
    size_t sequences = 0, *capacity = &batch->capacity;
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
    const bool fits = qa_mul_size(batch->n_prompts, options->samples, &batch->all) &&
                      qa_mul_size(batch->all, batch->group, &sequences);
    QA_FAIL_IF(!fits, err, QA_ERR_LIMIT, "%zu samples of %zu prompts are too many", options->samples, batch->n_prompts);
    batch->lot = size_of_lot(batch);
    return QA_OK;
}

/* As many requests as there is work for; a plain adapter's that are not measured need one stream each, a mixture's one
 * more than it has parts. */
static qa_status make_engine(const answer_batch *batch, qa_engine **engine, qa_error *err) {
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
    const qa_engine_limits limits = {.slots = slots,
                                     .capacity = batch->capacity,
                                     .streams = streams,
                                     .prompt_tokens = SIZE_MAX,
                                     .answers_only = true};
    return qa_engine_create(engine, batch->model, adapters, n, &limits, err);
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
        const size_t of_prompt = options->samples * batch->group, number = batch->first * batch->group + batch->started;
        const size_t prompt = number / of_prompt, draw = number % of_prompt;
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

/* Whether the next span has finished, all particles of its answers. */
static bool is_deliverable(const answer_batch *batch) {
    const size_t first = batch->delivered * batch->group, n = batch->span * batch->group;
    size_t finished = 0;
    while (finished < n && first + finished < batch->started && batch->answers[first + finished].finished) {
        finished++;
    }
    return finished == n;
}

/* An answer as bytes, with what it points to behind it, in the order of what they are aligned to. */
static qa_status hand_on(answer_batch *batch, const qa_answer *said, qa_block_pieces *to, qa_error *err) {
    const size_t weights = said->log_weights == NULL ? 0 : said->particles;
    batch->piece.n = 0;
    QA_TRY(qa_text_append(&batch->piece, (const char *)said, sizeof *said, err));
    QA_TRY(qa_text_append(&batch->piece, (const char *)said->values, said->n * sizeof *said->values, err));
    QA_TRY(qa_text_append(&batch->piece, (const char *)said->log_weights, weights * sizeof *said->log_weights, err));
    QA_TRY(qa_text_append(&batch->piece, (const char *)said->ids, said->n * sizeof *said->ids, err));
    return qa_block_give(to, batch->piece.data, batch->piece.n, err);
}

/* Reads what hand_on wrote. */
static qa_status take_answer_piece(void *user, const void *piece, size_t bytes, qa_error *err) {
    answer_batch *batch = user;
    const size_t of_token = sizeof(qa_token_value) + sizeof(int32_t);
    qa_answer said = {0};
    memcpy(&said, piece, bytes < sizeof said ? bytes : sizeof said);
    const size_t n_weights = said.log_weights == NULL ? 0 : said.particles, left = bytes - sizeof said;
    QA_FAIL_IF(bytes < sizeof said || said.n > left / of_token || n_weights > left / sizeof(double) ||
                   said.n * of_token + n_weights * sizeof(double) != left,
               err, QA_ERR_FORMAT, "an answer of another rank has %zu bytes, which are not its %zu tokens", bytes,
               said.n);
    said.values = (const void *)((const char *)piece + sizeof said);
    const double *weights = (const void *)(said.values + said.n);
    said.log_weights = n_weights == 0 ? NULL : weights;
    said.ids = (const void *)(weights + n_weights);
    batch->taken++;
    return batch->options->on_answer(batch->options->user, &said)
               ? QA_OK
               : qa_fail(err, QA_ERR_INTERRUPTED, "stopped after %zu of %zu answers", batch->taken, batch->all);
}

/* The next span of answers, each with its value. */
static qa_status deliver_span(answer_batch *batch, qa_block_pieces *to, qa_error *err) {
    const qa_batch_options *options = batch->options;
    batch_answer *answers = &batch->answers[batch->delivered * batch->group];
    for (size_t i = 0; i < batch->span; i++) {
        batch_answer *answer = choose_particle(batch, &answers[i * batch->group]);
        answer->said.ids = answer->ids.data;
        answer->said.n = answer->ids.n;
        answer->said.values = answer->values;
        batch->valued[i] = answer->said;
    }
    if (options->value != NULL) {
        QA_TRY(options->value(options->user, batch->valued, batch->span, batch->values, err));
    }
    for (size_t i = 0; i < batch->span; i++) {
        batch->valued[i].value = batch->values[i];
        QA_TRY(hand_on(batch, &batch->valued[i], to, err));
    }
    for (size_t k = 0; k < batch->span * batch->group; k++) {
        free_answer(&answers[k]);
    }
    batch->delivered += batch->span;
    if (options->progress != NULL) { /* rank 0's lots are a block's first; the others' are about as far */
        const size_t made = batch->first + batch->delivered - batch->taken, left = batch->all - batch->taken;
        const size_t ranks = qa_cluster_ranks(batch->model->context->cluster);
        options->progress(options->user, batch->taken + (made < left / ranks ? ranks * made : left), batch->all);
    }
    return QA_OK;
}

static qa_status answer_with(answer_batch *batch, qa_engine *engine, qa_block_pieces *to, qa_error *err) {
    const qa_batch_options *options = batch->options;
    while (batch->delivered < batch->total / batch->group) {
        QA_FAIL_IF(options->should_stop != NULL && options->should_stop(options->user), err, QA_ERR_INTERRUPTED,
                   "stopped after %zu of %zu answers", batch->first + batch->delivered, batch->all);
        QA_TRY(ask_next(batch, engine, err));
        QA_TRY(qa_engine_step(engine, err));
        if (batch->status != QA_OK) {
            if (err != NULL) {
                *err = batch->err;
            }
            return batch->status;
        }
        while (is_deliverable(batch) && batch->delivered < batch->total / batch->group) {
            QA_TRY(deliver_span(batch, to, err));
        }
    }
    return QA_OK;
}

static qa_status answer_lot(void *user, size_t lot, qa_block_pieces *to, qa_error *err) {
    answer_batch *batch = user;
    qa_engine *engine = NULL;
    batch->first = lot * batch->lot;
    const size_t left = batch->all - batch->first;
    batch->total = (left < batch->lot ? left : batch->lot) * batch->group;
    batch->started = batch->delivered = 0;
    qa_status status = make_engine(batch, &engine, err);
    if (status == QA_OK) {
        status = answer_with(batch, engine, to, err);
    }
    qa_engine_free(engine);
    for (size_t i = 0; i < batch->started; i++) {
        free_answer(&batch->answers[i]);
    }
    return status;
}

/* Of each lot, tokens of prompts and the longest answers there may be. */
static qa_status cost_of_lots(const answer_batch *batch, size_t *costs, qa_error *err) {
    for (size_t i = 0; i < batch->all; i++) {
        const size_t prompt = i / batch->options->samples;
        size_t *cost = &costs[i / batch->lot];
        const size_t one = batch->prompts[prompt].n + limit_of_prompt(batch, prompt);
        QA_FAIL_IF(*cost > SIZE_MAX / 2 - one, err, QA_ERR_LIMIT, "too many tokens");
        *cost += one;
    }
    return QA_OK;
}

static qa_status answer_all_lots(answer_batch *batch, qa_error *err) {
    const size_t lots = (batch->all - 1) / batch->lot + 1;
    size_t *costs = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, QA_NEW(costs, lots, err, "%zu lots of answers", lots));
    QA_GOTO(done, QA_NEW(batch->answers, batch->lot * batch->group, err, "%zu answers", batch->lot));
    QA_GOTO(done, QA_NEW(batch->log_weights, batch->group, err, "%zu particles", batch->group));
    QA_GOTO(done, QA_NEW(batch->valued, batch->span, err, "%zu answers", batch->span));
    QA_GOTO(done, QA_NEW(batch->values, batch->span, err, "%zu answers", batch->span));
    QA_GOTO(done, cost_of_lots(batch, costs, err));
    const qa_blocks blocks = {.n = lots,
                              .costs = costs,
                              .per_rank = LOTS_OF_RANK,
                              .everywhere = true,
                              .run = answer_lot,
                              .take = take_answer_piece,
                              .user = batch};
    status = qa_blocks_run(batch->model->context->cluster, &blocks, err);
done:
    free(costs);
    free(batch->answers);
    free(batch->log_weights);
    free(batch->valued);
    free(batch->values);
    qa_text_free(&batch->piece);
    return status;
}

qa_status qa_generate_batch(qa_model *model, const qa_adapter *adapter, const qa_ids *prompts, size_t n_prompts,
                            const qa_batch_options *options, qa_error *err) {
    const bool custom = options->policy == QA_POLICY_CUSTOM && adapter != NULL && options->mixture == NULL;
    answer_batch batch = {.model = model,
                          .prompts = prompts,
                          .n_prompts = n_prompts,
                          .options = options,
                          .group = options->particles > 1 ? options->particles : 1,
                          .span = options->value != NULL ? options->samples : 1,
                          .V = model->config.vocab_size,
                          .context = qa_config_context(&model->config)};
    if (custom) {
        batch.policy = (qa_engine_policy){.adapter = adapter, .objective = options->objective};
    } else if (options->policy == QA_POLICY_CUSTOM) {
        batch.policy.mixture = options->mixture;
    }
    name_prompt(&batch, SIZE_MAX);
    QA_TRY(qa_sampling_check(&options->sampling, err));
    QA_TRY(check_batch(&batch, err));
    batch.policy.measured = custom && (options->measured || !qa_objective_is_plain(options->objective));
    return batch.all == 0 ? QA_OK : answer_all_lots(&batch, err);
}
