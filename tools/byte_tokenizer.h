/* The byte-level BPE tokenizer that make_model writes.
 *
 * Ids 0-255 are the bytes themselves, 256-295 the results of MERGES, 296-299 the special tokens. The merges are the
 * forty most frequent pairs, one after the other, of the texts of weights/demo/train.jsonl; "~" is the symbol of the
 * space. */
#ifndef BYTE_TOKENIZER_H
#define BYTE_TOKENIZER_H

#include "chatml.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { BYTES = 256, MERGE_COUNT = 40, FIRST_SPECIAL = BYTES + MERGE_COUNT, SPECIALS = 4, TOKENS = 300 };
enum { BOS = FIRST_SPECIAL, IM_START, IM_END, END_OF_TEXT };
_Static_assert(FIRST_SPECIAL + SPECIALS == TOKENS, "the ids of the byte tokenizer");

static const char *const MERGES[MERGE_COUNT] = {
    "~ t", "h e", "~ a", "~t he", "i n", "~ c",  "a r",  "i s",   "~ o",  "~ s",  "~ is",  "r e", "~ b", "~ m",
    "o o", "v e", "~ f", "o u",   "e a", "s e",  "a y",  "~ p",   "~ T",  "in g", "~ h",   "l y", "~ l", "~ d",
    "o p", "~ I", "i t", "k e",   "e n", "~t o", "ou r", "~T he", "a in", "s k",  "~a sk", "~ n"};
static const char *const SPECIAL_TOKENS[SPECIALS] = {"<|bos|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"};

/* The byte's symbol in byte-level BPE, in UTF-8: itself when printable, else the next character from U+0100 on. */
static void byte_symbol(char symbol[4], unsigned byte) {
    unsigned character = byte;
    unsigned moved = 0;
    for (unsigned b = 0; b < BYTES; b++) {
        const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte && !printable) {
            character = BYTES + moved;
        }
        moved += printable ? 0 : 1;
    }
    if (character < 0x80) {
        symbol[0] = (char)character;
        symbol[1] = '\0';
    } else {
        symbol[0] = (char)(0xc0u | character >> 6);
        symbol[1] = (char)(0x80u | (character & 0x3fu));
        symbol[2] = '\0';
    }
}

/* A merge with the space's symbol for "~"; without the blank between its halves when joined. */
static void spell_merge(char out[32], const char *merge, bool joined) {
    char space[4];
    size_t n = 0;
    byte_symbol(space, ' ');
    for (const char *c = merge; *c != '\0'; c++) {
        if (*c == '~') {
            out[n++] = space[0];
            out[n++] = space[1];
        } else if (*c != ' ' || !joined) {
            out[n++] = *c;
        }
    }
    out[n] = '\0';
}

static json_t *byte_vocabulary(void) {
    json_t *vocab = json_object();
    for (unsigned b = 0; b < BYTES; b++) {
        char symbol[4];
        byte_symbol(symbol, b);
        (void)json_object_set_new(vocab, symbol, json_integer(b));
    }
    for (size_t i = 0; i < MERGE_COUNT; i++) {
        char token[32];
        spell_merge(token, MERGES[i], true);
        (void)json_object_set_new(vocab, token, json_integer((json_int_t)(BYTES + i)));
    }
    for (size_t i = 0; i < SPECIALS; i++) {
        (void)json_object_set_new(vocab, SPECIAL_TOKENS[i], json_integer((json_int_t)(FIRST_SPECIAL + i)));
    }
    return vocab;
}

static json_t *byte_tokenizer(void) {
    json_t *added = json_array();
    json_t *merges = json_array();
    for (size_t i = 0; i < SPECIALS; i++) {
        (void)json_array_append_new(added, special_token(FIRST_SPECIAL + i, SPECIAL_TOKENS[i]));
    }
    for (size_t i = 0; i < MERGE_COUNT; i++) {
        char merge[32];
        spell_merge(merge, MERGES[i], false);
        (void)json_array_append_new(merges, json_string(merge));
    }
    json_t *byte_level =
        json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1);
    json_t *model = json_pack("{s:s,s:n,s:n,s:n,s:n,s:b,s:b,s:b,s:o,s:o}", "type", "BPE", "dropout", "unk_token",
                              "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                              "ignore_merges", 0, "vocab", byte_vocabulary(), "merges", merges);
    return json_pack("{s:s,s:n,s:n,s:o,s:n,s:O,s:n,s:o,s:o}", "version", "1.0", "truncation", "padding", "added_tokens",
                     added, "normalizer", "pre_tokenizer", byte_level, "post_processor", "decoder", byte_level, "model",
                     model);
}

#endif
