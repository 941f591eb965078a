/* AdamW as PyTorch defines it, elementwise with g = clip * gradient, t the step's number and lr its rate:
 *
 *     p <- p - lr weight_decay p                                    (decoupled decay, first)
 *     m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
 *     p <- p - lr m / (1 - beta1^t) / ( sqrt(v / (1 - beta2^t)) + epsilon )
 *
 * and clipping as clip_grad_norm_:  clip = max_norm / (norm + 1e-6) where that is below 1.
 *
 * Each element is worked out in double and rounded once. Blocks of fixed size are the pool's tasks, so the
 * result depends neither on the number of threads nor on their order.
 * Plain twin: reference/step.c: qa_ref_update. */
#include "train/adamw.h"

#include <math.h>

typedef struct step_task {
    qa_real *parameters, *m, *v;
    const qa_real *gradient;
    size_t count;
    const qa_adamw *options;
    double correction1, correction2; /* 1 - beta^t */
} step_task;

size_t qa_adamw_blocks(size_t count) { return count / QA_ADAMW_BLOCK + (count % QA_ADAMW_BLOCK != 0 ? 1 : 0); }

static size_t block_end(size_t block, size_t count) {
    const size_t begin = block * QA_ADAMW_BLOCK;
    return count - begin < QA_ADAMW_BLOCK ? count : begin + QA_ADAMW_BLOCK;
}

static void step_block(void *context, size_t block, size_t worker) {
    const step_task *s = context;
    const qa_adamw *o = s->options;
    const size_t end = block_end(block, s->count);
    (void)worker;
    for (size_t i = block * QA_ADAMW_BLOCK; i < end; i++) {
        const double g = o->clip * (double)s->gradient[i];
        const double m = o->beta1 * (double)s->m[i] + (1.0 - o->beta1) * g;
        const double v = o->beta2 * (double)s->v[i] + (1.0 - o->beta2) * g * g;
        const double p = (double)s->parameters[i] * (1.0 - o->learning_rate * o->weight_decay);
        const double denominator = sqrt(v / s->correction2) + o->epsilon;
        s->m[i] = (qa_real)m;
        s->v[i] = (qa_real)v;
        s->parameters[i] = (qa_real)(p - o->learning_rate * (m / s->correction1) / denominator);
    }
}

void qa_adamw_step(qa_pool *pool, qa_real *parameters, qa_real *m, qa_real *v, const qa_real *gradient, size_t count,
                   const qa_adamw *options) {
    step_task task = {.parameters = parameters,
                      .m = m,
                      .v = v,
                      .gradient = gradient,
                      .count = count,
                      .options = options,
                      .correction1 = 1.0 - pow(options->beta1, (double)options->step),
                      .correction2 = 1.0 - pow(options->beta2, (double)options->step)};
    qa_part_begin(pool, QA_PART_OPTIMISER);
    qa_pool_run(pool, qa_adamw_blocks(count), step_block, &task);
    qa_part_end(pool);
}

typedef struct norm_task {
    const qa_real *gradient;
    size_t count;
    double *partial; /* [blocks] sums of squares */
} norm_task;

static void norm_block(void *context, size_t block, size_t worker) {
    const norm_task *n = context;
    const size_t end = block_end(block, n->count);
    double sum = 0.0;
    (void)worker;
    for (size_t i = block * QA_ADAMW_BLOCK; i < end; i++) {
        sum += (double)n->gradient[i] * (double)n->gradient[i];
    }
    n->partial[block] = sum;
}

double qa_gradient_norm(qa_pool *pool, const qa_real *gradient, size_t count, double *partial) {
    norm_task task = {.gradient = gradient, .count = count, .partial = partial};
    const size_t blocks = qa_adamw_blocks(count);
    qa_part_begin(pool, QA_PART_OPTIMISER);
    qa_pool_run(pool, blocks, norm_block, &task);
    qa_part_end(pool);
    double sum = 0.0;
    for (size_t i = 0; i < blocks; i++) {
        sum += partial[i];
    }
    return sqrt(sum);
}

size_t qa_first_not_finite(const qa_real *x, size_t count) {
    size_t i = 0;
    while (i < count && isfinite(x[i])) {
        i++;
    }
    return i;
}

double qa_clip_factor(double norm, double max_norm) {
    if (max_norm <= 0.0) {
        return 1.0;
    }
    const double factor = max_norm / (norm + 1e-6);
    return factor < 1.0 ? factor : 1.0;
}
