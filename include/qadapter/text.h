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
    QA_CHAT_UNKNOWN,  /* the folder has one that has no name here: qa_chat_open runs it */
    QA_CHAT_PLAIN,    /* "Human: ...\n\nAssistant: ..." for models without one */
    QA_CHAT_LLAMA2,
    QA_CHAT_LLAMA3,       /* Llama 3 */
    QA_CHAT_LLAMA3_FIRST, /* Llama 3 as first released: writes the generation prompt in any case */
    QA_CHAT_LLAMA31,      /* Llama 3.1 and 3.3, pinned date */
    QA_CHAT_LLAMA32,      /* Llama 3.2; here with the pinned date, in qa_chat_open with the one that is given */
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
/* Recognises the template in dir (additional_chat_templates/default.jinja, chat_template.jinja, tokenizer_config.json,
 * chat_template.json; the first that is there): by its exact text, so never a guess. QA_CHAT_NONE or QA_CHAT_UNKNOWN
 * are results, not failures. */
QA_MUST_CHECK qa_status qa_chat_template_detect(qa_chat_template *which, const char *dir, qa_error *err);
/* The same; warnings (NULL: none) gets a line where two of the files disagree. */
QA_MUST_CHECK qa_status qa_chat_template_compare(qa_chat_template *which, const char *dir, qa_warnings *warnings,
                                                 qa_error *err);

/* Appends the rendered dialogue. The bos/eos texts come from the tokenizer (which may be NULL only
 * for QA_CHAT_PLAIN). Encode the result without special tokens: the template wrote those it wants.
 * A dialogue that the template refuses is QA_ERR_FORMAT with the reason; QA_CHAT_NONE and
 * QA_CHAT_UNKNOWN are QA_ERR_UNSUPPORTED and the message says what to do (qa_chat_open runs any template). The template
 * is parsed anew by every call. */
QA_MUST_CHECK qa_status qa_chat_render(qa_chat_template which, const qa_tokenizer *tokenizer,
                                       const qa_message *messages, size_t n_messages, bool add_generation_prompt,
                                       qa_text *text, qa_error *err);

/* ---- chat templates as programs: any template, with its variables ---- */

typedef struct qa_chat qa_chat;

/* Which template, and what it is told besides the dialogue. */
typedef struct qa_chat_options {
    const char *text; /* the template itself; NULL: not given */
    const char *name; /* without text: a built-in template's name, that of one in dir which has several, or a file (a
                         template, or JSON with "chat_template"); NULL: the one that dir has */
    const char *dir;  /* a model's folder; NULL: none */
    const char *const *args; /* [n_args] variables: "NAME=VALUE", VALUE as JSON or else as the text that it is */
    size_t n_args;
    const char *date; /* "YYYY-MM-DD", what strftime_now writes; NULL: today */
} qa_chat_options;

/* Reads and parses the template once, and tries how it writes an answer. The tokenizer is borrowed (NULL: its special
 * tokens are not defined). A folder without a template, or with named ones only, is QA_ERR_UNSUPPORTED; a name that is
 * none is QA_ERR_ARGUMENT; what is wrong with a template is named with its line. It does not change afterwards and may
 * be shared by threads. */
QA_MUST_CHECK qa_status qa_chat_open(qa_chat **chat, const qa_chat_options *options, const qa_tokenizer *tokenizer,
                                     qa_error *err);
void qa_chat_free(qa_chat *chat); /* NULL is allowed */
/* "llama3"; of a template that has no name here its file or its name in the folder. */
const char *qa_chat_name(const qa_chat *chat);
qa_chat_template qa_chat_which(const qa_chat *chat); /* QA_CHAT_UNKNOWN: it has no name here */
/* Files that disagree, variables that it does not ask for. Borrowed. */
const qa_warnings *qa_chat_warnings(const qa_chat *chat);

/* Appends the dialogue as the template writes it. One that it refuses or cannot write is QA_ERR_FORMAT with the reason;
 * without a template (NULL) QA_ERR_UNSUPPORTED. Encode the result without special tokens, as of qa_chat_render. */
QA_MUST_CHECK qa_status qa_chat_write(const qa_chat *chat, const qa_message *messages, size_t n,
                                      bool add_generation_prompt, qa_text *text, qa_error *err);

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

/* The same with a template of any kind. */
QA_MUST_CHECK qa_status qa_chat_encode(const qa_chat *chat, const qa_message *messages, size_t n, qa_text *text,
                                       qa_ids *ids, qa_error *err);

/* What ends an answer: appends to *ids the tokens (the model's end-of-sequence ids eos_ids[n_eos], or else the
 * tokenizer's, and what the template ends a turn with), and to *texts the texts, each with its zero byte, that end an
 * answer to a dialogue where no token does. chat and tokenizer may be NULL. */
QA_MUST_CHECK qa_status qa_answer_ends(const qa_chat *chat, const qa_tokenizer *tokenizer, const int32_t *eos_ids,
                                       size_t n_eos, qa_ids *ids, qa_text *texts, qa_error *err);

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

QA_END_DECLS

#endif
