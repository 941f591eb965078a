/* A chat template in its file ("j" chat_template.jinja, "c" tokenizer_config.json), recognised; or ("d") a dialogue
 * whose turns are separated by byte 1 and begin with a letter for the role, written through every known template. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "text/answer_end.h"
#include "text/chat_turn.h"

#include <stdlib.h>

enum { MOST_TURNS = 16 };

static size_t turns_of(qa_message *messages, const char *text, size_t bytes) {
    size_t n = 0;
    for (size_t at = 0; at < bytes && n < MOST_TURNS; n++) {
        size_t end = at;
        while (end < bytes && text[end] != 1) {
            end++;
        }
        const size_t content = end > at ? at + 1 : at;
        messages[n] = (qa_message){.role = text[at] == 's'   ? "system"
                                           : text[at] == 'a' ? "assistant"
                                           : text[at] == 'x' ? "tool"
                                                             : "user",
                                   .content = text + content,
                                   .content_bytes = end - content};
        at = end + 1;
    }
    return n;
}

static void render(const qa_tokenizer *tokenizer, const char *text, size_t bytes) {
    qa_message messages[MOST_TURNS];
    const size_t n = turns_of(messages, text, bytes);
    for (int which = QA_CHAT_PLAIN; which <= QA_CHAT_MISTRAL3; which++) {
        qa_error err = {0};
        qa_text out = {0};
        (void)!qa_chat_render((qa_chat_template)which, tokenizer, messages, n, (n & 1) != 0, &out, &err);
        qa_text_free(&out);
    }
}

/* An answer behind its prompt. */
static void turn(const qa_chat *chat) {
    static const qa_message asked[] = {{"system", "Be <b>.", 7}, {"user", "a", 1}};
    qa_chat_turn it = {0};
    qa_text text = {0};
    qa_error err = {0};
    bool ended = false;
    if (qa_chat_turn_write(&it, chat, asked, 2, &err) == QA_OK) {
        (void)!qa_chat_turn_content(&it, chat, " x\n", 3, (it.front & 1) != 0, &text, &err);
        (void)!qa_chat_turn_end(&it, chat, "</s>", true, &text, &ended, &err);
    }
    qa_chat_turn_free(&it);
    qa_text_free(&text);
}

void qa_fuzz_chat(const uint8_t *data, size_t bytes) {
    static const char *dir;
    static qa_tokenizer *tokenizer;
    qa_error err = {0};
    qa_chat_template which;
    if (dir == NULL) {
        const char *model = qa_fuzz_folder("chat-model");
        dir = qa_fuzz_folder("chat");
        qa_fuzz_copy("weights/village/model", model);
        if (qa_tokenizer_load(&tokenizer, model, &err) != QA_OK) {
            abort();
        }
    }
    if (bytes == 0 || data[0] == 'd') {
        render(tokenizer, (const char *)data + (bytes > 0), bytes - (bytes > 0));
        return;
    }
    qa_fuzz_remove(dir, data[0] == 'j' ? "tokenizer_config.json" : "chat_template.jinja");
    qa_fuzz_write(dir, data[0] == 'j' ? "chat_template.jinja" : "tokenizer_config.json", data + 1, bytes - 1);
    (void)!qa_chat_template_detect(&which, dir, &err);
    qa_chat *chat = NULL;
    if (qa_chat_open(&chat, &(qa_chat_options){.dir = dir}, tokenizer, &err) == QA_OK) {
        chat->options.steps = 10000;
        qa_answer_end end;
        (void)!qa_answer_end_find(&end, chat, tokenizer, NULL, 0, &err);
        turn(chat);
    }
    qa_chat_free(chat);
}
