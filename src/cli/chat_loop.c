/* A conversation: every message of standard input is a turn, or, at a terminal or with --commands, a command. */
#include "cli/chat.h"

#include "base/buffer.h"
#include "base/try.h"
#include "cli/line_history.h"
#include "cli/line_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* `//` in front of a message that begins with a slash. */
static qa_status take_message(chat_session *session, const qa_text *text, bool command, bool *end, qa_error *err) {
    const bool escaped = command && text->n > 1 && text->data[1] == '/';
    return command && !escaped ? chat_command(session, text->data, end, err)
                               : chat_ask(session, text->data + (escaped ? 1 : 0), text->n - (escaped ? 1 : 0), err);
}

static qa_status converse(chat_session *session, cli_line_reader *reader, bool commands, qa_error *err) {
    qa_text text = {0};
    bool end = false, dropped = false; /* the last line: a second Ctrl-C ends */
    qa_status status = QA_OK;
    while (status == QA_OK && !end) {
        cli_line_kind kind = CLI_LINE_END;
        status = cli_line_reader_next(reader, &text, &kind, err);
        if (status != QA_OK || kind == CLI_LINE_END || (kind == CLI_LINE_DROPPED && dropped)) {
            break;
        }
        dropped = kind == CLI_LINE_DROPPED;
        if (dropped) {
            cli_say(session->with->run, "Ctrl-C again, Ctrl-D or /quit ends");
        } else if (kind != CLI_LINE_CLEARED && text.n > 0) {
            status =
                take_message(session, &text, commands && kind == CLI_LINE_MESSAGE && text.data[0] == '/', &end, err);
        }
    }
    if (session->terminal && !end) {
        fputc('\n', stderr);
    }
    qa_text_free(&text);
    return status;
}

static qa_status open_and_converse(chat_session *session, qa_error *err) {
    const generate_args *args = generate_args_of(session->with->run);
    const bool commands = session->terminal || args->commands;
    char *history = session->terminal && !args->no_history ? cli_history_path() : NULL;
    const cli_line_reader_options options = {.terminal = session->terminal, .blocks = commands, .history = history};
    cli_line_reader *reader = NULL;
    qa_status status = cli_line_reader_open(&reader, &options, err);
    if (status == QA_OK && session->terminal) {
        cli_say(session->with->run, "type a message and Enter; /help lists what else there is; Ctrl-C stops an answer, "
                                    "Ctrl-D ends");
    }
    status = status == QA_OK ? converse(session, reader, commands, err) : status;
    cli_line_reader_close(reader);
    free(history);
    return status;
}

qa_status cli_converse(generation_run *with, bool base, bool custom, size_t capacity, qa_error *err) {
    const generate_args *args = generate_args_of(with->run);
    chat_session session = {.with = with, .n_branches = 1, .capacity = capacity, .terminal = isatty(STDIN_FILENO) == 1};
    session.branches[0].policy = custom ? QA_POLICY_CUSTOM : QA_POLICY_BASE;
    session.max_tokens = cli_given(&with->run->options, "max-tokens") != NULL ? args->max_tokens : 0;
    qa_status status = args->system == NULL ? QA_OK : chat_set_system(&session, args->system, err);
    status = status == QA_OK ? chat_set_policy(&session, base, custom, err) : status;
    status = status == QA_OK ? open_and_converse(&session, err) : status;
    for (size_t b = 0; b < session.n_branches; b++) {
        chat_branch_free(&session.branches[b]);
    }
    return status;
}
