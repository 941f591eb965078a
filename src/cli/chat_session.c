/* A conversation: every line of standard input is a turn. The caches stay between turns: as long as the history is
 * encoded as what the caches hold and then more, only that more goes through the model; else the whole history is read
 * again. */
#include "cli/generate.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "text/chat_turn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct chat_session {
    generation_run *with;
    qa_policy policy;
    size_t capacity;
    qa_generator *generator; /* NULL before the first turn */
    qa_message *messages;    /* [n]; contents owned, roles literals */
    size_t n, room;
    qa_ids ids; /* that the caches hold */
    bool terminal;
} chat_session;

static void session_free(chat_session *session) {
    for (size_t i = 0; i < session->n; i++) {
        free((void *)(uintptr_t)session->messages[i].content);
    }
    free(session->messages);
    qa_generator_free(session->generator);
    qa_ids_free(&session->ids);
}

/* Copies the content. */
static qa_status add_message(chat_session *session, const char *role, const char *content, size_t bytes,
                             qa_error *err) {
    QA_TRY(QA_GROW(session->messages, session->room, session->n + 1, err, "a message"));
    char *copy = NULL;
    QA_TRY(QA_NEW(copy, bytes + 1, err, "a message"));
    if (bytes > 0) {
        memcpy(copy, content, bytes);
    }
    copy[bytes] = '\0';
    session->messages[session->n++] = (qa_message){role, copy, bytes};
    return QA_OK;
}

static bool line_begins_with(const qa_ids *ids, const qa_ids *beginning) {
    return ids->n > beginning->n &&
           (beginning->n == 0 || memcmp(ids->data, beginning->data, beginning->n * sizeof ids->data[0]) == 0);
}

/* The ids of the whole dialogue are those that training would make of it; *fresh of them, the last ones, are not in
 * the caches yet. Where the caches hold something else (the answer's tokens are not the ones that its text is encoded
 * as, the template writes the history differently now) everything is read again. */
static qa_status prepare_turn(chat_session *session, const qa_ids *whole, qa_ids *fresh, qa_error *err) {
    cli_run *run = session->with->run;
    if (session->generator == NULL || !line_begins_with(whole, &session->ids)) {
        if (session->generator != NULL) {
            cli_detail(run, "the history is written differently now: reading all of it again");
            qa_generator_free(session->generator);
            session->generator = NULL;
        }
        session->ids.n = 0;
        QA_TRY(qa_generator_create(&session->generator, run->model, run->adapter, session->policy,
                                   &session->with->objective, &session->with->sampling, session->capacity, err));
    }
    return qa_ids_append(fresh, whole->data + session->ids.n, whole->n - session->ids.n, err);
}

/* One answer to the dialogue so far. */
static qa_status reply(chat_session *session, qa_error *err) {
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
                                    .max_tokens = cli_given(&with->run->options, "max-tokens") != NULL
                                                      ? generate_args_of(with->run)->max_tokens
                                                      : session->capacity};
    QA_GOTO(done, qa_chat_encode(with->chat, session->messages, session->n, &text, &whole, err));
    if (session->n == 2 && qa_chat_drops_system(session->messages, session->n, &text)) {
        cli_warn(with->run, "the chat template leaves out what --system says");
    }
    QA_GOTO(done, prepare_turn(session, &whole, &ids, err));
    QA_GOTO(done, generation_feed(with, session->generator, &ids, &seconds, err));
    QA_GOTO(done, qa_ids_append(&session->ids, ids.data, ids.n, err));
    QA_GOTO(done, answer_run(&said, session->generator, with->run->tokenizer, &session->ids, &options, err));
    QA_GOTO(done, qa_ids_append(&session->ids, said.ids.data, said.ids.n, err));
    QA_GOTO(done, add_message(session, "assistant", said.read.text.data, said.read.text.n, err));
    generation_say_speed(with, "", ids.n, seconds, &said, session->capacity);
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

static qa_status converse(chat_session *session, qa_error *err) {
    char *line = NULL;
    size_t capacity = 0;
    qa_status status = QA_OK;
    while (status == QA_OK) {
        if (session->terminal) {
            cli_release_ctrl_c();
            fprintf(stderr, "> ");
        }
        errno = 0;
        ssize_t n = getline(&line, &capacity, stdin);
        if (n < 0) {
            break;
        }
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) {
            n--;
        }
        if (n == 0) {
            continue;
        }
        cli_catch_ctrl_c();
        status = add_message(session, "user", line, (size_t)n, err);
        status = status == QA_OK ? reply(session, err) : status;
    }
    if (status == QA_OK && (ferror(stdin) || errno == ENOMEM)) {
        status = qa_fail(err, QA_ERR_IO, "cannot read standard input: %s", strerror(errno));
    }
    if (session->terminal) {
        fputc('\n', stderr);
    }
    free(line);
    return status;
}

qa_status cli_converse(generation_run *with, qa_policy policy, size_t capacity, qa_error *err) {
    chat_session session = {
        .with = with, .policy = policy, .capacity = capacity, .terminal = isatty(STDIN_FILENO) == 1};
    const char *system = generate_args_of(with->run)->system;
    qa_status status = QA_OK;
    if (session.terminal) {
        cli_say(with->run, "type a message and Enter; Ctrl-C stops an answer, Ctrl-D ends");
    }
    if (system != NULL) {
        status = add_message(&session, "system", system, strlen(system), err);
    }
    if (status == QA_OK) {
        status = converse(&session, err);
    }
    session_free(&session);
    return status;
}
