/* See template_filters.h: one row a filter. */
#include "text/template_filters.h"

#include "base/c_locale.h"
#include "text/template_format.h"
#include "text/template_json.h"
#include "text/template_lex.h"
#include "text/template_operators.h"
#include "text/template_strings.h"
#include "text/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- strings ---- */

/* soft_str: a string stays as it is. */
static const qa_tv_string *as_text(qa_tv_run *run, qa_tv value) { return qa_tv_str(run, value).as.string; }

/* A filter that keeps the mark of |safe. */
static qa_tv kept_mark(qa_tv_run *run, qa_tv self, qa_tv result) {
    return self.kind == QA_TV_STRING && self.as.string->markup ? qa_tv_marked(run, result, true) : result;
}

QA_TV_BODY(filter_string) { return qa_tv_str(run, self); }
QA_TV_BODY(filter_safe) { return qa_tv_marked(run, qa_tv_str(run, self), true); }
QA_TV_BODY(filter_lower) { return kept_mark(run, self, qa_tv_cased(run, as_text(run, self), QA_TV_LOWER)); }
QA_TV_BODY(filter_upper) { return kept_mark(run, self, qa_tv_cased(run, as_text(run, self), QA_TV_UPPER)); }
QA_TV_BODY(filter_capitalize) { return kept_mark(run, self, qa_tv_cased(run, as_text(run, self), QA_TV_CAPITAL)); }

QA_TV_BODY(filter_escape) {
    const qa_tv_string *text = as_text(run, self);
    return text->markup ? self : qa_tv_escaped(run, text);
}

QA_TV_BODY(filter_trim) {
    const bool white = !qa_tv_given(&args[0]) || args[0].kind == QA_TV_NONE;
    const qa_tv_string *set = white ? NULL : qa_tv_need_string(run, &args[0]);
    return kept_mark(run, self, qa_tv_stripped(run, as_text(run, self), set, true, true));
}

QA_TV_BODY(filter_replace) {
    const bool all = args[2].kind == QA_TV_NONE;
    return qa_tv_replaced(run, as_text(run, self), as_text(run, args[0]), as_text(run, args[1]),
                          all ? -1 : qa_tv_need_int(run, &args[2], -1));
}

/* Words begin behind white space and -({[<. */
QA_TV_BODY(filter_title) {
    const qa_tv_string *text = as_text(run, self);
    qa_tv_buffer out = {0};
    for (size_t at = 0; at < text->n;) {
        const size_t from = at;
        bool word = true;
        while (at < text->n && word) { /* a word, or one character between words */
            size_t next = at;
            const uint32_t code = qa_utf8_next(text->data, &next);
            word = !qa_template_is_space(code) && (code >= 128 || code == 0 || strchr("-({[<", (int)code) == NULL);
            at = word || at == from ? next : at;
        }
        size_t second = from;
        (void)qa_utf8_next(text->data, &second);
        const qa_tv_string first = {.data = text->data + from, .n = second - from};
        const qa_tv_string rest = {.data = text->data + second, .n = at - second};
        const qa_tv parts[] = {qa_tv_cased(run, &first, QA_TV_UPPER), qa_tv_cased(run, &rest, QA_TV_LOWER)};
        qa_tv_put_str(run, &out, &parts[0]);
        qa_tv_put_str(run, &out, &parts[1]);
    }
    return kept_mark(run, self, qa_tv_of_buffer(run, &out));
}

QA_TV_BODY(filter_indent) {
    const qa_tv_string *given = args[0].kind == QA_TV_STRING ? args[0].as.string : NULL;
    const int64_t width = given != NULL ? 0 : qa_tv_need_int(run, &args[0], 4);
    const qa_tv spaces = qa_tv_operate(run, '*', qa_tv_borrowed(run, " ", 1), qa_tv_int(width));
    const qa_tv_string *indent = given != NULL ? given : spaces.as.string;
    const qa_tv ended = qa_tv_operate(run, '+', self, qa_tv_borrowed(run, "\n", 1)); /* as Jinja2 does */
    const qa_tv_list *lines = qa_tv_lines(run, ended.as.string, false);
    qa_tv_buffer out = {0};
    for (size_t i = 0; i < lines->n; i++) {
        const qa_tv_string *line = lines->items[i].as.string;
        const bool indented = i == 0 ? qa_tv_true(&args[1]) : line->n > 0 || qa_tv_true(&args[2]);
        qa_tv_put(run, &out, "\n", i > 0);
        qa_tv_put(run, &out, indent->data, indented ? indent->n : 0);
        qa_tv_put(run, &out, line->data, line->n);
    }
    return kept_mark(run, self, qa_tv_of_buffer(run, &out));
}

QA_TV_BODY(filter_center) {
    const qa_tv text = qa_tv_str(run, self);
    const qa_tv width = qa_tv_int(qa_tv_need_int(run, &args[0], 80));
    const qa_tv method = qa_tv_attribute(run, text, &(qa_tv_string){.data = "center", .n = 6});
    return qa_tv_apply(run, method.as.function->row, text, &(qa_tv_call){.given = &width, .n = 1});
}

QA_TV_BODY(filter_format) {
    qa_tv value = {.kind = QA_TV_TUPLE, .as.list = qa_tv_new_list(run, call->n)};
    for (size_t i = 0; i < call->n; i++) {
        qa_tv_push(run, value.as.list, call->given[i]);
    }
    if (call->n > 0 && call->n_named > 0) {
        qa_tv_fail(run, "format takes values or names, not both");
    }
    if (call->n_named > 0) {
        value = (qa_tv){.kind = QA_TV_DICT, .as.dict = qa_tv_new_dict(run, call->n_named)};
    }
    for (size_t i = 0; i < call->n_named; i++) {
        qa_tv_dict_set(run, value.as.dict, call->names[i], call->named[i]);
    }
    return qa_tv_percent(run, as_text(run, self), value);
}

QA_TV_BODY(filter_wordcount) {
    const qa_tv_string *text = as_text(run, self);
    size_t words = 0;
    bool inside = false;
    qa_tv_spend(run, text->n);
    for (size_t at = 0; at < text->n;) {
        const uint32_t code = qa_utf8_next(text->data, &at);
        const bool word = qa_is_word(code) && code != 0x200C && code != 0x200D;
        words += word && !inside;
        inside = word;
    }
    return qa_tv_size(words);
}

QA_TV_BODY(filter_truncate) {
    const int64_t length = qa_tv_need_int(run, &args[0], 255), leeway = qa_tv_need_int(run, &args[3], 5);
    const qa_tv end = qa_tv_given(&args[2]) ? args[2] : qa_tv_borrowed(run, "...", 3);
    size_t n = 0;
    const int64_t end_n = (int64_t)qa_tv_chars(qa_tv_need_string(run, &end));
    if (!qa_tv_length(&self, &n) || length < end_n || leeway < 0) {
        qa_tv_fail(run, "truncate needs a str, and a length of at least its end's");
    }
    if ((int64_t)n <= length + leeway) {
        return self;
    }
    qa_tv part = qa_tv_slice(run, self, qa_tv_none(), qa_tv_int(length - end_n), qa_tv_none());
    if (!qa_tv_true(&args[1])) {
        const qa_tv space = qa_tv_borrowed(run, " ", 1);
        part = qa_tv_split(run, qa_tv_need_string(run, &part), space.as.string, 1, true)->items[0];
    }
    return qa_tv_operate(run, '+', part, end);
}

/* ---- values ---- */

QA_TV_BODY(filter_default) {
    const bool replaced = self.kind == QA_TV_UNDEFINED || (qa_tv_true(&args[1]) && !qa_tv_true(&self));
    return !replaced ? self : qa_tv_given(&args[0]) ? args[0] : qa_tv_borrowed(run, "", 0);
}

QA_TV_BODY(filter_length) {
    size_t n = 0;
    if (!qa_tv_length(&self, &n) && self.kind != QA_TV_LOOP) {
        qa_tv_fail(run, "a %s has no length (of a generator, make a |list)", qa_tv_type(&self));
    }
    return self.kind == QA_TV_LOOP ? qa_tv_attribute(run, self, &(qa_tv_string){.data = "length", .n = 6})
                                   : qa_tv_size(n);
}

QA_TV_BODY(filter_attr) {
    const qa_tv_string *name = qa_tv_need_string(run, &args[0]);
    if (self.kind == QA_TV_DICT) {
        return qa_tv_attribute(run, (qa_tv){.kind = QA_TV_DICT, .as.dict = qa_tv_new_dict(run, 0)}, name); /* no keys */
    }
    return qa_tv_attribute(run, self, name);
}

static const qa_tv_string *separator_of(qa_tv_run *run, const qa_tv *given, size_t i, const char *missing) {
    if (given->kind == QA_TV_NONE || !qa_tv_given(given)) {
        return qa_tv_borrowed(run, missing, strlen(missing)).as.string;
    }
    if ((given->kind != QA_TV_LIST && given->kind != QA_TV_TUPLE) || given->as.list->n != 2) {
        qa_tv_fail(run, "tojson: separators are a pair of str");
    }
    return qa_tv_need_string(run, &given->as.list->items[i]);
}

QA_TV_BODY(filter_tojson) {
    const qa_tv *indent = &args[1];
    qa_tv_json_options options = {.ascii = qa_tv_true(&args[0]), .sorted = qa_tv_true(&args[3])};
    if (indent->kind == QA_TV_STRING) {
        options.indent = indent->as.string;
    } else if (qa_tv_given(indent) && indent->kind != QA_TV_NONE) {
        const qa_tv width = qa_tv_int(qa_tv_need_int(run, indent, 0));
        options.indent = qa_tv_operate(run, '*', qa_tv_borrowed(run, " ", 1), width).as.string;
    }
    options.between_items = separator_of(run, &args[2], 0, options.indent != NULL ? "," : ", ");
    options.behind_key = separator_of(run, &args[2], 1, ": ");
    return qa_tv_to_json(run, &self, &options);
}

/* ---- numbers ---- */

/* Python's int() and float() of a text: white space around it, underscores between digits. False: it is no number. */
static bool read_real(qa_tv_run *run, const qa_tv_string *text, double *real) {
    char digits[128];
    size_t n = 0;
    const qa_tv_string *plain = qa_tv_stripped(run, text, NULL, true, true).as.string;
    for (size_t i = 0; i < plain->n; i++) {
        const char c = plain->data[i];
        const bool between = i > 0 && i + 1 < plain->n && plain->data[i - 1] >= '0' && plain->data[i - 1] <= '9' &&
                             plain->data[i + 1] >= '0' && plain->data[i + 1] <= '9';
        if (c == '_' && between) {
            continue;
        }
        if (n + 1 == sizeof digits || c == '\0' || strchr("0123456789+-.eEinfatyINFATY", c) == NULL) {
            return false;
        }
        digits[n++] = c;
    }
    digits[n] = '\0';
    char *end = digits;
    const qa_c_locale before = qa_c_locale_enter();
    *real = strtod(digits, &end);
    qa_c_locale_leave(before);
    return n > 0 && *end == '\0';
}

/* int(text, base); false: it is none. */
static bool read_integer(qa_tv_run *run, const qa_tv_string *text, int64_t base, int64_t *integer) {
    char digits[80];
    size_t n = 0;
    const qa_tv_string *plain = qa_tv_stripped(run, text, NULL, true, true).as.string;
    if (base != 0 && (base < 2 || base > 36)) {
        return false;
    }
    for (size_t i = 0; i < plain->n; i++) {
        const char c = plain->data[i];
        if (c == '_' && i > 0 && i + 1 < plain->n && plain->data[i - 1] != '_' && plain->data[i + 1] != '_') {
            continue;
        }
        if (n + 1 == sizeof digits || !((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                                        (i == 0 && (c == '-' || c == '+')))) {
            return false;
        }
        digits[n++] = c;
    }
    digits[n] = '\0';
    char *start = digits + (digits[0] == '-' || digits[0] == '+'), *end = NULL;
    const char mark = (char)(start[0] == '0' ? start[1] | 0x20 : 0);
    const int64_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    const bool prefixed = marked != 0 && (base == 0 || base == marked);
    errno = 0;
    const long long value = strtoll(prefixed ? start + 2 : start, &end,
                                    (int)(prefixed    ? marked
                                          : base == 0 ? 10
                                                      : base));
    if (errno == ERANGE) {
        qa_tv_fail(run, "the integer %s does not fit 64 bits", digits);
    }
    *integer = digits[0] == '-' ? -value : value;
    return end > start && *end == '\0' && end[-1] != 'x';
}

static qa_tv truncated(qa_tv_run *run, double real) {
    if (!(fabs(real) < 9.2e18)) {
        qa_tv_fail(run, "a float that fits no integer of 64 bits");
    }
    return qa_tv_int((int64_t)real);
}

QA_TV_BODY(filter_int) {
    const qa_tv otherwise = qa_tv_given(&args[0]) ? args[0] : qa_tv_int(0);
    const int64_t base = qa_tv_need_int(run, &args[1], 10);
    int64_t integer = 0;
    double real = 0;
    if (self.kind == QA_TV_UNDEFINED) {
        (void)qa_tv_operate(run, '+', self, otherwise); /* fails */
    }
    if (self.kind == QA_TV_STRING && read_integer(run, self.as.string, base, &integer)) {
        return qa_tv_int(integer);
    }
    if (qa_tv_as_int(&self, &integer)) {
        return qa_tv_int(integer);
    }
    if (self.kind == QA_TV_STRING ? read_real(run, self.as.string, &real) : qa_tv_as_real(&self, &real)) {
        return isnan(real) || isinf(real) ? otherwise : truncated(run, real);
    }
    return otherwise;
}

QA_TV_BODY(filter_float) {
    double real = 0;
    if (self.kind == QA_TV_UNDEFINED) {
        (void)qa_tv_operate(run, '+', self, self); /* fails */
    }
    if (self.kind == QA_TV_STRING ? read_real(run, self.as.string, &real) : qa_tv_as_real(&self, &real)) {
        return qa_tv_float(real);
    }
    return qa_tv_given(&args[0]) ? args[0] : qa_tv_float(0);
}

QA_TV_BODY(filter_abs) {
    int64_t integer = 0;
    if (self.kind == QA_TV_FLOAT) {
        return qa_tv_float(fabs(self.as.real));
    }
    if (!qa_tv_as_int(&self, &integer)) {
        qa_tv_fail(run, "abs of %s", qa_tv_type(&self));
    }
    return integer < 0 ? qa_tv_negated(run, self, false) : qa_tv_int(integer);
}

/* Python's round(): to even, by the digits that the number prints with. */
static double rounded(double real, int64_t places) {
    char digits[400];
    if (places > 300 || fabs(real) > 1e300) {
        return real;
    }
    if (places < 0) {
        const double power = pow(10, (double)-places);
        return nearbyint(real / power) * power;
    }
    const qa_c_locale before = qa_c_locale_enter();
    (void)snprintf(digits, sizeof digits, "%.*f", (int)places, real);
    const double result = strtod(digits, NULL);
    qa_c_locale_leave(before);
    return result;
}

QA_TV_BODY(filter_round) {
    const int64_t places = qa_tv_need_int(run, &args[0], 0);
    const bool common = !qa_tv_given(&args[1]) || qa_tv_is_text(&args[1], "common");
    const bool up = qa_tv_is_text(&args[1], "ceil");
    double real = 0;
    int64_t integer = 0;
    if ((!common && !up && !qa_tv_is_text(&args[1], "floor")) || !qa_tv_as_real(&self, &real)) {
        qa_tv_fail(run, "round takes a number, and common, ceil or floor");
    }
    if (common && qa_tv_as_int(&self, &integer)) {
        return places >= 0 ? qa_tv_int(integer) : truncated(run, rounded(real, places));
    }
    if (common) {
        return qa_tv_float(rounded(real, places));
    }
    const double power = pow(10, (double)places);
    return qa_tv_float((up ? ceil(real * power) : floor(real * power)) / power);
}

/* ---- the table ---- */

static const qa_tv_row FILTERS[] = {
    {"abs", filter_abs, "/"},
    {"attr", filter_attr, "name"},
    {"capitalize", filter_capitalize, ""},
    {"center", filter_center, "width?"},
    {"count", filter_length, "/"},
    {"d", filter_default, "default_value? boolean?"},
    {"default", filter_default, "default_value? boolean?"},
    {"e", filter_escape, "/"},
    {"escape", filter_escape, "/"},
    {"filesizeformat", NULL, ""},
    {"float", filter_float, "default?"},
    {"forceescape", NULL, ""},
    {"format", filter_format, NULL},
    {"indent", filter_indent, "width? first? blank?"},
    {"int", filter_int, "default? base?"},
    {"length", filter_length, "/"},
    {"lower", filter_lower, ""},
    {"pprint", NULL, ""},
    {"random", NULL, ""},
    {"replace", filter_replace, "old new count?"},
    {"round", filter_round, "precision? method?"},
    {"safe", filter_safe, ""},
    {"string", filter_string, "/"},
    {"striptags", NULL, ""},
    {"title", filter_title, ""},
    {"tojson", filter_tojson, "ensure_ascii? indent? separators? sort_keys?"},
    {"trim", filter_trim, "chars?"},
    {"truncate", filter_truncate, "length? killwords? end? leeway?"},
    {"upper", filter_upper, ""},
    {"urlencode", NULL, ""},
    {"urlize", NULL, ""},
    {"wordcount", filter_wordcount, ""},
    {"wordwrap", NULL, ""},
    {"xmlattr", NULL, ""},
};

const qa_tv_row *qa_template_plain_filter(const char *name, size_t bytes) {
    return QA_TV_FIND_ROW(FILTERS, name, bytes);
}
