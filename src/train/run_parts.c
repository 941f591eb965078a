/* See run_parts.h. */
#include "train/run_parts.h"

#include "base/try.h"
#include "train/options.h"

qa_trainer qa_run_trainer(const qa_model *model, const qa_train_options *o, const qa_plan *plan, bool evaluates) {
    return (qa_trainer){.options = QA_RUN_OPTIONS(o),
                        .pool = model->context->pool,
                        .cluster = model->context->cluster,
                        .logger = &model->context->logger,
                        .weight_bytes = model->info.weight_bytes,
                        .items = plan->pairs,
                        .shuffle = o->shuffle,
                        .evaluates = evaluates,
                        .watch = {.keep_best = o->keep_best,
                                  .patience = o->early_stopping_patience,
                                  .min_delta = o->early_stopping_min_delta,
                                  .smaller = qa_watched_is_smaller(o->early_stopping_metric)},
                        .steps_per_epoch = plan->steps_per_epoch,
                        .total_steps = plan->total_steps};
}

const char *qa_run_data_name(const qa_train_options *options) {
    return options->data_path == NULL ? "the training data" : options->data_path;
}

const char *qa_run_eval_name(const qa_train_options *options) {
    return options->eval_data_path == NULL ? "the evaluation data" : options->eval_data_path;
}

qa_status qa_run_check_lengths(const qa_model *model, const qa_pairs *pairs, const char *name, qa_error *err) {
    const size_t limit = qa_config_context(&model->config);
    for (size_t i = 0; pairs != NULL && i < qa_pairs_count(pairs); i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        QA_FAIL_IF(qa_pair_longest_row(pair) > limit, err, QA_ERR_LIMIT,
                   "pair at line %zu of %s: %zu tokens, but the model's context is %zu; load the data with a "
                   "smaller max_length",
                   pair->line, name, qa_pair_longest_row(pair), limit);
        QA_TRY(qa_prefixed(qa_config_check_length(&model->config, qa_pair_longest_row(pair), err), err,
                           "pair at line %zu of %s: ", pair->line, name));
    }
    return QA_OK;
}

/* Of responses whose labels are all alike some numbers are of nothing. */
static qa_status check_watched_labels(const qa_train_options *o, const qa_pairs *evaluation, qa_error *err) {
    const qa_watched watched = o->early_stopping_metric;
    const bool of_both = watched == QA_WATCHED_ACCURACY || watched == QA_WATCHED_MARGIN;
    const bool of_chosen = watched == QA_WATCHED_REWARD_CHOSEN || watched == QA_WATCHED_LOGPS_CHOSEN;
    const size_t bad = qa_pairs_undesirable(evaluation), good = qa_pairs_count(evaluation) - bad;
    QA_FAIL_IF(qa_pairs_labelled(evaluation) && ((of_both && (good == 0 || bad == 0)) || (of_chosen && good == 0)), err,
               QA_ERR_ARGUMENT,
               "%s: %zu desirable and %zu undesirable responses have no %s, which evaluations are to be compared by; "
               "give some of both labels, or compare by the loss (early_stopping_metric)",
               qa_run_eval_name(o), good, bad, qa_watched_name(watched));
    return QA_OK;
}

qa_status qa_run_check_watch(const qa_train_options *o, const qa_pairs *evaluation, qa_error *err) {
    if (!o->keep_best && o->early_stopping_patience == 0) {
        return QA_OK;
    }
    return evaluation != NULL && o->eval_every > 0
               ? check_watched_labels(o, evaluation, err)
               : qa_fail(err, QA_ERR_ARGUMENT, "%s needs evaluation data and eval_every",
                         o->keep_best ? "keep_best" : "early_stopping_patience");
}

void qa_run_tell_outcome(const qa_trainer *t, const qa_train_options *options) {
    if (options->outcome != NULL) {
        *options->outcome = (qa_train_outcome){.steps = t->done,
                                               .total_steps = t->total_steps,
                                               .ended_early = qa_trainer_ended_early(t),
                                               .compared = t->best.found,
                                               .best_step = t->best.step,
                                               .best_value = t->best.value};
    }
}
