/* See noisy_labels.h. */
#include "rl/noisy_labels.h"

#include "base/memory.h"
#include "base/try.h"
#include "rl/equations.h"

#include <math.h>
#include <stdlib.h>

const qa_noise_row qa_noise_rows[QA_NOISE_ROWS] = {
    {"likelihood", "as they are", QA_METHOD_QADAPTER, QA_NOISE_IGNORED},
    {"likelihood", "share known", QA_METHOD_QADAPTER, QA_NOISE_KNOWN},
    {"likelihood", "share estimated", QA_METHOD_QADAPTER, QA_NOISE_ESTIMATED},
    {"ipo", "as they are", QA_METHOD_IPO, QA_NOISE_IGNORED},
    {"ipo", "share known", QA_METHOD_IPO, QA_NOISE_KNOWN},
};
const double qa_noise_tau = 0.25;

static const double most_share = 0.49;
enum { SHARE_NARROWINGS = 18, HELD_OUT_STREAM = 1000, HELD_OUT_PART = 10 };

void qa_ipo_optimum(const qa_customisation *problem, double tau, double flip, double *log_prob) {
    const size_t n = problem->mdp.responses;
    double most = -INFINITY, sum = 0.0;
    for (size_t y = 0; y < n; y++) {
        double wins = 0.0;
        for (size_t other = 0; other < n; other++) {
            wins += exp(problem->log_prob1[other]) * qa_m9_wrong_order(problem->ret2[other] - problem->ret2[y]);
        }
        log_prob[y] = problem->log_prob1[y] + (flip + (1.0 - 2.0 * flip) * wins) / tau;
        most = fmax(most, log_prob[y]);
    }
    for (size_t y = 0; y < n; y++) {
        sum += exp(log_prob[y] - most);
    }
    for (size_t y = 0; y < n; y++) {
        log_prob[y] -= most + log(sum);
    }
}

/* ---- one sample ---- */

/* What all rows of a sample learn from and are measured on. */
typedef struct noisy_sample {
    const qa_noise_study *study;
    qa_preferences learned, held_out;
    double flip;
    double *theta;    /* [mdp rows x V] */
    double *log_prob; /* [responses] */
    double *margins;  /* [held_out.n] */
    double *weights;  /* [held_out.n] */
} noisy_sample;

/* ipo's optimum under noise is that of tau / (1 - 2 eps): to reach tau's, (1 - 2 eps) tau is learned with. */
static qa_objective objective_with(const qa_customisation *problem, qa_method method, double share) {
    qa_objective objective = {.kind = QA_THEORY,
                              .q_parametrisation = QA_Q_RESIDUAL,
                              .alpha_tilde = problem->options.alpha_tilde,
                              .alpha_0 = problem->options.lambda * problem->options.alpha1,
                              .gamma = problem->options.gamma,
                              .label_noise = share};
    if (method == QA_METHOD_IPO) {
        objective = (qa_objective){.method = QA_METHOD_IPO,
                                   .q_parametrisation = QA_Q_RESIDUAL,
                                   .alpha_tilde = 1.0,
                                   .alpha_0 = 1.0,
                                   .gamma = 1.0,
                                   .ipo_tau = (1.0 - 2.0 * share) * qa_noise_tau};
    }
    return objective;
}

/* The margins of the held-out pairs, and their mean loss. */
static double measure_held_out(noisy_sample *sample, qa_table *table, double *gradient) {
    const double loss = qa_table_loss(table, &sample->held_out, sample->theta, gradient);
    const double *ret = qa_table_returns(table);
    for (size_t i = 0; i < sample->held_out.n; i++) {
        const qa_preference *pair = &sample->held_out.items[i];
        sample->margins[i] = ret[pair->preferred] - ret[pair->dispreferred];
        sample->weights[i] = pair->weight;
    }
    return loss;
}

/* Learns with a share; the result is in theta, log_prob, margins and *out but for its KLs. */
static qa_status learn_with(noisy_sample *sample, qa_method method, double share, qa_noise_outcome *out,
                            qa_error *err) {
    const qa_customisation *problem = sample->study->problem;
    const qa_objective objective = objective_with(problem, method, share);
    qa_table *table = NULL;
    double *gradient = NULL;
    qa_status status = QA_OK;
    QA_TRY(qa_table_create(&table, &problem->mdp, &objective, problem->z1, err));
    QA_GOTO(done, QA_NEW(gradient, qa_table_size(table), err, "a gradient"));
    qa_table_start(table, sample->theta);
    QA_GOTO(done, qa_table_fit(table, &sample->learned, sample->theta, qa_consistency_tolerance,
                               QA_CONSISTENCY_ITERATIONS, &out->minimum, err));
    QA_GOTO(done, qa_table_log_prob(table, sample->theta, sample->log_prob, err));
    out->share = share;
    out->held_out_loss = measure_held_out(sample, table, gradient);
done:
    qa_table_free(table);
    free(gradient);
    return status;
}

/* The share with which the labels of the held-out pairs are likeliest, after learning with it: golden section. */
static qa_status estimate_share(noisy_sample *sample, double *share, qa_error *err) {
    const double ratio = 0.6180339887498949;
    double low = 0.0, high = most_share, at[2] = {high - ratio * (high - low), low + ratio * (high - low)}, loss[2];
    qa_noise_outcome found = {0};
    for (int k = 0; k < 2; k++) {
        QA_TRY(learn_with(sample, QA_METHOD_QADAPTER, at[k], &found, err));
        loss[k] = found.held_out_loss;
    }
    for (int i = 0; i < SHARE_NARROWINGS; i++) {
        const int worse = loss[0] <= loss[1] ? 1 : 0;
        *(worse == 1 ? &high : &low) = at[worse];
        at[worse] = at[1 - worse];
        loss[worse] = loss[1 - worse];
        at[1 - worse] = worse == 1 ? high - ratio * (high - low) : low + ratio * (high - low);
        QA_TRY(learn_with(sample, QA_METHOD_QADAPTER, at[1 - worse], &found, err));
        loss[1 - worse] = found.held_out_loss;
    }
    QA_TRY(learn_with(sample, QA_METHOD_QADAPTER, 0.0, &found, err)); /* the end, which the section never tries */
    *share = found.held_out_loss <= fmin(loss[0], loss[1]) ? 0.0 : 0.5 * (low + high);
    return QA_OK;
}

static qa_status learn_row(noisy_sample *sample, size_t row, qa_noise_outcome *out, qa_error *err) {
    const qa_customisation *problem = sample->study->problem;
    const qa_noise_row *what = &qa_noise_rows[row];
    const size_t responses = problem->mdp.responses;
    double share = what->remedy == QA_NOISE_KNOWN ? sample->flip : 0.0;
    QA_TRY(what->remedy == QA_NOISE_ESTIMATED ? estimate_share(sample, &share, err) : QA_OK);
    QA_TRY(learn_with(sample, what->method, share, out, err));
    const bool ipo = what->method == QA_METHOD_IPO;
    out->kl = qa_token_kl(sample->log_prob, ipo ? sample->study->ipo_optimum : problem->log_optimum, responses);
    out->kl_optimum = qa_token_kl(sample->log_prob, problem->log_optimum, responses);
    out->as_said = qa_label_noise_estimate(sample->margins, sample->weights, sample->held_out.n, false);
    out->scaled = qa_label_noise_estimate(sample->margins, sample->weights, sample->held_out.n, true);
    return QA_OK;
}

static qa_status draw_preferences(qa_preferences *out, const qa_customisation *problem, size_t pairs, double flip,
                                  uint64_t stream, qa_error *err) {
    qa_rng rng = qa_rng_seed(problem->options.seed, stream);
    return pairs == 0
               ? qa_preferences_exact(out, &problem->mdp, problem->log_prob1, problem->ret2, flip, err)
               : qa_preferences_sample(out, &problem->mdp, problem->log_prob1, problem->ret2, pairs, flip, &rng, err);
}

static qa_status learn_noisy_sample(const qa_noise_study *study, size_t task, qa_error *err) {
    const qa_customisation *problem = study->problem;
    const size_t flip = task % QA_CONSISTENCY_FLIPS, seed = task / QA_CONSISTENCY_FLIPS;
    const uint64_t stream = 1 + seed * QA_CONSISTENCY_FLIPS + flip;
    const size_t held_out = study->pairs == 0 ? 0 : 1 + study->pairs / HELD_OUT_PART;
    noisy_sample sample = {.study = study, .flip = qa_consistency_flips[flip]};
    qa_status status = QA_OK;
    QA_GOTO(done, draw_preferences(&sample.learned, problem, study->pairs, sample.flip, stream, err));
    QA_GOTO(done, draw_preferences(&sample.held_out, problem, held_out, sample.flip, HELD_OUT_STREAM + stream, err));
    QA_GOTO(done, QA_NEW(sample.theta, problem->mdp.rows * problem->mdp.V, err, "a table"));
    QA_GOTO(done, QA_NEW(sample.log_prob, problem->mdp.responses, err, "a policy"));
    QA_GOTO(done, QA_NEW(sample.margins, sample.held_out.n, err, "the held-out pairs"));
    QA_GOTO(done, QA_NEW(sample.weights, sample.held_out.n, err, "the held-out pairs"));
    for (size_t row = 0; row < QA_NOISE_ROWS; row++) {
        QA_GOTO(done, learn_row(&sample, row, &study->outcomes[task * QA_NOISE_ROWS + row], err));
    }
done:
    qa_preferences_free(&sample.learned);
    qa_preferences_free(&sample.held_out);
    free(sample.theta);
    free(sample.log_prob);
    free(sample.margins);
    free(sample.weights);
    return status;
}

static void noisy_task(void *context, size_t task, size_t worker) {
    const qa_noise_study *study = context;
    (void)worker;
    study->errors[task].code = learn_noisy_sample(study, task, &study->errors[task]);
}

/* ---- all of them ---- */

qa_status qa_noise_study_run(qa_noise_study *study, const qa_customisation *problem, size_t pairs, size_t seeds,
                             qa_pool *pool, qa_error *err) {
    *study = (qa_noise_study){.problem = problem, .pairs = pairs, .seeds = pairs == 0 ? 1 : seeds};
    const size_t tasks = QA_CONSISTENCY_FLIPS * study->seeds;
    QA_TRY(QA_NEW(study->outcomes, tasks * QA_NOISE_ROWS, err, "the results"));
    QA_TRY(QA_NEW(study->errors, tasks, err, "the results"));
    QA_TRY(QA_NEW(study->ipo_optimum, problem->mdp.responses, err, "a policy"));
    qa_ipo_optimum(problem, qa_noise_tau, 0.0, study->ipo_optimum);
    qa_pool_run(pool, tasks, noisy_task, study);
    for (size_t i = 0; i < tasks; i++) {
        QA_FAIL_IF(study->errors[i].code != QA_OK, err, study->errors[i].code, "%zu pairs, sample %zu: %s", pairs, i,
                   study->errors[i].message);
    }
    return QA_OK;
}

void qa_noise_study_free(qa_noise_study *study) {
    free(study->outcomes);
    free(study->errors);
    free(study->ipo_optimum);
}

const qa_noise_outcome *qa_noise_study_at(const qa_noise_study *study, size_t flip, size_t seed) {
    return study->outcomes + (seed * QA_CONSISTENCY_FLIPS + flip) * QA_NOISE_ROWS;
}
