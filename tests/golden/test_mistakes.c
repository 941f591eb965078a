/* Every known mistake is diagnosed as that mistake.
 *
 * The candidates do not come from golden_run. Q-values, log pi1 and logits are the product's own (model/pass.h through
 * the scorer, in the build's precision), of a model, adapter or pairs that were altered where the mistake is one of
 * those (rows of q_proj and k_proj put in another order make RoPE interleaved...); the equations, right or wrong, are
 * written out once more below, from the table of docs/golden.md. */
#include "arch/families.h"
#include "base/checked.h"
#include "qadapter/train.h"
#include "support/fixture.h"
#include "support/golden.h"
#include "support/sample.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call) qa_expect_ok((call), &err)
enum { MAX_PAIRS = 3, SIDES = 2, SIDES_AND_BASE = 3, LEAST_BUNDLES = 3, ENOUGH_BUNDLES = 5, STRIDE = 13 };

/* ---- what the equations do otherwise ---- */

typedef enum divide_by { BY_RIGHT, BY_PADDED_1, BY_PADDED, BY_OWN_1, BY_COUNT, BY_NOTHING } divide_by;

typedef struct how {
    bool value_elsewhere, late, early, pad, no_pad, gamma_from_1, classes, raw_log_pi1, logits_in_v, logits_in_v_only;
    divide_by divide;
    bool all_end, unscaled, log_softmax, of_pairs, of_responses, whole, sum, sums, gamma_from_prompt, gamma_from_state;
} how;

/* One side: S + 1 states, the last of them after a padding token. */
typedef struct restated_side {
    int32_t *ids; /* [T + 1] */
    size_t T, P, S;
    bool terminal;
    double *q, *log_pi1, *z1; /* [(S + 1) x V] */
    double *v, *reward, *log_pi;
    size_t n;
    double ret;
} restated_side;

typedef struct method {
    const qa_golden_options *options;
    size_t V, pairs;
    int32_t pad;
    restated_side sides[MAX_PAIRS][SIDES];
} method;

/* ---- the product's numbers ---- */

static void write_ids(FILE *to, const char *key, const int32_t *ids, size_t n, const int32_t *more) {
    fprintf(to, "\"%s\": [", key);
    for (size_t i = 0; i < n; i++) {
        fprintf(to, "%s%d", i == 0 ? "" : ", ", (int)ids[i]);
    }
    if (more != NULL) {
        fprintf(to, ", %d", (int)*more);
    }
    fprintf(to, "], ");
}

/* The pairs with one padding token behind every response and, if wanted, one more bos in front. */
static qa_pairs *extended_pairs(const qa_golden_bundle *b, bool bos, int32_t pad) {
    qa_error err = {0};
    const qa_model_info *info = qa_model_get_info(b->model);
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_join(dir, "pairs.jsonl");
    FILE *to = fopen(path, "w");
    ck_assert_ptr_nonnull(to);
    for (size_t p = 0; p < qa_pairs_count(b->pairs); p++) {
        const qa_pair *pair = qa_pairs_at(b->pairs, p);
        int32_t prompt[128];
        const size_t extra = bos ? 1 : 0;
        prompt[0] = info->bos_id;
        memcpy(prompt + extra, pair->prompt, pair->prompt_len * sizeof *prompt);
        fprintf(to, "{");
        write_ids(to, "prompt_ids", prompt, pair->prompt_len + extra, NULL);
        write_ids(to, "chosen_ids", pair->chosen, pair->chosen_len, &pad);
        write_ids(to, "rejected_ids", pair->rejected, pair->rejected_len, &pad);
        fprintf(to, "\"chosen_terminal\": false, \"rejected_terminal\": false}\n");
    }
    ck_assert_int_eq(fclose(to), 0);
    qa_pairs *pairs = NULL;
    const qa_pairs_options options = {.vocab_size = info->vocab_size, .max_length = 512, .strict = true};
    MUST(qa_pairs_load(&pairs, path, NULL, &options, &err));
    free(path);
    qa_tempdir_remove(dir);
    return pairs;
}

static double *copy(const double *values, size_t n) {
    double *to = qa_alloc_array(n, sizeof *to);
    ck_assert_ptr_nonnull(to);
    if (values != NULL) {
        memcpy(to, values, n * sizeof *to);
    }
    return to;
}

static void take_side(restated_side *side, const qa_pair *pair, bool chosen, const qa_side_score *adapted,
                      const qa_side_score *base, size_t V) {
    const size_t response = chosen ? pair->chosen_len : pair->rejected_len;
    side->T = pair->prompt_len + response - 1;
    side->P = pair->prompt_len;
    side->S = response;
    ck_assert_uint_eq(adapted->states, side->S + 1);
    side->ids = qa_alloc_array(side->T + 1, sizeof *side->ids);
    ck_assert_ptr_nonnull(side->ids);
    memcpy(side->ids, pair->prompt, side->P * sizeof *side->ids);
    memcpy(side->ids + side->P, chosen ? pair->chosen : pair->rejected, response * sizeof *side->ids);
    side->q = copy(adapted->full_q, (side->S + 1) * V);
    side->log_pi1 = copy(adapted->full_log_pi1, (side->S + 1) * V);
    side->z1 = copy(base->full_q, (side->S + 1) * V);
    side->v = copy(NULL, side->S + 1);
    side->reward = copy(NULL, side->S + 2);
    side->log_pi = copy(NULL, side->S + 2);
}

/* b: the bundle, possibly altered. swap: the sides change places. */
static void product_numbers(method *m, qa_golden_bundle *b, bool bos, bool swap, bool other_q) {
    qa_error err = {0};
    qa_scorer *adapted = NULL, *base = NULL;
    const qa_model_info *info = qa_model_get_info(b->model);
    *m = (method){
        .options = &b->options, .V = info->vocab_size, .pairs = qa_pairs_count(b->pairs), .pad = info->eos_ids[0]};
    ck_assert_uint_le(m->pairs, MAX_PAIRS);
    qa_pairs *pairs = extended_pairs(b, bos, m->pad);
    qa_objective objective = b->options.objective, logits = objective;
    objective.kind = logits.kind = QA_THEORY;
    logits.q_parametrisation = QA_Q_LOGITS;
    if (other_q) {
        objective.q_parametrisation = objective.q_parametrisation == QA_Q_LOGITS ? QA_Q_RESIDUAL : QA_Q_LOGITS;
    }
    const size_t prompt = qa_pairs_longest_prompt(pairs), response = qa_pairs_longest_response(pairs);
    MUST(qa_scorer_create(&adapted, b->model, b->adapter, &objective, prompt, response, true, &err));
    MUST(qa_scorer_create(&base, b->model, NULL, &logits, prompt, response, true, &err));
    for (size_t p = 0; p < m->pairs; p++) {
        const qa_pair *pair = qa_pairs_at(pairs, p), *own = qa_pairs_at(b->pairs, p);
        qa_pair_score a, z;
        MUST(qa_scorer_score(adapted, pair, 0, &a, &err));
        MUST(qa_scorer_score(base, pair, 0, &z, &err));
        restated_side *chosen = &m->sides[p][swap ? 1 : 0], *rejected = &m->sides[p][swap ? 0 : 1];
        take_side(chosen, pair, true, &a.chosen, &z.chosen, m->V);
        take_side(rejected, pair, false, &a.rejected, &z.rejected, m->V);
        chosen->terminal = own->chosen_terminal;
        rejected->terminal = own->rejected_terminal;
    }
    qa_scorer_free(adapted);
    qa_scorer_free(base);
    qa_pairs_free(pairs);
}

static void free_method(method *m) {
    for (size_t i = 0; i < m->pairs * SIDES; i++) {
        restated_side *side = &m->sides[i / SIDES][i % SIDES];
        free(side->ids);
        free(side->q);
        free(side->log_pi1);
        free(side->z1);
        free(side->v);
        free(side->reward);
        free(side->log_pi);
    }
}

/* ---- the equations ---- */

static double log_sum_exp(const double *x, const double *y, double weight, double temperature, size_t V) {
    double max = -INFINITY, sum = 0.0;
    for (size_t a = 0; a < V; a++) {
        max = fmax(max, x[a] + weight * y[a]);
    }
    for (size_t a = 0; a < V; a++) {
        sum += exp((x[a] + weight * y[a] - max) / temperature);
    }
    return max + temperature * log(sum);
}

/* Appends the transition from `state` (0: the prompt) by the token after it; value: a state, or -1 for 0. */
static void transition(const method *m, restated_side *side, size_t state, int value, const double *weighted) {
    const qa_objective *o = &m->options->objective;
    const int32_t action = side->ids[side->P + state];
    const size_t at = state * m->V + (size_t)action;
    side->reward[side->n] = side->q[at] - o->gamma * (value < 0 ? 0.0 : side->v[value]);
    side->log_pi[side->n] = (side->q[at] + o->alpha_0 * weighted[at] - side->v[state]) / o->alpha_tilde;
    side->n++;
}

/* Qhat of the adapted model's log-probabilities: less by the log-sum-exp of its logits, and in the residual
 * parametrisation more by that of the base model's. */
static void subtract_log_normaliser(const method *m, restated_side *side, size_t k) {
    const bool residual = m->options->objective.q_parametrisation == QA_Q_RESIDUAL;
    double *q = side->q + k * m->V, *z1 = side->z1 + k * m->V;
    const double shift =
        log_sum_exp(q, z1, residual ? 1.0 : 0.0, 1.0, m->V) - (residual ? log_sum_exp(z1, z1, 0.0, 1.0, m->V) : 0.0);
    for (size_t a = 0; a < m->V; a++) {
        q[a] -= shift;
    }
}

static void run_side(const method *m, restated_side *side, size_t L, const how *h) {
    const qa_objective *o = &m->options->objective;
    const bool theory = o->kind == QA_THEORY;
    const double *weighted = h->raw_log_pi1 || h->logits_in_v ? side->z1 : side->log_pi1;
    const double *in_v = h->logits_in_v_only ? side->z1 : weighted;
    for (size_t k = 0; k <= side->S; k++) {
        if (h->log_softmax) {
            subtract_log_normaliser(m, side, k);
        }
        side->v[k] = log_sum_exp(side->q + k * m->V, in_v + k * m->V, o->alpha_0, o->alpha_tilde, m->V);
        side->v[k] /= h->unscaled ? o->alpha_tilde : 1.0;
    }
    side->n = 0;
    const size_t responses = side->S - 1;
    size_t from = theory || h->early ? 0 : 1, to = theory ? responses : responses + (side->T < L && !h->no_pad ? 1 : 0);
    from += h->late ? 1 : 0;
    for (size_t k = from; k < to; k++) {
        const bool last = theory && k + 1 == responses && (side->terminal || h->all_end);
        const int right = theory ? (last ? -1 : (int)k + 1) : (int)k;
        transition(m, side, k, !h->value_elsewhere ? right : theory ? (int)k : (int)k + 1, weighted);
    }
    if (h->pad && side->T < L) {
        transition(m, side, responses, -1, weighted);
    }
    const double lengths[] = {[BY_RIGHT] = theory ? (o->length_normalisation ? (double)side->n : 1.0) : (double)(L - 1),
                              [BY_PADDED_1] = (double)(L - 1),
                              [BY_PADDED] = (double)L,
                              [BY_OWN_1] = (double)(side->T - 1),
                              [BY_COUNT] = (double)side->n,
                              [BY_NOTHING] = 1.0};
    side->ret = 0.0;
    for (size_t t = 0; t < side->n; t++) {
        const size_t before = h->gamma_from_1        ? 1
                              : h->gamma_from_prompt ? side->P
                              : h->gamma_from_state  ? side->P - 1
                                                     : 0;
        const double c = theory ? pow(o->gamma, (double)(t + before)) : 1.0;
        side->ret += c * side->reward[t] / lengths[h->divide];
    }
}

/* Means over [begin, end): the batch, or a micro-batch. */
static void add_losses(const method *m, size_t begin, size_t end, double batches, const how *h, double loss[2]) {
    double squares = 0.0, counted = 0.0, means = 0.0;
    for (size_t p = begin; p < end; p++) {
        const double z = (m->sides[p][0].ret - m->sides[p][1].ret) * (h->classes ? -1.0 : 1.0);
        loss[0] += (fmax(-z, 0.0) + log1p(exp(-fabs(z)))) / (h->sum || h->sums ? 1.0 : (double)(end - begin) * batches);
        double of_pair = 0.0;
        for (size_t i = 0; i < SIDES; i++) {
            double of_response = 0.0;
            for (size_t t = 0; t < m->sides[p][i].n; t++) {
                of_response += m->sides[p][i].reward[t] * m->sides[p][i].reward[t];
            }
            counted += (double)m->sides[p][i].n;
            squares += of_response;
            of_pair += of_response;
            means += h->of_responses ? of_response / (double)m->sides[p][i].n / SIDES : 0.0;
        }
        means += h->of_pairs ? of_pair / (double)(m->sides[p][0].n + m->sides[p][1].n) : 0.0;
    }
    const double mean = h->of_pairs || h->of_responses ? means / (double)(end - begin)
                        : h->sums                      ? squares * batches
                                                       : squares / counted;
    loss[1] += counted > 0.0 ? m->options->objective.beta * mean / batches : 0.0;
}

static void put_side(qa_golden_set *set, const method *m, size_t p, size_t i, const how *h) {
    const restated_side *side = &m->sides[p][i];
    double *ids = copy(NULL, side->T);
    char name[64];
    for (size_t t = 0; t < side->T; t++) {
        ids[t] = (double)side->ids[t];
    }
    const struct {
        const char *name;
        size_t n_dims, rows, columns;
        const double *values;
    } parts[] = {{"input_ids", 1, side->T, 0, ids},
                 {"log_pi1", 2, side->S, m->V, h->raw_log_pi1 ? side->z1 : side->log_pi1},
                 {"q", 2, side->S, m->V, side->q},
                 {"v", 1, side->S, 0, side->v},
                 {"reward", 1, side->n, 0, side->reward},
                 {"log_pi", 1, side->n, 0, side->log_pi},
                 {"return", 0, 0, 0, &side->ret}};
    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        (void)snprintf(name, sizeof name, "pair%zu.%s.%s", p, i == 0 ? "chosen" : "rejected", parts[k].name);
        qa_put(set, name, parts[k].n_dims, parts[k].rows, parts[k].columns, parts[k].values);
    }
    free(ids);
}

static void equations(qa_golden_set *set, method *m, const how *h) {
    const size_t micro = m->options->micro_batch == 0 ? m->pairs : m->options->micro_batch;
    const size_t group = m->options->objective.kind == QA_THEORY || h->whole ? m->pairs : micro;
    double loss[2] = {0.0, 0.0};
    for (size_t p = 0; p < m->pairs; p++) {
        size_t L = 0;
        for (size_t j = p / micro * micro; j < m->pairs && j < p / micro * micro + micro; j++) {
            for (size_t i = 0; i < SIDES; i++) {
                L = m->sides[j][i].T > L ? m->sides[j][i].T : L;
            }
        }
        for (size_t i = 0; i < SIDES; i++) {
            run_side(m, &m->sides[p][i], L, h);
            put_side(set, m, p, i, h);
        }
    }
    for (size_t begin = 0; begin < m->pairs; begin += group) {
        const size_t end = m->pairs - begin < group ? m->pairs : begin + group;
        add_losses(m, begin, end, (double)((m->pairs - 1) / group + 1), h, loss);
    }
    const double sum = loss[0] + loss[1];
    qa_put(set, "loss.pref", 0, 0, 0, &loss[0]);
    qa_put(set, "loss.reg", 0, 0, 0, &loss[1]);
    qa_put(set, "loss", 0, 0, 0, &sum);
}

/* ---- mistakes in the model ---- */

/* Row 2i becomes row i, row 2i + 1 becomes row i + h/2, in every head: the half-rotated pass then turns what were
 * neighbours. */
static void interleave(qa_real *rows, size_t heads, size_t h, size_t width) {
    qa_real *before = qa_alloc_array(h * width, sizeof *before);
    ck_assert_ptr_nonnull(before);
    for (size_t head = 0; head < heads; head++) {
        qa_real *of = rows + head * h * width;
        memcpy(before, of, h * width * sizeof *of);
        for (size_t i = 0; i < h; i++) {
            memcpy(of + (i / 2 + (i % 2) * (h / 2)) * width, before + i * width, width * sizeof *of);
        }
    }
    free(before);
}

/* False where that would have to be done to more than q_proj and k_proj. */
static bool interleave_rope(qa_golden_bundle *b) {
    const qa_config *config = &b->model->config;
    if (b->model->layers[0].norm[QA_NORM_Q].w != NULL || b->model->layers[0].linear[QA_TARGET_Q].out == 0) {
        return false;
    }
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        for (qa_target t = QA_TARGET_Q; t <= QA_TARGET_K; t++) {
            const size_t heads = t == QA_TARGET_Q ? config->num_attention_heads : config->num_key_value_heads;
            const qa_linear *linear = &b->model->layers[l].linear[t];
            const qa_branch_place *place = qa_adapter_place(b->adapter, l, t);
            interleave((qa_real *)(uintptr_t)linear->weight.real, heads, config->head_dim, linear->in);
            if (linear->bias != NULL) {
                interleave((qa_real *)(uintptr_t)linear->bias, heads, config->head_dim, 1);
            }
            if (place->present) {
                interleave(b->adapter->parameters + place->b, heads, config->head_dim, b->adapter->options.rank);
            }
        }
    }
    return true;
}

/* The product A^T B^T in place of B A, where it fits; false when it fits nowhere. */
static bool exchange_lora(qa_golden_bundle *b) {
    const size_t r = b->adapter->options.rank;
    bool any = false;
    for (size_t i = 0; i < b->adapter->layers * QA_TARGETS; i++) {
        const qa_branch_place *place = &b->adapter->places[i];
        const size_t n = place->in;
        if (!place->present || n != place->out) {
            continue;
        }
        qa_real *A = b->adapter->parameters + place->a, *B = b->adapter->parameters + place->b;
        double *old_a = copy(NULL, n * r), *old_b = copy(NULL, n * r);
        for (size_t j = 0; j < n * r; j++) {
            old_a[j] = (double)A[j];
            old_b[j] = (double)B[j];
        }
        for (size_t row = 0; row < n; row++) {
            for (size_t k = 0; k < r; k++) {
                B[row * r + k] = (qa_real)old_a[k * n + row];
                A[k * n + row] = (qa_real)old_b[row * r + k];
            }
        }
        free(old_a);
        free(old_b);
        any = true;
    }
    return any;
}

/* Gives every branch the scale. */
static void rescale(qa_adapter *adapter, double scale) {
    adapter->scale = scale;
    for (size_t i = 0; i < adapter->layers * QA_TARGETS; i++) {
        adapter->places[i].scale = scale;
    }
}

enum { WITHOUT_OFFSET, NO_HEAD_NORMS, HEAD_NORMS_BEHIND_ROPE, NORMS_OF_SUMS };

/* OLMo 2's layer, whose norms are those of the sums. */
static const qa_operation post_norm_operations[] = {
    QA_MAP_ROWS(QA_ROWS_Q, QA_ROWS_X, QA_TARGET_Q),
    QA_MAP_ROWS(QA_ROWS_K, QA_ROWS_X, QA_TARGET_K),
    QA_MAP_ROWS(QA_ROWS_V, QA_ROWS_X, QA_TARGET_V),
    QA_NORM_ROWS(QA_ROWS_Q2, QA_ROWS_Q, QA_NORM_Q),
    QA_NORM_ROWS(QA_ROWS_K2, QA_ROWS_K, QA_NORM_K),
    QA_ROPE_ROWS(QA_ROWS_Q2),
    QA_ROPE_ROWS(QA_ROWS_K2),
    QA_ATTEND(QA_ROWS_ATTENTION, QA_ROWS_Q2, QA_ROWS_K2, QA_ROWS_V),
    QA_MAP_ROWS(QA_ROWS_BRANCH, QA_ROWS_ATTENTION, QA_TARGET_O),
    QA_ADD_ROWS(QA_ROWS_BRANCH, QA_ROWS_X, QA_ROWS_BRANCH),
    QA_NORM_ROWS(QA_ROWS_MID, QA_ROWS_BRANCH, QA_NORM_POST),
    QA_MAP_ROWS(QA_ROWS_GATE, QA_ROWS_MID, QA_TARGET_GATE),
    QA_MAP_ROWS(QA_ROWS_UP, QA_ROWS_MID, QA_TARGET_UP),
    QA_GATE_ROWS(QA_ROWS_ACTIVATED, QA_ROWS_GATE, QA_ROWS_UP),
    QA_MAP_ROWS(QA_ROWS_BRANCH2, QA_ROWS_ACTIVATED, QA_TARGET_DOWN),
    QA_ADD_ROWS(QA_ROWS_BRANCH2, QA_ROWS_MID, QA_ROWS_BRANCH2),
    QA_NORM_ROWS(QA_ROWS_OUT, QA_ROWS_BRANCH2, QA_NORM_BEHIND_MLP),
};
static const qa_operation_list post_norm_layer = {post_norm_operations,
                                                  sizeof post_norm_operations / sizeof *post_norm_operations};

/* Qwen3's layer without its norms is Llama's, with them behind RoPE Hunyuan's. */
static bool other_norms(qa_golden_bundle *b, int variant) {
    qa_config *config = &b->model->config;
    const bool qwen3 = strcmp(config->family->model_type, "qwen3") == 0;
    switch (variant) {
    case WITHOUT_OFFSET: config->norm_offset = 0.0; return config->family->norm_offset != 0.0;
    case NO_HEAD_NORMS: config->layer = &qa_llama_layer; return qwen3;
    case HEAD_NORMS_BEHIND_ROPE: config->layer = qa_family_by_model_type("hunyuan_v1_dense")->layer; return qwen3;
    default: config->layer = &post_norm_layer; return strcmp(config->family->model_type, "olmo2") == 0;
    }
}

enum { ONE_KEY_MORE, ONE_KEY_LESS, ALL_KEYS, OTHER_THETA };

static bool other_window(qa_model *model, int variant) {
    qa_config *config = &model->config;
    const size_t window = config->sliding_window;
    config->sliding_window += variant == ONE_KEY_MORE ? 1 : 0;
    config->sliding_window -= variant == ONE_KEY_LESS ? 1 : 0;
    for (size_t l = 0; variant == ALL_KEYS && l < config->num_hidden_layers; l++) {
        config->layers[l] &= (uint8_t)~QA_LAYER_WINDOW;
    }
    if (variant == OTHER_THETA) {
        memcpy(model->rope_frequency[QA_ROPE_SLIDING], model->rope_frequency[QA_ROPE_FULL],
               config->rotary_dim / 2 * sizeof(double));
        return config->family->rope_by_kind;
    }
    return window > 0;
}

/* n rows of `width` numbers from `a` on, and as many from `b` on, change places. */
static void exchange_blocks(qa_real *rows, size_t a, size_t b, size_t n, size_t width) {
    for (size_t i = 0; i < n * width; i++) {
        const qa_real kept = rows[a * width + i];
        rows[a * width + i] = rows[b * width + i];
        rows[b * width + i] = kept;
    }
}

/* variant: gate and up, or k and v, in the weights and in B. */
static bool exchange_fused(qa_golden_bundle *b, int variant) {
    const qa_config *config = &b->model->config;
    const qa_target target = variant == 0 ? QA_TARGET_GATE_UP : QA_TARGET_QKV;
    const size_t n = variant == 0 ? config->intermediate_size : config->num_key_value_heads * config->head_dim;
    const size_t first = variant == 0 ? 0 : config->num_attention_heads * config->head_dim;
    if (b->model->layers[0].linear[target].out == 0) {
        return false;
    }
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        const qa_linear *linear = &b->model->layers[l].linear[target];
        const qa_branch_place *place = qa_adapter_place(b->adapter, l, target);
        exchange_blocks((qa_real *)(uintptr_t)linear->weight.real, first, first + n, n, linear->in);
        exchange_blocks(b->adapter->parameters + place->b, first, first + n, n, place->rank);
    }
    return true;
}

/* Alters the bundle; false where the mistake cannot be made. */
static bool alter(qa_golden_bundle *b, qa_golden_mistake mistake, int variant) {
    qa_adapter *adapter = b->adapter;
    const double alpha = adapter->options.alpha, r = (double)adapter->options.rank, before = adapter->scale;
    switch (mistake) {
    case QA_MISTAKE_ROPE: return interleave_rope(b);
    case QA_MISTAKE_NORMS: return other_norms(b, variant);
    case QA_MISTAKE_WINDOW: return other_window(b->model, variant);
    case QA_MISTAKE_FUSED: return exchange_fused(b, variant);
    case QA_MISTAKE_LORA_EXCHANGED: return exchange_lora(b);
    case QA_MISTAKE_LORA_SCALE: rescale(adapter, alpha); return adapter->scale != before;
    case QA_MISTAKE_LORA_RSLORA:
        rescale(adapter, adapter->options.use_rslora ? alpha / r : alpha / sqrt(r));
        return adapter->scale != before;
    case QA_MISTAKE_LORA_OFF: memset(adapter->parameters, 0, adapter->count * sizeof(qa_real)); return true;
    default: return true;
    }
}

/* ---- cases ---- */

typedef struct mistake_case {
    qa_golden_mistake mistake;
    const char *only; /* beginning of the names of the bundles on which it can be made; "": all */
    how how;
    int variant;    /* of what is altered */
    size_t bundles; /* that have what can be got wrong, where they are few */
} mistake_case;

static const mistake_case cases[] = {
    {QA_MISTAKE_BOS, "", {0}, 0, 0},
    {QA_MISTAKE_SIDES, "", {0}, 0, 0},
    {QA_MISTAKE_ROPE, "", {0}, 0, 0},
    {QA_MISTAKE_LOG_SOFTMAX, "", {.raw_log_pi1 = true}, 0, 0},
    {QA_MISTAKE_LORA_EXCHANGED, "", {0}, 0, 0},
    {QA_MISTAKE_LORA_SCALE, "", {0}, 0, 0},
    {QA_MISTAKE_LORA_RSLORA, "", {0}, 0, 0},
    {QA_MISTAKE_LORA_OFF, "", {0}, 0, 0},
    {QA_MISTAKE_PARAMETRISATION, "", {0}, 0, 0},
    {QA_MISTAKE_ALPHA_0, "", {.logits_in_v = true}, 0, 0},
    {QA_MISTAKE_ALPHA_0, "", {.logits_in_v_only = true}, 0, 0},
    {QA_MISTAKE_VALUE_STATE, "theory", {.value_elsewhere = true}, 0, 0},
    {QA_MISTAKE_VALUE_STATE, "published", {.value_elsewhere = true}, 0, 0},
    {QA_MISTAKE_MASK, "theory", {.late = true}, 0, 0},
    {QA_MISTAKE_MASK, "published", {.early = true}, 0, 0},
    {QA_MISTAKE_MASK, "published", {.late = true}, 0, 0},
    {QA_MISTAKE_PAD, "theory", {.pad = true}, 0, 0},
    {QA_MISTAKE_PAD, "published", {.no_pad = true}, 0, 0},
    {QA_MISTAKE_DIVISOR, "theory", {.divide = BY_PADDED_1}, 0, 0},
    {QA_MISTAKE_DIVISOR, "", {.divide = BY_PADDED}, 0, 0},
    {QA_MISTAKE_DIVISOR, "", {.divide = BY_OWN_1}, 0, 0},
    {QA_MISTAKE_DIVISOR, "published", {.divide = BY_COUNT}, 0, 0},
    {QA_MISTAKE_DIVISOR, "published", {.divide = BY_NOTHING}, 0, 0},
    {QA_MISTAKE_GAMMA_POWERS, "theory", {.gamma_from_1 = true}, 0, 0},
    {QA_MISTAKE_CLASSES, "", {.classes = true}, 0, 0},
    {QA_MISTAKE_CUT_OFF, "theory", {.all_end = true}, 0, 0},
    {QA_MISTAKE_VALUE_SCALE, "theory", {.unscaled = true}, 0, 0},
    {QA_MISTAKE_Q_LOG_SOFTMAX, "", {.log_softmax = true}, 0, 0},
    {QA_MISTAKE_MEANS, "", {.of_pairs = true}, 0, 0},
    {QA_MISTAKE_MEANS, "", {.of_responses = true}, 0, 0},
    {QA_MISTAKE_MEANS, "published", {.whole = true}, 0, 0},
    {QA_MISTAKE_SUM, "", {.sum = true}, 0, 0},
    {QA_MISTAKE_SUM, "", {.sums = true}, 0, 0},
    {QA_MISTAKE_GAMMA_PROMPT, "theory", {.gamma_from_prompt = true}, 0, 0},
    {QA_MISTAKE_GAMMA_PROMPT, "theory", {.gamma_from_state = true}, 0, 0},
    {QA_MISTAKE_NORMS, "", {0}, WITHOUT_OFFSET, 1},
    {QA_MISTAKE_NORMS, "", {0}, NO_HEAD_NORMS, 1},
    {QA_MISTAKE_NORMS, "", {0}, HEAD_NORMS_BEHIND_ROPE, 1},
    {QA_MISTAKE_NORMS, "", {0}, NORMS_OF_SUMS, 1},
    {QA_MISTAKE_WINDOW, "", {0}, ONE_KEY_MORE, 2},
    {QA_MISTAKE_WINDOW, "", {0}, ONE_KEY_LESS, 2},
    {QA_MISTAKE_WINDOW, "", {0}, ALL_KEYS, 2},
    {QA_MISTAKE_WINDOW, "", {0}, OTHER_THETA, 1},
    {QA_MISTAKE_FUSED, "", {0}, 0, 1},
    {QA_MISTAKE_FUSED, "", {0}, 1, 1},
};

/* Makes the mistake on a bundle and has it diagnosed. True when it was found, and nothing else. */
static bool diagnosed_alone(const mistake_case *expected, qa_context *context, const char *name) {
    qa_golden_bundle *right = qa_golden_open(context, name), *wrong = qa_golden_open(context, name);
    const unsigned bit = 1u << (unsigned)expected->mistake;
    bool alone = false;
    if (alter(wrong, expected->mistake, expected->variant)) {
        method m;
        qa_golden_set set = {0};
        product_numbers(&m, wrong, expected->mistake == QA_MISTAKE_BOS, expected->mistake == QA_MISTAKE_SIDES,
                        expected->mistake == QA_MISTAKE_PARAMETRISATION);
        equations(&set, &m, &expected->how);
        qa_golden_report report = qa_golden_report_of(right, &set, qa_real_dtype());
        if (report.failures > 0) { /* else the mistake changes nothing here, such as powers of gamma = 1 */
            ck_assert_msg((report.explained & bit) != 0, "%s on %s: %s", qa_golden_mistake_name(expected->mistake),
                          name, report.sentence);
            alone = report.explained == bit;
            if (!alone) {
                printf("golden %s on %s: %s\n", qa_golden_mistake_name(expected->mistake), name, report.sentence);
            }
        }
        qa_golden_report_free(&report);
        qa_golden_set_free(&set);
        free_method(&m);
    }
    qa_golden_bundle_close(right);
    qa_golden_bundle_close(wrong);
    return alone;
}

/* Bundles with larger vocabularies take most of the time and show nothing more. */
static bool is_large(const char *name) {
    return strcmp(name, "theory-long") == 0 || strcmp(name, "theory-text") == 0 || strcmp(name, "published-chat") == 0;
}

START_TEST(a_mistake_is_diagnosed) {
    qa_error err = {0};
    const mistake_case *expected = &cases[_i];
    qa_context *context = NULL;
    size_t alone = 0;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    for (size_t i = 0; i < qa_golden_suite_n && alone < ENOUGH_BUNDLES; i++) {
        const char *name = qa_golden_suite[((size_t)_i + STRIDE * i) % qa_golden_suite_n]; /* of all sorts */
        if (strncmp(name, expected->only, strlen(expected->only)) == 0 && !is_large(name)) {
            alone += diagnosed_alone(expected, context, name) ? 1 : 0;
        }
    }
    const size_t least = expected->how.whole ? 1 : expected->bundles > 0 ? expected->bundles : LEAST_BUNDLES;
    ck_assert_msg(alone >= least, "case %d, %s: told apart from every other mistake on %zu bundles only", _i,
                  qa_golden_mistake_name(expected->mistake), alone);
    qa_context_free(context);
}
END_TEST

/* Without a mistake the same route gives what the bundle has: else the test above would test its own errors. */
START_TEST(without_a_mistake_nothing_departs) {
    qa_error err = {0};
    qa_context *context = NULL;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    for (size_t i = 0; i < qa_golden_suite_n; i++) {
        qa_golden_bundle *bundle = qa_golden_open(context, qa_golden_suite[i]);
        method m;
        qa_golden_set set = {0};
        const how right = {.divide = BY_RIGHT};
        product_numbers(&m, bundle, false, false, false);
        equations(&set, &m, &right);
        qa_golden_report report = qa_golden_report_of(bundle, &set, qa_real_dtype());
        ck_assert_msg(report.failures == 0, "%s: %s", qa_golden_suite[i], report.sentence);
        qa_golden_report_free(&report);
        qa_golden_set_free(&set);
        free_method(&m);
        qa_golden_bundle_close(bundle);
    }
    qa_context_free(context);
}
END_TEST

/* Two mistakes at once: the first is named, and that it is not everything. */
START_TEST(a_second_mistake_is_noticed) {
    qa_error err = {0};
    qa_context *context = NULL;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    qa_golden_bundle *bundle = qa_golden_open(context, "theory-discounted");
    method m;
    qa_golden_set set = {0};
    const how two = {.value_elsewhere = true, .classes = true};
    product_numbers(&m, bundle, false, false, false);
    equations(&set, &m, &two);
    qa_golden_report report = qa_golden_report_of(bundle, &set, qa_real_dtype());
    ck_assert_uint_eq(report.explained, 0);
    ck_assert_uint_eq(report.partly, 1u << (unsigned)QA_MISTAKE_VALUE_STATE);
    ck_assert_ptr_nonnull(strstr(report.sentence, "second mistake"));
    ck_assert_ptr_nonnull(strstr(report.sentence, "loss.pref is not explained"));
    qa_golden_report_free(&report);
    qa_golden_set_free(&set);
    free_method(&m);
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
}
END_TEST

/* Where two mistakes give the same numbers the checker says both: without log_pi1 nothing tells them apart. */
START_TEST(coinciding_mistakes_are_both_named) {
    qa_error err = {0};
    qa_context *context = NULL;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    qa_golden_bundle *bundle = qa_golden_open(context, "theory-logits");
    method m;
    qa_golden_set set = {0}, rest = {0};
    const how logits = {.logits_in_v = true};
    product_numbers(&m, bundle, false, false, false);
    equations(&set, &m, &logits);
    for (size_t i = 0; i < set.n; i++) {
        const qa_golden_tensor *tensor = &set.tensors[i];
        if (tensor->kind != QA_GOLDEN_LOG_PI1) {
            qa_put(&rest, tensor->name, tensor->n_dims, tensor->shape[0], tensor->shape[1], tensor->values);
        }
    }
    qa_golden_report report = qa_golden_report_of(bundle, &rest, qa_real_dtype());
    ck_assert_uint_eq(report.explained, 1u << (unsigned)QA_MISTAKE_ALPHA_0 | 1u << (unsigned)QA_MISTAKE_LOG_SOFTMAX);
    ck_assert_ptr_nonnull(strstr(report.sentence, "or, which gives the same numbers here"));
    qa_golden_report_free(&report);
    qa_golden_set_free(&set);
    qa_golden_set_free(&rest);
    free_method(&m);
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
}
END_TEST

/* All rewards are listed, rightly; the mask that is off by one (or counts padding) touches only their sum. */
static void check_masked_sum(const how *wrong, qa_golden_mistake mistake) {
    qa_error err = {0};
    qa_context *context = NULL;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    qa_golden_bundle *bundle = qa_golden_open(context, "theory-discounted");
    method m;
    qa_golden_set set = {0}, listed = {0};
    product_numbers(&m, bundle, false, false, false);
    equations(&set, &m, wrong);
    for (size_t i = 0; i < set.n; i++) {
        const qa_golden_tensor *tensor = &set.tensors[i];
        if (tensor->kind == QA_GOLDEN_REWARD || tensor->kind == QA_GOLDEN_LOG_PI) {
            tensor = qa_golden_set_find(&bundle->golden, tensor->name);
        }
        qa_put(&listed, tensor->name, tensor->n_dims, tensor->shape[0], tensor->shape[1], tensor->values);
    }
    qa_golden_report report = qa_golden_report_of(bundle, &listed, qa_real_dtype());
    ck_assert_msg(report.explained == 1u << (unsigned)mistake, "%s", report.sentence);
    ck_assert_ptr_nonnull(strstr(report.results[report.first].name, ".return"));
    qa_golden_report_free(&report);
    qa_golden_set_free(&set);
    qa_golden_set_free(&listed);
    free_method(&m);
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
}

START_TEST(a_mask_on_the_sum_alone_is_diagnosed) {
    const how late = {.late = true}, pad = {.pad = true};
    check_masked_sum(&late, QA_MISTAKE_MASK);
    check_masked_sum(&pad, QA_MISTAKE_PAD);
}
END_TEST

/* Gradients of A and B under each other's name: a wrong shape, and diagnosed all the same. */
START_TEST(exchanged_gradients_are_diagnosed) {
    qa_error err = {0};
    qa_context *context = NULL;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    qa_golden_bundle *bundle = qa_golden_open(context, "theory-logits");
    qa_golden_set set = {0};
    for (size_t i = 0; i < bundle->golden.n; i++) {
        const qa_golden_tensor *tensor = &bundle->golden.tensors[i];
        char name[QA_GOLDEN_NAME_BYTES];
        (void)snprintf(name, sizeof name, "%s", tensor->name);
        char *at = strstr(name, ".lora_");
        if (tensor->kind == QA_GOLDEN_GRAD && at != NULL) {
            at[6] = at[6] == 'A' ? 'B' : 'A';
            qa_put(&set, name, tensor->n_dims, tensor->shape[0], tensor->shape[1], tensor->values);
        }
    }
    qa_golden_report report = qa_golden_report_of(bundle, &set, QA_DTYPE_F32);
    ck_assert_int_eq((int)report.results[0].verdict, (int)QA_VERDICT_SHAPE);
    ck_assert_uint_eq(report.explained, 1u << (unsigned)QA_MISTAKE_LORA_EXCHANGED);
    qa_golden_report_free(&report);
    qa_golden_set_free(&set);
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
}
END_TEST

/* ---- the optimiser, written out once more ---- */

typedef struct step_case {
    qa_golden_mistake mistake;
    double decay, rate;
    bool uncorrected, epsilon_inside, unclipped, may_hide; /* may_hide: on some bundles it changes nothing */
} step_case;

static const step_case step_cases[] = {
    {QA_MISTAKE_WEIGHT_DECAY, .decay = 0.01, .rate = 1.0},
    {QA_MISTAKE_LEARNING_RATE, .rate = 1.01},
    {QA_MISTAKE_LEARNING_RATE, .rate = 0.99},
    {QA_MISTAKE_BIAS_CORRECTION, .rate = 1.0, .uncorrected = true},
    {QA_MISTAKE_EPSILON, .rate = 1.0, .epsilon_inside = true, .may_hide = true},
};

static double gradient_squares(const qa_golden_set *golden) {
    double sum = 0.0;
    for (size_t i = 0; i < golden->n; i++) {
        const qa_golden_tensor *tensor = &golden->tensors[i];
        for (size_t j = 0; strncmp(tensor->name, "grad.", 5) == 0 && j < tensor->count; j++) {
            sum += tensor->values[j] * tensor->values[j];
        }
    }
    return sum;
}

/* The first step of AdamW from the bundle's own gradient; to: the tensors after it. */
static void first_step(qa_golden_set *to, const qa_golden_bundle *b, const step_case *how_wrong) {
    const qa_golden_options *o = &b->options;
    const double norm = sqrt(gradient_squares(&b->golden));
    const double clip = o->max_grad_norm > 0.0 ? fmin(1.0, o->max_grad_norm / (norm + 1e-6)) : 1.0;
    const double m_unit = how_wrong->uncorrected ? 1.0 - o->adam_beta1 : 1.0;
    const double v_unit = how_wrong->uncorrected ? 1.0 - o->adam_beta2 : 1.0;
    for (size_t t = 0; t < b->adapter->n_tensors; t++) {
        const qa_adapter_tensor *tensor = &b->adapter->tensors[t];
        char name[QA_GOLDEN_NAME_BYTES];
        (void)snprintf(name, sizeof name, "grad.%s", tensor->name);
        const qa_golden_tensor *gradient = qa_golden_set_find(&b->golden, name);
        ck_assert_ptr_nonnull(gradient);
        double *after = copy(NULL, gradient->count);
        for (size_t i = 0; i < gradient->count; i++) {
            const double p = (double)b->adapter->parameters[tensor->offset + i], g = clip * gradient->values[i];
            const double v = g * g * v_unit, e = o->adam_epsilon, decay = o->weight_decay + how_wrong->decay;
            const double root = how_wrong->epsilon_inside ? sqrt(v + e) : sqrt(v) + e;
            after[i] = p - o->learning_rate * how_wrong->rate * (decay * p + g * m_unit / root);
        }
        (void)snprintf(name, sizeof name, "step1.%s", tensor->name);
        qa_put(to, name, 2, tensor->rows, tensor->columns, after);
        free(after);
    }
}

/* Weight decay of 0.01 and a rate that is 1% off move most elements by less than the largest error that one element
 * with a gradient near 0 may have. */
START_TEST(a_mistake_of_the_optimiser_is_diagnosed) {
    qa_error err = {0};
    const step_case *expected = &step_cases[_i];
    qa_context *context = NULL;
    size_t found = 0;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    for (size_t i = 0; i < qa_golden_suite_n; i++) {
        qa_golden_bundle *bundle = qa_golden_open(context, qa_golden_suite[i]);
        qa_golden_set right = {0}, wrong = {0};
        const step_case nothing = {.rate = 1.0};
        first_step(&right, bundle, &nothing);
        first_step(&wrong, bundle, expected);
        qa_golden_report report = qa_golden_report_of(bundle, &right, QA_DTYPE_F32);
        ck_assert_msg(report.failures == 0, "%s: %s", qa_golden_suite[i], report.sentence);
        qa_golden_report_free(&report);
        report = qa_golden_report_of(bundle, &wrong, QA_DTYPE_F32);
        ck_assert_msg(report.failures > 0 || expected->may_hide, "%s passes", qa_golden_suite[i]);
        /* after one step a missing bias correction and another rate are the same */
        const unsigned also = expected->uncorrected ? 1u << QA_MISTAKE_LEARNING_RATE : 0;
        ck_assert_msg(report.failures == 0 || (report.explained | also) == (1u << (unsigned)expected->mistake | also),
                      "%s: %s", qa_golden_suite[i], report.sentence);
        found += (report.explained & 1u << (unsigned)expected->mistake) != 0 ? 1 : 0;
        qa_golden_report_free(&report);
        qa_golden_set_free(&right);
        qa_golden_set_free(&wrong);
        qa_golden_bundle_close(bundle);
    }
    ck_assert_uint_ge(found, LEAST_BUNDLES);
    qa_context_free(context);
}
END_TEST

/* A detached value leaves every number before the gradients as it is. The product's own passes give the gradient. */
START_TEST(a_detached_value_is_diagnosed) {
    qa_error err = {0};
    qa_context *context = NULL;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    static const char *const names[] = {"theory-discounted", "published-logits", "theory-residual"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        qa_golden_bundle *bundle = qa_golden_open(context, names[i]);
        qa_golden_set set = {0};
        qa_product_gradient(&set, bundle->model, bundle->adapter, bundle->pairs, &bundle->options, true);
        qa_golden_report report = qa_golden_report_of(bundle, &set, QA_DTYPE_F32);
        ck_assert_ptr_nonnull(strstr(report.results[report.first].name, "grad."));
        ck_assert_msg(report.explained == 1u << QA_MISTAKE_VALUE_STOPPED, "%s: %s", names[i], report.sentence);
        qa_golden_report_free(&report);
        qa_golden_set_free(&set);
        qa_golden_bundle_close(bundle);
    }
    qa_context_free(context);
}
END_TEST

/* RoPE's tables by the C library's single-precision functions, with another last bit here and there as other libraries
 * have them. */
static void single_tables(const qa_golden_moment *at) {
    qa_ref_net *const nets[] = {at->step->base, at->step->adapted[QA_REF_CHOSEN], at->step->adapted[QA_REF_REJECTED]};
    const size_t half = at->step->model->h / 2;
    for (size_t i = 0; i < SIDES_AND_BASE * nets[0]->max_T * half; i++) {
        const size_t entry = i % (nets[0]->max_T * half), n = i / (nets[0]->max_T * half);
        const float angle = (float)(entry / half) * (float)nets[n]->frequency[0][entry % half];
        const float cosine = cosf(angle), sine = sinf(angle);
        nets[n]->cosine[0][entry] = (double)(entry % 16 == 9 ? nextafterf(cosine, 2.0F) : cosine);
        nets[n]->sine[0][entry] = (double)(entry % 16 == 3 ? nextafterf(sine, 2.0F) : sine);
    }
}

/* log pi1 rounded, as a softmax in single precision has it. */
static void single_softmax(const qa_golden_moment *at) {
    double *log_pi1 = at->step->side[at->row % QA_REF_SIDES].log_pi1;
    const size_t states = at->step->rows[at->row].last + 1 - at->step->rows[at->row].first;
    for (size_t i = 0; i < states * at->step->model->V; i++) {
        log_pi1[i] = (double)(float)log_pi1[i];
    }
}

START_TEST(single_precision_is_diagnosed) {
    static const char *const names[] = {"theory-logits", "theory-llama3", "published-residual", "theory-text"};
    qa_error err = {0};
    qa_context *context = NULL;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    for (size_t i = 0; i < 2 * sizeof names / sizeof *names; i++) {
        const bool rope = i % 2 == 0;
        const qa_golden_trial trial = {.stages = 1u << (rope ? QA_REF_READY : QA_REF_LOG_PI1),
                                       .make = rope ? single_tables : single_softmax};
        qa_golden_bundle *b = qa_golden_open(context, names[i / 2]);
        qa_golden_set set = {0};
        MUST(qa_golden_run(&set, b->model, b->adapter, b->pairs, &b->options, false, &trial, &err));
        qa_golden_report report = qa_golden_report_of(b, &set, QA_DTYPE_F64);
        ck_assert_msg(report.explained == 1u << QA_MISTAKE_FLOAT32, "%s: %s", names[i / 2], report.sentence);
        ck_assert_msg(strstr(report.sentence, rope ? "when RoPE's tables are" : "when a part of the") != NULL, "%s: %s",
                      names[i / 2], report.sentence);
        qa_golden_report_free(&report);
        qa_golden_set_free(&set);
        qa_golden_bundle_close(b);
    }
    qa_context_free(context);
}
END_TEST

/* Gradients are made from the last layer to the first, so a fault in the last layer's backward pass spoils all of them:
 * the last layer is to blame, and nothing that agrees stands behind it. */
START_TEST(a_fault_in_backward_is_looked_for_from_the_last_layer_down) {
    qa_error err = {0};
    qa_context *context = NULL;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    for (int spoilt = 0; spoilt < 2; spoilt++) { /* the last layer with a gradient that is wrong */
        qa_golden_bundle *bundle = qa_golden_open(context, "theory-logits");
        qa_golden_set set = {0};
        for (size_t i = 0; i < bundle->golden.n; i++) {
            const qa_golden_tensor *tensor = &bundle->golden.tensors[i];
            if (strncmp(tensor->name, "grad.", 5) == 0 || strcmp(tensor->name, "loss") == 0) {
                double *values = copy(tensor->values, tensor->count);
                const bool wrong = strstr(tensor->name, ".layers.0.") != NULL ||
                                   (spoilt == 1 && strstr(tensor->name, ".layers.1.") != NULL);
                for (size_t j = 0; wrong && j < tensor->count; j++) {
                    values[j] = 1.5 * values[j] + 0.1;
                }
                qa_put(&set, tensor->name, tensor->n_dims, tensor->shape[0], tensor->shape[1], values);
                free(values);
            }
        }
        qa_golden_report report = qa_golden_report_of(bundle, &set, QA_DTYPE_F32);
        ck_assert_ptr_nonnull(strstr(report.results[report.first].name, spoilt == 1 ? ".layers.1." : ".layers.0."));
        ck_assert_ptr_nonnull(strstr(report.sentence, "in the order of the backward pass"));
        ck_assert_msg(strstr(report.sentence, spoilt == 1 ? "and loss, which agrees" : ".layers.1.") != NULL, "%s",
                      report.sentence);
        qa_golden_report_free(&report);
        qa_golden_set_free(&set);
        qa_golden_bundle_close(bundle);
    }
    qa_context_free(context);
}
END_TEST

Suite *golden_mistakes_suite(void);
Suite *golden_mistakes_suite(void) {
    Suite *suite = suite_create("golden_mistakes");
    TCase *tcase = tcase_create("mistakes");
    tcase_set_timeout(tcase, 120);
    QA_ADD_CASES(tcase, a_mistake_is_diagnosed, sizeof cases / sizeof cases[0], 5)
    tcase_add_test(tcase, without_a_mistake_nothing_departs);
    tcase_add_test(tcase, a_second_mistake_is_noticed);
    tcase_add_test(tcase, coinciding_mistakes_are_both_named);
    tcase_add_test(tcase, a_mask_on_the_sum_alone_is_diagnosed);
    tcase_add_test(tcase, exchanged_gradients_are_diagnosed);
    QA_ADD_CASES(tcase, a_mistake_of_the_optimiser_is_diagnosed, sizeof step_cases / sizeof step_cases[0], 5)
    tcase_add_test(tcase, a_detached_value_is_diagnosed);
    tcase_add_test(tcase, single_precision_is_diagnosed);
    tcase_add_test(tcase, a_fault_in_backward_is_looked_for_from_the_last_layer_down);
    suite_add_tcase(suite, tcase);
    return suite;
}
