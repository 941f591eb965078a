/* Attention over spans against naive loops in double, forward and backward: every span layout, grouped
 * heads, tile boundaries, causality, windows, soft caps, exact zeros for hidden keys, threads, packing. */
#include "nn/attention.h"
#include "nn/blas.h"
#include "support/arrays.h"
#include "support/gradcheck.h"
#include "support/sample.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
static const double TOLERANCE = 2e-14; /* observed 1.7e-15 */
#else
static const double TOLERANCE = 6e-6; /* observed 1.0e-6 */
#endif

enum { MAX_SPANS = 6 };

typedef struct span_layout {
    const char *name;
    size_t rows; /* of every array */
    size_t n_spans;
    qa_span spans[MAX_SPANS];
} span_layout;

/* {query_row, key_row, rows, context_row, context_rows} */
static const span_layout layouts[] = {
    {"one row", 1, 1, {{0, 0, 1, 0, 0}}},
    {"two rows", 2, 1, {{0, 0, 2, 0, 0}}},
    {"63 rows", 63, 1, {{0, 0, 63, 0, 0}}},
    {"64 rows", 64, 1, {{0, 0, 64, 0, 0}}},
    {"65 rows", 65, 1, {{0, 0, 65, 0, 0}}},
    {"130 rows", 130, 1, {{0, 0, 130, 0, 0}}},
    {"trunk and two branches", 78, 3, {{0, 0, 5, 0, 0}, {5, 5, 66, 0, 5}, {71, 71, 7, 0, 5}}},
    {"long trunk, one-row branch", 76, 3, {{0, 0, 70, 0, 0}, {70, 70, 1, 0, 70}, {71, 71, 5, 0, 70}}},
    {"two packed pairs",
     30,
     6,
     {{0, 0, 6, 0, 0}, {6, 6, 5, 0, 6}, {11, 11, 4, 0, 6}, {15, 15, 8, 0, 0}, {23, 23, 2, 15, 8}, {25, 25, 5, 15, 8}}},
    {"cache, five new rows", 105, 1, {{0, 90, 5, 0, 90}}},
    {"cache, one new row", 91, 1, {{0, 90, 1, 0, 90}}},
    {"context behind the own rows, one row", 40, 1, {{3, 0, 1, 9, 20}}},
    {"context behind the own rows", 170, 1, {{30, 0, 80, 100, 70}}},
    {"a span without rows", 4, 1, {{2, 2, 0, 0, 2}}},
    {"48 keys", 48, 1, {{0, 3, 45, 0, 3}}}, /* whole cache lines, and the last rows are not four */
    {"40 keys", 40, 1, {{0, 3, 37, 0, 3}}}, /* the same in f64 */
    {"one row behind a tile of narrow heads", 129, 1, {{0, 0, 129, 0, 0}}},
    {"three such tiles", 290, 1, {{0, 0, 290, 0, 0}}},
    {"more keys than a block of sums", 1100, 2, {{0, 0, 20, 0, 0}, {20, 1090, 10, 20, 1070}}},
};
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts };

/* Up to 16 wide they go without BLAS. */
static const size_t heads[][3] = {{1, 1, 8},  {2, 1, 12}, {3, 1, 6},  {3, 3, 16}, {4, 2, 8}, {6, 2, 12},
                                  {9, 3, 64}, {1, 1, 1},  {2, 1, 17}, {4, 1, 13}, {5, 1, 2}, {6, 1, 20}};
enum { NARROW = 5, WIDE = 6 }; /* places in heads */
enum { N_HEADS = sizeof heads / sizeof *heads };

/* scale 0: 1 / sqrt(h). Windows below, at and above the tiles' 64 rows; caps that bend scores of up to 5. */
typedef struct variant {
    double scale, cap;
    size_t window;
} variant;
static const variant plain = {0};
static const variant variants[] = {{0, 0, 1},   {0, 0, 2}, {0, 0, 6},  {0, 0, 63},    {0, 0, 64},       {0, 0, 65},
                                   {0, 0, 100}, {0, 2, 0}, {.3, 0, 0}, {.7, 1.5, 20}, {.2, 50, 1000000}};
enum { N_VARIANTS = sizeof variants / sizeof *variants };

typedef struct problem {
    qa_bag bag;
    const span_layout *layout;
    size_t H, G, h, n_q, n_k; /* reals of q and of k */
    qa_attention attention;
    qa_real *q, *k, *v, *out, *dout, *dq, *dk, *dv;
} problem;

static problem open_variant(const span_layout *layout, const size_t shape[3], uint64_t seed, const variant *as) {
    problem p = {.bag = qa_bag_open(seed), .layout = layout, .H = shape[0], .G = shape[1], .h = shape[2]};
    p.attention = (qa_attention){p.H, p.G, p.h, as->scale > 0 ? as->scale : 1 / sqrt((double)p.h), as->cap, as->window};
    p.n_q = layout->rows * p.H * p.h;
    p.n_k = layout->rows * p.G * p.h;
    p.q = qa_bag_random(&p.bag, p.n_q);
    p.k = qa_bag_random(&p.bag, p.n_k);
    p.v = qa_bag_random(&p.bag, p.n_k);
    p.dout = qa_bag_random(&p.bag, p.n_q);
    p.out = qa_bag_zeros(&p.bag, p.n_q);
    p.dq = qa_bag_zeros(&p.bag, p.n_q);
    p.dk = qa_bag_zeros(&p.bag, p.n_k);
    p.dv = qa_bag_zeros(&p.bag, p.n_k);
    for (size_t i = 0; i < p.n_q; i++) {
        p.q[i] *= 3; /* probabilities far from uniform */
    }
    return p;
}

static problem open_problem(const span_layout *layout, const size_t shape[3], uint64_t seed) {
    return open_variant(layout, shape, seed, &plain);
}

static size_t longest(const span_layout *layout) {
    size_t most = 0;
    for (size_t s = 0; s < layout->n_spans; s++) {
        size_t keys = layout->spans[s].context_rows + layout->spans[s].rows;
        most = keys > most ? keys : most;
    }
    return most;
}

/* Runs with scratch of exactly the size asked for, full of NaN. */
static qa_real *scratch_of(size_t reals) {
    qa_real *scratch = malloc((reals + 1) * sizeof *scratch);
    ck_assert_ptr_nonnull(scratch);
    for (size_t i = 0; i < reals; i++) {
        scratch[i] = (qa_real)NAN;
    }
    scratch[reals] = 12345;
    return scratch;
}

static void forward(problem *p, qa_pool *pool) {
    size_t reals = qa_attention_forward_scratch(pool, longest(p->layout), &p->attention);
    qa_real *scratch = scratch_of(reals);
    qa_attention_forward(pool, p->out, p->q, p->k, p->v, p->layout->spans, p->layout->n_spans, &p->attention, scratch);
    ck_assert(scratch[reals] == 12345);
    free(scratch);
}

static void backward_to(problem *p, qa_pool *pool, qa_real *dq, qa_real *dk, qa_real *dv) {
    size_t reals = qa_attention_backward_scratch(pool, longest(p->layout), p->layout->rows, &p->attention);
    qa_real *scratch = scratch_of(reals);
    qa_attention_backward(pool, dq, dk, dv, p->dout, p->q, p->k, p->v, p->layout->spans, p->layout->n_spans,
                          p->layout->rows, &p->attention, scratch);
    ck_assert(scratch[reals] == 12345);
    free(scratch);
}

/* ---- naive loops ---- */

typedef struct truth {
    double *out, *dq, *dk, *dv, *p, *dp, *slope;
    double dq_terms, dk_terms,
        dv_terms; /* the largest sum of absolute values of what is added up for an element of a row */
} truth;

static double *doubles(size_t n) {
    double *array = calloc(n == 0 ? 1 : n, sizeof *array);
    ck_assert_ptr_nonnull(array);
    return array;
}

static size_t key_row(const qa_span *span, size_t j) {
    return j < span->context_rows ? span->context_row + j : span->key_row + j - span->context_rows;
}

/* Query row i of a span, one head: fills out, and adds to dq, dk, dv. */
static void naive_row(const problem *p, truth *t, const qa_span *span, size_t i, size_t head) {
    size_t h = p->h, keys = span->context_rows + i + 1, row = span->query_row + i, window = p->attention.window;
    size_t at = (row * p->H + head) * h, group = head / (p->H / p->G), first = 0;
    double max = -INFINITY, total = 0.0, d = 0.0, cap = p->attention.cap;
    for (size_t j = 0; j < keys; j++) {
        first = window > 0 && j + window < keys ? j + 1 : first; /* hidden: keys - 1 - j >= window */
    }
    for (size_t j = first; j < keys; j++) {
        size_t key = (key_row(span, j) * p->G + group) * h;
        t->p[j] = qa_weighted_sum(p->q + at, p->k + key, h) * p->attention.scale;
        t->slope[j] = 1;
        if (cap > 0) {
            const double bent = tanh(t->p[j] / cap);
            t->p[j] = cap * bent;
            t->slope[j] = 1 - bent * bent;
        }
        max = fmax(max, t->p[j]);
    }
    for (size_t j = first; j < keys; j++) {
        t->p[j] = exp(t->p[j] - max);
        total += t->p[j];
    }
    for (size_t j = first; j < keys; j++) {
        size_t key = (key_row(span, j) * p->G + group) * h;
        t->p[j] /= total;
        for (size_t e = 0; e < h; e++) {
            t->out[at + e] += t->p[j] * (double)p->v[key + e];
        }
    }
    for (size_t j = first; j < keys; j++) {
        t->dp[j] = qa_weighted_sum(p->dout + at, p->v + (key_row(span, j) * p->G + group) * h, h);
        d += t->p[j] * t->dp[j];
    }
    for (size_t e = 0; e < h; e++) {
        double dq_terms = 0.0;
        for (size_t j = first; j < keys; j++) {
            const size_t key = (key_row(span, j) * p->G + group) * h + e;
            const double ds = t->p[j] * (t->dp[j] - d) * t->slope[j] * p->attention.scale;
            t->dq[at + e] += ds * (double)p->k[key];
            t->dk[key] += ds * (double)p->q[at + e];
            t->dv[key] += t->p[j] * (double)p->dout[at + e];
            dq_terms += fabs(ds * (double)p->k[key]);
            t->dk_terms = fmax(t->dk_terms, fabs(ds * (double)p->q[at + e]));
            t->dv_terms = fmax(t->dv_terms, fabs(t->p[j] * (double)p->dout[at + e]));
        }
        t->dq_terms = fmax(t->dq_terms, dq_terms);
    }
}

static truth naive(const problem *p) {
    truth t = {.out = doubles(p->n_q),
               .dq = doubles(p->n_q),
               .dk = doubles(p->n_k),
               .dv = doubles(p->n_k),
               .p = doubles(longest(p->layout)),
               .dp = doubles(longest(p->layout)),
               .slope = doubles(longest(p->layout))};
    for (size_t s = 0; s < p->layout->n_spans; s++) {
        for (size_t i = 0; i < p->layout->spans[s].rows; i++) {
            for (size_t head = 0; head < p->H; head++) {
                naive_row(p, &t, &p->layout->spans[s], i, head);
            }
        }
    }
    return t;
}

static void free_truth(truth *t) {
    free(t->out);
    free(t->dq);
    free(t->dk);
    free(t->dv);
    free(t->p);
    free(t->dp);
    free(t->slope);
}

/* ---- tests ---- */

START_TEST(test_hand_values) {
    /* h = 1, q = (0 1), k = (5 log 3 + 5): row 0 sees key 0 only; row 1 weighs 1 : 3 */
    const qa_span span = {0, 0, 2, 0, 0};
    const qa_real q[] = {0, 1}, k[] = {5, (qa_real)(5 + 1.0986122886681098)}, v[] = {8, 4};
    const double expected[] = {8, 5};
    qa_real out[2];
    const qa_attention attention = {.H = 1, .G = 1, .h = 1, .scale = 1};
    qa_real *scratch = scratch_of(qa_attention_forward_scratch(NULL, 2, &attention));
    qa_attention_forward(NULL, out, q, k, v, &span, 1, &attention, scratch);
    QA_ASSERT_REAL("out", out, expected, 2, TOLERANCE, 0.0);
    free(scratch);
}
END_TEST

static void compare_with_naive(problem *p, qa_pool *pool) {
    truth t = naive(p);
    for (int pooled = 0; pooled < 2; pooled++) {
        memset(p->dq, 0, p->n_q * sizeof *p->dq);
        memset(p->dk, 0, p->n_k * sizeof *p->dk);
        memset(p->dv, 0, p->n_k * sizeof *p->dv);
        forward(p, pooled ? pool : NULL);
        backward_to(p, pooled ? pool : NULL, p->dq, p->dk, p->dv);
        QA_ASSERT_REAL(p->layout->name, p->out, t.out, p->n_q, TOLERANCE, 0.0);
        QA_ASSERT_REAL(p->layout->name, p->dq, t.dq, p->n_q, TOLERANCE, TOLERANCE);
        QA_ASSERT_REAL(p->layout->name, p->dk, t.dk, p->n_k, TOLERANCE, TOLERANCE);
        QA_ASSERT_REAL(p->layout->name, p->dv, t.dv, p->n_k, TOLERANCE, 0.0);
    }
    free_truth(&t);
    qa_bag_close(&p->bag);
}

/* Every layout with every head shape, without a pool and with three threads. */
START_TEST(test_against_naive) {
    qa_pool *pool = qa_test_pool(3);
    for (size_t s = 0; s < N_HEADS; s++) {
        problem p = open_problem(&layouts[_i], heads[s], 40 + s);
        compare_with_naive(&p, pool);
    }
    qa_pool_destroy(pool);
}
END_TEST

START_TEST(test_windows_caps_and_scales_against_naive) {
    static const size_t some_heads[] = {4, WIDE, 11};
    qa_pool *pool = qa_test_pool(3);
    for (size_t s = 0; s < N_VARIANTS; s++) {
        problem p = open_variant(&layouts[_i], heads[some_heads[s % 3]], 140 + s, &variants[s]);
        compare_with_naive(&p, pool);
    }
    qa_pool_destroy(pool);
}
END_TEST

static double loss(void *context) {
    problem *p = context;
    forward(p, NULL);
    return qa_weighted_sum(p->out, p->dout, p->n_q);
}

/* Two rows, a trunk with two branches, two packed pairs; each plain, with a window that ends in the trunk of a branch,
 * and with a cap that bends. */
START_TEST(test_central_differences) {
    static const size_t which[] = {1, 6, 8};
    static const variant as[] = {{0}, {.3, 0, 4}, {.7, 1.5, 0}, {.7, 1.5, 4}};
    problem p = open_variant(&layouts[which[_i % 3]], heads[_i / 3 % 2 == 0 ? NARROW : WIDE], 50, &as[_i / 6]);
    qa_real *dq0 = qa_bag_random(&p.bag, p.n_q), *dk0 = qa_bag_random(&p.bag, p.n_k);
    qa_real *dv0 = qa_bag_random(&p.bag, p.n_k);
    qa_real *dq = qa_bag_copy(&p.bag, dq0, p.n_q), *dk = qa_bag_copy(&p.bag, dk0, p.n_k);
    qa_real *dv = qa_bag_copy(&p.bag, dv0, p.n_k);
    forward(&p, NULL);
    backward_to(&p, NULL, dq, dk, dv);
    qa_subtract(dq, dq0, p.n_q); /* what was added to gradients that were not zero */
    qa_subtract(dk, dk0, p.n_k);
    qa_subtract(dv, dv0, p.n_k);
    QA_ASSERT_GRADIENT("dq", p.q, p.n_q, dq, loss, &p, 1e-5, 1e-7, 40, 1);
    QA_ASSERT_GRADIENT("dk", p.k, p.n_k, dk, loss, &p, 1e-5, 1e-7, 40, 2);
    QA_ASSERT_GRADIENT("dv", p.v, p.n_k, dv, loss, &p, 1e-5, 1e-7, 40, 3);
    qa_bag_close(&p.bag);
}
END_TEST

START_TEST(test_unwanted_gradients) {
    problem p = open_problem(&layouts[6], heads[4], 51);
    forward(&p, NULL);
    backward_to(&p, NULL, p.dq, p.dk, p.dv);
    qa_real *dq = qa_bag_zeros(&p.bag, p.n_q), *dk = qa_bag_zeros(&p.bag, p.n_k), *dv = qa_bag_zeros(&p.bag, p.n_k);
    backward_to(&p, NULL, dq, NULL, NULL);
    backward_to(&p, NULL, NULL, dk, NULL);
    backward_to(&p, NULL, NULL, NULL, dv);
    ck_assert_mem_eq(dq, p.dq, p.n_q * sizeof *dq);
    ck_assert_mem_eq(dk, p.dk, p.n_k * sizeof *dk);
    ck_assert_mem_eq(dv, p.dv, p.n_k * sizeof *dv);
    qa_bag_close(&p.bag);
}
END_TEST

START_TEST(test_threads_same_bits) {
    const size_t head = _i / N_LAYOUTS % 2 == 0 ? NARROW : WIDE;
    const variant *as = _i < 2 * N_LAYOUTS ? &plain : &(variant){.7, 1.5, 20};
    problem p = open_variant(&layouts[_i % N_LAYOUTS], heads[head], 53, as);
    qa_real *out = NULL, *dq0 = NULL, *dk0 = NULL, *dv0 = NULL;
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        qa_real *dq = qa_bag_zeros(&p.bag, p.n_q), *dk = qa_bag_zeros(&p.bag, p.n_k), *dv = qa_bag_zeros(&p.bag, p.n_k);
        forward(&p, pool);
        backward_to(&p, pool, dq, dk, dv);
        qa_pool_destroy(pool);
        if (threads == 0) {
            out = qa_bag_copy(&p.bag, p.out, p.n_q);
            dq0 = dq;
            dk0 = dk;
            dv0 = dv;
        }
        ck_assert_mem_eq(p.out, out, p.n_q * sizeof *out);
        ck_assert_mem_eq(dq, dq0, p.n_q * sizeof *dq);
        ck_assert_mem_eq(dk, dk0, p.n_k * sizeof *dk);
        ck_assert_mem_eq(dv, dv0, p.n_k * sizeof *dv);
    }
    qa_bag_close(&p.bag);
}
END_TEST

START_TEST(test_causality) {
    /* Changing key and value rows from `changed` on changes no output before, to the bit, and the rest. */
    static const size_t changes[] = {1, 10, 63, 64, 65, 129};
    for (size_t s = 0; s < sizeof changes / sizeof *changes; s++) {
        problem p = open_problem(&layouts[5], heads[_i == 0 ? NARROW : WIDE], 54);
        size_t changed = changes[s], k_row = p.G * p.h, q_row = p.H * p.h;
        forward(&p, NULL);
        qa_real *out = qa_bag_copy(&p.bag, p.out, p.n_q);
        qa_bag_fill(&p.bag, p.k + changed * k_row, p.n_k - changed * k_row);
        qa_bag_fill(&p.bag, p.v + changed * k_row, p.n_k - changed * k_row);
        forward(&p, NULL);
        ck_assert_mem_eq(p.out, out, changed * q_row * sizeof *out);
        for (size_t row = changed; row < p.layout->rows; row++) {
            ck_assert(memcmp(p.out + row * q_row, out + row * q_row, q_row * sizeof *out) != 0);
        }
        qa_bag_close(&p.bag);
    }
}
END_TEST

static void assert_rows(const char *name, const qa_real *gradient, size_t row_width, size_t rows,
                        bool (*seen)(size_t)) {
    for (size_t row = 0; row < rows; row++) {
        bool zero = true;
        for (size_t i = 0; i < row_width; i++) {
            zero = zero && gradient[row * row_width + i] == 0;
        }
        ck_assert_msg(zero == !seen(row), "%s: row %zu is %s", name, row, zero ? "zero" : "not zero");
    }
}

/* Layout 6 is a trunk of rows 0..4 and branches of rows 5..70 and 71..77; row 68 is in the first branch's
 * second tile. */
enum { ONLY_ROW = 68 };
static bool is_only_row(size_t row) { return row == ONLY_ROW; }
static bool is_seen(size_t row) { return row <= ONLY_ROW; }
static bool is_seen_by_row_74(size_t row) { return row < 5 || (row >= 71 && row <= 74); }

START_TEST(test_hidden_keys_get_no_gradient) {
    problem p = open_problem(&layouts[6], heads[_i == 0 ? NARROW : WIDE], 55);
    size_t q_row = p.H * p.h, k_row = p.G * p.h, rows = p.layout->rows;
    memset(p.dout, 0, p.n_q * sizeof *p.dout);
    qa_bag_fill(&p.bag, p.dout + ONLY_ROW * q_row, q_row);
    forward(&p, NULL);
    backward_to(&p, NULL, p.dq, p.dk, p.dv);
    assert_rows("dq", p.dq, q_row, rows, is_only_row);
    assert_rows("dk", p.dk, k_row, rows, is_seen);
    assert_rows("dv", p.dv, k_row, rows, is_seen);

    /* The second branch sees the trunk and itself, not the first branch. */
    memset(p.dout, 0, p.n_q * sizeof *p.dout);
    qa_bag_fill(&p.bag, p.dout + 74 * q_row, q_row);
    memset(p.dk, 0, p.n_k * sizeof *p.dk);
    memset(p.dv, 0, p.n_k * sizeof *p.dv);
    backward_to(&p, NULL, NULL, p.dk, p.dv);
    assert_rows("dk of branch 2", p.dk, k_row, rows, is_seen_by_row_74);
    assert_rows("dv of branch 2", p.dv, k_row, rows, is_seen_by_row_74);
    qa_bag_close(&p.bag);
}
END_TEST

/* ---- a packed pair is two sequences ---- */

enum { TRUNK = 70, CHOSEN = 30, REJECTED = 65, FIRST = TRUNK + CHOSEN, SECOND = TRUNK + REJECTED };
static const span_layout packed = {
    "packed",
    TRUNK + CHOSEN + REJECTED,
    3,
    {{0, 0, TRUNK, 0, 0}, {TRUNK, TRUNK, CHOSEN, 0, TRUNK}, {FIRST, FIRST, REJECTED, 0, TRUNK}}};
static const span_layout separate = {
    "separate", FIRST + SECOND, 2, {{0, 0, FIRST, 0, 0}, {FIRST, FIRST, SECOND, 0, 0}}};

/* Rows of the packed array to their places in the separate one: the trunk twice. */
static void unpack(qa_real *to, const qa_real *from, size_t width) {
    memcpy(to, from, FIRST * width * sizeof *to);
    memcpy(to + FIRST * width, from, TRUNK * width * sizeof *to);
    memcpy(to + (FIRST + TRUNK) * width, from + FIRST * width, REJECTED * width * sizeof *to);
}

/* The other way: the trunk's rows are added. */
static void pack_sum(qa_real *to, const qa_real *from, size_t width) {
    memcpy(to, from, FIRST * width * sizeof *to);
    memcpy(to + FIRST * width, from + (FIRST + TRUNK) * width, REJECTED * width * sizeof *to);
    for (size_t i = 0; i < TRUNK * width; i++) {
        to[i] += from[FIRST * width + i];
    }
}

START_TEST(test_packed_equals_separate) {
    const variant *as = _i == 0 ? &plain : &(variant){0, 3, 40}; /* a window that ends in the trunk, and in a branch */
    problem p = open_variant(&packed, heads[5], 56, as), s = open_variant(&separate, heads[5], 57, as);
    size_t q_row = p.H * p.h, k_row = p.G * p.h;
    unpack(s.q, p.q, q_row);
    unpack(s.k, p.k, k_row);
    unpack(s.v, p.v, k_row);
    unpack(s.dout, p.dout, q_row);
    memset(s.dout + FIRST * q_row, 0, TRUNK * q_row * sizeof *s.dout); /* the second trunk counts once */
    qa_pool *pool = qa_test_pool(2);
    forward(&p, pool);
    forward(&s, pool);
    backward_to(&p, pool, p.dq, p.dk, p.dv);
    backward_to(&s, pool, s.dq, s.dk, s.dv);
    qa_real *out = qa_bag_zeros(&s.bag, s.n_q), *sum = qa_bag_zeros(&s.bag, s.n_q);
    unpack(out, p.out, q_row);
    QA_ASSERT_REALS("out", s.out, out, s.n_q, TOLERANCE, 0.0);
    pack_sum(sum, s.dq, q_row);
    QA_ASSERT_REALS("dq", p.dq, sum, p.n_q, TOLERANCE, 0.0);
    pack_sum(sum, s.dk, k_row);
    QA_ASSERT_REALS("dk", p.dk, sum, p.n_k, TOLERANCE, 0.0);
    pack_sum(sum, s.dv, k_row);
    QA_ASSERT_REALS("dv", p.dv, sum, p.n_k, TOLERANCE, 0.0);
    qa_pool_destroy(pool);
    qa_bag_close(&p.bag);
    qa_bag_close(&s.bag);
}
END_TEST

START_TEST(test_cached_equals_whole) {
    /* The last rows of a sequence, computed from a cache of the others, are the whole's last rows. */
    problem p = open_variant(&layouts[5], heads[5], 58, _i == 0 ? &plain : &(variant){0, 3, 50});
    size_t q_row = p.H * p.h, rows = p.layout->rows;
    forward(&p, NULL);
    static const size_t counts[] = {1, 2, 40, 100};
    for (size_t s = 0; s < sizeof counts / sizeof *counts; s++) {
        size_t count = counts[s], cached = rows - count;
        const qa_span span = {0, cached, count, 0, cached};
        qa_real *out = qa_bag_zeros(&p.bag, count * q_row);
        qa_real *scratch = scratch_of(qa_attention_forward_scratch(NULL, rows, &p.attention));
        qa_attention_forward(NULL, out, p.q + cached * q_row, p.k, p.v, &span, 1, &p.attention, scratch);
        QA_ASSERT_REALS("out", out, p.out + cached * q_row, count * q_row, TOLERANCE, 0.0);
        free(scratch);
    }
    qa_bag_close(&p.bag);
}
END_TEST

START_TEST(test_large_scores) {
    /* Scores in the thousands: exp around the maximum stays finite and close to one-hot. */
    problem p = open_problem(&layouts[6], heads[4], 59);
    for (size_t i = 0; i < p.n_q; i++) {
        p.q[i] *= 3000;
    }
    forward(&p, NULL);
    backward_to(&p, NULL, p.dq, p.dk, p.dv);
    for (size_t i = 0; i < p.n_q; i++) {
        if (!(fabs((double)p.out[i]) <= 1.0 + TOLERANCE && isfinite(p.dq[i]))) {
            ck_abort_msg("out %g, dq %g at %zu", (double)p.out[i], (double)p.dq[i], i);
        }
    }
    for (size_t i = 0; i < p.n_k; i++) {
        if (!isfinite(p.dk[i]) || !isfinite(p.dv[i])) {
            ck_abort_msg("dk %g, dv %g at %zu", (double)p.dk[i], (double)p.dv[i], i);
        }
    }
    qa_bag_close(&p.bag);
}
END_TEST

/* ---- gradients of large scores ---- */

/* Forward and backward against the naive loops; tolerances of gradients are relative to what is added up in them
 * (narrow heads count a probability below 2^-100 as 2^-100). */
static void check_against_naive(problem *p) {
    truth t = naive(p);
    qa_pool *pool = qa_test_pool(2);
    forward(p, pool);
    backward_to(p, pool, p->dq, p->dk, p->dv);
    QA_ASSERT_REAL(p->layout->name, p->out, t.out, p->n_q, TOLERANCE, 0.0);
    QA_ASSERT_REAL(p->layout->name, p->dq, t.dq, p->n_q, 0.0, TOLERANCE * t.dq_terms + 1e-20);
    QA_ASSERT_REAL(p->layout->name, p->dk, t.dk, p->n_k, 0.0, TOLERANCE * t.dk_terms + 1e-20);
    QA_ASSERT_REAL(p->layout->name, p->dv, t.dv, p->n_k, 0.0, TOLERANCE * t.dv_terms + 1e-20);
    qa_pool_destroy(pool);
    free_truth(&t);
}

/* One component of every query counts, and keys take four values in it: scores of any size without rounding, and many
 * keys that share the largest. The probabilities are 1/m and 0; their gradients are those of small scores. */
START_TEST(test_gradients_of_large_scores) {
    static const double sizes[] = {1e4, 1e8, 1e15};
    for (size_t s = 0; s < N_HEADS; s++) {
        for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
            problem p = open_problem(&layouts[_i], heads[s], 70 + size);
            const double unit = exp2(floor(log2(sizes[size]) / 2));
            for (size_t i = 0; i < p.n_k; i++) {
                p.k[i] = (qa_real)(unit * (double)((int)(i * 2654435761u >> 7) % 4 - 1));
            }
            for (size_t i = 0; i < p.n_q; i++) {
                p.q[i] = i % p.h == i / p.h % p.h ? (qa_real)unit : 0;
            }
            check_against_naive(&p);
            qa_bag_close(&p.bag);
        }
    }
}
END_TEST

/* Scores 2^22, 2^22 + 1 and 2^22 + 2, exact in single precision at this width: probabilities that differ, of scores
 * that a kept log-sum-exp could tell to half a nat. */
START_TEST(test_gradients_of_large_scores_that_differ_little) {
    problem p = open_problem(&layouts[_i], heads[WIDE], 80);
    ck_assert_uint_eq(p.h, 64);
    for (size_t i = 0; i < p.n_k; i++) {
        p.k[i] = (qa_real)(0x1p22 + (double)((i * 2654435761u >> 7) % 3));
    }
    for (size_t i = 0; i < p.n_q; i++) {
        p.q[i] = i % p.h == i / p.h % p.h ? 8 : 0;
    }
    check_against_naive(&p);
    qa_bag_close(&p.bag);
}
END_TEST

START_TEST(test_nan_is_not_lost) {
    problem p = open_problem(&layouts[5], heads[0], 60);
    p.k[100 * p.G * p.h] = (qa_real)NAN;
    forward(&p, NULL);
    for (size_t row = 100; row < p.layout->rows; row++) {
        ck_assert(isnan(p.out[row * p.H * p.h]));
    }
    qa_bag_close(&p.bag);
}
END_TEST

/* The first rows of a long span come out as in a short one: to the bit, whatever rows are computed beside them. */
START_TEST(test_rows_depend_on_themselves) {
    static const span_layout short_one = {"13 rows", 13, 1, {{0, 0, 13, 0, 0}}};
    problem p = open_problem(&layouts[5], heads[NARROW], 61);
    forward(&p, NULL);
    qa_real *out = qa_bag_copy(&p.bag, p.out, p.n_q);
    p.layout = &short_one;
    forward(&p, NULL);
    ck_assert_mem_eq(p.out, out, short_one.rows * p.H * p.h * sizeof *out);
    qa_bag_close(&p.bag);
}
END_TEST

/* A score far below the largest counts as nothing, and one NaN in a query row is that row's alone, both ways. */
START_TEST(test_narrow_extremes) {
    problem p = open_problem(&layouts[5], heads[0], 62);
    for (size_t i = 0; i < p.n_q; i++) {
        p.q[i] = 100;
        p.k[i] = i / p.h == 40 ? 100 : -100; /* key 40 wins by 2 * 8e4 / sqrt(8) */
    }
    p.q[90 * p.h + 3] = (qa_real)NAN;
    forward(&p, NULL);
    backward_to(&p, NULL, p.dq, p.dk, p.dv);
    for (size_t row = 40; row < p.layout->rows; row++) {
        for (size_t e = 0; e < p.h; e++) {
            const qa_real got = p.out[row * p.h + e];
            ck_assert(row == 90 ? isnan(got) : fabs((double)(got - p.v[40 * p.h + e])) < 1e-6);
            ck_assert((row == 90) == (isnan(p.dq[row * p.h + e]) != 0));
        }
    }
    ck_assert(isnan(p.dk[0]) && isnan(p.dk[90 * p.h]) && !isnan(p.dk[91 * p.h]));
    qa_bag_close(&p.bag);
}
END_TEST

/* What lies before a window is not read: NaN there does not show, and the next tiles' keys change no bit. */
START_TEST(test_keys_before_the_window_are_not_read) {
    static const variant as[] = {{0, 0, 30}, {0, 3, 30}};
    problem p = open_variant(&layouts[_i < 2 ? 5 : 10], heads[_i % 2 == 0 ? NARROW : WIDE], 63, &as[_i % 2]);
    const qa_span *span = &p.layout->spans[0];
    const size_t k_row = p.G * p.h, q_row = p.H * p.h, last = span->context_rows + span->rows - 1;
    const size_t hidden = (span->rows > 1 ? 128 : last) + 1 - 30; /* keys that the last tile has before every window */
    forward(&p, NULL);
    qa_real *out = qa_bag_copy(&p.bag, p.out, p.n_q);
    for (size_t i = 0; i < hidden * k_row; i++) {
        p.k[i] = p.v[i] = (qa_real)NAN;
    }
    forward(&p, NULL);
    const size_t row = span->rows > 1 ? 128 : 0;
    ck_assert_mem_eq(p.out + row * q_row, out + row * q_row, (span->rows - row) * q_row * sizeof *out);
    qa_bag_close(&p.bag);
}
END_TEST

/* A window that no key lies outside of changes no bit, nor does a query see more than the window with rows before it.
 */
START_TEST(test_a_wide_window_changes_nothing) {
    problem p = open_problem(&layouts[6], heads[_i == 0 ? NARROW : WIDE], 64);
    forward(&p, NULL);
    backward_to(&p, NULL, p.dq, p.dk, p.dv);
    qa_real *out = qa_bag_copy(&p.bag, p.out, p.n_q), *dk = qa_bag_zeros(&p.bag, p.n_k);
    p.attention.window = longest(p.layout);
    forward(&p, NULL);
    backward_to(&p, NULL, NULL, dk, NULL);
    ck_assert_mem_eq(p.out, out, p.n_q * sizeof *out);
    ck_assert_mem_eq(p.dk, dk, p.n_k * sizeof *dk);
    qa_bag_close(&p.bag);
}
END_TEST

static size_t backward_scratch(size_t keys, size_t n, size_t H, size_t h) {
    const qa_attention attention = {.H = H, .G = 1, .h = h, .scale = 1};
    return qa_attention_backward_scratch(NULL, keys, n, &attention);
}

static size_t forward_scratch(size_t keys, size_t h) {
    const qa_attention attention = {.H = 1, .G = 1, .h = h, .scale = 1};
    return qa_attention_forward_scratch(NULL, keys, &attention);
}

START_TEST(test_scratch_overflow) {
    ck_assert(forward_scratch(SIZE_MAX / 2, 64) == SIZE_MAX);
    ck_assert(forward_scratch(SIZE_MAX / 2, 8) == SIZE_MAX);
    ck_assert(forward_scratch(SIZE_MAX, 8) == SIZE_MAX);
    ck_assert(backward_scratch(SIZE_MAX / 2, 1, 1, 64) == SIZE_MAX);
    ck_assert(backward_scratch(SIZE_MAX / 2, 1, 1, 1) == SIZE_MAX);
    ck_assert(backward_scratch(1, SIZE_MAX / 2, 2, 2) == SIZE_MAX);
    ck_assert(backward_scratch(1, 2, 2, SIZE_MAX / 4) == SIZE_MAX);
    ck_assert(backward_scratch(100, 100, 9, 64) < (size_t)1 << 20);
}
END_TEST

Suite *nn_attention_suite(void);
Suite *nn_attention_suite(void) {
    Suite *suite = suite_create("nn_attention");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, qa_blas_init, NULL);
    tcase_add_test(tcase, test_hand_values);
    tcase_add_loop_test(tcase, test_against_naive, 0, N_LAYOUTS);
    tcase_add_loop_test(tcase, test_windows_caps_and_scales_against_naive, 0, N_LAYOUTS);
    tcase_add_loop_test(tcase, test_central_differences, 0, 24);
    tcase_add_test(tcase, test_unwanted_gradients);
    tcase_add_loop_test(tcase, test_threads_same_bits, 0, 4 * N_LAYOUTS);
    tcase_add_loop_test(tcase, test_causality, 0, 2);
    tcase_add_loop_test(tcase, test_hidden_keys_get_no_gradient, 0, 2);
    tcase_add_loop_test(tcase, test_packed_equals_separate, 0, 2);
    tcase_add_loop_test(tcase, test_cached_equals_whole, 0, 2);
    tcase_add_test(tcase, test_large_scores);
    QA_ADD_CASES(tcase, test_gradients_of_large_scores, N_LAYOUTS, 4)
    QA_ADD_CASES(tcase, test_gradients_of_large_scores_that_differ_little, N_LAYOUTS, 4)
    tcase_add_test(tcase, test_nan_is_not_lost);
    tcase_add_test(tcase, test_rows_depend_on_themselves);
    tcase_add_test(tcase, test_narrow_extremes);
    tcase_add_loop_test(tcase, test_keys_before_the_window_are_not_read, 0, 4);
    tcase_add_loop_test(tcase, test_a_wide_window_changes_nothing, 0, 2);
    tcase_add_test(tcase, test_scratch_overflow);
    suite_add_tcase(suite, tcase);
    return suite;
}
