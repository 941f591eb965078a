/* See adapter_card.h. */
#include "train/adapter_card.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/copy.h"
#include "io/file.h"
#include "io/json_writer.h"
#include "qadapter/status.h"
#include "train/model_folder.h"

#include <stdlib.h>
#include <string.h>

static const size_t most_bytes = (size_t)1 << 30;
static const char card_name[] = "README.md";
static const char card_mark[] = "<!-- written by qadapter train -->";
/* No README.md, or one of this file's making. */
static bool may_write_card(const char *path) {
    qa_text content = {0};
    qa_error ignored = {0};
    if (!qa_path_exists(path)) {
        return true;
    }
    const bool ours = qa_read_file(&content, path, most_bytes, &ignored) == QA_OK && content.n > 0 &&
                      strstr(content.data, card_mark) != NULL;
    qa_text_free(&content);
    return ours;
}

static qa_status append_all(qa_text *text, const char *const *pieces, size_t n, qa_error *err) {
    for (size_t i = 0; i < n; i++) {
        QA_TRY(qa_text_append_z(text, pieces[i], err));
    }
    return QA_OK;
}

/* "alpha_tilde 1, alpha_0 0.01" */
static qa_status append_alphas(qa_text *text, const qa_objective *objective, qa_error *err) {
    QA_TRY(qa_text_append_z(text, "alpha_tilde ", err));
    QA_TRY(qa_json_append_number(text, objective->alpha_tilde, false, err));
    QA_TRY(qa_text_append_z(text, ", alpha_0 ", err));
    return qa_json_append_number(text, objective->alpha_0, false, err);
}

static qa_status append_policy(qa_text *text, const qa_objective *objective, qa_error *err) {
    if (qa_objective_is_plain(objective)) {
        return qa_text_append_z(
            text,
            "Its policy is the softmax of the adapted model's logits: it is a plain LoRA adapter, "
            "and any program that\n"
            "loads or merges it as one (PEFT, vLLM, llama.cpp, `qadapter merge`) has the same policy.\n\n"
            "    from peft import AutoPeftModelForCausalLM\n"
            "    model = AutoPeftModelForCausalLM.from_pretrained(DIR, dtype=\"float32\")\n",
            err);
    }
    const bool residual = objective->q_parametrisation == QA_Q_RESIDUAL;
    QA_TRY(qa_text_append_z(
        text, "**Loaded as a plain LoRA adapter it is not the customised model.** Its policy is\n\n", err));
    QA_TRY(qa_text_append_z(text, "    softmax((Q + alpha_0 log pi_base) / alpha_tilde), ", err));
    QA_TRY(append_alphas(text, objective, err));
    QA_TRY(qa_text_append_z(text, "\n\nwhere Q is the ", err));
    QA_TRY(qa_text_append_z(
        text, residual ? "difference of the adapted model's logits from the base model's" : "adapted model's logits",
        err));
    return qa_text_append_z(text,
                            " and pi_base the base model.\nIt needs both models at every token: `qadapter generate "
                            "--model BASE --adapter DIR`.\n",
                            err);
}

static qa_status append_card(qa_text *text, const char *base_model, const qa_objective *objective, qa_error *err) {
    const char *method = qa_method_name(objective->method);
    const char *const head[] = {"---\nlibrary_name: peft\npipeline_tag: text-generation\nbase_model: "};
    const char *const middle[] = {"\ntags:\n- lora\n- qadapter\n- ",
                                  method,
                                  "\n---\n\n",
                                  card_mark,
                                  "\n\n# Adapter\n\n",
                                  "A LoRA adapter, trained with qadapter " QA_VERSION ", method ",
                                  method,
                                  ".\n"};
    QA_TRY(append_all(text, head, sizeof head / sizeof *head, err));
    QA_TRY(qa_json_append_string(text, base_model, strlen(base_model), err));
    QA_TRY(append_all(text, middle, sizeof middle / sizeof *middle, err));
    QA_TRY(append_policy(text, objective, err));
    return qa_text_append_z(text, "\n`training_config.json` holds every option of the run.\n", err);
}

static qa_status write_card(const char *path, const char *base_model, const qa_objective *objective, qa_error *err) {
    qa_text text = {0};
    qa_status status = append_card(&text, base_model, objective, err);
    if (status == QA_OK) {
        status = qa_write_file(path, text.data, text.n, err);
    }
    qa_text_free(&text);
    return status;
}

qa_status qa_adapter_card_write(const char *dir, const char *model_dir, const char *base_model,
                                const qa_objective *objective, qa_error *err) {
    if (qa_holds(dir, "config.json")) { /* a model's folder, perhaps with a tokenizer of its own */
        return QA_OK;
    }
    for (size_t i = 0; qa_tokenizer_file_names[i] != NULL; i++) {
        QA_TRY(qa_copy_optional(model_dir, dir, qa_tokenizer_file_names[i], err));
    }
    char *path = qa_path_join(dir, card_name);
    qa_status status = path == NULL ? QA_NO_MEMORY(err, "a path") : QA_OK;
    if (status == QA_OK && may_write_card(path)) {
        status = write_card(path, base_model, objective, err);
    }
    free(path);
    return status;
}
