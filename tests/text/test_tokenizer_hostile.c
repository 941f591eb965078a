/* tokenizer.json files that are wrong: each is refused with a message that says what and where, and thousands of
 * random mutations of good files never crash. */
#include "base/buffer.h"
#include "base/rng.h"
#include "qadapter/text.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *text_tokenizer_hostile_suite(void);

static qa_status load_bytes(qa_tokenizer **tokenizer, const char *dir, const char *json, size_t n, qa_error *err) {
    free(qa_tempdir_write(dir, "tokenizer.json", json, n));
    return qa_tokenizer_load(tokenizer, dir, err);
}

typedef struct refusal {
    const char *json;
    qa_status status;
    const char *message;
} refusal;

static void check_refusals(const refusal *cases, size_t n) {
    char *dir = qa_tempdir_make();
    for (size_t i = 0; i < n; i++) {
        qa_error err = {0};
        qa_tokenizer *tokenizer = NULL;
        qa_status status = load_bytes(&tokenizer, dir, cases[i].json, strlen(cases[i].json), &err);
        ck_assert_msg(status == cases[i].status, "case %zu: %s: %s", i, qa_status_name(status), err.message);
        ck_assert_ptr_null(tokenizer);
        ck_assert_msg(strstr(err.message, cases[i].message) != NULL, "case %zu: %s", i, err.message);
        ck_assert_msg(strstr(err.message, "tokenizer.json") != NULL, "case %zu: %s", i, err.message);
    }
    qa_tempdir_remove(dir);
}

#define REFUSE(cases) check_refusals(cases, sizeof cases / sizeof cases[0])
#define BPE(rest) "{\"model\":{\"type\":\"BPE\"," rest "}}"
#define AB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"

START_TEST(models) {
    static const refusal cases[] = {
        {"", QA_ERR_FORMAT, "not valid JSON"},
        {"{\"model\":", QA_ERR_FORMAT, "not valid JSON"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"\xFF\":0}}}", QA_ERR_FORMAT, "not valid JSON"},
        {"[]", QA_ERR_FORMAT, "an object with \"model\""},
        {"{}", QA_ERR_FORMAT, "\"model\" is missing"},
        {"{\"model\":3}", QA_ERR_FORMAT, "\"model\" must be an object"},
        {"{\"model\":{}}", QA_ERR_FORMAT, "\"type\" is missing"},
        {"{\"model\":{\"type\":\"Unigram\"}}", QA_ERR_UNSUPPORTED, "\"Unigram\""},
        {"{\"model\":{\"type\":\"WordPiece\"}}", QA_ERR_UNSUPPORTED, "BPE models only"},
        {BPE("\"merges\":[]"), QA_ERR_FORMAT, "\"vocab\" is missing"},
        {BPE("\"vocab\":[],\"merges\":[]"), QA_ERR_FORMAT, "\"vocab\" must be an object"},
        {BPE("\"vocab\":{},\"merges\":[]"), QA_ERR_FORMAT, "\"vocab\" is empty"},
        {BPE("\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]"), QA_ERR_FORMAT, "duplicate"},
        {BPE("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]"), QA_ERR_FORMAT, "id 0 belongs to two tokens"},
        {BPE("\"vocab\":{\"a\":-1},\"merges\":[]"), QA_ERR_FORMAT,
         "the id of \"a\" must be an integer from 0 to 16777215"},
        {BPE("\"vocab\":{\"a\":16777216},\"merges\":[]"), QA_ERR_FORMAT, "the id of \"a\""},
        {BPE("\"vocab\":{\"a\":4294967296},\"merges\":[]"), QA_ERR_FORMAT, "the id of \"a\""},
        {BPE("\"vocab\":{\"a\":1e30},\"merges\":[]"), QA_ERR_FORMAT, "the id of \"a\""},
        {BPE("\"vocab\":{\"a\":99999999999999999999},\"merges\":[]"), QA_ERR_FORMAT, "too big"},
        {BPE("\"vocab\":{\"a\":\"0\"},\"merges\":[]"), QA_ERR_FORMAT, "the id of \"a\""},
        {BPE(AB), QA_ERR_FORMAT, "\"merges\" is missing"},
        {BPE(AB ",\"merges\":{}"), QA_ERR_FORMAT, "\"merges\" must be an array"},
        {BPE(AB ",\"merges\":[\"a b\",\"a c\"]"), QA_ERR_FORMAT, "model.merges[1]: token \"c\""},
        {BPE(AB ",\"merges\":[[\"b\",\"a\"]]"), QA_ERR_FORMAT, "model.merges[0] makes the token \"ba\""},
        {BPE(AB ",\"merges\":[\"ab\"]"), QA_ERR_FORMAT, "model.merges[0] must be two tokens"},
        {BPE(AB ",\"merges\":[\"a b c\"]"), QA_ERR_FORMAT, "model.merges[0] must be two tokens"},
        {BPE(AB ",\"merges\":[\"a b\",[\"a\"]]"), QA_ERR_FORMAT, "model.merges[1] must be two tokens"},
        {BPE(AB ",\"merges\":[[\"a\",1]]"), QA_ERR_FORMAT, "model.merges[0] must be two tokens"},
        {BPE(AB ",\"merges\":[7]"), QA_ERR_FORMAT, "model.merges[0] must be two tokens"},
        {BPE(AB ",\"merges\":[],\"byte_fallback\":1"), QA_ERR_FORMAT, "\"byte_fallback\" must be true or false"},
        {BPE(AB ",\"merges\":[],\"unk_token\":1"), QA_ERR_FORMAT, "\"unk_token\" must be a string"},
        {BPE(AB ",\"merges\":[],\"dropout\":0.1"), QA_ERR_UNSUPPORTED, "\"dropout\""},
        {BPE(AB ",\"merges\":[],\"end_of_word_suffix\":\"</w>\""), QA_ERR_UNSUPPORTED, "\"end_of_word_suffix\""},
        {BPE(AB ",\"merges\":[],\"continuing_subword_prefix\":\"##\""), QA_ERR_UNSUPPORTED, "subword_prefix"},
    };
    REFUSE(cases);
}
END_TEST

#define GOOD "\"model\":{\"type\":\"BPE\"," AB ",\"merges\":[\"a b\"]}"
#define WITH(section) "{" section "," GOOD "}"

START_TEST(sections) {
    static const refusal cases[] = {
        {WITH("\"normalizer\":7"), QA_ERR_FORMAT, "normalizer: an object with \"type\""},
        {WITH("\"normalizer\":{}"), QA_ERR_FORMAT, "normalizer: \"type\" is missing"},
        {WITH("\"normalizer\":{\"type\":\"BertNormalizer\"}"), QA_ERR_UNSUPPORTED,
         "\"BertNormalizer\" is not supported"},
        {WITH("\"normalizer\":{\"type\":\"Prepend\"}"), QA_ERR_FORMAT, "\"prepend\" is missing"},
        {WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Nmt\"}]}"),
         QA_ERR_UNSUPPORTED, "normalizer[1]: type \"Nmt\""},
        {WITH("\"normalizer\":{\"type\":\"Sequence\"}"), QA_ERR_FORMAT, "\"normalizers\" is missing"},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}"),
         QA_ERR_UNSUPPORTED, "an empty string"},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":\"a\",\"content\":\"\"}"), QA_ERR_FORMAT,
         "\"pattern\" must be an object"},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}"), QA_ERR_FORMAT,
         "\"content\" is missing"},
        {WITH("\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}"), QA_ERR_UNSUPPORTED, "\"BertPreTokenizer\""},
        {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":\"Isolated\"}"),
         QA_ERR_UNSUPPORTED, "pre_tokenizer: the regular expression \"(a\""},
        {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Smashed\"}"),
         QA_ERR_FORMAT, "found \"Smashed\""},
        {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":7},\"behavior\":\"Isolated\"}"),
         QA_ERR_FORMAT, "\"Regex\" must be a string"},
        {WITH("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"use_regex\":\"yes\"}"), QA_ERR_FORMAT, "\"use_regex\""},
        {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"__\"}"), QA_ERR_FORMAT,
         "must be one character"},
        {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"second\"}"),
         QA_ERR_FORMAT, "found \"second\""},
        {WITH("\"decoder\":{\"type\":\"WordPiece\"}"), QA_ERR_UNSUPPORTED, "\"WordPiece\" is not supported"},
        {WITH("\"decoder\":{\"type\":\"Strip\",\"content\":\"\",\"start\":1,\"stop\":0}"), QA_ERR_FORMAT,
         "one character"},
        {WITH("\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}"), QA_ERR_FORMAT,
         "\"start\""},
        {WITH("\"post_processor\":{\"type\":\"BertProcessing\"}"), QA_ERR_UNSUPPORTED, "\"BertProcessing\""},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[],\"special_tokens\":{}}"),
         QA_ERR_UNSUPPORTED, "the text A exactly once"},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\"}}],"
              "\"special_tokens\":{}}"),
         QA_ERR_UNSUPPORTED, "the text A exactly once"},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"q\"}}],"
              "\"special_tokens\":{}}"),
         QA_ERR_FORMAT, "\"q\" is missing"},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"q\"}}],"
              "\"special_tokens\":{\"q\":{\"ids\":[3]}}}"),
         QA_ERR_FORMAT, "ids[0] of \"q\" is not the id of a token"},
        {WITH("\"added_tokens\":{}"), QA_ERR_FORMAT, "\"added_tokens\" must be an array"},
        {WITH("\"added_tokens\":[7]"), QA_ERR_FORMAT, "added_tokens[0]: an object with"},
        {WITH("\"added_tokens\":[{\"id\":3}]"), QA_ERR_FORMAT, "added_tokens[0]: \"content\" is missing"},
        {WITH("\"added_tokens\":[{\"id\":-3,\"content\":\"x\"}]"), QA_ERR_FORMAT, "added_tokens[0]: \"id\""},
        {WITH("\"added_tokens\":[{\"id\":16777216,\"content\":\"x\"}]"), QA_ERR_FORMAT, "ids must be below 16777216"},
        {WITH("\"added_tokens\":[{\"id\":3,\"content\":\"x\",\"lstrip\":1}]"), QA_ERR_FORMAT,
         "\"lstrip\" must be true or false"},
        /* The vocabulary has holes, and the next free id by its size is taken. */
        {"{\"added_tokens\":[{\"id\":3,\"content\":\"x\"}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":2},"
         "\"merges\":[]}}",
         QA_ERR_FORMAT, "added_tokens[0]: id 2 belongs to two tokens: \"b\" and \"x\""},
    };
    REFUSE(cases);
}
END_TEST

/* ---- mutations ---- */

static const char *const seeds[] = {
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true,\"lstrip\":true},{\"id\":9,\"content\":\"ab\","
    "\"special\":false,\"single_word\":true,\"rstrip\":true,\"normalized\":true}],\"normalizer\":{\"type\":"
    "\"Sequence\","
    "\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"},{\"type\":\"Replace\","
    "\"pattern\":{"
    "\"String\":\" "
    "\"},\"content\":\"\\u2581\"}]},\"pre_tokenizer\":null,\"post_processor\":{\"type\":\"TemplateProcessing\","
    "\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]}}},\"decoder\":{\"type\":"
    "\"Sequence\","
    "\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content\":\" "
    "\"},{\"type\":\"ByteFallback\"},{"
    "\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":2}]},\"model\":{\"type\":\"BPE\","
    "\"unk_token\":\"<s>\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{\"<s>\":0,\"a\":1,\"b\":2,\"ab\":3,"
    "\"\\u2581\":4,"
    "\"\\u2581ab\":5,\"<0xC3>\":6,\"<0xA9>\":7},\"merges\":[\"a b\",[\"\\u2581\",\"ab\"]]}}",
    "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
    "\"Split\","
    "\"pattern\":{\"Regex\":\"(?i:'s|'t)|[^\\\\r\\\\n\\\\p{L}]?\\\\p{L}+|\\\\p{N}{1,3}|\\\\s+(?!\\\\S)|\\\\s+|["
    "\\\\w\\\\x{41}-Z]\\\\b\"},"
    "\"behavior\":\"MergedWithPrevious\",\"invert\":false},{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":"
    "\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":"
    "true}]},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":"
    "1,\"ab\":2,"
    "\"\\u0120\":3,\"\\u0120a\":4,\"\\u00c3\":5,\"\\u00a9\":6},\"merges\":[\"\\u0120 a\",\"a b\"]}}",
};

enum { MAX_BYTES = 4096, ROUNDS = 1500 };

/* Changes, doubles, removes or swaps a few stretches of json[n]; returns the new length. */
static size_t mutate(char *json, size_t n, qa_rng *rng) {
    static const char interesting[] = "0123456789{}[]\",:\\u-+eE.()?*|^$<>=! aZ\x01\x7F\x80\xC3\xFF";
    size_t changes = 1 + (size_t)qa_rng_below(rng, 3);
    for (size_t k = 0; k < changes && n > 8; k++) {
        size_t at = (size_t)qa_rng_below(rng, n);
        size_t span = 1 + (size_t)qa_rng_below(rng, 12);
        span = span < n - at ? span : n - at;
        switch (qa_rng_below(rng, 4)) {
        case 0:
        case 1: json[at] = interesting[qa_rng_below(rng, sizeof interesting - 1)]; break;
        case 2:
            memmove(json + at, json + at + span, n - at - span);
            n -= span;
            break;
        default:
            if (n + span <= MAX_BYTES) {
                memmove(json + at + span, json + at, n - at);
                n += span;
            }
            break;
        }
    }
    return n;
}

/* Encodes and decodes with whatever was loaded; failures must explain themselves. */
static void use(const qa_tokenizer *tokenizer) {
    static const char text[] = "ab <s> it's  123\xC3\xA9 e\xCC\x81\n ab\xE2\x96\x81 \xF0\x9F\x98\x80";
    qa_error err = {0};
    qa_ids ids = {0};
    qa_text decoded = {0};
    for (int special = 0; special < 2; special++) {
        qa_encode_options options = {.add_special = special == 1, .continuation = special == 0};
        if (qa_tokenizer_encode(tokenizer, text, sizeof text - 1, options, &ids, &err) != QA_OK &&
            err.message[0] == '\0') {
            ck_abort_msg("a failure without a message");
        }
    }
    for (int32_t id = -1; id < 12; id++) {
        if (qa_ids_push(&ids, id, &err) != QA_OK) {
            ck_abort_msg("%s", err.message);
        }
    }
    if (qa_tokenizer_decode(tokenizer, ids.data, ids.n, false, &decoded, &err) != QA_OK && err.message[0] == '\0') {
        ck_abort_msg("a failure without a message");
    }
    qa_ids_free(&ids);
    qa_text_free(&decoded);
}

START_TEST(mutations_never_crash) {
    char *dir = qa_tempdir_make();
    char json[MAX_BYTES];
    size_t loaded = 0;
    size_t refused = 0;
    qa_rng rng = qa_rng_seed(20240703, (uint64_t)_i);
    for (size_t round = 0; round < ROUNDS; round++) {
        qa_error err = {0};
        qa_tokenizer *tokenizer = NULL;
        size_t n = strlen(seeds[_i]);
        memcpy(json, seeds[_i], n);
        n = mutate(json, n, &rng);
        if (load_bytes(&tokenizer, dir, json, n, &err) == QA_OK) {
            loaded++;
            use(tokenizer);
            qa_tokenizer_free(tokenizer);
        } else {
            refused++;
            if (tokenizer != NULL || err.message[0] == '\0') {
                ck_abort_msg("round %zu: a failure without a message", round);
            }
        }
    }
    /* Both must happen often, or the mutations are of no use. */
    ck_assert_uint_gt(loaded, ROUNDS / 50);
    ck_assert_uint_gt(refused, ROUNDS / 4);
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- growth ---- */

enum { LONG = 100000 };

#define DOUBLE "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aa\"}"
#define VANISH "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"\"}"
#define FOUR(x) x "," x "," x "," x
static const char doubled[] =
    "{\"type\":\"Sequence\",\"decoders\":[" FOUR(FOUR(DOUBLE)) "," FOUR(FOUR(DOUBLE)) "," FOUR(FOUR(DOUBLE)) "," VANISH
                                                                                                             "]}";

/* A tokenizer with this normaliser and decoder and the tokens "a", 0, and `token`, 1. */
static qa_tokenizer *growing(const char *dir, const char *normaliser, const char *decoder, const char *token) {
    const char *const parts[] = {"{\"normalizer\":",
                                 normaliser,
                                 ",\"decoder\":",
                                 decoder,
                                 ",\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,\"",
                                 token,
                                 "\":1}}}"};
    qa_text json = {0};
    qa_error err = {0};
    qa_tokenizer *tokenizer = NULL;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        ck_assert_int_eq((int)qa_text_append_z(&json, parts[i], &err), QA_OK);
    }
    ck_assert_msg(load_bytes(&tokenizer, dir, json.data, json.n, &err) == QA_OK, "%s", err.message);
    qa_text_free(&json);
    return tokenizer;
}

/* Small files that make 10^5 characters of every character of a text or token, or 2^48 of each and nothing of them
 * again at the end: refused before memory or time are spent. */
START_TEST(growth_is_bounded) {
    char *dir = qa_tempdir_make();
    char many[LONG + 1];
    char step[LONG + 200];
    memset(many, 'a', LONG);
    many[LONG] = '\0';
    (void)snprintf(step, sizeof step, "{\"type\":\"Replace\",\"pattern\":{\"%s\":\"%s\"},\"content\":\"%s\"}",
                   _i == 0 ? "String" : "Regex", _i == 0 ? "a" : "a|b", many);
    const bool encoding = _i < 2;
    qa_tokenizer *tokenizer = growing(dir, encoding ? step : "null",
                                      encoding  ? "null"
                                      : _i == 2 ? step
                                                : doubled,
                                      many);
    qa_error err = {0};
    qa_ids ids = {0};
    qa_text text = {0};
    const int32_t id = _i == 2 ? 1 : 0;
    const qa_status status = encoding ? qa_tokenizer_encode(tokenizer, many, LONG, (qa_encode_options){0}, &ids, &err)
                                      : qa_tokenizer_decode(tokenizer, &id, 1, false, &text, &err);
    ck_assert_msg(status == QA_ERR_LIMIT, "%s: %s", qa_status_name(status), err.message);
    qa_ids_free(&ids);
    qa_text_free(&text);
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- work ---- */

/* The status of encoding n times `character` by a tokenizer with these hostile. */
static qa_status work_of(const char *hostile, const char *unit, size_t n, qa_error *err) {
    char *dir = qa_tempdir_make();
    qa_text json = {0}, text = {0};
    qa_ids ids = {0};
    qa_tokenizer *tokenizer = NULL;
    const char *const parts[] = {"{", hostile, ",\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0}}}"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        ck_assert_int_eq((int)qa_text_append_z(&json, parts[i], err), QA_OK);
    }
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq((int)qa_text_append_z(&text, unit, err), QA_OK);
    }
    qa_status status = load_bytes(&tokenizer, dir, json.data, json.n, err);
    if (status == QA_OK) {
        status = qa_tokenizer_encode(tokenizer, text.data, text.n, (qa_encode_options){0}, &ids, err);
    }
    qa_tokenizer_free(tokenizer);
    qa_ids_free(&ids);
    qa_text_free(&json);
    qa_text_free(&text);
    qa_tempdir_remove(dir);
    return status;
}

/* `head`, then n times `step` with commas between, then `tail`. */
static char *chain(const char *head, const char *step, size_t n, const char *tail) {
    qa_text text = {0};
    qa_error err = {0};
    ck_assert_int_eq((int)qa_text_append_z(&text, head, &err), QA_OK);
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq((int)qa_text_append_z(&text, i == 0 ? "" : ",", &err), QA_OK);
        ck_assert_int_eq((int)qa_text_append_z(&text, step, &err), QA_OK);
    }
    ck_assert_int_eq((int)qa_text_append_z(&text, tail, &err), QA_OK);
    return text.data;
}

static void expect_limit(char *hostile, const char *unit, size_t n, const char *message) {
    qa_error err = {0};
    const qa_status status = work_of(hostile, unit, n, &err);
    ck_assert_msg(status == QA_ERR_LIMIT, "%s: %s", qa_status_name(status), err.message);
    ck_assert_msg(strstr(err.message, message) != NULL, "%s", err.message);
    free(hostile);
}

/* Files that would take minutes, or more stack than there is: each is refused within the suite's time. */
START_TEST(attacks_are_refused) {
    static const char *const expressions[] = {"(?:x?){20}x{20}[yz]", "(x+x+)+[yz]", "(x*)\\\\1[yz]", "(?>x*)[yz]",
                                              "(x|x)*[yz]"};
    for (size_t i = 0; i < sizeof expressions / sizeof expressions[0]; i++) {
        char hostile[256];
        (void)snprintf(hostile, sizeof hostile,
                       "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},\"behavior\":"
                       "\"Isolated\"}",
                       expressions[i]);
        expect_limit(chain(hostile, "", 0, ""), "x", i == 3 ? 200000 : 20000, "takes too much work");
    }
    expect_limit(chain("\"decoder\":{\"type\":\"Sequence\",\"decoders\":[", "{\"type\":\"Fuse\"}", 70000, "]}"), "a", 1,
                 "decoder[63]: the section has more than 64 steps");
    expect_limit(chain("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[", "{\"type\":\"NFD\"}", 5000, "]}"),
                 "a", 1, "the section has more than 64 steps");
    expect_limit(chain("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[", "{\"type\":\"NFD\"}", 63, "]}"),
                 "\xC3\xA9", 100000, "normalizer: its 63 steps make too much work");
    expect_limit(chain("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[",
                       "{\"type\":\"ByteLevel\",\"use_regex\":false,\"add_prefix_space\":false}", 40, "]}"),
                 "\xC3\xA9", 1000, "pre_tokenizer: its 40 steps make too much work");
    expect_limit(chain("\"added_tokens\":[{\"id\":1,\"special\":true,\"content\":\"a", "", 20000, "b\"}]"), "a", 1,
                 "at most 4096 are allowed");
}
END_TEST

/* One long token that nearly matches everywhere. */
START_TEST(long_added_token) {
    char content[4001];
    char hostile[4200];
    memset(content, 'a', 4000);
    content[4000] = '\0';
    (void)snprintf(hostile, sizeof hostile, "\"added_tokens\":[{\"id\":1,\"special\":true,\"content\":\"%sb\"}]",
                   content);
    qa_error err = {0};
    ck_assert_int_eq((int)work_of(hostile, "a", 1000, &err), QA_OK);
    ck_assert_int_eq((int)work_of(hostile, "a", 100000, &err), QA_ERR_LIMIT);
    ck_assert_msg(strstr(err.message, "looking for added tokens") != NULL, "%s", err.message);
}
END_TEST

Suite *text_tokenizer_hostile_suite(void) {
    Suite *suite = suite_create("text_tokenizer_hostile");
    TCase *tests = tcase_create("hostile");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, models);
    tcase_add_test(tests, sections);
    tcase_add_loop_test(tests, mutations_never_crash, 0, (int)(sizeof seeds / sizeof seeds[0]));
    tcase_add_loop_test(tests, growth_is_bounded, 0, 4);
    suite_add_tcase(suite, tests);
    TCase *work = tcase_create("work");
    tcase_set_timeout(work, 60);
    tcase_add_test(work, attacks_are_refused);
    tcase_add_test(work, long_added_token);
    suite_add_tcase(suite, work);
    return suite;
}
