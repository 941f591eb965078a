/* See training.h. */
#include "support/training.h"

#include "base/rng.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

qa_pairs *qa_training_pairs(const qa_fixture *fixture, size_t pairs, size_t max_prompt, size_t max_response,
                            uint64_t seed) {
    qa_error err = {0};
    qa_pairs *loaded = NULL;
    const qa_model_info *info = qa_model_get_info(fixture->model);
    char *path = qa_tempdir_join(fixture->dir, "pairs.jsonl");
    const qa_pairs_options options = {.vocab_size = info->vocab_size,
                                      .max_length = info->max_position_embeddings,
                                      .eos_ids = info->eos_ids,
                                      .n_eos = info->n_eos,
                                      .strict = true};
    tiny_pairs_write(path, pairs, max_prompt, max_response, info->vocab_size, seed);
    qa_expect_ok(qa_pairs_load(&loaded, path, NULL, &options, &err), &err);
    ck_assert_uint_eq(qa_pairs_count(loaded), pairs);
    free(path);
    return loaded;
}

/* "name": [ids] of 1..most random tokens */
static void write_ids(FILE *file, const char *name, size_t most, size_t vocab_size, qa_rng *rng) {
    const size_t n = 1 + qa_rng_below(rng, most);
    (void)fprintf(file, "\"%s\": [", name);
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(file, "%s%zu", i == 0 ? "" : ", ", (size_t)(3 + qa_rng_below(rng, vocab_size - 3)));
    }
    (void)fprintf(file, "]");
}

static qa_pairs *random_responses(const qa_fixture *fixture, size_t n, size_t max_prompt, size_t max_response,
                                  uint64_t seed, bool labelled) {
    qa_error err = {0};
    qa_pairs *loaded = NULL;
    const qa_model_info *info = qa_model_get_info(fixture->model);
    qa_rng rng = qa_rng_seed(seed, 1);
    char *path = qa_tempdir_join(fixture->dir, "responses.jsonl");
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(file, "{");
        write_ids(file, "prompt_ids", max_prompt, info->vocab_size, &rng);
        (void)fprintf(file, ", ");
        write_ids(file, "response_ids", max_response, info->vocab_size, &rng);
        (void)fprintf(file, "%s}\n", !labelled ? "" : i % 3 == 0 ? ", \"label\": false" : ", \"label\": true");
    }
    ck_assert_int_eq(fclose(file), 0);
    const qa_pairs_options options = {.vocab_size = info->vocab_size,
                                      .max_length = info->max_position_embeddings,
                                      .eos_ids = info->eos_ids,
                                      .n_eos = info->n_eos,
                                      .strict = true,
                                      .responses = !labelled,
                                      .either = labelled,
                                      .labelled = labelled};
    qa_expect_ok(qa_pairs_load(&loaded, path, NULL, &options, &err), &err);
    ck_assert_uint_eq(qa_pairs_count(loaded), n);
    free(path);
    return loaded;
}

qa_pairs *qa_training_responses(const qa_fixture *fixture, size_t n, size_t max_prompt, size_t max_response,
                                uint64_t seed) {
    return random_responses(fixture, n, max_prompt, max_response, seed, false);
}

qa_pairs *qa_training_labelled(const qa_fixture *fixture, size_t n, size_t max_prompt, size_t max_response,
                               uint64_t seed) {
    return random_responses(fixture, n, max_prompt, max_response, seed, true);
}

qa_objective qa_training_objective(qa_objective_kind kind, qa_q_parametrisation q_parametrisation) {
    return (qa_objective){.kind = kind,
                          .q_parametrisation = q_parametrisation,
                          .alpha_tilde = 0.8,
                          .alpha_0 = 0.6,
                          .gamma = 0.9,
                          .beta = 0.3};
}

qa_train_options qa_training_options(const char *out_dir) {
    qa_train_options options = qa_train_defaults();
    options.out_dir = out_dir;
    options.base_model = "tiny";
    options.recipe = "theory";
    options.objective = qa_training_objective(QA_THEORY, QA_Q_RESIDUAL);
    options.learning_rate = 1e-2;
    options.warmup_ratio = 0.0;
    options.micro_batch = 2;
    options.gradient_accumulation = 2;
    options.seed = 5;
    return options;
}

void qa_training_fresh_adapter(qa_fixture *fixture, const qa_lora_options *lora, uint64_t seed) {
    qa_error err = {0};
    qa_adapter_free(fixture->adapter);
    fixture->adapter = NULL;
    qa_expect_ok(qa_adapter_create(&fixture->adapter, fixture->model, lora, seed, &err), &err);
}

void qa_expect_same_file(const char *dir_a, const char *dir_b, const char *name) {
    size_t bytes_a = 0, bytes_b = 0;
    char *path_a = qa_tempdir_join(dir_a, name), *path_b = qa_tempdir_join(dir_b, name);
    char *a = qa_tempdir_read(path_a, &bytes_a), *b = qa_tempdir_read(path_b, &bytes_b);
    ck_assert_msg(bytes_a > 0 && bytes_a == bytes_b && memcmp(a, b, bytes_a) == 0, "%s and %s differ", path_a, path_b);
    free(a);
    free(b);
    free(path_a);
    free(path_b);
}
