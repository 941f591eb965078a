/* See folder.h. */
#include "fuzz/folder.h"

#include "io/file.h"
#include "qadapter/status.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[256];
static pid_t owner;

static void die(const char *what, const char *path) {
    (void)fprintf(stderr, "fuzz: %s %s\n", what, path);
    exit(2);
}

static void remove_root(void) {
    qa_error ignored = {0};
    if (getpid() == owner && qa_remove_tree(root, &ignored) != QA_OK) {
        (void)fprintf(stderr, "fuzz: %s stays\n", root);
    }
}

const char *qa_fuzz_path(const char *dir, const char *name) {
    static char buffers[8][600];
    static unsigned next;
    char *buffer = buffers[next++ % 8];
    (void)snprintf(buffer, sizeof buffers[0], "%s/%s", dir, name);
    return buffer;
}

const char *qa_fuzz_folder(const char *name) {
    if (owner != getpid()) {
        const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
        (void)snprintf(root, sizeof root, "%s/qadapter-fuzz-XXXXXX", tmp == NULL ? "/tmp" : tmp);
        if (mkdtemp(root) == NULL) {
            die("cannot make", root);
        }
        owner = getpid();
        (void)atexit(remove_root);
    }
    static char paths[32][320];
    static size_t n;
    char *path = paths[n];
    if (n++ == sizeof paths / sizeof paths[0]) {
        die("too many folders:", name);
    }
    (void)snprintf(path, sizeof paths[0], "%s/%s", root, name);
    if (mkdir(path, 0700) != 0) {
        die("cannot make", path);
    }
    return path;
}

char *qa_fuzz_read(const char *path, size_t *bytes) {
    const char *project = getenv("QA_FUZZ_ROOT");
    const char *full = path[0] == '/' || project == NULL ? path : qa_fuzz_path(project, path);
    qa_text text = {0};
    qa_error err = {0};
    if (qa_read_file(&text, full, (size_t)1 << 28, &err) != QA_OK) {
        die(err.message, "");
    }
    *bytes = text.n;
    return text.data;
}

void qa_fuzz_write(const char *dir, const char *name, const void *data, size_t bytes) {
    const char *path = qa_fuzz_path(dir, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || (bytes > 0 && fwrite(data, 1, bytes, file) != bytes) || fclose(file) != 0) {
        die("cannot write", path);
    }
}

void qa_fuzz_remove(const char *dir, const char *name) { (void)unlink(qa_fuzz_path(dir, name)); }

void qa_fuzz_copy(const char *from, const char *to) {
    char source[512]; /* of its own: `from` may be one of qa_fuzz_path's buffers */
    const char *project = getenv("QA_FUZZ_ROOT");
    (void)snprintf(source, sizeof source, "%s%s%s", project == NULL ? "" : project, project == NULL ? "" : "/", from);
    DIR *dir = opendir(source);
    if (dir == NULL) {
        die("cannot open", source);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[1024];
        struct stat info;
        (void)snprintf(path, sizeof path, "%s/%s", source, entry->d_name);
        if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
            size_t bytes = 0;
            char *data = qa_fuzz_read(path, &bytes);
            qa_fuzz_write(to, entry->d_name, data, bytes);
            free(data);
        }
    }
    (void)closedir(dir);
}
