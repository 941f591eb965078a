/* See column_map.h. */
#include "data/column_map.h"

#include "base/memory.h"
#include "base/try.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- our names ---- */

enum {
    PAIRS = QA_COLUMNS_OF_PAIRS,
    RESPONSES = QA_COLUMNS_OF_RESPONSES,
    PROMPTS = QA_COLUMNS_OF_PROMPTS,
    DOCUMENTS = QA_COLUMNS_OF_DOCUMENTS,
    ANY = QA_COLUMNS_OF_ANY
};

static const struct our_name {
    const char *name;
    int uses;           /* bits of qa_column_use */
    bool turn;          /* said by somebody: the row becomes messages */
    bool optional;      /* rows may lack it */
    const char *others; /* what other programs call it, the likeliest first, between spaces; NULL: nothing else */
} NAMES[] = {
    {"prompt", PAIRS | RESPONSES | PROMPTS, false, false, NULL},
    {"instruction", ANY, true, false, " question query user_prompt user human problem user_input input "},
    {"input", ANY, true, true, " context "},
    {"system", ANY, true, true, " system_prompt system_message "},
    {"history", ANY, true, true, NULL},
    {"chosen", PAIRS, false, false,
     " chosen_response response_chosen preferred preferred_response accepted good better winner positive chosen_answer "
     "answer_chosen win "},
    {"rejected", PAIRS, false, false,
     " rejected_response response_rejected dispreferred dispreferred_response bad worse loser negative rejected_answer "
     "answer_rejected lose "},
    {"messages", RESPONSES | PROMPTS | DOCUMENTS, false, false, " conversation dialogue dialog "},
    {"completion", RESPONSES, false, false, NULL},
    {"output", RESPONSES | DOCUMENTS, true, false, " response answer reply target solution "},
    {"responses", PAIRS | RESPONSES, false, false, " answers generations "},
    {"query", PAIRS, false, false, NULL},
    {"text", PAIRS | DOCUMENTS, false, false, " content document body article story raw_content page_content code "},
    {"score", PAIRS, false, false, NULL},
    {"prompt_ids", PAIRS | RESPONSES, false, false, NULL},
    {"chosen_ids", PAIRS, false, false, NULL},
    {"rejected_ids", PAIRS, false, false, NULL},
    {"response_ids", RESPONSES, false, false, NULL},
    {"ids", DOCUMENTS, false, false, " input_ids "},
    {"chosen_terminal", PAIRS, false, true, NULL},
    {"rejected_terminal", PAIRS, false, true, NULL},
    {"terminal", RESPONSES, false, true, NULL},
    {"label", RESPONSES, false, true, " kto_tag "},
};
enum { N_NAMES = sizeof NAMES / sizeof *NAMES };

/* Two names for one thing, of which a row has one. */
static const char *const ALIKE[][2] = {
    {"prompt", "instruction"}, {"prompt", "messages"}, {"instruction", "messages"}, {"completion", "output"}};

static const char *const USES[] = {[QA_COLUMNS_OF_PAIRS] = "preference pairs",
                                   [QA_COLUMNS_OF_RESPONSES] = "single responses",
                                   [QA_COLUMNS_OF_PAIRS | QA_COLUMNS_OF_RESPONSES] = "pairs and single responses",
                                   [QA_COLUMNS_OF_ANY] = "data",
                                   [QA_COLUMNS_OF_PROMPTS] = "prompts",
                                   [QA_COLUMNS_OF_DOCUMENTS] = "documents"};

static const char *list_our_names(qa_column_use use, char text[QA_COLUMN_MAP_BYTES]) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < N_NAMES; i++) {
        if ((NAMES[i].uses & (int)use) != 0) {
            used +=
                (size_t)snprintf(text + used, QA_COLUMN_MAP_BYTES - used, "%s%s", used == 0 ? "" : ", ", NAMES[i].name);
        }
    }
    return text;
}

static bool is_mapped(const qa_column_map *map, const char *name) {
    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(NAMES[map->items[i].name].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- from text ---- */

void qa_column_map_free(qa_column_map *map) {
    for (size_t i = 0; i < map->n; i++) {
        free(map->items[i].column);
    }
    *map = (qa_column_map){.n = 0};
}

static qa_status find_name(const char *name, size_t bytes, qa_column_use use, size_t *found, qa_error *err) {
    char names[QA_COLUMN_MAP_BYTES];
    for (size_t i = 0; i < N_NAMES; i++) {
        if (strlen(NAMES[i].name) == bytes && memcmp(NAMES[i].name, name, bytes) == 0) {
            *found = i;
            QA_FAIL_IF((NAMES[i].uses & (int)use) == 0, err, QA_ERR_ARGUMENT,
                       "\"%s\" is no name for %s, which have: %s", NAMES[i].name, USES[use],
                       list_our_names(use, names));
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT,
                   "expected NAME=COLUMN with one of our names before the =, found \"%.*s\"; they "
                   "are: %s",
                   (int)(bytes > 60 ? 60 : bytes), name, list_our_names(use, names));
}

/* "NAME=COLUMN" or "NAME", of which text[bytes] is one. */
static qa_status add_mapping(qa_column_map *map, const char *text, size_t bytes, qa_error *err) {
    const char *equals = memchr(text, '=', bytes);
    const size_t of_name = equals == NULL ? bytes : (size_t)(equals - text);
    const char *column = equals == NULL ? text : equals + 1;
    const int of_column = (int)(bytes - (size_t)(column - text));
    size_t name = 0, at = map->n;
    QA_TRY(find_name(text, of_name, map->use, &name, err));
    QA_FAIL_IF(of_column == 0, err, QA_ERR_ARGUMENT, "\"%s\" has no column behind its =", NAMES[name].name);
    for (size_t i = 0; i < map->n; i++) {
        QA_FAIL_IF(map->items[i].name == name, err, QA_ERR_ARGUMENT, "\"%s\" stands twice", NAMES[name].name);
        QA_FAIL_IF(strlen(map->items[i].column) == (size_t)of_column &&
                       memcmp(map->items[i].column, column, (size_t)of_column) == 0,
                   err, QA_ERR_ARGUMENT, "the column \"%.*s\" is taken twice, for \"%s\" and for \"%s\"", of_column,
                   column, NAMES[map->items[i].name].name, NAMES[name].name);
    }
    QA_FAIL_IF(map->n == QA_MOST_MAPPED, err, QA_ERR_ARGUMENT, "at most %d columns can be named", QA_MOST_MAPPED);
    char *copy = NULL;
    QA_TRY(QA_NEW(copy, (size_t)of_column + 1, err, "the name of a column"));
    memcpy(copy, column, (size_t)of_column);
    copy[of_column] = '\0';
    for (; at > 0 && map->items[at - 1].name > name; at--) {
        map->items[at] = map->items[at - 1];
    }
    map->items[at] = (struct qa_mapped_column){.name = name, .column = copy};
    map->n++;
    map->turns = map->turns || NAMES[name].turn;
    return QA_OK;
}

static qa_status parse_mappings(qa_column_map *map, const char *text, qa_error *err) {
    for (const char *at = text; at != NULL;) {
        const char *comma = strchr(at, ',');
        QA_TRY(add_mapping(map, at, comma == NULL ? strlen(at) : (size_t)(comma - at), err));
        at = comma == NULL ? NULL : comma + 1;
    }
    for (size_t i = 0; i < sizeof ALIKE / sizeof ALIKE[0]; i++) {
        QA_FAIL_IF(is_mapped(map, ALIKE[i][0]) && is_mapped(map, ALIKE[i][1]), err, QA_ERR_ARGUMENT,
                   "\"%s\" and \"%s\" exclude each other", ALIKE[i][0], ALIKE[i][1]);
    }
    return QA_OK;
}

qa_status qa_column_map_parse(qa_column_map *map, const char *text, qa_column_use use, qa_error *err) {
    *map = (qa_column_map){.use = use};
    const qa_status status = parse_mappings(map, text, err);
    if (status != QA_OK) {
        qa_column_map_free(map);
    }
    return status;
}

bool qa_column_map_text(const qa_column_map *map, char text[QA_COLUMN_MAP_BYTES]) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < map->n && used < QA_COLUMN_MAP_BYTES; i++) {
        used += (size_t)snprintf(text + used, QA_COLUMN_MAP_BYTES - used, "%s%s=%s", i == 0 ? "" : ",",
                                 NAMES[map->items[i].name].name, map->items[i].column);
    }
    return map->n > 0;
}

/* ---- renaming ---- */

static qa_status put(json_t *object, const char *key, json_t *value, qa_error *err) {
    return json_object_set(object, key, value) == 0 ? QA_OK : QA_NO_MEMORY(err, "the columns of a row");
}

/* The columns that are mapped, under our names. */
static qa_status take_mapped(qa_column_map *map, const json_t *row, json_t *out, qa_error *err) {
    char found[QA_FOUND_BYTES];
    for (size_t i = 0; i < map->n; i++) {
        struct qa_mapped_column *item = &map->items[i];
        const struct our_name *name = &NAMES[item->name];
        json_t *value = json_object_get(row, item->column);
        QA_FAIL_IF(value == NULL && !name->optional, err, QA_ERR_FORMAT,
                   "there is no column \"%s\", which --columns takes "
                   "for \"%s\"%s",
                   item->column, name->name, qa_columns_found(row, found));
        item->seen = item->seen || value != NULL;
        QA_TRY(value == NULL ? QA_OK : put(out, name->name, value, err));
    }
    return QA_OK;
}

static bool is_taken(const qa_column_map *map, const char *column) {
    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(map->items[i].column, column) == 0) {
            return true;
        }
    }
    return false;
}

/* The others, under their own names. */
static qa_status take_others(const qa_column_map *map, const json_t *row, json_t *out, qa_columns *columns,
                             qa_error *err) {
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)row, key, value) { /* the macro takes no const; nothing is written */
        if (is_taken(map, key)) {
            continue;
        }
        if (is_mapped(map, key)) {
            qa_columns_note_unused(columns, key, value);
        } else {
            QA_TRY(put(out, key, value, err));
        }
    }
    return QA_OK;
}

/* ---- strings that become messages ---- */

static qa_status push_turn(json_t *messages, const char *role, const json_t *content, qa_error *err) {
    json_t *message = json_pack("{s:s, s:O}", "role", role, "content", content);
    return message != NULL && json_array_append_new(messages, message) == 0 ? QA_OK
                                                                            : QA_NO_MEMORY(err, "a row's messages");
}

/* A string of the row under one of our names; *value is NULL where there is none, or (empty_is_none) an empty one. */
static qa_status string_under(const json_t *row, const char *name, bool empty_is_none, const json_t **value,
                              qa_error *err) {
    *value = qa_pairs_member(row, name);
    QA_FAIL_IF(*value != NULL && !json_is_string(*value) && !(empty_is_none && qa_column_is_empty(*value)), err,
               QA_ERR_FORMAT, "\"%s\" must be a string, found %s", name, qa_column_kind(*value));
    *value = empty_is_none && *value != NULL && qa_column_is_empty(*value) ? NULL : *value;
    return QA_OK;
}

/* Earlier turns: pairs of what was asked and what was answered. */
static qa_status push_history(json_t *messages, const json_t *history, qa_error *err) {
    QA_FAIL_IF(history != NULL && !json_is_array(history), err, QA_ERR_FORMAT,
               "\"history\" must be a list of [question, answer], found %s", qa_column_kind(history));
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *turn = json_array_get(history, i);
        const json_t *asked = json_array_get(turn, 0), *said = json_array_get(turn, 1);
        QA_FAIL_IF(json_array_size(turn) != 2 || !json_is_string(asked) || !json_is_string(said), err, QA_ERR_FORMAT,
                   "\"history\"[%zu] must be [question, answer], two strings", i);
        QA_TRY(push_turn(messages, "user", asked, err));
        QA_TRY(push_turn(messages, "assistant", said, err));
    }
    return QA_OK;
}

/* What the user says: the instruction, and on the next line what it is about. */
static qa_status push_question(json_t *messages, const json_t *asked, const json_t *input, qa_error *err) {
    if (input == NULL) {
        return push_turn(messages, "user", asked, err);
    }
    json_t *both = json_pack("s%++%", json_string_value(asked), json_string_length(asked), "\n",
                             json_string_value(input), json_string_length(input));
    const qa_status status =
        both == NULL ? QA_NO_MEMORY(err, "a row's messages") : push_turn(messages, "user", both, err);
    json_decref(both);
    return status;
}

/* A dialogue that the row has as messages, behind what stands before it. */
static qa_status append_messages(json_t *messages, const json_t *dialogue, const char *name, qa_error *err) {
    const json_t *first = json_is_object(dialogue) ? dialogue : json_array_get(dialogue, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    QA_FAIL_IF(role != NULL && strcmp(role, "system") == 0 && json_array_size(messages) > 0, err, QA_ERR_FORMAT,
               "\"%s\" begins with a system message, and there is \"system\" or \"history\" beside it", name);
    const int failed = json_is_object(dialogue) ? json_array_append(messages, (json_t *)(uintptr_t)dialogue)
                                                : json_array_extend(messages, (json_t *)(uintptr_t)dialogue);
    return failed == 0 ? QA_OK : QA_NO_MEMORY(err, "a row's messages");
}

/* system and history. */
static qa_status write_before(const json_t *row, json_t *messages, qa_error *err) {
    const json_t *system = NULL;
    QA_TRY(string_under(row, "system", true, &system, err));
    QA_TRY(system == NULL ? QA_OK : push_turn(messages, "system", system, err));
    return push_history(messages, qa_pairs_member(row, "history"), err);
}

/* Where a row's prompt may be; of several the one that is mapped, or else the first. */
static const char *const PLACES[] = {"instruction", "prompt", "messages"};
enum { N_PLACES = sizeof PLACES / sizeof *PLACES };

static const char *prompt_place(const qa_column_map *map, const json_t *row) {
    const char *place = NULL;
    for (size_t i = 0; i < N_PLACES; i++) {
        const bool there = qa_pairs_member(row, PLACES[i]) != NULL;
        place = there && (place == NULL || is_mapped(map, PLACES[i])) ? PLACES[i] : place;
    }
    return place;
}

/* The row's prompt, which is at `place` (NULL: nowhere, whole dialogues follow), into messages. */
static qa_status write_prompt(const json_t *row, const char *place, json_t *messages, qa_error *err) {
    const json_t *asked = place == NULL ? NULL : qa_pairs_member(row, place), *input = NULL;
    QA_TRY(write_before(row, messages, err));
    QA_TRY(string_under(row, "input", true, &input, err));
    if (json_is_string(asked)) {
        return push_question(messages, asked, input, err);
    }
    QA_FAIL_IF(input != NULL, err, QA_ERR_FORMAT,
               "\"input\" needs an \"instruction\" or a \"prompt\" that is a string");
    QA_FAIL_IF(asked != NULL && strcmp(place, "instruction") == 0, err, QA_ERR_FORMAT,
               "\"instruction\" must be a string, found %s", qa_column_kind(asked));
    return asked == NULL ? QA_OK : append_messages(messages, asked, place, err);
}

/* What one side says: an answer behind the prompt, or the whole dialogue behind `before`. */
static qa_status write_side(json_t *row, const char *name, const json_t *before, bool whole, qa_error *err) {
    const json_t *said = qa_pairs_member(row, name);
    if (said == NULL || (!whole && !json_is_string(said))) {
        return QA_OK;
    }
    QA_FAIL_IF(whole && json_is_string(said), err, QA_ERR_FORMAT,
               "there is no prompt: name its column with --columns prompt=... or instruction=...");
    json_t *messages = whole ? json_copy((json_t *)(uintptr_t)before) : json_array();
    qa_status status = messages == NULL ? QA_NO_MEMORY(err, "a row's messages")
                       : whole          ? append_messages(messages, said, name, err)
                                        : push_turn(messages, "assistant", said, err);
    status = status == QA_OK ? put(row, name, messages, err) : status;
    json_decref(messages);
    return status;
}

/* What the strings were in goes; a prompt in another place than the one that counts is a column that is not used. */
static void drop_strings(const qa_column_map *map, json_t *row, const char *place, qa_columns *columns) {
    static const char *const GONE[] = {"input", "system", "history", "output"};
    const size_t n_gone = (map->use & (DOCUMENTS | RESPONSES)) != 0 ? 4 : 3;
    for (size_t i = 0; i < n_gone; i++) {
        (void)json_object_del(row, GONE[i]);
    }
    for (size_t i = 0; i < N_PLACES; i++) {
        const json_t *value = json_object_get(row, PLACES[i]);
        if (value != NULL && place != NULL && strcmp(place, PLACES[i]) != 0) {
            qa_columns_note_unused(columns, PLACES[i], value);
        }
        (void)json_object_del(row, PLACES[i]);
    }
}

/* The row's prompt is in messages, and was at `place`. */
static qa_status put_composed(const qa_column_map *map, json_t *row, json_t *messages, const char *place,
                              qa_columns *columns, qa_error *err) {
    json_t *output = qa_pairs_member(row, "output");
    const bool document = map->use == QA_COLUMNS_OF_DOCUMENTS;
    QA_FAIL_IF(place == NULL && qa_pairs_member(row, "chosen") == NULL, err, QA_ERR_FORMAT,
               "there is no prompt: name its column with --columns instruction=...");
    if (document && output != NULL) {
        QA_FAIL_IF(!json_is_string(output), err, QA_ERR_FORMAT, "\"output\" must be a string, found %s",
                   qa_column_kind(output));
        QA_TRY(push_turn(messages, "assistant", output, err));
    } else if (output != NULL && (map->use & RESPONSES) != 0) {
        QA_TRY(put(row, "completion", output, err));
    }
    QA_TRY(write_side(row, "chosen", messages, place == NULL, err));
    QA_TRY(write_side(row, "rejected", messages, place == NULL, err));
    drop_strings(map, row, place, columns);
    const bool whole = place != NULL && strcmp(place, "messages") == 0;
    return place == NULL ? QA_OK : put(row, document || whole ? "messages" : "prompt", messages, err);
}

static qa_status compose(const qa_column_map *map, json_t *row, qa_columns *columns, qa_error *err) {
    const char *place = prompt_place(map, row);
    json_t *messages = json_array();
    qa_status status =
        messages == NULL ? QA_NO_MEMORY(err, "a row's messages") : write_prompt(row, place, messages, err);
    status = status == QA_OK ? put_composed(map, row, messages, place, columns, err) : status;
    json_decref(messages);
    return status;
}

qa_status qa_column_map_apply(qa_column_map *map, const json_t *row, qa_columns *columns, json_t **out, qa_error *err) {
    *out = json_incref((json_t *)(uintptr_t)row);
    if (map->n == 0 || !json_is_object(row)) {
        return QA_OK;
    }
    json_decref(*out);
    *out = json_object();
    QA_FAIL_IF(*out == NULL, err, QA_ERR_MEMORY, "out of memory: the columns of a row");
    if (map->found[0] == '\0') {
        (void)qa_columns_found(row, map->found);
    }
    qa_status status = take_mapped(map, row, *out, err);
    status = status == QA_OK ? take_others(map, row, *out, columns, err) : status;
    status = status == QA_OK && map->turns ? compose(map, *out, columns, err) : status;
    if (status != QA_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

qa_status qa_column_map_check_seen(const qa_column_map *map, qa_error *err) {
    for (size_t i = 0; i < map->n; i++) {
        QA_FAIL_IF(!map->items[i].seen, err, QA_ERR_FORMAT,
                   "no row has the column \"%s\", which --columns takes for \"%s\"%s", map->items[i].column,
                   NAMES[map->items[i].name].name, map->found);
    }
    return QA_OK;
}

/* ---- hints ---- */

/* The column of the row that may be this one of ours: under its own name, or under another's. */
static const char *column_for(const json_t *row, const struct our_name *name) {
    if (!qa_column_is_empty(json_object_get(row, name->name)) && json_object_get(row, name->name) != NULL) {
        return name->name;
    }
    for (const char *at = name->others; at != NULL && at[1] != '\0'; at = strchr(at + 1, ' ')) {
        char other[QA_COLUMN_BYTES];
        (void)snprintf(other, sizeof other, "%.*s", (int)strcspn(at + 1, " "), at + 1);
        const char *key = NULL;
        json_t *value = NULL;
        json_object_foreach((json_t *)(uintptr_t)row, key, value) { /* as above; the key outlives `other` */
            if (strcmp(key, other) == 0 && !qa_column_is_empty(value)) {
                return key;
            }
        }
    }
    return NULL;
}

const char *qa_column_map_hint(const json_t *row, qa_column_use use, char hint[QA_COLUMN_HINT_BYTES]) {
    static const char BEGIN[] = "; if these are it, name them: --columns ";
    const bool has_prompt = qa_pairs_member(row, "prompt") != NULL || qa_pairs_member(row, "messages") != NULL;
    size_t used = (size_t)snprintf(hint, QA_COLUMN_HINT_BYTES, "%s", BEGIN), n = 0;
    const char *taken = NULL; /* the instruction's, which may be called input */
    for (size_t i = 0; i < N_NAMES; i++) {
        const char *column = (NAMES[i].uses & (int)use) == 0 ? NULL : column_for(row, &NAMES[i]);
        const bool own = column != NULL && strcmp(column, NAMES[i].name) == 0;
        if (column == NULL || (taken != NULL && strcmp(column, taken) == 0) || (own && !NAMES[i].turn) ||
            (has_prompt && strcmp(NAMES[i].name, "instruction") == 0)) {
            continue;
        }
        const int written = snprintf(hint + used, QA_COLUMN_HINT_BYTES - used, "%s%s%s%s", n > 0 ? "," : "",
                                     NAMES[i].name, own ? "" : "=", own ? "" : column);
        if (written < 0 || (size_t)written >= QA_COLUMN_HINT_BYTES - used) {
            hint[used] = '\0';
            break;
        }
        taken = taken == NULL ? column : taken;
        used += (size_t)written;
        n++;
    }
    if (n == 0) {
        hint[0] = '\0';
    }
    return hint;
}
