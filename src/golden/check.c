/* See check.h. A candidate is compared with the bundle, tensor by tensor in forward order. Where it departs,
 * every known mistake is made on the bundle's inputs and the candidate compared with what comes out: a mistake that
 * reproduces all of the candidate's numbers explains them. */
#include "golden/check.h"

#include "base/c_locale.h"
#include "base/memory.h"
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
    QA_TRY(QA_NEW(it->values, tensor->count, err, "%.100s", tensor->name));
    if (!is_whole(tensor->dtype)) {
        return qa_tensor_read_double(file, tensor, false, it->values, err);
    }
    int64_t *ids = NULL;
    QA_TRY(QA_NEW(ids, tensor->count, err, "%.100s", tensor->name));
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
    QA_TRY(QA_NEW(c->tensors, n, err, "the candidate"));
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

/* A stepped tensor's largest error tells little: an element whose gradient is nearly 0 may go either way. Most elements
 * know their gradient, and with it their step, far better than the learning rate is long; so of all elements at least
 * nine in ten are within this part of it per step, and the rounding of what is stored. */
static const double BULK_F32 = 1e-3, BULK_F64 = 1e-7;
enum { STRAYS = 10 /* one element in so many may be beyond */ };

/* What an element of stepped tensors may be off by beside its own rounding; 0: no such limit. */
static double bulk_limit(const qa_golden_bundle *bundle, qa_dtype dtype, const qa_golden_tensor *expected,
                         qa_golden_override override) {
    if (expected->kind != QA_GOLDEN_STEP || override.relative >= 0.0 || override.absolute >= 0.0) {
        return 0.0;
    }
    const double steps = (double)strtoul(expected->name + strlen("step"), NULL, 10);
    return (dtype == QA_DTYPE_F64 ? BULK_F64 : BULK_F32) * bundle->options.learning_rate * steps;
}

static double rounding_of(qa_dtype dtype, double value) {
    switch (dtype) {
    case QA_DTYPE_BF16: return 0x1p-8 * fabs(value);
    case QA_DTYPE_F16: return 0x1p-10 * fabs(value) + 0x1p-24;
    case QA_DTYPE_F64: return 0x1p-50 * fabs(value);
    default: return 0x1p-22 * fabs(value);
    }
}

/* More elements than one in STRAYS beyond the limit: the least of those is reported. */
static void compare_bulk(qa_golden_result *result, const given *it, const qa_golden_tensor *expected, double limit) {
    size_t beyond = 0, least = 0;
    double least_error = INFINITY;
    for (size_t i = 0; i < expected->count; i++) {
        const double error = fabs(it->values[i] - expected->values[i]);
        if (error > limit + rounding_of(it->tensor->dtype, expected->values[i])) {
            beyond++;
            least = error < least_error ? i : least;
            least_error = fmin(error, least_error);
        }
    }
    if (beyond * STRAYS > expected->count) {
        const double scale = largest(expected);
        result->verdict = QA_VERDICT_DEPARTS;
        result->absolute = least_error;
        result->relative = scale > 0.0 ? least_error / scale : 0.0;
        result->limit = limit + rounding_of(it->tensor->dtype, expected->values[least]);
        result->got = it->values[least];
        result->expected = expected->values[least];
        index_text(result->where, sizeof result->where, expected, least);
    }
}

/* Fills everything but the name; bulk: a limit for most elements, or 0. */
static void compare(qa_golden_result *result, const given *it, const qa_golden_tensor *expected,
                    qa_golden_tolerance tolerance, double bulk) {
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
    if (result->verdict == QA_VERDICT_OK && bulk > 0.0) {
        compare_bulk(result, it, expected, bulk);
    }
}

static bool within(const given *it, const qa_golden_tensor *expected, const qa_golden_bundle *bundle,
                   qa_golden_override override) {
    qa_golden_result result = {.verdict = QA_VERDICT_OK};
    if (expected == NULL) {
        return false;
    }
    compare(&result, it, expected, tolerance_of(bundle, it->tensor->dtype, expected->kind, override),
            bulk_limit(bundle, it->tensor->dtype, expected, override));
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
    const char *rate_text; /* of a wrong learning rate, else NULL */
    double rate;           /* ... what it is multiplied by */
} diagnosis;

static void note(diagnosis *best, const qa_golden_trial *trial, size_t reach) {
    const unsigned bit = 1u << (unsigned)trial->mistake;
    if (reach > best->reach) {
        *best = (diagnosis){.reach = reach};
    }
    if (reach == best->reach && (best->mistakes & bit) == 0) {
        best->texts[best->n++] = trial->text;
        best->mistakes |= bit;
        if (trial->variant.optimiser.rate_excess != 0.0) {
            best->rate = 1.0 + trial->variant.optimiser.rate_excess;
            best->rate_text = trial->text;
        }
    }
}

static bool is_step(const given *it) { return strncmp(it->name, "step", strlen("step")) == 0; }

/* The factor that makes the bundle's displacement after the first given step the candidate's, less 1; by least squares
 * over all of that step's tensors. */
static double rate_excess(const candidate *c, const qa_golden_bundle *bundle, size_t known) {
    double product = 0.0, square = 0.0;
    unsigned long step = 0;
    for (size_t i = 0; i < known; i++) {
        const given *it = &c->tensors[i];
        const qa_golden_tensor *expected = &bundle->golden.tensors[it->order];
        char *name = NULL;
        if (expected->kind != QA_GOLDEN_STEP || it->values == NULL || !same_shape(it->tensor, expected)) {
            continue;
        }
        const unsigned long its_step = strtoul(it->name + strlen("step"), &name, 10);
        step = step == 0 ? its_step : step;
        for (size_t t = 0; step == its_step && t < bundle->adapter->n_tensors; t++) {
            const qa_adapter_tensor *start = &bundle->adapter->tensors[t];
            if (strcmp(start->name, name + 1) == 0) {
                for (size_t j = 0; j < expected->count; j++) {
                    const double from = (double)bundle->adapter->parameters[start->offset + j];
                    product += (it->values[j] - from) * (expected->values[j] - from);
                    square += (expected->values[j] - from) * (expected->values[j] - from);
                }
            }
        }
    }
    return square > 0.0 ? product / square - 1.0 : 0.0;
}

/* Whether all of it is within what float32 leaves, though it was written in double. */
static bool is_single(const candidate *c, const qa_golden_bundle *bundle, size_t known) {
    const qa_golden_override none = {-1.0, -1.0};
    for (size_t i = 0; i < known; i++) {
        const given *it = &c->tensors[i];
        const qa_golden_tensor *expected = &bundle->golden.tensors[it->order];
        qa_golden_result result = {.verdict = QA_VERDICT_OK};
        compare(&result, it, expected, tolerance_of(bundle, QA_DTYPE_F32, expected->kind, none),
                bulk_limit(bundle, QA_DTYPE_F32, expected, none));
        if (result.verdict != QA_VERDICT_OK || (expected->kind != QA_GOLDEN_IDS && it->tensor->dtype != QA_DTYPE_F64)) {
            return false;
        }
    }
    return true;
}

/* The sum of squared errors, each over its tensor's size, of everything that comes before the gradients. */
static double distance(const candidate *c, const qa_golden_set *set, size_t known) {
    double sum = 0.0;
    for (size_t i = 0; i < known && strncmp(c->tensors[i].name, "grad", 4) != 0; i++) {
        const qa_golden_tensor *expected = qa_golden_set_find(set, c->tensors[i].name);
        const double scale = expected == NULL ? 0.0 : largest(expected);
        for (size_t j = 0; scale > 0.0 && j < expected->count; j++) {
            const double error = (c->tensors[i].values[j] - expected->values[j]) / scale;
            sum += error * error;
        }
    }
    return sum;
}

/* Another library's cosine has another last bit, so float32 tables never match to double precision: they are told by
 * taking much of the error away. */
static qa_status diagnose_single(diagnosis *best, const candidate *c, const qa_golden_bundle *bundle, size_t known,
                                 qa_error *err) {
    if (!is_single(c, bundle, known)) {
        return QA_OK;
    }
    qa_golden_trial trial;
    qa_golden_set set = {0};
    *best = (diagnosis){.reach = known};
    for (size_t number = 0; number < qa_golden_trials(); number++) {
        if (!qa_golden_trial_make(&trial, number, bundle) || trial.mistake != QA_MISTAKE_FLOAT32) {
            continue;
        }
        const qa_status status = qa_golden_trial_run(&set, bundle, &trial, false, false, err);
        if (status == QA_OK && distance(c, &set, known) >= 0.6 * distance(c, &bundle->golden, known)) {
            trial.text =
                "a part of the computation runs in single precision (in transformers the norms, the softmax and "
                "RoPE's tables do by themselves)";
        }
        qa_golden_set_free(&set);
        QA_TRY(status);
        note(best, &trial, known);
    }
    return QA_OK;
}

/* first: the first departure; known: how many of the candidate's tensors the bundle has. */
static qa_status diagnose(diagnosis *best, const candidate *c, const qa_golden_bundle *bundle, size_t first,
                          size_t known, qa_golden_override override, qa_error *err) {
    bool gradients = false, steps = false;
    for (size_t i = 0; i < known; i++) {
        gradients = gradients || strncmp(c->tensors[i].name, "grad", 4) == 0;
        steps = steps || is_step(&c->tensors[i]);
    }
    for (size_t number = 0; number < qa_golden_trials(); number++) {
        qa_golden_trial trial;
        qa_golden_set set = {0};
        if (!qa_golden_trial_make(&trial, number, bundle) ||
            (trial.optimiser && (!steps || !is_step(&c->tensors[first])))) {
            continue;
        }
        if (trial.mistake == QA_MISTAKE_LEARNING_RATE && !trial.variant.optimiser.rate_falls) {
            trial.variant.optimiser.rate_excess = rate_excess(c, bundle, known);
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
    return best->reach < known ? diagnose_single(best, c, bundle, known, err) : QA_OK;
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

static bool is_gradient(const qa_golden_result *it) { return strncmp(it->name, "grad.", strlen("grad.")) == 0; }

static long layer_of(const qa_golden_result *it) {
    const char *at = strstr(it->name, ".layers.");
    return at == NULL ? -1 : strtol(at + strlen(".layers."), NULL, 10);
}

/* Gradients are computed from the last layer to the first: where they are what departs first, the fault is in the last
 * layer whose gradient departs. */
static size_t blamed(const qa_golden_report *report) {
    size_t best = report->first;
    for (size_t i = report->first; i < report->n && is_gradient(&report->results[i]); i++) {
        if (report->results[i].verdict != QA_VERDICT_OK &&
            layer_of(&report->results[i]) >= layer_of(&report->results[best])) {
            best = i;
        }
    }
    return best;
}

/* What was computed before the blamed tensor, and last of what agrees; NULL: nothing. */
static const char *agrees_before(const qa_golden_report *report) {
    const qa_golden_result *it = &report->results[report->first], *forward = NULL, *backward = NULL;
    for (size_t i = 0; i < report->n; i++) {
        const qa_golden_result *other = &report->results[i];
        if (other->verdict != QA_VERDICT_OK) {
            continue;
        }
        if (is_gradient(it) && is_gradient(other)) {
            const bool later = layer_of(other) > layer_of(it);
            backward = later && (backward == NULL || layer_of(other) <= layer_of(backward)) ? other : backward;
        } else if (i < report->first) {
            forward = other;
        }
    }
    return backward != NULL ? backward->name : forward != NULL ? forward->name : NULL;
}

static void say_first(qa_golden_report *report) {
    const qa_golden_result *it = &report->results[report->first];
    say(report,
        is_gradient(it) ? "The first tensor that departs, in the order of the backward pass, is %s"
                        : "The first tensor that departs is %s",
        it->name);
    switch (it->verdict) {
    case QA_VERDICT_DEPARTS:
        say(report, "%s%s: %.9g where %.9g is expected", it->where[0] == '\0' ? "" : " at ", it->where, it->got,
            it->expected);
        break;
    case QA_VERDICT_NOT_FINITE:
        say(report, "%s%s: it is %g", it->where[0] == '\0' ? "" : " at ", it->where, it->got);
        break;
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
        if (agrees_before(report) != NULL) {
            say(report, "; look between it and %s, which agrees", agrees_before(report));
        }
        say(report, ".");
        return;
    }
    say(report, ". %s exactly what comes out when ",
        whole ? "Everything given is" : "This, and what follows up to the next surprise, is");
    for (size_t i = 0; i < best->n; i++) {
        say(report, "%s%s", i == 0 ? "" : "; or, which gives the same numbers here, when ", best->texts[i]);
        if (best->texts[i] == best->rate_text) {
            say(report, " (%.6g times the right one)", best->rate);
        }
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
        return QA_NO_MEMORY(err, "a report");
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
    QA_TRY(QA_NEW(report->results, c->n, err, "a report"));
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
            compare(result, it, expected, tolerance_of(bundle, it->tensor->dtype, expected->kind, override),
                    bulk_limit(bundle, it->tensor->dtype, expected, override));
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
    const size_t first = report->first;
    report->first = blamed(report);
    const qa_golden_verdict verdict = report->results[report->first].verdict;
    say_first(report);
    if (verdict != QA_VERDICT_DEPARTS && verdict != QA_VERDICT_SHAPE) {
        say(report, ".");
        return QA_OK;
    }
    QA_TRY(diagnose(&best, c, bundle, first, known, override, err));
    say_diagnosis(report, &best, known);
    report->explained = best.reach == known ? best.mistakes : 0;
    report->partly = best.reach == known ? 0 : best.mistakes;
    return QA_OK;
}

qa_status qa_golden_check(qa_golden_report *report, const qa_golden_bundle *bundle, const char *path,
                          qa_golden_override override, qa_error *err) {
    candidate c = {0};
    memset(report, 0, sizeof *report);
    const qa_golden_tolerance tolerance = {override.relative, override.absolute};
    QA_TRY(qa_golden_tolerance_check(&tolerance, &bundle->golden, 1e6, err));
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
