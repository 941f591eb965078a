/* Single values of config.json. */
#include "arch/config_internal.h"

#include "arch/family.h"
#include "base/try.h"
#include "io/json.h"

#include <math.h>
#include <string.h>

const char *qa_config_key_name(const qa_family *family, const char *key) {
    for (const qa_key_name *name = family->names; name != NULL && name->key != NULL; name++) {
        if (strcmp(name->key, key) == 0) {
            return name->own;
        }
    }
    return key;
}

const char *qa_config_key(const qa_family *family, const json_t *root, const char *key) {
    for (const qa_key_name *name = family->names; name != NULL && name->key != NULL; name++) {
        if (strcmp(name->key, key) == 0 && (!name->either || json_object_get(root, name->own) != NULL)) {
            return name->own;
        }
    }
    return key;
}

qa_status qa_config_get_within(const json_t *object, const char *key, bool required, double low, double high,
                               double *value, qa_error *err) {
    double found = *value;
    QA_TRY(qa_json_get_double(object, key, required, "config.json", &found, err));
    const json_t *member = json_object_get(object, key);
    QA_FAIL_IF(member != NULL && !json_is_null(member) && !(found >= low && found <= high), err, QA_ERR_FORMAT,
               "config.json: %s is %g, expected a number from %g to %g", key, found, low, high);
    *value = found;
    return QA_OK;
}

qa_status qa_config_read_flag(const json_t *root, const char *key, bool *flag, qa_error *err) {
    return qa_json_get_bool(root, key, false, "config.json", flag, err);
}

qa_status qa_config_read_multiplier(const json_t *root, const char *key, double *value, qa_error *err) {
    return qa_config_get_within(root, key, false, 1e-6, 1e9, value, err);
}

json_t *qa_config_whole_or_real(double x) {
    const bool whole = x == floor(x) && fabs(x) <= 9007199254740992.0; /* 2^53 */
    return whole ? json_integer((json_int_t)x) : json_real(x);
}
