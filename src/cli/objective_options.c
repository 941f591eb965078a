/* What the options, an adapter's record and the recipes make of the objective and of the adapter to train (see
 * common.h). */
#include "cli/common.h"

#include "base/try.h"
#include "methods/method.h"
#include "model/lora_options.h"
#include "model/weights.h"
#include "rl/objective.h"
#include "train/options.h"
#include "train/rollout_options.h"

#include <string.h>

static const char *recipe_of(const cli_args *args) { return args->recipe != NULL ? args->recipe : qa_recipe_names[0]; }

/* ---- options of methods ---- */

/* An option of the method's own that was given and that `method` does not read; NULL: none. */
static const char *given_of_other(const cli_run *run, const qa_method_row *other, const qa_method_row *method) {
    for (size_t i = 0; other->options != NULL && i < other->options->n; i++) {
        const char *name = other->options->rows[i].name;
        if (cli_given(&run->options, name) != NULL && qa_options_named(method->options, name) == NULL) {
            return name;
        }
    }
    return NULL;
}

/* An option that was given and that only another method reads: its name, and that method's in *owner; NULL: none. A
 * residual Q-function's options are not looked at with `policies`: what is read may turn out to be one. */
static const char *foreign_option(const cli_run *run, const qa_method_row *method, bool policies, const char **owner) {
    const char *name = NULL;
    for (size_t i = 0; name == NULL && qa_method_at(i) != NULL; i++) {
        const qa_method_row *other = qa_method_at(i);
        *owner = other->name;
        if (other == method || (other->residual && policies)) {
            continue;
        }
        name = other->residual && run->args->recipe != NULL ? "recipe" : NULL;
        name = name == NULL ? given_of_other(run, other, method) : name;
        name = name == NULL && other->replays ? cli_given_of(&run->options, &qa_replay_table) : name;
        for (size_t t = 0; name == NULL && qa_rollout_table_at(other, t) != NULL; t++) {
            const bool own = qa_rollout_table_at(method, t) != NULL;
            name = own ? NULL : cli_given_of(&run->options, qa_rollout_table_at(other, t));
        }
    }
    return name;
}

static qa_status check_foreign(cli_run *run, const qa_method_row *method, bool policies, qa_error *err) {
    const char *owner = NULL, *name = foreign_option(run, method, policies, &owner);
    const bool beta = name != NULL && strcmp(name, "beta") == 0 && method->options != NULL;
    return name == NULL
               ? QA_OK
               : cli_bad_usage(run, err, "--%s belongs to --method %s, not to %s%s%s", name, owner, method->name,
                               beta ? ", whose own is called --" : "", beta ? method->options->rows[0].name : "");
}

/* What was given, over a recipe's or a record's values. */
static void put_given_objective(const cli_run *run, qa_objective *objective) {
    const qa_method_row *method = qa_method_of(objective);
    cli_put_given(&run->options, &qa_objective_table, objective);
    qa_error ignored;
    for (size_t i = 0; !method->residual && method->options != NULL && i < method->options->n; i++) {
        const qa_option *row = &method->options->rows[i];
        const char *given = cli_given(&run->options, row->name);
        if (given != NULL) {
            (void)!qa_option_set(row, objective, given, &ignored); /* it was checked */
        }
    }
}

/* ---- the objective that an adapter is read with ---- */

/* Where the objective comes from before single options change it. */
typedef struct objective_source {
    bool recorded; /* the adapter's training_config.json, which the run takes */
    bool plain;    /* the adapter has no such file: PEFT's or TRL's, a policy of its own */
} objective_source;

/* Whether single options say the whole of (M7): then nothing has to be assumed of an adapter without a record. */
static bool policy_is_given(const cli_options *options) {
    return cli_given(options, "q-parametrisation") != NULL && cli_given(options, "alpha-0") != NULL &&
           cli_given(options, "alpha-tilde") != NULL;
}

/* --method, else the record's, else a plain adapter's unless the options say what it is; --recipe is the residual
 * Q-function's. */
static qa_status begin_objective(cli_run *run, qa_objective *objective, objective_source *source, qa_error *err) {
    const cli_args *args = run->args;
    const bool named = cli_given(&run->options, "method") != NULL;
    const qa_method method = args->objective.method;
    qa_objective record = {0};
    bool found = false;
    *source = (objective_source){0};
    if (args->adapter != NULL && args->recipe == NULL) {
        QA_TRY(qa_training_config_load(args->adapter, &found, &record, err));
    }
    source->recorded = found && (!named || record.method == method);
    source->plain =
        args->adapter != NULL && args->recipe == NULL && !named && !found && !policy_is_given(&run->options);
    if (found && !source->recorded) {
        cli_warn(run, "--method %s: %s was trained with method %s", qa_method_name(method), args->adapter,
                 qa_method_name(record.method));
    }
    if (source->recorded) {
        *objective = record;
    } else if (source->plain || !qa_method_of(&args->objective)->residual) {
        *objective = source->plain ? qa_objective_of_plain_adapter() : qa_objective_for_method(method);
    } else {
        QA_TRY(qa_objective_from_recipe(objective, recipe_of(args), err));
    }
    return QA_OK;
}

static qa_status check_objective(cli_run *run, const qa_objective *objective, const objective_source *source,
                                 qa_error *err) {
    const qa_status status = qa_objective_check(objective, err);
    if (status != QA_OK && source->plain) {
        return cli_bad_usage(
            run, err,
            "%s has no training_config.json, so it is read as a plain LoRA adapter, whose policy is "
            "softmax(adapted logits); an option of residual Q-learning is given: add --recipe theory or "
            "--recipe published",
            run->args->adapter);
    }
    return cli_usage_if(run, status);
}

qa_status cli_resolve_objective(cli_run *run, qa_objective *objective, const char **recipe, qa_error *err) {
    const cli_args *args = run->args;
    objective_source source = {0};
    char line[CLI_LINE_BYTES];
    if (cli_given(&run->options, "method") != NULL && !qa_method_of(&args->objective)->residual) {
        if (args->adapter == NULL) {
            return cli_bad_usage(run, err, "--method says how an adapter is read: give --adapter");
        }
        QA_TRY(check_foreign(run, qa_method_of(&args->objective), false, err));
    }
    QA_TRY(begin_objective(run, objective, &source, err));
    put_given_objective(run, objective);
    QA_TRY(check_objective(run, objective, &source, err));
    QA_TRY(check_foreign(run, qa_method_of(objective), true, err));
    qa_objective_text(objective, line, sizeof line);
    if (source.plain) {
        cli_say(run,
                "%s has no training_config.json, so it is read as a plain LoRA adapter, as of --method sft: %s; say "
                "--method dpo --dpo-beta 0.1 or --recipe published where it is another one",
                args->adapter, line);
    } else if (!qa_method_of(objective)->residual) {
        cli_say(run, "method %s%s: %s", qa_method_name(objective->method),
                source.recorded ? ", as the adapter was trained" : "", line);
    } else {
        cli_say(run, "recipe %s: %s", source.recorded ? "as the adapter was trained" : recipe_of(args), line);
    }
    if (recipe != NULL) {
        *recipe = recipe_of(args);
    }
    return QA_OK;
}

/* ---- what is trained ---- */

/* A method's reference is the adapter that training starts from, as in TRL, which takes a copy of the one that it is
 * handed;
 * --reference says otherwise. */
static qa_status resolve_reference(cli_run *run, qa_objective *objective, qa_error *err) {
    const bool given = cli_given(&run->options, "reference") != NULL;
    if (qa_options_named(qa_method_of(objective)->options, "reference") == NULL ||
        (run->args->adapter == NULL && !given)) {
        return QA_OK;
    }
    if (!given) {
        objective->reference = QA_REFERENCE_ADAPTER;
    }
    if (run->args->adapter == NULL && objective->reference == QA_REFERENCE_ADAPTER) {
        return cli_bad_usage(run, err, "--reference adapter is the adapter that training starts from: give --adapter");
    }
    cli_say(run, "reference: %s",
            objective->reference == QA_REFERENCE_BASE
                ? "the base model"
                : "the adapter that training starts from, as it is now (--reference base: the base model)");
    return QA_OK;
}

qa_status cli_resolve_method(cli_run *run, qa_objective *objective, const char **recipe, qa_error *err) {
    const qa_method_row *method = qa_method_of(&run->args->objective);
    char line[CLI_LINE_BYTES];
    QA_TRY(check_foreign(run, method, false, err));
    if (method->replays && cli_given(&run->options, "replay-data") == NULL) {
        return cli_bad_usage(run, err,
                             "--method %s needs --replay-data, responses of the base model's own: `qadapter generate "
                             "--model %s --in PROMPTS --temperature 0 --unique --out FILE` writes them",
                             method->name, run->args->model);
    }
    *recipe = method->residual ? recipe_of(run->args) : NULL;
    *objective = qa_objective_for_method(run->args->objective.method);
    QA_TRY(method->residual ? qa_objective_from_recipe(objective, *recipe, err) : QA_OK);
    put_given_objective(run, objective);
    QA_TRY(resolve_reference(run, objective, err));
    QA_TRY(cli_usage_if(run, qa_objective_check(objective, err)));
    qa_objective_text(objective, line, sizeof line);
    cli_say(run, "%s %s: %s", method->residual ? "recipe" : "method", method->residual ? *recipe : method->name, line);
    return QA_OK;
}

/* Methods that learn from answers of their own have the adapter of the published runs. */
qa_status cli_lora_options(cli_run *run, qa_lora_options *options, qa_error *err) {
    const bool rollouts = qa_method_of(&run->args->objective)->rollouts != NULL;
    QA_TRY(qa_train_recipe(rollouts ? qa_recipe_names[1] : recipe_of(run->args), NULL, options, err));
    if (cli_given(&run->options, "lora-r") != NULL) {
        qa_lora_set_rank(options, run->args->lora.rank);
    }
    cli_put_given(&run->options, &qa_lora_table, options);
    if (run->model == NULL) {
        return QA_OK;
    }
    const qa_status status = qa_lora_options_fit(options, run->model->config.family, err);
    return cli_usage_if(run, qa_prefixed(status, err, "--lora-target: "));
}
