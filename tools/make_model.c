/* make_model: a Hugging Face model folder with random weights, and random pre-tokenised preference pairs for it.
 *
 * For measuring speed and memory at a real model's shape without that model's weights, and for tests. Linear maps and
 * embeddings are normal with mean 0, norms normal around 1, both with the same standard deviation. */
#include "base/buffer.h"
#include "base/checked.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"

#include "byte_tokenizer.h"
#include "random_weights.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- shapes ---- */

static const shape PRESETS[] = {
    {.name = "tiny",
     .architecture = "LlamaForCausalLM",
     .model_type = "llama",
     .hidden_size = 64,
     .intermediate_size = 128,
     .layers = 3,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .vocab_size = 300,
     .context = 512,
     .rope_theta = 10000,
     .rms_norm_eps = 1e-5,
     .tied = true,
     .bos = 1,
     .n_eos = 1,
     .eos = {2}},
    {.name = "smollm2-135m",
     .architecture = "LlamaForCausalLM",
     .model_type = "llama",
     .hidden_size = 576,
     .intermediate_size = 1536,
     .layers = 30,
     .heads = 9,
     .kv_heads = 3,
     .head_dim = 64,
     .vocab_size = 49152,
     .context = 8192,
     .rope_theta = 100000,
     .rms_norm_eps = 1e-5,
     .tied = true,
     .bos = 1,
     .n_eos = 1,
     .eos = {2}},
    {.name = "qwen2.5-0.5b",
     .architecture = "Qwen2ForCausalLM",
     .model_type = "qwen2",
     .hidden_size = 896,
     .intermediate_size = 4864,
     .layers = 24,
     .heads = 14,
     .kv_heads = 2,
     .head_dim = 64,
     .vocab_size = 151936,
     .context = 32768,
     .rope_theta = 1000000,
     .rms_norm_eps = 1e-6,
     .tied = true,
     .qkv_bias = true,
     .bos = 151643,
     .n_eos = 2,
     .eos = {151645, 151643}},
    {.name = "llama-3.2-1b",
     .architecture = "LlamaForCausalLM",
     .model_type = "llama",
     .hidden_size = 2048,
     .intermediate_size = 8192,
     .layers = 16,
     .heads = 32,
     .kv_heads = 8,
     .head_dim = 64,
     .vocab_size = 128256,
     .context = 131072,
     .rope_theta = 500000,
     .rms_norm_eps = 1e-5,
     .tied = true,
     .llama3_rope = true,
     .bos = 128000,
     .n_eos = 3,
     .eos = {128001, 128008, 128009}},
};
enum { PRESET_COUNT = sizeof PRESETS / sizeof *PRESETS };

/* ---- the command line: one table that is parsed and printed ---- */

typedef struct options {
    const char *out, *preset, *dtype, *tokenizer, *pairs_out;
    size_t hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, vocab_size, context; /* 0: the preset's */
    double rope_theta, std;
    bool untied, vary, help;
    size_t shards, seed, threads, pairs, prompt_length, response_length;
} options;

typedef enum option_kind { TEXT, SIZE, NUMBER, FLAG } option_kind;

typedef struct option {
    const char *name;
    option_kind kind;
    size_t offset;
    const char *value, *help;
} option;

#define AT(field) offsetof(options, field)
static const option OPTIONS[] = {
    {"--out", TEXT, AT(out), "DIR", "the model folder; made if it is not there"},
    {"--preset", TEXT, AT(preset), "NAME", "tiny (default), smollm2-135m, qwen2.5-0.5b or llama-3.2-1b"},
    {"--hidden-size", SIZE, AT(hidden_size), "N", "and the other sizes: in place of the preset's"},
    {"--intermediate-size", SIZE, AT(intermediate_size), "N", ""},
    {"--layers", SIZE, AT(layers), "N", ""},
    {"--heads", SIZE, AT(heads), "N", ""},
    {"--kv-heads", SIZE, AT(kv_heads), "N", ""},
    {"--head-dim", SIZE, AT(head_dim), "N", "default: hidden size / heads, when one of these is given"},
    {"--vocab-size", SIZE, AT(vocab_size), "N", ""},
    {"--context", SIZE, AT(context), "N", "max_position_embeddings"},
    {"--rope-theta", NUMBER, AT(rope_theta), "X", ""},
    {"--untied", FLAG, AT(untied), "", "an lm_head of its own"},
    {"--dtype", TEXT, AT(dtype), "f32|bf16|f16", "default bf16"},
    {"--std", NUMBER, AT(std), "X", "standard deviation of the weights, default 0.02"},
    {"--seed", SIZE, AT(seed), "N", "default 0"},
    {"--shards", SIZE, AT(shards), "N", "files to cut the weights into, default 1"},
    {"--tokenizer", TEXT, AT(tokenizer), "byte", "a byte-level BPE tokenizer of 300 tokens with ChatML, too"},
    {"--threads", SIZE, AT(threads), "N", "default: all cores"},
    {"--pairs", SIZE, AT(pairs), "N", "write random preference pairs, already tokenised"},
    {"--prompt-length", SIZE, AT(prompt_length), "N", "tokens, default 64"},
    {"--response-length", SIZE, AT(response_length), "N", "tokens, default 64"},
    {"--vary", FLAG, AT(vary), "", "lengths anywhere between half of these and these"},
    {"--pairs-out", TEXT, AT(pairs_out), "FILE", "where the pairs go (JSON Lines)"},
    {"--help", FLAG, AT(help), "", ""},
};
enum { OPTION_COUNT = sizeof OPTIONS / sizeof *OPTIONS };

static void print_help(void) {
    printf("usage: make_model --out DIR [options]\n"
           "       make_model --preset NAME --pairs N --pairs-out FILE [options]\n"
           "Writes a model folder with random weights, random pre-tokenised preference pairs, or both.\n\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        printf("  %-20s %-13s %s\n", OPTIONS[i].name, OPTIONS[i].value, OPTIONS[i].help);
    }
}

static qa_status parse_value(options *parsed, const option *which, const char *value, qa_error *err) {
    char *field = (char *)parsed + which->offset;
    char *end = NULL;
    errno = 0;
    if (which->kind == TEXT) {
        memcpy(field, &value, sizeof value);
        return QA_OK;
    }
    if (which->kind == SIZE) {
        const size_t number = strtoull(value, &end, 10);
        memcpy(field, &number, sizeof number);
        if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0) {
            return qa_fail(err, QA_ERR_ARGUMENT, "%s takes a whole number, not \"%s\"", which->name, value);
        }
        return QA_OK;
    }
    const double number = strtod(value, &end);
    memcpy(field, &number, sizeof number);
    if (end == value || *end != '\0' || !isfinite(number) || number <= 0.0) {
        return qa_fail(err, QA_ERR_ARGUMENT, "%s takes a number above 0, not \"%s\"", which->name, value);
    }
    return QA_OK;
}

static qa_status parse(options *parsed, int argc, char **argv, qa_error *err) {
    for (int i = 1; i < argc; i++) {
        const option *which = NULL;
        for (size_t j = 0; j < OPTION_COUNT; j++) {
            if (strcmp(argv[i], OPTIONS[j].name) == 0) {
                which = &OPTIONS[j];
            }
        }
        if (which == NULL) {
            return qa_fail(err, QA_ERR_ARGUMENT, "unknown option \"%s\"; --help lists them", argv[i]);
        }
        if (which->kind == FLAG) {
            const bool on = true;
            memcpy((char *)parsed + which->offset, &on, sizeof on);
        } else if (i + 1 == argc) {
            return qa_fail(err, QA_ERR_ARGUMENT, "%s needs a value", which->name);
        } else {
            QA_TRY(parse_value(parsed, which, argv[++i], err));
        }
    }
    return QA_OK;
}

static void replace(size_t *value, size_t given) { *value = given != 0 ? given : *value; }

static qa_status choose_shape(shape *s, const options *o, qa_error *err) {
    *s = PRESETS[0];
    bool found = o->preset == NULL;
    for (size_t i = 0; i < PRESET_COUNT && !found; i++) {
        *s = PRESETS[i];
        found = strcmp(s->name, o->preset) == 0;
    }
    if (!found) {
        return qa_fail(err, QA_ERR_ARGUMENT, "no preset is named \"%s\"; --help lists them", o->preset);
    }
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
    if (s->heads % s->kv_heads != 0 || s->head_dim == 0 || s->head_dim % 2 != 0) {
        return qa_fail(err, QA_ERR_ARGUMENT, "%zu heads of width %zu over %zu key/value heads is not possible",
                       s->heads, s->head_dim, s->kv_heads);
    }
    const size_t largest = (size_t)1 << 24;
    if (s->hidden_size > largest || s->intermediate_size > largest || s->heads > largest / s->head_dim ||
        s->vocab_size > largest || s->layers > 4096) {
        return qa_fail(err, QA_ERR_ARGUMENT, "a size is beyond any model (%zu, or 4096 layers)", largest);
    }
    return QA_OK;
}

/* ---- JSON files ---- */

/* Takes the reference; NULL is an error of jansson, which means lack of memory here. */
static qa_status save_json(json_t *root, const char *dir, const char *name, qa_error *err) {
    char *path = qa_path_join(dir, name);
    qa_status status = path == NULL || root == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory for %s", name)
                                                    : qa_json_save(root, path, err);
    json_decref(root);
    free(path);
    return status;
}

static json_t *rope_scaling(const shape *s) {
    return !s->llama3_rope
               ? json_null()
               : json_pack("{s:s,s:f,s:f,s:f,s:i}", "rope_type", "llama3", "factor", 32.0, "low_freq_factor", 1.0,
                           "high_freq_factor", 4.0, "original_max_position_embeddings", 8192);
}

static json_t *config_json(const shape *s, const char *torch_dtype) {
    json_t *root = json_pack("{s:[s],s:s,s:s,s:b,s:b}", "architectures", s->architecture, "model_type", s->model_type,
                             "hidden_act", "silu", "attention_bias", s->qkv_bias, "mlp_bias", 0);
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
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        (void)json_object_set_new(root, sizes[i].key, json_integer((json_int_t)sizes[i].value));
    }
    (void)json_object_set_new(root, "rms_norm_eps", json_real(s->rms_norm_eps));
    (void)json_object_set_new(root, "rope_theta", json_real(s->rope_theta));
    (void)json_object_set_new(root, "rope_scaling", rope_scaling(s));
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
    QA_TRY(save_json(config_json(s, torch_dtype), o->out, "config.json", err));
    QA_TRY(save_json(generation_config_json(s), o->out, "generation_config.json", err));
    if (o->tokenizer == NULL) {
        return QA_OK;
    }
    QA_TRY(save_json(byte_tokenizer(), o->out, "tokenizer.json", err));
    json_t *config = json_pack("{s:s,s:s,s:s,s:s,s:b,s:I,s:s}", "tokenizer_class", "PreTrainedTokenizerFast",
                               "bos_token", SPECIAL_TOKENS[0], "eos_token", SPECIAL_TOKENS[2], "chat_template", CHATML,
                               "clean_up_tokenization_spaces", 0, "model_max_length", (json_int_t)s->context,
                               "pad_token", SPECIAL_TOKENS[3]);
    return save_json(config, o->out, "tokenizer_config.json", err);
}

/* Cuts weights[n] into files of about the same size, in order, and writes them and their index. */
static qa_status write_files(const char *dir, const weight *weights, size_t n, size_t shards, batch *b, qa_pool *pool,
                             qa_error *err) {
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
        char *path = qa_path_join(dir, name);
        status = path == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory for a path")
                              : write_file(path, weights + first, end - first, b, pool, err);
        free(path);
        first = end;
    }
    if (status != QA_OK || shards == 1) {
        json_decref(map);
        return status;
    }
    const size_t bytes = total * qa_dtype_bytes(b->dtype);
    json_t *index = json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)bytes, "weight_map", map);
    return save_json(index, dir, "model.safetensors.index.json", err);
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
    qa_status status = QA_OK;
    qa_pool *pool = NULL;
    weight *weights = qa_alloc_array(s->layers * 12 + 3, sizeof *weights);
    batch b = {.seed = o->seed, .std = o->std, .dtype = dtype};
    QA_GOTO(done, qa_pool_create(&pool, o->threads, err));
    b.scratch = qa_alloc_array(qa_pool_threads(pool) * BLOCK_ELEMENTS, sizeof *b.scratch);
    b.bytes = qa_alloc_array((size_t)BLOCKS_AT_ONCE * BLOCK_ELEMENTS, qa_dtype_bytes(dtype));
    if (weights == NULL || b.scratch == NULL || b.bytes == NULL) {
        QA_GOTO(done, qa_fail(err, QA_ERR_MEMORY, "out of memory"));
    }
    const size_t n = list_weights(weights, s);
    if (o->shards == 0 || o->shards > n) {
        QA_GOTO(done, qa_fail(err, QA_ERR_ARGUMENT, "--shards is %zu; 1 to %zu is possible", o->shards, n));
    }
    QA_GOTO(done, remove_old(o->out, "model.safetensors", err));
    QA_GOTO(done, remove_old(o->out, "model.safetensors.index.json", err));
    QA_GOTO(done, write_files(o->out, weights, n, o->shards, &b, pool, err));
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += weights[i].count;
    }
    printf("%s: %s, %zu parameters, %s, %zu file%s, seed %zu\n", o->out, s->architecture, total, qa_dtype_name(dtype),
           o->shards, o->shards == 1 ? "" : "s", o->seed);
done:
    free(weights);
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

/* "key": [n ids], ordinary tokens; with end the last one is the end-of-sequence id. */
static qa_status append_ids(qa_text *line, const char *key, size_t n, bool end, const shape *s, const options *o,
                            qa_rng *rng, qa_error *err) {
    QA_TRY(qa_text_append_z(line, key, err));
    for (size_t i = 0; i < n; i++) {
        char number[32];
        size_t id = s->eos[0];
        while (!(end && i + 1 == n) && is_special(s, o, id)) {
            id = (size_t)qa_rng_below(rng, s->vocab_size);
        }
        (void)snprintf(number, sizeof number, "%s%zu", i == 0 ? ": [" : ", ", id);
        QA_TRY(qa_text_append_z(line, number, err));
    }
    return qa_text_append_z(line, "]", err);
}

static size_t length_of(size_t longest, bool vary, qa_rng *rng) {
    const size_t shortest = (longest + 1) / 2;
    return vary ? shortest + (size_t)qa_rng_below(rng, longest - shortest + 1) : longest;
}

/* A response of one token has no room for an end: it is a cut one, not terminal. */
static qa_status append_response(qa_text *line, const char *side, size_t n, const shape *s, const options *o,
                                 qa_rng *rng, qa_error *err) {
    char key[64];
    (void)snprintf(key, sizeof key, ", \"%s_ids\"", side);
    QA_TRY(append_ids(line, key, n, n > 1, s, o, rng, err));
    (void)snprintf(key, sizeof key, ", \"%s_terminal\": %s", side, n > 1 ? "true" : "false");
    return qa_text_append_z(line, key, err);
}

static qa_status append_pair(qa_text *line, const shape *s, const options *o, qa_rng *rng, qa_error *err) {
    const size_t prompt = length_of(o->prompt_length, o->vary, rng);
    const size_t chosen = length_of(o->response_length, o->vary, rng);
    const size_t rejected = length_of(o->response_length, o->vary, rng);
    QA_TRY(append_ids(line, "{\"prompt_ids\"", prompt, false, s, o, rng, err));
    QA_TRY(append_response(line, "chosen", chosen, s, o, rng, err));
    QA_TRY(append_response(line, "rejected", rejected, s, o, rng, err));
    return qa_text_append_z(line, "}\n", err);
}

static qa_status write_pairs(const shape *s, const options *o, qa_error *err) {
    if (o->prompt_length == 0 || o->response_length == 0) {
        return qa_fail(err, QA_ERR_ARGUMENT, "--prompt-length and --response-length must be at least 1");
    }
    if (s->vocab_size < 16) {
        return qa_fail(err, QA_ERR_ARGUMENT, "random pairs need a vocabulary of at least 16 tokens");
    }
    qa_atomic_file *file = NULL;
    qa_text line = {0};
    qa_status status = QA_OK;
    qa_rng rng = qa_rng_seed(o->seed, qa_hash(UINT64_MAX, 0));
    QA_GOTO(done, qa_atomic_open(&file, o->pairs_out, err));
    for (size_t i = 0; i < o->pairs; i++) {
        line.n = 0;
        QA_GOTO(done, append_pair(&line, s, o, &rng, err));
        QA_GOTO(done, qa_atomic_write(file, line.data, line.n, err));
    }
    status = qa_atomic_commit(file, err);
    file = NULL;
    if (status == QA_OK) {
        printf("%s: %zu pairs of ids below %zu\n", o->pairs_out, o->pairs, s->vocab_size);
    }
done:
    qa_atomic_abort(file);
    qa_text_free(&line);
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
    if (o->out == NULL && o->pairs_out == NULL) {
        return qa_fail(err, QA_ERR_ARGUMENT, "--out DIR is missing (--help explains)");
    }
    if ((o->pairs > 0) != (o->pairs_out != NULL)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "--pairs and --pairs-out go together");
    }
    if (o->tokenizer != NULL) {
        if (strcmp(o->tokenizer, "byte") != 0 || s.vocab_size < TOKENS) {
            return qa_fail(err, QA_ERR_ARGUMENT, "--tokenizer takes \"byte\", and a --vocab-size of at least %d",
                           TOKENS);
        }
        s.bos = BOS;
        s.n_eos = 2;
        s.eos[0] = IM_END;
        s.eos[1] = END_OF_TEXT;
    }
    for (size_t i = 0; i <= s.n_eos; i++) {
        const size_t id = i == 0 ? s.bos : s.eos[i - 1];
        if (id >= s.vocab_size) {
            return qa_fail(err, QA_ERR_ARGUMENT, "the preset's special token %zu is beyond --vocab-size %zu", id,
                           s.vocab_size);
        }
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
    qa_status status = parse(&parsed, argc, argv, &err);
    if (status == QA_OK && parsed.help) {
        print_help();
        return EXIT_SUCCESS;
    }
    if (status == QA_OK) {
        status = run(&parsed, &err);
    }
    if (status != QA_OK) {
        fprintf(stderr, "make_model: %s\n", err.message);
        return status == QA_ERR_ARGUMENT ? 2 : EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
