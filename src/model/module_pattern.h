/* The names and the regular expressions by which PEFT picks modules, matched against a module's path
 * ("model.layers.0.self_attn.q_proj").
 *
 * The expressions are Python's (re). What Python and PCRE2 read alike is run by PCRE2; what they read differently, or
 * only one of them reads, is refused by name, never run with another meaning. */
#ifndef QA_MODEL_MODULE_PATTERN_H
#define QA_MODEL_MODULE_PATTERN_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum qa_module_rule {
    QA_MODULE_WHOLE, /* re.fullmatch(pattern, path): target_modules and exclude_modules that are strings */
    QA_MODULE_END    /* re.match("(.*\.)?(pattern)$", path): the keys of rank_pattern and alpha_pattern */
} qa_module_rule;

typedef struct qa_module_pattern qa_module_pattern; /* immutable */

/* steps: most steps of backtracking that one match may take. QA_ERR_UNSUPPORTED, with the place, where the expression
 * is one that is refused. */
QA_MUST_CHECK qa_status qa_module_pattern_create(qa_module_pattern **pattern, const char *expression, size_t n,
                                                 qa_module_rule rule, uint32_t steps, qa_error *err);
void qa_module_pattern_free(qa_module_pattern *pattern); /* NULL is allowed */

/* QA_ERR_LIMIT where the steps do not suffice. */
QA_MUST_CHECK qa_status qa_module_pattern_matches(const qa_module_pattern *pattern, const char *path, bool *matches,
                                                  qa_error *err);

/* Whether a list's entry means this path: it is the path, or its end behind a dot. */
bool qa_module_name_matches(const char *name, const char *path);

#endif
