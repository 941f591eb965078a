/* See template_sort.h: a merge sort, which asks for "<" alone, as Python does. */
#include "text/template_sort.h"

typedef struct value_sort {
    qa_tv_run *run;
    const qa_tv *keys;
    size_t *scratch;
    bool reverse;
} value_sort;

static bool key_comes_before(const value_sort *sort, size_t a, size_t b) {
    bool unordered = false;
    const qa_tv *left = &sort->keys[sort->reverse ? b : a], *right = &sort->keys[sort->reverse ? a : b];
    qa_tv_spend(sort->run, 0);
    return qa_tv_order(sort->run, left, right, "<", &unordered) < 0 && !unordered;
}

static void merge_sort(const value_sort *sort, size_t *order, size_t n) {
    if (n < 2) {
        return;
    }
    const size_t half = n / 2;
    merge_sort(sort, order, half);
    merge_sort(sort, order + half, n - half);
    memcpy(sort->scratch, order, n * sizeof *order);
    size_t left = 0, right = half;
    for (size_t i = 0; i < n; i++) {
        const bool take_right =
            left == half || (right < n && key_comes_before(sort, sort->scratch[right], sort->scratch[left]));
        order[i] = sort->scratch[take_right ? right++ : left++];
    }
}

const size_t *qa_tv_sorted(qa_tv_run *run, const qa_tv *keys, size_t n, bool reverse) {
    size_t *order = QA_HEAP_NEW(&run->heap, size_t, 2 * n);
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
    }
    const value_sort sort = {.run = run, .keys = keys, .scratch = order + n, .reverse = reverse};
    merge_sort(&sort, order, n);
    return order;
}
