/* See target_names.h. */
#include "model/target_names.h"

#include "arch/families.h"
#include "arch/tensors.h"

#include <stdio.h>
#include <string.h>

static const char *const usual_names[QA_TARGETS] = {"q_proj",  "k_proj",    "v_proj",   "o_proj",      "gate_proj",
                                                    "up_proj", "down_proj", "qkv_proj", "gate_up_proj"};

const char *qa_target_name(qa_target target) { return target < QA_TARGETS ? usual_names[target] : "?"; }

/* ---- lists ---- */

typedef struct target_item {
    const char *text;
    size_t n;
} target_item;

/* Takes the next name off the list; false at its end. */
static bool next_target(const char **list, target_item *item) {
    item->text = *list + strspn(*list, ", ");
    item->n = strcspn(item->text, ", ");
    *list = item->text + item->n;
    return item->n > 0;
}

static bool item_is(target_item item, const char *text) {
    return strlen(text) == item.n && strncmp(item.text, text, item.n) == 0;
}

static bool is_all_linear(target_item item) { return item_is(item, "all") || item_is(item, "all-linear"); }

static void append_name(char *text, size_t bytes, const char *separator, target_item name) {
    const size_t used = strlen(text);
    (void)snprintf(text + used, bytes - used, "%s%.*s", used == 0 ? "" : separator, (int)name.n, name.text);
}

static qa_status refuse_name(target_item item, const char *where, const char *names, qa_error *err) {
    return qa_fail(err, QA_ERR_ARGUMENT, "\"%.*s\" is no linear map%s; expected %s separated by commas, or all-linear",
                   (int)(item.n > 60 ? 60 : item.n), item.text, where, names);
}

static qa_status refuse_empty_list(qa_error *err) {
    return qa_fail(err, QA_ERR_ARGUMENT, "no linear map is named; expected for example q_proj,v_proj or all-linear");
}

/* ---- a family's names ---- */

/* "self_attn.q_proj" */
static target_item path_of_row(const qa_tensor_row *row) {
    return (target_item){row->name, strlen(row->name) - strlen(".weight")};
}

/* n 0: the family has no such map. */
static target_item path_in_layer(const qa_family *family, qa_target target) {
    const qa_tensor_row *row = qa_tensor_of_target(family, target);
    return row == NULL ? (target_item){"", 0} : path_of_row(row);
}

/* "q_proj" */
static target_item module_name(target_item path) {
    for (size_t i = path.n; i > 0; i--) {
        if (path.text[i - 1] == '.') {
            return (target_item){path.text + i, path.n - i};
        }
    }
    return path;
}

static bool names_path(target_item name, target_item path) {
    return name.n > 0 && name.n <= path.n && memcmp(path.text + path.n - name.n, name.text, name.n) == 0 &&
           (name.n == path.n || path.text[path.n - name.n - 1] == '.');
}

bool qa_target_has_usual_name(const qa_family *family, qa_target target) {
    return item_is(module_name(path_in_layer(family, target)), qa_target_name(target));
}

/* The maps that the family calls so join the targets; whether there are any. */
static bool join_named(bool targets[QA_TARGETS], const qa_family *family, target_item name) {
    bool any = false;
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        const target_item path = path_in_layer(family, t);
        if (names_path(name, path) || (is_all_linear(name) && path.n > 0)) {
            targets[t] = true;
            any = true;
        }
    }
    return any;
}

void qa_targets_names(const bool targets[QA_TARGETS], const qa_family *family, const char *separator, char *text,
                      size_t bytes) {
    const qa_tensor_table *table = family->tensors;
    text[0] = '\0';
    for (size_t i = 0; i < table->n; i++) {
        if (table->rows[i].role != QA_ROLE_MAP) {
            continue;
        }
        const target_item path = path_of_row(&table->rows[i]), name = module_name(path);
        bool all = true, said = false; /* of the maps of this name: all are targets; one of them stands there */
        for (size_t j = 0; j < table->n; j++) {
            const bool same = table->rows[j].role == QA_ROLE_MAP && names_path(name, path_of_row(&table->rows[j]));
            all = all && (!same || targets[table->rows[j].target]);
            said = said || (same && targets[table->rows[j].target] && j < i);
        }
        if (targets[table->rows[i].target] && !said) {
            append_name(text, bytes, separator, all ? name : path);
        }
    }
}

void qa_targets_all_names(const qa_family *family, char *text, size_t bytes) {
    bool all[QA_TARGETS];
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        all[t] = true;
    }
    qa_targets_names(all, family, ", ", text, bytes);
}

qa_status qa_targets_by_name(bool targets[QA_TARGETS], const qa_family *family, const char *list, qa_error *err) {
    bool named[QA_TARGETS] = {false};
    target_item item;
    size_t n = 0;
    for (; next_target(&list, &item); n++) {
        if (!join_named(named, family, item)) {
            char where[96], names[256];
            (void)snprintf(where, sizeof where, " of %s", family->architecture);
            qa_targets_all_names(family, names, sizeof names);
            return refuse_name(item, where, names, err);
        }
    }
    memcpy(targets, named, sizeof named);
    return n > 0 ? QA_OK : refuse_empty_list(err);
}

/* ---- names without a model ---- */

static bool is_usual(target_item item) {
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        if (item_is(item, usual_names[t])) {
            return true;
        }
    }
    return is_all_linear(item);
}

/* Those of every family, each once. */
static void names_of_all_families(char *text, size_t bytes) {
    text[0] = '\0';
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        append_name(text, bytes, ", ", (target_item){usual_names[t], strlen(usual_names[t])});
    }
    for (size_t i = 0; qa_family_at(i) != NULL; i++) {
        for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
            const target_item name = module_name(path_in_layer(qa_family_at(i), t));
            const char *rest = text;
            target_item item;
            bool said = name.n == 0;
            while (!said && next_target(&rest, &item)) {
                said = item.n == name.n && memcmp(item.text, name.text, name.n) == 0;
            }
            if (!said) {
                append_name(text, bytes, ", ", name);
            }
        }
    }
}

qa_status qa_targets_check_names(const char *list, bool *own, qa_error *err) {
    target_item item;
    size_t n = 0;
    *own = false;
    for (; next_target(&list, &item); n++) {
        bool ignored[QA_TARGETS], known = is_usual(item);
        *own = *own || !known;
        for (size_t i = 0; !known && qa_family_at(i) != NULL; i++) {
            known = join_named(ignored, qa_family_at(i), item);
        }
        if (!known) {
            char names[512];
            names_of_all_families(names, sizeof names);
            return refuse_name(item, "", names, err);
        }
    }
    return n > 0 ? QA_OK : refuse_empty_list(err);
}

qa_status qa_targets_parse(bool targets[QA_TARGETS], const char *list, qa_error *err) {
    bool parsed[QA_TARGETS] = {false};
    target_item item;
    size_t n = 0;
    for (; next_target(&list, &item); n++) {
        if (!is_usual(item)) {
            return refuse_name(item, " by the names that all models share (a model's own go into target_modules)",
                               "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, qkv_proj, gate_up_proj",
                               err);
        }
        for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
            parsed[t] = parsed[t] || is_all_linear(item) || item_is(item, usual_names[t]);
        }
    }
    if (n == 0) {
        return refuse_empty_list(err);
    }
    memcpy(targets, parsed, sizeof parsed);
    return QA_OK;
}
