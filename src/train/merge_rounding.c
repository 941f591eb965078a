/* See merge_rounding.h. Both sides are what the pair step finds: (M7) of two streams, softmax of one. */
#include "train/merge_rounding.h"

#include "base/checked.h"
#include "base/memory.h"
#include "base/try.h"
#include "train/pair_step.h"

#include <math.h>
#include <stdlib.h>

qa_status qa_merge_log_policy(double **log_pi, qa_model *model, const qa_adapter *adapter,
                              const qa_objective *objective, const qa_pair *pairs, size_t n_pairs,
                              bool (*should_stop)(void *user), void *user, qa_error *err) {
    qa_objective policy = adapter == NULL ? qa_objective_of_plain_adapter() : *objective;
    qa_pair_limits limits = {0};
    qa_pair_step *step = NULL;
    qa_status status = QA_OK;
    size_t tokens = 0, at = 0;
    *log_pi = NULL;
    policy.kind = QA_THEORY; /* every response token counts */
    policy.reference = QA_REFERENCE_BASE;
    for (size_t i = 0; i < n_pairs; i++) {
        limits.max_prompt = qa_larger(limits.max_prompt, pairs[i].prompt_len);
        limits.max_response = qa_larger(limits.max_response, qa_larger(pairs[i].chosen_len, pairs[i].rejected_len));
        limits.max_rows = qa_larger(limits.max_rows, qa_pair_tokens(&pairs[i]));
        tokens += pairs[i].chosen_len + pairs[i].rejected_len;
    }
    QA_TRY(QA_NEW(*log_pi, tokens, err, "the log-probabilities of %zu tokens", tokens));
    QA_GOTO(done, qa_pair_step_create(&step, model, adapter, &policy, limits, err));
    for (size_t i = 0; i < n_pairs; i++) {
        const qa_pair_visit visit = {.chosen_alone = pairs[i].rejected_len == 0};
        QA_GOTO(done,
                should_stop != NULL && should_stop(user) ? qa_fail(err, QA_ERR_INTERRUPTED, "interrupted") : QA_OK);
        QA_GOTO(done, qa_prefixed(qa_pair_step_forward(step, &pairs[i], &visit, err), err, "response %zu: ", i + 1));
        for (size_t side = 0; side < QA_SIDES; side++) {
            const qa_side_step *found = qa_pair_step_side(step, side);
            for (size_t t = 0; t < found->n; t++) {
                (*log_pi)[at++] = found->log_pi[t];
            }
        }
    }
done:
    qa_pair_step_free(step);
    if (status != QA_OK) {
        free(*log_pi);
        *log_pi = NULL;
    }
    return status;
}

/* Adds one response of n tokens. */
static void add_rounding(qa_merge_rounding *sum, const double *exact, const double *merged, size_t n) {
    double moved = 0;
    for (size_t t = 0; t < n; t++) {
        const double by = merged[t] - exact[t];
        moved += by;
        sum->mean_token += fabs(by);
        sum->largest_token = fmax(sum->largest_token, fabs(by));
    }
    sum->tokens += n;
    sum->responses += n > 0 ? 1 : 0;
    sum->mean_response += fabs(moved);
    sum->largest_response = fmax(sum->largest_response, fabs(moved));
}

qa_merge_rounding qa_merge_rounding_of(const double *exact, const double *merged, const qa_pair *pairs,
                                       size_t n_pairs) {
    qa_merge_rounding sum = {0};
    size_t at = 0;
    for (size_t i = 0; i < n_pairs; i++) {
        add_rounding(&sum, exact + at, merged + at, pairs[i].chosen_len);
        at += pairs[i].chosen_len;
        add_rounding(&sum, exact + at, merged + at, pairs[i].rejected_len);
        at += pairs[i].rejected_len;
    }
    sum.mean_token /= sum.tokens > 0 ? (double)sum.tokens : 1;
    sum.mean_response /= sum.responses > 0 ? (double)sum.responses : 1;
    return sum;
}
