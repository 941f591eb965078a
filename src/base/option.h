/* One row an option. A row says everything about an option of a struct: its name, what it holds and where it lies, its
 * range, its default, whether a run records it and whether resuming compares it, and what the help says. Defaults,
 * checks of ranges, training_config.json, the comparison of a resumed run, the command line, its help and its man page
 * are all made from the row, so that none of them can disagree with another (docs/adding.md).
 *
 * A table is written with the macros below, which check that a field has the type that its row says:
 *
 *     #define ROW(kind, field) QA_##kind(qa_sampling, field)
 *     static const qa_option sampling_rows[] = {
 *         {"top-p", ROW(NUMBER, top_p), .range = QA_RANGE_0_TO_1, .standard = "1", .help = "..."},
 *     };
 *     const qa_option_table qa_sampling_table = QA_TABLE(sampling_rows); */
#ifndef QA_BASE_OPTION_H
#define QA_BASE_OPTION_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The values of an option that may be given several times; the strings are borrowed. */
typedef struct qa_option_list {
    const char **items; /* [n], owned */
    size_t n, capacity;
} qa_option_list;

typedef enum qa_option_type {
    QA_OPTION_FLAG,        /* bool */
    QA_OPTION_SIZE,        /* size_t */
    QA_OPTION_SIZE_OR_ALL, /* size_t; "all" is 0 */
    QA_OPTION_SEED,        /* uint64_t */
    QA_OPTION_NUMBER,      /* double */
    QA_OPTION_CHOICE,      /* an enum whose values are the places of `choices` */
    QA_OPTION_WORD,        /* const char *, one of `choices` */
    QA_OPTION_STRING,      /* const char * */
    QA_OPTION_LIST,        /* qa_option_list: every occurrence counts */
    QA_OPTION_OTHER        /* what `other` reads and writes */
} qa_option_type;

typedef enum qa_option_range {
    QA_RANGE_ANY,
    QA_RANGE_FROM_0,
    QA_RANGE_FROM_1,
    QA_RANGE_1_TO_1024,
    QA_RANGE_ABOVE_0,        /* x > 0 */
    QA_RANGE_ABOVE_0_TO_1,   /* 0 < x <= 1 */
    QA_RANGE_0_TO_1,         /* 0 <= x <= 1 */
    QA_RANGE_0_TO_BELOW_1,   /* 0 <= x < 1 */
    QA_RANGE_0_TO_BELOW_HALF /* 0 <= x < 1/2 */
} qa_option_range;

/* What training_config.json holds of it. */
typedef enum qa_option_record {
    QA_RECORD_NONE,
    QA_RECORD_KEPT,     /* for the reader */
    QA_RECORD_COMPARED, /* and a resumed run must have the same */
    QA_RECORD_LATER     /* the same of an option that came later: recorded where it is not its default, so that runs of
                           before it, whose records lack it, go on */
} qa_option_record;

/* Headings of the help, in the order in which they are printed. */
typedef enum qa_option_group {
    QA_GROUP_GENERAL,
    QA_GROUP_INPUT,
    QA_GROUP_PROBLEM,
    QA_GROUP_DATA,
    QA_GROUP_OBJECTIVE,
    QA_GROUP_ADAPTER,
    QA_GROUP_ROLLOUTS,
    QA_GROUP_OPTIMISER,
    QA_GROUP_RUN,
    QA_GROUP_SAMPLING,
    QA_GROUP_OUTPUT,
    QA_GROUPS
} qa_option_group;

/* Whether an option is a path, which no output may replace, or which must replace no input. */
typedef enum qa_option_path { QA_PATH_NONE, QA_PATH_READ, QA_PATH_WRITTEN } qa_option_path;

/* A value of a type of its own. */
typedef struct qa_option_other {
    qa_status (*parse)(void *value, const char *text, qa_error *err);
    void (*format)(const void *value, char *text, size_t bytes); /* names in a list are separated by commas */
    /* What may be given: the argument in the help, or behind the help where there is a placeholder; NULL: neither. */
    const char *(*names)(char *text, size_t bytes);
    bool list; /* an array in a record */
} qa_option_other;

typedef struct qa_option {
    const char *name;    /* with dashes: --name; with underscores its key in a record; NULL: not on the command line */
    const char *key;     /* NULL: the name's */
    const char *aliases; /* other names on the command line, separated by spaces; NULL: none */
    char letter;         /* -x; 0: none */
    qa_option_type type;
    size_t offset;              /* in its struct */
    const char *const *choices; /* NULL at the end */
    const char *placeholder;    /* of the argument; NULL: the choices, or N, X */
    const qa_option_other *other;
    qa_option_range range;
    const char *standard;  /* the default as one would give it; NULL: 0, false, nothing */
    const char *published; /* the default under the recipe published; NULL: no recipe says it */
    const char *note;      /* what the help says of the default, with its value for '%'; NULL: the value(s) alone */
    const char *help; /* of a command with subcommands: "a, b: what it does there; c: what it does there", or without
                         names where it is for all of them */
    qa_option_record record;
    qa_option_group group;
    qa_option_path path;
    bool operand; /* may also be given as a bare word, in the table's order */
} qa_option;

typedef struct qa_option_table {
    const qa_option *rows;
    size_t n;
} qa_option_table;

#define QA_TABLE(array)                                                                                                \
    { (array), sizeof(array) / sizeof(array)[0] }

/* offsetof(T, field), where the field has type C. */
#define QA_FIELD(C, T, field) (offsetof(T, field) + 0 * sizeof(_Generic(((T *)0)->field, C : 0)))
#define QA_FLAG(T, field) .type = QA_OPTION_FLAG, .offset = QA_FIELD(bool, T, field)
#define QA_SIZE(T, field) .type = QA_OPTION_SIZE, .offset = QA_FIELD(size_t, T, field)
#define QA_SIZE_OR_ALL(T, field) .type = QA_OPTION_SIZE_OR_ALL, .offset = QA_FIELD(size_t, T, field)
#define QA_SEED(T, field) .type = QA_OPTION_SEED, .offset = QA_FIELD(uint64_t, T, field)
#define QA_NUMBER(T, field) .type = QA_OPTION_NUMBER, .offset = QA_FIELD(double, T, field)
#define QA_STRING(T, field) .type = QA_OPTION_STRING, .offset = QA_FIELD(const char *, T, field)
#define QA_LIST(T, field) .type = QA_OPTION_LIST, .offset = QA_FIELD(qa_option_list, T, field)
#define QA_CHOICE(T, field, names) .type = QA_OPTION_CHOICE, .offset = offsetof(T, field), .choices = (names)
#define QA_OTHER(T, field, how) .type = QA_OPTION_OTHER, .offset = offsetof(T, field), .other = &(how)
#define QA_WORD(T, field, ...)                                                                                         \
    .type = QA_OPTION_WORD, .offset = QA_FIELD(const char *, T, field), .choices = (const char *const[]) {             \
        __VA_ARGS__, NULL                                                                                              \
    }

/* ---- values ---- */

/* Sets the option from its text. The message says what was expected and found; the caller puts the name before it. */
QA_MUST_CHECK qa_status qa_option_set(const qa_option *option, void *options, const char *text, qa_error *err);
/* yes and no in the ways people write them; false when it is neither. */
bool qa_option_parse_truth(const char *text, bool *value);

/* The value as text; false when there is none (NULL, NaN, an empty list). */
bool qa_option_text(const qa_option *option, const void *options, char *text, size_t bytes);
/* What the help says of the default; false: nothing. */
bool qa_option_default_text(const qa_option *option, char *text, size_t bytes);
/* The argument as the help writes it: "theory|published", "N"; "" for a flag. */
const char *qa_option_argument(const qa_option *option, char *text, size_t bytes);

enum { QA_OPTION_KEY_BYTES = 64, QA_OPTION_TEXT_BYTES = 768 };
/* Its name in a record and in messages: "learning_rate". */
const char *qa_option_key(const qa_option *option, char key[QA_OPTION_KEY_BYTES]);

/* The next name of an option on the command line, from *at (NULL at first) on: its own first, then the aliases; NULL:
 * there is none left. */
const char *qa_option_next_name(const qa_option *option, const char **at, size_t *bytes);
/* Whether name[bytes] is one of them, '-' and '_' being the same. */
bool qa_option_is_named(const qa_option *option, const char *name, size_t bytes);

/* ---- tables ---- */

/* The option of that name; NULL: there is none. */
const qa_option *qa_options_named(const qa_option_table *table, const char *name);

/* Sets every option of the table to its default. */
void qa_options_default(const qa_option_table *table, void *options);
/* Sets the options that a recipe says to what it says. */
void qa_options_recipe(const qa_option_table *table, void *options, bool published);
/* Whether every number and choice is in its range: QA_ERR_ARGUMENT names the option, its value and its range. */
QA_MUST_CHECK qa_status qa_options_check(const qa_option_table *table, const void *options, qa_error *err);

/* ---- choices ---- */

/* The place of a name among choices; QA_ERR_ARGUMENT lists them. what: what is chosen, for the message. */
QA_MUST_CHECK qa_status qa_choice_find(unsigned *index, const char *const *choices, const char *what, const char *name,
                                       qa_error *err);
const char *qa_choice_name(const char *const *choices, unsigned index); /* "unknown" behind the end */
/* "a|b" */
const char *qa_choices_text(const char *const *choices, char *text, size_t bytes);

#endif
