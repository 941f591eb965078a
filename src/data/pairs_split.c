/* A part of a set held out for evaluation. Pairs are told apart by their prompts alone: those of one prompt stay
 * together, so that nothing of what is measured was learned. Which prompts are held out is a function of the seed and
 * of the prompts themselves, whatever their order in the file: each gets a random word made of both, and those with the
 * smallest words go, as many as fit. */
#include "base/buffer.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "data/pairs.h"

#include <stdlib.h>
#include <string.h>

enum { SPLIT_STREAM = 4 }; /* keeps these random numbers apart from other uses of the seed */

/* A pair and the word of its prompt. */
typedef struct drawn_pair {
    uint64_t word;
    size_t index;
} drawn_pair;

static int by_word(const void *left, const void *right) {
    const drawn_pair *a = left, *b = right;
    return a->word != b->word ? (a->word < b->word ? -1 : 1) : a->index < b->index ? -1 : a->index > b->index;
}

static uint64_t word_of(const qa_pair *pair, uint64_t seed) {
    uint64_t word = qa_hash(qa_hash(seed, SPLIT_STREAM), pair->prompt_len);
    for (size_t i = 0; i < pair->prompt_len; i++) {
        word = qa_hash(word, (uint64_t)(uint32_t)pair->prompt[i]);
    }
    return word;
}

static size_t mark(bool *held, const drawn_pair *drawn, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        held[drawn[i].index] = true;
    }
    return end - first;
}

/* Marks whole prompts in the order of their words, each that fits in what is still wanted; the one of the fewest pairs
 * when none fits. Returns how many pairs that are. */
static size_t mark_held_out(bool *held, const drawn_pair *drawn, size_t n, size_t wanted) {
    size_t marked = 0, least_first = 0, least = n;
    for (size_t first = 0, end = 0; first < n && marked < wanted; first = end) {
        for (end = first; end < n && drawn[end].word == drawn[first].word;) {
            end++;
        }
        if (end - first < least) {
            least_first = first;
            least = end - first;
        }
        marked += end - first <= wanted - marked ? mark(held, drawn, first, end) : 0;
    }
    return marked > 0 ? marked : mark(held, drawn, least_first, least_first + least);
}

/* Copies the marked pairs into the new set, and closes the gaps once nothing can fail any more. */
static qa_status move_pairs(qa_pairs *set, qa_pairs *pairs, const bool *held, qa_error *err) {
    for (size_t i = 0; i < pairs->n; i++) {
        QA_TRY(held[i] ? qa_pairs_take(set, &pairs->items[i], err) : QA_OK);
    }
    qa_pairs_set_pointers(set);
    size_t kept = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        if (!held[i]) {
            pairs->items[kept++] = pairs->items[i]; /* its ids stay where they are */
        }
    }
    pairs->n = kept;
    qa_pairs_measure_longest(set);
    qa_pairs_measure_longest(pairs);
    return QA_OK;
}

static qa_status make_held_out(qa_pairs **out, qa_pairs *pairs, const bool *held, qa_error *err) {
    qa_pairs *set = NULL;
    QA_TRY(qa_pairs_like(&set, pairs, err));
    const qa_status status = move_pairs(set, pairs, held, err);
    if (status != QA_OK) {
        qa_pairs_free(set);
        return status;
    }
    *out = set;
    return QA_OK;
}

qa_status qa_pairs_split(qa_pairs *pairs, size_t wanted, uint64_t seed, qa_pairs **held_out, qa_error *err) {
    *held_out = NULL;
    QA_FAIL_IF(wanted == 0 || wanted >= pairs->n, err, QA_ERR_ARGUMENT,
               "%zu of %zu pairs cannot be held out: expected from 1 to %zu", wanted, pairs->n,
               pairs->n > 0 ? pairs->n - 1 : 0);
    drawn_pair *drawn = qa_alloc_array(pairs->n, sizeof *drawn);
    bool *held = calloc(pairs->n, sizeof *held);
    qa_status status = drawn == NULL || held == NULL ? QA_NO_MEMORY(err, "the held-out pairs") : QA_OK;
    for (size_t i = 0; status == QA_OK && i < pairs->n; i++) {
        drawn[i] = (drawn_pair){word_of(&pairs->items[i], seed), i};
    }
    if (status == QA_OK) {
        qsort(drawn, pairs->n, sizeof *drawn, by_word);
        status = mark_held_out(held, drawn, pairs->n, wanted) < pairs->n
                     ? make_held_out(held_out, pairs, held, err)
                     : qa_fail(err, QA_ERR_ARGUMENT,
                               "none of %zu pairs can be held out: they have one prompt, and pairs of one prompt stay "
                               "together",
                               pairs->n);
    }
    free(held);
    free(drawn);
    return status;
}
