/* Output files that appear under their name only when they are complete (see file.h).
 *
 * Bytes are gathered in a buffer and go to ".NAME.tmp-PID-N" beside the target. A target that is
 * already there and is neither a file nor a folder (/dev/null, a pipe) cannot be replaced by renaming
 * and is written directly. */
#define _XOPEN_SOURCE 700 /* realpath is in POSIX only with the XSI option */
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/folder.h"
#include "io/held_folder.h"
#include "io/leftovers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 65536, NAME_ATTEMPTS = 1000 };

struct qa_atomic_file {
    char *path;      /* as the caller gave it, for messages */
    char *target;    /* path with symbolic links resolved: the link stays, what it names is replaced */
    char *folder;    /* that holds target */
    char *temporary; /* NULL: the target is written directly */
    int fd;          /* -1 once closed */
    bool failed;     /* a write failed: commit must not publish what is there */
    size_t buffered; /* bytes of buffer */
    unsigned char buffer[BUFFER_BYTES];
};

static void free_atomic(qa_atomic_file *file) {
    if (file->fd >= 0) {
        (void)close(file->fd);
    }
    free(file->temporary);
    free(file->folder);
    free(file->target);
    free(file->path);
    free(file);
}

/* Makes the temporary file; the mode is what the umask leaves of 0666. */
static qa_status open_temporary(qa_atomic_file *file, qa_error *err) {
    const char *slash = strrchr(file->target, '/');
    const char *name = slash == NULL ? file->target : slash + 1;
    QA_FAIL_IF(name[0] == '\0', err, QA_ERR_ARGUMENT, "cannot write %s: this names a folder, not a file", file->path);
    qa_leftovers_clean(file->folder, name);
    for (int attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        char hidden[QA_TEMPORARY_NAME_KEPT + 64];
        (void)snprintf(hidden, sizeof hidden, ".%.*s.tmp-%ld-%d", (int)QA_TEMPORARY_NAME_KEPT, name, (long)getpid(),
                       attempt);
        free(file->temporary);
        file->temporary = qa_path_join(file->folder, hidden);
        if (file->temporary == NULL) {
            return QA_NO_MEMORY(err, "the path %s", file->path);
        }
        const qa_dir_entry entry = qa_dir_entry_of(file->temporary);
        file->fd = openat(entry.folder, entry.name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->fd >= 0 && qa_temporary_claim(file->fd)) {
            return QA_OK;
        }
        if (file->fd >= 0) {
            (void)close(file->fd);
            file->fd = -1;
        } else if (errno != EEXIST) {
            break;
        }
    }
    return qa_fail(err, QA_ERR_IO, "cannot write %s: no file can be made in the folder %s: %s", file->path,
                   file->folder, strerror(errno));
}

/* Opens the temporary, or the target itself where renaming over it would be wrong. */
static qa_status open_output(qa_atomic_file *file, qa_error *err) {
    struct stat info;
    const qa_dir_entry entry = qa_dir_entry_of(file->target);
    bool there = fstatat(entry.folder, entry.name, &info, 0) == 0;
    QA_FAIL_IF(there && S_ISDIR(info.st_mode), err, QA_ERR_IO, "cannot write %s: a folder of that name is in the way",
               file->path);
    if (there && !S_ISREG(info.st_mode)) {
        file->fd = openat(entry.folder, entry.name, O_WRONLY | O_CLOEXEC);
        return file->fd >= 0 ? QA_OK : qa_fail(err, QA_ERR_IO, "cannot write %s: %s", file->path, strerror(errno));
    }
    QA_TRY(open_temporary(file, err));
    if (there) {
        /* Replacing a file keeps its permissions: a private one must not become public. Where the
         * owner differs this fails, and the umask's mode stands. */
        (void)fchmod(file->fd, info.st_mode & 0777);
    }
    return QA_OK;
}

/* What the link at path leads to (free), or NULL. A link in a held folder that was moved is not followed: its path
 * leads elsewhere now. */
static char *resolve_link(const char *path, const qa_dir_entry *entry) {
    struct stat at_entry, at_path;
    const bool same = fstatat(entry->folder, entry->name, &at_entry, AT_SYMLINK_NOFOLLOW) == 0 &&
                      lstat(path, &at_path) == 0 && at_entry.st_dev == at_path.st_dev &&
                      at_entry.st_ino == at_path.st_ino;
    return same ? realpath(path, NULL) : NULL;
}

qa_status qa_atomic_open(qa_atomic_file **out, const char *path, qa_error *err) {
    *out = NULL;
    qa_atomic_file *file = calloc(1, sizeof *file);
    QA_FAIL_IF(file == NULL, err, QA_ERR_MEMORY, "out of memory while opening %s", path);
    file->fd = -1;
    qa_status status = QA_OK;
    struct stat info;
    const qa_dir_entry entry = qa_dir_entry_of(path);
    bool link = fstatat(entry.folder, entry.name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode);
    file->path = strdup(path);
    file->target = link ? resolve_link(path, &entry) : NULL;
    if (file->target == NULL) { /* no link, or one that leads nowhere: replace it */
        file->target = strdup(path);
    }
    if (file->path == NULL || file->target == NULL) {
        QA_GOTO(fail, QA_NO_MEMORY(err, "the path %s", path));
    }
    QA_GOTO(fail, qa_folder_of(&file->folder, file->target, err));
    QA_GOTO(fail, open_output(file, err));
    *out = file;
    return QA_OK;
fail:
    free_atomic(file);
    return status;
}

static qa_status write_through(qa_atomic_file *file, const unsigned char *data, size_t bytes, qa_error *err) {
    while (bytes > 0) {
        ssize_t written = write(file->fd, data, bytes);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            file->failed = true;
            return qa_fail(err, QA_ERR_IO, "cannot write %s: %s", file->path, strerror(written < 0 ? errno : ENOSPC));
        }
        data += written;
        bytes -= (size_t)written;
    }
    return QA_OK;
}

static qa_status flush_atomic(qa_atomic_file *file, qa_error *err) {
    size_t bytes = file->buffered;
    file->buffered = 0;
    return write_through(file, file->buffer, bytes, err);
}

qa_status qa_atomic_write(qa_atomic_file *file, const void *data, size_t bytes, qa_error *err) {
    if (bytes > BUFFER_BYTES - file->buffered) {
        QA_TRY(flush_atomic(file, err));
    }
    if (bytes > BUFFER_BYTES) {
        return write_through(file, data, bytes, err);
    }
    if (bytes > 0) {
        memcpy(file->buffer + file->buffered, data, bytes);
        file->buffered += bytes;
    }
    return QA_OK;
}

/* Brings everything to the disk and closes the descriptor: a full disk may show itself only here. */
static qa_status finish_atomic(qa_atomic_file *file, qa_error *err) {
    QA_FAIL_IF(file->failed, err, QA_ERR_IO, "cannot write %s: an earlier write to it failed", file->path);
    QA_TRY(flush_atomic(file, err));
    if (file->temporary != NULL && fsync(file->fd) != 0) { /* devices and pipes know no fsync */
        return qa_fail(err, QA_ERR_IO, "cannot write %s: %s (fsync)", file->path, strerror(errno));
    }
    int closed = close(file->fd);
    file->fd = -1;
    QA_FAIL_IF(closed != 0 && errno != EINTR, err, QA_ERR_IO, "cannot write %s: %s (close)", file->path,
               strerror(errno));
    return QA_OK;
}

qa_status qa_atomic_commit(qa_atomic_file *file, qa_error *err) {
    qa_status status = QA_OK;
    QA_GOTO(fail, finish_atomic(file, err));
    if (file->temporary != NULL) {
        const qa_dir_entry from = qa_dir_entry_of(file->temporary), to = qa_dir_entry_of(file->target);
        if (renameat(from.folder, from.name, to.folder, to.name) != 0) {
            QA_GOTO(fail, qa_fail(err, QA_ERR_IO, "cannot rename %s to %s: %s", file->temporary, file->path,
                                  strerror(errno)));
        }
        status = qa_sync_folder(file->folder, err);
    }
    free_atomic(file);
    return status;
fail:
    qa_atomic_abort(file);
    return status;
}

void qa_atomic_abort(qa_atomic_file *file) {
    if (file == NULL) {
        return;
    }
    if (file->temporary != NULL) {
        const qa_dir_entry entry = qa_dir_entry_of(file->temporary);
        (void)unlinkat(entry.folder, entry.name, 0);
    }
    free_atomic(file);
}

qa_status qa_write_file(const char *path, const void *data, size_t bytes, qa_error *err) {
    qa_atomic_file *file = NULL;
    QA_TRY(qa_atomic_open(&file, path, err));
    qa_status status = qa_atomic_write(file, data, bytes, err);
    if (status != QA_OK) {
        qa_atomic_abort(file);
        return status;
    }
    return qa_atomic_commit(file, err);
}
