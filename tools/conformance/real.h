/* Real numbers of 256 bits, each with a bound on what the same arithmetic in a short format is off by.
 *
 * `e` counts units of roundoff: if every operation, and every input, is rounded to a format whose unit is u, the result
 * is within u e of the value, to first order. An operation passes on its operands' errors times its slopes and adds one
 * rounding of its result. So e is (number of roundings) x (condition), found on the way. Values live until the pool is
 * taken back to a mark. */
#ifndef QA_CONFORMANCE_REAL_H
#define QA_CONFORMANCE_REAL_H

#include <mpfr.h>
#include <stddef.h>

typedef struct real {
    mpfr_t v, e;
} real;
typedef const real *R;

size_t pool_mark(void);
void pool_release(size_t mark);

R num(double x);                       /* exact */
R given(double x);                     /* an input: rounded once */
R moved(R x, int sign, unsigned bits); /* x + sign 2^-bits: for differences */
R r_add(R a, R b);
R r_sub(R a, R b);
R r_mul(R a, R b);
R r_div(R a, R b);
R r_neg(R a);
R r_abs(R a);
R r_exp(R a);
R r_log(R a);
R r_log1p(R a);
R r_sqrt(R a);
R r_tanh(R a);
R r_sin(R a);
R r_cos(R a);
R r_pow(R a, R b);
R r_pi(void);

int r_cmp(R a, R b);
double r_double(R a); /* rounded once */

/* What is made of these. */
R r_sum(const R *x, size_t n);
R r_dot(const R *x, const R *y, size_t n);
R r_max(R a, R b);
R r_clip(R x, R least, R most);
R r_log_sum_exp(const R *x, size_t n);
R r_sigmoid(R x);
R r_log_sigmoid(R x);

#endif
