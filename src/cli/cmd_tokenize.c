/* qadapter tokenize: JSON Lines in, JSON Lines out, one line at a time; or one text for a person. */
#include "cli/common.h"
#include "cli/format.h"

#include "base/buffer.h"
#include "base/try.h"
#include "base/warnings.h"
#include "data/pairs.h"
#include "io/file.h"
#include "io/json_lines.h"
#include "text/chat_turn.h"
#include "text/text_begin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- options ---- */

typedef struct tokenize_args {
    cli_args shared;
    const char *in, *text, *file;
    bool no_special, print_ids;
} tokenize_args;

#define ROW(kind, ...) QA_##kind(tokenize_args, __VA_ARGS__), .group = QA_GROUP_INPUT

static const qa_option tokenize_rows[] = {
    {"in", ROW(STRING, in), .letter = 'i', .aliases = "input input-file", .placeholder = "FILE", .path = QA_PATH_READ,
     .note = "standard input", .help = "JSON Lines to work on; - is standard input"},
    {"text", ROW(STRING, text), .aliases = "prompt", .placeholder = "STRING",
     .help = "tokenise this text instead, and print its tokens for a person to read"},
    {"file", ROW(STRING, file), .letter = 'f', .aliases = "text-file", .placeholder = "FILE", .path = QA_PATH_READ,
     .help = "the same with a whole file as the text; - is standard input"},
    {"no-special", ROW(FLAG, no_special), .aliases = "no-special-tokens",
     .help = "add no special tokens to the text of --text and --file"},
    {"print-ids", QA_FLAG(tokenize_args, print_ids), .aliases = "ids", .group = QA_GROUP_OUTPUT,
     .help = "with --text and --file: print the bare ids, on one line"},
};
static const qa_option_table tokenize_table = QA_TABLE(tokenize_rows);
static const qa_option tokenize_chat_words = {.group = QA_GROUP_INPUT};
static const cli_table tokenize_tables[] = {{&cli_model_table, 0, "model", NULL},
                                            {&tokenize_table, 0, NULL, NULL},
                                            {&cli_chat_table, 0, NULL, &tokenize_chat_words}};

static const tokenize_args *tokenize_args_of(const cli_run *run) { return (const tokenize_args *)run->args; }

enum { MAX_TEXT_BYTES = 1 << 30 };

/* What one line needs; buffers are reused from line to line. */
typedef struct line_work {
    cli_run *run;
    qa_ids ids;
    qa_text text;
    qa_json_writer out;
    qa_dialogue dialogue;
    qa_columns columns; /* keys that hold something and are not used */
    size_t unknown_ids; /* to decode, outside the vocabulary */
    const qa_chat *chat;
    bool chat_known, said_no_system;
} line_work;

/* {"text": ..., "add_special": true} -> {"ids": [...], "decoded": ...} */
static qa_status encode_line(line_work *work, const json_t *object, qa_error *err) {
    static const char *const KEYS[] = {"text", "add_special", NULL};
    const json_t *text = json_object_get(object, "text");
    bool add_special = true;
    QA_FAIL_IF(!json_is_string(text), err, QA_ERR_FORMAT, "\"text\" must be a string");
    QA_TRY(qa_columns_check_row(&work->columns, object, KEYS, QA_PAIRS_IDS, err));
    QA_TRY(qa_json_get_bool(object, "add_special", false, "a text", &add_special, err));
    const qa_encode_options options = {.add_special = add_special};
    QA_TRY(qa_tokenizer_encode(work->run->tokenizer, json_string_value(text), json_string_length(text), options,
                               &work->ids, err));
    QA_TRY(qa_tokenizer_decode(work->run->tokenizer, work->ids.data, work->ids.n, false, &work->text, err));
    qa_json_put_id_array(&work->out, "ids", work->ids.data, work->ids.n);
    qa_json_put_text(&work->out, "decoded", work->text.data, work->text.n);
    return QA_OK;
}

/* {"ids": [...], "skip_special_tokens": false} -> {"text": ...} */
static qa_status decode_line(line_work *work, const json_t *object, qa_error *err) {
    static const char *const KEYS[] = {"ids", "skip_special_tokens", NULL};
    const json_t *ids = json_object_get(object, "ids");
    bool skip_special = false;
    QA_FAIL_IF(!json_is_array(ids), err, QA_ERR_FORMAT, "\"ids\" must be an array of whole numbers");
    QA_TRY(qa_columns_check_row(&work->columns, object, KEYS, QA_PAIRS_IDS, err));
    QA_TRY(qa_json_get_bool(object, "skip_special_tokens", false, "ids", &skip_special, err));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        QA_FAIL_IF(!json_is_integer(id), err, QA_ERR_FORMAT, "\"ids\": element %zu is not a whole number", i);
        const json_int_t value = json_integer_value(id);
        const bool known = value >= 0 && (uint64_t)value < qa_tokenizer_vocab_size(work->run->tokenizer);
        work->unknown_ids += known ? 0 : 1;
        QA_TRY(qa_ids_push(&work->ids, known ? (int32_t)value : -1, err)); /* which has no text */
    }
    QA_TRY(qa_tokenizer_decode(work->run->tokenizer, work->ids.data, work->ids.n, skip_special, &work->text, err));
    qa_json_put_text(&work->out, "text", work->text.data, work->text.n);
    return QA_OK;
}

static qa_status resolve_template(line_work *work, qa_error *err) {
    bool assumed = false;
    if (!work->chat_known) {
        QA_TRY(cli_resolve_chat(work->run, &work->chat, &assumed, err));
        work->chat_known = true;
    }
    if (assumed) {
        cli_say(work->run, "%s has no chat template: using plain (--chat-template names another)",
                work->run->args->model);
    }
    return QA_OK;
}

/* {"messages": [...], "add_generation_prompt": false} -> {"text": ..., "ids": [...]} */
static qa_status render_line(line_work *work, const json_t *object, qa_error *err) {
    static const char *const KEYS[] = {"messages", "add_generation_prompt", NULL};
    const json_t *messages = json_object_get(object, "messages");
    qa_dialogue *dialogue = &work->dialogue;
    bool add_generation_prompt = false;
    QA_FAIL_IF(!json_is_array(messages), err, QA_ERR_FORMAT, "\"messages\" must be an array");
    QA_TRY(qa_columns_check_row(&work->columns, object, KEYS, QA_PAIRS_DIALOGUES, err));
    QA_TRY(qa_json_get_bool(object, "add_generation_prompt", false, "a dialogue", &add_generation_prompt, err));
    dialogue->n = 0;
    QA_TRY(qa_dialogue_push_json(dialogue, messages, "messages", &work->columns, err));
    QA_TRY(resolve_template(work, err));
    QA_TRY(qa_chat_write(work->chat, dialogue->messages, dialogue->n, add_generation_prompt, &work->text, err));
    if (!work->said_no_system && qa_chat_drops_system(dialogue->messages, dialogue->n, &work->text)) {
        work->said_no_system = true;
        cli_warn(work->run, "the chat template leaves out what the system message says");
    }
    QA_TRY(qa_encode_rendered(work->run->tokenizer, work->text.data, work->text.n, &work->ids, err));
    qa_json_put_text(&work->out, "text", work->text.data, work->text.n);
    qa_json_put_id_array(&work->out, "ids", work->ids.data, work->ids.n);
    return QA_OK;
}

static qa_status one_object(line_work *work, const json_t *object, qa_error *err) {
    char found[QA_FOUND_BYTES];
    QA_FAIL_IF(!json_is_object(object), err, QA_ERR_FORMAT, "expected a JSON object on every line");
    work->ids.n = work->text.n = 0;
    qa_json_restart(&work->out, err);
    qa_json_open_object(&work->out, NULL, QA_JSON_LINE);
    QA_TRY(qa_pairs_member(object, "messages") != NULL ? render_line(work, object, err)
           : qa_pairs_member(object, "ids") != NULL    ? decode_line(work, object, err)
           : qa_pairs_member(object, "text") != NULL
               ? encode_line(work, object, err)
               : qa_fail(err, QA_ERR_FORMAT, "expected one of \"text\", \"messages\" and \"ids\"%s",
                         qa_columns_found(object, found)));
    qa_json_close(&work->out);
    qa_json_end_line(&work->out);
    QA_TRY(work->out.status);
    QA_TRY(cli_put(work->out.text.data, work->out.text.n, err));
    return isatty(STDIN_FILENO) == 1 || isatty(STDOUT_FILENO) == 1 ? cli_flush(err) : QA_OK;
}

static qa_status all_lines(line_work *work, qa_json_lines *lines, qa_error *err) {
    for (;;) {
        json_t *object = NULL;
        QA_TRY(qa_json_lines_next(lines, &object, err));
        if (object == NULL) {
            return QA_OK;
        }
        const qa_status status = one_object(work, object, err);
        json_decref(object);
        if (status != QA_OK) {
            qa_error_prefix(err, "%s:%zu: ", qa_json_lines_name(lines), qa_json_lines_number(lines));
            return status;
        }
    }
}

static qa_status run_lines(cli_run *run, qa_error *err) {
    const char *path = tokenize_args_of(run)->in == NULL ? "-" : tokenize_args_of(run)->in;
    line_work work = {.run = run};
    qa_json_lines *lines = NULL;
    qa_warnings warnings = {0};
    QA_TRY(qa_json_lines_open(&lines, path, err));
    if (strcmp(path, "-") == 0 && isatty(STDIN_FILENO) == 1) {
        cli_say(run, "reading JSON Lines such as {\"text\": \"Once upon a time\"}; Ctrl-D ends");
    }
    const qa_status status = all_lines(&work, lines, err);
    if (status == QA_OK) {
        qa_columns_warn(&work.columns, qa_json_lines_name(lines), &warnings);
    }
    if (work.unknown_ids > 0) {
        qa_warn(&warnings, "%s: ids outside the vocabulary of %zu, which have no text: %zu", qa_json_lines_name(lines),
                qa_tokenizer_vocab_size(run->tokenizer), work.unknown_ids);
    }
    cli_warn_all(run, &warnings);
    qa_warnings_free(&warnings);
    qa_json_lines_close(lines);
    qa_ids_free(&work.ids);
    qa_text_free(&work.text);
    qa_text_free(&work.out.text);
    free(work.dialogue.messages);
    return status;
}

static qa_status print_pieces(const cli_run *run, const qa_ids *ids, qa_error *err) {
    printf("%zu token%s\n", ids->n, ids->n == 1 ? "" : "s");
    cli_print_tokens(run, ids->data, ids->n);
    return cli_flush(err);
}

static qa_status run_text(cli_run *run, qa_error *err) {
    const tokenize_args *args = tokenize_args_of(run);
    qa_status status = QA_OK;
    qa_text file = {0};
    qa_ids ids = {0};
    const char *text = args->text;
    size_t bytes = text == NULL ? 0 : strlen(text);
    if (text == NULL) {
        QA_GOTO(done, cli_read_text(run, &file, args->file, MAX_TEXT_BYTES, err));
        text = file.data == NULL ? "" : file.data;
        bytes = file.n;
    }
    const qa_encode_options options = {.add_special = !args->no_special};
    QA_GOTO(done, qa_tokenizer_encode(run->tokenizer, text, bytes, options, &ids, err));
    if (!args->print_ids) {
        QA_GOTO(done, print_pieces(run, &ids, err));
        goto done;
    }
    for (size_t i = 0; i < ids.n; i++) {
        printf("%s%d", i == 0 ? "" : " ", (int)ids.data[i]);
    }
    printf("\n");
    status = cli_flush(err);
done:
    if (status == QA_ERR_FORMAT) {
        qa_error_prefix(err, "%s: ", args->text != NULL ? "--text" : args->file);
    }
    qa_text_free(&file);
    qa_ids_free(&ids);
    return status;
}

static qa_status run_tokenize(cli_run *run, qa_error *err) {
    const tokenize_args *args = tokenize_args_of(run);
    if ((args->text != NULL) + (args->file != NULL) + (args->in != NULL) > 1) {
        return cli_bad_usage(run, err, "--text, --file and --in exclude each other");
    }
    QA_TRY(cli_load_tokenizer(run, true, err));
    return args->text != NULL || args->file != NULL ? run_text(run, err) : run_lines(run, err);
}

const cli_command cli_tokenize = {
    .name = "tokenize",
    .summary = "turn text and dialogues into token ids and back",
    .about = "Reads JSON Lines and writes one line for each. A line is taken by the first of these members that "
             "it has:\n"
             "{\"messages\": [{\"role\": \"user\", \"content\": \"...\"}...], \"add_generation_prompt\": false} "
             "gives {\"text\": ..., \"ids\": [...]}, the dialogue as the chat template writes it, encoded without "
             "further special tokens;\n"
             "{\"ids\": [...], \"skip_special_tokens\": false} gives {\"text\": ...};\n"
             "{\"text\": \"...\", \"add_special\": true} gives {\"ids\": [...], \"decoded\": ...}.\n"
             "The folder needs no config.json and no weights.",
    .examples = "echo '{\"text\": \"Once upon a time\"}' | qadapter tokenize --model MODEL\n"
                "qadapter tokenize --model MODEL --text 'Once upon a time'",
    .required = "model",
    .on_the_way = true,
    CLI_TABLES(tokenize_tables),
    .args_bytes = sizeof(tokenize_args),
    .run = run_tokenize,
};
