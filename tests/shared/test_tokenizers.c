/* Every line of reference ids and texts in the shared folder's tokenizers, and the character classes and NFC table of
 * the reference. All of them must agree; each suite of lines reports how many there were. */
#include "base/buffer.h"
#include "io/file.h"
#include "io/json.h"
#include "qadapter/text.h"
#include "shared/shared.h"
#include "text/normaliser.h"
#include "text/pattern.h"
#include "text/utf8.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *shared_tokenizers_suite(void);

/* Check's own assertions write a record each time they pass, which is too slow for millions. */
#define EXPECT(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
        }                                                                                                              \
    } while (0)
#define MUST(call) EXPECT((call) == QA_OK, "%s", err.message)

static const char *const folders[] = {
    "gpt2",
    "mistral-v0.3",
    "phi-3-mini",
    "qwen2.5",
    "smollm2",
    "synth-added",
    "synth-llama3",
    "synth-meta-always",
    "synth-meta-first",
    "synth-meta-legacy",
    "synth-meta-never",
    "synth-splits",
    "synth-unk-fused",
    "synth-unk-single",
    "tinyllama",
};
/* Real files without vectors: they must load and encode. */
static const char *const loaded_only[] = {"mistral-v0.1", "phi-2", "qwen2"};

/* QA_SHARED/tokenizers/NAME, freed by the caller. */
static char *tokenizers_path(const char *name) {
    char inside[256];
    (void)snprintf(inside, sizeof inside, "tokenizers/%s", name);
    char *path = qa_path_join(shared_folder(), inside);
    ck_assert_ptr_nonnull(path);
    return path;
}

/* ---- comparing one line ---- */

typedef struct line_check {
    const qa_tokenizer *tokenizer;
    const char *file;
    size_t line;
    const json_t *value;
    qa_ids ids;
    qa_text text;
    bool equal;
} line_check;

/* Ids that are no int32 have no token, like -1. */
static void read_ids(const json_t *array, qa_ids *ids) {
    qa_error err = {0};
    EXPECT(json_is_array(array), "ids are missing");
    ids->n = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        json_int_t id = json_integer_value(json_array_get(array, i));
        MUST(qa_ids_push(ids, id < 0 || id > INT32_MAX ? -1 : (int32_t)id, &err));
    }
}

static void differs(line_check *c, const char *what) {
    c->equal = false;
    (void)fprintf(stderr, "%s:%zu: %s differs\n", c->file, c->line, what);
}

static void check_encoding(line_check *c, const char *key, bool add_special) {
    qa_error err = {0};
    const json_t *text = json_object_get(c->value, "text");
    qa_ids expected = {0};
    read_ids(json_object_get(c->value, key), &expected);
    c->ids.n = 0;
    qa_status status = qa_tokenizer_encode(c->tokenizer, json_string_value(text), json_string_length(text),
                                           (qa_encode_options){.add_special = add_special}, &c->ids, &err);
    if (status != QA_OK || c->ids.n != expected.n ||
        (expected.n > 0 && memcmp(c->ids.data, expected.data, expected.n * sizeof *expected.data) != 0)) {
        differs(c, key);
    }
    qa_ids_free(&expected);
}

static bool same_text(const qa_text *text, const json_t *expected) {
    return text->n == json_string_length(expected) && memcmp(text->data, json_string_value(expected), text->n) == 0;
}

/* Decodes ids as a whole and as a stream. */
static void check_decoding(line_check *c, const qa_ids *ids, bool skip_special, const char *key) {
    qa_error err = {0};
    const json_t *expected = json_object_get(c->value, key);
    qa_decode_stream *stream = NULL;
    if (expected == NULL) {
        return;
    }
    EXPECT(json_is_string(expected), "\"%s\" is no string", key);
    c->text.n = 0;
    MUST(qa_tokenizer_decode(c->tokenizer, ids->data, ids->n, skip_special, &c->text, &err));
    if (!same_text(&c->text, expected)) {
        differs(c, key);
    }
    c->text.n = 0;
    MUST(qa_decode_stream_create(&stream, c->tokenizer, skip_special, NULL, 0, &err));
    for (size_t i = 0; i < ids->n; i++) {
        size_t bad = 0;
        MUST(qa_decode_stream_push(stream, ids->data[i], &c->text, &err));
        EXPECT(qa_utf8_valid(c->text.data, c->text.n, &bad), "half a character at byte %zu", bad);
    }
    MUST(qa_decode_stream_finish(stream, &c->text, &err));
    qa_decode_stream_free(stream);
    if (!same_text(&c->text, expected)) {
        differs(c, "the stream");
    }
}

static void check_vector(line_check *c) {
    qa_ids ids = {0};
    check_encoding(c, "ids_with_special", true);
    check_encoding(c, "ids_without_special", false);
    read_ids(json_object_get(c->value, "ids_without_special"), &ids);
    check_decoding(c, &ids, false, "decoded");
    read_ids(json_object_get(c->value, "ids_with_special"), &ids);
    check_decoding(c, &ids, false, "decoded_with_special");
    check_decoding(c, &ids, true, "decoded_skip_special");
    qa_ids_free(&ids);
}

static void check_decode_line(line_check *c) {
    qa_ids ids = {0};
    read_ids(json_object_get(c->value, "ids"), &ids);
    check_decoding(c, &ids, json_is_true(json_object_get(c->value, "skip_special_tokens")), "text");
    qa_ids_free(&ids);
}

static void check_chat(line_check *c) { check_encoding(c, "ids", false); }

/* ---- files ---- */

/* Checks every line of tokenizers/FOLDER/PREFIX_FOLDER.jsonl; a missing file has none. */
static void check_file(const qa_tokenizer *tokenizer, const char *folder, const char *prefix,
                       void (*check)(line_check *), size_t *lines, size_t *equal) {
    qa_error err = {0};
    qa_text content = {0};
    char name[128];
    (void)snprintf(name, sizeof name, "%s/%s_%s.jsonl", folder, prefix, folder);
    char *path = tokenizers_path(name);
    if (!qa_path_exists(path)) {
        free(path);
        return;
    }
    MUST(qa_read_file(&content, path, (size_t)1 << 28, &err));
    line_check c = {.tokenizer = tokenizer, .file = name};
    for (size_t at = 0; at < content.n;) {
        const char *end = memchr(content.data + at, '\n', content.n - at);
        size_t bytes = end == NULL ? content.n - at : (size_t)(end - (content.data + at));
        json_t *value = NULL;
        c.line++;
        MUST(qa_json_parse(&value, content.data + at, bytes, name, c.line, &err));
        c.value = value;
        c.equal = true;
        check(&c);
        *lines += 1;
        *equal += c.equal ? 1 : 0;
        json_decref(value);
        at += bytes + 1;
    }
    qa_ids_free(&c.ids);
    qa_text_free(&c.text);
    qa_text_free(&content);
    free(path);
}

static void load(qa_tokenizer **tokenizer, const char *folder) {
    qa_error err = {0};
    char *path = tokenizers_path(folder);
    MUST(qa_tokenizer_load(tokenizer, path, &err));
    free(path);
}

START_TEST(reference_lines) {
    const char *folder = folders[_i];
    qa_tokenizer *tokenizer = NULL;
    size_t lines = 0;
    size_t equal = 0;
    load(&tokenizer, folder);
    check_file(tokenizer, folder, "vectors", check_vector, &lines, &equal);
    check_file(tokenizer, folder, "fuzz", check_vector, &lines, &equal);
    check_file(tokenizer, folder, "chat", check_chat, &lines, &equal);
    check_file(tokenizer, folder, "extra/decode", check_decode_line, &lines, &equal);
    check_file(tokenizer, folder, "extra/chat", check_chat, &lines, &equal);
    (void)printf("tokenizer %s: %zu of %zu lines\n", folder, equal, lines);
    (void)fflush(stdout);
    ck_assert_uint_ge(lines, 390);
    ck_assert_uint_eq(equal, lines);
    qa_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(loads_and_round_trips) {
    static const char text[] = "Hello world!\n\n  It's 1234 \xC3\xA9\xE6\x97\xA5\xF0\x9F\x98\x80";
    qa_error err = {0};
    qa_tokenizer *tokenizer = NULL;
    qa_ids ids = {0};
    qa_text decoded = {0};
    load(&tokenizer, loaded_only[_i]);
    MUST(qa_tokenizer_encode(tokenizer, text, sizeof text - 1, (qa_encode_options){0}, &ids, &err));
    MUST(qa_tokenizer_decode(tokenizer, ids.data, ids.n, false, &decoded, &err));
    ck_assert_str_eq(decoded.data, text);
    ck_assert_int_ge(qa_tokenizer_eos(tokenizer), 0);
    qa_ids_free(&ids);
    qa_text_free(&decoded);
    qa_tokenizer_free(tokenizer);
}
END_TEST

/* ---- the reference's character tables ---- */

static json_t *load_table(const char *name) {
    qa_error err = {0};
    json_t *root = NULL;
    char *path = tokenizers_path(name);
    MUST(qa_json_load(&root, path, &err));
    free(path);
    return root;
}

enum { CODES = 0x110000 };

/* Whether each code point is in the ranges of root[key]; freed by the caller. */
static bool *read_class(const json_t *root, const char *key) {
    const json_t *ranges = json_object_get(root, key);
    bool *member = calloc(CODES, sizeof *member);
    ck_assert_ptr_nonnull(member);
    ck_assert_uint_gt(json_array_size(ranges), 0);
    for (size_t i = 0; i < json_array_size(ranges); i++) {
        const json_t *range = json_array_get(ranges, i);
        for (json_int_t code = json_integer_value(json_array_get(range, 0));
             code <= json_integer_value(json_array_get(range, 1)); code++) {
            member[code] = true;
        }
    }
    return member;
}

static bool matches(const qa_pattern *pattern, qa_match_scratch *scratch, uint32_t code) {
    qa_error err = {0};
    char text[QA_UTF8_MAX];
    MUST(qa_pattern_split(pattern, scratch, text, qa_utf8_encode(code, text), &err));
    return scratch->spans.n == 1 && scratch->spans.data[0].match;
}

/* The expression matches the class, but for characters that this machine's tables do not have yet. */
static void check_class(const json_t *root, const char *key, const char *regex) {
    qa_error err = {0};
    bool *member = read_class(root, key);
    qa_pattern *pattern = NULL;
    qa_pattern *unassigned = NULL;
    qa_match_scratch scratch = {0};
    MUST(qa_pattern_regex(&pattern, regex, strlen(regex), &err));
    MUST(qa_pattern_regex(&unassigned, "\\p{Cn}", 6, &err));
    for (uint32_t code = 0; code < CODES; code++) {
        bool surrogate = code >= 0xD800 && code < 0xE000;
        if (!surrogate && matches(pattern, &scratch, code) != member[code]) {
            EXPECT(member[code] && matches(unassigned, &scratch, code), "%s: U+%04lX", regex, (unsigned long)code);
        }
    }
    qa_pattern_free(pattern);
    qa_pattern_free(unassigned);
    qa_match_scratch_free(&scratch);
    free(member);
}

START_TEST(character_classes) {
    json_t *root = load_table("unicode_classes.json");
    check_class(root, "L", "\\p{L}");
    check_class(root, "N", "\\p{N}");
    check_class(root, "s", "\\s");
    check_class(root, "s", "[^\\S]");
    check_class(root, "s", "[\\s]");
    check_class(root, "ignore_case_s", "(?i:s)");
    check_class(root, "digits", "\\p{N}");
    bool *digits = read_class(root, "digits");
    bool *space = read_class(root, "s");
    for (uint32_t code = 0; code < CODES; code++) {
        EXPECT(!qa_is_number(code) || digits[code], "U+%04lX is no number", (unsigned long)code);
        EXPECT(qa_is_white_space(code) == space[code], "U+%04lX: white space", (unsigned long)code);
    }
    free(digits);
    free(space);
    json_decref(root);
}
END_TEST

START_TEST(nfc_of_single_characters) {
    json_t *root = load_table("nfc_singletons.json");
    const json_t *table = json_object_get(root, "singletons");
    qa_error err = {0};
    qa_text got = {0};
    size_t changed = 0;
    for (uint32_t code = 0; code < CODES; code++) {
        char key[16];
        char text[QA_UTF8_MAX];
        char expected[64];
        size_t n = 0;
        if (code >= 0xD800 && code < 0xE000) {
            continue;
        }
        (void)snprintf(key, sizeof key, "%lu", (unsigned long)code);
        const json_t *to = json_object_get(table, key);
        for (size_t i = 0; i < json_array_size(to); i++) {
            n += qa_utf8_encode((uint32_t)json_integer_value(json_array_get(to, i)), expected + n);
        }
        changed += to != NULL ? 1 : 0;
        n = to == NULL ? qa_utf8_encode(code, expected) : n;
        got.n = 0;
        MUST(qa_normal_form_append(QA_NFC, text, qa_utf8_encode(code, text), &got, &err));
        EXPECT(got.n == n && memcmp(got.data, expected, n) == 0, "U+%04lX", (unsigned long)code);
    }
    ck_assert_uint_eq(changed, json_object_size(table));
    qa_text_free(&got);
    json_decref(root);
}
END_TEST

START_TEST(skipped) { ck_assert(!qa_path_exists(shared_folder())); }
END_TEST

Suite *shared_tokenizers_suite(void) {
    Suite *suite = suite_create("shared_tokenizers");
    TCase *tests = tcase_create("reference");
    tcase_set_timeout(tests, 120);
    if (qa_path_exists(shared_folder())) {
        tcase_add_loop_test(tests, reference_lines, 0, (int)(sizeof folders / sizeof folders[0]));
        tcase_add_loop_test(tests, loads_and_round_trips, 0, (int)(sizeof loaded_only / sizeof loaded_only[0]));
        tcase_add_test(tests, character_classes);
        tcase_add_test(tests, nfc_of_single_characters);
    } else {
        (void)printf("skipped: shared_tokenizers, no reference tokenizers at %s (QA_SHARED)\n", shared_folder());
        tcase_add_test(tests, skipped);
    }
    suite_add_tcase(suite, tests);
    return suite;
}
