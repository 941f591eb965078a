/* RoPE's frequencies for the reference. */
#ifndef QA_GOLDEN_ROPE_H
#define QA_GOLDEN_ROPE_H

#include <stddef.h>

/* A qa_ref_frequencies (reference/transformer.h); rope is a qa_rope. */
void qa_golden_rope_frequencies(double *frequency, double *factor, const void *rope, size_t rotary, size_t tokens);

#endif
