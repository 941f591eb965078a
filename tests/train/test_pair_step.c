/* One pair: against a plain restatement of both objectives over whole, unpacked sequences; the gradient of the whole
 * loss with respect to every LoRA tensor against central differences; the special pairs; the errors. */
#include "train/pair_step.h"

#include "rl/equations.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/gradcheck.h"
#include "support/training.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Largest error relative to the array's largest value, observed: 5e-14 in f64, 2e-5 in f32. */
#ifdef QA_F64
static const double tolerance = 1e-11;
#else
static const double tolerance = 1e-4;
#endif

enum { MAX_LENGTH = 40, PAD = 2 };

static const int32_t prompt_ids[] = {1, 7, 12, 5, 9, 21, 4};
static const int32_t chosen_ids[] = {3, 8, 8, 26, 11, 2};
static const int32_t rejected_ids[] = {14, 6, 3, 28};

/* A prompt of 7 tokens, an ended response of 6, one of 4 that was cut off. */
static qa_pair example(size_t label_start) {
    return (qa_pair){.prompt = prompt_ids,
                     .chosen = chosen_ids,
                     .rejected = rejected_ids,
                     .prompt_len = 7,
                     .chosen_len = 6,
                     .rejected_len = 4,
                     .chosen_terminal = true,
                     .rejected_terminal = false,
                     .label_start = label_start,
                     .line = 1};
}

static qa_pair_step *new_step(qa_fixture *fixture, const qa_objective *objective, bool backward, bool full) {
    qa_error err = {0};
    qa_pair_step *step = NULL;
    const qa_pair_limits limits = {.max_prompt = 10, .max_response = 9, .backward = backward, .full = full};
    qa_expect_ok(qa_pair_step_create(&step, fixture->model, fixture->adapter, objective, limits, &err), &err);
    return step;
}

/* ---- the plain restatement ---- */

/* One whole sequence: log pi1, Qhat and Vhat at every position, in double. */
typedef struct plain {
    int32_t ids[MAX_LENGTH];
    size_t length, V;
    double *log_pi1, *q; /* [length x V] */
    double v[MAX_LENGTH], kl[MAX_LENGTH];
} plain;

static double log_sum_exp(const double *x, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += exp(x[i]);
    }
    return log(sum);
}

static void logits_of(plain *p, qa_fixture *fixture, double *z1, double *z) {
    qa_error err = {0};
    qa_pass *pass = NULL;
    size_t rows[MAX_LENGTH];
    qa_real *base = NULL, *adapted = NULL;
    const qa_pass_limits limits = {.max_rows = p->length, .max_states = p->length};
    const qa_packed packed = {.trunk = {p->ids, p->length}};
    for (size_t i = 0; i < p->length; i++) {
        rows[i] = i;
    }
    qa_expect_ok(qa_pass_create(&pass, fixture->model, fixture->adapter, limits, &err), &err);
    qa_expect_ok(qa_pass_forward(pass, &packed, rows, p->length, 0, &err), &err);
    ck_assert_uint_le(p->length, QA_HEAD_CHUNK);
    qa_pass_head(pass, 0, p->length, &base, &adapted);
    for (size_t i = 0; i < p->length * p->V; i++) {
        z1[i] = (double)base[i];
        z[i] = adapted == NULL ? (double)base[i] : (double)adapted[i];
    }
    qa_pass_free(pass);
}

static plain plain_side(qa_fixture *fixture, const qa_pair *pair, bool chosen, const qa_objective *o) {
    plain p = {.length = pair->prompt_len + (chosen ? pair->chosen_len : pair->rejected_len),
               .V = qa_model_get_info(fixture->model)->vocab_size};
    memcpy(p.ids, pair->prompt, pair->prompt_len * sizeof *p.ids);
    memcpy(p.ids + pair->prompt_len, chosen ? pair->chosen : pair->rejected,
           (p.length - pair->prompt_len) * sizeof *p.ids);
    double *z1 = calloc(p.length * p.V, sizeof *z1), *z = calloc(p.length * p.V, sizeof *z);
    ck_assert(z1 != NULL && z != NULL);
    logits_of(&p, fixture, z1, z);
    for (size_t s = 0; s < p.length; s++) {
        double row[64], *log_pi1 = z1 + s * p.V, *q = z + s * p.V;
        const double normaliser = log_sum_exp(log_pi1, p.V);
        for (size_t a = 0; a < p.V; a++) {
            q[a] -= o->q_parametrisation == QA_Q_RESIDUAL ? log_pi1[a] : 0.0;
            log_pi1[a] -= normaliser;
            row[a] = (q[a] + o->alpha_0 * log_pi1[a]) / o->alpha_tilde;
        }
        p.v[s] = o->alpha_tilde * log_sum_exp(row, p.V);
        for (size_t a = 0; a < p.V; a++) {
            const double log_pi = row[a] - p.v[s] / o->alpha_tilde;
            p.kl[s] += exp(log_pi) * (log_pi - log_pi1[a]);
        }
    }
    p.log_pi1 = z1;
    p.q = z;
    return p;
}

static void free_plain(plain *p) {
    free(p->log_pi1);
    free(p->q);
}

/* The counted transitions of a side as the method states them, position by position. */
typedef struct plain_score {
    size_t n;
    double q[MAX_LENGTH], log_pi1[MAX_LENGTH], v[MAX_LENGTH], log_pi[MAX_LENGTH], kl[MAX_LENGTH], reward[MAX_LENGTH];
    double ret;
} plain_score;

static void count(plain_score *score, const plain *p, const qa_objective *o, size_t position, int32_t action,
                  double subtracted, double weight) {
    const size_t n = score->n++, at = position * p->V + (size_t)action;
    score->q[n] = p->q[at];
    score->log_pi1[n] = p->log_pi1[at];
    score->v[n] = p->v[position];
    score->log_pi[n] = (p->q[at] + o->alpha_0 * p->log_pi1[at] - p->v[position]) / o->alpha_tilde;
    score->kl[n] = p->kl[position];
    score->reward[n] = p->q[at] - o->gamma * subtracted;
    score->ret += weight * score->reward[n];
}

static plain_score plain_theory(const plain *p, size_t prompt_len, bool terminal, const qa_objective *o) {
    plain_score score = {0};
    const double n = (double)(p->length - prompt_len);
    for (size_t t = prompt_len; t < p->length; t++) {
        const double v_next = terminal && t + 1 == p->length ? 0.0 : p->v[t];
        const double weight = pow(o->gamma, (double)(t - prompt_len)) / (o->length_normalisation ? n : 1.0);
        count(&score, p, o, t - 1, p->ids[t], v_next, weight);
    }
    return score;
}

static plain_score plain_published(const plain *p, size_t label_start, size_t padded, const qa_objective *o) {
    plain_score score = {0};
    for (size_t t = 0; t + 1 < padded; t++) {
        if (t < p->length && t >= label_start) {
            count(&score, p, o, t, t + 1 < p->length ? p->ids[t + 1] : PAD, p->v[t], 1.0 / (double)(padded - 1));
        }
    }
    return score;
}

static void expect_side(const qa_side_step *found, const plain_score *expected) {
    ck_assert_uint_eq(found->n, expected->n);
    if (expected->n == 0) {
        ck_assert_double_eq(found->ret, 0.0);
        return;
    }
    QA_ASSERT_DOUBLE("q", found->q, expected->q, expected->n, tolerance, tolerance);
    QA_ASSERT_DOUBLE("log_pi1", found->log_pi1, expected->log_pi1, expected->n, tolerance, 0.0);
    QA_ASSERT_DOUBLE("v", found->v, expected->v, expected->n, tolerance, tolerance);
    QA_ASSERT_DOUBLE("log_pi", found->log_pi, expected->log_pi, expected->n, tolerance, 0.0);
    QA_ASSERT_DOUBLE("kl", found->kl, expected->kl, expected->n, tolerance, tolerance);
    QA_ASSERT_DOUBLE("reward", found->reward, expected->reward, expected->n, tolerance, tolerance);
    QA_ASSERT_DOUBLE("return", &found->ret, &expected->ret, 1, tolerance, tolerance);
}

static void expect_full(const qa_side_step *found, const plain *p, size_t label_start) {
    const size_t first = label_start - 1;
    ck_assert_uint_eq(found->states, p->length - first);
    QA_ASSERT_DOUBLE("full q", found->full_q, p->q + first * p->V, found->states * p->V, tolerance, tolerance);
    QA_ASSERT_DOUBLE("full log_pi1", found->full_log_pi1, p->log_pi1 + first * p->V, found->states * p->V, tolerance,
                     0.0);
    QA_ASSERT_DOUBLE("full v", found->state_v, p->v + first, found->states, tolerance, tolerance);
}

/* Runs the pair in every way that a step can be made and compares each with the restatement. */
static void check_pair(qa_fixture *fixture, const qa_pair *pair, const qa_objective *o, size_t padded) {
    qa_error err = {0};
    for (int way = 0; way < 3; way++) {
        const bool full = way == 1, backward = way == 2 && fixture->adapter != NULL;
        qa_pair_step *step = new_step(fixture, o, backward, full);
        qa_expect_ok(qa_pair_step_forward(step, pair, &(qa_pair_visit){.padded_length = padded}, &err), &err);
        double ret[QA_SIDES];
        for (size_t s = 0; s < QA_SIDES; s++) {
            plain p = plain_side(fixture, pair, s == QA_CHOSEN, o);
            const bool terminal = s == QA_CHOSEN ? pair->chosen_terminal : pair->rejected_terminal;
            const plain_score expected = o->kind == QA_THEORY ? plain_theory(&p, pair->prompt_len, terminal, o)
                                                              : plain_published(&p, pair->label_start, padded, o);
            expect_side(qa_pair_step_side(step, s), &expected);
            if (full) {
                expect_full(qa_pair_step_side(step, s), &p,
                            o->kind == QA_THEORY ? pair->prompt_len : pair->label_start);
            }
            ret[s] = expected.ret;
            free_plain(&p);
        }
        ck_assert_double_eq_tol(qa_pair_step_logit(step), ret[0] - ret[1],
                                tolerance * (1.0 + fabs(ret[0]) + fabs(ret[1])));
        qa_pair_step_free(step);
    }
}

static void check_all_objectives(qa_fixture *fixture, const qa_pair *pair) {
    for (int q = QA_Q_LOGITS; q <= QA_Q_RESIDUAL; q++) {
        qa_objective theory = qa_training_objective(QA_THEORY, (qa_q_parametrisation)q);
        const qa_objective published = qa_training_objective(QA_PUBLISHED, (qa_q_parametrisation)q);
        check_pair(fixture, pair, &theory, 0);
        theory.length_normalisation = true;
        check_pair(fixture, pair, &theory, 0);
        check_pair(fixture, pair, &published, qa_pair_longest_row(pair)); /* the pair is the longest of its rows */
        check_pair(fixture, pair, &published, 20);                        /* it is not */
    }
}

START_TEST(equals_whole_sequences) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    const qa_pair pair = example(7);
    check_all_objectives(&fixture, &pair);
    qa_fixture_close(&fixture);
}
END_TEST

/* The published data's label boundary inside the prompt: states of the prompt are shared by both sides. */
START_TEST(label_boundary_inside_the_prompt) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    for (size_t label_start = 1; label_start < 7; label_start += 2) {
        const qa_pair pair = example(label_start);
        check_all_objectives(&fixture, &pair);
    }
    qa_fixture_close(&fixture);
}
END_TEST

#define SHAPE                                                                                                          \
    "\"bos_token_id\": 1, \"eos_token_id\": 2, \"hidden_size\": 16, \"intermediate_size\": 20, "                       \
    "\"num_hidden_layers\": 2, \"vocab_size\": 31, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "

/* What the head or the rotary embedding of a family has beyond Llama's. The last two: the chosen row is above 12
 * tokens, the rejected one not, so that they share no row of the prompt; and every length above 8 has angles of its
 * own. */
static const char *const families[] = {
    "{\"architectures\": [\"Gemma2ForCausalLM\"], \"model_type\": \"gemma2\", " SHAPE
    "\"head_dim\": 6, \"query_pre_attn_scalar\": 9, \"attn_logit_softcapping\": 2.0, \"final_logit_softcapping\": 3.0, "
    "\"hidden_activation\": \"gelu_pytorch_tanh\", \"sliding_window\": 3, \"max_position_embeddings\": 64}",
    "{\"architectures\": [\"GraniteForCausalLM\"], \"model_type\": \"granite\", " SHAPE
    "\"embedding_multiplier\": 3.0, \"attention_multiplier\": 0.2, \"residual_multiplier\": 0.3, "
    "\"logits_scaling\": 0.5, \"max_position_embeddings\": 64}",
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", " SHAPE
    "\"max_position_embeddings\": 64, \"rope_parameters\": {\"rope_type\": \"longrope\", \"rope_theta\": 100.0, "
    "\"original_max_position_embeddings\": 12, \"short_factor\": [1, 1.1], \"long_factor\": [1.5, 2.5]}}",
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", " SHAPE
    "\"max_position_embeddings\": 8, \"rope_parameters\": {\"rope_type\": \"dynamic\", \"rope_theta\": 100.0, "
    "\"factor\": 4.0}}",
};
enum { N_FAMILIES = sizeof families / sizeof *families };

START_TEST(families_equal_whole_sequences) {
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_of(families[_i], &lora, 2);
    for (size_t label_start = 3; label_start <= 7; label_start += 4) {
        const qa_pair pair = example(label_start);
        check_all_objectives(&fixture, &pair);
    }
    qa_fixture_close(&fixture);
}
END_TEST

/* Without an adapter Qhat is the base model's logits, or 0. */
START_TEST(the_base_model_alone) {
    const tiny_model_options model = tiny_model_defaults();
    qa_fixture fixture = qa_fixture_open(&model, NULL, 2);
    const qa_pair pair = example(7);
    check_all_objectives(&fixture, &pair);
    qa_fixture_close(&fixture);
}
END_TEST

/* B = 0, residual, alpha_0 = alpha_tilde: the policy is pi1, every reward is 0, the loss is log 2. */
START_TEST(a_fresh_residual_adapter_changes_nothing) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    qa_training_fresh_adapter(&fixture, &lora, 3);
    const qa_objective objective = {
        .q_parametrisation = QA_Q_RESIDUAL, .alpha_tilde = 1.0, .alpha_0 = 1.0, .gamma = 0.9, .beta = 0.1};
    const qa_pair pair = example(7);
    qa_pair_step *step = new_step(&fixture, &objective, false, false);
    qa_error err = {0};
    qa_expect_ok(qa_pair_step_forward(step, &pair, &(qa_pair_visit){0}, &err), &err);
    const double eps = tolerance / 10;
    for (size_t s = 0; s < QA_SIDES; s++) {
        const qa_side_step *side = qa_pair_step_side(step, s);
        for (size_t t = 0; t < side->n; t++) {
            ck_assert_double_eq_tol(side->q[t], 0.0, eps); /* the two streams may round differently */
            ck_assert_double_eq_tol(side->reward[t], 0.0, eps);
            ck_assert_double_eq_tol(side->kl[t], 0.0, eps);
            ck_assert_double_eq_tol(side->log_pi[t], side->log_pi1[t], eps);
        }
    }
    const qa_divisors divisors = {.pairs = 1.0, .counted = 10.0};
    ck_assert_double_eq_tol(qa_pair_step_loss(step, &divisors).pref, log(2.0), eps);
    ck_assert_double_eq_tol(qa_pair_step_loss(step, &divisors).reg, 0.0, eps);
    qa_pair_step_free(step);
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- gradients ---- */

/* A batch of pairs whose loss and gradient are taken together. */
typedef struct batch {
    qa_pair_step *step;
    qa_pair pairs[3];
    uint64_t keys[3];
    qa_divisors divisors;
} batch;

static batch new_batch(qa_fixture *fixture, const qa_objective *o, size_t label_start, uint64_t key) {
    batch b = {.pairs = {example(label_start), example(label_start), example(label_start)}};
    b.step = new_step(fixture, o, true, false);
    b.pairs[1].chosen_len = 1; /* a response of one token */
    b.pairs[1].chosen_terminal = false;
    b.pairs[2].prompt = rejected_ids;
    b.pairs[2].prompt_len = 4;
    b.pairs[2].label_start = label_start < 4 ? label_start : 4;
    b.pairs[2].rejected_terminal = true;
    b.divisors = (qa_divisors){.pairs = 3.0, .padded_length = 13};
    for (size_t i = 0; i < 3; i++) {
        b.divisors.counted += (double)qa_pair_counted(&b.pairs[i], o, b.divisors.padded_length);
        b.keys[i] = key == 0 ? 0 : key + i;
    }
    return b;
}

static void forward(batch *b, size_t i) {
    qa_error err = {0};
    qa_expect_ok(qa_pair_step_forward(
                     b->step, &b->pairs[i],
                     &(qa_pair_visit){.padded_length = b->divisors.padded_length, .dropout_key = b->keys[i]}, &err),
                 &err);
}

static double batch_loss(void *context) {
    batch *b = context;
    double loss = 0.0;
    for (size_t i = 0; i < 3; i++) {
        forward(b, i);
        const qa_pair_loss share = qa_pair_step_loss(b->step, &b->divisors);
        loss += share.pref + share.reg;
    }
    return loss;
}

static void batch_gradient(batch *b, qa_real *gradient) {
    for (size_t i = 0; i < 3; i++) {
        forward(b, i);
        qa_pair_step_backward(b->step, gradient, &b->divisors);
    }
}

/* Not every layer has every branch; ranks 3, 5 and 1, scales of their own. */
static const char uneven[] =
    "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 5, \"target_modules\": [\"q_proj\", \"down_proj\", "
    "\"model.layers.0.mlp.up_proj\", \"model.layers.0.self_attn.o_proj\"], \"layers_to_transform\": [1], "
    "\"rank_pattern\": {\"down_proj\": 5, \"up_proj\": 1}, \"alpha_pattern\": {\"q_proj\": 2.5}}";
enum { UNEVEN_TENSORS = 8 };

/* The same adapter with every rank 5, every scale 1 and every branch there: rows and columns of zeros, B times the
 * scale. even[] gets its parameters, or with `gather` uneven's gradient is taken out of even's. */
static void pad(const qa_adapter *from, const qa_adapter *to, const qa_real *even, qa_real *out, bool gather) {
    for (size_t i = 0; i < from->layers * QA_TARGETS; i++) {
        const qa_branch_place *a = &from->places[i], *b = &to->places[i];
        for (size_t r = 0; a->present && r < a->rank; r++) {
            for (size_t j = 0; j < a->in; j++) {
                const size_t here = a->a + r * a->in + j, there = b->a + r * b->in + j;
                out[gather ? here : there] = gather ? even[there] : from->parameters[here];
            }
            for (size_t j = 0; j < a->out; j++) {
                const size_t here = a->b + j * a->rank + r, there = b->b + j * b->rank + r;
                out[gather ? here : there] = (qa_real)a->scale * (gather ? even[there] : from->parameters[here]);
            }
        }
    }
}

START_TEST(an_uneven_adapter_is_an_even_one_with_zeros) {
    const tiny_model_options model = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    lora.rank = 5;
    const qa_objective objective = qa_training_objective(QA_THEORY, QA_Q_RESIDUAL);
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2), padded = qa_fixture_open(&model, &lora, 2);
    qa_bag bag = qa_bag_open(1);
    qa_fixture_adapt(&fixture, uneven);
    qa_real *found = qa_bag_zeros(&bag, fixture.adapter->count), *expected = qa_bag_zeros(&bag, fixture.adapter->count);
    qa_real *even = qa_bag_zeros(&bag, padded.adapter->count);
    memset(padded.adapter->parameters, 0, padded.adapter->count * sizeof(qa_real));
    pad(fixture.adapter, padded.adapter, NULL, padded.adapter->parameters, false);
    batch one = new_batch(&fixture, &objective, 7, 0), other = new_batch(&padded, &objective, 7, 0);
    ck_assert_double_eq_tol(batch_loss(&one), batch_loss(&other), tolerance);
    batch_gradient(&one, found);
    batch_gradient(&other, even);
    pad(fixture.adapter, padded.adapter, even, expected, true);
    QA_ASSERT_REALS("gradient", found, expected, fixture.adapter->count, tolerance, 0.0);
    qa_pair_step_free(one.step);
    qa_pair_step_free(other.step);
    qa_bag_close(&bag);
    qa_fixture_close(&fixture);
    qa_fixture_close(&padded);
}
END_TEST

#ifdef QA_F64
/* Every LoRA tensor, at most 10 elements each. Observed: 2e-8 of the tensor's largest derivative. */
static void check_gradient_of(qa_fixture *fixture, const qa_objective *o, size_t label_start, uint64_t key) {
    qa_bag bag = qa_bag_open(1);
    qa_real *gradient = qa_bag_zeros(&bag, fixture->adapter->count);
    batch b = new_batch(fixture, o, label_start, key);
    batch_gradient(&b, gradient);
    for (size_t t = 0; t < fixture->adapter->n_tensors; t++) {
        const qa_adapter_tensor *tensor = &fixture->adapter->tensors[t];
        QA_ASSERT_GRADIENT(tensor->name, fixture->adapter->parameters + tensor->offset, tensor->rows * tensor->columns,
                           gradient + tensor->offset, batch_loss, &b, 1e-5, 1e-6, 10, t);
    }
    qa_pair_step_free(b.step);
    qa_bag_close(&bag);
}

static void check_gradient(const qa_objective *o, size_t label_start, double dropout, const char *config) {
    tiny_model_options model = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    lora.dropout = dropout;
    model.qkv_bias = true;
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    if (config != NULL) {
        qa_fixture_adapt(&fixture, config);
    }
    ck_assert_uint_eq(fixture.adapter->n_tensors,
                      config == NULL ? 2 * (QA_TARGET_DOWN + 1) * model.layers : UNEVEN_TENSORS);
    check_gradient_of(&fixture, o, label_start, dropout > 0.0 ? 77 : 0);
    qa_fixture_close(&fixture);
}

START_TEST(gradients_of_families) {
    const qa_lora_options lora = qa_fixture_lora();
    const qa_objective theory = qa_training_objective(QA_THEORY, QA_Q_RESIDUAL);
    const qa_objective published = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS);
    qa_fixture fixture = qa_fixture_of(families[_i], &lora, 1);
    check_gradient_of(&fixture, &theory, 7, 0);
    check_gradient_of(&fixture, &published, 3, 0);
    qa_fixture_close(&fixture);
}
END_TEST

START_TEST(gradients_by_central_differences) {
    const qa_objective_kind kind = _i % 2 == 0 ? QA_THEORY : QA_PUBLISHED;
    const qa_q_parametrisation q_parametrisation = _i / 2 % 2 == 0 ? QA_Q_LOGITS : QA_Q_RESIDUAL;
    const qa_objective objective = qa_training_objective(kind, q_parametrisation);
    check_gradient(&objective, 7, 0.0, NULL);
}
END_TEST

START_TEST(gradients_with_length_normalisation) {
    qa_objective objective = qa_training_objective(QA_THEORY, QA_Q_RESIDUAL);
    objective.length_normalisation = true;
    check_gradient(&objective, 7, 0.0, NULL);
}
END_TEST

START_TEST(gradients_with_the_label_boundary_inside_the_prompt) {
    const qa_objective objective = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS);
    check_gradient(&objective, 3, 0.0, NULL);
}
END_TEST

START_TEST(gradients_of_an_uneven_adapter) {
    const qa_objective objective = qa_training_objective(QA_THEORY, QA_Q_RESIDUAL);
    check_gradient(&objective, 7, 0.0, uneven);
}
END_TEST

START_TEST(gradients_with_dropout) {
    const qa_objective objective = qa_training_objective(QA_THEORY, QA_Q_LOGITS);
    check_gradient(&objective, 7, 0.3, NULL);
}
END_TEST
#endif

/* Dropout is off for key 0 and a function of the key else. */
START_TEST(dropout_depends_on_the_key_alone) {
    const tiny_model_options model = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    const qa_objective objective = qa_training_objective(QA_THEORY, QA_Q_LOGITS);
    const uint64_t keys[] = {0, 5, 6, 5, 0};
    double losses[5];
    lora.dropout = 0.4;
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    batch b = new_batch(&fixture, &objective, 7, 0);
    for (size_t i = 0; i < 5; i++) {
        for (size_t j = 0; j < 3; j++) {
            b.keys[j] = keys[i];
        }
        losses[i] = batch_loss(&b);
    }
    ck_assert_double_eq(losses[0], losses[4]);
    ck_assert_double_eq(losses[1], losses[3]);
    ck_assert_double_ne(losses[0], losses[1]);
    ck_assert_double_ne(losses[1], losses[2]);
    qa_pair_step_free(b.step);
    qa_fixture_close(&fixture);
}
END_TEST

/* Published: rows of the padded length whose only response token is the last have no counted transition. */
START_TEST(a_pair_without_counted_transitions) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    const qa_objective objective = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS);
    qa_pair pair = example(7);
    pair.chosen_len = pair.rejected_len = 1;
    qa_bag bag = qa_bag_open(1);
    qa_real *gradient = qa_bag_zeros(&bag, fixture.adapter->count);
    qa_pair_step *step = new_step(&fixture, &objective, true, false);
    qa_error err = {0};
    qa_expect_ok(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.padded_length = 8}, &err), &err);
    const qa_divisors divisors = {.pairs = 1.0, .counted = 0.0, .padded_length = 8};
    ck_assert_double_eq(qa_pair_step_logit(step), 0.0);
    ck_assert_double_eq_tol(qa_pair_step_loss(step, &divisors).pref, log(2.0), 1e-15);
    ck_assert_double_eq(qa_pair_step_loss(step, &divisors).reg, 0.0);
    qa_pair_step_backward(step, gradient, &divisors);
    for (size_t i = 0; i < fixture.adapter->count; i++) {
        ck_assert_double_eq((double)gradient[i], 0.0);
    }
    qa_pair_step_free(step);
    qa_bag_close(&bag);
    qa_fixture_close(&fixture);
}
END_TEST

/* One side counted, the other not. */
START_TEST(a_side_without_counted_transitions) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    const qa_objective objective = qa_training_objective(QA_PUBLISHED, QA_Q_RESIDUAL);
    qa_pair pair = example(7);
    pair.rejected_len = pair.chosen_len;
    pair.rejected = chosen_ids;
    pair.chosen = rejected_ids;
    pair.label_start = 7;
    pair.prompt_len = 7;
    pair.chosen_len = 1;
    check_pair(&fixture, &pair, &objective, qa_pair_longest_row(&pair));
    pair.rejected_len = 1; /* both rows as long as the padded one */
    check_pair(&fixture, &pair, &objective, 8);
    qa_fixture_close(&fixture);
}
END_TEST

/* The number of threads changes no bit. */
START_TEST(threads_change_nothing) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    const qa_objective objective = qa_training_objective(QA_THEORY, QA_Q_LOGITS);
    qa_bag bag = qa_bag_open(1);
    qa_real *gradient[2];
    double loss[2];
    size_t count = 0;
    for (size_t i = 0; i < 2; i++) {
        qa_fixture fixture = qa_fixture_open(&model, &lora, i == 0 ? 1 : 3);
        count = fixture.adapter->count;
        gradient[i] = qa_bag_zeros(&bag, count);
        batch b = new_batch(&fixture, &objective, 7, 0);
        batch_gradient(&b, gradient[i]);
        loss[i] = batch_loss(&b);
        qa_pair_step_free(b.step);
        qa_fixture_close(&fixture);
    }
    ck_assert_double_eq(loss[0], loss[1]);
    ck_assert_int_eq(memcmp(gradient[0], gradient[1], count * sizeof *gradient[0]), 0);
    qa_bag_close(&bag);
}
END_TEST

/* Asking where the time goes changes no bit, and every part of a pair is heard of; the optimiser has none in it. */
START_TEST(a_profile_changes_nothing) {
    const tiny_model_options model = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    lora.dropout = 0.3;
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    const qa_objective objective = qa_training_objective(QA_THEORY, QA_Q_RESIDUAL);
    const size_t count = fixture.adapter->count;
    qa_bag bag = qa_bag_open(1);
    qa_real *gradient[2] = {qa_bag_zeros(&bag, count), qa_bag_zeros(&bag, count)};
    double loss[2];
    qa_profile profile = {0};
    batch b = new_batch(&fixture, &objective, 7, 0);
    for (size_t i = 0; i < 2; i++) {
        qa_pool_profile(fixture.context->pool, i == 0 ? NULL : &profile);
        for (size_t j = 0; j < 3; j++) {
            b.keys[j] = 5 + j;
        }
        batch_gradient(&b, gradient[i]);
        loss[i] = batch_loss(&b);
    }
    qa_pool_profile(fixture.context->pool, NULL);
    ck_assert_double_eq(loss[0], loss[1]);
    ck_assert_int_eq(memcmp(gradient[0], gradient[1], count * sizeof *gradient[0]), 0);
    for (int part = 0; part < QA_PARTS; part++) {
        ck_assert_msg((profile.seconds[part] > 0.0) == (part != QA_PART_OPTIMISER), "part %d: %g s", part,
                      profile.seconds[part]);
    }
    qa_pair_step_free(b.step);
    qa_bag_close(&bag);
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- errors ---- */

START_TEST(errors) {
    tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    const qa_objective published = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS);
    qa_pair_step *step = new_step(&fixture, &published, false, false);
    qa_error err = {0};
    qa_pair pair = example(7);
    qa_expect_error(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.padded_length = 12}, &err), QA_ERR_ARGUMENT,
                    &err, "padded length 12");
    pair.label_start = 8;
    qa_expect_error(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.padded_length = 13}, &err), QA_ERR_ARGUMENT,
                    &err, "label_start");
    pair.label_start = 0;
    qa_expect_error(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.padded_length = 13}, &err), QA_ERR_ARGUMENT,
                    &err, "label_start");
    pair = example(7);
    pair.prompt_len = 11;
    qa_expect_error(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.padded_length = 20}, &err), QA_ERR_LIMIT, &err,
                    "11");
    pair = example(7);
    pair.rejected_len = 10;
    qa_expect_error(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.padded_length = 20}, &err), QA_ERR_LIMIT, &err,
                    "10");
    pair.rejected_len = 0;
    qa_expect_error(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.padded_length = 20}, &err), QA_ERR_ARGUMENT,
                    &err, "at least one token");
    qa_pair_step_free(step);
    const qa_pair_limits few_rows = {.max_prompt = 10, .max_response = 9, .max_rows = 16};
    qa_expect_ok(qa_pair_step_create(&step, fixture.model, fixture.adapter, &published, few_rows, &err), &err);
    pair = example(7); /* 17 rows */
    qa_expect_error(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.padded_length = 13}, &err), QA_ERR_LIMIT, &err,
                    "17 tokens");
    pair.rejected_len--;
    qa_expect_ok(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.padded_length = 13}, &err), &err);
    qa_pair_step_free(step);
    qa_fixture_close(&fixture);

    model.eos = false;
    fixture = qa_fixture_open(&model, &lora, 1);
    const qa_pair_limits limits = {.max_prompt = 4, .max_response = 4};
    qa_expect_error(qa_pair_step_create(&step, fixture.model, fixture.adapter, &published, limits, &err),
                    QA_ERR_UNSUPPORTED, &err, "eos_token_id");
    ck_assert_ptr_null(step);
    const qa_objective theory = qa_training_objective(QA_THEORY, QA_Q_LOGITS);
    const qa_pair_limits nothing = {.max_prompt = 4}, huge = {.max_prompt = 4, .max_response = (size_t)-1 / 2};
    qa_expect_error(qa_pair_step_create(&step, fixture.model, fixture.adapter, &theory, nothing, &err), QA_ERR_ARGUMENT,
                    &err, "no workspace");
    ck_assert_int_ne((int)qa_pair_step_create(&step, fixture.model, fixture.adapter, &theory, huge, &err), QA_OK);
    ck_assert_ptr_null(step);
    qa_fixture_close(&fixture);
}
END_TEST

/* Vhat overflows where the adapter's logits do: the error names quantity and side. */
START_TEST(a_value_that_is_not_finite) {
    const tiny_model_options model = tiny_model_defaults();
    qa_fixture fixture = qa_fixture_open(&model, NULL, 1);
    const qa_objective objective = {.q_parametrisation = QA_Q_LOGITS, .alpha_tilde = 1.0, .alpha_0 = 1e308, .gamma = 1};
    qa_pair_step *step = new_step(&fixture, &objective, false, false);
    const qa_pair pair = example(7);
    qa_error err = {0};
    const qa_status status = qa_pair_step_forward(step, &pair, &(qa_pair_visit){0}, &err);
    qa_expect_error(status, QA_ERR_NAN, &err, "chosen");
    qa_expect_error(status, QA_ERR_NAN, &err, "Vhat");
    qa_pair_step_free(step);
    qa_fixture_close(&fixture);
}
END_TEST

Suite *train_pair_step_suite(void);
Suite *train_pair_step_suite(void) {
    Suite *suite = suite_create("train_pair_step");
    TCase *tcase = tcase_create("pair_step");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, equals_whole_sequences);
    tcase_add_loop_test(tcase, families_equal_whole_sequences, 0, N_FAMILIES);
    tcase_add_test(tcase, label_boundary_inside_the_prompt);
    tcase_add_test(tcase, the_base_model_alone);
    tcase_add_test(tcase, a_fresh_residual_adapter_changes_nothing);
#ifdef QA_F64
    tcase_add_loop_test(tcase, gradients_by_central_differences, 0, 4);
    tcase_add_loop_test(tcase, gradients_of_families, 0, N_FAMILIES);
    tcase_add_test(tcase, gradients_with_length_normalisation);
    tcase_add_test(tcase, gradients_with_the_label_boundary_inside_the_prompt);
    tcase_add_test(tcase, gradients_of_an_uneven_adapter);
    tcase_add_test(tcase, gradients_with_dropout);
#endif
    tcase_add_test(tcase, an_uneven_adapter_is_an_even_one_with_zeros);
    tcase_add_test(tcase, dropout_depends_on_the_key_alone);
    tcase_add_test(tcase, a_pair_without_counted_transitions);
    tcase_add_test(tcase, a_side_without_counted_transitions);
    tcase_add_test(tcase, threads_change_nothing);
    tcase_add_test(tcase, a_profile_changes_nothing);
    tcase_add_test(tcase, errors);
    tcase_add_test(tcase, a_value_that_is_not_finite);
    suite_add_tcase(suite, tcase);
    return suite;
}
