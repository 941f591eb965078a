/* Wall-clock seconds, for metrics and measurements: the only numbers that may differ between two runs. */
#ifndef QA_BASE_CLOCK_H
#define QA_BASE_CLOCK_H

#include <time.h>

static inline double qa_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
