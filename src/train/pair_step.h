/* One pair through the model and the equations: states, values, rewards, returns, loss, gradient. */
#ifndef QA_TRAIN_PAIR_STEP_H
#define QA_TRAIN_PAIR_STEP_H

#include "cluster/cluster.h"
#include "methods/method.h"
#include "model/pass.h"
#include "qadapter/data.h"
#include "train/base_cache.h"
#include "train/batch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qa_pair_limits {
    size_t max_prompt, max_response;  /* tokens */
    size_t max_rows;                  /* prompt once and both responses; 0: max_prompt + 2 max_response */
    bool backward;                    /* gradients will be asked for (needs an adapter) */
    bool recompute;                   /* with backward: keep less for it, run the layers again (model/pass.h) */
    const qa_lora_options *reference; /* the largest of the frozen adapter that dpo's log-ratios are against; NULL:
                                         none. qa_pair_step_create finds it by itself */
    bool full;                        /* keep q and log_pi1 over the whole vocabulary at every state */
} qa_pair_limits;

typedef struct qa_pair_step qa_pair_step;

/* Room for every pair of the set (NULL: none) that `limits` had not room for: raises max_prompt, max_response and
 * max_rows. The longest prompt and the longest responses seldom meet in one pair, so max_rows saves much memory. */
void qa_pair_limits_include(qa_pair_limits *limits, const qa_pairs *pairs);

/* The same for every prompt of the set with any of its responses, or pairs of responses (reference_point.h). */
void qa_pair_limits_include_mismatched(qa_pair_limits *limits, const qa_pairs *pairs);

/* Bytes that qa_pair_step_create allocates, the pass included. lora NULL: base model alone. */
QA_MUST_CHECK qa_status qa_pair_step_bytes(const qa_model *model, const qa_lora_options *lora, qa_pair_limits limits,
                                           size_t *bytes, qa_error *err);

/* Model and adapter (NULL: base model alone, whose Qhat is its logits, or 0 with the residual parametrisation) are
 * borrowed; the objective is copied. The published objective needs a model with an end-of-sequence id. */
QA_MUST_CHECK qa_status qa_pair_step_create(qa_pair_step **step, qa_model *model, const qa_adapter *adapter,
                                            const qa_objective *objective, qa_pair_limits limits, qa_error *err);
void qa_pair_step_free(qa_pair_step *step); /* NULL is allowed */

/* One state of one side, whole; the rows are gone when the call is over. */
typedef struct qa_state_rows {
    size_t side, state;              /* its number among the side's states */
    const qa_real *q, *log_pi1, *pi; /* [V] Qhat(s,.), log pi1(.|s), pitilde(.|s) */
    double v, kl;                    /* Vhat(s) (M5); KL(pitilde || pi1) */
} qa_state_rows;

/* How a pair is run. */
typedef struct qa_pair_visit {
    size_t padded_length; /* published only: the longest row of the pair's micro-batch */
    uint64_t dropout_key; /* see model/pass.h */
    bool apart;           /* the streams run apart (model/pass.h), as those of a pair with a slot always do */
    bool chosen_alone; /* the rejected side has no transition, z is NaN. What sft, replay and kto train on; the pair may
                          have no rejected response */
    qa_base_slot slot; /* where the base stream's states are kept from one visit of the pair to the next of the same
                           kind: if they are there, the adapted stream runs alone; else both run, and they are put
                           there, if they can be. Without an adapter nothing is kept */
    void (*on_state)(void *user, const qa_state_rows *rows); /* NULL, or called for every state of every side, in any
                                                                order, by several threads at once */
    void *user;
} qa_pair_visit;

/* Runs the pair: everything in qa_side_step (methods/method.h), and z. A NaN or infinity is QA_ERR_NAN naming the
 * quantity, side and token. */
QA_MUST_CHECK qa_status qa_pair_step_forward(qa_pair_step *step, const qa_pair *pair, const qa_pair_visit *visit,
                                             qa_error *err);

const qa_side_step *qa_pair_step_side(const qa_pair_step *step, size_t side); /* QA_CHOSEN or QA_REJECTED */
double qa_pair_step_logit(const qa_pair_step *step);                          /* z = R(chosen) - R(rejected) */
int32_t qa_pair_step_pad_id(const qa_pair_step *step);      /* the action of published's transition into the padding */
qa_cluster *qa_pair_step_cluster(const qa_pair_step *step); /* its model's context's */
double qa_pair_step_scale(const qa_pair_step *step);        /* the largest weight of a log-probability in z */

/* The shares of the loss of the pair of the last forward, to be added over the pairs. */
qa_pair_loss qa_pair_step_loss(const qa_pair_step *step, const qa_divisors *divisors);

/* (M11) and back through the model, for the pair of the last forward: adds this pair's share of dL/d(parameters) to
 * gradient[adapter->count]; of an adapter that is a whole model, gradient is its trainable's. Once per forward. */
void qa_pair_step_backward(qa_pair_step *step, qa_real *gradient, const qa_divisors *divisors);

#endif
