/* See served.h. */
#include "support/served.h"

#include "support/expect.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"

const qa_served *qa_test_served(void) {
    static qa_tokenizer *tokenizer;
    static qa_chat *chat;
    static qa_answer_end end;
    static qa_served_adapter adapters[2];
    static qa_served served;
    static const char somewhere[2];
    static const int32_t eos[] = {1};
    qa_error err = {0};
    if (tokenizer != NULL) {
        return &served;
    }
    char *dir = qa_tempdir_make();
    const tiny_tokenizer_options options = {.kind = TINY_BYTES, .adds_bos = true};
    tiny_tokenizer_write(dir, &options);
    expect_ok(qa_tokenizer_load(&tokenizer, dir, &err), &err);
    qa_tempdir_remove(dir);
    expect_ok(qa_chat_open(&chat, &(qa_chat_options){.name = "chatml"}, tokenizer, &err), &err);
    expect_ok(qa_answer_end_find(&end, chat, tokenizer, eos, 1, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        adapters[i].name = i == 0 ? "formal" : "plain";
        adapters[i].adapter = (const qa_adapter *)(const void *)&somewhere[i];
        expect_ok(qa_objective_from_recipe(&adapters[i].objective, "theory", &err), &err);
    }
    adapters[1].objective = qa_objective_for_method(QA_METHOD_DPO);
    served = (qa_served){.tokenizer = tokenizer,
                         .chat = chat,
                         .end = &end,
                         .template_text = "{{ messages }}",
                         .pad_token = "</s>",
                         .adapters = adapters,
                         .n_adapters = 2,
                         .vocab_size = SERVED_VOCAB,
                         .context = SERVED_CONTEXT,
                         .model_context = 2 * SERVED_CONTEXT,
                         .created = 1};
    return &served;
}
