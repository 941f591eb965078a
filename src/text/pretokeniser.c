/* See pretokeniser.h. A step either cuts pieces further, leaving the text alone, or writes a new text
 * with its pieces. pieces->pieces holds the pieces before a step, pieces->next those after it. */
#include "text/pretokeniser.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE_WORK = 4 }; /* units of work of a piece, beside those of its bytes */

/* ---- ByteLevel's alphabet ---- */

static bool stands_for_itself(uint32_t byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

uint32_t qa_byte_to_char(unsigned char byte) {
    if (stands_for_itself(byte)) {
        return byte;
    }
    if (byte <= 0x20) {
        return 0x100u + byte;
    }
    if (byte <= 0xA0) {
        return 0x121u + (byte - 0x7Fu);
    }
    return 0x143; /* 0xAD */
}

int qa_char_to_byte(uint32_t code) {
    if (code <= 0xFF) {
        return stands_for_itself(code) ? (int)code : -1;
    }
    if (code <= 0x120) {
        return (int)(code - 0x100);
    }
    if (code <= 0x142) {
        return (int)(code - 0x121 + 0x7F);
    }
    return code == 0x143 ? 0xAD : -1;
}

/* ---- construction ---- */

void qa_pretokeniser_free(qa_pretokeniser *pretokeniser) {
    for (size_t i = 0; i < pretokeniser->n; i++) {
        qa_pattern_free(pretokeniser->steps[i].pattern);
    }
    free(pretokeniser->steps);
    memset(pretokeniser, 0, sizeof *pretokeniser);
}

qa_status qa_pretokeniser_add(qa_pretokeniser *pretokeniser, const qa_pretokeniser_step *step, qa_error *err) {
    QA_TRY(QA_GROW(pretokeniser->steps, pretokeniser->capacity, pretokeniser->n + 1, err, "a pre-tokenizer"));
    pretokeniser->steps[pretokeniser->n++] = *step;
    return QA_OK;
}

void qa_pieces_free(qa_pieces *pieces) {
    free(pieces->pieces.data);
    free(pieces->next.data);
    qa_text_free(&pieces->buffer[0]);
    qa_text_free(&pieces->buffer[1]);
    qa_match_scratch_free(&pieces->match);
    memset(pieces, 0, sizeof *pieces);
}

/* ---- cutting ---- */

/* Cuts one piece, whose matches and stretches between them are spans[n] relative to base, by the
 * behaviour; appends the resulting pieces to next. */
static qa_status apply_behaviour(qa_split_behaviour behaviour, bool invert, const qa_stretch *spans, size_t n,
                                 size_t base, qa_spans *next, qa_error *err) {
    size_t first = next->n;
    bool previous_match = false;
    bool joins_next = false; /* the last piece is a match that belongs to what follows */
    for (size_t i = 0; i < n; i++) {
        bool match = spans[i].match != invert;
        size_t start = base + spans[i].start;
        size_t end = base + spans[i].end;
        bool extend = false;
        switch (behaviour) {
        case QA_SPLIT_ISOLATED: break;
        case QA_SPLIT_REMOVED:
            if (match) {
                continue;
            }
            break;
        case QA_SPLIT_MERGED_WITH_PREVIOUS: extend = match && !previous_match && next->n > first; break;
        case QA_SPLIT_MERGED_WITH_NEXT:
            extend = joins_next;
            /* In a run of matches only the last one joins what follows. */
            joins_next = match && i + 1 < n && (spans[i + 1].match == invert);
            break;
        case QA_SPLIT_CONTIGUOUS: extend = match == previous_match && next->n > first; break;
        }
        previous_match = match;
        if (extend) {
            next->data[next->n - 1].end = end;
        } else {
            QA_TRY(qa_spans_push(next, start, end, false, err));
        }
    }
    return QA_OK;
}

/* Empty pieces (from empty matches) vanish. */
static void drop_empty(qa_spans *spans) {
    size_t kept = 0;
    for (size_t i = 0; i < spans->n; i++) {
        if (spans->data[i].end > spans->data[i].start) {
            spans->data[kept++] = spans->data[i];
        }
    }
    spans->n = kept;
}

/* The runs of numeric characters of a piece, one span per character when individual. */
static qa_status find_digits(const char *text, size_t n, qa_spans *spans, qa_error *err) {
    spans->n = 0;
    size_t done = 0;
    for (size_t at = 0; at < n;) {
        size_t from = at;
        if (qa_is_number(qa_utf8_next(text, &at))) {
            if (from > done) {
                QA_TRY(qa_spans_push(spans, done, from, false, err));
            }
            QA_TRY(qa_spans_push(spans, from, at, true, err));
            done = at;
        }
    }
    return done < n ? qa_spans_push(spans, done, n, false, err) : QA_OK;
}

static qa_status cut(const qa_pretokeniser_step *step, qa_pieces *pieces, qa_error *err) {
    for (size_t i = 0; i < pieces->pieces.n; i++) {
        const qa_stretch *piece = &pieces->pieces.data[i];
        const char *text = pieces->text + piece->start;
        size_t n = piece->end - piece->start;
        if (step->kind == QA_PRETOKENISE_DIGITS) {
            QA_TRY(find_digits(text, n, &pieces->match.spans, err));
        } else {
            QA_TRY(qa_pattern_split(step->pattern, &pieces->match, text, n, err));
        }
        QA_TRY(apply_behaviour(step->behaviour, step->invert, pieces->match.spans.data, pieces->match.spans.n,
                               piece->start, &pieces->next, err));
    }
    drop_empty(&pieces->next);
    return QA_OK;
}

/* ---- rewriting ---- */

static qa_status to_bytes(const char *text, size_t n, qa_text *out, qa_error *err) {
    char buffer[512];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t code = qa_byte_to_char((unsigned char)text[i]);
        if (code < 0x80) {
            buffer[used++] = (char)code;
        } else { /* below U+0144: two bytes */
            buffer[used++] = (char)(0xC0 | code >> 6);
            buffer[used++] = (char)(0x80 | (code & 0x3F));
        }
        if (used > sizeof buffer - 2) {
            QA_TRY(qa_text_append(out, buffer, used, err));
            used = 0;
        }
    }
    return qa_text_append(out, buffer, used, err);
}

/* One piece of Metaspace: `prefix` allows the replacement in front. Pieces go to next, as stretches
 * of out. */
static qa_status metaspace(const qa_pretokeniser_step *step, bool prefix, const char *text, size_t n, qa_text *out,
                           qa_spans *next, qa_error *err) {
    const char *mark = step->replacement;
    size_t bytes = step->replacement_bytes;
    size_t start = out->n;
    bool starts_with_mark = text[0] == ' ' || (n >= bytes && memcmp(text, mark, bytes) == 0);
    if (prefix && !starts_with_mark) {
        QA_TRY(qa_text_append(out, mark, bytes, err));
    }
    size_t done = 0;
    for (size_t at = 0; at <= n; at++) {
        if (at == n || text[at] == ' ') {
            QA_TRY(qa_text_append(out, text + done, at - done, err));
            QA_TRY(qa_text_append(out, mark, at < n ? bytes : 0, err));
            done = at + 1;
        }
    }
    for (size_t at = start + 1; step->split && at < out->n; at++) {
        if (out->data[at] == mark[0] && out->n - at >= bytes && memcmp(out->data + at, mark, bytes) == 0) {
            QA_TRY(qa_spans_push(next, start, at, false, err));
            start = at;
        }
    }
    return qa_spans_push(next, start, out->n, false, err);
}

static qa_status rewrite(const qa_pretokeniser_step *step, qa_text_place place, qa_pieces *pieces, qa_text *out,
                         qa_error *err) {
    out->n = 0;
    QA_TRY(qa_text_append(out, "", 0, err));
    for (size_t i = 0; i < pieces->pieces.n; i++) {
        const qa_stretch *piece = &pieces->pieces.data[i];
        const char *text = pieces->text + piece->start;
        size_t n = piece->end - piece->start;
        bool at_start = place.at_start && i == 0;
        bool prefix = !(at_start && place.continuation);
        size_t start = out->n;
        if (step->kind == QA_PRETOKENISE_METASPACE) {
            prefix = prefix && (step->scheme == QA_PREPEND_ALWAYS || (step->scheme == QA_PREPEND_FIRST && at_start));
            QA_TRY(metaspace(step, prefix, text, n, out, &pieces->next, err));
            continue;
        }
        if (step->kind == QA_PRETOKENISE_ADD_SPACE) {
            QA_TRY(qa_text_append(out, " ", prefix && text[0] != ' ' ? 1 : 0, err));
            QA_TRY(qa_text_append(out, text, n, err));
        } else {
            QA_TRY(to_bytes(text, n, out, err));
        }
        QA_TRY(qa_spans_push(&pieces->next, start, out->n, false, err));
    }
    return QA_OK;
}

qa_status qa_pretokenise(const qa_pretokeniser *pretokeniser, qa_text_place place, const char *text, size_t n,
                         qa_pieces *pieces, qa_error *err) {
    qa_text_work own = qa_text_work_of(n);
    qa_text_work *work = pieces->match.work != NULL ? pieces->match.work : &own;
    pieces->text = text;
    pieces->pieces.n = 0;
    QA_TRY(qa_spans_push(&pieces->pieces, 0, n, false, err));
    for (size_t i = 0; i < pretokeniser->n; i++) {
        const qa_pretokeniser_step *step = &pretokeniser->steps[i];
        size_t first = pieces->pieces.n > 0 ? pieces->pieces.data[0].start : 0;
        pieces->next.n = 0;
        if (step->kind == QA_PRETOKENISE_SPLIT || step->kind == QA_PRETOKENISE_DIGITS) {
            QA_TRY(cut(step, pieces, err));
            /* A Removed match at the start takes the text's first character away. */
            place.at_start = place.at_start && pieces->next.n > 0 && pieces->next.data[0].start == first;
        } else {
            qa_text *out = &pieces->buffer[pieces->text == pieces->buffer[0].data ? 1 : 0];
            QA_TRY(rewrite(step, place, pieces, out, err));
            pieces->text = out->data;
        }
        qa_spans done = pieces->pieces;
        pieces->pieces = pieces->next;
        pieces->next = done;
        const size_t end = pieces->pieces.n > 0 ? pieces->pieces.data[pieces->pieces.n - 1].end : 0;
        QA_FAIL_IF(!qa_text_work_spend(work, end + PIECE_WORK * pieces->pieces.n), err, QA_ERR_LIMIT,
                   "pre_tokenizer: its %zu steps make too much work of the text", pretokeniser->n);
    }
    return QA_OK;
}
