/* Unpacking gzip data as they are read: any number of members, each with its checks. Without zlib (QA_HAVE_ZLIB) such
 * data are an error that says what to do. */
#ifndef QA_IO_GUNZIP_H
#define QA_IO_GUNZIP_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_gunzip qa_gunzip;

/* Whether data[n] begin as gzip data do. */
bool qa_is_gzip(const unsigned char *data, size_t n);

/* first[n_first], at most 65,536 bytes, were read from the descriptor already. Both it and the name are borrowed. */
QA_MUST_CHECK qa_status qa_gunzip_open(qa_gunzip **gunzip, const unsigned char *first, size_t n_first, int descriptor,
                                       const char *name, qa_error *err);
void qa_gunzip_close(qa_gunzip *gunzip); /* NULL is allowed */

/* Up to n bytes; *got is 0 at the end alone. QA_ERR_FORMAT: damaged, or cut short. QA_ERR_LIMIT: they unpack to so much
 * more than they have that they are none that anybody meant. */
QA_MUST_CHECK qa_status qa_gunzip_read(qa_gunzip *gunzip, void *to, size_t n, size_t *got, qa_error *err);

#endif
