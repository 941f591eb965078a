/* What a run's own training pairs say about it when it ends: a preference that was not learned, or rewards that follow
 * the responses' length instead of it. Said as warnings; the numbers are also in metrics.jsonl. */
#ifndef QA_TRAIN_VERDICT_H
#define QA_TRAIN_VERDICT_H

#include "train/pair_step.h"

/* Counts over pairs as they were ranked when a step ran them. */
typedef struct qa_ranking {
    size_t pairs;         /* both responses of which were run */
    double right;         /* ranked right; ties count half */
    size_t unequal;       /* pairs whose responses differ in length and whose returns differ */
    size_t longer_chosen; /* of these: the chosen response is the longer one */
    size_t longer_wins;   /* of these: the longer response has the larger return */
} qa_ranking;

/* Zero-initialise. */
typedef struct qa_verdict {
    qa_ranking epoch, before; /* of the epoch that runs, and of the one before it */
} qa_verdict;

void qa_verdict_begin_epoch(qa_verdict *verdict);

/* The pair of the step's last forward, as the step ranked it. */
void qa_verdict_add(qa_verdict *verdict, const qa_pair *pair, const qa_pair_step *step);

/* One warning for each thing that is wrong over the last epoch, or the last two if the last one was cut short. Nothing
 * for fewer than 16 pairs, and nothing of methods that run the chosen response alone. */
void qa_verdict_say(const qa_verdict *verdict, const qa_objective *objective, const qa_logger *logger);

#endif
