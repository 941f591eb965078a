/* The key and the judges' files, read back. */
#include "suite/judge.h"

#include "base/memory.h"
#include "base/try.h"
#include "data/columns.h"
#include "io/json_lines.h"

#include <stdlib.h>
#include <strings.h>

/* ---- the key ---- */

/* An id or a fingerprint: 16 lower-case hexadecimal digits. "" where null may stand and does. */
static qa_status read_name(const json_t *pair, const char *name, bool nullable, char id[QA_JUDGE_ID_BYTES],
                           qa_error *err) {
    const json_t *value = json_object_get(pair, name);
    const char *text = json_string_value(value);
    if (nullable && json_is_null(value)) {
        id[0] = '\0';
        return QA_OK;
    }
    QA_FAIL_IF(text == NULL || strspn(text, "0123456789abcdef") != QA_JUDGE_ID_BYTES - 1 ||
                   json_string_length(value) != QA_JUDGE_ID_BYTES - 1,
               err, QA_ERR_FORMAT, "\"%s\": expected %d hexadecimal digits", name, QA_JUDGE_ID_BYTES - 1);
    memcpy(id, text, QA_JUDGE_ID_BYTES);
    return QA_OK;
}

static qa_status read_key_pair(qa_judge_key *key, size_t i, const json_t *json, qa_error *err) {
    static const char *const first_names[] = {"a_first", "b_first"}, *const answer_names[] = {"a", "b"};
    qa_judge_pair *pair = &key->pairs[i];
    QA_TRY(qa_json_get_size(json, "prompt", true, "a pair", &pair->prompt, err));
    QA_FAIL_IF(pair->prompt >= key->prompts, err, QA_ERR_FORMAT, "prompt %zu of %zu", pair->prompt, key->prompts);
    for (size_t side = 0; side < 2; side++) {
        QA_TRY(read_name(json, answer_names[side], false, pair->fingerprints[side], err));
        QA_TRY(read_name(json, first_names[side], true, pair->ids[side], err));
        if (pair->ids[side][0] == '\0') {
            continue;
        }
        QA_FAIL_IF(json_object_get(key->places, pair->ids[side]) != NULL, err, QA_ERR_FORMAT,
                   "id %s stands there twice", pair->ids[side]);
        if (json_object_set_new(key->places, pair->ids[side], json_integer((json_int_t)(2 * i + side))) != 0) {
            return QA_NO_MEMORY(err, "ids");
        }
        key->items++;
    }
    pair->identical = pair->ids[0][0] == '\0' && pair->ids[1][0] == '\0';
    QA_FAIL_IF(pair->identical != (strcmp(pair->fingerprints[0], pair->fingerprints[1]) == 0), err, QA_ERR_FORMAT,
               "pairs with equal answers, and no others, have no ids");
    return QA_OK;
}

static qa_status read_judge_key(qa_judge_key *key, const json_t *root, qa_error *err) {
    const char *format = json_string_value(json_object_get(root, "format"));
    size_t version = 0;
    json_t *pairs = NULL;
    QA_FAIL_IF(format == NULL || strcmp(format, "qadapter judge key") != 0, err, QA_ERR_FORMAT,
               "not a key that `judge export` wrote");
    QA_TRY(qa_json_get_size(root, "version", true, "the key", &version, err));
    QA_FAIL_IF(version != 1, err, QA_ERR_UNSUPPORTED, "version %zu of the key; this program reads version 1", version);
    for (size_t side = 0; side < 2; side++) {
        const char *name = NULL;
        QA_TRY(qa_json_get_string(root, side == 0 ? "a" : "b", true, "the key", &name, err));
        QA_TRY(QA_COPY(key->names[side], name, err, "a name"));
    }
    QA_TRY(qa_json_get_size(root, "prompts", true, "the key", &key->prompts, err));
    QA_TRY(qa_json_get_array(root, "pairs", true, "the key", &pairs, err));
    const size_t n = json_array_size(pairs);
    QA_FAIL_IF(n == 0 || key->prompts > n, err, QA_ERR_FORMAT, "%zu pairs of %zu prompts", n, key->prompts);
    QA_TRY(QA_NEW(key->pairs, n, err, "%zu pairs", n));
    key->n = n;
    key->places = json_object();
    for (size_t i = 0; i < n; i++) {
        QA_TRY(qa_prefixed(read_key_pair(key, i, json_array_get(pairs, i), err), err, "pair %zu: ", i));
    }
    return QA_OK;
}

qa_status qa_judge_key_load(qa_judge_key *key, const char *path, qa_error *err) {
    json_t *root = NULL;
    QA_TRY(qa_json_load(&root, path, err));
    const qa_status status = qa_prefixed(read_judge_key(key, root, err), err, "%s: ", path);
    json_decref(root);
    return status;
}

void qa_judge_key_free(qa_judge_key *key) {
    free(key->names[0]);
    free(key->names[1]);
    free(key->pairs);
    json_decref(key->places);
    *key = (qa_judge_key){0};
}

/* ---- verdicts ---- */

typedef struct verdict_file {
    qa_judges *judges;
    const qa_judge_key *key;
    const char *name; /* of the judge where a line has none */
    qa_json_lines *from;
    size_t rows; /* read so far */
} verdict_file;

static qa_status find_judge(qa_judges *judges, const qa_judge_key *key, const char *name, qa_judge **judge,
                            qa_error *err) {
    for (size_t i = 0; i < judges->n; i++) {
        if (strcmp(judges->items[i].name, name) == 0) {
            *judge = &judges->items[i];
            return QA_OK;
        }
    }
    QA_FAIL_IF(judges->n >= QA_JUDGES_MOST, err, QA_ERR_LIMIT,
               "more than %d judges, of which \"%.60s\" is the next; \"judge\" is who decided, the same name on all of "
               "a judge's lines",
               (int)QA_JUDGES_MOST, name);
    QA_TRY(QA_GROW(judges->items, judges->capacity, judges->n + 1, err, "judges"));
    *judge = &judges->items[judges->n++];
    **judge = (qa_judge){0};
    QA_TRY(QA_COPY((*judge)->name, name, err, "a judge"));
    return QA_NEW((*judge)->verdicts, 2 * key->n, err, "verdicts");
}

/* "first", "second" or "tie": for whom, with answer `first` shown first. */
static qa_status read_verdict(const json_t *row, size_t first, qa_verdict *verdict, qa_error *err) {
    char found[QA_FOUND_BYTES];
    const json_t *value = json_object_get(row, "verdict");
    QA_FAIL_IF(value == NULL, err, QA_ERR_FORMAT, "no \"verdict\"%s", qa_columns_found(row, found));
    *verdict = QA_VERDICT_NONE;
    if (json_is_null(value)) {
        return QA_OK;
    }
    const char *text = json_string_value(value);
    const bool for_first = text != NULL && strcasecmp(text, "first") == 0;
    if (for_first || (text != NULL && strcasecmp(text, "second") == 0)) {
        *verdict = for_first == (first == 0) ? QA_VERDICT_A : QA_VERDICT_B;
        return QA_OK;
    }
    QA_FAIL_IF(text == NULL || strcasecmp(text, "tie") != 0, err, QA_ERR_FORMAT,
               "\"verdict\": expected \"first\", \"second\" or \"tie\" (or null where there is none), found %s%.60s%s",
               text == NULL ? "" : "\"", text == NULL ? qa_column_kind(value) : text, text == NULL ? "" : "\"");
    *verdict = QA_VERDICT_TIE;
    return QA_OK;
}

/* Texts that stand beside the verdict are those that were to be judged. */
static qa_status check_texts(const json_t *row, const qa_judge_pair *pair, size_t first, qa_error *err) {
    static const char *const names[] = {"first", "second"};
    for (size_t i = 0; i < 2; i++) {
        char fingerprint[QA_JUDGE_ID_BYTES];
        const json_t *text = json_object_get(row, names[i]);
        if (text == NULL) {
            continue;
        }
        QA_FAIL_IF(!json_is_string(text), err, QA_ERR_FORMAT, "\"%s\": expected the text of the answer", names[i]);
        qa_judge_fingerprint(text, fingerprint);
        QA_FAIL_IF(strcmp(fingerprint, pair->fingerprints[i == 0 ? first : 1 - first]) != 0, err, QA_ERR_MISMATCH,
                   "\"%s\" is not the answer that was exported under this id", names[i]);
    }
    return QA_OK;
}

static qa_status read_verdict_line(void *user, const json_t *row, qa_error *err) {
    verdict_file *file = user;
    char found[QA_FOUND_BYTES];
    qa_judge *judge = NULL;
    qa_verdict verdict = QA_VERDICT_NONE;
    file->rows++;
    QA_FAIL_IF(!json_is_object(row), err, QA_ERR_FORMAT, "expected a JSON object");
    const char *id = json_string_value(json_object_get(row, "id"));
    QA_FAIL_IF(id == NULL, err, QA_ERR_FORMAT, "no \"id\"%s", qa_columns_found(row, found));
    const json_t *place = json_object_get(file->key->places, id);
    QA_FAIL_IF(place == NULL, err, QA_ERR_MISMATCH, "id \"%.40s\" is not in the key: it is of another export", id);
    const size_t item = (size_t)json_integer_value(place);
    QA_TRY(check_texts(row, &file->key->pairs[item / 2], item % 2, err));
    QA_TRY(read_verdict(row, item % 2, &verdict, err));
    const char *name = file->name;
    QA_TRY(qa_json_get_string(row, "judge", false, "a verdict", &name, err));
    QA_TRY(find_judge(file->judges, file->key, name, &judge, err));
    if (verdict == QA_VERDICT_NONE) {
        return QA_OK;
    }
    QA_FAIL_IF(judge->verdicts[item] != QA_VERDICT_NONE, err, QA_ERR_MISMATCH,
               "a second verdict of judge \"%.60s\" on id %s; verdicts of another judge need another \"judge\", or a "
               "file of another name",
               name, id);
    judge->verdicts[item] = (unsigned char)verdict;
    judge->given++;
    return QA_OK;
}

/* A file's name without folders and without its ending. */
static qa_status stem_of(char **stem, const char *path, qa_error *err) {
    const char *slash = strrchr(path, '/');
    QA_TRY(QA_COPY(*stem, slash == NULL ? path : slash + 1, err, "a name"));
    char *dot = strchr(*stem + 1, '.');
    if ((*stem)[0] != '\0' && dot != NULL) {
        *dot = '\0';
    }
    return QA_OK;
}

qa_status qa_judges_read(qa_judges *judges, const qa_judge_key *key, const char *path, qa_error *err) {
    char *stem = NULL;
    QA_TRY(stem_of(&stem, path, err));
    verdict_file file = {.judges = judges, .key = key, .name = stem};
    qa_status status = qa_json_lines_open(&file.from, path, err);
    if (status == QA_OK) {
        status = qa_json_lines_each(file.from, read_verdict_line, &file, err);
        if (status == QA_OK && file.rows == 0) {
            status = qa_fail(err, QA_ERR_FORMAT, "%s: no verdicts in it", path);
        }
        qa_json_lines_close(file.from);
    }
    free(stem);
    return status;
}

qa_status qa_judges_check(const qa_judges *judges, const qa_judge_key *key, bool partial, qa_error *err) {
    for (size_t j = 0; j < judges->n; j++) {
        const qa_judge *judge = &judges->items[j];
        size_t item = 0;
        QA_FAIL_IF(judge->given == 0, err, QA_ERR_MISMATCH, "judge \"%.60s\" has decided nothing", judge->name);
        if (partial || judge->given == key->items) {
            continue;
        }
        while (key->pairs[item / 2].ids[item % 2][0] == '\0' || judge->verdicts[item] != QA_VERDICT_NONE) {
            item++;
        }
        return qa_fail(err, QA_ERR_MISMATCH,
                       "judge \"%.60s\": %zu of %zu verdicts are missing, the first of them on id %s; --partial counts "
                       "what is there",
                       judge->name, key->items - judge->given, key->items, key->pairs[item / 2].ids[item % 2]);
    }
    return QA_OK;
}

void qa_judges_free(qa_judges *judges) {
    for (size_t j = 0; j < judges->n; j++) {
        free(judges->items[j].name);
        free(judges->items[j].verdicts);
    }
    free(judges->items);
    *judges = (qa_judges){0};
}
