/* Writes a dialogue the way each known chat template writes it, byte for byte.
 *
 * A template's own program is not run: every family below is that program read once and written out in
 * C, without the parts about tools. What differs between families is where the beginning-of-sequence
 * token stands (never, once, or before every user turn), what surrounds a turn, whether white space
 * around contents is stripped, where a system message goes, and which orders of roles are refused. */
#include "text/chat.h"

#include "base/buffer.h"
#include "base/try.h"
#include "text/text_begin.h"

#include <string.h>

/* The date that Llama 3.1 and 3.2 write where the caller gives none; 3.2 would write today's, which
 * would make yesterday's prompts different from today's. */
#define PINNED_DATE "26 Jul 2024"

/* ---- writing ---- */

/* The first failure stays in `status`; everything after it does nothing. */
typedef struct writer {
    qa_text *text;
    qa_error *err;
    qa_status status;
    const char *bos, *eos; /* NULL when the tokenizer names none */
} writer;

static void put(writer *w, const char *data, size_t bytes) {
    if (w->status == QA_OK) {
        w->status = qa_text_append(w->text, data, bytes, w->err);
    }
}

static void put_z(writer *w, const char *zero_terminated) { put(w, zero_terminated, strlen(zero_terminated)); }

static void put_content(writer *w, const qa_message *message) { put(w, message->content, message->content_bytes); }

static void put_stripped(writer *w, const char *data, size_t bytes) {
    qa_strip(&data, &bytes);
    put(w, data, bytes);
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

static void refuse(writer *w, size_t index, const char *reason) {
    if (w->status == QA_OK) {
        w->status = qa_fail(w->err, QA_ERR_FORMAT, "the chat template refuses message %zu: %s", index + 1, reason);
    }
}

static bool is_role(const qa_message *message, const char *role) { return strcmp(message->role, role) == 0; }

/* ---- white space ---- */

/* Length of the white-space character that starts at s[n], by Python's str.isspace; 0 if none does. */
static size_t space_at(const unsigned char *s, size_t n) {
    if (n >= 1 && ((s[0] >= 0x09 && s[0] <= 0x0d) || (s[0] >= 0x1c && s[0] <= 0x20))) {
        return 1;
    }
    if (n >= 2 && s[0] == 0xc2 && (s[1] == 0x85 || s[1] == 0xa0)) { /* U+0085, U+00A0 */
        return 2;
    }
    if (n < 3) {
        return 0;
    }
    bool space = (s[0] == 0xe1 && s[1] == 0x9a && s[2] == 0x80) || /* U+1680 */
                 (s[0] == 0xe2 && s[1] == 0x80 &&
                  ((s[2] >= 0x80 && s[2] <= 0x8a) ||                 /* U+2000 to U+200A */
                   s[2] == 0xa8 || s[2] == 0xa9 || s[2] == 0xaf)) || /* U+2028, U+2029, U+202F */
                 (s[0] == 0xe2 && s[1] == 0x81 && s[2] == 0x9f) ||   /* U+205F */
                 (s[0] == 0xe3 && s[1] == 0x80 && s[2] == 0x80);     /* U+3000 */
    return space ? 3 : 0;
}

void qa_strip(const char **start, size_t *bytes) {
    const unsigned char *s = (const unsigned char *)*start;
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

/* ---- an assistant's turn ---- */

bool qa_chat_strips_responses(qa_chat_template which) {
    switch (which) {
    case QA_CHAT_PLAIN:
    case QA_CHAT_LLAMA2:
    case QA_CHAT_LLAMA3:
    case QA_CHAT_LLAMA3_FIRST:
    case QA_CHAT_LLAMA31:
    case QA_CHAT_LLAMA32:
    case QA_CHAT_MISTRAL3: return true;
    case QA_CHAT_NONE:
    case QA_CHAT_UNKNOWN:
    case QA_CHAT_CHATML:
    case QA_CHAT_SMOLLM2:
    case QA_CHAT_QWEN2:
    case QA_CHAT_QWEN25:
    case QA_CHAT_ZEPHYR:
    case QA_CHAT_MISTRAL:
    case QA_CHAT_MISTRAL_SYSTEM: return false;
    }
    return false;
}

/* What an assistant says, from the end of the generation prompt to the end of the turn. */
static void put_response(writer *w, qa_chat_template which, const char *content, size_t bytes) {
    if (which == QA_CHAT_PLAIN || which == QA_CHAT_LLAMA2 || which == QA_CHAT_MISTRAL3 ||
        which == QA_CHAT_MISTRAL_SYSTEM) {
        put_z(w, " ");
    }
    if (qa_chat_strips_responses(which)) {
        put_stripped(w, content, bytes);
    } else {
        put(w, content, bytes);
    }
    switch (which) {
    case QA_CHAT_CHATML:
    case QA_CHAT_SMOLLM2:
    case QA_CHAT_QWEN2:
    case QA_CHAT_QWEN25: put_z(w, "<|im_end|>"); break;
    case QA_CHAT_LLAMA3:
    case QA_CHAT_LLAMA3_FIRST:
    case QA_CHAT_LLAMA31:
    case QA_CHAT_LLAMA32: put_z(w, "<|eot_id|>"); break;
    case QA_CHAT_LLAMA2:
        put_z(w, " ");
        put_eos(w);
        break;
    case QA_CHAT_ZEPHYR:
    case QA_CHAT_MISTRAL:
    case QA_CHAT_MISTRAL_SYSTEM:
    case QA_CHAT_MISTRAL3: put_eos(w); break;
    case QA_CHAT_PLAIN:
    case QA_CHAT_NONE:
    case QA_CHAT_UNKNOWN: break;
    }
}

const char *qa_chat_end_of_turn(qa_chat_template which, const qa_tokenizer *tokenizer) {
    switch (which) {
    case QA_CHAT_CHATML:
    case QA_CHAT_SMOLLM2:
    case QA_CHAT_QWEN2:
    case QA_CHAT_QWEN25: return "<|im_end|>";
    case QA_CHAT_LLAMA3:
    case QA_CHAT_LLAMA3_FIRST:
    case QA_CHAT_LLAMA31:
    case QA_CHAT_LLAMA32: return "<|eot_id|>";
    case QA_CHAT_NONE:
    case QA_CHAT_UNKNOWN:
    case QA_CHAT_PLAIN:
    case QA_CHAT_LLAMA2:
    case QA_CHAT_ZEPHYR:
    case QA_CHAT_MISTRAL:
    case QA_CHAT_MISTRAL_SYSTEM:
    case QA_CHAT_MISTRAL3: break;
    }
    return tokenizer == NULL ? NULL : qa_tokenizer_eos_text(tokenizer);
}

const char *qa_chat_after_turn(qa_chat_template which) {
    switch (which) {
    case QA_CHAT_CHATML:
    case QA_CHAT_SMOLLM2:
    case QA_CHAT_QWEN2:
    case QA_CHAT_QWEN25:
    case QA_CHAT_ZEPHYR: return "\n";
    case QA_CHAT_NONE:
    case QA_CHAT_UNKNOWN:
    case QA_CHAT_PLAIN:
    case QA_CHAT_LLAMA2:
    case QA_CHAT_LLAMA3:
    case QA_CHAT_LLAMA3_FIRST:
    case QA_CHAT_LLAMA31:
    case QA_CHAT_LLAMA32:
    case QA_CHAT_MISTRAL:
    case QA_CHAT_MISTRAL_SYSTEM:
    case QA_CHAT_MISTRAL3: break;
    }
    return "";
}

/* ---- the families ---- */

/* Human and Assistant, for models without a template. What the tokenizer puts in front of every text
 * (<s>...) is written out, so that the result, like any other template's, is encoded without special
 * tokens. "Assistant:" ends without a space: the space belongs to the answer's first word. */
static void render_plain(writer *w, const qa_tokenizer *tokenizer, const qa_message *messages, size_t n, bool prompt) {
    const qa_ids *prefix = tokenizer == NULL ? NULL : qa_text_begin(tokenizer);
    for (size_t i = 0; prefix != NULL && i < prefix->n; i++) {
        const char *token = qa_tokenizer_token(tokenizer, prefix->data[i]);
        put_z(w, token == NULL ? "" : token);
    }
    for (size_t i = 0; i < n; i++) {
        put_z(w, i > 0 ? "\n\n" : "");
        if (is_role(&messages[i], "assistant")) {
            put_z(w, "Assistant:");
            put_response(w, QA_CHAT_PLAIN, messages[i].content, messages[i].content_bytes);
        } else {
            put_z(w, is_role(&messages[i], "user") ? "Human: " : "");
            put_stripped(w, messages[i].content, messages[i].content_bytes);
        }
    }
    put_z(w, prompt ? "\n\nAssistant:" : "");
}

/* <|im_start|>role, newline, content, <|im_end|>, newline. default_system (NULL: none) stands in for a
 * dialogue's missing system message. */
static void render_chatml(writer *w, qa_chat_template which, const qa_message *messages, size_t n, bool prompt) {
    const char *default_system = NULL;
    if (which == QA_CHAT_SMOLLM2) {
        default_system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
    } else if (which == QA_CHAT_QWEN2) {
        default_system = "You are a helpful assistant.";
    } else if (which == QA_CHAT_QWEN25) {
        default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
    }
    if (default_system != NULL && !is_role(&messages[0], "system")) {
        put_z(w, "<|im_start|>system\n");
        put_z(w, default_system);
        put_z(w, "<|im_end|>\n");
    }
    for (size_t i = 0; i < n; i++) {
        put_z(w, "<|im_start|>");
        put_z(w, messages[i].role);
        put_z(w, "\n");
        put_response(w, which, messages[i].content, messages[i].content_bytes);
        put_z(w, qa_chat_after_turn(which));
    }
    put_z(w, prompt ? "<|im_start|>assistant\n" : "");
}

static void put_llama3_header(writer *w, const char *role) {
    put_z(w, "<|start_header_id|>");
    put_z(w, role);
    put_z(w, "<|end_header_id|>\n\n");
}

static void render_llama3(writer *w, qa_chat_template which, const qa_message *messages, size_t n, bool prompt) {
    size_t first = 0;
    if (which == QA_CHAT_LLAMA3 || which == QA_CHAT_LLAMA3_FIRST) {
        put_bos(w);
    } else { /* 3.1, 3.2: always a system turn, with dates in front of what the system message says */
        put_z(w, w->bos == NULL ? "" : w->bos);
        put_llama3_header(w, "system");
        put_z(w, "Cutting Knowledge Date: December 2023\nToday Date: " PINNED_DATE "\n\n");
        if (is_role(&messages[0], "system")) {
            put_stripped(w, messages[0].content, messages[0].content_bytes);
            first = 1;
        }
        put_z(w, "<|eot_id|>");
    }
    for (size_t i = first; i < n; i++) {
        put_llama3_header(w, messages[i].role);
        put_response(w, which, messages[i].content, messages[i].content_bytes);
    }
    if (prompt || which == QA_CHAT_LLAMA3_FIRST) {
        put_llama3_header(w, "assistant");
    }
}

static void render_zephyr(writer *w, const qa_message *messages, size_t n, bool prompt) {
    for (size_t i = 0; i < n; i++) {
        put_z(w, "<|");
        put_z(w, messages[i].role);
        put_z(w, "|>\n");
        put_response(w, QA_CHAT_ZEPHYR, messages[i].content, messages[i].content_bytes);
        put_z(w, qa_chat_after_turn(QA_CHAT_ZEPHYR));
    }
    put_z(w, prompt ? "<|assistant|>\n" : "");
}

/* Whether message i of a dialogue without its leading system message breaks user, assistant, user... */
static bool breaks_order(const qa_message *message, size_t i) { return is_role(message, "user") != (i % 2 == 0); }

/* A user turn is <s>[INST] ... [/INST]; the system message is part of the first one. There is no
 * generation prompt. A later system message where an assistant's turn is due is written by nobody. */
static void render_llama2(writer *w, const qa_message *messages, size_t n) {
    size_t first = is_role(&messages[0], "system") ? 1 : 0;
    for (size_t i = first; i < n; i++) {
        if (breaks_order(&messages[i], i - first)) {
            refuse(w, i, "Conversation roles must alternate user/assistant/user/assistant/...");
        }
        if (is_role(&messages[i], "user") && i == first && first == 1) {
            put_bos(w);
            put_z(w, "[INST] ");
            size_t start = w->text->n;
            put_z(w, "<<SYS>>\n");
            put_content(w, &messages[0]);
            put_z(w, "\n<</SYS>>\n\n");
            put_content(w, &messages[1]);
            if (w->status == QA_OK) { /* system and user text are stripped as one; the front is "<<SYS>>" */
                const char *joined = w->text->data + start;
                size_t bytes = w->text->n - start;
                qa_strip(&joined, &bytes);
                w->text->n = start + bytes;
            }
            put_z(w, " [/INST]");
        } else if (is_role(&messages[i], "user")) {
            put_bos(w);
            put_z(w, "[INST] ");
            put_stripped(w, messages[i].content, messages[i].content_bytes);
            put_z(w, " [/INST]");
        } else if (is_role(&messages[i], "assistant")) {
            put_response(w, QA_CHAT_LLAMA2, messages[i].content, messages[i].content_bytes);
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
                refuse(w, i, out_of_order);
            }
        }
    }
    put_z(w, w->bos == NULL ? "" : w->bos);
    for (size_t i = first; i < n; i++) {
        if (breaks_order(&messages[i], i - first)) {
            refuse(w, i, out_of_order);
        }
        if (is_role(&messages[i], "user")) {
            bool takes_system = first == 1 && (which == QA_CHAT_MISTRAL3 ? i + 1 == n : i == first);
            put_z(w, which == QA_CHAT_MISTRAL_SYSTEM ? " [INST] " : "[INST] ");
            if (takes_system) {
                put_content(w, &messages[0]);
                put_z(w, "\n\n");
            }
            put_content(w, &messages[i]);
            put_z(w, which == QA_CHAT_MISTRAL3 ? "[/INST]" : " [/INST]");
        } else if (is_role(&messages[i], "assistant")) {
            put_response(w, which, messages[i].content, messages[i].content_bytes);
        } else {
            refuse(w, i, knows_system ? ONLY_SYSTEM_FIRST : "Only user and assistant roles are supported!");
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

static writer start_writer(const qa_tokenizer *tokenizer, qa_text *text, qa_error *err) {
    writer w = {.text = text, .err = err, .status = QA_OK};
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
    writer w = start_writer(tokenizer, text, err);
    size_t before = text->n;
    switch (which) {
    case QA_CHAT_NONE:
    case QA_CHAT_UNKNOWN: break;
    case QA_CHAT_PLAIN: render_plain(&w, tokenizer, messages, n_messages, add_generation_prompt); break;
    case QA_CHAT_LLAMA2: render_llama2(&w, messages, n_messages); break;
    case QA_CHAT_LLAMA3:
    case QA_CHAT_LLAMA3_FIRST:
    case QA_CHAT_LLAMA31:
    case QA_CHAT_LLAMA32: render_llama3(&w, which, messages, n_messages, add_generation_prompt); break;
    case QA_CHAT_CHATML:
    case QA_CHAT_SMOLLM2:
    case QA_CHAT_QWEN2:
    case QA_CHAT_QWEN25: render_chatml(&w, which, messages, n_messages, add_generation_prompt); break;
    case QA_CHAT_ZEPHYR: render_zephyr(&w, messages, n_messages, add_generation_prompt); break;
    case QA_CHAT_MISTRAL:
    case QA_CHAT_MISTRAL_SYSTEM:
    case QA_CHAT_MISTRAL3: render_mistral(&w, which, messages, n_messages); break;
    }
    return finish_writer(&w, before);
}

qa_status qa_chat_append_response(qa_chat_template which, const qa_tokenizer *tokenizer, const char *content,
                                  size_t bytes, qa_text *text, qa_error *err) {
    writer w = start_writer(tokenizer, text, err);
    size_t before = text->n;
    put_response(&w, which, content, bytes);
    return finish_writer(&w, before);
}

qa_status qa_encode_dialogue(qa_chat_template chat, const qa_tokenizer *tokenizer, const qa_message *messages, size_t n,
                             qa_text *text, qa_ids *ids, qa_error *err) {
    text->n = 0;
    QA_TRY(qa_chat_render(chat, tokenizer, messages, n, true, text, err));
    return qa_encode_rendered(tokenizer, text->data, text->n, ids, err);
}
