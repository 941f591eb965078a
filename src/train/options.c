/* Defaults of training, its recipes, and the ranges of its options.
 *
 * What both recipes share is the authors': a learning rate of 3e-4 that falls linearly to 0, gradient norm clipped at
 * 1, AdamW (0.9, 0.999, 1e-8) without decay, 3 epochs. The authors' global batch is 512 pairs on several GPUs; a set of
 * a few thousand pairs would then take a handful of steps, so the batch here is 8. */
#include "train/options.h"

#include "base/try.h"
#include "methods/method.h"

#include <math.h>
#include <string.h>

/* What a recipe says beside its objective. theory: measured, docs/replication.md; published: the authors'. */
static const struct {
    const char *name;
    double warmup_ratio;
    qa_lora_options lora;
} recipes[] = {
    {.name = "theory",
     .warmup_ratio = 0.1,
     .lora = {.rank = 16, .alpha = 32.0, .dropout = 0.0, .targets = {true, true, true, true, true, true, true}}},
    {.name = "published",
     .warmup_ratio = 0.0,
     .lora = {.rank = 8, .alpha = 16.0, .dropout = 0.05, .targets = {[QA_TARGET_Q] = true, [QA_TARGET_V] = true}}},
};

qa_status qa_train_recipe(const char *recipe, qa_train_options *options, qa_lora_options *lora, qa_error *err) {
    qa_objective objective;
    QA_TRY(qa_objective_from_recipe(&objective, recipe, err));
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        if (strcmp(recipes[i].name, recipe) != 0) {
            continue;
        }
        if (options != NULL) {
            options->recipe = recipes[i].name;
            options->objective = objective;
            options->warmup_ratio = recipes[i].warmup_ratio;
        }
        if (lora != NULL) {
            *lora = recipes[i].lora;
        }
    }
    return QA_OK;
}

qa_lora_options qa_lora_defaults(void) { return recipes[0].lora; }

qa_train_options qa_train_defaults(void) {
    return (qa_train_options){
        .recipe = recipes[0].name,
        .objective = qa_objective_for_method(QA_METHOD_QADAPTER),
        .replay_ratio = 1.0,
        .learning_rate = 3e-4,
        .warmup_ratio = recipes[0].warmup_ratio,
        .schedule = QA_SCHEDULE_LINEAR,
        .epochs = 3.0,
        .micro_batch = 8,
        .gradient_accumulation = 1,
        .max_grad_norm = 1.0,
        .adam_beta1 = 0.9,
        .adam_beta2 = 0.999,
        .adam_epsilon = 1e-8,
        .shuffle = true,
        .save_minutes = 15.0,
        .base_cache = QA_BASE_CACHE_AUTO,
    };
}

qa_status qa_check_number(const char *name, double value, double least, double most, bool open, qa_error *err) {
    if (isfinite(value) && value >= least && (open ? value < most : value <= most)) {
        return QA_OK;
    }
    if (isinf(most)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "%s = %g: expected a finite number of at least %g", name, value, least);
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "%s = %g: expected a number in [%g, %g%s", name, value, least, most,
                   open ? ")" : "]");
}

qa_status qa_check_positive(const char *name, double value, qa_error *err) {
    return isfinite(value) && value > 0.0
               ? QA_OK
               : qa_fail(err, QA_ERR_ARGUMENT, "%s = %g: expected a finite number above 0", name, value);
}

static const double MOST_REPLAY = 1000.0; /* examples per pair: numbers of examples stay far below 2^53 */

static qa_status check_replay(const qa_train_options *o, qa_error *err) {
    if (!qa_method_of(&o->objective)->replays) {
        return o->replay == NULL ? QA_OK
                                 : qa_fail(err, QA_ERR_ARGUMENT, "replay data is for method replay, not for %s",
                                           qa_method_name(o->objective.method));
    }
    if (o->replay == NULL || qa_pairs_count(o->replay) == 0) {
        return qa_fail(err, QA_ERR_ARGUMENT, "method %s needs replay data: responses of the base model's own",
                       qa_method_name(o->objective.method));
    }
    QA_TRY(qa_check_positive("replay_ratio", o->replay_ratio, err));
    return qa_check_number("replay_ratio", o->replay_ratio, 0.0, MOST_REPLAY, false, err);
}

qa_status qa_train_options_check(const qa_train_options *o, qa_error *err) {
    double unlimited = INFINITY;
    if (o->out_dir == NULL || o->out_dir[0] == '\0') {
        return qa_fail(err, QA_ERR_ARGUMENT, "out_dir: training needs an output folder");
    }
    QA_TRY(qa_objective_check(&o->objective, err));
    QA_TRY(check_replay(o, err));
    QA_TRY(qa_check_number("learning_rate", o->learning_rate, 0.0, unlimited, false, err));
    QA_TRY(qa_check_number("warmup_ratio", o->warmup_ratio, 0.0, 1.0, false, err));
    QA_TRY(qa_check_number("max_grad_norm", o->max_grad_norm, 0.0, unlimited, false, err));
    QA_TRY(qa_check_number("weight_decay", o->weight_decay, 0.0, unlimited, false, err));
    QA_TRY(qa_check_number("adam_beta1", o->adam_beta1, 0.0, 1.0, true, err));
    QA_TRY(qa_check_number("adam_beta2", o->adam_beta2, 0.0, 1.0, true, err));
    QA_TRY(qa_check_positive("adam_epsilon", o->adam_epsilon, err));
    QA_TRY(qa_check_number("save_minutes", o->save_minutes, 0.0, unlimited, false, err));
    if (o->max_steps == 0) {
        QA_TRY(qa_check_positive("epochs", o->epochs, err));
    }
    if (o->gradient_accumulation == 0) {
        return qa_fail(err, QA_ERR_ARGUMENT, "gradient_accumulation = 0: at least one micro-batch makes a step");
    }
    if ((unsigned)o->base_cache > QA_BASE_CACHE_DISK) {
        return qa_fail(err, QA_ERR_ARGUMENT, "base_cache: %d is none of auto, off, memory and disk",
                       (int)o->base_cache);
    }
    if ((unsigned)o->schedule > QA_SCHEDULE_CONSTANT) {
        return qa_fail(err, QA_ERR_ARGUMENT, "schedule: %d is none of linear, cosine and constant", (int)o->schedule);
    }
    return QA_OK;
}
