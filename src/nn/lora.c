/* The LoRA branch y += s * (x A^T) B^T and inverted dropout of its input.
 *
 * The backward pass needs x (dropped out), hidden = x A^T, and both matrices. Dropout's backward needs
 * nothing but the key: the same hash decides again which elements are kept.
 * Plain twin: reference/transformer.c: plain_linear_forward, plain_linear_backward. */
#include "nn/lora.h"

#include "base/rng.h"
#include "nn/blas.h"
#include "nn/cpu.h"
#include "nn/linear.h"

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

void qa_lora_backward(qa_pool *pool, qa_real beta, qa_real *dx, qa_real *da, qa_real *db, qa_real *dhidden,
                      const qa_real *dy, const qa_real *x, const qa_real *hidden, const qa_real *a, const qa_real *b,
                      qa_real scale, size_t n, size_t in, size_t out, size_t r) {
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
        qa_gemm(pool, QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, n, in, r, 1, dhidden, r, a, in, beta, dx, in);
    }
    qa_part_end(pool);
}

typedef struct dropout_job {
    qa_real *to;
    const qa_real *from;
    uint64_t key;
    uint64_t threshold; /* drop where the element's 32 bits are below it */
    qa_real kept;       /* factor of a kept element */
    bool add;           /* to += (backward) */
} dropout_job;

enum { FACTORS = 64 };

/* Factors of the FACTORS elements from `first` on, an even number: first all the bits, then all the choices, so that
 * both loops run in vectors. */
QA_KERNEL static void find_factors(qa_real *factors, uint64_t key, uint64_t threshold, qa_real kept, size_t first) {
    uint32_t bits[FACTORS];
    for (size_t i = 0; i < FACTORS / 2; i++) {
        const uint64_t two = qa_hash(key, first / 2 + i);
        bits[2 * i] = (uint32_t)two;
        bits[2 * i + 1] = (uint32_t)(two >> 32);
    }
    const uint32_t last_dropped = (uint32_t)(threshold - 1);
    for (size_t i = 0; i < FACTORS; i++) {
        factors[i] = bits[i] > last_dropped ? kept : 0;
    }
}

/* Every block begins at an even element. */
static void dropout_block(void *context, size_t begin, size_t end) {
    const dropout_job *job = context;
    qa_real factors[FACTORS];
    for (size_t i = 0; i < FACTORS; i++) {
        factors[i] = job->kept; /* of all, where nothing is dropped */
    }
    for (size_t first = begin; first < end; first += FACTORS) {
        const size_t count = end - first < FACTORS ? end - first : FACTORS;
        const qa_real *from = job->from + first;
        qa_real *to = job->to + first;
        if (job->threshold != 0) {
            find_factors(factors, job->key, job->threshold, job->kept, first);
        }
        for (size_t i = 0; i < count; i++) {
            to[i] = job->add ? to[i] + factors[i] * from[i] : factors[i] * from[i];
        }
    }
}

static void dropout(qa_pool *pool, bool add, qa_real *to, const qa_real *from, double rate, uint64_t key,
                    size_t count) {
    dropout_job job = {.to = to,
                       .from = from,
                       .key = key,
                       .threshold = (uint64_t)(rate * 0x1.0p32 + 0.5),
                       .kept = (qa_real)(1.0 / (1.0 - rate)),
                       .add = add};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 4, 16, dropout_block, &job);
    qa_part_end(pool);
}

void qa_dropout_forward(qa_pool *pool, qa_real *y, const qa_real *x, double rate, uint64_t key, size_t count) {
    dropout(pool, false, y, x, rate, key, count);
}

void qa_dropout_backward(qa_pool *pool, qa_real *dx, const qa_real *dy, double rate, uint64_t key, size_t count) {
    dropout(pool, true, dx, dy, rate, key, count);
}
