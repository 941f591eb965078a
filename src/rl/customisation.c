/* Customisation problems (see customisation.h): (M2) for r1, (M6) and (M7) for r2. */
#include "rl/customisation.h"

#include "base/memory.h"
#include "base/try.h"

#include <math.h>
#include <stdlib.h>

#define ROW(kind, field) QA_##kind(qa_customisation_options, field), .group = QA_GROUP_PROBLEM

/* The words in front of a help's colon are the subcommands of `qadapter tabular` that take the option. */
static const qa_option customisation_rows[] = {
    {"vocab", ROW(SIZE, V), .range = QA_RANGE_FROM_1, .standard = "4",
     .help = "consistency, learn, dial, compose: tokens, of which the last ends a response"},
    {"horizon", ROW(SIZE, H), .range = QA_RANGE_FROM_1, .standard = "3",
     .help = "consistency, learn, dial, compose: tokens of the longest response"},
    {"lambda", ROW(NUMBER, lambda), .range = QA_RANGE_FROM_0, .standard = "1",
     .help = "consistency, learn, dial: weight of the old reward in what is to be optimal"},
    {"alpha-1", ROW(NUMBER, alpha1), .aliases = "alpha1", .range = QA_RANGE_ABOVE_0, .standard = "1",
     .help = "consistency, learn, dial: temperature of the pre-trained policy"},
    {"alpha-tilde", ROW(NUMBER, alpha_tilde), .range = QA_RANGE_ABOVE_0, .standard = "1",
     .help = "consistency, learn, dial: temperature of the customised policy"},
    {"gamma", ROW(NUMBER, gamma), .range = QA_RANGE_ABOVE_0_TO_1, .standard = "1",
     .help = "consistency, learn, dial: discount"},
    {"seed", ROW(SEED, seed), .letter = 's', .standard = "1",
     .help = "recover, identities, consistency, learn, dial, compose: of everything that is drawn; the same seed gives "
             "the same "
             "numbers"},
};
const qa_option_table qa_customisation_table = QA_TABLE(customisation_rows);

qa_customisation_options qa_customisation_defaults(void) {
    qa_customisation_options options = {0};
    qa_options_default(&qa_customisation_table, &options);
    return options;
}

static void lay_out_customisation(void *owner, qa_arena *arena) {
    qa_customisation *problem = owner;
    const size_t k = problem->mdp.inner * problem->mdp.V, responses = problem->mdp.responses;
    problem->r1 = QA_TAKE(arena, double, k);
    problem->r2 = QA_TAKE(arena, double, k);
    problem->q = QA_TAKE(arena, qa_real, k);
    problem->z1 = QA_TAKE(arena, qa_real, problem->mdp.rows * problem->mdp.V);
    problem->ret1 = QA_TAKE(arena, double, responses);
    problem->ret2 = QA_TAKE(arena, double, responses);
    problem->log_prob1 = QA_TAKE(arena, double, responses);
    problem->log_optimum = QA_TAKE(arena, double, responses);
}

/* Everything but the rewards. v[inner] is scratch. */
static qa_status solve_customisation(qa_customisation *problem, double *v, qa_error *err) {
    const qa_customisation_options *o = &problem->options;
    const qa_token_mdp *mdp = &problem->mdp;
    const double alpha_0 = o->lambda * o->alpha1;
    QA_TRY(qa_token_solve_m2(problem->q, v, mdp, problem->r1, o->alpha1, o->gamma, err));
    qa_token_m2_policy(problem->z1, mdp, problem->q, v, o->alpha1);
    for (size_t i = mdp->inner * mdp->V; i < mdp->rows * mdp->V; i++) {
        problem->z1[i] = (qa_real)-log((double)mdp->V);
    }
    qa_token_log_prob(problem->log_prob1, mdp, problem->z1);
    qa_token_returns(problem->ret1, mdp, problem->r1, o->gamma);
    qa_token_returns(problem->ret2, mdp, problem->r2, o->gamma);
    QA_TRY(qa_token_solve_m6(problem->q, v, mdp, problem->r2, problem->z1, alpha_0, o->alpha_tilde, o->gamma, err));
    return qa_customisation_dial(problem, problem->q, alpha_0, problem->log_optimum, err);
}

qa_status qa_customisation_create(qa_customisation *out, const qa_customisation_options *options, qa_error *err) {
    qa_rng rng = qa_rng_seed(options->seed, 0);
    double *v = NULL;
    qa_status status = QA_OK;
    *out = (qa_customisation){.options = *options};
    QA_TRY(qa_token_mdp_create(&out->mdp, options->V, options->H, err));
    QA_GOTO(done, qa_arena_lay_out(&out->arena, lay_out_customisation, out, err));
    QA_GOTO(done, QA_NEW(v, out->mdp.inner, err, "a problem of %zu responses", out->mdp.responses));
    qa_token_random_reward(out->r1, &out->mdp, 1.0, &rng);
    qa_token_random_reward(out->r2, &out->mdp, 1.0, &rng);
    QA_GOTO(done, solve_customisation(out, v, err));
done:
    free(v);
    if (status != QA_OK) {
        qa_customisation_free(out);
    }
    return status;
}

void qa_customisation_free(qa_customisation *problem) {
    qa_token_mdp_free(&problem->mdp);
    qa_arena_free(&problem->arena);
    *problem = (qa_customisation){0};
}

qa_status qa_customisation_dial(const qa_customisation *problem, const qa_real *q, double alpha_0, double *log_prob,
                                qa_error *err) {
    qa_real *log_pi = NULL;
    QA_TRY(QA_NEW(log_pi, problem->mdp.inner * problem->mdp.V, err, "a policy of %zu rows", problem->mdp.inner));
    qa_token_m7_policy(log_pi, &problem->mdp, q, problem->z1, alpha_0, problem->options.alpha_tilde);
    qa_token_log_prob(log_prob, &problem->mdp, log_pi);
    free(log_pi);
    return QA_OK;
}

qa_status qa_customisation_resolve(const qa_customisation *problem, double alpha_0, double *log_prob, qa_error *err) {
    qa_real *q = NULL;
    double *v = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, QA_NEW(q, problem->mdp.inner * problem->mdp.V, err, "a policy of %zu rows", problem->mdp.inner));
    QA_GOTO(done, QA_NEW(v, problem->mdp.inner, err, "a policy of %zu rows", problem->mdp.inner));
    QA_GOTO(done, qa_token_solve_m6(q, v, &problem->mdp, problem->r2, problem->z1, alpha_0,
                                    problem->options.alpha_tilde, problem->options.gamma, err));
    status = qa_customisation_dial(problem, q, alpha_0, log_prob, err);
done:
    free(q);
    free(v);
    return status;
}
