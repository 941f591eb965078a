/* Prompts of `generate --in`; "b": texts get nothing in front. Repeated ones are left out. */
#include "data/prompts.h"
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include <stdlib.h>

void qa_fuzz_prompts(const uint8_t *data, size_t bytes) {
    static const char *dir;
    static qa_tokenizer *tokenizer;
    static qa_chat *chat;
    qa_prompts prompts = {0};
    qa_error err = {0};
    if (dir == NULL) {
        const char *model = qa_fuzz_folder("prompts-model");
        dir = qa_fuzz_folder("prompts");
        qa_fuzz_copy("weights/village/model", model);
        if (qa_tokenizer_load(&tokenizer, model, &err) != QA_OK ||
            qa_chat_open(&chat, &(qa_chat_options){.name = "chatml"}, tokenizer, &err) != QA_OK) {
            abort();
        }
    }
    const qa_prompts_options options = {
        .tokenizer = tokenizer, .chat = chat, .bare = bytes > 0 && data[0] == 'b', .context = 64, .vocab_size = 1024};
    qa_fuzz_write(dir, "prompts", bytes > 0 ? data + 1 : data, bytes - (bytes > 0));
    if (qa_prompts_load(&prompts, qa_fuzz_path(dir, "prompts"), &options, &err) == QA_OK) {
        (void)!qa_prompts_drop_repeated(&prompts, &err);
    }
    qa_prompts_free(&prompts);
}
