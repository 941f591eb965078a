/* What the training methods differ in. Everything else (the passes through the model, the states, the way back, the
 * optimiser) is the same code: a method is one file of this folder and one row of the table in methods.c.
 *
 * A pair that has been through the model is two sides (prompt and chosen, prompt and rejected response), each with its
 * counted transitions and, for each of them, Qhat, Vhat, log pi1 and log pitilde of (M5) and (M7). The method says
 * which transitions count, what reward each implies, what the pair adds to the loss, and the derivative of the loss. */
#ifndef QA_METHODS_METHOD_H
#define QA_METHODS_METHOD_H

#include "base/option.h"
#include "methods/rollout_rule.h"
#include "qadapter/objective.h"
#include "rl/transitions.h"

#include <stdbool.h>
#include <stddef.h>

enum { QA_SIDES = 2, QA_CHOSEN = 0, QA_REJECTED = 1 };

/* What a method is trained on: what --data holds. */
typedef enum qa_method_data {
    QA_DATA_PAIRS,    /* preference pairs */
    QA_DATA_LABELLED, /* single responses, each with a label: desirable or not */
    QA_DATA_PROMPTS   /* prompts alone: the responses are the policy's own */
} qa_method_data;

/* What a forward pass found on one side; everything is owned by the qa_pair_step and valid until its next forward. */
typedef struct qa_side_step {
    size_t n;                         /* counted transitions; 0 for a side that was not run */
    size_t states;                    /* see rl/transitions.h */
    const qa_transition *transitions; /* [n] */
    double *log_pi1;                  /* [n] log pi1(a_t|s_t) */
    const double *log_ref;            /* [n] log pi_ref(a_t|s_t): log_pi1, or of another reference (dpo) */
    double *q;                        /* [n] Qhat(s_t, a_t) */
    double *v;                        /* [n] Vhat(s_t) */
    double *log_pi;                   /* [n] log pitilde(a_t|s_t)  (M7) */
    double *kl;                       /* [n] KL(pitilde || pi1) at s_t */
    double *reward;                   /* [n] of the method: (M8), or b (log pi - log pi_ref) */
    double *weight;                   /* [n] c_t of (M9) */
    double *state_v;                  /* [states] Vhat; NaN at a state that no transition needs */
    double *full_q, *full_log_pi1;    /* [states x V] with full, else NULL */
    double ret;                       /* R (M9) */
    bool desirable;                   /* a pair's chosen response; of a labelled one what its label says */
} qa_side_step;

/* What the terms of the loss are divided by, for the pairs of one micro-batch. */
typedef struct qa_divisors {
    double pairs;           /* preference terms */
    double counted;         /* squared rewards; under sft and replay the tokens that are learned */
    size_t padded_length;   /* the micro-batch's longest row, tokens */
    double responses;       /* kto: two of a pair */
    double reference_point; /* kto: z0 of the micro-batch, nats (rl/kto.h) */
} qa_divisors;

/* A pair's share of the two terms of a loss, to be added over the pairs. */
typedef struct qa_pair_loss {
    double pref; /* the method's own: (M10)'s preference term, DPO's loss, SFT's cross-entropy */
    double reg;  /* the regulariser of (M10) */
} qa_pair_loss;

typedef struct qa_method_row {
    const char *name;       /* --method, and "method" of training_config.json */
    qa_objective objective; /* without its own options, which get their defaults (qa_objective_for_method) */
    bool residual;          /* a residual Q-function: objective and recipe are the user's. Else they are fixed, so that
                               (M7) is softmax(adapted logits), and the record needs no more than the name */
    qa_method_data data;    /* what it is trained on */
    bool scores_sequences;  /* what comes of it is no policy but a reward model (train/reward_model.h), and none of the
                               functions below is there */
    bool one_sided;         /* learns from one response (a pair's chosen one): its steps run one branch */
    const qa_rollout_rule *rollouts; /* what it learns of answers of its own; NULL: it does not */
    bool replays;                    /* mixes in responses of the base model's own, which must be given */
    const char *loss_label;          /* of its own term, in the table of an evaluation */

    /* Its own numbers, in a qa_objective, each with a key; NULL: none. Those of replaying are train/options.h's. */
    const qa_option_table *options;

    /* Names and values of training's options (train/options.h) whose defaults are others under this method, NULL at the
     * end; NULL: none. */
    const char *const *defaults;
    /* One line for people, into buffer[bytes]; NULL: a policy softmax(adapted logits) with margins of log-ratios. */
    void (*describe)(const qa_objective *objective, char *buffer, size_t bytes);

    /* Writes the qa_transition_count() transitions of a side; the arguments are those of qa_transitions_layout. */
    void (*layout)(qa_transition *transitions, const qa_side *side, const qa_objective *objective, size_t padded_length,
                   int32_t pad_id);
    /* The implied rewards into side->reward[n]; their weighted sums differ by the margin z = R(chosen) - R(rejected).
     */
    void (*rewards)(qa_side_step *side, const qa_objective *objective);
    /* The weight of one log-probability in z, by which the rounding of z goes. */
    double (*scale)(const qa_side_step *side, const qa_objective *objective);
    /* The pair's share; side[QA_REJECTED] has no transition, and z is NaN, when the chosen response was run alone. */
    qa_pair_loss (*loss)(const qa_side_step *const side[QA_SIDES], double z, const qa_objective *objective,
                         const qa_divisors *divisors);
    /* g_t, the derivative of the whole loss with respect to the reward r_t (a residual Q-function) or to
     * log pi(a_t|s_t), for one side (QA_CHOSEN or QA_REJECTED). Assigned to g[side->n]. Both reach the logits the same
     * way: r_t = Qhat - gamma Vhat(value state), and log pi(a_t|s_t) is that with the state itself for its value state
     * (rl/transitions.h). */
    void (*gradient)(double *g, const qa_side_step *side, size_t which, double z, const qa_objective *objective,
                     const qa_divisors *divisors);
} qa_method_row;

/* The option that names the method, in a qa_objective. */
extern const qa_option_table qa_method_table;

/* The row of objective->method, which qa_objective_check has accepted. */
const qa_method_row *qa_method_of(const qa_objective *objective);
const qa_method_row *qa_method_at(size_t index); /* of all methods in turn; NULL behind the last */

/* The methods, each in its own file. */
extern const qa_method_row qa_method_qadapter, qa_method_sft, qa_method_replay, qa_method_dpo, qa_method_ipo,
    qa_method_sppo, qa_method_reward, qa_method_ppo, qa_method_rloo, qa_method_kto;

/* Of an adapter without a record, from another program: its policy is softmax(adapted logits), as of sft. */
qa_objective qa_objective_of_plain_adapter(void);

/* One line for people: the numbers of the objective, or what the policy and the margins are. */
void qa_objective_text(const qa_objective *objective, char *buffer, size_t bytes);

/* ---- shared by the methods that train the policy softmax(adapted logits) itself ---- */

/* Their objective: (M7) is softmax(adapted logits), and beta is 0. */
#define QA_LIKELIHOOD_OBJECTIVE                                                                                        \
    .kind = QA_THEORY, .q_parametrisation = QA_Q_LOGITS, .alpha_tilde = 1.0, .alpha_0 = 0.0, .gamma = 1.0, .beta = 0.0

/* The option that says what the log-ratios of side->log_ref are against; of any method that reads them. */
#define QA_REFERENCE_ROW                                                                                               \
    {                                                                                                                  \
        "reference", QA_CHOICE(qa_objective, reference, qa_reference_names),                                           \
            .key = "reference", .standard = "base", .record = QA_RECORD_LATER, .group = QA_GROUP_ADAPTER,              \
            .note = "adapter with --adapter, as in TRL; else base",                                                    \
            .help = "what log-ratios are against: the base model, or the adapter that training starts from, which "    \
                    "stays as it was"                                                                                  \
    }
extern const char *const qa_reference_names[];

/* The optimiser and the length of the published runs of ppo. */
#define QA_ROLLOUT_DEFAULTS                                                                                            \
    "lr-scheduler-type", "constant", "warmup-ratio", "0", "max-grad-norm", "0", "max-steps", "500", "save-every", "50"

#define QA_OWN_LOSS "  the method's own"

/* sft.c: what replay, too, does with every response that it learns from. */
void qa_sft_rewards(qa_side_step *side, const qa_objective *objective);
double qa_sft_scale(const qa_side_step *side, const qa_objective *objective);
qa_pair_loss qa_sft_loss(const qa_side_step *const side[QA_SIDES], double z, const qa_objective *objective,
                         const qa_divisors *divisors);
void qa_sft_gradient(double *g, const qa_side_step *side, size_t which, double z, const qa_objective *objective,
                     const qa_divisors *divisors);

/* All of these, for the row of a method that measures a response as sft does. */
#define QA_SFT_MEASURES                                                                                                \
    .loss_label = QA_OWN_LOSS, .layout = qa_transitions_likelihood, .rewards = qa_sft_rewards, .scale = qa_sft_scale,  \
    .loss = qa_sft_loss, .gradient = qa_sft_gradient

#endif
