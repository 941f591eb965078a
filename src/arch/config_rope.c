/* The rotary embedding's settings: rope_theta, rope_scaling (older files), rope_parameters (newer ones), read as
 * transformers 5 reads them, and its frequencies.
 *
 * rope_scaling, where it holds anything, goes before rope_parameters; the theta inside goes before the one outside.
 * What is left to a guess (a factor without a type, settings for each kind of layer, members nobody knows) is refused;
 * what every reader passes over, and two places that disagree, are warnings. */
#include "arch/config_internal.h"

#include "base/try.h"
#include "io/json.h"

#include <math.h>
#include <string.h>

static const double LOWEST_THETA = 1, HIGHEST_THETA = 1e15;
static const double LOWEST_FACTOR = 1e-3, HIGHEST_FACTOR = 1e6;
static const double LONGEST_CONTEXT = 1e9;

/* Members that belong to some type of scaling. */
static const char *const SCALING_MEMBERS[] = {"factor",
                                              "low_freq_factor",
                                              "high_freq_factor",
                                              "original_max_position_embeddings",
                                              "attention_factor",
                                              "beta_fast",
                                              "beta_slow",
                                              "mscale",
                                              "mscale_all_dim",
                                              "short_factor",
                                              "long_factor",
                                              "truncate",
                                              "alpha",
                                              "finetuned"};
enum { SCALING_COUNT = sizeof SCALING_MEMBERS / sizeof *SCALING_MEMBERS };

qa_status qa_config_get_within(const json_t *object, const char *key, bool required, double low, double high,
                               double *value, qa_error *err) {
    double found = *value;
    QA_TRY(qa_json_get_double(object, key, required, "config.json", &found, err));
    const json_t *member = json_object_get(object, key);
    if (member != NULL && !json_is_null(member) && !(found >= low && found <= high)) {
        return qa_fail(err, QA_ERR_FORMAT, "config.json: %s is %g, expected a number from %g to %g", key, found, low,
                       high);
    }
    *value = found;
    return QA_OK;
}

qa_status qa_config_read_flag(const json_t *root, const char *key, bool *flag, qa_error *err) {
    return qa_json_get_bool(root, key, false, "config.json", flag, err);
}

static bool is_there(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return value != NULL && !json_is_null(value);
}

static bool is_scaling_member(const char *key) {
    for (size_t i = 0; i < SCALING_COUNT; i++) {
        if (strcmp(key, SCALING_MEMBERS[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The members that the type reads. */
static bool type_uses(qa_rope_type type, const char *key) {
    switch (type) {
    case QA_ROPE_DEFAULT: return false;
    case QA_ROPE_LINEAR: return strcmp(key, "factor") == 0;
    case QA_ROPE_LLAMA3:
        return strcmp(key, "factor") == 0 || strcmp(key, "low_freq_factor") == 0 ||
               strcmp(key, "high_freq_factor") == 0 || strcmp(key, "original_max_position_embeddings") == 0;
    default: break;
    }
    return false;
}

static qa_status read_type(qa_rope_type *type, bool *named, const json_t *scaling, const char *where, qa_error *err) {
    const char *older = NULL, *name = NULL;
    *type = QA_ROPE_DEFAULT;
    QA_TRY(qa_json_get_string(scaling, "type", false, where, &older, err));
    QA_TRY(qa_json_get_string(scaling, "rope_type", false, where, &name, err));
    if (name != NULL && older != NULL && strcmp(name, older) != 0) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: rope_type is \"%.40s\" and type \"%.40s\"; remove the wrong one", where,
                       name, older);
    }
    name = name == NULL ? older : name;
    *named = name != NULL;
    if (name == NULL || strcmp(name, "default") == 0) {
        return QA_OK;
    }
    if (strcmp(name, "linear") != 0 && strcmp(name, "llama3") != 0) {
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "%s: rope type \"%.40s\" is not supported; expected default, linear or llama3", where, name);
    }
    *type = strcmp(name, "linear") == 0 ? QA_ROPE_LINEAR : QA_ROPE_LLAMA3;
    return QA_OK;
}

/* Every member is one that is used, or one that is known to be passed over. */
static qa_status config_rope_check_members(const json_t *scaling, qa_rope_type type, bool named, const char *where,
                                           const qa_logger *logger, qa_error *err) {
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)scaling, key, value) { /* nothing is changed */
        const bool plain = strcmp(key, "rope_theta") == 0 || strcmp(key, "rope_type") == 0 || strcmp(key, "type") == 0;
        if (plain || json_is_null(value) || type_uses(type, key)) {
            continue;
        }
        if (strcmp(key, "partial_rotary_factor") == 0) {
            double factor = 1.0;
            QA_TRY(qa_json_get_double(scaling, key, false, where, &factor, err));
            if (factor != 1.0) {
                return qa_fail(err, QA_ERR_UNSUPPORTED, "%s: partial_rotary_factor %g is not supported; expected 1",
                               where, factor);
            }
        } else if (json_is_object(value)) {
            return qa_fail(err, QA_ERR_UNSUPPORTED,
                           "%s: \"%.60s\" holds settings of its own (for one kind of layers?), which this architecture "
                           "does not have; give rope_theta and rope_type directly",
                           where, key);
        } else if (!is_scaling_member(key)) {
            return qa_fail(err, QA_ERR_UNSUPPORTED,
                           "%s: \"%.60s\" is not understood and may change the positions; expected rope_theta, "
                           "rope_type, factor and, for llama3, its other members",
                           where, key);
        } else if (!named) {
            return qa_fail(err, QA_ERR_FORMAT,
                           "%s: there is \"%s\" but no rope_type, so nobody can tell what is meant; add "
                           "\"rope_type\": \"linear\" or \"llama3\", or remove the scaling",
                           where, key);
        } else {
            qa_log(logger, QA_LOG_WARNING, "%s: \"%s\" means nothing with this rope_type and is not used", where, key);
        }
    }
    return QA_OK;
}

/* A value at the top level of the file goes before the one inside. */
static qa_status read_original_context(qa_config *config, const json_t *root, const json_t *scaling,
                                       const qa_logger *logger, qa_error *err) {
    static const char key[] = "original_max_position_embeddings";
    double inside = (double)config->max_position_embeddings, outside = 0;
    QA_TRY(qa_config_get_within(scaling, key, false, 1, LONGEST_CONTEXT, &inside, err));
    QA_TRY(qa_config_get_within(root, key, false, 1, LONGEST_CONTEXT, &outside, err));
    if (outside != 0 && outside != inside && is_there(scaling, key)) {
        qa_log(logger, QA_LOG_WARNING, "config.json: %s is %g, and %g with the rope scaling; the first is used", key,
               outside, inside);
    }
    config->rope[QA_ROPE_FULL].original_max_position = outside != 0 ? outside : inside;
    return QA_OK;
}

static qa_status read_scaling(qa_config *config, const json_t *root, const json_t *scaling, const char *where,
                              const qa_logger *logger, qa_error *err) {
    bool named = false;
    QA_TRY(read_type(&config->rope[QA_ROPE_FULL].type, &named, scaling, where, err));
    QA_TRY(config_rope_check_members(scaling, config->rope[QA_ROPE_FULL].type, named, where, logger, err));
    if (config->rope[QA_ROPE_FULL].type == QA_ROPE_DEFAULT) {
        return QA_OK;
    }
    const double low = LOWEST_FACTOR, high = HIGHEST_FACTOR;
    QA_TRY(qa_config_get_within(scaling, "factor", true, low, high, &config->rope[QA_ROPE_FULL].factor, err));
    if (config->rope[QA_ROPE_FULL].type == QA_ROPE_LINEAR) {
        return QA_OK;
    }
    QA_TRY(qa_config_get_within(scaling, "low_freq_factor", true, low, high,
                                &config->rope[QA_ROPE_FULL].low_freq_factor, err));
    QA_TRY(qa_config_get_within(scaling, "high_freq_factor", true, low, high,
                                &config->rope[QA_ROPE_FULL].high_freq_factor, err));
    if (config->rope[QA_ROPE_FULL].high_freq_factor <= config->rope[QA_ROPE_FULL].low_freq_factor) {
        return qa_fail(err, QA_ERR_FORMAT, "config.json: rope high_freq_factor %g is not above low_freq_factor %g",
                       config->rope[QA_ROPE_FULL].high_freq_factor, config->rope[QA_ROPE_FULL].low_freq_factor);
    }
    return read_original_context(config, root, scaling, logger, err);
}

/* rope_parameters beside a rope_scaling that goes before it: what is dropped with it. */
static void config_rope_warn_of_both(const qa_config *config, const json_t *scaling, const json_t *parameters,
                                     const qa_logger *logger) {
    const json_t *theta = json_object_get(parameters, "rope_theta");
    const bool same_theta = theta == NULL || json_number_value(theta) == config->rope[QA_ROPE_FULL].theta;
    const char *const keys[] = {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"};
    bool same = same_theta;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *a = json_object_get(scaling, keys[i]), *b = json_object_get(parameters, keys[i]);
        same = same && (a == NULL) == (b == NULL) && json_number_value(a) == json_number_value(b);
    }
    const json_t *type = json_object_get(parameters, "rope_type");
    type = type == NULL ? json_object_get(parameters, "type") : type;
    const char *name = json_is_string(type) ? json_string_value(type) : "default";
    if (!same || strcmp(name, qa_rope_type_name(config->rope[QA_ROPE_FULL].type)) != 0) {
        qa_log(logger, QA_LOG_WARNING,
               "config.json: rope_scaling and rope_parameters disagree; rope_scaling is used, with rope_theta %g, as "
               "transformers does",
               config->rope[QA_ROPE_FULL].theta);
    }
}

qa_status qa_config_read_rope(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    json_t *scaling = NULL, *parameters = NULL;
    double outside = 10000.0;
    QA_TRY(qa_config_get_within(root, "rope_theta", false, LOWEST_THETA, HIGHEST_THETA, &outside, err));
    QA_TRY(qa_json_get_object(root, "rope_parameters", false, "config.json", &parameters, err));
    QA_TRY(qa_json_get_object(root, "rope_scaling", false, "config.json", &scaling, err));
    const bool both = json_object_size(scaling) > 0 && json_object_size(parameters) > 0;
    const bool newer = json_object_size(scaling) == 0;
    json_t *used = newer ? parameters : scaling;
    const char *where = newer ? "config.json: rope_parameters" : "config.json: rope_scaling";
    config->rope[QA_ROPE_FULL].theta = outside;
    if (used == NULL) {
        return QA_OK;
    }
    QA_TRY(qa_config_get_within(used, "rope_theta", false, LOWEST_THETA, HIGHEST_THETA,
                                &config->rope[QA_ROPE_FULL].theta, err));
    if (config->rope[QA_ROPE_FULL].theta != outside && is_there(root, "rope_theta")) {
        qa_log(logger, QA_LOG_WARNING,
               "config.json: rope_theta is %g, and %g in %s; the second is used, as "
               "transformers 5 does",
               outside, config->rope[QA_ROPE_FULL].theta, newer ? "rope_parameters" : "rope_scaling");
    }
    QA_TRY(read_scaling(config, root, used, where, logger, err));
    if (both) {
        config_rope_warn_of_both(config, scaling, parameters, logger);
    }
    return QA_OK;
}

const char *qa_rope_type_name(qa_rope_type type) {
    switch (type) {
    case QA_ROPE_DEFAULT: return "default";
    case QA_ROPE_LINEAR: return "linear";
    case QA_ROPE_LLAMA3: return "llama3";
    case QA_ROPE_YARN: return "yarn";
    case QA_ROPE_DYNAMIC: return "dynamic";
    case QA_ROPE_LONGROPE: return "longrope";
    }
    return "unknown";
}

/* ---- the frequencies ---- */

/* Llama 3's scaling: high frequencies stay, low ones are divided by the factor, those between are blended. */
static double llama3_frequency(double frequency, const qa_rope *rope) {
    double wavelength = 2.0 * 3.14159265358979323846 / frequency;
    double rotations = rope->original_max_position / wavelength;
    if (rotations > rope->high_freq_factor) {
        return frequency;
    }
    if (rotations < rope->low_freq_factor) {
        return frequency / rope->factor;
    }
    double smooth = (rotations - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (1.0 - smooth) * frequency / rope->factor + smooth * frequency;
}

/* Plain twin: reference/transformer.c: rotary_tables. */
void qa_rope_frequencies(double *frequency, double *factor, const qa_config *config, const qa_rope *rope,
                         size_t sequence_length) {
    (void)sequence_length;
    *factor = 1;
    for (size_t i = 0; i < config->rotary_dim / 2; i++) {
        double f = pow(rope->theta, -2.0 * (double)i / (double)config->rotary_dim);
        if (rope->type == QA_ROPE_LINEAR) {
            f /= rope->factor;
        } else if (rope->type == QA_ROPE_LLAMA3) {
            f = llama3_frequency(f, rope);
        }
        frequency[i] = f;
    }
}
