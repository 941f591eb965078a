/* See run.h. Model, pairs and options are put into the reference's terms; after every stage of its first step (made of
 * all pairs) what was computed is written down. */
#include "golden/run.h"

#include "arch/family.h"
#include "base/memory.h"
#include "base/try.h"
#include "golden/rope.h"
#include "train/schedule.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- the inputs in the reference's terms ---- */

int32_t qa_golden_bos(const qa_model *model) {
    return model->info.bos_id >= 0 && (size_t)model->info.bos_id < model->config.vocab_size ? model->info.bos_id : -1;
}

/* In double precision the numbers themselves, else a copy. */
static const double *in_double(qa_golden_setup *setup, const qa_real *values, size_t n) {
    if (values == NULL || sizeof(qa_real) == sizeof(double)) {
        return (const double *)(const void *)values;
    }
    double *copy = qa_ref_numbers(&setup->memory, n);
    for (size_t i = 0; copy != NULL && i < n; i++) {
        copy[i] = (double)values[i];
    }
    return copy;
}

/* How many numbers the weights of a norm are. */
static size_t norm_width(const qa_ref_model *m, qa_norm_name norm) {
    for (size_t k = 0; k < m->operations.n; k++) {
        const qa_operation *op = &m->operations.operations[k];
        if (op->kind == QA_OP_NORM && op->which == (unsigned)norm) {
            return op->per_head ? m->h : qa_ref_width(m, op->in);
        }
    }
    return 0;
}

static qa_ref_norm norm_in_double(qa_golden_setup *setup, const qa_norm_weights *norm, size_t n) {
    return (qa_ref_norm){in_double(setup, norm->w, n), in_double(setup, norm->b, n)};
}

_Static_assert((int)QA_REF_Q == QA_TARGET_Q && (int)QA_REF_GATE_UP == QA_TARGET_GATE_UP &&
                   (int)QA_REF_LINEARS == QA_TARGETS,
               "the linear maps of a layer have one order");
_Static_assert((int)QA_REF_ROPES == QA_ROPES, "a model's rotary embeddings");

static void set_up_layer(qa_golden_setup *setup, size_t l, const qa_model *model, const qa_adapter *adapter) {
    const qa_layer *weights = &model->layers[l];
    const qa_rope *rope = qa_config_rope(&model->config, l);
    qa_ref_layer *layer = &setup->layers[l];
    layer->window = qa_config_window(&model->config, l);
    layer->rope = rope == NULL ? QA_REF_ROPES : (size_t)(rope - model->config.rope);
    for (qa_norm_name norm = QA_NORM_INPUT; norm < QA_NORMS; norm++) {
        layer->norm[norm] = norm_in_double(setup, &weights->norm[norm], norm_width(&setup->model, norm));
    }
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        const qa_linear *linear = &weights->linear[t];
        const qa_branch_place *branch = qa_adapter_place(adapter, l, t);
        layer->linear[t] = (qa_ref_linear){.in = linear->in,
                                           .out = linear->out,
                                           .weight = in_double(setup, linear->weight.real, linear->in * linear->out),
                                           .bias = in_double(setup, linear->bias, linear->out),
                                           .rank = branch->present ? branch->rank : 0,
                                           .a = branch->a,
                                           .b = branch->b,
                                           .scale = branch->scale};
    }
}

static void set_up_model(qa_golden_setup *setup, const qa_model *model, const qa_adapter *adapter) {
    const qa_config *c = &model->config;
    setup->model = (qa_ref_model){
        .d = c->hidden_size,
        .f = c->intermediate_size,
        .H = c->num_attention_heads,
        .G = c->num_key_value_heads,
        .h = c->head_dim,
        .V = c->vocab_size,
        .layers = c->num_hidden_layers,
        .operations = *c->layer,
        .activation = c->activation,
        .layer_norm = c->layer_norm,
        .norm_epsilon = c->norm_eps,
        .norm_offset = c->norm_offset,
        .rope = {&c->rope[QA_ROPE_FULL], &c->rope[QA_ROPE_SLIDING]},
        .frequencies = qa_golden_rope_frequencies,
        .frequencies_by_length = qa_config_rope_depends_on_length(c),
        .rotary = c->rotary_dim,
        .stride = c->rope_interleaved ? 2 : 1,
        .distance = c->rope_interleaved ? 1 : c->rotary_dim / 2,
        .embedding_factor = c->embedding_factor,
        .residual_multiplier = c->residual_multiplier,
        .logit_factor = c->logit_factor,
        .attention_scale = c->attention_scale,
        .attention_cap = c->attention_cap,
        .logit_cap = c->logit_cap,
        .clip = c->clip_qkv,
        .embedding = in_double(setup, model->embedding.real, c->vocab_size * c->hidden_size),
        .position_embedding = in_double(setup, model->position_embedding, c->max_position_embeddings * c->hidden_size),
        .head = in_double(setup, model->head.real, c->vocab_size * c->hidden_size),
        .final_norm = norm_in_double(setup, &model->final_norm, c->hidden_size),
        .layer = setup->layers,
        .n_parameters = adapter->count,
    };
    for (size_t l = 0; l < c->num_hidden_layers; l++) {
        set_up_layer(setup, l, model, adapter);
    }
    setup->bos_id = qa_golden_bos(model);
    setup->parameters = qa_ref_numbers(&setup->memory, adapter->count);
    for (size_t i = 0; setup->parameters != NULL && i < adapter->count; i++) {
        setup->parameters[i] = (double)adapter->parameters[i];
    }
}

qa_status qa_golden_setup_model(qa_golden_setup *setup, const qa_model *model, const qa_adapter *adapter,
                                qa_error *err) {
    setup->adapter = adapter;
    QA_TRY(QA_NEW(setup->layers, model->config.num_hidden_layers, err, "layers in double precision"));
    set_up_model(setup, model, adapter);
    return setup->memory.failed ? QA_NO_MEMORY(err, "the weights in double precision") : QA_OK;
}

void qa_golden_setup_free(qa_golden_setup *setup) {
    qa_ref_memory_free(&setup->memory);
    free(setup->layers);
    free(setup->rows);
    free(setup->ids);
}

/* ids: where the row's begin, with room for one more than prompt, response and padding. */
static void set_up_row(qa_ref_row *row, int32_t *ids, const qa_pair *pair, size_t side, bool published,
                       int32_t pad_id) {
    const bool chosen = side == QA_REF_CHOSEN;
    const size_t response = chosen ? pair->chosen_len : pair->rejected_len;
    *row = (qa_ref_row){.ids = ids,
                        .length = pair->prompt_len + response,
                        .response_start = published ? pair->label_start : pair->prompt_len,
                        .terminal = chosen ? pair->chosen_terminal : pair->rejected_terminal};
    memcpy(ids, pair->prompt, pair->prompt_len * sizeof *ids);
    memcpy(ids + pair->prompt_len, chosen ? pair->chosen : pair->rejected, response * sizeof *ids);
    ids[row->length] = pad_id;
}

static qa_status set_up_rows(qa_golden_setup *setup, const qa_model *model, const qa_pairs *pairs, qa_error *err) {
    const int32_t pad_id = model->info.n_eos > 0 ? model->info.eos_ids[0] : 0;
    const size_t room = qa_pairs_longest_prompt(pairs) + qa_pairs_longest_response(pairs) + 2;
    setup->pairs = qa_pairs_count(pairs);
    QA_TRY(QA_NEW(setup->rows, setup->pairs * QA_REF_SIDES, err, "the rows of a golden run"));
    QA_TRY(QA_NEW(setup->ids, setup->pairs * QA_REF_SIDES * room, err, "the rows of a golden run"));
    for (size_t r = 0; r < setup->pairs * QA_REF_SIDES; r++) {
        qa_ref_row *row = &setup->rows[r];
        set_up_row(row, setup->ids + r * room, qa_pairs_at(pairs, r / QA_REF_SIDES), r % QA_REF_SIDES,
                   setup->options.objective.published, pad_id);
        for (size_t t = 0; t <= row->length; t++) {
            QA_FAIL_IF(row->ids[t] < 0 || (size_t)row->ids[t] >= model->config.vocab_size, err, QA_ERR_FORMAT,
                       "%s: pair %zu holds token id %d, outside the vocabulary of %zu", model->info.dir,
                       r / QA_REF_SIDES, (int)row->ids[t], model->config.vocab_size);
        }
    }
    return QA_OK;
}

static qa_ref_options reference_options(const qa_golden_options *o, size_t pairs) {
    return (qa_ref_options){.objective = {.published = o->objective.kind == QA_PUBLISHED,
                                          .residual = o->objective.q_parametrisation == QA_Q_RESIDUAL,
                                          .length_normalisation = o->objective.length_normalisation,
                                          .alpha_tilde = o->objective.alpha_tilde,
                                          .alpha_0 = o->objective.alpha_0,
                                          .gamma = o->objective.gamma,
                                          .beta = o->objective.beta},
                            .micro_batch = o->micro_batch == 0 || o->micro_batch > pairs ? pairs : o->micro_batch,
                            .learning_rate = o->learning_rate,
                            .adam_beta1 = o->adam_beta1,
                            .adam_beta2 = o->adam_beta2,
                            .adam_epsilon = o->adam_epsilon,
                            .weight_decay = o->weight_decay,
                            .max_grad_norm = o->max_grad_norm};
}

static qa_status set_up(qa_golden_setup *setup, const qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs,
                        const qa_golden_options *options, qa_error *err) {
    QA_TRY(qa_golden_options_check(options, err));
    QA_FAIL_IF(options->objective.kind == QA_PUBLISHED && model->info.n_eos == 0, err, QA_ERR_UNSUPPORTED,
               "%s: the published objective pads with the end-of-sequence token, and "
               "the model's config.json has no eos_token_id",
               model->info.dir);
    setup->options = reference_options(options, qa_pairs_count(pairs));
    setup->steps = options->steps;
    QA_TRY(set_up_rows(setup, model, pairs, err));
    return qa_golden_setup_model(setup, model, adapter, err);
}

/* ---- writing down ---- */

typedef struct golden_run {
    qa_golden_set *set;
    const qa_golden_options *options;
    const qa_golden_trial *mistake; /* or NULL */
    qa_golden_setup setup;
    bool first;       /* step, whose stages are written down */
    qa_status status; /* of the first failure */
    qa_error *err;
} golden_run;

enum { SCALAR = 0, VECTOR = 1, MATRIX = 2 };

static void put_numbers(golden_run *run, qa_golden_kind kind, int n_dims, size_t rows, size_t columns,
                        const double *values, const char *format, ...) QA_PRINTF(7, 8);

static void put_numbers(golden_run *run, qa_golden_kind kind, int n_dims, size_t rows, size_t columns,
                        const double *values, const char *format, ...) {
    char name[QA_GOLDEN_NAME_BYTES];
    const size_t shape[MATRIX] = {rows, columns};
    double *to = NULL;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (run->status == QA_OK) {
        run->status = qa_golden_set_add(run->set, name, kind, (size_t)n_dims, shape, &to, run->err);
    }
    if (run->status == QA_OK) {
        memcpy(to, values, (n_dims == SCALAR ? 1 : n_dims == VECTOR ? rows : rows * columns) * sizeof *to);
    }
}

/* What docs/golden.md calls rows that an operation writes; NULL: they have no name. */
static const char *name_of_rows(const qa_operation *op, qa_rows_name rows) {
    static const char *const names[QA_ROWS] = {[QA_ROWS_QKV] = "qkv",
                                               [QA_ROWS_Q] = "q",
                                               [QA_ROWS_K] = "k",
                                               [QA_ROWS_V] = "v",
                                               [QA_ROWS_Q2] = "q_clip",
                                               [QA_ROWS_K2] = "k_clip",
                                               [QA_ROWS_V2] = "v_clip",
                                               [QA_ROWS_ATTENTION] = "attn",
                                               [QA_ROWS_BRANCH] = "attn_out",
                                               [QA_ROWS_BRANCH2] = "mlp_out",
                                               [QA_ROWS_GATE_UP] = "gate_up",
                                               [QA_ROWS_GATE] = "gate",
                                               [QA_ROWS_UP] = "up",
                                               [QA_ROWS_ACTIVATED] = "act",
                                               [QA_ROWS_MID] = "mid",
                                               [QA_ROWS_OUT] = "hidden"};
    static const char *const norms[QA_NORMS] = {
        [QA_NORM_INPUT] = "attn_norm",          [QA_NORM_POST] = "mlp_norm", [QA_NORM_BEFORE_MLP] = "mlp_norm",
        [QA_NORM_BEHIND_MLP] = "mlp_post_norm", [QA_NORM_Q] = "q_norm",      [QA_NORM_K] = "k_norm"};
    switch (op->kind) {
    case QA_OP_NORM: return op->in == QA_ROWS_BRANCH ? "attn_post_norm" : norms[op->which];
    case QA_OP_ROPE: return op->out == QA_ROWS_Q || op->out == QA_ROWS_Q2 ? "q_rope" : "k_rope";
    case QA_OP_MAP: return rows == QA_ROWS_MID || rows == QA_ROWS_OUT ? NULL : names[rows];
    default: return names[rows];
    }
}

static void put_layer(golden_run *run, const qa_ref_net *net, size_t l, size_t T, const char *prefix,
                      const char *stream) {
    const qa_operation_list *list = &net->model->operations;
    for (size_t k = 0; k < list->n; k++) {
        const qa_operation *op = &list->operations[k];
        const bool is_hidden = net->layers[l].node[k].out.x == net->layers[l].hidden;
        qa_rows_name parts[3] = {op->out};
        const size_t n = op->kind == QA_OP_SPLIT ? qa_ref_parts(parts, op) : 1;
        const double *rows = net->layers[l].node[k].out.x;
        for (size_t i = 0; (is_hidden || run->options->all_activations) && i < n; i++) {
            const char *name = is_hidden ? "hidden" : name_of_rows(op, parts[i]);
            const size_t width = qa_ref_width(net->model, parts[i]);
            if (name != NULL) {
                put_numbers(run, QA_GOLDEN_ACTIVATION, MATRIX, T, width, rows, "%s.%s.layer%zu.%s", prefix, stream, l,
                            name);
            }
            rows += net->max_T * width;
        }
    }
}

static void put_activations(golden_run *run, const qa_ref_net *net, size_t T, const char *prefix, const char *stream) {
    const qa_ref_model *m = net->model;
    const bool all = run->options->all_activations;
    if (all) {
        put_numbers(run, QA_GOLDEN_ACTIVATION, MATRIX, T, m->d, net->embed, "%s.%s.embed", prefix, stream);
    }
    for (size_t l = 0; l < m->layers; l++) {
        put_layer(run, net, l, T, prefix, stream);
    }
    if (all) {
        put_numbers(run, QA_GOLDEN_ACTIVATION, MATRIX, T, m->d, net->final.out.x, "%s.%s.final_norm", prefix, stream);
    }
}

static void put_ids(golden_run *run, const qa_ref_row *row, const char *prefix) {
    char name[QA_GOLDEN_NAME_BYTES];
    double *to = NULL;
    (void)snprintf(name, sizeof name, "%s.input_ids", prefix);
    if (run->status == QA_OK) {
        run->status = qa_golden_set_add(run->set, name, QA_GOLDEN_IDS, VECTOR, &row->length, &to, run->err);
    }
    for (size_t t = 0; run->status == QA_OK && t < row->length; t++) {
        to[t] = (double)row->ids[t];
    }
}

/* What a mistake may have the reference compute beyond the row's own states is left out. */
static void put_row(golden_run *run, const qa_ref_step *step, qa_ref_stage stage, size_t r) {
    const qa_ref_row *row = &step->rows[r];
    const qa_ref_side *side = &step->side[r % QA_REF_SIDES];
    const size_t V = step->model->V, skip = row->response_start - 1 - row->first;
    const size_t S = row->length + 1 - row->response_start;
    const bool all = run->options->all_activations;
    char prefix[64];
    (void)snprintf(prefix, sizeof prefix, "pair%zu.%s", r / QA_REF_SIDES,
                   r % QA_REF_SIDES == QA_REF_CHOSEN ? "chosen" : "rejected");
    if (stage == QA_REF_LOG_PI1) {
        put_ids(run, row, prefix);
        put_activations(run, step->base, row->length, prefix, "base");
        if (all) {
            put_numbers(run, QA_GOLDEN_ACTIVATION, MATRIX, S, V, side->z1 + skip * V, "%s.base.logits", prefix);
        }
        put_numbers(run, QA_GOLDEN_LOG_PI1, MATRIX, S, V, side->log_pi1 + skip * V, "%s.log_pi1", prefix);
    } else if (stage == QA_REF_LOGITS) {
        put_activations(run, step->adapted[r % QA_REF_SIDES], row->length, prefix, "adapted");
        if (all) {
            put_numbers(run, QA_GOLDEN_ACTIVATION, MATRIX, S, V, side->z + skip * V, "%s.adapted.logits", prefix);
        }
    } else if (stage == QA_REF_REWARDS) {
        put_numbers(run, QA_GOLDEN_Q, MATRIX, S, V, side->q + skip * V, "%s.q", prefix);
        put_numbers(run, QA_GOLDEN_V, VECTOR, S, 0, side->v + skip, "%s.v", prefix);
        put_numbers(run, QA_GOLDEN_REWARD, VECTOR, row->n, 0, side->reward, "%s.reward", prefix);
        put_numbers(run, QA_GOLDEN_LOG_PI, VECTOR, row->n, 0, side->log_pi, "%s.log_pi", prefix);
        put_numbers(run, QA_GOLDEN_RETURN, SCALAR, 0, 0, &side->ret, "%s.return", prefix);
    }
}

static void make_mistake(golden_run *run, qa_ref_step *step, int stage, size_t row) {
    const qa_golden_trial *mistake = run->mistake;
    if (mistake != NULL && (mistake->stages & 1u << (unsigned)stage) != 0) {
        const qa_golden_moment at = {&run->setup, step, stage, row, mistake->number};
        mistake->make(&at);
    }
}

static void after_stage(void *user, qa_ref_step *step, qa_ref_stage stage, size_t row) {
    golden_run *run = user;
    make_mistake(run, step, (int)stage, row);
    if (run->first) {
        put_row(run, step, stage, row);
    }
}

static void put_adapter(golden_run *run, qa_golden_kind kind, const char *prefix, const double *values) {
    for (size_t i = 0; i < run->setup.adapter->n_tensors; i++) {
        const qa_adapter_tensor *tensor = &run->setup.adapter->tensors[i];
        put_numbers(run, kind, MATRIX, tensor->rows, tensor->columns, values + tensor->offset, "%s.%s", prefix,
                    tensor->name);
    }
}

/* ---- the steps ---- */

static qa_status all_pairs(golden_run *run, qa_ref_step *step, bool gradients, qa_error *err) {
    qa_ref_begin(step);
    for (size_t pair = 0; pair < step->pairs; pair++) {
        QA_FAIL_IF(run->options->should_stop != NULL && run->options->should_stop(run->options->user), err,
                   QA_ERR_INTERRUPTED, "golden: stopped before pair %zu", pair);
        qa_ref_pair(step, pair, gradients);
        QA_TRY(run->status);
        QA_FAIL_IF(!isfinite(step->z), err, QA_ERR_NAN, "golden: the returns of pair %zu differ by %g", pair, step->z);
    }
    return QA_OK;
}

static qa_status run_steps(golden_run *run, qa_ref_step *step, bool gradients, qa_error *err) {
    QA_TRY(all_pairs(run, step, gradients, err));
    run->first = false;
    double loss = step->loss_preference + step->loss_regulariser;
    put_numbers(run, QA_GOLDEN_LOSS, SCALAR, 0, 0, &step->loss_preference, "loss.pref");
    put_numbers(run, QA_GOLDEN_LOSS, SCALAR, 0, 0, &step->loss_regulariser, "loss.reg");
    put_numbers(run, QA_GOLDEN_LOSS, SCALAR, 0, 0, &loss, "loss");
    if (gradients) {
        put_adapter(run, QA_GOLDEN_GRAD, "grad", step->gradient);
    }
    for (size_t k = 1; gradients && k <= run->options->steps; k++) {
        char prefix[32];
        if (k > 1) {
            QA_TRY(all_pairs(run, step, true, err));
            loss = step->loss_preference + step->loss_regulariser;
        }
        if (run->options->schedule != QA_SCHEDULE_CONSTANT || run->options->warmup_steps > 0) {
            step->options.learning_rate = qa_schedule_rate(run->options->schedule, run->setup.options.learning_rate,
                                                           run->options->warmup_steps, run->options->steps, k - 1);
        }
        qa_ref_update(step);
        (void)snprintf(prefix, sizeof prefix, "step%zu", k);
        put_numbers(run, QA_GOLDEN_LOSS, SCALAR, 0, 0, &loss, "%s.loss", prefix);
        put_numbers(run, QA_GOLDEN_GRAD, SCALAR, 0, 0, &step->norm, "%s.grad_norm", prefix);
        put_adapter(run, QA_GOLDEN_STEP, prefix, step->parameters);
    }
    return run->status;
}

qa_status qa_golden_run(qa_golden_set *set, const qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs,
                        const qa_golden_options *options, bool gradients, const qa_golden_trial *mistake,
                        qa_error *err) {
    golden_run run = {.set = set, .options = options, .mistake = mistake, .first = true, .err = err};
    const qa_ref_observer observer = {after_stage, &run};
    qa_golden_setup *setup = &run.setup;
    qa_ref_step *step = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, set_up(setup, model, adapter, pairs, options, err));
    make_mistake(&run, NULL, QA_GOLDEN_INPUTS, 0);
    QA_GOTO(done, qa_ref_step_create(&step, &setup->model, setup->rows, setup->pairs, setup->parameters,
                                     &setup->options, observer, err));
    status = run_steps(&run, step, gradients, err);
done:
    qa_ref_step_free(step);
    qa_golden_setup_free(setup);
    return status;
}
