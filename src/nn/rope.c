/* The pair (a, b) of every head becomes (a cos - b sin, b cos + a sin) of the angle position * frequency[i]. Backward
 * needs only the table of cosines and sines. Plain twin: reference/transformer.c: plain_rope. */
#include "nn/rope.h"

#include "nn/cpu.h"

void qa_rope_table(qa_real *cosine, qa_real *sine, const int32_t *positions, const double *frequency, size_t n,
                   size_t half, double factor) {
    for (size_t row = 0; row < n; row++) {
        for (size_t i = 0; i < half; i++) {
            double angle = (double)positions[row] * frequency[i];
            cosine[row * half + i] = (qa_real)(factor * cos(angle));
            sine[row * half + i] = (qa_real)(factor * sin(angle));
        }
    }
}

typedef struct rope_job {
    qa_real *x;
    const qa_real *cosine, *sine;
    qa_real direction; /* 1: by the angle, -1: back */
    size_t heads, h, half;
    bool interleaved;
} rope_job;

/* Pair i is x[i * stride] and x[i * stride + distance]. */
QA_KERNEL_BODY void turn_head(qa_real *restrict x, const qa_real *restrict cosine, const qa_real *restrict sine,
                              qa_real direction, size_t half, const size_t stride, size_t distance) {
    for (size_t i = 0; i < half; i++) {
        const qa_real a = x[i * stride], b = x[i * stride + distance], s = direction * sine[i];
        x[i * stride] = a * cosine[i] - b * s;
        x[i * stride + distance] = b * cosine[i] + a * s;
    }
}

QA_KERNEL static void turn_rows(void *context, size_t begin, size_t end) {
    const rope_job *job = context;
    const size_t half = job->half;
    for (size_t row = begin; row < end; row++) {
        const qa_real *cosine = job->cosine + row * half, *sine = job->sine + row * half;
        for (size_t head = row * job->heads; head < (row + 1) * job->heads; head++) {
            qa_real *x = job->x + head * job->h;
            if (job->interleaved) {
                turn_head(x, cosine, sine, job->direction, half, 2, 1);
            } else {
                turn_head(x, cosine, sine, job->direction, half, 1, half);
            }
        }
    }
}

static void run_turn(qa_pool *pool, rope_job job, size_t n) {
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, n, job.heads * job.h, 1, turn_rows, &job);
    qa_part_end(pool);
}

void qa_rope_forward(qa_pool *pool, qa_real *x, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                     size_t h, size_t rotary, bool interleaved) {
    const rope_job job = {x, cosine, sine, 1, heads, h, rotary / 2, interleaved};
    run_turn(pool, job, n);
}

void qa_rope_backward(qa_pool *pool, qa_real *dx, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                      size_t h, size_t rotary, bool interleaved) {
    const rope_job job = {dx, cosine, sine, -1, heads, h, rotary / 2, interleaved};
    run_turn(pool, job, n);
}
