/* See jobs.h. One mutex guards everything that both kinds of threads touch; it is not held while the engine steps, but
 * in the engine's callbacks. A job has two owners, the client and the thread that computes, and goes with the last. */
#include "serve/jobs.h"
#include "serve/reply_json.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/try.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One answer of a job among the engine's requests. */
typedef struct seat {
    qa_job *job;
    qa_choice *choice;
    uint64_t handle;
    bool taken; /* the engine has it: on_end has not come yet */
} seat;

struct qa_job {
    qa_jobs *jobs;
    qa_job *next;
    qa_ask ask;
    qa_reply reply;
    seat *seats;
    size_t n_taken;
    pthread_cond_t news;
    bool is_new;             /* something came since the last look */
    bool given_up, released; /* by the client */
    qa_status (*work)(void *user, qa_error *err);
    void *user;
    qa_status status; /* of the work */
    bool worked;
    bool swept; /* it is in no list any more */
};

struct qa_jobs {
    const qa_served *served;
    qa_engine *engine;
    size_t limit, n;
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    qa_job *incoming, **incoming_end; /* first in, first out */
    qa_job *running;
    bool draining, stopping;
    uint64_t number, seed; /* of requests so far; of those without one */
    qa_engine_counts counts;
};

/* ---- the thread that computes ---- */

static bool on_job_token(void *user, const qa_engine_token *token) {
    seat *at = user;
    qa_job *job = at->job;
    qa_error err = {0};
    bool more = true;
    (void)pthread_mutex_lock(&job->jobs->lock);
    if (qa_reply_take(&job->reply, at->choice, token, &more, &err) != QA_OK) {
        qa_reply_end(&job->reply, at->choice, QA_END_FAILED, &err);
        more = false;
    }
    more = more && !job->given_up;
    if (job->ask.stream) {
        job->is_new = true;
        (void)pthread_cond_broadcast(&job->news);
    }
    (void)pthread_mutex_unlock(&job->jobs->lock);
    return more;
}

static void end_job_seat(seat *at, qa_request_end end, const qa_error *err) {
    qa_job *job = at->job;
    qa_reply_end(&job->reply, at->choice, end, err);
    job->n_taken -= at->taken ? 1 : 0;
    at->taken = false;
    if (job->ask.stream || qa_reply_is_complete(&job->reply)) {
        job->is_new = true;
        (void)pthread_cond_broadcast(&job->news);
    }
}

static void on_job_end(void *user, qa_request_end end, const qa_error *err) {
    seat *at = user;
    qa_jobs *jobs = at->job->jobs;
    (void)pthread_mutex_lock(&jobs->lock);
    end_job_seat(at, end, err);
    (void)pthread_mutex_unlock(&jobs->lock);
}

static void begin_work(qa_job *job) {
    job->status = job->work(job->user, &job->reply.failure.err);
    (void)pthread_mutex_lock(&job->jobs->lock);
    job->worked = job->is_new = true;
    (void)pthread_cond_broadcast(&job->news);
    (void)pthread_mutex_unlock(&job->jobs->lock);
}

/* Every answer becomes a request of the engine. Without the lock: only this thread looks at seats. */
static void begin_job(qa_jobs *jobs, qa_job *job) {
    const qa_reply *reply = &job->reply;
    for (size_t i = 0; i < reply->n_choices; i++) {
        seat *at = &job->seats[i];
        qa_request request = qa_reply_request(reply, at->choice);
        const bool nothing = request.max_tokens == 0 && !request.echo;
        qa_error err = {0};
        qa_status status = QA_OK;
        request.on_token = on_job_token;
        request.on_end = on_job_end;
        request.user = at;
        at->taken = true;
        job->n_taken++;
        if (!nothing) {
            status = qa_engine_add(jobs->engine, &request, &at->handle, &err);
        }
        if (nothing || status != QA_OK) {
            on_job_end(at, nothing ? QA_END_LENGTH : QA_END_FAILED, &err);
        }
    }
}

static void cancel_job(qa_jobs *jobs, qa_job *job) {
    for (size_t i = 0; i < job->reply.n_choices && job->n_taken > 0; i++) {
        if (job->seats[i].taken) {
            qa_engine_cancel(jobs->engine, job->seats[i].handle);
        }
    }
}

static void free_job(qa_job *job) {
    qa_reply_free(&job->reply);
    qa_ask_free(&job->ask);
    (void)pthread_cond_destroy(&job->news);
    free(job->seats);
    free(job);
}

/* With the lock: takes out what has ended; what the client has left, too, is freed. */
static void sweep(qa_jobs *jobs) {
    for (qa_job **at = &jobs->running; *at != NULL;) {
        qa_job *job = *at;
        if (job->n_taken > 0 || (job->work != NULL && !job->worked)) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        jobs->n--;
        job->swept = true; /* the client alone has it now */
        if (job->released) {
            free_job(job);
        }
    }
}

/* A round that failed as a whole fails what is in it. */
static void fail_running(qa_jobs *jobs, const qa_error *err) {
    for (qa_job *job = jobs->running; job != NULL; job = job->next) {
        (void)pthread_mutex_lock(&jobs->lock);
        if (job->reply.failure.status == 0 && job->n_taken > 0) {
            job->reply.failure.err = *err;
            (void)!qa_refuse_if_failed(&job->reply.failure, err->code == QA_ERR_MEMORY ? QA_ERR_MEMORY : QA_ERR_NAN,
                                       NULL);
        }
        (void)pthread_mutex_unlock(&jobs->lock);
        cancel_job(jobs, job);
    }
}

/* Whether what is left of it is to be cancelled. Without the lock. */
static bool is_given_up(qa_jobs *jobs, const qa_job *job) {
    (void)pthread_mutex_lock(&jobs->lock);
    const bool yes = job->given_up || job->reply.failure.status != 0 || jobs->stopping;
    (void)pthread_mutex_unlock(&jobs->lock);
    return yes;
}

/* One turn: what came begins, what was given up ends, the engine steps. */
static void run_turn(qa_jobs *jobs, qa_job *came) {
    qa_error err = {0};
    for (qa_job *job = came; job != NULL; job = job->next) {
        if (job->work != NULL) {
            begin_work(job);
        } else {
            begin_job(jobs, job);
        }
    }
    for (qa_job *job = jobs->running; job != NULL; job = job->next) {
        if (job->n_taken > 0 && is_given_up(jobs, job)) {
            cancel_job(jobs, job);
        }
    }
    if (qa_engine_live(jobs->engine) + qa_engine_waiting(jobs->engine) > 0 &&
        qa_engine_step(jobs->engine, &err) != QA_OK) {
        fail_running(jobs, &err);
    }
}

/* Moves what came behind what runs; the first of it. With the lock. */
static qa_job *take_incoming(qa_jobs *jobs) {
    qa_job **end = &jobs->running;
    qa_job *came = jobs->incoming;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = came;
    jobs->incoming = NULL;
    jobs->incoming_end = &jobs->incoming;
    return came;
}

static void *compute_jobs(void *user) {
    qa_jobs *jobs = user;
    (void)pthread_mutex_lock(&jobs->lock);
    for (;;) {
        while (jobs->incoming == NULL && jobs->running == NULL && !jobs->stopping) {
            (void)pthread_cond_wait(&jobs->work, &jobs->lock);
        }
        if (jobs->incoming == NULL && jobs->running == NULL) {
            break;
        }
        qa_job *came = take_incoming(jobs);
        (void)pthread_mutex_unlock(&jobs->lock);
        run_turn(jobs, came);
        (void)pthread_mutex_lock(&jobs->lock);
        jobs->counts = qa_engine_counted(jobs->engine);
        sweep(jobs);
    }
    (void)pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

/* ---- for clients ---- */

/* A seed that nobody can guess, for requests without one. */
static uint64_t random_seed(void) {
    uint64_t seed = (uint64_t)(qa_seconds() * 1e9) ^ ((uint64_t)time(NULL) << 20U);
    FILE *random = fopen("/dev/urandom", "rb");
    if (random != NULL) {
        uint64_t better = 0;
        seed = fread(&better, sizeof better, 1, random) == 1 ? better : seed;
        (void)fclose(random);
    }
    return seed;
}

/* Waits are by the clock that is never set. */
static bool init_news(pthread_cond_t *news) {
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) {
        return false;
    }
    const bool good =
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 && pthread_cond_init(news, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    return good;
}

qa_status qa_jobs_start(qa_jobs **out, const qa_served *served, qa_engine *engine, size_t limit, qa_error *err) {
    qa_jobs *jobs = NULL;
    *out = NULL;
    QA_TRY(QA_NEW(jobs, 1, err, "the queue of requests"));
    *jobs = (qa_jobs){.served = served, .engine = engine, .limit = limit, .seed = random_seed()};
    jobs->incoming_end = &jobs->incoming;
    (void)pthread_mutex_init(&jobs->lock, NULL);
    (void)pthread_cond_init(&jobs->work, NULL);
    if (pthread_create(&jobs->thread, NULL, compute_jobs, jobs) != 0) {
        free(jobs);
        return qa_fail(err, QA_ERR_IO, "cannot start the thread that computes");
    }
    *out = jobs;
    return QA_OK;
}

void qa_jobs_drain(qa_jobs *jobs) {
    (void)pthread_mutex_lock(&jobs->lock);
    jobs->draining = true;
    (void)pthread_mutex_unlock(&jobs->lock);
}

void qa_jobs_give_up_all(qa_jobs *jobs) {
    (void)pthread_mutex_lock(&jobs->lock);
    jobs->draining = jobs->stopping = true;
    (void)pthread_cond_signal(&jobs->work);
    (void)pthread_mutex_unlock(&jobs->lock);
}

void qa_jobs_stop(qa_jobs *jobs) {
    if (jobs == NULL) {
        return;
    }
    qa_jobs_give_up_all(jobs);
    (void)pthread_join(jobs->thread, NULL);
    (void)pthread_cond_destroy(&jobs->work);
    (void)pthread_mutex_destroy(&jobs->lock);
    free(jobs);
}

/* Into the queue, if there is room; the caller keeps the job otherwise. */
static qa_status enqueue(qa_jobs *jobs, qa_job *job, qa_refusal *refusal) {
    qa_status status = QA_OK;
    (void)pthread_mutex_lock(&jobs->lock);
    if (jobs->draining) {
        status = qa_refuse(refusal, 503, "shutting_down", NULL, "the server is shutting down");
    } else if (jobs->n >= jobs->limit) {
        status = qa_refuse(refusal, 503, "overloaded", NULL, "%zu requests are waiting or running already: try again",
                           jobs->n);
    } else {
        job->jobs = jobs;
        *jobs->incoming_end = job;
        jobs->incoming_end = &job->next;
        jobs->n++;
        (void)pthread_cond_signal(&jobs->work);
    }
    (void)pthread_mutex_unlock(&jobs->lock);
    return status;
}

/* Numbers the request and gives it a seed if it has none. */
static uint64_t number_job(qa_jobs *jobs, qa_ask *ask) {
    (void)pthread_mutex_lock(&jobs->lock);
    const uint64_t number = ++jobs->number;
    (void)pthread_mutex_unlock(&jobs->lock);
    if (!ask->seeded) {
        ask->sampling.seed = jobs->seed + number * 0x9e3779b97f4a7c15U;
    }
    return (jobs->seed << 24U) + number;
}

static qa_status new_job(qa_job **out, qa_refusal *refusal) {
    qa_job *job = NULL;
    QA_TRY(qa_refuse_if_failed(refusal, QA_NEW(job, 1, &refusal->err, "a request"), NULL));
    if (!init_news(&job->news)) {
        free(job);
        return qa_refuse(refusal, 503, NULL, NULL, "out of memory for a request");
    }
    *out = job;
    return QA_OK;
}

static qa_status prepare_job(qa_jobs *jobs, qa_job *job, qa_refusal *refusal) {
    const uint64_t number = number_job(jobs, &job->ask);
    QA_TRY(qa_refuse_if_failed(
        refusal, qa_reply_begin(&job->reply, jobs->served, &job->ask, number, (long long)time(NULL), &refusal->err),
        NULL));
    QA_TRY(qa_refuse_if_failed(refusal, QA_NEW(job->seats, job->reply.n_choices, &refusal->err, "a request"), NULL));
    for (size_t i = 0; i < job->reply.n_choices; i++) {
        job->seats[i] = (seat){.job = job, .choice = &job->reply.choices[i]};
    }
    return QA_OK;
}

qa_status qa_jobs_add(qa_jobs *jobs, bool chat, const char *body, size_t bytes, qa_job **out, qa_refusal *refusal) {
    qa_job *job = NULL;
    qa_status status = QA_OK;
    *out = NULL;
    QA_TRY(new_job(&job, refusal));
    QA_GOTO(failed, qa_ask_read(&job->ask, jobs->served, chat, body, bytes, refusal));
    QA_GOTO(failed, prepare_job(jobs, job, refusal));
    QA_GOTO(failed, enqueue(jobs, job, refusal));
    *out = job;
    return QA_OK;
failed:
    free_job(job);
    return status;
}

const qa_ask *qa_job_ask(const qa_job *job) { return &job->ask; }

/* So many seconds from now. */
static struct timespec after(double seconds) {
    struct timespec at = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    const double fraction = seconds - (double)(long)seconds;
    at.tv_sec += (time_t)seconds;
    at.tv_nsec += (long)(fraction * 1e9);
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

static bool has_news(const qa_job *job) {
    return job->work != NULL ? job->worked
           : job->ask.stream ? job->is_new || qa_reply_is_complete(&job->reply)
                             : qa_reply_is_complete(&job->reply);
}

bool qa_job_wait(qa_job *job, double seconds) {
    const struct timespec until = after(seconds);
    (void)pthread_mutex_lock(&job->jobs->lock);
    while (!has_news(job) && pthread_cond_timedwait(&job->news, &job->jobs->lock, &until) == 0) {
    }
    const bool news = has_news(job);
    (void)pthread_mutex_unlock(&job->jobs->lock);
    return news;
}

qa_status qa_job_answer(qa_job *job, qa_json_writer *out, qa_refusal *refusal) {
    (void)pthread_mutex_lock(&job->jobs->lock);
    const bool good = job->reply.failure.status == 0;
    if (!good) {
        *refusal = job->reply.failure;
    }
    (void)pthread_mutex_unlock(&job->jobs->lock);
    if (good) { /* complete: nothing changes any more */
        qa_reply_put(&job->reply, out);
    }
    return good ? QA_OK : QA_ERR_ARGUMENT;
}

qa_status qa_job_events(qa_job *job, qa_text *out, bool *over, qa_error *err) {
    (void)pthread_mutex_lock(&job->jobs->lock);
    const qa_status status = qa_reply_put_events(&job->reply, out, err);
    job->is_new = false;
    *over = job->reply.over;
    (void)pthread_mutex_unlock(&job->jobs->lock);
    return status;
}

void qa_job_give_up(qa_job *job, unsigned status, const char *code, const char *reason) {
    (void)pthread_mutex_lock(&job->jobs->lock);
    job->given_up = true;
    if (!qa_reply_is_complete(&job->reply)) {
        (void)qa_refuse(&job->reply.failure, status, code, NULL, "%s", reason);
    }
    (void)pthread_cond_signal(&job->jobs->work);
    (void)pthread_mutex_unlock(&job->jobs->lock);
}

void qa_job_release(qa_job *job) {
    if (job == NULL) {
        return;
    }
    pthread_mutex_t *lock = &job->jobs->lock;
    (void)pthread_mutex_lock(lock);
    const bool last = job->swept;
    job->given_up = job->released = true;
    (void)pthread_mutex_unlock(lock);
    if (last) {
        free_job(job);
    }
}

qa_status qa_jobs_run(qa_jobs *jobs, qa_status (*work)(void *user, qa_error *err), void *user, qa_refusal *refusal) {
    qa_job *job = NULL;
    QA_TRY(new_job(&job, refusal));
    job->work = work;
    job->user = user;
    const qa_status queued = enqueue(jobs, job, refusal);
    if (queued != QA_OK) {
        free_job(job);
        return queued;
    }
    while (!qa_job_wait(job, 60.0)) {
    }
    const qa_status status = job->status;
    refusal->err = job->reply.failure.err;
    qa_job_release(job);
    return qa_refuse_if_failed(refusal, status, NULL);
}

qa_jobs_state qa_jobs_look(qa_jobs *jobs) {
    (void)pthread_mutex_lock(&jobs->lock);
    const qa_jobs_state state = {.jobs = jobs->n, .draining = jobs->draining, .counts = jobs->counts};
    (void)pthread_mutex_unlock(&jobs->lock);
    return state;
}
