/* Tokens that tokenizer_config.json, special_tokens_map.json and added_tokens.json declare: added as transformers adds
 * them, with one warning for each kind of difference; what cannot be followed is refused. */
#include "qadapter/text.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *text_tokenizer_declared_suite(void);

/* Characters and the two marks are tokens of the model; only <s> is an added one. */
#define TOKENIZER                                                                                                      \
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],\"model\":{\"type\":\"BPE\",\"vocab\":{"      \
    "\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,\"<\":4,\"/\":5,\"s\":6,\">\":7,\"P\":8},\"merges\":[]}}"

static qa_status load(qa_tokenizer **tokenizer, const char *config, const char *map, const char *added, qa_error *err) {
    char *dir = qa_tempdir_make();
    free(qa_tempdir_write_text(dir, "tokenizer.json", TOKENIZER));
    if (config != NULL) {
        free(qa_tempdir_write_text(dir, "tokenizer_config.json", config));
    }
    if (map != NULL) {
        free(qa_tempdir_write_text(dir, "special_tokens_map.json", map));
    }
    if (added != NULL) {
        free(qa_tempdir_write_text(dir, "added_tokens.json", added));
    }
    const qa_status status = qa_tokenizer_load(tokenizer, dir, err);
    qa_tempdir_remove(dir);
    return status;
}

/* The ids of "a</s>P" and the tokenizer's only warning, which must contain these words (NULL: there is none). */
static void check(const char *config, const char *map, const char *added, const char *ids, const char *warning) {
    qa_error err = {0};
    qa_tokenizer *t = NULL;
    qa_ids found = {0};
    char shown[256] = "";
    ck_assert_msg(load(&t, config, map, added, &err) == QA_OK, "%s", err.message);
    ck_assert_msg(qa_tokenizer_encode(t, "a</s>P", 6, (qa_encode_options){0}, &found, &err) == QA_OK, "%s",
                  err.message);
    for (size_t i = 0; i < found.n; i++) {
        (void)snprintf(shown + strlen(shown), sizeof shown - strlen(shown), "%s%d", i == 0 ? "" : " ",
                       (int)found.data[i]);
    }
    ck_assert_str_eq(shown, ids);
    const qa_warnings *warnings = qa_tokenizer_warnings(t);
    ck_assert_msg(warnings->n == (warning == NULL ? 0 : 1), "%zu warnings: %s", warnings->n,
                  warnings->n == 0 ? "" : warnings->lines[0]);
    if (warning != NULL) {
        ck_assert_msg(strstr(warnings->lines[0], warning) != NULL, "%s", warnings->lines[0]);
    }
    qa_ids_free(&found);
    qa_tokenizer_free(t);
}

#define CUT "2 4 5 6 7 8"
#define FLAGS(special)                                                                                                 \
    "\"lstrip\":false,\"rstrip\":false,\"single_word\":false,\"normalized\":false,\"special\":" special

START_TEST(end_token_not_among_added_tokens) {
    check(NULL, NULL, NULL, CUT, NULL);
    check("{\"eos_token\":\"</s>\"}", NULL, NULL, "2 1 8", "tokenizer_config.json: 1 of its tokens is not among");
    check("{\"eos_token\":{\"__type\":\"AddedToken\",\"content\":\"</s>\",\"normalized\":false}}", NULL, NULL, "2 1 8",
          "\"</s>\" (1)");
    check("{\"added_tokens_decoder\":{\"1\":{\"content\":\"</s>\"," FLAGS("true") "}}}", NULL, NULL, "2 1 8",
          "not among the added_tokens of tokenizer.json");
    check("{}", "{\"eos_token\":\"</s>\"}", NULL, "2 1 8", "special_tokens_map.json: 1 of its tokens");
    check(NULL, "{\"eos_token\":{\"content\":\"</s>\"}}", NULL, "2 1 8", "special_tokens_map.json");
    check("{}", NULL, "{\"</s>\":1}", "2 1 8", "added_tokens.json");
    check("{\"additional_special_tokens\":[\"</s>\"]}", NULL, NULL, "2 1 8", "tokenizer_config.json");
    check("{\"extra_special_tokens\":{\"image_token\":\"</s>\"}}", NULL, NULL, "2 1 8", "tokenizer_config.json");
    check("{\"image_token\":\"</s>\"}", NULL, NULL, "2 1 8", "tokenizer_config.json");
    check("{\"bos_token\":\"<s>\"}", NULL, NULL, CUT, NULL);
}
END_TEST

START_TEST(flags_and_new_ids) {
    qa_error err = {0};
    qa_tokenizer *t = NULL;
    check("{\"pad_token\":\"/s>P\"}", NULL, NULL, "2 4 9", "\"/s>P\" (9)");
    check("{\"added_tokens_decoder\":{\"9\":{\"content\":\"s>\"," FLAGS("false") "}}}", NULL, NULL, "2 4 5 9 8",
          "\"s>\" (9)");
    check("{\"added_tokens_decoder\":{\"0\":{\"content\":\"<s>\"," FLAGS("false") "}}}", NULL, NULL, CUT,
          "disagree about the flags of \"<s>\" (0)");
    /* A name makes special what added_tokens_decoder calls ordinary. */
    ck_assert_int_eq(
        load(&t, "{\"eos_token\":\"</s>\",\"added_tokens_decoder\":{\"1\":{\"content\":\"</s>\"," FLAGS("false") "}}}",
             NULL, NULL, &err),
        QA_OK);
    ck_assert(qa_tokenizer_is_special(t, 1) && qa_tokenizer_eos(t) == 1);
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(tokenizer_add_bos_token) {
    check("{\"bos_token\":\"<s>\",\"add_bos_token\":false,\"add_eos_token\":false}", NULL, NULL, CUT, NULL);
    check("{\"bos_token\":\"<s>\",\"add_bos_token\":true}", NULL, NULL, CUT,
          "\"add_bos_token\" is true, but tokenizer.json's post_processor does not add \"<s>\"");
}
END_TEST

/* add_prefix_space against what tokenizer.json does, keys that ask for what is not done, objects without "__type". */
START_TEST(keys_that_change_the_text) {
    check("{\"add_prefix_space\":false,\"clean_up_tokenization_spaces\":false,\"split_special_tokens\":false}", NULL,
          NULL, CUT, NULL);
    check("{\"add_prefix_space\":null}", NULL, NULL, CUT, NULL);
    check("{\"add_prefix_space\":true}", NULL, NULL, CUT,
          "\"add_prefix_space\" is true, but tokenizer.json does not put a space in front");
    check("{\"fast_tokenizer_files\":[\"tokenizer.json\"]}", NULL, NULL, CUT, NULL);
    check("{\"fast_tokenizer_files\":[\"tokenizer.4.0.0.json\"]}", NULL, NULL, CUT,
          "\"fast_tokenizer_files\" names tokenizer.4.0.0.json");
    check("{\"bos_token\":{\"__type\":\"AddedToken\",\"content\":\"<s>\"}}", NULL, NULL, CUT, NULL);
    check("{\"bos_token\":{\"content\":\"<s>\"}}", NULL, NULL, CUT, "bos_token is an object without \"__type\"");
    qa_error err = {0};
    qa_tokenizer *t = NULL;
    ck_assert_int_eq(load(&t, "{\"split_special_tokens\":true}", NULL, NULL, &err), QA_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "tokenizer_config.json: \"split_special_tokens\" is true"));
    ck_assert_int_eq(load(&t, "{\"clean_up_tokenization_spaces\":true}", NULL, NULL, &err), QA_OK);
    ck_assert_uint_eq(qa_tokenizer_warnings(t)->n, 0);
    ck_assert_uint_eq(qa_tokenizer_notes(t)->n, 1);
    ck_assert_ptr_nonnull(strstr(qa_tokenizer_notes(t)->lines[0], "spaces before punctuation"));
    qa_tokenizer_free(t);
}
END_TEST

/* Where a space in front of a text comes from. */
START_TEST(sections_that_put_a_space) {
    static const struct {
        const char *sections;
        bool puts;
    } cases[] = {
        {"\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"_\"}", true},
        {"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"_\"}]}", true},
        {"\"normalizer\":{\"type\":\"NFC\"}", false},
        {"\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"}", true},
        {"\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\"}", false},
        {"\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", true},
        {"\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", false},
        {"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
         "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}]}",
         true},
    };
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof *cases); i++) {
        char *dir = qa_tempdir_make();
        char text[512];
        qa_error err = {0};
        qa_tokenizer *t = NULL;
        const bool key = i % 2 == 1;
        (void)snprintf(text, sizeof text, "{%s,\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
                       cases[i / 2].sections);
        free(qa_tempdir_write_text(dir, "tokenizer.json", text));
        free(qa_tempdir_write_text(dir, "tokenizer_config.json",
                                   key ? "{\"add_prefix_space\":true}" : "{\"add_prefix_space\":false}"));
        ck_assert_msg(qa_tokenizer_load(&t, dir, &err) == QA_OK, "%s", err.message);
        ck_assert_msg(qa_tokenizer_warnings(t)->n == (key == cases[i / 2].puts ? 0 : 1), "%s", text);
        qa_tokenizer_free(t);
        qa_tempdir_remove(dir);
    }
}
END_TEST

START_TEST(another_form_only) {
    char *dir = qa_tempdir_make();
    qa_error err = {0};
    qa_tokenizer *t = NULL;
    free(qa_tempdir_write_text(dir, "tokenizer.model", "x"));
    ck_assert_int_eq((int)qa_tokenizer_load(&t, dir, &err), QA_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "holds tokenizer.model but no tokenizer.json"));
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(classes_that_transformers_5_builds_anew) {
    qa_error err = {0};
    qa_tokenizer *t = NULL;
    ck_assert_int_eq((int)load(&t, "{\"tokenizer_class\":\"GPT2Tokenizer\"}", NULL, NULL, &err), QA_OK);
    ck_assert_uint_eq(qa_tokenizer_notes(t)->n, 1);
    ck_assert_ptr_nonnull(strstr(qa_tokenizer_notes(t)->lines[0], "transformers 5"));
    qa_tokenizer_free(t);
    ck_assert_int_eq((int)load(&t, "{\"tokenizer_class\":\"PreTrainedTokenizerFast\"}", NULL, NULL, &err), QA_OK);
    ck_assert_uint_eq(qa_tokenizer_notes(t)->n, 0);
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(the_two_name_files_disagree) {
    qa_error err = {0};
    qa_tokenizer *t = NULL;
    ck_assert_msg(load(&t, "{\"eos_token\":\"a\"}", "{\"eos_token\":\"b\"}", NULL, &err) == QA_OK, "%s", err.message);
    ck_assert_int_eq(qa_tokenizer_eos(t), 3);
    ck_assert_msg(strstr(qa_tokenizer_warnings(t)->lines[0], "eos_token is \"a\" in tokenizer_config.json and \"b\" in "
                                                             "special_tokens_map.json: the latter is used") != NULL,
                  "%s", qa_tokenizer_warnings(t)->lines[0]);
    qa_tokenizer_free(t);
    ck_assert_msg(load(&t, "{\"eos_token\":\"a\",\"added_tokens_decoder\":{}}", "{\"eos_token\":\"b\"}", NULL, &err) ==
                      QA_OK,
                  "%s", err.message);
    ck_assert_int_eq(qa_tokenizer_eos(t), 2);
    ck_assert_ptr_nonnull(strstr(qa_tokenizer_warnings(t)->lines[0], "the former is used"));
    qa_tokenizer_free(t);
}
END_TEST

START_TEST(what_cannot_be_followed) {
    static const struct {
        const char *config, *map, *added, *message;
    } cases[] = {
        {"{\"eos_token\":\"<|eot|>\"}", NULL, NULL, "eos_token \"<|eot|>\" is not a token of tokenizer.json"},
        {"{\"bos_token\":\"<|bot|>\"}", NULL, NULL, "bos_token \"<|bot|>\" is not a token of tokenizer.json"},
        {NULL, "{\"eos_token\":\"<|eot|>\"}", NULL, "special_tokens_map.json: eos_token \"<|eot|>\""},
        {"{\"added_tokens_decoder\":{\"40\":{\"content\":\"<new>\"}}}", NULL, NULL,
         "tokenizer_config.json: token \"<new>\" has the id 40 here and is not a token of tokenizer.json"},
        {NULL, NULL, "{\"<new>\":3}", "added_tokens.json: token \"<new>\" has the id 3 here"},
        {NULL, NULL, "{\"<new>\":-1}", "the id must be an integer"},
        {NULL, NULL, "{\"<new>\":\"9\"}", "the id must be an integer"},
        {"{\"added_tokens_decoder\":{\"x\":{\"content\":\"<new>\"}}}", NULL, NULL, "the id must be an integer"},
        {"{\"added_tokens_decoder\":{\"1\":{\"content\":7}}}", NULL, NULL, "\"content\" must be a string"},
        {"{\"added_tokens_decoder\":[]}", NULL, NULL, "must be an object"},
        {"{\"pad_token\":3}", NULL, NULL, "\"pad_token\" must be a string"},
        {"{\"additional_special_tokens\":\"a\"}", NULL, NULL, "must be a list of tokens"},
        {NULL, "[]", NULL, "special_tokens_map.json: must be a JSON object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qa_error err = {0};
        qa_tokenizer *t = NULL;
        ck_assert_int_ne(load(&t, cases[i].config, cases[i].map, cases[i].added, &err), QA_OK);
        ck_assert_ptr_null(t);
        ck_assert_msg(strstr(err.message, cases[i].message) != NULL, "case %zu: %s", i, err.message);
    }
}
END_TEST

START_TEST(another_kind_of_file) {
    static const struct {
        const char *bytes, *message;
    } FILES[] = {
        {"version https://git-lfs.github.com/spec/v1\n", "tokenizer_config.json is a git-lfs pointer"},
        {"\xef\xbb\xbf{}", "tokenizer_config.json is text with a byte-order mark in front"},
        {"\xff\xfe{", "tokenizer_config.json is text in UTF-16"},
        {"<!DOCTYPE html>", "tokenizer_config.json is a web page"},
    };
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        qa_error err = {0};
        qa_tokenizer *t = NULL;
        ck_assert_int_eq((int)load(&t, FILES[i].bytes, NULL, NULL, &err), QA_ERR_FORMAT);
        ck_assert_msg(strstr(err.message, FILES[i].message) != NULL, "%s", err.message);
    }
}
END_TEST

Suite *text_tokenizer_declared_suite(void) {
    Suite *suite = suite_create("text_tokenizer_declared");
    TCase *declared = tcase_create("declared");
    tcase_add_test(declared, end_token_not_among_added_tokens);
    tcase_add_test(declared, flags_and_new_ids);
    tcase_add_test(declared, tokenizer_add_bos_token);
    tcase_add_test(declared, keys_that_change_the_text);
    tcase_add_test(declared, sections_that_put_a_space);
    tcase_add_test(declared, another_form_only);
    tcase_add_test(declared, classes_that_transformers_5_builds_anew);
    tcase_add_test(declared, the_two_name_files_disagree);
    tcase_add_test(declared, what_cannot_be_followed);
    tcase_add_test(declared, another_kind_of_file);
    suite_add_tcase(suite, declared);
    return suite;
}
