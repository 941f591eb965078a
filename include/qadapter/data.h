/* Preference pairs, single responses and documents: from files to token ids. */
#ifndef QADAPTER_DATA_H
#define QADAPTER_DATA_H

#include "qadapter/status.h"
#include "qadapter/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

QA_BEGIN_DECLS

/* ---- preference pairs ---- */

/* One pair, tokenised. Everything is borrowed from the set it belongs to. */
typedef struct qa_pair {
    const int32_t *prompt; /* [prompt_len] */
    const int32_t *chosen; /* [chosen_len] the response's own tokens, end token included */
    const int32_t *rejected;
    size_t prompt_len, chosen_len, rejected_len; /* tokens, each >= 1; rejected_len 0 of single responses */
    bool chosen_terminal;                        /* the response ends there, it was not cut off: V = 0 after it */
    bool rejected_terminal;
    size_t label_start; /* position of the first token counted as response by the `published`
                           objective: prompt_len, or less under published_data (quirk 5) */
    size_t line;        /* 1-based line (JSON Lines) or element (array) of the file */
    size_t answer;      /* of a list of responses to one prompt: its place in that, from 0; else 0 */
    bool undesirable;   /* of a labelled response (qa_pairs_labelled): its label is false */
    char subset[64]; /* what "subset" of its row says, fit to be shown, a long one cut and with a hash; "": nothing */
} qa_pair;

typedef struct qa_pairs_options {
    const char *dsp_domain; /* for DSP raw files: the preferred domain; NULL otherwise */
    qa_chat_template chat;  /* for conversational, HH-RLHF and DSP data */
    size_t vocab_size;      /* ids must be below it */
    size_t max_length;      /* cut-off of prompt + response, tokens */
    const int32_t *eos_ids; /* end-of-sequence ids of the model, [n_eos]; eos_ids[0] ends the responses of plain
                               text and of QA_CHAT_PLAIN. Without any, the tokenizer's eos_token does. */
    size_t n_eos;
    bool strict;         /* a pair that would be skipped is an error */
    bool published_data; /* the authors' quirks 5 and 6: label boundary capped at 256, doubled bos. Their rows also
                            have response_end QA_RESPONSE_END_TEMPLATE. */
    qa_response_end response_end;
    size_t max_pairs;        /* stop after so many; 0 = all */
    bool responses;          /* the file holds single responses, not pairs: see qa_pairs_load */
    bool either;             /* pairs or single responses, as its first example is: see qa_pairs_single */
    bool labelled;           /* with `either`: single responses must have a label: see qa_pairs_labelled */
    const qa_chat *renderer; /* what writes dialogues instead of `chat`, any template; NULL: the one that chat names */
    /* Which column of the file is which of ours, "prompt=question,chosen=good"; NULL: they have our names. Names of
     * ours beyond those of the forms, `system`, `instruction`, `input`, `history` and (single responses) `output`, are
     * strings that become messages (docs/formats.md). */
    const char *columns;
} qa_pairs_options;

/* Whether a chat template is applied to a file's examples. */
typedef enum qa_pairs_kind {
    QA_PAIRS_DIALOGUES, /* yes: conversations, HH-RLHF, DSP */
    QA_PAIRS_TEXT,      /* no: strings as they are */
    QA_PAIRS_IDS        /* no: token ids */
} qa_pairs_kind;

/* Why a pair was left out. */
typedef enum qa_skip_reason {
    QA_SKIP_PROMPTS_DIFFER,
    QA_SKIP_RESPONSES_EQUAL,
    QA_SKIP_RESPONSES_CUT_EQUAL, /* they differ, but only behind max_length */
    QA_SKIP_RESPONSE_EMPTY,
    QA_SKIP_PROMPT_EMPTY,
    QA_SKIP_PROMPT_TOO_LONG, /* the prompt fills max_length */
    QA_SKIP_ID_OUT_OF_RANGE,
    QA_SKIP_NO_ASSISTANT_TURN,
    QA_SKIP_TEMPLATE_REFUSES,
    QA_SKIP_NOT_WRITTEN, /* a key of the example or of a message belongs to its text and cannot be written: tools... */
    QA_SKIP_RESPONSE_TURNS, /* a response of several messages, which the template does not write behind the prompt */
    QA_SKIP_SCORES_TIED,    /* text and score: no text scores higher than another */
    QA_SKIP_REASONS         /* how many there are */
} qa_skip_reason;

enum { QA_SKIP_DETAIL_BYTES = 160 };

typedef struct qa_skip_report {
    size_t count[QA_SKIP_REASONS];
    size_t first_line[QA_SKIP_REASONS];                       /* 1-based line or element; 0 while count is 0 */
    char first_detail[QA_SKIP_REASONS][QA_SKIP_DETAIL_BYTES]; /* what more is known of that one; often "" */
    bool elements;                                            /* the file is an array: places are elements, not lines */
    size_t truncated_responses;                               /* responses cut at max_length (kept, not terminal) */
} qa_skip_report;

const char *qa_skip_reason_text(qa_skip_reason reason); /* "prompts of the two sides differ"... */

typedef struct qa_pairs qa_pairs;

/* Loads a file ("-" is standard input) in any of the seven forms (docs/formats.md), told apart by
 * content. tokenizer may be NULL when every pair is already tokenised. Errors name the file and the line,
 * or the element of an array; an empty result is an error.
 *
 * With options->responses the objects are dialogues whose last message is the assistant's, {"messages": [...]}, or
 * {"prompt", "completion"}, text or messages, or {"prompt_ids", "response_ids"}, all perhaps with "terminal": false
 * where the response was cut off; or a prompt with a list of answers, {"prompt", "responses": [...]}, also called
 * "completions" or "candidates". They become pairs whose chosen response it is, without a rejected one (rejected_len
 * 0): what replay learns from, and what `score` tells of single answers. */
QA_MUST_CHECK qa_status qa_pairs_load(qa_pairs **pairs, const char *path, const qa_tokenizer *tokenizer,
                                      const qa_pairs_options *options, qa_error *err);
void qa_pairs_free(qa_pairs *pairs); /* NULL is allowed */

/* Every pair as two labelled responses, which `kto` learns from: first the chosen ones of all pairs, desirable, then
 * the rejected ones, undesirable (TRL's unpair_preference_dataset). The caller frees *out. QA_ERR_ARGUMENT of single
 * responses. */
QA_MUST_CHECK qa_status qa_pairs_unpair(qa_pairs **out, const qa_pairs *pairs, qa_error *err);

/* Takes `wanted` pairs out of a set into one of their own, by the seed, whatever order the file has. Pairs of one
 * prompt stay together, so there may be fewer of them, or more where every prompt has more. QA_ERR_ARGUMENT when either
 * set would be empty; *pairs is unchanged after a failure. The caller frees *held_out. */
QA_MUST_CHECK qa_status qa_pairs_split(qa_pairs *pairs, size_t wanted, uint64_t seed, qa_pairs **held_out,
                                       qa_error *err);

size_t qa_pairs_count(const qa_pairs *pairs);
const qa_pair *qa_pairs_at(const qa_pairs *pairs, size_t index);
const qa_skip_report *qa_pairs_report(const qa_pairs *pairs);
const char *qa_pairs_format(const qa_pairs *pairs);      /* "HH-RLHF dialogues"... */
size_t qa_pairs_longest_prompt(const qa_pairs *pairs);   /* tokens */
size_t qa_pairs_longest_response(const qa_pairs *pairs); /* tokens, over both sides */
qa_pairs_kind qa_pairs_kind_of(const qa_pairs *pairs);
bool qa_pairs_single(const qa_pairs *pairs); /* they are single responses, without a rejected one */
/* They are single responses with "label": true or false, desirable or not: TRL's unpaired preference data. Where
 * `either` is set, and only there, labels are read; all examples of a file have one, or none has. */
bool qa_pairs_labelled(const qa_pairs *pairs);
size_t qa_pairs_undesirable(const qa_pairs *pairs);             /* how many of them have the label false */
size_t qa_pairs_max_length(const qa_pairs *pairs);              /* as the options had it */
qa_chat_template qa_pairs_chat_template(const qa_pairs *pairs); /* that was applied; QA_CHAT_NONE: none was */
qa_response_end qa_pairs_response_end(const qa_pairs *pairs);   /* as the options had it */
bool qa_pairs_published_data(const qa_pairs *pairs);            /* likewise */
const char *qa_pairs_columns(const qa_pairs *pairs);            /* likewise, in one order; NULL: none were named */
/* What was read but may not be meant, one line each; borrowed. */
const qa_warnings *qa_pairs_warnings(const qa_pairs *pairs);
uint64_t qa_pairs_fingerprint(const qa_pairs *pairs); /* changes with any token of any pair */

/* ---- documents ---- */

/* Which tokens of a document are learned. */
typedef enum qa_learn {
    QA_LEARN_ALL,      /* every token but the first */
    QA_LEARN_RESPONSES /* of a conversation the assistant's turns with the token that ends them; of plain text all */
} qa_learn;

/* One tokenised document; owned by the corpus. learned[i]: token i is predicted from those before it and counts in
 * the loss (learned[0] is false). */
typedef struct qa_document {
    const int32_t *ids; /* [n] */
    const bool *learned;
    size_t n;
    size_t line; /* in its file, 1 is the first */
} qa_document;

typedef struct qa_corpus qa_corpus;

/* Reads JSON Lines, one document a line: {"text": ...}, {"messages": [{"role", "content"}, ...]} (written through the
 * chat template) or {"ids": [...]}. Plain text gets what the tokenizer puts in front of every text (often nothing) and
 * its end-of-sequence token. Documents longer than max_length tokens are cut there, documents without a token to learn
 * (of one token...) are left out; both are counted. A line that cannot be used is an error that names it, and so
 * is one with a part that cannot be written (tools, tool calls, a system prompt apart: QA_ERR_UNSUPPORTED); ids outside
 * the vocabulary of vocab_size are QA_ERR_ARGUMENT, a tokenizer with more tokens than that is QA_ERR_MISMATCH.
 * tokenizer may be NULL when every line has ids. "-" is standard input. */
QA_MUST_CHECK qa_status qa_corpus_load(qa_corpus **corpus, const char *path, const qa_tokenizer *tokenizer,
                                       qa_chat_template chat, qa_learn learn, size_t max_length, size_t vocab_size,
                                       qa_error *err);
/* qa_corpus_load with a template of any kind, the model's end-of-sequence ids (n_eos 0: the tokenizer's), and the names
 * of the file's columns (as in qa_pairs_options; NULL: ours). */
QA_MUST_CHECK qa_status qa_corpus_load_chat(qa_corpus **corpus, const char *path, const qa_tokenizer *tokenizer,
                                            const qa_chat *renderer, qa_learn learn, size_t max_length,
                                            size_t vocab_size, const int32_t *eos_ids, size_t n_eos,
                                            const char *columns, qa_error *err);
void qa_corpus_free(qa_corpus *corpus); /* NULL is allowed */
size_t qa_corpus_count(const qa_corpus *corpus);
const qa_document *qa_corpus_at(const qa_corpus *corpus, size_t i);
size_t qa_corpus_tokens(const qa_corpus *corpus);
size_t qa_corpus_learned(const qa_corpus *corpus);       /* tokens that are learned */
size_t qa_corpus_longest(const qa_corpus *corpus);       /* tokens of the longest document */
size_t qa_corpus_cut(const qa_corpus *corpus);           /* documents that were cut at max_length */
size_t qa_corpus_conversations(const qa_corpus *corpus); /* documents that the chat template wrote */
size_t qa_corpus_skipped(const qa_corpus *corpus);       /* documents without a token to learn, left out */
/* Columns that hold something and are not used: one line at most; borrowed. */
const qa_warnings *qa_corpus_warnings(const qa_corpus *corpus);

QA_END_DECLS

#endif
