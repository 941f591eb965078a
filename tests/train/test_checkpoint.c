/* Checkpoints: everything comes back bit for bit; damaged, truncated and foreign ones are refused and change nothing.
 */
#include "train/state_files.h"

#include "io/file.h"
#include "support/arrays.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/batch.h"
#include "train/run_folder.h"
#include "train/training_config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 7, STEP = 3 };

/* A run at step 3 (the second epoch's second of two steps), and room to load into. */
typedef struct state {
    qa_fixture fixture;
    qa_pairs *pairs;
    qa_train_options options;
    qa_plan plan;
    json_t *resume_options, *config;
    size_t order[PAIRS];
    qa_bag bag;
    qa_real *m, *v, *parameters; /* as saved */
    qa_run_state saved;
    char *dir;
} state;

static qa_status write_adapter(const void *user, const char *dir, qa_error *err) {
    return qa_adapter_save(((const state *)user)->fixture.adapter, dir, "tiny", err);
}

static void open_state(state *s) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_error err = {0};
    memset(s, 0, sizeof *s);
    s->fixture = qa_fixture_open(&model, &lora, 1);
    s->pairs = qa_training_pairs(&s->fixture, PAIRS, 4, 4, 1);
    s->options = qa_training_options("out");
    s->dir = qa_tempdir_make();
    s->bag = qa_bag_open(4);
    const size_t count = s->fixture.adapter->count;
    s->m = qa_bag_random(&s->bag, count);
    s->v = qa_bag_random(&s->bag, count);
    s->parameters = qa_bag_copy(&s->bag, s->fixture.adapter->parameters, count);
    qa_expect_ok(qa_plan_make(&s->plan, PAIRS, &s->options, &err), &err);
    ck_assert_uint_eq(s->plan.steps_per_epoch, 2);
    qa_expect_ok(qa_resume_options_build(&s->resume_options, s->fixture.model, s->fixture.adapter, s->pairs, NULL,
                                         &s->options, &err),
                 &err);
    qa_expect_ok(qa_training_config_build(&s->config, s->resume_options, s->fixture.model, &s->options, &err), &err);
    qa_epoch_order(s->order, PAIRS, true, s->options.seed, 1);
    s->saved = (qa_run_state){.parameters = s->fixture.adapter->parameters,
                              .m = s->m,
                              .v = s->v,
                              .count = count,
                              .order = s->order,
                              .items = PAIRS,
                              .unit = "pairs",
                              .step = STEP,
                              .total_steps = s->plan.total_steps,
                              .epoch = 1,
                              .items_done = 4,
                              .evaluated = true,
                              .metrics_bytes = 1234,
                              .resume_options = s->resume_options,
                              .config = s->config,
                              .write_model = write_adapter,
                              .user = s};
    qa_expect_ok(qa_run_state_save(&s->saved, s->dir, &err), &err);
}

static void close_state(state *s) {
    json_decref(s->resume_options);
    json_decref(s->config);
    qa_bag_close(&s->bag);
    qa_pairs_free(s->pairs);
    qa_fixture_close(&s->fixture);
    qa_tempdir_remove(s->dir);
}

typedef struct loaded {
    qa_run_state state;
    qa_real *m, *v;
} loaded;

/* Loads into a zeroed adapter and zeroed moments. */
static qa_status load(state *s, loaded *l, qa_error *err) {
    const size_t count = s->fixture.adapter->count;
    memset(l, 0, sizeof *l);
    l->m = qa_bag_zeros(&s->bag, count);
    l->v = qa_bag_zeros(&s->bag, count);
    l->state = s->saved;
    l->state.m = l->m;
    l->state.v = l->v;
    l->state.evaluated = false;
    l->state.metrics_bytes = 0;
    qa_epoch_order(s->order, PAIRS, true, s->options.seed, 1);
    memset(s->fixture.adapter->parameters, 0, count * sizeof *s->parameters);
    return qa_run_state_load(&l->state, s->dir, err);
}

START_TEST(everything_comes_back) {
    state s;
    loaded l;
    qa_error err = {0};
    open_state(&s);
    const size_t bytes = s.fixture.adapter->count * sizeof *s.m;
    qa_expect_ok(load(&s, &l, &err), &err);
    ck_assert_int_eq(memcmp(s.fixture.adapter->parameters, s.parameters, bytes), 0);
    ck_assert_int_eq(memcmp(l.m, s.m, bytes), 0);
    ck_assert_int_eq(memcmp(l.v, s.v, bytes), 0);
    ck_assert(l.state.evaluated);
    ck_assert_uint_eq(l.state.metrics_bytes, 1234);
    close_state(&s);
}
END_TEST

/* The folder is a PEFT adapter with its training_config.json, and no temporary is left beside it. */
START_TEST(the_folder) {
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors", "training_config.json",
                                        "run_state.json", "run_state.safetensors"};
    state s;
    qa_error err = {0};
    open_state(&s);
    char *dir = qa_checkpoint_path(s.dir, QA_CHECKPOINT_PREFIX, STEP);
    ck_assert_uint_eq(qa_tempdir_entries(s.dir), 1);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 5);
    for (size_t i = 0; i < 5; i++) {
        char *path = qa_tempdir_join(dir, names[i]);
        ck_assert_msg(qa_path_exists(path), "no %s", path);
        free(path);
    }
    qa_adapter *adapter = NULL;
    qa_expect_ok(qa_adapter_load(&adapter, s.fixture.model, dir, &err), &err);
    for (size_t i = 0; i < adapter->count; i++) {
        ck_assert_double_eq((double)adapter->parameters[i], (double)(float)s.parameters[i]);
    }
    qa_objective objective = {0};
    bool found = false;
    qa_expect_ok(qa_training_config_load(dir, &found, &objective, &err), &err);
    ck_assert(found);
    qa_adapter_free(adapter);
    free(dir);
    close_state(&s);
}
END_TEST

static char *state_path(const state *s, const char *name) {
    char *dir = qa_checkpoint_path(s->dir, QA_CHECKPOINT_PREFIX, STEP);
    char *path = qa_tempdir_join(dir, name);
    free(dir);
    return path;
}

static void rewrite(const char *path, const char *data, size_t bytes) {
    qa_error err = {0};
    qa_expect_ok(qa_write_file(path, data, bytes, &err), &err);
}

/* 60 places spread over the file, header and numbers: a bit flipped, or the file cut there. Always refused, always by
 * name, and the adapter stays as it was (zero). */
START_TEST(damage_is_refused) {
    state s;
    loaded l;
    open_state(&s);
    char *path = state_path(&s, "run_state.safetensors");
    size_t bytes = 0;
    char *good = qa_tempdir_read(path, &bytes);
    char *bad = malloc(bytes);
    ck_assert_ptr_nonnull(bad);
    for (size_t i = 0; i < 60; i++) {
        qa_error err = {0};
        const bool cut = i % 3 == 0;
        const size_t at = bytes - 1 - i * (bytes - 1) / 60;
        memcpy(bad, good, bytes);
        bad[at] = (char)(bad[at] ^ 0x10);
        rewrite(path, bad, cut ? at : bytes);
        const qa_status status = load(&s, &l, &err);
        ck_assert_msg(status != QA_OK, "byte %zu of %zu", at, bytes);
        ck_assert_msg(strstr(err.message, "run_state.safetensors") != NULL, "%s", err.message);
        for (size_t j = 0; j < s.fixture.adapter->count; j++) {
            ck_assert_double_eq((double)s.fixture.adapter->parameters[j], 0.0);
        }
        ck_assert(!l.state.evaluated);
        ck_assert_uint_eq(l.state.metrics_bytes, 0);
    }
    rewrite(path, good, bytes);
    qa_error err = {0};
    qa_expect_ok(load(&s, &l, &err), &err);
    free(bad);
    free(good);
    free(path);
    close_state(&s);
}
END_TEST

/* Replaces the first `from` in run_state.json by `to` and expects the load to fail with `part`. */
static void expect_refused(state *s, const char *from, const char *to, qa_status code, const char *part) {
    char *path = state_path(s, "run_state.json"), *good = qa_tempdir_read(path, NULL);
    char *at = strstr(good, from);
    ck_assert_msg(at != NULL, "no %s in %s", from, good);
    char *bad = malloc(strlen(good) + strlen(to) + 1);
    ck_assert_ptr_nonnull(bad);
    memcpy(bad, good, (size_t)(at - good));
    strcpy(bad + (at - good), to);
    strcat(bad, at + strlen(from));
    rewrite(path, bad, strlen(bad));
    loaded l;
    qa_error err = {0};
    qa_expect_error(load(s, &l, &err), code, &err, part);
    rewrite(path, good, strlen(good));
    free(bad);
    free(good);
    free(path);
}

START_TEST(a_state_that_does_not_fit) {
    state s;
    open_state(&s);
    expect_refused(&s, "\"format_version\": 1", "\"format_version\": 2", QA_ERR_UNSUPPORTED, "format version 2");
    expect_refused(&s, "\"step\": 3", "\"step\": 4", QA_ERR_FORMAT, "step 4");
    expect_refused(&s, "\"epoch\": 1", "\"epoch\": 2", QA_ERR_FORMAT, "epoch 2");
    expect_refused(&s, "\"pairs_done_in_epoch\": 4", "\"pairs_done_in_epoch\": 3", QA_ERR_FORMAT, "3 pairs");
    expect_refused(&s, "\"metrics_bytes\": 1234", "\"metrics_bytes\": -1", QA_ERR_FORMAT, "metrics_bytes");
    expect_refused(&s, "\"checksum\": \"0x", "\"checksum\": \"0y", QA_ERR_FORMAT, "checksum");
    expect_refused(&s, "\"learning_rate\": 0.01", "\"learning_rate\": 0.02", QA_ERR_MISMATCH, "learning_rate");
    expect_refused(&s, "\"precision\": \"" QA_REAL_NAME "\"", "\"precision\": \"f16\"", QA_ERR_MISMATCH, "precision");
    expect_refused(&s, "\"seed\": 5", "\"seed\": 6", QA_ERR_MISMATCH, "seed");
    expect_refused(&s, "\"data_fingerprint\": \"0x", "\"data_fingerprint\": \"0x1", QA_ERR_MISMATCH,
                   "data_fingerprint");
    expect_refused(&s, "\"options\"", "\"option\"", QA_ERR_FORMAT, "options");
    expect_refused(&s, "{", "[", QA_ERR_FORMAT, "run_state.json");
    close_state(&s);
}
END_TEST

/* An order that seed and epoch do not make (a checkpoint of another version's generator). */
START_TEST(another_order) {
    state s;
    loaded l;
    qa_error err = {0};
    open_state(&s);
    char *dir = qa_checkpoint_path(s.dir, QA_CHECKPOINT_PREFIX, STEP);
    qa_expect_ok(qa_remove_tree(dir, &err), &err);
    const size_t swap = s.order[0];
    s.order[0] = s.order[1];
    s.order[1] = swap;
    qa_expect_ok(qa_run_state_save(&s.saved, s.dir, &err), &err);
    qa_expect_error(load(&s, &l, &err), QA_ERR_MISMATCH, &err, "data_order[0]");
    free(dir);
    close_state(&s);
}
END_TEST

/* A checkpoint of the time when the two files had the first one's name from another program. */
START_TEST(names_of_old_checkpoints) {
    static const char *const names[2][2] = {{"run_state.json", "trainer_state.json"},
                                            {"run_state.safetensors", "trainer_state.safetensors"}};
    state s;
    loaded l;
    qa_error err = {0};
    open_state(&s);
    for (size_t i = 0; i < 2; i++) {
        char *now = state_path(&s, names[i][0]), *then = state_path(&s, names[i][1]);
        ck_assert_int_eq(rename(now, then), 0);
        free(then);
        free(now);
    }
    qa_expect_ok(load(&s, &l, &err), &err);
    ck_assert_int_eq(memcmp(s.fixture.adapter->parameters, s.parameters, s.fixture.adapter->count * sizeof *s.m), 0);
    close_state(&s);
}
END_TEST

START_TEST(missing_files) {
    static const char *const names[] = {"run_state.safetensors", "run_state.json"};
    state s;
    loaded l;
    open_state(&s);
    for (size_t i = 0; i < 2; i++) {
        qa_error err = {0};
        char *path = state_path(&s, names[i]);
        ck_assert_int_eq(remove(path), 0);
        ck_assert_int_ne((int)load(&s, &l, &err), QA_OK);
        ck_assert_msg(strstr(err.message, names[i]) != NULL, "%s", err.message);
        free(path);
    }
    close_state(&s);
}
END_TEST

/* A save that cannot finish leaves neither a checkpoint nor a temporary folder. */
START_TEST(a_save_that_fails) {
    state s;
    qa_error err = {0};
    open_state(&s);
    char *file = qa_tempdir_write_text(s.dir, "file", "x");
    ck_assert_int_ne((int)qa_run_state_save(&s.saved, file, &err), QA_OK);
    s.saved.step = STEP; /* the name is taken by a folder that is not empty */
    ck_assert_int_ne((int)qa_run_state_save(&s.saved, s.dir, &err), QA_OK);
    ck_assert_ptr_nonnull(strstr(err.message, "checkpoint of step 3"));
    ck_assert_uint_eq(qa_tempdir_entries(s.dir), 2); /* the first checkpoint and the file */
    loaded l;
    qa_expect_ok(load(&s, &l, &err), &err);
    free(file);
    close_state(&s);
}
END_TEST

Suite *train_checkpoint_suite(void);
Suite *train_checkpoint_suite(void) {
    Suite *suite = suite_create("train_checkpoint");
    TCase *tcase = tcase_create("checkpoint");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, everything_comes_back);
    tcase_add_test(tcase, the_folder);
    tcase_add_test(tcase, damage_is_refused);
    tcase_add_test(tcase, a_state_that_does_not_fit);
    tcase_add_test(tcase, another_order);
    tcase_add_test(tcase, names_of_old_checkpoints);
    tcase_add_test(tcase, missing_files);
    tcase_add_test(tcase, a_save_that_fails);
    suite_add_tcase(suite, tcase);
    return suite;
}
