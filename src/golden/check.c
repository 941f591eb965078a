/* See check.h. A candidate is compared with the bundle, tensor by tensor in forward order. Where it departs,
 * every known mistake is made on the bundle's inputs and the candidate compared with what comes out: a mistake that
 * reproduces all of the candidate's numbers explains them. */
#include "golden/check.h"

#include "base/c_locale.h"
#include "base/checked.h"
#include "base/try.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *qa_golden_verdict_name(qa_golden_verdict verdict) {
    switch (verdict) {
    case QA_VERDICT_OK: return "ok";
    case QA_VERDICT_DEPARTS: return "DEPARTS";
    case QA_VERDICT_NOT_FINITE: return "NOT FINITE";
    case QA_VERDICT_SHAPE: return "WRONG SHAPE";
    case QA_VERDICT_DTYPE: return "WRONG DTYPE";
    case QA_VERDICT_UNKNOWN: return "UNKNOWN NAME";
    }
    return "?";
}

/* ---- the candidate ---- */

/* A tensor that another implementation wrote. */
typedef struct given {
    char name[QA_GOLDEN_NAME_BYTES]; /* the bundle's name for it */
    const qa_tensor *tensor;
    double *values; /* [tensor->count]; NULL: a dtype that candidates may not have */
    size_t order;   /* place in the bundle; the bundle's n when it is not there */
} given;

typedef struct candidate {
    qa_safetensors *file;
    given *tensors; /* [n] in forward order */
    size_t n;
} candidate;

static bool is_whole(qa_dtype dtype) { return dtype == QA_DTYPE_I64 || dtype == QA_DTYPE_I32; }

static qa_status read_values(given *it, const qa_safetensors *file, qa_error *err) {
    const qa_tensor *tensor = it->tensor;
    if (tensor->dtype > QA_DTYPE_BF16 && !is_whole(tensor->dtype)) {
        return QA_OK;
    }
    it->values = qa_alloc_array(tensor->count, sizeof *it->values);
    if (it->values == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for %.100s", tensor->name);
    }
    if (!is_whole(tensor->dtype)) {
        return qa_tensor_read_double(file, tensor, false, it->values, err);
    }
    int64_t *ids = qa_alloc_array(tensor->count, sizeof *ids);
    if (ids == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for %.100s", tensor->name);
    }
    const qa_status status = qa_tensor_read_int64(file, tensor, ids, err);
    for (size_t i = 0; status == QA_OK && i < tensor->count; i++) {
        it->values[i] = (double)ids[i];
    }
    free(ids);
    return status;
}

static int by_order(const void *a, const void *b) {
    const given *x = a, *y = b;
    return x->order != y->order ? (x->order < y->order ? -1 : 1) : strcmp(x->name, y->name);
}

static qa_status read_candidate(candidate *c, const qa_golden_bundle *bundle, const char *path, qa_error *err) {
    QA_TRY(qa_safetensors_open(&c->file, path, err));
    const size_t n = qa_safetensors_count(c->file);
    if (n == 0) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: no tensors; expected some of a golden bundle's names", path);
    }
    c->tensors = qa_alloc_array(n, sizeof *c->tensors);
    if (c->tensors == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for the candidate");
    }
    for (; c->n < n; c->n++) {
        given *it = &c->tensors[c->n];
        it->tensor = qa_safetensors_at(c->file, c->n);
        (void)snprintf(it->name, sizeof it->name, "%s%.160s",
                       strncmp(it->tensor->name, "layer", 5) == 0 ? "pair0.chosen.adapted." : "", it->tensor->name);
        const qa_golden_tensor *expected = qa_golden_set_find(&bundle->golden, it->name);
        it->order = expected == NULL ? bundle->golden.n : (size_t)(expected - bundle->golden.tensors);
        QA_TRY(read_values(it, c->file, err));
    }
    qsort(c->tensors, c->n, sizeof *c->tensors, by_order);
    return QA_OK;
}

static void free_candidate(candidate *c) {
    for (size_t i = 0; c->tensors != NULL && i < c->n; i++) {
        free(c->tensors[i].values);
    }
    if (c->tensors != NULL && c->n < qa_safetensors_count(c->file)) {
        free(c->tensors[c->n].values); /* the one whose reading failed */
    }
    free(c->tensors);
    qa_safetensors_close(c->file);
}

/* ---- comparing ---- */

static void shape_text(char *text, size_t bytes, size_t n_dims, const size_t *shape) {
    size_t used = (size_t)snprintf(text, bytes, "[");
    for (size_t i = 0; i < n_dims && used < bytes; i++) {
        used += (size_t)snprintf(text + used, bytes - used, "%s%zu", i == 0 ? "" : ", ", shape[i]);
    }
    if (used < bytes) {
        (void)snprintf(text + used, bytes - used, "]");
    }
}

static void index_text(char *text, size_t bytes, const qa_golden_tensor *tensor, size_t index) {
    size_t at[QA_GOLDEN_DIMS] = {index, 0};
    text[0] = '\0';
    if (tensor->n_dims == 2) {
        at[0] = index / tensor->shape[1];
        at[1] = index % tensor->shape[1];
    }
    if (tensor->n_dims > 0) {
        shape_text(text, bytes, tensor->n_dims, at);
    }
}

static bool same_shape(const qa_tensor *got, const qa_golden_tensor *expected) {
    return got->n_dims == expected->n_dims &&
           memcmp(got->shape, expected->shape, expected->n_dims * sizeof *got->shape) == 0;
}

static double largest(const qa_golden_tensor *tensor) {
    double max = 0.0;
    for (size_t i = 0; i < tensor->count; i++) {
        max = fmax(max, fabs(tensor->values[i]));
    }
    return max;
}

static qa_golden_tolerance tolerance_of(const qa_golden_bundle *bundle, qa_dtype dtype, qa_golden_kind kind,
                                        qa_golden_override override) {
    if (kind == QA_GOLDEN_IDS) {
        return (qa_golden_tolerance){0.0, 0.0};
    }
    qa_golden_tolerance tolerance = bundle->tolerances.at[dtype <= QA_DTYPE_BF16 ? dtype : QA_DTYPE_F64][kind];
    if (override.relative >= 0.0 || override.absolute >= 0.0) {
        tolerance = (qa_golden_tolerance){fmax(override.relative, 0.0), fmax(override.absolute, 0.0)};
    }
    return tolerance;
}

/* Fills everything but the name. */
static void compare(qa_golden_result *result, const given *it, const qa_golden_tensor *expected,
                    qa_golden_tolerance tolerance) {
    const qa_tensor *got = it->tensor;
    const double scale = largest(expected);
    size_t worst = 0;
    result->dtype = got->dtype;
    result->limit = tolerance.relative * scale + tolerance.absolute;
    shape_text(result->shape, sizeof result->shape, got->n_dims, got->shape);
    shape_text(result->expected_shape, sizeof result->expected_shape, expected->n_dims, expected->shape);
    if (it->values == NULL || (is_whole(got->dtype) && expected->kind != QA_GOLDEN_IDS)) {
        result->verdict = QA_VERDICT_DTYPE;
        return;
    }
    if (!same_shape(got, expected)) {
        result->verdict = QA_VERDICT_SHAPE;
        return;
    }
    for (size_t i = 0; i < expected->count; i++) {
        const double error = fabs(it->values[i] - expected->values[i]);
        if (!isfinite(it->values[i])) {
            result->verdict = QA_VERDICT_NOT_FINITE;
            worst = i;
            result->absolute = result->relative = INFINITY;
            break;
        }
        if (error > result->absolute) {
            result->absolute = error;
            worst = i;
        }
    }
    if (result->verdict == QA_VERDICT_OK) {
        result->relative = scale > 0.0 ? result->absolute / scale : 0.0;
        result->verdict = result->absolute <= result->limit ? QA_VERDICT_OK : QA_VERDICT_DEPARTS;
    }
    if (expected->count > 0) {
        result->got = it->values[worst];
        result->expected = expected->values[worst];
        index_text(result->where, sizeof result->where, expected, worst);
    }
}

static bool within(const given *it, const qa_golden_tensor *expected, const qa_golden_bundle *bundle,
                   qa_golden_override override) {
    qa_golden_result result = {.verdict = QA_VERDICT_OK};
    if (expected == NULL) {
        return false;
    }
    compare(&result, it, expected, tolerance_of(bundle, it->tensor->dtype, expected->kind, override));
    return result.verdict == QA_VERDICT_OK;
}

/* Whether a tensor is what the trial gives. Where the trial counts other transitions, a list of the right ones is no
 * contradiction: many programs compute all rewards and mask only their sum. */
static bool matches(const given *it, const qa_golden_set *set, const qa_golden_trial *trial,
                    const qa_golden_bundle *bundle, qa_golden_override override) {
    const qa_golden_tensor *expected = qa_golden_set_find(set, it->name);
    const bool list = expected != NULL && (expected->kind == QA_GOLDEN_REWARD || expected->kind == QA_GOLDEN_LOG_PI);
    const bool counts = trial->variant.mask != QA_MASK_RIGHT || trial->variant.pad != QA_PAD_RIGHT;
    return within(it, expected, bundle, override) ||
           (list && counts && within(it, qa_golden_set_find(&bundle->golden, it->name), bundle, override));
}

/* ---- diagnosis ---- */

/* How far a trial explains the candidate: tensors in forward order, up to the first that it does not. */
typedef struct diagnosis {
    const char *texts[QA_MISTAKES]; /* of the trials that get furthest, one for each mistake */
    size_t n;
    unsigned mistakes;
    size_t reach;
} diagnosis;

static void note(diagnosis *best, const qa_golden_trial *trial, size_t reach) {
    const unsigned bit = 1u << (unsigned)trial->mistake;
    if (reach > best->reach) {
        *best = (diagnosis){.reach = reach};
    }
    if (reach == best->reach && (best->mistakes & bit) == 0) {
        best->texts[best->n++] = trial->text;
        best->mistakes |= bit;
    }
}

/* first: the first departure; known: how many of the candidate's tensors the bundle has. */
static qa_status diagnose(diagnosis *best, const candidate *c, const qa_golden_bundle *bundle, size_t first,
                          size_t known, qa_golden_override override, qa_error *err) {
    bool gradients = false, steps = false;
    for (size_t i = 0; i < known; i++) {
        gradients = gradients || strncmp(c->tensors[i].name, "grad", 4) == 0;
        steps = steps || strncmp(c->tensors[i].name, "step", 4) == 0;
    }
    for (size_t number = 0; number < qa_golden_trials(); number++) {
        qa_golden_trial trial;
        qa_golden_set set = {0};
        if (!qa_golden_trial_make(&trial, number, bundle)) {
            continue;
        }
        const qa_status status = qa_golden_trial_run(&set, bundle, &trial, gradients, steps, err);
        size_t reach = 0;
        while (status == QA_OK && reach < known && matches(&c->tensors[reach], &set, &trial, bundle, override)) {
            reach++;
        }
        qa_golden_set_free(&set);
        if (status == QA_ERR_NAN) {
            continue; /* the mistake does not even give numbers here */
        }
        QA_TRY(status);
        if (reach > first) {
            note(best, &trial, reach);
        }
    }
    return QA_OK;
}

static void say(qa_golden_report *report, const char *format, ...) QA_PRINTF(2, 3);

static void say(qa_golden_report *report, const char *format, ...) {
    const size_t used = strlen(report->sentence);
    va_list args;
    va_start(args, format);
    const qa_c_locale before = qa_c_locale_enter();
    (void)vsnprintf(report->sentence + used, sizeof report->sentence - used, format, args);
    qa_c_locale_leave(before);
    va_end(args);
}

static void say_first(qa_golden_report *report) {
    const qa_golden_result *it = &report->results[report->first];
    say(report, "The first tensor that departs is %s", it->name);
    switch (it->verdict) {
    case QA_VERDICT_DEPARTS:
        say(report, "%s%s: %.9g where %.9g is expected", it->where[0] == '\0' ? "" : " at ", it->where, it->got,
            it->expected);
        break;
    case QA_VERDICT_NOT_FINITE: say(report, " at %s: it is %g", it->where, it->got); break;
    case QA_VERDICT_SHAPE: say(report, ": shape %s where %s is expected", it->shape, it->expected_shape); break;
    case QA_VERDICT_DTYPE:
        say(report, ": dtype %s, but numbers must be F64, F32, F16 or BF16 (input_ids: also I64 or I32)",
            qa_dtype_name(it->dtype));
        break;
    case QA_VERDICT_UNKNOWN: say(report, ": the bundle has no tensor of that name"); break;
    case QA_VERDICT_OK: break;
    }
}

static void say_diagnosis(qa_golden_report *report, const diagnosis *best, size_t known) {
    const bool whole = best->reach == known;
    if (best->n == 0) {
        say(report, ". None of the known mistakes makes these numbers");
        if (report->first > 0) {
            say(report, "; look between it and %s, which agrees", report->results[report->first - 1].name);
        }
        say(report, ".");
        return;
    }
    say(report, ". %s exactly what comes out when ",
        whole ? "Everything given is" : "This, and what follows up to the next surprise, is");
    for (size_t i = 0; i < best->n; i++) {
        say(report, "%s%s", i == 0 ? "" : "; or, which gives the same numbers here, when ", best->texts[i]);
    }
    say(report, ".");
    if (!whole) {
        say(report, " But %s is not explained by that: there is a second mistake, or another one.",
            report->results[best->reach].name);
    }
}

/* ---- the report ---- */

static qa_status list_missing(qa_golden_report *report, const candidate *c, const qa_golden_bundle *bundle,
                              qa_error *err) {
    const size_t n = bundle->golden.n;
    bool *there = qa_alloc_array(n, sizeof *there);
    report->missing = qa_alloc_array(n, sizeof *report->missing);
    if (there == NULL || report->missing == NULL) {
        free(there);
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for a report");
    }
    for (size_t i = 0; i < c->n; i++) {
        if (c->tensors[i].order < n) {
            there[c->tensors[i].order] = true;
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (!there[i]) {
            report->missing[report->n_missing++] = bundle->golden.tensors[i].name;
        }
    }
    free(there);
    return QA_OK;
}

static qa_status compare_all(qa_golden_report *report, const candidate *c, const qa_golden_bundle *bundle,
                             size_t *known, qa_golden_override override, qa_error *err) {
    report->results = qa_alloc_array(c->n, sizeof *report->results);
    if (report->results == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for a report");
    }
    report->n = report->first = c->n;
    *known = 0;
    for (size_t i = 0; i < c->n; i++) {
        const given *it = &c->tensors[i];
        qa_golden_result *result = &report->results[i];
        (void)snprintf(result->name, sizeof result->name, "%s", it->name);
        for (char *at = result->name; *at != '\0'; at++) { /* a name from a file, on its way to a terminal */
            *at = (unsigned char)*at < ' ' || *at == 0x7f ? '?' : *at;
        }
        if (it->order == bundle->golden.n) {
            result->verdict = QA_VERDICT_UNKNOWN;
            result->dtype = it->tensor->dtype;
        } else {
            const qa_golden_tensor *expected = &bundle->golden.tensors[it->order];
            compare(result, it, expected, tolerance_of(bundle, it->tensor->dtype, expected->kind, override));
            *known = i + 1;
        }
        if (result->verdict != QA_VERDICT_OK) {
            report->first = report->failures == 0 ? i : report->first;
            report->failures++;
        }
    }
    return QA_OK;
}

static qa_status make_report(qa_golden_report *report, const candidate *c, const qa_golden_bundle *bundle,
                             qa_golden_override override, qa_error *err) {
    size_t known = 0;
    diagnosis best = {.reach = 0};
    QA_TRY(compare_all(report, c, bundle, &known, override, err));
    QA_TRY(list_missing(report, c, bundle, err));
    if (report->failures == 0) {
        say(report, "Every tensor given is within tolerance.");
        return QA_OK;
    }
    const qa_golden_verdict verdict = report->results[report->first].verdict;
    say_first(report);
    if (verdict != QA_VERDICT_DEPARTS && verdict != QA_VERDICT_SHAPE) {
        say(report, ".");
        return QA_OK;
    }
    QA_TRY(diagnose(&best, c, bundle, report->first, known, override, err));
    say_diagnosis(report, &best, known);
    report->explained = best.reach == known ? best.mistakes : 0;
    report->partly = best.reach == known ? 0 : best.mistakes;
    return QA_OK;
}

qa_status qa_golden_check(qa_golden_report *report, const qa_golden_bundle *bundle, const char *path,
                          qa_golden_override override, qa_error *err) {
    candidate c = {0};
    memset(report, 0, sizeof *report);
    qa_status status = read_candidate(&c, bundle, path, err);
    if (status == QA_OK) {
        status = make_report(report, &c, bundle, override, err);
    }
    free_candidate(&c);
    if (status != QA_OK) {
        qa_golden_report_free(report);
    }
    return status;
}

void qa_golden_report_free(qa_golden_report *report) {
    free(report->results);
    free((void *)report->missing);
    memset(report, 0, sizeof *report);
}
