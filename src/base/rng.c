/* See rng.h. xoshiro256** and splitmix64 are Blackman and Vigna's generators (public domain). */
#include "base/rng.h"

#include <math.h>

static uint64_t rotate_left(uint64_t x, unsigned k) { return (x << k) | (x >> (64u - k)); }

qa_rng qa_rng_seed(uint64_t seed, uint64_t stream) {
    uint64_t x = qa_hash(seed, stream);
    qa_rng rng;
    for (int i = 0; i < 4; i++) {
        rng.state[i] = qa_splitmix64(&x);
    }
    return rng;
}

uint64_t qa_rng_bits(qa_rng *rng) {
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double qa_rng_uniform(qa_rng *rng) { return (double)(qa_rng_bits(rng) >> 11) * 0x1.0p-53; }

double qa_rng_normal(qa_rng *rng) {
    double u = 1.0 - qa_rng_uniform(rng); /* in (0, 1], so that the logarithm is finite */
    double angle = 2.0 * 3.14159265358979323846 * qa_rng_uniform(rng);
    return sqrt(-2.0 * log(u)) * cos(angle);
}

uint64_t qa_rng_below(qa_rng *rng, uint64_t bound) {
    uint64_t threshold = (0u - bound) % bound; /* 2^64 mod bound: the words that would bias */
    for (;;) {
        uint64_t word = qa_rng_bits(rng);
        if (word >= threshold) {
            return word % bound;
        }
    }
}

void qa_rng_shuffle(qa_rng *rng, size_t *order, size_t n) {
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)qa_rng_below(rng, i);
        size_t swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
}
