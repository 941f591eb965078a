/* One pair through both streams of the model and through (M5) to (M11).
 *
 * States. A side's states are the prefixes that end at positions label_start-1 .. length-1; the two sides share those
 * that end in the prompt. A state is a row of the packed pair (model/pass.h), and the rows whose logits are needed are
 * numbered 0..slots-1 in the order of the rows:
 *
 *     side, state  ->  position p = label_start - 1 + state  ->  row  ->  slot
 *                      p < prompt_len: trunk row p, one for both sides
 *                      else: row p - prompt_len of the side's branch
 *
 * Forward. Logits exist for QA_HEAD_CHUNK slots at a time. Each slot's two rows are turned into log pi1, Qhat and
 * pitilde in place, and what the loss needs of them is kept: Vhat, the KL to the base, and Qhat and log pi1 of the one
 * action per side that was taken there.
 *
 * Backward. By (M11) a slot's gradient with respect to its logits is
 *
 *     dL/dz(s, .) = sum over transitions from s of  g_t [a = a_t]   -   gamma g'(s) pitilde(. | s)
 *
 * and what the model wants is that row times W_head. It is linear in the row, so
 *
 *     dL/dh(s) = sum g_t W_head[a_t]  +  value_gradient(s) * u(s),       u(s) = pitilde(. | s) W_head
 *
 * and u is computed chunk by chunk in the forward pass, before z and with it g are known. No array of states x
 * vocabulary ever exists (but see `full`, for scoring).
 * Plain twin: reference/step.c: qa_ref_pair. */
#include "train/pair_step.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/try.h"
#include "nn/softmax.h"
#include "rl/divergence.h"
#include "rl/equations.h"
#include "rl/objective.h"

#include <math.h>
#include <string.h>

static const size_t NO_STATE = (size_t)-1;
static const size_t NO_SLOT = (size_t)-1;
static const int32_t NO_ACTION = -1;

static const char *const side_names[QA_SIDES] = {[QA_CHOSEN] = "chosen", [QA_REJECTED] = "rejected"};

/* One row whose logits are computed: what is asked of it and what was found. */
typedef struct slot {
    size_t state[QA_SIDES];                /* which state of the side, or NO_STATE */
    int32_t action[QA_SIDES];              /* a_t of the side's transition from here, or NO_ACTION */
    double q[QA_SIDES], log_pi1[QA_SIDES]; /* at that action */
    double v, kl;
} slot;

/* The arrays of one side. */
typedef struct side_arrays {
    int32_t *ids;               /* [row] prompt and response in one piece */
    qa_transition *transitions; /* [row] */
    double *g;                  /* [row] dL/dr_t */
    double *value_gradient;     /* [row] dL/dVhat per state */
    qa_side_step found;
} side_arrays;

struct qa_pair_step {
    qa_model *model;
    const qa_adapter *adapter;
    qa_objective objective;
    const qa_method_row *method;
    qa_pair_limits limits;
    int32_t pad_id;
    qa_pass *pass;
    qa_arena arena; /* all arrays below */
    side_arrays sides[QA_SIDES];
    slot *slots;         /* [rows] */
    size_t *slot_of_row; /* [rows] or NO_SLOT */
    size_t *row_of_slot; /* [rows] */
    qa_real *states;     /* [rows x d] u, then dL/dh; with backward */
    qa_real *scratch_q;  /* [threads x V] Qhat of the base alone; without adapter */
    qa_real *scratch_pi; /* [threads x V] */
    qa_base_place place; /* of the next forward */
    const qa_pair *pair; /* of the last forward */
    size_t n_sides;      /* both, or the chosen one */
    qa_side side[QA_SIDES];
    size_t n_slots;
    double logit;
};

/* ---- making ---- */

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

void qa_pair_limits_include(qa_pair_limits *limits, const qa_pairs *pairs) {
    const size_t n = pairs == NULL ? 0 : qa_pairs_count(pairs);
    for (size_t i = 0; i < n; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        limits->max_prompt = larger(limits->max_prompt, pair->prompt_len);
        limits->max_response = larger(limits->max_response, larger(pair->chosen_len, pair->rejected_len));
        limits->max_rows = larger(limits->max_rows, qa_pair_tokens(pair));
    }
}

/* *rows: packed rows of the longest pair; *row: tokens of the longest side. */
static bool sizes(const qa_pair_limits *limits, size_t *rows, size_t *row) {
    const bool fits = qa_mul_size(limits->max_response, QA_SIDES, rows) &&
                      qa_add_size(*rows, limits->max_prompt, rows) &&
                      qa_add_size(limits->max_response, limits->max_prompt, row);
    *rows = fits && limits->max_rows > 0 && limits->max_rows < *rows ? limits->max_rows : *rows;
    return fits;
}

static void take_side(side_arrays *side, qa_arena *arena, const qa_pair_limits *limits, size_t row, size_t V) {
    qa_side_step *found = &side->found;
    side->ids = QA_TAKE(arena, int32_t, row);
    side->transitions = QA_TAKE(arena, qa_transition, row);
    found->transitions = side->transitions;
    found->log_pi1 = QA_TAKE(arena, double, row);
    found->q = QA_TAKE(arena, double, row);
    found->v = QA_TAKE(arena, double, row);
    found->log_pi = QA_TAKE(arena, double, row);
    found->kl = QA_TAKE(arena, double, row);
    found->reward = QA_TAKE(arena, double, row);
    found->weight = QA_TAKE(arena, double, row);
    found->state_v = QA_TAKE(arena, double, row);
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
static void take(qa_pair_step *step, qa_arena *arena, const qa_model *model, bool adapted) {
    const qa_pair_limits *limits = &step->limits;
    const size_t V = model->config.vocab_size, d = model->config.hidden_size;
    const size_t threads = qa_pool_threads(model->context->pool);
    size_t rows = 0, row = 0, scratch_elements = 0, state_elements = 0;
    if (!sizes(limits, &rows, &row) || !qa_mul_size(threads, V, &scratch_elements) ||
        !qa_mul_size(rows, d, &state_elements)) {
        arena->overflow = true;
        return;
    }
    take_side(&step->sides[QA_CHOSEN], arena, limits, row, V);
    take_side(&step->sides[QA_REJECTED], arena, limits, row, V);
    step->slots = QA_TAKE(arena, slot, rows);
    step->slot_of_row = QA_TAKE(arena, size_t, rows);
    step->row_of_slot = QA_TAKE(arena, size_t, rows);
    step->states = limits->backward ? QA_TAKE(arena, qa_real, state_elements) : NULL;
    step->scratch_q = adapted ? NULL : QA_TAKE(arena, qa_real, scratch_elements);
    step->scratch_pi = QA_TAKE(arena, qa_real, scratch_elements);
}

static qa_status workspace_bytes(const qa_model *model, bool adapted, qa_pair_limits limits, size_t *bytes,
                                 qa_error *err) {
    qa_pair_step measured = {.limits = limits};
    qa_arena arena = qa_arena_measure();
    take(&measured, &arena, model, adapted);
    return qa_arena_bytes(&arena, bytes, err);
}

static qa_status pass_limits(const qa_pair_limits *limits, qa_pass_limits *out, qa_error *err) {
    size_t rows = 0, row = 0;
    if (limits->max_prompt == 0 || limits->max_response == 0 || !sizes(limits, &rows, &row)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "no workspace for prompts of %zu and responses of %zu tokens",
                       limits->max_prompt, limits->max_response);
    }
    *out = (qa_pass_limits){
        .max_rows = rows, .max_states = rows, .backward = limits->backward, .recompute = limits->recompute};
    return QA_OK;
}

qa_status qa_pair_step_bytes(const qa_model *model, const qa_lora_options *lora, qa_pair_limits limits, size_t *bytes,
                             qa_error *err) {
    qa_pass_limits pass;
    size_t of_pass = 0, own = 0;
    QA_TRY(pass_limits(&limits, &pass, err));
    QA_TRY(qa_pass_bytes(model, lora, pass, &of_pass, err));
    QA_TRY(workspace_bytes(model, lora != NULL, limits, &own, err));
    if (!qa_add_size(of_pass, own, bytes)) {
        return qa_fail(err, QA_ERR_LIMIT, "the workspace of one pair does not fit the address space");
    }
    return QA_OK;
}

qa_status qa_pair_step_create(qa_pair_step **out, qa_model *model, const qa_adapter *adapter,
                              const qa_objective *objective, qa_pair_limits limits, qa_error *err) {
    *out = NULL;
    QA_TRY(qa_objective_check(objective, err));
    if (objective->kind == QA_PUBLISHED && model->info.n_eos == 0) {
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "%s: the published objective pads with the end-of-sequence token, and the model's config.json "
                       "has no eos_token_id",
                       model->info.dir);
    }
    qa_pair_step *step = NULL;
    QA_TRY(QA_NEW(step, 1, err, "a training step"));
    step->model = model;
    step->adapter = adapter;
    step->objective = *objective;
    step->method = qa_method_of(objective);
    step->limits = limits;
    step->pad_id = model->info.n_eos > 0 ? model->info.eos_ids[0] : 0;
    qa_status status = QA_OK;
    qa_pass_limits pass;
    size_t bytes = 0;
    QA_GOTO(fail, pass_limits(&limits, &pass, err));
    QA_GOTO(fail, qa_pass_create(&step->pass, model, adapter, pass, err));
    QA_GOTO(fail, workspace_bytes(model, adapter != NULL, limits, &bytes, err));
    QA_GOTO(fail, qa_arena_create(&step->arena, bytes, err));
    take(step, &step->arena, model, adapter != NULL);
    QA_GOTO(fail, qa_arena_bytes(&step->arena, &bytes, err));
    *out = step;
    return QA_OK;
fail:
    qa_pair_step_free(step);
    return status;
}

void qa_pair_step_free(qa_pair_step *step) {
    if (step != NULL) {
        qa_pass_free(step->pass);
        qa_arena_free(&step->arena);
        free(step);
    }
}

/* ---- states and slots ---- */

static size_t packed_rows(const qa_pair_step *step, const qa_pair *pair) {
    return pair->prompt_len + pair->chosen_len + (step->n_sides == QA_SIDES ? pair->rejected_len : 0);
}

static qa_status check_pair(const qa_pair_step *step, const qa_pair *pair, size_t padded_length, qa_error *err) {
    const bool both = step->n_sides == QA_SIDES;
    const size_t longest = both && pair->rejected_len > pair->chosen_len ? pair->rejected_len : pair->chosen_len;
    const size_t rows = packed_rows(step, pair);
    if (pair->prompt_len == 0 || pair->chosen_len == 0 || (both && pair->rejected_len == 0)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "prompt%s must have at least one token each",
                       both ? ", chosen and rejected response" : " and response");
    }
    if (pair->prompt_len > step->limits.max_prompt || longest > step->limits.max_response) {
        return qa_fail(err, QA_ERR_LIMIT,
                       "prompt of %zu and response of %zu tokens, but the workspace was made for %zu and %zu",
                       pair->prompt_len, longest, step->limits.max_prompt, step->limits.max_response);
    }
    if (step->limits.max_rows > 0 && rows > step->limits.max_rows) {
        return qa_fail(err, QA_ERR_LIMIT, "prompt and %s %zu tokens, but the workspace was made for %zu",
                       both ? "both responses have" : "response have", rows, step->limits.max_rows);
    }
    if (step->objective.kind == QA_PUBLISHED) {
        if (pair->label_start == 0 || pair->label_start > pair->prompt_len) {
            return qa_fail(err, QA_ERR_ARGUMENT, "label_start is %zu, outside the prompt's 1..%zu", pair->label_start,
                           pair->prompt_len);
        }
        if (padded_length < pair->prompt_len + longest) {
            return qa_fail(err, QA_ERR_ARGUMENT, "padded length %zu is shorter than the pair's longest row, %zu tokens",
                           padded_length, pair->prompt_len + longest);
        }
    }
    return QA_OK;
}

/* The packed row of a state of a side. */
static size_t row_of_state(const qa_pair_step *step, size_t side, size_t state) {
    const size_t position = step->side[side].label_start - 1 + state;
    const bool in_second_branch = side == QA_REJECTED && position >= step->pair->prompt_len;
    return position + (in_second_branch ? step->pair->chosen_len : 0);
}

/* The side's ids in one piece, its transitions, and their weights. */
static void lay_out_side(qa_pair_step *step, size_t s, size_t padded_length) {
    const qa_pair *pair = step->pair;
    side_arrays *arrays = &step->sides[s];
    qa_side *side = &step->side[s];
    *side = qa_pair_side(pair, s == QA_CHOSEN, &step->objective);
    memcpy(arrays->ids, pair->prompt, pair->prompt_len * sizeof *arrays->ids);
    memcpy(arrays->ids + pair->prompt_len, s == QA_CHOSEN ? pair->chosen : pair->rejected,
           (side->length - pair->prompt_len) * sizeof *arrays->ids);
    side->ids = arrays->ids;
    arrays->found.n = qa_transition_count(side, &step->objective, padded_length);
    arrays->found.states = qa_side_states(side);
    step->method->layout(arrays->transitions, side, &step->objective, padded_length, step->pad_id);
    for (size_t t = 0; t < arrays->found.n; t++) {
        arrays->found.weight[t] = arrays->transitions[t].weight;
    }
}

static void mark(qa_pair_step *step, size_t side, size_t state) {
    if (state != QA_TERMINAL_STATE) {
        step->slot_of_row[row_of_state(step, side, state)] = 0; /* any value but NO_SLOT */
    }
}

/* Marks the rows of the states that transitions start from or subtract the value of; with full, of all states. */
static void mark_needed_rows(qa_pair_step *step, size_t side) {
    const qa_side_step *found = &step->sides[side].found;
    for (size_t t = 0; t < found->n; t++) {
        mark(step, side, found->transitions[t].state);
        mark(step, side, found->transitions[t].value_state);
    }
    for (size_t k = 0; step->limits.full && k < found->states; k++) {
        mark(step, side, k);
    }
}

/* Numbers the marked rows and tells every slot its states and actions. */
static void number_slots(qa_pair_step *step, size_t rows) {
    step->n_slots = 0;
    for (size_t row = 0; row < rows; row++) {
        if (step->slot_of_row[row] != NO_SLOT) {
            step->slot_of_row[row] = step->n_slots;
            step->row_of_slot[step->n_slots] = row;
            step->slots[step->n_slots++] =
                (slot){.state = {NO_STATE, NO_STATE}, .action = {NO_ACTION, NO_ACTION}, .v = (double)NAN};
        }
    }
    for (size_t side = 0; side < step->n_sides; side++) {
        const qa_side_step *found = &step->sides[side].found;
        for (size_t k = 0; k < found->states; k++) {
            const size_t at = step->slot_of_row[row_of_state(step, side, k)];
            if (at != NO_SLOT) {
                step->slots[at].state[side] = k;
            }
        }
        for (size_t t = 0; t < found->n; t++) {
            const qa_transition *transition = &found->transitions[t];
            step->slots[step->slot_of_row[row_of_state(step, side, transition->state)]].action[side] =
                transition->action;
        }
    }
}

static void lay_out(qa_pair_step *step, const qa_pair *pair, size_t padded_length) {
    const size_t rows = packed_rows(step, pair);
    step->pair = pair;
    step->sides[QA_REJECTED].found.n = step->sides[QA_REJECTED].found.states = 0;
    for (size_t row = 0; row < rows; row++) {
        step->slot_of_row[row] = NO_SLOT;
    }
    for (size_t side = 0; side < step->n_sides; side++) {
        lay_out_side(step, side, padded_length);
        mark_needed_rows(step, side);
    }
    number_slots(step, rows);
}

/* ---- the rows of one chunk, one task each ---- */

typedef struct chunk_task {
    qa_pair_step *step;
    size_t first;
    qa_real *base;    /* [count x V] z1, becomes log pi1 */
    qa_real *adapted; /* [count x V] z, becomes Qhat and then pitilde; NULL without adapter */
} chunk_task;

/* Qhat from the two rows of logits (before z1 is overwritten). Without an adapter z = z1. */
static qa_real *q_row(const chunk_task *task, qa_real *z, const qa_real *z1, size_t V, size_t worker) {
    if (z == NULL) {
        qa_real *q = task->step->scratch_q + worker * V;
        memcpy(q, z1, V * sizeof *q);
        z = q;
    }
    qa_q_from_logits(z, z1, V, &task->step->objective);
    return z;
}

/* Keeps of a row what later steps ask for. */
static void keep(qa_pair_step *step, slot *at, const qa_real *q, const qa_real *log_pi1, size_t V) {
    for (size_t side = 0; side < step->n_sides; side++) {
        const int32_t action = at->action[side];
        if (action != NO_ACTION) {
            at->q[side] = (double)q[action];
            at->log_pi1[side] = (double)log_pi1[action];
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
}

static void row_task(void *context, size_t i, size_t worker) {
    const chunk_task *task = context;
    qa_pair_step *step = task->step;
    const qa_objective *objective = &step->objective;
    const size_t V = step->model->config.vocab_size;
    slot *at = &step->slots[task->first + i];
    qa_real *log_pi1 = task->base + i * V;
    qa_real *q = q_row(task, task->adapted == NULL ? NULL : task->adapted + i * V, log_pi1, V, worker);
    qa_real *pi = step->scratch_pi + worker * V;
    (void)qa_log_softmax_forward(log_pi1, log_pi1, V);
    keep(step, at, q, log_pi1, V);
    at->v = qa_m7_policy(pi, q, log_pi1, V, objective->alpha_0, objective->alpha_tilde);
    at->kl = qa_kl_to_base(pi, q, log_pi1, at->v, V, objective->alpha_0, objective->alpha_tilde);
    if (step->limits.backward) {
        memcpy(q, pi, V * sizeof *q); /* the adapted row, for u = pitilde W_head */
    }
}

static void run_chunks(qa_pair_step *step) {
    const size_t d = step->model->config.hidden_size;
    qa_pool *pool = step->model->context->pool;
    qa_part_begin(pool, QA_PART_HEAD);
    for (size_t first = 0; first < step->n_slots; first += QA_HEAD_CHUNK) {
        const size_t left = step->n_slots - first;
        const size_t count = left < QA_HEAD_CHUNK ? left : QA_HEAD_CHUNK;
        chunk_task task = {.step = step, .first = first};
        qa_pass_head(step->pass, first, count, &task.base, &task.adapted);
        qa_pool_run(pool, count, row_task, &task);
        if (step->limits.backward) {
            qa_pass_head_transpose(step->pass, step->states + first * d, task.adapted, count);
        }
    }
    qa_part_end(pool);
}

/* ---- from slots to rewards and returns ---- */

static void gather(qa_pair_step *step, size_t side) {
    qa_side_step *found = &step->sides[side].found;
    const qa_objective *objective = &step->objective;
    for (size_t k = 0; k < found->states; k++) {
        const size_t at = step->slot_of_row[row_of_state(step, side, k)];
        found->state_v[k] = at == NO_SLOT ? (double)NAN : step->slots[at].v;
    }
    for (size_t t = 0; t < found->n; t++) {
        const slot *at = &step->slots[step->slot_of_row[row_of_state(step, side, found->transitions[t].state)]];
        found->q[t] = at->q[side];
        found->log_pi1[t] = at->log_pi1[side];
        found->v[t] = at->v;
        found->kl[t] = at->kl;
        found->log_pi[t] =
            qa_m7_log_policy(found->q[t], found->log_pi1[t], at->v, objective->alpha_0, objective->alpha_tilde);
    }
    step->method->rewards(found, objective);
    found->ret = qa_m9_return(found->weight, found->reward, found->n);
}

/* Names the first quantity that is not finite. */
static qa_status check_finite(const qa_pair_step *step, size_t side, qa_error *err) {
    const qa_side_step *found = &step->sides[side].found;
    for (size_t t = 0; t < found->n; t++) {
        const bool bad_value = !isfinite(found->v[t]);
        if (bad_value || !isfinite(found->reward[t])) {
            const size_t position = step->side[side].label_start - 1 + found->transitions[t].state;
            return qa_fail(err, QA_ERR_NAN, "%s of the %s response is %g after token %zu",
                           bad_value ? "Vhat" : "reward", side_names[side], bad_value ? found->v[t] : found->reward[t],
                           position + 1);
        }
    }
    if (!isfinite(found->ret)) {
        return qa_fail(err, QA_ERR_NAN, "the return of the %s response is %g", side_names[side], found->ret);
    }
    return QA_OK;
}

void qa_pair_step_place(qa_pair_step *step, qa_base_place place) {
    step->place = step->adapter == NULL ? (qa_base_place){0} : place;
}

/* Through the layers: of both streams, or of the adapted one when the base stream's states are kept. A pair that is run
 * again runs its streams apart, also where nothing is kept of it, so that what is kept changes no bit. */
static qa_status run_pass(qa_pair_step *step, const qa_pair *pair, qa_base_place place, uint64_t dropout_key,
                          qa_error *err) {
    const size_t first = step->side[QA_CHOSEN].label_start - 1, rows = packed_rows(step, pair) - first;
    qa_packed packed = {
        .trunk = {pair->prompt, pair->prompt_len},
        .branches = {{pair->chosen, pair->chosen_len}, {pair->rejected, pair->rejected_len}},
        .n_branches = step->n_sides,
        .apart = place.cache != NULL,
        .base = place.cache == NULL ? NULL : qa_base_cache_find(place, rows),
        .first = first,
    };
    QA_TRY(qa_pass_forward(step->pass, &packed, step->row_of_slot, step->n_slots, dropout_key, err));
    qa_real *room = place.cache == NULL || packed.base != NULL ? NULL : qa_base_cache_room(place, rows);
    if (room != NULL) {
        qa_pass_base_states(step->pass, room, first);
        qa_base_cache_keep(place);
    }
    return QA_OK;
}

static qa_status forward(qa_pair_step *step, const qa_pair *pair, size_t n_sides, size_t padded_length,
                         uint64_t dropout_key, qa_error *err) {
    const qa_base_place place = step->place;
    step->place = (qa_base_place){0};
    step->n_sides = n_sides;
    QA_TRY(check_pair(step, pair, padded_length, err));
    lay_out(step, pair, padded_length);
    QA_TRY(run_pass(step, pair, place, dropout_key, err));
    run_chunks(step);
    for (size_t side = 0; side < n_sides; side++) {
        gather(step, side);
        QA_TRY(check_finite(step, side, err));
    }
    step->logit = n_sides == QA_SIDES ? step->sides[QA_CHOSEN].found.ret - step->sides[QA_REJECTED].found.ret : NAN;
    return QA_OK;
}

qa_status qa_pair_step_forward(qa_pair_step *step, const qa_pair *pair, size_t padded_length, uint64_t dropout_key,
                               qa_error *err) {
    return forward(step, pair, QA_SIDES, padded_length, dropout_key, err);
}

qa_status qa_pair_step_forward_chosen(qa_pair_step *step, const qa_pair *pair, uint64_t dropout_key, qa_error *err) {
    if (step->objective.kind != QA_THEORY) {
        return qa_fail(err, QA_ERR_ARGUMENT, "one response alone: not under the published objective");
    }
    return forward(step, pair, 1, 0, dropout_key, err);
}

const qa_side_step *qa_pair_step_side(const qa_pair_step *step, size_t side) { return &step->sides[side].found; }

double qa_pair_step_logit(const qa_pair_step *step) { return step->logit; }

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

/* g_t of every transition and dL/dVhat of every state of a side. */
static void reward_gradient(qa_pair_step *step, size_t side, const qa_divisors *divisors) {
    side_arrays *arrays = &step->sides[side];
    const qa_side_step *found = &arrays->found;
    step->method->gradient(arrays->g, found, side, step->logit, &step->objective, divisors);
    memset(arrays->value_gradient, 0, found->states * sizeof *arrays->value_gradient);
    qa_transitions_value_gradient(arrays->value_gradient, found->transitions, found->n, arrays->g,
                                  step->objective.gamma);
}

void qa_pair_step_backward(qa_pair_step *step, qa_real *gradient, const qa_divisors *divisors) {
    const size_t d = step->model->config.hidden_size;
    for (size_t side = 0; side < step->n_sides; side++) {
        reward_gradient(step, side, divisors);
    }
    qa_part_begin(step->model->context->pool, QA_PART_HEAD);
    for (size_t i = 0; i < step->n_slots; i++) { /* u -> value_gradient * u */
        double value_gradient = 0.0;
        for (size_t side = 0; side < step->n_sides; side++) {
            const size_t state = step->slots[i].state[side];
            value_gradient += state == NO_STATE ? 0.0 : step->sides[side].value_gradient[state];
        }
        for (size_t j = 0; j < d; j++) {
            step->states[i * d + j] *= (qa_real)value_gradient;
        }
    }
    for (size_t side = 0; side < step->n_sides; side++) { /* + g_t W_head[a_t] */
        const qa_side_step *found = &step->sides[side].found;
        for (size_t t = 0; t < found->n; t++) {
            const qa_transition *transition = &found->transitions[t];
            const size_t i = step->slot_of_row[row_of_state(step, side, transition->state)];
            qa_pass_add_head_row(step->pass, step->states + i * d, (qa_real)step->sides[side].g[t], transition->action);
        }
    }
    qa_part_end(step->model->context->pool);
    qa_pass_backward(step->pass, gradient, step->states);
}
