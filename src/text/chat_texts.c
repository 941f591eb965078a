/* The built-in chat templates by their names. Each text writes, of dialogues in text, the bytes that the published
 * templates of that name write; what they say of tools and documents is left out. The published texts themselves are
 * known by their SHA-256 digests, so that a model's folder is called by the name. A digest can be checked with
 *     python3 -c "import
 * json,hashlib;print(hashlib.sha256(json.load(open('tokenizer_config.json'))['chat_template'].encode()).hexdigest())"
 */
#include "text/chat_texts.h"

#include "base/memory.h"
#include "base/sha256.h"
#include "base/try.h"

#include <stdlib.h>
#include <string.h>

/* ---- the texts ---- */

#define ALTERNATE "onversation roles must alternate user/assistant/user/assistant/..."
#define RAISE(message) "{{ raise_exception('" message "') }}"
/* The turns behind the system message, which becomes `system`: a text, or none. */
#define SPLIT_SYSTEM                                                                                                   \
    "{% set first = 1 if messages[0]['role'] == 'system' else 0 %}"                                                    \
    "{% set system = messages[0]['content'] if first else none %}"
#define IF_OUT_OF_ORDER "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
#define ONLY_TWO_ROLES                                                                                                 \
    "Only user and assistant roles are supported, with the exception of an initial optional system message!"

/* Every turn begins with its role. default_system: the template code in front of the first turn, which may write one.
 */
#define CHATML(default_system)                                                                                         \
    "{% for m in messages %}" default_system "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}" \
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
#define CHATML_SYSTEM(text)                                                                                            \
    "{% if loop.first and m['role'] != 'system' %}{{ '<|im_start|>system\n" text "<|im_end|>\n' }}{% endif %}"

#define LLAMA3_HEADER(role) "'<|start_header_id|>' + " role " + '<|end_header_id|>\n\n'"
#define LLAMA3_TURN(role, content) "{{ " LLAMA3_HEADER(role) " + " content " + '<|eot_id|>' }}"
#define LLAMA3_PROMPT "{{ " LLAMA3_HEADER("'assistant'") " }}"
#define LLAMA3_TURNS(messages)                                                                                         \
    "{% for m in " messages " %}" LLAMA3_TURN("m['role']", "m['content'] | trim") "{% endfor %}"
#define LLAMA3_IF_ASKED "{% if add_generation_prompt %}" LLAMA3_PROMPT "{% endif %}"
/* A system turn with dates stands in front of every dialogue. */
#define LLAMA3_DATED(date)                                                                                             \
    "{{ bos_token }}{% if not date_string is defined %}{% set date_string = " date " %}{% endif %}" SPLIT_SYSTEM       \
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' + "        \
    "date_string + '\n\n' + (system or '') | trim + '<|eot_id|>' }}" LLAMA3_TURNS("messages[first:]") LLAMA3_IF_ASKED

static const char PLAIN[] =
    "{{ text_begin }}{% for m in messages %}{{ '' if loop.first else '\n\n' }}"
    "{{ {'user': 'Human: ', 'assistant': 'Assistant: '}.get(m['role'], '') + m['content'] | trim }}{% endfor %}"
    "{{ '\n\nAssistant:' if add_generation_prompt else '' }}";

static const char LLAMA2[] = SPLIT_SYSTEM "{% for m in messages[first:] %}" IF_OUT_OF_ORDER RAISE(
    "C" ALTERNATE) "{% endif %}"
                   "{% if m['role'] == 'user' %}{% set said = m['content'] %}"
                   "{% if loop.first and first %}{% set said = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + said %}{% "
                   "endif %}"
                   "{{ bos_token + '[INST] ' + said | trim + ' [/INST]' }}"
                   "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% "
                   "endfor %}";

static const char ZEPHYR[] =
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}";

/* The one that knows no system message. */
static const char MISTRAL[] = "{{ bos_token }}{% for m in messages %}" IF_OUT_OF_ORDER RAISE(
    "C" ALTERNATE) "{% endif %}"
                   "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
                   "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}"
                   "{% else %}" RAISE("Only user and assistant roles are supported!") "{% endif %}{% endfor %}";

#define AFTER_SYSTEM RAISE("After the optional system message, c" ALTERNATE)

static const char MISTRAL_SYSTEM[] =
    "{{ bos_token }}" SPLIT_SYSTEM "{% for m in messages[first:] %}" IF_OUT_OF_ORDER AFTER_SYSTEM "{% endif %}"
    "{% if m['role'] == 'user' %}{{ ' [INST] ' + (system + '\n\n' if loop.first and first else '') + m['content'] + "
    "' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}" RAISE(ONLY_TWO_ROLES) "{% endif %}{% endfor %}";

/* The order of all turns is looked at first; the last user's turn takes the system message if it ends the dialogue. */
static const char MISTRAL3[] = SPLIT_SYSTEM
    "{% for m in messages[first:] %}" IF_OUT_OF_ORDER AFTER_SYSTEM "{% endif %}{% endfor %}"
    "{{ bos_token }}{% for m in messages[first:] %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + (system + '\n\n' if loop.last and first else '') + m['content'] + "
    "'[/INST]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + eos_token }}"
    "{% else %}" RAISE(ONLY_TWO_ROLES) "{% endif %}{% endfor %}";

#define CHATML_MARKS .end = "<|im_end|>", .after_turn = "\n", .marks = {"<|im_start|>"}
#define LLAMA3_MARKS .end = "<|eot_id|>", .marks = {"<|start_header_id|>", "<|end_header_id|>"}

/* What stands behind an answer is learned from the text where it is used (chat.c); here it is for whoever has no
 * tokenizer. */
static const struct {
    const char *name, *text;
    const char *end;        /* of a turn; NULL: the tokenizer's eos_token */
    const char *after_turn; /* what separates it from the next one; NULL: nothing */
    const char *marks[2];   /* that the models of the template have as tokens, beside `end` */
} TEMPLATES[] = {
    [QA_CHAT_NONE] = {.name = "none"},
    [QA_CHAT_UNKNOWN] = {.name = "unknown"},
    [QA_CHAT_PLAIN] = {.name = "plain", .text = PLAIN},
    [QA_CHAT_LLAMA2] = {.name = "llama2", .text = LLAMA2},
    [QA_CHAT_LLAMA3] = {"llama3", "{{ bos_token + '' }}" LLAMA3_TURNS("messages") LLAMA3_IF_ASKED, LLAMA3_MARKS},
    [QA_CHAT_LLAMA3_FIRST] = {"llama3-first", "{{ bos_token + '' }}" LLAMA3_TURNS("messages") LLAMA3_PROMPT,
                              LLAMA3_MARKS},
    [QA_CHAT_LLAMA31] = {"llama3.1", LLAMA3_DATED("'26 Jul 2024'"), LLAMA3_MARKS},
    [QA_CHAT_LLAMA32] = {"llama3.2",
                         LLAMA3_DATED("strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024'"),
                         LLAMA3_MARKS},
    [QA_CHAT_CHATML] = {"chatml", CHATML(""), CHATML_MARKS},
    [QA_CHAT_SMOLLM2] = {"smollm2",
                         CHATML(CHATML_SYSTEM("You are a helpful AI assistant named SmolLM, trained by Hugging Face")),
                         CHATML_MARKS},
    [QA_CHAT_QWEN2] = {"qwen2", CHATML(CHATML_SYSTEM("You are a helpful assistant.")), CHATML_MARKS},
    [QA_CHAT_QWEN25] = {"qwen2.5",
                        CHATML(CHATML_SYSTEM("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")),
                        CHATML_MARKS},
    [QA_CHAT_ZEPHYR] = {"zephyr", ZEPHYR, .after_turn = "\n"},
    [QA_CHAT_MISTRAL] = {.name = "mistral", .text = MISTRAL},
    [QA_CHAT_MISTRAL_SYSTEM] = {.name = "mistral-system", .text = MISTRAL_SYSTEM},
    [QA_CHAT_MISTRAL3] = {"mistral3", MISTRAL3, .marks = {"[INST]", "[/INST]"}},
};
enum { N_TEMPLATES = sizeof TEMPLATES / sizeof TEMPLATES[0] };

/* ---- names ---- */

static size_t template_row(qa_chat_template which) { return (size_t)which < N_TEMPLATES ? which : QA_CHAT_UNKNOWN; }

const char *qa_chat_template_name(qa_chat_template which) { return TEMPLATES[template_row(which)].name; }
const char *qa_chat_builtin_text(qa_chat_template which) { return TEMPLATES[template_row(which)].text; }
const char *const *qa_chat_marks(qa_chat_template which) { return TEMPLATES[template_row(which)].marks; }

qa_status qa_chat_template_by_name(qa_chat_template *which, const char *name, qa_error *err) {
    for (size_t i = QA_CHAT_PLAIN; i < N_TEMPLATES; i++) {
        if (strcmp(TEMPLATES[i].name, name) == 0) {
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

const char *qa_chat_end_of_turn(qa_chat_template which, const qa_tokenizer *tokenizer) {
    const char *end = TEMPLATES[template_row(which)].end;
    return end != NULL || tokenizer == NULL ? end : qa_tokenizer_eos_text(tokenizer);
}

const char *qa_chat_after_turn(qa_chat_template which) {
    const char *text = TEMPLATES[template_row(which)].after_turn;
    return text == NULL ? "" : text;
}

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
