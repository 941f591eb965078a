/* Generation with the composed policy (M7): the frozen model and the adapter together. */
#ifndef QADAPTER_INFER_H
#define QADAPTER_INFER_H

#include "qadapter/model.h"
#include "qadapter/objective.h"
#include "qadapter/status.h"
#include "qadapter/text.h"

#include <stddef.h>
#include <stdint.h>

QA_BEGIN_DECLS

typedef enum qa_policy {
    QA_POLICY_CUSTOM, /* pitilde of (M7) */
    QA_POLICY_BASE    /* pi1 */
} qa_policy;

typedef struct qa_sampling {
    double temperature;        /* 0: greedy; else the log-probabilities are divided by it */
    size_t top_k;              /* 0: off */
    double top_p;              /* 1: off */
    double min_p;              /* 0: off */
    double repetition_penalty; /* 1: off; see below */
    uint64_t seed;
} qa_sampling;

/* The repetition penalty p acts before the temperature, once on every token of the prompt and of the answer so far:
 * x becomes x p below 0, x / p else, as in transformers. Where the policy is the softmax of one model's logits (pi1;
 * pitilde where qa_objective_is_plain), x is that logit, so a positive one is divided, and tokens with logits near 0
 * hardly change. Elsewhere there are no such logits, and x is the log-probability log pitilde, never above 0. The
 * filters act after the temperature, in transformers' order: top_k, top_p, min_p; top_p = 0 keeps the likeliest token.
 */

qa_sampling qa_sampling_defaults(void); /* temperature 1, everything else off, seed 0 */
QA_MUST_CHECK qa_status qa_sampling_check(const qa_sampling *sampling, qa_error *err);

/* ---- several policies at once ---- */

/* One of the policies of a mixture: an adapter's, read with its objective as in qa_generator_create. */
typedef struct qa_mixture_part {
    const qa_adapter *adapter;
    qa_objective objective;
    double weight; /* finite: 1 counts it once, 0 leaves it out, below 0 turns away from it */
} qa_mixture_part;

enum { QA_MIXTURE_PARTS = 16 };

/* (M12): at every token pi_mix(a|s) = pi1(a|s) prod_i ( pi_i(a|s) / pi1(a|s) )^w_i / Z(s). A stream of the base model
 * and one of every part run side by side. */
typedef struct qa_mixture {
    const qa_mixture_part *parts; /* [n], adapters of the same model, none of them twice */
    size_t n;                     /* 1..QA_MIXTURE_PARTS */
} qa_mixture;

/* Numbers, weights, objectives, an adapter that is there twice; QA_ERR_ARGUMENT says which part. */
QA_MUST_CHECK qa_status qa_mixture_check(const qa_mixture *mixture, qa_error *err);

/* ---- one sequence ---- */

typedef struct qa_generator qa_generator;

/* One KV cache per stream for `capacity` tokens (<= max_position_embeddings, else QA_ERR_LIMIT). With
 * QA_POLICY_BASE only the base stream runs, and objective may be NULL. So with adapter NULL: without an adapter there
 * is no Qhat, and the policy is pi1 whatever `policy` and the objective say. Where qa_objective_is_plain, only the
 * adapted stream runs. Of the objective the parametrisation, alpha_0 and alpha_tilde are used: the dials of inference.
 * Model and adapter are borrowed. */
QA_MUST_CHECK qa_status qa_generator_create(qa_generator **generator, qa_model *model, const qa_adapter *adapter,
                                            qa_policy policy, const qa_objective *objective,
                                            const qa_sampling *sampling, size_t capacity, qa_error *err);
/* The same for a mixture, whose parts are copied. Of its tokens everything is measured. */
QA_MUST_CHECK qa_status qa_generator_create_mixture(qa_generator **generator, qa_model *model,
                                                    const qa_mixture *mixture, const qa_sampling *sampling,
                                                    size_t capacity, qa_error *err);
void qa_generator_free(qa_generator *generator); /* NULL is allowed */

/* Runs ids[n] (a prompt, or the next turn of a chat) through the model, n >= 1. Every id is checked; more
 * than the capacity is QA_ERR_LIMIT. A failed call changes nothing, but for QA_ERR_NAN, after which only free is left.
 */
QA_MUST_CHECK qa_status qa_generator_feed(qa_generator *generator, const int32_t *ids, size_t n, qa_error *err);

/* Samples the next token from the policy at the current state (needs a feed before). The token goes into
 * the caches with the next call of next, feed or log_policy (so the last token of an answer costs no pass), and has a
 * place there from now on: with position == capacity there is no next (QA_ERR_LIMIT, nothing changes). */
QA_MUST_CHECK qa_status qa_generator_next(qa_generator *generator, int32_t *id, qa_error *err);

/* log-probabilities of the policy at the current state, [V] doubles, before temperature and filters. */
QA_MUST_CHECK qa_status qa_generator_log_policy(qa_generator *generator, double *log_policy, qa_error *err);

/* What the policies gave a token, nats, at temperature 1 and before any filter. */
typedef struct qa_token_value {
    double log_pi;
    double log_pi1, kl; /* of pi1, and KL(pitilde || pi1) at the state before it; NaN where they are not measured */
    double log_z;       /* of a mixture: log Z(s) of (M12) at that state; else 0 */
} qa_token_value;

/* Before the first feed: log_pi1 and kl are wanted of every token, so that both streams run whatever the policy. */
QA_MUST_CHECK qa_status qa_generator_measure(qa_generator *generator, qa_error *err);

/* Of the token that qa_generator_next gave last. */
qa_token_value qa_generator_value(const qa_generator *generator);

/* Other dials from the next feed on, which must come before the next token; the caches stay. Of the sampling the place
 * in the seed's stream stays, too, unless the seed is another one or `restart`. *turned is false, and nothing has
 * changed, where what is in the caches is not enough: a policy that needs the base model's stream beside an adapter's
 * that ran alone (qa_objective_is_plain), a repetition penalty where there was none. objective: as in
 * qa_generator_create; that of a mixture's parts stays, and it is not read. */
QA_MUST_CHECK qa_status qa_generator_turn(qa_generator *generator, const qa_objective *objective,
                                          const qa_sampling *sampling, bool restart, bool *turned, qa_error *err);

size_t qa_generator_position(const qa_generator *generator); /* tokens in the caches, the sampled ones included */
size_t qa_generator_capacity(const qa_generator *generator);

/* ---- many prompts at once ---- */

/* One finished answer, valid during the call. The end token, if one ended it, is the last id. */
typedef struct qa_answer {
    size_t prompt;      /* index of the prompt */
    size_t sample;      /* 0 .. samples - 1 */
    const int32_t *ids; /* [n] sampled tokens */
    size_t n;
    bool ended;       /* an end token was sampled; else max_tokens or the context was reached */
    double log_ratio; /* sum over the sampled tokens of log pitilde - log pi1 (both at temperature 1), nats; 0 of pi1,
                         NaN of a plain adapter that is not `measured`. With `particles` an estimate for the exact
                         distribution: log_weight less the logarithm of the mean weight is added */
    double kl;        /* sum over the states of KL(pitilde || pi1), nats; likewise */
    const qa_token_value *values; /* [n] */
    double log_weight;            /* of a mixture: log W(y) of (M12), the sum of log_z; else 0 */
    /* With `particles`: of how many answers this one was chosen, and which of them it is; their log_weight; the
     * effective number of samples of the exact distribution that they are worth. Else NULL, and nothing. */
    size_t particles, chosen;
    const double *log_weights; /* [particles] */
    double effective_samples;
    double value; /* that the options' `value` gave it; else 0 */
} qa_answer;

typedef struct qa_batch_options {
    qa_policy policy;
    const qa_objective *objective; /* as in qa_generator_create */
    const qa_mixture *mixture;     /* the policy with QA_POLICY_CUSTOM, instead of an adapter's; NULL: none */
    qa_sampling sampling;
    const int32_t *end_ids; /* [n_end_ids] */
    size_t n_end_ids;
    size_t max_tokens; /* of one answer */
    size_t samples;    /* answers per prompt, >= 1 */
    size_t particles;  /* above 1, with a mixture: so many answers are sampled for one, and one of them chosen by its
                          weight, which comes ever closer to the exact pi1(y) prod_i ( pi_i(y) / pi1(y) )^w_i. The
                          sampling must leave the mixture as it is. 0: 1 */
    size_t batch;      /* sequences that run at once, >= 1 */
    size_t together;   /* so many sequences are a lot: they make room for each other, and no others for them. Of several
                          ranks each works on whole lots. 0: 4 * batch */
    bool measured; /* log_ratio and kl are wanted of a plain adapter, too (qa_objective_is_plain): the base model then
                      runs beside it. Of any other adapter they are always there */
    /* What the n answers to a prompt, all its samples, are worth, into values[n]; asked once they are there, of several
     * ranks on the one that made them. NULL is allowed. */
    qa_status (*value)(void *user, const qa_answer *answers, size_t n, double *values, qa_error *err);
    /* Called once per answer, in the order of prompts and samples; of several ranks on each. False stops
     * (QA_ERR_INTERRUPTED). */
    bool (*on_answer)(void *user, const qa_answer *answer);
    /* After every answer: how many of all there are by now, of several ranks about. NULL is allowed. */
    void (*progress)(void *user, size_t done, size_t all);
    bool (*should_stop)(void *user); /* asked before every token; true stops as well. NULL is allowed */
    void *user;
    size_t *failed_prompt; /* NULL is allowed: gets the index of the prompt that an error is about, SIZE_MAX of none */
} qa_batch_options;

/* Answers prompts[n_prompts], `batch` sequences at a time that share every read of the weights; a finished sequence
 * makes room for the next of its lot. Sample s of prompt i draws from a random stream of its own, named by (seed, i,
 * s): answers do not depend on batch and together but for rounding in the products, and on the number of ranks not at
 * all. Ranks all call it alike. A prompt that leaves no room for a token is QA_ERR_LIMIT naming it. */
QA_MUST_CHECK qa_status qa_generate_batch(qa_model *model, const qa_adapter *adapter, const qa_ids *prompts,
                                          size_t n_prompts, const qa_batch_options *options, qa_error *err);

QA_END_DECLS

#endif
