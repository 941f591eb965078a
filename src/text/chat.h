/* Chat templates, inside the library: a template with its variables, which writes dialogues.
 *
 *     template*.c     the template language
 *     chat_texts.c    the built-in templates: names and texts
 *     chat_folder.c   where a model's folder has one
 *     chat.c          a template with its variables; a dialogue through it
 *     chat_turn.c     an answer behind its prompt
 *     chat_open.c     from a name, a file or a folder to a template that is ready */
#ifndef QA_TEXT_CHAT_H
#define QA_TEXT_CHAT_H

#include "io/json.h"
#include "qadapter/text.h"
#include "text/template.h"

enum { QA_CHAT_FILE_BYTES = 256 };

struct qa_chat {
    qa_chat_template which; /* QA_CHAT_UNKNOWN: it has no name here */
    char name[QA_CHAT_FILE_BYTES];
    qa_template *program;
    const qa_tokenizer *tokenizer; /* borrowed; NULL: none */
    json_t *variables;             /* of every rendering but for its messages */
    qa_template_options options;
    const char *lacks; /* a special token that it asks for and the tokenizer does not name; NULL: none */
    json_t *record;    /* what training_config.json says of it: see qa_chat_record */
    qa_warnings warnings;
    /* How it writes an answer, learned from short dialogues. */
    qa_text behind;      /* an answer that ends the dialogue */
    qa_text end_text;    /* the same without white space around it */
    qa_text always;      /* what of it stands behind an answer to which a question follows, too */
    qa_text next;        /* what begins that question where end_text is "", "" else */
    bool known;          /* it writes such dialogues */
    bool always_prompts; /* the beginning of an answer is written whether it is asked for or not */
    char strips[2][4];   /* of " \n\t" what goes in front of and behind an answer; all three: any white space */
};

/* "chat_template" (a name, or "own" with "chat_template_text"), and if there are any "template_args" and, where the
 * template asks for the date, "template_date". Borrowed. */
const json_t *qa_chat_record(const qa_chat *chat);
const char *qa_chat_recorded_text(const json_t *record); /* NULL: it has a name */
/* The date for the same rendering again. */
const char *qa_chat_recorded_date(const json_t *record);
/* The date that templates wrote before there was a choice. */
extern const char qa_chat_pinned_date[];

#endif
