/* A corpus: the ids of every form worked out by hand or by the preference loader, what is learned, and every line that
 * cannot be used. */
#include "data/corpus.h"

#include "support/fixture.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTE = 4, BOS = 0, EOS = 1, IM_START = 2, IM_END = 3, VOCAB = TINY_BYTES_VOCAB };

/* A tokenizer and a folder for files. */
typedef struct setting {
    char *dir;
    qa_tokenizer *tokenizer;
    qa_chat_template chat;
    qa_learn learn;
    size_t max_length, vocab_size;
} setting;

static setting open_setting(const tiny_tokenizer_options *options) {
    setting s = {.dir = qa_tempdir_make(), .chat = QA_CHAT_CHATML, .max_length = 512, .vocab_size = VOCAB};
    qa_error err = {0};
    tiny_tokenizer_write(s.dir, options);
    qa_expect_ok(qa_tokenizer_load(&s.tokenizer, s.dir, &err), &err);
    return s;
}

static void close_setting(setting *s) {
    qa_tokenizer_free(s->tokenizer);
    qa_tempdir_remove(s->dir);
}

static qa_status load(const setting *s, qa_corpus **corpus, const char *text, qa_error *err) {
    char *path = qa_tempdir_write_text(s->dir, "corpus.jsonl", text);
    const qa_status status =
        qa_corpus_load(corpus, path, s->tokenizer, s->chat, s->learn, s->max_length, s->vocab_size, err);
    free(path);
    return status;
}

static qa_corpus *must_load(const setting *s, const char *text) {
    qa_error err = {0};
    qa_corpus *corpus = NULL;
    qa_expect_ok(load(s, &corpus, text, &err), &err);
    return corpus;
}

/* Document i is these ids, of which those from `from` to `to` (exclusive) are learned. */
static void expect_document(const qa_corpus *corpus, size_t i, const int32_t *ids, size_t n, size_t from, size_t to) {
    const qa_document *document = qa_corpus_at(corpus, i);
    ck_assert_uint_eq(document->n, n);
    for (size_t t = 0; t < n; t++) {
        ck_assert_msg(document->ids[t] == ids[t], "token %zu is %d, expected %d", t, document->ids[t], ids[t]);
        ck_assert_msg(document->learned[t] == (t >= from && t < to), "token %zu: learned is %d", t,
                      document->learned[t]);
    }
}

START_TEST(text_begins_and_ends_as_the_tokenizer_says) {
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    qa_corpus *corpus = must_load(&s, "{\"text\": \"Hi\"}\n{\"text\": \"\\u00e9\"}\n{\"text\": \"a</s>\"}\n");
    ck_assert_uint_eq(qa_corpus_count(corpus), 3);
    expect_document(corpus, 0, (const int32_t[]){BYTE + 'H', BYTE + 'i', EOS}, 3, 1, 3);
    expect_document(corpus, 1, (const int32_t[]){BYTE + 0xc3, BYTE + 0xa9, EOS}, 3, 1, 3);
    expect_document(corpus, 2, (const int32_t[]){BYTE + 'a', EOS}, 2, 1, 2); /* no second end */
    ck_assert_uint_eq(qa_corpus_tokens(corpus), 8);
    ck_assert_uint_eq(qa_corpus_learned(corpus), 5);
    ck_assert_uint_eq(qa_corpus_longest(corpus), 3);
    ck_assert_uint_eq(qa_corpus_rows(corpus), 5);
    qa_corpus_free(corpus);
    close_setting(&s);

    s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES, .adds_bos = true});
    corpus = must_load(&s, "{\"text\": \"Hi\"}\n{\"text\": \"<s>Hi\"}\n{\"text\": \"\"}\n");
    expect_document(corpus, 0, (const int32_t[]){BOS, BYTE + 'H', BYTE + 'i', EOS}, 4, 1, 4);
    expect_document(corpus, 1, (const int32_t[]){BOS, BYTE + 'H', BYTE + 'i', EOS}, 4, 1, 4);
    expect_document(corpus, 2, (const int32_t[]){BOS, EOS}, 2, 1, 2);
    qa_corpus_free(corpus);
    close_setting(&s);
}
END_TEST

/* Text that was rendered elsewhere brings its beginning and its end, with a newline behind that. */
START_TEST(a_text_that_begins_and_ends_by_itself) {
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES, .adds_bos = true});
    qa_corpus *corpus = must_load(&s, "{\"text\": \"<s>Hi</s>\\n\"}\n{\"text\": \"Hi<|im_end|> \\n\"}\n"
                                      "{\"text\": \"Hi</s>\\n.\"}\n");
    expect_document(corpus, 0, (const int32_t[]){BOS, BYTE + 'H', BYTE + 'i', EOS}, 4, 1, 4);
    expect_document(corpus, 1, (const int32_t[]){BOS, BYTE + 'H', BYTE + 'i', IM_END}, 4, 1, 4);
    expect_document(corpus, 2, (const int32_t[]){BOS, BYTE + 'H', BYTE + 'i', EOS, BYTE + '\n', BYTE + '.', EOS}, 7, 1,
                    7);
    ck_assert_uint_eq(qa_corpus_conversations(corpus), 0);
    qa_corpus_free(corpus);
    close_setting(&s);
}
END_TEST

START_TEST(ids_are_taken_as_they_are) {
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    qa_tokenizer_free(s.tokenizer);
    s.tokenizer = NULL;
    qa_corpus *corpus = must_load(&s, "\xEF\xBB\xBF{\"ids\": [5, 9, 5]}\r\n\n  \n{\"ids\": [259, 0]}");
    ck_assert_uint_eq(qa_corpus_count(corpus), 2);
    expect_document(corpus, 0, (const int32_t[]){5, 9, 5}, 3, 1, 3);
    expect_document(corpus, 1, (const int32_t[]){259, 0}, 2, 1, 2);
    ck_assert_uint_eq(qa_corpus_at(corpus, 0)->line, 1);
    ck_assert_uint_eq(qa_corpus_at(corpus, 1)->line, 4);
    qa_corpus_free(corpus);
    close_setting(&s);
}
END_TEST

#define USER(text) "{\"role\": \"user\", \"content\": \"" text "\"}"
#define ASSISTANT(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"

/* It leaves system messages out, and writes '-' in front of answers: what it writes is what is learned. */
START_TEST(a_template_that_has_no_name) {
    static const char text[] = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% elif m.role == "
                               "'assistant' %}-{{ m.content }}<|im_end|>{% endif %}{% endfor %}";
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    qa_error err = {0};
    qa_chat *chat = NULL;
    qa_corpus *corpus = NULL;
    char *path = qa_tempdir_write_text(
        s.dir, "corpus.jsonl",
        "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"q\"}, "
        "{\"role\": \"assistant\", \"content\": \"a\"}, {\"role\": \"user\", \"content\": \"r\"}]}\n");
    qa_expect_ok(qa_chat_open(&chat, &(qa_chat_options){.text = text}, s.tokenizer, &err), &err);
    qa_expect_ok(
        qa_corpus_load_chat(&corpus, path, s.tokenizer, chat, QA_LEARN_RESPONSES, 512, VOCAB, NULL, 0, NULL, &err),
        &err);
    expect_document(corpus, 0, (const int32_t[]){BYTE + 'q', BYTE + '-', BYTE + 'a', IM_END, BYTE + 'r'}, 5, 1, 4);
    ck_assert_uint_eq(qa_corpus_warnings(corpus)->n, 1);
    ck_assert_ptr_nonnull(
        strstr(qa_corpus_warnings(corpus)->lines[0], "system message the chat template leaves out: 1"));
    qa_corpus_free(corpus);
    qa_chat_free(chat);
    free(path);
    close_setting(&s);
}
END_TEST

/* The ids of the prompt and of the chosen response, as the preference loader makes them. */
static qa_pairs *load_pair(const setting *s, const char *prompt, const char *chosen) {
    qa_error err = {0};
    qa_pairs *pairs = NULL;
    char text[2048];
    const qa_pairs_options options = {
        .chat = s->chat, .vocab_size = s->vocab_size, .max_length = s->max_length, .strict = true};
    (void)snprintf(text, sizeof text, "{\"prompt\": [%s], \"chosen\": [%s], \"rejected\": [" ASSISTANT("zz") "]}\n",
                   prompt, chosen);
    char *path = qa_tempdir_write_text(s->dir, "pair.jsonl", text);
    qa_expect_ok(qa_pairs_load(&pairs, path, s->tokenizer, &options, &err), &err);
    free(path);
    return pairs;
}

/* A conversation of two messages is prompt and response of the preference loader, then `tail` tokens that are learned
 * when all are. */
static void expect_like_a_pair(setting *s, const char *prompt, const char *answer, size_t tail) {
    char text[2048];
    qa_pairs *pairs = load_pair(s, prompt, answer);
    const qa_pair *pair = qa_pairs_at(pairs, 0);
    const size_t n = pair->prompt_len + pair->chosen_len;
    (void)snprintf(text, sizeof text, "{\"messages\": [%s, %s]}\n", prompt, answer);
    for (int learn = 0; learn < 2; learn++) {
        s->learn = learn == 0 ? QA_LEARN_ALL : QA_LEARN_RESPONSES;
        qa_corpus *corpus = must_load(s, text);
        const qa_document *document = qa_corpus_at(corpus, 0);
        ck_assert_uint_eq(document->n, n + tail);
        ck_assert_int_eq(memcmp(document->ids, pair->prompt, pair->prompt_len * sizeof *pair->prompt), 0);
        ck_assert_int_eq(
            memcmp(document->ids + pair->prompt_len, pair->chosen, pair->chosen_len * sizeof *pair->chosen), 0);
        for (size_t t = 0; t < document->n; t++) {
            const bool of_response = t >= pair->prompt_len && t < n;
            ck_assert_int_eq(document->learned[t], t > 0 && (learn == 0 || of_response));
        }
        ck_assert_uint_eq(qa_document_rows(document), (learn == 0 ? n + tail : n) - 1);
        ck_assert_uint_eq(qa_corpus_learned(corpus), learn == 0 ? n + tail - 1 : pair->chosen_len);
        qa_corpus_free(corpus);
    }
    qa_pairs_free(pairs);
}

START_TEST(a_conversation_is_prompt_and_response) {
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    expect_like_a_pair(&s, USER("Is it?"), ASSISTANT("It is."), 1); /* ChatML ends with a newline */
    s.chat = QA_CHAT_PLAIN;
    expect_like_a_pair(&s, USER("Is it?"), ASSISTANT("It is."), 0);
    close_setting(&s);

    /* a tokenizer that puts a space in front of every text, but not of a continued one */
    s = open_setting(&(tiny_tokenizer_options){.kind = TINY_PIECES});
    s.chat = QA_CHAT_PLAIN;
    expect_like_a_pair(&s, USER("Is it?"), ASSISTANT("It is."), 0);
    s.chat = QA_CHAT_LLAMA2;
    expect_like_a_pair(&s, USER("Is it?"), ASSISTANT("It is."), 0);
    close_setting(&s);
}
END_TEST

START_TEST(every_turn_of_the_assistant_is_learned) {
    static const char first[] = "user\na", second[] = "\n", third[] = "user\nc", assistant[] = "assistant\n";
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    int32_t ids[128];
    bool learned[128];
    size_t n = 0;
#define PUT(text, is_learned)                                                                                          \
    for (const char *c = (text); *c != '\0'; c++) {                                                                    \
        learned[n] = (is_learned);                                                                                     \
        ids[n++] = BYTE + *c;                                                                                          \
    }
#define PUT_ID(id, is_learned) (learned[n] = (is_learned), ids[n++] = (id))
    PUT_ID(IM_START, false);
    PUT(first, false);
    PUT_ID(IM_END, false);
    PUT(second, false);
    PUT_ID(IM_START, false);
    PUT(assistant, false);
    PUT("b", true);
    PUT_ID(IM_END, true);
    PUT(second, false);
    PUT_ID(IM_START, false);
    PUT(third, false);
    PUT_ID(IM_END, false);
    PUT(second, false);
    PUT_ID(IM_START, false);
    PUT(assistant, false);
    PUT("de", true);
    PUT_ID(IM_END, true);
    PUT(second, false);
    s.learn = QA_LEARN_RESPONSES;
    qa_corpus *corpus =
        must_load(&s, "{\"messages\": [" USER("a") ", " ASSISTANT("b") ", " USER("c") ", " ASSISTANT("de") "]}\n");
    const qa_document *document = qa_corpus_at(corpus, 0);
    ck_assert_uint_eq(document->n, n);
    for (size_t t = 0; t < n; t++) {
        ck_assert_msg(document->ids[t] == ids[t] && document->learned[t] == learned[t], "token %zu", t);
    }
    ck_assert_uint_eq(qa_corpus_learned(corpus), 5);
    qa_corpus_free(corpus);
    close_setting(&s);
}
END_TEST

START_TEST(a_conversation_without_an_answer) {
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    static const char text[] = "{\"messages\": [" USER("a") "]}\n{\"ids\": [5, 6]}\n";
    qa_corpus *corpus = must_load(&s, text);
    ck_assert_uint_eq(qa_corpus_count(corpus), 2);
    ck_assert_uint_eq(qa_corpus_skipped(corpus), 0);
    qa_corpus_free(corpus);
    s.learn = QA_LEARN_RESPONSES;
    corpus = must_load(&s, text);
    ck_assert_uint_eq(qa_corpus_count(corpus), 1);
    ck_assert_uint_eq(qa_corpus_skipped(corpus), 1);
    ck_assert_uint_eq(qa_corpus_at(corpus, 0)->line, 2);
    qa_corpus_free(corpus);
    close_setting(&s);
}
END_TEST

START_TEST(long_documents_are_cut_and_short_ones_left_out) {
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    s.max_length = 3;
    qa_corpus *corpus =
        must_load(&s, "{\"ids\": [4, 5, 6]}\n{\"ids\": [4]}\n{\"ids\": []}\n{\"ids\": [7, 8, 9, 10]}\n");
    ck_assert_uint_eq(qa_corpus_count(corpus), 2);
    ck_assert_uint_eq(qa_corpus_cut(corpus), 1);
    ck_assert_uint_eq(qa_corpus_skipped(corpus), 2);
    expect_document(corpus, 0, (const int32_t[]){4, 5, 6}, 3, 1, 3);
    expect_document(corpus, 1, (const int32_t[]){7, 8, 9}, 3, 1, 3);
    ck_assert_uint_eq(qa_corpus_at(corpus, 1)->line, 4);
    qa_corpus_free(corpus);
    /* what is cut off may be all that was to be learned */
    s.learn = QA_LEARN_RESPONSES;
    qa_error err = {0};
    qa_expect_error(load(&s, &corpus, "{\"messages\": [" USER("a") ", " ASSISTANT("b") "]}\n", &err), QA_ERR_FORMAT,
                    &err, "none of 1 documents");
    ck_assert_ptr_null(corpus);
    close_setting(&s);
}
END_TEST

START_TEST(lines_that_cannot_be_used) {
    static const struct {
        const char *text;
        qa_status status;
        const char *message;
    } cases[] = {
        {"", QA_ERR_FORMAT, "no documents"},
        {"\n \n", QA_ERR_FORMAT, "no documents"},
        {"{\"ids\": [4]}\n", QA_ERR_FORMAT, "none of 1 documents has a token to learn"},
        {"{\"ids\": [4, 5]}\n{\"ids\": [4, 5]\n", QA_ERR_FORMAT, "corpus.jsonl:2:"},
        {"[4, 5]\n", QA_ERR_FORMAT, "corpus.jsonl: element 1: a document is an object with one of"},
        {"[{\"ids\": [4, 5]},\n{\"ids\": 5}]\n", QA_ERR_FORMAT, "corpus.jsonl: element 2: \"ids\" must be an array"},
        {"{\"prompt\": \"a\"}\n", QA_ERR_FORMAT, "corpus.jsonl:1: a document is"},
        {"{\"ids\": [4, 5], \"text\": \"a\"}\n", QA_ERR_FORMAT, "a document is an object with one of"},
        {"{\"text\": 5}\n", QA_ERR_FORMAT, "\"text\" must be a string"},
        {"{\"ids\": \"4 5\"}\n", QA_ERR_FORMAT, "\"ids\" must be an array"},
        {"{\"ids\": [4, 5.5]}\n", QA_ERR_FORMAT, "\"ids\"[1] must be an integer"},
        {"\n{\"ids\": [4, 260]}\n", QA_ERR_ARGUMENT,
         "corpus.jsonl:2: \"ids\"[1] is 260, outside the vocabulary of 260"},
        {"{\"ids\": [-1, 4]}\n", QA_ERR_ARGUMENT, "\"ids\"[0] is -1"},
        {"{\"ids\": [4, 4294967297]}\n", QA_ERR_ARGUMENT, "\"ids\"[1] is 4294967297"},
        {"{\"messages\": []}\n", QA_ERR_FORMAT, "at least one message"},
        {"{\"messages\": \"a\"}\n", QA_ERR_FORMAT, "\"messages\" must be an array"},
        {"{\"messages\": [{\"role\": \"judge\", \"content\": \"a\"}]}\n", QA_ERR_FORMAT, "it must be system, user"},
        {"{\"messages\": [{\"role\": \"user\"}]}\n", QA_ERR_FORMAT, "must be a message"},
    };
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qa_error err = {0};
        qa_corpus *corpus = NULL;
        qa_expect_error(load(&s, &corpus, cases[i].text, &err), cases[i].status, &err, cases[i].message);
        ck_assert_ptr_null(corpus);
    }
    close_setting(&s);
}
END_TEST

START_TEST(tokenizers_and_templates_that_do_not_fit) {
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES, .unnamed = true});
    qa_corpus *corpus = NULL;
    qa_error err = {0};
    static const char dialogue[] = "{\"messages\": [" USER("a") ", " ASSISTANT("b") "]}\n";
    qa_expect_error(load(&s, &corpus, "{\"text\": \"a\"}\n", &err), QA_ERR_ARGUMENT, &err, "names no end-of-sequence");
    s.chat = QA_CHAT_UNKNOWN;
    qa_expect_error(load(&s, &corpus, dialogue, &err), QA_ERR_UNSUPPORTED, &err, "corpus.jsonl:1: ");
    s.chat = QA_CHAT_MISTRAL; /* wants turns to alternate */
    qa_expect_error(load(&s, &corpus, "{\"messages\": [" USER("a") ", " USER("b") "]}\n", &err), QA_ERR_FORMAT, &err,
                    "corpus.jsonl:1: ");
    s.vocab_size = VOCAB - 1;
    qa_expect_error(load(&s, &corpus, dialogue, &err), QA_ERR_MISMATCH, &err,
                    "does not fit the model: it has 260 tokens, config.json's vocab_size is 259");
    s.vocab_size = VOCAB;
    s.max_length = 1;
    qa_expect_error(load(&s, &corpus, dialogue, &err), QA_ERR_ARGUMENT, &err, "2 tokens or more");
    s.max_length = 10;
    qa_tokenizer_free(s.tokenizer);
    s.tokenizer = NULL;
    qa_expect_error(load(&s, &corpus, dialogue, &err), QA_ERR_ARGUMENT, &err, "needs a tokenizer");
    qa_expect_error(load(&s, &corpus, "{\"text\": \"a\"}\n", &err), QA_ERR_ARGUMENT, &err, "needs a tokenizer");
    qa_expect_error(qa_corpus_load(&corpus, "/nonexistent/c.jsonl", NULL, QA_CHAT_PLAIN, QA_LEARN_ALL, 8, 8, &err),
                    QA_ERR_IO, &err, "/nonexistent/c.jsonl: cannot open");
    qa_expect_error(qa_corpus_load(&corpus, s.dir, NULL, QA_CHAT_PLAIN, QA_LEARN_ALL, 8, 8, &err), QA_ERR_IO, &err,
                    "cannot read");
    close_setting(&s);
}
END_TEST

START_TEST(the_fingerprint_knows_everything) {
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    static const char *const texts[] = {
        "{\"ids\": [4, 5, 6, 7]}\n", "{\"ids\": [4, 5, 6, 8]}\n", "{\"ids\": [4, 5]}\n{\"ids\": [6, 7]}\n",
        "{\"ids\": [6, 7]}\n{\"ids\": [4, 5]}\n", "{\"messages\": [" USER("a") ", " ASSISTANT("b") "]}\n"};
    enum { N = sizeof texts / sizeof texts[0] + 1 };
    uint64_t prints[N];
    for (size_t i = 0; i < N; i++) {
        s.learn = i + 1 == N ? QA_LEARN_RESPONSES : QA_LEARN_ALL; /* the last text twice: other tokens are learned */
        qa_corpus *corpus = must_load(&s, texts[i + 1 == N ? N - 2 : i]);
        qa_corpus *again = must_load(&s, texts[i + 1 == N ? N - 2 : i]);
        prints[i] = qa_corpus_fingerprint(corpus);
        ck_assert_uint_eq(prints[i], qa_corpus_fingerprint(again));
        qa_corpus_free(corpus);
        qa_corpus_free(again);
        for (size_t j = 0; j < i; j++) {
            ck_assert_uint_ne(prints[i], prints[j]);
        }
    }
    close_setting(&s);
}
END_TEST

Suite *data_corpus_suite(void);
START_TEST(columns_that_nobody_reads_are_named_or_refused) {
    static const struct {
        const char *text, *part;
    } refused[] = {
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"\", "
         "\"tool_calls\": [{\"id\": 1}]}]}",
         "corpus.jsonl:1: message 2 of \"messages\" has \"tool_calls\""},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}], \"tools\": [{\"name\": \"f\"}]}",
         "\"tools\" belongs"},
        {"{\"text\": \"Hi\", \"system\": \"Be brief.\"}", "\"system\" belongs"},
    };
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    qa_corpus *corpus = NULL;
    qa_error err = {0};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        ck_assert_int_eq(load(&s, &corpus, refused[i].text, &err), QA_ERR_UNSUPPORTED);
        ck_assert_msg(strstr(err.message, refused[i].part) != NULL, "\"%s\"", err.message);
    }
    corpus = must_load(&s, "{\"text\": \"Hi\", \"id\": 3, \"messages\": null, \"tools\": []}\n");
    ck_assert_uint_eq(qa_corpus_warnings(corpus)->n, 0);
    qa_corpus_free(corpus);
    corpus = must_load(&s, "{\"text\": \"Hi\", \"title\": \"T\"}\n{\"text\": \"Ho\", \"title\": \"U\"}\n");
    ck_assert_uint_eq(qa_corpus_warnings(corpus)->n, 1);
    ck_assert_ptr_nonnull(strstr(qa_corpus_warnings(corpus)->lines[0], "are not used: title"));
    qa_corpus_free(corpus);
    close_setting(&s);
}
END_TEST

/* An answer that brings its end gets the template's behind it: trained as it stands, and said as `train` says it. */
START_TEST(an_answer_with_an_end_of_its_own_is_told) {
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    qa_corpus *corpus =
        must_load(&s, "{\"messages\": [{\"role\": \"user\", \"content\": \"q<|im_end|>\"}, {\"role\": \"assistant\", "
                      "\"content\": \"a\"}]}\n");
    ck_assert_uint_eq(qa_corpus_warnings(corpus)->n, 0);
    qa_corpus_free(corpus);
    corpus =
        must_load(&s, "{\"text\": \"Hi</s>\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": "
                      "\"assistant\", \"content\": \"a<|im_end|>\"}, {\"role\": \"user\", \"content\": \"r\"}, "
                      "{\"role\": \"assistant\", \"content\": \"b</s>\\n\"}]}\n");
    ck_assert_uint_eq(qa_corpus_warnings(corpus)->n, 1);
    ck_assert_ptr_nonnull(strstr(qa_corpus_warnings(corpus)->lines[0],
                                 "answers that bring an end token of their own: 2 (first: line 2)"));
    qa_corpus_free(corpus);
    qa_error err = {0};
    ck_assert_int_eq(load(&s, &corpus, "{\"input_ids\": [5, 6]}\n", &err), QA_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.message, "; found input_ids"));
    close_setting(&s);
}
END_TEST

/* Each turn is found by writing all before it: what is cut off must not be. 60,000 turns took minutes. */
START_TEST(a_conversation_of_very_many_turns_is_cut_in_time) {
    enum { TURNS = 60000, TURN_BYTES = 80 };
    setting s = open_setting(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    char *text = malloc((size_t)TURNS * TURN_BYTES + 64);
    ck_assert_ptr_nonnull(text);
    size_t used = (size_t)sprintf(text, "{\"messages\": [");
    for (size_t i = 0; i < TURNS; i++) {
        used += (size_t)sprintf(text + used, "%s{\"role\": \"%s\", \"content\": \"x%zu\"}", i == 0 ? "" : ", ",
                                i % 2 == 0 ? "user" : "assistant", i % 10);
    }
    (void)sprintf(text + used, "]}\n");
    qa_corpus *corpus = must_load(&s, text);
    ck_assert_uint_eq(qa_corpus_cut(corpus), 1);
    ck_assert_uint_eq(qa_corpus_at(corpus, 0)->n, s.max_length);
    qa_corpus_free(corpus);
    free(text);
    close_setting(&s);
}
END_TEST

Suite *data_corpus_suite(void) {
    Suite *suite = suite_create("data_corpus");
    TCase *forms = tcase_create("forms");
    TCase *refused = tcase_create("refused");
    tcase_add_test(forms, text_begins_and_ends_as_the_tokenizer_says);
    tcase_add_test(forms, a_text_that_begins_and_ends_by_itself);
    tcase_add_test(forms, ids_are_taken_as_they_are);
    tcase_add_test(forms, a_conversation_is_prompt_and_response);
    tcase_add_test(forms, every_turn_of_the_assistant_is_learned);
    tcase_add_test(forms, a_conversation_without_an_answer);
    tcase_add_test(forms, long_documents_are_cut_and_short_ones_left_out);
    tcase_add_test(forms, the_fingerprint_knows_everything);
    tcase_add_test(forms, a_conversation_of_very_many_turns_is_cut_in_time);
    tcase_add_test(refused, columns_that_nobody_reads_are_named_or_refused);
    tcase_add_test(refused, an_answer_with_an_end_of_its_own_is_told);
    tcase_add_test(refused, a_template_that_has_no_name);
    tcase_add_test(refused, lines_that_cannot_be_used);
    tcase_add_test(refused, tokenizers_and_templates_that_do_not_fit);
    suite_add_tcase(suite, forms);
    suite_add_tcase(suite, refused);
    return suite;
}
