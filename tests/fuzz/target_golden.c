/* A golden bundle's manifest.json ("m", its own digest put right first) or a candidate ("c"). */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "base/sha256.h"
#include "golden/bundle.h"
#include "golden/check.h"

#include <stdlib.h>
#include <string.h>

static const char bundle_dir[] = "weights/golden/theory-one-token";

/* The digest is the last run of 64 hexadecimal digits; it is that of the text with 64 zeros in its place. */
static void put_digest_right(char *text, size_t bytes) {
    size_t run = 0;
    for (size_t i = bytes; i-- > 0;) {
        run = strchr("0123456789abcdef", text[i]) != NULL && text[i] != '\0' ? run + 1 : 0;
        if (run == QA_SHA256_HEX_BYTES - 1) {
            char hex[QA_SHA256_HEX_BYTES];
            memset(text + i, '0', run);
            qa_sha256_hex(text, bytes, hex);
            memcpy(text + i, hex, run);
            return;
        }
    }
}

static void copy_bundle(const char *dir) {
    static const char *const folders[] = {"", "model", "adapter"};
    for (int i = 0; i < 3; i++) {
        const char *to = i == 0 ? dir : qa_fuzz_folder(i == 1 ? "golden/model" : "golden/adapter");
        qa_fuzz_copy(i == 0 ? bundle_dir : qa_fuzz_path(bundle_dir, folders[i]), to);
    }
}

static void open_manifest(qa_context *context, const char *dir, const uint8_t *data, size_t bytes) {
    qa_golden_bundle *bundle = NULL;
    qa_error err = {0};
    char *text = malloc(bytes + 1);
    if (text == NULL) {
        return;
    }
    memcpy(text, data, bytes);
    put_digest_right(text, bytes);
    qa_fuzz_write(dir, "manifest.json", text, bytes);
    free(text);
    if (qa_golden_bundle_open(&bundle, context, dir, &err) == QA_OK) {
        qa_golden_bundle_close(bundle);
    }
}

void qa_fuzz_golden(const uint8_t *data, size_t bytes) {
    static const char *dir;
    static qa_context *context;
    static qa_golden_bundle *good;
    qa_error err = {0};
    if (dir == NULL) {
        dir = qa_fuzz_folder("golden");
        copy_bundle(dir);
        if (qa_context_create(&context, 1, (qa_logger){0}, &err) != QA_OK ||
            qa_golden_bundle_open(&good, context, dir, &err) != QA_OK) {
            abort();
        }
    }
    if (bytes > 0 && data[0] == 'm') {
        open_manifest(context, dir, data + 1, bytes - 1);
        return;
    }
    qa_golden_report report = {0};
    const qa_golden_tolerance none = {-1.0, -1.0};
    qa_fuzz_write(dir, "candidate.safetensors", bytes > 0 ? data + 1 : data, bytes - (bytes > 0));
    if (qa_golden_check(&report, good, qa_fuzz_path(dir, "candidate.safetensors"), none, &err) == QA_OK) {
        qa_golden_report_free(&report);
    }
}
