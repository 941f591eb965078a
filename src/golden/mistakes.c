/* See mistakes.h. A mistake is a table entry: on which bundles it can be made, and what it makes of the inputs or of
 * what the reference has computed at some stage. */
#include "golden/mistakes.h"

#include "reference/math.h"

#include <math.h>
#include <string.h>

/* ---- in the inputs ---- */

static void one_more_bos(const qa_golden_moment *at) {
    for (size_t r = 0; r < at->setup->pairs * QA_REF_SIDES; r++) {
        qa_ref_row *row = &at->setup->rows[r];
        memmove(row->ids + 1, row->ids, (row->length + 1) * sizeof *row->ids);
        row->ids[0] = at->setup->bos_id;
        row->length++;
        row->response_start++;
    }
}

static void exchange_sides(const qa_golden_moment *at) {
    for (size_t pair = 0; pair < at->setup->pairs; pair++) {
        qa_ref_row *sides = &at->setup->rows[pair * QA_REF_SIDES];
        const qa_ref_row chosen = sides[QA_REF_CHOSEN];
        sides[QA_REF_CHOSEN] = sides[QA_REF_REJECTED];
        sides[QA_REF_REJECTED] = chosen;
    }
}

static void all_terminal(const qa_golden_moment *at) {
    for (size_t r = 0; r < at->setup->pairs * QA_REF_SIDES; r++) {
        at->setup->rows[r].terminal = true;
    }
}

static void interleave_rope(const qa_golden_moment *at) {
    at->setup->model.stride = 2;
    at->setup->model.distance = 1;
}

enum { SCALE_0, SCALE_ALPHA, SCALE_OTHER_ROOT };

static void other_scale(const qa_golden_moment *at) {
    const qa_lora_options *lora = &at->setup->adapter->options;
    const double rank = (double)lora->rank;
    const double scales[] = {0.0, lora->alpha, lora->alpha / (lora->use_rslora ? rank : sqrt(rank))};
    for (size_t i = 0; i < at->setup->model.layers * QA_REF_LINEARS; i++) {
        at->setup->layers[i / QA_REF_LINEARS].linear[i % QA_REF_LINEARS].scale = scales[(int)at->number];
    }
}

/* A[rank x n] and B[n x rank] become B^T and A^T, and back. */
static void exchange_transposed(double *A, double *B, size_t n, size_t rank) {
    for (size_t r = 0; r < rank; r++) {
        for (size_t i = 0; i < n; i++) {
            const double a = A[r * n + i];
            A[r * n + i] = B[i * rank + r];
            B[i * rank + r] = a;
        }
    }
}

static void exchange_lora(const qa_golden_moment *at) {
    for (size_t i = 0; i < at->setup->model.layers * QA_REF_LINEARS; i++) {
        const qa_ref_linear *linear = &at->setup->layers[i / QA_REF_LINEARS].linear[i % QA_REF_LINEARS];
        if (linear->in == linear->out) {
            exchange_transposed(at->setup->parameters + linear->a, at->setup->parameters + linear->b, linear->in,
                                linear->rank);
        }
    }
}

/* The gradients and stepped tensors that belong to that; every B stands behind its A. */
static void exchange_lora_tensors(qa_golden_set *set) {
    for (size_t i = 0; i + 1 < set->n; i++) {
        const qa_golden_tensor *A = &set->tensors[i], *B = &set->tensors[i + 1];
        if (strstr(A->name, ".lora_A") != NULL && A->shape[1] == B->shape[0]) {
            exchange_transposed(A->values, B->values, A->shape[1], A->shape[0]);
        }
    }
}

/* lora_A <-> lora_B in the names of gradients and stepped tensors. */
static void exchange_names(qa_golden_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        char *at = strstr(set->tensors[i].name, ".lora_");
        if (at != NULL) {
            at[6] = at[6] == 'A' ? 'B' : 'A';
        }
    }
}

static void other_parametrisation(const qa_golden_moment *at) {
    at->setup->options.objective.residual = !at->setup->options.objective.residual;
}

static void more_decay(const qa_golden_moment *at) { at->setup->options.weight_decay += at->number; }
static void scale_rate(const qa_golden_moment *at) { at->setup->options.learning_rate *= at->number; }
static void no_clipping(const qa_golden_moment *at) { at->setup->options.max_grad_norm = at->number; }

/* ---- in what a layer computes ---- */

/* The model's list of operations, to be changed. */
static qa_operation *own_operations(qa_golden_setup *setup) {
    const qa_operation_list *list = &setup->model.operations;
    memcpy(setup->operations, list->operations, list->n * sizeof *setup->operations);
    setup->model.operations.operations = setup->operations;
    return setup->operations;
}

static qa_rows_name renamed(qa_rows_name rows, qa_rows_name from, qa_rows_name to) { return rows == from ? to : rows; }

static void exchange_rows(qa_operation *op, qa_rows_name a, qa_rows_name b) {
    qa_rows_name *const names[] = {&op->out, &op->in, &op->in2, &op->in3};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *names[i] = *names[i] == a ? b : renamed(*names[i], b, a);
    }
}

static bool is_head_norm(const qa_operation *op) {
    return op->kind == QA_OP_NORM && (op->which == QA_NORM_Q || op->which == QA_NORM_K);
}

static void no_head_norms(const qa_golden_moment *at) {
    qa_operation *operations = own_operations(at->setup);
    size_t n = 0;
    for (size_t k = 0; k < at->setup->model.operations.n; k++) {
        if (is_head_norm(&operations[k])) { /* what reads its output reads its input */
            for (size_t i = k + 1; i < at->setup->model.operations.n; i++) {
                exchange_rows(&operations[i], operations[k].out, operations[k].in);
            }
        } else {
            operations[n++] = operations[k];
        }
    }
    at->setup->model.operations.n = n;
}

/* norm q, norm k, turn q, turn k: the other way round. */
static void head_norms_behind_rope(const qa_golden_moment *at) {
    qa_operation *operations = own_operations(at->setup);
    for (size_t k = 0; k + 3 < at->setup->model.operations.n; k++) {
        if (is_head_norm(&operations[k]) && is_head_norm(&operations[k + 1]) && operations[k + 2].kind == QA_OP_ROPE) {
            operations[k + 2] = operations[k];
            operations[k + 3] = operations[k + 1];
            operations[k] = (qa_operation)QA_ROPE_ROWS(operations[k + 2].in);
            operations[k + 1] = (qa_operation)QA_ROPE_ROWS(operations[k + 3].in);
            return;
        }
    }
}

/* stream + norm(branch) becomes norm(stream + branch). */
static void norms_of_sums(const qa_golden_moment *at) {
    qa_operation *operations = own_operations(at->setup);
    for (size_t k = 0; k + 1 < at->setup->model.operations.n; k++) {
        qa_operation *norm = &operations[k], *add = &operations[k + 1];
        if (norm->kind == QA_OP_NORM && add->kind == QA_OP_ADD && add->in2 == norm->out) {
            const qa_operation behind = *norm;
            *norm = (qa_operation)QA_ADD_ROWS(behind.in, add->in, behind.in);
            *add = behind;
        }
    }
}

static void plain_norm_weights(const qa_golden_moment *at) { at->setup->model.norm_offset = 0.0; }

enum { ONE_MORE, ONE_LESS, NO_WINDOW, OTHER_THETA };

static void other_windows(const qa_golden_moment *at) {
    for (size_t l = 0; l < at->setup->model.layers; l++) {
        qa_ref_layer *layer = &at->setup->layers[l];
        const size_t window = layer->window;
        const size_t windows[] = {window + 1, window - 1, 0, window};
        if (window > 0) {
            layer->window = windows[(int)at->number];
            layer->rope = at->number == OTHER_THETA && layer->rope < QA_REF_ROPES ? 0 : layer->rope;
        }
    }
}

/* number: the rows that take the place of the next ones. */
static void exchange_fused(const qa_golden_moment *at) {
    qa_operation *operations = own_operations(at->setup);
    bool split = false;
    for (size_t k = 0; k < at->setup->model.operations.n; k++) {
        if (split) {
            exchange_rows(&operations[k], (qa_rows_name)at->number, (qa_rows_name)at->number + 1);
        }
        split = split || operations[k].kind == QA_OP_SPLIT;
    }
}

/* ---- in the transitions, the return and the means ---- */

enum { LATE, EARLY, BY_STATE_TOKEN, PADDING, PADDING_AND_VALUE, NO_PADDING, OTHER_VALUE };

static void drop_first(qa_ref_row *row) {
    if (row->n > 0) {
        memmove(row->transitions, row->transitions + 1, --row->n * sizeof *row->transitions);
    }
}

/* The transition that ends where the first one starts. */
static void add_before(qa_ref_row *row, bool published) {
    if (published || row->response_start >= 2) {
        const size_t state = row->response_start - (published ? 1 : 2);
        memmove(row->transitions + 1, row->transitions, row->n++ * sizeof *row->transitions);
        row->transitions[0] =
            (qa_ref_transition){.state = state, .value = published ? state : state + 1, .action = row->ids[state + 1]};
    }
}

static void add_padding(qa_ref_row *row, bool with_value) {
    if (row->length < row->padded) {
        row->transitions[row->n++] = (qa_ref_transition){.state = row->length - 1,
                                                         .value = with_value ? row->length : QA_REF_NO_STATE,
                                                         .action = row->ids[row->length]};
    }
}

static void other_transitions(const qa_golden_moment *at) {
    qa_ref_row *row = &at->step->rows[at->row];
    const bool published = at->step->options.objective.published;
    row->first = row->response_start >= 2 ? row->response_start - 2 : 0; /* states that are needed now */
    row->last = row->length;
    switch ((int)at->number) {
    case LATE: drop_first(row); break;
    case EARLY: add_before(row, published); break;
    case BY_STATE_TOKEN:
        drop_first(row);
        add_padding(row, !row->terminal);
        break;
    case PADDING: add_padding(row, false); break;
    case PADDING_AND_VALUE: add_padding(row, true); break;
    case NO_PADDING: row->n -= row->n > 0 && row->transitions[row->n - 1].state + 1 == row->length ? 1 : 0; break;
    default: /* OTHER_VALUE */
        for (size_t t = 0; t < row->n; t++) {
            row->transitions[t].value = row->transitions[t].state + (published ? 1 : 0);
        }
    }
}

enum { BY_PADDED_1, BY_PADDED, BY_OWN_1, BY_COUNT, BY_NOTHING, GAMMA_FROM_1, GAMMA_FROM_PROMPT, GAMMA_FROM_STATE };

static void other_weights(const qa_golden_moment *at) {
    const qa_ref_row *row = &at->step->rows[at->row];
    const qa_ref_objective *o = &at->step->options.objective;
    const double padded_1 = (double)(row->padded - 1), n = (double)row->n;
    const double right = o->published ? padded_1 : o->length_normalisation ? n : 1.0;
    const double divisors[] = {padded_1, (double)row->padded, (double)(row->length - 1), n, 1.0};
    const size_t powers[] = {1, row->response_start, row->response_start - 1};
    const double factor = at->number < GAMMA_FROM_1 ? right / divisors[(int)at->number] : 1.0;
    for (size_t t = 0; t < row->n; t++) {
        row->transitions[t].weight *= factor;
        for (size_t p = 0; at->number >= GAMMA_FROM_1 && p < powers[(int)at->number - GAMMA_FROM_1]; p++) {
            row->transitions[t].weight *= o->gamma;
        }
    }
}

typedef enum wrong_means { OF_PAIRS, OF_RESPONSES, OF_STEP, SUM_OF_PAIRS, SUMS } wrong_means;

static void other_means(const qa_golden_moment *at) {
    double counted = 0.0;
    for (size_t r = 0; r < at->step->pairs * QA_REF_SIDES; r++) {
        counted += (double)at->step->rows[r].n;
    }
    for (size_t r = 0; r < at->step->pairs * QA_REF_SIDES; r++) {
        qa_ref_row *row = &at->step->rows[r], *chosen = &at->step->rows[r / QA_REF_SIDES * QA_REF_SIDES];
        const double pairs = row->pairs;
        switch ((wrong_means)at->number) {
        case OF_PAIRS: row->counted = pairs * (double)(chosen[QA_REF_CHOSEN].n + chosen[QA_REF_REJECTED].n); break;
        case OF_RESPONSES: row->counted = pairs * QA_REF_SIDES * (double)row->n; break;
        case OF_STEP:
            row->pairs = (double)at->step->pairs;
            row->counted = counted;
            break;
        case SUM_OF_PAIRS: row->pairs = 1.0; break;
        case SUMS: row->pairs = row->counted = 1.0;
        }
    }
}

/* ---- in the model and the equations ---- */

static qa_ref_side *side_of(const qa_golden_moment *at) { return &at->step->side[at->row % QA_REF_SIDES]; }

static size_t states_of(const qa_golden_moment *at) {
    return at->step->rows[at->row].last + 1 - at->step->rows[at->row].first;
}

static void raw_log_pi1(const qa_golden_moment *at) {
    const qa_ref_side *side = side_of(at);
    memcpy(side->log_pi1, side->z1, states_of(at) * at->step->model->V * sizeof *side->z1);
}

/* log pi1 itself, which has been written down by then, is right. number 1: the logits go into the value alone. */
static void alpha_0_on_logits(const qa_golden_moment *at) {
    const size_t V = at->step->model->V;
    if (at->stage == QA_REF_RESIDUAL_Q) {
        raw_log_pi1(at);
    }
    for (size_t k = 0; at->stage == QA_REF_VALUES && at->number == 1.0 && k < states_of(at); k++) {
        qa_ref_log_softmax(side_of(at)->log_pi1 + k * V, side_of(at)->z1 + k * V, V);
    }
}

/* Qhat = log softmax(z) [- log pi1], and back through it: dz -= softmax(z) sum of dz. */
static void q_of_log_softmax(const qa_golden_moment *at) {
    const size_t V = at->step->model->V;
    const bool residual = at->step->options.objective.residual;
    for (size_t k = 0; k < states_of(at); k++) {
        const double *z = side_of(at)->z + k * V, *log_pi1 = side_of(at)->log_pi1 + k * V;
        double *q = side_of(at)->q + k * V, *dz = side_of(at)->dz + k * V, sum = 0.0;
        for (size_t a = 0; a < V; a++) {
            sum += dz[a];
        }
        qa_ref_log_softmax(q, z, V);
        for (size_t a = 0; a < V; a++) {
            dz[a] -= at->stage == QA_REF_LOGIT_GRADIENT ? sum * qa_ref_exp(q[a]) : 0.0;
            q[a] -= residual ? log_pi1[a] : 0.0;
        }
    }
}

/* Both Vhat and dVhat/dQhat lack the factor. */
static void unscaled_value(const qa_golden_moment *at) {
    for (size_t k = 0; k < states_of(at); k++) {
        (at->stage == QA_REF_VALUES ? side_of(at)->v : side_of(at)->dv)[k] /= at->step->options.objective.alpha_tilde;
    }
}

static void detach_value(const qa_golden_moment *at) {
    memset(side_of(at)->dv, 0, states_of(at) * sizeof *side_of(at)->dv);
}

static void exchange_classes(const qa_golden_moment *at) {
    qa_ref_step *step = at->step;
    step->z = -step->z;
    step->preference = qa_ref_preference_loss(&step->slope, step->z, step->rows[at->row].pairs);
    step->slope = -step->slope;
}

static void single_precision_rope(const qa_golden_moment *at) {
    qa_ref_net *const nets[] = {at->step->base, at->step->adapted[QA_REF_CHOSEN], at->step->adapted[QA_REF_REJECTED]};
    const size_t half = at->step->model->rotary / 2;
    for (size_t n = 0; n < sizeof nets / sizeof nets[0] * QA_REF_ROPES; n++) {
        const qa_ref_net *net = nets[n / QA_REF_ROPES];
        double *cosine = net->cosine[n % QA_REF_ROPES], *sine = net->sine[n % QA_REF_ROPES];
        for (size_t i = 0; i < net->max_T * half; i++) {
            const float angle = (float)(i / half) * (float)net->frequency[n % QA_REF_ROPES][i % half];
            qa_ref_sin_cos((double)angle, &sine[i], &cosine[i]);
            sine[i] = (double)(float)sine[i];
            cosine[i] = (double)(float)cosine[i];
        }
    }
}

/* ---- in AdamW ---- */

static void falling_rate(const qa_golden_moment *at) {
    at->step->options.learning_rate -= at->setup->options.learning_rate / (double)at->setup->steps;
}

static void no_bias_correction(const qa_golden_moment *at) {
    at->step->beta1_power = at->step->beta2_power = at->number;
}

static void epsilon_inside(const qa_golden_moment *at) {
    qa_ref_step *step = at->step;
    const qa_ref_options *o = &step->options;
    for (size_t i = 0; i < step->model->n_parameters; i++) {
        const double m = step->moment1[i] / (1.0 - step->beta1_power), v = step->moment2[i] / (1.0 - step->beta2_power);
        step->update[i] = o->learning_rate * m / sqrt(v + o->adam_epsilon);
    }
}

/* ---- the table ---- */

/* What a trial needs of the bundle; where it makes nothing otherwise (powers of gamma = 1), it explains nothing. */
enum {
    THEORY = QA_TRIAL_ANY_FACTOR << 1,
    PUBLISHED = THEORY << 1,
    HAS_BOS = PUBLISHED << 1,
    HAS_EOS = HAS_BOS << 1,
    ONE_SCALE = HAS_EOS << 1, /* of all LoRA branches */
    HEAD_NORMS = ONE_SCALE << 1,
    BRANCH_NORMS = HEAD_NORMS << 1, /* behind a branch */
    NORM_OFFSET = BRANCH_NORMS << 1,
    WINDOW = NORM_OFFSET << 1,
    TWO_THETAS = WINDOW << 1,
    FUSED_QKV = TWO_THETAS << 1,
    FUSED_GATE_UP = FUSED_QKV << 1
};

#define AT(stage) (1u << (unsigned)(stage))

static const qa_golden_trial trials[] = {
    {QA_MISTAKE_BOS, "double-bos", HAS_BOS, AT(QA_GOLDEN_INPUTS), one_more_bos, 0.0,
     "every row starts with one more beginning-of-sequence token than it should (a template wrote one, and the "
     "tokenizer added another)"},
    {QA_MISTAKE_SIDES, "sides-exchanged", 0, AT(QA_GOLDEN_INPUTS), exchange_sides, 0.0,
     "the chosen and the rejected response are taken for each other from the start"},
    {QA_MISTAKE_ROPE, "rope-interleaved", 0, AT(QA_GOLDEN_INPUTS), interleave_rope, 0.0,
     "RoPE turns the interleaved components 2i and 2i+1, where Hugging Face weights need i and i + head_dim/2"},
    {QA_MISTAKE_LOG_SOFTMAX, "log-softmax-missing", 0, AT(QA_REF_LOG_PI1), raw_log_pi1, 0.0,
     "log pi1 is missing its log-softmax: it is the base model's raw logits"},
    {QA_MISTAKE_LORA_EXCHANGED, "lora-exchanged", 0, AT(QA_GOLDEN_INPUTS), exchange_lora, 0.0,
     "A and B of the LoRA branch are exchanged (A^T B^T is added where the linear map is square, not B A)"},
    {QA_MISTAKE_LORA_EXCHANGED, NULL, 0, 0, NULL, 0.0, "the tensors of A and B are stored under each other's name"},
    {QA_MISTAKE_LORA_SCALE, "lora-scale", ONE_SCALE, AT(QA_GOLDEN_INPUTS), other_scale, SCALE_ALPHA,
     "the LoRA branch is scaled by lora_alpha itself, not divided by the rank (or its root, with rslora)"},
    {QA_MISTAKE_LORA_RSLORA, "lora-rslora", ONE_SCALE, AT(QA_GOLDEN_INPUTS), other_scale, SCALE_OTHER_ROOT,
     "use_rslora is read wrongly: the LoRA branch is scaled by alpha / r where alpha / sqrt(r) is meant, or the other "
     "way round"},
    {QA_MISTAKE_LORA_OFF, "lora-off", 0, AT(QA_GOLDEN_INPUTS), other_scale, SCALE_0,
     "the adapter is not applied at all"},
    {QA_MISTAKE_PARAMETRISATION, "parametrisation", 0, AT(QA_GOLDEN_INPUTS), other_parametrisation, 0.0,
     "Q is taken in the other parametrisation (logits: z itself; residual: z minus the base model's logits)"},
    {QA_MISTAKE_ALPHA_0, "alpha-0-on-logits", 0, AT(QA_REF_RESIDUAL_Q) | AT(QA_REF_VALUES), alpha_0_on_logits, 0.0,
     "alpha_0 multiplies the base model's logits, not its log-probabilities"},
    {QA_MISTAKE_ALPHA_0, NULL, 0, AT(QA_REF_RESIDUAL_Q) | AT(QA_REF_VALUES), alpha_0_on_logits, 1.0,
     "alpha_0 multiplies the base model's logits, not its log-probabilities, in the value (but not in log pi)"},
    {QA_MISTAKE_VALUE_STATE, "value-state", THEORY, AT(QA_REF_TRANSITIONS), other_transitions, OTHER_VALUE,
     "the value is taken at the same state, r = Q(s,a) - gamma V(s), where theory subtracts the next state's"},
    {QA_MISTAKE_VALUE_STATE, NULL, PUBLISHED, AT(QA_REF_TRANSITIONS), other_transitions, OTHER_VALUE,
     "the value is taken at the next state, where the published objective subtracts the same state's"},
    {QA_MISTAKE_MASK, "mask-off-by-one", 0, AT(QA_REF_TRANSITIONS), other_transitions, LATE,
     "the response mask is off by one: the first transition that counts is left out"},
    {QA_MISTAKE_MASK, NULL, 0, AT(QA_REF_TRANSITIONS), other_transitions, EARLY,
     "the response mask is off by one: the transition before the first that counts is counted as well"},
    {QA_MISTAKE_MASK, NULL, THEORY | HAS_EOS, AT(QA_REF_TRANSITIONS), other_transitions, BY_STATE_TOKEN,
     "the response mask is off by one: it asks whether the state's last token belongs to the response, not whether the "
     "action does, so the first action is left out and one into padding counted"},
    {QA_MISTAKE_PAD, "pad-transition", THEORY | HAS_EOS, AT(QA_REF_TRANSITIONS), other_transitions, PADDING,
     "the transition into padding is counted in rows shorter than the longest (with no value after it)"},
    {QA_MISTAKE_PAD, NULL, THEORY | HAS_EOS, AT(QA_REF_TRANSITIONS), other_transitions, PADDING_AND_VALUE,
     "the transition into padding is counted in rows shorter than the longest (with the value after it)"},
    {QA_MISTAKE_PAD, NULL, PUBLISHED, AT(QA_REF_TRANSITIONS), other_transitions, NO_PADDING,
     "the transition into padding is left out, which the published objective counts"},
    {QA_MISTAKE_DIVISOR, "return-divisor", THEORY, AT(QA_REF_WEIGHTS), other_weights, BY_PADDED_1,
     "the return is divided by the padded length minus 1, which belongs to the published objective"},
    {QA_MISTAKE_DIVISOR, NULL, 0, AT(QA_REF_WEIGHTS), other_weights, BY_PADDED,
     "the return is divided by the padded length"},
    {QA_MISTAKE_DIVISOR, NULL, 0, AT(QA_REF_WEIGHTS), other_weights, BY_OWN_1,
     "the return is divided by the row's own length minus 1"},
    {QA_MISTAKE_DIVISOR, NULL, 0, AT(QA_REF_WEIGHTS), other_weights, BY_COUNT,
     "the return is divided by the number of counted transitions"},
    {QA_MISTAKE_DIVISOR, NULL, 0, AT(QA_REF_WEIGHTS), other_weights, BY_NOTHING,
     "the return is not divided by anything"},
    {QA_MISTAKE_GAMMA_POWERS, "gamma-powers", THEORY, AT(QA_REF_WEIGHTS), other_weights, GAMMA_FROM_1,
     "the powers of gamma start at 1 (c_t = gamma^(t+1)), not at 0"},
    {QA_MISTAKE_CLASSES, "classes-exchanged", 0, AT(QA_REF_LOSS), exchange_classes, -1.0,
     "the two classes are exchanged: the loss prefers the rejected response"},
    {QA_MISTAKE_CUT_OFF, "cut-off-is-terminal", THEORY, AT(QA_GOLDEN_INPUTS), all_terminal, 0.0,
     "a response that was cut off is taken for one that ended: its last reward subtracts no value"},
    {QA_MISTAKE_VALUE_SCALE, "outer-alpha-tilde", 0, AT(QA_REF_VALUES) | AT(QA_REF_VALUE_GRADIENT), unscaled_value, 0.0,
     "the value lacks the alpha_tilde in front of its logarithm: V = log sum exp(x / alpha_tilde)"},
    {QA_MISTAKE_Q_LOG_SOFTMAX, "q-log-softmax", 0, AT(QA_REF_RESIDUAL_Q) | AT(QA_REF_LOGIT_GRADIENT), q_of_log_softmax,
     0.0, "Q is made of the adapted model's log-probabilities, not of its logits"},
    {QA_MISTAKE_VALUE_STOPPED, "value-stop-gradient", 0, AT(QA_REF_VALUE_GRADIENT), detach_value, 0.0,
     "no gradient goes through the value (it is detached, as a target network's would be)"},
    {QA_MISTAKE_MEANS, "mean-of-means", 0, AT(QA_REF_READY), other_means, OF_PAIRS,
     "the regulariser is the mean of the pairs' own means, not one mean over all counted transitions"},
    {QA_MISTAKE_MEANS, NULL, 0, AT(QA_REF_READY), other_means, OF_RESPONSES,
     "the regulariser is the mean of the responses' own means, not one mean over all counted transitions"},
    {QA_MISTAKE_MEANS, NULL, PUBLISHED, AT(QA_REF_READY), other_means, OF_STEP,
     "the means are taken over the whole step, where the published objective averages the micro-batches' means"},
    {QA_MISTAKE_SUM, "sum-over-pairs", 0, AT(QA_REF_READY), other_means, SUM_OF_PAIRS,
     "the preference loss is summed over pairs, not averaged"},
    {QA_MISTAKE_SUM, NULL, 0, AT(QA_REF_READY), other_means, SUMS,
     "the preference loss is summed over pairs and the regulariser over transitions, neither is averaged"},
    {QA_MISTAKE_GAMMA_PROMPT, "gamma-from-prompt", THEORY, AT(QA_REF_WEIGHTS), other_weights, GAMMA_FROM_PROMPT,
     "the powers of gamma count from the prompt's start (c_t = gamma^(prompt tokens + t))"},
    {QA_MISTAKE_GAMMA_PROMPT, NULL, THEORY, AT(QA_REF_WEIGHTS), other_weights, GAMMA_FROM_STATE,
     "the powers of gamma count from the prompt's start (c_t = gamma^(prompt tokens - 1 + t))"},
    {QA_MISTAKE_WEIGHT_DECAY, "weight-decay", QA_TRIAL_IN_STEPS, AT(QA_GOLDEN_INPUTS), more_decay, 0.01,
     "the optimiser decays weights by 0.01 more than the bundle says (0.01 is the default of PyTorch's AdamW)"},
    {QA_MISTAKE_LEARNING_RATE, "learning-rate", QA_TRIAL_ANY_FACTOR | QA_TRIAL_IN_STEPS, AT(QA_GOLDEN_INPUTS),
     scale_rate, 1.0, "the learning rate is another one: all steps are longer or shorter by one factor"},
    {QA_MISTAKE_LEARNING_RATE, NULL, QA_TRIAL_IN_STEPS, AT(QA_REF_STEPPED), falling_rate, 0.0,
     "the learning rate falls linearly to 0, where it should stay the same"},
    {QA_MISTAKE_BIAS_CORRECTION, "bias-correction", QA_TRIAL_IN_STEPS, AT(QA_REF_READY), no_bias_correction, 0.0,
     "Adam's moments lack their bias correction"},
    {QA_MISTAKE_EPSILON, "epsilon-inside", QA_TRIAL_IN_STEPS, AT(QA_REF_UPDATE), epsilon_inside, 0.0,
     "Adam's epsilon is added inside the square root"},
    {QA_MISTAKE_CLIPPING, "clipping", QA_TRIAL_IN_STEPS, AT(QA_GOLDEN_INPUTS), no_clipping, 0.0,
     "gradients are not clipped to the largest norm"},
    {QA_MISTAKE_FLOAT32, "float32", 0, AT(QA_REF_READY), single_precision_rope, 0.0,
     "RoPE's tables are computed in single precision, as transformers does in every dtype"},
    {QA_MISTAKE_NORMS, "norms", NORM_OFFSET, AT(QA_GOLDEN_INPUTS), plain_norm_weights, 0.0,
     "norms multiply by w, where this family's weights are to be read as 1 + w"},
    {QA_MISTAKE_NORMS, NULL, HEAD_NORMS, AT(QA_GOLDEN_INPUTS), no_head_norms, 0.0,
     "the norms of q and k (q_norm, k_norm) are left out"},
    {QA_MISTAKE_NORMS, NULL, HEAD_NORMS, AT(QA_GOLDEN_INPUTS), head_norms_behind_rope, 0.0,
     "q and k are normed behind RoPE, where this family norms them before it"},
    {QA_MISTAKE_NORMS, NULL, BRANCH_NORMS, AT(QA_GOLDEN_INPUTS), norms_of_sums, 0.0,
     "the norms behind attention and MLP are taken of the residual stream after the sum, not of what is added to it"},
    {QA_MISTAKE_WINDOW, "window", WINDOW, AT(QA_GOLDEN_INPUTS), other_windows, ONE_MORE,
     "the sliding window is off by one: a query sees one key too many (key j is visible to query i iff 0 <= i - j < "
     "window)"},
    {QA_MISTAKE_WINDOW, NULL, WINDOW, AT(QA_GOLDEN_INPUTS), other_windows, ONE_LESS,
     "the sliding window is off by one: a query sees one key too few (key j is visible to query i iff 0 <= i - j < "
     "window)"},
    {QA_MISTAKE_WINDOW, NULL, WINDOW, AT(QA_GOLDEN_INPUTS), other_windows, NO_WINDOW,
     "the sliding window is not there: every query sees all keys before it"},
    {QA_MISTAKE_WINDOW, NULL, TWO_THETAS, AT(QA_GOLDEN_INPUTS), other_windows, OTHER_THETA,
     "the layers that have a window turn q and k by the theta of those that have none"},
    {QA_MISTAKE_FUSED, "fused-rows", FUSED_GATE_UP, AT(QA_GOLDEN_INPUTS), exchange_fused, QA_ROWS_GATE,
     "gate and up, which stand in one map, are taken for each other (gate comes first)"},
    {QA_MISTAKE_FUSED, NULL, FUSED_QKV, AT(QA_GOLDEN_INPUTS), exchange_fused, QA_ROWS_K,
     "k and v, which stand in one map, are taken for each other (the order is q, k, v)"},
};

const char *qa_golden_mistake_name(qa_golden_mistake mistake) {
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        if (trials[i].mistake == mistake && trials[i].name != NULL) {
            return trials[i].name;
        }
    }
    return "unknown";
}

/* What the family's layer has that can be got wrong. */
static unsigned layer_has(const qa_config *config) {
    unsigned has = config->norm_offset != 0.0 ? NORM_OFFSET : 0;
    has |= config->sliding_window > 0 ? WINDOW : 0;
    has |= config->sliding_window > 0 && config->rope[QA_ROPE_FULL].theta != config->rope[QA_ROPE_SLIDING].theta
               ? TWO_THETAS
               : 0;
    for (size_t k = 0; k < config->layer->n; k++) {
        const qa_operation *op = &config->layer->operations[k];
        has |= is_head_norm(op) ? HEAD_NORMS : 0;
        has |= op->kind == QA_OP_NORM && op->in == QA_ROWS_BRANCH ? BRANCH_NORMS : 0;
        has |= op->kind == QA_OP_SPLIT && op->which == QA_SPLIT_GATE_UP ? FUSED_GATE_UP : 0;
        has |= op->kind == QA_OP_SPLIT && op->which == QA_SPLIT_QKV ? FUSED_QKV : 0;
    }
    return has;
}

size_t qa_golden_trials(void) { return sizeof trials / sizeof trials[0]; }

bool qa_golden_trial_make(qa_golden_trial *trial, size_t number, const qa_golden_bundle *bundle) {
    unsigned has = QA_TRIAL_IN_STEPS | QA_TRIAL_ANY_FACTOR;
    has |= bundle->options.objective.kind == QA_PUBLISHED ? PUBLISHED : THEORY;
    has |= qa_golden_bos(bundle->model) >= 0 ? HAS_BOS : 0;
    has |= qa_model_get_info(bundle->model)->n_eos > 0 ? HAS_EOS : 0;
    has |= bundle->adapter->uniform ? ONE_SCALE : 0;
    has |= layer_has(&bundle->model->config);
    *trial = trials[number];
    return (trial->needs & ~has) == 0;
}

qa_status qa_golden_trial_run(qa_golden_set *set, const qa_golden_bundle *bundle, const qa_golden_trial *trial,
                              bool gradients, size_t steps, qa_error *err) {
    qa_golden_options options = bundle->options;
    options.steps = steps < options.steps ? steps : options.steps;
    const qa_status status =
        qa_golden_run(set, bundle->model, bundle->adapter, bundle->pairs, &options, gradients || steps > 0, trial, err);
    if (status == QA_OK && trial->mistake == QA_MISTAKE_LORA_EXCHANGED) {
        (trial->make == NULL ? exchange_names : exchange_lora_tensors)(set);
    }
    return status;
}
