/* Upper, lower and title case as Python's str has them: by Unicode's full mappings, in which a character may become
 * several. utf8proc knows the others. */
#include "text/template_strings.h"

#include "text/utf8.h"

#include <utf8proc.h>

/* What becomes several characters in upper case. */
static const struct {
    uint32_t code, upper[3];
} SEVERAL[] = {
    {0x00DF, {0x0053, 0x0053}},         {0x0149, {0x02BC, 0x004E}},         {0x01F0, {0x004A, 0x030C}},
    {0x0390, {0x0399, 0x0308, 0x0301}}, {0x03B0, {0x03A5, 0x0308, 0x0301}}, {0x0587, {0x0535, 0x0552}},
    {0x1E96, {0x0048, 0x0331}},         {0x1E97, {0x0054, 0x0308}},         {0x1E98, {0x0057, 0x030A}},
    {0x1E99, {0x0059, 0x030A}},         {0x1E9A, {0x0041, 0x02BE}},         {0x1F50, {0x03A5, 0x0313}},
    {0x1F52, {0x03A5, 0x0313, 0x0300}}, {0x1F54, {0x03A5, 0x0313, 0x0301}}, {0x1F56, {0x03A5, 0x0313, 0x0342}},
    {0x1F80, {0x1F08, 0x0399}},         {0x1F81, {0x1F09, 0x0399}},         {0x1F82, {0x1F0A, 0x0399}},
    {0x1F83, {0x1F0B, 0x0399}},         {0x1F84, {0x1F0C, 0x0399}},         {0x1F85, {0x1F0D, 0x0399}},
    {0x1F86, {0x1F0E, 0x0399}},         {0x1F87, {0x1F0F, 0x0399}},         {0x1F88, {0x1F08, 0x0399}},
    {0x1F89, {0x1F09, 0x0399}},         {0x1F8A, {0x1F0A, 0x0399}},         {0x1F8B, {0x1F0B, 0x0399}},
    {0x1F8C, {0x1F0C, 0x0399}},         {0x1F8D, {0x1F0D, 0x0399}},         {0x1F8E, {0x1F0E, 0x0399}},
    {0x1F8F, {0x1F0F, 0x0399}},         {0x1F90, {0x1F28, 0x0399}},         {0x1F91, {0x1F29, 0x0399}},
    {0x1F92, {0x1F2A, 0x0399}},         {0x1F93, {0x1F2B, 0x0399}},         {0x1F94, {0x1F2C, 0x0399}},
    {0x1F95, {0x1F2D, 0x0399}},         {0x1F96, {0x1F2E, 0x0399}},         {0x1F97, {0x1F2F, 0x0399}},
    {0x1F98, {0x1F28, 0x0399}},         {0x1F99, {0x1F29, 0x0399}},         {0x1F9A, {0x1F2A, 0x0399}},
    {0x1F9B, {0x1F2B, 0x0399}},         {0x1F9C, {0x1F2C, 0x0399}},         {0x1F9D, {0x1F2D, 0x0399}},
    {0x1F9E, {0x1F2E, 0x0399}},         {0x1F9F, {0x1F2F, 0x0399}},         {0x1FA0, {0x1F68, 0x0399}},
    {0x1FA1, {0x1F69, 0x0399}},         {0x1FA2, {0x1F6A, 0x0399}},         {0x1FA3, {0x1F6B, 0x0399}},
    {0x1FA4, {0x1F6C, 0x0399}},         {0x1FA5, {0x1F6D, 0x0399}},         {0x1FA6, {0x1F6E, 0x0399}},
    {0x1FA7, {0x1F6F, 0x0399}},         {0x1FA8, {0x1F68, 0x0399}},         {0x1FA9, {0x1F69, 0x0399}},
    {0x1FAA, {0x1F6A, 0x0399}},         {0x1FAB, {0x1F6B, 0x0399}},         {0x1FAC, {0x1F6C, 0x0399}},
    {0x1FAD, {0x1F6D, 0x0399}},         {0x1FAE, {0x1F6E, 0x0399}},         {0x1FAF, {0x1F6F, 0x0399}},
    {0x1FB2, {0x1FBA, 0x0399}},         {0x1FB3, {0x0391, 0x0399}},         {0x1FB4, {0x0386, 0x0399}},
    {0x1FB6, {0x0391, 0x0342}},         {0x1FB7, {0x0391, 0x0342, 0x0399}}, {0x1FBC, {0x0391, 0x0399}},
    {0x1FC2, {0x1FCA, 0x0399}},         {0x1FC3, {0x0397, 0x0399}},         {0x1FC4, {0x0389, 0x0399}},
    {0x1FC6, {0x0397, 0x0342}},         {0x1FC7, {0x0397, 0x0342, 0x0399}}, {0x1FCC, {0x0397, 0x0399}},
    {0x1FD2, {0x0399, 0x0308, 0x0300}}, {0x1FD3, {0x0399, 0x0308, 0x0301}}, {0x1FD6, {0x0399, 0x0342}},
    {0x1FD7, {0x0399, 0x0308, 0x0342}}, {0x1FE2, {0x03A5, 0x0308, 0x0300}}, {0x1FE3, {0x03A5, 0x0308, 0x0301}},
    {0x1FE4, {0x03A1, 0x0313}},         {0x1FE6, {0x03A5, 0x0342}},         {0x1FE7, {0x03A5, 0x0308, 0x0342}},
    {0x1FF2, {0x1FFA, 0x0399}},         {0x1FF3, {0x03A9, 0x0399}},         {0x1FF4, {0x038F, 0x0399}},
    {0x1FF6, {0x03A9, 0x0342}},         {0x1FF7, {0x03A9, 0x0342, 0x0399}}, {0x1FFC, {0x03A9, 0x0399}},
    {0xFB00, {0x0046, 0x0046}},         {0xFB01, {0x0046, 0x0049}},         {0xFB02, {0x0046, 0x004C}},
    {0xFB03, {0x0046, 0x0046, 0x0049}}, {0xFB04, {0x0046, 0x0046, 0x004C}}, {0xFB05, {0x0053, 0x0054}},
    {0xFB06, {0x0053, 0x0054}},         {0xFB13, {0x0544, 0x0546}},         {0xFB14, {0x0544, 0x0535}},
    {0xFB15, {0x0544, 0x053B}},         {0xFB16, {0x054E, 0x0546}},         {0xFB17, {0x0544, 0x053D}},
};

static const uint32_t *several_uppers(uint32_t code) {
    size_t low = 0, high = sizeof SEVERAL / sizeof SEVERAL[0];
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (SEVERAL[middle].code == code) {
            return SEVERAL[middle].upper;
        }
        if (SEVERAL[middle].code < code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static uint32_t simple(utf8proc_int32_t (*map)(utf8proc_int32_t), uint32_t code) {
    return (uint32_t)map((utf8proc_int32_t)code);
}

static void put_upper(qa_tv_run *run, qa_tv_buffer *out, uint32_t code, bool title) {
    const uint32_t *codes = code < 0x80 ? NULL : several_uppers(code);
    const uint32_t one = simple(title ? utf8proc_totitle : utf8proc_toupper, code);
    if (codes == NULL || (title && one != code && code != 0xDF)) { /* utf8proc knows a capital sharp s */
        qa_tv_put_code(run, out, one);
        return;
    }
    qa_tv_put_code(run, out, codes[0]);
    for (size_t i = 1; i < 3 && codes[i] != 0; i++) {
        qa_tv_put_code(run, out,
                       !title              ? codes[i]
                       : codes[i] == 0x399 ? 0x345 /* the iota below */
                                           : simple(utf8proc_tolower, codes[i]));
    }
}

bool qa_tv_is_cased(uint32_t code) {
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

static bool is_case_ignorable(uint32_t code) {
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: return code == '\'' || code == '.' || code == ':' || code == 0xB7 || code == 0x2019;
    }
}

/* Whether the capital sigma before text[at] ends a word: a letter in front of it, none behind. */
static bool is_final_sigma(const qa_tv_string *text, size_t from, size_t at) {
    uint32_t code = '.';
    while (at < text->n && is_case_ignorable(code)) {
        code = qa_utf8_next(text->data, &at);
    }
    if (qa_tv_is_cased(code)) {
        return false;
    }
    for (code = '.'; from > 0 && is_case_ignorable(code);) {
        from = qa_utf8_before(text->data, from);
        size_t behind = from;
        code = qa_utf8_next(text->data, &behind);
    }
    return qa_tv_is_cased(code);
}

/* str.casefold of a character. */
static void put_folded(qa_tv_run *run, qa_tv_buffer *out, uint32_t code) {
    utf8proc_int32_t codes[8];
    int boundary = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)code, codes, 8, UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; i++) {
        qa_tv_put_code(run, out, (uint32_t)codes[i]);
    }
}

static void put_lower(qa_tv_run *run, qa_tv_buffer *out, const qa_tv_string *text, size_t from, size_t at,
                      uint32_t code) {
    if (code == 0x3A3) {
        qa_tv_put_code(run, out, is_final_sigma(text, from, at) ? 0x3C2 : 0x3C3);
    } else if (code == 0x130) {
        qa_tv_put_z(run, out, "i\xCC\x87");
    } else {
        qa_tv_put_code(run, out, simple(utf8proc_tolower, code));
    }
}

static bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* The same for characters below 128 alone. */
static void change_ascii(char *data, size_t n, qa_tv_case how) {
    for (size_t i = 0; i < n; i++) {
        const bool first = i == 0 || !is_ascii_letter(data[i - 1]);
        const bool raise = how == QA_TV_UPPER || (how == QA_TV_TITLE && first) || (how == QA_TV_CAPITAL && i == 0) ||
                           (how == QA_TV_SWAPPED && data[i] >= 'a');
        if (is_ascii_letter(data[i])) {
            data[i] = (char)(raise ? data[i] & ~0x20 : data[i] | 0x20);
        }
    }
}

static bool is_all_ascii(const qa_tv_string *text) {
    size_t i = 0;
    while (i < text->n && (unsigned char)text->data[i] < 128) {
        i++;
    }
    return i == text->n;
}

qa_tv qa_tv_cased(qa_tv_run *run, const qa_tv_string *text, qa_tv_case how) {
    qa_tv_buffer out = {0};
    bool in_word = false;
    qa_tv_spend(run, QA_TV_SEARCH * text->n);
    if (is_all_ascii(text)) {
        qa_tv_put(run, &out, text->data, text->n);
        change_ascii(out.data, out.n, how);
        return qa_tv_of_buffer(run, &out);
    }
    for (size_t at = 0; at < text->n;) {
        const size_t from = at;
        const uint32_t code = qa_utf8_next(text->data, &at);
        const bool is_upper = utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_LU;
        const bool raise = how == QA_TV_UPPER || (how == QA_TV_TITLE && !in_word) ||
                           (how == QA_TV_CAPITAL && from == 0) || (how == QA_TV_SWAPPED && !is_upper);
        if (how == QA_TV_FOLDED) {
            put_folded(run, &out, code);
        } else if (raise) {
            put_upper(run, &out, code, how == QA_TV_TITLE || how == QA_TV_CAPITAL);
        } else {
            put_lower(run, &out, text, from, at, code);
        }
        in_word = qa_tv_is_cased(code);
    }
    return qa_tv_of_buffer(run, &out);
}
