/* See real.h. */
#include "conformance/real.h"

#include <stdio.h>
#include <stdlib.h>

enum { BITS = 256, BOUND_BITS = 53, CHUNK = 4096, CHUNKS = 4096 };

static real *chunks[CHUNKS];
static size_t used;

size_t pool_mark(void) { return used; }
void pool_release(size_t mark) { used = mark; }

static real *fresh(void) {
    const size_t chunk = used / CHUNK, at = used % CHUNK;
    if (chunk < CHUNKS && chunks[chunk] == NULL) {
        chunks[chunk] = malloc(CHUNK * sizeof *chunks[chunk]);
        for (size_t i = 0; chunks[chunk] != NULL && i < CHUNK; i++) {
            mpfr_init2(chunks[chunk][i].v, BITS);
            mpfr_init2(chunks[chunk][i].e, BOUND_BITS);
        }
    }
    if (chunk >= CHUNKS || chunks[chunk] == NULL) {
        fputs("conformance: out of memory\n", stderr);
        exit(1);
    }
    used++;
    return &chunks[chunk][at];
}

/* One more rounding; infinities are exact. */
static R rounded(real *r) {
    mpfr_t size;
    if (!mpfr_number_p(r->v)) {
        mpfr_set_zero(r->e, 1);
        return r;
    }
    mpfr_init2(size, BOUND_BITS);
    mpfr_abs(size, r->v, MPFR_RNDU);
    mpfr_add(r->e, r->e, size, MPFR_RNDU);
    mpfr_clear(size);
    return r;
}

R num(double x) {
    real *r = fresh();
    mpfr_set_d(r->v, x, MPFR_RNDN);
    mpfr_set_zero(r->e, 1);
    return r;
}

R given(double x) {
    real *r = fresh();
    mpfr_set_d(r->v, x, MPFR_RNDN);
    mpfr_set_zero(r->e, 1);
    return rounded(r);
}

R moved(R x, int sign, unsigned bits) {
    real *r = fresh();
    mpfr_set_si_2exp(r->v, sign, -(mpfr_exp_t)bits, MPFR_RNDN);
    mpfr_add(r->v, r->v, x->v, MPFR_RNDN);
    mpfr_set(r->e, x->e, MPFR_RNDU);
    return r;
}

R r_add(R a, R b) {
    real *r = fresh();
    mpfr_add(r->v, a->v, b->v, MPFR_RNDN);
    mpfr_add(r->e, a->e, b->e, MPFR_RNDU);
    return rounded(r);
}

R r_neg(R a) {
    real *r = fresh();
    mpfr_neg(r->v, a->v, MPFR_RNDN);
    mpfr_set(r->e, a->e, MPFR_RNDU);
    return r;
}

R r_abs(R a) { return mpfr_sgn(a->v) < 0 ? r_neg(a) : a; }
R r_sub(R a, R b) { return r_add(a, r_neg(b)); }

/* e = |slope_a| e_a + |slope_b| e_b */
static R with_slopes(real *r, R a, mpfr_t slope_a, R b, mpfr_t slope_b) {
    mpfr_abs(slope_a, slope_a, MPFR_RNDU);
    mpfr_mul(r->e, slope_a, a->e, MPFR_RNDU);
    if (b != NULL) {
        mpfr_abs(slope_b, slope_b, MPFR_RNDU);
        mpfr_fma(r->e, slope_b, b->e, r->e, MPFR_RNDU);
        mpfr_clear(slope_b);
    }
    mpfr_clear(slope_a);
    return rounded(r);
}

R r_mul(R a, R b) {
    real *r = fresh();
    mpfr_t slope_a, slope_b;
    mpfr_inits2(BOUND_BITS, slope_a, slope_b, (mpfr_ptr)0);
    mpfr_mul(r->v, a->v, b->v, MPFR_RNDN);
    mpfr_set(slope_a, b->v, MPFR_RNDA);
    mpfr_set(slope_b, a->v, MPFR_RNDA);
    return with_slopes(r, a, slope_a, b, slope_b);
}

R r_div(R a, R b) {
    real *r = fresh();
    mpfr_t slope_a, slope_b;
    mpfr_inits2(BOUND_BITS, slope_a, slope_b, (mpfr_ptr)0);
    mpfr_div(r->v, a->v, b->v, MPFR_RNDN);
    mpfr_ui_div(slope_a, 1, b->v, MPFR_RNDA);
    mpfr_div(slope_b, r->v, b->v, MPFR_RNDA);
    return with_slopes(r, a, slope_a, b, slope_b);
}

R r_pow(R a, R b) {
    real *r = fresh();
    mpfr_t slope_a, slope_b;
    mpfr_inits2(BOUND_BITS, slope_a, slope_b, (mpfr_ptr)0);
    mpfr_pow(r->v, a->v, b->v, MPFR_RNDN);
    mpfr_div(slope_a, r->v, a->v, MPFR_RNDA);
    mpfr_mul(slope_a, slope_a, b->v, MPFR_RNDA);
    mpfr_log(slope_b, a->v, MPFR_RNDA);
    mpfr_mul(slope_b, slope_b, r->v, MPFR_RNDA);
    return with_slopes(r, a, slope_a, b, slope_b);
}

/* A function of one number; SLOPE sets `slope` from the value r->v and the argument a->v. */
#define FUNCTION(name, compute, SLOPE)                                                                                 \
    R name(R a) {                                                                                                      \
        real *r = fresh();                                                                                             \
        mpfr_t slope;                                                                                                  \
        mpfr_init2(slope, BITS);                                                                                       \
        compute(r->v, a->v, MPFR_RNDN);                                                                                \
        SLOPE;                                                                                                         \
        return with_slopes(r, a, slope, NULL, slope);                                                                  \
    }

FUNCTION(r_exp, mpfr_exp, mpfr_set(slope, r->v, MPFR_RNDA))
FUNCTION(r_log, mpfr_log, mpfr_ui_div(slope, 1, a->v, MPFR_RNDA))
FUNCTION(r_log1p, mpfr_log1p, (mpfr_add_ui(slope, a->v, 1, MPFR_RNDN), mpfr_ui_div(slope, 1, slope, MPFR_RNDA)))
FUNCTION(r_sqrt, mpfr_sqrt, (mpfr_ui_div(slope, 1, r->v, MPFR_RNDA), mpfr_div_2ui(slope, slope, 1, MPFR_RNDA)))
FUNCTION(r_tanh, mpfr_tanh, (mpfr_sqr(slope, r->v, MPFR_RNDN), mpfr_ui_sub(slope, 1, slope, MPFR_RNDA)))
FUNCTION(r_sin, mpfr_sin, mpfr_cos(slope, a->v, MPFR_RNDA))
FUNCTION(r_cos, mpfr_cos, mpfr_sin(slope, a->v, MPFR_RNDA))

R r_pi(void) {
    real *r = fresh();
    mpfr_const_pi(r->v, MPFR_RNDN);
    mpfr_set_zero(r->e, 1);
    return rounded(r);
}

int r_cmp(R a, R b) { return mpfr_cmp(a->v, b->v); }
double r_double(R a) { return mpfr_get_d(a->v, MPFR_RNDN); }

R r_sum(const R *x, size_t n) {
    R sum = n == 0 ? num(0) : x[0];
    for (size_t i = 1; i < n; i++) {
        sum = r_add(sum, x[i]);
    }
    return sum;
}

R r_dot(const R *x, const R *y, size_t n) {
    R sum = r_mul(x[0], y[0]);
    for (size_t i = 1; i < n; i++) {
        sum = r_add(sum, r_mul(x[i], y[i]));
    }
    return sum;
}

R r_max(R a, R b) { return r_cmp(a, b) >= 0 ? a : b; }
R r_clip(R x, R least, R most) { return r_cmp(x, least) < 0 ? least : r_cmp(x, most) > 0 ? most : x; }

/* From the definition: no number of 256 bits overflows. */
R r_log_sum_exp(const R *x, size_t n) {
    R sum = r_exp(x[0]);
    for (size_t i = 1; i < n; i++) {
        sum = r_add(sum, r_exp(x[i]));
    }
    return r_log(sum);
}

R r_sigmoid(R x) { return r_div(num(1), r_add(num(1), r_exp(r_neg(x)))); }
R r_log_sigmoid(R x) { return mpfr_sgn(x->v) >= 0 ? r_neg(r_log1p(r_exp(r_neg(x)))) : r_sub(x, r_log1p(r_exp(x))); }
