/* From the log-probabilities of a policy to a token. */
#ifndef QA_INFER_SAMPLER_H
#define QA_INFER_SAMPLER_H

#include "base/option.h"
#include "qadapter/infer.h"

#include <stdbool.h>

extern const qa_option_table qa_sampling_table; /* of a qa_sampling */

typedef struct qa_sampler qa_sampler;

/* For rows of V >= 1 log-probabilities. The options are copied and checked. */
QA_MUST_CHECK qa_status qa_sampler_create(qa_sampler **sampler, const qa_sampling *sampling, size_t V, qa_error *err);
void qa_sampler_free(qa_sampler *sampler); /* NULL is allowed */

/* Begins anew for sample `sample` of prompt `prompt`: nothing is seen, and the uniform numbers come from the stream
 * that (seed, prompt, sample) names. */
void qa_sampler_restart(qa_sampler *sampler, size_t prompt, size_t sample);

/* Other options from the next pick on; what was seen stays, and so does the place in the seed's stream unless the seed
 * is another one or `restart`. *turned is false, and nothing has changed, where a penalty begins: nothing was seen. */
QA_MUST_CHECK qa_status qa_sampler_turn(qa_sampler *sampler, const qa_sampling *sampling, bool restart, bool *turned,
                                        qa_error *err);

/* The repetition penalty counts ids[n] (each in 0..V-1) as seen from now on. */
void qa_sampler_see(qa_sampler *sampler, const int32_t *ids, size_t n);

/* Whether there is a penalty, so that qa_sampler_pick reads log_normaliser. */
bool qa_sampler_penalises(const qa_sampler *sampler);

/* Picks a token from log_policy[V] (nats; need not be normalised). The repetition penalty acts on log_policy[a] +
 * log_normaliser, which qa_policy_log_normaliser makes the logits. -inf rules a token out; a NaN, +inf, or a row of
 * nothing but -inf is QA_ERR_NAN. One uniform number is taken from the seed's stream per call, none when greedy. The
 * picked token does not become seen by itself. */
QA_MUST_CHECK qa_status qa_sampler_pick(qa_sampler *sampler, const double *log_policy, double log_normaliser,
                                        int32_t *id, qa_error *err);

#endif
