/* The Bradley-Terry loss of a reward model with K outputs, as TRL's trainer has it: for each output on its own, with
 * equal weight,
 *
 *     L = mean over pairs and outputs of  -log sigmoid(c_k - r_k) + centering (c_k + r_k)^2
 *
 * c, r: the scores of the chosen and of the rejected answer. The published recipe has K = 2, a default that was not
 * meant, and centering 0; one output is the model of Bradley and Terry. Outputs never see each other, so that a second
 * one is another reward model on the same trunk. */
#ifndef QA_RL_BRADLEY_TERRY_H
#define QA_RL_BRADLEY_TERRY_H

#include <stddef.h>

/* One pair's share of L: chosen, rejected [outputs]. */
double qa_bradley_terry_loss(const double *chosen, const double *rejected, size_t outputs, double centering,
                             double pairs);

/* Its derivatives with respect to chosen and rejected, assigned to dchosen, drejected [outputs]. */
void qa_bradley_terry_gradient(double *dchosen, double *drejected, const double *chosen, const double *rejected,
                               size_t outputs, double centering, double pairs);

#endif
