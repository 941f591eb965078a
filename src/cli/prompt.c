/* See prompt.h. */
#include "cli/prompt.h"

#include "base/buffer.h"
#include "base/try.h"
#include "text/chat.h"
#include "text/chat_turn.h"
#include "text/text_begin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PROMPT_BYTES = 1 << 28 };

qa_status cli_parse_ids(cli_run *run, const char *option, const char *text, qa_ids *ids, qa_error *err) {
    const size_t vocab_size = qa_model_get_info(run->model)->vocab_size;
    for (text += strspn(text, " ,[]\t\n"); *text != '\0'; text += strspn(text, " ,[]\t\n")) {
        const size_t length = strcspn(text, " ,[]\t\n");
        const bool digits = strspn(text, "0123456789") == length;
        errno = 0;
        const unsigned long long id = digits ? strtoull(text, NULL, 10) : 0;
        if (!digits || errno != 0 || id >= vocab_size) {
            return cli_bad_usage(run, err, "--%s: expected token ids from 0 to %zu, found \"%.*s\"", option,
                                 vocab_size - 1, (int)(length > 64 ? 64 : length), text);
        }
        QA_TRY(qa_ids_push(ids, (int32_t)id, err));
        text += length;
    }
    return ids->n > 0 ? QA_OK : cli_bad_usage(run, err, "--%s: expected at least one token id, found none", option);
}

qa_status cli_read_prompt(cli_run *run, const cli_prompt_words *words, qa_text *text, bool *shortened, qa_error *err) {
    const bool standard = words->prompt != NULL && strcmp(words->prompt, "-") == 0;
    *shortened = false;
    if (words->prompt != NULL && !standard) {
        return qa_text_append_z(text, words->prompt, err);
    }
    const char *path = standard ? "-" : words->file;
    const qa_status status = cli_read_text(run, text, path, MAX_PROMPT_BYTES, err);
    if (status == QA_ERR_FORMAT) {
        qa_error_prefix(err, "%s: ", path);
    }
    QA_TRY(status);
    if (text->n > 0 && text->data[text->n - 1] == '\n') {
        text->n--;
        *shortened = true;
    }
    return QA_OK;
}

/* Text with special tokens inside was rendered by a template, whose last newline may have been part of the prompt. */
static void warn_of_rendered(cli_run *run, const cli_prompt_words *words, const qa_ids *ids) {
    for (size_t i = qa_text_begin(run->tokenizer)->n; i < ids->n; i++) {
        if (qa_tokenizer_is_special(run->tokenizer, ids->data[i])) {
            cli_warn(run,
                     "the newline at the end of %s is no part of the prompt: where a chat template ended the text "
                     "with one (as ChatML does), end it with two",
                     words->file != NULL && strcmp(words->file, "-") != 0 ? words->file : "standard input");
            return;
        }
    }
}

/* Appends the ids of a text to continue: by the rule of training, or bare with --no-special. */
static qa_status encode_continued(cli_run *run, bool bare, const char *text, size_t bytes, qa_ids *ids, qa_error *err) {
    const qa_tokenizer *tokenizer = run->tokenizer;
    if (!bare && qa_text_doubles_begin(tokenizer, text, bytes)) {
        cli_warn(run, "the prompt brings the beginning-of-sequence token behind white space, or twice: it stands in "
                      "front of it once more");
    }
    return bare ? qa_encode_rendered(tokenizer, text, bytes, ids, err)
                : qa_encode_plain_text(tokenizer, text, bytes, ids, err);
}

/* The prompt of --chat: text is what the user says, and becomes what the template writes. */
static qa_status encode_question(cli_run *run, const char *system, const qa_chat *chat, qa_text *text, qa_ids *ids,
                                 qa_error *err) {
    const qa_message messages[2] = {{"system", system, system == NULL ? 0 : strlen(system)},
                                    {"user", text->data == NULL ? "" : text->data, text->n}};
    const size_t first = system == NULL ? 1 : 0;
    qa_text rendered = {0};
    const qa_status status = qa_chat_encode(chat, messages + first, 2 - first, &rendered, ids, err);
    if (status == QA_OK && qa_chat_drops_system(messages + first, 2 - first, &rendered)) {
        cli_warn(run, "the chat template leaves out what --system says");
    }
    qa_text_free(text);
    *text = rendered;
    return status;
}

qa_status cli_make_prompt(cli_run *run, const cli_prompt_words *words, const qa_chat *chat, qa_text *given,
                          qa_text *text, qa_ids *ids, qa_error *err) {
    if (words->ids != NULL) {
        QA_TRY(cli_parse_ids(run, "ids", words->ids, ids, err));
        return run->tokenizer == NULL ? QA_OK
                                      : qa_tokenizer_decode(run->tokenizer, ids->data, ids->n, false, text, err);
    }
    bool shortened = false;
    QA_TRY(cli_read_prompt(run, words, text, &shortened, err));
    QA_TRY(given == NULL || text->n == 0 ? QA_OK : qa_text_append(given, text->data, text->n, err));
    QA_TRY(words->chat ? encode_question(run, words->system, chat, text, ids, err)
                       : encode_continued(run, words->no_special, text->data, text->n, ids, err));
    if (shortened && !words->chat && text->n > 0 && text->data[text->n - 1] != '\n') {
        warn_of_rendered(run, words, ids);
    }
    return ids->n > 0 ? QA_OK : qa_fail(err, QA_ERR_ARGUMENT, "the prompt has no tokens: give some text");
}
