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
    static const char *const names[] = {"ok",           "DEPARTS",    "NOT FINITE",  "WRONG SHAPE", "WRONG DTYPE",
                                        "UNKNOWN NAME", "WRONG TYPE", "GIVEN TWICE", "UNREADABLE"};
    return names[verdict];
}

/* ---- the candidate ---- */

/* A tensor that another implementation wrote. */
typedef struct given_tensor {
    char name[QA_GOLDEN_NAME_BYTES]; /* the bundle's name for it */
    const qa_tensor *tensor;
    double *values; /* [tensor->count]; NULL: a dtype that candidates may not have */
    size_t order;   /* index in the bundle; the bundle's n when it is not there */
} given_tensor;

typedef struct golden_candidate {
    const qa_golden_bundle *bundle;
    qa_golden_tolerance override; /* negative members: not given */
    qa_safetensors *file;
    given_tensor *tensors; /* [n] in forward order */
    size_t n, known;       /* known to the bundle: the first ones */
} golden_candidate;

static bool is_whole(qa_dtype dtype) { return dtype == QA_DTYPE_I64 || dtype == QA_DTYPE_I32; }

static qa_status read_values(given_tensor *given, const qa_safetensors *file, qa_error *err) {
    const qa_tensor *tensor = given->tensor;
    if (tensor->dtype > QA_DTYPE_BF16 && !is_whole(tensor->dtype)) {
        return QA_OK;
    }
    QA_TRY(QA_NEW(given->values, tensor->count, err, "%.100s", tensor->name));
    return is_whole(tensor->dtype) ? qa_golden_read_ids(given->values, file, tensor, err)
                                   : qa_tensor_read_double(file, tensor, false, given->values, err);
}

static int by_order(const void *a, const void *b) {
    const given_tensor *x = a, *y = b;
    return x->order != y->order ? (x->order < y->order ? -1 : 1) : strcmp(x->name, y->name);
}

static qa_status read_candidate(golden_candidate *c, const char *path, qa_error *err) {
    const qa_golden_set *golden = &c->bundle->golden;
    QA_TRY(qa_safetensors_open(&c->file, path, err));
    const size_t n = qa_safetensors_count(c->file);
    QA_FAIL_IF(n == 0, err, QA_ERR_FORMAT, "%s: no tensors; expected some of a golden bundle's names", path);
    QA_TRY(QA_NEW(c->tensors, n, err, "the candidate"));
    while (c->n < n) {
        given_tensor *given = &c->tensors[c->n];
        given->tensor = qa_safetensors_at(c->file, c->n++);
        (void)snprintf(given->name, sizeof given->name, "%s%.160s",
                       strncmp(given->tensor->name, "layer", 5) == 0 ? "pair0.chosen.adapted." : "",
                       given->tensor->name);
        const qa_golden_tensor *expected = qa_golden_set_find(golden, given->name);
        given->order = expected == NULL ? golden->n : (size_t)(expected - golden->tensors);
        c->known += expected == NULL ? 0 : 1;
        QA_TRY(read_values(given, c->file, err));
    }
    qsort(c->tensors, c->n, sizeof *c->tensors, by_order);
    return QA_OK;
}

static void free_candidate(golden_candidate *c) {
    for (size_t i = 0; i < c->n; i++) {
        free(c->tensors[i].values);
    }
    free(c->tensors);
    qa_safetensors_close(c->file);
}

/* ---- comparing ---- */

void qa_golden_numbers_text(char *text, size_t bytes, size_t n_dims, const size_t *shape) {
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
        qa_golden_numbers_text(text, bytes, tensor->n_dims, at);
    }
}

static bool same_shape(const qa_tensor *got, const qa_golden_tensor *expected) {
    return got->n_dims == expected->n_dims &&
           memcmp(got->shape, expected->shape, expected->n_dims * sizeof *got->shape) == 0;
}

static bool is_override(qa_golden_tolerance override) { return override.relative >= 0.0 || override.absolute >= 0.0; }

static qa_golden_tolerance tolerance_of(const golden_candidate *c, qa_dtype dtype, qa_golden_kind kind) {
    if (kind == QA_GOLDEN_IDS) {
        return (qa_golden_tolerance){0.0, 0.0};
    }
    return is_override(c->override)
               ? (qa_golden_tolerance){fmax(c->override.relative, 0.0), fmax(c->override.absolute, 0.0)}
               : c->bundle->tolerances.at[dtype <= QA_DTYPE_BF16 ? dtype : QA_DTYPE_F64][kind];
}

/* A stepped tensor's largest error says little: an element whose gradient is nearly 0 may go either way. Most elements
 * know their gradient, and with it their step, far better than the learning rate is long; so of all elements at least
 * nine in ten are within this part of it per step, and the rounding of what is stored. */
static const double BULK_F32 = 1e-3, BULK_F64 = 1e-7;
enum { STRAYS = 10 /* one element in so many may be beyond */ };

/* What an element of stepped tensors may be off by beside its own rounding; 0: no such limit. */
static double bulk_limit(const golden_candidate *c, qa_dtype dtype, const qa_golden_tensor *expected) {
    if (expected->kind != QA_GOLDEN_STEP || is_override(c->override)) {
        return 0.0;
    }
    const double steps = (double)strtoul(expected->name + strlen("step"), NULL, 10);
    return (dtype == QA_DTYPE_F64 ? BULK_F64 : BULK_F32) * c->bundle->options.learning_rate * steps;
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
static void compare_bulk(qa_golden_result *result, const given_tensor *given, const qa_golden_tensor *expected,
                         double limit) {
    size_t beyond = 0, least = 0;
    double least_error = INFINITY;
    for (size_t i = 0; i < expected->count; i++) {
        const double error = fabs(given->values[i] - expected->values[i]);
        if (error > limit + rounding_of(given->tensor->dtype, expected->values[i])) {
            beyond++;
            least = error < least_error ? i : least;
            least_error = fmin(error, least_error);
        }
    }
    if (beyond * STRAYS > expected->count) {
        const double scale = qa_golden_largest(expected);
        result->verdict = QA_VERDICT_DEPARTS;
        result->absolute = least_error;
        result->relative = scale > 0.0 ? least_error / scale : 0.0;
        result->limit = limit + rounding_of(given->tensor->dtype, expected->values[least]);
        result->got = given->values[least];
        result->expected = expected->values[least];
        index_text(result->where, sizeof result->where, expected, least);
    }
}

/* Fills everything but the name; by the tolerances for numbers that are stored in dtype. */
static void compare_tensor(qa_golden_result *result, const golden_candidate *c, const given_tensor *given,
                           const qa_golden_tensor *expected, qa_dtype dtype) {
    const qa_golden_tolerance tolerance = tolerance_of(c, dtype, expected->kind);
    const double bulk = bulk_limit(c, dtype, expected);
    const qa_tensor *got = given->tensor;
    const double scale = qa_golden_largest(expected);
    size_t worst = 0;
    result->dtype = got->dtype;
    result->limit = tolerance.relative * scale + tolerance.absolute;
    qa_golden_numbers_text(result->shape, sizeof result->shape, got->n_dims, got->shape);
    qa_golden_numbers_text(result->expected_shape, sizeof result->expected_shape, expected->n_dims, expected->shape);
    if (given->values == NULL || (is_whole(got->dtype) && expected->kind != QA_GOLDEN_IDS)) {
        result->verdict = QA_VERDICT_DTYPE;
        return;
    }
    if (!same_shape(got, expected)) {
        result->verdict = QA_VERDICT_SHAPE;
        return;
    }
    for (size_t i = 0; i < expected->count; i++) {
        const double error = fabs(given->values[i] - expected->values[i]);
        if (!isfinite(given->values[i])) {
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
        result->got = given->values[worst];
        result->expected = expected->values[worst];
        index_text(result->where, sizeof result->where, expected, worst);
    }
    if (result->verdict == QA_VERDICT_OK && bulk > 0.0) {
        compare_bulk(result, given, expected, bulk);
    }
}

static bool within(const golden_candidate *c, const given_tensor *given, const qa_golden_tensor *expected,
                   qa_dtype dtype) {
    qa_golden_result result = {.verdict = QA_VERDICT_OK};
    if (expected != NULL) {
        compare_tensor(&result, c, given, expected, dtype);
    }
    return expected != NULL && result.verdict == QA_VERDICT_OK;
}

/* Whether a tensor is what the trial gives. Where the trial counts other transitions, a list of the right ones is no
 * contradiction: many programs compute all rewards and mask only their sum. */
static bool matches(const golden_candidate *c, const given_tensor *given, const qa_golden_set *set,
                    const qa_golden_trial *trial) {
    const qa_golden_tensor *expected = qa_golden_set_find(set, given->name);
    const bool list = expected != NULL && (expected->kind == QA_GOLDEN_REWARD || expected->kind == QA_GOLDEN_LOG_PI);
    const bool counts = trial->mistake == QA_MISTAKE_MASK || trial->mistake == QA_MISTAKE_PAD;
    return within(c, given, expected, given->tensor->dtype) ||
           (list && counts && within(c, given, &c->bundle->golden.tensors[given->order], given->tensor->dtype));
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

static void note_reach(diagnosis *best, const qa_golden_trial *trial, size_t reach) {
    const unsigned bit = 1u << (unsigned)trial->mistake;
    if (reach > best->reach) {
        *best = (diagnosis){.reach = reach};
    }
    if (reach == best->reach && (best->mistakes & bit) == 0) {
        best->texts[best->n++] = trial->text;
        best->mistakes |= bit;
        if ((trial->needs & QA_TRIAL_ANY_FACTOR) != 0) {
            best->rate = trial->number;
            best->rate_text = trial->text;
        }
    }
}

static bool is_step(const given_tensor *given) { return strncmp(given->name, "step", strlen("step")) == 0; }

/* The factor that makes the bundle's displacement after the first given step the candidate's, by least squares
 * over all of that step's tensors. */
static double rate_factor(const golden_candidate *c) {
    const qa_golden_bundle *bundle = c->bundle;
    double product = 0.0, square = 0.0;
    unsigned long step = 0;
    for (size_t i = 0; i < c->known; i++) {
        const given_tensor *given = &c->tensors[i];
        const qa_golden_tensor *expected = &bundle->golden.tensors[given->order];
        char *name = NULL;
        if (expected->kind != QA_GOLDEN_STEP || given->values == NULL || !same_shape(given->tensor, expected)) {
            continue;
        }
        const unsigned long its_step = strtoul(given->name + strlen("step"), &name, 10);
        step = step == 0 ? its_step : step;
        for (size_t t = 0; step == its_step && t < bundle->adapter->n_tensors; t++) {
            const qa_adapter_tensor *start = &bundle->adapter->tensors[t];
            if (strcmp(start->name, name + 1) == 0) {
                for (size_t j = 0; j < expected->count; j++) {
                    const double from = (double)bundle->adapter->parameters[start->offset + j];
                    product += (given->values[j] - from) * (expected->values[j] - from);
                    square += (expected->values[j] - from) * (expected->values[j] - from);
                }
            }
        }
    }
    return square > 0.0 ? product / square : 1.0;
}

/* Whether all of it is within what float32 leaves, though it was written in double. */
static bool is_single(const golden_candidate *c) {
    golden_candidate own = *c;
    own.override = (qa_golden_tolerance){-1.0, -1.0};
    for (size_t i = 0; i < c->known; i++) {
        const given_tensor *given = &c->tensors[i];
        const qa_golden_tensor *expected = &c->bundle->golden.tensors[given->order];
        if (!within(&own, given, expected, QA_DTYPE_F32) ||
            (expected->kind != QA_GOLDEN_IDS && given->tensor->dtype != QA_DTYPE_F64)) {
            return false;
        }
    }
    return true;
}

/* Another library's cosine has another last bit here and there, so float32 tables never match to double precision. But
 * of the elements that depart from the bundle, they bring many to within a tenth of the departure: where their own
 * errors have nothing to do with the candidate's, that is at most one in 31. */
static bool brings_nearer(const golden_candidate *c, const qa_golden_set *trial) {
    size_t departing = 0, near = 0;
    for (size_t i = 0; i < c->known && strncmp(c->tensors[i].name, "grad", 4) != 0; i++) {
        const qa_golden_tensor *right = &c->bundle->golden.tensors[c->tensors[i].order];
        const qa_golden_tensor *wrong = qa_golden_set_find(trial, right->name);
        const double noise = 1e-12 * qa_golden_largest(right);
        for (size_t j = 0; wrong != NULL && j < right->count; j++) {
            const double value = c->tensors[i].values[j], departure = fabs(value - right->values[j]);
            departing += departure > noise ? 1 : 0;
            near += departure > noise && fabs(value - wrong->values[j]) < 0.1 * departure ? 1 : 0;
        }
    }
    return near * 16 > departing;
}

static qa_status diagnose_single(diagnosis *best, const golden_candidate *c, qa_error *err) {
    if (!is_single(c)) {
        return QA_OK;
    }
    *best = (diagnosis){.reach = c->known};
    for (size_t number = 0; number < qa_golden_trials(); number++) {
        qa_golden_trial trial;
        qa_golden_set set = {0};
        if (!qa_golden_trial_make(&trial, number, c->bundle) || trial.mistake != QA_MISTAKE_FLOAT32) {
            continue;
        }
        const qa_status status = qa_golden_trial_run(&set, c->bundle, &trial, false, 0, err);
        if (status == QA_OK && !brings_nearer(c, &set)) {
            trial.text =
                "a part of the computation runs in single precision (in transformers the norms, the softmax and "
                "RoPE's tables do by themselves)";
        }
        qa_golden_set_free(&set);
        QA_TRY(status);
        note_reach(best, &trial, c->known);
    }
    return QA_OK;
}

/* first: the first departure. */
static qa_status diagnose(diagnosis *best, const golden_candidate *c, size_t first, qa_error *err) {
    bool gradients = false;
    size_t steps = 0; /* the last one that is given: nothing behind it is asked for */
    for (size_t i = 0; i < c->known; i++) {
        const char *name = c->tensors[i].name;
        const size_t step = is_step(&c->tensors[i]) ? strtoul(name + strlen("step"), NULL, 10) : 0;
        gradients = gradients || strncmp(name, "grad", 4) == 0;
        steps = step > steps ? step : steps;
    }
    for (size_t number = 0; number < qa_golden_trials(); number++) {
        qa_golden_trial trial;
        qa_golden_set set = {0};
        if (!qa_golden_trial_make(&trial, number, c->bundle) ||
            ((trial.needs & QA_TRIAL_IN_STEPS) != 0 && !is_step(&c->tensors[first]))) {
            continue;
        }
        if ((trial.needs & QA_TRIAL_ANY_FACTOR) != 0) {
            trial.number = rate_factor(c);
        }
        const qa_status status = qa_golden_trial_run(&set, c->bundle, &trial, gradients, steps, err);
        size_t reach = 0;
        while (status == QA_OK && reach < c->known && matches(c, &c->tensors[reach], &set, &trial)) {
            reach++;
        }
        qa_golden_set_free(&set);
        if (status == QA_ERR_NAN) {
            continue; /* the mistake does not even give numbers here */
        }
        QA_TRY(status);
        if (reach > first) {
            note_reach(best, &trial, reach);
        }
    }
    return best->reach < c->known ? diagnose_single(best, c, err) : QA_OK;
}

static void say_more(qa_golden_report *report, const char *format, ...) QA_PRINTF(2, 3);

static void say_more(qa_golden_report *report, const char *format, ...) {
    const size_t used = strlen(report->sentence);
    va_list args;
    va_start(args, format);
    const qa_c_locale before = qa_c_locale_enter();
    (void)vsnprintf(report->sentence + used, sizeof report->sentence - used, format, args);
    qa_c_locale_leave(before);
    va_end(args);
}

static bool is_gradient(const qa_golden_result *result) { return strncmp(result->name, "grad.", strlen("grad.")) == 0; }

static long layer_of(const qa_golden_result *result) {
    const char *at = strstr(result->name, ".layers.");
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
    const qa_golden_result *result = &report->results[report->first], *forward = NULL, *backward = NULL;
    for (size_t i = 0; i < report->n; i++) {
        const qa_golden_result *other = &report->results[i];
        if (other->verdict != QA_VERDICT_OK) {
            continue;
        }
        if (is_gradient(result) && is_gradient(other)) {
            const bool later = layer_of(other) > layer_of(result);
            backward = later && (backward == NULL || layer_of(other) <= layer_of(backward)) ? other : backward;
        } else if (i < report->first) {
            forward = other;
        }
    }
    return backward != NULL ? backward->name : forward != NULL ? forward->name : NULL;
}

static void say_first(qa_golden_report *report) {
    const qa_golden_result *result = &report->results[report->first];
    say_more(report,
             is_gradient(result) ? "The first tensor that departs, in the order of the backward pass, is %s"
                                 : "The first tensor that departs is %s",
             result->name);
    switch (result->verdict) {
    case QA_VERDICT_DEPARTS:
        say_more(report, "%s%s: %.9g where %.9g is expected", result->where[0] == '\0' ? "" : " at ", result->where,
                 result->got, result->expected);
        break;
    case QA_VERDICT_NOT_FINITE:
        say_more(report, "%s%s: it is %g", result->where[0] == '\0' ? "" : " at ", result->where, result->got);
        break;
    case QA_VERDICT_SHAPE:
        say_more(report, ": shape %s where %s is expected", result->shape, result->expected_shape);
        break;
    case QA_VERDICT_DTYPE:
        say_more(report, ": dtype %s, but numbers must be F64, F32, F16 or BF16 (input_ids: also I64 or I32)",
                 qa_dtype_name(result->dtype));
        break;
    case QA_VERDICT_UNKNOWN: say_more(report, ": the bundle has no tensor of that name"); break;
    default: break;
    }
}

static void say_diagnosis(qa_golden_report *report, const diagnosis *best, size_t known) {
    const bool whole = best->reach == known;
    if (best->n == 0) {
        say_more(report, ". None of the known mistakes makes these numbers");
        if (agrees_before(report) != NULL) {
            say_more(report, "; look between it and %s, which agrees", agrees_before(report));
        }
        say_more(report, ".");
        return;
    }
    say_more(report, ". %s exactly what comes out when ",
             whole ? "Everything given is" : "This, and what follows up to the next surprise, is");
    for (size_t i = 0; i < best->n; i++) {
        say_more(report, "%s%s", i == 0 ? "" : "; or, which gives the same numbers here, when ", best->texts[i]);
        if (best->texts[i] == best->rate_text) {
            say_more(report, " (%.6g times the right one)", best->rate);
        }
    }
    say_more(report, ".");
    if (!whole) {
        say_more(report, " But %s is not explained by that: there is a second mistake, or another one.",
                 report->results[best->reach].name);
    }
}

/* ---- the report ---- */

static qa_status list_missing(qa_golden_report *report, const golden_candidate *c, qa_error *err) {
    const qa_golden_set *golden = &c->bundle->golden;
    QA_TRY(QA_NEW(report->missing, golden->n, err, "a report"));
    for (size_t i = 0, next = 0; i < golden->n; i++) {
        while (next < c->n && c->tensors[next].order < i) {
            next++;
        }
        if (next == c->n || c->tensors[next].order > i) {
            report->missing[report->n_missing++] = golden->tensors[i].name;
        }
    }
    return QA_OK;
}

static qa_status compare_all(qa_golden_report *report, const golden_candidate *c, qa_error *err) {
    QA_TRY(QA_NEW(report->results, c->n, err, "a report"));
    report->n = report->first = c->n;
    for (size_t i = 0; i < c->n; i++) {
        const given_tensor *given = &c->tensors[i];
        qa_golden_result *result = &report->results[i];
        (void)snprintf(result->name, sizeof result->name, "%s", given->name);
        for (char *at = result->name; *at != '\0'; at++) { /* a name from a file, on its way to a terminal */
            *at = (unsigned char)*at < ' ' || *at == 0x7f ? '?' : *at;
        }
        if (i < c->known) {
            compare_tensor(result, c, given, &c->bundle->golden.tensors[given->order], given->tensor->dtype);
        } else {
            result->verdict = QA_VERDICT_UNKNOWN;
            result->dtype = given->tensor->dtype;
        }
        if (result->verdict != QA_VERDICT_OK) {
            report->first = report->failures == 0 ? i : report->first;
            report->failures++;
        }
    }
    return QA_OK;
}

static qa_status make_report(qa_golden_report *report, const golden_candidate *c, qa_error *err) {
    diagnosis best = {.reach = 0};
    QA_TRY(compare_all(report, c, err));
    QA_TRY(list_missing(report, c, err));
    if (report->failures == 0) {
        say_more(report, "Every tensor given is within tolerance.");
        return QA_OK;
    }
    const size_t first = report->first;
    report->first = blamed(report);
    const qa_golden_verdict verdict = report->results[report->first].verdict;
    say_first(report);
    if (verdict != QA_VERDICT_DEPARTS && verdict != QA_VERDICT_SHAPE) {
        say_more(report, ".");
        return QA_OK;
    }
    QA_TRY(diagnose(&best, c, first, err));
    say_diagnosis(report, &best, c->known);
    report->explained = best.reach == c->known ? best.mistakes : 0;
    report->partly = best.reach == c->known ? 0 : best.mistakes;
    return QA_OK;
}

qa_status qa_golden_check(qa_golden_report *report, const qa_golden_bundle *bundle, const char *path,
                          qa_golden_tolerance override, qa_error *err) {
    golden_candidate c = {.bundle = bundle, .override = override};
    memset(report, 0, sizeof *report);
    QA_TRY(qa_golden_tolerance_check(&override, &bundle->golden, 1e6, err));
    qa_status status = read_candidate(&c, path, err);
    if (status == QA_OK) {
        status = make_report(report, &c, err);
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
