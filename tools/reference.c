/* reference: one preference pair's way through the method, in numbers, from token ids to the adapter after one
 * optimiser step (src/reference; the labels are those of docs/equations.md).
 *
 *     reference [theory|published [DECIMALS]]
 *
 * Everything is printed as it is computed, after the stages of src/reference/step.h. The same numbers on every machine.
 */
#include "reference_example.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static int decimals = 4;

static void say(const char *label, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(const char *label, const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("\n%-16s ", label);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

/* What would be printed as 0 and is not has an exponent. */
static void number(double value) {
    if (value != 0.0 && fabs(value) < 5.0 * pow(0.1, decimals)) {
        printf(" %*.1e", decimals + 4, value);
    } else {
        printf(" %*.*f", decimals + 4, decimals, value == 0.0 ? 0.0 : value);
    }
}

static void numbers(size_t n, const double *values) {
    for (size_t i = 0; i < n; i++) {
        number(values[i]);
    }
    printf("\n");
}

/* Rows are named by `row` and their number from first on, columns by `column` and theirs; NULL: one column. */
static void matrix(const char *row, size_t first, size_t rows, const char *column, size_t columns,
                   const double *values) {
    if (column != NULL) {
        printf("%9s", "");
        for (size_t j = 0; j < columns; j++) {
            printf(" %*s%zu", decimals + 3, column, j);
        }
        printf("\n");
    }
    for (size_t i = 0; i < rows; i++) {
        printf("%6s%-3zu", row, first + i);
        numbers(columns, values + i * columns);
    }
}

static void headings(const char *const *names, size_t n) {
    printf("%9s", "");
    for (size_t j = 0; j < n; j++) {
        printf(" %*s", decimals + 4, names[j]);
    }
    printf("\n");
}

/* Values of equal length beside each other. */
static void columns(const char *row, size_t rows, const double *const *values, size_t n) {
    for (size_t i = 0; i < rows; i++) {
        printf("%6s%-3zu", row, i);
        for (size_t j = 0; j < n; j++) {
            number(values[j][i]);
        }
        printf("\n");
    }
}

static void show_side(const qa_ref_step *step, size_t r) {
    const qa_ref_row *row = &step->rows[r];
    printf("\n==== the %s response\n", r == QA_REF_CHOSEN ? "chosen" : "rejected");
    say("tokens", "prompt and response, by position; the response begins at position %zu, padding at %zu",
        row->response_start, row->length);
    for (size_t t = 0; t <= row->length; t++) {
        printf("%s%zu:%d", t == 0 ? "        " : "  ", t, (int)row->ids[t]);
    }
    say("transitions", "s: a state is a prefix, named by its last position; a: the token that it is continued with");
    for (size_t t = 0; t < row->n; t++) {
        const qa_ref_transition *move = &row->transitions[t];
        printf("     t=%zu  s=%zu  a=%d  ", t, move->state, (int)move->action);
        printf(move->value == QA_REF_NO_STATE ? "no value after it" : "less the value of s=%zu", move->value);
        printf(", weight c =");
        number(move->weight);
        printf("\n");
    }
}

static void show_forward(const qa_ref_step *step, qa_ref_stage stage, size_t r) {
    const qa_ref_row *row = &step->rows[r];
    const qa_ref_side *side = &step->side[r];
    const size_t V = step->model->V, d = step->model->d, S = row->last + 1 - row->first;
    if (stage == QA_REF_LOG_PI1) {
        show_side(step, r);
        say("base x", "hidden states of the base model after its layer, [token, width]");
        matrix("t=", 0, row->length, "", d, step->base->layers[0].hidden);
        say("z1", "logits of the base model at every state, z1 = rmsnorm(x) W_head^T");
        matrix("s=", row->first, S, "a=", V, side->z1);
        say("log pi1", "log softmax(z1): the frozen policy");
        matrix("s=", row->first, S, "a=", V, side->log_pi1);
    } else if (stage == QA_REF_LOGITS) {
        say("adapted x", "hidden states with the adapter: linear(x) = x W^T + s (x A^T) B^T");
        matrix("t=", 0, row->length, "", d, step->adapted[r]->layers[0].hidden);
        say("z", "logits with the adapter");
        matrix("s=", row->first, S, "a=", V, side->z);
    } else if (stage == QA_REF_RESIDUAL_Q) {
        say("Qhat", "%s: the residual Q-function", step->options.objective.residual ? "z - z1" : "z");
        matrix("s=", row->first, S, "a=", V, side->q);
    } else if (stage == QA_REF_VALUES) {
        say("(M5) Vhat", "at log sum_a exp( (Qhat + a0 log pi1) / at ): the value of every state");
        matrix("s=", row->first, S, NULL, 1, side->v);
        say("(M7) pitilde", "exp( (Qhat + a0 log pi1 - Vhat) / at ): the customised policy");
        matrix("s=", row->first, S, "a=", V, side->pi);
    } else if (stage == QA_REF_REWARDS) {
        const char *const names[] = {"r", "log pi"};
        const double *const values[] = {side->reward, side->log_pi};
        say("(M8) rewards", "r = Qhat(s,a) - gamma Vhat(s'); beside it the log of (M7) at the action");
        headings(names, 2);
        columns("t=", row->n, values, 2);
        say("(M9) return", "R = sum of c r");
        numbers(1, &side->ret);
    }
}

static void show_backward(const qa_ref_step *step, qa_ref_stage stage, size_t r) {
    const qa_ref_row *row = &step->rows[r];
    const qa_ref_side *side = &step->side[r];
    if (stage == QA_REF_LOSS) {
        const double preference[] = {step->z, 1.0 + row->pairs * step->slope};
        const double loss[] = {step->preference, step->loss_regulariser, step->preference + step->loss_regulariser};
        printf("\n==== loss, and back\n");
        say("(M9) preference", "z = R(chosen) - R(rejected), and P(chosen is preferred) = sigmoid(z)");
        numbers(2, preference);
        say("(M10) loss", "-log sigmoid(z), beta mean r^2, and their sum");
        numbers(3, loss);
    } else if (stage == QA_REF_VALUE_GRADIENT) {
        printf("\n---- the %s response\n", r == QA_REF_CHOSEN ? "chosen" : "rejected");
        say("(M11) dL/dr", "-+ c sigmoid(-z) / N + 2 beta r / N': of every transition's reward");
        matrix("t=", 0, row->n, NULL, 1, side->g);
        say("(M11) dL/dVhat", "-gamma dL/dr of the transitions that subtract the state's value");
        matrix("s=", row->first, row->last + 1 - row->first, NULL, 1, side->dv);
    } else if (stage == QA_REF_LOGIT_GRADIENT) {
        say("(M11) dL/dz", "dL/dr [a = a_t] + dL/dVhat pitilde: from here on, backpropagation into A and B");
        matrix("s=", row->first, row->last + 1 - row->first, "a=", step->model->V, side->dz);
    }
}

/* Of every tensor of the adapter: its parameters and what became of them. */
static void show_update(const qa_ref_step *step, const double *before) {
    static const char *const names[] = {"before", "dL/d", "m", "v", "update", "after"};
    const double *const all[] = {before, step->gradient, step->moment1, step->moment2, step->update, step->parameters};
    const qa_ref_linear *q = &step->model->layer->linear[QA_REF_Q], *v = &step->model->layer->linear[QA_REF_V];
    const struct {
        const char *name;
        size_t first, n;
    } tensors[] = {{"q.A", q->a, q->in}, {"q.B", q->b, q->out}, {"v.A", v->a, v->in}, {"v.B", v->b, v->out}};
    printf("\n==== the optimiser\n");
    say("gradient norm", "over the whole adapter; what is longer than %g is scaled to it", step->options.max_grad_norm);
    numbers(1, &step->norm);
    say("AdamW", "m and v: moments of the scaled gradient; after = before (1 - rate decay) - update, with");
    printf("%17supdate = rate m' / (sqrt(v') + 1e-8), m' = m / (1 - beta1), v' = v / (1 - beta2)\n", "");
    headings(names, sizeof names / sizeof names[0]);
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        const double *of[sizeof all / sizeof all[0]];
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++) {
            of[j] = all[j] + tensors[i].first;
        }
        columns(tensors[i].name, tensors[i].n, of, sizeof all / sizeof all[0]);
    }
}

static void show(void *user, qa_ref_step *step, qa_ref_stage stage, size_t row) {
    show_forward(step, stage, row);
    show_backward(step, stage, row);
    if (stage == QA_REF_STEPPED) {
        show_update(step, user);
    }
}

static void show_example(const reference_example *e) {
    const qa_ref_objective *o = &e->options.objective;
    printf(
        "One preference pair through the method (src/reference/step.c), objective %s.\n\n"
        "model     V = %zu tokens, d = %zu, one layer, %zu query heads and %zu key/value head of width %zu, MLP %zu\n"
        "adapter   LoRA of rank 1 on q_proj and v_proj, scale s = %g\n"
        "method    at = alpha_tilde = %g, a0 = alpha_0 = %g, gamma = %g, beta = %g, Qhat = %s\n"
        "AdamW     rate %g, beta1 %g, beta2 %g, decay %g\n",
        o->published ? "published" : "theory", e->model.V, e->model.d, e->model.H, e->model.G, e->model.h, e->model.f,
        e->layer.linear[QA_REF_Q].scale, o->alpha_tilde, o->alpha_0, o->gamma, o->beta, o->residual ? "z - z1" : "z",
        e->options.learning_rate, e->options.adam_beta1, e->options.adam_beta2, e->options.weight_decay);
}

int main(int argc, char **argv) {
    reference_example example;
    qa_error err = {0};
    qa_ref_step *step = NULL;
    const bool published = argc > 1 && strcmp(argv[1], "published") == 0;
    decimals = argc > 2 ? atoi(argv[2]) : decimals;
    if ((argc > 1 && !published && strcmp(argv[1], "theory") != 0) || argc > 3 || decimals < 1 || decimals > 17) {
        fprintf(stderr, "usage: reference [theory|published [DECIMALS]]\n");
        return 2;
    }
    example_fill(&example, published);
    show_example(&example);
    const qa_ref_observer observer = {show, example.parameters};
    if (qa_ref_step_create(&step, &example.model, example.rows, 1, example.parameters, &example.options, observer,
                           &err) != QA_OK) {
        fprintf(stderr, "reference: %s\n", err.message);
        return 1;
    }
    qa_ref_begin(step);
    qa_ref_pair(step, 0, true);
    qa_ref_update(step);
    qa_ref_step_free(step);
    return 0;
}
