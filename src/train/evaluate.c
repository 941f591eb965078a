/* Means over a whole set of pairs, in the file's order. (M10) is taken over the whole set under both
 * objectives; the micro-batch matters to the published one alone, whose returns depend on the padded length. */
#include "train/evaluate.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/try.h"
#include "rl/label_noise.h"
#include "train/pair_metrics.h"

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
    double *logit, *hardest_pi1, *hardest_custom; /* [pairs] each, in one allocation that begins at logit */
} pair_values;

static double median(double *values, size_t n) {
    qsort(values, n, sizeof *values, ascending);
    return qa_percentile(values, n, 50.0);
}

/* Of the methods whose loss is the likelihood of the labels. */
static void estimate_noise(qa_evaluation *evaluation, const qa_objective *objective, const double *logit) {
    const qa_label_noise none = {(double)NAN, (double)NAN, (double)NAN, (double)NAN};
    const bool likelihood = qa_options_named(qa_method_of(objective)->options, "label-noise") != NULL;
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
    *evaluation = (qa_evaluation){.pairs = sums->pairs,
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
                                  .hardest_pi1_chosen = median(values->hardest_pi1, sums->pairs),
                                  .hardest_custom_chosen = median(values->hardest_custom, sums->pairs),
                                  .tokens = sums->tokens};
    estimate_noise(evaluation, objective, values->logit);
    qsort(values->logit, sums->pairs, sizeof *values->logit, ascending);
    for (size_t i = 0; i < 5; i++) {
        evaluation->margin_percentile[i] = qa_percentile(values->logit, sums->pairs, percentiles[i]);
    }
}

typedef struct progress_sink {
    bool (*function)(void *user, size_t done, size_t total);
    void *user;
} progress_sink;

static qa_status evaluate_all(qa_pair_metrics *sums, pair_values *values, qa_pair_step *step, const qa_pairs *pairs,
                              qa_divisors divisors, size_t micro_batch, const char *data, qa_base_cache *cache,
                              progress_sink progress, qa_error *err) {
    const size_t n = qa_pairs_count(pairs);
    for (size_t i = 0; i < n; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        if (i % micro_batch == 0) {
            divisors.padded_length = qa_padded_length(pairs, i, smaller(micro_batch, n - i));
        }
        const qa_pair_visit visit = {.padded_length = divisors.padded_length,
                                     .slot = qa_base_cache_slot(cache, QA_KEPT_EVALUATION, i)};
        const qa_status status = qa_pair_step_forward(step, pair, &visit, err);
        if (status != QA_OK) {
            qa_error_prefix(err, "pair at line %zu of %s: ", pair->line, data == NULL ? "the evaluation data" : data);
            return status;
        }
        const qa_pair_loss loss = qa_pair_step_loss(step, &divisors);
        qa_pair_metrics_add(sums, pair, step, loss);
        QA_FAIL_IF(!isfinite(loss.pref + loss.reg), err, QA_ERR_NAN, "pair at line %zu of %s: the loss is %g",
                   pair->line, data == NULL ? "the evaluation data" : data, loss.pref + loss.reg);
        const qa_side_step *chosen = qa_pair_step_side(step, QA_CHOSEN);
        values->logit[i] = qa_pair_step_logit(step);
        values->hardest_pi1[i] = least_of(chosen->log_pi1, chosen->n);
        values->hardest_custom[i] = least_of(chosen->log_pi, chosen->n);
        QA_FAIL_IF(progress.function != NULL && !progress.function(progress.user, i + 1, n), err, QA_ERR_INTERRUPTED,
                   "stopped after %zu of %zu pairs", i + 1, n);
    }
    return QA_OK;
}

qa_status qa_evaluate_with(qa_pair_step *step, const qa_pairs *pairs, const qa_objective *objective, size_t micro_batch,
                           const char *data, qa_base_cache *cache,
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
    pair_values values = {.logit = logits, .hardest_pi1 = logits + n, .hardest_custom = logits + 2 * n};
    qa_pair_metrics sums = {0};
    const qa_divisors divisors = {.pairs = (double)n, .counted = (double)count_all(pairs, objective, together)};
    const progress_sink sink = {progress, user};
    const qa_status status = evaluate_all(&sums, &values, step, pairs, divisors, together, data, cache, sink, err);
    if (status == QA_OK) {
        summarise(evaluation, &sums, objective, &values);
        evaluation->seconds = qa_seconds() - start;
    }
    free(logits);
    return status;
}

qa_status qa_evaluate(qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs, const qa_objective *objective,
                      size_t micro_batch, bool (*progress)(void *user, size_t done, size_t total), void *user,
                      qa_evaluation *evaluation, qa_error *err) {
    qa_pair_limits limits = {0};
    qa_pair_step *step = NULL;
    qa_pair_limits_include(&limits, pairs);
    QA_TRY(qa_pair_step_create(&step, model, adapter, objective, limits, err));
    const qa_status status =
        qa_evaluate_with(step, pairs, objective, micro_batch, NULL, NULL, progress, user, evaluation, err);
    qa_pair_step_free(step);
    return status;
}
