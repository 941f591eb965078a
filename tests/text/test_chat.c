/* Chat templates: recognition by exact text, and what each family writes. The expected texts are what the
 * templates' own language (Jinja, set up as model libraries set it up) gave for the same dialogues. */
#include "base/warnings.h"
#include "qadapter/text.h"

#include "base/sha256.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"
#include "text/answer_end.h"
#include "text/chat_open.h"
#include "text/chat_texts.h"
#include "text/chat_turn.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MSG(role_name, text)                                                                                           \
    { .role = (role_name), .content = (text), .content_bytes = sizeof(text) - 1 }

static char *folder;
static qa_tokenizer *tokenizer; /* <s>, </s> */
static qa_text text;
static qa_error err;

static void open_tokenizer(const tiny_tokenizer_options *options) {
    folder = qa_tempdir_make();
    tiny_tokenizer_write(folder, options);
    ck_assert_msg(qa_tokenizer_load(&tokenizer, folder, &err) == QA_OK, "%s", err.message);
}

static void setup(void) { open_tokenizer(&(tiny_tokenizer_options){.kind = TINY_BYTES}); }

static void teardown(void) {
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(folder);
    qa_text_free(&text);
}

/* ---- SHA-256 ---- */

static void assert_digest(const char *data, size_t bytes, const char *expected) {
    char hex[QA_SHA256_HEX_BYTES];
    qa_sha256_hex(data, bytes, hex);
    ck_assert_str_eq(hex, expected);
}

START_TEST(sha256_gives_the_standards_examples) {
    assert_digest("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_digest("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"; /* 56: padding needs a block */
    assert_digest(two_blocks, strlen(two_blocks), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    char *million = malloc(1000000);
    ck_assert_ptr_nonnull(million);
    memset(million, 'a', 1000000);
    assert_digest(million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    /* 55 is the longest rest that leaves room for the length, 64 a whole block */
    assert_digest(million, 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    assert_digest(million, 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
    free(million);
}
END_TEST

/* ---- names ---- */

START_TEST(names_go_both_ways) {
    char list[256];
    (void)snprintf(list, sizeof list, "%s", qa_chat_template_names());
    size_t n = 0;
    for (char *rest = NULL, *name = strtok_r(list, ", ", &rest); name != NULL; name = strtok_r(NULL, ", ", &rest)) {
        qa_chat_template which = QA_CHAT_NONE;
        ck_assert_int_eq(qa_chat_template_by_name(&which, name, &err), QA_OK);
        ck_assert_str_eq(qa_chat_template_name(which), name);
        ck_assert_uint_eq((unsigned)which, QA_CHAT_PLAIN + n); /* every member of the enumeration has a name */
        n++;
    }
    ck_assert_uint_eq(n, QA_CHAT_MISTRAL3 - QA_CHAT_PLAIN + 1);
    ck_assert_str_eq(qa_chat_template_name(QA_CHAT_NONE), "none");
    ck_assert_str_eq(qa_chat_template_name(QA_CHAT_UNKNOWN), "unknown");
}
END_TEST

START_TEST(an_unknown_name_lists_the_known_ones) {
    qa_chat_template which = QA_CHAT_NONE;
    ck_assert_int_eq(qa_chat_template_by_name(&which, "alpaca", &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "\"alpaca\""));
    ck_assert_ptr_nonnull(strstr(err.message, "llama3.1"));
    ck_assert_int_eq(qa_chat_template_by_name(&which, "none", &err), QA_ERR_ARGUMENT);
    ck_assert_int_eq(qa_chat_template_by_name(&which, "unknown", &err), QA_ERR_ARGUMENT);
}
END_TEST

/* ---- recognition ---- */

#define CHATML_TEXT                                                                                                    \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "    \
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
#define CHATML_JSON                                                                                                    \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "   \
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

static qa_chat_template recognise(const char *template) {
    qa_chat_template which = QA_CHAT_NONE;
    ck_assert_int_eq(qa_chat_template_recognise(&which, template, strlen(template), &err), QA_OK);
    return which;
}

START_TEST(a_text_is_known_up_to_line_ends_only) {
    ck_assert_int_eq(recognise(CHATML_TEXT), QA_CHAT_CHATML);
    ck_assert_int_eq(recognise(CHATML_TEXT "\n"), QA_CHAT_CHATML);   /* the template language drops one newline */
    ck_assert_int_eq(recognise(CHATML_TEXT "\r\n"), QA_CHAT_CHATML); /* and reads CRLF as LF */
    ck_assert_int_eq(recognise(CHATML_TEXT "\n\n"), QA_CHAT_UNKNOWN);
    ck_assert_int_eq(recognise(CHATML_TEXT " "), QA_CHAT_UNKNOWN);
    ck_assert_int_eq(recognise(" " CHATML_TEXT), QA_CHAT_UNKNOWN);
    ck_assert_int_eq(recognise("\r"), QA_CHAT_UNKNOWN);
    ck_assert_int_eq(recognise(""), QA_CHAT_UNKNOWN);
}
END_TEST

/* Digests published beside the models: Llama 3.1 and 3.2, NousResearch's Llama 3.1, Qwen2, Qwen2.5, SmolLM2, TinyLlama,
 * Mistral 7B Instruct v0.3, Mixtral 8x7B Instruct. */
START_TEST(published_digests_are_known) {
    static const struct {
        const char *digest;
        qa_chat_template which;
    } CASES[] = {
        {"e10ca381b1ccc5cf9db52e371f3b6651576caee0a630b452e2816b2d404d4b65", QA_CHAT_LLAMA31},
        {"5816fce10444e03c2e9ee1ef8a4a1ea61ae7e69e438613f3b17b69d0426223a4", QA_CHAT_LLAMA32},
        {"b48c47f6443892716176eb200bf4ef108f64e06ca26ed0fa8ebc0a4b3992fcb2", QA_CHAT_LLAMA3_FIRST},
        {"793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb", QA_CHAT_QWEN2},
        {"cd8e9439f0570856fd70470bf8889ebd8b5d1107207f67a5efb46e342330527f", QA_CHAT_QWEN25},
        {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788", QA_CHAT_SMOLLM2},
        {"66291cf0045c2425a3a667cf3cbb7af2b11f09e025c02f97245323ab79119362", QA_CHAT_ZEPHYR},
        {"e16746b40344d6c5b5265988e0328a0bf7277be86f1c335156eae07e29c82826", QA_CHAT_MISTRAL3},
        {"796853172235ab3aaa4810013ddfe2eab481bda3306dad4f700c00d436eed596", QA_CHAT_MISTRAL_SYSTEM},
        /* Gemma 2, which is none of ours */
        {"ecd6ae513fe103f0eb62e8ab5bfa8d0fe45c1074fa398b089c93a7e70c15cfd6", QA_CHAT_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        ck_assert_int_eq(qa_chat_template_by_digest(CASES[i].digest), CASES[i].which);
    }
}
END_TEST

/* What a folder with these two files (NULL: without) is taken for. */
static qa_chat_template detect(const char *config, const char *jinja) {
    char *dir = qa_tempdir_make();
    if (config != NULL) {
        free(qa_tempdir_write_text(dir, "tokenizer_config.json", config));
    }
    if (jinja != NULL) {
        free(qa_tempdir_write_text(dir, "chat_template.jinja", jinja));
    }
    qa_chat_template which = QA_CHAT_PLAIN;
    qa_status status = qa_chat_template_detect(&which, dir, &err);
    qa_tempdir_remove(dir);
    ck_assert_msg(status == QA_OK, "%s", err.message);
    return which;
}

START_TEST(folders_are_told_apart) {
    ck_assert_int_eq(detect(NULL, NULL), QA_CHAT_NONE);
    ck_assert_int_eq(detect("{}", NULL), QA_CHAT_NONE);
    ck_assert_int_eq(detect("{\"chat_template\": null}", NULL), QA_CHAT_NONE);
    ck_assert_int_eq(detect("{\"chat_template\": []}", NULL), QA_CHAT_NONE);
    ck_assert_int_eq(detect("{\"chat_template\": \"" CHATML_JSON "\"}", NULL), QA_CHAT_CHATML);
    ck_assert_int_eq(detect("{\"chat_template\": \"{{ messages }}\"}", NULL), QA_CHAT_UNKNOWN);
    ck_assert_int_eq(detect(NULL, CHATML_TEXT), QA_CHAT_CHATML);
    ck_assert_int_eq(detect(NULL, ""), QA_CHAT_UNKNOWN);
    /* the file of its own wins */
    ck_assert_int_eq(detect("{\"chat_template\": \"{{ messages }}\"}", CHATML_TEXT), QA_CHAT_CHATML);
    ck_assert_int_eq(detect("{\"chat_template\": \"" CHATML_JSON "\"}", "{{ messages }}"), QA_CHAT_UNKNOWN);
    /* a list: the one named default counts */
    ck_assert_int_eq(
        detect("{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"x\"}, {\"name\": \"default\", "
               "\"template\": \"" CHATML_JSON "\"}]}",
               NULL),
        QA_CHAT_CHATML);
    ck_assert_int_eq(detect("{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"" CHATML_JSON "\"}]}", NULL),
                     QA_CHAT_UNKNOWN);
}
END_TEST

#define IN_CONFIG(text) "{\"chat_template\": \"" text "\"}"

/* Templates in several files of a folder: what holds, and the one warning (NULL: none). */
static const struct {
    const char *config, *jinja, *named, *named_text; /* named: a file of additional_chat_templates */
    qa_chat_template which;
    const char *warning;
} several_files[] = {
    {IN_CONFIG(CHATML_JSON), CHATML_TEXT, NULL, NULL, QA_CHAT_CHATML, NULL},
    {IN_CONFIG("{{ messages }}"), "{{ messages }}\n", NULL, NULL, QA_CHAT_UNKNOWN, NULL},
    {IN_CONFIG("{{ messages }}"), CHATML_TEXT, NULL, NULL, QA_CHAT_CHATML,
     "chat_template.jinja (chatml) and tokenizer_config.json (unknown) hold different chat templates: the first is"},
    {IN_CONFIG(CHATML_JSON), "", NULL, NULL, QA_CHAT_UNKNOWN,
     "chat_template.jinja (unknown) and tokenizer_config.json"},
    {NULL, "{{ messages }}", "default.jinja", CHATML_TEXT, QA_CHAT_CHATML,
     "additional_chat_templates/default.jinja (chatml) and chat_template.jinja (unknown)"},
    {NULL, CHATML_TEXT, "tool_use.jinja", "x", QA_CHAT_CHATML, NULL},
    {NULL, NULL, "tool_use.jinja", CHATML_TEXT, QA_CHAT_UNKNOWN, "named chat templates and none called default"},
    {IN_CONFIG(CHATML_JSON), NULL, "rag.jinja", "x", QA_CHAT_CHATML, "here that of tokenizer_config.json is used"},
    {NULL, NULL, "README.md", "x", QA_CHAT_NONE, NULL},
};

START_TEST(templates_in_several_files) {
    char *dir = qa_tempdir_make(), *below = qa_tempdir_join(dir, "additional_chat_templates");
    qa_warnings warnings = {0};
    qa_chat_template which = QA_CHAT_PLAIN;
    if (several_files[_i].config != NULL) {
        free(qa_tempdir_write_text(dir, "tokenizer_config.json", several_files[_i].config));
    }
    if (several_files[_i].jinja != NULL) {
        free(qa_tempdir_write_text(dir, "chat_template.jinja", several_files[_i].jinja));
    }
    if (several_files[_i].named != NULL) {
        ck_assert_int_eq(mkdir(below, 0700), 0);
        free(qa_tempdir_write_text(below, several_files[_i].named, several_files[_i].named_text));
    }
    ck_assert_msg(qa_chat_template_compare(&which, dir, &warnings, &err) == QA_OK, "%s", err.message);
    ck_assert_int_eq(which, several_files[_i].which);
    ck_assert_uint_eq(warnings.n, several_files[_i].warning == NULL ? 0 : 1);
    if (warnings.n > 0) {
        ck_assert_msg(strstr(warnings.lines[0], several_files[_i].warning) != NULL, "%s", warnings.lines[0]);
    }
    qa_warnings_free(&warnings);
    free(below);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(a_broken_configuration_is_an_error) {
    static const char *const CONFIGS[] = {"[]", "{\"chat_template\": 3}",
                                          "{\"chat_template\": [{\"name\": \"default\"}]}",
                                          "{\"chat_template\": [\"x\"]}", "{"};
    for (size_t i = 0; i < sizeof CONFIGS / sizeof CONFIGS[0]; i++) {
        char *dir = qa_tempdir_make();
        free(qa_tempdir_write_text(dir, "tokenizer_config.json", CONFIGS[i]));
        qa_chat_template which = QA_CHAT_PLAIN;
        ck_assert_int_eq(qa_chat_template_detect(&which, dir, &err), QA_ERR_FORMAT);
        ck_assert_ptr_nonnull(strstr(err.message, "tokenizer_config.json"));
        qa_tempdir_remove(dir);
    }
}
END_TEST

/* ---- rendering ---- */

/* Contents with white space around them show who strips what; U+00A0 counts as white space. */
static const qa_message DIALOGUE[] = {MSG("system", " Be terse.\n"), MSG("user", " Hi\t"),
                                      MSG("assistant", " Yo\u00a0"), MSG("user", "Bye")};

static void assert_renders(qa_chat_template which, const qa_message *messages, size_t n, bool prompt,
                           const char *expected) {
    text.n = 0;
    qa_status status = qa_chat_render(which, tokenizer, messages, n, prompt, &text, &err);
    ck_assert_msg(status == QA_OK, "%s: %s", qa_chat_template_name(which), err.message);
    ck_assert_msg(text.n == strlen(expected) && strcmp(text.data, expected) == 0, "%s:\ngot      [%s]\nexpected [%s]",
                  qa_chat_template_name(which), text.data, expected);
}

/* With and without the system message, and without the generation prompt, which is `tail`. */
static void assert_family(qa_chat_template which, const char *with_system, const char *without_system,
                          const char *tail) {
    char whole[1024];
    if (with_system != NULL) {
        (void)snprintf(whole, sizeof whole, "%s%s", with_system, tail);
        assert_renders(which, DIALOGUE, 4, true, whole);
        assert_renders(which, DIALOGUE, 4, false, with_system);
    }
    (void)snprintf(whole, sizeof whole, "%s%s", without_system, tail);
    assert_renders(which, DIALOGUE + 1, 3, true, whole);
    assert_renders(which, DIALOGUE + 1, 3, false, without_system);
}

#define CHATML_REST                                                                                                    \
    "<|im_start|>user\n Hi\t<|im_end|>\n<|im_start|>assistant\n Yo\u00a0<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
#define CHATML_SYSTEM "<|im_start|>system\n Be terse.\n<|im_end|>\n"
#define CHATML_TAIL "<|im_start|>assistant\n"

START_TEST(chatml_and_its_default_system_prompts) {
    assert_family(QA_CHAT_CHATML, CHATML_SYSTEM CHATML_REST, CHATML_REST, CHATML_TAIL);
    assert_family(QA_CHAT_SMOLLM2, CHATML_SYSTEM CHATML_REST,
                  "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
                  "Face<|im_end|>\n" CHATML_REST,
                  CHATML_TAIL);
    assert_family(QA_CHAT_QWEN2, CHATML_SYSTEM CHATML_REST,
                  "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" CHATML_REST, CHATML_TAIL);
    assert_family(QA_CHAT_QWEN25, CHATML_SYSTEM CHATML_REST,
                  "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
                  "assistant.<|im_end|>\n" CHATML_REST,
                  CHATML_TAIL);
}
END_TEST

#define LLAMA3_TURN(role, content) "<|start_header_id|>" role "<|end_header_id|>\n\n" content "<|eot_id|>"
#define LLAMA3_REST LLAMA3_TURN("user", "Hi") LLAMA3_TURN("assistant", "Yo") LLAMA3_TURN("user", "Bye")
#define LLAMA3_TAIL "<|start_header_id|>assistant<|end_header_id|>\n\n"
#define LLAMA3_DATES "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"

START_TEST(llama3_strips_and_later_releases_write_dates) {
    assert_family(QA_CHAT_LLAMA3, "<s>" LLAMA3_TURN("system", "Be terse.") LLAMA3_REST, "<s>" LLAMA3_REST, LLAMA3_TAIL);
    assert_renders(QA_CHAT_LLAMA3_FIRST, DIALOGUE + 1, 3, true, "<s>" LLAMA3_REST LLAMA3_TAIL);
    assert_renders(QA_CHAT_LLAMA3_FIRST, DIALOGUE + 1, 3, false, "<s>" LLAMA3_REST LLAMA3_TAIL); /* asked or not */
    assert_family(QA_CHAT_LLAMA31, "<s>" LLAMA3_TURN("system", LLAMA3_DATES "Be terse.") LLAMA3_REST,
                  "<s>" LLAMA3_TURN("system", LLAMA3_DATES) LLAMA3_REST, LLAMA3_TAIL);
    assert_family(QA_CHAT_LLAMA32, "<s>" LLAMA3_TURN("system", LLAMA3_DATES "Be terse.") LLAMA3_REST,
                  "<s>" LLAMA3_TURN("system", LLAMA3_DATES) LLAMA3_REST, LLAMA3_TAIL);
}
END_TEST

START_TEST(llama2_puts_bos_before_every_user_turn) {
    assert_family(QA_CHAT_LLAMA2,
                  "<s>[INST] <<SYS>>\n Be terse.\n\n<</SYS>>\n\n Hi [/INST] Yo </s><s>[INST] Bye [/INST]",
                  "<s>[INST] Hi [/INST] Yo </s><s>[INST] Bye [/INST]", "");
    /* an empty first user turn: what is left of the system part is stripped too */
    qa_message blank[] = {MSG("system", "S"), MSG("user", " \n")};
    assert_renders(QA_CHAT_LLAMA2, blank, 2, true, "<s>[INST] <<SYS>>\nS\n<</SYS>> [/INST]");
    /* a later system message passes as an assistant's turn and is written by nobody */
    qa_message late[] = {MSG("user", "a"), MSG("system", "b"), MSG("user", "c")};
    assert_renders(QA_CHAT_LLAMA2, late, 3, true, "<s>[INST] a [/INST]<s>[INST] c [/INST]");
}
END_TEST

START_TEST(zephyr_ends_turns_with_eos) {
    assert_family(
        QA_CHAT_ZEPHYR,
        "<|system|>\n Be terse.\n</s>\n<|user|>\n Hi\t</s>\n<|assistant|>\n Yo\u00a0</s>\n<|user|>\nBye</s>\n",
        "<|user|>\n Hi\t</s>\n<|assistant|>\n Yo\u00a0</s>\n<|user|>\nBye</s>\n", "<|assistant|>\n");
}
END_TEST

START_TEST(mistral_releases_differ_in_spaces_and_system_messages) {
    assert_family(QA_CHAT_MISTRAL, NULL, "<s>[INST]  Hi\t [/INST] Yo\u00a0</s>[INST] Bye [/INST]", "");
    assert_family(QA_CHAT_MISTRAL_SYSTEM, "<s> [INST]  Be terse.\n\n\n Hi\t [/INST]  Yo\u00a0</s> [INST] Bye [/INST]",
                  "<s> [INST]  Hi\t [/INST]  Yo\u00a0</s> [INST] Bye [/INST]", "");
    assert_family(QA_CHAT_MISTRAL3, "<s>[INST]  Hi\t[/INST] Yo</s>[INST]  Be terse.\n\n\nBye[/INST]",
                  "<s>[INST]  Hi\t[/INST] Yo</s>[INST] Bye[/INST]", "");
    /* v0.3 gives the system message to a user turn that ends the dialogue, and to no other */
    assert_renders(QA_CHAT_MISTRAL3, DIALOGUE, 3, true, "<s>[INST]  Hi\t[/INST] Yo</s>");
}
END_TEST

START_TEST(plain_works_without_a_tokenizer) {
    qa_tokenizer *kept = tokenizer;
    tokenizer = NULL;
    assert_family(QA_CHAT_PLAIN, "Be terse.\n\nHuman: Hi\n\nAssistant: Yo\n\nHuman: Bye",
                  "Human: Hi\n\nAssistant: Yo\n\nHuman: Bye", "\n\nAssistant:");
    tokenizer = kept;
    assert_renders(QA_CHAT_PLAIN, DIALOGUE + 3, 1, true, "Human: Bye\n\nAssistant:"); /* this one adds no <s> */
}
END_TEST

START_TEST(plain_writes_what_the_tokenizer_puts_in_front) {
    teardown();
    open_tokenizer(&(tiny_tokenizer_options){.kind = TINY_PIECES, .adds_bos = true, .adds_eos = true});
    text = (qa_text){0};
    assert_renders(QA_CHAT_PLAIN, DIALOGUE + 3, 1, true, "<s>Human: Bye\n\nAssistant:");
}
END_TEST

START_TEST(python_white_space_is_stripped_and_no_other) {
    /* every character that str.strip removes, and between them in the middle one that stays */
    qa_message all[] = {MSG("user",
                            "\t\n\v\f\r\x1c\x1d\x1e\x1f \xc2\x85\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
                            "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000x\u2003y\u3000\u205f\u202f\u2029"
                            "\u2028\u200a\u2000\u1680\u00a0\xc2\x85 \x1f\x1c\r\n\t")};
    assert_renders(QA_CHAT_LLAMA2, all, 1, true, "<s>[INST] x\u2003y [/INST]");
    /* U+FEFF, U+200B, U+180E, ESC are none; neither is the last byte of another character */
    qa_message none[] = {MSG("user", "\ufeff\u200bx\u180e\x1b")};
    assert_renders(QA_CHAT_LLAMA2, none, 1, true, "<s>[INST] \ufeff\u200bx\u180e\x1b [/INST]");
    qa_message nothing[] = {MSG("user", " \u3000\u00a0 ")};
    assert_renders(QA_CHAT_LLAMA2, nothing, 1, true, "<s>[INST]  [/INST]");
}
END_TEST

START_TEST(contents_may_hold_nul) {
    qa_message message[] = {{.role = "user", .content = "a\0b", .content_bytes = 3}};
    ck_assert_int_eq(qa_chat_render(QA_CHAT_CHATML, tokenizer, message, 1, false, &text, &err), QA_OK);
    const char expected[] = "<|im_start|>user\na\0b<|im_end|>\n";
    ck_assert_uint_eq(text.n, sizeof expected - 1);
    ck_assert_mem_eq(text.data, expected, sizeof expected);
}
END_TEST

/* ---- responses ---- */

static const qa_chat_template ALL[] = {QA_CHAT_PLAIN,    QA_CHAT_LLAMA2,      QA_CHAT_LLAMA3,  QA_CHAT_LLAMA31,
                                       QA_CHAT_LLAMA32,  QA_CHAT_CHATML,      QA_CHAT_SMOLLM2, QA_CHAT_QWEN2,
                                       QA_CHAT_QWEN25,   QA_CHAT_ZEPHYR,      QA_CHAT_MISTRAL, QA_CHAT_MISTRAL_SYSTEM,
                                       QA_CHAT_MISTRAL3, QA_CHAT_LLAMA3_FIRST};
enum { N_ALL = sizeof ALL / sizeof ALL[0] };

/* The whole dialogue begins with the prompt and the response behind it: so training reads what the model
 * was made for. */
START_TEST(prompt_and_response_are_the_dialogues_beginning) {
    for (size_t i = 0; i < N_ALL; i++) {
        qa_text whole = {0};
        qa_chat *chat = NULL;
        qa_chat_turn turn = {0};
        qa_answer_end ends;
        bool ended = false;
        text.n = 0;
        ck_assert_int_eq(qa_chat_open_builtin(&chat, ALL[i], tokenizer, &err), QA_OK);
        ck_assert_int_eq(qa_answer_end_find(&ends, chat, tokenizer, NULL, 0, &err), QA_OK);
        ck_assert_int_eq(qa_chat_write(chat, DIALOGUE + 1, 2, false, &whole, &err), QA_OK);
        ck_assert_int_eq(qa_chat_write(chat, DIALOGUE + 1, 1, true, &text, &err), QA_OK);
        size_t prompt = text.n;
        ck_assert_int_eq(qa_chat_turn_write(&turn, chat, DIALOGUE + 1, 1, &err), QA_OK);
        ck_assert(turn.begins && turn.prompt.n == prompt);
        ck_assert_int_eq(
            qa_chat_turn_content(&turn, chat, DIALOGUE[2].content, DIALOGUE[2].content_bytes, false, &text, &err),
            QA_OK);
        ck_assert_int_eq(qa_chat_turn_end(&turn, chat, ends.turn, false, &text, &ended, &err), QA_OK);
        ck_assert_int_eq(ended, ALL[i] != QA_CHAT_PLAIN);
        qa_chat_turn_free(&turn);
        qa_chat_free(chat);
        ck_assert_uint_gt(text.n, prompt);
        ck_assert_uint_ge(whole.n, text.n);
        ck_assert_msg(memcmp(whole.data, text.data, text.n) == 0, "%s: [%s] is no beginning of [%s]",
                      qa_chat_template_name(ALL[i]), text.data, whole.data);
        const char *end = qa_chat_end_of_turn(ALL[i], tokenizer);
        if (ALL[i] == QA_CHAT_PLAIN) {
            ck_assert_str_eq(end, "</s>"); /* the caller adds its id */
        } else {
            ck_assert_str_eq(text.data + text.n - strlen(end), end);
        }
        qa_text_free(&whole);
    }
}
END_TEST

START_TEST(end_of_turn_texts) {
    ck_assert_str_eq(qa_chat_end_of_turn(QA_CHAT_QWEN25, NULL), "<|im_end|>");
    ck_assert_str_eq(qa_chat_end_of_turn(QA_CHAT_LLAMA32, NULL), "<|eot_id|>");
    ck_assert_str_eq(qa_chat_end_of_turn(QA_CHAT_MISTRAL, tokenizer), "</s>");
    ck_assert_ptr_null(qa_chat_end_of_turn(QA_CHAT_PLAIN, NULL));
}
END_TEST

/* ---- refusals ---- */

static void assert_refused(qa_chat_template which, const qa_message *messages, size_t n, const char *reason) {
    text.n = 0;
    ck_assert_int_eq(qa_chat_render(which, tokenizer, messages, n, true, &text, &err), QA_ERR_FORMAT);
    ck_assert_msg(strstr(err.message, reason) != NULL, "%s: %s", qa_chat_template_name(which), err.message);
    ck_assert_uint_eq(text.n, 0); /* nothing of it stays behind */
}

#define ALTERNATE "Conversation roles must alternate user/assistant/user/assistant/..."
#define AFTER_SYSTEM                                                                                                   \
    "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."
#define ONLY_TWO "Only user and assistant roles are supported!"
#define ONLY_FIRST                                                                                                     \
    "Only user and assistant roles are supported, with the exception of an initial optional system message!"

START_TEST(templates_refuse_with_their_own_words) {
    qa_message twice[] = {MSG("user", "a"), MSG("user", "b")};
    qa_message late[] = {MSG("user", "a"), MSG("system", "b"), MSG("user", "c")};
    qa_message answer[] = {MSG("assistant", "a")};
    assert_refused(QA_CHAT_LLAMA2, twice, 2, ALTERNATE);
    assert_refused(QA_CHAT_LLAMA2, answer, 1, ALTERNATE);
    assert_refused(QA_CHAT_MISTRAL, twice, 2, ALTERNATE);
    assert_refused(QA_CHAT_MISTRAL, DIALOGUE, 4, ALTERNATE); /* it knows no system message */
    assert_refused(QA_CHAT_MISTRAL, late, 3, ONLY_TWO);
    assert_refused(QA_CHAT_MISTRAL_SYSTEM, twice, 2, AFTER_SYSTEM);
    assert_refused(QA_CHAT_MISTRAL_SYSTEM, late, 3, ONLY_FIRST);
    assert_refused(QA_CHAT_MISTRAL3, twice, 2, AFTER_SYSTEM);
    assert_refused(QA_CHAT_MISTRAL3, late, 3, ONLY_FIRST);
    /* v0.3 looks at the order of all before it looks at roles */
    qa_message both[] = {MSG("user", "a"), MSG("system", "b"), MSG("assistant", "c")};
    assert_refused(QA_CHAT_MISTRAL3, both, 3, AFTER_SYSTEM);
    assert_refused(QA_CHAT_MISTRAL_SYSTEM, both, 3, ONLY_FIRST);
}
END_TEST

START_TEST(without_a_template_the_way_out_is_named) {
    static const qa_chat_template NONE[] = {QA_CHAT_NONE, QA_CHAT_UNKNOWN};
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(qa_chat_render(NONE[i], tokenizer, DIALOGUE, 4, true, &text, &err), QA_ERR_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(err.message, "--chat-template"));
        ck_assert_ptr_nonnull(strstr(err.message, "plain"));
        ck_assert_ptr_nonnull(strstr(err.message, "already rendered"));
    }
}
END_TEST

START_TEST(callers_mistakes_are_named) {
    qa_message tool[] = {MSG("tool", "a")};
    ck_assert_int_eq(qa_chat_render(QA_CHAT_CHATML, tokenizer, tool, 1, true, &text, &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "\"tool\""));
    ck_assert_int_eq(qa_chat_render(QA_CHAT_CHATML, tokenizer, tool, 0, true, &text, &err), QA_ERR_ARGUMENT);
    ck_assert_int_eq(qa_chat_render(QA_CHAT_CHATML, NULL, DIALOGUE, 4, true, &text, &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "needs a tokenizer"));
}
END_TEST

START_TEST(a_tokenizer_without_the_templates_token_is_an_error) {
    teardown();
    open_tokenizer(&(tiny_tokenizer_options){.kind = TINY_BYTES, .unnamed = true});
    text = (qa_text){0};
    ck_assert_int_eq(qa_chat_render(QA_CHAT_LLAMA2, tokenizer, DIALOGUE + 3, 1, true, &text, &err), QA_ERR_MISMATCH);
    ck_assert_ptr_nonnull(strstr(err.message, "bos_token"));
    ck_assert_int_eq(qa_chat_render(QA_CHAT_ZEPHYR, tokenizer, DIALOGUE + 3, 1, true, &text, &err), QA_ERR_MISMATCH);
    ck_assert_ptr_nonnull(strstr(err.message, "eos_token"));
    /* these only print it: where there is none they print nothing */
    assert_renders(QA_CHAT_MISTRAL3, DIALOGUE + 3, 1, true, "[INST] Bye[/INST]");
}
END_TEST

Suite *text_chat_suite(void);
Suite *text_chat_suite(void) {
    Suite *suite = suite_create("text_chat");
    TCase *known = tcase_create("recognition");
    tcase_add_test(known, sha256_gives_the_standards_examples);
    tcase_add_test(known, names_go_both_ways);
    tcase_add_test(known, an_unknown_name_lists_the_known_ones);
    tcase_add_test(known, a_text_is_known_up_to_line_ends_only);
    tcase_add_test(known, published_digests_are_known);
    tcase_add_test(known, folders_are_told_apart);
    tcase_add_loop_test(known, templates_in_several_files, 0, (int)(sizeof several_files / sizeof *several_files));
    tcase_add_test(known, a_broken_configuration_is_an_error);
    suite_add_tcase(suite, known);
    TCase *render = tcase_create("rendering");
    tcase_add_checked_fixture(render, setup, teardown);
    tcase_add_test(render, chatml_and_its_default_system_prompts);
    tcase_add_test(render, llama3_strips_and_later_releases_write_dates);
    tcase_add_test(render, llama2_puts_bos_before_every_user_turn);
    tcase_add_test(render, zephyr_ends_turns_with_eos);
    tcase_add_test(render, mistral_releases_differ_in_spaces_and_system_messages);
    tcase_add_test(render, plain_works_without_a_tokenizer);
    tcase_add_test(render, plain_writes_what_the_tokenizer_puts_in_front);
    tcase_add_test(render, python_white_space_is_stripped_and_no_other);
    tcase_add_test(render, contents_may_hold_nul);
    tcase_add_test(render, prompt_and_response_are_the_dialogues_beginning);
    tcase_add_test(render, end_of_turn_texts);
    tcase_add_test(render, templates_refuse_with_their_own_words);
    tcase_add_test(render, without_a_template_the_way_out_is_named);
    tcase_add_test(render, callers_mistakes_are_named);
    tcase_add_test(render, a_tokenizer_without_the_templates_token_is_an_error);
    suite_add_tcase(suite, render);
    return suite;
}
