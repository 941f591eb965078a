/* Arrays that live as long as their owner. */
#ifndef QA_REFERENCE_MEMORY_H
#define QA_REFERENCE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialise; free with qa_ref_memory_free. */
typedef struct qa_ref_memory {
    struct qa_ref_block *blocks;
    bool failed; /* an array is not there: to be asked once, after the last */
} qa_ref_memory;

double *qa_ref_numbers(qa_ref_memory *memory, size_t n); /* n zeros */
void qa_ref_memory_free(qa_ref_memory *memory);

#endif
