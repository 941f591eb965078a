/* qadapter info: the table and the JSON, with and without tokenizer, adapter and weights. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"
#include "support/tiny_model.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *cli_info_suite(void);

#define INFO(...) QA_CLI_JSON("info", "--json", __VA_ARGS__)

static const json_t *member(const json_t *root, const char *section, const char *key) {
    const json_t *value = json_object_get(json_object_get(root, section), key);
    ck_assert_msg(value != NULL, "no %s.%s", section, key);
    return value;
}

static size_t count(const json_t *root, const char *section, const char *key) {
    const json_t *value = member(root, section, key);
    ck_assert_msg(json_is_integer(value), "%s.%s is no count", section, key);
    return (size_t)json_integer_value(value);
}

static const char *text(const json_t *root, const char *section, const char *key) {
    return json_string_value(member(root, section, key));
}

/* d = 16, f = 24, 2 layers, 4 heads over 2 of width 4, V = 260, untied:
 * a layer has 16*16 + 2*16*8 + 16*16 + 3*16*24 weights and 2*16 of norms; 2*260*16 and 16 beside the layers. */
enum { LAYER = 256 + 256 + 256 + 1152 + 32, MODEL_PARAMETERS = 2 * LAYER + 2 * 260 * 16 + 16 };

START_TEST(dimensions_and_parameters) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *root = INFO("--model", world.model);
    ck_assert_str_eq(text(root, "model", "architecture"), "LlamaForCausalLM");
    ck_assert_uint_eq(count(root, "model", "num_hidden_layers"), 2);
    ck_assert_uint_eq(count(root, "model", "hidden_size"), 16);
    ck_assert_uint_eq(count(root, "model", "intermediate_size"), 24);
    ck_assert_uint_eq(count(root, "model", "num_attention_heads"), 4);
    ck_assert_uint_eq(count(root, "model", "num_key_value_heads"), 2);
    ck_assert_uint_eq(count(root, "model", "head_dim"), 4);
    ck_assert_uint_eq(count(root, "model", "vocab_size"), 260);
    ck_assert_uint_eq(count(root, "model", "max_position_embeddings"), 128);
    ck_assert_uint_eq(count(root, "model", "parameters"), MODEL_PARAMETERS);
    ck_assert_str_eq(text(root, "model", "stored_dtype"), "F32");
    ck_assert_uint_eq(strlen(text(root, "model", "fingerprint")), 64);
    ck_assert_str_eq(text(root, "text", "tokenizer"), "byte-level BPE, 260 tokens, 4 added");
    ck_assert(json_is_null(member(root, "text", "chat_template")));
    json_decref(root);
    qa_cli_expect(QA_CLI("info", "--model", world.model), 0, "hidden size", NULL);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(trainable_parameters_follow_the_options) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *root = INFO("--model", world.model);
    /* rank 16 on q, o (16 -> 16), k, v (16 -> 8), gate, up (16 -> 24) and down (24 -> 16), two layers */
    ck_assert_uint_eq(count(root, "adapter", "trainable_parameters"), 2 * 16 * (2 * 32 + 2 * 24 + 3 * 40));
    ck_assert_str_eq(text(root, "adapter", "target_modules"),
                     "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj");
    json_decref(root);
    root = INFO("--model", world.model, "--rank", "2", "--lora-target", "down_proj");
    ck_assert_uint_eq(count(root, "adapter", "trainable_parameters"), 2 * 2 * (24 + 16));
    json_decref(root);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(memory_grows_with_the_lengths) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *shorter = INFO("--model", world.model, "--prompt-length", "8", "--response-length", "8", "--threads", "1");
    json_t *longer = INFO("--model", world.model, "--prompt-length", "64", "--response-length", "32", "--threads", "1");
    ck_assert_uint_eq(count(shorter, "memory", "threads"), 1);
    const size_t weights = count(shorter, "memory", "weights");
    ck_assert_uint_ge(weights, 4 * (size_t)MODEL_PARAMETERS);
    ck_assert_uint_gt(count(longer, "memory", "training_workspace"), count(shorter, "memory", "training_workspace"));
    ck_assert_uint_eq(count(longer, "memory", "training_total"),
                      weights + count(longer, "memory", "training_workspace"));
    /* layers run again: less is kept of the two layers' 96 rows than 2 x (d + 2 f + ...) numbers each */
    const size_t less = count(longer, "memory", "recompute_workspace");
    ck_assert_uint_lt(less, count(longer, "memory", "training_workspace"));
    ck_assert_uint_eq(count(longer, "memory", "recompute_total"), weights + less);
    /* keys and values: 2 layers of 2 x 8 numbers a token and stream */
    const size_t real = strcmp(text(shorter, "model", "compute_dtype"), "f64") == 0 ? 8 : 4;
    ck_assert_uint_eq(count(shorter, "memory", "kv_cache_1024_base"), 1024 * 2 * 16 * real);
    ck_assert_uint_eq(count(shorter, "memory", "kv_cache_1024_custom"), 2 * 1024 * 2 * 16 * real);
    json_decref(shorter);
    json_decref(longer);
    qa_cli_world_free(&world);
}
END_TEST

/* --dtype, of every command that has it: what is kept, who refuses what, and that a score moves by the rounding. */
START_TEST(matrices_may_stay_in_bf16) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *full = INFO("--model", world.model), *rounded = INFO("--model", world.model, "--dtype", "bf16");
    json_t *stored = INFO("--model", world.model, "--torch-dtype", "auto"); /* the file has F32 */
    ck_assert_str_eq(text(rounded, "model", "memory_dtype"), "BF16");
    ck_assert_str_eq(text(stored, "model", "memory_dtype"), text(full, "model", "memory_dtype"));
    ck_assert_str_ne(text(full, "model", "memory_dtype"), "BF16");
    ck_assert_uint_eq(count(stored, "memory", "weights"), count(full, "memory", "weights"));
    ck_assert_uint_lt(count(rounded, "memory", "weights"), count(full, "memory", "weights") * 2 / 3);
    json_decref(full);
    json_decref(rounded);
    json_decref(stored);
    char *exact = QA_CLI_OUTPUT("score", "-m", world.model, "-d", world.pairs);
    char *same = QA_CLI_OUTPUT("score", "-m", world.model, "-d", world.pairs, "--dtype", "auto");
    char *near = QA_CLI_OUTPUT("score", "-m", world.model, "-d", world.pairs, "--dtype", "bf16");
    ck_assert_str_eq(exact, same);
    ck_assert_str_ne(exact, near);
    free(exact);
    free(same);
    free(near);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--dtype", "bf16"), 2,
                  NULL, "--dtype: expected one of f32|auto, found \"bf16\"");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", "5", "-n", "3", "--dtype", "f16"), 2, NULL,
                  "--dtype: expected one of auto|f32|bf16, found \"f16\"");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", "5", "-n", "3", "--dtype", "bf16"), 0, NULL, NULL);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(an_adapter_is_described_by_its_own_files) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "1", "-r", "3",
                         "--lora-alpha", "6", "--lora-target", "o_proj,up_proj", "--recipe", "theory", "--alpha-0",
                         "0.25"),
                  0, NULL, NULL);
    /* the options say something else: the adapter counts */
    json_t *root = INFO("--model", world.model, "--adapter", world.adapter, "-r", "7");
    ck_assert_uint_eq(count(root, "adapter", "r"), 3);
    ck_assert_str_eq(text(root, "adapter", "target_modules"), "o_proj,up_proj");
    ck_assert_uint_eq(count(root, "adapter", "trainable_parameters"), 2 * 3 * (16 + 16 + 16 + 24));
    ck_assert_str_eq(text(root, "objective", "objective"), "theory");
    ck_assert_str_eq(text(root, "objective", "q_parametrisation"), "residual");
    ck_assert_double_eq(json_real_value(member(root, "objective", "alpha_0")), 0.25);
    ck_assert(json_is_null(member(root, "objective", "recipe"))); /* theory's alpha_0 is 1 */
    ck_assert(json_is_false(member(root, "objective", "plain_policy")));
    json_decref(root);
    /* its own files say so without the model */
    root = INFO("--adapter", world.adapter);
    ck_assert_str_eq(text(root, "adapter", "base_model_name_or_path"), world.model);
    ck_assert_double_eq(json_real_value(member(root, "objective", "alpha_0")), 0.25);
    ck_assert(json_is_false(member(root, "objective", "plain_policy")));
    json_decref(root);
    qa_cli_expect(QA_CLI("info", "--adapter", world.model), 1, NULL, "this is a model's: give it as --model");
    char *config = qa_tempdir_join(world.adapter, "training_config.json");
    ck_assert_int_eq(unlink(config), 0);
    free(config);
    root = INFO("--model", world.model, "--adapter", world.adapter);
    ck_assert(json_is_false(member(root, "objective", "known")));
    ck_assert_str_eq(text(root, "objective", "method"), "sft");
    ck_assert(json_is_null(member(root, "objective", "recipe")));
    ck_assert(json_is_true(member(root, "objective", "plain_policy")));
    json_decref(root);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(a_folder_with_only_a_tokenizer_or_only_a_model) {
    char *dir = qa_tempdir_make();
    const tiny_tokenizer_options tokenizer = {.kind = TINY_PIECES};
    qa_cli_expect(QA_CLI("info", "--model", dir), 1, NULL, "holds neither config.json nor tokenizer.json");
    qa_cli_expect(QA_CLI("info", "--model", "owner/name"), 1, NULL, "a name on the Hub is not downloaded");
    char *file = qa_tempdir_write_text(dir, "model.gguf", "GGUF");
    qa_cli_expect(QA_CLI("info", "--model", file), 1, NULL, "model.safetensors, not GGUF");
    free(file);
    tiny_tokenizer_write(dir, &tokenizer);
    json_t *root = INFO("--model", dir);
    ck_assert(json_is_null(member(root, "model", "architecture")));
    ck_assert_ptr_nonnull(strstr(text(root, "text", "tokenizer"), "SentencePiece"));
    json_decref(root);
    qa_tempdir_remove(dir);
    dir = qa_tempdir_make();
    const tiny_model_options model = tiny_model_defaults();
    tiny_model_write(dir, &model);
    root = INFO("--model", dir);
    ck_assert(json_is_null(member(root, "text", "tokenizer")));
    ck_assert_uint_eq(count(root, "model", "vocab_size"), 29);
    json_decref(root);
    qa_tempdir_remove(dir);
}
END_TEST

/* What a broken download leaves: the report is there, and says that the weights are not. */
START_TEST(a_folder_without_its_weights) {
    qa_cli_world world = qa_cli_world_make(false);
    char *weights = qa_tempdir_join(world.model, "model.safetensors");
    ck_assert_int_eq(unlink(weights), 0);
    json_t *root = INFO("--model", world.model);
    ck_assert_uint_eq(count(root, "model", "hidden_size"), 16);
    ck_assert_ptr_nonnull(strstr(text(root, "model", "weights"), "missing"));
    ck_assert_str_eq(text(root, "text", "tokenizer"), "byte-level BPE, 260 tokens, 4 added");
    json_decref(root);
    qa_cli_expect(QA_CLI("info", "--model", world.model), 0, "missing", "neither model.safetensors nor");
    free(qa_tempdir_write_text(world.model, "model.safetensors", "damaged"));
    qa_cli_expect(QA_CLI("info", "--model", world.model), 1, NULL, "model.safetensors");
    ck_assert_int_eq(unlink(weights), 0);
    ck_assert_int_eq(symlink("nothing", weights), 0);
    qa_cli_expect(QA_CLI("info", "--model", world.model), 1, NULL, "model.safetensors");
    free(weights);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(an_end_token_is_no_command_to_the_terminal) {
    char *dir = qa_tempdir_make();
    tiny_model_options model = tiny_model_defaults();
    tiny_model_write(dir, &model);
    free(qa_tempdir_write_text(dir, "generation_config.json", "{\"eos_token_id\": 1}"));
    free(qa_tempdir_write_text(
        dir, "tokenizer.json",
        "{\"added_tokens\": [{\"id\": 1, \"content\": \"<\\u001b[31m\\nok>\", \"special\": true}], "
        "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"<\\u001b[31m\\nok>\": 1}, "
        "\"merges\": []}}"));
    qa_cli_result result = QA_CLI("info", "--model", dir);
    qa_cli_check(&result, 0, "1 <\\x1b[31m\\nok>\n", NULL);
    ck_assert_ptr_null(strchr(result.out, '\033'));
    qa_cli_free(&result);
    qa_tempdir_remove(dir);
}
END_TEST

/* The tiny model's config.json says 0 and 2, the tokenizer <s> 0 and </s> 1. */
START_TEST(special_tokens_of_the_tokenizer_and_of_the_model) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_result result = QA_CLI("info", "--model", world.model);
    qa_cli_check(&result, 0, NULL, NULL);
    ck_assert_ptr_null(strstr(result.err, "the tokenizer's"));
    qa_cli_free(&result);
    free(qa_tempdir_write_text(world.model, "generation_config.json", "{\"bos_token_id\": 5}"));
    qa_cli_expect(QA_CLI("info", "--model", world.model), 0, NULL,
                  "the tokenizer's bos_token \"<s>\" is 0, bos_token_id");
    qa_cli_expect(QA_CLI("info", "--model", world.model), 0, NULL,
                  "bos_token_id is 0 in config.json and 5 in generation_config.json");
    qa_cli_expect(QA_CLI("info", "--model", world.model), 0, NULL,
                  "the tokenizer's eos_token \"</s>\" (1) is no eos_token_id of config.json");
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(what_is_supported) {
    qa_cli_expect(QA_CLI("info", "--supported"), 0, "Gemma3ForCausalLM            Gemma 3, text: 270M, 1B", NULL);
    qa_cli_expect(QA_CLI("info", "--supported"), 0, "RoPE types: default, linear, llama3, yarn, dynamic, longrope",
                  NULL);
    json_t *root = QA_CLI_JSON("info", "--supported", "--json");
    ck_assert_uint_gt(json_array_size(json_object_get(root, "families")), 20);
    ck_assert_uint_eq(json_array_size(json_object_get(root, "rope_types")), 6);
    json_decref(root);
    qa_cli_expect(QA_CLI("info"), 2, NULL, "missing --model DIR");
    qa_cli_expect(QA_CLI("info", "--model", "nowhere"), 1, NULL, "qadapter info: nowhere: no such folder; expected a");
}
END_TEST

/* config.json alone, without weights: what the model is and what a run would cost, with every kind of layer. */
START_TEST(a_run_is_planned_from_config_json_alone) {
    char *dir = qa_tempdir_make();
    free(qa_tempdir_write_text(
        dir, "config.json",
        "{\"architectures\": [\"Gemma3ForCausalLM\"], \"model_type\": \"gemma3_text\", \"hidden_size\": 640, "
        "\"intermediate_size\": 2048, \"num_hidden_layers\": 18, \"num_attention_heads\": 4, "
        "\"num_key_value_heads\": 1, \"head_dim\": 256, \"vocab_size\": 262144, \"max_position_embeddings\": 32768, "
        "\"sliding_window\": 512, \"rope_theta\": 1000000, \"rope_local_base_freq\": 10000}"));
    json_t *root = INFO("--model", dir);
    ck_assert_uint_eq(count(root, "model", "parameters"), 268098176); /* Gemma 3 270M */
    ck_assert_uint_eq(count(root, "model", "sliding_window"), 512);
    ck_assert_uint_eq(count(root, "model", "sliding_window_layers"), 15);
    ck_assert(json_number_value(member(root, "model", "local_rope_theta")) == 10000);
    ck_assert_uint_gt(count(root, "memory", "training_total"), 4 * (size_t)268098176);
    ck_assert_uint_eq(count(root, "adapter", "trainable_parameters"), 3796992);
    json_decref(root);
    qa_cli_expect(QA_CLI("info", "--model", dir), 0, "missing: nothing but info works", "neither model.safetensors");
    qa_tempdir_remove(dir);
}
END_TEST

static void link_as_snapshot(const char *model, const char *cache, const char *name) {
    char *snapshots = qa_tempdir_join(cache, "snapshots"), *link = qa_tempdir_join(snapshots, name);
    (void)mkdir(snapshots, 0755);
    ck_assert_int_eq(symlink(model, link), 0);
    free(link);
    free(snapshots);
}

/* models--OWNER--NAME stands for the snapshot that refs/main names, or for the only one. */
START_TEST(a_folder_of_the_hubs_cache) {
    qa_cli_world world = qa_cli_world_make(false);
    char *cache = qa_tempdir_make(), *refs = qa_tempdir_join(cache, "refs");
    link_as_snapshot(world.model, cache, "0123abcd");
    qa_cli_expect(QA_CLI("info", "--model", cache), 0, "LlamaForCausalLM", NULL);
    link_as_snapshot(cache, cache, "ffff0000");
    qa_cli_expect(QA_CLI("info", "--model", cache), 1, NULL, "neither refs/main nor a single folder");
    ck_assert_int_eq(mkdir(refs, 0755), 0);
    free(qa_tempdir_write_text(refs, "main", "0123abcd\n"));
    qa_cli_expect(QA_CLI("info", "--model", cache), 0, "LlamaForCausalLM", NULL);
    free(qa_tempdir_write_text(refs, "main", "../snapshots/0123abcd"));
    qa_cli_expect(QA_CLI("info", "--model", cache), 1, NULL, "neither refs/main nor a single folder");
    free(refs);
    qa_tempdir_remove(cache);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_info_suite(void) {
    Suite *suite = suite_create("cli_info");
    TCase *tcase = tcase_create("info");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, dimensions_and_parameters);
    tcase_add_test(tcase, trainable_parameters_follow_the_options);
    tcase_add_test(tcase, memory_grows_with_the_lengths);
    tcase_add_test(tcase, matrices_may_stay_in_bf16);
    tcase_add_test(tcase, an_adapter_is_described_by_its_own_files);
    tcase_add_test(tcase, a_folder_with_only_a_tokenizer_or_only_a_model);
    tcase_add_test(tcase, a_folder_without_its_weights);
    tcase_add_test(tcase, an_end_token_is_no_command_to_the_terminal);
    tcase_add_test(tcase, special_tokens_of_the_tokenizer_and_of_the_model);
    tcase_add_test(tcase, what_is_supported);
    tcase_add_test(tcase, a_run_is_planned_from_config_json_alone);
    tcase_add_test(tcase, a_folder_of_the_hubs_cache);
    suite_add_tcase(suite, tcase);
    return suite;
}
