/* See rope.h. */
#include "reference/rope.h"

#include "reference/math.h"

#include <math.h>

static const double TWO_PI = 2.0 * 0x1.921fb54442d18p+1;

/* Many turns over the original context stay, few are slowed, between is blended. */
static double plain_llama3(const qa_ref_rope *rope, double f) {
    const double slow = f / rope->factor;
    const double turns = rope->original_max_position * f / TWO_PI;
    const double smooth = (turns - rope->low_freq) / (rope->high_freq - rope->low_freq);
    return turns > rope->high_freq ? f : turns < rope->low_freq ? slow : (1.0 - smooth) * slow + smooth * f;
}

/* The number, not a whole one, of the pair that turns so often over the original context. */
static double yarn_pair(const qa_ref_rope *rope, double turns, double rotary) {
    return rotary * qa_ref_log(rope->original_max_position / (turns * TWO_PI)) / (2.0 * qa_ref_log(rope->theta));
}

static double plain_yarn(const qa_ref_rope *rope, double f, double i, double rotary) {
    double low = yarn_pair(rope, rope->beta_fast, rotary), high = yarn_pair(rope, rope->beta_slow, rotary);
    low = fmax(rope->truncate ? floor(low) : low, 0.0);
    high = fmin(rope->truncate ? ceil(high) : high, rotary - 1.0);
    high = low == high ? high + 0.001 : high;
    const double slowed = fmin(fmax((i - low) / (high - low), 0.0), 1.0);
    return f / rope->factor * slowed + f * (1.0 - slowed);
}

static double grown_log_theta(const qa_ref_rope *rope, double rotary, double tokens) {
    const double longer = fmax(tokens / rope->original_max_position, 1.0);
    return qa_ref_log(rope->theta) + rotary / (rotary - 2.0) * qa_ref_log(rope->factor * longer - (rope->factor - 1.0));
}

void qa_ref_rope_frequencies(double *frequency, const qa_ref_rope *rope, size_t rotary, size_t tokens) {
    const double log_theta = rope->type == QA_REF_ROPE_DYNAMIC ? grown_log_theta(rope, (double)rotary, (double)tokens)
                                                               : qa_ref_log(rope->theta);
    const double *factors = (double)tokens > rope->original_max_position ? rope->long_factor : rope->short_factor;
    for (size_t i = 0; i < rotary / 2; i++) {
        const double f = qa_ref_exp(-2.0 * (double)i / (double)rotary * log_theta);
        switch (rope->type) {
        case QA_REF_ROPE_PLAIN: frequency[i] = f / rope->factor; break;
        case QA_REF_ROPE_LLAMA3: frequency[i] = plain_llama3(rope, f); break;
        case QA_REF_ROPE_YARN: frequency[i] = plain_yarn(rope, f, (double)i, (double)rotary); break;
        case QA_REF_ROPE_DYNAMIC: frequency[i] = f; break;
        case QA_REF_ROPE_LONGROPE: frequency[i] = f / factors[i]; break;
        }
    }
}

void qa_ref_rope_tables(double *cosine, double *sine, const double *frequency, const qa_ref_rope *rope, size_t half,
                        size_t tokens) {
    for (size_t i = 0; i < tokens * half; i++) {
        qa_ref_sin_cos((double)(i / half) * frequency[i % half], &sine[i], &cosine[i]);
        if (rope->attention_factor != 0.0) {
            sine[i] *= rope->attention_factor;
            cosine[i] *= rope->attention_factor;
        }
    }
}
