/* tools/make_model: what it writes loads, is what was asked for, and is the same for the same seed. */
#include "model/weights.h"
#include "qadapter.h"
#include "support/cli.h"
#include "support/fixture.h"
#include "support/run_tool.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* make_model --out DIR/name and the rest; the arguments end with NULL. */
#define MAKE(dir, name, ...) make_model(dir, name, (const char *const[]){__VA_ARGS__, NULL})

static char *make_model(const char *dir, const char *name, const char *const *rest) {
    char *out = qa_tempdir_join(dir, name);
    const char *argv[40] = {"make_model", "--out", out};
    size_t n = 3;
    for (size_t i = 0; rest[i] != NULL; i++) {
        argv[n++] = rest[i];
    }
    argv[n] = NULL;
    qa_expect_tool(dir, 0, argv);
    return out;
}

static bool same_file(const char *dir, const char *other, const char *name) {
    char *paths[2] = {qa_tempdir_join(dir, name), qa_tempdir_join(other, name)};
    size_t bytes[2];
    char *data[2];
    for (size_t i = 0; i < 2; i++) {
        data[i] = qa_tempdir_read(paths[i], &bytes[i]);
    }
    const bool same = bytes[0] == bytes[1] && memcmp(data[0], data[1], bytes[0]) == 0;
    for (size_t i = 0; i < 2; i++) {
        free(data[i]);
        free(paths[i]);
    }
    return same;
}

static qa_model *load(qa_context *context, const char *dir) {
    qa_error err = {0};
    qa_model *model = NULL;
    qa_expect_ok(qa_model_load(&model, context, dir, &err), &err);
    return model;
}

static qa_context *context_of(void) {
    qa_error err = {0};
    qa_context *context = NULL;
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    return context;
}

/* The largest |x - y| / |y|. */
static double largest_relative_difference(const qa_real *x, const qa_real *y, size_t n) {
    double largest = 0.0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)x[i] - (double)y[i]) / fabs((double)y[i]));
    }
    return largest;
}

static const char *const FILES[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                    "tokenizer_config.json"};
enum { FILE_COUNT = sizeof FILES / sizeof *FILES };

START_TEST(the_same_seed_gives_the_same_bytes) {
    char *dir = qa_tempdir_make();
    char *a = MAKE(dir, "a", "--tokenizer", "byte", "--seed", "5", "--threads", "1");
    char *b = MAKE(dir, "b", "--tokenizer", "byte", "--seed", "5", "--threads", "3");
    char *c = MAKE(dir, "c", "--tokenizer", "byte", "--seed", "6");
    for (size_t i = 0; i < FILE_COUNT; i++) {
        ck_assert_msg(same_file(a, b, FILES[i]), "%s differs", FILES[i]);
    }
    ck_assert(!same_file(a, c, "model.safetensors"));
    free(a);
    free(b);
    free(c);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(the_model_is_what_was_asked_for) {
    char *dir = qa_tempdir_make();
    qa_context *context = context_of();
    char *out = MAKE(dir, "model", "--hidden-size", "48", "--intermediate-size", "80", "--layers", "2", "--heads", "6",
                     "--kv-heads", "3", "--vocab-size", "500", "--context", "77", "--rope-theta", "12345", "--dtype",
                     "f32", "--untied");
    qa_model *model = load(context, out);
    const qa_model_info *info = qa_model_get_info(model);
    ck_assert_str_eq(info->architecture, "LlamaForCausalLM");
    ck_assert_str_eq(info->stored_dtype, "F32");
    ck_assert_uint_eq(info->hidden_size, 48);
    ck_assert_uint_eq(info->intermediate_size, 80);
    ck_assert_uint_eq(info->num_hidden_layers, 2);
    ck_assert_uint_eq(info->num_attention_heads, 6);
    ck_assert_uint_eq(info->num_key_value_heads, 3);
    ck_assert_uint_eq(info->head_dim, 8);
    ck_assert_uint_eq(info->vocab_size, 500);
    ck_assert_uint_eq(info->max_position_embeddings, 77);
    ck_assert_double_eq(info->rope_theta, 12345.0);
    ck_assert(!info->tie_word_embeddings);
    ck_assert_int_eq(info->bos_id, 1);
    ck_assert_uint_eq(info->n_eos, 1);
    ck_assert_int_eq(info->eos_ids[0], 2);
    qa_model_free(model);
    qa_context_free(context);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

/* The presets of big models, with everything but their special features made small. */
START_TEST(presets_keep_their_architecture) {
    char *dir = qa_tempdir_make();
    qa_context *context = context_of();
    char *qwen = MAKE(dir, "qwen", "--preset", "qwen2.5-0.5b", "--hidden-size", "16", "--intermediate-size", "8",
                      "--layers", "1", "--heads", "2", "--kv-heads", "1");
    qa_model *model = load(context, qwen);
    ck_assert_str_eq(qa_model_get_info(model)->architecture, "Qwen2ForCausalLM");
    ck_assert(qa_model_get_info(model)->attention_bias);
    ck_assert_uint_eq(qa_model_get_info(model)->n_eos, 2);
    qa_model_free(model);
    char *llama = MAKE(dir, "llama", "--preset", "llama-3.2-1b", "--hidden-size", "16", "--intermediate-size", "8",
                       "--layers", "1", "--heads", "2", "--kv-heads", "1");
    model = load(context, llama);
    ck_assert_str_eq(qa_model_get_info(model)->rope_type, "llama3");
    ck_assert_double_eq(model->config.rope[QA_ROPE_FULL].factor, 32.0);
    ck_assert_double_eq(model->config.rope[QA_ROPE_FULL].original_max_position, 8192.0);
    ck_assert_uint_eq(qa_model_get_info(model)->n_eos, 3);
    qa_model_free(model);
    qa_context_free(context);
    free(qwen);
    free(llama);
    qa_tempdir_remove(dir);
}
END_TEST

/* BF16 has 8 significant bits, F16 11: half a unit in the last place. Small F16 numbers lose more; none is among these.
 */
START_TEST(shards_change_nothing_and_dtypes_only_round) {
    char *dir = qa_tempdir_make();
    qa_context *context = context_of();
    char *out[4] = {MAKE(dir, "f32", "--dtype", "f32"), MAKE(dir, "sharded", "--dtype", "f32", "--shards", "4"),
                    MAKE(dir, "bf16", "--dtype", "bf16"), MAKE(dir, "f16", "--dtype", "f16", "--shards", "29")};
    qa_model *model[4];
    for (size_t i = 0; i < 4; i++) {
        model[i] = load(context, out[i]);
    }
    const size_t embedding = (size_t)300 * 64;
    ck_assert_mem_eq(model[0]->embedding.real, model[1]->embedding.real, embedding * sizeof(qa_real));
    for (qa_target t = QA_TARGET_Q; t <= QA_TARGET_DOWN; t++) {
        const qa_linear *linear = &model[0]->layers[2].linear[t];
        ck_assert_mem_eq(linear->weight.real, model[1]->layers[2].linear[t].weight.real,
                         linear->in * linear->out * sizeof(qa_real));
    }
    ck_assert_double_le(largest_relative_difference(model[2]->embedding.real, model[0]->embedding.real, embedding),
                        0x1p-8);
    ck_assert_double_gt(largest_relative_difference(model[2]->embedding.real, model[0]->embedding.real, embedding),
                        0x1p-10);
    ck_assert_double_le(largest_relative_difference(model[3]->final_norm.w, model[0]->final_norm.w, 64), 0x1p-11);
    for (size_t i = 0; i < 4; i++) {
        qa_model_free(model[i]);
        free(out[i]);
    }
    qa_context_free(context);
    qa_tempdir_remove(dir);
}
END_TEST

/* 19200 numbers: the mean's own deviation is std / 139, the standard deviation's std / 196; the 64 of a norm give
 * std / 8. Bounds of five of them. */
START_TEST(weights_are_normal) {
    char *dir = qa_tempdir_make();
    qa_context *context = context_of();
    char *out = MAKE(dir, "model", "--std", "0.3", "--dtype", "f32");
    qa_model *model = load(context, out);
    const size_t n = (size_t)300 * 64;
    double sum = 0.0;
    double squares = 0.0;
    double norm = 0.0;
    size_t within = 0;
    for (size_t i = 0; i < n; i++) {
        const double x = (double)model->embedding.real[i];
        sum += x;
        squares += x * x;
        within += fabs(x) < 0.3;
    }
    for (size_t i = 0; i < 64; i++) {
        norm += (double)model->layers[1].norm[QA_NORM_POST].w[i] / 64;
    }
    ck_assert_double_eq_tol(sum / (double)n, 0.0, 5 * 0.3 / 139);
    ck_assert_double_eq_tol(sqrt(squares / (double)n), 0.3, 5 * 0.3 / 196);
    ck_assert_double_eq_tol((double)within / (double)n, 0.6827, 5 * 0.4655 / 139);
    ck_assert_double_eq_tol(norm, 1.0, 5 * 0.3 / 8);
    ck_assert_double_ne(norm, 1.0);
    qa_model_free(model);
    qa_context_free(context);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(the_byte_tokenizer_encodes_everything) {
    char *dir = qa_tempdir_make();
    qa_error err = {0};
    qa_tokenizer *tokenizer = NULL;
    qa_ids ids = {0};
    qa_text text = {0};
    qa_chat_template chat = QA_CHAT_NONE;
    char *out = MAKE(dir, "model", "--tokenizer", "byte");
    qa_expect_ok(qa_tokenizer_load(&tokenizer, out, &err), &err);
    ck_assert_uint_eq(qa_tokenizer_vocab_size(tokenizer), 300);
    ck_assert_int_eq(qa_tokenizer_bos(tokenizer), 296);
    ck_assert_int_eq(qa_tokenizer_eos(tokenizer), 298);
    qa_expect_ok(qa_chat_template_detect(&chat, out, &err), &err);
    ck_assert_int_eq(chat, QA_CHAT_CHATML);
    const char *const hard = "<|im_start|>\x01\x7f A\xc2\xa0z\n\xe2\x82\xac the \xf0\x9f\x98\x80<|im_end|>";
    qa_expect_ok(qa_tokenizer_encode(tokenizer, hard, strlen(hard), (qa_encode_options){0}, &ids, &err), &err);
    const int32_t expected[] = {297,  1,    127, ' ', 'A',  0xc2, 0xa0, 'z',  '\n', 0xe2,
                                0x82, 0xac, 259, ' ', 0xf0, 0x9f, 0x98, 0x80, 298}; /* 259: " the" */
    ck_assert_uint_eq(ids.n, sizeof expected / sizeof *expected);
    ck_assert_mem_eq(ids.data, expected, sizeof expected);
    qa_expect_ok(qa_tokenizer_decode(tokenizer, ids.data, ids.n, false, &text, &err), &err);
    ck_assert_str_eq(text.data, hard);
    qa_text_free(&text);
    qa_ids_free(&ids);
    qa_tokenizer_free(tokenizer);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

static qa_pairs *load_pairs(const char *path) {
    qa_error err = {0};
    qa_pairs *pairs = NULL;
    const int32_t eos = 2;
    const qa_pairs_options options = {
        .vocab_size = 300, .max_length = 512, .eos_ids = &eos, .n_eos = 1, .strict = true, .chat = QA_CHAT_NONE};
    qa_expect_ok(qa_pairs_load(&pairs, path, NULL, &options, &err), &err);
    return pairs;
}

static void make_pairs(const char *dir, const char *path, const char *vary) {
    qa_expect_tool(dir, 0,
                   (const char *const[]){"make_model", "--pairs", "20", "--prompt-length", "12", "--response-length",
                                         "7", "--pairs-out", path, "--seed", "3", vary, NULL});
}

START_TEST(pairs_have_the_lengths_asked_for) {
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_join(dir, "pairs.jsonl");
    make_pairs(dir, path, NULL);
    qa_pairs *pairs = load_pairs(path);
    ck_assert_uint_eq(qa_pairs_count(pairs), 20);
    for (size_t i = 0; i < 20; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        ck_assert_uint_eq(pair->prompt_len, 12);
        ck_assert_uint_eq(pair->chosen_len, 7);
        ck_assert_uint_eq(pair->rejected_len, 7);
        ck_assert_int_eq(pair->chosen[6], 2);
        ck_assert(pair->chosen_terminal && pair->rejected_terminal);
        for (size_t t = 0; t < 6; t++) {
            ck_assert_int_ne(pair->chosen[t], 2);
        }
    }
    qa_pairs_free(pairs);
    make_pairs(dir, path, "--vary");
    pairs = load_pairs(path);
    bool lengths[16] = {false};
    size_t different = 0;
    for (size_t i = 0; i < 20; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        ck_assert(pair->prompt_len >= 6 && pair->prompt_len <= 12);
        ck_assert(pair->chosen_len >= 4 && pair->chosen_len <= 7);
        ck_assert(pair->rejected_len >= 4 && pair->rejected_len <= 7);
        lengths[pair->prompt_len] = true;
    }
    for (size_t n = 0; n < 16; n++) {
        different += lengths[n];
    }
    ck_assert_uint_ge(different, 4);
    qa_pairs_free(pairs);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(wrong_options_are_explained) {
    const struct {
        const char *option, *value, *said;
    } wrong[] = {{"--preset", "huge", "huge"},     {"--layers", "two", "whole number"}, {"--dtype", "int8", "int8"},
                 {"--shards", "9999", "--shards"}, {"--nonsense", "1", "--nonsense"},   {"--kv-heads", "3", "3 key"},
                 {"--std", "-1", "above 0"},       {"--pairs", "3", "--pairs-out"},     {"--tokenizer", "word", "byte"},
                 {"--vocab-size", "2", "special"}};
    char *dir = qa_tempdir_make();
    char *out = qa_tempdir_join(dir, "model");
    char *said_path = qa_tempdir_join(dir, "stderr");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        qa_expect_tool(dir, 2,
                       (const char *const[]){"make_model", "--out", out, wrong[i].option, wrong[i].value, NULL});
        char *said = qa_tempdir_read(said_path, NULL);
        ck_assert_msg(strstr(said, wrong[i].said) != NULL, "%s: %s", wrong[i].option, said);
        free(said);
    }
    free(said_path);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

/* The command line reads the folder as it reads any other. */
START_TEST(the_command_line_reads_it) {
    char *dir = qa_tempdir_make();
    char *out = MAKE(dir, "model", "--tokenizer", "byte");
    qa_cli_expect(QA_CLI("info", "--model", out), 0, "byte-level BPE, 300 tokens, 4 added", NULL);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *cli_make_model_suite(void);
Suite *cli_make_model_suite(void) {
    Suite *suite = suite_create("cli/make_model");
    TCase *tool = tcase_create("make_model");
    tcase_set_timeout(tool, 60);
    tcase_add_test(tool, the_same_seed_gives_the_same_bytes);
    tcase_add_test(tool, the_model_is_what_was_asked_for);
    tcase_add_test(tool, presets_keep_their_architecture);
    tcase_add_test(tool, shards_change_nothing_and_dtypes_only_round);
    tcase_add_test(tool, weights_are_normal);
    tcase_add_test(tool, the_byte_tokenizer_encodes_everything);
    tcase_add_test(tool, pairs_have_the_lengths_asked_for);
    tcase_add_test(tool, wrong_options_are_explained);
    tcase_add_test(tool, the_command_line_reads_it);
    suite_add_tcase(suite, tool);
    return suite;
}
