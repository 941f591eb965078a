/* Many streams in one decoder: each sequence gets the logits that it gets alone, whatever runs beside it, however it is
 * cut, and whoever had its slot before. With an adapter a sequence has two streams, in slots `slot` and SLOTS + slot.
 */
#include "model/decode.h"
#include "support/compare.h"
#include "support/fixture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The same sums with other numbers of rows in a product. */
#ifdef QA_F64
#define TOLERANCE 1e-12 /* observed 4e-15 */
#else
#define TOLERANCE 2e-5 /* observed 3e-6 */
#endif

enum { V = 29, CAPACITY = 160, SLOTS = 5 };

static qa_fixture open_fixture(const qa_lora_options *lora) {
    tiny_model_options options = tiny_model_defaults();
    options.max_positions = CAPACITY;
    options.qkv_bias = true;
    return qa_fixture_open(&options, lora, 2);
}

static int32_t token(size_t sequence, size_t i) { return (int32_t)((sequence * 13 + i * 7 + i * i * 3 + 1) % V); }

/* A sequence that grows by pieces in a slot, beside a decoder of its own. */
typedef struct twin_sequence {
    size_t name, slot, n;
    int32_t ids[CAPACITY];
    qa_kv_decoder *alone;
} twin_sequence;

static twin_sequence twin_of(const qa_fixture *f, size_t name, size_t slot) {
    twin_sequence twin = {.name = name, .slot = slot};
    qa_error err = {0};
    for (size_t i = 0; i < CAPACITY; i++) {
        twin.ids[i] = token(name, i);
    }
    qa_expect_ok(qa_kv_decoder_create(&twin.alone, f->model, f->adapter, QA_KV_BOTH, CAPACITY, &err), &err);
    return twin;
}

/* The base streams in slots [0, slots), those of the adapter, if there is one, behind them. */
static qa_kv_decoder *open_decoder(const qa_fixture *f, size_t slots, size_t capacity) {
    const qa_adapter *adapter = f->adapter;
    const size_t streams = adapter == NULL ? 1 : 2;
    qa_kv_decoder *decoder = NULL;
    qa_error err = {0};
    const qa_kv_room room = {.slots = streams * slots, .capacity = capacity, .logits = streams * slots};
    qa_expect_ok(qa_kv_decoder_create_many(&decoder, f->model, &adapter, streams - 1, room, &err), &err);
    for (size_t slot = slots; slot < streams * slots; slot++) {
        qa_kv_decoder_assign(decoder, slot, adapter);
        ck_assert_ptr_eq(qa_kv_decoder_adapter_of(decoder, slot), adapter);
        ck_assert_ptr_null(qa_kv_decoder_adapter_of(decoder, slot - slots));
    }
    return decoder;
}

/* The runs of sequences in both streams of each, and the logits behind them, base rows first. */
static void run_streams(qa_kv_decoder *decoder, size_t slots, size_t streams, const qa_kv_run *runs, size_t n,
                        qa_real *logits[2]) {
    enum { MOST = 600 };
    qa_kv_run all[MOST];
    qa_kv_state ends[MOST];
    qa_error err = {0};
    ck_assert_uint_le(streams * n, MOST);
    for (size_t i = 0; i < streams * n; i++) {
        all[i] = runs[i % n];
        all[i].slot += i < n ? 0 : slots;
        ends[i] = (qa_kv_state){all[i].slot, qa_kv_decoder_position_of(decoder, all[i].slot) + all[i].n - 1};
    }
    qa_expect_ok(qa_kv_decoder_run(decoder, all, streams * n, &err), &err);
    qa_kv_decoder_logits(decoder, ends, streams * n, &logits[0]);
    logits[1] = streams == 1 ? NULL : logits[0] + n * V;
}

/* Runs more[i] new tokens of every twin (0: it pauses) at once, and compares every row of logits. */
static void advance(qa_kv_decoder *decoder, size_t streams, twin_sequence *twins, size_t n, const size_t *more) {
    qa_kv_run runs[SLOTS] = {{0}};
    size_t running[SLOTS];
    size_t n_runs = 0;
    qa_real *got[2];
    qa_error err = {0};
    for (size_t i = 0; i < n; i++) {
        if (more[i] > 0) {
            running[n_runs] = i;
            runs[n_runs++] = (qa_kv_run){.slot = twins[i].slot, .ids = twins[i].ids + twins[i].n, .n = more[i]};
        }
    }
    run_streams(decoder, SLOTS, streams, runs, n_runs, got);
    for (size_t r = 0; r < n_runs; r++) {
        twin_sequence *twin = &twins[running[r]];
        qa_real *expected[2] = {NULL, NULL};
        qa_expect_ok(qa_kv_decoder_forward(twin->alone, runs[r].ids, runs[r].n, &expected[0], &expected[1], &err),
                     &err);
        twin->n += runs[r].n;
        ck_assert_uint_eq(qa_kv_decoder_position_of(decoder, twin->slot), twin->n);
        ck_assert_mem_eq(qa_kv_decoder_ids(decoder, twin->slot), twin->ids, twin->n * sizeof(int32_t));
        QA_ASSERT_REALS("base", got[0] + r * V, expected[0], V, TOLERANCE, 0.0);
        ck_assert_int_eq(got[1] == NULL, expected[1] == NULL);
        if (got[1] != NULL) {
            QA_ASSERT_REALS("adapted", got[1] + r * V, expected[1], V, TOLERANCE, 0.0);
        }
    }
}

static void check_mixed_lengths(const qa_lora_options *lora) {
    /* prompts, single tokens, pauses; 5 x 60 and 130 tokens do not fit one pass */
    static const size_t more[][SLOTS] = {{3, 1, 60, 17, 0}, {1, 1, 1, 1, 0}, {1, 0, 2, 1, 130}, {60, 60, 60, 60, 20},
                                         {1, 1, 1, 1, 1},   {0, 0, 0, 1, 0}, {2, 90, 1, 30, 1}, {1, 1, 1, 1, 1}};
    qa_fixture f = open_fixture(lora);
    qa_kv_decoder *decoder = open_decoder(&f, SLOTS, CAPACITY);
    twin_sequence twins[SLOTS];
    ck_assert_uint_eq(qa_kv_decoder_capacity(decoder), CAPACITY);
    for (size_t i = 0; i < SLOTS; i++) {
        twins[i] = twin_of(&f, i, (i * 3 + 1) % SLOTS);
    }
    for (size_t step = 0; step < sizeof more / sizeof *more; step++) {
        advance(decoder, lora == NULL ? 1 : 2, twins, SLOTS, more[step]);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        qa_kv_decoder_free(twins[i].alone);
    }
    qa_kv_decoder_free(decoder);
    qa_fixture_close(&f);
}

START_TEST(every_sequence_gets_its_own_logits) {
    qa_lora_options lora = qa_fixture_lora();
    check_mixed_lengths(&lora);
    check_mixed_lengths(NULL);
}
END_TEST

/* A slot that is rewound or copied goes on as the shorter sequence, and the source is left as it was. */
START_TEST(slots_are_rewound_copied_and_used_again) {
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = open_fixture(&lora);
    qa_kv_decoder *decoder = open_decoder(&f, SLOTS, CAPACITY);
    qa_error err = {0};
    twin_sequence twins[3] = {twin_of(&f, 0, 0), twin_of(&f, 1, 4), twin_of(&f, 2, 2)};
    advance(decoder, 2, twins, 3, (const size_t[]){40, 25, 8});
    /* slot 2 becomes the first 21 tokens of slot 4's sequence, and then goes its own way */
    qa_kv_decoder_copy(decoder, 2, 4, 21);
    qa_kv_decoder_copy(decoder, SLOTS + 2, SLOTS + 4, 21);
    ck_assert_uint_eq(qa_kv_decoder_position_of(decoder, 2), 21);
    qa_kv_decoder_rewind_all(twins[2].alone, 0);
    memcpy(twins[2].ids, twins[1].ids, 21 * sizeof(int32_t));
    qa_real *unused[2];
    qa_expect_ok(qa_kv_decoder_forward(twins[2].alone, twins[2].ids, 21, &unused[0], &unused[1], &err), &err);
    twins[2].n = 21;
    advance(decoder, 2, twins, 3, (const size_t[]){1, 1, 1});
    /* slot 0 forgets the end of its sequence, then all of it */
    qa_kv_decoder_rewind(decoder, 0, 30);
    qa_kv_decoder_rewind(decoder, SLOTS, 30);
    qa_kv_decoder_rewind_all(twins[0].alone, 30);
    twins[0].n = 30;
    twins[0].ids[30] = 28;
    advance(decoder, 2, twins, 3, (const size_t[]){2, 1, 5});
    qa_kv_decoder_rewind(decoder, 0, 0);
    qa_kv_decoder_rewind(decoder, SLOTS, 0);
    qa_kv_decoder_rewind_all(twins[0].alone, 0);
    twins[0].n = 0;
    advance(decoder, 2, twins, 3, (const size_t[]){9, 1, 1});
    for (size_t i = 0; i < 3; i++) {
        qa_kv_decoder_free(twins[i].alone);
    }
    qa_kv_decoder_free(decoder);
    qa_fixture_close(&f);
}
END_TEST

/* More sequences than a pass takes rows. */
START_TEST(more_sequences_than_rows_of_a_pass) {
    enum { MANY = 300 };
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = open_fixture(&lora);
    qa_kv_decoder *decoder = open_decoder(&f, MANY, 8);
    qa_kv_decoder *alone = NULL;
    qa_error err = {0};
    qa_kv_run runs[MANY];
    int32_t ids[MANY][3];
    qa_real *got[2];
    qa_real *expected[2];
    qa_expect_ok(qa_kv_decoder_create(&alone, f.model, f.adapter, QA_KV_BOTH, 8, &err), &err);
    for (size_t i = 0; i < MANY; i++) {
        for (size_t j = 0; j < 3; j++) {
            ids[i][j] = token(i, j);
        }
        runs[i] = (qa_kv_run){.slot = MANY - 1 - i, .ids = ids[i], .n = 1 + i % 3};
    }
    run_streams(decoder, MANY, 2, runs, MANY, got);
    for (size_t i = 0; i < MANY; i++) {
        runs[i].n = 1;
    }
    run_streams(decoder, MANY, 2, runs, MANY, got);
    for (size_t i = 0; i < MANY; i += 7) {
        qa_kv_decoder_rewind_all(alone, 0);
        qa_expect_ok(qa_kv_decoder_forward(alone, ids[i], 1 + i % 3, &expected[0], &expected[1], &err), &err);
        qa_expect_ok(qa_kv_decoder_forward(alone, ids[i], 1, &expected[0], &expected[1], &err), &err);
        QA_ASSERT_REALS("base", got[0] + i * V, expected[0], V, TOLERANCE, 0.0);
        QA_ASSERT_REALS("adapted", got[1] + i * V, expected[1], V, TOLERANCE, 0.0);
    }
    qa_kv_decoder_free(alone);
    qa_kv_decoder_free(decoder);
    qa_fixture_close(&f);
}
END_TEST

static void expect_refused(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n, qa_status expected,
                           const char *part) {
    qa_error err = {0};
    qa_expect_error(qa_kv_decoder_run(decoder, runs, n, &err), expected, &err, part);
    ck_assert_uint_eq(qa_kv_decoder_position_of(decoder, 0), 3);
    ck_assert_uint_eq(qa_kv_decoder_position_of(decoder, 1), 0);
}

static void expect_no_room(const qa_fixture *f, qa_kv_room room, qa_status expected, const char *part) {
    qa_kv_decoder *decoder = NULL;
    qa_error err = {0};
    qa_expect_error(qa_kv_decoder_create_many(&decoder, f->model, NULL, 0, room, &err), expected, &err, part);
    ck_assert_ptr_null(decoder);
}

START_TEST(bad_runs_change_nothing) {
    static const int32_t ids[] = {1, 2, 3, V, 4, 5, 6, 7, 8};
    qa_fixture f = open_fixture(NULL);
    qa_error err = {0};
    expect_no_room(&f, (qa_kv_room){.slots = 0, .capacity = 8, .logits = 1}, QA_ERR_ARGUMENT, "at least one stream");
    expect_no_room(&f, (qa_kv_room){.slots = 3, .capacity = CAPACITY + 1, .logits = 1}, QA_ERR_LIMIT,
                   "a context of 161 tokens");
    expect_no_room(&f, (qa_kv_room){.slots = SIZE_MAX / 1000, .capacity = CAPACITY, .logits = 1}, QA_ERR_LIMIT,
                   "streams of 160 tokens");
    qa_kv_decoder *decoder = open_decoder(&f, 2, 8);
    qa_expect_ok(qa_kv_decoder_run(decoder, &(qa_kv_run){.slot = 0, .ids = ids, .n = 3}, 1, &err), &err);
#define RUN(s, count) {.slot = (s), .ids = ids, .n = (count)}
    expect_refused(decoder, (qa_kv_run[]){RUN(1, 2), RUN(2, 1)}, 2, QA_ERR_ARGUMENT, "slot 2, which is not there");
    expect_refused(decoder, (qa_kv_run[]){RUN(1, 2), RUN(1, 1)}, 2, QA_ERR_ARGUMENT, "taken by another run");
    expect_refused(decoder, (qa_kv_run[]){RUN(1, 2), RUN(0, 0)}, 2, QA_ERR_ARGUMENT, "slot 0: no tokens");
    expect_refused(decoder, (qa_kv_run[]){RUN(1, 2), RUN(0, 4)}, 2, QA_ERR_ARGUMENT, "slot 0: token 3 has id 29");
    expect_refused(decoder, (qa_kv_run[]){RUN(1, 2), RUN(0, 6)}, 2, QA_ERR_LIMIT, "6 tokens behind 3");
#undef RUN
    qa_kv_decoder_free(decoder);
    qa_fixture_close(&f);
}
END_TEST

/* Streams of the base model and of two adapters share passes, in any order of the runs; with keep_states the logits of
 * every position can be asked for, also where a slot was copied. */
START_TEST(streams_of_several_adapters_share_a_decoder) {
    enum { N = 150, PIECE = 70 };
    qa_lora_options lora = qa_fixture_lora(), other = qa_fixture_lora();
    other.rank = 2;
    other.targets[QA_TARGET_K] = other.targets[QA_TARGET_DOWN] = false;
    qa_fixture f[2] = {open_fixture(&lora), open_fixture(&other)};
    const qa_adapter *const adapters[] = {f[0].adapter, f[1].adapter};
    const qa_adapter *const of[] = {adapters[1], NULL, adapters[0], adapters[1], NULL};
    const qa_kv_room room = {.slots = SLOTS, .capacity = N, .logits = N, .keep_states = true};
    qa_kv_decoder *decoder = NULL;
    qa_kv_run runs[SLOTS];
    qa_kv_state states[N];
    int32_t ids[N];
    qa_real *got = NULL, *expected[2] = {NULL, NULL};
    qa_error err = {0};
    for (size_t i = 0; i < N; i++) {
        ids[i] = token(3, i);
    }
    qa_expect_ok(qa_kv_decoder_create_many(&decoder, f[0].model, adapters, 2, room, &err), &err);
    for (size_t s = 0; s < SLOTS - 1; s++) {
        qa_kv_decoder_assign(decoder, s, of[s]);
        runs[s] = (qa_kv_run){.slot = s, .ids = ids, .n = s == 3 ? PIECE : N};
    }
    qa_expect_ok(qa_kv_decoder_run(decoder, runs, SLOTS - 1, &err), &err);
    qa_kv_decoder_copy(decoder, 3, 0, N - 1);
    qa_kv_decoder_copy(decoder, 4, 1, N);
    runs[0] = (qa_kv_run){.slot = 3, .ids = ids + N - 1, .n = 1};
    qa_expect_ok(qa_kv_decoder_run(decoder, runs, 1, &err), &err);
    for (size_t s = 0; s < SLOTS; s++) {
        qa_kv_decoder *alone = NULL;
        ck_assert_ptr_eq(qa_kv_decoder_adapter_of(decoder, s), of[s]);
        qa_expect_ok(qa_kv_decoder_create(&alone, f[0].model, of[s], QA_KV_ADAPTED, N, &err), &err);
        for (size_t i = 0; i < N; i++) {
            states[i] = (qa_kv_state){.slot = s, .position = i};
        }
        qa_kv_decoder_logits(decoder, states, N, &got);
        for (size_t i = 0; i < N; i++) {
            qa_expect_ok(qa_kv_decoder_forward(alone, ids + i, 1, &expected[0], &expected[1], &err), &err);
            ck_assert_int_eq(expected[0] == NULL, of[s] != NULL); /* one stream alone */
            QA_ASSERT_REALS("logits", got + i * V, expected[of[s] != NULL], V, TOLERANCE, 0.0);
        }
        qa_kv_decoder_free(alone);
    }
    qa_kv_decoder_free(decoder);
    qa_fixture_close(&f[0]);
    qa_fixture_close(&f[1]);
}
END_TEST

START_TEST(logits_are_checked_for_nans) {
    qa_real logits[4] = {1, -2, 3, -4};
    qa_error err = {0};
    qa_expect_ok(qa_logits_check(logits, 4, "base", 7, &err), &err);
    logits[3] = (qa_real)NAN;
    qa_expect_error(qa_logits_check(logits, 4, "base", 7, &err), QA_ERR_NAN, &err,
                    "in the base stream's logits, at position 7");
    logits[3] = (qa_real)-INFINITY;
    qa_expect_error(qa_logits_check(logits, 4, "adapted", 7, &err), QA_ERR_NAN, &err, "adapted stream's");
}
END_TEST

Suite *model_decode_many_suite(void);
Suite *model_decode_many_suite(void) {
    Suite *suite = suite_create("model/decode_many");
    TCase *tcase = tcase_create("decode_many");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, every_sequence_gets_its_own_logits);
    tcase_add_test(tcase, slots_are_rewound_copied_and_used_again);
    tcase_add_test(tcase, more_sequences_than_rows_of_a_pass);
    tcase_add_test(tcase, bad_runs_change_nothing);
    tcase_add_test(tcase, streams_of_several_adapters_share_a_decoder);
    tcase_add_test(tcase, logits_are_checked_for_nans);
    suite_add_tcase(suite, tcase);
    return suite;
}
