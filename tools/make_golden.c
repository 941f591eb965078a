/* make_golden: the suite of golden bundles (docs/golden.md), inputs and all.
 *
 *     make_golden DIR [CASE...]
 *
 * writes DIR/CASE/ for every case of the table below: a tiny random model, an adapter, preference pairs, and the bundle
 * of them. Everything follows from the table: weights are sums of uniform random numbers from fixed seeds (no library's
 * logarithm has a say in them), and the golden numbers are the same on every machine by themselves, so that `make
 * golden` leaves no byte changed. */
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "golden/bundle.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/adapter.h"

#include "byte_tokenizer.h"
#include "family_tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* ---- cases ---- */

typedef enum rope { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3 } rope;
typedef enum data { DATA_IDS, DATA_TEXT, DATA_CHAT } data;
typedef enum ends {
    ENDS_TERMINAL,
    ENDS_MIXED,
    ENDS_CUT
} ends; /* responses end by themselves: all, every other, none */

typedef struct golden_case {
    const char *name;
    /* model */
    size_t d, f, heads, kv_heads, head_dim, vocab;
    bool tied;
    const char *family; /* model_type; NULL: llama */
    const char *keys;   /* more of config.json, as an object; NULL: none */
    rope rope;
    bool bf16; /* weights in BF16, not F32 */
    /* adapter */
    size_t rank;
    double lora_alpha;
    bool rslora;
    const char *targets;
    /* pairs */
    data data;
    size_t pairs, shortest, longest; /* tokens of a response */
    ends ends;
    bool quirks;
    /* objective */
    qa_objective objective;
    size_t micro_batch;
    bool all_activations;
    /* optimiser; 0: as qa_golden_defaults */
    double weight_decay, max_grad_norm;
    size_t steps;
} golden_case;

#define SHAPE(d_, f_, heads_, kv_heads_, head_dim_, vocab_)                                                            \
    .d = (d_), .f = (f_), .heads = (heads_), .kv_heads = (kv_heads_), .head_dim = (head_dim_), .vocab = (vocab_)
#define MHA SHAPE(16, 24, 4, 4, 4, 37)
#define GQA SHAPE(16, 24, 4, 2, 4, 37)
#define WIDE_HEADS SHAPE(16, 24, 4, 2, 6, 37)
#define TIED .tied = true
#define BIASED .family = "qwen2"
#define BF16 .bf16 = true
#define PLAIN_LORA .rank = 8, .lora_alpha = 16, .targets = "q_proj,v_proj"
#define RANK_1 .rank = 1, .lora_alpha = 2, .targets = "all-linear"
#define RSLORA .rank = 8, .lora_alpha = 4, .rslora = true, .targets = "all-linear"
#define ALL_LORA .rank = 8, .lora_alpha = 12, .targets = "all-linear"
#define RANDOM(pairs_, shortest_, longest_)                                                                            \
    .data = DATA_IDS, .pairs = (pairs_), .shortest = (shortest_), .longest = (longest_)
#define OBJECTIVE(kind_, q_, tilde_, zero_, gamma_, beta_)                                                             \
    .objective = {.kind = (kind_),                                                                                     \
                  .q_parametrisation = (q_),                                                                           \
                  .alpha_tilde = (tilde_),                                                                             \
                  .alpha_0 = (zero_),                                                                                  \
                  .gamma = (gamma_),                                                                                   \
                  .beta = (beta_)}

#define CASE(...)                                                                                                      \
    { .name = __VA_ARGS__ }

static const golden_case cases[] = {
    CASE("theory-logits", MHA, PLAIN_LORA, RANDOM(3, 2, 8), OBJECTIVE(QA_THEORY, QA_Q_LOGITS, 1.0, 1.0, 1.0, 0.1)),
    CASE("theory-residual", GQA, TIED, PLAIN_LORA, RANDOM(3, 2, 8),
         OBJECTIVE(QA_THEORY, QA_Q_RESIDUAL, 1.0, 1.0, 1.0, 0.1)),
    CASE("theory-discounted", WIDE_HEADS, RANK_1, RANDOM(3, 2, 8),
         OBJECTIVE(QA_THEORY, QA_Q_LOGITS, 0.5, 0.01, 0.9, 0.1)),
    CASE("theory-llama3", GQA, TIED, .rope = ROPE_LLAMA3, RSLORA, RANDOM(3, 2, 8), .ends = ENDS_MIXED,
         OBJECTIVE(QA_THEORY, QA_Q_RESIDUAL, 2.0, 1.0, 0.9, 0.0)),
    CASE("theory-normalised", MHA, .rope = ROPE_LINEAR, ALL_LORA, RANDOM(3, 2, 8),
         OBJECTIVE(QA_THEORY, QA_Q_LOGITS, 1.0, 1.0, 0.9, 0.1)),
    CASE("theory-qwen2", GQA, BIASED, PLAIN_LORA, RANDOM(3, 2, 8), .ends = ENDS_MIXED,
         OBJECTIVE(QA_THEORY, QA_Q_LOGITS, 1.0, 0.0, 1.0, 0.1)),
    CASE("theory-one-token", MHA, ALL_LORA, RANDOM(3, 1, 3), .ends = ENDS_CUT,
         OBJECTIVE(QA_THEORY, QA_Q_RESIDUAL, 1.0, 1.0, 0.9, 0.1)),
    CASE("theory-bf16", WIDE_HEADS, TIED, .rope = ROPE_LLAMA3, BF16, ALL_LORA, RANDOM(3, 2, 8),
         OBJECTIVE(QA_THEORY, QA_Q_RESIDUAL, 0.5, 1.0, 1.0, 0.0)),
    CASE("theory-long", SHAPE(8, 12, 2, 2, 4, 130), PLAIN_LORA, RANDOM(1, 36, 44),
         OBJECTIVE(QA_THEORY, QA_Q_RESIDUAL, 1.0, 1.0, 0.9, 0.1)),
    CASE("theory-text", SHAPE(12, 16, 3, 1, 4, TOKENS), TIED, PLAIN_LORA, .data = DATA_TEXT,
         OBJECTIVE(QA_THEORY, QA_Q_RESIDUAL, 1.0, 1.0, 1.0, 0.1)),
    CASE("theory-activations", WIDE_HEADS, .rope = ROPE_LLAMA3, RSLORA, RANDOM(1, 3, 5), .all_activations = true,
         OBJECTIVE(QA_THEORY, QA_Q_LOGITS, 1.0, 0.01, 0.9, 0.1)),
    CASE("published-logits", MHA, PLAIN_LORA, RANDOM(3, 2, 8),
         OBJECTIVE(QA_PUBLISHED, QA_Q_LOGITS, 1.0, 0.01, 1.0, 0.1)),
    CASE("published-residual", GQA, TIED, .rope = ROPE_LLAMA3, RSLORA, RANDOM(3, 2, 8), .ends = ENDS_MIXED,
         OBJECTIVE(QA_PUBLISHED, QA_Q_RESIDUAL, 2.0, 1.0, 0.9, 0.1)),
    CASE("published-qwen2", WIDE_HEADS, BIASED, RANK_1, RANDOM(3, 2, 8),
         OBJECTIVE(QA_PUBLISHED, QA_Q_LOGITS, 0.5, 0.0, 1.0, 0.0)),
    CASE("published-micro-batches", MHA, TIED, .rope = ROPE_LINEAR, BF16, ALL_LORA, RANDOM(3, 1, 6), .micro_batch = 2,
         OBJECTIVE(QA_PUBLISHED, QA_Q_LOGITS, 1.0, 1.0, 0.9, 0.1)),
    CASE("published-chat", SHAPE(12, 16, 3, 3, 4, TOKENS), PLAIN_LORA, .data = DATA_CHAT, .quirks = true,
         OBJECTIVE(QA_PUBLISHED, QA_Q_LOGITS, 1.0, 0.01, 1.0, 0.1)),
    CASE("theory-qwen3", WIDE_HEADS, .family = "qwen3", ALL_LORA, RANDOM(3, 2, 8),
         OBJECTIVE(QA_THEORY, QA_Q_RESIDUAL, 1.0, 1.0, 0.9, 0.1)),
    CASE("theory-gemma3", WIDE_HEADS, TIED, .family = "gemma3_text",
         .keys = "{\"sliding_window\": 4, \"layer_types\": [\"sliding_attention\", \"full_attention\"], "
                 "\"query_pre_attn_scalar\": 9, \"rope_local_base_freq\": 50.0}",
         ALL_LORA, RANDOM(3, 4, 8), OBJECTIVE(QA_THEORY, QA_Q_RESIDUAL, 1.0, 1.0, 0.9, 0.1)),
    CASE("theory-olmo2", GQA, .family = "olmo2", ALL_LORA, RANDOM(3, 2, 8),
         OBJECTIVE(QA_THEORY, QA_Q_LOGITS, 1.0, 1.0, 0.9, 0.1)),
    CASE("published-phi3", GQA, .family = "phi3", .keys = "{\"sliding_window\": 4}", ALL_LORA, RANDOM(3, 4, 8),
         OBJECTIVE(QA_PUBLISHED, QA_Q_LOGITS, 1.0, 1.0, 0.9, 0.1)),
    CASE("published-optimiser", MHA, RANK_1, RANDOM(3, 2, 6), .micro_batch = 2, .weight_decay = 0.125,
         .max_grad_norm = 0.25, .steps = 4, OBJECTIVE(QA_PUBLISHED, QA_Q_RESIDUAL, 1.0, 1.0, 1.0, 0.1)),
};
enum { CASES = sizeof cases / sizeof cases[0], LAYERS = 2, CONTEXT = 128 };

static int32_t bos_of(const golden_case *c) { return c->data == DATA_IDS ? 1 : BOS; }
static int32_t eos_of(const golden_case *c) { return c->data == DATA_IDS ? 2 : IM_END; }

/* ---- random numbers ---- */

/* Roughly normal with this standard deviation: four uniform numbers, exact but for one rounding. */
static double draw(qa_rng *rng, double deviation) {
    double sum = 0.0;
    for (int i = 0; i < 4; i++) {
        sum += qa_rng_uniform(rng) - 0.5;
    }
    return sum * deviation * 1.75; /* sqrt(3), nearly */
}

/* A seed of its own for everything that has a name. */
static uint64_t seed_of(const char *name) {
    uint64_t seed = 0;
    for (const char *c = name; *c != '\0'; c++) {
        seed = qa_hash(seed, (uint64_t)(unsigned char)*c);
    }
    return seed;
}

/* ---- the model ---- */

static const qa_family *family_of(const golden_case *c) {
    return qa_family_by_model_type(c->family != NULL ? c->family : "llama");
}

/* What the family does not take away is there for it. */
static void put_family(json_t *config, const golden_case *c) {
    static const char *const biases[] = {"attention_bias", "mlp_bias"};
    const qa_family *family = family_of(c);
    json_t *keys = c->keys == NULL ? json_object() : json_loads(c->keys, 0, NULL);
    for (size_t i = 0; i < sizeof biases / sizeof biases[0]; i++) {
        if (qa_family_has_key(family, biases[i])) {
            (void)json_object_set_new(config, biases[i], json_false());
        }
    }
    if (family->fixed_head_dim) {
        (void)json_object_del(config, "head_dim");
    }
    if (family->default_activation != NULL) {
        (void)json_object_del(config, "hidden_act");
        set_family_key(config, family, "hidden_act", json_string(family->default_activation));
    }
    (void)json_object_update(config, keys);
    json_decref(keys);
}

static json_t *config_json(const golden_case *c) {
    json_t *config = json_pack(
        "{s:[s],s:s,s:I,s:I,s:i,s:I,s:I,s:I,s:I,s:i,s:f,s:f,s:b,s:s,s:i,s:i,s:s}", "architectures",
        family_of(c)->architecture, "model_type", family_of(c)->model_type, "hidden_size", (json_int_t)c->d,
        "intermediate_size", (json_int_t)c->f, "num_hidden_layers", LAYERS, "num_attention_heads", (json_int_t)c->heads,
        "num_key_value_heads", (json_int_t)c->kv_heads, "head_dim", (json_int_t)c->head_dim, "vocab_size",
        (json_int_t)c->vocab, "max_position_embeddings", CONTEXT, "rms_norm_eps", 1e-5, "rope_theta", 10000.0,
        "tie_word_embeddings", c->tied, "hidden_act", "silu", "bos_token_id", (int)bos_of(c), "eos_token_id",
        (int)eos_of(c), "torch_dtype", c->bf16 ? "bfloat16" : "float32");
    json_t *scaling = json_null();
    if (c->rope == ROPE_LINEAR) {
        scaling = json_pack("{s:s,s:f}", "rope_type", "linear", "factor", 2.5);
    } else if (c->rope == ROPE_LLAMA3) { /* so that a head's few frequencies fall on both sides of the band */
        scaling = json_pack("{s:s,s:f,s:f,s:f,s:i}", "rope_type", "llama3", "factor", 4.0, "low_freq_factor", 0.5,
                            "high_freq_factor", 2.0, "original_max_position_embeddings", 8);
    }
    (void)json_object_set_new(config, "rope_scaling", scaling);
    put_family(config, c);
    return config;
}

enum { MAX_WEIGHTS = 64 };

/* The numbers of all weights, kept until the file is written. */
typedef struct weights {
    const golden_case *c;
    qa_safetensors_writer *file;
    double *values[MAX_WEIGHTS];
    size_t n;
} weights;

/* Of a map's matrix so that what it gives is about as large as what it reads, twice as much where softmax follows. */
static double deviation_of(const golden_case *c, const family_tensor *tensor, size_t in) {
    const double in_row = 1.0 / sqrt((double)in);
    const qa_target target = tensor->row->target;
    switch (tensor->row->role) {
    case QA_ROLE_EMBEDDING: return c->tied ? 1.5 * in_row : 1.0;
    case QA_ROLE_HEAD: return 1.5 * in_row;
    case QA_ROLE_MAP:
        return target == QA_TARGET_Q || target == QA_TARGET_K || target == QA_TARGET_QKV ? 1.5 * in_row : in_row;
    case QA_ROLE_BIAS: return 0.5;
    default: return 0.2;
    }
}

static qa_status add_weight(weights *w, const family_tensor *tensor, const qa_config *config, qa_error *err) {
    char seed[256];
    const size_t shape[2] = {tensor->rows, tensor->columns};
    const double deviation = deviation_of(w->c, tensor, qa_width_of(config, tensor->row->columns));
    (void)snprintf(seed, sizeof seed, "%s/%s", w->c->name, tensor->name);
    qa_rng rng = qa_rng_seed(seed_of(seed), 0);
    double *values = NULL;
    QA_TRY(w->n < MAX_WEIGHTS ? QA_NEW(values, tensor->count, err, "%s", tensor->name)
                              : qa_fail(err, QA_ERR_LIMIT, "%s", tensor->name));
    w->values[w->n++] = values;
    for (size_t i = 0; i < tensor->count; i++) {
        values[i] = tensor->mean + draw(&rng, deviation);
    }
    return qa_safetensors_writer_add_double(w->file, tensor->name, w->c->bf16 ? QA_DTYPE_BF16 : QA_DTYPE_F32,
                                            tensor->columns == 0 ? 1 : 2, shape, values, err);
}

/* Those of the config.json in dir. */
static qa_status add_weights(weights *w, const char *dir, qa_error *err) {
    qa_config *config = NULL;
    family_tensors list = {0};
    char *path = NULL;
    qa_status status = QA_OK;
    QA_TRY(QA_NEW(config, 1, err, "the configuration"));
    QA_GOTO(done, qa_join_path(&path, dir, "config.json", err));
    QA_GOTO(done, qa_config_load_file(config, path, NULL, err));
    list.config = config;
    QA_GOTO(done, QA_NEW(list.all, family_tensors_most(config), err, "the list of tensors"));
    list_tensors(&list);
    for (size_t i = 0; i < list.n; i++) {
        QA_GOTO(done, add_weight(w, &list.all[i], config, err));
    }
done:
    free(config);
    free(path);
    free(list.all);
    return status;
}

static qa_status write_weights(const golden_case *c, const char *dir, qa_error *err) {
    weights w = {.c = c};
    char *path = NULL;
    qa_status status = QA_OK;
    QA_TRY(qa_join_path(&path, dir, "model.safetensors", err));
    QA_GOTO(done, qa_safetensors_writer_create(&w.file, err));
    QA_GOTO(done, qa_safetensors_writer_metadata(w.file, "format", "pt", err));
    QA_GOTO(done, add_weights(&w, dir, err));
    status = qa_safetensors_writer_save(w.file, path, err);
done:
    qa_safetensors_writer_free(w.file);
    for (size_t i = 0; i < w.n; i++) {
        free(w.values[i]);
    }
    free(path);
    return status;
}

/* The byte tokenizer of the demonstration, which here puts <|bos|> in front of what it encodes. */
static qa_status write_tokenizer(const golden_case *c, const char *dir, qa_error *err) {
    json_t *tokenizer = byte_tokenizer();
    json_t *bos = json_pack("{s:{s:s,s:i}}", "SpecialToken", "id", SPECIAL_TOKENS[0], "type_id", 0);
    json_t *text = json_pack("{s:{s:s,s:i}}", "Sequence", "id", "A", "type_id", 0);
    json_t *template = json_pack("{s:s,s:[O,O],s:[o,o],s:{s:{s:s,s:[i],s:[s]}}}", "type", "TemplateProcessing",
                                 "single", bos, text, "pair", bos, text, "special_tokens", SPECIAL_TOKENS[0], "id",
                                 SPECIAL_TOKENS[0], "ids", (int)BOS, "tokens", SPECIAL_TOKENS[0]);
    (void)json_object_set_new(tokenizer, "post_processor", template);
    QA_TRY(qa_json_save_in(tokenizer, dir, "tokenizer.json", err));
    json_t *config = json_pack("{s:s,s:s,s:s}", "tokenizer_class", "PreTrainedTokenizerFast", "bos_token",
                               SPECIAL_TOKENS[0], "eos_token", SPECIAL_TOKENS[2]);
    if (c->data == DATA_CHAT) {
        (void)json_object_set_new(config, "chat_template", json_string(CHATML));
    }
    return qa_json_save_in(config, dir, "tokenizer_config.json", err);
}

static qa_status write_model(const golden_case *c, const char *dir, qa_error *err) {
    QA_TRY(qa_make_dirs(dir, err));
    QA_TRY(qa_json_save_in(config_json(c), dir, "config.json", err));
    QA_TRY(write_weights(c, dir, err));
    return c->data == DATA_IDS ? QA_OK : write_tokenizer(c, dir, err);
}

/* ---- the adapter ---- */

static qa_status write_adapter(const golden_case *c, const qa_model *model, const char *dir, qa_error *err) {
    qa_lora_options options = {.rank = c->rank, .alpha = c->lora_alpha, .use_rslora = c->rslora};
    qa_adapter *adapter = NULL;
    QA_TRY(qa_make_dirs(dir, err));
    QA_TRY(qa_targets_parse(options.targets, c->targets, err));
    QA_TRY(qa_adapter_create(&adapter, model, &options, 0, err));
    for (size_t i = 0; i < adapter->n_tensors; i++) { /* both A and B: a fresh adapter would change nothing */
        const qa_adapter_tensor *tensor = &adapter->tensors[i];
        char seed[256];
        (void)snprintf(seed, sizeof seed, "%s/%s", c->name, tensor->name);
        qa_rng rng = qa_rng_seed(seed_of(seed), 0);
        const double deviation = strstr(tensor->name, "lora_A") != NULL ? 1.0 / sqrt((double)tensor->columns)
                                                                        : 0.3 / sqrt((double)tensor->columns);
        for (size_t j = 0; j < tensor->rows * tensor->columns; j++) {
            adapter->parameters[tensor->offset + j] = (qa_real)draw(&rng, deviation);
        }
    }
    const qa_status status = qa_adapter_save(adapter, dir, "../model", err);
    qa_adapter_free(adapter);
    return status;
}

/* ---- the pairs ---- */

static const char TEXT[] = "{\"prompt\": \"Is the shop open?\", \"chosen\": \" Yes, it is.\", \"rejected\": \" No.\"}\n"
                           "{\"prompt\": \"Why?\", \"chosen\": \" I see.\", \"rejected\": \" Look it up.\"}\n";
static const char CHAT[] =
    "{\"prompt\": [{\"role\": \"user\", \"content\": \"Open?\"}], \"chosen\": [{\"role\": \"assistant\", \"content\": "
    "\"Yes, it is.\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"No.\"}]}\n"
    "{\"prompt\": [{\"role\": \"user\", \"content\": \"Why\\u00e9?\"}], \"chosen\": [{\"role\": \"assistant\", "
    "\"content\": \"I see.\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"Look it up.\"}]}\n";

static void put_ids(qa_json_writer *w, const char *key, qa_rng *rng, const golden_case *c, size_t n, int32_t first,
                    int32_t last) {
    qa_json_open_array(w, key, QA_JSON_LINE);
    for (size_t i = 0; i < n; i++) {
        const int32_t random = 3 + (int32_t)qa_rng_below(rng, c->vocab - 3);
        const int32_t id = i == 0 && first >= 0 ? first : i + 1 == n && last >= 0 ? last : random;
        qa_json_put_ids(w, &id, 1);
    }
    qa_json_close(w);
}

static size_t between(qa_rng *rng, size_t low, size_t high) { return low + qa_rng_below(rng, high - low + 1); }

static void put_random_pairs(const golden_case *c, qa_json_writer *w) {
    qa_rng rng = qa_rng_seed(seed_of(c->name), 1);
    for (size_t p = 0; p < c->pairs; p++) {
        const bool stops[2] = {c->ends == ENDS_TERMINAL || (c->ends == ENDS_MIXED && p % 2 == 0),
                               c->ends == ENDS_TERMINAL || (c->ends == ENDS_MIXED && p % 3 == 1)};
        /* the first pair spans the lengths, so that they are unequal in every case */
        const size_t chosen = p == 0 ? c->longest : between(&rng, c->shortest, c->longest);
        const size_t rejected = p == 0 ? c->shortest : between(&rng, c->shortest, c->longest);
        qa_json_open_object(w, NULL, QA_JSON_LINE);
        put_ids(w, "prompt_ids", &rng, c, between(&rng, 3, 6), bos_of(c), -1);
        put_ids(w, "chosen_ids", &rng, c, chosen, -1, stops[0] ? eos_of(c) : -1);
        put_ids(w, "rejected_ids", &rng, c, rejected, -1, stops[1] ? eos_of(c) : -1);
        qa_json_put_bool(w, "chosen_terminal", stops[0]);
        qa_json_put_bool(w, "rejected_terminal", stops[1]);
        qa_json_close(w);
        qa_json_end_line(w);
    }
}

/* Into dir/pairs.jsonl or dir/text.jsonl; *path is freed by the caller. */
static qa_status write_pairs(const golden_case *c, const char *dir, char **path, qa_error *err) {
    qa_json_writer w = {.err = err};
    qa_status status = qa_join_path(path, dir, c->data == DATA_IDS ? "pairs.jsonl" : "text.jsonl", err);
    if (c->data == DATA_IDS) {
        put_random_pairs(c, &w);
    } else {
        qa_json_put_raw(&w, NULL, c->data == DATA_TEXT ? TEXT : CHAT);
    }
    if (status == QA_OK) {
        status = w.status == QA_OK ? qa_write_file(*path, w.text.data, w.text.n, err) : w.status;
    }
    qa_text_free(&w.text);
    return status;
}

/* ---- a bundle ---- */

typedef struct making {
    const golden_case *c;
    char *dir, *model_dir, *adapter_dir, *pairs_path;
    qa_context *context;
    qa_model *model;
    qa_tokenizer *tokenizer;
    qa_adapter *adapter;
    qa_pairs *pairs;
} making;

static qa_status load_pairs(making *m, qa_error *err) {
    const qa_model_info *info = qa_model_get_info(m->model);
    const qa_pairs_options options = {.chat = m->c->data == DATA_CHAT ? QA_CHAT_CHATML : QA_CHAT_PLAIN,
                                      .vocab_size = info->vocab_size,
                                      .max_length = CONTEXT,
                                      .eos_ids = info->eos_ids,
                                      .n_eos = info->n_eos,
                                      .strict = true,
                                      .published_data = m->c->quirks};
    if (m->c->data != DATA_IDS) {
        QA_TRY(qa_tokenizer_load(&m->tokenizer, m->model_dir, err));
    }
    return qa_pairs_load(&m->pairs, m->pairs_path, m->tokenizer, &options, err);
}

static qa_status make_inputs(making *m, qa_error *err) {
    QA_TRY(write_model(m->c, m->model_dir, err));
    QA_TRY(qa_context_create(&m->context, 1, (qa_logger){0}, err));
    QA_TRY(qa_model_load(&m->model, m->context, m->model_dir, err));
    QA_TRY(write_adapter(m->c, m->model, m->adapter_dir, err));
    QA_TRY(qa_adapter_load(&m->adapter, m->model, m->adapter_dir, err));
    QA_TRY(write_pairs(m->c, m->dir, &m->pairs_path, err));
    return load_pairs(m, err);
}

static qa_status make_bundle(making *m, qa_error *err) {
    const golden_case *c = m->c;
    qa_golden_inputs inputs = {.model = m->model,
                               .adapter = m->adapter,
                               .adapter_dir = m->adapter_dir,
                               .pairs = m->pairs,
                               .text_path = c->data == DATA_IDS ? NULL : m->pairs_path,
                               .chat_template = c->data == DATA_CHAT ? "chatml" : "plain",
                               .published_data_quirks = c->quirks,
                               .options = qa_golden_defaults()};
    inputs.options.objective = c->objective;
    inputs.options.objective.length_normalisation = strcmp(c->name, "theory-normalised") == 0;
    inputs.options.micro_batch = c->micro_batch;
    inputs.options.all_activations = c->all_activations;
    if (c->steps > 0) {
        inputs.options.weight_decay = c->weight_decay;
        inputs.options.max_grad_norm = c->max_grad_norm;
        inputs.options.steps = c->steps;
        inputs.options.schedule = QA_SCHEDULE_LINEAR;
    }
    return qa_golden_make(m->dir, &inputs, err);
}

static qa_status make_case(const golden_case *c, const char *root, qa_error *err) {
    making m = {.c = c};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_join_path(&m.dir, root, c->name, err));
    QA_GOTO(done, qa_join_path(&m.model_dir, m.dir, "model", err));
    QA_GOTO(done, qa_join_path(&m.adapter_dir, m.dir, "adapter", err));
    QA_GOTO(done, qa_remove_tree(m.dir, err));
    QA_GOTO(done, make_inputs(&m, err));
    status = make_bundle(&m, err);
done:
    qa_pairs_free(m.pairs);
    qa_adapter_free(m.adapter);
    qa_tokenizer_free(m.tokenizer);
    qa_model_free(m.model);
    qa_context_free(m.context);
    free(m.dir);
    free(m.model_dir);
    free(m.adapter_dir);
    free(m.pairs_path);
    return status;
}

static bool wanted(const char *name, int argc, char **argv) {
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return true;
        }
    }
    return argc == 2;
}

int main(int argc, char **argv) {
    qa_error err = {0};
    if (argc < 2 || argv[1][0] == '-') {
        fprintf(stderr, "usage: make_golden DIR [CASE...]\n");
        return 2;
    }
    if (strcmp(qa_precision(), "f64") != 0) {
        fprintf(stderr, "make_golden: golden bundles need double precision: build with PRECISION=f64\n");
        return 1;
    }
    for (size_t i = 0; i < CASES; i++) {
        if (wanted(cases[i].name, argc, argv) && make_case(&cases[i], argv[1], &err) != QA_OK) {
            fprintf(stderr, "make_golden: %s: %s\n", cases[i].name, err.message);
            return 1;
        }
    }
    return 0;
}
