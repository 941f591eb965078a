/* Plans, orders, micro-batches, and what the means divide by. */
#include "train/batch.h"

#include "support/training.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static qa_plan plan_of(size_t pairs, size_t micro_batch, size_t accumulation, double epochs, size_t max_steps) {
    qa_plan plan;
    qa_error err = {0};
    const qa_train_options options = {
        .micro_batch = micro_batch, .gradient_accumulation = accumulation, .epochs = epochs, .max_steps = max_steps};
    qa_expect_ok(qa_plan_make(&plan, pairs, &options, &err), &err);
    return plan;
}

START_TEST(plans) {
    qa_plan plan = plan_of(10, 3, 2, 3.0, 0);
    ck_assert_uint_eq(plan.micro_batch, 3);
    ck_assert_uint_eq(plan.batch, 6);
    ck_assert_uint_eq(plan.steps_per_epoch, 2); /* 6 and 4 */
    ck_assert_uint_eq(plan.total_steps, 6);
    ck_assert_uint_eq(plan_of(10, 3, 2, 1.25, 0).total_steps, 3);
    ck_assert_uint_eq(plan_of(10, 3, 2, 0.1, 0).total_steps, 1);
    ck_assert_uint_eq(plan_of(10, 3, 2, 3.0, 50).total_steps, 50); /* max_steps overrides, past the data too */
    ck_assert_uint_eq(plan_of(10, 5, 1, 1.0, 0).steps_per_epoch, 2);
    plan = plan_of(10, 0, 1, 1.0, 0); /* everything at once */
    ck_assert_uint_eq(plan.micro_batch, 10);
    ck_assert_uint_eq(plan.steps_per_epoch, 1);
    ck_assert_uint_eq(plan_of(10, 64, 1, 1.0, 0).batch, 10);
    ck_assert_uint_eq(plan_of(10, 4, SIZE_MAX, 1.0, 0).batch, 10); /* no overflow */
    qa_error err = {0};
    const qa_train_options endless = {.micro_batch = 1, .gradient_accumulation = 1, .epochs = 1e300};
    qa_expect_error(qa_plan_make(&plan, 10, &endless, &err), QA_ERR_ARGUMENT, &err, "epochs");
    const qa_train_options nothing = {.micro_batch = 1, .gradient_accumulation = 1, .epochs = 1};
    qa_expect_error(qa_plan_make(&plan, 0, &nothing, &err), QA_ERR_ARGUMENT, &err, "nothing to train on");
}
END_TEST

/* Over two epochs every place is taken once per epoch, in order, and micro-batches tile their batch. */
START_TEST(batches_tile_the_epochs) {
    const qa_plan plan = plan_of(11, 2, 2, 2.0, 0);
    size_t step = 0;
    for (size_t epoch = 0; epoch < 2; epoch++) {
        for (size_t position = 0; position < 11; step++) {
            const qa_batch batch = qa_plan_batch(&plan, step);
            ck_assert_uint_eq(batch.epoch, epoch);
            ck_assert_uint_eq(batch.first, position);
            ck_assert_uint_eq(batch.pairs, position < 8 ? 4 : 3); /* 4, 4, 3 */
            ck_assert_uint_eq(batch.micro_batches, 2);
            size_t within = 0;
            for (size_t i = 0; i < batch.micro_batches; i++) {
                size_t first = 99, count = 99;
                qa_micro_batch(&plan, &batch, i, &first, &count);
                ck_assert_uint_eq(first, within);
                ck_assert(count >= 1 && count <= 2);
                within += count;
            }
            ck_assert_uint_eq(within, batch.pairs);
            position += batch.pairs;
        }
    }
    ck_assert_uint_eq(step, plan.total_steps);
}
END_TEST

START_TEST(orders) {
    enum { N = 50 };
    size_t first[N], again[N], second[N], other_seed[N], plain[N];
    bool seen[N] = {false};
    qa_epoch_order(first, N, true, 7, 0);
    qa_epoch_order(again, N, true, 7, 0);
    qa_epoch_order(second, N, true, 7, 1);
    qa_epoch_order(other_seed, N, true, 8, 0);
    qa_epoch_order(plain, N, false, 7, 3);
    for (size_t i = 0; i < N; i++) {
        ck_assert_uint_lt(first[i], N);
        ck_assert(!seen[first[i]]);
        seen[first[i]] = true;
        ck_assert_uint_eq(plain[i], i);
    }
    ck_assert_int_eq(memcmp(first, again, sizeof first), 0);
    ck_assert_int_ne(memcmp(first, second, sizeof first), 0);
    ck_assert_int_ne(memcmp(first, other_seed, sizeof first), 0);
    ck_assert_int_ne(memcmp(first, plain, sizeof first), 0);
}
END_TEST

/* Against counts made here from the lengths. */
START_TEST(divisors) {
    const tiny_model_options model = tiny_model_defaults();
    qa_fixture fixture = qa_fixture_open(&model, NULL, 1);
    qa_pairs *pairs = qa_training_pairs(&fixture, 5, 6, 8, 3);
    const qa_plan plan = plan_of(5, 2, 2, 2.0, 0);
    const size_t order[5] = {3, 0, 4, 1, 2};
    const qa_objective theory = qa_training_objective(QA_THEORY, QA_Q_LOGITS);
    const qa_objective published = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS);
    for (size_t step = 0; step < 2; step++) { /* 4 pairs in 2 micro-batches; 1 pair */
        const qa_batch batch = qa_plan_batch(&plan, step);
        size_t tokens = 0;
        for (size_t i = 0; i < batch.pairs; i++) {
            const qa_pair *pair = qa_pairs_at(pairs, order[batch.first + i]);
            tokens += pair->chosen_len + pair->rejected_len;
        }
        for (size_t i = 0; i < batch.micro_batches; i++) {
            size_t first = 0, count = 0, longest = 0, counted = 0;
            qa_micro_batch(&plan, &batch, i, &first, &count);
            for (size_t j = first; j < first + count; j++) {
                const qa_pair *pair = qa_pairs_at(pairs, order[batch.first + j]);
                const size_t chosen = pair->prompt_len + pair->chosen_len;
                const size_t rejected = pair->prompt_len + pair->rejected_len;
                longest = chosen > longest ? chosen : longest;
                longest = rejected > longest ? rejected : longest;
            }
            for (size_t j = first; j < first + count; j++) { /* the last token of the longest row has no successor */
                const qa_pair *pair = qa_pairs_at(pairs, order[batch.first + j]);
                const size_t lengths[2] = {pair->chosen_len, pair->rejected_len};
                for (size_t s = 0; s < 2; s++) {
                    counted += lengths[s] - (pair->prompt_len + lengths[s] == longest ? 1 : 0);
                }
            }
            const qa_divisors t = qa_batch_divisors(&plan, &batch, i, pairs, order, &theory);
            ck_assert_double_eq(t.pairs, (double)batch.pairs);
            ck_assert_double_eq(t.counted, (double)tokens);
            const qa_divisors p = qa_batch_divisors(&plan, &batch, i, pairs, order, &published);
            ck_assert_uint_eq(p.padded_length, longest);
            ck_assert_double_eq(p.pairs, (double)(batch.micro_batches * count));
            ck_assert_double_eq(p.counted, (double)(batch.micro_batches * counted));
        }
    }
    ck_assert_uint_eq(qa_padded_length(pairs, 0, 5), qa_order_padded_length(pairs, order, 5));
    ck_assert_uint_eq(qa_padded_length(pairs, 1, 1), qa_pair_longest_row(qa_pairs_at(pairs, 1)));
    ck_assert_uint_eq(qa_padded_length(pairs, 0, 0), 0);
    qa_pairs_free(pairs);
    qa_fixture_close(&fixture);
}
END_TEST

/* Examples are numbered on and on, and over any number of steps there are ratio times as many as pairs. */
START_TEST(replay_ranges) {
    static const double ratios[] = {1.0, 0.3, 2.5, 0.01};
    for (size_t r = 0; r < 4; r++) {
        const qa_plan plan = plan_of(11, 2, 2, 40.0, 0); /* 4 + 4 + 3 pairs an epoch */
        size_t next = 0, pairs = 0;
        for (size_t step = 0; step < plan.total_steps; step++) {
            size_t first = 0, count = 0;
            qa_replay_range(&plan, step, ratios[r], &first, &count);
            ck_assert_uint_eq(first, next);
            next = first + count;
            pairs += qa_plan_batch(&plan, step).pairs;
            const double wanted = ratios[r] * (double)pairs;
            ck_assert_double_le(fabs((double)next - wanted), 1.0);
            ck_assert_double_le((double)next, wanted);
        }
        ck_assert_uint_eq(pairs, 440);
        ck_assert_uint_eq(next, (size_t)(ratios[r] * 440.0 + 1e-9));
    }
}
END_TEST

START_TEST(replay_orders) {
    enum { N = 50 };
    size_t first[N], second[N], epoch[N], plain[N];
    bool seen[N] = {false};
    qa_replay_order(first, N, true, 7, 0);
    qa_replay_order(second, N, true, 7, 1);
    qa_epoch_order(epoch, N, true, 7, 0);
    qa_replay_order(plain, N, false, 7, 3);
    for (size_t i = 0; i < N; i++) {
        ck_assert_uint_lt(first[i], N);
        ck_assert(!seen[first[i]]);
        seen[first[i]] = true;
        ck_assert_uint_eq(plain[i], i);
    }
    ck_assert_int_ne(memcmp(first, second, sizeof first), 0);
    ck_assert_int_ne(memcmp(first, epoch, sizeof first), 0); /* not in step with the pairs */
}
END_TEST

Suite *train_batch_suite(void);
Suite *train_batch_suite(void) {
    Suite *suite = suite_create("train_batch");
    TCase *tcase = tcase_create("batch");
    tcase_add_test(tcase, plans);
    tcase_add_test(tcase, batches_tile_the_epochs);
    tcase_add_test(tcase, orders);
    tcase_add_test(tcase, divisors);
    tcase_add_test(tcase, replay_ranges);
    tcase_add_test(tcase, replay_orders);
    suite_add_tcase(suite, tcase);
    return suite;
}
