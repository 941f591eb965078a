/* Adapters in PEFT's folder layout: adapter_config.json and adapter_model.safetensors. */
#include "arch/family.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "io/file.h"
#include "io/json.h"
#include "io/json_memory.h"
#include "io/safetensors.h"
#include "model/adapter_folder.h"
#include "model/adapter_internal.h"
#include "model/adapter_names.h"
#include "model/adapter_plan.h"
#include "model/target_names.h"
#include "model/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static qa_status refuse_surplus_branches(const qa_adapter *adapter, const qa_adapter_names *names,
                                         const qa_safetensors *file, qa_error *err) {
    for (size_t i = 0; i < names->n; i++) {
        bool known = false;
        for (size_t j = 0; !known && j < adapter->n_tensors; j++) {
            known = strcmp(names->names[i].name, adapter->tensors[j].name) == 0;
        }
        QA_FAIL_IF(!known, err, QA_ERR_MISMATCH,
                   "%s: tensor \"%.120s\" is surplus: adapter_config.json and the model do not account for it",
                   qa_safetensors_path(file), names->names[i].tensor->name);
    }
    return QA_OK;
}

/* Reads every tensor of the adapter's layout, under whatever spelling the writer has; then nothing may be left over. */
static qa_status read_adapter_tensors(qa_adapter *adapter, const qa_safetensors *file, qa_error *err) {
    qa_adapter_names names = {0};
    qa_status status = QA_OK;
    size_t found = 0;
    QA_GOTO(done, qa_adapter_names_open(&names, file, err));
    for (size_t i = 0; i < adapter->n_tensors; i++) {
        const qa_adapter_tensor *place = &adapter->tensors[i];
        const qa_tensor *tensor = qa_adapter_names_find(&names, place->name);
        const size_t shape[2] = {place->rows, place->columns};
        if (tensor == NULL) {
            const char *first = qa_safetensors_count(file) == 0 ? NULL : qa_safetensors_at(file, 0)->name;
            status = qa_fail(err, QA_ERR_MISMATCH,
                             "%s: tensor \"%s\" is missing (the model has %zu layers; does the adapter belong to it?); "
                             "the file's first one is %s%.120s%s",
                             qa_safetensors_path(file), place->name, adapter->layers, first == NULL ? "" : "\"",
                             first == NULL ? "none" : first, first == NULL ? "" : "\"");
            goto done;
        }
        QA_GOTO(done, qa_tensor_check_shape(file, tensor, 2, shape, err));
        QA_GOTO(done, qa_tensor_read_real(file, tensor, true, adapter->parameters + place->offset, err));
        found++;
    }
    if (found < qa_safetensors_count(file)) {
        status = refuse_surplus_branches(adapter, &names, file, err);
    }
done:
    qa_adapter_names_close(&names);
    return status;
}

qa_status qa_adapter_load(qa_adapter **out, const qa_model *model, const char *dir, qa_error *err) {
    *out = NULL;
    qa_status status = QA_OK;
    json_t *root = NULL;
    qa_safetensors *file = NULL;
    qa_adapter *adapter = NULL;
    qa_branch_plan *plan = NULL;
    qa_lora_options options;
    qa_warnings warnings = {0};
    char *config_path = NULL, *tensor_path = NULL;
    bool full = false;
    QA_TRY(qa_adapter_folder_is_full(&full, dir, err));
    if (full) {
        return qa_adapter_load_full(out, model, dir, err);
    }
    QA_GOTO(done, qa_join_path(&config_path, dir, "adapter_config.json", err));
    QA_GOTO(done, qa_join_path(&tensor_path, dir, "adapter_model.safetensors", err));
    QA_GOTO(done, qa_adapter_folder_check(dir, err));
    QA_GOTO(done, qa_json_load(&root, config_path, err));
    status = qa_adapter_plan_read(&plan, &options, root, &model->config, &warnings, err);
    if (status == QA_OK) {
        status = qa_adapter_allocate(&adapter, model, &options, plan, err);
    }
    if (status != QA_OK) {
        qa_error_prefix(err, "%s: ", config_path);
        goto done;
    }
    for (size_t i = 0; i < warnings.n; i++) {
        qa_log(&model->context->logger, QA_LOG_WARNING, "%s: %s", config_path, warnings.lines[i]);
    }
    QA_GOTO(done, qa_safetensors_open(&file, tensor_path, err));
    QA_GOTO(done, read_adapter_tensors(adapter, file, err));
    *out = adapter;
    adapter = NULL;
done:
    qa_adapter_free(adapter);
    qa_safetensors_close(file);
    json_decref(root);
    free(plan);
    qa_warnings_free(&warnings);
    free(config_path);
    free(tensor_path);
    return status;
}

/* target_modules: short names where every layer has them, else every path. */
static json_t *target_list(const qa_adapter *adapter) {
    json_t *list = json_array();
    bool everywhere = true;
    for (size_t i = 0; i < adapter->layers * QA_TARGETS; i++) {
        everywhere = everywhere && adapter->places[i].present == adapter->options.targets[i % QA_TARGETS];
    }
    if (everywhere) {
        char names[QA_TARGET_MODULES_BYTES];
        qa_targets_names(adapter->options.targets, adapter->family, ",", names, sizeof names);
        for (char *rest = names, *name; (name = strtok_r(rest, ",", &rest)) != NULL;) {
            (void)json_array_append_new(list, json_string(name));
        }
    }
    for (size_t i = 0; !everywhere && i < adapter->layers * QA_TARGETS; i++) {
        if (adapter->places[i].present) {
            char path[QA_TENSOR_NAME_BYTES];
            qa_module_path(path, adapter->family, i / QA_TARGETS, (qa_target)(i % QA_TARGETS));
            (void)json_array_append_new(list, json_string(path));
        }
    }
    return list;
}

/* Whole numbers as integers, as PEFT writes them. */
static json_t *alpha_json(double alpha) {
    return alpha >= 1 && !(fabs(alpha - floor(alpha)) > 0) ? json_integer((json_int_t)alpha) : json_real(alpha);
}

json_t *qa_adapter_rank_pattern(const qa_adapter *adapter) {
    json_t *object = json_object();
    for (size_t i = 0; i < adapter->layers * QA_TARGETS; i++) {
        const qa_branch_place *place = &adapter->places[i];
        if (place->present && place->rank != adapter->options.rank) {
            char path[QA_TENSOR_NAME_BYTES];
            qa_module_path(path, adapter->family, i / QA_TARGETS, (qa_target)(i % QA_TARGETS));
            (void)json_object_set_new(object, path, json_integer((json_int_t)place->rank));
        }
    }
    return object;
}

json_t *qa_adapter_alpha_pattern(const qa_adapter *adapter) {
    json_t *object = json_object();
    for (size_t i = 0; i < adapter->layers * QA_TARGETS; i++) {
        const qa_branch_place *place = &adapter->places[i];
        if (place->present && fabs(place->alpha - adapter->options.alpha) > 0) {
            char path[QA_TENSOR_NAME_BYTES];
            qa_module_path(path, adapter->family, i / QA_TARGETS, (qa_target)(i % QA_TARGETS));
            (void)json_object_set_new(object, path, alpha_json(place->alpha));
        }
    }
    return object;
}

/* adapter_config.json with the keys that PEFT writes for plain LoRA. */
static qa_status save_config(const qa_adapter *adapter, const char *path, const char *base_model, qa_error *err) {
    const qa_lora_options *options = &adapter->options;
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:n, s:b, s:I, s:o, s:f, s:o, s:s, s:b, s:b, s:b, s:n, s:b, s:o, s:o, "
        "s:n, s:n}",
        "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", base_model, "revision",
        "inference_mode", 1, "r", (json_int_t)options->rank, "lora_alpha", alpha_json(options->alpha), "lora_dropout",
        options->dropout, "target_modules", target_list(adapter), "bias", "none", "fan_in_fan_out",
        (int)adapter->family->tensors->transposed, "use_rslora", (int)options->use_rslora, "use_dora", 0,
        "modules_to_save", "init_lora_weights", 1, "rank_pattern", qa_adapter_rank_pattern(adapter), "alpha_pattern",
        qa_adapter_alpha_pattern(adapter), "layers_to_transform", "layers_pattern");
    if (root == NULL && qa_json_memory_failed()) {
        return QA_NO_MEMORY(err, "%s", path);
    }
    QA_FAIL_IF(root == NULL, err, QA_ERR_FORMAT, "%s: the base model's name \"%.80s\" is not valid UTF-8", path,
               base_model);
    qa_status status = qa_json_save(root, path, err);
    json_decref(root);
    return status;
}

static qa_status save_adapter_tensors(const qa_adapter *adapter, const char *path, qa_error *err) {
    qa_safetensors_writer *writer = NULL;
    QA_TRY(qa_safetensors_writer_create(&writer, err));
    qa_status status = QA_OK;
    QA_GOTO(done, qa_safetensors_writer_metadata(writer, "format", "pt", err));
    for (size_t i = 0; i < adapter->n_tensors; i++) {
        const qa_adapter_tensor *tensor = &adapter->tensors[i];
        const size_t shape[2] = {tensor->rows, tensor->columns};
        QA_GOTO(done, qa_safetensors_writer_add_real(writer, tensor->name, QA_DTYPE_F32, 2, shape,
                                                     adapter->parameters + tensor->offset, err));
    }
    status = qa_safetensors_writer_save(writer, path, err);
done:
    qa_safetensors_writer_free(writer);
    return status;
}

qa_status qa_adapter_save(const qa_adapter *adapter, const char *dir, const char *base_model, qa_error *err) {
    char *config_path = NULL, *tensor_path = NULL;
    qa_status status = QA_OK;
    QA_FAIL_IF(adapter->own != NULL, err, QA_ERR_UNSUPPORTED,
               "all weights are no PEFT folder: the run that trained them wrote a model's");
    QA_GOTO(done, qa_join_path(&config_path, dir, "adapter_config.json", err));
    QA_GOTO(done, qa_join_path(&tensor_path, dir, "adapter_model.safetensors", err));
    QA_GOTO(done, save_adapter_tensors(adapter, tensor_path, err));
    status = save_config(adapter, config_path, base_model, err);
done:
    free(config_path);
    free(tensor_path);
    return status;
}
