/* The folder of a merged model: of every family it loads here with the composed policy's log-probabilities and has the
 * base's tensors under the base's names; shards; what is copied and what is not; whole or not at all. */
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/merge.h"
#include "support/compare.h"
#include "support/families.h"
#include "support/fixture.h"
#include "support/tempdir.h"
#include "train/merged_folder.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *train_merged_folder_suite(void);

#ifdef QA_F64
#define EXACT 1e-12 /* observed 2e-14 */
#else
#define EXACT 5e-5 /* of weights that were rounded once; observed 1e-5 */
#endif

static const int32_t prompt[] = {1, 7, 3, 20};
static const int32_t chosen[] = {5, 6, 28, 30, 2}, rejected[] = {9, 5, 13, 14, 4, 21, 3};
static const qa_pair pairs[] = {
    {.prompt = prompt, .prompt_len = 4, .chosen = chosen, .chosen_len = 5, .rejected = rejected, .rejected_len = 7},
    {.prompt = prompt, .prompt_len = 1, .chosen = rejected, .chosen_len = 7},
};
enum { PAIRS = 2, TOKENS = 19 };

static qa_lora_options all_maps(void) {
    qa_lora_options lora = {.rank = 3, .alpha = 5};
    for (size_t t = 0; t < QA_TARGETS; t++) {
        lora.targets[t] = true;
    }
    return lora;
}

/* The recipe theory: two streams, whose base logits cancel. */
static qa_objective theory(void) {
    qa_objective objective;
    qa_error err = {0};
    qa_expect_ok(qa_objective_from_recipe(&objective, "theory", &err), &err);
    return objective;
}

static double *log_policy(qa_model *model, const qa_adapter *adapter) {
    const qa_objective objective = theory();
    double *log_pi = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_merge_log_policy(&log_pi, model, adapter, &objective, pairs, PAIRS, NULL, NULL, &err), &err);
    return log_pi;
}

/* Merges the fixture's adapter into dir/merged, and tells a story of it. The path is the caller's. */
static char *merge_fixture(qa_fixture *f, const char *dir, qa_dtype dtype, size_t shard_bytes) {
    const qa_objective objective = theory();
    const qa_merge_story story = {.base = "base",
                                  .adapter = "adapter",
                                  .base_fingerprint = "b",
                                  .adapter_fingerprint = "a",
                                  .merged_fingerprint = "m",
                                  .objective = &objective,
                                  .dtype = dtype,
                                  .measured_on = "nothing"};
    qa_merged_folder folder;
    bool template_written = true;
    qa_error err = {0};
    char *out = qa_tempdir_join(dir, "merged");
    qa_expect_ok(qa_merged_folder_begin(&folder, out, true, &err), &err);
    qa_expect_ok(qa_model_merge(f->model, f->adapter, &err), &err);
    qa_expect_ok(qa_merged_folder_fill(&folder, f->model, dtype, shard_bytes, NULL, &template_written, &err), &err);
    ck_assert(!template_written);
    qa_expect_ok(qa_merged_folder_tell(&folder, &story, &err), &err);
    qa_expect_ok(qa_merged_folder_commit(&folder, &err), &err);
    qa_merged_folder_end(&folder);
    return out;
}

static void assert_loads_as(const char *out, qa_context *context, const double *expected, double within) {
    qa_model *merged = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_model_load(&merged, context, out, &err), &err);
    double *found = log_policy(merged, NULL);
    QA_ASSERT_DOUBLE("log pi", found, expected, TOKENS, 0.0, within);
    free(found);
    qa_model_free(merged);
}

static qa_safetensors *open_weights(const char *dir) {
    qa_safetensors *file = NULL;
    qa_error err = {0};
    char *path = qa_tempdir_join(dir, "model.safetensors");
    qa_expect_ok(qa_safetensors_open(&file, path, &err), &err);
    free(path);
    return file;
}

/* The same names, shapes and order. */
static void assert_same_tensors(const char *base, const char *merged) {
    qa_safetensors *a = open_weights(base), *b = open_weights(merged);
    ck_assert_uint_eq(qa_safetensors_count(a), qa_safetensors_count(b));
    for (size_t i = 0; i < qa_safetensors_count(a); i++) {
        const qa_tensor *one = qa_safetensors_at(a, i), *other = qa_safetensors_at(b, i);
        ck_assert_str_eq(one->name, other->name);
        ck_assert_uint_eq(one->n_dims, other->n_dims);
        ck_assert_mem_eq(one->shape, other->shape, one->n_dims * sizeof *one->shape);
    }
    qa_safetensors_close(a);
    qa_safetensors_close(b);
}

START_TEST(every_family) {
    char *config = qa_family_tiny_config((size_t)_i), *dir = qa_tempdir_make();
    const qa_lora_options lora = all_maps();
    qa_fixture f = qa_fixture_of(config, &lora, 2);
    double *exact = log_policy(f.model, f.adapter), *base = log_policy(f.model, NULL), moved = 0;
    for (size_t i = 0; i < TOKENS; i++) {
        moved = fmax(moved, fabs(exact[i] - base[i]));
    }
    ck_assert_msg(moved > 0.05, "the adapter moved nothing: %g", moved);
    char *out = merge_fixture(&f, dir, sizeof(qa_real) == 8 ? QA_DTYPE_F64 : QA_DTYPE_F32, (size_t)5000000000);
    assert_loads_as(out, f.context, exact, EXACT);
    assert_same_tensors(f.dir, out);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 1); /* nothing hidden is left */
    free(out);
    free(base);
    free(exact);
    qa_fixture_close(&f);
    qa_tempdir_remove(dir);
    free(config);
}
END_TEST

/* Of a model in two shards, and of one file that is too large for one. */
START_TEST(shards) {
    char *config = qa_family_tiny_config(20), *dir = qa_tempdir_make(); /* GPT-2: matrices as in x out */
    const qa_lora_options lora = all_maps();
    qa_fixture f = qa_fixture_of(config, &lora, 1);
    double *exact = log_policy(f.model, f.adapter);
    char *out = merge_fixture(&f, dir, QA_DTYPE_F32, 12000);
    char *index_path = qa_tempdir_join(out, "model.safetensors.index.json");
    json_t *index = NULL;
    qa_error err = {0};
    size_t largest = 0, files = 0;
    qa_expect_ok(qa_json_load(&index, index_path, &err), &err);
    for (size_t i = 1; i <= 99; i++) {
        char name[64];
        qa_safetensors *file = NULL;
        size_t bytes = 0;
        for (size_t n = 2; n < 99; n++) {
            (void)snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i, n);
            if (qa_holds(out, name)) {
                char *path = qa_tempdir_join(out, name);
                qa_expect_ok(qa_safetensors_open(&file, path, &err), &err);
                free(path);
                ck_assert_uint_le(i, n);
                files++;
            }
        }
        for (size_t t = 0; file != NULL && t < qa_safetensors_count(file); t++) {
            bytes += qa_safetensors_at(file, t)->count * 4;
        }
        largest = bytes > largest ? bytes : largest;
        qa_safetensors_close(file);
    }
    ck_assert_uint_ge(files, 2);
    ck_assert_uint_le(largest, 12000);
    ck_assert(!qa_holds(out, "model.safetensors"));
    assert_loads_as(out, f.context, exact, 5e-5);
    /* and again, from its shards: as many */
    qa_fixture again = {.dir = strdup(out), .context = f.context};
    qa_expect_ok(qa_model_load(&again.model, f.context, out, &err), &err);
    qa_expect_ok(qa_adapter_create(&again.adapter, again.model, &lora, 5, &err), &err); /* B is zero */
    char *second = qa_tempdir_join(dir, "second");
    qa_expect_ok(qa_make_dirs(second, &err), &err);
    char *out2 = merge_fixture(&again, second, QA_DTYPE_F32, (size_t)5000000000);
    json_t *index2 = NULL;
    char *index2_path = qa_tempdir_join(out2, "model.safetensors.index.json");
    qa_expect_ok(qa_json_load(&index2, index2_path, &err), &err);
    ck_assert(json_equal(index, index2));
    assert_loads_as(out2, f.context, exact, 5e-5);
    qa_adapter_free(again.adapter);
    qa_model_free(again.model);
    free(again.dir);
    json_decref(index2);
    json_decref(index);
    free(index2_path);
    free(out2);
    free(second);
    free(index_path);
    free(out);
    free(exact);
    qa_fixture_close(&f);
    qa_tempdir_remove(dir);
    free(config);
}
END_TEST

/* config.json in the base's own bytes but for the dtype; code, licence, tokenizer; nothing else. */
START_TEST(what_is_copied) {
    char *config = qa_family_tiny_config(0), *dir = qa_tempdir_make();
    const qa_lora_options lora = all_maps();
    qa_fixture f = qa_fixture_of(config, &lora, 1);
    char *named = qa_tempdir_join(f.dir, "additional_chat_templates");
    qa_error err = {0};
    qa_expect_ok(qa_make_dirs(named, &err), &err);
    static const struct {
        const char *name, *text;
        bool copied;
    } files[] = {{"tokenizer.json", "t", true},
                 {"tokenizer_config.json", "{ \"a\" : 1}", true},
                 {"modeling_own.py", "code", true},
                 {"LICENSE.txt", "law", true},
                 {"generation_config.json", "{}", true},
                 {"vocab.txt", "v", true},
                 {"README.md", "the base's", false},
                 {"training_args.bin", "x", false},
                 {"adapter_model.safetensors", "x", false},
                 {"pytorch_model.bin", "x", false}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        free(qa_tempdir_write_text(f.dir, files[i].name, files[i].text));
    }
    free(qa_tempdir_write_text(named, "rag.jinja", "{{ rag }}"));
    char *path = qa_tempdir_join(f.dir, "config.json");
    char *before = qa_tempdir_read(path, NULL);
    char *dtype = strstr(before, "\"torch_dtype\": \"float32\"");
    ck_assert_ptr_nonnull(dtype);
    char *out = merge_fixture(&f, dir, QA_DTYPE_BF16, (size_t)5000000000);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *copy = qa_tempdir_join(out, files[i].name);
        ck_assert_msg(qa_path_exists(copy) == (files[i].copied || strcmp(files[i].name, "README.md") == 0), "%s",
                      files[i].name);
        if (files[i].copied) {
            char *text = qa_tempdir_read(copy, NULL);
            ck_assert_str_eq(text, files[i].text);
            free(text);
        }
        free(copy);
    }
    char *rag = qa_tempdir_join(out, "additional_chat_templates/rag.jinja");
    ck_assert(qa_path_exists(rag));
    char *now_path = qa_tempdir_join(out, "config.json"), *now = qa_tempdir_read(now_path, NULL);
    ck_assert_int_eq(strncmp(before, now, (size_t)(dtype - before)), 0);
    ck_assert_int_eq(strncmp(now + (dtype - before), "\"torch_dtype\": \"bfloat16\"", 25), 0);
    ck_assert_str_eq(now + (dtype - before) + 25, dtype + 24);
    char *card_path = qa_tempdir_join(out, "README.md"), *card = qa_tempdir_read(card_path, NULL);
    ck_assert_ptr_nonnull(strstr(card, "base_model: \"base\""));
    ck_assert_ptr_nonnull(strstr(card, "| base | b |\n| adapter | a |\n| this one | m |"));
    ck_assert_ptr_nonnull(strstr(card, "dtype=\"bfloat16\""));
    free(card);
    free(card_path);
    free(now);
    free(now_path);
    free(rag);
    free(out);
    free(before);
    free(path);
    free(named);
    qa_fixture_close(&f);
    qa_tempdir_remove(dir);
    free(config);
}
END_TEST

/* What stood under the name before stays until the new one is whole; what no merge wrote stays for good. */
START_TEST(whole_or_not_at_all) {
    char *dir = qa_tempdir_make(), *out = qa_tempdir_join(dir, "m");
    qa_merged_folder folder, second;
    qa_error err = {0};
    qa_expect_ok(qa_merged_folder_begin(&folder, out, false, &err), &err);
    qa_expect_error(qa_merged_folder_begin(&second, out, false, &err), QA_ERR_EXISTS, &err, "another run");
    qa_merged_folder_end(&second);
    ck_assert(qa_path_is_dir(folder.temporary) && !qa_path_exists(out));
    qa_merged_folder_end(&folder);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 0);
    /* a folder of something else, an empty one, a file */
    qa_expect_ok(qa_make_dirs(out, &err), &err);
    char *note = qa_tempdir_write_text(out, "note.txt", "mine");
    qa_expect_error(qa_merged_folder_begin(&folder, out, true, &err), QA_ERR_EXISTS, &err, "no merged model");
    qa_merged_folder_end(&folder);
    free(qa_tempdir_write_text(out, "merge.json", "{}"));
    free(qa_tempdir_write_text(out, "model-00002-of-00002.safetensors", "old"));
    qa_expect_error(qa_merged_folder_begin(&folder, out, false, &err), QA_ERR_EXISTS, &err, "--overwrite");
    qa_merged_folder_end(&folder);
    ck_assert_uint_eq(qa_tempdir_entries(out), 3);
    /* overwritten: the stranger's file is kept, the old merge's are not */
    qa_expect_ok(qa_merged_folder_begin(&folder, out, true, &err), &err);
    free(qa_tempdir_write_text(folder.temporary, "merge.json", "new"));
    qa_expect_ok(qa_merged_folder_commit(&folder, &err), &err);
    qa_merged_folder_end(&folder);
    ck_assert_uint_eq(qa_tempdir_entries(out), 2);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 1);
    ck_assert(qa_path_exists(note));
    /* killed between the two renames, and while it filled the hidden folder */
    char *replaced = qa_tempdir_join(dir, ".m.tmp-replaced"), *temporary = qa_tempdir_join(dir, ".m.tmp-merge");
    qa_expect_ok(qa_rename(out, replaced, &err), &err);
    qa_expect_ok(qa_make_dirs(temporary, &err), &err);
    free(qa_tempdir_write_text(temporary, "model.safetensors", "half"));
    qa_expect_error(qa_merged_folder_begin(&folder, out, false, &err), QA_ERR_EXISTS, &err, "--overwrite");
    ck_assert(!qa_holds(temporary, "model.safetensors"));
    qa_merged_folder_end(&folder);
    ck_assert(qa_path_exists(note));
    ck_assert_uint_eq(qa_tempdir_entries(dir), 1);
    free(temporary);
    free(replaced);
    free(note);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

/* A link leads to the folder that is written, and stays a link; what only looks like a merge's file stays, too. */
START_TEST(a_link_and_files_of_others) {
    static const char *const mine[] = {"evaluate.py", "LICENSE-of-my-data", "model-notes.safetensors"};
    char *dir = qa_tempdir_make(), *out = qa_tempdir_join(dir, "m"), *link = qa_tempdir_join(dir, "link");
    qa_merged_folder folder;
    qa_error err = {0};
    ck_assert_int_eq(symlink("m", link), 0);
    qa_expect_error(qa_merged_folder_begin(&folder, link, false, &err), QA_ERR_EXISTS, &err, "a link to a folder");
    qa_merged_folder_end(&folder);
    if (qa_path_is_dir("/proc/self")) {
        qa_expect_error(qa_merged_folder_begin(&folder, "/proc/", false, &err), QA_ERR_ARGUMENT, &err,
                        "/proc is mounted");
        qa_merged_folder_end(&folder);
    }
    qa_expect_ok(qa_make_dirs(out, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        qa_expect_ok(qa_merged_folder_begin(&folder, link, i == 1, &err), &err);
        free(qa_tempdir_write_text(folder.temporary, "merge.json", i == 0 ? "old" : "new"));
        if (i == 0) {
            free(qa_tempdir_write_text(folder.temporary, "model-00001-of-00002.safetensors", "old"));
            free(qa_tempdir_write_text(folder.temporary, "vocab.txt", "old"));
        }
        qa_expect_ok(qa_merged_folder_commit(&folder, &err), &err);
        qa_merged_folder_end(&folder);
        for (size_t k = 0; k < 3 && i == 0; k++) {
            free(qa_tempdir_write_text(out, mine[k], "mine"));
        }
    }
    ck_assert_uint_eq(qa_tempdir_entries(dir), 2);
    ck_assert_uint_eq(qa_tempdir_entries(out), 4);
    for (size_t k = 0; k < 3; k++) {
        ck_assert(qa_holds(out, mine[k]));
    }
    char target[8];
    ck_assert_int_eq(readlink(link, target, sizeof target), 1);
    free(link);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

/* A base without weights that float16 holds. */
START_TEST(too_large_for_f16) {
    char *config = qa_family_tiny_config(0), *dir = qa_tempdir_make(), *out = qa_tempdir_join(dir, "m");
    const qa_lora_options lora = all_maps();
    qa_fixture f = qa_fixture_of(config, &lora, 1);
    qa_merged_folder folder;
    bool written = false;
    qa_error err = {0};
    for (size_t i = 0; i < f.adapter->count; i++) {
        f.adapter->parameters[i] *= 1000;
    }
    qa_expect_ok(qa_merged_folder_begin(&folder, out, false, &err), &err);
    qa_expect_ok(qa_model_merge(f.model, f.adapter, &err), &err);
    qa_expect_error(qa_merged_folder_fill(&folder, f.model, QA_DTYPE_F16, 1 << 30, NULL, &written, &err), QA_ERR_NAN,
                    &err, "which F16 cannot hold; F32 can");
    qa_merged_folder_end(&folder);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 0);
    free(out);
    qa_fixture_close(&f);
    qa_tempdir_remove(dir);
    free(config);
}
END_TEST

/* By hand: two responses of 2 tokens and 1. */
START_TEST(rounding_by_hand) {
    const double exact[] = {-1, -2, -3}, merged[] = {-1.5, -1.75, -3.125};
    const qa_pair two[] = {{.chosen_len = 2, .rejected_len = 0}, {.chosen_len = 1}};
    const qa_merge_rounding r = qa_merge_rounding_of(exact, merged, two, 2);
    ck_assert_uint_eq(r.tokens, 3);
    ck_assert_uint_eq(r.responses, 2);
    ck_assert_double_eq_tol(r.mean_token, 0.875 / 3, 1e-15);
    ck_assert_double_eq(r.largest_token, 0.5);
    ck_assert_double_eq(r.mean_response, (0.25 + 0.125) / 2);
    ck_assert_double_eq(r.largest_response, 0.25);
}
END_TEST

Suite *train_merged_folder_suite(void) {
    Suite *suite = suite_create("train/merged_folder");
    TCase *tests = tcase_create("merged_folder");
    tcase_add_loop_test(tests, every_family, 0, QA_FAMILIES_THERE);
    tcase_add_test(tests, shards);
    tcase_add_test(tests, what_is_copied);
    tcase_add_test(tests, whole_or_not_at_all);
    tcase_add_test(tests, a_link_and_files_of_others);
    tcase_add_test(tests, too_large_for_f16);
    tcase_add_test(tests, rounding_by_hand);
    suite_add_tcase(suite, tests);
    return suite;
}
