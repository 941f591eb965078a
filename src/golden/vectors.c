/* Reading vectors (see vectors.h): first every digest, then every member. */
#include "golden/vectors.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/copy.h"
#include "io/file.h"
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

static bool vector_number(double *number, const json_t *value) {
    static const struct {
        const char *name;
        double number;
    } named[] = {{"nan", NAN}, {"inf", INFINITY}, {"-inf", -INFINITY}};
    for (size_t i = 0; json_is_string(value) && i < sizeof named / sizeof named[0]; i++) {
        if (strcmp(json_string_value(value), named[i].name) == 0) {
            *number = named[i].number;
            return true;
        }
    }
    *number = json_number_value(value);
    return json_is_number(value);
}

/* The first elements' lengths are the shape; false: too deep. */
static bool take_shape(qa_vector_array *array, const json_t *value) {
    for (; json_is_array(value); value = json_array_get(value, 0)) {
        if (array->n_dims == QA_VECTOR_DIMS) {
            return false;
        }
        array->shape[array->n_dims++] = json_array_size(value);
    }
    return true;
}

/* Counts what stands in value, arrays down from depth, and takes it where there is room; the verdict of what does not
 * fit. */
static qa_golden_verdict take_numbers(qa_vector_array *array, const json_t *value, size_t depth) {
    double number = 0.0;
    if (!json_is_array(value) && !vector_number(&number, value)) {
        return QA_VERDICT_TYPE;
    }
    if (json_is_array(value) != (depth < array->n_dims)) {
        return QA_VERDICT_SHAPE;
    }
    if (depth == array->n_dims) {
        if (array->values != NULL) {
            array->values[array->count] = number;
        }
        array->count++;
        return QA_VERDICT_OK;
    }
    qa_golden_verdict verdict = json_array_size(value) == array->shape[depth] ? QA_VERDICT_OK : QA_VERDICT_SHAPE;
    for (size_t i = 0; verdict == QA_VERDICT_OK && i < array->shape[depth]; i++) {
        verdict = take_numbers(array, json_array_get(value, i), depth + 1);
    }
    return verdict;
}

qa_status qa_vector_array_read(qa_vector_array *array, const json_t *value, qa_golden_verdict *verdict, char *why,
                               size_t bytes, qa_error *err) {
    static const char *const types[] = {"an object", "", "a string", "", "", "true", "false", "null"};
    *array = (qa_vector_array){0};
    *verdict = take_shape(array, value) ? take_numbers(array, value, 0) : QA_VERDICT_SHAPE;
    if (*verdict == QA_VERDICT_OK) {
        QA_TRY(QA_NEW(array->values, array->count, err, "a vector"));
        array->count = 0;
        *verdict = take_numbers(array, value, 0);
    } else if (*verdict == QA_VERDICT_SHAPE) {
        (void)snprintf(why, bytes, "%s",
                       array->n_dims == QA_VECTOR_DIMS ? "arrays within each other, too deep or not "
                                                         "all of one length"
                                                       : "arrays that are not all of one length");
    } else {
        (void)snprintf(why, bytes, "%s where numbers are expected",
                       json_is_array(value) ? "something else" : types[json_typeof(value)]);
    }
    return QA_OK;
}

/* ---- a vector ---- */

/* value as numbers, which the right outputs and those of mistakes are. */
static qa_status check_vector_numbers(qa_vector_array *array, const json_t *value, const char *where, const char *name,
                                      qa_error *err) {
    char why[128] = "";
    qa_golden_verdict verdict = QA_VERDICT_OK;
    QA_TRY(qa_vector_array_read(array, value, &verdict, why, sizeof why, err));
    QA_FAIL_IF(verdict != QA_VERDICT_OK, err, QA_ERR_FORMAT, "%s: \"%.100s\": %s", where, name, why);
    for (size_t i = 0; i < array->count; i++) {
        QA_FAIL_IF(isnan(array->values[i]), err, QA_ERR_FORMAT, "%s: \"%.100s\": not a number", where, name);
    }
    return QA_OK;
}

static qa_status check_mistake(const json_t *mistake, const json_t *outputs, const char *where, qa_error *err) {
    const char *text = NULL, *name = NULL;
    json_t *wrong = NULL, *value = NULL;
    qa_status status = QA_OK;
    QA_TRY(qa_json_get_string(mistake, "name", true, where, &text, err));
    QA_TRY(qa_json_get_string(mistake, "text", true, where, &text, err));
    QA_TRY(qa_json_get_object(mistake, "outputs", true, where, &wrong, err));
    json_object_foreach(wrong, name, value) {
        qa_vector_array a = {0}, b = {0};
        QA_GOTO(next, check_vector_numbers(&a, json_object_get(outputs, name), where, name, err));
        QA_GOTO(next, check_vector_numbers(&b, value, where, name, err));
        if (a.n_dims != b.n_dims || memcmp(a.shape, b.shape, sizeof a.shape) != 0) {
            status = qa_fail(err, QA_ERR_FORMAT, "%s: a mistake's \"%.100s\" has another shape", where, name);
        }
    next:
        free(a.values);
        free(b.values);
        QA_TRY(status);
    }
    return QA_OK;
}

static qa_status check_vector(const qa_vector *vector, const char *where, qa_error *err) {
    const char *name = NULL;
    json_t *value = NULL;
    size_t i = 0;
    QA_FAIL_IF(json_object_size(vector->outputs) == 0, err, QA_ERR_FORMAT, "%s: no outputs", where);
    json_object_foreach(vector->outputs, name, value) {
        qa_vector_array array = {0};
        double tolerance = 0.0;
        const qa_status status = check_vector_numbers(&array, value, where, name, err);
        free(array.values);
        QA_TRY(status);
        QA_TRY(qa_json_get_double(vector->tolerance, name, true, where, &tolerance, err));
        QA_FAIL_IF(tolerance < 0.0, err, QA_ERR_FORMAT, "%s: \"%.100s\": a tolerance below 0", where, name);
    }
    json_array_foreach(vector->mistakes, i, value) { QA_TRY(check_mistake(value, vector->outputs, where, err)); }
    return QA_OK;
}

static qa_status add_vector(qa_vectors *vectors, const json_t *object, const char *file, qa_error *err) {
    qa_vector vector = {0};
    json_t *outputs = NULL, *tolerance = NULL, *mistakes = NULL;
    char where[192];
    QA_TRY(qa_json_get_string(object, "id", true, file, &vector.id, err));
    (void)snprintf(where, sizeof where, "%.80s: %.90s", file, vector.id);
    QA_FAIL_IF(strlen(vector.id) >= QA_VECTOR_NAME_BYTES || vector.id[0] == '\0', err, QA_ERR_FORMAT,
               "%s: an id has 1 to %d bytes", where, QA_VECTOR_NAME_BYTES - 1);
    QA_FAIL_IF(qa_vectors_find(vectors, vector.id) != NULL, err, QA_ERR_FORMAT, "%s: the id stands twice", where);
    QA_TRY(qa_json_get_object(object, "outputs", true, where, &outputs, err));
    QA_TRY(qa_json_get_object(object, "tolerance", true, where, &tolerance, err));
    QA_TRY(qa_json_get_array(object, "mistakes", false, where, &mistakes, err));
    vector.outputs = outputs;
    vector.tolerance = tolerance;
    vector.mistakes = mistakes;
    QA_TRY(check_vector(&vector, where, err));
    QA_TRY(QA_GROW(vectors->items, vectors->capacity, vectors->n + 1, err, "the vectors"));
    vectors->items[vectors->n++] = vector;
    return QA_OK;
}

/* ---- the folder ---- */

const qa_vector *qa_vectors_find(const qa_vectors *vectors, const char *id) {
    for (size_t i = 0; i < vectors->n; i++) {
        if (strcmp(vectors->items[i].id, id) == 0) {
            return &vectors->items[i];
        }
    }
    return NULL;
}

qa_status qa_vectors_check_format(const json_t *root, const char *format, const char *where, qa_error *err) {
    const char *found = NULL;
    size_t version = 0;
    QA_TRY(qa_json_get_string(root, "format", true, where, &found, err));
    QA_TRY(qa_json_get_size(root, "version", true, where, &version, err));
    QA_FAIL_IF(strcmp(found, format) != 0 || version != QA_VECTORS_VERSION, err, QA_ERR_UNSUPPORTED,
               "%s: format \"%.40s\" version %zu; expected \"%s\" version %d", where, found, version, format,
               QA_VECTORS_VERSION);
    return QA_OK;
}

static qa_status read_vector_file(qa_vectors *vectors, const char *dir, const char *name, const json_t *entry,
                                  qa_error *err) {
    json_t *items = NULL, *item = NULL, *root = NULL;
    char *path = NULL;
    size_t i = 0;
    qa_status status = QA_OK;
    QA_TRY(qa_golden_check_file(dir, name, entry, err));
    QA_TRY(qa_golden_path(&path, dir, name, err));
    QA_GOTO(done, qa_json_load(&root, path, err));
    vectors->files[vectors->n_files++] = root;
    QA_GOTO(done, qa_vectors_check_format(root, QA_VECTORS_FORMAT, path, err));
    QA_GOTO(done, qa_json_get_array(root, "vectors", true, path, &items, err));
    json_array_foreach(items, i, item) { QA_GOTO(done, add_vector(vectors, item, name, err)); }
done:
    free(path);
    return status;
}

static qa_status load_manifest(json_t **root, const char *dir, qa_error *err) {
    char *path = NULL;
    QA_TRY(qa_join_path(&path, dir, "manifest.json", err));
    const qa_status status = qa_json_load(root, path, err);
    free(path);
    return status;
}

bool qa_vectors_here(const char *dir) {
    json_t *root = NULL;
    const bool loaded = load_manifest(&root, dir, NULL) == QA_OK;
    const char *format = loaded ? json_string_value(json_object_get(root, "format")) : NULL;
    const bool here = format != NULL && strcmp(format, QA_VECTORS_FORMAT) == 0;
    json_decref(root);
    return here;
}

static qa_status read_groups(qa_vectors *vectors, const char *dir, const json_t *manifest, qa_error *err) {
    json_t *files = NULL, *entry = NULL;
    const char *name = NULL;
    QA_TRY(qa_vectors_check_format(manifest, QA_VECTORS_FORMAT, "manifest.json", err));
    QA_TRY(qa_json_get_object(manifest, "files", true, "manifest.json", &files, err));
    QA_TRY(QA_NEW(vectors->files, json_object_size(files), err, "the vectors"));
    json_object_foreach(files, name, entry) {
        QA_FAIL_IF(name[0] == '/' || strstr(name, "..") != NULL, err, QA_ERR_FORMAT,
                   "manifest.json: files: \"%.100s\" is no file of the folder", name);
        QA_TRY(read_vector_file(vectors, dir, name, entry, err));
    }
    QA_FAIL_IF(vectors->n == 0, err, QA_ERR_FORMAT, "%s: no vectors", dir);
    return QA_OK;
}

qa_status qa_vectors_open(qa_vectors **vectors, const char *dir, qa_error *err) {
    json_t *manifest = NULL;
    qa_status status = QA_OK;
    QA_TRY(QA_NEW(*vectors, 1, err, "the vectors"));
    QA_GOTO(done, load_manifest(&manifest, dir, err));
    status = read_groups(*vectors, dir, manifest, err);
done:
    json_decref(manifest);
    if (status != QA_OK) {
        qa_vectors_close(*vectors);
        *vectors = NULL;
    }
    return status;
}

void qa_vectors_close(qa_vectors *vectors) {
    for (size_t i = 0; vectors != NULL && i < vectors->n_files; i++) {
        json_decref(vectors->files[i]);
    }
    if (vectors != NULL) {
        free((void *)vectors->files);
        free(vectors->items);
        free(vectors);
    }
}
