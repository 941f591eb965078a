/* Customisation problems (see customisation.h): (M2) for r1, (M6) and (M7) for r2. */
#include "rl/customisation.h"

#include "base/memory.h"
#include "base/try.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define ROW(kind, field) QA_##kind(qa_customisation_options, field), .group = QA_GROUP_PROBLEM

/* The words in front of a help's colon are the subcommands of `qadapter tabular` that take the option. */
static const qa_option customisation_rows[] = {
    {"vocab", ROW(SIZE, V), .range = QA_RANGE_FROM_1, .standard = "4",
     .help = "consistency, dial: tokens, of which the last ends a response"},
    {"horizon", ROW(SIZE, H), .range = QA_RANGE_FROM_1, .standard = "3",
     .help = "consistency, dial: tokens of the longest response"},
    {"lambda", ROW(NUMBER, lambda), .range = QA_RANGE_FROM_0, .standard = "1",
     .help = "consistency, dial: weight of the old reward in what is to be optimal"},
    {"alpha-1", ROW(NUMBER, alpha1), .aliases = "alpha1", .range = QA_RANGE_ABOVE_0, .standard = "1",
     .help = "consistency, dial: temperature of the pre-trained policy"},
    {"alpha-tilde", ROW(NUMBER, alpha_tilde), .range = QA_RANGE_ABOVE_0, .standard = "1",
     .help = "consistency, dial: temperature of the customised policy"},
    {"gamma", ROW(NUMBER, gamma), .range = QA_RANGE_ABOVE_0_TO_1, .standard = "1",
     .help = "consistency, dial: discount"},
    {"seed", ROW(SEED, seed), .letter = 's', .standard = "1",
     .help = "recover, identities, consistency, dial: of everything that is drawn; the same seed gives the same "
             "numbers"},
};
const qa_option_table qa_customisation_table = QA_TABLE(customisation_rows);

qa_customisation_options qa_customisation_defaults(void) {
    qa_customisation_options options = {0};
    qa_options_default(&qa_customisation_table, &options);
    return options;
}

static bool allocate(qa_customisation *it) {
    const size_t k = it->mdp.inner * it->mdp.V, responses = it->mdp.responses;
    it->r1 = qa_alloc_array(k, sizeof *it->r1);
    it->r2 = qa_alloc_array(k, sizeof *it->r2);
    it->q = qa_alloc_array(k, sizeof *it->q);
    it->z1 = qa_alloc_array(it->mdp.rows * it->mdp.V, sizeof *it->z1);
    it->ret1 = qa_alloc_array(responses, sizeof *it->ret1);
    it->ret2 = qa_alloc_array(responses, sizeof *it->ret2);
    it->log_prob1 = qa_alloc_array(responses, sizeof *it->log_prob1);
    it->log_optimum = qa_alloc_array(responses, sizeof *it->log_optimum);
    return it->r1 != NULL && it->r2 != NULL && it->q != NULL && it->z1 != NULL && it->ret1 != NULL &&
           it->ret2 != NULL && it->log_prob1 != NULL && it->log_optimum != NULL;
}

/* Everything but the rewards. v[inner] is scratch. */
static qa_status solve(qa_customisation *it, double *v, qa_error *err) {
    const qa_customisation_options *o = &it->options;
    const qa_token_mdp *mdp = &it->mdp;
    const double alpha_0 = o->lambda * o->alpha1;
    QA_TRY(qa_token_solve_m2(it->q, v, mdp, it->r1, o->alpha1, o->gamma, err));
    qa_token_m2_policy(it->z1, mdp, it->q, v, o->alpha1);
    for (size_t i = mdp->inner * mdp->V; i < mdp->rows * mdp->V; i++) {
        it->z1[i] = (qa_real)-log((double)mdp->V);
    }
    qa_token_log_prob(it->log_prob1, mdp, it->z1);
    qa_token_returns(it->ret1, mdp, it->r1, o->gamma);
    qa_token_returns(it->ret2, mdp, it->r2, o->gamma);
    QA_TRY(qa_token_solve_m6(it->q, v, mdp, it->r2, it->z1, alpha_0, o->alpha_tilde, o->gamma, err));
    return qa_customisation_dial(it, it->q, alpha_0, it->log_optimum, err);
}

qa_status qa_customisation_create(qa_customisation *out, const qa_customisation_options *options, qa_error *err) {
    qa_rng rng = qa_rng_seed(options->seed, 0);
    double *v = NULL;
    qa_status status = QA_OK;
    *out = (qa_customisation){.options = *options};
    QA_TRY(qa_token_mdp_create(&out->mdp, options->V, options->H, err));
    v = qa_alloc_array(out->mdp.inner, sizeof *v);
    if (!allocate(out) || v == NULL) {
        status = QA_NO_MEMORY(err, "a problem of %zu responses", out->mdp.responses);
    } else {
        qa_token_random_reward(out->r1, &out->mdp, 1.0, &rng);
        qa_token_random_reward(out->r2, &out->mdp, 1.0, &rng);
        status = solve(out, v, err);
    }
    free(v);
    if (status != QA_OK) {
        qa_customisation_free(out);
    }
    return status;
}

void qa_customisation_free(qa_customisation *it) {
    qa_token_mdp_free(&it->mdp);
    free(it->r1);
    free(it->r2);
    free(it->q);
    free(it->z1);
    free(it->ret1);
    free(it->ret2);
    free(it->log_prob1);
    free(it->log_optimum);
    *it = (qa_customisation){0};
}

qa_status qa_customisation_dial(const qa_customisation *it, const qa_real *q, double alpha_0, double *log_prob,
                                qa_error *err) {
    qa_real *log_pi = NULL;
    QA_TRY(QA_NEW(log_pi, it->mdp.inner * it->mdp.V, err, "a policy of %zu rows", it->mdp.inner));
    qa_token_m7_policy(log_pi, &it->mdp, q, it->z1, alpha_0, it->options.alpha_tilde);
    qa_token_log_prob(log_prob, &it->mdp, log_pi);
    free(log_pi);
    return QA_OK;
}

qa_status qa_customisation_resolve(const qa_customisation *it, double alpha_0, double *log_prob, qa_error *err) {
    qa_real *q = qa_alloc_array(it->mdp.inner * it->mdp.V, sizeof *q);
    double *v = qa_alloc_array(it->mdp.inner, sizeof *v);
    qa_status status = QA_OK;
    if (q == NULL || v == NULL) {
        status = QA_NO_MEMORY(err, "a policy of %zu rows", it->mdp.inner);
        goto done;
    }
    QA_GOTO(done, qa_token_solve_m6(q, v, &it->mdp, it->r2, it->z1, alpha_0, it->options.alpha_tilde, it->options.gamma,
                                    err));
    status = qa_customisation_dial(it, q, alpha_0, log_prob, err);
done:
    free(q);
    free(v);
    return status;
}
