/* See held_folder.h. The folders that a thread holds are a list that begins with the last one. */
#include "io/held_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PATH_BYTES = 4096 };

static _Thread_local qa_held_folder *innermost;

void qa_hold_folder(qa_held_folder *held, const char *path, int descriptor) {
    size_t bytes = strlen(path);
    while (bytes > 0 && path[bytes - 1] == '/') {
        bytes--;
    }
    *held = (qa_held_folder){.path = path, .path_bytes = bytes, .descriptor = descriptor, .outer = innermost};
    innermost = held;
}

void qa_let_folder_go(qa_held_folder *held) {
    for (qa_held_folder **at = &innermost; *at != NULL; at = &(*at)->outer) {
        if (*at == held) {
            *at = held->outer;
            return;
        }
    }
}

/* Whether path is the folder (*name is then ".") or something in it. */
static bool leads_into(const qa_held_folder *held, const char *path, const char **name) {
    if (held->path_bytes == 0 || strncmp(path, held->path, held->path_bytes) != 0) {
        return false;
    }
    const char *rest = path + held->path_bytes;
    if (*rest != '\0' && *rest != '/') {
        return false;
    }
    rest += strspn(rest, "/");
    *name = *rest == '\0' ? "." : rest;
    return true;
}

qa_dir_entry qa_dir_entry_of(const char *path) {
    for (const qa_held_folder *held = innermost; held != NULL; held = held->outer) {
        const char *name = NULL;
        if (leads_into(held, path, &name)) {
            return (qa_dir_entry){held->descriptor, name};
        }
    }
    return (qa_dir_entry){AT_FDCWD, path};
}

DIR *qa_list_folder(const char *path) {
    const qa_dir_entry entry = qa_dir_entry_of(path);
    const int fd = openat(entry.folder, entry.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && entries == NULL) {
        const int reason = errno;
        (void)close(fd);
        errno = reason;
    }
    return entries;
}

qa_held_state qa_held_folder_state(const qa_held_folder *held) {
    struct stat it, named;
    if (fstat(held->descriptor, &it) != 0 || it.st_nlink == 0) {
        return QA_HELD_REMOVED;
    }
    const bool there = stat(held->path, &named) == 0 && named.st_dev == it.st_dev && named.st_ino == it.st_ino;
    return there ? QA_HELD_THERE : QA_HELD_MOVED;
}

char *qa_held_folder_path(const qa_held_folder *held) {
    char link[64], path[MAX_PATH_BYTES];
    struct stat it, named;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", held->descriptor);
    const ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes <= 0) {
        return NULL;
    }
    path[bytes] = '\0';
    const bool right = fstat(held->descriptor, &it) == 0 && stat(path, &named) == 0 && named.st_dev == it.st_dev &&
                       named.st_ino == it.st_ino;
    return right ? strdup(path) : NULL;
}
