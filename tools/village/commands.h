/* The commands of tools/village.c. Every document or prompt has a random stream of its own, from the seed, the command
 * and its number. */
#ifndef VILLAGE_COMMANDS_H
#define VILLAGE_COMMANDS_H

#include "village/item.h"
#include "village/registers.h"

#include "io/json_writer.h"

typedef enum vl_prompt_kind {
    VL_PROMPTS_OPEN,
    VL_PROMPTS_TURN_DOWN,
    VL_PROMPTS_ORDINARY,
    VL_PROMPT_KINDS
} vl_prompt_kind;

/* The random streams of the commands. */
typedef enum vl_purpose { VL_FOR_CORPUS, VL_FOR_SUITE, VL_FOR_PROMPTS, VL_FOR_PAIRS, VL_FOR_ANSWERS } vl_purpose;
qa_rng vl_stream(uint64_t seed, vl_purpose purpose, unsigned part, size_t number);

/* Document `number` of a corpus. */
QA_MUST_CHECK qa_status vl_corpus_item(const vl_land *land, uint64_t seed, vl_split split, size_t number, vl_item *item,
                                       qa_error *err);

/* "messages": the prompt as the user's, and the answer, NULL: the prompt alone. */
void vl_put_messages(qa_json_writer *out, const char *prompt, const char *answer);

/* A file of n different lines. */
typedef struct vl_lines {
    vl_purpose purpose; /* and part: the random streams */
    unsigned part;
    unsigned skills; /* bits of those to draw from, by the mixture; 0: `skill` alone */
    vl_skill skill;
    vl_split split;
    const char *what; /* in a message: "prompts" */
    void (*put)(qa_json_writer *out, const vl_item *item);
} vl_lines;
QA_MUST_CHECK qa_status vl_write_different(const vl_land *land, const vl_lines *lines, size_t n, uint64_t seed,
                                           const char *path, qa_error *err);

QA_MUST_CHECK qa_status vl_write_corpus(const vl_land *land, vl_split split, size_t documents, uint64_t seed,
                                        const char *out, qa_error *err);
QA_MUST_CHECK qa_status vl_write_prompts(const vl_land *land, vl_prompt_kind kind, vl_split split, size_t count,
                                         uint64_t seed, const char *out, qa_error *err);
/* reward: nats of every preference, for suite.json. */
QA_MUST_CHECK qa_status vl_write_suite(const vl_land *land, size_t questions, double reward, uint64_t seed,
                                       const char *dir, qa_error *err);

/* Preference pairs from sample files (paths[n]); reward in nats, flip in [0, 1/2], mixed in [0, 1]. */
typedef struct vl_pairs_options {
    const vl_preference *preference;
    const char *const *samples;
    size_t n_samples;
    size_t count;
    double reward, flip, mixed;
    uint64_t seed;
    const char *out;
} vl_pairs_options;
QA_MUST_CHECK qa_status vl_write_pairs(const vl_pairs_options *options, qa_error *err);

QA_MUST_CHECK qa_status vl_write_answers(const vl_land *land, const char *prompts, size_t samples, uint64_t seed,
                                         const char *out, qa_error *err);

/* Prints, tab-separated, each class of the preference's and the number of answers of it; the wanted one is marked. */
QA_MUST_CHECK qa_status vl_print_counts(const vl_preference *preference, const char *path, qa_error *err);

/* Prints the counts; *proven says whether nothing is shared and every answer is of one class, its own. */
QA_MUST_CHECK qa_status vl_prove(const vl_land *land, size_t documents, uint64_t seed, bool *proven, qa_error *err);

#endif
