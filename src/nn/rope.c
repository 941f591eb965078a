/* Rotary position embedding: the pair (x[i], x[i + h/2]) of every head is turned by the angle
 * position * frequency[i]. Backward needs only the table of cosines and sines.
 * Plain twin: reference/transformer.c: plain_rope. */
#include "nn/rope.h"

#include "nn/cpu.h"

void qa_rope_table(qa_real *cosine, qa_real *sine, const int32_t *positions, const double *frequency, size_t n,
                   size_t h) {
    size_t half = h / 2;
    for (size_t row = 0; row < n; row++) {
        for (size_t i = 0; i < half; i++) {
            double angle = (double)positions[row] * frequency[i];
            cosine[row * half + i] = (qa_real)cos(angle);
            sine[row * half + i] = (qa_real)sin(angle);
        }
    }
}

typedef struct rope_job {
    qa_real *x;
    const qa_real *cosine, *sine;
    qa_real direction; /* 1: by the angle, -1: back */
    size_t heads, h;
} rope_job;

QA_KERNEL static void turn_rows(void *context, size_t begin, size_t end) {
    const rope_job *job = context;
    const size_t h = job->h, half = h / 2;
    const qa_real direction = job->direction;
    for (size_t row = begin; row < end; row++) {
        const qa_real *restrict cosine = job->cosine + row * half, *restrict sine = job->sine + row * half;
        qa_real *restrict x = job->x + row * job->heads * h;
        for (size_t head = 0; head < job->heads; head++, x += h) {
            for (size_t i = 0; i < half; i++) {
                const qa_real a = x[i], b = x[half + i], s = direction * sine[i];
                x[i] = a * cosine[i] - b * s;
                x[half + i] = b * cosine[i] + a * s;
            }
        }
    }
}

void qa_rope_forward(qa_pool *pool, qa_real *x, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                     size_t h) {
    rope_job job = {.x = x, .cosine = cosine, .sine = sine, .direction = 1, .heads = heads, .h = h};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, n, heads * h, 1, turn_rows, &job);
    qa_part_end(pool);
}

void qa_rope_backward(qa_pool *pool, qa_real *dx, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                      size_t h) {
    rope_job job = {.x = dx, .cosine = cosine, .sine = sine, .direction = -1, .heads = heads, .h = h};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, n, heads * h, 1, turn_rows, &job);
    qa_part_end(pool);
}
