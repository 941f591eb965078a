/* Preloaded into the program (LD_PRELOAD), counts its calls that change files and ends it with SIGKILL at one of them.
 *
 *     KILL_AT=N      at call number N, from 1; 0: never
 *     KILL_HALF=1    a write writes half of its bytes before that
 *     KILL_COUNT=F   when the program ends by itself, its number of calls goes into the file F
 *
 * Calls on standard input, output and error do not count. */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long calls;
static long kill_at;
static bool half;

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("KILL_AT");
    kill_at = at == NULL ? 0 : strtol(at, NULL, 10);
    half = getenv("KILL_HALF") != NULL;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("KILL_COUNT");
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file != NULL) {
        fprintf(file, "%ld\n", atomic_load(&calls) - 1); /* without this very file */
        (void)fclose(file);
    }
}

/* Counts a call; true: it is the last one. */
static bool is_last(void) { return atomic_fetch_add(&calls, 1) + 1 == kill_at; }

static void die(void) {
    (void)kill(getpid(), SIGKILL);
    for (;;) {
        (void)pause();
    }
}

static void count(void) {
    if (is_last()) {
        die();
    }
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

/* ---- opening ---- */

static bool changes(int flags) { return (flags & (O_CREAT | O_TRUNC)) != 0; }

static mode_t mode_of(int flags, va_list args) {
    const bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    return makes ? (mode_t)va_arg(args, unsigned) : 0;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list args;                                                                                                  \
        va_start(args, flags);                                                                                         \
        const mode_t mode = mode_of(flags, args);                                                                      \
        va_end(args);                                                                                                  \
        if (changes(flags)) {                                                                                          \
            count();                                                                                                   \
        }                                                                                                              \
        return NEXT(int (*)(const char *, int, ...), #name)(path, flags, mode);                                        \
    }
#define OPENAT(name)                                                                                                   \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        va_list args;                                                                                                  \
        va_start(args, flags);                                                                                         \
        const mode_t mode = mode_of(flags, args);                                                                      \
        va_end(args);                                                                                                  \
        if (changes(flags)) {                                                                                          \
            count();                                                                                                   \
        }                                                                                                              \
        return NEXT(int (*)(int, const char *, int, ...), #name)(folder, path, flags, mode);                           \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* ---- writing ---- */

ssize_t write(int fd, const void *data, size_t n) {
    if (fd > STDERR_FILENO && is_last()) {
        if (half) {
            (void)!syscall(SYS_write, fd, data, n / 2);
        }
        die();
    }
    return NEXT(ssize_t(*)(int, const void *, size_t), "write")(fd, data, n);
}

#define PWRITE(name)                                                                                                   \
    ssize_t name(int fd, const void *data, size_t n, off_t at) {                                                       \
        if (is_last()) {                                                                                               \
            if (half) {                                                                                                \
                (void)!syscall(SYS_pwrite64, fd, data, n / 2, at);                                                     \
            }                                                                                                          \
            die();                                                                                                     \
        }                                                                                                              \
        return NEXT(ssize_t(*)(int, const void *, size_t, off_t), #name)(fd, data, n, at);                             \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

/* ---- everything else ---- */

#define CALL(name, parameters, types, ...)                                                                             \
    int name parameters {                                                                                              \
        count();                                                                                                       \
        return NEXT(int(*) types, #name)(__VA_ARGS__);                                                                 \
    }
CALL(fsync, (int fd), (int), fd)
CALL(fdatasync, (int fd), (int), fd)
CALL(ftruncate, (int fd, off_t bytes), (int, off_t), fd, bytes)
CALL(ftruncate64, (int fd, off_t bytes), (int, off_t), fd, bytes)
CALL(rename, (const char *from, const char *to), (const char *, const char *), from, to)
CALL(renameat, (int a, const char *from, int b, const char *to), (int, const char *, int, const char *), a, from, b, to)
CALL(renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
     (int, const char *, int, const char *, unsigned), a, from, b, to, flags)
CALL(unlink, (const char *path), (const char *), path)
CALL(unlinkat, (int folder, const char *path, int flags), (int, const char *, int), folder, path, flags)
CALL(rmdir, (const char *path), (const char *), path)
CALL(mkdir, (const char *path, mode_t mode), (const char *, mode_t), path, mode)
CALL(mkdirat, (int folder, const char *path, mode_t mode), (int, const char *, mode_t), folder, path, mode)
CALL(linkat, (int a, const char *from, int b, const char *to, int flags), (int, const char *, int, const char *, int),
     a, from, b, to, flags)
CALL(fchmod, (int fd, mode_t mode), (int, mode_t), fd, mode)
