/* The mistakes that other implementations make, and how to compute what each would have given. */
#ifndef QA_GOLDEN_MISTAKES_H
#define QA_GOLDEN_MISTAKES_H

#include "golden/bundle.h"

typedef enum qa_golden_mistake {
    QA_MISTAKE_BOS,
    QA_MISTAKE_SIDES,
    QA_MISTAKE_ROPE,
    QA_MISTAKE_LOG_SOFTMAX,
    QA_MISTAKE_LORA_EXCHANGED,
    QA_MISTAKE_LORA_SCALE,
    QA_MISTAKE_LORA_RSLORA,
    QA_MISTAKE_LORA_OFF,
    QA_MISTAKE_PARAMETRISATION,
    QA_MISTAKE_ALPHA_0,
    QA_MISTAKE_VALUE_STATE,
    QA_MISTAKE_MASK,
    QA_MISTAKE_PAD,
    QA_MISTAKE_DIVISOR,
    QA_MISTAKE_GAMMA_POWERS,
    QA_MISTAKE_CLASSES,
    QA_MISTAKE_CUT_OFF,
    QA_MISTAKE_VALUE_SCALE,
    QA_MISTAKE_Q_LOG_SOFTMAX,
    QA_MISTAKE_VALUE_STOPPED,
    QA_MISTAKE_MEANS,
    QA_MISTAKE_SUM,
    QA_MISTAKE_GAMMA_PROMPT,
    QA_MISTAKE_WEIGHT_DECAY,
    QA_MISTAKE_LEARNING_RATE,
    QA_MISTAKE_BIAS_CORRECTION,
    QA_MISTAKE_EPSILON,
    QA_MISTAKE_CLIPPING,
    QA_MISTAKE_FLOAT32,
    QA_MISTAKE_NORMS,
    QA_MISTAKE_WINDOW,
    QA_MISTAKE_FUSED,
    QA_MISTAKES /* 32: sets of them are bits */
} qa_golden_mistake;

const char *qa_golden_mistake_name(qa_golden_mistake mistake); /* "double-bos", "value-state"... */

/* Beside what a trial needs of the bundle (mistakes.c). */
enum {
    QA_TRIAL_IN_STEPS = 1 << 0,  /* the mistake shows in the steps alone */
    QA_TRIAL_ANY_FACTOR = 1 << 1 /* number is a factor to be found out; 1 here */
};

/* Trials are numbered from 0. */
size_t qa_golden_trials(void);
/* False when this one cannot be made on the bundle. */
bool qa_golden_trial_make(qa_golden_trial *trial, size_t number, const qa_golden_bundle *bundle);

/* What the trial gives on the bundle's inputs: all tensors, appended to set; gradients where they are asked for, and
 * so many of the bundle's steps (which need gradients). */
QA_MUST_CHECK qa_status qa_golden_trial_run(qa_golden_set *set, const qa_golden_bundle *bundle,
                                            const qa_golden_trial *trial, bool gradients, size_t steps, qa_error *err);

#endif
