/* See attention_narrow.h.
 *
 * Scores are kept in units of log 2, x = q k^T scale / log 2, so that probabilities are powers of two:
 *
 *   p = 2^(x - max) / sum
 *
 * Backward, with p once more, dp = dout v^T and D = sum(p * dp):
 *   ds = p (dp - D);  dq += scale ds k;  dk += scale ds^T q;  dv += p^T dout
 *
 * A row's p and ds are made without their factor 1 / sum: what they are multiplied with, which is short, has it.
 * Plain twin: reference/transformer.c: plain_attention_forward, plain_attention_backward. */
#include "nn/attention_narrow.h"

#include "base/checked.h"
#include "nn/vec.h"

/* ---- kernels ----
 *
 * Three products of matrices with a few dozen rows, and the passes over rows of
 * scores. Lanes are columns, which are keys. Four query rows go together: they share what is loaded, and one row's
 * operations wait for each other. Unrolled by hand, as the dot products of linear.c. */

enum {
    COLUMNS = 2 * QA_VEC,   /* of one step over the keys */
    ROWS = 4,               /* query rows of one step */
    SUM_BLOCK = 64 * QA_VEC /* columns whose sum is not kept in double */
};

/* Lane l: is column j + l among the first n? */
QA_KERNEL_BODY void seen_lanes(qa_vec_mask *seen, size_t j, size_t n) {
    const size_t count = j >= n ? 0 : n - j < QA_VEC ? n - j : QA_VEC;
#ifdef QA_F64
    const qa_vec_mask lane = {0, 1, 2, 3};
#else
    const qa_vec_mask lane = {0, 1, 2, 3, 4, 5, 6, 7};
#endif
    *seen = lane < (int)count;
}

/* ---- the three products; every matrix of columns has the same stride ---- */

/* *sum += x y, where y is a vector of memory. */
QA_KERNEL_BODY void add_product(qa_vec *sum, const qa_vec *x, const qa_real *y) {
    qa_vec t;
    qa_vec_load(&t, y);
    *sum += *x * t;
}

/* c[ROWS x columns] = a[ROWS x h] b[h x columns]. And of the rows of c, while they are in registers: in m[ROWS], the
 * largest of the columns below `whole`, or with e the sums of c e. */
QA_KERNEL_BODY void products(qa_real *c, qa_vec *m, const qa_real *a, const qa_real *b, const qa_real *e_rows, size_t h,
                             size_t stride, size_t columns, size_t whole) {
    qa_vec m0 = m[0], m1 = m[1], m2 = m[2], m3 = m[3];
    for (size_t j = 0; j < columns; j += COLUMNS) {
        qa_vec s00 = {0}, s01 = {0}, s10 = {0}, s11 = {0}, s20 = {0}, s21 = {0}, s30 = {0}, s31 = {0}, b0, b1;
        for (size_t e = 0; e < h; e++) {
            qa_vec_load(&b0, b + e * stride + j);
            qa_vec_load(&b1, b + e * stride + j + QA_VEC);
            s00 += a[e] * b0;
            s01 += a[e] * b1;
            s10 += a[h + e] * b0;
            s11 += a[h + e] * b1;
            s20 += a[2 * h + e] * b0;
            s21 += a[2 * h + e] * b1;
            s30 += a[3 * h + e] * b0;
            s31 += a[3 * h + e] * b1;
        }
        qa_real *to = c + j;
        qa_vec_store(to, &s00);
        qa_vec_store(to + QA_VEC, &s01);
        qa_vec_store(to + stride, &s10);
        qa_vec_store(to + stride + QA_VEC, &s11);
        qa_vec_store(to + 2 * stride, &s20);
        qa_vec_store(to + 2 * stride + QA_VEC, &s21);
        qa_vec_store(to + 3 * stride, &s30);
        qa_vec_store(to + 3 * stride + QA_VEC, &s31);
        if (e_rows != NULL) {
            const qa_real *with = e_rows + j;
            add_product(&m0, &s00, with);
            add_product(&m0, &s01, with + QA_VEC);
            add_product(&m1, &s10, with + stride);
            add_product(&m1, &s11, with + stride + QA_VEC);
            add_product(&m2, &s20, with + 2 * stride);
            add_product(&m2, &s21, with + 2 * stride + QA_VEC);
            add_product(&m3, &s30, with + 3 * stride);
            add_product(&m3, &s31, with + 3 * stride + QA_VEC);
        } else if (j < whole) {
            qa_vec_max(&m0, &s00);
            qa_vec_max(&m1, &s10);
            qa_vec_max(&m2, &s20);
            qa_vec_max(&m3, &s30);
            qa_vec_max(&m0, &s01);
            qa_vec_max(&m1, &s11);
            qa_vec_max(&m2, &s21);
            qa_vec_max(&m3, &s31);
        }
    }
    m[0] = m0;
    m[1] = m1;
    m[2] = m2;
    m[3] = m3;
}

/* c = a b, and max[i] the largest of the first n + i of row i of ROWS; NaNs are passed over (the exponentials show
 * them). */
QA_KERNEL static void scores(qa_real *c, qa_real *max, const qa_real *a, const qa_real *b, size_t h, size_t n,
                             size_t stride, size_t columns) {
    const qa_vec least = (qa_vec){0} - (qa_real)INFINITY;
    const size_t whole = n - n % COLUMNS;
    qa_vec m[ROWS] = {least, least, least, least}, t;
    products(c, m, a, b, NULL, h, stride, columns, whole);
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t j = whole; j < n + i; j += QA_VEC) {
            qa_vec_mask seen;
            seen_lanes(&seen, j, n + i);
            qa_vec_load(&t, c + i * stride + j);
            qa_vec_choose(&t, &seen, &t, &least);
            qa_vec_max(&m[i], &t);
        }
        max[i] = qa_vec_largest(&m[i]);
    }
}

/* c = a b, and weighted[i] the sum of c e over row i of ROWS. */
QA_KERNEL static void weighted_scores(qa_real *c, double *weighted, const qa_real *a, const qa_real *b,
                                      const qa_real *e, size_t h, size_t stride, size_t columns) {
    memset(weighted, 0, ROWS * sizeof *weighted);
    for (size_t j = 0; j < columns; j += SUM_BLOCK) {
        qa_vec sums[ROWS] = {0};
        products(c + j, sums, a, b + j, e + j, h, stride, columns - j < SUM_BLOCK ? columns - j : SUM_BLOCK, 0);
        for (size_t i = 0; i < ROWS; i++) {
            weighted[i] += (double)qa_vec_sum(&sums[i]);
        }
    }
}

/* c[ROWS x h] = p[ROWS x columns] b[h x columns]^T */
QA_KERNEL static void weighted_sums(qa_real *c, const qa_real *p, const qa_real *b, size_t h, size_t stride,
                                    size_t columns) {
    for (size_t e = 0; e < h; e += 2) {
        const size_t next = e + 1 < h ? e + 1 : e;
        const qa_real *b0 = b + e * stride, *b1 = b + next * stride;
        qa_vec s00 = {0}, s01 = {0}, s10 = {0}, s11 = {0}, s20 = {0}, s21 = {0}, s30 = {0}, s31 = {0}, x0, x1, w;
        for (size_t j = 0; j < columns; j += QA_VEC) {
            qa_vec_load(&x0, b0 + j);
            qa_vec_load(&x1, b1 + j);
            qa_vec_load(&w, p + j);
            s00 += w * x0;
            s01 += w * x1;
            qa_vec_load(&w, p + stride + j);
            s10 += w * x0;
            s11 += w * x1;
            qa_vec_load(&w, p + 2 * stride + j);
            s20 += w * x0;
            s21 += w * x1;
            qa_vec_load(&w, p + 3 * stride + j);
            s30 += w * x0;
            s31 += w * x1;
        }
        c[next] = qa_vec_sum(&s01);
        c[e] = qa_vec_sum(&s00);
        c[h + next] = qa_vec_sum(&s11);
        c[h + e] = qa_vec_sum(&s10);
        c[2 * h + next] = qa_vec_sum(&s21);
        c[2 * h + e] = qa_vec_sum(&s20);
        c[3 * h + next] = qa_vec_sum(&s31);
        c[3 * h + e] = qa_vec_sum(&s30);
    }
}

/* c[h x columns] += a[rows x h]^T p[rows x columns], for the columns [begin, begin + COLUMNS) */
QA_KERNEL_BODY void outer_step(qa_real *c, const qa_real *a, const qa_real *p, size_t rows, size_t h, size_t stride,
                               size_t e) {
    const size_t last = h - 1, e1 = e + 1 < h ? e + 1 : last, e2 = e + 2 < h ? e + 2 : last,
                 e3 = e + 3 < h ? e + 3 : last;
    qa_vec s00 = {0}, s01 = {0}, s10 = {0}, s11 = {0}, s20 = {0}, s21 = {0}, s30 = {0}, s31 = {0}, p0, p1, before;
    for (size_t i = 0; i < rows; i++, a += h, p += stride) {
        qa_vec_load(&p0, p);
        qa_vec_load(&p1, p + QA_VEC);
        s00 += a[e] * p0;
        s01 += a[e] * p1;
        s10 += a[e1] * p0;
        s11 += a[e1] * p1;
        s20 += a[e2] * p0;
        s21 += a[e2] * p1;
        s30 += a[e3] * p0;
        s31 += a[e3] * p1;
    }
#define ADD(row, first, second)                                                                                        \
    qa_vec_load(&before, c + (row)*stride);                                                                            \
    first += before;                                                                                                   \
    qa_vec_load(&before, c + (row)*stride + QA_VEC);                                                                   \
    second += before
    ADD(e, s00, s01);
    ADD(e1, s10, s11);
    ADD(e2, s20, s21);
    ADD(e3, s30, s31);
#undef ADD
    qa_vec_store(c + e3 * stride, &s30);
    qa_vec_store(c + e3 * stride + QA_VEC, &s31);
    qa_vec_store(c + e2 * stride, &s20);
    qa_vec_store(c + e2 * stride + QA_VEC, &s21);
    qa_vec_store(c + e1 * stride, &s10);
    qa_vec_store(c + e1 * stride + QA_VEC, &s11);
    qa_vec_store(c + e * stride, &s00);
    qa_vec_store(c + e * stride + QA_VEC, &s01);
}

/* The same for all columns. Row i has zeros from column visible + i on: those are left out. */
QA_KERNEL static void outer(qa_real *c, const qa_real *a, const qa_real *p, size_t rows, size_t visible, size_t h,
                            size_t stride) {
    for (size_t j = 0; j < visible + rows - 1; j += COLUMNS) {
        const size_t first = j < visible ? 0 : j - visible + 1; /* row that sees column j */
        for (size_t e = 0; e < h; e += 4) {
            outer_step(c + j, a + first * h, p + first * stride + j, rows - first, h, stride, e);
        }
    }
}

/* ---- rows of probabilities ---- */

/* 2^x for x <= 0 or little above, in every lane; less than 2^-100 counts as 2^-100. NaN stays NaN. */
#ifdef QA_F64
QA_KERNEL_BODY void power_of_two(qa_vec *y, const qa_vec *x) {
    for (size_t l = 0; l < QA_VEC; l++) {
        (*y)[l] = exp2((*x)[l]);
    }
}
#else
QA_KERNEL_BODY void power_of_two(qa_vec *y, const qa_vec *x) {
    /* Adding `shift` rounds to an integer n, which then stands in the low bits, 127 already added; 2^x = 2^n 2^r. The
     * polynomial's relative error is below 2e-9, that of its evaluation in single precision below 1e-7. */
    const float shift = 0x1.8p23f + 127;
    const qa_vec least = (qa_vec){0} - 100.0f;
    const qa_vec_mask low = *x < least;
    qa_vec t;
    qa_vec_choose(&t, &low, &least, x);
    qa_vec shifted = t + shift;
    qa_vec r = t - (shifted - shift);
    qa_vec r2 = r * r; /* pairs of terms at once: the chain of additions is what takes the time */
    qa_vec high = 0x1.5f456ap-10f * r + 0x1.3b2dbcp-7f + 0x1.41d334p-13f * r2;
    qa_vec middle = 0x1.c6aed4p-5f * r + 0x1.ebfbdap-3f, low_terms = 0x1.62e430p-1f * r + 1.0f;
    qa_vec p = (high * r2 + middle) * r2 + low_terms;
    *y = p * (qa_vec)((qa_vec_mask)shifted << 23);
}
#endif

/* x to 2^(x - max), added to *sum. */
QA_KERNEL_BODY void exponentials(qa_vec *sum, qa_real *x, qa_real max) {
    qa_vec t;
    qa_vec_load(&t, x);
    t -= max;
    power_of_two(&t, &t);
    *sum += t;
    qa_vec_store(x, &t);
}

/* The same of columns [j, columns), of which n are seen: 0 from there on. Returns their sum. */
QA_KERNEL_BODY double last_exponentials(qa_real *x, qa_real max, size_t j, size_t n, size_t columns) {
    qa_vec sum = {0}, t;
    for (; j < n; j += QA_VEC) {
        qa_vec_mask seen;
        seen_lanes(&seen, j, n);
        qa_vec_load(&t, x + j);
        t -= max;
        power_of_two(&t, &t);
        t = (qa_vec)(seen & (qa_vec_mask)t);
        sum += t;
        qa_vec_store(x + j, &t);
    }
    for (; j < columns; j += QA_VEC) {
        t = (qa_vec){0};
        qa_vec_store(x + j, &t);
    }
    return (double)qa_vec_sum(&sum);
}

/* Row i of ROWS: the first n + i of x to 2^(x - max) and the rest up to `columns` to 0. Four rows at a time, because
 * one row's operations wait for each other. Sums are kept in double beyond SUM_BLOCK columns. */
QA_KERNEL static void softmax_rows(double *sum, qa_real *x, const qa_real *max, size_t n, size_t stride,
                                   size_t columns) {
    const size_t whole = n - n % QA_VEC;
    for (size_t i = 0; i < ROWS; i++) {
        sum[i] = 0;
    }
    for (size_t begin = 0; begin < whole; begin += SUM_BLOCK) {
        const size_t end = whole - begin < SUM_BLOCK ? whole : begin + SUM_BLOCK;
        qa_vec s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        for (size_t j = begin; j < end; j += QA_VEC) {
            exponentials(&s0, x + j, max[0]);
            exponentials(&s1, x + stride + j, max[1]);
            exponentials(&s2, x + 2 * stride + j, max[2]);
            exponentials(&s3, x + 3 * stride + j, max[3]);
        }
        sum[0] += (double)qa_vec_sum(&s0);
        sum[1] += (double)qa_vec_sum(&s1);
        sum[2] += (double)qa_vec_sum(&s2);
        sum[3] += (double)qa_vec_sum(&s3);
    }
    for (size_t i = 0; i < ROWS; i++) {
        sum[i] += last_exponentials(x + i * stride, max[i], whole, n + i, columns);
    }
}

/* dp to e (dp - d) */
QA_KERNEL_BODY void gradients(const qa_real *e, qa_real *dp, qa_real d, const qa_vec_mask *seen) {
    qa_vec exponential, ds;
    qa_vec_load(&exponential, e);
    qa_vec_load(&ds, dp);
    ds = exponential * (ds - d);
    if (seen != NULL) {
        ds = (qa_vec)(*seen & (qa_vec_mask)ds);
    }
    qa_vec_store(dp, &ds);
}

/* Row i of ROWS, whose first n + i columns are seen and whose e is 0 from there up to `columns`: dp to e (dp - d), with
 * d its mean; and inverse[i], the factor that makes p of e and ds of what dp becomes. */
QA_KERNEL static void gradient_rows(qa_real *inverse, qa_real *e, qa_real *dp, const double *sum,
                                    const double *weighted, size_t n, size_t stride, size_t columns) {
    const size_t whole = n - n % QA_VEC;
    qa_real d[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        inverse[i] = (qa_real)(1 / sum[i]);
        d[i] = (qa_real)(weighted[i] / sum[i]);
        if (isnan(sum[i])) { /* then so is what the row sees, and nothing else: not its factor */
            inverse[i] = 1;
            for (size_t j = 0; j < n + i; j++) {
                e[i * stride + j] = (qa_real)NAN;
            }
        }
    }
    for (size_t j = 0; j < whole; j += QA_VEC) {
        gradients(e + j, dp + j, d[0], NULL);
        gradients(e + stride + j, dp + stride + j, d[1], NULL);
        gradients(e + 2 * stride + j, dp + 2 * stride + j, d[2], NULL);
        gradients(e + 3 * stride + j, dp + 3 * stride + j, d[3], NULL);
    }
    for (size_t j = whole; j < columns; j += QA_VEC) {
        for (size_t i = 0; i < ROWS; i++) {
            qa_vec_mask seen;
            seen_lanes(&seen, j, n + i);
            gradients(e + i * stride + j, dp + i * stride + j, d[i], &seen);
        }
    }
}

enum { BLOCK = 16 /* query rows whose probabilities exist at a time, backward */ };

static const double LOG_2 = 0.693147180559945309417;

/* ---- scratch ---- */

static size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* The last ROWS rows run to ROWS - 1 keys that are not there. An odd number of cache lines: places of one column are
 * then not all in the same few sets of the cache. */
static size_t columns_for(size_t keys) { return (round_up(keys + ROWS - 1, COLUMNS) / COLUMNS | 1) * COLUMNS; }

/* Reals of one column: its part of k, v, dk, dv, and of the scores. */
static size_t rows_of_scratch(size_t h, bool backward) { return backward ? 4 * h + 2 * BLOCK : 2 * h + ROWS; }

size_t qa_narrow_scratch(size_t max_keys, size_t h, bool backward) {
    size_t columns, reals;
    if (!qa_add_size(max_keys, 2 * COLUMNS, &columns) ||
        !qa_mul_size(columns_for(max_keys), rows_of_scratch(h, backward), &reals)) {
        return SIZE_MAX;
    }
    return reals;
}

void qa_narrow_reset(qa_narrow *narrow) {
    memset(narrow->dk, 0, 2 * narrow->h * narrow->columns * sizeof *narrow->dk); /* and dv, which follows it */
}

qa_narrow qa_narrow_open(qa_real *scratch, size_t n, size_t h, double scale, bool backward) {
    const size_t columns = columns_for(n);
    qa_narrow narrow = {.h = h, .columns = columns, .scale = scale, .k = scratch, .v = scratch + h * columns};
    qa_real *rest = narrow.v + h * columns;
    if (backward) {
        narrow.dk = rest;
        narrow.dv = rest + h * columns;
        rest = narrow.dv + h * columns;
        qa_narrow_reset(&narrow);
    }
    narrow.scratch = rest;
    for (size_t e = 0; e < 2 * h; e++) { /* of k and of v */
        memset(scratch + e * columns + n, 0, (columns - n) * sizeof *scratch);
    }
    return narrow;
}

/* to[h x .] = from[rows x h], transposed; a cache line of columns at a time. */
static void attention_narrow_put(qa_real *to, size_t columns, const qa_real *from, size_t rows, size_t stride,
                                 size_t h) {
    for (size_t begin = 0; begin < rows; begin += COLUMNS) {
        const size_t end = rows - begin < COLUMNS ? rows : begin + COLUMNS;
        for (size_t e = 0; e < h; e++) {
            for (size_t j = begin; j < end; j++) {
                to[e * columns + j] = from[j * stride + e];
            }
        }
    }
}

void qa_narrow_put(qa_narrow *narrow, size_t column, const qa_real *k, const qa_real *v, size_t rows, size_t stride) {
    attention_narrow_put(narrow->k + column, narrow->columns, k, rows, stride, narrow->h);
    attention_narrow_put(narrow->v + column, narrow->columns, v, rows, stride, narrow->h);
}

void qa_narrow_take(const qa_narrow *narrow, qa_real *dk, qa_real *dv, size_t column, size_t rows) {
    const size_t h = narrow->h, columns = narrow->columns;
    for (size_t j = 0; j < rows; j++) {
        for (size_t e = 0; e < h && dk != NULL; e++) {
            dk[j * h + e] += (qa_real)LOG_2 * narrow->dk[e * columns + column + j];
        }
        for (size_t e = 0; e < h && dv != NULL; e++) {
            dv[j * h + e] += narrow->dv[e * columns + column + j];
        }
    }
}

/* ---- forward and backward ---- */

/* to[rows x h] = scale * from; places behind the last row repeat it. */
static void gather_narrow(qa_real *to, const qa_real *from, size_t stride, qa_real scale, size_t rows, size_t places,
                          size_t h) {
    for (size_t i = 0; i < places; i++) {
        const qa_real *row = from + (i < rows ? i : rows - 1) * stride;
        for (size_t e = 0; e < h; e++) {
            to[i * h + e] = scale * row[e];
        }
    }
}

/* scale / log 2, which in single precision is 1 / (sqrt(h) log 2), rounded once, for 1 / sqrt(h). */
static qa_real score_scale(const qa_narrow *narrow) { return (qa_real)(1 / (1 / narrow->scale * LOG_2)); }

void qa_narrow_forward(qa_narrow *narrow, const qa_narrow_rows *r, qa_real *out) {
    const size_t h = narrow->h, stride = narrow->columns;
    qa_real q[ROWS * QA_NARROW_WIDTH], sums[ROWS * QA_NARROW_WIDTH], *x = narrow->scratch;
    for (size_t begin = 0; begin < r->rows; begin += ROWS) {
        const size_t rows = r->rows - begin < ROWS ? r->rows - begin : ROWS, visible = r->visible + begin;
        const size_t columns = round_up(visible + ROWS - 1, COLUMNS);
        double sum[ROWS];
        qa_real max[ROWS];
        gather_narrow(q, r->q + begin * r->stride, r->stride, score_scale(narrow), rows, ROWS, h);
        scores(x, max, q, narrow->k, h, visible, stride, columns);
        softmax_rows(sum, x, max, visible, stride, columns);
        weighted_sums(sums, x, narrow->v, h, stride, columns);
        for (size_t i = 0; i < rows; i++) {
            qa_real *out_row = out + (begin + i) * r->stride, inverse = (qa_real)(1 / sum[i]);
            for (size_t e = 0; e < h; e++) {
                out_row[e] = sums[i * h + e] * inverse;
            }
        }
    }
}

/* Of ROWS rows: p and ds without each row's factor, which is *inverse. */
static void probability_rows(const qa_narrow *narrow, size_t seen, qa_real *inverse, qa_real *x, qa_real *ds,
                             const qa_real *q, const qa_real *dout) {
    const size_t h = narrow->h, stride = narrow->columns, columns = round_up(seen + ROWS - 1, COLUMNS);
    double sum[ROWS], weighted[ROWS];
    qa_real max[ROWS];
    scores(x, max, q, narrow->k, h, seen, stride, columns);
    softmax_rows(sum, x, max, seen, stride, columns);
    weighted_scores(ds, weighted, dout, narrow->v, x, h, stride, columns);
    gradient_rows(inverse, x, ds, sum, weighted, seen, stride, columns);
}

static void add_query_gradients(const qa_narrow *narrow, const qa_narrow_rows *r, size_t rows, size_t visible,
                                qa_real *dq, const qa_real *ds, const qa_real *inverse) {
    const size_t h = narrow->h, columns = round_up(visible + ROWS - 1, COLUMNS);
    const qa_real scale = (qa_real)narrow->scale;
    qa_real sums[ROWS * QA_NARROW_WIDTH];
    weighted_sums(sums, ds, narrow->k, h, narrow->columns, columns);
    for (size_t i = 0; i < rows; i++) {
        qa_real *to = dq + i * r->stride, factor = scale * inverse[i];
        for (size_t e = 0; e < h; e++) {
            to[e] += factor * sums[i * h + e];
        }
    }
}

/* to[ROWS x h], every row by its factor. */
static void scale_rows(qa_real *to, const qa_real *factor, size_t h) {
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t e = 0; e < h; e++) {
            to[i * h + e] *= factor[i];
        }
    }
}

void qa_narrow_backward(qa_narrow *narrow, const qa_narrow_rows *r, qa_real *dq, const qa_real *dout) {
    const size_t h = narrow->h, stride = narrow->columns;
    qa_real q[BLOCK * QA_NARROW_WIDTH], dout_rows[BLOCK * QA_NARROW_WIDTH];
    qa_real *x = narrow->scratch, *ds = x + BLOCK * stride;
    for (size_t begin = 0; begin < r->rows; begin += BLOCK) {
        const size_t rows = r->rows - begin < BLOCK ? r->rows - begin : BLOCK;
        gather_narrow(q, r->q + begin * r->stride, r->stride, score_scale(narrow), rows, BLOCK, h);
        gather_narrow(dout_rows, dout + begin * r->stride, r->stride, 1, rows, BLOCK, h);
        for (size_t i = 0; i < rows; i += ROWS) {
            const size_t row = begin + i, count = rows - i < ROWS ? rows - i : ROWS, visible = r->visible + row;
            qa_real inverse[ROWS];
            probability_rows(narrow, visible, inverse, x + i * stride, ds + i * stride, q + i * h, dout_rows + i * h);
            if (dq != NULL) {
                add_query_gradients(narrow, r, count, visible, dq + row * r->stride, ds + i * stride, inverse);
            }
            scale_rows(q + i * h, inverse, h);
            scale_rows(dout_rows + i * h, inverse, h);
        }
        outer(narrow->dv, dout_rows, x, rows, r->visible + begin, h, stride);
        outer(narrow->dk, q, ds, rows, r->visible + begin, h, stride);
    }
}
