/* The LoRA branch  y += s * B (A dropout(x)),  and dropout itself.
 *
 * A is r x in, B is out x r, s the scale (lora_alpha / r, or lora_alpha / sqrt(r)). The forward pass
 * saves hidden = dropout(x) A^T [n x r]; dropout's mask is not stored: it is a function of a key and
 * the element's number, made again by the backward pass. */
#ifndef QA_NN_LORA_H
#define QA_NN_LORA_H

#include "nn/shapes.h"

/* hidden[n x r] = x A^T: the first half of qa_lora_forward, to the same bits. */
void qa_lora_hidden(qa_pool *pool, qa_real *hidden, const qa_real *x, const qa_real *a, size_t n, size_t in, size_t r);

/* hidden[n x r] = x A^T;  y[n x out] += s * hidden B^T.  x is already dropped out. */
void qa_lora_forward(qa_pool *pool, qa_real *y, qa_real *hidden, const qa_real *x, const qa_real *a, const qa_real *b,
                     qa_real scale, size_t n, size_t in, size_t out, size_t r);

/* da[r x in], db[out x r] get their parts added, dx[n x in] (NULL: not wanted) becomes beta dx + its part (beta = 0: it
 * is not read); dhidden[n x r] is scratch. db += s dy^T hidden;  dhidden = s dy B;  da += dhidden^T x;  dx = beta dx +
 * dhidden A */
void qa_lora_backward(qa_pool *pool, qa_real beta, qa_real *dx, qa_real *da, qa_real *db, qa_real *dhidden,
                      const qa_real *dy, const qa_real *x, const qa_real *hidden, const qa_real *a, const qa_real *b,
                      qa_real scale, size_t n, size_t in, size_t out, size_t r);

/* y[i] = x[i] / (1 - rate) with probability 1 - rate, else 0, i < count; y may be x. The choice is a
 * function of key and i: 32 bits of qa_hash(key, i / 2), the low half for an even i. rate in [0, 1), taken
 * to the nearest multiple of 2^-32. */
void qa_dropout_forward(qa_pool *pool, qa_real *y, const qa_real *x, double rate, uint64_t key, size_t count);
/* dx[i] += dy[i] * (the same factor). */
void qa_dropout_backward(qa_pool *pool, qa_real *dx, const qa_real *dy, double rate, uint64_t key, size_t count);

#endif
