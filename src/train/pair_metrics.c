/* See pair_metrics.h. All sums are in double, in the order in which the pairs come. */
#include "train/pair_metrics.h"

#include <math.h>

/* Returns that are equal but for rounding: a fresh adapter, whose Qhat is 0, prefers neither response, and the signs
 * of what rounding leaves of z must not pass for an opinion. Nats, for a return that is a plain sum: where rewards are
 * divided by a length, so is their rounding. */
#ifdef QA_F64
static const double TIE = 1e-12;
#else
static const double TIE = 1e-4; /* observed: 2e-5 over responses of 400 tokens */
#endif

static void add_side(qa_pair_metrics *sums, size_t side, const qa_side_step *found) {
    sums->counted[side] += found->n;
    sums->ret[side] += found->ret;
    for (size_t t = 0; t < found->n; t++) {
        sums->q += found->q[t];
        sums->v += found->v[t];
        sums->reward += found->reward[t];
        sums->kl += found->kl[t];
        sums->log_pi1[side] += found->log_pi1[t];
        sums->log_pi[side] += found->log_pi[t];
    }
}

double qa_ranked_right(const qa_pair_step *step) {
    const double z = qa_pair_step_logit(step);
    return isnan(z) ? z : fabs(z) <= TIE * qa_pair_step_scale(step) ? 0.5 : z > 0.0 ? 1.0 : 0.0;
}

void qa_pair_metrics_add(qa_pair_metrics *sums, const qa_pair *pair, const qa_pair_step *step, qa_pair_loss loss) {
    const double z = qa_pair_step_logit(step);
    sums->pairs++;
    sums->tokens += isnan(z) ? pair->prompt_len + pair->chosen_len : qa_pair_tokens(pair);
    sums->logit += z;
    sums->correct += qa_ranked_right(step);
    sums->pref += loss.pref;
    sums->reg += loss.reg;
    for (size_t side = 0; side < QA_SIDES; side++) {
        add_side(sums, side, qa_pair_step_side(step, side));
    }
    sums->ret[QA_REJECTED] = isnan(z) ? z : sums->ret[QA_REJECTED]; /* a return of before, of a side not run */
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
}
