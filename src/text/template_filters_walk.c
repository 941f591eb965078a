/* See template_filters_walk.h. map, select and their like are generators, as in Jinja2: what they do is done when they
 * are walked, and they are walked once. */
#include "text/template_filters_walk.h"

#include "text/template_filters.h"
#include "text/template_lex.h"
#include "text/template_operators.h"
#include "text/template_sort.h"
#include "text/template_strings.h"
#include "text/template_tests.h"

/* ---- attributes by name ---- */

/* "a.b.0": the path of subscripts into a value; no parts for None. */
static qa_tv_list *path_of(qa_tv_run *run, qa_tv attribute) {
    qa_tv_list *parts = qa_tv_new_list(run, 1);
    if (attribute.kind != QA_TV_STRING) {
        if (qa_tv_given(&attribute) && attribute.kind != QA_TV_NONE) {
            qa_tv_push(run, parts, attribute);
        }
        return parts;
    }
    parts = qa_tv_split(run, attribute.as.string, &(qa_tv_string){.data = ".", .n = 1}, -1, false);
    for (size_t i = 0; i < parts->n; i++) {
        const qa_tv_string *part = parts->items[i].as.string;
        int64_t number = part->n == 0 || part->n > 9 ? -1 : 0;
        for (size_t c = 0; c < part->n && number >= 0; c++) {
            number = part->data[c] >= '0' && part->data[c] <= '9' ? number * 10 + (part->data[c] - '0') : -1;
        }
        parts->items[i] = number >= 0 ? qa_tv_int(number) : parts->items[i];
    }
    return parts;
}

/* otherwise: what stands for an undefined value on the way, unless it is None or missing. */
static qa_tv follow_path(qa_tv_run *run, const qa_tv_list *path, qa_tv value, const qa_tv *otherwise) {
    for (size_t i = 0; i < path->n; i++) {
        value = qa_tv_item(run, value, path->items[i]);
        if (value.kind == QA_TV_UNDEFINED && otherwise != NULL && qa_tv_given(otherwise) &&
            otherwise->kind != QA_TV_NONE) {
            value = *otherwise;
        }
    }
    return value;
}

static qa_tv without_case(qa_tv_run *run, qa_tv value, bool case_sensitive) {
    return case_sensitive || value.kind != QA_TV_STRING ? value : qa_tv_cased(run, value.as.string, QA_TV_LOWER);
}

/* ---- generators ---- */

typedef struct walk_step {
    const qa_tv_row *row; /* a filter or a test; NULL: whether the value is true, or the value itself */
    qa_tv_call call;
    const qa_tv_list *path; /* NULL: the value itself */
    qa_tv otherwise;
    bool rejects;
} walk_step;

/* The next value of what the generator walks, which it looks at only now. */
static bool next_source(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    if (it->source == NULL) {
        it->source = qa_tv_iterate(run, it->over);
    }
    return qa_tv_next(run, it->source, value);
}

static bool next_mapped(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    const walk_step *step = it->state;
    if (!next_source(run, it, value)) {
        return false;
    }
    *value = step->path != NULL ? follow_path(run, step->path, *value, &step->otherwise)
                                : qa_tv_apply(run, step->row, *value, &step->call);
    return true;
}

static bool next_selected(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    const walk_step *step = it->state;
    bool found = false;
    while (!found && next_source(run, it, value)) {
        qa_tv tested = step->path == NULL ? *value : follow_path(run, step->path, *value, NULL);
        tested = step->row == NULL ? tested : qa_tv_apply(run, step->row, tested, &step->call);
        found = qa_tv_true(&tested) != step->rejects;
    }
    return found;
}

static qa_tv generator(qa_tv_run *run, qa_tv over, const void *state,
                       bool (*next)(qa_tv_run *, qa_tv_iterator *, qa_tv *)) {
    qa_tv_iterator *it = QA_HEAP_NEW(&run->heap, qa_tv_iterator, 1);
    *it = (qa_tv_iterator){.next = next, .state = state, .over = over};
    return qa_tv_of_iterator(it);
}

/* What is false, None too, is walked as if it were empty. */
static qa_tv stepping(qa_tv_run *run, qa_tv over, walk_step step,
                      bool (*next)(qa_tv_run *, qa_tv_iterator *, qa_tv *)) {
    walk_step *kept = QA_HEAP_NEW(&run->heap, walk_step, 1);
    *kept = step;
    return generator(run, qa_tv_true(&over) ? over : qa_tv_of_list(qa_tv_new_list(run, 0)), kept, next);
}

/* What makes all the values of a generator at once. */
typedef qa_tv_list *(*walk_maker)(qa_tv_run *run, qa_tv self, const qa_tv *args);

typedef struct walk_later {
    walk_maker make;
    qa_tv args[QA_TV_MOST_ARGUMENTS];
} walk_later;

static bool next_made(qa_tv_run *run, qa_tv_iterator *it, qa_tv *value) {
    const walk_later *later = it->state;
    if (it->source == NULL) {
        it->source = qa_tv_iterate(run, qa_tv_of_list(later->make(run, it->over, later->args)));
    }
    return qa_tv_next(run, it->source, value);
}

/* A generator whose values are made when the first one is asked for. */
static qa_tv made_later(qa_tv_run *run, qa_tv self, const qa_tv *args, walk_maker make) {
    walk_later *later = QA_HEAP_NEW(&run->heap, walk_later, 1);
    later->make = make;
    memcpy(later->args, args, sizeof later->args);
    return generator(run, self, later, next_made);
}

/* The row that an argument names. */
static const qa_tv_row *named_row(qa_tv_run *run, const qa_tv *name, bool filter) {
    const qa_tv_string *text = qa_tv_need_string(run, name);
    const qa_tv_row *row = filter ? qa_template_filter(text->data, text->n) : qa_template_test(text->data, text->n);
    if (row == NULL) {
        qa_tv_fail(run, "there is no %s \"%.*s\"", filter ? "filter" : "test", (int)(text->n < 80 ? text->n : 80),
                   text->data);
    }
    return row;
}

static qa_tv_call without_first(const qa_tv_call *call, size_t n) {
    qa_tv_call rest = *call;
    n = n < rest.n ? n : rest.n;
    if (n > 0) {
        rest.given += n;
        rest.n -= n;
    }
    return rest;
}

static const qa_tv *named_argument(const qa_tv_call *call, const char *name) {
    for (size_t i = 0; i < call->n_named; i++) {
        if (qa_tv_is_text(&call->names[i], name)) {
            return &call->named[i];
        }
    }
    return NULL;
}

QA_TV_BODY(filter_map) {
    const qa_tv *attribute = named_argument(call, "attribute"), *otherwise = named_argument(call, "default");
    if (call->n == 0 && attribute == NULL) {
        qa_tv_fail(run, "map needs a filter or an attribute");
    }
    if (call->n == 0) {
        if (call->n_named > 1 + (size_t)(otherwise != NULL)) {
            qa_tv_fail(run, "map has an argument that it does not know");
        }
        const walk_step step = {.path = path_of(run, *attribute),
                                .otherwise = otherwise != NULL ? *otherwise : qa_tv_none()};
        return stepping(run, self, step, next_mapped);
    }
    const walk_step step = {.row = named_row(run, &call->given[0], true), .call = without_first(call, 1)};
    return stepping(run, self, step, next_mapped);
}

static qa_tv selecting(qa_tv_run *run, qa_tv self, const qa_tv_call *call, bool by_attribute, bool rejects) {
    walk_step step = {.rejects = rejects, .call = without_first(call, by_attribute ? 2 : 1)};
    const size_t test = by_attribute ? 1 : 0;
    if (by_attribute && call->n == 0) {
        qa_tv_fail(run, "selectattr and rejectattr need an attribute");
    }
    step.path = by_attribute ? path_of(run, call->given[0]) : NULL;
    step.row = call->n > test ? named_row(run, &call->given[test], false) : NULL;
    return stepping(run, self, step, next_selected);
}

QA_TV_BODY(filter_select) { return selecting(run, self, call, false, false); }
QA_TV_BODY(filter_reject) { return selecting(run, self, call, false, true); }
QA_TV_BODY(filter_selectattr) { return selecting(run, self, call, true, false); }
QA_TV_BODY(filter_rejectattr) { return selecting(run, self, call, true, true); }

static qa_tv_list *make_items(qa_tv_run *run, qa_tv self, const qa_tv *args) {
    (void)args;
    if (self.kind != QA_TV_DICT && self.kind != QA_TV_UNDEFINED) {
        qa_tv_fail(run, "items of a %s: only a dict has some", qa_tv_type(&self));
    }
    self.kind = self.kind == QA_TV_DICT ? QA_TV_ITEMS : self.kind;
    return qa_tv_listed(run, self);
}

static qa_tv_list *make_unique(qa_tv_run *run, qa_tv self, const qa_tv *args) {
    qa_tv_list *found = qa_tv_new_list(run, 8);
    qa_tv_dict *seen = qa_tv_new_dict(run, 8);
    const qa_tv_list *path = path_of(run, args[1]);
    qa_tv_iterator *it = qa_tv_iterate(run, self);
    for (qa_tv value; qa_tv_next(run, it, &value);) {
        const qa_tv key = without_case(run, follow_path(run, path, value, NULL), qa_tv_true(&args[0]));
        const size_t before = seen->n;
        qa_tv_dict_set(run, seen, key, qa_tv_none());
        if (seen->n > before) {
            qa_tv_push(run, found, value);
        }
    }
    return found;
}

static qa_tv_list *make_batches(qa_tv_run *run, qa_tv self, const qa_tv *args) {
    const int64_t width = qa_tv_need_int(run, &args[0], 0);
    qa_tv_list *batches = qa_tv_new_list(run, 8), *batch = NULL;
    qa_tv_iterator *it = qa_tv_iterate(run, self);
    for (qa_tv value; qa_tv_next(run, it, &value);) {
        if (batch == NULL || (int64_t)batch->n == width) {
            batch = qa_tv_new_list(run, 4);
            qa_tv_push(run, batches, qa_tv_of_list(batch));
        }
        qa_tv_push(run, batch, value);
    }
    while (batch != NULL && qa_tv_given(&args[1]) && args[1].kind != QA_TV_NONE && (int64_t)batch->n < width) {
        qa_tv_spend(run, 0);
        qa_tv_push(run, batch, args[1]);
    }
    return batches;
}

static qa_tv_list *make_slices(qa_tv_run *run, qa_tv self, const qa_tv *args) {
    const qa_tv_list *all = qa_tv_listed(run, self);
    const int64_t n = qa_tv_need_int(run, &args[0], 0);
    qa_tv_list *slices = qa_tv_new_list(run, 4);
    if (n == 0) {
        qa_tv_fail(run, "slice into no parts");
    }
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        const size_t more = (size_t)((int64_t)all->n % n > i);
        const size_t width = all->n / (size_t)n + more;
        qa_tv_list *part = qa_tv_new_list(run, width + 1);
        for (size_t j = 0; j < width; j++) {
            qa_tv_push(run, part, all->items[at++]);
        }
        if (more == 0 && qa_tv_given(&args[1]) && args[1].kind != QA_TV_NONE) {
            qa_tv_push(run, part, args[1]);
        }
        qa_tv_push(run, slices, qa_tv_of_list(part));
        qa_tv_spend(run, 0);
    }
    return slices;
}

QA_TV_BODY(filter_items) { return made_later(run, self, args, make_items); }
QA_TV_BODY(filter_unique) { return made_later(run, self, args, make_unique); }
QA_TV_BODY(filter_batch) { return made_later(run, self, args, make_batches); }
QA_TV_BODY(filter_slice) { return made_later(run, self, args, make_slices); }

/* ---- the ends, and the order ---- */

QA_TV_BODY(filter_list) { return qa_tv_of_list(qa_tv_listed(run, self)); }

QA_TV_BODY(filter_first) {
    qa_tv value = qa_tv_none();
    return qa_tv_next(run, qa_tv_iterate(run, self), &value) ? value : qa_tv_undefined(run, "the first item", 14);
}

/* The values from the last on; fails for generators, which Python cannot reverse. */
static qa_tv_list *backwards(qa_tv_run *run, qa_tv value, bool generators) {
    if (value.kind == QA_TV_ITERATOR && !generators) {
        qa_tv_fail(run, "a generator cannot be reversed (make a |list)");
    }
    const qa_tv_list *list = qa_tv_listed(run, value);
    qa_tv_list *reversed = qa_tv_new_list(run, list->n);
    for (size_t i = list->n; i > 0; i--) {
        qa_tv_push(run, reversed, list->items[i - 1]);
    }
    return reversed;
}

QA_TV_BODY(filter_last) {
    const qa_tv_list *reversed = backwards(run, self, false);
    return reversed->n > 0 ? reversed->items[0] : qa_tv_undefined(run, "the last item", 13);
}

QA_TV_BODY(filter_reverse) {
    if (self.kind == QA_TV_STRING) {
        return qa_tv_slice(run, self, qa_tv_none(), qa_tv_none(), qa_tv_int(-1));
    }
    if (self.kind == QA_TV_ITERATOR) {
        return qa_tv_of_list(backwards(run, self, true));
    }
    return qa_tv_of_iterator(qa_tv_iterate(run, qa_tv_of_list(backwards(run, self, false))));
}

QA_TV_BODY(filter_join) {
    const qa_tv separator = qa_tv_given(&args[0]) ? qa_tv_str(run, args[0]) : qa_tv_borrowed(run, "", 0);
    if (qa_tv_given(&args[1]) && args[1].kind != QA_TV_NONE) {
        walk_step *step = QA_HEAP_NEW(&run->heap, walk_step, 1);
        step->path = path_of(run, args[1]);
        self = generator(run, self, step, next_mapped);
    }
    return qa_tv_join(run, separator.as.string, self, true);
}

/* What values are sorted by: lists of one attribute each, or of several with commas between them. */
static qa_tv *sort_keys(qa_tv_run *run, const qa_tv_list *values, qa_tv attribute, bool case_sensitive) {
    qa_tv *keys = QA_HEAP_NEW(&run->heap, qa_tv, values->n);
    const bool text = attribute.kind == QA_TV_STRING;
    const qa_tv_list *names =
        text ? qa_tv_split(run, attribute.as.string, &(qa_tv_string){.data = ",", .n = 1}, -1, false) : NULL;
    const size_t n = text ? names->n : 1;
    for (size_t part = 0; part < n; part++) {
        const qa_tv_list *path = path_of(run, text ? names->items[part] : attribute);
        for (size_t i = 0; i < values->n; i++) {
            const qa_tv key = without_case(run, follow_path(run, path, values->items[i], NULL), case_sensitive);
            keys[i] = part == 0 ? qa_tv_of_list(qa_tv_new_list(run, n)) : keys[i];
            qa_tv_push(run, keys[i].as.list, key);
        }
    }
    return keys;
}

/* What they are grouped by, and dicts are sorted by: a value each. */
static qa_tv *path_keys(qa_tv_run *run, const qa_tv_list *values, const qa_tv_list *path, const qa_tv *otherwise,
                        bool case_sensitive) {
    qa_tv *keys = QA_HEAP_NEW(&run->heap, qa_tv, values->n);
    for (size_t i = 0; i < values->n; i++) {
        keys[i] = without_case(run, follow_path(run, path, values->items[i], otherwise), case_sensitive);
    }
    return keys;
}

static qa_tv in_order(qa_tv_run *run, const qa_tv_list *values, const size_t *order) {
    qa_tv_list *sorted = qa_tv_new_list(run, values->n);
    for (size_t i = 0; i < values->n; i++) {
        qa_tv_push(run, sorted, values->items[order[i]]);
    }
    return qa_tv_of_list(sorted);
}

QA_TV_BODY(filter_sort) {
    const qa_tv_list *values = qa_tv_listed(run, self);
    const qa_tv *keys = sort_keys(run, values, args[2], qa_tv_true(&args[1]));
    return in_order(run, values, qa_tv_sorted(run, keys, values->n, qa_tv_true(&args[0])));
}

QA_TV_BODY(filter_dictsort) {
    const bool by_value = qa_tv_is_text(&args[1], "value");
    if (self.kind != QA_TV_DICT || (qa_tv_given(&args[1]) && !by_value && !qa_tv_is_text(&args[1], "key"))) {
        qa_tv_fail(run, "dictsort sorts a dict, by \"key\" or \"value\"");
    }
    const qa_tv_list *pairs = qa_tv_listed(run, (qa_tv){.kind = QA_TV_ITEMS, .as.dict = self.as.dict});
    const qa_tv *keys = path_keys(run, pairs, path_of(run, qa_tv_int(by_value)), NULL, qa_tv_true(&args[0]));
    return in_order(run, pairs, qa_tv_sorted(run, keys, pairs->n, qa_tv_true(&args[2])));
}

/* The first of the smallest, or of the largest. */
static qa_tv extreme(qa_tv_run *run, qa_tv self, const qa_tv *args, int operator_) {
    const qa_tv_list *values = qa_tv_listed(run, self), *path = path_of(run, args[1]);
    if (values->n == 0) {
        return qa_tv_undefined(run, "the item of nothing", 19);
    }
    size_t best = 0;
    qa_tv best_key = without_case(run, follow_path(run, path, values->items[0], NULL), qa_tv_true(&args[0]));
    for (size_t i = 1; i < values->n; i++) {
        const qa_tv key = without_case(run, follow_path(run, path, values->items[i], NULL), qa_tv_true(&args[0]));
        if (qa_tv_compare(run, operator_, &key, &best_key)) {
            best = i;
            best_key = key;
        }
    }
    return values->items[best];
}

QA_TV_BODY(filter_min) { return extreme(run, self, args, '<'); }
QA_TV_BODY(filter_max) { return extreme(run, self, args, '>'); }

QA_TV_BODY(filter_sum) {
    qa_tv sum = qa_tv_given(&args[1]) ? args[1] : qa_tv_int(0);
    const qa_tv_list *path = path_of(run, args[0]);
    qa_tv_iterator *it = qa_tv_iterate(run, self);
    if (sum.kind == QA_TV_STRING) {
        qa_tv_fail(run, "sum of str: join them");
    }
    for (qa_tv value; qa_tv_next(run, it, &value);) {
        sum = qa_tv_operate(run, '+', sum, follow_path(run, path, value, NULL));
    }
    return sum;
}

QA_TV_BODY(filter_groupby) {
    const qa_tv_list *values = qa_tv_listed(run, self), *path = path_of(run, args[0]);
    const qa_tv *keys = path_keys(run, values, path, &args[1], qa_tv_true(&args[2]));
    const size_t *order = qa_tv_sorted(run, keys, values->n, false);
    qa_tv_list *groups = qa_tv_new_list(run, 4);
    for (size_t i = 0; i < values->n; i++) {
        const qa_tv value = values->items[order[i]];
        if (i == 0 || !qa_tv_equal(run, &keys[order[i]], &keys[order[i - 1]])) {
            const qa_tv shown = follow_path(run, path, value, &args[1]);
            const qa_tv group = qa_tv_pair(run, shown, qa_tv_of_list(qa_tv_new_list(run, 4)));
            group.as.list->group = true;
            qa_tv_push(run, groups, group);
        }
        qa_tv_push(run, groups->items[groups->n - 1].as.list->items[1].as.list, value);
    }
    return qa_tv_of_list(groups);
}

/* ---- the table ---- */

static const qa_tv_row WALK_FILTERS[] = {
    {"batch", filter_batch, "linecount fill_with?"},
    {"dictsort", filter_dictsort, "case_sensitive? by? reverse?"},
    {"first", filter_first, ""},
    {"groupby", filter_groupby, "attribute default? case_sensitive?"},
    {"items", filter_items, ""},
    {"join", filter_join, "d? attribute?"},
    {"last", filter_last, ""},
    {"list", filter_list, ""},
    {"map", filter_map, NULL},
    {"max", filter_max, "case_sensitive? attribute?"},
    {"min", filter_min, "case_sensitive? attribute?"},
    {"reject", filter_reject, NULL},
    {"rejectattr", filter_rejectattr, NULL},
    {"reverse", filter_reverse, ""},
    {"select", filter_select, NULL},
    {"selectattr", filter_selectattr, NULL},
    {"slice", filter_slice, "slices fill_with?"},
    {"sort", filter_sort, "reverse? case_sensitive? attribute?"},
    {"sum", filter_sum, "attribute? start?"},
    {"unique", filter_unique, "case_sensitive? attribute?"},
};

const qa_tv_row *qa_template_filter(const char *name, size_t bytes) {
    const qa_tv_row *row = QA_TV_FIND_ROW(WALK_FILTERS, name, bytes);
    return row != NULL ? row : qa_template_plain_filter(name, bytes);
}
