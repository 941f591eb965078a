/* The forms of preference data and of single responses: one file each (form_*.c; near twins share one) and one line in
 * the list below. What tells a form apart, what it reads and what becomes of it follows from its row. */
#ifndef QA_DATA_FORM_H
#define QA_DATA_FORM_H

#include "data/pairs.h"

struct qa_form {
    const char *name;        /* for messages, in the plural */
    const char *needs;       /* what it needs, for messages about rows without a form; NULL: as the form above it */
    const char *const *keys; /* all that it reads, ended by NULL; any other key is a column (columns.h) */
    size_t needed;           /* how many of them, the first ones, must be there */
    qa_pairs_kind kind;      /* token ids go before texts */
    bool responses;          /* single responses: for qa_pairs_options.responses alone */
    bool common;    /* its keys are names that other tables have, too: any other form of the row goes before it */
    bool by_domain; /* --dsp-domain is for it, and picks it out */
    /* Whether a row with the needed keys has this form; NULL: it has. */
    bool (*is)(const json_t *row);
    /* What is wrong with a row that has this form and no other; NULL: nothing that `add` does not find. */
    qa_status (*check)(const json_t *row, qa_error *err);
    /* Adds the row's pair or pairs: what it makes of the row goes to one of pairs.h's qa_pairs_add_. */
    qa_status (*add)(qa_pairs_loader *loader, const json_t *row, qa_error *err);
};

/* Of a row with answers to one prompt: their list, NULL: none; and whether there is one list, with something in it. */
const json_t *qa_answer_list(const json_t *row);
QA_MUST_CHECK qa_status qa_answer_list_check(const json_t *row, qa_error *err);
extern const char *const qa_answer_list_keys[]; /* "prompt", and what the answers may be under */

/* The forms, upper ones first where a row fits two alike; messages name what they need in this order. */
#define QA_FORMS(X)                                                                                                    \
    X(prompted_messages)                                                                                               \
    X(messages)                                                                                                        \
    X(text)                                                                                                            \
    X(hh)                                                                                                              \
    X(domains)                                                                                                         \
    X(scored)                                                                                                          \
    X(ids)                                                                                                             \
    X(response_messages)                                                                                               \
    X(response_text)                                                                                                   \
    X(answer_messages)                                                                                                 \
    X(answer_texts)                                                                                                    \
    X(response_ids)

#define QA_DECLARE_FORM(form) extern const qa_form qa_form_##form;
QA_FORMS(QA_DECLARE_FORM)

#endif
