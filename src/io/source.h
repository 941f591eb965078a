/* The bytes of a data file from begin to end, unpacked where they are gzip data (which their first bytes tell). */
#ifndef QA_IO_SOURCE_H
#define QA_IO_SOURCE_H

#include "base/buffer.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_source qa_source;

enum { QA_SOURCE_BYTES = 1 << 16 }; /* the most that can be looked at at once */

/* "-" is standard input. Nothing is read yet. */
QA_MUST_CHECK qa_status qa_source_open(qa_source **source, const char *path, qa_error *err);
void qa_source_close(qa_source *source);             /* NULL is allowed */
const char *qa_source_name(const qa_source *source); /* the path, or "standard input" */

/* The next bytes, without taking them: *data[*n], n >= least unless the file ends before that. 1 <= least <=
 * QA_SOURCE_BYTES. Valid until the next call. */
QA_MUST_CHECK qa_status qa_source_look(qa_source *source, size_t least, const char **data, size_t *n, qa_error *err);
void qa_source_take(qa_source *source, size_t n); /* of those that were looked at */

/* All that is left, behind what text holds; more than max_bytes in all is QA_ERR_LIMIT. */
QA_MUST_CHECK qa_status qa_source_rest(qa_source *source, qa_text *text, size_t max_bytes, qa_error *err);

#endif
