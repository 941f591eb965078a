/* Rotary position embedding: how fast each pair of components turns, and the tables of cosines and sines. */
#ifndef QA_REFERENCE_ROPE_H
#define QA_REFERENCE_ROPE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum qa_ref_rope_type {
    QA_REF_ROPE_PLAIN, /* theta^(-2i/rotary) / factor */
    QA_REF_ROPE_LLAMA3,
    QA_REF_ROPE_YARN,
    QA_REF_ROPE_DYNAMIC, /* a theta that grows with a sequence longer than the original context */
    QA_REF_ROPE_LONGROPE /* each pair has a factor of its own, another one in such a sequence */
} qa_ref_rope_type;

typedef struct qa_ref_rope {
    qa_ref_rope_type type;
    double theta;
    double factor;                /* 1: frequencies as they are */
    double low_freq, high_freq;   /* Llama 3: turns over the original context below which, above which ... */
    double beta_slow, beta_fast;  /* YaRN: the same, by the number of a pair that turns so often */
    bool truncate;                /* ... rounded outwards */
    double original_max_position; /* tokens */
    double attention_factor;      /* of cosine and sine; 0: 1 */
    const double *short_factor, *long_factor; /* [rotary / 2] */
} qa_ref_rope;

/* frequency[rotary / 2], radians per position, in a sequence of so many tokens. */
void qa_ref_rope_frequencies(double *frequency, const qa_ref_rope *rope, size_t rotary, size_t tokens);

/* cosine and sine [tokens x half] of position times frequency[half], times the attention factor. */
void qa_ref_rope_tables(double *cosine, double *sine, const double *frequency, const qa_ref_rope *rope, size_t half,
                        size_t tokens);

#endif
