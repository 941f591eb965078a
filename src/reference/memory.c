/* See memory.h. */
#include "reference/memory.h"

#include <stdlib.h>

typedef struct qa_ref_block {
    struct qa_ref_block *next;
    double numbers[];
} qa_ref_block;

double *qa_ref_numbers(qa_ref_memory *memory, size_t n) {
    const bool fits = n <= ((size_t)-1 - sizeof(qa_ref_block)) / sizeof(double);
    qa_ref_block *block = fits ? calloc(1, sizeof *block + n * sizeof(double)) : NULL;
    if (block == NULL) {
        memory->failed = true;
        return NULL;
    }
    block->next = memory->blocks;
    memory->blocks = block;
    return block->numbers;
}

void qa_ref_memory_free(qa_ref_memory *memory) {
    while (memory->blocks != NULL) {
        qa_ref_block *next = memory->blocks->next;
        free(memory->blocks);
        memory->blocks = next;
    }
}
