/* Which chat template a model's folder has: the files in which transformers 5 looks for one, in its order, and the
 * templates that a folder has beside the one called default. What a text is called says chat_texts.c. */
#include "text/chat_folder.h"

#include "base/buffer.h"
#include "base/try.h"
#include "base/warnings.h"
#include "io/file.h"
#include "io/input.h"
#include "text/chat_texts.h"
#include "text/tokenizer_config.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEMPLATE_BYTES = 1 << 24, NAMES_BYTES = 256 };
#define NAMED_TEMPLATES "additional_chat_templates"
static const char DEFAULT[] = "default";

/* One of the places that a template may stand in. */
typedef struct template_place {
    const char *file; /* within the folder; NULL: not looked at */
    qa_text text;
    bool there;
    qa_chat_template which; /* QA_CHAT_NONE: not there */
} template_place;

/* The named templates that a folder has, "tool_use, rag", and whether they are more than the default one. */
typedef struct template_names {
    char text[NAMES_BYTES];
} template_names;

static void add_template_name(template_names *names, const char *name, size_t bytes) {
    const size_t used = strlen(names->text);
    (void)snprintf(names->text + used, sizeof names->text - used, "%s%.*s", used == 0 ? "" : ", ", (int)bytes, name);
}

/* The template of that name inside tokenizer_config.json or chat_template.json: a string, which is the default one, or
 * a list of {"name", "template"}. NULL: none. */
static qa_status config_template(const json_t *config, const char *path, const char *name, const json_t **template,
                                 template_names *names, qa_error *err) {
    *template = NULL;
    const json_t *found = json_object_get(config, "chat_template");
    if (found == NULL || json_is_null(found)) {
        return QA_OK;
    }
    if (json_is_string(found)) {
        *template = strcmp(name, DEFAULT) == 0 ? found : NULL;
        return QA_OK;
    }
    QA_FAIL_IF(!json_is_array(found), err, QA_ERR_FORMAT,
               "%s: \"chat_template\" must be a string or a list of named templates", path);
    for (size_t i = 0; i < json_array_size(found); i++) {
        const json_t *entry = json_array_get(found, i);
        const char *own = json_string_value(json_object_get(entry, "name"));
        const json_t *text = json_object_get(entry, "template");
        QA_FAIL_IF(own == NULL || !json_is_string(text), err, QA_ERR_FORMAT,
                   "%s: \"chat_template\"[%zu] must be {\"name\": string, \"template\": string}", path, i);
        add_template_name(names, own, strlen(own));
        *template = strcmp(own, name) == 0 ? text : *template;
    }
    return QA_OK;
}

static qa_status read_config_place(template_place *it, const char *path, const char *name, template_names *names,
                                   qa_error *err) {
    json_t *config = NULL;
    QA_TRY(qa_tokenizer_config_load(&config, path, err));
    const json_t *template = NULL;
    qa_status status = json_is_object(config) ? config_template(config, path, name, &template, names, err)
                                              : qa_fail(err, QA_ERR_FORMAT, "%s: must be a JSON object", path);
    it->there = template != NULL;
    if (status == QA_OK && template != NULL) {
        status = qa_text_append(&it->text, json_string_value(template), json_string_length(template), err);
    }
    json_decref(config);
    return status;
}

static bool ends_so(const char *path, const char *end) {
    const size_t n = strlen(path), m = strlen(end);
    return n > m && strcmp(path + n - m, end) == 0;
}

/* A file that is a template, or JSON that holds some. */
static qa_status read_template_file(template_place *it, const char *path, const char *name, template_names *names,
                                    qa_error *err) {
    it->there = true;
    QA_TRY(ends_so(path, ".json") ? read_config_place(it, path, name, names, err)
                                  : qa_read_file(&it->text, path, MAX_TEMPLATE_BYTES, err));
    return it->there ? qa_chat_template_recognise(&it->which, it->text.n == 0 ? "" : it->text.data, it->text.n, err)
                     : QA_OK;
}

static qa_status read_place(template_place *it, const char *dir, const char *name, template_names *names,
                            qa_error *err) {
    char *path = NULL;
    if (it->file == NULL) {
        return QA_OK;
    }
    QA_TRY(qa_join_path(&path, dir, it->file, err));
    bool there = false;
    qa_status status = qa_find_optional(&there, path, err);
    if (status == QA_OK && there) {
        status = read_template_file(it, path, name, names, err);
    }
    free(path);
    return status;
}

/* Without the last newline. */
static bool same_text(const qa_text *a, const qa_text *b) {
    const size_t n = a->n > 0 && a->data[a->n - 1] == '\n' ? a->n - 1 : a->n;
    const size_t m = b->n > 0 && b->data[b->n - 1] == '\n' ? b->n - 1 : b->n;
    return n == m && (n == 0 || memcmp(a->data, b->data, n) == 0);
}

static bool same_template(const template_place *a, const template_place *b) {
    return (a->which == b->which && a->which != QA_CHAT_UNKNOWN) || same_text(&a->text, &b->text);
}

/* The names of what the folder of named templates holds. */
static qa_status list_named(template_names *names, const char *dir, qa_error *err) {
    char *path = NULL;
    qa_status status = QA_OK;
    DIR *stream = NULL;
    bool there = false;
    QA_TRY(qa_join_path(&path, dir, NAMED_TEMPLATES, err));
    QA_GOTO(done, qa_find_optional(&there, path, err));
    stream = there ? opendir(path) : NULL;
    if (there && stream == NULL && errno != ENOTDIR) {
        status = qa_fail(err, QA_ERR_IO, "cannot read %s: %s", path, strerror(errno));
    }
    for (struct dirent *entry = stream == NULL ? NULL : readdir(stream); entry != NULL; entry = readdir(stream)) {
        if (ends_so(entry->d_name, ".jinja") && strcmp(entry->d_name, "default.jinja") != 0) {
            add_template_name(names, entry->d_name, strlen(entry->d_name) - strlen(".jinja"));
        }
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
static qa_status check_processor_file(const template_place **used, template_place *it, const char *dir,
                                      const char *name, template_names *names, qa_error *err) {
    QA_TRY(read_place(it, dir, name, names, err));
    QA_FAIL_IF(it->there && *used != NULL && !same_template(*used, it), err, QA_ERR_MISMATCH,
               "%s/chat_template.json holds another chat template (%s) than the folder's %s (%s): "
               "transformers' processors use the one, its tokenizers the other; keep the one that the model "
               "was trained with, or name it by --chat-template",
               dir, qa_chat_template_name(it->which), (*used)->file, qa_chat_template_name((*used)->which));
    *used = it->there && *used == NULL ? it : *used;
    return QA_OK;
}

enum { IN_NAMED_FOLDER, IN_JINJA, IN_CONFIG, IN_PROCESSOR, PLACES };

/* The places in the order in which transformers 5 looks: the first that is there holds, and what another one says is
 * a warning. */
static qa_status choose_place(const template_place **used, template_place *places, const char *dir, const char *name,
                              template_names *names, qa_warnings *warnings, qa_error *err) {
    *used = NULL;
    for (size_t i = IN_NAMED_FOLDER; i <= IN_CONFIG; i++) {
        QA_TRY(read_place(&places[i], dir, name, names, err));
        if (*used == NULL && places[i].there) {
            *used = &places[i];
        } else if (places[i].there && !same_template(*used, &places[i])) {
            qa_warn(warnings,
                    "%s: %s (%s) and %s (%s) hold different chat templates: the first is used, as in transformers 5",
                    dir, (*used)->file, qa_chat_template_name((*used)->which), places[i].file,
                    qa_chat_template_name(places[i].which));
        }
    }
    const bool listed = names->text[0] != '\0';
    QA_TRY(list_named(names, dir, err));
    if (strcmp(name, DEFAULT) == 0 && !listed && names->text[0] != '\0' &&
        (*used == NULL || *used == &places[IN_CONFIG])) {
        qa_warn(warnings,
                "%s: " NAMED_TEMPLATES " holds named chat templates and none called default, so that transformers 5 "
                "uses none unless it is named; %s",
                dir, *used == NULL ? "none is used here" : "here that of tokenizer_config.json is used");
    }
    return check_processor_file(used, &places[IN_PROCESSOR], dir, name, names, err);
}

qa_status qa_chat_source_in(qa_chat_source *source, const char *dir, const char *name, qa_warnings *warnings,
                            qa_error *err) {
    template_place places[PLACES] = {
        [IN_NAMED_FOLDER] = {.file = NULL},
        [IN_JINJA] = {.file = "chat_template.jinja"},
        [IN_CONFIG] = {.file = "tokenizer_config.json"},
        [IN_PROCESSOR] = {.file = "chat_template.json"},
    };
    char in_folder[NAMES_BYTES];
    template_names names = {""};
    const template_place *used = NULL;
    const char *wanted = name == NULL ? DEFAULT : name;
    *source = (qa_chat_source){.which = QA_CHAT_NONE};
    (void)snprintf(in_folder, sizeof in_folder, NAMED_TEMPLATES "/%s.jinja", wanted);
    places[IN_NAMED_FOLDER].file = in_folder;
    if (name != NULL) {
        places[IN_JINJA].file = NULL; /* it has no names */
    }
    qa_status status = choose_place(&used, places, dir, wanted, &names, warnings, err);
    if (status == QA_OK && used != NULL) {
        source->which = used->which;
        (void)snprintf(source->file, sizeof source->file, "%s", used->file);
        status = qa_text_append(&source->text, used->text.n == 0 ? "" : used->text.data, used->text.n, err);
    } else if (status == QA_OK && names.text[0] != '\0') {
        source->which = QA_CHAT_UNKNOWN; /* named ones only */
        (void)snprintf(source->file, sizeof source->file, "%s", names.text);
    }
    for (size_t i = 0; i < PLACES; i++) {
        qa_text_free(&places[i].text);
    }
    return status;
}

qa_status qa_chat_source_read(qa_chat_source *source, const char *path, qa_error *err) {
    template_place it = {.file = path};
    template_names names = {""};
    *source = (qa_chat_source){.which = QA_CHAT_NONE};
    qa_status status = read_template_file(&it, path, DEFAULT, &names, err);
    if (status == QA_OK && !it.there) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s: it holds no \"chat_template\"%s%s", path,
                         names.text[0] == '\0' ? "" : " called default, but ", names.text);
    }
    source->which = it.which;
    source->text = it.text;
    (void)snprintf(source->file, sizeof source->file, "%s", path);
    return status;
}

qa_status qa_chat_template_compare(qa_chat_template *which, const char *dir, qa_warnings *warnings, qa_error *err) {
    qa_chat_source source;
    *which = QA_CHAT_NONE;
    const qa_status status = qa_chat_source_in(&source, dir, NULL, warnings, err);
    *which = status == QA_OK ? source.which : QA_CHAT_NONE;
    qa_text_free(&source.text);
    return status;
}

qa_status qa_chat_template_detect(qa_chat_template *which, const char *dir, qa_error *err) {
    return qa_chat_template_compare(which, dir, NULL, err);
}
