/* Collecting warnings: see qa_warnings in qadapter/status.h. */
#ifndef QA_BASE_WARNINGS_H
#define QA_BASE_WARNINGS_H

#include "qadapter/status.h"

/* Appends a line, unless the very same one is there already. Behind the 64th one last line says that there are more.
 * Without memory for it nothing is appended: a warning is no reason to fail. Into NULL it says nothing. */
void qa_warn(qa_warnings *warnings, const char *format, ...) QA_PRINTF(2, 3);

/* Hands every line to the logger as a warning. */
void qa_warnings_log(const qa_warnings *warnings, const qa_logger *logger);

/* Leaves an empty, reusable list. */
void qa_warnings_free(qa_warnings *warnings);

#endif
