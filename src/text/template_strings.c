/* See template_strings.h. */
#define _GNU_SOURCE /* memmem, memrchr */
#include "text/template_strings.h"

#include "text/template_lex.h"
#include "text/utf8.h"

qa_tv qa_tv_part(qa_tv_run *run, const qa_tv_string *text, size_t from, size_t to) {
    qa_tv part = qa_tv_borrowed(run, text->data + from, to - from);
    if (text->chars == text->n) {
        part.as.string->chars = to - from;
    }
    return part;
}

/* ---- strip ---- */

static bool in_set(const qa_tv_string *set, uint32_t code) {
    for (size_t at = 0; set != NULL && at < set->n;) {
        if (qa_utf8_next(set->data, &at) == code) {
            return true;
        }
    }
    return set == NULL && qa_template_is_space(code);
}

qa_tv qa_tv_stripped(qa_tv_run *run, const qa_tv_string *text, const qa_tv_string *set, bool front, bool end) {
    size_t from = 0, to = text->n;
    while (front && from < to) {
        size_t behind = from;
        if (!in_set(set, qa_utf8_next(text->data, &behind))) {
            break;
        }
        qa_tv_spend(run, set == NULL ? 0 : set->n);
        from = behind;
    }
    while (end && to > from) {
        const size_t before = qa_utf8_before(text->data, to);
        size_t behind = before;
        if (!in_set(set, qa_utf8_next(text->data, &behind))) {
            break;
        }
        qa_tv_spend(run, set == NULL ? 0 : set->n);
        to = before;
    }
    return qa_tv_part(run, text, from, to);
}

/* ---- find ---- */

size_t qa_tv_find(qa_tv_run *run, const qa_tv_string *text, const qa_tv_string *part, size_t from, size_t to,
                  bool last) {
    if (from > to || part->n > to - from) {
        return SIZE_MAX;
    }
    qa_tv_spend(run, QA_TV_SEARCH * (to - from));
    if (!last) {
        const char *found = memmem(text->data + from, to - from, part->data, part->n);
        return found == NULL ? SIZE_MAX : (size_t)(found - text->data);
    }
    for (size_t at = to - part->n + 1; at > from; at--) {
        if (memcmp(text->data + at - 1, part->data, part->n) == 0) {
            return at - 1;
        }
        qa_tv_spend(run, part->n > 64 ? part->n : 0);
    }
    return SIZE_MAX;
}

/* Between every two characters, and at both ends. */
static qa_tv replaced_nothing(qa_tv_run *run, const qa_tv_string *text, const qa_tv_string *new_, int64_t most) {
    qa_tv_buffer out = {0};
    size_t at = 0;
    for (int64_t done = 0; most < 0 || done < most; done++) {
        qa_tv_put(run, &out, new_->data, new_->n);
        if (at == text->n) {
            break;
        }
        const size_t from = at;
        (void)qa_utf8_next(text->data, &at);
        qa_tv_put(run, &out, text->data + from, at - from);
    }
    qa_tv_put(run, &out, text->data + at, text->n - at);
    return qa_tv_of_buffer(run, &out);
}

qa_tv qa_tv_replaced(qa_tv_run *run, const qa_tv_string *text, const qa_tv_string *old, const qa_tv_string *new_,
                     int64_t most) {
    if (old->n == 0) {
        return replaced_nothing(run, text, new_, most);
    }
    qa_tv_spend(run, QA_TV_SEARCH * text->n);
    qa_tv_buffer out = {0};
    size_t at = 0;
    for (int64_t done = 0; most < 0 || done < most; done++) {
        const char *found = memmem(text->data + at, text->n - at, old->data, old->n);
        if (found == NULL) {
            break;
        }
        qa_tv_put(run, &out, text->data + at, (size_t)(found - text->data) - at);
        qa_tv_put(run, &out, new_->data, new_->n);
        at = (size_t)(found - text->data) + old->n;
    }
    if (at == 0) {
        return qa_tv_part(run, text, 0, text->n);
    }
    qa_tv_put(run, &out, text->data + at, text->n - at);
    return qa_tv_of_buffer(run, &out);
}

/* ---- split ---- */

static void split_at_space(qa_tv_run *run, const qa_tv_string *text, int64_t most, qa_tv_list *parts) {
    size_t at = 0;
    for (;;) {
        size_t from = at, next = at;
        while (from < text->n && qa_template_is_space(qa_utf8_next(text->data, &next))) {
            from = next;
        }
        if (from == text->n) {
            return;
        }
        if (most >= 0 && (int64_t)parts->n == most) {
            qa_tv_push(run, parts, qa_tv_part(run, text, from, text->n));
            return;
        }
        at = next = from;
        while (at < text->n && !qa_template_is_space(qa_utf8_next(text->data, &next))) {
            at = next;
        }
        qa_tv_push(run, parts, qa_tv_part(run, text, from, at));
    }
}

static void split_at_space_from_end(qa_tv_run *run, const qa_tv_string *text, int64_t most, qa_tv_list *parts) {
    size_t to = text->n;
    for (;;) {
        qa_tv rest =
            qa_tv_stripped(run, &(qa_tv_string){.data = text->data, .n = to, .chars = SIZE_MAX}, NULL, false, true);
        size_t from = to = rest.as.string->n;
        if (to == 0) {
            return;
        }
        if (most >= 0 && (int64_t)parts->n == most) {
            qa_tv_push(run, parts, rest);
            return;
        }
        while (from > 0) {
            const size_t before = qa_utf8_before(text->data, from);
            size_t behind = before;
            if (qa_template_is_space(qa_utf8_next(text->data, &behind))) {
                break;
            }
            from = before;
        }
        qa_tv_push(run, parts, qa_tv_part(run, text, from, to));
        to = from;
    }
}

static void split_at_text(qa_tv_run *run, const qa_tv_string *text, const qa_tv_string *separator, int64_t most,
                          bool from_end, qa_tv_list *parts) {
    size_t from = 0, to = text->n;
    while (most < 0 || (int64_t)parts->n < most) {
        qa_tv_spend(run, 0);
        size_t found = SIZE_MAX;
        if (from_end) {
            found = qa_tv_find(run, text, separator, from, to, true);
        } else {
            const char *place = memmem(text->data + from, to - from, separator->data, separator->n);
            found = place == NULL ? SIZE_MAX : (size_t)(place - text->data);
        }
        if (found == SIZE_MAX) {
            break;
        }
        if (from_end) {
            qa_tv_push(run, parts, qa_tv_part(run, text, found + separator->n, to));
            to = found;
        } else {
            qa_tv_push(run, parts, qa_tv_part(run, text, from, found));
            from = found + separator->n;
        }
    }
    qa_tv_push(run, parts, qa_tv_part(run, text, from, to));
}

qa_tv_list *qa_tv_split(qa_tv_run *run, const qa_tv_string *text, const qa_tv_string *separator, int64_t most,
                        bool from_end) {
    qa_tv_list *parts = qa_tv_new_list(run, 4);
    qa_tv_spend(run, QA_TV_SEARCH * text->n);
    if (separator != NULL && separator->n == 0) {
        qa_tv_fail(run, "split() with an empty separator");
    }
    if (separator != NULL) {
        split_at_text(run, text, separator, most, from_end, parts);
    } else if (from_end) {
        split_at_space_from_end(run, text, most, parts);
    } else {
        split_at_space(run, text, most, parts);
    }
    for (size_t i = 0; from_end && i < parts->n / 2; i++) {
        const qa_tv first = parts->items[i];
        parts->items[i] = parts->items[parts->n - 1 - i];
        parts->items[parts->n - 1 - i] = first;
    }
    return parts;
}

static bool ends_line(uint32_t code) {
    return (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 ||
           code == 0x2029;
}

qa_tv_list *qa_tv_lines(qa_tv_run *run, const qa_tv_string *text, bool keep_ends) {
    qa_tv_list *lines = qa_tv_new_list(run, 4);
    size_t from = 0;
    qa_tv_spend(run, text->n);
    for (size_t at = 0; at < text->n;) {
        const size_t end = at;
        if (!ends_line(qa_utf8_next(text->data, &at))) {
            continue;
        }
        at += text->data[end] == '\r' && at < text->n && text->data[at] == '\n';
        qa_tv_push(run, lines, qa_tv_part(run, text, from, keep_ends ? at : end));
        from = at;
    }
    if (from < text->n) {
        qa_tv_push(run, lines, qa_tv_part(run, text, from, text->n));
    }
    return lines;
}

/* ---- join, escape ---- */

qa_tv qa_tv_join(qa_tv_run *run, const qa_tv_string *separator, qa_tv values, bool any) {
    qa_tv_buffer out = {0};
    qa_tv_iterator *it = qa_tv_iterate(run, values);
    bool first = true;
    for (qa_tv value; qa_tv_next(run, it, &value); first = false) {
        if (!any && value.kind != QA_TV_STRING) {
            qa_tv_fail(run, "join() of a %s: it joins str alone", qa_tv_type(&value));
        }
        qa_tv_put(run, &out, separator->data, first ? 0 : separator->n);
        qa_tv_put_str(run, &out, &value);
    }
    return qa_tv_of_buffer(run, &out);
}

qa_tv qa_tv_escaped(qa_tv_run *run, const qa_tv_string *text) {
    static const struct {
        char character;
        const char *entity;
    } ENTITIES[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
    qa_tv_buffer out = {0};
    for (size_t i = 0; i < text->n; i++) {
        const char *entity = NULL;
        for (size_t e = 0; e < sizeof ENTITIES / sizeof ENTITIES[0]; e++) {
            entity = text->data[i] == ENTITIES[e].character ? ENTITIES[e].entity : entity;
        }
        qa_tv_put(run, &out, entity != NULL ? entity : text->data + i, entity != NULL ? strlen(entity) : 1);
    }
    return qa_tv_marked(run, qa_tv_of_buffer(run, &out), true);
}
