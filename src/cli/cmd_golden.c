/* qadapter golden: make a bundle, or check a candidate against one. */
#include "cli/common.h"

#include "base/try.h"
#include "golden/check.h"
#include "methods/method.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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
    if (args->bundle != NULL || args->candidate != NULL || args->relative >= 0.0 || args->absolute >= 0.0) {
        return cli_bad_usage(run, err, "make: takes no bundle, candidate or tolerance");
    }
    if (strcmp(qa_precision(), "f64") != 0) {
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "golden make needs double precision: build with PRECISION=f64 and use build/f64/qadapter");
    }
    return QA_OK;
}

static qa_golden_options options_of(const cli_args *args, const qa_objective *objective) {
    return (qa_golden_options){.objective = *objective,
                               .micro_batch = args->micro_batch,
                               .learning_rate = args->learning_rate,
                               .adam_beta1 = args->adam_beta1,
                               .adam_beta2 = args->adam_beta2,
                               .adam_epsilon = args->adam_epsilon,
                               .weight_decay = args->weight_decay,
                               .max_grad_norm = args->max_grad_norm,
                               .steps = args->steps,
                               .all_activations = args->all_activations,
                               .should_stop = cli_should_stop};
}

static qa_status make(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    qa_objective objective;
    qa_pairs *pairs = NULL;
    size_t max_length = 0;
    QA_TRY(check_make(run, err));
    QA_TRY(cli_resolve_objective(run, &objective, NULL, err));
    if (!qa_method_of(&objective)->residual) {
        return cli_bad_usage(run, err,
                             "make: %s is an adapter of method %s, but a golden bundle holds residual Q-learning's "
                             "numbers; --recipe makes one of them all the same",
                             args->adapter, qa_method_name(objective.method));
    }
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    QA_TRY(cli_load_adapter(run, err));
    QA_TRY(cli_load_tokenizer(run, false, err));
    QA_TRY(cli_load_pairs(run, args->data, max_length, &pairs, err));
    const bool ids = qa_pairs_kind_of(pairs) == QA_PAIRS_IDS;
    const qa_chat_template applied = qa_pairs_chat_template(pairs);
    const qa_golden_inputs inputs = {.model = run->model,
                                     .adapter = run->adapter,
                                     .adapter_dir = args->adapter,
                                     .pairs = pairs,
                                     .text_path = ids || strcmp(args->data, "-") == 0 ? NULL : args->data,
                                     .chat_template = applied == QA_CHAT_NONE ? NULL : qa_chat_template_name(applied),
                                     .published_data_quirks = args->published_quirks,
                                     .link = args->link_inputs,
                                     .overwrite = args->overwrite,
                                     .options = options_of(args, &objective)};
    cli_catch_interrupts(run->command->name, "stopping");
    const qa_status status = qa_golden_make(args->out, &inputs, err);
    if (status == QA_OK) {
        cli_say(run, "%s holds %zu pairs and %zu steps", args->out, qa_pairs_count(pairs), args->steps);
    }
    qa_pairs_free(pairs);
    return status;
}

/* ---- check ---- */

static qa_status print_row(const qa_golden_result *it, size_t width, qa_error *err) {
    char line[512];
    int written = 0;
    if (it->verdict == QA_VERDICT_OK || it->verdict == QA_VERDICT_DEPARTS) {
        written = snprintf(line, sizeof line, "%-*s  %-4s  %-10.2e %-10.2e %-12s %-10.2e %s\n", (int)width, it->name,
                           qa_dtype_name(it->dtype), it->absolute, it->relative, it->where, it->limit,
                           qa_golden_verdict_name(it->verdict));
    } else {
        written = snprintf(line, sizeof line, "%-*s  %-4s  %-10s %-10s %-12s %-10s %s%s%s%s%s\n", (int)width, it->name,
                           qa_dtype_name(it->dtype), "-", "-", it->where, "-", qa_golden_verdict_name(it->verdict),
                           it->verdict == QA_VERDICT_SHAPE ? " " : "", it->verdict == QA_VERDICT_SHAPE ? it->shape : "",
                           it->verdict == QA_VERDICT_SHAPE ? ", expected " : "",
                           it->verdict == QA_VERDICT_SHAPE ? it->expected_shape : "");
    }
    return cli_put(line, written < 0 ? 0 : strlen(line), err);
}

static qa_status print_table(const qa_golden_report *report, qa_error *err) {
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

static qa_status print_missing(const qa_golden_report *report, qa_error *err) {
    char line[64];
    if (report->n_missing == 0) {
        return QA_OK;
    }
    (void)snprintf(line, sizeof line, "\nnot given (%zu):\n", report->n_missing);
    QA_TRY(cli_put(line, strlen(line), err));
    for (size_t i = 0; i < report->n_missing; i++) {
        QA_TRY(cli_put("  ", 2, err));
        QA_TRY(cli_put(report->missing[i], strlen(report->missing[i]), err));
        QA_TRY(cli_put("\n", 1, err));
    }
    return QA_OK;
}

static qa_status print_report(const qa_golden_report *report, qa_error *err) {
    QA_TRY(print_table(report, err));
    QA_TRY(print_missing(report, err));
    QA_TRY(cli_put("\n", 1, err));
    QA_TRY(cli_put(report->sentence, strlen(report->sentence), err));
    QA_TRY(cli_put("\n", 1, err));
    return cli_flush(err);
}

static qa_status check(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    qa_golden_bundle *bundle = NULL;
    qa_golden_report report;
    if (args->bundle == NULL || args->candidate == NULL) {
        return cli_bad_usage(run, err, "check: expected two words, BUNDLE and CANDIDATE");
    }
    if (args->model != NULL || args->adapter != NULL || args->data != NULL || args->out != NULL) {
        return cli_bad_usage(run, err, "check: takes no --model, --adapter, --data or --out: the bundle has them");
    }
    QA_TRY(cli_open_context(run, err));
    QA_TRY(qa_golden_bundle_open(&bundle, run->context, args->bundle, err));
    bundle->options.should_stop = cli_should_stop;
    cli_catch_interrupts(run->command->name, "stopping");
    const qa_golden_tolerance override = {args->relative, args->absolute};
    qa_status status = qa_golden_check(&report, bundle, args->candidate, override, err);
    if (status == QA_OK) {
        status = print_report(&report, err);
        if (status == QA_OK && report.failures > 0) {
            status = qa_fail(err, QA_ERR_MISMATCH, "%s: %zu of %zu tensors fail", args->candidate, report.failures,
                             report.n);
        }
        qa_golden_report_free(&report);
    }
    qa_golden_bundle_close(bundle);
    return status;
}

qa_status cli_cmd_golden(cli_run *run, qa_error *err) {
    return strcmp(run->args->subcommand, "make") == 0 ? make(run, err) : check(run, err);
}
