/* Where other readers of the folder do something else than tokenizer.json says: warnings and notes; what every reader
 * would do and is not done here is an error. */
#include "base/try.h"
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

/* Whether a normaliser or pre-tokeniser, or one of its steps, puts a space in front of a text. */
static bool puts_space(const json_t *section) {
    const char *type = type_of(section);
    const json_t *key = json_object_get(section, "add_prefix_space");
    const char *scheme = json_string_value(json_object_get(section, "prepend_scheme"));
    if (strcmp(type, "Sequence") == 0) {
        const json_t *steps = json_object_get(section, "normalizers");
        steps = steps == NULL ? json_object_get(section, "pretokenizers") : steps;
        bool any = false;
        size_t i = 0;
        const json_t *step = NULL;
        json_array_foreach(steps, i, step) {
            any = any || (strcmp(type_of(step), "Sequence") != 0 && puts_space(step));
        }
        return any;
    }
    if (strcmp(type, "Metaspace") == 0) {
        return scheme != NULL ? strcmp(scheme, "never") != 0 : !json_is_false(key);
    }
    return strcmp(type, "Prepend") == 0 || (strcmp(type, "ByteLevel") == 0 && !json_is_false(key));
}

/* add_prefix_space against what the sections do. */
static void compare_prefix_space(qa_tokenizer *t, const char *dir, const json_t *root, const json_t *config) {
    const json_t *key = json_object_get(config, "add_prefix_space");
    const bool does =
        puts_space(json_object_get(root, "normalizer")) || puts_space(json_object_get(root, "pre_tokenizer"));
    if (json_is_boolean(key) && json_is_true(key) != does) {
        qa_warn(
            &t->warnings,
            "%s/tokenizer_config.json: \"add_prefix_space\" is %s, but tokenizer.json %s a space in front of a text: "
            "tokenizer.json is followed; transformers follows the key in some of its classes (GPT2Tokenizer, "
            "LlamaTokenizer)",
            dir, json_is_true(key) ? "true" : "false", does ? "puts" : "does not put");
    }
}

/* Keys that change the text in a way that is not done here. */
static qa_status refuse_keys(qa_tokenizer *t, const char *dir, const json_t *config, qa_error *err) {
    size_t i = 0;
    const json_t *file = NULL;
    QA_FAIL_IF(json_is_true(json_object_get(config, "split_special_tokens")), err, QA_ERR_UNSUPPORTED,
               "%s/tokenizer_config.json: \"split_special_tokens\" is true, which cuts special tokens in a text, "
               "those of a chat template too, in pieces: not supported; set it to false",
               dir);
    json_array_foreach(json_object_get(config, "fast_tokenizer_files"), i, file) {
        if (json_is_string(file) && strcmp(json_string_value(file), "tokenizer.json") != 0) {
            qa_warn(
                &t->warnings,
                "%s/tokenizer_config.json: \"fast_tokenizer_files\" names %.60s, which some versions of transformers "
                "read in place of tokenizer.json; here tokenizer.json is read",
                dir, json_string_value(file));
        }
    }
    if (json_is_true(json_object_get(config, "clean_up_tokenization_spaces"))) {
        qa_warn(
            &t->notes,
            "%s/tokenizer_config.json: \"clean_up_tokenization_spaces\" is true: transformers 4 takes spaces before "
            "punctuation out of decoded text; here and in transformers 5 it stays as it is",
            dir);
    }
    return QA_OK;
}

/* Classes that transformers 5 builds from the vocabulary and the merges alone. */
static void compare_class(qa_tokenizer *t, const char *dir, const json_t *root, const json_t *config) {
    const char *name = json_string_value(json_object_get(config, "tokenizer_class"));
    const json_t *normaliser = json_object_get(root, "normalizer");
    const json_t *pretokeniser = json_object_get(root, "pre_tokenizer");
    const bool llama = name != NULL && strncmp(name, "LlamaTokenizer", 14) == 0 && !t->byte_level;
    const bool gpt2 = name != NULL && strncmp(name, "GPT2Tokenizer", 13) == 0;
    const bool qwen2 = name != NULL && strncmp(name, "Qwen2Tokenizer", 14) == 0;
    const char *own_normaliser = qwen2 ? "NFC" : "null";
    const char *own = llama ? "Metaspace" : qwen2 ? "Sequence" : "ByteLevel";
    const bool splits = llama && !json_is_false(json_object_get(pretokeniser, "split"));
    if ((llama || gpt2 || qwen2) &&
        (strcmp(type_of(normaliser), own_normaliser) != 0 || strcmp(type_of(pretokeniser), own) != 0 || splits)) {
        qa_warn(&t->notes,
                "%s: AutoTokenizer of transformers 5 makes the normalizer and the pre_tokenizer of a %s anew (%s, and "
                "%s) and does not use those of tokenizer.json (%s, %s): its ids may differ; here, in tokenizers and in "
                "transformers 4 the file holds",
                dir,
                llama   ? "LlamaTokenizer"
                : qwen2 ? "Qwen2Tokenizer"
                        : "GPT2Tokenizer",
                qwen2 ? "NFC" : "none", own, type_of(normaliser), type_of(pretokeniser));
    }
}

qa_status qa_tokenizer_compare_readers(qa_tokenizer *tokenizer, const char *dir, const json_t *root,
                                       const json_t *config, qa_error *err) {
    compare_key(tokenizer, dir, config, "add_bos_token", tokenizer->bos, &tokenizer->prefix);
    compare_key(tokenizer, dir, config, "add_eos_token", tokenizer->eos, &tokenizer->suffix);
    compare_prefix_space(tokenizer, dir, root, config);
    compare_class(tokenizer, dir, root, config);
    return refuse_keys(tokenizer, dir, config, err);
}
