/* The frequencies of a rotary embedding: how many radians each pair of dimensions is turned by a position. */
#include "arch/config.h"

#include <math.h>

static const double TURN = 2.0 * 3.14159265358979323846;

/* Llama 3's scaling: high frequencies stay, low ones are divided by the factor, those between are blended. */
static double llama3_frequency(double frequency, const qa_rope *rope) {
    double wavelength = TURN / frequency;
    double rotations = rope->original_max_position / wavelength;
    if (rotations > rope->high_freq_factor) {
        return frequency;
    }
    if (rotations < rope->low_freq_factor) {
        return frequency / rope->factor;
    }
    double smooth = (rotations - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (1.0 - smooth) * frequency / rope->factor + smooth * frequency;
}

/* The dimension that turns so many times over the original context. */
static double yarn_dimension(const qa_rope *rope, double turns, double dimensions) {
    return dimensions * log(rope->original_max_position / (turns * TURN)) / (2 * log(rope->theta));
}

/* YaRN (Peng, Quesnelle, Fan, Shippole 2023): of the dimensions that turn often the frequencies stay, of those that
 * turn seldom they are divided by the factor, between them there is a ramp. */
static double yarn_frequency(double frequency, const qa_rope *rope, size_t i, double dimensions) {
    double low = yarn_dimension(rope, rope->beta_fast, dimensions);
    double high = yarn_dimension(rope, rope->beta_slow, dimensions);
    low = fmax(rope->truncate ? floor(low) : low, 0);
    high = fmin(rope->truncate ? ceil(high) : high, dimensions - 1);
    high += low == high ? 0.001 : 0;
    const double ramp = fmin(fmax(((double)i - low) / (high - low), 0), 1);
    return frequency / rope->factor * ramp + frequency * (1 - ramp);
}

/* The base of the powers. Dynamic scaling stretches it as far as the sequence needs. */
static double base_of(const qa_rope *rope, double dimensions, size_t sequence_length) {
    const double power = dimensions / (dimensions - 2);
    if (rope->type != QA_ROPE_DYNAMIC) {
        return rope->theta;
    }
    if (rope->alpha != 0) {
        return rope->theta * pow(rope->alpha, power);
    }
    const double length = fmax((double)sequence_length, rope->original_max_position);
    return rope->theta * pow(rope->factor * length / rope->original_max_position - (rope->factor - 1), power);
}

/* Plain twin: reference/transformer.c: rotary_tables. */
void qa_rope_frequencies(double *frequency, double *factor, const qa_config *config, const qa_rope *rope,
                         size_t sequence_length) {
    const double dimensions = (double)config->rotary_dim;
    const double base = base_of(rope, dimensions, sequence_length);
    const double *factors =
        (double)sequence_length > rope->original_max_position ? rope->long_factor : rope->short_factor;
    *factor = rope->attention_factor;
    for (size_t i = 0; i < config->rotary_dim / 2; i++) {
        const double f = pow(base, -2.0 * (double)i / dimensions);
        switch (rope->type) {
        case QA_ROPE_LINEAR: frequency[i] = f / rope->factor; break;
        case QA_ROPE_LLAMA3: frequency[i] = llama3_frequency(f, rope); break;
        case QA_ROPE_YARN: frequency[i] = yarn_frequency(f, rope, i, dimensions); break;
        case QA_ROPE_LONGROPE: frequency[i] = f / factors[i]; break;
        default: frequency[i] = f;
        }
    }
}

const qa_rope *qa_config_rope(const qa_config *config, size_t l) {
    const qa_rope_kind kind = (config->layers[l] & QA_LAYER_LOCAL_ROPE) != 0 ? QA_ROPE_SLIDING : QA_ROPE_FULL;
    return (config->layers[l] & QA_LAYER_NO_ROPE) != 0 ? NULL : &config->rope[kind];
}

/* Frequencies are others in a sequence longer than original_max_position. */
static bool depends_on_length(const qa_rope *rope) {
    return (rope->type == QA_ROPE_DYNAMIC && rope->alpha == 0) || rope->type == QA_ROPE_LONGROPE;
}

bool qa_config_rope_depends_on_length(const qa_config *config) {
    return depends_on_length(&config->rope[QA_ROPE_FULL]) || depends_on_length(&config->rope[QA_ROPE_SLIDING]);
}

bool qa_config_rope_is_same(const qa_config *config, size_t a, size_t b) {
    bool same = true;
    for (qa_rope_kind kind = QA_ROPE_FULL; kind < QA_ROPES; kind++) {
        const qa_rope *rope = &config->rope[kind];
        const bool a_is_long = (double)a > rope->original_max_position;
        const bool b_is_long = (double)b > rope->original_max_position;
        if (depends_on_length(rope)) {
            same = same && a_is_long == b_is_long;
            same =
                same && (rope->type == QA_ROPE_LONGROPE || a == b || !a_is_long); /* dynamic: each length has its own */
        }
    }
    return same;
}
