/* A folder that is held by its descriptor, so that paths into it mean that very folder even after it was moved, removed
 * or replaced by another one of its name.
 *
 * While a thread holds a folder, every function of io (and what is built on them) that this thread calls with a path
 * into it works relative to the descriptor (openat, renameat, mkdirat, ...). Messages keep the path that was given. */
#ifndef QA_IO_HELD_FOLDER_H
#define QA_IO_HELD_FOLDER_H

#include <dirent.h>
#include <stddef.h>

/* Set by qa_hold_folder; path and descriptor are borrowed. */
typedef struct qa_held_folder {
    const char *path;
    size_t path_bytes; /* without slashes at the end */
    int descriptor;
    struct qa_held_folder *outer; /* held by this thread before */
} qa_held_folder;

/* The calling thread holds the folder until it lets it go; *held must stay where it is so long. The last one that was
 * held is let go first. Letting go what is not held does nothing. */
void qa_hold_folder(qa_held_folder *held, const char *path, int descriptor);
void qa_let_folder_go(qa_held_folder *held);

/* What openat and its like take: a folder's descriptor (AT_FDCWD: none) and a path relative to it. */
typedef struct qa_dir_entry {
    int folder;
    const char *name; /* into the path that was asked for, or "." */
} qa_dir_entry;

qa_dir_entry qa_dir_entry_of(const char *path);

/* opendir. */
DIR *qa_list_folder(const char *path);

/* What became of a held folder. */
typedef enum qa_held_state {
    QA_HELD_THERE,  /* its path leads to it */
    QA_HELD_MOVED,  /* its path leads nowhere, or to another folder */
    QA_HELD_REMOVED /* nothing can be made in it any more */
} qa_held_state;

qa_held_state qa_held_folder_state(const qa_held_folder *held);

/* Where it is now: a new string (free), or NULL where the system does not tell. */
char *qa_held_folder_path(const qa_held_folder *held);

#endif
