/* Which environments are a launcher's of several processes, and how the program answers to them. */
#include "cluster/launcher.h"
#include "support/cli.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* What launchers leave behind: all of it goes before each test, which has a process of its own. */
static void clear_environment(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE",
                                        "OMPI_COMM_WORLD_RANK",
                                        "MV2_COMM_WORLD_SIZE",
                                        "MV2_COMM_WORLD_RANK",
                                        "JSM_NAMESPACE_SIZE",
                                        "JSM_NAMESPACE_RANK",
                                        "PMI_SIZE",
                                        "PMI_RANK",
                                        "FLUX_JOB_SIZE",
                                        "FLUX_TASK_RANK",
                                        "SLURM_STEP_NUM_TASKS",
                                        "SLURM_PROCID",
                                        "PMIX_RANK"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsetenv(names[i]);
    }
}

/* "A=1 B=2" */
static void put_environment(const char *variables) {
    char *text = strdup(variables), *rest = text;
    clear_environment();
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '=');
        ck_assert_ptr_nonnull(value);
        *value = '\0';
        ck_assert_int_eq(setenv(word, value + 1, 1), 0);
    }
    free(text);
}

static const struct {
    const char *environment, *name;
    size_t ranks, rank;
} several[] = {
    {"OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_RANK=3 PMIX_RANK=3", "mpirun", 4, 3},
    {"PMI_SIZE=2 PMI_RANK=1", "mpirun", 2, 1},
    {"SLURM_STEP_NUM_TASKS=64 SLURM_PROCID=63 SLURM_NTASKS=64", "srun", 64, 63},
    {"SLURM_STEP_NUM_TASKS=8 PMI_SIZE=8 PMI_RANK=2 SLURM_PROCID=2", "mpirun", 8, 2},
    /* mpirun within a job of Slurm, on another machine than the first: its daemon is a task of srun's */
    {"SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_RANK=5", "mpirun", 8, 5},
    {"SLURM_STEP_NUM_TASKS=3 SLURM_PROCID=2 OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_RANK=5", "mpirun", 8, 5},
    {"FLUX_JOB_SIZE=3 FLUX_TASK_RANK=2", "flux run", 3, 2},
    {"JSM_NAMESPACE_SIZE=6 JSM_NAMESPACE_RANK=1", "jsrun", 6, 1},
    {"PMIX_RANK=1", "a launcher", 0, 1},
};

START_TEST(environments_of_several) {
    put_environment(several[_i].environment);
    const qa_launcher found = qa_launcher_find();
    ck_assert_ptr_nonnull(found.name);
    ck_assert_str_eq(found.name, several[_i].name);
    ck_assert_ptr_nonnull(strstr(several[_i].environment, found.says));
    ck_assert_uint_eq(found.ranks, several[_i].ranks);
    ck_assert_uint_eq(found.rank, several[_i].rank);
}
END_TEST

START_TEST(srun_connects_its_processes_where_it_is_told_how) {
    put_environment("SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=0");
    qa_launcher found = qa_launcher_find();
    ck_assert(!qa_launcher_connects(&found));
    put_environment("SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=0 PMIX_RANK=0");
    found = qa_launcher_find();
    ck_assert(qa_launcher_connects(&found));
    put_environment("OMPI_COMM_WORLD_SIZE=4");
    found = qa_launcher_find();
    ck_assert(qa_launcher_connects(&found));
}
END_TEST

static const char *const alone[] = {
    "",
    "OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=0 PMIX_RANK=0",
    "PMI_SIZE=1 PMI_RANK=0",
    "SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 PMIX_RANK=0",     /* srun -n 1 */
    "SLURM_NTASKS=64 SLURM_PROCID=0 SLURM_JOB_NUM_NODES=64", /* a batch script, before it starts srun */
    "OMPI_COMM_WORLD_SIZE=four PMI_SIZE= SLURM_STEP_NUM_TASKS=-2",
};

START_TEST(environments_of_one) {
    put_environment(alone[_i]);
    const qa_launcher found = qa_launcher_find();
    ck_assert_ptr_null(found.name);
    ck_assert_uint_eq(found.rank, 0);
}
END_TEST

/* Whether MPI is built in (then srun gave them no way to find each other) or not: nobody writes, and rank 0 alone tells
 * how it can be done. */
START_TEST(one_of_several_that_cannot_reach_the_others_is_refused) {
    put_environment("SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=0");
    qa_cli_result told = QA_CLI("info", "--model", "nowhere");
    qa_cli_check(&told, 1, NULL, "srun started 4 processes (SLURM_STEP_NUM_TASKS)");
    ck_assert(strstr(told.err, "`make MPI=1`") != NULL || strstr(told.err, "srun --mpi=pmix") != NULL);
    qa_cli_free(&told);
    put_environment("SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=2");
    qa_cli_result silent = QA_CLI("info", "--model", "nowhere");
    qa_cli_check(&silent, 1, NULL, NULL);
    ck_assert_str_eq(silent.err, "");
    ck_assert_str_eq(silent.out, "");
    qa_cli_free(&silent);
}
END_TEST

START_TEST(the_first_one_answers_what_is_no_command) {
    put_environment("PMI_SIZE=2 PMI_RANK=0");
    qa_cli_expect(QA_CLI("--version"), 0, "qadapter ", NULL);
    qa_cli_expect(QA_CLI("trian"), 2, NULL, "did you mean train?");
    put_environment("PMI_SIZE=2 PMI_RANK=1");
    qa_cli_result silent = QA_CLI("trian");
    qa_cli_check(&silent, 2, NULL, NULL);
    ck_assert_str_eq(silent.err, "");
    qa_cli_free(&silent);
}
END_TEST

START_TEST(a_process_alone_runs) {
    put_environment(alone[_i]);
    qa_cli_expect(QA_CLI("info", "--model", "nowhere"), 1, NULL, "qadapter info: nowhere");
}
END_TEST

Suite *cluster_launcher_suite(void);

Suite *cluster_launcher_suite(void) {
    Suite *suite = suite_create("cluster/launcher");
    TCase *tests = tcase_create("launcher");
    const int n_several = sizeof several / sizeof several[0], n_alone = sizeof alone / sizeof alone[0];
    tcase_add_loop_test(tests, environments_of_several, 0, n_several);
    tcase_add_test(tests, srun_connects_its_processes_where_it_is_told_how);
    tcase_add_loop_test(tests, environments_of_one, 0, n_alone);
    tcase_add_test(tests, one_of_several_that_cannot_reach_the_others_is_refused);
    tcase_add_test(tests, the_first_one_answers_what_is_no_command);
    tcase_add_loop_test(tests, a_process_alone_runs, 0, n_alone);
    suite_add_tcase(suite, tests);
    return suite;
}
