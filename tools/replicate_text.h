/* Text that grows, and cells of tables. */
#ifndef REPLICATE_TEXT_H
#define REPLICATE_TEXT_H

#include "replicate_select.h"

/* ---- text ---- */

static void put(qa_text *text, const char *format, ...) QA_PRINTF(2, 3);

static void put(qa_text *text, const char *format, ...) {
    char line[1024];
    qa_error err = {0};
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    check(n < 0 || (size_t)n >= sizeof line ? qa_fail(&err, QA_ERR_LIMIT, "a line is too long")
                                            : qa_text_append(text, line, (size_t)n, &err),
          &err);
}

static void put_heading(qa_text *text, const char *first, const char *const *columns, size_t n) {
    put(text, "| %s |", first);
    for (size_t i = 0; i < n; i++) {
        put(text, " %s |", columns[i]);
    }
    put(text, "\n| --- |");
    for (size_t i = 0; i < n; i++) {
        put(text, " ---: |");
    }
    put(text, "\n");
}

/* How a metric is printed: a share in percent, or a number with so many digits. */
static int digits_of(metric what) {
    switch (what) {
    case KL_OPTIMUM:
    case KL_TOKEN:
    case PERPLEXITY: return 3;
    case REWARD:
    case KL_ANSWER: return 2;
    default: return 1;
    }
}

static double scale_of(metric what) {
    return what == KL_OPTIMUM || what == KL_TOKEN || what == PERPLEXITY || what == REWARD || what == KL_ANSWER ? 1.0
                                                                                                               : 100.0;
}

/* A zero never gets a sign. */
static double rounded(double x, int digits) {
    const double ten = pow(10.0, digits);
    return round(x * ten) / ten + 0.0;
}

static void put_cell(qa_text *text, statistic s, metric what, bool with_sign) {
    const int digits = digits_of(what);
    const double scale = scale_of(what);
    if (s.n == 0) {
        put(text, " – |");
        return;
    }
    put(text, with_sign ? " %+.*f" : " %.*f", digits, rounded(s.mean * scale, digits));
    if (s.n > 1) {
        put(text, " ± %.*f", digits, s.deviation * scale);
    }
    put(text, " |");
}

static const char *title_of(const results *all, const char *method) {
    for (size_t i = 0; i < all->n_methods; i++) {
        if (strcmp(all->method[i][0], method) == 0) {
            return all->method[i][1];
        }
    }
    return method;
}

#endif
