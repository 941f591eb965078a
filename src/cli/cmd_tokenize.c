/* qadapter tokenize: JSON Lines in, JSON Lines out, one line at a time; or one text for a person. */
#include "cli/common.h"
#include "cli/format.h"

#include "base/buffer.h"
#include "base/try.h"
#include "io/file.h"
#include "io/input.h"
#include "io/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_TEXT_BYTES = 1 << 30 };

/* What one line needs; buffers are reused from line to line. */
typedef struct line_work {
    cli_run *run;
    const char *name; /* of the input, in messages */
    size_t line;
    qa_ids ids;
    qa_text text, out;
    qa_message *messages; /* [capacity] */
    size_t capacity;
    qa_chat_template chat;
    bool chat_known;
} line_work;

static qa_status append_ids(qa_text *out, const qa_ids *ids, const char *separator, qa_error *err) {
    char number[16];
    for (size_t i = 0; i < ids->n; i++) {
        const int n = snprintf(number, sizeof number, "%s%d", i == 0 ? "" : separator, (int)ids->data[i]);
        QA_TRY(qa_text_append(out, number, (size_t)n, err));
    }
    return QA_OK;
}

/* {"text": ..., "add_special": true} -> {"ids": [...], "decoded": ...} */
static qa_status encode_line(line_work *work, const json_t *object, const char *where, qa_error *err) {
    const json_t *text = json_object_get(object, "text");
    bool add_special = true;
    if (!json_is_string(text)) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: \"text\" must be a string", where);
    }
    QA_TRY(qa_json_get_bool(object, "add_special", false, where, &add_special, err));
    const qa_encode_options options = {.add_special = add_special};
    QA_TRY(qa_tokenizer_encode(work->run->tokenizer, json_string_value(text), json_string_length(text), options,
                               &work->ids, err));
    QA_TRY(qa_tokenizer_decode(work->run->tokenizer, work->ids.data, work->ids.n, false, &work->text, err));
    QA_TRY(qa_text_append_z(&work->out, "{\"ids\": [", err));
    QA_TRY(append_ids(&work->out, &work->ids, ", ", err));
    QA_TRY(qa_text_append_z(&work->out, "], \"decoded\": ", err));
    QA_TRY(qa_json_append_string(&work->out, work->text.data, work->text.n, err));
    return qa_text_append_z(&work->out, "}\n", err);
}

/* {"ids": [...], "skip_special_tokens": false} -> {"text": ...} */
static qa_status decode_line(line_work *work, const json_t *object, const char *where, qa_error *err) {
    const json_t *ids = json_object_get(object, "ids");
    bool skip_special = false;
    if (!json_is_array(ids)) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: \"ids\" must be an array of whole numbers", where);
    }
    QA_TRY(qa_json_get_bool(object, "skip_special_tokens", false, where, &skip_special, err));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id)) {
            return qa_fail(err, QA_ERR_FORMAT, "%s: \"ids\": element %zu is not a whole number", where, i);
        }
        const json_int_t value = json_integer_value(id);
        /* an id that fits no int32 has no token, as any other id outside the vocabulary */
        QA_TRY(qa_ids_push(&work->ids, value < 0 || value > INT32_MAX ? -1 : (int32_t)value, err));
    }
    QA_TRY(qa_tokenizer_decode(work->run->tokenizer, work->ids.data, work->ids.n, skip_special, &work->text, err));
    QA_TRY(qa_text_append_z(&work->out, "{\"text\": ", err));
    QA_TRY(qa_json_append_string(&work->out, work->text.data, work->text.n, err));
    return qa_text_append_z(&work->out, "}\n", err);
}

/* The dialogue of a line into work->messages[*n]; strings are borrowed from the JSON. */
static qa_status read_messages(line_work *work, const json_t *array, size_t *n, const char *where, qa_error *err) {
    if (!json_is_array(array)) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: \"messages\" must be an array", where);
    }
    *n = json_array_size(array);
    if (*n > work->capacity) {
        qa_message *messages = realloc(work->messages, *n * sizeof *messages);
        if (messages == NULL) {
            return qa_fail(err, QA_ERR_MEMORY, "%s: out of memory for %zu messages", where, *n);
        }
        work->messages = messages;
        work->capacity = *n;
    }
    for (size_t i = 0; i < *n; i++) {
        const json_t *message = json_array_get(array, i);
        const json_t *role = json_object_get(message, "role");
        const json_t *content = json_object_get(message, "content");
        if (!json_is_string(role) || !json_is_string(content)) {
            return qa_fail(err, QA_ERR_FORMAT, "%s: message %zu must have \"role\" and \"content\", both strings",
                           where, i);
        }
        if (strlen(json_string_value(role)) != json_string_length(role)) {
            return qa_fail(err, QA_ERR_FORMAT, "%s: message %zu: a role cannot hold a NUL character", where, i);
        }
        work->messages[i] =
            (qa_message){json_string_value(role), json_string_value(content), json_string_length(content)};
    }
    return QA_OK;
}

/* {"messages": [...], "add_generation_prompt": false} -> {"text": ..., "ids": [...]} */
static qa_status render_line(line_work *work, const json_t *object, const char *where, qa_error *err) {
    bool add_generation_prompt = false;
    size_t n = 0;
    QA_TRY(qa_json_get_bool(object, "add_generation_prompt", false, where, &add_generation_prompt, err));
    QA_TRY(read_messages(work, json_object_get(object, "messages"), &n, where, err));
    if (!work->chat_known) {
        bool assumed = false;
        QA_TRY(cli_resolve_template(work->run, &work->chat, &assumed, err));
        work->chat_known = true;
        if (assumed) {
            cli_say(work->run, "%s has no chat template: using plain (--chat-template names another)",
                    work->run->args->model);
        }
    }
    QA_TRY(
        qa_chat_render(work->chat, work->run->tokenizer, work->messages, n, add_generation_prompt, &work->text, err));
    QA_TRY(qa_tokenizer_encode(work->run->tokenizer, work->text.data == NULL ? "" : work->text.data, work->text.n,
                               (qa_encode_options){0}, &work->ids, err));
    QA_TRY(qa_text_append_z(&work->out, "{\"text\": ", err));
    QA_TRY(qa_json_append_string(&work->out, work->text.data, work->text.n, err));
    QA_TRY(qa_text_append_z(&work->out, ", \"ids\": [", err));
    QA_TRY(append_ids(&work->out, &work->ids, ", ", err));
    return qa_text_append_z(&work->out, "]}\n", err);
}

static qa_status one_object(line_work *work, const json_t *object, qa_error *err) {
    char where[CLI_LINE_BYTES];
    (void)snprintf(where, sizeof where, "%s:%zu", work->name, work->line);
    if (!json_is_object(object)) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: expected a JSON object on every line", where);
    }
    work->ids.n = work->text.n = work->out.n = 0;
    if (json_object_get(object, "messages") != NULL) {
        return render_line(work, object, where, err);
    }
    if (json_object_get(object, "ids") != NULL) {
        return decode_line(work, object, where, err);
    }
    if (json_object_get(object, "text") != NULL) {
        return encode_line(work, object, where, err);
    }
    return qa_fail(err, QA_ERR_FORMAT, "%s: expected one of \"text\", \"messages\" and \"ids\"", where);
}

static qa_status one_line(line_work *work, const char *data, size_t bytes, qa_error *err) {
    json_t *object = NULL;
    bytes -= bytes > 0 && data[bytes - 1] == '\n' ? 1 : 0;
    if (data[strspn(data, " \t\r\n")] == '\0' && strlen(data) >= bytes) {
        return QA_OK; /* an empty line */
    }
    QA_TRY(qa_json_parse(&object, data, bytes, work->name, work->line, err));
    qa_status status = one_object(work, object, err);
    json_decref(object);
    if (status != QA_OK) {
        char where[CLI_LINE_BYTES];
        (void)snprintf(where, sizeof where, "%s:%zu: ", work->name, work->line);
        if (strncmp(err->message, where, strlen(where)) != 0) {
            qa_error_prefix(err, "%s", where);
        }
        return status;
    }
    QA_TRY(cli_put(work->out.data, work->out.n, err));
    return isatty(STDIN_FILENO) == 1 || isatty(STDOUT_FILENO) == 1 ? cli_flush(err) : QA_OK;
}

static qa_status all_lines(line_work *work, FILE *in, qa_error *err) {
    char *line = NULL;
    size_t capacity = 0;
    qa_status status = QA_OK;
    errno = 0;
    for (ssize_t n = getline(&line, &capacity, in); n >= 0; n = getline(&line, &capacity, in)) {
        work->line++;
        status = one_line(work, line, (size_t)n, err);
        if (status != QA_OK) {
            break;
        }
        errno = 0;
    }
    if (status == QA_OK && (ferror(in) || errno == ENOMEM)) {
        status = qa_fail(err, QA_ERR_IO, "%s: cannot read: %s", work->name, strerror(errno));
    }
    free(line);
    return status;
}

static qa_status run_lines(cli_run *run, qa_error *err) {
    const bool standard = run->args->in == NULL || strcmp(run->args->in, "-") == 0;
    line_work work = {.run = run, .name = standard ? "standard input" : run->args->in};
    FILE *in = stdin;
    if (!standard) {
        QA_TRY(qa_open_stream(&in, run->args->in, err));
    }
    if (standard && isatty(STDIN_FILENO) == 1) {
        cli_say(run, "reading JSON Lines such as {\"text\": \"Once upon a time\"}; Ctrl-D ends");
    }
    qa_status status = all_lines(&work, in, err);
    if (!standard) {
        (void)fclose(in);
    }
    qa_ids_free(&work.ids);
    qa_text_free(&work.text);
    qa_text_free(&work.out);
    free(work.messages);
    return status;
}

/* A token a line: its id and its piece as it stands in the vocabulary. */
static qa_status print_pieces(const cli_run *run, const qa_ids *ids, qa_error *err) {
    printf("%zu token%s\n", ids->n, ids->n == 1 ? "" : "s");
    for (size_t i = 0; i < ids->n; i++) {
        const char *piece = qa_tokenizer_token(run->tokenizer, ids->data[i]);
        printf("%8d  ", (int)ids->data[i]);
        cli_put_plain(stdout, piece == NULL ? "" : piece);
        fputc('\n', stdout);
    }
    return cli_flush(err);
}

static qa_status run_text(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    qa_status status = QA_OK;
    qa_text file = {0};
    qa_text out = {0};
    qa_ids ids = {0};
    const char *text = args->text;
    size_t bytes = text == NULL ? 0 : strlen(text);
    if (text == NULL) {
        QA_GOTO(done, qa_read_file(&file, args->file, MAX_TEXT_BYTES, err));
        text = file.data == NULL ? "" : file.data;
        bytes = file.n;
    }
    const qa_encode_options options = {.add_special = !args->no_special};
    QA_GOTO(done, qa_tokenizer_encode(run->tokenizer, text, bytes, options, &ids, err));
    if (!args->print_ids) {
        QA_GOTO(done, print_pieces(run, &ids, err));
        goto done;
    }
    QA_GOTO(done, append_ids(&out, &ids, " ", err));
    QA_GOTO(done, qa_text_append_z(&out, "\n", err));
    QA_GOTO(done, cli_put(out.data, out.n, err));
done:
    if (status == QA_ERR_FORMAT) {
        qa_error_prefix(err, "%s: ", args->text != NULL ? "--text" : args->file);
    }
    qa_text_free(&file);
    qa_text_free(&out);
    qa_ids_free(&ids);
    return status;
}

qa_status cli_cmd_tokenize(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    if ((args->text != NULL) + (args->file != NULL) + (args->in != NULL) > 1) {
        return cli_bad_usage(run, err, "--text, --file and --in exclude each other");
    }
    QA_TRY(cli_load_tokenizer(run, true, err));
    return args->text != NULL || args->file != NULL ? run_text(run, err) : run_lines(run, err);
}
