/* The named numbers of a golden bundle, or of what a mistake would have made of it, in forward order. */
#ifndef QA_GOLDEN_SET_H
#define QA_GOLDEN_SET_H

#include "qadapter/status.h"

#include <stddef.h>

/* What a tensor holds: tolerances go by this. */
typedef enum qa_golden_kind {
    QA_GOLDEN_IDS,
    QA_GOLDEN_ACTIVATION,
    QA_GOLDEN_LOG_PI1,
    QA_GOLDEN_Q,
    QA_GOLDEN_V,
    QA_GOLDEN_REWARD,
    QA_GOLDEN_LOG_PI,
    QA_GOLDEN_RETURN,
    QA_GOLDEN_LOSS,
    QA_GOLDEN_GRAD,
    QA_GOLDEN_STEP,
    QA_GOLDEN_KINDS
} qa_golden_kind;

const char *qa_golden_kind_name(qa_golden_kind kind); /* "input_ids", "activation", "log_pi1"... */

/* The kind that a name stands for; false when no bundle has such a name. */
_Bool qa_golden_kind_of(qa_golden_kind *kind, const char *name);

enum { QA_GOLDEN_NAME_BYTES = 192, QA_GOLDEN_DIMS = 2 };

typedef struct qa_golden_tensor {
    char name[QA_GOLDEN_NAME_BYTES];
    qa_golden_kind kind;
    size_t n_dims, shape[QA_GOLDEN_DIMS];
    size_t count;   /* elements; may be 0 */
    double *values; /* [count]; token ids too */
} qa_golden_tensor;

/* Zero-initialise; free with qa_golden_set_free. */
typedef struct qa_golden_set {
    qa_golden_tensor *tensors; /* [n] */
    size_t n, capacity;
} qa_golden_set;

/* Appends a tensor of zeros; *values may be written until the next call that adds. shape: [n_dims], n_dims <= 2. */
QA_MUST_CHECK qa_status qa_golden_set_add(qa_golden_set *set, const char *name, qa_golden_kind kind, size_t n_dims,
                                          const size_t *shape, double **values, qa_error *err);
const qa_golden_tensor *qa_golden_set_find(const qa_golden_set *set, const char *name); /* NULL: none */
double qa_golden_largest(const qa_golden_tensor *tensor); /* magnitude; 0 of an empty one */
void qa_golden_set_free(qa_golden_set *set);

#endif
