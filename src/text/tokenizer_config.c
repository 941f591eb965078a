/* See tokenizer_config.h. */
#include "text/tokenizer_config.h"

#include "base/c_locale.h"
#include "base/try.h"
#include "io/file.h"
#include "io/input.h"
#include "io/json.h"

enum { MAX_CONFIG_BYTES = 1 << 28 };

qa_status qa_tokenizer_config_load(json_t **root, const char *path, qa_error *err) {
    qa_text text = {0};
    qa_status status = QA_OK;
    *root = NULL;
    QA_GOTO(out, qa_read_file(&text, path, MAX_CONFIG_BYTES, err));
    const char *foreign = qa_foreign_content(text.data, text.n);
    if (foreign != NULL) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s is %s", path, foreign);
        goto out;
    }
    status = qa_json_parse(root, text.data, text.n, path, 0, err);
    if (status == QA_ERR_FORMAT) {
        /* Anything else that is wrong with the file is wrong this time, too, and keeps its message. */
        const qa_c_locale before = qa_c_locale_enter();
        *root = json_loadb(text.n == 0 ? "" : text.data, text.n,
                           JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
        qa_c_locale_leave(before);
        status = *root == NULL ? QA_ERR_FORMAT : QA_OK;
    }
out:
    qa_text_free(&text);
    return status;
}
