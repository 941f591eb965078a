/* See template_eval.h. */
#include "text/template_eval.h"

#include "text/template_lex.h"
#include "text/template_operators.h"
#include "text/template_print.h"
#include "text/template_strings.h"

/* The expression's value; the block's text goes no further than a chain of filters. */
static qa_tv eval(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    return qa_template_eval(run, here, node, NULL);
}

/* ---- literals ---- */

static qa_tv eval_items(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    qa_tv_list *list = qa_tv_new_list(run, node->n);
    for (size_t i = 0; i < node->n; i++) {
        qa_tv_push(run, list, eval(run, here, node->items[i]));
    }
    return (qa_tv){.kind = node->kind == QA_NODE_LIST ? QA_TV_LIST : QA_TV_TUPLE, .as.list = list};
}

static qa_tv eval_dict(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    qa_tv_dict *dict = qa_tv_new_dict(run, node->n / 2);
    for (size_t i = 0; i < node->n; i += 2) {
        const qa_tv key = eval(run, here, node->items[i]);
        qa_tv_dict_set(run, dict, key, eval(run, here, node->items[i + 1]));
    }
    return (qa_tv){.kind = QA_TV_DICT, .as.dict = dict};
}

static qa_tv eval_name(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    const qa_tv *value = qa_template_slot(here, node->slot);
    return value->kind == QA_TV_MISSING ? qa_tv_undefined(run, node->text, node->bytes) : *value;
}

/* ---- operators ---- */

static qa_tv eval_comparison(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    qa_tv left = eval(run, here, node->a);
    bool holds = true;
    for (size_t i = 0; i < node->n && holds; i++) {
        const qa_tv right = eval(run, here, node->items[i]->a);
        holds = qa_tv_compare(run, node->items[i]->operator_, &left, &right);
        left = right;
    }
    return qa_tv_bool(holds);
}

static qa_tv eval_concat(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    qa_tv_buffer out = {0};
    for (size_t i = 0; i < node->n; i++) {
        const qa_tv part = eval(run, here, node->items[i]);
        qa_tv_put_str(run, &out, &part);
    }
    return qa_tv_of_buffer(run, &out);
}

static qa_tv eval_condition(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    const qa_tv condition = eval(run, here, node->a);
    if (qa_tv_true(&condition)) {
        return eval(run, here, node->b);
    }
    return node->c != NULL ? eval(run, here, node->c) : qa_tv_undefined(run, "the value without an else", 25);
}

/* "and" and "or" give one of their operands. */
static qa_tv eval_choice(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    const qa_tv left = eval(run, here, node->a);
    return qa_tv_true(&left) == (node->kind == QA_NODE_OR) ? left : eval(run, here, node->b);
}

static qa_tv eval_part(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    return node == NULL ? qa_tv_none() : eval(run, here, node);
}

static qa_tv eval_item(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    const qa_tv value = eval(run, here, node->a);
    if (node->b->kind != QA_NODE_SLICE) {
        return qa_tv_item(run, value, eval(run, here, node->b));
    }
    const qa_tv start = eval_part(run, here, node->b->a), stop = eval_part(run, here, node->b->b);
    return qa_tv_slice(run, value, start, stop, eval_part(run, here, node->b->c));
}

/* ---- calls ---- */

/* *args: what it walks over, behind the other values. */
static void add_starred(qa_tv_run *run, qa_tv values, qa_tv_list *given) {
    qa_tv_iterator *it = qa_tv_iterate(run, values);
    for (qa_tv value; qa_tv_next(run, it, &value);) {
        qa_tv_push(run, given, value);
    }
}

static void add_double_starred(qa_tv_run *run, qa_tv values, qa_tv_list *names, qa_tv_list *named) {
    if (values.kind != QA_TV_DICT) {
        qa_tv_fail(run, "** needs a dict, not %s", qa_tv_type(&values));
    }
    for (size_t i = 0; i < values.as.dict->n; i++) {
        const qa_tv_entry *entry = &values.as.dict->entries[i];
        if (entry->key.kind != QA_TV_STRING) {
            qa_tv_fail(run, "** needs names, not %s", qa_tv_type(&entry->key));
        }
        for (size_t j = 0; j < names->n; j++) {
            if (qa_tv_equal(run, &names->items[j], &entry->key)) {
                qa_tv_fail(run, "a call gets an argument twice");
            }
        }
        qa_tv_push(run, names, entry->key);
        qa_tv_push(run, named, entry->value);
    }
}

/* All arguments, in memory that outlives the call: generators keep them. */
static qa_tv_call eval_arguments(qa_tv_run *run, qa_tv_frame *here, const qa_arguments *call, const qa_tv *caller) {
    if (call == NULL ||
        (call->n == 0 && call->n_named == 0 && call->star == NULL && call->double_star == NULL && caller == NULL)) {
        return (qa_tv_call){0};
    }
    qa_tv_list *given = qa_tv_new_list(run, call->n);
    qa_tv_list *names = qa_tv_new_list(run, call->n_named), *named = qa_tv_new_list(run, call->n_named);
    for (size_t i = 0; i < call->n; i++) {
        qa_tv_push(run, given, eval(run, here, call->given[i]));
    }
    if (call->star != NULL) {
        add_starred(run, eval(run, here, call->star), given);
    }
    for (size_t i = 0; i < call->n_named; i++) {
        qa_tv_push(run, names, call->names[i]);
        qa_tv_push(run, named, eval(run, here, call->named[i]));
    }
    if (caller != NULL) {
        qa_tv_push(run, names, qa_tv_borrowed(run, "caller", 6));
        qa_tv_push(run, named, *caller);
    }
    if (call->double_star != NULL) {
        add_double_starred(run, eval(run, here, call->double_star), names, named);
    }
    return (qa_tv_call){
        .given = given->items, .n = given->n, .names = names->items, .named = named->items, .n_named = names->n};
}

/* A method of what |safe made: its arguments are escaped where they become part of the text, its strings stay marked.
 */
static qa_tv apply_to_markup(qa_tv_run *run, const qa_tv_function *function, const qa_tv_call *call) {
    static const char *const ESCAPING[] = {"replace", "strip", "lstrip", "rstrip", "center", "ljust", "rjust"};
    qa_tv_list *given = qa_tv_new_list(run, call->n);
    bool escapes = false;
    for (size_t i = 0; i < sizeof ESCAPING / sizeof ESCAPING[0]; i++) {
        escapes = escapes || strcmp(function->row->name, ESCAPING[i]) == 0;
    }
    if (strcmp(function->row->name, "format") == 0 || strcmp(function->row->name, "join") == 0) {
        qa_tv_fail(run, "%s() of what |safe made is not supported", function->row->name);
    }
    for (size_t i = 0; i < call->n; i++) {
        const bool plain = escapes && call->given[i].kind == QA_TV_STRING && !call->given[i].as.string->markup;
        qa_tv_push(run, given, plain ? qa_tv_escaped(run, call->given[i].as.string) : call->given[i]);
    }
    qa_tv_call escaped = *call;
    escaped.given = given->items;
    const qa_tv result = qa_tv_apply(run, function->row, function->self, &escaped);
    for (size_t i = 0; (result.kind == QA_TV_LIST || result.kind == QA_TV_TUPLE) && i < result.as.list->n; i++) {
        result.as.list->items[i] = qa_tv_marked(run, result.as.list->items[i], true);
    }
    return qa_tv_marked(run, result, true);
}

static qa_tv call_value(qa_tv_run *run, qa_tv callee, const qa_tv_call *call) {
    if (callee.kind == QA_TV_FUNCTION) {
        const qa_tv_function *function = callee.as.function;
        const bool markup = function->self.kind == QA_TV_STRING && function->self.as.string->markup;
        return markup ? apply_to_markup(run, function, call) : qa_tv_apply(run, function->row, function->self, call);
    }
    if (callee.kind == QA_TV_MACRO) {
        return callee.as.macro->call(run, callee.as.macro, call);
    }
    if (callee.kind == QA_TV_UNDEFINED) {
        const qa_tv_string *name = callee.as.string;
        qa_tv_fail(run, "'%.*s' is undefined, or changes a value, which the sandbox forbids",
                   (int)(name->n < 80 ? name->n : 80), name->data);
    }
    qa_tv_fail(run, "a %s cannot be called", qa_tv_type(&callee));
}

qa_tv qa_template_eval_call(qa_tv_run *run, qa_tv_frame *here, const qa_node *node, const qa_tv *caller) {
    const qa_tv callee = eval(run, here, node->a);
    const qa_tv_call call = eval_arguments(run, here, node->call, caller);
    const size_t line = run->line;
    const qa_tv value = call_value(run, callee, &call);
    run->line = line;
    return value;
}

/* A filter or a test. */
static qa_tv eval_row(qa_tv_run *run, qa_tv_frame *here, const qa_node *node, const qa_tv *block) {
    const qa_tv self = node->a != NULL ? qa_template_eval(run, here, node->a, block) : *block;
    if (node->row == NULL) {
        qa_tv_fail(run, "there is no %s \"%.*s\"", node->kind == QA_NODE_FILTER ? "filter" : "test",
                   (int)(node->bytes < 80 ? node->bytes : 80), node->text);
    }
    const qa_tv_call call = eval_arguments(run, here, node->call, NULL);
    return qa_tv_apply(run, node->row, self, &call);
}

/* ---- all of them ---- */

static qa_tv eval_inner(qa_tv_run *run, qa_tv_frame *here, const qa_node *node, const qa_tv *block) {
    qa_tv value;
    switch (node->kind) {
    case QA_NODE_TUPLE:
    case QA_NODE_LIST: return eval_items(run, here, node);
    case QA_NODE_DICT: return eval_dict(run, here, node);
    case QA_NODE_CONDITION: return eval_condition(run, here, node);
    case QA_NODE_AND:
    case QA_NODE_OR: return eval_choice(run, here, node);
    case QA_NODE_NOT: value = eval(run, here, node->a); return qa_tv_bool(!qa_tv_true(&value));
    case QA_NODE_COMPARE: return eval_comparison(run, here, node);
    case QA_NODE_BINARY:
        value = eval(run, here, node->a);
        return qa_tv_operate(run, node->operator_, value, eval(run, here, node->b));
    case QA_NODE_NEGATE:
    case QA_NODE_PLUS: return qa_tv_negated(run, eval(run, here, node->a), node->kind == QA_NODE_PLUS);
    case QA_NODE_CONCAT: return eval_concat(run, here, node);
    case QA_NODE_ATTRIBUTE: return qa_tv_attribute(run, eval(run, here, node->a), node->value.as.string);
    case QA_NODE_ITEM: return eval_item(run, here, node);
    case QA_NODE_CALL: return qa_template_eval_call(run, here, node, NULL);
    default: return eval_row(run, here, node, block);
    }
}

qa_tv qa_template_eval(qa_tv_run *run, qa_tv_frame *here, const qa_node *node, const qa_tv *block) {
    qa_tv_spend(run, 0);
    if (node->kind == QA_NODE_CONSTANT) {
        return node->value;
    }
    if (node->kind == QA_NODE_NAME) {
        return eval_name(run, here, node);
    }
    qa_tv_enter(run);
    const qa_tv value = eval_inner(run, here, node, block);
    qa_tv_leave(run);
    return value;
}
