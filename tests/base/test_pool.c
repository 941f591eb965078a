/* The thread pool: every task exactly once, whatever the number of threads, tasks and runs. And where the time goes. */
#include "base/pool.h"

#include "base/clock.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_TASKS = 5000, MOST_WORKERS = 16 };

/* Plain (not atomic) per-task counters: a task that ran twice at once would be a data race, and one
 * that ran twice or never shows in the count. */
typedef struct board {
    int runs[MOST_TASKS];
    atomic_int inside[MOST_WORKERS]; /* tasks that a worker is in: never more than one */
    atomic_int faults;
    size_t workers;
} board;

static void mark(void *context, size_t task, size_t worker) {
    board *b = context;
    if (worker >= b->workers || task >= MOST_TASKS || atomic_fetch_add(&b->inside[worker], 1) != 0) {
        atomic_fetch_add(&b->faults, 1);
        return;
    }
    b->runs[task]++;
    if (task % 16 == 0) {
        sched_yield(); /* mixes the order in which workers come back */
    }
    atomic_fetch_sub(&b->inside[worker], 1);
}

static void run_and_check(qa_pool *pool, board *b, size_t tasks) {
    memset(b->runs, 0, sizeof b->runs);
    qa_pool_run(pool, tasks, mark, b);
    ck_assert_int_eq(atomic_load(&b->faults), 0);
    for (size_t i = 0; i < MOST_TASKS; i++) {
        if (b->runs[i] != (i < tasks)) {
            ck_abort_msg("task %zu of %zu ran %d times", i, tasks, b->runs[i]);
        }
    }
}

static board *make_board(size_t workers) {
    board *b = calloc(1, sizeof *b);
    ck_assert_ptr_nonnull(b);
    b->workers = workers;
    return b;
}

START_TEST(every_task_exactly_once) {
    static const size_t thread_counts[] = {1, 2, 3, 8};
    static const size_t task_counts[] = {0, 1, 2, 3, 7, 8, 9, 64, 1000, MOST_TASKS};
    size_t threads = thread_counts[_i];
    qa_error err = {0};
    qa_pool *pool = NULL;
    ck_assert_int_eq(qa_pool_create(&pool, threads, &err), QA_OK);
    ck_assert_uint_eq(qa_pool_threads(pool), threads);
    board *b = make_board(threads);
    for (size_t i = 0; i < sizeof task_counts / sizeof task_counts[0]; i++) {
        run_and_check(pool, b, task_counts[i]);
    }
    free(b);
    qa_pool_destroy(pool);
}
END_TEST

START_TEST(thousands_of_runs_in_a_row) {
    qa_error err = {0};
    qa_pool *pool = NULL;
    ck_assert_int_eq(qa_pool_create(&pool, 4, &err), QA_OK);
    board *b = make_board(4);
    memset(b->runs, 0, sizeof b->runs);
    enum { RUNS = 3000 };
    for (size_t run = 0; run < RUNS; run++) {
        qa_pool_run(pool, 2 + run % 5, mark, b);
    }
    ck_assert_int_eq(atomic_load(&b->faults), 0);
    ck_assert_int_eq(b->runs[0], RUNS);
    ck_assert_int_eq(b->runs[1], RUNS);
    for (size_t i = 2; i < 6; i++) {
        ck_assert_int_eq(b->runs[i], RUNS / 5 * (int)(6 - i));
    }
    free(b);
    qa_pool_destroy(pool);
}
END_TEST

/* After a pause the helpers no longer spin but sleep: the wake-up is another path. */
START_TEST(sleeping_helpers_wake_up) {
    qa_error err = {0};
    qa_pool *pool = NULL;
    ck_assert_int_eq(qa_pool_create(&pool, 3, &err), QA_OK);
    board *b = make_board(3);
    const struct timespec pause = {0, 20000000};
    for (int run = 0; run < 5; run++) {
        (void)nanosleep(&pause, NULL);
        run_and_check(pool, b, 100);
    }
    free(b);
    qa_pool_destroy(pool);
}
END_TEST

typedef struct meeting {
    pthread_mutex_t mutex;
    pthread_cond_t all_here;
    size_t arrived, expected;
    size_t workers_seen[MOST_WORKERS];
} meeting;

/* Leaves only when every other task has come: impossible unless all run at the same time. */
static void meet(void *context, size_t task, size_t worker) {
    (void)task;
    meeting *m = context;
    pthread_mutex_lock(&m->mutex);
    m->workers_seen[worker]++;
    m->arrived++;
    pthread_cond_broadcast(&m->all_here);
    while (m->arrived < m->expected) {
        pthread_cond_wait(&m->all_here, &m->mutex);
    }
    pthread_mutex_unlock(&m->mutex);
}

START_TEST(tasks_run_at_the_same_time) { /* a pool that does not would hang here, and time out */
    qa_error err = {0};
    qa_pool *pool = NULL;
    ck_assert_int_eq(qa_pool_create(&pool, 4, &err), QA_OK);
    meeting m = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 4, {0}};
    qa_pool_run(pool, 4, meet, &m);
    ck_assert_uint_eq(m.arrived, 4);
    for (size_t worker = 0; worker < 4; worker++) {
        ck_assert_uint_eq(m.workers_seen[worker], 1); /* each in a worker of its own */
    }
    qa_pool_destroy(pool);
}
END_TEST

typedef struct straggler {
    atomic_bool helper_inside, helper_done;
} straggler;

/* The caller's task ends as soon as a helper is in its own, which takes long. */
static void lag(void *context, size_t task, size_t worker) {
    (void)task;
    straggler *s = context;
    if (worker == 0) {
        while (!atomic_load(&s->helper_inside)) {
            sched_yield();
        }
        return;
    }
    const struct timespec pause = {0, 30000000};
    atomic_store(&s->helper_inside, true);
    (void)nanosleep(&pause, NULL);
    atomic_store(&s->helper_done, true);
}

START_TEST(run_waits_for_the_slowest) {
    qa_error err = {0};
    qa_pool *pool = NULL;
    ck_assert_int_eq(qa_pool_create(&pool, 2, &err), QA_OK);
    for (int run = 0; run < 3; run++) {
        straggler s = {0};
        qa_pool_run(pool, 2, lag, &s);
        ck_assert(atomic_load(&s.helper_done));
    }
    qa_pool_destroy(pool);
}
END_TEST

typedef struct order_log {
    size_t tasks[8];
    size_t n;
    pthread_t thread;
} order_log;

static void write_down(void *context, size_t task, size_t worker) {
    order_log *log = context;
    ck_assert_uint_eq(worker, 0);
    ck_assert(pthread_equal(pthread_self(), log->thread));
    log->tasks[log->n++] = task;
}

START_TEST(no_pool_runs_in_the_caller) {
    ck_assert_uint_eq(qa_pool_threads(NULL), 1);
    order_log log = {.thread = pthread_self()};
    qa_pool_run(NULL, 5, write_down, &log);
    ck_assert_uint_eq(log.n, 5);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_uint_eq(log.tasks[i], i);
    }
    qa_error err = {0};
    qa_pool *pool = NULL;
    ck_assert_int_eq(qa_pool_create(&pool, 4, &err), QA_OK);
    log.n = 0;
    qa_pool_run(pool, 1, write_down, &log); /* a single task is not handed over */
    ck_assert_uint_eq(log.n, 1);
    qa_pool_run(pool, 0, write_down, &log);
    ck_assert_uint_eq(log.n, 1);
    qa_pool_destroy(pool);
}
END_TEST

START_TEST(creation_and_destruction) {
    qa_error err = {0};
    qa_pool_destroy(NULL);
    for (int i = 0; i < 50; i++) { /* never used, and used once: both must end */
        qa_pool *pool = NULL;
        ck_assert_int_eq(qa_pool_create(&pool, 3, &err), QA_OK);
        if (i % 2 == 0) {
            board *b = make_board(3);
            qa_pool_run(pool, 10, mark, b);
            ck_assert_int_eq(atomic_load(&b->faults), 0);
            free(b);
        }
        qa_pool_destroy(pool);
    }
    qa_pool *all = NULL;
    ck_assert_int_eq(qa_pool_create(&all, 0, &err), QA_OK);
    ck_assert_uint_eq(qa_pool_threads(all), (size_t)sysconf(_SC_NPROCESSORS_ONLN));
    qa_pool_destroy(all);
}
END_TEST

/* ---- where the time goes ---- */

static void wait_a_moment(void) {
    const struct timespec pause = {0, 2000000};
    (void)nanosleep(&pause, NULL);
}

static qa_pool *profiled_pool(size_t threads, qa_profile *profile) {
    qa_error err = {0};
    qa_pool *pool = NULL;
    ck_assert_int_eq(qa_pool_create(&pool, threads, &err), QA_OK);
    qa_pool_profile(pool, profile);
    return pool;
}

START_TEST(the_outermost_part_counts) {
    qa_profile profile = {0};
    qa_pool *pool = profiled_pool(1, &profile);
    const double begun = qa_seconds();
    qa_part_begin(pool, QA_PART_HEAD);
    wait_a_moment();
    qa_part_begin(pool, QA_PART_PRODUCTS);
    wait_a_moment();
    qa_part_begin(pool, QA_PART_NORMS);
    qa_part_end(pool);
    qa_part_end(pool);
    wait_a_moment();
    ck_assert_double_eq(profile.seconds[QA_PART_HEAD], 0.0); /* not before its end */
    qa_part_end(pool);
    const double wall = qa_seconds() - begun;
    ck_assert_double_ge(profile.seconds[QA_PART_HEAD], 0.006);
    ck_assert_double_le(profile.seconds[QA_PART_HEAD], wall);
    ck_assert_double_eq(profile.seconds[QA_PART_PRODUCTS], 0.0);
    ck_assert_double_eq(profile.seconds[QA_PART_NORMS], 0.0);
    qa_part_begin(pool, QA_PART_PRODUCTS); /* on its own it counts, and twice is a sum */
    wait_a_moment();
    qa_part_end(pool);
    const double once = profile.seconds[QA_PART_PRODUCTS];
    ck_assert_double_ge(once, 0.002);
    qa_part_begin(pool, QA_PART_PRODUCTS);
    wait_a_moment();
    qa_part_end(pool);
    ck_assert_double_ge(profile.seconds[QA_PART_PRODUCTS], once + 0.002);
    qa_part_end(pool); /* one too many does nothing */
    qa_pool_destroy(pool);
}
END_TEST

START_TEST(without_a_profile_nothing_is_recorded) {
    qa_profile profile = {0};
    qa_pool *pool = profiled_pool(2, &profile);
    straggler s = {0};
    qa_pool_run(pool, 2, lag, &s);
    qa_part_begin(pool, QA_PART_NORMS);
    wait_a_moment();
    qa_part_end(pool);
    qa_pool_profile(pool, NULL);
    const qa_profile before = profile;
    s = (straggler){0};
    qa_pool_run(pool, 2, lag, &s);
    qa_part_begin(pool, QA_PART_NORMS);
    wait_a_moment();
    qa_part_end(pool);
    qa_part_begin(NULL, QA_PART_NORMS);
    qa_part_end(NULL);
    ck_assert_double_gt(before.seconds[QA_PART_NORMS], 0.0);
    ck_assert_double_gt(before.helped, 0.0);
    ck_assert_int_eq(memcmp(&before, &profile, sizeof profile), 0);
    qa_pool_destroy(pool);
}
END_TEST

/* The helper is at its task for 30 ms, and the caller waits for most of them. */
START_TEST(helpers_and_waiting_are_recorded) {
    qa_profile profile = {0};
    qa_pool *pool = profiled_pool(2, &profile);
    enum { RUNS = 3 };
    const double begun = qa_seconds();
    for (int run = 0; run < RUNS; run++) {
        straggler s = {0};
        qa_pool_run(pool, 2, lag, &s);
    }
    const double wall = qa_seconds() - begun;
    ck_assert_double_ge(profile.helped, RUNS * 0.03);
    ck_assert_double_le(profile.helped, wall);
    ck_assert_double_gt(profile.waited, 0.0);
    ck_assert_double_le(profile.waited, wall);
    for (int part = 0; part < QA_PARTS; part++) {
        ck_assert_double_eq(profile.seconds[part], 0.0); /* no part was open */
    }
    const double helped = profile.helped;
    wait_a_moment();
    qa_pool_run(pool, 1, meet, &(meeting){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 1, {0}});
    ck_assert_double_eq(profile.helped, helped); /* a single task is the caller's */
    qa_pool_destroy(pool);
}
END_TEST

Suite *base_pool_suite(void);
Suite *base_pool_suite(void) {
    Suite *suite = suite_create("base/pool");
    TCase *tests = tcase_create("pool");
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, every_task_exactly_once, 0, 4);
    tcase_add_test(tests, thousands_of_runs_in_a_row);
    tcase_add_test(tests, sleeping_helpers_wake_up);
    tcase_add_test(tests, tasks_run_at_the_same_time);
    tcase_add_test(tests, run_waits_for_the_slowest);
    tcase_add_test(tests, no_pool_runs_in_the_caller);
    tcase_add_test(tests, creation_and_destruction);
    tcase_add_test(tests, the_outermost_part_counts);
    tcase_add_test(tests, without_a_profile_nothing_is_recorded);
    tcase_add_test(tests, helpers_and_waiting_are_recorded);
    suite_add_tcase(suite, tests);
    return suite;
}
