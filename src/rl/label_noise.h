/* How many labels were turned round, from the labels of pairs that a model has not learned from and from its margins z.
 *
 * The share eps maximises  sum log[ (1 - eps) sigmoid(z) + eps sigmoid(-z) ],  which is concave in it. That takes the
 * model at its word: a margin that is too large (a model that learned its pairs by heart) makes labels look wrong that
 * are only uncertain. `scaled` frees the margins' scale, z -> s z, and maximises over both: what is left to tell eps by
 * is how often the pairs with the largest margins, whatever their scale, are labelled the other way.
 *
 * Neither can tell noise from people who disagree, and a model that was trained as if no label were wrong has margins
 * to which the noise is fitted: it says too little. `qadapter tabular learn` shows both. */
#ifndef QA_RL_LABEL_NOISE_H
#define QA_RL_LABEL_NOISE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_label_noise {
    double share;     /* in [0, 1/2] */
    double low, high; /* 95%: where the log-likelihood is 1.92 below its maximum, or the end of the range */
    double scale;     /* of the margins; 1 where it was not free */
} qa_label_noise;

/* z: [n], each counting weight (NULL: 1) times. All NaN without pairs, or if a margin is NaN. */
qa_label_noise qa_label_noise_estimate(const double *z, const double *weight, size_t n, bool scaled);

/* The log-likelihood of the labels, nats in all. */
double qa_label_log_likelihood(const double *z, const double *weight, size_t n, double eps, double scale);

#endif
