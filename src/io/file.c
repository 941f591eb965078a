/* Files: mapping, reading, folders, removal and renaming (see file.h; atomic writing is in atomic.c).
 *
 * Every message names the path and what the operating system said. Interrupted calls are repeated. */
#include "io/file.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/folder.h"
#include "io/held_folder.h"
#include "io/input.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 65536 };

/* ---- mapping ---- */

qa_status qa_map_file(qa_mapping *mapping, const char *path, qa_error *err) {
    qa_input input;
    mapping->data = NULL;
    mapping->bytes = 0;
    QA_TRY(qa_input_open(&input, path, err));
    if (input.bytes > 0) { /* mmap refuses a length of 0 */
        void *data = mmap(NULL, input.bytes, PROT_READ, MAP_PRIVATE, input.descriptor, 0);
        if (data == MAP_FAILED) {
            const int reason = errno;
            const size_t bytes = input.bytes;
            qa_input_close(&input);
            return qa_fail(err, QA_ERR_IO, "cannot map %s (%zu bytes): %s", path, bytes, strerror(reason));
        }
        mapping->data = data;
        mapping->bytes = input.bytes;
    }
    qa_input_close(&input); /* the mapping outlives the descriptor */
    return QA_OK;
}

void qa_unmap_file(qa_mapping *mapping) {
    if (mapping->data != NULL) {
        /* munmap takes a pointer to non-const; nothing is written through it. */
        (void)munmap((void *)(uintptr_t)mapping->data, mapping->bytes);
    }
    mapping->data = NULL;
    mapping->bytes = 0;
}

/* ---- reading whole ---- */

static qa_status read_descriptor(qa_text *text, int fd, const char *name, size_t max_bytes, qa_error *err) {
    char *chunk = malloc(CHUNK_BYTES);
    QA_FAIL_IF(chunk == NULL, err, QA_ERR_MEMORY, "out of memory while reading %s", name);
    qa_status status = qa_text_append(text, "", 0, err); /* an empty file is terminated, too */
    while (status == QA_OK) {
        size_t got = 0;
        status = qa_read_some(fd, name, chunk, CHUNK_BYTES, &got, err);
        if (status != QA_OK) {
            break;
        }
        if (got > max_bytes - text->n) {
            status = qa_fail(err, QA_ERR_LIMIT, "%s is larger than %zu bytes, the most that is read", name, max_bytes);
        } else if (got == 0) {
            break;
        } else {
            status = qa_text_append(text, chunk, got, err);
        }
    }
    free(chunk);
    return status;
}

qa_status qa_read_file(qa_text *text, const char *path, size_t max_bytes, qa_error *err) {
    text->n = 0;
    bool standard_input = strcmp(path, "-") == 0;
    int fd = STDIN_FILENO;
    if (!standard_input) {
        QA_TRY(qa_open_sequential(&fd, path, err));
    }
    qa_status status = read_descriptor(text, fd, standard_input ? "standard input" : path, max_bytes, err);
    if (!standard_input) {
        (void)close(fd);
    }
    if (status != QA_OK) {
        qa_text_free(text);
    }
    return status;
}

/* ---- paths and folders ---- */

char *qa_path_join(const char *dir, const char *name) {
    size_t dir_bytes = strlen(dir);
    size_t name_bytes = strlen(name);
    bool slash = dir_bytes > 0 && dir[dir_bytes - 1] != '/';
    char *path = malloc(dir_bytes + name_bytes + 2);
    if (path != NULL) {
        memcpy(path, dir, dir_bytes);
        if (slash) {
            path[dir_bytes++] = '/';
        }
        memcpy(path + dir_bytes, name, name_bytes + 1);
    }
    return path;
}

qa_status qa_join_path(char **path, const char *dir, const char *name, qa_error *err) {
    *path = qa_path_join(dir, name);
    return *path != NULL ? QA_OK : QA_NO_MEMORY(err, "a path");
}

static bool examine(const char *path, struct stat *info) {
    const qa_dir_entry entry = qa_dir_entry_of(path);
    return fstatat(entry.folder, entry.name, info, 0) == 0;
}

bool qa_path_exists(const char *path) {
    struct stat info;
    return examine(path, &info);
}

bool qa_holds(const char *dir, const char *name) {
    char *path = qa_path_join(dir, name);
    const bool there = path != NULL && qa_path_exists(path);
    free(path);
    return there;
}

bool qa_path_is_dir(const char *path) {
    struct stat info;
    return examine(path, &info) && S_ISDIR(info.st_mode);
}

/* One folder whose parent is there. */
static qa_status make_dir(const char *path, qa_error *err) {
    const qa_dir_entry entry = qa_dir_entry_of(path);
    if (mkdirat(entry.folder, entry.name, 0777) == 0) {
        return QA_OK;
    }
    int reason = errno;
    if (qa_path_is_dir(path)) {
        return QA_OK;
    }
    QA_FAIL_IF(reason == EEXIST, err, QA_ERR_IO, "cannot make the folder %s: a file of that name is in the way", path);
    return qa_fail(err, QA_ERR_IO, "cannot make the folder %s: %s", path, strerror(reason));
}

qa_status qa_make_dirs(const char *path, qa_error *err) {
    QA_FAIL_IF(path[0] == '\0', err, QA_ERR_ARGUMENT, "cannot make a folder: its name is empty");
    char *prefix = qa_path_join(path, "");
    if (prefix == NULL) {
        return QA_NO_MEMORY(err, "the path %s", path);
    }
    /* A held folder is there, and so are those above it: they are not made anew when it was moved. */
    const qa_dir_entry entry = qa_dir_entry_of(path);
    const size_t above = entry.folder == AT_FDCWD                        ? 0
                         : entry.name[0] == '.' && entry.name[1] == '\0' ? strlen(prefix) - 1
                                                                         : (size_t)(entry.name - path);
    qa_status status = QA_OK;
    for (char *slash = strchr(prefix + above + 1, '/'); slash != NULL && status == QA_OK;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        status = make_dir(prefix, err);
        *slash = '/';
    }
    free(prefix);
    return status;
}

/* ---- removal ---- */

static qa_status remove_at(int folder, const char *name, const char *path, qa_error *err);

/* Removes every entry of the open folder; `path` names it in messages. Takes over fd. */
static qa_status empty_folder(int fd, const char *path, qa_error *err) {
    DIR *entries = fdopendir(fd);
    if (entries == NULL) {
        int reason = errno;
        (void)close(fd);
        return qa_fail(err, QA_ERR_IO, "cannot list %s: %s", path, strerror(reason));
    }
    qa_status status = QA_OK;
    while (status == QA_OK) {
        errno = 0;
        struct dirent *entry = readdir(entries);
        if (entry == NULL) {
            if (errno != 0) {
                status = qa_fail(err, QA_ERR_IO, "cannot list %s: %s", path, strerror(errno));
            }
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        char *inner = qa_path_join(path, entry->d_name);
        status = inner == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory while removing %s", path)
                               : remove_at(fd, entry->d_name, inner, err);
        free(inner);
    }
    (void)closedir(entries);
    return status;
}

/* Removes `name` of the open folder; `path` is the same file in messages. Working relative to open
 * folders, and never through a link, keeps a link swapped in meanwhile from leading elsewhere. */
static qa_status remove_at(int folder, const char *name, const char *path, qa_error *err) {
    struct stat info;
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? QA_OK : qa_fail(err, QA_ERR_IO, "cannot examine %s: %s", path, strerror(errno));
    }
    int flags = 0;
    if (S_ISDIR(info.st_mode)) {
        int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        QA_FAIL_IF(fd < 0, err, QA_ERR_IO, "cannot open the folder %s: %s", path, strerror(errno));
        QA_TRY(empty_folder(fd, path, err));
        flags = AT_REMOVEDIR;
    }
    QA_FAIL_IF(unlinkat(folder, name, flags) != 0 && errno != ENOENT, err, QA_ERR_IO, "cannot remove %s: %s", path,
               strerror(errno));
    return QA_OK;
}

qa_status qa_remove_tree(const char *path, qa_error *err) {
    const qa_dir_entry entry = qa_dir_entry_of(path);
    return remove_at(entry.folder, entry.name, path, err);
}

/* ---- renaming ---- */

qa_status qa_folder_of(char **folder, const char *path, qa_error *err) {
    const char *slash = strrchr(path, '/');
    size_t bytes = slash == NULL ? 0 : (size_t)(slash - path);
    if (slash != NULL && bytes == 0) {
        bytes = 1; /* "/name" is in "/" */
    }
    *folder = malloc(bytes + 2);
    if (*folder == NULL) {
        return QA_NO_MEMORY(err, "the path %s", path);
    }
    memcpy(*folder, bytes == 0 ? "." : path, bytes == 0 ? 1 : bytes);
    (*folder)[bytes == 0 ? 1 : bytes] = '\0';
    return QA_OK;
}

qa_status qa_sync_folder(const char *folder, qa_error *err) {
    const qa_dir_entry entry = qa_dir_entry_of(folder);
    int fd = openat(entry.folder, entry.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        /* A folder that may be written but not listed cannot be opened for fsync. */
        return errno == EACCES ? QA_OK
                               : qa_fail(err, QA_ERR_IO, "cannot open the folder %s: %s", folder, strerror(errno));
    }
    /* Some file systems know no fsync of a folder and say EINVAL. */
    int failed = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
    (void)close(fd);
    return failed == 0 ? QA_OK : qa_fail(err, QA_ERR_IO, "cannot sync the folder %s: %s", folder, strerror(failed));
}

qa_status qa_rename(const char *from, const char *to, qa_error *err) {
    char *folder = NULL;
    QA_TRY(qa_folder_of(&folder, to, err));
    const qa_dir_entry source = qa_dir_entry_of(from), target = qa_dir_entry_of(to);
    qa_status status = renameat(source.folder, source.name, target.folder, target.name) == 0
                           ? qa_sync_folder(folder, err)
                           : qa_fail(err, QA_ERR_IO, "cannot rename %s to %s: %s", from, to, strerror(errno));
    free(folder);
    return status;
}
