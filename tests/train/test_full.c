/* All weights of a copy of the base model, in the place of an adapter: gradients of every tensor by central
 * differences, the numbers of a LoRA adapter that was merged into such a copy, the step of TRL's trainers without PEFT,
 * decoding beside the base model and other adapters, runs that are resumed, and what is refused. */
#include "arch/families.h"
#include "arch/family.h"
#include "io/file.h"
#include "model/decode.h"
#include "model/merge.h"
#include "model/trainable.h"
#include "qadapter/infer.h"
#include "support/arrays.h"
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

Suite *train_full_suite(void) {
    Suite *suite = suite_create("train/full");
    TCase *tests = tcase_create("full");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, gradients_by_central_differences, 0, QA_FAMILIES_THERE);
    suite_add_tcase(suite, tests);
    return suite;
}
