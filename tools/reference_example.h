/* A model, an adapter and a preference pair so small that every number of a training step can be printed: what
 * tools/reference.c shows, and tests/reference/test_step.c holds against the program's own passes. */
#ifndef QA_TOOLS_REFERENCE_EXAMPLE_H
#define QA_TOOLS_REFERENCE_EXAMPLE_H

#include "arch/family.h"
#include "reference/math.h"
#include "reference/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXAMPLE_V = 8, EXAMPLE_D = 4, EXAMPLE_F = 6, EXAMPLE_HEADS = 2, EXAMPLE_KV_HEADS = 1, EXAMPLE_HEAD_DIM = 2 };
enum { EXAMPLE_BOS = 1, EXAMPLE_EOS = 2, EXAMPLE_PROMPT = 2, EXAMPLE_TOKENS = 8, EXAMPLE_WEIGHTS = 196 };
enum { EXAMPLE_PARAMETERS = 14 }; /* rank 1: A [1 x 4] and B [4 x 1] of q_proj, A [1 x 4] and B [2 x 1] of v_proj */

typedef struct reference_example {
    double weights[EXAMPLE_WEIGHTS], parameters[EXAMPLE_PARAMETERS];
    size_t used; /* weights that are given away */
    qa_ref_layer layer;
    qa_ref_model model;
    int32_t ids[QA_REF_SIDES][EXAMPLE_TOKENS];
    qa_ref_row rows[QA_REF_SIDES];
    qa_ref_options options;
} reference_example;

/* Multiples of 1/16 from -1 to 1, which any dtype holds exactly. */
static double example_number(unsigned *state) {
    *state = *state * 1103515245u + 12345u;
    return (double)((int)(*state >> 16 & 0x7fff) % 33 - 16) / 16.0;
}

static const double *example_matrix(reference_example *e, size_t rows, size_t columns) {
    e->used += rows * columns;
    return e->weights + e->used - rows * columns;
}

static const double *example_norm(reference_example *e) {
    for (size_t i = 0; i < EXAMPLE_D; i++) {
        e->weights[e->used + i] = 1.0 + e->weights[e->used + i] / 4.0;
    }
    return example_matrix(e, EXAMPLE_D, 1);
}

static qa_ref_linear example_linear(reference_example *e, size_t in, size_t out) {
    return (qa_ref_linear){.in = in, .out = out, .weight = example_matrix(e, out, in)};
}

static const double example_theta = 1e4;

static void example_frequencies(double *frequency, double *factor, const void *theta, size_t rotary, size_t tokens) {
    (void)tokens;
    *factor = 1.0;
    for (size_t i = 0; i < rotary / 2; i++) {
        frequency[i] = qa_ref_exp(-2.0 * (double)i / (double)rotary * qa_ref_log(*(const double *)theta));
    }
}

static void example_model(reference_example *e) {
    const size_t d = EXAMPLE_D, query = EXAMPLE_HEADS * EXAMPLE_HEAD_DIM, key = EXAMPLE_KV_HEADS * EXAMPLE_HEAD_DIM;
    qa_ref_linear *linear = e->layer.linear;
    e->model = (qa_ref_model){.d = d,
                              .f = EXAMPLE_F,
                              .H = EXAMPLE_HEADS,
                              .G = EXAMPLE_KV_HEADS,
                              .h = EXAMPLE_HEAD_DIM,
                              .V = EXAMPLE_V,
                              .layers = 1,
                              .norm_epsilon = 1e-5,
                              .operations = qa_llama_layer,
                              .rope = {&example_theta},
                              .frequencies = example_frequencies,
                              .rotary = EXAMPLE_HEAD_DIM,
                              .stride = 1,
                              .distance = EXAMPLE_HEAD_DIM / 2,
                              .embedding_factor = 1.0,
                              .residual_multiplier = 1.0,
                              .logit_factor = 1.0,
                              .attention_scale = 1.0 / sqrt((double)EXAMPLE_HEAD_DIM),
                              .layer = &e->layer,
                              .n_parameters = EXAMPLE_PARAMETERS};
    e->model.embedding = example_matrix(e, EXAMPLE_V, d);
    e->layer.norm[QA_NORM_INPUT].w = example_norm(e);
    linear[QA_REF_Q] = example_linear(e, d, query);
    linear[QA_REF_K] = example_linear(e, d, key);
    linear[QA_REF_V] = example_linear(e, d, key);
    linear[QA_REF_O] = example_linear(e, query, d);
    e->layer.norm[QA_NORM_POST].w = example_norm(e);
    linear[QA_REF_GATE] = example_linear(e, d, EXAMPLE_F);
    linear[QA_REF_UP] = example_linear(e, d, EXAMPLE_F);
    linear[QA_REF_DOWN] = example_linear(e, EXAMPLE_F, d);
    e->model.final_norm.w = example_norm(e);
    e->model.head = example_matrix(e, EXAMPLE_V, d);
    linear[QA_REF_Q].rank = linear[QA_REF_V].rank = 1;
    linear[QA_REF_Q].scale = linear[QA_REF_V].scale = 2.0;
    linear[QA_REF_Q].a = 0;
    linear[QA_REF_Q].b = d;
    linear[QA_REF_V].a = d + query;
    linear[QA_REF_V].b = d + query + d;
}

static void example_side(reference_example *e, size_t side, const int32_t *response, size_t n) {
    const int32_t prompt[EXAMPLE_PROMPT] = {EXAMPLE_BOS, 5};
    memcpy(e->ids[side], prompt, sizeof prompt);
    memcpy(e->ids[side] + EXAMPLE_PROMPT, response, n * sizeof *response);
    e->ids[side][EXAMPLE_PROMPT + n] = EXAMPLE_EOS; /* padding */
    e->rows[side] = (qa_ref_row){
        .ids = e->ids[side], .length = EXAMPLE_PROMPT + n, .response_start = EXAMPLE_PROMPT, .terminal = true};
}

/* The objective as derived with Qhat = z - z1, or as published with Qhat = z. */
static void example_fill(reference_example *e, bool published) {
    const int32_t chosen[] = {3, 6, EXAMPLE_EOS}, rejected[] = {4, EXAMPLE_EOS};
    unsigned state = 2;
    memset(e, 0, sizeof *e);
    for (size_t i = 0; i < EXAMPLE_WEIGHTS; i++) {
        e->weights[i] = example_number(&state);
    }
    for (size_t i = 0; i < EXAMPLE_PARAMETERS; i++) {
        e->parameters[i] = example_number(&state) / 2.0;
    }
    example_model(e);
    example_side(e, QA_REF_CHOSEN, chosen, sizeof chosen / sizeof *chosen);
    example_side(e, QA_REF_REJECTED, rejected, sizeof rejected / sizeof *rejected);
    e->options = (qa_ref_options){.objective = {.published = published,
                                                .residual = !published,
                                                .alpha_tilde = 1.5,
                                                .alpha_0 = 0.5,
                                                .gamma = 0.875,
                                                .beta = 0.125},
                                  .micro_batch = 1,
                                  .learning_rate = 0.0625,
                                  .adam_beta1 = 0.9,
                                  .adam_beta2 = 0.999,
                                  .adam_epsilon = 1e-8,
                                  .weight_decay = 0.125,
                                  .max_grad_norm = 1.0};
}

#endif
