/* Where the shared data is, for the tests that need it. */
#ifndef QA_TESTS_SHARED_H
#define QA_TESTS_SHARED_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline const char *shared_folder(void) {
    const char *folder = getenv("QA_SHARED");
    return folder != NULL ? folder : "../shared";
}

/* Whether this file of it can be read and $QA_BIN can be run. */
static inline bool shared_can_run(const char *inside) {
    char path[1024];
    const char *program = getenv("QA_BIN");
    (void)snprintf(path, sizeof path, "%s/%s", shared_folder(), inside);
    return access(path, R_OK) == 0 && program != NULL && access(program, X_OK) == 0;
}

#endif
