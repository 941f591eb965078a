/* See adapter_folder.h. */
#include "model/adapter_folder.h"

#include "base/buffer.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static const char config_name[] = "adapter_config.json";
static const char tensors_name[] = "adapter_model.safetensors";
static const char record_name[] = "training_config.json";

/* checkpoint-N: N + 1; another name: 0. */
static unsigned long rank_of(const char *name) {
    static const char prefix[] = "checkpoint-";
    return strncmp(name, prefix, sizeof prefix - 1) == 0 ? strtoul(name + sizeof prefix - 1, NULL, 10) + 1 : 0;
}

/* The adapter in a folder below: one called default, as PEFT calls them, else the newest checkpoint, else the first by
 * name. The caller frees it; NULL: none, or out of memory. */
static char *adapter_below(const char *dir) {
    char *best = NULL;
    DIR *stream = opendir(dir);
    for (struct dirent *entry = stream == NULL ? NULL : readdir(stream); entry != NULL; entry = readdir(stream)) {
        const char *name = entry->d_name;
        char *below = qa_path_join(dir, name);
        if (name[0] != '.' && below != NULL && qa_holds(below, config_name)) {
            const unsigned long new = rank_of(name), old = best == NULL ? 0 : rank_of(best);
            const bool first =
                best == NULL || (strcmp(best, "default") != 0 &&
                                 (strcmp(name, "default") == 0 || new > old || (new == old &&strcmp(name, best) < 0)));
            if (first) {
                char *copy = strdup(name);
                free(best);
                best = copy;
            }
        }
        free(below);
    }
    if (stream != NULL) {
        (void)closedir(stream);
    }
    char *path = best == NULL ? NULL : qa_path_join(dir, best);
    free(best);
    return path;
}

static qa_status no_config(const char *dir, qa_error *err) {
    char *below = adapter_below(dir);
    qa_status status = QA_OK;
    if (below != NULL) {
        status =
            qa_fail(err, QA_ERR_IO, "%s holds no %s, but the folder %s does: give that one", dir, config_name, below);
    } else if (qa_holds(dir, "config.json")) {
        status =
            qa_fail(err, QA_ERR_IO,
                    "%s is a model's folder (config.json), not an adapter's: expected %s and %s, or the model of a "
                    "run with --full, whose training_config.json says so",
                    dir, config_name, tensors_name);
    } else if (qa_holds(dir, tensors_name)) {
        status = qa_fail(err, QA_ERR_IO, "%s holds %s, but no %s, which says rank, alpha and targets", dir,
                         tensors_name, config_name);
    } else {
        status = qa_fail(err, QA_ERR_IO, "%s holds no %s: expected an adapter's folder (%s, %s)", dir, config_name,
                         config_name, tensors_name);
    }
    free(below);
    return status;
}

static qa_status no_tensors(const char *dir, qa_error *err) {
    QA_FAIL_IF(qa_holds(dir, "adapter_model.bin"), err, QA_ERR_IO,
               "%s holds adapter_model.bin, which is not read (it is a program that torch.load runs): convert it "
               "to %s, with PEFT: PeftModel.from_pretrained(base, DIR).save_pretrained(NEW)",
               dir, tensors_name);
    QA_FAIL_IF(qa_holds(dir, "adapters.safetensors") || qa_holds(dir, "adapters.npz"), err, QA_ERR_IO,
               "%s is an adapter of MLX, which has another layout: expected PEFT's %s", dir, tensors_name);
    QA_FAIL_IF(qa_holds(dir, "adapter_model.safetensors.index.json"), err, QA_ERR_IO,
               "%s holds its tensors in several files: expected one %s", dir, tensors_name);
    return qa_fail(err, QA_ERR_IO, "%s holds %s, but no %s", dir, config_name, tensors_name);
}

qa_status qa_adapter_folder_is_full(bool *full, const char *dir, qa_error *err) {
    char *path = NULL;
    json_t *root = NULL;
    *full = false;
    if (!qa_path_is_dir(dir) || qa_holds(dir, config_name) || !qa_holds(dir, "config.json") ||
        !qa_holds(dir, record_name)) {
        return QA_OK;
    }
    QA_TRY(qa_join_path(&path, dir, record_name, err));
    qa_status status = qa_json_load(&root, path, err);
    status = status == QA_OK ? qa_json_get_bool(root, QA_FULL_KEY, false, path, full, err) : status;
    json_decref(root);
    free(path);
    return status;
}

qa_status qa_adapter_folder_check(const char *dir, qa_error *err) {
    if (!qa_path_is_dir(dir)) {
        return qa_path_exists(dir)
                   ? qa_fail(err, QA_ERR_IO, "%s is a file; expected the adapter's folder that holds it (%s, %s)", dir,
                             config_name, tensors_name)
                   : qa_fail(err, QA_ERR_IO,
                             "%s: no such folder; expected an adapter's (%s, %s); names on a hub are not downloaded",
                             dir, config_name, tensors_name);
    }
    if (!qa_holds(dir, config_name)) {
        return no_config(dir, err);
    }
    return qa_holds(dir, tensors_name) ? QA_OK : no_tensors(dir, err);
}
