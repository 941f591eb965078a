/* A folder of this process' own in memory (/dev/shm, else $TMPDIR), and files in it that change with every input. */
#ifndef QA_TESTS_FUZZ_FOLDER_H
#define QA_TESTS_FUZZ_FOLDER_H

#include <stddef.h>

/* The folder, made once, with a folder `name` in it; the process' end removes all. Failures end the process. */
const char *qa_fuzz_folder(const char *name);

/* Copies every regular file of the folder `from` into `to`; `from` is seen from the project's root ($QA_FUZZ_ROOT, else
 * the current folder). */
void qa_fuzz_copy(const char *from, const char *to);

/* Writes dir/name. Not synced, not atomic: the next input overwrites it. */
void qa_fuzz_write(const char *dir, const char *name, const void *data, size_t bytes);
void qa_fuzz_remove(const char *dir, const char *name);

/* The bytes of a file of the project, zero-terminated; never freed. */
char *qa_fuzz_read(const char *path, size_t *bytes);

/* "dir/name" in one of a few static buffers. */
const char *qa_fuzz_path(const char *dir, const char *name);

#endif
