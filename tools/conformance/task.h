/* One vector while it is made: its inputs, its outputs, and the mistake that is being made, if any. */
#ifndef QA_CONFORMANCE_TASK_H
#define QA_CONFORMANCE_TASK_H

#include "conformance/real.h"

#include <jansson.h>
#include <stdbool.h>

enum { MOST_DIMENSIONS = 3, MOST_ARRAYS = 40 };

/* Numbers in order of the last dimension; a scalar has none. */
typedef struct array {
    const char *name;
    size_t dims, shape[MOST_DIMENSIONS], n;
    R *x;
} array;

typedef struct task {
    const json_t *given; /* the inputs as JSON: texts and flags are read from it */
    array in[MOST_ARRAYS], out[MOST_ARRAYS];
    size_t n_in, n_out;
    const char *wrong; /* the mistake's name, or NULL */
} task;

/* One equation: what it makes of the inputs, and the mistakes that can be made in it (names, between spaces). */
typedef struct equation {
    const char *name;
    void (*compute)(task *t);
    const char *mistakes;
} equation;

extern const equation equations_of_q[], equations_of_losses[], equations_of_rollouts[], equations_of_optimisers[],
    equations_of_layers[]; /* a NULL name ends each */

const array *in_array(const task *t, const char *name); /* NULL: there is none */
R *in(const task *t, const char *name);
R in1(const task *t, const char *name);
size_t in_size(const task *t, const char *name);         /* of a whole number */
size_t in_at(const task *t, const char *name, size_t i); /* of an array of them */
size_t dim(const task *t, const char *name, size_t which);
bool in_flag(const task *t, const char *name);
bool in_is(const task *t, const char *name, const char *text);
bool wrong(const task *t, const char *mistake);

R *room(size_t n); /* n zeros, until the pool is released */
void out1(task *t, const char *name, R x);
void out_like(task *t, const char *name, const char *input, R *x); /* with that input's shape */
void out_shape(task *t, const char *name, size_t dims, const size_t *shape, R *x);
#define OUT(t, name, x, ...)                                                                                           \
    out_shape(t, name, sizeof(size_t[]){__VA_ARGS__} / sizeof(size_t), (size_t[]){__VA_ARGS__}, x)

/* Shared by the equations. */
R *log_softmax(const R *x, size_t n);
R log_label(const task *t, R z, R *slope); /* (M9) with the task's label_noise, and its mistakes */

#endif
