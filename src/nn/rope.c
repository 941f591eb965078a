/* Rotary position embedding: the pair (x[i], x[i + h/2]) of every head is turned by the angle
 * position * frequency[i]. Backward needs only the table of cosines and sines.
 * Plain twin: reference/transformer.c: plain_rope. */
#include "nn/rope.h"

#include "nn/blocks.h"
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
    qa_blocks rows;
} rope_job;

/* All heads of one row. */
QA_KERNEL static void turn_row(qa_real *restrict x, const qa_real *restrict cosine, const qa_real *restrict sine,
                               qa_real direction, size_t heads, size_t h) {
    const size_t half = h / 2;
    for (size_t head = 0; head < heads; head++, x += h) {
        for (size_t i = 0; i < half; i++) {
            const qa_real a = x[i], b = x[half + i], s = direction * sine[i];
            x[i] = a * cosine[i] - b * s;
            x[half + i] = b * cosine[i] + a * s;
        }
    }
}

static void rope_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const rope_job *job = context;
    const size_t half = job->h / 2, end = qa_block_end(&job->rows, task);
    for (size_t row = qa_block_begin(&job->rows, task); row < end; row++) {
        turn_row(job->x + row * job->heads * job->h, job->cosine + row * half, job->sine + row * half, job->direction,
                 job->heads, job->h);
    }
}

static void turn(qa_pool *pool, qa_real *x, const qa_real *cosine, const qa_real *sine, qa_real direction, size_t n,
                 size_t heads, size_t h) {
    rope_job job = {.x = x,
                    .cosine = cosine,
                    .sine = sine,
                    .direction = direction,
                    .heads = heads,
                    .h = h,
                    .rows = qa_blocks_cut(pool, n, heads * h, 1)};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run(pool, job.rows.tasks, rope_task, &job);
    qa_part_end(pool);
}

void qa_rope_forward(qa_pool *pool, qa_real *x, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                     size_t h) {
    turn(pool, x, cosine, sine, 1, n, heads, h);
}

void qa_rope_backward(qa_pool *pool, qa_real *dx, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                      size_t h) {
    turn(pool, dx, cosine, sine, -1, n, heads, h);
}
