/* A corpus for pre-training; "a": every token is learned, else the responses' only. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "qadapter/data.h"

#include <stdlib.h>

void qa_fuzz_corpus(const uint8_t *data, size_t bytes) {
    static const char *dir;
    static qa_tokenizer *tokenizer;
    qa_corpus *corpus = NULL;
    qa_error err = {0};
    if (dir == NULL) {
        const char *model = qa_fuzz_folder("corpus-model");
        dir = qa_fuzz_folder("corpus");
        qa_fuzz_copy("weights/village/model", model);
        if (qa_tokenizer_load(&tokenizer, model, &err) != QA_OK) {
            abort();
        }
    }
    const qa_learn learn = bytes > 0 && data[0] == 'a' ? QA_LEARN_ALL : QA_LEARN_RESPONSES;
    qa_fuzz_write(dir, "corpus", bytes > 0 ? data + 1 : data, bytes - (bytes > 0));
    (void)!qa_corpus_load(&corpus, qa_fuzz_path(dir, "corpus"), tokenizer, QA_CHAT_CHATML, learn, 64, 1024, &err);
    qa_corpus_free(corpus);
}
