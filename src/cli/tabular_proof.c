/* Random problems that `qadapter tabular` proves something on, in parallel (tabular.h). */
#include "base/memory.h"
#include "base/pool.h"
#include "base/try.h"
#include "cli/tabular.h"

#include <stdlib.h>

/* Results of problems first..first+n-1; a failure is kept with its message. */
typedef struct proof_run {
    const tabular_proof *kind;
    const tabular_args *args;
    char *results;    /* [n x kind->bytes] */
    qa_error *errors; /* [n] */
    size_t first;
} proof_run;

static void proof_task(void *context, size_t task, size_t worker) {
    proof_run *proofs = context;
    (void)worker;
    const uint64_t problem = proofs->first + task;
    qa_error *err = &proofs->errors[task];
    err->code = proofs->kind->prove(proofs->results + problem * proofs->kind->bytes, proofs->args, problem, err);
}

enum { PROOFS_AT_ONCE = 64 };

static qa_status prove_all(cli_run *run, proof_run *proofs, size_t n, qa_error *err) {
    qa_error errors[PROOFS_AT_ONCE] = {{0}};
    qa_pool *pool = NULL;
    proofs->errors = errors;
    QA_TRY(qa_pool_create(&pool, run->args->threads, err));
    qa_status status = QA_OK;
    cli_progress_begin(&run->progress, !run->args->quiet);
    for (proofs->first = 0; proofs->first < n && status == QA_OK; proofs->first += PROOFS_AT_ONCE) {
        const size_t tasks = n - proofs->first < PROOFS_AT_ONCE ? n - proofs->first : PROOFS_AT_ONCE;
        qa_pool_run(pool, tasks, proof_task, proofs);
        for (size_t i = 0; i < tasks && status == QA_OK; i++) {
            if (errors[i].code != QA_OK) {
                status = qa_fail(err, errors[i].code, "problem %zu: %s", proofs->first + i, errors[i].message);
            }
        }
        cli_progress_count(&run->progress, "problems", proofs->first + tasks, n);
    }
    cli_progress_clear(&run->progress);
    qa_pool_destroy(pool);
    return status;
}

qa_status cli_tabular_prove(cli_run *run, const tabular_proof *kind, size_t n, qa_error *err) {
    cli_records figure = {0}, summary = {0};
    proof_run proofs = {.kind = kind, .args = tabular_args_of(run), .results = qa_alloc_array(n, kind->bytes)};
    if (proofs.results == NULL) {
        return QA_NO_MEMORY(err, "%zu problems", n);
    }
    qa_status status = QA_OK;
    QA_GOTO(done, prove_all(run, &proofs, n, err));
    cli_tabular_head(run, &figure);
    cli_tabular_head(run, &summary);
    cli_records_head_number(&summary, "n", (double)n);
    kind->summarise(run, proofs.results, n, &figure, &summary);
    status = cli_tabular_finish(run, &figure, &summary, err);
done:
    cli_records_free(&figure);
    cli_records_free(&summary);
    free(proofs.results);
    return status;
}
