/* A corpus: documents from JSON Lines as token ids, and which of them are learned.
 *
 * A conversation is written by the chat template and encoded in parts: before every turn of the assistant there is a
 * boundary between tokens, and one after it, so that what the model learns to say stands after the very ids that it is
 * given as a prompt later (text/text_begin.h), as in preference pairs.
 *
 *     <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n | Hello<|im_end|> | \n
 *                                                              learned           with QA_LEARN_ALL as all else
 */
#include "data/corpus.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "base/warnings.h"
#include "data/pairs.h"
#include "io/json_lines.h"
#include "text/answer_end.h"
#include "text/chat_open.h"
#include "text/chat_turn.h"
#include "text/text_begin.h"

#include <stdlib.h>
#include <string.h>

struct qa_corpus {
    qa_document *documents; /* [n]; pointers into ids and learned are set when loading is over */
    size_t n, capacity;
    qa_ids ids;
    bool *learned; /* [room], as many as ids has used */
    size_t room;
    size_t cut, skipped, conversations;
    size_t learned_tokens, rows, longest;
    json_t *chat_record;               /* qa_chat_record of what wrote its conversations; NULL: nothing did */
    char columns[QA_COLUMN_MAP_BYTES]; /* "": none */
    qa_warnings warnings;
};

typedef struct corpus_loader {
    qa_corpus *corpus;
    const qa_tokenizer *tokenizer; /* NULL: documents of ids only */
    const qa_chat *chat;           /* NULL: none */
    qa_learn learn;
    size_t max_length, vocab_size;
    qa_json_lines *lines;
    size_t line, read;
    qa_ids ids;    /* of the document */
    bool *learned; /* [room] */
    size_t room;
    qa_answer_end end;
    qa_dialogue dialogue;
    qa_columns columns;                 /* keys that hold something and are not used */
    qa_column_map map;                  /* names of the file's columns */
    size_t no_system;                   /* conversations whose system message the template leaves out */
    size_t doubled_ends, first_doubled; /* answers that bring the end which the template writes; the first's line */
    qa_text whole, response;
    qa_chat_turn turn;
} corpus_loader;

/* ---- the finished corpus ---- */

void qa_corpus_free(qa_corpus *corpus) {
    if (corpus != NULL) {
        free(corpus->documents);
        qa_ids_free(&corpus->ids);
        free(corpus->learned);
        json_decref(corpus->chat_record);
        qa_warnings_free(&corpus->warnings);
        free(corpus);
    }
}

size_t qa_corpus_count(const qa_corpus *corpus) { return corpus->n; }
const qa_document *qa_corpus_at(const qa_corpus *corpus, size_t i) { return &corpus->documents[i]; }
size_t qa_corpus_tokens(const qa_corpus *corpus) { return corpus->ids.n; }
size_t qa_corpus_learned(const qa_corpus *corpus) { return corpus->learned_tokens; }
size_t qa_corpus_rows(const qa_corpus *corpus) { return corpus->rows; }
size_t qa_corpus_longest(const qa_corpus *corpus) { return corpus->longest; }
size_t qa_corpus_cut(const qa_corpus *corpus) { return corpus->cut; }
size_t qa_corpus_conversations(const qa_corpus *corpus) { return corpus->conversations; }
size_t qa_corpus_skipped(const qa_corpus *corpus) { return corpus->skipped; }
const json_t *qa_corpus_chat_record(const qa_corpus *corpus) { return corpus->chat_record; }
const char *qa_corpus_columns(const qa_corpus *corpus) { return corpus->columns[0] == '\0' ? NULL : corpus->columns; }
const qa_warnings *qa_corpus_warnings(const qa_corpus *corpus) { return &corpus->warnings; }

size_t qa_document_rows(const qa_document *document) {
    size_t n = document->n;
    while (n > 0 && !document->learned[n - 1]) {
        n--;
    }
    return n == 0 ? 0 : n - 1;
}

uint64_t qa_corpus_fingerprint(const qa_corpus *corpus) {
    uint64_t hash = qa_hash(corpus->n, corpus->ids.n);
    for (size_t d = 0; d < corpus->n; d++) {
        const qa_document *document = &corpus->documents[d];
        hash = qa_hash(hash, document->n);
        for (size_t i = 0; i < document->n; i++) {
            hash = qa_hash(hash, 2 * (uint64_t)(uint32_t)document->ids[i] + (document->learned[i] ? 1 : 0));
        }
    }
    return hash;
}

/* The ids no longer move: every document gets its pointers, and what depends on them. */
static void finish_corpus(qa_corpus *corpus) {
    size_t at = 0;
    for (size_t i = 0; i < corpus->n; i++) {
        qa_document *document = &corpus->documents[i];
        document->ids = corpus->ids.data + at;
        document->learned = corpus->learned + at;
        at += document->n;
        corpus->rows += qa_document_rows(document);
        corpus->longest = document->n > corpus->longest ? document->n : corpus->longest;
    }
}

/* ---- adding one document ---- */

/* The tokens that were appended to the document since it had `start` are learned, or not. */
static qa_status mark_learned(corpus_loader *l, size_t start, bool learned, qa_error *err) {
    QA_TRY(QA_GROW(l->learned, l->room, l->ids.n, err, "%zu tokens", l->ids.n));
    for (size_t i = start; i < l->ids.n; i++) {
        l->learned[i] = learned && i > 0;
    }
    return QA_OK;
}

static qa_status push_document(qa_corpus *corpus, qa_document document, qa_error *err) {
    QA_TRY(QA_GROW(corpus->documents, corpus->capacity, corpus->n + 1, err, "%zu documents", corpus->n + 1));
    corpus->documents[corpus->n++] = document;
    return QA_OK;
}

static qa_status check_document_ids(const corpus_loader *l, qa_error *err) {
    for (size_t i = 0; i < l->ids.n; i++) {
        QA_FAIL_IF(l->ids.data[i] < 0 || (size_t)l->ids.data[i] >= l->vocab_size, err, QA_ERR_ARGUMENT,
                   "token %zu is the id %ld, outside the vocabulary of %zu", i, (long)l->ids.data[i], l->vocab_size);
    }
    return QA_OK;
}

static size_t count_learned(const bool *learned, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += learned[i] ? 1 : 0;
    }
    return count;
}

/* The document in l->ids and l->learned goes into the corpus, cut to the length limit. */
static qa_status add_document(corpus_loader *l, qa_error *err) {
    qa_corpus *corpus = l->corpus;
    size_t n = l->ids.n, total = 0;
    QA_TRY(check_document_ids(l, err));
    if (n > l->max_length) {
        n = l->max_length;
        corpus->cut++;
    }
    const size_t learned = count_learned(l->learned, n);
    if (learned == 0) {
        corpus->skipped++;
        return QA_OK;
    }
    QA_FAIL_IF(!qa_add_size(corpus->ids.n, n, &total), err, QA_ERR_LIMIT, "too many tokens");
    QA_TRY(QA_GROW(corpus->learned, corpus->room, total, err, "%zu tokens", total));
    QA_TRY(push_document(corpus, (qa_document){.n = n, .line = l->line}, err));
    memcpy(corpus->learned + corpus->ids.n, l->learned, n * sizeof *l->learned);
    corpus->learned_tokens += learned;
    return qa_ids_append(&corpus->ids, l->ids.data, n, err);
}

/* ---- the three forms ---- */

static qa_status need_tokenizer(const corpus_loader *l, qa_error *err) {
    return l->tokenizer != NULL ? QA_OK
                                : qa_fail(err, QA_ERR_ARGUMENT,
                                          "the document is text, which needs a tokenizer; without one every line must "
                                          "be {\"ids\": [...]}");
}

/* Ends a document that no template ends; its own text begins at `start`. */
static qa_status close_document(corpus_loader *l, size_t start, qa_error *err) {
    QA_FAIL_IF(l->end.closing < 0, err, QA_ERR_ARGUMENT,
               "the tokenizer names no end-of-sequence token, so a text has no end: set \"eos_token\" in its "
               "tokenizer_config.json");
    return qa_answer_end_close(&l->end, l->tokenizer, QA_RESPONSE_END_TOKEN, start, &l->ids, err);
}

static qa_status add_text(corpus_loader *l, const json_t *text, qa_error *err) {
    QA_FAIL_IF(!json_is_string(text), err, QA_ERR_FORMAT, "\"text\" must be a string");
    QA_TRY(need_tokenizer(l, err));
    QA_TRY(qa_encode_plain_text(l->tokenizer, json_string_value(text), json_string_length(text), &l->ids, err));
    QA_TRY(close_document(l, qa_text_begin(l->tokenizer)->n, err));
    QA_TRY(mark_learned(l, 0, true, err));
    return add_document(l, err);
}

static qa_status add_ids(corpus_loader *l, const json_t *ids, qa_error *err) {
    QA_FAIL_IF(!json_is_array(ids), err, QA_ERR_FORMAT, "\"ids\" must be an array of token ids");
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        QA_FAIL_IF(!json_is_integer(id), err, QA_ERR_FORMAT, "\"ids\"[%zu] must be an integer", i);
        const json_int_t value = json_integer_value(id);
        QA_FAIL_IF(value < 0 || (uint64_t)value >= l->vocab_size, err, QA_ERR_ARGUMENT,
                   "\"ids\"[%zu] is %lld, outside the vocabulary of %zu", i, (long long)value, l->vocab_size);
        QA_TRY(qa_ids_push(&l->ids, (int32_t)value, err));
    }
    QA_TRY(mark_learned(l, 0, true, err));
    return add_document(l, err);
}

static bool has_at(const qa_text *whole, size_t at, const qa_text *part) {
    return whole->n >= at && whole->n - at >= part->n &&
           (part->n == 0 || memcmp(whole->data + at, part->data, part->n) == 0);
}

/* Encodes whole[from, to). */
static qa_status append_part(corpus_loader *l, size_t from, size_t to, bool learned, qa_error *err) {
    const size_t start = l->ids.n;
    if (to > from) {
        QA_TRY(qa_encode_after(l->tokenizer, &l->ids, l->whole.data + from, to - from, &l->ids, err));
    }
    return mark_learned(l, start, learned, err);
}

/* Where the assistant's turn number i stands in the whole: what the template writes of it, up to and with its end. */
static qa_status find_turn(corpus_loader *l, size_t i, size_t at, size_t *begin, size_t *end, qa_error *err) {
    const qa_message *said = &l->dialogue.messages[i];
    const qa_chat_turn *turn = &l->turn;
    bool ended = false;
    l->response.n = 0;
    QA_TRY(qa_chat_turn_write(&l->turn, l->chat, l->dialogue.messages, i, err));
    QA_TRY(qa_chat_turn_content(turn, l->chat, said->content, said->content_bytes, true, &l->response, err));
    QA_TRY(qa_chat_turn_end(turn, l->chat, l->end.turn, false, &l->response, &ended, err));
    *begin = turn->prompt.n;
    *end = *begin + l->response.n;
    QA_FAIL_IF(*begin < at || !has_at(&l->whole, 0, &turn->prompt) || !has_at(&l->whole, *begin, &l->response), err,
               QA_ERR_UNSUPPORTED,
               "the chat template %s writes message %zu of this conversation otherwise than as an answer to "
               "those before it, so what the model would say cannot be told apart; split the conversation",
               qa_chat_name(l->chat), i + 1);
    return QA_OK;
}

/* The assistant's turn number i: what stands before it, from *at, and the turn itself; *at moves behind it. */
static qa_status append_turn(corpus_loader *l, size_t i, size_t *at, qa_error *err) {
    size_t begin = 0, end = 0;
    QA_TRY(find_turn(l, i, *at, &begin, &end, err));
    QA_TRY(append_part(l, *at, begin, l->learn == QA_LEARN_ALL, err));
    *at = end;
    const size_t start = l->ids.n;
    bool doubled = false;
    QA_TRY(append_part(l, begin, end, true, err));
    QA_TRY(qa_answer_end_doubled(&l->end, l->tokenizer, l->ids.data + start, l->ids.n - start, &doubled, err));
    if (doubled && l->doubled_ends++ == 0) {
        l->first_doubled = l->line;
    }
    return QA_OK;
}

/* Under `name`, and its end, if it stands apart, under "completion". */
static qa_status add_conversation(corpus_loader *l, const json_t *line, const char *name, qa_error *err) {
    const json_t *messages = qa_pairs_member(line, name);
    const json_t *rest = strcmp(name, "prompt") == 0 ? qa_pairs_member(line, "completion") : NULL;
    size_t at = 0;
    QA_FAIL_IF(!json_is_array(messages) || json_array_size(messages) == 0 || (rest != NULL && !json_is_array(rest)),
               err, QA_ERR_FORMAT, "\"%s\" must be an array of at least one message%s", name,
               rest == NULL ? "" : ", and \"completion\" one");
    QA_TRY(need_tokenizer(l, err));
    l->dialogue.n = 0;
    l->whole.n = 0;
    QA_TRY(qa_dialogue_push_json(&l->dialogue, messages, name, &l->columns, err));
    QA_TRY(rest == NULL ? QA_OK : qa_dialogue_push_json(&l->dialogue, rest, "completion", &l->columns, err));
    l->corpus->conversations++;
    const size_t n = l->dialogue.n;
    QA_TRY(qa_chat_write(l->chat, l->dialogue.messages, n, false, &l->whole, err));
    l->no_system += qa_chat_drops_system(l->dialogue.messages, n, &l->whole) ? 1 : 0;
    /* What is cut off needs no turns: every one of them is found by writing all before it anew. */
    for (size_t i = 0; i < n && l->ids.n <= l->max_length; i++) {
        if (strcmp(l->dialogue.messages[i].role, "assistant") == 0) {
            QA_TRY(append_turn(l, i, &at, err));
        }
    }
    if (l->ids.n > l->max_length) {
        return add_document(l, err);
    }
    const bool ends_open = l->end.turn[0] == '\0' && strcmp(l->dialogue.messages[n - 1].role, "assistant") == 0;
    QA_TRY(append_part(l, at, l->whole.n, l->learn == QA_LEARN_ALL, err));
    if (ends_open) { /* a template that does not end the last turn */
        const size_t start = l->ids.n;
        QA_TRY(close_document(l, start, err));
        QA_TRY(mark_learned(l, start, true, err));
    }
    return add_document(l, err);
}

static qa_status read_named_document(corpus_loader *l, const json_t *line, qa_error *err) {
    char found[QA_FOUND_BYTES], hint[QA_COLUMN_HINT_BYTES];
    static const char *const FORMS[] = {"text", "messages", "ids", NULL}, *const PROMPTED[] = {"prompt", "completion",
                                                                                               NULL};
    const json_t *ids = qa_pairs_member(line, "ids");
    const json_t *messages = qa_pairs_member(line, "messages");
    const json_t *text = qa_pairs_member(line, "text");
    if (ids == NULL && messages == NULL && text == NULL && json_is_array(qa_pairs_member(line, "prompt")) &&
        qa_pairs_member(line, "completion") != NULL) {
        QA_TRY(qa_columns_check_row(&l->columns, line, PROMPTED, QA_PAIRS_DIALOGUES, err));
        return add_conversation(l, line, "prompt", err);
    }
    QA_FAIL_IF((ids != NULL) + (messages != NULL) + (text != NULL) != 1, err, QA_ERR_FORMAT,
               "a document is an object with one of \"text\", \"messages\" and \"ids\"%s%s%s",
               qa_columns_found(line, found), qa_column_map_hint(line, QA_COLUMNS_OF_DOCUMENTS, hint),
               json_object_get(line, "conversations") == NULL
                   ? ""
                   : "; this looks like ShareGPT's form: write \"messages\" with \"role\" and \"content\"");
    QA_TRY(qa_columns_check_row(&l->columns, line, FORMS,
                                ids != NULL    ? QA_PAIRS_IDS
                                : text != NULL ? QA_PAIRS_TEXT
                                               : QA_PAIRS_DIALOGUES,
                                err));
    return ids != NULL        ? add_ids(l, ids, err)
           : messages != NULL ? add_conversation(l, line, "messages", err)
                              : add_text(l, text, err);
}

static qa_status read_document(void *user, const json_t *line, qa_error *err) {
    corpus_loader *l = user;
    json_t *named = NULL;
    l->ids.n = 0;
    l->read++;
    l->line = qa_json_lines_number(l->lines);
    QA_TRY(qa_column_map_apply(&l->map, line, &l->columns, &named, err));
    const qa_status status = read_named_document(l, named, err);
    json_decref(named);
    return status;
}

/* ---- the file ---- */

static qa_status read_documents(corpus_loader *l, qa_error *err) {
    QA_TRY(qa_json_lines_each(l->lines, read_document, l, err));
    QA_TRY(qa_prefixed(qa_column_map_check_seen(&l->map, err), err, "%s: ", qa_json_lines_name(l->lines)));
    QA_FAIL_IF(l->read == 0, err, QA_ERR_FORMAT, "%s: no documents in the file", qa_json_lines_name(l->lines));
    QA_FAIL_IF(l->corpus->n == 0, err, QA_ERR_FORMAT,
               "%s: none of %zu documents has a token to learn (one token after another%s)",
               qa_json_lines_name(l->lines), l->read, l->learn == QA_LEARN_RESPONSES ? ", in an assistant's turn" : "");
    return QA_OK;
}

static qa_status check_corpus_arguments(const corpus_loader *l, qa_error *err) {
    QA_FAIL_IF(l->max_length < 2, err, QA_ERR_ARGUMENT, "the length limit must be 2 tokens or more, found %zu",
               l->max_length);
    QA_FAIL_IF(l->tokenizer != NULL && qa_tokenizer_vocab_size(l->tokenizer) > l->vocab_size, err, QA_ERR_MISMATCH,
               "the tokenizer does not fit the model: it has %zu tokens, config.json's vocab_size is %zu",
               qa_tokenizer_vocab_size(l->tokenizer), l->vocab_size);
    return QA_OK;
}

static void free_document_scratch(corpus_loader *l) {
    qa_ids_free(&l->ids);
    free(l->learned);
    free(l->dialogue.messages);
    qa_column_map_free(&l->map);
    qa_text_free(&l->whole);
    qa_chat_turn_free(&l->turn);
    qa_text_free(&l->response);
}

qa_status qa_corpus_load(qa_corpus **corpus, const char *path, const qa_tokenizer *tokenizer, qa_chat_template chat,
                         qa_learn learn, size_t max_length, size_t vocab_size, qa_error *err) {
    qa_chat *renderer = NULL;
    *corpus = NULL;
    QA_TRY(tokenizer == NULL ? QA_OK : qa_chat_open_builtin(&renderer, chat, tokenizer, err));
    const qa_status status =
        qa_corpus_load_chat(corpus, path, tokenizer, renderer, learn, max_length, vocab_size, NULL, 0, NULL, err);
    qa_chat_free(renderer);
    return status;
}

static void warn_of_documents(const corpus_loader *l, const char *name) {
    qa_warnings *warnings = &l->corpus->warnings;
    qa_columns_warn(&l->columns, name, warnings);
    if (l->no_system > 0) {
        qa_warn(warnings, "%s: conversations whose system message the chat template leaves out: %zu", name,
                l->no_system);
    }
    if (l->doubled_ends > 0) {
        qa_warn(warnings,
                "%s: answers that bring an end token of their own: %zu (first: line %zu); the chat template's stands "
                "behind it: leave it out of the messages, or give text that is already rendered",
                name, l->doubled_ends, l->first_doubled);
    }
}

qa_status qa_corpus_load_chat(qa_corpus **corpus, const char *path, const qa_tokenizer *tokenizer,
                              const qa_chat *renderer, qa_learn learn, size_t max_length, size_t vocab_size,
                              const int32_t *eos_ids, size_t n_eos, const char *columns, qa_error *err) {
    corpus_loader l = {
        .tokenizer = tokenizer, .chat = renderer, .learn = learn, .max_length = max_length, .vocab_size = vocab_size};
    qa_status status = QA_OK;
    *corpus = NULL;
    QA_TRY(check_corpus_arguments(&l, err));
    QA_TRY(qa_answer_end_find(&l.end, renderer, tokenizer, eos_ids, n_eos, err));
    QA_TRY(qa_column_map_parse(&l.map, columns, QA_COLUMNS_OF_DOCUMENTS, err));
    l.corpus = qa_alloc_array(1, sizeof *l.corpus);
    status = l.corpus == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory") : qa_json_lines_open(&l.lines, path, err);
    status = status == QA_OK ? read_documents(&l, err) : status;
    if (status == QA_OK && l.corpus->conversations > 0) {
        l.corpus->chat_record = json_deep_copy(qa_chat_record(renderer));
        status = l.corpus->chat_record == NULL ? QA_NO_MEMORY(err, "the record of a chat template") : QA_OK;
    }
    if (status == QA_OK) {
        warn_of_documents(&l, qa_json_lines_name(l.lines));
    }
    qa_json_lines_close(l.lines);
    if (status == QA_OK) {
        (void)qa_column_map_text(&l.map, l.corpus->columns);
    }
    free_document_scratch(&l);
    if (status != QA_OK) {
        qa_corpus_free(l.corpus);
        return status;
    }
    finish_corpus(l.corpus);
    *corpus = l.corpus;
    return QA_OK;
}
