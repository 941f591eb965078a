/* See elementwise.h. Backward of a sum is a copy or qa_scale_rows; the clip's needs what went in, the soft cap's what
 * came out, the split's nothing. */
#include "nn/elementwise.h"

#include "nn/vec.h"

typedef struct elementwise_job {
    qa_real *y;
    const qa_real *a, *b;
    qa_real number;
} elementwise_job;

static void run_elementwise(qa_pool *pool, size_t cost, qa_block block, elementwise_job job, size_t count) {
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, cost, 16, block, &job);
    qa_part_end(pool);
}

/* ---- residual sums ---- */

static void add_block(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    for (size_t i = begin; i < end; i++) {
        job->y[i] = job->a[i] + job->number * job->b[i];
    }
}

void qa_add_rows(qa_pool *pool, qa_real *y, const qa_real *a, qa_real m, const qa_real *b, size_t count) {
    run_elementwise(pool, 1, add_block, (elementwise_job){.y = y, .a = a, .b = b, .number = m}, count);
}

static void scale_block(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    for (size_t i = begin; i < end; i++) {
        job->y[i] = job->number * job->a[i];
    }
}

void qa_scale_rows(qa_pool *pool, qa_real *y, qa_real m, const qa_real *x, size_t count) {
    run_elementwise(pool, 1, scale_block, (elementwise_job){.y = y, .a = x, .number = m}, count);
}

/* ---- a limit ---- */

static void clip_block(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    const qa_real limit = job->number;
    for (size_t i = begin; i < end; i++) {
        const qa_real x = job->a[i];
        job->y[i] = x > limit ? limit : x < -limit ? -limit : x;
    }
}

void qa_clip_forward(qa_pool *pool, qa_real *y, const qa_real *x, qa_real limit, size_t count) {
    run_elementwise(pool, 2, clip_block, (elementwise_job){.y = y, .a = x, .number = limit}, count);
}

static void clip_block_backward(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    const qa_real limit = job->number;
    for (size_t i = begin; i < end; i++) {
        const qa_real x = job->b[i];
        job->y[i] = x > limit || x < -limit ? 0 : job->a[i];
    }
}

void qa_clip_backward(qa_pool *pool, qa_real *dx, const qa_real *dy, const qa_real *x, qa_real limit, size_t count) {
    run_elementwise(pool, 2, clip_block_backward, (elementwise_job){.y = dx, .a = dy, .b = x, .number = limit}, count);
}

/* ---- a soft cap ---- */

QA_KERNEL static void softcap_block(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    for (size_t i = begin; i < end; i += QA_VEC) {
        const size_t count = qa_vec_count(i, end);
        qa_vec x;
        qa_vec_load_first(&x, job->y + i, count);
        x /= job->number;
        qa_vec_tanh(&x, &x);
        x *= job->number;
        qa_vec_store_first(job->y + i, &x, count);
    }
}

void qa_softcap_forward(qa_pool *pool, qa_real *y, qa_real cap, size_t count) {
    run_elementwise(pool, 16, softcap_block, (elementwise_job){.y = y, .number = cap}, count);
}

static void softcap_block_backward(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    for (size_t i = begin; i < end; i++) {
        const qa_real t = job->a[i] / job->number;
        job->y[i] *= 1 - t * t;
    }
}

void qa_softcap_backward(qa_pool *pool, qa_real *dy, const qa_real *y, qa_real cap, size_t count) {
    run_elementwise(pool, 4, softcap_block_backward, (elementwise_job){.y = dy, .a = y, .number = cap}, count);
}

/* ---- columns of one map ---- */

typedef struct split_job {
    const qa_parts *parts;
    const qa_real *x; /* forward */
    qa_real *dx;      /* backward */
    size_t width;     /* of one repeat */
} split_job;

static size_t width_of_repeat(const qa_parts *parts) {
    size_t width = 0;
    for (size_t p = 0; p < parts->count; p++) {
        width += parts->width[p];
    }
    return width;
}

/* Every row of a range of repeats (row i is repeats i R .. i R + R - 1), to the parts or from them. */
static void split_block(void *context, size_t begin, size_t end) {
    const split_job *job = context;
    const qa_parts *parts = job->parts;
    for (size_t repeat = begin; repeat < end; repeat++) {
        size_t at = repeat * job->width;
        for (size_t p = 0; p < parts->count; p++) {
            const size_t width = parts->width[p];
            qa_real *part = parts->rows[p] + repeat * width;
            if (job->dx != NULL) {
                memcpy(job->dx + at, part, width * sizeof *part);
            } else {
                memcpy(part, job->x + at, width * sizeof *part);
            }
            at += width;
        }
    }
}

static void run_split(qa_pool *pool, split_job job, size_t n) {
    job.width = width_of_repeat(job.parts);
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, n * job.parts->repeats, job.width, 1, split_block, &job);
    qa_part_end(pool);
}

void qa_split_forward(qa_pool *pool, const qa_parts *parts, const qa_real *x, size_t n) {
    run_split(pool, (split_job){.parts = parts, .x = x}, n);
}

void qa_split_backward(qa_pool *pool, qa_real *dx, const qa_parts *dparts, size_t n) {
    run_split(pool, (split_job){.parts = dparts, .dx = dx}, n);
}
