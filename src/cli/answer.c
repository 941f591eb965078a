/* See answer.h. Text that could still turn out to be the beginning of a stop text is held back until it cannot. */
#include "cli/answer.h"

#include "base/buffer.h"
#include "base/try.h"
#include "cli/common.h"

#include <stdio.h>
#include <string.h>

void answer_free(answer *it) {
    qa_ids_free(&it->ids);
    qa_text_free(&it->text);
}

/* An answer while it is being made. */
typedef struct speech {
    answer *answer;
    const answer_options *options;
    qa_decode_stream *stream;
    qa_text pending; /* decoded, not printed yet */
    bool stopped;    /* by a stop text */
} speech;

/* Prints what is certain of the pending text; all of it when `last`. */
static qa_status release(speech *it, bool last, qa_error *err) {
    size_t certain =
        qa_stop_certain(it->pending.data, it->pending.n, it->options->stops, it->options->n_stops, &it->stopped);
    if (last && !it->stopped) {
        certain = it->pending.n;
    }
    if (certain == 0) {
        return QA_OK;
    }
    QA_TRY(cli_put(it->pending.data, certain, err));
    QA_TRY(cli_flush(err));
    QA_TRY(qa_text_append(&it->answer->text, it->pending.data, certain, err));
    memmove(it->pending.data, it->pending.data + certain, it->pending.n - certain);
    it->pending.n -= certain;
    return QA_OK;
}

static qa_status print_id(const answer *it, int32_t id, qa_error *err) {
    char number[16];
    const int n = snprintf(number, sizeof number, "%s%d", it->ids.n == 1 ? "" : " ", (int)id);
    QA_TRY(cli_put(number, (size_t)n, err));
    return cli_flush(err);
}

/* Takes in one sampled token; *over when it ends the answer. */
static qa_status take(speech *it, int32_t id, bool *over, qa_error *err) {
    QA_TRY(qa_ids_push(&it->answer->ids, id, err));
    if (qa_answer_end_has(it->options->end, id)) {
        it->answer->end = ANSWER_END_TOKEN;
        *over = true;
        return QA_OK;
    }
    if (it->stream != NULL) {
        QA_TRY(qa_decode_stream_push(it->stream, id, &it->pending, err));
        QA_TRY(release(it, false, err));
    }
    if (it->options->print_ids) {
        QA_TRY(print_id(it->answer, id, err));
    }
    *over = it->stopped;
    it->answer->end = it->stopped ? ANSWER_STOP : it->answer->end;
    return QA_OK;
}

static qa_status sample_all(speech *it, qa_generator *generator, qa_error *err) {
    answer *out = it->answer;
    bool over = false;
    out->end = ANSWER_MAX_TOKENS;
    while (!over && out->ids.n < it->options->max_tokens) {
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
        QA_TRY(take(it, id, &over, err));
    }
    if (it->stream == NULL || it->stopped) {
        return QA_OK;
    }
    QA_TRY(qa_decode_stream_finish(it->stream, &it->pending, err));
    QA_TRY(release(it, true, err));
    out->end = it->stopped ? ANSWER_STOP : out->end;
    return QA_OK;
}

qa_status answer_run(answer *out, qa_generator *generator, const qa_tokenizer *tokenizer, const qa_ids *context,
                     const answer_options *options, qa_error *err) {
    const double begun = cli_now();
    speech it = {.answer = out, .options = options};
    qa_status status = QA_OK;
    out->ids.n = out->text.n = 0;
    if (!options->print_ids) {
        QA_GOTO(done, qa_decode_stream_create(&it.stream, tokenizer, true, context->data, context->n, err));
    }
    QA_GOTO(done, sample_all(&it, generator, err));
    const bool newline = options->print_ids || out->text.n == 0 || out->text.data[out->text.n - 1] != '\n';
    if (newline) {
        QA_GOTO(done, cli_put("\n", 1, err));
        QA_GOTO(done, cli_flush(err));
    }
done:
    out->seconds = cli_now() - begun;
    qa_decode_stream_free(it.stream);
    qa_text_free(&it.pending);
    return status;
}
