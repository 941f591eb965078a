/* See chat_open.h: which text it is, its variables, its record. */
#include "text/chat_open.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "io/file.h"
#include "text/chat_folder.h"
#include "text/chat_texts.h"
#include "text/chat_turn.h"
#include "text/text_begin.h"
#include "text/tokenizer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- variables ---- */

/* What the two renderings of one template that a reader may mix up would differ in. */
static bool is_reserved(const char *name) {
    static const char *const RESERVED[] = {"messages", "add_generation_prompt"};
    return strcmp(name, RESERVED[0]) == 0 || strcmp(name, RESERVED[1]) == 0;
}

static bool is_word(char c) { return c == '_' || isalnum((unsigned char)c) != 0; }

static bool is_variable_name(const char *name, size_t n) {
    bool good = n > 0 && isdigit((unsigned char)name[0]) == 0;
    for (size_t i = 0; i < n && good; i++) {
        good = is_word(name[i]);
    }
    return good;
}

/* Sets a variable from "NAME=VALUE": VALUE as JSON, or else as the text that it is. */
static qa_status set_argument(json_t *variables, const char *argument, qa_error *err) {
    static const char *const PYTHON[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    const char *equals = strchr(argument, '=');
    char name[64] = "";
    QA_FAIL_IF(equals == NULL || !is_variable_name(argument, (size_t)(equals - argument)) ||
                   (size_t)(equals - argument) >= sizeof name,
               err, QA_ERR_ARGUMENT, "expected NAME=VALUE, such as enable_thinking=false, found \"%s\"", argument);
    (void)snprintf(name, sizeof name, "%.*s", (int)(equals - argument), argument);
    const char *text = equals + 1;
    QA_FAIL_IF(is_reserved(name), err, QA_ERR_ARGUMENT, "%s is the dialogue's own: it cannot be set", name);
    for (size_t i = 0; i < 3; i++) {
        QA_FAIL_IF(strcmp(text, PYTHON[i][0]) == 0, err, QA_ERR_ARGUMENT,
                   "%s=%s would be a text, which is true: write %s=%s (the text itself is %s='\"%s\"')", name, text,
                   name, PYTHON[i][1], name, text);
    }
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    value = value == NULL ? json_string(text) : value;
    QA_FAIL_IF(value == NULL, err, QA_ERR_ARGUMENT, "the value of %s is not valid UTF-8", name);
    return json_object_set_new(variables, name, value) == 0 ? QA_OK : QA_NO_MEMORY(err, "\"%s\"", name);
}

/* YYYY-MM-DD at midnight; NULL: today. */
static qa_status read_date(struct tm *date, const char *text, qa_error *err) {
    const time_t now = time(NULL);
    struct tm read = {0};
    if (text == NULL) {
        (void)localtime_r(&now, &read);
    } else {
        int end = 0;
        const bool shape =
            sscanf(text, "%4d-%2d-%2d%n", &read.tm_year, &read.tm_mon, &read.tm_mday, &end) == 3 && text[end] == '\0';
        read.tm_year -= 1900;
        read.tm_mon -= 1;
        struct tm found = read;
        found.tm_isdst = -1;
        found.tm_hour = 12;
        QA_FAIL_IF(!shape || strlen(text) != 10 || mktime(&found) == (time_t)-1 || found.tm_mday != read.tm_mday ||
                       found.tm_mon != read.tm_mon || read.tm_year < 0,
                   err, QA_ERR_ARGUMENT, "expected a date as YYYY-MM-DD, found \"%s\"", text);
        read = found;
    }
    read.tm_hour = read.tm_min = read.tm_sec = 0; /* a run says its day, and is the same at any hour of it */
    *date = read;
    return QA_OK;
}

/* What the tokenizer puts in front of every text, as text; only `plain` writes it. */
static json_t *text_begin(const qa_tokenizer *tokenizer) {
    const qa_ids *prefix = qa_text_begin(tokenizer);
    qa_text text = {0};
    qa_error ignored;
    qa_status status = qa_text_append(&text, "", 0, &ignored);
    for (size_t i = 0; i < prefix->n && status == QA_OK; i++) {
        const char *token = qa_tokenizer_token(tokenizer, prefix->data[i]);
        status = qa_text_append_z(&text, token == NULL ? "" : token, &ignored);
    }
    json_t *value = status == QA_OK ? json_stringn(text.data, text.n) : NULL;
    qa_text_free(&text);
    return value;
}

/* Names and values are transformers': the special tokens that have one, then what is given. */
static qa_status set_variables(qa_chat *chat, const qa_text *text, json_t *args, qa_error *err) {
    static const char *const TOKENS[] = {"bos_token", "eos_token"};
    json_t *all = chat->variables = json_object();
    bool good =
        json_object_set_new(all, "tools", json_null()) == 0 && json_object_set_new(all, "documents", json_null()) == 0;
    if (chat->tokenizer != NULL) {
        good = good && json_object_update(all, chat->tokenizer->special_tokens) == 0;
        good = good && (chat->which != QA_CHAT_PLAIN ||
                        json_object_set_new(all, "text_begin", text_begin(chat->tokenizer)) == 0);
    }
    good = good && json_object_update(all, args) == 0;
    for (size_t i = 0; i < 2; i++) {
        const bool lacks = strstr(text->data, TOKENS[i]) != NULL && json_object_get(all, TOKENS[i]) == NULL;
        chat->lacks = chat->lacks == NULL && lacks ? TOKENS[i] : chat->lacks;
    }
    return good ? QA_OK : QA_NO_MEMORY(err, "the variables of a chat template");
}

/* ---- which text ---- */

static qa_status named_source(qa_chat_source *source, const qa_chat_options *options, qa_warnings *warnings,
                              qa_error *err) {
    qa_error ignored;
    const char *name = options->name;
    if (qa_chat_template_by_name(&source->which, name, &ignored) == QA_OK) {
        (void)snprintf(source->file, sizeof source->file, "%s", name);
        return qa_text_append_z(&source->text, qa_chat_builtin_text(source->which), err);
    }
    if (options->dir != NULL && strchr(name, '/') == NULL) {
        QA_TRY(qa_chat_source_in(source, options->dir, name, warnings, err));
        if (source->which != QA_CHAT_NONE && source->text.data != NULL) {
            (void)snprintf(source->file, sizeof source->file, "%s", name);
            return QA_OK;
        }
    }
    if (!qa_path_exists(name)) {
        const bool others = source->which == QA_CHAT_UNKNOWN;
        return qa_fail(err, QA_ERR_ARGUMENT,
                       "there is no chat template and no file named \"%s\"; the names are %s%s%s, or give a file that "
                       "holds a template",
                       name, qa_chat_template_names(), others ? ", in the model's folder " : "",
                       others ? source->file : "");
    }
    return qa_chat_source_read(source, name, err);
}

static qa_status folder_source(qa_chat_source *source, const char *dir, qa_warnings *warnings, qa_error *err) {
    QA_TRY(qa_chat_source_in(source, dir, NULL, warnings, err));
    QA_FAIL_IF(source->which == QA_CHAT_NONE, err, QA_ERR_UNSUPPORTED,
               "%s has no chat template: name one by --chat-template (%s, or a file)", dir, qa_chat_template_names());
    return source->text.data != NULL
               ? QA_OK
               : qa_fail(err, QA_ERR_UNSUPPORTED,
                         "%s has several chat templates and none called default: name one by --chat-template (%s)", dir,
                         source->file);
}

static qa_status choose_source(qa_chat_source *source, const qa_chat_options *options, qa_warnings *warnings,
                               qa_error *err) {
    *source = (qa_chat_source){.which = QA_CHAT_NONE};
    if (options->text != NULL) {
        (void)snprintf(source->file, sizeof source->file, "%s", "own");
        QA_TRY(qa_text_append_z(&source->text, options->text, err));
        return qa_chat_template_recognise(&source->which, options->text, source->text.n, err);
    }
    return options->name != NULL ? named_source(source, options, warnings, err)
                                 : folder_source(source, options->dir, warnings, err);
}

/* ---- the record ---- */

static const char template_member[] = "chat_template", text_member[] = "chat_template_text",
                  args_member[] = "template_args", date_member[] = "template_date", own_name[] = "own";

const char qa_chat_pinned_date[] = "2024-07-26";

const char *qa_chat_recorded_text(const json_t *record) {
    return json_string_value(json_object_get(record, text_member));
}

const char *qa_chat_recorded_date(const json_t *record) {
    const char *date = json_string_value(json_object_get(record, date_member));
    return date == NULL ? qa_chat_pinned_date : date;
}

static qa_status make_record(qa_chat *chat, const qa_text *text, json_t *args, qa_error *err) {
    const bool args_given = json_object_size(args) > 0;
    const char *builtin = qa_chat_builtin_text(chat->which);
    /* A published text may ask for what the built-in one of its name leaves out. */
    const bool named = builtin != NULL && (!args_given || strcmp(builtin, text->data) == 0);
    char date[16];
    (void)strftime(date, sizeof date, "%Y-%m-%d", &chat->options.date);
    json_t *record = chat->record = json_object();
    bool good = json_object_set_new(record, template_member,
                                    json_string(named ? qa_chat_template_name(chat->which) : own_name)) == 0;
    good = good && (named || json_object_set_new(record, text_member, json_stringn_nocheck(text->data, text->n)) == 0);
    good = good && (!args_given || json_object_set(record, args_member, args) == 0);
    good = good && (strstr(text->data, "strftime_now") == NULL ||
                    json_object_set_new(record, date_member, json_string(date)) == 0);
    return good ? QA_OK : QA_NO_MEMORY(err, "the record of a chat template");
}

/* ---- opening ---- */

/* Whether the text has the name as a word of its own. */
static bool asks_for(const char *text, const char *name) {
    const size_t n = strlen(name);
    bool found = false;
    for (const char *at = strstr(text, name); at != NULL && !found; at = strstr(at + n, name)) {
        found = (at == text || !is_word(at[-1])) && !is_word(at[n]);
    }
    return found;
}

static qa_status read_arguments(json_t **args, const qa_chat_options *options, const qa_text *text,
                                qa_warnings *warnings, qa_error *err) {
    *args = *args == NULL ? json_object() : *args;
    for (size_t i = 0; i < options->n_args; i++) {
        QA_TRY(set_argument(*args, options->args[i], err));
    }
    for (void *at = json_object_iter(*args); at != NULL; at = json_object_iter_next(*args, at)) {
        if (!asks_for(text->data, json_object_iter_key(at))) {
            qa_warn(warnings, "the chat template does not ask for %s, which changes nothing", json_object_iter_key(at));
        }
    }
    return *args == NULL ? QA_NO_MEMORY(err, "the variables of a chat template") : QA_OK;
}

/* learn: how it writes answers, too. *args: variables from a record; what the options give stands before them. */
static qa_status open_chat(qa_chat *chat, const qa_chat_options *options, json_t **args, bool learn, qa_error *err) {
    qa_chat_source source;
    qa_status status = QA_OK;
    QA_GOTO(done, choose_source(&source, options, &chat->warnings, err));
    chat->which = source.which;
    (void)snprintf(chat->name, sizeof chat->name, "%s",
                   source.which == QA_CHAT_UNKNOWN ? source.file : qa_chat_template_name(source.which));
    QA_GOTO(done, qa_text_append(&source.text, "", 0, err)); /* its data is there even if it is empty */
    QA_GOTO(done, qa_template_parse(&chat->program, source.text.data, source.text.n, source.file, err));
    QA_GOTO(done, read_date(&chat->options.date, options->date, err));
    QA_GOTO(done, read_arguments(args, options, &source.text, &chat->warnings, err));
    QA_GOTO(done, set_variables(chat, &source.text, *args, err));
    QA_GOTO(done, make_record(chat, &source.text, *args, err));
    status = learn ? qa_chat_learn(chat, err) : QA_OK;
done:
    qa_text_free(&source.text);
    return status;
}

static qa_status make_chat(qa_chat **out, const qa_chat_options *options, json_t *args, const qa_tokenizer *tokenizer,
                           bool learn, qa_error *err) {
    qa_chat *chat = NULL;
    *out = NULL;
    qa_status status = QA_NEW(chat, 1, err, "a chat template");
    if (status == QA_OK) {
        chat->tokenizer = tokenizer;
        status = open_chat(chat, options, &args, learn, err);
    }
    json_decref(args);
    if (status != QA_OK) {
        qa_chat_free(chat);
        return status;
    }
    *out = chat;
    return QA_OK;
}

qa_status qa_chat_open(qa_chat **chat, const qa_chat_options *options, const qa_tokenizer *tokenizer, qa_error *err) {
    return make_chat(chat, options, NULL, tokenizer, true, err);
}

qa_status qa_chat_reopen(qa_chat **chat, const json_t *record, const qa_chat_options *options,
                         const qa_tokenizer *tokenizer, qa_error *err) {
    qa_chat_options again = *options;
    const json_t *args = json_object_get(record, args_member);
    again.name = json_string_value(json_object_get(record, template_member));
    again.text = qa_chat_recorded_text(record);
    again.date = again.date == NULL ? qa_chat_recorded_date(record) : again.date;
    *chat = NULL;
    if (again.name == NULL && again.text == NULL) {
        return QA_OK;
    }
    if (again.text == NULL) { /* a record's name is no file's */
        qa_chat_template which = QA_CHAT_NONE;
        QA_TRY(qa_chat_template_by_name(&which, again.name, err));
    }
    json_t *copy = json_is_object(args) ? json_deep_copy(args) : NULL;
    return make_chat(chat, &again, copy, tokenizer, true, err);
}

static qa_status open_builtin(qa_chat **chat, qa_chat_template which, const qa_tokenizer *tokenizer, bool learn,
                              qa_error *err) {
    const qa_chat_options options = {.name = qa_chat_template_name(which), .date = qa_chat_pinned_date};
    *chat = NULL;
    return qa_chat_builtin_text(which) == NULL ? QA_OK : make_chat(chat, &options, NULL, tokenizer, learn, err);
}

qa_status qa_chat_open_builtin(qa_chat **chat, qa_chat_template which, const qa_tokenizer *tokenizer, qa_error *err) {
    return open_builtin(chat, which, tokenizer, true, err);
}

qa_status qa_chat_of_options(const qa_chat **chat, qa_chat **owned, const qa_chat *renderer, qa_chat_template which,
                             const qa_tokenizer *tokenizer, qa_error *err) {
    *owned = NULL;
    QA_TRY(renderer == NULL ? qa_chat_open_builtin(owned, which, tokenizer, err) : QA_OK);
    *chat = renderer == NULL ? *owned : renderer;
    return QA_OK;
}

/* ---- the same by the names of the built-in ones ---- */

static qa_status open_to_write(qa_chat **chat, qa_chat_template which, const qa_tokenizer *tokenizer, qa_error *err) {
    *chat = NULL;
    QA_FAIL_IF(tokenizer == NULL && which != QA_CHAT_PLAIN && qa_chat_builtin_text(which) != NULL, err, QA_ERR_ARGUMENT,
               "the %s chat template needs a tokenizer", qa_chat_template_name(which));
    return open_builtin(chat, which, tokenizer, false, err);
}

qa_status qa_chat_render(qa_chat_template which, const qa_tokenizer *tokenizer, const qa_message *messages,
                         size_t n_messages, bool add_generation_prompt, qa_text *text, qa_error *err) {
    qa_chat *chat = NULL;
    qa_status status = open_to_write(&chat, which, tokenizer, err);
    status = status == QA_OK ? qa_chat_write(chat, messages, n_messages, add_generation_prompt, text, err) : status;
    qa_chat_free(chat);
    return status;
}

qa_status qa_encode_dialogue(qa_chat_template which, const qa_tokenizer *tokenizer, const qa_message *messages,
                             size_t n, qa_text *text, qa_ids *ids, qa_error *err) {
    qa_chat *chat = NULL;
    qa_status status = open_to_write(&chat, which, tokenizer, err);
    status = status == QA_OK ? qa_chat_encode(chat, messages, n, text, ids, err) : status;
    qa_chat_free(chat);
    return status;
}
