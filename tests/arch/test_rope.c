/* Frequencies of the rotary embeddings against those that transformers 5.24 computes of the same config.json (in single
 * precision: the model's rotary_emb, run over positions 0 to length - 1), one row for each type and each family with
 * settings of its own. */
#include "arch/config.h"
#include "support/compare.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZES                                                                                                          \
    ", \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "         \
    "\"vocab_size\": 50, \"max_position_embeddings\": 64"

enum { MOST_FREQUENCIES = 8 };

static const struct rope_row {
    const char *name, *members;
    qa_rope_kind kind;
    size_t length;
    double factor;
    size_t n;
    double frequency[MOST_FREQUENCIES];
} rope_rows[] = {
    {"default",
     "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rope_theta\": 500000.0",
     QA_ROPE_FULL,
     0,
     1,
     8,
     {1, 0.193922758, 0.0376060307, 0.00729266508, 0.00141421345, 0.000274248188, 5.31829573e-05, 1.03133852e-05}},
    {"linear",
     "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"linear\", "
     "\"factor\": 4.0}",
     QA_ROPE_FULL,
     0,
     1,
     8,
     {0.25, 0.079056941, 0.0250000004, 0.00790569466, 0.00249999994, 0.000790569466, 0.000250000012, 7.90569466e-05}},
    {"llama3",
     "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rope_theta\": 500000.0, "
     "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": "
     "4.0, \"original_max_position_embeddings\": 256}",
     QA_ROPE_FULL,
     0,
     1,
     8,
     {1, 0.193922758, 0.0105382307, 0.000911583134, 0.000176776681, 3.42810235e-05, 6.64786967e-06, 1.28917316e-06}},
    {"yarn",
     "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": "
     "\"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 1024}",
     QA_ROPE_FULL,
     0,
     1.13862944,
     8,
     {1, 0.316227764, 0.0812500045, 0.0197642371, 0.00437500002, 0.000790569466, 0.000250000012, 7.90569466e-05}},
    {"yarn, mscale, not truncated",
     "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": "
     "\"yarn\", \"factor\": 8.0, \"mscale\": 1.0, \"mscale_all_dim\": 0.5, \"beta_fast\": 24, \"beta_slow\": 2, "
     "\"truncate\": false, \"original_max_position_embeddings\": 512}",
     QA_ROPE_FULL,
     0,
     1.09417999,
     8,
     {1, 0.316227764, 0.0619636625, 0.00677475799, 0.00124999997, 0.000395284733, 0.000125000006, 3.95284733e-05}},
    {"yarn, attention_factor, no original context",
     "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": "
     "\"yarn\", \"factor\": 4.0, \"attention_factor\": 1.25}",
     QA_ROPE_FULL,
     0,
     1.25,
     8,
     {1, 0.237170815, 0.049999997, 0.00790569466, 0.00249999994, 0.000790569466, 0.000250000012, 7.90569466e-05}},
    {"dynamic, within",
     "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": "
     "\"dynamic\", \"factor\": 2.0}",
     QA_ROPE_FULL,
     40,
     1,
     8,
     {1, 0.316227764, 0.100000001, 0.0316227786, 0.00999999978, 0.00316227786, 0.00100000005, 0.000316227786}},
    {"dynamic, beyond",
     "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": "
     "\"dynamic\", \"factor\": 2.0}",
     QA_ROPE_FULL,
     100,
     1,
     8,
     {1, 0.283945143, 0.0806248412, 0.0228930302, 0.00650036521, 0.001845747, 0.000524090894, 0.000148813066}},
    {"longrope, within",
     "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": "
     "\"longrope\", \"short_factor\": [1.0, 1.015625, 1.0625, 1.140625, 1.25, 1.390625, 1.5625, 1.765625], "
     "\"long_factor\": [1.5, 1.625, 2.0, 2.625, 3.5, 4.625, 6.0, 7.625], \"original_max_position_embeddings\": 16}",
     QA_ROPE_FULL,
     16,
     1.22474487,
     8,
     {1, 0.311362714, 0.0941176489, 0.0277240779, 0.00800000038, 0.00227399752, 0.000639999984, 0.000179102455}},
    {"longrope, beyond",
     "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": "
     "\"longrope\", \"short_factor\": [1.0, 1.015625, 1.0625, 1.140625, 1.25, 1.390625, 1.5625, 1.765625], "
     "\"long_factor\": [1.5, 1.625, 2.0, 2.625, 3.5, 4.625, 6.0, 7.625], \"original_max_position_embeddings\": 16}",
     QA_ROPE_FULL,
     17,
     1.22474487,
     8,
     {0.666666687, 0.1946017, 0.0500000007, 0.0120467721, 0.00285714283, 0.000683735765, 0.000166666665,
      4.14724927e-05}},
    {"Phi-4-mini",
     "\"architectures\": [\"Phi3ForCausalLM\"], \"model_type\": \"phi3\", \"partial_rotary_factor\": 0.75, "
     "\"original_max_position_embeddings\": 32, \"pad_token_id\": 0, \"rope_scaling\": {\"type\": \"longrope\", "
     "\"short_factor\": [1.0, 1.015625, 1.0625, 1.140625, 1.25, 1.390625], \"long_factor\": [1.5, 1.625, 2.0, 2.625, "
     "3.5, 4.625]}",
     QA_ROPE_FULL,
     33,
     1.09544512,
     6,
     {0.666666687, 0.132580578, 0.023207942, 0.00380952377, 0.00061555265, 0.000100358695}},
    {"Pythia",
     "\"architectures\": [\"GPTNeoXForCausalLM\"], \"model_type\": \"gpt_neox\", \"rotary_pct\": 0.5, "
     "\"rotary_emb_base\": 500.0",
     QA_ROPE_FULL,
     0,
     1,
     4,
     {1, 0.21147424, 0.0447213612, 0.0094574159}},
    {"Hunyuan",
     "\"architectures\": [\"HunYuanDenseV1ForCausalLM\"], \"model_type\": \"hunyuan_v1_dense\", \"head_dim\": 16, "
     "\"rope_scaling\": {\"type\": \"dynamic\", \"alpha\": 1000.0, \"factor\": 1.0, \"beta_fast\": 32, \"beta_slow\": "
     "1, \"mscale\": 1.0, \"mscale_all_dim\": 1.0}",
     QA_ROPE_FULL,
     100,
     1,
     8,
     {1, 0.117876865, 0.0138949547, 0.00163789373, 0.000193069776, 2.27584587e-05, 2.68269582e-06, 3.16227755e-07}},
    {"Gemma 3, full layers",
     "\"architectures\": [\"Gemma3ForCausalLM\"], \"model_type\": \"gemma3_text\", \"layer_types\": "
     "[\"sliding_attention\", \"full_attention\"], \"pad_token_id\": 0, \"head_dim\": 16, \"rope_scaling\": "
     "{\"rope_type\": \"linear\", \"factor\": 8.0}",
     QA_ROPE_FULL,
     0,
     1,
     8,
     {0.125, 0.0222284924, 0.00395284733, 0.000702926656, 0.000125000006, 2.22284925e-05, 3.95284678e-06,
      7.02926684e-07}},
    {"Gemma 3, layers with a window",
     "\"architectures\": [\"Gemma3ForCausalLM\"], \"model_type\": \"gemma3_text\", \"layer_types\": "
     "[\"sliding_attention\", \"full_attention\"], \"pad_token_id\": 0, \"head_dim\": 16, \"rope_scaling\": "
     "{\"rope_type\": \"linear\", \"factor\": 8.0}",
     QA_ROPE_SLIDING,
     0,
     1,
     8,
     {1, 0.316227764, 0.100000001, 0.0316227786, 0.00999999978, 0.00316227786, 0.00100000005, 0.000316227786}},
    {"OLMo 3, full layers",
     "\"architectures\": [\"Olmo3ForCausalLM\"], \"model_type\": \"olmo3\", \"layer_types\": [\"sliding_attention\", "
     "\"full_attention\"], \"rope_theta\": 1000000.0, \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 8.0, "
     "\"original_max_position_embeddings\": 1024}",
     QA_ROPE_FULL,
     0,
     1.20794415,
     8,
     {1, 0.125961453, 0.0131761581, 0.000702926656, 0.000125000006, 2.22284925e-05, 3.95284678e-06, 7.02926684e-07}},
    {"OLMo 3, layers with a window",
     "\"architectures\": [\"Olmo3ForCausalLM\"], \"model_type\": \"olmo3\", \"layer_types\": [\"sliding_attention\", "
     "\"full_attention\"], \"rope_theta\": 1000000.0, \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 8.0, "
     "\"original_max_position_embeddings\": 1024}",
     QA_ROPE_SLIDING,
     0,
     1,
     8,
     {1, 0.193922758, 0.0376060307, 0.00729266508, 0.00141421345, 0.000274248188, 5.31829573e-05, 1.03133852e-05}},
};

static void load_members(qa_config *config, const char *members) {
    char text[2048];
    qa_error err = {0};
    char *dir = qa_tempdir_make();
    (void)snprintf(text, sizeof text, "{%s" SIZES "}", members);
    char *path = qa_tempdir_write_text(dir, "config.json", text);
    const qa_status status = qa_config_load_file(config, path, NULL, &err);
    ck_assert_msg(status == QA_OK, "%s: %s", members, err.message);
    free(path);
    qa_tempdir_remove(dir);
}

START_TEST(transformers_turns_by_the_same) {
    const struct rope_row *row = &rope_rows[_i];
    qa_config config;
    double frequency[MOST_FREQUENCIES], factor = 0;
    load_members(&config, row->members);
    ck_assert_uint_eq(config.rotary_dim / 2, row->n);
    qa_rope_frequencies(frequency, &factor, &config, &config.rope[row->kind], row->length);
    ck_assert_msg(fabs(factor - row->factor) < 1e-7, "%s: factor %.9g", row->name, factor);
    for (size_t i = 0; i < row->n; i++) {
        ck_assert_msg(fabs(frequency[i] / row->frequency[i] - 1) < 5e-7, "%s: number %zu is %.9g, expected %.9g",
                      row->name, i, frequency[i], row->frequency[i]);
    }
}
END_TEST

/* What is written is read again as it was, and turns by the same to the last bit. */
START_TEST(written_and_read_again) {
    const struct rope_row *row = &rope_rows[_i];
    qa_config config, again;
    qa_error err = {0};
    double frequency[2][MOST_FREQUENCIES] = {{0}}, factor[2] = {0};
    char *dir = qa_tempdir_make();
    load_members(&config, row->members);
    ck_assert_int_eq(qa_config_save(&config, dir, QA_DTYPE_F32, &err), QA_OK);
    ck_assert_msg(qa_config_load(&again, dir, NULL, &err) == QA_OK, "%s: %s", row->name, err.message);
    qa_rope_frequencies(frequency[0], &factor[0], &config, &config.rope[row->kind], row->length);
    qa_rope_frequencies(frequency[1], &factor[1], &again, &again.rope[row->kind], row->length);
    ck_assert(factor[0] == factor[1]);
    for (size_t i = 0; i < row->n; i++) {
        ck_assert_msg(frequency[0][i] == frequency[1][i], "%s: %zu", row->name, i);
    }
    qa_tempdir_remove(dir);
}
END_TEST

/* Which lengths share their frequencies, and how long a sequence may be. */
START_TEST(lengths) {
    qa_config dynamic, longrope, alpha, yarn;
    load_members(&dynamic, "\"architectures\": [\"LlamaForCausalLM\"], \"rope_scaling\": {\"rope_type\": \"dynamic\", "
                           "\"factor\": 2.0}");
    load_members(&longrope, rope_rows[8].members);
    load_members(&alpha, rope_rows[12].members);
    load_members(&yarn, rope_rows[3].members);
    ck_assert(qa_config_rope_depends_on_length(&dynamic) && qa_config_rope_depends_on_length(&longrope));
    ck_assert(!qa_config_rope_depends_on_length(&alpha) && !qa_config_rope_depends_on_length(&yarn));
    ck_assert(qa_config_rope_is_same(&dynamic, 2, 64) && !qa_config_rope_is_same(&dynamic, 64, 65));
    ck_assert(!qa_config_rope_is_same(&dynamic, 70, 71) && qa_config_rope_is_same(&dynamic, 70, 70));
    ck_assert(qa_config_rope_is_same(&longrope, 1, 16) && !qa_config_rope_is_same(&longrope, 16, 17));
    ck_assert(qa_config_rope_is_same(&longrope, 17, 60) && qa_config_rope_is_same(&alpha, 1, 6400));
    ck_assert_uint_eq(qa_config_context(&dynamic), 128);
    ck_assert_uint_eq(qa_config_context(&longrope), 64);
    ck_assert_uint_eq(qa_config_context(&alpha), 64000);
    ck_assert_uint_eq(qa_config_context(&yarn), 4096);
}
END_TEST

Suite *arch_rope_suite(void);
Suite *arch_rope_suite(void) {
    const int n = (int)(sizeof rope_rows / sizeof *rope_rows);
    Suite *suite = suite_create("arch/rope");
    TCase *tcase = tcase_create("rope");
    tcase_add_loop_test(tcase, transformers_turns_by_the_same, 0, n);
    tcase_add_loop_test(tcase, written_and_read_again, 0, n);
    tcase_add_test(tcase, lengths);
    suite_add_tcase(suite, tcase);
    return suite;
}
