/* Comparing a candidate with vectors (see vectors.h). A file that cannot be read is named and the others are read all
 * the same; where a vector departs, it is compared with what each of its mistakes gives. */
#include "base/c_locale.h"
#include "base/memory.h"
#include "base/plain_line.h"
#include "base/try.h"
#include "golden/vectors.h"
#include "io/file.h"
#include "io/json.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CANDIDATE_BYTES = 1 << 28, MAX_CANDIDATE_FILES = 1024, TOKEN_BYTES = 512 };

typedef struct vector_check {
    const qa_vectors *vectors;
    qa_vectors_report *report;
    json_t **given; /* [vectors->n] what the candidate has of each; borrowed from files */
    double *factor; /* [vectors->n] of the tolerances, by the dtype of its file */
    json_t **files; /* [n_files] owned */
    size_t n_files;
} vector_check;

/* ---- the candidate's text ---- */

/* Numbers that JSON does not have and that programs write all the same: NaN and Infinity (Python's json), numbers
 * beyond double, integers beyond 64 bits. Each becomes what the parser takes: "nan", "inf", a number with an exponent.
 */
static qa_status append_candidate_token(qa_text *out, const char *token, size_t n, qa_error *err) {
    static const char *const names[] = {"NaN", "nan", "Infinity", "inf", "-Infinity", "-inf", "-NaN", "-nan"};
    static const char *const meant[] = {"\"nan\"",  "\"nan\"",  "\"inf\"", "\"inf\"",
                                        "\"-inf\"", "\"-inf\"", "\"nan\"", "\"nan\""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i]) == n && memcmp(names[i], token, n) == 0) {
            return qa_text_append_z(out, meant[i], err);
        }
    }
    const bool whole = strspn(token, "-0123456789") >= n;
    if (token[0] != '-' && (token[0] < '0' || token[0] > '9')) {
        return qa_text_append(out, token, n, err);
    }
    if (isinf(strtod(token, NULL))) { /* the text is zero-terminated, and what stands behind a number ends it */
        return qa_text_append_z(out, token[0] == '-' ? "\"-inf\"" : "\"inf\"", err);
    }
    QA_TRY(qa_text_append(out, token, n, err));
    return whole && n > 18 ? qa_text_append_z(out, "e0", err) : QA_OK;
}

static qa_status quote_odd_numbers(qa_text *out, const qa_text *in, qa_error *err) {
    static const char of_tokens[] = "+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (size_t i = 0, n = 0; i < in->n; i += n) {
        const char *at = in->data + i;
        n = strspn(at, of_tokens);
        if (n > 0) {
            QA_TRY(append_candidate_token(out, at, n, err));
            continue;
        }
        n = 1;
        if (*at == '"') {
            while (i + n < in->n && at[n] != '"') {
                n += at[n] == '\\' && i + n + 1 < in->n ? 2 : 1;
            }
            n += i + n < in->n ? 1 : 0;
        }
        QA_TRY(qa_text_append(out, at, n, err));
    }
    return QA_OK;
}

static qa_status load_candidate(json_t **root, const char *path, qa_error *err) {
    qa_text read = {0}, text = {0};
    qa_status status = QA_OK;
    *root = NULL;
    QA_GOTO(done, qa_read_file(&read, path, MAX_CANDIDATE_BYTES, err));
    const qa_c_locale before = qa_c_locale_enter();
    status = read.n == 0 ? QA_OK : quote_odd_numbers(&text, &read, err);
    qa_c_locale_leave(before);
    QA_GOTO(done, status);
    status = qa_json_parse(root, text.data, text.n, path, 0, err);
done:
    qa_text_free(&read);
    qa_text_free(&text);
    return status;
}

/* ---- results ---- */

static qa_status add_result(vector_check *c, qa_vector_result **result, const char *id, const char *output,
                            qa_golden_verdict verdict, qa_error *err) {
    qa_vectors_report *report = c->report;
    QA_TRY(QA_GROW(report->results, report->capacity, report->n + 1, err, "a report"));
    *result = &report->results[report->n++];
    **result = (qa_vector_result){.verdict = verdict};
    (void)qa_plain_line((*result)->id, sizeof(*result)->id, id);
    (void)qa_plain_line((*result)->output, sizeof(*result)->output, output);
    report->failures += verdict == QA_VERDICT_OK ? 0 : 1;
    return QA_OK;
}

static qa_status add_missing(vector_check *c, const char *id, const char *output, qa_error *err) {
    qa_vectors_report *report = c->report;
    QA_TRY(QA_GROW(report->missing, report->missing_capacity, report->n_missing + 1, err, "a report"));
    (void)snprintf(report->missing[report->n_missing++], sizeof *report->missing, "%s%s%.90s", id,
                   output[0] == '\0' ? "" : ": ", output);
    return QA_OK;
}

/* ---- a file of the candidate ---- */

/* What a tolerance, written for double, is multiplied by: units in the last place of one over those of the other. */
static const struct {
    const char *name;
    double factor;
} candidate_dtypes[] = {{"float64", 1.0}, {"float32", 0x1p29}, {"float16", 0x1p42}, {"bfloat16", 0x1p45}};

static qa_status take_outputs(vector_check *c, const json_t *root, double factor, qa_error *err) {
    json_t *outputs = NULL, *value = NULL;
    const char *id = NULL;
    QA_TRY(qa_json_get_object(root, "outputs", true, "a candidate", &outputs, err));
    json_object_foreach(outputs, id, value) {
        const qa_vector *vector = qa_vectors_find(c->vectors, id);
        const size_t i = vector == NULL ? 0 : (size_t)(vector - c->vectors->items);
        qa_vector_result *result = NULL;
        if (vector == NULL) {
            QA_TRY(add_result(c, &result, id, "", QA_VERDICT_UNKNOWN, err));
            (void)snprintf(result->detail, sizeof result->detail, "the suite has no vector of this id");
        } else if (c->given[i] != NULL) {
            QA_TRY(add_result(c, &result, id, "", QA_VERDICT_TWICE, err));
            (void)snprintf(result->detail, sizeof result->detail, "the id stands in two files");
        } else {
            c->given[i] = value;
            c->factor[i] = factor;
        }
    }
    return QA_OK;
}

/* A misspelt "dtype" would be float64 in silence. */
static qa_status check_candidate_keys(json_t *root, const char *path, qa_error *err) {
    static const char *const known[] = {"format", "version", "dtype", "made_by", "outputs"};
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(root, key, value) {
        bool is_known = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            is_known = is_known || strcmp(known[i], key) == 0;
        }
        QA_FAIL_IF(!is_known, err, QA_ERR_FORMAT,
                   "%s: unknown key \"%.40s\"; expected format, version, dtype, made_by and outputs", path, key);
    }
    return QA_OK;
}

static qa_status take_candidate_file(vector_check *c, json_t *root, const char *path, qa_error *err) {
    const char *dtype = candidate_dtypes[0].name, *made_by = "";
    QA_TRY(qa_vectors_check_format(root, QA_CANDIDATE_FORMAT, path, err));
    QA_TRY(check_candidate_keys(root, path, err));
    QA_TRY(qa_json_get_string(root, "dtype", false, path, &dtype, err));
    QA_TRY(qa_json_get_string(root, "made_by", false, path, &made_by, err));
    for (size_t i = 0; i < sizeof candidate_dtypes / sizeof candidate_dtypes[0]; i++) {
        if (strcmp(candidate_dtypes[i].name, dtype) == 0) {
            (void)snprintf(c->report->dtype, sizeof c->report->dtype, "%s", dtype);
            (void)qa_plain_line(c->report->made_by, sizeof c->report->made_by, made_by);
            return take_outputs(c, root, candidate_dtypes[i].factor, err);
        }
    }
    return qa_fail(err, QA_ERR_UNSUPPORTED, "%s: dtype \"%.40s\"; expected float64, float32, float16 or bfloat16", path,
                   dtype);
}

/* What is wrong with a file is a result, and no failure but where memory lacks. */
static qa_status read_candidate_file(vector_check *c, const char *path, const char *name, qa_error *err) {
    qa_error why = {0};
    json_t *root = NULL;
    qa_status status = load_candidate(&root, path, &why);
    if (status == QA_OK) {
        c->files[c->n_files++] = root;
        status = take_candidate_file(c, root, path, &why);
    }
    if (status == QA_OK || status == QA_ERR_MEMORY) {
        return status == QA_OK ? QA_OK : qa_fail(err, status, "%s", why.message);
    }
    qa_vector_result *result = NULL;
    QA_TRY(add_result(c, &result, name, "", QA_VERDICT_FILE, err));
    (void)qa_plain_line(result->detail, sizeof result->detail, why.message);
    return QA_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The names of a folder's *.json files in order; the caller frees them. */
static qa_status list_candidate(char ***names, size_t *n, const char *dir, qa_error *err) {
    qa_status status = QA_NEW(*names, MAX_CANDIDATE_FILES, err, "the candidate");
    DIR *stream = status == QA_OK ? opendir(dir) : NULL;
    for (struct dirent *entry = stream == NULL ? NULL : readdir(stream); status == QA_OK && entry != NULL;
         entry = readdir(stream)) {
        const size_t length = strlen(entry->d_name);
        if (entry->d_name[0] == '.' || length < 6 || strcmp(entry->d_name + length - 5, ".json") != 0) {
            continue;
        }
        status = *n == MAX_CANDIDATE_FILES
                     ? qa_fail(err, QA_ERR_LIMIT, "%s: more than %d files of JSON", dir, MAX_CANDIDATE_FILES)
                     : QA_COPY((*names)[*n], entry->d_name, err, "the candidate");
        *n += status == QA_OK ? 1 : 0;
    }
    if (stream != NULL) {
        (void)closedir(stream);
    }
    QA_TRY(status);
    QA_FAIL_IF(*n == 0, err, QA_ERR_FORMAT, "%s: no file NAME.json in it; expected the outputs of vectors", dir);
    qsort(*names, *n, sizeof **names, by_text);
    return QA_OK;
}

static qa_status read_candidate_folder(vector_check *c, const char *candidate, qa_error *err) {
    char **names = NULL, *path = NULL;
    size_t n = 0;
    qa_status status = QA_OK;
    if (!qa_path_is_dir(candidate)) {
        QA_FAIL_IF(!qa_path_exists(candidate), err, QA_ERR_IO, "%s: no such file or folder", candidate);
        QA_TRY(QA_NEW(c->files, 1, err, "the candidate"));
        const char *slash = strrchr(candidate, '/');
        return read_candidate_file(c, candidate, slash == NULL ? candidate : slash + 1, err);
    }
    QA_GOTO(done, list_candidate(&names, &n, candidate, err));
    QA_GOTO(done, QA_NEW(c->files, n, err, "the candidate"));
    for (size_t i = 0; status == QA_OK && i < n; i++) {
        QA_GOTO(done, qa_join_path(&path, candidate, names[i], err));
        status = read_candidate_file(c, path, names[i], err);
        free(path);
        path = NULL;
    }
done:
    for (size_t i = 0; i < n; i++) {
        free(names[i]);
    }
    free((void *)names);
    return status;
}

/* ---- comparing ---- */

static bool same_vector_shape(const qa_vector_array *a, const qa_vector_array *b) {
    return a->n_dims == b->n_dims && memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

static void vector_index_text(char *text, size_t bytes, const qa_vector_array *array, size_t index) {
    size_t at[QA_VECTOR_DIMS] = {0};
    for (size_t d = array->n_dims; d-- > 0;) {
        at[d] = index % array->shape[d];
        index /= array->shape[d];
    }
    text[0] = '\0';
    if (array->n_dims > 0) {
        qa_golden_numbers_text(text, bytes, array->n_dims, at);
    }
}

static double units_of(double got, double right, double tolerance) {
    const double error = got == right ? 0.0 : fabs(got - right);
    return isnan(error)         ? INFINITY
           : error <= tolerance ? (tolerance > 0.0 ? error / tolerance : 0.0)
           : tolerance > 0.0    ? error / tolerance
                                : INFINITY;
}

/* Fills verdict, units, got, expected, where. */
static void compare_arrays(qa_vector_result *result, const qa_vector_array *got, const qa_vector_array *right) {
    size_t worst = 0;
    if (!same_vector_shape(got, right)) {
        char a[64] = "a number", b[64] = "a number";
        if (got->n_dims > 0) {
            qa_golden_numbers_text(a, sizeof a, got->n_dims, got->shape);
        }
        if (right->n_dims > 0) {
            qa_golden_numbers_text(b, sizeof b, right->n_dims, right->shape);
        }
        result->verdict = QA_VERDICT_SHAPE;
        (void)snprintf(result->detail, sizeof result->detail, "%s%s where %s%s is expected",
                       got->n_dims > 0 ? "shape " : "", a, right->n_dims > 0 ? "shape " : "", b);
        return;
    }
    result->verdict = QA_VERDICT_OK;
    for (size_t i = 0; i < right->count && result->verdict != QA_VERDICT_NOT_FINITE; i++) {
        const double units = units_of(got->values[i], right->values[i], result->tolerance);
        if (units > result->units) {
            result->units = units;
            worst = i;
        }
        if (!isfinite(got->values[i]) && got->values[i] != right->values[i]) {
            result->verdict = QA_VERDICT_NOT_FINITE;
            worst = i;
        }
    }
    if (result->verdict == QA_VERDICT_OK && result->units > 1.0) {
        result->verdict = QA_VERDICT_DEPARTS;
    }
    if (right->count > 0) {
        result->got = got->values[worst];
        result->expected = right->values[worst];
        vector_index_text(result->where, sizeof result->where, right, worst);
    }
}

static qa_status compare_output(qa_vector_result *result, const json_t *given, const json_t *right, double tolerance,
                                qa_error *err) {
    qa_vector_array got = {0}, expected = {0};
    qa_golden_verdict verdict = QA_VERDICT_OK;
    qa_status status = QA_OK;
    QA_GOTO(done, qa_vector_array_read(&expected, right, &verdict, result->detail, sizeof result->detail, err));
    QA_GOTO(done, qa_vector_array_read(&got, given, &result->verdict, result->detail, sizeof result->detail, err));
    result->tolerance = tolerance;
    if (result->verdict == QA_VERDICT_OK) {
        compare_arrays(result, &got, &expected);
    }
done:
    free(got.values);
    free(expected.values);
    return status;
}

/* ---- mistakes ---- */

enum { SMALL_OUTPUT = 16 /* of outputs with so few numbers, a mistake lists all that differ */ };

/* How far what a mistake gives may be off: it has a rounding of its own, which its larger numbers make larger. */
static const double MISTAKE_SLACK = 16.0;

static size_t numbers_in(const json_t *value) {
    size_t n = json_is_array(value) ? 0 : 1, i = 0;
    const json_t *element = NULL;
    json_array_foreach(value, i, element) { n += numbers_in(element); }
    return n;
}

static double largest_in(const json_t *value) {
    double most = fabs(json_number_value(value));
    size_t i = 0;
    const json_t *element = NULL;
    json_array_foreach(value, i, element) { most = fmax(most, largest_in(element)); }
    return most;
}

/* Whether all that is given of a vector is what the mistake gives, and at least one of it is wrong. */
static qa_status is_mistake(bool *is, const json_t *mistake, const qa_vector *vector, const json_t *given,
                            double factor, qa_error *err) {
    const json_t *wrong = json_object_get(mistake, "outputs");
    const char *name = NULL;
    json_t *right = NULL;
    bool differs = false;
    *is = true;
    json_object_foreach(vector->outputs, name, right) {
        const json_t *got = json_object_get(given, name), *its = json_object_get(wrong, name);
        qa_vector_result result = {0};
        double tolerance = factor * json_number_value(json_object_get(vector->tolerance, name));
        if (got == NULL || (its == NULL && numbers_in(right) > SMALL_OUTPUT)) {
            continue;
        }
        if (its != NULL) {
            tolerance *= MISTAKE_SLACK * fmax(1.0, largest_in(its) / fmax(largest_in(right), 1e-300));
            differs = true;
        }
        QA_TRY(compare_output(&result, got, its != NULL ? its : right, tolerance, err));
        *is = *is && result.verdict == QA_VERDICT_OK;
    }
    *is = *is && differs;
    return QA_OK;
}

static qa_status suspect_of(qa_vector_suspect **suspect, qa_vectors_report *report, const json_t *mistake,
                            qa_error *err) {
    const char *name = json_string_value(json_object_get(mistake, "name"));
    for (size_t i = 0; i < report->n_suspects; i++) {
        if (strcmp(report->suspects[i].name, name) == 0) {
            *suspect = &report->suspects[i];
            return QA_OK;
        }
    }
    QA_TRY(QA_GROW(report->suspects, report->suspects_capacity, report->n_suspects + 1, err, "a report"));
    *suspect = &report->suspects[report->n_suspects++];
    **suspect = (qa_vector_suspect){.name = name, .text = json_string_value(json_object_get(mistake, "text"))};
    return QA_OK;
}

/* Of a vector whose results begin at `first`. */
static qa_status find_mistakes(vector_check *c, size_t i, size_t first, bool departs, qa_error *err) {
    const qa_vector *vector = &c->vectors->items[i];
    const json_t *mistake = NULL;
    size_t m = 0;
    json_array_foreach(vector->mistakes, m, mistake) {
        qa_vector_suspect *suspect = NULL;
        bool is = false;
        QA_TRY(suspect_of(&suspect, c->report, mistake, err));
        if (departs) {
            QA_TRY(is_mistake(&is, mistake, vector, c->given[i], c->factor[i], err));
        }
        suspect->explains += is ? 1 : 0;
        suspect->contradicted += is ? 0 : 1;
        for (size_t r = first; is && r < c->report->n; r++) {
            qa_vector_result *result = &c->report->results[r];
            if (result->verdict != QA_VERDICT_OK && result->n_mistakes < QA_VECTOR_MISTAKES) {
                result->mistakes[result->n_mistakes++] = mistake;
            }
        }
    }
    return QA_OK;
}

/* ---- a vector ---- */

static qa_status check_extra(vector_check *c, const qa_vector *vector, json_t *given, qa_error *err) {
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(given, name, value) {
        if (json_object_get(vector->outputs, name) == NULL) {
            qa_vector_result *result = NULL;
            QA_TRY(add_result(c, &result, vector->id, name, QA_VERDICT_UNKNOWN, err));
            (void)snprintf(result->detail, sizeof result->detail, "the vector has no output of this name");
        }
    }
    return QA_OK;
}

static qa_status check_one(vector_check *c, size_t i, qa_error *err) {
    const qa_vector *vector = &c->vectors->items[i];
    json_t *given = c->given[i];
    const size_t first = c->report->n, failures = c->report->failures;
    qa_vector_result *result = NULL;
    const char *name = NULL;
    json_t *right = NULL;
    if (given == NULL) {
        return add_missing(c, vector->id, "", err);
    }
    if (!json_is_object(given)) {
        QA_TRY(add_result(c, &result, vector->id, "", QA_VERDICT_TYPE, err));
        (void)snprintf(result->detail, sizeof result->detail, "no object of outputs by name");
        return QA_OK;
    }
    json_object_foreach(vector->outputs, name, right) {
        const json_t *value = json_object_get(given, name);
        if (value == NULL) {
            QA_TRY(add_missing(c, vector->id, name, err));
            continue;
        }
        QA_TRY(add_result(c, &result, vector->id, name, QA_VERDICT_OK, err));
        const double tolerance = json_number_value(json_object_get(vector->tolerance, name));
        QA_TRY(compare_output(result, value, right, tolerance * c->factor[i], err));
        c->report->failures += result->verdict == QA_VERDICT_OK ? 0 : 1;
    }
    const bool departs = c->report->failures > failures;
    c->report->departing += departs ? 1 : 0;
    QA_TRY(find_mistakes(c, i, first, departs, err));
    return check_extra(c, vector, given, err);
}

/* ---- the sentence ---- */

static void say_of_vectors(qa_vectors_report *report, const char *format, ...) QA_PRINTF(2, 3);

static void say_of_vectors(qa_vectors_report *report, const char *format, ...) {
    const size_t used = strlen(report->sentence);
    va_list args;
    va_start(args, format);
    const qa_c_locale before = qa_c_locale_enter();
    (void)vsnprintf(report->sentence + used, sizeof report->sentence - used, format, args);
    qa_c_locale_leave(before);
    va_end(args);
}

static int by_explained(const void *a, const void *b) {
    const qa_vector_suspect *x = a, *y = b;
    return x->explains != y->explains           ? (x->explains > y->explains ? -1 : 1)
           : x->contradicted != y->contradicted ? (x->contradicted < y->contradicted ? -1 : 1)
                                                : strcmp(x->name, y->name);
}

static const qa_vector_result *first_failure(const qa_vectors_report *report) {
    size_t i = 0;
    while (report->results[i].verdict == QA_VERDICT_OK) {
        i++;
    }
    return &report->results[i];
}

/* Whether only "dtype" is amiss: all that fails departs from what is right by less than float32 does. */
static bool is_float32_unsaid(const vector_check *c) {
    bool unsaid = true;
    for (size_t i = 0; unsaid && i < c->report->n; i++) {
        const qa_vector_result *result = &c->report->results[i];
        const qa_vector *vector = qa_vectors_find(c->vectors, result->id);
        unsaid = result->verdict == QA_VERDICT_OK ||
                 (result->verdict == QA_VERDICT_DEPARTS && vector != NULL &&
                  c->factor[vector - c->vectors->items] == 1.0 && result->units <= candidate_dtypes[1].factor);
    }
    return unsaid;
}

static void say_all(const vector_check *c) {
    enum { MOST_SAID = 4 };
    qa_vectors_report *report = c->report;
    if (report->failures == 0) {
        say_of_vectors(report, "Every output given is within tolerance.");
        return;
    }
    const qa_vector_result *first = first_failure(report);
    say_of_vectors(report, "The first that fails is %s%s%s%s%s: ", first->id, first->output[0] == '\0' ? "" : ": ",
                   first->output, first->where[0] == '\0' ? "" : " at ", first->where);
    if (first->detail[0] != '\0') {
        say_of_vectors(report, "%s.", first->detail);
    } else {
        say_of_vectors(report, "%.9g where %.9g is expected.", first->got, first->expected);
    }
    for (size_t i = 0; i < report->n_suspects && i < MOST_SAID; i++) {
        const qa_vector_suspect *suspect = &report->suspects[i];
        say_of_vectors(report, " %zu of %zu departing vectors %s exactly what comes out when %s (%s).",
                       suspect->explains, report->departing, suspect->explains == 1 ? "is" : "are", suspect->text,
                       suspect->name);
    }
    if (is_float32_unsaid(c)) {
        say_of_vectors(report, " All is within float32's tolerance: say \"dtype\": \"float32\" if it was computed so.");
    } else if (report->departing > 0 && report->n_suspects == 0) {
        say_of_vectors(report, " None of the known mistakes makes these numbers.");
    }
}

static qa_status compare_vectors(vector_check *c, qa_error *err) {
    qa_vectors_report *report = c->report;
    for (size_t i = 0; i < c->vectors->n; i++) {
        QA_TRY(check_one(c, i, err));
    }
    if (report->n_suspects > 0) {
        qsort(report->suspects, report->n_suspects, sizeof *report->suspects, by_explained);
    }
    while (report->n_suspects > 0 && report->suspects[report->n_suspects - 1].explains == 0) {
        report->n_suspects--;
    }
    report->worst = report->n;
    for (size_t i = 0; i < report->n; i++) {
        const double most = report->worst == report->n ? -1.0 : report->results[report->worst].units;
        report->worst = report->results[i].output[0] != '\0' && report->results[i].units > most ? i : report->worst;
    }
    say_all(c);
    return QA_OK;
}

qa_status qa_vectors_check(qa_vectors_report *report, const qa_vectors *vectors, const char *candidate, qa_error *err) {
    vector_check c = {.vectors = vectors, .report = report};
    qa_status status = QA_OK;
    memset(report, 0, sizeof *report);
    QA_GOTO(done, QA_NEW(c.given, vectors->n, err, "the candidate"));
    QA_GOTO(done, QA_NEW(c.factor, vectors->n, err, "the candidate"));
    QA_GOTO(done, read_candidate_folder(&c, candidate, err));
    QA_GOTO(done, compare_vectors(&c, err));
    status = report->n > 0
                 ? QA_OK
                 : qa_fail(err, QA_ERR_FORMAT, "%s: no output of any vector in it; nothing was compared", candidate);
done:
    for (size_t i = 0; i < c.n_files; i++) {
        json_decref(c.files[i]);
    }
    free((void *)c.files);
    free((void *)c.given);
    free(c.factor);
    if (status != QA_OK) {
        qa_vectors_report_free(report);
    }
    return status;
}

void qa_vectors_report_free(qa_vectors_report *report) {
    free(report->results);
    free(report->missing);
    free(report->suspects);
    memset(report, 0, sizeof *report);
}
