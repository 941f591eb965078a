/* The decoder: from tokens to text, one token at a time.
 *
 * A decoder is a chain of stages. Tokens go in at the front in pieces ("chunks") of whole characters, each token
 * followed by an end mark; every stage passes on what is certain and holds back the rest. Decoding a whole sequence
 * and decoding a stream are the same computation, so they agree by construction. */
#ifndef QA_TEXT_DECODER_H
#define QA_TEXT_DECODER_H

#include "qadapter/buffer.h"
#include "qadapter/status.h"
#include "text/pattern.h"
#include "text/utf8.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum qa_decoder_kind {
    QA_DECODE_BYTE_LEVEL,    /* characters of ByteLevel's alphabet become bytes, all joined to one token */
    QA_DECODE_REPLACE,       /* in each token */
    QA_DECODE_BYTE_FALLBACK, /* runs of <0xNN> become characters */
    QA_DECODE_FUSE,          /* all tokens become one */
    QA_DECODE_STRIP,         /* a character off both ends of each token */
    QA_DECODE_METASPACE,     /* the mark becomes a space, in the first token nothing */
    QA_DECODE_JOIN           /* a space between tokens: what a tokenizer without a decoder does */
} qa_decoder_kind;

typedef struct qa_decoder_step {
    qa_decoder_kind kind;
    qa_pattern *pattern;   /* replace */
    qa_text content;       /* replace: with what; strip, metaspace: the character */
    size_t start, stop;    /* strip: at most so many characters at each end */
    bool first_loses_mark; /* metaspace: in the first token the mark vanishes */
} qa_decoder_step;

/* Zero-initialise: no steps, the tokens' contents joined without anything between. */
typedef struct qa_decoder {
    qa_decoder_step *steps; /* [n] */
    size_t n, capacity;
} qa_decoder;

void qa_decoder_free(qa_decoder *decoder);
/* Appends a step, which the decoder then owns. When this fails the caller still owns it. */
QA_MUST_CHECK qa_status qa_decoder_add(qa_decoder *decoder, const qa_decoder_step *step, qa_error *err);
void qa_decoder_step_free(qa_decoder_step *step);

/* A decoding in progress. */
typedef struct qa_decoding qa_decoding;

QA_MUST_CHECK qa_status qa_decoding_create(qa_decoding **decoding, const qa_decoder *decoder, qa_error *err);
void qa_decoding_free(qa_decoding *decoding); /* NULL is allowed */

/* One more token, content[n]; appends what became certain to out. */
QA_MUST_CHECK qa_status qa_decoding_push(qa_decoding *decoding, const char *content, size_t n, qa_text *out,
                                         qa_error *err);
/* Gives out bytes that are held back as if no more followed, without ending the text. */
QA_MUST_CHECK qa_status qa_decoding_sync(qa_decoding *decoding, qa_text *out, qa_error *err);
/* The end: appends all that was held back. Nothing may be pushed afterwards. */
QA_MUST_CHECK qa_status qa_decoding_finish(qa_decoding *decoding, qa_text *out, qa_error *err);

#endif
