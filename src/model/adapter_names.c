/* See adapter_names.h. */
#include "model/adapter_names.h"

#include "base/memory.h"
#include "base/try.h"

#include <stdlib.h>
#include <string.h>

static const char peft_prefix[] = "base_model.model.";

/* Takes the prefix away if it stands at *name. */
static bool skip_prefix(const char **name, const char *prefix) {
    const size_t n = strlen(prefix);
    if (strncmp(*name, prefix, n) != 0) {
        return false;
    }
    *name += n;
    return true;
}

static bool skip_wrapper(const char **name) {
    return skip_prefix(name, "_orig_mod.") || skip_prefix(name, "_fsdp_wrapped_module.") ||
           skip_prefix(name, "_checkpoint_wrapped_module.");
}

/* out has room for strlen(name) + sizeof peft_prefix bytes. *adapter [*bytes]: the adapter's own name, or NULL. */
static void normalise(char *out, const char *name, const char **adapter, size_t *bytes) {
    *adapter = NULL;
    *bytes = 0;
    while (skip_wrapper(&name) || skip_prefix(&name, "module.") || skip_prefix(&name, peft_prefix)) {
    }
    strcpy(out, peft_prefix);
    size_t used = strlen(out);
    while (*name != '\0') {
        if (skip_wrapper(&name)) {
            continue;
        }
        const size_t part = strcspn(name, ".");
        const bool lora = part == 6 && (strncmp(name, "lora_A", 6) == 0 || strncmp(name, "lora_B", 6) == 0);
        memcpy(out + used, name, part);
        used += part;
        name += part;
        if (lora && *name == '.') {
            const size_t next = strcspn(name + 1, ".");
            if (strcmp(name + 1 + next, ".weight") == 0) { /* lora_A.NAME.weight */
                *adapter = name + 1;
                *bytes = next;
                name += 1 + next;
            }
        }
        if (*name == '.') {
            out[used++] = *name++;
        }
    }
    out[used] = '\0';
}

static int by_name(const void *a, const void *b) {
    const qa_adapter_name *one = a, *other = b;
    return strcmp(one->name, other->name);
}

static qa_status refuse_doubles(const qa_adapter_names *names, const qa_safetensors *file, qa_error *err) {
    for (size_t i = 1; i < names->n; i++) {
        QA_FAIL_IF(strcmp(names->names[i - 1].name, names->names[i].name) == 0, err, QA_ERR_FORMAT,
                   "%s: tensors \"%.120s\" and \"%.120s\" are two of the same meaning", qa_safetensors_path(file),
                   names->names[i - 1].tensor->name, names->names[i].tensor->name);
    }
    return QA_OK;
}

qa_status qa_adapter_names_open(qa_adapter_names *names, const qa_safetensors *file, qa_error *err) {
    const size_t n = qa_safetensors_count(file);
    const char *first = NULL; /* the first tensor's adapter */
    size_t first_bytes = 0;
    QA_TRY(QA_NEW(names->names, n, err, "an adapter's names"));
    for (size_t i = 0; i < n; i++) {
        const qa_tensor *tensor = qa_safetensors_at(file, i);
        const char *adapter = NULL;
        size_t bytes = 0;
        char *name = malloc(strlen(tensor->name) + sizeof peft_prefix);
        if (name == NULL) {
            return QA_NO_MEMORY(err, "an adapter's names");
        }
        normalise(name, tensor->name, &adapter, &bytes);
        names->names[names->n++] = (qa_adapter_name){.name = name, .tensor = tensor};
        QA_FAIL_IF(adapter != NULL && first != NULL && (bytes != first_bytes || strncmp(adapter, first, bytes) != 0),
                   err, QA_ERR_FORMAT, "%s holds two adapters, \"%.*s\" and \"%.*s\"; expected one",
                   qa_safetensors_path(file), (int)(first_bytes > 60 ? 60 : first_bytes), first,
                   (int)(bytes > 60 ? 60 : bytes), adapter);
        if (adapter != NULL) {
            first = adapter;
            first_bytes = bytes;
        }
    }
    qsort(names->names, names->n, sizeof *names->names, by_name);
    return refuse_doubles(names, file, err);
}

const qa_tensor *qa_adapter_names_find(const qa_adapter_names *names, const char *name) {
    size_t low = 0, high = names->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(names->names[middle].name, name);
        if (order == 0) {
            return names->names[middle].tensor;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return NULL;
}

void qa_adapter_names_close(qa_adapter_names *names) {
    for (size_t i = 0; i < names->n; i++) {
        free(names->names[i].name);
    }
    free(names->names);
    *names = (qa_adapter_names){0};
}
