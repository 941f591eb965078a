/* The tokens that the files beside tokenizer.json declare, added to the tokenizer as transformers adds them.
 *
 *   tokenizer_config.json   added_tokens_decoder: {"2": {"content": "</s>", flags}, ...}; every *_token; and the lists
 *                           extra_special_tokens or additional_special_tokens
 *   special_tokens_map.json, added_tokens.json ({content: id}): older files, which count only where the first one has
 * no added_tokens_decoder; then the map's *_token go before those of tokenizer_config.json
 *
 * A declared content that has an id keeps it and takes the declared flags; a new one gets the next free id. What the
 * files disagree about becomes a warning, or an error where following one of them would be a guess. */
#include "text/tokenizer_declared.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "io/file.h"
#include "io/input.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"
#include "text/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAMES = 1024, MAX_DECLARED = 1 << 18, WHERE_BYTES = 128, LISTED = 4 };

enum { CONFIG, MAP, ADDED, N_FILES };
static const char *const FILES[N_FILES] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};

/* The first few tokens that a warning is about. */
typedef struct declared_listing {
    char text[400];
    size_t n;
} declared_listing;

/* A token's name, or a member of a list of extra tokens. */
typedef struct special_name {
    const char *key;
    const json_t *value; /* a string or an object */
    const char *content;
    size_t bytes;
    int file; /* CONFIG or MAP */
    bool extra;
} special_name;

typedef struct declarations {
    qa_tokenizer *tokenizer;
    const char *dir;
    json_t *files[N_FILES]; /* NULL: no such file */
    bool legacy;            /* no added_tokens_decoder */
    qa_map64 declared;      /* ids that added_tokens_decoder gave flags to */
    special_name names[MAX_NAMES];
    size_t n_names;
    declared_listing missing[N_FILES], other_flags, other_ids[N_FILES];
} declarations;

/* ---- names ---- */

static void list(declared_listing *to, const char *content, size_t n, int32_t id) {
    const size_t used = strlen(to->text);
    if (to->n < LISTED) {
        (void)snprintf(to->text + used, sizeof to->text - used, "%s\"%s\" (%ld)", to->n == 0 ? "" : ", ",
                       QA_SHOWN(content, n), (long)id);
    } else if (to->n == LISTED) {
        (void)snprintf(to->text + used, sizeof to->text - used, "...");
    }
    to->n++;
}

/* The content of a name's value; NULL for null, for nothing, and for what is no token (numbers, true...). */
static qa_status content_of(const json_t *value, const char *key, const char **content, size_t *n, qa_error *err) {
    *content = NULL;
    *n = 0;
    if (json_is_object(value)) {
        return qa_tokenizer_string(value, "content", key, content, n, err);
    }
    if (json_is_string(value)) {
        *content = json_string_value(value);
        *n = json_string_length(value);
    } else if (value != NULL && !json_is_null(value)) {
        return qa_fail(err, QA_ERR_FORMAT, "\"%s\" must be a string or an object with \"content\"", key);
    }
    return QA_OK;
}

static qa_status add_name(declarations *d, int file, const char *key, const json_t *value, bool extra, qa_error *err) {
    special_name name = {.key = key, .value = value, .file = file, .extra = extra};
    QA_TRY(content_of(value, key, &name.content, &name.bytes, err));
    if (name.content == NULL || name.bytes == 0) {
        return QA_OK;
    }
    QA_FAIL_IF(strlen(name.content) != name.bytes, err, QA_ERR_FORMAT,
               "\"%s\" holds a NUL character, which is not allowed here", key);
    QA_FAIL_IF(d->n_names == MAX_NAMES, err, QA_ERR_LIMIT, "more than %d special tokens are named", MAX_NAMES);
    d->names[d->n_names++] = name;
    return QA_OK;
}

static const char *const STANDARD[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};
enum { N_STANDARD = sizeof STANDARD / sizeof STANDARD[0] };

static bool is_standard(const char *key) {
    for (size_t i = 0; i < N_STANDARD; i++) {
        if (strcmp(key, STANDARD[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* A key of the map that counts. */
static const json_t *in_map(const declarations *d, const char *key) {
    return d->legacy ? json_object_get(d->files[MAP], key) : NULL;
}

/* The other keys that end with _token: image_token... */
static qa_status model_specific(declarations *d, int file, qa_error *err) {
    json_t *from = d->files[file];
    for (void *member = json_object_iter(from); member != NULL; member = json_object_iter_next(from, member)) {
        const char *key = json_object_iter_key(member);
        const size_t n = strlen(key);
        const json_t *value = json_object_iter_value(member);
        const bool token =
            json_is_string(value) || (json_is_object(value) && json_object_get(value, "content") != NULL);
        if (n < 6 || strcmp(key + n - 6, "_token") != 0 || is_standard(key) || !token ||
            (file == CONFIG && in_map(d, key) != NULL)) {
            continue;
        }
        QA_TRY(add_name(d, file, key, value, false, err));
    }
    return QA_OK;
}

/* A list of tokens, or an object of named ones. */
static qa_status extra_tokens(declarations *d, int file, const char *key, qa_error *err) {
    json_t *from = json_object_get(d->files[file], key);
    for (size_t i = 0; json_is_array(from) && i < json_array_size(from); i++) {
        QA_TRY(add_name(d, file, key, json_array_get(from, i), true, err));
    }
    if (json_is_object(from)) {
        for (void *member = json_object_iter(from); member != NULL; member = json_object_iter_next(from, member)) {
            QA_TRY(add_name(d, file, json_object_iter_key(member), json_object_iter_value(member), false, err));
        }
    } else if (from != NULL && !json_is_null(from) && !json_is_array(from)) {
        return qa_fail(err, QA_ERR_FORMAT, "\"%s\" must be a list of tokens", key);
    }
    return QA_OK;
}

static qa_status names_of(declarations *d, int file, qa_error *err) {
    for (size_t i = 0; i < N_STANDARD; i++) {
        const json_t *value = json_object_get(d->files[file], STANDARD[i]);
        if (file == MAP || in_map(d, STANDARD[i]) == NULL) {
            QA_TRY(add_name(d, file, STANDARD[i], value, false, err));
        }
    }
    QA_TRY(model_specific(d, file, err));
    const json_t *extra = json_object_get(d->files[file], "extra_special_tokens");
    const bool any = json_array_size(extra) > 0 || json_object_size(extra) > 0;
    QA_TRY(extra_tokens(d, file, "extra_special_tokens", err));
    return any && file == CONFIG ? QA_OK : extra_tokens(d, file, "additional_special_tokens", err);
}

/* Fails with the file's name in front. */
static qa_status in_declaring_file(const declarations *d, int file, qa_status status, qa_error *err) {
    return qa_prefixed(status, err, "%s/%s: ", d->dir, FILES[file]);
}

/* transformers refuses a named token that is an object without "__type"; what is meant is plain. */
static void warn_of_plain_objects(declarations *d) {
    for (size_t i = 0; i < d->n_names; i++) {
        const special_name *name = &d->names[i];
        if (name->file == CONFIG && !name->extra && json_is_object(name->value) &&
            json_object_get(name->value, "__type") == NULL) {
            qa_warn(&d->tokenizer->warnings,
                    "%s/tokenizer_config.json: %s is an object without \"__type\": \"AddedToken\", which transformers "
                    "refuses; its content is used",
                    d->dir, name->key);
            return;
        }
    }
}

/* What the two files call by the same name and write differently. */
static void compare_names(declarations *d) {
    for (size_t i = 0; i < N_STANDARD && d->files[MAP] != NULL && d->files[CONFIG] != NULL; i++) {
        const char *content[2] = {NULL, NULL};
        size_t n[2] = {0, 0};
        qa_error ignored = {0};
        for (size_t k = 0; k < 2; k++) {
            const json_t *value = json_object_get(d->files[k == 0 ? CONFIG : MAP], STANDARD[i]);
            if (content_of(value, STANDARD[i], &content[k], &n[k], &ignored) != QA_OK) {
                content[k] = NULL;
            }
        }
        if (content[0] != NULL && content[1] != NULL && (n[0] != n[1] || memcmp(content[0], content[1], n[0]) != 0)) {
            qa_warn(&d->tokenizer->warnings,
                    "%s: %s is \"%s\" in tokenizer_config.json and \"%s\" in special_tokens_map.json: the %s is used, "
                    "as transformers does",
                    d->dir, STANDARD[i], QA_SHOWN(content[0], n[0]), QA_SHOWN(content[1], n[1]),
                    d->legacy ? "latter" : "former");
        }
    }
}

/* ---- tokens with ids ---- */

typedef struct declared_token {
    int32_t id;
    const char *key; /* of the object that declares it */
    const json_t *value;
} declared_token;

static int by_id(const void *a, const void *b) {
    const declared_token *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static bool same_flags(const qa_added_token *a, const qa_added_token *b) {
    return a->single_word == b->single_word && a->lstrip == b->lstrip && a->rstrip == b->rstrip &&
           a->normalized == b->normalized && a->special == b->special;
}

/* One token that a file declares under an id. */
static qa_status declare(declarations *d, int file, int32_t id, qa_added_token token, const char *content, size_t n,
                         qa_error *err) {
    qa_tokenizer *tokenizer = d->tokenizer;
    const int32_t known = qa_vocab_find(&tokenizer->vocab, content, n);
    if (n == 0) {
        return QA_OK;
    }
    QA_FAIL_IF(known < 0 && qa_tokenizer_next_id(tokenizer) != id, err, QA_ERR_MISMATCH,
               "token \"%s\" has the id %ld here and is not a token of tokenizer.json, where the next free id "
               "is %ld: the two files do not belong together",
               QA_SHOWN(content, n), (long)id, (long)qa_tokenizer_next_id(tokenizer));
    if (known >= 0 && known != id) {
        list(&d->other_ids[file], content, n, known);
    }
    const qa_added_token *before = qa_tokenizer_added(tokenizer, known);
    if (before == NULL) {
        list(&d->missing[file], content, n, known < 0 ? id : known);
    } else if (file == ADDED) {
        return QA_OK; /* tokenizer.json has its flags, which that file lacks */
    } else if (!same_flags(before, &token)) {
        list(&d->other_flags, content, n, known);
    }
    int32_t added = -1;
    QA_TRY(qa_tokenizer_add_token(tokenizer, token, content, n, "added token", &added, err));
    return qa_map64_put(&d->declared, (uint64_t)added, 1, err);
}

static qa_status decoder_token(declarations *d, const declared_token *entry, qa_error *err) {
    char where[WHERE_BYTES];
    qa_added_token token = {0};
    const char *content = NULL;
    size_t n = 0;
    (void)snprintf(where, sizeof where, "added_tokens_decoder[\"%s\"]", QA_SHOWN(entry->key, strlen(entry->key)));
    QA_TRY(qa_tokenizer_added_flags(entry->value, where, &token, &content, &n, err));
    return declare(d, CONFIG, entry->id, token, content, n, err);
}

/* Whether a content is a standard name's, or among the extra tokens. */
static bool is_named(const declarations *d, const char *content, size_t n) {
    for (size_t i = 0; i < d->n_names; i++) {
        const special_name *name = &d->names[i];
        /* transformers looks at the map's additional_special_tokens, and into tokenizer_config.json's objects, only
         * afterwards. */
        const bool late =
            name->file == MAP ? strcmp(name->key, "additional_special_tokens") == 0 : json_is_object(name->value);
        if (name->bytes == n && memcmp(name->content, content, n) == 0 && (name->extra || is_standard(name->key)) &&
            !late) {
            return true;
        }
    }
    return false;
}

static qa_status legacy_token(declarations *d, const declared_token *entry, qa_error *err) {
    const bool special = is_named(d, entry->key, strlen(entry->key));
    const qa_added_token token = {.special = special, .normalized = !special};
    return declare(d, ADDED, entry->id, token, entry->key, strlen(entry->key), err);
}

/* The id of a member: {"2": {...}}, or {"</s>": 2}. */
static bool entry_id(int file, const char *key, const json_t *value, int32_t *id) {
    if (file == ADDED) {
        const json_int_t number = json_integer_value(value);
        *id = number < 0 || number >= QA_MAX_TOKEN_ID ? -1 : (int32_t)number;
        return json_is_integer(value) && *id >= 0;
    }
    const size_t digits = strspn(key, "0123456789");
    *id = digits > 0 && digits < 9 && key[digits] == '\0' ? (int32_t)strtol(key, NULL, 10) : -1;
    return *id >= 0 && *id < QA_MAX_TOKEN_ID;
}

/* All members of an object, in the order of their ids. */
static qa_status declared_tokens(declarations *d, int file, json_t *object, qa_error *err) {
    const size_t n = json_object_size(object);
    QA_FAIL_IF(n > MAX_DECLARED, err, QA_ERR_LIMIT, "%zu added tokens are too many; at most %d are allowed", n,
               MAX_DECLARED);
    declared_token *entries = NULL;
    QA_TRY(QA_NEW(entries, n, err, "%zu added tokens", n));
    qa_status status = QA_OK;
    size_t count = 0;
    for (void *member = json_object_iter(object); member != NULL; member = json_object_iter_next(object, member)) {
        declared_token *entry = &entries[count++];
        entry->key = json_object_iter_key(member);
        entry->value = json_object_iter_value(member);
        if (!entry_id(file, entry->key, entry->value, &entry->id)) {
            status = qa_fail(err, QA_ERR_FORMAT, "%s \"%s\": the id must be an integer from 0 to %d",
                             file == ADDED ? "token" : "added_tokens_decoder", QA_SHOWN(entry->key, strlen(entry->key)),
                             QA_MAX_TOKEN_ID - 1);
            goto out;
        }
    }
    qsort(entries, count, sizeof *entries, by_id);
    for (size_t i = 0; i < count; i++) {
        QA_GOTO(out, file == ADDED ? legacy_token(d, &entries[i], err) : decoder_token(d, &entries[i], err));
    }
out:
    free(entries);
    return status;
}

static qa_status tokens_with_ids(declarations *d, qa_error *err) {
    if (!d->legacy) {
        json_t *decoder = json_object_get(d->files[CONFIG], "added_tokens_decoder");
        if (!json_is_object(decoder)) {
            return in_declaring_file(d, CONFIG,
                                     qa_fail(err, QA_ERR_FORMAT, "\"added_tokens_decoder\" must be an object"), err);
        }
        return in_declaring_file(d, CONFIG, declared_tokens(d, CONFIG, decoder, err), err);
    }
    return in_declaring_file(d, ADDED, declared_tokens(d, ADDED, d->files[ADDED], err), err);
}

/* ---- named tokens ---- */

static qa_status special_flag(qa_tokenizer *tokenizer, int32_t id) {
    uint64_t at = 0;
    if (qa_map64_get(&tokenizer->added_by_id, (uint64_t)id, &at)) {
        tokenizer->added[at].special = true;
        tokenizer->vocab.tokens[id].flags |= QA_TOKEN_SPECIAL;
    }
    return QA_OK;
}

static qa_status add_named(declarations *d, const special_name *name, qa_error *err) {
    qa_tokenizer *tokenizer = d->tokenizer;
    const int32_t known = qa_vocab_find(&tokenizer->vocab, name->content, name->bytes);
    uint64_t ignored = 0;
    if (qa_tokenizer_added(tokenizer, known) != NULL) {
        const bool counts = d->legacy || qa_map64_get(&d->declared, (uint64_t)known, &ignored);
        return counts && !name->extra ? special_flag(tokenizer, known) : QA_OK;
    }
    QA_FAIL_IF(known < 0 && (strcmp(name->key, "eos_token") == 0 || strcmp(name->key, "bos_token") == 0), err,
               QA_ERR_MISMATCH,
               "%s \"%s\" is not a token of tokenizer.json, so that no text would be encoded to it: name a token "
               "that is, or add it to the added_tokens there (transformers would make it the new id %ld)",
               name->key, QA_SHOWN(name->content, name->bytes), (long)qa_tokenizer_next_id(tokenizer));
    qa_added_token token = {.special = true};
    const char *content = NULL;
    size_t n = 0;
    int32_t id = -1;
    if (json_is_object(name->value)) {
        token.special = false;
        QA_TRY(qa_tokenizer_added_flags(name->value, name->key, &token, &content, &n, err));
        token.special = token.special || !name->extra || name->file == MAP;
    }
    QA_TRY(qa_tokenizer_add_token(tokenizer, token, name->content, name->bytes, name->key, &id, err));
    list(&d->missing[name->file], name->content, name->bytes, id);
    return QA_OK;
}

/* Names first, lists after them. */
static qa_status add_all_named(declarations *d, qa_error *err) {
    for (int extra = 0; extra < 2; extra++) {
        for (size_t i = 0; i < d->n_names; i++) {
            const special_name *name = &d->names[i];
            if (name->extra == (extra != 0)) {
                QA_TRY(in_declaring_file(d, name->file, add_named(d, name, err), err));
            }
        }
    }
    return QA_OK;
}

/* What transformers calls the special tokens map. */
static qa_status keep_names(const declarations *d, qa_error *err) {
    json_t *map = d->tokenizer->special_tokens = json_object();
    for (size_t i = 0; i < d->n_names; i++) {
        const special_name *name = &d->names[i];
        if (!name->extra && json_object_get(map, name->key) == NULL &&
            json_object_set_new(map, name->key, json_stringn_nocheck(name->content, name->bytes)) != 0) {
            return QA_NO_MEMORY(err, "\"%s\"", name->key);
        }
    }
    return map == NULL ? QA_NO_MEMORY(err, "the names of special tokens") : QA_OK;
}

/* bos_token, eos_token: text and id. */
static qa_status keep_name(const declarations *d, const char *key, char **text, int32_t *id, qa_error *err) {
    for (size_t i = 0; i < d->n_names; i++) {
        const special_name *name = &d->names[i];
        if (strcmp(name->key, key) == 0 && !name->extra && *text == NULL) {
            *text = qa_alloc_array(name->bytes + 1, 1);
            if (*text == NULL) {
                return QA_NO_MEMORY(err, "\"%s\"", key);
            }
            memcpy(*text, name->content, name->bytes);
            *id = qa_vocab_find(&d->tokenizer->vocab, name->content, name->bytes);
        }
    }
    return QA_OK;
}

/* ---- the files ---- */

static void warn_of_differences(declarations *d) {
    qa_warnings *warnings = &d->tokenizer->warnings;
    for (int file = 0; file < N_FILES; file++) {
        if (d->missing[file].n > 0) {
            qa_warn(warnings,
                    "%s/%s: %zu of its tokens %s not among the added_tokens of tokenizer.json: %s; added as special or "
                    "ordinary tokens as it says, which transformers does, too",
                    d->dir, FILES[file], d->missing[file].n, d->missing[file].n == 1 ? "is" : "are",
                    d->missing[file].text);
        }
        if (d->other_ids[file].n > 0) {
            qa_warn(warnings,
                    "%s/%s and tokenizer.json disagree about the ids of %s: those of tokenizer.json are used, "
                    "which transformers does, too",
                    d->dir, FILES[file], d->other_ids[file].text);
        }
    }
    if (d->other_flags.n > 0) {
        qa_warn(warnings,
                "%s/tokenizer_config.json and tokenizer.json disagree about the flags of %s: those of "
                "tokenizer_config.json are used, which transformers does, too",
                d->dir, d->other_flags.text);
    }
}

static qa_status load_optional(declarations *d, int file, qa_error *err) {
    char *path = NULL;
    QA_TRY(qa_join_path(&path, d->dir, FILES[file], err));
    bool there = false;
    qa_status status = qa_find_optional(&there, path, err);
    if (there) {
        status = qa_tokenizer_config_load(&d->files[file], path, err);
        if (status == QA_OK && !json_is_object(d->files[file])) {
            status = qa_fail(err, QA_ERR_FORMAT, "%s: must be a JSON object", path);
        }
    }
    free(path);
    return status;
}

qa_status qa_tokenizer_read_declared(qa_tokenizer *tokenizer, const char *dir, json_t **config, qa_error *err) {
    qa_status status = QA_OK;
    *config = NULL;
    declarations *d = NULL;
    QA_TRY(QA_NEW(d, 1, err, "the names of the special tokens"));
    d->tokenizer = tokenizer;
    d->dir = dir;
    for (int file = 0; file < N_FILES; file++) {
        QA_GOTO(out, load_optional(d, file, err));
    }
    const json_t *decoder = json_object_get(d->files[CONFIG], "added_tokens_decoder");
    d->legacy = decoder == NULL || json_is_null(decoder);
    QA_GOTO(out, in_declaring_file(d, CONFIG, names_of(d, CONFIG, err), err));
    if (d->legacy) {
        QA_GOTO(out, in_declaring_file(d, MAP, names_of(d, MAP, err), err));
    }
    compare_names(d);
    warn_of_plain_objects(d);
    QA_GOTO(out, tokens_with_ids(d, err));
    QA_GOTO(out, add_all_named(d, err));
    QA_GOTO(out, keep_names(d, err));
    QA_GOTO(out, keep_name(d, "bos_token", &tokenizer->bos_text, &tokenizer->bos, err));
    QA_GOTO(out, keep_name(d, "eos_token", &tokenizer->eos_text, &tokenizer->eos, err));
    warn_of_differences(d);
    *config = d->files[CONFIG];
    d->files[CONFIG] = NULL;
out:
    for (int file = 0; file < N_FILES; file++) {
        json_decref(d->files[file]);
    }
    qa_map64_free(&d->declared);
    free(d);
    return status;
}
