/* A tiny config.json of every model family. */
#ifndef QA_TESTS_FAMILIES_H
#define QA_TESTS_FAMILIES_H

#include <stddef.h>

enum { QA_FAMILIES_THERE = 29 };

/* config.json of family i of arch/families.h: d = 16, f = 20, 3 layers, 4 heads over 2 of width 4 where the family
 * says how many, V = 31, 64 positions, tied or not as the family is by default. The caller frees it. */
char *qa_family_tiny_config(size_t i);

#endif
