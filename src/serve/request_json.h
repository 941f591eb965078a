/* Reading the JSON object that a request's body is: members of the types that they must have, or a refusal. */
#ifndef QA_SERVE_REQUEST_JSON_H
#define QA_SERVE_REQUEST_JSON_H

#include "io/json.h"
#include "serve/refusal.h"

/* A JSON object of body[bytes], for any route; the caller owns *root. */
QA_MUST_CHECK qa_status qa_body_parse(json_t **root, const char *body, size_t bytes, qa_refusal *refusal);
/* A member that is there and not null. Borrowed. */
json_t *qa_body_member(const json_t *root, const char *key);
/* 400 where a member of the object is none of `known` (NULL at the end). */
QA_MUST_CHECK qa_status qa_body_only(const json_t *root, const char *const *known, qa_refusal *refusal);
/* A string without NUL; NULL where it is absent, null, or (a refusal) something else. */
QA_MUST_CHECK qa_status qa_body_string(const json_t *root, const char *key, const char **value, qa_refusal *refusal);
/* The same of true and false; *value stays where it is absent. */
QA_MUST_CHECK qa_status qa_body_flag(const json_t *root, const char *key, bool *value, qa_refusal *refusal);

#endif
