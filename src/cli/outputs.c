/* See outputs.h. Inputs are files or folders; of a folder every file counts, folders within it down to a depth. */
#define _XOPEN_SOURCE 700 /* realpath is in POSIX only with the XSI option */
#include "cli/outputs.h"

#include "base/memory.h"
#include "base/try.h"
#include "cli/options.h"
#include "io/file.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 3 };

bool cli_next_path(const cli_run *run, qa_option_path kind, cli_path_walk *at, cli_named_path *found) {
    for (; at->option < run->options.n; at->option++, at->item = 0) {
        const cli_option *option = &run->options.items[at->option];
        const void *value = (const char *)run->args + option->base + option->row.offset;
        const qa_option_list *list = option->row.type == QA_OPTION_LIST ? value : NULL;
        if (option->row.path == kind && option->given != NULL && at->item < (list == NULL ? 1 : list->n)) {
            *found = (cli_named_path){option->row.name, list == NULL ? option->given : list->items[at->item]};
            at->item++;
            return true;
        }
    }
    return false;
}

static bool same_inode(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* ---- an output file ---- */

/* The file at path, or below it, that is `output` (free it); NULL: none. */
static char *find_same(const char *path, const struct stat *output, int depth) {
    struct stat info;
    if (stat(path, &info) != 0) {
        return NULL;
    }
    if (!S_ISDIR(info.st_mode)) {
        return same_inode(&info, output) ? strdup(path) : NULL;
    }
    DIR *entries = depth == 0 ? NULL : opendir(path);
    char *found = NULL;
    for (struct dirent *entry = entries == NULL ? NULL : readdir(entries); entry != NULL && found == NULL;
         entry = readdir(entries)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            char *inside = qa_path_join(path, entry->d_name);
            found = inside == NULL ? NULL : find_same(inside, output, depth - 1);
            free(inside);
        }
    }
    if (entries != NULL) {
        (void)closedir(entries);
    }
    return found;
}

static qa_status check_file(cli_run *run, const cli_named_path *output, const cli_named_path *input, const char *path,
                            qa_error *err) {
    struct stat info;
    if (strcmp(output->path, "-") == 0 || stat(output->path, &info) != 0 || !S_ISREG(info.st_mode)) {
        return QA_OK;
    }
    char *same = find_same(path, &info, MAX_DEPTH);
    if (same == NULL) {
        return QA_OK;
    }
    const qa_status status =
        cli_bad_usage(run, err, "%s%s %s would replace %s, which --%s %s reads; name another file",
                      output->name[0] == '/' ? "" : "--", output->name, output->path, same, input->name, input->path);
    free(same);
    return status;
}

/* A suite's name stands for a folder of that name among the bundled models, too. */
static qa_status check_suite(cli_run *run, const cli_named_path *output, const cli_named_path *input, qa_error *err) {
    char *bundle = qa_path_join("weights", input->path), *suite = bundle == NULL ? NULL : qa_path_join(bundle, "suite");
    const qa_status status = suite == NULL ? QA_NO_MEMORY(err, "a path") : check_file(run, output, input, suite, err);
    free(suite);
    free(bundle);
    return status;
}

/* The folder that the path lies in (free it), and its last name. */
static char *folder_of(const char *path, const char **name) {
    const char *slash = strrchr(path, '/');
    *name = slash == NULL ? path : slash + 1;
    return slash == NULL ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* Whether two outputs would be one file, which need not be there yet. */
static bool same_output(const char *a, const char *b) {
    struct stat of_a, of_b;
    if (strcmp(a, "-") == 0 || strcmp(b, "-") == 0) {
        return false;
    }
    if (stat(a, &of_a) == 0 && stat(b, &of_b) == 0) {
        return S_ISREG(of_a.st_mode) && same_inode(&of_a, &of_b);
    }
    const char *name_a, *name_b;
    char *folder_a = folder_of(a, &name_a), *folder_b = folder_of(b, &name_b);
    const bool same = folder_a != NULL && folder_b != NULL && strcmp(name_a, name_b) == 0 &&
                      stat(folder_a, &of_a) == 0 && stat(folder_b, &of_b) == 0 && same_inode(&of_a, &of_b);
    free(folder_a);
    free(folder_b);
    return same;
}

static qa_status check_other_outputs(cli_run *run, const cli_named_path *output, cli_path_walk from, qa_error *err) {
    cli_named_path other;
    while (cli_next_path(run, QA_PATH_WRITTEN, &from, &other)) {
        if (same_output(output->path, other.path)) {
            return cli_bad_usage(run, err, "--%s %s and --%s %s are one file; name two", output->name, output->path,
                                 other.name, other.path);
        }
    }
    return QA_OK;
}

static qa_status check_output_file(cli_run *run, const cli_named_path *output, qa_error *err) {
    cli_named_path input;
    for (cli_path_walk i = {0}; cli_next_path(run, QA_PATH_READ, &i, &input);) {
        const char *path = strcmp(input.path, "-") == 0 ? "/dev/stdin" : input.path;
        QA_TRY(check_file(run, output, &input, path, err));
        if (strcmp(input.name, "suite") == 0) {
            QA_TRY(check_suite(run, output, &input, err));
        }
    }
    return QA_OK;
}

qa_status cli_check_output(cli_run *run, const char *what, const char *path, qa_error *err) {
    return check_output_file(run, &(cli_named_path){what, path}, err);
}

static qa_status check_output_files(cli_run *run, qa_error *err) {
    cli_named_path output;
    for (cli_path_walk o = {0}; cli_next_path(run, QA_PATH_WRITTEN, &o, &output);) {
        QA_TRY(check_other_outputs(run, &output, o, err));
        QA_TRY(check_output_file(run, &output, err));
    }
    return QA_OK;
}

/* ---- the folder of a run or of a golden bundle ---- */

/* The entry of the folder `out` that the path leads through when links are followed (free it); NULL: it does not lie in
 * that folder. */
static char *entry_that_holds(const char *path, const struct stat *out) {
    char *at = realpath(path, NULL), *found = NULL;
    while (at != NULL && found == NULL) {
        struct stat info;
        char *slash = strrchr(at, '/');
        if (slash == NULL || slash[1] == '\0') {
            break;
        }
        const bool top = slash == at;
        *slash = '\0';
        if (stat(top ? "/" : at, &info) == 0 && same_inode(&info, out)) {
            found = strdup(slash + 1);
        } else if (top) {
            break;
        }
    }
    free(at);
    return found;
}

static qa_status check_in_run(cli_run *run, const struct stat *out, const cli_named_path *input, const char *path,
                              qa_error *err) {
    char *entry = entry_that_holds(path, out);
    const bool replaced = entry != NULL && run->command->replaces(entry);
    free(entry);
    return replaced ? cli_bad_usage(run, err,
                                    "--out %s would remove or replace %s, which --%s %s reads; choose another folder",
                                    cli_given(&run->options, "out"), path, input->name, input->path)
                    : QA_OK;
}

/* An input folder, and what the links in it lead to. The files of a run that stand in it are no input. */
static qa_status check_run_input(cli_run *run, const struct stat *out, const cli_named_path *input, qa_error *err) {
    struct stat info;
    QA_TRY(check_in_run(run, out, input, input->path, err));
    const bool folder = stat(input->path, &info) == 0 && S_ISDIR(info.st_mode);
    DIR *entries = folder ? opendir(input->path) : NULL;
    qa_status status = QA_OK;
    for (struct dirent *entry = entries == NULL ? NULL : readdir(entries); entry != NULL && status == QA_OK;
         entry = readdir(entries)) {
        if (entry->d_name[0] == '.' || (same_inode(&info, out) && run->command->replaces(entry->d_name))) {
            continue;
        }
        char *inside = qa_path_join(input->path, entry->d_name);
        status = inside == NULL ? QA_NO_MEMORY(err, "a path") : check_in_run(run, out, input, inside, err);
        free(inside);
    }
    if (entries != NULL) {
        (void)closedir(entries);
    }
    return status;
}

static qa_status check_run_folder(cli_run *run, qa_error *err) {
    const char *folder = cli_given(&run->options, "out");
    cli_named_path input;
    struct stat out;
    if (run->command->replaces == NULL || folder == NULL || stat(folder, &out) != 0) {
        return QA_OK;
    }
    for (cli_path_walk i = {0}; cli_next_path(run, QA_PATH_READ, &i, &input);) {
        const bool read_already = run->args->config != NULL && strcmp(input.path, run->args->config) == 0 &&
                                  (strcmp(input.name, "config") == 0 || strcmp(input.name, "options-file") == 0);
        QA_TRY(read_already ? QA_OK : check_run_input(run, &out, &input, err));
    }
    return QA_OK;
}

qa_status cli_check_outputs(cli_run *run, qa_error *err) {
    QA_TRY(check_output_files(run, err));
    return check_run_folder(run, err);
}

qa_status cli_check_other_folder(cli_run *run, const char *option, qa_error *err) {
    const char *out = cli_given(&run->options, "out"), *path = cli_given(&run->options, option);
    struct stat of_out, of_path;
    const bool same = out != NULL && path != NULL && stat(out, &of_out) == 0 && stat(path, &of_path) == 0 &&
                      same_inode(&of_out, &of_path);
    return same ? cli_bad_usage(run, err, "--out %s is the folder of --%s; choose another one", out, option) : QA_OK;
}
