/* suite.json: skills, ordinary text, shares, preferences. The questions and prompts that it names are read here; the
 * ordinary text, which needs a tokenizer, is only looked for; a preference's pairs may come into being later. */
#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "io/file.h"
#include "suite/suite.h"
#include "text/utf8.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHERE_BYTES = 96, MAX_PARTS = 256, MAX_MAX_TOKENS = 1 << 20 };
static const double SUM_TOLERANCE = 0.02;

/* ---- members of every part ---- */

typedef struct suite_loader {
    qa_suite *suite;
    char *folder;       /* that holds it */
    qa_columns columns; /* members that hold something and are not used */
} suite_loader;

/* Notes the members beside the known ones, ended by NULL. */
static qa_status suite_load_check_members(suite_loader *loader, const json_t *json, const char *const *known,
                                          qa_error *err) {
    return qa_columns_check_row(&loader->columns, json, known, QA_PAIRS_IDS, err);
}

/* The part's "name" into name; `others` of the same list, [n] structs of `stride` bytes that begin with their name,
 * must not have it. */
static qa_status take_name(char *name, const json_t *json, const char *where, const void *others, size_t n,
                           size_t stride, qa_error *err) {
    const char *given = NULL;
    QA_TRY(qa_json_get_string(json, "name", true, where, &given, err));
    const size_t bytes = strlen(given);
    QA_FAIL_IF(bytes == 0 || bytes >= QA_SUITE_NAME_BYTES, err, QA_ERR_FORMAT,
               "%s: \"name\" must have 1 to %d bytes, found %zu", where, QA_SUITE_NAME_BYTES - 1, bytes);
    for (size_t i = 0; i < bytes; i++) {
        QA_FAIL_IF((unsigned char)given[i] < 0x20 || given[i] == 0x7f, err, QA_ERR_FORMAT,
                   "%s: \"name\" holds a control character", where);
    }
    for (size_t i = 0; i < n; i++) {
        QA_FAIL_IF(strcmp((const char *)others + i * stride, given) == 0, err, QA_ERR_FORMAT,
                   "%s: the name \"%s\" is taken already", where, given);
    }
    memcpy(name, given, bytes + 1);
    return QA_OK;
}

/* The path of the file that `key` names, relative to suite.json; NULL when absent and not required. `there`: the file
 * must be there already. */
static qa_status take_path(char **path, const suite_loader *loader, const json_t *json, const char *key, bool required,
                           bool there, const char *where, qa_error *err) {
    const char *file = NULL;
    QA_TRY(qa_json_get_string(json, key, required, where, &file, err));
    if (file == NULL) {
        return QA_OK;
    }
    *path = file[0] == '/' ? strdup(file) : qa_path_join(loader->folder, file);
    if (*path == NULL) {
        return QA_NO_MEMORY(err, "a path");
    }
    QA_FAIL_IF(file[0] == '\0' || (there && (!qa_path_exists(*path) || qa_path_is_dir(*path))), err, QA_ERR_IO,
               "%s: \"%s\" names the file %s, which is not there", where, key, *path);
    return QA_OK;
}

/* "file" and "max_tokens" of a skill or of shares. */
static qa_status take_items(qa_suite_items *items, size_t *max_tokens, const suite_loader *loader, const json_t *json,
                            const char *where, bool graded, qa_error *err) {
    char *path = NULL;
    *max_tokens = QA_SUITE_DEFAULT_MAX_TOKENS;
    QA_TRY(qa_json_get_size(json, "max_tokens", false, where, max_tokens, err));
    QA_FAIL_IF(*max_tokens == 0 || *max_tokens > MAX_MAX_TOKENS, err, QA_ERR_FORMAT,
               "%s: \"max_tokens\" must be between 1 and %d, found %zu", where, MAX_MAX_TOKENS, *max_tokens);
    qa_status status = QA_OK;
    QA_GOTO(done, take_path(&path, loader, json, "file", true, true, where, err));
    QA_GOTO(done,
            qa_prefixed(qa_suite_items_read(items, path, graded, &loader->suite->warnings, err), err, "%s: ", where));
done:
    free(path);
    return status;
}

/* An array of objects, at most `most`; *list stays NULL when there is none. */
static qa_status take_list(const json_t *json, const char *key, bool required, const char *where, size_t most,
                           json_t **list, qa_error *err) {
    QA_TRY(qa_json_get_array(json, key, required, where, list, err));
    const size_t n = json_array_size(*list);
    QA_FAIL_IF(n > most, err, QA_ERR_LIMIT, "%s: \"%s\" has %zu elements, more than %zu", where, key, n, most);
    for (size_t i = 0; i < n; i++) {
        QA_FAIL_IF(!json_is_object(json_array_get(*list, i)), err, QA_ERR_FORMAT, "%s: \"%s\"[%zu] must be an object",
                   where, key, i);
    }
    return QA_OK;
}

/* ---- skills ---- */

static qa_status load_skill(suite_loader *loader, void *part, const json_t *json, const char *where, qa_error *err) {
    qa_suite_skill *skill = part;
    return take_items(&skill->questions, &skill->max_tokens, loader, json, where, true, err);
}

/* ---- shares ---- */

/* A probability; NaN when it is not given. */
static qa_status take_share(double *share, const json_t *json, const char *key, const char *where, qa_error *err) {
    *share = (double)NAN;
    QA_TRY(qa_json_get_double(json, key, false, where, share, err));
    QA_FAIL_IF(*share < 0.0 || *share > 1.0, err, QA_ERR_FORMAT, "%s: \"%s\" must be a share between 0 and 1, found %g",
               where, key, *share);
    return QA_OK;
}

static qa_status take_class(qa_suite_class *class, const json_t *json, const char *where, qa_error *err) {
    const char *pattern = NULL;
    QA_TRY(qa_json_get_string(json, "pattern", true, where, &pattern, err));
    QA_TRY(take_share(&class->generator, json, "generator", where, err));
    QA_TRY(take_share(&class->base, json, "base", where, err));
    return qa_prefixed(qa_regex_create(&class->pattern, pattern, strlen(pattern), err), err,
                       "%s: \"pattern\": ", where);
}

/* Either all classes have the share, and they sum to 1, or none has. */
static qa_status check_sum(const qa_suite_shares *shares, bool base, const char *where, qa_error *err) {
    const char *key = base ? "base" : "generator";
    double sum = 0.0;
    size_t given = 0;
    for (size_t k = 0; k < shares->n_classes; k++) {
        const double share = base ? shares->classes[k].base : shares->classes[k].generator;
        sum += isnan(share) ? 0.0 : share;
        given += isnan(share) ? 0 : 1;
    }
    QA_FAIL_IF(given != 0 && given != shares->n_classes, err, QA_ERR_FORMAT,
               "%s: %zu of %zu classes have \"%s\"; give it for all or for none", where, given, shares->n_classes, key);
    QA_FAIL_IF(given != 0 && fabs(sum - 1.0) > SUM_TOLERANCE, err, QA_ERR_FORMAT,
               "%s: the classes' \"%s\" sum to %g; they must sum to 1 within %g", where, key, sum, SUM_TOLERANCE);
    return QA_OK;
}

static qa_status load_classes(suite_loader *loader, qa_suite_shares *shares, const json_t *json, const char *where,
                              qa_error *err) {
    json_t *list = NULL;
    char inner[2 * WHERE_BYTES];
    static const char *const CLASS[] = {"name", "pattern", "generator", "base", NULL};
    QA_TRY(take_list(json, "classes", true, where, QA_SUITE_MAX_CLASSES, &list, err));
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *element = json_array_get(list, k);
        qa_suite_class *class = &shares->classes[k];
        (void)snprintf(inner, sizeof inner, "%s.classes[%zu]", where, k);
        QA_TRY(suite_load_check_members(loader, element, CLASS, err));
        QA_TRY(take_name(class->name, element, inner, shares->classes, k, sizeof *class, err));
        shares->n_classes++;
        QA_TRY(take_class(class, element, inner, err));
    }
    QA_FAIL_IF(shares->n_classes == 0, err, QA_ERR_FORMAT, "%s: \"classes\" is empty", where);
    QA_TRY(check_sum(shares, false, where, err));
    return check_sum(shares, true, where, err);
}

static qa_status load_shares(suite_loader *loader, void *part, const json_t *json, const char *where, qa_error *err) {
    qa_suite_shares *shares = part;
    QA_TRY(load_classes(loader, shares, json, where, err));
    return take_items(&shares->prompts, &shares->max_tokens, loader, json, where, false, err);
}

/* ---- preferences ---- */

static qa_status load_reward(qa_suite_preference *preference, const qa_suite_shares *shares, const json_t *json,
                             const char *where, qa_error *err) {
    json_t *reward = NULL;
    const char *key = NULL;
    json_t *value = NULL;
    QA_TRY(qa_json_get_object(json, "reward", true, where, &reward, err));
    json_object_foreach(reward, key, value) {
        size_t k = 0;
        while (k < shares->n_classes && strcmp(shares->classes[k].name, key) != 0) {
            k++;
        }
        const char *shown = QA_SHOWN(key, strlen(key));
        QA_FAIL_IF(k == shares->n_classes, err, QA_ERR_FORMAT,
                   "%s: \"reward\" names the class \"%s\", which the shares \"%s\" do not have", where, shown,
                   shares->name);
        QA_FAIL_IF(!json_is_number(value), err, QA_ERR_FORMAT, "%s: \"reward\" of \"%s\" must be a number, in nats",
                   where, shown);
        preference->reward[k] = json_number_value(value);
    }
    return QA_OK;
}

/* What the preference is about: shares that were loaded before. */
static qa_status find_shares(const qa_suite *suite, const json_t *json, const char *where, size_t *found,
                             qa_error *err) {
    const char *about = NULL;
    QA_TRY(qa_json_get_string(json, "shares", true, where, &about, err));
    for (*found = 0; *found < suite->n_shares; ++*found) {
        if (strcmp(suite->shares[*found].name, about) == 0) {
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_FORMAT, "%s: \"shares\" names \"%s\", which the suite does not have", where,
                   QA_SHOWN(about, strlen(about)));
}

static qa_status load_preference(suite_loader *loader, void *part, const json_t *json, const char *where,
                                 qa_error *err) {
    qa_suite_preference *preference = part;
    qa_text *names = &loader->suite->preference_names;
    QA_TRY(find_shares(loader->suite, json, where, &preference->shares, err));
    QA_TRY(load_reward(preference, &loader->suite->shares[preference->shares], json, where, err));
    QA_TRY(take_path(&preference->pairs, loader, json, "pairs", false, false, where, err));
    QA_TRY(qa_text_append_z(names, names->n == 0 ? "" : ", ", err));
    return qa_text_append_z(names, preference->name, err);
}

/* ---- the lists ---- */

/* A list of the suite: objects that begin with their name. */
typedef struct part_list {
    const char *key;
    size_t size, parts, count; /* of one part; where their array and its length lie in the suite */
    const char *members[6];
    qa_status (*load)(suite_loader *loader, void *part, const json_t *json, const char *where, qa_error *err);
} part_list;

#define PARTS(field) sizeof *((qa_suite *)0)->field, offsetof(qa_suite, field), offsetof(qa_suite, n_##field)

/* In this order: preferences are about shares. */
static const part_list LISTS[] = {
    {"skills", PARTS(skills), {"name", "file", "max_tokens"}, load_skill},
    {"shares", PARTS(shares), {"name", "file", "max_tokens", "classes"}, load_shares},
    {"preferences", PARTS(preferences), {"name", "shares", "reward", "pairs"}, load_preference},
};

static qa_status load_list(suite_loader *loader, const part_list *kind, const json_t *root, qa_error *err) {
    json_t *list = NULL;
    char where[WHERE_BYTES];
    size_t *count = (void *)((char *)loader->suite + kind->count);
    QA_TRY(take_list(root, kind->key, false, "the suite", MAX_PARTS, &list, err));
    char *parts = qa_alloc_array(json_array_size(list), kind->size);
    if (parts == NULL) {
        return QA_NO_MEMORY(err, "a suite");
    }
    memcpy((char *)loader->suite + kind->parts, &parts, sizeof parts);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *json = json_array_get(list, i);
        char *part = parts + i * kind->size;
        (void)snprintf(where, sizeof where, "%s[%zu]", kind->key, i);
        QA_TRY(suite_load_check_members(loader, json, kind->members, err));
        QA_TRY(take_name(part, json, where, parts, i, kind->size, err));
        ++*count;
        QA_TRY(kind->load(loader, part, json, where, err));
    }
    return QA_OK;
}

/* ---- the suite ---- */

static qa_status load_parts(suite_loader *loader, const json_t *root, qa_error *err) {
    static const char *const SUITE[] = {"name",        "skills",      "text",    "shares",
                                        "preferences", "description", "version", NULL};
    static const char *const TEXT[] = {"file", NULL};
    qa_suite *suite = loader->suite;
    json_t *text = NULL;
    QA_FAIL_IF(!json_is_object(root), err, QA_ERR_FORMAT,
               "a suite must be an object with \"name\" and \"skills\" or \"shares\"");
    QA_FAIL_IF(json_object_get(root, "messages") != NULL, err, QA_ERR_FORMAT,
               "this is a question, not a suite: the name of a file of questions ends in .jsonl");
    QA_TRY(suite_load_check_members(loader, root, SUITE, err));
    QA_TRY(take_name(suite->name, root, "the suite", NULL, 0, 1, err));
    for (size_t i = 0; i < sizeof LISTS / sizeof LISTS[0]; i++) {
        QA_TRY(load_list(loader, &LISTS[i], root, err));
    }
    QA_TRY(qa_json_get_object(root, "text", false, "the suite", &text, err));
    if (text != NULL) {
        QA_TRY(suite_load_check_members(loader, text, TEXT, err));
        QA_TRY(take_path(&suite->text, loader, text, "file", true, true, "text", err));
    }
    QA_FAIL_IF(suite->n_skills == 0 && suite->n_shares == 0 && suite->text == NULL, err, QA_ERR_FORMAT,
               "nothing to measure: neither \"skills\" nor \"shares\" nor \"text\"");
    return QA_OK;
}

static qa_status load_definition(qa_suite *suite, const char *path, qa_error *err) {
    const char *slash = strrchr(path, '/');
    json_t *root = NULL;
    qa_status status = QA_OK;
    suite_loader loader = {.suite = suite};
    loader.folder = slash == NULL ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
    if (loader.folder == NULL) {
        return QA_NO_MEMORY(err, "a path");
    }
    QA_GOTO(done, qa_json_load(&root, path, err));
    QA_GOTO(done, qa_prefixed(load_parts(&loader, root, err), err, "%s: ", path));
    qa_columns_warn(&loader.columns, path, &suite->warnings);
done:
    json_decref(root);
    free(loader.folder);
    return status;
}

/* A suite of one skill, both named like the file. */
static qa_status load_questions(qa_suite *suite, const char *path, qa_error *err) {
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    const char *dot = strrchr(base, '.');
    size_t bytes = dot == NULL || dot == base ? strlen(base) : (size_t)(dot - base);
    bytes = bytes < QA_SUITE_NAME_BYTES ? bytes : QA_SUITE_NAME_BYTES - 1;
    QA_TRY(QA_NEW(suite->skills, 1, err, "a suite"));
    suite->n_skills = 1;
    for (size_t i = 0; i < bytes; i++) {
        /* a name for tables and JSON: whatever the file is called, plain characters */
        const char c = base[i];
        suite->name[i] = (unsigned char)c < 0x20 || (unsigned char)c >= 0x7f ? '?' : c;
    }
    suite->name[bytes] = '\0';
    memcpy(suite->skills[0].name, suite->name, sizeof suite->name);
    suite->skills[0].max_tokens = QA_SUITE_DEFAULT_MAX_TOKENS;
    return qa_suite_items_read(&suite->skills[0].questions, path, true, &suite->warnings, err);
}

qa_status qa_suite_load(qa_suite **out, const char *path, qa_error *err) {
    char *inside = NULL;
    *out = NULL;
    qa_suite *suite = NULL;
    QA_TRY(QA_NEW(suite, 1, err, "a suite"));
    qa_status status = QA_OK;
    QA_GOTO(done, qa_text_append_z(&suite->preference_names, "", err));
    if (qa_path_is_dir(path)) {
        inside = qa_path_join(path, "suite.json");
        status = inside == NULL ? QA_NO_MEMORY(err, "a path") : load_definition(suite, inside, err);
        goto done;
    }
    const size_t bytes = strlen(path);
    const bool definition = bytes >= 5 && strcmp(path + bytes - 5, ".json") == 0;
    status = definition ? load_definition(suite, path, err) : load_questions(suite, path, err);
done:
    free(inside);
    if (status != QA_OK) {
        qa_suite_free(suite);
        return status;
    }
    *out = suite;
    return QA_OK;
}

void qa_suite_free(qa_suite *suite) {
    if (suite == NULL) {
        return;
    }
    for (size_t i = 0; i < suite->n_skills; i++) {
        qa_suite_items_free(&suite->skills[i].questions);
    }
    for (size_t i = 0; i < suite->n_shares; i++) {
        qa_suite_items_free(&suite->shares[i].prompts);
        for (size_t k = 0; k < suite->shares[i].n_classes; k++) {
            qa_regex_free(suite->shares[i].classes[k].pattern);
        }
    }
    for (size_t i = 0; i < suite->n_preferences; i++) {
        free(suite->preferences[i].pairs);
    }
    free(suite->skills);
    free(suite->shares);
    free(suite->preferences);
    free(suite->text);
    qa_text_free(&suite->preference_names);
    qa_warnings_free(&suite->warnings);
    free(suite);
}

const qa_warnings *qa_suite_warnings(const qa_suite *suite) { return &suite->warnings; }

const char *qa_suite_name(const qa_suite *suite) { return suite->name; }

const qa_suite_preference *qa_suite_find_preference(const qa_suite *suite, const char *name) {
    for (size_t i = 0; i < suite->n_preferences; i++) {
        if (strcmp(suite->preferences[i].name, name) == 0) {
            return &suite->preferences[i];
        }
    }
    return NULL;
}

bool qa_suite_has_preference(const qa_suite *suite, const char *preference) {
    return qa_suite_find_preference(suite, preference) != NULL;
}

const char *qa_suite_preference_pairs(const qa_suite *suite, const char *preference) {
    const qa_suite_preference *found = qa_suite_find_preference(suite, preference);
    return found == NULL ? NULL : found->pairs;
}

const char *qa_suite_preference_names(const qa_suite *suite) { return suite->preference_names.data; }
