/* A model's config.json ("c") or generation_config.json ("g"), the other one being good. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "arch/config.h"

#include <stdlib.h>

void qa_fuzz_config(const uint8_t *data, size_t bytes) {
    static const char *dir;
    static char *good;
    static size_t good_bytes;
    qa_config config;
    qa_error err = {0};
    if (dir == NULL) {
        dir = qa_fuzz_folder("config");
        good = qa_fuzz_read("weights/golden/theory-llama3/model/config.json", &good_bytes);
    }
    const int generation = bytes > 0 && data[0] == 'g';
    const uint8_t *rest = bytes > 0 ? data + 1 : data;
    qa_fuzz_write(dir, "config.json", generation ? (const void *)good : rest,
                  generation ? good_bytes : bytes - (bytes > 0));
    if (generation) {
        qa_fuzz_write(dir, "generation_config.json", rest, bytes - 1);
    } else {
        qa_fuzz_remove(dir, "generation_config.json");
    }
    if (qa_config_load(&config, dir, NULL, &err) == QA_OK && config.head_dim <= 4096) {
        double *frequency = calloc(config.head_dim / 2 + 1, sizeof *frequency), factor = 0;
        for (qa_rope_kind kind = QA_ROPE_FULL; frequency != NULL && kind < QA_ROPES; kind++) {
            qa_rope_frequencies(frequency, &factor, &config, &config.rope[kind], 0);
            qa_rope_frequencies(frequency, &factor, &config, &config.rope[kind], 100000);
        }
        free(frequency);
    }
}
