/* Whether a tokenizer has the marks that a template writes: ChatML on a tokenizer without <|im_start|> is a handful of
 * characters in front of every turn, which no model was trained with, and an end that generation cannot stop on. */
#include "base/buffer.h"
#include "base/try.h"
#include "text/chat_family.h"

#include <string.h>

/* Whether the mark, standing behind other text, is encoded to its own token. */
static qa_status is_one_token(const qa_tokenizer *tokenizer, const char *mark, bool *one, qa_error *err) {
    const int32_t id = qa_tokenizer_token_id(tokenizer, mark);
    qa_text text = {0};
    qa_ids ids = {0};
    qa_status status = QA_OK;
    QA_GOTO(out, qa_text_append_z(&text, "a", err));
    QA_GOTO(out, qa_text_append_z(&text, mark, err));
    QA_GOTO(out, qa_tokenizer_encode(tokenizer, text.data, text.n, (qa_encode_options){0}, &ids, err));
    *one = id >= 0 && ids.n > 0 && ids.data[ids.n - 1] == id;
out:
    qa_text_free(&text);
    qa_ids_free(&ids);
    return status;
}

static qa_status add_mark(qa_text *missing, const char *mark, qa_error *err) {
    QA_TRY(qa_text_append_z(missing, missing->n == 0 ? "\"" : ", \"", err));
    QA_TRY(qa_text_append_z(missing, mark, err));
    return qa_text_append_z(missing, "\"", err);
}

qa_status qa_chat_missing_marks(qa_chat_template which, const qa_tokenizer *tokenizer, qa_text *missing,
                                bool *end_missing, qa_error *err) {
    const qa_chat_family *family = qa_chat_family_of(which);
    const char *end = which == QA_CHAT_PLAIN ? NULL : qa_chat_end_of_turn(which, tokenizer);
    bool one = true;
    *end_missing = false;
    QA_TRY(qa_text_append(missing, "", 0, err));
    for (size_t i = 0; i < sizeof family->marks / sizeof family->marks[0] && family->marks[i] != NULL; i++) {
        QA_TRY(is_one_token(tokenizer, family->marks[i], &one, err));
        QA_TRY(one ? QA_OK : add_mark(missing, family->marks[i], err));
    }
    if (end != NULL) {
        QA_TRY(is_one_token(tokenizer, end, &one, err));
        *end_missing = !one;
    }
    return *end_missing ? add_mark(missing, end, err) : QA_OK;
}
