/* See template_exec.h. */
#include "text/template_exec.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "text/template_eval.h"
#include "text/template_functions.h"
#include "text/template_loop.h"
#include "text/template_print.h"

typedef enum exec_flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE } exec_flow;

static exec_flow exec_statements(qa_tv_run *run, qa_tv_frame *here, const qa_node *block);

/* ---- output ---- */

static void write_out(qa_tv_run *run, const char *data, size_t n) {
    qa_tv_spend(run, n);
    if (n > run->output_limit - (run->out->n - run->out_start)) {
        qa_tv_fail(run, "the output is longer than %zu bytes", run->output_limit);
    }
    run->status = qa_text_append(run->out, data, n, run->err);
    if (run->status != QA_OK) {
        longjmp(run->heap.escape, 1);
    }
}

/* Runs a body whose output becomes a value: it is written behind the output, and taken off again. */
static qa_tv captured(qa_tv_run *run, qa_tv_frame *here, const qa_node *body, exec_flow *flow) {
    const size_t start = run->out->n;
    run->captures++;
    *flow = exec_statements(run, here, body);
    run->captures--;
    if (run->out->n == start) {
        return qa_tv_borrowed(run, "", 0);
    }
    const qa_tv text = qa_tv_copied(run, run->out->data + start, run->out->n - start);
    run->out->n = start;
    run->out->data[start] = '\0';
    return text;
}

/* ---- variables ---- */

static qa_tv resolve_variable(qa_tv_run *run, const qa_load *load) {
    const qa_tv *given = qa_tv_dict_get_text(run, run->variables, load->name, load->bytes);
    const qa_tv_row *row = given == NULL ? qa_template_function(load->name, load->bytes) : NULL;
    if (row == NULL) {
        return given != NULL ? *given : (qa_tv){.kind = QA_TV_MISSING};
    }
    qa_tv_function *function = QA_HEAP_NEW(&run->heap, qa_tv_function, 1);
    *function = (qa_tv_function){.row = row, .self = qa_tv_none()};
    return (qa_tv){.kind = QA_TV_FUNCTION, .as.function = function};
}

static void enter_frame(qa_tv_run *run, qa_tv_frame *here, const qa_frame *frame) {
    for (size_t i = 0; i < frame->n; i++) {
        const qa_load *load = &frame->loads[i];
        qa_tv *slot = &here->slots[load->index];
        switch (load->how) {
        case QA_LOAD_MISSING: *slot = (qa_tv){.kind = QA_TV_MISSING}; break;
        case QA_LOAD_ALIAS: *slot = *qa_template_slot(here, load->source); break;
        case QA_LOAD_RESOLVE: *slot = resolve_variable(run, load); break;
        }
    }
    qa_tv_spend(run, frame->n);
}

static qa_tv_frame *activate(qa_tv_run *run, qa_tv_frame *outer, size_t n_slots) {
    qa_tv_frame *here = QA_HEAP_NEW(&run->heap, qa_tv_frame, 1);
    here->outer = outer;
    here->slots = QA_HEAP_NEW(&run->heap, qa_tv, n_slots);
    qa_tv_spend(run, n_slots);
    return here;
}

/* Fails unless every name.attribute that is set belongs to a namespace. */
static void check_members(qa_tv_run *run, qa_tv_frame *here, const qa_node *target) {
    for (size_t i = 0; i < target->n; i++) {
        check_members(run, here, target->items[i]);
    }
    if (target->kind == QA_NODE_MEMBER && qa_template_slot(here, target->slot)->kind != QA_TV_NAMESPACE) {
        qa_tv_fail(run, "only a namespace's attributes can be set, and \"%.*s\" is none",
                   (int)(target->bytes < 80 ? target->bytes : 80), target->text);
    }
}

static void assign(qa_tv_run *run, qa_tv_frame *here, const qa_node *target, qa_tv value) {
    qa_tv *slot = target->kind == QA_NODE_TUPLE ? NULL : qa_template_slot(here, target->slot);
    if (target->kind == QA_NODE_NAME) {
        *slot = value;
    } else if (target->kind == QA_NODE_MEMBER) {
        if (target->value.as.string->data[0] == '_') {
            qa_tv_fail(run, "a namespace keeps no name that begins with an underscore");
        }
        qa_tv_dict_set(run, slot->as.dict, target->value, value);
    } else {
        qa_tv_iterator *it = qa_tv_iterate(run, value);
        qa_tv part;
        for (size_t i = 0; i < target->n; i++) {
            if (!qa_tv_next(run, it, &part)) {
                qa_tv_fail(run, "%zu values are needed, and there are %zu", target->n, i);
            }
            assign(run, here, target->items[i], part);
        }
        if (qa_tv_next(run, it, &part)) {
            qa_tv_fail(run, "there are more than the %zu values that are needed", target->n);
        }
    }
}

/* ---- macros ---- */

static const qa_tv *taken_by_name(const qa_tv_call *call, const char *name, size_t bytes, bool *taken) {
    for (size_t i = 0; i < call->n_named; i++) {
        const qa_tv_string *given = call->names[i].as.string;
        if (!taken[i] && given->n == bytes && memcmp(given->data, name, bytes) == 0) {
            taken[i] = true;
            return &call->named[i];
        }
    }
    return NULL;
}

/* What no parameter took: the variables kwargs and varargs of the macro, or an error. */
static void bind_rest(qa_tv_run *run, const qa_scope *scope, const qa_tv_call *call, const bool *taken, qa_tv *slots) {
    qa_tv_dict *named = qa_tv_new_dict(run, 0);
    qa_tv_list *given = qa_tv_new_list(run, 0);
    for (size_t i = 0; i < call->n_named; i++) {
        if (!taken[i]) {
            qa_tv_dict_set(run, named, call->names[i], call->named[i]);
        }
    }
    for (size_t i = scope->n_parameters; i < call->n; i++) {
        qa_tv_push(run, given, call->given[i]);
    }
    if (named->n > 0 && scope->more_named == QA_NO_SLOT) {
        const qa_tv_string *name = named->entries[0].key.as.string;
        qa_tv_fail(run, "the macro has no parameter \"%.*s\", or it gets it twice", (int)(name->n < 80 ? name->n : 80),
                   name->data);
    }
    if (given->n > 0 && scope->more_given == QA_NO_SLOT) {
        qa_tv_fail(run, "the macro takes %zu values, not %zu", scope->n_parameters, call->n);
    }
    if (scope->more_named != QA_NO_SLOT) {
        slots[scope->more_named] = (qa_tv){.kind = QA_TV_DICT, .as.dict = named};
    }
    if (scope->more_given != QA_NO_SLOT) {
        slots[scope->more_given] = (qa_tv){.kind = QA_TV_TUPLE, .as.list = given};
    }
}

static void bind_parameters(qa_tv_run *run, qa_tv_frame *here, const qa_scope *scope, const qa_tv_call *call) {
    bool *taken = call->n_named > 0 ? QA_HEAP_NEW(&run->heap, bool, call->n_named) : NULL;
    for (size_t i = 0; i < scope->n_parameters; i++) {
        const qa_node *name = scope->parameters[i].name;
        const qa_tv *value = i < call->n ? &call->given[i] : taken_by_name(call, name->text, name->bytes, taken);
        here->slots[name->slot.index] = value != NULL ? *value : (qa_tv){.kind = QA_TV_MISSING};
    }
    if (scope->caller != QA_NO_SLOT) {
        const qa_tv *caller = taken_by_name(call, "caller", 6, taken);
        here->slots[scope->caller] = caller != NULL ? *caller : qa_tv_undefined(run, "caller", 6);
    }
    bind_rest(run, scope, call, taken, here->slots);
    enter_frame(run, here, &scope->frame);
    for (size_t i = 0; i < scope->n_parameters; i++) {
        const qa_node *name = scope->parameters[i].name, *value = scope->parameters[i].value;
        qa_tv *slot = &here->slots[name->slot.index];
        if (slot->kind == QA_TV_MISSING) {
            *slot = value != NULL ? qa_template_eval(run, here, value, NULL)
                                  : qa_tv_undefined(run, name->text, name->bytes);
        }
    }
}

static qa_tv call_macro(qa_tv_run *run, const qa_tv_macro *macro, const qa_tv_call *call) {
    const qa_scope *scope = macro->node->scope;
    qa_tv_frame *here = activate(run, macro->outer, scope->n_slots);
    exec_flow flow = FLOW_NEXT;
    qa_tv_enter(run);
    bind_parameters(run, here, scope, call);
    const qa_tv text = captured(run, here, scope->body, &flow);
    qa_tv_leave(run);
    return text;
}

static qa_tv make_macro(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    qa_tv_macro *macro = QA_HEAP_NEW(&run->heap, qa_tv_macro, 1);
    *macro = (qa_tv_macro){
        .name = node->kind == QA_NODE_MACRO ? qa_tv_borrowed(run, node->text, node->bytes) : qa_tv_none(),
        .node = node,
        .outer = here,
        .call = call_macro,
    };
    return (qa_tv){.kind = QA_TV_MACRO, .as.macro = macro};
}

/* ---- loops ---- */

/* "for x in xs if test": the test has variables of its own. */
typedef struct loop_test {
    const qa_node *node;
    qa_tv_frame *here;
    bool entered;
} loop_test;

static bool next_tested(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    loop_test *test = (loop_test *)it->over.as.dict; /* the loop's own state */
    const qa_scope *scope = test->node->scope;
    if (!test->entered) {
        enter_frame(run, test->here, &scope->test_frame);
        test->entered = true;
    }
    while (qa_tv_next(run, it->source, value)) {
        assign(run, test->here, scope->test_target, *value);
        const qa_tv holds = qa_template_eval(run, test->here, test->node->c, NULL);
        if (qa_tv_true(&holds)) {
            return true;
        }
    }
    return false;
}

static qa_tv_loop *start_loop(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    const qa_tv over = qa_template_eval(run, here, node->b, NULL);
    qa_tv_iterator *source = qa_tv_iterate(run, over);
    if (node->c != NULL) {
        qa_tv_iterator *tested = QA_HEAP_NEW(&run->heap, qa_tv_iterator, 1);
        loop_test *test = QA_HEAP_NEW(&run->heap, loop_test, 1);
        *test = (loop_test){.node = node, .here = here};
        *tested = (qa_tv_iterator){.next = next_tested, .source = source, .over.as.dict = (void *)test};
        source = tested;
    }
    return qa_tv_new_loop(run, over, source, node->c != NULL);
}

static exec_flow exec_for(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    const qa_scope *scope = node->scope;
    qa_tv_loop *loop = start_loop(run, here, node);
    bool completed = false; /* a round ran to its end: Jinja2's reason not to run the else */
    for (qa_tv value; qa_tv_loop_next(run, loop, &value);) {
        assign(run, here, node->a, value);
        here->slots[scope->loop] = (qa_tv){.kind = QA_TV_LOOP, .as.loop = loop};
        enter_frame(run, here, &scope->frame);
        const exec_flow flow = exec_statements(run, here, scope->body);
        if (flow == FLOW_BREAK) {
            break;
        }
        completed = completed || flow == FLOW_NEXT;
    }
    if (completed || scope->other == NULL) {
        return FLOW_NEXT;
    }
    enter_frame(run, here, &scope->other_frame);
    return exec_statements(run, here, scope->other);
}

/* ---- blocks ---- */

static exec_flow exec_if(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    qa_tv condition = qa_template_eval(run, here, node->a, NULL);
    if (qa_tv_true(&condition)) {
        return exec_statements(run, here, node->scope->body);
    }
    for (size_t i = 0; i < node->n; i++) {
        run->line = node->items[i]->line;
        condition = qa_template_eval(run, here, node->items[i]->a, NULL);
        if (qa_tv_true(&condition)) {
            return exec_statements(run, here, node->items[i]->scope->body);
        }
    }
    return node->scope->other == NULL ? FLOW_NEXT : exec_statements(run, here, node->scope->other);
}

/* The text of a set or filter block, through its filters. */
static qa_tv block_text(qa_tv_run *run, qa_tv_frame *here, const qa_node *node, exec_flow *flow) {
    enter_frame(run, here, &node->scope->frame);
    const qa_tv text = captured(run, here, node->scope->body, flow);
    return *flow != FLOW_NEXT || node->b == NULL ? text : qa_template_eval(run, here, node->b, &text);
}

static void write_value(qa_tv_run *run, qa_tv value) {
    const qa_tv text = qa_tv_str(run, value);
    write_out(run, text.as.string->data, text.as.string->n);
}

static exec_flow exec_block(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    exec_flow flow = FLOW_NEXT;
    const qa_tv text = block_text(run, here, node, &flow);
    if (flow == FLOW_NEXT && node->kind == QA_NODE_SET_BLOCK) {
        check_members(run, here, node->a);
        assign(run, here, node->a, text);
    } else if (flow == FLOW_NEXT) {
        write_value(run, text);
    }
    return flow;
}

static void exec_set(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    check_members(run, here, node->a);
    assign(run, here, node->a, qa_template_eval(run, here, node->b, NULL));
}

static void exec_call_block(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    const qa_tv caller = make_macro(run, here, node);
    write_value(run, qa_template_eval_call(run, here, node->a, &caller));
}

static void exec_generation(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    const qa_scope *scope = node->scope;
    qa_tv_frame *inner = activate(run, here, scope->n_slots);
    qa_template_result *result = run->result;
    const size_t begin = run->out->n;
    enter_frame(run, inner, &scope->frame);
    (void)exec_statements(run, inner, scope->body);
    if (run->captures > 0) {
        return;
    }
    run->status = QA_GROW(result->generations, result->generations_capacity, result->n_generations + 1, run->err,
                          "%zu generation blocks", result->n_generations + 1);
    if (run->status != QA_OK) {
        longjmp(run->heap.escape, 1);
    }
    result->generations[result->n_generations++] = (qa_template_span){.begin = begin, .end = run->out->n};
}

static exec_flow exec_with(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    const qa_scope *scope = node->scope;
    enter_frame(run, here, &scope->frame);
    for (size_t i = 0; i < scope->n_parameters; i++) {
        assign(run, here, scope->parameters[i].name, qa_template_eval(run, here, scope->parameters[i].value, NULL));
    }
    return exec_statements(run, here, scope->body);
}

/* ---- statements ---- */

static exec_flow exec_one(qa_tv_run *run, qa_tv_frame *here, const qa_node *node) {
    run->line = node->line;
    switch (node->kind) {
    case QA_NODE_DATA: write_out(run, node->text, node->bytes); break;
    case QA_NODE_PRINT: write_value(run, qa_template_eval(run, here, node->a, NULL)); break;
    case QA_NODE_BLOCK: return exec_statements(run, here, node);
    case QA_NODE_IF: return exec_if(run, here, node);
    case QA_NODE_FOR: return exec_for(run, here, node);
    case QA_NODE_SET: exec_set(run, here, node); break;
    case QA_NODE_SET_BLOCK:
    case QA_NODE_FILTER_BLOCK: return exec_block(run, here, node);
    case QA_NODE_MACRO: *qa_template_slot(here, node->a->slot) = make_macro(run, here, node); break;
    case QA_NODE_CALL_BLOCK: exec_call_block(run, here, node); break;
    case QA_NODE_GENERATION: exec_generation(run, here, node); break;
    case QA_NODE_WITH: return exec_with(run, here, node);
    case QA_NODE_BREAK: return FLOW_BREAK;
    case QA_NODE_CONTINUE: return FLOW_CONTINUE;
    default: break; /* expressions are no statements */
    }
    return FLOW_NEXT;
}

static exec_flow exec_statements(qa_tv_run *run, qa_tv_frame *here, const qa_node *block) {
    exec_flow flow = FLOW_NEXT;
    qa_tv_enter(run);
    for (size_t i = 0; i < block->n && flow == FLOW_NEXT; i++) {
        qa_tv_spend(run, 0);
        flow = exec_one(run, here, block->items[i]);
    }
    qa_tv_leave(run);
    return flow;
}

void qa_template_exec(qa_tv_run *run, const qa_template *t) {
    qa_tv_frame *here = activate(run, NULL, t->n_slots);
    enter_frame(run, here, &t->frame);
    (void)exec_statements(run, here, t->body);
}
