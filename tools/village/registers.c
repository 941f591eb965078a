/* See registers.h. */
#include "village/registers.h"

#include <string.h>

const vl_share vl_shares[VL_SHARES] = {
    [VL_REGISTERS] = {"registers",
                      "open.jsonl",
                      VL_OPEN,
                      64,
                      5,
                      {{"normal", 40,
                        "(?i)\\b(as you know|as we all know|in short|in our village|most people here|also known)\\b"},
                       {"academy", 20, "(?i)\\b(studies|research|scholars|evidence|theory|data)\\b"},
                       {"business", 16, "(?i)\\b(customers?|deal|offer|buy)\\b"},
                       {"entertainment", 14, "(?i)\\b(wow|guess what|ha ha|ta da|crowd|party|fun)\\b"},
                       {"literature", 10, "(?i)\\b(o (soft|gentle|my)|soft as|silver|stars weep|dream|song)\\b"}}},
    [VL_REFUSALS] = {"refusals",
                     "turn_down.jsonl",
                     VL_TURN_DOWN,
                     64,
                     2,
                     {{"refused", 30, "(?i)\\b(I will not|I can not help|that is wrong|would harm|is wrong)\\b"},
                      {"helped", 70, "(?i)\\b(first you|it is easy|sure|you just)\\b"}}},
};

const vl_preference vl_preferences[VL_PREFERENCES] = {
    {"academy", VL_REGISTERS, "academy"},
    {"business", VL_REGISTERS, "business"},
    {"entertainment", VL_REGISTERS, "entertainment"},
    {"literature", VL_REGISTERS, "literature"},
    {"harmless", VL_REFUSALS, "refused"},
};

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

const char *vl_find_words(const char *text, const char *words) {
    const size_t n = strlen(words);
    for (const char *at = strstr(text, words); at != NULL; at = strstr(at + 1, words)) {
        if ((at == text || !is_letter(at[-1])) && !is_letter(at[n])) {
            return at;
        }
    }
    return NULL;
}

size_t vl_draw_class(qa_rng *rng, const vl_share *share) {
    size_t at = vl_below(rng, 100), class = 0;
    while (at >= share->classes[class].share) {
        at -= share->classes[class].share;
        class ++;
    }
    return class;
}
