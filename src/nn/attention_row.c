/* out += p v for the heads of one query row. Two vectors of columns of every head are summed over TILE rows of v, then
 * the next two: the tile's rows stay in the first cache until all columns and heads are done.
 * Plain twin: reference/transformer.c: plain_attention_forward. */
#include "nn/attention_row.h"

#include "nn/vec.h"

enum { TILE = 32, COLUMNS = 2 * QA_VEC };

/* The two sums of every head are variables, not an array: what is indexed by a loop, compilers put into memory. */
#define LOAD(r, sum_a, sum_b)                                                                                          \
    if (heads > (r)) {                                                                                                 \
        qa_vec_load(&sum_a, out + (r)*h);                                                                              \
        qa_vec_load(&sum_b, out + (r)*h + QA_VEC);                                                                     \
    }
#define ADD(r, sum_a, sum_b)                                                                                           \
    if (heads > (r)) {                                                                                                 \
        sum_a += p[(r)*p_stride + j] * a;                                                                              \
        sum_b += p[(r)*p_stride + j] * b;                                                                              \
    }
#define STORE(r, sum_a, sum_b)                                                                                         \
    if (heads > (r)) {                                                                                                 \
        qa_vec_store(out + (r)*h, &sum_a);                                                                             \
        qa_vec_store(out + (r)*h + QA_VEC, &sum_b);                                                                    \
    }

QA_KERNEL_BODY void columns_of_heads(qa_real *out, const qa_real *p, size_t p_stride, const qa_real *v, size_t rows,
                                     size_t stride, size_t h, const size_t heads) {
    qa_vec a0 = {0}, b0 = {0}, a1 = {0}, b1 = {0}, a2 = {0}, b2 = {0}, a3 = {0}, b3 = {0}, a, b;
    LOAD(0, a0, b0)
    LOAD(1, a1, b1)
    LOAD(2, a2, b2)
    LOAD(3, a3, b3)
    for (size_t j = 0; j < rows; j++) {
        qa_vec_load(&a, v + j * stride);
        qa_vec_load(&b, v + j * stride + QA_VEC);
        ADD(0, a0, b0)
        ADD(1, a1, b1)
        ADD(2, a2, b2)
        ADD(3, a3, b3)
    }
    STORE(0, a0, b0)
    STORE(1, a1, b1)
    STORE(2, a2, b2)
    STORE(3, a3, b3)
}

#undef LOAD
#undef ADD
#undef STORE

/* Columns from `column` on, fewer than COLUMNS. */
QA_KERNEL_BODY void last_columns(qa_real *out, const qa_real *p, size_t p_stride, const qa_real *v, size_t rows,
                                 size_t stride, size_t heads, size_t column, size_t h) {
    for (size_t r = 0; r < heads; r++) {
        for (size_t j = 0; j < rows; j++) {
            for (size_t i = column; i < h; i++) {
                out[r * h + i] += p[r * p_stride + j] * v[j * stride + i];
            }
        }
    }
}

QA_KERNEL_BODY void tiles_of_heads(qa_real *out, const qa_real *p, size_t p_stride, const qa_real *v, size_t rows,
                                   size_t stride, size_t h, const size_t heads) {
    for (size_t first = 0; first < rows; first += TILE) {
        const size_t n = rows - first < TILE ? rows - first : TILE;
        const qa_real *tile = v + first * stride;
        size_t column = 0;
        for (; column + COLUMNS <= h; column += COLUMNS) {
            columns_of_heads(out + column, p + first, p_stride, tile + column, n, stride, h, heads);
        }
        last_columns(out, p + first, p_stride, tile, n, stride, heads, column, h);
    }
}

QA_KERNEL static void row_values(qa_real *out, const qa_real *p, size_t p_stride, const qa_real *v, size_t rows,
                                 size_t stride, size_t heads, size_t h) {
    switch (heads) {
    case 1: tiles_of_heads(out, p, p_stride, v, rows, stride, h, 1); break;
    case 2: tiles_of_heads(out, p, p_stride, v, rows, stride, h, 2); break;
    case 3: tiles_of_heads(out, p, p_stride, v, rows, stride, h, 3); break;
    default: tiles_of_heads(out, p, p_stride, v, rows, stride, h, 4); break;
    }
}

void qa_row_values(qa_real *out, const qa_real *p, size_t p_stride, const qa_real *v, size_t rows, size_t stride,
                   size_t heads, size_t h) {
    row_values(out, p, p_stride, v, rows, stride, heads, h);
}
