/* See input.h. */
#include "io/input.h"

#include "base/try.h"
#include "io/held_folder.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- opening ---- */

/* Names by which a shell hands over a descriptor of its own. */
static bool is_handed_over(const char *path) {
    return strcmp(path, "/dev/stdin") == 0 || strncmp(path, "/dev/fd/", 8) == 0 ||
           (strncmp(path, "/proc/", 6) == 0 && strstr(path, "/fd/") != NULL);
}

static qa_status check_input_kind(const struct stat *info, const char *path, bool pipes, qa_error *err) {
    if (S_ISREG(info->st_mode) || (pipes && !S_ISDIR(info->st_mode))) {
        return QA_OK;
    }
    QA_FAIL_IF(S_ISDIR(info->st_mode), err, QA_ERR_IO, "cannot read %s: it is a folder, a file was expected", path);
    return qa_fail(err, QA_ERR_IO, "cannot read %s: it is not a regular file but a %s", path,
                   S_ISFIFO(info->st_mode)   ? "pipe"
                   : S_ISSOCK(info->st_mode) ? "socket"
                                             : "device");
}

/* O_NONBLOCK: a pipe without a writer must become a message, not a wait; regular files ignore it. */
static qa_status open_checked(int *descriptor, struct stat *info, const char *path, bool pipes, qa_error *err) {
    const int wait = pipes ? 0 : O_NONBLOCK;
    const qa_dir_entry entry = qa_dir_entry_of(path);
    *descriptor = openat(entry.folder, entry.name, O_RDONLY | O_CLOEXEC | wait);
    if (*descriptor < 0) {
        return errno == ENXIO ? qa_fail(err, QA_ERR_IO, "cannot read %s: it is not a regular file but a socket", path)
                              : qa_fail(err, QA_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    qa_status status = fstat(*descriptor, info) != 0
                           ? qa_fail(err, QA_ERR_IO, "cannot examine %s: %s", path, strerror(errno))
                           : check_input_kind(info, path, pipes, err);
    if (status != QA_OK) {
        (void)close(*descriptor);
        *descriptor = -1;
    }
    return status;
}

qa_status qa_open_sequential(int *descriptor, const char *path, qa_error *err) {
    struct stat info;
    return open_checked(descriptor, &info, path, is_handed_over(path), err);
}

/* A name that is no file: what it may be instead. */
static const char *other_than_file(const char *path) {
    const char *slash = strchr(path, '/'), *last = strrchr(path, '/');
    struct stat info;
    if (strstr(path, "://") != NULL) {
        return "; an address is not fetched: download the file first";
    }
    if (stat(path, &info) == 0) {
        return S_ISDIR(info.st_mode) ? "; of a folder, name one of its files" : "";
    }
    if (strpbrk(path, "*?") != NULL) {
        return "; patterns are the shell's to expand, and one file is read";
    }
    if (slash != NULL && slash == last && path[0] != '/' && path[0] != '.' && path[0] != '~' &&
        strchr(path, '.') == NULL) {
        return "; a data set on the Hub is not fetched: download it first (hf download --repo-type dataset) and name "
               "one "
               "of its files";
    }
    return "";
}

qa_status qa_open_data(int *descriptor, const char *path, qa_error *err) {
    const qa_status status = qa_open_sequential(descriptor, path, err);
    if (status == QA_OK) {
        return QA_OK;
    }
    const char *other = status == QA_ERR_IO ? other_than_file(path) : "";
    char message[QA_MESSAGE_BYTES];
    memcpy(message, err == NULL ? "" : err->message, err == NULL ? 1 : sizeof message);
    return qa_fail(err, status, "%.800s%s", message, other);
}

qa_status qa_read_some(int descriptor, const char *name, void *to, size_t n, size_t *got, qa_error *err) {
    ssize_t result = -1;
    *got = 0;
    do {
        result = read(descriptor, to, n);
    } while (result < 0 && errno == EINTR);
    QA_FAIL_IF(result < 0, err, QA_ERR_IO, "cannot read %s: %s", name,
               errno == EISDIR ? "it is a folder, a file was expected" : strerror(errno));
    *got = (size_t)result;
    return QA_OK;
}

/* ---- reading pieces ---- */

static void note_state(int64_t changed[2], const struct stat *info) {
    changed[0] = (int64_t)info->st_mtim.tv_sec;
    changed[1] = (int64_t)info->st_mtim.tv_nsec;
}

qa_status qa_input_open(qa_input *input, const char *path, qa_error *err) {
    struct stat info;
    *input = (qa_input){.descriptor = -1};
    QA_TRY(open_checked(&input->descriptor, &info, path, false, err));
    if (info.st_size < 0 || (uintmax_t)info.st_size > (uintmax_t)SIZE_MAX) {
        qa_input_close(input);
        return qa_fail(err, QA_ERR_LIMIT, "cannot read %s: %jd bytes do not fit the address space", path,
                       (intmax_t)info.st_size);
    }
    input->bytes = (size_t)info.st_size;
    note_state(input->changed, &info);
    return QA_OK;
}

void qa_input_close(qa_input *input) {
    if (input->descriptor >= 0) {
        (void)close(input->descriptor); /* nothing was written */
    }
    *input = (qa_input){.descriptor = -1};
}

qa_status qa_input_read(const qa_input *input, const char *path, size_t offset, void *to, size_t n, qa_error *err) {
    unsigned char *at = to;
    while (n > 0) {
        const ssize_t got = pread(input->descriptor, at, n, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        QA_FAIL_IF(got < 0, err, QA_ERR_IO, "cannot read %s: %s", path, strerror(errno));
        QA_FAIL_IF(got == 0, err, QA_ERR_IO,
                   "%s was cut short while it was read: it had %zu bytes, now it ends before byte %zu; wait until "
                   "whatever writes it is done",
                   path, input->bytes, offset);
        at += got;
        offset += (size_t)got;
        n -= (size_t)got;
    }
    return QA_OK;
}

qa_status qa_input_check_unchanged(const qa_input *input, const char *path, qa_error *err) {
    struct stat info;
    int64_t now[2];
    QA_FAIL_IF(fstat(input->descriptor, &info) != 0, err, QA_ERR_IO, "cannot examine %s: %s", path, strerror(errno));
    note_state(now, &info);
    QA_FAIL_IF((uintmax_t)info.st_size != (uintmax_t)input->bytes || memcmp(now, input->changed, sizeof now) != 0, err,
               QA_ERR_IO, "%s was written to while it was read; wait until whatever writes it is done", path);
    return QA_OK;
}

/* ---- optional files ---- */

qa_status qa_find_optional(bool *there, const char *path, qa_error *err) {
    struct stat info;
    *there = false;
    const qa_dir_entry entry = qa_dir_entry_of(path);
    if (fstatat(entry.folder, entry.name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? QA_OK : qa_fail(err, QA_ERR_IO, "cannot examine %s: %s", path, strerror(errno));
    }
    if (fstatat(entry.folder, entry.name, &info, 0) != 0) {
        return errno == ENOENT ? qa_fail(err, QA_ERR_IO,
                                         "%s is a link to a file that is not there (a part of a download cache?); "
                                         "restore what it names, or remove the link",
                                         path)
                               : qa_fail(err, QA_ERR_IO, "cannot examine %s: %s", path, strerror(errno));
    }
    *there = true;
    return QA_OK;
}

/* ---- what a file is ---- */

static const struct signature {
    const char *bytes;
    size_t n;
    const char *meaning;
    const char *rows; /* Python that reads a table's rows, with the file's name for '%'; NULL: no table */
} SIGNATURES[] = {
#define SIGNATURE(bytes, meaning) TABLE(bytes, meaning, NULL)
#define TABLE(bytes, meaning, rows)                                                                                    \
    { bytes, sizeof(bytes) - 1, meaning, rows }
    SIGNATURE("version https://git-lfs", "a git-lfs pointer and not the file itself; run `git lfs pull` in its folder, "
                                         "or download the file"),
    SIGNATURE("GGUF",
              "a GGUF file (llama.cpp); take the model's folder with config.json and model.safetensors instead"),
    SIGNATURE("\x1f\x8b", "gzip data; unpack it first (gzip -d)"),
    SIGNATURE("BZh", "bzip2 data; unpack it first (bzip2 -d)"),
    SIGNATURE("\xfd"
              "7zXZ",
              "xz data; unpack it first (xz -d)"),
    SIGNATURE("\x28\xb5\x2f\xfd", "Zstandard data; unpack it first (zstd -d)"),
    SIGNATURE("PK\x05\x06", "an empty zip archive"),
    SIGNATURE("7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first (7z x)"),
    SIGNATURE("PK\x03\x04", "a zip archive (PyTorch's .bin and .pt files are such ones); unpack it, or save PyTorch "
                            "weights as safetensors"),
    SIGNATURE("\x80\x02", "a Python pickle (an old .bin or .pt file of PyTorch?); save the weights as safetensors"),
    SIGNATURE("\x04\x22\x4d\x18", "LZ4 data; unpack it first (lz4 -d)"),
    SIGNATURE("\x5d\x00\x00", "LZMA data; unpack it first (xz -d --format=lzma)"),
    SIGNATURE("%PDF-", "a PDF document; its text is needed"),
    SIGNATURE("\x89HDF\r\n", "an HDF5 file; safetensors or JSON is read here"),
    TABLE("FEA1", "a Feather table; write its rows as JSON Lines", "pandas.read_feather('%')"),
    TABLE("PAR1", "a Parquet table; write its rows as JSON Lines", "pandas.read_parquet('%')"),
    TABLE("ARROW1", "an Arrow table; write its rows as JSON Lines", "pandas.read_feather('%')"),
    TABLE("\xff\xff\xff\xff", "an Arrow stream (a folder of datasets' save_to_disk?); write its rows as JSON Lines",
          "pyarrow.ipc.open_stream('%').read_pandas()"),
    SIGNATURE("\x93NUMPY", "a NumPy array; safetensors or JSON is read here"),
    SIGNATURE("SQLite format 3", "an SQLite database; write its rows as JSON Lines"),
    SIGNATURE("\xff\xfe\0\0", "text in UTF-32; save it as UTF-8 without a byte-order mark"),
    SIGNATURE("\xff\xfe", "text in UTF-16; save it as UTF-8 without a byte-order mark"),
    SIGNATURE("\xfe\xff", "text in UTF-16; save it as UTF-8 without a byte-order mark"),
    SIGNATURE("\xef\xbb\xbf", "text with a byte-order mark in front; save it as UTF-8 without one"),
#undef SIGNATURE
#undef TABLE
};

/* Whether data begins with the letters, in either case, behind white space. */
static bool begins_with(const unsigned char *data, size_t n, const char *letters) {
    size_t at = 0;
    while (at < n && isspace(data[at])) {
        at++;
    }
    for (; *letters != '\0'; letters++, at++) {
        if (at >= n || tolower(data[at]) != *letters) {
            return false;
        }
    }
    return true;
}

static const struct signature *signature_of(const unsigned char *data, size_t n) {
    for (size_t i = 0; i < sizeof SIGNATURES / sizeof *SIGNATURES; i++) {
        if (n >= SIGNATURES[i].n && memcmp(data, SIGNATURES[i].bytes, SIGNATURES[i].n) == 0) {
            return &SIGNATURES[i];
        }
    }
    return NULL;
}

const char *qa_foreign_content(const void *data, size_t n) {
    const unsigned char *bytes = data;
    const struct signature *known = signature_of(bytes, n);
    if (known != NULL) {
        return known->meaning;
    }
    if (n >= 262 && memcmp(bytes + 257, "ustar", 5) == 0) {
        return "a tar archive; unpack it first (tar -xf) and name one of its files";
    }
    if (begins_with(bytes, n, "<!doctype") || begins_with(bytes, n, "<html") || begins_with(bytes, n, "<head") ||
        begins_with(bytes, n, "<?xml")) {
        return "a web page and not the file itself (an error page, or the page that shows the file?); download the "
               "file "
               "again, on the Hub from resolve/main instead of blob/main";
    }
    if (n >= 4 && bytes[1] == 0 && bytes[3] == 0 && bytes[0] != 0 && bytes[2] != 0 && bytes[0] < 0x80) {
        return "text in UTF-16; save it as UTF-8";
    }
    if (n >= 4 && bytes[0] == 0 && bytes[2] == 0 && bytes[1] != 0 && bytes[3] != 0 && bytes[1] < 0x80) {
        return "text in UTF-16; save it as UTF-8";
    }
    return NULL;
}

/* Whether the first line, behind white space, looks like a table's header: separators, and nothing of JSON. */
static bool looks_like_csv(const char *text, size_t n) {
    size_t begin = 0, separators = 0;
    while (begin < n && isspace((unsigned char)text[begin])) {
        begin++;
    }
    for (size_t i = begin; i < n && text[i] != '\n'; i++) {
        if (text[i] == '{' || text[i] == '[') {
            return false;
        }
        separators += text[i] == ',' || text[i] == '\t' || text[i] == ';';
    }
    return separators > 0;
}

/* A name that a shell and Python take as it stands, or FILE. */
static const char *plain_name(const char *name) {
    static const char PLAIN[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/+=@,";
    return name[strspn(name, PLAIN)] == '\0' && strlen(name) <= 100 ? name : "FILE";
}

const char *qa_foreign_lines(const char *name, const void *data, size_t n, char text[QA_FOREIGN_BYTES]) {
    const char *bytes = data, *meaning = NULL, *rows = NULL, *file = plain_name(name);
    const size_t mark = n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* is passed over there */
    meaning = qa_foreign_content(bytes + mark, n - mark);
    if (meaning != NULL) {
        const struct signature *known = signature_of((const unsigned char *)bytes + mark, n - mark);
        rows = known == NULL ? NULL : known->rows;
    } else if (looks_like_csv(bytes + mark, n - mark)) {
        meaning = "not JSON Lines, its first line looks like the header of a CSV table; write its rows as JSON Lines";
        rows = "pandas.read_csv('%', sep=None, engine='python')";
    }
    if (rows == NULL) {
        return meaning;
    }
    const char *place = strchr(rows, '%');
    (void)snprintf(text, QA_FOREIGN_BYTES,
                   "%s: python3 -c \"import pandas%s; %.*s%s%s.to_json('%s.jsonl', orient='records', lines=True)\"",
                   meaning, strncmp(rows, "pyarrow", 7) == 0 ? ", pyarrow" : "", (int)(place - rows), rows, file,
                   place + 1, file);
    return text;
}
