/* Text: tokenizers, chat templates, preference pairs. */
#ifndef QADAPTER_TEXT_H
#define QADAPTER_TEXT_H

#include "qadapter/buffer.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

QA_BEGIN_DECLS

/* ---- tokenizer: tokenizer.json as Hugging Face `tokenizers` executes it ---- */

typedef struct qa_tokenizer qa_tokenizer;

/* Reads dir/tokenizer.json and the tokens that the files beside it declare, where present: tokenizer_config.json,
 * special_tokens_map.json, added_tokens.json. No config.json is needed. An eos_token or bos_token that is no token is
 * QA_ERR_MISMATCH. The tokenizer is immutable afterwards and may be shared by threads. */
QA_MUST_CHECK qa_status qa_tokenizer_load(qa_tokenizer **tokenizer, const char *dir, qa_error *err);
void qa_tokenizer_free(qa_tokenizer *tokenizer); /* NULL is allowed */

/* How a text is encoded. */
typedef struct qa_encode_options {
    bool add_special;  /* run the post-processor's template (adds <s>, </s>...) */
    bool continuation; /* the text continues another one: no Prepend, Metaspace or add_prefix_space in
                          front of its first piece */
} qa_encode_options;

/* Appends the ids of text[bytes]. Invalid UTF-8 is QA_ERR_FORMAT with the byte offset. */
QA_MUST_CHECK qa_status qa_tokenizer_encode(const qa_tokenizer *tokenizer, const char *text, size_t bytes,
                                            qa_encode_options options, qa_ids *ids, qa_error *err);

/* Appends the text of ids[n]; ids without a token are skipped. Always valid UTF-8. */
QA_MUST_CHECK qa_status qa_tokenizer_decode(const qa_tokenizer *tokenizer, const int32_t *ids, size_t n,
                                            bool skip_special, qa_text *text, qa_error *err);

/* One more than the largest id. */
size_t qa_tokenizer_vocab_size(const qa_tokenizer *tokenizer);

/* The id of a token by its exact content (vocabulary or added token); -1 when there is none. */
int32_t qa_tokenizer_token_id(const qa_tokenizer *tokenizer, const char *content);
/* The content of an id as it stands in the vocabulary; NULL when there is none. Borrowed. */
const char *qa_tokenizer_token(const qa_tokenizer *tokenizer, int32_t id);
/* Whether the id is an added token (special or not), and whether it is special. */
bool qa_tokenizer_is_added(const qa_tokenizer *tokenizer, int32_t id);
bool qa_tokenizer_is_special(const qa_tokenizer *tokenizer, int32_t id);

/* bos_token / eos_token of tokenizer_config.json (or special_tokens_map.json); -1 / NULL when not named there. */
int32_t qa_tokenizer_bos(const qa_tokenizer *tokenizer);
int32_t qa_tokenizer_eos(const qa_tokenizer *tokenizer);
const char *qa_tokenizer_bos_text(const qa_tokenizer *tokenizer);
const char *qa_tokenizer_eos_text(const qa_tokenizer *tokenizer);

/* One line for people: "byte-level BPE, 49152 tokens, 17 added" (borrowed). */
const char *qa_tokenizer_description(const qa_tokenizer *tokenizer);
/* What its files disagree about. Borrowed. */
const qa_warnings *qa_tokenizer_warnings(const qa_tokenizer *tokenizer);
/* Where another reader of the same folder would give other ids. Borrowed. */
const qa_warnings *qa_tokenizer_notes(const qa_tokenizer *tokenizer);

/* ---- decoding a stream of tokens: whole characters only ---- */

typedef struct qa_decode_stream qa_decode_stream;

/* The tokenizer is borrowed. `context` (copied) are the ids before the stream: they decide whether
 * the first token's leading space is kept; their own text is not given out. */
QA_MUST_CHECK qa_status qa_decode_stream_create(qa_decode_stream **stream, const qa_tokenizer *tokenizer,
                                                bool skip_special, const int32_t *context, size_t n_context,
                                                qa_error *err);
void qa_decode_stream_free(qa_decode_stream *stream);
/* Appends to text whatever became certain with this id: never half a character. */
QA_MUST_CHECK qa_status qa_decode_stream_push(qa_decode_stream *stream, int32_t id, qa_text *text, qa_error *err);
/* Appends what was held back at the end (broken bytes become U+FFFD). The pieces of a stream, joined,
 * are the decoded whole. */
QA_MUST_CHECK qa_status qa_decode_stream_finish(qa_decode_stream *stream, qa_text *text, qa_error *err);

/* ---- chat templates ---- */

typedef struct qa_message {
    const char *role;    /* "system", "user" or "assistant"; zero-terminated, borrowed */
    const char *content; /* borrowed */
    size_t content_bytes;
} qa_message;

typedef enum qa_chat_template {
    QA_CHAT_NONE = 0, /* the folder has no template */
    QA_CHAT_UNKNOWN,  /* the folder has one that is not among these */
    QA_CHAT_PLAIN,    /* "Human: ...\n\nAssistant: ..." for models without one */
    QA_CHAT_LLAMA2,
    QA_CHAT_LLAMA3,       /* Llama 3 */
    QA_CHAT_LLAMA3_FIRST, /* Llama 3 as first released: writes the generation prompt in any case */
    QA_CHAT_LLAMA31,      /* Llama 3.1 and 3.3, pinned date */
    QA_CHAT_LLAMA32,      /* Llama 3.2, pinned date */
    QA_CHAT_CHATML,       /* ChatML without a default system prompt */
    QA_CHAT_SMOLLM2,
    QA_CHAT_QWEN2,
    QA_CHAT_QWEN25,
    QA_CHAT_ZEPHYR,         /* Zephyr, TinyLlama */
    QA_CHAT_MISTRAL,        /* Mistral Instruct v0.1, v0.2: the earlier template, which knows no system message */
    QA_CHAT_MISTRAL_SYSTEM, /* Mistral Instruct v0.1, v0.2, Mixtral: the later one */
    QA_CHAT_MISTRAL3        /* Mistral Instruct v0.3 */
} qa_chat_template;

/* "llama3"...; "none" and "unknown" for the first two. */
const char *qa_chat_template_name(qa_chat_template which);
/* All names that --chat-template takes, separated by ", ". */
const char *qa_chat_template_names(void);
QA_MUST_CHECK qa_status qa_chat_template_by_name(qa_chat_template *which, const char *name, qa_error *err);
/* Recognises the template in dir (tokenizer_config.json, chat_template.jinja): by its exact text, so
 * never a guess. QA_CHAT_NONE or QA_CHAT_UNKNOWN are results, not failures. */
QA_MUST_CHECK qa_status qa_chat_template_detect(qa_chat_template *which, const char *dir, qa_error *err);

/* Appends the rendered dialogue. The bos/eos texts come from the tokenizer (which may be NULL only
 * for QA_CHAT_PLAIN). Encode the result without special tokens: the template wrote those it wants.
 * A dialogue that the template refuses is QA_ERR_FORMAT with the reason; QA_CHAT_NONE and
 * QA_CHAT_UNKNOWN are QA_ERR_UNSUPPORTED and the message says what to do (--chat-template NAME, or
 * pre-rendered text). */
QA_MUST_CHECK qa_status qa_chat_render(qa_chat_template which, const qa_tokenizer *tokenizer,
                                       const qa_message *messages, size_t n_messages, bool add_generation_prompt,
                                       qa_text *text, qa_error *err);

/* ---- prompts: the ids that training makes of them, for generation ---- */

/* Appends the ids of a text that no template wrote: the tokens that the tokenizer puts in front of every text (<s>...),
 * unless the text brings them, and its own; nothing behind it. */
QA_MUST_CHECK qa_status qa_encode_plain_text(const qa_tokenizer *tokenizer, const char *text, size_t bytes, qa_ids *ids,
                                             qa_error *err);

/* Writes the dialogue through the template, with the beginning of an answer, into text (whose old content goes), and
 * appends its ids. Errors as of qa_chat_render. */
QA_MUST_CHECK qa_status qa_encode_dialogue(qa_chat_template chat, const qa_tokenizer *tokenizer,
                                           const qa_message *messages, size_t n, qa_text *text, qa_ids *ids,
                                           qa_error *err);

/* The text that ends an assistant turn ("<|im_end|>"...), borrowed; after it the response's state is
 * terminal. For plain, the tokenizer's eos text. */
const char *qa_chat_end_of_turn(qa_chat_template which, const qa_tokenizer *tokenizer);

/* Where a response ends that a chat template writes. */
typedef enum qa_response_end {
    QA_RESPONSE_END_TOKEN = 0, /* with the token that ends the turn, on which generation stops */
    QA_RESPONSE_END_TEMPLATE   /* with everything that the template writes up to the next turn, as in TRL and in the
                                  authors' code: in ChatML and its kin and in Zephyr the newline after that token */
} qa_response_end;

const char *qa_response_end_name(qa_response_end which); /* "token", "template" */
QA_MUST_CHECK qa_status qa_response_end_by_name(qa_response_end *which, const char *name, qa_error *err);

/* What the template writes between the end of an answer and the next turn: "\n" or "". A literal. */
const char *qa_chat_after_turn(qa_chat_template which);

/* Appends to *missing the marks of the template for which the tokenizer has no single token: "\"<|im_start|>\", ...";
 * of QA_CHAT_PLAIN, which has none, nothing. *end_missing: the end of a turn is among them, so that nothing can stop on
 * it. */
QA_MUST_CHECK qa_status qa_chat_missing_marks(qa_chat_template which, const qa_tokenizer *tokenizer, qa_text *missing,
                                              bool *end_missing, qa_error *err);

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
    size_t max_pairs; /* stop after so many; 0 = all */
    bool responses;   /* the file holds single responses, not pairs: see qa_pairs_load */
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
 * texts,
 * {"prompt", "completion"}, or {"prompt_ids", "response_ids"}, all perhaps with "terminal": false where the response
 * was cut off. They become pairs whose chosen response it is, without a rejected one (rejected_len 0): what replay
 * learns from. */
QA_MUST_CHECK qa_status qa_pairs_load(qa_pairs **pairs, const char *path, const qa_tokenizer *tokenizer,
                                      const qa_pairs_options *options, qa_error *err);
void qa_pairs_free(qa_pairs *pairs); /* NULL is allowed */

size_t qa_pairs_count(const qa_pairs *pairs);
const qa_pair *qa_pairs_at(const qa_pairs *pairs, size_t index);
const qa_skip_report *qa_pairs_report(const qa_pairs *pairs);
const char *qa_pairs_format(const qa_pairs *pairs);      /* "HH-RLHF dialogues"... */
size_t qa_pairs_longest_prompt(const qa_pairs *pairs);   /* tokens */
size_t qa_pairs_longest_response(const qa_pairs *pairs); /* tokens, over both sides */
qa_pairs_kind qa_pairs_kind_of(const qa_pairs *pairs);
qa_chat_template qa_pairs_chat_template(const qa_pairs *pairs); /* that was applied; QA_CHAT_NONE: none was */
qa_response_end qa_pairs_response_end(const qa_pairs *pairs);   /* as the options had it */
bool qa_pairs_published_data(const qa_pairs *pairs);            /* likewise */
/* What was read but may not be meant, one line each; borrowed. */
const qa_warnings *qa_pairs_warnings(const qa_pairs *pairs);
uint64_t qa_pairs_fingerprint(const qa_pairs *pairs); /* changes with any token of any pair */

QA_END_DECLS

#endif
