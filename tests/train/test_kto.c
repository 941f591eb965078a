/* KTO in a run: one response's loss and gradient, the reference point of a micro-batch, what a step and an evaluation
 * measure, resuming to the same bits, and what is refused. */
#include "qadapter/train.h"

#include "methods/method.h"
#include "rl/kto.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/gradcheck.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/evaluate.h"
#include "train/reference_point.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *train_kto_suite(void);

/* Observed: 2e-14 in f64, 3e-6 in f32, of sums of log-ratios of order 1. */
#ifdef QA_F64
static const double tolerance = 1e-11;
#else
static const double tolerance = 5e-5;
#endif

enum { N = 11 };

static qa_objective kto(void) {
    qa_objective objective = qa_objective_for_method(QA_METHOD_KTO);
    objective.kto_beta = 0.35;
    objective.desirable_weight = 0.8;
    objective.undesirable_weight = 1.7;
    return objective;
}

typedef struct setting {
    qa_fixture fixture;
    qa_lora_options lora;
    qa_pairs *labelled, *pairs, *evaluation;
    char *root, *out;
    qa_train_options options;
} setting;

static setting open_setting(double dropout) {
    const tiny_model_options model = tiny_model_defaults();
    setting s = {.lora = qa_fixture_lora()};
    s.lora.dropout = dropout;
    s.fixture = qa_fixture_open(&model, &s.lora, 2);
    s.labelled = qa_training_labelled(&s.fixture, N, 6, 7, 4);
    s.evaluation = qa_training_labelled(&s.fixture, 5, 5, 9, 5);
    s.pairs = qa_training_pairs(&s.fixture, 5, 6, 8, 6);
    s.root = qa_tempdir_make();
    s.out = qa_tempdir_join(s.root, "out");
    s.options = qa_training_options(s.out); /* 11 responses in batches of 4: 3 steps an epoch, the last of 3 */
    s.options.objective = kto();
    s.options.recipe = NULL;
    s.options.epochs = 3.0;
    return s;
}

static void close_setting(setting *s) {
    qa_pairs_free(s->labelled);
    qa_pairs_free(s->pairs);
    qa_pairs_free(s->evaluation);
    qa_fixture_close(&s->fixture);
    qa_tempdir_remove(s->root);
    free(s->out);
}

static qa_pair_step *new_step(setting *s, const qa_objective *objective, const qa_pairs *pairs, bool backward) {
    qa_error err = {0};
    qa_pair_step *step = NULL;
    qa_pair_limits limits = {.backward = backward};
    qa_pair_limits_include_mismatched(&limits, pairs);
    qa_expect_ok(qa_pair_step_create(&step, s->fixture.model, s->fixture.adapter, objective, limits, &err), &err);
    return step;
}

/* D of a prompt with a response, by the public scorer, whose rewards under sft are log pi - log pi1. */
static double log_ratio(setting *s, const qa_pair *prompt, const int32_t *response, size_t n) {
    const qa_objective sft = qa_objective_for_method(QA_METHOD_SFT);
    qa_error err = {0};
    qa_scorer *scorer = NULL;
    qa_pair_score score;
    qa_pair pair = *prompt;
    pair.chosen = response;
    pair.chosen_len = n;
    pair.rejected = pair.prompt; /* any */
    pair.rejected_len = 1;
    qa_expect_ok(qa_scorer_create(&scorer, s->fixture.model, s->fixture.adapter, &sft, 8, 12, false, &err), &err);
    qa_expect_ok(qa_scorer_score(scorer, &pair, 0, &score, &err), &err);
    const double ret = score.chosen.ret;
    qa_scorer_free(scorer);
    return ret;
}

static double own_ratio(setting *s, const qa_pair *pair) { return log_ratio(s, pair, pair->chosen, pair->chosen_len); }

/* ---- one response ---- */

START_TEST(a_response_by_its_label) {
    setting s = open_setting(0.0);
    const qa_objective o = kto();
    const qa_divisors divisors = {.pairs = 4.0, .responses = 4.0, .reference_point = 0.125};
    qa_pair_step *step = new_step(&s, &o, s.labelled, false);
    for (size_t i = 0; i < N; i++) {
        const qa_pair *pair = qa_pairs_at(s.labelled, i);
        qa_error err = {0};
        const double u = (pair->undesirable ? -1.0 : 1.0) * 0.35 * (own_ratio(&s, pair) - 0.125);
        qa_expect_ok(qa_pair_step_forward(step, pair, &(qa_pair_visit){.chosen_alone = true}, &err), &err);
        ck_assert(qa_pair_step_side(step, QA_CHOSEN)->desirable == !pair->undesirable);
        const double loss = (pair->undesirable ? 1.7 : 0.8) * (1.0 - 1.0 / (1.0 + exp(-u))) / 4.0;
        ck_assert_double_eq_tol(qa_pair_step_loss(step, &divisors).pref, loss, tolerance);
        ck_assert_double_eq(qa_pair_step_loss(step, &divisors).reg, 0.0);
    }
    qa_pair_step_free(step);
    close_setting(&s);
}
END_TEST

#ifdef QA_F64
typedef struct losing {
    qa_pair_step *step;
    const qa_pairs *set;
    qa_divisors divisors;
    uint64_t key;
} losing;

static void forward(const losing *b, size_t i) {
    qa_error err = {0};
    const qa_pair_visit visit = {.chosen_alone = qa_pairs_single(b->set), .dropout_key = b->key};
    qa_expect_ok(qa_pair_step_forward(b->step, qa_pairs_at(b->set, i), &visit, &err), &err);
}

static double summed_loss(void *context) {
    const losing *b = context;
    double loss = 0.0;
    for (size_t i = 0; i < qa_pairs_count(b->set); i++) {
        forward(b, i);
        loss += qa_pair_step_loss(b->step, &b->divisors).pref;
    }
    return loss;
}

/* Every LoRA tensor, at most 10 elements each; the reference point stays what it is: no gradient goes through it. Of
 * labelled responses, and of pairs, which are two of them. */
START_TEST(gradients_by_central_differences) {
    for (size_t round = 0; round < 4; round++) {
        setting s = open_setting(round % 2 == 0 ? 0.0 : 0.3);
        const qa_objective o = kto();
        losing b = {.set = round < 2 ? s.labelled : s.pairs, .key = round % 2 == 0 ? 0 : 5};
        qa_bag bag = qa_bag_open(1);
        qa_real *gradient = qa_bag_zeros(&bag, s.fixture.adapter->count);
        b.divisors = (qa_divisors){.pairs = 3.0, .responses = 6.0, .reference_point = 0.2};
        b.step = new_step(&s, &o, b.set, true);
        for (size_t i = 0; i < qa_pairs_count(b.set); i++) {
            forward(&b, i);
            qa_pair_step_backward(b.step, gradient, &b.divisors);
        }
        for (size_t t = 0; t < s.fixture.adapter->n_tensors; t++) {
            const qa_adapter_tensor *tensor = &s.fixture.adapter->tensors[t];
            QA_ASSERT_GRADIENT(tensor->name, s.fixture.adapter->parameters + tensor->offset,
                               tensor->rows * tensor->columns, gradient + tensor->offset, summed_loss, &b, 1e-5, 1e-6,
                               10, t);
        }
        qa_pair_step_free(b.step);
        qa_bag_close(&bag);
        close_setting(&s);
    }
}
END_TEST
#endif

/* ---- the reference point ---- */

static double point_of(setting *s, const qa_objective *o, const qa_pairs *set, const size_t *order, size_t first,
                       size_t count) {
    qa_error err = {0};
    double point = NAN;
    qa_pair_step *step = new_step(s, o, set, false);
    const qa_micro_batch_of batch = {.pairs = set, .order = order, .first = first, .count = count, .name = "the data"};
    qa_expect_ok(qa_reference_point_find(step, o, &batch, NULL, NULL, &point, &err), &err);
    qa_pair_step_free(step);
    return point;
}

static double expected_point(setting *s, const qa_pairs *set, const size_t *prompts, const size_t *responses,
                             size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        const qa_pair *other = qa_pairs_at(set, responses[i]);
        sum += log_ratio(s, qa_pairs_at(set, prompts[i]), other->chosen, other->chosen_len);
    }
    return sum > 0.0 ? sum / (double)n : 0.0;
}

START_TEST(reference_points) {
    static const size_t order[N] = {4, 9, 0, 10, 7, 2, 5, 1, 8, 3, 6}, file[N] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    setting s = open_setting(0.0);
    qa_objective o = kto();
    size_t positive = 0;
    for (size_t first = 0; first + 3 <= N; first++) { /* three that follow each other in the order, and in the file */
        for (int by_order = 0; by_order < 2; by_order++) {
            const size_t *in = by_order ? order : file;
            const size_t next[] = {in[first + 1], in[first + 2], in[first]};
            const size_t previous[] = {in[first + 2], in[first], in[first + 1]};
            o.reference_point = QA_POINT_NEXT;
            const double expected = expected_point(&s, s.labelled, in + first, next, 3);
            positive += expected > 0.0 ? 1 : 0;
            ck_assert_double_eq_tol(point_of(&s, &o, s.labelled, by_order ? order : NULL, first, 3), expected,
                                    tolerance);
            o.reference_point = QA_POINT_PREVIOUS;
            ck_assert_double_eq_tol(point_of(&s, &o, s.labelled, by_order ? order : NULL, first, 3),
                                    expected_point(&s, s.labelled, in + first, previous, 3), tolerance);
        }
    }
    ck_assert_uint_gt(positive, 0);
    ck_assert_uint_lt(positive, 18); /* some are cut off at 0 */
    /* One alone in its micro-batch: its neighbour in the order, and behind the last the first. */
    o.reference_point = QA_POINT_NEXT;
    ck_assert_double_eq_tol(point_of(&s, &o, s.labelled, order, 10, 1),
                            expected_point(&s, s.labelled, order + 10, order, 1), tolerance);
    o.reference_point = QA_POINT_PREVIOUS;
    ck_assert_double_eq_tol(point_of(&s, &o, s.labelled, order, 10, 1),
                            expected_point(&s, s.labelled, order + 10, order + 9, 1), tolerance);
    o.reference_point = QA_POINT_NONE;
    ck_assert_double_eq(point_of(&s, &o, s.labelled, order, 2, 5), 0.0);
    close_setting(&s);
}
END_TEST

/* Of pairs, which are two responses each: a prompt with both of the next one. */
START_TEST(reference_point_of_pairs) {
    setting s = open_setting(0.0);
    const qa_objective o = kto();
    double sum = 0.0;
    for (size_t i = 0; i < 5; i++) {
        const qa_pair *prompt = qa_pairs_at(s.pairs, i), *other = qa_pairs_at(s.pairs, (i + 1) % 5);
        sum += log_ratio(&s, prompt, other->chosen, other->chosen_len);
        sum += log_ratio(&s, prompt, other->rejected, other->rejected_len);
    }
    ck_assert_double_eq_tol(point_of(&s, &o, s.pairs, NULL, 0, 5), sum > 0.0 ? sum / 10.0 : 0.0, tolerance);
    close_setting(&s);
}
END_TEST

/* A fresh adapter changes nothing: D is 0 but for rounding. One example has no other. */
START_TEST(reference_point_at_the_start) {
    setting s = open_setting(0.0);
    const qa_objective o = kto();
    qa_error err = {0};
    double point = NAN;
    qa_training_fresh_adapter(&s.fixture, &s.lora, 3);
    ck_assert_double_eq_tol(point_of(&s, &o, s.labelled, NULL, 0, N), 0.0, tolerance);
    qa_pairs *one = qa_training_labelled(&s.fixture, 1, 4, 4, 8);
    qa_pair_step *step = new_step(&s, &o, s.labelled, false);
    const qa_micro_batch_of batch = {.pairs = one, .count = 1, .name = "the data"};
    qa_expect_error(qa_reference_point_find(step, &o, &batch, NULL, NULL, &point, &err), QA_ERR_ARGUMENT, &err,
                    "the data: one example has no other's response");
    qa_pair_step_free(step);
    qa_pairs_free(one);
    close_setting(&s);
}
END_TEST

/* Mismatched responses are cut where the set's own are. */
START_TEST(reference_point_of_long_responses) {
    setting s = open_setting(0.0);
    const qa_objective o = kto();
    const char *const lines = "{\"prompt_ids\": [5, 6, 7, 8, 9, 10, 11], \"response_ids\": [12], \"label\": true}\n"
                              "{\"prompt_ids\": [5], \"response_ids\": [6, 7, 8, 9, 13, 14, 15], \"label\": false}\n";
    char *path = qa_tempdir_write_text(s.root, "long.jsonl", lines);
    const qa_pairs_options options = {.vocab_size = qa_model_get_info(s.fixture.model)->vocab_size,
                                      .max_length = 9,
                                      .either = true,
                                      .labelled = true};
    qa_pairs *set = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_pairs_load(&set, path, NULL, &options, &err), &err);
    const qa_pair *first = qa_pairs_at(set, 0), *second = qa_pairs_at(set, 1);
    const double sum = log_ratio(&s, first, second->chosen, 2) + log_ratio(&s, second, first->chosen, 1);
    ck_assert_double_eq_tol(point_of(&s, &o, set, NULL, 0, 2), sum > 0.0 ? sum / 2.0 : 0.0, tolerance);
    qa_pairs_free(set);
    free(path);
    close_setting(&s);
}
END_TEST

/* ---- steps ---- */

typedef struct calls {
    size_t steps, stop_after;
    qa_metrics first, last_evaluation;
} calls;

static bool count_calls(void *user, const qa_metrics *metrics) {
    calls *c = user;
    if (metrics->is_evaluation) {
        c->last_evaluation = *metrics;
        return true;
    }
    c->steps++;
    c->first = c->steps == 1 ? *metrics : c->first;
    return c->stop_after == 0 || metrics->step < c->stop_after;
}

static qa_status train(setting *s, bool fresh, qa_error *err) {
    if (fresh) {
        qa_training_fresh_adapter(&s->fixture, &s->lora, 21);
    }
    return qa_train(s->fixture.model, s->fixture.adapter, s->labelled, s->evaluation, &s->options, err);
}

/* The first step takes responses 0..3 in two micro-batches of two, each with a reference point of its own; the loss is
 * the mean over the four, whatever they were cut into. */
START_TEST(a_step) {
    setting s = open_setting(0.0);
    calls c = {0};
    qa_error err = {0};
    double loss = 0.0, reward[2] = {0}, points = 0.0;
    size_t n[2] = {0}, tokens = 0;
    for (size_t micro = 0; micro < 2; micro++) {
        const size_t in[] = {2 * micro, 2 * micro + 1}, others[] = {2 * micro + 1, 2 * micro};
        const double point = expected_point(&s, s.labelled, in, others, 2);
        points += point / 2.0;
        for (size_t i = 0; i < 2; i++) {
            const qa_pair *pair = qa_pairs_at(s.labelled, in[i]);
            const double d = own_ratio(&s, pair);
            const double u = qa_kto_utility(0.35, 0.35 * d, point, !pair->undesirable);
            loss += qa_kto_loss(u, pair->undesirable ? 1.7 : 0.8, 4.0);
            reward[pair->undesirable] += 0.35 * d;
            n[pair->undesirable]++;
            tokens += pair->prompt_len + pair->chosen_len;
        }
    }
    double right = 0.0;
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 4; j++) {
            const qa_pair *good = qa_pairs_at(s.labelled, i), *bad = qa_pairs_at(s.labelled, j);
            right += !good->undesirable && bad->undesirable && own_ratio(&s, good) > own_ratio(&s, bad) ? 1.0 : 0.0;
        }
    }
    s.options.shuffle = false;
    s.options.max_steps = 1;
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    qa_expect_ok(train(&s, false, &err), &err); /* from the fixture's random adapter */
    ck_assert_double_eq_tol(c.first.loss, loss, tolerance);
    ck_assert_double_eq(c.first.loss, c.first.pref_loss);
    ck_assert_double_eq_tol(c.first.reference_point, points, tolerance);
    ck_assert_double_eq_tol(c.first.reward_chosen, reward[0] / (double)n[0], tolerance);
    ck_assert_double_eq_tol(c.first.reward_rejected, reward[1] / (double)n[1], tolerance);
    ck_assert_double_eq_tol(c.first.margin, reward[0] / (double)n[0] - reward[1] / (double)n[1], tolerance);
    ck_assert_double_eq_tol(c.first.accuracy, right / (double)(n[0] * n[1]), 1e-12);
    ck_assert_uint_eq(c.first.tokens, tokens);
    qa_metrics_lines lines = qa_metrics_read(s.out);
    ck_assert_double_eq_tol(qa_metrics_number(lines.line[0], "reference_point"), points, tolerance);
    ck_assert(isfinite(qa_metrics_number(lines.line[1], "eval_reference_point")));
    qa_metrics_lines_free(&lines);
    close_setting(&s);
}
END_TEST

/* A loss of w / 2 for all at the start, and ties. */
START_TEST(the_first_step_of_a_fresh_adapter) {
    setting s = open_setting(0.0);
    calls c = {0};
    qa_error err = {0};
    s.options.max_steps = 4;
    s.options.objective = qa_objective_for_method(QA_METHOD_KTO);
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    qa_expect_ok(train(&s, true, &err), &err);
    ck_assert_double_eq_tol(c.first.loss, 0.5, 1e-6);
    ck_assert_double_eq(c.first.accuracy, 0.5);
    ck_assert_double_eq_tol(c.first.margin, 0.0, 1e-6);
    ck_assert_double_lt(c.last_evaluation.loss, 1.0);
    ck_assert_double_ne(c.last_evaluation.margin, 0.0);
    close_setting(&s);
}
END_TEST

/* Learned by heart, the desirable ones end above the reference point and the others below. */
START_TEST(it_learns) {
    setting s = open_setting(0.0);
    qa_error err = {0};
    qa_evaluation before = {0}, after = {0};
    s.options.objective = qa_objective_for_method(QA_METHOD_KTO);
    s.options.max_steps = 60;
    qa_training_fresh_adapter(&s.fixture, &s.lora, 21);
    qa_expect_ok(
        qa_evaluate(s.fixture.model, s.fixture.adapter, s.labelled, &s.options.objective, 4, NULL, NULL, &before, &err),
        &err);
    qa_expect_ok(train(&s, false, &err), &err);
    qa_expect_ok(
        qa_evaluate(s.fixture.model, s.fixture.adapter, s.labelled, &s.options.objective, 4, NULL, NULL, &after, &err),
        &err);
    ck_assert_double_eq(before.accuracy, 0.5);
    ck_assert_double_gt(after.accuracy, 0.99);
    ck_assert_double_lt(after.loss, 0.75 * before.loss);
    ck_assert_double_gt(after.reward_chosen, 0.0);
    ck_assert_double_lt(after.reward_rejected, 0.0);
    close_setting(&s);
}
END_TEST

/* ---- resuming, and what is kept of the base model ---- */

START_TEST(resuming_gives_the_same_bits) {
    static const size_t stops[] = {1, 2, 3, 5, 8};
    setting s = open_setting(0.15);
    calls c = {.stop_after = stops[_i]};
    qa_error err = {0};
    qa_expect_ok(train(&s, true, &err), &err);
    char *broken = qa_tempdir_join(s.root, "broken");
    s.options.out_dir = broken;
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    s.options.base_cache = _i % 2 == 0 ? QA_BASE_CACHE_OFF : QA_BASE_CACHE_MEMORY;
    qa_expect_error(train(&s, true, &err), QA_ERR_INTERRUPTED, &err, "--resume");
    s.options.on_metrics = NULL;
    s.options.resume = true;
    qa_expect_ok(train(&s, true, &err), &err);
    qa_expect_same_file(s.out, broken, "adapter_model.safetensors");
    qa_expect_same_metrics(s.out, broken);
    free(broken);
    close_setting(&s);
}
END_TEST

START_TEST(resuming_with_something_else) {
    setting s = open_setting(0.0);
    calls c = {.stop_after = 2};
    qa_error err = {0};
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    qa_expect_error(train(&s, true, &err), QA_ERR_INTERRUPTED, &err, "--resume");
    s.options.on_metrics = NULL;
    s.options.resume = true;
    s.options.objective.undesirable_weight = 1.5;
    qa_expect_error(train(&s, true, &err), QA_ERR_MISMATCH, &err, "undesirable_weight is 1.5 now but was 1.7");
    s.options.objective = kto();
    s.options.objective.reference_point = QA_POINT_PREVIOUS;
    qa_expect_error(train(&s, true, &err), QA_ERR_MISMATCH, &err,
                    "kto_reference_point is \"previous\" now but was \"next\"");
    s.options.objective = kto();
    qa_expect_ok(train(&s, true, &err), &err);
    bool found = false;
    qa_objective read = {0};
    qa_expect_ok(qa_training_config_load(s.out, &found, &read, &err), &err);
    ck_assert(found);
    ck_assert_int_eq(read.method, QA_METHOD_KTO);
    ck_assert_double_eq(read.kto_beta, 0.35);
    ck_assert_double_eq(read.desirable_weight, 0.8);
    ck_assert(qa_objective_is_plain(&read));
    close_setting(&s);
}
END_TEST

/* ---- evaluation ---- */

/* Labelled responses: the accuracy is over all couples; only kto has a loss of them. */
START_TEST(evaluation_of_labelled_responses) {
    setting s = open_setting(0.0);
    qa_error err = {0};
    qa_evaluation e = {0}, other = {0};
    qa_objective o = kto();
    double right = 0.0, loss = 0.0, reward[2] = {0}, n[2] = {0};
    for (size_t i = 0; i < N; i++) {
        const qa_pair *pair = qa_pairs_at(s.labelled, i);
        for (size_t j = 0; j < N && !pair->undesirable; j++) {
            const qa_pair *bad = qa_pairs_at(s.labelled, j);
            right += bad->undesirable && own_ratio(&s, pair) > own_ratio(&s, bad) ? 1.0 : 0.0;
        }
        const size_t first = i - i % 4, count = N - first < 4 ? N - first : 4;
        const double d = own_ratio(&s, pair), point = point_of(&s, &o, s.labelled, NULL, first, count);
        loss += qa_kto_loss(qa_kto_utility(0.35, 0.35 * d, point, !pair->undesirable), pair->undesirable ? 1.7 : 0.8,
                            (double)N);
        reward[pair->undesirable] += 0.35 * d;
        n[pair->undesirable] += 1.0;
    }
    qa_expect_ok(qa_evaluate(s.fixture.model, s.fixture.adapter, s.labelled, &o, 4, NULL, NULL, &e, &err), &err);
    ck_assert(e.labelled);
    ck_assert_uint_eq(e.pairs, N);
    ck_assert_double_eq((double)e.desirable, n[0]);
    ck_assert_double_eq_tol(e.loss, loss, tolerance);
    ck_assert_double_eq_tol(e.accuracy, right / (n[0] * n[1]), 1e-12);
    ck_assert_double_eq_tol(e.reward_chosen, reward[0] / n[0], tolerance);
    ck_assert_double_eq_tol(e.margin_mean, reward[0] / n[0] - reward[1] / n[1], tolerance);
    ck_assert(isnan(e.margin_percentile[2]));
    ck_assert(isfinite(e.hardest_pi1_chosen) && isfinite(e.nll_custom_rejected));
    const qa_objective dpo = qa_objective_for_method(QA_METHOD_DPO), q = qa_training_objective(QA_THEORY, QA_Q_LOGITS);
    qa_expect_ok(qa_evaluate(s.fixture.model, s.fixture.adapter, s.labelled, &dpo, 4, NULL, NULL, &other, &err), &err);
    ck_assert_double_eq_tol(other.accuracy, e.accuracy, 1e-12); /* another b ranks alike */
    ck_assert(isnan(other.loss) && isnan(other.reference_point));
    qa_expect_ok(qa_evaluate(s.fixture.model, s.fixture.adapter, s.labelled, &q, 4, NULL, NULL, &other, &err), &err);
    ck_assert(isnan(other.loss) && isfinite(other.accuracy));
    close_setting(&s);
}
END_TEST

/* Pairs under kto: ranked as under dpo with the same b; the loss is that of two responses a pair. */
START_TEST(evaluation_of_pairs) {
    setting s = open_setting(0.0);
    qa_error err = {0};
    qa_evaluation e = {0}, of_dpo = {0};
    const qa_objective o = kto();
    qa_objective dpo = qa_objective_for_method(QA_METHOD_DPO);
    double loss = 0.0;
    const double point = point_of(&s, &o, s.pairs, NULL, 0, 5);
    for (size_t i = 0; i < 5; i++) {
        const qa_pair *pair = qa_pairs_at(s.pairs, i);
        const double w = own_ratio(&s, pair), l = log_ratio(&s, pair, pair->rejected, pair->rejected_len);
        loss += qa_kto_loss(qa_kto_utility(0.35, 0.35 * w, point, true), 0.8, 10.0);
        loss += qa_kto_loss(qa_kto_utility(0.35, 0.35 * l, point, false), 1.7, 10.0);
    }
    dpo.dpo_beta = 0.35;
    qa_expect_ok(qa_evaluate(s.fixture.model, s.fixture.adapter, s.pairs, &o, 0, NULL, NULL, &e, &err), &err);
    qa_expect_ok(qa_evaluate(s.fixture.model, s.fixture.adapter, s.pairs, &dpo, 0, NULL, NULL, &of_dpo, &err), &err);
    ck_assert(!e.labelled);
    ck_assert_double_eq_tol(e.loss, loss, tolerance);
    ck_assert_double_eq_tol(e.reference_point, point, tolerance);
    ck_assert_double_eq(e.accuracy, of_dpo.accuracy);
    ck_assert_double_eq_tol(e.margin_mean, of_dpo.margin_mean, tolerance);
    ck_assert(isnan(of_dpo.reference_point));
    close_setting(&s);
}
END_TEST

/* ---- refused ---- */

START_TEST(refused) {
    setting s = open_setting(0.0);
    qa_error err = {0};
    qa_pairs *labelled = s.labelled;
    s.labelled = s.pairs;
    qa_expect_error(train(&s, true, &err), QA_ERR_ARGUMENT, &err,
                    "method kto learns from single responses with labels, and these are pairs");
    s.labelled = labelled;
    s.options.objective = qa_objective_for_method(QA_METHOD_DPO);
    qa_expect_error(train(&s, true, &err), QA_ERR_ARGUMENT, &err,
                    "method dpo learns from preference pairs, and these are single responses with labels");
    s.options.objective = kto();
    s.options.objective.desirable_weight = 0.0;
    qa_expect_error(train(&s, true, &err), QA_ERR_ARGUMENT, &err, "desirable_weight");
    s.options.objective = kto();
    s.options.objective.kto_beta = -0.1;
    qa_expect_error(train(&s, true, &err), QA_ERR_ARGUMENT, &err, "kto_beta");
    close_setting(&s);
}
END_TEST

Suite *train_kto_suite(void) {
    Suite *suite = suite_create("train/kto");
    TCase *tests = tcase_create("kto");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_response_by_its_label);
#ifdef QA_F64
    tcase_add_test(tests, gradients_by_central_differences);
#endif
    tcase_add_test(tests, reference_points);
    tcase_add_test(tests, reference_point_of_pairs);
    tcase_add_test(tests, reference_point_at_the_start);
    tcase_add_test(tests, reference_point_of_long_responses);
    tcase_add_test(tests, a_step);
    tcase_add_test(tests, the_first_step_of_a_fresh_adapter);
    tcase_add_test(tests, it_learns);
    tcase_add_loop_test(tests, resuming_gives_the_same_bits, 0, 5);
    tcase_add_test(tests, resuming_with_something_else);
    tcase_add_test(tests, evaluation_of_labelled_responses);
    tcase_add_test(tests, evaluation_of_pairs);
    tcase_add_test(tests, refused);
    suite_add_tcase(suite, tests);
    return suite;
}
