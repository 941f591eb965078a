/* Which chat template a model folder has: recognition by the template's exact text. Names are in chat_family.c.
 *
 * A template is a program in a template language. It is not run here: the texts of the templates that
 * chat_render.c writes are known by their SHA-256 digests, and any other text is "unknown". A digest
 * can be checked against a published model with
 *     python3 -c "import
 * json,hashlib;print(hashlib.sha256(json.load(open('tokenizer_config.json'))['chat_template'].encode()).hexdigest())"
 */
#include "text/chat.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "base/try.h"
#include "base/warnings.h"
#include "io/file.h"
#include "io/input.h"
#include "text/tokenizer_config.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

static const char *const RESPONSE_ENDS[] = {[QA_RESPONSE_END_TOKEN] = "token", [QA_RESPONSE_END_TEMPLATE] = "template"};

const char *qa_response_end_name(qa_response_end which) { return RESPONSE_ENDS[which]; }

qa_status qa_response_end_by_name(qa_response_end *which, const char *name, qa_error *err) {
    for (int i = QA_RESPONSE_END_TOKEN; i <= QA_RESPONSE_END_TEMPLATE; i++) {
        if (strcmp(RESPONSE_ENDS[i], name) == 0) {
            *which = (qa_response_end)i;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "a response ends with its \"token\" or with its \"template\", not \"%s\"",
                   name);
}

/* ---- recognition ---- */

/* Digests of the templates as published. Where two texts stand for one template they render the same
 * dialogue to the same bytes; most differ only in how a newline is spelled inside a string. */
static const struct {
    qa_chat_template which;
    char digest[QA_SHA256_HEX_BYTES];
} KNOWN[] = {
    {QA_CHAT_LLAMA2, "e8d5b5a546d3f19df16a5320c614fab05bdc4edd50e850f1afd947b503ea41cf"},
    {QA_CHAT_LLAMA2, "1623de5159d584da0b6c78f86ae57b2328746122f2c58446ab7f84bce8c7c57f"},
    {QA_CHAT_LLAMA2, "9780fae5bfea3cfd7be37d328c6edfd296a8869be8131495bbe7eb37e780c88c"},
    {QA_CHAT_LLAMA3, "ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122"},
    {QA_CHAT_LLAMA3, "4f46ecd43418f216df8c26936c60e5d04bcc81db47db5d86fbe889f64212dd4c"},
    {QA_CHAT_LLAMA3_FIRST, "b48c47f6443892716176eb200bf4ef108f64e06ca26ed0fa8ebc0a4b3992fcb2"},
    {QA_CHAT_LLAMA31, "e10ca381b1ccc5cf9db52e371f3b6651576caee0a630b452e2816b2d404d4b65"},
    {QA_CHAT_LLAMA32, "5816fce10444e03c2e9ee1ef8a4a1ea61ae7e69e438613f3b17b69d0426223a4"},
    {QA_CHAT_CHATML, "153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3"},
    {QA_CHAT_CHATML, "fcf7a096fe99a48fd9ad2b250bf9237e96e8f48bffec1c7ea4d3f225176cd40e"},
    /* These two first set add_generation_prompt to false where it is not given. */
    {QA_CHAT_CHATML, "58c1a1f04baa7adaeaba1f90267c3d57d9396f0c1f0129bdde9e76d3c6784af7"},
    {QA_CHAT_CHATML, "d7b5b8c7b58f7a6bf868aa46a5f73ee976d7292f40fcb9c3e7a1defd8d235cfb"},
    {QA_CHAT_SMOLLM2, "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788"},
    {QA_CHAT_SMOLLM2, "de9cde7d1b0ca0cc87459a6673e0d12fb89c070bdb24e4a30b6e4d187b226221"},
    {QA_CHAT_QWEN2, "793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb"},
    {QA_CHAT_QWEN2, "f0206845c9ebc3abb4735d44f286eb81ce99238ad2accc710c6fc60e6cb8ccc8"},
    /* The Qwen2.5 base models: with the tools left out, the dialogue that Qwen2 writes. */
    {QA_CHAT_QWEN2, "44d5f08f3f72b837eaad09f13a54c1f9f4eb58d75240334548b7fd52a5437fa5"},
    {QA_CHAT_QWEN25, "cd8e9439f0570856fd70470bf8889ebd8b5d1107207f67a5efb46e342330527f"},
    {QA_CHAT_ZEPHYR, "66291cf0045c2425a3a667cf3cbb7af2b11f09e025c02f97245323ab79119362"},
    {QA_CHAT_MISTRAL, "26a59556925c987317ce5291811ba3b7f32ec4c647c400c6cc7e3a9993007ba7"},
    {QA_CHAT_MISTRAL_SYSTEM, "796853172235ab3aaa4810013ddfe2eab481bda3306dad4f700c00d436eed596"},
    {QA_CHAT_MISTRAL3, "e16746b40344d6c5b5265988e0328a0bf7277be86f1c335156eae07e29c82826"},
};

qa_chat_template qa_chat_template_by_digest(const char *hex) {
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
        if (strcmp(KNOWN[i].digest, hex) == 0) {
            return KNOWN[i].which;
        }
    }
    return QA_CHAT_UNKNOWN;
}

qa_status qa_chat_template_recognise(qa_chat_template *which, const char *template, size_t bytes, qa_error *err) {
    *which = QA_CHAT_UNKNOWN;
    char *copy = malloc(bytes + 1); /* room for one newline more */
    if (copy == NULL) {
        return QA_NO_MEMORY(err, "a chat template of %zu bytes", bytes);
    }
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (template[i] != '\r' || i + 1 == bytes || template[i + 1] != '\n') {
            copy[n++] = template[i];
        }
    }
    /* Published texts are digested with their last newline, where they have one; a copy may have lost it
     * or gained it. */
    if (n > 0 && copy[n - 1] == '\n') {
        n--;
    }
    char hex[QA_SHA256_HEX_BYTES];
    qa_sha256_hex(copy, n, hex);
    *which = qa_chat_template_by_digest(hex);
    if (*which == QA_CHAT_UNKNOWN) {
        copy[n] = '\n';
        qa_sha256_hex(copy, n + 1, hex);
        *which = qa_chat_template_by_digest(hex);
    }
    free(copy);
    return QA_OK;
}

/* ---- the model folder ---- */

enum { MAX_TEMPLATE_BYTES = 1 << 24 };
#define NAMED_TEMPLATES "additional_chat_templates"

/* The template inside tokenizer_config.json: a string, or a list of {"name", "template"} of which the
 * one named "default" counts. NULL: none. A list without "default" gives *unknown. */
static qa_status config_template(const json_t *config, const char *path, const json_t **template, bool *unknown,
                                 qa_error *err) {
    *template = NULL;
    const json_t *found = json_object_get(config, "chat_template");
    if (found == NULL || json_is_null(found)) {
        return QA_OK;
    }
    if (json_is_string(found)) {
        *template = found;
        return QA_OK;
    }
    if (!json_is_array(found)) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: \"chat_template\" must be a string or a list of named templates", path);
    }
    *unknown = json_array_size(found) > 0;
    for (size_t i = 0; i < json_array_size(found); i++) {
        const json_t *entry = json_array_get(found, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        const json_t *text = json_object_get(entry, "template");
        if (name == NULL || !json_is_string(text)) {
            return qa_fail(err, QA_ERR_FORMAT,
                           "%s: \"chat_template\"[%zu] must be {\"name\": string, \"template\": string}", path, i);
        }
        if (strcmp(name, "default") == 0) {
            *template = text;
        }
    }
    return QA_OK;
}

/* One of the places that a template may stand in. */
typedef struct template_place {
    const char *file; /* within the folder */
    qa_text text;
    bool there;
    qa_chat_template which; /* QA_CHAT_NONE: not there */
} template_place;

static qa_status read_config_place(template_place *it, const char *path, qa_error *err) {
    json_t *config = NULL;
    QA_TRY(qa_tokenizer_config_load(&config, path, err));
    const json_t *template = NULL;
    bool unknown = false;
    qa_status status = json_is_object(config) ? config_template(config, path, &template, &unknown, err)
                                              : qa_fail(err, QA_ERR_FORMAT, "%s: must be a JSON object", path);
    it->there = template != NULL;
    it->which = unknown ? QA_CHAT_UNKNOWN : QA_CHAT_NONE;
    if (status == QA_OK && template != NULL) {
        status = qa_text_append(&it->text, json_string_value(template), json_string_length(template), err);
    }
    json_decref(config);
    return status;
}

/* A file that is a template, or JSON that holds one. */
static qa_status read_place(template_place *it, const char *dir, bool json, qa_error *err) {
    char *path = qa_path_join(dir, it->file);
    qa_status status = path == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory") : QA_OK;
    bool there = false;
    QA_GOTO(done, status);
    QA_GOTO(done, qa_find_optional(&there, path, err));
    if (there && json) {
        status = read_config_place(it, path, err);
    } else if (there) {
        it->there = true;
        status = qa_read_file(&it->text, path, MAX_TEMPLATE_BYTES, err);
    }
    if (status == QA_OK && it->there) {
        status = qa_chat_template_recognise(&it->which, it->text.n == 0 ? "" : it->text.data, it->text.n, err);
    }
done:
    free(path);
    return status;
}

/* Without the last newline. */
static bool same_text(const qa_text *a, const qa_text *b) {
    const size_t n = a->n > 0 && a->data[a->n - 1] == '\n' ? a->n - 1 : a->n;
    const size_t m = b->n > 0 && b->data[b->n - 1] == '\n' ? b->n - 1 : b->n;
    return n == m && (n == 0 || memcmp(a->data, b->data, n) == 0);
}

/* Whether the folder of named templates holds any. */
static qa_status any_named(bool *any, const char *dir, qa_error *err) {
    char *path = qa_path_join(dir, NAMED_TEMPLATES);
    qa_status status = path == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory") : QA_OK;
    DIR *stream = NULL;
    bool there = false;
    *any = false;
    QA_GOTO(done, status);
    QA_GOTO(done, qa_find_optional(&there, path, err));
    stream = there ? opendir(path) : NULL;
    if (there && stream == NULL && errno != ENOTDIR) {
        status = qa_fail(err, QA_ERR_IO, "cannot read %s: %s", path, strerror(errno));
    }
    for (struct dirent *entry = stream == NULL ? NULL : readdir(stream); entry != NULL; entry = readdir(stream)) {
        const size_t n = strlen(entry->d_name);
        *any = *any || (n > 6 && strcmp(entry->d_name + n - 6, ".jinja") == 0);
    }
done:
    if (stream != NULL) {
        (void)closedir(stream);
    }
    free(path);
    return status;
}

/* chat_template.json, {"chat_template": ...}: the file of transformers' processors, which its tokenizers do not read.
 * It counts where there is no other template; one that says something else than the other file is an error. */
static qa_status check_processor_file(qa_chat_template *which, const char *dir, qa_error *err) {
    template_place it = {.file = "chat_template.json"};
    qa_status status = read_place(&it, dir, true, err);
    if (status == QA_OK && *which != QA_CHAT_NONE && it.which != QA_CHAT_NONE && it.which != *which) {
        status =
            qa_fail(err, QA_ERR_MISMATCH,
                    "%s/chat_template.json holds another chat template (%s) than the folder's chat_template.jinja or "
                    "tokenizer_config.json (%s): transformers' processors use the one, its tokenizers the other; keep "
                    "the one that the model was trained with",
                    dir, qa_chat_template_name(it.which), qa_chat_template_name(*which));
    }
    *which = it.which == QA_CHAT_NONE ? *which : it.which;
    qa_text_free(&it.text);
    return status;
}

/* The places in the order in which transformers 5 looks: the first that is there holds, and what another one says is
 * a warning. */
static qa_status choose_place(qa_chat_template *which, template_place *places, size_t n, const char *dir,
                              qa_warnings *warnings, qa_error *err) {
    const template_place *used = NULL;
    bool named = false;
    for (size_t i = 0; i < n; i++) {
        QA_TRY(read_place(&places[i], dir, i + 1 == n, err));
        if (used == NULL && places[i].which != QA_CHAT_NONE) {
            used = &places[i];
        } else if (places[i].there && !(used->which == places[i].which && used->which != QA_CHAT_UNKNOWN) &&
                   !same_text(&used->text, &places[i].text)) {
            qa_warn(warnings,
                    "%s: %s (%s) and %s (%s) hold different chat templates: the first is used, as in transformers 5",
                    dir, used->file, qa_chat_template_name(used->which), places[i].file,
                    qa_chat_template_name(places[i].which));
        }
    }
    *which = used == NULL ? QA_CHAT_NONE : used->which;
    QA_TRY(any_named(&named, dir, err));
    if (named && (used == NULL || used == &places[n - 1])) {
        *which = used == NULL ? QA_CHAT_UNKNOWN : used->which;
        qa_warn(warnings,
                "%s: " NAMED_TEMPLATES
                " holds named chat templates and none called default, so that transformers 5 uses "
                "none unless it is named; %s",
                dir, used == NULL ? "none is used here" : "here that of tokenizer_config.json is used");
    }
    return QA_OK;
}

qa_status qa_chat_template_compare(qa_chat_template *which, const char *dir, qa_warnings *warnings, qa_error *err) {
    template_place places[] = {
        {.file = NAMED_TEMPLATES "/default.jinja"}, {.file = "chat_template.jinja"}, {.file = "tokenizer_config.json"}};
    enum { PLACES = sizeof places / sizeof *places };
    *which = QA_CHAT_NONE;
    qa_status status = choose_place(which, places, PLACES, dir, warnings, err);
    if (status == QA_OK) {
        status = check_processor_file(which, dir, err);
    }
    for (size_t i = 0; i < PLACES; i++) {
        qa_text_free(&places[i].text);
    }
    return status;
}

qa_status qa_chat_template_detect(qa_chat_template *which, const char *dir, qa_error *err) {
    return qa_chat_template_compare(which, dir, NULL, err);
}
