/* Questions of the village (docs/village.md), worked out again from their prompts. Whatever is wrong fails the running
 * test. */
#ifndef QA_TESTS_VILLAGE_H
#define QA_TESTS_VILLAGE_H

#include <jansson.h>
#include <stddef.h>

/* A member that must be a string. */
const char *qa_village_text(const json_t *object, const char *key);

/* Content of message `index` of the array under `key`, which must be of this role; NULL when there is no such message.
 */
const char *qa_village_content(const json_t *line, const char *key, size_t index, const char *role);
const char *qa_village_prompt(const json_t *line); /* the first message, of the user */

/* The reference answer of a suite's question is right: a sum's steps and result, one of the options, what was said of
 * a village, an order, a rule, a sorted list, odd or even. skill: "facts", "sums", "logic" or "follow". Prices and
 * numbers of legs are taken from the reference. */
void qa_village_check(const char *skill, const json_t *question);

#endif
