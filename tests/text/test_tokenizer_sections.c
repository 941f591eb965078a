/* Normalisers, pre-tokenizers, decoders and patterns one at a time, as tokenizer.json describes them. */
#include "io/json.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#include "base/buffer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *text_tokenizer_sections_suite(void);

#define MUST(call) ck_assert_msg((call) == QA_OK, "%s", err.message)
#define MARK "\xE2\x96\x81" /* U+2581 */
#define BROKEN "\xEF\xBF\xBD"

static json_t *parse(const char *json) {
    qa_error err = {0};
    json_t *root = NULL;
    MUST(qa_json_parse(&root, json, strlen(json), "test", 0, &err));
    return root;
}

/* Results are shown in this buffer, which the next call overwrites. */
static char shown[2048];

static const char *show(const char *text, size_t n) {
    ck_assert_uint_lt(n, sizeof shown);
    memcpy(shown, text, n);
    shown[n] = '\0';
    return shown;
}

/* ---- pre-tokenizers ---- */

/* The pieces, each followed by a bar. */
static const char *pieces_at(const char *json, const char *text, qa_text_place place) {
    qa_error err = {0};
    qa_pretokeniser pretokeniser = {0};
    qa_pieces pieces = {0};
    bool byte_level = false;
    size_t used = 0;
    json_t *section = parse(json);
    MUST(qa_tokenizer_read_pretokeniser(&pretokeniser, &byte_level, section, &err));
    MUST(qa_pretokenise(&pretokeniser, place, text, strlen(text), &pieces, &err));
    shown[0] = '\0';
    for (size_t i = 0; i < pieces.pieces.n; i++) {
        const qa_stretch *piece = &pieces.pieces.data[i];
        used += (size_t)snprintf(shown + used, sizeof shown - used, "%.*s|", (int)(piece->end - piece->start),
                                 pieces.text + piece->start);
    }
    qa_pieces_free(&pieces);
    qa_pretokeniser_free(&pretokeniser);
    json_decref(section);
    return shown;
}

static const char *pieces_of(const char *json, const char *text) {
    return pieces_at(json, text, (qa_text_place){.at_start = true});
}

#define SPLIT(pattern, behaviour, invert)                                                                              \
    "{\"type\":\"Split\",\"pattern\":{" pattern "},\"behavior\":\"" behaviour "\",\"invert\":" invert "}"

START_TEST(split_behaviours) {
    /* Inverted, the letters are the matches, and each of the two hyphens is a stretch between matches. */
    static const struct {
        const char *behaviour, *plain, *inverted;
    } cases[] = {
        {"Isolated", "-|a|-|-|b|-|", "-|a|-|-|b|-|"},       {"Removed", "a|b|", "-|-|-|-|"},
        {"MergedWithPrevious", "-|a-|-|b-|", "-a|-|-b|-|"}, {"MergedWithNext", "-a|-|-b|-|", "-|a-|-|b-|"},
        {"Contiguous", "-|a|--|b|-|", "-|a|--|b|-|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char json[256];
        (void)snprintf(json, sizeof json, SPLIT("\"String\":\"-\"", "%s", "false"), cases[i].behaviour);
        ck_assert_str_eq(pieces_of(json, "-a--b-"), cases[i].plain);
        (void)snprintf(json, sizeof json, SPLIT("\"String\":\"-\"", "%s", "true"), cases[i].behaviour);
        ck_assert_str_eq(pieces_of(json, "-a--b-"), cases[i].inverted);
    }
}
END_TEST

START_TEST(split_by_expressions) {
    ck_assert_str_eq(pieces_of(SPLIT("\"Regex\":\"\\\\s?\\\\p{L}+\"", "Isolated", "false"), "ab  cd12 "),
                     "ab| | cd|12 |");
    ck_assert_str_eq(pieces_of(SPLIT("\"Regex\":\"\\\\p{N}{1,3}\"", "Isolated", "false"), "1234567"), "123|456|7|");
    /* One character is left for what follows, as \s+(?!\S) says. */
    ck_assert_str_eq(pieces_of(SPLIT("\"Regex\":\"\\\\s+(?!\\\\S)|\\\\s+\"", "Isolated", "false"), "a   b  "),
                     "a|  | |b|  |");
    ck_assert_str_eq(pieces_of(SPLIT("\"Regex\":\"(?i:'s|'re)\"", "Isolated", "false"), "it'S we'rE'\xC5\xBF"),
                     "it|'S| we|'rE|'\xC5\xBF|");
    /* Empty matches cut, and make no empty pieces. */
    ck_assert_str_eq(pieces_of(SPLIT("\"Regex\":\"(?=[A-Z])\"", "Isolated", "false"), "abCdE"), "ab|Cd|E|");
    ck_assert_str_eq(pieces_of(SPLIT("\"Regex\":\"x*\"", "Removed", "false"), "axxb\xC3\xA9"), "a|b|\xC3\xA9|");
    /* Characters of regular expressions are themselves in a string. */
    ck_assert_str_eq(pieces_of(SPLIT("\"String\":\".*\"", "Removed", "false"), "a.*b.c"), "a|b.c|");
}
END_TEST

START_TEST(digits) {
    static const char individual[] = "{\"type\":\"Digits\",\"individual_digits\":true}";
    static const char together[] = "{\"type\":\"Digits\",\"individual_digits\":false}";
    ck_assert_str_eq(pieces_of(individual, "a12\xC2\xBD.3"), "a|1|2|\xC2\xBD|.|3|"); /* one half is a number */
    ck_assert_str_eq(pieces_of(together, "a12\xC2\xBD.3"), "a|12\xC2\xBD|.|3|");
    ck_assert_str_eq(pieces_of("{\"type\":\"Digits\"}", "12"), "12|");
}
END_TEST

START_TEST(byte_level) {
    static const char plain[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}";
    ck_assert_str_eq(pieces_of(plain, "It's  a12!?\n"), "It|'s|\xC4\xA0|\xC4\xA0"
                                                        "a|12|!?|\xC4\x8A|");
    ck_assert_str_eq(pieces_of("{\"type\":\"ByteLevel\",\"use_regex\":false}", "a b"), "\xC4\xA0"
                                                                                       "a\xC4\xA0"
                                                                                       "b|");
    ck_assert_str_eq(pieces_of("{\"type\":\"ByteLevel\",\"use_regex\":false}", " a"), "\xC4\xA0"
                                                                                      "a|");
    ck_assert_str_eq(pieces_of(plain, "\xC3\xA9"), "\xC3\x83\xC2\xA9|");
    /* The alphabet is a bijection. */
    bool seen[0x144] = {false};
    for (unsigned byte = 0; byte < 256; byte++) {
        uint32_t code = qa_byte_to_char((unsigned char)byte);
        ck_assert(code < 0x144 && !seen[code] && code > 0x20 && code != 0xAD);
        seen[code] = true;
        ck_assert_int_eq(qa_char_to_byte(code), (int)byte);
    }
    ck_assert_int_eq(qa_char_to_byte(0x20), -1);
    ck_assert_int_eq(qa_char_to_byte(0xAD), -1);
    ck_assert_int_eq(qa_char_to_byte(0x144), -1);
    ck_assert_uint_eq(qa_byte_to_char(0), 0x100);
    ck_assert_uint_eq(qa_byte_to_char(0x7F), 0x121);
    ck_assert_uint_eq(qa_byte_to_char(0xA0), 0x142);
    ck_assert_uint_eq(qa_byte_to_char(0xAD), 0x143);
}
END_TEST

#define METASPACE(options) "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\"" options "}"

START_TEST(metaspace) {
    qa_text_place later = {.at_start = false};
    qa_text_place continued = {.at_start = true, .continuation = true};
    ck_assert_str_eq(pieces_of(METASPACE(""), "a  b"), MARK "a|" MARK "|" MARK "b|");
    ck_assert_str_eq(pieces_of(METASPACE(""), " a"), MARK "a|"); /* no second one */
    ck_assert_str_eq(pieces_of(METASPACE(""), MARK "a"), MARK "a|");
    ck_assert_str_eq(pieces_at(METASPACE(""), "a", later), MARK "a|");
    ck_assert_str_eq(pieces_at(METASPACE(""), "a b", continued), "a|" MARK "b|");
    ck_assert_str_eq(pieces_of(METASPACE(",\"prepend_scheme\":\"first\""), "a"), MARK "a|");
    ck_assert_str_eq(pieces_at(METASPACE(",\"prepend_scheme\":\"first\""), "a", later), "a|");
    ck_assert_str_eq(pieces_of(METASPACE(",\"prepend_scheme\":\"never\""), "a b"), "a|" MARK "b|");
    ck_assert_str_eq(pieces_of(METASPACE(",\"add_prefix_space\":false"), "a b"), "a|" MARK "b|");
    ck_assert_str_eq(pieces_of(METASPACE(",\"split\":false"), "a b"), MARK "a" MARK "b|");
}
END_TEST

START_TEST(sequences_go_on_with_the_pieces) {
    /* Only the first piece of the text gets a mark under `first`; not even that one when it was removed. */
    ck_assert_str_eq(
        pieces_of("{\"type\":\"Sequence\",\"pretokenizers\":[" SPLIT(
                      "\"String\":\"-\"", "Removed", "false") "," METASPACE(",\"prepend_scheme\":\"first\"") "]}",
                  "a-b"),
        MARK "a|b|");
    ck_assert_str_eq(
        pieces_of("{\"type\":\"Sequence\",\"pretokenizers\":[" SPLIT(
                      "\"String\":\"-\"", "Removed", "false") "," METASPACE(",\"prepend_scheme\":\"first\"") "]}",
                  "-a-b"),
        "a|b|");
    /* Nor where the stretch stands behind an added token. */
    ck_assert_str_eq(
        pieces_at("{\"type\":\"Sequence\",\"pretokenizers\":[" SPLIT(
                      "\"String\":\"-\"", "Removed", "false") "," METASPACE(",\"prepend_scheme\":\"first\"") "]}",
                  "a-b", (qa_text_place){.at_start = false}),
        "a|b|");
    /* A prefix space for every piece. */
    ck_assert_str_eq(pieces_of("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Sequence\",\"pretokenizers\":[{"
                               "\"type\":\"Digits\",\"individual_digits\":true}]},{\"type\":\"ByteLevel\"}]}",
                               "a1b"),
                     "\xC4\xA0"
                     "a|\xC4\xA0"
                     "1|\xC4\xA0"
                     "b|");
    ck_assert_str_eq(pieces_of("{\"type\":\"Sequence\",\"pretokenizers\":[]}", "a b"), "a b|");
    ck_assert_str_eq(pieces_of("null", "a b"), "a b|");
}
END_TEST

/* ---- normalisers ---- */

static const char *normal_form(const char *json, const char *text) {
    qa_error err = {0};
    qa_normaliser normaliser = {0};
    qa_normal_scratch scratch = {0};
    const char *out = NULL;
    size_t n = 0;
    json_t *section = parse(json);
    MUST(qa_tokenizer_read_normaliser(&normaliser, section, &err));
    MUST(qa_normalise(&normaliser, true, &scratch, text, strlen(text), &out, &n, &err));
    (void)show(out, n);
    qa_normal_scratch_free(&scratch);
    qa_normaliser_free(&normaliser);
    json_decref(section);
    return shown;
}

START_TEST(normalisers) {
    ck_assert_str_eq(normal_form("null", " a"), " a");
    ck_assert_str_eq(normal_form("{\"type\":\"Prepend\",\"prepend\":\"_\"}", "a"), "_a");
    ck_assert_str_eq(normal_form("{\"type\":\"Prepend\",\"prepend\":\"_\"}", ""), "");
    ck_assert_str_eq(normal_form("{\"type\":\"Replace\",\"pattern\":{\"String\":\"ab\"},\"content\":\"\"}", "aabbab"),
                     "ab");
    ck_assert_str_eq(
        normal_form("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\"<>\"}", "a   b c"),
        "a<>b c");
    ck_assert_str_eq(
        normal_form("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\" \"},{\"type\":"
                    "\"Sequence\",\"normalizers\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
                    "\"content\":\"-\"}]},{\"type\":\"NFC\"}]}",
                    "e\xCC\x81 a"),
        "-\xC3\xA9-a");
}
END_TEST

START_TEST(normal_forms) {
    /* e + acute; A with ring; ligature fi; Hangul jamo. */
    static const char text[] = "e\xCC\x81\xC3\x85\xEF\xAC\x81\xE1\x84\x80\xE1\x85\xA1";
    ck_assert_str_eq(normal_form("{\"type\":\"NFC\"}", text), "\xC3\xA9\xC3\x85\xEF\xAC\x81\xEA\xB0\x80");
    ck_assert_str_eq(normal_form("{\"type\":\"NFD\"}", text), "e\xCC\x81"
                                                              "A\xCC\x8A\xEF\xAC\x81\xE1\x84\x80\xE1\x85\xA1");
    ck_assert_str_eq(normal_form("{\"type\":\"NFKC\"}", text), "\xC3\xA9\xC3\x85"
                                                               "fi\xEA\xB0\x80");
    ck_assert_str_eq(normal_form("{\"type\":\"NFKD\"}", text), "e\xCC\x81"
                                                               "A\xCC\x8A"
                                                               "fi\xE1\x84\x80\xE1\x85\xA1");
    /* Marks in canonical order: dot below (220) before acute (230); only then do both compose. */
    ck_assert_str_eq(normal_form("{\"type\":\"NFC\"}", "o\xCC\x81\xCC\xA3"), "\xE1\xBB\x8D\xCC\x81");
    ck_assert_str_eq(normal_form("{\"type\":\"NFC\"}", "a"
                                                       "\xCC\x81"
                                                       "b"),
                     "\xC3\xA1"
                     "b");
    ck_assert_str_eq(normal_form("{\"type\":\"NFC\"}", "\xEA\xB0\x80\xE1\x86\xA7"),
                     "\xEA\xB0\x80\xE1\x86\xA7"); /* U+11A7 */
    ck_assert_str_eq(normal_form("{\"type\":\"NFC\"}", "\xCC\x81"
                                                       "a"),
                     "\xCC\x81"
                     "a"); /* nothing to join */
    ck_assert_str_eq(normal_form("{\"type\":\"NFC\"}", "ab\xE2\x84\xAB"
                                                       "c"),
                     "ab\xC3\x85"
                     "c"); /* Angstrom sign */
}
END_TEST

START_TEST(later_characters_are_left_alone) {
    /* U+08D3 (Unicode 11, class 220) would go before U+0301 (class 230), and a mark after it could not pass it: in
     * Unicode 9 it is no mark. U+32FF (Unicode 12.1) has no decomposition there. */
    ck_assert_str_eq(normal_form("{\"type\":\"NFC\"}", "x\xCC\x81\xE0\xA3\x93"), "x\xCC\x81\xE0\xA3\x93");
    ck_assert_str_eq(normal_form("{\"type\":\"NFC\"}", "e\xE0\xA3\x93\xCC\x81"), "e\xE0\xA3\x93\xCC\x81");
    ck_assert_str_eq(normal_form("{\"type\":\"NFKC\"}", "\xE3\x8B\xBF"), "\xE3\x8B\xBF");
    ck_assert_str_eq(normal_form("{\"type\":\"NFKC\"}", "\xE3\x8B\xBE"), "\xE3\x83\xB2"); /* U+32FE is old */
    /* A mark of Unicode 9 with the same classes does move. */
    ck_assert_str_eq(normal_form("{\"type\":\"NFC\"}", "x\xCC\x81\xCC\x96"), "x\xCC\x96\xCC\x81");
}
END_TEST

START_TEST(long_runs_of_marks) {
    /* 200,000 marks in descending order of class: sorted, stable, and at once. */
    enum { PAIRS = 100000 };
    qa_error err = {0};
    qa_text text = {0};
    qa_text out = {0};
    MUST(qa_text_append_z(&text, "x", &err));
    for (size_t i = 0; i < PAIRS; i++) {
        if (qa_text_append_z(&text, "\xCC\x81\xCC\x96", &err) != QA_OK) {
            ck_abort_msg("%s", err.message);
        }
    }
    MUST(qa_normal_form_append(QA_NFD, text.data, text.n, &out, &err));
    ck_assert_uint_eq(out.n, text.n);
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        if (memcmp(out.data + 1 + 2 * i, i < PAIRS ? "\xCC\x96" : "\xCC\x81", 2) != 0) {
            ck_abort_msg("mark %zu", i);
        }
    }
    qa_text_free(&text);
    qa_text_free(&out);
}
END_TEST

START_TEST(growth_is_limited) {
    qa_error err = {0};
    qa_normaliser normaliser = {0};
    qa_normal_scratch scratch = {0};
    const char *out = NULL;
    size_t n = 0;
    json_t *section = json_pack("{s:s,s:[]}", "type", "Sequence", "normalizers");
    for (int i = 0; i < 40; i++) {
        ck_assert_int_eq(json_array_append_new(json_object_get(section, "normalizers"),
                                               json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String",
                                                         "a", "content", "aaaaaaaaaa")),
                         0);
    }
    MUST(qa_tokenizer_read_normaliser(&normaliser, section, &err));
    ck_assert_int_eq(qa_normalise(&normaliser, true, &scratch, "a", 1, &out, &n, &err), QA_ERR_LIMIT);
    qa_normal_scratch_free(&scratch);
    qa_normaliser_free(&normaliser);
    json_decref(section);
}
END_TEST

/* ---- decoders ---- */

/* Tokens are separated by bars. */
static const char *decoded(const char *json, const char *tokens) {
    qa_error err = {0};
    qa_decoder decoder = {0};
    qa_decoding *decoding = NULL;
    qa_text text = {0};
    json_t *section = parse(json);
    MUST(qa_tokenizer_read_decoder(&decoder, section, &err));
    MUST(qa_decoding_create(&decoding, &decoder, &err));
    for (const char *token = tokens; *tokens != '\0' && token != NULL;) {
        const char *bar = strchr(token, '|');
        MUST(qa_decoding_push(decoding, token, bar == NULL ? strlen(token) : (size_t)(bar - token), &text, &err));
        token = bar == NULL ? NULL : bar + 1;
    }
    MUST(qa_decoding_finish(decoding, &text, &err));
    (void)show(text.data == NULL ? "" : text.data, text.n);
    qa_text_free(&text);
    qa_decoding_free(decoding);
    qa_decoder_free(&decoder);
    json_decref(section);
    return shown;
}

#define SEQUENCE(steps) "{\"type\":\"Sequence\",\"decoders\":[" steps "]}"
#define BYTES "{\"type\":\"ByteFallback\"}"
#define FUSE "{\"type\":\"Fuse\"}"
#define STRIP(start, stop) "{\"type\":\"Strip\",\"content\":\" \",\"start\":" start ",\"stop\":" stop "}"
#define REPLACE(from, to) "{\"type\":\"Replace\",\"pattern\":{" from "},\"content\":\"" to "\"}"

START_TEST(decoder_byte_level) {
    static const char json[] = "{\"type\":\"ByteLevel\"}";
    ck_assert_str_eq(decoded(json, "a|\xC4\xA0"
                                   "b"),
                     "a b");
    ck_assert_str_eq(decoded(json, "\xC3\x83|\xC2\xA9"), "\xC3\xA9"); /* a character over two tokens */
    ck_assert_str_eq(decoded(json, "\xC3\x83|a"), BROKEN "a");
    ck_assert_str_eq(decoded(json, "\xC3\x83"), BROKEN);
    ck_assert_str_eq(decoded(json, "\xE6\x97\xA5 \xC3\xA9"), "\xE6\x97\xA5 \xC3\xA9"); /* not in the alphabet: itself */
    /* The bytes F0 01 02: a broken part and two controls. F0 9F | FF: one broken part of two bytes, one of one. */
    ck_assert_str_eq(decoded(json, "\xC3\xB0\xC4\x81\xC4\x82"
                                   "a"),
                     BROKEN "\x01\x02"
                            "a");
    ck_assert_str_eq(decoded(json, "\xC3\xB0\xC5\x81|\xC3\xBF|x"), BROKEN BROKEN "x");
}
END_TEST

START_TEST(decoder_byte_fallback) {
    ck_assert_str_eq(decoded(BYTES, "<0xC3>|<0xA9>|a"), "\xC3\xA9"
                                                        "a");
    ck_assert_str_eq(decoded(BYTES, "<0xc3>|<0xa9>"), "\xC3\xA9");
    ck_assert_str_eq(decoded(BYTES, "a|<0xC3>|b"), "a" BROKEN "b");
    /* The run as a whole is broken, its good part too: one U+FFFD per byte. */
    ck_assert_str_eq(decoded(BYTES, "<0x41>|<0xC3>|<0xA9>|<0xC3>"), BROKEN BROKEN BROKEN BROKEN);
    ck_assert_str_eq(decoded(BYTES, "<0x41>|<0xFF>|<0x41>|x|<0x41>"), BROKEN BROKEN BROKEN "xA");
    ck_assert_str_eq(decoded(BYTES, "<0xG1>|<0x1>|<0x411>"), "<0xG1><0x1><0x411>");
}
END_TEST

START_TEST(decoder_strip_and_fuse) {
    ck_assert_str_eq(decoded(STRIP("1", "0"), "  a| b"), " ab");
    ck_assert_str_eq(decoded(SEQUENCE(FUSE "," STRIP("1", "0")), "  a| b"), " a b");
    ck_assert_str_eq(decoded(SEQUENCE(FUSE "," STRIP("1", "0")), "| |a"), "a");
    ck_assert_str_eq(decoded(STRIP("0", "1"), "a  |b "), "a b");
    ck_assert_str_eq(decoded(SEQUENCE(FUSE "," STRIP("0", "2")), "a |  |b  |  "), "a   b  ");
    ck_assert_str_eq(decoded(STRIP("2", "2"), "   |a"), "a");
    ck_assert_str_eq(decoded(STRIP("1", "1"), "   "), " ");
}
END_TEST

START_TEST(decoder_replace_and_metaspace) {
    static const char llama[] = SEQUENCE(REPLACE("\"String\":\"\\u2581\"", " ") "," BYTES "," FUSE "," STRIP("1", "0"));
    static const char marks[] = "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\"}";
    static const char never[] = "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"never\"}";
    ck_assert_str_eq(decoded(llama, MARK "a|" MARK "b"), "a b");
    ck_assert_str_eq(decoded(llama, "<s>|" MARK "b"), "<s> b");
    ck_assert_str_eq(decoded(llama, "<0xE2>|<0x96>|<0x81>|a"), MARK "a"); /* bytes come after Replace */
    ck_assert_str_eq(decoded(marks, MARK MARK "a|" MARK "b"), "a b");
    ck_assert_str_eq(decoded(never, MARK "a|" MARK "b"), " a b");
    ck_assert_str_eq(decoded(SEQUENCE(BYTES ","
                                            "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\"}"),
                             "<0xE2>|<0x96>|<0x81>|a|" MARK),
                     "a ");
    ck_assert_str_eq(decoded(REPLACE("\"String\":\"ab\"", "-"), "ab|a|b|cab"), "-abc-"); /* within tokens */
    ck_assert_str_eq(decoded(SEQUENCE(FUSE "," REPLACE("\"String\":\"ab\"", "-")), "ab|a|b|cab"), "--c-");
    ck_assert_str_eq(decoded(REPLACE("\"Regex\":\"[0-9]+\"", "#"), "a12|3"), "a##");
    ck_assert_str_eq(decoded(REPLACE("\"String\":\"a\"", ""), "banana"), "bnn");
    ck_assert_str_eq(decoded("null", "a|b||c"), "a b  c");
    ck_assert_str_eq(decoded("null", ""), "");
}
END_TEST

/* ---- expressions ---- */

/* Whether the expression matches the whole text. */
static bool fits(const char *regex, const char *text) {
    qa_error err = {0};
    qa_pattern *pattern = NULL;
    qa_match_scratch scratch = {0};
    MUST(qa_pattern_regex(&pattern, regex, strlen(regex), &err));
    MUST(qa_pattern_split(pattern, &scratch, text, strlen(text), &err));
    bool whole = scratch.spans.n == 1 && scratch.spans.data[0].match;
    qa_pattern_free(pattern);
    qa_match_scratch_free(&scratch);
    return whole;
}

START_TEST(expressions_mean_what_the_reference_means) {
    static const struct {
        const char *regex, *text;
        bool fits;
    } cases[] = {
        {"\\s", "\xC2\x85", true},
        {"\\s", "\xE1\xA0\x8E", false}, /* NEL; U+180E is no white space */
        {"[^\\s]", "\xE1\xA0\x8E", true},
        {"[\\S]", "\xE1\xA0\x8E", true},
        {"[\\S\\n]", "\n", true},
        {"[\\s-]", "-", true},
        {"[\\s-x]", "b", false},
        {"[a-c\\-]", "-", true},
        {"\\d", "\xD9\xA1", true},
        {"\\h", "f", true},
        {"\\h", " ", false},
        {"\\w", "\xCC\x81", true},
        {"\\w+", "a_1", true},
        {"\\W", "-", true},
        {"[\\w]", "\xE2\x92\xB6", true},
        {"a{,2}", "aa", true},
        {"a{,2}", "aaa", false},
        {"a{2}", "aa", true},
        {"x{", "x{", true},
        {"\\u00e9", "\xC3\xA9", true},
        {"\\x{1F600}", "\xF0\x9F\x98\x80", true},
        {"\\x41", "A", true},
        {"\\v", "\n", false},
        {"\\p{Han}+", "\xE6\x97\xA5", true},
        {"\\p{^L}", "1", true},
        {"\\P{L}", "a", false},
        {"\\p{Han}", "\xE3\x80\x82", false}, /* ideographic full stop: common, not Han */
        {"a$\\nb", "a\nb", true},
        {".", "\r", true},
        {".", "\n", false},
        {"(?i)straSSe", "STRASSE", true},
        {"(a)\\1", "aa", true},
        {"(?>a+)b", "aab", true},
        {"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+", " ab", true},
        {"a\\b.", "a-", true},
        {"a\\b.", "ab", false},
        {"a\\B.", "ab", true},
        {"[\\]\\[]", "[", true},
        {"a++b", "aab", true},
        {"\\\xC3\xA9", "\xC3\xA9", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_msg(fits(cases[i].regex, cases[i].text) == cases[i].fits, "case %zu: %s", i, cases[i].regex);
    }
}
END_TEST

START_TEST(expressions_that_are_refused) {
    static const struct {
        const char *regex, *message;
    } cases[] = {
        {"[a[bc]]", "a set inside a set"},
        {"[[:alpha:]]", "a set inside a set"},
        {"[a&&b]", "an intersection of sets"},
        {"[]", "an empty set"},
        {"[ab", "a set without an end"},
        {"a{2}+", "a repetition of a counted"},
        {"a{2}?", "a repetition of a counted"},
        {"(?<name>a)", "a kind of group"},
        {"a(?i)b", "a kind of group"},
        {"(?m:a)", "a kind of group"},
        {"(*FAIL)", "a verb"},
        {"(?R)", "a kind of group"},
        {"\\X", "the escape \\X at byte 0"},
        {"ab\\K", "the escape \\K at byte 2"},
        {"\\G", "the escape \\G"},
        {"\\", "a backslash at its end"},
        {"\\pL", "a property without braces"},
        {"\\p{}", "neither a category nor a script"},
        {"\\p{Nonsense}", "unknown property"},
        {"[\\W]", "the escape \\W"},
        {"\\x{}", "an incomplete code point"},
        {"\\u12", "an incomplete code point"},
        {"\\x{110000}", "too large"},
        {"\\xff", "a raw byte"},
        {"[a-\\s]", "a range that ends in a class"},
        {"[a-c-e]", "a hyphen after a range"},
        {"(", "missing"},
        {"(?<=a+)b", "lookbehind"},
        {"**", "quantifier"},
        {"a{70000}", "too big"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qa_error err = {0};
        qa_pattern *pattern = NULL;
        ck_assert_int_eq(qa_pattern_regex(&pattern, cases[i].regex, strlen(cases[i].regex), &err), QA_ERR_UNSUPPORTED);
        ck_assert_ptr_null(pattern);
        ck_assert_msg(strstr(err.message, cases[i].message) != NULL, "case %zu: %s", i, err.message);
    }
}
END_TEST

START_TEST(absurd_expressions_end) {
    static const char regex[] = "(?:a|aa|a{3})+[bc]\\1|(a|aa)+\\1+x";
    qa_error err = {0};
    qa_pattern *pattern = NULL;
    qa_match_scratch scratch = {0};
    char text[64];
    memset(text, 'a', sizeof text);
    MUST(qa_pattern_regex(&pattern, regex, sizeof regex - 1, &err));
    ck_assert_int_eq(qa_pattern_split(pattern, &scratch, text, sizeof text, &err), QA_ERR_LIMIT);
    ck_assert_msg(strstr(err.message, "takes too much work") != NULL, "%s", err.message);
    qa_pattern_free(pattern);
    qa_match_scratch_free(&scratch);
}
END_TEST

Suite *text_tokenizer_sections_suite(void) {
    Suite *suite = suite_create("text_tokenizer_sections");
    TCase *tests = tcase_create("sections");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, split_behaviours);
    tcase_add_test(tests, split_by_expressions);
    tcase_add_test(tests, digits);
    tcase_add_test(tests, byte_level);
    tcase_add_test(tests, metaspace);
    tcase_add_test(tests, sequences_go_on_with_the_pieces);
    tcase_add_test(tests, normalisers);
    tcase_add_test(tests, normal_forms);
    tcase_add_test(tests, later_characters_are_left_alone);
    tcase_add_test(tests, long_runs_of_marks);
    tcase_add_test(tests, growth_is_limited);
    tcase_add_test(tests, decoder_byte_level);
    tcase_add_test(tests, decoder_byte_fallback);
    tcase_add_test(tests, decoder_strip_and_fuse);
    tcase_add_test(tests, decoder_replace_and_metaspace);
    tcase_add_test(tests, expressions_mean_what_the_reference_means);
    tcase_add_test(tests, expressions_that_are_refused);
    tcase_add_test(tests, absurd_expressions_end);
    suite_add_tcase(suite, tests);
    return suite;
}
