/* See vocab.h. A content's slot is found by a hash of its bytes, with linear probing. */
#include "text/vocab.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

void qa_vocab_free(qa_vocab *vocab) {
    qa_text_free(&vocab->contents);
    free(vocab->tokens);
    free(vocab->slots);
    memset(vocab, 0, sizeof *vocab);
}

/* Eight bytes at a time, multiplied and folded. */
static uint32_t hash_bytes(const char *data, size_t n) {
    uint64_t hash = UINT64_C(0x9E3779B97F4A7C15) ^ n;
    while (n > 0) {
        uint64_t word = 0;
        size_t part = n < sizeof word ? n : sizeof word;
        memcpy(&word, data, part);
        hash = (hash ^ word) * UINT64_C(0xBF58476D1CE4E5B9);
        hash ^= hash >> 31;
        data += part;
        n -= part;
    }
    return (uint32_t)(hash ^ (hash >> 32));
}

/* The slot of the content, or the empty one where it would go. There must be slots. */
static qa_vocab_slot *hash_slot_of(const qa_vocab *vocab, const char *content, size_t n, uint32_t hash) {
    size_t mask = ((size_t)1 << vocab->bits) - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        qa_vocab_slot *slot = &vocab->slots[i];
        if (slot->id_plus_1 == 0) {
            return slot;
        }
        if (slot->hash == hash) {
            const qa_token *token = &vocab->tokens[slot->id_plus_1 - 1];
            if (token->bytes == n && memcmp(qa_vocab_content(vocab, token), content, n) == 0) {
                return slot;
            }
        }
    }
}

int32_t qa_vocab_find(const qa_vocab *vocab, const char *content, size_t n) {
    if (vocab->n == 0) {
        return -1;
    }
    return (int32_t)hash_slot_of(vocab, content, n, hash_bytes(content, n))->id_plus_1 - 1;
}

int32_t qa_vocab_find_model(const qa_vocab *vocab, const char *content, size_t n) {
    int32_t id = qa_vocab_find(vocab, content, n);
    return id >= 0 && (vocab->tokens[id].flags & QA_TOKEN_MODEL) != 0 ? id : -1;
}

/* Room for one more content, and for the id. */
static qa_status grow(qa_vocab *vocab, int32_t id, qa_error *err) {
    const size_t room = vocab->capacity;
    QA_TRY(QA_GROW(vocab->tokens, vocab->capacity, (size_t)id + 1, err, "a vocabulary of %zu tokens", (size_t)id + 1));
    if (vocab->capacity > room) {
        memset(vocab->tokens + room, 0, (vocab->capacity - room) * sizeof *vocab->tokens);
    }
    if (vocab->slots == NULL || vocab->n >= (size_t)1 << (vocab->bits - 1)) {
        unsigned bits = vocab->slots == NULL ? 9 : vocab->bits + 1;
        qa_vocab_slot *slots = NULL;
        QA_TRY(QA_NEW(slots, (size_t)1 << bits, err, "a vocabulary of %zu tokens", vocab->n));
        size_t mask = ((size_t)1 << bits) - 1;
        for (size_t i = 0; vocab->slots != NULL && i < (size_t)1 << vocab->bits; i++) {
            if (vocab->slots[i].id_plus_1 != 0) {
                size_t to = vocab->slots[i].hash & mask;
                while (slots[to].id_plus_1 != 0) {
                    to = (to + 1) & mask;
                }
                slots[to] = vocab->slots[i];
            }
        }
        free(vocab->slots);
        vocab->slots = slots;
        vocab->bits = bits;
    }
    return QA_OK;
}

qa_status qa_vocab_add(qa_vocab *vocab, const char *content, size_t n, int32_t id, uint32_t flags, qa_error *err) {
    QA_FAIL_IF(id < 0 || id >= QA_MAX_TOKEN_ID, err, QA_ERR_FORMAT,
               "token \"%s\" has the id %ld; ids must be from 0 to %d", QA_SHOWN(content, n), (long)id,
               QA_MAX_TOKEN_ID - 1);
    QA_TRY(grow(vocab, id, err));
    uint32_t hash = hash_bytes(content, n);
    qa_vocab_slot *slot = hash_slot_of(vocab, content, n, hash);
    if (slot->id_plus_1 != 0) {
        QA_FAIL_IF(slot->id_plus_1 != (uint32_t)id + 1, err, QA_ERR_FORMAT, "token \"%s\" has two ids: %lu and %ld",
                   QA_SHOWN(content, n), (unsigned long)slot->id_plus_1 - 1, (long)id);
        vocab->tokens[id].flags |= flags;
        return QA_OK;
    }
    const qa_token *taken = qa_vocab_token(vocab, id);
    QA_FAIL_IF(taken != NULL, err, QA_ERR_FORMAT, "id %ld belongs to two tokens: \"%s\" and \"%s\"", (long)id,
               QA_SHOWN(qa_vocab_content(vocab, taken), taken->bytes), QA_SHOWN(content, n));
    size_t start = vocab->contents.n;
    QA_FAIL_IF(n > UINT32_MAX / 2 || start > UINT32_MAX / 2, err, QA_ERR_LIMIT,
               "the tokens' contents take more than 2 GiB");
    QA_TRY(qa_text_append(&vocab->contents, content, n, err));
    QA_TRY(qa_text_append(&vocab->contents, "", 1, err));
    vocab->tokens[id] = (qa_token){.start = (uint32_t)start, .bytes = (uint32_t)n, .flags = flags};
    *slot = (qa_vocab_slot){.hash = hash, .id_plus_1 = (uint32_t)id + 1};
    vocab->n++;
    if ((size_t)id >= vocab->size) {
        vocab->size = (size_t)id + 1;
    }
    return QA_OK;
}
