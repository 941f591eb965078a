/* Learning-rate schedules, with the step convention of Hugging Face's trainer. With s the step from 0, w the
 * warm-up and T the total:
 *
 *     s < w:      rate * s / w
 *     linear:     rate * (T - s) / (T - w)
 *     cosine:     rate * ( 1 + cos( pi (s - w) / (T - w) ) ) / 2
 *     constant:   rate */
#include "train/schedule.h"

#include <math.h>

double qa_schedule_rate(qa_schedule schedule, double learning_rate, size_t warmup, size_t total, size_t step) {
    if (step < warmup) {
        return learning_rate * (double)step / (double)warmup;
    }
    if (schedule == QA_SCHEDULE_CONSTANT) {
        return learning_rate;
    }
    if (step >= total) {
        return 0.0;
    }
    const double decay = (double)(total - warmup); /* >= 1: warmup <= step < total */
    if (schedule == QA_SCHEDULE_LINEAR) {
        return learning_rate * (double)(total - step) / decay;
    }
    return learning_rate * 0.5 * (1.0 + cos(3.14159265358979323846 * (double)(step - warmup) / decay));
}

double qa_schedule_rate_above(qa_schedule schedule, double learning_rate, double least, size_t warmup, size_t total,
                              size_t step) {
    const double rate = qa_schedule_rate(schedule, learning_rate, warmup, total, step);
    return step < warmup ? rate : least + (learning_rate - least) * (rate / learning_rate);
}

size_t qa_schedule_warmup(size_t warmup_steps, double warmup_ratio, size_t total) {
    return warmup_steps > 0 ? warmup_steps : (size_t)ceil(warmup_ratio * (double)total);
}
