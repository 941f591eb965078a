/* A candidate for vectors ("c"), or a file of vectors ("v", its manifest made for it). */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "base/sha256.h"
#include "golden/vectors.h"

#include <stdio.h>
#include <stdlib.h>

static const char good[] =
    "{\"format\": \"qadapter-conformance\", \"version\": 1, \"vectors\": [{\"id\": \"a\", \"outputs\": {\"y\": [1, 2], "
    "\"z\": 3}, \"tolerance\": {\"y\": 0.5, \"z\": 0}, \"mistakes\": [{\"name\": \"m\", \"text\": \"t\", \"outputs\": "
    "{\"y\": "
    "[4, 2]}}]}]}";

static qa_status open_vectors(qa_vectors **vectors, const char *dir, const void *data, size_t bytes) {
    char hex[QA_SHA256_HEX_BYTES], manifest[512];
    qa_error err = {0};
    qa_sha256_hex(data, bytes, hex);
    const int n = snprintf(manifest, sizeof manifest,
                           "{\"format\": \"qadapter-conformance\", \"version\": 1, \"files\": {\"v.json\": {\"bytes\": "
                           "%zu, \"sha256\": \"%s\"}}}",
                           bytes, hex);
    qa_fuzz_write(dir, "v.json", data, bytes);
    qa_fuzz_write(dir, "manifest.json", manifest, (size_t)n);
    return qa_vectors_open(vectors, dir, &err);
}

void qa_fuzz_vectors(const uint8_t *data, size_t bytes) {
    static const char *dir;
    static qa_vectors *suite;
    qa_error err = {0};
    if (dir == NULL) {
        dir = qa_fuzz_folder("vectors");
        if (open_vectors(&suite, dir, good, sizeof good - 1) != QA_OK) {
            abort();
        }
    }
    if (bytes > 0 && data[0] == 'v') {
        qa_vectors *vectors = NULL;
        if (open_vectors(&vectors, dir, data + 1, bytes - 1) == QA_OK) {
            qa_vectors_close(vectors);
        }
        return;
    }
    qa_vectors_report report;
    qa_fuzz_write(dir, "candidate.json", bytes > 0 ? data + 1 : data, bytes - (bytes > 0));
    if (qa_vectors_check(&report, suite, qa_fuzz_path(dir, "candidate.json"), &err) == QA_OK) {
        qa_vectors_report_free(&report);
    }
}
