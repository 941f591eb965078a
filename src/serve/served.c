/* See served.h. */
#include "serve/served.h"

#include "base/buffer.h"
#include "base/try.h"
#include "data/dialogue.h"
#include "rl/objective.h"
#include "text/chat_turn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char BASE[] = "base", ONLY[] = "custom", MIX[] = "mix";

/* ---- names ---- */

/* The last name of a path: "runs/formal/" is "formal". */
static void last_name(char name[QA_SERVED_NAME_BYTES], const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    size_t first = end;
    while (first > 0 && path[first - 1] != '/') {
        first--;
    }
    (void)snprintf(name, QA_SERVED_NAME_BYTES, "%.*s", (int)(end - first), path + first);
}

qa_status qa_served_name(char (*names)[QA_SERVED_NAME_BYTES], const char *const *dirs, size_t n, qa_error *err) {
    for (size_t i = 0; i < n; i++) {
        last_name(names[i], n == 1 ? ONLY : dirs[i]);
        QA_FAIL_IF(strcmp(names[i], BASE) == 0 || strpbrk(names[i], ":,=") != NULL, err, QA_ERR_ARGUMENT,
                   "%s: its folder's name is to be a model's name, and \"%s\" cannot: \"base\" is the model alone, and "
                   "a colon, a comma or = stands before and between dials; rename it, or link to it by another name",
                   dirs[i], names[i]);
        for (size_t k = 0; k < i; k++) {
            QA_FAIL_IF(strcmp(names[i], names[k]) == 0, err, QA_ERR_ARGUMENT,
                       "%s and %s would both be the model \"%s\": the names of the folders must differ (a link under "
                       "another name is enough)",
                       dirs[k], dirs[i], names[i]);
        }
    }
    return QA_OK;
}

/* "base, custom" */
static void list_names(const qa_served *served, char *list, size_t bytes) {
    size_t used = (size_t)snprintf(list, bytes, "%s", BASE);
    for (size_t i = 0; i < served->n_adapters && used < bytes; i++) {
        used += (size_t)snprintf(list + used, bytes - used, ", %s", served->adapters[i].name);
    }
}

/* The adapter of name[bytes], NULL and true: of the base model. */
static bool find_adapter(const qa_served *served, const char *name, size_t bytes, const qa_served_adapter **found) {
    *found = NULL;
    if (bytes == strlen(BASE) && memcmp(name, BASE, bytes) == 0) {
        return true;
    }
    for (size_t i = 0; i < served->n_adapters && *found == NULL; i++) {
        const char *its = served->adapters[i].name;
        *found = strlen(its) == bytes && memcmp(name, its, bytes) == 0 ? &served->adapters[i] : NULL;
    }
    return *found != NULL;
}

/* ---- dials ---- */

enum { DIALS = 2, DIAL_BYTES = 64 };
static const double SMALLEST_TILDE = 1e-6, LARGEST_DIAL = 1e6; /* beyond, (M7) may leave the numbers of a build */
static const char *const dial_names[DIALS] = {"alpha-0", "alpha-tilde"};

static const qa_option *dial_option(size_t dial) {
    size_t i = 0;
    while (strcmp(qa_objective_table.rows[i].name, dial_names[dial]) != 0) {
        i++;
    }
    return &qa_objective_table.rows[i];
}

/* One "alpha-0=0.5" of text[bytes]; an underscore is a dash. */
static qa_status set_dial(const char *text, size_t bytes, bool given[DIALS], qa_objective *objective,
                          qa_refusal *refusal) {
    char name[DIAL_BYTES];
    char *value = NULL;
    size_t dial = 0;
    (void)snprintf(name, sizeof name, "%.*s", (int)(bytes < sizeof name ? bytes : sizeof name), text);
    value = strchr(name, '=');
    if (value == NULL || bytes >= sizeof name) {
        return qa_refuse(refusal, 400, NULL, "model", "the dial \"%s\": expected NAME=NUMBER", name);
    }
    *value++ = '\0';
    for (char *c = name; *c != '\0'; c++) {
        *c = *c == '_' ? '-' : *c;
    }
    while (dial < DIALS && strcmp(name, dial_names[dial]) != 0) {
        dial++;
    }
    if (dial == DIALS) {
        return qa_refuse(refusal, 400, NULL, "model", "there is no dial \"%s\": there are alpha-0 and alpha-tilde",
                         name);
    }
    if (given[dial]) {
        return qa_refuse(refusal, 400, NULL, "model", "the dial %s stands there twice", name);
    }
    given[dial] = true;
    const qa_status status = qa_option_set(dial_option(dial), objective, value, &refusal->err);
    return qa_refuse_if_failed(refusal, qa_prefixed(status, &refusal->err, "the dial %s: ", name), "model");
}

static qa_status set_dials(const char *dials, qa_objective *objective, qa_refusal *refusal) {
    bool given[DIALS] = {false};
    for (;;) {
        const size_t bytes = strcspn(dials, ",");
        QA_TRY(set_dial(dials, bytes, given, objective, refusal));
        if (dials[bytes] == '\0') {
            break;
        }
        dials += bytes + 1;
    }
    QA_TRY(qa_refuse_if_failed(refusal, qa_objective_check(objective, &refusal->err), "model"));
    if (objective->alpha_0 > LARGEST_DIAL || objective->alpha_tilde > LARGEST_DIAL ||
        objective->alpha_tilde < SMALLEST_TILDE) {
        return qa_refuse(refusal, 400, NULL, "model",
                         "alpha-0 %g, alpha-tilde %g: expected dials of at most %g, and alpha-tilde of at least %g",
                         objective->alpha_0, objective->alpha_tilde, LARGEST_DIAL, SMALLEST_TILDE);
    }
    return QA_OK;
}

/* ---- mixtures ---- */

/* One "formal=0.5" of text[bytes]. */
static qa_status add_weight(const qa_served *served, const char *text, size_t bytes, qa_served_mixture *mixed,
                            qa_refusal *refusal) {
    static const qa_option number = {.type = QA_OPTION_NUMBER};
    char weight[DIAL_BYTES];
    const qa_served_adapter *found = NULL;
    const char *equals = memchr(text, '=', bytes);
    if (equals == NULL || !find_adapter(served, text, (size_t)(equals - text), &found) || found == NULL) {
        return qa_refuse(refusal, equals == NULL ? 400 : 404, equals == NULL ? NULL : "model_not_found", "model",
                         "a mixture has adapters and their weights, mix:NAME=0.5,NAME=0.5, found \"%.*s\"",
                         (int)(bytes < DIAL_BYTES ? bytes : DIAL_BYTES), text);
    }
    if (mixed->mixture.n == QA_MIXTURE_PARTS) {
        return qa_refuse(refusal, 400, NULL, "model", "a mixture has at most %d adapters", (int)QA_MIXTURE_PARTS);
    }
    qa_mixture_part *part = &mixed->parts[mixed->mixture.n++];
    *part = (qa_mixture_part){.adapter = found->adapter, .objective = found->objective};
    (void)snprintf(weight, sizeof weight, "%.*s", (int)(text + bytes - 1 - equals), equals + 1);
    const qa_status status = qa_option_set(&number, &part->weight, weight, &refusal->err);
    return qa_refuse_if_failed(refusal, qa_prefixed(status, &refusal->err, "the weight of %s: ", found->name), "model");
}

static qa_status find_mixture(const qa_served *served, const char *weights, qa_served_mixture *mixed,
                              qa_engine_policy *policy, qa_refusal *refusal) {
    if (mixed == NULL) {
        return qa_refuse(refusal, 400, NULL, "model", "a mixture is not looked into: name one adapter");
    }
    *mixed = (qa_served_mixture){.mixture.n = 0};
    mixed->mixture.parts = mixed->parts;
    for (bool more = true; more; weights++) {
        const size_t bytes = strcspn(weights, ",");
        QA_TRY(add_weight(served, weights, bytes, mixed, refusal));
        weights += bytes;
        more = *weights != '\0';
    }
    policy->mixture = &mixed->mixture;
    return qa_refuse_if_failed(refusal, qa_mixture_check(&mixed->mixture, &refusal->err), "model");
}

/* ---- whom a name asks ---- */

qa_status qa_served_find(const qa_served *served, const char *name, qa_objective *objective, qa_served_mixture *mixed,
                         qa_engine_policy *policy, qa_refusal *refusal) {
    const size_t bytes = strcspn(name, ":");
    const qa_served_adapter *found = NULL;
    *policy = (qa_engine_policy){0};
    const bool known = find_adapter(served, name, bytes, &found);
    if (!known && name[bytes] == ':' && bytes == strlen(MIX) && memcmp(name, MIX, bytes) == 0) {
        return find_mixture(served, name + bytes + 1, mixed, policy, refusal);
    }
    if (!known) {
        char list[QA_MESSAGE_BYTES / 2];
        list_names(served, list, sizeof list);
        return qa_refuse(refusal, 404, "model_not_found", "model", "there is no model \"%.100s\"; there are: %s%s",
                         name, list, served->n_adapters > 0 ? " (with dials: NAME:alpha-0=0.5,alpha-tilde=1)" : "");
    }
    if (found == NULL) {
        return name[bytes] == '\0' ? QA_OK
                                   : qa_refuse(refusal, 400, NULL, "model", "\"base\" is the model alone: no dials");
    }
    *objective = found->objective;
    policy->adapter = found->adapter;
    policy->objective = objective;
    return name[bytes] == '\0' ? QA_OK : set_dials(name + bytes + 1, objective, refusal);
}

static void put_model(const qa_served *served, const char *name, qa_json_writer *out) {
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_put_string(out, "id", name);
    qa_json_put_string(out, "object", "model");
    qa_json_put_size(out, "created", (size_t)served->created);
    qa_json_put_string(out, "owned_by", "qadapter");
    qa_json_put_size(out, "max_model_len", served->context);
    qa_json_close(out);
}

qa_status qa_served_put_models(const qa_served *served, const char *name, qa_json_writer *out, qa_refusal *refusal) {
    if (name != NULL) {
        qa_objective objective;
        qa_served_mixture mixed;
        qa_engine_policy policy;
        QA_TRY(qa_served_find(served, name, &objective, &mixed, &policy, refusal));
        put_model(served, name, out);
        return QA_OK;
    }
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_put_string(out, "object", "list");
    qa_json_open_array(out, "data", QA_JSON_LINE);
    put_model(served, BASE, out);
    for (size_t i = 0; i < served->n_adapters; i++) {
        put_model(served, served->adapters[i].name, out);
    }
    qa_json_close(out);
    qa_json_close(out);
    return QA_OK;
}

/* ---- from JSON to ids, from ids to text ---- */

/* A content that is a list of {"type": "text", "text": ...} becomes their text, joined. */
static qa_status join_parts(json_t *message, const char *param, size_t index, qa_refusal *refusal) {
    json_t *parts = json_object_get(message, "content");
    const json_t *type = json_object_get(message, "type");
    qa_text joined = {0};
    qa_status status = QA_OK;
    if (json_is_string(type) && strcmp(json_string_value(type), "text") == 0) {
        (void)json_object_del(message, "type"); /* says nothing */
    }
    if (!json_is_array(parts)) {
        return QA_OK;
    }
    for (size_t i = 0; status == QA_OK && i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i), *text = json_object_get(part, "text");
        const json_t *kind = json_object_get(part, "type");
        if (!json_is_string(text) || !json_is_string(kind) || strcmp(json_string_value(kind), "text") != 0) {
            status = qa_refuse(refusal, 400, NULL, param,
                               "%s[%zu].content[%zu]: expected {\"type\": \"text\", \"text\": string}; the model reads "
                               "nothing else",
                               param, index, i);
        } else {
            status = qa_refuse_if_failed(
                refusal, qa_text_append(&joined, json_string_value(text), json_string_length(text), &refusal->err),
                param);
        }
    }
    if (status == QA_OK && json_object_set_new(message, "content",
                                               json_stringn_nocheck(joined.n == 0 ? "" : joined.data, joined.n)) != 0) {
        status = qa_refuse(refusal, 503, NULL, NULL, "out of memory for a message");
    }
    qa_text_free(&joined);
    return status;
}

static qa_status read_served_dialogue(json_t *messages, const char *param, qa_dialogue *dialogue, qa_refusal *refusal) {
    qa_columns columns = {0};
    if (!json_is_array(messages) || json_array_size(messages) == 0) {
        return qa_refuse(refusal, 400, NULL, param, "%s: expected an array of one message or more", param);
    }
    for (size_t i = 0; i < json_array_size(messages); i++) {
        QA_TRY(join_parts(json_array_get(messages, i), param, i, refusal));
    }
    QA_TRY(
        qa_refuse_if_failed(refusal, qa_dialogue_push_json(dialogue, messages, param, &columns, &refusal->err), param));
    return columns.n == 0 ? QA_OK
                          : qa_refuse(refusal, 400, NULL, param, "%s: the template is not given \"%s\": leave it out",
                                      param, columns.names[0]);
}

qa_status qa_served_encode_dialogue(const qa_served *served, json_t *messages, const char *param, qa_ids *ids,
                                    qa_refusal *refusal) {
    qa_dialogue dialogue = {0};
    qa_text rendered = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, read_served_dialogue(messages, param, &dialogue, refusal));
    QA_GOTO(done,
            qa_refuse_if_failed(
                refusal, qa_chat_encode(served->chat, dialogue.messages, dialogue.n, &rendered, ids, &refusal->err),
                param));
    if (qa_chat_drops_system(dialogue.messages, dialogue.n, &rendered)) {
        status = qa_refuse(refusal, 400, NULL, param,
                           "the chat template leaves out what the system message says: put it into the user's");
    }
done:
    free(dialogue.messages);
    qa_text_free(&rendered);
    return status;
}

qa_status qa_served_read_ids(const qa_served *served, const json_t *array, const char *param, qa_ids *ids,
                             qa_refusal *refusal) {
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *id = json_array_get(array, i);
        if (!json_is_integer(id)) {
            return qa_refuse(refusal, 400, NULL, param, "%s[%zu] must be a token id, a whole number", param, i);
        }
        const json_int_t value = json_integer_value(id);
        if (value < 0 || (uint64_t)value >= served->vocab_size) {
            return qa_refuse(refusal, 400, NULL, param, "%s[%zu] is %lld, outside the vocabulary (0 to %zu)", param, i,
                             (long long)value, served->vocab_size - 1);
        }
        QA_TRY(qa_refuse_if_failed(refusal, qa_ids_push(ids, (int32_t)value, &refusal->err), param));
    }
    return QA_OK;
}
