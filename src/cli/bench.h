/* qadapter bench: what is measured, and against what. Every measure has a floor that is measured in the same process
 * and alternates with it, so that a drift of the machine's speed touches both:
 *
 *   step            the bare matrix products of the step, by BLAS with its own threads
 *   prompt          the bare matrix products of the prompt's rows and one row of the head
 *   token           one read of the weights that a token needs, by all threads
 *
 * cmd_bench.c takes the options and the pairs, bench_step.c times the training step, bench_decode.c prompt and tokens,
 * bench_floor.c the floors, bench_report.c prints. */
#ifndef QA_CLI_BENCH_H
#define QA_CLI_BENCH_H

#include "base/pool.h"
#include "base/real.h"
#include "cli/common.h"
#include "train/batch.h"

/* Everything that is timed; "both" are base and adapted stream together, the composed policy. */
typedef enum cli_measure {
    CLI_LOAD,
    CLI_STEP,
    CLI_STEP_FLOOR,
    CLI_PROMPT_BASE,
    CLI_PROMPT_BASE_FLOOR,
    CLI_PROMPT_BOTH,
    CLI_PROMPT_BOTH_FLOOR,
    CLI_TOKEN_BASE,
    CLI_TOKEN_BOTH,
    CLI_TOKEN_FLOOR,
    CLI_MEASURES
} cli_measure;

typedef struct cli_bench {
    cli_run *run;
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
    /* what was found */
    double *seconds;         /* [CLI_MEASURES x repeats] */
    double loss, last_loss;  /* of the first step, and of the last timed one */
    qa_profile profile;      /* of all timed steps together */
    double step_flops;       /* of the step's floor */
    size_t read_bytes;       /* of the token's floor */
    size_t workspace;        /* bytes planned for training */
    size_t peak_after_first; /* resident bytes: the most until after the first step */
    size_t peak;             /* and until the end */
} cli_bench;

/* seconds[repeats] of a measure. */
static inline double *cli_bench_seconds(const cli_bench *bench, cli_measure measure) {
    return bench->seconds + (size_t)measure * bench->repeats;
}

/* ---- floors ---- */

/* Room for the operands of the largest product. */
typedef struct cli_floor {
    qa_real *a, *b, *c;
    size_t a_count, b_count, c_count;
    double flops; /* of the last walk over the products */
} cli_floor;

/* Begin with a zeroed one. The room is taken for all that this bench asks for. */
QA_MUST_CHECK qa_status cli_floor_create(cli_floor *floor, const cli_bench *bench, qa_error *err);
void cli_floor_free(cli_floor *floor);

/* Each returns its seconds. The products run in BLAS' own threads, as many as the run has; afterwards BLAS computes in
 * the calling thread again, and its threads sleep. */
double cli_floor_step(cli_floor *floor, const cli_bench *bench);
double cli_floor_prompt(cli_floor *floor, const cli_bench *bench, size_t streams);
/* *bytes: what was read. */
double cli_floor_read(const cli_bench *bench, size_t *bytes);

/* ---- what is measured ---- */

/* Fills the measures of the step, the loss, the profile, workspace and peak. Needs the run's adapter. */
QA_MUST_CHECK qa_status cli_bench_step(cli_bench *bench, qa_error *err);
/* Fills the measures of prompt and token. */
QA_MUST_CHECK qa_status cli_bench_decode(cli_bench *bench, qa_error *err);

/* The most bytes that were resident so far. */
size_t cli_bench_peak(void);

/* A table or JSON on standard output. */
QA_MUST_CHECK qa_status cli_bench_print(const cli_bench *bench, qa_error *err);

#endif
