/* The method, whole: from the token ids of preference pairs to the adapter after an optimiser step. Start reading here.
 *
 *   for every pair:                                                               qa_ref_pair
 *       for each side, chosen and rejected:
 *           z1, z         logits of the base model and of the adapted one         transformer.c
 *           Qhat, Vhat, pitilde (M5) (M7), rewards (M8), return (M9)              equations.c
 *       z = R(chosen) - R(rejected), the pair's share of the loss (M10)
 *       for each side: dL/dr, dL/dVhat, dL/dz (M11), and back through the model   gradient += ...
 *   clip, AdamW                                                                   qa_ref_update
 *
 * It shares no line with the rest of the program: no matrix library, no packing of pairs, no threads, no kernels.
 * Golden bundles (docs/golden.md) are made with it. */
#ifndef QA_REFERENCE_STEP_H
#define QA_REFERENCE_STEP_H

#include "reference/equations.h"
#include "reference/transformer.h"

typedef struct qa_ref_options {
    qa_ref_objective objective;
    size_t micro_batch; /* pairs that share a padded length, 1 .. pairs */
    double learning_rate, adam_beta1, adam_beta2, adam_epsilon, weight_decay;
    double max_grad_norm; /* 0: no clipping */
} qa_ref_options;

/* What has just been computed: of a row, a pair or the step. */
typedef enum qa_ref_stage {
    QA_REF_TRANSITIONS,    /* row: listed, without weights */
    QA_REF_WEIGHTS,        /* row */
    QA_REF_READY,          /* all rows, and everything allocated */
    QA_REF_LOG_PI1,        /* row: z1 and log_pi1 */
    QA_REF_LOGITS,         /* row: z */
    QA_REF_RESIDUAL_Q,     /* row: q */
    QA_REF_VALUES,         /* row: v and pi */
    QA_REF_REWARDS,        /* row: reward, log_pi, ret */
    QA_REF_LOSS,           /* pair: z, preference, slope */
    QA_REF_VALUE_GRADIENT, /* row: g and dv */
    QA_REF_LOGIT_GRADIENT, /* row: dz */
    QA_REF_MODEL_GRADIENT, /* row: its share of gradient is added */
    QA_REF_UPDATE,         /* step: norm, the moments and update, before the parameters change */
    QA_REF_STEPPED         /* step */
} qa_ref_stage;

typedef struct qa_ref_step qa_ref_step;

/* Called after every stage, to look at what was computed. row: 2 * pair + side (of a pair: its chosen side; of the
 * step: 0). */
typedef struct qa_ref_observer {
    void (*after)(void *user, qa_ref_step *step, qa_ref_stage stage, size_t row);
    void *user;
} qa_ref_observer;

struct qa_ref_step {
    const qa_ref_model *model;
    qa_ref_options options;
    qa_ref_observer observer;
    qa_ref_row *rows; /* [pairs x QA_REF_SIDES] */
    size_t pairs;
    qa_ref_net *base, *adapted[QA_REF_SIDES];
    qa_ref_side side[QA_REF_SIDES];           /* of the pair at hand */
    double z, preference, slope;              /* ... and its (M9), (M10) and dL/dz */
    double loss_preference, loss_regulariser; /* sums over the pairs so far */
    double *parameters, *gradient;            /* [model->n_parameters] */
    double *moment1, *moment2, *update;       /* AdamW's */
    double beta1_power, beta2_power;          /* beta^steps */
    double norm;                              /* of the gradient, before clipping */
    qa_ref_memory memory;                     /* owns all these arrays */
    qa_ref_transition *transitions;           /* all rows' */
};

/* Of the rows, ids, length, response_start and terminal are read; the rest is filled in here. Model, rows and what they
 * point to are borrowed; parameters[n_parameters] are copied. */
QA_MUST_CHECK qa_status qa_ref_step_create(qa_ref_step **step, const qa_ref_model *model, qa_ref_row *rows,
                                           size_t pairs, const double *parameters, const qa_ref_options *options,
                                           qa_ref_observer observer, qa_error *err);
void qa_ref_step_free(qa_ref_step *step); /* NULL is allowed */

/* An optimiser step: begin, every pair once, update. backward false: loss alone. */
void qa_ref_begin(qa_ref_step *step);
void qa_ref_pair(qa_ref_step *step, size_t pair, bool backward);
void qa_ref_update(qa_ref_step *step);

#endif
