/* One pair through both streams of the model and through (M5) to (M11).
 *
 * States. A side's states are the prefixes that end at positions label_start-1 .. length-1; the two sides share those
 * that end in the prompt. A state is a row of the packed pair (model/pass.h): rows follow each other from position
 * label_start - 1 of the prompt to the end of the first response, then come those of the second. The states whose
 * logits are needed stand in one table, in the order of their rows, which is made once; every state of a side knows its
 * index there (`at`), and nothing else is looked up.
 *
 * Forward. Logits exist for QA_HEAD_CHUNK states at a time. Each state's two rows are turned into log pi1, Qhat and
 * pitilde in place, and what the loss needs of them is kept: Vhat, the KL to the base, and Qhat and log pi1 of the one
 * action per side that was taken there.
 *
 * Backward. By (M11) a state's gradient with respect to its logits is
 *
 *     dL/dz(s, .) = sum over transitions from s of  g_t [a = a_t]   -   gamma g'(s) pitilde(. | s)
 *
 * and what the model wants is that row times W_head. It is linear in the row, so
 *
 *     dL/dh(s) = sum g_t W_head[a_t]  +  value_gradient(s) * u(s),       u(s) = pitilde(. | s) W_head
 *
 * and u is computed chunk by chunk in the forward pass, before z and with it g are known. No array of states x
 * vocabulary ever exists (but see `full`, for scoring). A head that learns itself (an adapter that is a whole model)
 * wants the rows dL/dz as they are: backward makes them again, chunk by chunk.
 * Plain twin: reference/step.c: qa_ref_pair. */
#include "train/pair_step.h"

#include "base/arena.h"
#include "base/checked.h"
#include "base/memory.h"
#include "base/try.h"
#include "nn/softmax.h"
#include "rl/divergence.h"
#include "rl/equations.h"

#include <math.h>
#include <string.h>

static const size_t NO_STATE = (size_t)-1;
static const int32_t NO_ACTION = -1;

static const char *const side_names[QA_SIDES] = {[QA_CHOSEN] = "chosen", [QA_REJECTED] = "rejected"};

/* One state whose logits are computed: what is asked of it and what was found. */
typedef struct pair_state {
    size_t state[QA_SIDES];                /* its number among the side's states, or NO_STATE */
    int32_t action[QA_SIDES];              /* a_t of the side's transition from here, or NO_ACTION */
    double q[QA_SIDES], log_pi1[QA_SIDES]; /* at that action */
    qa_real slope[QA_SIDES];               /* of its logit by the product with W_head: 1, or what a cap leaves of it */
    double v, kl;
    double value_gradient; /* dL/dVhat, of both sides */
} pair_state;

/* The arrays of one side. */
typedef struct side_arrays {
    int32_t *ids;               /* [row] prompt and response in one piece */
    qa_transition *transitions; /* [row] */
    size_t *at;                 /* [row] every state's index in the table, or NO_STATE */
    double *log_ref;            /* [row] with a reference of its own; NULL: pi1 is */
    double *g;                  /* [row] dL/dr_t */
    double *value_gradient;     /* [row] dL/dVhat per state */
    qa_side_step found;
} side_arrays;

struct qa_pair_step {
    qa_model *model;
    const qa_adapter *adapter;
    const qa_trainable *trainable; /* whose weights learn; NULL: the adapter's branches */
    qa_objective objective;
    const qa_method_row *method;
    qa_pair_limits limits;
    int32_t pad_id;
    qa_pass *pass;
    qa_pair_step *reference; /* of the adapter that the objective's log-ratios are against; NULL: pi1 */
    qa_arena arena;          /* all arrays below */
    side_arrays sides[QA_SIDES];
    pair_state *table;   /* [rows] */
    size_t *table_rows;  /* [rows] their rows of the packed pair */
    qa_real *dh;         /* [rows x d] u, then dL/dh; with backward */
    qa_real *scratch_q;  /* [threads x V] Qhat of the base alone; without adapter */
    qa_real *scratch_pi; /* [threads x V] */
    size_t n_sides;      /* of the last forward: both, or the chosen one */
    bool rope_by_length; /* the model's rotary frequencies depend on a sequence's length */
    bool shared;  /* of the last forward: the sides share the rows of the prompt; else each is a sequence of its own */
    size_t first; /* its first state's position */
    size_t n_states;     /* in the table */
    qa_pair_visit visit; /* the last forward's */
    double logit;
};

/* ---- making ---- */

void qa_pair_limits_include(qa_pair_limits *limits, const qa_pairs *pairs) {
    const size_t n = pairs == NULL ? 0 : qa_pairs_count(pairs);
    for (size_t i = 0; i < n; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        limits->max_prompt = qa_larger(limits->max_prompt, pair->prompt_len);
        limits->max_response = qa_larger(limits->max_response, qa_larger(pair->chosen_len, pair->rejected_len));
        limits->max_rows = qa_larger(limits->max_rows, qa_pair_tokens(pair));
    }
}

void qa_pair_limits_include_mismatched(qa_pair_limits *limits, const qa_pairs *pairs) {
    if (pairs != NULL) {
        const size_t responses = qa_pairs_single(pairs) ? 1 : QA_SIDES;
        const size_t rows = qa_pairs_longest_prompt(pairs) + responses * qa_pairs_longest_response(pairs);
        qa_pair_limits_include(limits, pairs);
        limits->max_rows = qa_larger(limits->max_rows, rows);
    }
}

/* *rows: packed rows of the longest pair; *row: tokens of the longest side. Where the rotary frequencies of a sequence
 * depend on its length, the prompt may be there once for each side. */
static bool sizes(const qa_pair_limits *limits, const qa_config *config, size_t *rows, size_t *row) {
    const bool fits = qa_mul_size(limits->max_response, QA_SIDES, rows) &&
                      qa_add_size(*rows, limits->max_prompt, rows) &&
                      qa_add_size(limits->max_response, limits->max_prompt, row);
    *rows = fits && limits->max_rows > 0 && limits->max_rows < *rows ? limits->max_rows : *rows;
    return fits && (!qa_config_rope_depends_on_length(config) || qa_add_size(*rows, limits->max_prompt, rows));
}

static void take_side(side_arrays *side, qa_arena *arena, const qa_pair_limits *limits, size_t row, size_t V) {
    qa_side_step *found = &side->found;
    side->ids = QA_TAKE(arena, int32_t, row);
    side->transitions = QA_TAKE(arena, qa_transition, row);
    side->at = QA_TAKE(arena, size_t, row);
    found->transitions = side->transitions;
    found->log_pi1 = QA_TAKE(arena, double, row);
    found->q = QA_TAKE(arena, double, row);
    found->v = QA_TAKE(arena, double, row);
    found->log_pi = QA_TAKE(arena, double, row);
    found->kl = QA_TAKE(arena, double, row);
    found->reward = QA_TAKE(arena, double, row);
    found->weight = QA_TAKE(arena, double, row);
    found->state_v = QA_TAKE(arena, double, row);
    found->log_ref = side->log_ref = limits->reference == NULL ? NULL : QA_TAKE(arena, double, row);
    if (limits->backward) {
        side->g = QA_TAKE(arena, double, row);
        side->value_gradient = QA_TAKE(arena, double, row);
    }
    if (limits->full) {
        size_t elements = 0;
        arena->overflow |= !qa_mul_size(row, V, &elements);
        found->full_q = QA_TAKE(arena, double, elements);
        found->full_log_pi1 = QA_TAKE(arena, double, elements);
    }
}

/* Lays out (or measures) the workspace beside the pass. */
static void take_pair_arrays(qa_pair_step *step, qa_arena *arena, const qa_model *model, bool adapted) {
    const qa_pair_limits *limits = &step->limits;
    const size_t V = model->config.vocab_size, d = model->config.hidden_size;
    const size_t threads = qa_pool_threads(model->context->pool);
    size_t rows = 0, row = 0, scratch_elements = 0, state_elements = 0;
    if (!sizes(limits, &model->config, &rows, &row) || !qa_mul_size(threads, V, &scratch_elements) ||
        !qa_mul_size(rows, d, &state_elements)) {
        arena->overflow = true;
        return;
    }
    take_side(&step->sides[QA_CHOSEN], arena, limits, row, V);
    take_side(&step->sides[QA_REJECTED], arena, limits, row, V);
    step->table = QA_TAKE(arena, pair_state, rows);
    step->table_rows = QA_TAKE(arena, size_t, rows);
    step->dh = limits->backward ? QA_TAKE(arena, qa_real, state_elements) : NULL;
    step->scratch_q = adapted ? NULL : QA_TAKE(arena, qa_real, scratch_elements);
    step->scratch_pi = QA_TAKE(arena, qa_real, scratch_elements);
}

static qa_status workspace_bytes(const qa_model *model, bool adapted, qa_pair_limits limits, size_t *bytes,
                                 qa_error *err) {
    qa_pair_step measured = {.limits = limits};
    qa_arena arena = qa_arena_measure();
    take_pair_arrays(&measured, &arena, model, adapted);
    return qa_arena_bytes(&arena, bytes, err);
}

static qa_status pass_limits(const qa_pair_limits *limits, const qa_config *config, qa_pass_limits *out,
                             qa_error *err) {
    size_t rows = 0, row = 0;
    QA_FAIL_IF(limits->max_prompt == 0 || limits->max_response == 0 || !sizes(limits, config, &rows, &row), err,
               QA_ERR_ARGUMENT, "no workspace for prompts of %zu and responses of %zu tokens", limits->max_prompt,
               limits->max_response);
    *out = (qa_pass_limits){.max_rows = rows,
                            .max_states = rows,
                            .max_documents = qa_config_rope_depends_on_length(config) ? QA_SIDES : 0,
                            .backward = limits->backward,
                            .recompute = limits->recompute};
    return QA_OK;
}

/* Of the frozen adapter: it is run forward alone. */
static qa_pair_limits reference_limits(qa_pair_limits limits) {
    return (qa_pair_limits){
        .max_prompt = limits.max_prompt, .max_response = limits.max_response, .max_rows = limits.max_rows};
}

qa_status qa_pair_step_bytes(const qa_model *model, const qa_lora_options *lora, qa_pair_limits limits, size_t *bytes,
                             qa_error *err) {
    qa_pass_limits pass;
    size_t of_pass = 0, own = 0, of_reference = 0;
    if (limits.reference != NULL) {
        QA_TRY(qa_pair_step_bytes(model, limits.reference, reference_limits(limits), &of_reference, err));
    }
    QA_TRY(pass_limits(&limits, &model->config, &pass, err));
    QA_TRY(qa_pass_bytes(model, lora, pass, &of_pass, err));
    QA_TRY(workspace_bytes(model, lora != NULL, limits, &own, err));
    QA_FAIL_IF(!qa_add_size(of_pass, own, bytes) || !qa_add_size(*bytes, of_reference, bytes), err, QA_ERR_LIMIT,
               "the workspace of one pair does not fit the address space");
    return QA_OK;
}

/* With dpo's reference adapter: a step of its own, that finds log pi_ref. */
static qa_status create_reference(qa_pair_step *step, qa_error *err) {
    const qa_adapter *adapter = step->adapter;
    const qa_objective policy = qa_objective_of_plain_adapter();
    if (step->objective.reference != QA_REFERENCE_ADAPTER) {
        return QA_OK;
    }
    QA_FAIL_IF(adapter == NULL || adapter->reference == NULL, err, QA_ERR_ARGUMENT,
               "the log-ratios are against the adapter that training started from (reference adapter), and that is not "
               "there: an adapter's folder has it in reference/; --reference base measures against the base model");
    step->limits.reference = &adapter->reference->widest;
    return qa_pair_step_create(&step->reference, step->model, adapter->reference, &policy,
                               reference_limits(step->limits), err);
}

qa_status qa_pair_step_create(qa_pair_step **out, qa_model *model, const qa_adapter *adapter,
                              const qa_objective *objective, qa_pair_limits limits, qa_error *err) {
    *out = NULL;
    QA_FAIL_IF(qa_method_of(objective)->scores_sequences, err, QA_ERR_UNSUPPORTED,
               "method %s makes no policy but a reward model, which scores answers: give it as --reward-model",
               qa_method_of(objective)->name);
    QA_TRY(qa_objective_check(objective, err));
    QA_FAIL_IF(qa_objective_rows[objective->kind].padded && model->info.n_eos == 0, err, QA_ERR_UNSUPPORTED,
               "%s: the %s objective pads with the end-of-sequence token, and the model's config.json "
               "has no eos_token_id",
               model->info.dir, qa_objective_names[objective->kind]);
    qa_pair_step *step = NULL;
    QA_TRY(QA_NEW(step, 1, err, "a training step"));
    step->model = model;
    step->adapter = adapter;
    step->trainable = limits.backward && adapter != NULL ? adapter->trainable : NULL;
    step->objective = *objective;
    step->method = qa_method_of(objective);
    step->limits = limits;
    step->pad_id = model->info.n_eos > 0 ? model->info.eos_ids[0] : 0;
    qa_status status = QA_OK;
    qa_pass_limits pass;
    size_t bytes = 0;
    step->rope_by_length = qa_config_rope_depends_on_length(&model->config);
    step->limits.reference = NULL;
    QA_GOTO(fail, create_reference(step, err));
    QA_GOTO(fail, pass_limits(&limits, &model->config, &pass, err));
    QA_GOTO(fail, qa_pass_create(&step->pass, model, adapter, pass, err));
    QA_GOTO(fail, workspace_bytes(model, adapter != NULL, step->limits, &bytes, err));
    QA_GOTO(fail, qa_arena_create(&step->arena, bytes, err));
    take_pair_arrays(step, &step->arena, model, adapter != NULL);
    QA_GOTO(fail, qa_arena_bytes(&step->arena, &bytes, err));
    *out = step;
    return QA_OK;
fail:
    qa_pair_step_free(step);
    return status;
}

void qa_pair_step_free(qa_pair_step *step) {
    if (step != NULL) {
        qa_pair_step_free(step->reference);
        qa_pass_free(step->pass);
        qa_arena_free(&step->arena);
        free(step);
    }
}

/* ---- the table of states ---- */

static qa_status check_pair(const qa_pair_step *step, const qa_pair *pair, size_t rows, size_t padded_length,
                            qa_error *err) {
    const bool both = step->n_sides == QA_SIDES;
    const size_t longest = both && pair->rejected_len > pair->chosen_len ? pair->rejected_len : pair->chosen_len;
    QA_FAIL_IF(pair->prompt_len == 0 || pair->chosen_len == 0 || (both && pair->rejected_len == 0), err,
               QA_ERR_ARGUMENT, "prompt%s must have at least one token each",
               both ? ", chosen and rejected response" : " and response");
    QA_FAIL_IF(pair->prompt_len > step->limits.max_prompt || longest > step->limits.max_response, err, QA_ERR_LIMIT,
               "prompt of %zu and response of %zu tokens, but the workspace was made for %zu and %zu", pair->prompt_len,
               longest, step->limits.max_prompt, step->limits.max_response);
    QA_FAIL_IF(step->limits.max_rows > 0 && rows > step->limits.max_rows, err, QA_ERR_LIMIT,
               "prompt and %s %zu tokens, but the workspace was made for %zu",
               both ? "both responses have" : "response have", rows, step->limits.max_rows);
    if (qa_objective_rows[step->objective.kind].padded) {
        QA_FAIL_IF(pair->label_start == 0 || pair->label_start > pair->prompt_len, err, QA_ERR_ARGUMENT,
                   "label_start is %zu, outside the prompt's 1..%zu", pair->label_start, pair->prompt_len);
        QA_FAIL_IF(padded_length < pair->prompt_len + longest, err, QA_ERR_ARGUMENT,
                   "padded length %zu is shorter than the pair's longest row, %zu tokens", padded_length,
                   pair->prompt_len + longest);
    }
    return QA_OK;
}

/* The side's transitions and their weights; marks the states that they start from or subtract the value of, and with
 * full or on_state all states. */
static void lay_out_side(qa_pair_step *step, size_t s, const qa_pair *pair, size_t padded_length) {
    side_arrays *side = &step->sides[s];
    qa_side_step *found = &side->found;
    qa_side layout = qa_pair_side(pair, s == QA_CHOSEN, &step->objective);
    memcpy(side->ids, pair->prompt, pair->prompt_len * sizeof *side->ids);
    memcpy(side->ids + pair->prompt_len, s == QA_CHOSEN ? pair->chosen : pair->rejected,
           (layout.length - pair->prompt_len) * sizeof *side->ids);
    layout.ids = side->ids;
    step->first = layout.label_start - 1; /* the same for both */
    found->n = qa_transition_count(&layout, &step->objective, padded_length);
    found->desirable = s == QA_CHOSEN && !pair->undesirable;
    found->states = qa_side_states(&layout);
    step->method->layout(side->transitions, &layout, &step->objective, padded_length, step->pad_id);
    for (size_t k = 0; k < found->states; k++) {
        side->at[k] = step->limits.full || step->visit.on_state != NULL ? 0 : NO_STATE;
    }
    for (size_t t = 0; t < found->n; t++) {
        const qa_transition *transition = &side->transitions[t];
        found->weight[t] = transition->weight;
        side->at[transition->state] = 0; /* any value but NO_STATE */
        if (transition->value_state != QA_TERMINAL_STATE) {
            side->at[transition->value_state] = 0;
        }
    }
}

/* The table, in the order of the rows: the prompt's states, which both sides share if they share its rows, the chosen
 * side's, the other's. */
static void lay_out_pair(qa_pair_step *step, const qa_pair *pair, size_t padded_length) {
    side_arrays *sides = step->sides;
    sides[QA_REJECTED].found.n = sides[QA_REJECTED].found.states = step->n_states = 0;
    for (size_t side = 0; side < step->n_sides; side++) {
        lay_out_side(step, side, pair, padded_length);
    }
    const size_t shared = step->shared ? pair->prompt_len - step->first : 0;
    const size_t second = pair->chosen_len + (step->shared ? 0 : pair->prompt_len); /* rows before those of its own */
    for (size_t side = 0; side < step->n_sides; side++) {
        for (size_t k = side == QA_CHOSEN ? 0 : shared; k < sides[side].found.states; k++) {
            const size_t end = k < shared ? step->n_sides : side + 1, number = step->n_states;
            if (sides[side].at[k] == NO_STATE && (end == side + 1 || sides[QA_REJECTED].at[k] == NO_STATE)) {
                continue;
            }
            step->table[number] =
                (pair_state){.state = {NO_STATE, NO_STATE}, .action = {NO_ACTION, NO_ACTION}, .v = (double)NAN};
            step->table_rows[number] = step->first + k + (side == QA_CHOSEN ? 0 : second);
            for (size_t of = side; of < end; of++) {
                sides[of].at[k] = number;
                step->table[number].state[of] = k;
            }
            step->n_states++;
        }
    }
    for (size_t side = 0; side < step->n_sides; side++) {
        const qa_side_step *found = &sides[side].found;
        for (size_t t = 0; t < found->n; t++) {
            step->table[sides[side].at[found->transitions[t].state]].action[side] = found->transitions[t].action;
        }
    }
}

/* ---- the rows of one chunk, one task each ---- */

typedef struct pair_chunk_task {
    qa_pair_step *step;
    size_t first;
    qa_real *base;         /* [count x V] z1, becomes log pi1 */
    qa_real *adapted;      /* [count x V] z, becomes Qhat and then pitilde; NULL without adapter */
    const qa_real *slopes; /* [count x V] of qa_pass_head_slopes; NULL: 1 */
} pair_chunk_task;

/* Turns a state's two rows into log pi1, Qhat and pitilde, and keeps what later steps ask for. */
static void row_task(void *context, size_t i, size_t worker) {
    const pair_chunk_task *task = context;
    qa_pair_step *step = task->step;
    const qa_objective *objective = &step->objective;
    const size_t V = step->model->config.vocab_size;
    pair_state *at = &step->table[task->first + i];
    qa_real *log_pi1 = task->base + i * V; /* z1 until it is overwritten */
    qa_real *q =
        task->adapted == NULL ? memcpy(step->scratch_q + worker * V, log_pi1, V * sizeof *q) : task->adapted + i * V;
    qa_q_from_logits(q, log_pi1, V, objective);
    qa_real *pi = step->scratch_pi + worker * V;
    (void)qa_log_softmax_forward(log_pi1, log_pi1, V);
    for (size_t side = 0; side < step->n_sides; side++) {
        const int32_t action = at->action[side];
        if (action != NO_ACTION) {
            at->q[side] = (double)q[action];
            at->log_pi1[side] = (double)log_pi1[action];
            at->slope[side] = task->slopes == NULL ? 1 : task->slopes[i * V + (size_t)action];
        }
        if (step->limits.full && at->state[side] != NO_STATE) {
            double *full_q = step->sides[side].found.full_q + at->state[side] * V;
            double *full_log_pi1 = step->sides[side].found.full_log_pi1 + at->state[side] * V;
            for (size_t a = 0; a < V; a++) {
                full_q[a] = (double)q[a];
                full_log_pi1[a] = (double)log_pi1[a];
            }
        }
    }
    at->v = qa_m7_policy(pi, q, log_pi1, V, objective->alpha_0, objective->alpha_tilde);
    at->kl = qa_kl_to_base(pi, q, log_pi1, at->v, V, objective->alpha_0, objective->alpha_tilde);
    for (size_t side = 0; side < step->n_sides && step->visit.on_state != NULL; side++) {
        if (at->state[side] != NO_STATE) {
            step->visit.on_state(step->visit.user,
                                 &(qa_state_rows){side, at->state[side], q, log_pi1, pi, at->v, at->kl});
        }
    }
    if (step->limits.backward) {
        memcpy(q, pi, V * sizeof *q); /* the adapted row, for u = pitilde W_head */
    }
}

/* rows[count x V] pitilde, becomes dL/dz, and goes back through a head that learns. */
static void head_backward_chunk(qa_pair_step *step, const qa_weight_gradients *gradients, qa_real *rows, size_t first,
                                size_t count) {
    const size_t V = step->model->config.vocab_size, d = step->model->config.hidden_size;
    for (size_t i = 0; i < count; i++) {
        for (size_t a = 0; a < V; a++) {
            rows[i * V + a] *= (qa_real)step->table[first + i].value_gradient;
        }
    }
    for (size_t side = 0; side < step->n_sides; side++) {
        const qa_side_step *found = &step->sides[side].found;
        for (size_t t = 0; t < found->n; t++) {
            const size_t i = step->sides[side].at[found->transitions[t].state];
            if (i >= first && i < first + count) {
                rows[(i - first) * V + (size_t)found->transitions[t].action] += (qa_real)step->sides[side].g[t];
            }
        }
    }
    qa_pass_head_backward(step->pass, gradients, step->dh + first * d, rows, first, count);
}

/* Logits, equations, and u of every state; or, once g is known, dL/dh and the head's gradient, for which the rows are
 * made again. */
static void run_chunks(qa_pair_step *step, const qa_weight_gradients *into_head) {
    const qa_config *config = &step->model->config;
    const size_t d = config->hidden_size;
    const bool bent = config->logit_factor != 1 || config->logit_cap > 0;
    qa_pool *pool = step->model->context->pool;
    qa_part_begin(pool, QA_PART_HEAD);
    for (size_t first = 0; first < step->n_states; first += QA_HEAD_CHUNK) {
        const size_t left = step->n_states - first;
        const size_t count = left < QA_HEAD_CHUNK ? left : QA_HEAD_CHUNK;
        pair_chunk_task task = {.step = step, .first = first};
        qa_pass_head(step->pass, first, count, &task.base, &task.adapted);
        task.slopes = bent ? qa_pass_head_slopes(step->pass) : NULL;
        qa_pool_run(pool, count, row_task, &task);
        if (into_head != NULL) {
            head_backward_chunk(step, into_head, task.adapted, first, count);
        } else if (step->limits.backward && step->trainable == NULL) {
            qa_pass_head_transpose(step->pass, step->dh + first * d, task.adapted, count);
        }
    }
    qa_part_end(pool);
}

/* ---- from states to rewards and returns ---- */

/* What was found at the side's states, its rewards and its return; the first quantity that is not finite is named. */
static qa_status gather_side(qa_pair_step *step, size_t side, qa_error *err) {
    const size_t *index = step->sides[side].at;
    qa_side_step *found = &step->sides[side].found;
    const qa_objective *objective = &step->objective;
    for (size_t k = 0; k < found->states; k++) {
        found->state_v[k] = index[k] == NO_STATE ? (double)NAN : step->table[index[k]].v;
    }
    for (size_t t = 0; t < found->n; t++) {
        const pair_state *at = &step->table[index[found->transitions[t].state]];
        found->q[t] = at->q[side];
        found->log_pi1[t] = at->log_pi1[side];
        found->v[t] = at->v;
        found->kl[t] = at->kl;
        found->log_pi[t] =
            qa_m7_log_policy(found->q[t], found->log_pi1[t], at->v, objective->alpha_0, objective->alpha_tilde);
    }
    found->log_ref = step->reference == NULL ? found->log_pi1 : step->sides[side].log_ref;
    step->method->rewards(found, objective);
    found->ret = qa_m9_return(found->weight, found->reward, found->n);
    for (size_t t = 0; t < found->n; t++) {
        const bool bad_value = !isfinite(found->v[t]);
        if (bad_value || !isfinite(found->reward[t])) {
            const size_t position = step->first + found->transitions[t].state;
            return qa_fail(err, QA_ERR_NAN, "%s of the %s response is %g after token %zu",
                           bad_value ? "Vhat" : "reward", side_names[side], bad_value ? found->v[t] : found->reward[t],
                           position + 1);
        }
    }
    QA_FAIL_IF(!isfinite(found->ret), err, QA_ERR_NAN, "the return of the %s response is %g", side_names[side],
               found->ret);
    return QA_OK;
}

/* Through the layers: of both streams, or of the adapted one when the base stream's states are kept. A pair that is run
 * again runs its streams apart, also where nothing is kept of it, so that what is kept changes no bit; nothing is kept
 * of sides that are sequences of their own, whose rows are more than the cache was made for. */
static qa_status run_pair_pass(qa_pair_step *step, const qa_pair *pair, size_t n_rows, qa_base_slot slot,
                               uint64_t dropout_key, qa_error *err) {
    const size_t first = step->first, rows = n_rows - first;
    const qa_tokens alone[QA_SIDES] = {{step->sides[QA_CHOSEN].ids, pair->prompt_len + pair->chosen_len},
                                       {step->sides[QA_REJECTED].ids, pair->prompt_len + pair->rejected_len}};
    qa_packed packed = {
        .trunk = {pair->prompt, pair->prompt_len},
        .branches = {{pair->chosen, pair->chosen_len}, {pair->rejected, pair->rejected_len}},
        .n_branches = step->n_sides,
        .documents = step->shared ? NULL : alone,
        .n_documents = QA_SIDES,
        .apart = step->visit.apart || slot.cache != NULL,
        .base = slot.cache == NULL ? NULL : qa_base_cache_find(slot, rows),
        .first = first,
    };
    QA_TRY(qa_pass_forward(step->pass, &packed, step->table_rows, step->n_states, dropout_key, err));
    qa_real *kept = slot.cache == NULL || packed.base != NULL ? NULL : qa_base_cache_buffer(slot, rows);
    if (kept != NULL) {
        qa_pass_base_states(step->pass, kept, first);
        qa_base_cache_keep(slot);
    }
    return QA_OK;
}

/* log pi_ref of both sides' tokens: kept from an earlier visit, or found by a pass of its own. */
static qa_status find_reference(qa_pair_step *step, const qa_pair *pair, const qa_pair_visit *visit, qa_error *err) {
    const size_t n[QA_SIDES] = {step->sides[QA_CHOSEN].found.n, step->sides[QA_REJECTED].found.n};
    bool known = false;
    double *kept = qa_base_cache_reference(visit->slot, n[QA_CHOSEN] + n[QA_REJECTED], &known);
    if (!known) {
        const qa_pair_visit frozen = {.chosen_alone = visit->chosen_alone};
        QA_TRY(qa_prefixed(qa_pair_step_forward(step->reference, pair, &frozen, err), err, "the reference adapter: "));
    }
    for (size_t side = 0, at = 0; side < QA_SIDES; at += n[side++]) {
        const double *found = step->reference->sides[side].found.log_pi;
        if (known) {
            memcpy(step->sides[side].log_ref, kept + at, n[side] * sizeof *kept);
            continue;
        }
        memcpy(step->sides[side].log_ref, found, n[side] * sizeof *found);
        if (kept != NULL) {
            memcpy(kept + at, found, n[side] * sizeof *found);
        }
    }
    return QA_OK;
}

qa_status qa_pair_step_forward(qa_pair_step *step, const qa_pair *pair, const qa_pair_visit *visit, qa_error *err) {
    const size_t rows = pair->prompt_len + pair->chosen_len + (visit->chosen_alone ? 0 : pair->rejected_len);
    step->visit = *visit;
    step->n_sides = visit->chosen_alone ? 1 : QA_SIDES;
    step->shared = visit->chosen_alone || !step->rope_by_length ||
                   qa_config_rope_is_same(&step->model->config, pair->prompt_len + pair->chosen_len,
                                          pair->prompt_len + pair->rejected_len);
    QA_TRY(check_pair(step, pair, rows, visit->padded_length, err));
    lay_out_pair(step, pair, visit->padded_length);
    QA_TRY(run_pair_pass(step, pair, rows + (step->shared ? 0 : pair->prompt_len),
                         step->adapter == NULL ? (qa_base_slot){0} : visit->slot, visit->dropout_key, err));
    run_chunks(step, NULL);
    QA_TRY(step->reference == NULL ? QA_OK : find_reference(step, pair, visit, err));
    for (size_t side = 0; side < step->n_sides; side++) {
        QA_TRY(gather_side(step, side, err));
    }
    step->logit =
        step->n_sides == QA_SIDES ? step->sides[QA_CHOSEN].found.ret - step->sides[QA_REJECTED].found.ret : NAN;
    return QA_OK;
}

const qa_side_step *qa_pair_step_side(const qa_pair_step *step, size_t side) { return &step->sides[side].found; }

double qa_pair_step_logit(const qa_pair_step *step) { return step->logit; }

int32_t qa_pair_step_pad_id(const qa_pair_step *step) { return step->pad_id; }

qa_cluster *qa_pair_step_cluster(const qa_pair_step *step) { return step->model->context->cluster; }

double qa_pair_step_scale(const qa_pair_step *step) {
    double largest = 0.0;
    for (size_t side = 0; side < step->n_sides; side++) {
        largest = fmax(largest, step->method->scale(&step->sides[side].found, &step->objective));
    }
    return largest;
}

/* ---- loss and gradient ---- */

qa_pair_loss qa_pair_step_loss(const qa_pair_step *step, const qa_divisors *divisors) {
    const qa_side_step *const sides[QA_SIDES] = {&step->sides[QA_CHOSEN].found, &step->sides[QA_REJECTED].found};
    return step->method->loss(sides, step->logit, &step->objective, divisors);
}

void qa_pair_step_backward(qa_pair_step *step, qa_real *gradient, const qa_divisors *divisors) {
    const size_t d = step->model->config.hidden_size;
    for (size_t side = 0; side < step->n_sides; side++) {
        side_arrays *arrays = &step->sides[side]; /* g_t of every transition and dL/dVhat of every state */
        const qa_side_step *found = &arrays->found;
        step->method->gradient(arrays->g, found, side, step->logit, &step->objective, divisors);
        memset(arrays->value_gradient, 0, found->states * sizeof *arrays->value_gradient);
        qa_transitions_value_gradient(arrays->value_gradient, found->transitions, found->n, arrays->g,
                                      step->objective.gamma);
    }
    for (size_t i = 0; i < step->n_states; i++) {
        step->table[i].value_gradient = 0.0;
        for (size_t side = 0; side < step->n_sides; side++) {
            const size_t state = step->table[i].state[side];
            step->table[i].value_gradient += state == NO_STATE ? 0.0 : step->sides[side].value_gradient[state];
        }
    }
    if (step->trainable != NULL) {
        run_chunks(step, &step->trainable->gradients);
        qa_pass_backward_weights(step->pass, &step->trainable->gradients, step->dh);
        return;
    }
    qa_part_begin(step->model->context->pool, QA_PART_HEAD);
    for (size_t i = 0; i < step->n_states; i++) { /* u -> value_gradient * u */
        for (size_t j = 0; j < d; j++) {
            step->dh[i * d + j] *= (qa_real)step->table[i].value_gradient;
        }
    }
    for (size_t side = 0; side < step->n_sides; side++) { /* + g_t W_head[a_t] */
        const qa_side_step *found = &step->sides[side].found;
        for (size_t t = 0; t < found->n; t++) {
            const qa_transition *transition = &found->transitions[t];
            const size_t i = step->sides[side].at[transition->state];
            const qa_real g = (qa_real)step->sides[side].g[t] * step->table[i].slope[side];
            qa_pass_add_head_row(step->pass, step->dh + i * d, g, transition->action);
        }
    }
    qa_part_end(step->model->context->pool);
    qa_pass_backward(step->pass, gradient, step->dh);
}
