/* Everything bad that a command line can meet: each is said (file, place, expected, found), ends with the right exit
 * status, and leaves nothing half-written behind. Usage errors are in test_options.c, lines of tokenize in
 * test_tokenize.c. */
#include "support/cli.h"
#include "support/tempdir.h"
#include "support/tiny_model.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *cli_badinput_suite(void);

static qa_cli_world world;

static void set_up(void) { world = qa_cli_world_make(false); }
static void set_up_with_adapter(void) { world = qa_cli_world_make(true); }
static void tear_down(void) { qa_cli_world_free(&world); }

/* ---- breaking files ---- */

/* The bytes of dir/name, changed by `change` (which may reallocate), written back. */
typedef struct file_content {
    char *data;
    size_t n;
} file_content;

static file_content load(const char *dir, const char *name) {
    file_content content;
    char *path = qa_tempdir_join(dir, name);
    content.data = qa_tempdir_read(path, &content.n);
    free(path);
    return content;
}

static void store(const char *dir, const char *name, file_content content) {
    free(qa_tempdir_write(dir, name, content.data, content.n));
    free(content.data);
}

/* The first `old` in data[n], or NULL; binary-safe. */
static char *find(file_content content, const char *old) {
    const size_t length = strlen(old);
    for (size_t i = 0; i + length <= content.n; i++) {
        if (memcmp(content.data + i, old, length) == 0) {
            return content.data + i;
        }
    }
    return NULL;
}

/* Replaces the first `old` by `new` of the same length (offsets stay). */
static void replace_same(const char *dir, const char *name, const char *old, const char *new) {
    file_content content = load(dir, name);
    char *at = find(content, old);
    ck_assert_msg(at != NULL && strlen(old) == strlen(new), "cannot replace %s in %s", old, name);
    memcpy(at, new, strlen(new));
    store(dir, name, content);
}

/* Replaces the first `old` by any `new` in a text. */
static void replace(const char *dir, const char *name, const char *old, const char *new) {
    file_content content = load(dir, name);
    char *at = find(content, old);
    ck_assert_msg(at != NULL, "no %s in %s: %.500s", old, name, content.data);
    file_content out = {malloc(content.n + strlen(new) + 1), 0};
    ck_assert_ptr_nonnull(out.data);
    out.n = (size_t)snprintf(out.data, content.n + strlen(new) + 1, "%.*s%s%s", (int)(at - content.data), content.data,
                             new, at + strlen(old));
    free(content.data);
    store(dir, name, out);
}

static void truncate_to(const char *dir, const char *name, size_t n) {
    file_content content = load(dir, name);
    ck_assert_uint_lt(n, content.n);
    content.n = n;
    store(dir, name, content);
}

static void cut_end(const char *dir, const char *name, size_t count) {
    file_content content = load(dir, name);
    ck_assert_uint_lt(count, content.n);
    content.n -= count;
    store(dir, name, content);
}

/* Overwrites the last `count` bytes. */
static void overwrite_end(const char *dir, const char *name, const void *with, size_t count) {
    file_content content = load(dir, name);
    memcpy(content.data + content.n - count, with, count);
    store(dir, name, content);
}

/* ---- models ---- */

static const char weights[] = "model.safetensors";
static const unsigned char nan_bytes[4] = {0x00, 0x00, 0xc0, 0x7f};
static const unsigned char inf_bytes[4] = {0x00, 0x00, 0x80, 0x7f};

/* No model, no training: message, status 1, and nothing new in the folder. */
static void expect_refused(const char *message) {
    const size_t entries = qa_tempdir_entries(world.dir);
    qa_cli_result result = QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "1");
    qa_cli_check(&result, 1, NULL, message);
    ck_assert_str_eq(result.out, "");
    ck_assert_ptr_nonnull(strstr(result.err, "qadapter train: "));
    ck_assert_uint_eq(qa_tempdir_entries(world.dir), entries);
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("info", "-m", world.model), 1, NULL, message);
}

START_TEST(weights_that_are_no_safetensors) {
    truncate_to(world.model, weights, 5);
    expect_refused("model.safetensors");
}
END_TEST

START_TEST(weights_cut_short) {
    cut_end(world.model, weights, 10);
    expect_refused("model.safetensors");
}
END_TEST

START_TEST(a_header_longer_than_the_file) {
    file_content content = load(world.model, weights);
    memset(content.data, 0xff, 8);
    store(world.model, weights, content);
    expect_refused("model.safetensors");
}
END_TEST

START_TEST(a_header_that_is_no_json) {
    replace_same(world.model, weights, "{\"", "{!");
    expect_refused("model.safetensors");
}
END_TEST

/* Everything that a safetensors reader must reject (each in every variant: tests/io/test_safetensors.c), as the user of
 * the program meets it. */
#define ENTRY(name, dtype, shape, offsets)                                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *header;
    size_t data_bytes;
    const char *message; /* behind the file's name */
} bad_weights[] = {
    {"{\"a\xff\":{}}", 0, "unable to decode byte 0xff"},
    {"[]", 0, "must start with '{'"},
    {"{\"a\"", 0, "not valid JSON"},
    {"{" ENTRY("a", "U8", "[1]", "[0,1]") "," ENTRY("a", "U8", "[1]", "[1,2]") "}", 2, "duplicate object key"},
    {"{" ENTRY("a", "F33", "[1]", "[0,1]") "}", 1, "unknown dtype \"F33\""},
    {"{\"__metadata__\":{\"format\":1}}", 0, "the value of \"format\" must be a string"},
    {"{" ENTRY("a", "U8", "[4294967296,4294967296]", "[0,0]") "}", 0, "the product of shape"},
    {"{" ENTRY("a", "F64", "[2305843009213693952]", "[0,0]") "}", 0, "the bytes of F64"},
    {"{" ENTRY("a", "U8", "[4]", "[0,4]") "," ENTRY("b", "U8", "[4]", "[3,7]") "}", 7, "overlaps \"a\""},
    {"{" ENTRY("a", "U8", "[4]", "[0,4]") "," ENTRY("b", "U8", "[1]", "[6,7]") "}", 7, "belong to no tensor"},
    {"{" ENTRY("a", "U8", "[1]", "[1,0]") "}", 1, "run backwards"},
    {"{" ENTRY("a", "U8", "[2]", "[0,2]") "}", 1, "go beyond the 1 bytes of data"},
    {"{" ENTRY("a", "U8", "[4]", "[0,4]") "}", 5, "the file goes on to byte 5"},
    {"{" ENTRY("a", "F32", "[2,3]", "[0,20]") "}", 20, "takes 24 bytes"},
};

START_TEST(weights_whose_header_lies) {
    const size_t header_bytes = strlen(bad_weights[_i].header);
    file_content content = {calloc(1, 8 + header_bytes + bad_weights[_i].data_bytes),
                            8 + header_bytes + bad_weights[_i].data_bytes};
    ck_assert_ptr_nonnull(content.data);
    content.data[0] = (char)header_bytes; /* below 256, little-endian */
    memcpy(content.data + 8, bad_weights[_i].header, header_bytes);
    store(world.model, weights, content);
    expect_refused(bad_weights[_i].message);
    expect_refused("model.safetensors: ");
}
END_TEST

START_TEST(a_header_over_the_limit) {
    char *path = qa_tempdir_write(world.model, weights, "\x01\xe1\xf5\x05\0\0\0\0{}", 10);
    ck_assert_int_eq(truncate(path, 8 + 100000001), 0);
    expect_refused("header length 100000001 is over the format's limit of 100000000 bytes");
    free(path);
}
END_TEST

START_TEST(a_missing_tensor) {
    replace_same(world.model, weights, "model.norm.weight", "model.Norm.weight");
    expect_refused("model.norm.weight");
}
END_TEST

START_TEST(a_surplus_tensor) {
    replace(world.model, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    expect_refused("model.layers.1.");
}
END_TEST

START_TEST(a_misshapen_tensor) {
    replace(world.model, "config.json", "\"intermediate_size\": 24", "\"intermediate_size\": 12");
    expect_refused("mlp.");
}
END_TEST

START_TEST(nan_and_infinity_in_weights) {
    overwrite_end(world.model, weights, _i == 0 ? nan_bytes : inf_bytes, 4);
    expect_refused(_i == 0 ? "nan" : "inf");
}
END_TEST

START_TEST(an_unknown_architecture) {
    replace(world.model, "config.json", "LlamaForCausalLM", "MixtralForCausalLM");
    expect_refused("MixtralForCausalLM");
}
END_TEST

/* A window limits what a token sees, and not how long a sequence may be. */
START_TEST(sequences_beyond_a_sliding_window) {
    replace(world.model, "config.json", "LlamaForCausalLM", "MistralForCausalLM");
    replace(world.model, "config.json", "{", "{\"sliding_window\": 4, ");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", world.pairs), 0, "log_pi1", NULL);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--prompt", "abcdefgh", "--max-new-tokens", "2"), 0, NULL,
                  NULL);
    qa_cli_expect(QA_CLI("info", "-m", world.model), 0, "4 tokens", NULL);
}
END_TEST

START_TEST(a_config_that_is_no_json) {
    truncate_to(world.model, "config.json", 20);
    expect_refused("config.json:");
}
END_TEST

START_TEST(a_config_without_a_dimension) {
    replace(world.model, "config.json", "\"hidden_size\"", "\"hidden_sizes\"");
    expect_refused("hidden_size");
}
END_TEST

START_TEST(a_folder_that_is_not_there) {
    qa_cli_expect(QA_CLI("generate", "-m", "/nowhere/model", "-p", "x"), 1, NULL, "/nowhere/model");
    qa_cli_expect(QA_CLI("info", "-m", "/nowhere/model"), 1, NULL, "/nowhere/model");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", world.pairs, "--adapter", "/nowhere/adapter"), 1, NULL,
                  "/nowhere/adapter");
}
END_TEST

START_TEST(a_broken_tokenizer) {
    truncate_to(world.model, "tokenizer.json", 30);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "-p", "x"), 1, NULL, "tokenizer.json");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.texts, "-o", world.adapter), 1, NULL,
                  "tokenizer.json");
    ck_assert_int_ne(access(world.adapter, F_OK), 0);
}
END_TEST

/* ---- data ---- */

static const struct {
    const char *content, *message;
} bad_data[] = {
    {"", "bad.jsonl"},
    {"\n \n\n", "bad.jsonl"},
    {"[]", "bad.jsonl"},
    {"nonsense", "bad.jsonl"},
    {"{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \n", "bad.jsonl:2"},
    {"{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \"a\", \"chosen\": 7, \"rejected\": "
     "\"c\"}\n",
     "bad.jsonl:2"},
    {"{\"prompt\": \"a\", \"chosen\": \"b\xff\", \"rejected\": \"c\"}\n", "bad.jsonl:1"},
    {"{\"question\": \"a\"}\n", "bad.jsonl:1"},
    {"{\"prompt_ids\": [5], \"chosen_ids\": [260], \"rejected_ids\": [6]}\n", "bad.jsonl"},
    {"{\"prompt_ids\": [5], \"chosen_ids\": [-1], \"rejected_ids\": [6]}\n", "bad.jsonl"},
    {"{\"prompt_ids\": [5], \"chosen_ids\": [1.5], \"rejected_ids\": [6]}\n", "bad.jsonl:1"},
    {"{\"query\": \"a\", \"responses\": {\"academy\": \"b\", \"business\": \"c\"}}\n", "--dsp-domain"},
};

START_TEST(data_that_cannot_be_used) {
    char *path = qa_tempdir_write_text(world.dir, "bad.jsonl", bad_data[_i].content);
    char *scores = qa_tempdir_join(world.dir, "scores.jsonl");
    const size_t entries = qa_tempdir_entries(world.dir);
    qa_cli_result result = QA_CLI("train", "-m", world.model, "-d", path, "-o", world.adapter);
    qa_cli_check(&result, 1, NULL, bad_data[_i].message);
    ck_assert_str_eq(result.out, "");
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", path), 1, NULL, bad_data[_i].message);
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", path, "-o", scores), 1, NULL, bad_data[_i].message);
    ck_assert_uint_eq(qa_tempdir_entries(world.dir), entries);
    free(scores);
    free(path);
}
END_TEST

START_TEST(data_that_is_not_there) {
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", "/nowhere/data", "-o", world.adapter), 1, NULL,
                  "/nowhere/data");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", world.dir), 1, NULL, world.dir);
    qa_cli_expect(
        QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--eval-data", "/nowhere/eval"), 1,
        NULL, "/nowhere/eval");
    ck_assert_int_ne(access(world.adapter, F_OK), 0);
}
END_TEST

START_TEST(limits_beyond_the_model) {
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", world.pairs, "--max-length", "129"), 2, NULL,
                  "--max-length: expected at most 128, the model's context, found \"129\"");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", "5 260"), 2, NULL,
                  "--ids: expected token ids from 0 to 259, found \"260\"");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", "5,-1"), 2, NULL, "found \"-1\"");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", "5 99999999999999999999"), 2, NULL,
                  "found \"99999999999999999999\"");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", " "), 2, NULL, "found none");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--prompt", ""), 1, NULL, "the prompt has no tokens");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--prompt", "a\xff"), 1, NULL, "UTF-8");
}
END_TEST

START_TEST(a_chat_template_that_writes_no_answers) {
    char *path =
        qa_tempdir_write_text(world.dir, "chat.jsonl",
                              "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"chosen\": [{\"role\": "
                              "\"assistant\", \"content\": \"b\"}], \"rejected\": [{\"role\": \"assistant\", "
                              "\"content\": \"c\"}]}\n");
    free(qa_tempdir_write_text(world.model, "chat_template.jinja", "{{ messages[0].content }}, please"));
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", path), 1, NULL,
                  "the chat template chat_template.jinja does not write what the assistant says");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", path, "--chat-template", "plain"), 0, "accuracy", NULL);
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", world.pairs), 0, "accuracy", NULL);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--chat", "-p", "x", "-n", "1", "--echo"), 0, "x, please",
                  NULL);
    free(path);
}
END_TEST

/* ---- adapters ---- */

static void expect_adapter_refused(const char *message) {
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs), 1, NULL, message);
    qa_cli_expect(QA_CLI("info", "-m", world.model, "--adapter", world.adapter), 1, NULL, message);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--adapter", world.adapter, "-p", "x"), 1, NULL, message);
}

START_TEST(an_adapter_of_another_model) {
    tiny_model_options other = tiny_model_defaults();
    other.hidden_size = 32;
    other.vocab_size = TINY_BYTES_VOCAB;
    tiny_model_write(world.model, &other);
    expect_adapter_refused("base_model.model.model.layers.0.");
}
END_TEST

START_TEST(an_adapter_with_a_missing_tensor) {
    replace_same(world.adapter, "adapter_model.safetensors", "layers.1.mlp.up_proj.lora_A",
                 "layers.7.mlp.up_proj.lora_A");
    expect_adapter_refused("up_proj.lora_A");
}
END_TEST

START_TEST(an_adapter_with_a_nan) {
    overwrite_end(world.adapter, "adapter_model.safetensors", nan_bytes, 4);
    expect_adapter_refused("nan");
}
END_TEST

START_TEST(an_adapter_of_another_kind) {
    replace(world.adapter, "adapter_config.json", "\"LORA\"", "\"IA3\"");
    expect_adapter_refused("IA3");
}
END_TEST

START_TEST(an_adapter_without_its_config) {
    char *path = qa_tempdir_join(world.adapter, "adapter_config.json");
    ck_assert_int_eq(unlink(path), 0);
    expect_adapter_refused("adapter_config.json");
    free(path);
}
END_TEST

START_TEST(a_training_config_that_is_wrong) {
    replace(world.adapter, "training_config.json", "\"alpha_tilde\": 1.0", "\"alpha_tilde\": -1.0");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs), 1, NULL,
                  "training_config.json");
    truncate_to(world.adapter, "training_config.json", 10);
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs), 1, NULL,
                  "training_config.json:");
}
END_TEST

/* ---- places to write to ---- */

START_TEST(a_folder_that_holds_another_run) {
    const file_content before = load(world.adapter, "adapter_model.safetensors");
    const size_t entries = qa_tempdir_entries(world.adapter);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "1"), 1, NULL,
                  "--overwrite");
    const file_content after = load(world.adapter, "adapter_model.safetensors");
    ck_assert_uint_eq(before.n, after.n);
    ck_assert_int_eq(memcmp(before.data, after.data, before.n), 0);
    ck_assert_uint_eq(qa_tempdir_entries(world.adapter), entries);
    free(before.data);
    free(after.data);
}
END_TEST

START_TEST(resuming_what_is_not_there_or_was_different) {
    char *nothing = qa_tempdir_join(world.dir, "nothing");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", nothing, "--resume"), 1, NULL,
                  "no run to resume");
    ck_assert_int_ne(access(nothing, F_OK), 0);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--resume", "--steps", "3",
                         "--lr", "0.02", "--lora-target", "all-linear", "--micro-batch", "2"),
                  1, NULL, "learning_rate");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--resume", "--steps", "3",
                         "--lr", "0.01", "--lora-target", "q_proj", "--micro-batch", "2"),
                  1, NULL, "target_modules");
    free(nothing);
}
END_TEST

START_TEST(a_place_where_nothing_can_be_written) {
    char *inside = qa_tempdir_join(world.pairs, "adapter");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", inside, "--steps", "1"), 1, NULL,
                  "pairs.jsonl");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", world.pairs, "-o", inside), 1, NULL, "pairs.jsonl/adapter");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", world.pairs, "-o", world.dir), 1, NULL, world.dir);
    free(inside);
}
END_TEST

/* A learning rate that throws the parameters out of range: the pair is named, and the last good checkpoint stays. */
START_TEST(a_run_that_meets_a_nan) {
#ifdef QA_F64
    static const char rate[] = "1e200";
#else
    static const char rate[] = "1e25";
#endif
    qa_cli_result result =
        QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "9", "--lr", rate,
               "--schedule", "constant", "--warmup-ratio", "0", "--save-every", "1", "--micro-batch", "2");
    qa_cli_check(&result, 1, NULL, "qadapter train: step 2, pair at line ");
    ck_assert_msg(strstr(result.err, "pairs.jsonl: ") != NULL, "%s", result.err);
    ck_assert_str_eq(result.out, "");
    qa_cli_free(&result);
    char *checkpoint = qa_tempdir_join(world.adapter, "checkpoint-1/adapter_model.safetensors");
    char *next = qa_tempdir_join(world.adapter, "checkpoint-2");
    char *final = qa_tempdir_join(world.adapter, "adapter_model.safetensors");
    ck_assert(access(checkpoint, F_OK) == 0 && access(next, F_OK) != 0 && access(final, F_OK) != 0);
    free(checkpoint);
    free(next);
    free(final);
}
END_TEST

/* RLIMIT_FSIZE stands in for a full disk; the signal that comes with it must not end the program. */
START_TEST(a_full_disk) {
    const qa_cli_how how = {.file_limit = 4096};
    char *scores = qa_tempdir_join(world.dir, "scores.jsonl");
    const size_t entries = qa_tempdir_entries(world.dir);
    qa_cli_expect(QA_CLI_HOW(&how, "score", "-m", world.model, "-d", world.pairs, "-o", scores, "--full"), 1, NULL,
                  "scores.jsonl");
    ck_assert_uint_eq(qa_tempdir_entries(world.dir), entries);
    qa_cli_result result = QA_CLI_HOW(&how, "train", "-m", world.model, "-d", world.pairs, "-o", world.adapter,
                                      "--steps", "1", "--lora-target", "all-linear");
    qa_cli_check(&result, 1, NULL, "File too large");
    ck_assert_str_eq(result.out, "");
    qa_cli_free(&result);
    ck_assert_uint_eq(qa_tempdir_entries(world.adapter), 2); /* training_config.json and metrics.jsonl: no half of an
                                                                adapter or of a checkpoint */
    free(scores);
}
END_TEST

START_TEST(a_full_disk_under_standard_output) {
    if (!qa_cli_has_full_device()) {
        return;
    }
    const qa_cli_how how = {.output = "/dev/full", .input = "{\"text\": \"a\"}\n"};
    static const char message[] = "cannot write to standard output: No space left on device";
    qa_cli_expect(QA_CLI_HOW(&how, "score", "-m", world.model, "-d", world.pairs), 1, NULL, message);
    qa_cli_expect(QA_CLI_HOW(&how, "eval", "-m", world.model, "-d", world.pairs), 1, NULL, message);
    qa_cli_expect(QA_CLI_HOW(&how, "info", "-m", world.model), 1, NULL, message);
    qa_cli_expect(QA_CLI_HOW(&how, "tokenize", "-m", world.model), 1, NULL, message);
    qa_cli_expect(QA_CLI_HOW(&how, "generate", "-m", world.model, "-p", "a"), 1, NULL, message);
}
END_TEST

Suite *cli_badinput_suite(void) {
    Suite *suite = suite_create("cli_badinput");
    TCase *plain = tcase_create("models and data");
    tcase_set_timeout(plain, 120);
    tcase_add_checked_fixture(plain, set_up, tear_down);
    tcase_add_test(plain, weights_that_are_no_safetensors);
    tcase_add_test(plain, weights_cut_short);
    tcase_add_test(plain, a_header_longer_than_the_file);
    tcase_add_test(plain, a_header_that_is_no_json);
    tcase_add_loop_test(plain, weights_whose_header_lies, 0, sizeof bad_weights / sizeof bad_weights[0]);
    tcase_add_test(plain, a_header_over_the_limit);
    tcase_add_test(plain, a_missing_tensor);
    tcase_add_test(plain, a_surplus_tensor);
    tcase_add_test(plain, a_misshapen_tensor);
    tcase_add_loop_test(plain, nan_and_infinity_in_weights, 0, 2);
    tcase_add_test(plain, an_unknown_architecture);
    tcase_add_test(plain, sequences_beyond_a_sliding_window);
    tcase_add_test(plain, a_config_that_is_no_json);
    tcase_add_test(plain, a_config_without_a_dimension);
    tcase_add_test(plain, a_folder_that_is_not_there);
    tcase_add_test(plain, a_broken_tokenizer);
    tcase_add_loop_test(plain, data_that_cannot_be_used, 0, sizeof bad_data / sizeof bad_data[0]);
    tcase_add_test(plain, data_that_is_not_there);
    tcase_add_test(plain, limits_beyond_the_model);
    tcase_add_test(plain, a_chat_template_that_writes_no_answers);
    tcase_add_test(plain, a_place_where_nothing_can_be_written);
    tcase_add_test(plain, a_run_that_meets_a_nan);
    tcase_add_test(plain, a_full_disk);
    tcase_add_test(plain, a_full_disk_under_standard_output);
    suite_add_tcase(suite, plain);
    TCase *adapted = tcase_create("adapters");
    tcase_set_timeout(adapted, 120);
    tcase_add_checked_fixture(adapted, set_up_with_adapter, tear_down);
    tcase_add_test(adapted, an_adapter_of_another_model);
    tcase_add_test(adapted, an_adapter_with_a_missing_tensor);
    tcase_add_test(adapted, an_adapter_with_a_nan);
    tcase_add_test(adapted, an_adapter_of_another_kind);
    tcase_add_test(adapted, an_adapter_without_its_config);
    tcase_add_test(adapted, a_training_config_that_is_wrong);
    tcase_add_test(adapted, a_folder_that_holds_another_run);
    tcase_add_test(adapted, resuming_what_is_not_there_or_was_different);
    suite_add_tcase(suite, adapted);
    return suite;
}
