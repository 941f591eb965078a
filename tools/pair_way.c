/* Which functions one training pair runs through: forward pass, loss and backward pass of one pair under a model and a
 * fresh adapter on all its linear maps, in one thread. For tools/pair-way: built with -finstrument-functions, it prints
 * the address of every function that was entered, in the order of the first time.
 *
 *     pair_way MODEL */
#include "base/context.h"
#include "base/try.h"
#include "qadapter/model.h"
#include "train/pair_step.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST = 4096, PROMPT = 24, CHOSEN = 20, REJECTED = 16 };

static void *entered[MOST];
static size_t n_entered;
static bool recording;

#define NOT_RECORDED __attribute__((no_instrument_function))
void __cyg_profile_func_enter(void *function, void *site) NOT_RECORDED;
void __cyg_profile_func_exit(void *function, void *site) NOT_RECORDED;

void __cyg_profile_func_enter(void *function, void *site) {
    (void)site;
    size_t i = 0;
    while (recording && i < n_entered && entered[i] != function) {
        i++;
    }
    if (recording && i == n_entered && i < MOST) {
        entered[n_entered++] = function;
    }
}

void __cyg_profile_func_exit(void *function, void *site) {
    (void)function;
    (void)site;
}

NOT_RECORDED static qa_status run_pair(qa_pair_step *step, qa_real *gradient, qa_error *err) {
    int32_t ids[PROMPT + CHOSEN + REJECTED];
    for (size_t i = 0; i < PROMPT + CHOSEN + REJECTED; i++) {
        ids[i] = (int32_t)(3 + i);
    }
    const qa_pair pair = {.prompt = ids,
                          .chosen = ids + PROMPT,
                          .rejected = ids + PROMPT + CHOSEN,
                          .prompt_len = PROMPT,
                          .chosen_len = CHOSEN,
                          .rejected_len = REJECTED,
                          .chosen_terminal = true,
                          .label_start = PROMPT};
    const qa_divisors divisors = {.pairs = 1, .counted = CHOSEN + REJECTED, .padded_length = PROMPT + CHOSEN};
    recording = true;
    const qa_status status =
        qa_pair_step_forward(step, &pair, &(qa_pair_visit){.padded_length = divisors.padded_length}, err);
    if (status == QA_OK) {
        (void)qa_pair_step_loss(step, &divisors);
        qa_pair_step_backward(step, gradient, &divisors);
    }
    recording = false;
    return status;
}

static qa_status run(const char *dir, qa_error *err) {
    const qa_pair_limits limits = {.max_prompt = PROMPT, .max_response = CHOSEN, .backward = true};
    qa_context *context = NULL;
    qa_model *model = NULL;
    qa_adapter *adapter = NULL;
    qa_pair_step *step = NULL;
    qa_real *gradient = NULL;
    qa_lora_options lora = {.rank = 4, .alpha = 8};
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        lora.targets[t] = true;
    }
    const qa_objective objective = qa_objective_for_method(QA_METHOD_QADAPTER);
    qa_status status = QA_OK;
    QA_GOTO(done, qa_context_create(&context, 1, (qa_logger){0}, err));
    QA_GOTO(done, qa_model_load(&model, context, dir, err));
    QA_GOTO(done, qa_adapter_create(&adapter, model, &lora, 1, err));
    QA_GOTO(done, qa_pair_step_create(&step, model, adapter, &objective, limits, err));
    gradient = calloc(adapter->count, sizeof *gradient);
    if (gradient == NULL) {
        status = qa_fail(err, QA_ERR_MEMORY, "out of memory for a gradient");
        goto done;
    }
    status = run_pair(step, gradient, err);
done:
    free(gradient);
    qa_pair_step_free(step);
    qa_adapter_free(adapter);
    qa_model_free(model);
    qa_context_free(context);
    return status;
}

int main(int argc, char **argv) {
    qa_error err = {0};
    if (argc != 2 || run(argv[1], &err) != QA_OK) {
        fprintf(stderr, "pair_way: %s\n", argc == 2 ? err.message : "one argument: the folder of a model");
        return argc == 2 ? 1 : 2;
    }
    for (size_t i = 0; i < n_entered; i++) {
        printf("%p\n", entered[i]);
    }
    return 0;
}
