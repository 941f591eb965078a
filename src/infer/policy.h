/* One state's logits into the log-probabilities of the policy. */
#ifndef QA_INFER_POLICY_H
#define QA_INFER_POLICY_H

#include "base/real.h"
#include "qadapter/infer.h"

#include <stddef.h>

/* log pi1(.|s) into log_policy[V] from the base model's logits[V]. */
void qa_base_log_policy(double *log_policy, const qa_real *base, size_t V);

/* (M7) log pitilde(.|s) into log_policy[V] from the logits[V] of both streams; both are overwritten: base by
 * log pi1(.|s), adapted by Qhat(s,.). NaN where an input is. */
void qa_custom_log_policy(double *log_policy, qa_real *base, qa_real *adapted, size_t V, const qa_objective *objective);

/* The same, and returns KL(pitilde || pi1) at the state, nats. pi[V] receives pitilde. */
double qa_custom_log_policy_kl(double *log_policy, qa_real *pi, qa_real *base, qa_real *adapted, size_t V,
                               const qa_objective *objective);

/* log pi(.|s) into log_policy[V] from the streams that ran: of both as above; of one alone (the other NULL), which is
 * all of pi1 and of a policy that qa_objective_is_plain, the softmax of its logits. */
void qa_streams_log_policy(double *log_policy, qa_real *base, qa_real *adapted, size_t V,
                           const qa_objective *objective);

/* (M12) log pi_mix(.|s) into log_policy[V] from rows[1 + n], [V] each: the base model's logits, then those of every
 * part's stream. All are overwritten: the first by log pi1(.|s), those of composed parts by Qhat. Returns log Z(s); *kl
 * becomes KL(pi_mix || pi1) at the state. NaN where an input is. */
double qa_mixture_log_policy(double *log_policy, qa_real *const *rows, size_t V, const qa_mixture *mixture, double *kl);

/* What the repetition penalty adds to a policy's log-probabilities before it acts: log sum exp of the logits whose
 * softmax the policy is, so that the sum is those logits. They are base[V] for pi1 (objective NULL; adapted is not
 * read) and adapted[V] where qa_objective_is_plain; any other pitilde is no softmax of one model's logits, and has 0,
 * as has a mixture. Call it before the functions above overwrite the rows. */
double qa_policy_log_normaliser(const qa_real *base, const qa_real *adapted, size_t V, const qa_objective *objective);

#endif
