/* qadapter tabular solve: one problem from a file, by both routes.
 *
 *     r1, alpha1        --(M2)-->  pi1
 *     pi1, r2           --(M6)-->  Qhat, Vhat  --(M7)-->  pitilde
 *     lambda r1 + r2    --(M2)-->  the optimum, directly */
#include "base/memory.h"
#include "base/try.h"
#include "cli/mdp_file.h"
#include "cli/tabular.h"

#include <math.h>
#include <stdlib.h>

typedef struct solution {
    cli_mdp file;
    double *log_pi1, *q, *log_pi, *q_direct, *log_direct; /* [S x A] */
    double *v, *v_direct, *sum;                           /* [S], [S], [S x A] lambda r1 + r2 */
    double *value[4];     /* [S] expected return of pi1 under r1, r2, of pitilde under r1, r2 */
    qa_fixed_point found; /* of (M6) */
    double policy_error;
} solution;

static void solution_free(solution *it) {
    cli_mdp_free(&it->file);
    free(it->log_pi1);
    free(it->q);
    free(it->log_pi);
    free(it->q_direct);
    free(it->log_direct);
    free(it->v);
    free(it->v_direct);
    free(it->sum);
    for (int i = 0; i < 4; i++) {
        free(it->value[i]);
    }
}

static qa_status allocate_solution(solution *it, qa_error *err) {
    const size_t S = it->file.mdp.S, n = S * it->file.mdp.A; /* the file held as many numbers */
    bool good = true;
    double **tables[] = {&it->log_pi1, &it->q, &it->log_pi, &it->q_direct, &it->log_direct};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        *tables[i] = qa_alloc_array(n, sizeof **tables[i]);
        good = good && *tables[i] != NULL;
    }
    it->v = qa_alloc_array(S, sizeof *it->v);
    it->v_direct = qa_alloc_array(S, sizeof *it->v_direct);
    it->sum = qa_alloc_array(n, sizeof *it->sum);
    for (int i = 0; i < 4; i++) {
        it->value[i] = qa_alloc_array(S, sizeof *it->value[i]);
        good = good && it->value[i] != NULL;
    }
    return good && it->v != NULL && it->v_direct != NULL && it->sum != NULL ? QA_OK
                                                                            : QA_NO_MEMORY(err, "%zu states", S);
}

static qa_status solve_problem(solution *it, qa_error *err) {
    const cli_mdp *file = &it->file;
    const qa_mdp *mdp = &file->mdp;
    const double alpha_0 = file->lambda * file->alpha1;
    QA_TRY(qa_solve_m2(it->q, it->v, mdp, file->r1, file->alpha1, NULL, err));
    qa_mdp_m2_policy(it->log_pi1, mdp, it->q, it->v, file->alpha1);
    QA_TRY(qa_solve_m6(it->q, it->v, mdp, file->r2, it->log_pi1, alpha_0, file->alpha_tilde, &it->found, err));
    qa_mdp_m7_policy(it->log_pi, mdp, it->q, it->log_pi1, it->v, alpha_0, file->alpha_tilde);
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        it->sum[i] = file->lambda * file->r1[i] + file->r2[i];
    }
    QA_TRY(qa_solve_m2(it->q_direct, it->v_direct, mdp, it->sum, file->alpha_tilde, NULL, err));
    qa_mdp_m2_policy(it->log_direct, mdp, it->q_direct, it->v_direct, file->alpha_tilde);
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        const double difference = fabs(exp(it->log_pi[i]) - exp(it->log_direct[i]));
        it->policy_error = difference > it->policy_error ? difference : it->policy_error;
    }
    QA_TRY(qa_mdp_expected_return(it->value[0], mdp, file->r1, it->log_pi1, err));
    QA_TRY(qa_mdp_expected_return(it->value[1], mdp, file->r2, it->log_pi1, err));
    QA_TRY(qa_mdp_expected_return(it->value[2], mdp, file->r1, it->log_pi, err));
    return qa_mdp_expected_return(it->value[3], mdp, file->r2, it->log_pi, err);
}

/* One row per state and action that is not terminal. */
static void record_solution(cli_run *run, const solution *it, cli_records *records) {
    const qa_mdp *mdp = &it->file.mdp;
    cli_records_head_text(records, "precision", "f64");
    cli_records_head_number(records, "policy_error", it->policy_error);
    cli_records_head_number(records, "sweeps", (double)it->found.sweeps);
    cli_records_head_number(records, "bound", it->found.bound);
    (void)run;
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        const size_t s = i / mdp->A;
        if (mdp->terminal[s]) {
            continue;
        }
        cli_records_row(records);
        cli_records_number(records, "state", (double)s);
        cli_records_number(records, "action", (double)(i % mdp->A));
        cli_records_number(records, "pi1", exp(it->log_pi1[i]));
        cli_records_number(records, "q", it->q[i]);
        cli_records_number(records, "v", it->v[s]);
        cli_records_number(records, "pitilde", exp(it->log_pi[i]));
        cli_records_number(records, "optimum", exp(it->log_direct[i]));
        cli_records_number(records, "q_optimum", it->q_direct[i]);
        cli_records_number(records, "v_optimum", it->v_direct[s]);
        cli_records_number(records, "reward_1_of_pi1", it->value[0][s]);
        cli_records_number(records, "reward_2_of_pi1", it->value[1][s]);
        cli_records_number(records, "reward_1_of_pitilde", it->value[2][s]);
        cli_records_number(records, "reward_2_of_pitilde", it->value[3][s]);
    }
}

static void print_solution(const solution *it) {
    const qa_mdp *mdp = &it->file.mdp;
    printf("%zu states, %zu actions, gamma %g, lambda %g, alpha_1 %g, alpha_tilde %g (%s)\n\n", mdp->S, mdp->A,
           mdp->gamma, it->file.lambda, it->file.alpha1, it->file.alpha_tilde, "f64");
    printf("%5s %6s  %14s %14s %14s %14s %14s\n", "state", "action", "pi1", "Qhat", "Vhat", "pitilde", "optimum");
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        const size_t s = i / mdp->A;
        if (mdp->terminal[s]) {
            continue;
        }
        printf("%5zu %6zu  %14.10f %14.8g %14.8g %14.10f %14.10f\n", s, i % mdp->A, exp(it->log_pi1[i]), it->q[i],
               it->v[s], exp(it->log_pi[i]), exp(it->log_direct[i]));
    }
    printf("\nExpected discounted reward   pi1: r1           r2             pitilde: r1    r2\n");
    for (size_t s = 0; s < mdp->S; s++) {
        if (mdp->terminal[s]) {
            printf("  from state %-3zu              terminal\n", s);
        } else {
            printf("  from state %-3zu      %14.8g %14.8g %14.8g %14.8g\n", s, it->value[0][s], it->value[1][s],
                   it->value[2][s], it->value[3][s]);
        }
    }
    printf(
        "\nlargest |pitilde - optimum|  %.2e\nfixed point of (M6)          %zu sweeps, last change %.1e, bound %.1e\n",
        it->policy_error, it->found.sweeps, it->found.change, it->found.bound);
}

qa_status cli_tabular_solve(cli_run *run, qa_error *err) {
    solution it = {0};
    cli_records records = {0};
    qa_status status = QA_OK;
    if (tabular_args_of(run)->mdp == NULL) {
        return cli_bad_usage(run, err, "missing --mdp FILE: the problem to solve, as JSON");
    }
    QA_TRY(cli_mdp_load(&it.file, tabular_args_of(run)->mdp, err));
    QA_GOTO(done, allocate_solution(&it, err));
    QA_GOTO(done, solve_problem(&it, err));
    record_solution(run, &it, &records);
    if (cli_tabular_wants_text(run)) {
        print_solution(&it);
    }
    status = cli_tabular_finish(run, &records, &records, err);
done:
    cli_records_free(&records);
    solution_free(&it);
    return status;
}
