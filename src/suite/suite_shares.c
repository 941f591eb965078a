/* Counts of classes among sampled answers, beside the known optimum of a preference, or of a sum of them.
 *
 * Unclassified answers are one class more, at index n, of reward 0: p_n = 1 - sum of the known shares (0 when they sum
 * to 1 or more), so that optimum, total variation and KL are those of whole distributions. */
#include "suite/suite.h"

#include <math.h>
#include <string.h>

size_t qa_suite_classify(const qa_suite_shares *shares, const char *response, size_t bytes) {
    size_t k = 0;
    while (k < shares->n_classes && !qa_regex_matches(shares->classes[k].pattern, response, bytes)) {
        k++;
    }
    return k;
}

/* The known shares of the base model into p[n + 1]: as measured, else the world's own. False when neither is known. */
static bool known_shares(double *p, const qa_suite_shares *shares) {
    const size_t n = shares->n_classes;
    double sum = 0.0;
    for (size_t k = 0; k < n; k++) {
        const qa_suite_class *class = &shares->classes[k];
        p[k] = isnan(class->base) ? class->generator : class->base;
        if (isnan(p[k])) {
            return false;
        }
        sum += p[k];
    }
    p[n] = sum < 1.0 ? 1.0 - sum : 0.0;
    for (size_t k = 0; k <= n; k++) {
        p[k] /= sum < 1.0 ? 1.0 : sum;
    }
    return true;
}

bool qa_suite_summed_reward(double *reward, const qa_suite *suite, size_t i, const qa_suite_options *options) {
    bool any = false;
    for (size_t k = 0; k < QA_SUITE_MAX_CLASSES; k++) {
        reward[k] = 0.0;
    }
    for (size_t p = 0; p < options->n_sum; p++) {
        const qa_suite_preference *preference = qa_suite_find_preference(suite, options->sum[p].preference);
        const bool about = preference != NULL && preference->shares == i;
        any = any || about;
        for (size_t k = 0; about && k < suite->shares[i].n_classes; k++) {
            reward[k] += options->sum[p].weight * preference->reward[k];
        }
    }
    return any;
}

static void compare_shares(qa_shares_result *result, const qa_suite_shares *shares, const double *of_classes,
                           double alpha_tilde) {
    const size_t n = shares->n_classes;
    const double answers = (double)result->answers;
    double known[QA_SUITE_MAX_CLASSES + 1], optimum[QA_SUITE_MAX_CLASSES + 1], reward[QA_SUITE_MAX_CLASSES + 1];
    double found[QA_SUITE_MAX_CLASSES + 1], count[QA_SUITE_MAX_CLASSES + 1];
    for (size_t k = 0; k <= n; k++) {
        reward[k] = k < n ? of_classes[k] : 0.0;
        count[k] = (double)(k < n ? result->classes[k].count : result->unclassified);
        found[k] = count[k] / answers;
    }
    result->mean_reward = 0.0;
    for (size_t k = 0; k < n; k++) {
        result->classes[k].reward = reward[k];
        result->mean_reward += count[k] > 0.0 ? found[k] * reward[k] : 0.0;
    }
    if (!known_shares(known, shares)) {
        return;
    }
    qa_optimal_shares(optimum, known, reward, n + 1, alpha_tilde);
    result->optimal_reward = 0.0;
    for (size_t k = 0; k < n; k++) {
        result->classes[k].optimum = optimum[k];
        result->optimal_reward += optimum[k] * reward[k];
    }
    result->total_variation = qa_total_variation(found, optimum, n + 1);
    result->kl_to_optimum = qa_smoothed_kl(count, optimum, n + 1, answers);
}

void qa_suite_shares_finish(qa_shares_result *result, const qa_suite_shares *shares, const double *reward,
                            double alpha_tilde) {
    const double nan = (double)NAN;
    const double answers = (double)result->answers;
    memcpy(result->name, shares->name, sizeof result->name);
    result->n_classes = shares->n_classes;
    for (size_t k = 0; k < shares->n_classes; k++) {
        qa_class_result *class_result = &result->classes[k];
        memcpy(class_result->name, shares->classes[k].name, sizeof class_result->name);
        class_result->share = (double)class_result->count / answers;
        class_result->error = sqrt(class_result->share * (1.0 - class_result->share) / answers);
        class_result->generator = shares->classes[k].generator;
        class_result->base = shares->classes[k].base;
        class_result->optimum = nan;
        class_result->reward = nan;
    }
    result->mean_reward = nan;
    result->optimal_reward = nan;
    result->total_variation = nan;
    result->kl_to_optimum = nan;
    if (reward != NULL) {
        compare_shares(result, shares, reward, alpha_tilde);
    }
}
