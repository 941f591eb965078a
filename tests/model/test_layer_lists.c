/* Every list of operations that a family's layer is: gradients of adapter and weights by central differences, a packed
 * pair against its sequences, decoding against one pass, rows kept against rows made again, and the base stream's
 * states kept. Models are tiny and random, made of a config.json alone. */
#include "base/rng.h"
#include "golden/run.h"
#include "model/decode.h"
#include "model/pass.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/gradcheck.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *model_layer_lists_suite(void);

#ifdef QA_F64
#define EXACT 1e-11 /* observed 1e-13 */
#else
#define EXACT 2e-4 /* observed 2e-5 */
#endif

#define HEADS "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 6, "
#define SHAPE "\"hidden_size\": 16, \"intermediate_size\": 20, \"num_hidden_layers\": 3, \"vocab_size\": 31, "
#define LENGTH "\"max_position_embeddings\": 64, "
#define OF(architecture, type)                                                                                         \
    "{\"architectures\": [\"" architecture "\"], \"model_type\": \"" type "\", \"bos_token_id\": 1, "                  \
    "\"eos_token_id\": 2, "
#define FACTORS(a, b, c) "[" #a ", " #b ", " #c "]"

static const struct layer_case {
    const char *name, *config;
} cases[] = {
    {"Llama, biases", OF("LlamaForCausalLM", "llama") SHAPE HEADS LENGTH
     "\"attention_bias\": true, \"mlp_bias\": true, \"tie_word_embeddings\": false}"},
    {"Qwen 3: norms of heads, a window in some layers", OF("Qwen3ForCausalLM", "qwen3") SHAPE HEADS LENGTH
     "\"use_sliding_window\": true, \"sliding_window\": 3, \"layer_types\": [\"sliding_attention\", "
     "\"full_attention\", \"sliding_attention\"]}"},
    {"Gemma 2: norms before and behind, caps, windows", OF("Gemma2ForCausalLM", "gemma2") SHAPE HEADS LENGTH
     "\"query_pre_attn_scalar\": 9, \"attn_logit_softcapping\": 2.0, \"final_logit_softcapping\": 3.0, "
     "\"hidden_activation\": \"gelu_pytorch_tanh\", \"sliding_window\": 3}"},
    {"Gemma 3: two rotary embeddings, norms of heads", OF("Gemma3ForCausalLM", "gemma3_text") SHAPE HEADS LENGTH
     "\"query_pre_attn_scalar\": 6, \"hidden_activation\": \"gelu_pytorch_tanh\", \"sliding_window\": 4, "
     "\"sliding_window_pattern\": 2, \"rope_theta\": 100000.0, \"rope_local_base_freq\": 100.0}"},
    {"OLMo 2: norms behind alone", OF("Olmo2ForCausalLM", "olmo2") SHAPE HEADS LENGTH "\"attention_bias\": false}"},
    {"EXAONE 4: the same, norms of heads",
     OF("Exaone4ForCausalLM", "exaone4") SHAPE HEADS LENGTH "\"sliding_window\": null}"},
    {"OLMo 1: LayerNorm without weights, a limit on q, k and v", OF("OlmoForCausalLM", "olmo") SHAPE
     "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, " LENGTH "\"clip_qkv\": 0.7}"},
    {"GPT-NeoX: side by side, two norms, q, k and v by head", OF("GPTNeoXForCausalLM", "gpt_neox") SHAPE
     "\"num_attention_heads\": 2, " LENGTH
     "\"rotary_pct\": 0.25, \"use_parallel_residual\": true, \"hidden_act\": \"gelu\"}"},
    {"GPT-NeoX with ReLU", OF("GPTNeoXForCausalLM", "gpt_neox") SHAPE "\"num_attention_heads\": 2, " LENGTH
                                                                      "\"rotary_pct\": 1.0, \"hidden_act\": \"relu\"}"},
    {"GPT-NeoX, one after the other", OF("GPTNeoXForCausalLM", "gpt_neox") SHAPE
     "\"num_attention_heads\": 2, " LENGTH
     "\"rotary_pct\": 0.5, \"use_parallel_residual\": false, \"hidden_act\": \"gelu\"}"},
    {"Cohere: side by side, one norm, a factor on logits, neighbours turned", OF("CohereForCausalLM", "cohere") SHAPE
     "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, " LENGTH "\"logit_scale\": 0.5}"},
    {"GPT-2: learned positions, no gate",
     OF("GPT2LMHeadModel", "gpt2") "\"n_embd\": 16, \"n_head\": 4, \"n_layer\": 3, \"n_positions\": 64, "
                                   "\"vocab_size\": 31, \"activation_function\": \"gelu_new\"}"},
    {"Granite: a factor on each branch", OF("GraniteForCausalLM", "granite") SHAPE
     "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, " LENGTH
     "\"embedding_multiplier\": 3.0, \"attention_multiplier\": 0.2, \"residual_multiplier\": 0.3, "
     "\"logits_scaling\": 0.5}"},
    {"Phi-3: q, k and v in one map, gate and up in one, a window", OF("Phi3ForCausalLM", "phi3") SHAPE
     "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, " LENGTH "\"sliding_window\": 3}"},
    {"SmolLM 3: layers without RoPE", OF("SmolLM3ForCausalLM", "smollm3") SHAPE
     "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, " LENGTH "\"no_rope_layers\": [1, 0, 1]}"},
    {"Nemotron: LayerNorm with 1 + w, squared ReLU, part of a head turned",
     OF("NemotronForCausalLM", "nemotron") SHAPE HEADS LENGTH
     "\"hidden_act\": \"relu2\", \"partial_rotary_factor\": 0.67}"},
    {"Hunyuan: norms of heads behind RoPE",
     OF("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense") SHAPE HEADS LENGTH "\"rope_theta\": 10000.0}"},
    {"StarCoder 2: no gate, biases, a window", OF("Starcoder2ForCausalLM", "starcoder2") SHAPE
     "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, " LENGTH
     "\"use_bias\": true, \"sliding_window\": 4, \"hidden_act\": \"gelu_pytorch_tanh\"}"},
    {"GLM 4: norms before and behind, gate and up in one",
     OF("Glm4ForCausalLM", "glm4") SHAPE HEADS LENGTH "\"partial_rotary_factor\": 0.67, \"attention_bias\": true}"},
    {"longrope: other frequencies above 10 tokens", OF("LlamaForCausalLM", "llama") SHAPE HEADS LENGTH
     "\"rope_parameters\": {\"rope_type\": \"longrope\", \"rope_theta\": 100.0, "
     "\"original_max_position_embeddings\": 10, \"short_factor\": " FACTORS(1, 1.1, 1.3) ", \"long_factor\": " FACTORS(
         1.5, 2.5, 4) "}}"},
};
enum { N_CASES = sizeof cases / sizeof *cases, NORMS_BEHIND = 4, LONGROPE = N_CASES - 1 };

enum { PROMPT = 5, CHOSEN = 6, REJECTED = 9, ROWS = PROMPT + CHOSEN + REJECTED };

static const int32_t prompt[PROMPT] = {1, 7, 3, 20, 11};
static const int32_t chosen[CHOSEN] = {5, 6, 28, 30, 8, 2};
static const int32_t rejected[REJECTED] = {9, 5, 13, 14, 4, 21, 3, 3, 2};

/* A random model of the case, and an adapter on all its maps. */
typedef struct world {
    char *dir;
    qa_context *context;
    qa_trainable *weights;
    qa_adapter *adapter;
    qa_bag bag;
    size_t V, d;
    size_t states[ROWS]; /* every row */
    qa_real *upstream;   /* [ROWS x V] gradient of the logits */
} world;

static world open_world(int number) {
    world w = {.dir = qa_tempdir_make(), .bag = qa_bag_open(3 + (uint64_t)number)};
    qa_error err = {0};
    qa_fixture_write_model(w.dir, cases[number].config);
    qa_expect_ok(qa_context_create(&w.context, 2, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_trainable_load(&w.weights, w.context, w.dir, &err), &err);
    qa_lora_options lora = {.rank = 3, .alpha = 5};
    for (size_t t = 0; t < QA_TARGETS; t++) {
        lora.targets[t] = true;
    }
    qa_expect_ok(qa_adapter_create(&w.adapter, w.weights->model, &lora, 5, &err), &err);
    qa_rng rng = qa_rng_seed(10, 0);
    for (size_t i = 0; i < w.adapter->count; i++) {
        w.adapter->parameters[i] = (qa_real)(0.2 * qa_rng_normal(&rng));
    }
    w.V = w.weights->model->config.vocab_size;
    w.d = w.weights->model->config.hidden_size;
    for (size_t i = 0; i < ROWS; i++) {
        w.states[i] = i;
    }
    w.upstream = qa_bag_random(&w.bag, ROWS * w.V);
    return w;
}

static void close_world(world *w) {
    qa_bag_close(&w->bag);
    qa_adapter_free(w->adapter);
    qa_trainable_free(w->weights);
    qa_context_free(w->context);
    qa_tempdir_remove(w->dir);
}

static qa_pass *open_world_pass(const world *w, qa_pass_limits limits) {
    qa_pass *pass = NULL;
    qa_error err = {0};
    limits.max_rows = ROWS;
    limits.max_states = ROWS;
    limits.max_documents = 2;
    qa_expect_ok(qa_pass_create(&pass, w->weights->model, limits.weights ? NULL : w->adapter, limits, &err), &err);
    return pass;
}

/* Logits of all rows of the input, [rows x V]: of the adapted stream, or of the only one. */
static qa_real *logits_of(const world *w, qa_pass *pass, const qa_packed *in, size_t rows) {
    qa_error err = {0};
    qa_real *base = NULL, *adapted = NULL;
    qa_expect_ok(qa_pass_forward(pass, in, w->states, rows, 0, &err), &err);
    qa_pass_head(pass, 0, rows, &base, &adapted);
    return adapted == NULL ? base : adapted;
}

/* dL/d(A, B) for L = sum of upstream * adapted logits. */
static qa_real *adapter_gradient(world *w, qa_pass *pass, const qa_packed *in, size_t rows, const qa_real *upstream) {
    qa_real *dstates = qa_bag_zeros(&w->bag, rows * w->d), *gradient = qa_bag_zeros(&w->bag, w->adapter->count);
    (void)logits_of(w, pass, in, rows);
    qa_pass_head_transpose(pass, dstates, upstream, rows);
    qa_pass_backward(pass, gradient, dstates);
    return gradient;
}

/* Within EXACT of the largest. */
static void assert_doubles(const char *what, const qa_real *found, const double *expected, size_t count) {
    double largest = 1, worst = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(expected[i]));
        const double off = fabs((double)found[i] - expected[i]);
        worst = off > worst || isnan(off) ? off : worst;
    }
    ck_assert_msg(worst <= EXACT * largest, "%s: off by %g of %g", what, worst, largest);
}

/* One sequence of the pair. */
static size_t sequence(int32_t ids[ROWS], bool first) {
    const size_t n = first ? CHOSEN : REJECTED;
    memcpy(ids, prompt, sizeof prompt);
    memcpy(ids + PROMPT, first ? chosen : rejected, n * sizeof *ids);
    return PROMPT + n;
}

/* ---- gradients ---- */

typedef struct differences {
    const world *w;
    qa_pass *pass;
    qa_packed in;
    size_t rows;
} differences;

static double loss_of(void *context) {
    const differences *c = context;
    return qa_weighted_sum(logits_of(c->w, c->pass, &c->in, c->rows), c->w->upstream, c->rows * c->w->V);
}

/* In double only: differences of floats through a whole network say little. */
START_TEST(adapter_by_central_differences) {
#ifdef QA_F64
    world w = open_world(_i);
    int32_t ids[ROWS];
    const qa_packed in = {
        .trunk = {prompt, PROMPT}, .branches = {{chosen, CHOSEN}, {rejected, REJECTED}}, .n_branches = 2};
    differences c = {&w, open_world_pass(&w, (qa_pass_limits){.backward = true}), in, ROWS};
    if (qa_config_rope_depends_on_length(&w.weights->model->config)) {
        c.rows = sequence(ids, false);
        c.in = (qa_packed){.trunk = {ids, c.rows}};
    }
    const qa_real *gradient = adapter_gradient(&w, c.pass, &c.in, c.rows, w.upstream);
    for (size_t i = 0; i < w.adapter->n_tensors; i++) {
        const qa_adapter_tensor *t = &w.adapter->tensors[i];
        QA_ASSERT_GRADIENT(t->name, w.adapter->parameters + t->offset, t->rows * t->columns, gradient + t->offset,
                           loss_of, &c, 1e-5, 1e-6, 8, i);
    }
    qa_pass_free(c.pass);
    close_world(&w);
#else
    (void)loss_of;
    (void)adapter_gradient;
#endif
}
END_TEST

START_TEST(weights_by_central_differences) {
#ifdef QA_F64
    world w = open_world(_i);
    int32_t ids[ROWS];
    const size_t n = sequence(ids, false);
    const qa_tokens documents[2] = {{ids, n}, {chosen, CHOSEN}};
    differences c = {&w,
                     open_world_pass(&w, (qa_pass_limits){.weights = true}),
                     {.documents = documents, .n_documents = 2},
                     n + CHOSEN};
    qa_real *dstates = qa_bag_zeros(&w.bag, c.rows * w.d);
    (void)loss_of(&c);
    qa_pass_head_backward(c.pass, &w.weights->gradients, dstates, w.upstream, 0, c.rows);
    qa_pass_backward_weights(c.pass, &w.weights->gradients, dstates);
    for (size_t i = 0; i < w.weights->n_tensors; i++) {
        const qa_parameter_tensor *t = &w.weights->tensors[i];
        if (strstr(t->name, "k_proj.bias") == NULL) { /* moves all scores of a query alike: where nothing turns or
                                                         norms keys its gradient is rounding */
            QA_ASSERT_GRADIENT(t->name, w.weights->parameters + t->offset, t->count, w.weights->gradient + t->offset,
                               loss_of, &c, 1e-5, 1e-6, 12, i);
        }
    }
    qa_pass_free(c.pass);
    close_world(&w);
#endif
}
END_TEST

/* ---- what is the same ---- */

/* A pair that shares its prompt: the logits of each sequence alone, and the sum of their gradients. */
START_TEST(packed_is_each_alone) {
    world w = open_world(_i);
    const size_t V = w.V;
    const bool by_length = qa_config_rope_depends_on_length(&w.weights->model->config);
    const size_t n[2] = {by_length ? 4 : CHOSEN, by_length ? 5 : REJECTED}, rows = PROMPT + n[0] + n[1];
    const qa_packed in = {.trunk = {prompt, PROMPT}, .branches = {{chosen, n[0]}, {rejected, n[1]}}, .n_branches = 2};
    qa_pass *pass = open_world_pass(&w, (qa_pass_limits){.backward = true});
    qa_real *together = qa_bag_copy(&w.bag, logits_of(&w, pass, &in, rows), rows * V);
    qa_real *gradient = adapter_gradient(&w, pass, &in, rows, w.upstream);
    qa_real *sum = qa_bag_zeros(&w.bag, w.adapter->count);
    for (size_t side = 0; side < 2; side++) {
        int32_t ids[ROWS];
        (void)sequence(ids, side == 0);
        const size_t own = PROMPT + (side == 0 ? 0 : n[0]);
        const qa_packed whole = {.trunk = {ids, PROMPT + n[side]}};
        const qa_real *expected = logits_of(&w, pass, &whole, whole.trunk.n);
        QA_ASSERT_REALS("prompt", together, expected, PROMPT * V, EXACT, 0.0);
        QA_ASSERT_REALS("response", together + own * V, expected + PROMPT * V, n[side] * V, EXACT, 0.0);
        qa_real *upstream = qa_bag_zeros(&w.bag, whole.trunk.n * V);
        memcpy(upstream, w.upstream, side == 0 ? PROMPT * V * sizeof *upstream : 0);
        memcpy(upstream + PROMPT * V, w.upstream + own * V, n[side] * V * sizeof *upstream);
        const qa_real *part = adapter_gradient(&w, pass, &whole, whole.trunk.n, upstream);
        for (size_t i = 0; i < w.adapter->count; i++) {
            sum[i] += part[i];
        }
    }
    QA_ASSERT_REALS("gradient", gradient, sum, w.adapter->count, EXACT * 10, 0.0);
    qa_pass_free(pass);
    close_world(&w);
}
END_TEST

/* A prompt can only be turned once. */
START_TEST(a_prompt_of_two_lengths_is_refused) {
    world w = open_world(LONGROPE);
    qa_error err = {0};
    qa_pass *pass = open_world_pass(&w, (qa_pass_limits){.backward = true});
    const qa_packed in = {.trunk = {prompt, PROMPT}, .branches = {{chosen, 5}, {rejected, 6}}, .n_branches = 2};
    qa_expect_error(qa_pass_forward(pass, &in, w.states, 1, 0, &err), QA_ERR_UNSUPPORTED, &err,
                    "the first response has 10 tokens, with the second 11");
    qa_pass_free(pass);
    close_world(&w);
}
END_TEST

/* Token by token, in pieces, two sequences at once, one of them from the middle of the other: the last logits are those
 * of one pass over the whole sequence. */
START_TEST(decoding_is_one_pass) {
    world w = open_world(_i);
    qa_error err = {0};
    qa_kv_decoder *decoder = NULL;
    qa_pass *pass = open_world_pass(&w, (qa_pass_limits){0});
    int32_t ids[2][ROWS];
    const size_t n[2] = {sequence(ids[0], true), sequence(ids[1], false)};
    const qa_adapter *adapter = w.adapter;
    const qa_kv_room room = {.slots = 2, .capacity = ROWS, .logits = 2};
    qa_expect_ok(qa_kv_decoder_create_many(&decoder, w.weights->model, &adapter, 1, room, &err), &err);
    qa_kv_decoder_assign(decoder, 0, adapter);
    qa_kv_decoder_assign(decoder, 1, adapter);
    const size_t cuts[] = {0, 3, 4, 8, 9, 10, 11};
    for (size_t c = 0; c + 1 < sizeof cuts / sizeof *cuts; c++) {
        qa_kv_run runs[2];
        qa_kv_state ends[2];
        qa_real *adapted = NULL;
        for (size_t s = 0; s < 2; s++) {
            const size_t end = c + 2 == sizeof cuts / sizeof *cuts ? n[s] : cuts[c + 1];
            runs[s] = (qa_kv_run){.slot = s, .ids = ids[s] + cuts[c], .n = end - cuts[c]};
            ends[s] = (qa_kv_state){.slot = s, .position = end - 1};
        }
        qa_expect_ok(qa_kv_decoder_run(decoder, runs, 2, &err), &err);
        qa_kv_decoder_logits(decoder, ends, 2, &adapted);
        qa_real *got = qa_bag_copy(&w.bag, adapted, 2 * w.V);
        for (size_t s = 0; s < 2; s++) {
            const size_t length = cuts[c] + runs[s].n;
            const qa_real *expected = logits_of(&w, pass, &(qa_packed){.trunk = {ids[s], length}}, length);
            QA_ASSERT_REALS("last logits", got + s * w.V, expected + (length - 1) * w.V, w.V, EXACT, 0.0);
        }
    }
    qa_real *adapted = NULL;
    const qa_kv_run turn = {.slot = 0, .ids = ids[0] + 6, .n = 2};
    memcpy(ids[1] + 6, ids[0] + 6, 2 * sizeof(int32_t));
    for (int round = 0; round < 2; round++) { /* into a slot that was longer, then into one that was shorter */
        qa_kv_decoder_copy(decoder, 0, 1, 6); /* the other answer's beginning */
        qa_expect_ok(qa_kv_decoder_run(decoder, &turn, 1, &err), &err);
        qa_kv_decoder_logits(decoder, &(qa_kv_state){.slot = 0, .position = 7}, 1, &adapted);
        qa_real *got = qa_bag_copy(&w.bag, adapted, w.V);
        const qa_real *expected = logits_of(&w, pass, &(qa_packed){.trunk = {ids[1], 8}}, 8);
        QA_ASSERT_REALS("after a copy", got, expected + 7 * w.V, w.V, EXACT, 0.0);
    }
    qa_kv_decoder_free(decoder);
    qa_pass_free(pass);
    close_world(&w);
}
END_TEST

/* The plain loops, which are in double in every build, walk the same list. */
START_TEST(the_reference_agrees) {
    world w = open_world(_i);
    qa_error err = {0};
    qa_golden_setup setup = {0};
    qa_ref_net *net = NULL;
    int32_t ids[ROWS];
    const size_t n = sequence(ids, false), V = w.V;
    qa_expect_ok(qa_golden_setup_model(&setup, w.weights->model, w.adapter, &err), &err);
    qa_expect_ok(qa_ref_net_create(&net, &setup.model, ROWS, &err), &err);
    double *logits = calloc(n * V, sizeof *logits), *upstream = calloc(n * V, sizeof *upstream);
    double *gradient = calloc(w.adapter->count, sizeof *gradient);
    ck_assert(logits != NULL && upstream != NULL && gradient != NULL);
    for (size_t i = 0; i < n * V; i++) {
        upstream[i] = (double)w.upstream[i];
    }
    qa_ref_net_forward(net, ids, n, setup.parameters);
    qa_ref_net_logits(net, 0, n, logits);
    qa_ref_net_backward(net, gradient, 0, n, upstream);
    qa_pass *pass = open_world_pass(&w, (qa_pass_limits){.backward = true});
    const qa_packed in = {.trunk = {ids, n}};
    assert_doubles("logits", logits_of(&w, pass, &in, n), logits, n * V);
    assert_doubles("gradient", adapter_gradient(&w, pass, &in, n, w.upstream), gradient, w.adapter->count);
    qa_pass_free(pass);
    free(gradient);
    free(upstream);
    free(logits);
    qa_ref_net_free(net);
    qa_golden_setup_free(&setup);
    close_world(&w);
}
END_TEST

/* A model that is saved has the config and the weights that it had: its logits to the bit. */
START_TEST(a_saved_model_is_the_same) {
    world w = open_world(_i);
    int32_t ids[ROWS];
    const size_t n = sequence(ids, false);
    const qa_packed in = {.trunk = {ids, n}};
    qa_pass *pass = open_world_pass(&w, (qa_pass_limits){0});
    const qa_real *logits = qa_bag_copy(&w.bag, logits_of(&w, pass, &in, n), n * w.V);
    qa_pass_free(pass);
    qa_config config;
    qa_trainable *first = NULL;
    qa_error err = {0};
    char *dir = qa_tempdir_make(), *path = qa_tempdir_write_text(dir, "config.json", cases[_i].config);
    qa_expect_ok(qa_config_load_file(&config, path, NULL, &err), &err);
    qa_expect_ok(qa_trainable_create(&first, w.context, &config, dir, 0.25, 7, &err), &err);
    ck_assert_uint_eq(first->count, w.weights->count);
    memcpy(first->parameters, w.weights->parameters, first->count * sizeof(qa_real));
    qa_trainable *loaded = w.weights;
    w.weights = first; /* the config as it was read, the weights as they were saved */
    pass = open_world_pass(&w, (qa_pass_limits){0});
    ck_assert_mem_eq(logits_of(&w, pass, &in, n), logits, n * w.V * sizeof *logits);
    qa_pass_free(pass);
    w.weights = loaded;
    qa_trainable_free(first);
    free(path);
    qa_tempdir_remove(dir);
    close_world(&w);
}
END_TEST

/* Made again or kept, and with the base stream's states given: the same bits. */
START_TEST(recompute_and_apart_to_the_bit) {
    world w = open_world(_i);
    const size_t V = w.V;
    int32_t ids[ROWS];
    const size_t n = sequence(ids, false);
    qa_packed in = {.trunk = {ids, n}, .apart = true};
    qa_pass *kept = open_world_pass(&w, (qa_pass_limits){.backward = true});
    qa_pass *again = open_world_pass(&w, (qa_pass_limits){.backward = true, .recompute = true});
    qa_real *logits = qa_bag_copy(&w.bag, logits_of(&w, kept, &in, n), n * V);
    qa_real *base = qa_bag_zeros(&w.bag, n * w.d);
    qa_pass_base_states(kept, base, 0);
    const qa_real *gradient = adapter_gradient(&w, kept, &in, n, w.upstream);
    ck_assert_mem_eq(adapter_gradient(&w, again, &in, n, w.upstream), gradient, w.adapter->count * sizeof *gradient);
    in.base = base;
    ck_assert_mem_eq(logits_of(&w, kept, &in, n), logits, n * V * sizeof *logits);
    ck_assert_mem_eq(adapter_gradient(&w, kept, &in, n, w.upstream), gradient, w.adapter->count * sizeof *gradient);
    ck_assert_mem_eq(adapter_gradient(&w, again, &in, n, w.upstream), gradient, w.adapter->count * sizeof *gradient);
    qa_pass_free(again);
    qa_pass_free(kept);
    close_world(&w);
}
END_TEST

/* Every norm looks at what it reads. */
START_TEST(what_is_no_number_is_named) {
    static const struct {
        const char *tensor, *where;
    } spoilt[] = {
        {"model.layers.1.self_attn.q_proj.weight", "in the queries of layer 1, row 0"},
        {"model.layers.1.self_attn.k_proj.weight", "in the keys of layer 1, row 0"},
        {"model.layers.2.self_attn.o_proj.weight", "behind the attention of layer 2, row 0"},
        {"model.layers.0.mlp.down_proj.weight", "behind the MLP of layer 0, row 0"},
    };
    world w = open_world(NORMS_BEHIND);
    qa_pass *pass = open_world_pass(&w, (qa_pass_limits){0});
    for (size_t i = 0; i < sizeof spoilt / sizeof *spoilt; i++) {
        size_t t = 0;
        while (strcmp(w.weights->tensors[t].name, spoilt[i].tensor) != 0) {
            t++;
            ck_assert_uint_lt(t, w.weights->n_tensors);
        }
        qa_real *weight = w.weights->parameters + w.weights->tensors[t].offset, kept = *weight;
        qa_error err = {0};
        *weight = (qa_real)NAN;
        qa_expect_error(qa_pass_forward(pass, &(qa_packed){.trunk = {prompt, PROMPT}}, w.states, 1, 0, &err),
                        QA_ERR_NAN, &err, spoilt[i].where);
        *weight = kept;
    }
    qa_pass_free(pass);
    close_world(&w);
}
END_TEST

Suite *model_layer_lists_suite(void) {
    Suite *suite = suite_create("model/layer_lists");
    TCase *tcase = tcase_create("layer_lists");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, adapter_by_central_differences, 0, N_CASES);
    tcase_add_loop_test(tcase, weights_by_central_differences, 0, N_CASES);
    tcase_add_loop_test(tcase, packed_is_each_alone, 0, N_CASES);
    tcase_add_test(tcase, a_prompt_of_two_lengths_is_refused);
    tcase_add_loop_test(tcase, decoding_is_one_pass, 0, N_CASES);
    tcase_add_loop_test(tcase, recompute_and_apart_to_the_bit, 0, N_CASES);
    tcase_add_loop_test(tcase, a_saved_model_is_the_same, 0, N_CASES);
    tcase_add_loop_test(tcase, the_reference_agrees, 0, N_CASES);
    tcase_add_test(tcase, what_is_no_number_is_named);
    suite_add_tcase(suite, tcase);
    return suite;
}
