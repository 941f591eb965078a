/* What is told of a pair, and sums of that over pairs: what training metrics and evaluations are made of. A pair's
 * record is a function of the pair alone, and the sums of the records in their order, whoever ran the pairs. */
#ifndef QA_TRAIN_PAIR_METRICS_H
#define QA_TRAIN_PAIR_METRICS_H

#include "train/pair_step.h"

/* One pair, or response run alone, as it was run. Plain numbers, so that ranks can send it. Of a response run alone
 * everything is in [QA_CHOSEN], and logit, right and ret[QA_REJECTED] are NaN. */
typedef struct qa_pair_record {
    double logit, right;                                          /* z, and what qa_ranked_right says of it */
    double scale;                                                 /* qa_pair_step_scale */
    double pref, reg;                                             /* its shares of the loss */
    size_t counted[QA_SIDES];                                     /* transitions */
    double ret[QA_SIDES];                                         /* R (M9) */
    double log_pi1[QA_SIDES], log_pi[QA_SIDES], q, v, reward, kl; /* sums over the counted transitions */
    double hardest_pi1, hardest_pi; /* the least log-probability of a token of the chosen one; at most 0 */
} qa_pair_record;

/* Zero-initialise; add pairs, or labelled responses: then the sides are the two classes, QA_CHOSEN the desirable ones.
 */
typedef struct qa_pair_metrics {
    size_t pairs;              /* or labelled responses */
    size_t labelled[QA_SIDES]; /* responses of each class */
    double *returns;           /* [capacity] the caller's, where labelled responses are added: the desirable ones' from
                                  the front, the others' from the back; NULL: pairs are */
    size_t capacity;
    double scale;             /* qa_pair_step_scale of the last labelled response */
    size_t tokens;            /* prompt once and both responses */
    double logit;             /* sum of z */
    double correct;           /* pairs with z > 0; ties count half; NaN, as logit, with a response run alone */
    double pref, reg;         /* shares of the loss's two terms, already divided */
    size_t counted[QA_SIDES]; /* transitions */
    double q, v, reward, kl;  /* sums over the counted transitions of both sides */
    double ret[QA_SIDES];     /* R (M9) of the pairs; NaN of the rejected side with a response run alone */
    double log_pi1[QA_SIDES]; /* sums over the counted transitions, per side */
    double log_pi[QA_SIDES];
} qa_pair_metrics;

/* 1: the pair of the step's last forward has z > 0; 0.5: a tie, equal but for rounding; 0: z < 0; NaN: one response. */
double qa_ranked_right(const qa_pair_step *step);

/* The share of couples, one of above[n_above] and one of below[n_below], in which the first is larger; those closer
 * than `tie` count half. NaN of none. Sorts below. */
double qa_ranked_above(const double *above, size_t n_above, double *below, size_t n_below, double tie);

/* The pair of the step's last forward, with its shares of the loss. */
void qa_pair_record_fill(qa_pair_record *record, const qa_pair_step *step, qa_pair_loss loss);

void qa_pair_metrics_add(qa_pair_metrics *sums, const qa_pair *pair, const qa_pair_record *record);

/* The means of a sums in the fields that training and evaluation share: loss, pref_loss, chi2_loss, margin, accuracy,
 * q_values_mean, values_mean, reward_mean, kl_per_token, tokens, and reward_ and logps_ of both sides. Means over no
 * transition are 0. Of labelled responses: the classes' means, their difference for the margin, and qa_ranked_above of
 * their returns for the accuracy; NaN where a class is missing. */
void qa_pair_metrics_means(const qa_pair_metrics *sums, qa_metrics *metrics);

#endif
