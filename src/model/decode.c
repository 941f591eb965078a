/* Decoding (decode.h): new tokens of many streams through all layers against their caches.
 *
 * A layer's cache is one array of keys and one of values, [slots x capacity x G h]. A pass takes up to CHUNK new tokens
 * of the base model's streams and of every adapter's, cut into pieces of one stream each: their rows are computed
 * stacked (the base model's, then adapter by adapter, whose branches act on their group of rows), copied behind the
 * cached ones, and every piece attends to a context of `position` rows of its stream and to itself. A pass costs one
 * read of every weight, and the two streams of one composed sequence run in the same passes.
 *
 * What leaves the last layer stays with the cache, so that the head runs only where somebody wants logits. */
#include "model/decode.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/try.h"
#include "model/layer.h"
#include "nn/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 128 }; /* new tokens of a group in a pass; a pass has room for those of two groups */

/* New tokens of one stream in one pass. */
typedef struct piece {
    size_t slot, position; /* of its first token */
    const int32_t *ids;
    size_t n;
} piece;

/* How far a group's runs are. */
typedef struct run_cursor {
    size_t run;
    size_t done; /* tokens of that run */
} run_cursor;

struct qa_kv_decoder {
    qa_model *model;
    size_t groups;        /* the base model and the adapters */
    qa_lora_options lora; /* targets and rank that cover all adapters */
    qa_kv_room room;
    size_t chunk, rows_of_pass; /* rows of a group in a pass, of a pass */
    qa_arena arena;
    const qa_adapter **taken; /* [groups - 1] the adapters */
    size_t *group;            /* [slots] of the stream: 0 base, 1 + i of adapter i */
    size_t *position;         /* [slots] tokens in the caches */
    size_t *added;            /* [slots] tokens of the call under way */
    size_t *start;            /* [slots] position of the first token that it runs */
    size_t *length;           /* [slots] of the sequence whose angles the caches have */
    int32_t *ids;             /* [slots x capacity] those in the caches */
    qa_real *keys, *values;   /* [layers x slots x capacity x G h] */
    qa_real *states;          /* [slots x capacity x d], or [slots x d], what leaves the last layer */
    qa_layer_plan plan;
    qa_layer_rows rows; /* one layer's, used by all */
    qa_layer_scratch scratch;
    run_cursor *cursors;        /* [groups] */
    piece *pieces;              /* [rows_of_pass] */
    qa_span *spans;             /* [rows_of_pass] */
    qa_layer_group *row_groups; /* [groups - 1] of the pass */
    int32_t *positions;         /* [rows_of_pass] */
    qa_layer_angles angles;     /* [rows_of_pass] */
    qa_real *wanted;            /* [room.logits x d] states; then, as many, the same normed */
    qa_real *logits;            /* [room.logits x V] */
};

static size_t key_width(const qa_config *config) { return config->num_key_value_heads * config->head_dim; }

/* Saturates, so that the arena sees an overflow. */
static size_t times(size_t a, size_t b) {
    size_t product = 0;
    return qa_mul_size(a, b, &product) ? product : SIZE_MAX;
}

static void take_rows(qa_kv_decoder *decoder, qa_arena *arena) {
    const size_t rows = decoder->rows_of_pass;
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
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        r->lora_hidden[t] =
            decoder->lora.targets[t] ? QA_TAKE(arena, qa_real, decoder->chunk * decoder->lora.rank) : NULL;
    }
}

static void take_caches(qa_kv_decoder *decoder, qa_arena *arena) {
    const qa_config *config = &decoder->model->config;
    const size_t slots = decoder->room.slots, tokens = times(slots, decoder->room.capacity);
    const size_t cache = times(times(config->num_hidden_layers, tokens), key_width(config));
    decoder->group = QA_TAKE(arena, size_t, slots);
    decoder->position = QA_TAKE(arena, size_t, slots);
    decoder->added = QA_TAKE(arena, size_t, slots);
    decoder->start = QA_TAKE(arena, size_t, slots);
    decoder->length = QA_TAKE(arena, size_t, slots);
    decoder->ids = QA_TAKE(arena, int32_t, tokens);
    decoder->keys = QA_TAKE(arena, qa_real, cache);
    decoder->values = QA_TAKE(arena, qa_real, cache);
    decoder->states = QA_TAKE(arena, qa_real, times(decoder->room.keep_states ? tokens : slots, config->hidden_size));
}

static void take_all(qa_kv_decoder *decoder, qa_arena *arena) {
    const qa_config *config = &decoder->model->config;
    decoder->taken = QA_TAKE(arena, const qa_adapter *, decoder->groups - 1);
    take_caches(decoder, arena);
    take_rows(decoder, arena);
    const qa_attention attention = qa_layer_plan_widest_attention(&decoder->plan, config);
    decoder->scratch.attention =
        QA_TAKE(arena, qa_real,
                qa_attention_forward_scratch(decoder->model->context->pool, decoder->room.capacity, &attention));
    decoder->cursors = QA_TAKE(arena, run_cursor, decoder->groups);
    decoder->pieces = QA_TAKE(arena, piece, decoder->rows_of_pass);
    decoder->spans = QA_TAKE(arena, qa_span, decoder->rows_of_pass);
    decoder->row_groups = QA_TAKE(arena, qa_layer_group, decoder->groups - 1);
    decoder->positions = QA_TAKE(arena, int32_t, decoder->rows_of_pass);
    qa_layer_angles_take(&decoder->angles, arena, &decoder->plan, config, decoder->rows_of_pass);
    decoder->wanted = QA_TAKE(arena, qa_real, times(times(2, decoder->room.logits), config->hidden_size));
    decoder->logits = QA_TAKE(arena, qa_real, times(decoder->room.logits, config->vocab_size));
}

/* Every target of any of the adapters, and the largest rank. */
static qa_lora_options widest_of(const qa_adapter *const *adapters, size_t n) {
    qa_lora_options lora = {0};
    for (size_t i = 0; i < n; i++) {
        lora.rank = adapters[i]->widest.rank > lora.rank ? adapters[i]->widest.rank : lora.rank;
        for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
            lora.targets[t] = lora.targets[t] || adapters[i]->widest.targets[t];
        }
    }
    return lora;
}

static qa_status allocate_decoder(qa_kv_decoder *decoder, qa_error *err) {
    size_t bytes = 0;
    qa_arena measure = qa_arena_measure();
    take_all(decoder, &measure);
    QA_TRY(qa_arena_bytes(&measure, &bytes, err));
    QA_TRY(qa_arena_create(&decoder->arena, bytes, err));
    take_all(decoder, &decoder->arena);
    return QA_OK;
}

qa_status qa_kv_decoder_create_many(qa_kv_decoder **out, qa_model *model, const qa_adapter *const *adapters,
                                    size_t n_adapters, qa_kv_room room, qa_error *err) {
    *out = NULL;
    const size_t context = qa_config_context(&model->config);
    QA_FAIL_IF(room.capacity < 1 || room.capacity > context, err, QA_ERR_LIMIT,
               "a context of %zu tokens is asked for; the model's is 1 to %zu", room.capacity, context);
    QA_FAIL_IF(room.slots < 1 || room.logits < 1, err, QA_ERR_ARGUMENT, "a decoder needs room for at least one stream");
    qa_kv_decoder *decoder = NULL;
    QA_TRY(QA_NEW(decoder, 1, err, "a decoder"));
    decoder->model = model;
    decoder->groups = 1 + n_adapters;
    decoder->lora = widest_of(adapters, n_adapters);
    decoder->room = room;
    decoder->chunk = times(room.slots, room.capacity) < CHUNK ? room.slots * room.capacity : CHUNK;
    decoder->rows_of_pass = n_adapters == 0 || room.slots == 1 ? decoder->chunk : 2 * decoder->chunk;
    qa_layer_plan_make(&decoder->plan, model);
    const qa_status status = allocate_decoder(decoder, err);
    if (status != QA_OK) {
        qa_error_prefix(err, "key/value caches for %zu stream%s of %zu tokens: ", room.slots,
                        room.slots == 1 ? "" : "s", room.capacity);
        qa_kv_decoder_free(decoder);
        return status;
    }
    for (size_t i = 0; i < n_adapters; i++) {
        decoder->taken[i] = adapters[i];
    }
    *out = decoder;
    return QA_OK;
}

qa_status qa_kv_decoder_create(qa_kv_decoder **out, qa_model *model, const qa_adapter *adapter, qa_kv_streams streams,
                               size_t capacity, qa_error *err) {
    const size_t first = adapter == NULL || streams == QA_KV_BOTH ? 0 : 1;
    const size_t slots = (adapter == NULL ? 1 : 2) - first;
    const qa_kv_room room = {.slots = slots, .capacity = capacity, .logits = slots};
    QA_TRY(qa_kv_decoder_create_many(out, model, &adapter, adapter == NULL ? 0 : 1, room, err));
    if (adapter != NULL) {
        qa_kv_decoder_assign(*out, slots - 1, adapter);
    }
    return QA_OK;
}

void qa_kv_decoder_free(qa_kv_decoder *decoder) {
    if (decoder != NULL) {
        qa_arena_free(&decoder->arena);
        free(decoder);
    }
}

size_t qa_kv_decoder_capacity(const qa_kv_decoder *decoder) { return decoder->room.capacity; }
size_t qa_kv_decoder_bytes(const qa_kv_decoder *decoder) { return decoder->arena.capacity; }
size_t qa_kv_decoder_position_of(const qa_kv_decoder *decoder, size_t slot) { return decoder->position[slot]; }
size_t qa_kv_decoder_length_of(const qa_kv_decoder *decoder, size_t slot) { return decoder->length[slot]; }

const int32_t *qa_kv_decoder_ids(const qa_kv_decoder *decoder, size_t slot) {
    return decoder->ids + slot * decoder->room.capacity;
}

const qa_adapter *qa_kv_decoder_adapter_of(const qa_kv_decoder *decoder, size_t slot) {
    return decoder->group[slot] == 0 ? NULL : decoder->taken[decoder->group[slot] - 1];
}

void qa_kv_decoder_assign(qa_kv_decoder *decoder, size_t slot, const qa_adapter *adapter) {
    size_t group = 0;
    for (size_t i = 1; i < decoder->groups && adapter != NULL; i++) {
        group = decoder->taken[i - 1] == adapter ? i : group;
    }
    decoder->group[slot] = group;
    decoder->position[slot] = 0;
}

/* ---- caches ---- */

/* First row of a stream in one layer's keys and values. */
static size_t cache_row(const qa_kv_decoder *decoder, size_t slot) { return slot * decoder->room.capacity; }

/* Rows of keys and values of all layers before layer l. */
static size_t layer_row(const qa_kv_decoder *decoder, size_t l) {
    return l * decoder->room.slots * decoder->room.capacity;
}

/* What left the last layer at a position; only the last one's is there without keep_states. */
static qa_real *state_at(const qa_kv_decoder *decoder, size_t slot, size_t position) {
    const size_t row = decoder->room.keep_states ? cache_row(decoder, slot) + position : slot;
    return decoder->states + row * decoder->model->config.hidden_size;
}

void qa_kv_decoder_rewind(qa_kv_decoder *decoder, size_t slot, size_t n) { decoder->position[slot] = n; }

void qa_kv_decoder_copy(qa_kv_decoder *decoder, size_t to, size_t from, size_t n) {
    const size_t width = key_width(&decoder->model->config), d = decoder->model->config.hidden_size;
    decoder->position[to] = n;
    if (to == from) {
        return;
    }
    for (size_t l = 0; l < decoder->model->config.num_hidden_layers; l++) {
        const size_t target = (layer_row(decoder, l) + cache_row(decoder, to)) * width;
        const size_t source = (layer_row(decoder, l) + cache_row(decoder, from)) * width;
        memcpy(decoder->keys + target, decoder->keys + source, n * width * sizeof(qa_real));
        memcpy(decoder->values + target, decoder->values + source, n * width * sizeof(qa_real));
    }
    memcpy(decoder->ids + cache_row(decoder, to), decoder->ids + cache_row(decoder, from), n * sizeof *decoder->ids);
    memcpy(state_at(decoder, to, 0), state_at(decoder, from, 0),
           (decoder->room.keep_states ? n : 1) * d * sizeof(qa_real));
    decoder->group[to] = decoder->group[from];
    decoder->length[to] = decoder->length[from];
}

/* Puts the pass' new keys and values behind the cached ones of their streams. */
static void append_to_caches(const qa_kv_decoder *decoder, size_t l, size_t n_pieces) {
    const qa_operation *attention = &decoder->plan.operations[decoder->plan.attention];
    const qa_real *k = decoder->rows.at[attention->in2], *v = decoder->rows.at[attention->in3];
    const size_t width = key_width(&decoder->model->config);
    size_t from = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        const piece *p = &decoder->pieces[i];
        const size_t to = (layer_row(decoder, l) + cache_row(decoder, p->slot) + p->position) * width;
        memcpy(decoder->keys + to, k + from, p->n * width * sizeof(qa_real));
        memcpy(decoder->values + to, v + from, p->n * width * sizeof(qa_real));
        from += p->n * width;
    }
}

/* Keeps what the pass left in X. */
static void append_states(const qa_kv_decoder *decoder, size_t n_pieces) {
    const size_t d = decoder->model->config.hidden_size;
    size_t row = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        const piece *p = &decoder->pieces[i];
        const size_t kept = decoder->room.keep_states ? p->n : 1;
        row += p->n;
        memcpy(state_at(decoder, p->slot, p->position + p->n - kept), decoder->rows.at[QA_ROWS_X] + (row - kept) * d,
               kept * d * sizeof(qa_real));
    }
}

/* ---- a pass ---- */

/* The weights that a group's rows run through. */
static const qa_model *weights_of(const qa_kv_decoder *decoder, size_t group) {
    const qa_adapter *adapter = group == 0 ? NULL : decoder->taken[group - 1];
    return adapter == NULL || adapter->own == NULL ? decoder->model : adapter->own;
}

/* Positions, angles and attention spans of the pass, and what enters layer 0. */
static void lay_out_decoder(qa_kv_decoder *decoder, const qa_model *model, size_t n_pieces) {
    size_t row = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        const piece *p = &decoder->pieces[i];
        for (size_t j = 0; j < p->n; j++) {
            decoder->positions[row + j] = (int32_t)(p->position + j);
        }
        qa_layer_embed(model, decoder->rows.at[QA_ROWS_X] + row * model->config.hidden_size, p->ids,
                       decoder->positions + row, p->n);
        decoder->spans[i] = (qa_span){.query_row = row,
                                      .key_row = cache_row(decoder, p->slot) + p->position,
                                      .rows = p->n,
                                      .context_row = cache_row(decoder, p->slot),
                                      .context_rows = p->position};
        qa_layer_angles_fill(&decoder->angles, model, row, decoder->positions + row, p->n, decoder->length[p->slot]);
        row += p->n;
    }
}

/* The pieces, n tokens with n_groups groups of rows among them, through all layers of a model. */
static void run_decode_pass(qa_kv_decoder *decoder, const qa_model *model, size_t n_pieces, size_t n, size_t n_groups) {
    const qa_config *config = &model->config;
    lay_out_decoder(decoder, model, n_pieces);
    qa_layer_run run = {.model = model,
                        .plan = &decoder->plan,
                        .groups = decoder->row_groups,
                        .n_groups = n_groups,
                        .pool = decoder->model->context->pool,
                        .n = n,
                        .streams = 1,
                        .angles = &decoder->angles,
                        .spans = decoder->spans,
                        .n_spans = n_pieces,
                        .scratch = &decoder->scratch};
    const qa_operation *attention = &decoder->plan.operations[decoder->plan.attention];
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        const size_t first = layer_row(decoder, l) * key_width(config);
        qa_layer_rows cached = decoder->rows;
        cached.at[attention->in2] = decoder->keys + first;
        cached.at[attention->in3] = decoder->values + first;
        qa_layer_forward(&run, l, &decoder->rows, 0, decoder->plan.attention);
        append_to_caches(decoder, l, n_pieces);
        qa_layer_forward(&run, l, &cached, decoder->plan.attention, decoder->plan.n);
    }
    append_states(decoder, n_pieces);
}

/* ---- runs ---- */

static qa_status check_run(const qa_kv_decoder *decoder, const qa_kv_run *run, qa_error *err) {
    QA_FAIL_IF(run->n < 1, err, QA_ERR_ARGUMENT, "no tokens to run; a prompt needs at least one");
    size_t position = decoder->position[run->slot];
    QA_FAIL_IF(run->n > decoder->room.capacity - position, err, QA_ERR_LIMIT,
               "%zu tokens behind %zu exceed the context of %zu", run->n, position, decoder->room.capacity);
    for (size_t i = 0; i < run->n; i++) {
        QA_FAIL_IF(run->ids[i] < 0 || (size_t)run->ids[i] >= decoder->model->config.vocab_size, err, QA_ERR_ARGUMENT,
                   "token %zu has id %d, outside the vocabulary of %zu", i, run->ids[i],
                   decoder->model->config.vocab_size);
    }
    return QA_OK;
}

/* Notes in `added` what every slot gets. */
static qa_status check_runs(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n_runs, qa_error *err) {
    const size_t slots = decoder->room.slots;
    memset(decoder->added, 0, slots * sizeof *decoder->added);
    for (size_t i = 0; i < n_runs; i++) {
        QA_FAIL_IF(runs[i].slot >= slots || decoder->added[runs[i].slot] != 0, err, QA_ERR_ARGUMENT,
                   "run %zu is of slot %zu, which is %s", i, runs[i].slot,
                   runs[i].slot >= slots ? "not there" : "taken by another run");
        qa_status status = check_run(decoder, &runs[i], err);
        if (status != QA_OK && slots > 1) {
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
        const size_t slot = runs[i].slot, position = decoder->position[slot], end = position + runs[i].n;
        const size_t length = runs[i].length > end ? runs[i].length : end;
        memcpy(decoder->ids + cache_row(decoder, slot) + position, runs[i].ids, runs[i].n * sizeof *runs[i].ids);
        const bool same = qa_config_rope_is_same(&decoder->model->config, decoder->length[slot], length);
        decoder->start[slot] = same ? position : 0;
        decoder->length[slot] = length;
    }
}

/* The next tokens of the group's runs, as many as there is room for behind the pass' n rows; adds the pieces. Returns
 * their number of tokens. */
static size_t take_of_group(qa_kv_decoder *decoder, size_t group, const qa_kv_run *runs, size_t n_runs, size_t n,
                            size_t *n_pieces) {
    run_cursor *at = &decoder->cursors[group];
    const size_t room = decoder->rows_of_pass - n < decoder->chunk ? decoder->rows_of_pass - n : decoder->chunk;
    size_t taken = 0;
    for (; at->run < n_runs && taken < room;) {
        const size_t slot = runs[at->run].slot, start = decoder->start[slot] + at->done;
        const size_t left = decoder->group[slot] == group ? decoder->position[slot] + runs[at->run].n - start : 0;
        const size_t take = left < room - taken ? left : room - taken;
        if (take > 0) {
            decoder->pieces[(*n_pieces)++] = (piece){
                .slot = slot, .position = start, .ids = decoder->ids + cache_row(decoder, slot) + start, .n = take};
        }
        taken += take;
        *at = take == left ? (run_cursor){.run = at->run + 1} : (run_cursor){.run = at->run, .done = at->done + take};
    }
    return taken;
}

/* All runs through all layers, pass by pass. */
static void run_all(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n_runs) {
    memset(decoder->cursors, 0, decoder->groups * sizeof *decoder->cursors);
    for (;;) {
        size_t n = 0, n_pieces = 0, n_groups = 0;
        const qa_model *weights = NULL; /* those of the first group that has rows; the others' turn comes */
        for (size_t group = 0; group < decoder->groups; group++) {
            if (n > 0 && weights_of(decoder, group) != weights) {
                continue;
            }
            weights = weights_of(decoder, group);
            const size_t taken = take_of_group(decoder, group, runs, n_runs, n, &n_pieces);
            if (group > 0 && taken > 0) {
                decoder->row_groups[n_groups++] =
                    (qa_layer_group){.adapter = decoder->taken[group - 1], .first = n, .rows = taken};
            }
            n += taken;
        }
        if (n == 0) {
            return;
        }
        run_decode_pass(decoder, weights, n_pieces, n, n_groups);
    }
}

qa_status qa_kv_decoder_run(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n_runs, qa_error *err) {
    QA_TRY(check_runs(decoder, runs, n_runs, err));
    note_starts(decoder, runs, n_runs);
    run_all(decoder, runs, n_runs);
    for (size_t i = 0; i < n_runs; i++) {
        decoder->position[runs[i].slot] += runs[i].n;
    }
    return QA_OK;
}

void qa_kv_decoder_logits(qa_kv_decoder *decoder, const qa_kv_state *states, size_t n, qa_real **logits) {
    const qa_config *config = &decoder->model->config;
    qa_pool *pool = decoder->model->context->pool;
    const size_t d = config->hidden_size;
    qa_real *normed = decoder->wanted + n * d;
    for (size_t i = 0; i < n; i++) {
        memcpy(decoder->wanted + i * d, state_at(decoder, states[i].slot, states[i].position), d * sizeof *normed);
    }
    for (size_t first = 0, end = 0; first < n; first = end) { /* those through the same weights, as they follow */
        const qa_model *weights = weights_of(decoder, decoder->group[states[first].slot]);
        qa_norm norm = decoder->plan.final_norm;
        norm.w = weights->final_norm.w;
        norm.b = weights->final_norm.b;
        for (end = first + 1; end < n && weights_of(decoder, decoder->group[states[end].slot]) == weights;) {
            end++;
        }
        qa_norm_forward(pool, normed + first * d, NULL, decoder->wanted + first * d, &norm, end - first, d);
        qa_linear_forward(pool, decoder->logits + first * config->vocab_size, normed + first * d, weights->head, NULL,
                          end - first, d, config->vocab_size);
    }
    qa_layer_bend_logits(decoder->model, decoder->logits, n);
    *logits = decoder->logits;
}

qa_status qa_logits_check(const qa_real *logits, size_t V, const char *stream, size_t position, qa_error *err) {
    for (size_t a = 0; a < V; a++) {
        QA_FAIL_IF(!isfinite(logits[a]), err, QA_ERR_NAN, "NaN or infinity in the %s stream's logits, at position %zu",
                   stream, position);
    }
    return QA_OK;
}

/* ---- one sequence ---- */

size_t qa_kv_decoder_position(const qa_kv_decoder *decoder) { return decoder->position[0]; }

void qa_kv_decoder_rewind_all(qa_kv_decoder *decoder, size_t n) {
    for (size_t slot = 0; slot < decoder->room.slots; slot++) {
        decoder->position[slot] = n;
    }
}

/* Fills runs[slots] and states[slots]. */
static qa_status run_slots(qa_kv_decoder *decoder, qa_kv_run *runs, qa_kv_state *states, const int32_t *ids, size_t n,
                           qa_real **logits, qa_error *err) {
    const size_t V = decoder->model->config.vocab_size, before = decoder->position[0], slots = decoder->room.slots;
    qa_status status = QA_OK;
    for (size_t slot = 0; slot < slots; slot++) {
        runs[slot] = (qa_kv_run){.slot = slot, .ids = ids, .n = n};
        states[slot] = (qa_kv_state){.slot = slot, .position = before + n - 1};
    }
    QA_TRY(check_run(decoder, &runs[0], err)); /* of a sequence, so that no message speaks of slots */
    QA_TRY(qa_kv_decoder_run(decoder, runs, slots, err));
    qa_kv_decoder_logits(decoder, states, slots, logits);
    for (size_t slot = 0; slot < slots && status == QA_OK; slot++) {
        status = qa_logits_check(*logits + slot * V, V, decoder->group[slot] > 0 ? "adapted" : "base", before, err);
    }
    if (status != QA_OK) {
        qa_kv_decoder_rewind_all(decoder, before);
    }
    return status;
}

qa_status qa_kv_decoder_forward(qa_kv_decoder *decoder, const int32_t *ids, size_t n, qa_real **base, qa_real **adapted,
                                qa_error *err) {
    const size_t V = decoder->model->config.vocab_size;
    qa_kv_run runs[2];
    qa_kv_state states[2];
    qa_real *rows[2] = {NULL, NULL}, *logits = NULL;
    *base = NULL;
    *adapted = NULL;
    QA_TRY(run_slots(decoder, runs, states, ids, n, &logits, err));
    for (size_t slot = 0; slot < decoder->room.slots; slot++) {
        rows[decoder->group[slot] > 0] = logits + slot * V;
    }
    *base = rows[0];
    *adapted = rows[1];
    return QA_OK;
}

qa_status qa_kv_decoder_forward_all(qa_kv_decoder *decoder, const int32_t *ids, size_t n, qa_real **logits,
                                    qa_error *err) {
    const size_t slots = decoder->room.slots;
    qa_kv_run *runs = qa_alloc_array(slots, sizeof *runs);
    qa_kv_state *states = qa_alloc_array(slots, sizeof *states);
    const qa_status status = runs == NULL || states == NULL ? QA_NO_MEMORY(err, "%zu runs", slots)
                                                            : run_slots(decoder, runs, states, ids, n, logits, err);
    free(runs);
    free(states);
    return status;
}
