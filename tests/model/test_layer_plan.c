/* What every family's list has to be, so that it can be walked in both directions with a register a name: and that the
 * plan finds what backward needs of Llama's. */
#include "arch/families.h"
#include "model/layer_plan.h"

#include <check.h>

Suite *model_layer_plan_suite(void);

static qa_model model_of(const qa_family *family) {
    qa_model model = {.config = {.family = family,
                                 .layer = family->layer,
                                 .hidden_size = 16,
                                 .intermediate_size = 20,
                                 .num_hidden_layers = 2,
                                 .num_attention_heads = 4,
                                 .num_key_value_heads = 2,
                                 .head_dim = 6,
                                 .vocab_size = 31,
                                 .max_position_embeddings = 64}};
    qa_config_set_plain(&model.config);
    model.config.layer = family->layer;
    return model;
}

/* The gradients of X, MID and OUT are one array. Backward goes through the list in reverse, so whatever reads X by a
 * norm or a map must stand in front of what writes MID: else its part would be there already when MID's is taken. */
START_TEST(a_family_can_be_walked) {
    for (size_t f = 0; qa_family_at(f) != NULL; f++) {
        const qa_family *family = qa_family_at(f);
        const qa_model model = model_of(family);
        qa_layer_plan plan;
        qa_layer_plan_make(&plan, &model);
        ck_assert_uint_le(plan.n, QA_MAX_OPERATIONS);
        size_t written[QA_ROWS] = {0}, norms[QA_NORMS] = {0}, attentions = 0;
        for (size_t k = 0; k < plan.n; k++) {
            const qa_operation *op = &plan.operations[k];
            const bool reads = op->kind == QA_OP_NORM || op->kind == QA_OP_MAP;
            ck_assert_msg(!(reads && op->in == QA_ROWS_X && written[QA_ROWS_MID] > 0), "%s: operation %zu reads x",
                          family->model_type, k);
            ck_assert_msg(!(reads && op->in == QA_ROWS_MID && written[QA_ROWS_OUT] > 0), "%s: operation %zu reads mid",
                          family->model_type, k);
            attentions += op->kind == QA_OP_ATTENTION ? 1 : 0;
            if (op->kind == QA_OP_NORM) {
                ck_assert_msg(norms[op->which]++ == 0, "%s: norm %u twice", family->model_type, op->which);
            }
            const bool in_place = op->out == op->in || (op->kind == QA_OP_ADD && op->out == op->in2);
            written[op->out] += in_place ? 0 : 1;
        }
        ck_assert_uint_eq(attentions, 1);
        ck_assert_int_eq(plan.operations[plan.n - 1].out, QA_ROWS_OUT);
        for (size_t i = 0; i < QA_ROWS; i++) { /* what is kept is what was written last */
            ck_assert_msg(!plan.kept[i] || written[i] <= 1, "%s: rows %zu are kept and written %zu times",
                          family->model_type, i, written[i]);
        }
    }
}
END_TEST

START_TEST(llama_keeps_what_it_did) {
    const qa_model model = model_of(qa_family_by_model_type("llama"));
    static const qa_rows_name kept[] = {QA_ROWS_X, QA_ROWS_MID,       QA_ROWS_Q,    QA_ROWS_K,
                                        QA_ROWS_V, QA_ROWS_ATTENTION, QA_ROWS_GATE, QA_ROWS_UP};
    size_t n = 0;
    qa_layer_plan plan;
    qa_layer_plan_make(&plan, &model);
    for (size_t i = 0; i < QA_ROWS; i++) {
        n += plan.kept[i] ? 1 : 0;
    }
    ck_assert_uint_eq(n, sizeof kept / sizeof *kept);
    for (size_t i = 0; i < n; i++) {
        ck_assert(plan.kept[kept[i]]);
    }
    ck_assert_int_eq(plan.again[plan.n - 1], QA_AGAIN_SKIP);   /* OUT = MID + OUT */
    ck_assert_int_eq(plan.again[plan.n - 2], QA_AGAIN_HIDDEN); /* down_proj */
    ck_assert_int_eq(plan.again[plan.n - 3], QA_AGAIN_SKIP);   /* what it reads: made for its branch */
    ck_assert_int_eq(plan.again[plan.n - 4], QA_AGAIN_RUN);    /* up_proj */
}
END_TEST

Suite *model_layer_plan_suite(void) {
    Suite *suite = suite_create("model/layer_plan");
    TCase *tcase = tcase_create("layer_plan");
    tcase_add_test(tcase, a_family_can_be_walked);
    tcase_add_test(tcase, llama_keeps_what_it_did);
    suite_add_tcase(suite, tcase);
    return suite;
}
