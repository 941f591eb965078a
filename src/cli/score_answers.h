/* score of single answers and of lists of answers to one prompt. */
#ifndef QA_CLI_SCORE_ANSWERS_H
#define QA_CLI_SCORE_ANSWERS_H

#include "cli/common.h"
#include "cli/line_sink.h"

/* A line for every answer of the set (qa_pairs_single). Of micro_batch prompts (0: all) the answers share a padded
 * length. full: as --full. */
QA_MUST_CHECK qa_status cli_score_answers(cli_run *run, const qa_objective *objective, const qa_pairs *answers,
                                          size_t micro_batch, bool full, cli_line_sink *to, qa_error *err);

/* The padded length that `score` gives the pair or answer. */
size_t cli_padded_length(const qa_pairs *pairs, size_t micro_batch, size_t index);

#endif
