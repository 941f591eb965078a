/* See template_format.h. */
#include "text/template_format.h"

#include "text/template_print.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { MOST_WIDTH = 10000, MOST_PRECISION = 60 };

/* How one value is written. */
typedef struct format_spec {
    char fill[QA_UTF8_MAX + 1];
    char align; /* '<', '>', '^', '=' or '\0' */
    char sign;  /* '+', ' ' or '\0' */
    bool alternate, zero;
    char group;           /* ',' or '_' between thousands */
    int width, precision; /* precision -1: none */
    char type;
} format_spec;

/* Characters of a format that is read. */
typedef struct format_reader {
    qa_tv_run *run;
    const char *at, *end;
} format_reader;

static char format_peek(const format_reader *reader) { return reader->at < reader->end ? *reader->at : '\0'; }

static bool format_skip(format_reader *reader, char c) {
    const bool there = c != '\0' && format_peek(reader) == c;
    reader->at += there;
    return there;
}

static int read_number(format_reader *reader, int missing, int most) {
    int number = 0;
    if (format_peek(reader) < '0' || format_peek(reader) > '9') {
        return missing;
    }
    while (format_peek(reader) >= '0' && format_peek(reader) <= '9') {
        number = number * 10 + (*reader->at++ - '0');
        if (number > most) {
            qa_tv_fail(reader->run, "a format with a width or precision beyond %d", most);
        }
    }
    return number;
}

/* ---- writing one value ---- */

/* sign and prefix, then the body, padded to the width. */
static void put_padded(qa_tv_run *run, qa_tv_buffer *out, const format_spec *spec, const char *sign,
                       const qa_tv_buffer *body, char align) {
    const size_t n = qa_tv_chars(&(qa_tv_string){.data = body->data, .n = body->n}) + strlen(sign);
    const size_t pad = spec->width > (int)n ? (size_t)spec->width - n : 0;
    const size_t left = align == '>' ? pad : align == '^' ? pad / 2 : 0, inside = align == '=' ? pad : 0;
    qa_tv_put_times(run, out, spec->fill, strlen(spec->fill), left);
    qa_tv_put_z(run, out, sign);
    qa_tv_put_times(run, out, spec->fill, strlen(spec->fill), inside);
    qa_tv_put(run, out, body->n > 0 ? body->data : "", body->n);
    qa_tv_put_times(run, out, spec->fill, strlen(spec->fill), pad - left - inside);
}

static void put_padded_text(qa_tv_run *run, qa_tv_buffer *out, const format_spec *spec, const qa_tv *value) {
    qa_tv_buffer text = {0};
    qa_tv_put_str(run, &text, value);
    for (size_t at = 0, n = 0; spec->precision >= 0 && at < text.n; n++) {
        if ((int)n == spec->precision) {
            text.n = at;
            break;
        }
        (void)qa_utf8_next(text.data, &at);
    }
    put_padded(run, out, spec, "", &text, spec->align == '\0' ? '<' : spec->align);
}

/* The digits of a whole number, three by three. */
static void group_digits(qa_tv_run *run, qa_tv_buffer *digits, char group) {
    qa_tv_buffer grouped = {0};
    size_t whole = 0;
    while (whole < digits->n && digits->data[whole] >= '0' && digits->data[whole] <= '9') {
        whole++;
    }
    for (size_t i = 0; group != '\0' && i < digits->n; i++) {
        if (i > 0 && i < whole && (whole - i) % 3 == 0) {
            qa_tv_put(run, &grouped, &group, 1);
        }
        qa_tv_put(run, &grouped, digits->data + i, 1);
    }
    *digits = group != '\0' ? grouped : *digits;
}

static void put_signed(qa_tv_run *run, qa_tv_buffer *out, const format_spec *spec, bool negative, const char *prefix,
                       qa_tv_buffer *digits) {
    char sign[8];
    const char shown[2] = {spec->sign, '\0'};
    (void)snprintf(sign, sizeof sign, "%s%s", negative ? "-" : shown, prefix);
    if (spec->group != '\0' && spec->zero) {
        qa_tv_fail(run, "a format with both zeros in front and marks between thousands is not supported");
    }
    group_digits(run, digits, spec->group);
    put_padded(run, out, spec, sign, digits, spec->align != '\0' ? spec->align : spec->zero ? '=' : '>');
}

static void put_float_as(qa_tv_run *run, qa_tv_buffer *out, const format_spec *spec, double real) {
    qa_tv_buffer digits = {0};
    char format[8];
    const char type = spec->type == '%' ? 'f' : spec->type;
    (void)snprintf(format, sizeof format, "%%.*%c", type == 'F' && isfinite(real) ? 'f' : type);
    if (fabs(real) > 1e300) {
        qa_tv_fail(run, "a number beyond 1e300 in a format is not supported");
    }
    qa_tv_put_number(run, &digits, format, spec->precision < 0 ? 6 : spec->precision,
                     fabs(spec->type == '%' ? real * 100 : real));
    qa_tv_put_z(run, &digits, spec->type == '%' ? "%" : "");
    put_signed(run, out, spec, signbit(real) && !isnan(real), "", &digits);
}

static void put_int_as(qa_tv_run *run, qa_tv_buffer *out, const format_spec *spec, int64_t integer) {
    const unsigned base = spec->type == 'x' || spec->type == 'X' ? 16
                          : spec->type == 'o'                    ? 8
                          : spec->type == 'b'                    ? 2
                                                                 : 10;
    const char *prefix = !spec->alternate || base == 10 ? ""
                         : base == 16                   ? (spec->type == 'X' ? "0X" : "0x")
                         : base == 8                    ? "0o"
                                                        : "0b";
    uint64_t rest = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
    char digits[72];
    size_t at = sizeof digits;
    do {
        digits[--at] = (spec->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[rest % base];
        rest /= base;
    } while (rest > 0);
    qa_tv_buffer body = {0};
    qa_tv_put(run, &body, digits + at, sizeof digits - at);
    put_signed(run, out, spec, integer < 0, prefix, &body);
}

static void put_formatted(qa_tv_run *run, qa_tv_buffer *out, const format_spec *spec, const qa_tv *value) {
    int64_t integer = 0;
    double real = 0;
    const bool plain = spec->type == '\0';
    if (value->kind == QA_TV_STRING && (plain || spec->type == 's')) {
        put_padded_text(run, out, spec, value);
    } else if (spec->type != '\0' && strchr("eEfFgG%", spec->type) != NULL && qa_tv_as_real(value, &real)) {
        put_float_as(run, out, spec, real);
    } else if (plain && value->kind == QA_TV_FLOAT && spec->precision < 0) {
        qa_tv_buffer digits = {0};
        qa_tv_put_float(run, &digits, fabs(value->as.real));
        put_signed(run, out, spec, signbit(value->as.real) && !isnan(value->as.real), "", &digits);
    } else if (qa_tv_as_int(value, &integer) && (plain || strchr("dnxXob", spec->type) != NULL) &&
               spec->precision < 0) {
        put_int_as(run, out, spec, integer);
    } else {
        qa_tv_fail(run, "a %s cannot be formatted as \"%c\", or this is not supported", qa_tv_type(value),
                   plain ? 's' : spec->type);
    }
}

/* ---- "%s" % value ---- */

/* The values that a "%" takes. */
typedef struct percent_values {
    qa_tv value;
    size_t taken;
    bool named;
} percent_values;

static qa_tv next_percent_value(format_reader *reader, percent_values *values) {
    const bool tuple = values->value.kind == QA_TV_TUPLE;
    if (values->taken == (tuple ? values->value.as.list->n : 1)) {
        qa_tv_fail(reader->run, "there are not enough arguments for the format string");
    }
    return tuple ? values->value.as.list->items[values->taken++] : (values->taken++, values->value);
}

static qa_tv named_percent_value(format_reader *reader, percent_values *values) {
    const char *from = reader->at;
    while (reader->at < reader->end && *reader->at != ')') {
        reader->at++;
    }
    const size_t n = (size_t)(reader->at - from);
    if (!format_skip(reader, ')') || values->value.kind != QA_TV_DICT) {
        qa_tv_fail(reader->run, "a format needs a dict for its names, and \")\" behind each");
    }
    const qa_tv *found = qa_tv_dict_get_text(reader->run, values->value.as.dict, from, n);
    if (found == NULL) {
        qa_tv_fail(reader->run, "the format's name \"%.*s\" is not in the dict", (int)(n < 80 ? n : 80), from);
    }
    values->named = true;
    return *found;
}

static int width_of_percent(format_reader *reader, percent_values *values, int missing, int most) {
    if (!format_skip(reader, '*')) {
        return read_number(reader, missing, most);
    }
    const qa_tv value = next_percent_value(reader, values);
    const int64_t width = qa_tv_need_int(reader->run, &value, missing);
    if (width < 0 || width > most) {
        qa_tv_fail(reader->run, "a format with a width or precision beyond %d", most);
    }
    return (int)width;
}

/* %d of a number, %c, %r, %s. */
static void put_percent_value(format_reader *reader, qa_tv_buffer *out, format_spec *spec, qa_tv value) {
    qa_tv_run *run = reader->run;
    double real = 0;
    if (spec->type == 'r' || spec->type == 's') {
        qa_tv_buffer text = {0};
        (spec->type == 'r' ? qa_tv_put_repr : qa_tv_put_str)(run, &text, &value);
        value = qa_tv_of_buffer(run, &text);
        spec->type = 's';
    } else if (spec->type == 'd' && value.kind == QA_TV_FLOAT) {
        real = trunc(value.as.real);
        if (!(fabs(real) < 9e18)) {
            qa_tv_fail(run, "a float that fits no integer of 64 bits");
        }
        value = qa_tv_int((int64_t)real);
    } else if (spec->type == 'c' && value.kind == QA_TV_STRING && qa_tv_chars(value.as.string) == 1) {
        spec->type = 's';
    }
    put_formatted(run, out, spec, &value);
}

static void put_percent(format_reader *reader, qa_tv_buffer *out, percent_values *values) {
    format_spec spec = {.fill = " ", .precision = -1, .align = '>'};
    const bool named = format_skip(reader, '(');
    const qa_tv by_name = named ? named_percent_value(reader, values) : qa_tv_none();
    for (char flag = format_peek(reader); flag != '\0' && strchr("-+ #0", flag) != NULL; flag = format_peek(reader)) {
        reader->at++;
        spec.align = flag == '-' ? '<' : spec.align;
        spec.sign = flag == '+' || (flag == ' ' && spec.sign == '\0') ? flag : spec.sign;
        spec.alternate = spec.alternate || flag == '#';
        spec.zero = spec.zero || flag == '0';
    }
    spec.width = width_of_percent(reader, values, 0, MOST_WIDTH);
    if (format_skip(reader, '.')) {
        spec.precision = width_of_percent(reader, values, 0, MOST_PRECISION);
    }
    spec.type = format_peek(reader);
    reader->at += reader->at < reader->end;
    spec.type = spec.type == 'i' || spec.type == 'u' ? 'd' : spec.type;
    if (spec.type == '%') {
        qa_tv_put_z(reader->run, out, "%");
        return;
    }
    if (spec.type == '\0' || strchr("doxXeEfFgGcrs", spec.type) == NULL) {
        qa_tv_fail(reader->run, "the format \"%%%c\" is not known", spec.type == '\0' ? ' ' : spec.type);
    }
    if (spec.zero && spec.align != '<' && spec.type != 's' && spec.type != 'r' && spec.type != 'c') {
        spec.align = '=';
        spec.fill[0] = '0';
    }
    put_percent_value(reader, out, &spec, named ? by_name : next_percent_value(reader, values));
}

qa_tv qa_tv_percent(qa_tv_run *run, const qa_tv_string *format, qa_tv value) {
    format_reader reader = {.run = run, .at = format->data, .end = format->data + format->n};
    percent_values values = {.value = value};
    qa_tv_buffer out = {0};
    while (reader.at < reader.end) {
        const char *mark = memchr(reader.at, '%', (size_t)(reader.end - reader.at));
        const char *plain = mark == NULL ? reader.end : mark;
        qa_tv_put(run, &out, reader.at, (size_t)(plain - reader.at));
        reader.at = plain;
        if (format_skip(&reader, '%')) {
            put_percent(&reader, &out, &values);
        }
    }
    const bool all = value.kind == QA_TV_TUPLE ? values.taken == value.as.list->n
                                               : values.taken == 1 || value.kind == QA_TV_DICT ||
                                                     value.kind == QA_TV_LIST || value.kind == QA_TV_UNDEFINED;
    if (!all && !values.named) {
        qa_tv_fail(run, "not all arguments are used by the format string");
    }
    return qa_tv_of_buffer(run, &out);
}

/* ---- "{}".format(value) ---- */

/* "[[fill]align][sign][#][0][width][,][.precision][type]" up to the "}". */
static format_spec read_spec(format_reader *reader) {
    format_spec spec = {.fill = " ", .precision = -1};
    size_t behind = 0;
    if (reader->at < reader->end) {
        (void)qa_utf8_next(reader->at, &behind);
    }
    const char second = behind > 0 && reader->at + behind < reader->end ? reader->at[behind] : '\0';
    if (second != '\0' && strchr("<>^=", second) != NULL) {
        memcpy(spec.fill, reader->at, behind);
        spec.fill[behind] = '\0';
        spec.align = second;
        reader->at += behind + 1;
    } else if (format_peek(reader) != '\0' && strchr("<>^=", format_peek(reader)) != NULL) {
        spec.align = *reader->at++;
    }
    if (format_peek(reader) == '+' || format_peek(reader) == '-' || format_peek(reader) == ' ') {
        spec.sign = *reader->at == '-' ? '\0' : *reader->at;
        reader->at++;
    }
    spec.alternate = format_skip(reader, '#');
    spec.zero = format_skip(reader, '0');
    if (spec.zero && spec.align == '\0') {
        spec.fill[0] = '0';
        spec.fill[1] = '\0';
    }
    spec.width = read_number(reader, 0, MOST_WIDTH);
    spec.group = format_skip(reader, ',') ? ',' : format_skip(reader, '_') ? '_' : '\0';
    spec.precision = format_skip(reader, '.') ? read_number(reader, 0, MOST_PRECISION) : -1;
    if (format_peek(reader) != '}' && format_peek(reader) != '\0') {
        spec.type = *reader->at++;
    }
    return spec;
}

/* name[n] as a number; -1: it is none. */
static int64_t field_number(const char *name, size_t n) {
    int64_t number = n == 0 || n > 6 ? -1 : 0;
    for (size_t i = 0; i < n && number >= 0; i++) {
        number = name[i] >= '0' && name[i] <= '9' ? number * 10 + (name[i] - '0') : -1;
    }
    return number;
}

static qa_tv format_argument(format_reader *reader, const qa_tv_call *call, const char *name, size_t n, int64_t *next) {
    const int64_t number = field_number(name, n);
    if (n == 0 || number >= 0) {
        if ((n == 0) == (*next < 0)) {
            qa_tv_fail(reader->run, "format() mixes fields with and without numbers");
        }
        const size_t i = (size_t)(n == 0 ? (*next)++ : number);
        if (i >= call->n) {
            qa_tv_fail(reader->run, "format() misses its argument %zu", i);
        }
        return call->given[i];
    }
    for (size_t i = 0; i < call->n_named; i++) {
        const qa_tv_string *given = call->names[i].as.string;
        if (given->n == n && memcmp(given->data, name, n) == 0) {
            return call->named[i];
        }
    }
    qa_tv_fail(reader->run, "format() misses its argument \"%.*s\", or this field is not supported",
               (int)(n < 80 ? n : 80), name);
}

/* Behind the "{". */
static void put_field(format_reader *reader, qa_tv_buffer *out, const qa_tv_call *call, int64_t *next) {
    const char *name = reader->at;
    while (reader->at < reader->end && strchr("!:}", *reader->at) == NULL) {
        reader->at++;
    }
    const size_t n = (size_t)(reader->at - name);
    if (*next == 0 && field_number(name, n) >= 0) {
        *next = -1; /* numbered from here on */
    }
    qa_tv value = format_argument(reader, call, name, n, next);
    const char conversion = format_skip(reader, '!') && reader->at < reader->end ? *reader->at++ : '\0';
    if (conversion != '\0' && conversion != 'r' && conversion != 's') {
        qa_tv_fail(reader->run, "format() knows !r and !s here");
    }
    if (conversion == 'r') {
        qa_tv_buffer text = {0};
        qa_tv_put_repr(reader->run, &text, &value);
        value = qa_tv_of_buffer(reader->run, &text);
    }
    value = conversion == 's' ? qa_tv_str(reader->run, value) : value;
    const bool has_spec = format_skip(reader, ':') && format_peek(reader) != '}';
    const format_spec spec = has_spec ? read_spec(reader) : (format_spec){.fill = " ", .precision = -1};
    if (!format_skip(reader, '}')) {
        qa_tv_fail(reader->run, "a format field that is not understood");
    }
    if (has_spec) {
        put_formatted(reader->run, out, &spec, &value);
    } else {
        qa_tv_put_str(reader->run, out, &value);
    }
}

qa_tv qa_tv_format(qa_tv_run *run, const qa_tv_string *format, const qa_tv_call *call) {
    format_reader reader = {.run = run, .at = format->data, .end = format->data + format->n};
    qa_tv_buffer out = {0};
    int64_t next = 0; /* the next field without a number; -1: they have numbers */
    while (reader.at < reader.end) {
        const char c = *reader.at++;
        if ((c == '{' || c == '}') && format_skip(&reader, c)) {
            qa_tv_put(run, &out, &c, 1);
        } else if (c == '{') {
            put_field(&reader, &out, call, &next);
        } else if (c == '}') {
            qa_tv_fail(run, "a single \"}\" in a format");
        } else {
            qa_tv_put(run, &out, &c, 1);
        }
    }
    return qa_tv_of_buffer(run, &out);
}
