/* See model_folder.h. */
#include "train/model_folder.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "io/copy.h"
#include "io/file.h"
#include "io/folder.h"
#include "io/input.h"
#include "qadapter/text.h"
#include "qadapter/train.h"
#include "text/chat_save.h"
#include "train/record.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const size_t MOST_BYTES = (size_t)1 << 30;
/* Of those the first ones are hashed, and the very first ones count in the hash even where they are not there. */
enum { TOKENIZER_FILES = 6, USUAL_FILES = 3 };
const char *const qa_tokenizer_file_names[] = {"tokenizer.json",
                                               "tokenizer_config.json",
                                               "chat_template.jinja",
                                               "chat_template.json",
                                               "special_tokens_map.json",
                                               "added_tokens.json",
                                               "tokenizer.model",
                                               "vocab.json",
                                               "merges.txt",
                                               NULL};

qa_status qa_model_folder_save(const qa_trainable *trainable, const char *tokenizer_dir, const json_t *chat,
                               const char *dir, qa_dtype dtype, qa_error *err) {
    bool written = false;
    for (size_t i = 0; tokenizer_dir != NULL && i < TOKENIZER_FILES; i++) {
        QA_TRY(qa_copy_optional(tokenizer_dir, dir, qa_tokenizer_file_names[i], err));
    }
    if (tokenizer_dir != NULL) {
        QA_TRY(qa_chat_record_save(chat, dir, &written, err));
    }
    return qa_trainable_save(trainable, dir, dtype, err);
}

static qa_status hash_file(uint64_t *hash, const char *path, qa_error *err) {
    qa_text content = {0};
    QA_TRY(qa_read_file(&content, path, MOST_BYTES, err));
    *hash = qa_hash(*hash, content.n);
    for (size_t at = 0; at < content.n; at += sizeof(uint64_t)) {
        const size_t left = content.n - at;
        uint64_t word = 0;
        memcpy(&word, content.data + at, left < sizeof word ? left : sizeof word);
        *hash = qa_hash(*hash, word);
    }
    qa_text_free(&content);
    return QA_OK;
}

qa_status qa_tokenizer_files_hex(char hex[QA_HEX_BYTES], const char *dir, qa_error *err) {
    uint64_t hash = 0;
    size_t found = 0;
    for (size_t i = 0; i < TOKENIZER_FILES; i++) {
        char *path = qa_path_join(dir, qa_tokenizer_file_names[i]);
        bool there = false;
        qa_status status = path == NULL ? QA_NO_MEMORY(err, "a path") : qa_find_optional(&there, path, err);
        hash = i < USUAL_FILES || there ? qa_hash(hash, i) : hash;
        if (there) {
            status = hash_file(&hash, path, err);
            found++;
        }
        free(path);
        QA_TRY(status);
    }
    hex[0] = '\0';
    if (found > 0) {
        qa_hex64(hex, hash);
    }
    return QA_OK;
}

static qa_status take_special_ids(qa_config *config, const char *tokenizer_dir, qa_error *err) {
    qa_tokenizer *tokenizer = NULL;
    QA_TRY(qa_tokenizer_load(&tokenizer, tokenizer_dir, err));
    const int32_t bos = qa_tokenizer_bos(tokenizer), eos = qa_tokenizer_eos(tokenizer);
    const size_t vocab_size = qa_tokenizer_vocab_size(tokenizer);
    qa_tokenizer_free(tokenizer);
    QA_FAIL_IF(vocab_size > config->vocab_size, err, QA_ERR_MISMATCH,
               "the tokenizer %s does not fit the model: it has %zu tokens, config.json's vocab_size is %zu",
               tokenizer_dir, vocab_size, config->vocab_size);
    if (config->bos_id < 0) {
        config->bos_id = bos;
    }
    if (config->n_eos == 0 && eos >= 0) {
        config->eos_ids[config->n_eos++] = eos;
    }
    return QA_OK;
}

qa_status qa_model_folder_config(qa_config *config, const char *path, const char *tokenizer_dir,
                                 const qa_logger *logger, qa_error *err) {
    QA_TRY(qa_config_load_file(config, path, logger, err));
    return tokenizer_dir == NULL ? QA_OK : take_special_ids(config, tokenizer_dir, err);
}

static bool same_folder(const char *a, const char *b) {
    struct stat of_a, of_b;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

qa_status qa_model_folder_check_overwrite(const char *out_dir, const char *config_path, const char *tokenizer_dir,
                                          qa_error *err) {
    char *config_dir = NULL;
    QA_TRY(qa_folder_of(&config_dir, config_path, err));
    const bool config_in_it = same_folder(config_dir, out_dir);
    free(config_dir);
    QA_FAIL_IF(config_in_it || (tokenizer_dir != NULL && same_folder(tokenizer_dir, out_dir)), err, QA_ERR_ARGUMENT,
               "%s holds the %s that training begins with, and --overwrite removes it", out_dir,
               config_in_it ? "config" : "tokenizer");
    return QA_OK;
}
