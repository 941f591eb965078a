/* Prompt and generation of bench.h: the base model alone, the adapted stream alone and both, with their floors, in
 * turns. */
#include "bench/bench.h"

#include "base/clock.h"
#include "base/try.h"
#include "model/decode.h"
#include "model/merge.h"

typedef struct decoding {
    qa_bench *bench;
    bool prompt, token;   /* what is wanted */
    qa_bench_floor floor; /* of the prompt */
    qa_kv_decoder *base, *plain, *both;
    qa_kv_decoder *merged; /* of the model with the adapter in its weights; NULL: they are in BF16 */
} decoding;

/* Seconds of ids[n] behind what the decoder holds. */
static qa_status time_decoding(qa_kv_decoder *decoder, const int32_t *ids, size_t n, double *seconds, qa_error *err) {
    qa_real *base = NULL, *adapted = NULL;
    const double begun = qa_seconds();
    QA_TRY(qa_kv_decoder_forward(decoder, ids, n, &base, &adapted, err));
    *seconds = qa_seconds() - begun;
    return QA_OK;
}

static qa_status run_prompt(const decoding *d, qa_kv_decoder *decoder, double *seconds, qa_error *err) {
    const qa_pair *pair = &d->bench->pairs[0];
    qa_kv_decoder_rewind_all(decoder, 0);
    return time_decoding(decoder, pair->prompt, pair->prompt_len, seconds, err);
}

static qa_status prompts(decoding *d, double found[QA_BENCH_TIME_MEASURES], qa_error *err) {
    const qa_bench *bench = d->bench;
    found[QA_BENCH_TIME_PROMPT_BASE_FLOOR] = qa_bench_floor_prompt(&d->floor, bench, 1);
    found[QA_BENCH_TIME_PROMPT_BOTH_FLOOR] = qa_bench_floor_prompt(&d->floor, bench, 2);
    QA_TRY(run_prompt(d, d->base, &found[QA_BENCH_TIME_PROMPT_BASE], err));
    QA_TRY(run_prompt(d, d->plain, &found[QA_BENCH_TIME_PROMPT_PLAIN], err));
    return run_prompt(d, d->both, &found[QA_BENCH_TIME_PROMPT_BOTH], err);
}

/* Seconds per token behind the prompt, over --tokens of them; which tokens makes no difference. */
static qa_status tokens(decoding *d, double found[QA_BENCH_TIME_MEASURES], qa_error *err) {
    qa_bench *bench = d->bench;
    const qa_pair *pair = &bench->pairs[0];
    const size_t n = bench->tokens;
    qa_kv_decoder *const decoders[] = {d->base, d->plain, d->both, d->merged};
    static const qa_bench_measure measures[] = {QA_BENCH_TIME_TOKEN_BASE, QA_BENCH_TIME_TOKEN_PLAIN,
                                                QA_BENCH_TIME_TOKEN_BOTH, QA_BENCH_TIME_TOKEN_MERGED};
    const size_t n_decoders = d->merged == NULL ? 3 : 4;
    found[QA_BENCH_TIME_TOKEN_FLOOR] = 0.0;
    for (size_t k = 0; k < n_decoders; k++) {
        qa_kv_decoder_rewind_all(decoders[k], pair->prompt_len);
        found[measures[k]] = 0.0;
    }
    for (size_t i = 0; i < n; i++) {
        const int32_t *id = &pair->chosen[i % pair->chosen_len];
        found[QA_BENCH_TIME_TOKEN_FLOOR] += qa_bench_floor_read(bench, &bench->read_bytes) / (double)n;
        for (size_t k = 0; k < n_decoders; k++) {
            double seconds = 0.0;
            QA_TRY(time_decoding(decoders[k], id, 1, &seconds, err));
            found[measures[k]] += seconds / (double)n;
        }
    }
    return QA_OK;
}

/* Round 0 warms up and does not count. */
static qa_status all_rounds(decoding *d, qa_error *err) {
    qa_bench *bench = d->bench;
    const qa_bench_measure first = d->prompt ? QA_BENCH_TIME_PROMPT_BASE : QA_BENCH_TIME_TOKEN_BASE;
    const qa_bench_measure last = d->token ? QA_BENCH_TIME_TOKEN_FLOOR : QA_BENCH_TIME_PROMPT_BOTH_FLOOR;
    const char *what = !d->token ? "prompt" : !d->prompt ? "tokens" : "prompt and tokens";
    double found[QA_BENCH_TIME_MEASURES] = {0};
    for (size_t round = 0; round <= bench->repeats; round++) {
        bench->progress(bench->user, what, round, bench->repeats);
        if (d->prompt) {
            QA_TRY(prompts(d, found, err));
        }
        if (d->token) {
            QA_TRY(tokens(d, found, err));
        }
        for (qa_bench_measure m = first; round > 0 && m <= last; m++) {
            qa_bench_seconds(bench, m)[round - 1] = found[m];
        }
    }
    return QA_OK;
}

/* The composed policy's decoder with the prompt in its caches: all that generation needs, and nothing else yet. */
static qa_status begin(decoding *d, size_t capacity, qa_error *err) {
    qa_bench *bench = d->bench;
    const qa_pair *pair = &bench->pairs[0];
    double seconds = 0.0;
    QA_TRY(qa_kv_decoder_create(&d->both, bench->model, bench->adapter, QA_KV_BOTH, capacity, err));
    QA_TRY(run_prompt(d, d->both, &seconds, err));
    if (d->token) {
        QA_TRY(time_decoding(d->both, pair->chosen, 1, &seconds, err));
    }
    bench->decoder = qa_kv_decoder_bytes(d->both);
    bench->peak_decode = qa_bench_peak();
    return QA_OK;
}

/* What is timed beside the composed policy. Which weights the decoders read makes no difference to the others' time, so
 * they may all be merged ones. */
static qa_status begin_others(decoding *d, size_t capacity, qa_error *err) {
    qa_bench *bench = d->bench;
    double seconds = 0.0;
    QA_TRY(qa_kv_decoder_create(&d->base, bench->model, NULL, QA_KV_BOTH, capacity, err));
    QA_TRY(run_prompt(d, d->base, &seconds, err));
    QA_TRY(qa_kv_decoder_create(&d->plain, bench->model, bench->adapter, QA_KV_ADAPTED, capacity, err));
    QA_TRY(run_prompt(d, d->plain, &seconds, err));
    const qa_status merged = d->token ? qa_model_merge(bench->model, bench->adapter, err) : QA_ERR_UNSUPPORTED;
    if (merged != QA_OK) {
        return merged == QA_ERR_UNSUPPORTED ? QA_OK : merged;
    }
    bench->merged = true;
    QA_TRY(qa_kv_decoder_create(&d->merged, bench->model, NULL, QA_KV_BOTH, capacity, err));
    return run_prompt(d, d->merged, &seconds, err);
}

qa_status qa_bench_decode(qa_bench *bench, qa_error *err) {
    decoding d = {.bench = bench,
                  .prompt = (bench->wanted & QA_BENCH_PREFILL) != 0,
                  .token = (bench->wanted & QA_BENCH_DECODE) != 0};
    const size_t capacity = bench->pairs[0].prompt_len + (d.token ? bench->tokens : 0);
    qa_status status = QA_OK;
    QA_GOTO(done, begin(&d, capacity, err));
    QA_GOTO(done, begin_others(&d, capacity, err));
    if (d.prompt) {
        QA_GOTO(done, qa_bench_floor_create_prompt(&d.floor, bench, err));
    }
    QA_GOTO(done, all_rounds(&d, err));
done:
    qa_kv_decoder_free(d.both);
    qa_kv_decoder_free(d.plain);
    qa_kv_decoder_free(d.merged);
    qa_kv_decoder_free(d.base);
    qa_bench_floor_free(&d.floor);
    return status;
}
