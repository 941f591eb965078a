/* The options of training with their defaults, which are the authors' where that makes sense on a laptop: their global
 * batch is 512 pairs on several GPUs; a set of a few thousand pairs would then take a handful of steps, so the batch
 * here is 8. What a recipe says is measured (theory: docs/replication.md) or the authors' (published). */
#include "train/options.h"

#include "base/try.h"
#include "methods/method.h"
#include "model/lora_options.h"
#include "rl/objective.h"
#include "train/optimiser_rows.h"
#include "train/rollout_options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- names ---- */

static const char *const schedule_names[] = {
    [QA_SCHEDULE_LINEAR] = "linear", [QA_SCHEDULE_COSINE] = "cosine", [QA_SCHEDULE_CONSTANT] = "constant", NULL};
static const char *const base_cache_names[] = {[QA_BASE_CACHE_AUTO] = "auto",
                                               [QA_BASE_CACHE_OFF] = "off",
                                               [QA_BASE_CACHE_MEMORY] = "memory",
                                               [QA_BASE_CACHE_DISK] = "disk",
                                               NULL};

/* What evaluations may be compared by. */
static const struct {
    const char *name;
    size_t offset; /* in a qa_metrics */
    bool smaller;  /* is better */
} watched_rows[] = {
    [QA_WATCHED_LOSS] = {"loss", offsetof(qa_metrics, loss), true},
    [QA_WATCHED_PREF_LOSS] = {"pref-loss", offsetof(qa_metrics, pref_loss), true},
    [QA_WATCHED_ACCURACY] = {"accuracy", offsetof(qa_metrics, accuracy), false},
    [QA_WATCHED_MARGIN] = {"margin", offsetof(qa_metrics, margin), false},
    [QA_WATCHED_REWARD_CHOSEN] = {"reward-chosen", offsetof(qa_metrics, reward_chosen), false},
    [QA_WATCHED_LOGPS_CHOSEN] = {"logps-chosen", offsetof(qa_metrics, logps_chosen), false},
    [QA_WATCHED_KL] = {"kl", offsetof(qa_metrics, kl_per_token), true},
};
enum { N_WATCHED = sizeof watched_rows / sizeof watched_rows[0] };

double qa_watched_value(qa_watched which, const qa_metrics *evaluation) {
    return *(const double *)(const void *)((const char *)evaluation + watched_rows[which].offset);
}

bool qa_watched_is_smaller(qa_watched which) { return watched_rows[which].smaller; }

const char *qa_watched_name(qa_watched which) {
    return (unsigned)which < N_WATCHED ? watched_rows[which].name : "unknown";
}

static const char *list_watched(char *text, size_t bytes) {
    size_t used = 0;
    for (size_t i = 0; i < N_WATCHED && used < bytes; i++) {
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i == 0 ? "" : "|", watched_rows[i].name);
    }
    return text;
}

/* "eval_loss" and "reward_margin", as metrics.jsonl and other programs write them, too. */
static qa_status parse_watched(void *value, const char *text, qa_error *err) {
    char plain[64], names[128];
    const char *name = strncmp(text, "eval_", 5) == 0 || strncmp(text, "eval-", 5) == 0 ? text + 5 : text;
    (void)snprintf(plain, sizeof plain, "%s", name);
    for (char *c = plain; *c != '\0'; c++) {
        *c = *c == '_' || *c == '/' ? '-' : *c;
    }
    for (unsigned i = 0; i < N_WATCHED; i++) {
        const char *short_name =
            strncmp(plain, "reward-", 7) == 0 && strcmp(plain + 7, watched_rows[i].name) == 0 ? plain + 7 : plain;
        if (strcmp(short_name, watched_rows[i].name) == 0) {
            *(qa_watched *)value = (qa_watched)i;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "expected one of %s, found \"%s\"", list_watched(names, sizeof names), text);
}

static void format_watched(const void *value, char *text, size_t bytes) {
    (void)snprintf(text, bytes, "%s", qa_watched_name(*(const qa_watched *)value));
}

static const qa_option_other watched_type = {parse_watched, format_watched, list_watched, false};

const char *qa_schedule_name(qa_schedule schedule) { return qa_choice_name(schedule_names, (unsigned)schedule); }

const char *qa_base_cache_mode_name(qa_base_cache_mode mode) {
    return qa_choice_name(base_cache_names, (unsigned)mode);
}

qa_status qa_base_cache_mode_by_name(qa_base_cache_mode *mode, const char *name, qa_error *err) {
    return qa_choice_find((unsigned *)mode, base_cache_names, "base cache", name, err);
}

static qa_status parse_schedule(void *value, const char *text, qa_error *err) {
    qa_error inner;
    unsigned index = QA_SCHEDULE_CONSTANT; /* transformers' other name for it: its constant ignores a warm-up */
    QA_FAIL_IF(strcmp(text, "constant_with_warmup") != 0 &&
                   qa_choice_find(&index, schedule_names, "schedule", text, &inner) != QA_OK,
               err, QA_ERR_ARGUMENT, "expected one of linear|cosine|constant|constant_with_warmup, found \"%s\"", text);
    *(qa_schedule *)value = (qa_schedule)index;
    return QA_OK;
}

static void format_schedule(const void *value, char *text, size_t bytes) {
    (void)snprintf(text, bytes, "%s", qa_schedule_name(*(const qa_schedule *)value));
}

const qa_option_other qa_schedule_type = {parse_schedule, format_schedule, NULL, false};

qa_status qa_schedule_by_name(qa_schedule *schedule, const char *name, qa_error *err) {
    const qa_status status = parse_schedule(schedule, name, err);
    qa_error_prefix(status == QA_OK ? NULL : err, "learning-rate schedule: ");
    return status;
}

/* ---- rows ---- */

#define ROW(kind, ...) QA_##kind(qa_train_options, __VA_ARGS__)

static const qa_option train_rows[] = {
    {"data", ROW(STRING, data_path), .letter = 'd', .placeholder = "FILE", .group = QA_GROUP_DATA,
     .aliases = "dataset dataset-name train-file train-data data-path data-dir", .path = QA_PATH_READ,
     .record = QA_RECORD_KEPT, .help = "preference pairs to train on, JSON or JSON Lines, in any known form"},
    {"eval-data", ROW(STRING, eval_data_path), .placeholder = "FILE", .group = QA_GROUP_DATA,
     .aliases = "eval-dataset eval-file validation-file", .path = QA_PATH_READ, .record = QA_RECORD_KEPT,
     .note = "none", .help = "preference pairs to measure the adapter on"},
    {"val-size", ROW(NUMBER, val_size), .placeholder = "N|SHARE", .group = QA_GROUP_DATA, .range = QA_RANGE_FROM_0,
     .aliases = "validation-split validation-size test-size", .record = QA_RECORD_LATER, .standard = "0",
     .note = "none",
     .help = "hold out so many pairs of --data, or below 1 such a share of them, to measure the adapter "
             "on: by the seed, pairs of one prompt together"},
    {"micro-batch", ROW(SIZE_OR_ALL, micro_batch), QA_OPTIMISED, .letter = 'b', .placeholder = "N|all",
     .aliases = "micro-batch-size per-device-train-batch-size", .range = QA_RANGE_FROM_1, .standard = "8",
     .note = "%, or what --batch-size says",
     .help = "pairs per micro-batch; in the published objective they share a padded length"},
    {"gradient-accumulation-steps", ROW(SIZE, gradient_accumulation), QA_OPTIMISED, .key = "gradient_accumulation",
     .aliases = "gradient-accumulation", .range = QA_RANGE_FROM_1, .standard = "1",
     .help = "micro-batches per optimiser step"},
    QA_EPOCH_ROWS(qa_train_options, "3"),
    QA_RATE_ROW(qa_train_options, "0.0003"),
    QA_SCHEDULE_ROWS(qa_train_options, "linear"),
    QA_WARMUP_RATIO_ROW(qa_train_options, "0.1", "0"),
    QA_ADAMW_ROWS(qa_train_options, "0", "0.999"),
    {"shuffle", ROW(FLAG, shuffle), QA_OPTIMISED, .standard = "true",
     .help = "a new order of the pairs in every epoch; --no-shuffle keeps the file's"},
    {"seed", ROW(SEED, seed), QA_OPTIMISED, .standard = "0",
     .help = "of the adapter's start, the order and the dropout"},
    {"out", ROW(STRING, out_dir), .letter = 'o', .aliases = "output-dir output", .placeholder = "DIR",
     .group = QA_GROUP_RUN, .help = "folder for the adapter, its checkpoints and metrics.jsonl"},
    QA_RUN_ROWS(qa_train_options, "0"),
    {"early-stopping-patience", ROW(SIZE, early_stopping_patience), .group = QA_GROUP_RUN, .record = QA_RECORD_KEPT,
     .aliases = "patience", .range = QA_RANGE_FROM_0, .note = "none: all steps",
     .help = "end the run when so many evaluations, one after the other, were no improvement"},
    {"early-stopping-metric", ROW(OTHER, early_stopping_metric, watched_type), .group = QA_GROUP_RUN,
     .aliases = "metric-for-best-model", .record = QA_RECORD_LATER, .standard = "loss",
     .help = "what evaluations are compared by"},
    {"early-stopping-min-delta", ROW(NUMBER, early_stopping_min_delta), .group = QA_GROUP_RUN,
     .aliases = "early-stopping-threshold", .record = QA_RECORD_KEPT, .range = QA_RANGE_FROM_0, .standard = "0",
     .help = "what is more than this is an improvement"},
    {"keep-best", ROW(FLAG, keep_best), .group = QA_GROUP_RUN, .aliases = "load-best-model-at-end",
     .record = QA_RECORD_KEPT,
     .help = "leave the adapter of the best evaluation, not that of the last step, and keep its checkpoint"},
    {"base-cache", ROW(CHOICE, base_cache, base_cache_names), .group = QA_GROUP_RUN, .standard = "auto",
     .help = "keep what the frozen model makes of a pair that is run again (a second epoch, repeated evaluations), and "
             "run only the adapted one then: memory, disk (a file in --out that goes with the run), off; auto: memory "
             "if it takes at most a quarter of the machine's, else disk; the results are the same to the last bit"},
    QA_RECOMPUTE_ROW(qa_train_options),
    {.key = "recipe", ROW(STRING, recipe), .record = QA_RECORD_KEPT},
    {.key = "base_model", ROW(STRING, base_model), .record = QA_RECORD_KEPT},
    {.key = "max_length", ROW(SIZE, max_length), .record = QA_RECORD_KEPT},
};
const qa_option_table qa_train_table = QA_TABLE(train_rows);

static const qa_option replay_rows[] = {
    {"replay-data", ROW(STRING, replay_path), .aliases = "replay-file", .placeholder = "FILE",
     .group = QA_GROUP_ADAPTER, .record = QA_RECORD_KEPT, .path = QA_PATH_READ,
     .help = "replay: responses of the base model's own, {\"messages\": [...]} a line, as generate --in --temperature "
             "0 --out writes them"},
    {"replay-columns", ROW(STRING, replay_columns), .placeholder = "NAME=COLUMN,...", .group = QA_GROUP_ADAPTER,
     .record = QA_RECORD_LATER, .help = "replay: --columns of that file, such as instruction=question,output=answer"},
    {"replay-ratio", ROW(NUMBER, replay_ratio), .group = QA_GROUP_ADAPTER, .record = QA_RECORD_COMPARED,
     .range = QA_RANGE_ABOVE_0, .standard = "1", .help = "replay: such responses per pair of a step"},
};
const qa_option_table qa_replay_table = QA_TABLE(replay_rows);

/* ---- defaults and recipes ---- */

qa_train_options qa_train_defaults(void) {
    qa_train_options options = {.recipe = qa_recipe_names[0], .objective = qa_objective_for_method(QA_METHOD_QADAPTER)};
    qa_options_default(&qa_train_table, &options);
    qa_options_default(&qa_replay_table, &options);
    qa_options_default(&qa_rollout_table, &options);
    qa_options_default(&qa_value_table, &options);
    return options;
}

qa_status qa_train_recipe(const char *recipe, qa_train_options *options, qa_lora_options *lora, qa_error *err) {
    unsigned index = 0;
    QA_TRY(qa_choice_find(&index, qa_recipe_names, "recipe", recipe, err));
    if (options != NULL) {
        options->recipe = qa_recipe_names[index];
        qa_options_recipe(&qa_train_table, options, index == 1);
        QA_TRY(qa_objective_from_recipe(&options->objective, recipe, err));
    }
    if (lora != NULL) {
        *lora = qa_lora_defaults();
        qa_options_recipe(&qa_lora_table, lora, index == 1);
    }
    return QA_OK;
}

/* ---- by name ---- */

static bool has_rollout_option(const qa_method_row *method, const char *name) {
    bool has = false;
    for (size_t i = 0; qa_rollout_table_at(method, i) != NULL; i++) {
        has = has || qa_options_named(qa_rollout_table_at(method, i), name) != NULL;
    }
    return has;
}

/* Where the option of that name is and what it is in; an option of a method, and of no other, is that of the
 * objective's method alone. *owner: the other method that has it. */
static const qa_option *find_option(qa_train_options *o, qa_lora_options *lora, const char *name, void **in,
                                    const qa_method_row **owner) {
    const qa_method_row *method = qa_method_of(&o->objective);
    const struct {
        const qa_option_table *table;
        void *in;
    } places[] = {{&qa_train_table, o}, {lora == NULL ? NULL : &qa_lora_table, lora}, {method->options, &o->objective}};
    const qa_option *option = NULL;
    *owner = NULL;
    for (size_t i = 0; option == NULL && i < sizeof places / sizeof places[0]; i++) {
        option = qa_options_named(places[i].table, name);
        *in = places[i].in;
    }
    if (option == NULL && method->replays) {
        option = qa_options_named(&qa_replay_table, name);
        *in = o;
    }
    for (size_t i = 0; option == NULL && qa_rollout_table_at(method, i) != NULL; i++) {
        option = qa_options_named(qa_rollout_table_at(method, i), name);
        *in = o;
    }
    for (size_t i = 0; option == NULL && *owner == NULL && qa_method_at(i) != NULL; i++) {
        const qa_method_row *other = qa_method_at(i);
        const bool has = qa_options_named(other->options, name) != NULL ||
                         (other->replays && qa_options_named(&qa_replay_table, name) != NULL) ||
                         has_rollout_option(other, name);
        *owner = has ? other : NULL;
    }
    return option;
}

qa_status qa_train_method_defaults(qa_train_options *options, qa_error *err) {
    const char *const *pair = qa_method_of(&options->objective)->defaults;
    for (; pair != NULL && *pair != NULL; pair += 2) {
        const qa_option *option = qa_options_named(&qa_train_table, pair[0]);
        QA_TRY(qa_option_set(option != NULL ? option : qa_options_named(&qa_rollout_table, pair[0]), options, pair[1],
                             err));
    }
    return QA_OK;
}

static qa_status choose_method(qa_train_options *options, const char *value, qa_error *err) {
    qa_method method = QA_METHOD_QADAPTER;
    QA_TRY(qa_method_by_name(&method, value, err));
    if (method != options->objective.method) {
        options->objective = qa_objective_for_method(method);
        options->recipe = qa_method_of(&options->objective)->residual ? qa_recipe_names[0] : NULL;
        QA_TRY(qa_train_method_defaults(options, err));
    }
    return QA_OK;
}

qa_status qa_train_set(qa_train_options *options, qa_lora_options *lora, const char *name, const char *value,
                       qa_error *err) {
    const qa_method_row *owner = NULL;
    void *in = NULL;
    if (strcmp(name, "recipe") == 0) {
        return qa_prefixed(qa_train_recipe(value, options, lora, err), err, "recipe: ");
    }
    if (qa_options_named(&qa_method_table, name) != NULL) {
        return choose_method(options, value, err);
    }
    const qa_option *option = find_option(options, lora, name, &in, &owner);
    QA_FAIL_IF(owner != NULL, err, QA_ERR_ARGUMENT, "%s belongs to method %s, not to %s", name, owner->name,
               qa_method_name(options->objective.method));
    QA_FAIL_IF(option == NULL, err, QA_ERR_ARGUMENT, "%s: no option of training has this name", name);
    const size_t rank = lora == NULL ? 0 : lora->rank;
    QA_TRY(qa_prefixed(qa_option_set(option, in, value, err), err, "%s: ", name));
    if (lora != NULL && lora->rank != rank) {
        const size_t wanted = lora->rank;
        lora->rank = rank;
        qa_lora_set_rank(lora, wanted);
    }
    return QA_OK;
}

/* ---- checks ---- */

qa_status qa_train_val_pairs(double val_size, size_t pairs, size_t *held_out, qa_error *err) {
    const double wanted = val_size < 1.0 ? fmax(1.0, round(val_size * (double)pairs)) : val_size;
    *held_out = 0;
    QA_FAIL_IF(!(val_size >= 0.0) || (val_size >= 1.0 && val_size != floor(val_size)), err, QA_ERR_ARGUMENT,
               "val_size = %g: expected a whole number of pairs, or a share of them below 1", val_size);
    QA_FAIL_IF(val_size > 0.0 && wanted >= (double)pairs, err, QA_ERR_ARGUMENT,
               "val_size = %g: %.0f of %zu pairs cannot be held out, none would be left to learn from", val_size,
               wanted, pairs);
    *held_out = val_size > 0.0 ? (size_t)wanted : 0;
    return QA_OK;
}

static const double MOST_REPLAY = 1000.0; /* examples per pair: numbers of examples stay far below 2^53 */

static qa_status check_replay(const qa_train_options *o, qa_error *err) {
    const qa_method_row *method = qa_method_of(&o->objective);
    if (!method->replays) {
        return o->replay == NULL
                   ? QA_OK
                   : qa_fail(err, QA_ERR_ARGUMENT, "replay data is for method replay, not for %s", method->name);
    }
    QA_FAIL_IF(o->replay == NULL || qa_pairs_count(o->replay) == 0, err, QA_ERR_ARGUMENT,
               "method %s needs replay data: responses of the base model's own", method->name);
    QA_TRY(qa_options_check(&qa_replay_table, o, err));
    return o->replay_ratio <= MOST_REPLAY
               ? QA_OK
               : qa_fail(err, QA_ERR_ARGUMENT, "replay_ratio = %g: expected at most %g", o->replay_ratio, MOST_REPLAY);
}

qa_status qa_train_check_full(const qa_objective *objective, qa_error *err) {
    char text[256];
    qa_objective_text(objective, text, sizeof text);
    QA_FAIL_IF(qa_method_of(objective)->rollouts != NULL, err, QA_ERR_UNSUPPORTED, "method %s trains an adapter alone",
               qa_method_name(objective->method));
    QA_FAIL_IF(
        !qa_objective_is_plain(objective), err, QA_ERR_UNSUPPORTED,
        "all weights are trained where the policy is the softmax of the trained model's own logits: by sft, "
        "dpo and their like, or qadapter with q_parametrisation residual, alpha_0 1 and alpha_tilde 1 (the recipe "
        "theory); this is %s, whose policy needs both models: train an adapter",
        text);
    return objective->reference == QA_REFERENCE_BASE
               ? QA_OK
               : qa_fail(err, QA_ERR_UNSUPPORTED,
                         "reference adapter: with all weights log-ratios are against the base model; to train against "
                         "the model that training starts from, give that one as the base");
}

qa_status qa_train_options_check(const qa_train_options *options, qa_error *err) {
    qa_train_options read = *options;
    QA_FAIL_IF(options->out_dir == NULL || options->out_dir[0] == '\0', err, QA_ERR_ARGUMENT,
               "out_dir: training needs an output folder");
    if (options->max_steps != 0) {
        read.epochs = 1.0; /* not looked at */
    }
    QA_TRY(qa_objective_check(&options->objective, err));
    QA_TRY(check_replay(options, err));
    QA_TRY(qa_rollout_options_check(options, err));
    return qa_options_check(&qa_train_table, &read, err);
}
