/* exp, log, sine, cosine and what is made of them, with the same bits on every machine.
 *
 * A C library's versions differ in the last bit from one to the next, and even with the processor that they find
 * themselves on. Golden bundles must not: they are made with these, which use additions, multiplications, divisions
 * and exact scaling by powers of two only, in a fixed order. Errors are below 2 units in the last place (tests). */
#ifndef QA_REFERENCE_MATH_H
#define QA_REFERENCE_MATH_H

/* In the files that include this, compilers must not fuse a multiplication and an addition: gcc does not in ISO mode
 * (-std=c11), clang is told. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

double qa_ref_exp(double x); /* 0 below -745, infinite above 710 */
double qa_ref_log(double x); /* x > 0 and finite, else NaN */
/* |x| up to 2^20. */
void qa_ref_sin_cos(double x, double *sine, double *cosine);
/* log(1 + exp(x)), finite for every finite x: -log sigmoid(z) is this of -z. */
double qa_ref_softplus(double x);
double qa_ref_sigmoid(double x);
/* Within 2e-15 of the value, not of its last place. */
double qa_ref_tanh(double x);
double qa_ref_erf(double x);

#endif
