/* Scoring single pairs: the public face of pair_step.h, without gradients. */
#include "base/memory.h"
#include "base/try.h"
#include "train/pair_step.h"

struct qa_scorer {
    qa_pair_step *step;
    qa_objective objective;
};

qa_status qa_scorer_create(qa_scorer **out, qa_model *model, const qa_adapter *adapter, const qa_objective *objective,
                           size_t max_prompt, size_t max_response, bool full, qa_error *err) {
    *out = NULL;
    qa_scorer *scorer = NULL;
    QA_TRY(QA_NEW(scorer, 1, err, "a scorer"));
    scorer->objective = *objective;
    const qa_pair_limits limits = {.max_prompt = max_prompt, .max_response = max_response, .full = full};
    const qa_status status = qa_pair_step_create(&scorer->step, model, adapter, objective, limits, err);
    if (status != QA_OK) {
        qa_scorer_free(scorer);
        return status;
    }
    *out = scorer;
    return QA_OK;
}

void qa_scorer_free(qa_scorer *scorer) {
    if (scorer != NULL) {
        qa_pair_step_free(scorer->step);
        free(scorer);
    }
}

static qa_side_score side_score(const qa_side_step *found) {
    return (qa_side_score){.n = found->n,
                           .log_pi1 = found->log_pi1,
                           .log_ref = found->log_ref,
                           .q = found->q,
                           .v = found->v,
                           .reward = found->reward,
                           .log_pi = found->log_pi,
                           .kl = found->kl,
                           .ret = found->ret,
                           .states = found->states,
                           .full_q = found->full_q,
                           .full_log_pi1 = found->full_log_pi1,
                           .full_v = found->full_q == NULL ? NULL : found->state_v};
}

qa_status qa_scorer_score(qa_scorer *scorer, const qa_pair *pair, size_t padded_length, qa_pair_score *score,
                          qa_error *err) {
    QA_TRY(qa_pair_step_forward(scorer->step, pair, &(qa_pair_visit){.padded_length = padded_length}, err));
    const qa_divisors divisors = {.pairs = 1.0,
                                  .responses = QA_SIDES,
                                  .counted = (double)qa_pair_counted(pair, &scorer->objective, padded_length)};
    score->chosen = side_score(qa_pair_step_side(scorer->step, QA_CHOSEN));
    score->rejected = side_score(qa_pair_step_side(scorer->step, QA_REJECTED));
    score->logit = qa_pair_step_logit(scorer->step);
    const qa_pair_loss loss = qa_pair_step_loss(scorer->step, &divisors);
    score->pref = loss.pref;
    score->reg = loss.reg;
    score->loss = loss.pref + loss.reg;
    return QA_OK;
}
