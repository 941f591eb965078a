/* RoPE's frequencies for the reference, with the same bits on every machine: arch/config_rope.c's by reference/math.h.
 */
#include "golden/rope.h"

#include "arch/config.h"
#include "reference/math.h"

#include <math.h>

static const double TWO_PI = 2.0 * 0x1.921fb54442d18p+1;

/* YaRN: the number, not a whole one, of the pair that turns so often over the original context. */
static double pair_that_turns(const qa_rope *rope, double turns, double rotary) {
    return rotary * qa_ref_log(rope->original_max_position / (turns * TWO_PI)) / (2.0 * qa_ref_log(rope->theta));
}

/* How much of frequency f, that of pair i, stays as it is; the rest is slowed. */
static double share_kept(const qa_rope *rope, double f, double i, double rotary) {
    double low = rope->low_freq_factor, high = rope->high_freq_factor;
    double at = rope->original_max_position * f / TWO_PI; /* turns */
    if (rope->type == QA_ROPE_YARN) {                     /* the later the pair the less, from `high` to `low` */
        at = i;
        low = pair_that_turns(rope, rope->beta_slow, rotary);
        high = pair_that_turns(rope, rope->beta_fast, rotary);
        low = fmin(rope->truncate ? ceil(low) : low, rotary - 1.0);
        high = fmax(rope->truncate ? floor(high) : high, 0.0);
        low = low == high ? low + 0.001 : low;
    } else if (rope->type != QA_ROPE_LLAMA3) {
        return 0.0;
    }
    return fmin(fmax((at - low) / (high - low), 0.0), 1.0);
}

static double slowed(const qa_rope *rope, double f, size_t i, bool beyond) {
    switch (rope->type) {
    case QA_ROPE_DEFAULT:
    case QA_ROPE_DYNAMIC: return f;
    case QA_ROPE_LONGROPE: return f / (beyond ? rope->long_factor : rope->short_factor)[i];
    default: return f / rope->factor;
    }
}

void qa_golden_rope_frequencies(double *frequency, double *factor, const void *of, size_t rotary, size_t tokens) {
    const qa_rope *rope = of;
    const double n = (double)rotary, length = (double)tokens / rope->original_max_position;
    const bool beyond = (double)tokens > rope->original_max_position;
    double log_theta = qa_ref_log(rope->theta);
    if (rope->type == QA_ROPE_DYNAMIC && rope->alpha != 0.0) {
        log_theta += n / (n - 2.0) * qa_ref_log(rope->alpha);
    } else if (rope->type == QA_ROPE_DYNAMIC && beyond) {
        log_theta += n / (n - 2.0) * qa_ref_log(rope->factor * length - (rope->factor - 1.0));
    }
    for (size_t i = 0; i < rotary / 2; i++) {
        const double f = qa_ref_exp(-2.0 * (double)i / n * log_theta), kept = share_kept(rope, f, (double)i, n);
        frequency[i] = (1.0 - kept) * slowed(rope, f, i, beyond) + kept * f;
    }
    *factor = rope->attention_factor;
}
