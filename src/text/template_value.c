/* See template_value.h. */
#include "text/template_value.h"

#include "text/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- the ways out ---- */

_Noreturn void qa_tv_fail(qa_tv_run *run, const char *format, ...) {
    qa_error message = {0};
    char line[QA_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    (void)qa_fail(&message, QA_ERR_FORMAT, "%s", line);
    run->result->outcome = QA_TEMPLATE_ERROR;
    memcpy(run->result->message, message.message, sizeof message.message);
    longjmp(run->heap.escape, 1);
}

_Noreturn void qa_tv_raise(qa_tv_run *run, const char *message, size_t bytes) {
    run->result->outcome = QA_TEMPLATE_RAISED;
    bytes = bytes < QA_MESSAGE_BYTES ? bytes : QA_MESSAGE_BYTES - 1;
    memcpy(run->result->message, message, bytes);
    run->result->message[bytes] = '\0';
    longjmp(run->heap.escape, 1);
}

/* ---- strings ---- */

static qa_tv string_of(qa_tv_run *run, const char *data, size_t n) {
    qa_tv_string *string = QA_HEAP_NEW(&run->heap, qa_tv_string, 1);
    *string = (qa_tv_string){.data = data, .n = n, .chars = SIZE_MAX};
    return (qa_tv){.kind = QA_TV_STRING, .as.string = string};
}

qa_tv qa_tv_undefined(qa_tv_run *run, const char *name, size_t bytes) {
    qa_tv value = string_of(run, name, bytes);
    value.kind = QA_TV_UNDEFINED;
    return value;
}

qa_tv qa_tv_size(size_t n) { return qa_tv_int((int64_t)n); }

qa_tv qa_tv_borrowed(qa_tv_run *run, const char *data, size_t n) { return string_of(run, data, n); }

qa_tv qa_tv_copied(qa_tv_run *run, const char *data, size_t n) { return qa_tv_joined(run, data, n, "", 0); }

qa_tv qa_tv_joined(qa_tv_run *run, const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
    qa_tv_spend(run, b_bytes);
    if (a_bytes > 0 && qa_heap_extend(&run->heap, a, a_bytes, b_bytes)) {
        char *end = run->heap.bytes.at - b_bytes;
        memcpy(end, b, b_bytes);
        return string_of(run, a, a_bytes + b_bytes);
    }
    qa_tv_spend(run, a_bytes);
    char *data = qa_heap_bytes(&run->heap, a_bytes + b_bytes);
    memcpy(data, a, a_bytes);
    memcpy(data + a_bytes, b, b_bytes);
    return string_of(run, data, a_bytes + b_bytes);
}

qa_tv qa_tv_marked(qa_tv_run *run, qa_tv string, bool markup) {
    if (string.kind == QA_TV_STRING && string.as.string->markup != markup) {
        string = qa_tv_borrowed(run, string.as.string->data, string.as.string->n);
        string.as.string->markup = markup;
    }
    return string;
}

size_t qa_tv_chars(const qa_tv_string *string) {
    size_t chars = 0;
    for (size_t i = 0; i < string->n; i++) {
        chars += ((unsigned char)string->data[i] & 0xC0) != 0x80;
    }
    return chars;
}

/* Counts the characters, once. */
static size_t counted(qa_tv_run *run, qa_tv_string *string) {
    if (string->chars == SIZE_MAX) {
        qa_tv_spend(run, string->n);
        string->chars = qa_tv_chars(string);
    }
    return string->chars;
}

size_t qa_tv_offset(qa_tv_run *run, qa_tv_string *string, size_t index) {
    if (counted(run, string) == string->n) {
        return index;
    }
    size_t at = 0;
    qa_tv_spend(run, index);
    for (size_t i = 0; i < index; i++) {
        (void)qa_utf8_next(string->data, &at);
    }
    return at;
}

size_t qa_tv_index(qa_tv_run *run, qa_tv_string *string, size_t bytes) {
    if (counted(run, string) == string->n) {
        return bytes;
    }
    qa_tv_spend(run, bytes);
    return qa_tv_chars(&(qa_tv_string){.data = string->data, .n = bytes});
}

/* ---- lists ---- */

qa_tv_list *qa_tv_new_list(qa_tv_run *run, size_t capacity) {
    qa_tv_list *list = QA_HEAP_NEW(&run->heap, qa_tv_list, 1);
    list->items = qa_heap_grow(&run->heap, NULL, 0, &list->capacity, capacity, sizeof(qa_tv));
    return list;
}

void qa_tv_push(qa_tv_run *run, qa_tv_list *list, qa_tv value) {
    list->items = qa_heap_grow(&run->heap, list->items, list->n, &list->capacity, list->n + 1, sizeof(qa_tv));
    list->items[list->n++] = value;
}

qa_tv qa_tv_pair(qa_tv_run *run, qa_tv first, qa_tv second) {
    qa_tv_list *list = QA_HEAP_NEW(&run->heap, qa_tv_list, 1);
    list->items = QA_HEAP_NEW(&run->heap, qa_tv, 2);
    list->items[0] = first;
    list->items[1] = second;
    list->n = list->capacity = 2;
    return (qa_tv){.kind = QA_TV_TUPLE, .as.list = list};
}

/* ---- dicts ---- */

enum { FEW_ENTRIES = 8 };

bool qa_tv_hashable(const qa_tv *value) {
    if (value->kind == QA_TV_TUPLE) {
        for (size_t i = 0; i < value->as.list->n; i++) {
            const qa_tv *item = &value->as.list->items[i];
            if (item->kind == QA_TV_TUPLE || !qa_tv_hashable(item)) {
                return false; /* tuples of tuples: Python hashes them, here they are no keys */
            }
        }
        return true;
    }
    return value->kind != QA_TV_LIST && value->kind != QA_TV_DICT && value->kind != QA_TV_KEYS &&
           value->kind != QA_TV_ITEMS;
}

static uint64_t hash_key_bytes(const char *data, size_t n) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3u;
    }
    return hash ^ hash >> 29;
}

/* Equal keys have equal hashes: 1, 1.0 and true are one key. */
static uint64_t hash_of(const qa_tv *key) {
    double real = 0;
    uint64_t bits = 0;
    if (key->kind == QA_TV_STRING) {
        return hash_key_bytes(key->as.string->data, key->as.string->n);
    }
    if (key->kind == QA_TV_TUPLE) {
        for (size_t i = 0; i < key->as.list->n; i++) {
            bits = bits * 31 + hash_of(&key->as.list->items[i]);
        }
        return bits;
    }
    if (qa_tv_as_real(key, &real)) {
        real = real == 0 ? 0 : real; /* -0.0 */
        memcpy(&bits, &real, sizeof bits);
        return hash_key_bytes((const char *)&bits, sizeof bits);
    }
    return key->kind;
}

qa_tv_dict *qa_tv_new_dict(qa_tv_run *run, size_t capacity) {
    qa_tv_dict *dict = QA_HEAP_NEW(&run->heap, qa_tv_dict, 1);
    dict->entries = qa_heap_grow(&run->heap, NULL, 0, &dict->capacity, capacity, sizeof(qa_tv_entry));
    return dict;
}

static void index_entries(qa_tv_run *run, qa_tv_dict *dict) {
    dict->n_slots = dict->n_slots == 0 ? 4 * FEW_ENTRIES : dict->n_slots * 2;
    dict->slots = QA_HEAP_NEW(&run->heap, uint32_t, dict->n_slots);
    for (size_t i = 0; i < dict->n; i++) {
        size_t slot = dict->entries[i].hash & (dict->n_slots - 1);
        while (dict->slots[slot] != 0) {
            slot = (slot + 1) & (dict->n_slots - 1);
        }
        dict->slots[slot] = (uint32_t)(i + 1);
    }
}

static bool same_key(qa_tv_run *run, const qa_tv_entry *entry, const qa_tv *key, uint64_t hash) {
    return entry->hash == hash && qa_tv_equal(run, &entry->key, key);
}

static qa_tv_entry *entry_of(qa_tv_run *run, const qa_tv_dict *dict, const qa_tv *key, uint64_t hash) {
    for (size_t i = 0; dict->slots == NULL && i < dict->n; i++) {
        if (same_key(run, &dict->entries[i], key, hash)) {
            return &dict->entries[i];
        }
    }
    size_t slot = dict->slots == NULL ? 0 : hash & (dict->n_slots - 1);
    for (; dict->slots != NULL && dict->slots[slot] != 0; slot = (slot + 1) & (dict->n_slots - 1)) {
        qa_tv_spend(run, 0);
        if (same_key(run, &dict->entries[dict->slots[slot] - 1], key, hash)) {
            return &dict->entries[dict->slots[slot] - 1];
        }
    }
    return NULL;
}

void qa_tv_dict_set(qa_tv_run *run, qa_tv_dict *dict, qa_tv key, qa_tv value) {
    if (!qa_tv_hashable(&key)) {
        qa_tv_fail(run, "a %s cannot be the key of a dict", qa_tv_type(&key));
    }
    qa_tv_spend(run, key.kind == QA_TV_STRING ? key.as.string->n : 0);
    const uint64_t hash = hash_of(&key);
    qa_tv_entry *there = entry_of(run, dict, &key, hash);
    if (there != NULL) {
        there->value = value;
        return;
    }
    dict->entries = qa_heap_grow(&run->heap, dict->entries, dict->n, &dict->capacity, dict->n + 1, sizeof(qa_tv_entry));
    dict->entries[dict->n++] = (qa_tv_entry){.key = key, .value = value, .hash = hash};
    if (dict->slots == NULL ? dict->n > FEW_ENTRIES : 2 * dict->n > dict->n_slots) {
        index_entries(run, dict);
    } else if (dict->slots != NULL) {
        size_t slot = hash & (dict->n_slots - 1);
        while (dict->slots[slot] != 0) {
            slot = (slot + 1) & (dict->n_slots - 1);
        }
        dict->slots[slot] = (uint32_t)dict->n;
    }
}

const qa_tv *qa_tv_dict_get(qa_tv_run *run, const qa_tv_dict *dict, qa_tv key) {
    qa_tv_spend(run, key.kind == QA_TV_STRING ? key.as.string->n : 0);
    const qa_tv_entry *entry = dict->n == 0 ? NULL : entry_of(run, dict, &key, hash_of(&key));
    return entry == NULL ? NULL : &entry->value;
}

const qa_tv *qa_tv_dict_get_text(qa_tv_run *run, const qa_tv_dict *dict, const char *key, size_t bytes) {
    qa_tv_string string = {.data = key, .n = bytes};
    return qa_tv_dict_get(run, dict, (qa_tv){.kind = QA_TV_STRING, .as.string = &string});
}

/* ---- from JSON ---- */

static qa_tv dict_of_json(qa_tv_run *run, json_t *json) {
    qa_tv_dict *dict = qa_tv_new_dict(run, json_object_size(json));
    for (void *at = json_object_iter(json); at != NULL; at = json_object_iter_next(json, at)) {
        const char *key = json_object_iter_key(at);
        qa_tv_dict_set(run, dict, qa_tv_borrowed(run, key, json_object_iter_key_len(at)),
                       qa_tv_of_json(run, json_object_iter_value(at)));
    }
    return (qa_tv){.kind = QA_TV_DICT, .as.dict = dict};
}

qa_tv qa_tv_of_json(qa_tv_run *run, json_t *json) {
    qa_tv value = qa_tv_none();
    qa_tv_enter(run);
    switch (json_typeof(json)) {
    case JSON_OBJECT: value = dict_of_json(run, json); break;
    case JSON_ARRAY:
        value = qa_tv_of_list(qa_tv_new_list(run, json_array_size(json)));
        for (size_t i = 0; i < json_array_size(json); i++) {
            qa_tv_push(run, value.as.list, qa_tv_of_json(run, json_array_get(json, i)));
        }
        break;
    case JSON_STRING: value = qa_tv_borrowed(run, json_string_value(json), json_string_length(json)); break;
    case JSON_INTEGER: value = qa_tv_int(json_integer_value(json)); break;
    case JSON_REAL: value = qa_tv_float(json_real_value(json)); break;
    case JSON_TRUE:
    case JSON_FALSE: value = qa_tv_bool(json_is_true(json)); break;
    case JSON_NULL: break;
    }
    qa_tv_leave(run);
    return value;
}

/* ---- asking ---- */

const char *qa_tv_type(const qa_tv *value) {
    static const char *const TYPES[] = {
        [QA_TV_MISSING] = "nothing",
        [QA_TV_UNDEFINED] = "undefined value",
        [QA_TV_NONE] = "None",
        [QA_TV_BOOL] = "bool",
        [QA_TV_INT] = "int",
        [QA_TV_FLOAT] = "float",
        [QA_TV_STRING] = "str",
        [QA_TV_LIST] = "list",
        [QA_TV_TUPLE] = "tuple",
        [QA_TV_DICT] = "dict",
        [QA_TV_KEYS] = "dict_keys",
        [QA_TV_VALUES] = "dict_values",
        [QA_TV_ITEMS] = "dict_items",
        [QA_TV_RANGE] = "range",
        [QA_TV_ITERATOR] = "generator",
        [QA_TV_NAMESPACE] = "Namespace",
        [QA_TV_LOOP] = "LoopContext",
        [QA_TV_MACRO] = "Macro",
        [QA_TV_FUNCTION] = "function",
    };
    return TYPES[value->kind];
}

bool qa_tv_true(const qa_tv *value) {
    size_t n = 1;
    switch (value->kind) {
    case QA_TV_MISSING:
    case QA_TV_UNDEFINED:
    case QA_TV_NONE: return false;
    case QA_TV_BOOL: return value->as.truth;
    case QA_TV_INT: return value->as.integer != 0;
    case QA_TV_FLOAT: return value->as.real != 0;
    case QA_TV_STRING: return value->as.string->n > 0;
    default: return !qa_tv_length(value, &n) || n > 0;
    }
}

bool qa_tv_as_int(const qa_tv *value, int64_t *integer) {
    if (value->kind == QA_TV_BOOL || value->kind == QA_TV_INT) {
        *integer = value->kind == QA_TV_BOOL ? value->as.truth : value->as.integer;
        return true;
    }
    return false;
}

bool qa_tv_as_real(const qa_tv *value, double *real) {
    int64_t integer = 0;
    if (qa_tv_as_int(value, &integer)) {
        *real = (double)integer;
        return true;
    }
    *real = value->kind == QA_TV_FLOAT ? value->as.real : 0;
    return value->kind == QA_TV_FLOAT;
}

bool qa_tv_length(const qa_tv *value, size_t *n) {
    switch (value->kind) {
    case QA_TV_UNDEFINED: *n = 0; return true;
    case QA_TV_STRING:
        if (value->as.string->chars == SIZE_MAX) {
            value->as.string->chars = qa_tv_chars(value->as.string);
        }
        *n = value->as.string->chars;
        return true;
    case QA_TV_LIST:
    case QA_TV_TUPLE: *n = value->as.list->n; return true;
    case QA_TV_DICT:
    case QA_TV_KEYS:
    case QA_TV_VALUES:
    case QA_TV_ITEMS: *n = value->as.dict->n; return true;
    case QA_TV_RANGE: *n = value->as.range->n; return true;
    default: return false;
    }
}

/* ---- comparing ---- */

static bool is_number(const qa_tv *value) {
    return value->kind == QA_TV_BOOL || value->kind == QA_TV_INT || value->kind == QA_TV_FLOAT;
}

/* Exact between integers and floats, as Python compares them: a long double holds both. */
static int order_numbers(const qa_tv *a, const qa_tv *b, bool *unordered) {
    int64_t i = 0, j = 0;
    double x = 0, y = 0;
    if (qa_tv_as_int(a, &i) && qa_tv_as_int(b, &j)) {
        return (i > j) - (i < j);
    }
    (void)qa_tv_as_real(a, &x);
    (void)qa_tv_as_real(b, &y);
    *unordered = isnan(x) || isnan(y);
    const long double left = a->kind == QA_TV_FLOAT ? (long double)x : (long double)(qa_tv_as_int(a, &i) ? i : 0);
    const long double right = b->kind == QA_TV_FLOAT ? (long double)y : (long double)(qa_tv_as_int(b, &j) ? j : 0);
    return (left > right) - (left < right);
}

static bool equal_dicts(qa_tv_run *run, const qa_tv_dict *a, const qa_tv_dict *b) {
    if (a->n != b->n) {
        return false;
    }
    for (size_t i = 0; i < a->n; i++) {
        const qa_tv_entry *other = entry_of(run, b, &a->entries[i].key, a->entries[i].hash);
        if (other == NULL || !qa_tv_equal(run, &a->entries[i].value, &other->value)) {
            return false;
        }
    }
    return true;
}

static bool equal_lists(qa_tv_run *run, const qa_tv_list *a, const qa_tv_list *b) {
    bool equal = a->n == b->n;
    for (size_t i = 0; equal && i < a->n; i++) {
        equal = qa_tv_equal(run, &a->items[i], &b->items[i]);
    }
    return equal;
}

static bool equal_ranges(const qa_tv_range *a, const qa_tv_range *b) {
    return a->n == b->n && (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

bool qa_tv_equal(qa_tv_run *run, const qa_tv *a, const qa_tv *b) {
    qa_tv_spend(run, 0);
    if (is_number(a) && is_number(b)) {
        bool unordered = false;
        return order_numbers(a, b, &unordered) == 0 && !unordered;
    }
    if (a->kind != b->kind) {
        return false;
    }
    bool equal = false;
    qa_tv_enter(run);
    switch (a->kind) {
    case QA_TV_UNDEFINED:
    case QA_TV_NONE: equal = true; break;
    case QA_TV_STRING:
        qa_tv_spend(run, a->as.string->n);
        equal =
            a->as.string->n == b->as.string->n && memcmp(a->as.string->data, b->as.string->data, a->as.string->n) == 0;
        break;
    case QA_TV_LIST:
    case QA_TV_TUPLE: equal = a->as.list == b->as.list || equal_lists(run, a->as.list, b->as.list); break;
    case QA_TV_DICT: equal = a->as.dict == b->as.dict || equal_dicts(run, a->as.dict, b->as.dict); break;
    case QA_TV_RANGE: equal = equal_ranges(a->as.range, b->as.range); break;
    case QA_TV_KEYS:
    case QA_TV_ITEMS: qa_tv_fail(run, "comparing %s is not supported: compare lists", qa_tv_type(a));
    default: equal = a->as.dict == b->as.dict; break; /* the same object */
    }
    qa_tv_leave(run);
    return equal;
}

static int order_lists(qa_tv_run *run, const qa_tv_list *a, const qa_tv_list *b, const char *operator_,
                       bool *unordered) {
    size_t i = 0;
    while (i < a->n && i < b->n && qa_tv_equal(run, &a->items[i], &b->items[i])) {
        i++;
    }
    if (i == a->n || i == b->n) {
        return (a->n > b->n) - (a->n < b->n);
    }
    return qa_tv_order(run, &a->items[i], &b->items[i], operator_, unordered);
}

static int order_strings(const qa_tv_string *a, const qa_tv_string *b) {
    const int order = memcmp(a->data, b->data, a->n < b->n ? a->n : b->n);
    return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

int qa_tv_order(qa_tv_run *run, const qa_tv *a, const qa_tv *b, const char *operator_, bool *unordered) {
    *unordered = false;
    if (is_number(a) && is_number(b)) {
        return order_numbers(a, b, unordered);
    }
    if (a->kind == QA_TV_STRING && b->kind == QA_TV_STRING) {
        qa_tv_spend(run, a->as.string->n);
        return order_strings(a->as.string, b->as.string);
    }
    if ((a->kind != QA_TV_LIST && a->kind != QA_TV_TUPLE) || a->kind != b->kind) {
        qa_tv_fail(run, "'%s' is not supported between %s and %s", operator_, qa_tv_type(a), qa_tv_type(b));
    }
    qa_tv_enter(run);
    const int order = order_lists(run, a->as.list, b->as.list, operator_, unordered);
    qa_tv_leave(run);
    return order;
}
