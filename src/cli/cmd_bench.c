/* qadapter bench: how fast this machine trains and generates with a model, beside what its matrix products and its
 * memory allow. See bench.h. */
#include "cli/bench.h"

#include "base/checked.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/try.h"
#include "cli/format.h"
#include "model/weights.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { DEFAULT_LENGTH = 128 };

size_t cli_bench_peak(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}

/* Loads the model `repeats` times, once if nobody asks how long that takes; the last one stays. */
static qa_status load(cli_bench *bench, qa_error *err) {
    cli_run *run = bench->run;
    const qa_weights_dtype dtype = cli_weights_dtype(run->args, QA_WEIGHTS_REAL);
    const size_t times = (bench->wanted & CLI_BENCH_LOAD) != 0 ? bench->repeats : 1;
    QA_TRY(cli_open_context(run, err));
    for (size_t i = 0; i < times; i++) {
        qa_model_free(run->model);
        run->model = NULL;
        const double begun = qa_seconds();
        QA_TRY(qa_model_load_as(&run->model, run->context, run->args->model, dtype, err));
        cli_bench_seconds(bench, CLI_LOAD)[i] = qa_seconds() - begun;
    }
    bench->peak_load = cli_bench_peak();
    return QA_OK;
}

/* ---- the pairs ---- */

/* Prompt and responses of --prompt-length and --response-length random tokens. */
static qa_status draw_pairs(cli_bench *bench, qa_error *err) {
    const cli_args *args = bench->run->args;
    const size_t V = qa_model_get_info(bench->run->model)->vocab_size;
    const size_t prompt = args->prompt_length == 0 ? DEFAULT_LENGTH : args->prompt_length;
    const size_t response = args->response_length == 0 ? DEFAULT_LENGTH : args->response_length;
    const size_t context = qa_model_get_info(bench->run->model)->context;
    size_t each = 0, all = 0;
    if (prompt > context || response > context - prompt) {
        return cli_bad_usage(bench->run, err,
                             "--prompt-length %zu and --response-length %zu are together more than the model's context "
                             "of %zu",
                             prompt, response, context);
    }
    each = prompt + 2 * response;
    if (!qa_mul_size(each, bench->n_pairs, &all)) {
        return qa_fail(err, QA_ERR_LIMIT, "--pairs: that many tokens do not fit a size");
    }
    bench->ids = qa_alloc_array(all, sizeof *bench->ids);
    if (bench->ids == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for %zu random tokens", all);
    }
    qa_rng rng = qa_rng_seed(1, 0);
    for (size_t i = 0; i < all; i++) {
        bench->ids[i] = (int32_t)qa_rng_below(&rng, V);
    }
    for (size_t i = 0; i < bench->n_pairs; i++) {
        const int32_t *ids = bench->ids + i * each;
        bench->pairs[i] = (qa_pair){.prompt = ids,
                                    .chosen = ids + prompt,
                                    .rejected = ids + prompt + response,
                                    .prompt_len = prompt,
                                    .chosen_len = response,
                                    .rejected_len = response,
                                    .chosen_terminal = true,
                                    .rejected_terminal = true,
                                    .label_start = prompt,
                                    .line = i + 1};
    }
    return QA_OK;
}

/* The first --pairs of the file. */
static qa_status read_pairs(cli_bench *bench, qa_error *err) {
    cli_run *run = bench->run;
    size_t max_length = 0;
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    QA_TRY(cli_load_tokenizer(run, false, err));
    QA_TRY(cli_load_pairs(run, run->args->data, max_length, &bench->set, err));
    if (qa_pairs_count(bench->set) < bench->n_pairs) {
        return qa_fail(err, QA_ERR_ARGUMENT, "%s: --pairs asks for %zu, but only %zu can be used", run->args->data,
                       bench->n_pairs, qa_pairs_count(bench->set));
    }
    for (size_t i = 0; i < bench->n_pairs; i++) {
        bench->pairs[i] = *qa_pairs_at(bench->set, i);
    }
    return QA_OK;
}

/* All pairs are one micro-batch, which is then the whole step: both objectives divide by the same. */
static void count_pairs(cli_bench *bench) {
    qa_divisors *divisors = &bench->divisors;
    divisors->pairs = (double)bench->n_pairs;
    for (size_t i = 0; i < bench->n_pairs; i++) {
        const size_t longest = qa_pair_longest_row(&bench->pairs[i]);
        divisors->padded_length = longest > divisors->padded_length ? longest : divisors->padded_length;
        bench->step_tokens += qa_pair_tokens(&bench->pairs[i]);
    }
    for (size_t i = 0; i < bench->n_pairs; i++) {
        divisors->counted += (double)qa_pair_counted(&bench->pairs[i], &bench->objective, divisors->padded_length);
    }
}

static qa_status take_pairs(cli_bench *bench, qa_error *err) {
    const size_t context = qa_model_get_info(bench->run->model)->context;
    const size_t tokens = bench->run->args->tokens;
    bench->n_pairs = bench->run->args->max_pairs;
    bench->pairs = qa_alloc_array(bench->n_pairs, sizeof *bench->pairs);
    if (bench->pairs == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for %zu pairs", bench->n_pairs);
    }
    QA_TRY(bench->run->args->data == NULL ? draw_pairs(bench, err) : read_pairs(bench, err));
    if ((bench->wanted & CLI_BENCH_DECODE) != 0 && tokens > context - bench->pairs[0].prompt_len) {
        return cli_bad_usage(bench->run, err,
                             "--tokens %zu behind a prompt of %zu are more than the model's context of %zu", tokens,
                             bench->pairs[0].prompt_len, context);
    }
    count_pairs(bench);
    return QA_OK;
}

/* ---- the command ---- */

/* *wanted: the bits of --measure. */
static qa_status parse_measure(cli_run *run, unsigned *wanted, qa_error *err) {
    static const struct {
        const char *name;
        unsigned bit;
    } known[] = {{"load", CLI_BENCH_LOAD},
                 {"train", CLI_BENCH_TRAIN},
                 {"prefill", CLI_BENCH_PREFILL},
                 {"decode", CLI_BENCH_DECODE}};
    const char *list = run->args->measure;
    *wanted = list == NULL ? CLI_BENCH_ALL : 0;
    while (list != NULL) {
        const size_t n = strcspn(list, ",");
        unsigned bit = 0;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            bit |= strlen(known[i].name) == n && strncmp(known[i].name, list, n) == 0 ? known[i].bit : 0;
        }
        if (bit == 0) {
            return cli_bad_usage(run, err,
                                 "--measure: expected a list of load, train, prefill and decode, found \"%.*s\"",
                                 (int)(n < INT_MAX ? n : INT_MAX), list);
        }
        *wanted |= bit;
        list = list[n] == ',' ? list + n + 1 : NULL;
    }
    return QA_OK;
}

static qa_status check_arguments(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    if (args->data != NULL && (args->prompt_length != 0 || args->response_length != 0)) {
        return cli_bad_usage(run, err, "--data and --%s exclude each other: the file's pairs have lengths of their own",
                             args->prompt_length != 0 ? "prompt-length" : "response-length");
    }
    return QA_OK;
}

static qa_status measure(cli_bench *bench, qa_error *err) {
    cli_run *run = bench->run;
    QA_TRY(load(bench, err));
    QA_TRY(take_pairs(bench, err));
    QA_TRY(cli_usage_if(run, qa_adapter_create(&run->adapter, run->model, &bench->lora, run->args->seed, err)));
    cli_say(run, "%zu pair%s of %zu tokens in all, %zu repeats, %zu thread%s", bench->n_pairs,
            cli_plural(bench->n_pairs), bench->step_tokens, bench->repeats, qa_context_threads(run->context),
            cli_plural(qa_context_threads(run->context)));
    if ((bench->wanted & CLI_BENCH_TRAIN) != 0) {
        QA_TRY(cli_bench_step(bench, err));
    }
    if ((bench->wanted & (CLI_BENCH_PREFILL | CLI_BENCH_DECODE)) != 0) {
        QA_TRY(cli_bench_decode(bench, err));
    }
    bench->peak = cli_bench_peak();
    return QA_OK;
}

qa_status cli_cmd_bench(cli_run *run, qa_error *err) {
    cli_bench bench = {.run = run, .repeats = run->args->repeats};
    qa_status status = QA_OK;
    QA_TRY(check_arguments(run, err));
    QA_TRY(parse_measure(run, &bench.wanted, err));
    QA_TRY(cli_resolve_objective(run, &bench.objective, NULL, err));
    QA_TRY(cli_lora_options(run->args, &bench.lora, err));
    bench.seconds = qa_alloc_array(bench.repeats * CLI_MEASURES, sizeof *bench.seconds);
    if (bench.seconds == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for %zu repeats", bench.repeats);
    }
    cli_progress_begin(&run->progress, !run->args->quiet);
    QA_GOTO(done, measure(&bench, err));
    cli_progress_clear(&run->progress);
    status = cli_bench_print(&bench, err);
done:
    qa_pairs_free(bench.set);
    free(bench.ids);
    free(bench.pairs);
    free(bench.seconds);
    return status;
}
