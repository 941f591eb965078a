/* Functions, methods, filters and tests as rows of tables, and how a call's arguments meet their parameters. */
#ifndef QA_TEXT_TEMPLATE_BIND_H
#define QA_TEXT_TEMPLATE_BIND_H

#include "text/template_value.h"

/* Arguments as they were given. */
typedef struct qa_tv_call {
    const qa_tv *given; /* [n] */
    size_t n;
    const qa_tv *names; /* [n_named] strings */
    const qa_tv *named; /* [n_named] */
    size_t n_named;
} qa_tv_call;

enum { QA_TV_MOST_ARGUMENTS = 6 };

/* self: the value in front of the filter or test, the object of a method. args: by the row's parameters; those that
 * were not given are QA_TV_MISSING. call: all of them, for rows without parameters. */
typedef qa_tv (*qa_tv_body)(qa_tv_run *run, qa_tv self, const qa_tv *args, const qa_tv_call *call);

/* A body's head: each has all the arguments and uses few of them. Names are unique over src. */
#define QA_TV_BODY(name)                                                                                               \
    static qa_tv name(QA_TV_UNUSED qa_tv_run *run, QA_TV_UNUSED qa_tv self, QA_TV_UNUSED const qa_tv *args,            \
                      QA_TV_UNUSED const qa_tv_call *call)
#define QA_TV_UNUSED __attribute__((unused))

typedef struct qa_tv_row {
    const char *name;
    qa_tv_body body; /* NULL: Python or Jinja2 has it, this is without it */
    /* "old new count?": names in order, with "?" those that may be left out. "/" in front: they have no names for
     * callers. NULL: `body` looks at the call itself. */
    const char *parameters;
} qa_tv_row;

/* A global function, or a method and its object: the value of kind QA_TV_FUNCTION. */
typedef struct qa_tv_function {
    const qa_tv_row *row;
    qa_tv self;
} qa_tv_function;

const qa_tv_row *qa_tv_find_row(const qa_tv_row *rows, size_t n, const char *name, size_t bytes);
#define QA_TV_FIND_ROW(rows, name, bytes) qa_tv_find_row((rows), sizeof(rows) / sizeof((rows)[0]), (name), (bytes))

/* Binds the arguments and runs the row; fails as Python does for too many or too few. */
qa_tv qa_tv_apply(qa_tv_run *run, const qa_tv_row *row, qa_tv self, const qa_tv_call *call);

/* What bodies ask of an argument; failures name the row that runs. */
int64_t qa_tv_need_int(qa_tv_run *run, const qa_tv *value, int64_t missing);
/* Strings alone: Python's methods take no other value for one. */
const qa_tv_string *qa_tv_need_string(qa_tv_run *run, const qa_tv *value);
static inline bool qa_tv_given(const qa_tv *argument) { return argument->kind != QA_TV_MISSING; }

#endif
