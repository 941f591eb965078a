/* See answer_end.h. */
#include "text/answer_end.h"

#include "base/buffer.h"
#include "base/try.h"
#include "text/chat.h"

#include <string.h>

/* ---- the list ---- */

bool qa_is_one_of(int32_t id, const int32_t *ids, size_t n) {
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        found = found || ids[i] == id;
    }
    return found;
}

bool qa_answer_end_has(const qa_answer_end *end, int32_t id) { return qa_is_one_of(id, end->ids, end->n_ids); }

static void add_id(qa_answer_end *end, int32_t id) {
    if (id >= 0 && end->n_ids < QA_MAX_END_IDS && !qa_answer_end_has(end, id)) {
        end->ids[end->n_ids++] = id;
    }
}

/* The template's end of turn: as a token where encoding its text gives that one token, as a text too where it does
 * not, since a model that learned the text writes it in pieces. */
static qa_status add_end_of_turn(qa_answer_end *end, qa_chat_template chat, const qa_tokenizer *tokenizer,
                                 qa_error *err) {
    const char *text = qa_chat_end_of_turn(chat, tokenizer);
    qa_ids ids = {0};
    if (text == NULL || text[0] == '\0') {
        return QA_OK;
    }
    const int32_t id = qa_tokenizer_token_id(tokenizer, text);
    const qa_encode_options inside = {.continuation = true};
    const qa_status status = qa_tokenizer_encode(tokenizer, text, strlen(text), inside, &ids, err);
    const bool one = status == QA_OK && ids.n == 1 && ids.data[0] == id;
    qa_ids_free(&ids);
    QA_TRY(status);
    add_id(end, id);
    if (!one) {
        end->texts[end->n_texts++] = text;
    }
    return QA_OK;
}

qa_status qa_answer_end_find(qa_answer_end *end, qa_chat_template chat, const qa_tokenizer *tokenizer,
                             const int32_t *eos_ids, size_t n_eos, qa_error *err) {
    const int32_t own = tokenizer == NULL ? -1 : qa_tokenizer_eos(tokenizer);
    *end = (qa_answer_end){.closing = n_eos > 0 ? eos_ids[0] : own};
    for (size_t i = 0; i < n_eos; i++) {
        add_id(end, eos_ids[i]);
    }
    if (n_eos == 0) { /* what ends a sequence is the model's to say, where it says anything (qa_model_prefer_eos) */
        add_id(end, own);
    }
    if (tokenizer != NULL && chat != QA_CHAT_UNKNOWN) {
        QA_TRY(add_end_of_turn(end, chat, tokenizer, err));
    }
    if (chat == QA_CHAT_PLAIN) { /* a model without a template goes on with the next question by itself */
        end->texts[end->n_texts++] = "\n\nHuman:";
    }
    return QA_OK;
}

/* ---- ids that end ---- */

static qa_status is_white_space(const qa_tokenizer *tokenizer, const int32_t *ids, size_t n, bool *blank,
                                qa_error *err) {
    qa_text text = {0};
    const qa_status status = qa_tokenizer_decode(tokenizer, ids, n, false, &text, err);
    const char *start = text.data;
    size_t bytes = text.n;
    if (status == QA_OK && bytes > 0) {
        qa_strip(&start, &bytes);
    }
    *blank = bytes == 0;
    qa_text_free(&text);
    return status;
}

qa_status qa_answer_end_of(const qa_answer_end *end, const qa_tokenizer *tokenizer, const int32_t *ids, size_t n,
                           size_t *ended, qa_error *err) {
    size_t after = n;
    bool blank = true;
    *ended = 0;
    while (after > 0 && !qa_answer_end_has(end, ids[after - 1])) {
        after--;
    }
    if (after > 0 && after < n) {
        blank = false;
        if (tokenizer != NULL) {
            QA_TRY(is_white_space(tokenizer, ids + after, n - after, &blank, err));
        }
    }
    *ended = blank ? after : 0;
    return QA_OK;
}

qa_status qa_answer_end_doubled(const qa_answer_end *end, const qa_tokenizer *tokenizer, const int32_t *ids, size_t n,
                                bool *doubled, qa_error *err) {
    size_t last = 0, before = 0;
    QA_TRY(qa_answer_end_of(end, tokenizer, ids, n, &last, err));
    if (last > 0) {
        QA_TRY(qa_answer_end_of(end, tokenizer, ids, last - 1, &before, err));
    }
    *doubled = before > 0;
    return QA_OK;
}

qa_status qa_answer_end_close(const qa_answer_end *end, const qa_tokenizer *tokenizer, qa_response_end response_end,
                              size_t start, qa_ids *ids, qa_error *err) {
    size_t ended = 0;
    if (ids->n > start) {
        QA_TRY(qa_answer_end_of(end, tokenizer, ids->data + start, ids->n - start, &ended, err));
    }
    if (ended > 0) {
        ids->n = response_end == QA_RESPONSE_END_TEMPLATE ? ids->n : start + ended;
        return QA_OK;
    }
    if (ids->n > 0 && qa_answer_end_has(end, ids->data[ids->n - 1])) { /* nothing but what stands in front of texts */
        return QA_OK;
    }
    if (end->closing < 0) {
        return qa_fail(
            err, QA_ERR_ARGUMENT,
            "no end-of-sequence token is known, so a response has no end: set \"eos_token_id\" in the model's "
            "config.json or \"eos_token\" in its tokenizer_config.json");
    }
    return qa_ids_push(ids, end->closing, err);
}

/* ---- texts that end ---- */

/* Where `stop` first begins in text[bytes], or bytes. */
static size_t find_text(const char *text, size_t bytes, const char *stop, size_t length) {
    for (size_t at = 0; at + length <= bytes; at++) {
        if (memcmp(text + at, stop, length) == 0) {
            return at;
        }
    }
    return bytes;
}

size_t qa_stop_certain(const char *text, size_t bytes, const char *const *stops, size_t n_stops, bool *found) {
    size_t first = bytes;
    size_t held = 0;
    *found = false;
    for (size_t i = 0; i < n_stops; i++) {
        const size_t length = strlen(stops[i]);
        if (length == 0) {
            continue;
        }
        const size_t at = find_text(text, bytes, stops[i], length);
        if (at < first) {
            first = at;
            *found = true;
        }
        const size_t longest = length - 1 < bytes ? length - 1 : bytes;
        for (size_t n = longest; n > held; n--) {
            if (memcmp(text + bytes - n, stops[i], n) == 0) {
                held = n;
                break;
            }
        }
    }
    return *found ? first : bytes - held;
}

/* ---- an answer's text ---- */

qa_status qa_answer_text_begin(qa_answer_text *it, const qa_tokenizer *tokenizer, const qa_answer_end *end,
                               const char *const *stops, size_t n_stops, const int32_t *context, size_t n,
                               qa_error *err) {
    qa_decode_stream_free(it->stream);
    *it = (qa_answer_text){.text = it->text, .end = end, .stops = stops, .n_stops = n_stops};
    it->text.n = 0;
    QA_TRY(qa_text_append(&it->text, "", 0, err));
    return tokenizer == NULL ? QA_OK : qa_decode_stream_create(&it->stream, tokenizer, true, context, n, err);
}

/* What is certain of the text; all of it when nothing can follow. A stop text goes. */
static void answer_end_settle(qa_answer_text *it, bool last) {
    const size_t pending = it->text.n - it->certain;
    const size_t certain = qa_stop_certain(it->text.data + it->certain, pending, it->stops, it->n_stops, &it->stopped);
    it->certain += last && !it->stopped ? pending : certain;
    if (it->stopped) {
        it->text.n = it->certain;
        it->text.data[it->text.n] = '\0';
    }
}

qa_status qa_answer_text_take(qa_answer_text *it, int32_t id, qa_error *err) {
    it->ended = qa_answer_end_has(it->end, id);
    if (!it->ended && it->stream != NULL) {
        QA_TRY(qa_decode_stream_push(it->stream, id, &it->text, err));
        answer_end_settle(it, false);
    }
    return QA_OK;
}

qa_status qa_answer_text_finish(qa_answer_text *it, qa_error *err) {
    if (it->stream != NULL && !it->stopped) {
        QA_TRY(qa_decode_stream_finish(it->stream, &it->text, err));
        answer_end_settle(it, true);
    }
    return QA_OK;
}

qa_status qa_answer_text_take_all(qa_answer_text *it, const int32_t *ids, size_t n, qa_error *err) {
    for (size_t i = 0; i < n && !it->ended && !it->stopped; i++) {
        QA_TRY(qa_answer_text_take(it, ids[i], err));
    }
    return qa_answer_text_finish(it, err);
}

void qa_answer_text_free(qa_answer_text *it) {
    qa_decode_stream_free(it->stream);
    qa_text_free(&it->text);
    *it = (qa_answer_text){0};
}
