/* What a template computes with: Python's values, made in the memory of one rendering and freed with it at once.
 *
 * Lists, tuples and dicts do not change once they are made (the sandbox forbids it), so they are shared freely; only a
 * namespace changes. Whatever fails leaves the rendering by qa_tv_fail, which does not return: no function here gives
 * back a status, and none needs undoing, as all memory belongs to the rendering. */
#ifndef QA_TEXT_TEMPLATE_VALUE_H
#define QA_TEXT_TEMPLATE_VALUE_H

#include "text/template.h"
#include "text/template_heap.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef enum qa_tv_kind {
    QA_TV_MISSING, /* no value at all: an argument that was not given, a variable that was not set */
    QA_TV_UNDEFINED,
    QA_TV_NONE,
    QA_TV_BOOL,
    QA_TV_INT,
    QA_TV_FLOAT,
    QA_TV_STRING,
    QA_TV_LIST,
    QA_TV_TUPLE,
    QA_TV_DICT,
    QA_TV_KEYS, /* dict.keys(), values(), items() */
    QA_TV_VALUES,
    QA_TV_ITEMS,
    QA_TV_RANGE,
    QA_TV_ITERATOR, /* a generator: it is read once, from front to back */
    QA_TV_NAMESPACE,
    QA_TV_LOOP,
    QA_TV_MACRO,
    QA_TV_FUNCTION, /* a global function, or a method bound to its object */
} qa_tv_kind;

/* UTF-8. `chars` is counted when it is first needed. */
typedef struct qa_tv_string {
    const char *data; /* [n], not zero-terminated */
    size_t n;
    size_t chars; /* code points; SIZE_MAX: not counted yet */
    bool markup;  /* what |safe makes: texts that are added to it are escaped */
} qa_tv_string;

typedef struct qa_tv {
    qa_tv_kind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        qa_tv_string *string;            /* of an undefined value: its name, or NULL */
        struct qa_tv_list *list;         /* lists and tuples */
        struct qa_tv_dict *dict;         /* dicts, their views, and a namespace */
        struct qa_tv_range *range;       /* range() */
        struct qa_tv_iterator *iterator; /* generators */
        struct qa_tv_loop *loop;         /* template_exec.c */
        const struct qa_tv_macro *macro;
        struct qa_tv_function *function; /* template_bind.h */
    } as;
} qa_tv;

typedef struct qa_tv_list {
    qa_tv *items; /* [n] */
    size_t n, capacity;
    bool group; /* of groupby: its two parts are also called grouper and list */
} qa_tv_list;

typedef struct qa_tv_entry {
    qa_tv key, value;
    uint64_t hash;
} qa_tv_entry;

/* In order of insertion. */
typedef struct qa_tv_dict {
    qa_tv_entry *entries; /* [n] */
    size_t n, capacity;
    uint32_t *slots; /* [n_slots], a power of two: 1 + the entry, 0 for none; NULL while there are few entries */
    size_t n_slots;
} qa_tv_dict;

typedef struct qa_tv_range {
    int64_t start, stop, step;
    size_t n;
} qa_tv_range;

typedef struct qa_tv_run qa_tv_run;
struct qa_tv_call; /* template_bind.h */

/* Gives the next value, or false at the end. What it reads from is its own. */
typedef struct qa_tv_iterator {
    bool (*next)(qa_tv_run *run, struct qa_tv_iterator *it, qa_tv *value);
    qa_tv over;                    /* what is walked */
    size_t at;                     /* how far */
    struct qa_tv_iterator *source; /* of a generator over another one */
    const void *state;             /* whatever else `next` needs */
} qa_tv_iterator;

/* A macro, or the body of a call block, which has no name. */
typedef struct qa_tv_macro {
    qa_tv name; /* a string or None */
    const struct qa_node *node;
    struct qa_tv_frame *outer; /* whose variables it sees (template_eval.h) */
    qa_tv (*call)(qa_tv_run *run, const struct qa_tv_macro *macro, const struct qa_tv_call *arguments);
} qa_tv_macro;

/* A rendering. */
struct qa_tv_run {
    qa_heap heap; /* memory, and the way out */
    const qa_template *of;
    struct tm date;
    const qa_tv_dict *variables;
    size_t steps_left, output_limit;
    size_t line;       /* of the statement that runs */
    unsigned depth;    /* nesting of what runs */
    unsigned captures; /* macros and blocks whose output is a value */
    qa_text *out;
    size_t out_start; /* bytes that were in out before */
    qa_status status; /* of the library: QA_OK unless there was no memory */
    qa_error *err;
    qa_template_result *result;
};

/* Ends the rendering with QA_TEMPLATE_ERROR at the line that runs. */
_Noreturn void qa_tv_fail(qa_tv_run *run, const char *format, ...) QA_PRINTF(2, 3);
/* Ends it with QA_TEMPLATE_RAISED. */
_Noreturn void qa_tv_raise(qa_tv_run *run, const char *message, size_t bytes);

/* Takes steps off what the rendering may do: one, and one for every 16 bytes or values that are touched. */
static inline void qa_tv_spend(qa_tv_run *run, size_t touched) {
    const size_t steps = 1 + touched / 16;
    if (steps > run->steps_left) {
        qa_tv_fail(run, "the template does more steps than a rendering may");
    }
    run->steps_left -= steps;
}

/* A byte that is searched through costs as much as so many that are copied. */
enum { QA_TV_SEARCH = 8 };

/* Around what calls itself for what is within: nesting is bounded, so that the stack is. */
enum { QA_TV_DEEPEST = 400 };
static inline void qa_tv_enter(qa_tv_run *run) {
    if (++run->depth > QA_TV_DEEPEST) {
        qa_tv_fail(run, "macros, expressions or values are nested more than %d deep", QA_TV_DEEPEST);
    }
}
static inline void qa_tv_leave(qa_tv_run *run) { run->depth--; }

/* ---- making values ---- */

static inline qa_tv qa_tv_none(void) { return (qa_tv){.kind = QA_TV_NONE}; }
static inline qa_tv qa_tv_bool(bool truth) { return (qa_tv){.kind = QA_TV_BOOL, .as.truth = truth}; }
static inline qa_tv qa_tv_int(int64_t integer) { return (qa_tv){.kind = QA_TV_INT, .as.integer = integer}; }
static inline qa_tv qa_tv_float(double real) { return (qa_tv){.kind = QA_TV_FLOAT, .as.real = real}; }
static inline qa_tv qa_tv_of_list(qa_tv_list *list) { return (qa_tv){.kind = QA_TV_LIST, .as.list = list}; }

/* The value of this name does not exist; printing it prints nothing, using it fails. */
qa_tv qa_tv_undefined(qa_tv_run *run, const char *name, size_t bytes);
/* A size as an integer. */
qa_tv qa_tv_size(size_t n);
/* A string that shares the bytes, which must live as long as the rendering (or the template). */
qa_tv qa_tv_borrowed(qa_tv_run *run, const char *data, size_t n);
qa_tv qa_tv_copied(qa_tv_run *run, const char *data, size_t n);
/* a + b, which takes no copy of `a` where its bytes are the last ones that were made. */
qa_tv qa_tv_joined(qa_tv_run *run, const char *a, size_t a_bytes, const char *b, size_t b_bytes);
/* The string, with the mark that |safe sets. */
qa_tv qa_tv_marked(qa_tv_run *run, qa_tv string, bool markup);

qa_tv_list *qa_tv_new_list(qa_tv_run *run, size_t capacity);
void qa_tv_push(qa_tv_run *run, qa_tv_list *list, qa_tv value);
qa_tv qa_tv_pair(qa_tv_run *run, qa_tv first, qa_tv second); /* a tuple of two */

qa_tv_dict *qa_tv_new_dict(qa_tv_run *run, size_t capacity);
/* Fails for a key that Python cannot hash. */
void qa_tv_dict_set(qa_tv_run *run, qa_tv_dict *dict, qa_tv key, qa_tv value);
/* NULL when it is not there. */
const qa_tv *qa_tv_dict_get(qa_tv_run *run, const qa_tv_dict *dict, qa_tv key);
const qa_tv *qa_tv_dict_get_text(qa_tv_run *run, const qa_tv_dict *dict, const char *key, size_t bytes);
bool qa_tv_hashable(const qa_tv *value);

/* JSON as Python reads it. */
qa_tv qa_tv_of_json(qa_tv_run *run, json_t *json);

/* ---- asking values ---- */

/* Python's name of its type, for messages. */
const char *qa_tv_type(const qa_tv *value);
bool qa_tv_true(const qa_tv *value);
static inline bool qa_tv_is_text(const qa_tv *value, const char *text) {
    return value->kind == QA_TV_STRING && value->as.string->n == strlen(text) &&
           memcmp(value->as.string->data, text, value->as.string->n) == 0;
}
/* bool and int; *integer only then. */
bool qa_tv_as_int(const qa_tv *value, int64_t *integer);
/* bool, int and float. */
bool qa_tv_as_real(const qa_tv *value, double *real);
/* len(); false where Python has none. */
bool qa_tv_length(const qa_tv *value, size_t *n);
size_t qa_tv_chars(const qa_tv_string *string);

bool qa_tv_equal(qa_tv_run *run, const qa_tv *a, const qa_tv *b);
/* Below zero, zero, above; fails where Python cannot order them. `operator` is for the message. NaN is never below or
 * above: *unordered tells. */
int qa_tv_order(qa_tv_run *run, const qa_tv *a, const qa_tv *b, const char *operator_, bool *unordered);
/* value in container */
bool qa_tv_contains(qa_tv_run *run, const qa_tv *container, const qa_tv *value);

/* ---- walking values ---- */

/* iter(); false where Python cannot. */
bool qa_tv_walkable(const qa_tv *value);
/* Fails with Python's message where it cannot. */
qa_tv_iterator *qa_tv_iterate(qa_tv_run *run, qa_tv value);
static inline bool qa_tv_next(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    qa_tv_spend(run, 0);
    qa_tv_enter(run); /* a generator may walk a generator */
    const bool found = it->next(run, it, value);
    qa_tv_leave(run);
    return found;
}
qa_tv qa_tv_of_iterator(qa_tv_iterator *it);
/* list() */
qa_tv_list *qa_tv_listed(qa_tv_run *run, qa_tv value);

/* ---- strings by code point ---- */

/* The byte at which character `index` <= chars begins. */
size_t qa_tv_offset(qa_tv_run *run, qa_tv_string *string, size_t index);
/* The characters in the first `bytes`. */
size_t qa_tv_index(qa_tv_run *run, qa_tv_string *string, size_t bytes);

#endif
