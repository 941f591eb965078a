/* Writes a dialogue the way each known chat template writes it, byte for byte.
 *
 * A template's own program is not run: every family is that program read once, without the parts about tools. What
 * differs between families in words is data (chat_family.h); what differs in the order of things stands here: where a
 * system message goes, and which orders of roles are refused. */
#include "text/chat.h"

#include "base/buffer.h"
#include "base/plain_line.h"
#include "base/try.h"
#include "text/chat_family.h"
#include "text/text_begin.h"
#include "text/utf8.h"

#include <string.h>

/* ---- writing ---- */

/* The first failure stays in `status`; everything after it does nothing. */
typedef struct writer {
    qa_text *text;
    qa_error *err;
    qa_status status;
    const qa_chat_family *family;
    const char *bos, *eos; /* NULL when the tokenizer names none */
} writer;

static void put_text(writer *w, const char *data, size_t bytes) {
    if (w->status == QA_OK) {
        w->status = qa_text_append(w->text, data, bytes, w->err);
    }
}

/* NULL: nothing. */
static void put_z(writer *w, const char *zero_terminated) {
    if (zero_terminated != NULL) {
        put_text(w, zero_terminated, strlen(zero_terminated));
    }
}

static void put_content(writer *w, const qa_message *message) { put_text(w, message->content, message->content_bytes); }

static void put_stripped(writer *w, const char *data, size_t bytes) {
    qa_strip(&data, &bytes);
    put_text(w, data, bytes);
}

/* Where a template adds a token's text to another text, a tokenizer without that token is an error. */
static void put_token(writer *w, const char *token, const char *name) {
    if (token != NULL) {
        put_z(w, token);
    } else if (w->status == QA_OK) {
        w->status = qa_fail(w->err, QA_ERR_MISMATCH,
                            "the chat template writes the tokenizer's %s, but tokenizer_config.json names none", name);
    }
}

static void put_bos(writer *w) { put_token(w, w->bos, "bos_token"); }
static void put_eos(writer *w) { put_token(w, w->eos, "eos_token"); }

static void put_leading_bos(writer *w) {
    if (w->family->bos == QA_CHAT_BOS_REQUIRED) {
        put_bos(w);
    } else if (w->family->bos == QA_CHAT_BOS_IF_NAMED) {
        put_z(w, w->bos);
    }
}

static void refuse_dialogue(writer *w, size_t index, const char *reason) {
    if (w->status == QA_OK) {
        w->status = qa_fail(w->err, QA_ERR_FORMAT, "the chat template refuses message %zu: %s", index + 1, reason);
    }
}

static bool is_role(const qa_message *message, const char *role) { return strcmp(message->role, role) == 0; }

/* ---- white space ---- */

/* Length of the white-space character that starts at s[n], by Python's str.isspace; 0 if none does. */
static size_t space_at(const char *s, size_t n) {
    uint32_t code = 0;
    const size_t width = n == 0 ? 0 : qa_character_at(s, n, &code);
    return qa_is_white_space(code) || (code >= 0x1c && code <= 0x1f) ? width : 0;
}

void qa_strip(const char **start, size_t *bytes) {
    const char *s = *start;
    size_t n = *bytes;
    size_t front = 0;
    for (size_t step = 1; step > 0; front += step) {
        step = space_at(s + front, n - front);
    }
    for (bool found = true; found;) {
        found = false;
        for (size_t width = 1; width <= 3 && !found; width++) {
            if (n - front >= width && space_at(s + n - width, width) == width) {
                n -= width;
                found = true;
            }
        }
    }
    *start += front;
    *bytes = n - front;
}

/* ---- the parts of a turn ---- */

/* What an assistant says, from the end of the generation prompt to the end of the turn. */
static void put_response(writer *w, const char *content, size_t bytes) {
    const qa_chat_family *family = w->family;
    put_z(w, family->before_answer);
    if (family->strips) {
        put_stripped(w, content, bytes);
    } else {
        put_text(w, content, bytes);
    }
    put_z(w, family->behind_answer);
    if (family->end != NULL) {
        put_z(w, family->end);
    } else if (family->form != QA_CHAT_FORM_PLAIN && family->form != QA_CHAT_FORM_NONE) {
        put_eos(w);
    }
}

static void put_answer(writer *w, const qa_message *message) {
    put_response(w, message->content, message->content_bytes);
}

static void put_header(writer *w, const char *role) {
    put_z(w, w->family->open);
    put_z(w, role);
    put_z(w, w->family->close);
}

/* ---- the families ---- */

/* Human and Assistant, for models without a template. What the tokenizer puts in front of every text
 * (<s>...) is written out, so that the result, like any other template's, is encoded without special
 * tokens. "Assistant:" ends without a space: the space belongs to the answer's first word. */
static void render_plain(writer *w, const qa_tokenizer *tokenizer, const qa_message *messages, size_t n, bool prompt) {
    const qa_ids *prefix = tokenizer == NULL ? NULL : qa_text_begin(tokenizer);
    for (size_t i = 0; prefix != NULL && i < prefix->n; i++) {
        put_z(w, qa_tokenizer_token(tokenizer, prefix->data[i]));
    }
    for (size_t i = 0; i < n; i++) {
        put_z(w, i > 0 ? "\n\n" : NULL);
        if (is_role(&messages[i], "assistant")) {
            put_z(w, "Assistant:");
            put_answer(w, &messages[i]);
        } else {
            put_z(w, is_role(&messages[i], "user") ? "Human: " : NULL);
            put_stripped(w, messages[i].content, messages[i].content_bytes);
        }
    }
    put_z(w, prompt ? "\n\nAssistant:" : NULL);
}

/* The system turn that the template writes by itself; returns the messages that it took. */
static size_t put_system(writer *w, const qa_message *first) {
    const qa_chat_family *family = w->family;
    const bool given = is_role(first, "system");
    if (family->system == NULL || (given && !family->system_joins)) {
        return 0;
    }
    put_header(w, "system");
    put_z(w, family->system);
    if (given) {
        put_stripped(w, first->content, first->content_bytes);
    }
    put_z(w, family->end);
    put_z(w, family->after_turn);
    return given ? 1 : 0;
}

/* Every turn is a header with its role, the content and an end. */
static void render_headers(writer *w, const qa_message *messages, size_t n, bool prompt) {
    put_leading_bos(w);
    for (size_t i = put_system(w, &messages[0]); i < n; i++) {
        put_header(w, messages[i].role);
        put_answer(w, &messages[i]);
        put_z(w, w->family->after_turn);
    }
    if (prompt || w->family->always_prompts) {
        put_header(w, "assistant");
    }
}

/* Whether message i of a dialogue without its leading system message breaks user, assistant, user... */
static bool breaks_order(const qa_message *message, size_t i) { return is_role(message, "user") != (i % 2 == 0); }

/* Strips what was written since text[start]. */
static void strip_from(writer *w, size_t start) {
    if (w->status == QA_OK) {
        const char *stripped = w->text->data + start;
        size_t bytes = w->text->n - start;
        qa_strip(&stripped, &bytes);
        memmove(w->text->data + start, stripped, bytes);
        w->text->n = start + bytes;
    }
}

/* A user turn is <s>[INST] ... [/INST]; the system message is part of the first one. There is no
 * generation prompt. A later system message where an assistant's turn is due is written by nobody. */
static void render_llama2(writer *w, const qa_message *messages, size_t n) {
    size_t first = is_role(&messages[0], "system") ? 1 : 0;
    for (size_t i = first; i < n; i++) {
        if (breaks_order(&messages[i], i - first)) {
            refuse_dialogue(w, i, "Conversation roles must alternate user/assistant/user/assistant/...");
        }
        if (is_role(&messages[i], "user")) {
            put_bos(w);
            put_z(w, w->family->open);
            const size_t start = w->text->n;
            if (i == first && first == 1) {
                put_z(w, "<<SYS>>\n");
                put_content(w, &messages[0]);
                put_z(w, "\n<</SYS>>\n\n");
            }
            put_content(w, &messages[i]);
            strip_from(w, start); /* system and user text are stripped as one */
            put_z(w, w->family->close);
        } else if (is_role(&messages[i], "assistant")) {
            put_answer(w, &messages[i]);
        }
    }
}

#define AFTER_SYSTEM                                                                                                   \
    "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."
#define ONLY_SYSTEM_FIRST                                                                                              \
    "Only user and assistant roles are supported, with the exception of an initial optional system message!"

/* <s> once, then [INST] user [/INST] assistant </s>; no generation prompt. The spaces around the marks
 * differ between releases, and so does the user turn that takes the system message: the first of the
 * dialogue, or (v0.3) the last if it ends the dialogue, so an answer already given leaves it out. */
static void render_mistral(writer *w, qa_chat_template which, const qa_message *messages, size_t n) {
    bool knows_system = which != QA_CHAT_MISTRAL;
    size_t first = knows_system && is_role(&messages[0], "system") ? 1 : 0;
    const char *out_of_order =
        knows_system ? AFTER_SYSTEM : "Conversation roles must alternate user/assistant/user/assistant/...";
    if (which == QA_CHAT_MISTRAL3) { /* looks at the whole order first */
        for (size_t i = first; i < n; i++) {
            if (breaks_order(&messages[i], i - first)) {
                refuse_dialogue(w, i, out_of_order);
            }
        }
    }
    put_leading_bos(w);
    for (size_t i = first; i < n; i++) {
        if (breaks_order(&messages[i], i - first)) {
            refuse_dialogue(w, i, out_of_order);
        }
        if (is_role(&messages[i], "user")) {
            bool takes_system = first == 1 && (which == QA_CHAT_MISTRAL3 ? i + 1 == n : i == first);
            put_z(w, w->family->open);
            if (takes_system) {
                put_content(w, &messages[0]);
                put_z(w, "\n\n");
            }
            put_content(w, &messages[i]);
            put_z(w, w->family->close);
        } else if (is_role(&messages[i], "assistant")) {
            put_answer(w, &messages[i]);
        } else {
            refuse_dialogue(w, i, knows_system ? ONLY_SYSTEM_FIRST : "Only user and assistant roles are supported!");
        }
    }
}

/* ---- the public functions ---- */

static qa_status check_dialogue(qa_chat_template which, const qa_tokenizer *tokenizer, const qa_message *messages,
                                size_t n, qa_error *err) {
    if (which == QA_CHAT_NONE || which == QA_CHAT_UNKNOWN) {
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "%s: name the one that the model was trained with by --chat-template (%s), or give "
                       "text that is already rendered (\"prompt\", "
                       "\"chosen\", \"rejected\" as strings)",
                       which == QA_CHAT_NONE ? "this model has no chat template"
                                             : "this model's chat template is none that qadapter knows exactly",
                       qa_chat_template_names());
    }
    if (tokenizer == NULL && which != QA_CHAT_PLAIN) {
        return qa_fail(err, QA_ERR_ARGUMENT, "the %s chat template needs a tokenizer", qa_chat_template_name(which));
    }
    if (n == 0) {
        return qa_fail(err, QA_ERR_ARGUMENT, "a dialogue without messages cannot be rendered");
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_role(&messages[i], "system") && !is_role(&messages[i], "user") && !is_role(&messages[i], "assistant")) {
            return qa_fail(err, QA_ERR_ARGUMENT,
                           "message %zu has the role \"%.40s\"; known are system, user, assistant", i + 1,
                           messages[i].role);
        }
    }
    return QA_OK;
}

static writer start_writer(qa_chat_template which, const qa_tokenizer *tokenizer, qa_text *text, qa_error *err) {
    writer w = {.text = text, .err = err, .family = qa_chat_family_of(which)};
    if (tokenizer != NULL) {
        w.bos = qa_tokenizer_bos_text(tokenizer);
        w.eos = qa_tokenizer_eos_text(tokenizer);
    }
    return w;
}

/* After a failure nothing of the dialogue stays behind. */
static qa_status finish_writer(writer *w, size_t length_before) {
    if (w->status != QA_OK && w->text->n > length_before) {
        w->text->n = length_before;
    }
    if (w->text->data != NULL) {
        w->text->data[w->text->n] = '\0';
    }
    return w->status;
}

qa_status qa_chat_render(qa_chat_template which, const qa_tokenizer *tokenizer, const qa_message *messages,
                         size_t n_messages, bool add_generation_prompt, qa_text *text, qa_error *err) {
    QA_TRY(check_dialogue(which, tokenizer, messages, n_messages, err));
    writer w = start_writer(which, tokenizer, text, err);
    size_t before = text->n;
    switch (w.family->form) {
    case QA_CHAT_FORM_NONE: break;
    case QA_CHAT_FORM_PLAIN: render_plain(&w, tokenizer, messages, n_messages, add_generation_prompt); break;
    case QA_CHAT_FORM_HEADERS: render_headers(&w, messages, n_messages, add_generation_prompt); break;
    case QA_CHAT_FORM_LLAMA2: render_llama2(&w, messages, n_messages); break;
    case QA_CHAT_FORM_MISTRAL: render_mistral(&w, which, messages, n_messages); break;
    }
    return finish_writer(&w, before);
}

qa_status qa_chat_append_response(qa_chat_template which, const qa_tokenizer *tokenizer, const char *content,
                                  size_t bytes, qa_text *text, qa_error *err) {
    writer w = start_writer(which, tokenizer, text, err);
    size_t before = text->n;
    put_response(&w, content, bytes);
    return finish_writer(&w, before);
}

qa_status qa_encode_dialogue(qa_chat_template chat, const qa_tokenizer *tokenizer, const qa_message *messages, size_t n,
                             qa_text *text, qa_ids *ids, qa_error *err) {
    text->n = 0;
    QA_TRY(qa_chat_render(chat, tokenizer, messages, n, true, text, err));
    return qa_encode_rendered(tokenizer, text->data, text->n, ids, err);
}
