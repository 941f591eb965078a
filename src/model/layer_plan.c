/* What follows from a list of operations: see layer_plan.h. */
#include "model/layer_plan.h"

#include "arch/family.h"

/* The rows that an operation reads, 1 to 3 of them. */
static size_t operation_reads(const qa_operation *op, qa_rows_name names[3]) {
    names[0] = op->in;
    names[1] = op->in2;
    names[2] = op->in3;
    switch (op->kind) {
    case QA_OP_ATTENTION: return 3;
    case QA_OP_GATE:
    case QA_OP_ADD: return 2;
    default: return 1;
    }
}

/* Likewise. */
static size_t operation_writes(const qa_operation *op, qa_rows_name names[3]) {
    names[0] = op->out;
    if (op->kind != QA_OP_SPLIT) {
        return 1;
    }
    const bool mlp = op->which == QA_SPLIT_GATE_UP;
    names[0] = mlp ? QA_ROWS_GATE : QA_ROWS_Q;
    names[1] = mlp ? QA_ROWS_UP : QA_ROWS_K;
    names[2] = QA_ROWS_V;
    return mlp ? 2 : 3;
}

static bool writes_row(const qa_operation *op, qa_rows_name name) {
    qa_rows_name names[3];
    const size_t n = operation_writes(op, names);
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        found |= names[i] == name;
    }
    return found;
}

static size_t width_of_rows(const qa_config *config, qa_rows_name name) {
    const size_t f = config->intermediate_size;
    const size_t query = config->num_attention_heads * config->head_dim;
    const size_t key = config->num_key_value_heads * config->head_dim;
    switch (name) {
    case QA_ROWS_QKV: return query + 2 * key;
    case QA_ROWS_Q:
    case QA_ROWS_Q2:
    case QA_ROWS_ATTENTION: return query;
    case QA_ROWS_K:
    case QA_ROWS_V:
    case QA_ROWS_K2:
    case QA_ROWS_V2: return key;
    case QA_ROWS_GATE_UP: return 2 * f;
    case QA_ROWS_GATE:
    case QA_ROWS_UP:
    case QA_ROWS_ACTIVATED: return f;
    default: return config->hidden_size;
    }
}

static void note_rows(qa_layer_plan *plan, const qa_config *config) {
    for (size_t k = 0; k < plan->n; k++) {
        const qa_operation *op = &plan->operations[k];
        qa_rows_name names[6];
        const size_t reads = operation_reads(op, names), n = reads + operation_writes(op, names + reads);
        for (size_t i = 0; i < n; i++) {
            plan->width[names[i]] = width_of_rows(config, names[i]);
        }
        if (op->kind == QA_OP_NORM) {
            plan->statistics[op->which] = op->per_head ? plan->width[op->in] / config->head_dim : 1;
        } else if (op->kind == QA_OP_ATTENTION) {
            plan->attention = k;
        }
    }
}

/* The operation whose rows the one at k reads; n: it reads X. */
static size_t writer_of(const qa_layer_plan *plan, size_t k) {
    for (size_t j = k; j-- > 0;) {
        if (writes_row(&plan->operations[j], plan->operations[k].in)) {
            return j;
        }
    }
    return plan->n;
}

static void plan_map(qa_layer_plan *plan, size_t k) {
    const qa_operation *op = &plan->operations[k], *before = k == 0 ? op : op - 1;
    const size_t by = writer_of(plan, k);
    const qa_operation_kind kind = by == plan->n ? QA_OP_ADD : plan->operations[by].kind;
    plan->made_by[k] = kind == QA_OP_NORM || kind == QA_OP_GATE || kind == QA_OP_ACTIVATE ? by : plan->n;
    plan->kept[op->in] |= plan->made_by[k] == plan->n;
    plan->first_map[k] = k > 0 && before->kind == QA_OP_MAP && before->in == op->in ? plan->first_map[k - 1] : k;
    plan->leads_to_x_alone[k] = op->in == QA_ROWS_X || (kind == QA_OP_NORM && plan->operations[by].in == QA_ROWS_X);
}

/* What backward needs. */
static void note_kept(qa_layer_plan *plan) {
    for (size_t k = 0; k < plan->n; k++) {
        const qa_operation *op = &plan->operations[k];
        qa_rows_name names[3];
        const size_t reads = operation_reads(op, names);
        if (op->kind == QA_OP_MAP) {
            plan_map(plan, k);
            continue;
        }
        plan->leads_to_x_alone[k] = op->kind == QA_OP_NORM && op->in == QA_ROWS_X;
        for (size_t i = 0; i < reads && op->kind != QA_OP_ADD && op->kind != QA_OP_ROPE && op->kind != QA_OP_SPLIT;
             i++) {
            plan->kept[names[i]] = true;
        }
    }
}

/* Backward goes through the list in reverse, but through maps of one input that stand together in their own order. The
 * gradient of the stream is there from the beginning; any other row's begins with its last reader. */
static void note_gradients(qa_layer_plan *plan) {
    bool begun[QA_ROWS] = {[QA_ROWS_X] = true, [QA_ROWS_MID] = true, [QA_ROWS_OUT] = true};
    for (size_t last = plan->n; last-- > 0;) {
        const bool map = plan->operations[last].kind == QA_OP_MAP;
        const size_t first = map ? plan->first_map[last] : last;
        for (size_t k = first; k <= last; k++) {
            const qa_operation *op = &plan->operations[k];
            qa_rows_name from[3], to[3];
            const size_t reads = operation_reads(op, from), writes = operation_writes(op, to);
            for (size_t i = 0; i < writes; i++) { /* the name is free again, but for a row that is changed in place */
                begun[to[i]] &= to[i] == from[0] || to[i] <= QA_ROWS_OUT;
            }
            for (size_t i = 0; i < reads; i++) {
                plan->assigns[k][i] = !begun[from[i]];
                begun[from[i]] = true;
            }
        }
        last = first;
    }
}

/* A layer is run again for what is kept of it, the statistics of its norms among that. OUT is the next layer's X, and
 * nobody asks for it any more; where a norm writes it, it is made whole again. */
static void plan_again(qa_layer_plan *plan) {
    bool needed[QA_ROWS] = {false};
    for (size_t k = 0; k < plan->n; k++) {
        needed[QA_ROWS_OUT] |= plan->operations[k].kind == QA_OP_NORM && plan->operations[k].out == QA_ROWS_OUT;
    }
    for (size_t k = plan->n; k-- > 0;) {
        const qa_operation *op = &plan->operations[k];
        qa_rows_name from[3], to[3];
        const size_t reads = operation_reads(op, from), writes = operation_writes(op, to);
        bool run = op->kind == QA_OP_NORM;
        for (size_t i = 0; i < writes; i++) {
            run |= needed[to[i]] || plan->kept[to[i]];
            needed[to[i]] = false;
        }
        plan->again[k] = run ? QA_AGAIN_RUN : op->kind == QA_OP_MAP ? QA_AGAIN_HIDDEN : QA_AGAIN_SKIP;
        for (size_t i = 0; i < reads; i++) {
            needed[from[i]] |= run;
        }
    }
}

static void note_norms(qa_layer_plan *plan, const qa_config *config) {
    const qa_tensor_table *tensors = config->family->tensors;
    plan->final_norm = (qa_norm){
        .sets = 1, .offset = (qa_real)config->norm_offset, .eps = config->norm_eps, .layer = config->layer_norm};
    for (size_t which = 0; which < QA_NORMS; which++) {
        plan->norm[which] = plan->final_norm;
    }
    for (size_t k = 0; k < plan->n; k++) {
        const qa_operation *op = &plan->operations[k];
        for (size_t i = 0; op->kind == QA_OP_NORM && op->per_head && i < tensors->n; i++) {
            const qa_tensor_row *row = &tensors->rows[i];
            if (row->role == QA_ROLE_NORM && row->norm == op->which) { /* each head's own, or one for all */
                plan->norm[op->which].sets = qa_width_of(config, row->rows) / config->head_dim;
            }
        }
    }
}

static void note_layers(qa_layer_plan *plan, const qa_config *config) {
    plan->scores = (qa_attention){.H = config->num_attention_heads,
                                  .G = config->num_key_value_heads,
                                  .h = config->head_dim,
                                  .scale = config->attention_scale,
                                  .cap = config->attention_cap};
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        const qa_rope *rope = qa_config_rope(config, l);
        plan->window[l] = qa_config_window(config, l);
        plan->rope[l] = rope == NULL ? QA_ROPES : rope == &config->rope[QA_ROPE_FULL] ? QA_ROPE_FULL : QA_ROPE_SLIDING;
        if (rope != NULL) {
            plan->rope_used[plan->rope[l]] = true;
        }
    }
}

qa_attention qa_layer_plan_widest_attention(const qa_layer_plan *plan, const qa_config *config) {
    qa_attention attention = plan->scores;
    attention.window = config->sliding_window;
    return attention;
}

void qa_layer_plan_make(qa_layer_plan *plan, const qa_model *model) {
    const qa_config *config = &model->config;
    const qa_operation_list *list = config->layer;
    *plan = (qa_layer_plan){.operations = list->operations, .n = list->n};
    note_rows(plan, config);
    note_norms(plan, config);
    plan->final_norm.w = model->final_norm.w;
    plan->final_norm.b = model->final_norm.b;
    note_layers(plan, config);
    note_kept(plan);
    note_gradients(plan);
    plan_again(plan);
}
