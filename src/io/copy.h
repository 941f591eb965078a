/* Whole files, read piece by piece. Read and not mapped: one that is cut short meanwhile is an error, and no SIGBUS. */
#ifndef QA_IO_COPY_H
#define QA_IO_COPY_H

#include "base/sha256.h"
#include "qadapter/status.h"

/* Makes `to` a copy of `from`, complete or not at all; does nothing when the two are one file. */
QA_MUST_CHECK qa_status qa_copy_file(const char *from, const char *to, qa_error *err);

/* The same for the file of that name of another folder; fine when there is none. */
QA_MUST_CHECK qa_status qa_copy_optional(const char *from_dir, const char *to_dir, const char *name, qa_error *err);

/* Digest and size of a file. */
QA_MUST_CHECK qa_status qa_file_sha256(const char *path, char hex[QA_SHA256_HEX_BYTES], size_t *bytes, qa_error *err);

#endif
