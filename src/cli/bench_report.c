/* What `qadapter bench` prints: absolute figures, the floors, and the ratios of the two. docs/speed.md lists the keys
 * of the JSON. A measure is the median of its repeats with the smallest and the largest; so is a ratio, of what was
 * measured in the same repeat. */
#include "cli/bench.h"

#include "base/checked.h"
#include "cli/format.h"
#include "cli/report.h"
#include "nn/blas.h"

#include <stdlib.h>

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

typedef struct printing {
    cli_report report;
    const cli_bench *bench;
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

static void add_seconds(printing *p, const char *key, const char *label, cli_measure measure) {
    for (size_t i = 0; i < p->bench->repeats; i++) {
        p->scratch[i] = cli_bench_seconds(p->bench, measure)[i];
    }
    add_spread(p, key, label, spread_of(p->scratch, p->bench->repeats), "s");
}

/* amount / seconds */
static void add_rate(printing *p, const char *key, const char *label, cli_measure measure, double amount,
                     const char *unit) {
    for (size_t i = 0; i < p->bench->repeats; i++) {
        p->scratch[i] = amount / cli_bench_seconds(p->bench, measure)[i];
    }
    add_spread(p, key, label, spread_of(p->scratch, p->bench->repeats), unit);
}

/* factor * above / below */
static void add_ratio(printing *p, const char *key, const char *label, cli_measure above, cli_measure below,
                      double factor, const char *unit) {
    for (size_t i = 0; i < p->bench->repeats; i++) {
        p->scratch[i] = factor * cli_bench_seconds(p->bench, above)[i] / cli_bench_seconds(p->bench, below)[i];
    }
    add_spread(p, key, label, spread_of(p->scratch, p->bench->repeats), unit);
}

static void add_machine(printing *p) {
    const cli_run *run = p->bench->run;
    const qa_model_info *info = qa_model_get_info(run->model);
    cli_report_section(&p->report, "machine", "Machine");
    cli_report_count(&p->report, "threads", "threads", qa_context_threads(run->context), "");
    cli_report_text(&p->report, "precision", "computed in", qa_precision());
    cli_report_text(&p->report, "blas", "BLAS", qa_blas_description());
    cli_report_count(&p->report, "repeats", "repeats", p->bench->repeats, "");
    cli_report_section(&p->report, "model", "Model");
    cli_report_text(&p->report, "dir", "folder", info->dir);
    cli_report_count(&p->report, "parameters", "parameters", info->parameters, "");
    cli_report_text(&p->report, "memory_dtype", "matrices in memory", info->memory_dtype);
}

static void add_load(printing *p) {
    const double bytes = (double)qa_model_get_info(p->bench->run->model)->weight_bytes;
    cli_report_section(&p->report, "load", "Loading the model");
    add_seconds(p, "seconds", "time", CLI_LOAD);
    add_rate(p, "megabytes_per_second", "weights in memory", CLI_LOAD, 1e-6 * bytes, "MB/s");
}

static void add_step(printing *p) {
    const cli_bench *bench = p->bench;
    char targets[CLI_LINE_BYTES];
    cli_targets_text(bench->lora.targets, targets, sizeof targets);
    cli_report_section(&p->report, "train", "Training step");
    cli_report_text(&p->report, "objective", "objective", qa_objective_kind_name(bench->objective.kind));
    cli_report_count(&p->report, "pairs", "pairs", bench->n_pairs, "");
    cli_report_count(&p->report, "tokens", "prompts once and responses", bench->step_tokens, "tokens");
    cli_report_count(&p->report, "lora_r", "LoRA rank", bench->lora.rank, "");
    cli_report_text(&p->report, "lora_target", "LoRA targets", targets);
    cli_report_count(&p->report, "trainable_parameters", "trainable parameters",
                     qa_adapter_parameters(bench->run->adapter), "");
    cli_report_flag(&p->report, "recompute", "layers run again for backward", bench->run->args->recompute);
    cli_report_real(&p->report, "loss", "loss of the first step", bench->loss, "");
    cli_report_real(&p->report, "last_loss", "and of the last", bench->last_loss, "");
    add_seconds(p, "seconds", "step", CLI_STEP);
    add_rate(p, "tokens_per_second", "rate", CLI_STEP, (double)bench->step_tokens, "tokens/s");
    add_seconds(p, "floor_seconds", "its matrix products alone", CLI_STEP_FLOOR);
    cli_report_real(&p->report, "floor_gflop", "their work", 1e-9 * bench->step_flops, "GFLOP");
    add_rate(p, "floor_gflop_per_second", "their rate", CLI_STEP_FLOOR, 1e-9 * bench->step_flops, "GFLOP/s");
    add_ratio(p, "efficiency_percent", "products / step", CLI_STEP_FLOOR, CLI_STEP, 100.0, "%");
    add_seconds(p, "later_seconds", "step of later epochs, base stream kept", CLI_LATER);
    add_seconds(p, "later_floor_seconds", "its matrix products alone", CLI_LATER_FLOOR);
    cli_report_real(&p->report, "later_floor_gflop", "their work", 1e-9 * bench->later_flops, "GFLOP");
    add_ratio(p, "later_efficiency_percent", "products / later step", CLI_LATER_FLOOR, CLI_LATER, 100.0, "%");
    add_ratio(p, "later_over_step", "later step / step", CLI_LATER, CLI_STEP, 1.0, "times");
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
    const cli_bench *bench = p->bench;
    const double n = (double)bench->repeats, threads = (double)qa_context_threads(bench->run->context);
    double wall = 0.0, named = 0.0;
    for (size_t i = 0; i < bench->repeats; i++) {
        wall += cli_bench_seconds(bench, CLI_STEP)[i] / n;
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
    add_seconds(p, "base_seconds", "base model", CLI_PROMPT_BASE);
    add_rate(p, "base_tokens_per_second", "rate", CLI_PROMPT_BASE, tokens, "tokens/s");
    add_seconds(p, "base_floor_seconds", "its matrix products alone", CLI_PROMPT_BASE_FLOOR);
    add_ratio(p, "base_efficiency_percent", "products / prompt", CLI_PROMPT_BASE_FLOOR, CLI_PROMPT_BASE, 100.0, "%");
    add_seconds(p, "both_seconds", "composed policy", CLI_PROMPT_BOTH);
    add_rate(p, "both_tokens_per_second", "rate", CLI_PROMPT_BOTH, tokens, "tokens/s");
    add_seconds(p, "both_floor_seconds", "its matrix products alone", CLI_PROMPT_BOTH_FLOOR);
    add_ratio(p, "both_efficiency_percent", "products / prompt", CLI_PROMPT_BOTH_FLOOR, CLI_PROMPT_BOTH, 100.0, "%");
    add_ratio(p, "both_over_base", "composed / base", CLI_PROMPT_BOTH, CLI_PROMPT_BASE, 1.0, "times");
}

static void add_token(printing *p) {
    const double bytes = (double)p->bench->read_bytes;
    cli_report_section(&p->report, "decode", "Generation, one token behind that prompt");
    cli_report_count(&p->report, "tokens", "tokens a repeat", p->bench->run->args->tokens, "");
    add_seconds(p, "base_seconds", "base model", CLI_TOKEN_BASE);
    add_rate(p, "base_tokens_per_second", "rate", CLI_TOKEN_BASE, 1.0, "tokens/s");
    add_seconds(p, "both_seconds", "composed policy", CLI_TOKEN_BOTH);
    add_rate(p, "both_tokens_per_second", "rate", CLI_TOKEN_BOTH, 1.0, "tokens/s");
    cli_report_bytes(&p->report, "floor_bytes", "weights that a token reads", p->bench->read_bytes);
    add_seconds(p, "floor_seconds", "one read of them", CLI_TOKEN_FLOOR);
    add_rate(p, "floor_gigabytes_per_second", "its rate", CLI_TOKEN_FLOOR, 1e-9 * bytes, "GB/s");
    add_ratio(p, "base_efficiency_percent", "read / token, base model", CLI_TOKEN_FLOOR, CLI_TOKEN_BASE, 100.0, "%");
    add_ratio(p, "both_efficiency_percent", "read / token, composed", CLI_TOKEN_FLOOR, CLI_TOKEN_BOTH, 100.0, "%");
    add_ratio(p, "both_over_base", "composed / base", CLI_TOKEN_BOTH, CLI_TOKEN_BASE, 1.0, "times");
}

/* Memory only ever grows, so what generation takes is seen where no training ran before it. */
static void add_memory(printing *p) {
    const cli_bench *bench = p->bench;
    const size_t weights = qa_model_get_info(bench->run->model)->weight_bytes;
    const bool train = (bench->wanted & CLI_BENCH_TRAIN) != 0;
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
        cli_report_bytes(&p->report, "base_cache", "base stream kept for later epochs", bench->base_cache);
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

qa_status cli_bench_print(const cli_bench *bench, qa_error *err) {
    printing p = {.bench = bench, .scratch = qa_alloc_array(bench->repeats, sizeof *p.scratch)};
    if (p.scratch == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for a report");
    }
    add_machine(&p);
    if ((bench->wanted & CLI_BENCH_LOAD) != 0) {
        add_load(&p);
    }
    if ((bench->wanted & CLI_BENCH_TRAIN) != 0) {
        add_step(&p);
        add_parts(&p);
    }
    if ((bench->wanted & CLI_BENCH_PREFILL) != 0) {
        add_prompt(&p);
    }
    if ((bench->wanted & CLI_BENCH_DECODE) != 0) {
        add_token(&p);
    }
    add_memory(&p);
    const qa_status status = cli_report_print(&p.report, stdout, bench->run->args->json, err);
    cli_report_free(&p.report);
    free(p.scratch);
    return status;
}
