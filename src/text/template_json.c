/* See template_json.h. */
#include "text/template_json.h"

#include "text/template_sort.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

typedef struct json_dump {
    qa_tv_run *run;
    qa_tv_buffer buffer;
    const qa_tv_json_options *options;
    size_t level;
} json_dump;

static void dump_value(json_dump *dump, const qa_tv *value);

static void dump_z(json_dump *dump, const char *text) { qa_tv_put_z(dump->run, &dump->buffer, text); }

static void dump_escape(json_dump *dump, uint32_t code) {
    static const char NAMED[] = "\"\"\\\\\nn\rr\tt\ff\bb";
    char escape[16];
    for (size_t i = 0; i + 1 < sizeof NAMED; i += 2) {
        if (code == (unsigned char)NAMED[i]) {
            (void)snprintf(escape, sizeof escape, "\\%c", NAMED[i + 1]);
            dump_z(dump, escape);
            return;
        }
    }
    if (code >= 0x10000) {
        (void)snprintf(escape, sizeof escape, "\\u%04" PRIx32, 0xD800 + ((code - 0x10000) >> 10));
        dump_z(dump, escape);
        code = 0xDC00 + ((code - 0x10000) & 0x3FF);
    }
    (void)snprintf(escape, sizeof escape, "\\u%04" PRIx32, code);
    dump_z(dump, escape);
}

static void dump_string(json_dump *dump, const char *data, size_t n) {
    dump_z(dump, "\"");
    size_t plain = 0; /* where what is not yet written begins */
    for (size_t at = 0; at < n;) {
        const size_t from = at;
        const uint32_t code = qa_utf8_next(data, &at);
        if (code < 0x20 || code == '"' || code == '\\' || (dump->options->ascii && code >= 0x7F)) {
            qa_tv_put(dump->run, &dump->buffer, data + plain, from - plain);
            dump_escape(dump, code);
            plain = at;
        }
    }
    qa_tv_put(dump->run, &dump->buffer, data + plain, n - plain);
    dump_z(dump, "\"");
}

static void dump_float(json_dump *dump, double real) {
    if (isfinite(real)) {
        qa_tv_put_float(dump->run, &dump->buffer, real);
    } else {
        dump_z(dump, isnan(real) ? "NaN" : real < 0 ? "-Infinity" : "Infinity");
    }
}

static void dump_line(json_dump *dump) {
    const qa_tv_string *indent = dump->options->indent;
    if (indent != NULL) {
        dump_z(dump, "\n");
        qa_tv_put_times(dump->run, &dump->buffer, indent->data, indent->n, dump->level);
    }
}

/* What stands in front of element i. */
static void dump_between(json_dump *dump, size_t i) {
    if (i > 0) {
        qa_tv_put(dump->run, &dump->buffer, dump->options->between_items->data, dump->options->between_items->n);
    }
    dump_line(dump);
}

static void dump_key(json_dump *dump, const qa_tv *key) {
    if (key->kind == QA_TV_STRING) {
        dump_string(dump, key->as.string->data, key->as.string->n);
    } else if (key->kind == QA_TV_NONE || key->kind == QA_TV_BOOL || key->kind == QA_TV_INT ||
               key->kind == QA_TV_FLOAT) {
        dump_z(dump, "\"");
        dump_value(dump, key);
        dump_z(dump, "\"");
    } else {
        qa_tv_fail(dump->run, "tojson: a key is a %s", qa_tv_type(key));
    }
    qa_tv_put(dump->run, &dump->buffer, dump->options->behind_key->data, dump->options->behind_key->n);
}

/* NULL: the order in which they were inserted. */
static const size_t *order_of_keys(json_dump *dump, const qa_tv_dict *dict) {
    if (!dump->options->sorted) {
        return NULL;
    }
    qa_tv *keys = QA_HEAP_NEW(&dump->run->heap, qa_tv, dict->n);
    for (size_t i = 0; i < dict->n; i++) {
        keys[i] = dict->entries[i].key;
    }
    return qa_tv_sorted(dump->run, keys, dict->n, false);
}

static void dump_dict(json_dump *dump, const qa_tv_dict *dict) {
    const size_t *order = order_of_keys(dump, dict);
    dump_z(dump, "{");
    dump->level++;
    for (size_t i = 0; i < dict->n; i++) {
        dump_between(dump, i);
        const qa_tv_entry *entry = &dict->entries[order == NULL ? i : order[i]];
        dump_key(dump, &entry->key);
        dump_value(dump, &entry->value);
    }
    dump->level--;
    if (dict->n > 0) {
        dump_line(dump);
    }
    dump_z(dump, "}");
}

static void dump_list(json_dump *dump, const qa_tv_list *list) {
    dump_z(dump, "[");
    dump->level++;
    for (size_t i = 0; i < list->n; i++) {
        dump_between(dump, i);
        dump_value(dump, &list->items[i]);
    }
    dump->level--;
    if (list->n > 0) {
        dump_line(dump);
    }
    dump_z(dump, "]");
}

static void dump_value(json_dump *dump, const qa_tv *value) {
    qa_tv_enter(dump->run);
    switch (value->kind) {
    case QA_TV_NONE: dump_z(dump, "null"); break;
    case QA_TV_BOOL: dump_z(dump, value->as.truth ? "true" : "false"); break;
    case QA_TV_INT: qa_tv_put_int(dump->run, &dump->buffer, value->as.integer); break;
    case QA_TV_FLOAT: dump_float(dump, value->as.real); break;
    case QA_TV_STRING: dump_string(dump, value->as.string->data, value->as.string->n); break;
    case QA_TV_LIST:
    case QA_TV_TUPLE: dump_list(dump, value->as.list); break;
    case QA_TV_DICT: dump_dict(dump, value->as.dict); break;
    default: qa_tv_fail(dump->run, "tojson: a %s is not JSON", qa_tv_type(value));
    }
    qa_tv_leave(dump->run);
}

qa_tv qa_tv_to_json(qa_tv_run *run, const qa_tv *value, const qa_tv_json_options *options) {
    json_dump dump = {.run = run, .options = options};
    dump_value(&dump, value);
    return qa_tv_of_buffer(run, &dump.buffer);
}
