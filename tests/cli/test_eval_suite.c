/* eval --suite: the table and the JSON, where a suite is looked for, and what is said about mistakes. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *cli_eval_suite_suite(void);

static const char QUESTIONS[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"One?\"}], \"answer\": \"^(?s:.*)$\", \"grader\": \"regex\", "
    "\"kind\": \"any\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Two?\"}], \"answer\": \"^(?s:.*)$\", \"grader\": \"regex\", "
    "\"kind\": \"any\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Three?\"}], \"answer\": \"never said\", \"grader\": "
    "\"contains\", \"kind\": \"none\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Four?\"}], \"answer\": \"never said\", \"grader\": "
    "\"exact\", \"kind\": \"none\"}\n";

static const char SUITE[] =
    "{\"name\": \"tiny \\\"suite\\\"\", \"skills\": [{\"name\": \"questions\", \"file\": \"q.jsonl\", \"max_tokens\": "
    "6}],"
    "\"text\": {\"file\": \"text.jsonl\"},"
    "\"shares\": [{\"name\": \"letters\", \"file\": \"open.jsonl\", \"max_tokens\": 6, \"classes\": ["
    "{\"name\": \"small\", \"pattern\": \"[a-z]\", \"generator\": 0.5, \"base\": 0.4},"
    "{\"name\": \"rest\", \"pattern\": \"\", \"generator\": 0.5, \"base\": 0.6}]}],"
    "\"preferences\": [{\"name\": \"smaller\", \"shares\": \"letters\", \"reward\": {\"small\": 2}, \"pairs\": "
    "\"../pairs.jsonl\"}, {\"name\": \"bare\", \"shares\": \"letters\", \"reward\": {\"rest\": 1}, \"pairs\": "
    "\"later.jsonl\"}]}";

/* world.dir/suite */
static char *write_suite(const qa_cli_world *world) {
    char *dir = qa_tempdir_join(world->dir, "suite");
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    free(qa_tempdir_write_text(dir, "q.jsonl", QUESTIONS));
    free(qa_tempdir_write_text(dir, "open.jsonl",
                               "{\"messages\": [{\"role\": \"user\", \"content\": \"Say a\"}]}\n"
                               "{\"messages\": [{\"role\": \"user\", \"content\": \"Say b\"}]}\n"));
    free(qa_tempdir_write_text(dir, "text.jsonl", "{\"text\": \"It rains.\"}\n{\"text\": \"It snows.\"}\n"));
    free(qa_tempdir_write_text(dir, "suite.json", SUITE));
    return dir;
}

static const json_t *at(const json_t *object, const char *a, const char *b, const char *c, const char *d) {
    const char *const keys[4] = {a, b, c, d};
    for (int i = 0; i < 4 && keys[i] != NULL; i++) {
        object = json_object_get(object, keys[i]);
        ck_assert_msg(object != NULL, "no %s", keys[i]);
    }
    return object;
}

static void check_shares(const json_t *shares, size_t answers) {
    const json_t *small = at(shares, "classes", "small", NULL, NULL);
    const json_t *rest = at(shares, "classes", "rest", NULL, NULL);
    const double share = qa_json_number(small, "count") / (double)answers;
    const double up = 0.4 * exp(2.0);
    ck_assert_double_eq(qa_json_number(shares, "answers"), (double)answers);
    ck_assert_double_eq(qa_json_number(small, "count") + qa_json_number(rest, "count"), (double)answers);
    qa_json_near(qa_json_number(small, "share"), share, "share");
    qa_json_near(qa_json_number(small, "optimum"), up / (up + 0.6), "optimum");
    qa_json_near(qa_json_number(shares, "mean_reward"), 2.0 * share, "mean reward");
    qa_json_near(qa_json_number(shares, "optimal_reward"), 2.0 * up / (up + 0.6), "optimal reward");
    qa_json_near(qa_json_number(shares, "total_variation"), fabs(share - up / (up + 0.6)), "total variation");
    ck_assert(qa_json_number(shares, "kl_to_optimum") > 0.0);
    ck_assert(isfinite(qa_json_number(shares, "sequence_kl")));
}

START_TEST(json_has_every_number) {
    qa_cli_world world = qa_cli_world_make(true);
    char *suite = write_suite(&world);
    char *transcript = qa_tempdir_join(world.dir, "answers.jsonl");
    json_t *found =
        QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "--suite", suite, "--preference",
                    "smaller", "--samples", "5", "--batch", "3", "--transcript", transcript, "--kl");
    ck_assert_str_eq(qa_json_text(found, "suite"), "tiny \"suite\"");
    ck_assert_str_eq(qa_json_text(found, "preference"), "smaller");
    ck_assert_double_eq(qa_json_number(found, "alpha_tilde"), 1.0);
    const json_t *skill = at(found, "skills", "questions", NULL, NULL);
    ck_assert_double_eq(qa_json_number(skill, "questions"), 4.0);
    ck_assert_double_eq(qa_json_number(skill, "right"), 2.0);
    ck_assert_double_eq(qa_json_number(skill, "accuracy"), 0.5);
    ck_assert_double_eq(qa_json_number(skill, "error"), 0.25);
    ck_assert_double_eq(qa_json_number(at(skill, "kinds", "any", NULL, NULL), "accuracy"), 1.0);
    ck_assert_double_eq(qa_json_number(at(skill, "kinds", "none", NULL, NULL), "right"), 0.0);
    ck_assert_double_eq(qa_json_number(found, "skills_mean"), 0.5);
    check_shares(at(found, "shares", "letters", NULL, NULL), 10);
    ck_assert(qa_json_number(found, "ordinary_kl") > 0.0);
    ck_assert(qa_json_number(found, "perplexity") > 1.0);
    ck_assert_double_eq(qa_json_number(found, "perplexity_tokens"),
                        2 * 9); /* the eight bytes after the first, and the end */
    /* the held-out pairs are those that eval alone measures */
    json_t *alone = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs);
    ck_assert_double_eq(qa_json_number(at(found, "held_out", NULL, NULL, NULL), "accuracy"),
                        qa_json_number(alone, "accuracy"));
    ck_assert_double_eq(qa_json_number(at(found, "held_out", NULL, NULL, NULL), "margin_mean"),
                        qa_json_number(alone, "margin_mean"));
    size_t lines = 0;
    char *text = qa_tempdir_read(transcript, NULL);
    for (const char *c = text; *c != '\0'; c++) {
        lines += *c == '\n' ? 1 : 0;
    }
    ck_assert_uint_eq(lines, 4 + 2 * 5);
    free(text);
    json_decref(alone);
    json_decref(found);
    free(transcript);
    free(suite);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(the_table_for_people) {
    qa_cli_world world = qa_cli_world_make(true);
    char *suite = write_suite(&world);
    char *out = QA_CLI_OUTPUT("eval", "-m", world.model, "--adapter", world.adapter, "--suite", suite, "--preference",
                              "smaller", "--data", world.texts, "--verbose", "--kl");
    static const char *const parts[] = {"Suite tiny \"suite\"",
                                        "Preference: smaller",
                                        "2 / 4         50.0%  +- 25.0%",
                                        "any ",
                                        "mean of skills",
                                        "Shares: letters",
                                        "83.1%     40.0%     50.0%        2",
                                        "total variation to optimum",
                                        "of 4 pairs", /* --data wins */
                                        "KL to base, ordinary answers",
                                        "perplexity, ordinary text"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        ck_assert_msg(strstr(out, parts[i]) != NULL, "no \"%s\" in\n%s", parts[i], out);
    }
    free(out);
    out = QA_CLI_OUTPUT("eval", "-m", world.model, "--suite", suite, "--samples", "1"); /* the kinds in short */
    ck_assert_msg(strstr(out, "\n    any 2/2, none 0/2\n") != NULL, "%s", out);
    free(out);
    out = QA_CLI_OUTPUT("eval", "-m", world.model, "--suite", suite, "--samples", "1", "--limit", "1");
    ck_assert_msg(strstr(out, "without an adapter") != NULL, "%s", out);
    ck_assert_msg(strstr(out, "1 / 1 ") != NULL && strstr(out, "any ") == NULL, "%s", out);
    ck_assert_msg(strstr(out, "optimum ") == NULL || strstr(out, "total variation") == NULL, "%s", out);
    ck_assert_msg(strstr(out, "nan") == NULL && strstr(out, "KL to") == NULL, "%s", out);
    free(out);
    free(suite);
    qa_cli_world_free(&world);
}
END_TEST

static char *suite_of_plain(const qa_cli_world *world, const char *suite, const char *more, const char *value) {
    char *out = more == NULL ? QA_CLI_OUTPUT("eval", "-q", "--json", "-m", world->model, "--adapter", world->adapter,
                                             "--suite", suite, "--samples", "40")
                             : QA_CLI_OUTPUT("eval", "-q", "--json", "-m", world->model, "--adapter", world->adapter,
                                             "--suite", suite, "--samples", "40", more, value);
    return out;
}

/* The recipe theory makes a plain adapter: without --kl its policy is that of one model, the same answers are counted,
 * and what only the base model could tell is not told. Another alpha_0 makes it none. */
START_TEST(a_plain_adapter_is_measured_with_kl_alone) {
    static const char *const known[] = {"skills", "shares", "perplexity"};
    qa_cli_world world = qa_cli_world_make(true);
    char *suite = write_suite(&world);
    char *transcript = qa_tempdir_join(world.dir, "plain.jsonl");
    char *text[] = {suite_of_plain(&world, suite, "--kl", "--any-base"), suite_of_plain(&world, suite, NULL, NULL),
                    suite_of_plain(&world, suite, "--transcript", transcript),
                    suite_of_plain(&world, suite, "--alpha-0", "0.5")};
    json_t *out[4];
    for (size_t i = 0; i < 4; i++) {
        out[i] = json_loads(text[i], 0, NULL);
        ck_assert_ptr_nonnull(out[i]);
        const bool measured = i == 0 || i == 3;
        json_t *shares = json_object_get(json_object_get(out[i], "shares"), "letters");
        ck_assert_int_eq(json_is_real(json_object_get(out[i], "ordinary_kl")), measured);
        ck_assert_int_eq(json_is_real(json_object_get(shares, "sequence_kl")), measured);
        json_object_del(shares, "sequence_kl");
        for (size_t k = 0; i < 3 && k < 2; k++) { /* the very same answers */
            ck_assert(json_equal(json_object_get(out[i], known[k]), json_object_get(out[0], known[k])));
        }
        const double perplexity = qa_json_number(out[0], "perplexity");
        ck_assert(i == 3 || fabs(qa_json_number(out[i], "perplexity") / perplexity - 1.0) < 1e-5);
        free(text[i]);
    }
    char *lines = qa_tempdir_read(transcript, NULL);
    ck_assert_ptr_nonnull(strstr(lines, "\"log_ratio\": null, \"kl\": null}"));
    for (size_t i = 0; i < 4; i++) {
        json_decref(out[i]);
    }
    free(lines);
    free(transcript);
    free(suite);
    qa_cli_world_free(&world);
}
END_TEST

/* By its folder, its file, its parent, its name under weights/, and as a file of questions. */
/* The base model first, then each adapter as it is alone. */
START_TEST(several_adapters_on_a_suite) {
    qa_cli_world world = qa_cli_world_make(true);
    char *suite = write_suite(&world), *sft = qa_tempdir_join(world.dir, "sft");
    qa_cli_expect(
        QA_CLI("train", "-q", "-m", world.model, "-d", world.pairs, "-o", sft, "--steps", "2", "--method", "sft"), 0,
        NULL, NULL);
    json_t *all = QA_CLI_JSON("eval", "-q", "--json", "-m", world.model, "--adapter", world.adapter, "--adapter", sft,
                              "--suite", suite, "--preference", "smaller", "--kl");
    ck_assert_uint_eq(json_array_size(all), 3);
    ck_assert(json_is_null(json_object_get(json_array_get(all, 0), "adapter")));
    const char *const adapters[] = {world.adapter, sft};
    for (size_t i = 0; i < 2; i++) {
        json_t *row = json_array_get(all, i + 1);
        json_t *alone = QA_CLI_JSON("eval", "-q", "--json", "-m", world.model, "--adapter", adapters[i], "--suite",
                                    suite, "--preference", "smaller", "--kl");
        ck_assert_str_eq(qa_json_text(row, "adapter"), adapters[i]);
        ck_assert(json_equal(json_object_get(row, "skills"), json_object_get(alone, "skills")));
        ck_assert(json_equal(json_object_get(row, "shares"), json_object_get(alone, "shares")));
        ck_assert_double_eq(qa_json_number(row, "ordinary_kl"), qa_json_number(alone, "ordinary_kl"));
        ck_assert_double_eq(qa_json_number(json_object_get(row, "held_out"), "margin_mean"),
                            qa_json_number(json_object_get(alone, "held_out"), "margin_mean"));
        json_decref(alone);
    }
    json_decref(all);
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--adapter", world.adapter, "--adapter", sft, "--suite", suite,
                         "--preference", "smaller"),
                  0, "perplexity     pairs    margin\nbase ", NULL);
    free(sft);
    free(suite);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(where_a_suite_is_looked_for) {
    qa_cli_world world = qa_cli_world_make(false);
    char *suite = write_suite(&world);
    char *bundle = qa_tempdir_join(world.dir, "weights");
    char *named = qa_tempdir_join(bundle, "tiny");
    char *inside = qa_tempdir_join(named, "suite");
    ck_assert_int_eq(mkdir(bundle, 0700), 0);
    ck_assert_int_eq(mkdir(named, 0700), 0);
    ck_assert_int_eq(symlink(suite, inside), 0);
    ck_assert_int_eq(chdir(world.dir), 0);
    static const char *const names[] = {"suite", "suite/suite.json", ".", "tiny", "suite/q.jsonl"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *found = QA_CLI_JSON("eval", "--json", "-q", "-m", world.model, "--suite", names[i], "--limit", "2",
                                    "--samples", "1");
        const json_t *skill = at(found, "skills", i == 4 ? "q" : "questions", NULL, NULL);
        ck_assert_double_eq(qa_json_number(skill, "right"), 2.0);
        ck_assert(json_is_null(json_object_get(found, "held_out")));
        json_decref(found);
    }
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--suite", "big"), 1, NULL,
                  "no suite \"big\": neither the file big nor big/suite.json, big/suite/suite.json or "
                  "weights/big/suite/suite.json is there");
    ck_assert_int_eq(chdir("/"), 0);
    free(suite);
    free(bundle);
    free(named);
    free(inside);
    qa_cli_world_free(&world);
}
END_TEST

/* The reward of a class is 0.5 x 2 (smaller) or -1 (bare), whoever is measured: here the model alone. */
START_TEST(preferences_are_summed) {
    qa_cli_world world = qa_cli_world_make(false);
    char *suite = write_suite(&world);
    json_t *found = QA_CLI_JSON("eval", "--json", "-m", world.model, "--suite", suite, "--preference", "smaller:0.5",
                                "--preference", "bare:-1", "--samples", "5");
    const json_t *letters = at(found, "shares", "letters", NULL, NULL);
    const json_t *small = at(letters, "classes", "small", NULL, NULL);
    const double up = 0.4 * exp(1.0), down = 0.6 * exp(-1.0), share = qa_json_number(small, "share");
    qa_json_near(qa_json_number(small, "optimum"), up / (up + down), "optimum");
    qa_json_near(qa_json_number(letters, "optimal_reward"), (up - down) / (up + down), "optimal reward");
    qa_json_near(qa_json_number(letters, "mean_reward"), share - (1.0 - share), "mean reward");
    ck_assert_str_eq(qa_json_text(found, "preference"), "0.5 smaller + -1 bare");
    ck_assert_double_eq(qa_json_number(at(found, "preferences", NULL, NULL, NULL), "bare"), -1.0);
    ck_assert(json_is_null(json_object_get(found, "held_out")));
    json_decref(found);
    qa_cli_expect(
        QA_CLI("eval", "-m", world.model, "--suite", suite, "--preference", "smaller", "--preference", "bare"), 0,
        "Preferences: smaller + bare", NULL);
    static const struct {
        const char *first, *second, *says;
    } bad[] = {{"smaller:nan", "bare:1", "smaller:nan: a weight is a finite number, as in smaller:0.5, found \"nan\""},
               {"smaller:1e999", "bare:1", "a weight is a finite number"},
               {"smaller:", "bare:1", "a weight is a finite number, as in smaller:0.5, found \"\""},
               {"smaller:1", "bare", "--preference bare has no weight, and others have one: write bare:1"},
               {"smaller:1", "smaller:2", "smaller is there twice, with weights 1 and 2: give it once, with 3"},
               {"smaller", "smaller", "--preference smaller is there twice"},
               {"large:1", "bare:1", "expected one of smaller, bare, found \"large\""}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qa_cli_expect(QA_CLI("eval", "-m", world.model, "--suite", suite, "--preference", bad[i].first, "--preference",
                             bad[i].second),
                      2, NULL, bad[i].says);
    }
    free(suite);
    qa_cli_world_free(&world);
}
END_TEST

/* One adapter with the weight 1 is that adapter, to every number; two are one policy, not two rows of a table. */
START_TEST(adapters_with_weights_are_one_policy) {
    static const char *const same[] = {"skills", "perplexity", "ordinary_kl"};
    qa_cli_world world = qa_cli_world_make(true);
    char *suite = write_suite(&world), *other = qa_cli_world_other(&world);
    char *one = qa_cli_weighted(world.adapter, "1"), *half = qa_cli_weighted(other, "-0.5");
    json_t *alone = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "--suite", suite,
                                "--kl", "--preference", "smaller", "--samples", "20");
    json_t *mixed = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", one, "--suite", suite, "--preference",
                                "smaller", "--samples", "20");
    json_t *two = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", one, "--adapter", half, "--suite",
                              suite, "--preference", "smaller:2", "--preference", "bare:1", "--particles", "3");
    for (size_t i = 0; i < 3; i++) {
        const json_t *a = json_object_get(alone, same[i]), *b = json_object_get(mixed, same[i]);
        ck_assert_msg(json_is_number(a) ? fabs(json_number_value(a) - json_number_value(b)) < 1e-4
                                        : json_equal(a, b) == 1,
                      "%s", same[i]);
    }
    ck_assert_double_eq(qa_json_number(at(mixed, "shares", "letters", "classes", "small"), "count"),
                        qa_json_number(at(alone, "shares", "letters", "classes", "small"), "count"));
    ck_assert_double_eq(qa_json_number(json_array_get(json_object_get(two, "mixture"), 1), "weight"), -0.5);
    ck_assert_double_eq(qa_json_number(two, "particles"), 3.0);
    ck_assert_double_eq(qa_json_number(at(two, "shares", "letters", NULL, NULL), "answers"), 8.0);
    qa_json_near(qa_json_number(at(two, "shares", "letters", "classes", "small"), "optimum"),
                 0.4 * exp(4.0) / (0.4 * exp(4.0) + 0.6 * exp(1.0)), "optimum");
    json_decref(alone);
    json_decref(mixed);
    json_decref(two);
    free(one);
    free(half);
    free(other);
    free(suite);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(mixtures_that_are_refused) {
    qa_cli_world world = qa_cli_world_make(true);
    char *suite = write_suite(&world), *other = qa_cli_world_other(&world), *copy = qa_tempdir_join(world.dir, "a:0.5");
    char *one = qa_cli_weighted(world.adapter, "1"), *again = qa_cli_weighted(world.adapter, "2"),
         *nan = qa_cli_weighted(other, "nan");
    char *twin = qa_cli_weighted(copy, "1"), *word = qa_cli_weighted(other, "much"),
         *half = qa_cli_weighted(other, "0.5");
#define WITH(...) QA_CLI("eval", "-m", world.model, "--suite", suite, "--samples", "1", __VA_ARGS__)
    qa_cli_expect(WITH("--adapter", one, "--adapter", nan), 2, NULL, "a weight is a finite number");
    qa_cli_expect(WITH("--adapter", one, "--adapter", word), 2, NULL, "a weight is a finite number");
    qa_cli_expect(WITH("--adapter", one, "--adapter", other), 2, NULL, "has no weight, and others have one");
    qa_cli_expect(WITH("--adapter", one, "--adapter", again), 2, NULL, "is there twice, with weights 1 and 2");
    qa_cli_expect(WITH("--adapter", world.adapter, "--particles", "2"), 2, NULL, "--particles corrects a mixture");
    qa_cli_expect(WITH("--adapter", one, "--data", world.pairs), 2, NULL, "not of a mixture");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", world.pairs, "--adapter", one), 2, NULL,
                  "which is measured on a --suite");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", world.pairs, "--adapter", one), 2, NULL,
                  "here an adapter has no weight");
    /* a path that exists is that path; a copy is the adapter */
    ck_assert_int_eq(symlink(world.adapter, copy), 0);
    qa_cli_expect(WITH("--adapter", copy), 0, "a:0.5", NULL);
    qa_cli_expect(WITH("--adapter", one, "--adapter", twin), 2, NULL,
                  "are the same adapter: give it once, with the weight 2");
    free(qa_tempdir_write_text(other, "training_config.json",
                               "{\"method\": \"sft\", \"base_fingerprint\": "
                               "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}"));
    qa_cli_expect(WITH("--adapter", one, "--adapter", half), 1, NULL, "which are different models");
    qa_cli_expect(WITH("--adapter", one, "--adapter", half, "--any-base"), 0, "Suite tiny", NULL);
    free(qa_tempdir_write_text(other, "training_config.json",
                               "{\"method\": \"sft\", \"tokenizer_fingerprint\": \"0x0123456789abcdef\"}"));
    qa_cli_expect(WITH("--adapter", one, "--adapter", half), 1, NULL, "the files of different tokenizers");
#undef WITH
    free(half);
    free(twin);
    free(word);
    free(nan);
    free(again);
    free(one);
    free(copy);
    free(other);
    free(suite);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(mistakes) {
    qa_cli_world world = qa_cli_world_make(false);
    char *suite = write_suite(&world);
    char *questions = qa_tempdir_join(suite, "q.jsonl");
    qa_cli_expect(QA_CLI("eval", "-m", world.model), 2, NULL, "missing --data FILE: preference pairs, or --suite");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", world.pairs, "--preference", "smaller"), 2, NULL,
                  "--preference needs --suite");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", world.pairs, "--samples", "3"), 2, NULL,
                  "--samples needs --suite");
    qa_cli_expect(QA_CLI("eval", "--model", world.model, "--suite", world.dir, "--transcript", "-"), 2, NULL,
                  "--transcript: expected a file, found \"-\"");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--suite", suite, "--preference", "large"), 2, NULL,
                  "expected one of smaller, bare, found \"large\"");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--suite", questions, "--preference", "large"), 2, NULL,
                  "the suite q has no preferences");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--suite", suite, "--samples", "0"), 2, NULL, "--samples");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--suite", suite, "--preference", "bare", "--limit", "1"), 0,
                  "mean reward", "there is no file");
    char *tokenizer = qa_tempdir_join(world.model, "tokenizer.json");
    ck_assert_int_eq(unlink(tokenizer), 0);
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--suite", suite), 1, NULL, "tokenizer.json");
    free(tokenizer);
    free(questions);
    free(suite);
    qa_cli_world_free(&world);
}
END_TEST

#define QUESTION(content, more)                                                                                        \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"" content "\"}]" more                                         \
    ", \"answer\": \"a\", \"grader\": \"exact\"}\n"

START_TEST(questions_that_cannot_be_asked_are_named_with_their_line) {
    qa_cli_world world = qa_cli_world_make(false);
    char letters[129] = "", content[1024]; /* the model has 128 positions */
    memset(letters, 'x', sizeof letters - 1);
    (void)snprintf(content, sizeof content, QUESTION("Hi", "") "\n" QUESTION("%s", ""), letters);
    char *path = qa_tempdir_write_text(world.dir, "long.jsonl", content);
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--suite", path), 1, NULL,
                  "long.jsonl:3: the prompt has 147 tokens");
    free(path);
    path = qa_tempdir_write_text(world.dir, "tools.jsonl",
                                 QUESTION("Hi", "") QUESTION("Hi", ", \"tools\": [{\"name\": \"f\"}]"));
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--suite", path), 1, NULL,
                  "tools.jsonl:2: \"tools\" belongs to the prompt");
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(a_system_message_that_the_template_leaves_out) {
    qa_cli_world world = qa_cli_world_make(false);
    static const char questions[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", "
        "\"content\": \"Hi\"}], \"answer\": \"x\", \"grader\": \"exact\"}\n";
    char *path = qa_tempdir_write_text(world.dir, "system.jsonl", questions);
    char *file = qa_tempdir_write_text(world.dir, "own.jinja",
                                       "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.content }}"
                                       "<|im_end|>{% endfor %}");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--suite", path, "--chat-template", file), 0, NULL,
                  "system.jsonl: the chat template leaves out what the system messages say");
    qa_cli_result result = QA_CLI("eval", "-m", world.model, "--suite", path, "--chat-template", "chatml");
    qa_cli_check(&result, 0, NULL, NULL);
    ck_assert_msg(strstr(result.err, "leaves out") == NULL, "%s", result.err);
    qa_cli_free(&result);
    free(file);
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_eval_suite_suite(void) {
    Suite *suite = suite_create("cli_eval_suite");
    TCase *tcase = tcase_create("suite");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, json_has_every_number);
    tcase_add_test(tcase, the_table_for_people);
    tcase_add_test(tcase, a_plain_adapter_is_measured_with_kl_alone);
    tcase_add_test(tcase, several_adapters_on_a_suite);
    tcase_add_test(tcase, where_a_suite_is_looked_for);
    tcase_add_test(tcase, a_system_message_that_the_template_leaves_out);
    tcase_add_test(tcase, preferences_are_summed);
    tcase_add_test(tcase, adapters_with_weights_are_one_policy);
    tcase_add_test(tcase, mixtures_that_are_refused);
    tcase_add_test(tcase, mistakes);
    tcase_add_test(tcase, questions_that_cannot_be_asked_are_named_with_their_line);
    suite_add_tcase(suite, tcase);
    return suite;
}
