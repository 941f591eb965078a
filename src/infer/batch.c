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

typedef struct batch {
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
} batch;

/* ---- what is asked ---- */

/* Says which prompt an error is about. */
static void name_prompt(const batch *it, size_t prompt) {
    if (it->options->failed_prompt != NULL) {
        *it->options->failed_prompt = prompt;
    }
}

static qa_status check_prompt(const batch *it, size_t i, qa_error *err) {
    const qa_ids *prompt = &it->prompts[i];
    QA_FAIL_IF(prompt->n == 0, err, QA_ERR_ARGUMENT, "prompt %zu has no tokens; at least one is needed", i);
    QA_FAIL_IF(prompt->n >= it->context, err, QA_ERR_LIMIT,
               "prompt %zu has %zu tokens, which leaves no room for an answer in the model's context of %zu", i,
               prompt->n, it->context);
    for (size_t j = 0; j < prompt->n; j++) {
        QA_FAIL_IF(prompt->data[j] < 0 || (size_t)prompt->data[j] >= it->V, err, QA_ERR_ARGUMENT,
                   "prompt %zu: token %zu has id %d, outside the vocabulary of %zu", i, j, prompt->data[j], it->V);
    }
    return QA_OK;
}

/* Tokens that an answer to the prompt may have. */
static size_t limit_of(const batch *it, size_t prompt) {
    const size_t room = it->context - it->prompts[prompt].n;
    return it->options->max_tokens < room ? it->options->max_tokens : room;
}

static qa_status check_all(batch *it, size_t *capacity, qa_error *err) {
    const qa_batch_options *options = it->options;
    QA_FAIL_IF(options->samples < 1 || options->batch < 1 || options->max_tokens < 1, err, QA_ERR_ARGUMENT,
               "samples (%zu), batch (%zu) and max_tokens (%zu) must be at least 1", options->samples, options->batch,
               options->max_tokens);
    if (it->custom) {
        QA_TRY(qa_objective_check(options->objective, err));
    }
    *capacity = 1;
    for (size_t i = 0; i < it->n_prompts; i++) {
        const qa_status status = check_prompt(it, i, err);
        if (status != QA_OK) {
            name_prompt(it, i);
            return status;
        }
        const size_t tokens = it->prompts[i].n + limit_of(it, i);
        *capacity = tokens > *capacity ? tokens : *capacity;
    }
    QA_FAIL_IF(!qa_mul_size(it->n_prompts, options->samples, &it->total), err, QA_ERR_LIMIT,
               "%zu samples of %zu prompts are too many", options->samples, it->n_prompts);
    it->n_slots = options->batch < it->total ? options->batch : it->total;
    return QA_OK;
}

/* ---- room ---- */

static qa_status make_room(batch *it, const qa_adapter *adapter, size_t capacity, qa_error *err) {
    size_t rows = 0;
    const bool fits = qa_mul_size(qa_pool_threads(it->model->context->pool), it->V, &rows);
    it->finished = qa_alloc_array(it->total, sizeof *it->finished);
    it->slots = qa_alloc_array(it->n_slots, sizeof *it->slots);
    it->runs = qa_alloc_array(it->n_slots, sizeof *it->runs);
    it->live = qa_alloc_array(it->n_slots, sizeof *it->live);
    it->source = qa_alloc_array(it->n_slots, sizeof *it->source);
    it->log_policy = fits ? qa_alloc_array(rows, sizeof *it->log_policy) : NULL;
    it->pi = fits && it->custom ? qa_alloc_array(rows, sizeof *it->pi) : NULL;
    if (it->finished == NULL || it->slots == NULL || it->runs == NULL || it->live == NULL || it->source == NULL ||
        it->log_policy == NULL || (it->custom && it->pi == NULL)) {
        return QA_NO_MEMORY(err, "%zu answers, %zu at a time", it->total, it->n_slots);
    }
    for (size_t s = 0; s < it->n_slots; s++) {
        it->slots[s].occupant = NO_PROMPT;
        QA_TRY(qa_sampler_create(&it->slots[s].sampler, &it->options->sampling, it->V, err));
    }
    return qa_kv_decoder_create_many(&it->decoder, it->model, it->custom ? adapter : NULL, it->n_slots, capacity, err);
}

static void free_room(batch *it) {
    for (size_t s = 0; it->slots != NULL && s < it->n_slots; s++) {
        qa_sampler_free(it->slots[s].sampler);
        qa_ids_free(&it->slots[s].ids);
    }
    for (size_t i = it->delivered; it->finished != NULL && i < it->started; i++) {
        qa_ids_free(&it->finished[i].ids);
    }
    qa_kv_decoder_free(it->decoder);
    free(it->finished);
    free(it->slots);
    free(it->runs);
    free(it->live);
    free(it->source);
    free(it->log_policy);
    free(it->pi);
}

/* ---- prompts ---- */

/* Where the first tokens of the prompt stand, or will when this round's prompts have run; n_slots: nowhere. */
static size_t find_source(const batch *it, size_t slot, size_t prompt) {
    if (it->slots[slot].occupant == prompt) {
        return slot;
    }
    size_t s = 0;
    while (s < it->n_slots && it->slots[s].occupant != prompt) {
        s++;
    }
    return s;
}

/* The queue's next answer into a free slot. */
static void start_sequence(batch *it, size_t slot) {
    sequence *seq = &it->slots[slot];
    const size_t prompt = it->started / it->options->samples;
    const size_t sample = it->started % it->options->samples;
    const qa_ids *ids = &it->prompts[prompt];
    const size_t first = ids->n - 1; /* all but the last token are the prompt's part of the round */
    it->started++;
    seq->live = true;
    seq->said = (qa_answer){.prompt = prompt, .sample = sample};
    seq->ids.n = 0;
    seq->limit = limit_of(it, prompt);
    seq->next = ids->data[first];
    qa_sampler_restart(seq->sampler, prompt, sample);
    qa_sampler_see(seq->sampler, ids->data, ids->n);
    const size_t source = first == 0 ? slot : find_source(it, slot, prompt);
    seq->fresh = source == it->n_slots || (source != slot && it->slots[source].fresh);
    it->source[slot] = source == it->n_slots ? slot : source;
    if (!seq->fresh && source != slot) {
        qa_kv_decoder_copy(it->decoder, slot, source, first);
    } else {
        qa_kv_decoder_rewind(it->decoder, slot, seq->fresh ? 0 : first);
    }
    seq->occupant = prompt;
}

/* Gives free slots to the queue and runs the prompts that are nowhere yet. */
static qa_status start_sequences(batch *it, qa_error *err) {
    size_t n_runs = 0;
    for (size_t s = 0; s < it->n_slots; s++) {
        if (it->slots[s].live || it->started == it->total) {
            continue;
        }
        start_sequence(it, s);
        const qa_ids *prompt = &it->prompts[it->slots[s].said.prompt];
        if (it->slots[s].fresh && it->source[s] == s) {
            it->runs[n_runs++] = (qa_kv_run){.slot = s, .ids = prompt->data, .n = prompt->n - 1};
        }
    }
    if (n_runs > 0) {
        QA_TRY(qa_kv_decoder_forward_many(it->decoder, it->runs, n_runs, NULL, NULL, err));
    }
    for (size_t s = 0; s < it->n_slots; s++) {
        sequence *seq = &it->slots[s];
        if (seq->live && seq->fresh && it->source[s] != s) {
            qa_kv_decoder_copy(it->decoder, s, it->source[s], it->prompts[seq->said.prompt].n - 1);
        }
        seq->fresh = false;
    }
    return QA_OK;
}

/* ---- tokens ---- */

typedef struct step {
    batch *it;
    qa_real *base, *adapted; /* [live x V] */
} step;

/* The log-probabilities of the policy from the rows of logits, which are overwritten, and its log-normaliser. */
static qa_status policy_of(const batch *it, sequence *seq, double *log_policy, double *log_normaliser, qa_real *pi,
                           qa_real *base, qa_real *adapted, qa_error *err) {
    const size_t position = it->prompts[seq->said.prompt].n + seq->ids.n - 1; /* of the token behind the logits */
    QA_TRY(qa_logits_check(base, it->V, "base", position, err));
    if (it->custom) {
        QA_TRY(qa_logits_check(adapted, it->V, "adapted", position, err));
    }
    if (qa_sampler_penalises(seq->sampler)) {
        *log_normaliser = qa_policy_log_normaliser(base, adapted, it->V, it->custom ? it->options->objective : NULL);
    }
    if (it->custom) {
        seq->said.kl += qa_custom_log_policy_kl(log_policy, pi, base, adapted, it->V, it->options->objective);
    } else {
        qa_base_log_policy(log_policy, base, it->V);
    }
    for (size_t a = 0; a < it->V; a++) {
        QA_FAIL_IF(!isfinite(log_policy[a]), err, QA_ERR_NAN,
                   "the policy's log-probability of token %zu, at position %zu, is %g", a, position, log_policy[a]);
    }
    return QA_OK;
}

static qa_status next_token(const batch *it, sequence *seq, double *log_policy, qa_real *pi, qa_real *base,
                            qa_real *adapted, qa_error *err) {
    int32_t id = 0;
    double log_normaliser = 0.0;
    QA_TRY(policy_of(it, seq, log_policy, &log_normaliser, pi, base, adapted, err));
    QA_TRY(qa_sampler_pick(seq->sampler, log_policy, log_normaliser, &id, err));
    qa_sampler_see(seq->sampler, &id, 1);
    if (it->custom) {
        seq->said.log_ratio += log_policy[id] - (double)base[id]; /* base: log pi1 by now */
    }
    seq->said.ended = qa_is_one_of(id, it->options->end_ids, it->options->n_end_ids);
    seq->next = id;
    return qa_ids_push(&seq->ids, id, err);
}

static void next_token_task(void *context, size_t task, size_t worker) {
    const step *now = context;
    const batch *it = now->it;
    sequence *seq = &it->slots[it->live[task]];
    const size_t V = it->V;
    seq->status = next_token(it, seq, it->log_policy + worker * V, it->pi == NULL ? NULL : it->pi + worker * V,
                             now->base + task * V, now->adapted == NULL ? NULL : now->adapted + task * V, &seq->err);
}

/* One token of every live sequence through the model, and the next one of each. */
static qa_status step_all(batch *it, qa_error *err) {
    step now = {.it = it};
    size_t n = 0;
    for (size_t s = 0; s < it->n_slots; s++) {
        if (it->slots[s].live) {
            it->live[n] = s;
            it->runs[n++] = (qa_kv_run){.slot = s, .ids = &it->slots[s].next, .n = 1};
        }
    }
    QA_TRY(qa_kv_decoder_forward_many(it->decoder, it->runs, n, &now.base, &now.adapted, err));
    qa_pool_run(it->model->context->pool, n, next_token_task, &now);
    for (size_t i = 0; i < n; i++) {
        sequence *seq = &it->slots[it->live[i]];
        if (seq->status != QA_OK) {
            if (err != NULL) {
                *err = seq->err;
            }
            name_prompt(it, seq->said.prompt);
            qa_error_prefix(err, "prompt %zu, sample %zu: ", seq->said.prompt, seq->said.sample);
            return seq->status;
        }
    }
    return QA_OK;
}

/* ---- answers ---- */

/* Sequences that are over give their answer and become free. */
static void collect(batch *it) {
    for (size_t s = 0; s < it->n_slots; s++) {
        sequence *seq = &it->slots[s];
        if (seq->live && (seq->said.ended || seq->ids.n == seq->limit)) {
            const size_t place = seq->said.prompt * it->options->samples + seq->said.sample;
            seq->said.ids = seq->ids.data;
            seq->said.n = seq->ids.n;
            it->finished[place] = (finished_answer){.waits = true, .said = seq->said, .ids = seq->ids};
            seq->ids = (qa_ids){0};
            seq->live = false;
        }
    }
}

static qa_status deliver(batch *it, qa_error *err) {
    while (it->delivered < it->started && it->finished[it->delivered].waits) {
        finished_answer *answer = &it->finished[it->delivered];
        const bool go_on = it->options->on_answer(it->options->user, &answer->said);
        qa_ids_free(&answer->ids);
        it->delivered++;
        QA_FAIL_IF(!go_on, err, QA_ERR_INTERRUPTED, "stopped after %zu of %zu answers", it->delivered, it->total);
    }
    return QA_OK;
}

qa_status qa_generate_batch(qa_model *model, const qa_adapter *adapter, const qa_ids *prompts, size_t n_prompts,
                            const qa_batch_options *options, qa_error *err) {
    batch it = {.model = model,
                .prompts = prompts,
                .n_prompts = n_prompts,
                .options = options,
                .custom = options->policy == QA_POLICY_CUSTOM && adapter != NULL,
                .V = model->config.vocab_size,
                .context = qa_config_context(&model->config)};
    size_t capacity = 0;
    qa_status status = QA_OK;
    name_prompt(&it, SIZE_MAX);
    QA_TRY(qa_sampling_check(&options->sampling, err));
    QA_TRY(check_all(&it, &capacity, err));
    if (it.total == 0) {
        return QA_OK;
    }
    QA_GOTO(done, make_room(&it, adapter, capacity, err));
    while (it.delivered < it.total) {
        if (options->should_stop != NULL && options->should_stop(options->user)) {
            status = qa_fail(err, QA_ERR_INTERRUPTED, "stopped after %zu of %zu answers", it.delivered, it.total);
            goto done;
        }
        QA_GOTO(done, start_sequences(&it, err));
        QA_GOTO(done, step_all(&it, err));
        collect(&it);
        QA_GOTO(done, deliver(&it, err));
    }
done:
    free_room(&it);
    return status;
}
