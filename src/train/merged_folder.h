/* The folder of a merged model: what is in it, and that it appears whole or not at all.
 *
 *     config.json             the base's own bytes with another torch_dtype (dtype)
 *     model*.safetensors      the base's tensors, under its files' names and in their order, in shards where the base
 *                             has some or a file would be too large; model.safetensors.index.json then
 *     generation_config.json, the tokenizer's files, code (*.py) and licences: copies of the base's
 *     chat_template.jinja     where the adapter was trained with another template than the base has
 *     README.md, merge.json   what it was made of, for people and for programs */
#ifndef QA_TRAIN_MERGED_FOLDER_H
#define QA_TRAIN_MERGED_FOLDER_H

#include "model/weights.h"
#include "qadapter/objective.h"
#include "train/merge_rounding.h"

typedef struct qa_merged_folder {
    char *out, *temporary, *replaced; /* beside out: ".NAME.tmp-merge", ".NAME.tmp-replaced" */
    int lock;                         /* on temporary; -1: none */
    bool replaces;                    /* out holds a merged model, which is to go */
} qa_merged_folder;

/* Makes the hidden folder in which the model is put together. QA_ERR_EXISTS: out_dir holds something, and is no merged
 * model's folder or is not to be overwritten; or another process is merging into it. QA_ERR_ARGUMENT: a path that no
 * folder can be given, one that is mounted. A link is followed. End it in any case. */
QA_MUST_CHECK qa_status qa_merged_folder_begin(qa_merged_folder *folder, const char *out_dir, bool overwrite,
                                               qa_error *err);

/* Weights (of the model as it is in memory, whose folder still holds the base's), config and copies. shard_bytes: what
 * a file may hold of tensors at the most, if that is more than one; chat: the record of a chat template
 * (text/chat_folder.h) or NULL; *template_written: it is another one than the base's. A weight that dtype cannot hold
 * is QA_ERR_NAN. */
QA_MUST_CHECK qa_status qa_merged_folder_fill(qa_merged_folder *folder, const qa_model *model, qa_dtype dtype,
                                              size_t shard_bytes, const json_t *chat, bool *template_written,
                                              qa_error *err);

/* Into dir, which is there, what goes with weights that were made of those in base_dir: config, which says that they
 * are stored in dtype, tokenizer, chat template, licence and so on. */
QA_MUST_CHECK qa_status qa_tuned_folder_copies(const char *base_dir, const char *dir, qa_dtype dtype,
                                               const json_t *chat, bool *template_written, qa_error *err);

/* What is told of the merge. */
typedef struct qa_merge_story {
    const char *base, *adapter; /* as they were named */
    const char *base_fingerprint, *adapter_fingerprint, *merged_fingerprint;
    const qa_objective *objective;
    qa_dtype dtype;
    const char *measured_on; /* a file's name, or what else the texts are */
    qa_merge_rounding rounding;
} qa_merge_story;

/* README.md and merge.json. */
QA_MUST_CHECK qa_status qa_merged_folder_tell(qa_merged_folder *folder, const qa_merge_story *story, qa_error *err);

/* Gives the folder its name. Files in an overwritten folder that no merge wrote are kept. */
QA_MUST_CHECK qa_status qa_merged_folder_commit(qa_merged_folder *folder, qa_error *err);
void qa_merged_folder_end(qa_merged_folder *folder); /* removes what has not been given its name */

/* Whether the command may write or remove the name in an output folder. */
bool qa_merged_folder_writes(const char *name);

#endif
