/* See template_functions.h. */
#include "text/template_functions.h"

#include "base/c_locale.h"
#include "text/template_operators.h"
#include "text/template_print.h"

QA_TV_BODY(global_range) {
    const int64_t first = qa_tv_need_int(run, &args[0], 0), step = qa_tv_need_int(run, &args[2], 1);
    return qa_tv_given(&args[1]) ? qa_tv_make_range(run, first, qa_tv_need_int(run, &args[1], 0), step)
                                 : qa_tv_make_range(run, 0, first, step);
}

/* dict(...): a dict or pairs, then names. */
static qa_tv_dict *dict_of_call(qa_tv_run *run, const qa_tv_call *call) {
    qa_tv_dict *dict = qa_tv_new_dict(run, call->n_named);
    if (call->n > 1) {
        qa_tv_fail(run, "dict() and namespace() take one value and names");
    }
    if (call->n == 1 && call->given[0].kind == QA_TV_UNDEFINED) {
        qa_tv_fail(run, "dict() and namespace() of an undefined value");
    }
    const bool copies = call->n == 1 && call->given[0].kind == QA_TV_DICT;
    const qa_tv source = copies ? (qa_tv){.kind = QA_TV_ITEMS, .as.dict = call->given[0].as.dict} : qa_tv_none();
    if (call->n == 1) {
        qa_tv_iterator *it = qa_tv_iterate(run, copies ? source : call->given[0]);
        for (qa_tv pair; qa_tv_next(run, it, &pair);) {
            const qa_tv_list *parts = qa_tv_listed(run, pair);
            if (parts->n != 2) {
                qa_tv_fail(run, "dict() needs pairs, not %zu values", parts->n);
            }
            qa_tv_dict_set(run, dict, parts->items[0], parts->items[1]);
        }
    }
    for (size_t i = 0; i < call->n_named; i++) {
        qa_tv_dict_set(run, dict, call->names[i], call->named[i]);
    }
    return dict;
}

QA_TV_BODY(global_dict) { return (qa_tv){.kind = QA_TV_DICT, .as.dict = dict_of_call(run, call)}; }

QA_TV_BODY(global_namespace) {
    const qa_tv_dict *dict = dict_of_call(run, call);
    for (size_t i = 0; i < dict->n; i++) {
        const qa_tv *key = &dict->entries[i].key;
        if (key->kind == QA_TV_STRING && key->as.string->n > 0 && key->as.string->data[0] == '_') {
            qa_tv_fail(run, "a namespace keeps no name that begins with an underscore");
        }
    }
    return (qa_tv){.kind = QA_TV_NAMESPACE, .as.dict = dict_of_call(run, call)};
}

QA_TV_BODY(global_raise_exception) {
    const qa_tv message = qa_tv_str(run, args[0]);
    qa_tv_raise(run, message.as.string->data, message.as.string->n);
}

/* Python's strftime is the C library's, in the C locale. */
QA_TV_BODY(global_strftime_now) {
    const qa_tv_string *given = qa_tv_need_string(run, &args[0]);
    char format[512], text[1024];
    size_t bytes = 0;
    if (given->n >= sizeof format / 4 || memchr(given->data, '\0', given->n) != NULL) {
        qa_tv_fail(run, "strftime_now(): a format of %zu bytes, or with a NUL in it", given->n);
    }
    for (size_t i = 0; i < given->n; i++) { /* what Python itself knows: a date here has no zone and no microseconds */
        const char next = given->data[i] == '%' && i + 1 < given->n ? given->data[i + 1] : '\0';
        const char *own = next == 'f' ? "000000" : "";
        const bool is_own = next == 'f' || next == 'z' || next == 'Z';
        const size_t width = is_own ? strlen(own) : next != '\0' ? 2 : 1;
        memcpy(format + bytes, is_own ? own : given->data + i, width);
        bytes += width;
        i += next != '\0';
    }
    format[bytes] = '\0';
    const qa_c_locale before = qa_c_locale_enter();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    const size_t n = strftime(text, sizeof text, format, &run->date);
#pragma GCC diagnostic pop
    qa_c_locale_leave(before);
    return qa_tv_copied(run, text, n);
}

static const qa_tv_row FUNCTIONS[] = {
    {"range", global_range, "/start stop? step?"},
    {"dict", global_dict, NULL},
    {"namespace", global_namespace, NULL},
    {"raise_exception", global_raise_exception, "message"},
    {"strftime_now", global_strftime_now, "format"},
    {"cycler", NULL, ""},
    {"joiner", NULL, ""},
    {"lipsum", NULL, ""},
    {"self", NULL, ""},
};

const qa_tv_row *qa_template_function(const char *name, size_t bytes) { return QA_TV_FIND_ROW(FUNCTIONS, name, bytes); }
