/* The Hub's download cache: models--OWNER--NAME/refs/main names the folder below snapshots/ that holds the files. */
#include "cli/common.h"

#include "base/try.h"
#include "io/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REVISION_BYTES = 128 };

/* The revision that refs/main names, "" if there is none. */
static void read_revision(const char *cache, char revision[REVISION_BYTES]) {
    qa_text text = {0};
    qa_error ignored = {0};
    char *path = qa_path_join(cache, "refs/main");
    revision[0] = '\0';
    if (path != NULL && qa_read_file(&text, path, REVISION_BYTES - 1, &ignored) == QA_OK) {
        const size_t n = strcspn(text.data, " \r\n");
        (void)snprintf(revision, REVISION_BYTES, "%.*s", (int)n, text.data);
    }
    qa_text_free(&text);
    free(path);
}

/* The only folder below snapshots/, "" if there is another number of them. */
static void only_snapshot(const char *snapshots, char revision[REVISION_BYTES]) {
    DIR *stream = opendir(snapshots);
    size_t n = 0;
    for (struct dirent *entry = stream == NULL ? NULL : readdir(stream); entry != NULL; entry = readdir(stream)) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(revision, REVISION_BYTES, "%.*s", REVISION_BYTES - 1, entry->d_name);
            n++;
        }
    }
    revision[n == 1 ? REVISION_BYTES - 1 : 0] = '\0';
    if (stream != NULL) {
        (void)closedir(stream);
    }
}

qa_status cli_resolve_hub_folder(cli_run *run, cli_args *args, qa_error *err) {
    char revision[REVISION_BYTES];
    if (args->model == NULL || qa_holds(args->model, "config.json") || !qa_holds(args->model, "snapshots")) {
        return QA_OK;
    }
    char *snapshots = qa_path_join(args->model, "snapshots");
    QA_FAIL_IF(snapshots == NULL, err, QA_ERR_MEMORY, "out of memory");
    read_revision(args->model, revision);
    if (revision[0] == '\0' || strchr(revision, '/') != NULL || !qa_holds(snapshots, revision)) {
        only_snapshot(snapshots, revision);
    }
    run->snapshot = revision[0] == '\0' ? NULL : qa_path_join(snapshots, revision);
    free(snapshots);
    QA_FAIL_IF(run->snapshot == NULL, err, QA_ERR_IO,
               "%s is a folder of the Hub's download cache, and neither refs/main nor a single folder below "
               "snapshots/ tells which revision is meant; give the folder below snapshots/ itself",
               args->model);
    args->model = run->snapshot;
    return QA_OK;
}
