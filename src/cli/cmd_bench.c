/* qadapter bench: how fast this machine trains and generates with a model, beside what its matrix products and its
 * memory allow. See bench.h. */
#include "bench/bench.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "cli/common.h"
#include "cli/format.h"
#include "cli/report.h"
#include "cluster/cluster.h"
#include "model/lora_options.h"
#include "model/weights.h"
#include "nn/blas.h"
#include "train/options.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

typedef struct bench_args {
    cli_args shared;
    qa_train_options train; /* recompute */
    size_t n_pairs, prompt_length, response_length, tokens, repeats;
    const char *measure; /* NULL: everything */
} bench_args;

#define ROW(kind, ...) QA_##kind(bench_args, __VA_ARGS__)
#define INPUT(kind, field) ROW(kind, field), .group = QA_GROUP_INPUT

static const qa_option bench_rows[] = {
    {"data", ROW(STRING, shared.data), .letter = 'd', .placeholder = "FILE", .group = QA_GROUP_DATA,
     .aliases = "dataset dataset-name train-file train-data data-path", .path = QA_PATH_READ, .note = "random tokens",
     .help = "preference pairs whose first ones make the step, JSON or JSON Lines, in any known form"},
    {"pairs", ROW(SIZE, n_pairs), .aliases = "max-pairs batch-size", .group = QA_GROUP_DATA, .range = QA_RANGE_FROM_1,
     .standard = "1", .help = "pairs of a step"},
    {"recipe", ROW(WORD, shared.recipe, "theory", "published"), .group = QA_GROUP_OBJECTIVE, .standard = "theory",
     .help = "objective of the step"},
    {"prompt-length", INPUT(SIZE, prompt_length), .range = QA_RANGE_FROM_1, .standard = "128",
     .note = "%, or the pair's own", .help = "tokens of a random prompt"},
    {"response-length", INPUT(SIZE, response_length), .range = QA_RANGE_FROM_1, .standard = "128",
     .note = "%, or the pair's own", .help = "tokens of each of a pair's two random responses"},
    {"tokens", INPUT(SIZE, tokens), .letter = 'n', .aliases = "max-tokens", .range = QA_RANGE_FROM_1, .standard = "16",
     .help = "tokens that a repeat of the generation takes behind the first pair's prompt"},
    {"repeats", ROW(SIZE, repeats), .aliases = "repetitions", .group = QA_GROUP_RUN, .range = QA_RANGE_1_TO_1024,
     .standard = "5", .help = "how often everything is timed; the median counts"},
    {"measure", ROW(STRING, measure), .placeholder = "LIST", .group = QA_GROUP_RUN, .note = "all four",
     .help = "what to measure, of load,train,prefill,decode; the rest takes neither time nor memory"},
};
static const qa_option_table bench_table = QA_TABLE(bench_rows);
static const cli_table bench_tables[] = {{&cli_model_table, 0, "model dtype", NULL},
                                         {&bench_table, 0, NULL, NULL},
                                         {&cli_chat_table, 0, NULL, NULL},
                                         {&cli_pairs_table, 0, "response-end", &cli_response_end_words},
                                         {&cli_pairs_table, 0, "columns max-length dsp-domain strict", NULL},
                                         {&qa_lora_table, offsetof(cli_args, lora), NULL, NULL},
                                         {&qa_train_table, offsetof(bench_args, train), "recompute", NULL},
                                         {&cli_output_table, 0, "json", NULL}};

static const bench_args *bench_args_of(const cli_run *run) { return (const bench_args *)run->args; }

/* Loads the model `repeats` times, once if nobody asks how long that takes; the last one stays. */
static qa_status load_timed(qa_bench *bench, cli_run *run, qa_error *err) {
    const qa_weights_dtype dtype = cli_weights_dtype(run->args, QA_WEIGHTS_REAL);
    const size_t times = (bench->wanted & QA_BENCH_LOAD) != 0 ? bench->repeats : 1;
    QA_TRY(cli_open_context(run, err));
    for (size_t i = 0; i < times; i++) {
        qa_model_free(run->model);
        run->model = NULL;
        const double begun = qa_seconds();
        QA_TRY(qa_model_load_as(&run->model, run->context, run->args->model, dtype, err));
        qa_bench_seconds(bench, QA_BENCH_TIME_LOAD)[i] = qa_seconds() - begun;
    }
    bench->peak_load = qa_bench_peak();
    return QA_OK;
}

/* ---- the pairs ---- */

/* Prompt and responses of --prompt-length and --response-length random tokens. */
static qa_status draw_pairs(qa_bench *bench, cli_run *run, qa_error *err) {
    const size_t V = qa_model_get_info(run->model)->vocab_size;
    const size_t prompt = bench_args_of(run)->prompt_length, response = bench_args_of(run)->response_length;
    const size_t context = qa_model_get_info(run->model)->context;
    size_t each = 0, all = 0;
    if (prompt > context || response > context - prompt) {
        return cli_bad_usage(run, err,
                             "--prompt-length %zu and --response-length %zu are together more than the model's context "
                             "of %zu",
                             prompt, response, context);
    }
    each = prompt + 2 * response;
    QA_FAIL_IF(!qa_mul_size(each, bench->n_pairs, &all), err, QA_ERR_LIMIT,
               "--pairs: that many tokens do not fit a size");
    QA_TRY(QA_NEW(bench->ids, all, err, "%zu random tokens", all));
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
static qa_status read_pairs(qa_bench *bench, cli_run *run, qa_error *err) {
    size_t max_length = 0;
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    QA_TRY(cli_load_tokenizer(run, false, err));
    QA_TRY(cli_load_pairs(run, run->args->data, max_length, &bench->set, err));
    QA_FAIL_IF(qa_pairs_count(bench->set) < bench->n_pairs, err, QA_ERR_ARGUMENT,
               "%s: --pairs asks for %zu, but only %zu can be used", run->args->data, bench->n_pairs,
               qa_pairs_count(bench->set));
    for (size_t i = 0; i < bench->n_pairs; i++) {
        bench->pairs[i] = *qa_pairs_at(bench->set, i);
    }
    return QA_OK;
}

/* All pairs are one micro-batch, which is then the whole step: both objectives divide by the same. */
static void count_pairs(qa_bench *bench) {
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

static qa_status take_pairs(qa_bench *bench, cli_run *run, qa_error *err) {
    const size_t context = qa_model_get_info(run->model)->context;
    const size_t tokens = bench_args_of(run)->tokens;
    bench->n_pairs = bench_args_of(run)->n_pairs;
    QA_TRY(QA_NEW(bench->pairs, bench->n_pairs, err, "%zu pairs", bench->n_pairs));
    QA_TRY(run->args->data == NULL ? draw_pairs(bench, run, err) : read_pairs(bench, run, err));
    if ((bench->wanted & QA_BENCH_DECODE) != 0 && tokens > context - bench->pairs[0].prompt_len) {
        return cli_bad_usage(run, err, "--tokens %zu behind a prompt of %zu are more than the model's context of %zu",
                             tokens, bench->pairs[0].prompt_len, context);
    }
    count_pairs(bench);
    return QA_OK;
}

/* ---- the report: absolute figures, the floors, and the ratios of the two ----
 *
 * docs/speed.md lists the keys of the JSON. A measure is the median of its repeats with the smallest and the largest;
 * so is a ratio, of what was measured in the same repeat. */

typedef struct spread {
    double median, smallest, largest;
} spread;

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts values[n], n >= 1. */
static spread spread_of(double *values, size_t n) {
    qsort(values, n, sizeof *values, by_size);
    const double median = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2.0;
    return (spread){median, values[0], values[n - 1]};
}

static const qa_bench_measure NONE = QA_BENCH_TIME_MEASURES; /* no measure */

typedef struct printing {
    cli_report report;
    const qa_bench *bench;
    double *scratch; /* [repeats] */
} printing;

/* Four digits, and no fewer than there are before the point. */
static void format_number(char *buffer, size_t bytes, double x) {
    (void)snprintf(buffer, bytes, x < 1e4 ? "%.4g" : "%.0f", x);
}

static void add_spread(printing *p, const char *key, const char *label, spread s, const char *unit) {
    char json[4 * CLI_NUMBER_BYTES];
    char shown[4 * CLI_NUMBER_BYTES];
    char median[CLI_NUMBER_BYTES], smallest[CLI_NUMBER_BYTES], largest[CLI_NUMBER_BYTES];
    format_number(median, sizeof median, s.median);
    format_number(smallest, sizeof smallest, s.smallest);
    format_number(largest, sizeof largest, s.largest);
    (void)snprintf(json, sizeof json, "{\"median\": %.9g, \"min\": %.9g, \"max\": %.9g}", s.median, s.smallest,
                   s.largest);
    (void)snprintf(shown, sizeof shown, "%s %s  (%s to %s)", median, unit, smallest, largest);
    cli_report_json(&p->report, key, label, json, shown);
}

/* factor * above / below, of the seconds of every repeat; NONE: 1. */
static void add_ratio(printing *p, const char *key, const char *label, qa_bench_measure above, qa_bench_measure below,
                      double factor, const char *unit) {
    for (size_t i = 0; i < p->bench->repeats; i++) {
        p->scratch[i] = factor * (above == NONE ? 1.0 : qa_bench_seconds(p->bench, above)[i]) /
                        (below == NONE ? 1.0 : qa_bench_seconds(p->bench, below)[i]);
    }
    add_spread(p, key, label, spread_of(p->scratch, p->bench->repeats), unit);
}

#define ADD_SECONDS(key, label, measure) add_ratio(p, key, label, QA_BENCH_TIME_##measure, NONE, 1.0, "s")
#define ADD_RATE(key, label, amount, measure, unit)                                                                    \
    add_ratio(p, key, label, NONE, QA_BENCH_TIME_##measure, amount, unit)
#define ADD_PERCENT(key, label, above, below)                                                                          \
    add_ratio(p, key, label, QA_BENCH_TIME_##above, QA_BENCH_TIME_##below, 100.0, "%")
#define ADD_TIMES(key, label, above, below)                                                                            \
    add_ratio(p, key, label, QA_BENCH_TIME_##above, QA_BENCH_TIME_##below, 1.0, "times")

static size_t ranks_of(const qa_bench *bench) { return qa_cluster_ranks(bench->context->cluster); }

static void add_machine(printing *p) {
    const qa_model_info *info = qa_model_get_info(p->bench->model);
    cli_report_section(&p->report, "machine", "Machine");
    cli_report_count(&p->report, "threads", "threads", qa_context_threads(p->bench->context), "");
    if (ranks_of(p->bench) > 1) {
        cli_report_count(&p->report, "ranks", "ranks", ranks_of(p->bench), "");
    }
    cli_report_text(&p->report, "precision", "computed in", qa_precision());
    cli_report_text(&p->report, "blas", "BLAS", qa_blas_description());
    cli_report_count(&p->report, "repeats", "repeats", p->bench->repeats, "");
    cli_report_section(&p->report, "model", "Model");
    cli_report_text(&p->report, "dir", "folder", info->dir);
    cli_report_count(&p->report, "parameters", "parameters", info->parameters, "");
    cli_report_text(&p->report, "memory_dtype", "matrices in memory", info->memory_dtype);
}

static void add_load(printing *p) {
    const double bytes = (double)qa_model_get_info(p->bench->model)->weight_bytes;
    cli_report_section(&p->report, "load", "Loading the model");
    ADD_SECONDS("seconds", "time", LOAD);
    ADD_RATE("megabytes_per_second", "weights in memory", 1e-6 * bytes, LOAD, "MB/s");
}

/* What several ranks gain. */
static void add_ranks(printing *p) {
    const qa_bench *bench = p->bench;
    const double ranks = (double)ranks_of(bench);
    ADD_SECONDS("one_rank_seconds", "step by rank 0 alone", ONE);
    add_ratio(p, "speed_up", "alone / all", QA_BENCH_TIME_ONE, QA_BENCH_TIME_STEP, 1.0, "times");
    add_ratio(p, "ranks_efficiency_percent", "alone / (ranks x all)", QA_BENCH_TIME_ONE, QA_BENCH_TIME_STEP,
              100.0 / ranks, "%");
    cli_report_real(&p->report, "fullest_rank", "tokens of the fullest rank over the mean", bench->fullest, "times");
    ADD_SECONDS("waited_seconds", "waiting for other ranks, mean", WAITED);
    ADD_SECONDS("exchanged_seconds", "exchanging, mean", EXCHANGED);
    cli_report_bytes(&p->report, "gradient_bytes", "a gradient",
                     qa_adapter_parameters(bench->adapter) * sizeof(qa_real));
}

static void add_training_step(printing *p) {
    const qa_bench *bench = p->bench;
    char targets[CLI_LINE_BYTES];
    qa_lora_targets_text(&bench->lora, targets, sizeof targets);
    cli_report_section(&p->report, "train", "Training step");
    cli_report_text(&p->report, "objective", "objective", qa_objective_kind_name(bench->objective.kind));
    cli_report_count(&p->report, "pairs", "pairs", bench->n_pairs, "");
    cli_report_count(&p->report, "tokens", "prompts once and responses", bench->step_tokens, "tokens");
    cli_report_count(&p->report, "lora_r", "LoRA rank", bench->lora.rank, "");
    cli_report_text(&p->report, "lora_target", "LoRA targets", targets);
    cli_report_count(&p->report, "trainable_parameters", "trainable parameters", qa_adapter_parameters(bench->adapter),
                     "");
    cli_report_flag(&p->report, "recompute", "layers run again for backward", bench->recompute);
    cli_report_real(&p->report, "loss", "loss of the first step", bench->loss, "");
    cli_report_real(&p->report, "last_loss", "and of the last", bench->last_loss, "");
    ADD_SECONDS("seconds", "step", STEP);
    ADD_RATE("tokens_per_second", "rate", (double)bench->step_tokens, STEP, "tokens/s");
    if (ranks_of(bench) > 1) {
        add_ranks(p);
        return;
    }
    ADD_SECONDS("floor_seconds", "its matrix products alone", STEP_FLOOR);
    cli_report_real(&p->report, "floor_gflop", "their work", 1e-9 * bench->step_flops, "GFLOP");
    ADD_RATE("floor_gflop_per_second", "their rate", 1e-9 * bench->step_flops, STEP_FLOOR, "GFLOP/s");
    ADD_PERCENT("efficiency_percent", "products / step", STEP_FLOOR, STEP);
    ADD_SECONDS("later_seconds", "step of later epochs, base stream kept", LATER);
    ADD_SECONDS("later_floor_seconds", "its matrix products alone", LATER_FLOOR);
    cli_report_real(&p->report, "later_floor_gflop", "their work", 1e-9 * bench->later_flops, "GFLOP");
    ADD_PERCENT("later_efficiency_percent", "products / later step", LATER_FLOOR, LATER);
    ADD_TIMES("later_over_step", "later step / step", LATER, STEP);
}

/* Seconds of a step, and their share of it. */
static void add_share(printing *p, const char *key, const char *label, double seconds, double of) {
    char json[CLI_NUMBER_BYTES];
    char shown[2 * CLI_NUMBER_BYTES];
    (void)snprintf(json, sizeof json, "%.9g", seconds);
    (void)snprintf(shown, sizeof shown, "%8.5f s  %5.1f%%", seconds, 100.0 * seconds / of);
    cli_report_json(&p->report, key, label, json, shown);
}

/* Means over the timed steps, so that they add up. */
static void add_parts(printing *p) {
    static const char *const keys[QA_PARTS] = {"products", "attention", "head", "norms", "elementwise", "optimiser"};
    static const char *const labels[QA_PARTS] = {"linear maps", "attention",   "head",
                                                 "norms",       "elementwise", "optimiser"};
    const qa_bench *bench = p->bench;
    const double n = (double)bench->repeats, threads = (double)qa_context_threads(bench->context);
    double wall = 0.0, named = 0.0;
    for (size_t i = 0; i < bench->repeats; i++) {
        wall += qa_bench_seconds(bench, QA_BENCH_TIME_STEP)[i] / n;
    }
    cli_report_section(&p->report, "parts", "Where the time of a step goes, mean");
    add_share(p, "wall", "step", wall, wall);
    for (int part = 0; part < QA_PARTS; part++) {
        const double seconds = bench->profile.seconds[part] / n;
        add_share(p, keys[part], labels[part], seconds, wall);
        named += seconds;
    }
    add_share(p, "rest", "rest", wall - named, wall);
    const double idle = (threads - 1.0) * wall + (bench->profile.waited - bench->profile.helped) / n;
    add_share(p, "idle", "threads that wait, of threads x step", idle, threads * wall);
}

static void add_prompt(printing *p) {
    const double tokens = (double)p->bench->pairs[0].prompt_len;
    cli_report_section(&p->report, "prefill", "Prompt");
    cli_report_count(&p->report, "tokens", "prompt", p->bench->pairs[0].prompt_len, "tokens");
    ADD_SECONDS("base_seconds", "base model", PROMPT_BASE);
    ADD_RATE("base_tokens_per_second", "rate", tokens, PROMPT_BASE, "tokens/s");
    ADD_SECONDS("base_floor_seconds", "its matrix products alone", PROMPT_BASE_FLOOR);
    ADD_PERCENT("base_efficiency_percent", "products / prompt", PROMPT_BASE_FLOOR, PROMPT_BASE);
    ADD_SECONDS("plain_seconds", "plain adapter, one stream", PROMPT_PLAIN);
    ADD_TIMES("plain_over_base", "one stream / base", PROMPT_PLAIN, PROMPT_BASE);
    ADD_SECONDS("both_seconds", "composed policy", PROMPT_BOTH);
    ADD_RATE("both_tokens_per_second", "rate", tokens, PROMPT_BOTH, "tokens/s");
    ADD_SECONDS("both_floor_seconds", "its matrix products alone", PROMPT_BOTH_FLOOR);
    ADD_PERCENT("both_efficiency_percent", "products / prompt", PROMPT_BOTH_FLOOR, PROMPT_BOTH);
    ADD_TIMES("both_over_base", "composed / base", PROMPT_BOTH, PROMPT_BASE);
}

static void add_token(printing *p) {
    const double bytes = (double)p->bench->read_bytes;
    cli_report_section(&p->report, "decode", "Generation, one token behind that prompt");
    cli_report_count(&p->report, "tokens", "tokens a repeat", p->bench->tokens, "");
    ADD_SECONDS("base_seconds", "base model", TOKEN_BASE);
    ADD_RATE("base_tokens_per_second", "rate", 1.0, TOKEN_BASE, "tokens/s");
    ADD_SECONDS("plain_seconds", "plain adapter, one stream", TOKEN_PLAIN);
    ADD_RATE("plain_tokens_per_second", "rate", 1.0, TOKEN_PLAIN, "tokens/s");
    if (p->bench->merged) {
        ADD_SECONDS("merged_seconds", "plain adapter, merged", TOKEN_MERGED);
        ADD_RATE("merged_tokens_per_second", "rate", 1.0, TOKEN_MERGED, "tokens/s");
    }
    ADD_SECONDS("both_seconds", "composed policy", TOKEN_BOTH);
    ADD_RATE("both_tokens_per_second", "rate", 1.0, TOKEN_BOTH, "tokens/s");
    cli_report_bytes(&p->report, "floor_bytes", "weights that a token reads", p->bench->read_bytes);
    ADD_SECONDS("floor_seconds", "one read of them", TOKEN_FLOOR);
    ADD_RATE("floor_gigabytes_per_second", "its rate", 1e-9 * bytes, TOKEN_FLOOR, "GB/s");
    ADD_PERCENT("base_efficiency_percent", "read / token, base model", TOKEN_FLOOR, TOKEN_BASE);
    ADD_PERCENT("both_efficiency_percent", "read / token, composed", TOKEN_FLOOR, TOKEN_BOTH);
    ADD_TIMES("plain_over_base", "one stream / base", TOKEN_PLAIN, TOKEN_BASE);
    if (p->bench->merged) {
        ADD_TIMES("merged_over_base", "merged / base", TOKEN_MERGED, TOKEN_BASE);
    }
    ADD_TIMES("both_over_base", "composed / base", TOKEN_BOTH, TOKEN_BASE);
}

/* Memory only ever grows, so what generation takes is seen where no training ran before it. */
static void add_memory(printing *p) {
    const qa_bench *bench = p->bench;
    const size_t weights = qa_model_get_info(bench->model)->weight_bytes;
    const bool train = (bench->wanted & QA_BENCH_TRAIN) != 0;
    cli_report_section(&p->report, "memory", "Memory");
    cli_report_bytes(&p->report, "weights", "weights", weights);
    cli_report_bytes(&p->report, "peak_load", "resident at most, loading", bench->peak_load);
    if (train) {
        const size_t planned = weights + bench->workspace;
        cli_report_bytes(&p->report, "workspace", "training workspace", bench->workspace);
        cli_report_bytes(&p->report, "planned_train", "planned for training: both", planned);
        cli_report_bytes(&p->report, "peak_train", "resident at most, loading and one step", bench->peak_train);
        cli_report_real(&p->report, "peak_train_over_planned", "resident / planned",
                        (double)bench->peak_train / (double)planned, "times");
        if (ranks_of(bench) == 1) {
            cli_report_bytes(&p->report, "base_cache", "base stream kept for later epochs", bench->base_cache);
        }
    }
    if (bench->decoder > 0) {
        const size_t planned = weights + bench->decoder;
        cli_report_bytes(&p->report, "decoder", "generation: caches and rows", bench->decoder);
        cli_report_bytes(&p->report, "planned_decode", "planned for generation: with weights", planned);
        if (!train) {
            cli_report_bytes(&p->report, "peak_decode", "resident at most, prompt and a token", bench->peak_decode);
            cli_report_real(&p->report, "peak_decode_over_planned", "resident / planned",
                            (double)bench->peak_decode / (double)planned, "times");
        }
    }
    cli_report_bytes(&p->report, "peak", "resident at most, with all floors", bench->peak);
}

static qa_status print_bench(const qa_bench *bench, bool json, qa_error *err) {
    printing p = {.bench = bench, .scratch = qa_alloc_array(bench->repeats, sizeof *p.scratch)};
    if (p.scratch == NULL) {
        return QA_NO_MEMORY(err, "a report");
    }
    add_machine(&p);
    if ((bench->wanted & QA_BENCH_LOAD) != 0) {
        add_load(&p);
    }
    if ((bench->wanted & QA_BENCH_TRAIN) != 0) {
        add_training_step(&p);
        add_parts(&p);
    }
    if ((bench->wanted & QA_BENCH_PREFILL) != 0) {
        add_prompt(&p);
    }
    if ((bench->wanted & QA_BENCH_DECODE) != 0) {
        add_token(&p);
    }
    add_memory(&p);
    const qa_status status = cli_report_print(&p.report, stdout, json, err);
    cli_report_free(&p.report);
    free(p.scratch);
    return status;
}

/* ---- the command ---- */

/* *wanted: the bits of --measure. */
static qa_status parse_measure(cli_run *run, unsigned *wanted, qa_error *err) {
    static const struct {
        const char *name;
        unsigned bit;
    } known[] = {
        {"load", QA_BENCH_LOAD}, {"train", QA_BENCH_TRAIN}, {"prefill", QA_BENCH_PREFILL}, {"decode", QA_BENCH_DECODE}};
    const char *list = bench_args_of(run)->measure;
    *wanted = list == NULL ? QA_BENCH_ALL : 0;
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

static qa_status check_bench_lengths(cli_run *run, qa_error *err) {
    static const char *const lengths[] = {"prompt-length", "response-length"};
    for (size_t i = 0; i < 2; i++) {
        if (run->args->data != NULL && cli_given(&run->options, lengths[i]) != NULL) {
            return cli_bad_usage(
                run, err, "--data and --%s exclude each other: the file's pairs have lengths of their own", lengths[i]);
        }
    }
    return QA_OK;
}

static void draw_progress(void *user, const char *what, size_t done, size_t total) {
    cli_run *run = user;
    cli_progress_draw(&run->progress, "%s %zu/%zu", what, done, total);
}

static qa_status measure_all(qa_bench *bench, cli_run *run, qa_error *err) {
    QA_TRY(load_timed(bench, run, err));
    bench->context = run->context;
    bench->model = run->model;
    QA_TRY(take_pairs(bench, run, err));
    QA_TRY(cli_usage_if(
        run, qa_adapter_create(&run->adapter, run->model, &bench->lora, bench_args_of(run)->train.seed, err)));
    bench->adapter = run->adapter;
    bench->lora = *qa_adapter_options(run->adapter);
    cli_say(run, "%zu pair%s of %zu tokens in all, %zu repeats, %zu thread%s", bench->n_pairs,
            cli_plural(bench->n_pairs), bench->step_tokens, bench->repeats, qa_context_threads(run->context),
            cli_plural(qa_context_threads(run->context)));
    if ((bench->wanted & QA_BENCH_TRAIN) != 0) {
        QA_TRY(qa_bench_step(bench, err));
    }
    if ((bench->wanted & (QA_BENCH_PREFILL | QA_BENCH_DECODE)) != 0) {
        QA_TRY(qa_bench_decode(bench, err));
    }
    bench->peak = qa_bench_peak();
    return QA_OK;
}

static qa_status run_bench(cli_run *run, qa_error *err) {
    qa_bench bench = {.repeats = bench_args_of(run)->repeats,
                      .tokens = bench_args_of(run)->tokens,
                      .recompute = bench_args_of(run)->train.recompute,
                      .progress = draw_progress,
                      .user = run};
    qa_status status = QA_OK;
    QA_TRY(check_bench_lengths(run, err));
    QA_TRY(parse_measure(run, &bench.wanted, err));
    if (qa_cluster_ranks(run->cluster) > 1 && bench.wanted != QA_BENCH_TRAIN) {
        return cli_bad_usage(run, err, "of several ranks training steps alone are measured: --measure train");
    }
    QA_TRY(cli_resolve_objective(run, &bench.objective, NULL, err));
    QA_TRY(cli_lora_options(run, &bench.lora, err));
    QA_TRY(QA_NEW(bench.seconds, bench.repeats * QA_BENCH_TIME_MEASURES, err, "%zu repeats", bench.repeats));
    cli_progress_begin(&run->progress, !run->args->quiet);
    QA_GOTO(done, measure_all(&bench, run, err));
    cli_progress_clear(&run->progress);
    status = print_bench(&bench, run->args->json, err);
done:
    qa_pairs_free(bench.set);
    free(bench.ids);
    free(bench.pairs);
    free(bench.seconds);
    return status;
}

const cli_command cli_bench = {
    .name = "bench",
    .summary = "measure speed and memory against what the machine allows",
    .about = "Times loading, a training step, a prompt and the generation of a token, and beside each its floor, "
             "in turns in the same process: the bare matrix products of the step and of the prompt by BLAS with "
             "its own threads, and one read of the weights for a token. The training step is timed twice: as of a "
             "pair's first visit, and as of later epochs, when what the frozen model makes of the pair is kept. "
             "Tells medians, smallest and largest, the floor's share of the time, what the time of a training "
             "step goes into, and the memory that was planned and taken. Under mpirun, with --measure train, a step by "
             "rank 0 alone and one by all ranks, in turns: what they gain, and what they wait. Speed depends on the "
             "machine and on what "
             "else runs on it; the ratios do less.\n"
             "The adapter is a fresh one and nothing is written. docs/speed.md tells what each figure is.",
    .examples = "qadapter bench --model MODEL\n"
                "qadapter bench --model MODEL --lora-target all-linear --prompt-length 256 --response-length 64 "
                "--json\n"
                "qadapter bench --model MODEL --data train.jsonl --pairs 8 --recipe published\n"
                "qadapter bench --model MODEL --measure decode --prompt-length 1024\n"
                "mpirun -n 2 qadapter bench --model MODEL --measure train --pairs 8 --threads 1",
    .required = "model",
    CLI_TABLES(bench_tables),
    .args_bytes = sizeof(bench_args),
    .run = run_bench,
    .many_ranks = true,
};
