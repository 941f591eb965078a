/* Writing a golden bundle (see bundle.h). The manifest's members stand in a fixed order, so that
 * the same bundle always has the same bytes. */
#include "base/memory.h"
#include "base/sha256.h"
#include "base/try.h"
#include "golden/bundle.h"
#include "io/copy.h"
#include "io/file.h"
#include "io/input.h"
#include "io/json.h"
#include "io/json_writer.h"
#include "io/leftovers.h"
#include "qadapter/status.h"
#include "train/batch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- tolerances ---- */

/* What float32 arithmetic leaves of the numbers that a method's number is made of, about ten times what is measured on
 * the suite (docs/golden.md section 4); in float64 it is what rounding leaves of them, with far more room. */
static const double UNIT_F64 = 1e-10, UNIT_F32 = 1e-5;
/* Half a unit in the last place of what is stored, twice. */
static const double STORED_F16 = 0x1p-11, STORED_BF16 = 0x1p-8;

static double largest_of_kind(const qa_golden_set *golden, qa_golden_kind kind) {
    double max = 0.0;
    for (size_t i = 0; i < golden->n; i++) {
        max = golden->tensors[i].kind == kind ? fmax(max, qa_golden_largest(&golden->tensors[i])) : max;
    }
    return max;
}

/* The most transitions that one return sums. */
static double longest_sum(const qa_golden_set *golden, const qa_objective *objective) {
    double n = 1.0;
    for (size_t i = 0; i < golden->n; i++) {
        n = golden->tensors[i].kind == QA_GOLDEN_REWARD ? fmax(n, (double)golden->tensors[i].count) : n;
    }
    return objective->kind == QA_THEORY && !objective->length_normalisation ? n : 1.0;
}

void qa_golden_tolerances_make(qa_golden_tolerances *tolerances, const qa_golden_set *golden,
                               const qa_golden_options *options) {
    /* Errors of differences go by the size of what is subtracted. An AdamW step is the learning rate times something
     * between -1 and 1 that depends on the gradient's direction, even where the gradient is nearly 0: there a tenth of
     * the step is within what float32 can do. */
    const double nats = fmax(fmax(largest_of_kind(golden, QA_GOLDEN_LOG_PI1), largest_of_kind(golden, QA_GOLDEN_Q)),
                             largest_of_kind(golden, QA_GOLDEN_V));
    const double sum = nats * longest_sum(golden, &options->objective);
    const double reg = 2.0 * options->objective.beta * nats * largest_of_kind(golden, QA_GOLDEN_REWARD);
    const double absolute[QA_GOLDEN_KINDS] = {
        [QA_GOLDEN_LOG_PI1] = nats,
        [QA_GOLDEN_Q] = nats,
        [QA_GOLDEN_V] = nats,
        [QA_GOLDEN_REWARD] = nats,
        [QA_GOLDEN_LOG_PI] = nats / options->objective.alpha_tilde,
        [QA_GOLDEN_RETURN] = sum,
        [QA_GOLDEN_LOSS] = sum + reg,
        [QA_GOLDEN_GRAD] = 0.1 * largest_of_kind(golden, QA_GOLDEN_GRAD),
        [QA_GOLDEN_STEP] = 1e4 * options->learning_rate,
    };
    memset(tolerances, 0, sizeof *tolerances);
    for (int kind = 0; kind < QA_GOLDEN_KINDS; kind++) {
        if (kind != QA_GOLDEN_IDS) {
            const double relative = kind == QA_GOLDEN_GRAD ? 10.0 : 1.0;
            const qa_golden_tolerance f32 = {relative * UNIT_F32, UNIT_F32 * absolute[kind]};
            tolerances->at[QA_DTYPE_F64][kind] = (qa_golden_tolerance){relative * UNIT_F64, UNIT_F64 * absolute[kind]};
            tolerances->at[QA_DTYPE_F32][kind] = f32;
            tolerances->at[QA_DTYPE_F16][kind] = (qa_golden_tolerance){f32.relative + STORED_F16, f32.absolute + 1e-7};
            tolerances->at[QA_DTYPE_BF16][kind] = (qa_golden_tolerance){f32.relative + STORED_BF16, f32.absolute};
        }
    }
}

/* ---- inputs ---- */

enum { MAX_FILES = 64, MAX_PATH_BYTES = 4096 };

typedef struct maker {
    const char *dir;
    const qa_golden_inputs *inputs;
    char *model_path, *adapter_path; /* as the manifest names them */
    const char *text_path;           /* ... or NULL */
    char *files[MAX_FILES];          /* as the manifest names them */
    size_t n_files;
} maker;

static qa_status list_file(maker *m, const char *folder, const char *name, qa_error *err) {
    QA_FAIL_IF(m->n_files == MAX_FILES, err, QA_ERR_LIMIT, "golden: more than %d input files", MAX_FILES);
    char *path = folder == NULL ? strdup(name) : qa_path_join(folder, name);
    if (path == NULL) {
        return QA_NO_MEMORY(err, "a path");
    }
    m->files[m->n_files++] = path;
    return QA_OK;
}

/* A file of an input folder, where there is one: into the bundle unless inputs are linked, and onto the list. */
static qa_status take_file(maker *m, const char *source, const char *folder, const char *name, qa_error *err) {
    qa_status status = QA_OK;
    char *from = NULL, *into = NULL, *to = NULL;
    bool there = false;
    QA_TRY(qa_join_path(&from, source, name, err));
    QA_GOTO(done, qa_find_optional(&there, from, err));
    if (there) {
        QA_GOTO(done, list_file(m, folder, name, err));
        if (!m->inputs->link) {
            QA_GOTO(done, qa_golden_path(&into, m->dir, folder, err));
            QA_GOTO(done, qa_make_dirs(into, err));
            QA_GOTO(done, qa_golden_path(&to, into, name, err));
            QA_GOTO(done, qa_copy_file(from, to, err));
        }
    }
done:
    free(from);
    free(into);
    free(to);
    return status;
}

/* The shards that an index names, each once. */
static qa_status take_shards(maker *m, const char *source, qa_error *err) {
    json_t *root = NULL, *map = NULL, *shard = NULL;
    const char *key = NULL;
    char *path = NULL;
    qa_status status = QA_OK;
    bool there = false;
    QA_TRY(qa_join_path(&path, source, "model.safetensors.index.json", err));
    QA_GOTO(done, qa_find_optional(&there, path, err));
    if (there) {
        QA_GOTO(done, qa_json_load(&root, path, err));
        QA_GOTO(done, qa_json_get_object(root, "weight_map", true, path, &map, err));
        json_object_foreach(map, key, shard) {
            const char *name = json_string_value(shard);
            bool known = name == NULL;
            for (size_t i = 0; !known && i < m->n_files; i++) {
                const size_t end = strlen(m->files[i]), bytes = strlen(name);
                known = end > bytes && strcmp(m->files[i] + end - bytes, name) == 0;
            }
            if (!known) {
                QA_GOTO(done, take_file(m, source, m->model_path, name, err));
            }
        }
    }
done:
    json_decref(root);
    free(path);
    return status;
}

/* How the manifest names an input folder: its place in the bundle, or the absolute path of where it is. */
static qa_status input_path(char **path, const maker *m, const char *source, const char *inside, qa_error *err) {
    char here[MAX_PATH_BYTES] = "";
    QA_FAIL_IF(m->inputs->link && source[0] != '/' && getcwd(here, sizeof here) == NULL, err, QA_ERR_IO,
               "golden: cannot find out the current folder");
    if (!m->inputs->link) {
        *path = strdup(inside);
    } else {
        *path = source[0] == '/' ? strdup(source) : qa_path_join(here, source);
    }
    return *path != NULL ? QA_OK : QA_NO_MEMORY(err, "a path");
}

static qa_status take_inputs(maker *m, qa_error *err) {
    static const char *const of_model[] = {
        "config.json",    "generation_config.json", "model.safetensors",       "model.safetensors.index.json",
        "tokenizer.json", "tokenizer_config.json",  "special_tokens_map.json", "chat_template.jinja"};
    static const char *const of_adapter[] = {"adapter_config.json", "adapter_model.safetensors",
                                             "training_config.json"};
    const qa_golden_inputs *in = m->inputs;
    QA_TRY(input_path(&m->model_path, m, in->model->dir, "model", err));
    QA_TRY(input_path(&m->adapter_path, m, in->adapter_dir, "adapter", err));
    for (size_t i = 0; i < sizeof of_model / sizeof of_model[0]; i++) {
        QA_TRY(take_file(m, in->model->dir, m->model_path, of_model[i], err));
    }
    QA_TRY(take_shards(m, in->model->dir, err));
    for (size_t i = 0; i < sizeof of_adapter / sizeof of_adapter[0]; i++) {
        QA_TRY(take_file(m, in->adapter_dir, m->adapter_path, of_adapter[i], err));
    }
    if (in->text_path != NULL) {
        char *to = NULL;
        const size_t bytes = strlen(in->text_path);
        m->text_path = bytes > 5 && strcmp(in->text_path + bytes - 5, ".json") == 0 ? "text.json" : "text.jsonl";
        QA_TRY(qa_golden_path(&to, m->dir, m->text_path, err));
        const qa_status status = qa_copy_file(in->text_path, to, err);
        free(to);
        QA_TRY(status);
        QA_TRY(list_file(m, NULL, m->text_path, err));
    }
    return QA_OK;
}

static qa_status write_text(qa_json_writer *w, const char *dir, const char *name) {
    char *path = NULL;
    qa_status status = w->status;
    QA_GOTO(done, status);
    QA_GOTO(done, qa_golden_path(&path, dir, name, w->err));
    status = qa_write_file(path, w->text.data, w->text.n, w->err);
done:
    free(path);
    qa_text_free(&w->text);
    return status;
}

static qa_status write_pairs(maker *m, qa_error *err) {
    qa_json_writer w = {.err = err};
    for (size_t i = 0; i < qa_pairs_count(m->inputs->pairs); i++) {
        const qa_pair *pair = qa_pairs_at(m->inputs->pairs, i);
        qa_json_open_object(&w, NULL, QA_JSON_LINE);
        qa_json_put_id_array(&w, "prompt_ids", pair->prompt, pair->prompt_len);
        qa_json_put_id_array(&w, "chosen_ids", pair->chosen, pair->chosen_len);
        qa_json_put_id_array(&w, "rejected_ids", pair->rejected, pair->rejected_len);
        qa_json_put_bool(&w, "chosen_terminal", pair->chosen_terminal);
        qa_json_put_bool(&w, "rejected_terminal", pair->rejected_terminal);
        qa_json_put_size(&w, "label_start", pair->label_start);
        qa_json_close(&w);
        qa_json_end_line(&w);
    }
    QA_TRY(write_text(&w, m->dir, "pairs.jsonl"));
    return list_file(m, NULL, "pairs.jsonl", err);
}

/* ---- golden.safetensors ---- */

static qa_status add_golden_tensor(qa_safetensors_writer *file, const qa_golden_tensor *tensor, int64_t *ids,
                                   qa_error *err) {
    if (tensor->kind != QA_GOLDEN_IDS) {
        return qa_safetensors_writer_add_double(file, tensor->name, QA_DTYPE_F64, tensor->n_dims, tensor->shape,
                                                tensor->values, err);
    }
    for (size_t i = 0; i < tensor->count; i++) {
        ids[i] = (int64_t)tensor->values[i];
    }
    return qa_safetensors_writer_add_int64(file, tensor->name, tensor->n_dims, tensor->shape, ids, err);
}

static qa_status write_set(maker *m, const qa_golden_set *golden, qa_error *err) {
    qa_safetensors_writer *file = NULL;
    char *path = NULL;
    int64_t *ids = NULL;
    size_t count = 0, used = 0;
    qa_status status = QA_OK;
    for (size_t i = 0; i < golden->n; i++) {
        count += golden->tensors[i].kind == QA_GOLDEN_IDS ? golden->tensors[i].count : 0;
    }
    QA_TRY(QA_NEW(ids, count, err, "the golden tensors"));
    QA_GOTO(done, qa_safetensors_writer_create(&file, err));
    QA_GOTO(done, qa_safetensors_writer_metadata(file, "format", QA_GOLDEN_FORMAT, err));
    for (size_t i = 0; i < golden->n; i++) {
        QA_GOTO(done, add_golden_tensor(file, &golden->tensors[i], ids + used, err));
        used += golden->tensors[i].kind == QA_GOLDEN_IDS ? golden->tensors[i].count : 0;
    }
    QA_GOTO(done, qa_golden_path(&path, m->dir, "golden.safetensors", err));
    QA_GOTO(done, qa_safetensors_writer_save(file, path, err));
    status = list_file(m, NULL, "golden.safetensors", err);
done:
    qa_safetensors_writer_free(file);
    free(ids);
    free(path);
    return status;
}

/* ---- manifest.json ---- */

static void put_objective(qa_json_writer *w, const qa_golden_inputs *in) {
    const qa_objective *o = &in->options.objective;
    const size_t pairs = qa_pairs_count(in->pairs), micro = in->options.micro_batch;
    qa_json_open_object(w, "objective", QA_JSON_LINE);
    qa_json_put_string(w, "objective", qa_objective_kind_name(o->kind));
    qa_json_put_string(w, "q_parametrisation", qa_q_parametrisation_name(o->q_parametrisation));
    qa_json_put_number(w, "alpha_tilde", o->alpha_tilde);
    qa_json_put_number(w, "alpha_0", o->alpha_0);
    qa_json_put_number(w, "gamma", o->gamma);
    qa_json_put_number(w, "beta", o->beta);
    qa_json_put_bool(w, "length_normalisation", o->length_normalisation);
    qa_json_close(w);
    qa_json_put_bool(w, "published_data_quirks", in->published_data_quirks);
    if (qa_pairs_response_end(in->pairs) !=
        QA_RESPONSE_END_TOKEN) { /* bundles from before there was a choice lack it */
        qa_json_put_string(w, "response_end", qa_response_end_name(qa_pairs_response_end(in->pairs)));
    }
    if (in->model->info.n_eos > 0) {
        qa_json_put_size(w, "pad_id", (size_t)in->model->info.eos_ids[0]);
    } else {
        qa_json_put_raw(w, "pad_id", "null");
    }
    qa_json_put_size(w, "micro_batch", micro == 0 || micro > pairs ? pairs : micro);
}

static void put_optimiser(qa_json_writer *w, const qa_golden_options *o) {
    qa_json_open_object(w, "optimiser", QA_JSON_LINE);
    qa_json_put_string(w, "name", "adamw");
    qa_json_put_number(w, "learning_rate", o->learning_rate);
    qa_json_put_number(w, "adam_beta1", o->adam_beta1);
    qa_json_put_number(w, "adam_beta2", o->adam_beta2);
    qa_json_put_number(w, "adam_epsilon", o->adam_epsilon);
    qa_json_put_number(w, "weight_decay", o->weight_decay);
    qa_json_put_number(w, "max_grad_norm", o->max_grad_norm);
    qa_json_put_size(w, "steps", o->steps);
    if (o->schedule != QA_SCHEDULE_CONSTANT || o->warmup_steps > 0) { /* bundles of before they were have neither */
        qa_json_put_string(w, "schedule", qa_schedule_name(o->schedule));
        qa_json_put_size(w, "warmup_steps", o->warmup_steps);
    }
    qa_json_close(w);
    qa_json_put_bool(w, "all_activations", o->all_activations);
}

static void put_lora(qa_json_writer *w, const qa_adapter *adapter) {
    qa_json_open_object(w, "lora", QA_JSON_LINE);
    qa_json_put_size(w, "r", adapter->options.rank);
    qa_json_put_number(w, "lora_alpha", adapter->options.alpha);
    qa_json_put_bool(w, "use_rslora", adapter->options.use_rslora);
    qa_json_put_number(w, "scale", adapter->scale);
    qa_json_open_array(w, "target_modules", QA_JSON_LINE);
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        if (adapter->options.targets[t]) {
            qa_json_put_string(w, NULL, qa_target_name(t));
        }
    }
    qa_json_close(w);
    qa_json_close(w);
}

static void put_tolerances(qa_json_writer *w, const qa_golden_tolerances *tolerances) {
    qa_json_open_object(w, "tolerances", QA_JSON_HANGING);
    for (int dtype = 0; dtype < QA_GOLDEN_DTYPES; dtype++) {
        qa_json_open_object(w, qa_dtype_name((qa_dtype)dtype), QA_JSON_HANGING);
        for (int kind = 0; kind < QA_GOLDEN_KINDS; kind++) {
            qa_json_open_object(w, qa_golden_kind_name((qa_golden_kind)kind), QA_JSON_LINE);
            qa_json_put_number(w, "relative", tolerances->at[dtype][kind].relative);
            qa_json_put_number(w, "absolute", tolerances->at[dtype][kind].absolute);
            qa_json_close(w);
        }
        qa_json_close(w);
    }
    qa_json_close(w);
}

static void put_files(qa_json_writer *w, const maker *m) {
    qa_json_open_object(w, "files", QA_JSON_HANGING);
    for (size_t i = 0; w->status == QA_OK && i < m->n_files; i++) {
        char hex[QA_SHA256_HEX_BYTES] = "";
        char *path = NULL;
        size_t bytes = 0;
        w->status = qa_golden_path(&path, m->dir, m->files[i], w->err);
        if (w->status == QA_OK) {
            w->status = qa_file_sha256(path, hex, &bytes, w->err);
        }
        free(path);
        qa_json_open_object(w, m->files[i], QA_JSON_LINE);
        qa_json_put_size(w, "bytes", bytes);
        qa_json_put_string(w, "sha256", hex);
        qa_json_close(w);
    }
    qa_json_close(w);
}

static qa_status write_manifest(maker *m, const qa_golden_tolerances *tolerances, qa_error *err) {
    const qa_golden_inputs *in = m->inputs;
    qa_json_writer w = {.err = err};
    qa_json_open_object(&w, NULL, QA_JSON_BLOCK);
    qa_json_put_string(&w, "format", QA_GOLDEN_FORMAT);
    qa_json_put_size(&w, "format_version", QA_GOLDEN_VERSION);
    qa_json_open_object(&w, "made_by", QA_JSON_LINE);
    qa_json_put_string(&w, "program", "qadapter");
    qa_json_put_string(&w, "version", qa_version());
    qa_json_put_string(&w, "precision", "f64");
    qa_json_close(&w);
    qa_json_put_string(&w, "model", m->model_path);
    qa_json_put_string(&w, "adapter", m->adapter_path);
    qa_json_put_string(&w, "data", "pairs.jsonl");
    qa_json_put_string(&w, "data_text", m->text_path);
    qa_json_put_string(&w, "chat_template", m->text_path == NULL ? NULL : in->chat_template);
    qa_json_put_size(&w, "pairs", qa_pairs_count(in->pairs));
    put_objective(&w, in);
    put_optimiser(&w, &in->options);
    put_lora(&w, in->adapter);
    put_tolerances(&w, tolerances);
    put_files(&w, m);
    qa_json_put_string(&w, "digest", QA_GOLDEN_NO_DIGEST);
    qa_json_close(&w);
    qa_json_end_line(&w);
    if (w.status == QA_OK) {
        char hex[QA_SHA256_HEX_BYTES];
        qa_sha256_hex(w.text.data, w.text.n, hex);
        memcpy(w.text.data + w.text.n - strlen(QA_GOLDEN_NO_DIGEST "\"\n}\n"), hex, strlen(hex));
    }
    return write_text(&w, m->dir, "manifest.json");
}

/* ---- all together ---- */

static qa_status make_all(maker *m, qa_error *err) {
    const qa_golden_inputs *in = m->inputs;
    qa_golden_set golden = {0};
    qa_golden_tolerances tolerances;
    qa_status status = QA_OK;
    QA_GOTO(done, qa_golden_run(&golden, in->model, in->adapter, in->pairs, &in->options, true, NULL, err));
    qa_golden_tolerances_make(&tolerances, &golden, &in->options);
    QA_GOTO(done, take_inputs(m, err));
    QA_GOTO(done, write_pairs(m, err));
    QA_GOTO(done, write_set(m, &golden, err));
    status = write_manifest(m, &tolerances, err);
done:
    qa_golden_set_free(&golden);
    return status;
}

/* What killed runs left half-written is no part of the bundle. */
static qa_status clean_leftovers(const char *dir, qa_error *err) {
    static const char *const folders[] = {".", "model", "adapter"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char *path = NULL;
        QA_TRY(qa_golden_path(&path, dir, folders[i], err));
        qa_leftovers_clean(path, NULL);
        free(path);
    }
    return QA_OK;
}

qa_status qa_golden_make(const char *dir, const qa_golden_inputs *inputs, qa_error *err) {
    maker m = {.dir = dir, .inputs = inputs};
    char *manifest = NULL;
    qa_status status = QA_OK;
    QA_TRY(qa_join_path(&manifest, dir, "manifest.json", err));
    if (qa_path_exists(manifest) && !inputs->overwrite) {
        status = qa_fail(err, QA_ERR_EXISTS, "%s: there is a bundle already; --overwrite replaces it", dir);
        goto done;
    }
    QA_GOTO(done, qa_make_dirs(dir, err));
    QA_GOTO(done, qa_remove_tree(manifest, err));
    QA_GOTO(done, clean_leftovers(dir, err));
    status = make_all(&m, err);
done:
    for (size_t i = 0; i < m.n_files; i++) {
        free(m.files[i]);
    }
    free(m.model_path);
    free(m.adapter_path);
    free(manifest);
    return status;
}
