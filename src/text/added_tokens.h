/* Added tokens: contents that are cut out of a text before it is encoded, special or not. */
#ifndef QA_TEXT_ADDED_TOKENS_H
#define QA_TEXT_ADDED_TOKENS_H

#include "qadapter/status.h"
#include "text/hash.h"
#include "text/text_work.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qa_added_token {
    int32_t id;
    bool single_word; /* only where no word character stands on either side */
    bool lstrip;      /* swallows the white space before it */
    bool rstrip;      /* ... and after it */
    bool normalized;  /* looked for in the normalised text */
    bool special;
} qa_added_token;

/* A trie over the contents of added tokens. Zero-initialise; free with qa_token_trie_free. */
typedef struct qa_token_trie {
    qa_map64 edges;                /* node << 8 | byte -> node; node 0 is the root */
    const qa_added_token **tokens; /* [n_nodes] the token that ends at the node, or NULL; borrowed */
    size_t n_nodes, capacity;
    bool first[256]; /* whether a content starts with this byte */
} qa_token_trie;

void qa_token_trie_free(qa_token_trie *trie);

/* Adds a token under content[n], n > 0; of several with the same content the first one counts. */
QA_MUST_CHECK qa_status qa_token_trie_add(qa_token_trie *trie, const char *content, size_t n,
                                          const qa_added_token *token, qa_error *err);

/* A stretch of the text: an added token, or (token NULL) what lies between. */
typedef struct qa_added_match {
    const qa_added_token *token;
    size_t start, end;
} qa_added_match;

/* Goes through a text match by match. Zero-initialise, but for the budget. */
typedef struct qa_token_search {
    size_t done;      /* everything before has been given out */
    size_t at;        /* where to look on */
    bool has_pending; /* `pending` is a token found behind the stretch given out last */
    qa_added_match pending;
    size_t space_from, space_end; /* white space already measured for rstrip */
    qa_text_work *work;           /* borrowed: the call's budget */
    bool out_of_work;             /* it was spent: the search ended early */
} qa_token_search;

/* The next stretch of text[n] (valid UTF-8), never an empty one between tokens; false at the end, and when
 * the budget is spent. Tokens: leftmost, then longest. */
bool qa_token_search_next(const qa_token_trie *trie, const char *text, size_t n, qa_token_search *search,
                          qa_added_match *match);

#endif
