/* Many prompts at once (qadapter/infer.h): `batch` sequences on one decoder (model/decode.h).
 *
 * A round: free slots take the next answers of the queue, whose order is that of prompts and samples; their prompts go
 * through the model, packed, but for the last token; then one token of every live sequence goes through it, and every
 * row of logits gives its sequence the next token. Rounds go on until the queue is empty and no sequence lives.
 *
 * Samples of one prompt share the work on it: the first rows of a slot's caches stay those of its prompt for as long as
 * the slot is not given to another, so the next sample of the prompt copies them from there.
 *
 * Answers finish in any order and are handed out in the queue's: one that is early waits in `finished`. */
#include "base/buffer.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/try.h"
#include "infer/policy.h"
#include "infer/sampler.h"
#include "model/decode.h"
#include "text/answer_end.h"

#include <math.h>
#include <stdlib.h>

#define NO_PROMPT SIZE_MAX

/* What runs in a slot of the decoder. */
typedef struct sequence {
    bool live;
    bool fresh;      /* its prompt is still to be run in this round */
    qa_answer said;  /* but for ids and n */
    qa_ids ids;      /* sampled so far */
    size_t limit;    /* of ids.n */
    int32_t next;    /* the token that goes through the model next */
    size_t occupant; /* the prompt whose tokens the slot's caches begin with, or NO_PROMPT */
    qa_sampler *sampler;
    qa_status status; /* of the last token */
    qa_error err;
} sequence;

/* An answer that waits for the ones before it. */
typedef struct finished_answer {
    bool waits;
    qa_answer said;
    qa_ids ids;
} finished_answer;

typedef struct answer_batch {
    qa_model *model;
    const qa_ids *prompts;
    size_t n_prompts;
    const qa_batch_options *options;
    bool custom; /* pitilde; else pi1 */
    size_t V, context;
    qa_kv_decoder *decoder;
    sequence *slots; /* [n_slots] */
    size_t n_slots;
    qa_kv_run *runs;           /* [n_slots] */
    size_t *live;              /* [n_slots] slots of the runs of a step */
    size_t *source;            /* [n_slots] of a fresh slot: the slot with its prompt, itself when it is to be run */
    double *log_policy;        /* [threads x V] */
    qa_real *pi;               /* [threads x V]; NULL unless custom */
    size_t total;              /* answers of the whole call */
    size_t started;            /* answers that have left the queue */
    size_t delivered;          /* answers that were handed out */
    finished_answer *finished; /* [total] */
} answer_batch;

/* ---- what is asked ---- */

/* Says which prompt an error is about. */
static void name_prompt(const answer_batch *batch, size_t prompt) {
    if (batch->options->failed_prompt != NULL) {
        *batch->options->failed_prompt = prompt;
    }
}

static qa_status check_prompt(const answer_batch *batch, size_t i, qa_error *err) {
    const qa_ids *prompt = &batch->prompts[i];
    QA_FAIL_IF(prompt->n == 0, err, QA_ERR_ARGUMENT, "prompt %zu has no tokens; at least one is needed", i);
    QA_FAIL_IF(prompt->n >= batch->context, err, QA_ERR_LIMIT,
               "prompt %zu has %zu tokens, which leaves no room for an answer in the model's context of %zu", i,
               prompt->n, batch->context);
    for (size_t j = 0; j < prompt->n; j++) {
        QA_FAIL_IF(prompt->data[j] < 0 || (size_t)prompt->data[j] >= batch->V, err, QA_ERR_ARGUMENT,
                   "prompt %zu: token %zu has id %d, outside the vocabulary of %zu", i, j, prompt->data[j], batch->V);
    }
    return QA_OK;
}

/* Tokens that an answer to the prompt may have. */
static size_t limit_of(const answer_batch *batch, size_t prompt) {
    const size_t room = batch->context - batch->prompts[prompt].n;
    return batch->options->max_tokens < room ? batch->options->max_tokens : room;
}

static qa_status check_all(answer_batch *batch, size_t *capacity, qa_error *err) {
    const qa_batch_options *options = batch->options;
    QA_FAIL_IF(options->samples < 1 || options->batch < 1 || options->max_tokens < 1, err, QA_ERR_ARGUMENT,
               "samples (%zu), batch (%zu) and max_tokens (%zu) must be at least 1", options->samples, options->batch,
               options->max_tokens);
    if (batch->custom) {
        QA_TRY(qa_objective_check(options->objective, err));
    }
    *capacity = 1;
    for (size_t i = 0; i < batch->n_prompts; i++) {
        const qa_status status = check_prompt(batch, i, err);
        if (status != QA_OK) {
            name_prompt(batch, i);
            return status;
        }
        const size_t tokens = batch->prompts[i].n + limit_of(batch, i);
        *capacity = tokens > *capacity ? tokens : *capacity;
    }
    QA_FAIL_IF(!qa_mul_size(batch->n_prompts, options->samples, &batch->total), err, QA_ERR_LIMIT,
               "%zu samples of %zu prompts are too many", options->samples, batch->n_prompts);
    batch->n_slots = options->batch < batch->total ? options->batch : batch->total;
    return QA_OK;
}

/* ---- room ---- */

static qa_status make_room(answer_batch *batch, const qa_adapter *adapter, size_t capacity, qa_error *err) {
    size_t rows = 0;
    const bool fits = qa_mul_size(qa_pool_threads(batch->model->context->pool), batch->V, &rows);
    batch->finished = qa_alloc_array(batch->total, sizeof *batch->finished);
    batch->slots = qa_alloc_array(batch->n_slots, sizeof *batch->slots);
    batch->runs = qa_alloc_array(batch->n_slots, sizeof *batch->runs);
    batch->live = qa_alloc_array(batch->n_slots, sizeof *batch->live);
    batch->source = qa_alloc_array(batch->n_slots, sizeof *batch->source);
    batch->log_policy = fits ? qa_alloc_array(rows, sizeof *batch->log_policy) : NULL;
    batch->pi = fits && batch->custom ? qa_alloc_array(rows, sizeof *batch->pi) : NULL;
    if (batch->finished == NULL || batch->slots == NULL || batch->runs == NULL || batch->live == NULL ||
        batch->source == NULL || batch->log_policy == NULL || (batch->custom && batch->pi == NULL)) {
        return QA_NO_MEMORY(err, "%zu answers, %zu at a time", batch->total, batch->n_slots);
    }
    for (size_t s = 0; s < batch->n_slots; s++) {
        batch->slots[s].occupant = NO_PROMPT;
        QA_TRY(qa_sampler_create(&batch->slots[s].sampler, &batch->options->sampling, batch->V, err));
    }
    return qa_kv_decoder_create_many(&batch->decoder, batch->model, batch->custom ? adapter : NULL, batch->n_slots,
                                     capacity, err);
}

static void free_room(answer_batch *batch) {
    for (size_t s = 0; batch->slots != NULL && s < batch->n_slots; s++) {
        qa_sampler_free(batch->slots[s].sampler);
        qa_ids_free(&batch->slots[s].ids);
    }
    for (size_t i = batch->delivered; batch->finished != NULL && i < batch->started; i++) {
        qa_ids_free(&batch->finished[i].ids);
    }
    qa_kv_decoder_free(batch->decoder);
    free(batch->finished);
    free(batch->slots);
    free(batch->runs);
    free(batch->live);
    free(batch->source);
    free(batch->log_policy);
    free(batch->pi);
}

/* ---- prompts ---- */

/* Where the first tokens of the prompt stand, or will when this round's prompts have run; n_slots: nowhere. */
static size_t find_source(const answer_batch *batch, size_t slot, size_t prompt) {
    if (batch->slots[slot].occupant == prompt) {
        return slot;
    }
    size_t s = 0;
    while (s < batch->n_slots && batch->slots[s].occupant != prompt) {
        s++;
    }
    return s;
}

/* The queue's next answer into a free slot. */
static void start_sequence(answer_batch *batch, size_t slot) {
    sequence *seq = &batch->slots[slot];
    const size_t prompt = batch->started / batch->options->samples;
    const size_t sample = batch->started % batch->options->samples;
    const qa_ids *ids = &batch->prompts[prompt];
    const size_t first = ids->n - 1; /* all but the last token are the prompt's part of the round */
    batch->started++;
    seq->live = true;
    seq->said = (qa_answer){.prompt = prompt, .sample = sample};
    seq->ids.n = 0;
    seq->limit = limit_of(batch, prompt);
    seq->next = ids->data[first];
    qa_sampler_restart(seq->sampler, prompt, sample);
    qa_sampler_see(seq->sampler, ids->data, ids->n);
    const size_t source = first == 0 ? slot : find_source(batch, slot, prompt);
    seq->fresh = source == batch->n_slots || (source != slot && batch->slots[source].fresh);
    batch->source[slot] = source == batch->n_slots ? slot : source;
    if (!seq->fresh && source != slot) {
        qa_kv_decoder_copy(batch->decoder, slot, source, first);
    } else {
        qa_kv_decoder_rewind(batch->decoder, slot, seq->fresh ? 0 : first);
    }
    seq->occupant = prompt;
}

/* Gives free slots to the queue and runs the prompts that are nowhere yet. */
static qa_status start_sequences(answer_batch *batch, qa_error *err) {
    size_t n_runs = 0;
    for (size_t s = 0; s < batch->n_slots; s++) {
        if (batch->slots[s].live || batch->started == batch->total) {
            continue;
        }
        start_sequence(batch, s);
        const qa_ids *prompt = &batch->prompts[batch->slots[s].said.prompt];
        if (batch->slots[s].fresh && batch->source[s] == s) {
            batch->runs[n_runs++] = (qa_kv_run){.slot = s, .ids = prompt->data, .n = prompt->n - 1};
        }
    }
    if (n_runs > 0) {
        QA_TRY(qa_kv_decoder_forward_many(batch->decoder, batch->runs, n_runs, NULL, NULL, err));
    }
    for (size_t s = 0; s < batch->n_slots; s++) {
        sequence *seq = &batch->slots[s];
        if (seq->live && seq->fresh && batch->source[s] != s) {
            qa_kv_decoder_copy(batch->decoder, s, batch->source[s], batch->prompts[seq->said.prompt].n - 1);
        }
        seq->fresh = false;
    }
    return QA_OK;
}

/* ---- tokens ---- */

typedef struct step {
    answer_batch *batch;
    qa_real *base, *adapted; /* [live x V] */
} step;

/* The log-probabilities of the policy from the rows of logits, which are overwritten, and its log-normaliser. */
static qa_status policy_of(const answer_batch *batch, sequence *seq, double *log_policy, double *log_normaliser,
                           qa_real *pi, qa_real *base, qa_real *adapted, qa_error *err) {
    const size_t position = batch->prompts[seq->said.prompt].n + seq->ids.n - 1; /* of the token behind the logits */
    QA_TRY(qa_logits_check(base, batch->V, "base", position, err));
    if (batch->custom) {
        QA_TRY(qa_logits_check(adapted, batch->V, "adapted", position, err));
    }
    if (qa_sampler_penalises(seq->sampler)) {
        *log_normaliser =
            qa_policy_log_normaliser(base, adapted, batch->V, batch->custom ? batch->options->objective : NULL);
    }
    if (batch->custom) {
        seq->said.kl += qa_custom_log_policy_kl(log_policy, pi, base, adapted, batch->V, batch->options->objective);
    } else {
        qa_base_log_policy(log_policy, base, batch->V);
    }
    for (size_t a = 0; a < batch->V; a++) {
        QA_FAIL_IF(!isfinite(log_policy[a]), err, QA_ERR_NAN,
                   "the policy's log-probability of token %zu, at position %zu, is %g", a, position, log_policy[a]);
    }
    return QA_OK;
}

static qa_status next_token(const answer_batch *batch, sequence *seq, double *log_policy, qa_real *pi, qa_real *base,
                            qa_real *adapted, qa_error *err) {
    int32_t id = 0;
    double log_normaliser = 0.0;
    QA_TRY(policy_of(batch, seq, log_policy, &log_normaliser, pi, base, adapted, err));
    QA_TRY(qa_sampler_pick(seq->sampler, log_policy, log_normaliser, &id, err));
    qa_sampler_see(seq->sampler, &id, 1);
    if (batch->custom) {
        seq->said.log_ratio += log_policy[id] - (double)base[id]; /* base: log pi1 by now */
    }
    seq->said.ended = qa_is_one_of(id, batch->options->end_ids, batch->options->n_end_ids);
    seq->next = id;
    return qa_ids_push(&seq->ids, id, err);
}

static void next_token_task(void *context, size_t task, size_t worker) {
    const step *now = context;
    const answer_batch *batch = now->batch;
    sequence *seq = &batch->slots[batch->live[task]];
    const size_t V = batch->V;
    seq->status =
        next_token(batch, seq, batch->log_policy + worker * V, batch->pi == NULL ? NULL : batch->pi + worker * V,
                   now->base + task * V, now->adapted == NULL ? NULL : now->adapted + task * V, &seq->err);
}

/* One token of every live sequence through the model, and the next one of each. */
static qa_status step_all(answer_batch *batch, qa_error *err) {
    step now = {.batch = batch};
    size_t n = 0;
    for (size_t s = 0; s < batch->n_slots; s++) {
        if (batch->slots[s].live) {
            batch->live[n] = s;
            batch->runs[n++] = (qa_kv_run){.slot = s, .ids = &batch->slots[s].next, .n = 1};
        }
    }
    QA_TRY(qa_kv_decoder_forward_many(batch->decoder, batch->runs, n, &now.base, &now.adapted, err));
    qa_pool_run(batch->model->context->pool, n, next_token_task, &now);
    for (size_t i = 0; i < n; i++) {
        sequence *seq = &batch->slots[batch->live[i]];
        if (seq->status != QA_OK) {
            if (err != NULL) {
                *err = seq->err;
            }
            name_prompt(batch, seq->said.prompt);
            qa_error_prefix(err, "prompt %zu, sample %zu: ", seq->said.prompt, seq->said.sample);
            return seq->status;
        }
    }
    return QA_OK;
}

/* ---- answers ---- */

/* Sequences that are over give their answer and become free. */
static void collect(answer_batch *batch) {
    for (size_t s = 0; s < batch->n_slots; s++) {
        sequence *seq = &batch->slots[s];
        if (seq->live && (seq->said.ended || seq->ids.n == seq->limit)) {
            const size_t place = seq->said.prompt * batch->options->samples + seq->said.sample;
            seq->said.ids = seq->ids.data;
            seq->said.n = seq->ids.n;
            batch->finished[place] = (finished_answer){.waits = true, .said = seq->said, .ids = seq->ids};
            seq->ids = (qa_ids){0};
            seq->live = false;
        }
    }
}

static qa_status deliver(answer_batch *batch, qa_error *err) {
    while (batch->delivered < batch->started && batch->finished[batch->delivered].waits) {
        finished_answer *answer = &batch->finished[batch->delivered];
        const bool go_on = batch->options->on_answer(batch->options->user, &answer->said);
        qa_ids_free(&answer->ids);
        batch->delivered++;
        QA_FAIL_IF(!go_on, err, QA_ERR_INTERRUPTED, "stopped after %zu of %zu answers", batch->delivered, batch->total);
    }
    return QA_OK;
}

qa_status qa_generate_batch(qa_model *model, const qa_adapter *adapter, const qa_ids *prompts, size_t n_prompts,
                            const qa_batch_options *options, qa_error *err) {
    answer_batch batch = {.model = model,
                          .prompts = prompts,
                          .n_prompts = n_prompts,
                          .options = options,
                          .custom = options->policy == QA_POLICY_CUSTOM && adapter != NULL,
                          .V = model->config.vocab_size,
                          .context = qa_config_context(&model->config)};
    size_t capacity = 0;
    qa_status status = QA_OK;
    name_prompt(&batch, SIZE_MAX);
    QA_TRY(qa_sampling_check(&options->sampling, err));
    QA_TRY(check_all(&batch, &capacity, err));
    if (batch.total == 0) {
        return QA_OK;
    }
    QA_GOTO(done, make_room(&batch, adapter, capacity, err));
    while (batch.delivered < batch.total) {
        if (options->should_stop != NULL && options->should_stop(options->user)) {
            status = qa_fail(err, QA_ERR_INTERRUPTED, "stopped after %zu of %zu answers", batch.delivered, batch.total);
            goto done;
        }
        QA_GOTO(done, start_sequences(&batch, err));
        QA_GOTO(done, step_all(&batch, err));
        collect(&batch);
        QA_GOTO(done, deliver(&batch, err));
    }
done:
    free_room(&batch);
    return status;
}
