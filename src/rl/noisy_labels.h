/* Learning from labels of which a share was turned round: one problem, every response enumerated; labels taken as they
 * are, the share known, and the share estimated; by the likelihood (M10) and by IPO (rl/ipo.h), each against the
 * optimum that it aims at without noise. */
#ifndef QA_RL_NOISY_LABELS_H
#define QA_RL_NOISY_LABELS_H

#include "base/pool.h"
#include "rl/consistency.h"
#include "rl/label_noise.h"

/* What is done about the noise. */
typedef enum qa_noise_remedy { QA_NOISE_IGNORED, QA_NOISE_KNOWN, QA_NOISE_ESTIMATED } qa_noise_remedy;

typedef struct qa_noise_row {
    const char *loss;   /* "likelihood" or "ipo" */
    const char *labels; /* what they are taken for */
    qa_method method;
    qa_noise_remedy remedy;
} qa_noise_row;

enum { QA_NOISE_ROWS = 5 };
extern const qa_noise_row qa_noise_rows[QA_NOISE_ROWS];

/* ipo's tau here: small differences of rewards then tilt its optimum as much as they tilt (M7)'s, p(y)/tau being about
 * r/(4 tau). */
extern const double qa_noise_tau;

/* What one row learned from one sample. */
typedef struct qa_noise_outcome {
    double kl;                      /* KL(learned || the loss's own optimum without noise), nats over responses */
    double kl_optimum;              /* KL(learned || the optimum for lambda r1 + r2) */
    double share;                   /* that the loss was told; 0 where labels are taken as they are */
    double held_out_loss;           /* per pair that was not learned from, with that share */
    qa_label_noise as_said, scaled; /* estimated from the held-out pairs' margins */
    qa_minimum minimum;
} qa_noise_outcome;

/* The optimum of ipo over all policies, log_prob[responses]: pi1 exp( p(y)/tau ) normalised, with p(y) the probability
 * that the label says y rather than a response of pi1's, a share `flip` of labels being turned round. */
void qa_ipo_optimum(const qa_customisation *problem, double tau, double flip, double *log_prob);

/* Samples of `pairs` preferences (0: all, weighted by their probability; then one sample), and a tenth of that held
 * out, for each of qa_consistency_flips: those that `consistency` learns from. */
typedef struct qa_noise_study {
    const qa_customisation *problem; /* borrowed */
    size_t pairs, seeds;
    double *ipo_optimum;        /* [responses] without noise */
    qa_noise_outcome *outcomes; /* [QA_CONSISTENCY_FLIPS x seeds x QA_NOISE_ROWS] */
    qa_error *errors;           /* [QA_CONSISTENCY_FLIPS x seeds] */
} qa_noise_study;

/* Free it whatever comes back. */
QA_MUST_CHECK qa_status qa_noise_study_run(qa_noise_study *study, const qa_customisation *problem, size_t pairs,
                                           size_t seeds, qa_pool *pool, qa_error *err);
void qa_noise_study_free(qa_noise_study *study);

/* The outcomes of a sample, [QA_NOISE_ROWS]. */
const qa_noise_outcome *qa_noise_study_at(const qa_noise_study *study, size_t flip, size_t seed);

#endif
