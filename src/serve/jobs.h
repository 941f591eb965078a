/* The one thread that computes, and the queue in front of it. A job is a request of a client: its answers are so many
 * requests of the engine (infer/engine.h), and grow in the job's reply. Clients' threads put jobs in, wait, and read
 * what has come; what a client gives up frees its places at once. Library code that uses the model runs in that thread,
 * too (qa_jobs_run), between two rounds. */
#ifndef QA_SERVE_JOBS_H
#define QA_SERVE_JOBS_H

#include "serve/reply.h"

typedef struct qa_jobs qa_jobs;
typedef struct qa_job qa_job;

/* Engine and served are borrowed; the engine is the thread's alone from here on. At most `limit` jobs are there at once
 * (of qa_jobs_run, too). */
QA_MUST_CHECK qa_status qa_jobs_start(qa_jobs **jobs, const qa_served *served, qa_engine *engine, size_t limit,
                                      qa_error *err);
/* New jobs are refused from now on. */
void qa_jobs_drain(qa_jobs *jobs);
/* Drains, and gives up what is there, so that nobody waits any longer. */
void qa_jobs_give_up_all(qa_jobs *jobs);
/* Gives up what is there and ends the thread; every client has released its job. NULL is allowed. */
void qa_jobs_stop(qa_jobs *jobs);

/* Reads and queues a request. 503 when there are too many. */
QA_MUST_CHECK qa_status qa_jobs_add(qa_jobs *jobs, bool chat, const char *body, size_t bytes, qa_job **job,
                                    qa_refusal *refusal);
/* What was asked. */
const qa_ask *qa_job_ask(const qa_job *job);
/* Until the answer is complete, or, of one that streams, there is something new; at most so many seconds. Whether that
 * is so. */
bool qa_job_wait(qa_job *job, double seconds);
/* The whole answer of a complete job, or its refusal. */
QA_MUST_CHECK qa_status qa_job_answer(qa_job *job, qa_json_writer *out, qa_refusal *refusal);
/* Appends what is new as events; *over: there will be no more. */
QA_MUST_CHECK qa_status qa_job_events(qa_job *job, qa_text *out, bool *over, qa_error *err);
/* Nobody waits any longer. The reason is for the last event of a stream. */
void qa_job_give_up(qa_job *job, unsigned status, const char *code, const char *reason);
/* The client is done with it, whether it is complete or not. NULL is allowed. */
void qa_job_release(qa_job *job);

/* Runs work(user) in the thread that computes and waits for it; its status. 503 when there are too many jobs. */
QA_MUST_CHECK qa_status qa_jobs_run(qa_jobs *jobs, qa_status (*work)(void *user, qa_error *err), void *user,
                                    qa_refusal *refusal);

typedef struct qa_jobs_state {
    size_t jobs; /* that are there */
    bool draining;
    qa_engine_counts counts;
} qa_jobs_state;
qa_jobs_state qa_jobs_look(qa_jobs *jobs);

#endif
