/* See weights.h. */
#include "cli/weights.h"

#include "base/memory.h"
#include "base/try.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool parse_weight(const char *text, double *weight) {
    static const qa_option number = {.type = QA_OPTION_NUMBER};
    qa_error why = {0};
    return qa_option_set(&number, weight, text, &why) == QA_OK;
}

/* *weight stays NaN where the item has none. A name that is none, with a weight, is left to who reads it. */
static qa_status take_weight(cli_run *run, const char *option, const char **item, double *weight, cli_is_name *is_name,
                             const void *of, qa_error *err) {
    const char *colon = strrchr(*item, ':');
    char *name = NULL;
    qa_option_list *texts = &run->options.config_texts;
    if (colon == NULL || is_name(of, *item)) {
        return QA_OK;
    }
    name = strndup(*item, (size_t)(colon - *item));
    if (name == NULL || QA_GROW(texts->items, texts->capacity, texts->n + 1, err, "a name") != QA_OK) {
        free(name);
        return QA_NO_MEMORY(err, "a name");
    }
    texts->items[texts->n++] = name;
    const bool parsed = parse_weight(colon + 1, weight);
    if (!parsed && is_name(of, name)) {
        return cli_bad_usage(run, err, "--%s %s: a weight is a finite number, as in %s:0.5, found \"%s\"", option,
                             *item, name, colon + 1);
    }
    *item = parsed ? name : *item;
    return QA_OK;
}

static qa_status check_weights(cli_run *run, const char *option, const qa_option_list *list, const double *weights,
                               cli_is_name *is_name, const void *of, qa_error *err) {
    for (size_t i = 0; i < list->n; i++) {
        const char *item = list->items[i], *colon = strrchr(item, ':');
        if (item[0] == '\0') {
            return cli_bad_usage(run, err, "--%s :%g: a weight, and nothing in front of it that it is of", option,
                                 weights[i]);
        }
        if (isnan(weights[i]) && colon != NULL && !is_name(of, item)) {
            return cli_bad_usage(run, err,
                                 "--%s %s: nothing is called so, and \"%s\" is no weight, which is a finite number, "
                                 "as in NAME:0.5",
                                 option, item, colon + 1);
        }
        if (isnan(weights[i])) {
            return cli_bad_usage(run, err, "--%s %s has no weight, and others have one: write %s:1", option, item,
                                 item);
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(list->items[i], list->items[j]) == 0) {
                return cli_bad_usage(run, err, "--%s %s is there twice, with weights %g and %g: give it once, with %g",
                                     option, list->items[i], weights[j], weights[i], weights[j] + weights[i]);
            }
        }
    }
    return QA_OK;
}

qa_status cli_take_weights(cli_run *run, const char *option, qa_option_list *list, double **weights,
                           cli_is_name *is_name, const void *of, qa_error *err) {
    size_t weighted = 0;
    double *found = NULL;
    qa_status status = QA_OK;
    *weights = NULL;
    QA_TRY(QA_NEW(found, list->n, err, "%zu weights", list->n));
    for (size_t i = 0; i < list->n; i++) {
        found[i] = (double)NAN;
        QA_GOTO(done, take_weight(run, option, &list->items[i], &found[i], is_name, of, err));
        weighted += isnan(found[i]) ? 0 : 1;
    }
    QA_GOTO(done, weighted == 0 ? QA_OK : check_weights(run, option, list, found, is_name, of, err));
    if (weighted > 0) {
        *weights = found;
        return QA_OK;
    }
done:
    free(found);
    return status;
}
