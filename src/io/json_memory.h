/* Whether jansson ran out of memory. It does not always say so: a parse may end with "invalid token", or with a string
 * that lacks a character, and a member that could not be set is only missing. */
#ifndef QA_IO_JSON_MEMORY_H
#define QA_IO_JSON_MEMORY_H

#include <stdbool.h>

/* From here on failed allocations of jansson in this thread are noticed; what failed before is forgotten. jansson keeps
 * the allocation functions that it has (json_set_alloc_funcs), with a look at their results in front. */
void qa_json_memory_watch(void);

/* Whether an allocation of jansson failed in this thread since the last call of either function. */
bool qa_json_memory_failed(void);

#endif
