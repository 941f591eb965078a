/* Files whose columns have other names: the rows that they become, what is refused, and hints for rows without a form.
 * Expected rows are written under our names: they must give the same ids. */
#include "data/column_map.h"
#include "data/form.h"
#include "data/prompts.h"
#include "qadapter/data.h"
#include "text/chat_open.h"

#include "support/expect.h"
#include "support/read_pairs.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static qa_status try_columns(const char *columns, const char *content) {
    options.columns = columns;
    return try(content);
}

/* The rows under the mapping are those rows under our names, without a warning. */
static void reads_as(const char *columns, const char *rows, const char *ours) {
    expect_ok(try_columns(NULL, ours), &err);
    const uint64_t expected = qa_pairs_fingerprint(pairs);
    ck_assert_ptr_null(qa_pairs_columns(pairs));
    expect_ok(try_columns(columns, rows), &err);
    ck_assert_msg(qa_pairs_fingerprint(pairs) == expected, "%s\nis not %s", rows, ours);
    ck_assert_msg(qa_pairs_warnings(pairs)->n == 0, "%s", qa_pairs_warnings(pairs)->lines[0]);
}

static void fails_under(const char *columns, const char *content, qa_status status, const char *part) {
    expect_error(try_columns(columns, content), status, &err, part);
}

#define M(role, content) "{\"role\": \"" role "\", \"content\": \"" content "\"}"
#define ANSWERS(a, b) "\"chosen\": [" M("assistant", a) "], \"rejected\": [" M("assistant", b) "]"
#define ASKED(messages) "{\"prompt\": [" messages "], " ANSWERS("a", "b") "}"

START_TEST(columns_under_our_names) {
    reads_as("prompt=question,chosen=good,rejected=bad",
             "{\"question\": \"q: \\u00e9\", \"good\": \"a\", \"bad\": \"b\", \"id\": 3}\n",
             "{\"prompt\": \"q: \\u00e9\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
    ck_assert_str_eq(qa_pairs_format(pairs), "text with a prompt");
    ck_assert_str_eq(qa_pairs_columns(pairs), "prompt=question,chosen=good,rejected=bad");
    reads_as("rejected=bad,chosen", "{\"prompt\": \"q\", \"chosen\": \"a\", \"bad\": \"b\"}\n",
             "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
    ck_assert_str_eq(qa_pairs_columns(pairs), "chosen=chosen,rejected=bad"); /* in one order, whatever was given */
    reads_as("chosen=w,rejected=l",
             "[{\"w\": [" M("user", "q") ", " M("assistant", "a") "], \"l\": [" M("user", "q") ", " M("assistant",
                                                                                                      "b") "]}]",
             "[{\"chosen\": [" M("user", "q") ", " M("assistant", "a") "], \"rejected\": [" M("user", "q") ", " M(
                 "assistant", "b") "]}]");
    reads_as("prompt_ids=p,chosen_ids=c,rejected_ids=r,chosen_terminal=e",
             "{\"p\": [5], \"c\": [6], \"r\": [7], \"e\": true}\n",
             "{\"prompt_ids\": [5], \"chosen_ids\": [6], \"rejected_ids\": [7], \"chosen_terminal\": true}\n");
    /* exchanged: what the file calls chosen is the worse one */
    reads_as("chosen=rejected,rejected=chosen", "{\"prompt\": \"q\", \"chosen\": \"b\", \"rejected\": \"a\"}\n",
             "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
}
END_TEST

/* Alpaca's instruction and input, ORCA's system and question, earlier turns. */
START_TEST(strings_become_a_dialogue) {
    reads_as("instruction,input",
             "{\"instruction\": \"q\", \"input\": \"x\", \"chosen\": \"a\", \"rejected\": \"b\"}\n"
             "{\"instruction\": \"q\", \"input\": \"\", \"chosen\": \"a\", \"rejected\": \"b\"}\n"
             "{\"instruction\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n",
             ASKED(M("user", "q\\nx")) "\n" ASKED(M("user", "q")) "\n" ASKED(M("user", "q")) "\n");
    ck_assert_str_eq(qa_pairs_format(pairs), "conversations with a prompt");
    ck_assert_int_eq(qa_pairs_kind_of(pairs), QA_PAIRS_DIALOGUES);
    reads_as("prompt=question,chosen=chosen,rejected=rejected,system=system",
             "{\"system\": \"S\", \"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n"
             "{\"system\": \"\", \"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n"
             "{\"system\": null, \"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n",
             ASKED(M("system", "S") ", " M("user", "q")) "\n" ASKED(M("user", "q")) "\n" ASKED(M("user", "q")) "\n");
    reads_as(
        "instruction=query,history=turns",
        "{\"query\": \"q\", \"turns\": [[\"1\", \"2\"], [\"3\", \"4\"]], \"chosen\": \"a\", \"rejected\": \"b\"}\n",
        ASKED(
            M("user", "1") ", " M("assistant", "2") ", " M("user", "3") ", " M("assistant", "4") ", " M("user", "q")));
    /* a system prompt beside messages, and beside whole dialogues */
    reads_as("system=sys", "{\"sys\": \"S\", \"prompt\": [" M("user", "q") "], " ANSWERS("a", "b") "}\n",
             ASKED(M("system", "S") ", " M("user", "q")));
    reads_as("system",
             "{\"system\": \"S\", \"chosen\": [" M("user", "q") ", " M("assistant", "a") "], \"rejected\": [" M(
                 "user", "q") ", " M("assistant", "b") "]}\n",
             ASKED(M("system", "S") ", " M("user", "q")));
}
END_TEST

START_TEST(single_responses_prompts_and_documents) {
    options.responses = true;
    static const char OURS[] =
        "{\"messages\": [" M("system", "S") ", " M("user", "q\\nx") ", " M("assistant", "a") "]}\n";
    reads_as("instruction,input,output,system=sys",
             "{\"sys\": \"S\", \"instruction\": \"q\", \"input\": \"x\", \"output\": \"a\", \"text\": \"\"}\n", OURS);
    reads_as("prompt=question,completion=answer", "{\"question\": \"q\", \"answer\": \"a\"}\n",
             "{\"prompt\": \"q\", \"completion\": \"a\"}\n");
    reads_as("prompt=q,responses=beams", "{\"q\": \"q\", \"beams\": [\"a\", \"b\"]}\n",
             "{\"prompt\": \"q\", \"responses\": [\"a\", \"b\"]}\n");
    reads_as("instruction=q,responses=beams", "{\"q\": \"q\", \"beams\": [\"a\", \"b\"]}\n",
             "{\"prompt\": [" M("user", "q") "], \"responses\": [\"a\", \"b\"]}\n");
    options.responses = false;
    options.either = true;
    reads_as("instruction=question,output=answer", "{\"question\": \"q\", \"answer\": \"a\"}\n",
             "{\"prompt\": [" M("user", "q") "], \"completion\": \"a\"}\n");

    qa_prompts prompts = {0};
    qa_chat *chat = NULL;
    expect_ok(qa_chat_open_builtin(&chat, QA_CHAT_CHATML, tokenizer, &err), &err);
    char *path = qa_tempdir_write_text(folder, "p.jsonl",
                                       "{\"q\": \"a\", \"s\": \"S\"}\n{\"messages\": [" M("user", "a") "]}\n");
    qa_prompts_options reading = {.tokenizer = tokenizer,
                                  .chat = chat,
                                  .context = 500,
                                  .vocab_size = TINY_BYTES_VOCAB,
                                  .columns = "instruction=q,system=s"};
    expect_error(qa_prompts_load(&prompts, path, &reading, &err), QA_ERR_FORMAT, &err,
                 "p.jsonl:2: there is no column \"q\", which --columns takes for \"instruction\"; found messages");
    qa_prompts_free(&prompts);
    free(path);
    path = qa_tempdir_write_text(folder, "p.jsonl", "{\"q\": \"a\", \"s\": \"\"}\n");
    expect_ok(qa_prompts_load(&prompts, path, &reading, &err), &err);
    ck_assert(prompts.n == 1 && prompts.items[0].dialogue);
    ck_assert_str_eq(prompts.items[0].head.data, "[{\"role\": \"user\", \"content\": \"a\"}");
    qa_prompts_free(&prompts);
    free(path);

    qa_corpus *corpus = NULL, *same = NULL;
    path = qa_tempdir_write_text(folder, "c.jsonl", "{\"instruction\": \"q\", \"input\": \"\", \"output\": \"a\"}\n");
    expect_ok(qa_corpus_load_chat(&corpus, path, tokenizer, chat, QA_LEARN_RESPONSES, 500, 260, EOS, 2,
                                  "instruction,input,output", &err),
              &err);
    free(path);
    path = qa_tempdir_write_text(folder, "c.jsonl", "{\"messages\": [" M("user", "q") ", " M("assistant", "a") "]}\n");
    expect_ok(qa_corpus_load_chat(&same, path, tokenizer, chat, QA_LEARN_RESPONSES, 500, 260, EOS, 2, NULL, &err),
              &err);
    const qa_document *one = qa_corpus_at(corpus, 0), *other = qa_corpus_at(same, 0);
    ck_assert(one->n == other->n && memcmp(one->ids, other->ids, one->n * sizeof *one->ids) == 0);
    qa_corpus_free(corpus);
    free(path);
    path = qa_tempdir_write_text(folder, "c.jsonl",
                                 "{\"prompt\": [" M("user", "q") "], \"completion\": [" M("assistant", "a") "]}\n");
    expect_ok(qa_corpus_load_chat(&corpus, path, tokenizer, chat, QA_LEARN_RESPONSES, 500, 260, EOS, 2, NULL, &err),
              &err);
    one = qa_corpus_at(corpus, 0);
    ck_assert(one->n == other->n && memcmp(one->ids, other->ids, one->n * sizeof *one->ids) == 0);
    ck_assert_uint_eq(qa_corpus_warnings(corpus)->n, 0);
    qa_corpus_free(corpus);
    qa_corpus_free(same);
    free(path);
    qa_chat_free(chat);
}
END_TEST

#define ROW "{\"question\": \"q\", \"good\": \"a\", \"bad\": \"b\"}\n"

START_TEST(mappings_that_are_none) {
    static const struct {
        const char *columns, *part;
    } cases[] = {
        {"", "expected NAME=COLUMN"},
        {"prompt=question,", "expected NAME=COLUMN"},
        {"promt=question", "found \"promt\"; they are: prompt, instruction, input"},
        {"prompt=", "\"prompt\" has no column behind its ="},
        {"prompt=question,prompt=good", "\"prompt\" stands twice"},
        {"chosen=good,rejected=good", "the column \"good\" is taken twice, for \"chosen\" and for \"rejected\""},
        {"prompt=question,instruction=good", "\"prompt\" and \"instruction\" exclude each other"},
        {"completion=good", "\"completion\" is no name for preference pairs, which have: prompt"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fails_under(cases[i].columns, ROW, QA_ERR_ARGUMENT, cases[i].part);
    }
    fails_under(
        "prompt=query,chosen=good,rejected=bad", ROW, QA_ERR_FORMAT,
        "data.jsonl:1: there is no column \"query\", which --columns takes for \"prompt\"; found question, good, bad");
    fails_under("prompt=question,chosen=good,rejected=bad,system=sys", ROW, QA_ERR_FORMAT,
                "no row has the column \"sys\", which --columns takes for \"system\"; found question, good, bad");
    fails_under("system=good", ROW, QA_ERR_FORMAT, "there is no prompt");
    fails_under("instruction=question,input=good",
                "{\"question\": 3, \"good\": \"\", \"chosen\": \"a\", \"rejected\": \"b\"}\n", QA_ERR_FORMAT,
                "\"instruction\" must be a string, found a number");
    fails_under("instruction=question,system=good",
                "{\"question\": \"q\", \"good\": 1, \"chosen\": \"a\", \"rejected\": \"b\"}\n", QA_ERR_FORMAT,
                "\"system\" must be a string, found a number");
    fails_under("instruction=q,history=h", "{\"q\": \"q\", \"h\": [[\"a\"]], \"chosen\": \"a\", \"rejected\": \"b\"}\n",
                QA_ERR_FORMAT, "\"history\"[0] must be [question, answer]");
    fails_under("system=s",
                "{\"s\": \"S\", \"prompt\": [" M("system", "T") ", " M("user", "q") "], " ANSWERS("a", "b") "}\n",
                QA_ERR_FORMAT, "\"prompt\" begins with a system message");
    fails_under("system=s", "{\"s\": \"S\", \"chosen\": \"a\", \"rejected\": \"b\"}\n", QA_ERR_FORMAT,
                "there is no prompt: name its column");
}
END_TEST

/* A column that has one of our names, where another one has its place. */
START_TEST(a_column_in_another_ones_place_is_named) {
    expect_ok(try_columns("chosen=good,rejected=bad,prompt=question",
                          "{\"question\": \"q\", \"good\": \"a\", \"bad\": \"b\", \"prompt\": \"x\"}\n"),
              &err);
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 1);
    ck_assert_ptr_nonnull(strstr(qa_pairs_warnings(pairs)->lines[0], "not used: prompt"));
    expect_ok(try_columns("instruction=question,chosen=good,rejected=bad",
                          "{\"question\": \"q\", \"good\": \"a\", \"bad\": \"b\", \"prompt\": \"x\"}\n"),
              &err);
    ck_assert_ptr_nonnull(strstr(qa_pairs_warnings(pairs)->lines[0], "not used: prompt"));
    options.strict = true;
    fails_under("chosen=good,rejected=bad,prompt=question",
                "{\"question\": \"q\", \"good\": \"a\", \"bad\": \"b\", \"prompt\": \"x\"}\n", QA_ERR_FORMAT,
                "prompt: a key that holds something and is not used");
}
END_TEST

/* Rows of other programs: the message says the mapping, and the mapping works. */
START_TEST(a_row_without_a_form_gets_a_hint) {
    static const struct {
        const char *row, *hint;
    } cases[] = {
        {"{\"instruction\": \"q\", \"input\": \"x\", \"chosen\": \"a\", \"rejected\": \"b\"}\n", "instruction,input"},
        {"{\"system\": \"S\", \"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n",
         "instruction=question,system"},
        {"{\"system\": \"S\", \"input\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n", "instruction=input,system"},
        {"{\"query\": \"q\", \"accepted\": \"a\", \"bad\": \"b\"}\n", "instruction=query,chosen=accepted,rejected=bad"},
        {"{\"question\": \"q\", \"chosen_response\": \"a\", \"rejected_response\": \"b\", \"id\": 1}\n",
         "instruction=question,chosen=chosen_response,rejected=rejected_response"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char part[200];
        (void)snprintf(part, sizeof part, "--columns %s", cases[i].hint);
        fails_under(NULL, cases[i].row, QA_ERR_FORMAT, part);
        expect_ok(try_columns(cases[i].hint, cases[i].row), &err);
        ck_assert_uint_eq(qa_pairs_count(pairs), 1);
    }
    fails_under(NULL, "{\"instruction\": \"q\", \"output\": \"a\"}\n", QA_ERR_FORMAT, "this looks like single answers");
    options.responses = true;
    fails_under(NULL, "{\"instruction\": \"q\", \"input\": \"\", \"output\": \"a\"}\n", QA_ERR_FORMAT,
                "--columns instruction,output");
    fails_under(NULL, "{\"system_prompt\": \"S\", \"question\": \"q\", \"response\": \"a\"}\n", QA_ERR_FORMAT,
                "--columns instruction=question,system=system_prompt,output=response");
    fails_under(NULL, "{\"nothing\": 1}\n", QA_ERR_FORMAT, "found nothing");
    ck_assert_ptr_null(strstr(err.message, "--columns"));
}
END_TEST

/* Every key that a form reads may be mapped. */
START_TEST(every_key_of_a_form_has_a_name) {
#define KEYS_OF(form) qa_form_##form.keys,
    const char *const *const keys[] = {QA_FORMS(KEYS_OF)};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        for (const char *const *key = keys[i]; *key != NULL; key++) {
            qa_column_map map;
            if (strcmp(*key, "label_start") == 0 || strcmp(*key, "line") == 0 || strcmp(*key, "completions") == 0 ||
                strcmp(*key, "candidates") == 0) {
                continue; /* of the program's own files; other names of "responses" */
            }
            expect_ok(qa_column_map_parse(&map, *key, QA_COLUMNS_OF_ANY, &err), &err);
            qa_column_map_free(&map);
        }
    }
}
END_TEST

Suite *data_column_map_suite(void);
Suite *data_column_map_suite(void) {
    Suite *suite = suite_create("data_column_map");
    TCase *tcase = tcase_create("columns");
    tcase_add_checked_fixture(tcase, begin_reading, end_reading);
    tcase_add_test(tcase, columns_under_our_names);
    tcase_add_test(tcase, strings_become_a_dialogue);
    tcase_add_test(tcase, single_responses_prompts_and_documents);
    tcase_add_test(tcase, mappings_that_are_none);
    tcase_add_test(tcase, a_column_in_another_ones_place_is_named);
    tcase_add_test(tcase, a_row_without_a_form_gets_a_hint);
    tcase_add_test(tcase, every_key_of_a_form_has_a_name);
    suite_add_tcase(suite, tcase);
    return suite;
}
