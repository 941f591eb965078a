/* See template_scope.h.
 *
 * Jinja2 compiles a template into Python functions, and its scopes are what that makes of them. A frame is the
 * template, a macro, the body of a loop, of a block...; the frames of one function share its slots. A name is looked
 * for outwards through the frames. One that is set in a frame gets a slot of that frame, which begins as the outer
 * variable's value if there is one: so a set within a loop is local, and starts anew in every round. A name that no
 * frame sets is what the caller gave, looked up when the frame is entered. All statements of a frame are read before
 * any name in it is resolved: a set further down makes it the frame's own. */
#include "text/template_scope.h"

#include "text/template_lex.h"

enum { MOST_NAMES = 250 };

/* The body of a template, macro or call block. */
typedef struct scope_function {
    struct scope_function *outer;
    uint32_t n_slots;
} scope_function;

typedef struct scope_name {
    const char *text;
    size_t bytes;
    uint32_t index;
} scope_name;

typedef struct scope_frame {
    struct scope_frame *outer;
    scope_function *function;
    scope_name *names; /* [n] */
    size_t n, capacity;
    qa_load *loads;
    size_t n_loads, loads_capacity;
} scope_frame;

typedef struct scoping {
    qa_parse *parse;
    scope_frame *frame;
    unsigned branches; /* conditions around this place, within the frame */
    bool soft;         /* a condition stands around it, within the frame */
    const char *looked_for;
    bool found;
} scoping;

static void collect_names(scoping *s, qa_node *node);
static void resolve_names(scoping *s, qa_node *node);

/* ---- names ---- */

static const scope_name *name_in(const scope_frame *frame, const char *text, size_t bytes) {
    for (size_t i = frame->n; i > 0; i--) {
        const scope_name *name = &frame->names[i - 1];
        if (name->bytes == bytes && memcmp(name->text, text, bytes) == 0) {
            return name;
        }
    }
    return NULL;
}

/* Where the name is, seen from s->frame; false: no frame from `from` outwards has it. */
static bool find_slot(const scoping *s, const scope_frame *from, const char *text, size_t bytes, qa_slot *slot) {
    for (; from != NULL; from = from->outer) {
        const scope_name *name = name_in(from, text, bytes);
        if (name != NULL) {
            *slot = (qa_slot){.index = name->index};
            for (const scope_function *f = s->frame->function; f != from->function; f = f->outer) {
                slot->outwards++;
            }
            return true;
        }
    }
    return false;
}

static uint32_t define(scoping *s, const char *text, size_t bytes) {
    scope_frame *frame = s->frame;
    if (frame->n == MOST_NAMES) {
        qa_parse_fail(s->parse, QA_ERR_LIMIT, 1, "more than %d variables in one block", MOST_NAMES);
    }
    frame->names =
        qa_heap_grow(s->parse->heap, frame->names, frame->n, &frame->capacity, frame->n + 1, sizeof(scope_name));
    const uint32_t index = frame->function->n_slots++;
    frame->names[frame->n++] = (scope_name){.text = text, .bytes = bytes, .index = index};
    return index;
}

static void add_frame_load(scoping *s, qa_load load) {
    scope_frame *frame = s->frame;
    frame->loads = qa_heap_grow(s->parse->heap, frame->loads, frame->n_loads, &frame->loads_capacity,
                                frame->n_loads + 1, sizeof(qa_load));
    frame->loads[frame->n_loads++] = load;
}

static void define_resolved(scoping *s, const char *text, size_t bytes) {
    add_frame_load(s, (qa_load){.how = QA_LOAD_RESOLVE, .index = define(s, text, bytes), .name = text, .bytes = bytes});
}

static void load_name(scoping *s, const char *text, size_t bytes) {
    qa_slot slot;
    if (!find_slot(s, s->frame, text, bytes, &slot)) {
        define_resolved(s, text, bytes);
    }
}

static void store_name(scoping *s, const char *text, size_t bytes) {
    qa_slot outer;
    if (name_in(s->frame, text, bytes) != NULL) {
        return;
    }
    if (find_slot(s, s->frame->outer, text, bytes, &outer)) {
        add_frame_load(s, (qa_load){.how = QA_LOAD_ALIAS, .index = define(s, text, bytes), .source = outer});
    } else if (s->branches > 0) { /* set in one branch: in the others it is what the caller gave */
        define_resolved(s, text, bytes);
    } else {
        add_frame_load(s, (qa_load){.how = QA_LOAD_MISSING, .index = define(s, text, bytes)});
    }
}

static void store_target(scoping *s, const qa_node *target, bool parameter) {
    for (size_t i = 0; i < target->n; i++) {
        store_target(s, target->items[i], parameter);
    }
    if (target->kind == QA_NODE_MEMBER) {
        load_name(s, target->text, target->bytes);
    } else if (target->kind == QA_NODE_NAME && !parameter) {
        store_name(s, target->text, target->bytes);
    } else if (target->kind == QA_NODE_NAME && name_in(s->frame, target->text, target->bytes) == NULL) {
        (void)define(s, target->text, target->bytes);
    }
}

/* ---- first reading: what a frame sets and uses ---- */

/* Calls visit for every part of an expression. */
static void each_part(scoping *s, qa_node *node, void (*visit)(scoping *, qa_node *)) {
    const qa_arguments *call = node->call;
    qa_node *const parts[] = {node->a, node->b, node->c, call == NULL ? NULL : call->star,
                              call == NULL ? NULL : call->double_star};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i] != NULL) {
            visit(s, parts[i]);
        }
    }
    for (size_t i = 0; i < node->n; i++) {
        visit(s, node->items[i]);
    }
    for (size_t i = 0; call != NULL && i < call->n; i++) {
        visit(s, call->given[i]);
    }
    for (size_t i = 0; call != NULL && i < call->n_named; i++) {
        visit(s, call->named[i]);
    }
}

/* And for every statement within one. */
static void each_statement(scoping *s, const qa_scope *scope, void (*visit)(scoping *, qa_node *)) {
    visit(s, scope->body);
    if (scope->other != NULL) {
        visit(s, scope->other);
    }
}

static void collect_if(scoping *s, qa_node *node) {
    s->branches++;
    each_part(s, node, collect_names); /* no condition sets anything */
    each_statement(s, node->scope, collect_names);
    s->branches--;
}

static void collect_names(scoping *s, qa_node *node) {
    switch (node->kind) {
    case QA_NODE_NAME: load_name(s, node->text, node->bytes); break;
    case QA_NODE_IF: collect_if(s, node); break;
    case QA_NODE_FOR: collect_names(s, node->b); break;
    case QA_NODE_SET:
        collect_names(s, node->b);
        store_target(s, node->a, false);
        break;
    case QA_NODE_SET_BLOCK: store_target(s, node->a, false); break;
    case QA_NODE_MACRO: store_target(s, node->a, false); break;
    case QA_NODE_CALL_BLOCK: collect_names(s, node->a); break;
    case QA_NODE_FILTER_BLOCK: collect_names(s, node->b); break;
    case QA_NODE_WITH:
        for (size_t i = 0; i < node->scope->n_parameters; i++) {
            collect_names(s, node->scope->parameters[i].value);
        }
        break;
    case QA_NODE_GENERATION: break;
    default: each_part(s, node, collect_names); break;
    }
}

/* ---- second reading: names get their slots ---- */

static void enter_scope(scoping *s, scope_frame *frame, scope_function *function) {
    *frame = (scope_frame){.outer = s->frame, .function = function};
    s->frame = frame;
}

static qa_frame leave_scope(scoping *s) {
    const scope_frame *frame = s->frame;
    s->frame = frame->outer;
    return (qa_frame){.loads = frame->loads, .n = frame->n_loads};
}

/* A frame of the same function whose statements are `body` and whose parameter is `target` (NULL). */
static void resolve_block(scoping *s, qa_node *target, qa_node *body, qa_node *filters, qa_frame *out, uint32_t *loop) {
    scope_frame frame;
    const scoping before = *s;
    enter_scope(s, &frame, s->frame->function);
    s->branches = 0;
    s->soft = false;
    if (loop != NULL) {
        *loop = define(s, "loop", 4);
    }
    if (target != NULL) {
        store_target(s, target, true);
    }
    collect_names(s, body);
    if (filters != NULL) {
        collect_names(s, filters);
        resolve_names(s, filters);
    }
    if (target != NULL) {
        resolve_names(s, target);
    }
    resolve_names(s, body);
    *out = leave_scope(s);
    *s = before;
}

static void resolve_for(scoping *s, qa_node *node) {
    qa_scope *scope = node->scope;
    resolve_names(s, node->b);
    if (node->c != NULL) {
        resolve_block(s, scope->test_target, node->c, NULL, &scope->test_frame, NULL);
    }
    resolve_block(s, node->a, scope->body, NULL, &scope->frame, &scope->loop);
    if (scope->other != NULL) {
        resolve_block(s, NULL, scope->other, NULL, &scope->other_frame, NULL);
    }
}

static void look_for_name(scoping *s, qa_node *node) {
    const char *name = s->looked_for;
    if (node->kind == QA_NODE_NAME && node->bytes == strlen(name) && memcmp(node->text, name, node->bytes) == 0) {
        s->found = true;
    }
    each_part(s, node, look_for_name);
    for (size_t i = 0; node->scope != NULL && i < node->scope->n_parameters; i++) {
        if (node->scope->parameters[i].value != NULL) {
            look_for_name(s, node->scope->parameters[i].value);
        }
    }
    if (node->scope != NULL) {
        each_statement(s, node->scope, look_for_name);
    }
}

/* The slot of caller, kwargs or varargs where the body uses it and no parameter has the name. */
static uint32_t define_special(scoping *s, const qa_scope *scope, const char *name) {
    for (size_t i = 0; i < scope->n_parameters; i++) {
        const qa_node *parameter = scope->parameters[i].name;
        if (parameter->bytes == strlen(name) && memcmp(parameter->text, name, parameter->bytes) == 0) {
            if (scope->parameters[i].value == NULL && strcmp(name, "caller") == 0) {
                qa_parse_fail(s->parse, QA_ERR_FORMAT, parameter->line, "a parameter \"caller\" needs a default");
            }
            return QA_NO_SLOT;
        }
    }
    s->looked_for = name;
    s->found = false;
    look_for_name(s, scope->body);
    return s->found ? define(s, name, strlen(name)) : QA_NO_SLOT;
}

/* A macro, or the body of a call or generation block: a function of its own. */
static void resolve_function(scoping *s, qa_node *node) {
    qa_scope *scope = node->scope;
    scope_function function = {.outer = s->frame->function};
    scope_frame frame;
    const scoping before = *s;
    enter_scope(s, &frame, &function);
    s->branches = 0;
    s->soft = false;
    for (size_t i = 0; i < scope->n_parameters; i++) {
        store_target(s, scope->parameters[i].name, true);
    }
    scope->caller = define_special(s, scope, "caller");
    scope->more_named = define_special(s, scope, "kwargs");
    scope->more_given = define_special(s, scope, "varargs");
    for (size_t i = 0; i < scope->n_parameters; i++) {
        if (scope->parameters[i].value != NULL) {
            collect_names(s, scope->parameters[i].value);
        }
    }
    collect_names(s, scope->body);
    for (size_t i = 0; i < scope->n_parameters; i++) {
        resolve_names(s, scope->parameters[i].name);
        if (scope->parameters[i].value != NULL) {
            resolve_names(s, scope->parameters[i].value);
        }
    }
    resolve_names(s, scope->body);
    scope->frame = leave_scope(s);
    scope->n_slots = function.n_slots;
    *s = before;
}

static void resolve_with(scoping *s, qa_node *node) {
    qa_scope *scope = node->scope;
    scope_frame frame;
    const scoping before = *s;
    for (size_t i = 0; i < scope->n_parameters; i++) {
        resolve_names(s, scope->parameters[i].value);
    }
    enter_scope(s, &frame, s->frame->function);
    s->branches = 0;
    s->soft = false;
    for (size_t i = 0; i < scope->n_parameters; i++) {
        store_target(s, scope->parameters[i].name, true);
        resolve_names(s, scope->parameters[i].name);
    }
    collect_names(s, scope->body);
    resolve_names(s, scope->body);
    scope->frame = leave_scope(s);
    *s = before;
}

static void resolve_condition(scoping *s, qa_node *node) {
    const bool soft = s->soft;
    s->soft = true;
    each_part(s, node, resolve_names);
    if (node->scope != NULL) {
        each_statement(s, node->scope, resolve_names);
    }
    s->soft = soft;
}

static void check_known(const scoping *s, const qa_node *node) {
    if (node->row == NULL && !s->soft) {
        qa_parse_fail(s->parse, QA_ERR_FORMAT, node->line, "there is no %s \"%.*s\"",
                      node->kind == QA_NODE_FILTER ? "filter" : "test", (int)(node->bytes < 80 ? node->bytes : 80),
                      node->text);
    }
}

static void resolve_names(scoping *s, qa_node *node) {
    switch (node->kind) {
    case QA_NODE_NAME:
    case QA_NODE_MEMBER: (void)find_slot(s, s->frame, node->text, node->bytes, &node->slot); break;
    case QA_NODE_IF:
    case QA_NODE_CONDITION: resolve_condition(s, node); break;
    case QA_NODE_FOR: resolve_for(s, node); break;
    case QA_NODE_SET_BLOCK:
        resolve_block(s, NULL, node->scope->body, node->b, &node->scope->frame, NULL);
        resolve_names(s, node->a);
        break;
    case QA_NODE_FILTER_BLOCK: resolve_block(s, NULL, node->scope->body, node->b, &node->scope->frame, NULL); break;
    case QA_NODE_MACRO:
    case QA_NODE_CALL_BLOCK:
        resolve_names(s, node->a);
        resolve_function(s, node);
        break;
    case QA_NODE_GENERATION: resolve_function(s, node); break;
    case QA_NODE_WITH: resolve_with(s, node); break;
    case QA_NODE_FILTER:
    case QA_NODE_TEST: check_known(s, node); /* fallthrough */
    default: each_part(s, node, resolve_names); break;
    }
}

void qa_template_scopes(qa_parse *parse, qa_template *t) {
    scope_function function = {.outer = NULL};
    scope_frame frame;
    scoping s = {.parse = parse};
    enter_scope(&s, &frame, &function);
    collect_names(&s, t->body);
    resolve_names(&s, t->body);
    t->frame = leave_scope(&s);
    t->n_slots = function.n_slots;
}
