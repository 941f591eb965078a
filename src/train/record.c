/* See record.h. jansson's setters return -1 when out of memory (or for text that is not UTF-8) and take over the value;
 * so a chain of them can be checked once. */
#include "train/record.h"

#include "base/try.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void qa_record_set(qa_record *record, const char *key, json_t *value) {
    record->failed |= value == NULL || json_object_set_new(record->object, key, value) != 0;
}
void qa_record_set_real(qa_record *record, const char *key, double value) {
    qa_record_set(record, key, json_real(value));
}
void qa_record_set_size(qa_record *record, const char *key, size_t value) {
    qa_record_set(record, key, json_integer((json_int_t)value));
}
void qa_record_set_bool(qa_record *record, const char *key, bool value) {
    qa_record_set(record, key, json_boolean(value));
}
void qa_record_set_string(qa_record *record, const char *key, const char *value) {
    qa_record_set(record, key, value == NULL ? json_null() : json_string(value));
}

void qa_record_set_members(qa_record *record, const json_t *object) {
    json_t *from = json_incref((json_t *)(uintptr_t)object); /* the iterator wants a non-const object */
    for (void *at = json_object_iter(from); at != NULL; at = json_object_iter_next(from, at)) {
        qa_record_set(record, json_object_iter_key(at), json_incref(json_object_iter_value(at)));
    }
    json_decref(from);
}

void qa_record_set_seed(qa_record *record, const char *key, uint64_t seed) {
    char digits[QA_HEX_BYTES];
    qa_hex64(digits, seed);
    qa_record_set(record, key, seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_string(digits));
}

/* ---- options ---- */

/* "a,b" as an array; NULL: out of memory. */
static json_t *array_of(const char *text) {
    json_t *array = json_array();
    bool failed = array == NULL;
    while (*text != '\0' && !failed) {
        const size_t length = strcspn(text, ",");
        failed = json_array_append_new(array, json_stringn(text, length)) != 0;
        text += length + (text[length] == ',' ? 1 : 0);
    }
    if (failed) {
        json_decref(array);
    }
    return failed ? NULL : array;
}

static void record_option(qa_record *record, const qa_option *row, const void *options) {
    const void *at = (const char *)options + row->offset;
    char key[QA_OPTION_KEY_BYTES], text[QA_OPTION_TEXT_BYTES];
    (void)qa_option_key(row, key);
    switch (row->type) {
    case QA_OPTION_FLAG: qa_record_set_bool(record, key, *(const bool *)at); break;
    case QA_OPTION_SIZE:
    case QA_OPTION_SIZE_OR_ALL: qa_record_set_size(record, key, *(const size_t *)at); break;
    case QA_OPTION_SEED: qa_record_set_seed(record, key, *(const uint64_t *)at); break;
    case QA_OPTION_NUMBER: qa_record_set_real(record, key, *(const double *)at); break;
    case QA_OPTION_WORD:
    case QA_OPTION_STRING: qa_record_set_string(record, key, *(const char *const *)at); break;
    case QA_OPTION_CHOICE:
    case QA_OPTION_OTHER:
        (void)qa_option_text(row, options, text, sizeof text);
        qa_record_set(record, key,
                      row->type == QA_OPTION_OTHER && row->other->list ? array_of(text) : json_string(text));
        break;
    case QA_OPTION_LIST: break;
    }
}

static bool is_default(const qa_option *row, const void *options) {
    char text[QA_OPTION_TEXT_BYTES];
    if (row->type == QA_OPTION_NUMBER) { /* to the last digit */
        return row->standard != NULL &&
               *(const double *)(const void *)((const char *)options + row->offset) == strtod(row->standard, NULL);
    }
    return row->standard != NULL && qa_option_text(row, options, text, sizeof text) && strcmp(text, row->standard) == 0;
}

void qa_record_options(qa_record *record, const qa_option_table *table, const void *options, qa_option_record how) {
    for (size_t i = 0; i < table->n; i++) {
        const qa_option *row = &table->rows[i];
        const bool later = row->record == QA_RECORD_LATER && how == QA_RECORD_COMPARED && !is_default(row, options);
        if (row->record == how || later) {
            record_option(record, row, options);
        }
    }
}

static qa_status read_option(const qa_option *row, const json_t *object, const char *where, void *options,
                             qa_error *err) {
    void *at = (char *)options + row->offset;
    char key[QA_OPTION_KEY_BYTES];
    const char *text = NULL;
    (void)qa_option_key(row, key);
    switch (row->type) {
    case QA_OPTION_FLAG: return qa_json_get_bool(object, key, false, where, at, err);
    case QA_OPTION_SIZE:
    case QA_OPTION_SIZE_OR_ALL: return qa_json_get_size(object, key, false, where, at, err);
    case QA_OPTION_NUMBER: return qa_json_get_double(object, key, false, where, at, err);
    case QA_OPTION_SEED:
        if (json_is_integer(json_object_get(object, key))) {
            *(uint64_t *)at = (uint64_t)json_integer_value(json_object_get(object, key));
            return QA_OK;
        }
        QA_TRY(qa_json_get_string(object, key, false, where, &text, err));
        *(uint64_t *)at = text == NULL ? *(uint64_t *)at : strtoull(text, NULL, 16);
        return QA_OK;
    default: QA_TRY(qa_json_get_string(object, key, false, where, &text, err));
    }
    const qa_status status = text == NULL ? QA_OK : qa_option_set(row, options, text, err);
    qa_error_prefix(status == QA_OK ? NULL : err, "%s: %s: ", where, key);
    return status;
}

qa_status qa_options_read(const qa_option_table *table, const json_t *object, const char *where, void *options,
                          qa_error *err) {
    for (size_t i = 0; i < table->n; i++) {
        if (table->rows[i].record != QA_RECORD_NONE) {
            QA_TRY(read_option(&table->rows[i], object, where, options, err));
        }
    }
    return QA_OK;
}

qa_status qa_record_finish(qa_record *record, json_t **out, const char *what, qa_error *err) {
    if (record->object == NULL || record->failed) {
        json_decref(record->object);
        return qa_fail(err, QA_ERR_MEMORY, "cannot build %s: out of memory, or a path or name in it is not UTF-8",
                       what);
    }
    *out = record->object;
    return QA_OK;
}

void qa_hex64(char hex[QA_HEX_BYTES], uint64_t word) {
    (void)snprintf(hex, QA_HEX_BYTES, "0x%08lx%08lx", (unsigned long)(word >> 32), (unsigned long)(word & 0xffffffffu));
}
