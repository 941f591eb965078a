/* Reads the normalizer, pre_tokenizer and decoder sections of tokenizer.json into flat lists of
 * steps: a Sequence, also one inside another, is its members one after the other. */
#include "text/tokenizer.h"

#include "base/buffer.h"
#include "base/try.h"
#include "text/utf8.h"

#include <stdio.h>
#include <string.h>

enum { WHERE_BYTES = 96 };

/* ---- helpers ---- */

qa_status qa_tokenizer_string(const json_t *object, const char *key, const char *where, const char **value, size_t *n,
                              qa_error *err) {
    const json_t *member = json_object_get(object, key);
    QA_FAIL_IF(!json_is_string(member), err, QA_ERR_FORMAT, "%s: \"%s\" %s", where, key,
               member == NULL ? "is missing" : "must be a string");
    *value = json_string_value(member);
    *n = json_string_length(member);
    return QA_OK;
}

qa_status qa_tokenizer_character(const json_t *object, const char *key, const char *where, const char **value,
                                 size_t *n, qa_error *err) {
    QA_TRY(qa_tokenizer_string(object, key, where, value, n, err));
    size_t at = 0;
    if (*n > 0) {
        (void)qa_utf8_next(*value, &at);
    }
    QA_FAIL_IF(*n == 0 || at != *n, err, QA_ERR_FORMAT, "%s: \"%s\" must be one character, found %zu bytes", where, key,
               *n);
    return QA_OK;
}

qa_status qa_tokenizer_type(const json_t *object, const char *where, const char **type, qa_error *err) {
    return qa_json_get_string(object, "type", true, where, type, err);
}

qa_status qa_tokenizer_unsupported(const char *where, const char *type, const char *supported, qa_error *err) {
    return qa_fail(err, QA_ERR_UNSUPPORTED, "%s: type \"%s\" is not supported; supported are %s", where,
                   QA_SHOWN(type, strlen(type)), supported);
}

qa_status qa_tokenizer_pattern(const json_t *object, const char *where, qa_pattern **pattern, qa_error *err) {
    json_t *value = NULL;
    QA_TRY(qa_json_get_object(object, "pattern", true, where, &value, err));
    bool regex = json_object_get(value, "Regex") != NULL;
    const char *text = NULL;
    size_t n = 0;
    QA_TRY(qa_tokenizer_string(value, regex ? "Regex" : "String", where, &text, &n, err));
    return qa_prefixed((regex ? qa_pattern_regex : qa_pattern_literal)(pattern, text, n, err), err, "%s: ", where);
}

/* Steps of one section, Sequences included: real files have up to ten. Steps call each other when a text is decoded,
 * and Sequences when they are read, so this bounds the depth of both. */
enum { MAX_STEPS = 64 };

/* A section being read. */
typedef struct section_target {
    void *list; /* the normaliser, pre-tokenizer or decoder that the steps go to */
    bool *byte_level;
    size_t steps;
} section_target;

static qa_status count_step(section_target *to, const char *where, qa_error *err) {
    to->steps++;
    return to->steps <= MAX_STEPS
               ? QA_OK
               : qa_fail(err, QA_ERR_LIMIT, "%s: the section has more than %d steps", where, MAX_STEPS);
}

/* Runs read on every member of the array `key` of a Sequence, with "where[index]" as the place. */
typedef qa_status (*section_reader)(section_target *to, const json_t *section, const char *where, qa_error *err);

static qa_status read_sequence(const json_t *sequence, const char *key, const char *where, section_reader read,
                               section_target *to, qa_error *err) {
    json_t *members = NULL;
    QA_TRY(qa_json_get_array(sequence, key, true, where, &members, err));
    for (size_t i = 0; i < json_array_size(members); i++) {
        char inner[WHERE_BYTES];
        (void)snprintf(inner, sizeof inner, "%.64s[%zu]", where, i);
        QA_TRY(read(to, json_array_get(members, i), inner, err));
    }
    return QA_OK;
}

/* ---- normalizer ---- */

static qa_status normaliser_step(section_target *to, const json_t *section, const char *where, qa_error *err) {
    static const char *const FORMS[] = {[QA_NFC] = "NFC", [QA_NFD] = "NFD", [QA_NFKC] = "NFKC", [QA_NFKD] = "NFKD"};
    const char *type = NULL;
    const char *text = NULL;
    size_t n = 0;
    qa_normal_step step = {.kind = QA_NORMAL_FORM};
    qa_status status = QA_OK;
    QA_TRY(count_step(to, where, err));
    QA_TRY(qa_tokenizer_type(section, where, &type, err));
    if (strcmp(type, "Sequence") == 0) {
        return read_sequence(section, "normalizers", where, normaliser_step, to, err);
    }
    if (strcmp(type, "Prepend") == 0) {
        step.kind = QA_NORMAL_PREPEND;
        QA_GOTO(out, qa_tokenizer_string(section, "prepend", where, &text, &n, err));
    } else if (strcmp(type, "Replace") == 0) {
        step.kind = QA_NORMAL_REPLACE;
        QA_GOTO(out, qa_tokenizer_string(section, "content", where, &text, &n, err));
        QA_GOTO(out, qa_tokenizer_pattern(section, where, &step.pattern, err));
    } else {
        size_t form = 0;
        while (form < sizeof FORMS / sizeof FORMS[0] && strcmp(type, FORMS[form]) != 0) {
            form++;
        }
        if (form == sizeof FORMS / sizeof FORMS[0]) {
            return qa_tokenizer_unsupported(where, type, "Sequence, Prepend, Replace, NFC, NFD, NFKC and NFKD", err);
        }
        step.form = (qa_normal_form)form;
    }
    QA_GOTO(out, qa_text_append(&step.content, text == NULL ? "" : text, n, err));
    QA_GOTO(out, qa_normaliser_add(to->list, &step, err));
    return QA_OK;
out:
    qa_normal_step_free(&step);
    return status;
}

qa_status qa_tokenizer_read_normaliser(qa_normaliser *normaliser, const json_t *section, qa_error *err) {
    section_target to = {.list = normaliser};
    return section == NULL || json_is_null(section) ? QA_OK : normaliser_step(&to, section, "normalizer", err);
}

/* ---- pre_tokenizer ---- */

/* GPT-2's expression, which ByteLevel has built in. */
static const char BYTE_LEVEL_REGEX[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* Hands the step over, or frees its pattern. */
static qa_status add_step(qa_pretokeniser *pretokeniser, const qa_pretokeniser_step *step, qa_error *err) {
    qa_status status = qa_pretokeniser_add(pretokeniser, step, err);
    if (status != QA_OK) {
        qa_pattern_free(step->pattern);
    }
    return status;
}

static qa_status read_byte_level(qa_pretokeniser *pretokeniser, const json_t *section, const char *where,
                                 qa_error *err) {
    bool add_space = true;
    bool use_regex = true;
    QA_TRY(qa_json_get_bool(section, "add_prefix_space", false, where, &add_space, err));
    QA_TRY(qa_json_get_bool(section, "use_regex", false, where, &use_regex, err));
    if (add_space) {
        QA_TRY(add_step(pretokeniser, &(qa_pretokeniser_step){.kind = QA_PRETOKENISE_ADD_SPACE}, err));
    }
    if (use_regex) {
        qa_pretokeniser_step split = {.kind = QA_PRETOKENISE_SPLIT, .behaviour = QA_SPLIT_ISOLATED};
        QA_TRY(qa_pattern_regex(&split.pattern, BYTE_LEVEL_REGEX, sizeof BYTE_LEVEL_REGEX - 1, err));
        QA_TRY(add_step(pretokeniser, &split, err));
    }
    return add_step(pretokeniser, &(qa_pretokeniser_step){.kind = QA_PRETOKENISE_BYTES}, err);
}

static qa_status read_split(qa_pretokeniser *pretokeniser, const json_t *section, const char *where, qa_error *err) {
    static const char *const BEHAVIOURS[] = {[QA_SPLIT_ISOLATED] = "Isolated",
                                             [QA_SPLIT_REMOVED] = "Removed",
                                             [QA_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
                                             [QA_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
                                             [QA_SPLIT_CONTIGUOUS] = "Contiguous"};
    qa_pretokeniser_step step = {.kind = QA_PRETOKENISE_SPLIT};
    const char *behaviour = NULL;
    QA_TRY(qa_json_get_string(section, "behavior", true, where, &behaviour, err));
    QA_TRY(qa_json_get_bool(section, "invert", false, where, &step.invert, err));
    size_t which = 0;
    while (which < sizeof BEHAVIOURS / sizeof BEHAVIOURS[0] && strcmp(behaviour, BEHAVIOURS[which]) != 0) {
        which++;
    }
    QA_FAIL_IF(which == sizeof BEHAVIOURS / sizeof BEHAVIOURS[0], err, QA_ERR_FORMAT,
               "%s: \"behavior\" must be Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous, "
               "found \"%s\"",
               where, QA_SHOWN(behaviour, strlen(behaviour)));
    step.behaviour = (qa_split_behaviour)which;
    QA_TRY(qa_tokenizer_pattern(section, where, &step.pattern, err));
    return add_step(pretokeniser, &step, err);
}

/* The prefix of a Metaspace, in today's spelling (prepend_scheme) or the older one (add_prefix_space). */
static qa_status read_scheme(const json_t *section, const char *where, qa_prepend_scheme *scheme, qa_error *err) {
    const char *name = NULL;
    bool add_space = true;
    QA_TRY(qa_json_get_string(section, "prepend_scheme", false, where, &name, err));
    QA_TRY(qa_json_get_bool(section, "add_prefix_space", false, where, &add_space, err));
    *scheme = QA_PREPEND_ALWAYS;
    if (name != NULL && strcmp(name, "first") == 0) {
        *scheme = QA_PREPEND_FIRST;
    } else if (name != NULL && strcmp(name, "never") == 0) {
        *scheme = QA_PREPEND_NEVER;
    } else if (name != NULL && strcmp(name, "always") != 0) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: \"prepend_scheme\" must be always, first or never, found \"%s\"", where,
                       QA_SHOWN(name, strlen(name)));
    }
    if (!add_space) {
        *scheme = QA_PREPEND_NEVER;
    }
    return QA_OK;
}

static qa_status read_metaspace(qa_pretokeniser *pretokeniser, const json_t *section, const char *where,
                                qa_error *err) {
    qa_pretokeniser_step step = {.kind = QA_PRETOKENISE_METASPACE, .split = true};
    const char *mark = NULL;
    QA_TRY(qa_tokenizer_character(section, "replacement", where, &mark, &step.replacement_bytes, err));
    memcpy(step.replacement, mark, step.replacement_bytes);
    QA_TRY(read_scheme(section, where, &step.scheme, err));
    QA_TRY(qa_json_get_bool(section, "split", false, where, &step.split, err));
    return add_step(pretokeniser, &step, err);
}

static qa_status pretokeniser_step(section_target *to, const json_t *section, const char *where, qa_error *err) {
    const char *type = NULL;
    QA_TRY(count_step(to, where, err));
    QA_TRY(qa_tokenizer_type(section, where, &type, err));
    if (strcmp(type, "Sequence") == 0) {
        return read_sequence(section, "pretokenizers", where, pretokeniser_step, to, err);
    }
    if (strcmp(type, "ByteLevel") == 0) {
        *to->byte_level = true;
        return read_byte_level(to->list, section, where, err);
    }
    if (strcmp(type, "Split") == 0) {
        return read_split(to->list, section, where, err);
    }
    if (strcmp(type, "Metaspace") == 0) {
        return read_metaspace(to->list, section, where, err);
    }
    if (strcmp(type, "Digits") == 0) {
        bool individual = false;
        QA_TRY(qa_json_get_bool(section, "individual_digits", false, where, &individual, err));
        qa_pretokeniser_step step = {.kind = QA_PRETOKENISE_DIGITS,
                                     .behaviour = individual ? QA_SPLIT_ISOLATED : QA_SPLIT_CONTIGUOUS};
        return add_step(to->list, &step, err);
    }
    return qa_tokenizer_unsupported(where, type, "Sequence, ByteLevel, Split, Digits and Metaspace", err);
}

qa_status qa_tokenizer_read_pretokeniser(qa_pretokeniser *pretokeniser, bool *byte_level, const json_t *section,
                                         qa_error *err) {
    section_target to = {.list = pretokeniser, .byte_level = byte_level};
    return section == NULL || json_is_null(section) ? QA_OK : pretokeniser_step(&to, section, "pre_tokenizer", err);
}

/* ---- decoder ---- */

static qa_status read_strip(qa_decoder_step *step, const json_t *section, const char *where, qa_error *err) {
    const char *text = NULL;
    size_t n = 0;
    step->kind = QA_DECODE_STRIP;
    QA_TRY(qa_tokenizer_character(section, "content", where, &text, &n, err));
    QA_TRY(qa_json_get_size(section, "start", true, where, &step->start, err));
    QA_TRY(qa_json_get_size(section, "stop", true, where, &step->stop, err));
    return qa_text_append(&step->content, text, n, err);
}

static qa_status decoder_step(section_target *to, const json_t *section, const char *where, qa_error *err) {
    const char *type = NULL;
    const char *text = NULL;
    size_t n = 0;
    qa_decoder_step step = {.kind = QA_DECODE_FUSE};
    qa_status status = QA_OK;
    QA_TRY(count_step(to, where, err));
    QA_TRY(qa_tokenizer_type(section, where, &type, err));
    if (strcmp(type, "Sequence") == 0) {
        return read_sequence(section, "decoders", where, decoder_step, to, err);
    }
    if (strcmp(type, "ByteLevel") == 0) {
        step.kind = QA_DECODE_BYTE_LEVEL;
    } else if (strcmp(type, "ByteFallback") == 0) {
        step.kind = QA_DECODE_BYTE_FALLBACK;
    } else if (strcmp(type, "Replace") == 0) {
        step.kind = QA_DECODE_REPLACE;
        QA_GOTO(out, qa_tokenizer_string(section, "content", where, &text, &n, err));
        QA_GOTO(out, qa_text_append(&step.content, text, n, err));
        QA_GOTO(out, qa_tokenizer_pattern(section, where, &step.pattern, err));
    } else if (strcmp(type, "Strip") == 0) {
        QA_GOTO(out, read_strip(&step, section, where, err));
    } else if (strcmp(type, "Metaspace") == 0) {
        qa_prepend_scheme scheme = QA_PREPEND_ALWAYS;
        step.kind = QA_DECODE_METASPACE;
        QA_GOTO(out, qa_tokenizer_character(section, "replacement", where, &text, &n, err));
        QA_GOTO(out, qa_text_append(&step.content, text, n, err));
        QA_GOTO(out, read_scheme(section, where, &scheme, err));
        step.first_loses_mark = scheme != QA_PREPEND_NEVER;
    } else if (strcmp(type, "Fuse") != 0) {
        return qa_tokenizer_unsupported(where, type,
                                        "Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip and Metaspace", err);
    }
    QA_GOTO(out, qa_decoder_add(to->list, &step, err));
    return QA_OK;
out:
    qa_decoder_step_free(&step);
    return status;
}

qa_status qa_tokenizer_read_decoder(qa_decoder *decoder, const json_t *section, qa_error *err) {
    if (section == NULL || json_is_null(section)) {
        return qa_decoder_add(decoder, &(qa_decoder_step){.kind = QA_DECODE_JOIN}, err);
    }
    section_target to = {.list = decoder};
    return decoder_step(&to, section, "decoder", err);
}
