/* Means over a whole set of pairs, in the file's order, whose pairs the ranks share out (train/shared_step.h). (M10) is
 * taken over the whole set under both objectives; the micro-batch matters to the published one alone, whose returns
 * depend on the padded length. */
#include "train/evaluate.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/try.h"
#include "rl/label_noise.h"
#include "train/pair_metrics.h"
#include "train/reference_point.h"
#include "train/shared_step.h"

#include <math.h>

static int ascending(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b ? 1 : 0;
}

double qa_percentile(const double *sorted, size_t n, double p) {
    const double rank = p / 100.0 * (double)(n - 1);
    const size_t below = (size_t)rank;
    if (below + 1 >= n) {
        return sorted[n - 1];
    }
    return sorted[below] + (rank - (double)below) * (sorted[below + 1] - sorted[below]);
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* One entry a pair: z, and the least log-probability of a token of the chosen response under pi1 and under pitilde. */
typedef struct pair_values {
    double *ranked;                               /* of the caller; NULL: not wanted */
    double *logit, *hardest_pi1, *hardest_custom; /* [pairs] each, in one allocation that begins at logit */
} pair_values;

static double median(double *values, size_t n) {
    qsort(values, n, sizeof *values, ascending);
    return n == 0 ? (double)NAN : qa_percentile(values, n, 50.0);
}

/* Of the methods whose loss is the likelihood of the labels. */
static void estimate_noise(qa_evaluation *evaluation, const qa_objective *objective, const double *logit) {
    const qa_label_noise none = {(double)NAN, (double)NAN, (double)NAN, (double)NAN};
    const bool likelihood =
        !evaluation->labelled && qa_options_named(qa_method_of(objective)->options, "label-noise") != NULL;
    const qa_label_noise as_said = likelihood ? qa_label_noise_estimate(logit, NULL, evaluation->pairs, false) : none;
    const qa_label_noise scaled = likelihood ? qa_label_noise_estimate(logit, NULL, evaluation->pairs, true) : none;
    evaluation->label_noise = as_said.share;
    evaluation->label_noise_low = as_said.low;
    evaluation->label_noise_high = as_said.high;
    evaluation->label_noise_scaled = scaled.share;
    evaluation->label_noise_scaled_low = scaled.low;
    evaluation->label_noise_scaled_high = scaled.high;
    evaluation->margin_scale = scaled.scale;
}

static void summarise(qa_evaluation *evaluation, const qa_pair_metrics *sums, const qa_objective *objective,
                      pair_values *values) {
    static const double percentiles[5] = {5.0, 25.0, 50.0, 75.0, 95.0};
    qa_metrics means = {0};
    qa_pair_metrics_means(sums, &means);
    const size_t *counted = sums->counted;
    const double chosen = counted[QA_CHOSEN] > 0 ? (double)counted[QA_CHOSEN] : 1.0;
    const double rejected = counted[QA_REJECTED] > 0 ? (double)counted[QA_REJECTED] : 1.0;
    const bool labelled = sums->returns != NULL;
    const size_t of_chosen = labelled ? sums->labelled[QA_CHOSEN] : sums->pairs;
    *evaluation = (qa_evaluation){.pairs = sums->pairs,
                                  .labelled = labelled,
                                  .desirable = sums->labelled[QA_CHOSEN],
                                  .accuracy = means.accuracy,
                                  .margin_mean = means.margin,
                                  .loss = means.loss,
                                  .pref_loss = means.pref_loss,
                                  .chi2_loss = means.chi2_loss,
                                  .q_mean = means.q_values_mean,
                                  .value_mean = means.values_mean,
                                  .reward_mean = means.reward_mean,
                                  .kl_per_token = means.kl_per_token,
                                  .reward_chosen = means.reward_chosen,
                                  .reward_rejected = means.reward_rejected,
                                  .logps_chosen = means.logps_chosen,
                                  .logps_rejected = means.logps_rejected,
                                  .nll_pi1_chosen = -sums->log_pi1[QA_CHOSEN] / chosen,
                                  .nll_pi1_rejected = -sums->log_pi1[QA_REJECTED] / rejected,
                                  .nll_custom_chosen = -sums->log_pi[QA_CHOSEN] / chosen,
                                  .nll_custom_rejected = -sums->log_pi[QA_REJECTED] / rejected,
                                  .hardest_pi1_chosen = median(values->hardest_pi1, of_chosen),
                                  .hardest_custom_chosen = median(values->hardest_custom, of_chosen),
                                  .tokens = sums->tokens};
    estimate_noise(evaluation, objective, values->logit);
    qsort(values->logit, sums->pairs, sizeof *values->logit, ascending);
    for (size_t i = 0; i < 5; i++) {
        evaluation->margin_percentile[i] =
            labelled ? (double)NAN : qa_percentile(values->logit, sums->pairs, percentiles[i]);
    }
}

typedef struct progress_sink {
    bool (*function)(void *user, size_t done, size_t total);
    void *user;
} progress_sink;

enum { BLOCK = 16 /* pairs of a rank between two exchanges, after which all know what is done */ };

/* One evaluation on its way. */
typedef struct evaluating {
    qa_pair_step *step;
    const qa_pairs *pairs;
    const qa_objective *objective;
    const char *data; /* for messages */
    qa_base_cache *cache;
    qa_cluster *cluster;
    progress_sink progress;
    size_t micro_batch;
    qa_divisors *divisors; /* of every micro-batch */
    double *points;        /* kto's reference point of every micro-batch */
    size_t first, done;    /* of the block under way; pairs that are known to be done */
    size_t block;
    qa_pair_record *records; /* [block] */
    size_t *costs;           /* [block] */
    qa_pair_metrics sums;
    pair_values values;
} evaluating;

static bool is_labelled_method(const evaluating *e) { return qa_method_of(e->objective)->data == QA_DATA_LABELLED; }

static bool evaluation_goes_on(void *user) {
    const evaluating *e = user;
    return e->progress.function == NULL || e->progress.function(e->progress.user, e->done, qa_pairs_count(e->pairs));
}

static size_t micro_batches(const evaluating *e) { return (qa_pairs_count(e->pairs) - 1) / e->micro_batch + 1; }

/* What the losses are divided by: the same numbers of the whole set in every micro-batch, and its own padded length. */
static void fill_divisors(evaluating *e) {
    const size_t n = qa_pairs_count(e->pairs);
    size_t counted = 0;
    for (size_t i = 0; i < n; i++) {
        qa_divisors *of = &e->divisors[i / e->micro_batch];
        if (i % e->micro_batch == 0) {
            of->padded_length = qa_padded_length(e->pairs, i, smaller(e->micro_batch, n - i));
        }
        counted += qa_pair_counted(qa_pairs_at(e->pairs, i), e->objective, of->padded_length);
    }
    const double responses = qa_count_responses(e->pairs, n);
    for (size_t i = 0; i < micro_batches(e); i++) {
        e->divisors[i].pairs = (double)n;
        e->divisors[i].counted = (double)counted;
        e->divisors[i].responses = responses;
    }
}

/* The reference points of the micro-batches that begin in the block. */
static qa_status find_block_points(evaluating *e, size_t count, qa_error *err) {
    const size_t first = (e->first + e->micro_batch - 1) / e->micro_batch;
    const size_t end = (e->first + count + e->micro_batch - 1) / e->micro_batch;
    if (!is_labelled_method(e) || first == end) {
        return QA_OK;
    }
    qa_micro_batch_of batch = {
        .pairs = e->pairs, .first = first * e->micro_batch, .together = e->micro_batch, .name = e->data};
    batch.count = smaller((end - first) * e->micro_batch, qa_pairs_count(e->pairs) - batch.first);
    QA_TRY(qa_reference_point_find(e->step, e->objective, &batch, evaluation_goes_on, e, e->points + first, err));
    for (size_t i = first; i < end; i++) {
        e->divisors[i].reference_point = e->points[i];
    }
    return QA_OK;
}

static qa_status evaluate_one(void *user, size_t item, qa_real *gradient, void *record, qa_error *err) {
    evaluating *e = user;
    const size_t i = e->first + item;
    const qa_pair *pair = qa_pairs_at(e->pairs, i);
    const qa_divisors *divisors = &e->divisors[i / e->micro_batch];
    const bool labelled = qa_pairs_labelled(e->pairs), has_loss = !labelled || is_labelled_method(e);
    const qa_pair_visit visit = {.padded_length = divisors->padded_length,
                                 .chosen_alone = labelled,
                                 .slot = qa_base_cache_slot(e->cache, QA_KEPT_EVALUATION, i)};
    (void)gradient;
    QA_TRY(qa_prefixed(qa_pair_step_forward(e->step, pair, &visit, err), err, "pair at line %zu of %s: ", pair->line,
                       e->data));
    const qa_pair_loss loss = has_loss ? qa_pair_step_loss(e->step, divisors) : (qa_pair_loss){NAN, NAN};
    qa_pair_record_fill(record, e->step, loss);
    QA_FAIL_IF(has_loss && !isfinite(loss.pref + loss.reg), err, QA_ERR_NAN, "pair at line %zu of %s: the loss is %g",
               pair->line, e->data, loss.pref + loss.reg);
    e->done++;
    QA_FAIL_IF(!evaluation_goes_on(e), err, QA_ERR_INTERRUPTED, "stopped after %zu of %zu pairs", e->done,
               qa_pairs_count(e->pairs));
    return QA_OK;
}

static void add_evaluated(evaluating *e, size_t i, const qa_pair_record *record) {
    const qa_pair *pair = qa_pairs_at(e->pairs, i);
    const bool labelled = qa_pairs_labelled(e->pairs);
    qa_pair_metrics_add(&e->sums, pair, record);
    if (!labelled) {
        e->values.logit[i] = record->logit;
        if (e->values.ranked != NULL) {
            e->values.ranked[i] = record->right;
        }
    }
    if (!pair->undesirable) {
        const size_t at = labelled ? e->sums.labelled[QA_CHOSEN] - 1 : i;
        e->values.hardest_pi1[at] = record->hardest_pi1;
        e->values.hardest_custom[at] = record->hardest_pi;
    }
}

static qa_status evaluate_block(evaluating *e, size_t count, qa_error *err) {
    const qa_shared_items items = {.n = count,
                                   .costs = e->costs,
                                   .run = evaluate_one,
                                   .user = e,
                                   .records = e->records,
                                   .record_bytes = sizeof *e->records};
    for (size_t i = 0; i < count; i++) {
        e->costs[i] = qa_pair_tokens(qa_pairs_at(e->pairs, e->first + i));
    }
    QA_TRY(find_block_points(e, count, err));
    QA_TRY(qa_shared_run(e->cluster, NULL, &items, err));
    for (size_t i = 0; i < count; i++) {
        add_evaluated(e, e->first + i, &e->records[i]);
    }
    if (e->done < e->first + count) { /* others did the rest of them */
        e->done = e->first + count;
        (void)evaluation_goes_on(e); /* to show it; whether to stop is asked with every pair */
    }
    return QA_OK;
}

static qa_status evaluate_all(evaluating *e, qa_error *err) {
    const size_t n = qa_pairs_count(e->pairs);
    e->block = smaller(n, BLOCK * qa_cluster_ranks(e->cluster));
    QA_TRY(QA_NEW(e->records, e->block, err, "the records of %zu pairs", e->block));
    QA_TRY(QA_NEW(e->costs, e->block, err, "the records of %zu pairs", e->block));
    QA_TRY(QA_NEW(e->divisors, micro_batches(e), err, "%zu micro-batches", micro_batches(e)));
    QA_TRY(QA_NEW(e->points, micro_batches(e), err, "%zu micro-batches", micro_batches(e)));
    fill_divisors(e);
    for (; e->first < n; e->first += e->block) {
        QA_TRY(evaluate_block(e, smaller(e->block, n - e->first), err));
    }
    return QA_OK;
}

/* The mean over the micro-batches; NaN of a method without. */
static double mean_point(const evaluating *e) {
    const size_t n = micro_batches(e);
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += e->points[i];
    }
    return is_labelled_method(e) ? sum / (double)n : (double)NAN;
}

qa_status qa_evaluate_with(qa_pair_step *step, const qa_pairs *pairs, const qa_objective *objective, size_t micro_batch,
                           const char *data, qa_base_cache *cache, double *ranked,
                           bool (*progress)(void *user, size_t done, size_t total), void *user,
                           qa_evaluation *evaluation, qa_error *err) {
    const double start = qa_seconds();
    const size_t n = qa_pairs_count(pairs);
    const size_t together = micro_batch == 0 ? n : micro_batch;
    QA_FAIL_IF(n == 0, err, QA_ERR_ARGUMENT, "no pairs to evaluate on");
    double *logits = qa_alloc_array(n, 3 * sizeof *logits);
    if (logits == NULL) {
        return QA_NO_MEMORY(err, "the margins of %zu pairs", n);
    }
    evaluating e = {
        .step = step,
        .pairs = pairs,
        .objective = objective,
        .data = data == NULL ? "the evaluation data" : data,
        .cache = cache,
        .cluster = qa_pair_step_cluster(step),
        .progress = {progress, user},
        .micro_batch = together,
        .sums = {.returns = qa_pairs_labelled(pairs) ? logits : NULL, .capacity = n},
        .values = {.ranked = ranked, .logit = logits, .hardest_pi1 = logits + n, .hardest_custom = logits + 2 * n}};
    const qa_status status = evaluate_all(&e, err);
    if (status == QA_OK) {
        summarise(evaluation, &e.sums, objective, &e.values);
        evaluation->reference_point = mean_point(&e);
        evaluation->seconds = qa_seconds() - start;
    }
    free(e.points);
    free(e.divisors);
    free(e.costs);
    free(e.records);
    free(logits);
    return status;
}

qa_status qa_evaluate_ranked(qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs,
                             const qa_objective *objective, size_t micro_batch, double *ranked,
                             bool (*progress)(void *user, size_t done, size_t total), void *user,
                             qa_evaluation *evaluation, qa_error *err) {
    qa_pair_limits limits = {0};
    qa_pair_step *step = NULL;
    (qa_method_of(objective)->data == QA_DATA_LABELLED ? qa_pair_limits_include_mismatched
                                                       : qa_pair_limits_include)(&limits, pairs);
    QA_TRY(qa_pair_step_create(&step, model, adapter, objective, limits, err));
    const qa_status status =
        qa_evaluate_with(step, pairs, objective, micro_batch, NULL, NULL, ranked, progress, user, evaluation, err);
    qa_pair_step_free(step);
    return status;
}

qa_status qa_evaluate(qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs, const qa_objective *objective,
                      size_t micro_batch, bool (*progress)(void *user, size_t done, size_t total), void *user,
                      qa_evaluation *evaluation, qa_error *err) {
    return qa_evaluate_ranked(model, adapter, pairs, objective, micro_batch, NULL, progress, user, evaluation, err);
}
