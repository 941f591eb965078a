/* The learning rate of every step. */
#ifndef QA_TRAIN_SCHEDULE_H
#define QA_TRAIN_SCHEDULE_H

#include "qadapter/train.h"

#include <stddef.h>

/* Learning rate of update number `step` (0 is the first) out of `total`. During the first `warmup` updates it rises
 * linearly from 0; then it is constant, falls linearly to 0 at `total`, or along half a cosine. Without warm-up the
 * first update has the full rate. */
double qa_schedule_rate(qa_schedule schedule, double learning_rate, size_t warmup, size_t total, size_t step);

/* The same, but falling to `least` instead of 0: after the warm-up, what qa_schedule_rate takes off is scaled down. */
double qa_schedule_rate_above(qa_schedule schedule, double learning_rate, double least, size_t warmup, size_t total,
                              size_t step);

/* Warm-up steps of a run: warmup_steps, or when that is 0 warmup_ratio of all steps rounded up. */
size_t qa_schedule_warmup(size_t warmup_steps, double warmup_ratio, size_t total);

#endif
