/* AdamW with gradient clipping, on flat arrays. */
#ifndef QA_TRAIN_ADAMW_H
#define QA_TRAIN_ADAMW_H

#include "base/pool.h"
#include "base/real.h"

#include <stddef.h>

enum { QA_ADAMW_BLOCK = 16384 }; /* parameters of one task, and of one partial sum of the norm */

typedef struct qa_adamw {
    double beta1, beta2;  /* decay of the two moments, in [0, 1) */
    double epsilon;       /* added to the root of the second moment */
    double weight_decay;  /* decoupled: parameters shrink by learning_rate * weight_decay */
    double learning_rate; /* of this step */
    size_t step;          /* number of this step, 1 is the first: for the bias correction */
    double clip;          /* factor on the gradient, from qa_clip_factor */
} qa_adamw;

/* One step on parameters[count], reading gradient[count] and updating the moments m[count] and v[count] (0 before the
 * first step). */
void qa_adamw_step(qa_pool *pool, qa_real *parameters, qa_real *m, qa_real *v, const qa_real *gradient, size_t count,
                   const qa_adamw *options);

/* Euclidean norm of gradient[count], summed in double in an order that depends on nothing but count.
 * partial: scratch [qa_adamw_blocks(count)]. Not finite when an element is not. */
double qa_gradient_norm(qa_pool *pool, const qa_real *gradient, size_t count, double *partial);
size_t qa_adamw_blocks(size_t count);

/* The first of x[count] that is not finite, or count. */
size_t qa_first_not_finite(const qa_real *x, size_t count);

/* What the gradient is multiplied by so that its norm is at most max_norm; 1 when max_norm is 0. */
double qa_clip_factor(double norm, double max_norm);

#endif
