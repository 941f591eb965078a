/* Files: reading whole, mapping, and writing so that a reader never sees half of one. */
#ifndef QA_IO_FILE_H
#define QA_IO_FILE_H

#include "base/buffer.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

/* A read-only mapping of a whole file. An empty file has data == NULL and bytes == 0. */
typedef struct qa_mapping {
    const unsigned char *data;
    size_t bytes;
} qa_mapping;

/* Regular files only. The mapping is valid as long as nobody shortens the file meanwhile. */
QA_MUST_CHECK qa_status qa_map_file(qa_mapping *mapping, const char *path, qa_error *err);
void qa_unmap_file(qa_mapping *mapping);

/* The whole file into text, replacing what it held (the caller frees it; empty after a failure);
 * refuses more than max_bytes with QA_ERR_LIMIT. "-" reads stdin. */
QA_MUST_CHECK qa_status qa_read_file(qa_text *text, const char *path, size_t max_bytes, qa_error *err);

/* dir + "/" + name into a new string (free); NULL when out of memory. */
char *qa_path_join(const char *dir, const char *name);

/* The same with a status; *path is NULL after a failure. */
QA_MUST_CHECK qa_status qa_join_path(char **path, const char *dir, const char *name, qa_error *err);

bool qa_path_exists(const char *path);
bool qa_path_is_dir(const char *path);
/* Whether the folder holds something of that name. */
bool qa_holds(const char *dir, const char *name);

/* Makes the folder and its missing parents; fine when it is already there. Fails when path exists
 * and is not a folder. */
QA_MUST_CHECK qa_status qa_make_dirs(const char *path, qa_error *err);

/* Removes a file or a folder with all it holds (symbolic links are removed, not followed). Fine when
 * nothing is there. */
QA_MUST_CHECK qa_status qa_remove_tree(const char *path, qa_error *err);

/* Renames over an existing target (a folder: only over an empty one) and syncs the folder that holds
 * it. */
QA_MUST_CHECK qa_status qa_rename(const char *from, const char *to, qa_error *err);

/* An output file that appears under its name only when it is complete: bytes go to a temporary file
 * in the same folder; commit flushes, fsyncs, renames and fsyncs the folder; abort (or a failed
 * commit) removes the temporary and leaves whatever stood at path before. A file that is replaced
 * passes its permissions on; a symbolic link stays and what it names is replaced; a device or pipe is
 * written directly. After a failed write only abort or a commit (which then fails) are left. */
typedef struct qa_atomic_file qa_atomic_file;

QA_MUST_CHECK qa_status qa_atomic_open(qa_atomic_file **file, const char *path, qa_error *err);
QA_MUST_CHECK qa_status qa_atomic_write(qa_atomic_file *file, const void *data, size_t bytes, qa_error *err);
/* Both free the handle; NULL is allowed for abort. */
QA_MUST_CHECK qa_status qa_atomic_commit(qa_atomic_file *file, qa_error *err);
void qa_atomic_abort(qa_atomic_file *file);

/* open + write + commit. */
QA_MUST_CHECK qa_status qa_write_file(const char *path, const void *data, size_t bytes, qa_error *err);

#endif
