/* See config_file.h. A value becomes the text that one would give on the command line and goes through the same row, so
 * that ranges, choices and what is said of them are the same. */
#include "cli/config_file.h"

#include "base/memory.h"
#include "base/plain_line.h"
#include "base/try.h"
#include "io/json.h"
#include "methods/method.h"
#include "rl/objective.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_BYTES = 80 };

/* The file at work. */
typedef struct config_reader {
    cli_options *options;
    cli_args *args;
    const char *path;
    json_t *root;
    bool record;                           /* of a run */
    const char *said_by[CLI_MOST_OPTIONS]; /* the key that says the option; NULL: none yet */
} config_reader;

/* ---- a value as text ---- */

/* An option of names that are one word, separated by commas. */
static bool is_joined(const qa_option *row) {
    return (row->type == QA_OPTION_OTHER && row->other->list) ||
           (row->placeholder != NULL && strstr(row->placeholder, ",...") != NULL);
}

/* What the row wants of JSON. */
static const char *wanted_type(const qa_option *row) {
    switch (row->type) {
    case QA_OPTION_FLAG: return "true or false";
    case QA_OPTION_SIZE:
    case QA_OPTION_SEED: return "a whole number";
    case QA_OPTION_SIZE_OR_ALL: return "a whole number or \"all\"";
    case QA_OPTION_NUMBER: return "a number";
    case QA_OPTION_LIST: return "a string or an array of strings";
    default:
        return is_joined(row)                 ? "a string or an array of strings"
               : row->type == QA_OPTION_OTHER ? "a string or a number"
                                              : "a string";
    }
}

static bool is_scalar_for(const qa_option *row, const json_t *value) {
    const bool number = json_is_integer(value) || (json_is_real(value) && row->type != QA_OPTION_SIZE &&
                                                   row->type != QA_OPTION_SIZE_OR_ALL && row->type != QA_OPTION_SEED);
    switch (row->type) {
    case QA_OPTION_FLAG: return json_is_boolean(value);
    case QA_OPTION_SIZE:
    case QA_OPTION_NUMBER: return number;
    case QA_OPTION_SIZE_OR_ALL:
    case QA_OPTION_SEED: return number || json_is_string(value);
    case QA_OPTION_OTHER: return json_is_string(value) || (number && !is_joined(row));
    default: return json_is_string(value);
    }
}

static qa_status wrong_type(const config_reader *reader, const qa_option *row, const char *key, const json_t *value,
                            qa_error *err) {
    char *found = json_dumps(value, JSON_ENCODE_ANY);
    const qa_status status = qa_fail(err, QA_ERR_ARGUMENT, "%s: \"%s\": expected %s, found %.*s", reader->path, key,
                                     wanted_type(row), (int)SHOWN_BYTES, found == NULL ? "something else" : found);
    free(found);
    return status;
}

/* Appends a string, number or truth as the command line has it. */
static qa_status append_scalar(qa_text *text, const config_reader *reader, const qa_option *row, const char *key,
                               const json_t *value, qa_error *err) {
    char digits[64];
    const char *word = json_string_value(value);
    QA_FAIL_IF(word != NULL && strlen(word) != json_string_length(value), err, QA_ERR_ARGUMENT,
               "%s: \"%s\": expected %s, found a NUL character", reader->path, key, wanted_type(row));
    if (json_is_boolean(value)) {
        word = json_is_true(value) ? "true" : "false";
    } else if (json_is_integer(value)) {
        const bool all = reader->record && row->type == QA_OPTION_SIZE_OR_ALL && json_integer_value(value) == 0;
        (void)snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(value));
        word = all ? "all" : digits;
    } else if (json_is_real(value)) {
        (void)snprintf(digits, sizeof digits, "%.17g", json_real_value(value));
        word = digits;
    } else if (reader->record && row->type == QA_OPTION_SEED && word != NULL && strncmp(word, "0x", 2) == 0) {
        (void)snprintf(digits, sizeof digits, "%llu", strtoull(word, NULL, 16));
        word = digits;
    }
    return qa_text_append_z(text, word, err);
}

/* ---- setting ---- */

/* Sets the option, which keeps the text. */
static qa_status set_text(config_reader *reader, cli_option *option, const char *key, const char *text, qa_error *err) {
    qa_option_list *texts = &reader->options->config_texts;
    char *copy = strdup(text);
    if (copy == NULL || QA_GROW(texts->items, texts->capacity, texts->n + 1, err, "the options") != QA_OK) {
        free(copy);
        return QA_NO_MEMORY(err, "the options");
    }
    texts->items[texts->n++] = copy;
    const qa_status status = qa_option_set(&option->row, (char *)reader->args + option->base, copy, err);
    option->given = copy;
    return qa_prefixed(status, err, "%s: \"%s\": ", reader->path, key);
}

static qa_status set_scalar(config_reader *reader, cli_option *option, const char *key, const json_t *value,
                            qa_error *err) {
    qa_text text = {0};
    qa_status status = append_scalar(&text, reader, &option->row, key, value, err);
    if (status == QA_OK) {
        status = set_text(reader, option, key, text.data, err);
    }
    qa_text_free(&text);
    return status;
}

/* {"NAME": VALUE} as ["NAME=VALUE"], of an option that takes such; between commas a value is a name. */
static qa_status members_as_array(json_t **array, const config_reader *reader, const qa_option *row, const char *key,
                                  json_t *object, qa_error *err) {
    const char *name = NULL;
    json_t *value = NULL;
    *array = json_array();
    qa_status status = *array == NULL ? QA_NO_MEMORY(err, "the options") : QA_OK;
    json_object_foreach(object, name, value) {
        const char *word = json_string_value(value);
        const bool whole = word != NULL && strlen(word) == json_string_length(value) &&
                           !(is_joined(row) && (strchr(word, ',') != NULL || strchr(name, ',') != NULL));
        char *written = word == NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
        if (status == QA_OK && !whole && (word != NULL || is_joined(row))) {
            status = wrong_type(reader, row, key, value, err);
        } else if (status == QA_OK &&
                   ((word == NULL && written == NULL) ||
                    json_array_append_new(*array, json_sprintf("%s=%s", name, word == NULL ? written : word)) != 0)) {
            status = QA_NO_MEMORY(err, "the options");
        }
        free(written);
    }
    return status;
}

/* The names of one option in one word, separated by commas. */
static qa_status set_joined(config_reader *reader, cli_option *option, const char *key, const json_t *array,
                            qa_error *err) {
    qa_text text = {0};
    qa_status status = QA_OK;
    for (size_t i = 0; status == QA_OK && i < json_array_size(array); i++) {
        status = i == 0 ? QA_OK : qa_text_append_z(&text, ",", err);
        status =
            status != QA_OK ? status : append_scalar(&text, reader, &option->row, key, json_array_get(array, i), err);
    }
    if (status == QA_OK) {
        status = set_text(reader, option, key, text.n == 0 ? "" : text.data, err);
    }
    qa_text_free(&text);
    return status;
}

static qa_status set_array(config_reader *reader, cli_option *option, const char *key, json_t *array, qa_error *err) {
    const bool joined = is_joined(&option->row);
    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *item = json_array_get(array, i);
        if (!json_is_string(item)) {
            return wrong_type(reader, &option->row, key, item, err);
        }
        QA_TRY(joined ? QA_OK : set_scalar(reader, option, key, item, err));
    }
    return joined ? set_joined(reader, option, key, array, err) : QA_OK;
}

static qa_status set_option(config_reader *reader, cli_option *option, const char *key, json_t *value, qa_error *err) {
    const qa_option *row = &option->row;
    const bool list = row->type == QA_OPTION_LIST || is_joined(row);
    if (json_is_object(value) && list && row->placeholder != NULL && strchr(row->placeholder, '=') != NULL) {
        json_t *array = NULL;
        qa_status status = members_as_array(&array, reader, row, key, value, err);
        status = status == QA_OK ? set_array(reader, option, key, array, err) : status;
        json_decref(array);
        return status;
    }
    if (json_is_array(value) && list) {
        return set_array(reader, option, key, value, err);
    }
    return is_scalar_for(row, value) ? set_scalar(reader, option, key, value, err)
                                     : wrong_type(reader, row, key, value, err);
}

/* ---- keys ---- */

/* By any of its names, or by the key that a run's record has for it. */
static cli_option *option_of_key(config_reader *reader, const char *key) {
    const bool start = reader->record && strcmp(key, "start_adapter") == 0; /* --adapter of train */
    const char *name = start ? "adapter" : key;
    cli_option *option = cli_find_option(reader->options, name, strlen(name));
    char own[QA_OPTION_KEY_BYTES];
    for (size_t i = 0; option == NULL && i < reader->options->n; i++) {
        cli_option *other = &reader->options->items[i];
        option = other->row.key != NULL && strcmp(qa_option_key(&other->row, own), key) == 0 ? other : NULL;
    }
    return option;
}

/* Of a run's record: what its method says by itself (the objective of sft, replay and dpo), what is no name that can be
 * given, what belongs to the machine that it ran on. */
static bool is_not_to_take(const config_reader *reader, const cli_option *option, const json_t *value) {
    const char *method = json_string_value(json_object_get(reader->root, "method"));
    qa_method which = QA_METHOD_QADAPTER;
    if (!reader->record) {
        return false;
    }
    if (option == NULL || strcmp(option->row.name, "threads") == 0) {
        return true;
    }
    if (strcmp(option->row.name, "chat-template") == 0) {
        return json_is_string(value) && strcmp(json_string_value(value), "own") == 0;
    }
    return option->table == &qa_objective_table && method != NULL && qa_method_by_name(&which, method, NULL) == QA_OK &&
           which != QA_METHOD_QADAPTER &&
           qa_options_named(qa_method_at((size_t)which)->options, option->row.name) == NULL;
}

static qa_status append_option_name(qa_text *names, const char *name, qa_error *err) {
    char plain[SHOWN_BYTES]; /* the file's own word */
    (void)qa_plain_line(plain, sizeof plain, name);
    QA_TRY(names->n == 0 ? QA_OK : qa_text_append_z(names, ", ", err));
    return qa_text_append_z(names, plain, err);
}

static qa_status read_key(config_reader *reader, const char *key, json_t *value, qa_error *err) {
    cli_options *options = reader->options;
    cli_option *option = option_of_key(reader, key);
    char shown[SHOWN_BYTES];
    if (is_not_to_take(reader, option, value)) {
        return append_option_name(&options->not_taken, key, err);
    }
    (void)snprintf(shown, sizeof shown, "\"%.*s\"", (int)(sizeof shown - 3), key);
    if (option == NULL || option->table == &cli_config_table || strcmp(option->row.name, "help") == 0) {
        return qa_prefixed(option == NULL ? cli_unknown_option(options, key, strlen(key), shown, err)
                                          : qa_fail(err, QA_ERR_ARGUMENT, "%s is for the command line", shown),
                           err, "%s: ", reader->path);
    }
    if (json_is_null(value)) {
        return QA_OK;
    }
    const size_t index = (size_t)(option - options->items);
    QA_FAIL_IF(reader->said_by[index] != NULL, err, QA_ERR_ARGUMENT, "%s: \"%s\" and \"%s\" are the same option, --%s",
               reader->path, reader->said_by[index], key, option->row.name);
    const bool given = option->given != NULL;
    reader->said_by[index] = key;
    QA_TRY(given ? QA_OK : set_option(reader, option, key, value, err));
    QA_TRY(append_option_name(&options->taken, option->row.name, err));
    return given ? qa_text_append_z(&options->taken, " (the command line's counts)", err) : QA_OK;
}

qa_status cli_read_config(cli_options *options, cli_args *args, qa_error *err) {
    config_reader reader = {.options = options, .args = args, .path = args->config};
    const char *key = NULL;
    json_t *value = NULL;
    qa_status status = QA_OK;
    if (args->config == NULL) {
        return QA_OK;
    }
    QA_TRY(qa_json_load(&reader.root, args->config, err));
    reader.record = cli_option_named(options, "resume") != NULL && /* of the commands that write such */
                    json_is_string(json_object_get(reader.root, "qadapter_version"));
    if (!json_is_object(reader.root)) {
        status = qa_fail(err, QA_ERR_ARGUMENT,
                         "%s: expected a JSON object of options, {\"learning-rate\": 0.0003, ...}", args->config);
    }
    json_object_foreach(reader.root, key, value) {
        status = status == QA_OK ? read_key(&reader, key, value, err) : status;
    }
    json_decref(reader.root);
    return status;
}
