/* How much work a call may make of a text.
 *
 * What a tokenizer.json or a suite makes of a text is up to that file: expressions that backtrack, normalisers that
 * grow the text, tokens that nearly match everywhere. Every step spends units from one budget per call, about ten
 * nanoseconds each; honest files need 10 to 40 a byte. The count depends on text and file only, never on a clock. */
#ifndef QA_TEXT_TEXT_WORK_H
#define QA_TEXT_TEXT_WORK_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { QA_WORK_SLACK = 16000000, QA_WORK_PER_BYTE = 200 };

typedef struct qa_text_work {
    size_t left; /* units */
} qa_text_work;

/* Adds what a text of this many bytes allows. */
static inline void qa_text_work_add(qa_text_work *work, size_t bytes) {
    size_t more = 0;
    if (__builtin_mul_overflow(bytes, (size_t)QA_WORK_PER_BYTE, &more) ||
        __builtin_add_overflow(work->left, more, &work->left)) {
        work->left = (size_t)-1; /* takes longer than anyone waits anyway */
    }
}

/* The budget of a call on a text of this many bytes. */
static inline qa_text_work qa_text_work_of(size_t bytes) {
    qa_text_work work = {.left = QA_WORK_SLACK};
    qa_text_work_add(&work, bytes);
    return work;
}

/* Takes units off; false when there are not so many, and then none are left. */
static inline bool qa_text_work_spend(qa_text_work *work, size_t units) {
    const bool enough = units <= work->left;
    work->left = enough ? work->left - units : 0;
    return enough;
}

#endif
