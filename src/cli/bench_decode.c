/* Prompt and generation of bench.h: the base model alone and both streams, each with its floor, in turns. */
#include "cli/bench.h"

#include "base/clock.h"
#include "base/try.h"
#include "model/decode.h"

typedef struct decoding {
    cli_bench *bench;
    cli_floor floor;
    qa_kv_decoder *base, *both;
} decoding;

/* Seconds of ids[n] behind what the decoder holds. */
static qa_status timed(qa_kv_decoder *decoder, const int32_t *ids, size_t n, double *seconds, qa_error *err) {
    qa_real *base = NULL, *adapted = NULL;
    const double begun = qa_seconds();
    QA_TRY(qa_kv_decoder_forward(decoder, ids, n, &base, &adapted, err));
    *seconds = qa_seconds() - begun;
    return QA_OK;
}

static qa_status prompts(decoding *d, double found[CLI_MEASURES], qa_error *err) {
    const cli_bench *bench = d->bench;
    const qa_pair *pair = &bench->pairs[0];
    found[CLI_PROMPT_BASE_FLOOR] = cli_floor_prompt(&d->floor, bench, 1);
    found[CLI_PROMPT_BOTH_FLOOR] = cli_floor_prompt(&d->floor, bench, 2);
    qa_kv_decoder_rewind(d->base, 0, 0);
    qa_kv_decoder_rewind(d->both, 0, 0);
    QA_TRY(timed(d->base, pair->prompt, pair->prompt_len, &found[CLI_PROMPT_BASE], err));
    return timed(d->both, pair->prompt, pair->prompt_len, &found[CLI_PROMPT_BOTH], err);
}

/* Seconds per token, over --tokens of them; which tokens makes no difference. */
static qa_status tokens(decoding *d, double found[CLI_MEASURES], qa_error *err) {
    cli_bench *bench = d->bench;
    const qa_pair *pair = &bench->pairs[0];
    const size_t n = bench->run->args->tokens;
    found[CLI_TOKEN_FLOOR] = found[CLI_TOKEN_BASE] = found[CLI_TOKEN_BOTH] = 0.0;
    for (size_t i = 0; i < n; i++) {
        const int32_t *id = &pair->chosen[i % pair->chosen_len];
        double base = 0.0, both = 0.0;
        found[CLI_TOKEN_FLOOR] += cli_floor_read(bench, &bench->read_bytes) / (double)n;
        QA_TRY(timed(d->base, id, 1, &base, err));
        QA_TRY(timed(d->both, id, 1, &both, err));
        found[CLI_TOKEN_BASE] += base / (double)n;
        found[CLI_TOKEN_BOTH] += both / (double)n;
    }
    return QA_OK;
}

/* Round 0 warms up and does not count. */
static qa_status all_rounds(decoding *d, qa_error *err) {
    static const cli_measure measures[] = {CLI_PROMPT_BASE,       CLI_PROMPT_BASE_FLOOR, CLI_PROMPT_BOTH,
                                           CLI_PROMPT_BOTH_FLOOR, CLI_TOKEN_BASE,        CLI_TOKEN_BOTH,
                                           CLI_TOKEN_FLOOR};
    cli_bench *bench = d->bench;
    double found[CLI_MEASURES] = {0};
    for (size_t round = 0; round <= bench->repeats; round++) {
        cli_progress_draw(&bench->run->progress, "prompt and tokens %zu/%zu", round, bench->repeats);
        QA_TRY(prompts(d, found, err));
        QA_TRY(tokens(d, found, err));
        for (size_t i = 0; round > 0 && i < sizeof measures / sizeof measures[0]; i++) {
            cli_bench_seconds(bench, measures[i])[round - 1] = found[measures[i]];
        }
    }
    return QA_OK;
}

qa_status cli_bench_decode(cli_bench *bench, qa_error *err) {
    const cli_run *run = bench->run;
    const size_t capacity = bench->pairs[0].prompt_len + run->args->tokens;
    decoding d = {.bench = bench};
    qa_status status = QA_OK;
    QA_GOTO(done, cli_floor_create(&d.floor, bench, err));
    QA_GOTO(done, qa_kv_decoder_create(&d.base, run->model, NULL, capacity, err));
    QA_GOTO(done, qa_kv_decoder_create(&d.both, run->model, run->adapter, capacity, err));
    QA_GOTO(done, all_rounds(&d, err));
done:
    qa_kv_decoder_free(d.both);
    qa_kv_decoder_free(d.base);
    cli_floor_free(&d.floor);
    return status;
}
