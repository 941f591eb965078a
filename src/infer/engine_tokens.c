/* From logits to tokens (engine.h): rows of logits, each of one state of one request, become the policy's
 * log-probabilities in parallel, each with a token that is known (of a prompt) or sampled; then the requests are given
 * theirs, in order. */
#include "base/memory.h"
#include "base/pool.h"
#include "base/try.h"
#include "infer/engine_room.h"
#include "infer/policy.h"
#include "text/answer_end.h"

#include <math.h>

/* ---- one row ---- */

/* The n likeliest tokens, best first, ties by id. */
static void find_best(qa_likely_token *best, size_t n, const double *log_policy, size_t V) {
    size_t found = 0;
    for (size_t a = 0; a < V; a++) {
        if (found == n && log_policy[a] <= best[n - 1].log_pi) {
            continue;
        }
        size_t i = found < n ? found++ : n - 1;
        for (; i > 0 && best[i - 1].log_pi < log_policy[a]; i--) {
            best[i] = best[i - 1];
        }
        best[i] = (qa_likely_token){.id = (int32_t)a, .log_pi = log_policy[a]};
    }
}

/* The log-probabilities of the policy from the row's logits, which are overwritten. */
static qa_status policy_of_row(engine_row *row, size_t V, double *log_policy, qa_real *pi, double *log_normaliser,
                               qa_error *err) {
    const qa_engine_policy *policy = &row->seat->asked.policy;
    qa_real *base = row->logits[STREAM_BASE], *adapted = row->logits[STREAM_ADAPTED];
    for (size_t s = 0; s < STREAMS_OF_SEAT; s++) {
        if (row->logits[s] != NULL) {
            QA_TRY(qa_logits_check(row->logits[s], V, s == STREAM_BASE ? "base" : "adapted", row->position, err));
        }
    }
    if (row->id == NULL && qa_sampler_penalises(row->seat->sampler)) {
        *log_normaliser =
            policy->mixture != NULL
                ? 0.0
                : qa_policy_log_normaliser(base, adapted, V, policy->adapter == NULL ? NULL : policy->objective);
    }
    if (policy->mixture != NULL) {
        row->token.log_z = qa_mixture_log_policy(log_policy, row->logits, V, policy->mixture, &row->token.kl);
    } else if (policy->measured && adapted != NULL) {
        row->token.kl = qa_custom_log_policy_kl(log_policy, pi, base, adapted, V, policy->objective);
    } else {
        qa_streams_log_policy(log_policy, base, adapted, V, policy->objective);
    }
    for (size_t a = 0; a < V; a++) {
        QA_FAIL_IF(!isfinite(log_policy[a]), err, QA_ERR_NAN,
                   "the policy's log-probability of token %zu, at position %zu, is %g", a, row->position,
                   log_policy[a]);
    }
    return QA_OK;
}

static qa_status token_of_row(const qa_engine *engine, engine_row *row, double *log_policy, qa_real *pi) {
    const qa_request *asked = &row->seat->asked;
    double log_normaliser = 0.0;
    QA_TRY(policy_of_row(row, engine->V, log_policy, pi, &log_normaliser, &row->err));
    qa_engine_token *token = &row->token;
    if (row->id != NULL) {
        token->id = *row->id;
    } else {
        QA_TRY(qa_sampler_pick(row->seat->sampler, log_policy, log_normaliser, &token->id, &row->err));
        qa_sampler_see(row->seat->sampler, &token->id, 1);
    }
    token->of_prompt = row->id != NULL;
    token->log_pi = log_policy[token->id];
    if (asked->policy.measured || asked->policy.mixture != NULL) { /* where more than one ran, base is log pi1 now */
        const bool base = asked->policy.adapter == NULL && asked->policy.mixture == NULL;
        token->log_pi1 = base ? token->log_pi : (double)row->logits[STREAM_BASE][token->id];
    }
    token->n_best = asked->n_best < engine->V ? asked->n_best : engine->V;
    token->best = token->n_best == 0 ? NULL : row->best;
    if (token->n_best > 0) {
        find_best(row->best, token->n_best, log_policy, engine->V);
    }
    return QA_OK;
}

static void engine_row_task(void *context, size_t task, size_t worker) {
    qa_engine *engine = context;
    engine_row *row = &engine->rows[task];
    row->status = token_of_row(engine, row, engine->log_policy + worker * engine->V,
                               engine->pi == NULL ? NULL : engine->pi + worker * engine->V);
}

/* ---- rows together ---- */

/* Room for the likeliest tokens of the first n rows. */
static qa_status lay_best(qa_engine *engine, size_t n, qa_error *err) {
    size_t needed = 0;
    for (size_t i = 0; i < n; i++) {
        needed += engine->rows[i].seat->asked.n_best < engine->V ? engine->rows[i].seat->asked.n_best : engine->V;
    }
    QA_TRY(QA_GROW(engine->best, engine->best_capacity, needed, err, "%zu likeliest tokens", needed));
    needed = 0;
    for (size_t i = 0; i < n; i++) {
        engine->rows[i].best = engine->best + needed;
        needed += engine->rows[i].seat->asked.n_best < engine->V ? engine->rows[i].seat->asked.n_best : engine->V;
    }
    return QA_OK;
}

/* Logits and tokens of the first n rows: the base model's states first, then the adapters'. */
static qa_status make_tokens(qa_engine *engine, size_t n, qa_error *err) {
    qa_real *logits = NULL;
    size_t n_states = 0;
    QA_TRY(lay_best(engine, n, err));
    for (size_t s = 0; s < STREAMS_OF_SEAT; s++) {
        for (size_t i = 0; i < n; i++) {
            const engine_row *row = &engine->rows[i];
            if (row->seat->slot[s] != NO_SLOT) {
                engine->states[n_states++] = (qa_kv_state){.slot = row->seat->slot[s], .position = row->position};
            }
        }
    }
    qa_kv_decoder_logits(engine->decoder, engine->states, n_states, &logits);
    for (size_t s = 0; s < STREAMS_OF_SEAT; s++) {
        for (size_t i = 0; i < n; i++) {
            const bool runs = engine->rows[i].seat->slot[s] != NO_SLOT;
            engine->rows[i].logits[s] = runs ? logits : NULL;
            logits += runs ? engine->V : 0;
        }
    }
    qa_pool_run(engine->model->context->pool, n, engine_row_task, engine);
    return QA_OK;
}

/* The first reason counts. */
static void mark_over(engine_seat *seat, qa_request_end end) {
    if (!seat->over) {
        seat->over = true;
        seat->end = end;
    }
}

/* Hands a row's token to its request, unless that has come to its end. */
static void give_token(const engine_row *row) {
    engine_seat *seat = row->seat;
    if (seat->over) {
        return;
    }
    if (row->status != QA_OK) {
        seat->err = row->err;
        mark_over(seat, QA_END_FAILED);
    } else if (!seat->asked.on_token(seat->asked.user, &row->token)) {
        mark_over(seat, QA_END_CALLER);
    }
}

/* ---- the prompt's tokens ---- */

/* The rows of the next tokens of the seat's prompt, at most `most`. */
static size_t lay_echo(qa_engine *engine, engine_seat *seat, size_t most) {
    size_t n = 0;
    for (; n < most && seat->echoed + n < seat->asked.n_prompt; n++) {
        const size_t i = seat->echoed + n;
        engine->rows[n] = (engine_row){.seat = seat, .position = i - 1, .id = &seat->asked.prompt[i]};
    }
    return n;
}

static bool wants_echo(const qa_engine *engine, const engine_seat *seat) {
    return seat->taken && !seat->over && seat->asked.echo && seat->echoed < seat->asked.n_prompt &&
           engine_has_prompt(engine, seat);
}

static qa_status echo_prompt(qa_engine *engine, engine_seat *seat, size_t *budget, qa_error *err) {
    const size_t streams = engine_streams_needed(&seat->asked.policy), most = engine->n_rows / streams;
    if (seat->echoed == 0) { /* the first token, which no state is before */
        seat->echoed = 1;
        if (!seat->asked.on_token(seat->asked.user,
                                  &(qa_engine_token){.id = seat->asked.prompt[0], .of_prompt = true, .first = true})) {
            mark_over(seat, QA_END_CALLER);
        }
    }
    while (wants_echo(engine, seat) && *budget > 0) {
        const size_t n = lay_echo(engine, seat, most < *budget ? most : *budget);
        *budget -= n;
        QA_TRY(make_tokens(engine, n, err));
        seat->echoed += n;
        for (size_t i = 0; i < n; i++) {
            give_token(&engine->rows[i]);
        }
    }
    return QA_OK;
}

qa_status engine_echo_prompts(qa_engine *engine, qa_error *err) {
    size_t budget = engine->limits.prompt_tokens;
    for (size_t i = 0; i < engine->limits.slots && budget > 0; i++) {
        if (wants_echo(engine, &engine->seats[i])) {
            QA_TRY(echo_prompt(engine, &engine->seats[i], &budget, err));
        }
    }
    return QA_OK;
}

/* ---- the answer's ---- */

static bool is_answering(const qa_engine *engine, const engine_seat *seat) {
    return seat->taken && !seat->over && seat->limit > 0 && engine_has_prompt(engine, seat) &&
           (!seat->asked.echo || seat->echoed == seat->asked.n_prompt);
}

/* Counts an answer's token and sees whether it was the last. */
static void after_token(engine_seat *seat, int32_t id) {
    seat->said++;
    seat->next = id;
    if (qa_is_one_of(id, seat->asked.end_ids, seat->asked.n_end_ids)) {
        mark_over(seat, QA_END_TOKEN);
    } else if (seat->said == seat->limit) {
        mark_over(seat, QA_END_LENGTH);
    }
}

qa_status engine_run_tokens(qa_engine *engine, qa_error *err) {
    size_t n = 0, n_runs = 0;
    for (size_t i = 0; i < engine->limits.slots; i++) {
        engine_seat *seat = &engine->seats[i];
        if (is_answering(engine, seat)) {
            engine->rows[n++] = (engine_row){.seat = seat, .position = seat->asked.n_prompt - 1 + seat->said};
        }
    }
    if (n == 0) {
        return QA_OK;
    }
    for (size_t s = 0; s < STREAMS_OF_SEAT; s++) {
        for (size_t i = 0; i < n; i++) {
            engine_seat *seat = engine->rows[i].seat;
            if (seat->slot[s] != NO_SLOT) {
                engine->runs[n_runs++] = (qa_kv_run){.slot = seat->slot[s], .ids = &seat->next, .n = 1};
                engine->counts.prompt_run += seat->said == 0 ? 1 : 0;
            }
        }
    }
    QA_TRY(qa_kv_decoder_run(engine->decoder, engine->runs, n_runs, err));
    QA_TRY(make_tokens(engine, n, err));
    for (size_t i = 0; i < n; i++) {
        engine_seat *seat = engine->rows[i].seat;
        give_token(&engine->rows[i]);
        if (engine->rows[i].status == QA_OK) {
            engine->counts.sampled++;
            after_token(seat, engine->rows[i].token.id);
        }
    }
    return QA_OK;
}
