/* Pairs as single responses with labels, and what makes one set out of another. */
#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "data/form.h"

/* ---- a set from another one ---- */

qa_status qa_pairs_like(qa_pairs **out, const qa_pairs *pairs, qa_error *err) {
    qa_pairs *set = NULL;
    *out = NULL;
    QA_TRY(QA_NEW(set, 1, err, "a set of pairs"));
    *set = (qa_pairs){.form = pairs->form,
                      .chat = pairs->chat,
                      .writes_behind = pairs->writes_behind,
                      .chat_record = json_incref(pairs->chat_record),
                      .response_end = pairs->response_end,
                      .published_data = pairs->published_data,
                      .labelled = pairs->labelled,
                      .unpaired = pairs->unpaired,
                      .max_length = pairs->max_length};
    memcpy(set->columns, pairs->columns, sizeof set->columns);
    *out = set;
    return QA_OK;
}

qa_status qa_pairs_take(qa_pairs *set, const qa_pair *pair, qa_error *err) {
    QA_TRY(QA_GROW(set->items, set->capacity, set->n + 1, err, "%zu pairs", set->n + 1));
    set->items[set->n++] = *pair;
    QA_TRY(qa_ids_append(&set->ids, pair->prompt, pair->prompt_len, err));
    QA_TRY(qa_ids_append(&set->ids, pair->chosen, pair->chosen_len, err));
    return qa_ids_append(&set->ids, pair->rejected, pair->rejected_len, err);
}

void qa_pairs_measure_longest(qa_pairs *set) {
    set->longest_prompt = set->longest_response = 0;
    for (size_t i = 0; i < set->n; i++) {
        const qa_pair *pair = &set->items[i];
        const size_t response = pair->chosen_len > pair->rejected_len ? pair->chosen_len : pair->rejected_len;
        set->longest_prompt = pair->prompt_len > set->longest_prompt ? pair->prompt_len : set->longest_prompt;
        set->longest_response = response > set->longest_response ? response : set->longest_response;
    }
}

/* ---- pairs as labelled responses ---- */

static qa_pair one_side(const qa_pair *pair, bool chosen) {
    qa_pair one = *pair;
    one.chosen = chosen ? pair->chosen : pair->rejected;
    one.chosen_len = chosen ? pair->chosen_len : pair->rejected_len;
    one.chosen_terminal = chosen ? pair->chosen_terminal : pair->rejected_terminal;
    one.rejected_len = 0;
    one.rejected_terminal = false;
    one.answer = chosen ? 0 : 1;
    one.undesirable = !chosen;
    return one;
}

static qa_status take_sides(qa_pairs *set, const qa_pairs *pairs, bool chosen, qa_error *err) {
    for (size_t i = 0; i < pairs->n; i++) {
        const qa_pair side = one_side(&pairs->items[i], chosen);
        QA_TRY(qa_pairs_take(set, &side, err));
    }
    return QA_OK;
}

qa_status qa_pairs_unpair(qa_pairs **out, const qa_pairs *pairs, qa_error *err) {
    qa_pairs *set = NULL;
    *out = NULL;
    QA_FAIL_IF(qa_pairs_single(pairs), err, QA_ERR_ARGUMENT, "single responses are no pairs that could be taken apart");
    QA_TRY(qa_pairs_like(&set, pairs, err));
    set->labelled = set->unpaired = true;
    qa_status status = take_sides(set, pairs, true, err);
    status = status == QA_OK ? take_sides(set, pairs, false, err) : status;
    if (status != QA_OK) {
        qa_pairs_free(set);
        return status;
    }
    qa_pairs_set_pointers(set);
    qa_pairs_measure_longest(set);
    *out = set;
    return QA_OK;
}
