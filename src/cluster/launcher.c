/* See launcher.h. */
#include "cluster/launcher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

/* In this order: an mpirun that runs within a job of Slurm starts its own daemons by srun, whose variables its
 * processes then have, too. */
static const struct {
    const char *name, *ranks, *rank;
} launchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"}, /* Open MPI */
    {"mpirun", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"},   /* MVAPICH */
    {"jsrun", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK"},      /* LSF */
    {"mpirun", "PMI_SIZE", "PMI_RANK"},                         /* MPICH's hydra, Intel MPI, srun --mpi=pmi2 */
    {"flux run", "FLUX_JOB_SIZE", "FLUX_TASK_RANK"},            /* Flux */
    {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},           /* Slurm; sbatch sets the second alone */
};

/* A whole number without sign, blanks or anything behind it. */
static bool read_count(const char *name, size_t *count) {
    const char *text = getenv(name);
    char *end = NULL;
    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    *count = (size_t)value;
    return errno == 0 && end[0] == '\0';
}

qa_launcher qa_launcher_find(void) {
    size_t rank = 0, ranks = 0;
    bool told = false;
    for (size_t i = 0; i < sizeof launchers / sizeof launchers[0]; i++) {
        if (read_count(launchers[i].ranks, &ranks)) {
            told = true;
            if (ranks > 1) {
                (void)read_count(launchers[i].rank, &rank);
                return (qa_launcher){launchers[i].name, launchers[i].ranks, ranks, rank};
            }
        }
    }
    /* A launcher that speaks PMIx alone tells the rank and not how many there are. */
    if (!told && read_count("PMIX_RANK", &rank)) {
        return (qa_launcher){"a launcher", "PMIX_RANK", 0, rank};
    }
    return (qa_launcher){0};
}

bool qa_launcher_connects(const qa_launcher *launcher) {
    bool connects = launcher->name == NULL || strcmp(launcher->name, "srun") != 0;
    for (char *const *variable = environ; *variable != NULL && !connects; variable++) {
        connects = strncmp(*variable, "PMI", 3) == 0; /* PMI_..., PMI2_..., PMIX_... */
    }
    return connects;
}
