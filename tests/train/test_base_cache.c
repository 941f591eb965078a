/* What of the base model is kept, how much that is and where it goes; entries in memory and in a file. */
#include "train/base_cache.h"

#include "io/file.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/run_folder.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 7, EVALUATION = 3, RESPONSES = 4, WIDTH = 6, PLENTY = 1 << 30 };

typedef struct setting {
    qa_fixture fixture;
    qa_pairs *pairs, *evaluation, *responses;
    qa_train_options options;
} setting;

static void open_setting(setting *s) {
    const tiny_model_options model = tiny_model_defaults();
    s->fixture = qa_fixture_open(&model, NULL, 1);
    s->pairs = qa_training_pairs(&s->fixture, PAIRS, 6, 7, 4);
    s->evaluation = qa_training_pairs(&s->fixture, EVALUATION, 5, 9, 5);
    s->responses = qa_training_responses(&s->fixture, RESPONSES, 8, 12, 6);
    s->options = qa_training_options("out"); /* batches of 4: 2 steps an epoch */
    s->options.epochs = 3.0;
}

static void close_setting(setting *s) {
    qa_pairs_free(s->responses);
    qa_pairs_free(s->evaluation);
    qa_pairs_free(s->pairs);
    qa_fixture_close(&s->fixture);
}

static qa_base_plan plan_of(const setting *s, bool with_evaluation, qa_base_cache_mode mode, size_t machine_bytes) {
    qa_train_options options = s->options;
    qa_error err = {0};
    qa_plan plan;
    qa_base_plan base;
    options.base_cache = mode;
    qa_expect_ok(qa_plan_make(&plan, PAIRS, &options, &err), &err);
    qa_expect_ok(qa_base_plan_make(&base, &plan, WIDTH, s->pairs, with_evaluation ? s->evaluation : NULL, &options,
                                   machine_bytes, &err),
                 &err);
    base.objective = &s->options.objective;
    return base;
}

static void expect_kept(const qa_base_plan *base, bool train, bool evaluation, bool replay) {
    ck_assert_int_eq(base->sets[QA_KEPT_TRAIN] != NULL, train);
    ck_assert_int_eq(base->sets[QA_KEPT_EVALUATION] != NULL, evaluation);
    ck_assert_int_eq(base->sets[QA_KEPT_REPLAY] != NULL, replay);
    ck_assert_uint_eq(base->entries, (train ? PAIRS : 0u) + (evaluation ? EVALUATION : 0u) + (replay ? RESPONSES : 0u));
    ck_assert_int_eq(base->mode == QA_BASE_CACHE_OFF, !train && !evaluation && !replay);
    ck_assert_int_eq(base->memory_bytes == 0, base->mode == QA_BASE_CACHE_OFF);
    ck_assert_int_eq(base->disk_bytes == 0, base->mode != QA_BASE_CACHE_DISK);
}

/* Only what is visited twice, whatever the mode. */
START_TEST(what_is_kept) {
    static const qa_base_cache_mode modes[] = {QA_BASE_CACHE_AUTO, QA_BASE_CACHE_MEMORY, QA_BASE_CACHE_DISK};
    setting s;
    open_setting(&s);
    for (size_t i = 0; i < 3; i++) {
        qa_base_plan base = plan_of(&s, true, modes[i], PLENTY);
        expect_kept(&base, true, false, false); /* one evaluation, at the end */
        s.options.eval_every = 6;
        base = plan_of(&s, true, modes[i], PLENTY);
        expect_kept(&base, true, false, false); /* of 6 steps */
        s.options.eval_every = 5;
        base = plan_of(&s, true, modes[i], PLENTY);
        expect_kept(&base, true, true, false);
        base = plan_of(&s, false, modes[i], PLENTY);
        expect_kept(&base, true, false, false);
        s.options.epochs = 1.0;
        s.options.eval_every = 1;
        base = plan_of(&s, true, modes[i], PLENTY);
        expect_kept(&base, false, true, false);
        s.options.eval_every = 0;
        base = plan_of(&s, true, modes[i], PLENTY);
        expect_kept(&base, false, false, false);
        s.options.max_steps = 3;
        base = plan_of(&s, true, modes[i], PLENTY);
        expect_kept(&base, true, false, false);
        s.options.max_steps = 0;
        s.options.objective = qa_objective_for_method(QA_METHOD_REPLAY);
        s.options.replay = s.responses;
        s.options.replay_ratio = 4.0 / 7.0; /* 4 in the epoch's 2 steps */
        base = plan_of(&s, false, modes[i], PLENTY);
        expect_kept(&base, false, false, false);
        s.options.replay_ratio = 1.0;
        base = plan_of(&s, false, modes[i], PLENTY);
        expect_kept(&base, false, false, true);
        s.options = qa_training_options("out");
        s.options.epochs = 3.0;
    }
    const qa_base_plan off = plan_of(&s, true, QA_BASE_CACHE_OFF, PLENTY);
    ck_assert_int_eq((int)off.mode, QA_BASE_CACHE_OFF);
    ck_assert_ptr_nonnull(off.sets[QA_KEPT_TRAIN]); /* visited again all the same */
    ck_assert_uint_eq(off.memory_bytes + off.disk_bytes, 0);
    close_setting(&s);
}
END_TEST

START_TEST(how_much_and_where) {
    setting s;
    open_setting(&s);
    const qa_base_plan memory = plan_of(&s, true, QA_BASE_CACHE_MEMORY, 0);
    size_t rows = 0;
    for (size_t i = 0; i < PAIRS; i++) {
        const qa_pair *pair = qa_pairs_at(s.pairs, i);
        rows += 1 + pair->chosen_len + pair->rejected_len;
    }
    ck_assert_uint_eq(memory.rows, rows);
    ck_assert_uint_ge(memory.memory_bytes, rows * WIDTH * sizeof(qa_real));
    ck_assert_uint_le(memory.memory_bytes, rows * WIDTH * sizeof(qa_real) + 512);
    const qa_base_plan disk = plan_of(&s, true, QA_BASE_CACHE_DISK, PLENTY);
    ck_assert_uint_eq(disk.disk_bytes, rows * WIDTH * sizeof(qa_real));
    ck_assert_uint_lt(disk.memory_bytes, memory.memory_bytes);
    const size_t enough = 4 * memory.memory_bytes;
    ck_assert_int_eq((int)plan_of(&s, true, QA_BASE_CACHE_AUTO, enough).mode, QA_BASE_CACHE_MEMORY);
    ck_assert_int_eq((int)plan_of(&s, true, QA_BASE_CACHE_AUTO, enough - 4).mode, QA_BASE_CACHE_DISK);
    ck_assert_int_eq((int)plan_of(&s, true, QA_BASE_CACHE_AUTO, 0).mode, QA_BASE_CACHE_DISK);
    ck_assert_uint_gt(qa_machine_memory(), 1 << 20);
    close_setting(&s);
}
END_TEST

START_TEST(rows_of_a_pair) {
    const qa_pair pair = {.prompt_len = 9, .chosen_len = 4, .rejected_len = 3, .label_start = 7};
    const qa_objective theory = {.kind = QA_THEORY}, published = {.kind = QA_PUBLISHED};
    ck_assert_uint_eq(qa_base_rows(&pair, &theory, false), 1 + 4 + 3);
    ck_assert_uint_eq(qa_base_rows(&pair, &theory, true), 1 + 4);
    ck_assert_uint_eq(qa_base_rows(&pair, &published, false), 3 + 4 + 3);
}
END_TEST

static size_t rows_at(const qa_base_plan *base, size_t i) {
    return qa_base_rows(qa_pairs_at(base->sets[QA_KEPT_TRAIN], i), base->objective, false);
}

static void fill(qa_real *rows, size_t reals, size_t i) {
    for (size_t j = 0; j < reals; j++) {
        rows[j] = (qa_real)(100 * i + j);
    }
}

/* Entries come back as they were put, in any order; what was not put, or has another number of rows, is not there. */
START_TEST(entries) {
    const qa_base_cache_mode mode = _i == 0 ? QA_BASE_CACHE_MEMORY : QA_BASE_CACHE_DISK;
    const bool aside = _i == 2; /* as a rank without a folder of its own does */
    setting s;
    qa_error err = {0};
    qa_base_cache *cache = NULL;
    open_setting(&s);
    char *dir = qa_tempdir_make();
    const qa_base_plan base = plan_of(&s, true, mode, 0);
    qa_expect_ok(qa_base_cache_create(&cache, &base, &(qa_logger){0}, &err), &err);
    ck_assert_int_eq(setenv("TMPDIR", dir, 1), 0); /* a test is a process of its own */
    qa_expect_ok(aside ? qa_base_cache_open_aside(cache, &err) : qa_base_cache_open(cache, dir, &err), &err);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 0);
    for (size_t i = PAIRS; i-- > 1;) { /* not entry 0 */
        const qa_base_slot slot = qa_base_cache_slot(cache, QA_KEPT_TRAIN, i);
        ck_assert_ptr_null(qa_base_cache_find(slot, rows_at(&base, i)));
        qa_real *kept = qa_base_cache_buffer(slot, rows_at(&base, i));
        ck_assert_ptr_nonnull(kept);
        fill(kept, rows_at(&base, i) * WIDTH, i);
        qa_base_cache_keep(slot);
    }
    for (size_t i = 0; i < PAIRS; i++) {
        const qa_base_slot slot = qa_base_cache_slot(cache, QA_KEPT_TRAIN, i);
        const qa_real *found = qa_base_cache_find(slot, rows_at(&base, i));
        ck_assert_int_eq(found != NULL, i > 0);
        qa_real expected[64 * WIDTH];
        fill(expected, rows_at(&base, i) * WIDTH, i);
        ck_assert(found == NULL || memcmp(found, expected, rows_at(&base, i) * WIDTH * sizeof *found) == 0);
        ck_assert_ptr_null(qa_base_cache_find(slot, rows_at(&base, i) + 1));
        ck_assert_ptr_null(qa_base_cache_buffer(slot, rows_at(&base, i) - 1));
    }
    ck_assert_uint_eq(qa_base_cache_found(cache), PAIRS - 1);
    const qa_base_slot nowhere = qa_base_cache_slot(cache, QA_KEPT_EVALUATION, 1);
    ck_assert_ptr_null(qa_base_cache_find(nowhere, 4));
    ck_assert_ptr_null(qa_base_cache_buffer(nowhere, 4));
    qa_base_cache_free(cache);
    qa_tempdir_remove(dir);
    close_setting(&s);
}
END_TEST

/* With mode off nothing is there and nothing can be kept, but who is visited again is known. */
START_TEST(no_cache) {
    setting s;
    qa_error err = {0};
    qa_base_cache *cache = NULL;
    open_setting(&s);
    const qa_base_plan base = plan_of(&s, true, QA_BASE_CACHE_OFF, 0);
    qa_expect_ok(qa_base_cache_create(&cache, &base, &(qa_logger){0}, &err), &err);
    qa_expect_ok(qa_base_cache_open(cache, "nowhere", &err), &err);
    const qa_base_slot slot = qa_base_cache_slot(cache, QA_KEPT_TRAIN, 0);
    ck_assert_ptr_nonnull(slot.cache);
    ck_assert_ptr_null(qa_base_cache_find(slot, rows_at(&base, 0)));
    ck_assert_ptr_null(qa_base_cache_buffer(slot, rows_at(&base, 0)));
    ck_assert_ptr_null(qa_base_cache_slot(cache, QA_KEPT_EVALUATION, 0).cache);
    ck_assert_ptr_null(qa_base_cache_slot(NULL, QA_KEPT_TRAIN, 0).cache);
    ck_assert_uint_eq(qa_base_cache_found(cache), 0);
    qa_base_cache_free(cache);
    close_setting(&s);
}
END_TEST

START_TEST(a_rank_without_a_disk_of_its_own) {
    setting s;
    qa_error err = {0};
    qa_base_cache *cache = NULL;
    open_setting(&s);
    const qa_base_plan base = plan_of(&s, true, QA_BASE_CACHE_DISK, 0);
    qa_expect_ok(qa_base_cache_create(&cache, &base, &(qa_logger){0}, &err), &err);
    ck_assert_int_eq(setenv("TMPDIR", "/nowhere/at/all", 1), 0);
    qa_expect_error(qa_base_cache_open_aside(cache, &err), QA_ERR_IO, &err, "/nowhere/at/all/qadapter-base-cache-");
    ck_assert_ptr_nonnull(strstr(err.message, "TMPDIR says where"));
    qa_base_cache_free(cache);
    close_setting(&s);
}
END_TEST

/* A folder that takes no file is an error before the first step, which names the file. */
START_TEST(a_folder_without_room) {
    setting s;
    qa_error err = {0};
    qa_base_cache *cache = NULL;
    open_setting(&s);
    char *dir = qa_tempdir_make(), *missing = qa_tempdir_join(dir, "missing");
    char *taken = qa_tempdir_join(dir, QA_BASE_CACHE_NAME);
    const qa_base_plan base = plan_of(&s, true, QA_BASE_CACHE_DISK, 0);
    qa_expect_ok(qa_base_cache_create(&cache, &base, &(qa_logger){0}, &err), &err);
    const qa_status status = qa_base_cache_open(cache, missing, &err);
    qa_expect_error(status, QA_ERR_IO, &err, "cannot make the base cache's file");
    qa_expect_error(status, QA_ERR_IO, &err, "missing/.tmp-base-cache: No such");
    qa_base_cache_free(cache);
    qa_expect_ok(qa_make_dirs(taken, &err), &err);
    qa_expect_ok(qa_base_cache_create(&cache, &base, &(qa_logger){0}, &err), &err);
    qa_expect_error(qa_base_cache_open(cache, dir, &err), QA_ERR_IO, &err, ": File exists");
    qa_base_cache_free(cache);
    free(taken);
    free(missing);
    qa_tempdir_remove(dir);
    close_setting(&s);
}
END_TEST

Suite *train_base_cache_suite(void);
Suite *train_base_cache_suite(void) {
    Suite *suite = suite_create("train_base_cache");
    TCase *tcase = tcase_create("cache");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, what_is_kept);
    tcase_add_test(tcase, how_much_and_where);
    tcase_add_test(tcase, rows_of_a_pair);
    tcase_add_loop_test(tcase, entries, 0, 3);
    tcase_add_test(tcase, no_cache);
    tcase_add_test(tcase, a_rank_without_a_disk_of_its_own);
    tcase_add_test(tcase, a_folder_without_room);
    suite_add_tcase(suite, tcase);
    return suite;
}
