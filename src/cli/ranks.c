/* See ranks.h. What an option reads is compared by content: of a file all of it, of a folder its files but for those of
 * a model's weights, which are compared as the model has them. */
#include "cli/ranks.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "base/try.h"
#include "cli/outputs.h"
#include "io/file.h"
#include "train/run_ranks.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 16, BIG_BYTES = 64 << 20 /* a file of weights */ };

const char *cli_of_rank_0(const cli_run *run, const char *path) {
    return qa_cluster_rank(run->cluster) == 0 ? path : NULL;
}

/* Whether ranks are compared here; those that train are by what is trained (train/run_ranks.h). */
static bool compares_ranks(const cli_run *run) {
    return qa_cluster_ranks(run->cluster) > 1 && strcmp(run->command->name, "train") != 0;
}

/* ---- standard input ---- */

static bool is_standard_input(const char *path) { return strcmp(path, "-") == 0 || strcmp(path, "/dev/stdin") == 0; }

static qa_status read_standard_input(qa_text *text, qa_error *err) {
    char bytes[READ_BYTES];
    ssize_t n = 0;
    while ((n = read(STDIN_FILENO, bytes, sizeof bytes)) != 0) {
        QA_FAIL_IF(n < 0 && errno != EINTR, err, QA_ERR_IO, "standard input: %s", strerror(errno));
        QA_TRY(n < 0 ? QA_OK : qa_text_append(text, bytes, (size_t)n, err));
    }
    return QA_OK;
}

/* text[n] becomes what this process reads from its standard input. */
static qa_status put_as_standard_input(const char *text, size_t n, qa_error *err) {
    FILE *file = tmpfile();
    const bool done = file != NULL && fwrite(text, 1, n, file) == n && fflush(file) == 0 &&
                      lseek(fileno(file), 0, SEEK_SET) == 0 && dup2(fileno(file), STDIN_FILENO) == STDIN_FILENO;
    const qa_status status =
        done ? QA_OK
             : qa_fail(err, QA_ERR_IO, "cannot keep what standard input has in a temporary file: %s", strerror(errno));
    if (file != NULL) {
        (void)fclose(file);
    }
    return status;
}

static qa_status share_standard_input(cli_run *run, qa_error *err) {
    qa_text text = {0};
    qa_status status = qa_cluster_rank(run->cluster) == 0 ? read_standard_input(&text, err) : QA_OK;
    size_t n = text.n;
    char *all = text.data;
    QA_GOTO(done, status);
    QA_GOTO(done, qa_cluster_share(run->cluster, &n, sizeof n, err));
    if (qa_cluster_rank(run->cluster) != 0) {
        QA_GOTO(done, QA_NEW(text.data, n + 1, err, "%zu bytes of standard input", n));
        all = text.data;
    }
    QA_GOTO(done, qa_cluster_share(run->cluster, all, n, err));
    QA_GOTO(done, put_as_standard_input(all, n, err));
done:
    qa_text_free(&text);
    return status;
}

/* ---- options and files ---- */

typedef struct option_digest {
    bool known; /* else there is nothing to compare: what reads it will say why */
    unsigned char digest[QA_SHA256_BYTES];
} option_digest;

static bool add_file(qa_sha256 *sha, const char *path) {
    char bytes[READ_BYTES];
    FILE *file = fopen(path, "rb");
    size_t n = 0;
    if (file == NULL) {
        return false;
    }
    while ((n = fread(bytes, 1, sizeof bytes, file)) > 0) {
        qa_sha256_add(sha, bytes, n);
    }
    const bool whole = !ferror(file);
    return fclose(file) == 0 && whole;
}

static int by_entry_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Every file of the folder that is no file of weights, in the order of their names. */
static bool add_folder(qa_sha256 *sha, const char *path) {
    struct dirent **entries = NULL;
    const int n = scandir(path, &entries, NULL, by_entry_name);
    bool whole = n >= 0;
    for (int i = 0; i < n; i++) {
        struct stat info;
        char *inside = qa_path_join(path, entries[i]->d_name);
        if (inside != NULL && stat(inside, &info) == 0 && S_ISREG(info.st_mode) && info.st_size < BIG_BYTES) {
            qa_sha256_add(sha, entries[i]->d_name, strlen(entries[i]->d_name) + 1);
            whole = add_file(sha, inside) && whole;
        }
        free(inside);
        free(entries[i]);
    }
    free(entries);
    return whole;
}

/* A suite may be a bundled one's name (weights/NAME/suite) or lie in the folder that is named. */
static bool add_input(qa_sha256 *sha, const cli_named_path *input) {
    static const char *const in_front[] = {"", "weights/"};
    struct stat info;
    bool there = stat(input->path, &info) == 0;
    there = there && (S_ISDIR(info.st_mode) ? add_folder(sha, input->path)
                                            : !S_ISREG(info.st_mode) || add_file(sha, input->path));
    for (size_t i = 0; strcmp(input->name, "suite") == 0 && i < sizeof in_front / sizeof *in_front; i++) {
        char folder[4096];
        const int n = snprintf(folder, sizeof folder, "%s%s/suite", in_front[i], input->path);
        there = (n > 0 && (size_t)n < sizeof folder && add_folder(sha, folder)) || there;
    }
    return there;
}

/* How the option was given, or what is there where it says. Outputs are rank 0's alone. */
static void digest_option(const cli_run *run, size_t option, option_digest *found) {
    const qa_option *row = &run->options.items[option].row;
    qa_sha256 sha = qa_sha256_begin();
    cli_named_path input;
    found->known = row->path != QA_PATH_WRITTEN;
    if (row->path == QA_PATH_READ) {
        for (cli_path_walk at = {.option = option};
             cli_next_path(run, QA_PATH_READ, &at, &input) && at.option == option;) {
            found->known = found->known && (is_standard_input(input.path) || add_input(&sha, &input));
        }
        if (run->weights != NULL && strcmp(row->name, "adapter") == 0) {
            qa_sha256_add(&sha, run->weights, run->args->adapters.n * sizeof *run->weights);
        }
    } else if (run->options.items[option].given != NULL) {
        const qa_option_list *list =
            (const void *)((const char *)run->args + run->options.items[option].base + row->offset);
        for (size_t i = 0; row->type == QA_OPTION_LIST && i < list->n; i++) {
            qa_sha256_add(&sha, list->items[i], strlen(list->items[i]) + 1);
        }
        qa_sha256_add(&sha, run->options.items[option].given, strlen(run->options.items[option].given) + 1);
    }
    qa_sha256_end(&sha, found->digest);
}

static qa_status compare_options(cli_run *run, qa_error *err) {
    const size_t n = run->options.n;
    option_digest *own = NULL, *first = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, QA_NEW(own, n, err, "%zu options", n));
    QA_GOTO(done, QA_NEW(first, n, err, "%zu options", n));
    for (size_t i = 0; i < n; i++) {
        digest_option(run, i, &own[i]);
    }
    memcpy(first, own, n * sizeof *own);
    QA_GOTO(done, qa_cluster_share(run->cluster, first, n * sizeof *first, err));
    for (size_t i = 0; i < n && status == QA_OK; i++) {
        const cli_option *option = &run->options.items[i];
        const bool same = memcmp(own[i].digest, first[i].digest, sizeof own[i].digest) == 0;
        if (own[i].known && first[i].known && !same) {
            status = qa_fail(err, QA_ERR_MISMATCH,
                             option->row.path == QA_PATH_READ ? "--%s %s: what is there is not what rank 0 has"
                                                              : "the option --%s%s is not given as at rank 0",
                             option->row.name, option->row.path == QA_PATH_READ ? option->given : "");
        }
    }
    status = qa_cluster_agree(run->cluster, status, err);
done:
    free(own);
    free(first);
    return status;
}

qa_status cli_share_inputs(cli_run *run, qa_error *err) {
    cli_named_path input;
    if (qa_cluster_ranks(run->cluster) == 1) {
        return QA_OK;
    }
    QA_TRY(compares_ranks(run) ? compare_options(run, err) : QA_OK);
    for (cli_path_walk at = {0}; cli_next_path(run, QA_PATH_READ, &at, &input);) {
        if (is_standard_input(input.path)) {
            return share_standard_input(run, err);
        }
    }
    return QA_OK;
}

/* ---- models ---- */

qa_status cli_compare_models(cli_run *run, qa_error *err) {
    if (!compares_ranks(run)) {
        return QA_OK;
    }
    unsigned char digest[QA_SHA256_BYTES];
    const char *fingerprint = qa_model_fingerprint(run->model);
    qa_sha256 sha = qa_sha256_begin();
    qa_sha256_add(&sha, fingerprint, strlen(fingerprint));
    qa_sha256_end(&sha, digest);
    QA_TRY(qa_cluster_same(run->cluster, "base model", digest, err));
    const size_t threads = qa_context_threads(run->context);
    sha = qa_sha256_begin();
    qa_sha256_add(&sha, &threads, sizeof threads);
    qa_sha256_end(&sha, digest);
    QA_TRY(qa_cluster_same(run->cluster, "number of threads (--threads)", digest, err));
    return qa_ranks_compare_arithmetic(run->cluster, err);
}
