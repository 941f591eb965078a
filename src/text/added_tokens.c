/* See added_tokens.h. */
#include "text/added_tokens.h"

#include "base/memory.h"
#include "base/try.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { STEP_UNITS = 3 }; /* of work, a look-up in the trie */

void qa_token_trie_free(qa_token_trie *trie) {
    qa_map64_free(&trie->edges);
    free(trie->tokens);
    memset(trie, 0, sizeof *trie);
}

static qa_status add_node(qa_token_trie *trie, qa_error *err) {
    QA_TRY(QA_GROW(trie->tokens, trie->capacity, trie->n_nodes + 1, err, "the added tokens"));
    trie->tokens[trie->n_nodes++] = NULL;
    return QA_OK;
}

qa_status qa_token_trie_add(qa_token_trie *trie, const char *content, size_t n, const qa_added_token *token,
                            qa_error *err) {
    if (trie->n_nodes == 0) {
        QA_TRY(add_node(trie, err));
    }
    uint64_t node = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t edge = node << 8 | (unsigned char)content[i];
        if (!qa_map64_get(&trie->edges, edge, &node)) {
            node = trie->n_nodes;
            QA_TRY(add_node(trie, err));
            QA_TRY(qa_map64_put(&trie->edges, edge, node, err));
        }
    }
    trie->first[(unsigned char)content[0]] = true;
    if (trie->tokens[node] == NULL) {
        trie->tokens[node] = token;
    }
    return QA_OK;
}

/* The longest content that starts at text[at]; NULL when there is none. */
static const qa_added_token *longest(const qa_token_trie *trie, const char *text, size_t n, size_t at, size_t *end,
                                     qa_token_search *search) {
    const qa_added_token *token = NULL;
    const size_t start = at;
    uint64_t node = 0;
    for (; at < n && qa_map64_get(&trie->edges, node << 8 | (unsigned char)text[at], &node); at++) {
        if (trie->tokens[node] != NULL) {
            token = trie->tokens[node];
            *end = at + 1;
        }
    }
    search->out_of_work = !qa_text_work_spend(search->work, STEP_UNITS * (at - start + 1));
    return token;
}

static bool is_single_word(const char *text, size_t n, size_t start, size_t end) {
    size_t before = start > 0 ? qa_utf8_before(text, start) : 0;
    return !(start > 0 && qa_is_word(qa_utf8_next(text, &before))) &&
           !(end < n && qa_is_word(qa_utf8_next(text, &end)));
}

/* Where the white space before text[start] begins, but not before text[limit]. */
static size_t space_before(const char *text, size_t start, size_t limit) {
    while (start > limit) {
        size_t before = qa_utf8_before(text, start);
        size_t at = before;
        if (!qa_is_white_space(qa_utf8_next(text, &at))) {
            break;
        }
        start = before;
    }
    return start;
}

/* Where the white space after text[end] ends. Tokens may lie in white space that one before them
 * swallowed; it is measured only once. */
static size_t space_after(qa_token_search *search, const char *text, size_t n, size_t end) {
    if (end >= search->space_from && end < search->space_end) {
        return search->space_end;
    }
    search->space_from = end;
    while (end < n) {
        size_t at = end;
        if (!qa_is_white_space(qa_utf8_next(text, &at))) {
            break;
        }
        end = at;
    }
    search->space_end = end;
    return end;
}

/* The next token at or after search->at, with the space it swallows; false when there is none. A match that
 * single_word refuses is passed over as a whole. The search goes on behind the content, so a token inside space that
 * rstrip swallowed is found as well. */
static bool find_token(const qa_token_trie *trie, const char *text, size_t n, qa_token_search *search,
                       qa_added_match *match) {
    while (trie->n_nodes > 0 && search->at < n && !search->out_of_work) {
        size_t start = search->at;
        size_t end = start;
        const qa_added_token *token =
            trie->first[(unsigned char)text[start]] ? longest(trie, text, n, start, &end, search) : NULL;
        if (token == NULL) {
            search->at++;
            continue;
        }
        search->at = end;
        if (token->single_word && !is_single_word(text, n, start, end)) {
            continue;
        }
        match->token = token;
        match->start = token->lstrip ? space_before(text, start, search->done) : start;
        match->end = token->rstrip ? space_after(search, text, n, end) : end;
        return true;
    }
    return false;
}

bool qa_token_search_next(const qa_token_trie *trie, const char *text, size_t n, qa_token_search *search,
                          qa_added_match *match) {
    if (search->has_pending) {
        search->has_pending = false;
        *match = search->pending;
        search->done = match->end;
        return true;
    }
    qa_added_match found = {0};
    if (search->out_of_work) {
        return false;
    }
    if (!find_token(trie, text, n, search, &found)) {
        if (search->out_of_work) {
            return false;
        }
        *match = (qa_added_match){.start = search->done, .end = n};
        search->done = n;
        return match->start < n;
    }
    if (search->done < found.start) {
        *match = (qa_added_match){.start = search->done, .end = found.start};
        search->pending = found;
        search->has_pending = true;
        return true;
    }
    *match = found;
    search->done = found.end;
    return true;
}
