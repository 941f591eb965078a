/* Mixtures (M12) on a tiny model with two random adapters, one composed and one plain: against what generators of the
 * parts alone say, worked out again in double. */
#include "base/buffer.h"
#include "base/rng.h"
#include "infer/engine.h"
#include "qadapter/infer.h"
#include "rl/mixture.h"
#include "support/expect.h"
#include "support/fixture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *infer_mixture_suite(void);

enum { V = 29, CONTEXT = 64, N_PROMPT = 5, MOST_TOKENS = 8, SAMPLES = 6, PARTICLES = 4 };

#ifdef QA_F64
static const double TOLERANCE = 1e-12; /* observed 1e-14 */
#else
static const double TOLERANCE = 2e-5; /* observed 2e-6 */
#endif

static const int32_t PROMPT[N_PROMPT] = {3, 14, 15, 9, 26};
static const int32_t ENDS[1] = {2};

typedef struct mixture_world {
    qa_fixture fixture;
    qa_adapter *other;
    qa_mixture_part parts[2];
    qa_mixture mixture;
} mixture_world;

/* A composed policy with the weight 0.7, a plain one with -0.4. */
static void open_world(mixture_world *world) {
    const tiny_model_options options = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_error err = {0};
    *world = (mixture_world){.fixture = qa_fixture_open(&options, &lora, 2)};
    expect_ok(qa_adapter_copy(&world->other, world->fixture.adapter, &err), &err);
    for (size_t i = 0; i < world->other->count; i++) {
        world->other->parameters[i] *= (qa_real)(i % 3 == 0 ? -1.5 : 0.75);
    }
    world->parts[0] = (qa_mixture_part){
        .adapter = world->fixture.adapter,
        .objective = {.q_parametrisation = QA_Q_RESIDUAL, .alpha_0 = 0.3, .alpha_tilde = 0.7, .gamma = 1.0},
        .weight = 0.7};
    world->parts[1] =
        (qa_mixture_part){.adapter = world->other, .objective = qa_objective_for_method(QA_METHOD_SFT), .weight = -0.4};
    world->mixture = (qa_mixture){.parts = world->parts, .n = 2};
}

static void close_world(mixture_world *world) {
    qa_adapter_free(world->other);
    qa_fixture_close(&world->fixture);
}

/* log pi(.|s) of one policy behind ids[n]; part NULL: pi1. */
static void log_policy_alone(double *log_policy, const mixture_world *world, const qa_mixture_part *part,
                             const int32_t *ids, size_t n) {
    const qa_sampling sampling = qa_sampling_defaults();
    qa_generator *generator = NULL;
    qa_error err = {0};
    expect_ok(qa_generator_create(&generator, world->fixture.model, part == NULL ? NULL : part->adapter,
                                  QA_POLICY_CUSTOM, part == NULL ? NULL : &part->objective, &sampling, CONTEXT, &err),
              &err);
    expect_ok(qa_generator_feed(generator, ids, n, &err), &err);
    expect_ok(qa_generator_log_policy(generator, log_policy, &err), &err);
    qa_generator_free(generator);
}

/* What (M12) says behind ids[n]: log pi_mix[V], log pi1[V]; returns log Z. */
static double oracle(double *log_mix, double *log_pi1, const mixture_world *world, const int32_t *ids, size_t n) {
    double sum = 0.0, part[V];
    log_policy_alone(log_pi1, world, NULL, ids, n);
    memcpy(log_mix, log_pi1, V * sizeof *log_mix);
    for (size_t i = 0; i < world->mixture.n; i++) {
        log_policy_alone(part, world, &world->parts[i], ids, n);
        for (size_t a = 0; a < V; a++) {
            log_mix[a] += world->parts[i].weight * (part[a] - log_pi1[a]);
        }
    }
    for (size_t a = 0; a < V; a++) {
        sum += exp(log_mix[a]);
    }
    for (size_t a = 0; a < V; a++) {
        log_mix[a] -= log(sum);
    }
    return log(sum);
}

static void expect_value(const qa_token_value *value, int32_t id, const mixture_world *world, const int32_t *ids,
                         size_t n) {
    double log_mix[V], log_pi1[V], kl = 0.0;
    const double log_z = oracle(log_mix, log_pi1, world, ids, n);
    for (size_t a = 0; a < V; a++) {
        kl += exp(log_mix[a]) * (log_mix[a] - log_pi1[a]);
    }
    ck_assert_double_eq_tol(value->log_pi, log_mix[id], TOLERANCE);
    ck_assert_double_eq_tol(value->log_pi1, log_pi1[id], TOLERANCE);
    ck_assert_double_eq_tol(value->log_z, log_z, TOLERANCE);
    ck_assert_double_eq_tol(value->kl, kl, TOLERANCE);
    ck_assert(fabs(log_z) > 100.0 * TOLERANCE); /* or the test would see nothing */
}

static qa_generator *generator_of(const mixture_world *world, const qa_sampling *sampling) {
    qa_generator *generator = NULL;
    qa_error err = {0};
    expect_ok(qa_generator_create_mixture(&generator, world->fixture.model, &world->mixture, sampling, CONTEXT, &err),
              &err);
    expect_ok(qa_generator_feed(generator, PROMPT, N_PROMPT, &err), &err);
    return generator;
}

START_TEST(a_generators_tokens) {
    mixture_world world;
    const qa_sampling sampling = qa_sampling_defaults();
    qa_error err = {0};
    int32_t ids[N_PROMPT + MOST_TOKENS];
    open_world(&world);
    qa_generator *generator = generator_of(&world, &sampling);
    memcpy(ids, PROMPT, sizeof PROMPT);
    for (size_t t = 0; t < MOST_TOKENS; t++) {
        expect_ok(qa_generator_next(generator, &ids[N_PROMPT + t], &err), &err);
        const qa_token_value value = qa_generator_value(generator);
        expect_value(&value, ids[N_PROMPT + t], &world, ids, N_PROMPT + t);
    }
    qa_generator_free(generator);
    close_world(&world);
}
END_TEST

/* ---- many at once ---- */

typedef struct kept_answer {
    qa_answer said;
    int32_t ids[MOST_TOKENS];
    qa_token_value values[MOST_TOKENS];
    double log_weights[PARTICLES];
} kept_answer;

typedef struct kept_answers {
    kept_answer answers[SAMPLES * PARTICLES];
    size_t n;
} kept_answers;

static bool keep_answer(void *user, const qa_answer *answer) {
    kept_answers *to = user;
    kept_answer *kept = &to->answers[to->n++];
    kept->said = *answer;
    memcpy(kept->ids, answer->ids, answer->n * sizeof *answer->ids);
    memcpy(kept->values, answer->values, answer->n * sizeof *answer->values);
    if (answer->log_weights != NULL) {
        memcpy(kept->log_weights, answer->log_weights, answer->particles * sizeof(double));
    }
    return true;
}

static qa_batch_options batch_of(const mixture_world *world, kept_answers *to, size_t samples, size_t particles) {
    return (qa_batch_options){.mixture = &world->mixture,
                              .sampling = qa_sampling_defaults(),
                              .end_ids = ENDS,
                              .n_end_ids = 1,
                              .max_tokens = MOST_TOKENS,
                              .samples = samples,
                              .particles = particles,
                              .batch = 3,
                              .on_answer = keep_answer,
                              .user = to};
}

static kept_answers *answer_all(const mixture_world *world, size_t samples, size_t particles) {
    kept_answers *to = calloc(1, sizeof *to);
    int32_t ids[N_PROMPT];
    const qa_ids prompt = {.data = ids, .n = N_PROMPT};
    qa_error err = {0};
    const qa_batch_options options = batch_of(world, to, samples, particles);
    memcpy(ids, PROMPT, sizeof ids);
    expect_ok(qa_generate_batch(world->fixture.model, NULL, &prompt, 1, &options, &err), &err);
    ck_assert_uint_eq(to->n, samples);
    return to;
}

START_TEST(answers_of_a_batch) {
    mixture_world world;
    int32_t ids[N_PROMPT + MOST_TOKENS];
    open_world(&world);
    kept_answers *found = answer_all(&world, SAMPLES, 0);
    for (size_t i = 0; i < SAMPLES; i++) {
        const kept_answer *answer = &found->answers[i];
        double log_weight = 0.0, log_ratio = 0.0;
        memcpy(ids, PROMPT, sizeof PROMPT);
        for (size_t t = 0; t < answer->said.n; t++) {
            expect_value(&answer->values[t], answer->ids[t], &world, ids, N_PROMPT + t);
            ids[N_PROMPT + t] = answer->ids[t];
            log_weight += answer->values[t].log_z;
            log_ratio += answer->values[t].log_pi - answer->values[t].log_pi1;
        }
        ck_assert_double_eq_tol(answer->said.log_weight, log_weight, 1e-12);
        ck_assert_double_eq_tol(answer->said.log_ratio, log_ratio, 1e-12);
        ck_assert_ptr_null(answer->said.log_weights);
    }
    free(found);
    close_world(&world);
}
END_TEST

/* The particles of an answer are the answers that would have been given without them, and one is chosen by its weight:
 * the same for the same seed. */
START_TEST(particles_are_weighed) {
    mixture_world world;
    bool another = false;
    open_world(&world);
    kept_answers *all = answer_all(&world, SAMPLES * PARTICLES, 1), *found = answer_all(&world, SAMPLES, PARTICLES);
    kept_answers *again = answer_all(&world, SAMPLES, PARTICLES);
    for (size_t i = 0; i < SAMPLES; i++) {
        const qa_answer *said = &found->answers[i].said;
        const kept_answer *of = &all->answers[i * PARTICLES + said->chosen];
        ck_assert_uint_eq(said->sample, i);
        ck_assert_uint_eq(said->particles, PARTICLES);
        ck_assert_uint_eq(said->n, of->said.n);
        ck_assert_mem_eq(found->answers[i].ids, of->ids, said->n * sizeof(int32_t));
        for (size_t k = 0; k < PARTICLES; k++) {
            ck_assert_double_eq_tol(found->answers[i].log_weights[k], all->answers[i * PARTICLES + k].said.log_weight,
                                    TOLERANCE);
        }
        const double *weights = found->answers[i].log_weights;
        ck_assert_double_eq(said->effective_samples, qa_m12_effective_samples(weights, PARTICLES));
        ck_assert_double_eq_tol(said->log_ratio,
                                of->said.log_ratio + of->said.log_weight - qa_m12_log_mean_weight(weights, PARTICLES),
                                10.0 * TOLERANCE);
        ck_assert_uint_eq(again->answers[i].said.chosen, said->chosen);
        another = another || said->chosen != 0;
    }
    ck_assert(another);
    free(all);
    free(found);
    free(again);
    close_world(&world);
}
END_TEST

/* ---- beside other requests ---- */

typedef struct echoed {
    qa_token_value values[N_PROMPT];
    size_t n;
} echoed;

static bool take_echo(void *user, const qa_engine_token *token) {
    echoed *to = user;
    to->values[to->n++] = (qa_token_value){token->log_pi, token->log_pi1, token->kl, token->log_z};
    return true;
}

static void end_echo(void *user, qa_request_end end, const qa_error *err) {
    (void)user;
    ck_assert_msg(end == QA_END_LENGTH, "%s", err == NULL ? "" : err->message);
}

/* The prompt's tokens are scored, beside requests of one part and of the base model in the same engine. */
START_TEST(an_engine_scores_a_prompt) {
    mixture_world world;
    qa_engine *engine = NULL;
    qa_error err = {0};
    uint64_t handle = 0;
    echoed of[3] = {{.n = 0}};
    open_world(&world);
    const qa_adapter *adapters[2] = {world.fixture.adapter, world.other};
    const qa_engine_limits limits = {.slots = 3, .capacity = CONTEXT, .streams = 6};
    const qa_engine_policy policies[3] = {
        {.mixture = &world.mixture},
        {.adapter = world.fixture.adapter, .objective = &world.parts[0].objective, .measured = true},
        {.measured = true}};
    expect_ok(qa_engine_create(&engine, world.fixture.model, adapters, 2, &limits, &err), &err);
    for (size_t i = 0; i < 3; i++) {
        const qa_request request = {.policy = policies[i],
                                    .prompt = PROMPT,
                                    .n_prompt = N_PROMPT,
                                    .sampling = qa_sampling_defaults(),
                                    .echo = true,
                                    .on_token = take_echo,
                                    .on_end = end_echo,
                                    .user = &of[i]};
        expect_ok(qa_engine_add(engine, &request, &handle, &err), &err);
    }
    while (qa_engine_live(engine) + qa_engine_waiting(engine) > 0) {
        expect_ok(qa_engine_step(engine, &err), &err);
    }
    for (size_t t = 1; t < N_PROMPT; t++) {
        double alone[V];
        expect_value(&of[0].values[t], PROMPT[t], &world, PROMPT, t);
        log_policy_alone(alone, &world, &world.parts[0], PROMPT, t);
        ck_assert_double_eq_tol(of[1].values[t].log_pi, alone[PROMPT[t]], TOLERANCE);
        ck_assert_double_eq_tol(of[2].values[t].log_pi, of[0].values[t].log_pi1, TOLERANCE);
    }
    qa_engine_free(engine);
    close_world(&world);
}
END_TEST

/* ---- one adapter ---- */

START_TEST(one_policy_with_the_weights_one_and_zero) {
    mixture_world world;
    const qa_sampling sampling = qa_sampling_defaults();
    qa_error err = {0};
    open_world(&world);
    world.mixture.n = 1;
    for (int weight = 0; weight <= 1; weight++) {
        double mixed[V], alone[V];
        int32_t id = 0;
        world.parts[0].weight = weight;
        qa_generator *generator = generator_of(&world, &sampling);
        expect_ok(qa_generator_log_policy(generator, mixed, &err), &err);
        log_policy_alone(alone, &world, weight == 0 ? NULL : &world.parts[0], PROMPT, N_PROMPT);
        for (size_t a = 0; a < V; a++) {
            ck_assert_double_eq_tol(mixed[a], alone[a], TOLERANCE);
        }
        expect_ok(qa_generator_next(generator, &id, &err), &err);
        ck_assert_double_eq_tol(qa_generator_value(generator).log_z, 0.0, TOLERANCE);
        qa_generator_free(generator);
    }
    close_world(&world);
}
END_TEST

/* ---- what is refused ---- */

static void expect_no_mixture(const mixture_world *world, const char *says) {
    const qa_sampling sampling = qa_sampling_defaults();
    qa_generator *generator = NULL;
    qa_error err = {0};
    qa_expect_error(
        qa_generator_create_mixture(&generator, world->fixture.model, &world->mixture, &sampling, CONTEXT, &err),
        QA_ERR_ARGUMENT, &err, says);
    ck_assert_ptr_null(generator);
}

START_TEST(mixtures_that_are_none) {
    mixture_world world;
    open_world(&world);
    world.parts[1].weight = (double)NAN;
    expect_no_mixture(&world, "policy 1 of the mixture has the weight nan: expected a finite number");
    world.parts[1].weight = (double)INFINITY;
    expect_no_mixture(&world, "policy 1 of the mixture has the weight inf");
    world.parts[1].weight = 1.0;
    world.parts[1].objective.alpha_tilde = 0.0;
    expect_no_mixture(&world, "policy 1 of the mixture: alpha_tilde");
    world.parts[1] = world.parts[0];
    expect_no_mixture(&world, "policies 0 and 1 of the mixture are one adapter");
    world.parts[1].adapter = NULL;
    expect_no_mixture(&world, "policy 1 of the mixture has no adapter");
    world.mixture.n = 0;
    expect_no_mixture(&world, "a mixture has 1 to 16 policies, not 0");
    close_world(&world);
}
END_TEST

START_TEST(particles_of_anything_else) {
    mixture_world world;
    kept_answers *to = calloc(1, sizeof *to);
    int32_t ids[N_PROMPT];
    const qa_ids prompt = {.data = ids, .n = N_PROMPT};
    qa_error err = {0};
    open_world(&world);
    memcpy(ids, PROMPT, sizeof ids);
    qa_batch_options options = batch_of(&world, to, 1, PARTICLES);
    options.sampling.top_p = 0.9;
    qa_expect_error(qa_generate_batch(world.fixture.model, NULL, &prompt, 1, &options, &err), QA_ERR_ARGUMENT, &err,
                    "particles are samples of the mixture itself");
    options.sampling = qa_sampling_defaults();
    options.sampling.temperature = 0.0;
    qa_expect_error(qa_generate_batch(world.fixture.model, NULL, &prompt, 1, &options, &err), QA_ERR_ARGUMENT, &err,
                    "particles are samples of the mixture itself");
    options.sampling = qa_sampling_defaults();
    options.mixture = NULL;
    options.objective = &world.parts[0].objective;
    qa_expect_error(qa_generate_batch(world.fixture.model, world.fixture.adapter, &prompt, 1, &options, &err),
                    QA_ERR_ARGUMENT, &err, "particles correct a mixture, and there is none");
    free(to);
    close_world(&world);
}
END_TEST

Suite *infer_mixture_suite(void) {
    Suite *suite = suite_create("infer/mixture");
    TCase *tcase = tcase_create("mixture");
    tcase_add_test(tcase, a_generators_tokens);
    tcase_add_test(tcase, answers_of_a_batch);
    tcase_add_test(tcase, particles_are_weighed);
    tcase_add_test(tcase, an_engine_scores_a_prompt);
    tcase_add_test(tcase, one_policy_with_the_weights_one_and_zero);
    tcase_add_test(tcase, mixtures_that_are_none);
    tcase_add_test(tcase, particles_of_anything_else);
    suite_add_tcase(suite, tcase);
    return suite;
}
