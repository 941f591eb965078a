/* The rotary embedding's settings: rope_theta, rope_scaling (older files), rope_parameters (newer ones), read as
 * transformers 5 reads them. Their frequencies: rope_frequencies.c.
 *
 * rope_scaling, where it holds anything, goes before rope_parameters; the theta inside goes before the one outside.
 * In a family with two rotary embeddings rope_parameters has an object for each, and rope_scaling is of the layers
 * without a window. What is left to a guess (a factor without a type, settings for each kind of layer where there is
 * one kind, members nobody knows) is refused; what every reader passes over, and two places that disagree, are
 * warnings. */
#include "arch/config_internal.h"

#include "arch/family.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double LOWEST_THETA = 1, HIGHEST_THETA = 1e15;
static const double LOWEST_FACTOR = 1e-3, HIGHEST_FACTOR = 1e6;
static const double LONGEST_CONTEXT = 1e9;

static const char ORIGINAL_CONTEXT[] = "original_max_position_embeddings";

enum { MOST_MEMBERS = 8 };

/* The types, and the members that each reads. */
static const struct rope_type_row {
    const char *name;
    qa_rope_type type;
    const char *members[MOST_MEMBERS + 1];
} ROPE_TYPES[] = {{"default", QA_ROPE_DEFAULT, {NULL}},
                  {"linear", QA_ROPE_LINEAR, {"factor", NULL}},
                  {"llama3", QA_ROPE_LLAMA3, {"factor", "low_freq_factor", "high_freq_factor", ORIGINAL_CONTEXT, NULL}},
                  {"yarn",
                   QA_ROPE_YARN,
                   {"factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
                    ORIGINAL_CONTEXT, NULL}},
                  {"dynamic", QA_ROPE_DYNAMIC, {"factor", "alpha", NULL}},
                  {"longrope",
                   QA_ROPE_LONGROPE,
                   {"factor", "attention_factor", "short_factor", "long_factor", ORIGINAL_CONTEXT, NULL}}};
enum { N_ROPE_TYPES = sizeof ROPE_TYPES / sizeof *ROPE_TYPES };

/* One object of settings, and what to say of it. */
typedef struct rope_source {
    const json_t *root, *settings;
    const char *where; /* "config.json: rope_scaling" */
    bool of_a_kind;    /* of one kind of layers: what stands at the top level of the file is not its */
    const qa_logger *logger;
} rope_source;

static bool is_there(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return value != NULL && !json_is_null(value);
}

const char *qa_rope_type_name(qa_rope_type type) {
    const char *name = "unknown";
    for (size_t i = 0; i < N_ROPE_TYPES; i++) {
        name = ROPE_TYPES[i].type == type ? ROPE_TYPES[i].name : name;
    }
    return name;
}

/* ---- the type ---- */

static bool type_uses(qa_rope_type type, const char *key) {
    for (const char *const *member = ROPE_TYPES[type].members; *member != NULL; member++) {
        if (strcmp(*member, key) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_scaling_member(const char *key) {
    bool found = strcmp(key, "finetuned") == 0;
    for (qa_rope_type type = QA_ROPE_DEFAULT; type <= QA_ROPE_LONGROPE; type++) {
        found = found || type_uses(type, key);
    }
    return found;
}

static qa_status rope_type_of(qa_rope_type *type, const char *name, const qa_family *family, const char *where,
                              qa_error *err) {
    if (family->rope_su && (strcmp(name, "su") == 0 || strcmp(name, "yarn") == 0)) {
        name = "longrope";
    }
    for (size_t i = 0; i < N_ROPE_TYPES; i++) {
        const bool allowed = !family->rope_su || i == QA_ROPE_DEFAULT || i == QA_ROPE_LONGROPE;
        if (allowed && strcmp(ROPE_TYPES[i].name, name) == 0) {
            *type = ROPE_TYPES[i].type;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_UNSUPPORTED, "%s: rope type \"%.40s\" is not supported; expected %s", where, name,
                   family->rope_su ? "default or longrope (also called su)"
                                   : "default, linear, llama3, yarn, dynamic or longrope");
}

static qa_status read_type(qa_rope_type *type, bool *named, const rope_source *from, const qa_family *family,
                           qa_error *err) {
    const char *older = NULL, *name = NULL;
    *type = QA_ROPE_DEFAULT;
    QA_TRY(qa_json_get_string(from->settings, "type", false, from->where, &older, err));
    QA_TRY(qa_json_get_string(from->settings, "rope_type", false, from->where, &name, err));
    QA_FAIL_IF(name != NULL && older != NULL && strcmp(name, older) != 0, err, QA_ERR_FORMAT,
               "%s: rope_type is \"%.40s\" and type \"%.40s\"; remove the wrong one", from->where, name, older);
    name = name == NULL ? older : name;
    *named = name != NULL;
    return name == NULL ? QA_OK : rope_type_of(type, name, family, from->where, err);
}

/* Every member is one that is used, or one that is known to be passed over. */
static qa_status config_rope_check_members(const rope_source *from, const qa_family *family, qa_rope_type type,
                                           bool named, qa_error *err) {
    const char *key = NULL;
    json_t *value = NULL;
    const bool alpha = is_there(from->settings, "alpha") && family->rope_alpha;
    json_object_foreach((json_t *)(uintptr_t)from->settings, key, value) { /* nothing is changed */
        const bool plain = strcmp(key, "rope_theta") == 0 || strcmp(key, "rope_type") == 0 ||
                           strcmp(key, "type") == 0 || strcmp(key, "partial_rotary_factor") == 0;
        const bool used = type_uses(type, key) && (strcmp(key, "alpha") != 0 || alpha);
        if (plain || json_is_null(value) || used) {
            continue;
        }
        QA_FAIL_IF(json_is_object(value), err, QA_ERR_UNSUPPORTED,
                   "%s: \"%.60s\" holds settings of its own (for one kind of layers?), which this architecture "
                   "does not have; give rope_theta and rope_type directly",
                   from->where, key);
        QA_FAIL_IF(!is_scaling_member(key), err, QA_ERR_UNSUPPORTED,
                   "%s: \"%.60s\" is not understood and may change the positions; expected rope_theta, "
                   "rope_type, factor and the other members of that type",
                   from->where, key);
        QA_FAIL_IF(!named, err, QA_ERR_FORMAT,
                   "%s: there is \"%s\" but no rope_type, so nobody can tell what is meant; add "
                   "\"rope_type\": \"linear\" or \"llama3\", or remove the scaling",
                   from->where, key);
        qa_log(from->logger, alpha ? QA_LOG_INFO : QA_LOG_WARNING,
               "%s: \"%s\" means nothing with this rope_type and is not used", from->where, key);
    }
    return QA_OK;
}

/* ---- the members ---- */

/* A value at the top level of the file goes before the one inside; in Phi-3 there always is one at the top level. */
static qa_status read_original_context(qa_rope *rope, const qa_config *config, const rope_source *from, qa_error *err) {
    const double always = config->family->default_original_max_position;
    double inside = (double)config->max_position_embeddings, outside = always;
    QA_TRY(qa_config_get_within(from->settings, ORIGINAL_CONTEXT, false, 1, LONGEST_CONTEXT, &inside, err));
    if (!from->of_a_kind) {
        QA_TRY(qa_config_get_within(from->root, ORIGINAL_CONTEXT, false, 1, LONGEST_CONTEXT, &outside, err));
    }
    if (outside != 0 && outside != inside && is_there(from->settings, ORIGINAL_CONTEXT)) {
        qa_log(from->logger, QA_LOG_WARNING, "config.json: %s is %g%s, and %g with the rope scaling; the first is used",
               ORIGINAL_CONTEXT, outside, is_there(from->root, ORIGINAL_CONTEXT) ? "" : " by default", inside);
    }
    rope->original_max_position = outside != 0 ? outside : inside;
    return QA_OK;
}

static qa_status read_llama3(qa_rope *rope, const qa_config *config, const rope_source *from, qa_error *err) {
    const double low = LOWEST_FACTOR, high = HIGHEST_FACTOR;
    QA_TRY(qa_config_get_within(from->settings, "low_freq_factor", true, low, high, &rope->low_freq_factor, err));
    QA_TRY(qa_config_get_within(from->settings, "high_freq_factor", true, low, high, &rope->high_freq_factor, err));
    QA_FAIL_IF(rope->high_freq_factor <= rope->low_freq_factor, err, QA_ERR_FORMAT,
               "config.json: rope high_freq_factor %g is not above low_freq_factor %g", rope->high_freq_factor,
               rope->low_freq_factor);
    return read_original_context(rope, config, from, err);
}

static double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1; }

static qa_status read_yarn(qa_rope *rope, const qa_config *config, const rope_source *from, qa_error *err) {
    double mscale = 0, all_dimensions = 0;
    const json_t *object = from->settings;
    QA_TRY(read_original_context(rope, config, from, err));
    if (json_is_null(json_object_get(object, "factor"))) {
        rope->factor = (double)config->max_position_embeddings / rope->original_max_position;
    }
    QA_TRY(qa_config_get_within(object, "mscale", false, 0, HIGHEST_FACTOR, &mscale, err));
    QA_TRY(qa_config_get_within(object, "mscale_all_dim", false, 0, HIGHEST_FACTOR, &all_dimensions, err));
    rope->attention_factor = mscale != 0 && all_dimensions != 0
                                 ? yarn_scale(rope->factor, mscale) / yarn_scale(rope->factor, all_dimensions)
                                 : yarn_scale(rope->factor, 1);
    QA_TRY(qa_config_get_within(object, "attention_factor", false, LOWEST_FACTOR, HIGHEST_FACTOR,
                                &rope->attention_factor, err));
    QA_TRY(qa_config_get_within(object, "beta_fast", false, 0, HIGHEST_FACTOR, &rope->beta_fast, err));
    QA_TRY(qa_config_get_within(object, "beta_slow", false, 0, HIGHEST_FACTOR, &rope->beta_slow, err));
    rope->beta_fast = rope->beta_fast == 0 ? 32 : rope->beta_fast;
    rope->beta_slow = rope->beta_slow == 0 ? 1 : rope->beta_slow;
    rope->truncate = true;
    QA_TRY(qa_json_get_bool(object, "truncate", false, from->where, &rope->truncate, err));
    if (from->of_a_kind && !rope->truncate) {
        qa_log(from->logger, QA_LOG_WARNING, "%s: truncate is false, which is not used here, as in transformers",
               from->where);
        rope->truncate = true;
    }
    return rope->beta_fast >= rope->beta_slow ? QA_OK
                                              : qa_fail(err, QA_ERR_FORMAT, "%s: beta_fast %g is below beta_slow %g",
                                                        from->where, rope->beta_fast, rope->beta_slow);
}

static qa_status read_factors(double *factors, const qa_config *config, const rope_source *from, const char *key,
                              qa_error *err) {
    json_t *list = NULL;
    const size_t n = config->rotary_dim / 2;
    QA_TRY(qa_json_get_array(from->settings, key, true, from->where, &list, err));
    QA_FAIL_IF(json_array_size(list) != n || n > QA_MAX_ROPE_FACTORS, err, QA_ERR_FORMAT,
               "%s: %s has %zu numbers, expected %zu: half of the %zu dimensions turned%s", from->where, key,
               json_array_size(list), n, config->rotary_dim,
               n > QA_MAX_ROPE_FACTORS ? " (which is beyond any model)" : "");
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        factors[i] = json_number_value(value);
        QA_FAIL_IF(!json_is_number(value) || !(factors[i] >= LOWEST_FACTOR && factors[i] <= HIGHEST_FACTOR), err,
                   QA_ERR_FORMAT, "%s: entry %zu of %s is not a number from %g to %g", from->where, i, key,
                   LOWEST_FACTOR, HIGHEST_FACTOR);
    }
    return QA_OK;
}

static qa_status read_longrope(qa_rope *rope, const qa_config *config, const rope_source *from, qa_error *err) {
    QA_TRY(read_original_context(rope, config, from, err));
    if (rope->factor == 0) {
        rope->factor = (double)config->max_position_embeddings / rope->original_max_position;
    }
    rope->attention_factor = rope->factor <= 1 ? 1 : sqrt(1 + log(rope->factor) / log(rope->original_max_position));
    QA_TRY(qa_config_get_within(from->settings, "attention_factor", false, LOWEST_FACTOR, HIGHEST_FACTOR,
                                &rope->attention_factor, err));
    if (!(rope->attention_factor <= HIGHEST_FACTOR)) { /* a context of 1 */
        return qa_fail(err, QA_ERR_FORMAT, "%s: %s is %g, too short for longrope", from->where, ORIGINAL_CONTEXT,
                       rope->original_max_position);
    }
    QA_TRY(read_factors(rope->short_factor, config, from, "short_factor", err));
    return read_factors(rope->long_factor, config, from, "long_factor", err);
}

/* The type and its members; theta is there. */
static qa_status read_scaling(qa_rope *rope, const qa_config *config, const rope_source *from, qa_error *err) {
    const double low = LOWEST_FACTOR, high = HIGHEST_FACTOR;
    const qa_family *family = config->family;
    bool named = false;
    QA_TRY(read_type(&rope->type, &named, from, family, err));
    QA_TRY(config_rope_check_members(from, family, rope->type, named, err));
    if (rope->type == QA_ROPE_DEFAULT) {
        return QA_OK;
    }
    if (rope->type == QA_ROPE_DYNAMIC && family->rope_alpha) {
        QA_TRY(qa_config_get_within(from->settings, "alpha", false, low, HIGHEST_THETA, &rope->alpha, err));
    }
    const bool null = json_is_null(json_object_get(from->settings, "factor"));
    const bool optional = rope->type == QA_ROPE_LONGROPE || (rope->type == QA_ROPE_YARN && null) || rope->alpha != 0;
    QA_TRY(qa_config_get_within(from->settings, "factor", !optional, low, high, &rope->factor, err));
    switch (rope->type) {
    case QA_ROPE_LLAMA3: return read_llama3(rope, config, from, err);
    case QA_ROPE_YARN: return read_yarn(rope, config, from, err);
    case QA_ROPE_LONGROPE: return read_longrope(rope, config, from, err);
    case QA_ROPE_DYNAMIC: rope->original_max_position = (double)config->max_position_embeddings; break;
    default: break;
    }
    return QA_OK;
}

/* partial_rotary_factor: what is inside goes before what is outside. */
static qa_status read_rotary_dim(qa_config *config, const json_t *root, const json_t *settings, qa_error *err) {
    static const char key[] = "partial_rotary_factor";
    const double otherwise = config->family->default_partial_rotary;
    const char *name = qa_config_key(config->family, root, key);
    const bool whole = otherwise == 0 || json_is_null(json_object_get(root, name)); /* null, too, in transformers */
    double factor = whole ? 1 : otherwise;
    QA_TRY(qa_json_get_double(root, name, false, "config.json", &factor, err));
    if (settings != NULL) {
        QA_TRY(qa_json_get_double(settings, key, false, "config.json", &factor, err));
    }
    QA_FAIL_IF(otherwise == 0 && factor != 1, err, QA_ERR_UNSUPPORTED,
               "config.json: %s %g is not supported; expected 1", key, factor);
    const double dimensions = (double)config->head_dim * factor;
    QA_FAIL_IF(!(dimensions >= 2 && dimensions <= (double)config->head_dim) || (size_t)dimensions % 2 != 0, err,
               QA_ERR_FORMAT,
               "config.json: %s %g turns %g of the %zu dimensions of a head, expected an even number of them", name,
               factor, floor(dimensions), config->head_dim);
    config->rotary_dim = (size_t)dimensions;
    return QA_OK;
}

/* ---- the places ---- */

static bool same_number(const json_t *a, const json_t *b) {
    return (a == NULL) == (b == NULL) && json_number_value(a) == json_number_value(b);
}

/* rope_parameters beside a rope_scaling that goes before it: what is dropped with it. */
static void config_rope_warn_of_both(const qa_config *config, const json_t *scaling, const json_t *parameters,
                                     const qa_logger *logger) {
    const qa_rope *rope = &config->rope[QA_ROPE_FULL];
    const json_t *theta = json_object_get(parameters, "rope_theta");
    const char *const keys[] = {"factor", "low_freq_factor", "high_freq_factor", ORIGINAL_CONTEXT};
    bool same = theta == NULL || json_number_value(theta) == rope->theta;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        same = same && same_number(json_object_get(scaling, keys[i]), json_object_get(parameters, keys[i]));
    }
    const json_t *type = json_object_get(parameters, "rope_type");
    type = type == NULL ? json_object_get(parameters, "type") : type;
    const char *name = json_is_string(type) ? json_string_value(type) : "default";
    if (!same || strcmp(name, qa_rope_type_name(rope->type)) != 0) {
        qa_log(logger, QA_LOG_WARNING,
               "config.json: rope_scaling and rope_parameters disagree; rope_scaling is used, with rope_theta %g, as "
               "transformers does",
               rope->theta);
    }
}

static qa_status read_one_rope(qa_config *config, const json_t *root, json_t *scaling, json_t *parameters,
                               const qa_logger *logger, qa_error *err) {
    const char *theta_key = qa_config_key(config->family, root, "rope_theta");
    qa_rope *rope = &config->rope[QA_ROPE_FULL];
    const bool both = json_object_size(scaling) > 0 && json_object_size(parameters) > 0;
    const bool newer = json_object_size(scaling) == 0;
    const rope_source from = {root, newer ? parameters : scaling,
                              newer ? "config.json: rope_parameters" : "config.json: rope_scaling", false, logger};
    QA_TRY(qa_config_get_within(root, theta_key, false, LOWEST_THETA, HIGHEST_THETA, &rope->theta, err));
    QA_TRY(read_rotary_dim(config, root, from.settings, err));
    if (from.settings == NULL) {
        return QA_OK;
    }
    const double outside = rope->theta;
    QA_TRY(qa_config_get_within(from.settings, "rope_theta", false, LOWEST_THETA, HIGHEST_THETA, &rope->theta, err));
    if (rope->theta != outside && is_there(root, theta_key)) {
        qa_log(logger, QA_LOG_WARNING,
               "config.json: %s is %g, and %g in %s; the second is used, as "
               "transformers 5 does",
               theta_key, outside, rope->theta, newer ? "rope_parameters" : "rope_scaling");
    }
    QA_TRY(read_scaling(rope, config, &from, err));
    if (both) {
        config_rope_warn_of_both(config, scaling, parameters, logger);
    }
    return QA_OK;
}

static const char *const KINDS[QA_ROPES] = {"full_attention", "sliding_attention"};

/* rope_parameters with one object for each kind of layer, and nothing beside them. */
static qa_status check_kinds(const json_t *parameters, qa_error *err) {
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)parameters, key, value) { /* nothing is changed */
        const bool kind = strcmp(key, KINDS[QA_ROPE_FULL]) == 0 || strcmp(key, KINDS[QA_ROPE_SLIDING]) == 0;
        QA_FAIL_IF(!kind || !(json_is_object(value) || json_is_null(value)), err, QA_ERR_UNSUPPORTED,
                   "config.json: rope_parameters: \"%.60s\" is not understood; this architecture has an object "
                   "\"full_attention\" and one \"sliding_attention\" there",
                   key);
    }
    return QA_OK;
}

/* The settings of the layers without a window: rope_scaling goes over what rope_parameters has. transformers puts it
 * over a type of "default", so that a "type" alone changes nothing. */
static void put_over(json_t *full, const json_t *scaling, bool newer, const qa_logger *logger) {
    const bool typed = is_there(scaling, "rope_type") || !is_there(scaling, "type") || newer;
    if (typed) {
        (void)json_object_update(full, (json_t *)(uintptr_t)scaling); /* which is not changed */
        return;
    }
    qa_log(logger, QA_LOG_WARNING,
           "config.json: rope_scaling has a \"type\" and no \"rope_type\"; it is not used, as in transformers (write "
           "rope_type if it is meant)");
}

static qa_status read_kind(qa_config *config, const json_t *root, qa_rope_kind kind, const json_t *settings,
                           const qa_logger *logger, qa_error *err) {
    const qa_family *family = config->family;
    char where[64];
    (void)snprintf(where, sizeof where, "config.json: rope_parameters of %s", KINDS[kind]);
    const rope_source from = {root, settings, where, true, logger};
    const char *key = kind == QA_ROPE_FULL ? "rope_theta" : family->local_theta_key;
    qa_rope *rope = &config->rope[kind];
    rope->theta = kind == QA_ROPE_FULL ? rope->theta : family->default_local_theta;
    if (key != NULL) {
        QA_TRY(qa_config_get_within(root, key, false, LOWEST_THETA, HIGHEST_THETA, &rope->theta, err));
    }
    QA_TRY(qa_config_get_within(settings, "rope_theta", false, LOWEST_THETA, HIGHEST_THETA, &rope->theta, err));
    QA_TRY(read_rotary_dim(config, root, settings, err));
    return read_scaling(rope, config, &from, err);
}

static qa_status read_two_ropes(qa_config *config, const json_t *root, const json_t *scaling, const json_t *parameters,
                                const qa_logger *logger, qa_error *err) {
    json_t *full = json_object(), *sliding = json_object();
    qa_status status = QA_OK;
    QA_GOTO(done, full == NULL || sliding == NULL ? QA_NO_MEMORY(err, "config.json") : QA_OK);
    QA_GOTO(done, check_kinds(parameters, err));
    (void)json_object_update(full, json_object_get(parameters, KINDS[QA_ROPE_FULL]));
    (void)json_object_update(sliding, json_object_get(parameters, KINDS[QA_ROPE_SLIDING]));
    if (scaling != NULL) {
        put_over(full, scaling, is_there(parameters, KINDS[QA_ROPE_FULL]), logger);
    }
    QA_GOTO(done, read_kind(config, root, QA_ROPE_FULL, full, logger, err));
    QA_GOTO(done, read_kind(config, root, QA_ROPE_SLIDING, sliding, logger, err));
done:
    json_decref(full);
    json_decref(sliding);
    return status;
}

qa_status qa_config_read_rope(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    json_t *scaling = NULL, *parameters = NULL;
    QA_TRY(qa_json_get_object(root, "rope_parameters", false, "config.json", &parameters, err));
    QA_TRY(qa_json_get_object(root, "rope_scaling", false, "config.json", &scaling, err));
    return config->family->rope_by_kind ? read_two_ropes(config, root, scaling, parameters, logger, err)
                                        : read_one_rope(config, root, scaling, parameters, logger, err);
}

/* ---- writing ---- */

static json_t *factors_json(const double *factors, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, json_real(factors[i]));
    }
    return list;
}

/* The type and its members; NULL: the default type. */
static json_t *scaling_json(const qa_config *config, const qa_rope *rope) {
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"factor", rope->factor},
                   {"low_freq_factor", rope->low_freq_factor},
                   {"high_freq_factor", rope->high_freq_factor},
                   {"attention_factor", rope->attention_factor},
                   {"beta_fast", rope->beta_fast},
                   {"beta_slow", rope->beta_slow},
                   {"alpha", rope->alpha}};
    if (rope->type == QA_ROPE_DEFAULT) {
        return NULL;
    }
    json_t *object = json_pack("{s:s}", "rope_type", qa_rope_type_name(rope->type));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (type_uses(rope->type, numbers[i].key) && numbers[i].value != 0) {
            (void)json_object_set_new(object, numbers[i].key, json_real(numbers[i].value));
        }
    }
    if (type_uses(rope->type, ORIGINAL_CONTEXT)) {
        (void)json_object_set_new(object, ORIGINAL_CONTEXT, qa_config_whole_or_real(rope->original_max_position));
    }
    if (rope->type == QA_ROPE_YARN && !rope->truncate) {
        (void)json_object_set_new(object, "truncate", json_false());
    }
    if (rope->type == QA_ROPE_LONGROPE) {
        const size_t n = config->rotary_dim / 2;
        (void)json_object_set_new(object, "short_factor", factors_json(rope->short_factor, n));
        (void)json_object_set_new(object, "long_factor", factors_json(rope->long_factor, n));
    }
    return object;
}

/* A factor of which the head's dimensions are exactly those that are turned. */
static double partial_factor(const qa_config *config) {
    double factor = (double)config->rotary_dim / (double)config->head_dim;
    while ((size_t)((double)config->head_dim * factor) < config->rotary_dim) {
        factor = nextafter(factor, 1);
    }
    return factor;
}

void qa_config_write_rope(json_t *root, const qa_config *config) {
    const qa_family *family = config->family;
    if (family->rope_by_kind) {
        json_t *kinds = json_object();
        for (qa_rope_kind kind = QA_ROPE_FULL; kind < QA_ROPES; kind++) {
            json_t *object = scaling_json(config, &config->rope[kind]);
            object = object == NULL ? json_pack("{s:s}", "rope_type", "default") : object;
            (void)json_object_set_new(object, "rope_theta", json_real(config->rope[kind].theta));
            (void)json_object_set_new(kinds, KINDS[kind], object);
        }
        (void)json_object_set_new(root, "rope_parameters", kinds);
        return;
    }
    json_t *scaling = scaling_json(config, &config->rope[QA_ROPE_FULL]);
    (void)json_object_set_new(root, qa_config_key_name(family, "rope_theta"),
                              json_real(config->rope[QA_ROPE_FULL].theta));
    (void)json_object_set_new(root, "rope_scaling", scaling == NULL ? json_null() : scaling);
    if (family->default_partial_rotary != 0) {
        (void)json_object_set_new(root, qa_config_key_name(family, "partial_rotary_factor"),
                                  json_real(partial_factor(config)));
    }
}
