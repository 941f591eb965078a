/* train_bpe: a byte-level BPE tokenizer learned from text, as a Hugging Face folder with the ChatML template.
 *
 * Reads corpora (JSON Lines of {"text"} and {"messages"}, or plain text), takes the special tokens out, cuts the rest
 * into words by the pattern that goes into tokenizer.json, by the same code that will later cut by it, and counts the
 * words. bpe_learn.h learns the merges. Ids: the 256 bytes, then the merges in order, then the special tokens. The
 * same corpora give the same bytes everywhere. */
#include "base/buffer.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json_lines.h"
#include "text/added_tokens.h"
#include "text/pretokeniser.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#include "bpe_learn.h"
#include "chatml.h"
#include "support/arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* English contractions; a word with the one character before it; digits one by one; punctuation with a space before
 * and line ends behind; white space up to and with line ends; white space before a word's own; other white space. */
static const char PATTERN[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                              " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

enum { MAX_SPECIAL = 64, OWN_SPECIAL = 3, END_OF_TEXT_NAME = 0, END_OF_TURN_NAME = 2 };
static const char *const OWN[OWN_SPECIAL] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

typedef struct options {
    argument_list corpora;
    argument_list given;              /* --special */
    const char *special[MAX_SPECIAL]; /* OWN, then the given ones */
    size_t n_special;
    const char *out;
    size_t vocab_size, max_bytes, min_frequency;
    bool roles, help;
} options;

/* ---- reading ---- */

typedef struct reader {
    const options *options;
    bpe_learner *learner;
    qa_pretokeniser split;
    qa_token_trie special;
    qa_added_token tokens[MAX_SPECIAL];
    qa_pieces pieces;
    qa_text turn;     /* of a conversation: role and content */
    size_t documents; /* lines of JSON Lines, and plain files */
    size_t bytes;     /* of text */
} reader;

/* The corpus is long enough. */
static bool full(const reader *r) { return r->options->max_bytes > 0 && r->bytes >= r->options->max_bytes; }

/* Counts the words of text[n], valid UTF-8. */
static qa_status read_text(reader *r, const char *text, size_t n, qa_error *err) {
    qa_text_work work = qa_text_work_of(n);
    qa_token_search search = {.work = &work};
    qa_added_match match;
    r->bytes += n;
    while (qa_token_search_next(&r->special, text, n, &search, &match)) {
        if (match.token != NULL || match.end == match.start) {
            continue;
        }
        const qa_text_place place = {.at_start = match.start == 0};
        QA_TRY(qa_pretokenise(&r->split, place, text + match.start, match.end - match.start, &r->pieces, err));
        for (size_t i = 0; i < r->pieces.pieces.n; i++) {
            const qa_stretch *piece = &r->pieces.pieces.data[i];
            QA_TRY(bpe_count_word(r->learner, r->pieces.text + piece->start, piece->end - piece->start, err));
        }
    }
    return search.out_of_work ? qa_fail(err, QA_ERR_LIMIT, "looking for the special tokens takes too long") : QA_OK;
}

/* One turn: its content, or with --roles what ChatML writes between and after its special tokens. */
static qa_status read_message(reader *r, const json_t *message, size_t index, qa_error *err) {
    char where[48];
    const char *part[2] = {NULL, NULL};
    size_t n[2] = {0, 0};
    (void)snprintf(where, sizeof where, "messages[%zu]", index);
    QA_FAIL_IF(!json_is_object(message), err, QA_ERR_FORMAT, "%s must be an object with \"role\" and \"content\"",
               where);
    QA_TRY(qa_tokenizer_string(message, "role", where, &part[0], &n[0], err));
    QA_TRY(qa_tokenizer_string(message, "content", where, &part[1], &n[1], err));
    if (!r->options->roles) {
        return read_text(r, part[1], n[1], err);
    }
    r->turn.n = 0;
    QA_TRY(qa_text_append(&r->turn, part[0], n[0], err));
    QA_TRY(qa_text_append_z(&r->turn, "\n", err));
    QA_TRY(qa_text_append(&r->turn, part[1], n[1], err));
    QA_TRY(read_text(r, r->turn.data, r->turn.n, err));
    return read_text(r, "\n", 1, err);
}

static qa_status read_document(reader *r, const json_t *document, qa_error *err) {
    const char *text = NULL;
    size_t n = 0;
    json_t *messages = NULL;
    QA_FAIL_IF(!json_is_object(document), err, QA_ERR_FORMAT, "a line must be an object with \"text\" or \"messages\"");
    const bool has_text = json_object_get(document, "text") != NULL;
    QA_FAIL_IF(has_text == (json_object_get(document, "messages") != NULL), err, QA_ERR_FORMAT,
               "the line has %s; it must have one of \"text\" and \"messages\"", has_text ? "both" : "neither");
    if (has_text) {
        QA_TRY(qa_tokenizer_string(document, "text", "the line", &text, &n, err));
        return read_text(r, text, n, err);
    }
    QA_TRY(qa_json_get_array(document, "messages", true, "the line", &messages, err));
    for (size_t i = 0; i < json_array_size(messages); i++) {
        QA_TRY(read_message(r, json_array_get(messages, i), i, err));
    }
    return QA_OK;
}

static qa_status read_json_lines(reader *r, const char *path, qa_error *err) {
    qa_json_lines *lines = NULL;
    json_t *document = NULL;
    qa_status status = qa_json_lines_open(&lines, path, err);
    while (status == QA_OK && !full(r)) {
        status = qa_json_lines_next(lines, &document, err);
        if (status != QA_OK || document == NULL) {
            break;
        }
        status = read_document(r, document, err);
        if (status != QA_OK) {
            qa_error_prefix(err, "%s:%zu: ", path, qa_json_lines_number(lines));
        }
        json_decref(document);
        r->documents++;
    }
    qa_json_lines_close(lines);
    return status;
}

static size_t line_of(const char *data, size_t at) {
    size_t line = 1;
    for (size_t i = 0; i < at; i++) {
        line += data[i] == '\n' ? 1 : 0;
    }
    return line;
}

/* Plain text in stretches that end at a line end before a printable ASCII character, where the pattern cuts in any
 * case: all words are those of the whole. */
static qa_status read_plain(reader *r, const char *path, const char *data, size_t n, qa_error *err) {
    size_t bad = 0;
    QA_FAIL_IF(!qa_utf8_valid(data, n, &bad), err, QA_ERR_FORMAT,
               "%s:%zu: the byte 0x%02x is not part of a character in UTF-8", path, line_of(data, bad),
               (unsigned)(unsigned char)data[bad]);
    size_t start = 0;
    for (size_t at = 1; at <= n && !full(r); at++) {
        if (at == n || (data[at - 1] == '\n' && data[at] > ' ' && data[at] < 0x7f)) {
            QA_TRY(read_text(r, data + start, at - start, err));
            start = at;
        }
    }
    r->documents++;
    return QA_OK;
}

/* What begins with '{' (after a byte-order mark and white space) is JSON Lines. */
static qa_status read_corpus(reader *r, const char *path, qa_error *err) {
    qa_mapping file = {0};
    QA_TRY(qa_map_file(&file, path, err));
    const char *data = (const char *)file.data;
    const size_t mark = file.bytes >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    size_t first = mark;
    while (first < file.bytes && data[first] != '\0' && strchr(" \t\r\n", data[first]) != NULL) {
        first++;
    }
    const bool json = first < file.bytes && data[first] == '{';
    const qa_status status =
        json ? read_json_lines(r, path, err) : read_plain(r, path, data + mark, file.bytes - mark, err);
    qa_unmap_file(&file);
    return status;
}

/* ---- what is written ---- */

static json_t *split_section(void) {
    return json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex", PATTERN, "behavior", "Isolated",
                     "invert", 0);
}

/* Appends a token as tokenizer.json spells it: every byte by its character. */
static qa_status spell(const bpe_learner *l, int32_t id, qa_text *text, qa_error *err) {
    const qa_token *token = qa_vocab_token(&l->tokens, id);
    const char *bytes = qa_vocab_content(&l->tokens, token);
    for (size_t i = 0; i < token->bytes; i++) {
        char character[QA_UTF8_MAX];
        const size_t n = qa_utf8_encode(qa_byte_to_char((unsigned char)bytes[i]), character);
        QA_TRY(qa_text_append(text, character, n, err));
    }
    return QA_OK;
}

static qa_status fill_vocab(const bpe_learner *l, const options *o, json_t *vocab, qa_error *err) {
    qa_text text = {0};
    qa_status status = QA_OK;
    for (size_t id = 0; id < l->tokens.n; id++) {
        text.n = 0;
        QA_GOTO(out, spell(l, (int32_t)id, &text, err));
        if (json_object_set_new(vocab, text.data, json_integer((json_int_t)id)) != 0) {
            QA_GOTO(out, qa_fail(err, QA_ERR_MEMORY, "out of memory for the vocabulary"));
        }
    }
    for (size_t i = 0; i < o->n_special; i++) {
        if (json_object_get(vocab, o->special[i]) != NULL) {
            QA_GOTO(out,
                    qa_fail(err, QA_ERR_ARGUMENT, "--special \"%s\" is spelled like an ordinary token", o->special[i]));
        }
    }
out:
    qa_text_free(&text);
    return status;
}

static qa_status fill_merges(const bpe_learner *l, json_t *merges, qa_error *err) {
    qa_text text = {0};
    qa_status status = QA_OK;
    for (size_t i = 0; i < l->merges.n; i++) {
        text.n = 0;
        QA_GOTO(out, spell(l, l->merges.data[i].left, &text, err));
        QA_GOTO(out, qa_text_append_z(&text, " ", err));
        QA_GOTO(out, spell(l, l->merges.data[i].right, &text, err));
        if (json_array_append_new(merges, json_string(text.data)) != 0) {
            QA_GOTO(out, qa_fail(err, QA_ERR_MEMORY, "out of memory for the merges"));
        }
    }
out:
    qa_text_free(&text);
    return status;
}

static qa_status write_tokenizer(const bpe_learner *l, const options *o, qa_error *err) {
    json_t *vocab = json_object();
    json_t *merges = json_array();
    json_t *added = json_array();
    qa_status status = QA_OK;
    QA_GOTO(out, fill_vocab(l, o, vocab, err));
    QA_GOTO(out, fill_merges(l, merges, err));
    for (size_t i = 0; i < o->n_special; i++) {
        if (json_array_append_new(added, special_token(l->tokens.n + i, o->special[i])) != 0) {
            QA_GOTO(out, qa_fail(err, QA_ERR_MEMORY, "out of memory for the special tokens"));
        }
    }
    json_t *bytes =
        json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 0);
    json_t *cut = json_pack("{s:s,s:[o,O]}", "type", "Sequence", "pretokenizers", split_section(), bytes);
    json_t *model = json_pack("{s:s,s:n,s:n,s:n,s:n,s:b,s:b,s:b,s:O,s:O}", "type", "BPE", "dropout", "unk_token",
                              "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                              "ignore_merges", 0, "vocab", vocab, "merges", merges);
    json_t *root =
        json_pack("{s:s,s:n,s:n,s:O,s:n,s:o,s:n,s:o,s:o}", "version", "1.0", "truncation", "padding", "added_tokens",
                  added, "normalizer", "pre_tokenizer", cut, "post_processor", "decoder", bytes, "model", model);
    status = qa_json_save_in(root, o->out, "tokenizer.json", err);
out:
    json_decref(vocab);
    json_decref(merges);
    json_decref(added);
    return status;
}

/* The end of a turn ends a text, too: one token to stop at. A text begins with <|endoftext|>. */
static qa_status write_config(const options *o, qa_error *err) {
    json_t *additional = json_array();
    for (size_t i = 0; i < o->n_special; i++) {
        if (i != END_OF_TEXT_NAME && i != END_OF_TURN_NAME &&
            json_array_append_new(additional, json_string(o->special[i])) != 0) {
            json_decref(additional);
            return qa_fail(err, QA_ERR_MEMORY, "out of memory for the special tokens");
        }
    }
    return qa_json_save_in(json_pack("{s:s,s:s,s:s,s:s,s:o,s:s,s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                                     "bos_token", OWN[END_OF_TEXT_NAME], "eos_token", OWN[END_OF_TURN_NAME],
                                     "pad_token", OWN[END_OF_TEXT_NAME], "additional_special_tokens", additional,
                                     "chat_template", CHATML, "clean_up_tokenization_spaces", 0),
                           o->out, "tokenizer_config.json", err);
}

/* ---- the whole ---- */

static qa_status prepare(reader *r, qa_error *err) {
    bool byte_level = false;
    json_t *section = split_section();
    qa_status status = qa_tokenizer_read_pretokeniser(&r->split, &byte_level, section, err);
    json_decref(section);
    for (size_t i = 0; i < r->options->n_special && status == QA_OK; i++) {
        r->tokens[i] = (qa_added_token){.id = (int32_t)i, .special = true};
        status =
            qa_token_trie_add(&r->special, r->options->special[i], strlen(r->options->special[i]), &r->tokens[i], err);
    }
    return status;
}

static void report(const reader *r, const options *o) {
    const bpe_learner *l = r->learner;
    const size_t merged = l->tokens.n - BPE_BYTES;
    const size_t wanted = o->vocab_size - BPE_BYTES - o->n_special;
    if (merged < wanted) {
        fprintf(stderr,
                "train_bpe: the corpora have only %zu of the %zu merges asked for: no other two symbols stand side by "
                "side %zu times (--min-frequency). The vocabulary has %zu tokens, not %zu.\n",
                merged, wanted, o->min_frequency, l->tokens.n + o->n_special, o->vocab_size);
    }
    printf("%s: %zu tokens: %d bytes, %zu merged, %zu special\n", o->out, l->tokens.n + o->n_special, BPE_BYTES, merged,
           o->n_special);
    printf("%zu documents, %zu bytes of text, %zu different words, %.3f bytes per token\n", r->documents, r->bytes,
           l->words.n, (double)r->bytes / (double)bpe_corpus_tokens(l));
}

static qa_status run(const options *o, qa_error *err) {
    bpe_learner learner = {0};
    reader r = {.options = o, .learner = &learner};
    qa_status status = QA_OK;
    QA_GOTO(out, prepare(&r, err));
    for (size_t i = 0; i < o->corpora.n && !full(&r); i++) {
        QA_GOTO(out, read_corpus(&r, o->corpora.items[i], err));
    }
    if (learner.words.n == 0) {
        QA_GOTO(out, qa_fail(err, QA_ERR_FORMAT, "%s%s: there is no text to learn from", o->corpora.items[0],
                             o->corpora.n > 1 ? " and the others" : ""));
    }
    QA_GOTO(out, bpe_learn(&learner, o->vocab_size - o->n_special, o->min_frequency, err));
    QA_GOTO(out, qa_make_dirs(o->out, err));
    QA_GOTO(out, write_tokenizer(&learner, o, err));
    QA_GOTO(out, write_config(o, err));
    report(&r, o);
out:
    qa_pretokeniser_free(&r.split);
    qa_token_trie_free(&r.special);
    qa_pieces_free(&r.pieces);
    qa_text_free(&r.turn);
    bpe_free(&learner);
    return status;
}

/* ---- the command line ---- */

#define AT(field) offsetof(options, field)
static const argument OPTIONS[] = {
    ARGUMENT("--corpus", ARGUMENT_LIST, AT(corpora), "FILE",
             "JSON Lines of {\"text\"} or {\"messages\"}, or plain text; again"),
    ARGUMENT("--vocab-size", ARGUMENT_SIZE, AT(vocab_size), "N", "tokens: 256 bytes, merged ones, special ones"),
    ARGUMENT("--out", ARGUMENT_TEXT, AT(out), "DIR", "made if it is not there", .required = true),
    ARGUMENT("--special", ARGUMENT_LIST, AT(given), "TOKEN",
             "one more, besides <|endoftext|>, <|im_start|> and <|im_end|>"),
    ARGUMENT("--min-frequency", ARGUMENT_SIZE, AT(min_frequency), "N",
             "how often two symbols stand side by side to be merged, default 2"),
    ARGUMENT("--max-bytes", ARGUMENT_SIZE, AT(max_bytes), "N",
             "stop after the document in which so many bytes of text are reached"),
    ARGUMENT("--roles", ARGUMENT_FLAG, AT(roles), "", "count the names of roles as text, as the template writes them"),
    ARGUMENT("--help", ARGUMENT_FLAG, AT(help), "", ""),
    {.name = NULL},
};

static void print_help(void) {
    printf(
        "usage: train_bpe --corpus FILE [--corpus FILE]... --vocab-size N --out DIR [options]\n"
        "Learns a byte-level BPE tokenizer and writes DIR/tokenizer.json and DIR/tokenizer_config.json (ChatML).\n\n");
    arguments_print(OPTIONS);
}

/* Those that are there already are left out. */
static qa_status take_special(options *o, const char *name, qa_error *err) {
    size_t bad = 0;
    for (size_t i = 0; i < o->n_special; i++) {
        if (strcmp(o->special[i], name) == 0) {
            return QA_OK;
        }
    }
    QA_FAIL_IF(!qa_utf8_valid(name, strlen(name), &bad) || o->n_special == MAX_SPECIAL, err, QA_ERR_ARGUMENT,
               "--special takes UTF-8, at most %d times", MAX_SPECIAL - OWN_SPECIAL);
    o->special[o->n_special++] = name;
    return QA_OK;
}

static qa_status check(options *o, qa_error *err) {
    for (size_t i = 0; i < o->given.n; i++) {
        QA_TRY(take_special(o, o->given.items[i], err));
    }
    QA_FAIL_IF(o->corpora.n == 0, err, QA_ERR_ARGUMENT, "--corpus FILE is missing; --help lists the options");
    QA_FAIL_IF(o->vocab_size < BPE_BYTES + o->n_special || o->vocab_size > QA_MAX_TOKEN_ID, err, QA_ERR_ARGUMENT,
               "--vocab-size must be from %zu (the bytes and the special tokens) to %d, found %zu",
               BPE_BYTES + o->n_special, QA_MAX_TOKEN_ID, o->vocab_size);
    return o->min_frequency > 0 ? QA_OK : qa_fail(err, QA_ERR_ARGUMENT, "--min-frequency must be 1 or more");
}

int main(int argc, char **argv) {
    options parsed = {.n_special = OWN_SPECIAL, .min_frequency = 2};
    qa_error err = {0};
    memcpy(parsed.special, OWN, sizeof OWN);
    qa_status status = arguments_read(&parsed, OPTIONS, 1, argc, argv, &parsed.help, &err);
    if (status == QA_OK && parsed.help) {
        print_help();
        return EXIT_SUCCESS;
    }
    status = status == QA_OK ? check(&parsed, &err) : status;
    return tool_exit("train_bpe", status == QA_OK ? run(&parsed, &err) : status, &err);
}
