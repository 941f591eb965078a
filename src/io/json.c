/* JSON in: loading and typed, checked access (see json.h; writing is in json_write.c). */
#include "io/json.h"

#include "base/c_locale.h"
#include "base/try.h"
#include "io/file.h"
#include "io/input.h"
#include "io/json_memory.h"

#include <string.h>

/* The most bytes of one JSON file: parsed values take several times as much memory. */
static const size_t MAX_FILE_BYTES = (size_t)1 << 30;

/* ---- loading ---- */

/* jansson's reason, on one line: it quotes the text near the error, which may hold control characters. */
static void one_line(char *reason) {
    for (char *c = reason; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = ' ';
        }
    }
}

static qa_status out_of_memory(const char *name, qa_error *err) {
    return qa_fail(err, QA_ERR_MEMORY, "out of memory while parsing %s", name);
}

static qa_status parse_failure(json_error_t *failure, const char *name, size_t line, qa_error *err) {
    if (json_error_code(failure) == json_error_out_of_memory) {
        return out_of_memory(name, err);
    }
    one_line(failure->text);
    size_t inner = failure->line > 0 ? (size_t)failure->line : 1;
    size_t column = failure->column > 0 ? (size_t)failure->column : 1;
    return qa_fail(err, QA_ERR_FORMAT, "%s:%zu:%zu: not valid JSON: %s", name, (line == 0 ? 1 : line) + inner - 1,
                   column, failure->text);
}

qa_status qa_json_parse(json_t **root, const char *data, size_t bytes, const char *name, size_t line, qa_error *err) {
    json_error_t failure;
    memset(&failure, 0, sizeof failure);
    const qa_c_locale before = qa_c_locale_enter();
    qa_json_memory_watch();
    *root =
        json_loadb(bytes == 0 ? "" : data, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &failure);
    qa_c_locale_leave(before);
    if (qa_json_memory_failed()) { /* whatever jansson says, and also when it says that all is well */
        json_decref(*root);
        *root = NULL;
        return out_of_memory(name, err);
    }
    return *root == NULL ? parse_failure(&failure, name, line, err) : QA_OK;
}

qa_status qa_json_load(json_t **root, const char *path, qa_error *err) {
    *root = NULL;
    qa_text text = {0};
    qa_status status = qa_read_file(&text, path, MAX_FILE_BYTES, err);
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    const char *foreign = status == QA_OK ? qa_foreign_content(text.data, text.n) : NULL;
    if (foreign != NULL) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s is %s", name, foreign);
    } else if (status == QA_OK) {
        status = qa_json_parse(root, text.data, text.n, name, 0, err);
    }
    qa_text_free(&text);
    return status;
}

/* ---- members ---- */

static const char *type_name(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number with a fraction or exponent";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    }
    return "something else";
}

/* The member; *member is NULL when it is absent or null and not required. */
static qa_status find_member(const json_t *object, const char *key, bool required, const char *where, json_t **member,
                             qa_error *err) {
    *member = NULL;
    QA_FAIL_IF(!json_is_object(object), err, QA_ERR_FORMAT, "%s: an object with \"%s\" was expected, found %s", where,
               key, object == NULL ? "nothing" : type_name(object));
    json_t *found = json_object_get(object, key);
    if (found != NULL && !json_is_null(found)) {
        *member = found;
    } else if (required) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: \"%s\" is %s", where, key, found == NULL ? "missing" : "null");
    }
    return QA_OK;
}

/* find_member of one of these types, a bit each. */
static qa_status typed_member(const json_t *object, const char *key, bool required, const char *where, unsigned types,
                              const char *expected, json_t **member, qa_error *err) {
    QA_TRY(find_member(object, key, required, where, member, err));
    json_t *found = *member;
    if (found != NULL && (types >> json_typeof(found) & 1u) == 0) {
        *member = NULL;
        return qa_fail(err, QA_ERR_FORMAT, "%s: \"%s\" must be %s, found %s", where, key, expected, type_name(found));
    }
    return QA_OK;
}

qa_status qa_json_get_size(const json_t *object, const char *key, bool required, const char *where, size_t *value,
                           qa_error *err) {
    json_t *member = NULL;
    QA_TRY(typed_member(object, key, required, where, 1u << JSON_INTEGER, "an integer of 0 or more", &member, err));
    const json_int_t number = json_integer_value(member);
    QA_FAIL_IF(number < 0 || (unsigned long long)number > SIZE_MAX, err, QA_ERR_FORMAT,
               "%s: \"%s\" must be an integer of 0 or more, found %" JSON_INTEGER_FORMAT, where, key, number);
    *value = member != NULL ? (size_t)number : *value;
    return QA_OK;
}

qa_status qa_json_get_double(const json_t *object, const char *key, bool required, const char *where, double *value,
                             qa_error *err) {
    json_t *member = NULL;
    QA_TRY(typed_member(object, key, required, where, 1u << JSON_INTEGER | 1u << JSON_REAL, "a number", &member, err));
    if (member != NULL) {
        *value = json_number_value(member); /* finite: JSON has no other numbers, and overflow fails the parse */
    }
    return QA_OK;
}

qa_status qa_json_get_bool(const json_t *object, const char *key, bool required, const char *where, bool *value,
                           qa_error *err) {
    json_t *member = NULL;
    QA_TRY(
        typed_member(object, key, required, where, 1u << JSON_TRUE | 1u << JSON_FALSE, "true or false", &member, err));
    *value = member != NULL ? json_is_true(member) : *value;
    return QA_OK;
}

qa_status qa_json_get_string(const json_t *object, const char *key, bool required, const char *where,
                             const char **value, qa_error *err) {
    json_t *member = NULL;
    QA_TRY(typed_member(object, key, required, where, 1u << JSON_STRING, "a string", &member, err));
    QA_FAIL_IF(member != NULL && strlen(json_string_value(member)) != json_string_length(member), err, QA_ERR_FORMAT,
               "%s: \"%s\" holds a NUL character, which is not allowed here", where, key);
    *value = member != NULL ? json_string_value(member) : *value;
    return QA_OK;
}

qa_status qa_json_get_object(const json_t *object, const char *key, bool required, const char *where, json_t **value,
                             qa_error *err) {
    return typed_member(object, key, required, where, 1u << JSON_OBJECT, "an object", value, err);
}

qa_status qa_json_get_array(const json_t *object, const char *key, bool required, const char *where, json_t **value,
                            qa_error *err) {
    return typed_member(object, key, required, where, 1u << JSON_ARRAY, "an array", value, err);
}
