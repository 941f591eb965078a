/* The options of a LoRA adapter, one row each, the names of the linear maps, and the ranges. */
#include "model/lora_options.h"

#include "base/try.h"

#include "arch/family.h"
#include "arch/tensors.h"

#include <stdio.h>
#include <string.h>

static const char *const target_names[QA_TARGETS] = {"q_proj",  "k_proj",    "v_proj",   "o_proj",      "gate_proj",
                                                     "up_proj", "down_proj", "qkv_proj", "gate_up_proj"};

const char *qa_target_name(qa_target target) { return target < QA_TARGETS ? target_names[target] : "?"; }

qa_status qa_targets_parse(bool targets[QA_TARGETS], const char *list, qa_error *err) {
    bool parsed[QA_TARGETS] = {false};
    bool any = false;
    const char *p = list;
    while (*p != '\0') {
        size_t length = strcspn(p, ", ");
        bool all = (length == 3 && strncmp(p, "all", 3) == 0) || (length == 10 && strncmp(p, "all-linear", 10) == 0);
        bool known = length == 0 || all;
        for (qa_target t = QA_TARGET_Q; length > 0 && t < QA_TARGETS; t++) {
            if (all || (strlen(target_names[t]) == length && strncmp(p, target_names[t], length) == 0)) {
                parsed[t] = true;
                known = true;
                any = true;
            }
        }
        if (!known) {
            return qa_fail(err, QA_ERR_ARGUMENT,
                           "\"%.*s\" is not a linear map; expected q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
                           "down_proj, qkv_proj, gate_up_proj separated by commas, or all-linear",
                           (int)(length > 40 ? 40 : length), p);
        }
        p += length;
        p += *p != '\0' ? 1 : 0;
    }
    if (!any) {
        return qa_fail(err, QA_ERR_ARGUMENT,
                       "no linear map is named; expected for example q_proj,v_proj or all-linear");
    }
    memcpy(targets, parsed, sizeof parsed);
    return QA_OK;
}

static qa_status parse_targets(void *value, const char *text, qa_error *err) {
    return qa_targets_parse(value, text, err);
}

void qa_targets_text(const bool targets[QA_TARGETS], char *text, size_t bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        if (targets[t] && used < bytes) {
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", used == 0 ? "" : ",", qa_target_name(t));
        }
    }
}

static void format_targets(const void *value, char *text, size_t bytes) { qa_targets_text(value, text, bytes); }

static const qa_option_other targets_type = {parse_targets, format_targets, NULL, true};

#define ROW(kind, ...) QA_##kind(qa_lora_options, __VA_ARGS__), .group = QA_GROUP_ADAPTER, .record = QA_RECORD_COMPARED

static const qa_option lora_rows[] = {
    {"lora-r", ROW(SIZE, rank), .aliases = "lora-rank rank r", .letter = 'r', .range = QA_RANGE_FROM_1,
     .standard = "16", .published = "8", .help = "rank"},
    {"lora-alpha", ROW(NUMBER, alpha), .range = QA_RANGE_ABOVE_0, .standard = "32", .published = "16",
     .note = "twice the rank", .help = "the branch is scaled by alpha / rank"},
    {"lora-dropout", ROW(NUMBER, dropout), .placeholder = "P", .range = QA_RANGE_0_TO_BELOW_1, .standard = "0",
     .published = "0.05", .help = "dropout on the branch's input, in training"},
    {"lora-target", ROW(OTHER, targets, targets_type), .key = "target_modules",
     .aliases = "lora-targets target-modules lora-target-modules", .placeholder = "LIST", .standard = "all-linear",
     .published = "q_proj,v_proj", .help = "linear maps that get a branch: q_proj,v_proj... or all-linear"},
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

/* A row's module without its path: "q_proj" of "self_attn.q_proj.weight". */
static int module_name(const qa_tensor_row *row, const char **name) {
    size_t n = strlen(row->name) - strlen(".weight");
    *name = row->name;
    for (size_t i = 0; i < n; i++) {
        *name = row->name[i] == '.' ? row->name + i + 1 : *name;
    }
    return (int)(row->name + n - *name);
}

/* "q_proj, k_proj, v_proj"; a name that two maps have stands once. */
static void family_names(const qa_family *family, char *text, size_t bytes) {
    const char *last = "";
    size_t used = 0;
    text[0] = '\0';
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS && used < bytes; t++) {
        const qa_tensor_row *row = qa_tensor_of_target(family, t);
        const char *name = NULL;
        const int n = row == NULL ? 0 : module_name(row, &name);
        if (n > 0 && strncmp(last, name, (size_t)n) != 0) {
            used += (size_t)snprintf(text + used, bytes - used, "%s%.*s", used == 0 ? "" : ", ", n, name);
            last = name;
        }
    }
}

/* Whether a map of the family does the work of one that it lacks, and is a target. */
static bool stands_in(const qa_lora_options *options, const qa_family *family, qa_target absent) {
    static const struct {
        qa_target absent, instead;
    } others[] = {
        {QA_TARGET_Q, QA_TARGET_QKV},        {QA_TARGET_K, QA_TARGET_QKV},      {QA_TARGET_V, QA_TARGET_QKV},
        {QA_TARGET_QKV, QA_TARGET_Q},        {QA_TARGET_QKV, QA_TARGET_K},      {QA_TARGET_QKV, QA_TARGET_V},
        {QA_TARGET_GATE, QA_TARGET_GATE_UP}, {QA_TARGET_UP, QA_TARGET_GATE_UP}, {QA_TARGET_GATE_UP, QA_TARGET_GATE},
        {QA_TARGET_GATE_UP, QA_TARGET_UP},   {QA_TARGET_GATE, QA_TARGET_UP},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (others[i].absent == absent && options->targets[others[i].instead] &&
            qa_tensor_of_target(family, others[i].instead) != NULL) {
            return true;
        }
    }
    return false;
}

qa_status qa_lora_options_fit(qa_lora_options *options, const qa_family *family, qa_error *err) {
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        if (!options->targets[t] || qa_tensor_of_target(family, t) != NULL) {
            continue;
        }
        if (!stands_in(options, family, t)) {
            char names[256];
            family_names(family, names, sizeof names);
            return qa_fail(err, QA_ERR_ARGUMENT, "a %s has no linear map %s; its maps are %s", family->architecture,
                           qa_target_name(t), names);
        }
        options->targets[t] = false;
    }
    return QA_OK;
}

/* ---- ranges ---- */

/* Beyond these a scale is no longer a scale: the branch is nothing, or all. */
static const double least_alpha = 1e-6, most_alpha = 1e6;
enum { MOST_RANK = 65536 };

qa_status qa_lora_range_check(size_t rank, double alpha, qa_error *err) {
    if (rank < 1 || rank > MOST_RANK) {
        return qa_fail(err, QA_ERR_ARGUMENT, "LoRA rank is %zu, expected 1 to %d", rank, (int)MOST_RANK);
    }
    if (!(alpha >= least_alpha && alpha <= most_alpha)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "lora_alpha is %g, expected %g to %g", alpha, least_alpha, most_alpha);
    }
    return QA_OK;
}

qa_status qa_lora_options_check(const qa_lora_options *options, qa_error *err) {
    bool any = false;
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        any = any || options->targets[t];
    }
    QA_TRY(qa_lora_range_check(options->rank, options->alpha, err));
    if (!any) {
        return qa_fail(err, QA_ERR_ARGUMENT, "the adapter has no target; name at least one linear map");
    }
    return qa_options_check(&qa_lora_table, options, err);
}
