/* What a loaded tokenizer consists of; see qadapter/text.h for what it does. */
#ifndef QA_TEXT_TOKENIZER_H
#define QA_TEXT_TOKENIZER_H

#include "io/json.h"
#include "qadapter/text.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normaliser.h"
#include "text/pretokeniser.h"
#include "text/vocab.h"

struct qa_tokenizer {
    qa_vocab vocab; /* the model's tokens and the added ones */
    size_t n_model; /* tokens of the model */
    qa_bpe bpe;
    qa_added_token *added; /* [n_added] */
    size_t n_added, added_capacity;
    qa_map64 added_by_id;           /* id -> index of added */
    int32_t largest_added;          /* id; -1: none */
    size_t added_bytes;             /* of all contents that were added */
    qa_token_trie added_raw;        /* those looked for in the raw text */
    qa_token_trie added_normalised; /* ... and in the normalised one */
    qa_normaliser normaliser;
    qa_pretokeniser pretokeniser;
    qa_decoder decoder;
    qa_ids prefix, suffix;     /* what add_special puts around a text */
    bool byte_level;           /* the pre-tokenizer has a ByteLevel */
    char *bos_text, *eos_text; /* of tokenizer_config.json; NULL when not named */
    int32_t bos, eos;          /* -1: not named, or not a token */
    json_t *special_tokens;    /* name -> content of all that have a name of their own, for chat templates */
    char description[96];
    qa_warnings warnings; /* what the folder's files disagree about */
    qa_warnings notes;    /* what other readers of the folder do otherwise */
};

/* The sections of tokenizer.json. Each takes the section's value (NULL or JSON null when there is none)
 * and adds to the tokenizer; messages name the place within the file ("pre_tokenizer[1]: ..."). */
QA_MUST_CHECK qa_status qa_tokenizer_read_model(qa_tokenizer *tokenizer, const json_t *model, qa_error *err);
QA_MUST_CHECK qa_status qa_tokenizer_read_normaliser(qa_normaliser *normaliser, const json_t *section, qa_error *err);
QA_MUST_CHECK qa_status qa_tokenizer_read_pretokeniser(qa_pretokeniser *pretokeniser, bool *byte_level,
                                                       const json_t *section, qa_error *err);
QA_MUST_CHECK qa_status qa_tokenizer_read_decoder(qa_decoder *decoder, const json_t *section, qa_error *err);
QA_MUST_CHECK qa_status qa_tokenizer_read_post_processor(qa_tokenizer *tokenizer, const json_t *section, qa_error *err);
/* Needs the model. */
QA_MUST_CHECK qa_status qa_tokenizer_read_added_tokens(qa_tokenizer *tokenizer, const json_t *section, qa_error *err);

/* ---- added tokens ---- */

/* The content (borrowed) and the flags of one, as they are written in all files. */
QA_MUST_CHECK qa_status qa_tokenizer_added_flags(const json_t *entry, const char *where, qa_added_token *token,
                                                 const char **content, size_t *n, qa_error *err);
/* Adds a token, or gives the one with this content these flags; *id is its id, -1 for an empty content. `where` is the
 * place in messages. token.id does not count. */
QA_MUST_CHECK qa_status qa_tokenizer_add_token(qa_tokenizer *tokenizer, qa_added_token token, const char *content,
                                               size_t n, const char *where, int32_t *id, qa_error *err);
/* The id that a content gets that has none yet. */
int32_t qa_tokenizer_next_id(const qa_tokenizer *tokenizer);
/* The added token with this id (any number), or NULL; valid until the next one is added. */
const qa_added_token *qa_tokenizer_added(const qa_tokenizer *tokenizer, int32_t id);
/* When all are there: makes them ready for encoding. Needs the normaliser. */
QA_MUST_CHECK qa_status qa_tokenizer_index_added(qa_tokenizer *tokenizer, qa_error *err);

/* ---- helpers of the readers ---- */

/* A required string member, which may hold NUL characters; *value is borrowed. */
QA_MUST_CHECK qa_status qa_tokenizer_string(const json_t *object, const char *key, const char *where,
                                            const char **value, size_t *n, qa_error *err);
/* A required member that must be one character. */
QA_MUST_CHECK qa_status qa_tokenizer_character(const json_t *object, const char *key, const char *where,
                                               const char **value, size_t *n, qa_error *err);
/* The "pattern" of a Replace or Split: {"String": ...} or {"Regex": ...}. */
QA_MUST_CHECK qa_status qa_tokenizer_pattern(const json_t *object, const char *where, qa_pattern **pattern,
                                             qa_error *err);
/* The required "type" of a section's object. */
QA_MUST_CHECK qa_status qa_tokenizer_type(const json_t *object, const char *where, const char **type, qa_error *err);

/* QA_ERR_UNSUPPORTED: `where` has a type that is not among those that `supported` lists. */
qa_status qa_tokenizer_unsupported(const char *where, const char *type, const char *supported, qa_error *err);

#endif
