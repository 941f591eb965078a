/* score --html: a file that is whole or not at all, in which nothing of a token or a name can become part of the page,
 * and whose script works out the program's own numbers (tests/page/equations.mjs, under node). */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"
#include "support/tiny_model.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

Suite *cli_score_page_suite(void);

/* Relative to the larger of 1 and the number. Observed: below 3e-15 in double precision, 5e-7 in single. */
#ifdef QA_F64
#define TOLERANCE "1e-12"
#else
#define TOLERANCE "1e-5"
#endif

static char *read_page(const char *path) {
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    const long bytes = ftell(file);
    char *text = calloc((size_t)bytes + 1, 1);
    ck_assert_ptr_nonnull(text);
    rewind(file);
    ck_assert_uint_eq(fread(text, 1, (size_t)bytes, file), (size_t)bytes);
    ck_assert_int_eq(fclose(file), 0);
    return text;
}

/* The texts of an array, one behind the other (the caller's). */
static char *joined(const json_t *texts) {
    char *all = calloc(1000, 1);
    ck_assert_ptr_nonnull(all);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const char *text = json_string_value(json_array_get(texts, i));
        ck_assert_uint_lt(strlen(all) + strlen(text), 1000);
        strcat(all, text);
    }
    return all;
}

/* What stands in the block of data (the caller's). */
static json_t *page_data(const char *html) {
    static const char open[] = "<script id=\"data\" type=\"application/json\">";
    const char *begin = strstr(html, open);
    ck_assert_ptr_nonnull(begin);
    begin += strlen(open);
    const char *end = strstr(begin, "</script>");
    ck_assert_ptr_nonnull(end);
    ck_assert_ptr_null(memchr(begin, '<', (size_t)(end - begin)));
    json_error_t why;
    json_t *data = json_loadb(begin, (size_t)(end - begin), JSON_ALLOW_NUL, &why);
    ck_assert_msg(data != NULL, "the data is no JSON: %s at byte %d", why.text, why.position);
    return data;
}

static bool there_is_node(void) {
    return system("node -e 'process.exit(parseInt(process.versions.node) < 16 ? 1 : 0)' >/dev/null 2>&1") == 0;
}

/* Runs equations.mjs on files of dir; shows what it said unless its status is this one. */
static void run_node(const char *dir, const char *page, const char *tolerance, const char *dials, int status) {
    char command[2048], said[1024] = "";
    ck_assert_int_lt(snprintf(command, sizeof command,
                              "node tests/page/equations.mjs %s/%s %s %s/own.jsonl %s %s/other.jsonl 2>&1", dir, page,
                              tolerance, dir, dials, dir),
                     (int)sizeof command);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    const size_t n = fread(said, 1, sizeof said - 1, pipe);
    said[n] = '\0';
    const int found = pclose(pipe);
    ck_assert_msg(WIFEXITED(found) && WEXITSTATUS(found) == status, "%s\n%s", command, said);
    if (status == 0) {
        ck_assert_ptr_nonnull(strstr(said, " numbers agree"));
    }
}

/* ---- the numbers ---- */

static const struct dials_case {
    const char *recipe, *objective, *q, *also;
} cases[] = {{"theory", "theory", "residual", "--strict"},
             {"theory", "theory", "logits", "--strict"},
             {"theory", "theory", "residual", "--length-normalisation"},
             {"theory", "theory", "residual", "--label-noise=0.2"},
             {"published", "published", "logits", "--strict"},
             {"published", "published", "residual", "--published-data-quirks"}};

START_TEST(the_script_works_out_the_programs_numbers) {
    const struct dials_case *is = &cases[_i];
    qa_cli_world world = qa_cli_world_make(true);
    char *page = qa_tempdir_join(world.dir, "page.html"), *own = qa_tempdir_join(world.dir, "own.jsonl");
    char *other = qa_tempdir_join(world.dir, "other.jsonl"), *beside = qa_tempdir_join(world.dir, "beside.html");
#define SCORED                                                                                                         \
    "score", "--model", world.model, "--adapter", world.adapter, "--data", world.pairs, "--recipe", is->recipe,        \
        "--objective", is->objective, "--q-parametrisation", is->q, is->also, "--micro-batch", "2"
    qa_cli_expect(QA_CLI(SCORED, "--html", page, "--out", own), 0, "", "page with 6 pairs, 6 of them");
    qa_cli_expect(QA_CLI(SCORED, "--out", other, "--alpha-0", "0.4", "--alpha-tilde", "1.7", "--gamma", "0.9", "--beta",
                         "0.3", "--html", beside),
                  0, "", NULL);
    run_node(world.dir, "page.html", TOLERANCE, "0.4 1.7 0.9 0.3", 0);
    run_node(world.dir, "beside.html", TOLERANCE, "0.4 1.7 0.9 0.3", 1); /* its own lines are the other ones */
    run_node(world.dir, "page.html", TOLERANCE, "0.4 1.6 0.9 0.3", 1);   /* it can fail */
    free(page);
    free(own);
    free(other);
    free(beside);
    qa_cli_world_free(&world);
}
END_TEST

static const char *const page_methods[][2] = {{"dpo", NULL},
                                              {"sft", NULL},
                                              {"dpo", NULL},
                                              {"dpo", "--label-noise=0.2"},
                                              {"ipo", NULL},
                                              {"ipo", "--ipo-length=mean"},
                                              {"sppo", "--sppo-beta=0.3"},
                                              {"kto", "--undesirable-weight=1.5"}};

START_TEST(the_script_works_out_a_methods_numbers) {
    const char *method = page_methods[_i][0], *option = page_methods[_i][1];
    qa_cli_world world = qa_cli_world_make(true);
    char *page = qa_tempdir_join(world.dir, "page.html"), *own = qa_tempdir_join(world.dir, "own.jsonl");
    char *other = qa_tempdir_join(world.dir, "other.jsonl"), *again = qa_tempdir_join(world.dir, "again");
    const char *adapter = world.adapter;
    if (_i == 2) { /* rewards against the adapter that training started from */
        qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "--adapter", world.adapter, "--method",
                             "dpo", "--steps", "2", "-o", again),
                      0, NULL, "reference: the adapter that training starts from");
        adapter = again;
    }
    qa_cli_expect(QA_CLI("score", "--model", world.model, "--adapter", adapter, "--data", world.pairs, "--method",
                         method, "--html", page, "--out", own, option),
                  0, "", "page with 6 pairs");
    ck_assert_int_eq(link(own, other), 0);
    run_node(world.dir, "page.html", TOLERANCE, "0 1 1 0", 0);
    char *lines = read_page(own);
    ck_assert_int_eq(strstr(lines, "log_ref") != NULL, _i == 2);
    free(lines);
    free(again);
    free(page);
    free(own);
    free(other);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(without_node_the_script_is_not_run) {
    (void)printf("no node of version 16 or later: cli_score_page does not run the page's script\n");
}
END_TEST

/* ---- the file ---- */

/* Texts of a prompt are in the data, with every '<' written otherwise; nothing of them stands in the page itself. */
START_TEST(a_text_cannot_become_part_of_the_page) {
    qa_cli_world world = qa_cli_world_make(true);
    char *page = qa_tempdir_join(world.dir, "page.html");
    char *texts = qa_tempdir_write_text(
        world.dir, "hostile.jsonl",
        "{\"prompt\": \"</script><img src=x onerror=alert(1)>\", \"chosen\": \"<!--<script>\\u2028\\u2029&lt;\", "
        "\"rejected\": \"]]></style><b onclick='x'>@DATA@@SCRIPT@\"}\n");
    qa_cli_expect(QA_CLI("score", "--model", world.model, "--adapter", world.adapter, "--data", texts, "--html", page),
                  0, "", "page with 1 pair, 1 of them");
    char *html = read_page(page);
    ck_assert_ptr_null(strstr(html, "<img"));
    ck_assert_ptr_null(strstr(html, "\xe2\x80\xa8"));
    ck_assert_ptr_null(strstr(html, "unsafe"));
    ck_assert_ptr_nonnull(strstr(html, "connect-src 'none'"));
    ck_assert_ptr_null(strstr(html, "@SCRIPT@"));
    json_t *data = page_data(html);
    ck_assert_uint_eq(json_array_size(json_object_get(data, "pairs")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(data, "texts"), "64")), "<"); /* bytes, from 4 */
    const json_t *pair = json_array_get(json_object_get(data, "pairs"), 0);
    ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(pair, "prompt_text")), "</script><img src=x"));
    char *chosen =
        joined(json_object_get(json_object_get(pair, "chosen"), "pieces")); /* characters of several tokens */
    ck_assert_ptr_nonnull(strstr(chosen, "<!--<script>\xe2\x80\xa8\xe2\x80\xa9&lt;"));
    free(chosen);
    json_decref(data);
    free(html);
    free(page);
    free(texts);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(a_file_that_cannot_be_finished_leaves_the_old_one) {
    qa_cli_world world = qa_cli_world_make(true);
    char *page = qa_tempdir_write_text(world.dir, "page.html", "the old one");
    const qa_cli_how how = {.file_limit = 20000};
    qa_cli_result found = QA_CLI_HOW(&how, "score", "--model", world.model, "--adapter", world.adapter, "--data",
                                     world.pairs, "--html", page);
    ck_assert_int_ne(found.status, 0);
    qa_cli_free(&found);
    char *html = read_page(page);
    ck_assert_str_eq(html, "the old one");
    qa_cli_expect(QA_CLI("score", "--model", world.model, "--data", world.pairs, "--html", world.pairs), 2, "",
                  "--html");
    qa_cli_expect(QA_CLI("score", "--model", world.model, "--data", world.pairs, "--html", "-"), 2, "", "name it");
    qa_cli_expect(QA_CLI("score", "--model", world.model, "--data", world.pairs, "--html", page, "--out", page), 2, "",
                  "are one file");
    qa_cli_expect(
        QA_CLI("score", "--model", world.model, "--data", world.pairs, "--html", "new.html", "--out", "./new.html"), 2,
        "", "are one file");
    free(html);
    free(page);
    qa_cli_world_free(&world);
}
END_TEST

/* Lists of answers to one prompt: a side each, with the whole rows, and their places. */
START_TEST(single_answers_have_a_page_too) {
    qa_cli_world world = qa_cli_world_make(true);
    char *page = qa_tempdir_join(world.dir, "page.html"), *lines = qa_tempdir_join(world.dir, "lines.jsonl");
    char *answers =
        qa_tempdir_write_text(world.dir, "answers.jsonl",
                              "{\"prompt\": \"Is it late?\", \"responses\": [\" No.\", \" Ten to five.\"]}\n"
                              "{\"prompt\": \"What is blue?\", \"responses\": [\" The sky.\"]}\n");
    qa_cli_expect(QA_CLI("score", "--model", world.model, "--adapter", world.adapter, "--data", answers, "--html", page,
                         "--out", lines),
                  0, "", "page with 3 answers, 3 of them");
    char *html = read_page(page), *text = read_page(lines);
    json_t *data = page_data(html);
    const json_t *second = json_array_get(json_object_get(data, "pairs"), 1);
    json_t *line = json_loads(strchr(text, '\n') + 1, JSON_DISABLE_EOF_CHECK, NULL);
    ck_assert_int_eq((int)json_integer_value(json_object_get(second, "answer")), 1);
    ck_assert_ptr_null(json_object_get(second, "rejected"));
    ck_assert_ptr_nonnull(json_object_get(json_object_get(second, "chosen"), "full"));
    qa_json_near(json_number_value(json_object_get(json_object_get(second, "chosen"), "return")),
                 json_number_value(json_object_get(line, "return")), "return");
    json_decref(line);
    json_decref(data);
    free(html);
    free(text);
    free(page);
    free(lines);
    free(answers);
    qa_cli_world_free(&world);
}
END_TEST

/* A vocabulary of which 24 MiB hold the rows of one pair alone: the second is there without its whole rows. */
START_TEST(whole_rows_stop_where_there_is_no_more_room) {
    qa_cli_world world = {.dir = qa_tempdir_make()};
    world.model = qa_tempdir_join(world.dir, "model");
    world.pairs = qa_tempdir_join(world.dir, "pairs.jsonl");
    char *page = qa_tempdir_join(world.dir, "page.html");
    tiny_model_options options = tiny_model_defaults();
    options.vocab_size = 100000;
    ck_assert_int_eq(mkdir(world.model, 0700), 0);
    tiny_model_write(world.model, &options);
    tiny_pairs_write(world.pairs, 12, 4, 5, options.vocab_size, 3);
    qa_cli_expect(QA_CLI("score", "--model", world.model, "--data", world.pairs, "--html", page), 0, "",
                  "page with 12 pairs, ");
    char *html = read_page(page);
    json_t *data = page_data(html);
    const json_t *pairs = json_object_get(data, "pairs");
    const size_t whole = (size_t)json_integer_value(json_object_get(data, "whole_pairs"));
    ck_assert_uint_gt(whole, 0);
    ck_assert_uint_lt(whole, 12);
    for (size_t i = 0; i < 12; i++) {
        const json_t *chosen = json_object_get(json_array_get(pairs, i), "chosen");
        ck_assert_int_eq(json_object_get(chosen, "full") != NULL, i < whole);
        ck_assert_uint_eq(
            json_array_size(json_object_get(json_array_get(json_object_get(chosen, "tokens"), 0), "base")), 8);
    }
    ck_assert_uint_lt(strlen(html), (size_t)36 << 20);
    json_decref(data);
    free(html);
    free(page);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_score_page_suite(void) {
    Suite *suite = suite_create("cli_score_page");
    TCase *tcase = tcase_create("files");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_text_cannot_become_part_of_the_page);
    tcase_add_test(tcase, a_file_that_cannot_be_finished_leaves_the_old_one);
    tcase_add_test(tcase, single_answers_have_a_page_too);
    tcase_add_test(tcase, whole_rows_stop_where_there_is_no_more_room);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("script");
    tcase_set_timeout(tcase, 120);
    if (there_is_node()) {
        tcase_add_loop_test(tcase, the_script_works_out_the_programs_numbers, 0, sizeof cases / sizeof cases[0]);
        tcase_add_loop_test(tcase, the_script_works_out_a_methods_numbers, 0,
                            sizeof page_methods / sizeof page_methods[0]);
    } else {
        tcase_add_test(tcase, without_node_the_script_is_not_run);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
