/* Means over a whole set of pairs, in the file's order. (M10) is taken over the whole set under both
 * objectives; the micro-batch matters to the published one alone, whose returns depend on the padded length. */
#include "train/evaluate.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/try.h"
#include "rl/label_noise.h"
#include "train/pair_metrics.h"
#include "train/reference_point.h"

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

/* Counted transitions of the whole set. */
static size_t count_all(const qa_pairs *pairs, const qa_objective *objective, size_t micro_batch) {
    const size_t n = qa_pairs_count(pairs);
    size_t counted = 0;
    for (size_t first = 0; first < n; first += micro_batch) {
        const size_t count = smaller(micro_batch, n - first);
        const size_t padded_length = qa_padded_length(pairs, first, count);
        for (size_t i = first; i < first + count; i++) {
            counted += qa_pair_counted(qa_pairs_at(pairs, i), objective, padded_length);
        }
    }
    return counted;
}

/* The least of values[n], 0 if n is 0. */
static double least_of(const double *values, size_t n) {
    double least = 0.0;
    for (size_t i = 0; i < n; i++) {
        least = values[i] < least ? values[i] : least;
    }
    return least;
}

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

/* One evaluation on its way. */
typedef struct evaluating {
    qa_pair_step *step;
    const qa_pairs *pairs;
    const qa_objective *objective;
    const char *data; /* for messages */
    qa_base_cache *cache;
    progress_sink progress;
    size_t micro_batch, done;
    qa_divisors divisors;
    qa_pair_metrics sums;
    pair_values values;
    double points; /* sum of the reference points */
} evaluating;

static bool evaluation_goes_on(void *user) {
    const evaluating *e = user;
    return e->progress.function == NULL || e->progress.function(e->progress.user, e->done, qa_pairs_count(e->pairs));
}

/* What the pairs of a micro-batch share, before its first one. */
static qa_status begin_micro_batch(evaluating *e, size_t first, qa_error *err) {
    const size_t count = smaller(e->micro_batch, qa_pairs_count(e->pairs) - first);
    const qa_micro_batch_of batch = {.pairs = e->pairs, .first = first, .count = count, .name = e->data};
    e->divisors.padded_length = qa_padded_length(e->pairs, first, count);
    if (qa_method_of(e->objective)->data == QA_DATA_LABELLED) {
        QA_TRY(qa_reference_point_find(e->step, e->objective, &batch, evaluation_goes_on, e,
                                       &e->divisors.reference_point, err));
        e->points += e->divisors.reference_point;
    }
    return QA_OK;
}

static qa_status evaluate_one(evaluating *e, size_t i, qa_error *err) {
    const qa_pair *pair = qa_pairs_at(e->pairs, i);
    const bool labelled = qa_pairs_labelled(e->pairs);
    const qa_pair_visit visit = {.padded_length = e->divisors.padded_length,
                                 .chosen_alone = labelled,
                                 .slot = qa_base_cache_slot(e->cache, QA_KEPT_EVALUATION, i)};
    QA_TRY(qa_prefixed(qa_pair_step_forward(e->step, pair, &visit, err), err, "pair at line %zu of %s: ", pair->line,
                       e->data));
    const bool has_loss = !labelled || qa_method_of(e->objective)->data == QA_DATA_LABELLED;
    const qa_pair_loss loss = has_loss ? qa_pair_step_loss(e->step, &e->divisors) : (qa_pair_loss){NAN, NAN};
    qa_pair_metrics_add(&e->sums, pair, e->step, loss);
    QA_FAIL_IF(has_loss && !isfinite(loss.pref + loss.reg), err, QA_ERR_NAN, "pair at line %zu of %s: the loss is %g",
               pair->line, e->data, loss.pref + loss.reg);
    if (!labelled) {
        e->values.logit[i] = qa_pair_step_logit(e->step);
        if (e->values.ranked != NULL) {
            e->values.ranked[i] = qa_ranked_right(e->step);
        }
    }
    if (!pair->undesirable) {
        const size_t at = labelled ? e->sums.labelled[QA_CHOSEN] - 1 : i;
        const qa_side_step *chosen = qa_pair_step_side(e->step, QA_CHOSEN);
        e->values.hardest_pi1[at] = least_of(chosen->log_pi1, chosen->n);
        e->values.hardest_custom[at] = least_of(chosen->log_pi, chosen->n);
    }
    return QA_OK;
}

static qa_status evaluate_all(evaluating *e, qa_error *err) {
    const size_t n = qa_pairs_count(e->pairs);
    for (size_t i = 0; i < n; i++) {
        QA_TRY(i % e->micro_batch == 0 ? begin_micro_batch(e, i, err) : QA_OK);
        QA_TRY(evaluate_one(e, i, err));
        e->done = i + 1;
        QA_FAIL_IF(!evaluation_goes_on(e), err, QA_ERR_INTERRUPTED, "stopped after %zu of %zu pairs", i + 1, n);
    }
    return QA_OK;
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
        .progress = {progress, user},
        .micro_batch = together,
        .divisors = {.pairs = (double)n,
                     .counted = (double)count_all(pairs, objective, together),
                     .responses = qa_count_responses(pairs, n)},
        .sums = {.returns = qa_pairs_labelled(pairs) ? logits : NULL, .capacity = n},
        .values = {.ranked = ranked, .logit = logits, .hardest_pi1 = logits + n, .hardest_custom = logits + 2 * n}};
    const qa_status status = evaluate_all(&e, err);
    if (status == QA_OK) {
        summarise(evaluation, &e.sums, objective, &e.values);
        evaluation->reference_point = qa_method_of(objective)->data == QA_DATA_LABELLED
                                          ? e.points / (double)((n - 1) / together + 1)
                                          : (double)NAN;
        evaluation->seconds = qa_seconds() - start;
    }
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
