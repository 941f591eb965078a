/* What a launcher of several processes (mpirun, srun) put into the environment of this one. */
#ifndef QA_CLUSTER_LAUNCHER_H
#define QA_CLUSTER_LAUNCHER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_launcher {
    const char *name; /* "mpirun", "srun"...; NULL: none, or one that started this process alone */
    const char *says; /* the variable that tells */
    size_t ranks;     /* > 1, or 0: not told */
    size_t rank;      /* of this process, 0 where it is not told */
} qa_launcher;

/* The environment of a batch job alone (sbatch, salloc) is no launcher's. */
qa_launcher qa_launcher_find(void);

/* Whether it gave its processes a way to find each other; srun does so where --mpi names one. */
bool qa_launcher_connects(const qa_launcher *launcher);

#endif
