/* The training steps of bench.h: what train/train.c does for every optimiser step, on the same pairs again and again,
 * as a run does that visits a pair once, and as it does from its second epoch on, when the base stream is kept. */
#include "bench/bench.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "data/pairs.h"
#include "model/adapter.h"
#include "model/weights.h"
#include "train/adamw.h"
#include "train/base_cache.h"
#include "train/pair_step.h"
#include "train/shared_step.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>

size_t qa_bench_peak(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}

typedef struct training {
    qa_bench *bench;
    qa_pair_step *step;
    qa_base_cache *kept; /* the base stream of the pairs */
    qa_arena arena;
    qa_gradient_tree tree;
    qa_real *gradient, *m, *v; /* [adapter->count]; the gradient is the tree's buffer 0 */
    double *partial;
    size_t *costs;       /* [n_pairs] tokens */
    double *pair_losses; /* [n_pairs] */
    qa_base_cache *used; /* by this step; NULL: none */
    size_t done;         /* steps */
    double loss;         /* of the last one */
} training;

static void take_training_arrays(training *t, qa_arena *arena, const qa_bench *bench) {
    const size_t count = bench->adapter->count;
    t->gradient = QA_TAKE(arena, qa_real, count);
    t->m = QA_TAKE(arena, qa_real, count);
    t->v = QA_TAKE(arena, qa_real, count);
    t->partial = QA_TAKE(arena, double, qa_adamw_blocks(count));
    t->costs = QA_TAKE(arena, size_t, bench->n_pairs);
    t->pair_losses = QA_TAKE(arena, double, bench->n_pairs);
    t->tree = (qa_gradient_tree){
        .pool = bench->context->pool, .most_leaves = QA_TREE_LEAVES, .count = count, .buffers = {t->gradient}};
    qa_gradient_tree_take(&t->tree, arena, qa_cluster_ranks(bench->context->cluster));
}

static qa_pair_limits training_limits(const qa_bench *bench) {
    qa_pair_limits limits = {.backward = true, .recompute = bench->recompute};
    for (size_t i = 0; i < bench->n_pairs; i++) {
        const qa_pair *pair = &bench->pairs[i];
        const size_t longer = pair->chosen_len > pair->rejected_len ? pair->chosen_len : pair->rejected_len;
        const size_t rows = qa_pair_tokens(pair);
        limits.max_prompt = pair->prompt_len > limits.max_prompt ? pair->prompt_len : limits.max_prompt;
        limits.max_response = longer > limits.max_response ? longer : limits.max_response;
        limits.max_rows = rows > limits.max_rows ? rows : limits.max_rows;
    }
    return limits;
}

/* As `train` announces it with the usual number of pairs a step. */
static qa_status plan_memory(qa_bench *bench, qa_error *err) {
    const qa_model *model = bench->model;
    const bool recompute = bench->recompute;
    const qa_train_options usual = qa_train_defaults();
    const size_t step = usual.micro_batch * usual.gradient_accumulation;
    if (bench->set != NULL) {
        return qa_train_memory_for(model, &bench->lora, bench->set, NULL, NULL, step, recompute, &bench->workspace,
                                   err);
    }
    const qa_pair *pair = &bench->pairs[0];
    return qa_train_memory(model, &bench->lora, pair->prompt_len, pair->chosen_len, step, recompute, &bench->workspace,
                           err);
}

static qa_status make_training(training *t, qa_error *err) {
    const qa_bench *bench = t->bench;
    training measured = {0};
    qa_arena measure = qa_arena_measure();
    size_t bytes = 0;
    take_training_arrays(&measured, &measure, bench);
    QA_TRY(qa_arena_bytes(&measure, &bytes, err));
    QA_TRY(qa_arena_create(&t->arena, bytes, err));
    take_training_arrays(t, &t->arena, bench);
    for (size_t i = 0; i < bench->n_pairs; i++) {
        t->costs[i] = qa_pair_tokens(&bench->pairs[i]);
    }
    return qa_pair_step_create(&t->step, bench->model, bench->adapter, &t->bench->objective, training_limits(t->bench),
                               err);
}

/* The key of a pair's dropout masks; 0 means none. */
static uint64_t dropout_key(const training *t, size_t position) {
    return t->bench->lora.dropout > 0.0 ? qa_hash(qa_hash(1, t->done), position) | 1 : 0;
}

static qa_status update(training *t, qa_error *err) {
    qa_adapter *adapter = t->bench->adapter;
    qa_pool *pool = t->bench->context->pool;
    const qa_train_options defaults = qa_train_defaults();
    const double norm = qa_gradient_norm(pool, t->gradient, adapter->count, t->partial);
    QA_FAIL_IF(qa_first_not_finite(t->gradient, adapter->count) < adapter->count || !isfinite(norm), err, QA_ERR_NAN,
               "step %zu: the gradient is not finite", t->done + 1);
    const qa_adamw options = {.beta1 = defaults.adam_beta1,
                              .beta2 = defaults.adam_beta2,
                              .epsilon = defaults.adam_epsilon,
                              .weight_decay = defaults.weight_decay,
                              .learning_rate = defaults.learning_rate,
                              .step = t->done + 1,
                              .clip = qa_clip_factor(norm, defaults.max_grad_norm)};
    qa_adamw_step(pool, adapter->parameters, t->m, t->v, t->gradient, adapter->count, &options);
    QA_FAIL_IF(qa_first_not_finite(adapter->parameters, adapter->count) < adapter->count, err, QA_ERR_NAN,
               "step %zu: the adapter is not finite after the update", t->done + 1);
    return QA_OK;
}

/* Room for the base stream of all pairs, as of a run of two epochs. */
static qa_status make_cache(training *t, qa_error *err) {
    qa_bench *bench = t->bench;
    const qa_pairs all = {.items = bench->pairs, .n = bench->n_pairs};
    qa_train_options options = qa_train_defaults();
    qa_plan plan;
    qa_base_plan base;
    options.objective = bench->objective;
    options.micro_batch = bench->n_pairs;
    options.gradient_accumulation = 1;
    options.epochs = 2.0;
    options.base_cache = QA_BASE_CACHE_MEMORY;
    QA_TRY(qa_plan_make(&plan, bench->n_pairs, &options, err));
    QA_TRY(qa_base_plan_make(&base, &plan, bench->model->config.hidden_size, &all, NULL, &options, 0, err));
    bench->base_cache = base.memory_bytes;
    return qa_base_cache_create(&t->kept, &base, &bench->context->logger, err);
}

static qa_status run_pair(void *user, size_t i, qa_real *gradient, void *record, qa_error *err) {
    const training *t = user;
    const qa_divisors *divisors = &t->bench->divisors;
    const qa_pair_visit visit = {.padded_length = divisors->padded_length,
                                 .dropout_key = dropout_key(t, i),
                                 .slot = qa_base_cache_slot(t->used, QA_KEPT_TRAIN, i)};
    double *pair_loss = record;
    QA_TRY(qa_pair_step_forward(t->step, &t->bench->pairs[i], &visit, err));
    const qa_pair_loss loss = qa_pair_step_loss(t->step, divisors);
    *pair_loss = loss.pref + loss.reg;
    qa_pair_step_backward(t->step, gradient, divisors);
    return QA_OK;
}

/* cluster NULL: by this rank alone. kept: where the base stream of the pairs is or will be; NULL: nowhere, as of pairs
 * that are visited once. */
static qa_status one_step(training *t, qa_cluster *cluster, qa_base_cache *kept, qa_error *err) {
    const qa_shared_items items = {.n = t->bench->n_pairs,
                                   .costs = t->costs,
                                   .run = run_pair,
                                   .user = t,
                                   .records = t->pair_losses,
                                   .record_bytes = sizeof *t->pair_losses};
    t->used = kept;
    QA_TRY(qa_shared_run(cluster, &t->tree, &items, err));
    t->loss = 0.0;
    for (size_t i = 0; i < items.n; i++) {
        t->loss += t->pair_losses[i];
    }
    QA_TRY(update(t, err));
    t->done++;
    return QA_OK;
}

static qa_status time_training(training *t, qa_cluster *cluster, qa_base_cache *kept, double *seconds, qa_error *err) {
    const double begun = qa_seconds();
    const qa_status status = one_step(t, cluster, kept, err);
    *seconds = qa_seconds() - begun;
    return status;
}

/* Both floors and both steps, `repeats` times after one that warms up: the first step of all, and one that keeps the
 * base stream, have been that already. */
static qa_status alternate(training *t, qa_bench_floor *floor, qa_error *err) {
    qa_bench *bench = t->bench;
    qa_pool *pool = bench->context->pool;
    (void)qa_bench_floor_step(floor, bench, true);
    bench->later_flops = floor->flops;
    (void)qa_bench_floor_step(floor, bench, false);
    bench->step_flops = floor->flops;
    for (size_t i = 0; i < bench->repeats; i++) {
        bench->progress(bench->user, "training step", i + 1, bench->repeats);
        qa_bench_seconds(bench, QA_BENCH_TIME_STEP_FLOOR)[i] = qa_bench_floor_step(floor, bench, false);
        qa_pool_profile(pool, &bench->profile);
        const qa_status status = time_training(t, NULL, NULL, &qa_bench_seconds(bench, QA_BENCH_TIME_STEP)[i], err);
        qa_pool_profile(pool, NULL);
        QA_TRY(status);
        qa_bench_seconds(bench, QA_BENCH_TIME_LATER_FLOOR)[i] = qa_bench_floor_step(floor, bench, true);
        QA_TRY(time_training(t, NULL, t->kept, &qa_bench_seconds(bench, QA_BENCH_TIME_LATER)[i], err));
    }
    const size_t found = qa_base_cache_found(t->kept), expected = bench->repeats * bench->n_pairs;
    return found == expected
               ? QA_OK
               : qa_fail(err, QA_ERR_MISMATCH,
                         "later steps: the base stream was found at %zu of %zu visits, so that they were none", found,
                         expected);
}

/* ---- several ranks ---- */

/* What rank 0 did alone, on all of them. */
static qa_status share_state(training *t, qa_cluster *cluster, qa_error *err) {
    const size_t bytes = t->bench->adapter->count * sizeof(qa_real);
    QA_TRY(qa_cluster_share(cluster, t->bench->adapter->parameters, bytes, err));
    QA_TRY(qa_cluster_share(cluster, t->m, bytes, err));
    QA_TRY(qa_cluster_share(cluster, t->v, bytes, err));
    return qa_cluster_share(cluster, &t->done, sizeof t->done, err);
}

/* A step by all: its time is that of the slowest. */
static qa_status time_all_ranks(training *t, qa_cluster *cluster, size_t repeat, qa_error *err) {
    enum { SECONDS, WAITED, EXCHANGED, TIMES };
    const size_t rank = qa_cluster_rank(cluster), ranks = qa_cluster_ranks(cluster);
    double(*times)[TIMES] = qa_alloc_array(ranks, sizeof *times);
    size_t *first = qa_alloc_array(ranks + 1, sizeof *first);
    qa_status status = times == NULL || first == NULL ? QA_NO_MEMORY(err, "%zu ranks' times", ranks) : QA_OK;
    QA_GOTO(done, qa_cluster_agree(cluster, status, err)); /* they begin together */
    const double waited = qa_cluster_waited(cluster), exchanged = qa_cluster_exchanged(cluster);
    QA_GOTO(done, time_training(t, cluster, NULL, &times[rank][SECONDS], err));
    times[rank][WAITED] = qa_cluster_waited(cluster) - waited;
    times[rank][EXCHANGED] = qa_cluster_exchanged(cluster) - exchanged;
    QA_GOTO(done, qa_cluster_gather_each(cluster, times, sizeof *times, err));
    double *slowest = &qa_bench_seconds(t->bench, QA_BENCH_TIME_STEP)[repeat];
    for (size_t r = 0; r < ranks; r++) {
        *slowest = times[r][SECONDS] > *slowest ? times[r][SECONDS] : *slowest;
        qa_bench_seconds(t->bench, QA_BENCH_TIME_WAITED)[repeat] += times[r][WAITED] / (double)ranks;
        qa_bench_seconds(t->bench, QA_BENCH_TIME_EXCHANGED)[repeat] += times[r][EXCHANGED] / (double)ranks;
    }
    qa_cluster_cut(t->costs, t->bench->n_pairs, ranks, first);
    t->bench->fullest = 0.0;
    for (size_t r = 0; r < ranks; r++) {
        double tokens = 0.0;
        for (size_t i = first[r]; i < first[r + 1]; i++) {
            tokens += (double)t->costs[i];
        }
        const double share = tokens * (double)ranks / (double)t->bench->step_tokens;
        t->bench->fullest = share > t->bench->fullest ? share : t->bench->fullest;
    }
done:
    free(times);
    free(first);
    return status;
}

/* The step by rank 0 alone, while the others sleep, and the step by all, in turns. The profile is that of rank 0 in the
 * steps of all. */
static qa_status alternate_ranks(training *t, qa_cluster *cluster, qa_error *err) {
    qa_bench *bench = t->bench;
    for (size_t i = 0; i < bench->repeats; i++) {
        qa_status status = QA_OK;
        bench->progress(bench->user, "training step", i + 1, bench->repeats);
        if (qa_cluster_rank(cluster) == 0) {
            status = time_training(t, NULL, NULL, &qa_bench_seconds(bench, QA_BENCH_TIME_ONE)[i], err);
        }
        QA_TRY(qa_cluster_agree(cluster, status, err));
        QA_TRY(share_state(t, cluster, err));
        qa_pool_profile(bench->context->pool, &bench->profile);
        status = time_all_ranks(t, cluster, i, err);
        qa_pool_profile(bench->context->pool, NULL);
        QA_TRY(status);
    }
    return QA_OK;
}

/* The later steps and the floors, which are those of a process. */
static qa_status alternate_alone(training *t, qa_error *err) {
    qa_bench_floor floor = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, make_cache(t, err));
    QA_GOTO(done, one_step(t, NULL, t->kept, err));
    QA_GOTO(done, qa_bench_floor_create_step(&floor, t->bench, err));
    QA_GOTO(done, alternate(t, &floor, err));
done:
    qa_bench_floor_free(&floor);
    return status;
}

qa_status qa_bench_step(qa_bench *bench, qa_error *err) {
    training t = {.bench = bench};
    qa_cluster *cluster = bench->context->cluster;
    const bool alone = qa_cluster_ranks(cluster) == 1;
    qa_status status = QA_OK;
    QA_GOTO(done, plan_memory(bench, err));
    QA_GOTO(done, make_training(&t, err));
    QA_GOTO(done, one_step(&t, cluster, NULL, err)); /* before the cache and the floor take memory of their own */
    bench->loss = t.loss;
    bench->peak_train = qa_bench_peak();
    QA_GOTO(done, alone ? alternate_alone(&t, err) : alternate_ranks(&t, cluster, err));
    bench->last_loss = t.loss;
done:
    qa_pair_step_free(t.step);
    qa_base_cache_free(t.kept);
    qa_arena_free(&t.arena);
    return status;
}
