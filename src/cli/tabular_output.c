/* What the subcommands of tabular print and write alike. */
#include "base/try.h"
#include "cli/tabular.h"

#include <string.h>

void cli_tabular_head(cli_run *run, cli_records *records) {
    cli_records_head_text(records, "precision", qa_precision());
    cli_records_head_number(records, "seed", (double)tabular_args_of(run)->problem.seed);
}

void cli_tabular_describe(cli_run *run, const qa_customisation *problem, cli_records *records) {
    const qa_customisation_options *o = &problem->options;
    cli_say(run,
            "%s, seed %llu: %zu tokens, at most %zu per response, %zu responses; gamma %g, lambda %g, alpha_1 %g, "
            "alpha_tilde %g",
            qa_precision(), (unsigned long long)o->seed, o->V, o->H, problem->mdp.responses, o->gamma, o->lambda,
            o->alpha1, o->alpha_tilde);
    cli_tabular_head(run, records);
    cli_records_head_number(records, "vocab", (double)o->V);
    cli_records_head_number(records, "horizon", (double)o->H);
    cli_records_head_number(records, "responses", (double)problem->mdp.responses);
    cli_records_head_number(records, "gamma", o->gamma);
    cli_records_head_number(records, "lambda", o->lambda);
    cli_records_head_number(records, "alpha_1", o->alpha1);
    cli_records_head_number(records, "alpha_tilde", o->alpha_tilde);
}

bool cli_tabular_wants_text(const cli_run *run) {
    return !run->args->json && (run->args->out == NULL || strcmp(run->args->out, "-") != 0);
}

qa_status cli_tabular_finish(cli_run *run, const cli_records *figure, cli_records *result, qa_error *err) {
    if (run->args->out != NULL) {
        QA_TRY(cli_records_write_tsv(figure, run->args->out, err));
    }
    return run->args->json ? cli_records_print_json(result, stdout, err) : QA_OK;
}
