/* Every row of the table of methods, also of one that is added: its name and defaults are accepted, and its gradient is
 * the derivative of its loss, by central differences through its own rewards. */
#include "methods/method.h"

#include "base/rng.h"
#include "rl/equations.h"
#include "support/expect.h"

#include <string.h>

enum { MOST = 5 };
static const size_t lengths[QA_SIDES] = {5, 3};

/* Two responses as the model may have left them: all values near those of a small vocabulary. */
typedef struct sides {
    double q[QA_SIDES][MOST], log_pi[QA_SIDES][MOST], log_pi1[QA_SIDES][MOST], reward[QA_SIDES][MOST],
        weight[QA_SIDES][MOST], state_v[QA_SIDES][MOST + 1];
    qa_transition transitions[QA_SIDES][MOST];
    qa_side_step step[QA_SIDES];
} sides;

static void fill_sides(sides *s, uint64_t seed) {
    qa_rng rng = qa_rng_seed(seed, 0);
    memset(s, 0, sizeof *s);
    for (size_t which = 0; which < QA_SIDES; which++) {
        for (size_t t = 0; t < lengths[which]; t++) {
            s->q[which][t] = qa_rng_normal(&rng);
            s->log_pi[which][t] = -1.5 - 0.5 * qa_rng_normal(&rng);
            s->log_pi1[which][t] = -1.5 - 0.5 * qa_rng_normal(&rng);
            s->weight[which][t] = 1.0;
            s->state_v[which][t] = qa_rng_normal(&rng);
            s->transitions[which][t] = (qa_transition){.state = t, .value_state = t, .weight = 1.0};
        }
        s->step[which] = (qa_side_step){.n = lengths[which],
                                        .states = lengths[which] + 1,
                                        .transitions = s->transitions[which],
                                        .q = s->q[which],
                                        .log_pi = s->log_pi[which],
                                        .log_pi1 = s->log_pi1[which],
                                        .log_ref = s->log_pi1[which],
                                        .reward = s->reward[which],
                                        .weight = s->weight[which],
                                        .desirable = which == QA_CHOSEN,
                                        .state_v = s->state_v[which]};
    }
}

static const qa_divisors divisors = {.pairs = 3.0, .counted = 11.0, .responses = 6.0, .reference_point = 0.25};

/* Rewards, returns, z, and the loss. */
static double loss_of(const qa_method_row *row, const qa_objective *objective, sides *s, double *z) {
    const qa_side_step *const both[QA_SIDES] = {&s->step[QA_CHOSEN], &s->step[QA_REJECTED]};
    for (size_t which = 0; which < QA_SIDES; which++) {
        row->rewards(&s->step[which], objective);
        s->step[which].ret = qa_m9_return(s->weight[which], s->reward[which], lengths[which]);
    }
    *z = s->step[QA_CHOSEN].ret - s->step[QA_REJECTED].ret;
    const qa_pair_loss loss = row->loss(both, *z, objective, &divisors);
    return loss.pref + loss.reg;
}

/* Both an action's Qhat and its log pi move the reward (M8), or the method's, by as much as themselves. */
static void check_gradient(const qa_method_row *row, const qa_objective *objective, uint64_t seed) {
    sides s;
    double g[MOST], z = 0.0, ignored = 0.0;
    fill_sides(&s, seed);
    for (size_t which = 0; which < QA_SIDES; which++) {
        for (size_t t = 0; t < lengths[which]; t++) {
            double *x = row->residual ? &s.q[which][t] : &s.log_pi[which][t];
            const double keep = *x, step = 1e-5;
            *x = keep + step;
            const double up = loss_of(row, objective, &s, &ignored);
            *x = keep - step;
            const double down = loss_of(row, objective, &s, &ignored);
            *x = keep;
            (void)loss_of(row, objective, &s, &z);
            row->gradient(g, &s.step[which], which, z, objective, &divisors);
            expect_near(g[t], (up - down) / (2.0 * step), 1e-9, row->name);
        }
    }
}

START_TEST(every_row) {
    size_t rows = 0;
    for (const qa_method_row *row = qa_method_at(0); row != NULL; row = qa_method_at(++rows)) {
        qa_method method = QA_METHOD_QADAPTER;
        qa_error err = {0};
        ck_assert_msg(qa_method_by_name(&method, row->name, &err) == QA_OK, "%s: %s", row->name, err.message);
        ck_assert_uint_eq((size_t)method, rows);
        const qa_objective objective = qa_objective_for_method(method);
        ck_assert_msg(qa_objective_check(&objective, &err) == QA_OK, "%s: %s", row->name, err.message);
        ck_assert_ptr_eq(qa_method_of(&objective), row);
        ck_assert_msg(row->residual || qa_objective_is_plain(&objective), "%s: another policy", row->name);
        for (size_t i = 0; !row->residual && row->options != NULL && i < row->options->n; i++) {
            const qa_option *own = &row->options->rows[i];
            ck_assert(own->type == QA_OPTION_NUMBER || own->type == QA_OPTION_CHOICE || own->type == QA_OPTION_SIZE);
            ck_assert_ptr_nonnull(row->options->rows[i].key);
        }
        for (uint64_t seed = 1; !row->scores_sequences && seed <= 20; seed++) {
            check_gradient(row, &objective, seed);
        }
    }
    ck_assert_uint_ge(rows, 4);
}
END_TEST

Suite *methods_rows_suite(void);
Suite *methods_rows_suite(void) {
    Suite *suite = suite_create("methods_rows");
    TCase *tcase = tcase_create("rows");
    tcase_add_test(tcase, every_row);
    suite_add_tcase(suite, tcase);
    return suite;
}
