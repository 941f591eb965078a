/* Chat templates against the reference: every rendered dialogue byte for byte and id for id, every refusal
 * with the template's own words, and a template that is none of ours left unknown. The template is the one
 * that the folder has, so recognition is tested with it. */
#include "io/file.h"
#include "io/json.h"
#include "qadapter/text.h"
#include "shared/shared.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *shared_chat_suite(void);

#define MUST(call) ck_assert_msg((call) == QA_OK, "%s", err.message)
enum { MAX_MESSAGES = 64 };

/* QA_SHARED/tokenizers/FOLDER/NAME (or the folder itself when name is NULL), freed by the caller. */
static char *tokenizer_path(const char *folder, const char *name) {
    char inside[256];
    (void)snprintf(inside, sizeof inside, "tokenizers/%s%s%s", folder, name == NULL ? "" : "/",
                   name == NULL ? "" : name);
    char *path = qa_path_join(shared_folder(), inside);
    ck_assert_ptr_nonnull(path);
    return path;
}

/* ---- one line ---- */

typedef struct line {
    json_t *root;
    qa_message messages[MAX_MESSAGES];
    size_t n;
    bool prompt;
} line;

static void parse_line(line *it, const char *text, size_t bytes, const char *path, size_t number) {
    qa_error err = {0};
    MUST(qa_json_parse(&it->root, text, bytes, path, number, &err));
    const json_t *messages = json_object_get(it->root, "messages");
    it->n = json_array_size(messages);
    ck_assert_uint_le(it->n, MAX_MESSAGES);
    for (size_t i = 0; i < it->n; i++) {
        const json_t *message = json_array_get(messages, i);
        const json_t *content = json_object_get(message, "content");
        it->messages[i] = (qa_message){.role = json_string_value(json_object_get(message, "role")),
                                       .content = json_string_value(content),
                                       .content_bytes = json_string_length(content)};
    }
    it->prompt = json_is_true(json_object_get(it->root, "add_generation_prompt"));
    /* the one date that is pinned */
    const json_t *date = json_object_get(json_object_get(it->root, "template_kwargs"), "date_string");
    ck_assert(date == NULL || strcmp(json_string_value(date), "26 Jul 2024") == 0);
}

static void check_rendered(const line *it, const qa_tokenizer *tokenizer, qa_chat_template which, const char *path,
                           size_t number) {
    qa_error err = {0};
    qa_text text = {0};
    qa_ids ids = {0};
    const json_t *expected = json_object_get(it->root, "text");
    const json_t *expected_ids = json_object_get(it->root, "ids");
    ck_assert(json_is_string(expected) && json_is_array(expected_ids));
    MUST(qa_chat_render(which, tokenizer, it->messages, it->n, it->prompt, &text, &err));
    ck_assert_msg(text.n == json_string_length(expected) && memcmp(text.data, json_string_value(expected), text.n) == 0,
                  "%s:%zu: got [%s], expected [%s]", path, number, text.data, json_string_value(expected));
    MUST(qa_tokenizer_encode(tokenizer, text.data, text.n, (qa_encode_options){0}, &ids, &err));
    ck_assert_msg(ids.n == json_array_size(expected_ids), "%s:%zu: %zu ids, expected %zu", path, number, ids.n,
                  json_array_size(expected_ids));
    for (size_t i = 0; i < ids.n; i++) {
        ck_assert_msg(ids.data[i] == json_integer_value(json_array_get(expected_ids, i)), "%s:%zu: id %zu is %d", path,
                      number, i, (int)ids.data[i]);
    }
    qa_text_free(&text);
    qa_ids_free(&ids);
}

static void check_refused(const line *it, const qa_tokenizer *tokenizer, qa_chat_template which, const char *path,
                          size_t number) {
    qa_error err = {0};
    qa_text text = {0};
    const char *reason = json_string_value(json_object_get(it->root, "error"));
    ck_assert_ptr_nonnull(reason);
    ck_assert_int_eq(qa_chat_render(which, tokenizer, it->messages, it->n, it->prompt, &text, &err), QA_ERR_FORMAT);
    ck_assert_msg(strstr(err.message, reason) != NULL, "%s:%zu: \"%s\" lacks \"%s\"", path, number, err.message,
                  reason);
    qa_text_free(&text);
}

/* ---- one file ---- */

static const struct {
    const char *folder, *file;
    qa_chat_template which;
    size_t lines;
    bool refusals;
} FILES[] = {
    {"mistral-v0.3", "chat_mistral-v0.3.jsonl", QA_CHAT_MISTRAL3, 18, false},
    {"mistral-v0.3", "extra/chat_errors_mistral-v0.3.jsonl", QA_CHAT_MISTRAL3, 2, true},
    {"qwen2.5", "chat_qwen2.5.jsonl", QA_CHAT_QWEN25, 20, false},
    {"smollm2", "chat_smollm2.jsonl", QA_CHAT_SMOLLM2, 20, false},
    {"tinyllama", "chat_tinyllama.jsonl", QA_CHAT_ZEPHYR, 20, false},
};
enum { N_FILES = sizeof FILES / sizeof FILES[0] };

START_TEST(dialogues_are_the_references) {
    qa_error err = {0};
    qa_tokenizer *tokenizer = NULL;
    qa_text content = {0};
    qa_chat_template which = QA_CHAT_NONE;
    char *folder = tokenizer_path(FILES[_i].folder, NULL);
    char *path = tokenizer_path(FILES[_i].folder, FILES[_i].file);
    MUST(qa_tokenizer_load(&tokenizer, folder, &err));
    MUST(qa_chat_template_detect(&which, folder, &err));
    ck_assert_str_eq(qa_chat_template_name(which), qa_chat_template_name(FILES[_i].which));
    MUST(qa_read_file(&content, path, (size_t)1 << 30, &err));
    size_t number = 0;
    for (char *start = content.data; start < content.data + content.n; number++) {
        char *end = strchr(start, '\n');
        end = end == NULL ? content.data + content.n : end;
        line it = {0};
        parse_line(&it, start, (size_t)(end - start), path, number + 1);
        if (FILES[_i].refusals) {
            check_refused(&it, tokenizer, which, path, number + 1);
        } else {
            check_rendered(&it, tokenizer, which, path, number + 1);
        }
        json_decref(it.root);
        start = end + 1;
    }
    ck_assert_uint_eq(number, FILES[_i].lines);
    qa_text_free(&content);
    qa_tokenizer_free(tokenizer);
    free(folder);
    free(path);
}
END_TEST

START_TEST(folders_have_these_templates) {
    static const struct {
        const char *folder;
        qa_chat_template which;
    } FOLDERS[] = {
        {"gpt2", QA_CHAT_NONE},        {"mistral-v0.1", QA_CHAT_MISTRAL}, {"mistral-v0.3", QA_CHAT_MISTRAL3},
        {"phi-2", QA_CHAT_NONE},       {"phi-3-mini", QA_CHAT_UNKNOWN},   {"qwen2", QA_CHAT_QWEN2},
        {"qwen2.5", QA_CHAT_QWEN25},   {"smollm2", QA_CHAT_SMOLLM2},      {"synth-llama3", QA_CHAT_NONE},
        {"tinyllama", QA_CHAT_ZEPHYR},
    };
    qa_error err = {0};
    for (size_t i = 0; i < sizeof FOLDERS / sizeof FOLDERS[0]; i++) {
        qa_chat_template which = QA_CHAT_PLAIN;
        char *folder = tokenizer_path(FOLDERS[i].folder, NULL);
        MUST(qa_chat_template_detect(&which, folder, &err));
        ck_assert_msg(which == FOLDERS[i].which, "%s: found %s, expected %s", FOLDERS[i].folder,
                      qa_chat_template_name(which), qa_chat_template_name(FOLDERS[i].which));
        free(folder);
    }
}
END_TEST

START_TEST(skipped) { ck_assert(!qa_path_exists(shared_folder())); }
END_TEST

Suite *shared_chat_suite(void) {
    Suite *suite = suite_create("shared_chat");
    TCase *tests = tcase_create("reference");
    tcase_set_timeout(tests, 120);
    if (qa_path_exists(shared_folder())) {
        tcase_add_loop_test(tests, dialogues_are_the_references, 0, N_FILES);
        tcase_add_test(tests, folders_have_these_templates);
    } else {
        (void)printf("skipped: shared_chat, no reference dialogues at %s (QA_SHARED)\n", shared_folder());
        tcase_add_test(tests, skipped);
    }
    suite_add_tcase(suite, tests);
    return suite;
}
