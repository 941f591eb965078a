/* What is learned: the method, its objective, its parametrisation of Qhat, and the recipes that name them. */
#ifndef QADAPTER_OBJECTIVE_H
#define QADAPTER_OBJECTIVE_H

#include "qadapter/status.h"

#include <stdbool.h>

QA_BEGIN_DECLS

typedef enum qa_objective_kind {
    QA_THEORY,   /* the equations as derived: r = Qhat(s,a) - gamma Vhat(s') */
    QA_PUBLISHED /* what the authors' code computes: r = Qhat(s,a) - gamma Vhat(s), padded length */
} qa_objective_kind;

typedef enum qa_q_parametrisation {
    QA_Q_LOGITS,  /* Qhat = logits of the adapted model */
    QA_Q_RESIDUAL /* Qhat = logits of the adapted model - logits of the base model */
} qa_q_parametrisation;

/* What an adapter is trained as. All but qadapter train the policy softmax(logits of the adapted model) itself, which
 * is (M7) with Qhat = logits, alpha_0 = 0 and alpha_tilde = 1: their objectives say so, and whatever samples from or
 * scores with (M7) serves them unchanged. */
typedef enum qa_method {
    QA_METHOD_QADAPTER, /* residual Q-learning (M10) */
    QA_METHOD_SFT,      /* next-token cross-entropy of the chosen responses */
    QA_METHOD_REPLAY,   /* the same, mixed with responses of the base model's own */
    QA_METHOD_DPO,      /* direct preference optimisation */
    QA_METHOD_IPO,      /* identity preference optimisation */
    QA_METHOD_SPPO,     /* self-play preference optimisation, of labels without a probability */
    QA_METHOD_REWARD,   /* no policy, but a reward model: all weights and a classification head, by Bradley and Terry */
    QA_METHOD_PPO,      /* proximal policy optimisation on answers of its own, scored by a reward model */
    QA_METHOD_RLOO,     /* the same by REINFORCE with a leave-one-out baseline */
    QA_METHOD_KTO       /* Kahneman-Tversky optimisation: single responses, each labelled desirable or not */
} qa_method;

/* What the log-ratios of dpo, ipo, sppo and kto are against. */
typedef enum qa_reference {
    QA_REFERENCE_BASE,   /* pi1 */
    QA_REFERENCE_ADAPTER /* the policy of the adapter that training starts from (qa_adapter_set_reference) */
} qa_reference;

/* What ipo takes of a response. */
typedef enum qa_ipo_length {
    QA_IPO_SUM, /* the sum of its tokens' log-ratios: as published */
    QA_IPO_MEAN /* their mean: what TRL computes */
} qa_ipo_length;

/* What the penalty of ppo and rloo takes for the divergence from the base model at a token. */
typedef enum qa_kl_estimator {
    QA_KL_K1,  /* log pi - log pi1: its mean is the divergence */
    QA_KL_ABS, /* its absolute value */
    QA_KL_MSE, /* half its square */
    QA_KL_FULL /* KL(pi(.|s) || pi1(.|s)) itself, over the whole vocabulary */
} qa_kl_estimator;

typedef enum qa_kl_control { QA_KL_ADAPTIVE, QA_KL_FIXED } qa_kl_control;

/* The numbers of the methods that learn from answers of their own, ppo and rloo (docs/equations.md, P1 to P7 and R1 to
 * R3); those of values and advantages are ppo's alone. */
typedef struct qa_rollout_options {
    size_t answers;        /* of a step, a multiple of samples */
    size_t samples;        /* answers to a prompt */
    size_t max_new_tokens; /* of an answer */
    size_t epochs;         /* passes over a step's answers */
    size_t mini_batches;   /* updates of the parameters in each, 1..answers */
    size_t at_once;        /* answers that are written at once */
    size_t pass_tokens;    /* tokens that run through the model at once in training */
    qa_kl_control kl_control;
    qa_kl_estimator kl_estimator;
    double kl_coefficient, kl_target, kl_horizon; /* the coefficient of the first step; nats an answer; answers */
    double missing_end_penalty;                   /* taken off the score of an answer that was cut off */
    double clip_range, ratio_threshold;           /* of the ratio; 0: no mini-batch is skipped */
    double max_kl, max_ratio;                     /* beyond which the run has diverged and ends; 0: nothing is */
    double gae_gamma, gae_lambda;
    bool whiten_advantages;
    double value_clip, value_weight, value_dropout; /* value_clip 0: none */
} qa_rollout_options;

/* KTO's reference point: with which other response of its micro-batch a prompt is put together. */
typedef enum qa_reference_point {
    QA_POINT_NEXT,     /* the next prompt's, as in the paper */
    QA_POINT_PREVIOUS, /* that of the prompt before, as in TRL */
    QA_POINT_NONE      /* with none: it is 0 */
} qa_reference_point;

typedef struct qa_objective {
    qa_objective_kind kind;
    qa_q_parametrisation q_parametrisation;
    double alpha_tilde;        /* temperature of the customised policy, > 0 */
    double alpha_0;            /* lambda * alpha1: weight of log pi1, >= 0 */
    double gamma;              /* discount, in (0, 1] */
    double beta;               /* weight of the squared implied reward, >= 0 */
    bool length_normalisation; /* theory: divide a return by the response's transitions */
    qa_method method;          /* all but qadapter: the numbers above are those of qa_objective_for_method */
    double dpo_beta;           /* dpo: b of its loss, > 0; not read else */
    qa_reference reference;    /* dpo, ipo, sppo, kto: pi_ref of their losses; not read else */
    double label_noise;        /* qadapter, dpo: share of labels that were turned round, in [0, 1/2); else 0 */
    double ipo_tau;            /* ipo: tau of its loss, > 0; not read else */
    qa_ipo_length ipo_length;  /* ipo; not read else */
    double sppo_beta;          /* sppo: 1/eta of its loss, > 0; not read else */
    size_t reward_outputs;     /* reward: of the classification head, >= 1 */
    double reward_centering;   /* reward: weight of the squared sum of a pair's scores, >= 0 */
    double kto_beta;           /* kto, as the next three: b of its loss, > 0 */
    double desirable_weight, undesirable_weight; /* > 0 */
    qa_reference_point reference_point;
} qa_objective;

/* The objective of a recipe, every option of which may be overridden afterwards:
 *   "theory"     theory objective, residual Qhat, alpha_tilde = alpha_0 = 1, gamma = 1, beta = 0.01. Training starts at
 *                the base model's own policy. Its beta was chosen by docs/replication.md.
 *   "published"  published objective, Qhat = logits, alpha_tilde = 1, alpha_0 = 0.01, gamma = 1, beta = 0.1: what the
 *                authors' runs used. */
QA_MUST_CHECK qa_status qa_objective_from_recipe(qa_objective *objective, const char *recipe, qa_error *err);

/* The objective of a method. qadapter: the recipe theory. The others: theory, Qhat = logits, alpha_tilde = 1,
 * alpha_0 = 0, gamma = 1, beta = 0, so that (M7) is softmax(logits of the adapted model); dpo_beta, ipo_tau,
 * sppo_beta and kto_beta are 0.1. Their implied reward is r(s,a) = b log( pi(a|s) / pi_ref(a|s) ), b being that number,
 * or 1 for the others; pi_ref is pi1, or the reference; R(y) is its plain sum over the response, of ipo with
 * QA_IPO_MEAN its mean.
 */
qa_objective qa_objective_for_method(qa_method method);

/* Ranges of every number, and options that contradict each other; the message names the option. */
QA_MUST_CHECK qa_status qa_objective_check(const qa_objective *objective, qa_error *err);

/* Whether the policy (M7) is softmax(logits of the adapted model): Qhat = logits with alpha_0 = 0 and alpha_tilde = 1
 * (all methods but qadapter), or Qhat = residual with alpha_0 = alpha_tilde = 1 (the recipe theory), where the base
 * model's logits cancel. Such an adapter is a plain LoRA adapter: any program that loads it so has its policy, and
 * merging it loses rounding alone. */
bool qa_objective_is_plain(const qa_objective *objective);

const char *qa_method_name(qa_method method); /* "qadapter", "sft"... */
QA_MUST_CHECK qa_status qa_method_by_name(qa_method *method, const char *name, qa_error *err);
const char *qa_objective_kind_name(qa_objective_kind kind);                    /* "theory"... */
const char *qa_q_parametrisation_name(qa_q_parametrisation q_parametrisation); /* "logits"... */
QA_MUST_CHECK qa_status qa_objective_kind_by_name(qa_objective_kind *kind, const char *name, qa_error *err);
QA_MUST_CHECK qa_status qa_q_parametrisation_by_name(qa_q_parametrisation *q_parametrisation, const char *name,
                                                     qa_error *err);

QA_END_DECLS

#endif
