/* tools/train_bpe: the merges worked out by hand, the same bytes every time, a folder that loads and gives every text
 * back, and what it says about input that it cannot use. */
#include "qadapter.h"
#include "support/expect.h"
#include "support/run_tool.h"
#include "support/tempdir.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs train_bpe --corpus DIR/corpus --out DIR/out and the rest, which ends with NULL. */
#define TRAIN(dir, status, ...) train(dir, "corpus", "out", status, (const char *const[]){__VA_ARGS__, NULL})

static void train(const char *dir, const char *corpus, const char *out, int status, const char *const *rest) {
    char *corpus_path = qa_tempdir_join(dir, corpus);
    char *out_path = qa_tempdir_join(dir, out);
    const char *argv[20] = {"train_bpe", "--corpus", corpus_path, "--out", out_path};
    size_t n = 5;
    for (size_t i = 0; rest[i] != NULL; i++) {
        ck_assert_uint_lt(n, 19);
        argv[n++] = rest[i];
    }
    qa_expect_tool(dir, status, argv);
    free(corpus_path);
    free(out_path);
}

static void write_corpus(const char *dir, const char *name, const char *text) {
    free(qa_tempdir_write_text(dir, name, text));
}

static char *read_file(const char *dir, const char *name) {
    char *path = qa_tempdir_join(dir, name);
    char *text = qa_tempdir_read(path, NULL);
    free(path);
    return text;
}

static void expect_file_has(const char *dir, const char *name, const char *part) {
    char *text = read_file(dir, name);
    ck_assert_msg(strstr(text, part) != NULL, "expected \"%s\" in %s: %.300s", part, name, text);
    free(text);
}

static void expect_same_file(const char *dir, const char *a, const char *b) {
    char *first = read_file(dir, a);
    char *second = read_file(dir, b);
    ck_assert_msg(strcmp(first, second) == 0, "%s and %s differ", a, b);
    free(first);
    free(second);
}

/* The merges of DIR/out are these, separated by commas. */
static void expect_merges(const char *dir, const char *expected) {
    char found[512] = "";
    char *text = read_file(dir, "out/tokenizer.json");
    json_t *root = json_loads(text, 0, NULL);
    const json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    ck_assert(json_is_array(merges));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const size_t n = strlen(found);
        const char *merge = json_string_value(json_array_get(merges, i));
        ck_assert_int_lt(snprintf(found + n, sizeof found - n, "%s%s", i == 0 ? "" : ",", merge),
                         (int)(sizeof found - n));
    }
    ck_assert_str_eq(found, expected);
    json_decref(root);
    free(text);
}

static qa_tokenizer *load(const char *dir) {
    qa_error err = {0};
    qa_tokenizer *tokenizer = NULL;
    char *out = qa_tempdir_join(dir, "out");
    expect_ok(qa_tokenizer_load(&tokenizer, out, &err), &err);
    free(out);
    return tokenizer;
}

/* ---- merges ---- */

/* G stands for the symbol of the space. The words are "abab", "Gabab", "Gabc" and the line end.
 *   ab 5, ba 2, Ga 2, bc 1                                -> a b = 256
 *   (256 256) 2, (G 256) 2, (256 c) 1: G is 32, so lower  -> G ab = 257
 *   "ab ab", "Gab ab", "Gab c": all pairs once, 256 first -> ab ab = 258
 *   (257 256), (257 c): 99 is lower                       -> Gab c = 259
 *                                                         -> Gab ab = 260 */
#define G "\xc4\xa0"

START_TEST(merges_are_those_worked_out_by_hand) {
    char *dir = qa_tempdir_make();
    write_corpus(dir, "corpus", "abab abab abc\n");
    TRAIN(dir, 0, "--vocab-size", "264", "--min-frequency", "1");
    expect_merges(dir, "a b," G " ab,ab ab," G "ab c," G "ab ab");
    TRAIN(dir, 0, "--vocab-size", "262", "--min-frequency", "1");
    expect_merges(dir, "a b," G " ab,ab ab");
    qa_tokenizer *tokenizer = load(dir);
    ck_assert_uint_eq(qa_tokenizer_vocab_size(tokenizer), 262);
    ck_assert_int_eq(qa_tokenizer_token_id(tokenizer, "ab"), 256);
    ck_assert_int_eq(qa_tokenizer_token_id(tokenizer, G "ab"), 257);
    ck_assert_int_eq(qa_tokenizer_token_id(tokenizer, "abab"), 258);
    ck_assert_int_eq(qa_tokenizer_token_id(tokenizer, "<|endoftext|>"), 259);
    ck_assert_int_eq(qa_tokenizer_token_id(tokenizer, "a"), 'a');
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(dir);
}
END_TEST

/* "aaaaa": aa stands at four places; merged from the left it is aa aa a, (256 a) is lower than (256 256). Then aa aaa,
 * and no second count anywhere: with frequencies of one each. */
START_TEST(a_run_of_one_letter_is_merged_from_the_left) {
    char *dir = qa_tempdir_make();
    write_corpus(dir, "corpus", "{\"text\": \"aaaaa\"}\n");
    TRAIN(dir, 0, "--vocab-size", "262", "--min-frequency", "1");
    expect_merges(dir, "a a,aa a,aa aaa");
    qa_tempdir_remove(dir);
}
END_TEST

/* xy occurs three times in one word that stands once, zw twice in a word that stands twice. */
START_TEST(words_count_as_often_as_they_occur) {
    char *dir = qa_tempdir_make();
    write_corpus(dir, "corpus", "{\"text\": \"xyaxybxy\"}\n{\"text\": \"zwazw\"}\n{\"text\": \"zwazw\"}\n");
    TRAIN(dir, 0, "--vocab-size", "261", "--min-frequency", "3");
    expect_merges(dir, "z w,x y");
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(fewer_merges_than_asked_for_are_said) {
    char *dir = qa_tempdir_make();
    write_corpus(dir, "corpus", "abab abab abc\n");
    TRAIN(dir, 0, "--vocab-size", "1024");
    expect_merges(dir, "a b," G " ab"); /* the other pairs stand there once, and 2 is the least */
    expect_file_has(dir, "stderr", "only 2 of the 765 merges");
    expect_file_has(dir, "stderr", "261 tokens, not 1024");
    expect_file_has(dir, "stdout", "261 tokens: 256 bytes, 2 merged, 3 special");
    TRAIN(dir, 0, "--vocab-size", "259"); /* bytes and special tokens alone */
    expect_merges(dir, "");
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- what counts as text ---- */

static const char CONVERSATION[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"tell me\"}, "
                                   "{\"role\": \"assistant\", \"content\": \"tell you\"}]}\n";

START_TEST(roles_are_text_only_when_asked_for) {
    char *dir = qa_tempdir_make();
    write_corpus(dir, "corpus", CONVERSATION);
    TRAIN(dir, 0, "--vocab-size", "400", "--min-frequency", "1");
    qa_tokenizer *tokenizer = load(dir);
    ck_assert_int_ge(qa_tokenizer_token_id(tokenizer, "tell"), 256);
    ck_assert_int_eq(qa_tokenizer_token_id(tokenizer, "assistant"), -1);
    ck_assert_int_eq(qa_tokenizer_token_id(tokenizer, "as"), -1);
    qa_tokenizer_free(tokenizer);
    TRAIN(dir, 0, "--vocab-size", "400", "--min-frequency", "1", "--roles");
    tokenizer = load(dir);
    ck_assert_int_ge(qa_tokenizer_token_id(tokenizer, "tell"), 256);
    ck_assert_int_ge(qa_tokenizer_token_id(tokenizer, "assistant"), 256);
    ck_assert_int_ge(qa_tokenizer_token_id(tokenizer, "user"), 256);
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(dir);
}
END_TEST

/* Were they text, "|>" would be the most frequent pair of all. */
START_TEST(special_tokens_are_never_merged) {
    char *dir = qa_tempdir_make();
    write_corpus(dir, "corpus",
                 "{\"text\": \"<|im_end|><|im_end|>no<|endoftext|>no<sep><sep><sep>\"}\n"
                 "{\"text\": \"<|im_start|><|im_start|><sep>\"}\n");
    TRAIN(dir, 0, "--vocab-size", "300", "--min-frequency", "1", "--special", "<sep>", "--special", "<|im_end|>");
    expect_merges(dir, "n o");
    qa_tokenizer *tokenizer = load(dir);
    static const char *const SPECIAL[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sep>"};
    for (int32_t i = 0; i < 4; i++) {
        ck_assert_int_eq(qa_tokenizer_token_id(tokenizer, SPECIAL[i]), 257 + i);
        ck_assert(qa_tokenizer_is_special(tokenizer, 257 + i));
    }
    ck_assert_uint_eq(qa_tokenizer_vocab_size(tokenizer), 261);
    qa_tokenizer_free(tokenizer);
    TRAIN(dir, 0, "--vocab-size", "300", "--min-frequency", "1"); /* without being named, <sep> is text */
    tokenizer = load(dir);
    ck_assert_int_ge(qa_tokenizer_token_id(tokenizer, "sep"), 256);
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(reading_stops_at_max_bytes) {
    char *dir = qa_tempdir_make();
    write_corpus(dir, "corpus", "{\"text\": \"abab\"}\n{\"text\": \"cdcdcd\"}\n");
    TRAIN(dir, 0, "--vocab-size", "260", "--max-bytes", "4");
    expect_merges(dir, "a b");
    TRAIN(dir, 0, "--vocab-size", "260", "--max-bytes", "5");
    expect_merges(dir, "c d");
    qa_tempdir_remove(dir);
}
END_TEST

/* A plain file is read in stretches; the words are those of the whole text. The line ends have every neighbour. */
START_TEST(plain_text_is_read_as_the_whole_that_it_is) {
    static const char TEXT[] =
        "one two  \n\n  one\n\ttwo\n.two?\n\n12 one\r\n\r\ntwo \n one\n\xc3\xa9\n\n\xc3\xa9 two.\n\n"
        "one two.\n\none\n\n\xc2\xa0\n two\n";
    char *dir = qa_tempdir_make();
    char line[1024];
    json_t *document = json_pack("{s:s}", "text", TEXT);
    char *json = json_dumps(document, 0);
    (void)snprintf(line, sizeof line, "\xef\xbb\xbf\n  \r\n%s\n\n", json); /* a byte-order mark and blank lines */
    write_corpus(dir, "corpus", TEXT);
    write_corpus(dir, "lines", line);
    TRAIN(dir, 0, "--vocab-size", "280");
    train(dir, "lines", "out2", 0, (const char *const[]){"--vocab-size", "280", NULL});
    expect_same_file(dir, "out/tokenizer.json", "out2/tokenizer.json");
    expect_file_has(dir, "out/tokenizer.json", "\"\\u010a \\u010a\""); /* a merge of two line ends */
    free(json);
    json_decref(document);
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- the folder ---- */

/* Six thousand random words out of a hundred: enough merges for ties of every kind. */
static void write_words(const char *dir, const char *name, unsigned seed) {
    char *path = qa_tempdir_join(dir, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    for (int i = 0; i < 6000; i++) {
        seed = seed * 1664525u + 1013904223u;
        const unsigned word = (seed >> 16) % 100;
        (void)fprintf(file, "%s%c%c%c%c", i % 17 == 0 ? "\n" : " ", 'a' + (int)(word % 7), 'e' + (int)(word % 5),
                      'k' + (int)(word / 10), 'a' + (int)(word % 3));
    }
    ck_assert_int_eq(fclose(file), 0);
    free(path);
}

START_TEST(the_same_corpora_give_the_same_bytes) {
    char *dir = qa_tempdir_make();
    write_words(dir, "corpus", 1);
    write_words(dir, "other", 2);
    char *other = qa_tempdir_join(dir, "other");
    TRAIN(dir, 0, "--corpus", other, "--vocab-size", "400");
    train(dir, "corpus", "out2", 0, (const char *const[]){"--corpus", other, "--vocab-size", "400", NULL});
    expect_same_file(dir, "out/tokenizer.json", "out2/tokenizer.json");
    expect_same_file(dir, "out/tokenizer_config.json", "out2/tokenizer_config.json");
    expect_file_has(dir, "stdout", "2 documents, 60000 bytes");
    free(other);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(the_folder_loads_and_gives_texts_back) {
    static const char *const TEXTS[] = {"tell me",
                                        "",
                                        " ",
                                        "\n\n  \t\r\n x",
                                        "na\xc3\xafve caf\xc3\xa9 \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\x98\x80!",
                                        "It's 1234.5, they'LL say.\x01\x7f",
                                        "<|im_start|>user\ntell me<|im_end|>\n<|endoftext|>"};
    char *dir = qa_tempdir_make();
    char *out = qa_tempdir_join(dir, "out");
    qa_error err = {0};
    qa_chat_template chat = QA_CHAT_NONE;
    write_corpus(dir, "corpus",
                 "{\"text\": \"caf\xc3\xa9 caf\xc3\xa9 \xe6\xbc\xa2\xe5\xad\x97 \xe6\xbc\xa2\xe5\xad\x97 1212 1212\"}\n"
                 "{\"messages\": [{\"role\": \"user\", \"content\": \"tell me, tell me\"}]}");
    TRAIN(dir, 0, "--vocab-size", "300");
    qa_tokenizer *tokenizer = load(dir);
    expect_ok(qa_chat_template_detect(&chat, out, &err), &err);
    ck_assert_int_eq(chat, QA_CHAT_CHATML);
    ck_assert_str_eq(qa_tokenizer_bos_text(tokenizer), "<|endoftext|>");
    ck_assert_str_eq(qa_tokenizer_eos_text(tokenizer), "<|im_end|>");
    ck_assert_int_eq(qa_tokenizer_eos(tokenizer), qa_tokenizer_token_id(tokenizer, "<|im_end|>"));
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        qa_ids ids = {0};
        qa_text text = {0};
        const size_t n = strlen(TEXTS[i]);
        expect_ok(qa_tokenizer_encode(tokenizer, TEXTS[i], n, (qa_encode_options){.add_special = true}, &ids, &err),
                  &err);
        expect_ok(qa_tokenizer_decode(tokenizer, ids.data, ids.n, false, &text, &err), &err);
        ck_assert_uint_eq(text.n, n);
        ck_assert_msg(n == 0 || memcmp(text.data, TEXTS[i], n) == 0, "\"%s\" became \"%s\"", TEXTS[i], text.data);
        ck_assert_uint_le(ids.n, i == 0 ? 2 : n); /* "tell", " me" */
        qa_ids_free(&ids);
        qa_text_free(&text);
    }
    ck_assert_int_eq(qa_tokenizer_token_id(tokenizer, "12"), -1);                /* digits stay alone */
    ck_assert_int_ge(qa_tokenizer_token_id(tokenizer, "\xc3\x83\xc2\xa9"), 256); /* the two bytes of an e acute */
    qa_tokenizer_free(tokenizer);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- what cannot be used ---- */

START_TEST(bad_corpora_are_named_with_their_line) {
    static const struct {
        const char *text, *said;
    } BAD[] = {
        {"{\"text\": \"a\"}\n\n{\"text\": \"b\"", "corpus:3:"},
        {"{\"text\": \"a\"}\nplain\n", "corpus:2:"},
        {"{\"text\": \"a\"}\n[1]\n", "corpus:2: a line must be an object"},
        {"{\"text\": \"a\", \"messages\": []}", "corpus:1: the line has both"},
        {"{\"ids\": [1, 2]}", "corpus:1: the line has neither"},
        {"{\"text\": 3}", "corpus:1: the line: \"text\" must be a string"},
        {"{\"text\": \"a\xff\"}", "corpus:1:"},
        {"{\"messages\": {}}", "corpus:1:"},
        {"{\"messages\": [\"a\"]}", "corpus:1: messages[0] must be an object"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"content\": \"a\"}]}",
         "corpus:1: messages[1]: \"role\" is missing"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": null}]}",
         "corpus:1: messages[0]: \"content\" must be a string"},
        {"plain\ntext\n\xc3(\n", "corpus:3: the byte 0x"},
        {"", "no text"},
        {"{\"text\": \"\"}\n", "no text"},
        {"{\"text\": \"<|im_end|>\"}\n", "no text"},
    };
    char *dir = qa_tempdir_make();
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        write_corpus(dir, "corpus", BAD[i].text);
        TRAIN(dir, 1, "--vocab-size", "300");
        expect_file_has(dir, "stderr", BAD[i].said);
    }
    train(dir, "nowhere", "out", 1, (const char *const[]){"--vocab-size", "300", NULL});
    expect_file_has(dir, "stderr", "nowhere");
    char *out = qa_tempdir_join(dir, "out");
    FILE *none = fopen(out, "r");
    ck_assert_msg(none == NULL, "nothing is written when a corpus is bad");
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(wrong_options_are_explained) {
    static const struct {
        const char *option, *value, *said;
    } WRONG[] = {{"--vocab-size", "many", "whole number"},
                 {"--vocab-size", "-3", "whole number"},
                 {"--vocab-size", "258", "from 259"},
                 {"--vocab-size", "99999999999999999999", "whole number"},
                 {"--vocab-size", "99999999", "16777216"},
                 {"--nonsense", "1", "--nonsense"},
                 {"--special", "", "not empty"},
                 {"--special", "\xff", "UTF-8"},
                 {"--special", "a", "ordinary token"},
                 {"--min-frequency", "0", "1 or more"},
                 {"--max-bytes", NULL, "--max-bytes is un"}};
    char *dir = qa_tempdir_make();
    write_corpus(dir, "corpus", "some text");
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        TRAIN(dir, 2, "--vocab-size", "300", WRONG[i].option, WRONG[i].value);
        expect_file_has(dir, "stderr", WRONG[i].said);
    }
    TRAIN(dir, 2, "--min-frequency", "1");
    expect_file_has(dir, "stderr", "--vocab-size must be");
    qa_expect_tool(dir, 2, (const char *const[]){"train_bpe", NULL});
    expect_file_has(dir, "stderr", "--out DIR is missing");
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(help_names_every_option) {
    static const char *const NAMES[] = {"--corpus",        "--vocab-size", "--out",   "--special",
                                        "--min-frequency", "--max-bytes",  "--roles", "--help"};
    char *dir = qa_tempdir_make();
    qa_expect_tool(dir, 0, (const char *const[]){"train_bpe", "--help", NULL});
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        expect_file_has(dir, "stdout", NAMES[i]);
    }
    qa_tempdir_remove(dir);
}
END_TEST

Suite *cli_train_bpe_suite(void);
Suite *cli_train_bpe_suite(void) {
    Suite *suite = suite_create("train_bpe");
    TCase *tests = tcase_create("train_bpe");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, merges_are_those_worked_out_by_hand);
    tcase_add_test(tests, a_run_of_one_letter_is_merged_from_the_left);
    tcase_add_test(tests, words_count_as_often_as_they_occur);
    tcase_add_test(tests, fewer_merges_than_asked_for_are_said);
    tcase_add_test(tests, roles_are_text_only_when_asked_for);
    tcase_add_test(tests, special_tokens_are_never_merged);
    tcase_add_test(tests, reading_stops_at_max_bytes);
    tcase_add_test(tests, plain_text_is_read_as_the_whole_that_it_is);
    tcase_add_test(tests, the_same_corpora_give_the_same_bytes);
    tcase_add_test(tests, the_folder_loads_and_gives_texts_back);
    tcase_add_test(tests, bad_corpora_are_named_with_their_line);
    tcase_add_test(tests, wrong_options_are_explained);
    tcase_add_test(tests, help_names_every_option);
    suite_add_tcase(suite, tests);
    return suite;
}
