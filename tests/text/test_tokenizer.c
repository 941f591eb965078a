/* Whole tokenizers, small enough to check by hand: added tokens, BPE, templates, continuation, decoding, names. */
#include "io/file.h"
#include "qadapter/text.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *text_tokenizer_suite(void);

#define MUST(call) ck_assert_msg((call) == QA_OK, "%s", err.message)
#define MARK "\xE2\x96\x81" /* U+2581 */

/* ---- loading from a string ---- */

/* NULL config: no tokenizer_config.json. */
static qa_status load_from(qa_tokenizer **tokenizer, const char *json, const char *config, qa_error *err) {
    char *dir = qa_tempdir_make();
    free(qa_tempdir_write_text(dir, "tokenizer.json", json));
    if (config != NULL) {
        free(qa_tempdir_write_text(dir, "tokenizer_config.json", config));
    }
    qa_status status = qa_tokenizer_load(tokenizer, dir, err);
    qa_tempdir_remove(dir);
    return status;
}

static qa_tokenizer *load(const char *json) {
    qa_error err = {0};
    qa_tokenizer *tokenizer = NULL;
    MUST(load_from(&tokenizer, json, NULL, &err));
    return tokenizer;
}

/* The ids of a text as "1 2 3"; in a buffer that the next call overwrites. */
static const char *ids_with(const qa_tokenizer *tokenizer, const char *text, bool add_special, bool continuation) {
    static char shown[512];
    qa_error err = {0};
    qa_ids ids = {0};
    size_t used = 0;
    qa_encode_options options = {.add_special = add_special, .continuation = continuation};
    MUST(qa_tokenizer_encode(tokenizer, text, strlen(text), options, &ids, &err));
    shown[0] = '\0';
    for (size_t i = 0; i < ids.n; i++) {
        used += (size_t)snprintf(shown + used, sizeof shown - used, "%s%ld", i > 0 ? " " : "", (long)ids.data[i]);
    }
    qa_ids_free(&ids);
    return shown;
}

static const char *ids_of(const qa_tokenizer *tokenizer, const char *text) {
    return ids_with(tokenizer, text, false, false);
}

/* The text of ids; in a buffer that the next call overwrites. */
static const char *text_of(const qa_tokenizer *tokenizer, const int32_t *ids, size_t n, bool skip_special) {
    static char shown[512];
    qa_error err = {0};
    qa_text text = {0};
    MUST(qa_tokenizer_decode(tokenizer, ids, n, skip_special, &text, &err));
    (void)snprintf(shown, sizeof shown, "%s", text.data);
    qa_text_free(&text);
    return shown;
}

#define TEXT_OF(tokenizer, skip, ...)                                                                                  \
    text_of(tokenizer, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), skip)

/* ---- BPE ---- */

START_TEST(merges_by_rank_leftmost_first) {
    /* "ab" and "bc" compete: the earlier merge wins, not the longer token or the smaller id. */
    qa_tokenizer *t =
        load("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"abc\":5,"
             "\"aa\":6},\"merges\":[\"b c\",[\"a\",\"b\"],\"a bc\",\"a a\"]}}");
    ck_assert_str_eq(ids_of(t, "abc"), "5");
    ck_assert_str_eq(ids_of(t, "ab"), "3");
    ck_assert_str_eq(ids_of(t, "abcab"), "5 3");
    ck_assert_str_eq(ids_of(t, "aaa"), "6 0"); /* leftmost */
    ck_assert_str_eq(ids_of(t, ""), "");
    qa_tokenizer_free(t);
    /* The same vocabulary with "ab" first: "c" is left over, since nothing merges "ab" with "c". */
    t = load("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"abc\":5},"
             "\"merges\":[\"a b\",\"b c\",\"a bc\"]}}");
    ck_assert_str_eq(ids_of(t, "abc"), "3 2");
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(several_merges_make_one_token) {
    qa_tokenizer *t =
        load("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"abc\":5,"
             "\"d\":6,\"cd\":7},\"merges\":[\"c d\",\"b c\",\"a b\",\"ab c\",\"a bc\"]}}");
    ck_assert_str_eq(ids_of(t, "abc"), "5");    /* b c, then a bc */
    ck_assert_str_eq(ids_of(t, "abcd"), "3 7"); /* c d first: no bc is left */
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(ignore_merges_takes_whole_pieces) {
    static const char with[] =
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":"
        "\"Removed\"},\"model\":{\"type\":\"BPE\",\"ignore_merges\":%s,\"vocab\":{\"a\":0,\"b\":1,"
        "\"ab\":2,\"aba\":3},\"merges\":[\"a b\"]}}";
    char json[512];
    (void)snprintf(json, sizeof json, with, "true");
    qa_tokenizer *t = load(json);
    ck_assert_str_eq(ids_of(t, "aba abab"), "3 2 2");
    qa_tokenizer_free(t);
    (void)snprintf(json, sizeof json, with, "false");
    t = load(json);
    ck_assert_str_eq(ids_of(t, "aba abab"), "2 0 2 2");
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(unknown_characters) {
    static const char with[] =
        "{\"model\":{\"type\":\"BPE\",%s\"vocab\":{\"<unk>\":0,\"a\":1,\"<0xC3>\":2,\"<0xA9>\":3},"
        "\"merges\":[]}}";
    static const struct {
        const char *options, *expected;
    } cases[] = {
        {"\"unk_token\":\"<unk>\",", "1 0 0 1 0"},
        {"\"unk_token\":\"<unk>\",\"fuse_unk\":true,", "1 0 1 0"},
        {"", "1 1"}, /* no unknown token: they vanish */
        {"\"unk_token\":null,", "1 1"},
        {"\"byte_fallback\":true,", "1 2 3 2 3 1 2 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char json[512];
        (void)snprintf(json, sizeof json, with, cases[i].options);
        qa_tokenizer *t = load(json);
        ck_assert_str_eq(ids_of(t, "a\xC3\xA9\xC3\xA9"
                                   "a\xC3\xA9"),
                         cases[i].expected);
        qa_tokenizer_free(t);
    }
}
END_TEST

START_TEST(byte_fallback_needs_all_bytes) {
    qa_tokenizer *t = load("{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"<unk>\",\"vocab\":{"
                           "\"<unk>\":0,\"<0xC3>\":1,\"<0xA9>\":2},\"merges\":[]}}");
    ck_assert_str_eq(ids_of(t, "\xC3\xA9"), "1 2");
    ck_assert_str_eq(ids_of(t, "\xC3\xA8"), "0"); /* no <0xA8> */
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(missing_unknown_token_is_an_error_when_needed) {
    qa_error err = {0};
    qa_ids ids = {0};
    qa_tokenizer *t = load("{\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"vocab\":{\"a\":0},\"merges\":[]}}");
    ck_assert_str_eq(ids_of(t, "aa"), "0 0");
    ck_assert_int_eq(qa_tokenizer_encode(t, "ab", 2, (qa_encode_options){0}, &ids, &err), QA_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.message, "U+0062"));
    ck_assert_uint_eq(ids.n, 0);
    qa_ids_free(&ids);
    qa_tokenizer_free(t);
}
END_TEST

/* ---- added tokens ---- */

#define LETTERS                                                                                                        \
    "\"a\":0,\"b\":1,\"c\":2,\" "                                                                                      \
    "\":3,\"<\":4,\">\":5,\"x\":6,\"\\n\":7,\"\\u00a0\":8,\"\\u200b\":9,\"_\":10,\"\\u00e9\":11"
#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{" LETTERS "},\"merges\":[]}"

START_TEST(added_tokens_longest_first) {
    qa_tokenizer *t = load(
        "{\"added_tokens\":[{\"id\":12,\"content\":\"<x\",\"special\":true},{\"id\":13,\"content\":"
        "\"<x>\",\"special\":true},{\"id\":0,\"content\":\"a\",\"special\":false,\"normalized\":false}]," MODEL "}");
    ck_assert_str_eq(ids_of(t, "b<x>c<xb"), "1 13 2 12 1");
    ck_assert_str_eq(ids_of(t, "<<x>>"), "4 13 5");
    ck_assert(qa_tokenizer_is_added(t, 0) && !qa_tokenizer_is_special(t, 0));
    ck_assert(qa_tokenizer_is_added(t, 13) && qa_tokenizer_is_special(t, 13));
    ck_assert(!qa_tokenizer_is_added(t, 1) && !qa_tokenizer_is_added(t, -1) && !qa_tokenizer_is_added(t, 99));
    ck_assert_uint_eq(qa_tokenizer_vocab_size(t), 14);
    ck_assert_int_eq(qa_tokenizer_token_id(t, "<x>"), 13);
    ck_assert_int_eq(qa_tokenizer_token_id(t, "<x>>"), -1);
    ck_assert_str_eq(qa_tokenizer_token(t, 12), "<x");
    ck_assert_ptr_null(qa_tokenizer_token(t, 14));
    ck_assert_ptr_null(qa_tokenizer_token(t, -5));
    ck_assert_str_eq(qa_tokenizer_description(t), "BPE, 14 tokens, 3 added");
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(added_tokens_do_not_overlap) {
    qa_tokenizer *t = load("{\"added_tokens\":[{\"id\":12,\"content\":\"aa\",\"special\":true},{\"id\":13,\"content\":"
                           "\"cab\",\"special\":true,\"single_word\":true},{\"id\":14,\"content\":\"bx\",\"special\":"
                           "true}]," MODEL "}");
    ck_assert_str_eq(ids_of(t, "aaa"), "12 0");
    ck_assert_str_eq(ids_of(t, "aaaa"), "12 12");
    ck_assert_str_eq(ids_of(t, "cab bx"), "13 3 14");
    ck_assert_str_eq(ids_of(t, "cabx"), "2 0 1 6"); /* refused as a whole: no "bx" is looked for inside */
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(added_tokens_take_free_ids) {
    /* The ids follow the vocabulary's size whatever the file says. */
    qa_tokenizer *t =
        load("{\"added_tokens\":[{\"id\":500,\"content\":\"q\",\"special\":false},{\"id\":3,\"content\":\"r\","
             "\"special\":false}]," MODEL "}");
    ck_assert_str_eq(ids_of(t, "qr"), "12 13");
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(added_tokens_strip_white_space) {
    qa_tokenizer *t =
        load("{\"added_tokens\":[{\"id\":12,\"content\":\"<l\",\"special\":true,\"lstrip\":true},"
             "{\"id\":13,\"content\":\"<r\",\"special\":true,\"rstrip\":true},{\"id\":14,\"content\":\"\\n\\n\","
             "\"special\":true}]," MODEL "}");
    ck_assert_str_eq(ids_of(t, "a \n\xC2\xA0<lb"), "0 12 1"); /* NBSP is white space */
    ck_assert_str_eq(ids_of(t, "a\xE2\x80\x8B<l"), "0 9 12"); /* the zero-width space is not */
    ck_assert_str_eq(ids_of(t, "<r \xC2\xA0 a "), "13 0 3");
    ck_assert_str_eq(ids_of(t, "<r <l"), "13 12"); /* the space is swallowed once */
    ck_assert_str_eq(ids_of(t, " <l"), "12");
    /* A token inside swallowed space is found all the same. */
    ck_assert_str_eq(ids_of(t, "<r\n\na"), "13 14 0");
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(added_tokens_single_word) {
    qa_tokenizer *t = load("{\"added_tokens\":[{\"id\":12,\"content\":\"ab\",\"special\":false,\"normalized\":false,"
                           "\"single_word\":true},{\"id\":0,\"content\":\"a\",\"special\":false,\"normalized\":false,"
                           "\"single_word\":true}]," MODEL "}");
    ck_assert_str_eq(ids_of(t, "ab ab<ab"), "12 3 12 4 12");
    ck_assert_str_eq(ids_of(t, "abc"), "0 1 2");  /* refused as a whole, no shorter match is tried */
    ck_assert_str_eq(ids_of(t, "_ab"), "10 0 1"); /* an underscore is a word character */
    ck_assert_str_eq(ids_of(t, "\xC3\xA9"
                               "ab"),
                     "11 0 1");
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(added_tokens_raw_and_normalised) {
    /* U+0065 U+0301 becomes U+00E9 under NFC; only the normalised token is found there. */
    static const char with[] =
        "{\"normalizer\":{\"type\":\"NFC\"},\"added_tokens\":[{\"id\":12,\"content\":\"x\\u00e9\",\"special\":false,"
        "\"normalized\":%s}]," MODEL "}";
    char json[1024];
    (void)snprintf(json, sizeof json, with, "true");
    qa_tokenizer *t = load(json);
    ck_assert_str_eq(ids_of(t, "axe\xCC\x81"), "0 12");
    qa_tokenizer_free(t);
    (void)snprintf(json, sizeof json, with, "false");
    t = load(json);
    ck_assert_str_eq(ids_of(t, "axe\xCC\x81"), "0 6 11");
    ck_assert_str_eq(ids_of(t, "ax\xC3\xA9"), "0 12");
    qa_tokenizer_free(t);
    /* Without the key, tokens that are not special are normalised. */
    t = load("{\"normalizer\":{\"type\":\"NFC\"},\"added_tokens\":[{\"id\":12,\"content\":\"xe\\u0301\"},{\"id\":13,"
             "\"content\":\"<\\u00e9\",\"special\":true}]," MODEL "}");
    ck_assert_str_eq(ids_of(t, "axe\xCC\x81<e\xCC\x81"), "0 12 4 11");
    qa_tokenizer_free(t);
}
END_TEST

/* ---- prefixes, templates, continuation ---- */

#define LLAMA(pre)                                                                                                     \
    "{" pre                                                                                                            \
    "\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],\"post_processor\":{\"type\":\"Sequence\","    \
    "\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":" \
    "\"<s>\","                                                                                                         \
    "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"e\",\"type_id\":0}}],"    \
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]},\"e\":{\"id\":\"e\",\"ids\":[1,2]," \
    "\"tokens\":[\"</s>\",\"a\"]}}}]},\"model\":{\"type\":\"BPE\",\"vocab\":{\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,"    \
    "\"\\u2581\":4,\"\\u2581a\":5,\" \":6},\"merges\":[\"\\u2581 a\"]}}"

START_TEST(templates_go_around_every_text) {
    qa_tokenizer *t = load(LLAMA(""));
    ck_assert_str_eq(ids_with(t, "b", true, false), "0 3 1 2");
    ck_assert_str_eq(ids_with(t, "", true, false), "0 1 2");
    ck_assert_str_eq(ids_with(t, "", false, false), "");
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(continuation_has_no_prefix) {
    static const char *const pipelines[] = {
        LLAMA("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"},{"
              "\"type\":"
              "\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]},"),
        LLAMA("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\"},"),
        LLAMA("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"first\"},"),
    };
    for (size_t i = 0; i < 3; i++) {
        qa_tokenizer *t = load(pipelines[i]);
        ck_assert_str_eq(ids_of(t, "ab"), "5 3");
        ck_assert_str_eq(ids_with(t, "ab", false, true), "2 3");
        ck_assert_str_eq(ids_with(t, " ab", false, true), "5 3");
        /* Pieces behind an added token are as always. */
        ck_assert_str_eq(ids_with(t, "b<s>a", false, true), i < 2 ? "3 0 5" : "3 0 2");
        ck_assert_str_eq(ids_with(t, "<s>a", false, true), i < 2 ? "0 5" : "0 2");
        qa_tokenizer_free(t);
    }
}
END_TEST

START_TEST(continuation_of_byte_level) {
    qa_tokenizer *t =
        load("{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},\"decoder\":{\"type\":"
             "\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\\u0120\":1,\"\\u0120a\":2},"
             "\"merges\":[\"\\u0120 a\"]}}");
    ck_assert_str_eq(ids_of(t, "a a"), "2 2");
    ck_assert_str_eq(ids_with(t, "a a", false, true), "0 2");
    ck_assert_str_eq(ids_with(t, " a", false, true), "2");
    ck_assert_str_eq(TEXT_OF(t, false, 0, 2), "a a");
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(invalid_utf8_is_named_by_offset) {
    qa_tokenizer *t = load(LLAMA(""));
    static const struct {
        const char *text;
        size_t bytes, offset;
    } cases[] = {
        {"ab\xFF", 3, 2},       {"a\xC3", 2, 1},        {"\xE2\x96", 2, 0},
        {"a\xC0\x80", 3, 1},    {"\xED\xA0\x80", 3, 0}, {"abc\xF4\x90\x80\x80", 7, 3},
        {"\xE2\x28\xA1", 3, 0}, {"\x80", 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qa_error err = {0};
        qa_ids ids = {0};
        char offset[32];
        (void)snprintf(offset, sizeof offset, "at byte %zu (", cases[i].offset);
        ck_assert_int_eq(
            qa_tokenizer_encode(t, cases[i].text, cases[i].bytes, (qa_encode_options){.add_special = true}, &ids, &err),
            QA_ERR_FORMAT);
        ck_assert_msg(strstr(err.message, offset) != NULL, "%s", err.message);
        ck_assert_uint_eq(ids.n, 0);
        qa_ids_free(&ids);
    }
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(ids_are_appended) {
    qa_error err = {0};
    qa_ids ids = {0};
    qa_text text = {0};
    qa_tokenizer *t = load(LLAMA(""));
    MUST(qa_tokenizer_encode(t, "a", 1, (qa_encode_options){0}, &ids, &err));
    MUST(qa_tokenizer_encode(t, "b", 1, (qa_encode_options){0}, &ids, &err));
    ck_assert_uint_eq(ids.n, 2);
    ck_assert_int_eq(ids.data[1], 3);
    ck_assert_int_eq(qa_tokenizer_encode(t, "b\xFF", 2, (qa_encode_options){0}, &ids, &err), QA_ERR_FORMAT);
    ck_assert_uint_eq(ids.n, 2); /* as before the call that failed */
    MUST(qa_tokenizer_decode(t, ids.data, 1, false, &text, &err));
    MUST(qa_tokenizer_decode(t, ids.data + 1, 1, false, &text, &err));
    ck_assert_str_eq(text.data, "ab");
    MUST(qa_tokenizer_decode(t, NULL, 0, false, &text, &err));
    ck_assert_str_eq(text.data, "ab");
    qa_ids_free(&ids);
    qa_text_free(&text);
    qa_tokenizer_free(t);
}
END_TEST

/* ---- decoding ---- */

START_TEST(decoding_skips) {
    qa_tokenizer *t =
        load("{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},{\"id\":9,\"content\":\"<n>\","
             "\"special\":false}],\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"BPE\",\"vocab\":{"
             "\"<s>\":0,\"a\":1,\"b\":4},\"merges\":[]}}");
    ck_assert_int_eq(qa_tokenizer_token_id(t, "<n>"), 3); /* the next free one by the vocabulary's size */
    ck_assert_str_eq(TEXT_OF(t, false, 0, 1, 3, 4), "<s>a<n>b");
    ck_assert_str_eq(TEXT_OF(t, true, 0, 1, 3, 4), "a<n>b");
    ck_assert_str_eq(TEXT_OF(t, true, 2, -1, 1, 77, INT32_MAX, INT32_MIN), "a"); /* no tokens, nothing */
    qa_tokenizer_free(t);
    /* Without a decoder there is a space between tokens. */
    t = load(LLAMA(""));
    ck_assert_str_eq(TEXT_OF(t, false, 2, 3, 0), "a b <s>");
    ck_assert_str_eq(TEXT_OF(t, true, 0, 2, 3), "a b");
    qa_tokenizer_free(t);
}
END_TEST

/* ---- tokenizer_config.json ---- */

START_TEST(names_of_special_tokens) {
    static const struct {
        const char *config, *bos, *eos;
        int32_t bos_id, eos_id;
    } cases[] = {
        {NULL, NULL, NULL, -1, -1},
        {"{}", NULL, NULL, -1, -1},
        {"{\"bos_token\":null,\"eos_token\":\"</s>\"}", NULL, "</s>", -1, 1},
        {"{\"bos_token\":{\"content\":\"<s>\",\"lstrip\":false},\"eos_token\":{\"content\":\"</s>\"}}", "<s>", "</s>",
         0, 1},
        {"{\"pad_token\":\"<none>\"}", NULL, NULL, -1, -1},
        {"{\"model_max_length\":1000000000000000019884624838656,\"eos_token\":\"a\"}", NULL, "a", -1, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qa_error err = {0};
        qa_tokenizer *t = NULL;
        MUST(load_from(&t, LLAMA(""), cases[i].config, &err));
        ck_assert_int_eq(qa_tokenizer_bos(t), cases[i].bos_id);
        ck_assert_int_eq(qa_tokenizer_eos(t), cases[i].eos_id);
        ck_assert_pstr_eq(qa_tokenizer_bos_text(t), cases[i].bos);
        ck_assert_pstr_eq(qa_tokenizer_eos_text(t), cases[i].eos);
        qa_tokenizer_free(t);
    }
}
END_TEST

START_TEST(configs_that_are_wrong) {
    static const struct {
        const char *config, *message;
    } cases[] = {
        {"{\"bos_token\":3}", "\"bos_token\" must be a string"},
        {"{\"eos_token\":{\"contents\":\"x\"}}", "\"content\" is missing"},
        {"[]", "must be a JSON object"},
        {"{\"bos_token\":\"a\"", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qa_error err = {0};
        qa_tokenizer *t = NULL;
        ck_assert_int_eq(load_from(&t, LLAMA(""), cases[i].config, &err), QA_ERR_FORMAT);
        ck_assert_ptr_null(t);
        ck_assert_msg(strstr(err.message, cases[i].message) != NULL, "%s", err.message);
        ck_assert_msg(strstr(err.message, "tokenizer_config.json") != NULL, "%s", err.message);
    }
}
END_TEST

START_TEST(missing_folder) {
    qa_error err = {0};
    qa_tokenizer *t = NULL;
    char *dir = qa_tempdir_make();
    ck_assert_int_eq(qa_tokenizer_load(&t, dir, &err), QA_ERR_IO);
    ck_assert_ptr_null(t);
    ck_assert_msg(strstr(err.message, "tokenizer.json") != NULL, "%s", err.message);
    qa_tempdir_remove(dir);
    qa_tokenizer_free(NULL);
}
END_TEST

Suite *text_tokenizer_suite(void) {
    Suite *suite = suite_create("text_tokenizer");
    TCase *bpe = tcase_create("bpe");
    tcase_add_test(bpe, merges_by_rank_leftmost_first);
    tcase_add_test(bpe, several_merges_make_one_token);
    tcase_add_test(bpe, ignore_merges_takes_whole_pieces);
    tcase_add_test(bpe, unknown_characters);
    tcase_add_test(bpe, byte_fallback_needs_all_bytes);
    tcase_add_test(bpe, missing_unknown_token_is_an_error_when_needed);
    suite_add_tcase(suite, bpe);
    TCase *added = tcase_create("added tokens");
    tcase_add_test(added, added_tokens_longest_first);
    tcase_add_test(added, added_tokens_do_not_overlap);
    tcase_add_test(added, added_tokens_take_free_ids);
    tcase_add_test(added, added_tokens_strip_white_space);
    tcase_add_test(added, added_tokens_single_word);
    tcase_add_test(added, added_tokens_raw_and_normalised);
    suite_add_tcase(suite, added);
    TCase *whole = tcase_create("whole");
    tcase_add_test(whole, templates_go_around_every_text);
    tcase_add_test(whole, continuation_has_no_prefix);
    tcase_add_test(whole, continuation_of_byte_level);
    tcase_add_test(whole, invalid_utf8_is_named_by_offset);
    tcase_add_test(whole, ids_are_appended);
    tcase_add_test(whole, decoding_skips);
    tcase_add_test(whole, names_of_special_tokens);
    tcase_add_test(whole, configs_that_are_wrong);
    tcase_add_test(whole, missing_folder);
    suite_add_tcase(suite, whole);
    return suite;
}
