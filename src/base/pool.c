/* See pool.h. Workers claim task numbers from an atomic counter. Between two runs a worker spins
 * briefly (a training step calls the pool thousands of times, microseconds apart, and what the calling
 * thread does in between takes some more) and then sleeps on a condition variable: to be woken costs tens of
 * microseconds on a virtual machine. */
#include "base/pool.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/try.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double SPIN_SECONDS = 100e-6;
enum { SPINS_BETWEEN_YIELDS = 64 }; /* a yield lets others run where there are more threads than cores */

/* Tells the core that this is a loop of waiting. */
static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Spins until *value is not (or, with `until`, is) `compared`, for SPIN_SECONDS at most; true when it came to that. */
static bool spin(const atomic_size_t *value, size_t compared, bool until) {
    const double begun = qa_seconds();
    do {
        for (int i = 0; i < SPINS_BETWEEN_YIELDS; i++) {
            if ((atomic_load_explicit(value, memory_order_acquire) == compared) == until) {
                return true;
            }
            relax();
        }
        sched_yield();
    } while (qa_seconds() - begun < SPIN_SECONDS);
    return false;
}

struct qa_pool {
    size_t threads;     /* workers, the caller included */
    pthread_t *helpers; /* [threads - 1] */
    size_t started;     /* helpers that run */
    pthread_mutex_t mutex;
    pthread_cond_t wake;      /* a new run, or the end */
    pthread_cond_t done;      /* the last helper left the run */
    atomic_size_t generation; /* number of the current run */
    atomic_size_t next;       /* the next unclaimed task */
    atomic_size_t busy;       /* helpers that have not left the current run */
    bool stopping;            /* under mutex */
    size_t tasks;
    qa_task task;
    void *context;
    qa_profile *profile; /* NULL: nobody asks where the time goes */
    double *spent;       /* [threads] seconds of every helper in the current run; with a profile */
    size_t depth;        /* parts begun and not ended */
    qa_part part;        /* the outermost of them */
    double part_begun;
};

typedef struct helper_start {
    qa_pool *pool;
    size_t worker;
} helper_start;

static void work(qa_pool *pool, size_t worker) {
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (task >= pool->tasks) {
            return;
        }
        pool->task(pool->context, task, worker);
    }
}

/* A helper's share of a run. The profile stays as it is until all helpers have left the run. */
static void help(qa_pool *pool, size_t worker) {
    if (pool->profile == NULL) {
        work(pool, worker);
        return;
    }
    const double begun = qa_seconds();
    work(pool, worker);
    pool->spent[worker] = qa_seconds() - begun;
}

/* Waits for a run newer than *seen; false when the pool is being destroyed. */
static bool wait_for_run(qa_pool *pool, size_t *seen) {
    bool stopping = false;
    if (!spin(&pool->generation, *seen, false)) {
        pthread_mutex_lock(&pool->mutex);
        while (!pool->stopping && atomic_load_explicit(&pool->generation, memory_order_acquire) == *seen) {
            pthread_cond_wait(&pool->wake, &pool->mutex);
        }
        stopping = pool->stopping && atomic_load_explicit(&pool->generation, memory_order_acquire) == *seen;
        pthread_mutex_unlock(&pool->mutex);
    }
    *seen = atomic_load_explicit(&pool->generation, memory_order_acquire);
    return !stopping;
}

static void *helper_main(void *argument) {
    helper_start start = *(helper_start *)argument;
    free(argument);
    qa_pool *pool = start.pool;
    size_t seen = 0;
    while (wait_for_run(pool, &seen)) {
        help(pool, start.worker);
        if (atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
    return NULL;
}

static qa_status start_helpers(qa_pool *pool, qa_error *err) {
    for (size_t i = 0; i + 1 < pool->threads; i++) {
        helper_start *start = malloc(sizeof *start);
        if (start == NULL) {
            return QA_NO_MEMORY(err, "a thread");
        }
        start->pool = pool;
        start->worker = i + 1;
        int failed = pthread_create(&pool->helpers[i], NULL, helper_main, start);
        if (failed != 0) {
            free(start);
            return qa_fail(err, QA_ERR_MEMORY, "cannot start thread %zu of %zu: %s", i + 2, pool->threads,
                           strerror(failed));
        }
        pool->started++;
    }
    return QA_OK;
}

qa_status qa_pool_create(qa_pool **out, size_t threads, qa_error *err) {
    *out = NULL;
    if (threads == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        threads = online > 0 ? (size_t)online : 1;
    }
    qa_pool *pool = NULL;
    QA_TRY(QA_NEW(pool, 1, err, "the thread pool"));
    pool->threads = threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->helpers = qa_alloc_array(threads, sizeof *pool->helpers);
    pool->spent = qa_alloc_array(threads, sizeof *pool->spent);
    qa_status status = pool->helpers == NULL || pool->spent == NULL ? QA_NO_MEMORY(err, "%zu threads", threads)
                                                                    : start_helpers(pool, err);
    if (status != QA_OK) {
        qa_pool_destroy(pool);
        return status;
    }
    *out = pool;
    return QA_OK;
}

void qa_pool_destroy(qa_pool *pool) {
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->started; i++) {
        pthread_join(pool->helpers[i], NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->helpers);
    free(pool->spent);
    free(pool);
}

size_t qa_pool_threads(const qa_pool *pool) { return pool == NULL ? 1 : pool->threads; }

/* Until all helpers have left the run: they seldom need long. */
static void wait_for_helpers(qa_pool *pool) {
    if (spin(&pool->busy, 0, true)) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load_explicit(&pool->busy, memory_order_acquire) != 0) {
        pthread_cond_wait(&pool->done, &pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
}

/* What the caller waited for, since `begun`, and what the helpers did in the run. */
static void add_helpers(qa_pool *pool, double begun) {
    pool->profile->waited += qa_seconds() - begun;
    for (size_t worker = 1; worker < pool->threads; worker++) {
        pool->profile->helped += pool->spent[worker];
    }
}

void qa_pool_run(qa_pool *pool, size_t tasks, qa_task task, void *context) {
    if (pool == NULL || pool->threads == 1 || tasks <= 1) {
        for (size_t i = 0; i < tasks; i++) {
            task(context, i, 0);
        }
        return;
    }
    pool->tasks = tasks;
    pool->task = task;
    pool->context = context;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->busy, pool->started, memory_order_relaxed);
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);

    work(pool, 0);
    const double begun = pool->profile == NULL ? 0.0 : qa_seconds();
    wait_for_helpers(pool);
    if (pool->profile != NULL) {
        add_helpers(pool, begun);
    }
}

enum { TASKS_PER_THREAD = 4 /* more blocks than threads: the tail of a run is short */ };

typedef struct block_run {
    qa_block block;
    void *context;
    size_t count, size; /* items, and those of every block but the last */
} block_run;

static void block_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const block_run *run = context;
    const size_t begin = task * run->size, left = run->count - begin;
    run->block(run->context, begin, left < run->size ? run->count : begin + run->size);
}

void qa_pool_run_blocks(qa_pool *pool, size_t count, size_t cost, size_t multiple, qa_block block, void *context) {
    const size_t threads = pool == NULL ? 1 : pool->threads;
    if (count == 0) {
        return;
    }
    size_t tasks = 1;
    if (threads > 1) {
        const double worth = (double)count * (double)cost / QA_OPERATIONS_PER_TASK;
        const size_t most = threads * TASKS_PER_THREAD;
        tasks = worth >= (double)most ? most : worth < 1.0 ? 1 : (size_t)worth;
    }
    block_run run = {.block = block, .context = context, .count = count};
    run.size = ((count + tasks - 1) / tasks + multiple - 1) / multiple * multiple;
    qa_pool_run(pool, (count + run.size - 1) / run.size, block_task, &run);
}

/* ---- where the time goes ---- */

void qa_pool_profile(qa_pool *pool, qa_profile *profile) {
    pool->profile = profile;
    pool->depth = 0;
}

void qa_part_begin(qa_pool *pool, qa_part part) {
    if (pool == NULL || pool->profile == NULL) {
        return;
    }
    if (pool->depth++ == 0) {
        pool->part = part;
        pool->part_begun = qa_seconds();
    }
}

void qa_part_end(qa_pool *pool) {
    if (pool == NULL || pool->profile == NULL || pool->depth == 0) {
        return;
    }
    if (--pool->depth == 0) {
        pool->profile->seconds[pool->part] += qa_seconds() - pool->part_begun;
    }
}
