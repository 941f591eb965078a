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

typedef struct solved_problem {
    cli_mdp file;
    double *log_pi1, *q, *log_pi, *q_direct, *log_direct; /* [S x A] */
    double *v, *v_direct, *sum;                           /* [S], [S], [S x A] lambda r1 + r2 */
    double *value[4];     /* [S] expected return of pi1 under r1, r2, of pitilde under r1, r2 */
    qa_fixed_point found; /* of (M6) */
    double policy_error;
} solved_problem;

static void solution_free(solved_problem *solution) {
    cli_mdp_free(&solution->file);
    free(solution->log_pi1);
    free(solution->q);
    free(solution->log_pi);
    free(solution->q_direct);
    free(solution->log_direct);
    free(solution->v);
    free(solution->v_direct);
    free(solution->sum);
    for (int i = 0; i < 4; i++) {
        free(solution->value[i]);
    }
}

static qa_status allocate_solution(solved_problem *solution, qa_error *err) {
    const size_t S = solution->file.mdp.S, n = S * solution->file.mdp.A; /* the file held as many numbers */
    bool good = true;
    double **tables[] = {&solution->log_pi1, &solution->q, &solution->log_pi, &solution->q_direct,
                         &solution->log_direct};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        *tables[i] = qa_alloc_array(n, sizeof **tables[i]);
        good = good && *tables[i] != NULL;
    }
    solution->v = qa_alloc_array(S, sizeof *solution->v);
    solution->v_direct = qa_alloc_array(S, sizeof *solution->v_direct);
    solution->sum = qa_alloc_array(n, sizeof *solution->sum);
    for (int i = 0; i < 4; i++) {
        solution->value[i] = qa_alloc_array(S, sizeof *solution->value[i]);
        good = good && solution->value[i] != NULL;
    }
    return good && solution->v != NULL && solution->v_direct != NULL && solution->sum != NULL
               ? QA_OK
               : QA_NO_MEMORY(err, "%zu states", S);
}

static qa_status solve_problem(solved_problem *solution, qa_error *err) {
    const cli_mdp *file = &solution->file;
    const qa_mdp *mdp = &file->mdp;
    const double alpha_0 = file->lambda * file->alpha1;
    QA_TRY(qa_solve_m2(solution->q, solution->v, mdp, file->r1, file->alpha1, NULL, err));
    qa_mdp_m2_policy(solution->log_pi1, mdp, solution->q, solution->v, file->alpha1);
    QA_TRY(qa_solve_m6(solution->q, solution->v, mdp, file->r2, solution->log_pi1, alpha_0, file->alpha_tilde,
                       &solution->found, err));
    qa_mdp_m7_policy(solution->log_pi, mdp, solution->q, solution->log_pi1, solution->v, alpha_0, file->alpha_tilde);
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        solution->sum[i] = file->lambda * file->r1[i] + file->r2[i];
    }
    QA_TRY(qa_solve_m2(solution->q_direct, solution->v_direct, mdp, solution->sum, file->alpha_tilde, NULL, err));
    qa_mdp_m2_policy(solution->log_direct, mdp, solution->q_direct, solution->v_direct, file->alpha_tilde);
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        const double difference = fabs(exp(solution->log_pi[i]) - exp(solution->log_direct[i]));
        solution->policy_error = difference > solution->policy_error ? difference : solution->policy_error;
    }
    QA_TRY(qa_mdp_expected_return(solution->value[0], mdp, file->r1, solution->log_pi1, err));
    QA_TRY(qa_mdp_expected_return(solution->value[1], mdp, file->r2, solution->log_pi1, err));
    QA_TRY(qa_mdp_expected_return(solution->value[2], mdp, file->r1, solution->log_pi, err));
    return qa_mdp_expected_return(solution->value[3], mdp, file->r2, solution->log_pi, err);
}

/* One row per state and action that is not terminal. */
static void record_solution(cli_run *run, const solved_problem *solution, cli_records *records) {
    const qa_mdp *mdp = &solution->file.mdp;
    cli_records_head_text(records, "precision", "f64");
    cli_records_head_number(records, "policy_error", solution->policy_error);
    cli_records_head_number(records, "sweeps", (double)solution->found.sweeps);
    cli_records_head_number(records, "bound", solution->found.bound);
    (void)run;
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        const size_t s = i / mdp->A;
        if (mdp->terminal[s]) {
            continue;
        }
        cli_records_row(records);
        cli_records_number(records, "state", (double)s);
        cli_records_number(records, "action", (double)(i % mdp->A));
        cli_records_number(records, "pi1", exp(solution->log_pi1[i]));
        cli_records_number(records, "q", solution->q[i]);
        cli_records_number(records, "v", solution->v[s]);
        cli_records_number(records, "pitilde", exp(solution->log_pi[i]));
        cli_records_number(records, "optimum", exp(solution->log_direct[i]));
        cli_records_number(records, "q_optimum", solution->q_direct[i]);
        cli_records_number(records, "v_optimum", solution->v_direct[s]);
        cli_records_number(records, "reward_1_of_pi1", solution->value[0][s]);
        cli_records_number(records, "reward_2_of_pi1", solution->value[1][s]);
        cli_records_number(records, "reward_1_of_pitilde", solution->value[2][s]);
        cli_records_number(records, "reward_2_of_pitilde", solution->value[3][s]);
    }
}

static void print_solution(const solved_problem *solution) {
    const qa_mdp *mdp = &solution->file.mdp;
    printf("%zu states, %zu actions, gamma %g, lambda %g, alpha_1 %g, alpha_tilde %g (%s)\n\n", mdp->S, mdp->A,
           mdp->gamma, solution->file.lambda, solution->file.alpha1, solution->file.alpha_tilde, "f64");
    printf("%5s %6s  %14s %14s %14s %14s %14s\n", "state", "action", "pi1", "Qhat", "Vhat", "pitilde", "optimum");
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        const size_t s = i / mdp->A;
        if (mdp->terminal[s]) {
            continue;
        }
        printf("%5zu %6zu  %14.10f %14.8g %14.8g %14.10f %14.10f\n", s, i % mdp->A, exp(solution->log_pi1[i]),
               solution->q[i], solution->v[s], exp(solution->log_pi[i]), exp(solution->log_direct[i]));
    }
    printf("\nExpected discounted reward   pi1: r1           r2             pitilde: r1    r2\n");
    for (size_t s = 0; s < mdp->S; s++) {
        if (mdp->terminal[s]) {
            printf("  from state %-3zu              terminal\n", s);
        } else {
            printf("  from state %-3zu      %14.8g %14.8g %14.8g %14.8g\n", s, solution->value[0][s],
                   solution->value[1][s], solution->value[2][s], solution->value[3][s]);
        }
    }
    printf(
        "\nlargest |pitilde - optimum|  %.2e\nfixed point of (M6)          %zu sweeps, last change %.1e, bound %.1e\n",
        solution->policy_error, solution->found.sweeps, solution->found.change, solution->found.bound);
}

qa_status cli_tabular_solve(cli_run *run, qa_error *err) {
    solved_problem solution = {0};
    cli_records records = {0};
    qa_status status = QA_OK;
    if (tabular_args_of(run)->mdp == NULL) {
        return cli_bad_usage(run, err, "missing --mdp FILE: the problem to solve, as JSON");
    }
    QA_TRY(cli_mdp_load(&solution.file, tabular_args_of(run)->mdp, err));
    QA_GOTO(done, allocate_solution(&solution, err));
    QA_GOTO(done, solve_problem(&solution, err));
    record_solution(run, &solution, &records);
    if (cli_tabular_wants_text(run)) {
        print_solution(&solution);
    }
    status = cli_tabular_finish(run, &records, &records, err);
done:
    cli_records_free(&records);
    solution_free(&solution);
    return status;
}
