/* See set.h. */
#include "golden/set.h"

#include "base/memory.h"
#include "base/try.h"

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
    QA_TRY(QA_GROW(set->tensors, set->capacity, set->n + 1, err, "%zu golden tensors", set->n + 1));
    qa_golden_tensor *it = &set->tensors[set->n];
    *it = (qa_golden_tensor){.kind = kind, .n_dims = n_dims, .count = 1};
    const int written = snprintf(it->name, sizeof it->name, "%s", name);
    bool fits = written >= 0 && (size_t)written < sizeof it->name && n_dims <= QA_GOLDEN_DIMS;
    for (size_t i = 0; fits && i < n_dims; i++) {
        it->shape[i] = shape[i];
        fits = qa_mul_size(it->count, shape[i], &it->count);
    }
    if (!fits) {
        return qa_fail(err, QA_ERR_LIMIT, "golden tensor %.100s is too large", name);
    }
    QA_TRY(QA_NEW(it->values, it->count, err, "%zu numbers of %.100s", it->count, name));
    *values = it->values;
    set->n++;
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

void qa_golden_set_free(qa_golden_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        free(set->tensors[i].values);
    }
    free(set->tensors);
    *set = (qa_golden_set){0};
}

/* ---- names ---- */

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

_Bool qa_golden_kind_of(qa_golden_kind *kind, const char *name) {
    static const struct {
        const char *end;
        qa_golden_kind kind;
    } ends[] = {{".input_ids", QA_GOLDEN_IDS},
                {".log_pi1", QA_GOLDEN_LOG_PI1},
                {".reward", QA_GOLDEN_REWARD},
                {".log_pi", QA_GOLDEN_LOG_PI},
                {".return", QA_GOLDEN_RETURN},
                {".q", QA_GOLDEN_Q},
                {".v", QA_GOLDEN_V}};
    if (strncmp(name, "loss", 4) == 0) {
        *kind = QA_GOLDEN_LOSS;
        return true;
    }
    if (strncmp(name, "grad.", 5) == 0) {
        *kind = QA_GOLDEN_GRAD;
        return true;
    }
    if (strncmp(name, "step", 4) == 0) {
        const bool scalar = ends_with(name, ".loss") || ends_with(name, ".grad_norm");
        *kind = !scalar ? QA_GOLDEN_STEP : ends_with(name, ".loss") ? QA_GOLDEN_LOSS : QA_GOLDEN_GRAD;
        return true;
    }
    if (strncmp(name, "pair", 4) != 0) {
        return false;
    }
    if (strstr(name, ".base.") != NULL || strstr(name, ".adapted.") != NULL) {
        *kind = QA_GOLDEN_ACTIVATION;
        return true;
    }
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (ends_with(name, ends[i].end)) {
            *kind = ends[i].kind;
            return true;
        }
    }
    return false;
}
