/* See chat_save.h. */
#include "text/chat_save.h"

#include "base/buffer.h"
#include "base/try.h"
#include "io/file.h"
#include "io/input.h"
#include "io/json_edit.h"
#include "text/chat.h"
#include "text/chat_folder.h"
#include "text/chat_texts.h"

#include <stdlib.h>
#include <string.h>

static const size_t MOST_CONFIG_BYTES = (size_t)1 << 24;

/* Takes "chat_template" out of a JSON file of the folder, which has to have one of that name. */
static qa_status drop_template_of(const char *dir, const char *name, qa_error *err) {
    char *path = NULL;
    qa_text text = {0};
    bool there = false, found = false;
    qa_status status = QA_OK;
    QA_TRY(qa_join_path(&path, dir, name, err));
    QA_GOTO(done, qa_find_optional(&there, path, err));
    if (there) {
        QA_GOTO(done, qa_read_file(&text, path, MOST_CONFIG_BYTES, err));
        QA_GOTO(done, qa_prefixed(qa_json_edit_member(&text, "chat_template", NULL, &found, err), err, "%s: ", path));
        status = found ? qa_write_file(path, text.data, text.n, err) : QA_OK;
    }
done:
    qa_text_free(&text);
    free(path);
    return status;
}

static qa_status remove_in(const char *dir, const char *name, qa_error *err) {
    char *path = NULL;
    QA_TRY(qa_join_path(&path, dir, name, err));
    const qa_status status = qa_remove_tree(path, err);
    free(path);
    return status;
}

static qa_status write_template(const char *text, const char *dir, qa_error *err) {
    char *path = NULL;
    QA_TRY(remove_in(dir, "additional_chat_templates", err));
    QA_TRY(remove_in(dir, "chat_template.json", err));
    QA_TRY(drop_template_of(dir, "tokenizer_config.json", err));
    QA_TRY(qa_join_path(&path, dir, "chat_template.jinja", err));
    const qa_status status = qa_write_file(path, text, strlen(text), err);
    free(path);
    return status;
}

/* Without the newline at the end, which the template language drops. */
static size_t template_bytes(const char *text, size_t n) { return n > 0 && text[n - 1] == '\n' ? n - 1 : n; }

qa_status qa_chat_record_save(const json_t *record, const char *dir, bool *written, qa_error *err) {
    const char *name = json_string_value(json_object_get(record, "chat_template"));
    const char *text = qa_chat_recorded_text(record);
    qa_chat_template which = QA_CHAT_UNKNOWN;
    qa_chat_source there = {0};
    qa_status status = QA_OK;
    *written = false;
    if (name != NULL && text == NULL) {
        QA_TRY(qa_chat_template_by_name(&which, name, err));
        text = qa_chat_builtin_text(which);
    }
    if (text == NULL) {
        return QA_OK;
    }
    QA_TRY(qa_chat_source_in(&there, dir, NULL, NULL, err));
    const size_t n = template_bytes(text, strlen(text));
    const bool same = (which == there.which && which != QA_CHAT_UNKNOWN) ||
                      (there.text.data != NULL && n == template_bytes(there.text.data, there.text.n) &&
                       memcmp(text, there.text.data, n) == 0);
    if (!same && !(there.which == QA_CHAT_NONE && which == QA_CHAT_PLAIN)) {
        status = write_template(text, dir, err);
        *written = status == QA_OK;
    }
    qa_text_free(&there.text);
    return status;
}
