/* The added tokens of a tokenizer: those of tokenizer.json, and those that files beside it declare.
 *
 * Tokens come one after the other, as `tokenizers` takes them: a content that has an id keeps it, another one gets the
 * next free id, and a content that comes again takes the flags of the later entry. When all are there their contents
 * go into the two tries that encoding searches. */
#include "text/tokenizer.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "text/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Contents in the wild are below 100 bytes each and below 1 MiB together. */
enum { MAX_ADDED_BYTES = 4096, MAX_ALL_ADDED_BYTES = 1 << 22 };

qa_status qa_tokenizer_added_flags(const json_t *entry, const char *where, qa_added_token *token, const char **content,
                                   size_t *n, qa_error *err) {
    QA_TRY(qa_tokenizer_string(entry, "content", where, content, n, err));
    QA_TRY(qa_json_get_bool(entry, "special", false, where, &token->special, err));
    token->normalized = !token->special;
    QA_TRY(qa_json_get_bool(entry, "normalized", false, where, &token->normalized, err));
    QA_TRY(qa_json_get_bool(entry, "single_word", false, where, &token->single_word, err));
    QA_TRY(qa_json_get_bool(entry, "lstrip", false, where, &token->lstrip, err));
    return qa_json_get_bool(entry, "rstrip", false, where, &token->rstrip, err);
}

int32_t qa_tokenizer_next_id(const qa_tokenizer *tokenizer) {
    const int32_t next = tokenizer->largest_added + 1;
    return (size_t)next > tokenizer->n_model ? next : (int32_t)tokenizer->n_model;
}

const qa_added_token *qa_tokenizer_added(const qa_tokenizer *tokenizer, int32_t id) {
    uint64_t at = 0;
    return id >= 0 && qa_map64_get(&tokenizer->added_by_id, (uint64_t)id, &at) ? &tokenizer->added[at] : NULL;
}

static qa_status check_size(qa_tokenizer *tokenizer, const char *content, size_t n, const char *where, qa_error *err) {
    QA_FAIL_IF(n > MAX_ADDED_BYTES, err, QA_ERR_LIMIT, "%s: the token \"%s...\" has %zu bytes; at most %d are allowed",
               where, QA_SHOWN(content, n < 32 ? n : 32), n, MAX_ADDED_BYTES);
    tokenizer->added_bytes += n;
    QA_FAIL_IF(tokenizer->added_bytes > MAX_ALL_ADDED_BYTES, err, QA_ERR_LIMIT,
               "%s: the added tokens have more than %d bytes together", where, MAX_ALL_ADDED_BYTES);
    return QA_OK;
}

qa_status qa_tokenizer_add_token(qa_tokenizer *tokenizer, qa_added_token token, const char *content, size_t n,
                                 const char *where, int32_t *id, qa_error *err) {
    *id = -1;
    if (n == 0) {
        return QA_OK; /* an empty token can never be found */
    }
    QA_TRY(check_size(tokenizer, content, n, where, err));
    token.id = qa_vocab_find(&tokenizer->vocab, content, n);
    if (token.id < 0) {
        token.id = qa_tokenizer_next_id(tokenizer);
    }
    const uint32_t flags = QA_TOKEN_ADDED | (token.special ? QA_TOKEN_SPECIAL : 0u);
    QA_TRY(qa_prefixed(qa_vocab_add(&tokenizer->vocab, content, n, token.id, flags, err), err, "%s: ", where));
    *id = token.id;
    uint64_t at = 0;
    if (qa_map64_get(&tokenizer->added_by_id, (uint64_t)token.id, &at)) { /* named again: the last entry counts */
        tokenizer->added[at] = token;
        return QA_OK;
    }
    QA_TRY(QA_GROW(tokenizer->added, tokenizer->added_capacity, tokenizer->n_added + 1, err, "%zu added tokens",
                   tokenizer->n_added + 1));
    QA_TRY(qa_map64_put(&tokenizer->added_by_id, (uint64_t)token.id, tokenizer->n_added, err));
    tokenizer->added[tokenizer->n_added++] = token;
    tokenizer->largest_added = token.id > tokenizer->largest_added ? token.id : tokenizer->largest_added;
    return QA_OK;
}

/* Reads one entry. The id is the one that the content has in the vocabulary, otherwise the next free
 * one: the file's own number only has to be a possible id. */
static qa_status read_added_token(qa_tokenizer *tokenizer, const json_t *entry, const char *where, qa_error *err) {
    qa_added_token token = {0};
    const char *content = NULL;
    size_t n = 0;
    size_t number = 0;
    int32_t id = -1;
    QA_TRY(qa_json_get_size(entry, "id", false, where, &number, err));
    QA_FAIL_IF(number >= QA_MAX_TOKEN_ID, err, QA_ERR_FORMAT, "%s: \"id\" is %zu; ids must be below %d", where, number,
               QA_MAX_TOKEN_ID);
    QA_TRY(qa_tokenizer_added_flags(entry, where, &token, &content, &n, err));
    return qa_tokenizer_add_token(tokenizer, token, content, n, where, &id, err);
}

qa_status qa_tokenizer_read_added_tokens(qa_tokenizer *tokenizer, const json_t *section, qa_error *err) {
    if (section == NULL || json_is_null(section)) {
        return QA_OK;
    }
    QA_FAIL_IF(!json_is_array(section), err, QA_ERR_FORMAT, "\"added_tokens\" must be an array");
    for (size_t i = 0; i < json_array_size(section); i++) {
        char where[64];
        (void)snprintf(where, sizeof where, "added_tokens[%zu]", i);
        QA_TRY(read_added_token(tokenizer, json_array_get(section, i), where, err));
    }
    return QA_OK;
}

/* Puts the tokens that are (not) special into the tries. */
static qa_status fill_tries(qa_tokenizer *tokenizer, bool special, qa_normal_scratch *scratch, qa_error *err) {
    for (size_t i = 0; i < tokenizer->n_added; i++) {
        const qa_added_token *token = &tokenizer->added[i];
        const qa_token *entry = qa_vocab_token(&tokenizer->vocab, token->id);
        if (token->special != special) {
            continue;
        }
        const char *content = qa_vocab_content(&tokenizer->vocab, entry);
        size_t n = entry->bytes;
        if (token->normalized) {
            QA_TRY(qa_normalise(&tokenizer->normaliser, true, scratch, content, n, &content, &n, err));
        }
        if (n > 0) {
            qa_token_trie *trie = token->normalized ? &tokenizer->added_normalised : &tokenizer->added_raw;
            QA_TRY(qa_token_trie_add(trie, content, n, token, err));
        }
    }
    return QA_OK;
}

qa_status qa_tokenizer_index_added(qa_tokenizer *tokenizer, qa_error *err) {
    qa_text_work work = qa_text_work_of(tokenizer->added_bytes / 8);
    qa_normal_scratch scratch = {.match.work = &work};
    qa_status status = fill_tries(tokenizer, true, &scratch, err); /* of equal contents, special tokens win */
    if (status == QA_OK) {
        status = fill_tries(tokenizer, false, &scratch, err);
    }
    qa_normal_scratch_free(&scratch);
    return status;
}
