/* Unicode normal forms over utf8proc, held to Unicode 9.0.
 *
 * Text is cut where normalisation cannot reach across, each part is decomposed, its marks are put
 * in canonical order, and utf8proc composes it again (NFC, NFKC). Two things are done here and not by
 * utf8proc: characters that Unicode 9.0 did not have are boundaries and stay as they are (in 9.0 they had
 * combining class 0 and took part in nothing), and long runs of marks are sorted in linear time. */
#include "text/normal_form.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Stretches of code points without any character in Unicode 9.0 in which later versions have
 * combining marks, decompositions, or parts of compositions. */
static const uint32_t AFTER_9_0[][2] = {
    {0x07FB, 0x07FF},   {0x085F, 0x089F},   {0x08BE, 0x08D3},   {0x09FC, 0x0A00},   {0x0C3A, 0x0C3C},
    {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x1715, 0x171F},   {0x1ABF, 0x1AFF},   {0x1DF6, 0x1DFA},
    {0x32FF, 0x32FF},   {0xA7B8, 0xA7F6},   {0xA82C, 0xA82F},   {0xAB66, 0xAB6F},   {0x10570, 0x105FF},
    {0x10768, 0x107FF}, {0x10D00, 0x10E5F}, {0x10E7F, 0x10FFF}, {0x11070, 0x1107E}, {0x1133A, 0x1133B},
    {0x11375, 0x113FF}, {0x1145E, 0x1147F}, {0x11740, 0x1189F}, {0x11900, 0x11ABF}, {0x11AF9, 0x11BFF},
    {0x11CB7, 0x11FFF}, {0x14647, 0x167FF}, {0x16B90, 0x16EFF}, {0x16FE1, 0x16FFF}, {0x1BCA4, 0x1CFFF},
    {0x1E02B, 0x1E7FF}, {0x1F16C, 0x1F16F}, {0x1F9C1, 0x1FFFD},
};

/* Also true for U+11A7, a vowel that joins nothing but that utf8proc 2.8 takes for an
 * absent final consonant and drops behind a Hangul syllable. */
static bool stands_alone(uint32_t code) {
    if (code == 0x11A7) {
        return true;
    }
    size_t low = 0;
    size_t high = sizeof AFTER_9_0 / sizeof AFTER_9_0[0];
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code < AFTER_9_0[middle][0]) {
            high = middle;
        } else if (code > AFTER_9_0[middle][1]) {
            low = middle + 1;
        } else {
            return true;
        }
    }
    return false;
}

enum { LONGEST_DECOMPOSITION = 32 }; /* code points; U+FDFA has 18 */

/* A part of the text, as code points. */
typedef struct part {
    utf8proc_int32_t *codes;
    utf8proc_int32_t *sorted; /* room for one run of marks */
    size_t n, capacity;
} part;

static qa_status reserve_points(part *p, qa_error *err) {
    if (p->capacity - p->n >= LONGEST_DECOMPOSITION) {
        return QA_OK;
    }
    const size_t needed = p->n + LONGEST_DECOMPOSITION;
    size_t room = p->capacity;
    QA_TRY(QA_GROW(p->sorted, room, needed, err, "%zu characters to normalise", needed));
    QA_TRY(QA_GROW(p->codes, p->capacity, needed, err, "%zu characters to normalise", needed));
    return QA_OK;
}

static unsigned combining_class(utf8proc_int32_t code) {
    return (unsigned)utf8proc_get_property(code)->combining_class;
}

/* Canonical order: every run of marks (class above 0) is sorted by class, equal ones in the order they
 * stand. Counting sort, or insertion where a run is short. */
static void order_marks(part *p) {
    for (size_t start = 0; start < p->n; start++) {
        size_t end = start;
        while (end < p->n && combining_class(p->codes[end]) > 0) {
            end++;
        }
        if (end - start > 16) {
            size_t before[257] = {0};
            for (size_t i = start; i < end; i++) {
                before[(combining_class(p->codes[i]) & 0xFF) + 1]++;
            }
            for (size_t c = 1; c < 257; c++) {
                before[c] += before[c - 1];
            }
            for (size_t i = start; i < end; i++) {
                p->sorted[before[combining_class(p->codes[i]) & 0xFF]++] = p->codes[i];
            }
            memcpy(p->codes + start, p->sorted, (end - start) * sizeof *p->codes);
        } else {
            for (size_t i = start + 1; i < end; i++) {
                utf8proc_int32_t code = p->codes[i];
                size_t to = i;
                for (; to > start && combining_class(p->codes[to - 1]) > combining_class(code); to--) {
                    p->codes[to] = p->codes[to - 1];
                }
                p->codes[to] = code;
            }
        }
        start = end;
    }
}

/* Puts the part in order, composes it, appends it to out and empties it. */
static qa_status flush_normal_form(part *p, bool compose, qa_text *out, qa_error *err) {
    if (p->n == 0) {
        return QA_OK;
    }
    order_marks(p);
    utf8proc_ssize_t n = (utf8proc_ssize_t)p->n;
    if (compose) {
        n = utf8proc_normalize_utf32(p->codes, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    }
    QA_FAIL_IF(n < 0, err, QA_ERR_FORMAT, "the text cannot be normalised: %s", utf8proc_errmsg(n));
    p->n = 0;
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        char bytes[QA_UTF8_MAX];
        QA_TRY(qa_text_append(out, bytes, qa_utf8_encode((uint32_t)p->codes[i], bytes), err));
    }
    return QA_OK;
}

static qa_status decompose(part *p, uint32_t code, bool compatibility, qa_error *err) {
    QA_TRY(reserve_points(p, err));
    int boundary = 0;
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (compatibility) {
        options |= UTF8PROC_COMPAT;
    }
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)code, p->codes + p->n, LONGEST_DECOMPOSITION, options, &boundary);
    QA_FAIL_IF(n < 0 || n > LONGEST_DECOMPOSITION, err, QA_ERR_FORMAT, "U+%04lX cannot be normalised: %s",
               (unsigned long)code, n < 0 ? utf8proc_errmsg(n) : "its decomposition is too long");
    p->n += (size_t)n;
    return QA_OK;
}

qa_status qa_normal_form_append(qa_normal_form form, const char *text, size_t n, qa_text *out, qa_error *err) {
    bool compose = form == QA_NFC || form == QA_NFKC;
    bool compatibility = form == QA_NFKC || form == QA_NFKD;
    /* Characters below this are never changed and never join what stands before them. */
    uint32_t inert = form == QA_NFC ? 0x300 : 0x80;
    part p = {0};
    qa_status status = QA_OK;
    size_t raw = 0; /* text[raw, at) is to be copied as it is */
    size_t at = 0;
    while (at < n) {
        size_t from = at;
        uint32_t code = qa_utf8_next(text, &at);
        if (code < inert || stands_alone(code)) {
            size_t behind = at;
            bool alone = at == n || stands_alone(code) || qa_utf8_next(text, &behind) < inert;
            QA_GOTO(out, flush_normal_form(&p, compose, out, err));
            if (alone) {
                continue;
            }
        }
        /* Everything up to here that was passed over is ready; this character begins or continues a part. */
        QA_GOTO(out, qa_text_append(out, text + raw, p.n == 0 ? from - raw : 0, err));
        QA_GOTO(out, decompose(&p, code, compatibility, err));
        raw = at;
    }
    QA_GOTO(out, flush_normal_form(&p, compose, out, err));
    QA_GOTO(out, qa_text_append(out, text + raw, n - raw, err));
out:
    free(p.codes);
    free(p.sorted);
    return status;
}
