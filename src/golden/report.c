/* What a check found as JSON: one form for vectors and for bundles (docs/conformance.md). */
#include "base/try.h"
#include "golden/vectors.h"
#include "io/file.h"
#include "io/json_writer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What both kinds say first. */
static void put_report_head(qa_json_writer *w, const char *kind, const char *suite, const char *candidate, bool passed,
                            const char *sentence) {
    qa_json_open_object(w, NULL, QA_JSON_BLOCK);
    qa_json_put_string(w, "format", "qadapter-golden-report");
    qa_json_put_size(w, "version", 1);
    qa_json_put_string(w, "kind", kind);
    qa_json_put_string(w, "suite", suite);
    qa_json_put_string(w, "candidate", candidate);
    qa_json_put_bool(w, "passed", passed);
    qa_json_put_string(w, "sentence", sentence);
}

static void put_counts(qa_json_writer *w, size_t n, size_t failures, size_t missing) {
    qa_json_open_object(w, "counts", QA_JSON_LINE);
    qa_json_put_size(w, "ok", n - failures);
    qa_json_put_size(w, "failed", failures);
    qa_json_put_size(w, "missing", missing);
    qa_json_close(w);
}

/* An open object of a result is closed here. */
static void put_result_numbers(qa_json_writer *w, qa_golden_verdict verdict, double units, double tolerance, double got,
                               double expected, const char *where) {
    qa_json_put_string(w, "verdict", qa_golden_verdict_name(verdict));
    if (verdict == QA_VERDICT_OK || verdict == QA_VERDICT_DEPARTS || verdict == QA_VERDICT_NOT_FINITE) {
        qa_json_put_number(w, "units", units);
        qa_json_put_number(w, "tolerance", tolerance);
        qa_json_put_number(w, "got", got);
        qa_json_put_number(w, "expected", expected);
        qa_json_put_raw(w, "at", where[0] == '\0' ? "[]" : where);
    }
}

static void put_vector_result(qa_json_writer *w, const qa_vector_result *result) {
    qa_json_open_object(w, NULL, QA_JSON_LINE);
    qa_json_put_string(w, "id", result->id);
    qa_json_put_string(w, "output", result->output[0] == '\0' ? NULL : result->output);
    put_result_numbers(w, result->verdict, result->units, result->tolerance, result->got, result->expected,
                       result->where);
    if (result->detail[0] != '\0') {
        qa_json_put_string(w, "detail", result->detail);
    }
    qa_json_open_array(w, "mistakes", QA_JSON_LINE);
    for (size_t i = 0; i < result->n_mistakes; i++) {
        qa_json_put_string(w, NULL, json_string_value(json_object_get(result->mistakes[i], "name")));
    }
    qa_json_close(w);
    qa_json_close(w);
}

static qa_status save_report(qa_json_writer *w, const char *path, qa_error *err) {
    qa_json_close(w);
    qa_json_end_line(w);
    const qa_status status = w->status == QA_OK ? qa_write_file(path, w->text.data, w->text.n, err) : w->status;
    qa_text_free(&w->text);
    return status;
}

qa_status qa_vectors_report_save(const qa_vectors_report *report, const char *suite, const char *candidate,
                                 bool complete, const char *path, qa_error *err) {
    qa_json_writer w = {.err = err};
    put_report_head(&w, "vectors", suite, candidate, report->failures == 0 && !(complete && report->n_missing > 0),
                    report->sentence);
    qa_json_put_string(&w, "made_by", report->made_by);
    qa_json_put_string(&w, "dtype", report->dtype);
    put_counts(&w, report->n, report->failures, report->n_missing);
    if (report->worst < report->n) {
        qa_json_open_object(&w, "worst", QA_JSON_LINE);
        qa_json_put_string(&w, "id", report->results[report->worst].id);
        qa_json_put_string(&w, "output", report->results[report->worst].output);
        qa_json_put_number(&w, "units", report->results[report->worst].units);
        qa_json_close(&w);
    }
    qa_json_open_array(&w, "mistakes", QA_JSON_BLOCK);
    for (size_t i = 0; i < report->n_suspects; i++) {
        const qa_vector_suspect *suspect = &report->suspects[i];
        qa_json_open_object(&w, NULL, QA_JSON_LINE);
        qa_json_put_string(&w, "name", suspect->name);
        qa_json_put_string(&w, "text", suspect->text);
        qa_json_put_size(&w, "explains", suspect->explains);
        qa_json_put_size(&w, "contradicted", suspect->contradicted);
        qa_json_close(&w);
    }
    qa_json_close(&w);
    qa_json_open_array(&w, "results", QA_JSON_BLOCK);
    for (size_t i = 0; i < report->n; i++) {
        put_vector_result(&w, &report->results[i]);
    }
    qa_json_close(&w);
    qa_json_open_array(&w, "missing", QA_JSON_BLOCK);
    for (size_t i = 0; i < report->n_missing; i++) {
        qa_json_put_string(&w, NULL, report->missing[i]);
    }
    qa_json_close(&w);
    return save_report(&w, path, err);
}

static void put_bundle_result(qa_json_writer *w, const qa_golden_result *result) {
    const double units = result->limit > 0.0 ? result->absolute / result->limit : result->absolute > 0.0 ? HUGE_VAL : 0;
    qa_json_open_object(w, NULL, QA_JSON_LINE);
    qa_json_put_string(w, "id", result->name);
    put_result_numbers(w, result->verdict, units, result->limit, result->got, result->expected, result->where);
    if (result->verdict == QA_VERDICT_SHAPE) {
        char detail[160];
        (void)snprintf(detail, sizeof detail, "shape %s where %s is expected", result->shape, result->expected_shape);
        qa_json_put_string(w, "detail", detail);
    }
    qa_json_put_string(w, "dtype", qa_dtype_name(result->dtype));
    qa_json_close(w);
}

qa_status qa_golden_report_save(const qa_golden_report *report, const char *suite, const char *candidate, bool complete,
                                const char *path, qa_error *err) {
    qa_json_writer w = {.err = err};
    put_report_head(&w, "bundle", suite, candidate, report->failures == 0 && !(complete && report->n_missing > 0),
                    report->sentence);
    put_counts(&w, report->n, report->failures, report->n_missing);
    qa_json_open_array(&w, "mistakes", QA_JSON_BLOCK);
    for (unsigned m = 0; m < QA_MISTAKES; m++) {
        if (((report->explained | report->partly) >> m & 1u) != 0) {
            qa_json_open_object(&w, NULL, QA_JSON_LINE);
            qa_json_put_string(&w, "name", qa_golden_mistake_name((qa_golden_mistake)m));
            qa_json_put_bool(&w, "explains_all", (report->explained >> m & 1u) != 0);
            qa_json_close(&w);
        }
    }
    qa_json_close(&w);
    qa_json_open_array(&w, "results", QA_JSON_BLOCK);
    for (size_t i = 0; i < report->n; i++) {
        put_bundle_result(&w, &report->results[i]);
    }
    qa_json_close(&w);
    qa_json_open_array(&w, "missing", QA_JSON_BLOCK);
    for (size_t i = 0; i < report->n_missing; i++) {
        qa_json_put_string(&w, NULL, report->missing[i]);
    }
    qa_json_close(&w);
    return save_report(&w, path, err);
}
