/* See document_step.h. The rows of a chunk of states are tasks for the pool: each turns its logits into its loss and
 * their gradient. The losses are added up in the order of the rows, so the sum does not depend on the threads. */
#include "train/document_step.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/try.h"
#include "model/pass.h"
#include "nn/softmax.h"
#include "train/document_plan.h"

#include <math.h>

enum { ROWS_OF_A_TASK = 4 };

struct qa_document_step {
    qa_model *model;
    qa_pass *pass;
    qa_arena arena;
    size_t rows;          /* of a pass; a single document may have more */
    qa_tokens *documents; /* [max_documents] of a pass */
    size_t *state_rows;   /* [max_rows] the rows whose next token is learned */
    int32_t *targets;     /* [max_rows] that token */
    double *losses;       /* [max_rows] of every state */
    qa_real *dstates;     /* [max_rows x d]; NULL without backward */
    size_t n_states;
    bool (*should_stop)(void *user); /* NULL: nobody asks */
    void *user;
};

/* ---- memory ---- */

static void include_corpus(qa_pass_limits *limits, const qa_corpus *corpus) {
    if (corpus == NULL) {
        return;
    }
    for (size_t i = 0; i < qa_corpus_count(corpus); i++) {
        const size_t rows = qa_document_rows(qa_corpus_at(corpus, i));
        limits->max_rows = rows > limits->max_rows ? rows : limits->max_rows;
    }
    const size_t total = qa_corpus_rows(corpus);
    limits->max_states = total > limits->max_states ? total : limits->max_states;
}

/* No more rows than a pass may have, or than there are. */
static qa_pass_limits document_limits(const qa_corpus *a, const qa_corpus *b, qa_document_limits asked) {
    qa_pass_limits limits = {.backward = asked.backward, .weights = asked.backward, .recompute = asked.recompute};
    include_corpus(&limits, a);
    include_corpus(&limits, b);
    const size_t wanted = asked.rows < limits.max_states ? asked.rows : limits.max_states;
    limits.max_rows = wanted > limits.max_rows ? wanted : limits.max_rows;
    limits.max_states = limits.max_rows;
    limits.max_documents = limits.max_rows;
    return limits;
}

static void take_document_arrays(qa_document_step *step, qa_arena *arena, const qa_pass_limits *limits) {
    step->documents = QA_TAKE(arena, qa_tokens, limits->max_documents);
    step->state_rows = QA_TAKE(arena, size_t, limits->max_rows);
    step->targets = QA_TAKE(arena, int32_t, limits->max_rows);
    step->losses = QA_TAKE(arena, double, limits->max_rows);
    size_t elements = 0;
    if (limits->backward) {
        arena->overflow |= !qa_mul_size(limits->max_rows, step->model->config.hidden_size, &elements);
        step->dstates = QA_TAKE(arena, qa_real, elements);
    }
}

static qa_status own_bytes(qa_model *model, const qa_pass_limits *limits, size_t *bytes, qa_error *err) {
    qa_document_step measured = {.model = model};
    qa_arena arena = qa_arena_measure();
    take_document_arrays(&measured, &arena, limits);
    return qa_arena_bytes(&arena, bytes, err);
}

qa_status qa_document_step_bytes(qa_model *model, const qa_corpus *a, const qa_corpus *b, qa_document_limits asked,
                                 size_t *bytes, qa_error *err) {
    const qa_pass_limits limits = document_limits(a, b, asked);
    size_t own = 0;
    QA_TRY(qa_pass_bytes(model, NULL, limits, bytes, err));
    QA_TRY(own_bytes(model, &limits, &own, err));
    return qa_add_size(*bytes, own, bytes)
               ? QA_OK
               : qa_fail(err, QA_ERR_LIMIT, "the training workspace does not fit the address space");
}

qa_status qa_document_step_create(qa_document_step **out, qa_model *model, const qa_corpus *a, const qa_corpus *b,
                                  qa_document_limits asked, qa_error *err) {
    const qa_pass_limits limits = document_limits(a, b, asked);
    size_t bytes = 0;
    qa_status status = QA_OK;
    *out = NULL;
    qa_document_step *step = NULL;
    QA_TRY(QA_NEW(step, 1, err, "the training workspace"));
    step->model = model;
    step->rows = asked.rows;
    QA_GOTO(failed, qa_pass_create(&step->pass, model, NULL, limits, err));
    QA_GOTO(failed, own_bytes(model, &limits, &bytes, err));
    QA_GOTO(failed, qa_arena_create(&step->arena, bytes, err));
    take_document_arrays(step, &step->arena, &limits);
    *out = step;
    return QA_OK;
failed:
    qa_document_step_free(step);
    return status;
}

void qa_document_step_free(qa_document_step *step) {
    if (step != NULL) {
        qa_pass_free(step->pass);
        qa_arena_free(&step->arena);
        free(step);
    }
}

/* ---- ranges ---- */

const qa_document *qa_document_range_at(const qa_document_range *range, size_t i) {
    return qa_corpus_at(range->corpus, range->order == NULL ? i : range->order[i]);
}

size_t qa_document_range_rows(const qa_document_range *range) {
    size_t rows = 0;
    for (size_t i = range->begin; i < range->end; i++) {
        rows += qa_document_rows(qa_document_range_at(range, i));
    }
    return rows;
}

size_t qa_document_range_learned(const qa_document_range *range) {
    size_t learned = 0;
    for (size_t i = range->begin; i < range->end; i++) {
        const qa_document *document = qa_document_range_at(range, i);
        for (size_t t = 1; t < document->n; t++) {
            learned += document->learned[t] ? 1 : 0;
        }
    }
    return learned;
}

/* ---- one pass ---- */

/* Fills documents, state_rows and targets for the range, which fits one pass. */
static void pack_documents(qa_document_step *step, const qa_document_range *range) {
    size_t row = 0;
    step->n_states = 0;
    for (size_t i = range->begin; i < range->end; i++) {
        const qa_document *document = qa_document_range_at(range, i);
        const size_t rows = qa_document_rows(document);
        step->documents[i - range->begin] = (qa_tokens){.ids = document->ids, .n = rows};
        for (size_t t = 0; t < rows; t++, row++) {
            if (document->learned[t + 1]) {
                step->state_rows[step->n_states] = row;
                step->targets[step->n_states++] = document->ids[t + 1];
            }
        }
    }
}

typedef struct document_chunk_task {
    qa_real *logits; /* [count x V] */
    const int32_t *targets;
    double *losses;
    size_t count, vocab_size;
    double weight;
} document_chunk_task;

static void chunk_rows(void *context, size_t task, size_t worker) {
    const document_chunk_task *c = context;
    const size_t begin = task * ROWS_OF_A_TASK;
    const size_t end = c->count - begin < ROWS_OF_A_TASK ? c->count : begin + ROWS_OF_A_TASK;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        c->losses[i] = qa_cross_entropy(c->logits + i * c->vocab_size, c->vocab_size, (size_t)c->targets[i], c->weight);
    }
}

/* The losses of all states and, with gradients, the head's backward. */
static void run_head(qa_document_step *step, double weight, const qa_weight_gradients *gradients) {
    const size_t vocab_size = step->model->config.vocab_size, d = step->model->config.hidden_size;
    for (size_t first = 0; first < step->n_states; first += QA_HEAD_CHUNK) {
        const size_t left = step->n_states - first, count = left < QA_HEAD_CHUNK ? left : QA_HEAD_CHUNK;
        qa_real *logits = NULL, *adapted = NULL;
        qa_pass_head(step->pass, first, count, &logits, &adapted);
        document_chunk_task task = {.logits = logits,
                                    .targets = step->targets + first,
                                    .losses = step->losses + first,
                                    .count = count,
                                    .vocab_size = vocab_size,
                                    .weight = weight};
        qa_pool_run(step->model->context->pool, (count - 1) / ROWS_OF_A_TASK + 1, chunk_rows, &task);
        if (gradients != NULL) {
            qa_pass_head_backward(step->pass, gradients, step->dstates + first * d, logits, first, count);
        }
    }
}

/* The document that a row of the pass belongs to. */
static const qa_document *document_of_row(const qa_document_range *range, size_t row) {
    size_t i = range->begin;
    for (size_t rows = qa_document_rows(qa_document_range_at(range, i)); row >= rows; i++) {
        rows += qa_document_rows(qa_document_range_at(range, i + 1));
    }
    return qa_document_range_at(range, i);
}

static qa_status sum_losses(const qa_document_step *step, const qa_document_range *range, double *loss, qa_error *err) {
    for (size_t i = 0; i < step->n_states; i++) {
        QA_FAIL_IF(!isfinite(step->losses[i]), err, QA_ERR_NAN, "document at line %zu of %s: the loss is %g",
                   document_of_row(range, step->state_rows[i])->line, range->name, step->losses[i]);
        *loss += step->losses[i];
    }
    return QA_OK;
}

static qa_status run_document_pass(qa_document_step *step, const qa_document_range *range, double weight,
                                   const qa_weight_gradients *gradients, double *loss, qa_error *err) {
    pack_documents(step, range);
    const qa_status status = qa_pass_forward(
        step->pass, &(qa_packed){.documents = step->documents, .n_documents = range->end - range->begin},
        step->state_rows, step->n_states, 0, err);
    if (status != QA_OK) {
        qa_error_prefix(err, "%zu documents from that at line %zu of %s on: ", range->end - range->begin,
                        qa_document_range_at(range, range->begin)->line, range->name);
        return status;
    }
    run_head(step, weight, gradients);
    QA_TRY(sum_losses(step, range, loss, err));
    if (gradients != NULL) {
        qa_pass_backward_weights(step->pass, gradients, step->dstates);
    }
    return QA_OK;
}

void qa_document_step_watch(qa_document_step *step, bool (*should_stop)(void *user), void *user) {
    step->should_stop = should_stop;
    step->user = user;
}

qa_status qa_document_step_run(qa_document_step *step, const qa_document_range *range, double weight,
                               const qa_weight_gradients *gradients, double *loss, qa_error *err) {
    qa_document_range pass = *range;
    *loss = 0.0;
    for (pass.begin = range->begin; pass.begin < range->end; pass.begin = pass.end) {
        QA_FAIL_IF(step->should_stop != NULL && step->should_stop(step->user), err, QA_ERR_INTERRUPTED,
                   "stopped before the document at line %zu of %s", qa_document_range_at(range, pass.begin)->line,
                   range->name);
        pass.end = qa_document_pass_end(range->corpus, range->order, pass.begin, range->end, step->rows);
        QA_TRY(run_document_pass(step, &pass, weight, gradients, loss, err));
    }
    return QA_OK;
}
