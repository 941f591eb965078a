/* Bundles as files: what is damaged is rejected with a reason, and candidates that are not what they should be fail. */
#include "base/checked.h"
#include "io/file.h"
#include "support/fixture.h"
#include "support/golden.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUST(call) qa_expect_ok((call), &err)

static const char NAME[] = "theory-residual"; /* a small one */
static const char *const files[] = {"manifest.json",
                                    "golden.safetensors",
                                    "pairs.jsonl",
                                    "model/config.json",
                                    "model/model.safetensors",
                                    "adapter/adapter_config.json",
                                    "adapter/adapter_model.safetensors"};
enum { FILES = sizeof files / sizeof files[0] };

typedef struct world {
    char *dir; /* a copy of the bundle */
    qa_context *context;
} world;

static world open_world(void) {
    qa_error err = {0};
    world w = {.dir = qa_tempdir_make()};
    MUST(qa_context_create(&w.context, 1, (qa_logger){0}, &err));
    for (size_t i = 0; i < FILES; i++) {
        char from[512], folder[512];
        size_t bytes = 0;
        (void)snprintf(from, sizeof from, "weights/golden/%s/%s", NAME, files[i]);
        (void)snprintf(folder, sizeof folder, "%s/%.*s", w.dir, (int)strcspn(files[i], "/"), files[i]);
        if (strchr(files[i], '/') != NULL) {
            MUST(qa_make_dirs(folder, &err));
        }
        char *data = qa_tempdir_read(from, &bytes);
        free(qa_tempdir_write(w.dir, files[i], data, bytes));
        free(data);
    }
    return w;
}

static void close_world(world *w) {
    qa_context_free(w->context);
    qa_tempdir_remove(w->dir);
}

static qa_status open_bundle(const world *w, qa_error *err) {
    qa_golden_bundle *bundle = NULL;
    const qa_status status = qa_golden_bundle_open(&bundle, w->context, w->dir, err);
    ck_assert((status == QA_OK) == (bundle != NULL));
    qa_golden_bundle_close(bundle);
    return status;
}

START_TEST(any_damaged_byte_is_rejected) {
    world w = open_world();
    qa_error err = {0};
    MUST(open_bundle(&w, &err));
    const char *name = files[_i];
    char *path = qa_tempdir_join(w.dir, name);
    size_t bytes = 0;
    char *data = qa_tempdir_read(path, &bytes);
    const size_t step = bytes / 150 + 1; /* about 150 places in each, the first and the last among them */
    for (size_t at = 0; at < bytes; at = at + step < bytes || at == bytes - 1 ? at + step : bytes - 1) {
        const char before = data[at];
        data[at] = (char)(before ^ (char)(1 << (at % 7)));
        free(qa_tempdir_write(w.dir, name, data, bytes));
        const qa_status status = open_bundle(&w, &err);
        ck_assert_msg(status == QA_ERR_FORMAT, "%s: byte %zu damaged: %s", name, at, qa_status_name(status));
        ck_assert_msg(strstr(err.message, name) != NULL, "%s", err.message);
        data[at] = before;
    }
    free(qa_tempdir_write(w.dir, name, data, bytes - 1)); /* cut */
    ck_assert_int_eq(open_bundle(&w, &err), QA_ERR_FORMAT);
    MUST(qa_remove_tree(path, &err)); /* missing */
    ck_assert_int_ne(open_bundle(&w, &err), QA_OK);
    ck_assert_ptr_nonnull(strstr(err.message, name));
    free(qa_tempdir_write(w.dir, name, data, bytes));
    MUST(open_bundle(&w, &err));
    free(data);
    free(path);
    close_world(&w);
}
END_TEST

/* A clone without git-lfs. */
START_TEST(a_pointer_in_a_files_place_is_named) {
    world w = open_world();
    qa_error err = {0};
    free(qa_tempdir_write_text(w.dir, "golden.safetensors",
                               "version https://git-lfs.github.com/spec/v1\noid sha256:a\n"));
    qa_expect_error(open_bundle(&w, &err), QA_ERR_FORMAT, &err, "golden.safetensors is a git-lfs pointer");
    close_world(&w);
}
END_TEST

START_TEST(what_is_no_bundle_says_so) {
    world w = open_world();
    qa_error err = {0};
    qa_golden_bundle *bundle = NULL;
    qa_expect_error(qa_golden_bundle_open(&bundle, w.context, "/nowhere/at/all", &err), QA_ERR_IO, &err,
                    "no such folder");
    free(qa_tempdir_write_text(w.dir, "manifest.json", ""));
    qa_expect_error(open_bundle(&w, &err), QA_ERR_FORMAT, &err, "empty");
    free(qa_tempdir_write_text(w.dir, "manifest.json", "{\"format\": \"x\"}"));
    qa_expect_error(open_bundle(&w, &err), QA_ERR_FORMAT, &err, "no digest");
    free(qa_tempdir_write_text(w.dir, "manifest.json", "version https://git-lfs.github.com/spec/v1\noid sha256:a\n"));
    qa_expect_error(open_bundle(&w, &err), QA_ERR_FORMAT, &err, "manifest.json is a git-lfs pointer");
    close_world(&w);
}
END_TEST

/* ---- making ---- */

static qa_golden_inputs inputs_of(const qa_golden_bundle *bundle, const char *adapter_dir) {
    return (qa_golden_inputs){.model = bundle->model,
                              .adapter = bundle->adapter,
                              .adapter_dir = adapter_dir,
                              .pairs = bundle->pairs,
                              .options = bundle->options};
}

START_TEST(a_bundle_made_of_a_bundle_is_the_same) {
    qa_error err = {0};
    world w = open_world();
    qa_golden_bundle *bundle = qa_golden_open(w.context, w.dir);
    char *adapter = qa_tempdir_join(w.dir, "adapter"), *out = qa_tempdir_join(w.dir, "again");
    qa_golden_inputs inputs = inputs_of(bundle, adapter);
    MUST(qa_golden_make(out, &inputs, &err));
    for (size_t i = 0; i < FILES; i++) {
        char *made = qa_tempdir_join(out, files[i]), *bundled = qa_tempdir_join(w.dir, files[i]);
        size_t n = 0, m = 0;
        char *a = qa_tempdir_read(made, &n), *b = qa_tempdir_read(bundled, &m);
        ck_assert_msg(n == m && memcmp(a, b, n) == 0, "%s differs", files[i]);
        free(a);
        free(b);
        free(made);
        free(bundled);
    }
    qa_expect_error(qa_golden_make(out, &inputs, &err), QA_ERR_EXISTS, &err, "--overwrite");
    inputs.overwrite = true;
    MUST(qa_golden_make(out, &inputs, &err));
    /* linked inputs stay where they are, and their damage is noticed too */
    char *linked = qa_tempdir_join(w.dir, "linked"), *copied = qa_tempdir_join(linked, "model");
    inputs.link = true;
    MUST(qa_golden_make(linked, &inputs, &err));
    ck_assert(!qa_path_exists(copied));
    qa_golden_bundle *again = qa_golden_open(w.context, linked);
    ck_assert_uint_eq(again->golden.n, bundle->golden.n);
    qa_golden_bundle_close(again);
    free(qa_tempdir_write_text(w.dir, "model/config.json", "{}"));
    qa_expect_error(qa_golden_bundle_open(&again, w.context, linked, &err), QA_ERR_FORMAT, &err, "config.json");
    qa_golden_bundle_close(bundle);
    free(adapter);
    free(out);
    free(linked);
    free(copied);
    close_world(&w);
}
END_TEST

/* A file that a cleaned download cache lost is not a file that was never there. */
START_TEST(a_link_to_nothing_is_not_left_out_of_a_bundle) {
    world w = open_world();
    qa_error err = {0};
    qa_golden_bundle *bundle = qa_golden_open(w.context, w.dir);
    char *adapter = qa_tempdir_join(w.dir, "adapter"), *out = qa_tempdir_join(w.dir, "again");
    char *link = qa_tempdir_join(w.dir, "model/generation_config.json");
    qa_golden_inputs inputs = inputs_of(bundle, adapter);
    (void)remove(link);
    ck_assert_int_eq(symlink("nothing", link), 0);
    qa_expect_error(qa_golden_make(out, &inputs, &err), QA_ERR_IO, &err, "generation_config.json");
    qa_golden_bundle_close(bundle);
    free(link);
    free(out);
    free(adapter);
    close_world(&w);
}
END_TEST

START_TEST(what_cannot_be_made_says_why) {
    qa_error err = {0};
    world w = open_world();
    qa_golden_bundle *bundle = qa_golden_open(w.context, w.dir);
    qa_golden_inputs inputs = inputs_of(bundle, w.dir);
    inputs.options.objective.alpha_tilde = 0.0;
    qa_expect_error(qa_golden_make(w.dir, &inputs, &err), QA_ERR_EXISTS, &err, "bundle already");
    char *out = qa_tempdir_join(w.dir, "out");
    qa_expect_error(qa_golden_make(out, &inputs, &err), QA_ERR_ARGUMENT, &err, "alpha");
    inputs.options = bundle->options;
    inputs.options.learning_rate = -1.0;
    qa_expect_error(qa_golden_make(out, &inputs, &err), QA_ERR_ARGUMENT, &err, "learning_rate");
    qa_golden_bundle_close(bundle);
    free(out);
    close_world(&w);
}
END_TEST

/* ---- candidates ---- */

static qa_golden_report report_of_one(const qa_golden_bundle *bundle, const char *name, size_t n_dims, size_t rows,
                                      size_t columns, const double *values) {
    qa_golden_set set = {0};
    qa_put(&set, name, n_dims, rows, columns, values);
    qa_golden_report report = qa_golden_report_of(bundle, &set, QA_DTYPE_F32);
    qa_golden_set_free(&set);
    return report;
}

START_TEST(candidates_that_must_fail) {
    world w = open_world();
    qa_golden_bundle *bundle = qa_golden_open(w.context, w.dir);
    const qa_golden_tensor *v = qa_golden_set_find(&bundle->golden, "pair0.chosen.v");
    ck_assert_ptr_nonnull(v);
    double *values = qa_alloc_array(v->count + 1, sizeof *values);
    ck_assert_ptr_nonnull(values);
    memcpy(values, v->values, v->count * sizeof *values);
    qa_golden_report report = report_of_one(bundle, v->name, 1, v->count, 0, values);
    ck_assert_uint_eq(report.failures, 0);
    ck_assert_uint_eq(report.n_missing, bundle->golden.n - 1);
    ck_assert_str_eq(report.missing[0], bundle->golden.tensors[0].name);
    qa_golden_report_free(&report);

    report = report_of_one(bundle, v->name, 1, v->count + 1, 0, values);
    ck_assert_int_eq((int)report.results[0].verdict, (int)QA_VERDICT_SHAPE);
    ck_assert_ptr_nonnull(strstr(report.sentence, "shape"));
    qa_golden_report_free(&report);
    report = report_of_one(bundle, v->name, 2, v->count, 1, values);
    ck_assert_int_eq((int)report.results[0].verdict, (int)QA_VERDICT_SHAPE);
    qa_golden_report_free(&report);

    report = report_of_one(bundle, "pair9.chosen.v", 1, v->count, 0, values);
    ck_assert_int_eq((int)report.results[0].verdict, (int)QA_VERDICT_UNKNOWN);
    ck_assert_uint_eq(report.failures, 1);
    qa_golden_report_free(&report);

    report = report_of_one(bundle, "pair9.\033[2J.v", 1, v->count, 0, values);
    ck_assert_str_eq(report.results[0].name, "pair9.?[2J.v");
    qa_golden_report_free(&report);

    static const double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    for (size_t i = 0; i < 3; i++) {
        values[1] = bad[i];
        report = report_of_one(bundle, v->name, 1, v->count, 0, values);
        ck_assert_int_eq((int)report.results[0].verdict, (int)QA_VERDICT_NOT_FINITE);
        ck_assert_str_eq(report.results[0].where, "[1]");
        qa_golden_report_free(&report);
    }
    values[1] = v->values[1] + 1.0;
    report = report_of_one(bundle, v->name, 1, v->count, 0, values);
    ck_assert_int_eq((int)report.results[0].verdict, (int)QA_VERDICT_DEPARTS);
    ck_assert_uint_eq(report.explained | report.partly, 0);
    ck_assert_ptr_nonnull(strstr(report.sentence, "None of the known mistakes"));
    ck_assert_double_eq_tol(report.results[0].absolute, 1.0, 1e-6);
    qa_golden_report_free(&report);
    free(values);
    qa_golden_bundle_close(bundle);
    close_world(&w);
}
END_TEST

START_TEST(ids_and_short_names) {
    world w = open_world();
    qa_golden_bundle *bundle = qa_golden_open(w.context, w.dir);
    const qa_golden_tensor *ids = qa_golden_set_find(&bundle->golden, "pair0.chosen.input_ids");
    const qa_golden_tensor *hidden = qa_golden_set_find(&bundle->golden, "pair0.chosen.adapted.layer1.hidden");
    ck_assert(ids != NULL && hidden != NULL);
    double *values = qa_alloc_array(ids->count, sizeof *values);
    ck_assert_ptr_nonnull(values);
    memcpy(values, ids->values, ids->count * sizeof *values);
    values[0] += 1.0; /* no tolerance for ids */
    qa_golden_report report = report_of_one(bundle, ids->name, 1, ids->count, 0, values);
    ck_assert_int_eq((int)report.results[0].verdict, (int)QA_VERDICT_DEPARTS);
    qa_golden_report_free(&report);
    free(values);
    /* layer1.hidden is that of the first pair's chosen side, adapter on */
    qa_error err = {0};
    qa_safetensors_writer *writer = NULL;
    char *path = qa_tempdir_join(w.dir, "short.safetensors");
    MUST(qa_safetensors_writer_create(&writer, &err));
    MUST(qa_safetensors_writer_add_double(writer, "layer1.hidden", QA_DTYPE_F64, 2, hidden->shape, hidden->values,
                                          &err));
    MUST(qa_safetensors_writer_save(writer, path, &err));
    qa_safetensors_writer_free(writer);
    MUST(qa_golden_check(&report, bundle, path, (qa_golden_tolerance){-1.0, -1.0}, &err));
    ck_assert_uint_eq(report.failures, 0);
    ck_assert_str_eq(report.results[0].name, hidden->name);
    qa_golden_report_free(&report);
    free(path);
    qa_golden_bundle_close(bundle);
    close_world(&w);
}
END_TEST

START_TEST(tolerances_can_be_given) {
    qa_error err = {0};
    world w = open_world();
    qa_golden_bundle *bundle = qa_golden_open(w.context, w.dir);
    char *path = qa_tempdir_join(w.dir, "candidate.safetensors");
    qa_golden_save(&bundle->golden, path, QA_DTYPE_BF16);
    qa_golden_report report;
    MUST(qa_golden_check(&report, bundle, path, (qa_golden_tolerance){1e-6, -1.0}, &err));
    ck_assert_uint_gt(report.failures, 0);
    qa_golden_report_free(&report);
    MUST(qa_golden_check(&report, bundle, path, (qa_golden_tolerance){-1.0, 1e3}, &err));
    ck_assert_uint_eq(report.failures, 0);
    qa_golden_report_free(&report);
    ck_assert_int_ne(qa_golden_check(&report, bundle, "/nowhere", (qa_golden_tolerance){-1.0, -1.0}, &err), QA_OK);
    free(qa_tempdir_write_text(w.dir, "candidate.safetensors", "not a file of that kind"));
    ck_assert_int_eq(qa_golden_check(&report, bundle, path, (qa_golden_tolerance){-1.0, -1.0}, &err), QA_ERR_FORMAT);
    free(path);
    qa_golden_bundle_close(bundle);
    close_world(&w);
}
END_TEST

Suite *golden_bundle_suite(void);
Suite *golden_bundle_suite(void) {
    Suite *suite = suite_create("golden_bundle");
    TCase *tcase = tcase_create("bundle");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, any_damaged_byte_is_rejected, 0, FILES);
    tcase_add_test(tcase, a_pointer_in_a_files_place_is_named);
    tcase_add_test(tcase, what_is_no_bundle_says_so);
    tcase_add_test(tcase, a_bundle_made_of_a_bundle_is_the_same);
    tcase_add_test(tcase, a_link_to_nothing_is_not_left_out_of_a_bundle);
    tcase_add_test(tcase, what_cannot_be_made_says_why);
    tcase_add_test(tcase, candidates_that_must_fail);
    tcase_add_test(tcase, ids_and_short_names);
    tcase_add_test(tcase, tolerances_can_be_given);
    suite_add_tcase(suite, tcase);
    return suite;
}
