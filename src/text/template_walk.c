/* Walking values (template_value.h): what iter(), list() and "in" make of each kind. */
#define _GNU_SOURCE /* memmem */
#include "text/template_value.h"

#include "text/utf8.h"

static bool next_item(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    (void)run;
    const qa_tv_list *list = it->over.as.list;
    if (it->at == list->n) {
        return false;
    }
    *value = list->items[it->at++];
    return true;
}

static bool next_character(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    const qa_tv_string *string = it->over.as.string;
    const size_t from = it->at;
    if (from == string->n) {
        return false;
    }
    (void)qa_utf8_next(string->data, &it->at);
    *value = qa_tv_borrowed(run, string->data + from, it->at - from);
    value->as.string->chars = 1;
    return true;
}

static bool next_entry(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    const qa_tv_dict *dict = it->over.as.dict;
    if (it->at == dict->n) {
        return false;
    }
    const qa_tv_entry *entry = &dict->entries[it->at++];
    *value = it->over.kind == QA_TV_VALUES  ? entry->value
             : it->over.kind == QA_TV_ITEMS ? qa_tv_pair(run, entry->key, entry->value)
                                            : entry->key;
    return true;
}

static bool next_of_range(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    (void)run;
    const qa_tv_range *range = it->over.as.range;
    if (it->at == range->n) {
        return false;
    }
    *value = qa_tv_int(range->start + (int64_t)it->at++ * range->step);
    return true;
}

static bool next_of_nothing(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    (void)run, (void)it, (void)value;
    return false;
}

/* NULL where Python cannot iterate. */
static bool (*next_of(const qa_tv *value))(qa_tv_run *, qa_tv_iterator *, qa_tv *) {
    switch (value->kind) {
    case QA_TV_UNDEFINED: return next_of_nothing;
    case QA_TV_STRING: return next_character;
    case QA_TV_LIST:
    case QA_TV_TUPLE: return next_item;
    case QA_TV_DICT:
    case QA_TV_KEYS:
    case QA_TV_VALUES:
    case QA_TV_ITEMS: return next_entry;
    case QA_TV_RANGE: return next_of_range;
    case QA_TV_ITERATOR: return value->as.iterator->next;
    default: return NULL;
    }
}

bool qa_tv_walkable(const qa_tv *value) { return next_of(value) != NULL; }

qa_tv_iterator *qa_tv_iterate(qa_tv_run *run, qa_tv value) {
    if (value.kind == QA_TV_ITERATOR) {
        return value.as.iterator;
    }
    if (!qa_tv_walkable(&value)) {
        qa_tv_fail(run, "a %s cannot be iterated over", qa_tv_type(&value));
    }
    qa_tv_iterator *it = QA_HEAP_NEW(&run->heap, qa_tv_iterator, 1);
    it->next = next_of(&value);
    it->over = value;
    return it;
}

qa_tv qa_tv_of_iterator(qa_tv_iterator *it) { return (qa_tv){.kind = QA_TV_ITERATOR, .as.iterator = it}; }

qa_tv_list *qa_tv_listed(qa_tv_run *run, qa_tv value) {
    size_t n = 0;
    (void)(value.kind != QA_TV_STRING && qa_tv_length(&value, &n)); /* room for them at once */
    qa_tv_iterator *it = qa_tv_iterate(run, value);
    qa_tv_list *list = qa_tv_new_list(run, n);
    for (qa_tv item; qa_tv_next(run, it, &item);) {
        qa_tv_push(run, list, item);
    }
    return list;
}

/* ---- in ---- */

static bool contains_text(qa_tv_run *run, const qa_tv_string *text, const qa_tv *part) {
    if (part->kind != QA_TV_STRING) {
        qa_tv_fail(run, "'in' needs a str in a str, not %s", qa_tv_type(part));
    }
    qa_tv_spend(run, QA_TV_SEARCH * text->n);
    return part->as.string->n == 0 || memmem(text->data, text->n, part->as.string->data, part->as.string->n) != NULL;
}

bool qa_tv_contains(qa_tv_run *run, const qa_tv *container, const qa_tv *value) {
    if (container->kind == QA_TV_STRING) {
        return contains_text(run, container->as.string, value);
    }
    if (container->kind == QA_TV_DICT || container->kind == QA_TV_KEYS) {
        if (!qa_tv_hashable(value)) {
            qa_tv_fail(run, "a %s cannot be the key of a dict", qa_tv_type(value));
        }
        return qa_tv_dict_get(run, container->as.dict, *value) != NULL;
    }
    if (!qa_tv_walkable(container)) {
        qa_tv_fail(run, "'in' needs something to look in, not %s", qa_tv_type(container));
    }
    qa_tv_iterator *it = qa_tv_iterate(run, *container);
    for (qa_tv item; qa_tv_next(run, it, &item);) {
        if (qa_tv_equal(run, &item, value)) {
            return true;
        }
    }
    return false;
}
