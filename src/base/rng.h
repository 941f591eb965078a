/* Random numbers, the same on every machine for a given seed.
 *
 * Two kinds. qa_rng is a stream (xoshiro256**, seeded by splitmix64) whose four words can be saved.
 * qa_hash is stateless: the same key and counter always give the same word, which is how dropout
 * masks are made twice (forward and backward) without being stored, and made again after a resume. */
#ifndef QA_BASE_RNG_H
#define QA_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct qa_rng {
    uint64_t state[4];
} qa_rng;

/* A stream of its own for every (seed, stream) pair. */
qa_rng qa_rng_seed(uint64_t seed, uint64_t stream);

/* 64 uniform bits. */
uint64_t qa_rng_bits(qa_rng *rng);

/* Uniform in [0, 1), 53 bits. */
double qa_rng_uniform(qa_rng *rng);

/* Standard normal (Box-Muller; two uniforms a call). */
double qa_rng_normal(qa_rng *rng);

/* Uniform integer in [0, bound), unbiased; bound > 0. */
uint64_t qa_rng_below(qa_rng *rng, uint64_t bound);

/* Fisher-Yates over order[n]. */
void qa_rng_shuffle(qa_rng *rng, size_t *order, size_t n);

/* The next word of splitmix64. */
static inline uint64_t qa_splitmix64(uint64_t *x) {
    *x += 0x9e3779b97f4a7c15u;
    uint64_t z = *x;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 64 well-mixed bits from a key and a counter. Inline, so that a loop over counters mixes the key once. */
static inline uint64_t qa_hash(uint64_t key, uint64_t counter) {
    uint64_t x = key;
    uint64_t mixed = qa_splitmix64(&x) ^ (counter * 0xd1342543de82ef95u);
    return qa_splitmix64(&mixed);
}

#endif
