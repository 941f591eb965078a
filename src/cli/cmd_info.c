/* qadapter info: what a model, its tokenizer and an adapter are, and what training and generation cost. */
#include "cli/common.h"

#include "arch/families.h"
#include "arch/tensors.h"
#include "base/memory.h"
#include "base/try.h"
#include "cli/format.h"
#include "cli/report.h"
#include "io/file.h"
#include "io/input.h"
#include "methods/method.h"
#include "model/adapter.h"
#include "model/adapter_folder.h"
#include "model/lora_options.h"
#include "model/weight_files.h"
#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

typedef struct info_args {
    cli_args shared;
    size_t prompt_length, response_length;
    bool supported;
} info_args;

#define ROW(kind, field) QA_##kind(info_args, field), .group = QA_GROUP_INPUT

static const qa_option info_rows[] = {
    {"supported", ROW(FLAG, supported), .help = "list the families of models and the types of RoPE that are computed"},
    {"prompt-length", ROW(SIZE, prompt_length), .range = QA_RANGE_FROM_1, .standard = "128",
     .help = "prompt tokens of the pair whose training memory is told"},
    {"response-length", ROW(SIZE, response_length), .range = QA_RANGE_FROM_1, .standard = "128",
     .help = "tokens of each of its two responses"},
};
static const qa_option_table info_table = QA_TABLE(info_rows);
static const cli_table info_tables[] = {{&cli_model_table, 0, NULL, NULL},
                                        {&info_table, 0, NULL, NULL},
                                        {&qa_lora_table, offsetof(cli_args, lora), NULL, NULL},
                                        {&cli_output_table, 0, "json", NULL}};

enum { CACHE_TOKENS = 1024 };

static qa_status has_file(bool *there, const char *dir, const char *name, qa_error *err) {
    char *path = qa_path_join(dir, name);
    *there = false;
    const qa_status status = path == NULL ? QA_NO_MEMORY(err, "a path") : qa_find_optional(there, path, err);
    free(path);
    return status;
}

/* [2, 3] of the end-of-sequence ids, with their tokens where there is a tokenizer. */
static void report_eos(cli_report *report, const cli_run *run, const qa_model_info *info) {
    char json[CLI_LINE_BYTES];
    char shown[CLI_LINE_BYTES];
    size_t used = 0;
    size_t seen = 0;
    for (size_t i = 0; i < info->n_eos && used < sizeof json && seen < sizeof shown; i++) {
        const char *token = run->tokenizer == NULL ? NULL : qa_tokenizer_token(run->tokenizer, info->eos_ids[i]);
        used += (size_t)snprintf(json + used, sizeof json - used, "%s%d", i == 0 ? "[" : ", ", (int)info->eos_ids[i]);
        seen += (size_t)snprintf(shown + seen, sizeof shown - seen, "%s%d%s%s", i == 0 ? "" : ", ",
                                 (int)info->eos_ids[i], token == NULL ? "" : " ", token == NULL ? "" : token);
    }
    if (used + 1 < sizeof json && seen < sizeof shown) {
        (void)snprintf(json + used, sizeof json - used, used == 0 ? "[]" : "]");
        cli_report_json(report, "eos_token_ids", "end of sequence", json, seen == 0 ? "none" : shown);
    }
}

/* How many layers have a flag. */
static size_t layers_with(const qa_config *config, uint8_t flag) {
    size_t n = 0;
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        n += (config->layers[l] & flag) != 0;
    }
    return n;
}

static void report_positions(cli_report *report, const qa_config *config) {
    const size_t layers = config->num_hidden_layers;
    const qa_rope *rope = &config->rope[QA_ROPE_FULL], *local = &config->rope[QA_ROPE_SLIDING];
    if (config->sliding_window != 0) {
        cli_report_count(report, "sliding_window", "sliding window", config->sliding_window, "tokens");
        cli_report_count(report, "sliding_window_layers", "layers with it", layers_with(config, QA_LAYER_WINDOW), "");
    }
    if (layers_with(config, QA_LAYER_NO_ROPE) == layers) {
        cli_report_text(report, "rope_type", "RoPE", "none");
        return;
    }
    cli_report_text(report, "rope_type", "RoPE scaling", qa_rope_type_name(rope->type));
    cli_report_real(report, "rope_theta", "RoPE theta", rope->theta, "");
    if (layers_with(config, QA_LAYER_LOCAL_ROPE) > 0) {
        cli_report_text(report, "local_rope_type", "RoPE scaling in layers with a window",
                        qa_rope_type_name(local->type));
        cli_report_real(report, "local_rope_theta", "RoPE theta in layers with a window", local->theta, "");
    }
    if (config->rotary_dim != config->head_dim) {
        cli_report_count(report, "rotary_dim", "dimensions of a head that RoPE turns", config->rotary_dim, "");
    }
    if (layers_with(config, QA_LAYER_NO_ROPE) > 0) {
        cli_report_count(report, "layers_without_rope", "layers without RoPE", layers_with(config, QA_LAYER_NO_ROPE),
                         "");
    }
}

/* What config.json says. */
static void report_config(cli_report *report, const qa_model_info *info, const qa_config *config) {
    cli_report_section(report, "model", "Model");
    cli_report_text(report, "dir", "folder", info->dir);
    cli_report_text(report, "architecture", "architecture", info->architecture);
    cli_report_count(report, "num_hidden_layers", "layers", info->num_hidden_layers, "");
    cli_report_count(report, "hidden_size", "hidden size", info->hidden_size, "");
    cli_report_count(report, "intermediate_size", "MLP size", info->intermediate_size, "");
    cli_report_count(report, "num_attention_heads", "attention heads", info->num_attention_heads, "");
    cli_report_count(report, "num_key_value_heads", "key/value heads", info->num_key_value_heads, "");
    cli_report_count(report, "head_dim", "head size", info->head_dim, "");
    cli_report_count(report, "vocab_size", "vocabulary", info->vocab_size, "tokens");
    cli_report_count(report, "max_position_embeddings", "context", info->max_position_embeddings, "tokens");
    if (info->context != info->max_position_embeddings) {
        cli_report_count(report, "longest_sequence", "longest sequence, with RoPE's scaling", info->context, "tokens");
    }
    report_positions(report, config);
    cli_report_real(report, "rms_norm_eps", config->layer_norm ? "LayerNorm epsilon" : "RMSNorm epsilon",
                    info->rms_norm_eps, "");
    if (config->embedding_factor != 1) {
        cli_report_real(report, "embedding_factor", "factor on the embedding", config->embedding_factor, "");
    }
    cli_report_flag(report, "tie_word_embeddings", "tied embeddings", info->tie_word_embeddings);
    cli_report_flag(report, "attention_bias", "attention bias", info->attention_bias);
}

static void report_model(cli_report *report, const cli_run *run, const qa_model_info *info) {
    report_config(report, info, &run->model->config);
    cli_report_count(report, "parameters", "parameters", info->parameters, "");
    cli_report_text(report, "stored_dtype", "stored in", info->stored_dtype);
    cli_report_text(report, "memory_dtype", "in memory", info->memory_dtype);
    cli_report_text(report, "compute_dtype", "computed in", qa_precision());
    cli_report_text(report, "fingerprint", "fingerprint", qa_model_fingerprint(run->model));
    report_eos(report, run, info);
}

static qa_status report_text_side(cli_report *report, cli_run *run, qa_error *err) {
    qa_chat_template which = QA_CHAT_NONE;
    const qa_warnings *notes = run->tokenizer == NULL ? NULL : qa_tokenizer_notes(run->tokenizer);
    for (size_t i = 0; notes != NULL && i < notes->n; i++) {
        cli_warn(run, "%s", notes->lines[i]);
    }
    cli_report_section(report, "text", "Text");
    cli_report_text(report, "tokenizer", "tokenizer",
                    run->tokenizer == NULL ? NULL : qa_tokenizer_description(run->tokenizer));
    QA_TRY(cli_detect_template(run, run->args->model, &which, err));
    cli_report_text(report, "chat_template", "chat template",
                    which == QA_CHAT_NONE      ? NULL
                    : which == QA_CHAT_UNKNOWN ? "its own"
                                               : qa_chat_template_name(which));
    return QA_OK;
}

static void report_adapter(cli_report *report, const cli_run *run, const qa_lora_options *options) {
    const qa_model_info *info = qa_model_get_info(run->model);
    char targets[CLI_LINE_BYTES];
    char shown[CLI_LINE_BYTES];
    char json[CLI_NUMBER_BYTES];
    char count_text[CLI_NUMBER_BYTES];
    const size_t count =
        run->adapter != NULL ? qa_adapter_parameters(run->adapter) : qa_adapter_count(&run->model->config, options);
    cli_report_section(report, "adapter", run->adapter != NULL ? "Adapter" : "Adapter that these options would train");
    cli_report_text(report, "dir", "folder", run->args->adapter);
    if (qa_lora_is_full(options)) {
        cli_report_flag(report, "full", "all weights its own (train --full)", true);
    } else {
        qa_lora_targets_text(options, targets, sizeof targets);
        cli_report_text(report, "target_modules", "targets", targets);
        cli_report_count(report, "r", "rank", options->rank, "");
        if (run->adapter != NULL && !run->adapter->uniform) {
            cli_report_count(report, "r_max", "largest rank (ranks or layers of some maps' own)",
                             run->adapter->widest.rank, "");
        }
        cli_report_real(report, "lora_alpha", "alpha", options->alpha, "");
        cli_report_flag(report, "use_rslora", "scale by sqrt(rank)", options->use_rslora);
        cli_report_real(report, "lora_dropout", "dropout", options->dropout, "");
    }
    cli_format_count(count_text, sizeof count_text, count);
    (void)snprintf(json, sizeof json, "%zu", count);
    (void)snprintf(shown, sizeof shown, "%s (%.3g%% of the model's)", count_text,
                   100.0 * (double)count / (double)info->parameters);
    cli_report_json(report, "trainable_parameters", "trainable parameters", json, shown);
}

/* The recipe whose options these are, NULL for a mixture. */
static const char *recipe_with(const qa_objective *o) {
    static const char *const names[] = {"published", "theory"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        qa_objective r = {0};
        qa_error ignored = {0};
        if (qa_objective_from_recipe(&r, names[i], &ignored) == QA_OK && r.kind == o->kind &&
            r.q_parametrisation == o->q_parametrisation && r.alpha_tilde == o->alpha_tilde && r.alpha_0 == o->alpha_0 &&
            r.method == o->method && r.gamma == o->gamma && r.beta == o->beta &&
            r.length_normalisation == o->length_normalisation) {
            return names[i];
        }
    }
    return NULL;
}

/* The options that the method has beside those of residual Q-learning; what came later only where it is not 0. */
static void report_method_options(cli_report *report, const qa_objective *objective) {
    const qa_method_row *method = qa_method_of(objective);
    for (size_t i = 0; !method->residual && method->options != NULL && i < method->options->n; i++) {
        const qa_option *own = &method->options->rows[i];
        const void *at = (const char *)objective + own->offset;
        if (own->type == QA_OPTION_NUMBER && own->record != QA_RECORD_LATER) {
            cli_report_real(report, own->key, own->key, *(const double *)at, "");
        } else if (own->type == QA_OPTION_CHOICE && own->choices != qa_reference_names) { /* told above */
            cli_report_text(report, own->key, own->key, qa_choice_name(own->choices, *(const unsigned *)at));
        }
    }
    if (objective->label_noise != 0.0) {
        cli_report_real(report, "label_noise", "labels taken for wrong", objective->label_noise, "");
    }
}

/* What the adapter was trained for; nothing without one. */
static qa_status report_objective(cli_report *report, cli_run *run, qa_error *err) {
    bool found = false;
    qa_objective objective = {0};
    if (run->args->adapter == NULL) {
        return QA_OK;
    }
    objective = qa_objective_of_plain_adapter();
    QA_TRY(qa_training_config_load(run->args->adapter, &found, &objective, err));
    cli_report_section(report, "objective",
                       found ? "Objective that it was trained with"
                             : "Objective (no training_config.json: a plain LoRA adapter is assumed)");
    cli_report_flag(report, "known", "known", found);
    cli_report_text(report, "method", "method", qa_method_name(objective.method));
    const bool plain = qa_objective_is_plain(&objective);
    cli_report_json(report, "plain_policy", "policy", plain ? "true" : "false",
                    plain
                        ? "plain: softmax(adapted logits), in PEFT, vLLM and llama.cpp too; `qadapter merge` makes one "
                          "model of both"
                        : "composed of both models' logits: other programs that load it, and a merged model, have "
                          "another; `qadapter generate` and `serve` run both");
    if (objective.reference == QA_REFERENCE_ADAPTER) {
        cli_report_text(report, "reference", "rewards are against", "the adapter that training started from");
    }
    report_method_options(report, &objective);
    cli_report_text(report, "recipe", "recipe", recipe_with(&objective));
    cli_report_text(report, "objective", "objective", qa_objective_kind_name(objective.kind));
    cli_report_text(report, "q_parametrisation", "Q is", qa_q_parametrisation_name(objective.q_parametrisation));
    cli_report_real(report, "alpha_tilde", "alpha_tilde", objective.alpha_tilde, "");
    cli_report_real(report, "alpha_0", "alpha_0", objective.alpha_0, "");
    cli_report_real(report, "gamma", "gamma", objective.gamma, "");
    cli_report_real(report, "beta", "beta", objective.beta, "");
    cli_report_flag(report, "length_normalisation", "divided by length", objective.length_normalisation);
    return QA_OK;
}

/* Bytes of the keys and values of CACHE_TOKENS tokens, over `streams` streams. */
static bool cache_bytes(const qa_model_info *info, size_t streams, size_t *bytes) {
    const size_t real = strcmp(qa_precision(), "f64") == 0 ? 8 : 4;
    return qa_mul_size(info->num_key_value_heads, info->head_dim, bytes) && qa_mul_size(*bytes, 2 * real, bytes) &&
           qa_mul_size(*bytes, info->num_hidden_layers, bytes) && qa_mul_size(*bytes, CACHE_TOKENS * streams, bytes);
}

static qa_status report_memory(cli_report *report, cli_run *run, const qa_lora_options *options, qa_error *err) {
    const info_args *args = (const info_args *)run->args;
    const qa_model_info *info = qa_model_get_info(run->model);
    size_t train = 0, total = 0;
    size_t less = 0, less_total = 0; /* with --recompute */
    size_t cache = 0;
    const qa_train_options usual = qa_train_defaults();
    const size_t step = usual.micro_batch * usual.gradient_accumulation;
    QA_TRY(qa_train_memory(run->model, options, args->prompt_length, args->response_length, step, false, &train, err));
    QA_TRY(qa_train_memory(run->model, options, args->prompt_length, args->response_length, step, true, &less, err));
    QA_FAIL_IF(!qa_add_size(train, info->weight_bytes, &total) || !qa_add_size(less, info->weight_bytes, &less_total) ||
                   !cache_bytes(info, 2, &cache),
               err, QA_ERR_LIMIT, "the memory for such lengths does not fit a size");
    cli_report_section(report, "memory", "Memory");
    cli_report_count(report, "threads", "threads", qa_context_threads(run->context), "");
    cli_report_bytes(report, "weights", "weights", info->weight_bytes);
    cli_report_count(report, "prompt_length", "pair: prompt", args->prompt_length, "tokens");
    cli_report_count(report, "response_length", "pair: each response", args->response_length, "tokens");
    cli_report_bytes(report, "training_workspace", "training on such a pair: workspace", train);
    cli_report_bytes(report, "training_total", "training on such a pair: with the weights", total);
    cli_report_bytes(report, "recompute_workspace", "the same with --recompute: workspace", less);
    cli_report_bytes(report, "recompute_total", "the same with --recompute: with the weights", less_total);
    cli_report_bytes(report, "kv_cache_1024_base", "caches per 1,024 tokens, base policy", cache / 2);
    cli_report_bytes(report, "kv_cache_1024_custom", "caches per 1,024 tokens, custom policy", cache);
    return QA_OK;
}

/* An adapter whose model is not given: what its files say by themselves. */
static qa_status report_adapter_alone(cli_report *report, cli_run *run, qa_error *err) {
    const char *dir = run->args->adapter;
    bool is_model = false, there = false, full = false;
    char *base = NULL;
    QA_TRY(has_file(&there, dir, "adapter_config.json", err));
    QA_TRY(qa_adapter_folder_is_full(&full, dir, err));
    QA_TRY(has_file(&is_model, dir, "config.json", err));
    QA_FAIL_IF(!there && !full, err, QA_ERR_IO, "%s holds no adapter_config.json: expected an adapter's folder%s", dir,
               is_model ? ", and this is a model's: give it as --model" : "");
    QA_TRY(cli_adapter_base_name(dir, &base, err));
    cli_report_section(report, "adapter", "Adapter");
    cli_report_text(report, "dir", "folder", dir);
    if (full) {
        cli_report_flag(report, "full", "all weights its own (train --full)", true);
    }
    cli_report_text(report, "base_model_name_or_path", "base model", base);
    free(base);
    return report_objective(report, run, err);
}

/* A folder with a tokenizer alone. */
static qa_status report_tokenizer_alone(cli_report *report, cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    bool there = false;
    QA_TRY(has_file(&there, args->model, "tokenizer.json", err));
    QA_FAIL_IF(!there, err, QA_ERR_IO, "%s holds neither config.json nor tokenizer.json: expected a model's folder",
               args->model);
    QA_FAIL_IF(args->adapter != NULL, err, QA_ERR_IO, "%s holds no config.json: an adapter needs its model",
               args->model);
    cli_report_section(report, "model", "Model");
    cli_report_text(report, "dir", "folder", args->model);
    cli_report_text(report, "architecture", "architecture", NULL);
    QA_TRY(cli_load_tokenizer(run, true, err));
    return report_text_side(report, run, err);
}

/* A folder without weights, from which a run can be planned: what config.json says, and what it would cost. `missing`
 * says what is missing and what to do. */
static qa_status report_without_weights(cli_report *report, cli_run *run, const char *missing, qa_error *err) {
    qa_config config;
    qa_lora_options options;
    size_t bytes = 0;
    QA_TRY(cli_open_context(run, err));
    const qa_logger logger = cli_logger(run);
    QA_TRY(qa_config_load(&config, run->args->model, &logger, err));
    QA_TRY(qa_model_make(&run->model, run->context, &config, run->args->model, err));
    QA_FAIL_IF(!qa_mul_size(qa_config_parameters(&config), strcmp(qa_precision(), "f64") == 0 ? 8 : 4, &bytes), err,
               QA_ERR_LIMIT, "the model's weights do not fit the address space");
    qa_model_complete(run->model, "none", qa_precision(), bytes);
    const qa_model_info *info = qa_model_get_info(run->model);
    cli_warn(run, "%s", missing);
    QA_TRY(cli_load_tokenizer(run, false, err));
    QA_TRY(cli_lora_options(run, &options, err));
    report_config(report, info, &config);
    cli_report_count(report, "parameters", "parameters", info->parameters, "");
    cli_report_text(report, "weights", "weights", "missing: nothing but info works with this folder");
    report_eos(report, run, info);
    QA_TRY(report_text_side(report, run, err));
    report_adapter(report, run, &options);
    return report_memory(report, run, &options, err);
}

static qa_status report_all(cli_report *report, cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    qa_lora_options options;
    bool has_config = false, has_weights = false;
    qa_error missing = {0};
    if (args->model == NULL) {
        return report_adapter_alone(report, run, err);
    }
    if (!qa_path_is_dir(args->model)) {
        return cli_load_model(run, err); /* which says what a name on the Hub or one file needs */
    }
    QA_TRY(has_file(&has_config, args->model, "config.json", err));
    if (!has_config) {
        return report_tokenizer_alone(report, run, err);
    }
    QA_TRY(qa_find_weights(&has_weights, args->model, &missing, err));
    if (!has_weights && args->adapter == NULL) {
        return report_without_weights(report, run, missing.message, err);
    }
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_load_adapter(run, err));
    QA_TRY(cli_load_tokenizer(run, false, err));
    QA_TRY(cli_lora_options(run, &options, err));
    if (run->adapter != NULL) {
        options = *qa_adapter_options(run->adapter);
    }
    report_model(report, run, qa_model_get_info(run->model));
    QA_TRY(report_text_side(report, run, err));
    report_adapter(report, run, &options);
    QA_TRY(report_objective(report, run, err));
    return report_memory(report, run, run->adapter != NULL ? &run->adapter->widest : &options, err);
}

/* ---- what is supported ---- */

static qa_status print_supported_json(qa_error *err) {
    json_t *families = json_array(), *types = json_array();
    for (size_t i = 0; qa_family_at(i) != NULL; i++) {
        const qa_family *family = qa_family_at(i);
        (void)json_array_append_new(families, json_pack("{s:s,s:s,s:s,s:s?}", "architecture", family->architecture,
                                                        "model_type", family->model_type, "models", family->models,
                                                        "classifier", family->classifier));
    }
    for (qa_rope_type type = QA_ROPE_DEFAULT; type <= QA_ROPE_LONGROPE; type++) {
        (void)json_array_append_new(types, json_string(qa_rope_type_name(type)));
    }
    json_t *root = json_pack("{s:o,s:o}", "families", families, "rope_types", types);
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(2));
    const qa_status status =
        text == NULL ? QA_NO_MEMORY(err, "the list of families") : cli_put(text, strlen(text), err);
    free(text);
    json_decref(root);
    return status == QA_OK ? cli_put("\n", 1, err) : status;
}

static void print_supported(void) {
    for (size_t i = 0; qa_family_at(i) != NULL; i++) {
        printf("%-28s %s\n", qa_family_at(i)->architecture, qa_family_at(i)->models);
    }
    printf("\nno class for sequence classification in transformers, so no reward models:");
    for (size_t i = 0, n = 0; qa_family_at(i) != NULL; i++) {
        if (qa_family_at(i)->classifier == NULL) {
            printf("%s %s", n++ == 0 ? "" : ",", qa_family_at(i)->architecture);
        }
    }
    printf("\nRoPE types:");
    for (qa_rope_type type = QA_ROPE_DEFAULT; type <= QA_ROPE_LONGROPE; type++) {
        printf("%s %s", type == QA_ROPE_DEFAULT ? "" : ",", qa_rope_type_name(type));
    }
    printf("\n");
}

static qa_status run_info(cli_run *run, qa_error *err) {
    cli_report report = {0};
    if (((const info_args *)run->args)->supported) {
        if (run->args->json) {
            return print_supported_json(err);
        }
        print_supported();
        return QA_OK;
    }
    if (run->args->model == NULL && run->args->adapter == NULL) {
        return cli_bad_usage(run, err, "missing --model DIR (or --adapter DIR, or --supported)");
    }
    qa_status status = report_all(&report, run, err);
    if (status == QA_OK) {
        status = cli_report_print(&report, stdout, run->args->json, err);
    }
    cli_report_free(&report);
    return status;
}

const cli_command cli_info = {
    .name = "info",
    .summary = "tell what a model and an adapter are, and what they cost",
    .about = "Loads a model and tells its architecture, every dimension, its parameters and those that an adapter "
             "trains, its tokenizer and chat template, and the memory that training and generation take. With "
             "--adapter also what the adapter is and what it was trained for; --adapter alone tells the latter. A "
             "folder that holds only a tokenizer is described as well.",
    .examples = "qadapter info --model MODEL\n"
                "qadapter info --adapter ADAPTER\n"
                "qadapter info --model MODEL --adapter ADAPTER --json",
    .on_the_way = true,
    CLI_TABLES(info_tables),
    .args_bytes = sizeof(info_args),
    .run = run_info,
};
