/* Preference pairs, inside the library: how a file becomes tokens.
 *
 *     pairs_load.c      the file: JSON Lines or array, the loop, the finished set
 *     column_map.c      a file's columns under our names
 *     forms.c, form.h   one JSON value: which of the forms it has; its other keys (columns.c)
 *     form_*.c          a form: what becomes prompt, chosen and rejected
 *     dialogue.c        dialogues: messages, and HH-RLHF's way of writing them into one string
 *     pairs_encode.c    prompt and responses to ids; what is skipped and why
 *     pairs_split.c     a part of a set, held out
 *     pairs_unpair.c    pairs as single responses with labels
 *     pairs_notes.c     what is noted on the way, and said at the end
 *
 * Functions below the loop name no place: the loop puts file and line in front of their messages. */
#ifndef QA_DATA_PAIRS_H
#define QA_DATA_PAIRS_H

#include "data/column_map.h"
#include "data/dialogue.h"
#include "qadapter/data.h"
#include "qadapter/status.h"
#include "text/answer_end.h"
#include "text/chat_open.h"
#include "text/chat_turn.h"

typedef struct qa_form qa_form;

struct qa_pairs {
    qa_pair *items; /* [n]; pointers into ids are set when loading is over */
    size_t n, capacity;
    qa_ids ids; /* per pair: prompt, chosen, rejected, one after the other */
    qa_skip_report report;
    const qa_form *form; /* of its first example, and so of all */
    size_t longest_prompt, longest_response;
    qa_chat_template chat;     /* of the options, whether it was applied or not */
    const char *writes_behind; /* qa_chat_writes_behind */
    json_t *chat_record;       /* qa_chat_record of what was applied; NULL: nothing was */
    qa_response_end response_end;
    bool published_data;
    bool labelled, unpaired; /* single responses with labels; made of pairs, whose form it has */
    size_t max_length;
    char columns[QA_COLUMN_MAP_BYTES]; /* "": none */
    qa_warnings warnings;
};

/* What is taken as it stands but may not be meant, and so is worth a warning when everything is read (pairs_notes.c).
 */
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
    QA_SEEN_OTHER_PROMPT, /* dialogues whose prompt is not how the dialogue with its answer begins */
    QA_SEEN_INSERTED,     /* dialogues with text between prompt and answer that is left out */
    QA_SEEN_REWRITTEN,    /* answers of which the template makes something else */
    QA_SEEN_NO_SYSTEM,    /* dialogues whose system message the template leaves out */
    QA_SEEN_KINDS
} qa_pairs_seen;

/* Everything that one load needs; the scratch buffers are reused from pair to pair. */
typedef struct qa_pairs_loader {
    const qa_tokenizer *tokenizer; /* NULL: pre-tokenised data only */
    const qa_pairs_options *options;
    qa_pairs *pairs;
    size_t line;      /* 1-based line or element being read */
    size_t answer;    /* of a list of answers: the one being read */
    size_t read;      /* elements read so far */
    bool full;        /* max_pairs reached */
    bool undesirable; /* the label of the responses at hand is false */
    qa_answer_end end;
    const qa_chat *chat; /* NULL: none */
    qa_chat *own_chat;
    struct {
        size_t count, first; /* first: its line */
    } seen[QA_SEEN_KINDS];
    qa_columns columns; /* keys that hold something and are not used */
    qa_column_map map;  /* names of the file's columns */
    struct {            /* of an example whose texts stand in many pairs: what was encoded of it; forgotten with it */
        bool on;
        struct qa_encoded_answer {
            const char *content; /* borrowed: the answer's */
            qa_ids ids;
        } * answers; /* [n] */
        size_t n, capacity;
        qa_text prompt;    /* the last one, whose ids are in `prompt` below */
        const char *asked; /* the end of that prompt's dialogue, of n_asked messages; borrowed. NULL: none */
        size_t n_asked;
    } encoded;
    qa_ids prompt, chosen, rejected;
    qa_text text, turns;
    qa_chat_turn turn, last_turn; /* the prompt of the answers at hand; of several messages, that of the last one */
    qa_dialogue left, right;      /* chosen's and rejected's dialogue, the prompt included */
} qa_pairs_loader;

/* Whose names of columns the options' file may have. */
static inline qa_column_use qa_pairs_column_use(const qa_pairs_options *options) {
    return (qa_column_use)((options->responses ? 0 : QA_COLUMNS_OF_PAIRS) |
                           (options->responses || options->either ? QA_COLUMNS_OF_RESPONSES : 0));
}

/* As qa_pairs_load, of one example that is here already; name: what messages call it. */
QA_MUST_CHECK qa_status qa_pairs_of_row(qa_pairs **pairs, const json_t *row, const char *name,
                                        const qa_tokenizer *tokenizer, const qa_pairs_options *options, qa_error *err);

/* What the template writes behind the end of an answer, in words; NULL: nothing. */
const char *qa_pairs_writes_behind(const qa_pairs *pairs);
/* What a record says of the template that was applied (text/chat.h); NULL: none was. Borrowed. */
const json_t *qa_pairs_chat_record(const qa_pairs *pairs);

/* The ids no longer move: every pair gets its pointers. */
void qa_pairs_set_pointers(qa_pairs *pairs);

/* A new set without pairs whose data is read, and may be written, as that of this one. */
QA_MUST_CHECK qa_status qa_pairs_like(qa_pairs **out, const qa_pairs *pairs, qa_error *err);
/* A pair of another set, whose ids it brings along; pointers are set when all are there (qa_pairs_set_pointers). */
QA_MUST_CHECK qa_status qa_pairs_take(qa_pairs *set, const qa_pair *pair, qa_error *err);
/* When all pairs are there. */
void qa_pairs_measure_longest(qa_pairs *set);

/* ---- pairs_notes.c ---- */

/* Counts what was seen in the example at hand, if it was. */
void qa_pairs_note(qa_pairs_loader *loader, qa_pairs_seen what, bool seen);
/* The same; under strict it is an error. */
QA_MUST_CHECK qa_status qa_pairs_note_or_refuse(qa_pairs_loader *loader, qa_pairs_seen what, bool seen, qa_error *err);
/* QA_ERR_FORMAT under strict when a key was noted that is not used. */
QA_MUST_CHECK qa_status qa_pairs_check_strict(const qa_pairs_loader *loader, qa_error *err);
/* A line for each kind of what was noted, and for the columns that were not used. */
void qa_pairs_warn_of_seen(const qa_pairs_loader *loader, const char *name);

/* ---- pairs_encode.c: each adds one pair, or counts it as skipped ---- */

/* Leaves a pair out; with `strict` that is an error. detail may be NULL. */
QA_MUST_CHECK qa_status qa_pairs_skip(qa_pairs_loader *loader, qa_skip_reason reason, const char *detail,
                                      qa_error *err);
#define QA_PROMPT_IMPLICIT SIZE_MAX
/* The dialogues in loader->left and loader->right, each ending with an assistant's turn. The prompt is all before the
 * last turn, which both share; or, where they share less, the first n_prompt messages, if a prompt was given apart:
 * then everything behind it is the response. QA_PROMPT_IMPLICIT: none was. Of single responses left's alone counts, and
 * where it is not terminal (pairs' always are) it goes without what ends a turn. */
QA_MUST_CHECK qa_status qa_pairs_add_dialogues(qa_pairs_loader *loader, size_t n_prompt, bool terminal, qa_error *err);
/* Until it is called off (which forgets them), answers are encoded once however many pairs they stand in. */
void qa_pairs_encode_once(qa_pairs_loader *loader, bool on);
/* JSON strings; of a single response rejected is NULL, and a pair's chosen one is terminal. */
QA_MUST_CHECK qa_status qa_pairs_add_text(qa_pairs_loader *loader, const json_t *prompt, const json_t *chosen,
                                          const json_t *rejected, bool terminal, qa_error *err);
/* The ids in loader->prompt, chosen and (none of single responses) rejected. */
QA_MUST_CHECK qa_status qa_pairs_add_ids(qa_pairs_loader *loader, bool chosen_terminal, bool rejected_terminal,
                                         qa_error *err);

#endif
