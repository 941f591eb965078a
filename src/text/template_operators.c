/* See template_operators.h. */
#include "text/template_operators.h"

#include "text/template_format.h"
#include "text/template_lex.h"
#include "text/template_loop.h"
#include "text/template_methods.h"
#include "text/template_strings.h"
#include "text/utf8.h"

#include <math.h>

enum { MOST_IN_RANGE = 100000 };

/* ---- numbers ---- */

_Noreturn static void overflowed(qa_tv_run *run) {
    qa_tv_fail(run, "an integer does not fit 64 bits (Python's would grow): this is not supported");
}

_Noreturn static void cannot_operate(qa_tv_run *run, const char *name, const qa_tv *a, const qa_tv *b) {
    qa_tv_fail(run, "'%s' is not supported between %s and %s", name, qa_tv_type(a), qa_tv_type(b));
}

static const char *name_of_operator(int operator_) {
    switch (operator_) {
    case '+': return "+";
    case '-': return "-";
    case '*': return "*";
    case '/': return "/";
    case '%': return "%";
    case QA_TOKEN_FLOOR: return "//";
    case '<': return "<";
    case '>': return ">";
    case QA_TOKEN_AT_MOST: return "<=";
    case QA_TOKEN_AT_LEAST: return ">=";
    default: return "**";
    }
}

/* Python's // and % go with the divisor's sign. */
static int64_t floor_divided(int64_t a, int64_t b, int64_t *rest) {
    int64_t quotient = a / b;
    *rest = a % b;
    if (*rest != 0 && (*rest < 0) != (b < 0)) {
        quotient -= 1;
        *rest += b;
    }
    return quotient;
}

static qa_tv int_power(qa_tv_run *run, int64_t base, int64_t exponent) {
    int64_t power = 1;
    if (exponent < 0) {
        if (base == 0) {
            qa_tv_fail(run, "0 to a negative power");
        }
        return qa_tv_float(pow((double)base, (double)exponent));
    }
    while (exponent > 0) {
        if ((exponent & 1) != 0 && __builtin_mul_overflow(power, base, &power)) {
            overflowed(run);
        }
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
            overflowed(run);
        }
    }
    return qa_tv_int(power);
}

/* Rounded once where both are doubles exactly. */
static double divided(int64_t a, int64_t b) {
    const int64_t most = (int64_t)1 << 53;
    const bool exact = a >= -most && a <= most && b >= -most && b <= most;
    return exact ? (double)a / (double)b : (double)((long double)a / (long double)b);
}

static qa_tv operate_ints(qa_tv_run *run, int operator_, int64_t a, int64_t b) {
    int64_t result = 0, rest = 0;
    if ((operator_ == '/' || operator_ == QA_TOKEN_FLOOR || operator_ == '%') && b == 0) {
        qa_tv_fail(run, "division by zero");
    }
    if ((operator_ == QA_TOKEN_FLOOR || operator_ == '%') && b == -1) { /* INT64_MIN // -1 */
        return operator_ == '%' ? qa_tv_int(0) : operate_ints(run, '-', 0, a);
    }
    bool fits = true;
    switch (operator_) {
    case '+': fits = !__builtin_add_overflow(a, b, &result); break;
    case '-': fits = !__builtin_sub_overflow(a, b, &result); break;
    case '*': fits = !__builtin_mul_overflow(a, b, &result); break;
    case '/': return qa_tv_float(divided(a, b));
    case QA_TOKEN_FLOOR: result = floor_divided(a, b, &rest); break;
    case '%': (void)floor_divided(a, b, &result); break;
    default: return int_power(run, a, b);
    }
    if (!fits) {
        overflowed(run);
    }
    return qa_tv_int(result);
}

static double float_modulo(double a, double b) {
    double rest = fmod(a, b);
    if (rest != 0 && (rest < 0) != (b < 0)) {
        return rest + b;
    }
    return rest == 0 ? copysign(0, b) : rest;
}

static double float_floor_divided(double a, double b) {
    const double quotient = (a - float_modulo(a, b)) / b;
    const double floored = floor(quotient);
    if (quotient == 0) {
        return copysign(0, a / b);
    }
    return quotient - floored > 0.5 ? floored + 1 : floored;
}

static qa_tv operate_floats(qa_tv_run *run, int operator_, double a, double b) {
    if ((operator_ == '/' || operator_ == QA_TOKEN_FLOOR || operator_ == '%') && b == 0) {
        qa_tv_fail(run, "division by zero");
    }
    double result = 0;
    switch (operator_) {
    case '+': return qa_tv_float(a + b);
    case '-': return qa_tv_float(a - b);
    case '*': return qa_tv_float(a * b);
    case '/': return qa_tv_float(a / b);
    case QA_TOKEN_FLOOR: return qa_tv_float(float_floor_divided(a, b));
    case '%': return qa_tv_float(float_modulo(a, b));
    default: result = pow(a, b); break;
    }
    if ((isinf(result) && isfinite(a) && isfinite(b)) || (isnan(result) && !isnan(a) && !isnan(b))) {
        qa_tv_fail(run, "a power that is no finite number");
    }
    return qa_tv_float(result);
}

/* ---- sequences ---- */

static bool is_sequence(const qa_tv *value) {
    return value->kind == QA_TV_STRING || value->kind == QA_TV_LIST || value->kind == QA_TV_TUPLE;
}

static qa_tv joined_lists(qa_tv_run *run, qa_tv a, qa_tv b) {
    qa_tv_list *list = qa_tv_new_list(run, a.as.list->n + b.as.list->n);
    for (size_t i = 0; i < a.as.list->n; i++) {
        qa_tv_push(run, list, a.as.list->items[i]);
    }
    for (size_t i = 0; i < b.as.list->n; i++) {
        qa_tv_push(run, list, b.as.list->items[i]);
    }
    qa_tv_spend(run, 4 * list->n);
    return (qa_tv){.kind = a.kind, .as.list = list};
}

static qa_tv joined_strings(qa_tv_run *run, qa_tv a, qa_tv b) {
    const bool markup = a.as.string->markup || b.as.string->markup;
    if (markup) {
        a = a.as.string->markup ? a : qa_tv_escaped(run, a.as.string);
        b = b.as.string->markup ? b : qa_tv_escaped(run, b.as.string);
    }
    const qa_tv joined = qa_tv_joined(run, a.as.string->data, a.as.string->n, b.as.string->data, b.as.string->n);
    return markup ? qa_tv_marked(run, joined, true) : joined;
}

static qa_tv repeated(qa_tv_run *run, qa_tv value, int64_t times) {
    const size_t n = value.kind == QA_TV_STRING ? value.as.string->n : value.as.list->n;
    const size_t all = times <= 0 ? 0 : (size_t)times;
    size_t total = 0;
    if (__builtin_mul_overflow(n, all, &total) || total > run->heap.limit) {
        qa_tv_fail(run, "a %s is repeated %zu times: more memory than a rendering may take", qa_tv_type(&value), all);
    }
    if (value.kind == QA_TV_STRING) {
        char *data = qa_heap_bytes(&run->heap, total);
        qa_tv_spend(run, total);
        for (size_t at = 0; at < total; at += n) {
            memcpy(data + at, value.as.string->data, n);
        }
        return qa_tv_marked(run, qa_tv_borrowed(run, data, total), value.as.string->markup);
    }
    qa_tv_list *list = qa_tv_new_list(run, total);
    qa_tv_spend(run, 4 * total);
    for (size_t i = 0; i < total; i++) {
        qa_tv_push(run, list, value.as.list->items[i % n]);
    }
    return (qa_tv){.kind = value.kind, .as.list = list};
}

qa_tv qa_tv_operate(qa_tv_run *run, int operator_, qa_tv a, qa_tv b) {
    int64_t i = 0, j = 0;
    double x = 0, y = 0;
    qa_tv_spend(run, 0);
    if (qa_tv_as_int(&a, &i) && qa_tv_as_int(&b, &j)) {
        return operate_ints(run, operator_, i, j);
    }
    if (qa_tv_as_real(&a, &x) && qa_tv_as_real(&b, &y)) {
        return operate_floats(run, operator_, x, y);
    }
    if (operator_ == '+' && a.kind == QA_TV_STRING && b.kind == QA_TV_STRING) {
        return joined_strings(run, a, b);
    }
    if (operator_ == '+' && a.kind == b.kind && is_sequence(&a)) {
        return joined_lists(run, a, b);
    }
    if (operator_ == '*' && is_sequence(&a) && qa_tv_as_int(&b, &j)) {
        return repeated(run, a, j);
    }
    if (operator_ == '*' && is_sequence(&b) && qa_tv_as_int(&a, &i)) {
        return repeated(run, b, i);
    }
    if (operator_ == '%' && a.kind == QA_TV_STRING) {
        return qa_tv_percent(run, a.as.string, b);
    }
    cannot_operate(run, name_of_operator(operator_), &a, &b);
}

qa_tv qa_tv_negated(qa_tv_run *run, qa_tv a, bool plus) {
    int64_t integer = 0;
    if (a.kind == QA_TV_FLOAT) {
        return plus ? a : qa_tv_float(-a.as.real);
    }
    if (!qa_tv_as_int(&a, &integer)) {
        qa_tv_fail(run, "a sign in front of %s", qa_tv_type(&a));
    }
    return plus ? qa_tv_int(integer) : operate_ints(run, '-', 0, integer);
}

bool qa_tv_compare(qa_tv_run *run, int operator_, const qa_tv *a, const qa_tv *b) {
    bool unordered = false;
    int order = 0;
    switch (operator_) {
    case QA_TOKEN_EQUAL: return qa_tv_equal(run, a, b);
    case QA_TOKEN_UNEQUAL: return !qa_tv_equal(run, a, b);
    case QA_TOKEN_IN: return qa_tv_contains(run, b, a);
    case QA_TOKEN_NOT_IN: return !qa_tv_contains(run, b, a);
    default: order = qa_tv_order(run, a, b, name_of_operator(operator_), &unordered); break;
    }
    if (unordered) {
        return false;
    }
    return operator_ == '<'                ? order < 0
           : operator_ == '>'              ? order > 0
           : operator_ == QA_TOKEN_AT_MOST ? order <= 0
                                           : order >= 0;
}

/* ---- attributes and items ---- */

_Noreturn static void fail_undefined(qa_tv_run *run, const qa_tv *value) {
    const qa_tv_string *name = value->as.string;
    qa_tv_fail(run, "'%.*s' is undefined", (int)(name->n < 80 ? name->n : 80), name->data);
}

/* What only an attribute gives; QA_TV_MISSING: nothing. */
static qa_tv own_attribute(qa_tv_run *run, qa_tv value, const qa_tv_string *name) {
    const qa_tv *found = NULL;
    if (value.kind == QA_TV_NAMESPACE) {
        found = qa_tv_dict_get_text(run, value.as.dict, name->data, name->n);
        return found != NULL ? *found : (qa_tv){.kind = QA_TV_MISSING};
    }
    if (value.kind == QA_TV_LOOP) {
        return qa_tv_loop_attribute(run, value.as.loop, name);
    }
    if (value.kind == QA_TV_MACRO) {
        const qa_tv text = {.kind = QA_TV_STRING, .as.string = &(qa_tv_string){.data = name->data, .n = name->n}};
        if (qa_tv_is_text(&text, "name")) {
            return value.as.macro->name;
        }
        qa_tv_fail(run, "the attribute \"%.*s\" of a macro is not supported", (int)(name->n < 80 ? name->n : 80),
                   name->data);
    }
    if (value.kind == QA_TV_TUPLE && value.as.list->group) {
        const qa_tv text = {.kind = QA_TV_STRING, .as.string = &(qa_tv_string){.data = name->data, .n = name->n}};
        if (qa_tv_is_text(&text, "grouper") || qa_tv_is_text(&text, "list")) {
            return value.as.list->items[name->n == 4];
        }
    }
    return qa_tv_method(run, value, name->data, name->n);
}

qa_tv qa_tv_attribute(qa_tv_run *run, qa_tv value, const qa_tv_string *name) {
    if (value.kind == QA_TV_UNDEFINED) {
        fail_undefined(run, &value);
    }
    const qa_tv attribute = own_attribute(run, value, name);
    if (attribute.kind != QA_TV_MISSING) {
        return attribute;
    }
    const qa_tv *found = value.kind == QA_TV_DICT ? qa_tv_dict_get_text(run, value.as.dict, name->data, name->n) : NULL;
    return found != NULL ? *found : qa_tv_undefined(run, name->data, name->n);
}

/* The place of an index that may count from the end; false: outside. */
static bool place_in(size_t n, int64_t index, size_t *place) {
    index += index < 0 ? (int64_t)n : 0;
    *place = (size_t)index;
    return index >= 0 && index < (int64_t)n;
}

static qa_tv character_at(qa_tv_run *run, qa_tv_string *text, size_t place) {
    const size_t from = qa_tv_offset(run, text, place);
    size_t to = from;
    (void)qa_utf8_next(text->data, &to);
    return qa_tv_marked(run, qa_tv_part(run, text, from, to), text->markup);
}

/* value[index], or QA_TV_MISSING. */
static qa_tv indexed(qa_tv_run *run, qa_tv value, int64_t index) {
    size_t n = 0, place = 0;
    const bool counts = is_sequence(&value) || value.kind == QA_TV_RANGE;
    if (value.kind == QA_TV_STRING) {
        (void)qa_tv_offset(run, value.as.string, 0); /* counts once */
    }
    if (!counts || !qa_tv_length(&value, &n) || !place_in(n, index, &place)) {
        return (qa_tv){.kind = QA_TV_MISSING};
    }
    if (value.kind == QA_TV_RANGE) {
        return qa_tv_int(value.as.range->start + (int64_t)place * value.as.range->step);
    }
    return value.kind == QA_TV_STRING ? character_at(run, value.as.string, place) : value.as.list->items[place];
}

qa_tv qa_tv_item(qa_tv_run *run, qa_tv value, qa_tv key) {
    int64_t index = 0;
    qa_tv item = {.kind = QA_TV_MISSING};
    if (value.kind == QA_TV_UNDEFINED) {
        fail_undefined(run, &value);
    }
    if (value.kind == QA_TV_DICT && qa_tv_hashable(&key)) {
        const qa_tv *found = qa_tv_dict_get(run, value.as.dict, key);
        item = found != NULL ? *found : item;
    } else if (qa_tv_as_int(&key, &index)) {
        item = indexed(run, value, index);
    }
    if (item.kind == QA_TV_MISSING && key.kind == QA_TV_STRING) {
        item = own_attribute(run, value, key.as.string);
    }
    if (item.kind == QA_TV_MISSING) {
        return key.kind == QA_TV_STRING ? qa_tv_undefined(run, key.as.string->data, key.as.string->n)
                                        : qa_tv_undefined(run, "the item", 8);
    }
    return item;
}

/* ---- slices and ranges ---- */

/* A bound as Python clamps it: for steps forwards within 0..n, for steps backwards within -1..n-1. */
static int64_t slice_bound(qa_tv_run *run, const qa_tv *bound, int64_t missing, int64_t n, bool backwards) {
    int64_t at = 0;
    if (bound->kind == QA_TV_NONE) {
        return missing;
    }
    if (!qa_tv_as_int(bound, &at)) {
        qa_tv_fail(run, "a slice from or to a %s", qa_tv_type(bound));
    }
    at += at < 0 ? n : 0;
    const int64_t low = backwards ? -1 : 0, high = backwards ? n - 1 : n;
    return at < low ? low : at > high ? high : at;
}

static qa_tv sliced(qa_tv_run *run, qa_tv value, int64_t start, int64_t step, size_t n) {
    if (value.kind == QA_TV_STRING && step == 1) {
        const size_t from = qa_tv_offset(run, value.as.string, n == 0 ? 0 : (size_t)start);
        const size_t to = qa_tv_offset(run, value.as.string, n == 0 ? 0 : (size_t)start + n);
        return qa_tv_marked(run, qa_tv_part(run, value.as.string, from, to), value.as.string->markup);
    }
    qa_tv_buffer text = {0};
    qa_tv_list *list = value.kind == QA_TV_STRING ? qa_tv_listed(run, value) : value.as.list;
    qa_tv_list *part = qa_tv_new_list(run, n);
    for (size_t i = 0; i < n; i++) {
        const qa_tv item = list->items[start + (int64_t)i * step];
        if (value.kind == QA_TV_STRING) {
            qa_tv_put(run, &text, item.as.string->data, item.as.string->n);
        } else {
            qa_tv_push(run, part, item);
        }
    }
    qa_tv_spend(run, n);
    return value.kind == QA_TV_STRING ? qa_tv_of_buffer(run, &text) : (qa_tv){.kind = value.kind, .as.list = part};
}

/* A range of every stride-th value from place `from` up to place `to`. */
static qa_tv sliced_range(qa_tv_run *run, const qa_tv_range *range, int64_t from, int64_t to, int64_t stride) {
    int64_t step = 0;
    if (__builtin_mul_overflow(from, range->step, &from) || __builtin_add_overflow(range->start, from, &from) ||
        __builtin_mul_overflow(to, range->step, &to) || __builtin_add_overflow(range->start, to, &to) ||
        __builtin_mul_overflow(range->step, stride, &step)) {
        overflowed(run);
    }
    return qa_tv_make_range(run, from, to, step);
}

qa_tv qa_tv_slice(qa_tv_run *run, qa_tv value, qa_tv start, qa_tv stop, qa_tv step) {
    size_t n = 0;
    int64_t stride = 1;
    if (value.kind == QA_TV_UNDEFINED) {
        fail_undefined(run, &value);
    }
    if (!is_sequence(&value) && value.kind != QA_TV_RANGE) {
        qa_tv_fail(run, "a slice of a %s", qa_tv_type(&value));
    }
    if (step.kind != QA_TV_NONE && (!qa_tv_as_int(&step, &stride) || stride == 0)) {
        qa_tv_fail(run, "a slice with a step that is no integer, or zero");
    }
    (void)qa_tv_length(&value, &n);
    const int64_t all = (int64_t)n;
    const int64_t from = slice_bound(run, &start, stride < 0 ? all - 1 : 0, all, stride < 0);
    const int64_t to = slice_bound(run, &stop, stride < 0 ? -1 : all, all, stride < 0);
    if (value.kind == QA_TV_RANGE) {
        return sliced_range(run, value.as.range, from, to, stride);
    }
    const uint64_t width = stride < 0 ? (uint64_t)(from > to ? from - to : 0) : (uint64_t)(to > from ? to - from : 0);
    const uint64_t by = stride < 0 ? 0 - (uint64_t)stride : (uint64_t)stride;
    return sliced(run, value, from, width <= by ? 1 : stride, (size_t)(width / by + (width % by != 0)));
}

qa_tv qa_tv_make_range(qa_tv_run *run, int64_t start, int64_t stop, int64_t step) {
    if (step == 0) {
        qa_tv_fail(run, "range() with a step of zero");
    }
    const uint64_t width = step < 0 ? (start > stop ? (uint64_t)start - (uint64_t)stop : 0)
                                    : (stop > start ? (uint64_t)stop - (uint64_t)start : 0);
    const uint64_t by = step < 0 ? 0 - (uint64_t)step : (uint64_t)step;
    const uint64_t n = width / by + (width % by != 0);
    if (n > MOST_IN_RANGE) {
        qa_tv_fail(run, "range() of more than %d values", MOST_IN_RANGE);
    }
    qa_tv_range *range = QA_HEAP_NEW(&run->heap, qa_tv_range, 1);
    *range = (qa_tv_range){.start = start, .stop = stop, .step = step, .n = (size_t)n};
    return (qa_tv){.kind = QA_TV_RANGE, .as.range = range};
}
