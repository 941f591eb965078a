/* suite_base: writes the shares that a base model was measured to have into a suite.
 *
 *     qadapter eval --model BASE --suite DIR --samples N --json > measured.json
 *     suite_base --measured measured.json --suite DIR/suite.json
 *
 * Every class of the suite's shares gets "base", its part of all sampled answers; everything else stays. From then on
 * an evaluation of any adapter on the suite can name the optimum of a preference, which is a tilt of these shares. */
#include "base/try.h"
#include "io/json.h"
#include "support/arguments.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { WHERE_BYTES = 256 };
#define TOLERANCE 0.02 /* as loading a suite has it */

/* One class: its share goes into "base", and is added to the sum. */
static qa_status set_class(json_t *class, const json_t *measured, const char *where, double *sum, qa_error *err) {
    const char *name = NULL;
    json_t *result = NULL;
    double share = 0.0;
    QA_TRY(qa_json_get_string(class, "name", true, where, &name, err));
    QA_TRY(qa_json_get_object(measured, name, true, where, &result, err));
    QA_TRY(qa_json_get_double(result, "share", true, where, &share, err));
    QA_FAIL_IF(share < 0.0 || share > 1.0, err, QA_ERR_FORMAT, "%s: \"share\" of %s must be from 0 to 1, found %g",
               where, name, share);
    *sum += share;
    return json_object_set_new(class, "base", json_real(share)) == 0 ? QA_OK
                                                                     : qa_fail(err, QA_ERR_MEMORY, "out of memory");
}

/* One of the suite's shares, by the object of the same name in `measured`. */
static qa_status set_shares(const json_t *shares, const json_t *measured, qa_error *err) {
    const char *name = NULL;
    json_t *classes = NULL;
    json_t *result = NULL;
    json_t *by_name = NULL;
    size_t answers = 0;
    double sum = 0.0;
    char where[WHERE_BYTES];
    QA_TRY(qa_json_get_string(shares, "name", true, "the suite's \"shares\"", &name, err));
    QA_TRY(qa_json_get_array(shares, "classes", true, name, &classes, err));
    QA_TRY(qa_json_get_object(measured, name, true, "the measured \"shares\"", &result, err));
    (void)snprintf(where, sizeof where, "the measured shares \"%.200s\"", name);
    QA_TRY(qa_json_get_size(result, "answers", true, where, &answers, err));
    QA_TRY(qa_json_get_object(result, "classes", true, where, &by_name, err));
    for (size_t i = 0; i < json_array_size(classes); i++) {
        QA_TRY(set_class(json_array_get(classes, i), by_name, where, &sum, err));
    }
    QA_FAIL_IF(fabs(sum - 1.0) > TOLERANCE, err, QA_ERR_MISMATCH,
               "%s: %.1f%% of %zu answers are of one of the suite's classes; at least %.0f%% must be, or the "
               "optimum of a preference is not known (was the model trained long enough?)",
               where, 100.0 * sum, answers, 100.0 * (1.0 - TOLERANCE));
    printf("%s: %zu answers, %.2f%% of them of no class\n", name, answers, fabs(100.0 * (1.0 - sum)));
    return QA_OK;
}

static qa_status run(const char *measured_path, const char *suite_path, qa_error *err) {
    json_t *measured = NULL;
    json_t *suite = NULL;
    json_t *shares = NULL;
    json_t *results = NULL;
    qa_status status = QA_OK;
    const char *reading = measured_path;
    const char *adapter = NULL;
    QA_TRY(qa_json_load(&measured, measured_path, err));
    QA_GOTO(out, qa_json_load(&suite, suite_path, err));
    QA_GOTO(named, qa_json_get_object(measured, "shares", true, "the file", &results, err));
    QA_GOTO(named, qa_json_get_string(measured, "adapter", false, "the file", &adapter, err));
    if (adapter != NULL) {
        status = qa_fail(err, QA_ERR_MISMATCH, "these are shares of the adapter %s, not of the base model", adapter);
        goto named;
    }
    reading = suite_path;
    QA_GOTO(named, qa_json_get_array(suite, "shares", true, "the file", &shares, err));
    reading = measured_path;
    for (size_t i = 0; i < json_array_size(shares); i++) {
        QA_GOTO(named, set_shares(json_array_get(shares, i), results, err));
    }
    status = qa_json_save(suite, suite_path, err);
    goto out;
named:
    qa_error_prefix(err, "%s: ", reading);
out:
    json_decref(measured);
    json_decref(suite);
    return status;
}

typedef struct options {
    const char *measured, *suite;
} options;

int main(int argc, char **argv) {
    static const argument OPTIONS[] = {
        ARGUMENT("--measured", ARGUMENT_TEXT, offsetof(options, measured), "FILE",
                 "the output of qadapter eval --suite --json on the base model", .required = true),
        ARGUMENT("--suite", ARGUMENT_TEXT, offsetof(options, suite), "FILE", "the suite.json that gets its shares",
                 .required = true),
        {.name = NULL},
    };
    options o = {0};
    qa_error err = {0};
    bool help = false;
    const qa_status status = arguments_read(&o, OPTIONS, 1, argc, argv, &help, &err);
    if (status == QA_OK && help) {
        printf("usage: suite_base --measured FILE --suite FILE\n"
               "Writes the shares of the classes that a base model was measured to have into a suite.json.\n\n");
        arguments_print(OPTIONS);
        return EXIT_SUCCESS;
    }
    return tool_exit("suite_base", status == QA_OK ? run(o.measured, o.suite, &err) : status, &err);
}
