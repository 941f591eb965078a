/* Building a JSON object member by member, checked once at the end; and options (base/option.h) in JSON. */
#ifndef QA_TRAIN_RECORD_H
#define QA_TRAIN_RECORD_H

#include "base/option.h"
#include "io/json.h"

/* {.object = json_object()} begins one. */
typedef struct qa_record {
    json_t *object;
    bool failed;
} qa_record;

void qa_record_set(qa_record *record, const char *key, json_t *value); /* takes the value over */
void qa_record_set_real(qa_record *record, const char *key, double value);
void qa_record_set_size(qa_record *record, const char *key, size_t value);
void qa_record_set_bool(qa_record *record, const char *key, bool value);
void qa_record_set_string(qa_record *record, const char *key, const char *value); /* NULL: null */
/* Every member of the object; NULL: none. */
void qa_record_set_members(qa_record *record, const json_t *object);
/* A number, or what qa_hex64 writes where that is too large for JSON. */
void qa_record_set_seed(qa_record *record, const char *key, uint64_t seed);

/* The table's options that are recorded in this way: QA_RECORD_KEPT, or QA_RECORD_COMPARED and QA_RECORD_LATER. */
void qa_record_options(qa_record *record, const qa_option_table *table, const void *options, qa_option_record how);

/* Reads those of the table's options that the object has; the rest stays as it is. where: the object's name. */
QA_MUST_CHECK qa_status qa_options_read(const qa_option_table *table, const json_t *object, const char *where,
                                        void *options, qa_error *err);

/* *out owns the object; what: its name in a message. Ends the record in any case. */
QA_MUST_CHECK qa_status qa_record_finish(qa_record *record, json_t **out, const char *what, qa_error *err);

/* "0x" and 16 hexadecimal digits: how 64-bit words stand in JSON, whose integers end at 2^63. */
enum { QA_HEX_BYTES = 19 };
void qa_hex64(char hex[QA_HEX_BYTES], uint64_t word);

#endif
