/* See pair_metrics.h. All sums are in double: of a pair over its tokens, and of these in the order of the pairs. */
#include "train/pair_metrics.h"

#include <math.h>
#include <stdlib.h>

/* Returns that are equal but for rounding: a fresh adapter, whose Qhat is 0, prefers neither response, and the signs
 * of what rounding leaves of z must not pass for an opinion. Nats, for a return that is a plain sum: where rewards are
 * divided by a length, so is their rounding. */
#ifdef QA_F64
static const double TIE = 1e-12;
#else
static const double TIE = 1e-4; /* observed: 2e-5 over responses of 400 tokens */
#endif

/* The least of values[n], 0 if n is 0. */
static double least_of(const double *values, size_t n) {
    double least = 0.0;
    for (size_t i = 0; i < n; i++) {
        least = values[i] < least ? values[i] : least;
    }
    return least;
}

void qa_pair_record_fill(qa_pair_record *record, const qa_pair_step *step, qa_pair_loss loss) {
    const double z = qa_pair_step_logit(step);
    const qa_side_step *chosen = qa_pair_step_side(step, QA_CHOSEN);
    *record = (qa_pair_record){.logit = z,
                               .right = qa_ranked_right(step),
                               .scale = qa_pair_step_scale(step),
                               .pref = loss.pref,
                               .reg = loss.reg,
                               .ret = {[QA_REJECTED] = z},
                               .hardest_pi1 = least_of(chosen->log_pi1, chosen->n),
                               .hardest_pi = least_of(chosen->log_pi, chosen->n)};
    for (size_t side = 0; side < (isnan(z) ? 1 : QA_SIDES); side++) {
        const qa_side_step *found = qa_pair_step_side(step, side);
        record->counted[side] = found->n;
        record->ret[side] = found->ret;
        for (size_t t = 0; t < found->n; t++) {
            record->q += found->q[t];
            record->v += found->v[t];
            record->reward += found->reward[t];
            record->kl += found->kl[t];
            record->log_pi1[side] += found->log_pi1[t];
            record->log_pi[side] += found->log_pi[t];
        }
    }
}

/* What was found of one side of a record goes to a side, or a class, of the sums. */
static void add_record_side(qa_pair_metrics *sums, size_t to, const qa_pair_record *record, size_t side) {
    sums->counted[to] += record->counted[side];
    sums->ret[to] += record->ret[side];
    sums->log_pi1[to] += record->log_pi1[side];
    sums->log_pi[to] += record->log_pi[side];
}

double qa_ranked_right(const qa_pair_step *step) {
    const double z = qa_pair_step_logit(step);
    return isnan(z) ? z : fabs(z) <= TIE * qa_pair_step_scale(step) ? 0.5 : z > 0.0 ? 1.0 : 0.0;
}

static int rising(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

/* How many of sorted[n] are below the bound. */
static size_t count_below(const double *sorted, size_t n, double bound) {
    size_t low = 0;
    while (low < n) {
        const size_t middle = low + (n - low) / 2;
        if (sorted[middle] < bound) {
            low = middle + 1;
        } else {
            n = middle;
        }
    }
    return low;
}

double qa_ranked_above(const double *above, size_t n_above, double *below, size_t n_below, double tie) {
    double right = 0.0;
    qsort(below, n_below, sizeof *below, rising);
    for (size_t i = 0; i < n_above; i++) {
        const size_t smaller = count_below(below, n_below, above[i] - tie);
        const size_t larger = n_below - count_below(below, n_below, above[i] + tie);
        right += 0.5 * (double)(n_below + smaller - larger);
    }
    return n_above == 0 || n_below == 0 ? (double)NAN : right / (double)n_above / (double)n_below;
}

static void add_labelled(qa_pair_metrics *sums, const qa_pair *pair, const qa_pair_record *record) {
    const size_t class = pair->undesirable ? QA_REJECTED : QA_CHOSEN, n = sums->labelled[class]++;
    add_record_side(sums, class, record, QA_CHOSEN);
    sums->scale = record->scale;
    sums->returns[pair->undesirable ? sums->capacity - 1 - n : n] = record->ret[QA_CHOSEN];
}

void qa_pair_metrics_add(qa_pair_metrics *sums, const qa_pair *pair, const qa_pair_record *record) {
    sums->pairs++;
    sums->tokens += isnan(record->logit) ? pair->prompt_len + pair->chosen_len : qa_pair_tokens(pair);
    sums->logit += record->logit;
    sums->correct += record->right;
    sums->pref += record->pref;
    sums->reg += record->reg;
    sums->q += record->q;
    sums->v += record->v;
    sums->reward += record->reward;
    sums->kl += record->kl;
    if (sums->returns != NULL) {
        add_labelled(sums, pair, record);
        return;
    }
    for (size_t side = 0; side < QA_SIDES; side++) {
        add_record_side(sums, side, record, side);
    }
}

static void means_of_labelled(const qa_pair_metrics *sums, qa_metrics *metrics) {
    const size_t *n = sums->labelled;
    metrics->reward_chosen = sums->ret[QA_CHOSEN] / (double)n[QA_CHOSEN]; /* 0/0: NaN */
    metrics->reward_rejected = sums->ret[QA_REJECTED] / (double)n[QA_REJECTED];
    metrics->logps_chosen = sums->log_pi[QA_CHOSEN] / (double)n[QA_CHOSEN];
    metrics->logps_rejected = sums->log_pi[QA_REJECTED] / (double)n[QA_REJECTED];
    metrics->margin = metrics->reward_chosen - metrics->reward_rejected;
    metrics->accuracy = qa_ranked_above(sums->returns, n[QA_CHOSEN], sums->returns + sums->capacity - n[QA_REJECTED],
                                        n[QA_REJECTED], TIE * sums->scale);
}

void qa_pair_metrics_means(const qa_pair_metrics *sums, qa_metrics *metrics) {
    const size_t counted = sums->counted[QA_CHOSEN] + sums->counted[QA_REJECTED];
    const double pairs = sums->pairs > 0 ? (double)sums->pairs : 1.0;
    const double transitions = counted > 0 ? (double)counted : 1.0;
    metrics->pref_loss = sums->pref;
    metrics->chi2_loss = sums->reg;
    metrics->loss = sums->pref + sums->reg;
    metrics->margin = sums->logit / pairs;
    metrics->accuracy = sums->correct / pairs;
    metrics->q_values_mean = sums->q / transitions;
    metrics->values_mean = sums->v / transitions;
    metrics->reward_mean = sums->reward / transitions;
    metrics->kl_per_token = sums->kl / transitions;
    metrics->reward_chosen = sums->ret[QA_CHOSEN] / pairs;
    metrics->reward_rejected = sums->ret[QA_REJECTED] / pairs;
    metrics->logps_chosen = sums->log_pi[QA_CHOSEN] / pairs;
    metrics->logps_rejected = isnan(metrics->reward_rejected) ? (double)NAN : sums->log_pi[QA_REJECTED] / pairs;
    metrics->tokens = sums->tokens;
    if (sums->returns != NULL) {
        means_of_labelled(sums, metrics);
    }
}
