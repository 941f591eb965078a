/* The value head of ppo: V(s) = w . h + b, one linear map of the last hidden state (the input of the model's head). Its
 * d + 1 numbers stand behind the adapter's in the flat array that is trained. */
#ifndef QA_TRAIN_VALUE_HEAD_H
#define QA_TRAIN_VALUE_HEAD_H

#include "base/real.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t qa_value_head_count(size_t d) { return d + 1; }

/* w[d] and then b, uniform within 1 / sqrt(d), as torch begins a linear map. */
void qa_value_head_init(qa_real *head, size_t d, uint64_t seed);

/* DIR/value_head.safetensors: v_head.summary.weight [1 x d] and v_head.summary.bias [1], TRL's names, in F32. */
QA_MUST_CHECK qa_status qa_value_head_save(const qa_real *head, size_t d, const char *dir, qa_error *err);
/* *found: there is such a file; head is unchanged where there is none. */
QA_MUST_CHECK qa_status qa_value_head_load(qa_real *head, size_t d, const char *dir, bool *found, qa_error *err);

/* V of n states h[n x d]. */
void qa_value_head_forward(double *value, const qa_real *head, const qa_real *h, size_t n, size_t d);

/* Dropout on the input: its element j of a state is kept, and divided by 1 - p, by the key and the state's number. The
 * forward with it, in place on h[n x d]. */
void qa_value_head_dropout(qa_real *h, size_t n, size_t d, double p, uint64_t key);

/* g_value[n] = dL/dV: adds to gradient[d + 1] and to dh[n x d]; h as the forward had it, p and key likewise (p 0: no
 * dropout). */
void qa_value_head_backward(qa_real *gradient, qa_real *dh, const double *g_value, const qa_real *head,
                            const qa_real *h, size_t n, size_t d, double p, uint64_t key);

#endif
