/* qadapter train: loads, tells what it is about to do and what that takes, trains, tells what to try next. */
#include "cli/common.h"

#include "base/try.h"
#include "cli/format.h"
#include "cli/outputs.h"
#include "cli/train_report.h"
#include "cli/train_rollouts.h"
#include "cli/training.h"
#include "methods/method.h"
#include "model/adapter.h"
#include "model/lora_options.h"
#include "rl/objective.h"
#include "text/answer_end.h"
#include "train/batch.h"
#include "train/options.h"
#include "train/reward.h"
#include "train/rollout.h"
#include "train/rollout_options.h"
#include "train/run_folder.h"
#include "train/schedule.h"

#include <stdio.h>
#include <string.h>

/* ---- options ---- */

/* What the library's rows (train/options.c) do not hold. */
static const qa_option train_own_rows[] = {
    {"dtype", QA_WORD(train_args, shared.weights_dtype, "f32", "auto"), .aliases = "torch-dtype", .note = "f32",
     .help = "matrices in memory: f32: in the program's precision; auto: those that the files have in BF16 stay in "
             "BF16, half the memory"},
    {"recipe", QA_WORD(train_args, shared.recipe, "theory", "published"), .group = QA_GROUP_OBJECTIVE, .note = "theory",
     .help = "theory, to customise a model: the equations as derived, and the adapter and rate that come nearest to "
             "the optimum; published, to compare with the authors' runs. Sets the objective's options, the adapter's "
             "and the warm-up, each of which can still be given on its own"},
    {"full", QA_FLAG(train_args, full), .aliases = "full-finetune full-finetuning full-parameter",
     .group = QA_GROUP_ADAPTER, .note = "off: an adapter",
     .help = "train all weights of a copy of the model instead of an adapter, at a tenth of the rate if none is given; "
             "--out becomes a model's folder, which --adapter reads beside the same --model. For sft, replay, dpo and "
             "others whose policy is one model's"},
    {"batch-size", QA_SIZE(train_args, batch_size), .aliases = "train-batch-size global-batch-size",
     .group = QA_GROUP_OPTIMISER, .range = QA_RANGE_FROM_1, .note = "one accumulation",
     .help = "pairs per optimiser step, instead of --gradient-accumulation-steps: a multiple of --micro-batch"},
};
static const qa_option_table train_own_table = QA_TABLE(train_own_rows);
static const qa_option train_adapter_words = {
    .group = QA_GROUP_ADAPTER,
    .note = "none: a fresh adapter",
    .help = "start from this adapter, own or PEFT's, trained by whatever method: its rank, alpha and targets stay"};
static const cli_table train_tables[] = {
    {&cli_model_table, 0, "model", NULL},
    {&cli_model_table, 0, "adapter", &train_adapter_words},
    {&cli_model_table, 0, "any-base", NULL},
    {&train_own_table, 0, NULL, NULL},
    {&qa_objective_table, offsetof(cli_args, objective), NULL, NULL},
    {&qa_method_table, offsetof(cli_args, objective), NULL, NULL},
    {NULL, offsetof(cli_args, objective), NULL, NULL},
    {&qa_replay_table, offsetof(train_args, train), NULL, NULL},
    {&qa_rollout_table, offsetof(train_args, train), NULL, NULL},
    {&qa_value_table, offsetof(train_args, train), NULL, NULL},
    {&qa_lora_table, offsetof(cli_args, lora), NULL, NULL},
    {&qa_train_table, offsetof(train_args, train), NULL, NULL},
    {&cli_chat_table, 0, NULL, NULL},
    {&cli_pairs_table, 0, "response-end", &cli_response_end_words},
    {&cli_pairs_table, 0, "columns max-length max-pairs dsp-domain strict published-data-quirks", NULL},
    {&cli_output_table, 0, "log-every", NULL},
};

/* --batch-size is the optimiser's, as in the authors' script: micro-batches times their accumulation. */
static qa_status resolve_batch(cli_run *run, size_t *micro_batch, size_t *accumulation, qa_error *err) {
    const train_args *args = train_args_of(run);
    const bool given = cli_given(&run->options, "micro-batch") != NULL;
    *micro_batch = args->train.micro_batch;
    *accumulation = args->train.gradient_accumulation;
    if (args->batch_size == 0 || qa_method_of(&run->args->objective)->rollouts != NULL) {
        return QA_OK;
    }
    if (*accumulation != 1) {
        return cli_bad_usage(run, err,
                             "--batch-size and --gradient-accumulation-steps exclude each other: the first is "
                             "--micro-batch times the second");
    }
    *micro_batch = given ? *micro_batch : args->batch_size;
    if (*micro_batch == 0) {
        return cli_bad_usage(run, err, "--batch-size and --micro-batch all exclude each other");
    }
    if (args->batch_size % *micro_batch != 0) {
        return cli_bad_usage(run, err, "--batch-size: expected a multiple of --micro-batch %zu, found \"%zu\"",
                             *micro_batch, args->batch_size);
    }
    *accumulation = args->batch_size / *micro_batch;
    return QA_OK;
}

/* What belongs to evaluations and has none. */
static qa_status check_evaluations(cli_run *run, qa_error *err) {
    const qa_train_options *o = &train_args_of(run)->train;
    const bool compares = o->keep_best || o->early_stopping_patience > 0;
    const char *what = o->keep_best ? "keep-best" : "early-stopping-patience";
    if (o->val_size > 0.0 && o->eval_data_path != NULL) {
        return cli_bad_usage(run, err, "--val-size and --eval-data exclude each other: evaluations are on one set");
    }
    if (compares && o->eval_every == 0) {
        return cli_bad_usage(run, err, "--%s compares evaluations: it needs --eval-every", what);
    }
    if (!compares && (o->early_stopping_metric != QA_WATCHED_LOSS || o->early_stopping_min_delta != 0.0)) {
        return cli_bad_usage(run, err, "--%s needs --early-stopping-patience or --keep-best",
                             o->early_stopping_min_delta != 0.0 ? "early-stopping-min-delta" : "early-stopping-metric");
    }
    return QA_OK;
}

/* --val-size: a part of the pairs, in *evaluation. */
static qa_status hold_out(cli_run *run, qa_pairs *pairs, qa_pairs **evaluation, qa_error *err) {
    const qa_train_options *o = &train_args_of(run)->train;
    const size_t all = qa_pairs_count(pairs);
    size_t wanted = 0;
    QA_TRY(cli_usage_if(run, qa_prefixed(qa_train_val_pairs(o->val_size, all, &wanted, err), err, "--val-size: ")));
    if (wanted == 0) {
        return QA_OK;
    }
    QA_TRY(qa_prefixed(qa_pairs_split(pairs, wanted, o->seed, evaluation, err), err, "%s: ", o->data_path));
    const size_t held = qa_pairs_count(*evaluation);
    cli_say(run, "%s: %zu of %zu pairs held out for evaluation by seed %llu%s", o->data_path, held, all,
            (unsigned long long)o->seed, held == wanted ? "" : ": pairs of one prompt stay together");
    return QA_OK;
}

/* An option of the adapter that was given, and that the adapter to start from contradicts. */
static qa_status check_start(cli_run *run, const qa_lora_options *given, const qa_lora_options *own, qa_error *err) {
    char targets[CLI_LINE_BYTES];
    if (cli_given(&run->options, "lora-r") != NULL && given->rank != own->rank) {
        return cli_bad_usage(run, err, "--lora-r %zu: %s, which training starts from, has rank %zu", given->rank,
                             run->args->adapter, own->rank);
    }
    if (cli_given(&run->options, "lora-alpha") != NULL && fabs(given->alpha - own->alpha) > 0) {
        return cli_bad_usage(run, err, "--lora-alpha %g: %s, which training starts from, has alpha %g", given->alpha,
                             run->args->adapter, own->alpha);
    }
    if (cli_given(&run->options, "use-rslora") != NULL && given->use_rslora != own->use_rslora) {
        return cli_bad_usage(run, err, "--use-rslora: %s, which training starts from, scales by alpha / %s",
                             run->args->adapter, own->use_rslora ? "sqrt(rank)" : "rank");
    }
    if (cli_given(&run->options, "lora-target") != NULL &&
        memcmp(given->targets, own->targets, sizeof own->targets) != 0) {
        qa_lora_targets_text(own, targets, sizeof targets);
        return cli_bad_usage(run, err, "--lora-target: %s, which training starts from, is on %s", run->args->adapter,
                             targets);
    }
    return QA_OK;
}

/* Where training does not begin at the policy that the adapter had. */
static qa_status warn_of_policy(cli_run *run, const qa_objective *objective, qa_error *err) {
    qa_objective then = qa_objective_of_plain_adapter();
    bool found = false;
    QA_TRY(qa_training_config_load(run->args->adapter, &found, &then, err));
    const bool plain = qa_objective_is_plain(&then) && qa_objective_is_plain(objective);
    const bool same = then.q_parametrisation == objective->q_parametrisation &&
                      !(fabs(then.alpha_0 - objective->alpha_0) > 0) &&
                      !(fabs(then.alpha_tilde - objective->alpha_tilde) > 0);
    if (!plain && !same) {
        char was[CLI_LINE_BYTES];
        qa_objective_text(&then, was, sizeof was);
        cli_warn(run,
                 "%s was trained as another policy (%s): training starts from its weights, and not from that policy",
                 run->args->adapter, was);
    }
    return QA_OK;
}

/* Options of an adapter beside --full, which makes none. */
static qa_status check_all_weights(cli_run *run, const qa_objective *objective, qa_error *err) {
    const char *lora = cli_given_of(&run->options, &qa_lora_table);
    if (!train_args_of(run)->full) {
        return QA_OK;
    }
    if (lora != NULL || run->args->adapter != NULL) {
        return cli_bad_usage(run, err, "--%s is of an adapter, and --full trains all weights instead%s",
                             lora != NULL ? lora : "adapter",
                             lora != NULL ? "" : ": to go on from a model, give it as --model");
    }
    QA_TRY(cli_usage_if(run, qa_prefixed(qa_train_check_full(objective, err), err, "--full: ")));
    return cli_check_other_folder(run, "model", err); /* a folder is never replaced by what is made of it */
}

/* A reward model has no adapter, and all of its weights are trained. */
static qa_status check_no_adapter(cli_run *run, qa_error *err) {
    const char *lora = cli_given_of(&run->options, &qa_lora_table);
    const char *given = lora != NULL                                     ? lora
                        : cli_given(&run->options, "base-cache") != NULL ? "base-cache"
                        : train_args_of(run)->full                       ? "full"
                                                                         : NULL;
    if (run->args->adapter != NULL) {
        return cli_bad_usage(run, err,
                             "--adapter: a reward model starts from the base model and not from an adapter (`qadapter "
                             "merge` makes one model of both)");
    }
    if (given != NULL) {
        return cli_bad_usage(run, err,
                             "--%s: --method reward trains all weights of the model in any case, and has no "
                             "adapter and nothing frozen",
                             given);
    }
    return cli_check_other_folder(run, "model", err);
}

/* A fresh adapter, or the one to start from; or all weights (lora of zeros), of which a copy is made when it has been
 * told what that takes, as of a reward model. */
static qa_status make_adapter(cli_run *run, const qa_objective *objective, qa_lora_options *lora, qa_error *err) {
    if (qa_method_of(objective)->scores_sequences) {
        return check_no_adapter(run, err);
    }
    if (train_args_of(run)->full) {
        *lora = (qa_lora_options){0};
        return QA_OK;
    }
    if (run->args->adapter == NULL) {
        return cli_usage_if(run,
                            qa_adapter_create(&run->adapter, run->model, lora, train_args_of(run)->train.seed, err));
    }
    QA_TRY(cli_load_adapter(run, err));
    qa_adapter *adapter = run->adapter;
    if (qa_adapter_is_full(adapter)) {
        return cli_bad_usage(run, err, "--adapter %s: it is a whole model; to go on from it, give it as --model",
                             run->args->adapter);
    }
    QA_TRY(check_start(run, lora, &adapter->options, err));
    QA_TRY(warn_of_policy(run, objective, err));
    qa_adapter_set_reference(adapter, NULL); /* what it was itself trained against */
    adapter->options.dropout = adapter->widest.dropout = lora->dropout;
    *lora = adapter->options;
    cli_say(run, "starting from %s", run->args->adapter);
    return QA_OK;
}

/* The best rate of LoRA is about ten times that of all weights. */
static const double FULL_RATE_DIVISOR = 10.0;

/* What a recipe says lies under what was given. */
static qa_status fill_options(cli_run *run, const qa_objective *objective, const char *recipe, size_t max_length,
                              train_progress *progress, qa_train_options *options, qa_error *err) {
    *options = train_args_of(run)->train;
    options->objective = *objective;
    if (recipe != NULL) {
        QA_TRY(qa_train_recipe(recipe, options, NULL, err));
        options->objective = *objective;
    }
    QA_TRY(qa_train_method_defaults(options, err));
    if (cli_given(&run->options, "warmup-ratio") != NULL) {
        options->warmup_steps = 0; /* which would go before it */
    }
    if (train_args_of(run)->full) {
        options->learning_rate /= FULL_RATE_DIVISOR;
    }
    cli_put_given(&run->options, &qa_train_table, options);
    cli_put_given(&run->options, &qa_rollout_table, options);
    if (train_args_of(run)->batch_size > 0) {
        options->rollout.answers = train_args_of(run)->batch_size;
    }
    options->base_model = run->args->model;
    options->start_adapter = run->args->adapter;
    options->recipe = recipe;
    options->max_length = max_length;
    options->on_metrics = cli_show_train_metrics;
    options->should_stop = cli_should_stop;
    options->outcome = &progress->outcome;
    options->user = progress;
    return resolve_batch(run, &options->micro_batch, &options->gradient_accumulation, err);
}

/* Where the frozen model's part of a pair is kept, if anywhere; *memory: what that takes. */
static qa_status announce_cache(cli_run *run, const qa_pairs *train, const qa_pairs *evaluation,
                                const qa_train_options *options, size_t *memory, qa_error *err) {
    qa_base_cache_mode mode;
    char size[CLI_NUMBER_BYTES];
    size_t disk = 0;
    QA_TRY(qa_train_base_cache(run->model, train, evaluation, options, &mode, memory, &disk, err));
    cli_format_bytes(size, sizeof size, mode == QA_BASE_CACHE_DISK ? disk : *memory);
    if (mode == QA_BASE_CACHE_OFF) {
        cli_say(run, "base cache: off%s", options->base_cache == QA_BASE_CACHE_OFF ? "" : ", no pair is run twice");
    } else if (mode == QA_BASE_CACHE_DISK) {
        cli_say(run, "base cache: disk, %s in %s while the run lasts", size, options->out_dir);
    } else {
        cli_say(run, "base cache: memory, %s", size);
    }
    return QA_OK;
}

static void announce_steps(cli_run *run, const qa_pairs *train, const qa_plan *plan, const qa_train_options *options) {
    char micro[CLI_NUMBER_BYTES];
    (void)snprintf(micro, sizeof micro, "%zu x %zu", plan->micro_batch, options->gradient_accumulation);
    cli_say(run, "%zu step%s of %zu %s%s (micro-batches %s), %zu per epoch, learning rate %g %s", plan->total_steps,
            cli_plural(plan->total_steps), plan->batch, qa_pairs_single(train) ? "response" : "pair",
            cli_plural(plan->batch), micro, plan->steps_per_epoch, options->learning_rate,
            qa_schedule_name(options->schedule));
    if (options->replay != NULL) {
        cli_say(run, "%g replayed response%s beside every pair", options->replay_ratio,
                options->replay_ratio == 1.0 ? "" : "s");
    }
    cli_say(run, "%zu thread%s, computing in %s", qa_context_threads(run->context),
            cli_plural(qa_context_threads(run->context)), qa_precision());
}

/* Steps and memory of a reward model, before either is spent. */
static qa_status announce_reward(cli_run *run, const qa_pairs *train, const qa_pairs *evaluation, const qa_plan *plan,
                                 const qa_train_options *options, qa_error *err) {
    char parameters[CLI_NUMBER_BYTES];
    size_t bytes = 0, trained = 0;
    QA_TRY(qa_train_reward_memory(run->model, train, evaluation, options, &bytes, &trained, err));
    cli_format_count(parameters, sizeof parameters, trained);
    cli_say(run, "reward model: %s parameters, all of them trained; warm-up %zu steps", parameters,
            qa_schedule_warmup(options->warmup_steps, options->warmup_ratio, plan->total_steps));
    if (options->warmup_steps >= plan->total_steps) {
        cli_warn(run, "the warm-up of %zu steps is the whole run: the learning rate never gets to %g (--warmup-steps)",
                 options->warmup_steps, options->learning_rate);
    }
    announce_steps(run, train, plan, options);
    cli_say_memory(run, qa_model_get_info(run->model)->weight_bytes, bytes, 0, options->recompute);
    return QA_OK;
}

static void say_adapter(cli_run *run, const qa_lora_options *lora) {
    char targets[CLI_LINE_BYTES];
    char parameters[CLI_NUMBER_BYTES];
    char total[CLI_NUMBER_BYTES];
    cli_format_count(total, sizeof total, qa_model_get_info(run->model)->parameters);
    if (run->adapter == NULL) {
        cli_say(run, "all %s weights of a copy of %s, which stays as it is", total, run->args->model);
        return;
    }
    qa_lora_targets_text(lora, targets, sizeof targets);
    cli_format_count(parameters, sizeof parameters, qa_adapter_parameters(run->adapter));
    cli_say(run, "adapter: rank %zu, alpha %g%s, dropout %g on %s: %s of %s parameters", lora->rank, lora->alpha,
            lora->use_rslora ? " / sqrt(rank)" : "", lora->dropout, targets, parameters, total);
}

/* What ends the answers that the policy writes: as in `generate`. */
static qa_status find_answer_end(cli_run *run, qa_answer_end *end, qa_train_options *options, qa_error *err) {
    const qa_model_info *info = qa_model_get_info(run->model);
    const qa_chat *chat = NULL;
    bool assumed = false;
    if (run->tokenizer != NULL) {
        QA_TRY(cli_resolve_chat(run, &chat, &assumed, err));
    }
    QA_TRY(qa_answer_end_find(end, chat, run->tokenizer, info->eos_ids, info->n_eos, err));
    options->end_ids = end->ids;
    options->n_end_ids = end->n_ids;
    return QA_OK;
}

static qa_status announce_rollouts(cli_run *run, const qa_pairs *prompts, const qa_lora_options *lora,
                                   const qa_train_options *options, qa_error *err) {
    size_t bytes = 0;
    QA_TRY(qa_train_rollouts_memory(run->model, run->adapter, prompts, options, &bytes, err));
    say_adapter(run, lora);
    cli_say_rollouts(run, options, prompts, options->n_end_ids);
    cli_say(run, "%zu thread%s, computing in %s", qa_context_threads(run->context),
            cli_plural(qa_context_threads(run->context)), qa_precision());
    cli_say_memory(run, qa_model_get_info(run->model)->weight_bytes, bytes, 0, options->recompute);
    return QA_OK;
}

/* Steps and memory, before either is spent. */
static qa_status announce_training(cli_run *run, const qa_pairs *train, const qa_pairs *evaluation,
                                   const qa_lora_options *lora, const qa_train_options *options, qa_error *err) {
    qa_plan plan;
    size_t bytes = 0;
    size_t cache = 0;
    size_t reference = 0;
    QA_TRY(cli_usage_if(run, qa_plan_make(&plan, qa_pairs_count(train), options, err)));
    if (qa_method_of(&options->objective)->scores_sequences) {
        return announce_reward(run, train, evaluation, &plan, options, err);
    }
    QA_TRY(qa_train_memory_for(run->model, run->adapter == NULL ? lora : &run->adapter->widest, train, evaluation,
                               options->replay, qa_plan_most_items(&plan, options), options->recompute, &bytes, err));
    if (options->objective.reference == QA_REFERENCE_ADAPTER) {
        QA_TRY(qa_train_reference_memory(run->model, run->adapter, train, evaluation, &reference, err));
        bytes += reference;
    }
    say_adapter(run, lora);
    announce_steps(run, train, &plan, options);
    QA_TRY(announce_cache(run, train, evaluation, options, &cache, err));
    cli_say_memory(run, qa_model_get_info(run->model)->weight_bytes, bytes, cache, options->recompute);
    return QA_OK;
}

static qa_status train(cli_run *run, const qa_pairs *pairs, const qa_pairs *evaluation, train_progress *progress,
                       const qa_train_options *options, qa_error *err) {
    cli_begin_training(run);
    QA_TRY(cli_end_training(run, qa_train(run->model, run->adapter, pairs, evaluation, options, err)));
    cli_say_train_outcome(run, &progress->outcome);
    return cli_print_trained(run, progress, pairs, &options->objective, err);
}

/* Data in the form that the method asks for: pairs, or, where it learns from labelled responses, either. */
static qa_status load_data(cli_run *run, const qa_objective *objective, const char *path, size_t max_length,
                           qa_pairs **pairs, qa_error *err) {
    const qa_method_row *method = qa_method_of(objective);
    if (method->data == QA_DATA_PROMPTS) {
        return cli_load_rollout_prompts(run, path, max_length, pairs, err);
    }
    return (method->data == QA_DATA_LABELLED ? cli_load_preferences : cli_load_pairs)(run, path, max_length, pairs,
                                                                                      err);
}

/* Pairs for a method that learns from labelled responses: taken apart, which is said. */
static qa_status take_apart(cli_run *run, const qa_objective *objective, qa_pairs **pairs, qa_error *err) {
    qa_pairs *responses = NULL;
    if (qa_method_of(objective)->data != QA_DATA_LABELLED || qa_pairs_single(*pairs)) {
        return QA_OK;
    }
    QA_TRY(qa_pairs_unpair(&responses, *pairs, err));
    cli_say(run, "%s: %zu pairs taken apart: %zu responses, the chosen ones desirable, the rejected ones not",
            train_args_of(run)->train.data_path, qa_pairs_count(*pairs), qa_pairs_count(responses));
    qa_pairs_free(*pairs);
    *pairs = responses;
    return QA_OK;
}

static qa_status run_train(cli_run *run, qa_error *err) {
    const qa_train_options *args = &train_args_of(run)->train;
    qa_objective objective;
    qa_lora_options lora;
    qa_train_options options;
    train_progress progress = {.steps = {.run = run}};
    qa_pairs *pairs = NULL;
    qa_pairs *evaluation = NULL;
    qa_pairs *replay = NULL;
    qa_answer_end end = {0};
    const char *recipe = NULL;
    size_t max_length = 0;
    qa_status status = QA_OK;
    QA_TRY(cli_check_run(run, "eval-data", err));
    QA_TRY(cli_check_other_folder(run, "adapter", err));
    QA_TRY(check_evaluations(run, err));
    QA_TRY(resolve_batch(run, &options.micro_batch, &options.gradient_accumulation, err));
    QA_TRY(cli_resolve_method(run, &objective, &recipe, err));
    QA_TRY(check_all_weights(run, &objective, err));
    if (qa_method_of(&objective)->rollouts != NULL) {
        QA_TRY(cli_check_rollouts(run, &objective, args->reward_model, err));
    }
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    QA_TRY(cli_load_tokenizer(run, false, err));
    QA_TRY(cli_lora_options(run, &lora, err));
    QA_TRY(make_adapter(run, &objective, &lora, err));
    QA_TRY(fill_options(run, &objective, recipe, max_length, &progress, &options, err));
    cli_warn_of_warmup(run, options.warmup_steps, options.warmup_ratio);
    if (args->resume) {
        cli_take_date(run, args->out_dir);
    }
    QA_GOTO(done, load_data(run, &objective, args->data_path, max_length, &pairs, err));
    if (args->eval_data_path != NULL) {
        QA_GOTO(done, load_data(run, &objective, args->eval_data_path, max_length, &evaluation, err));
    }
    QA_GOTO(done, hold_out(run, pairs, &evaluation, err));
    QA_GOTO(done, take_apart(run, &objective, &pairs, err));
    if (args->replay_path != NULL) {
        QA_GOTO(done, cli_load_responses(run, args->replay_path, args->replay_columns, max_length, &replay, err));
        options.replay = replay;
    }
    if (qa_method_of(&objective)->rollouts != NULL) {
        QA_GOTO(done, find_answer_end(run, &end, &options, err));
        QA_GOTO(done, announce_rollouts(run, pairs, &lora, &options, err));
    } else {
        QA_GOTO(done, announce_training(run, pairs, evaluation, &lora, &options, err));
    }
    if (train_args_of(run)->full) {
        QA_GOTO(done, qa_adapter_create_full(&run->adapter, run->model, err));
    }
    QA_GOTO(done, train(run, pairs, evaluation, &progress, &options, err));
done:
    qa_pairs_free(replay);
    qa_pairs_free(evaluation);
    qa_pairs_free(pairs);
    return status;
}

static bool replaces_in_adapter(const char *name) {
    return qa_run_folder_replaces(&qa_adapter_run_files, name) || qa_run_folder_replaces(&qa_full_run_files, name);
}

const cli_command cli_train = {
    .name = "train",
    .summary = "train an adapter on preference pairs",
    .about =
        "Trains a LoRA adapter as the residual Q-function of the given preferences and writes it in PEFT's "
        "layout, with training_config.json and metrics.jsonl beside it; --method trains the same adapter by "
        "another method (supervised fine-tuning, replay, DPO, IPO, SPPO, KTO; PPO and RLOO against a reward model), "
        "or the reward model itself; --full trains all weights. Ctrl-C, SIGTERM, SIGHUP (a terminal that closes), "
        "SIGUSR1, SIGUSR2 and SIGXCPU leave the step or the evaluation, write a checkpoint of the last whole "
        "step and tell how to resume; a second Ctrl-C or SIGTERM ends the program at once. The exit status "
        "is then 128 and the signal's number (138: SIGUSR1), of all ranks under mpirun or srun, to whichever the "
        "signal "
        "came: a job that is called again by it goes on with --resume. Of several ranks only the first one reads and "
        "writes --out; the others need the same model and data under the same "
        "options, and keep their parts of --base-cache disk in TMPDIR.",
    .examples = "qadapter train --model MODEL --data train.jsonl --out ADAPTER --eval-data eval.jsonl\n"
                "qadapter train --model MODEL --data train.jsonl --out ADAPTER --recipe published --batch-size 512 "
                "--micro-batch 1\n"
                "qadapter train --model MODEL --data train.jsonl --out ADAPTER --method dpo --dpo-beta 0.1\n"
                "qadapter train --model MODEL --data labelled.jsonl --out ADAPTER --method kto --kto-beta 0.1\n"
                "qadapter train --model MODEL --data train.jsonl --out ADAPTER --resume",
    .required = "model data out",
    .on_the_way = true,
    .replaces = replaces_in_adapter,
    CLI_TABLES(train_tables),
    .args_bytes = sizeof(train_args),
    .run = run_train,
    .many_ranks = true,
};
