/* Preference pairs, inside the library: how a file becomes tokens.
 *
 *     pairs_load.c      the file: JSON Lines or array, the loop, the finished set
 *     pairs_detect.c    one JSON value: which of the forms it has
 *     pairs_forms.c     its parts
 *     columns.c         its other keys
 *     pairs_dialogue.c  dialogues: messages, and the two ways of writing them into one string
 *     pairs_encode.c    prompt and responses to ids; what is skipped and why
 *
 * Functions below the loop name no place: the loop puts file and line in front of their messages. */
#ifndef QA_DATA_PAIRS_H
#define QA_DATA_PAIRS_H

#include "data/columns.h"
#include "io/json.h"
#include "qadapter/data.h"
#include "qadapter/status.h"
#include "text/answer_end.h"

/* Messages in a row; everything they point to is borrowed. Zero-initialise; free(messages). */
typedef struct qa_dialogue {
    qa_message *messages; /* [n] */
    size_t n, capacity;
} qa_dialogue;

typedef enum qa_pairs_form {
    QA_FORM_NONE = 0,
    QA_FORM_PROMPTED_MESSAGES, /* 1: prompt, chosen, rejected: messages */
    QA_FORM_MESSAGES,          /* 2: chosen, rejected: messages */
    QA_FORM_PROMPTED_TEXT,     /* 3: prompt, chosen, rejected: strings */
    QA_FORM_HH,                /* 4: chosen, rejected: whole dialogues in a string */
    QA_FORM_SCORED,            /* 5: text: [strings], score: [numbers] */
    QA_FORM_DOMAINS,           /* 6: query, responses: {domain: string} */
    QA_FORM_IDS,               /* 7: prompt_ids, chosen_ids, rejected_ids */
    QA_FORM_RESPONSE,          /* single responses: messages */
    QA_FORM_RESPONSE_TEXT,     /* single responses: prompt, completion: strings */
    QA_FORM_RESPONSE_IDS       /* single responses: prompt_ids, response_ids */
} qa_pairs_form;

struct qa_pairs {
    qa_pair *items; /* [n]; pointers into ids are set when loading is over */
    size_t n, capacity;
    qa_ids ids; /* per pair: prompt, chosen, rejected, one after the other */
    qa_skip_report report;
    qa_pairs_form form;
    size_t longest_prompt, longest_response;
    qa_chat_template chat; /* of the options, whether it was applied or not */
    qa_response_end response_end;
    bool published_data;
    qa_warnings warnings;
};

/* What is taken as it stands but may not be meant, and so is worth a warning when everything is read (pairs.c). */
typedef enum qa_pairs_seen {
    QA_SEEN_REPEATED_PROMPT, /* examples whose responses begin with their prompt */
    QA_SEEN_OPEN_PROMPT,     /* text prompts that end in white space */
    QA_SEEN_TWO_BEGINNINGS,  /* text prompts that bring the beginning behind white space, or twice */
    QA_SEEN_LATE_END,        /* responses of ids with white space behind their end token */
    QA_SEEN_DOUBLED_END,     /* answers of dialogues that bring the end which the template writes */
    QA_SEEN_INNER_END,       /* responses with an end before their last one, of one turn */
    QA_SEEN_OTHER_END,       /* text responses that end with a special token which ends no generated answer */
    QA_SEEN_JSON_TEXT,       /* texts that are a conversation written as JSON */
    QA_SEEN_LOOSE_MARK,      /* dialogues in one string with what looks like a turn's mark and is none */
    QA_SEEN_RATED_WORSE,     /* pairs whose chosen response has the lower rating */
    QA_SEEN_RATED_EQUAL,
    QA_SEEN_KINDS
} qa_pairs_seen;

/* Everything that one load needs; the scratch buffers are reused from pair to pair. */
typedef struct qa_pairs_loader {
    const qa_tokenizer *tokenizer; /* NULL: pre-tokenised data only */
    const qa_pairs_options *options;
    qa_pairs *pairs;
    size_t line; /* 1-based line or element being read */
    size_t read; /* elements read so far */
    bool full;   /* max_pairs reached */
    qa_answer_end end;
    struct {
        size_t count, first; /* first: its line */
    } seen[QA_SEEN_KINDS];
    qa_columns columns; /* keys that hold something and are not used */
    struct {            /* of an example whose texts stand in many pairs: what was encoded of it; forgotten with it */
        bool on;
        struct qa_encoded_answer {
            const char *content; /* borrowed: the answer's */
            qa_ids ids;
        } * answers; /* [n] */
        size_t n, capacity;
        qa_text prompt; /* the last one, whose ids are in `prompt` below */
    } encoded;
    qa_ids prompt, chosen, rejected;
    qa_text text, turns;
    qa_dialogue left, right; /* chosen's and rejected's dialogue, the prompt included */
} qa_pairs_loader;

/* ---- pairs.c ---- */

/* Counts what was seen in the example at hand, if it was. */
void qa_pairs_note(qa_pairs_loader *loader, qa_pairs_seen what, bool seen);
/* A line for each kind of what was noted, and for the columns that were not used. */
void qa_pairs_warn_of_seen(const qa_pairs_loader *loader, const char *name);

/* ---- pairs_detect.c ---- */

/* A member that is there and not null. */
json_t *qa_pairs_member(const json_t *element, const char *key);
/* "prompt"; beside whole dialogues an empty one counts as absent. */
json_t *qa_pairs_prompt(const json_t *element);
QA_MUST_CHECK qa_status qa_pairs_detect(const json_t *element, const qa_pairs_options *options, qa_pairs_form *form,
                                        qa_error *err);
/* The error for a prompt that is `found` beside sides of another kind. */
QA_MUST_CHECK qa_status qa_pairs_unlike(const char *found, bool strings, qa_error *err);
/* The keys that a form reads, ended by NULL. */
const char *const *qa_pairs_form_keys(qa_pairs_form form);

/* ---- pairs_forms.c ---- */

/* Adds the pair or pairs of one JSON value. */
QA_MUST_CHECK qa_status qa_pairs_add_element(qa_pairs_loader *loader, const json_t *element, qa_error *err);
/* QA_ERR_FORMAT under strict when a key was noted that is not used. */
QA_MUST_CHECK qa_status qa_pairs_check_strict(const qa_pairs_loader *loader, qa_error *err);
const char *qa_pairs_form_name(qa_pairs_form form);
qa_pairs_kind qa_pairs_form_kind(qa_pairs_form form);

/* ---- pairs_dialogue.c ---- */

QA_MUST_CHECK qa_status qa_dialogue_push(qa_dialogue *dialogue, qa_message message, qa_error *err);
/* Appends the messages of a JSON array, or the one that an object is; `name` is its key, for messages. Keys of a
 * message that are not used are noted in *columns; a key that is a part of what it says (tool_calls...) is
 * QA_ERR_UNSUPPORTED. */
QA_MUST_CHECK qa_status qa_dialogue_push_json(qa_dialogue *dialogue, const json_t *messages, const char *name,
                                              qa_columns *columns, qa_error *err);
/* Appends the turns of "\n\nHuman: ...\n\nAssistant: ...". *loose is set when a mark that is none (without the space
 * behind it) stays a part of a turn. */
QA_MUST_CHECK qa_status qa_dialogue_push_hh(qa_dialogue *dialogue, const char *text, size_t bytes, const char *name,
                                            bool *loose, qa_error *err);
/* The same, or the one turn each of "## Human:\n...\n\n## Assistant:\n...". */
QA_MUST_CHECK qa_status qa_dialogue_push_marked(qa_dialogue *dialogue, const char *text, size_t bytes, const char *name,
                                                bool *loose, qa_error *err);
/* Whether the first n messages are the same on both sides. */
bool qa_dialogue_same(const qa_dialogue *a, const qa_dialogue *b, size_t n);

/* ---- pairs_encode.c: each adds one pair, or counts it as skipped ---- */

/* Leaves a pair out; with `strict` that is an error. detail may be NULL. */
QA_MUST_CHECK qa_status qa_pairs_skip(qa_pairs_loader *loader, qa_skip_reason reason, const char *detail,
                                      qa_error *err);
#define QA_PROMPT_IMPLICIT SIZE_MAX
/* The dialogues in loader->left and loader->right, each ending with an assistant's turn. The prompt is all before the
 * last turn, which both share; or, where they share less, the first n_prompt messages, if a prompt was given apart:
 * then everything behind it is the response. QA_PROMPT_IMPLICIT: none was. */
QA_MUST_CHECK qa_status qa_pairs_add_dialogues(qa_pairs_loader *loader, size_t n_prompt, qa_error *err);
/* Notes an end before the last one in a response of one turn. */
void qa_pairs_note_inner_end(qa_pairs_loader *loader, const qa_ids *response);
/* Until it is called off (which forgets them), answers are encoded once however many pairs they stand in. */
void qa_pairs_encode_once(qa_pairs_loader *loader, bool on);
/* The dialogue in loader->left, as a single response; not terminal: without what ends a turn. */
QA_MUST_CHECK qa_status qa_pairs_add_response(qa_pairs_loader *loader, bool terminal, qa_error *err);
/* Two JSON strings, as a single response. */
QA_MUST_CHECK qa_status qa_pairs_add_completion(qa_pairs_loader *loader, const json_t *prompt, const json_t *completion,
                                                bool terminal, qa_error *err);
/* Three JSON strings. */
QA_MUST_CHECK qa_status qa_pairs_add_text(qa_pairs_loader *loader, const json_t *prompt, const json_t *chosen,
                                          const json_t *rejected, qa_error *err);
/* The ids in loader->prompt, chosen and (none of single responses) rejected. */
QA_MUST_CHECK qa_status qa_pairs_add_ids(qa_pairs_loader *loader, bool chosen_terminal, bool rejected_terminal,
                                         qa_error *err);

#endif
