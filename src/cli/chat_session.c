/* What a conversation holds, and how it is answered (chat.h). The caches stay between turns: as long as the history is
 * encoded as what the caches hold and then more, only that more goes through the model; else the whole history is read
 * again. With --policy both two policies answer the same questions, each behind its own answers. */
#include "cli/chat.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "text/chat_turn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a branch ---- */

static void drop_messages(chat_branch *branch, size_t kept) {
    while (branch->n > kept) {
        free((void *)(uintptr_t)branch->messages[--branch->n].content);
    }
}

static void drop_caches(chat_branch *branch) {
    qa_generator_free(branch->generator);
    branch->generator = NULL;
    branch->ids.n = 0;
}

void chat_branch_free(chat_branch *branch) {
    drop_messages(branch, 0);
    free(branch->messages);
    qa_generator_free(branch->generator);
    qa_ids_free(&branch->ids);
    *branch = (chat_branch){.n = 0};
}

static const char *role_of(const char *role) {
    return strcmp(role, "system") == 0 ? "system" : strcmp(role, "user") == 0 ? "user" : "assistant";
}

/* Copies the content. */
static qa_status add_message(chat_branch *branch, const char *role, const char *content, size_t bytes, qa_error *err) {
    QA_TRY(QA_GROW(branch->messages, branch->room, branch->n + 1, err, "a message"));
    char *copy = NULL;
    QA_TRY(QA_NEW(copy, bytes + 1, err, "a message"));
    if (bytes > 0) {
        memcpy(copy, content, bytes);
    }
    copy[bytes] = '\0';
    branch->messages[branch->n++] = (qa_message){role_of(role), copy, bytes};
    return QA_OK;
}

qa_status chat_take_messages(chat_branch *branch, const qa_message *messages, size_t n, qa_error *err) {
    drop_messages(branch, 0);
    branch->cut = false;
    for (size_t i = 0; i < n; i++) {
        QA_TRY(add_message(branch, messages[i].role, messages[i].content, messages[i].content_bytes, err));
    }
    return QA_OK;
}

static bool ends_with_role(const chat_branch *branch, const char *role) {
    return branch->n > 0 && strcmp(branch->messages[branch->n - 1].role, role) == 0;
}

const char *chat_policy_name(const chat_branch *branch) { return branch->policy == QA_POLICY_BASE ? "base" : "custom"; }

/* ---- what commands change ---- */

bool chat_take_back(chat_session *session, bool answers) {
    bool any = false;
    for (size_t b = 0; b < session->n_branches; b++) {
        chat_branch *branch = &session->branches[b];
        if (ends_with_role(branch, "assistant")) {
            drop_messages(branch, branch->n - 1);
            any = true;
        }
        if (!answers && ends_with_role(branch, "user")) {
            drop_messages(branch, branch->n - 1);
            any = true;
        }
        branch->cut = false;
    }
    return any;
}

void chat_reset(chat_session *session) {
    for (size_t b = 0; b < session->n_branches; b++) {
        chat_branch *branch = &session->branches[b];
        const bool system = branch->n > 0 && strcmp(branch->messages[0].role, "system") == 0;
        drop_messages(branch, system ? 1 : 0);
        drop_caches(branch);
        branch->cut = false;
    }
    session->retries = 0;
}

qa_status chat_set_system(chat_session *session, const char *text, qa_error *err) {
    session->changed = true;
    for (size_t b = 0; b < session->n_branches; b++) {
        chat_branch *branch = &session->branches[b];
        if (branch->n > 0 && strcmp(branch->messages[0].role, "system") == 0) {
            free((void *)(uintptr_t)branch->messages[0].content);
            branch->n--;
            memmove(branch->messages, branch->messages + 1, branch->n * sizeof branch->messages[0]);
        }
        if (text[0] != '\0') {
            QA_TRY(add_message(branch, "system", text, strlen(text), err));
            const qa_message system = branch->messages[branch->n - 1];
            memmove(branch->messages + 1, branch->messages, (branch->n - 1) * sizeof system);
            branch->messages[0] = system;
        }
    }
    return QA_OK;
}

qa_status chat_set_policy(chat_session *session, bool base, bool custom, qa_error *err) {
    chat_branch *first = &session->branches[0], *second = &session->branches[1];
    session->changed = true;
    if (base && custom && session->n_branches == 1) {
        *second = (chat_branch){.policy = QA_POLICY_CUSTOM, .cut = first->cut};
        session->n_branches = 2;
        QA_TRY(chat_take_messages(second, first->messages, first->n, err));
        if (first->policy == QA_POLICY_CUSTOM) { /* its caches go with it */
            second->generator = first->generator;
            second->ids = first->ids;
            first->generator = NULL;
            first->ids = (qa_ids){0};
            first->policy = QA_POLICY_BASE;
        }
    } else if (session->n_branches == 2 && !(base && custom)) {
        chat_branch_free(base ? second : first);
        *first = base ? *first : *second;
        *second = (chat_branch){.n = 0};
        session->n_branches = 1;
    } else if (session->n_branches == 1 && first->policy != (base ? QA_POLICY_BASE : QA_POLICY_CUSTOM)) {
        drop_caches(first);
        first->policy = base ? QA_POLICY_BASE : QA_POLICY_CUSTOM;
    }
    return QA_OK;
}

/* ---- answering ---- */

static bool line_begins_with(const qa_ids *ids, const qa_ids *beginning) {
    return ids->n > beginning->n &&
           (beginning->n == 0 || memcmp(ids->data, beginning->data, beginning->n * sizeof ids->data[0]) == 0);
}

/* The ids of the whole dialogue are those that training would make of it; *fresh of them, the last ones, are not in
 * the caches yet. Where the caches hold something else (the answer's tokens are not the ones that its text is encoded
 * as, the template writes the history differently now, dials need another stream) everything is read again. */
static qa_status prepare_turn(chat_session *session, chat_branch *branch, const qa_ids *whole, qa_ids *fresh,
                              qa_error *err) {
    const generation_run *with = session->with;
    cli_run *run = with->run;
    qa_sampling sampling = with->sampling;
    bool turned = branch->generator != NULL && line_begins_with(whole, &branch->ids);
    sampling.seed = session->retries == 0 ? sampling.seed : qa_hash(sampling.seed, session->retries);
    if (turned) {
        QA_TRY(qa_generator_turn(branch->generator, &with->objective, &sampling, session->restart, &turned, err));
    }
    if (!turned) {
        if (branch->generator != NULL) {
            cli_detail(run, "the history is written differently now: reading all of it again");
        }
        drop_caches(branch);
        QA_TRY(generation_generator(with, branch->policy, &sampling, session->capacity, &branch->generator, err));
    }
    return qa_ids_append(fresh, whole->data + branch->ids.n, whole->n - branch->ids.n, err);
}

/* What an answer leaves: nothing where it was broken off before it began. */
static qa_status take_answer(chat_branch *branch, const printed_answer *said, qa_error *err) {
    QA_TRY(qa_ids_append(&branch->ids, said->ids.data, said->ids.n, err));
    branch->cut = said->end != ANSWER_END_TOKEN && said->end != ANSWER_STOP;
    return said->end == ANSWER_INTERRUPTED && said->read.text.n == 0
               ? QA_OK
               : add_message(branch, "assistant", said->read.text.data, said->read.text.n, err);
}

/* One answer to the dialogue so far. */
static qa_status reply(chat_session *session, chat_branch *branch, qa_error *err) {
    generation_run *with = session->with;
    qa_text text = {0};
    qa_ids whole = {0};
    qa_ids ids = {0};
    printed_answer said = {0};
    double seconds = 0.0;
    qa_status status = QA_OK;
    const answer_options options = {.end = &with->end,
                                    .stops = with->stops,
                                    .n_stops = with->n_stops,
                                    .max_tokens = session->max_tokens != 0 ? session->max_tokens : session->capacity};
    const char *label = session->n_branches == 1 ? "" : branch->policy == QA_POLICY_BASE ? "base: " : "custom: ";
    QA_GOTO(done, qa_chat_encode(with->chat, branch->messages, branch->n, &text, &whole, err));
    if (branch->n == 2 && qa_chat_drops_system(branch->messages, branch->n, &text)) {
        cli_warn(with->run, "the chat template leaves out the system message");
    }
    QA_GOTO(done, prepare_turn(session, branch, &whole, &ids, err));
    QA_GOTO(done, generation_feed(with, branch->generator, &ids, &seconds, err));
    QA_GOTO(done, qa_ids_append(&branch->ids, ids.data, ids.n, err));
    QA_GOTO(done, answer_run(&said, branch->generator, with->run->tokenizer, &branch->ids, &options, err));
    QA_GOTO(done, take_answer(branch, &said, err));
    generation_say_speed(with, label, ids.n, seconds, &said, session->capacity);
    if (said.end == ANSWER_INTERRUPTED && !session->terminal) {
        status = qa_fail(err, QA_ERR_INTERRUPTED, "interrupted");
    }
done:
    answer_free(&said);
    qa_ids_free(&ids);
    qa_ids_free(&whole);
    qa_text_free(&text);
    return status;
}

/* Whether somebody at a terminal can go on: with another message, or with less of them. */
static bool can_go_on(const chat_session *session, qa_status status) {
    return session->terminal && (status == QA_ERR_LIMIT || status == QA_ERR_FORMAT || status == QA_ERR_ARGUMENT ||
                                 status == QA_ERR_UNSUPPORTED);
}

static qa_status answer_branches(chat_session *session, qa_error *err) {
    static const char *const LABELS[] = {"[base]\n", "\n[custom]\n"};
    for (size_t b = 0; b < session->n_branches; b++) {
        const char *label = session->n_branches == 1 ? "" : LABELS[b];
        cli_catch_ctrl_c(); /* stops this answer */
        QA_TRY(cli_put(label, strlen(label), err));
        QA_TRY(reply(session, &session->branches[b], err));
    }
    session->restart = session->changed = false;
    return QA_OK;
}

/* Ctrl-C before anything was said: as if it had not been asked. The branches must stay alike, so a turn that only some
 * of them answered goes, too. */
static void drop_unanswered(chat_session *session) {
    size_t unanswered = 0;
    for (size_t b = 0; b < session->n_branches; b++) {
        unanswered += ends_with_role(&session->branches[b], "user") ? 1 : 0;
    }
    if (unanswered > 0) {
        (void)chat_take_back(session, false);
        cli_say(session->with->run, "the turn is taken back, since it was not answered%s",
                session->n_branches == 1 ? "" : " by both");
    }
}

qa_status chat_answer(chat_session *session, qa_error *err) {
    const qa_status status = answer_branches(session, err);
    if (can_go_on(session, status)) {
        cli_warn(session->with->run, "%s", err->message);
    }
    if (session->terminal) {
        cli_release_ctrl_c();
        drop_unanswered(session);
    }
    return can_go_on(session, status) ? QA_OK : status;
}

qa_status chat_ask(chat_session *session, const char *text, size_t bytes, qa_error *err) {
    for (size_t b = 0; b < session->n_branches; b++) {
        QA_TRY(add_message(&session->branches[b], "user", text, bytes, err));
    }
    return chat_answer(session, err);
}
