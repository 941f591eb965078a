/* The chat templates as data: where the beginning-of-sequence token stands, what surrounds a turn, whether white space
 * around contents is stripped. chat_render.c writes dialogues by it. */
#ifndef QA_TEXT_CHAT_FAMILY_H
#define QA_TEXT_CHAT_FAMILY_H

#include "qadapter/text.h"

typedef enum qa_chat_form {
    QA_CHAT_FORM_NONE,
    QA_CHAT_FORM_PLAIN,
    QA_CHAT_FORM_HEADERS, /* every turn begins with its role: ChatML, Llama 3, Zephyr */
    QA_CHAT_FORM_LLAMA2,
    QA_CHAT_FORM_MISTRAL
} qa_chat_form;

/* The beginning-of-sequence token in front of a dialogue. */
typedef enum qa_chat_bos { QA_CHAT_BOS_NONE, QA_CHAT_BOS_IF_NAMED, QA_CHAT_BOS_REQUIRED } qa_chat_bos;

/* Texts are NULL where there is none. */
typedef struct qa_chat_family {
    const char *name;
    qa_chat_form form;
    qa_chat_bos bos;
    const char *open, *close;  /* around a role (headers), around what a user says (the others) */
    const char *system;        /* of a dialogue without a system message; with system_joins, in front of any */
    bool system_joins;         /* what the system message says stands behind `system`, in the same turn */
    bool always_prompts;       /* the generation prompt is written in any case */
    bool strips;               /* white space at both ends of what an assistant says */
    const char *before_answer; /* from the generation prompt to the answer */
    const char *behind_answer; /* from the answer to the end of the turn */
    const char *end;           /* of a turn; NULL: the end-of-sequence token, but for plain */
    const char *after_turn;    /* what separates a turn from the next one */
    const char *marks[2];      /* that the models of the template have as tokens, beside `end` */
} qa_chat_family;

/* Any value. */
const qa_chat_family *qa_chat_family_of(qa_chat_template which);

/* Whether the template strips white space from both ends of what an assistant says. */
bool qa_chat_strips_responses(qa_chat_template which);

#endif
