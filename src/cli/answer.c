/* See answer.h. Text that could still turn out to be the beginning of a stop text is held back until it cannot. */
#include "cli/answer.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "cli/common.h"

#include <stdio.h>
#include <stdlib.h>

void answer_free(printed_answer *answer) {
    qa_ids_free(&answer->ids);
    free(answer->values);
    qa_answer_text_free(&answer->read);
}

/* Prints what has become certain since `printed` bytes were. */
static qa_status print_text(const printed_answer *answer, bool silent, size_t *printed, qa_error *err) {
    if (answer->read.certain > *printed && !silent) {
        QA_TRY(cli_put(answer->read.text.data + *printed, answer->read.certain - *printed, err));
        QA_TRY(cli_flush(err));
        *printed = answer->read.certain;
    }
    return QA_OK;
}

static qa_status print_id(const printed_answer *answer, int32_t id, qa_error *err) {
    char number[16];
    const int n = snprintf(number, sizeof number, "%s%d", answer->ids.n == 1 ? "" : " ", (int)id);
    QA_TRY(cli_put(number, (size_t)n, err));
    return cli_flush(err);
}

/* One more token. */
static qa_status add_answer_token(printed_answer *out, int32_t id, const qa_token_value *value,
                                  const answer_options *options, size_t *printed, qa_error *err) {
    QA_TRY(QA_GROW(out->values, out->values_capacity, out->ids.n + 1, err, "an answer"));
    out->values[out->ids.n] = *value;
    QA_TRY(qa_ids_push(&out->ids, id, err));
    QA_TRY(qa_answer_text_take(&out->read, id, err));
    QA_TRY(print_text(out, options->silent, printed, err));
    return options->print_ids && !options->silent && !out->read.ended ? print_id(out, id, err) : QA_OK;
}

/* What is left to print, and what ended the answer if its text says so. */
static qa_status end_tokens(printed_answer *out, const answer_options *options, size_t *printed, qa_error *err) {
    QA_TRY(qa_answer_text_finish(&out->read, err));
    out->end = out->read.stopped ? ANSWER_STOP : out->read.ended ? ANSWER_END_TOKEN : out->end;
    return print_text(out, options->silent, printed, err);
}

static qa_status sample_all(printed_answer *out, qa_generator *generator, const answer_options *options,
                            qa_error *err) {
    size_t printed = 0;
    out->end = ANSWER_MAX_TOKENS;
    while (!out->read.ended && !out->read.stopped && out->ids.n < options->max_tokens) {
        int32_t id = 0;
        if (qa_generator_position(generator) >= qa_generator_capacity(generator)) {
            out->end = ANSWER_CONTEXT;
            break;
        }
        if (cli_interrupted()) {
            out->end = ANSWER_INTERRUPTED;
            break;
        }
        QA_TRY(qa_generator_next(generator, &id, err));
        const qa_token_value value = qa_generator_value(generator);
        QA_TRY(add_answer_token(out, id, &value, options, &printed, err));
    }
    return end_tokens(out, options, &printed, err);
}

static qa_status begin_answer(printed_answer *out, const qa_tokenizer *tokenizer, const qa_ids *context,
                              const answer_options *options, qa_error *err) {
    out->ids.n = 0;
    return qa_answer_text_begin(&out->read, options->print_ids ? NULL : tokenizer, options->end, options->stops,
                                options->n_stops, context->data, context->n, err);
}

/* The newline behind an answer that was printed. */
static qa_status end_line(const printed_answer *out, const answer_options *options, qa_error *err) {
    const qa_text *text = &out->read.text;
    if (!options->silent && (options->print_ids || text->n == 0 || text->data[text->n - 1] != '\n')) {
        QA_TRY(cli_put("\n", 1, err));
        QA_TRY(cli_flush(err));
    }
    return QA_OK;
}

qa_status answer_take(printed_answer *out, const qa_answer *said, const qa_tokenizer *tokenizer, const qa_ids *context,
                      const answer_options *options, qa_error *err) {
    size_t printed = 0;
    QA_TRY(begin_answer(out, tokenizer, context, options, err));
    out->end = ANSWER_MAX_TOKENS;
    for (size_t t = 0; t < said->n && !out->read.ended && !out->read.stopped; t++) {
        QA_TRY(add_answer_token(out, said->ids[t], &said->values[t], options, &printed, err));
    }
    QA_TRY(end_tokens(out, options, &printed, err));
    return end_line(out, options, err);
}

qa_status answer_run(printed_answer *out, qa_generator *generator, const qa_tokenizer *tokenizer, const qa_ids *context,
                     const answer_options *options, qa_error *err) {
    const double begun = cli_now();
    QA_TRY(begin_answer(out, tokenizer, context, options, err));
    const qa_status status = sample_all(out, generator, options, err);
    out->seconds = cli_now() - begun;
    QA_TRY(status);
    return end_line(out, options, err);
}
