/* qadapter bench: what is measured, and against what. Every measure has a floor that is measured in the same process
 * and alternates with it, so that a drift of the machine's speed touches both:
 *
 *   step            the bare matrix products of the step, by BLAS with its own threads
 *   later step      the same without the base stream's, which is kept from the pair's first visit
 *   prompt          the bare matrix products of the prompt's rows and one row of the head
 *   token           one read of the weights that a token needs, by all threads
 *
 * Of several ranks the training step alone is measured: by rank 0 alone, while the others sleep, and by all of them.
 *
 * bench_step.c times the training step, bench_decode.c prompt and tokens, bench_floor.c the floors; cli/cmd_bench.c
 * takes the options and the pairs and prints. */
#ifndef QA_BENCH_BENCH_H
#define QA_BENCH_BENCH_H

#include "base/pool.h"
#include "base/real.h"
#include "train/batch.h"

#include "qadapter/model.h"

/* What can be measured, as bits of --measure; named as the sections of the report. */
enum { QA_BENCH_LOAD = 1, QA_BENCH_TRAIN = 2, QA_BENCH_PREFILL = 4, QA_BENCH_DECODE = 8, QA_BENCH_ALL = 15 };

/* Everything that is timed; "both" are base and adapted stream together, the composed policy; "plain" is the adapted
 * stream alone, which is all of a plain adapter's policy (qa_objective_is_plain), "merged" the same with the adapter in
 * the weights. */
typedef enum qa_bench_measure {
    QA_BENCH_TIME_LOAD,
    QA_BENCH_TIME_STEP,
    QA_BENCH_TIME_STEP_FLOOR,
    QA_BENCH_TIME_LATER,
    QA_BENCH_TIME_LATER_FLOOR,
    QA_BENCH_TIME_ONE,       /* of several ranks: the step by rank 0 alone */
    QA_BENCH_TIME_WAITED,    /* in the step of all ranks, for others, mean over ranks */
    QA_BENCH_TIME_EXCHANGED, /* and exchanging */
    QA_BENCH_TIME_PROMPT_BASE,
    QA_BENCH_TIME_PROMPT_BASE_FLOOR,
    QA_BENCH_TIME_PROMPT_PLAIN,
    QA_BENCH_TIME_PROMPT_BOTH,
    QA_BENCH_TIME_PROMPT_BOTH_FLOOR,
    QA_BENCH_TIME_TOKEN_BASE,
    QA_BENCH_TIME_TOKEN_PLAIN,
    QA_BENCH_TIME_TOKEN_MERGED,
    QA_BENCH_TIME_TOKEN_BOTH,
    QA_BENCH_TIME_TOKEN_FLOOR,
    QA_BENCH_TIME_MEASURES
} qa_bench_measure;

typedef struct qa_bench {
    qa_context *context;
    qa_model *model;
    qa_adapter *adapter;
    bool recompute; /* the layers are run again for the backward pass */
    size_t tokens;  /* that a repeat takes behind the prompt */
    void (*progress)(void *user, const char *what, size_t done, size_t total); /* drawn between the repeats */
    void *user;
    unsigned wanted; /* QA_BENCH_... */
    size_t repeats;
    qa_lora_options lora;
    qa_objective objective;
    /* the step's pairs; the first one's prompt is the one that prompt and tokens are timed with */
    qa_pairs *set;  /* of --data; NULL: random tokens */
    int32_t *ids;   /* the random tokens */
    qa_pair *pairs; /* [n_pairs] borrowed from the set or from ids */
    size_t n_pairs;
    size_t step_tokens; /* prompts once and both responses */
    qa_divisors divisors;
    double fullest; /* of several ranks: tokens of the one that has most of them, over the mean */
    /* what was found */
    double *seconds;                /* [QA_BENCH_TIME_MEASURES x repeats] */
    double loss, last_loss;         /* of the first step, and of the last timed one */
    qa_profile profile;             /* of all timed steps together */
    double step_flops, later_flops; /* of the steps' floors */
    size_t read_bytes;              /* of the token's floor */
    size_t workspace;               /* bytes planned for training */
    bool merged;                    /* it could be: the weights are not in BF16 */
    size_t base_cache;              /* bytes that keep the base stream of the step's pairs */
    size_t decoder;                 /* bytes of the composed policy's caches and rows */
    size_t peak_load;               /* resident bytes: the most until the model is loaded */
    size_t peak_train;              /* until after the first step */
    size_t peak_decode;             /* until after the first prompt and token of the composed policy */
    size_t peak;                    /* until the end */
} qa_bench;

/* seconds[repeats] of a measure. */
static inline double *qa_bench_seconds(const qa_bench *bench, qa_bench_measure measure) {
    return bench->seconds + (size_t)measure * bench->repeats;
}

/* ---- floors ---- */

/* Room for the operands of the largest product. */
typedef struct qa_bench_floor {
    qa_real *a, *b, *c;
    size_t a_count, b_count, c_count;
    double flops; /* of the last walk over the products */
} qa_bench_floor;

/* Begin with a zeroed one. Room for the products of the steps, or for those of the prompt. */
QA_MUST_CHECK qa_status qa_bench_floor_create_step(qa_bench_floor *floor, const qa_bench *bench, qa_error *err);
QA_MUST_CHECK qa_status qa_bench_floor_create_prompt(qa_bench_floor *floor, const qa_bench *bench, qa_error *err);
void qa_bench_floor_free(qa_bench_floor *floor);

/* Each returns its seconds. The products run in BLAS' own threads, as many as the run has; afterwards BLAS computes in
 * the calling thread again, and its threads sleep. */
double qa_bench_floor_step(qa_bench_floor *floor, const qa_bench *bench, bool later);
double qa_bench_floor_prompt(qa_bench_floor *floor, const qa_bench *bench, size_t streams);
/* *bytes: what was read. */
double qa_bench_floor_read(const qa_bench *bench, size_t *bytes);

/* ---- what is measured ---- */

/* Fills the measures of both steps, the losses, the profile, workspace, base cache and peak. Needs the adapter. */
QA_MUST_CHECK qa_status qa_bench_step(qa_bench *bench, qa_error *err);
/* Fills the measures of prompt and token, whichever are wanted, the decoder's bytes and its peak. Where tokens are, the
 * adapter is merged into the model: the last measure of all. */
QA_MUST_CHECK qa_status qa_bench_decode(qa_bench *bench, qa_error *err);

/* The most bytes that were resident so far. */
size_t qa_bench_peak(void);

#endif
