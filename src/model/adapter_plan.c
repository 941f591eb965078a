/* See adapter_plan.h. Which keys there are, and what a list, an expression or a number in them means, is PEFT's. */
#include "model/adapter_plan.h"

#include "arch/family.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "model/lora_options.h"
#include "model/module_pattern.h"
#include "model/target_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the keys ---- */

static bool is_empty(const json_t *value) {
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

/* Keys that are read elsewhere in this file, and keys that say nothing about the arithmetic. */
static const char *const read_keys[] = {"peft_type",         "task_type",       "r",
                                        "lora_alpha",        "lora_dropout",    "use_rslora",
                                        "target_modules",    "exclude_modules", "layers_to_transform",
                                        "layers_pattern",    "rank_pattern",    "alpha_pattern",
                                        "init_lora_weights", "auto_mapping",    "base_model_name_or_path",
                                        "revision",          "inference_mode",  "peft_version",
                                        "fan_in_fan_out",    "eva_config", /* how A was begun */
                                        "qalora_group_size",               /* means something beside use_qalora only */
                                        "runtime_config"};

/* Keys that may have one value beside an empty one. */
static const struct { const char *key, *value; } fixed_keys[] = {{"bias", "none"}, {"megatron_core", "megatron.core"}};

static bool is_read(const char *key) {
    for (size_t i = 0; i < sizeof read_keys / sizeof *read_keys; i++) {
        if (strcmp(key, read_keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* PEFT has variants whose forward pass is another one, and grows more: reading their tensors as plain LoRA would be
 * silently wrong, so that only keys that are understood may say something. */
static qa_status check_keys(const json_t *root, qa_error *err) {
    const char *key = NULL;
    const json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)root, key, value) {
        bool good = is_read(key) || is_empty(value);
        const char *expected = "null or false";
        for (size_t i = 0; i < sizeof fixed_keys / sizeof *fixed_keys; i++) {
            if (strcmp(key, fixed_keys[i].key) == 0) {
                expected = fixed_keys[i].value;
                good = good || (json_is_string(value) && strcmp(json_string_value(value), expected) == 0);
            }
        }
        QA_FAIL_IF(!good, err, QA_ERR_UNSUPPORTED, "%.80s is set, which plain LoRA does not have; expected %s", key,
                   expected);
    }
    return QA_OK;
}

/* Initialisations that leave the base model's weights alone. The others put a part of them into A and B and leave the
 * rest as the base model: on the model that we load, their tensors would count that part twice. */
static qa_status check_initialisation(const json_t *root, qa_error *err) {
    const json_t *value = json_object_get(root, "init_lora_weights");
    const char *name = json_string_value(value);
    if (value == NULL || json_is_null(value) || json_is_boolean(value)) {
        return QA_OK;
    }
    QA_FAIL_IF(name == NULL, err, QA_ERR_FORMAT, "init_lora_weights is neither true, false nor a name");
    if (strcasecmp(name, "gaussian") == 0 || strcasecmp(name, "mica") == 0 || strcmp(name, "orthogonal") == 0 ||
        strcmp(name, "eva") == 0) {
        return QA_OK;
    }
    return qa_fail(
        err, QA_ERR_UNSUPPORTED,
        "init_lora_weights \"%.40s\" is none of true, false, gaussian, orthogonal, eva and mica, which leave "
        "the base model's weights as they are (pissa, olora, loftq, corda and lora_ga change them); convert "
        "the adapter to plain LoRA first (PEFT: path_initial_model_for_weight_conversion)",
        name);
}

static qa_status read_numbers(qa_lora_options *options, const json_t *root, qa_error *err) {
    static const char where[] = "LoRA";
    const char *type = NULL, *task = NULL;
    QA_TRY(qa_json_get_string(root, "peft_type", true, where, &type, err));
    QA_FAIL_IF(strcmp(type, "LORA") != 0, err, QA_ERR_UNSUPPORTED,
               "peft_type \"%.40s\" is not supported; expected LORA", type);
    QA_TRY(qa_json_get_string(root, "task_type", false, where, &task, err));
    QA_FAIL_IF(task != NULL && strcmp(task, "CAUSAL_LM") != 0, err, QA_ERR_UNSUPPORTED,
               "task_type \"%.40s\" is not supported; expected CAUSAL_LM", task);
    QA_TRY(check_initialisation(root, err));
    QA_TRY(check_keys(root, err));
    QA_TRY(qa_json_get_size(root, "r", true, where, &options->rank, err));
    QA_TRY(qa_json_get_double(root, "lora_alpha", true, where, &options->alpha, err));
    QA_TRY(qa_json_get_double(root, "lora_dropout", false, where, &options->dropout, err));
    return qa_json_get_bool(root, "use_rslora", false, where, &options->use_rslora, err);
}

/* ---- choosing modules ---- */

enum { MATCH_STEPS = 200000, LEAST_STEPS = 1000, ALL_STEPS = 20000000, MOST_EXPRESSIONS = 4096, SHORTENED_NAMES = 20 };

/* target_modules or exclude_modules. */
typedef struct module_chooser {
    const json_t *names;        /* a list, checked to be of strings; else NULL */
    qa_module_pattern *pattern; /* a string; else NULL */
    bool all_linear;
} module_chooser;

static uint32_t steps_for(size_t matches) {
    const size_t each = ALL_STEPS / (matches == 0 ? 1 : matches);
    return (uint32_t)(each < LEAST_STEPS ? LEAST_STEPS : each > MATCH_STEPS ? MATCH_STEPS : each);
}

static qa_status check_names(const json_t *list, const char *key, qa_error *err) {
    size_t i = 0;
    const json_t *item = NULL;
    QA_FAIL_IF(json_array_size(list) > MOST_EXPRESSIONS, err, QA_ERR_LIMIT, "%s has %zu names, expected at most %d",
               key, json_array_size(list), (int)MOST_EXPRESSIONS);
    json_array_foreach(list, i, item) {
        const char *name = json_string_value(item);
        QA_FAIL_IF(name == NULL || strlen(name) != json_string_length(item) || name[0] == '\0', err, QA_ERR_FORMAT,
                   "%s[%zu] is not a name", key, i);
    }
    return QA_OK;
}

/* An empty value chooses nothing. */
static qa_status chooser_open(module_chooser *chooser, const json_t *root, const char *key, size_t modules,
                              qa_error *err) {
    const json_t *value = json_object_get(root, key);
    *chooser = (module_chooser){0};
    if (is_empty(value)) {
        return QA_OK;
    }
    if (json_is_array(value)) {
        chooser->names = value;
        return check_names(value, key, err);
    }
    QA_FAIL_IF(!json_is_string(value), err, QA_ERR_FORMAT, "%s is neither a list of names nor a string", key);
    if (strcasecmp(json_string_value(value), "all-linear") == 0 && strcmp(key, "target_modules") == 0) {
        chooser->all_linear = true;
        return QA_OK;
    }
    return qa_prefixed(qa_module_pattern_create(&chooser->pattern, json_string_value(value), json_string_length(value),
                                                QA_MODULE_WHOLE, steps_for(modules), err),
                       err, "%s: ", key);
}

/* *exact: by the whole path, a list's entry. */
static qa_status chooser_matches(const module_chooser *chooser, const char *path, bool *matches, bool *exact,
                                 qa_error *err) {
    *matches = chooser->all_linear; /* nothing but maps is asked about then */
    *exact = *matches;
    if (chooser->pattern != NULL) {
        *exact = true;
        return qa_module_pattern_matches(chooser->pattern, path, matches, err);
    }
    for (size_t i = 0; i < json_array_size(chooser->names); i++) {
        const char *name = json_string_value(json_array_get(chooser->names, i));
        *matches = *matches || qa_module_name_matches(name, path);
        *exact = *exact || strcmp(name, path) == 0;
    }
    return QA_OK;
}

/* layers_to_transform and layers_pattern, which hold for what a list's entry finds by its end. */
typedef struct layer_choice {
    const json_t *layers; /* a list of integers or one; NULL: every layer */
    bool found;           /* the modules' list of layers is one that layers_pattern names */
} layer_choice;

/* of: the modules' list of layers, "model.layers". */
static qa_status layer_choice_read(layer_choice *choice, const json_t *root, const char *of, qa_error *err) {
    const json_t *layers = json_object_get(root, "layers_to_transform");
    const json_t *pattern = json_object_get(root, "layers_pattern");
    const bool by_expression = json_is_string(json_object_get(root, "target_modules"));
    size_t i = 0;
    const json_t *item = NULL;
    *choice = (layer_choice){.layers = is_empty(layers) ? NULL : layers, .found = is_empty(pattern)};
    QA_FAIL_IF(choice->layers != NULL && !json_is_integer(layers) && !json_is_array(layers), err, QA_ERR_FORMAT,
               "layers_to_transform is neither a list of numbers nor a number");
    json_array_foreach(layers, i, item) {
        QA_FAIL_IF(!json_is_integer(item), err, QA_ERR_FORMAT, "layers_to_transform[%zu] is not a whole number", i);
    }
    const bool given = layers != NULL && !json_is_null(layers);
    QA_FAIL_IF((given || !is_empty(pattern)) && by_expression, err, QA_ERR_FORMAT,
               "%s needs a list of target_modules, not a string", given ? "layers_to_transform" : "layers_pattern");
    if (is_empty(pattern)) {
        return QA_OK;
    }
    QA_FAIL_IF(!given, err, QA_ERR_FORMAT, "layers_pattern is set, but not layers_to_transform");
    const bool list = json_is_array(pattern);
    for (i = 0; i < (list ? json_array_size(pattern) : 1); i++) {
        const char *name = json_string_value(list ? json_array_get(pattern, i) : pattern);
        QA_FAIL_IF(name == NULL || name[strcspn(name, "\\[](){}*+?|^$")] != '\0', err, QA_ERR_UNSUPPORTED,
                   "layers_pattern: expected a name such as \"layers\"");
        choice->found = choice->found || qa_module_name_matches(name, of);
    }
    return QA_OK;
}

static bool layer_chosen(const layer_choice *choice, size_t layer) {
    if (choice->layers == NULL || json_is_integer(choice->layers)) {
        return choice->layers == NULL || (choice->found && json_integer_value(choice->layers) == (json_int_t)layer);
    }
    for (size_t i = 0; choice->found && i < json_array_size(choice->layers); i++) {
        if (json_integer_value(json_array_get(choice->layers, i)) == (json_int_t)layer) {
            return true;
        }
    }
    return false;
}

/* ---- rank_pattern and alpha_pattern ---- */

typedef struct pattern_list {
    qa_module_pattern **patterns; /* [n], in the order of the file */
    const json_t **values;
    const char **keys;
    bool *used; /* it decided for a map */
    size_t n;
} pattern_list;

static void pattern_list_close(pattern_list *list) {
    for (size_t i = 0; i < list->n; i++) {
        qa_module_pattern_free(list->patterns[i]);
    }
    free(list->patterns);
    free(list->values);
    free(list->keys);
    free(list->used);
}

static qa_status pattern_list_open(pattern_list *list, const json_t *root, const char *key, size_t modules,
                                   qa_error *err) {
    json_t *object = NULL;
    const char *name = NULL;
    json_t *value = NULL;
    *list = (pattern_list){0};
    QA_TRY(qa_json_get_object(root, key, false, "LoRA", &object, err));
    const size_t n = json_object_size(object);
    QA_FAIL_IF(n > MOST_EXPRESSIONS, err, QA_ERR_LIMIT, "%s has %zu keys, expected at most %d", key, n,
               (int)MOST_EXPRESSIONS);
    list->patterns = qa_alloc_array(n, sizeof *list->patterns);
    list->values = qa_alloc_array(n, sizeof *list->values);
    list->keys = qa_alloc_array(n, sizeof *list->keys);
    list->used = qa_alloc_array(n, sizeof *list->used);
    if (list->patterns == NULL || list->values == NULL || list->keys == NULL || list->used == NULL) {
        return QA_NO_MEMORY(err, "%s", key);
    }
    json_object_foreach(object, name, value) {
        list->values[list->n] = value;
        list->keys[list->n] = name;
        const qa_status status = qa_module_pattern_create(&list->patterns[list->n], name, strlen(name), QA_MODULE_END,
                                                          steps_for(modules * n), err);
        if (status != QA_OK) {
            qa_error_prefix(err, "%s: ", key);
            return status;
        }
        list->n++;
    }
    return QA_OK;
}

/* The value of the first key that matches; NULL: none does. */
static qa_status pattern_list_find(const pattern_list *list, const char *path, const json_t **value, qa_error *err) {
    *value = NULL;
    for (size_t i = 0; i < list->n && *value == NULL; i++) {
        bool matches = false;
        QA_TRY(qa_module_pattern_matches(list->patterns[i], path, &matches, err));
        *value = matches ? list->values[i] : NULL;
        list->used[i] = list->used[i] || matches;
    }
    return QA_OK;
}

/* A key that says nothing: another spelling than the model's is easily taken. */
static void warn_of_unused(const pattern_list *list, const char *key, qa_warnings *warnings) {
    size_t unused = 0, first = 0;
    for (size_t i = list->n; i > 0; i--) {
        unused += list->used[i - 1] ? 0 : 1;
        first = list->used[i - 1] ? first : i - 1;
    }
    if (unused > 0) {
        qa_warn(warnings,
                "%s: %zu of its %zu keys, \"%.80s\" the first, decide for no adapted map (none of them matches, or "
                "an earlier key does), as in PEFT",
                key, unused, list->n, list->keys[first]);
    }
}

/* ---- the plan ---- */

typedef struct adapter_planner {
    module_chooser targets, excluded;
    layer_choice layers;
    pattern_list ranks, alphas;
} adapter_planner;

static void planner_close(adapter_planner *planner) {
    qa_module_pattern_free(planner->targets.pattern);
    qa_module_pattern_free(planner->excluded.pattern);
    pattern_list_close(&planner->ranks);
    pattern_list_close(&planner->alphas);
}

static qa_status planner_open(adapter_planner *planner, const json_t *root, const qa_config *config, qa_error *err) {
    const qa_tensor_table *table = config->family->tensors;
    const size_t modules = config->num_hidden_layers * table->n;
    char layers[QA_TENSOR_NAME_BYTES];
    (void)snprintf(layers, sizeof layers, "%.*s", (int)strlen(table->layers) - 1, table->layers);
    QA_TRY(chooser_open(&planner->targets, root, "target_modules", modules, err));
    QA_TRY(chooser_open(&planner->excluded, root, "exclude_modules", modules, err));
    QA_TRY(layer_choice_read(&planner->layers, root, layers, err));
    QA_TRY(pattern_list_open(&planner->ranks, root, "rank_pattern", modules, err));
    return pattern_list_open(&planner->alphas, root, "alpha_pattern", modules, err);
}

/* layer SIZE_MAX: a module outside the layers. */
static qa_status is_chosen(const adapter_planner *planner, const char *path, size_t layer, bool *chosen,
                           qa_error *err) {
    bool exact = false, excluded = false;
    QA_TRY(chooser_matches(&planner->excluded, path, &excluded, &exact, err));
    QA_TRY(chooser_matches(&planner->targets, path, chosen, &exact, err));
    const bool of_layer = layer_chosen(&planner->layers, layer);
    QA_FAIL_IF(*chosen && !excluded && !of_layer && planner->targets.pattern == NULL && exact &&
                   json_array_size(planner->targets.names) >= SHORTENED_NAMES,
               err, QA_ERR_UNSUPPORTED,
               "target_modules lists %zu names, %s in a layer that layers_to_transform leaves out: PEFT shortens "
               "lists from %d names on before it asks for the layer; expected a list without layers_to_transform",
               json_array_size(planner->targets.names), path, (int)SHORTENED_NAMES);
    *chosen = *chosen && !excluded && (exact || of_layer);
    return QA_OK;
}

/* Asks about the modules that the parts of a tensor's name are: "model", "model.layers", "model.layers.0"... but for
 * those that `before` has too, and for a map, which may be chosen. in: bytes of what stands before the layer's own
 * names. */
static qa_status refuse_modules_of(const adapter_planner *planner, const char *name, const char *before, size_t in,
                                   size_t layer, bool map, const qa_config *config, qa_error *err) {
    for (size_t n = 0; name[n] != '\0'; n++) {
        bool chosen = false;
        char path[QA_TENSOR_NAME_BYTES], names[256];
        const bool whole = strchr(name + n + 1, '.') == NULL;
        if (name[n] != '.' || strncmp(name, before, n + 1) == 0 || (whole && map)) {
            continue;
        }
        (void)snprintf(path, sizeof path, "%.*s", (int)n, name);
        QA_TRY(is_chosen(planner, path, n > in ? layer : SIZE_MAX, &chosen, err));
        if (chosen) {
            qa_targets_all_names(config->family, names, sizeof names);
            return qa_fail(err, QA_ERR_UNSUPPORTED,
                           "target_modules adapts %s, which is not supported; expected linear maps of the layers (%s)",
                           path, names);
        }
    }
    return QA_OK;
}

/* What is no linear map of a layer: the embedding and the head, which PEFT would adapt, too; norms and whole blocks,
 * which it refuses. */
static qa_status refuse_other_modules(const adapter_planner *planner, const qa_config *config, qa_error *err) {
    const qa_tensor_table *table = config->family->tensors;
    char names[2][QA_TENSOR_NAME_BYTES] = {"", ""};
    for (size_t i = 0, now = 0; i < table->n * (1 + config->num_hidden_layers); i++) {
        const qa_tensor_row *row = &table->rows[i % table->n];
        const bool in_layer = i >= table->n;
        const size_t l = in_layer ? i / table->n - 1 : SIZE_MAX;
        if (qa_tensor_in_layer(row) != in_layer) {
            continue;
        }
        qa_tensor_name(names[now], table, row, l);
        QA_TRY(refuse_modules_of(planner, names[now], names[1 - now],
                                 in_layer ? strlen(names[now]) - strlen(row->name) : 0, l,
                                 row->role == QA_ROLE_MAP || row->role == QA_ROLE_BIAS, config, err));
        now = 1 - now;
    }
    return QA_OK;
}

static qa_status plan_branch(const adapter_planner *planner, const char *path, qa_branch_plan *branch, qa_error *err) {
    const json_t *rank = NULL, *alpha = NULL;
    QA_TRY(pattern_list_find(&planner->ranks, path, &rank, err));
    QA_TRY(pattern_list_find(&planner->alphas, path, &alpha, err));
    QA_FAIL_IF(rank != NULL && (!json_is_integer(rank) || json_integer_value(rank) < 1), err, QA_ERR_FORMAT,
               "rank_pattern: the rank of %s is not a whole number above 0", path);
    QA_FAIL_IF(alpha != NULL && !json_is_number(alpha), err, QA_ERR_FORMAT,
               "alpha_pattern: the alpha of %s is not a number", path);
    branch->rank = rank == NULL ? branch->rank : (size_t)json_integer_value(rank);
    branch->alpha = alpha == NULL ? branch->alpha : json_number_value(alpha);
    return qa_prefixed(qa_lora_range_check(branch->rank, branch->alpha, err), err, "%s: ", path);
}

static qa_status make_plan(const adapter_planner *planner, qa_branch_plan *plan, qa_lora_options *options,
                           const qa_config *config, qa_error *err) {
    char names[256];
    bool any = false;
    qa_targets_all_names(config->family, names, sizeof names);
    QA_TRY(planner->targets.all_linear ? QA_OK : refuse_other_modules(planner, config, err));
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
            qa_branch_plan *branch = &plan[l * QA_TARGETS + t];
            char path[QA_TENSOR_NAME_BYTES];
            if (qa_tensor_of_target(config->family, t) == NULL) {
                continue;
            }
            qa_module_path(path, config->family, l, t);
            *branch = (qa_branch_plan){.rank = options->rank, .alpha = options->alpha};
            QA_TRY(is_chosen(planner, path, l, &branch->present, err));
            if (branch->present) {
                QA_TRY(plan_branch(planner, path, branch, err));
                options->targets[t] = true;
                any = true;
            }
        }
    }
    return any ? QA_OK
               : qa_fail(err, QA_ERR_MISMATCH,
                         "target_modules, exclude_modules and layers_to_transform leave none of the model's %zu layers "
                         "a linear map (%s)",
                         config->num_hidden_layers, names);
}

/* fan_in_fan_out says how the base model keeps its matrices, which the model's family knows. */
static qa_status check_orientation(const json_t *root, const qa_config *config, qa_warnings *warnings, qa_error *err) {
    const bool transposed = config->family->tensors->transposed;
    bool said = transposed;
    QA_TRY(qa_json_get_bool(root, "fan_in_fan_out", false, "LoRA", &said, err));
    if (said != transposed) {
        qa_warn(warnings, "fan_in_fan_out is %s, but the linear maps of %s are %s: read as %s, as in PEFT",
                said ? "true" : "false", config->family->architecture, transposed ? "Conv1D" : "no Conv1D",
                transposed ? "true" : "false");
    }
    return QA_OK;
}

qa_status qa_adapter_plan_read(qa_branch_plan **plan, qa_lora_options *options, const json_t *root,
                               const qa_config *config, qa_warnings *warnings, qa_error *err) {
    const size_t modules = config->num_hidden_layers * QA_TARGETS;
    adapter_planner planner = {0};
    qa_status status = QA_OK;
    *plan = NULL;
    *options = (qa_lora_options){0};
    QA_FAIL_IF(!json_is_object(root), err, QA_ERR_FORMAT, "expected an object");
    QA_TRY(read_numbers(options, root, err));
    const json_t *targets = json_object_get(root, "target_modules");
    QA_FAIL_IF(is_empty(targets) || (!json_is_array(targets) && !json_is_string(targets)), err, QA_ERR_FORMAT,
               "target_modules must be a string or list at least one name");
    QA_TRY(QA_NEW(*plan, modules, err, "an adapter"));
    QA_GOTO(done, planner_open(&planner, root, config, err));
    QA_GOTO(done, make_plan(&planner, *plan, options, config, err));
    status = check_orientation(root, config, warnings, err);
    warn_of_unused(&planner.ranks, "rank_pattern", warnings);
    warn_of_unused(&planner.alphas, "alpha_pattern", warnings);
    qa_lora_name_targets(options, config->family);
done:
    planner_close(&planner);
    if (status != QA_OK) {
        free(*plan);
        *plan = NULL;
    }
    return status;
}
