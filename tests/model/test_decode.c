/* Decoding with caches equals the packed pass without them; pieces equal the whole; errors change nothing. */
#include "model/decode.h"

#include "model/pass.h"
#include "support/compare.h"
#include "support/fixture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
#define EXACT 1e-12 /* observed 1e-14 */
#else
#define EXACT 2e-5 /* observed 2e-6 */
#endif

enum { TOKENS = 200, CAPACITY = 256 };

static void fill(int32_t *ids, size_t V) {
    for (size_t i = 0; i < TOKENS; i++) {
        ids[i] = (int32_t)((i * 7 + i * i * 3 + 1) % V);
    }
}

/* Logits after the last token by the pass: [V] base, then [V] adapted. */
static qa_real *by_pass(const qa_fixture *f, const int32_t *ids, size_t n) {
    qa_error err = {0};
    qa_pass *pass = NULL;
    size_t V = f->model->config.vocab_size;
    qa_pass_limits limits = {.max_rows = n, .max_states = 1};
    qa_expect_ok(qa_pass_create(&pass, f->model, f->adapter, limits, &err), &err);
    qa_packed packed = {.trunk = {ids, n}};
    const size_t last = n - 1;
    qa_expect_ok(qa_pass_forward(pass, &packed, &last, 1, 0, &err), &err);
    qa_real *base = NULL;
    qa_real *adapted = NULL;
    qa_pass_head(pass, 0, 1, &base, &adapted);
    qa_real *out = malloc(2 * V * sizeof *out);
    memcpy(out, base, V * sizeof *out);
    memcpy(out + V, adapted == NULL ? base : adapted, V * sizeof *out);
    qa_pass_free(pass);
    return out;
}

static void check_against_pass(const tiny_model_options *options, const qa_lora_options *lora, const size_t *pieces,
                               size_t n_pieces) {
    qa_fixture f = qa_fixture_open(options, lora, 2);
    size_t V = f.model->config.vocab_size;
    qa_error err = {0};
    qa_kv_decoder *decoder = NULL;
    int32_t ids[TOKENS];
    size_t done = 0;
    fill(ids, V);
    qa_expect_ok(qa_kv_decoder_create(&decoder, f.model, f.adapter, QA_KV_BOTH, CAPACITY, &err), &err);
    for (size_t i = 0; i < n_pieces; i++) {
        qa_real *base = NULL;
        qa_real *adapted = NULL;
        qa_expect_ok(qa_kv_decoder_forward(decoder, ids + done, pieces[i], &base, &adapted, &err), &err);
        done += pieces[i];
        ck_assert_uint_eq(qa_kv_decoder_position(decoder), done);
        qa_real *expected = by_pass(&f, ids, done);
        QA_ASSERT_REALS("base", base, expected, V, EXACT, 0.0);
        if (lora != NULL) {
            QA_ASSERT_REALS("adapted", adapted, expected + V, V, EXACT, 0.0);
        } else {
            ck_assert_ptr_null(adapted);
        }
        free(expected);
    }
    qa_kv_decoder_free(decoder);
    qa_fixture_close(&f);
}

START_TEST(equals_the_pass) {
    static const size_t pieces[] = {5, 1, 1, 130, 1, 40, 2, 20}; /* one longer than a prefill chunk */
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    options.max_positions = CAPACITY;
    check_against_pass(&options, &lora, pieces, sizeof pieces / sizeof *pieces);
    check_against_pass(&options, NULL, pieces, sizeof pieces / sizeof *pieces);
    lora.dropout = 0.5; /* in training only */
    options.qkv_bias = true;
    options.tied = true;
    options.kv_heads = 1;
    options.head_dim = 6;
    options.rope = TINY_ROPE_LLAMA3;
    check_against_pass(&options, &lora, pieces, sizeof pieces / sizeof *pieces);
}
END_TEST

START_TEST(errors_change_nothing) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_error err = {0};
    qa_kv_decoder *decoder = NULL;
    qa_real *base = NULL;
    qa_real *adapted = NULL;
    const int32_t ids[4] = {1, 5, 6, 7};
    const int32_t bad[2] = {3, 29};
    qa_expect_error(qa_kv_decoder_create(&decoder, f.model, f.adapter, QA_KV_BOTH, options.max_positions + 1, &err),
                    QA_ERR_LIMIT, &err, "a context of 65 tokens");
    qa_expect_ok(qa_kv_decoder_create(&decoder, f.model, f.adapter, QA_KV_BOTH, 6, &err), &err);
    qa_expect_ok(qa_kv_decoder_forward(decoder, ids, 3, &base, &adapted, &err), &err);
    qa_expect_error(qa_kv_decoder_forward(decoder, ids, 4, &base, &adapted, &err), QA_ERR_LIMIT, &err,
                    "4 tokens behind 3 exceed the context of 6");
    qa_expect_error(qa_kv_decoder_forward(decoder, bad, 2, &base, &adapted, &err), QA_ERR_ARGUMENT, &err, "id 29");
    qa_expect_error(qa_kv_decoder_forward(decoder, ids, 0, &base, &adapted, &err), QA_ERR_ARGUMENT, &err, "no tokens");
    ck_assert_uint_eq(qa_kv_decoder_position(decoder), 3);
    qa_expect_ok(qa_kv_decoder_forward(decoder, ids + 3, 1, &base, &adapted, &err), &err);
    qa_real *expected = by_pass(&f, ids, 4);
    QA_ASSERT_REALS("base", base, expected, f.model->config.vocab_size, EXACT, 0.0);
    free(expected);
    f.adapter->parameters[0] = (qa_real)NAN;
    qa_expect_error(qa_kv_decoder_forward(decoder, ids, 1, &base, &adapted, &err), QA_ERR_NAN, &err, "adapted stream");
    ck_assert_uint_eq(qa_kv_decoder_position(decoder), 4);
    qa_kv_decoder_free(decoder);
    qa_fixture_close(&f);
}
END_TEST

Suite *model_decode_suite(void);
Suite *model_decode_suite(void) {
    Suite *suite = suite_create("model/decode");
    TCase *tcase = tcase_create("decode");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, equals_the_pass);
    tcase_add_test(tcase, errors_change_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}
