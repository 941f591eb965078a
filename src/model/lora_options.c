/* The options of a LoRA adapter, one row each, their ranges, and what they mean in a family. */
#include "model/lora_options.h"

#include "arch/family.h"
#include "base/try.h"
#include "model/target_names.h"

#include <stdio.h>
#include <string.h>

/* The row's value is the whole struct: names that a family alone has stand in target_modules, until a model says what
 * they mean. */
static qa_status parse_targets(void *value, const char *text, qa_error *err) {
    qa_lora_options *lora = value;
    bool own = false;
    QA_TRY(qa_targets_check_names(text, &own, err));
    if (!own) {
        lora->target_modules[0] = '\0';
        return qa_targets_parse(lora->targets, text, err);
    }
    QA_FAIL_IF(strlen(text) >= sizeof lora->target_modules, err, QA_ERR_ARGUMENT,
               "a list of %zu bytes, expected less than %zu", strlen(text), sizeof lora->target_modules);
    memset(lora->targets, 0, sizeof lora->targets);
    strcpy(lora->target_modules, text);
    return QA_OK;
}

static void format_targets(const void *value, char *text, size_t bytes) { qa_lora_targets_text(value, text, bytes); }

void qa_lora_targets_text(const qa_lora_options *lora, char *text, size_t bytes) {
    size_t used = (size_t)snprintf(text, bytes, "%s", lora->target_modules);
    for (qa_target t = QA_TARGET_Q; lora->target_modules[0] == '\0' && t < QA_TARGETS && used < bytes; t++) {
        if (lora->targets[t]) {
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", used == 0 ? "" : ",", qa_target_name(t));
        }
    }
}

static const qa_option_other targets_type = {parse_targets, format_targets, NULL, true};

#define ROW(kind, ...) QA_##kind(qa_lora_options, __VA_ARGS__), .group = QA_GROUP_ADAPTER, .record = QA_RECORD_COMPARED

static const qa_option lora_rows[] = {
    {"lora-r", ROW(SIZE, rank), .aliases = "lora-rank rank r", .letter = 'r', .range = QA_RANGE_FROM_1,
     .standard = "16", .published = "8", .help = "rank"},
    {"lora-alpha", ROW(NUMBER, alpha), .range = QA_RANGE_ABOVE_0, .standard = "32", .published = "16",
     .note = "twice the rank", .help = "the branch is scaled by alpha / rank"},
    {"lora-dropout", ROW(NUMBER, dropout), .placeholder = "P", .range = QA_RANGE_0_TO_BELOW_1, .standard = "0",
     .published = "0.05", .help = "dropout on the branch's input, in training"},
    {"lora-target", .type = QA_OPTION_OTHER, .offset = 0, .other = &targets_type, .group = QA_GROUP_ADAPTER,
     .record = QA_RECORD_COMPARED, .key = "target_modules",
     .aliases = "lora-targets target-modules lora-target-modules", .placeholder = "LIST", .standard = "all-linear",
     .published = "q_proj,v_proj",
     .help = "linear maps that get a branch, by the names that the model has for them: q_proj,v_proj... (c_attn,"
             "mlp.c_proj... in GPT-2), or all-linear"},
    {"use-rslora", ROW(FLAG, use_rslora), .aliases = "rslora", .help = "scale by alpha / sqrt(rank) instead"},
};
const qa_option_table qa_lora_table = QA_TABLE(lora_rows);

qa_lora_options qa_lora_defaults(void) {
    qa_lora_options lora = {0};
    qa_options_default(&qa_lora_table, &lora);
    return lora;
}

void qa_lora_set_rank(qa_lora_options *lora, size_t rank) {
    lora->alpha *= (double)rank / (double)lora->rank;
    lora->rank = rank;
}

/* ---- the targets of a family ---- */

/* Whether a map of the family does the work of one that it lacks, and is a target. */
static bool stands_in(const qa_lora_options *lora, const qa_family *family, qa_target absent) {
    static const struct {
        qa_target absent, instead;
    } others[] = {
        {QA_TARGET_Q, QA_TARGET_QKV},        {QA_TARGET_K, QA_TARGET_QKV},      {QA_TARGET_V, QA_TARGET_QKV},
        {QA_TARGET_QKV, QA_TARGET_Q},        {QA_TARGET_QKV, QA_TARGET_K},      {QA_TARGET_QKV, QA_TARGET_V},
        {QA_TARGET_GATE, QA_TARGET_GATE_UP}, {QA_TARGET_UP, QA_TARGET_GATE_UP}, {QA_TARGET_GATE_UP, QA_TARGET_GATE},
        {QA_TARGET_GATE_UP, QA_TARGET_UP},   {QA_TARGET_GATE, QA_TARGET_UP},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (others[i].absent == absent && lora->targets[others[i].instead] &&
            qa_target_has_usual_name(family, others[i].instead)) {
            return true;
        }
    }
    return false;
}

/* Targets that were named by qa_target_name, so that the family must call them so. */
static qa_status fit_targets(qa_lora_options *lora, const qa_family *family, qa_error *err) {
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        if (lora->targets[t] && !qa_target_has_usual_name(family, t)) {
            char names[256];
            qa_targets_all_names(family, names, sizeof names);
            QA_FAIL_IF(!stands_in(lora, family, t), err, QA_ERR_ARGUMENT, "%s has no linear map %s; its maps are %s",
                       family->architecture, qa_target_name(t), names);
            lora->targets[t] = false;
        }
    }
    return QA_OK;
}

qa_status qa_lora_options_fit(qa_lora_options *lora, const qa_family *family, qa_error *err) {
    static const bool none[QA_TARGETS];
    bool named[QA_TARGETS], all = true;
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        all = all && lora->targets[t];
    }
    if (lora->target_modules[0] == '\0' && !all) {
        QA_TRY(fit_targets(lora, family, err));
    } else {
        QA_TRY(qa_targets_by_name(named, family, all ? "all-linear" : lora->target_modules, err));
        QA_FAIL_IF(!all && memcmp(lora->targets, none, sizeof none) != 0 &&
                       memcmp(lora->targets, named, sizeof named) != 0,
                   err, QA_ERR_ARGUMENT,
                   "targets says other linear maps than target_modules \"%s\"; expected one of them empty",
                   lora->target_modules);
        memcpy(lora->targets, named, sizeof named);
    }
    qa_lora_name_targets(lora, family);
    return QA_OK;
}

void qa_lora_name_targets(qa_lora_options *lora, const qa_family *family) {
    bool usual = true;
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        usual = usual && (!lora->targets[t] || qa_target_has_usual_name(family, t));
    }
    lora->target_modules[0] = '\0';
    if (!usual) {
        qa_targets_names(lora->targets, family, ",", lora->target_modules, sizeof lora->target_modules);
    }
}

/* ---- ranges ---- */

/* Beyond these a scale is no longer a scale: the branch is nothing, or all. */
static const double least_alpha = 1e-6, most_alpha = 1e6;
enum { MOST_RANK = 65536 };

qa_status qa_lora_range_check(size_t rank, double alpha, qa_error *err) {
    QA_FAIL_IF(rank < 1 || rank > MOST_RANK, err, QA_ERR_ARGUMENT, "LoRA rank is %zu, expected 1 to %d", rank,
               (int)MOST_RANK);
    QA_FAIL_IF(!(alpha >= least_alpha && alpha <= most_alpha), err, QA_ERR_ARGUMENT,
               "lora_alpha is %g, expected %g to %g", alpha, least_alpha, most_alpha);
    return QA_OK;
}

qa_status qa_lora_options_check(const qa_lora_options *options, qa_error *err) {
    bool any = options->target_modules[0] != '\0';
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        any = any || options->targets[t];
    }
    QA_TRY(qa_lora_range_check(options->rank, options->alpha, err));
    QA_FAIL_IF(!any, err, QA_ERR_ARGUMENT, "the adapter has no target; name at least one linear map");
    return qa_options_check(&qa_lora_table, options, err);
}
