/* qadapter golden: make a bundle, or check a candidate against one. */
#include "cli/common.h"

#include "base/try.h"
#include "data/pairs.h"
#include "golden/vectors.h"
#include "io/file.h"
#include "methods/method.h"
#include "rl/objective.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

typedef struct golden_args {
    cli_args shared;
    qa_golden_options make;
    const char *bundle, *candidate, *report; /* NULL: not given */
    double relative, absolute;
    bool link_inputs, overwrite, complete;
} golden_args;

#define INPUT(kind, field) QA_##kind(golden_args, field), .group = QA_GROUP_INPUT
#define OUTPUT(kind, field) QA_##kind(golden_args, field), .group = QA_GROUP_OUTPUT

static const qa_option golden_own_rows[] = {
    {"bundle", INPUT(STRING, bundle), .operand = true, .placeholder = "BUNDLE", .path = QA_PATH_READ,
     .help = "check: folder of the golden bundle, or of vectors; may stand without its name"},
    {"candidate", INPUT(STRING, candidate), .operand = true, .placeholder = "FILE", .path = QA_PATH_READ,
     .help = "check: safetensors file with the other implementation's numbers, of vectors a folder of JSON; may stand "
             "without its name"},
    {"relative", INPUT(NUMBER, relative), .aliases = "rtol", .range = QA_RANGE_FROM_0,
     .note = "the bundle's, by dtype and kind", .help = "check: tolerance, times the largest magnitude in the tensor"},
    {"absolute", INPUT(NUMBER, absolute), .aliases = "atol", .range = QA_RANGE_FROM_0,
     .note = "the bundle's; 0 with --relative", .help = "check: tolerance, added to the other"},
    {"complete", INPUT(FLAG, complete), .help = "check: what is not given fails, too"},
    {"report", OUTPUT(STRING, report), .placeholder = "FILE", .path = QA_PATH_WRITTEN, .note = "none",
     .help = "check: the result as JSON"},
    {"out", OUTPUT(STRING, shared.out), .letter = 'o', .aliases = "output-dir output", .placeholder = "DIR",
     .help = "make: folder for the bundle"},
    {"link-inputs", OUTPUT(FLAG, link_inputs),
     .help = "make: record where model and adapter are instead of copying them into the bundle"},
    {"overwrite", OUTPUT(FLAG, overwrite), .help = "make: replace the bundle that the folder holds"},
};
static const qa_option_table golden_own_table = QA_TABLE(golden_own_rows);
static const cli_table golden_tables[] = {{&cli_model_table, 0, "model adapter any-base", NULL},
                                          {&cli_pairs_table, 0, NULL, NULL},
                                          CLI_READ_CHAT,
                                          {&cli_reading_table, 0, "recipe", NULL},
                                          {&qa_objective_table, offsetof(cli_args, objective), NULL, NULL},
                                          {&golden_own_table, 0, NULL, NULL},
                                          {&qa_golden_table, offsetof(golden_args, make), NULL, NULL}};

static const golden_args *golden_args_of(const cli_run *run) { return (const golden_args *)run->args; }

/* ---- make ---- */

static qa_status check_make(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    const struct {
        const char *name, *value;
    } needed[] = {{"--model", args->model}, {"--adapter", args->adapter}, {"--data", args->data}, {"--out", args->out}};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (needed[i].value == NULL) {
            return cli_bad_usage(run, err, "make: missing %s", needed[i].name);
        }
    }
    QA_FAIL_IF(strcmp(qa_precision(), "f64") != 0, err, QA_ERR_UNSUPPORTED,
               "golden make needs double precision: build with PRECISION=f64 and use build/f64/qadapter");
    return QA_OK;
}

static qa_status make_bundle(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    qa_golden_options options = golden_args_of(run)->make;
    qa_pairs *pairs = NULL;
    size_t max_length = 0;
    QA_TRY(check_make(run, err));
    options.should_stop = cli_should_stop;
    QA_TRY(cli_resolve_objective(run, &options.objective, NULL, err));
    if (!qa_method_of(&options.objective)->residual) {
        return cli_bad_usage(run, err,
                             "make: %s is an adapter of method %s, but a golden bundle holds residual Q-learning's "
                             "numbers; --recipe makes one of them all the same",
                             args->adapter, qa_method_name(options.objective.method));
    }
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    QA_TRY(cli_load_adapter(run, err));
    QA_TRY(qa_golden_check_adapter(run->adapter, args->adapter, err));
    QA_TRY(cli_load_tokenizer(run, false, err));
    QA_TRY(cli_load_pairs(run, args->data, max_length, &pairs, err));
    const bool ids = qa_pairs_kind_of(pairs) == QA_PAIRS_IDS;
    const json_t *chat = qa_pairs_chat_record(pairs);
    const qa_golden_inputs inputs = {.model = run->model,
                                     .adapter = run->adapter,
                                     .adapter_dir = args->adapter,
                                     .pairs = pairs,
                                     .text_path = ids || strcmp(args->data, "-") == 0 ? NULL : args->data,
                                     .chat_template = json_string_value(json_object_get(chat, "chat_template")),
                                     .published_data_quirks = args->published_quirks,
                                     .link = golden_args_of(run)->link_inputs,
                                     .overwrite = golden_args_of(run)->overwrite,
                                     .options = options};
    cli_catch_interrupts(run->command->name, "stopping");
    const qa_status status = qa_golden_make(args->out, &inputs, err);
    if (status == QA_OK) {
        cli_say(run, "%s holds %zu pairs and %zu steps", args->out, qa_pairs_count(pairs), options.steps);
    }
    qa_pairs_free(pairs);
    return status;
}

/* ---- check ---- */

static qa_status print_row(const qa_golden_result *result, size_t width, qa_error *err) {
    char line[512];
    int written = 0;
    if (result->verdict == QA_VERDICT_OK || result->verdict == QA_VERDICT_DEPARTS) {
        written = snprintf(line, sizeof line, "%-*s  %-4s  %-10.2e %-10.2e %-12s %-10.2e %s\n", (int)width,
                           result->name, qa_dtype_name(result->dtype), result->absolute, result->relative,
                           result->where, result->limit, qa_golden_verdict_name(result->verdict));
    } else {
        written = snprintf(line, sizeof line, "%-*s  %-4s  %-10s %-10s %-12s %-10s %s%s%s%s%s\n", (int)width,
                           result->name, qa_dtype_name(result->dtype), "-", "-", result->where, "-",
                           qa_golden_verdict_name(result->verdict), result->verdict == QA_VERDICT_SHAPE ? " " : "",
                           result->verdict == QA_VERDICT_SHAPE ? result->shape : "",
                           result->verdict == QA_VERDICT_SHAPE ? ", expected " : "",
                           result->verdict == QA_VERDICT_SHAPE ? result->expected_shape : "");
    }
    return cli_put(line, written < 0 ? 0 : strlen(line), err);
}

static qa_status print_verdicts(const qa_golden_report *report, qa_error *err) {
    char line[512];
    size_t width = strlen("tensor");
    for (size_t i = 0; i < report->n; i++) {
        const size_t length = strlen(report->results[i].name);
        width = length > width ? length : width;
    }
    (void)snprintf(line, sizeof line, "%-*s  %-4s  %-10s %-10s %-12s %-10s %s\n", (int)width, "tensor", "type",
                   "worst abs", "relative", "at", "tolerance", "verdict");
    QA_TRY(cli_put(line, strlen(line), err));
    for (size_t i = 0; i < report->n; i++) {
        QA_TRY(print_row(&report->results[i], width, err));
    }
    return QA_OK;
}

static qa_status print_missing_head(size_t n, qa_error *err) {
    char line[64];
    (void)snprintf(line, sizeof line, "\nnot given (%zu):\n", n);
    return n == 0 ? QA_OK : cli_put(line, strlen(line), err);
}

static qa_status print_indented(const char *text, qa_error *err) {
    QA_TRY(cli_put("  ", 2, err));
    QA_TRY(cli_put(text, strlen(text), err));
    return cli_put("\n", 1, err);
}

static qa_status print_sentence(const char *sentence, qa_error *err) {
    QA_TRY(cli_put("\n", 1, err));
    QA_TRY(cli_put(sentence, strlen(sentence), err));
    QA_TRY(cli_put("\n", 1, err));
    return cli_flush(err);
}

static qa_status print_report(const qa_golden_report *report, qa_error *err) {
    QA_TRY(print_verdicts(report, err));
    QA_TRY(print_missing_head(report->n_missing, err));
    for (size_t i = 0; i < report->n_missing; i++) {
        QA_TRY(print_indented(report->missing[i], err));
    }
    return print_sentence(report->sentence, err);
}

static qa_status print_vector_row(const qa_vector_result *result, int width, qa_error *err) {
    char name[2 * QA_VECTOR_NAME_BYTES + 2], line[1024], units[32] = "-";
    (void)snprintf(name, sizeof name, "%s%s%s", result->id, result->output[0] == '\0' ? "" : ": ", result->output);
    if (result->verdict == QA_VERDICT_OK || result->verdict == QA_VERDICT_DEPARTS) {
        (void)snprintf(units, sizeof units, "%.3g", result->units);
    }
    int n = snprintf(line, sizeof line, "%-*s  %-9s  %-12s  %s%s%s", width, name, units, result->where,
                     qa_golden_verdict_name(result->verdict), result->detail[0] == '\0' ? "" : ": ", result->detail);
    for (size_t i = 0; i < result->n_mistakes && n > 0 && (size_t)n < sizeof line; i++) {
        n += snprintf(line + n, sizeof line - (size_t)n, "%s%s", i == 0 ? ": " : ", ",
                      json_string_value(json_object_get(result->mistakes[i], "name")));
    }
    QA_TRY(cli_put(line, strlen(line), err));
    return cli_put("\n", 1, err);
}

static qa_status print_vectors(const qa_vectors_report *report, qa_error *err) {
    char line[256];
    size_t width = strlen("vector");
    for (size_t i = 0; i < report->n; i++) {
        const size_t length = strlen(report->results[i].id) + strlen(report->results[i].output) + 2;
        width = length > width ? length : width;
    }
    (void)snprintf(line, sizeof line, "%-*s  %-9s  %-12s  %s\n", (int)width, "vector", "units", "at", "verdict");
    QA_TRY(cli_put(line, strlen(line), err));
    for (size_t i = 0; i < report->n; i++) {
        QA_TRY(print_vector_row(&report->results[i], (int)width, err));
    }
    QA_TRY(print_missing_head(report->n_missing, err));
    for (size_t i = 0; i < report->n_missing; i++) {
        QA_TRY(print_indented(report->missing[i], err));
    }
    return print_sentence(report->sentence, err);
}

/* The failure that ends a check which found something, after everything was printed and written. */
static qa_status verdict_on(const golden_args *own, const char *what, size_t n, size_t failures, size_t missing,
                            qa_error *err) {
    QA_FAIL_IF(failures > 0, err, QA_ERR_MISMATCH, "%s: %zu of %zu %s fail", own->candidate, failures, n, what);
    QA_FAIL_IF(own->complete && missing > 0, err, QA_ERR_MISMATCH, "%s: %zu %s are not given, and --complete wants all",
               own->candidate, missing, what);
    return QA_OK;
}

static qa_status check_vectors(cli_run *run, qa_error *err) {
    const golden_args *own = golden_args_of(run);
    qa_vectors *vectors = NULL;
    qa_vectors_report report = {0};
    qa_status status = QA_OK;
    if (cli_given(&run->options, "relative") != NULL || cli_given(&run->options, "absolute") != NULL) {
        return cli_bad_usage(run, err, "check: vectors have tolerances of their own: no --relative or --absolute");
    }
    QA_TRY(qa_vectors_open(&vectors, own->bundle, err));
    QA_GOTO(done, qa_vectors_check(&report, vectors, own->candidate, err));
    QA_GOTO(done, print_vectors(&report, err));
    if (own->report != NULL) {
        QA_GOTO(done, qa_vectors_report_save(&report, own->bundle, own->candidate, own->complete, own->report, err));
    }
    status = verdict_on(own, "outputs", report.n, report.failures, report.n_missing, err);
done:
    qa_vectors_report_free(&report);
    qa_vectors_close(vectors);
    return status;
}

/* What is neither of the two that are checked against: the candidate in the first place, a folder above, one file. */
static qa_status find_manifest(const char *dir, qa_error *err) {
    char *path = NULL;
    QA_FAIL_IF(!qa_path_is_dir(dir), err, QA_ERR_IO,
               "%s: no such folder; expected a golden bundle or a folder of vectors", dir);
    QA_TRY(qa_join_path(&path, dir, "manifest.json", err));
    const bool is_there = qa_path_exists(path);
    free(path);
    QA_FAIL_IF(!is_there, err, QA_ERR_IO,
               "%s: no manifest.json in it; expected a golden bundle or a folder of vectors, and then the candidate",
               dir);
    return QA_OK;
}

static qa_status check_candidate(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    const golden_args *own = golden_args_of(run);
    qa_golden_bundle *bundle = NULL;
    qa_golden_report report;
    if (own->bundle == NULL || own->candidate == NULL) {
        return cli_bad_usage(run, err, "check: expected two words, BUNDLE and CANDIDATE");
    }
    if (args->model != NULL || args->adapter != NULL || args->data != NULL || args->out != NULL) {
        return cli_bad_usage(run, err, "check: takes no --model, --adapter, --data or --out: the bundle has them");
    }
    if (qa_vectors_here(own->bundle)) {
        return check_vectors(run, err);
    }
    QA_TRY(find_manifest(own->bundle, err));
    QA_TRY(cli_open_context(run, err));
    QA_TRY(qa_golden_bundle_open(&bundle, run->context, own->bundle, err));
    bundle->options.should_stop = cli_should_stop;
    cli_catch_interrupts(run->command->name, "stopping");
    const qa_golden_tolerance override = {cli_given(&run->options, "relative") != NULL ? own->relative : -1.0,
                                          cli_given(&run->options, "absolute") != NULL ? own->absolute : -1.0};
    qa_status status = qa_golden_check(&report, bundle, own->candidate, override, err);
    if (status == QA_OK) {
        status = print_report(&report, err);
        if (status == QA_OK && own->report != NULL) {
            status = qa_golden_report_save(&report, own->bundle, own->candidate, own->complete, own->report, err);
        }
        if (status == QA_OK) {
            status = verdict_on(own, "tensors", report.n, report.failures, report.n_missing, err);
        }
        qa_golden_report_free(&report);
    }
    qa_golden_bundle_close(bundle);
    return status;
}

static qa_status run_golden(cli_run *run, qa_error *err) {
    return strcmp(run->args->subcommand, "make") == 0 ? make_bundle(run, err) : check_candidate(run, err);
}

/* Copies of model and adapter in it may be the inputs themselves. */
static bool replaces_in_bundle(const char *name) {
    static const char *const of_bundle[] = {"manifest.json", "golden.safetensors", "pairs.jsonl", "text.jsonl",
                                            "text.json"};
    bool replaced = false;
    for (size_t i = 0; i < sizeof of_bundle / sizeof *of_bundle; i++) {
        replaced = replaced || strcmp(name, of_bundle[i]) == 0;
    }
    return replaced;
}

const cli_command cli_golden = {
    .name = "golden",
    .summary = "check another implementation of the method against this one",
    .about = "make writes a golden bundle: model, adapter, pairs, every option, and every number that the method "
             "makes of them, in double precision, by plain loops in a fixed order that give the same bits on "
             "every machine. It needs the program built with PRECISION=f64, --model, --adapter, --data and "
             "--out.\n"
             "check compares a safetensors file that another implementation wrote with a bundle. It prints a "
             "table in forward order and one sentence: the first tensor that departs, and which of the known "
             "mistakes, made on the bundle's inputs, gives these numbers. The exit status is 0 only if everything "
             "given is within tolerance. docs/golden.md tells what is in a bundle and how to write a candidate; "
             "docs/conformance.md the same of vectors: single equations as JSON (weights/conformance), which check "
             "takes as well.",
    .examples = "qadapter golden check weights/golden/theory-logits candidate.safetensors\n"
                "qadapter golden make --model MODEL --adapter ADAPTER --data pairs.jsonl --out BUNDLE "
                "--all-activations",
    .subcommands = "make|check",
    CLI_TABLES(golden_tables),
    .args_bytes = sizeof(golden_args),
    .run = run_golden,
    .replaces = replaces_in_bundle,
};
