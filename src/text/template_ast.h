/* A parsed chat template: a tree of nodes in one heap. Nothing in it changes once it is parsed. */
#ifndef QA_TEXT_TEMPLATE_AST_H
#define QA_TEXT_TEMPLATE_AST_H

#include "text/template_value.h"

typedef enum qa_node_kind {
    /* expressions */
    QA_NODE_CONSTANT, /* value */
    QA_NODE_NAME,     /* text, slot */
    QA_NODE_MEMBER,   /* the target name.attribute of a set: text, slot; value is the attribute's name */
    QA_NODE_TUPLE,    /* items */
    QA_NODE_LIST,
    QA_NODE_DICT,      /* items: key, value, key, value... */
    QA_NODE_CONDITION, /* b if a else c (NULL) */
    QA_NODE_AND,       /* a, b */
    QA_NODE_OR,
    QA_NODE_NOT,       /* a */
    QA_NODE_COMPARE,   /* a, then items: QA_NODE_OPERAND */
    QA_NODE_OPERAND,   /* operator a */
    QA_NODE_BINARY,    /* a operator b */
    QA_NODE_NEGATE,    /* a */
    QA_NODE_PLUS,      /* a */
    QA_NODE_CONCAT,    /* items */
    QA_NODE_ATTRIBUTE, /* a.value */
    QA_NODE_ITEM,      /* a[b] */
    QA_NODE_SLICE,     /* the b of an item: a:b:c, each may be NULL */
    QA_NODE_CALL,      /* a(call) */
    QA_NODE_FILTER,    /* a|text(call); row; a is NULL for the text of a block */
    QA_NODE_TEST,      /* a is text(call); row */
    /* statements */
    QA_NODE_BLOCK,        /* items, one after the other */
    QA_NODE_DATA,         /* text */
    QA_NODE_PRINT,        /* a */
    QA_NODE_IF,           /* a, body; items: more QA_NODE_IF for elif; other */
    QA_NODE_FOR,          /* for a in b if c (NULL): body; other */
    QA_NODE_SET,          /* a = b */
    QA_NODE_SET_BLOCK,    /* a = the body's text, through the filters b (NULL) */
    QA_NODE_MACRO,        /* text, slot; parameters; body */
    QA_NODE_CALL_BLOCK,   /* a is the call; parameters; body */
    QA_NODE_FILTER_BLOCK, /* b are the filters; body */
    QA_NODE_GENERATION,   /* body */
    QA_NODE_WITH,         /* parameters: names and values; body */
    QA_NODE_BREAK,
    QA_NODE_CONTINUE,
} qa_node_kind;

typedef struct qa_node qa_node;

/* Where a variable is: so many functions outwards, and there so many places in. */
typedef struct qa_slot {
    uint32_t outwards, index;
} qa_slot;

/* What a frame does on entry with one of its variables. */
typedef struct qa_load {
    enum { QA_LOAD_MISSING, QA_LOAD_RESOLVE, QA_LOAD_ALIAS } how;
    uint32_t index;   /* of the slot, in the function that runs */
    const char *name; /* resolve: of the variable that the caller gave, or the global function */
    size_t bytes;
    qa_slot source; /* alias: of the outer variable, whose value is taken over */
} qa_load;

typedef struct qa_frame {
    const qa_load *loads; /* [n] */
    size_t n;
} qa_frame;

/* The arguments of a call, a filter or a test. */
typedef struct qa_arguments {
    qa_node **given; /* [n] */
    size_t n, given_capacity;
    qa_tv *names;    /* [n_named] strings */
    qa_node **named; /* [n_named] */
    size_t n_named, names_capacity, named_capacity;
    qa_node *star, *double_star; /* *args, **kwargs; NULL */
} qa_arguments;

typedef struct qa_parameter {
    qa_node *name;  /* QA_NODE_NAME */
    qa_node *value; /* its default; NULL */
} qa_parameter;

enum { QA_NO_SLOT = UINT32_MAX };

/* What only some statements have. */
typedef struct qa_scope {
    qa_node *body, *other; /* QA_NODE_BLOCK; other is the else, or NULL */
    qa_frame frame, test_frame, other_frame;
    qa_parameter *parameters; /* [n_parameters] */
    size_t n_parameters, parameters_capacity;
    qa_node *test_target;                    /* a loop's target once more, for its test */
    uint32_t loop;                           /* slot of the variable `loop` */
    uint32_t n_slots;                        /* of the function that the body is */
    uint32_t caller, more_named, more_given; /* slots of caller, kwargs, varargs; QA_NO_SLOT: not used */
} qa_scope;

struct qa_node {
    qa_node_kind kind;
    int operator_; /* a token's type (template_lex.h) */
    uint32_t line, height;
    const char *text;
    size_t bytes;
    qa_slot slot;
    qa_tv value;
    qa_node *a, *b, *c;
    qa_node **items; /* [n] */
    size_t n, capacity;
    qa_arguments *call;
    const void *row; /* the filter or test (template_bind.h); NULL: there is none of this name */
    qa_scope *scope;
};

struct qa_template {
    qa_heap heap;
    char *name;
    qa_node *body;
    qa_frame frame;
    uint32_t n_slots;
};

/* The parser's way out, and what it says. */
typedef struct qa_parse {
    qa_heap *heap;
    const char *name;
    qa_error *err;
    qa_status status;
} qa_parse;

/* "name:line: message"; does not return. */
_Noreturn void qa_parse_fail(qa_parse *parse, qa_status status, size_t line, const char *format, ...) QA_PRINTF(4, 5);

#endif
