/* Loads a tokenizer's folder. Here are tokenizer.json's model and post-processor; for its added tokens see
 * tokenizer_added.c, for the other sections tokenizer_sections.c, for the files beside it tokenizer_declared.c. */
#include "text/tokenizer.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "text/tokenizer_declared.h"
#include "text/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- model ---- */

static qa_status read_vocab(qa_tokenizer *tokenizer, const json_t *model, qa_error *err) {
    json_t *vocab = NULL;
    QA_TRY(qa_json_get_object(model, "vocab", true, "model", &vocab, err));
    QA_FAIL_IF(json_object_size(vocab) == 0, err, QA_ERR_FORMAT, "model: \"vocab\" is empty");
    for (void *member = json_object_iter(vocab); member != NULL; member = json_object_iter_next(vocab, member)) {
        const char *content = json_object_iter_key(member);
        size_t n = json_object_iter_key_len(member);
        const json_t *value = json_object_iter_value(member);
        json_int_t id = json_integer_value(value);
        QA_FAIL_IF(!json_is_integer(value) || id < 0 || id >= QA_MAX_TOKEN_ID, err, QA_ERR_FORMAT,
                   "model.vocab: the id of \"%s\" must be an integer from 0 to %d", QA_SHOWN(content, n),
                   QA_MAX_TOKEN_ID - 1);
        QA_TRY(qa_prefixed(qa_vocab_add(&tokenizer->vocab, content, n, (int32_t)id, QA_TOKEN_MODEL, err), err,
                           "model.vocab: "));
    }
    tokenizer->n_model = tokenizer->vocab.n;
    return QA_OK;
}

/* The two sides of a merge: "a b", or ["a", "b"]. *skip: a line that is no merge. */
static qa_status merge_sides(const json_t *merge, size_t index, const char *sides[2], size_t n[2], bool *skip,
                             qa_error *err) {
    *skip = false;
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge);
        size_t bytes = json_string_length(merge);
        const char *space = memchr(text, ' ', bytes);
        *skip = strncmp(text, "#version", 8) == 0;
        if (*skip) {
            return QA_OK;
        }
        if (space != NULL && memchr(space + 1, ' ', bytes - (size_t)(space + 1 - text)) == NULL) {
            sides[0] = text;
            n[0] = (size_t)(space - text);
            sides[1] = space + 1;
            n[1] = bytes - n[0] - 1;
            return QA_OK;
        }
    } else if (json_is_array(merge) && json_array_size(merge) == 2 && json_is_string(json_array_get(merge, 0)) &&
               json_is_string(json_array_get(merge, 1))) {
        for (size_t i = 0; i < 2; i++) {
            sides[i] = json_string_value(json_array_get(merge, i));
            n[i] = json_string_length(json_array_get(merge, i));
        }
        return QA_OK;
    }
    return qa_fail(err, QA_ERR_FORMAT,
                   "model.merges[%zu] must be two tokens, as \"a b\" with one space or as [\"a\", \"b\"]", index);
}

static qa_status read_merge(qa_tokenizer *tokenizer, const json_t *merge, size_t index, qa_text *joined,
                            qa_error *err) {
    const char *sides[2] = {NULL, NULL};
    size_t n[2] = {0, 0};
    int32_t ids[2] = {-1, -1};
    bool skip = false;
    QA_TRY(merge_sides(merge, index, sides, n, &skip, err));
    if (skip) {
        return QA_OK;
    }
    joined->n = 0;
    for (size_t i = 0; i < 2; i++) {
        ids[i] = qa_vocab_find_model(&tokenizer->vocab, sides[i], n[i]);
        QA_FAIL_IF(ids[i] < 0, err, QA_ERR_FORMAT, "model.merges[%zu]: token \"%s\" is not in the vocabulary", index,
                   QA_SHOWN(sides[i], n[i]));
        QA_TRY(qa_text_append(joined, sides[i], n[i], err));
    }
    int32_t made = qa_vocab_find_model(&tokenizer->vocab, joined->data, joined->n);
    QA_FAIL_IF(made < 0, err, QA_ERR_FORMAT, "model.merges[%zu] makes the token \"%s\", which is not in the vocabulary",
               index, QA_SHOWN(joined->data, joined->n));
    return qa_bpe_add_merge(&tokenizer->bpe, ids[0], ids[1], made, err);
}

static qa_status read_merges(qa_tokenizer *tokenizer, const json_t *model, qa_error *err) {
    json_t *merges = NULL;
    qa_text joined = {0};
    qa_status status = QA_OK;
    QA_TRY(qa_json_get_array(model, "merges", true, "model", &merges, err));
    QA_TRY(qa_bpe_reserve(&tokenizer->bpe, json_array_size(merges), err));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        QA_GOTO(out, read_merge(tokenizer, json_array_get(merges, i), i, &joined, err));
    }
out:
    qa_text_free(&joined);
    return status;
}

/* What would change the result and is not done here. */
static qa_status refuse_options(const json_t *model, qa_error *err) {
    static const char *const AFFIXES[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    double dropout = 0.0;
    QA_TRY(qa_json_get_double(model, "dropout", false, "model", &dropout, err));
    QA_FAIL_IF(dropout != 0.0, err, QA_ERR_UNSUPPORTED, "model: \"dropout\" is %g; random merges are not supported",
               dropout);
    for (size_t i = 0; i < 2; i++) {
        const json_t *affix = json_object_get(model, AFFIXES[i]);
        QA_FAIL_IF(affix != NULL && !json_is_null(affix) && (!json_is_string(affix) || json_string_length(affix) > 0),
                   err, QA_ERR_UNSUPPORTED, "model: a \"%s\" is not supported", AFFIXES[i]);
    }
    return QA_OK;
}

qa_status qa_tokenizer_read_model(qa_tokenizer *tokenizer, const json_t *model, qa_error *err) {
    qa_bpe *bpe = &tokenizer->bpe;
    const char *type = NULL;
    QA_TRY(qa_json_get_string(model, "type", false, "model", &type, err));
    if (type == NULL && json_object_get(model, "merges") == NULL) { /* old files of BPE models name no type */
        return qa_fail(err, QA_ERR_FORMAT, "model: \"type\" is missing");
    }
    if (type != NULL && strcmp(type, "BPE") != 0) {
        return qa_tokenizer_unsupported("model", type, "BPE models only", err);
    }
    QA_TRY(refuse_options(model, err));
    QA_TRY(qa_json_get_bool(model, "fuse_unk", false, "model", &bpe->fuse_unknown, err));
    QA_TRY(qa_json_get_bool(model, "byte_fallback", false, "model", &bpe->byte_fallback, err));
    QA_TRY(qa_json_get_bool(model, "ignore_merges", false, "model", &bpe->ignore_merges, err));
    QA_TRY(read_vocab(tokenizer, model, err));
    QA_TRY(read_merges(tokenizer, model, err));
    qa_bpe_index(bpe, &tokenizer->vocab);
    const json_t *unknown = json_object_get(model, "unk_token");
    bpe->has_unknown = unknown != NULL && !json_is_null(unknown);
    if (bpe->has_unknown) {
        const char *text = NULL;
        size_t n = 0;
        QA_TRY(qa_tokenizer_string(model, "unk_token", "model", &text, &n, err));
        bpe->unknown = qa_vocab_find_model(&tokenizer->vocab, text, n);
    }
    return QA_OK;
}

/* ---- post-processor ---- */

enum { MAX_PROCESSORS = 64 }; /* and pieces of a template, and ids of a piece: what goes around every text */

static qa_status check_count(const json_t *array, const char *where, const char *what, qa_error *err) {
    const size_t n = json_array_size(array);
    return n <= MAX_PROCESSORS ? QA_OK
                               : qa_fail(err, QA_ERR_LIMIT, "%s: %zu %s are too many; at most %d are allowed", where, n,
                                         what, MAX_PROCESSORS);
}

static qa_status template_token(const qa_tokenizer *tokenizer, const json_t *piece, const json_t *specials,
                                const char *where, qa_ids *ids, qa_error *err) {
    const char *name = NULL;
    json_t *special = NULL;
    json_t *values = NULL;
    QA_TRY(qa_json_get_string(piece, "id", true, where, &name, err));
    QA_TRY(qa_json_get_object(specials, name, true, where, &special, err));
    QA_TRY(qa_json_get_array(special, "ids", true, where, &values, err));
    QA_TRY(check_count(values, where, "ids of a special token", err));
    for (size_t i = 0; i < json_array_size(values); i++) {
        const json_t *value = json_array_get(values, i);
        json_int_t id = json_integer_value(value);
        QA_FAIL_IF(!json_is_integer(value) || id < 0 || id >= QA_MAX_TOKEN_ID ||
                       qa_vocab_token(&tokenizer->vocab, (int32_t)id) == NULL,
                   err, QA_ERR_FORMAT, "%s: ids[%zu] of \"%s\" is not the id of a token", where, i,
                   QA_SHOWN(name, strlen(name)));
        QA_TRY(qa_ids_push(ids, (int32_t)id, err));
    }
    return QA_OK;
}

/* A template goes around what the processors before it made: its own tokens are the outer ones. */
static qa_status read_template(qa_tokenizer *tokenizer, const json_t *section, const char *where, qa_error *err) {
    json_t *single = NULL;
    json_t *specials = NULL;
    qa_ids before = {0};
    qa_ids after = {0};
    size_t texts = 0;
    qa_status status = QA_OK;
    QA_TRY(qa_json_get_array(section, "single", true, where, &single, err));
    QA_TRY(check_count(single, where, "pieces of a template", err));
    QA_TRY(qa_json_get_object(section, "special_tokens", true, where, &specials, err));
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *text = json_object_get(piece, "Sequence");
        if (text != NULL) {
            const char *which = NULL;
            QA_GOTO(out, qa_json_get_string(text, "id", true, where, &which, err));
            texts += strcmp(which, "A") == 0 ? 1 : 2;
        } else {
            QA_GOTO(out, template_token(tokenizer, json_object_get(piece, "SpecialToken"), specials, where,
                                        texts == 0 ? &before : &after, err));
        }
    }
    if (texts != 1) {
        status = qa_fail(err, QA_ERR_UNSUPPORTED, "%s: \"single\" must hold the text A exactly once", where);
        goto out;
    }
    QA_GOTO(out, qa_ids_append(&before, tokenizer->prefix.data, tokenizer->prefix.n, err));
    QA_GOTO(out, qa_ids_append(&tokenizer->suffix, after.data, after.n, err));
    qa_ids inner = tokenizer->prefix;
    tokenizer->prefix = before;
    before = inner;
out:
    qa_ids_free(&before);
    qa_ids_free(&after);
    return status;
}

static qa_status post_processor(qa_tokenizer *tokenizer, const json_t *section, const char *where, bool nested,
                                qa_error *err) {
    const char *type = NULL;
    QA_TRY(qa_tokenizer_type(section, where, &type, err));
    if (strcmp(type, "ByteLevel") == 0) {
        return QA_OK; /* changes offsets only */
    }
    if (strcmp(type, "TemplateProcessing") == 0) {
        return read_template(tokenizer, section, where, err);
    }
    if (strcmp(type, "Sequence") != 0 || nested) {
        return qa_tokenizer_unsupported(where, type, "Sequence, TemplateProcessing and ByteLevel", err);
    }
    json_t *members = NULL;
    QA_TRY(qa_json_get_array(section, "processors", true, where, &members, err));
    QA_TRY(check_count(members, where, "processors", err));
    for (size_t i = 0; i < json_array_size(members); i++) {
        char inner[64];
        (void)snprintf(inner, sizeof inner, "post_processor[%zu]", i);
        QA_TRY(post_processor(tokenizer, json_array_get(members, i), inner, true, err));
    }
    return QA_OK;
}

qa_status qa_tokenizer_read_post_processor(qa_tokenizer *tokenizer, const json_t *section, qa_error *err) {
    return section == NULL || json_is_null(section) ? QA_OK
                                                    : post_processor(tokenizer, section, "post_processor", false, err);
}

/* ---- the files ---- */

static qa_status read_sections(qa_tokenizer *tokenizer, const json_t *root, qa_error *err) {
    json_t *model = NULL;
    QA_TRY(qa_json_get_object(root, "model", true, "the file", &model, err));
    QA_TRY(qa_tokenizer_read_model(tokenizer, model, err));
    QA_TRY(qa_tokenizer_read_normaliser(&tokenizer->normaliser, json_object_get(root, "normalizer"), err));
    QA_TRY(qa_tokenizer_read_added_tokens(tokenizer, json_object_get(root, "added_tokens"), err));
    QA_TRY(qa_tokenizer_read_pretokeniser(&tokenizer->pretokeniser, &tokenizer->byte_level,
                                          json_object_get(root, "pre_tokenizer"), err));
    return qa_tokenizer_read_decoder(&tokenizer->decoder, json_object_get(root, "decoder"), err);
}

/* What needs all tokens, those of the other files too. */
static qa_status finish_tokenizer(qa_tokenizer *tokenizer, const json_t *root, qa_error *err) {
    QA_TRY(qa_tokenizer_index_added(tokenizer, err));
    return qa_tokenizer_read_post_processor(tokenizer, json_object_get(root, "post_processor"), err);
}

static void describe(qa_tokenizer *tokenizer) {
    const char *kind = tokenizer->byte_level ? "byte-level BPE" : "BPE";
    if (!tokenizer->byte_level && tokenizer->bpe.byte_fallback) {
        kind = "SentencePiece-style BPE with byte fallback";
    }
    (void)snprintf(tokenizer->description, sizeof tokenizer->description, "%s, %zu tokens, %zu added", kind,
                   tokenizer->vocab.n, tokenizer->n_added);
}

/* A folder that has a tokenizer in another form only. */
static qa_status check_there(const char *dir, const char *path, qa_error *err) {
    static const char *const OTHERS[] = {"tokenizer.model", "vocab.json", "tekken.json", "vocab.txt", "spiece.model"};
    qa_status status = QA_OK;
    for (size_t i = 0; i < sizeof OTHERS / sizeof OTHERS[0] && status == QA_OK && !qa_path_exists(path); i++) {
        char *other = NULL;
        QA_TRY(qa_join_path(&other, dir, OTHERS[i], err));
        if (qa_path_exists(other)) {
            status = qa_fail(err, QA_ERR_UNSUPPORTED,
                             "%s holds %s but no tokenizer.json, which is what is read here: write one with "
                             "transformers, AutoTokenizer.from_pretrained(\"%s\").save_pretrained(\"%s\")",
                             dir, OTHERS[i], dir, dir);
        }
        free(other);
    }
    return status;
}

static qa_status load_tokenizer_folder(qa_tokenizer *tokenizer, const char *dir, const char *path, qa_error *err) {
    json_t *root = NULL;
    json_t *config = NULL;
    qa_status status = QA_OK;
    QA_TRY(check_there(dir, path, err));
    QA_GOTO(out, qa_json_load(&root, path, err));
    QA_GOTO(out, qa_prefixed(read_sections(tokenizer, root, err), err, "%s: ", path));
    QA_GOTO(out, qa_tokenizer_read_declared(tokenizer, dir, &config, err));
    QA_GOTO(out, qa_prefixed(finish_tokenizer(tokenizer, root, err), err, "%s: ", path));
    QA_GOTO(out, qa_tokenizer_compare_readers(tokenizer, dir, root, config, err));
    describe(tokenizer);
out:
    json_decref(root);
    json_decref(config);
    return status;
}

qa_status qa_tokenizer_load(qa_tokenizer **tokenizer, const char *dir, qa_error *err) {
    qa_tokenizer *t = qa_alloc_array(1, sizeof *t);
    char *path = qa_path_join(dir, "tokenizer.json");
    qa_status status = QA_OK;
    *tokenizer = NULL;
    if (t == NULL || path == NULL) {
        status = QA_NO_MEMORY(err, "a tokenizer");
        goto out;
    }
    t->bos = t->eos = t->largest_added = -1;
    QA_GOTO(out, load_tokenizer_folder(t, dir, path, err));
    *tokenizer = t;
    t = NULL;
out:
    qa_tokenizer_free(t);
    free(path);
    return status;
}
