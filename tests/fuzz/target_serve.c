/* Requests to the server, read and answered without sockets: "t" completions, "c" chat, "k" /tokenize, "d" /detokenize,
 * "m" the name of a model, "g" the headers Host, Origin and Authorization, a line each. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "serve/guard.h"
#include "serve/reply_json.h"
#include "serve/tokenizer_routes.h"

#include <stdlib.h>
#include <string.h>

static const qa_served *served_for_fuzzing(void) {
    static qa_tokenizer *tokenizer;
    static qa_chat *chat;
    static qa_answer_end end;
    static qa_served_adapter adapter = {.name = "custom"};
    static qa_served served;
    qa_error err = {0};
    if (tokenizer == NULL) {
        if (qa_tokenizer_load(&tokenizer, "weights/village/model", &err) != QA_OK ||
            qa_chat_open(&chat, &(qa_chat_options){.name = "chatml"}, tokenizer, &err) != QA_OK ||
            qa_answer_end_find(&end, chat, tokenizer, NULL, 0, &err) != QA_OK ||
            qa_objective_from_recipe(&adapter.objective, "theory", &err) != QA_OK) {
            abort();
        }
        adapter.adapter = (const qa_adapter *)(const void *)&adapter; /* which nobody looks into */
        served = (qa_served){.tokenizer = tokenizer,
                             .chat = chat,
                             .end = &end,
                             .adapters = &adapter,
                             .n_adapters = 1,
                             .vocab_size = 1024,
                             .context = 64,
                             .model_context = 64};
    }
    return &served;
}

/* Answers with the bytes of the request as tokens, all at once or in events. */
static void answer(const qa_served *served, qa_ask *ask, const char *data, size_t bytes) {
    qa_reply reply = {0};
    qa_text events = {0};
    qa_json_writer out = {0};
    qa_error err = {0};
    const qa_likely_token best[] = {{(int32_t)(bytes % 1024), -0.5}, {5, -1.5}};
    bool good = qa_reply_begin(&reply, served, ask, bytes, 1, &err) == QA_OK;
    for (size_t i = 0; good && i < reply.n_choices; i++) {
        qa_choice *choice = &reply.choices[i];
        const qa_ids *prompt = &choice->prompt->ids;
        bool more = true;
        for (size_t k = 0; ask->echo && k < prompt->n && good; k++) {
            const qa_engine_token token = {.id = prompt->data[k], .of_prompt = true, .first = k == 0, .log_pi = -1};
            good = qa_reply_take(&reply, choice, &token, &more, &err) == QA_OK;
        }
        for (size_t k = 0; good && more && k < bytes && k < ask->max_tokens; k++) {
            const qa_engine_token token = {.id = (unsigned char)data[k] * 4,
                                           .log_pi = -1,
                                           .best = best,
                                           .n_best = ask->n_best < 2 ? ask->n_best : 2};
            good = qa_reply_take(&reply, choice, &token, &more, &err) == QA_OK &&
                   (!ask->stream || qa_reply_put_events(&reply, &events, &err) == QA_OK);
        }
        qa_reply_end(&reply, choice, more ? QA_END_LENGTH : QA_END_CALLER, NULL);
    }
    if (good && ask->stream) {
        (void)!qa_reply_put_events(&reply, &events, &err);
    } else if (good) {
        qa_json_restart(&out, &err);
        qa_reply_put(&reply, &out);
    }
    qa_reply_free(&reply);
    qa_text_free(&events);
    qa_text_free(&out.text);
}

static void guards(char *text) {
    char *origin = strchr(text, '\n');
    char *key = origin == NULL ? NULL : strchr(origin + 1, '\n');
    const char *const keys[] = {"secret"};
    if (key != NULL) {
        *origin++ = '\0';
        *key++ = '\0';
        (void)qa_host_is_loopback(text);
        (void)qa_origin_is_same(origin, text);
        (void)qa_key_is_known(key, keys, 1);
    }
}

void qa_fuzz_serve(const uint8_t *data, size_t bytes) {
    const qa_served *served = served_for_fuzzing();
    const char letter = bytes > 0 ? (char)data[0] : 't';
    const size_t n = bytes > 0 ? bytes - 1 : 0;
    char *text = malloc(n + 1);
    qa_json_writer out = {0};
    qa_refusal refusal = {0};
    qa_error err = {0};
    qa_ask ask = {0};
    if (text == NULL) {
        abort();
    }
    memcpy(text, bytes > 0 ? data + 1 : data, n);
    text[n] = '\0';
    qa_json_restart(&out, &err);
    if (letter == 'k') {
        (void)!qa_put_tokenized(served, text, n, &out, &refusal);
    } else if (letter == 'd') {
        (void)!qa_put_detokenized(served, text, n, &out, &refusal);
    } else if (letter == 'm') {
        (void)!qa_served_put_models(served, text, &out, &refusal);
    } else if (letter == 'g') {
        guards(text);
    } else if (qa_ask_read(&ask, served, letter == 'c', text, n, &refusal) == QA_OK) {
        answer(served, &ask, text, n);
    } else {
        qa_refusal_put(&out, &refusal);
    }
    qa_ask_free(&ask);
    qa_text_free(&out.text);
    free(text);
}
