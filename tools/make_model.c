/* make_model: a Hugging Face model folder with random weights, and random pre-tokenised preference pairs for it.
 *
 * For measuring speed and memory at a real model's shape without that model's weights, and for tests. Linear maps and
 * embeddings are normal with mean 0, norms normal around 1, both with the same standard deviation. */
#include "base/checked.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"

#include "byte_tokenizer.h"
#include "random_weights.h"
#include "support/arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- shapes ---- */

enum { MAX_STOPS = 4 };

typedef struct shape {
    const char *name, *model_type;
    size_t hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, vocab_size, context;
    double rope_theta, rms_norm_eps;
    bool tied, llama3_rope;
    bool of_family; /* asked for by --family */
    size_t bos, n_eos, eos[MAX_STOPS];
    const qa_family *family;
} shape;

#define ENDS(bos_, ...) .bos = (bos_), .eos = {__VA_ARGS__}, .n_eos = sizeof(size_t[]){__VA_ARGS__} / sizeof(size_t)
#define PRESET(name_, family_, d, f, layers_, heads_, kv_heads_, vocab, context_, theta, eps, ...)                     \
    {                                                                                                                  \
        .name = (name_), .model_type = (family_), .hidden_size = (d), .intermediate_size = (f), .layers = (layers_),   \
        .heads = (heads_), .kv_heads = (kv_heads_), .head_dim = (d) / (heads_), .vocab_size = (vocab),                 \
        .context = (context_), .rope_theta = (theta), .rms_norm_eps = (eps), .tied = true, __VA_ARGS__                 \
    }

static const shape PRESETS[] = {
    PRESET("tiny", "llama", 64, 128, 3, 4, 2, 300, 512, 10000, 1e-5, ENDS(1, 2)),
    PRESET("smollm2-135m", "llama", 576, 1536, 30, 9, 3, 49152, 8192, 100000, 1e-5, ENDS(1, 2)),
    PRESET("qwen2.5-0.5b", "qwen2", 896, 4864, 24, 14, 2, 151936, 32768, 1000000, 1e-6, ENDS(151643, 151645, 151643)),
    PRESET("llama-3.2-1b", "llama", 2048, 8192, 16, 32, 8, 128256, 131072, 500000, 1e-5, .llama3_rope = true,
           ENDS(128000, 128001, 128008, 128009)),
};
enum { PRESET_COUNT = sizeof PRESETS / sizeof *PRESETS };

/* ---- the command line: one table that is parsed and printed ---- */

typedef struct options {
    const char *out, *preset, *family, *dtype, *tokenizer, *pairs_out;
    size_t hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, vocab_size, context; /* 0: the preset's */
    double rope_theta, std;
    bool untied, vary, help;
    size_t shards, seed, threads, pairs, prompt_length, response_length;
} options;

#define AT(field) offsetof(options, field)
static const argument OPTIONS[] = {
    ARGUMENT("--out", ARGUMENT_TEXT, AT(out), "DIR", "the model folder; made if it is not there"),
    ARGUMENT("--preset", ARGUMENT_TEXT, AT(preset), "NAME",
             "tiny (default), smollm2-135m, qwen2.5-0.5b or llama-3.2-1b"),
    ARGUMENT("--family", ARGUMENT_TEXT, AT(family), "NAME",
             "a family of the program by its model_type, with its own values where no size is asked for"),
    ARGUMENT("--hidden-size", ARGUMENT_SIZE, AT(hidden_size), "N", "and the other sizes: in place of the preset's"),
    ARGUMENT("--intermediate-size", ARGUMENT_SIZE, AT(intermediate_size), "N", ""),
    ARGUMENT("--layers", ARGUMENT_SIZE, AT(layers), "N", ""),
    ARGUMENT("--heads", ARGUMENT_SIZE, AT(heads), "N", ""),
    ARGUMENT("--kv-heads", ARGUMENT_SIZE, AT(kv_heads), "N", ""),
    ARGUMENT("--head-dim", ARGUMENT_SIZE, AT(head_dim), "N",
             "default: hidden size / heads, when one of these is given"),
    ARGUMENT("--vocab-size", ARGUMENT_SIZE, AT(vocab_size), "N", ""),
    ARGUMENT("--context", ARGUMENT_SIZE, AT(context), "N", "max_position_embeddings"),
    ARGUMENT("--rope-theta", ARGUMENT_NUMBER, AT(rope_theta), "X", ""),
    ARGUMENT("--untied", ARGUMENT_FLAG, AT(untied), "", "an lm_head of its own"),
    ARGUMENT("--dtype", ARGUMENT_TEXT, AT(dtype), "f32|bf16|f16", "default bf16"),
    ARGUMENT("--std", ARGUMENT_NUMBER, AT(std), "X", "standard deviation of the weights, default 0.02"),
    ARGUMENT("--seed", ARGUMENT_SIZE, AT(seed), "N", "default 0"),
    ARGUMENT("--shards", ARGUMENT_SIZE, AT(shards), "N", "files to cut the weights into, default 1"),
    ARGUMENT("--tokenizer", ARGUMENT_TEXT, AT(tokenizer), "byte",
             "a byte-level BPE tokenizer of 300 tokens with ChatML, too"),
    ARGUMENT("--threads", ARGUMENT_SIZE, AT(threads), "N", "default: all cores"),
    ARGUMENT("--pairs", ARGUMENT_SIZE, AT(pairs), "N", "write random preference pairs, already tokenised"),
    ARGUMENT("--prompt-length", ARGUMENT_SIZE, AT(prompt_length), "N", "tokens, default 64"),
    ARGUMENT("--response-length", ARGUMENT_SIZE, AT(response_length), "N", "tokens, default 64"),
    ARGUMENT("--vary", ARGUMENT_FLAG, AT(vary), "", "lengths anywhere between half of these and these"),
    ARGUMENT("--pairs-out", ARGUMENT_TEXT, AT(pairs_out), "FILE", "where the pairs go (JSON Lines)"),
    ARGUMENT("--help", ARGUMENT_FLAG, AT(help), "", ""),
    {.name = NULL},
};

static void print_help(void) {
    printf("usage: make_model --out DIR [options]\n"
           "       make_model --preset NAME --pairs N --pairs-out FILE [options]\n"
           "Writes a model folder with random weights, random pre-tokenised preference pairs, or both.\n\n");
    arguments_print(OPTIONS);
}

static void replace(size_t *value, size_t given) { *value = given != 0 ? given : *value; }

/* What is no size is the family's own. */
static qa_status choose_family(shape *s, const options *o, qa_error *err) {
    s->family = qa_family_by_model_type(o->family != NULL ? o->family : s->model_type);
    QA_FAIL_IF(s->family == NULL, err, QA_ERR_ARGUMENT, "--family: no family has the model_type \"%s\"", o->family);
    if (o->family != NULL) {
        s->model_type = o->family;
        s->tied = s->family->tied;
        s->kv_heads = s->family->equal_heads ? s->heads : s->kv_heads;
        s->rope_theta = s->rms_norm_eps = 0.0;
        s->of_family = true;
    }
    return QA_OK;
}

static qa_status choose_shape(shape *s, const options *o, qa_error *err) {
    *s = PRESETS[0];
    bool found = o->preset == NULL;
    for (size_t i = 0; i < PRESET_COUNT && !found; i++) {
        *s = PRESETS[i];
        found = strcmp(s->name, o->preset) == 0;
    }
    QA_FAIL_IF(!found, err, QA_ERR_ARGUMENT, "no preset is named \"%s\"; --help lists them", o->preset);
    QA_TRY(choose_family(s, o, err));
    replace(&s->hidden_size, o->hidden_size);
    replace(&s->intermediate_size, o->intermediate_size);
    replace(&s->layers, o->layers);
    replace(&s->heads, o->heads);
    replace(&s->kv_heads, o->kv_heads);
    replace(&s->head_dim, o->hidden_size != 0 || o->heads != 0 ? s->hidden_size / s->heads : 0);
    replace(&s->head_dim, o->head_dim);
    replace(&s->vocab_size, o->vocab_size);
    replace(&s->context, o->context);
    s->rope_theta = o->rope_theta > 0.0 ? o->rope_theta : s->rope_theta;
    s->tied = s->tied && !o->untied;
    QA_FAIL_IF(s->heads % s->kv_heads != 0 || s->head_dim == 0 || s->head_dim % 2 != 0, err, QA_ERR_ARGUMENT,
               "%zu heads of width %zu over %zu key/value heads is not possible", s->heads, s->head_dim, s->kv_heads);
    const size_t largest = (size_t)1 << 24;
    QA_FAIL_IF(s->hidden_size > largest || s->intermediate_size > largest || s->heads > largest / s->head_dim ||
                   s->vocab_size > largest || s->layers > 4096,
               err, QA_ERR_ARGUMENT, "a size is beyond any model (%zu, or 4096 layers)", largest);
    return QA_OK;
}

/* ---- JSON files ---- */

static json_t *rope_scaling(const shape *s) {
    return !s->llama3_rope
               ? json_null()
               : json_pack("{s:s,s:f,s:f,s:f,s:i}", "rope_type", "llama3", "factor", 32.0, "low_freq_factor", 1.0,
                           "high_freq_factor", 4.0, "original_max_position_embeddings", 8192);
}

/* Keys that the tiny model of a family has: windows are short, and what must be said is. */
static void put_family_keys(json_t *root, const shape *s) {
    const bool hybrid = strcmp(s->model_type, "granitemoehybrid") == 0;
    if (qa_family_has_key(s->family, "attention_bias")) {
        (void)json_object_set_new(root, "attention_bias", json_false());
    }
    if (qa_family_has_key(s->family, "mlp_bias")) {
        (void)json_object_set_new(root, "mlp_bias", json_false());
    }
    if (s->of_family && qa_family_has_key(s->family, "sliding_window")) {
        (void)json_object_set_new(root, "sliding_window", json_integer(8));
    }
    if (s->of_family && qa_family_has_key(s->family, "use_sliding_window")) {
        (void)json_object_set_new(root, "use_sliding_window", json_true());
        (void)json_object_set_new(root, "max_window_layers", json_integer(1));
    }
    json_t *types = json_array();
    for (size_t l = 0; hybrid && l < s->layers; l++) {
        (void)json_array_append_new(types, json_string("attention"));
    }
    if (hybrid) {
        (void)json_object_set(root, "layer_types", types);
        (void)json_object_set_new(root, "num_local_experts", json_integer(0));
    }
    json_decref(types);
}

static json_t *config_json(const shape *s, const char *torch_dtype) {
    const qa_family *family = s->family;
    json_t *root = json_pack("{s:[s],s:s}", "architectures", family->architecture, "model_type", s->model_type);
    set_family_key(root, family, "hidden_act",
                   json_string(family->default_activation != NULL ? family->default_activation : "silu"));
    put_family_keys(root, s);
    const struct {
        const char *key;
        size_t value;
    } sizes[] = {{"hidden_size", s->hidden_size},
                 {"intermediate_size", s->intermediate_size},
                 {"num_hidden_layers", s->layers},
                 {"num_attention_heads", s->heads},
                 {"num_key_value_heads", s->kv_heads},
                 {"head_dim", s->head_dim},
                 {"vocab_size", s->vocab_size},
                 {"max_position_embeddings", s->context},
                 {"bos_token_id", s->bos},
                 {"eos_token_id", s->eos[0]}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const bool fixed = (family->equal_heads && strcmp(sizes[i].key, "num_key_value_heads") == 0) ||
                           (family->fixed_head_dim && strcmp(sizes[i].key, "head_dim") == 0);
        if (!fixed) {
            set_family_key(root, family, sizes[i].key, json_integer((json_int_t)sizes[i].value));
        }
    }
    if (!s->of_family) {
        set_family_key(root, family, "rms_norm_eps", json_real(s->rms_norm_eps));
    }
    if (s->rope_theta != 0.0) {
        set_family_key(root, family, "rope_theta", json_real(s->rope_theta));
    }
    if (!s->of_family) {
        (void)json_object_set_new(root, "rope_scaling", rope_scaling(s));
    }
    (void)json_object_set_new(root, "tie_word_embeddings", json_boolean(s->tied));
    (void)json_object_set_new(root, "torch_dtype", json_string(torch_dtype));
    return root;
}

static json_t *generation_config_json(const shape *s) {
    json_t *stops = json_array();
    for (size_t i = 0; i < s->n_eos; i++) {
        (void)json_array_append_new(stops, json_integer((json_int_t)s->eos[i]));
    }
    return json_pack("{s:I,s:o}", "bos_token_id", (json_int_t)s->bos, "eos_token_id", stops);
}

static qa_status write_json_files(const shape *s, const options *o, const char *torch_dtype, qa_error *err) {
    QA_TRY(qa_json_save_in(config_json(s, torch_dtype), o->out, "config.json", err));
    QA_TRY(qa_json_save_in(generation_config_json(s), o->out, "generation_config.json", err));
    if (o->tokenizer == NULL) {
        return QA_OK;
    }
    QA_TRY(qa_json_save_in(byte_tokenizer(), o->out, "tokenizer.json", err));
    json_t *config = json_pack("{s:s,s:s,s:s,s:s,s:b,s:I,s:s}", "tokenizer_class", "PreTrainedTokenizerFast",
                               "bos_token", SPECIAL_TOKENS[0], "eos_token", SPECIAL_TOKENS[2], "chat_template", CHATML,
                               "clean_up_tokenization_spaces", 0, "model_max_length", (json_int_t)s->context,
                               "pad_token", SPECIAL_TOKENS[3]);
    return qa_json_save_in(config, o->out, "tokenizer_config.json", err);
}

/* Cuts weights[n] into files of about the same size, in order, and writes them and their index. */
static qa_status write_files(const char *dir, const family_tensor *weights, size_t n, size_t shards, batch *b,
                             qa_pool *pool, qa_error *err) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += weights[i].count;
    }
    json_t *map = json_object();
    qa_status status = QA_OK;
    size_t first = 0;
    size_t written = 0;
    for (size_t shard = 0; shard < shards && status == QA_OK; shard++) {
        char name[64] = "model.safetensors";
        if (shards > 1) {
            (void)snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
        }
        size_t end = first;
        const size_t latest = n - (shards - 1 - shard); /* every later file gets a tensor */
        do {
            written += weights[end].count;
            (void)json_object_set_new(map, weights[end].name, json_string(name));
            end++;
        } while (end < latest && (shard + 1 == shards || written < total / shards * (shard + 1)));
        char *path = NULL;
        status = qa_join_path(&path, dir, name, err);
        if (status == QA_OK) {
            status = write_file(path, weights + first, end - first, b, pool, err);
        }
        free(path);
        first = end;
    }
    if (status != QA_OK || shards == 1) {
        json_decref(map);
        return status;
    }
    const size_t bytes = total * qa_dtype_bytes(b->dtype);
    json_t *index = json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)bytes, "weight_map", map);
    return qa_json_save_in(index, dir, "model.safetensors.index.json", err);
}

/* A folder holds either one file or an index: what an earlier run wrote under the other name goes. */
static qa_status remove_old(const char *dir, const char *name, qa_error *err) {
    char *path = NULL;
    QA_TRY(qa_join_path(&path, dir, name, err));
    qa_status status = qa_remove_tree(path, err);
    free(path);
    return status;
}

static qa_status write_weights(const shape *s, const options *o, qa_dtype dtype, qa_error *err) {
    qa_config *config = NULL;
    family_tensors list = {0};
    qa_status status = QA_OK;
    qa_pool *pool = NULL;
    char *path = NULL;
    batch b = {.seed = o->seed, .std = o->std, .dtype = dtype};
    QA_TRY(QA_NEW(config, 1, err, "the configuration"));
    QA_GOTO(done, qa_join_path(&path, o->out, "config.json", err));
    QA_GOTO(done, qa_config_load_file(config, path, NULL, err));
    list.config = config;
    QA_GOTO(done, QA_NEW(list.all, family_tensors_most(config), err, "the list of tensors"));
    QA_GOTO(done, qa_pool_create(&pool, o->threads, err));
    b.scratch = qa_alloc_array(qa_pool_threads(pool) * BLOCK_ELEMENTS, sizeof *b.scratch);
    b.bytes = qa_alloc_array((size_t)BLOCKS_AT_ONCE * BLOCK_ELEMENTS, qa_dtype_bytes(dtype));
    if (b.scratch == NULL || b.bytes == NULL) {
        QA_GOTO(done, qa_fail(err, QA_ERR_MEMORY, "out of memory"));
    }
    list_tensors(&list);
    const size_t n = list.n;
    if (o->shards == 0 || o->shards > n) {
        QA_GOTO(done, qa_fail(err, QA_ERR_ARGUMENT, "--shards is %zu; 1 to %zu is possible", o->shards, n));
    }
    QA_GOTO(done, remove_old(o->out, "model.safetensors", err));
    QA_GOTO(done, remove_old(o->out, "model.safetensors.index.json", err));
    QA_GOTO(done, write_files(o->out, list.all, n, o->shards, &b, pool, err));
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += list.all[i].count;
    }
    printf("%s: %s, %zu parameters, %s, %zu file%s, seed %zu\n", o->out, s->family->architecture, total,
           qa_dtype_name(dtype), o->shards, o->shards == 1 ? "" : "s", o->seed);
done:
    free(config);
    free(path);
    free(list.all);
    free(b.scratch);
    free(b.bytes);
    qa_pool_destroy(pool);
    return status;
}

/* ---- pairs ---- */

static bool is_special(const shape *s, const options *o, size_t id) {
    bool special = id == s->bos || (o->tokenizer != NULL && id >= FIRST_SPECIAL);
    for (size_t i = 0; i < s->n_eos; i++) {
        special = special || id == s->eos[i];
    }
    return special;
}

/* n ids of ordinary tokens; with end the last one is the end-of-sequence id. */
static void put_ids(qa_json_writer *line, const char *key, size_t n, bool end, const shape *s, const options *o,
                    qa_rng *rng) {
    qa_json_open_array(line, key, QA_JSON_LINE);
    for (size_t i = 0; i < n; i++) {
        size_t id = s->eos[0];
        while (!(end && i + 1 == n) && is_special(s, o, id)) {
            id = (size_t)qa_rng_below(rng, s->vocab_size);
        }
        qa_json_put_size(line, NULL, id);
    }
    qa_json_close(line);
}

static size_t length_of(size_t longest, bool vary, qa_rng *rng) {
    const size_t shortest = (longest + 1) / 2;
    return vary ? shortest + (size_t)qa_rng_below(rng, longest - shortest + 1) : longest;
}

/* A response of one token has no room for an end: it is a cut one, not terminal. */
static void put_pair(qa_json_writer *line, const shape *s, const options *o, qa_rng *rng) {
    const size_t prompt = length_of(o->prompt_length, o->vary, rng);
    const size_t chosen = length_of(o->response_length, o->vary, rng);
    const size_t rejected = length_of(o->response_length, o->vary, rng);
    qa_json_open_object(line, NULL, QA_JSON_LINE);
    put_ids(line, "prompt_ids", prompt, false, s, o, rng);
    put_ids(line, "chosen_ids", chosen, chosen > 1, s, o, rng);
    qa_json_put_bool(line, "chosen_terminal", chosen > 1);
    put_ids(line, "rejected_ids", rejected, rejected > 1, s, o, rng);
    qa_json_put_bool(line, "rejected_terminal", rejected > 1);
    qa_json_close(line);
    qa_json_end_line(line);
}

static qa_status write_pairs(const shape *s, const options *o, qa_error *err) {
    QA_FAIL_IF(o->prompt_length == 0 || o->response_length == 0, err, QA_ERR_ARGUMENT,
               "--prompt-length and --response-length must be at least 1");
    QA_FAIL_IF(s->vocab_size < 16, err, QA_ERR_ARGUMENT, "random pairs need a vocabulary of at least 16 tokens");
    qa_atomic_file *file = NULL;
    qa_json_writer line = {0};
    qa_status status = QA_OK;
    qa_rng rng = qa_rng_seed(o->seed, qa_hash(UINT64_MAX, 0));
    QA_GOTO(done, qa_atomic_open(&file, o->pairs_out, err));
    for (size_t i = 0; i < o->pairs; i++) {
        qa_json_restart(&line, err);
        put_pair(&line, s, o, &rng);
        QA_GOTO(done, line.status);
        QA_GOTO(done, qa_atomic_write(file, line.text.data, line.text.n, err));
    }
    status = qa_atomic_commit(file, err);
    file = NULL;
    if (status == QA_OK) {
        printf("%s: %zu pairs of ids below %zu\n", o->pairs_out, o->pairs, s->vocab_size);
    }
done:
    qa_atomic_abort(file);
    qa_text_free(&line.text);
    return status;
}

/* ---- main ---- */

static qa_status choose_dtype(qa_dtype *dtype, const char **torch_dtype, const char *name, qa_error *err) {
    static const struct {
        const char *name, *torch_dtype;
        qa_dtype dtype;
    } known[] = {
        {"f32", "float32", QA_DTYPE_F32}, {"bf16", "bfloat16", QA_DTYPE_BF16}, {"f16", "float16", QA_DTYPE_F16}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) == 0) {
            *dtype = known[i].dtype;
            *torch_dtype = known[i].torch_dtype;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "--dtype is \"%s\"; f32, bf16 or f16 is possible", name);
}

static qa_status run(const options *o, qa_error *err) {
    shape s;
    qa_dtype dtype = QA_DTYPE_BF16;
    const char *torch_dtype = NULL;
    QA_TRY(choose_shape(&s, o, err));
    QA_TRY(choose_dtype(&dtype, &torch_dtype, o->dtype, err));
    QA_FAIL_IF(o->out == NULL && o->pairs_out == NULL, err, QA_ERR_ARGUMENT, "--out DIR is missing (--help explains)");
    QA_FAIL_IF((o->pairs > 0) != (o->pairs_out != NULL), err, QA_ERR_ARGUMENT, "--pairs and --pairs-out go together");
    if (o->tokenizer != NULL) {
        QA_FAIL_IF(strcmp(o->tokenizer, "byte") != 0 || s.vocab_size < TOKENS, err, QA_ERR_ARGUMENT,
                   "--tokenizer takes \"byte\", and a --vocab-size of at least %d", TOKENS);
        s.bos = BOS;
        s.n_eos = 2;
        s.eos[0] = IM_END;
        s.eos[1] = END_OF_TEXT;
    }
    for (size_t i = 0; i <= s.n_eos; i++) {
        const size_t id = i == 0 ? s.bos : s.eos[i - 1];
        QA_FAIL_IF(id >= s.vocab_size, err, QA_ERR_ARGUMENT,
                   "the preset's special token %zu is beyond --vocab-size %zu", id, s.vocab_size);
    }
    if (o->out != NULL) {
        QA_TRY(qa_make_dirs(o->out, err));
        QA_TRY(write_json_files(&s, o, torch_dtype, err));
        QA_TRY(write_weights(&s, o, dtype, err));
    }
    return o->pairs > 0 ? write_pairs(&s, o, err) : QA_OK;
}

int main(int argc, char **argv) {
    options parsed = {.dtype = "bf16", .std = 0.02, .shards = 1, .prompt_length = 64, .response_length = 64};
    qa_error err = {0};
    qa_status status = arguments_read(&parsed, OPTIONS, 1, argc, argv, &parsed.help, &err);
    if (status == QA_OK && parsed.help) {
        print_help();
        return EXIT_SUCCESS;
    }
    return tool_exit("make_model", status == QA_OK ? run(&parsed, &err) : status, &err);
}
