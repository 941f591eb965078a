/* qadapter render: what a chat template makes of dialogues, one JSON line for each; of a single one, for a person, what
 * is prompt, what is trained and what ends the turn. */
#include "cli/common.h"
#include "cli/line_sink.h"

#include "arch/config.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "data/dialogue.h"
#include "io/json_lines.h"
#include "text/answer_end.h"
#include "text/chat_turn.h"
#include "text/text_begin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

typedef struct render_args {
    cli_args shared;
    const char *in;
    bool marked;
} render_args;

#define ROW(kind, ...) QA_##kind(render_args, __VA_ARGS__)

static const qa_option render_rows[] = {
    {"in", ROW(STRING, in), .letter = 'i', .aliases = "input input-file", .placeholder = "FILE",
     .group = QA_GROUP_INPUT, .path = QA_PATH_READ,
     .help = "JSON Lines of dialogues: {\"messages\": [...], \"add_generation_prompt\": false, \"args\": {...}}; every "
             "other member is a variable of the template by its name; - is standard input"},
    {"out", ROW(STRING, shared.out), .letter = 'o', .aliases = "output output-file", .placeholder = "FILE",
     .group = QA_GROUP_OUTPUT, .path = QA_PATH_WRITTEN, .note = "standard output",
     .help = "where the JSON Lines go; a file appears when it is complete; - is standard output"},
    {"marked", ROW(FLAG, marked), .group = QA_GROUP_OUTPUT, .note = "of one dialogue on a terminal",
     .help = "with --model: print of every dialogue what is its prompt, what is trained and what ends the turn, with "
             "token ids"},
};
static const qa_option_table render_table = QA_TABLE(render_rows);
static const qa_option render_chat_words = {.group = QA_GROUP_INPUT};
static const cli_table render_tables[] = {{&cli_model_table, 0, "model", NULL},
                                          {&render_table, 0, NULL, NULL},
                                          {&cli_chat_table, 0, NULL, &render_chat_words},
                                          {&cli_pairs_table, 0, "response-end", &cli_response_end_words}};

/* What the rows share. */
typedef struct render_work {
    cli_run *run;
    qa_chat *chat;
    qa_answer_end end;
    bool whole_turn; /* --response-end template */
    qa_text text;
    qa_json_writer out;
    qa_dialogue dialogue;
    qa_columns columns;
    qa_chat_turn turn;
    qa_ids prompt, answer, rest;
    qa_warnings warnings;        /* of dialogues that are printed */
    qa_template_result unparsed; /* what is wrong with a template that cannot be run at all; else a text */
} render_work;

/* ---- one row ---- */

/* Special tokens where there is no tokenizer that names its own. */
static qa_status default_tokens(json_t *variables, qa_error *err) {
    static const char *const TOKENS[][2] = {
        {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}};
    for (size_t i = 0; i < sizeof TOKENS / sizeof TOKENS[0]; i++) {
        if (json_object_get(variables, TOKENS[i][0]) == NULL &&
            json_object_set_new(variables, TOKENS[i][0], json_string(TOKENS[i][1])) != 0) {
            return QA_NO_MEMORY(err, "the special tokens");
        }
    }
    return QA_OK;
}

/* Of all rows, then the row's "args", then its other members. */
static qa_status row_variables(const render_work *work, const json_t *row, json_t **variables, qa_error *err) {
    json_t *args = json_object_get(row, "args");
    *variables = NULL;
    QA_FAIL_IF(!json_is_object(row) || json_object_get(row, "messages") == NULL, err, QA_ERR_FORMAT,
               "expected an object with \"messages\"");
    QA_FAIL_IF(args != NULL && !json_is_null(args) && !json_is_object(args), err, QA_ERR_FORMAT,
               "\"args\" must be an object of variables");
    json_t *all = *variables = work->chat == NULL ? json_object() : json_copy(work->chat->variables);
    json_t *own = json_copy((json_t *)(uintptr_t)row);
    (void)json_object_del(own, "args");
    const bool good = json_object_set_new(all, "add_generation_prompt", json_false()) == 0 &&
                      (!json_is_object(args) || json_object_update(all, args) == 0) &&
                      json_object_update(all, own) == 0;
    json_decref(own);
    return good ? QA_OK : QA_NO_MEMORY(err, "the variables of a dialogue");
}

static qa_status write_row(render_work *work, const json_t *variables, cli_line_sink *sink, qa_error *err) {
    qa_template_result result = work->unparsed;
    qa_json_writer *out = &work->out;
    work->text.n = 0;
    qa_status status = work->chat == NULL ? QA_OK
                                          : qa_template_render(work->chat->program, variables, &work->chat->options,
                                                               &work->text, &result, err);
    if (status == QA_OK) {
        qa_json_restart(out, err);
        qa_json_open_object(out, NULL, QA_JSON_LINE);
        if (result.outcome == QA_TEMPLATE_TEXT) {
            qa_json_put_text(out, "text", work->text.data, work->text.n);
        } else if (result.outcome == QA_TEMPLATE_RAISED) {
            qa_json_put_string(out, "raises", result.message);
        } else {
            qa_json_put_string(out, "error", result.message);
            qa_json_put_size(out, "line", result.line);
        }
        qa_json_close(out);
        qa_json_end_line(out);
        status = out->status == QA_OK ? cli_line_sink_write(sink, &out->text, err) : out->status;
    }
    qa_template_result_free(&result);
    return status;
}

/* ---- for a person ---- */

static qa_status print_part(const render_work *work, const char *what, const qa_ids *ids, size_t from, size_t to,
                            qa_error *err) {
    if (to > from) {
        printf("%s: %zu token%s\n", what, to - from, to - from == 1 ? "" : "s");
        cli_print_tokens(work->run, ids->data + from, to - from);
    }
    return cli_flush(err);
}

static qa_status print_answer(render_work *work, const qa_message *answer, qa_error *err) {
    const qa_tokenizer *tokenizer = work->run->tokenizer;
    const qa_chat_turn *turn = &work->turn;
    qa_text *text = &work->text;
    qa_ids *ids = &work->answer;
    bool ended = false, all_ended = false;
    text->n = ids->n = work->rest.n = 0;
    QA_TRY(qa_chat_turn_content(turn, work->chat, answer->content, answer->content_bytes, work->whole_turn, text, err));
    const size_t content = text->n;
    QA_TRY(qa_chat_turn_end(turn, work->chat, work->end.turn, work->whole_turn, text, &ended, err));
    QA_TRY(qa_encode_after(tokenizer, &work->prompt, text->data, text->n, ids, err));
    const size_t written = ids->n;
    if (!ended) {
        QA_TRY(qa_answer_end_close(&work->end, tokenizer,
                                   work->whole_turn ? QA_RESPONSE_END_TEMPLATE : QA_RESPONSE_END_TOKEN, 0, ids, err));
    }
    size_t last = ids->n;
    while (last > 0 && !qa_answer_end_has(&work->end, ids->data[last - 1])) {
        last--;
    }
    last = last == 0 ? ids->n : last - 1;
    QA_TRY(print_part(work, "trained", ids, 0, last, err));
    QA_TRY(print_part(
        work, written < ids->n ? "trained, ends the turn (the template does not write it)" : "trained, ends the turn",
        ids, last, last + 1 < ids->n ? last + 1 : ids->n, err));
    QA_TRY(print_part(work, "trained, behind it", ids, last + 1, ids->n, err));
    const size_t token = text->n - content;
    text->n = content;
    QA_TRY(qa_chat_turn_end(turn, work->chat, work->end.turn, true, text, &all_ended, err));
    if (text->n > content + token) {
        QA_TRY(
            qa_encode_after(tokenizer, ids, text->data + content + token, text->n - content - token, &work->rest, err));
        QA_TRY(print_part(work, "not trained (--response-end template does)", &work->rest, 0, work->rest.n, err));
    }
    return QA_OK;
}

/* What a reader of the tokens may not expect, as in training. messages[n] is the answer. */
static qa_status note_answered(render_work *work, const qa_message *messages, size_t n, qa_error *err) {
    const qa_chat_turn *turn = &work->turn;
    bool keeps = true;
    if (!turn->begins) {
        qa_warn(&work->warnings, "the template writes the prompt otherwise once it is answered");
    } else if (qa_chat_turn_inserts(turn) && !work->whole_turn) {
        qa_warn(&work->warnings, "the template writes more than white space between prompt and answer: it is left out "
                                 "(--response-end template takes it, as TRL does)");
    }
    QA_TRY(qa_chat_keeps(turn, work->chat, messages, n + 1, &work->text, &keeps, err));
    if (!keeps) {
        qa_warn(&work->warnings, "the template would cut or change a part of the answer, such as a thought: it is "
                                 "trained as it stands");
    }
    return QA_OK;
}

static qa_status print_dialogue(render_work *work, const json_t *row, json_t *variables, qa_error *err) {
    qa_dialogue *dialogue = &work->dialogue;
    json_t *before = work->chat->variables;
    dialogue->n = work->prompt.n = 0;
    QA_TRY(qa_dialogue_push_json(dialogue, json_object_get(row, "messages"), "messages", &work->columns, err));
    const bool answered = dialogue->n > 1 && strcmp(dialogue->messages[dialogue->n - 1].role, "assistant") == 0;
    const size_t n = answered ? dialogue->n - 1 : dialogue->n;
    work->chat->variables = variables;
    qa_status status = answered ? qa_chat_turn_write(&work->turn, work->chat, dialogue->messages, n, err) : QA_OK;
    if (status == QA_OK && !answered) {
        work->turn.prompt.n = 0;
        status = qa_chat_write(work->chat, dialogue->messages, n, true, &work->turn.prompt, err);
    }
    if (status == QA_OK && answered) {
        status = note_answered(work, dialogue->messages, n, err);
    }
    work->chat->variables = before;
    QA_TRY(status);
    const qa_text *prompt = &work->turn.prompt;
    QA_TRY(qa_encode_rendered(work->run->tokenizer, prompt->data, prompt->n, &work->prompt, err));
    QA_TRY(print_part(work, "prompt", &work->prompt, 0, work->prompt.n, err));
    if (qa_chat_drops_system(dialogue->messages, n, prompt)) {
        qa_warn(&work->warnings, "the chat template leaves out what the system message says");
    }
    return answered ? print_answer(work, &dialogue->messages[n], err) : QA_OK;
}

/* ---- the file ---- */

/* Whether rows are printed for a person: asked for, or the only one of the file on a terminal. */
static bool is_marked(const render_work *work, const cli_line_sink *sink, bool only) {
    const render_args *args = (const render_args *)work->run->args;
    return work->chat != NULL &&
           (args->marked || (only && cli_line_sink_is_terminal(sink) && work->run->tokenizer != NULL));
}

static qa_status render_all(render_work *work, qa_json_lines *lines, cli_line_sink *sink, qa_error *err) {
    json_t *row = NULL, *next = NULL, *variables = NULL;
    qa_status status = QA_OK;
    size_t line = 0, n = 0;
    QA_GOTO(done, qa_json_lines_next(lines, &row, err));
    for (; row != NULL; row = next, next = NULL, n++) {
        line = qa_json_lines_number(lines);
        QA_GOTO(done, qa_json_lines_next(lines, &next, err));
        status = row_variables(work, row, &variables, err);
        if (status == QA_OK) {
            status = is_marked(work, sink, n == 0 && next == NULL) ? print_dialogue(work, row, variables, err)
                                                                   : write_row(work, variables, sink, err);
        }
        json_decref(variables);
        variables = NULL;
        if (status != QA_OK) {
            qa_error_prefix(err, "%s:%zu: ", qa_json_lines_name(lines), line);
            goto done;
        }
        json_decref(row);
    }
done:
    json_decref(row);
    json_decref(next);
    return status;
}

/* A named template that cannot be parsed is an error of every row. */
static qa_status open_template(render_work *work, qa_error *err) {
    cli_run *run = work->run;
    const qa_chat *chat = NULL;
    bool assumed = false;
    const qa_status status = cli_resolve_chat(run, &chat, &assumed, err);
    const char *line = strstr(err->message, ", line ");
    qa_template_result *unparsed = &work->unparsed;
    work->chat = run->chat;
    if (status == QA_OK) {
        return chat != NULL ? QA_OK
                            : qa_fail(err, QA_ERR_UNSUPPORTED,
                                      "there is no chat template to render: name another by --chat-template");
    }
    if (line == NULL || sscanf(line, ", line %zu: %1023[^\n]", &unparsed->line, unparsed->message) != 2) {
        return status;
    }
    cli_warn(run, "%s", err->message);
    unparsed->outcome = QA_TEMPLATE_ERROR;
    return QA_OK;
}

/* The model's end-of-sequence ids, where it says any. */
static qa_status find_end(render_work *work, qa_error *err) {
    const cli_run *run = work->run;
    qa_config config = {0};
    if (run->tokenizer == NULL || work->chat == NULL) {
        return QA_OK;
    }
    qa_error unknown; /* a family that is not supported, or no model at all: the tokenizer's then */
    if (qa_config_load(&config, run->args->model, NULL, &unknown) != QA_OK) {
        config.n_eos = 0;
    }
    return qa_answer_end_find(&work->end, work->chat, run->tokenizer, config.eos_ids, config.n_eos, err);
}

static qa_status run_render(cli_run *run, qa_error *err) {
    const render_args *args = (const render_args *)run->args;
    render_work work = {.run = run};
    qa_json_lines *lines = NULL;
    cli_line_sink sink = {0};
    if (run->args->model == NULL && run->args->chat_template == NULL) {
        return cli_bad_usage(run, err, "missing --chat-template NAME|FILE, or --model DIR, whose own it is then");
    }
    if (args->marked && run->args->model == NULL) {
        return cli_bad_usage(run, err, "--marked needs --model: its tokenizer");
    }
    QA_TRY(run->args->model == NULL ? QA_OK : cli_load_tokenizer(run, true, err));
    QA_TRY(open_template(&work, err));
    work.whole_turn = run->args->response_end != NULL && strcmp(run->args->response_end, "template") == 0;
    QA_TRY(run->tokenizer == NULL && work.chat != NULL ? default_tokens(work.chat->variables, err) : QA_OK);
    QA_TRY(find_end(&work, err));
    QA_TRY(qa_json_lines_open(&lines, args->in, err));
    qa_status status = cli_line_sink_open(&sink, run->args->out, err);
    if (status == QA_OK) {
        status = render_all(&work, lines, &sink, err);
        status = cli_line_sink_close(&sink, status, err);
    }
    cli_warn_all(run, &work.warnings);
    qa_warnings_free(&work.warnings);
    qa_json_lines_close(lines);
    qa_text_free(&work.text);
    qa_text_free(&work.out.text);
    qa_chat_turn_free(&work.turn);
    qa_ids_free(&work.prompt);
    qa_ids_free(&work.answer);
    qa_ids_free(&work.rest);
    free(work.dialogue.messages);
    return status;
}

const cli_command cli_render = {
    .name = "render",
    .summary = "show what a chat template makes of dialogues",
    .about = "Reads JSON Lines and writes one line for each: {\"text\": ...} where the template writes the dialogue, "
             "{\"raises\": MESSAGE} where it refuses it in its own words, {\"error\": WHAT, \"line\": N} where it "
             "cannot write it, with the template's line. Without --model the special tokens are <s>, </s>, <unk> and "
             "<pad>; a row's own members stand before them.\n"
             "With --model and a single dialogue on a terminal it prints the tokens instead: what is the prompt of the "
             "answer, what of the answer is trained, what ends the turn.",
    .examples = "qadapter render --chat-template chat_template.jinja --in dialogues.jsonl --out rendered.jsonl\n"
                "qadapter render --model MODEL --template-arg enable_thinking=false --in dialogue.jsonl",
    .required = "in",
    CLI_TABLES(render_tables),
    .args_bytes = sizeof(render_args),
    .run = run_render,
};
