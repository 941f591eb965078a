/* str() and repr() of a template's values, as Python writes them. */
#ifndef QA_TEXT_TEMPLATE_PRINT_H
#define QA_TEXT_TEMPLATE_PRINT_H

#include "text/template_value.h"

/* Text that grows in a rendering's memory. Zero-initialise. */
typedef struct qa_tv_buffer {
    char *data;
    size_t n, capacity;
} qa_tv_buffer;

void qa_tv_put(qa_tv_run *run, qa_tv_buffer *buffer, const char *data, size_t n);
void qa_tv_put_z(qa_tv_run *run, qa_tv_buffer *buffer, const char *zero_terminated);
void qa_tv_put_times(qa_tv_run *run, qa_tv_buffer *buffer, const char *data, size_t n, size_t times);
void qa_tv_put_code(qa_tv_run *run, qa_tv_buffer *buffer, uint32_t code);
/* The string; the buffer is not used again. */
qa_tv qa_tv_of_buffer(qa_tv_run *run, const qa_tv_buffer *buffer);

/* str(): a string is itself, an undefined value is "". Fails for what Python prints an address of. */
qa_tv qa_tv_str(qa_tv_run *run, qa_tv value);
void qa_tv_put_str(qa_tv_run *run, qa_tv_buffer *buffer, const qa_tv *value);
void qa_tv_put_repr(qa_tv_run *run, qa_tv_buffer *buffer, const qa_tv *value);
/* The fewest digits that read back as the same number: "1.0", "1e-05", "inf". */
void qa_tv_put_float(qa_tv_run *run, qa_tv_buffer *buffer, double real);
void qa_tv_put_int(qa_tv_run *run, qa_tv_buffer *buffer, int64_t integer);
/* printf with a number, in the C locale; the result is shorter than 400 bytes. */
void qa_tv_put_number(qa_tv_run *run, qa_tv_buffer *buffer, const char *format, int precision, double real);

#endif
