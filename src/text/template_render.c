/* See template.h. */
#include "text/template.h"

#include "base/memory.h"
#include "base/try.h"
#include "text/template_exec.h"
#include "text/template_parse.h"
#include "text/template_scope.h"
#include "text/utf8.h"

#include <stdlib.h>

enum { MOST_TEMPLATE_BYTES = 512 << 10, PARSE_MEMORY = 256 << 20 };

/* ---- parsing ---- */

/* Everything that may jump. */
static qa_status parse_guarded(qa_template *t, qa_parse *parse, const char *text, size_t bytes) {
    if (setjmp(t->heap.escape) != 0) {
        QA_FAIL_IF(t->heap.state == QA_HEAP_FULL, parse->err, QA_ERR_LIMIT, "%s: parsing it takes more than %d MiB",
                   parse->name, PARSE_MEMORY >> 20);
        return t->heap.state == QA_HEAP_NO_MEMORY ? QA_NO_MEMORY(parse->err, "%s", parse->name) : parse->status;
    }
    qa_parser parser = {.parse = parse, .token = qa_template_tokens(parse, text, bytes)};
    t->body = qa_parse_template(&parser);
    qa_template_scopes(parse, t);
    return QA_OK;
}

static qa_status parse_into(qa_template *t, const char *text, size_t bytes, const char *name, qa_error *err) {
    qa_parse parse = {.heap = &t->heap, .name = t->name, .err = err};
    size_t bad = 0;
    QA_TRY(QA_COPY(t->name, name, err, "a chat template"));
    parse.name = t->name;
    QA_FAIL_IF(bytes > MOST_TEMPLATE_BYTES, err, QA_ERR_LIMIT, "%s: %zu bytes, but a chat template has at most %d",
               name, bytes, MOST_TEMPLATE_BYTES);
    QA_FAIL_IF(!qa_utf8_valid(text, bytes, &bad), err, QA_ERR_FORMAT, "%s: it is not UTF-8 from byte %zu on", name,
               bad);
    t->heap.limit = PARSE_MEMORY;
    return parse_guarded(t, &parse, text, bytes);
}

qa_status qa_template_parse(qa_template **out, const char *text, size_t bytes, const char *name, qa_error *err) {
    qa_template *t = NULL;
    *out = NULL;
    QA_TRY(QA_NEW(t, 1, err, "a chat template"));
    const qa_status status = parse_into(t, text, bytes, name, err);
    if (status != QA_OK) {
        qa_template_free(t);
        return status;
    }
    *out = t;
    return QA_OK;
}

void qa_template_free(qa_template *t) {
    if (t != NULL) {
        qa_heap_free(&t->heap);
        free(t->name);
        free(t);
    }
}

/* ---- rendering ---- */

static void render_guarded(qa_tv_run *run, const qa_template *t, json_t *variables) {
    qa_template_result *result = run->result;
    if (setjmp(run->heap.escape) == 0) {
        run->variables = qa_tv_of_json(run, variables).as.dict;
        qa_template_exec(run, t);
        result->outcome = QA_TEMPLATE_TEXT;
        result->line = 0;
        result->message[0] = '\0';
        return;
    }
    if (run->heap.state == QA_HEAP_NO_MEMORY) {
        run->status = QA_NO_MEMORY(run->err, "the rendering of %s", t->name);
    } else if (run->heap.state == QA_HEAP_FULL) {
        qa_error message = {0};
        (void)qa_fail(&message, QA_ERR_LIMIT, "the values take more than the %zu bytes that a rendering may",
                      run->heap.limit);
        memcpy(result->message, message.message, sizeof message.message);
        result->outcome = QA_TEMPLATE_ERROR;
    }
    result->line = run->line;
    result->n_generations = 0;
    if (run->out->data != NULL) {
        run->out->n = run->out_start;
        run->out->data[run->out_start] = '\0';
    }
}

qa_status qa_template_render(const qa_template *t, const json_t *variables, const qa_template_options *options,
                             qa_text *out, qa_template_result *result, qa_error *err) {
    QA_FAIL_IF(!json_is_object(variables), err, QA_ERR_ARGUMENT, "the variables of a chat template are no JSON object");
    qa_tv_run run = {
        .date = options->date,
        .steps_left = options->steps > 0 ? options->steps : QA_TEMPLATE_STEPS,
        .output_limit = options->output_bytes > 0 ? options->output_bytes : QA_TEMPLATE_OUTPUT,
        .out = out,
        .out_start = out->n,
        .err = err,
        .result = result,
    };
    run.heap.limit = options->memory > 0 ? options->memory : QA_TEMPLATE_MEMORY;
    result->n_generations = 0;
    union {
        const json_t *constant;
        json_t *variable; /* jansson walks objects through pointers that are not const, and changes nothing */
    } whole = {.constant = variables};
    render_guarded(&run, t, whole.variable);
    qa_heap_free(&run.heap);
    return run.status;
}

void qa_template_result_free(qa_template_result *result) {
    free(result->generations);
    *result = (qa_template_result){0};
}
