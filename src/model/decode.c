/* Decoding (decode.h): new tokens of many sequences through all layers against their caches, both streams at once.
 *
 * A layer's cache is one array of keys and one of values, [streams x slots x capacity x G h]: the base stream's rows
 * of every sequence, then the adapted stream's. A pass takes up to `chunk` new tokens, cut into pieces of one sequence
 * each: their rows are computed stacked (all base rows, then all adapted rows), copied behind the cached ones, and
 * every piece attends to a context of `position` rows of its sequence and to itself. A pass costs one read of every
 * weight. A single sequence is the case of one slot. */
#include "model/decode.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/try.h"
#include "model/layer.h"
#include "nn/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 128 }; /* new tokens a pass */

/* New tokens of one sequence in one pass. */
typedef struct piece {
    size_t slot, position; /* of its first token */
    const int32_t *ids;
    size_t n;
    size_t run; /* the run whose last token it ends with, or NO_RUN */
} piece;

#define NO_RUN SIZE_MAX

struct qa_kv_decoder {
    qa_model *model;
    const qa_adapter *adapter;
    size_t streams, slots, capacity;
    size_t chunk; /* rows of a pass, in one stream */
    qa_arena arena;
    size_t *position;       /* [slots] tokens in the caches */
    size_t *added;          /* [slots] tokens of the call under way */
    size_t *start;          /* [slots] position of the first token that it runs */
    size_t *length;         /* [slots] of the sequence whose angles the caches have */
    int32_t *ids;           /* [slots x capacity] those in the caches, where angles depend on the length; else NULL */
    qa_real *keys, *values; /* [layers x streams x slots x capacity x G h] */
    qa_layer_plan plan;
    qa_layer_rows rows; /* one layer's, used by all */
    qa_layer_scratch scratch;
    piece *pieces;          /* [chunk] */
    qa_span *spans;         /* [streams x chunk] */
    int32_t *positions;     /* [chunk] */
    qa_layer_angles angles; /* [chunk] */
    qa_real *last;          /* [streams x slots x d] states at the runs' last tokens; then, as many, the same normed */
    qa_real *logits;        /* [streams x slots x V] */
};

static size_t key_width(const qa_config *config) { return config->num_key_value_heads * config->head_dim; }

/* Saturates, so that the arena sees an overflow. */
static size_t times(size_t a, size_t b) {
    size_t product = 0;
    return qa_mul_size(a, b, &product) ? product : SIZE_MAX;
}

static void take_rows(qa_kv_decoder *decoder, qa_arena *arena) {
    const qa_lora_options *lora = decoder->adapter == NULL ? NULL : &decoder->adapter->widest;
    const size_t rows = decoder->streams * decoder->chunk;
    qa_layer_rows *r = &decoder->rows;
    for (size_t i = 0; i < QA_ROWS; i++) {
        if (decoder->plan.width[i] > 0 && i != QA_ROWS_OUT) {
            r->at[i] = QA_TAKE(arena, qa_real, rows * decoder->plan.width[i]);
        }
    }
    r->at[QA_ROWS_OUT] = r->at[QA_ROWS_X]; /* a layer's output takes the place of its input */
    for (size_t i = 0; i < QA_NORMS; i++) {
        r->inverse[i] = QA_TAKE(arena, qa_real, rows * decoder->plan.statistics[i]);
    }
    for (qa_target t = QA_TARGET_Q; lora != NULL && t < QA_TARGETS; t++) {
        r->lora_hidden[t] = lora->targets[t] ? QA_TAKE(arena, qa_real, decoder->chunk * lora->rank) : NULL;
    }
}

static void take_all(qa_kv_decoder *decoder, qa_arena *arena) {
    const qa_config *config = &decoder->model->config;
    size_t sequences = times(decoder->streams, decoder->slots);
    size_t cache = times(times(config->num_hidden_layers, sequences), times(decoder->capacity, key_width(config)));
    decoder->position = QA_TAKE(arena, size_t, decoder->slots);
    decoder->added = QA_TAKE(arena, size_t, decoder->slots);
    decoder->start = QA_TAKE(arena, size_t, decoder->slots);
    decoder->length = QA_TAKE(arena, size_t, decoder->slots);
    decoder->ids = qa_config_rope_depends_on_length(config)
                       ? QA_TAKE(arena, int32_t, times(decoder->slots, decoder->capacity))
                       : NULL;
    decoder->keys = QA_TAKE(arena, qa_real, cache);
    decoder->values = QA_TAKE(arena, qa_real, cache);
    take_rows(decoder, arena);
    const qa_attention attention = qa_layer_plan_widest_attention(&decoder->plan, config);
    decoder->scratch.attention = QA_TAKE(
        arena, qa_real, qa_attention_forward_scratch(decoder->model->context->pool, decoder->capacity, &attention));
    decoder->pieces = QA_TAKE(arena, piece, decoder->chunk);
    decoder->spans = QA_TAKE(arena, qa_span, decoder->streams * decoder->chunk);
    decoder->positions = QA_TAKE(arena, int32_t, decoder->chunk);
    qa_layer_angles_take(&decoder->angles, arena, &decoder->plan, config, decoder->chunk);
    decoder->last = QA_TAKE(arena, qa_real, times(times(2, sequences), config->hidden_size));
    decoder->logits = QA_TAKE(arena, qa_real, times(sequences, config->vocab_size));
}

qa_status qa_kv_decoder_create_many(qa_kv_decoder **out, qa_model *model, const qa_adapter *adapter, size_t slots,
                                    size_t capacity, qa_error *err) {
    *out = NULL;
    const size_t context = qa_config_context(&model->config);
    QA_FAIL_IF(capacity < 1 || capacity > context, err, QA_ERR_LIMIT,
               "a context of %zu tokens is asked for; the model's is 1 to %zu", capacity, context);
    QA_FAIL_IF(slots < 1, err, QA_ERR_ARGUMENT, "a decoder needs room for at least one sequence");
    qa_kv_decoder *decoder = NULL;
    QA_TRY(QA_NEW(decoder, 1, err, "a decoder"));
    decoder->model = model;
    decoder->adapter = adapter;
    decoder->streams = adapter == NULL ? 1 : 2;
    decoder->slots = slots;
    decoder->capacity = capacity;
    qa_layer_plan_make(&decoder->plan, model);
    decoder->chunk = times(slots, capacity) < CHUNK ? slots * capacity : CHUNK;
    size_t bytes = 0;
    qa_arena measure = qa_arena_measure();
    take_all(decoder, &measure);
    qa_status status = qa_arena_bytes(&measure, &bytes, err);
    if (status == QA_OK) {
        status = qa_arena_create(&decoder->arena, bytes, err);
    }
    if (status != QA_OK) {
        if (slots > 1) {
            qa_error_prefix(err, "key/value caches for %zu sequences of %zu tokens: ", slots, capacity);
        } else {
            qa_error_prefix(err, "key/value caches for %zu tokens: ", capacity);
        }
        qa_kv_decoder_free(decoder);
        return status;
    }
    take_all(decoder, &decoder->arena);
    *out = decoder;
    return QA_OK;
}

qa_status qa_kv_decoder_create(qa_kv_decoder **out, qa_model *model, const qa_adapter *adapter, size_t capacity,
                               qa_error *err) {
    return qa_kv_decoder_create_many(out, model, adapter, 1, capacity, err);
}

void qa_kv_decoder_free(qa_kv_decoder *decoder) {
    if (decoder != NULL) {
        qa_arena_free(&decoder->arena);
        free(decoder);
    }
}

size_t qa_kv_decoder_position_of(const qa_kv_decoder *decoder, size_t slot) { return decoder->position[slot]; }
size_t qa_kv_decoder_position(const qa_kv_decoder *decoder) { return decoder->position[0]; }
size_t qa_kv_decoder_capacity(const qa_kv_decoder *decoder) { return decoder->capacity; }
size_t qa_kv_decoder_bytes(const qa_kv_decoder *decoder) { return decoder->arena.capacity; }

/* ---- caches ---- */

/* First row of a sequence in one layer's keys and values. */
static size_t cache_row(const qa_kv_decoder *decoder, size_t stream, size_t slot) {
    return (stream * decoder->slots + slot) * decoder->capacity;
}

/* Rows of keys and values of all layers before layer l. */
static size_t layer_row(const qa_kv_decoder *decoder, size_t l) {
    return l * decoder->streams * decoder->slots * decoder->capacity;
}

void qa_kv_decoder_rewind(qa_kv_decoder *decoder, size_t slot, size_t n) { decoder->position[slot] = n; }

void qa_kv_decoder_copy(qa_kv_decoder *decoder, size_t to, size_t from, size_t n) {
    size_t width = key_width(&decoder->model->config);
    for (size_t l = 0; to != from && l < decoder->model->config.num_hidden_layers; l++) {
        for (size_t s = 0; s < decoder->streams; s++) {
            size_t target = (layer_row(decoder, l) + cache_row(decoder, s, to)) * width;
            size_t source = (layer_row(decoder, l) + cache_row(decoder, s, from)) * width;
            memcpy(decoder->keys + target, decoder->keys + source, n * width * sizeof(qa_real));
            memcpy(decoder->values + target, decoder->values + source, n * width * sizeof(qa_real));
        }
    }
    if (decoder->ids != NULL && to != from) {
        memcpy(decoder->ids + to * decoder->capacity, decoder->ids + from * decoder->capacity,
               n * sizeof *decoder->ids);
        decoder->length[to] = decoder->length[from];
    }
    decoder->position[to] = n;
}

/* Puts the pass' new keys and values, n rows a stream, behind the cached ones of their sequences. */
static void append_to_caches(const qa_kv_decoder *decoder, size_t l, size_t n_pieces, size_t n) {
    const qa_operation *attention = &decoder->plan.operations[decoder->plan.attention];
    const qa_real *k = decoder->rows.at[attention->in2], *v = decoder->rows.at[attention->in3];
    size_t width = key_width(&decoder->model->config);
    for (size_t s = 0; s < decoder->streams; s++) {
        size_t from = s * n * width;
        for (size_t i = 0; i < n_pieces; i++) {
            const piece *p = &decoder->pieces[i];
            size_t to = (layer_row(decoder, l) + cache_row(decoder, s, p->slot) + p->position) * width;
            memcpy(decoder->keys + to, k + from, p->n * width * sizeof(qa_real));
            memcpy(decoder->values + to, v + from, p->n * width * sizeof(qa_real));
            from += p->n * width;
        }
    }
}

/* ---- a pass ---- */

/* Positions, angles and attention spans of the pass' n rows a stream, and what enters layer 0. */
static void lay_out_decoder(qa_kv_decoder *decoder, size_t n_pieces, size_t n) {
    const qa_model *model = decoder->model;
    const size_t d = model->config.hidden_size;
    size_t row = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        const piece *p = &decoder->pieces[i];
        for (size_t j = 0; j < p->n; j++) {
            decoder->positions[row + j] = (int32_t)(p->position + j);
        }
        for (size_t s = 0; s < decoder->streams; s++) {
            qa_layer_embed(model, decoder->rows.at[QA_ROWS_X] + (s * n + row) * d, p->ids, decoder->positions + row,
                           p->n);
            decoder->spans[s * n_pieces + i] = (qa_span){.query_row = s * n + row,
                                                         .key_row = cache_row(decoder, s, p->slot) + p->position,
                                                         .rows = p->n,
                                                         .context_row = cache_row(decoder, s, p->slot),
                                                         .context_rows = p->position};
        }
        qa_layer_angles_fill(&decoder->angles, model, row, decoder->positions + row, p->n, decoder->length[p->slot]);
        row += p->n;
    }
}

/* The pieces, n <= chunk tokens, through all layers; leaves the residual stream in X. */
static void run_decode_pass(qa_kv_decoder *decoder, size_t n_pieces, size_t n) {
    const qa_config *config = &decoder->model->config;
    lay_out_decoder(decoder, n_pieces, n);
    qa_layer_run run = {.model = decoder->model,
                        .plan = &decoder->plan,
                        .adapter = decoder->adapter,
                        .pool = decoder->model->context->pool,
                        .n = n,
                        .streams = decoder->streams,
                        .angles = &decoder->angles,
                        .spans = decoder->spans,
                        .n_spans = decoder->streams * n_pieces,
                        .scratch = &decoder->scratch};
    const qa_operation *attention = &decoder->plan.operations[decoder->plan.attention];
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        const size_t first = layer_row(decoder, l) * key_width(config);
        qa_layer_rows cached = decoder->rows;
        cached.at[attention->in2] = decoder->keys + first;
        cached.at[attention->in3] = decoder->values + first;
        qa_layer_forward(&run, l, &decoder->rows, 0, decoder->plan.attention);
        append_to_caches(decoder, l, n_pieces, n);
        qa_layer_forward(&run, l, &cached, decoder->plan.attention, decoder->plan.n);
    }
}

/* Keeps the states of the runs, n_runs in all, that end in this pass. */
static void keep_last(qa_kv_decoder *decoder, size_t n_pieces, size_t n, size_t n_runs) {
    size_t d = decoder->model->config.hidden_size;
    size_t row = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        const piece *p = &decoder->pieces[i];
        row += p->n;
        for (size_t s = 0; p->run != NO_RUN && s < decoder->streams; s++) {
            memcpy(decoder->last + (s * n_runs + p->run) * d, decoder->rows.at[QA_ROWS_X] + (s * n + row - 1) * d,
                   d * sizeof *decoder->last);
        }
    }
}

/* Final norm and head at the n_runs kept states of every stream. */
static void head(qa_kv_decoder *decoder, size_t n_runs) {
    const qa_config *config = &decoder->model->config;
    qa_pool *pool = decoder->model->context->pool;
    size_t rows = decoder->streams * n_runs;
    qa_real *normed = decoder->last + rows * config->hidden_size;
    qa_norm_forward(pool, normed, NULL, decoder->last, &decoder->plan.final_norm, rows, config->hidden_size);
    qa_linear_forward(pool, decoder->logits, normed, decoder->model->head, NULL, rows, config->hidden_size,
                      config->vocab_size);
    qa_layer_bend_logits(decoder->model, decoder->logits, rows);
}

/* ---- runs ---- */

static qa_status check_run(const qa_kv_decoder *decoder, const qa_kv_run *run, qa_error *err) {
    QA_FAIL_IF(run->n < 1, err, QA_ERR_ARGUMENT, "no tokens to run; a prompt needs at least one");
    size_t position = decoder->position[run->slot];
    QA_FAIL_IF(run->n > decoder->capacity - position, err, QA_ERR_LIMIT,
               "%zu tokens behind %zu exceed the context of %zu", run->n, position, decoder->capacity);
    for (size_t i = 0; i < run->n; i++) {
        QA_FAIL_IF(run->ids[i] < 0 || (size_t)run->ids[i] >= decoder->model->config.vocab_size, err, QA_ERR_ARGUMENT,
                   "token %zu has id %d, outside the vocabulary of %zu", i, run->ids[i],
                   decoder->model->config.vocab_size);
    }
    return QA_OK;
}

/* Notes in `added` what every slot gets. */
static qa_status check_runs(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n_runs, qa_error *err) {
    memset(decoder->added, 0, decoder->slots * sizeof *decoder->added);
    for (size_t i = 0; i < n_runs; i++) {
        QA_FAIL_IF(runs[i].slot >= decoder->slots || decoder->added[runs[i].slot] != 0, err, QA_ERR_ARGUMENT,
                   "run %zu is of slot %zu, which is %s", i, runs[i].slot,
                   runs[i].slot >= decoder->slots ? "not there" : "taken by another run");
        qa_status status = check_run(decoder, &runs[i], err);
        if (status != QA_OK && decoder->slots > 1) {
            qa_error_prefix(err, "slot %zu: ", runs[i].slot);
        }
        QA_TRY(status);
        decoder->added[runs[i].slot] = runs[i].n;
    }
    return QA_OK;
}

/* Where the angles of a sequence depend on its length and the run makes it one of other angles, what the caches have of
 * it is of no use: it is run again. Decoding so gives what one run of the whole sequence gives. */
static void note_starts(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n_runs) {
    for (size_t i = 0; i < n_runs; i++) {
        const size_t slot = runs[i].slot, position = decoder->position[slot], length = position + runs[i].n;
        decoder->start[slot] = position;
        if (decoder->ids != NULL) {
            memcpy(decoder->ids + slot * decoder->capacity + position, runs[i].ids, runs[i].n * sizeof *runs[i].ids);
            if (!qa_config_rope_is_same(&decoder->model->config, decoder->length[slot], length)) {
                decoder->start[slot] = 0;
            }
        }
        decoder->length[slot] = length;
    }
}

/* The run, or with it what stands before it. */
static qa_kv_run from_start(const qa_kv_decoder *decoder, const qa_kv_run *run) {
    const size_t slot = run->slot, start = decoder->start[slot], position = decoder->position[slot];
    return start == position ? *run
                             : (qa_kv_run){.slot = slot,
                                           .ids = decoder->ids + slot * decoder->capacity + start,
                                           .n = position - start + run->n};
}

/* All runs through all layers, in passes of at most `chunk` tokens. */
static void run_all(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n_runs) {
    size_t run = 0;
    size_t done = 0; /* tokens of that run */
    while (run < n_runs) {
        size_t n_pieces = 0;
        size_t n = 0;
        while (run < n_runs && n < decoder->chunk) {
            const qa_kv_run from = from_start(decoder, &runs[run]), *r = &from;
            size_t take = r->n - done < decoder->chunk - n ? r->n - done : decoder->chunk - n;
            bool ends = done + take == r->n;
            decoder->pieces[n_pieces++] = (piece){.slot = r->slot,
                                                  .position = decoder->start[r->slot] + done,
                                                  .ids = r->ids + done,
                                                  .n = take,
                                                  .run = ends ? run : NO_RUN};
            n += take;
            done = ends ? 0 : done + take;
            run += ends ? 1 : 0;
        }
        run_decode_pass(decoder, n_pieces, n);
        keep_last(decoder, n_pieces, n, n_runs);
    }
}

static void advance_decoder(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n_runs) {
    for (size_t i = 0; i < n_runs; i++) {
        decoder->position[runs[i].slot] += runs[i].n;
    }
}

qa_status qa_kv_decoder_forward_many(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n_runs, qa_real **base,
                                     qa_real **adapted, qa_error *err) {
    QA_TRY(check_runs(decoder, runs, n_runs, err));
    note_starts(decoder, runs, n_runs);
    run_all(decoder, runs, n_runs);
    if (base != NULL) {
        head(decoder, n_runs);
        *base = decoder->logits;
        *adapted = decoder->streams == 1 ? NULL : decoder->logits + n_runs * decoder->model->config.vocab_size;
    }
    advance_decoder(decoder, runs, n_runs);
    return QA_OK;
}

qa_status qa_logits_check(const qa_real *logits, size_t V, const char *stream, size_t position, qa_error *err) {
    for (size_t a = 0; a < V; a++) {
        QA_FAIL_IF(!isfinite(logits[a]), err, QA_ERR_NAN, "NaN or infinity in the %s stream's logits, at position %zu",
                   stream, position);
    }
    return QA_OK;
}

qa_status qa_kv_decoder_forward(qa_kv_decoder *decoder, const int32_t *ids, size_t n, qa_real **base, qa_real **adapted,
                                qa_error *err) {
    const size_t V = decoder->model->config.vocab_size;
    const size_t before = decoder->position[0];
    const qa_kv_run run = {.slot = 0, .ids = ids, .n = n};
    qa_real *rows[2] = {NULL, NULL};
    *base = NULL;
    *adapted = NULL;
    QA_TRY(qa_kv_decoder_forward_many(decoder, &run, 1, &rows[0], &rows[1], err));
    qa_status status = qa_logits_check(rows[0], V, "base", before, err);
    if (status == QA_OK && rows[1] != NULL) {
        status = qa_logits_check(rows[1], V, "adapted", before, err);
    }
    if (status != QA_OK) {
        decoder->position[0] = before;
        return status;
    }
    *base = rows[0];
    *adapted = rows[1];
    return QA_OK;
}
