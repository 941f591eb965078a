/* Many requests that come and go (infer/engine.h): whatever runs beside it, each gets what it gets alone. Alone is: for
 * the answer, one sequence with both streams (model/decode.h), (M7) and a sampler; for the prompt, the scorer. */
#include "infer/engine.h"

#include "base/rng.h"
#include "infer/policy.h"
#include "infer/sampler.h"
#include "model/decode.h"
#include "model/merge.h"
#include "qadapter/train.h"
#include "support/expect.h"
#include "support/fixture.h"

#include <check.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Log-probabilities, by many sequences against by one: the same terms, in the model's rounding. */
#ifdef QA_F64
static const double TOLERANCE = 1e-12; /* observed 4e-14 */
#else
static const double TOLERANCE = 1e-4; /* observed 2e-5 */
#endif

enum { CONTEXT = 64, ADAPTERS = 2, MOST_REQUESTS = 120, MOST_BEST = 4 };

/* ---- models ---- */

#define OF(architecture, type) "{\"architectures\": [\"" architecture "\"], \"model_type\": \"" type "\", "
#define SHAPE                                                                                                          \
    "\"hidden_size\": 16, \"intermediate_size\": 20, \"num_hidden_layers\": 3, \"vocab_size\": 31, "                   \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 6, \"max_position_embeddings\": 64, "

static const char *const families[] = {
    OF("LlamaForCausalLM", "llama") SHAPE "\"attention_bias\": true}",
    OF("Qwen3ForCausalLM", "qwen3") SHAPE "\"use_sliding_window\": true, \"sliding_window\": 3, \"layer_types\": "
                                          "[\"sliding_attention\", \"full_attention\", \"sliding_attention\"]}",
    OF("Gemma2ForCausalLM", "gemma2") SHAPE
    "\"query_pre_attn_scalar\": 9, \"attn_logit_softcapping\": 2.0, \"final_logit_softcapping\": 3.0, "
    "\"hidden_activation\": \"gelu_pytorch_tanh\", \"sliding_window\": 3}",
    OF("GPT2LMHeadModel", "gpt2") "\"n_embd\": 16, \"n_head\": 4, \"n_layer\": 3, \"n_positions\": 64, "
                                  "\"vocab_size\": 31, \"activation_function\": \"gelu_new\"}",
    OF("LlamaForCausalLM", "llama") SHAPE
    "\"rope_parameters\": {\"rope_type\": \"longrope\", \"rope_theta\": 100.0, \"original_max_position_embeddings\": "
    "10, \"short_factor\": [1, 1.1, 1.3], \"long_factor\": [1.5, 2.5, 4]}}",
    OF("LlamaForCausalLM", "llama") SHAPE "\"rope_parameters\": {\"rope_type\": \"dynamic\", \"rope_theta\": 100.0, "
                                          "\"factor\": 2.0, \"original_max_position_embeddings\": 10}}",
};
enum { FAMILIES = sizeof families / sizeof *families, V = 31 };

typedef struct engine_world {
    qa_fixture fixture;
    qa_adapter *adapters[ADAPTERS];
} engine_world;

/* Random adapters, the second of a smaller rank and on every other map. */
static void make_adapters(engine_world *w, double spread, bool all_maps) {
    qa_error err = {0};
    for (size_t i = 0; i < ADAPTERS; i++) {
        qa_lora_options lora = {.rank = 3 - i, .alpha = 5};
        for (size_t t = 0; t < QA_TARGETS; t++) {
            lora.targets[t] = i == 0 || t % 2 == 0 || all_maps;
        }
        expect_ok(qa_adapter_create(&w->adapters[i], w->fixture.model, &lora, 5, &err), &err);
        qa_rng rng = qa_rng_seed(20 + i, 0);
        for (size_t j = 0; j < w->adapters[i]->count; j++) {
            w->adapters[i]->parameters[j] = (qa_real)(spread * qa_rng_normal(&rng));
        }
    }
}

static engine_world open_engine_world(const char *config) {
    engine_world w = {.fixture = qa_fixture_of(config, NULL, 2)};
    make_adapters(&w, 0.3, strstr(config, "gpt2") != NULL);
    return w;
}

/* The bundled model. */
static engine_world open_village(void) {
    engine_world w = {.fixture = {.dir = NULL}};
    qa_error err = {0};
    expect_ok(qa_context_create(&w.fixture.context, 2, (qa_logger){0}, &err), &err);
    expect_ok(qa_model_load(&w.fixture.model, w.fixture.context, "weights/village/model", &err), &err);
    make_adapters(&w, 0.01, false);
    return w;
}

static void close_engine_world(engine_world *w) {
    for (size_t i = 0; i < ADAPTERS; i++) {
        qa_adapter_free(w->adapters[i]);
    }
    if (w->fixture.dir != NULL) {
        qa_fixture_close(&w->fixture);
    } else {
        qa_model_free(w->fixture.model);
        qa_context_free(w->fixture.context);
    }
}

static qa_engine *open_engine(engine_world *w, qa_engine_limits limits) {
    qa_engine *engine = NULL;
    qa_error err = {0};
    const qa_adapter *const adapters[ADAPTERS] = {w->adapters[0], w->adapters[1]};
    limits.capacity = limits.capacity == 0 ? CONTEXT : limits.capacity;
    expect_ok(qa_engine_create(&engine, w->fixture.model, adapters, ADAPTERS, &limits, &err), &err);
    return engine;
}

/* ---- a request and what it heard ---- */

typedef struct heard_request {
    qa_request request;
    uint64_t handle;
    int32_t prompt[CONTEXT];
    qa_engine_token tokens[2 * CONTEXT];
    qa_likely_token best[2 * CONTEXT][MOST_BEST];
    size_t n;
    size_t enough; /* tokens after which the caller wants no more; 0: never */
    size_t ends;   /* calls of on_end */
    qa_request_end end;
    char message[QA_MESSAGE_BYTES];
} heard_request;

static bool hear_token(void *user, const qa_engine_token *token) {
    heard_request *heard = user;
    ck_assert_uint_eq(heard->ends, 0);
    ck_assert_uint_lt(heard->n, 2 * CONTEXT);
    heard->tokens[heard->n] = *token;
    for (size_t i = 0; i < token->n_best; i++) {
        heard->best[heard->n][i] = token->best[i];
    }
    heard->n++;
    return heard->n != heard->enough;
}

static void hear_end(void *user, qa_request_end end, const qa_error *err) {
    heard_request *heard = user;
    heard->ends++;
    heard->end = end;
    ck_assert_int_eq(err != NULL, end == QA_END_FAILED);
    memcpy(heard->message, err == NULL ? "" : err->message, err == NULL ? 1 : sizeof heard->message);
}

static const qa_objective composed = {
    .q_parametrisation = QA_Q_LOGITS, .alpha_0 = 0.3, .alpha_tilde = 0.7, .gamma = 1.0};
static const qa_objective dialled = {
    .q_parametrisation = QA_Q_RESIDUAL, .alpha_0 = 0.5, .alpha_tilde = 1.0, .gamma = 1.0};
static const qa_objective plain = {
    .q_parametrisation = QA_Q_RESIDUAL, .alpha_0 = 1.0, .alpha_tilde = 1.0, .gamma = 1.0};
static const qa_objective plain_logits = {
    .q_parametrisation = QA_Q_LOGITS, .alpha_0 = 0.0, .alpha_tilde = 1.0, .gamma = 1.0};
static const int32_t ENDS[2] = {2, 17};

/* Prompts of 1 to 40 tokens, most of which begin like others. */
static void random_prompt(heard_request *heard, qa_rng *rng) {
    const size_t text = (size_t)qa_rng_below(rng, 4), shared = (size_t)qa_rng_below(rng, 30);
    size_t n = shared + 1 + (size_t)qa_rng_below(rng, 10);
    for (size_t i = 0; i < n; i++) {
        heard->prompt[i] = i < shared ? (int32_t)((5 * text + 11 * i + i * i) % V) : (int32_t)qa_rng_below(rng, V);
    }
    heard->request.n_prompt = n;
}

static void random_request(heard_request *heard, const engine_world *w, qa_rng *rng) {
    static const qa_objective *const objectives[] = {&composed, &dialled, &plain, &plain_logits};
    *heard = (heard_request){.enough = qa_rng_below(rng, 8) == 0 ? 1 + (size_t)qa_rng_below(rng, 12) : 0};
    random_prompt(heard, rng);
    qa_request *request = &heard->request;
    const size_t adapter = (size_t)qa_rng_below(rng, 3);
    request->policy.adapter = adapter < ADAPTERS ? w->adapters[adapter] : NULL;
    request->policy.objective = adapter < ADAPTERS ? objectives[qa_rng_below(rng, 4)] : NULL;
    request->policy.measured = qa_rng_below(rng, 2) == 0;
    request->prompt = heard->prompt;
    request->max_tokens = (size_t)qa_rng_below(rng, 16);
    request->sampling = qa_sampling_defaults();
    request->sampling.temperature = qa_rng_below(rng, 3) == 0 ? 0.0 : 0.8;
    request->sampling.top_k = qa_rng_below(rng, 3) == 0 ? 9 : 0;
    request->sampling.repetition_penalty = qa_rng_below(rng, 3) == 0 ? 1.5 : 1.0;
    request->sampling.seed = qa_rng_below(rng, 5);
    request->stream[0] = qa_rng_below(rng, 100);
    request->stream[1] = qa_rng_below(rng, 100);
    request->end_ids = ENDS;
    request->n_end_ids = (size_t)qa_rng_below(rng, 3);
    request->echo = qa_rng_below(rng, 2) == 0;
    request->n_best = (size_t)qa_rng_below(rng, MOST_BEST + 1);
    request->on_token = hear_token;
    request->on_end = hear_end;
    request->user = heard;
}

static void add(qa_engine *engine, heard_request *heard) {
    qa_error err = {0};
    heard->request.user = heard;
    heard->request.prompt = heard->prompt;
    expect_ok(qa_engine_add(engine, &heard->request, &heard->handle, &err), &err);
}

static void run_all(qa_engine *engine) {
    qa_error err = {0};
    while (qa_engine_live(engine) + qa_engine_waiting(engine) > 0) {
        expect_ok(qa_engine_step(engine, &err), &err);
    }
}

/* ---- alone ---- */

/* log pi of every token of the prompt but the first against the scorer's, (M8) and all. */
static void check_echo(const engine_world *w, const heard_request *heard, size_t n) {
    const qa_request *asked = &heard->request;
    const qa_adapter *adapter = asked->policy.adapter;
    qa_scorer *scorer = NULL;
    qa_pair_score score;
    qa_error err = {0};
    int32_t ids[CONTEXT];
    ck_assert(heard->tokens[0].first && heard->tokens[0].of_prompt && heard->tokens[0].id == heard->prompt[0]);
    if (asked->n_prompt < 2) {
        return;
    }
    memcpy(ids, heard->prompt, sizeof ids);
    const size_t rest = asked->n_prompt - 1;
    const qa_pair pair = {.prompt = ids,
                          .prompt_len = 1,
                          .chosen = ids + 1,
                          .chosen_len = rest,
                          .rejected = ids + 1,
                          .rejected_len = rest};
    expect_ok(qa_scorer_create(&scorer, w->fixture.model, adapter == NULL ? w->adapters[0] : adapter,
                               adapter == NULL ? &plain : asked->policy.objective, 1, rest, false, &err),
              &err);
    expect_ok(qa_scorer_score(scorer, &pair, asked->n_prompt, &score, &err), &err);
    const qa_side_score *side = &score.chosen;
    ck_assert_uint_eq(side->n, rest);
    for (size_t i = 1; i < n; i++) {
        const qa_engine_token *token = &heard->tokens[i];
        ck_assert(token->of_prompt && !token->first && token->id == ids[i]);
        expect_near(token->log_pi, adapter == NULL ? side->log_pi1[i - 1] : side->log_pi[i - 1], TOLERANCE, "echo");
        if (asked->policy.measured) {
            expect_near(token->log_pi1, side->log_pi1[i - 1], TOLERANCE, "echo, pi1");
            expect_near(token->kl, adapter == NULL ? 0.0 : side->kl[i - 1], TOLERANCE, "echo, KL");
        }
        for (size_t k = 0; k < asked->n_best; k++) { /* the token is among the best with the very same number */
            const qa_likely_token *best = heard->best[i];
            ck_assert(k == 0 || best[k - 1].log_pi > best[k].log_pi ||
                      (best[k - 1].log_pi == best[k].log_pi && best[k - 1].id < best[k].id));
            ck_assert(best[k].id != token->id || best[k].log_pi == token->log_pi);
            ck_assert(k + 1 < asked->n_best || token->log_pi <= best[k].log_pi || best[0].id == token->id ||
                      best[1].id == token->id || best[2].id == token->id || best[3].id == token->id);
        }
    }
    qa_scorer_free(scorer);
}

static void check_best(const heard_request *heard, size_t i, const double *log_policy) {
    ck_assert_uint_eq(heard->tokens[i].n_best, heard->request.n_best);
    bool seen[V] = {false};
    for (size_t k = 0; k < heard->request.n_best; k++) {
        int32_t best = -1;
        for (int32_t a = 0; a < V; a++) {
            best = !seen[a] && (best < 0 || log_policy[a] > log_policy[best]) ? a : best;
        }
        seen[best] = true;
        ck_assert_int_eq(heard->best[i][k].id, best);
        expect_near(heard->best[i][k].log_pi, log_policy[best], TOLERANCE, "a likely token");
    }
}

/* The answer's tokens, from token `first` of those heard on, by one sequence. */
static void check_answer(const engine_world *w, const heard_request *heard, size_t first) {
    const qa_request *asked = &heard->request;
    qa_kv_decoder *decoder = NULL;
    qa_sampler *sampler = NULL;
    qa_error err = {0};
    qa_real *base = NULL, *adapted = NULL, pi[V];
    double log_policy[V];
    expect_ok(qa_kv_decoder_create(&decoder, w->fixture.model, asked->policy.adapter, QA_KV_BOTH, CONTEXT, &err), &err);
    expect_ok(qa_sampler_create(&sampler, &asked->sampling, V, &err), &err);
    qa_sampler_restart(sampler, asked->stream[0], asked->stream[1]);
    qa_sampler_see(sampler, heard->prompt, asked->n_prompt);
    expect_ok(qa_kv_decoder_forward(decoder, heard->prompt, asked->n_prompt, &base, &adapted, &err), &err);
    for (size_t i = first; i < heard->n; i++) {
        const qa_engine_token *token = &heard->tokens[i];
        double kl = 0.0;
        int32_t id = 0;
        const double log_z = qa_policy_log_normaliser(base, adapted, V, asked->policy.objective);
        if (adapted == NULL) {
            qa_base_log_policy(log_policy, base, V);
        } else {
            kl = qa_custom_log_policy_kl(log_policy, pi, base, adapted, V, asked->policy.objective);
        }
        expect_ok(qa_sampler_pick(sampler, log_policy, log_z, &id, &err), &err);
        qa_sampler_see(sampler, &id, 1);
        ck_assert(!token->of_prompt && !token->first);
        ck_assert_int_eq(token->id, id);
        expect_near(token->log_pi, log_policy[id], TOLERANCE, "log pi");
        if (asked->policy.measured) {
            expect_near(token->log_pi1, adapted == NULL ? log_policy[id] : (double)base[id], TOLERANCE, "log pi1");
            expect_near(token->kl, kl, TOLERANCE, "KL");
        }
        check_best(heard, i, log_policy);
        if (i + 1 < heard->n) {
            expect_ok(qa_kv_decoder_forward(decoder, &id, 1, &base, &adapted, &err), &err);
        }
    }
    qa_sampler_free(sampler);
    qa_kv_decoder_free(decoder);
}

/* How many tokens there are, and why no more. */
static void check_end(const heard_request *heard, size_t echoed) {
    const qa_request *asked = &heard->request;
    const size_t said = heard->n - echoed;
    const int32_t last = said == 0 ? -1 : heard->tokens[heard->n - 1].id;
    bool ended = false;
    for (size_t i = 0; i < asked->n_end_ids; i++) {
        ended = ended || last == ENDS[i];
    }
    ck_assert_uint_eq(heard->ends, 1);
    ck_assert_int_ne(heard->end, QA_END_FAILED);
    switch (heard->end) {
    case QA_END_TOKEN: ck_assert(ended); break;
    case QA_END_LENGTH:
        ck_assert_uint_eq(said, asked->max_tokens < CONTEXT - asked->n_prompt ? asked->max_tokens
                                                                              : CONTEXT - asked->n_prompt);
        break;
    case QA_END_CALLER: ck_assert_uint_eq(heard->n, heard->enough); break;
    case QA_END_CANCELLED:
    case QA_END_FAILED: break;
    }
}

static void check_alone(const engine_world *w, const heard_request *heard) {
    const size_t prompt = heard->request.echo ? heard->request.n_prompt : 0;
    const size_t echoed = heard->n < prompt ? heard->n : prompt;
    check_end(heard, echoed);
    if (echoed > 0) {
        check_echo(w, heard, echoed);
    }
    if (heard->n > echoed) {
        check_answer(w, heard, echoed);
    }
}

/* ---- many at once ---- */

/* Requests of all policies come in bunches while others run; some are cancelled, some are left by their caller. */
static void check_random_arrivals(engine_world *w, qa_engine_limits limits, uint64_t seed, size_t n) {
    qa_engine *engine = open_engine(w, limits);
    heard_request *heard = calloc(n, sizeof *heard);
    qa_rng rng = qa_rng_seed(seed, 1);
    qa_error err = {0};
    size_t added = 0, most_live = 0, cancelled = 0;
    while (added < n || qa_engine_live(engine) + qa_engine_waiting(engine) > 0) {
        for (size_t more = (size_t)qa_rng_below(&rng, 4); more > 0 && added < n; more--) {
            random_request(&heard[added], w, &rng);
            add(engine, &heard[added++]);
        }
        if (qa_rng_below(&rng, 6) == 0 && added > 0) {
            qa_engine_cancel(engine, heard[qa_rng_below(&rng, added)].handle);
        }
        expect_ok(qa_engine_step(engine, &err), &err);
        most_live = qa_engine_live(engine) > most_live ? qa_engine_live(engine) : most_live;
    }
    for (size_t i = 0; i < n; i++) {
        check_alone(w, &heard[i]);
        cancelled += heard[i].end == QA_END_CANCELLED ? 1 : 0;
    }
    ck_assert_uint_le(most_live, limits.slots);
    ck_assert(limits.slots == 1 || most_live > 1);
    ck_assert(cancelled > 0 || n < 40);
    ck_assert(limits.slots == 1 || qa_engine_counted(engine).prompt_copied > 0 || n < 40);
    qa_engine_free(engine);
    free(heard);
}

START_TEST(each_gets_what_it_gets_alone) {
    engine_world w = open_engine_world(families[_i]);
    check_random_arrivals(&w, (qa_engine_limits){.slots = 5}, 3, _i == 0 ? MOST_REQUESTS : 60);
    check_random_arrivals(&w, (qa_engine_limits){.slots = 4, .prompt_tokens = 7}, 4, 40);
    if (_i == 0) {
        check_random_arrivals(&w, (qa_engine_limits){.slots = 1}, 5, 40);
        check_random_arrivals(&w, (qa_engine_limits){.slots = 9, .streams = 3, .prompt_tokens = 3}, 6, 60);
        check_random_arrivals(&w, (qa_engine_limits){.slots = 60, .prompt_tokens = SIZE_MAX}, 7, MOST_REQUESTS);
    }
    close_engine_world(&w);
}
END_TEST

/* ---- plain adapters ---- */

typedef struct said_tokens {
    int32_t ids[400];
    double log_pi[400], log_pi1[400], kl[400];
    size_t n;
} said_tokens;

static bool keep_answer(void *user, const qa_answer *answer) {
    said_tokens *said = user;
    double log_ratio = 0.0, kl = 0.0;
    for (size_t i = 0; i < answer->n; i++, said->n++) {
        said->ids[said->n] = answer->ids[i];
        said->log_pi[said->n] = answer->values[i].log_pi;
        said->log_pi1[said->n] = answer->values[i].log_pi1;
        said->kl[said->n] = answer->values[i].kl;
        log_ratio += answer->values[i].log_pi - answer->values[i].log_pi1;
        kl += answer->values[i].kl;
    }
    ck_assert(answer->log_ratio == log_ratio || (isnan(log_ratio) && isnan(answer->log_ratio)));
    ck_assert(answer->kl == kl || (isnan(kl) && isnan(answer->kl)));
    return true;
}

static said_tokens say_tokens(const engine_world *w, const qa_adapter *adapter, const qa_objective *objective,
                              double temperature, bool measured) {
    static int32_t ids[2][5] = {{1, 7, 3, 20, 11}, {1, 7, 4, 9, 2}};
    const qa_ids prompts[2] = {{.data = ids[0], .n = 5}, {.data = ids[1], .n = 3}};
    said_tokens said = {.n = 0};
    qa_error err = {0};
    qa_batch_options options = {.policy = QA_POLICY_CUSTOM,
                                .objective = objective,
                                .sampling = qa_sampling_defaults(),
                                .max_tokens = 30,
                                .samples = 4,
                                .batch = 3,
                                .measured = measured,
                                .on_answer = keep_answer,
                                .user = &said};
    options.sampling.temperature = temperature;
    options.sampling.repetition_penalty = 1.1;
    expect_ok(qa_generate_batch(w->fixture.model, adapter, prompts, 2, &options, &err), &err);
    ck_assert_uint_eq(said.n, 2 * 4 * 30);
    return said;
}

/* Answers of which some token differs; up to there the log-probabilities are the same. */
static size_t different_answers(const said_tokens *a, const said_tokens *b) {
    size_t different = 0;
    for (size_t answer = 0; answer < 8; answer++) {
        size_t i = 0;
        for (; i < 30 && a->ids[30 * answer + i] == b->ids[30 * answer + i]; i++) {
            expect_near(a->log_pi[30 * answer + i], b->log_pi[30 * answer + i], TOLERANCE, "merged");
        }
        different += i < 30 ? 1 : 0;
    }
    return different;
}

/* The same answer by one sequence, which draws from a stream of its own: greedy. */
static void check_generator(const engine_world *w, const qa_objective *objective, const said_tokens *said,
                            bool measured) {
    static const int32_t ids[5] = {1, 7, 3, 20, 11};
    qa_sampling sampling = qa_sampling_defaults();
    qa_generator *generator = NULL;
    qa_error err = {0};
    sampling.temperature = 0.0;
    sampling.repetition_penalty = 1.1;
    expect_ok(qa_generator_create(&generator, w->fixture.model, w->adapters[0], QA_POLICY_CUSTOM, objective, &sampling,
                                  CONTEXT, &err),
              &err);
    if (measured) {
        expect_ok(qa_generator_measure(generator, &err), &err);
    }
    expect_ok(qa_generator_feed(generator, ids, 5, &err), &err);
    for (size_t i = 0; i < 30; i++) {
        int32_t id = 0;
        expect_ok(qa_generator_next(generator, &id, &err), &err);
        const qa_token_value value = qa_generator_value(generator);
        ck_assert_int_eq(id, said->ids[i]);
        expect_near(value.log_pi, said->log_pi[i], TOLERANCE, "log pi");
        ck_assert(!measured || (fabs(value.log_pi1 - said->log_pi1[i]) < 10 * TOLERANCE &&
                                fabs(value.kl - said->kl[i]) < 10 * TOLERANCE));
        ck_assert(measured || (isnan(value.log_pi1) && isnan(value.kl)));
    }
    qa_generator_free(generator);
}

/* A plain adapter says the same, greedy and sampled, by both streams with (M7), by its own stream alone, and merged
 * into the model's weights. */
START_TEST(a_plain_adapter_says_the_same_in_one_stream) {
    engine_world w = _i == FAMILIES ? open_village() : open_engine_world(families[_i]);
    static const qa_objective *const objectives[] = {&plain, &plain_logits};
    said_tokens two[4], one;
    size_t different = 0;
    qa_error err = {0};
    for (size_t k = 0; k < 4; k++) {
        two[k] = say_tokens(&w, w.adapters[0], objectives[k / 2], k % 2 == 0 ? 0.0 : 0.9, true);
        one = say_tokens(&w, w.adapters[0], objectives[k / 2], k % 2 == 0 ? 0.0 : 0.9, false);
        for (size_t i = 0; i < one.n; i++) {
            ck_assert_msg(one.ids[i] == two[k].ids[i], "run %zu, token %zu: %d at %.9g, %d at %.9g", k, i, one.ids[i],
                          one.log_pi[i], two[k].ids[i], two[k].log_pi[i]);
            expect_near(one.log_pi[i], two[k].log_pi[i], TOLERANCE, "one stream");
            ck_assert(isnan(one.log_pi1[i]) && isnan(one.kl[i]) && two[k].kl[i] >= 0.0);
        }
        if (k % 2 == 0) {
            check_generator(&w, objectives[k / 2], &two[k], true);
            check_generator(&w, objectives[k / 2], &two[k], false);
        }
    }
    expect_ok(qa_model_merge(w.fixture.model, w.adapters[0], &err), &err);
    for (size_t k = 0; k < 4; k++) {
        one = say_tokens(&w, NULL, NULL, k % 2 == 0 ? 0.0 : 0.9, false);
        different += different_answers(&one, &two[k]);
    }
#ifdef QA_F64
    ck_assert_uint_eq(different, 0);
#else
    ck_assert_uint_le(different, 1);  /* of 32: the weights are rounded, and a draw may fall between two tokens */
#endif
    close_engine_world(&w);
}
END_TEST

/* ---- shared prompts ---- */

static heard_request request_of(const engine_world *w, const qa_objective *objective, size_t n_prompt,
                                size_t max_tokens) {
    heard_request heard = {.request = {.n_prompt = n_prompt,
                                       .max_tokens = max_tokens,
                                       .sampling = qa_sampling_defaults(),
                                       .on_token = hear_token,
                                       .on_end = hear_end}};
    heard.request.policy.adapter = objective == NULL ? NULL : w->adapters[0];
    heard.request.policy.objective = objective;
    for (size_t i = 0; i < n_prompt; i++) {
        heard.prompt[i] = (int32_t)((7 * i + i * i + 4) % V);
    }
    return heard;
}

/* Four choices behind one context, as an evaluation asks for them: the context runs once, whether they come together or
 * one after the other; also for another policy as far as the base model goes. */
START_TEST(four_choices_share_their_context) {
    enum { CHOICES = 4, N = 40, SHARED = 36 };
    engine_world w = open_engine_world(families[0]);
    const qa_objective *const objectives[] = {&plain, &composed, &dialled, NULL};
    const size_t streams[] = {1, 2, 2, 1};
    for (size_t together = 0; together < 2; together++) {
        for (size_t p = 0; p < 4; p++) {
            qa_engine *engine = open_engine(&w, (qa_engine_limits){.slots = CHOICES + 1, .prompt_tokens = 16});
            heard_request heard[CHOICES];
            for (size_t c = 0; c < CHOICES; c++) {
                heard[c] = request_of(&w, objectives[p], N, 1);
                heard[c].request.echo = true;
                heard[c].request.n_best = 1;
                heard[c].prompt[SHARED] = (int32_t)c;
                add(engine, &heard[c]);
                if (!together) {
                    run_all(engine);
                }
            }
            run_all(engine);
            const qa_engine_counts counts = qa_engine_counted(engine);
            ck_assert_uint_eq(counts.prompt_copied, streams[p] * (CHOICES - 1) * SHARED);
            ck_assert_uint_eq(counts.prompt_run, streams[p] * (N + (CHOICES - 1) * (N - SHARED)));
            for (size_t c = 0; c < CHOICES; c++) {
                ck_assert_uint_eq(heard[c].n, N + 1);
                check_alone(&w, &heard[c]);
            }
            if (p == 1) { /* the base model's stream is the same for the base policy, and for another adapter */
                heard_request other = request_of(&w, NULL, N, 2);
                other.prompt[SHARED] = CHOICES;
                add(engine, &other);
                run_all(engine);
                check_alone(&w, &other);
                ck_assert_uint_eq(qa_engine_counted(engine).prompt_copied, counts.prompt_copied + SHARED);
            }
            qa_engine_free(engine);
        }
    }
    close_engine_world(&w);
}
END_TEST

/* The next turn of a chat begins with the last one and its answer. */
START_TEST(a_next_turn_copies_the_answer_too) {
    engine_world w = open_engine_world(families[0]);
    qa_engine *engine = open_engine(&w, (qa_engine_limits){.slots = 3});
    heard_request first = request_of(&w, &plain, 10, 8), second = request_of(&w, &plain, 20, 3);
    add(engine, &first);
    run_all(engine);
    for (size_t i = 0; i < 8; i++) {
        second.prompt[10 + i] = first.tokens[i].id;
    }
    add(engine, &second);
    run_all(engine);
    ck_assert_uint_eq(qa_engine_counted(engine).prompt_copied, 17); /* the last token sampled went through no model */
    check_alone(&w, &second);
    qa_engine_free(engine);
    close_engine_world(&w);
}
END_TEST

/* Whoever follows another's prompt goes on by itself when that one is cancelled half way. */
START_TEST(a_cancelled_leader_holds_nobody_up) {
    engine_world w = open_engine_world(families[0]);
    qa_engine *engine = open_engine(&w, (qa_engine_limits){.slots = 4, .prompt_tokens = 10});
    heard_request heard[3];
    qa_error err = {0};
    for (size_t i = 0; i < 3; i++) {
        heard[i] = request_of(&w, &plain, 50, 4);
        heard[i].prompt[49] = (int32_t)i;
        add(engine, &heard[i]);
    }
    expect_ok(qa_engine_step(engine, &err), &err);
    expect_ok(qa_engine_step(engine, &err), &err);
    ck_assert_uint_eq(qa_engine_counted(engine).prompt_run, 20); /* the others wait */
    qa_engine_cancel(engine, heard[0].handle);
    ck_assert_int_eq(heard[0].end, QA_END_CANCELLED);
    run_all(engine);
    ck_assert_uint_eq(qa_engine_counted(engine).prompt_copied, 20 + 49);
    check_alone(&w, &heard[1]);
    check_alone(&w, &heard[2]);
    qa_engine_free(engine);
    close_engine_world(&w);
}
END_TEST

/* ---- fairness, failures, memory ---- */

/* A live answer gets a token in every round while a long prompt runs. */
START_TEST(a_long_prompt_does_not_stop_the_others) {
    engine_world w = open_engine_world(families[0]);
    qa_engine *engine = open_engine(&w, (qa_engine_limits){.slots = 2, .prompt_tokens = 4});
    heard_request live = request_of(&w, NULL, 3, 40), late = request_of(&w, &composed, 60, 2);
    qa_error err = {0};
    add(engine, &live);
    expect_ok(qa_engine_step(engine, &err), &err);
    ck_assert_uint_eq(live.n, 1);
    add(engine, &late);
    for (size_t round = 1; round < 15; round++) {
        expect_ok(qa_engine_step(engine, &err), &err);
        ck_assert_uint_eq(live.n, 1 + round);
        ck_assert_uint_eq(late.n, 0);
    }
    run_all(engine);
    check_alone(&w, &live);
    check_alone(&w, &late);
    qa_engine_free(engine);
    close_engine_world(&w);
}
END_TEST

/* An adapter with a NaN ends its own requests, and no others; and what it left in the caches reaches nobody. */
START_TEST(a_nan_ends_one_request_alone) {
    engine_world w = open_engine_world(families[0]);
    qa_engine *engine = open_engine(&w, (qa_engine_limits){.slots = 6});
    heard_request heard[6];
    w.adapters[1]->parameters[1] = (qa_real)NAN;
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < 6; i++) {
            heard[i] = request_of(&w, i % 3 == 0 ? NULL : i % 3 == 1 ? &plain : &composed, 9, 5);
            heard[i].request.echo = i >= 3;
            heard[i].request.policy.adapter = i == 1 || i == 5 ? w.adapters[1] : heard[i].request.policy.adapter;
            add(engine, &heard[i]);
        }
        run_all(engine);
        for (size_t i = 0; i < 6; i++) {
            ck_assert_uint_eq(heard[i].ends, 1);
            if (i == 1 || i == 5) {
                ck_assert_int_eq(heard[i].end, QA_END_FAILED);
                ck_assert_ptr_nonnull(strstr(heard[i].message, "adapted stream's logits, at position"));
            } else {
                check_alone(&w, &heard[i]);
            }
        }
    }
    qa_engine_free(engine);
    close_engine_world(&w);
}
END_TEST

static void expect_no_request(qa_engine *engine, const heard_request *heard, qa_status status, const char *part) {
    uint64_t handle = 0;
    qa_error err = {0};
    qa_request request = heard->request;
    request.prompt = heard->prompt;
    expect_error(qa_engine_add(engine, &request, &handle, &err), status, &err, part);
    ck_assert_uint_eq(qa_engine_waiting(engine), 0);
    ck_assert_uint_eq(heard->ends, 0);
}

START_TEST(what_can_never_run_is_refused) {
    engine_world w = open_engine_world(families[0]), other = open_engine_world(families[0]);
    qa_engine *engine = open_engine(&w, (qa_engine_limits){.slots = 2, .capacity = 20, .streams = 1});
    heard_request heard = request_of(&w, NULL, 0, 1);
    expect_no_request(engine, &heard, QA_ERR_ARGUMENT, "no tokens");
    heard = request_of(&w, NULL, 21, 1);
    expect_no_request(engine, &heard, QA_ERR_LIMIT, "21 tokens; a context has room for 20");
    heard = request_of(&w, NULL, 5, 1);
    heard.prompt[3] = V;
    expect_no_request(engine, &heard, QA_ERR_ARGUMENT, "token 3 has id 31, outside the vocabulary of 31");
    heard = request_of(&w, &plain, 5, 1);
    heard.request.policy.adapter = other.adapters[0];
    expect_no_request(engine, &heard, QA_ERR_ARGUMENT, "none of the engine's");
    heard.request.policy = (qa_engine_policy){.adapter = w.adapters[0]};
    expect_no_request(engine, &heard, QA_ERR_ARGUMENT, "objective");
    heard = request_of(&w, &composed, 5, 1);
    expect_no_request(engine, &heard, QA_ERR_LIMIT, "needs 2 streams; the engine has 1");
    heard = request_of(&w, NULL, 5, 1);
    heard.request.sampling.top_p = 2.0;
    expect_no_request(engine, &heard, QA_ERR_ARGUMENT, "top_p = 2");
    heard = request_of(&w, NULL, 20, 9); /* a full context has a next token, and no more */
    add(engine, &heard);
    run_all(engine);
    ck_assert_uint_eq(heard.n, 1);
    ck_assert_int_eq(heard.end, QA_END_LENGTH);
    qa_engine_free(engine);
    close_engine_world(&w);
    close_engine_world(&other);
}
END_TEST

/* What is there when the engine goes is cancelled, each once. */
START_TEST(closing_cancels_what_is_there) {
    engine_world w = open_engine_world(families[0]);
    qa_engine *engine = open_engine(&w, (qa_engine_limits){.slots = 2});
    heard_request heard[4];
    qa_error err = {0};
    for (size_t i = 0; i < 4; i++) {
        heard[i] = request_of(&w, &plain, 5, 30);
        add(engine, &heard[i]);
    }
    expect_ok(qa_engine_step(engine, &err), &err);
    ck_assert_uint_eq(qa_engine_live(engine), 2);
    ck_assert_uint_eq(qa_engine_waiting(engine), 2);
    qa_engine_cancel(engine, heard[3].handle);
    qa_engine_cancel(engine, heard[3].handle);
    ck_assert_uint_eq(qa_engine_waiting(engine), 1);
    qa_engine_free(engine);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(heard[i].ends, 1);
        ck_assert_int_eq(heard[i].end, QA_END_CANCELLED);
    }
    close_engine_world(&w);
}
END_TEST

START_TEST(memory_is_flat_over_many_requests) {
    enum { REQUESTS = 10000, WARM = 500 };
    engine_world w = open_engine_world(families[0]);
    qa_engine *engine = open_engine(&w, (qa_engine_limits){.slots = 8});
    heard_request *heard = calloc(16, sizeof *heard);
    qa_rng rng = qa_rng_seed(8, 0);
    qa_error err = {0};
    size_t before = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        random_request(&heard[i % 16], &w, &rng);
        heard[i % 16].request.max_tokens %= 4;
        add(engine, &heard[i % 16]);
        if (i % 16 == 15) {
            run_all(engine);
        } else if (i % 5 == 0) {
            expect_ok(qa_engine_step(engine, &err), &err);
        }
        if (i == WARM || i == REQUESTS - 1) {
            run_all(engine);
            const size_t now = mallinfo2().uordblks;
            /* less than a byte a request; what malloc keeps by for a thread counts as used, so not 0 */
            ck_assert_msg(i == WARM || now < before + REQUESTS, "%zu bytes were in use, then %zu", before, now);
            before = now;
        }
    }
    ck_assert_uint_gt(qa_engine_counted(engine).prompt_copied, 0);
    qa_engine_free(engine);
    free(heard);
    close_engine_world(&w);
}
END_TEST

Suite *infer_engine_suite(void);
Suite *infer_engine_suite(void) {
    Suite *suite = suite_create("infer/engine");
    TCase *tcase = tcase_create("engine");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, each_gets_what_it_gets_alone, 0, FAMILIES);
    tcase_add_loop_test(tcase, a_plain_adapter_says_the_same_in_one_stream, 0, FAMILIES + 1);
    tcase_add_test(tcase, four_choices_share_their_context);
    tcase_add_test(tcase, a_next_turn_copies_the_answer_too);
    tcase_add_test(tcase, a_cancelled_leader_holds_nobody_up);
    tcase_add_test(tcase, a_long_prompt_does_not_stop_the_others);
    tcase_add_test(tcase, a_nan_ends_one_request_alone);
    tcase_add_test(tcase, what_can_never_run_is_refused);
    tcase_add_test(tcase, closing_cancels_what_is_there);
    tcase_add_test(tcase, memory_is_flat_over_many_requests);
    suite_add_tcase(suite, tcase);
    return suite;
}
