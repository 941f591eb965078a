/* See metrics.h. */
#include "train/metrics.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/held_folder.h"
#include "io/json_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct qa_metrics_file {
    char *path;
    int descriptor;
    size_t bytes;         /* written so far */
    qa_text kept;         /* lines that could not be written yet */
    size_t missing, lost; /* lines: not written yet, of which no memory was left for these */
};

enum { BLOCK = 65536 };
static const size_t MAX_KEPT = (size_t)1 << 26; /* bytes */

/* ---- a line ---- */

qa_status qa_metrics_members_line(qa_text *line, const qa_metrics_member *members, size_t n, bool is_evaluation,
                                  qa_error *err) {
    qa_json_writer w = {.text = *line};
    qa_json_restart(&w, err);
    qa_json_open_object(&w, NULL, QA_JSON_LINE);
    for (size_t i = 0; i < n; i++) {
        char key[64];
        if (members[i].wanted) {
            (void)snprintf(key, sizeof key, "%s%s", members[i].prefixed && is_evaluation ? "eval_" : "",
                           members[i].key);
            qa_json_put_number(&w, key, members[i].value);
        }
    }
    qa_json_close(&w);
    qa_json_end_line(&w);
    *line = w.text;
    return w.status;
}

qa_status qa_metrics_line(qa_text *line, const qa_metrics *m, qa_error *err) {
    const qa_metrics_member members[] = {
        QA_METRICS_FIRST(m),
        {"loss", m->loss, true, true},
        {"pref_loss", m->pref_loss, true, true},
        {"chi2_loss", m->chi2_loss, true, true},
        {"reward_margin", m->margin, true, true},
        {"reward_accuracy", m->accuracy, true, true},
        {"reference_point", m->reference_point, true, m->has_reference_point},
        {"q_values_mean", m->q_values_mean, true, true},
        {"values_mean", m->values_mean, true, true},
        {"reward_mean", m->reward_mean, true, true},
        {"kl_per_token", m->kl_per_token, true, true},
        {"reward_chosen", m->reward_chosen, true, true},
        {"reward_rejected", m->reward_rejected, true, true},
        {"logps_chosen", m->logps_chosen, true, true},
        {"logps_rejected", m->logps_rejected, true, true},
        QA_METRICS_LAST(m),
    };
    return qa_metrics_members_line(line, members, sizeof members / sizeof members[0], m->is_evaluation, err);
}

/* ---- the file ---- */

static qa_status failed(const qa_metrics_file *file, const char *what, qa_error *err) {
    return qa_fail(err, QA_ERR_IO, "%s: cannot %s: %s", file->path, what, strerror(errno));
}

/* The end of the last whole line within the file's first `keep` bytes. */
static qa_status whole_lines(const qa_metrics_file *file, size_t keep, size_t *end, qa_error *err) {
    struct stat info;
    if (fstat(file->descriptor, &info) != 0) {
        return failed(file, "read its length", err);
    }
    *end = (size_t)info.st_size < keep ? (size_t)info.st_size : keep;
    char block[BLOCK];
    while (*end > 0) {
        const size_t bytes = *end < sizeof block ? *end : sizeof block;
        if (pread(file->descriptor, block, bytes, (off_t)(*end - bytes)) != (ssize_t)bytes) {
            return failed(file, "read", err);
        }
        for (size_t at = bytes; at > 0; at--, (*end)--) {
            if (block[at - 1] == '\n') {
                return QA_OK;
            }
        }
    }
    return QA_OK;
}

static qa_status open_and_cut(qa_metrics_file *file, size_t keep, qa_error *err) {
    const qa_dir_entry entry = qa_dir_entry_of(file->path);
    file->descriptor = openat(entry.folder, entry.name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file->descriptor < 0) {
        return failed(file, "open for writing", err);
    }
    QA_TRY(whole_lines(file, keep, &file->bytes, err));
    if (ftruncate(file->descriptor, (off_t)file->bytes) != 0) {
        return failed(file, "cut off old lines", err);
    }
    return QA_OK;
}

qa_status qa_metrics_open(qa_metrics_file **out, const char *path, size_t keep, qa_error *err) {
    *out = NULL;
    qa_metrics_file *file = calloc(1, sizeof *file);
    char *copy = qa_alloc_array(strlen(path) + 1, 1);
    if (file == NULL || copy == NULL) {
        free(file);
        free(copy);
        return QA_NO_MEMORY(err, "%s", path);
    }
    memcpy(copy, path, strlen(path) + 1);
    file->path = copy;
    const qa_status status = open_and_cut(file, keep, err);
    if (status != QA_OK) {
        qa_metrics_close(file);
        return status;
    }
    *out = file;
    return QA_OK;
}

qa_status qa_metrics_flush(qa_metrics_file *file, qa_error *err) {
    for (size_t at = 0; at < file->kept.n;) {
        const ssize_t wrote =
            pwrite(file->descriptor, file->kept.data + at, file->kept.n - at, (off_t)(file->bytes + at));
        if (wrote < 0 && errno != EINTR) {
            const qa_status status = failed(file, "write", err);
            if (ftruncate(file->descriptor, (off_t)file->bytes) != 0) {
                /* half a line stays: the next try writes over it, and a resumed run cuts it off */
            }
            return status;
        }
        at += wrote > 0 ? (size_t)wrote : 0;
    }
    file->bytes += file->kept.n;
    file->kept.n = 0;
    file->missing = file->lost;
    return QA_OK;
}

size_t qa_metrics_missing(const qa_metrics_file *file) { return file->missing; }

qa_status qa_metrics_append(qa_metrics_file *file, const qa_text *line, qa_error *err) {
    const qa_status kept = line->n > MAX_KEPT - file->kept.n
                               ? qa_fail(err, QA_ERR_LIMIT, "%s: too many lines wait to be written", file->path)
                               : qa_text_append(&file->kept, line->data, line->n, err);
    file->missing++;
    if (kept != QA_OK) {
        file->lost++;
        return kept;
    }
    return qa_metrics_flush(file, err);
}

qa_status qa_metrics_sync(qa_metrics_file *file, size_t *bytes, qa_error *err) {
    const qa_status status = qa_metrics_flush(file, err);
    *bytes = file->bytes;
    QA_TRY(status);
    if (fsync(file->descriptor) != 0 && errno != EINVAL && errno != ENOTSUP) {
        return failed(file, "sync", err);
    }
    return QA_OK;
}

void qa_metrics_close(qa_metrics_file *file) {
    if (file != NULL) {
        if (file->descriptor >= 0 && file->path != NULL) {
            (void)close(file->descriptor);
        }
        qa_text_free(&file->kept);
        free(file->path);
        free(file);
    }
}
