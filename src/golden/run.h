/* Everything that a golden bundle holds, computed from model, adapter, pairs and options; rightly, or with one of the
 * mistakes that other implementations make. */
#ifndef QA_GOLDEN_RUN_H
#define QA_GOLDEN_RUN_H

#include "golden/net.h"
#include "golden/set.h"
#include "qadapter/objective.h"
#include "qadapter/data.h"

typedef struct qa_golden_options {
    qa_objective objective;
    size_t micro_batch; /* pairs that share a padded length; 0: all */
    double learning_rate, adam_beta1, adam_beta2, adam_epsilon, weight_decay;
    double max_grad_norm; /* 0: no clipping */
    size_t steps;         /* AdamW steps, each on all pairs */
    bool all_activations;
    bool (*should_stop)(void *user); /* NULL, or asked before every pair; true ends with QA_ERR_INTERRUPTED */
    void *user;
} qa_golden_options;

/* Learning rate 0.01 (large, so that the steps can be seen in BF16), the rest as qa_train_defaults; 2 steps. */
qa_golden_options qa_golden_defaults(void);
QA_MUST_CHECK qa_status qa_golden_options_check(const qa_golden_options *options, qa_error *err);

/* Which transitions are counted. */
typedef enum qa_golden_mask {
    QA_MASK_RIGHT,
    QA_MASK_LATE,       /* the first one is left out */
    QA_MASK_EARLY,      /* the one before the first is counted as well */
    QA_MASK_STATE_TOKEN /* theory: by the state's own last token: the first left out, the one into padding counted */
} qa_golden_mask;

/* Transitions into padding: theory counts none, published one in every row that is shorter than the longest. */
typedef enum qa_golden_pad {
    QA_PAD_RIGHT,
    QA_PAD_ZERO,   /* theory: counted, with no value after it */
    QA_PAD_VALUE,  /* theory: counted, with the value of the state after the padding token */
    QA_PAD_DROPPED /* published: not counted */
} qa_golden_pad;

/* What a return is divided by. */
typedef enum qa_golden_divisor {
    QA_DIVISOR_RIGHT, /* theory: 1, or n with length normalisation; published: L - 1 */
    QA_DIVISOR_PADDED_1,
    QA_DIVISOR_PADDED,
    QA_DIVISOR_OWN_1, /* the row's own length - 1 */
    QA_DIVISOR_COUNT,
    QA_DIVISOR_NONE
} qa_golden_divisor;

/* What the two means of the loss are taken over. */
typedef enum qa_golden_means {
    QA_MEANS_RIGHT,
    QA_MEANS_OF_PAIRS,     /* the regulariser: a mean for every pair, then the mean of those */
    QA_MEANS_OF_RESPONSES, /* ... for every response */
    QA_MEANS_WHOLE,        /* published: over the whole step, not of the micro-batches' means */
    QA_SUM_OF_PAIRS,       /* the preference term is summed over pairs */
    QA_SUMS                /* ... and the regulariser over transitions */
} qa_golden_means;

/* What a step of the optimiser does otherwise. */
typedef struct qa_golden_optimiser_slips {
    double weight_decay; /* decay that is added to the right one */
    double rate_excess;  /* the learning rate is 1 + this times the right one */
    bool rate_falls;     /* ... or falls linearly to 0 over the steps */
    bool no_bias_correction, epsilon_inside, no_clipping;
} qa_golden_optimiser_slips;

/* A way of computing the method wrongly; with lora_scale_factor 1 and zeros, rightly. */
typedef struct qa_golden_variant {
    qa_golden_slips slips;
    qa_golden_mask mask;
    qa_golden_pad pad;
    qa_golden_divisor divisor;
    qa_golden_means means;
    qa_golden_optimiser_slips optimiser;
    bool cut_is_terminal;   /* theory: a response that was cut off is taken for one that ended */
    bool value_unscaled;    /* Vhat without the alpha_tilde in front of its logarithm */
    bool value_stopped;     /* no gradient goes through Vhat */
    bool q_log_softmax;     /* Qhat from log-probabilities of the adapted model, not from its logits */
    bool value_misplaced;   /* theory: Vhat of the same state; published: of the next one */
    bool extra_bos;         /* one more beginning-of-sequence token in front of every prompt */
    bool raw_log_pi1;       /* log pi1 without its log-softmax: the base model's logits */
    bool alpha_0_on_logits; /* log pi1 is right, but alpha_0 multiplies the logits */
    bool alpha_0_in_value;  /* ... in Vhat only: log pitilde has the log-probabilities */
    bool gamma_from_1;      /* c_t = gamma^(t+1) */
    bool gamma_from_prompt; /* theory: t counts the prompt's tokens, too */
    bool gamma_from_state;  /* ... but for the last of them: the state's own place */
    bool classes_exchanged; /* the loss prefers the rejected response */
    bool sides_exchanged;   /* chosen and rejected are taken for each other from the start */
    bool other_q;           /* Qhat of the other parametrisation */
    bool forward_only;      /* not a mistake: gradients and steps are left out */
} qa_golden_variant;

qa_golden_variant qa_golden_right(void);

/* Appends all tensors to set, in forward order. The variant must be possible (an extra_bos needs a bos_token_id,
 * padding an end-of-sequence id). Of the adapter the current parameters are taken; it is not changed. */
QA_MUST_CHECK qa_status qa_golden_run(qa_golden_set *set, const qa_model *model, const qa_adapter *adapter,
                                      const qa_pairs *pairs, const qa_golden_options *options,
                                      const qa_golden_variant *variant, qa_error *err);

#endif
