/* See template_bind.h. */
#include "text/template_bind.h"

const qa_tv_row *qa_tv_find_row(const qa_tv_row *rows, size_t n, const char *name, size_t bytes) {
    for (size_t i = 0; i < n; i++) {
        if (rows[i].name[0] == name[0] && strlen(rows[i].name) == bytes && memcmp(rows[i].name, name, bytes) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* The parameter's place, or -1. */
static int place_of(const char *parameters, const qa_tv_string *name) {
    int place = 0;
    for (const char *p = parameters; *p != '\0'; place++) {
        const size_t n = strcspn(p, "? ");
        if (n == name->n && memcmp(p, name->data, n) == 0) {
            return place;
        }
        p += n;
        p += strspn(p, "? ");
    }
    return -1;
}

/* Fails when a parameter without "?" has no value. */
static void check_required(qa_tv_run *run, const qa_tv_row *row, const char *parameters, const qa_tv *args) {
    size_t place = 0;
    for (const char *p = parameters; *p != '\0'; place++) {
        const size_t n = strcspn(p, "? ");
        if (p[n] != '?' && args[place].kind == QA_TV_MISSING) {
            qa_tv_fail(run, "%s() misses its argument \"%.*s\"", row->name, (int)n, p);
        }
        p += n;
        p += strspn(p, "? ");
    }
}

static size_t count_parameters(const char *parameters) {
    size_t n = *parameters != '\0';
    for (const char *p = parameters; *p != '\0'; p++) {
        n += *p == ' ';
    }
    return n;
}

qa_tv qa_tv_apply(qa_tv_run *run, const qa_tv_row *row, qa_tv self, const qa_tv_call *call) {
    qa_tv args[QA_TV_MOST_ARGUMENTS] = {{0}};
    qa_tv_spend(run, 0);
    if (row->body == NULL) {
        qa_tv_fail(run, "%s() is not supported", row->name);
    }
    if (row->parameters == NULL) {
        return row->body(run, self, args, call);
    }
    const bool nameless = row->parameters[0] == '/';
    const char *parameters = row->parameters + nameless;
    if (call->n > count_parameters(parameters)) {
        qa_tv_fail(run, "%s() takes %zu arguments, not %zu", row->name, count_parameters(parameters), call->n);
    }
    for (size_t i = 0; i < call->n; i++) {
        args[i] = call->given[i];
    }
    for (size_t i = 0; i < call->n_named; i++) {
        const qa_tv_string *name = call->names[i].as.string;
        const int place = nameless ? -1 : place_of(parameters, name);
        if (place < 0 || args[place].kind != QA_TV_MISSING) {
            qa_tv_fail(run, "%s() %s \"%.*s\"", row->name,
                       place < 0 ? "has no argument called" : "gets twice the argument",
                       (int)(name->n < 80 ? name->n : 80), name->data);
        }
        args[place] = call->named[i];
    }
    check_required(run, row, parameters, args);
    return row->body(run, self, args, call);
}

int64_t qa_tv_need_int(qa_tv_run *run, const qa_tv *value, int64_t missing) {
    int64_t integer = missing;
    if (qa_tv_given(value) && !qa_tv_as_int(value, &integer)) {
        qa_tv_fail(run, "an integer is needed, not %s", qa_tv_type(value));
    }
    return integer;
}

const qa_tv_string *qa_tv_need_string(qa_tv_run *run, const qa_tv *value) {
    if (value->kind != QA_TV_STRING) {
        qa_tv_fail(run, "a str is needed, not %s", qa_tv_type(value));
    }
    return value->as.string;
}
