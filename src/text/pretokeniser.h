/* The pre-tokenizer: cuts a normalised text into the pieces that BPE works on, and rewrites them
 * (ByteLevel's alphabet, Metaspace's marks). */
#ifndef QA_TEXT_PRETOKENISER_H
#define QA_TEXT_PRETOKENISER_H

#include "qadapter/buffer.h"
#include "qadapter/status.h"
#include "text/pattern.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What becomes of the matches of a Split. */
typedef enum qa_split_behaviour {
    QA_SPLIT_ISOLATED,
    QA_SPLIT_REMOVED,
    QA_SPLIT_MERGED_WITH_PREVIOUS,
    QA_SPLIT_MERGED_WITH_NEXT,
    QA_SPLIT_CONTIGUOUS
} qa_split_behaviour;

typedef enum qa_prepend_scheme { QA_PREPEND_ALWAYS, QA_PREPEND_FIRST, QA_PREPEND_NEVER } qa_prepend_scheme;

typedef enum qa_pretokeniser_kind {
    QA_PRETOKENISE_SPLIT,     /* by a pattern */
    QA_PRETOKENISE_DIGITS,    /* by numeric characters: isolated or contiguous */
    QA_PRETOKENISE_BYTES,     /* ByteLevel without its regular expression: every byte becomes a character */
    QA_PRETOKENISE_ADD_SPACE, /* ByteLevel's add_prefix_space */
    QA_PRETOKENISE_METASPACE  /* spaces become `replacement`, one is put in front, cuts before each */
} qa_pretokeniser_kind;

typedef struct qa_pretokeniser_step {
    qa_pretokeniser_kind kind;
    qa_pattern *pattern;          /* split */
    qa_split_behaviour behaviour; /* split, digits */
    bool invert;                  /* split: the stretches between matches are the matches */
    char replacement[4];          /* metaspace: one character */
    size_t replacement_bytes;
    qa_prepend_scheme scheme;
    bool split; /* metaspace: cut before every replacement */
} qa_pretokeniser_step;

/* Zero-initialise: no steps, the whole text is one piece. */
typedef struct qa_pretokeniser {
    qa_pretokeniser_step *steps; /* [n] */
    size_t n, capacity;
} qa_pretokeniser;

void qa_pretokeniser_free(qa_pretokeniser *pretokeniser);

/* Appends a step, whose pattern the pre-tokenizer then owns. When this fails the caller still owns it. */
QA_MUST_CHECK qa_status qa_pretokeniser_add(qa_pretokeniser *pretokeniser, const qa_pretokeniser_step *step,
                                            qa_error *err);

/* Where the text stands, which decides about prefixes of its first piece. */
typedef struct qa_text_place {
    bool at_start;     /* its first character is the first of the whole text */
    bool continuation; /* ... which continues another: no prefix there */
} qa_text_place;

/* The pieces and what making them needs; reused between calls. Zero-initialise. */
typedef struct qa_pieces {
    const char *text; /* the pieces are stretches of this; borrowed from the input or from buffer */
    qa_spans pieces;  /* in order; never empty ones */
    qa_spans next;    /* of the step being done */
    qa_text buffer[2];
    qa_match_scratch match;
} qa_pieces;

void qa_pieces_free(qa_pieces *pieces);

/* Cuts text[n], n > 0, valid UTF-8; the result is pieces->pieces of pieces->text. */
QA_MUST_CHECK qa_status qa_pretokenise(const qa_pretokeniser *pretokeniser, qa_text_place place, const char *text,
                                       size_t n, qa_pieces *pieces, qa_error *err);

/* ---- ByteLevel's alphabet: a printable character for every byte ---- */

/* The character of a byte: 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF are themselves, the other 68 in order
 * are U+0100, U+0101... */
uint32_t qa_byte_to_char(unsigned char byte);
/* The byte of a character, or -1 when it is not in the alphabet. */
int qa_char_to_byte(uint32_t code);

#endif
