/* Encoding and decoding (see qadapter/text.h; loading is in tokenizer_load.c).
 *
 * Encoding, in the order of Hugging Face `tokenizers`: added tokens of the raw text; each stretch
 * between them normalised on its own; added tokens of the normalised text; pre-tokenizer; BPE of each
 * piece; and around it all what the post-processor adds. */
#include "text/tokenizer.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

void qa_tokenizer_free(qa_tokenizer *tokenizer) {
    if (tokenizer == NULL) {
        return;
    }
    qa_vocab_free(&tokenizer->vocab);
    qa_bpe_free(&tokenizer->bpe);
    qa_map64_free(&tokenizer->added_by_id);
    qa_token_trie_free(&tokenizer->added_raw);
    qa_token_trie_free(&tokenizer->added_normalised);
    qa_normaliser_free(&tokenizer->normaliser);
    qa_pretokeniser_free(&tokenizer->pretokeniser);
    qa_decoder_free(&tokenizer->decoder);
    qa_ids_free(&tokenizer->prefix);
    qa_ids_free(&tokenizer->suffix);
    free(tokenizer->added);
    json_decref(tokenizer->special_tokens);
    free(tokenizer->bos_text);
    free(tokenizer->eos_text);
    qa_warnings_free(&tokenizer->warnings);
    qa_warnings_free(&tokenizer->notes);
    free(tokenizer);
}

/* ---- encoding ---- */

/* One call's working memory and options. */
typedef struct encoding {
    const qa_tokenizer *tokenizer;
    bool continuation;
    qa_ids *ids;
    qa_text_work work; /* what the whole call may take */
    qa_normal_scratch normal;
    qa_pieces pieces;
    qa_bpe_scratch bpe;
} encoding;

static qa_status too_many_tries(qa_error *err) {
    return qa_fail(err, QA_ERR_LIMIT,
                   "looking for added tokens takes too much work: long ones nearly match everywhere");
}

/* A stretch of normalised text without added tokens. */
static qa_status encode_plain(encoding *e, qa_text_place place, const char *text, size_t n, qa_error *err) {
    const qa_tokenizer *tokenizer = e->tokenizer;
    QA_TRY(qa_pretokenise(&tokenizer->pretokeniser, place, text, n, &e->pieces, err));
    for (size_t i = 0; i < e->pieces.pieces.n; i++) {
        const qa_stretch *piece = &e->pieces.pieces.data[i];
        QA_TRY(qa_bpe_encode(&tokenizer->bpe, &tokenizer->vocab, &e->bpe, e->pieces.text + piece->start,
                             piece->end - piece->start, e->ids, err));
    }
    return QA_OK;
}

/* A stretch of raw text without added tokens that are looked for there. */
static qa_status encode_stretch(encoding *e, bool at_start, const char *text, size_t n, qa_error *err) {
    const qa_tokenizer *tokenizer = e->tokenizer;
    qa_token_search search = {.work = &e->work};
    qa_added_match match = {0};
    bool prefix = !(at_start && e->continuation);
    QA_TRY(qa_normalise(&tokenizer->normaliser, prefix, &e->normal, text, n, &text, &n, err));
    while (qa_token_search_next(&tokenizer->added_normalised, text, n, &search, &match)) {
        if (match.token != NULL) {
            QA_TRY(qa_ids_push(e->ids, match.token->id, err));
        } else {
            qa_text_place place = {.at_start = at_start && match.start == 0, .continuation = e->continuation};
            QA_TRY(encode_plain(e, place, text + match.start, match.end - match.start, err));
        }
    }
    return search.out_of_work ? too_many_tries(err) : QA_OK;
}

static qa_status encode_text(encoding *e, const char *text, size_t n, qa_error *err) {
    qa_token_search search = {.work = &e->work};
    qa_added_match match = {0};
    while (qa_token_search_next(&e->tokenizer->added_raw, text, n, &search, &match)) {
        if (match.token != NULL) {
            QA_TRY(qa_ids_push(e->ids, match.token->id, err));
        } else {
            QA_TRY(encode_stretch(e, match.start == 0, text + match.start, match.end - match.start, err));
        }
    }
    return search.out_of_work ? too_many_tries(err) : QA_OK;
}

qa_status qa_tokenizer_encode(const qa_tokenizer *tokenizer, const char *text, size_t bytes, qa_encode_options options,
                              qa_ids *ids, qa_error *err) {
    size_t bad = 0;
    QA_FAIL_IF(!qa_utf8_valid(text, bytes, &bad), err, QA_ERR_FORMAT,
               "the text is not valid UTF-8 at byte %zu (0x%02X)", bad, (unsigned)(unsigned char)text[bad]);
    encoding e = {.tokenizer = tokenizer, .continuation = options.continuation, .ids = ids};
    e.work = qa_text_work_of(bytes);
    e.normal.match.work = e.pieces.match.work = &e.work;
    size_t before = ids->n;
    qa_status status = QA_OK;
    if (options.add_special) {
        QA_GOTO(out, qa_ids_append(ids, tokenizer->prefix.data, tokenizer->prefix.n, err));
    }
    QA_GOTO(out, encode_text(&e, text, bytes, err));
    if (options.add_special) {
        QA_GOTO(out, qa_ids_append(ids, tokenizer->suffix.data, tokenizer->suffix.n, err));
    }
out:
    if (status != QA_OK) {
        ids->n = before;
    }
    qa_normal_scratch_free(&e.normal);
    qa_pieces_free(&e.pieces);
    qa_bpe_scratch_free(&e.bpe);
    return status;
}

/* ---- decoding ---- */

/* One more id; ids without a token, and skipped ones, change nothing. */
static qa_status push_id(const qa_tokenizer *tokenizer, qa_decoding *decoding, int32_t id, bool skip_special,
                         qa_text *text, qa_error *err) {
    const qa_token *token = qa_vocab_token(&tokenizer->vocab, id);
    if (token == NULL || (skip_special && (token->flags & QA_TOKEN_SPECIAL) != 0)) {
        return QA_OK;
    }
    return qa_decoding_push(decoding, qa_vocab_content(&tokenizer->vocab, token), token->bytes, text, err);
}

qa_status qa_tokenizer_decode(const qa_tokenizer *tokenizer, const int32_t *ids, size_t n, bool skip_special,
                              qa_text *text, qa_error *err) {
    qa_decoding *decoding = NULL;
    size_t before = text->n;
    qa_status status = QA_OK;
    QA_GOTO(out, qa_text_append(text, "", 0, err));
    QA_GOTO(out, qa_decoding_create(&decoding, &tokenizer->decoder, err));
    for (size_t i = 0; i < n; i++) {
        QA_GOTO(out, push_id(tokenizer, decoding, ids[i], skip_special, text, err));
    }
    QA_GOTO(out, qa_decoding_finish(decoding, text, err));
out:
    qa_decoding_free(decoding);
    if (status != QA_OK && text->data != NULL) {
        text->n = before;
        text->data[before] = '\0';
    }
    return status;
}

struct qa_decode_stream {
    const qa_tokenizer *tokenizer;
    qa_decoding *decoding;
    bool skip_special;
};

qa_status qa_decode_stream_create(qa_decode_stream **stream, const qa_tokenizer *tokenizer, bool skip_special,
                                  const int32_t *context, size_t n_context, qa_error *err) {
    qa_decode_stream *s = qa_alloc_array(1, sizeof *s);
    qa_text own = {0}; /* the context's text, which nobody sees */
    qa_status status = QA_OK;
    *stream = NULL;
    if (s == NULL) {
        return QA_NO_MEMORY(err, "a stream of text");
    }
    s->tokenizer = tokenizer;
    s->skip_special = skip_special;
    QA_GOTO(out, qa_decoding_create(&s->decoding, &tokenizer->decoder, err));
    for (size_t i = 0; i < n_context; i++) {
        QA_GOTO(out, push_id(tokenizer, s->decoding, context[i], skip_special, &own, err));
        own.n = 0;
    }
    QA_GOTO(out, qa_decoding_sync(s->decoding, &own, err));
    *stream = s;
    s = NULL;
out:
    qa_decode_stream_free(s);
    qa_text_free(&own);
    return status;
}

void qa_decode_stream_free(qa_decode_stream *stream) {
    if (stream != NULL) {
        qa_decoding_free(stream->decoding);
        free(stream);
    }
}

qa_status qa_decode_stream_push(qa_decode_stream *stream, int32_t id, qa_text *text, qa_error *err) {
    return push_id(stream->tokenizer, stream->decoding, id, stream->skip_special, text, err);
}

qa_status qa_decode_stream_finish(qa_decode_stream *stream, qa_text *text, qa_error *err) {
    return qa_decoding_finish(stream->decoding, text, err);
}

/* ---- what there is ---- */

size_t qa_tokenizer_vocab_size(const qa_tokenizer *tokenizer) { return tokenizer->vocab.size; }

int32_t qa_tokenizer_token_id(const qa_tokenizer *tokenizer, const char *content) {
    return qa_vocab_find(&tokenizer->vocab, content, strlen(content));
}

const char *qa_tokenizer_token(const qa_tokenizer *tokenizer, int32_t id) {
    const qa_token *token = qa_vocab_token(&tokenizer->vocab, id);
    return token == NULL ? NULL : qa_vocab_content(&tokenizer->vocab, token);
}

static bool has_flag(const qa_tokenizer *tokenizer, int32_t id, uint32_t flag) {
    const qa_token *token = qa_vocab_token(&tokenizer->vocab, id);
    return token != NULL && (token->flags & flag) != 0;
}

bool qa_tokenizer_is_added(const qa_tokenizer *tokenizer, int32_t id) {
    return has_flag(tokenizer, id, QA_TOKEN_ADDED);
}

bool qa_tokenizer_is_special(const qa_tokenizer *tokenizer, int32_t id) {
    return has_flag(tokenizer, id, QA_TOKEN_SPECIAL);
}

int32_t qa_tokenizer_bos(const qa_tokenizer *tokenizer) { return tokenizer->bos; }
int32_t qa_tokenizer_eos(const qa_tokenizer *tokenizer) { return tokenizer->eos; }
const char *qa_tokenizer_bos_text(const qa_tokenizer *tokenizer) { return tokenizer->bos_text; }
const char *qa_tokenizer_eos_text(const qa_tokenizer *tokenizer) { return tokenizer->eos_text; }
const char *qa_tokenizer_description(const qa_tokenizer *tokenizer) { return tokenizer->description; }
const qa_warnings *qa_tokenizer_warnings(const qa_tokenizer *tokenizer) { return &tokenizer->warnings; }
const qa_warnings *qa_tokenizer_notes(const qa_tokenizer *tokenizer) { return &tokenizer->notes; }
