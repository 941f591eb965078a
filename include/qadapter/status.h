/* Status codes, error messages and logging: how qadapter reports to its caller.
 *
 * Every function that can fail returns a qa_status that must be checked and takes, as its last
 * argument, a qa_error that receives a message naming the file, line or tensor, what was expected
 * and what was found. The library never prints and never ends the process. */
#ifndef QADAPTER_STATUS_H
#define QADAPTER_STATUS_H

#include <stddef.h>

#if defined(__GNUC__)
#define QA_MUST_CHECK __attribute__((warn_unused_result))
#define QA_PRINTF(string, first) __attribute__((format(printf, string, first)))
#else
#define QA_MUST_CHECK
#define QA_PRINTF(string, first)
#endif

/* For the programs in C++ that include these headers. */
#ifdef __cplusplus
#define QA_BEGIN_DECLS extern "C" {
#define QA_END_DECLS }
#else
#define QA_BEGIN_DECLS
#define QA_END_DECLS
#endif

QA_BEGIN_DECLS

typedef enum qa_status {
    QA_OK = 0,
    QA_ERR_MEMORY,      /* an allocation failed */
    QA_ERR_IO,          /* the operating system refused a read, write, rename... */
    QA_ERR_FORMAT,      /* a file's bytes are not what its format says */
    QA_ERR_MISMATCH,    /* two things that must fit do not (adapter and model, tensor and config) */
    QA_ERR_UNSUPPORTED, /* well-formed, but not something qadapter can run */
    QA_ERR_ARGUMENT,    /* the caller's argument is out of its range */
    QA_ERR_LIMIT,       /* a context length or another stated limit is exceeded */
    QA_ERR_EXISTS,      /* the output is already there */
    QA_ERR_NAN,         /* a NaN or an infinity appeared in a computation */
    QA_ERR_INTERRUPTED  /* the caller asked to stop */
} qa_status;

enum { QA_MESSAGE_BYTES = 1024 };

/* What went wrong. Owned by the caller; zero-initialise it once, reuse it freely. */
typedef struct qa_error {
    qa_status code;
    char message[QA_MESSAGE_BYTES]; /* one line, no trailing newline; "" while code is QA_OK */
} qa_error;

/* A short name of the code ("format", "io"...); never NULL. */
const char *qa_status_name(qa_status status);

/* Writes the message into *err (ignored when err is NULL) and returns code. Control characters, and whatever else a
 * file's own words could do to a terminal, become escapes (\\x1b); a message that is too long ends between two
 * characters. The same holds for the two functions below. */
qa_status qa_fail(qa_error *err, qa_status code, const char *format, ...) QA_PRINTF(3, 4);

/* Puts a prefix (a file, a tensor...) in front of the message that err already holds. */
void qa_error_prefix(qa_error *err, const char *format, ...) QA_PRINTF(2, 3);

typedef enum qa_log_level { QA_LOG_INFO, QA_LOG_WARNING } qa_log_level;

/* Receives one line of progress or warning at a time, without a trailing newline. */
typedef void (*qa_log_fn)(void *user, qa_log_level level, const char *line);

typedef struct qa_logger {
    qa_log_fn write; /* NULL: silent */
    void *user;      /* handed to write; not owned */
} qa_logger;

/* Formats a line (at most QA_MESSAGE_BYTES) and hands it to the logger, if there is one. */
void qa_log(const qa_logger *logger, qa_log_level level, const char *format, ...) QA_PRINTF(3, 4);

/* ---- warnings: what was found and is not an error ---- */

/* Lines that a reader of files collected: two files that disagree, a key that is not used... The object that was read
 * owns them. */
typedef struct qa_warnings {
    char **lines; /* [n], zero-terminated, one line each */
    size_t n;
} qa_warnings;

/* ---- a run's context: its one thread pool and its logger ---- */

typedef struct qa_context qa_context;

/* threads: 0 takes all online cores. The logger is copied. Outlives everything made with it. */
QA_MUST_CHECK qa_status qa_context_create(qa_context **context, size_t threads, qa_logger logger, qa_error *err);
void qa_context_free(qa_context *context); /* NULL is allowed */
size_t qa_context_threads(const qa_context *context);

/* ---- which library this is ---- */

#define QA_VERSION "0.1.0"

/* "0.1.0" */
const char *qa_version(void);

/* "f32" or "f64": what the library computes in. */
const char *qa_precision(void);

QA_END_DECLS

#endif
