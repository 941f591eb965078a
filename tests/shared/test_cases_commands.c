/* One command a case: what it must say and how it must end. */
#include "shared/shared.h"
#include "support/cli.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *shared_cases_commands_suite(void);

/* An argument that begins with @ is a file of the case's folder; % is a new folder. */
static const struct a_case {
    const char *name, *args[16];
    int status;
    const char *out, *err; /* NULL: anything */
} cases[] = {
    {"golden",
     {"golden", "check", "weights/golden/theory-logits", "@weight_decay_0.01.theory-logits.f32.safetensors"},
     1,
     "decays weights by 0.01 more than the bundle says",
     NULL},
    {"golden",
     {"golden", "check", "weights/golden/theory-long", "@weight_decay_0.01.theory-long.f32.safetensors"},
     1,
     "decays weights by 0.01 more than the bundle says",
     NULL},
    {"attention_scores", {"score", "--model", "@model_1e+09", "--data", "@pairs.jsonl"}, 0, "\"log_pi\"", NULL},
    {"reports/add-bos-token-false",
     {"tokenize", "--model", "@model", "--text", "Once upon"},
     0,
     "1",
     "\"add_bos_token\" is false, but"},
    {"reports/add-bos-token-false",
     {"tokenize", "--model", "@eos", "--text", "Once upon"},
     0,
     "1",
     "\"add_eos_token\" is true, but"},
    {"tokenizer-add_bos_token",
     {"tokenize", "--model", "@.", "--text", "Once upon"},
     0,
     "79",
     "\"add_bos_token\" is true, but"},
    {"reports/alpaca-form-is-called-hh-rlhf",
     {"score", "--model", "@model", "--data", "@pairs.jsonl"},
     1,
     NULL,
     "\"prompt\" is missing (found instruction, input)"},
    {"reports/chosen-is-one-message", {"score", "--model", "@model", "--data", "@pairs.jsonl"}, 0, "\"log_pi\"", NULL},
    {"reports/end-token-not-among-added-tokens",
     {"score", "--model", "@model", "--data", "@pairs.jsonl", "--chat-template", "zephyr"},
     0,
     "426, 2], \"prompt_len\"",
     "not among the added_tokens of tokenizer.json: \"</s>\" (2)"},
    {"reports/end-token-unknown-to-the-vocabulary",
     {"score", "--model", "@model", "--data", "@pairs.jsonl", "--chat-template", "zephyr"},
     1,
     NULL,
     "eos_token \"<|eot|>\" is not a token"},
    {"reports/git-lfs-pointer-for-weights", {"info", "--model", "@model"}, 1, NULL, "git lfs pull"},
    {"reports/keys-of-another-form-win-text-score",
     {"score", "--model", "@model", "--data", "@pairs.jsonl"},
     0,
     "\"input_ids\": [72, 105, 83,",
     "not used: score"},
    {"reports/keys-of-another-form-win",
     {"score", "--model", "@model", "--data", "@pairs.jsonl"},
     0,
     "\"log_pi\"",
     "not used: query, responses"},
    {"reports/prompt-repeated-in-the-text",
     {"score", "--model", "@model", "--data", "@pairs.jsonl"},
     0,
     NULL,
     "warning: "},
    {"reports/rope-parameters-forms-of-transformers-5",
     {"info", "--model", "@nested"},
     1,
     NULL,
     "\"full_attention\" holds settings of its own"},
    {"reports/rope-parameters-forms-of-transformers-5",
     {"info", "--model", "@theta"},
     0,
     "RoPE theta                                   500000",
     "rope_theta is 10000, and 500000"},
    {"reports/rope-parameters-forms-of-transformers-5",
     {"info", "--model", "@both"},
     0,
     "RoPE scaling                                 linear",
     "disagree; rope_scaling is used"},
    {"reports/rope-scaling-without-type", {"info", "--model", "@model"}, 1, NULL, "\"factor\" but no rope_type"},
    {"reports/system-column",
     {"score", "--model", "@model", "--data", "@pairs.jsonl"},
     1,
     NULL,
     "\"system\" belongs to the prompt"},
    {"reports/tied-config-with-another-lm-head",
     {"score", "-q", "--model", "@model", "--data", "@pairs.jsonl"},
     0,
     "-6.4429",
     "both are used, untied"},
    {"reports/tied-config-with-another-lm-head",
     {"score", "-q", "--model", "@untied", "--data", "@pairs.jsonl"},
     0,
     "-6.4429",
     NULL},
    {"reports/tied-config-with-another-lm-head-in-a-shard",
     {"score", "-q", "--model", "@model", "--data", "@pairs.jsonl"},
     0,
     "-6.4429",
     "both are used, untied"},
    {"reports/tied-embedding-stored-as-lm-head", {"info", "--model", "@model"}, 0, "28,192", NULL},
    {"reports/tool-calls-in-generate-and-replay",
     {"generate", "--model", "@model", "--in", "@prompts.jsonl", "-n", "1"},
     1,
     "",
     "prompts.jsonl:1: \"tools\" belongs"},
    {"reports/tool-calls-in-generate-and-replay",
     {"train", "--model", "@model", "--method", "replay", "--data", "@text.jsonl", "--replay-data", "@replay.jsonl",
      "--out", "%"},
     1,
     NULL,
     "message 2 of \"messages\" has \"tool_calls\""},
    {"reports/tool-calls-in-the-prompt",
     {"score", "--model", "@model", "--data", "@pairs.jsonl"},
     1,
     NULL,
     "message 2 of \"prompt\" has \"tool_calls\""},
    {"reports/tool-calls-in-the-prompt",
     {"score", "--model", "@model", "--data", "@pairs.jsonl", "--strict"},
     1,
     NULL,
     "message 2 of \"prompt\" has \"tool_calls\""},
    {"reports/tools-column",
     {"score", "--model", "@model", "--data", "@pairs.jsonl"},
     1,
     NULL,
     "\"tools\" belongs to the prompt"},
    {"reports/ultrafeedback-form",
     {"score", "-q", "--model", "@model", "--data", "@pairs.jsonl"},
     0,
     "\"prompt_len\": 27",
     NULL},
    {"newcomer",
     {"score", "-q", "--model", "weights/village/model", "--data", "@ultrafeedback_form.jsonl"},
     0,
     "\"log_pi\"",
     NULL},
    {"peers/chat-template-kwargs-column",
     {"score", "--model", "weights/village/model", "--data", "@pairs.jsonl"},
     1,
     NULL,
     "\"chat_template_kwargs\" belongs to the prompt"},
    {"peers/responses-of-several-messages",
     {"score", "-q", "--model", "weights/village/model", "--data", "@pairs.jsonl"},
     0,
     "\"prompt_len\": 10",
     NULL},
    {"config_silent/nested", {"info", "--model", "@."}, 1, NULL, "\"full_attention\" holds settings of its own"},
    {"config_silent/notype", {"info", "--model", "@."}, 1, NULL, "\"factor\" but no rope_type"},
    {"config_silent/partial", {"info", "--model", "@."}, 1, NULL, "partial_rotary_factor 0.5 is not supported"},
    {"rope_parameters-per-layer-type",
     {"info", "--model", "@."},
     1,
     NULL,
     "\"full_attention\" holds settings of its own"},
    {"rope_scaling-factor-without-type", {"info", "--model", "@."}, 1, NULL, "\"factor\" but no rope_type"},
    {"mistral-use_sliding_window-false",
     {"score", "-q", "--model", "@.", "--data", "@pair.jsonl"},
     0,
     "-7.21282",
     NULL},
    {"qwen2-window-that-no-layer-uses", {"score", "-q", "--model", "@.", "--data", "@pair.jsonl"}, 0, "-2.93908", NULL},
    {"tied-but-different-lm_head",
     {"score", "-q", "--model", "@.", "--data", "@pair.jsonl"},
     0,
     "-3.96440",
     "both are used, untied"},
    {"tabular_f32", {"tabular", "solve", "--mdp", "@one_state_0.9999.json"}, 0, "1607.9922", NULL},
    {"tabular_f32", {"tabular", "solve", "--mdp", "@one_state_0.99999.json"}, 0, "16081.369", NULL},
    {"pretrain_f16",
     {"pretrain", "--config", "@config.json", "--corpus", "@c.jsonl", "--out", "%", "--dtype", "f16", "--learning-rate",
      "1e5", "--max-steps", "2"},
     1,
     NULL,
     "which F16 cannot hold"},
    {"fuzz/config-head-dim", {"info", "--model", "@."}, 1, NULL, "head_dim is 1073741824"},
    {"fuzz/golden-bos-oob",
     {"golden", "check", "@bundle", "@bundle/candidate.safetensors"},
     1,
     NULL,
     "bos_token_id 1000000 is outside the vocabulary of 37"},
    {"fuzz/pairs-null-offset",
     {"score", "-q", "--model", "weights/village/model", "--data", "@pairs.jsonl"},
     1,
     NULL,
     "prompt is empty"},
    {"fuzz/messages", {"tabular", "solve", "--mdp", "@mdp.json"}, 1, NULL, "unknown member \"x\\x1b[31m\\ny\""},
    {"fuzz/messages", {"info", "--model", "@."}, 1, NULL, "architecture \"Foo\\x1b[2J\\x1b[31mBar\\n"},
    {"golden",
     {"golden", "check", "weights/golden/theory-logits", "@weight_decay_0.01.theory-logits.f32.safetensors"},
     1,
     "decays weights by 0.01 more",
     NULL},
    {"golden",
     {"golden", "check", "weights/golden/theory-long", "@weight_decay_0.01.theory-long.f32.safetensors"},
     1,
     "decays weights by 0.01 more",
     NULL},
};

START_TEST(cases_say_what_is_expected) {
    const struct a_case *it = &cases[_i];
    const char *args[sizeof it->args / sizeof *it->args + 1] = {0};
    char files[sizeof it->args / sizeof *it->args][1024];
    char *dir = qa_tempdir_make();
    for (size_t i = 0; it->args[i] != NULL; i++) {
        const char *arg = it->args[i];
        if (arg[0] == '@') {
            (void)snprintf(files[i], sizeof files[i], "%s/cases/%s/%s", shared_folder(), it->name, arg + 1);
        } else if (arg[0] == '%') {
            (void)snprintf(files[i], sizeof files[i], "%s/out", dir);
        }
        args[i] = arg[0] == '@' || arg[0] == '%' ? files[i] : arg;
    }
    qa_cli_expect(qa_cli_run(NULL, args), it->status, it->out, it->err);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(skipped) { (void)fprintf(stderr, "shared/cases or $QA_BIN not found: these tests are skipped\n"); }
END_TEST

Suite *shared_cases_commands_suite(void) {
    Suite *suite = suite_create("shared_cases_commands");
    TCase *tcase = tcase_create("commands");
    if (shared_can_run("cases/reports")) {
        tcase_add_loop_test(tcase, cases_say_what_is_expected, 0, (int)(sizeof cases / sizeof *cases));
    } else {
        tcase_add_test(tcase, skipped);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
