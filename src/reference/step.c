/* See step.h. */
#include "reference/step.h"

#include "reference/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void observe(qa_ref_step *step, qa_ref_stage stage, size_t row) {
    if (step->observer.after != NULL) {
        step->observer.after(step->observer.user, step, stage, row);
    }
}

/* ---- one pair ---- */

static void row_forward(qa_ref_step *step, size_t r) {
    const qa_ref_row *row = &step->rows[r];
    const qa_ref_objective *objective = &step->options.objective;
    const size_t V = step->model->V, S = row->last + 1 - row->first;
    qa_ref_side *side = &step->side[r % QA_REF_SIDES];
    qa_ref_net *adapted = step->adapted[r % QA_REF_SIDES];
    qa_ref_net_forward(step->base, row->ids, row->last + 1, NULL);
    qa_ref_net_logits(step->base, row->first, S, side->z1);
    for (size_t k = 0; k < S; k++) {
        qa_ref_log_softmax(side->log_pi1 + k * V, side->z1 + k * V, V);
    }
    observe(step, QA_REF_LOG_PI1, r);
    qa_ref_net_forward(adapted, row->ids, row->last + 1, step->parameters);
    qa_ref_net_logits(adapted, row->first, S, side->z);
    observe(step, QA_REF_LOGITS, r);
    qa_ref_residual_q(side, S, V, objective);
    observe(step, QA_REF_RESIDUAL_Q, r);
    qa_ref_values(side, S, V, objective);
    observe(step, QA_REF_VALUES, r);
    qa_ref_rewards(side, row, V, objective);
    observe(step, QA_REF_REWARDS, r);
}

/* slope: dL/dR of this side. */
static void row_backward(qa_ref_step *step, size_t r, double slope) {
    const qa_ref_row *row = &step->rows[r];
    qa_ref_side *side = &step->side[r % QA_REF_SIDES];
    qa_ref_reward_gradient(side, row, slope, &step->options.objective);
    qa_ref_value_gradient(side, row, &step->options.objective);
    observe(step, QA_REF_VALUE_GRADIENT, r);
    qa_ref_logit_gradient(side, row, step->model->V);
    observe(step, QA_REF_LOGIT_GRADIENT, r);
    qa_ref_net_backward(step->adapted[r % QA_REF_SIDES], step->gradient, row->first, row->last + 1 - row->first,
                        side->dz);
    observe(step, QA_REF_MODEL_GRADIENT, r);
}

void qa_ref_pair(qa_ref_step *step, size_t pair, bool backward) {
    const size_t chosen = pair * QA_REF_SIDES + QA_REF_CHOSEN, rejected = pair * QA_REF_SIDES + QA_REF_REJECTED;
    row_forward(step, chosen);
    row_forward(step, rejected);
    step->z = step->side[QA_REF_CHOSEN].ret - step->side[QA_REF_REJECTED].ret;
    step->preference = qa_ref_preference_loss(&step->slope, step->z, step->rows[chosen].pairs);
    for (size_t s = 0; s < QA_REF_SIDES; s++) {
        step->loss_regulariser += qa_ref_regulariser(&step->side[s], &step->rows[chosen + s], &step->options.objective);
    }
    observe(step, QA_REF_LOSS, chosen);
    step->loss_preference += step->preference;
    if (backward) {
        row_backward(step, chosen, step->slope);
        row_backward(step, rejected, -step->slope);
    }
}

/* ---- one optimiser step ---- */

void qa_ref_begin(qa_ref_step *step) {
    step->loss_preference = step->loss_regulariser = 0.0;
    memset(step->gradient, 0, step->model->n_parameters * sizeof *step->gradient);
}

/* AdamW with decoupled decay, of the gradient clipped to its largest norm. */
void qa_ref_update(qa_ref_step *step) {
    const qa_ref_options *o = &step->options;
    double sum = 0.0;
    for (size_t i = 0; i < step->model->n_parameters; i++) {
        sum += step->gradient[i] * step->gradient[i];
    }
    step->norm = sqrt(sum);
    const double factor = o->max_grad_norm / (step->norm + 1e-6);
    const double clip = o->max_grad_norm > 0.0 && factor < 1.0 ? factor : 1.0;
    step->beta1_power *= o->adam_beta1;
    step->beta2_power *= o->adam_beta2;
    for (size_t i = 0; i < step->model->n_parameters; i++) {
        const double g = clip * step->gradient[i];
        step->moment1[i] = o->adam_beta1 * step->moment1[i] + (1.0 - o->adam_beta1) * g;
        step->moment2[i] = o->adam_beta2 * step->moment2[i] + (1.0 - o->adam_beta2) * g * g;
        const double m = step->moment1[i] / (1.0 - step->beta1_power), v = step->moment2[i] / (1.0 - step->beta2_power);
        step->update[i] = o->learning_rate * m / (sqrt(v) + o->adam_epsilon);
    }
    observe(step, QA_REF_UPDATE, 0);
    for (size_t i = 0; i < step->model->n_parameters; i++) {
        step->parameters[i] -= o->learning_rate * o->weight_decay * step->parameters[i];
        step->parameters[i] -= step->update[i];
    }
    observe(step, QA_REF_STEPPED, 0);
}

/* ---- before the first ---- */

static size_t longest_of(const qa_ref_row *rows, size_t begin, size_t end) {
    size_t longest = 0;
    for (size_t r = begin; r < end; r++) {
        longest = rows[r].length > longest ? rows[r].length : longest;
    }
    return longest;
}

static void lay_out_rows(qa_ref_step *step) {
    const size_t micro_rows = step->options.micro_batch * QA_REF_SIDES, n = step->pairs * QA_REF_SIDES;
    qa_ref_transition *next = step->transitions;
    for (size_t r = 0; r < n; r++) {
        qa_ref_row *row = &step->rows[r];
        const size_t begin = r / micro_rows * micro_rows;
        row->padded = longest_of(step->rows, begin, n - begin < micro_rows ? n : begin + micro_rows);
        row->transitions = next;
        next += row->length + 1;
        qa_ref_list_transitions(row, &step->options.objective);
        observe(step, QA_REF_TRANSITIONS, r);
        qa_ref_weigh_transitions(row, &step->options.objective);
        observe(step, QA_REF_WEIGHTS, r);
    }
    qa_ref_set_divisors(step->rows, step->pairs, step->options.micro_batch, &step->options.objective);
}

static void allocate_step(qa_ref_step *step, size_t states) {
    const size_t V = step->model->V, n = step->model->n_parameters;
    for (size_t s = 0; s < QA_REF_SIDES; s++) {
        qa_ref_side *side = &step->side[s];
        double **const of_words[] = {&side->z1, &side->z, &side->log_pi1, &side->q, &side->pi, &side->dz};
        double **const of_states[] = {&side->v, &side->dv, &side->reward, &side->log_pi, &side->g};
        for (size_t i = 0; i < sizeof of_words / sizeof of_words[0]; i++) {
            *of_words[i] = qa_ref_numbers(&step->memory, states * V);
        }
        for (size_t i = 0; i < sizeof of_states / sizeof of_states[0]; i++) {
            *of_states[i] = qa_ref_numbers(&step->memory, states + 1);
        }
    }
    double **const of_parameters[] = {&step->parameters, &step->gradient, &step->moment1, &step->moment2,
                                      &step->update};
    for (size_t i = 0; i < sizeof of_parameters / sizeof of_parameters[0]; i++) {
        *of_parameters[i] = qa_ref_numbers(&step->memory, n);
    }
}

static qa_status create_nets(qa_ref_step *step, qa_error *err) {
    size_t tokens = 0;
    for (size_t r = 0; r < step->pairs * QA_REF_SIDES; r++) {
        tokens = step->rows[r].last + 1 > tokens ? step->rows[r].last + 1 : tokens;
    }
    qa_status status = qa_ref_net_create(&step->base, step->model, tokens, err);
    for (size_t s = 0; status == QA_OK && s < QA_REF_SIDES; s++) {
        status = qa_ref_net_create(&step->adapted[s], step->model, tokens, err);
    }
    if (status == QA_OK) {
        allocate_step(step, tokens);
    }
    return status == QA_OK && step->memory.failed
               ? qa_fail(err, QA_ERR_MEMORY, "out of memory for the reference step's rows of %zu tokens", tokens)
               : status;
}

qa_status qa_ref_step_create(qa_ref_step **out, const qa_ref_model *model, qa_ref_row *rows, size_t pairs,
                             const double *parameters, const qa_ref_options *options, qa_ref_observer observer,
                             qa_error *err) {
    size_t tokens = 0;
    *out = NULL;
    for (size_t r = 0; r < pairs * QA_REF_SIDES; r++) {
        tokens += rows[r].length + 1;
    }
    qa_ref_step *step = calloc(1, sizeof *step);
    qa_ref_transition *transitions = calloc(tokens, sizeof *transitions);
    if (step == NULL || transitions == NULL) {
        free(step);
        free(transitions);
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for the reference step");
    }
    *step = (qa_ref_step){.model = model,
                          .options = *options,
                          .observer = observer,
                          .rows = rows,
                          .pairs = pairs,
                          .transitions = transitions,
                          .beta1_power = 1.0,
                          .beta2_power = 1.0};
    lay_out_rows(step);
    const qa_status status = create_nets(step, err);
    if (status != QA_OK) {
        qa_ref_step_free(step);
        return status;
    }
    memcpy(step->parameters, parameters, model->n_parameters * sizeof *parameters);
    observe(step, QA_REF_READY, 0);
    *out = step;
    return QA_OK;
}

void qa_ref_step_free(qa_ref_step *step) {
    if (step != NULL) {
        qa_ref_net_free(step->base);
        for (size_t s = 0; s < QA_REF_SIDES; s++) {
            qa_ref_net_free(step->adapted[s]);
        }
        qa_ref_memory_free(&step->memory);
        free(step->transitions);
        free(step);
    }
}
