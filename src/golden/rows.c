/* See rows.h. The transitions come from the same table as everywhere (rl/transitions.h); a mistake is what is
 * done to that list afterwards. */
#include "golden/rows.h"

#include "base/memory.h"
#include "base/try.h"
#include "rl/transitions.h"
#include "train/batch.h"

#include <string.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* What a row is made from. */
typedef struct plan {
    const qa_golden_options *options;
    const qa_golden_variant *variant;
    int32_t pad_id, bos_id;
} plan;

static bool theory(const plan *p) { return p->options->objective.kind == QA_THEORY; }

static qa_status copy_ids(qa_golden_row *row, const plan *p, const qa_pair *pair, bool chosen, qa_error *err) {
    const size_t extra = p->variant->extra_bos ? 1 : 0;
    const size_t response = chosen ? pair->chosen_len : pair->rejected_len;
    row->length = extra + pair->prompt_len + response;
    row->label_start = extra + (theory(p) ? pair->prompt_len : pair->label_start);
    row->first = row->label_start >= 2 ? row->label_start - 2 : 0;
    row->states = row->length + 1 - row->first;
    row->ids = qa_alloc_array(row->length + 1, sizeof *row->ids);
    row->transitions = qa_alloc_array(row->length + 1, sizeof *row->transitions);
    if (row->ids == NULL || row->transitions == NULL) {
        return QA_NO_MEMORY(err, "a row of %zu tokens", row->length);
    }
    row->ids[0] = p->bos_id;
    memcpy(row->ids + extra, pair->prompt, pair->prompt_len * sizeof *row->ids);
    memcpy(row->ids + extra + pair->prompt_len, chosen ? pair->chosen : pair->rejected, response * sizeof *row->ids);
    row->ids[row->length] = p->pad_id;
    return QA_OK;
}

static void drop_first(qa_golden_row *row) {
    if (row->n > 0) {
        memmove(row->transitions, row->transitions + 1, --row->n * sizeof *row->transitions);
    }
}

/* The transition that ends where the first one starts. */
static void add_before(qa_golden_row *row, const plan *p) {
    const size_t state = theory(p) ? row->label_start - 2 : row->label_start - 1;
    if (theory(p) && row->label_start < 2) {
        return;
    }
    memmove(row->transitions + 1, row->transitions, row->n++ * sizeof *row->transitions);
    row->transitions[0] =
        (qa_golden_transition){.state = state, .value = theory(p) ? state + 1 : state, .action = row->ids[state + 1]};
}

static void add_padding(qa_golden_row *row, const plan *p, size_t padded, bool with_value) {
    if (row->length < padded) {
        row->transitions[row->n++] = (qa_golden_transition){
            .state = row->length - 1, .value = with_value ? row->length : QA_NO_POSITION, .action = p->pad_id};
    }
}

static void make_mistakes(qa_golden_row *row, const plan *p, size_t padded, bool terminal) {
    const qa_golden_variant *variant = p->variant;
    for (size_t t = 0; variant->value_misplaced && t < row->n; t++) {
        row->transitions[t].value = row->transitions[t].state + (theory(p) ? 0 : 1);
    }
    if (variant->mask == QA_MASK_LATE || variant->mask == QA_MASK_STATE_TOKEN) {
        drop_first(row);
    }
    if (variant->mask == QA_MASK_EARLY) {
        add_before(row, p);
    }
    if (variant->mask == QA_MASK_STATE_TOKEN || variant->pad == QA_PAD_ZERO || variant->pad == QA_PAD_VALUE) {
        add_padding(row, p, padded, variant->pad == QA_PAD_VALUE || (variant->pad == QA_PAD_RIGHT && !terminal));
    }
    if (variant->pad == QA_PAD_DROPPED && row->n > 0 && row->transitions[row->n - 1].state + 1 == row->length) {
        row->n--;
    }
}

/* (M9) c_t = gamma^t (theory) or 1, over the divisor. */
static void weigh(qa_golden_row *row, const plan *p, size_t padded) {
    const qa_objective *objective = &p->options->objective;
    double divisor = theory(p) ? (objective->length_normalisation ? (double)row->n : 1.0) : (double)(padded - 1);
    switch (p->variant->divisor) {
    case QA_DIVISOR_RIGHT: break;
    case QA_DIVISOR_PADDED_1: divisor = (double)(padded - 1); break;
    case QA_DIVISOR_PADDED: divisor = (double)padded; break;
    case QA_DIVISOR_OWN_1: divisor = (double)(row->length - 1); break;
    case QA_DIVISOR_COUNT: divisor = (double)row->n; break;
    case QA_DIVISOR_NONE: divisor = 1.0; break;
    }
    double discount = p->variant->gamma_from_1 && theory(p) ? objective->gamma : 1.0;
    const size_t before = p->variant->gamma_from_prompt  ? row->label_start
                          : p->variant->gamma_from_state ? row->label_start - 1
                                                         : 0;
    for (size_t t = 0; theory(p) && t < before; t++) {
        discount *= objective->gamma;
    }
    for (size_t t = 0; t < row->n; t++) {
        row->transitions[t].weight = discount / divisor;
        discount *= theory(p) ? objective->gamma : 1.0;
    }
}

static qa_status lay_out(qa_golden_row *row, const plan *p, size_t padded, bool terminal, qa_error *err) {
    const qa_objective *objective = &p->options->objective;
    const qa_side side = {
        .ids = row->ids, .length = row->length, .label_start = row->label_start, .terminal = terminal};
    row->n = qa_transition_count(&side, objective, padded);
    qa_transition *right = NULL;
    QA_TRY(QA_NEW(right, row->n, err, "%zu transitions", row->n));
    qa_transitions_layout(right, &side, objective, padded, p->pad_id);
    for (size_t t = 0; t < row->n; t++) {
        const size_t value = right[t].value_state;
        row->transitions[t] =
            (qa_golden_transition){.state = row->label_start - 1 + right[t].state,
                                   .value = value == QA_TERMINAL_STATE ? QA_NO_POSITION : row->label_start - 1 + value,
                                   .action = right[t].action};
    }
    free(right);
    make_mistakes(row, p, padded, terminal);
    weigh(row, p, padded);
    return QA_OK;
}

/* Rows of pairs [begin, end): one micro-batch. */
static qa_status lay_out_micro_batch(qa_golden_rows *rows, const plan *p, const qa_pairs *pairs, size_t begin,
                                     size_t end, qa_error *err) {
    size_t padded = 0;
    for (size_t r = begin * QA_GOLDEN_SIDES; r < end * QA_GOLDEN_SIDES; r++) {
        padded = rows->rows[r].length > padded ? rows->rows[r].length : padded;
    }
    rows->longest = padded + 1 > rows->longest ? padded + 1 : rows->longest;
    for (size_t r = begin * QA_GOLDEN_SIDES; r < end * QA_GOLDEN_SIDES; r++) {
        const qa_pair *pair = qa_pairs_at(pairs, r / QA_GOLDEN_SIDES);
        const bool chosen = (r % QA_GOLDEN_SIDES == 0) != p->variant->sides_exchanged;
        const bool terminal = chosen ? pair->chosen_terminal : pair->rejected_terminal;
        QA_TRY(lay_out(&rows->rows[r], p, padded, terminal || p->variant->cut_is_terminal, err));
    }
    return QA_OK;
}

/* theory: means over all pairs; published: the mean over micro-batches of their own means. */
static void divide(qa_golden_rows *rows, const plan *p, size_t micro_batch) {
    const qa_golden_means means = p->variant->means;
    const size_t batch = theory(p) || means == QA_MEANS_WHOLE ? rows->pairs : micro_batch;
    const double batches = (double)((rows->pairs - 1) / batch + 1);
    for (size_t begin = 0; begin < rows->pairs; begin += batch) {
        const size_t count = rows->pairs - begin < batch ? rows->pairs - begin : batch;
        size_t counted = 0;
        for (size_t r = 0; r < count * QA_GOLDEN_SIDES; r++) {
            counted += rows->rows[begin * QA_GOLDEN_SIDES + r].n;
        }
        for (size_t r = 0; r < count * QA_GOLDEN_SIDES; r++) {
            qa_golden_row *row = &rows->rows[begin * QA_GOLDEN_SIDES + r];
            const qa_golden_row *chosen = &rows->rows[begin * QA_GOLDEN_SIDES + r / QA_GOLDEN_SIDES * QA_GOLDEN_SIDES];
            row->pairs = means == QA_SUM_OF_PAIRS || means == QA_SUMS ? 1.0 : batches * (double)count;
            row->counted = batches * (double)counted;
            if (means == QA_MEANS_OF_PAIRS) {
                row->counted = batches * (double)count * (double)(chosen[0].n + chosen[1].n);
            } else if (means == QA_MEANS_OF_RESPONSES) {
                row->counted = batches * (double)count * QA_GOLDEN_SIDES * (double)row->n;
            } else if (means == QA_SUMS) {
                row->counted = 1.0;
            }
        }
    }
}

bool qa_golden_has_bos(const qa_model *model) {
    return model->info.bos_id >= 0 && (size_t)model->info.bos_id < model->config.vocab_size;
}

/* Ids come from config.json, from pairs.jsonl and from mistakes; every one is about to choose a row of the embedding.
 */
static qa_status check_ids(const qa_golden_rows *rows, const qa_model *model, qa_error *err) {
    for (size_t r = 0; r < rows->pairs * QA_GOLDEN_SIDES; r++) {
        for (size_t t = 0; t <= rows->rows[r].length; t++) {
            const int32_t id = rows->rows[r].ids[t];
            if (id < 0 || (size_t)id >= model->config.vocab_size) {
                return qa_fail(err, QA_ERR_FORMAT, "%s: pair %zu holds token id %d, outside the vocabulary of %zu",
                               model->info.dir, r / QA_GOLDEN_SIDES, (int)id, model->config.vocab_size);
            }
        }
    }
    return QA_OK;
}

qa_status qa_golden_rows_make(qa_golden_rows *rows, const qa_model *model, const qa_pairs *pairs,
                              const qa_golden_options *options, const qa_golden_variant *variant, qa_error *err) {
    const plan p = {.options = options,
                    .variant = variant,
                    .pad_id = model->info.n_eos > 0 ? model->info.eos_ids[0] : 0,
                    .bos_id = qa_golden_has_bos(model) ? model->info.bos_id : 0};
    *rows = (qa_golden_rows){.pairs = qa_pairs_count(pairs)};
    rows->rows = qa_alloc_array(rows->pairs * QA_GOLDEN_SIDES, sizeof *rows->rows);
    if (rows->rows == NULL) {
        rows->pairs = 0;
        return QA_NO_MEMORY(err, "the rows of a golden run");
    }
    for (size_t r = 0; r < rows->pairs * QA_GOLDEN_SIDES; r++) {
        const bool chosen = (r % QA_GOLDEN_SIDES == 0) != variant->sides_exchanged;
        QA_TRY(copy_ids(&rows->rows[r], &p, qa_pairs_at(pairs, r / QA_GOLDEN_SIDES), chosen, err));
    }
    QA_TRY(check_ids(rows, model, err));
    const size_t micro =
        options->micro_batch == 0 || options->micro_batch > rows->pairs ? rows->pairs : options->micro_batch;
    for (size_t begin = 0; begin < rows->pairs; begin += micro) {
        const size_t end = rows->pairs - begin < micro ? rows->pairs : begin + micro;
        QA_TRY(lay_out_micro_batch(rows, &p, pairs, begin, end, err));
    }
    divide(rows, &p, micro);
    return QA_OK;
}

void qa_golden_rows_free(qa_golden_rows *rows) {
    for (size_t r = 0; r < rows->pairs * QA_GOLDEN_SIDES; r++) {
        free(rows->rows[r].ids);
        free(rows->rows[r].transitions);
    }
    free(rows->rows);
    *rows = (qa_golden_rows){0};
}
