/* See tiny_model.h. */
#include "support/tiny_model.h"

#include "base/rng.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TENSORS = 256 };

typedef struct tensor {
    char name[96];
    size_t rows, columns; /* columns 0: a vector of rows elements */
    double mean, deviation;
} tensor;

typedef struct tensor_list {
    tensor tensors[MAX_TENSORS];
    size_t n;
} tensor_list;

tiny_model_options tiny_model_defaults(void) {
    return (tiny_model_options){.hidden_size = 16,
                                .intermediate_size = 24,
                                .layers = 2,
                                .heads = 4,
                                .kv_heads = 2,
                                .head_dim = 4,
                                .vocab_size = 29,
                                .max_positions = 64,
                                .eos = true,
                                .bos = 1,
                                .spread = 1.0,
                                .seed = 1};
}

static void add(tensor_list *list, const char *name, size_t rows, size_t columns, double mean, double deviation) {
    ck_assert_uint_lt(list->n, MAX_TENSORS);
    tensor *t = &list->tensors[list->n++];
    ck_assert_int_lt(snprintf(t->name, sizeof t->name, "%s", name), (int)sizeof t->name);
    t->rows = rows;
    t->columns = columns;
    t->mean = mean;
    t->deviation = deviation;
}

/* A layer's linear map, with or without a bias. */
static void add_linear(tensor_list *list, size_t layer, const char *what, size_t out, size_t in, bool bias,
                       double spread) {
    char name[96];
    (void)snprintf(name, sizeof name, "model.layers.%zu.%s.weight", layer, what);
    add(list, name, out, in, 0.0, spread / sqrt((double)in));
    if (bias) {
        (void)snprintf(name, sizeof name, "model.layers.%zu.%s.bias", layer, what);
        add(list, name, out, 0, 0.0, 0.3);
    }
}

static void add_norm(tensor_list *list, size_t layer, const char *what, size_t d) {
    char name[96];
    (void)snprintf(name, sizeof name, "model.layers.%zu.%s.weight", layer, what);
    add(list, name, d, 0, 1.0, 0.2);
}

static void list_tensors(tensor_list *list, const tiny_model_options *o) {
    const size_t d = o->hidden_size, f = o->intermediate_size;
    const size_t q = o->heads * o->head_dim, kv = o->kv_heads * o->head_dim;
    add(list, "model.embed_tokens.weight", o->vocab_size, d, 0.0, o->tied ? o->spread / sqrt((double)d) : 1.0);
    for (size_t l = 0; l < o->layers; l++) {
        add_norm(list, l, "input_layernorm", d);
        add_linear(list, l, "self_attn.q_proj", q, d, o->qkv_bias, o->spread);
        add_linear(list, l, "self_attn.k_proj", kv, d, o->qkv_bias, o->spread);
        add_linear(list, l, "self_attn.v_proj", kv, d, o->qkv_bias, o->spread);
        add_linear(list, l, "self_attn.o_proj", d, q, false, o->spread);
        add_norm(list, l, "post_attention_layernorm", d);
        add_linear(list, l, "mlp.gate_proj", f, d, false, o->spread);
        add_linear(list, l, "mlp.up_proj", f, d, false, o->spread);
        add_linear(list, l, "mlp.down_proj", d, f, false, o->spread);
    }
    add(list, "model.norm.weight", d, 0, 1.0, 0.2);
    if (!o->tied) {
        add(list, "lm_head.weight", o->vocab_size, d, 0.0, o->spread / sqrt((double)d));
    }
}

static size_t elements(const tensor *t) { return t->columns == 0 ? t->rows : t->rows * t->columns; }

static FILE *open_in(const char *dir, const char *name) {
    char path[4096];
    ck_assert_int_lt(snprintf(path, sizeof path, "%s/%s", dir, name), (int)sizeof path);
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "cannot write %s", path);
    return file;
}

/* Eight bytes of length, the header padded to a multiple of 8, the floats (the tests run on little-endian machines,
 * which the first assertion makes sure of). */
static void write_safetensors(const char *dir, const tensor_list *list, uint64_t seed) {
    static char header[MAX_TENSORS * 256];
    const uint16_t one = 1;
    ck_assert_int_eq(*(const unsigned char *)&one, 1);
    size_t at = 0, offset = 0;
    for (size_t i = 0; i < list->n; i++) {
        const tensor *t = &list->tensors[i];
        char shape[64];
        (void)snprintf(shape, sizeof shape, t->columns == 0 ? "[%zu]" : "[%zu,%zu]", t->rows, t->columns);
        size_t end = offset + elements(t) * sizeof(float);
        at += (size_t)snprintf(header + at, sizeof header - at,
                               "%s\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                               i == 0 ? "{" : ",", t->name, shape, offset, end);
        offset = end;
    }
    header[at++] = '}';
    while (at % 8 != 0) {
        header[at++] = ' ';
    }
    FILE *file = open_in(dir, "model.safetensors");
    const uint64_t length = at;
    ck_assert_uint_eq(fwrite(&length, sizeof length, 1, file), 1);
    ck_assert_uint_eq(fwrite(header, 1, at, file), at);
    for (size_t i = 0; i < list->n; i++) {
        qa_rng rng = qa_rng_seed(seed, i);
        for (size_t j = 0; j < elements(&list->tensors[i]); j++) {
            float x = (float)(list->tensors[i].mean + list->tensors[i].deviation * qa_rng_normal(&rng));
            ck_assert_uint_eq(fwrite(&x, sizeof x, 1, file), 1);
        }
    }
    ck_assert_int_eq(fclose(file), 0);
}

static const char *rope_scaling(tiny_rope rope) {
    switch (rope) {
    case TINY_ROPE_LINEAR: return "{\"rope_type\": \"linear\", \"factor\": 2.5}";
    case TINY_ROPE_LLAMA3:
        return "{\"rope_type\": \"llama3\", \"factor\": 4.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
               "\"original_max_position_embeddings\": 32}";
    default: return "null";
    }
}

static void write_config(const char *dir, const tiny_model_options *o) {
    FILE *file = open_in(dir, "config.json");
    fprintf(file, "{\"architectures\": [\"%s\"], \"model_type\": \"%s\",\n",
            o->qkv_bias ? "Qwen2ForCausalLM" : "LlamaForCausalLM", o->qkv_bias ? "qwen2" : "llama");
    fprintf(file, "\"hidden_size\": %zu, \"intermediate_size\": %zu, \"num_hidden_layers\": %zu,\n", o->hidden_size,
            o->intermediate_size, o->layers);
    fprintf(file, "\"num_attention_heads\": %zu, \"num_key_value_heads\": %zu, \"head_dim\": %zu,\n", o->heads,
            o->kv_heads, o->head_dim);
    fprintf(file, "\"vocab_size\": %zu, \"max_position_embeddings\": %zu, \"tie_word_embeddings\": %s,\n",
            o->vocab_size, o->max_positions, o->tied ? "true" : "false");
    if (o->eos) {
        fprintf(file, "\"bos_token_id\": %d, \"eos_token_id\": 2,\n", o->bos);
    }
    fprintf(file,
            "\"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"rope_scaling\": %s,\n"
            "\"attention_bias\": false, \"mlp_bias\": false, \"torch_dtype\": \"float32\"}\n",
            rope_scaling(o->rope));
    ck_assert_int_eq(fclose(file), 0);
}

void tiny_model_write(const char *dir, const tiny_model_options *options) {
    tensor_list *list = calloc(1, sizeof *list);
    ck_assert_ptr_nonnull(list);
    list_tensors(list, options);
    write_config(dir, options);
    write_safetensors(dir, list, options->seed);
    free(list);
}

static void write_ids(FILE *file, const char *key, size_t n, int32_t first, bool ends, size_t vocab_size, qa_rng *rng) {
    fprintf(file, "\"%s\": [", key);
    for (size_t i = 0; i < n; i++) {
        int32_t id = (int32_t)(3 + qa_rng_below(rng, vocab_size - 3));
        id = i == 0 && first >= 0 ? first : id;
        fprintf(file, "%s%d", i == 0 ? "" : ", ", ends && i + 1 == n ? 2 : id);
    }
    fprintf(file, "]");
}

void tiny_pairs_write(const char *path, size_t pairs, size_t max_prompt, size_t max_response, size_t vocab_size,
                      uint64_t seed) {
    ck_assert_uint_ge(vocab_size, 5);
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "cannot write %s", path);
    qa_rng rng = qa_rng_seed(seed, 77);
    for (size_t i = 0; i < pairs; i++) {
        const size_t prompt = 1 + (size_t)qa_rng_below(&rng, max_prompt);
        const size_t chosen = 1 + (size_t)qa_rng_below(&rng, max_response);
        const size_t rejected = 1 + (size_t)qa_rng_below(&rng, max_response);
        const bool chosen_ends = i % 2 == 0 && chosen > 1, rejected_ends = i % 3 == 0 && rejected > 1;
        /* the first tokens differ, so the responses do */
        const int32_t first = (int32_t)(3 + qa_rng_below(&rng, vocab_size - 4));
        fprintf(file, "{");
        write_ids(file, "prompt_ids", prompt, 1, false, vocab_size, &rng);
        fprintf(file, ", ");
        write_ids(file, "chosen_ids", chosen, first, chosen_ends, vocab_size, &rng);
        fprintf(file, ", ");
        write_ids(file, "rejected_ids", rejected, first + 1, rejected_ends, vocab_size, &rng);
        fprintf(file, ", \"chosen_terminal\": %s, \"rejected_terminal\": %s}\n", chosen_ends ? "true" : "false",
                rejected_ends ? "true" : "false");
    }
    ck_assert_int_eq(fclose(file), 0);
}
