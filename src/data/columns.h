/* The keys of data rows and of their messages that no form reads: metadata passes, what belongs to the prompt is
 * refused, and everything else that holds something is noted, for one warning a file. */
#ifndef QA_DATA_COLUMNS_H
#define QA_DATA_COLUMNS_H

#include "io/json.h"
#include "qadapter/data.h"

enum { QA_MAX_COLUMNS = 16, QA_COLUMN_BYTES = 64, QA_KEYS_BYTES = 200, QA_FOUND_BYTES = QA_KEYS_BYTES + 9 };

/* Keys that hold something and are not used, each once. Zero-initialise; owns nothing. */
typedef struct qa_columns {
    char names[QA_MAX_COLUMNS][QA_COLUMN_BYTES]; /* [n] */
    size_t n;
    bool more; /* than fit */
} qa_columns;

/* Null, an empty string, list or object, and lists and objects of nothing but those: what tables hold where a row has
 * no such value. So are the strings "[]", "{}" and "null", as tables keep JSON in text. */
bool qa_column_is_empty(const json_t *value);

/* "a list"..., for messages. */
const char *qa_column_kind(const json_t *value);
/* A member that is there and not null. */
json_t *qa_pairs_member(const json_t *row, const char *key);
/* A member that is true or false; *flag stays as it is where there is none. */
QA_MUST_CHECK qa_status qa_pairs_flag(const json_t *row, const char *key, bool *flag, qa_error *err);
/* The error for a prompt of another type than the two sides. */
QA_MUST_CHECK qa_status qa_columns_unlike(const json_t *prompt, const char *sides, qa_error *err);

/* Metadata that changes neither text nor arithmetic, by its name: id, source, score_chosen... */
bool qa_column_is_metadata(const char *key);

/* The keys of a row that hold something as "a, b, c", cut to fit. With `only_text` those that may be a prompt under
 * another name: strings, without metadata and the two sides. */
void qa_columns_list(const json_t *row, bool only_text, char list[QA_KEYS_BYTES]);

/* "; found a, b, c" into found, for the end of a message about what is missing; "" where there is nothing. Returns it.
 */
const char *qa_columns_found(const json_t *row, char found[QA_FOUND_BYTES]);

/* Whether a string is messages that were written as JSON (or as Python shows them). */
bool qa_column_holds_messages(const json_t *value);

/* A key of the row beside the two sides under which there are messages; NULL: none. */
const char *qa_columns_messages(const json_t *row);

/* What columns such as score_chosen and score_rejected, or a negative margin, say of a pair. */
typedef enum qa_rating {
    QA_RATING_AGREES,     /* or there is none */
    QA_RATING_EQUAL,      /* both sides have the same */
    QA_RATING_CONTRADICTS /* the chosen response has the lower one */
} qa_rating;
qa_rating qa_columns_rating(const json_t *row);

/* Notes the keys of a row beside `read` (ended by NULL), which the row's form reads. A column whose value is that of
 * one of them is nothing new. QA_ERR_UNSUPPORTED: a column belongs to the prompt (tools, system, history...) and cannot
 * be written; text and ids were rendered elsewhere, perhaps with their tools: those are then noted only. */
QA_MUST_CHECK qa_status qa_columns_check_row(qa_columns *columns, const json_t *row, const char *const *read,
                                             qa_pairs_kind kind, qa_error *err);

/* Notes a key that is not used, if it holds something and is no metadata. */
void qa_columns_note_unused(qa_columns *columns, const char *key, const json_t *value);

/* The same for the message number `index` of the list under the key `name`. */
QA_MUST_CHECK qa_status qa_columns_check_message(qa_columns *columns, const json_t *message, const char *name,
                                                 size_t index, qa_error *err);

/* Appends the one line about what was noted in a file, if anything was. */
void qa_columns_warn(const qa_columns *columns, const char *file, qa_warnings *warnings);

#endif
