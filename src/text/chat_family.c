/* See chat_family.h. */
#include "text/chat_family.h"

#include <string.h>

/* The date that Llama 3.1 and 3.2 write where the caller gives none; 3.2 would write today's, which
 * would make yesterday's prompts different from today's. */
#define PINNED_DATE "26 Jul 2024"
#define DATES "Cutting Knowledge Date: December 2023\nToday Date: " PINNED_DATE "\n\n"

#define CHATML_FAMILY                                                                                                  \
    .form = QA_CHAT_FORM_HEADERS, .open = "<|im_start|>", .close = "\n", .end = "<|im_end|>", .after_turn = "\n",      \
    .marks = {"<|im_start|>"}
#define LLAMA3_FAMILY                                                                                                  \
    .form = QA_CHAT_FORM_HEADERS, .open = "<|start_header_id|>", .close = "<|end_header_id|>\n\n",                     \
    .end = "<|eot_id|>", .strips = true, .marks = {"<|start_header_id|>", "<|end_header_id|>"}
#define MISTRAL_FAMILY .form = QA_CHAT_FORM_MISTRAL, .bos = QA_CHAT_BOS_IF_NAMED

static const qa_chat_family FAMILIES[] = {
    [QA_CHAT_NONE] = {.name = "none"},
    [QA_CHAT_UNKNOWN] = {.name = "unknown"},
    [QA_CHAT_PLAIN] = {"plain", .form = QA_CHAT_FORM_PLAIN, .strips = true, .before_answer = " "},
    [QA_CHAT_LLAMA2] = {"llama2", .form = QA_CHAT_FORM_LLAMA2, .open = "[INST] ", .close = " [/INST]", .strips = true,
                        .before_answer = " ", .behind_answer = " "},
    [QA_CHAT_LLAMA3] = {"llama3", LLAMA3_FAMILY, .bos = QA_CHAT_BOS_REQUIRED},
    [QA_CHAT_LLAMA3_FIRST] = {"llama3-first", LLAMA3_FAMILY, .bos = QA_CHAT_BOS_REQUIRED, .always_prompts = true},
    [QA_CHAT_LLAMA31] = {"llama3.1", LLAMA3_FAMILY, .bos = QA_CHAT_BOS_IF_NAMED, .system = DATES, .system_joins = true},
    [QA_CHAT_LLAMA32] = {"llama3.2", LLAMA3_FAMILY, .bos = QA_CHAT_BOS_IF_NAMED, .system = DATES, .system_joins = true},
    [QA_CHAT_CHATML] = {"chatml", CHATML_FAMILY},
    [QA_CHAT_SMOLLM2] = {"smollm2", CHATML_FAMILY,
                         .system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    [QA_CHAT_QWEN2] = {"qwen2", CHATML_FAMILY, .system = "You are a helpful assistant."},
    [QA_CHAT_QWEN25] = {"qwen2.5", CHATML_FAMILY,
                        .system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
    [QA_CHAT_ZEPHYR] = {"zephyr", .form = QA_CHAT_FORM_HEADERS, .open = "<|", .close = "|>\n", .after_turn = "\n"},
    [QA_CHAT_MISTRAL] = {"mistral", MISTRAL_FAMILY, .open = "[INST] ", .close = " [/INST]"},
    [QA_CHAT_MISTRAL_SYSTEM] = {"mistral-system", MISTRAL_FAMILY, .open = " [INST] ", .close = " [/INST]",
                                .before_answer = " "},
    [QA_CHAT_MISTRAL3] = {"mistral3", MISTRAL_FAMILY, .open = "[INST] ", .close = "[/INST]", .strips = true,
                          .before_answer = " ", .marks = {"[INST]", "[/INST]"}},
};

const qa_chat_family *qa_chat_family_of(qa_chat_template which) {
    return &FAMILIES[(size_t)which < sizeof FAMILIES / sizeof FAMILIES[0] ? which : QA_CHAT_UNKNOWN];
}

const char *qa_chat_template_name(qa_chat_template which) { return qa_chat_family_of(which)->name; }

qa_status qa_chat_template_by_name(qa_chat_template *which, const char *name, qa_error *err) {
    for (size_t i = QA_CHAT_PLAIN; i < sizeof FAMILIES / sizeof FAMILIES[0]; i++) {
        if (strcmp(FAMILIES[i].name, name) == 0) {
            *which = (qa_chat_template)i;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "there is no chat template named \"%s\"; the names are %s", name,
                   qa_chat_template_names());
}

const char *qa_chat_template_names(void) {
    return "plain, llama2, llama3, llama3-first, llama3.1, llama3.2, chatml, smollm2, qwen2, qwen2.5, zephyr, mistral, "
           "mistral-system, mistral3";
}

bool qa_chat_strips_responses(qa_chat_template which) { return qa_chat_family_of(which)->strips; }

const char *qa_chat_end_of_turn(qa_chat_template which, const qa_tokenizer *tokenizer) {
    const char *end = qa_chat_family_of(which)->end;
    return end != NULL || tokenizer == NULL ? end : qa_tokenizer_eos_text(tokenizer);
}

const char *qa_chat_after_turn(qa_chat_template which) {
    const char *text = qa_chat_family_of(which)->after_turn;
    return text == NULL ? "" : text;
}
