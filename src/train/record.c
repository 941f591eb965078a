/* See record.h. jansson's setters return -1 when out of memory (or for text that is not UTF-8) and take over the value;
 * so a chain of them can be checked once. */
#include "train/record.h"

#include <stdint.h>
#include <stdio.h>

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

void qa_record_set_seed(qa_record *record, const char *key, uint64_t seed) {
    char digits[QA_HEX_BYTES];
    qa_hex64(digits, seed);
    qa_record_set(record, key, seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_string(digits));
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
