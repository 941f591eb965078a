/* The LoRA branch y += s * (x A^T) B^T and inverted dropout of its input.
 *
 * The backward pass needs x (dropped out), hidden = x A^T, and both matrices. Dropout's backward needs
 * nothing but the key: the same hash decides again which elements are kept. */
#include "nn/lora.h"

#include "base/rng.h"
#include "nn/blas.h"
#include "nn/blocks.h"
#include "nn/matvec.h"

#include <stdbool.h>

void qa_lora_hidden(qa_pool *pool, qa_real *hidden, const qa_real *x, const qa_real *a, size_t n, size_t in, size_t r) {
    qa_part_begin(pool, QA_PART_PRODUCTS);
    if (n <= QA_MATVEC_MAX_ROWS) {
        qa_matvec(pool, hidden, x, a, in, 1, 0, n, in, r);
    } else {
        qa_gemm(pool, QA_NO_TRANSPOSE, QA_TRANSPOSE, n, r, in, 1, x, in, a, in, 0, hidden, r);
    }
    qa_part_end(pool);
}

void qa_lora_forward(qa_pool *pool, qa_real *y, qa_real *hidden, const qa_real *x, const qa_real *a, const qa_real *b,
                     qa_real scale, size_t n, size_t in, size_t out, size_t r) {
    qa_lora_hidden(pool, hidden, x, a, n, in, r);
    qa_part_begin(pool, QA_PART_PRODUCTS);
    if (n <= QA_MATVEC_MAX_ROWS) {
        qa_matvec(pool, y, hidden, b, r, scale, 1, n, r, out);
    } else {
        qa_gemm(pool, QA_NO_TRANSPOSE, QA_TRANSPOSE, n, out, r, scale, hidden, r, b, r, 1, y, out);
    }
    qa_part_end(pool);
}

void qa_lora_backward(qa_pool *pool, qa_real *dx, qa_real *da, qa_real *db, qa_real *dhidden, const qa_real *dy,
                      const qa_real *x, const qa_real *hidden, const qa_real *a, const qa_real *b, qa_real scale,
                      size_t n, size_t in, size_t out, size_t r) {
    qa_part_begin(pool, QA_PART_PRODUCTS);
    /* y += s hidden B^T */
    if (db != NULL) {
        qa_gemm(pool, QA_TRANSPOSE, QA_NO_TRANSPOSE, out, r, n, scale, dy, out, hidden, r, 1, db, r);
    }
    if (dx != NULL || da != NULL) {
        qa_gemm(pool, QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, n, r, out, scale, dy, out, b, r, 0, dhidden, r);
    }
    /* hidden = x A^T */
    if (da != NULL) {
        qa_gemm(pool, QA_TRANSPOSE, QA_NO_TRANSPOSE, r, in, n, 1, dhidden, r, x, in, 1, da, in);
    }
    if (dx != NULL) {
        qa_gemm(pool, QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, n, in, r, 1, dhidden, r, a, in, 1, dx, in);
    }
    qa_part_end(pool);
}

typedef struct dropout_job {
    qa_real *to;
    const qa_real *from;
    uint64_t key;
    uint64_t threshold; /* drop where the element's 32 bits are below it */
    qa_real kept;       /* factor of a kept element */
    qa_blocks blocks;   /* of elements; every block begins at an even one */
} dropout_job;

static dropout_job dropout_setup(const qa_pool *pool, qa_real *to, const qa_real *from, double rate, uint64_t key,
                                 size_t count) {
    return (dropout_job){.to = to,
                         .from = from,
                         .key = key,
                         .threshold = (uint64_t)(rate * 0x1.0p32 + 0.5),
                         .kept = (qa_real)(1.0 / (1.0 - rate)),
                         .blocks = qa_blocks_cut(pool, count, 4, 16)};
}

/* Factors of the elements i and i + 1, i even. */
static void factors_of(qa_real factors[2], const dropout_job *job, size_t i) {
    uint64_t bits = qa_hash(job->key, i / 2);
    factors[0] = job->kept * (qa_real)((bits & 0xffffffffu) >= job->threshold); /* no branch to mispredict */
    factors[1] = job->kept * (qa_real)(bits >> 32 >= job->threshold);
}

static void dropout_forward_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const dropout_job *job = context;
    size_t i = qa_block_begin(&job->blocks, task), end = qa_block_end(&job->blocks, task);
    qa_real factors[2];
    for (; i + 1 < end; i += 2) {
        factors_of(factors, job, i);
        job->to[i] = factors[0] * job->from[i];
        job->to[i + 1] = factors[1] * job->from[i + 1];
    }
    if (i < end) {
        factors_of(factors, job, i);
        job->to[i] = factors[0] * job->from[i];
    }
}

static void dropout_backward_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const dropout_job *job = context;
    size_t i = qa_block_begin(&job->blocks, task), end = qa_block_end(&job->blocks, task);
    qa_real factors[2];
    for (; i + 1 < end; i += 2) {
        factors_of(factors, job, i);
        job->to[i] += factors[0] * job->from[i];
        job->to[i + 1] += factors[1] * job->from[i + 1];
    }
    if (i < end) {
        factors_of(factors, job, i);
        job->to[i] += factors[0] * job->from[i];
    }
}

void qa_dropout_forward(qa_pool *pool, qa_real *y, const qa_real *x, double rate, uint64_t key, size_t count) {
    dropout_job job = dropout_setup(pool, y, x, rate, key, count);
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run(pool, job.blocks.tasks, dropout_forward_task, &job);
    qa_part_end(pool);
}

void qa_dropout_backward(qa_pool *pool, qa_real *dx, const qa_real *dy, double rate, uint64_t key, size_t count) {
    dropout_job job = dropout_setup(pool, dx, dy, rate, key, count);
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run(pool, job.blocks.tasks, dropout_backward_task, &job);
    qa_part_end(pool);
}
