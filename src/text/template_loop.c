/* See template_loop.h. As in Jinja2, values are taken one by one: only loop.last, nextitem and length look ahead. */
#include "text/template_loop.h"

#include "text/template_bind.h"

qa_tv_loop *qa_tv_new_loop(qa_tv_run *run, qa_tv over, qa_tv_iterator *source, bool filtered) {
    qa_tv_loop *loop = QA_HEAP_NEW(&run->heap, qa_tv_loop, 1);
    *loop = (qa_tv_loop){.source = source, .index0 = -1, .length = SIZE_MAX};
    if (!filtered && !qa_tv_length(&over, &loop->length)) {
        loop->length = SIZE_MAX;
    }
    return loop;
}

/* The next value that was not looked at. */
static bool take_value(qa_tv_run *run, qa_tv_loop *loop, qa_tv *value) {
    if (loop->rest == NULL) {
        return qa_tv_next(run, loop->source, value);
    }
    if (loop->rest_at == loop->rest->n) {
        return false;
    }
    *value = loop->rest->items[loop->rest_at++];
    return true;
}

/* Looks one value ahead. */
static bool look_ahead(qa_tv_run *run, qa_tv_loop *loop) {
    if (loop->after.kind == QA_TV_MISSING && !loop->ended) {
        loop->ended = !take_value(run, loop, &loop->after);
    }
    return !loop->ended;
}

bool qa_tv_loop_next(qa_tv_run *run, qa_tv_loop *loop, qa_tv *value) {
    qa_tv next = loop->after;
    loop->after = (qa_tv){.kind = QA_TV_MISSING};
    if (loop->ended || (next.kind == QA_TV_MISSING && !take_value(run, loop, &next))) {
        return false;
    }
    loop->index0++;
    loop->before = loop->current;
    loop->current = next;
    *value = next;
    return true;
}

static qa_tv length_of_loop(qa_tv_run *run, qa_tv_loop *loop) {
    if (loop->length == SIZE_MAX) {
        qa_tv_list *rest = qa_tv_new_list(run, 8);
        for (qa_tv value; take_value(run, loop, &value);) {
            qa_tv_push(run, rest, value);
        }
        loop->rest = rest;
        loop->length = rest->n + (size_t)(loop->index0 + 1) + (loop->after.kind != QA_TV_MISSING);
    }
    return qa_tv_size(loop->length);
}

QA_TV_BODY(loop_cycle) {
    if (call->n == 0) {
        qa_tv_fail(run, "loop.cycle() needs values");
    }
    return call->given[(size_t)self.as.loop->index0 % call->n];
}

QA_TV_BODY(loop_changed) {
    qa_tv now = {.kind = QA_TV_TUPLE, .as.list = qa_tv_new_list(run, call->n)};
    for (size_t i = 0; i < call->n; i++) {
        qa_tv_push(run, now.as.list, call->given[i]);
    }
    const bool changed = self.as.loop->changed.kind == QA_TV_MISSING || !qa_tv_equal(run, &now, &self.as.loop->changed);
    self.as.loop->changed = now;
    return qa_tv_bool(changed);
}

static qa_tv loop_method(qa_tv_run *run, qa_tv_loop *loop, const qa_tv_row *row) {
    qa_tv_function *function = QA_HEAP_NEW(&run->heap, qa_tv_function, 1);
    *function = (qa_tv_function){.row = row, .self = {.kind = QA_TV_LOOP, .as.loop = loop}};
    return (qa_tv){.kind = QA_TV_FUNCTION, .as.function = function};
}

qa_tv qa_tv_loop_attribute(qa_tv_run *run, qa_tv_loop *loop, const qa_tv_string *name) {
    static const qa_tv_row METHODS[] = {{"cycle", loop_cycle, NULL}, {"changed", loop_changed, NULL}};
    const qa_tv text = {.kind = QA_TV_STRING, .as.string = &(qa_tv_string){.data = name->data, .n = name->n}};
    const qa_tv_row *row = QA_TV_FIND_ROW(METHODS, name->data, name->n);
    const bool from_end = qa_tv_is_text(&text, "revindex") || qa_tv_is_text(&text, "revindex0");
    if (row != NULL) {
        return loop_method(run, loop, row);
    }
    if (qa_tv_is_text(&text, "index0") || qa_tv_is_text(&text, "index")) {
        return qa_tv_int(loop->index0 + (name->n == 5));
    }
    if (qa_tv_is_text(&text, "first")) {
        return qa_tv_bool(loop->index0 == 0);
    }
    if (qa_tv_is_text(&text, "last")) {
        return qa_tv_bool(!look_ahead(run, loop));
    }
    if (qa_tv_is_text(&text, "length") || from_end) {
        const int64_t length = length_of_loop(run, loop).as.integer;
        return qa_tv_int(!from_end ? length : name->n == 8 ? length - loop->index0 : length - loop->index0 - 1);
    }
    if (qa_tv_is_text(&text, "previtem")) {
        return loop->index0 > 0 ? loop->before : qa_tv_undefined(run, "loop.previtem", 13);
    }
    if (qa_tv_is_text(&text, "nextitem")) {
        return look_ahead(run, loop) ? loop->after : qa_tv_undefined(run, "loop.nextitem", 13);
    }
    if (qa_tv_is_text(&text, "depth") || qa_tv_is_text(&text, "depth0")) {
        return qa_tv_int(name->n == 5); /* loops that are not recursive are all at the first depth */
    }
    return (qa_tv){.kind = QA_TV_MISSING};
}
