/* Growing arrays that the library fills and the caller frees. */
#ifndef QADAPTER_BUFFER_H
#define QADAPTER_BUFFER_H

#include "qadapter/status.h"

#include <stddef.h>
#include <stdint.h>

QA_BEGIN_DECLS

/* Token ids. Zero-initialise; free with qa_ids_free. */
typedef struct qa_ids {
    int32_t *data; /* [n] */
    size_t n;      /* tokens */
    size_t capacity;
} qa_ids;

/* Text in UTF-8, possibly with NUL bytes inside. data[n] is always '\0' once n > 0 or after a
 * successful call that filled it. Zero-initialise; free with qa_text_free. */
typedef struct qa_text {
    char *data;
    size_t n; /* bytes */
    size_t capacity;
} qa_text;

void qa_ids_free(qa_ids *ids); /* leaves an empty, reusable buffer */
void qa_text_free(qa_text *text);

QA_END_DECLS

#endif
