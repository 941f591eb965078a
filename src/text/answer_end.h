/* Where an answer ends: the one list for what training teaches as an end and what generation stops on. */
#ifndef QA_TEXT_ANSWER_END_H
#define QA_TEXT_ANSWER_END_H

#include "qadapter/text.h"

enum { QA_MAX_END_IDS = 24, QA_MAX_END_TEXTS = 2 };

/* What ends an answer. The texts are borrowed from the tokenizer and the template. */
typedef struct qa_answer_end {
    int32_t ids[QA_MAX_END_IDS]; /* [n_ids] the model's end-of-sequence ids, or else the tokenizer's; and the template's
                                    end of turn */
    size_t n_ids;
    int32_t closing;                     /* the one that is put behind text without an end; -1: none is known */
    const char *texts[QA_MAX_END_TEXTS]; /* [n_texts] which end an answer to a dialogue where no token does */
    size_t n_texts;
    const char *turn; /* what the template ends a turn with, as text: "" if nothing that is known */
    bool in_pieces;   /* which the tokenizer makes several tokens of, so that nothing can stop on it */
} qa_answer_end;

/* chat and tokenizer may be NULL: the ids alone. eos_ids[n_eos]: the model's; the first of them closes text, without
 * any the tokenizer's eos_token does. */
QA_MUST_CHECK qa_status qa_answer_end_find(qa_answer_end *end, const qa_chat *chat, const qa_tokenizer *tokenizer,
                                           const int32_t *eos_ids, size_t n_eos, qa_error *err);

/* Appends to *missing the marks of a template, those of its name and the end of a turn, for which the tokenizer has no
 * single token: "\"<|im_start|>\", ...". */
QA_MUST_CHECK qa_status qa_answer_end_missing(const qa_answer_end *end, qa_chat_template which,
                                              const qa_tokenizer *tokenizer, qa_text *missing, qa_error *err);

bool qa_answer_end_has(const qa_answer_end *end, int32_t id);
/* Whether id is one of ids[n]. */
bool qa_is_one_of(int32_t id, const int32_t *ids, size_t n);

/* How many of ids[n] there are up to and including the last end token, if nothing but white space stands behind it;
 * 0 else. Without a tokenizer nothing may stand behind it. */
QA_MUST_CHECK qa_status qa_answer_end_of(const qa_answer_end *end, const qa_tokenizer *tokenizer, const int32_t *ids,
                                         size_t n, size_t *ended, qa_error *err);

/* Whether a template ended ids that had ended already: the content brought an end of its own. */
QA_MUST_CHECK qa_status qa_answer_end_doubled(const qa_answer_end *end, const qa_tokenizer *tokenizer,
                                              const int32_t *ids, size_t n, bool *doubled, qa_error *err);

/* Ends ids that no template ended: what ends by itself, white space behind the end token aside, gets no second one. The
 * white space itself stays under QA_RESPONSE_END_TEMPLATE and goes otherwise. The text's own tokens are those from
 * `start` on. */
QA_MUST_CHECK qa_status qa_answer_end_close(const qa_answer_end *end, const qa_tokenizer *tokenizer,
                                            qa_response_end response_end, size_t start, qa_ids *ids, qa_error *err);

/* How many bytes of text[bytes] are certain not to belong to a stop text: all but the longest end that a stop text
 * could begin with. When a stop text is in there, *found is true and the result is where the first one begins. */
size_t qa_stop_certain(const char *text, size_t bytes, const char *const *stops, size_t n_stops, bool *found);

/* An answer's tokens as text, up to what ends it. Zero-initialise; free with qa_answer_text_free. */
typedef struct qa_answer_text {
    qa_text text;
    size_t certain;      /* bytes of text that no stop text can begin in any more */
    bool ended, stopped; /* by a token of `end`; by a stop text: nothing more is taken in */
    const qa_answer_end *end;
    const char *const *stops; /* [n_stops] */
    size_t n_stops;
    qa_decode_stream *stream; /* NULL without a tokenizer: tokens end it, there is no text */
} qa_answer_text;

/* Begins another answer behind context[n] (they decide on its leading space). All pointers are borrowed. */
QA_MUST_CHECK qa_status qa_answer_text_begin(qa_answer_text *answer, const qa_tokenizer *tokenizer,
                                             const qa_answer_end *end, const char *const *stops, size_t n_stops,
                                             const int32_t *context, size_t n, qa_error *err);
QA_MUST_CHECK qa_status qa_answer_text_take(qa_answer_text *answer, int32_t id, qa_error *err);
/* After the last token: all of the text is certain. */
QA_MUST_CHECK qa_status qa_answer_text_finish(qa_answer_text *answer, qa_error *err);
/* All of ids[n], as far as they go, and the finish. */
QA_MUST_CHECK qa_status qa_answer_text_take_all(qa_answer_text *answer, const int32_t *ids, size_t n, qa_error *err);
void qa_answer_text_free(qa_answer_text *answer);

#endif
