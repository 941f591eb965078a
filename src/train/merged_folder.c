/* See merged_folder.h. */
#define _XOPEN_SOURCE 700 /* realpath is in POSIX only with the XSI option */
#include "train/merged_folder.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/copy.h"
#include "io/dtype.h"
#include "io/file.h"
#include "io/folder.h"
#include "io/held_folder.h"
#include "io/input.h"
#include "io/json_edit.h"
#include "io/json_writer.h"
#include "model/weight_files.h"
#include "text/chat_save.h"
#include "train/model_folder.h"
#include "train/record.h"
#include "train/run_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t MOST_CONFIG_BYTES = (size_t)1 << 26;
static const char story_name[] = "merge.json", card_name[] = "README.md", config_name[] = "config.json";

/* ---- what stands in the folder ---- */

/* Beside the tokenizer's files (model_folder.h). */
static const char *const copied_names[] = {"generation_config.json", "vocab.txt", "spiece.model",
                                           "sentencepiece.bpe.model", "additional_chat_templates"};
static const char *const copied_beginnings[] = {"LICENSE", "LICENCE", "NOTICE", "USE_POLICY"};
static const char *const copied_endings[] = {".py", ".tiktoken"};

static bool has_ending(const char *name, const char *end) {
    const size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

static bool has_beginning(const char *name, const char *beginning) {
    return strncmp(name, beginning, strlen(beginning)) == 0;
}

static bool is_copied_by_name(const char *name) {
    bool copied = false;
    for (size_t i = 0; qa_tokenizer_file_names[i] != NULL; i++) {
        copied = copied || strcmp(name, qa_tokenizer_file_names[i]) == 0;
    }
    for (size_t i = 0; i < sizeof copied_names / sizeof *copied_names; i++) {
        copied = copied || strcmp(name, copied_names[i]) == 0;
    }
    return copied;
}

static bool is_copied(const char *name) {
    bool copied = is_copied_by_name(name);
    for (size_t i = 0; i < sizeof copied_beginnings / sizeof *copied_beginnings; i++) {
        copied = copied || has_beginning(name, copied_beginnings[i]);
    }
    for (size_t i = 0; i < sizeof copied_endings / sizeof *copied_endings; i++) {
        copied = copied || has_ending(name, copied_endings[i]);
    }
    return copied;
}

/* The one file, the index, model-NNNNN-of-NNNNN.safetensors. */
static bool is_weights(const char *name) {
    static const char digits[] = "0123456789";
    const char *at = name + (has_beginning(name, "model-") ? 6 : 0);
    const size_t shard = strspn(at, digits);
    const char *of = at + shard, *count = of + (has_beginning(of, "-of-") ? 4 : 0);
    const size_t shards = strspn(count, digits);
    return strcmp(name, "model.safetensors") == 0 || strcmp(name, "model.safetensors.index.json") == 0 ||
           (at > name && shard > 0 && count > of && shards > 0 && strcmp(count + shards, ".safetensors") == 0);
}

/* What is a merge's whoever wrote it. */
static bool is_merged_by_name(const char *name) {
    return is_copied_by_name(name) || is_weights(name) || strcmp(name, config_name) == 0 ||
           strcmp(name, story_name) == 0 || strcmp(name, card_name) == 0;
}

bool qa_merged_folder_writes(const char *name) { return is_copied(name) || is_merged_by_name(name); }

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

/* Calls visit for the entries of a folder. */
static qa_status visit_entries(const char *dir, qa_status (*visit)(void *user, const char *name, qa_error *err),
                               void *user, qa_error *err) {
    DIR *stream = qa_list_folder(dir);
    QA_FAIL_IF(stream == NULL, err, QA_ERR_IO, "cannot read the folder %s", dir);
    qa_status status = QA_OK;
    for (struct dirent *entry = readdir(stream); status == QA_OK && entry != NULL; entry = readdir(stream)) {
        status = is_dots(entry->d_name) ? QA_OK : visit(user, entry->d_name, err);
    }
    (void)closedir(stream);
    return status;
}

/* ---- beginning and ending ---- */

static qa_status count_entry(void *user, const char *name, qa_error *err) {
    (void)name;
    (void)err;
    ++*(size_t *)user;
    return QA_OK;
}

typedef struct entry_move {
    const char *from, *to;
} entry_move;

/* What no merge wrote, or somebody else may have written: a program in Python, a licence. */
static qa_status move_foreign(void *user, const char *name, qa_error *err) {
    const entry_move *move = user;
    char *from = NULL, *to = NULL;
    qa_status status = QA_OK;
    if (is_merged_by_name(name) || qa_holds(move->to, name)) {
        return QA_OK;
    }
    QA_GOTO(done, qa_join_path(&from, move->from, name, err));
    QA_GOTO(done, qa_join_path(&to, move->to, name, err));
    status = qa_rename(from, to, err);
done:
    free(from);
    free(to);
    return status;
}

/* The overwritten folder, once another has its name: what is not the old merge's goes there, the rest goes. */
static qa_status forget_replaced(const qa_merged_folder *folder, qa_error *err) {
    entry_move move = {folder->replaced, folder->out};
    QA_TRY(visit_entries(folder->replaced, move_foreign, &move, err));
    return qa_remove_tree(folder->replaced, err);
}

/* A merge that was killed between the two renames is undone, one that was killed behind them is finished. */
static qa_status settle_killed(const qa_merged_folder *folder, qa_error *err) {
    return !qa_path_exists(folder->replaced) ? QA_OK
           : qa_path_exists(folder->out)     ? forget_replaced(folder, err)
                                             : qa_rename(folder->replaced, folder->out, err);
}

static qa_status check_out(qa_merged_folder *folder, bool overwrite, qa_error *err) {
    size_t entries = 0;
    if (!qa_path_exists(folder->out)) {
        return QA_OK;
    }
    QA_FAIL_IF(!qa_path_is_dir(folder->out), err, QA_ERR_EXISTS, "%s is there, and no folder", folder->out);
    QA_TRY(visit_entries(folder->out, count_entry, &entries, err));
    if (entries == 0) {
        return QA_OK;
    }
    const bool merged = qa_holds(folder->out, story_name);
    QA_FAIL_IF(!merged, err, QA_ERR_EXISTS,
               "%s holds something that is no merged model (it has no %s); choose another "
               "folder",
               folder->out, story_name);
    QA_FAIL_IF(!overwrite, err, QA_ERR_EXISTS, "%s holds a merged model; --overwrite replaces it", folder->out);
    folder->replaces = true;
    return QA_OK;
}

/* parent/.NAME.tmp-merge and its like */
static qa_status hidden_path(char **path, const char *out, const char *ending, qa_error *err) {
    char *parent = NULL;
    qa_text name = {0};
    const char *slash = strrchr(out, '/');
    qa_status status = QA_OK;
    QA_GOTO(done, qa_folder_of(&parent, out, err));
    QA_GOTO(done, qa_text_append_z(&name, ".", err));
    QA_GOTO(done, qa_text_append_z(&name, slash == NULL ? out : slash + 1, err));
    QA_GOTO(done, qa_text_append_z(&name, ending, err));
    status = qa_join_path(path, parent, name.data, err);
done:
    qa_text_free(&name);
    free(parent);
    return status;
}

/* The merged folder takes the place of the folder that a link leads to, not of the link. */
static qa_status follow_link(qa_merged_folder *folder, qa_error *err) {
    struct stat info;
    if (lstat(folder->out, &info) != 0 || !S_ISLNK(info.st_mode)) {
        return QA_OK;
    }
    char *target = realpath(folder->out, NULL);
    QA_FAIL_IF(target == NULL, err, QA_ERR_EXISTS, "%s is a link to a folder that is not there; remove the link",
               folder->out);
    free(folder->out);
    folder->out = target;
    return QA_OK;
}

/* A mounted folder cannot be replaced by one rename: better said before hours of work than behind them. */
static qa_status refuse_mount(const char *out, const char *parent, qa_error *err) {
    struct stat info, above;
    QA_FAIL_IF(stat(out, &info) == 0 && stat(parent, &above) == 0 && info.st_dev != above.st_dev, err, QA_ERR_ARGUMENT,
               "%s is mounted, and a folder that appears as a whole cannot take its place; name a folder in it", out);
    return QA_OK;
}

static qa_status make_temporary(qa_merged_folder *folder, qa_error *err) {
    int lock = -1;
    QA_TRY(qa_run_folder_lock(&lock, folder->temporary, false, err)); /* nobody else is at it */
    const qa_status status = qa_remove_tree(folder->temporary, err);
    if (lock >= 0) {
        (void)close(lock);
    }
    QA_TRY(status);
    return qa_run_folder_lock(&folder->lock, folder->temporary, false, err);
}

qa_status qa_merged_folder_begin(qa_merged_folder *folder, const char *out_dir, bool overwrite, qa_error *err) {
    *folder = (qa_merged_folder){.lock = -1};
    size_t n = strlen(out_dir);
    while (n > 1 && out_dir[n - 1] == '/') {
        n--;
    }
    QA_FAIL_IF(n == 0, err, QA_ERR_ARGUMENT, "expected a folder, found \"\"");
    QA_TRY(QA_COPY(folder->out, out_dir, err, "a path"));
    folder->out[n] = '\0';
    QA_FAIL_IF(strcmp(folder->out, "/") == 0 || has_ending(folder->out, "/.") || has_ending(folder->out, "/..") ||
                   is_dots(folder->out),
               err, QA_ERR_ARGUMENT, "%s: name the folder itself, which appears when it is complete", out_dir);
    QA_TRY(follow_link(folder, err));
    char *parent = NULL;
    QA_TRY(qa_folder_of(&parent, folder->out, err));
    qa_status status = qa_make_dirs(parent, err);
    status = status == QA_OK ? refuse_mount(folder->out, parent, err) : status;
    free(parent);
    QA_TRY(status);
    QA_TRY(hidden_path(&folder->temporary, folder->out, ".tmp-merge", err));
    QA_TRY(hidden_path(&folder->replaced, folder->out, ".tmp-replaced", err));
    QA_TRY(make_temporary(folder, err));
    QA_TRY(settle_killed(folder, err));
    return check_out(folder, overwrite, err);
}

qa_status qa_merged_folder_commit(qa_merged_folder *folder, qa_error *err) {
    if (folder->replaces) {
        QA_TRY(qa_rename(folder->out, folder->replaced, err));
    }
    QA_TRY(qa_rename(folder->temporary, folder->out, err));
    (void)close(folder->lock);
    folder->lock = -1;
    return folder->replaces ? forget_replaced(folder, err) : QA_OK;
}

void qa_merged_folder_end(qa_merged_folder *folder) {
    qa_error ignored = {0};
    if (folder->lock >= 0) { /* nothing more can be done where this fails; the next merge tries again */
        if (qa_remove_tree(folder->temporary, &ignored) == QA_OK) {
            ignored = (qa_error){0};
        }
        (void)close(folder->lock);
        if (folder->replaces && !qa_path_exists(folder->out) && qa_path_exists(folder->replaced) &&
            qa_rename(folder->replaced, folder->out, &ignored) == QA_OK) {
            ignored = (qa_error){0};
        }
    }
    free(folder->out);
    free(folder->temporary);
    free(folder->replaced);
    *folder = (qa_merged_folder){.lock = -1};
}

/* ---- filling ---- */

static qa_status copy_entry(void *user, const char *name, qa_error *err) {
    const entry_move *move = user;
    char *from = NULL;
    qa_status status = QA_OK;
    if (!is_copied(name)) {
        return QA_OK;
    }
    QA_TRY(qa_join_path(&from, move->from, name, err));
    if (!qa_path_is_dir(from)) {
        status = qa_copy_optional(move->from, move->to, name, err);
    } else if (strcmp(name, "additional_chat_templates") == 0) {
        char *to = NULL;
        status = qa_join_path(&to, move->to, name, err);
        status = status == QA_OK ? qa_make_dirs(to, err) : status;
        DIR *stream = status == QA_OK ? qa_list_folder(from) : NULL;
        for (struct dirent *entry = stream == NULL ? NULL : readdir(stream); status == QA_OK && entry != NULL;
             entry = readdir(stream)) {
            status = has_ending(entry->d_name, ".jinja") ? qa_copy_optional(from, to, entry->d_name, err) : QA_OK;
        }
        if (stream != NULL) {
            (void)closedir(stream);
        }
        free(to);
    }
    free(from);
    return status;
}

static const char *torch_name(qa_dtype dtype) {
    return dtype == QA_DTYPE_BF16  ? "\"bfloat16\""
           : dtype == QA_DTYPE_F16 ? "\"float16\""
           : dtype == QA_DTYPE_F64 ? "\"float64\""
                                   : "\"float32\"";
}

/* The base's bytes, but for the dtype under either of its names. One that says none is read in whatever precision its
 * reader takes, before and now. */
static qa_status write_config(const char *base, const char *dir, qa_dtype dtype, qa_error *err) {
    char *from = NULL, *to = NULL;
    qa_text text = {0};
    bool found = false;
    qa_status status = QA_OK;
    QA_GOTO(done, qa_join_path(&from, base, config_name, err));
    QA_GOTO(done, qa_join_path(&to, dir, config_name, err));
    QA_GOTO(done, qa_read_file(&text, from, MOST_CONFIG_BYTES, err));
    QA_GOTO(done, qa_json_edit_member(&text, "torch_dtype", torch_name(dtype), &found, err));
    QA_GOTO(done, qa_json_edit_member(&text, "dtype", torch_name(dtype), &found, err));
    status = qa_write_file(to, text.data, text.n, err);
done:
    qa_text_free(&text);
    free(from);
    free(to);
    return status;
}

qa_status qa_tuned_folder_copies(const char *base_dir, const char *dir, qa_dtype dtype, const json_t *chat,
                                 bool *template_written, qa_error *err) {
    entry_move move = {base_dir, dir};
    QA_TRY(write_config(base_dir, dir, dtype, err));
    QA_TRY(visit_entries(base_dir, copy_entry, &move, err));
    return qa_chat_record_save(chat, dir, template_written, err);
}

qa_status qa_merged_folder_fill(qa_merged_folder *folder, const qa_model *model, qa_dtype dtype, size_t shard_bytes,
                                const json_t *chat, bool *template_written, qa_error *err) {
    QA_TRY(qa_weight_files_copy(model, folder->temporary, dtype, shard_bytes, err));
    return qa_tuned_folder_copies(model->dir, folder->temporary, dtype, chat, template_written, err);
}

/* ---- telling ---- */

static qa_status write_merge_card(const char *path, const qa_merge_story *story, qa_error *err) {
    const qa_merge_rounding *r = &story->rounding;
    const char *method = qa_method_name(story->objective->method);
    const bool own = strcmp(method, "qadapter") == 0;
    qa_text text = {0};
    char line[1024];
    qa_status status = QA_OK;
    QA_GOTO(done, qa_text_append_z(
                      &text, "---\nlibrary_name: transformers\npipeline_tag: text-generation\nbase_model: ", err));
    QA_GOTO(done, qa_json_append_string(&text, story->base, strlen(story->base), err));
    (void)snprintf(line, sizeof line, "\ntags:\n- qadapter%s%s\n---\n\n# Merged model\n\nThe weights of ",
                   own ? "" : "\n- ", own ? "" : method);
    QA_GOTO(done, qa_text_append_z(&text, line, err));
    QA_GOTO(done, qa_text_append_z(&text, story->base, err));
    QA_GOTO(done, qa_text_append_z(&text, "\nwith the LoRA adapter ", err));
    QA_GOTO(done, qa_text_append_z(&text, story->adapter, err));
    (void)snprintf(line, sizeof line,
                   " (method %s) added,\nW + s B A, by qadapter " QA_VERSION
                   ", stored in %s. Its policy, the softmax of "
                   "its logits, is the adapter's\ncustomised policy but for rounding: on %zu tokens of %zu responses "
                   "(",
                   method, qa_dtype_name(story->dtype), r->tokens, r->responses);
    QA_GOTO(done, qa_text_append_z(&text, line, err));
    QA_GOTO(done, qa_text_append_z(&text, story->measured_on, err));
    (void)snprintf(line, sizeof line,
                   ")\nlog-probabilities moved by %.2g nats a token (at most %.2g) and %.2g a response (at most "
                   "%.2g).\n\n| model | fingerprint |\n| --- | --- |\n| base | %s |\n| adapter | %s |\n| this one | %s "
                   "|\n\n",
                   r->mean_token, r->largest_token, r->mean_response, r->largest_response, story->base_fingerprint,
                   story->adapter_fingerprint, story->merged_fingerprint);
    QA_GOTO(done, qa_text_append_z(&text, line, err));
    (void)snprintf(line, sizeof line,
                   "    from transformers import AutoModelForCausalLM\n"
                   "    model = AutoModelForCausalLM.from_pretrained(DIR, dtype=%s)\n",
                   torch_name(story->dtype));
    QA_GOTO(done, qa_text_append_z(&text, line, err));
    status = qa_write_file(path, text.data, text.n, err);
done:
    qa_text_free(&text);
    return status;
}

static qa_status write_story(const char *path, const qa_merge_story *story, qa_error *err) {
    const qa_merge_rounding *r = &story->rounding;
    qa_record b = {.object = json_object()}, rounding = {.object = json_object()};
    json_t *root = NULL, *of_rounding = NULL;
    qa_record_set_string(&rounding, "measured_on", story->measured_on);
    qa_record_set_size(&rounding, "tokens", r->tokens);
    qa_record_set_size(&rounding, "responses", r->responses);
    qa_record_set_real(&rounding, "mean_per_token", r->mean_token);
    qa_record_set_real(&rounding, "largest_per_token", r->largest_token);
    qa_record_set_real(&rounding, "mean_per_response", r->mean_response);
    qa_record_set_real(&rounding, "largest_per_response", r->largest_response);
    qa_status status = qa_record_finish(&rounding, &of_rounding, story_name, err);
    qa_record_set_string(&b, "base_model", story->base);
    qa_record_set_string(&b, "base_fingerprint", story->base_fingerprint);
    qa_record_set_string(&b, "adapter", story->adapter);
    qa_record_set_string(&b, "adapter_fingerprint", story->adapter_fingerprint);
    qa_record_set_string(&b, "fingerprint", story->merged_fingerprint);
    qa_record_set_string(&b, "method", qa_method_name(story->objective->method));
    qa_record_set_string(&b, "dtype", qa_dtype_name(story->dtype));
    qa_record_set(&b, "rounding", of_rounding);
    qa_record_set_string(&b, "qadapter_version", QA_VERSION);
    status = status == QA_OK ? qa_record_finish(&b, &root, story_name, err) : status;
    status = status == QA_OK ? qa_json_save(root, path, err) : status;
    json_decref(root);
    return status;
}

qa_status qa_merged_folder_tell(qa_merged_folder *folder, const qa_merge_story *story, qa_error *err) {
    char *card = NULL, *path = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, qa_join_path(&card, folder->temporary, card_name, err));
    QA_GOTO(done, qa_join_path(&path, folder->temporary, story_name, err));
    QA_GOTO(done, write_merge_card(card, story, err));
    status = write_story(path, story, err);
done:
    free(card);
    free(path);
    return status;
}
