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

typedef struct session {
    generation *with;
    qa_policy policy;
    size_t capacity;
    qa_generator *generator; /* NULL before the first turn */
    qa_message *messages;    /* [n]; contents owned, roles literals */
    size_t n, room;
    qa_ids ids; /* that the caches hold */
    bool terminal;
} session;

static void session_free(session *it) {
    for (size_t i = 0; i < it->n; i++) {
        free((void *)(uintptr_t)it->messages[i].content);
    }
    free(it->messages);
    qa_generator_free(it->generator);
    qa_ids_free(&it->ids);
}

/* Copies the content. */
static qa_status add_message(session *it, const char *role, const char *content, size_t bytes, qa_error *err) {
    QA_TRY(QA_GROW(it->messages, it->room, it->n + 1, err, "a message"));
    char *copy = NULL;
    QA_TRY(QA_NEW(copy, bytes + 1, err, "a message"));
    if (bytes > 0) {
        memcpy(copy, content, bytes);
    }
    copy[bytes] = '\0';
    it->messages[it->n++] = (qa_message){role, copy, bytes};
    return QA_OK;
}

static bool line_begins_with(const qa_ids *ids, const qa_ids *beginning) {
    return ids->n > beginning->n &&
           (beginning->n == 0 || memcmp(ids->data, beginning->data, beginning->n * sizeof ids->data[0]) == 0);
}

/* The ids of the whole dialogue are those that training would make of it; *fresh of them, the last ones, are not in
 * the caches yet. Where the caches hold something else (the answer's tokens are not the ones that its text is encoded
 * as, the template writes the history differently now) everything is read again. */
static qa_status prepare_turn(session *it, const qa_ids *whole, qa_ids *fresh, qa_error *err) {
    cli_run *run = it->with->run;
    if (it->generator == NULL || !line_begins_with(whole, &it->ids)) {
        if (it->generator != NULL) {
            cli_detail(run, "the history is written differently now: reading all of it again");
            qa_generator_free(it->generator);
            it->generator = NULL;
        }
        it->ids.n = 0;
        QA_TRY(qa_generator_create(&it->generator, run->model, run->adapter, it->policy, &it->with->objective,
                                   &it->with->sampling, it->capacity, err));
    }
    return qa_ids_append(fresh, whole->data + it->ids.n, whole->n - it->ids.n, err);
}

/* One answer to the dialogue so far. */
static qa_status reply(session *it, qa_error *err) {
    generation *with = it->with;
    qa_text text = {0};
    qa_ids whole = {0};
    qa_ids ids = {0};
    answer said = {0};
    double seconds = 0.0;
    qa_status status = QA_OK;
    const answer_options options = {.end = &with->end,
                                    .stops = with->stops,
                                    .n_stops = with->n_stops,
                                    .max_tokens = cli_given(&with->run->options, "max-tokens") != NULL
                                                      ? generate_args_of(with->run)->max_tokens
                                                      : it->capacity};
    QA_GOTO(done, qa_chat_encode(with->chat, it->messages, it->n, &text, &whole, err));
    if (it->n == 2 && qa_chat_drops_system(it->messages, it->n, &text)) {
        cli_warn(with->run, "the chat template leaves out what --system says");
    }
    QA_GOTO(done, prepare_turn(it, &whole, &ids, err));
    QA_GOTO(done, generation_feed(with, it->generator, &ids, &seconds, err));
    QA_GOTO(done, qa_ids_append(&it->ids, ids.data, ids.n, err));
    QA_GOTO(done, answer_run(&said, it->generator, with->run->tokenizer, &it->ids, &options, err));
    QA_GOTO(done, qa_ids_append(&it->ids, said.ids.data, said.ids.n, err));
    QA_GOTO(done, add_message(it, "assistant", said.read.text.data, said.read.text.n, err));
    generation_say_speed(with, "", ids.n, seconds, &said, it->capacity);
    if (said.end == ANSWER_INTERRUPTED && !it->terminal) {
        status = qa_fail(err, QA_ERR_INTERRUPTED, "interrupted");
    }
done:
    answer_free(&said);
    qa_ids_free(&ids);
    qa_ids_free(&whole);
    qa_text_free(&text);
    return status;
}

static qa_status converse(session *it, qa_error *err) {
    char *line = NULL;
    size_t capacity = 0;
    qa_status status = QA_OK;
    while (status == QA_OK) {
        if (it->terminal) {
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
        status = add_message(it, "user", line, (size_t)n, err);
        status = status == QA_OK ? reply(it, err) : status;
    }
    if (status == QA_OK && (ferror(stdin) || errno == ENOMEM)) {
        status = qa_fail(err, QA_ERR_IO, "cannot read standard input: %s", strerror(errno));
    }
    if (it->terminal) {
        fputc('\n', stderr);
    }
    free(line);
    return status;
}

qa_status cli_converse(generation *with, qa_policy policy, size_t capacity, qa_error *err) {
    session it = {.with = with, .policy = policy, .capacity = capacity, .terminal = isatty(STDIN_FILENO) == 1};
    const char *system = generate_args_of(with->run)->system;
    qa_status status = QA_OK;
    if (it.terminal) {
        cli_say(with->run, "type a message and Enter; Ctrl-C stops an answer, Ctrl-D ends");
    }
    if (system != NULL) {
        status = add_message(&it, "system", system, strlen(system), err);
    }
    if (status == QA_OK) {
        status = converse(&it, err);
    }
    session_free(&it);
    return status;
}
