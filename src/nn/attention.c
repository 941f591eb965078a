/* out = softmax(cap(scale q k^T)) v for every head, over spans (attention.h), cap(s) = c tanh(s / c) or s.
 *
 * Query head j uses key/value head j / (H / G). Work is cut into tiles of TILE query rows of one head:
 * their scores S[T x keys] against the context's and the span's rows are two small matrix products, the
 * softmax runs over each row's visible keys, and hidden keys get probability exactly 0. What lies before the window of
 * the tile's first row is not computed. Narrow heads (attention_narrow.h; without window and cap) and single rows
 * (decoding) go without BLAS.
 *
 * Backward makes the scores and P again, each row with its own maximum and sum, and D_i = sum_j P_ij dP_ij:
 *   dv += P^T dout;  dP = dout v^T;  dS = P * (dP - D) * scale (* cap');  dq += dS k;  dk += dS^T q
 * A sum kept from the forward pass would not do: rounded, it is off by 6e-8 of the largest score, and so is log P. Nor
 * would D_i = dout_i out_i: where one P is 1, it differs from dP by rounding, which keys of large scores magnify.
 * Query heads are independent except for the keys and values that a group shares. Each sums its own
 * dk and dv, and those are added over the group in order of the heads.
 * Plain twin: reference/transformer.c: plain_attention_forward, plain_attention_backward. */
#include "nn/attention.h"

#include "base/checked.h"
#include "nn/attention_narrow.h"
#include "nn/blas.h"
#include "nn/elementwise.h"
#include "nn/linear.h"
#include "nn/softmax.h"
#include "nn/vec.h"

#include <string.h>

enum {
    TILE = 64,        /* query rows of a tile */
    NARROW_TILE = 128 /* and where the keys are copied for each */
};

static const size_t MOST_KEYS = SIZE_MAX / (2 * TILE + 1);

/* ---- tiles of a span's query rows, and the rows of k and v that a tile sees ---- */

typedef struct segment {
    size_t row, rows; /* in k and v */
    size_t column;    /* in the scores */
} segment;

typedef struct tile {
    const qa_span *span;
    size_t first, rows; /* query rows of the span */
    size_t keys;        /* columns of its scores: all keys that any of the rows sees */
    size_t visible;     /* columns up to the last that its first row sees; every row sees one further */
    size_t window;      /* columns that a row sees at most */
    segment segments[2];
    size_t n_segments; /* the columns as runs of rows: one when the context lies right before the own rows (a cache) */
} tile;

/* window 0: none */
static tile make_tile(const qa_span *span, size_t number, size_t most_rows, size_t window) {
    const size_t first = number * most_rows, seen = span->context_rows + first + 1;
    const size_t rows = span->rows - first < most_rows ? span->rows - first : most_rows;
    const size_t begin = window > 0 && seen > window ? seen - window : 0; /* keys before every row's window */
    tile t = {.span = span,
              .first = first,
              .rows = rows,
              .keys = seen - 1 + rows - begin,
              .visible = seen - begin,
              .window = window > 0 ? window : SIZE_MAX,
              .n_segments = 1};
    if (begin >= span->context_rows) {
        t.segments[0] = (segment){span->key_row + (begin - span->context_rows), t.keys, 0};
    } else if (span->context_row + span->context_rows == span->key_row) {
        t.segments[0] = (segment){span->context_row + begin, t.keys, 0};
    } else {
        const size_t in_context = span->context_rows - begin;
        t.segments[0] = (segment){span->context_row + begin, in_context, 0};
        t.segments[1] = (segment){span->key_row, t.keys - in_context, in_context};
        t.n_segments = 2;
    }
    return t;
}

/* What row i of the tile sees of its scores: *n of them from the result on. The others become 0. */
static qa_real *seen_columns(const tile *t, size_t i, qa_real *row, size_t *n) {
    const size_t end = t->visible + i, hidden = end > t->window ? end - t->window : 0;
    memset(row, 0, hidden * sizeof *row);
    memset(row + end, 0, (t->keys - end) * sizeof *row);
    *n = end - hidden;
    return row + hidden;
}

/* ---- a single query row ----
 *
 * The query heads that share a key/value head go together, so that its keys and values, which come from memory, are
 * read once for all of them. out += p v: two vectors of columns of every head are summed over ROW_TILE rows of v, then
 * the next two: the tile's rows stay in the first cache until all columns and heads are done. */

enum { ROW_HEADS = 4 }; /* query heads that go together; their scores are the scratch */

enum { ROW_TILE = 32, ROW_COLUMNS = 2 * QA_VEC };

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

/* Columns from `column` on, fewer than ROW_COLUMNS. */
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
    for (size_t first = 0; first < rows; first += ROW_TILE) {
        const size_t n = rows - first < ROW_TILE ? rows - first : ROW_TILE;
        const qa_real *rows_of_v = v + first * stride;
        size_t column = 0;
        for (; column + ROW_COLUMNS <= h; column += ROW_COLUMNS) {
            columns_of_heads(out + column, p + first, p_stride, rows_of_v + column, n, stride, h, heads);
        }
        last_columns(out, p + first, p_stride, rows_of_v, n, stride, heads, column, h);
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

/* ---- workers and their scratch ---- */

/* What follows from the spans. Narrow heads have a way of their own, which knows no window and no cap. */
typedef struct attention_plan {
    qa_attention a; /* without a window that no key lies outside of */
    bool narrow;
    bool single_rows;         /* every span has one row, and there are enough of them for all workers */
    size_t scratch_of_worker; /* reals, for at most MOST_KEYS keys; SIZE_MAX when they do not fit */
    qa_pool *pool;            /* NULL: the multiply-adds of q k^T over all heads are not worth waking it */
} attention_plan;

static attention_plan plan_attention(qa_pool *pool, const qa_attention *attention, const qa_span *spans, size_t n_spans,
                                     bool backward) {
    attention_plan plan = {.a = *attention, .single_rows = n_spans * attention->G >= qa_pool_threads(pool)};
    qa_attention *a = &plan.a;
    size_t longest = 0;
    for (size_t s = 0; s < n_spans; s++) {
        const size_t keys = spans[s].context_rows + spans[s].rows;
        longest = keys > longest ? keys : longest;
        plan.single_rows = plan.single_rows && spans[s].rows == 1;
    }
    a->window = a->window < longest ? a->window : 0;
    double work = 0;
    for (size_t s = 0; s < n_spans; s++) {
        const double keys = (double)spans[s].context_rows + (double)spans[s].rows / 2;
        work += (double)spans[s].rows * (a->window > 0 ? fmin(keys, (double)a->window) : keys);
    }
    plan.pool = work * (double)a->H * (double)a->h < QA_OPERATIONS_PER_TASK ? NULL : pool;
    const bool narrow = a->h <= QA_NARROW_WIDTH && a->cap == 0;
    plan.narrow = narrow && a->window == 0;
    const size_t wide = longest * (backward ? 2 * TILE + (a->cap > 0 ? 1u : 0u) : TILE); /* a cap: one row is kept */
    plan.scratch_of_worker = narrow ? qa_narrow_scratch(longest, a->h, backward) : wide;
    if (!plan.narrow && wide > plan.scratch_of_worker) { /* shorter spans may still go the narrow way */
        plan.scratch_of_worker = wide;
    }
    return plan;
}

/* Of spans of at most so many keys. */
static size_t scratch_of_workers(const qa_pool *pool, size_t max_keys, const qa_attention *attention, bool backward) {
    const qa_span span = {.rows = max_keys};
    size_t reals =
        max_keys > MOST_KEYS ? SIZE_MAX : plan_attention(NULL, attention, &span, 1, backward).scratch_of_worker;
    return reals < SIZE_MAX && qa_mul_size(reals, qa_pool_threads(pool), &reals) ? reals : SIZE_MAX;
}

/* ---- forward ---- */

typedef struct forward_job {
    qa_real *out;
    const qa_real *q, *k, *v;
    const qa_span *spans;
    size_t n_spans;
    qa_attention a;
    bool narrow;
    size_t tile_rows, heads; /* of a task */
    qa_real *scratch;
    size_t scratch_of_worker;
} forward_job;

/* Row i's scores to probabilities of what it sees, the rest to 0. */
static void softmax_row(const tile *t, size_t i, qa_real *row, double cap) {
    size_t n;
    qa_real *scores = seen_columns(t, i, row, &n);
    if (cap > 0) {
        qa_softcap_forward(NULL, scores, (qa_real)cap, n);
    }
    qa_real max = qa_row_max(scores, n);
    double sum = qa_row_exp(scores, scores, max, n);
    qa_real inverse = (qa_real)(1 / sum);
    for (size_t j = 0; j < n; j++) {
        scores[j] *= inverse;
    }
}

static void forward_tile(const forward_job *job, const tile *t, size_t head, qa_real *scores) {
    size_t H = job->a.H, h = job->a.h, q_stride = H * h, k_stride = job->a.G * h;
    size_t row = t->span->query_row + t->first, kv = head / (H / job->a.G) * h;
    const qa_real *q = job->q + row * q_stride + head * h, *k = job->k + kv, *v = job->v + kv;
    qa_real *out = job->out + row * q_stride + head * h;

    for (size_t s = 0; s < t->n_segments; s++) {
        const segment *seg = &t->segments[s];
        qa_gemm(NULL, QA_NO_TRANSPOSE, QA_TRANSPOSE, t->rows, seg->rows, h, (qa_real)job->a.scale, q, q_stride,
                k + seg->row * k_stride, k_stride, 0, scores + seg->column, t->keys);
    }
    for (size_t i = 0; i < t->rows; i++) {
        softmax_row(t, i, scores + i * t->keys, job->a.cap);
    }
    for (size_t s = 0; s < t->n_segments; s++) {
        const segment *seg = &t->segments[s];
        qa_gemm(NULL, QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, t->rows, h, seg->rows, 1, scores + seg->column, t->keys,
                v + seg->row * k_stride, k_stride, s == 0 ? 0 : 1, out, q_stride);
    }
}

/* A tile of one row, at most ROW_HEADS query heads of one key/value head: scores[heads x keys]. */
static void forward_row(const forward_job *job, const tile *t, size_t head, size_t heads, qa_real *scores) {
    const size_t h = job->a.h, k_stride = job->a.G * h, kv = head / (job->a.H / job->a.G) * h;
    const size_t row = t->span->query_row + t->first, start = (row * job->a.H + head) * h;
    for (size_t s = 0; s < t->n_segments; s++) {
        const segment *seg = &t->segments[s];
        const qa_real *k = job->k + seg->row * k_stride + kv, *q = job->q + start;
        if (t->n_segments == 1) { /* a cache: all heads at once */
            qa_matvec(NULL, scores, q, k, k_stride, (qa_real)job->a.scale, 0, heads, h, seg->rows);
            break;
        }
        for (size_t i = 0; i < heads; i++) {
            qa_matvec(NULL, scores + i * t->keys + seg->column, q + i * h, k, k_stride, (qa_real)job->a.scale, 0, 1, h,
                      seg->rows);
        }
    }
    for (size_t i = 0; i < heads; i++) {
        softmax_row(t, 0, scores + i * t->keys, job->a.cap);
    }
    memset(job->out + start, 0, heads * h * sizeof *job->out);
    for (size_t s = 0; s < t->n_segments; s++) {
        const segment *seg = &t->segments[s];
        row_values(job->out + start, scores + seg->column, t->keys, job->v + seg->row * k_stride + kv, seg->rows,
                   k_stride, heads, h);
    }
}

static void put_keys(qa_narrow *narrow, const tile *t, const qa_real *k, const qa_real *v, size_t stride) {
    for (size_t s = 0; s < t->n_segments; s++) {
        size_t start = t->segments[s].row * stride;
        qa_narrow_put(narrow, t->segments[s].column, k + start, v + start, t->segments[s].rows, stride);
    }
}

/* The query heads of one key/value head, from `head` on, which share the copy of its keys. */
static void forward_narrow(const forward_job *job, const tile *t, size_t head, qa_real *scratch) {
    size_t H = job->a.H, h = job->a.h, kv = head / (H / job->a.G) * h, first = t->span->query_row + t->first;
    qa_narrow narrow = qa_narrow_open(scratch, t->keys, h, job->a.scale, false);
    put_keys(&narrow, t, job->k + kv, job->v + kv, job->a.G * h);
    for (size_t end = head + job->heads; head < end; head++) {
        size_t start = (first * H + head) * h;
        qa_narrow_rows rows = {.q = job->q + start, .stride = H * h, .rows = t->rows, .visible = t->visible};
        qa_narrow_forward(&narrow, &rows, job->out + start);
    }
}

/* Tasks are numbered by span, then tile, then head; a span's last tiles, the costly ones, come first. */
static void forward_task(void *context, size_t task, size_t worker) {
    const forward_job *job = context;
    for (size_t s = 0; s < job->n_spans; s++) {
        size_t tiles = (job->spans[s].rows + job->tile_rows - 1) / job->tile_rows, parts = job->a.H / job->heads;
        if (task < tiles * parts) {
            const tile t = make_tile(&job->spans[s], tiles - 1 - task / parts, job->tile_rows, job->a.window);
            qa_real *scratch = job->scratch + worker * job->scratch_of_worker;
            size_t head = task % parts * job->heads;
            const size_t end = head + job->heads;
            if (t.rows == 1) {
                for (; head < end; head += ROW_HEADS) {
                    forward_row(job, &t, head, end - head < ROW_HEADS ? end - head : ROW_HEADS, scratch);
                }
            } else if (job->narrow) {
                forward_narrow(job, &t, head, scratch);
            } else {
                for (; head < end; head++) {
                    forward_tile(job, &t, head, scratch);
                }
            }
            return;
        }
        task -= tiles * parts;
    }
}

size_t qa_attention_forward_scratch(const qa_pool *pool, size_t max_keys, const qa_attention *attention) {
    return scratch_of_workers(pool, max_keys, attention, false);
}

void qa_attention_forward(qa_pool *pool, qa_real *out, const qa_real *q, const qa_real *k, const qa_real *v,
                          const qa_span *spans, size_t n_spans, const qa_attention *attention, qa_real *scratch) {
    const attention_plan plan = plan_attention(pool, attention, spans, n_spans, false);
    const size_t H = attention->H, group = H / attention->G;
    forward_job job = {.out = out,
                       .q = q,
                       .k = k,
                       .v = v,
                       .spans = spans,
                       .n_spans = n_spans,
                       .a = plan.a,
                       .narrow = plan.narrow,
                       .tile_rows = plan.narrow ? NARROW_TILE : TILE,
                       .heads = plan.narrow || plan.single_rows ? group : 1, /* they share the reading of k and v */
                       .scratch = scratch,
                       .scratch_of_worker = plan.scratch_of_worker};
    size_t tiles = 0;
    for (size_t s = 0; s < n_spans; s++) {
        tiles += (spans[s].rows + job.tile_rows - 1) / job.tile_rows;
    }
    qa_part_begin(pool, QA_PART_ATTENTION);
    qa_pool_run(plan.pool, tiles * (H / job.heads), forward_task, &job);
    qa_part_end(pool);
}

/* ---- backward ---- */

typedef struct backward_job {
    qa_real *dq, *dk, *dv;
    const qa_real *dout, *q, *k, *v;
    const qa_span *spans;
    size_t n_spans, n;
    qa_attention a;
    bool narrow;
    qa_real *scratch; /* of the workers: P and dS [2 x TILE x longest keys], or what nn/attention_narrow.h takes */
    size_t scratch_of_worker;
    size_t heads;               /* of a task: 1, or a group, which then shares the copy of its keys */
    qa_real *head_dk, *head_dv; /* [H x n x h] each: sums of one query head */
} backward_job;

/* Row i: scaled scores to P, and dP to dS; both 0 for hidden keys. With a cap, its scores are kept in kept[keys]. */
static void gradient_row(const tile *t, size_t i, qa_real *p_row, qa_real *ds_row, const qa_attention *a,
                         qa_real *kept) {
    size_t n;
    qa_real *p = seen_columns(t, i, p_row, &n), *ds = seen_columns(t, i, ds_row, &n);
    if (a->cap > 0) {
        qa_softcap_forward(NULL, p, (qa_real)a->cap, n);
        memcpy(kept, p, n * sizeof *kept);
    }
    const double sum = qa_row_exp(p, p, qa_row_max(p, n), n);
    qa_row_softmax_backward(p, ds, sum, (qa_real)a->scale, n);
    if (a->cap > 0) {
        qa_softcap_backward(NULL, ds, kept, (qa_real)a->cap, n);
    }
}

static void backward_tile(const backward_job *job, const tile *t, size_t head, qa_real *p, qa_real *ds) {
    size_t H = job->a.H, h = job->a.h, q_stride = H * h, k_stride = job->a.G * h;
    size_t kv = head / (H / job->a.G) * h;
    size_t start = (t->span->query_row + t->first) * q_stride + head * h;
    const qa_real *q = job->q + start, *dout = job->dout + start, *k = job->k + kv, *v = job->v + kv;
    qa_real *dk = job->head_dk + head * job->n * h, *dv = job->head_dv + head * job->n * h;

    for (size_t s = 0; s < t->n_segments; s++) {
        size_t row = t->segments[s].row, rows = t->segments[s].rows, column = t->segments[s].column;
        qa_gemm(NULL, QA_NO_TRANSPOSE, QA_TRANSPOSE, t->rows, rows, h, (qa_real)job->a.scale, q, q_stride,
                k + row * k_stride, k_stride, 0, p + column, t->keys);
        qa_gemm(NULL, QA_NO_TRANSPOSE, QA_TRANSPOSE, t->rows, rows, h, 1, dout, q_stride, v + row * k_stride, k_stride,
                0, ds + column, t->keys);
    }
    for (size_t i = 0; i < t->rows; i++) {
        gradient_row(t, i, p + i * t->keys, ds + i * t->keys, &job->a, ds + TILE * t->keys);
    }
    for (size_t s = 0; s < t->n_segments; s++) {
        size_t row = t->segments[s].row, rows = t->segments[s].rows, column = t->segments[s].column;
        if (job->dv != NULL) {
            qa_gemm(NULL, QA_TRANSPOSE, QA_NO_TRANSPOSE, rows, h, t->rows, 1, p + column, t->keys, dout, q_stride, 1,
                    dv + row * h, h);
        }
        if (job->dk != NULL) {
            qa_gemm(NULL, QA_TRANSPOSE, QA_NO_TRANSPOSE, rows, h, t->rows, 1, ds + column, t->keys, q, q_stride, 1,
                    dk + row * h, h);
        }
        if (job->dq != NULL) {
            qa_gemm(NULL, QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, t->rows, h, rows, 1, ds + column, t->keys,
                    k + row * k_stride, k_stride, 1, job->dq + start, q_stride);
        }
    }
}

/* One head's rows of a span; the keys are copied, the sums of dk and dv zero. */
static void backward_narrow_head(const backward_job *job, const tile *whole, size_t head, qa_narrow *narrow) {
    size_t H = job->a.H, h = job->a.h, start = (whole->span->query_row * H + head) * h;
    qa_real *dk = job->head_dk + head * job->n * h, *dv = job->head_dv + head * job->n * h;
    qa_narrow_rows rows = {.q = job->q + start, .stride = H * h, .rows = whole->rows, .visible = whole->visible};
    qa_narrow_backward(narrow, &rows, job->dq == NULL ? NULL : job->dq + start, job->dout + start);
    for (size_t s = 0; s < whole->n_segments; s++) {
        const segment *seg = &whole->segments[s];
        qa_narrow_take(narrow, dk + seg->row * h, dv + seg->row * h, seg->column, seg->rows);
    }
}

/* All rows of a span, of the task's heads from `head` on, over one copy of the keys. */
static void backward_narrow(const backward_job *job, const qa_span *span, size_t head, qa_real *scratch) {
    size_t kv = head / (job->a.H / job->a.G) * job->a.h;
    tile whole = make_tile(span, 0, span->rows, 0);
    qa_narrow narrow = qa_narrow_open(scratch, whole.keys, job->a.h, job->a.scale, true);
    put_keys(&narrow, &whole, job->k + kv, job->v + kv, job->a.G * job->a.h);
    for (size_t end = head + job->heads, first = head; head < end; head++) {
        if (head > first) {
            qa_narrow_reset(&narrow);
        }
        backward_narrow_head(job, &whole, head, &narrow);
    }
}

static void backward_task(void *context, size_t task, size_t worker) {
    const backward_job *job = context;
    size_t head = task * job->heads, one = job->n * job->a.h;
    memset(job->head_dk + head * one, 0, job->heads * one * sizeof *job->head_dk);
    memset(job->head_dv + head * one, 0, job->heads * one * sizeof *job->head_dv);
    qa_real *scratch = job->scratch + worker * job->scratch_of_worker;
    for (size_t s = 0; s < job->n_spans; s++) {
        const qa_span *span = &job->spans[s];
        if (job->narrow && span->rows > 0) {
            backward_narrow(job, span, head, scratch);
            continue;
        }
        for (size_t number = 0; number * TILE < span->rows; number++) {
            const tile t = make_tile(span, number, TILE, job->a.window);
            backward_tile(job, &t, head, scratch, scratch + TILE * t.keys);
        }
    }
}

/* dk and dv[n x G x h] += the heads' sums, in order of the heads. */
static void group_rows(void *context, size_t begin, size_t end) {
    const backward_job *job = context;
    const size_t h = job->a.h, group = job->a.H / job->a.G;
    for (size_t array = 0; array < 2; array++) {
        qa_real *to = array == 0 ? job->dk : job->dv;
        const qa_real *heads = array == 0 ? job->head_dk : job->head_dv;
        for (size_t part = begin * job->a.H; to != NULL && part < end * job->a.H; part++) {
            const size_t row = part / job->a.H, head = part % job->a.H;
            qa_real *sum = to + (row * job->a.G + head / group) * h;
            const qa_real *from = heads + (head * job->n + row) * h;
            for (size_t i = 0; i < h; i++) {
                sum[i] += from[i];
            }
        }
    }
}

size_t qa_attention_backward_scratch(const qa_pool *pool, size_t max_keys, size_t n, const qa_attention *attention) {
    size_t reals = scratch_of_workers(pool, max_keys, attention, true), heads;
    if (reals == SIZE_MAX || !qa_mul_size(n, attention->H, &heads) || !qa_mul_size(heads, attention->h, &heads) ||
        !qa_mul_size(heads, 2, &heads) || !qa_add_size(reals, heads, &reals)) {
        return SIZE_MAX;
    }
    return reals;
}

void qa_attention_backward(qa_pool *pool, qa_real *dq, qa_real *dk, qa_real *dv, const qa_real *dout, const qa_real *q,
                           const qa_real *k, const qa_real *v, const qa_span *spans, size_t n_spans, size_t n,
                           const qa_attention *attention, qa_real *scratch) {
    const attention_plan plan = plan_attention(pool, attention, spans, n_spans, true);
    const size_t H = attention->H, G = attention->G, h = attention->h;
    qa_real *heads = scratch + qa_pool_threads(pool) * plan.scratch_of_worker;
    backward_job job = {.dq = dq,
                        .dk = dk,
                        .dv = dv,
                        .dout = dout,
                        .q = q,
                        .k = k,
                        .v = v,
                        .spans = spans,
                        .n_spans = n_spans,
                        .n = n,
                        .a = plan.a,
                        .narrow = plan.narrow,
                        .scratch = scratch,
                        .scratch_of_worker = plan.scratch_of_worker,
                        .heads = plan.narrow && G % qa_pool_threads(plan.pool) == 0 ? H / G : 1,
                        .head_dk = heads,
                        .head_dv = heads + H * n * h};
    qa_part_begin(pool, QA_PART_ATTENTION);
    qa_pool_run(plan.pool, H / job.heads, backward_task, &job);
    qa_pool_run_blocks(plan.pool, n, 2 * H * h, 1, group_rows, &job);
    qa_part_end(pool);
}
