/* Generation: a decoder (model/decode.h) whose logits become the log-probabilities of a policy (infer/policy.h), from
 * which a sampler (infer/sampler.h) picks the next token.
 *
 * State. After a feed, log_policy[V] belongs to the state behind all tokens in the caches. A sampled token is held
 * back as `pending` and goes through the model together with whatever comes next, so that the last token of an answer
 * costs no pass. It counts as a token of the caches all the same: position = decoder's position + pending. */
#include "base/memory.h"
#include "base/try.h"
#include "infer/policy.h"
#include "infer/sampler.h"
#include "model/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NOTHING_PENDING = -1 };

struct qa_generator {
    qa_model *model;
    const qa_adapter *adapter;
    qa_kv_decoder *decoder;
    qa_sampler *sampler;
    qa_objective objective;
    qa_mixture mixture;                      /* n 0: none */
    qa_mixture_part parts[QA_MIXTURE_PARTS]; /* [mixture.n] */
    size_t V;
    bool custom;           /* pitilde; else pi1 or the mixture */
    int32_t pending;       /* sampled, not yet in the caches */
    bool has_policy;       /* log_policy is that of the state before `pending` */
    double *log_policy;    /* [V] */
    qa_real *pi, *log_pi1; /* [V] each, of a measured generator; else NULL. Of a mixture log_pi1 alone */
    double kl, log_z;      /* at that state */
    qa_token_value value;  /* of the token sampled last */
    double log_normaliser; /* of log_policy, for the repetition penalty; 0 without one */
};

/* What every generator has but for its decoder. */
static qa_status begin_generator(qa_generator **out, qa_model *model, const qa_sampling *sampling, qa_error *err) {
    qa_generator *generator = NULL;
    QA_TRY(QA_NEW(generator, 1, err, "a generator"));
    generator->model = model;
    generator->V = model->config.vocab_size;
    generator->pending = NOTHING_PENDING;
    generator->log_policy = qa_alloc_array(generator->V, sizeof *generator->log_policy);
    const qa_status status = generator->log_policy == NULL
                                 ? QA_NO_MEMORY(err, "%zu log-probabilities", generator->V)
                                 : qa_sampler_create(&generator->sampler, sampling, generator->V, err);
    if (status != QA_OK) {
        qa_generator_free(generator);
        return status;
    }
    *out = generator;
    return QA_OK;
}

qa_status qa_generator_create(qa_generator **out, qa_model *model, const qa_adapter *adapter, qa_policy policy,
                              const qa_objective *objective, const qa_sampling *sampling, size_t capacity,
                              qa_error *err) {
    *out = NULL;
    const bool custom = policy == QA_POLICY_CUSTOM && adapter != NULL;
    if (custom) {
        QA_TRY(qa_objective_check(objective, err));
    }
    qa_generator *generator = NULL;
    qa_status status = QA_OK;
    QA_TRY(begin_generator(&generator, model, sampling, err));
    generator->adapter = adapter;
    generator->custom = custom;
    if (custom) {
        generator->objective = *objective;
    }
    const qa_kv_streams streams = custom && qa_objective_is_plain(objective) ? QA_KV_ADAPTED : QA_KV_BOTH;
    QA_GOTO(failed, qa_kv_decoder_create(&generator->decoder, model, custom ? adapter : NULL, streams, capacity, err));
    *out = generator;
    return QA_OK;
failed:
    qa_generator_free(generator);
    return status;
}

/* The decoder's slots are the base model's stream, then one of every part. */
static qa_status open_mixture(qa_generator *generator, const qa_mixture *mixture, size_t capacity, qa_error *err) {
    const qa_adapter *adapters[QA_MIXTURE_PARTS];
    for (size_t i = 0; i < mixture->n; i++) {
        generator->parts[i] = mixture->parts[i];
        adapters[i] = mixture->parts[i].adapter;
    }
    generator->mixture = (qa_mixture){.parts = generator->parts, .n = mixture->n};
    QA_TRY(QA_NEW(generator->log_pi1, generator->V, err, "%zu log-probabilities", generator->V));
    QA_TRY(qa_kv_decoder_create_many(
        &generator->decoder, generator->model, adapters, mixture->n,
        (qa_kv_room){.slots = 1 + mixture->n, .capacity = capacity, .logits = 1 + mixture->n}, err));
    for (size_t i = 0; i < mixture->n; i++) {
        qa_kv_decoder_assign(generator->decoder, 1 + i, adapters[i]);
    }
    return QA_OK;
}

qa_status qa_generator_create_mixture(qa_generator **out, qa_model *model, const qa_mixture *mixture,
                                      const qa_sampling *sampling, size_t capacity, qa_error *err) {
    qa_generator *generator = NULL;
    *out = NULL;
    QA_TRY(qa_mixture_check(mixture, err));
    QA_TRY(begin_generator(&generator, model, sampling, err));
    const qa_status status = open_mixture(generator, mixture, capacity, err);
    if (status != QA_OK) {
        qa_generator_free(generator);
        return status;
    }
    *out = generator;
    return QA_OK;
}

void qa_generator_free(qa_generator *generator) {
    if (generator != NULL) {
        qa_kv_decoder_free(generator->decoder);
        qa_sampler_free(generator->sampler);
        free(generator->log_policy);
        free(generator->pi);
        free(generator->log_pi1);
        free(generator);
    }
}

qa_status qa_generator_measure(qa_generator *generator, qa_error *err) {
    const size_t capacity = qa_generator_capacity(generator);
    QA_FAIL_IF(qa_generator_position(generator) > 0, err, QA_ERR_ARGUMENT,
               "the generator is to measure from its first token on");
    if (!generator->custom || generator->log_pi1 != NULL) { /* of pi1 and of a mixture all is known */
        return QA_OK;
    }
    qa_kv_decoder_free(generator->decoder);
    generator->decoder = NULL;
    QA_TRY(qa_kv_decoder_create(&generator->decoder, generator->model, generator->adapter, QA_KV_BOTH, capacity, err));
    QA_TRY(QA_NEW(generator->pi, generator->V, err, "%zu probabilities", generator->V));
    return QA_NEW(generator->log_pi1, generator->V, err, "%zu log-probabilities", generator->V);
}

static qa_token_value value_of(const qa_generator *generator, int32_t id) {
    const double log_pi = generator->log_policy[id];
    if (!generator->custom && generator->mixture.n == 0) {
        return (qa_token_value){.log_pi = log_pi, .log_pi1 = log_pi};
    }
    const bool measured = generator->log_pi1 != NULL;
    return (qa_token_value){.log_pi = log_pi,
                            .log_z = generator->log_z,
                            .log_pi1 = measured ? (double)generator->log_pi1[id] : (double)NAN,
                            .kl = measured ? generator->kl : (double)NAN};
}

qa_token_value qa_generator_value(const qa_generator *generator) { return generator->value; }

size_t qa_generator_position(const qa_generator *generator) {
    return qa_kv_decoder_position(generator->decoder) + (generator->pending == NOTHING_PENDING ? 0 : 1);
}

size_t qa_generator_capacity(const qa_generator *generator) { return qa_kv_decoder_capacity(generator->decoder); }

/* Runs ids[n]; log_policy becomes that of the mixture behind them. */
static qa_status run_mixture(qa_generator *generator, const int32_t *ids, size_t n, qa_error *err) {
    const size_t V = generator->V;
    qa_real *logits = NULL, *rows[1 + QA_MIXTURE_PARTS];
    QA_TRY(qa_kv_decoder_forward_all(generator->decoder, ids, n, &logits, err));
    for (size_t s = 0; s <= generator->mixture.n; s++) {
        rows[s] = logits + s * V;
    }
    generator->log_z = qa_mixture_log_policy(generator->log_policy, rows, V, &generator->mixture, &generator->kl);
    memcpy(generator->log_pi1, rows[0], V * sizeof *logits);
    return QA_OK;
}

/* The same of pi1, and of pitilde. */
static qa_status run_policy(qa_generator *generator, const int32_t *ids, size_t n, qa_error *err) {
    qa_real *base = NULL;
    qa_real *adapted = NULL;
    QA_TRY(qa_kv_decoder_forward(generator->decoder, ids, n, &base, &adapted, err));
    const qa_objective *objective = generator->custom ? &generator->objective : NULL;
    if (qa_sampler_penalises(generator->sampler)) {
        generator->log_normaliser = qa_policy_log_normaliser(base, adapted, generator->V, objective);
    }
    if (generator->log_pi1 != NULL && adapted != NULL) {
        generator->kl =
            qa_custom_log_policy_kl(generator->log_policy, generator->pi, base, adapted, generator->V, objective);
        memcpy(generator->log_pi1, base, generator->V * sizeof *base);
    } else {
        qa_streams_log_policy(generator->log_policy, base, adapted, generator->V, objective);
    }
    return QA_OK;
}

/* Runs ids[n], which begin with the pending token if there is one, and makes the policy at the new state. */
static qa_status advance_generator(qa_generator *generator, const int32_t *ids, size_t n, qa_error *err) {
    QA_TRY(generator->mixture.n > 0 ? run_mixture(generator, ids, n, err) : run_policy(generator, ids, n, err));
    generator->pending = NOTHING_PENDING;
    generator->has_policy = false;
    for (size_t a = 0; a < generator->V; a++) {
        QA_FAIL_IF(!isfinite(generator->log_policy[a]), err, QA_ERR_NAN,
                   "the policy's log-probability of token %zu after %zu tokens is %g", a,
                   qa_kv_decoder_position(generator->decoder), generator->log_policy[a]);
    }
    generator->has_policy = true;
    return QA_OK;
}

qa_status qa_generator_turn(qa_generator *generator, const qa_objective *objective, const qa_sampling *sampling,
                            bool restart, bool *turned, qa_error *err) {
    *turned = true;
    if (generator->custom) {
        QA_TRY(qa_objective_check(objective, err));
        *turned =
            generator->pi != NULL || !qa_objective_is_plain(&generator->objective) || qa_objective_is_plain(objective);
    }
    QA_TRY(*turned ? qa_sampler_turn(generator->sampler, sampling, restart, turned, err)
                   : qa_sampling_check(sampling, err));
    if (*turned && generator->custom) {
        generator->objective = *objective;
        generator->has_policy = false; /* what is there is the other objective's */
    }
    return QA_OK;
}

/* Makes log_policy that of the current state. */
static qa_status generator_settle(qa_generator *generator, qa_error *err) {
    if (generator->pending != NOTHING_PENDING) {
        const int32_t pending = generator->pending;
        return advance_generator(generator, &pending, 1, err);
    }
    QA_FAIL_IF(!generator->has_policy, err, QA_ERR_ARGUMENT,
               "the generator has no state yet: feed it at least one token first");
    return QA_OK;
}

qa_status qa_generator_feed(qa_generator *generator, const int32_t *ids, size_t n, qa_error *err) {
    const size_t position = qa_generator_position(generator);
    const size_t capacity = qa_generator_capacity(generator);
    QA_FAIL_IF(n == 0, err, QA_ERR_ARGUMENT, "nothing to feed: at least one token is needed");
    QA_FAIL_IF(n > capacity - position, err, QA_ERR_LIMIT,
               "%zu tokens do not fit behind the %zu that the caches for %zu tokens hold", n, position, capacity);
    if (generator->pending == NOTHING_PENDING) {
        QA_TRY(advance_generator(generator, ids, n, err));
    } else {
        int32_t *all = NULL;
        QA_TRY(QA_NEW(all, n + 1, err, "%zu tokens", n + 1));
        all[0] = generator->pending;
        memcpy(all + 1, ids, n * sizeof *all);
        qa_status status = advance_generator(generator, all, n + 1, err);
        free(all);
        QA_TRY(status);
    }
    qa_sampler_see(generator->sampler, ids, n);
    return QA_OK;
}

qa_status qa_generator_next(qa_generator *generator, int32_t *id, qa_error *err) {
    QA_FAIL_IF(qa_generator_position(generator) == qa_generator_capacity(generator), err, QA_ERR_LIMIT,
               "the caches are full: %zu tokens", qa_generator_capacity(generator));
    QA_TRY(generator_settle(generator, err));
    QA_TRY(qa_sampler_pick(generator->sampler, generator->log_policy, generator->log_normaliser, id, err));
    qa_sampler_see(generator->sampler, id, 1);
    generator->value = value_of(generator, *id);
    generator->pending = *id;
    return QA_OK;
}

qa_status qa_generator_log_policy(qa_generator *generator, double *log_policy, qa_error *err) {
    QA_TRY(generator_settle(generator, err));
    memcpy(log_policy, generator->log_policy, generator->V * sizeof *log_policy);
    return QA_OK;
}
