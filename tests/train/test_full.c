/* All weights of a copy of the base model, in the place of an adapter: gradients of every tensor by central
 * differences, the numbers of a LoRA adapter that was merged into such a copy, the step of TRL's trainers without PEFT,
 * decoding beside the base model and other adapters, runs that are resumed, and what is refused. */
#include "arch/config.h"
#include "arch/families.h"
#include "arch/family.h"
#include "io/file.h"
#include "model/decode.h"
#include "model/merge.h"
#include "model/trainable.h"
#include "qadapter/infer.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/families.h"
#include "support/gradcheck.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/pair_step.h"
#include "train/training_config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *train_full_suite(void);

#ifdef QA_F64
#define EXACT 1e-11
#else
#define EXACT 2e-4
#endif

static const int32_t prompt[] = {3, 7, 4}, chosen[] = {5, 6, 28, 2}, rejected[] = {9, 5, 13, 14, 4};
static const qa_pair pair = {.prompt = prompt,
                             .prompt_len = 3,
                             .chosen = chosen,
                             .chosen_len = 4,
                             .rejected = rejected,
                             .rejected_len = 5,
                             .chosen_terminal = true,
                             .label_start = 3,
                             .line = 1};
static const qa_pair_limits limits = {.max_prompt = 3, .max_response = 5, .backward = true};

/* A model of all weights, a little off the base. */
static void move(qa_adapter *adapter) {
    for (size_t i = 0; i < adapter->count; i++) {
        adapter->parameters[i] += (qa_real)(0.05 * sin(2.0 * (double)i + 1.0));
    }
}

static void take_all_weights(qa_fixture *f) {
    qa_error err = {0};
    qa_expect_ok(qa_adapter_create_full(&f->adapter, f->model, &err), &err);
    ck_assert(qa_adapter_is_full(f->adapter));
    ck_assert_uint_eq(qa_adapter_parameters(f->adapter), qa_model_get_info(f->model)->parameters);
    move(f->adapter);
}

static qa_objective objective_of(int i) {
    static const qa_method methods[] = {QA_METHOD_QADAPTER, QA_METHOD_SFT, QA_METHOD_DPO};
    qa_objective objective = qa_objective_for_method(methods[i]);
    objective.beta = methods[i] == QA_METHOD_QADAPTER ? 0.3 : 0.0;
    objective.gamma = methods[i] == QA_METHOD_QADAPTER ? 0.9 : 1.0;
    return objective;
}

/* ---- gradients ---- */

typedef struct difference_context {
    qa_pair_step *step;
    bool chosen_alone;
} difference_context;

static const qa_divisors one_pair = {.pairs = 1, .counted = 7};

static double loss_of(void *context) {
    const difference_context *c = context;
    qa_error err = {0};
    const qa_pair_visit visit = {.padded_length = 9, .chosen_alone = c->chosen_alone};
    qa_expect_ok(qa_pair_step_forward(c->step, &pair, &visit, &err), &err);
    const qa_pair_loss loss = qa_pair_step_loss(c->step, &one_pair);
    return loss.pref + loss.reg;
}

/* Every tensor of every family, embedding, head, norms and biases too: through the loss of a residual Q-function, of
 * sft and of dpo. In the f32 build DPO's of one family. */
static void check_gradients(const char *config, int method, bool recompute) {
    qa_fixture f = qa_fixture_of(config, NULL, 2);
    const qa_objective objective = objective_of(method);
    difference_context c = {.chosen_alone = objective.method == QA_METHOD_SFT};
    qa_pair_limits of_pair = limits;
    qa_error err = {0};
    take_all_weights(&f);
    of_pair.recompute = recompute;
    const qa_trainable *weights = f.adapter->trainable;
    qa_expect_ok(qa_pair_step_create(&c.step, f.model, f.adapter, &objective, of_pair, &err), &err);
    (void)loss_of(&c);
    memset(weights->gradient, 0, weights->count * sizeof(qa_real));
    qa_pair_step_backward(c.step, weights->gradient, &one_pair);
    for (size_t t = 0; t < weights->n_tensors; t++) {
        const qa_parameter_tensor *tensor = &weights->tensors[t];
        const qa_real *gradient = weights->gradient + tensor->offset;
        size_t n = tensor->count;
        while (n > 0 && !(fabs((double)gradient[n - 1]) > 1e-12)) { /* learned positions beyond the longest response */
            n--;
        }
        if (n > 0) { /* a bias of the keys moves no softmax */
            QA_ASSERT_GRADIENT(tensor->name, f.adapter->parameters + tensor->offset, n, gradient, loss_of, &c, 1e-5,
                               2e-6, n > 300 ? 40 : 5, t); /* few rows of an embedding are looked up */
        }
    }
    qa_pair_step_free(c.step);
    qa_fixture_close(&f);
}

START_TEST(gradients_by_central_differences) {
#ifdef QA_F64
    char *config = qa_family_tiny_config((size_t)_i);
    for (int method = 0; method < 3; method++) {
        check_gradients(config, method, _i % 2 == 1);
    }
    free(config);
#else
    char *config = qa_family_tiny_config((size_t)_i);
    if (_i == 0) {
        check_gradients(config, 2, false);
    }
    free(config);
#endif
}
END_TEST

/* ---- beside LoRA ---- */

static const int32_t sequence[] = {3, 7, 4, 5, 6, 28, 2, 9, 5, 13};
enum { SEQUENCE = 10, CUT = 6 };

/* The logits behind the sequence, base and adapted, of one adapter alone. */
static void logits_alone(const qa_fixture *f, const qa_adapter *adapter, qa_real *base, qa_real *adapted) {
    const size_t V = f->model->config.vocab_size;
    qa_kv_decoder *decoder = NULL;
    qa_real *rows[2] = {NULL, NULL};
    qa_error err = {0};
    qa_expect_ok(qa_kv_decoder_create(&decoder, f->model, adapter, QA_KV_BOTH, SEQUENCE, &err), &err);
    qa_expect_ok(qa_kv_decoder_forward(decoder, sequence, CUT, &rows[0], &rows[1], &err), &err);
    qa_expect_ok(qa_kv_decoder_forward(decoder, sequence + CUT, SEQUENCE - CUT, &rows[0], &rows[1], &err), &err);
    memcpy(base, rows[0], V * sizeof *base);
    memcpy(adapted, rows[1], V * sizeof *adapted);
    qa_kv_decoder_free(decoder);
}

/* What a pair's two steps found. */
static void same_step(const qa_fixture *f, const qa_adapter *one, const qa_adapter *other, const qa_objective *o) {
    qa_pair_step *steps[2] = {NULL, NULL};
    const qa_adapter *adapters[2] = {one, other};
    qa_pair_limits of_pair = limits;
    qa_error err = {0};
    of_pair.backward = false;
    for (size_t i = 0; i < 2; i++) {
        qa_expect_ok(qa_pair_step_create(&steps[i], f->model, adapters[i], o, of_pair, &err), &err);
        qa_expect_ok(qa_pair_step_forward(steps[i], &pair, &(qa_pair_visit){.padded_length = 9}, &err), &err);
    }
    ck_assert_double_eq_tol(qa_pair_step_logit(steps[0]), qa_pair_step_logit(steps[1]), 10 * EXACT);
    for (size_t side = 0; side < QA_SIDES; side++) {
        const qa_side_step *a = qa_pair_step_side(steps[0], side), *b = qa_pair_step_side(steps[1], side);
        for (size_t t = 0; t < a->n; t++) {
            ck_assert_double_eq_tol(a->log_pi1[t], b->log_pi1[t], EXACT);
            ck_assert_double_eq_tol(a->log_pi[t], b->log_pi[t], EXACT);
            ck_assert_double_eq_tol(a->kl[t], b->kl[t], EXACT);
            ck_assert_double_gt(fabs(a->kl[t]), 1e-4);
        }
    }
    qa_pair_step_free(steps[0]);
    qa_pair_step_free(steps[1]);
}

/* A LoRA adapter that is merged into a copy of all weights is the same adapter. Decoded beside the base model and the
 * LoRA adapter, in slots that take turns, each has the logits that it has alone. */
START_TEST(a_merged_adapter_in_its_place) {
    tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    model.qkv_bias = true;
    qa_fixture f = qa_fixture_open(&model, &lora, 2);
    const size_t V = f.model->config.vocab_size;
    qa_adapter *full = NULL;
    qa_error err = {0};
    qa_bag bag = qa_bag_open(1);
    qa_expect_ok(qa_adapter_create_full(&full, f.model, &err), &err);
    qa_expect_ok(qa_model_merge(full->own, f.adapter, &err), &err);
    for (int i = 0; i < 3; i++) {
        const qa_objective objective = objective_of(i);
        same_step(&f, f.adapter, full, &objective);
    }
    qa_real *alone[3] = {qa_bag_zeros(&bag, V), qa_bag_zeros(&bag, V), qa_bag_zeros(&bag, V)};
    qa_real *base_again = qa_bag_zeros(&bag, V);
    logits_alone(&f, f.adapter, alone[0], alone[1]);
    logits_alone(&f, full, base_again, alone[2]);
    QA_ASSERT_REALS("base", alone[0], base_again, V, EXACT, 0.0);
    QA_ASSERT_REALS("merged", alone[2], alone[1], V, EXACT, 0.0);
    const qa_adapter *const adapters[] = {f.adapter, full};
    const qa_kv_room room = {.slots = 6, .capacity = SEQUENCE, .logits = 6};
    qa_kv_decoder *decoder = NULL;
    qa_kv_run runs[6];
    qa_kv_state states[6];
    qa_real *logits = NULL;
    qa_expect_ok(qa_kv_decoder_create_many(&decoder, f.model, adapters, 2, room, &err), &err);
    for (size_t part = 0; part < 2; part++) {
        const size_t first = part == 0 ? 0 : CUT, n = part == 0 ? CUT : SEQUENCE - CUT;
        for (size_t slot = 0; slot < 6; slot++) { /* base, LoRA, all weights, and again */
            if (part == 0) {
                qa_kv_decoder_assign(decoder, slot, slot % 3 == 0 ? NULL : adapters[slot % 3 - 1]);
            }
            runs[slot] = (qa_kv_run){.slot = slot, .ids = sequence + first, .n = n};
            states[slot] = (qa_kv_state){slot, first + n - 1};
        }
        qa_expect_ok(qa_kv_decoder_run(decoder, runs, 6, &err), &err);
    }
    qa_kv_decoder_logits(decoder, states, 6, &logits);
    for (size_t slot = 0; slot < 6; slot++) {
        QA_ASSERT_REALS("beside others", logits + slot * V, alone[slot % 3], V, EXACT, 0.0);
    }
    qa_kv_decoder_free(decoder);
    qa_adapter_free(full);
    qa_bag_close(&bag);
    qa_fixture_close(&f);
}
END_TEST

/* ---- runs ---- */

enum { PAIRS = 7 };

typedef struct full_run {
    qa_fixture fixture;
    qa_pairs *pairs, *evaluation;
    char *root;
    qa_train_options options;
} full_run;

static full_run open_full_run(int method) {
    const tiny_model_options model = tiny_model_defaults();
    full_run r = {.fixture = qa_fixture_open(&model, NULL, 2), .root = qa_tempdir_make()};
    r.pairs = qa_training_pairs(&r.fixture, PAIRS, 5, 6, 4);
    r.evaluation = qa_training_pairs(&r.fixture, 3, 4, 6, 5);
    r.options = qa_training_options(NULL); /* two steps an epoch */
    r.options.objective = objective_of(method);
    r.options.epochs = 3.0;
    r.options.eval_every = 2;
    r.options.weight_decay = 0.1;
    return r;
}

static void close_full_run(full_run *r) {
    qa_pairs_free(r->pairs);
    qa_pairs_free(r->evaluation);
    qa_fixture_close(&r->fixture);
    qa_tempdir_remove(r->root);
}

/* A copy of the model, trained into root/name; the caller frees the path. fingerprint: of what is left in memory. */
static char *train_all(full_run *r, const char *name, qa_status expected, char fingerprint[QA_FINGERPRINT_BYTES]) {
    char *out = qa_tempdir_join(r->root, name);
    qa_adapter *adapter = NULL;
    qa_error err = {0};
    r->options.out_dir = out;
    qa_expect_ok(qa_adapter_create_full(&adapter, r->fixture.model, &err), &err);
    const qa_status status = qa_train(r->fixture.model, adapter, r->pairs, r->evaluation, &r->options, &err);
    ck_assert_msg(status == expected, "%s: %s", name, err.message);
    qa_adapter_fingerprint(adapter, fingerprint);
    qa_adapter_free(adapter);
    return out;
}

static bool stop_at_3(void *user, const qa_metrics *metrics) {
    (void)user;
    return metrics->is_evaluation || metrics->step != 3;
}

/* Stopped and resumed, with layers that run again, with what is kept of the base stream and without: the same bytes.
 * The folder is an adapter beside its base, and a model by itself; so is a checkpoint's. */
START_TEST(a_run_of_all_weights) {
    full_run r = open_full_run(_i);
    char whole[QA_FINGERPRINT_BYTES], is[QA_FINGERPRINT_BYTES];
    qa_error err = {0};
    char *first = train_all(&r, "whole", QA_OK, whole);
    ck_assert_str_ne(whole, qa_model_fingerprint(r.fixture.model));
    r.options.on_metrics = stop_at_3;
    free(train_all(&r, "broken", QA_ERR_INTERRUPTED, is));
    r.options.on_metrics = NULL;
    r.options.resume = r.options.recompute = true;
    char *second = train_all(&r, "broken", QA_OK, is);
    qa_expect_same_file(first, second, "model.safetensors");
    qa_expect_same_metrics(first, second);
    r.options.resume = r.options.recompute = false;
    r.options.base_cache = QA_BASE_CACHE_OFF;
    char *third = train_all(&r, "uncached", QA_OK, is);
    qa_expect_same_file(first, third, "model.safetensors");
    const char *const folders[] = {"whole", "whole/checkpoint-6"};
    for (size_t i = 0; i < 2; i++) {
        char *dir = qa_tempdir_join(r.root, folders[i]);
        qa_adapter *adapter = NULL;
        qa_model *model = NULL;
        qa_base_record record;
        qa_objective objective;
        bool found = false;
        qa_expect_ok(qa_adapter_load(&adapter, r.fixture.model, dir, &err), &err);
        qa_expect_ok(qa_model_load(&model, r.fixture.context, dir, &err), &err);
        qa_adapter_fingerprint(adapter, is);
        ck_assert_str_eq(is, qa_model_fingerprint(model));
#ifndef QA_F64
        ck_assert_str_eq(is, whole);
#endif
        qa_expect_ok(qa_training_config_base(dir, &record, &err), &err);
        ck_assert_str_eq(record.fingerprint, qa_model_fingerprint(r.fixture.model));
        qa_expect_ok(qa_training_config_load(dir, &found, &objective, &err), &err);
        ck_assert(found && objective.method == r.options.objective.method);
        qa_adapter_free(adapter);
        qa_model_free(model);
        free(dir);
    }
    free(first);
    free(second);
    free(third);
    close_full_run(&r);
}
END_TEST

/* What is refused, each by its name; nothing is written then. */
START_TEST(what_is_refused) {
    full_run r = open_full_run(2);
    qa_error err = {0};
    qa_adapter *adapter = NULL, *loaded = NULL, *beside = NULL;
    char fingerprint[QA_FINGERPRINT_BYTES];
    char *dir = train_all(&r, "whole", QA_OK, fingerprint), *out = qa_tempdir_join(r.root, "not there");
    r.options.out_dir = out;
    qa_expect_ok(qa_adapter_create_full(&adapter, r.fixture.model, &err), &err);
    qa_expect_ok(qa_objective_from_recipe(&r.options.objective, "published", &err), &err);
    qa_expect_error(qa_train(r.fixture.model, adapter, r.pairs, NULL, &r.options, &err), QA_ERR_UNSUPPORTED, &err,
                    "alpha_0 0.01");
    r.options.objective = objective_of(2);
    r.options.objective.reference = QA_REFERENCE_ADAPTER;
    qa_expect_error(qa_train(r.fixture.model, adapter, r.pairs, r.evaluation, &r.options, &err), QA_ERR_UNSUPPORTED,
                    &err, "give that one as the base");
    r.options.objective = objective_of(2);
    qa_expect_ok(qa_adapter_load(&loaded, r.fixture.model, dir, &err), &err);
    qa_expect_error(qa_train(r.fixture.model, loaded, r.pairs, r.evaluation, &r.options, &err), QA_ERR_ARGUMENT, &err,
                    "to be measured, not to be trained");
    qa_expect_error(qa_adapter_save(adapter, r.root, "base", &err), QA_ERR_UNSUPPORTED, &err, "no PEFT folder");
    ck_assert(!qa_path_exists(out));
    /* a LoRA run does not go on in such a folder, nor the other way round */
    const qa_lora_options lora = qa_fixture_lora();
    qa_training_fresh_adapter(&r.fixture, &lora, 1);
    r.options.out_dir = dir;
    r.options.overwrite = true;
    qa_expect_error(qa_train(r.fixture.model, r.fixture.adapter, r.pairs, r.evaluation, &r.options, &err),
                    QA_ERR_EXISTS, &err, "a run that trains all weights of a base model, not an adapter");
    /* a base of another shape, or of other numbers */
    tiny_model_options wide = tiny_model_defaults(), far = tiny_model_defaults();
    wide.layers = 3;
    far.rope = TINY_ROPE_LINEAR;
    const struct {
        const tiny_model_options *model;
        const char *said;
    } others[] = {{&wide, "other dimensions"}, {&far, "other numbers that the model computes with"}};
    for (size_t i = 0; i < 2; i++) {
        qa_fixture other = qa_fixture_open(others[i].model, NULL, 1);
        qa_expect_error(qa_adapter_load(&beside, other.model, dir, &err), QA_ERR_MISMATCH, &err, others[i].said);
        qa_fixture_close(&other);
    }
    qa_adapter_free(loaded);
    qa_adapter_free(adapter);
    free(dir);
    free(out);
    close_full_run(&r);
}
END_TEST

/* A folder of fewer positions than the base's has no rows for the last of its context. */
START_TEST(a_shorter_context_is_another_model) {
    for (size_t i = 0; i < QA_FAMILIES_THERE; i++) {
        const char *key = qa_config_key_name(qa_family_at(i), "max_position_embeddings");
        char *config = qa_family_tiny_config(i);
        json_t *root = json_loads(config, 0, NULL);
        qa_fixture f = qa_fixture_of(config, NULL, 1);
        char *dir = qa_tempdir_join(f.dir, "whole");
        qa_adapter *adapter = NULL;
        qa_error err = {0};
        ck_assert_int_eq(json_object_set_new(root, key, json_integer(32)), 0);
        char *shorter = json_dumps(root, 0);
        qa_expect_ok(qa_make_dirs(dir, &err), &err);
        qa_fixture_write_model(dir, shorter);
        free(qa_tempdir_write_text(dir, "training_config.json", "{\"full\": true}"));
        qa_expect_error(qa_adapter_load(&adapter, f.model, dir, &err), QA_ERR_MISMATCH, &err, "a context of 32 tokens");
        ck_assert_ptr_null(adapter);
        free(shorter);
        free(dir);
        free(config);
        json_decref(root);
        qa_fixture_close(&f);
    }
}
END_TEST

/* The first evaluation is the best one of a run whose rate is far too high. */
START_TEST(the_best_of_all_weights) {
    full_run r = open_full_run(1);
    char fingerprint[QA_FINGERPRINT_BYTES];
    char *last = train_all(&r, "last", QA_OK, fingerprint);
    qa_train_outcome outcome = {0};
    r.options.keep_best = true;
    r.options.learning_rate = 0.5;
    r.options.eval_every = 1;
    r.options.outcome = &outcome;
    char *best = train_all(&r, "best", QA_OK, fingerprint), name[64];
    ck_assert(outcome.compared && outcome.best_step < outcome.steps);
    (void)snprintf(name, sizeof name, "checkpoint-%zu", outcome.best_step);
    char *checkpoint = qa_tempdir_join(best, name);
    qa_expect_same_file(best, checkpoint, "model.safetensors");
    free(checkpoint);
    free(best);
    free(last);
    close_full_run(&r);
}
END_TEST

/* A weight that is no number is named, with its tensor, and the last checkpoint stays. */
START_TEST(a_weight_that_is_no_number) {
    full_run r = open_full_run(1);
    qa_adapter *adapter = NULL;
    qa_error err = {0};
    char *out = qa_tempdir_join(r.root, "nan");
    r.options.out_dir = out;
    qa_expect_ok(qa_adapter_create_full(&adapter, r.fixture.model, &err), &err);
    adapter->parameters[adapter->trainable->tensors[3].offset + 5] = (qa_real)NAN;
    qa_expect_error(qa_train(r.fixture.model, adapter, r.pairs, r.evaluation, &r.options, &err), QA_ERR_NAN, &err,
                    adapter->trainable->tensors[3].name);
    qa_adapter_free(adapter);
    free(out);
    close_full_run(&r);
}
END_TEST

Suite *train_full_suite(void) {
    Suite *suite = suite_create("train/full");
    TCase *tests = tcase_create("full");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, gradients_by_central_differences, 0, QA_FAMILIES_THERE);
    tcase_add_test(tests, a_merged_adapter_in_its_place);
    tcase_add_loop_test(tests, a_run_of_all_weights, 0, 3);
    tcase_add_test(tests, what_is_refused);
    tcase_add_test(tests, a_shorter_context_is_another_model);
    tcase_add_test(tests, the_best_of_all_weights);
    tcase_add_test(tests, a_weight_that_is_no_number);
    suite_add_tcase(suite, tests);
    return suite;
}
