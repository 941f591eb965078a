/* See cli.h. */
#include "support/cli.h"

#include "support/tempdir.h"
#include "support/tiny_model.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_SECONDS = 60, CHUNK = 65536 };

/* ---- the child ---- */

static void set_up_child(const qa_cli_how *how, int in, int out, int err) {
    if (how->output != NULL) {
        out = open(how->output, O_WRONLY | O_CREAT, 0600);
    }
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0) {
        _exit(126);
    }
    if (how->no_error) {
        (void)close(STDERR_FILENO);
    }
    if (how->address_limit != 0) {
        const struct rlimit limit = {how->address_limit, how->address_limit};
        if (setrlimit(RLIMIT_AS, &limit) != 0) {
            _exit(126);
        }
    }
    (void)signal(SIGHUP, how->ignore_hangup ? SIG_IGN : SIG_DFL); /* whatever the tests were started under */
    if (how->file_limit != 0) {
        const struct rlimit limit = {how->file_limit, how->file_limit};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) {
            _exit(126);
        }
    }
}

static const char *program(void) {
    const char *path = getenv("QA_BIN");
    ck_assert_msg(path != NULL && access(path, X_OK) == 0, "QA_BIN must name the program; it is %s",
                  path == NULL ? "not set" : path);
    return path;
}

/* ---- the parent ---- */

/* A growing, zero-terminated text. */
typedef struct text {
    char *data;
    size_t n;
} text;

/* Reads what is there; false at the end. */
static bool read_some(int fd, text *into) {
    into->data = realloc(into->data, into->n + CHUNK + 1);
    ck_assert_ptr_nonnull(into->data);
    const ssize_t n = read(fd, into->data + into->n, CHUNK);
    into->n += n > 0 ? (size_t)n : 0;
    into->data[into->n] = '\0';
    return n > 0 || (n < 0 && errno == EINTR);
}

static double now(void) {
    struct timespec time;
    ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &time), 0);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

typedef struct child_process {
    pid_t pid;
    int in, out, err; /* our ends; -1 when closed */
} child_process;

static void close_end(int *fd) {
    if (*fd >= 0) {
        ck_assert_int_eq(close(*fd), 0);
        *fd = -1;
    }
}

/* Writes input to and reads both outputs of the child until all are closed. */
static void converse(child_process *child, const qa_cli_how *how, text *out, text *err) {
    const char *input = how->input == NULL ? "" : how->input;
    size_t left = strlen(input);
    bool signalled = how->signal == 0;
    const double begun = now();
    while (child->out >= 0 || child->err >= 0) {
        if (child->in >= 0 && left == 0) {
            close_end(&child->in);
        }
        struct pollfd fds[3] = {{child->in, POLLOUT, 0}, {child->out, POLLIN, 0}, {child->err, POLLIN, 0}};
        if (now() - begun > TIMEOUT_SECONDS) {
            (void)kill(child->pid, SIGKILL);
            ck_abort_msg("the program takes more than %d seconds; so far it said: %s", TIMEOUT_SECONDS,
                         err->data == NULL ? "" : err->data);
        }
        (void)poll(fds, 3, 1000);
        if (child->in >= 0 && (fds[0].revents & (POLLOUT | POLLERR | POLLHUP)) != 0) {
            const ssize_t n = write(child->in, input, left);
            if (n < 0 && errno != EAGAIN && errno != EINTR) {
                close_end(&child->in); /* it does not want more */
            } else if (n > 0) {
                input += n;
                left -= (size_t)n;
            }
        }
        if (child->out >= 0 && fds[1].revents != 0 && !read_some(child->out, out)) {
            close_end(&child->out);
        }
        if (child->err >= 0 && fds[2].revents != 0 && !read_some(child->err, err)) {
            close_end(&child->err);
        }
        if (!signalled && err->data != NULL && strstr(err->data, how->signal_after) != NULL) {
            const struct timespec half = {.tv_nsec = 500000000};
            if (how->second_signal != 0) {
                (void)nanosleep(&half, NULL);
            }
            ck_assert_int_eq(kill(child->pid, how->signal), 0);
            if (how->second_signal != 0) {
                (void)nanosleep(&half, NULL);
                ck_assert_int_eq(kill(child->pid, how->second_signal), 0);
            }
            signalled = true;
        }
    }
    close_end(&child->in);
}

static child_process start(const qa_cli_how *how, const char *const *args) {
    const char *argv[QA_CLI_ARGS + 2] = {program()};
    for (size_t i = 0; args[i] != NULL; i++) {
        ck_assert_uint_lt(i, QA_CLI_ARGS);
        argv[i + 1] = args[i];
    }
    int in[2];
    int out[2];
    int err[2];
    ck_assert(pipe(in) == 0 && pipe(out) == 0 && pipe(err) == 0);
    if (how->close_output) {
        ck_assert_int_eq(close(out[0]), 0);
        out[0] = -1;
    }
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        set_up_child(how, in[0], out[1], err[1]);
        const int fds[] = {in[0], in[1], out[0], out[1], err[0], err[1]};
        for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
            if (fds[i] >= 0) {
                (void)close(fds[i]);
            }
        }
        (void)execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    child_process child = {pid, in[1], out[0], err[0]};
    ck_assert(close(in[0]) == 0 && close(out[1]) == 0 && close(err[1]) == 0);
    ck_assert_int_ne(fcntl(child.in, F_SETFL, O_NONBLOCK), -1);
    return child;
}

qa_cli_result qa_cli_run(const qa_cli_how *how, const char *const *args) {
    const qa_cli_how plain = {0};
    (void)signal(SIGPIPE, SIG_IGN); /* the program may end before it has read its input */
    child_process child = start(how == NULL ? &plain : how, args);
    text out = {0};
    text err = {0};
    converse(&child, how == NULL ? &plain : how, &out, &err);
    int status = 0;
    ck_assert_int_eq(waitpid(child.pid, &status, 0), child.pid);
    qa_cli_result result = {.out = out.data == NULL ? strdup("") : out.data,
                            .out_bytes = out.n,
                            .err = err.data == NULL ? strdup("") : err.data};
    ck_assert(result.out != NULL && result.err != NULL);
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : QA_CLI_SIGNALLED + WTERMSIG(status);
    return result;
}

void qa_cli_free(qa_cli_result *result) {
    free(result->out);
    free(result->err);
    *result = (qa_cli_result){0};
}

void qa_cli_check(const qa_cli_result *result, int status, const char *out, const char *err) {
    if (result->status != status || (out != NULL && strstr(result->out, out) == NULL) ||
        (err != NULL && strstr(result->err, err) == NULL)) {
        ck_abort_msg(
            "expected status %d, output with \"%s\" and errors with \"%s\"; found status %d\n-- output\n%.2000s"
            "\n-- errors\n%.2000s",
            status, out == NULL ? "" : out, err == NULL ? "" : err, result->status, result->out, result->err);
    }
}

void qa_cli_expect(qa_cli_result result, int status, const char *out, const char *err) {
    qa_cli_check(&result, status, out, err);
    qa_cli_free(&result);
}

char *qa_cli_output(const char *const *args) {
    qa_cli_result result = qa_cli_run(NULL, args);
    qa_cli_check(&result, 0, NULL, NULL);
    free(result.err);
    return result.out;
}

bool qa_cli_has_full_device(void) {
    struct stat info;
    return stat("/dev/full", &info) == 0 && S_ISCHR(info.st_mode);
}

/* ---- a world ---- */

static const char texts[] =
    "{\"prompt\": \"How do I open it?\", \"chosen\": \" Turn the key.\", \"rejected\": \" No idea, ask again.\"}\n"
    "{\"prompt\": \"Is it late?\", \"chosen\": \" Ten to five.\", \"rejected\": \" Go away.\"}\n"
    "{\"prompt\": \"What is blue?\", \"chosen\": \" The sky.\", \"rejected\": \" Nothing at all is.\"}\n"
    "{\"prompt\": \"Tell me more.\", \"chosen\": \" With pleasure.\", \"rejected\": \" Never.\"}\n";

qa_cli_world qa_cli_world_make(bool with_adapter) {
    qa_cli_world world = {.dir = qa_tempdir_make()};
    world.model = qa_tempdir_join(world.dir, "model");
    world.pairs = qa_tempdir_join(world.dir, "pairs.jsonl");
    world.adapter = qa_tempdir_join(world.dir, "adapter");
    world.texts = qa_tempdir_write_text(world.dir, "texts.jsonl", texts);
    tiny_model_options options = tiny_model_defaults();
    options.vocab_size = TINY_BYTES_VOCAB;
    options.max_positions = 128;
    options.bos = 0; /* as the tokenizer says */
    const tiny_tokenizer_options tokenizer = {.kind = TINY_BYTES};
    ck_assert_int_eq(mkdir(world.model, 0700), 0);
    tiny_model_write(world.model, &options);
    tiny_tokenizer_write(world.model, &tokenizer);
    free(qa_tempdir_write_text(world.model, "generation_config.json", "{\"eos_token_id\": [2, 1]}"));
    tiny_pairs_write(world.pairs, 6, 8, 8, TINY_BYTES_VOCAB, 5);
    if (with_adapter) {
        qa_cli_expect(QA_CLI("train", "--model", world.model, "--data", world.pairs, "--out", world.adapter, "--steps",
                             "3", "--lr", "0.01", "--lora-target", "all-linear", "--micro-batch", "2"),
                      0, "adapter: ", NULL);
    }
    return world;
}

char *qa_cli_world_other(const qa_cli_world *world) {
    char *other = qa_tempdir_join(world->dir, "other");
    qa_cli_expect(QA_CLI("train", "--model", world->model, "--data", world->pairs, "--out", other, "--method", "dpo",
                         "--steps", "3", "--lr", "0.01", "--lora-target", "all-linear"),
                  0, NULL, NULL);
    return other;
}

char *qa_cli_weighted(const char *path, const char *weight) {
    const size_t bytes = strlen(path) + strlen(weight) + 2;
    char *both = malloc(bytes);
    ck_assert_ptr_nonnull(both);
    (void)snprintf(both, bytes, "%s:%s", path, weight);
    return both;
}

void qa_cli_world_free(qa_cli_world *world) {
    free(world->model);
    free(world->pairs);
    free(world->texts);
    free(world->adapter);
    qa_tempdir_remove(world->dir);
    *world = (qa_cli_world){0};
}
