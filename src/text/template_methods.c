/* See template_methods.h: one row a method, its name, its body, its parameters. */
#include "text/template_methods.h"

#include "text/template_format.h"
#include "text/template_lex.h"
#include "text/template_strings.h"
#include "text/utf8.h"

#include <utf8proc.h>

/* ---- strings ---- */

QA_TV_BODY(str_lower) { return qa_tv_cased(run, self.as.string, QA_TV_LOWER); }
QA_TV_BODY(str_upper) { return qa_tv_cased(run, self.as.string, QA_TV_UPPER); }
QA_TV_BODY(str_title) { return qa_tv_cased(run, self.as.string, QA_TV_TITLE); }
QA_TV_BODY(str_capitalize) { return qa_tv_cased(run, self.as.string, QA_TV_CAPITAL); }
QA_TV_BODY(str_casefold) { return qa_tv_cased(run, self.as.string, QA_TV_FOLDED); }
QA_TV_BODY(str_swapcase) { return qa_tv_cased(run, self.as.string, QA_TV_SWAPPED); }

/* None, or nothing, is white space. */
static const qa_tv_string *characters(qa_tv_run *run, const qa_tv *set) {
    return !qa_tv_given(set) || set->kind == QA_TV_NONE ? NULL : qa_tv_need_string(run, set);
}

QA_TV_BODY(str_strip) { return qa_tv_stripped(run, self.as.string, characters(run, &args[0]), true, true); }
QA_TV_BODY(str_lstrip) { return qa_tv_stripped(run, self.as.string, characters(run, &args[0]), true, false); }
QA_TV_BODY(str_rstrip) { return qa_tv_stripped(run, self.as.string, characters(run, &args[0]), false, true); }

QA_TV_BODY(str_split) {
    return qa_tv_of_list(
        qa_tv_split(run, self.as.string, characters(run, &args[0]), qa_tv_need_int(run, &args[1], -1), false));
}

QA_TV_BODY(str_rsplit) {
    return qa_tv_of_list(
        qa_tv_split(run, self.as.string, characters(run, &args[0]), qa_tv_need_int(run, &args[1], -1), true));
}

QA_TV_BODY(str_splitlines) { return qa_tv_of_list(qa_tv_lines(run, self.as.string, qa_tv_true(&args[0]))); }

QA_TV_BODY(str_join) { return qa_tv_join(run, self.as.string, args[0], false); }

QA_TV_BODY(str_replace) {
    return qa_tv_replaced(run, self.as.string, qa_tv_need_string(run, &args[0]), qa_tv_need_string(run, &args[1]),
                          qa_tv_need_int(run, &args[2], -1));
}

QA_TV_BODY(str_format) { return qa_tv_format(run, self.as.string, call); }

static int64_t clamped(qa_tv_run *run, const qa_tv *bound, int64_t missing, int64_t n) {
    int64_t at = bound->kind == QA_TV_NONE ? missing : qa_tv_need_int(run, bound, missing);
    at += at < 0 ? n : 0;
    return at < 0 ? 0 : at;
}

/* The bytes from args[0] up to args[1], characters of the string as a slice counts them; false: nothing is there, not
 * even the empty string. */
static bool bounds(qa_tv_run *run, qa_tv_string *text, const qa_tv *args, size_t *from, size_t *to) {
    size_t chars = 0;
    (void)qa_tv_length(&(qa_tv){.kind = QA_TV_STRING, .as.string = text}, &chars);
    const int64_t n = (int64_t)chars, start = clamped(run, &args[0], 0, n);
    int64_t end = clamped(run, &args[1], n, n);
    end = end > n ? n : end;
    if (start > end) {
        return false;
    }
    *from = qa_tv_offset(run, text, (size_t)start);
    *to = qa_tv_offset(run, text, (size_t)end);
    return true;
}

/* find(), rfind(): -1 when it is not there. */
static qa_tv find_part(qa_tv_run *run, qa_tv self, const qa_tv *args, bool last) {
    size_t from = 0, to = 0, found = SIZE_MAX;
    const qa_tv_string *part = qa_tv_need_string(run, &args[0]);
    if (bounds(run, self.as.string, args + 1, &from, &to)) {
        found = qa_tv_find(run, self.as.string, part, from, to, last);
    }
    return found == SIZE_MAX ? qa_tv_int(-1) : qa_tv_size(qa_tv_index(run, self.as.string, found));
}

static qa_tv need_found(qa_tv_run *run, qa_tv found) {
    if (found.as.integer < 0) {
        qa_tv_fail(run, "index(): the substring is not found");
    }
    return found;
}

QA_TV_BODY(str_find) { return find_part(run, self, args, false); }
QA_TV_BODY(str_rfind) { return find_part(run, self, args, true); }
QA_TV_BODY(str_index) { return need_found(run, find_part(run, self, args, false)); }
QA_TV_BODY(str_rindex) { return need_found(run, find_part(run, self, args, true)); }

QA_TV_BODY(str_count) {
    size_t from = 0, to = 0, n = 0;
    const qa_tv_string *part = qa_tv_need_string(run, &args[0]);
    if (!bounds(run, self.as.string, args + 1, &from, &to)) {
        return qa_tv_int(0);
    }
    if (part->n == 0) {
        return qa_tv_size(qa_tv_index(run, self.as.string, to) - qa_tv_index(run, self.as.string, from) + 1);
    }
    const qa_tv parts = qa_tv_part(run, self.as.string, from, to);
    n = qa_tv_split(run, parts.as.string, part, -1, false)->n - 1;
    return qa_tv_size(n);
}

/* A prefix or suffix, or a tuple of them. */
static bool has_end(qa_tv_run *run, qa_tv self, const qa_tv *args, bool front) {
    size_t from = 0, to = 0;
    const bool many = args[0].kind == QA_TV_TUPLE;
    const qa_tv *ends = many ? args[0].as.list->items : &args[0];
    const bool inside = bounds(run, self.as.string, args + 1, &from, &to);
    bool found = false;
    for (size_t i = 0; i < (many ? args[0].as.list->n : 1) && !found; i++) {
        const qa_tv_string *end = qa_tv_need_string(run, &ends[i]);
        qa_tv_spend(run, end->n);
        found = inside && end->n <= to - from &&
                memcmp(self.as.string->data + (front ? from : to - end->n), end->data, end->n) == 0;
    }
    return found;
}

QA_TV_BODY(str_startswith) { return qa_tv_bool(has_end(run, self, args, true)); }
QA_TV_BODY(str_endswith) { return qa_tv_bool(has_end(run, self, args, false)); }

static qa_tv without_end(qa_tv_run *run, qa_tv self, const qa_tv *end, bool front) {
    const size_t n = qa_tv_need_string(run, end)->n, all = self.as.string->n;
    const qa_tv args[3] = {*end};
    if (!has_end(run, self, args, front)) {
        return self;
    }
    return front ? qa_tv_part(run, self.as.string, n, all) : qa_tv_part(run, self.as.string, 0, all - n);
}

QA_TV_BODY(str_removeprefix) { return without_end(run, self, &args[0], true); }
QA_TV_BODY(str_removesuffix) { return without_end(run, self, &args[0], false); }

static qa_tv partition(qa_tv_run *run, qa_tv self, const qa_tv *args, bool last) {
    const qa_tv_string *text = self.as.string, *separator = qa_tv_need_string(run, &args[0]);
    if (separator->n == 0) {
        qa_tv_fail(run, "partition() with an empty separator");
    }
    const size_t at = qa_tv_find(run, text, separator, 0, text->n, last);
    const size_t cut = at != SIZE_MAX ? at : last ? 0 : text->n, width = at != SIZE_MAX ? separator->n : 0;
    qa_tv_list *parts = qa_tv_new_list(run, 3);
    qa_tv_push(run, parts, qa_tv_part(run, text, 0, cut));
    qa_tv_push(run, parts, qa_tv_part(run, text, cut, cut + width));
    qa_tv_push(run, parts, qa_tv_part(run, text, cut + width, text->n));
    return (qa_tv){.kind = QA_TV_TUPLE, .as.list = parts};
}

QA_TV_BODY(str_partition) { return partition(run, self, args, false); }
QA_TV_BODY(str_rpartition) { return partition(run, self, args, true); }

/* ---- padding ---- */

static qa_tv padded(qa_tv_run *run, qa_tv self, size_t left, size_t right, const char *fill, size_t bytes) {
    qa_tv_buffer out = {0};
    qa_tv_put_times(run, &out, fill, bytes, left);
    qa_tv_put(run, &out, self.as.string->data, self.as.string->n);
    qa_tv_put_times(run, &out, fill, bytes, right);
    return qa_tv_of_buffer(run, &out);
}

/* side: -1 text at the left, 0 in the middle, 1 at the right. */
static qa_tv justified(qa_tv_run *run, qa_tv self, const qa_tv *args, int side) {
    const int64_t width = qa_tv_need_int(run, &args[0], 0);
    size_t n = 0, fill_n = 1;
    const qa_tv_string *fill = qa_tv_given(&args[1]) ? qa_tv_need_string(run, &args[1]) : NULL;
    (void)qa_tv_length(&self, &n);
    if (fill != NULL && (fill_n = qa_tv_chars(fill)) != 1) {
        qa_tv_fail(run, "the character to fill with is %zu characters", fill_n);
    }
    const size_t pad = width > (int64_t)n ? (size_t)width - n : 0;
    const size_t left = side > 0 ? pad : side < 0 ? 0 : pad / 2 + (pad & (size_t)width & 1);
    return padded(run, self, left, pad - left, fill == NULL ? " " : fill->data, fill == NULL ? 1 : fill->n);
}

QA_TV_BODY(str_center) { return justified(run, self, args, 0); }
QA_TV_BODY(str_ljust) { return justified(run, self, args, -1); }
QA_TV_BODY(str_rjust) { return justified(run, self, args, 1); }

QA_TV_BODY(str_zfill) {
    const qa_tv_string *text = self.as.string;
    const bool sign = text->n > 0 && (text->data[0] == '-' || text->data[0] == '+');
    const int64_t width = qa_tv_need_int(run, &args[0], 0);
    size_t n = 0;
    (void)qa_tv_length(&self, &n);
    qa_tv_buffer out = {0};
    qa_tv_put(run, &out, text->data, sign);
    qa_tv_put_times(run, &out, "0", 1, width > (int64_t)n ? (size_t)width - n : 0);
    qa_tv_put(run, &out, text->data + sign, text->n - sign);
    return qa_tv_of_buffer(run, &out);
}

/* ---- asking strings ---- */

static bool is_letter(uint32_t code) {
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return qa_tv_is_cased(code) || category == UTF8PROC_CATEGORY_LM || category == UTF8PROC_CATEGORY_LO;
}
static bool is_decimal(uint32_t code) { return utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_ND; }
static bool is_digit_code(uint32_t code) { /* with superscripts and the like */
    return is_decimal(code) || code == 0xB2 || code == 0xB3 || code == 0xB9 || code == 0x2070 ||
           (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089) ||
           (code >= 0x2460 && code <= 0x2468);
}
static bool is_letter_or_number(uint32_t code) { return is_letter(code) || qa_is_number(code); }
static bool is_below_128(uint32_t code) { return code < 128; }

static qa_tv all_are(qa_tv_run *run, qa_tv self, bool (*is)(uint32_t), bool of_empty) {
    bool all = self.as.string->n > 0 || of_empty;
    qa_tv_spend(run, self.as.string->n);
    for (size_t at = 0; all && at < self.as.string->n;) {
        all = is(qa_utf8_next(self.as.string->data, &at));
    }
    return qa_tv_bool(all);
}

QA_TV_BODY(str_isalpha) { return all_are(run, self, is_letter, false); }
QA_TV_BODY(str_isdecimal) { return all_are(run, self, is_decimal, false); }
QA_TV_BODY(str_isdigit) { return all_are(run, self, is_digit_code, false); }
QA_TV_BODY(str_isnumeric) { return all_are(run, self, qa_is_number, false); }
QA_TV_BODY(str_isalnum) { return all_are(run, self, is_letter_or_number, false); }
QA_TV_BODY(str_isspace) { return all_are(run, self, qa_template_is_space, false); }
QA_TV_BODY(str_isascii) { return all_are(run, self, is_below_128, true); }

/* islower(), isupper(): there are letters of this case, and none of another. */
static bool is_in_case(qa_tv_run *run, const qa_tv_string *text, bool upper) {
    bool some = false;
    qa_tv_spend(run, text->n);
    for (size_t at = 0; at < text->n;) {
        const uint32_t code = qa_utf8_next(text->data, &at);
        const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
        const bool right = category == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
        some = some || right;
        if (qa_tv_is_cased(code) && !right) {
            return false;
        }
    }
    return some;
}

QA_TV_BODY(str_islower) { return qa_tv_bool(is_in_case(run, self.as.string, false)); }
QA_TV_BODY(str_isupper) { return qa_tv_bool(is_in_case(run, self.as.string, true)); }

/* ---- lists, tuples ---- */

QA_TV_BODY(list_count) {
    size_t n = 0;
    for (size_t i = 0; i < self.as.list->n; i++) {
        n += qa_tv_equal(run, &self.as.list->items[i], &args[0]);
    }
    return qa_tv_size(n);
}

QA_TV_BODY(list_index) {
    const int64_t n = (int64_t)self.as.list->n;
    for (int64_t i = clamped(run, &args[1], 0, n); i < n && i < clamped(run, &args[2], n, n); i++) {
        if (qa_tv_equal(run, &self.as.list->items[i], &args[0])) {
            return qa_tv_int(i);
        }
    }
    qa_tv_fail(run, "index(): the value is not in the list");
}

QA_TV_BODY(itself) { return self; } /* copy() of what does not change */

/* ---- dicts ---- */

QA_TV_BODY(dict_get) {
    if (!qa_tv_hashable(&args[0])) {
        qa_tv_fail(run, "a %s cannot be the key of a dict", qa_tv_type(&args[0]));
    }
    const qa_tv *found = qa_tv_dict_get(run, self.as.dict, args[0]);
    return found != NULL ? *found : qa_tv_given(&args[1]) ? args[1] : qa_tv_none();
}

QA_TV_BODY(dict_keys) { return (qa_tv){.kind = QA_TV_KEYS, .as.dict = self.as.dict}; }
QA_TV_BODY(dict_values) { return (qa_tv){.kind = QA_TV_VALUES, .as.dict = self.as.dict}; }
QA_TV_BODY(dict_items) { return (qa_tv){.kind = QA_TV_ITEMS, .as.dict = self.as.dict}; }

/* ---- the tables ---- */

#define FORBIDDEN "forbidden" /* by the sandbox: it would change the value */

static const qa_tv_row STR_METHODS[] = {
    {"capitalize", str_capitalize, ""},
    {"casefold", str_casefold, ""},
    {"center", str_center, "/width fillchar?"},
    {"count", str_count, "/sub start? end?"},
    {"encode", NULL, ""},
    {"endswith", str_endswith, "/suffix start? end?"},
    {"expandtabs", NULL, ""},
    {"find", str_find, "/sub start? end?"},
    {"format", str_format, NULL},
    {"format_map", NULL, ""},
    {"index", str_index, "/sub start? end?"},
    {"isalnum", str_isalnum, ""},
    {"isalpha", str_isalpha, ""},
    {"isascii", str_isascii, ""},
    {"isdecimal", str_isdecimal, ""},
    {"isdigit", str_isdigit, ""},
    {"isidentifier", NULL, ""},
    {"islower", str_islower, ""},
    {"isnumeric", str_isnumeric, ""},
    {"isprintable", NULL, ""},
    {"isspace", str_isspace, ""},
    {"istitle", NULL, ""},
    {"isupper", str_isupper, ""},
    {"join", str_join, "/iterable"},
    {"ljust", str_ljust, "/width fillchar?"},
    {"lower", str_lower, ""},
    {"lstrip", str_lstrip, "/chars?"},
    {"maketrans", NULL, ""},
    {"partition", str_partition, "/sep"},
    {"removeprefix", str_removeprefix, "/prefix"},
    {"removesuffix", str_removesuffix, "/suffix"},
    {"replace", str_replace, "/old new count?"},
    {"rfind", str_rfind, "/sub start? end?"},
    {"rindex", str_rindex, "/sub start? end?"},
    {"rjust", str_rjust, "/width fillchar?"},
    {"rpartition", str_rpartition, "/sep"},
    {"rsplit", str_rsplit, "sep? maxsplit?"},
    {"rstrip", str_rstrip, "/chars?"},
    {"split", str_split, "sep? maxsplit?"},
    {"splitlines", str_splitlines, "keepends?"},
    {"startswith", str_startswith, "/prefix start? end?"},
    {"strip", str_strip, "/chars?"},
    {"swapcase", str_swapcase, ""},
    {"title", str_title, ""},
    {"translate", NULL, ""},
    {"upper", str_upper, ""},
    {"zfill", str_zfill, "/width"},
};

static const qa_tv_row LIST_METHODS[] = {
    {"append", NULL, FORBIDDEN},     {"clear", NULL, FORBIDDEN},  {"copy", itself, ""},
    {"count", list_count, "/value"}, {"extend", NULL, FORBIDDEN}, {"index", list_index, "/value start? stop?"},
    {"insert", NULL, FORBIDDEN},     {"pop", NULL, FORBIDDEN},    {"remove", NULL, FORBIDDEN},
    {"reverse", NULL, FORBIDDEN},    {"sort", NULL, FORBIDDEN},
};

static const qa_tv_row TUPLE_METHODS[] = {
    {"count", list_count, "/value"},
    {"index", list_index, "/value start? stop?"},
};

static const qa_tv_row DICT_METHODS[] = {
    {"clear", NULL, FORBIDDEN},         {"copy", itself, ""},         {"fromkeys", NULL, ""},
    {"get", dict_get, "/key default?"}, {"items", dict_items, ""},    {"keys", dict_keys, ""},
    {"pop", NULL, FORBIDDEN},           {"popitem", NULL, FORBIDDEN}, {"setdefault", NULL, FORBIDDEN},
    {"update", NULL, FORBIDDEN},        {"values", dict_values, ""},
};

/* Attributes of numbers, ranges and views: none of them runs here. */
static const qa_tv_row OTHER_METHODS[] = {
    {"as_integer_ratio", NULL, ""},
    {"bit_count", NULL, ""},
    {"bit_length", NULL, ""},
    {"conjugate", NULL, ""},
    {"count", NULL, ""},
    {"denominator", NULL, ""},
    {"from_bytes", NULL, ""},
    {"fromhex", NULL, ""},
    {"hex", NULL, ""},
    {"imag", NULL, ""},
    {"index", NULL, ""},
    {"is_integer", NULL, ""},
    {"isdisjoint", NULL, ""},
    {"mapping", NULL, ""},
    {"numerator", NULL, ""},
    {"real", NULL, ""},
    {"start", NULL, ""},
    {"step", NULL, ""},
    {"stop", NULL, ""},
    {"to_bytes", NULL, ""},
};

static const qa_tv_row *method_row(const qa_tv *value, const char *name, size_t bytes) {
    switch (value->kind) {
    case QA_TV_STRING: return QA_TV_FIND_ROW(STR_METHODS, name, bytes);
    case QA_TV_LIST: return QA_TV_FIND_ROW(LIST_METHODS, name, bytes);
    case QA_TV_TUPLE: return QA_TV_FIND_ROW(TUPLE_METHODS, name, bytes);
    case QA_TV_DICT: return QA_TV_FIND_ROW(DICT_METHODS, name, bytes);
    case QA_TV_BOOL:
    case QA_TV_INT:
    case QA_TV_FLOAT:
    case QA_TV_RANGE:
    case QA_TV_KEYS:
    case QA_TV_VALUES:
    case QA_TV_ITEMS: return QA_TV_FIND_ROW(OTHER_METHODS, name, bytes);
    default: return NULL;
    }
}

qa_tv qa_tv_method(qa_tv_run *run, qa_tv value, const char *name, size_t bytes) {
    const qa_tv_row *row = method_row(&value, name, bytes);
    if (row == NULL) {
        return (qa_tv){.kind = QA_TV_MISSING};
    }
    if (row->parameters != NULL && strcmp(row->parameters, FORBIDDEN) == 0) {
        return qa_tv_undefined(run, name, bytes);
    }
    qa_tv_function *function = QA_HEAP_NEW(&run->heap, qa_tv_function, 1);
    *function = (qa_tv_function){.row = row, .self = value};
    return (qa_tv){.kind = QA_TV_FUNCTION, .as.function = function};
}
