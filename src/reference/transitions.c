/* See transitions.h. With P = response_start and L = length, and ids[L] the padding token:
 *
 *   theory      state t = P-1 .. L-2,  action ids[t+1],  value of state t+1; of none after the token that ends it
 *   published   state t = P .. L-1,    action ids[t+1],  value of state t; without the last one in the longest row
 *
 * So published's first response token is nobody's action, and its last action is a padding token. */
#include "reference/transitions.h"

#include "reference/math.h"

static void list_theory(qa_ref_row *row) {
    for (size_t t = row->response_start - 1; t + 1 < row->length; t++) {
        const bool ends = row->terminal && t + 2 == row->length;
        row->transitions[row->n++] =
            (qa_ref_transition){.state = t, .action = row->ids[t + 1], .value = ends ? QA_REF_NO_STATE : t + 1};
    }
}

static void list_published(qa_ref_row *row) {
    for (size_t t = row->response_start; t < row->length && t + 1 < row->padded; t++) {
        row->transitions[row->n++] = (qa_ref_transition){.state = t, .action = row->ids[t + 1], .value = t};
    }
}

void qa_ref_list_transitions(qa_ref_row *row, const qa_ref_objective *objective) {
    row->n = 0;
    row->first = row->response_start - 1;
    row->last = row->length - 1;
    if (objective->published) {
        list_published(row);
    } else {
        list_theory(row);
    }
}

void qa_ref_weigh_transitions(qa_ref_row *row, const qa_ref_objective *objective) {
    const double divisor = objective->published              ? (double)(row->padded - 1)
                           : objective->length_normalisation ? (double)row->n
                                                             : 1.0;
    double discount = 1.0;
    for (size_t t = 0; t < row->n; t++) {
        row->transitions[t].weight = discount / divisor;
        discount *= objective->published ? 1.0 : objective->gamma;
    }
}

void qa_ref_set_divisors(qa_ref_row *rows, size_t pairs, size_t micro_batch, const qa_ref_objective *objective) {
    const size_t batch = objective->published ? micro_batch : pairs;
    const double batches = (double)((pairs - 1) / batch + 1);
    for (size_t begin = 0; begin < pairs; begin += batch) {
        const size_t end = pairs - begin < batch ? pairs : begin + batch;
        size_t counted = 0;
        for (size_t r = begin * QA_REF_SIDES; r < end * QA_REF_SIDES; r++) {
            counted += rows[r].n;
        }
        for (size_t r = begin * QA_REF_SIDES; r < end * QA_REF_SIDES; r++) {
            rows[r].pairs = batches * (double)(end - begin);
            rows[r].counted = batches * (double)counted;
        }
    }
}
