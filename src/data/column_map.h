/* Files whose columns have other names than ours: "prompt=question,chosen=good" says which column is which, and a row
 * then goes on with our names. A system prompt, an instruction with its input, and earlier turns, which tables keep as
 * strings in columns of their own, become the messages that they are. */
#ifndef QA_DATA_COLUMN_MAP_H
#define QA_DATA_COLUMN_MAP_H

#include "data/columns.h"

/* What is read, as bits: each has names of its own. */
typedef enum qa_column_use {
    QA_COLUMNS_OF_PAIRS = 1,
    QA_COLUMNS_OF_RESPONSES = 2,
    QA_COLUMNS_OF_PROMPTS = 4,
    QA_COLUMNS_OF_DOCUMENTS = 8,
    QA_COLUMNS_OF_ANY = 15
} qa_column_use;

enum { QA_MOST_MAPPED = 16 };

/* Zero-initialise; qa_column_map_free. */
typedef struct qa_column_map {
    qa_column_use use;
    struct qa_mapped_column {
        size_t name;         /* which of ours */
        char *column;        /* owned */
        bool seen;           /* in some row */
    } items[QA_MOST_MAPPED]; /* [n], in the order of our names */
    size_t n;
    bool turns;                 /* a row's strings become messages */
    char found[QA_FOUND_BYTES]; /* what the first row has */
} qa_column_map;

/* "NAME=COLUMN,..."; a NAME alone is a column called so; NULL maps nothing. QA_ERR_ARGUMENT: a name that is not ours
 * (or not for this use), a name or a column that stands twice, two names for the same thing. */
QA_MUST_CHECK qa_status qa_column_map_parse(qa_column_map *map, const char *text, qa_column_use use, qa_error *err);
void qa_column_map_free(qa_column_map *map);

/* The mapping in the order of our names, for a record; false: there is none. */
enum { QA_COLUMN_MAP_BYTES = 512 };
bool qa_column_map_text(const qa_column_map *map, char text[QA_COLUMN_MAP_BYTES]);

/* The row under our names: a new reference, to the row itself where nothing is mapped. A column that has one of our
 * names and another one in its place is noted in *columns. */
QA_MUST_CHECK qa_status qa_column_map_apply(qa_column_map *map, const json_t *row, qa_columns *columns, json_t **out,
                                            qa_error *err);
/* When all rows were read: a column that may be missing in some rows but was so in all is QA_ERR_FORMAT. */
QA_MUST_CHECK qa_status qa_column_map_check_seen(const qa_column_map *map, qa_error *err);

/* Which mapping a row without a form may want, by names that other programs use: "; name its columns: --columns ..."
 * for the end of a message; "" where nothing is known. Returns hint. */
enum { QA_COLUMN_HINT_BYTES = 240 };
const char *qa_column_map_hint(const json_t *row, qa_column_use use, char hint[QA_COLUMN_HINT_BYTES]);

#endif
