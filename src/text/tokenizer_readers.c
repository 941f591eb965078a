/* Where other readers of the folder do something else than tokenizer.json says: warnings and notes, nothing changes. */
#include "base/warnings.h"
#include "text/tokenizer.h"
#include "text/tokenizer_declared.h"

#include <string.h>

/* add_bos_token, add_eos_token against what the post-processor puts around a text. */
static void compare_key(qa_tokenizer *t, const char *dir, const json_t *config, const char *key, int32_t id,
                        const qa_ids *around) {
    const json_t *value = json_object_get(config, key);
    bool does = false;
    for (size_t i = 0; i < around->n; i++) {
        does = does || around->data[i] == id;
    }
    if (id >= 0 && json_is_boolean(value) && json_is_true(value) != does) {
        qa_warn(
            &t->warnings,
            "%s/tokenizer_config.json: \"%s\" is %s, but tokenizer.json's post_processor %s \"%s\": tokenizer.json is "
            "followed, as transformers 5 does; the LlamaTokenizerFast of transformers 4 follows the key",
            dir, key, json_is_true(value) ? "true" : "false", does ? "adds" : "does not add",
            qa_tokenizer_token(t, id));
    }
}

/* The type of a section, "null" when there is none. */
static const char *type_of(const json_t *section) {
    const char *type = json_string_value(json_object_get(section, "type"));
    return type == NULL ? "null" : type;
}

/* Classes that transformers 5 builds from the vocabulary and the merges alone. */
static void compare_class(qa_tokenizer *t, const char *dir, const json_t *root, const json_t *config) {
    const char *name = json_string_value(json_object_get(config, "tokenizer_class"));
    const json_t *normaliser = json_object_get(root, "normalizer");
    const json_t *pretokeniser = json_object_get(root, "pre_tokenizer");
    const bool llama = name != NULL && strncmp(name, "LlamaTokenizer", 14) == 0 && !t->byte_level;
    const bool gpt2 = name != NULL && strncmp(name, "GPT2Tokenizer", 13) == 0;
    const char *own = llama ? "Metaspace" : "ByteLevel";
    const bool splits = llama && !json_is_false(json_object_get(pretokeniser, "split"));
    if ((llama || gpt2) &&
        (strcmp(type_of(normaliser), "null") != 0 || strcmp(type_of(pretokeniser), own) != 0 || splits)) {
        qa_warn(
            &t->notes,
            "%s: AutoTokenizer of transformers 5 makes the normalizer and the pre_tokenizer of a %s anew (none, and "
            "%s) and does not use those of tokenizer.json (%s, %s): its ids may differ; here, in tokenizers and in "
            "transformers 4 the file holds",
            dir, llama ? "LlamaTokenizer" : "GPT2Tokenizer", own, type_of(normaliser), type_of(pretokeniser));
    }
}

void qa_tokenizer_compare_readers(qa_tokenizer *tokenizer, const char *dir, const json_t *root, const json_t *config) {
    compare_key(tokenizer, dir, config, "add_bos_token", tokenizer->bos, &tokenizer->prefix);
    compare_key(tokenizer, dir, config, "add_eos_token", tokenizer->eos, &tokenizer->suffix);
    compare_class(tokenizer, dir, root, config);
}
