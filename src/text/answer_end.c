/* See answer_end.h. */
#include "text/answer_end.h"

#include "base/buffer.h"
#include "base/try.h"
#include "text/chat_open.h"
#include "text/chat_texts.h"
#include "text/utf8.h"

#include <string.h>

/* ---- the list ---- */

bool qa_is_one_of(int32_t id, const int32_t *ids, size_t n) {
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        found = found || ids[i] == id;
    }
    return found;
}

qa_status qa_answer_ends(const qa_chat *chat, const qa_tokenizer *tokenizer, const int32_t *eos_ids, size_t n_eos,
                         qa_ids *ids, qa_text *texts, qa_error *err) {
    qa_answer_end end;
    QA_TRY(qa_answer_end_find(&end, chat, tokenizer, eos_ids, n_eos, err));
    for (size_t i = 0; i < end.n_ids; i++) {
        QA_TRY(qa_ids_push(ids, end.ids[i], err));
    }
    for (size_t i = 0; i < end.n_texts; i++) {
        QA_TRY(qa_text_append(texts, end.texts[i], strlen(end.texts[i]) + 1, err));
    }
    return QA_OK;
}

bool qa_answer_end_has(const qa_answer_end *end, int32_t id) { return qa_is_one_of(id, end->ids, end->n_ids); }

static void add_id(qa_answer_end *end, int32_t id) {
    if (id >= 0 && end->n_ids < QA_MAX_END_IDS && !qa_answer_end_has(end, id)) {
        end->ids[end->n_ids++] = id;
    }
}

static qa_status encode_inside(const qa_tokenizer *tokenizer, const char *text, qa_ids *ids, qa_error *err) {
    const qa_encode_options inside = {.continuation = true};
    ids->n = 0;
    return qa_tokenizer_encode(tokenizer, text, strlen(text), inside, ids, err);
}

/* A token that stands for more than its text. Gemma's tokenizers add runs of line ends and of spaces, too. */
static bool is_mark(const qa_tokenizer *tokenizer, int32_t id) {
    const char *text = qa_tokenizer_is_added(tokenizer, id) ? qa_tokenizer_token(tokenizer, id) : "";
    return text[strspn(text, " \t\r\n\xe2\x96\x81")] != '\0'; /* and U+2581, a space of SentencePiece's */
}

/* Of what the template writes behind an answer: the first token that ends a sequence; where there is none, the first
 * one that is no text. -1: all is text. */
static qa_status end_among(const qa_answer_end *end, const qa_tokenizer *tokenizer, const char *behind, int32_t *id,
                           qa_error *err) {
    qa_ids ids = {0};
    const qa_status status = encode_inside(tokenizer, behind, &ids, err);
    *id = -1;
    for (size_t i = ids.n; i > 0; i--) {
        *id = is_mark(tokenizer, ids.data[i - 1]) ? ids.data[i - 1] : *id;
    }
    for (size_t i = ids.n; i > 0; i--) {
        *id = qa_answer_end_has(end, ids.data[i - 1]) ? ids.data[i - 1] : *id;
    }
    qa_ids_free(&ids);
    return status;
}

/* The end of a turn: as a token where encoding it gives one, as a text too where it does not, since a model that
 * learned the text writes it in pieces. */
static qa_status add_end_of_turn(qa_answer_end *end, const qa_chat *chat, const qa_tokenizer *tokenizer,
                                 qa_error *err) {
    qa_ids ids = {0};
    int32_t id = -1;
    qa_status status = end_among(end, tokenizer, chat->always.data, &id, err);
    QA_GOTO(done, status != QA_OK || id >= 0 ? status : end_among(end, tokenizer, chat->behind.data, &id, err));
    end->turn = id >= 0 ? qa_tokenizer_token(tokenizer, id) : chat->end_text.data;
    if (end->turn[0] == '\0') {
        goto done;
    }
    QA_GOTO(done, encode_inside(tokenizer, end->turn, &ids, err));
    const int32_t own = qa_tokenizer_token_id(tokenizer, end->turn);
    end->in_pieces = ids.n != 1 || ids.data[0] != own;
    add_id(end, own);
    if (end->in_pieces) {
        end->texts[end->n_texts++] = end->turn;
    }
done:
    qa_ids_free(&ids);
    return status;
}

/* A model whose template writes nothing behind an answer goes on with the next question by itself. */
static qa_status add_next_turn(qa_answer_end *end, const qa_chat *chat, const qa_tokenizer *tokenizer, qa_error *err) {
    qa_ids ids = {0};
    add_id(end, qa_tokenizer_eos(tokenizer));
    const qa_status status = encode_inside(tokenizer, chat->next.data, &ids, err);
    if (status == QA_OK && ids.n > 0 && is_mark(tokenizer, ids.data[0])) {
        add_id(end, ids.data[0]);
    } else if (status == QA_OK && ids.n > 0) {
        end->texts[end->n_texts++] = chat->next.data;
    }
    qa_ids_free(&ids);
    return status;
}

qa_status qa_answer_end_find(qa_answer_end *end, const qa_chat *chat, const qa_tokenizer *tokenizer,
                             const int32_t *eos_ids, size_t n_eos, qa_error *err) {
    const int32_t own = tokenizer == NULL ? -1 : qa_tokenizer_eos(tokenizer);
    *end = (qa_answer_end){.closing = n_eos > 0 ? eos_ids[0] : own, .turn = ""};
    for (size_t i = 0; i < n_eos; i++) {
        add_id(end, eos_ids[i]);
    }
    if (n_eos == 0) { /* what ends a sequence is the model's to say, where it says anything (qa_model_prefer_eos) */
        add_id(end, own);
    }
    if (tokenizer == NULL || chat == NULL || !chat->known) {
        return QA_OK;
    }
    return chat->end_text.n > 0 ? add_end_of_turn(end, chat, tokenizer, err) : add_next_turn(end, chat, tokenizer, err);
}

/* ---- marks that are no tokens ---- */

/* Whether the mark, standing behind other text, is encoded to its own token. */
static qa_status is_one_token(const qa_tokenizer *tokenizer, const char *mark, bool *one, qa_error *err) {
    const int32_t id = qa_tokenizer_token_id(tokenizer, mark);
    qa_text text = {0};
    qa_ids ids = {0};
    qa_status status = QA_OK;
    QA_GOTO(out, qa_text_append_z(&text, "a", err));
    QA_GOTO(out, qa_text_append_z(&text, mark, err));
    QA_GOTO(out, qa_tokenizer_encode(tokenizer, text.data, text.n, (qa_encode_options){0}, &ids, err));
    *one = id >= 0 && ids.n > 0 && ids.data[ids.n - 1] == id;
out:
    qa_text_free(&text);
    qa_ids_free(&ids);
    return status;
}

static qa_status add_mark(qa_text *missing, const char *mark, qa_error *err) {
    QA_TRY(qa_text_append_z(missing, missing->n == 0 ? "\"" : ", \"", err));
    QA_TRY(qa_text_append_z(missing, mark, err));
    return qa_text_append_z(missing, "\"", err);
}

qa_status qa_answer_end_missing(const qa_answer_end *end, qa_chat_template which, const qa_tokenizer *tokenizer,
                                qa_text *missing, qa_error *err) {
    const char *const *marks = qa_chat_marks(which);
    bool one = true;
    QA_TRY(qa_text_append(missing, "", 0, err));
    for (size_t i = 0; i < 2 && marks[i] != NULL; i++) {
        QA_TRY(is_one_token(tokenizer, marks[i], &one, err));
        QA_TRY(one ? QA_OK : add_mark(missing, marks[i], err));
    }
    return end->in_pieces ? add_mark(missing, end->turn, err) : QA_OK;
}

qa_status qa_chat_missing_marks(qa_chat_template which, const qa_tokenizer *tokenizer, qa_text *missing,
                                bool *end_missing, qa_error *err) {
    qa_chat *chat = NULL;
    qa_answer_end end;
    QA_TRY(qa_chat_open_builtin(&chat, which, tokenizer, err));
    qa_status status = qa_answer_end_find(&end, chat, tokenizer, NULL, 0, err);
    *end_missing = status == QA_OK && end.in_pieces;
    status = status == QA_OK ? qa_answer_end_missing(&end, which, tokenizer, missing, err) : status;
    qa_chat_free(chat);
    return status;
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
    QA_FAIL_IF(end->closing < 0, err, QA_ERR_ARGUMENT,
               "no end-of-sequence token is known, so a response has no end: set \"eos_token_id\" in the model's "
               "config.json or \"eos_token\" in its tokenizer_config.json");
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

qa_status qa_answer_text_begin(qa_answer_text *answer, const qa_tokenizer *tokenizer, const qa_answer_end *end,
                               const char *const *stops, size_t n_stops, const int32_t *context, size_t n,
                               qa_error *err) {
    qa_decode_stream_free(answer->stream);
    *answer = (qa_answer_text){.text = answer->text, .end = end, .stops = stops, .n_stops = n_stops};
    answer->text.n = 0;
    QA_TRY(qa_text_append(&answer->text, "", 0, err));
    return tokenizer == NULL ? QA_OK : qa_decode_stream_create(&answer->stream, tokenizer, true, context, n, err);
}

/* What is certain of the text; all of it when nothing can follow. A stop text goes. */
static void answer_end_settle(qa_answer_text *answer, bool last) {
    const size_t pending = answer->text.n - answer->certain;
    const size_t certain =
        qa_stop_certain(answer->text.data + answer->certain, pending, answer->stops, answer->n_stops, &answer->stopped);
    answer->certain += last && !answer->stopped ? pending : certain;
    if (answer->stopped) {
        answer->text.n = answer->certain;
        answer->text.data[answer->text.n] = '\0';
    }
}

qa_status qa_answer_text_take(qa_answer_text *answer, int32_t id, qa_error *err) {
    answer->ended = qa_answer_end_has(answer->end, id);
    if (!answer->ended && answer->stream != NULL) {
        QA_TRY(qa_decode_stream_push(answer->stream, id, &answer->text, err));
        answer_end_settle(answer, false);
    }
    return QA_OK;
}

qa_status qa_answer_text_finish(qa_answer_text *answer, qa_error *err) {
    if (answer->stream != NULL && !answer->stopped) {
        QA_TRY(qa_decode_stream_finish(answer->stream, &answer->text, err));
        answer_end_settle(answer, true);
    }
    return QA_OK;
}

qa_status qa_answer_text_take_all(qa_answer_text *answer, const int32_t *ids, size_t n, qa_error *err) {
    for (size_t i = 0; i < n && !answer->ended && !answer->stopped; i++) {
        QA_TRY(qa_answer_text_take(answer, ids[i], err));
    }
    return qa_answer_text_finish(answer, err);
}

void qa_answer_text_free(qa_answer_text *answer) {
    qa_decode_stream_free(answer->stream);
    qa_text_free(&answer->text);
    *answer = (qa_answer_text){0};
}
