/* qadapter eval --suite: questions, sampled answers and ordinary text, with the held-out pairs of a preference. */
#include "cli/eval.h"

#include "base/try.h"
#include "cli/mixture.h"

static qa_status run_pairs(cli_run *run, const char *path, const qa_objective *objective, qa_evaluation *evaluation,
                           qa_error *err) {
    qa_pairs *pairs = NULL;
    size_t max_length = 0;
    size_t micro_batch = 0;
    QA_TRY(cli_resolve_micro_batch(run, &micro_batch, err));
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    QA_TRY(cli_eval_load_pairs(run, path, max_length, &pairs, err));
    const qa_status status = cli_eval_on_pairs(run, pairs, objective, run->adapter, micro_batch, NULL, evaluation, err);
    qa_pairs_free(pairs);
    return status;
}

/* The mixture; *objective becomes its first policy's, whose alpha_tilde is that of the optimum. */
static qa_status load_mixture_run(cli_run *run, bool optimum, qa_objective *objective, qa_error *err) {
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_load_mixture(run, err));
    *objective = run->parts[0].objective;
    for (size_t i = 1; optimum && i < run->mixture.n; i++) {
        const double other = run->parts[i].objective.alpha_tilde;
        QA_FAIL_IF(other != objective->alpha_tilde, err, QA_ERR_MISMATCH,
                   "%s has alpha_tilde %g and %s %g: of rewards at two temperatures there is no one optimum "
                   "(--alpha-tilde gives both the same)",
                   run->args->adapters.items[0], objective->alpha_tilde, run->args->adapters.items[i], other);
    }
    return cli_load_tokenizer(run, true, err);
}

static qa_status load_suite_run(cli_run *run, bool optimum, qa_objective *objective, qa_error *err) {
    if (run->weights != NULL) {
        return load_mixture_run(run, optimum, objective, err);
    }
    QA_TRY(cli_resolve_objective(run, objective, NULL, err));
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_load_adapter(run, err));
    return cli_load_tokenizer(run, true, err);
}

qa_status cli_eval_suite(cli_run *run, qa_error *err) {
    const eval_args *args = eval_args_of(run);
    eval_suite suite = {0};
    qa_objective objective;
    qa_suite_result result = {0};
    qa_evaluation evaluation = {0};
    qa_text mixture = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, cli_eval_find_suite(run, &suite, err));
    QA_GOTO(done, load_suite_run(run, suite.n_sum > 0, &objective, err));
    cli_catch_interrupts(run->command->name, "stopping");
    /* the pairs first: they are read and checked before the long part begins */
    const char *pairs = cli_eval_suite_pairs(run, &suite);
    if (pairs != NULL) {
        QA_GOTO(done, run_pairs(run, pairs, &objective, &evaluation, err));
    }
    QA_GOTO(done, cli_eval_on_suite(run, &suite, &objective, run->adapter, true, &result, err));
    QA_GOTO(done, cli_mixture_text(run, &mixture, err));
    const suite_report report = {.run = run,
                                 .suite = &suite,
                                 .model = args->shared.model,
                                 .adapter = mixture.n > 0 ? mixture.data : args->shared.adapter,
                                 .objective = &objective,
                                 .result = &result,
                                 .held_out = pairs == NULL ? NULL : &evaluation,
                                 .kinds = args->shared.verbose};
    QA_GOTO(done, suite_report_print(&report, args->shared.json, err));
done:
    qa_text_free(&mixture);
    qa_suite_result_free(&result);
    cli_eval_suite_free(&suite);
    return status;
}
