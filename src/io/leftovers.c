/* See leftovers.h. */
#define _DEFAULT_SOURCE 1 /* flock is not in POSIX */
#include "io/leftovers.h"

#include "io/held_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

bool qa_temporary_claim(int descriptor) {
    struct stat info;
    while (flock(descriptor, LOCK_EX) != 0) { /* it waits at most for somebody who looks at leftovers */
        if (errno != EINTR) {
            return true;
        }
    }
    return fstat(descriptor, &info) != 0 || info.st_nlink > 0;
}

static size_t digits(const char *text) { return strspn(text, "0123456789"); }

/* Whether the text is "PID-N". */
static bool is_number_pair(const char *text) {
    const size_t first = digits(text);
    if (first == 0 || text[first] != '-') {
        return false;
    }
    const size_t second = digits(text + first + 1);
    return second > 0 && text[first + 1 + second] == '\0';
}

/* Whether the entry is called as a temporary of `name` is, or of any file. */
static bool is_temporary(const char *entry, const char *name) {
    static const char mark[] = ".tmp-";
    const char *at = NULL;
    if (entry[0] != '.') {
        return false;
    }
    for (const char *next = strstr(entry + 1, mark); next != NULL; next = strstr(next + 1, mark)) {
        at = next; /* the last one: NAME may hold the mark itself */
    }
    if (at == NULL || at == entry + 1 || !is_number_pair(at + strlen(mark))) {
        return false;
    }
    const size_t kept = (size_t)(at - entry - 1);
    const size_t length = name == NULL ? kept : strlen(name);
    return name == NULL || (kept == (length < QA_TEMPORARY_NAME_KEPT ? length : (size_t)QA_TEMPORARY_NAME_KEPT) &&
                            memcmp(entry + 1, name, kept) == 0);
}

/* Removes the entry unless somebody has it locked, or it is no file. */
static void remove_if_left(int folder, const char *entry) {
    struct stat info, now;
    const int file = openat(folder, entry, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) {
        return;
    }
    if (fstat(file, &info) == 0 && S_ISREG(info.st_mode) && flock(file, LOCK_EX | LOCK_NB) == 0 &&
        fstatat(folder, entry, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_dev == info.st_dev &&
        now.st_ino == info.st_ino) {
        (void)unlinkat(folder, entry, 0);
    }
    (void)close(file);
}

void qa_leftovers_clean(const char *folder, const char *name) {
    DIR *entries = qa_list_folder(folder);
    if (entries == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (is_temporary(entry->d_name, name)) {
            remove_if_left(dirfd(entries), entry->d_name);
        }
    }
    (void)closedir(entries);
}
