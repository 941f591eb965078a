/* See copy.h. */
#include "io/copy.h"

#include "base/try.h"
#include "io/file.h"
#include "io/input.h"

#include <stdlib.h>
#include <sys/stat.h>

enum { COPY_BYTES = 1 << 16 };

/* Reads the whole file into the digest and into the copy; either may be NULL. */
static qa_status read_through(const char *path, qa_sha256 *sha, qa_atomic_file *copy, size_t *bytes, qa_error *err) {
    unsigned char piece[COPY_BYTES];
    qa_input input = {.descriptor = -1};
    QA_TRY(qa_input_open(&input, path, err));
    qa_status status = QA_OK;
    *bytes = input.bytes;
    for (size_t at = 0; at < input.bytes;) {
        const size_t left = input.bytes - at, n = left < sizeof piece ? left : sizeof piece;
        QA_GOTO(done, qa_input_read(&input, path, at, piece, n, err));
        if (sha != NULL) {
            qa_sha256_add(sha, piece, n);
        }
        QA_GOTO(done, copy == NULL ? QA_OK : qa_atomic_write(copy, piece, n, err));
        at += n;
    }
    QA_GOTO(done, qa_input_check_unchanged(&input, path, err));
done:
    qa_input_close(&input);
    return status;
}

static bool is_same_file(const char *a, const char *b) {
    struct stat at_a, at_b;
    return stat(a, &at_a) == 0 && stat(b, &at_b) == 0 && at_a.st_dev == at_b.st_dev && at_a.st_ino == at_b.st_ino;
}

qa_status qa_copy_file(const char *from, const char *to, qa_error *err) {
    qa_atomic_file *copy = NULL;
    size_t bytes = 0;
    if (is_same_file(from, to)) {
        return QA_OK;
    }
    QA_TRY(qa_atomic_open(&copy, to, err));
    const qa_status status = read_through(from, NULL, copy, &bytes, err);
    if (status != QA_OK) {
        qa_atomic_abort(copy);
        return status;
    }
    return qa_atomic_commit(copy, err);
}

qa_status qa_copy_optional(const char *from_dir, const char *to_dir, const char *name, qa_error *err) {
    char *from = NULL, *to = NULL;
    bool there = false;
    qa_status status = QA_OK;
    QA_GOTO(done, qa_join_path(&from, from_dir, name, err));
    QA_GOTO(done, qa_join_path(&to, to_dir, name, err));
    QA_GOTO(done, qa_find_optional(&there, from, err));
    status = there ? qa_copy_file(from, to, err) : QA_OK;
done:
    free(to);
    free(from);
    return status;
}

qa_status qa_file_sha256(const char *path, char hex[QA_SHA256_HEX_BYTES], size_t *bytes, qa_error *err) {
    unsigned char digest[QA_SHA256_BYTES];
    qa_sha256 sha = qa_sha256_begin();
    QA_TRY(read_through(path, &sha, NULL, bytes, err));
    qa_sha256_end(&sha, digest);
    qa_sha256_to_hex(digest, hex);
    return QA_OK;
}
