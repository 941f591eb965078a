/* score of single answers and of lists of answers to one prompt. */
#ifndef QA_CLI_SCORE_ANSWERS_H
#define QA_CLI_SCORE_ANSWERS_H

#include "cli/common.h"
#include "cli/line_sink.h"
#include "cli/reward_choice.h"

/* How answers are told and ranked. */
typedef struct cli_answer_ranking {
    bool full;                     /* as --full */
    bool by_mean;                  /* by the mean implied reward of a token; else by the return */
    size_t best_of;                /* only the best of the first so many answers to a prompt is told; 0: all are */
    qa_reward_model *reward_model; /* whose score they are ranked by; NULL: none */
    size_t output;
} cli_answer_ranking;

/* A line for every answer of the set (qa_pairs_single). Of micro_batch prompts (0: all) the answers share a padded
 * length. A prompt with fewer answers than best_of is an error that names it. */
QA_MUST_CHECK qa_status cli_score_answers(cli_run *run, const qa_objective *objective, const qa_pairs *answers,
                                          size_t micro_batch, const cli_answer_ranking *ranking, cli_line_sink *to,
                                          qa_error *err);

/* Pairs or prompts that a rank scores before ranks exchange their lines: what is held in memory. */
static inline size_t cli_score_per_rank(bool full) { return full ? 1 : 32; }

/* The padded length that `score` gives the pair or answer. */
size_t cli_padded_length(const qa_pairs *pairs, size_t micro_batch, size_t index);

#endif
