/* Vectors of equations: what is right passes, every kind of wrong candidate is named, and none of them stops the check.
 */
#include "golden/vectors.h"

#include "base/sha256.h"
#include "io/file.h"
#include "io/json.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call) qa_expect_ok((call), &err)

static const char GROUP[] =
    "{\"format\": \"qadapter-conformance\", \"version\": 1, \"group\": \"losses\", \"vectors\": [\n"
    "{\"id\": \"dpo/one\", \"equation\": \"dpo\", \"inputs\": {\"beta\": 0.5}, \"outputs\": {\"loss\": 0.5, \"z\": "
    "[1.5, "
    "-2]}, \"tolerance\": {\"loss\": 1e-15, \"z\": 4e-15}, \"mistakes\": [{\"name\": \"sum-not-mean\", \"text\": \"the "
    "loss is a sum\", \"outputs\": {\"loss\": 1}}, {\"name\": \"sides\", \"text\": \"the sides are exchanged\", "
    "\"outputs\": {\"loss\": 2.5, \"z\": [-1.5, 2]}}]},\n"
    "{\"id\": \"dpo/two\", \"equation\": \"dpo\", \"inputs\": {}, \"outputs\": {\"loss\": 3}, \"tolerance\": "
    "{\"loss\": "
    "1e-15}, \"mistakes\": [{\"name\": \"sum-not-mean\", \"text\": \"the loss is a sum\", \"outputs\": {\"loss\": "
    "6}}]},\n"
    "{\"id\": \"row\", \"equation\": \"log_softmax\", \"inputs\": {}, \"outputs\": {\"y\": [[0, \"-inf\"], [1e4, 2]]}, "
    "\"tolerance\": {\"y\": 1e-12}}]}\n";

/* A folder of vectors with this group in it (caller removes). */
static char *suite_of(const char *group) {
    char *dir = qa_tempdir_make();
    char hex[QA_SHA256_HEX_BYTES], manifest[512];
    qa_sha256_hex(group, strlen(group), hex);
    (void)snprintf(
        manifest, sizeof manifest,
        "{\"format\": \"qadapter-conformance\", \"version\": 1, \"files\": {\"losses.json\": {\"bytes\": %zu, "
        "\"sha256\": \"%s\"}}}",
        strlen(group), hex);
    free(qa_tempdir_write_text(dir, "losses.json", group));
    free(qa_tempdir_write_text(dir, "manifest.json", manifest));
    return dir;
}

static qa_status open_suite(const char *group, qa_error *err) {
    char *dir = suite_of(group);
    qa_vectors *vectors = NULL;
    const qa_status status = qa_vectors_open(&vectors, dir, err);
    ck_assert((status == QA_OK) == (vectors != NULL));
    qa_vectors_close(vectors);
    qa_tempdir_remove(dir);
    return status;
}

/* The check of one file of text; the suite stays open as long as the process of the test. */
static qa_vectors_report check_text(const char *text) {
    qa_error err = {0};
    qa_vectors *vectors = NULL;
    qa_vectors_report report;
    char *suite = suite_of(GROUP), *dir = qa_tempdir_make();
    free(qa_tempdir_write_text(dir, "mine.json", text));
    MUST(qa_vectors_open(&vectors, suite, &err));
    MUST(qa_vectors_check(&report, vectors, dir, &err));
    for (size_t i = 0; i < report.n; i++) { /* they point into the vectors */
        report.results[i].mistakes[0] = NULL;
    }
    for (size_t i = 0; i < report.n_suspects; i++) {
        report.suspects[i].name = strcmp(report.suspects[i].name, "sides") == 0 ? "sides" : "sum-not-mean";
        report.suspects[i].text = "";
    }
    qa_vectors_close(vectors);
    qa_tempdir_remove(dir);
    qa_tempdir_remove(suite);
    return report;
}

#define CANDIDATE "{\"format\": \"qadapter-conformance-candidate\", \"version\": 1, "
#define OUTPUTS(text) CANDIDATE "\"outputs\": {" text "}}"

static void expect(const char *text, size_t n, size_t failures, size_t missing, const char *sentence) {
    qa_vectors_report report = check_text(text);
    ck_assert_msg(report.n == n && report.failures == failures && report.n_missing == missing,
                  "%.200s: %zu results, %zu failures, %zu missing: %s", text, report.n, report.failures,
                  report.n_missing, report.sentence);
    ck_assert_msg(strstr(report.sentence, sentence) != NULL, "%.200s: %s", text, report.sentence);
    qa_vectors_report_free(&report);
}

START_TEST(what_is_right_passes) {
    expect(
        OUTPUTS("\"dpo/one\": {\"loss\": 0.5, \"z\": [1.5, -2.0]}, \"dpo/two\": {\"loss\": 3.0}, \"row\": {\"y\": [[0, "
                "-Infinity], [10000.0, 2]]}"),
        4, 0, 0, "within tolerance");
    expect(OUTPUTS("\"row\": {\"y\": [[0, \"-inf\"], [1e4, 2]]}"), 1, 0, 2, "within tolerance");
    expect(CANDIDATE "\"dtype\": \"float32\", \"outputs\": {\"dpo/two\": {\"loss\": 3.0000002}}}", 1, 0, 2, "within");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": 3.0000002}"), 1, 1, 2, "3.0000002 where 3 is expected");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": 3.0000002}"), 1, 1, 2, "say \"dtype\": \"float32\"");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": 3.1}"), 1, 1, 2, "None of the known mistakes");
}
END_TEST

START_TEST(units_are_those_of_the_tolerance) {
    qa_vectors_report report = check_text(OUTPUTS("\"dpo/one\": {\"z\": [1.5, -2.000000000000002]}"));
    ck_assert_uint_eq(report.worst, 0);
    ck_assert(fabs(report.results[0].units - 0.5) < 0.1);
    ck_assert_str_eq(report.results[0].where, "[1]");
    ck_assert_str_eq(report.missing[0], "dpo/one: loss");
    qa_vectors_report_free(&report);
    /* 1.1 tolerances, and 0.9 of them */
    expect(OUTPUTS("\"dpo/one\": {\"z\": [1.5, -2.0000000000000044]}"), 1, 1, 3, "where -2 is expected");
    expect(OUTPUTS("\"dpo/one\": {\"z\": [1.5, -2.0000000000000036]}"), 1, 0, 3, "within tolerance");
}
END_TEST

START_TEST(mistakes_are_named) {
    qa_vectors_report report =
        check_text(OUTPUTS("\"dpo/one\": {\"loss\": 1, \"z\": [1.5, -2]}, \"dpo/two\": {\"loss\": 6}"));
    ck_assert_uint_eq(report.departing, 2);
    ck_assert_uint_eq(report.n_suspects, 1);
    ck_assert_str_eq(report.suspects[0].name, "sum-not-mean");
    ck_assert_uint_eq(report.suspects[0].explains, 2);
    ck_assert_ptr_nonnull(strstr(report.sentence,
                                 "2 of 2 departing vectors are exactly what comes out when the loss is a sum "
                                 "(sum-not-mean)"));
    qa_vectors_report_free(&report);
    /* the right z contradicts exchanged sides; without it they are suspected */
    expect(OUTPUTS("\"dpo/one\": {\"loss\": 2.5, \"z\": [1.5, -2]}"), 2, 1, 2, "None of the known mistakes");
    expect(OUTPUTS("\"dpo/one\": {\"loss\": 2.5}"), 1, 1, 3, "(sides)");
}
END_TEST

/* name, text, results, failures, missing, what the sentence says */
START_TEST(hostile_candidates_are_named) {
    expect(OUTPUTS("\"dpo/three\": {\"loss\": 1}"), 1, 1, 3, "dpo/three: the suite has no vector of this id");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": 3, \"los\": 3}"), 2, 1, 2, "dpo/two: los: the vector has no output");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": [3]}"), 1, 1, 2, "shape [1] where a number is expected");
    expect(OUTPUTS("\"dpo/one\": {\"z\": 3}"), 1, 1, 3, "a number where shape [2] is expected");
    expect(OUTPUTS("\"dpo/one\": {\"z\": [[1.5, -2]]}"), 1, 1, 3, "shape [1, 2] where shape [2]");
    expect(OUTPUTS("\"dpo/one\": {\"z\": []}"), 1, 1, 3, "shape [0] where shape [2]");
    expect(OUTPUTS("\"row\": {\"y\": [[0, 1], [2]]}"), 1, 1, 2, "not all of one length");
    expect(OUTPUTS("\"row\": {\"y\": [[0, 1], 2]}"), 1, 1, 2, "not all of one length");
    expect(OUTPUTS("\"row\": {\"y\": [[[[[1]]]]]}"), 1, 1, 2, "too deep");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": \"3\"}"), 1, 1, 2, "a string where numbers are expected");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": true}"), 1, 1, 2, "true where numbers are expected");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": null}"), 1, 1, 2, "null where numbers are expected");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": {}}"), 1, 1, 2, "an object where numbers are expected");
    expect(OUTPUTS("\"dpo/one\": {\"z\": [1.5, \"a\"]}"), 1, 1, 3, "something else where numbers are expected");
    expect(OUTPUTS("\"dpo/two\": 3"), 1, 1, 2, "no object of outputs");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": NaN}"), 1, 1, 2, "nan where 3 is expected");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": -Infinity}"), 1, 1, 2, "-inf where 3 is expected");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": 1e999}"), 1, 1, 2, "inf where 3 is expected");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": 1e308}"), 1, 1, 2, "1e+308 where 3 is expected");
    expect(OUTPUTS("\"dpo/two\": {\"loss\": 300000000000000000000000000}"), 1, 1, 2, "3e+26 where 3 is expected");
    expect(OUTPUTS("\"row\": {\"y\": [[0, -1e308], [1e4, 2]]}"), 1, 1, 2, "where -inf is expected");
    expect(OUTPUTS("\"NaN \\\" 1e999\": {\"loss\": 1}"), 1, 1, 3, "NaN \" 1e999: the suite has no");
    expect(OUTPUTS("\"a\\u0007\\u001b[31m\": {}"), 1, 1, 3, "\\x1b[31m: the suite has no");
}
END_TEST

START_TEST(hostile_files_are_named) {
    static const char *const texts[][2] = {
        {"", "not valid JSON"},
        {OUTPUTS("\"dpo/two\": {\"loss\": 3}, \"dpo/two\": {\"loss\": 3}"), "duplicate object key"},
        {CANDIDATE "\"outputs\": {\"dpo/two\": {\"loss\": 3", "not valid JSON"},
        {CANDIDATE "\"outputs\": {\"dpo/two\": {\"lo", "not valid JSON"},
        {"[1]", "an object with \"format\" was expected"},
        {"{\"outputs\": {}}", "\"format\" is missing"},
        {"{\"format\": \"qadapter-conformance-candidate\", \"version\": 2, \"outputs\": {}}", "version 2; expected"},
        {"{\"format\": \"qadapter-golden\", \"version\": 1, \"outputs\": {}}", "format \"qadapter-golden\" version 1"},
        {CANDIDATE "\"outputs\": []}", "\"outputs\" must be an object"},
        {CANDIDATE "\"dtype\": \"int8\", \"outputs\": {}}", "dtype \"int8\"; expected float64"},
        {CANDIDATE "\"dytpe\": \"float32\", \"outputs\": {}}", "unknown key \"dytpe\"; expected format"},
        {CANDIDATE "\"dtype\": 64, \"outputs\": {}}", "\"dtype\" must be a string"},
        {"\xff\xfe", "mine.json"},
        {OUTPUTS("\"dpo/two\": {\"loss\": 0x10}"), "not valid JSON"}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        expect(texts[i][0], 1, 1, 3, texts[i][1]);
        expect(texts[i][0], 1, 1, 3, "mine.json");
    }
    char *deep = malloc(100001);
    ck_assert_ptr_nonnull(deep);
    memset(deep, '[', 100000);
    deep[100000] = '\0';
    expect(deep, 1, 1, 3, "depth");
    free(deep);
}
END_TEST

/* An id in two files, one broken file beside a good one, other files in the folder. */
START_TEST(every_file_of_a_folder_is_read) {
    qa_error err = {0};
    qa_vectors *vectors = NULL;
    qa_vectors_report report;
    char *suite = suite_of(GROUP), *dir = qa_tempdir_make();
    free(qa_tempdir_write_text(dir, "a.json", OUTPUTS("\"dpo/two\": {\"loss\": 3}")));
    free(qa_tempdir_write_text(dir, "b.json", "{"));
    free(qa_tempdir_write_text(dir, "c.json", OUTPUTS("\"dpo/two\": {\"loss\": 4}, \"dpo/one\": {\"loss\": 0.5}")));
    free(qa_tempdir_write_text(dir, "notes.txt", "{"));
    MUST(qa_vectors_open(&vectors, suite, &err));
    MUST(qa_vectors_check(&report, vectors, dir, &err));
    ck_assert_uint_eq(report.n, 4);
    ck_assert_int_eq(report.results[0].verdict, QA_VERDICT_FILE);
    ck_assert_str_eq(report.results[0].id, "b.json");
    ck_assert_int_eq(report.results[1].verdict, QA_VERDICT_TWICE);
    ck_assert_int_eq(report.results[2].verdict, QA_VERDICT_OK);
    ck_assert_int_eq(report.results[3].verdict, QA_VERDICT_OK);
    qa_vectors_report_free(&report);
    char *file = qa_tempdir_join(dir, "a.json"), *none = qa_tempdir_join(dir, "none");
    MUST(qa_vectors_check(&report, vectors, file, &err));
    ck_assert_uint_eq(report.failures, 0);
    qa_vectors_report_free(&report);
    qa_expect_error(qa_vectors_check(&report, vectors, none, &err), QA_ERR_IO, &err, "no such file or folder");
    MUST(qa_make_dirs(none, &err));
    qa_expect_error(qa_vectors_check(&report, vectors, none, &err), QA_ERR_FORMAT, &err, "no file NAME.json");
    static const char *const nothing[] = {OUTPUTS(""), OUTPUTS("\"dpo/one\": {}")};
    for (size_t i = 0; i < 2; i++) { /* a script that found no vector must not pass */
        free(qa_tempdir_write_text(none, "d.json", nothing[i]));
        qa_expect_error(qa_vectors_check(&report, vectors, none, &err), QA_ERR_FORMAT, &err, "nothing was compared");
    }
    qa_vectors_close(vectors);
    free(file);
    free(none);
    qa_tempdir_remove(dir);
    qa_tempdir_remove(suite);
}
END_TEST

START_TEST(wrong_suites_are_rejected) {
#define VECTORS(text) "{\"format\": \"qadapter-conformance\", \"version\": 1, \"vectors\": [" text "]}"
    static const char *const texts[][2] = {
        {VECTORS(""), "no vectors"},
        {"{\"format\": \"qadapter-conformance\", \"version\": 9, \"vectors\": []}", "version 9; expected"},
        {VECTORS("{\"id\": \"a\", \"outputs\": {\"y\": 1}, \"tolerance\": {}}"), "\"y\" is missing"},
        {VECTORS("{\"id\": \"a\", \"outputs\": {\"y\": 1}, \"tolerance\": {\"y\": -1}}"), "below 0"},
        {VECTORS("{\"id\": \"a\", \"outputs\": {\"y\": \"nan\"}, \"tolerance\": {\"y\": 1}}"), "not a number"},
        {VECTORS("{\"id\": \"a\", \"outputs\": {}, \"tolerance\": {}}"), "no outputs"},
        {VECTORS("{\"id\": \"\", \"outputs\": {\"y\": 1}, \"tolerance\": {\"y\": 1}}"), "an id has"},
        {VECTORS("{\"id\": \"a\", \"outputs\": {\"y\": 1}, \"tolerance\": {\"y\": 1}}, {\"id\": \"a\", \"outputs\": "
                 "{\"y\": 1}, \"tolerance\": {\"y\": 1}}"),
         "stands twice"},
        {VECTORS("{\"id\": \"a\", \"outputs\": {\"y\": 1}, \"tolerance\": {\"y\": 1}, \"mistakes\": [{\"name\": \"m\", "
                 "\"text\": \"t\", \"outputs\": {\"y\": [1]}}]}"),
         "another shape"},
        {VECTORS("1"), "an object with \"id\""}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        qa_error err = {0};
        ck_assert_int_ne(open_suite(texts[i][0], &err), QA_OK);
        ck_assert_msg(strstr(err.message, texts[i][1]) != NULL, "%s", err.message);
    }
    qa_error err = {0};
    qa_vectors *vectors = NULL;
    char *suite = suite_of(GROUP);
    free(qa_tempdir_write_text(suite, "losses.json", VECTORS("")));
    qa_expect_error(qa_vectors_open(&vectors, suite, &err), QA_ERR_FORMAT, &err, "damaged");
    ck_assert(qa_vectors_here(suite) && !qa_vectors_here("weights/golden/theory-logits"));
    qa_tempdir_remove(suite);
}
END_TEST

/* ---- the suite's own mistakes ---- */

static size_t numbers_within(const json_t *value) {
    size_t n = json_is_array(value) ? 0 : 1, i = 0;
    const json_t *element = NULL;
    json_array_foreach(value, i, element) { n += numbers_within(element); }
    return n;
}

/* What a program with the mistake writes of a vector; of large outputs those alone that the vector tells. */
static json_t *mistaken_outputs(const qa_vector *vector, const json_t *mistake) {
    json_t *outputs = json_object(), *right = NULL;
    const char *name = NULL;
    json_object_foreach(vector->outputs, name, right) {
        json_t *wrong = json_object_get(json_object_get(mistake, "outputs"), name);
        if (wrong != NULL || numbers_within(right) <= 16) {
            ck_assert_int_eq(json_object_set(outputs, name, wrong != NULL ? wrong : right), 0);
        }
    }
    return outputs;
}

/* A candidate that has this mistake wherever a vector knows it; how many those are. */
static size_t write_mistaken(const qa_vectors *vectors, const char *mistake_name, const char *path) {
    qa_error err = {0};
    json_t *outputs = json_object();
    size_t n = 0, m = 0;
    for (size_t i = 0; i < vectors->n; i++) {
        json_t *mistake = NULL;
        json_array_foreach(vectors->items[i].mistakes, m, mistake) {
            if (strcmp(json_string_value(json_object_get(mistake, "name")), mistake_name) == 0) {
                ck_assert_int_eq(
                    json_object_set_new(outputs, vectors->items[i].id, mistaken_outputs(&vectors->items[i], mistake)),
                    0);
                n++;
            }
        }
    }
    json_t *root =
        json_pack("{s:s,s:i,s:o}", "format", QA_CANDIDATE_FORMAT, "version", QA_VECTORS_VERSION, "outputs", outputs);
    MUST(qa_json_save(root, path, &err));
    json_decref(root);
    return n;
}

static void expect_named(const qa_vectors *vectors, const char *name, const char *path) {
    qa_error err = {0};
    qa_vectors_report report;
    const size_t n = write_mistaken(vectors, name, path);
    MUST(qa_vectors_check(&report, vectors, path, &err));
    size_t found = 0;
    while (found < report.n_suspects && strcmp(report.suspects[found].name, name) != 0) {
        found++;
    }
    ck_assert_msg(found < report.n_suspects, "%s is not named: %s", name, report.sentence);
    /* the likeliest, or as likely as the likeliest: some mistakes are one where a vector has one answer only */
    ck_assert_msg(report.suspects[found].explains == n && report.suspects[0].explains == n,
                  "%s: %zu of %zu, %zu for %s", name, report.suspects[found].explains, n, report.suspects[0].explains,
                  report.suspects[0].name);
    ck_assert_uint_eq(report.departing, n);
    qa_vectors_report_free(&report);
}

START_TEST(every_known_mistake_is_named) {
    enum { MOST = 256 };
    qa_error err = {0};
    qa_vectors *vectors = NULL;
    const char *names[MOST];
    size_t n = 0, m = 0;
    char *dir = qa_tempdir_make(), *path = qa_tempdir_join(dir, "wrong.json");
    MUST(qa_vectors_open(&vectors, "weights/conformance", &err));
    for (size_t i = 0; i < vectors->n; i++) {
        json_t *mistake = NULL;
        json_array_foreach(vectors->items[i].mistakes, m, mistake) {
            const char *name = json_string_value(json_object_get(mistake, "name"));
            size_t known = 0;
            while (known < n && strcmp(names[known], name) != 0) {
                known++;
            }
            ck_assert_uint_lt(known, MOST);
            names[known] = name;
            n += known == n ? 1 : 0;
        }
    }
    ck_assert_uint_gt(n, 50);
    for (size_t i = 0; i < n; i++) {
        expect_named(vectors, names[i], path);
    }
    qa_vectors_close(vectors);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *golden_vectors_suite(void);
Suite *golden_vectors_suite(void) {
    Suite *suite = suite_create("golden_vectors");
    TCase *tcase = tcase_create("vectors");
    tcase_add_test(tcase, what_is_right_passes);
    tcase_add_test(tcase, units_are_those_of_the_tolerance);
    tcase_add_test(tcase, mistakes_are_named);
    tcase_add_test(tcase, hostile_candidates_are_named);
    tcase_add_test(tcase, hostile_files_are_named);
    tcase_add_test(tcase, every_file_of_a_folder_is_read);
    tcase_add_test(tcase, wrong_suites_are_rejected);
    tcase_add_test(tcase, every_known_mistake_is_named);
    suite_add_tcase(suite, tcase);
    return suite;
}
