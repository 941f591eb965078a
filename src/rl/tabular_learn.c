/* Learning in the tabular case (see tabular_learn.h).
 *
 * A response's transitions are laid out once, by the same code as a language model's, and their state numbers are then
 * replaced by rows of the table, so that responses share the rows of the prefixes that they share. An evaluation takes
 * (M5), (M7) of every row, (M8), (M9) of every response, then (M10), (M11) of every preference: a preference of weight
 * w among total is one pair in total / w. Per response the gradients of its rewards add up and go to the rows at the
 * end.
 *
 * Arrays over steps are indexed like the token MDP's: those of response y start at first[y]; `published` leaves the
 * last ones unused. */
#include "rl/tabular_learn.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/try.h"
#include "nn/softmax.h"
#include "rl/equations.h"
#include "rl/ipo.h"
#include "rl/objective.h"
#include "rl/transitions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- preferences ---- */

/* Keeps what has a weight of counts[responses x responses] (preferred, dispreferred). */
static qa_status gather_samples(qa_preferences *out, const double *counts, size_t responses, qa_error *err) {
    *out = (qa_preferences){0};
    for (size_t i = 0; i < responses * responses; i++) {
        out->n += counts[i] > 0.0 ? 1 : 0;
        out->total += counts[i];
    }
    QA_TRY(QA_NEW(out->items, out->n, err, "%zu preferences", out->n));
    size_t n = 0;
    for (size_t i = 0; i < responses * responses; i++) {
        if (counts[i] > 0.0) {
            out->items[n++] = (qa_preference){i / responses, i % responses, counts[i]};
        }
    }
    return QA_OK;
}

static qa_status make_counts(double **counts, size_t responses, qa_error *err) {
    size_t entries = 0;
    *counts = qa_mul_size(responses, responses, &entries) ? qa_alloc_array(entries, sizeof **counts) : NULL;
    if (*counts == NULL) {
        return QA_NO_MEMORY(err, "the pairs of %zu responses", responses);
    }
    return QA_OK;
}

/* Sums of probabilities up to and with each response; the last is 1. Fails unless two responses can be drawn. */
static qa_status cumulate(double *cumulated, const double *log_prob, size_t responses, qa_error *err) {
    double sum = 0.0, largest = 0.0;
    for (size_t y = 0; y < responses; y++) {
        const double p = exp(log_prob[y]);
        sum += p;
        largest = fmax(largest, p);
        cumulated[y] = sum;
    }
    QA_FAIL_IF(!(sum - largest > 1e-6 * sum), err, QA_ERR_ARGUMENT,
               "no two different responses to compare: one of the %zu has probability %.9g", responses, largest / sum);
    for (size_t y = 0; y < responses; y++) {
        cumulated[y] = y + 1 == responses ? 1.0 : cumulated[y] / sum;
    }
    return QA_OK;
}

static size_t draw_sample(const double *cumulated, size_t responses, qa_rng *rng) {
    const double u = qa_rng_uniform(rng);
    size_t low = 0, high = responses - 1; /* the first response whose sum is above u */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (cumulated[middle] > u) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

qa_status qa_preferences_sample(qa_preferences *out, const qa_token_mdp *mdp, const double *log_prob, const double *ret,
                                size_t pairs, double flip, qa_rng *rng, qa_error *err) {
    const size_t n = mdp->responses;
    double *counts = NULL;
    double *cumulated = qa_alloc_array(n, sizeof *cumulated);
    qa_status status = QA_OK;
    *out = (qa_preferences){0};
    if (cumulated == NULL) {
        return QA_NO_MEMORY(err, "%zu responses", n);
    }
    QA_GOTO(done, cumulate(cumulated, log_prob, n, err));
    QA_GOTO(done, make_counts(&counts, n, err));
    for (size_t drawn = 0; drawn < pairs;) {
        const size_t a = draw_sample(cumulated, n, rng), b = draw_sample(cumulated, n, rng);
        if (a == b) {
            continue;
        }
        const bool a_wins = qa_rng_uniform(rng) < qa_m9_wrong_order(ret[b] - ret[a]); /* sigmoid(R(a) - R(b)) */
        const bool flipped = qa_rng_uniform(rng) < flip;
        counts[a_wins != flipped ? a * n + b : b * n + a] += 1.0;
        drawn++;
    }
    QA_GOTO(done, gather_samples(out, counts, n, err));
done:
    free(counts);
    free(cumulated);
    return status;
}

qa_status qa_preferences_exact(qa_preferences *out, const qa_token_mdp *mdp, const double *log_prob, const double *ret,
                               double flip, qa_error *err) {
    const size_t n = mdp->responses;
    double *counts = NULL;
    double sum = 0.0;
    *out = (qa_preferences){0};
    QA_TRY(make_counts(&counts, n, err));
    for (size_t a = 0; a < n; a++) {
        for (size_t b = 0; b < n; b++) {
            if (a != b) {
                const double wins = qa_m9_wrong_order(ret[b] - ret[a]);
                counts[a * n + b] = exp(log_prob[a] + log_prob[b]) * ((1.0 - flip) * wins + flip * (1.0 - wins));
                sum += counts[a * n + b];
            }
        }
    }
    qa_status status = QA_OK;
    if (!(sum > 0.0)) {
        status = qa_fail(err, QA_ERR_ARGUMENT, "no two different responses to compare among %zu", n);
    } else {
        for (size_t i = 0; i < n * n; i++) {
            counts[i] /= sum;
        }
        status = gather_samples(out, counts, n, err);
    }
    free(counts);
    return status;
}

void qa_preferences_free(qa_preferences *preferences) {
    free(preferences->items);
    *preferences = (qa_preferences){0};
}

/* ---- the table ---- */

struct qa_table {
    const qa_token_mdp *mdp;
    qa_objective objective;
    size_t rows; /* that theta has */
    qa_arena arena;
    qa_real *z1, *log_pi1;      /* [mdp rows x V] */
    qa_real *q, *pi, *dq;       /* [rows x V] */
    double *v, *value_gradient; /* [rows] */
    size_t *count;              /* [responses] counted transitions */
    double *ret;                /* [responses] */
    qa_transition *transitions; /* [steps] with rows as states; so the arrays below */
    double *weight, *reward, *g;
    double *pair_g; /* [H] of one side of one pair */
};

static void lay_out_table(void *owner, qa_arena *arena) {
    qa_table *table = owner;
    const qa_token_mdp *mdp = table->mdp;
    const size_t steps = mdp->first[mdp->responses];
    table->z1 = QA_TAKE(arena, qa_real, mdp->rows * mdp->V);
    table->log_pi1 = QA_TAKE(arena, qa_real, mdp->rows * mdp->V);
    table->q = QA_TAKE(arena, qa_real, table->rows * mdp->V);
    table->pi = QA_TAKE(arena, qa_real, table->rows * mdp->V);
    table->dq = QA_TAKE(arena, qa_real, table->rows * mdp->V);
    table->v = QA_TAKE(arena, double, table->rows);
    table->value_gradient = QA_TAKE(arena, double, table->rows);
    table->count = QA_TAKE(arena, size_t, mdp->responses);
    table->ret = QA_TAKE(arena, double, mdp->responses);
    table->transitions = QA_TAKE(arena, qa_transition, steps);
    table->weight = QA_TAKE(arena, double, steps);
    table->reward = QA_TAKE(arena, double, steps);
    table->g = QA_TAKE(arena, double, steps);
    table->pair_g = QA_TAKE(arena, double, mdp->H);
}

static size_t row_of_state(const qa_token_mdp *mdp, size_t response, size_t state) {
    return state < qa_token_mdp_length(mdp, response) ? mdp->state[mdp->first[response] + state]
                                                      : mdp->inner + response;
}

/* The response after a prompt of one token; ids[1 + H] is scratch. */
static void lay_out_samples(qa_table *table, size_t response, int32_t *ids) {
    const qa_token_mdp *mdp = table->mdp;
    const size_t n = qa_token_mdp_length(mdp, response), first = mdp->first[response];
    const int32_t end_token = (int32_t)mdp->V - 1;
    ids[0] = 0;
    memcpy(ids + 1, mdp->token + first, n * sizeof *ids);
    const qa_side side = {.ids = ids, .length = 1 + n, .label_start = 1, .terminal = true};
    qa_transition *transitions = table->transitions + first;
    table->count[response] = qa_transition_count(&side, &table->objective, 1 + mdp->H);
    qa_transitions_layout(transitions, &side, &table->objective, 1 + mdp->H, end_token);
    for (size_t t = 0; t < table->count[response]; t++) {
        transitions[t].state = row_of_state(mdp, response, transitions[t].state);
        if (transitions[t].value_state != QA_TERMINAL_STATE) {
            transitions[t].value_state = row_of_state(mdp, response, transitions[t].value_state);
        }
        table->weight[first + t] = transitions[t].weight;
    }
}

qa_status qa_table_create(qa_table **out, const qa_token_mdp *mdp, const qa_objective *objective, const qa_real *z1,
                          qa_error *err) {
    *out = NULL;
    QA_TRY(qa_objective_check_numbers(objective, err));
    qa_table *table = calloc(1, sizeof *table);
    int32_t *ids = qa_alloc_array(1 + mdp->H, sizeof *ids);
    qa_status status = QA_OK;
    if (table == NULL || ids == NULL) {
        status = QA_NO_MEMORY(err, "a table of %zu rows", mdp->rows);
        goto done;
    }
    table->mdp = mdp;
    table->objective = *objective;
    table->rows = objective->kind == QA_THEORY ? mdp->inner : mdp->rows;
    QA_GOTO(done, qa_arena_lay_out(&table->arena, lay_out_table, table, err));
    memcpy(table->z1, z1, mdp->rows * mdp->V * sizeof *table->z1);
    for (size_t row = 0; row < mdp->rows; row++) {
        (void)qa_log_softmax_forward(table->log_pi1 + row * mdp->V, table->z1 + row * mdp->V, mdp->V);
    }
    for (size_t y = 0; y < mdp->responses; y++) {
        lay_out_samples(table, y, ids);
    }
    *out = table;
    table = NULL;
done:
    free(ids);
    qa_table_free(table);
    return status;
}

void qa_table_free(qa_table *table) {
    if (table != NULL) {
        qa_arena_free(&table->arena);
        free(table);
    }
}

size_t qa_table_size(const qa_table *table) { return table->rows * table->mdp->V; }

void qa_table_start(const qa_table *table, double *theta) {
    for (size_t i = 0; i < qa_table_size(table); i++) {
        theta[i] = (double)table->z1[i];
    }
}

void qa_table_q(const qa_table *table, const double *theta, qa_real *q) {
    const bool residual = table->objective.q_parametrisation == QA_Q_RESIDUAL;
    for (size_t i = 0; i < qa_table_size(table); i++) {
        q[i] = (qa_real)(residual ? theta[i] - (double)table->z1[i] : theta[i]);
    }
}

const double *qa_table_returns(const qa_table *table) { return table->ret; }

void qa_table_value_at_same_state(qa_table *table) {
    for (size_t y = 0; y < table->mdp->responses; y++) {
        for (size_t t = 0; t < table->count[y]; t++) {
            qa_transition *transition = &table->transitions[table->mdp->first[y] + t];
            transition->value_state = transition->state;
        }
    }
}

/* ---- loss and gradient ---- */

/* (M5), (M7) of the rows, (M8), (M9) of the responses. */
static void forward(qa_table *table) {
    const qa_token_mdp *mdp = table->mdp;
    const qa_objective *o = &table->objective;
    const size_t V = mdp->V;
    for (size_t row = 0; row < table->rows; row++) {
        table->v[row] = qa_m7_policy(table->pi + row * V, table->q + row * V, table->log_pi1 + row * V, V, o->alpha_0,
                                     o->alpha_tilde);
    }
    for (size_t y = 0; y < mdp->responses; y++) {
        const size_t first = mdp->first[y], n = table->count[y];
        for (size_t t = 0; t < n; t++) {
            const qa_transition *transition = &table->transitions[first + t];
            const double q_action = (double)table->q[transition->state * V + (size_t)transition->action];
            qa_transitions_rewards(&table->reward[first + t], transition, 1, &q_action, table->v, o->gamma);
        }
        table->ret[y] = qa_m9_return(table->weight + first, table->reward + first, n);
    }
}

/* What a preference whose returns differ by z adds to the loss; *slope: the derivative. A difference of returns is that
 * of the log-ratios where alpha_tilde = alpha_0 = gamma = 1 (I3), on which ipo's loss is. */
static double pair_term(const qa_objective *o, double z, double pairs, double *slope) {
    if (o->method == QA_METHOD_IPO) {
        *slope = o->ipo_tau * qa_ipo_slope(o->ipo_tau, o->ipo_tau * z, pairs);
        return qa_ipo_loss(o->ipo_tau, o->ipo_tau * z, pairs);
    }
    *slope = qa_m10_return_gradient(z, o->label_noise, 1, pairs);
    return qa_m10_preference_loss(z, o->label_noise, pairs);
}

/* One side of a preference, dL/dR being dR: its share of the regulariser; adds its dL/dr to g. */
static double side_loss(qa_table *table, size_t y, double dR, double counted) {
    const size_t first = table->mdp->first[y], n = table->count[y];
    const double beta = table->objective.beta;
    qa_m11_reward_gradient(table->pair_g, table->weight + first, table->reward + first, n, dR, beta, counted);
    for (size_t t = 0; t < n; t++) {
        table->g[first + t] += table->pair_g[t];
    }
    return qa_m10_regulariser(table->reward + first, n, beta, counted);
}

/* (M11) from g to dq. */
static void backward(qa_table *table) {
    const qa_token_mdp *mdp = table->mdp;
    const size_t V = mdp->V;
    memset(table->dq, 0, table->rows * V * sizeof *table->dq);
    memset(table->value_gradient, 0, table->rows * sizeof *table->value_gradient);
    for (size_t y = 0; y < mdp->responses; y++) {
        const size_t first = mdp->first[y];
        qa_transitions_value_gradient(table->value_gradient, table->transitions + first, table->count[y],
                                      table->g + first, table->objective.gamma);
        for (size_t t = 0; t < table->count[y]; t++) {
            const qa_transition *transition = &table->transitions[first + t];
            table->dq[transition->state * V + (size_t)transition->action] += (qa_real)table->g[first + t];
        }
    }
    for (size_t row = 0; row < table->rows; row++) {
        qa_m11_add_value_term(table->dq + row * V, table->pi + row * V, table->value_gradient[row], V);
    }
}

double qa_table_loss(qa_table *table, const qa_preferences *preferences, const double *theta, double *gradient) {
    double counted = 0.0, loss = 0.0;
    qa_table_q(table, theta, table->q);
    forward(table);
    for (size_t i = 0; i < preferences->n; i++) {
        const qa_preference *preference = &preferences->items[i];
        counted +=
            preference->weight * (double)(table->count[preference->preferred] + table->count[preference->dispreferred]);
    }
    memset(table->g, 0, table->mdp->first[table->mdp->responses] * sizeof *table->g);
    for (size_t i = 0; i < preferences->n; i++) {
        const qa_preference *preference = &preferences->items[i];
        const double z = table->ret[preference->preferred] - table->ret[preference->dispreferred];
        const double pairs = preferences->total / preference->weight, share = counted / preference->weight;
        double slope = 0.0;
        loss += pair_term(&table->objective, z, pairs, &slope);
        loss += side_loss(table, preference->preferred, slope, share);
        loss += side_loss(table, preference->dispreferred, -slope, share);
    }
    backward(table);
    for (size_t i = 0; i < qa_table_size(table); i++) {
        gradient[i] = (double)table->dq[i]; /* dQhat/dtheta = 1 in either parametrisation */
    }
    return loss;
}

/* ---- fitting ---- */

typedef struct fit_context {
    qa_table *table;
    const qa_preferences *preferences;
} fit_context;

static double fit_loss(void *context, const double *theta, double *gradient) {
    const fit_context *fit = context;
    return qa_table_loss(fit->table, fit->preferences, theta, gradient);
}

qa_status qa_table_fit(qa_table *table, const qa_preferences *preferences, double *theta, double tolerance,
                       size_t max_iterations, qa_minimum *found, qa_error *err) {
    fit_context context = {table, preferences};
    QA_FAIL_IF(preferences->n == 0, err, QA_ERR_ARGUMENT, "no preferences to learn from");
    return qa_lbfgs(theta, qa_table_size(table), fit_loss, &context, tolerance, max_iterations, found, err);
}

qa_status qa_table_log_prob(const qa_table *table, const double *theta, double *log_prob, qa_error *err) {
    const qa_token_mdp *mdp = table->mdp;
    qa_real *q = qa_alloc_array(qa_table_size(table), sizeof *q);
    qa_real *log_pi = qa_alloc_array(mdp->inner * mdp->V, sizeof *log_pi);
    if (q == NULL || log_pi == NULL) {
        free(q);
        free(log_pi);
        return QA_NO_MEMORY(err, "a policy of %zu rows", mdp->inner);
    }
    qa_table_q(table, theta, q);
    qa_token_m7_policy(log_pi, mdp, q, table->log_pi1, table->objective.alpha_0, table->objective.alpha_tilde);
    qa_token_log_prob(log_prob, mdp, log_pi);
    free(q);
    free(log_pi);
    return QA_OK;
}
