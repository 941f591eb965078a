/* Chat templates: the program that a model's folder brings along, run on a dialogue.
 *
 * The language is Jinja2 as Hugging Face transformers sets it up: trim_blocks and lstrip_blocks, break and continue,
 * the generation tag, sandboxed and immutable values, no HTML escaping, and the functions raise_exception and
 * strftime_now. What is taken has Python's meanings to the byte; what is left out (include, import, extends, block,
 * autoescape, recursive loops, integers beyond 64 bits, a few filters and methods) is refused by name, never guessed.
 *
 * A template is hostile: its bytes, its nesting, the steps and the memory of a rendering and the bytes of its output
 * are bounded, and it runs on a stack of 256 KiB. A parsed template may be rendered by several threads at once. */
#ifndef QA_TEXT_TEMPLATE_H
#define QA_TEXT_TEMPLATE_H

#include "qadapter/buffer.h"

#include <jansson.h>
#include <time.h>

typedef struct qa_template qa_template;

/* Parses text[bytes]. `name` is what messages call it ("chat_template of tokenizer_config.json"); it is copied.
 * Messages name the line and the construct: QA_ERR_FORMAT is what Jinja2 would not take either, QA_ERR_UNSUPPORTED what
 * it would, QA_ERR_LIMIT a template that is too long or too deeply nested. Free with qa_template_free. */
QA_MUST_CHECK qa_status qa_template_parse(qa_template **out, const char *text, size_t bytes, const char *name,
                                          qa_error *err);
void qa_template_free(qa_template *t); /* NULL is allowed */

typedef struct qa_template_options {
    struct tm date;      /* what strftime_now writes: local time, broken down, with tm_wday and tm_yday */
    size_t steps;        /* the most that a rendering may do, about ten nanoseconds each; 0: QA_TEMPLATE_STEPS */
    size_t memory;       /* the most bytes that its values may take; 0: QA_TEMPLATE_MEMORY */
    size_t output_bytes; /* the most bytes that it may write; 0: QA_TEMPLATE_OUTPUT */
} qa_template_options;

enum { QA_TEMPLATE_STEPS = 100000000, QA_TEMPLATE_MEMORY = 256 << 20, QA_TEMPLATE_OUTPUT = 64 << 20 };

typedef enum qa_template_outcome {
    QA_TEMPLATE_TEXT,   /* the output was appended */
    QA_TEMPLATE_RAISED, /* the template called raise_exception: the message is its own, word for word */
    QA_TEMPLATE_ERROR   /* what Jinja2 would fail on, what is not supported, or a bound exceeded: the message says which
                         */
} qa_template_outcome;

/* Bytes [begin, end) of the buffer that was appended to. */
typedef struct qa_template_span {
    size_t begin, end;
} qa_template_span;

/* Zero-initialise; may be used again; free with qa_template_result_free. */
typedef struct qa_template_result {
    qa_template_outcome outcome;
    size_t line; /* of the template, from 1; 0 with QA_TEMPLATE_TEXT */
    char message[QA_MESSAGE_BYTES];
    /* What {% generation %} blocks wrote, in order; blocks within a macro or a set block are not among them. */
    qa_template_span *generations; /* [n_generations] */
    size_t n_generations, generations_capacity;
} qa_template_result;

void qa_template_result_free(qa_template_result *result);

/* Runs the template and appends what it writes. `variables` is an object: messages, tools, add_generation_prompt,
 * bos_token... (JSON null is None). Unless the outcome is QA_TEMPLATE_TEXT, `out` is as it was. The status is QA_OK
 * with every outcome; it is another one only for lack of memory or when `variables` is no object. */
QA_MUST_CHECK qa_status qa_template_render(const qa_template *t, const json_t *variables,
                                           const qa_template_options *options, qa_text *out, qa_template_result *result,
                                           qa_error *err);

#endif
