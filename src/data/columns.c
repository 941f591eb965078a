/* See columns.h. Allow-lists: a key that nobody thought of is named. */
#include "data/columns.h"

#include "base/try.h"
#include "base/warnings.h"

#include <stdio.h>
#include <string.h>

/* Metadata that is often there and changes neither text nor arithmetic. */
static const char *const METADATA[] = {
    "id",       "idx",        "index",     "uid",          "uuid",     "hash",       "source",   "sources",
    "dataset",  "origin",     "split",     "subset",       "url",      "license",    "language", "lang",
    "category", "categories", "tags",      "domain",       "topic",    "margin",     "rating",   "ratings",
    "model",    "models",     "date",      "timestamp",    "created",  "created_at", "metadata", "meta",
    "turns",    "turn",       "annotator", "annotator_id", "generator"};
static const char *const METADATA_BEGINS[] = {"score_", "rating_", "num_", "n_", "__index_level_"};
static const char *const METADATA_ENDS[] = {"_id",     "-id",    "_ids_hash", "_score", "-score", "_rating",
                                            "-rating", "_model", "-model",    "_url",   "_hash"};

/* Columns that belong to the prompt wherever they hold something. */
static const char *const CONTEXT[] = {"system", "system_prompt", "system_message", "history"};
/* Columns that a chat template writes into the prompt. */
static const char *const TEMPLATE_CONTEXT[] = {
    "tools", "functions", "documents", "chat_template_kwargs", "images", "image", "videos", "video", "audios", "audio"};
/* Keys of a message that are a part of what it says. */
static const char *const MESSAGE_PARTS[] = {
    "tool_calls", "tool_call", "tool_call_id", "function_call", "tools",  "functions", "documents", "reasoning_content",
    "reasoning",  "thinking",  "images",       "image",         "videos", "video",     "audios",    "audio"};
static const char *const MESSAGE_METADATA[] = {"id", "index", "message_id", "model", "timestamp", "created_at"};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static bool is_among(const char *key, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(key, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool ends_with(const char *key, const char *end) {
    const size_t n = strlen(key), m = strlen(end);
    return n > m && strcmp(key + n - m, end) == 0;
}

bool qa_column_is_metadata(const char *key) {
    bool found = is_among(key, METADATA, COUNT(METADATA));
    for (size_t i = 0; i < COUNT(METADATA_BEGINS) && !found; i++) {
        found = strncmp(key, METADATA_BEGINS[i], strlen(METADATA_BEGINS[i])) == 0;
    }
    for (size_t i = 0; i < COUNT(METADATA_ENDS) && !found; i++) {
        found = ends_with(key, METADATA_ENDS[i]);
    }
    return found;
}

bool qa_column_is_empty(const json_t *value) {
    static const char *const EMPTY[] = {"[]", "{}", "null"};
    const char *key = NULL, *text = json_string_value(value);
    json_t *member = NULL;
    bool empty = json_is_null(value) || json_is_array(value) || json_is_object(value);
    if (text != NULL) {
        return json_string_length(value) == 0 || is_among(text, EMPTY, COUNT(EMPTY));
    }
    for (size_t i = 0; i < json_array_size(value) && empty; i++) {
        empty = qa_column_is_empty(json_array_get(value, i));
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member) { /* the macro takes no const; nothing is written */
        empty = empty && qa_column_is_empty(member);
    }
    return empty;
}

const char *qa_column_kind(const json_t *value) {
    return json_is_object(value)    ? "an object"
           : json_is_array(value)   ? "a list"
           : json_is_string(value)  ? "a string"
           : json_is_number(value)  ? "a number"
           : json_is_boolean(value) ? "true or false"
                                    : "null";
}

json_t *qa_pairs_member(const json_t *row, const char *key) {
    json_t *found = json_object_get(row, key);
    return json_is_null(found) ? NULL : found;
}

qa_status qa_pairs_flag(const json_t *row, const char *key, bool *flag, qa_error *err) {
    const json_t *found = qa_pairs_member(row, key);
    *flag = found == NULL ? *flag : json_is_true(found);
    return found == NULL || json_is_boolean(found) ? QA_OK
                                                   : qa_fail(err, QA_ERR_FORMAT, "\"%s\" must be true or false", key);
}

qa_status qa_columns_unlike(const json_t *prompt, const char *sides, qa_error *err) {
    return qa_fail(err, QA_ERR_FORMAT,
                   "\"prompt\" is %s but \"chosen\" and \"rejected\" are %s; make them alike, or leave \"prompt\" "
                   "out where \"chosen\" and \"rejected\" are whole dialogues",
                   qa_column_kind(prompt), sides);
}

void qa_columns_list(const json_t *row, bool only_text, char list[QA_KEYS_BYTES]) {
    const char *key = NULL;
    json_t *value = NULL;
    size_t used = 0;
    list[0] = '\0';
    json_object_foreach((json_t *)(uintptr_t)row, key, value) { /* as above */
        if (qa_column_is_empty(value) || (only_text && (!json_is_string(value) || qa_column_is_metadata(key) ||
                                                        strcmp(key, "chosen") == 0 || strcmp(key, "rejected") == 0))) {
            continue;
        }
        const int written = snprintf(list + used, QA_KEYS_BYTES - used, "%s%s", used > 0 ? ", " : "", key);
        if (written < 0 || (size_t)written >= QA_KEYS_BYTES - used) {
            list[used] = '\0';
            return;
        }
        used += (size_t)written;
    }
}

const char *qa_columns_found(const json_t *row, char found[QA_FOUND_BYTES]) {
    char list[QA_KEYS_BYTES];
    qa_columns_list(row, false, list);
    (void)snprintf(found, QA_FOUND_BYTES, "%s%s", list[0] == '\0' ? "" : "; found ", list);
    return found;
}

bool qa_column_holds_messages(const json_t *value) {
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    text += strspn(text, " \t\r\n");
    const bool list = *text == '[';
    text += list ? 1 : 0;
    text += strspn(text, " \t\r\n");
    return list && *text == '{' &&
           ((strstr(text, "\"role\"") != NULL && strstr(text, "\"content\"") != NULL) ||
            (strstr(text, "'role'") != NULL && strstr(text, "'content'") != NULL));
}

const char *qa_columns_messages(const json_t *row) {
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)row, key, value) { /* as above */
        const json_t *first = json_array_get(value, 0);
        if (strcmp(key, "chosen") != 0 && strcmp(key, "rejected") != 0 && json_object_get(first, "role") != NULL) {
            return key;
        }
    }
    return NULL;
}

/* ---- ratings ---- */

/* The value of the rejected response where `key` names the chosen one's rating; NULL: it does not. */
static const json_t *rating_of_rejected(const json_t *row, const char *key) {
    static const char CHOSEN[] = "chosen", REJECTED[] = "rejected";
    char other[QA_COLUMN_BYTES];
    const char *at = strstr(key, CHOSEN);
    const bool rating = strstr(key, "score") != NULL || strstr(key, "rating") != NULL || strstr(key, "reward") != NULL;
    if (at == NULL || !rating || strlen(key) + sizeof REJECTED - sizeof CHOSEN >= sizeof other) {
        return NULL;
    }
    (void)snprintf(other, sizeof other, "%.*s%s%s", (int)(at - key), key, REJECTED, at + strlen(CHOSEN));
    return json_object_get(row, other);
}

qa_rating qa_columns_rating(const json_t *row) {
    const char *key = NULL;
    json_t *value = NULL;
    qa_rating found = QA_RATING_AGREES;
    json_object_foreach((json_t *)(uintptr_t)row, key, value) { /* as above */
        const json_t *other = rating_of_rejected(row, key);
        const bool margin = strcmp(key, "margin") == 0;
        if (json_is_number(value) && (margin || json_is_number(other))) {
            const double a = json_number_value(value), b = margin ? 0.0 : json_number_value(other);
            if (a < b) {
                return QA_RATING_CONTRADICTS;
            }
            found = a > b ? found : QA_RATING_EQUAL;
        }
    }
    return found;
}

/* ---- keys that are not used ---- */

/* Copies a key that may be too long for to[room], ending between characters. */
static void copy_name(char *to, size_t room, const char *key) {
    size_t n = strlen(key);
    if (n >= room) {
        n = room - 1;
        while (n > 0 && ((unsigned char)key[n] & 0xc0) == 0x80) {
            n--;
        }
    }
    memcpy(to, key, n);
    to[n] = '\0';
}

static void note_column(qa_columns *columns, const char *key) {
    char name[QA_COLUMN_BYTES];
    copy_name(name, sizeof name, key);
    for (size_t i = 0; i < columns->n; i++) {
        if (strcmp(columns->names[i], name) == 0) {
            return;
        }
    }
    if (columns->n == QA_MAX_COLUMNS) {
        columns->more = true;
        return;
    }
    memcpy(columns->names[columns->n++], name, sizeof name);
}

void qa_columns_note_unused(qa_columns *columns, const char *key, const json_t *value) {
    if (!qa_column_is_empty(value) && !qa_column_is_metadata(key)) {
        note_column(columns, key);
    }
}

static bool repeats_column(const json_t *row, const char *const *read, const json_t *value) {
    for (; *read != NULL; read++) {
        const json_t *known = json_object_get(row, *read);
        if (known != NULL && json_equal(known, value) == 1) {
            return true;
        }
    }
    return false;
}

qa_status qa_columns_check_row(qa_columns *columns, const json_t *row, const char *const *read, qa_pairs_kind kind,
                               qa_error *err) {
    size_t n_read = 0;
    while (read[n_read] != NULL) {
        n_read++;
    }
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)row, key, value) { /* as above */
        if (is_among(key, read, n_read) || qa_column_is_empty(value)) {
            continue;
        }
        const bool context = is_among(key, CONTEXT, COUNT(CONTEXT));
        const bool written = is_among(key, TEMPLATE_CONTEXT, COUNT(TEMPLATE_CONTEXT));
        QA_FAIL_IF(kind != QA_PAIRS_IDS && (context || (written && kind == QA_PAIRS_DIALOGUES)), err,
                   QA_ERR_UNSUPPORTED, "\"%s\" belongs to the prompt and %s, or leave it out", key,
                   context ? "is not read: put it into the prompt itself (in front of the messages, with its "
                             "roles), name its column (--columns system=... or history=...)"
                           : "cannot be written: render such prompts elsewhere and give them as text");
        if (!qa_column_is_metadata(key) && !repeats_column(row, read, value)) {
            note_column(columns, key);
        }
    }
    return QA_OK;
}

qa_status qa_columns_check_message(qa_columns *columns, const json_t *message, const char *name, size_t index,
                                   qa_error *err) {
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)message, key, value) { /* as above */
        if (strcmp(key, "role") == 0 || strcmp(key, "content") == 0 || qa_column_is_empty(value)) {
            continue;
        }
        QA_FAIL_IF(is_among(key, MESSAGE_PARTS, COUNT(MESSAGE_PARTS)), err, QA_ERR_UNSUPPORTED,
                   "message %zu of \"%s\" has \"%s\", which cannot be written: render such dialogues elsewhere "
                   "and give them as text, or leave it out",
                   index + 1, name, key);
        if (!is_among(key, MESSAGE_METADATA, COUNT(MESSAGE_METADATA))) {
            static const char OF_MESSAGES[] = " (of messages)";
            char noted[QA_COLUMN_BYTES];
            copy_name(noted, sizeof noted - sizeof OF_MESSAGES + 1, key);
            memcpy(noted + strlen(noted), OF_MESSAGES, sizeof OF_MESSAGES);
            note_column(columns, noted);
        }
    }
    return QA_OK;
}

void qa_columns_warn(const qa_columns *columns, const char *file, qa_warnings *warnings) {
    char list[QA_MAX_COLUMNS * (QA_COLUMN_BYTES + 2)] = "";
    size_t used = 0;
    for (size_t i = 0; i < columns->n; i++) {
        const int written = snprintf(list + used, sizeof list - used, "%s%s", i == 0 ? "" : ", ", columns->names[i]);
        used += written > 0 ? (size_t)written : 0;
    }
    if (columns->n > 0) {
        qa_warn(warnings, "%.200s: columns that hold something and are not used: %.600s%s", file, list,
                columns->more ? " and more" : "");
    }
}
