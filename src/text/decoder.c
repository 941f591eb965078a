/* See decoder.h. Every stage has three entries: feed (a chunk of the current token), end_token and
 * finish; each calls the next stage's. Behind the last stage is the output. */
#include "text/decoder.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "text/pretokeniser.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A chain of Replace steps can multiply a text's length again and again; no honest one comes near this. */
enum { MOST_GROWTH = 64, SMALL_TEXT = 4096 };

void qa_decoder_step_free(qa_decoder_step *step) {
    qa_pattern_free(step->pattern);
    qa_text_free(&step->content);
    memset(step, 0, sizeof *step);
}

void qa_decoder_free(qa_decoder *decoder) {
    for (size_t i = 0; i < decoder->n; i++) {
        qa_decoder_step_free(&decoder->steps[i]);
    }
    free(decoder->steps);
    memset(decoder, 0, sizeof *decoder);
}

qa_status qa_decoder_add(qa_decoder *decoder, const qa_decoder_step *step, qa_error *err) {
    QA_TRY(QA_GROW(decoder->steps, decoder->capacity, decoder->n + 1, err, "a decoder"));
    decoder->steps[decoder->n++] = *step;
    return QA_OK;
}

/* ---- a decoding in progress ---- */

typedef struct stage {
    const qa_decoder_step *step;
    bool streams;       /* works on chunks as they come; otherwise `held` collects the token */
    qa_text held;       /* the current token; byte fallback: unused between tokens */
    qa_text run;        /* byte fallback: the bytes of the run so far */
    qa_utf8_state utf8; /* of the bytes in the run (byte fallback), of all bytes (byte level) */
    bool broken;        /* the run of bytes is no valid text */
    bool later;         /* metaspace, join: the first token is over */
    size_t stripped;    /* strip: characters taken off the token's start */
    bool inside;        /* strip: the start is over */
    size_t trailing;    /* strip: characters held back, which may be the token's end */
} stage;

struct qa_decoding {
    stage *stages; /* [n] */
    size_t n;
    qa_match_scratch match;
    qa_text_work work; /* of its expressions */
    size_t allowed;    /* bytes that may still go from stage to stage */
    qa_text *out;      /* of the call in progress */
};

static qa_status feed(qa_decoding *d, size_t i, const char *text, size_t n, qa_error *err);
static qa_status end_token(qa_decoding *d, size_t i, qa_error *err);

qa_status qa_decoding_create(qa_decoding **decoding, const qa_decoder *decoder, qa_error *err) {
    qa_decoding *d = qa_alloc_array(1, sizeof *d);
    *decoding = NULL;
    if (d != NULL) {
        d->stages = qa_alloc_array(decoder->n, sizeof *d->stages);
    }
    if (d == NULL || d->stages == NULL) {
        qa_decoding_free(d);
        return QA_NO_MEMORY(err, "decoding");
    }
    d->n = decoder->n;
    d->allowed = MOST_GROWTH * SMALL_TEXT * (d->n + 1);
    d->work = qa_text_work_of(0);
    d->match.work = &d->work;
    for (size_t i = 0; i < d->n; i++) {
        const qa_decoder_step *step = &decoder->steps[i];
        qa_status status = qa_text_append(&d->stages[i].held, "", 0, err); /* never a null pointer */
        if (status == QA_OK) {
            status = qa_text_append(&d->stages[i].run, "", 0, err);
        }
        if (status != QA_OK) {
            qa_decoding_free(d);
            return status;
        }
        d->stages[i].step = step;
        d->stages[i].streams = step->kind == QA_DECODE_FUSE || step->kind == QA_DECODE_STRIP ||
                               step->kind == QA_DECODE_METASPACE || step->kind == QA_DECODE_JOIN ||
                               (step->kind == QA_DECODE_REPLACE && qa_pattern_single(step->pattern) >= 0);
    }
    *decoding = d;
    return QA_OK;
}

void qa_decoding_free(qa_decoding *decoding) {
    if (decoding != NULL) {
        for (size_t i = 0; i < decoding->n; i++) {
            qa_text_free(&decoding->stages[i].held);
            qa_text_free(&decoding->stages[i].run);
        }
        free(decoding->stages);
        qa_match_scratch_free(&decoding->match);
        free(decoding);
    }
}

/* ---- ByteLevel ---- */

/* One byte of the joined text; characters and replacements go on to the next stage. */
static qa_status byte_level_byte(qa_decoding *d, size_t i, unsigned char byte, qa_error *err) {
    qa_utf8_state *utf8 = &d->stages[i].utf8;
    qa_utf8_step step = qa_utf8_feed(utf8, byte);
    if (step == QA_UTF8_BROKEN) {
        bool again = utf8->n_held > 0;
        qa_utf8_reset(utf8);
        QA_TRY(feed(d, i + 1, QA_REPLACEMENT, QA_REPLACEMENT_BYTES, err));
        return again ? byte_level_byte(d, i, byte, err) : QA_OK;
    }
    if (step == QA_UTF8_DONE) {
        QA_TRY(feed(d, i + 1, (const char *)utf8->held, utf8->n_held, err));
        qa_utf8_reset(utf8);
    }
    return QA_OK;
}

static qa_status byte_level_token(qa_decoding *d, size_t i, qa_error *err) {
    const qa_text *token = &d->stages[i].held;
    bool in_alphabet = true;
    for (size_t at = 0; at < token->n && in_alphabet;) {
        in_alphabet = qa_char_to_byte(qa_utf8_next(token->data, &at)) >= 0;
    }
    for (size_t at = 0; at < token->n;) {
        unsigned char byte = (unsigned char)token->data[at];
        if (in_alphabet) {
            byte = (unsigned char)qa_char_to_byte(qa_utf8_next(token->data, &at));
        } else {
            at++;
        }
        QA_TRY(byte_level_byte(d, i, byte, err));
    }
    return QA_OK;
}

/* The last character stays incomplete. */
static qa_status byte_level_flush(qa_decoding *d, size_t i, qa_error *err) {
    if (d->stages[i].utf8.n_held > 0) {
        qa_utf8_reset(&d->stages[i].utf8);
        return feed(d, i + 1, QA_REPLACEMENT, QA_REPLACEMENT_BYTES, err);
    }
    return QA_OK;
}

/* ---- ByteFallback ---- */

/* The run so far becomes one U+FFFD per byte, each a token of its own. */
static qa_status replace_run(qa_decoding *d, size_t i, qa_error *err) {
    for (size_t k = 0; k < d->stages[i].run.n; k++) {
        QA_TRY(feed(d, i + 1, QA_REPLACEMENT, QA_REPLACEMENT_BYTES, err));
        QA_TRY(end_token(d, i + 1, err));
    }
    d->stages[i].run.n = 0;
    return QA_OK;
}

/* The run is over: valid text as a whole, or replaced as a whole. */
static qa_status end_run(qa_decoding *d, size_t i, qa_error *err) {
    stage *s = &d->stages[i];
    if (s->broken || s->utf8.n_held > 0) {
        QA_TRY(replace_run(d, i, err));
    } else if (s->run.n > 0) {
        QA_TRY(feed(d, i + 1, s->run.data, s->run.n, err));
        QA_TRY(end_token(d, i + 1, err));
    }
    s->run.n = 0;
    s->broken = false;
    qa_utf8_reset(&s->utf8);
    return QA_OK;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static qa_status byte_fallback_token(qa_decoding *d, size_t i, qa_error *err) {
    stage *s = &d->stages[i];
    const char *token = s->held.data;
    bool is_byte = s->held.n == 6 && memcmp(token, "<0x", 3) == 0 && token[5] == '>' && hex_digit(token[3]) >= 0 &&
                   hex_digit(token[4]) >= 0;
    if (!is_byte) {
        QA_TRY(end_run(d, i, err));
        QA_TRY(feed(d, i + 1, s->held.data, s->held.n, err));
        return end_token(d, i + 1, err);
    }
    char byte = (char)(hex_digit(token[3]) * 16 + hex_digit(token[4]));
    QA_TRY(qa_text_append(&s->run, &byte, 1, err));
    if (!s->broken) {
        qa_utf8_step step = qa_utf8_feed(&s->utf8, (unsigned char)byte);
        s->broken = step == QA_UTF8_BROKEN;
        if (step == QA_UTF8_DONE) {
            qa_utf8_reset(&s->utf8);
        }
    }
    /* Once broken, nothing that follows can mend the run; until then it cannot be told. */
    return s->broken ? replace_run(d, i, err) : QA_OK;
}

/* ---- Replace ---- */

static qa_status replace_token(qa_decoding *d, size_t i, qa_error *err) {
    stage *s = &d->stages[i];
    s->run.n = 0;
    QA_TRY(qa_text_append(&s->run, "", 0, err));
    QA_TRY(qa_pattern_replace(s->step->pattern, &d->match, s->held.data, s->held.n, s->step->content.data,
                              s->step->content.n, d->allowed, &s->run, err));
    s->held.n = 0;
    return feed(d, i + 1, s->run.data, s->run.n, err);
}

/* Replaces a single character in a chunk, which works without knowing the rest of the token. Also
 * Metaspace: its mark becomes a space, or nothing. */
static qa_status replace_character(qa_decoding *d, size_t i, uint32_t character, const char *with, size_t with_n,
                                   const char *text, size_t n, qa_error *err) {
    size_t done = 0;
    for (size_t at = 0; at < n;) {
        size_t from = at;
        if (qa_utf8_next(text, &at) == character) {
            QA_TRY(feed(d, i + 1, text + done, from - done, err));
            QA_TRY(feed(d, i + 1, with, with_n, err));
            done = at;
        }
    }
    return feed(d, i + 1, text + done, n - done, err);
}

/* ---- Strip ---- */

static qa_status strip_chunk(qa_decoding *d, size_t i, const char *text, size_t n, qa_error *err) {
    stage *s = &d->stages[i];
    const qa_text *content = &s->step->content;
    for (size_t at = 0; at < n;) {
        size_t from = at;
        (void)qa_utf8_next(text, &at);
        bool equal = at - from == content->n && memcmp(text + from, content->data, content->n) == 0;
        if (!s->inside && equal && s->stripped < s->step->start) {
            s->stripped++;
            continue;
        }
        s->inside = true;
        if (equal && s->trailing < s->step->stop) {
            s->trailing++;
            continue;
        }
        /* What was held back is not the end. When this one is equal too, one stays held in its stead. */
        size_t release = equal ? 0 : s->trailing;
        s->trailing -= release;
        for (; release > 0; release--) {
            QA_TRY(feed(d, i + 1, content->data, content->n, err));
        }
        if (!equal && s->step->stop == 0) { /* nothing is ever held back: the rest goes on as it is */
            at = n;
        }
        QA_TRY(feed(d, i + 1, text + from, at - from, err));
    }
    return QA_OK;
}

/* ---- the chain ---- */

static qa_status feed(qa_decoding *d, size_t i, const char *text, size_t n, qa_error *err) {
    QA_FAIL_IF(n >= d->allowed, err, QA_ERR_LIMIT, "the decoder makes the text more than %d times as long",
               MOST_GROWTH);
    d->allowed -= n + 1; /* an empty chunk takes time, too */
    if (i == d->n) {
        return qa_text_append(d->out, text, n, err);
    }
    stage *s = &d->stages[i];
    if (!s->streams) {
        return qa_text_append(&s->held, text, n, err);
    }
    switch (s->step->kind) {
    case QA_DECODE_STRIP: return strip_chunk(d, i, text, n, err);
    case QA_DECODE_METASPACE:
    case QA_DECODE_REPLACE: {
        bool metaspace = s->step->kind == QA_DECODE_METASPACE;
        size_t at = 0;
        uint32_t character =
            metaspace ? qa_utf8_next(s->step->content.data, &at) : (uint32_t)qa_pattern_single(s->step->pattern);
        size_t with_n = metaspace ? (s->step->first_loses_mark && !s->later ? 0 : 1) : s->step->content.n;
        return replace_character(d, i, character, metaspace ? " " : s->step->content.data, with_n, text, n, err);
    }
    default: return feed(d, i + 1, text, n, err);
    }
}

static qa_status end_token(qa_decoding *d, size_t i, qa_error *err) {
    if (i == d->n) {
        return QA_OK;
    }
    stage *s = &d->stages[i];
    qa_status status = QA_OK;
    switch (s->step->kind) {
    case QA_DECODE_FUSE: return QA_OK; /* one token, which ends at the end */
    case QA_DECODE_BYTE_LEVEL:
        status = byte_level_token(d, i, err);
        s->held.n = 0;
        return status;
    case QA_DECODE_BYTE_FALLBACK:
        status = byte_fallback_token(d, i, err);
        s->held.n = 0;
        return status;
    case QA_DECODE_REPLACE: QA_TRY(s->streams ? QA_OK : replace_token(d, i, err)); break;
    case QA_DECODE_STRIP:
        s->stripped = s->trailing = 0;
        s->inside = false;
        break;
    case QA_DECODE_METASPACE:
    case QA_DECODE_JOIN: s->later = true; break;
    }
    return end_token(d, i + 1, err);
}

qa_status qa_decoding_push(qa_decoding *decoding, const char *content, size_t n, qa_text *out, qa_error *err) {
    decoding->out = out;
    qa_text_work_add(&decoding->work, n + 1);
    /* Saturating: a text that long takes longer than anyone waits. */
    size_t more = 0;
    if (!qa_add_size(n, 2, &more) || !qa_mul_size(more, MOST_GROWTH * (decoding->n + 1), &more) ||
        !qa_add_size(decoding->allowed, more, &decoding->allowed)) {
        decoding->allowed = SIZE_MAX;
    }
    if (decoding->n > 0 && decoding->stages[0].step->kind == QA_DECODE_JOIN && decoding->stages[0].later) {
        QA_TRY(feed(decoding, 1, " ", 1, err));
    }
    QA_TRY(feed(decoding, 0, content, n, err));
    return end_token(decoding, 0, err);
}

qa_status qa_decoding_sync(qa_decoding *decoding, qa_text *out, qa_error *err) {
    decoding->out = out;
    for (size_t i = 0; i < decoding->n; i++) {
        stage *s = &decoding->stages[i];
        bool open = s->held.n > 0; /* in the middle of a token, behind Fuse or ByteLevel */
        switch (s->step->kind) {
        case QA_DECODE_BYTE_LEVEL:
            QA_TRY(open ? byte_level_token(decoding, i, err) : QA_OK);
            QA_TRY(byte_level_flush(decoding, i, err));
            break;
        case QA_DECODE_BYTE_FALLBACK:
            QA_TRY(open ? byte_fallback_token(decoding, i, err) : QA_OK);
            QA_TRY(end_run(decoding, i, err));
            break;
        case QA_DECODE_REPLACE: QA_TRY(open ? replace_token(decoding, i, err) : QA_OK); break;
        default: break;
        }
        s->held.n = 0;
    }
    return QA_OK;
}

qa_status qa_decoding_finish(qa_decoding *decoding, qa_text *out, qa_error *err) {
    decoding->out = out;
    /* In order, so that what a stage gives out last still passes those behind it. */
    for (size_t i = 0; i < decoding->n; i++) {
        switch (decoding->stages[i].step->kind) {
        case QA_DECODE_BYTE_LEVEL:
            QA_TRY(byte_level_flush(decoding, i, err));
            QA_TRY(end_token(decoding, i + 1, err));
            break;
        case QA_DECODE_FUSE: QA_TRY(end_token(decoding, i + 1, err)); break;
        case QA_DECODE_BYTE_FALLBACK: QA_TRY(end_run(decoding, i, err)); break;
        default: break;
        }
    }
    return QA_OK;
}
