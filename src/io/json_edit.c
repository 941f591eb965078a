/* See json_edit.h. Only strings and nesting are looked at: the text is known to be JSON. */
#include "io/json_edit.h"

#include "base/try.h"

#include <string.h>

static size_t skip_space(const qa_text *text, size_t at) {
    while (at < text->n && strchr(" \t\r\n", text->data[at]) != NULL) {
        at++;
    }
    return at;
}

/* Behind the string that begins at `at`. */
static size_t skip_string(const qa_text *text, size_t at) {
    for (at++; at < text->n && text->data[at] != '"'; at++) {
        at += text->data[at] == '\\' ? 1 : 0;
    }
    return at + 1;
}

/* Behind the value that begins at `at`. */
static size_t skip_value(const qa_text *text, size_t at) {
    size_t depth = 0;
    while (at < text->n) {
        const char c = text->data[at];
        if (c == '"') {
            at = skip_string(text, at);
        } else if (c == '{' || c == '[') {
            depth++;
            at++;
        } else if (depth > 0) {
            depth -= c == '}' || c == ']' ? 1 : 0;
            at++;
        } else if (strchr(",}] \t\r\n", c) != NULL) {
            return at; /* of a number or a word */
        } else {
            at++;
            continue;
        }
        if (depth == 0) {
            return at;
        }
    }
    return at;
}

/* text[first, end) becomes `with`. */
static qa_status put_in_place(qa_text *text, size_t first, size_t end, const char *with, qa_error *err) {
    qa_text edited = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_text_append(&edited, text->data, first, err));
    QA_GOTO(done, qa_text_append_z(&edited, with, err));
    QA_GOTO(done, qa_text_append(&edited, text->data + end, text->n - end, err));
    qa_text swapped = *text;
    *text = edited;
    edited = swapped;
done:
    qa_text_free(&edited);
    return status;
}

qa_status qa_json_edit_member(qa_text *text, const char *key, const char *value, bool *found, qa_error *err) {
    const size_t key_bytes = strlen(key);
    size_t at = skip_space(text, 0), before = at + 1; /* behind what ends the member before, or the brace */
    *found = false;
    QA_FAIL_IF(at >= text->n || text->data[at] != '{', err, QA_ERR_FORMAT, "expected a JSON object");
    for (at = skip_space(text, at + 1); at < text->n && text->data[at] == '"';) {
        const size_t name = at + 1, name_end = skip_string(text, at) - 1;
        size_t first = skip_space(text, skip_space(text, name_end + 1) + 1);
        const size_t end = skip_value(text, first);
        const size_t next = skip_space(text, end);
        const bool last = next >= text->n || text->data[next] != ',';
        if (name_end - name == key_bytes && memcmp(text->data + name, key, key_bytes) == 0) {
            *found = true;
            if (value != NULL) {
                return put_in_place(text, first, end, value, err);
            }
            const bool only = before > 0 && text->data[before - 1] == '{'; /* with the comma behind it, or before */
            return put_in_place(text, last && !only ? before - 1 : before, last ? end : next + 1, "", err);
        }
        before = next + 1;
        at = last ? text->n : skip_space(text, next + 1);
    }
    return QA_OK;
}
