/* The floors of bench.h. Products have the shapes of the real ones and the real weights, or for matrices in BF16 one
 * array of floats in place of all of them, which stays in the caches where it is small: a floor that is a little too
 * low. What they multiply does not matter. Attention's products are left out. */
#include "bench/bench.h"

#include "base/checked.h"
#include "base/clock.h"
#include "base/memory.h"
#include "model/adapter.h"
#include "model/pass.h"
#include "model/weights.h"
#include "nn/blas.h"

#include <cblas.h>
#include <stdlib.h>
#include <time.h>

enum { READ_TASKS = 32, LANES = 32, ALIGNMENT = 64 /* of pieces of an arena */ };

static const struct timespec until_blas_sleeps = {0, 50000000}; /* its threads spin for about half of that */

/* ---- matrix products ---- */

/* C[m x n] = op(A) op(B); b NULL: an operand that is no weight, or one in BF16. Without operands it only counts. */
static void product(qa_bench_floor *floor, bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k,
                    const qa_real *b) {
    floor->flops += 2.0 * (double)m * (double)n * (double)k;
    if (floor->c == NULL) {
        floor->a_count = qa_larger(floor->a_count, m * k);
        floor->b_count = qa_larger(floor->b_count, b == NULL ? k * n : 0);
        floor->c_count = qa_larger(floor->c_count, m * n);
        return;
    }
    QA_CBLAS(gemm)
    (CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n,
     (int)k, 1, floor->a, (int)(transpose_a ? m : k), b == NULL ? floor->b : b, (int)(transpose_b ? k : n), 0, floor->c,
     (int)n);
}

/* Forward over the rows of all streams that run; the branches, if there are any, over `rows` of them. */
static void forward_products(qa_bench_floor *floor, const qa_bench *bench, size_t rows, size_t streams, bool branches) {
    const qa_model *model = bench->model;
    const size_t rank = bench->lora.rank;
    for (size_t l = 0; l < model->config.num_hidden_layers; l++) {
        for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
            const qa_linear *w = &model->layers[l].linear[t];
            product(floor, false, true, streams * rows, w->out, w->in, w->weight.real);
            if (branches && bench->lora.targets[t]) {
                product(floor, false, true, rows, rank, w->in, NULL);  /* hidden = x A^T */
                product(floor, false, true, rows, w->out, rank, NULL); /* y += hidden B^T */
            }
        }
    }
}

/* Backward over the adapted rows; layer 0 needs no gradient of its input. */
static void backward_products(qa_bench_floor *floor, const qa_bench *bench, size_t rows) {
    const qa_model *model = bench->model;
    const size_t rank = bench->lora.rank;
    for (size_t l = 0; l < model->config.num_hidden_layers; l++) {
        for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
            const qa_linear *w = &model->layers[l].linear[t];
            const bool input = l > 0 || (t >= QA_TARGET_O && t != QA_TARGET_QKV);
            if (input) {
                product(floor, false, false, rows, w->in, w->out, w->weight.real); /* dx */
            }
            if (bench->lora.targets[t]) {
                product(floor, true, false, w->out, rank, rows, NULL);  /* dB */
                product(floor, false, false, rows, rank, w->out, NULL); /* dhidden */
                product(floor, true, false, rank, w->in, rows, NULL);   /* dA */
            }
            if (input && bench->lora.targets[t]) {
                product(floor, false, false, rows, w->in, rank, NULL); /* dx += */
            }
        }
    }
}

/* States of a pair whose logits the objective asks for (rl/transitions.h); no label boundary inside the prompt. */
static size_t head_states(const qa_bench *bench, const qa_pair *pair) {
    const qa_side chosen = qa_pair_side(pair, true, &bench->objective);
    const qa_side rejected = qa_pair_side(pair, false, &bench->objective);
    const size_t padded = bench->divisors.padded_length;
    if (qa_objective_rows[bench->objective.kind].padded) {
        return qa_transition_count(&chosen, &bench->objective, padded) +
               qa_transition_count(&rejected, &bench->objective, padded);
    }
    return 1 + pair->chosen_len - (pair->chosen_terminal ? 1 : 0) + pair->rejected_len -
           (pair->rejected_terminal ? 1 : 0);
}

static void head_products(qa_bench_floor *floor, const qa_bench *bench, size_t states) {
    const qa_model *model = bench->model;
    const size_t d = model->config.hidden_size, V = model->config.vocab_size;
    for (size_t first = 0; first < states; first += QA_HEAD_CHUNK) {
        const size_t count = states - first < QA_HEAD_CHUNK ? states - first : QA_HEAD_CHUNK;
        product(floor, false, true, 2 * count, V, d, model->head.real);
        product(floor, false, false, count, d, V, model->head.real);
    }
}

/* later: of the streams, the adapted one alone. */
static void step_products(qa_bench_floor *floor, const qa_bench *bench, bool later) {
    floor->flops = 0.0;
    for (size_t i = 0; i < bench->n_pairs; i++) {
        const size_t rows = qa_pair_tokens(&bench->pairs[i]);
        forward_products(floor, bench, rows, later ? 1 : 2, true);
        head_products(floor, bench, head_states(bench, &bench->pairs[i]));
        backward_products(floor, bench, rows);
    }
}

static void prompt_products(qa_bench_floor *floor, const qa_bench *bench, size_t streams) {
    const qa_model *model = bench->model;
    floor->flops = 0.0;
    forward_products(floor, bench, bench->pairs[0].prompt_len, streams, streams == 2);
    product(floor, false, true, streams, model->config.vocab_size, model->config.hidden_size, model->head.real);
}

static void fill_operand(qa_real *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        x[i] = (qa_real)0.01;
    }
}

/* Room for what has been counted. */
static qa_status take_operands(qa_bench_floor *floor, qa_error *err) {
    floor->a = qa_alloc_array(floor->a_count, sizeof *floor->a);
    floor->b = qa_alloc_array(floor->b_count, sizeof *floor->b);
    floor->c = qa_alloc_array(floor->c_count, sizeof *floor->c);
    if (floor->a == NULL || floor->b == NULL || floor->c == NULL) {
        qa_bench_floor_free(floor);
        return QA_NO_MEMORY(err, "the bare matrix products");
    }
    fill_operand(floor->a, floor->a_count);
    fill_operand(floor->b, floor->b_count);
    return QA_OK;
}

qa_status qa_bench_floor_create_step(qa_bench_floor *floor, const qa_bench *bench, qa_error *err) {
    *floor = (qa_bench_floor){0};
    step_products(floor, bench, false); /* a later one has no larger products */
    return take_operands(floor, err);
}

qa_status qa_bench_floor_create_prompt(qa_bench_floor *floor, const qa_bench *bench, qa_error *err) {
    *floor = (qa_bench_floor){0};
    prompt_products(floor, bench, 2);
    return take_operands(floor, err);
}

void qa_bench_floor_free(qa_bench_floor *floor) {
    free(floor->a);
    free(floor->b);
    free(floor->c);
    *floor = (qa_bench_floor){0};
}

static double blas_begin(const qa_bench *bench) {
    openblas_set_num_threads((int)qa_context_threads(bench->context));
    return qa_seconds();
}

static double blas_end(double begun) {
    const double seconds = qa_seconds() - begun;
    qa_blas_init();
    (void)nanosleep(&until_blas_sleeps, NULL);
    return seconds;
}

double qa_bench_floor_step(qa_bench_floor *floor, const qa_bench *bench, bool later) {
    const double begun = blas_begin(bench);
    step_products(floor, bench, later);
    return blas_end(begun);
}

double qa_bench_floor_prompt(qa_bench_floor *floor, const qa_bench *bench, size_t streams) {
    const double begun = blas_begin(bench);
    prompt_products(floor, bench, streams);
    return blas_end(begun);
}

/* ---- one read of the weights ---- */

typedef struct reading {
    const uint64_t *words;
    size_t n;
    uint64_t sums[READ_TASKS]; /* nobody asks for them, but no compiler can know that where they are made */
} reading;

static void read_part(void *context, size_t task, size_t worker) {
    (void)worker;
    reading *r = context;
    const size_t part = r->n / READ_TASKS;
    const size_t end = task + 1 == READ_TASKS ? r->n : (task + 1) * part;
    uint64_t lanes[LANES] = {0};
    size_t i = task * part;
    for (; i + LANES <= end; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lanes[j] ^= r->words[i + j];
        }
    }
    for (; i < end; i++) {
        lanes[0] ^= r->words[i];
    }
    for (size_t j = 0; j < LANES; j++) {
        r->sums[task] ^= lanes[j];
    }
}

/* Every layer and the head; of an embedding that is not the head too a token needs one row. */
double qa_bench_floor_read(const qa_bench *bench, size_t *bytes) {
    const qa_model *model = bench->model;
    const size_t element = model->embedding.real != NULL ? sizeof(qa_real) : sizeof(uint16_t);
    const size_t table = model->config.vocab_size * model->config.hidden_size * element;
    const size_t aligned = (table + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    const size_t unread = model->config.tie_word_embeddings ? 0 : aligned; /* it comes first */
    *bytes = model->arena.used - unread;
    reading r = {.words = (const uint64_t *)(const void *)(model->arena.memory + unread),
                 .n = *bytes / sizeof(uint64_t)};
    const double begun = qa_seconds();
    qa_pool_run(bench->context->pool, READ_TASKS, read_part, &r);
    return qa_seconds() - begun;
}
