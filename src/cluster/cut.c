/* Items cut into contiguous ranges, one a rank. See cluster.h. */
#include "cluster/cluster.h"

#include <stdint.h>

static size_t cost_of(const size_t *costs, size_t item) { return costs == NULL ? 1 : costs[item]; }

static size_t capped_sum(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

/* Every range takes what it can without costing more than `limit`, which no single item does; first NULL: none is
 * written. Whether `ranks` ranges are enough. */
static bool fill_ranges(const size_t *costs, size_t n, size_t ranks, size_t limit, size_t *first) {
    size_t item = 0;
    for (size_t r = 0; r < ranks; r++) {
        if (first != NULL) {
            first[r] = item;
        }
        for (size_t sum = 0; item < n && capped_sum(sum, cost_of(costs, item)) <= limit; item++) {
            sum = capped_sum(sum, cost_of(costs, item));
        }
    }
    if (first != NULL) {
        first[ranks] = n;
    }
    return item == n;
}

void qa_cluster_cut(const size_t *costs, size_t n, size_t ranks, size_t *first) {
    size_t low = 0, high = 0; /* the answer is in [low, high] */
    for (size_t i = 0; i < n; i++) {
        low = cost_of(costs, i) > low ? cost_of(costs, i) : low;
        high = capped_sum(high, cost_of(costs, i));
    }
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (fill_ranges(costs, n, ranks, middle, NULL)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    (void)fill_ranges(costs, n, ranks, low, first);
}
