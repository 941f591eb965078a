/* Real preference data: HH-RLHF's raw dialogues, the same data as messages, and raw DSP. The counts of what
 * is skipped for its text alone were taken from the files with a few lines of Python; what depends on
 * lengths is checked by what must hold for every pair. */
#include "io/file.h"
#include "io/json.h"
#include "qadapter/data.h"
#include "shared/shared.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *shared_data_suite(void);

#define MUST(call) ck_assert_msg((call) == QA_OK, "%s", err.message)
enum { NO_LIMIT = 1000000 };

static char *shared_path(const char *name) {
    char *path = qa_path_join(shared_folder(), name);
    ck_assert_ptr_nonnull(path);
    return path;
}

/* ---- loading ---- */

typedef struct loaded_set {
    qa_tokenizer *tokenizer;
    qa_pairs *pairs;
    qa_chat_template chat;
    size_t max_length;
} loaded_set;

/* chat NULL: the folder's own. */
static loaded_set load(const char *model, const char *file, const char *chat, size_t max_length, const char *domain) {
    qa_error err = {0};
    loaded_set set = {.max_length = max_length};
    char *folder = shared_path(model);
    char *path = shared_path(file);
    MUST(qa_tokenizer_load(&set.tokenizer, folder, &err));
    if (chat != NULL) {
        MUST(qa_chat_template_by_name(&set.chat, chat, &err));
    } else {
        MUST(qa_chat_template_detect(&set.chat, folder, &err));
    }
    int32_t eos = qa_tokenizer_eos(set.tokenizer);
    qa_pairs_options options = {.dsp_domain = domain,
                                .chat = set.chat,
                                .vocab_size = qa_tokenizer_vocab_size(set.tokenizer),
                                .max_length = max_length,
                                .eos_ids = &eos,
                                .n_eos = 1};
    MUST(qa_pairs_load(&set.pairs, path, set.tokenizer, &options, &err));
    free(folder);
    free(path);
    return set;
}

static void unload(loaded_set *set) {
    qa_pairs_free(set->pairs);
    qa_tokenizer_free(set->tokenizer);
}

/* ---- what must hold for every pair ---- */

static void check_side(const loaded_set *set, const qa_pair *pair, size_t length, bool terminal) {
    ck_assert_uint_ge(length, 1);
    ck_assert_uint_le(pair->prompt_len + length, set->max_length);
    /* cut ones fill the limit, and no others are without an end */
    ck_assert_msg(terminal || pair->prompt_len + length == set->max_length, "line %zu", pair->line);
}

static size_t check_pairs(const loaded_set *set) {
    size_t open_ended = 0;
    size_t line = 0;
    size_t skipped = 0;
    const qa_skip_report *report = qa_pairs_report(set->pairs);
    for (size_t i = 0; i < qa_pairs_count(set->pairs); i++) {
        const qa_pair *pair = qa_pairs_at(set->pairs, i);
        check_side(set, pair, pair->chosen_len, pair->chosen_terminal);
        check_side(set, pair, pair->rejected_len, pair->rejected_terminal);
        ck_assert_uint_ge(pair->prompt_len, 1);
        ck_assert_uint_eq(pair->label_start, pair->prompt_len);
        ck_assert_uint_ge(pair->line, line);
        line = pair->line;
        open_ended += (pair->chosen_terminal ? 0u : 1u) + (pair->rejected_terminal ? 0u : 1u);
    }
    ck_assert_uint_eq(open_ended, report->truncated_responses);
    for (size_t i = 0; i < QA_SKIP_REASONS; i++) {
        skipped += report->count[i];
    }
    return qa_pairs_count(set->pairs) + skipped;
}

/* ---- counts ---- */

typedef struct expectation {
    const char *model, *chat, *file, *domain;
    size_t examples; /* pairs that the file would give if none were skipped */
    size_t differ, equal, empty, refused;
} expectation;

#define STORIES "models/stories260K"
#define SMOLLM2 "tokenizers/smollm2"
#define MISTRAL3 "tokenizers/mistral-v0.3"
#define TRAIN "data/hh-rlhf/harmless.train.jsonl"
#define EVAL "data/hh-rlhf/harmless.eval.jsonl"
#define CHAT "data/hh-rlhf/harmless.chat.jsonl"
#define DSP "data/dsp/dsp.sample.json"

static const expectation CASES[] = {
    {STORIES, "plain", TRAIN, NULL, 1400, 1, 0, 3, 0},
    {STORIES, "plain", EVAL, NULL, 300, 1, 0, 0, 0},
    {STORIES, "plain", CHAT, NULL, 300, 0, 0, 3, 0},
    {STORIES, "plain", DSP, "academy", 800, 0, 20, 1, 0},
    {STORIES, "plain", DSP, "normal", 800, 0, 17, 4, 0},
    {SMOLLM2, NULL, TRAIN, NULL, 1400, 1, 0, 3, 0},
    {SMOLLM2, NULL, DSP, "business", 800, 0, 21, 1, 0},
    /* two turns of one speaker after each other, which this template refuses */
    {MISTRAL3, NULL, TRAIN, NULL, 1400, 1, 0, 3, 3},
    {MISTRAL3, NULL, EVAL, NULL, 300, 1, 0, 0, 1},
};
enum { N_CASES = sizeof CASES / sizeof CASES[0] };

START_TEST(everything_is_used_or_counted) {
    const expectation *expected = &CASES[_i];
    loaded_set set = load(expected->model, expected->file, expected->chat, NO_LIMIT, expected->domain);
    const qa_skip_report *report = qa_pairs_report(set.pairs);
    ck_assert_uint_eq(check_pairs(&set), expected->examples);
    ck_assert_uint_eq(report->count[QA_SKIP_PROMPTS_DIFFER], expected->differ);
    ck_assert_uint_eq(report->count[QA_SKIP_RESPONSES_EQUAL], expected->equal);
    ck_assert_uint_eq(report->count[QA_SKIP_RESPONSE_EMPTY], expected->empty);
    ck_assert_uint_eq(report->count[QA_SKIP_TEMPLATE_REFUSES], expected->refused);
    ck_assert_uint_eq(qa_pairs_count(set.pairs),
                      expected->examples - expected->differ - expected->equal - expected->empty - expected->refused);
    size_t whole = qa_pairs_count(set.pairs);
    unload(&set);
    /* under a limit some prompts go and some responses are cut */
    set = load(expected->model, expected->file, expected->chat, 256, expected->domain);
    ck_assert_uint_eq(check_pairs(&set), expected->examples);
    report = qa_pairs_report(set.pairs);
    ck_assert_uint_le(qa_pairs_count(set.pairs) + report->count[QA_SKIP_PROMPT_TOO_LONG], whole);
    ck_assert_uint_lt(qa_pairs_longest_prompt(set.pairs), 256);
    ck_assert_uint_gt(report->truncated_responses, 0);
    unload(&set);
}
END_TEST

/* ---- the boundary, on real text ---- */

/* Every pair of the file of messages: prompt and chosen response, put together, are the ids of the whole
 * dialogue encoded in one piece, up to the end of the turn. */
START_TEST(apart_and_together_give_the_same_ids) {
    static const char *const MODELS[] = {SMOLLM2, "tokenizers/tinyllama", MISTRAL3, "tokenizers/qwen2.5"};
    qa_error err = {0};
    qa_text file = {0};
    loaded_set set = load(MODELS[_i], CHAT, NULL, NO_LIMIT, NULL);
    char *path = shared_path(CHAT);
    MUST(qa_read_file(&file, path, NO_LIMIT, &err));
    size_t next = 0, number = 0, compared = 0;
    for (char *start = file.data; start < file.data + file.n; number++) {
        char *end = strchr(start, '\n');
        ck_assert_ptr_nonnull(end);
        if (next < qa_pairs_count(set.pairs) && qa_pairs_at(set.pairs, next)->line == number + 1) {
            const qa_pair *pair = qa_pairs_at(set.pairs, next++);
            json_t *root = NULL;
            MUST(qa_json_parse(&root, start, (size_t)(end - start), path, number + 1, &err));
            qa_message messages[64];
            const json_t *chosen = json_object_get(root, "chosen");
            size_t n = json_array_size(chosen);
            ck_assert_uint_le(n, 64);
            for (size_t i = 0; i < n; i++) {
                const json_t *message = json_array_get(chosen, i);
                const json_t *content = json_object_get(message, "content");
                messages[i] = (qa_message){json_string_value(json_object_get(message, "role")),
                                           json_string_value(content), json_string_length(content)};
            }
            qa_text text = {0};
            qa_ids whole = {0};
            MUST(qa_chat_render(set.chat, set.tokenizer, messages, n, false, &text, &err));
            MUST(qa_tokenizer_encode(set.tokenizer, text.data, text.n, (qa_encode_options){0}, &whole, &err));
            ck_assert_uint_ge(whole.n, pair->prompt_len + pair->chosen_len);
            ck_assert_msg(memcmp(whole.data, pair->prompt, pair->prompt_len * sizeof whole.data[0]) == 0,
                          "line %zu: another prompt", number + 1);
            ck_assert_msg(
                memcmp(whole.data + pair->prompt_len, pair->chosen, pair->chosen_len * sizeof whole.data[0]) == 0,
                "line %zu: another response", number + 1);
            compared++;
            qa_text_free(&text);
            qa_ids_free(&whole);
            json_decref(root);
        }
        start = end + 1;
    }
    ck_assert_uint_eq(number, 300);
    ck_assert_uint_eq(compared, 297);
    qa_text_free(&file);
    free(path);
    unload(&set);
}
END_TEST

START_TEST(the_references_pairs_load) {
    static const char *const FOLDERS[] = {"published-qwen", "residual-untied", "theory-llama3rope", "theory-stories"};
    qa_error err = {0};
    for (size_t i = 0; i < sizeof FOLDERS / sizeof FOLDERS[0]; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "oracle/%s/pairs.jsonl", FOLDERS[i]);
        char *path = shared_path(name);
        qa_pairs *pairs = NULL;
        qa_pairs_options options = {.vocab_size = 512, .max_length = 512, .strict = true};
        MUST(qa_pairs_load(&pairs, path, NULL, &options, &err));
        ck_assert_uint_eq(qa_pairs_count(pairs), 3);
        ck_assert_str_eq(qa_pairs_format(pairs), "token ids");
        qa_pairs_free(pairs);
        free(path);
    }
}
END_TEST

START_TEST(skipped) { ck_assert(!qa_path_exists(shared_folder())); }
END_TEST

Suite *shared_data_suite(void) {
    Suite *suite = suite_create("shared_data");
    TCase *tests = tcase_create("real files");
    tcase_set_timeout(tests, 120);
    if (qa_path_exists(shared_folder())) {
        tcase_add_loop_test(tests, everything_is_used_or_counted, 0, N_CASES);
        tcase_add_loop_test(tests, apart_and_together_give_the_same_ids, 0, 4);
        tcase_add_test(tests, the_references_pairs_load);
    } else {
        (void)printf("skipped: shared_data, no real data at %s (QA_SHARED)\n", shared_folder());
        tcase_add_test(tests, skipped);
    }
    suite_add_tcase(suite, tests);
    return suite;
}
