/* A merged model against the adapted stream, for every family: the sums in double of the naive loop, the logits, ranks
 * and alphas of maps' own; what is refused. */
#include "arch/families.h"
#include "model/merge.h"
#include "model/pass.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/families.h"
#include "support/fixture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *model_merge_suite(void);

#ifdef QA_F64
#define EXACT 1e-12
#else
#define EXACT 2e-4 /* of weights that were rounded once; observed 2e-5 */
#endif

enum { N = 11 };
static const int32_t ids[N] = {1, 7, 3, 20, 11, 5, 6, 28, 30, 8, 2};

static const qa_lora_options every_map = {.rank = 3,
                                          .alpha = 5,
                                          .targets = {[QA_TARGET_Q] = true,
                                                      [QA_TARGET_K] = true,
                                                      [QA_TARGET_V] = true,
                                                      [QA_TARGET_O] = true,
                                                      [QA_TARGET_GATE] = true,
                                                      [QA_TARGET_UP] = true,
                                                      [QA_TARGET_DOWN] = true,
                                                      [QA_TARGET_QKV] = true,
                                                      [QA_TARGET_GATE_UP] = true}};

/* Logits of all rows of the adapted stream, or of the only one. */
static qa_real *logits_of(qa_bag *bag, qa_model *model, const qa_adapter *adapter) {
    qa_error err = {0};
    qa_pass *pass = NULL;
    size_t states[N];
    qa_real *base = NULL, *adapted = NULL;
    for (size_t i = 0; i < N; i++) {
        states[i] = i;
    }
    const qa_pass_limits limits = {.max_rows = N, .max_states = N};
    const qa_packed in = {.trunk = {ids, N}};
    qa_expect_ok(qa_pass_create(&pass, model, adapter, limits, &err), &err);
    qa_expect_ok(qa_pass_forward(pass, &in, states, N, 0, &err), &err);
    qa_pass_head(pass, 0, N, &base, &adapted);
    qa_real *copy = qa_bag_copy(bag, adapted == NULL ? base : adapted, N * model->config.vocab_size);
    qa_pass_free(pass);
    return copy;
}

static void merge_and_compare(qa_fixture *f) {
    qa_error err = {0};
    qa_bag bag = qa_bag_open(3);
    char before[QA_SHA256_HEX_BYTES];
    const size_t count = N * f->model->config.vocab_size;
    const qa_real *expected = logits_of(&bag, f->model, f->adapter);
    const qa_real *base = logits_of(&bag, f->model, NULL);
    double moved = 0;
    for (size_t i = 0; i < count; i++) {
        moved = fmax(moved, fabs((double)(expected[i] - base[i])));
    }
    ck_assert_msg(moved > 0.05, "the adapter moved nothing: %g", moved);
    strcpy(before, qa_model_fingerprint(f->model));
    qa_expect_ok(qa_model_merge(f->model, f->adapter, &err), &err);
    QA_ASSERT_REALS("logits", logits_of(&bag, f->model, NULL), expected, count, EXACT, 0.0);
    ck_assert_str_ne(qa_model_fingerprint(f->model), before);
    qa_bag_close(&bag);
}

START_TEST(every_family_is_its_adapted_stream) {
    char *config = qa_family_tiny_config((size_t)_i);
    qa_fixture f = qa_fixture_of(config, &every_map, 2);
    merge_and_compare(&f);
    qa_fixture_close(&f);
    free(config);
}
END_TEST

START_TEST(the_list_of_families_is_whole) {
    ck_assert_ptr_nonnull(qa_family_at(QA_FAMILIES_THERE - 1));
    ck_assert_ptr_null(qa_family_at(QA_FAMILIES_THERE));
}
END_TEST

/* What PEFT writes: ranks and alphas by pattern, rslora, some layers alone, matrices that files have as in x out. */
static const struct merge_form {
    const char *config, *adapter;
} merge_forms[] = {
    {NULL, "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 5, \"target_modules\": [\"q_proj\", \"down_proj\"], "
           "\"rank_pattern\": {\"layers.1.self_attn.q_proj\": 2}, \"alpha_pattern\": {\"down_proj\": 9}}"},
    {NULL, "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 5, \"use_rslora\": true, \"target_modules\": "
           "[\"k_proj\", \"up_proj\"], \"layers_to_transform\": [1]}"},
    {"{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"gpt2\", \"n_embd\": 16, \"n_head\": 4, \"n_layer\": "
     "3, \"n_positions\": 64, \"vocab_size\": 31, \"bos_token_id\": 1, \"eos_token_id\": 2}",
     "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 5, \"fan_in_fan_out\": true, \"target_modules\": "
     "[\"c_attn\", \"c_proj\"]}"},
};

START_TEST(forms_of_peft) {
    char *llama = qa_family_tiny_config(0);
    qa_fixture f = qa_fixture_of(merge_forms[_i].config == NULL ? llama : merge_forms[_i].config, NULL, 1);
    qa_fixture_adapt(&f, merge_forms[_i].adapter);
    merge_and_compare(&f);
    qa_fixture_close(&f);
    free(llama);
}
END_TEST

/* Every weight is the sum in double, rounded once; those without a branch are as they were. */
START_TEST(sums_are_in_double) {
    char *config = qa_family_tiny_config(0);
    qa_lora_options q = {.rank = 3, .alpha = 5, .targets = {[QA_TARGET_Q] = true}};
    qa_fixture f = qa_fixture_of(config, &q, 2);
    qa_error err = {0};
    const qa_layer *layer = &f.model->layers[1];
    const qa_branch_place *place = qa_adapter_place(f.adapter, 1, QA_TARGET_Q);
    const size_t in = place->in, out = place->out;
    qa_bag bag = qa_bag_open(3);
    const qa_real *w = qa_bag_copy(&bag, layer->linear[QA_TARGET_Q].weight.real, in * out);
    const qa_real *k = qa_bag_copy(&bag, layer->linear[QA_TARGET_K].weight.real, in * out / 2);
    const qa_real *a = f.adapter->parameters + place->a, *b = f.adapter->parameters + place->b;
    qa_expect_ok(qa_model_merge(f.model, f.adapter, &err), &err);
    for (size_t o = 0; o < out; o++) {
        for (size_t i = 0; i < in; i++) {
            double sum = 0;
            for (size_t r = 0; r < 3; r++) {
                sum += (double)b[o * 3 + r] * (double)a[r * in + i];
            }
            const qa_real expected = (qa_real)((double)w[o * in + i] + 5.0 / 3.0 * sum);
            const double off = fabs((double)(layer->linear[QA_TARGET_Q].weight.real[o * in + i] - expected));
            ck_assert_msg(off <= 1e-15 || sizeof(qa_real) == 4, "%zu %zu: off by %g", o, i, off);
            ck_assert_msg(off <= 1.2e-7 * fabs((double)expected), "%zu %zu: off by %g", o, i, off);
        }
    }
    ck_assert_mem_eq(layer->linear[QA_TARGET_K].weight.real, k, in * out / 2 * sizeof *k);
    qa_bag_close(&bag);
    qa_fixture_close(&f);
    free(config);
}
END_TEST

START_TEST(what_is_refused) {
    char *llama = qa_family_tiny_config(0), *other = qa_family_tiny_config(2);
    qa_fixture f = qa_fixture_of(llama, &every_map, 1), g = qa_fixture_of(other, NULL, 1);
    qa_error err = {0};
    qa_model *bf16 = NULL;
    char before[QA_SHA256_HEX_BYTES];
    qa_expect_ok(qa_model_load_as(&bf16, f.context, f.dir, QA_WEIGHTS_BF16, &err), &err);
    strcpy(before, qa_model_fingerprint(bf16));
    qa_expect_error(qa_model_merge(bf16, f.adapter, &err), QA_ERR_UNSUPPORTED, &err,
                    "model.layers.0.self_attn.q_proj lies in memory in BF16");
    ck_assert_str_eq(qa_model_fingerprint(bf16), before);
    qa_expect_error(qa_model_merge(g.model, f.adapter, &err), QA_ERR_MISMATCH, &err, "of another model");
    for (size_t i = 0; i < f.adapter->count; i++) {
        f.adapter->parameters[i] *= (qa_real)(sizeof(qa_real) == 4 ? 1e20 : 1e160);
    }
    qa_expect_error(qa_model_merge(f.model, f.adapter, &err), QA_ERR_NAN, &err, "is too large");
    qa_model_free(bf16);
    qa_fixture_close(&f);
    qa_fixture_close(&g);
    free(llama);
    free(other);
}
END_TEST

Suite *model_merge_suite(void) {
    Suite *suite = suite_create("model/merge");
    TCase *tests = tcase_create("merge");
    tcase_add_loop_test(tests, every_family_is_its_adapted_stream, 0, QA_FAMILIES_THERE);
    tcase_add_test(tests, the_list_of_families_is_whole);
    tcase_add_loop_test(tests, forms_of_peft, 0, sizeof merge_forms / sizeof *merge_forms);
    tcase_add_test(tests, sums_are_in_double);
    tcase_add_test(tests, what_is_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
