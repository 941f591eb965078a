/* See rollout_step.h.
 *
 * Backward. With g_t the derivative of the loss with respect to log pi(a_t|s_t), and g'_t with respect to V(s_t),
 *
 *     dL/dz(s_t, .) = g_t ([a = a_t] - pi(.|s_t)),      dL/dh(s_t) = g_t (W_head[a_t] - u(s_t)) + g'_t w,
 *
 * with u(s) = pi(.|s) W_head, which is made while the logits exist, a chunk of states at a time: g may depend on every
 * token of the answer. */
#include "train/rollout_step.h"

#include "base/arena.h"
#include "base/checked.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "model/pass.h"
#include "nn/softmax.h"
#include "train/shared_step.h"
#include "train/value_head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_STREAM = 1 }; /* keeps the value head's masks apart from LoRA's */

struct qa_rollout_step {
    qa_model *model;
    const qa_adapter *adapter;
    const qa_real *head;
    qa_rollout_limits limits;
    qa_pass *pass;
    qa_arena arena;
    /* of the pass under way */
    qa_tokens *documents;   /* [rows] */
    size_t *state_rows;     /* [rows] */
    int32_t *actions;       /* [rows] */
    double *log_pi, *value; /* [rows] */
    double *g, *g_value;    /* [rows] */
    qa_real *slopes;        /* [rows] of the logit at the action, by the product with W_head */
    qa_real *h, *dh;        /* [rows x d] */
    size_t n_documents, n_states;
    bool (*should_stop)(void *user); /* NULL: nobody asks */
    void *user;
};

/* ---- making ---- */

static size_t most_rows(const qa_rollout_limits *limits) {
    return limits->longest > limits->pass_tokens ? limits->longest : limits->pass_tokens;
}

static qa_pass_limits rollout_pass_limits(const qa_rollout_limits *limits) {
    const size_t rows = most_rows(limits);
    return (qa_pass_limits){.max_rows = rows,
                            .max_states = rows,
                            .max_documents = rows,
                            .backward = limits->backward,
                            .recompute = limits->recompute};
}

static void take_rollout_arrays(qa_rollout_step *step, qa_arena *arena, size_t d) {
    const size_t rows = most_rows(&step->limits);
    size_t elements = 0;
    arena->overflow |= !qa_mul_size(rows, d, &elements);
    step->documents = QA_TAKE(arena, qa_tokens, rows);
    step->state_rows = QA_TAKE(arena, size_t, rows);
    step->actions = QA_TAKE(arena, int32_t, rows);
    step->log_pi = QA_TAKE(arena, double, rows);
    step->value = QA_TAKE(arena, double, rows);
    step->g = QA_TAKE(arena, double, rows);
    step->g_value = QA_TAKE(arena, double, rows);
    step->slopes = QA_TAKE(arena, qa_real, rows);
    step->h = step->limits.values ? QA_TAKE(arena, qa_real, elements) : NULL;
    step->dh = step->limits.backward ? QA_TAKE(arena, qa_real, elements) : NULL;
}

static qa_status rollout_arrays_bytes(const qa_model *model, qa_rollout_limits limits, size_t *bytes, qa_error *err) {
    qa_rollout_step measured = {.limits = limits};
    qa_arena arena = qa_arena_measure();
    take_rollout_arrays(&measured, &arena, model->config.hidden_size);
    return qa_arena_bytes(&arena, bytes, err);
}

qa_status qa_rollout_step_bytes(const qa_model *model, const qa_lora_options *lora, qa_rollout_limits limits,
                                size_t *bytes, qa_error *err) {
    size_t own = 0;
    QA_TRY(qa_pass_bytes(model, lora, rollout_pass_limits(&limits), bytes, err));
    QA_TRY(rollout_arrays_bytes(model, limits, &own, err));
    return qa_add_size(*bytes, own, bytes)
               ? QA_OK
               : qa_fail(err, QA_ERR_LIMIT, "the training workspace does not fit the address space");
}

qa_status qa_rollout_step_create(qa_rollout_step **out, qa_model *model, const qa_adapter *adapter, const qa_real *head,
                                 qa_rollout_limits limits, qa_error *err) {
    qa_rollout_step *step = NULL;
    size_t bytes = 0;
    qa_status status = QA_OK;
    *out = NULL;
    QA_TRY(QA_NEW(step, 1, err, "a training step"));
    step->model = model;
    step->adapter = adapter;
    step->head = head;
    step->limits = limits;
    QA_GOTO(failed, qa_pass_create(&step->pass, model, adapter, rollout_pass_limits(&limits), err));
    QA_GOTO(failed, rollout_arrays_bytes(model, limits, &bytes, err));
    QA_GOTO(failed, qa_arena_create(&step->arena, bytes, err));
    take_rollout_arrays(step, &step->arena, model->config.hidden_size);
    *out = step;
    return QA_OK;
failed:
    qa_rollout_step_free(step);
    return status;
}

void qa_rollout_step_free(qa_rollout_step *step) {
    if (step != NULL) {
        qa_pass_free(step->pass);
        qa_arena_free(&step->arena);
        free(step);
    }
}

void qa_rollout_step_watch(qa_rollout_step *step, bool (*should_stop)(void *user), void *user) {
    step->should_stop = should_stop;
    step->user = user;
}

/* ---- passes ---- */

/* The answer number i of those that run: of `order`, or of all. */
static size_t answer_at(const size_t *order, size_t i) { return order == NULL ? i : order[i]; }

/* Rows of an answer behind its prompt. The last token leads nowhere, and is not run. */
static size_t rows_of_answer(const qa_rollout_place *place) { return place->n_prompt + place->n - 1; }

/* Which answers run together, as many in order as a pass has room for: those of pass i are begin[i] .. begin[i + 1] -
 * 1. That is a function of the answers alone, whichever rank runs them. */
typedef struct answer_passes {
    const qa_rollout_place *places;
    const size_t *order;
    size_t n, n_passes;
    size_t *begin, *costs; /* one allocation, that of begin */
} answer_passes;

static qa_status plan_passes(answer_passes *passes, const qa_rollout_step *step, const qa_rollout_place *places,
                             const size_t *order, size_t n, qa_error *err) {
    size_t rows = 0, *pass = NULL;
    *passes = (answer_passes){.places = places, .order = order, .n = n};
    QA_TRY(QA_NEW(passes->begin, 2 * n + 1, err, "the passes of %zu answers", n));
    passes->costs = pass = passes->begin + n + 1;
    for (size_t i = 0; i < n; i++) {
        const size_t own = rows_of_answer(&places[answer_at(order, i)]);
        if (i == 0 || rows + own > most_rows(&step->limits)) {
            passes->begin[passes->n_passes++] = i;
            rows = 0;
        }
        rows += own;
        pass[passes->n_passes - 1] = rows;
    }
    passes->begin[passes->n_passes] = n;
    return QA_OK;
}

/* Packs answers [begin, end). */
static void pack_answers(qa_rollout_step *step, const answer_passes *passes, size_t begin, size_t end) {
    size_t rows = 0;
    step->n_documents = step->n_states = 0;
    for (size_t i = begin; i < end; i++) {
        const qa_rollout_place *place = &passes->places[answer_at(passes->order, i)];
        const size_t own = rows_of_answer(place);
        step->documents[step->n_documents++] = (qa_tokens){.ids = place->ids, .n = own};
        for (size_t t = 0; t < place->n; t++) {
            step->state_rows[step->n_states] = rows + place->n_prompt - 1 + t;
            step->actions[step->n_states++] = place->ids[place->n_prompt + t];
        }
        rows += own;
    }
}

/* Packs the answers of a pass and runs the layers; alone: of the adapted stream. */
static qa_status run_layers(qa_rollout_step *step, const answer_passes *passes, size_t pass, bool alone, uint64_t key,
                            qa_error *err) {
    const size_t begin = passes->begin[pass], end = passes->begin[pass + 1];
    QA_FAIL_IF(step->should_stop != NULL && step->should_stop(step->user), err, QA_ERR_INTERRUPTED,
               "stopped before answer %zu of %zu", begin + 1, passes->n);
    pack_answers(step, passes, begin, end);
    const qa_packed packed = {
        .documents = step->documents, .n_documents = step->n_documents, .alone = alone, .apart = true};
    return qa_prefixed(qa_pass_forward(step->pass, &packed, step->state_rows, step->n_states, key, err), err,
                       "answers %zu to %zu: ", begin + 1, end);
}

/* V of the states of the pass; key 0: without dropout. */
static void find_values(qa_rollout_step *step, double p, uint64_t key) {
    const size_t d = step->model->config.hidden_size;
    if (step->head != NULL) {
        memcpy(step->h, qa_pass_states(step->pass), step->n_states * d * sizeof *step->h);
        if (key != 0) {
            qa_value_head_dropout(step->h, step->n_states, d, p, key);
        }
        qa_value_head_forward(step->value, step->head, step->h, step->n_states, d);
    }
}

/* ---- looking ---- */

typedef struct look_task {
    qa_real *base, *adapted; /* [count x V] */
    const int32_t *actions;
    double *log_old, *log_ref, *full, *entropy; /* [count] */
    size_t V;
} look_task;

static void look_state(void *context, size_t i, size_t worker) {
    const look_task *task = context;
    qa_real *log_pi1 = task->base + i * task->V, *log_pi = task->adapted + i * task->V;
    double full = 0.0, entropy = 0.0;
    (void)worker;
    (void)qa_log_softmax_forward(log_pi1, log_pi1, task->V);
    (void)qa_log_softmax_forward(log_pi, log_pi, task->V);
    task->log_old[i] = (double)log_pi[task->actions[i]];
    task->log_ref[i] = (double)log_pi1[task->actions[i]];
    for (size_t a = 0; a < task->V; a++) {
        const double pi = exp((double)log_pi[a]);
        entropy -= pi > 0.0 ? pi * (double)log_pi[a] : 0.0;
        full += pi > 0.0 ? pi * ((double)log_pi[a] - (double)log_pi1[a]) : 0.0;
    }
    task->full[i] = full;
    task->entropy[i] = entropy;
}

static void look_at_states(qa_rollout_step *step, const qa_rollout_tokens *tokens, size_t at) {
    for (size_t first = 0; first < step->n_states; first += QA_HEAD_CHUNK) {
        const size_t left = step->n_states - first, count = left < QA_HEAD_CHUNK ? left : QA_HEAD_CHUNK;
        look_task task = {.actions = step->actions + first,
                          .log_old = tokens->log_old + at + first,
                          .log_ref = tokens->log_ref + at + first,
                          .full = tokens->full + at + first,
                          .entropy = tokens->entropy + at + first,
                          .V = step->model->config.vocab_size};
        qa_pass_head(step->pass, first, count, &task.base, &task.adapted);
        qa_pool_run(step->model->context->pool, count, look_state, &task);
    }
    find_values(step, 0.0, 0);
    if (step->head != NULL) {
        memcpy(tokens->value + at, step->value, step->n_states * sizeof *step->value);
    }
}

static qa_status check_answer(const qa_rollout_place *place, size_t answer, const qa_rollout_tokens *tokens,
                              bool values, qa_error *err) {
    for (size_t t = 0; t < place->n; t++) {
        const size_t at = place->first_token + t;
        const double sum = tokens->log_old[at] + tokens->log_ref[at] + tokens->full[at];
        const bool value = values && !isfinite(tokens->value[at]);
        QA_FAIL_IF(value || !isfinite(sum), err, QA_ERR_NAN, "answer %zu, token %zu: %s is %g", answer + 1, t + 1,
                   value ? "its value" : "a log-probability", value ? tokens->value[at] : sum);
    }
    return QA_OK;
}

typedef struct answers_looked_at {
    qa_rollout_step *step;
    answer_passes passes;
    const qa_rollout_tokens *tokens;
} answers_looked_at;

static qa_status look_pass(void *user, size_t pass, qa_real *gradient, void *record, qa_error *err) {
    const answers_looked_at *look = user;
    const qa_rollout_place *places = look->passes.places;
    const size_t begin = look->passes.begin[pass], end = look->passes.begin[pass + 1];
    (void)gradient;
    (void)record;
    QA_TRY(run_layers(look->step, &look->passes, pass, false, 0, err));
    look_at_states(look->step, look->tokens, places[begin].first_token);
    for (size_t i = begin; i < end; i++) {
        QA_TRY(check_answer(&places[i], i, look->tokens, look->step->head != NULL, err));
    }
    return QA_OK;
}

/* The other ranks' part of the arrays. */
static qa_status gather_tokens(const answers_looked_at *look, const qa_shared_items *items, qa_error *err) {
    qa_cluster *cluster = look->step->model->context->cluster;
    const qa_rollout_tokens *t = look->tokens;
    double *const arrays[] = {t->log_old, t->log_ref, t->full, t->entropy, t->value};
    const size_t n = look->step->head == NULL ? 4 : 5;
    const qa_rollout_place *last = &look->passes.places[look->passes.n - 1];
    size_t *row = NULL;
    qa_status status = QA_OK;
    if (qa_cluster_ranks(cluster) == 1) {
        return QA_OK;
    }
    QA_TRY(QA_NEW(row, items->n + 1, err, "the tokens of %zu passes", items->n));
    for (size_t i = 0; i < items->n; i++) {
        row[i] = look->passes.places[look->passes.begin[i]].first_token;
    }
    row[items->n] = last->first_token + last->n;
    for (size_t i = 0; i < n && status == QA_OK; i++) {
        status = qa_shared_gather(cluster, items, row, arrays[i], sizeof *arrays[i], err);
    }
    free(row);
    return status;
}

qa_status qa_rollout_step_look(qa_rollout_step *step, const qa_rollout_place *places, size_t n,
                               const qa_rollout_tokens *tokens, qa_error *err) {
    answers_looked_at look = {.step = step, .tokens = tokens};
    QA_TRY(plan_passes(&look.passes, step, places, NULL, n, err));
    const qa_shared_items items = {
        .n = look.passes.n_passes, .costs = look.passes.costs, .run = look_pass, .user = &look};
    qa_status status = qa_shared_run(step->model->context->cluster, NULL, &items, err);
    status = status == QA_OK ? gather_tokens(&look, &items, err) : status;
    free(look.passes.begin);
    return status;
}

/* ---- learning ---- */

typedef struct learn_task {
    qa_real *logits; /* [count x V], becomes pi */
    const qa_real *all_slopes;
    const int32_t *actions;
    double *log_pi;  /* [count] */
    qa_real *slopes; /* [count] */
    size_t V;
} learn_task;

static void learn_state(void *context, size_t i, size_t worker) {
    const learn_task *task = context;
    qa_real *row = task->logits + i * task->V;
    const size_t action = (size_t)task->actions[i];
    (void)worker;
    (void)qa_log_softmax_forward(row, row, task->V);
    task->log_pi[i] = (double)row[action];
    task->slopes[i] = task->all_slopes == NULL ? 1 : task->all_slopes[i * task->V + action];
    (void)qa_row_exp(row, row, 0, task->V);
}

/* log pi of the actions, and u in the place of dh. */
static void find_policy(qa_rollout_step *step) {
    const size_t d = step->model->config.hidden_size;
    for (size_t first = 0; first < step->n_states; first += QA_HEAD_CHUNK) {
        const size_t left = step->n_states - first, count = left < QA_HEAD_CHUNK ? left : QA_HEAD_CHUNK;
        qa_real *base = NULL;
        learn_task task = {.actions = step->actions + first,
                           .log_pi = step->log_pi + first,
                           .slopes = step->slopes + first,
                           .V = step->model->config.vocab_size};
        qa_pass_head(step->pass, first, count, &base, &task.logits);
        task.all_slopes = qa_pass_head_slopes(step->pass);
        qa_pool_run(step->model->context->pool, count, learn_state, &task);
        qa_pass_head_transpose(step->pass, step->dh + first * d, task.logits, count);
    }
}

/* The losses of answers [begin, end) of the mini-batch, and g of their tokens. */
static void find_losses(qa_rollout_step *step, const qa_rollout_lesson *lesson, size_t begin, size_t end, double parts,
                        qa_rollout_sums *sums) {
    size_t at = 0;
    for (size_t i = begin; i < end; i++) {
        const qa_rollout *answer = &lesson->answers[answer_at(lesson->order, i)];
        lesson->rule->loss(answer, step->log_pi + at, step->head == NULL ? NULL : step->value + at, parts,
                           lesson->options, sums, step->g + at, step->head == NULL ? NULL : step->g_value + at);
        at += answer->n;
    }
}

static void learn_backward(qa_rollout_step *step, const qa_rollout_lesson *lesson, uint64_t key, qa_real *gradient) {
    const size_t d = step->model->config.hidden_size;
    for (size_t i = 0; i < step->n_states; i++) {
        const qa_real g = (qa_real)step->g[i];
        for (size_t j = 0; j < d; j++) {
            step->dh[i * d + j] *= -g;
        }
        qa_pass_add_head_row(step->pass, step->dh + i * d, g * step->slopes[i], step->actions[i]);
    }
    if (step->head != NULL) {
        qa_value_head_backward(gradient + step->adapter->count, step->dh, step->g_value, step->head, step->h,
                               step->n_states, d, key == 0 ? 0.0 : lesson->options->value_dropout, key);
    }
    qa_pass_backward(step->pass, gradient, step->dh);
}

typedef struct answers_learned {
    qa_rollout_step *step;
    answer_passes passes;
    const qa_rollout_lesson *lesson;
    double parts; /* of the mini-batch */
} answers_learned;

static qa_status learn_pass(void *user, size_t pass, qa_real *gradient, void *record, qa_error *err) {
    const answers_learned *learned = user;
    const qa_rollout_lesson *lesson = learned->lesson;
    const size_t begin = learned->passes.begin[pass], end = learned->passes.begin[pass + 1];
    const uint64_t key = lesson->key == 0 ? 0 : qa_hash(lesson->key, begin);
    const uint64_t of_values = lesson->key == 0 ? 0 : qa_hash(key, VALUE_STREAM);
    QA_TRY(run_layers(learned->step, &learned->passes, pass, true, lesson->lora_dropout ? key : 0, err));
    find_policy(learned->step);
    find_values(learned->step, lesson->options->value_dropout, of_values);
    find_losses(learned->step, lesson, begin, end, learned->parts, record);
    learn_backward(learned->step, lesson, of_values, gradient);
    return QA_OK;
}

static void add_sums(qa_rollout_sums *sums, const qa_rollout_sums *more) {
    sums->policy_loss += more->policy_loss;
    sums->value_loss += more->value_loss;
    sums->parts += more->parts;
    sums->ratio += more->ratio;
    sums->clipped += more->clipped;
    sums->value_clipped += more->value_clipped;
    sums->tokens += more->tokens;
    sums->approx_kl += more->approx_kl;
}

qa_status qa_rollout_step_learn(qa_rollout_step *step, const qa_rollout_lesson *lesson, qa_gradient_tree *tree,
                                qa_rollout_sums *sums, qa_error *err) {
    answers_learned learned = {.step = step, .lesson = lesson};
    qa_rollout_sums *of_passes = NULL;
    qa_status status = QA_OK;
    learned.parts = lesson->rule->whole_answers ? (double)lesson->n : 0.0;
    for (size_t i = 0; !lesson->rule->whole_answers && i < lesson->n; i++) {
        learned.parts += (double)lesson->answers[answer_at(lesson->order, i)].n;
    }
    QA_GOTO(end, plan_passes(&learned.passes, step, lesson->places, lesson->order, lesson->n, err));
    QA_GOTO(end, QA_NEW(of_passes, lesson->n, err, "the losses of %zu answers", lesson->n));
    const qa_shared_items items = {.n = learned.passes.n_passes,
                                   .costs = learned.passes.costs,
                                   .run = learn_pass,
                                   .user = &learned,
                                   .records = of_passes,
                                   .record_bytes = sizeof *of_passes};
    QA_GOTO(end, qa_shared_run(step->model->context->cluster, tree, &items, err));
    for (size_t i = 0; i < items.n; i++) {
        add_sums(sums, &of_passes[i]);
    }
end:
    free(of_passes);
    free(learned.passes.begin);
    return status;
}
