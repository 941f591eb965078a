/* See tally.h. All sums are in double, in the order in which the pairs come. */
#include "train/tally.h"

#include <math.h>

/* Returns that are equal but for rounding: a fresh adapter, whose Qhat is 0, prefers neither response, and the signs
 * of what rounding leaves of z must not pass for an opinion. Nats, for a return that is a plain sum: where rewards are
 * divided by a length, so is their rounding. */
#ifdef QA_F64
static const double TIE = 1e-12;
#else
static const double TIE = 1e-4; /* observed: 2e-5 over responses of 400 tokens */
#endif

static void add_side(qa_tally *tally, size_t side, const qa_side_step *found) {
    tally->counted[side] += found->n;
    for (size_t t = 0; t < found->n; t++) {
        tally->q += found->q[t];
        tally->v += found->v[t];
        tally->reward += found->reward[t];
        tally->kl += found->kl[t];
        tally->log_pi1[side] += found->log_pi1[t];
        tally->log_pi[side] += found->log_pi[t];
    }
}

double qa_ranked_right(const qa_pair_step *step) {
    const double z = qa_pair_step_logit(step);
    return isnan(z) ? z : fabs(z) <= TIE * qa_pair_step_scale(step) ? 0.5 : z > 0.0 ? 1.0 : 0.0;
}

void qa_tally_add(qa_tally *tally, const qa_pair *pair, const qa_pair_step *step, qa_pair_loss loss) {
    const double z = qa_pair_step_logit(step);
    tally->pairs++;
    tally->tokens += isnan(z) ? pair->prompt_len + pair->chosen_len : qa_pair_tokens(pair);
    tally->logit += z;
    tally->correct += qa_ranked_right(step);
    tally->pref += loss.pref;
    tally->reg += loss.reg;
    for (size_t side = 0; side < QA_SIDES; side++) {
        add_side(tally, side, qa_pair_step_side(step, side));
    }
}

void qa_tally_metrics(const qa_tally *tally, qa_metrics *metrics) {
    const size_t counted = tally->counted[QA_CHOSEN] + tally->counted[QA_REJECTED];
    const double pairs = tally->pairs > 0 ? (double)tally->pairs : 1.0;
    const double transitions = counted > 0 ? (double)counted : 1.0;
    metrics->pref_loss = tally->pref;
    metrics->chi2_loss = tally->reg;
    metrics->loss = tally->pref + tally->reg;
    metrics->margin = tally->logit / pairs;
    metrics->accuracy = tally->correct / pairs;
    metrics->q_values_mean = tally->q / transitions;
    metrics->values_mean = tally->v / transitions;
    metrics->reward_mean = tally->reward / transitions;
    metrics->kl_per_token = tally->kl / transitions;
    metrics->tokens = tally->tokens;
}
