/* See request_json.h. */
#include "serve/request_json.h"

#include "base/try.h"

#include <string.h>

qa_status qa_body_parse(json_t **root, const char *body, size_t bytes, qa_refusal *refusal) {
    const qa_status status = qa_json_parse(root, body, bytes, "the body", 0, &refusal->err);
    if (status == QA_OK && !json_is_object(*root)) {
        return qa_refuse(refusal, 400, NULL, NULL, "the body must be a JSON object");
    }
    return qa_refuse_if_failed(refusal, status, NULL);
}

qa_status qa_body_only(const json_t *root, const char *const *known, qa_refusal *refusal) {
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)root, key, value) {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0) {
            i++;
        }
        if (known[i] == NULL) {
            return qa_refuse(refusal, 400, "unknown_parameter", key, "\"%.64s\" is no field of this request", key);
        }
    }
    return QA_OK;
}

json_t *qa_body_member(const json_t *root, const char *key) {
    json_t *value = json_object_get(root, key);
    return json_is_null(value) ? NULL : value;
}

qa_status qa_body_string(const json_t *root, const char *key, const char **value, qa_refusal *refusal) {
    const json_t *found = qa_body_member(root, key);
    *value = json_string_value(found);
    if (found != NULL && (*value == NULL || strlen(*value) != json_string_length(found))) {
        return qa_refuse(refusal, 400, NULL, key, "\"%s\" must be a string%s", key,
                         *value == NULL ? "" : " without NUL characters");
    }
    return QA_OK;
}

qa_status qa_body_flag(const json_t *root, const char *key, bool *value, qa_refusal *refusal) {
    const json_t *found = qa_body_member(root, key);
    if (found != NULL && !json_is_boolean(found)) {
        return qa_refuse(refusal, 400, NULL, key, "\"%s\" must be true or false", key);
    }
    *value = found == NULL ? *value : json_is_true(found);
    return QA_OK;
}
