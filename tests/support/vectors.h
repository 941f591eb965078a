/* One vector of weights/conformance on its way through a test: its inputs, memory for what is made of them, and its
 * outputs, which are compared within its tolerance. */
#ifndef QA_TESTS_VECTORS_H
#define QA_TESTS_VECTORS_H

#include "base/real.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { VECTOR_MOST = 2048 }; /* numbers of one input or output */

/* Inputs by name; numbers, copied into memory that is free again at the next vector. A scalar that is not there is 0.
 */
const json_t *input(const char *name);
double *in(const char *name);
qa_real *in_reals(const char *name);
double in1(const char *name);
size_t in_size(const char *name);
bool in_flag(const char *name);
bool in_is(const char *name, const char *text);
size_t dim(const char *name, size_t which);

/* n zeros, until the next vector. */
double *doubles(size_t n);
qa_real *reals(size_t n);

/* Fails unless the n numbers are the vector's output, within its tolerance in this build's precision. An output that
 * the vector does not have is passed over. */
void out(const char *name, const double *x, size_t n);
void out1(const char *name, double x);
void out_reals(const char *name, const qa_real *x, size_t n);
bool has_output(const char *name);
bool is_equation(const char *name); /* the vector's equation */

typedef struct vector_function {
    const char *equation; /* NULL ends a table */
    void (*run)(void);
} vector_function;

/* Runs every vector of weights/conformance/GROUP.json; each must have a function, which gives all its outputs. */
void run_vectors(const char *group, const vector_function *functions);

/* What a mistake gives is beyond the tolerance of either precision, in every output that it names. */
void expect_mistakes(const char *group);

#endif
