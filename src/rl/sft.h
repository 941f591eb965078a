/* Supervised fine-tuning: the baseline that takes the chosen responses for demonstrations.
 *
 *     L = -1/N  sum over the response tokens of  log pi(a_t|s_t)
 *
 * with pi = softmax(logits) and N the tokens of the whole step, so that every token weighs the same, whatever the
 * length of its response. Replay is the same loss over chosen responses and responses of the base model's own together:
 * N counts both. Lengths in tokens, log-probabilities in nats. */
#ifndef QA_RL_SFT_H
#define QA_RL_SFT_H

#include <stddef.h>

/* The share of one response's n tokens in L: log_pi[n], tokens = N. 0 for an empty response. */
double qa_sft_loss(const double *log_pi, size_t n, double tokens);

/* dL/d log pi(a_t|s_t), the same for every token: -1/N. Back through the softmax as in dpo.h. */
double qa_sft_token_gradient(double tokens);

#endif
