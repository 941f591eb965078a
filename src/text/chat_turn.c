/* How a template writes an answer behind its prompt (chat.h).
 *
 *     prompt                                          the dialogue up to the answer, with add_generation_prompt
 *     <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n
 *     whole                                           the dialogue with an answer, here MARK
 *     <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nMARK<|im_end|>\n
 *                                              front ^    ^ answer   ^ behind
 *
 * A template sees one character in the place of the answer, which no text has, so that nothing that it does with what
 * an answer says (cutting thoughts, say) changes what it writes around it. */
#include "text/chat_turn.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

static bool is_space(const char *text, size_t bytes) { return qa_space_run(text, bytes, false) == bytes; }

static const char SPACES[] = " \n\t";

/* What one side strips of text[bytes]. */
static size_t stripped(const char *text, size_t bytes, const char *strips, bool back) {
    if (strcmp(strips, SPACES) == 0) {
        return qa_space_run(text, bytes, back);
    }
    size_t run = 0;
    while (run < bytes && text[back ? bytes - run - 1 : run] != '\0' &&
           strchr(strips, text[back ? bytes - run - 1 : run]) != NULL) {
        run++;
    }
    return run;
}

void qa_chat_strip(const qa_chat *chat, const char **content, size_t *bytes) {
    const size_t front = stripped(*content, *bytes, chat->strips[0], false);
    *content += front;
    *bytes -= front;
    *bytes -= stripped(*content, *bytes, chat->strips[1], true);
}

/* ---- a turn ---- */

#define MARK "\xee\x80\x80" /* U+E000, for private use */

/* Where needle last begins in text[bytes]; SIZE_MAX: nowhere. */
static size_t find_last(const char *text, size_t bytes, const char *needle) {
    const size_t n = strlen(needle);
    for (size_t at = bytes < n ? 0 : bytes - n + 1; at > 0; at--) {
        if (memcmp(text + at - 1, needle, n) == 0) {
            return at - 1;
        }
    }
    return SIZE_MAX;
}

static size_t find_first(const char *text, size_t bytes, const char *needle, size_t n) {
    for (size_t at = 0; n <= bytes && at <= bytes - n; at++) {
        if (memcmp(text + at, needle, n) == 0) {
            return at;
        }
    }
    return SIZE_MAX;
}

/* The dialogue with another message behind it. */
static qa_status write_with(const qa_chat *chat, const qa_message *messages, size_t n, qa_message last,
                            bool add_generation_prompt, qa_text *text, qa_error *err) {
    qa_message *all = NULL;
    QA_TRY(QA_NEW(all, n + 1, err, "%zu messages", n + 1));
    memcpy(all, messages, n * sizeof *all);
    all[n] = last;
    text->n = 0;
    const qa_status status = qa_chat_write(chat, all, n + 1, add_generation_prompt, text, err);
    free(all);
    return status;
}

/* Where the whole does not begin with the prompt, white space in front of the answer counts if both texts are the same
 * in front of it. */
static size_t front_of_other(const qa_text *prompt, const qa_text *whole, size_t answer) {
    enum { ALIKE = 4 };
    const size_t space = qa_space_run(whole->data, answer, true), own = qa_space_run(prompt->data, prompt->n, true);
    const size_t a = answer - space, b = prompt->n - own;
    const bool alike =
        a >= ALIKE && b >= ALIKE && memcmp(whole->data + a - ALIKE, prompt->data + b - ALIKE, ALIKE) == 0;
    return alike && space >= own && memcmp(whole->data + a, prompt->data + b, own) == 0 ? a + own : answer;
}

qa_status qa_chat_turn_write(qa_chat_turn *turn, const qa_chat *chat, const qa_message *messages, size_t n,
                             qa_error *err) {
    const qa_message mark = {"assistant", MARK, strlen(MARK)};
    turn->prompt.n = 0;
    QA_TRY(qa_chat_write(chat, messages, n, true, &turn->prompt, err));
    QA_TRY(write_with(chat, messages, n, mark, false, &turn->whole, err));
    const qa_text *prompt = &turn->prompt, *whole = &turn->whole;
    turn->answer = find_last(whole->data, whole->n, MARK);
    QA_FAIL_IF(turn->answer == SIZE_MAX, err, QA_ERR_UNSUPPORTED,
               "the chat template %s does not write what the assistant says, so nothing can be trained with it: "
               "name another by --chat-template",
               chat->name);
    turn->behind = turn->answer + strlen(MARK);
    turn->begins = prompt->n <= turn->answer && memcmp(whole->data, prompt->data, prompt->n) == 0;
    turn->front = turn->begins ? prompt->n : front_of_other(prompt, whole, turn->answer);
    return QA_OK;
}

void qa_chat_turn_free(qa_chat_turn *turn) {
    qa_text_free(&turn->prompt);
    qa_text_free(&turn->whole);
}

bool qa_chat_turn_inserts(const qa_chat_turn *turn) {
    return !is_space(turn->whole.data + turn->front, turn->answer - turn->front);
}

/* How much of what stands behind an answer belongs to it: up to and with the end of the turn; with whole_turn
 * everything, but for the beginning of another answer. */
static size_t bytes_behind(const qa_chat *chat, const char *behind, size_t n, const char *end, bool whole_turn,
                           bool *ended) {
    const size_t length = strlen(end), at = length == 0 ? SIZE_MAX : find_first(behind, n, end, length);
    *ended = at != SIZE_MAX;
    if (!*ended) {
        return !whole_turn ? 0 : chat->always_prompts ? qa_space_run(behind, n, false) : n;
    }
    if (!whole_turn) {
        return at + length;
    }
    const size_t space = qa_space_run(behind + at + length, n - at - length, false);
    return chat->always_prompts ? at + length + space : n;
}

const char *qa_chat_writes_behind(const qa_chat *chat, const char *end) {
    const char *behind = chat->behind.data;
    bool ended = false;
    const size_t token = bytes_behind(chat, behind, chat->behind.n, end, false, &ended);
    const size_t all = bytes_behind(chat, behind, chat->behind.n, end, true, &ended);
    return all == token ? NULL : all == token + 1 && behind[token] == '\n' ? "the newline" : "what the template writes";
}

qa_status qa_chat_turn_content(const qa_chat_turn *turn, const qa_chat *chat, const char *content, size_t bytes,
                               bool inserted, qa_text *text, qa_error *err) {
    if (inserted || !qa_chat_turn_inserts(turn)) {
        QA_TRY(qa_text_append(text, turn->whole.data + turn->front, turn->answer - turn->front, err));
    }
    qa_chat_strip(chat, &content, &bytes);
    return qa_text_append(text, content, bytes, err);
}

qa_status qa_chat_turn_end(const qa_chat_turn *turn, const qa_chat *chat, const char *end, bool whole_turn,
                           qa_text *text, bool *ended, qa_error *err) {
    const char *behind = turn->whole.data + turn->behind;
    const size_t n = bytes_behind(chat, behind, turn->whole.n - turn->behind, end, whole_turn, ended);
    return qa_text_append(text, behind, n, err);
}

/* ---- what short dialogues tell ---- */

enum { LEARNING_STEPS = 1000000 };
static const qa_message PROBE[] = {{"user", "a", 1}, {"assistant", MARK, 3}};

/* Which of " \n\t" the template takes from the ends of an answer. */
static qa_status learn_strips(qa_chat *chat, const qa_chat_turn *turn, qa_error *err) {
    qa_text whole = {0};
    qa_status status = QA_OK;
    for (const char *space = SPACES; *space != '\0' && status == QA_OK; space++) {
        const char said[] = {*space, MARK[0], MARK[1], MARK[2], *space};
        status = write_with(chat, PROBE, 1, (qa_message){"assistant", said, sizeof said}, false, &whole, err);
        const size_t at = status == QA_OK ? find_last(whole.data, whole.n, MARK) : SIZE_MAX;
        if (at != SIZE_MAX) {
            chat->strips[0][strlen(chat->strips[0])] = at == turn->answer ? *space : '\0';
            chat->strips[1][strlen(chat->strips[1])] = whole.n - at == turn->whole.n - turn->answer ? *space : '\0';
        }
    }
    qa_text_free(&whole);
    return status;
}

/* What stands between an answer and the next question: what of it ends the answer wherever it stands and, without
 * an end, what begins the question. */
static qa_status learn_next(qa_chat *chat, qa_error *err) {
    static const char asked[] = "\xee\x80\x81";
    qa_text text = {0};
    qa_status status = write_with(chat, PROBE, 2, (qa_message){"user", asked, 3}, false, &text, err);
    const size_t from = status == QA_OK ? find_last(text.data, text.n, MARK) : SIZE_MAX;
    const size_t to = status == QA_OK ? find_last(text.data, text.n, asked) : SIZE_MAX;
    if (from != SIZE_MAX && to != SIZE_MAX && to > from) {
        const char *begin = text.data + from + 3;
        const size_t n = to - from - 3;
        size_t same = 0;
        while (same < n && same < chat->behind.n && begin[same] == chat->behind.data[same]) {
            same++;
        }
        status = qa_text_append(&chat->always, begin, same, err);
        if (status == QA_OK && chat->end_text.n == 0) {
            status = qa_text_append(&chat->next, begin, n - qa_space_run(begin, n, true), err);
        }
    }
    qa_text_free(&text);
    return status;
}

static qa_status learn_turn(qa_chat *chat, qa_chat_turn *turn, qa_error *err) {
    qa_text prompted = {0};
    QA_TRY(qa_chat_turn_write(turn, chat, PROBE, 1, err));
    chat->known = true;
    QA_TRY(qa_text_append(&chat->always, "", 0, err));
    QA_TRY(qa_text_append(&chat->next, "", 0, err));
    const char *end = turn->whole.data + turn->behind;
    size_t bytes = turn->whole.n - turn->behind;
    QA_TRY(qa_text_append(&chat->behind, end, bytes, err));
    qa_strip(&end, &bytes);
    const char *named = qa_chat_end_of_turn(chat->which, NULL); /* some write another turn's beginning behind it */
    QA_TRY(named != NULL ? qa_text_append_z(&chat->end_text, named, err)
                         : qa_text_append(&chat->end_text, end, bytes, err));
    qa_status status = qa_chat_write(chat, PROBE, 2, true, &prompted, err);
    chat->always_prompts = status == QA_OK && prompted.n == turn->whole.n;
    qa_text_free(&prompted);
    QA_TRY(status);
    QA_TRY(learn_strips(chat, turn, err));
    return learn_next(chat, err);
}

/* Templates of models that see images may write a content only where it is a list of parts. */
static void warn_of_silence(qa_chat *chat) {
    const qa_message asked = {"user", MARK, strlen(MARK)};
    qa_text text = {0};
    qa_error ignored;
    if (qa_chat_write(chat, &asked, 1, true, &text, &ignored) == QA_OK &&
        find_last(text.data, text.n, MARK) == SIZE_MAX) {
        qa_warn(&chat->warnings,
                "the chat template %s leaves out what the user says (it may want a content in parts, as for images, "
                "where there is text): name another by --chat-template",
                chat->name);
    }
    qa_text_free(&text);
}

qa_status qa_chat_learn(qa_chat *chat, qa_error *err) {
    qa_chat_turn turn = {0};
    qa_error why;
    const size_t steps = chat->options.steps;
    chat->options.steps = LEARNING_STEPS; /* a template that takes more for two words is none to wait for */
    const qa_status status = learn_turn(chat, &turn, &why);
    warn_of_silence(chat);
    chat->options.steps = steps;
    qa_chat_turn_free(&turn);
    return status == QA_ERR_MEMORY ? qa_fail(err, status, "%s", why.message) : QA_OK;
}

/* ---- what a template leaves out ---- */

bool qa_chat_drops_system(const qa_message *messages, size_t n, const qa_text *text) {
    enum { LOOKED_FOR = 64 };
    if (n == 0 || strcmp(messages[0].role, "system") != 0) {
        return false;
    }
    const char *said = messages[0].content;
    size_t bytes = messages[0].content_bytes;
    qa_strip(&said, &bytes);
    return bytes > 0 && find_first(text->data, text->n, said, bytes < LOOKED_FOR ? bytes : LOOKED_FOR) == SIZE_MAX;
}

qa_status qa_chat_keeps(const qa_chat_turn *turn, const qa_chat *chat, const qa_message *messages, size_t n,
                        qa_text *scratch, bool *keeps, qa_error *err) {
    const char *said = messages[n - 1].content;
    size_t bytes = messages[n - 1].content_bytes;
    *keeps = true;
    if (memchr(said, '<', bytes) == NULL && memchr(said, '[', bytes) == NULL) {
        return QA_OK; /* no marks that a template could look for */
    }
    scratch->n = 0;
    QA_TRY(qa_chat_write(chat, messages, n, false, scratch, err));
    qa_chat_strip(chat, &said, &bytes);
    const char *whole = turn->whole.data, *found = scratch->data;
    const size_t rest = turn->whole.n - turn->behind;
    *keeps = scratch->n == turn->answer + bytes + rest && memcmp(found, whole, turn->answer) == 0 &&
             memcmp(found + turn->answer, said, bytes) == 0 &&
             memcmp(found + turn->answer + bytes, whole + turn->behind, rest) == 0;
    return QA_OK;
}
