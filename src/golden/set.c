/* See set.h. */
#include "golden/set.h"

#include "base/memory.h"
#include "base/try.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *qa_golden_kind_name(qa_golden_kind kind) {
    static const char *const names[QA_GOLDEN_KINDS] = {
        [QA_GOLDEN_IDS] = "input_ids",
        [QA_GOLDEN_ACTIVATION] = "activation",
        [QA_GOLDEN_LOG_PI1] = "log_pi1",
        [QA_GOLDEN_Q] = "q",
        [QA_GOLDEN_V] = "v",
        [QA_GOLDEN_REWARD] = "reward",
        [QA_GOLDEN_LOG_PI] = "log_pi",
        [QA_GOLDEN_RETURN] = "return",
        [QA_GOLDEN_LOSS] = "loss",
        [QA_GOLDEN_GRAD] = "grad",
        [QA_GOLDEN_STEP] = "step",
    };
    return kind < QA_GOLDEN_KINDS ? names[kind] : "unknown";
}

qa_status qa_golden_set_add(qa_golden_set *set, const char *name, qa_golden_kind kind, size_t n_dims,
                            const size_t *shape, double **values, qa_error *err) {
    qa_golden_tensor tensor = {.kind = kind, .n_dims = n_dims, .count = 1};
    const int written = snprintf(tensor.name, sizeof tensor.name, "%s", name);
    bool fits = written >= 0 && (size_t)written < sizeof tensor.name && n_dims <= QA_GOLDEN_DIMS;
    for (size_t i = 0; fits && i < n_dims; i++) {
        tensor.shape[i] = shape[i];
        fits = qa_mul_size(tensor.count, shape[i], &tensor.count);
    }
    QA_FAIL_IF(!fits, err, QA_ERR_LIMIT, "golden tensor %.100s is too large", name);
    QA_TRY(QA_GROW(set->tensors, set->capacity, set->n + 1, err, "%zu golden tensors", set->n + 1));
    QA_TRY(QA_NEW(tensor.values, tensor.count, err, "%zu numbers of %.100s", tensor.count, name));
    set->tensors[set->n++] = tensor;
    *values = tensor.values;
    return QA_OK;
}

const qa_golden_tensor *qa_golden_set_find(const qa_golden_set *set, const char *name) {
    for (size_t i = 0; i < set->n; i++) {
        if (strcmp(set->tensors[i].name, name) == 0) {
            return &set->tensors[i];
        }
    }
    return NULL;
}

double qa_golden_largest(const qa_golden_tensor *tensor) {
    double largest = 0.0;
    for (size_t i = 0; i < tensor->count; i++) {
        largest = fmax(largest, fabs(tensor->values[i]));
    }
    return largest;
}

void qa_golden_set_free(qa_golden_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        free(set->tensors[i].values);
    }
    free(set->tensors);
    *set = (qa_golden_set){0};
}

/* ---- names ---- */

static bool name_starts(const char *name, const char *start) { return strncmp(name, start, strlen(start)) == 0; }

static bool name_ends(const char *name, const char *end) {
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

_Bool qa_golden_kind_of(qa_golden_kind *kind, const char *name) {
    static const struct {
        const char *start, *within, *end; /* of the name; "": anything */
        qa_golden_kind kind;
    } names[] = {{"loss", "", "", QA_GOLDEN_LOSS},
                 {"grad.", "", "", QA_GOLDEN_GRAD},
                 {"step", "", ".loss", QA_GOLDEN_LOSS},
                 {"step", "", ".grad_norm", QA_GOLDEN_GRAD},
                 {"step", "", "", QA_GOLDEN_STEP},
                 {"pair", ".base.", "", QA_GOLDEN_ACTIVATION},
                 {"pair", ".adapted.", "", QA_GOLDEN_ACTIVATION},
                 {"pair", "", ".input_ids", QA_GOLDEN_IDS},
                 {"pair", "", ".log_pi1", QA_GOLDEN_LOG_PI1},
                 {"pair", "", ".reward", QA_GOLDEN_REWARD},
                 {"pair", "", ".log_pi", QA_GOLDEN_LOG_PI},
                 {"pair", "", ".return", QA_GOLDEN_RETURN},
                 {"pair", "", ".q", QA_GOLDEN_Q},
                 {"pair", "", ".v", QA_GOLDEN_V}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (name_starts(name, names[i].start) && strstr(name, names[i].within) != NULL &&
            name_ends(name, names[i].end)) {
            *kind = names[i].kind;
            return true;
        }
    }
    return false;
}
