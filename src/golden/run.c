/* See run.h. A step runs every pair through three nets (base; adapted, one for each side, so that both can go
 * back once the difference of returns is known), and the first step writes down what it sees.
 *
 *   log pi1 = log_softmax(z1)   Qhat = z or z - z1      Vhat = at log sum exp( (Qhat + a0 log pi1) / at )      (M5)
 *   r = Qhat(s,a) - gamma Vhat(s')   (M8)     R = sum c r   (M9)     L = mean -log sigmoid(z) + beta mean r^2   (M10)
 *   dL/dz(s,.) = sum g [a = a_t] - gamma g' pitilde(.|s)                                                        (M11)
 *
 * The equations are written out here and not taken from rl/, in double and with math.h (see net.h). */
#include "golden/run.h"

#include "base/checked.h"
#include "base/try.h"
#include "golden/math.h"
#include "golden/rows.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

qa_golden_options qa_golden_defaults(void) {
    return (qa_golden_options){.learning_rate = 1e-2,
                               .adam_beta1 = 0.9,
                               .adam_beta2 = 0.999,
                               .adam_epsilon = 1e-8,
                               .max_grad_norm = 1.0,
                               .steps = 2};
}

qa_status qa_golden_options_check(const qa_golden_options *o, qa_error *err) {
    QA_TRY(qa_objective_check(&o->objective, err));
    const bool good = o->learning_rate > 0 && isfinite(o->learning_rate) && o->adam_beta1 >= 0 && o->adam_beta1 < 1 &&
                      o->adam_beta2 >= 0 && o->adam_beta2 < 1 && o->adam_epsilon > 0 && isfinite(o->adam_epsilon) &&
                      o->weight_decay >= 0 && isfinite(o->weight_decay) && o->max_grad_norm >= 0 &&
                      isfinite(o->max_grad_norm);
    if (!good || o->steps > 1000) {
        return qa_fail(err, QA_ERR_ARGUMENT,
                       "golden: expected learning_rate > 0, betas in [0, 1), epsilon > 0, weight_decay and "
                       "max_grad_norm >= 0, at most 1000 steps");
    }
    return QA_OK;
}

qa_golden_variant qa_golden_right(void) { return (qa_golden_variant){.slips = {.lora_scale_factor = 1.0}}; }

/* What one side of the pair at hand has: rows over the row's states, first .. length. */
typedef struct side_run {
    double *z1, *log_pi1, *q, *pi; /* [states x V]; z1 becomes what alpha_0 multiplies */
    double *v, *value_gradient;    /* [states] */
    double *dz;                    /* [states x V] */
    double *reward, *log_pi;       /* [n] */
    double ret;
} side_run;

typedef struct golden_run {
    qa_golden_set *set; /* NULL: nothing is written down */
    const qa_model *model;
    const qa_adapter *adapter;
    const qa_golden_options *options;
    const qa_golden_variant *variant;
    qa_golden_rows rows;
    qa_golden_net *base, *adapted[QA_GOLDEN_SIDES];
    side_run side[QA_GOLDEN_SIDES];
    double *parameters, *gradient, *m, *v; /* [adapter->count] */
    double pref, reg;
} golden_run;

/* ---- writing down ---- */

static qa_status put(golden_run *run, qa_golden_kind kind, size_t rows, size_t columns, const double *values,
                     qa_error *err, const char *format, ...) QA_PRINTF(7, 8);

/* columns 0: a vector. */
static qa_status put(golden_run *run, qa_golden_kind kind, size_t rows, size_t columns, const double *values,
                     qa_error *err, const char *format, ...) {
    char name[QA_GOLDEN_NAME_BYTES];
    const size_t shape[2] = {rows, columns};
    double *to = NULL;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(name, sizeof name, format, args);
    va_end(args);
    QA_TRY(qa_golden_set_add(run->set, name, kind, columns == 0 ? 1 : 2, shape, &to, err));
    memcpy(to, values, rows * (columns == 0 ? 1 : columns) * sizeof *to);
    return QA_OK;
}

static qa_status put_scalar(golden_run *run, qa_golden_kind kind, const char *name, double value, qa_error *err) {
    double *to = NULL;
    QA_TRY(qa_golden_set_add(run->set, name, kind, 0, NULL, &to, err));
    *to = value;
    return QA_OK;
}

static qa_status put_activations(golden_run *run, const qa_golden_net *net, const char *prefix, size_t T,
                                 qa_error *err) {
    const qa_config *config = &run->model->config;
    const size_t d = config->hidden_size, f = config->intermediate_size;
    const size_t query = config->num_attention_heads * config->head_dim;
    const size_t key = config->num_key_value_heads * config->head_dim;
    const bool all = run->options->all_activations;
    if (all) {
        QA_TRY(put(run, QA_GOLDEN_ACTIVATION, T, d, net->embed, err, "%s.embed", prefix));
    }
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        const qa_golden_layer *it = &net->layers[l];
        const struct {
            const char *name;
            const double *values;
            size_t width;
        } parts[] = {{"attn_norm", it->attn_norm, d},
                     {"q", it->q, query},
                     {"k", it->k, key},
                     {"v", it->v, key},
                     {"q_rope", it->q_rope, query},
                     {"k_rope", it->k_rope, key},
                     {"attn", it->attn, query},
                     {"mid", it->mid, d},
                     {"mlp_norm", it->mlp_norm, d},
                     {"gate", it->gate, f},
                     {"up", it->up, f},
                     {"act", it->act, f}};
        for (size_t i = 0; all && i < sizeof parts / sizeof parts[0]; i++) {
            QA_TRY(put(run, QA_GOLDEN_ACTIVATION, T, parts[i].width, parts[i].values, err, "%s.layer%zu.%s", prefix, l,
                       parts[i].name));
        }
        QA_TRY(put(run, QA_GOLDEN_ACTIVATION, T, d, it->hidden, err, "%s.layer%zu.hidden", prefix, l));
    }
    if (all) {
        QA_TRY(put(run, QA_GOLDEN_ACTIVATION, T, d, net->final_norm, err, "%s.final_norm", prefix));
    }
    return QA_OK;
}

/* ---- rows of the vocabulary ---- */

static double max_of(const double *x, size_t n) {
    double max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    return max;
}

static void log_softmax(double *y, const double *x, size_t V) {
    const double max = max_of(x, V);
    double sum = 0.0;
    for (size_t a = 0; a < V; a++) {
        sum += qa_golden_exp(x[a] - max);
    }
    const double log_sum = qa_golden_log(sum);
    for (size_t a = 0; a < V; a++) {
        y[a] = (x[a] - max) - log_sum;
    }
}

/* (M5), (M7): pi[V] and Vhat; weighted[V] is what alpha_0 multiplies. */
static double policy(double *pi, const double *q, const double *weighted, size_t V, const qa_objective *objective,
                     bool unscaled) {
    for (size_t a = 0; a < V; a++) {
        pi[a] = objective->alpha_0 == 0.0 ? q[a] : q[a] + objective->alpha_0 * weighted[a];
    }
    const double max = max_of(pi, V);
    double sum = 0.0;
    for (size_t a = 0; a < V; a++) {
        pi[a] = qa_golden_exp((pi[a] - max) / objective->alpha_tilde);
        sum += pi[a];
    }
    for (size_t a = 0; a < V; a++) {
        pi[a] /= sum;
    }
    return unscaled ? max / objective->alpha_tilde + qa_golden_log(sum)
                    : max + objective->alpha_tilde * qa_golden_log(sum);
}

/* ---- one side, forward ---- */

/* What only mistakes look at (the rows before the first state and after the last) is left out. */
static qa_status put_states(golden_run *run, const qa_golden_row *row, qa_golden_kind kind, const double *values,
                            size_t columns, const char *name, qa_error *err) {
    const size_t skip = row->label_start - 1 - row->first;
    return put(run, kind, row->length + 1 - row->label_start, columns, values + skip * (columns == 0 ? 1 : columns),
               err, "%s", name);
}

static qa_status put_ids(golden_run *run, const qa_golden_row *row, const char *prefix, qa_error *err) {
    char name[QA_GOLDEN_NAME_BYTES];
    double *to = NULL;
    (void)snprintf(name, sizeof name, "%s.input_ids", prefix);
    QA_TRY(qa_golden_set_add(run->set, name, QA_GOLDEN_IDS, 1, &row->length, &to, err));
    for (size_t t = 0; t < row->length; t++) {
        to[t] = (double)row->ids[t];
    }
    return QA_OK;
}

static qa_status base_stream(golden_run *run, const qa_golden_row *row, side_run *side, const char *prefix,
                             qa_error *err) {
    const size_t V = run->model->config.vocab_size;
    char name[QA_GOLDEN_NAME_BYTES];
    qa_golden_net_forward(run->base, row->ids, row->length + 1, NULL, &run->variant->slips);
    qa_golden_net_logits(run->base, row->first, row->states, side->z1);
    for (size_t k = 0; k < row->states; k++) {
        if (run->variant->raw_log_pi1) {
            memcpy(side->log_pi1 + k * V, side->z1 + k * V, V * sizeof *side->z1);
        } else {
            log_softmax(side->log_pi1 + k * V, side->z1 + k * V, V);
        }
    }
    if (run->set == NULL) {
        return QA_OK;
    }
    (void)snprintf(name, sizeof name, "%s.base", prefix);
    QA_TRY(put_ids(run, row, prefix, err));
    QA_TRY(put_activations(run, run->base, name, row->length, err));
    if (run->options->all_activations) {
        (void)snprintf(name, sizeof name, "%s.base.logits", prefix);
        QA_TRY(put_states(run, row, QA_GOLDEN_ACTIVATION, side->z1, V, name, err));
    }
    (void)snprintf(name, sizeof name, "%s.log_pi1", prefix);
    return put_states(run, row, QA_GOLDEN_LOG_PI1, side->log_pi1, V, name, err);
}

static qa_status adapted_stream(golden_run *run, const qa_golden_row *row, side_run *side, qa_golden_net *net,
                                const char *prefix, qa_error *err) {
    const size_t V = run->model->config.vocab_size;
    const qa_objective *objective = &run->options->objective;
    const bool residual = (objective->q_parametrisation == QA_Q_RESIDUAL) != run->variant->other_q;
    char name[QA_GOLDEN_NAME_BYTES];
    qa_golden_net_forward(net, row->ids, row->length + 1, run->parameters, &run->variant->slips);
    qa_golden_net_logits(net, row->first, row->states, side->q);
    if (run->set != NULL) {
        (void)snprintf(name, sizeof name, "%s.adapted", prefix);
        QA_TRY(put_activations(run, net, name, row->length, err));
        if (run->options->all_activations) {
            (void)snprintf(name, sizeof name, "%s.adapted.logits", prefix);
            QA_TRY(put_states(run, row, QA_GOLDEN_ACTIVATION, side->q, V, name, err));
        }
    }
    for (size_t k = 0; run->variant->q_log_softmax && k < row->states; k++) {
        log_softmax(side->q + k * V, side->q + k * V, V);
    }
    for (size_t i = 0; residual && i < row->states * V; i++) {
        side->q[i] -= run->variant->q_log_softmax ? side->log_pi1[i] : side->z1[i];
    }
    if (!run->variant->alpha_0_on_logits && !run->variant->alpha_0_in_value) {
        memcpy(side->z1, side->log_pi1, row->states * V * sizeof *side->z1);
    }
    for (size_t k = 0; k < row->states; k++) {
        side->v[k] =
            policy(side->pi + k * V, side->q + k * V, side->z1 + k * V, V, objective, run->variant->value_unscaled);
    }
    return QA_OK;
}

static void rewards(golden_run *run, const qa_golden_row *row, side_run *side) {
    const size_t V = run->model->config.vocab_size;
    const qa_objective *objective = &run->options->objective;
    const double *weighted = run->variant->alpha_0_in_value ? side->log_pi1 : side->z1;
    side->ret = 0.0;
    for (size_t t = 0; t < row->n; t++) {
        const qa_golden_transition *it = &row->transitions[t];
        const size_t at = (it->state - row->first) * V + (size_t)it->action;
        const double value = it->value == QA_NO_POSITION ? 0.0 : side->v[it->value - row->first];
        const double x = objective->alpha_0 == 0.0 ? side->q[at] : side->q[at] + objective->alpha_0 * weighted[at];
        side->reward[t] = side->q[at] - objective->gamma * value;
        side->log_pi[t] = (x - side->v[it->state - row->first]) / objective->alpha_tilde;
        side->ret += it->weight * side->reward[t];
    }
}

static qa_status forward_side(golden_run *run, size_t pair, size_t s, qa_error *err) {
    static const char *const sides[QA_GOLDEN_SIDES] = {"chosen", "rejected"};
    const size_t V = run->model->config.vocab_size;
    const qa_golden_row *row = &run->rows.rows[pair * QA_GOLDEN_SIDES + s];
    side_run *side = &run->side[s];
    char prefix[QA_GOLDEN_NAME_BYTES / 2], name[QA_GOLDEN_NAME_BYTES];
    (void)snprintf(prefix, sizeof prefix, "pair%zu.%s", pair, sides[s]);
    QA_TRY(base_stream(run, row, side, prefix, err));
    QA_TRY(adapted_stream(run, row, side, run->adapted[s], prefix, err));
    rewards(run, row, side);
    if (run->set == NULL) {
        return QA_OK;
    }
    (void)snprintf(name, sizeof name, "%s.q", prefix);
    QA_TRY(put_states(run, row, QA_GOLDEN_Q, side->q, V, name, err));
    (void)snprintf(name, sizeof name, "%s.v", prefix);
    QA_TRY(put_states(run, row, QA_GOLDEN_V, side->v, 0, name, err));
    QA_TRY(put(run, QA_GOLDEN_REWARD, row->n, 0, side->reward, err, "%s.reward", prefix));
    QA_TRY(put(run, QA_GOLDEN_LOG_PI, row->n, 0, side->log_pi, err, "%s.log_pi", prefix));
    (void)snprintf(name, sizeof name, "%s.return", prefix);
    return put_scalar(run, QA_GOLDEN_RETURN, name, side->ret, err);
}

/* ---- loss and gradient ---- */

/* Back through Qhat = log softmax(z) [- log pi1]: dz -= softmax(z) sum of dz. */
static void log_softmax_gradient(golden_run *run, const qa_golden_row *row, side_run *side) {
    const size_t V = run->model->config.vocab_size;
    const bool residual = (run->options->objective.q_parametrisation == QA_Q_RESIDUAL) != run->variant->other_q;
    for (size_t k = 0; k < row->states; k++) {
        double sum = 0.0;
        for (size_t a = 0; a < V; a++) {
            sum += side->dz[k * V + a];
        }
        for (size_t a = 0; a < V; a++) {
            const size_t i = k * V + a;
            side->dz[i] -= sum * qa_golden_exp(residual ? side->q[i] + side->log_pi1[i] : side->q[i]);
        }
    }
}

/* (M11) into side->dz; slope is dL/dR of this side. */
static void logit_gradient(golden_run *run, const qa_golden_row *row, side_run *side, double slope) {
    const size_t V = run->model->config.vocab_size;
    const qa_objective *objective = &run->options->objective;
    const double slope_of_value = run->variant->value_unscaled ? 1.0 / objective->alpha_tilde : 1.0;
    memset(side->dz, 0, row->states * V * sizeof *side->dz);
    memset(side->value_gradient, 0, row->states * sizeof *side->value_gradient);
    for (size_t t = 0; t < row->n; t++) {
        const qa_golden_transition *it = &row->transitions[t];
        const double g = it->weight * slope + 2.0 * objective->beta * side->reward[t] / row->counted;
        side->dz[(it->state - row->first) * V + (size_t)it->action] += g;
        if (it->value != QA_NO_POSITION && !run->variant->value_stopped) {
            side->value_gradient[it->value - row->first] -= objective->gamma * g * slope_of_value;
        }
    }
    for (size_t k = 0; k < row->states; k++) {
        for (size_t a = 0; side->value_gradient[k] != 0.0 && a < V; a++) {
            side->dz[k * V + a] += side->value_gradient[k] * side->pi[k * V + a];
        }
    }
    if (run->variant->q_log_softmax) {
        log_softmax_gradient(run, row, side);
    }
}

static qa_status run_pair(golden_run *run, size_t pair, qa_error *err) {
    const qa_objective *objective = &run->options->objective;
    const qa_golden_row *rows = &run->rows.rows[pair * QA_GOLDEN_SIDES];
    QA_TRY(forward_side(run, pair, 0, err));
    QA_TRY(forward_side(run, pair, 1, err));
    const double sign = run->variant->classes_exchanged ? -1.0 : 1.0;
    const double z = sign * (run->side[0].ret - run->side[1].ret);
    const double slope = -sign * qa_golden_sigmoid(-z) / rows[0].pairs;
    run->pref += qa_golden_softplus(-z) / rows[0].pairs;
    for (size_t s = 0; s < QA_GOLDEN_SIDES; s++) {
        double squares = 0.0;
        for (size_t t = 0; t < rows[s].n; t++) {
            squares += run->side[s].reward[t] * run->side[s].reward[t];
        }
        run->reg += rows[s].n == 0 ? 0.0 : objective->beta * squares / rows[s].counted;
        if (!run->variant->forward_only) {
            logit_gradient(run, &rows[s], &run->side[s], s == 0 ? slope : -slope);
            qa_golden_net_backward(run->adapted[s], run->gradient, rows[s].first, rows[s].states, run->side[s].dz);
        }
    }
    return isfinite(z) ? QA_OK : qa_fail(err, QA_ERR_NAN, "golden: the returns of pair %zu differ by %g", pair, z);
}

static qa_status put_adapter(golden_run *run, qa_golden_kind kind, const char *prefix, const double *values,
                             qa_error *err) {
    for (size_t i = 0; i < run->adapter->n_tensors; i++) {
        const qa_adapter_tensor *it = &run->adapter->tensors[i];
        QA_TRY(put(run, kind, it->rows, it->columns, values + it->offset, err, "%s.%s", prefix, it->name));
    }
    return QA_OK;
}

/* ---- steps ---- */

static double gradient_norm(const golden_run *run) {
    double sum = 0.0;
    for (size_t i = 0; i < run->adapter->count; i++) {
        sum += run->gradient[i] * run->gradient[i];
    }
    return sqrt(sum);
}

/* AdamW with decoupled decay, step k = 1, 2...; correction[2] hold beta^k. */
static void adamw(golden_run *run, size_t step, double norm, const double *correction) {
    const qa_golden_options *o = run->options;
    const qa_golden_optimiser_slips *slips = &run->variant->optimiser;
    const double falls = slips->rate_falls ? (double)(step - 1) / (double)o->steps : 0.0;
    const double rate = o->learning_rate * (1.0 + slips->rate_excess) * (1.0 - falls);
    const double decay = o->weight_decay + slips->weight_decay;
    const double m_unit = slips->no_bias_correction ? 1.0 : 1.0 - correction[0];
    const double v_unit = slips->no_bias_correction ? 1.0 : 1.0 - correction[1];
    const double factor = o->max_grad_norm / (norm + 1e-6);
    const double clip = o->max_grad_norm > 0.0 && factor < 1.0 && !slips->no_clipping ? factor : 1.0;
    for (size_t i = 0; i < run->adapter->count; i++) {
        const double g = clip * run->gradient[i];
        run->m[i] = o->adam_beta1 * run->m[i] + (1.0 - o->adam_beta1) * g;
        run->v[i] = o->adam_beta2 * run->v[i] + (1.0 - o->adam_beta2) * g * g;
        const double m = run->m[i] / m_unit, v = run->v[i] / v_unit;
        const double root = slips->epsilon_inside ? sqrt(v + o->adam_epsilon) : sqrt(v) + o->adam_epsilon;
        run->parameters[i] -= rate * decay * run->parameters[i];
        run->parameters[i] -= rate * m / root;
    }
}

static qa_status all_pairs(golden_run *run, qa_error *err) {
    run->pref = run->reg = 0.0;
    memset(run->gradient, 0, run->adapter->count * sizeof *run->gradient);
    for (size_t pair = 0; pair < run->rows.pairs; pair++) {
        if (run->options->should_stop != NULL && run->options->should_stop(run->options->user)) {
            return qa_fail(err, QA_ERR_INTERRUPTED, "golden: stopped before pair %zu", pair);
        }
        QA_TRY(run_pair(run, pair, err));
    }
    return QA_OK;
}

static qa_status run_steps(golden_run *run, qa_error *err) {
    qa_golden_set *set = run->set;
    double correction[2] = {1.0, 1.0};
    char name[64];
    QA_TRY(all_pairs(run, err));
    QA_TRY(put_scalar(run, QA_GOLDEN_LOSS, "loss.pref", run->pref, err));
    QA_TRY(put_scalar(run, QA_GOLDEN_LOSS, "loss.reg", run->reg, err));
    QA_TRY(put_scalar(run, QA_GOLDEN_LOSS, "loss", run->pref + run->reg, err));
    if (run->variant->forward_only) {
        return QA_OK;
    }
    QA_TRY(put_adapter(run, QA_GOLDEN_GRAD, "grad", run->gradient, err));
    for (size_t step = 1; step <= run->options->steps; step++) {
        if (step > 1) {
            run->set = NULL;
            const qa_status status = all_pairs(run, err);
            run->set = set;
            QA_TRY(status);
        }
        const double norm = gradient_norm(run);
        correction[0] *= run->options->adam_beta1;
        correction[1] *= run->options->adam_beta2;
        adamw(run, step, norm, correction);
        (void)snprintf(name, sizeof name, "step%zu.loss", step);
        QA_TRY(put_scalar(run, QA_GOLDEN_LOSS, name, run->pref + run->reg, err));
        (void)snprintf(name, sizeof name, "step%zu.grad_norm", step);
        QA_TRY(put_scalar(run, QA_GOLDEN_GRAD, name, norm, err));
        (void)snprintf(name, sizeof name, "step%zu", step);
        QA_TRY(put_adapter(run, QA_GOLDEN_STEP, name, run->parameters, err));
    }
    return QA_OK;
}

/* ---- workspace ---- */

static void take_side(side_run *side, qa_arena *arena, size_t rows, size_t V) {
    size_t elements = 0;
    arena->overflow |= !qa_mul_size(rows, V, &elements);
    side->z1 = QA_TAKE(arena, double, elements);
    side->log_pi1 = QA_TAKE(arena, double, elements);
    side->q = QA_TAKE(arena, double, elements);
    side->pi = QA_TAKE(arena, double, elements);
    side->dz = QA_TAKE(arena, double, elements);
    side->v = QA_TAKE(arena, double, rows);
    side->value_gradient = QA_TAKE(arena, double, rows);
    side->reward = QA_TAKE(arena, double, rows + 1);
    side->log_pi = QA_TAKE(arena, double, rows + 1);
}

static void take(golden_run *run, qa_arena *arena) {
    for (size_t s = 0; s < QA_GOLDEN_SIDES; s++) {
        take_side(&run->side[s], arena, run->rows.longest, run->model->config.vocab_size);
    }
    run->parameters = QA_TAKE(arena, double, run->adapter->count);
    run->gradient = QA_TAKE(arena, double, run->adapter->count);
    run->m = QA_TAKE(arena, double, run->adapter->count);
    run->v = QA_TAKE(arena, double, run->adapter->count);
}

static qa_status check_possible(const qa_model *model, const qa_golden_options *options,
                                const qa_golden_variant *variant, qa_error *err) {
    QA_TRY(qa_golden_options_check(options, err));
    if (options->objective.kind == QA_PUBLISHED && model->info.n_eos == 0) {
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "%s: the published objective pads with the end-of-sequence token, and "
                       "the model's config.json has no eos_token_id",
                       model->info.dir);
    }
    if ((variant->extra_bos && !qa_golden_has_bos(model)) ||
        ((variant->pad != QA_PAD_RIGHT || variant->mask == QA_MASK_STATE_TOKEN) && model->info.n_eos == 0)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "golden: the model has no token for this variant");
    }
    return QA_OK;
}

static qa_status prepare(golden_run *run, qa_arena *memory, const qa_pairs *pairs, qa_error *err) {
    size_t bytes = 0;
    qa_arena arena = qa_arena_measure();
    QA_TRY(qa_golden_rows_make(&run->rows, run->model, pairs, run->options, run->variant, err));
    QA_TRY(qa_golden_net_create(&run->base, run->model, NULL, run->rows.longest, err));
    for (size_t s = 0; s < QA_GOLDEN_SIDES; s++) {
        QA_TRY(qa_golden_net_create(&run->adapted[s], run->model, run->adapter, run->rows.longest, err));
    }
    take(run, &arena);
    QA_TRY(qa_arena_bytes(&arena, &bytes, err));
    QA_TRY(qa_arena_create(memory, bytes, err));
    take(run, memory);
    for (size_t i = 0; i < run->adapter->count; i++) {
        run->parameters[i] = (double)run->adapter->parameters[i];
    }
    return QA_OK;
}

qa_status qa_golden_run(qa_golden_set *set, const qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs,
                        const qa_golden_options *options, const qa_golden_variant *variant, qa_error *err) {
    golden_run run = {.set = set, .model = model, .adapter = adapter, .options = options, .variant = variant};
    qa_arena memory = {0};
    QA_TRY(check_possible(model, options, variant, err));
    qa_status status = prepare(&run, &memory, pairs, err);
    if (status == QA_OK) {
        status = run_steps(&run, err);
    }
    qa_arena_free(&memory);
    qa_golden_net_free(run.base);
    for (size_t s = 0; s < QA_GOLDEN_SIDES; s++) {
        qa_golden_net_free(run.adapted[s]);
    }
    qa_golden_rows_free(&run.rows);
    return status;
}
