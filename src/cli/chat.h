/* A conversation, inside the command line: chat_session.c holds it and answers, chat_commands.c turns its dials,
 * chat_loop.c reads what is said. */
#ifndef QA_CLI_CHAT_H
#define QA_CLI_CHAT_H

#include "cli/generate.h"

/* One policy's conversation. The user's turns are the same in all of them. */
typedef struct chat_branch {
    qa_policy policy;
    qa_message *messages; /* [n]; contents owned, roles literals */
    size_t n, room;
    qa_generator *generator; /* NULL: nothing is read yet */
    qa_ids ids;              /* that its caches hold */
    bool cut;                /* the last answer did not come to its end */
} chat_branch;

typedef struct chat_session {
    generation_run *with;    /* its objective and sampling are the dials */
    chat_branch branches[2]; /* [n_branches]: of two, the base model's and the customised policy's */
    size_t n_branches;
    size_t capacity;   /* of the caches, tokens */
    size_t max_tokens; /* of an answer; 0: what fits */
    bool terminal;
    bool changed;     /* dials, policy or system message since the last answer */
    bool restart;     /* the seed's stream begins anew with the next answer */
    uint64_t retries; /* so far: each goes on with a seed of its own */
} chat_session;

/* Asks every branch; printed as it comes. What somebody at a terminal can mend (no room, a template that refuses) is
 * told, the turn taken back, and QA_OK returned. */
QA_MUST_CHECK qa_status chat_ask(chat_session *session, const char *text, size_t bytes, qa_error *err);
/* Answers to what the branches end with, the user's message. */
QA_MUST_CHECK qa_status chat_answer(chat_session *session, qa_error *err);
/* Takes the last turn back, or with `answers` its answers alone; false: there is none. */
bool chat_take_back(chat_session *session, bool answers);
/* Only the system message stays. */
void chat_reset(chat_session *session);
/* Empty: none. */
QA_MUST_CHECK qa_status chat_set_system(chat_session *session, const char *text, qa_error *err);
/* Who answers from now on. One goes on with the conversation; two begin with the same one. */
QA_MUST_CHECK qa_status chat_set_policy(chat_session *session, bool base, bool custom, qa_error *err);
/* The messages become the branch's. */
QA_MUST_CHECK qa_status chat_take_messages(chat_branch *branch, const qa_message *messages, size_t n, qa_error *err);
void chat_branch_free(chat_branch *branch);
const char *chat_policy_name(const chat_branch *branch);

/* Does what a line that begins with '/' says; *end: the conversation is over. Mistakes are told, and QA_OK. */
QA_MUST_CHECK qa_status chat_command(chat_session *session, const char *line, bool *end, qa_error *err);

#endif
