/* See arguments.h. */
#include "support/arguments.h"

#include "base/try.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static qa_status read_size(size_t *value, const argument *which, const char *text, qa_error *err) {
    char *end = NULL;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    QA_FAIL_IF(text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > SIZE_MAX, err, QA_ERR_ARGUMENT,
               "%s takes a whole number, not \"%s\"", which->name, text);
    *value = (size_t)number;
    QA_FAIL_IF((double)number < which->least || (which->most > 0.0 && (double)number > which->most), err,
               QA_ERR_ARGUMENT, "%s takes %.0f to %.0f, not %s", which->name, which->least, which->most, text);
    return QA_OK;
}

static qa_status read_number(double *value, const argument *which, const char *text, qa_error *err) {
    char *end = NULL;
    *value = strtod(text, &end);
    const bool number = end != text && *end == '\0' && isfinite(*value);
    QA_FAIL_IF(which->most > 0.0 && (!number || *value < which->least || *value > which->most), err, QA_ERR_ARGUMENT,
               "%s takes a number from %g to %g, not \"%s\"", which->name, which->least, which->most, text);
    return number && (which->most > 0.0 || *value > 0.0)
               ? QA_OK
               : qa_fail(err, QA_ERR_ARGUMENT, "%s takes a number above 0, not \"%s\"", which->name, text);
}

static qa_status read_value(void *field, const argument *which, const char *text, qa_error *err) {
    argument_list *list = field;
    switch (which->kind) {
    case ARGUMENT_SIZE: return read_size(field, which, text, err);
    case ARGUMENT_NUMBER: return read_number(field, which, text, err);
    case ARGUMENT_TEXT:
        *(const char **)field = text;
        return text[0] != '\0' ? QA_OK : qa_fail(err, QA_ERR_ARGUMENT, "%s needs a value, not empty", which->name);
    case ARGUMENT_LIST:
        QA_FAIL_IF(text[0] == '\0' || list->n == sizeof list->items / sizeof list->items[0], err, QA_ERR_ARGUMENT,
                   "%s needs a value, not empty, and may stand %zu times", which->name,
                   sizeof list->items / sizeof list->items[0]);
        list->items[list->n++] = text;
        break;
    case ARGUMENT_FLAG: break;
    }
    return QA_OK;
}

static const argument *find(const argument *table, const char *word) {
    const argument *which = table;
    while (which->name != NULL && strcmp(which->name, word[0] == '-' ? word : "") != 0) {
        which++;
    }
    return which->name == NULL ? NULL : which;
}

qa_status arguments_read(void *values, const argument *table, int from, int argc, char **argv, bool *help,
                         qa_error *err) {
    bool given[64] = {false};
    *help = false;
    for (int i = from; i < argc; i++) {
        *help = *help || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    }
    for (int i = from; i < argc && !*help; i++) {
        const argument *which = find(table, argv[i]);
        QA_FAIL_IF(which == NULL || (which->name[0] == '\0' && given[which - table]), err, QA_ERR_ARGUMENT,
                   "unknown option \"%s\"; --help lists them", argv[i]);
        given[which - table] = true;
        void *field = (char *)values + which->offset;
        if (which->kind == ARGUMENT_FLAG) {
            *(bool *)field = true;
            continue;
        }
        i += which->name[0] == '\0' ? 0 : 1;
        QA_FAIL_IF(i == argc, err, QA_ERR_ARGUMENT, "%s is unknown or needs a value; --help lists the options",
                   which->name);
        QA_TRY(read_value(field, which, argv[i], err));
    }
    for (const argument *which = table; !*help && which->name != NULL; which++) {
        QA_FAIL_IF(which->required && !given[which - table], err, QA_ERR_ARGUMENT,
                   "%s%s%s is missing; --help lists the options", which->name, which->name[0] == '\0' ? "" : " ",
                   which->value);
    }
    return QA_OK;
}

void arguments_print(const argument *table) {
    for (const argument *which = table; which->name != NULL; which++) {
        printf("  %-20s %-13s %s\n", which->name, which->value, which->help);
    }
}

int tool_exit(const char *tool, qa_status status, const qa_error *err) {
    if (status != QA_OK) {
        fprintf(stderr, "%s: %s\n", tool, err->message);
    }
    return status == QA_OK ? EXIT_SUCCESS : status == QA_ERR_ARGUMENT ? 2 : EXIT_FAILURE;
}
