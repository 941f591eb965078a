/* See template_print.h. */
#include "text/template_print.h"

#include "base/c_locale.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

/* ---- buffers ---- */

void qa_tv_put(qa_tv_run *run, qa_tv_buffer *buffer, const char *data, size_t n) {
    qa_tv_spend(run, n);
    if (n > buffer->capacity - buffer->n) {
        const size_t capacity = buffer->n + n + (buffer->n > 64 ? buffer->n : 64);
        char *larger = qa_heap_bytes(&run->heap, capacity);
        if (buffer->n > 0) {
            memcpy(larger, buffer->data, buffer->n);
        }
        *buffer = (qa_tv_buffer){.data = larger, .n = buffer->n, .capacity = capacity};
    }
    if (n > 0) {
        memcpy(buffer->data + buffer->n, data, n);
    }
    buffer->n += n;
}

void qa_tv_put_z(qa_tv_run *run, qa_tv_buffer *buffer, const char *zero_terminated) {
    qa_tv_put(run, buffer, zero_terminated, strlen(zero_terminated));
}

void qa_tv_put_times(qa_tv_run *run, qa_tv_buffer *buffer, const char *data, size_t n, size_t times) {
    for (size_t i = 0; n > 0 && i < times; i++) {
        qa_tv_put(run, buffer, data, n);
    }
}

void qa_tv_put_code(qa_tv_run *run, qa_tv_buffer *buffer, uint32_t code) {
    char bytes[QA_UTF8_MAX];
    qa_tv_put(run, buffer, bytes, qa_utf8_encode(code, bytes));
}

qa_tv qa_tv_of_buffer(qa_tv_run *run, const qa_tv_buffer *buffer) {
    return qa_tv_borrowed(run, buffer->n > 0 ? buffer->data : "", buffer->n);
}

/* ---- numbers ---- */

void qa_tv_put_number(qa_tv_run *run, qa_tv_buffer *buffer, const char *format, int precision, double real) {
    char digits[400];
    const qa_c_locale before = qa_c_locale_enter();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(digits, sizeof digits, format, precision, real);
#pragma GCC diagnostic pop
    qa_c_locale_leave(before);
    qa_tv_put_z(run, buffer, digits);
}

void qa_tv_put_int(qa_tv_run *run, qa_tv_buffer *buffer, int64_t integer) {
    char digits[24];
    qa_tv_put(run, buffer, digits, (size_t)snprintf(digits, sizeof digits, "%" PRId64, integer));
}

/* "d.ddde-xx" with the fewest digits; all numbers but NaN and infinities. */
static void shortest_digits(char digits[40], double real) {
    const qa_c_locale before = qa_c_locale_enter();
    for (int precision = 0; precision < 17; precision++) {
        (void)snprintf(digits, 40, "%.*e", precision, real);
        if (strtod(digits, NULL) == real) {
            break;
        }
    }
    qa_c_locale_leave(before);
}

void qa_tv_put_float(qa_tv_run *run, qa_tv_buffer *buffer, double real) {
    char digits[40], mantissa[24];
    if (!isfinite(real)) {
        qa_tv_put_z(run, buffer, isnan(real) ? "nan" : real < 0 ? "-inf" : "inf");
        return;
    }
    shortest_digits(digits, real);
    char *mark = strchr(digits, 'e');
    const int exponent = atoi(mark + 1);
    int n = 0; /* the digits alone */
    for (const char *c = digits; c < mark; c++) {
        if (*c >= '0' && *c <= '9') {
            mantissa[n++] = *c;
        }
    }
    qa_tv_put_z(run, buffer, signbit(real) ? "-" : "");
    if (exponent < -4 || exponent >= 16) {
        *mark = '\0';
        qa_tv_put_z(run, buffer, digits + (signbit(real) ? 1 : 0));
        (void)snprintf(digits, sizeof digits, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        qa_tv_put_z(run, buffer, digits);
    } else if (exponent < 0) {
        qa_tv_put_z(run, buffer, "0.");
        qa_tv_put_times(run, buffer, "0", 1, (size_t)(-exponent - 1));
        qa_tv_put(run, buffer, mantissa, (size_t)n);
    } else {
        const size_t whole = (size_t)exponent + 1, given = (size_t)n;
        qa_tv_put(run, buffer, mantissa, given < whole ? given : whole);
        qa_tv_put_times(run, buffer, "0", 1, given < whole ? whole - given : 0);
        qa_tv_put_z(run, buffer, ".");
        qa_tv_put(run, buffer, given > whole ? mantissa + whole : "0", given > whole ? given - whole : 1);
    }
}

/* ---- repr ---- */

static bool is_printable(uint32_t code) {
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return code == ' ';
    default: return true;
    }
}

static void put_escape(qa_tv_run *run, qa_tv_buffer *buffer, uint32_t code) {
    char escape[16];
    (void)snprintf(escape, sizeof escape,
                   code < 0x100     ? "\\x%02" PRIx32
                   : code < 0x10000 ? "\\u%04" PRIx32
                                    : "\\U%08" PRIx32,
                   code);
    qa_tv_put_z(run, buffer, escape);
}

static void put_quoted(qa_tv_run *run, qa_tv_buffer *buffer, const qa_tv_string *string) {
    const bool single =
        string->n == 0 || memchr(string->data, '\'', string->n) == NULL || memchr(string->data, '"', string->n) != NULL;
    const char quote = single ? '\'' : '"';
    qa_tv_put_z(run, buffer, string->markup ? "Markup(" : "");
    qa_tv_put(run, buffer, &quote, 1);
    for (size_t at = 0; at < string->n;) {
        const size_t from = at;
        const uint32_t code = qa_utf8_next(string->data, &at);
        if (code == (uint32_t)quote || code == '\\') {
            qa_tv_put_z(run, buffer, "\\");
            qa_tv_put(run, buffer, string->data + from, 1);
        } else if (code == '\n' || code == '\r' || code == '\t') {
            qa_tv_put_z(run, buffer, code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t");
        } else if (!is_printable(code)) {
            put_escape(run, buffer, code);
        } else {
            qa_tv_put(run, buffer, string->data + from, at - from);
        }
    }
    qa_tv_put(run, buffer, &quote, 1);
    qa_tv_put_z(run, buffer, string->markup ? ")" : "");
}

static void put_items(qa_tv_run *run, qa_tv_buffer *buffer, const qa_tv *value) {
    const bool tuple = value->kind == QA_TV_TUPLE;
    qa_tv_put_z(run, buffer, tuple ? "(" : "[");
    for (size_t i = 0; i < value->as.list->n; i++) {
        qa_tv_put_z(run, buffer, i > 0 ? ", " : "");
        qa_tv_put_repr(run, buffer, &value->as.list->items[i]);
    }
    qa_tv_put_z(run, buffer, tuple && value->as.list->n == 1 ? ",)" : tuple ? ")" : "]");
}

static void put_entries(qa_tv_run *run, qa_tv_buffer *buffer, const qa_tv_dict *dict) {
    qa_tv_put_z(run, buffer, "{");
    for (size_t i = 0; i < dict->n; i++) {
        qa_tv_put_z(run, buffer, i > 0 ? ", " : "");
        qa_tv_put_repr(run, buffer, &dict->entries[i].key);
        qa_tv_put_z(run, buffer, ": ");
        qa_tv_put_repr(run, buffer, &dict->entries[i].value);
    }
    qa_tv_put_z(run, buffer, "}");
}

static void put_range(qa_tv_run *run, qa_tv_buffer *buffer, const qa_tv_range *range) {
    char text[96];
    (void)snprintf(text, sizeof text,
                   range->step == 1 ? "range(%" PRId64 ", %" PRId64 ")"
                                    : "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                   range->start, range->stop, range->step);
    qa_tv_put_z(run, buffer, text);
}

/* What is neither a number nor a string. */
static void put_object(qa_tv_run *run, qa_tv_buffer *buffer, const qa_tv *value) {
    switch (value->kind) {
    case QA_TV_LIST:
    case QA_TV_TUPLE: put_items(run, buffer, value); break;
    case QA_TV_DICT: put_entries(run, buffer, value->as.dict); break;
    case QA_TV_KEYS:
    case QA_TV_VALUES:
    case QA_TV_ITEMS:
        qa_tv_put_z(run, buffer, qa_tv_type(value));
        qa_tv_put_z(run, buffer, "(");
        put_items(run, buffer, &(qa_tv){.kind = QA_TV_LIST, .as.list = qa_tv_listed(run, *value)});
        qa_tv_put_z(run, buffer, ")");
        break;
    case QA_TV_NAMESPACE:
        qa_tv_put_z(run, buffer, "<Namespace ");
        put_entries(run, buffer, value->as.dict);
        qa_tv_put_z(run, buffer, ">");
        break;
    case QA_TV_MACRO:
        qa_tv_put_z(run, buffer, "<Macro ");
        if (value->as.macro->name.kind == QA_TV_NONE) {
            qa_tv_put_z(run, buffer, "anonymous");
        } else {
            qa_tv_put_repr(run, buffer, &value->as.macro->name);
        }
        qa_tv_put_z(run, buffer, ">");
        break;
    case QA_TV_RANGE: put_range(run, buffer, value->as.range); break;
    default:
        qa_tv_fail(run, "a %s is printed: its text would be an address in memory (of a generator, make a |list)",
                   qa_tv_type(value));
    }
}

void qa_tv_put_repr(qa_tv_run *run, qa_tv_buffer *buffer, const qa_tv *value) {
    qa_tv_enter(run);
    switch (value->kind) {
    case QA_TV_MISSING:
    case QA_TV_UNDEFINED: qa_tv_put_z(run, buffer, "Undefined"); break;
    case QA_TV_NONE: qa_tv_put_z(run, buffer, "None"); break;
    case QA_TV_BOOL: qa_tv_put_z(run, buffer, value->as.truth ? "True" : "False"); break;
    case QA_TV_INT: qa_tv_put_int(run, buffer, value->as.integer); break;
    case QA_TV_FLOAT: qa_tv_put_float(run, buffer, value->as.real); break;
    case QA_TV_STRING: put_quoted(run, buffer, value->as.string); break;
    default: put_object(run, buffer, value); break;
    }
    qa_tv_leave(run);
}

void qa_tv_put_str(qa_tv_run *run, qa_tv_buffer *buffer, const qa_tv *value) {
    if (value->kind == QA_TV_STRING) {
        qa_tv_put(run, buffer, value->as.string->data, value->as.string->n);
    } else if (value->kind != QA_TV_UNDEFINED) {
        qa_tv_put_repr(run, buffer, value);
    }
}

qa_tv qa_tv_str(qa_tv_run *run, qa_tv value) {
    qa_tv_buffer buffer = {0};
    if (value.kind == QA_TV_STRING) {
        return value;
    }
    qa_tv_put_str(run, &buffer, &value);
    return qa_tv_of_buffer(run, &buffer);
}
