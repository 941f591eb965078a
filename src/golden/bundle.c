/* Reading a golden bundle (see bundle.h): first every digest, then every file. */
#include "golden/bundle.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/copy.h"
#include "io/file.h"
#include "io/input.h"
#include "io/json.h"

#include <math.h>
#include <string.h>

qa_status qa_golden_path(char **full, const char *dir, const char *path, qa_error *err) {
    *full = path[0] == '/' ? strdup(path) : qa_path_join(dir, path);
    return *full != NULL ? QA_OK : QA_NO_MEMORY(err, "a path");
}

enum { MAX_MANIFEST = 1 << 20 };

/* ---- digests ---- */

/* The manifest's own digest is that of its bytes with the digest's digits as zeros. */
static qa_status check_manifest(const qa_text *text, const char *path, qa_error *err) {
    static const char before[] = "\"digest\": \"";
    char found[QA_SHA256_HEX_BYTES] = "", computed[QA_SHA256_HEX_BYTES];
    char *at = NULL;
    for (char *next = strstr(text->data, before); next != NULL; next = strstr(next + 1, before)) {
        at = next + strlen(before);
    }
    const char *foreign = qa_foreign_content(text->data, text->n);
    QA_FAIL_IF(foreign != NULL, err, QA_ERR_FORMAT, "%s is %s", path, foreign);
    QA_FAIL_IF(strlen(text->data) != text->n || at == NULL || strlen(at) < strlen(QA_GOLDEN_NO_DIGEST), err,
               QA_ERR_FORMAT, "%s: no digest; expected a golden bundle's manifest", path);
    memcpy(found, at, sizeof found - 1);
    memcpy(at, QA_GOLDEN_NO_DIGEST, sizeof found - 1);
    qa_sha256_hex(text->data, text->n, computed);
    QA_FAIL_IF(strcmp(found, computed) != 0, err, QA_ERR_FORMAT, "%s: damaged: its digest is %s, recorded is %.64s",
               path, computed, found);
    return QA_OK;
}

/* What a file is that is not the one of the manifest, where that can be told. */
static const char *other_content(const char *path) {
    char head[64];
    qa_input input;
    const char *foreign = NULL;
    if (qa_input_open(&input, path, NULL) == QA_OK) {
        const size_t n = input.bytes < sizeof head ? input.bytes : sizeof head;
        foreign = qa_input_read(&input, path, 0, head, n, NULL) == QA_OK ? qa_foreign_content(head, n) : NULL;
        qa_input_close(&input);
    }
    return foreign;
}

qa_status qa_golden_check_file(const char *dir, const char *name, const json_t *entry, qa_error *err) {
    const char *recorded = NULL;
    char hex[QA_SHA256_HEX_BYTES];
    char *path = NULL;
    size_t bytes = 0, expected = 0;
    QA_FAIL_IF(!json_is_object(entry), err, QA_ERR_FORMAT, "manifest.json: files: \"%.100s\" is not an object", name);
    QA_TRY(qa_json_get_size(entry, "bytes", true, name, &expected, err));
    QA_TRY(qa_json_get_string(entry, "sha256", true, name, &recorded, err));
    QA_TRY(qa_golden_path(&path, dir, name, err));
    qa_status status = qa_file_sha256(path, hex, &bytes, err);
    const bool other = status == QA_OK && (bytes != expected || strcmp(hex, recorded) != 0);
    const char *foreign = other ? other_content(path) : NULL;
    if (foreign != NULL) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s is %s", path, foreign);
    } else if (status == QA_OK && bytes != expected) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s: damaged: %zu bytes, the manifest says %zu", path, bytes, expected);
    } else if (status == QA_OK && strcmp(hex, recorded) != 0) {
        status =
            qa_fail(err, QA_ERR_FORMAT, "%s: damaged: its digest is %s, the manifest says %.64s", path, hex, recorded);
    }
    free(path);
    return status;
}

static qa_status check_bundle_files(const char *dir, const json_t *root, qa_error *err) {
    json_t *files = NULL;
    const json_t *entry = NULL;
    const char *name = NULL;
    QA_TRY(qa_json_get_object(root, "files", true, "manifest.json", &files, err));
    json_object_foreach(files, name, entry) { QA_TRY(qa_golden_check_file(dir, name, entry, err)); }
    static const char *const needed[] = {"golden.safetensors", "pairs.jsonl"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        QA_FAIL_IF(json_object_get(files, needed[i]) == NULL, err, QA_ERR_FORMAT,
                   "manifest.json: files does not list %s", needed[i]);
    }
    return QA_OK;
}

/* ---- the manifest's members ---- */

static const char *const where = "manifest.json";

static qa_status check_bundle_format(const json_t *root, qa_error *err) {
    const char *format = NULL;
    size_t version = 0;
    QA_FAIL_IF(!json_is_object(root), err, QA_ERR_FORMAT, "%s: expected an object", where);
    QA_TRY(qa_json_get_string(root, "format", true, where, &format, err));
    QA_TRY(qa_json_get_size(root, "format_version", true, where, &version, err));
    QA_FAIL_IF(strcmp(format, QA_GOLDEN_FORMAT) != 0 || version != QA_GOLDEN_VERSION, err, QA_ERR_UNSUPPORTED,
               "%s: format \"%.40s\" version %zu; expected \"%s\" version %d", where, format, version, QA_GOLDEN_FORMAT,
               QA_GOLDEN_VERSION);
    return QA_OK;
}

static qa_status read_bundle_objective(qa_objective *objective, const json_t *root, qa_error *err) {
    json_t *o = NULL;
    const char *kind = NULL, *q = NULL;
    QA_TRY(qa_json_get_object(root, "objective", true, where, &o, err));
    QA_TRY(qa_json_get_string(o, "objective", true, where, &kind, err));
    QA_TRY(qa_json_get_string(o, "q_parametrisation", true, where, &q, err));
    QA_TRY(qa_objective_kind_by_name(&objective->kind, kind, err));
    QA_TRY(qa_q_parametrisation_by_name(&objective->q_parametrisation, q, err));
    QA_TRY(qa_json_get_double(o, "alpha_tilde", true, where, &objective->alpha_tilde, err));
    QA_TRY(qa_json_get_double(o, "alpha_0", true, where, &objective->alpha_0, err));
    QA_TRY(qa_json_get_double(o, "gamma", true, where, &objective->gamma, err));
    QA_TRY(qa_json_get_double(o, "beta", true, where, &objective->beta, err));
    return qa_json_get_bool(o, "length_normalisation", true, where, &objective->length_normalisation, err);
}

static qa_status read_bundle_options(qa_golden_options *options, const json_t *root, qa_error *err) {
    json_t *o = NULL;
    QA_TRY(read_bundle_objective(&options->objective, root, err));
    QA_TRY(qa_json_get_size(root, "micro_batch", true, where, &options->micro_batch, err));
    QA_TRY(qa_json_get_bool(root, "all_activations", true, where, &options->all_activations, err));
    QA_TRY(qa_json_get_object(root, "optimiser", true, where, &o, err));
    QA_TRY(qa_json_get_double(o, "learning_rate", true, where, &options->learning_rate, err));
    QA_TRY(qa_json_get_double(o, "adam_beta1", true, where, &options->adam_beta1, err));
    QA_TRY(qa_json_get_double(o, "adam_beta2", true, where, &options->adam_beta2, err));
    QA_TRY(qa_json_get_double(o, "adam_epsilon", true, where, &options->adam_epsilon, err));
    QA_TRY(qa_json_get_double(o, "weight_decay", true, where, &options->weight_decay, err));
    QA_TRY(qa_json_get_double(o, "max_grad_norm", true, where, &options->max_grad_norm, err));
    const char *schedule = qa_schedule_name(QA_SCHEDULE_CONSTANT);
    QA_TRY(qa_json_get_size(o, "steps", true, where, &options->steps, err));
    QA_TRY(qa_json_get_size(o, "warmup_steps", false, where, &options->warmup_steps, err));
    QA_TRY(qa_json_get_string(o, "schedule", false, where, &schedule, err));
    QA_TRY(qa_schedule_by_name(&options->schedule, schedule, err));
    return qa_golden_options_check(options, err);
}

static qa_status read_tolerances(qa_golden_tolerances *tolerances, const json_t *root, qa_error *err) {
    json_t *all = NULL, *of_dtype = NULL, *of_kind = NULL;
    QA_TRY(qa_json_get_object(root, "tolerances", true, where, &all, err));
    for (int dtype = 0; dtype < QA_GOLDEN_DTYPES; dtype++) {
        QA_TRY(qa_json_get_object(all, qa_dtype_name((qa_dtype)dtype), true, where, &of_dtype, err));
        for (int kind = 0; kind < QA_GOLDEN_KINDS; kind++) {
            qa_golden_tolerance *tolerance = &tolerances->at[dtype][kind];
            QA_TRY(qa_json_get_object(of_dtype, qa_golden_kind_name((qa_golden_kind)kind), true, where, &of_kind, err));
            QA_TRY(qa_json_get_double(of_kind, "relative", true, where, &tolerance->relative, err));
            QA_TRY(qa_json_get_double(of_kind, "absolute", true, where, &tolerance->absolute, err));
            QA_FAIL_IF(tolerance->relative < 0 || tolerance->absolute < 0, err, QA_ERR_FORMAT,
                       "%s: a tolerance is negative", where);
        }
    }
    return QA_OK;
}

qa_status qa_golden_tolerance_check(const qa_golden_tolerance *tolerance, const qa_golden_set *golden, double most,
                                    qa_error *err) {
    double largest = 1.0;
    for (size_t i = 0; i < golden->n; i++) {
        largest =
            golden->tensors[i].kind == QA_GOLDEN_IDS ? largest : fmax(largest, qa_golden_largest(&golden->tensors[i]));
    }
    QA_FAIL_IF(!(tolerance->relative <= 1.0) || !(tolerance->absolute <= most * largest), err, QA_ERR_ARGUMENT,
               "a tolerance of %g relative and %g absolute lets every number pass: expected at most 1 and %g "
               "(%g times the bundle's largest number)",
               tolerance->relative, tolerance->absolute, most * largest, most);
    return QA_OK;
}

static qa_status check_tolerances(const qa_golden_bundle *bundle, qa_error *err) {
    for (int dtype = 0; dtype < QA_GOLDEN_DTYPES; dtype++) {
        for (int kind = 0; kind < QA_GOLDEN_KINDS; kind++) {
            QA_TRY(qa_golden_tolerance_check(&bundle->tolerances.at[dtype][kind], &bundle->golden, 1.0, err));
        }
    }
    return QA_OK;
}

/* ---- the files ---- */

static qa_status read_bundle_pairs(qa_golden_bundle *bundle, const json_t *root, qa_error *err) {
    const qa_model_info *info = qa_model_get_info(bundle->model);
    const char *data = NULL;
    char *path = NULL;
    bool quirks = false;
    size_t pairs = 0;
    QA_TRY(qa_json_get_string(root, "data", true, where, &data, err));
    QA_TRY(qa_json_get_bool(root, "published_data_quirks", true, where, &quirks, err));
    QA_TRY(qa_json_get_size(root, "pairs", true, where, &pairs, err));
    const qa_pairs_options options = {.vocab_size = info->vocab_size,
                                      .max_length = info->max_position_embeddings,
                                      .eos_ids = info->eos_ids,
                                      .n_eos = info->n_eos,
                                      .strict = true,
                                      .published_data = quirks};
    QA_TRY(qa_golden_path(&path, bundle->dir, data, err));
    const qa_status status = qa_pairs_load(&bundle->pairs, path, NULL, &options, err);
    free(path);
    QA_TRY(status);
    QA_FAIL_IF(qa_pairs_count(bundle->pairs) != pairs, err, QA_ERR_MISMATCH,
               "%s: %s holds %zu pairs, the manifest says %zu", bundle->dir, data, qa_pairs_count(bundle->pairs),
               pairs);
    return QA_OK;
}

qa_status qa_golden_read_ids(double *values, const qa_safetensors *file, const qa_tensor *tensor, qa_error *err) {
    int64_t *ids = NULL;
    QA_TRY(QA_NEW(ids, tensor->count, err, "%.100s", tensor->name));
    const qa_status status = qa_tensor_read_int64(file, tensor, ids, err);
    for (size_t i = 0; status == QA_OK && i < tensor->count; i++) {
        values[i] = (double)ids[i];
    }
    free(ids);
    return status;
}

static qa_status read_golden_tensor(qa_golden_bundle *bundle, const qa_safetensors *file, const qa_tensor *tensor,
                                    qa_error *err) {
    qa_golden_kind kind;
    double *values = NULL;
    QA_FAIL_IF(!qa_golden_kind_of(&kind, tensor->name) || tensor->n_dims > QA_GOLDEN_DIMS, err, QA_ERR_FORMAT,
               "%s: \"%.100s\" is not a golden tensor", qa_safetensors_path(file), tensor->name);
    QA_TRY(qa_golden_set_add(&bundle->golden, tensor->name, kind, tensor->n_dims, tensor->shape, &values, err));
    return kind == QA_GOLDEN_IDS ? qa_golden_read_ids(values, file, tensor, err)
                                 : qa_tensor_read_double(file, tensor, true, values, err);
}

static qa_status read_golden(qa_golden_bundle *bundle, qa_error *err) {
    qa_safetensors *file = NULL;
    char *path = NULL;
    QA_TRY(qa_golden_path(&path, bundle->dir, "golden.safetensors", err));
    qa_status status = qa_safetensors_open(&file, path, err);
    for (size_t i = 0; status == QA_OK && i < qa_safetensors_count(file); i++) {
        status = read_golden_tensor(bundle, file, qa_safetensors_at(file, i), err);
    }
    qa_safetensors_close(file);
    free(path);
    return status;
}

qa_status qa_golden_check_adapter(const qa_adapter *adapter, const char *path, qa_error *err) {
    return !qa_adapter_is_full(adapter)
               ? QA_OK
               : qa_fail(err, QA_ERR_UNSUPPORTED,
                         "%s is a whole model (train --full), but a golden bundle holds a LoRA adapter's numbers",
                         path);
}

static qa_status read_inputs(qa_golden_bundle *bundle, qa_context *context, const json_t *root, qa_error *err) {
    const char *model = NULL, *adapter = NULL;
    char *model_path = NULL, *adapter_path = NULL;
    size_t pad_id = SIZE_MAX;
    qa_status status = QA_OK;
    QA_TRY(qa_json_get_string(root, "model", true, where, &model, err));
    QA_TRY(qa_json_get_string(root, "adapter", true, where, &adapter, err));
    QA_GOTO(done, qa_golden_path(&model_path, bundle->dir, model, err));
    QA_GOTO(done, qa_golden_path(&adapter_path, bundle->dir, adapter, err));
    QA_GOTO(done, qa_model_load(&bundle->model, context, model_path, err));
    QA_GOTO(done, qa_json_get_size(root, "pad_id", false, where, &pad_id, err));
    qa_model_prefer_eos(bundle->model, pad_id <= INT32_MAX ? (int32_t)pad_id : -1);
    QA_GOTO(done, qa_adapter_load(&bundle->adapter, bundle->model, adapter_path, err));
    status = qa_golden_check_adapter(bundle->adapter, adapter_path, err);
done:
    free(model_path);
    free(adapter_path);
    return status;
}

static qa_status read_bundle(qa_golden_bundle *bundle, qa_context *context, const json_t *root, qa_error *err) {
    QA_TRY(check_bundle_format(root, err));
    QA_TRY(check_bundle_files(bundle->dir, root, err));
    QA_TRY(read_bundle_options(&bundle->options, root, err));
    QA_TRY(read_tolerances(&bundle->tolerances, root, err));
    QA_TRY(read_inputs(bundle, context, root, err));
    QA_TRY(read_bundle_pairs(bundle, root, err));
    QA_TRY(read_golden(bundle, err));
    return check_tolerances(bundle, err);
}

static qa_status read_manifest(json_t **root, const char *dir, qa_error *err) {
    qa_text text = {0};
    char *path = NULL;
    QA_TRY(qa_golden_path(&path, dir, "manifest.json", err));
    qa_status status = qa_read_file(&text, path, MAX_MANIFEST, err);
    if (status == QA_OK && text.n == 0) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s: empty", path);
    }
    if (status == QA_OK) {
        status = check_manifest(&text, path, err);
    }
    if (status == QA_OK) {
        status = qa_json_parse(root, text.data, text.n, path, 0, err);
    }
    qa_text_free(&text);
    free(path);
    return status;
}

qa_status qa_golden_bundle_open(qa_golden_bundle **out, qa_context *context, const char *dir, qa_error *err) {
    json_t *root = NULL;
    *out = NULL;
    QA_FAIL_IF(!qa_path_is_dir(dir), err, QA_ERR_IO, "%s: no such folder; expected a golden bundle", dir);
    QA_TRY(read_manifest(&root, dir, err));
    qa_status status = QA_OK;
    qa_golden_bundle *bundle = calloc(1, sizeof *bundle);
    if (bundle == NULL || (bundle->dir = strdup(dir)) == NULL) {
        status = QA_NO_MEMORY(err, "a golden bundle");
        goto done;
    }
    status = read_bundle(bundle, context, root, err);
    if (status != QA_OK && strstr(err == NULL ? "/" : err->message, "/") == NULL) {
        qa_error_prefix(err, "%s: ", dir);
    }
done:
    json_decref(root);
    if (status != QA_OK) {
        qa_golden_bundle_close(bundle);
        return status;
    }
    *out = bundle;
    return QA_OK;
}

void qa_golden_bundle_close(qa_golden_bundle *bundle) {
    if (bundle != NULL) {
        qa_golden_set_free(&bundle->golden);
        qa_pairs_free(bundle->pairs);
        qa_adapter_free(bundle->adapter);
        qa_model_free(bundle->model);
        free(bundle->dir);
        free(bundle);
    }
}
