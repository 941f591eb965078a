/* What a run's own numbers say about it when it ends: that nothing was learned, that it was learned wrongly, or that
 * rewards follow the responses' length. Said as warnings; the numbers are also in metrics.jsonl. */
#ifndef QA_TRAIN_VERDICT_H
#define QA_TRAIN_VERDICT_H

#include "train/pair_metrics.h"

/* Counts over pairs as they were when a step ran them. */
typedef struct qa_ranking {
    size_t pairs;         /* both responses of which were run */
    double right;         /* ranked right; ties count half */
    size_t ties;          /* of the pairs: equal but for rounding */
    double loss;          /* the sum of log(1 + exp(-z)) */
    size_t tokens;        /* of responses that were run alone */
    double gain;          /* the sum of log pitilde - log pi1 over these tokens, less that over undesirable ones' */
    bool undesirable;     /* there were such */
    size_t unequal;       /* pairs whose responses differ in length and whose returns differ */
    size_t longer_chosen; /* of these: the chosen response is the longer one */
    size_t longer_wins;   /* of these: the longer response has the larger return */
} qa_ranking;

/* Zero-initialise. */
typedef struct qa_verdict {
    qa_ranking epoch, before; /* of the epoch that runs, and of the one before it */
    size_t held_out;          /* pairs of the last evaluation */
    double held_out_right;    /* of these */
} qa_verdict;

void qa_verdict_begin_epoch(qa_verdict *verdict);

/* A pair as its step ranked it. */
void qa_verdict_add(qa_verdict *verdict, const qa_pair *pair, const qa_pair_record *record);

/* The last evaluation's pairs and the share of them that is ranked right. */
void qa_verdict_evaluated(qa_verdict *verdict, size_t pairs, double accuracy);

/* One warning for each thing that is wrong over the last epoch, or the last two if the last one was cut short. Nothing
 * for fewer than 16 pairs (of responses run alone: 16 tokens), nor for what chance makes of fewer than 100 (4096). */
void qa_verdict_say(const qa_verdict *verdict, const qa_objective *objective, const qa_logger *logger);

/* The same of next-token training: the mean loss of its last `steps` steps (nats a token) beside that of guessing every
 * token of the vocabulary alike. Nothing for fewer than QA_FEWEST_STEPS. */
enum { QA_FEWEST_STEPS = 16 };
void qa_verdict_say_of_tokens(double loss, size_t steps, size_t vocab_size, const qa_logger *logger);

#endif
