/* Vectors of the optimiser and of layers (weights/conformance) through the project's own functions, as
 * test_conformance.c has it of the equations. */
#include "arch/config.h"
#include "nn/attention.h"
#include "nn/elementwise.h"
#include "nn/linear.h"
#include "nn/lora.h"
#include "nn/norm.h"
#include "nn/softmax.h"
#include "support/expect.h"
#include "support/vectors.h"
#include "train/adamw.h"
#include "train/schedule.h"

#include <stdlib.h>

/* ---- the optimiser ---- */

static double rate_at(size_t step) {
    const qa_schedule schedule = in_is("schedule", "linear")   ? QA_SCHEDULE_LINEAR
                                 : in_is("schedule", "cosine") ? QA_SCHEDULE_COSINE
                                                               : QA_SCHEDULE_CONSTANT;
    return qa_schedule_rate(schedule, in1("learning_rate"), in_size("warmup"), in_size("total"), step);
}

static void adamw(void) {
    const size_t steps = dim("gradient", 0), n = dim("gradient", 1);
    const qa_real *gradient = in_reals("gradient");
    qa_real *p = in_reals("parameters"), *m = reals(n), *v = reals(n), *after = reals(steps * n);
    double *rates = doubles(steps), *norms = doubles(steps), partial = 0.0;
    for (size_t s = 0; s < steps; s++) {
        rates[s] = rate_at(s);
        norms[s] = qa_gradient_norm(NULL, gradient + s * n, n, &partial);
        const qa_adamw options = {.beta1 = in1("beta1"),
                                  .beta2 = in1("beta2"),
                                  .epsilon = in1("epsilon"),
                                  .weight_decay = in1("weight_decay"),
                                  .learning_rate = rates[s],
                                  .step = s + 1,
                                  .clip = qa_clip_factor(norms[s], in1("max_grad_norm"))};
        qa_adamw_step(NULL, p, m, v, gradient + s * n, n, &options);
        memcpy(after + s * n, p, n * sizeof *p);
    }
    out_reals("parameters_after", after, steps * n);
    out("rates", rates, steps);
    out("norms", norms, steps);
    out_reals("m", m, n);
    out_reals("v", v, n);
}

static void schedule_rates(void) {
    const size_t total = in_size("total");
    double *rates = doubles(total);
    for (size_t s = 0; s < total; s++) {
        rates[s] = rate_at(s);
    }
    out("rates", rates, total);
}

/* ---- layers ---- */

static void log_softmax_vector(void) {
    const size_t n = dim("x", 0);
    const qa_real *x = in_reals("x"), *dy = in_reals("dy");
    qa_real *y = reals(n), *dx = reals(n);
    out1("log_sum_exp", qa_log_softmax_forward(y, x, n));
    qa_log_softmax_backward(dx, dy, y, n);
    out_reals("y", y, n);
    out_reals("grad_x", dx, n);
}

/* The mask in the place of dropout's own choice. */
static void lora(void) {
    const size_t n = dim("x", 0), ins = dim("x", 1), outs = dim("w", 0), r = dim("a", 0);
    const qa_real *x = in_reals("x"), *w = in_reals("w"), *a = in_reals("a"), *b = in_reals("b"), *dy = in_reals("dy");
    const double *mask = in("mask"), left = 1.0 - in1("rate"), rank = (double)r;
    const qa_real scale = (qa_real)(in1("lora_alpha") / (in_flag("use_rslora") ? sqrt(rank) : rank));
    qa_real *kept = reals(n * ins), *hidden = reals(n * r), *dhidden = reals(n * r), *y = reals(n * outs);
    qa_real *dx = reals(n * ins), *dkept = reals(n * ins), *da = reals(r * ins), *db = reals(outs * r);
    for (size_t i = 0; i < n * ins; i++) {
        kept[i] = (qa_real)((double)x[i] * mask[i] / left);
    }
    qa_linear_forward(NULL, y, x, qa_weight_of(w), NULL, n, ins, outs);
    qa_lora_forward(NULL, y, hidden, kept, a, b, scale, n, ins, outs, r);
    qa_linear_backward(NULL, 0, dx, NULL, NULL, dy, x, qa_weight_of(w), n, ins, outs);
    qa_lora_backward(NULL, 0, dkept, da, db, dhidden, dy, kept, hidden, a, b, scale, n, ins, outs, r);
    for (size_t i = 0; i < n * ins; i++) {
        dx[i] += (qa_real)((double)dkept[i] * mask[i] / left);
    }
    out_reals("y", y, n * outs);
    out_reals("grad_x", dx, n * ins);
    out_reals("grad_a", da, r * ins);
    out_reals("grad_b", db, outs * r);
}

static void rms_norm(void) {
    const size_t n = dim("x", 0), d = dim("x", 1);
    const qa_real *x = in_reals("x"), *dy = in_reals("dy");
    const qa_norm norm = {.w = in_reals("w"), .offset = (qa_real)in1("offset"), .eps = in1("epsilon")};
    qa_real *y = reals(n * d), *inverse = reals(n), *dx = reals(n * d), *dw = reals(d);
    qa_norm_forward(NULL, y, inverse, x, &norm, n, d);
    qa_norm_backward(NULL, dx, dw, NULL, dy, x, inverse, &norm, n, d);
    out_reals("y", y, n * d);
    out_reals("grad_x", dx, n * d);
    out_reals("grad_w", dw, d);
}

static void rope(void) {
    static const char *const types[] = {"default", "linear", "llama3", "yarn", "dynamic", "longrope"};
    const size_t n = dim("x", 0), H = dim("x", 1), h = dim("x", 2), rotary = in_size("rotary"), half = rotary / 2;
    static qa_config config;
    config.rotary_dim = rotary;
    qa_rope r = {.theta = in1("theta"),
                 .factor = in1("factor"),
                 .low_freq_factor = in1("low_freq_factor"),
                 .high_freq_factor = in1("high_freq_factor"),
                 .original_max_position = in1("original_max_position"),
                 .attention_factor = in1("attention_factor") == 0.0 ? 1.0 : in1("attention_factor"),
                 .beta_fast = in1("beta_fast"),
                 .beta_slow = in1("beta_slow"),
                 .truncate = in_flag("truncate"),
                 .alpha = in1("alpha")};
    while (!in_is("type", types[r.type])) {
        ck_assert_uint_lt(++r.type, sizeof types / sizeof types[0]);
    }
    if (r.type == QA_ROPE_LONGROPE) {
        memcpy(r.short_factor, in("short_factor"), half * sizeof(double));
        memcpy(r.long_factor, in("long_factor"), half * sizeof(double));
    }
    double *frequency = doubles(half), factor = 0.0;
    const double *positions_in = in("positions");
    int32_t positions[16];
    for (size_t i = 0; i < n; i++) {
        positions[i] = (int32_t)positions_in[i];
    }
    qa_real *cosine = reals(n * half), *sine = reals(n * half), *y = in_reals("x"), *dx = in_reals("dy");
    qa_rope_frequencies(frequency, &factor, &config, &r, in_size("sequence_length"));
    qa_rope_table(cosine, sine, positions, frequency, n, half, factor);
    qa_rope_forward(NULL, y, cosine, sine, n, H, h, rotary, in_flag("interleaved"));
    qa_rope_backward(NULL, dx, cosine, sine, n, H, h, rotary, in_flag("interleaved"));
    out_reals("y", y, n * H * h);
    out("frequency", frequency, half);
    out_reals("grad_x", dx, n * H * h);
}

/* rows[n] at the end of rows[m] */
static qa_real *behind(const qa_real *x, size_t m, size_t n, size_t width) {
    qa_real *all = reals(m * width);
    memcpy(all + (m - n) * width, x, n * width * sizeof *x);
    return all;
}

static void attention(void) {
    const size_t n = dim("q", 0), H = dim("q", 1), h = dim("q", 2), m = dim("k", 0), G = dim("k", 1), c = m - n;
    const qa_real *q = behind(in_reals("q"), m, n, H * h), *k = in_reals("k"), *v = in_reals("v");
    const qa_real *dy = behind(in_reals("dy"), m, n, H * h);
    const qa_attention options = {H, G, h, in1("scale"), in1("soft_cap"), in_size("window")};
    const qa_span span = {c, c, n, 0, c};
    qa_real *y = reals(m * H * h), *dq = reals(m * H * h), *dk = reals(m * G * h), *dv = reals(m * G * h);
    const size_t forward = qa_attention_forward_scratch(NULL, m, &options);
    const size_t backward = qa_attention_backward_scratch(NULL, m, m, &options);
    qa_real *scratch = calloc(forward + backward, sizeof *scratch);
    ck_assert_ptr_nonnull(scratch);
    qa_attention_forward(NULL, y, q, k, v, &span, 1, &options, scratch);
    qa_attention_backward(NULL, dq, dk, dv, dy, q, k, v, &span, 1, m, &options, scratch);
    free(scratch);
    out_reals("y", y + c * H * h, n * H * h);
    out_reals("grad_q", dq + c * H * h, n * H * h);
    out_reals("grad_k", dk, m * G * h);
    out_reals("grad_v", dv, m * G * h);
}

static const vector_function layer_functions[] = {
    {"adamw", adamw},
    {"schedule", schedule_rates},
    {"log_softmax", log_softmax_vector},
    {"lora", lora},
    {"rms_norm", rms_norm},
    {"rope", rope},
    {"attention", attention},
    {NULL, NULL},
};

static const char *const groups[] = {"optimiser", "layers"};

START_TEST(own_functions_give_every_vector) { run_vectors(groups[_i], layer_functions); }
END_TEST

START_TEST(every_mistake_is_caught) { expect_mistakes(groups[_i]); }
END_TEST

Suite *golden_conformance_layers_suite(void);
Suite *golden_conformance_layers_suite(void) {
    Suite *suite = suite_create("golden/conformance_layers");
    TCase *tcase = tcase_create("vectors");
    const int n = sizeof groups / sizeof groups[0];
    tcase_add_loop_test(tcase, own_functions_give_every_vector, 0, n);
    tcase_add_loop_test(tcase, every_mistake_is_caught, 0, n);
    suite_add_tcase(suite, tcase);
    return suite;
}
