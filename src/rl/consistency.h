/* Whether learning from preferences finds the optimum: one problem; samples of 100, 300, 1000... pairs, several of
 * each, with labels turned round or not, and all pairs at once in the limit; on each the same preferences are learned
 * from in every variant (objective, parametrisation, regulariser). */
#ifndef QA_RL_CONSISTENCY_H
#define QA_RL_CONSISTENCY_H

#include "base/pool.h"
#include "rl/customisation.h"
#include "rl/tabular_learn.h"

/* Fading: the constant one's beta at the fewest pairs, then as one over the root of the pairs. */
typedef enum qa_regulariser {
    QA_REGULARISER_NONE,
    QA_REGULARISER_CONSTANT,
    QA_REGULARISER_FADING,
    QA_REGULARISERS
} qa_regulariser;

enum {
    QA_CONSISTENCY_VARIANTS = 2 * 2 * QA_REGULARISERS, /* objective, parametrisation, regulariser */
    QA_CONSISTENCY_FLIPS = 4,
    QA_CONSISTENCY_SIZES = 24,
    QA_CONSISTENCY_FEWEST = 100, /* pairs */
    QA_CONSISTENCY_ITERATIONS = 5000
};

extern const double qa_consistency_flips[QA_CONSISTENCY_FLIPS]; /* shares of labels that are turned round */
extern const double qa_consistency_tolerance;                   /* of the gradient's norm */

typedef struct qa_consistency_variant {
    const char *objective, *parametrisation, *regulariser;
} qa_consistency_variant;

qa_consistency_variant qa_consistency_variant_of(int variant);

/* pairs 0: the limit. */
qa_objective qa_consistency_objective(const qa_customisation *problem, int variant, double beta, size_t pairs);

/* What one variant learned from one sample; KL from and to the true optimum, nats over whole responses. */
typedef struct qa_consistency_outcome {
    double beta, kl, kl_first_token, kl_reverse, reward1, reward2;
    qa_minimum minimum;
} qa_consistency_outcome;

/* Learns from the preferences; theta[rows x V] is the result. */
QA_MUST_CHECK qa_status qa_consistency_learn(const qa_customisation *problem, const qa_objective *objective,
                                             const qa_preferences *preferences, double *theta,
                                             qa_consistency_outcome *out, qa_error *err);

/* Sample sizes (the last is 0, the limit) x flips x seeds; in the limit one seed only. */
typedef struct qa_consistency {
    const qa_customisation *problem; /* borrowed */
    double beta;
    size_t sizes[QA_CONSISTENCY_SIZES], n_sizes, seeds;
    size_t at;                        /* the size that is worked on */
    qa_consistency_outcome *outcomes; /* [n_sizes x QA_CONSISTENCY_FLIPS x seeds x QA_CONSISTENCY_VARIANTS] */
    qa_error *errors;                 /* [QA_CONSISTENCY_FLIPS x seeds] */
} qa_consistency;

/* Sizes up to `most` >= QA_CONSISTENCY_FEWEST. Free it whatever comes back. */
QA_MUST_CHECK qa_status qa_consistency_create(qa_consistency *grid, const qa_customisation *problem, double beta,
                                              size_t most, size_t seeds, qa_error *err);
void qa_consistency_free(qa_consistency *grid);

/* All samples of one size, in parallel. */
QA_MUST_CHECK qa_status qa_consistency_run(qa_consistency *grid, size_t size, qa_pool *pool, qa_error *err);

/* The outcomes of a sample, [QA_CONSISTENCY_VARIANTS]. */
qa_consistency_outcome *qa_consistency_at(const qa_consistency *grid, size_t size, size_t flip, size_t seed);

#endif
