/* See option.h. */
#include "base/option.h"
#include "base/c_locale.h"

#include "base/memory.h"
#include "base/try.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- choices ---- */

const char *qa_choices_text(const char *const *choices, char *text, size_t bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; choices[i] != NULL && used < bytes; i++) {
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i == 0 ? "" : "|", choices[i]);
    }
    return text;
}

qa_status qa_choice_find(unsigned *index, const char *const *choices, const char *what, const char *name,
                         qa_error *err) {
    char all[QA_OPTION_TEXT_BYTES];
    for (unsigned i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], name) == 0) {
            *index = i;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "%s \"%s\": expected one of %s", what, name,
                   qa_choices_text(choices, all, sizeof all));
}

const char *qa_choice_name(const char *const *choices, unsigned index) {
    for (unsigned i = 0; i <= index; i++) {
        if (choices[i] == NULL) {
            return "unknown";
        }
    }
    return choices[index];
}

/* ---- names ---- */

const char *qa_option_key(const qa_option *option, char key[QA_OPTION_KEY_BYTES]) {
    (void)snprintf(key, QA_OPTION_KEY_BYTES, "%s", option->key != NULL ? option->key : option->name);
    for (char *c = key; *c != '\0'; c++) {
        *c = *c == '-' ? '_' : *c;
    }
    return key;
}

const char *qa_option_next_name(const qa_option *option, const char **at, size_t *bytes) {
    const char *name = *at == NULL ? option->name : *at == option->name ? option->aliases : *at + *bytes;
    name = name == NULL ? NULL : name + strspn(name, " ");
    *at = name;
    *bytes = name == NULL ? 0 : strcspn(name, " ");
    return *bytes == 0 ? NULL : name;
}

static bool same_option_name(const char *name, const char *other, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if ((name[i] == '_' ? '-' : name[i]) != other[i]) {
            return false;
        }
    }
    return true;
}

bool qa_option_is_named(const qa_option *option, const char *name, size_t bytes) {
    const char *at = NULL;
    size_t length = 0;
    while (qa_option_next_name(option, &at, &length) != NULL) {
        if (length == bytes && same_option_name(name, at, bytes)) {
            return true;
        }
    }
    return false;
}

const qa_option *qa_options_named(const qa_option_table *table, const char *name) {
    for (size_t i = 0; table != NULL && i < table->n; i++) {
        if (qa_option_is_named(&table->rows[i], name, strlen(name))) {
            return &table->rows[i];
        }
    }
    return NULL;
}

const char *qa_option_argument(const qa_option *option, char *text, size_t bytes) {
    const char *letter = option->type == QA_OPTION_FLAG ? "" : option->type == QA_OPTION_NUMBER ? "X" : "N";
    if (option->placeholder == NULL && option->choices != NULL) {
        return qa_choices_text(option->choices, text, bytes);
    }
    if (option->placeholder == NULL && option->type == QA_OPTION_OTHER) {
        return option->other->names(text, bytes);
    }
    return option->placeholder != NULL ? option->placeholder : letter;
}

/* ---- ranges ---- */

static bool is_in_range(qa_option_range range, double x) {
    switch (range) {
    case QA_RANGE_ANY: return true;
    case QA_RANGE_FROM_0: return x >= 0.0;
    case QA_RANGE_FROM_1: return x >= 1.0;
    case QA_RANGE_1_TO_1024: return x >= 1.0 && x <= 1024.0;
    case QA_RANGE_ABOVE_0: return x > 0.0;
    case QA_RANGE_ABOVE_0_TO_1: return x > 0.0 && x <= 1.0;
    case QA_RANGE_0_TO_1: return x >= 0.0 && x <= 1.0;
    case QA_RANGE_0_TO_BELOW_1: return x >= 0.0 && x < 1.0;
    case QA_RANGE_0_TO_BELOW_HALF: return x >= 0.0 && x < 0.5;
    }
    return false;
}

static const char *range_text(qa_option_range range) {
    switch (range) {
    case QA_RANGE_ANY: break;
    case QA_RANGE_FROM_0: return " of at least 0";
    case QA_RANGE_FROM_1: return " of at least 1";
    case QA_RANGE_1_TO_1024: return " from 1 to 1024";
    case QA_RANGE_ABOVE_0: return " above 0";
    case QA_RANGE_ABOVE_0_TO_1: return " above 0 and at most 1";
    case QA_RANGE_0_TO_1: return " from 0 to 1";
    case QA_RANGE_0_TO_BELOW_1: return " of at least 0 and below 1";
    case QA_RANGE_0_TO_BELOW_HALF: return " of at least 0 and below 0.5";
    }
    return "";
}

/* ---- from text ---- */

bool qa_option_parse_truth(const char *text, bool *value) {
    static const char *const yes[] = {"true", "True", "yes", "on", "1"};
    static const char *const no[] = {"false", "False", "no", "off", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *value = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

/* Digits only: no sign, no space, no fraction. */
static bool parse_unsigned(const char *text, unsigned long long *value) {
    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0') {
        return false;
    }
    errno = 0;
    *value = strtoull(text, NULL, 10);
    return errno == 0;
}

static qa_status parse_size(const qa_option *option, const char *text, size_t *value, qa_error *err) {
    const bool all = option->type == QA_OPTION_SIZE_OR_ALL;
    unsigned long long number = 0;
    if (all && strcmp(text, "all") == 0) {
        *value = 0;
        return QA_OK;
    }
    /* not above INT64_MAX: what training_config.json and a checkpoint say of it is a JSON integer */
    QA_FAIL_IF(!parse_unsigned(text, &number) || number > SIZE_MAX || number > INT64_MAX ||
                   !is_in_range(option->range, (double)number),
               err, QA_ERR_ARGUMENT, "expected a whole number%s%s, found \"%s\"", range_text(option->range),
               all ? ", or all" : "", text);
    *value = (size_t)number;
    return QA_OK;
}

static qa_status parse_double(const qa_option *option, const char *text, double *value, qa_error *err) {
    char *end = NULL;
    const qa_c_locale before = qa_c_locale_enter();
    errno = 0;
    const double number = isspace((unsigned char)text[0]) ? (double)NAN : strtod(text, &end);
    const int failure = errno;
    qa_c_locale_leave(before);
    const bool underflow = failure == ERANGE && fabs(number) < 1.0;
    QA_FAIL_IF(end == text || end == NULL || *end != '\0' || !isfinite(number) || (failure != 0 && !underflow) ||
                   !is_in_range(option->range, number),
               err, QA_ERR_ARGUMENT, "expected a number%s, found \"%s\"", range_text(option->range), text);
    *value = number;
    return QA_OK;
}

static qa_status append_string(qa_option_list *list, const char *text, qa_error *err) {
    QA_TRY(QA_GROW(list->items, list->capacity, list->n + 1, err, "a list of options"));
    list->items[list->n++] = text;
    return QA_OK;
}

/* "float16", "bfloat16": PyTorch's names of "f16", "bf16"; and capitals, as files have them: "F16". */
static bool is_choice(const char *choice, const char *text) {
    const size_t b = choice[0] == 'b' ? 1 : 0;
    return strcasecmp(choice, text) == 0 ||
           (choice[b] == 'f' && isdigit((unsigned char)choice[b + 1]) &&
            strncmp(text, "bfloat" + (1 - b), 5 + b) == 0 && strcmp(text + 5 + b, choice + b + 1) == 0);
}

static qa_status parse_choice(const qa_option *option, const char *text, void *to, qa_error *err) {
    char all[QA_OPTION_TEXT_BYTES];
    for (unsigned i = 0; option->choices[i] != NULL; i++) {
        if (!is_choice(option->choices[i], text)) {
            continue;
        }
        if (option->type == QA_OPTION_WORD) {
            *(const char **)to = option->choices[i];
        } else {
            memcpy(to, &i, sizeof i);
        }
        return QA_OK;
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "expected one of %s, found \"%s\"",
                   qa_option_argument(option, all, sizeof all), text);
}

qa_status qa_option_set(const qa_option *option, void *options, const char *text, qa_error *err) {
    void *to = (char *)options + option->offset;
    unsigned long long number = 0;
    switch (option->type) {
    case QA_OPTION_FLAG:
        return qa_option_parse_truth(text, to)
                   ? QA_OK
                   : qa_fail(err, QA_ERR_ARGUMENT, "expected true or false, found \"%s\"", text);
    case QA_OPTION_SIZE:
    case QA_OPTION_SIZE_OR_ALL: return parse_size(option, text, to, err);
    case QA_OPTION_SEED:
        QA_FAIL_IF(!parse_unsigned(text, &number), err, QA_ERR_ARGUMENT,
                   "expected a whole number of at least 0, found \"%s\"", text);
        *(uint64_t *)to = number;
        return QA_OK;
    case QA_OPTION_NUMBER: return parse_double(option, text, to, err);
    case QA_OPTION_CHOICE:
    case QA_OPTION_WORD: return parse_choice(option, text, to, err);
    case QA_OPTION_STRING: *(const char **)to = text; return QA_OK;
    case QA_OPTION_LIST: return append_string(to, text, err);
    case QA_OPTION_OTHER: return option->other->parse(to, text, err);
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "an option of unknown type");
}

/* ---- to text ---- */

bool qa_option_text(const qa_option *option, const void *options, char *text, size_t bytes) {
    const void *at = (const char *)options + option->offset;
    const char *string = NULL;
    unsigned index = 0;
    switch (option->type) {
    case QA_OPTION_FLAG: string = *(const bool *)at ? "true" : "false"; break;
    case QA_OPTION_SIZE:
    case QA_OPTION_SIZE_OR_ALL:
        (void)snprintf(text, bytes, "%zu", *(const size_t *)at);
        string = *(const size_t *)at == 0 && option->type == QA_OPTION_SIZE_OR_ALL ? "all" : text;
        break;
    case QA_OPTION_SEED: (void)snprintf(text, bytes, "%llu", (unsigned long long)*(const uint64_t *)at); return true;
    case QA_OPTION_NUMBER: {
        const qa_c_locale before = qa_c_locale_enter();
        (void)snprintf(text, bytes, "%g", *(const double *)at);
        qa_c_locale_leave(before);
        return !isnan(*(const double *)at);
    }
    case QA_OPTION_CHOICE:
        memcpy(&index, at, sizeof index);
        string = qa_choice_name(option->choices, index);
        break;
    case QA_OPTION_WORD:
    case QA_OPTION_STRING: string = *(const char *const *)at; break;
    case QA_OPTION_LIST: return false;
    case QA_OPTION_OTHER: option->other->format(at, text, bytes); return text[0] != '\0';
    }
    if (string != NULL && string != text) {
        (void)snprintf(text, bytes, "%s", string);
    }
    return string != NULL;
}

bool qa_option_default_text(const qa_option *option, char *text, size_t bytes) {
    const char *standard = option->standard != NULL ? option->standard : option->type == QA_OPTION_SIZE ? "0" : NULL;
    const bool by_recipe = option->published != NULL && strcmp(option->published, standard) != 0;
    const char *mark = option->note == NULL ? NULL : strchr(option->note, '%');
    if (option->note != NULL && mark == NULL) {
        (void)snprintf(text, bytes, "%s", option->note);
    } else if (mark != NULL) {
        (void)snprintf(text, bytes, "%.*s%s%s", (int)(mark - option->note), option->note, standard, mark + 1);
    } else if (by_recipe) {
        (void)snprintf(text, bytes, "of the recipe: theory %s, published %s", standard, option->published);
    } else if (option->published != NULL) {
        (void)snprintf(text, bytes, "of the recipe: %s", standard);
    } else if (option->type == QA_OPTION_FLAG) {
        (void)snprintf(text, bytes, "on");
        return standard != NULL && strcmp(standard, "true") == 0;
    } else {
        (void)snprintf(text, bytes, "%s", standard != NULL ? standard : "");
    }
    return text[0] != '\0';
}

/* ---- tables ---- */

/* The texts of a table are its writer's, and tests set them all. */
static void set_known(const qa_option *option, void *options, const char *text) {
    qa_error ignored;
    (void)!qa_option_set(option, options, text, &ignored);
}

void qa_options_default(const qa_option_table *table, void *options) {
    for (size_t i = 0; i < table->n; i++) {
        if (table->rows[i].standard != NULL) {
            set_known(&table->rows[i], options, table->rows[i].standard);
        }
    }
}

void qa_options_recipe(const qa_option_table *table, void *options, bool published) {
    for (size_t i = 0; i < table->n; i++) {
        const qa_option *row = &table->rows[i];
        if (row->published != NULL) {
            set_known(row, options, published ? row->published : row->standard);
        }
    }
}

/* Sizes without a default are not given when they are 0. */
static bool is_good(const qa_option *row, const void *at) {
    unsigned index = 0;
    size_t size = 0;
    switch (row->type) {
    case QA_OPTION_SIZE:
        memcpy(&size, at, sizeof size);
        return (size == 0 && row->standard == NULL) || is_in_range(row->range, (double)size);
    case QA_OPTION_NUMBER: return isfinite(*(const double *)at) && is_in_range(row->range, *(const double *)at);
    case QA_OPTION_CHOICE:
        memcpy(&index, at, sizeof index);
        return strcmp(qa_choice_name(row->choices, index), "unknown") != 0;
    case QA_OPTION_FLAG:
    case QA_OPTION_SIZE_OR_ALL:
    case QA_OPTION_SEED:
    case QA_OPTION_WORD:
    case QA_OPTION_STRING:
    case QA_OPTION_LIST:
    case QA_OPTION_OTHER: break;
    }
    return true;
}

/* Whether a value of a type of its own is one that can be written and read. */
static qa_status check_other(const qa_option *row, const void *at, qa_error *err) {
    max_align_t scratch[32];
    char key[QA_OPTION_KEY_BYTES], text[QA_OPTION_TEXT_BYTES];
    row->other->format(at, text, sizeof text);
    const qa_status status = row->other->parse(scratch, text, err);
    qa_error_prefix(status == QA_OK ? NULL : err, "%s: ", qa_option_key(row, key));
    return status;
}

qa_status qa_options_check(const qa_option_table *table, const void *options, qa_error *err) {
    for (size_t i = 0; i < table->n; i++) {
        const qa_option *row = &table->rows[i];
        char key[QA_OPTION_KEY_BYTES], text[QA_OPTION_TEXT_BYTES], choices[QA_OPTION_TEXT_BYTES];
        if (row->type == QA_OPTION_OTHER) {
            QA_TRY(check_other(row, (const char *)options + row->offset, err));
        }
        if (is_good(row, (const char *)options + row->offset)) {
            continue;
        }
        (void)(qa_option_text(row, options, text, sizeof text) || snprintf(text, sizeof text, "nan") > 0);
        QA_FAIL_IF(row->type == QA_OPTION_CHOICE, err, QA_ERR_ARGUMENT, "%s: unknown; expected one of %s",
                   qa_option_key(row, key), qa_option_argument(row, choices, sizeof choices));
        return qa_fail(err, QA_ERR_ARGUMENT, "%s = %s: expected a %s number%s", qa_option_key(row, key), text,
                       row->type == QA_OPTION_SIZE ? "whole" : "finite", range_text(row->range));
    }
    return QA_OK;
}
