/* training_config.json: what is written, what is read back, what must agree; and the ranges of the options. */
#include "train/training_config.h"

#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"
#include "support/training.h"
#include "train/options.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct built {
    qa_fixture fixture;
    qa_pairs *pairs;
    qa_train_options options;
} built;

static built build(void) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    built b = {.fixture = qa_fixture_open(&model, &lora, 1), .options = qa_training_options("unused")};
    b.pairs = qa_training_pairs(&b.fixture, 3, 4, 4, 1);
    b.options.data_path = "pairs \"quoted\".jsonl";
    return b;
}

static void release(built *b) {
    qa_pairs_free(b->pairs);
    qa_fixture_close(&b->fixture);
}

static json_t *resume_options_of(const built *b) {
    json_t *resume_options = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_resume_options_build(&resume_options, b->fixture.model, b->fixture.adapter, b->pairs, NULL,
                                         &b->options, &err),
                 &err);
    return resume_options;
}

static json_t *config_of(const built *b) {
    json_t *resume_options = resume_options_of(b), *config = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_training_config_build(&config, resume_options, b->fixture.model, &b->options, &err), &err);
    json_decref(resume_options);
    return config;
}

START_TEST(what_is_written_reads_back) {
    built b = build();
    qa_error err = {0};
    b.options.objective = (qa_objective){.kind = QA_THEORY,
                                         .q_parametrisation = QA_Q_RESIDUAL,
                                         .alpha_tilde = 1.0,
                                         .alpha_0 = 1.0 / 3.0,
                                         .gamma = 0.97,
                                         .beta = 1e-3,
                                         .length_normalisation = true};
    json_t *config = config_of(&b);
    char *dir = qa_tempdir_make(), *path = qa_tempdir_join(dir, "training_config.json");
    qa_expect_ok(qa_json_save(config, path, &err), &err);
    qa_objective objective = {0};
    bool found = false;
    qa_expect_ok(qa_training_config_load(dir, &found, &objective, &err), &err);
    ck_assert(found);
    ck_assert_int_eq((int)objective.kind, QA_THEORY);
    ck_assert_int_eq((int)objective.q_parametrisation, QA_Q_RESIDUAL);
    ck_assert_double_eq(objective.alpha_tilde, 1.0);
    ck_assert_double_eq(objective.alpha_0, 1.0 / 3.0);
    ck_assert_double_eq(objective.gamma, 0.97);
    ck_assert_double_eq(objective.beta, 1e-3);
    ck_assert(objective.length_normalisation);
    json_decref(config);
    free(path);
    qa_tempdir_remove(dir);
    release(&b);
}
END_TEST

/* The authors' four keys first, and every option there. */
START_TEST(every_option_is_recorded) {
    static const char *const keys[] = {"alpha_tilde",
                                       "alpha_0",
                                       "gamma",
                                       "beta",
                                       "objective",
                                       "q_parametrisation",
                                       "length_normalisation",
                                       "method",
                                       "recipe",
                                       "lora_r",
                                       "lora_alpha",
                                       "lora_dropout",
                                       "use_rslora",
                                       "target_modules",
                                       "learning_rate",
                                       "lr_scheduler_type",
                                       "warmup_steps",
                                       "warmup_ratio",
                                       "epochs",
                                       "max_steps",
                                       "micro_batch",
                                       "gradient_accumulation",
                                       "max_grad_norm",
                                       "weight_decay",
                                       "adam_beta1",
                                       "adam_beta2",
                                       "adam_epsilon",
                                       "shuffle",
                                       "seed",
                                       "max_length",
                                       "data",
                                       "eval_data",
                                       "eval_every",
                                       "save_every",
                                       "save_total_limit",
                                       "precision",
                                       "recompute",
                                       "response_end",
                                       "threads",
                                       "base_model",
                                       "qadapter_version"};
    built b = build();
    json_t *config = config_of(&b);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        ck_assert_msg(json_object_get(config, keys[i]) != NULL, "no key %s", keys[i]);
    }
    void *at = json_object_iter(config);
    for (size_t i = 0; i < 4; i++, at = json_object_iter_next(config, at)) {
        ck_assert_str_eq(json_object_iter_key(at), keys[i]);
    }
    ck_assert_str_eq(json_string_value(json_object_get(config, "data")), "pairs \"quoted\".jsonl");
    ck_assert(json_is_null(json_object_get(config, "eval_data")));
    ck_assert_uint_eq(json_array_size(json_object_get(config, "target_modules")), QA_TARGET_DOWN + 1);
    json_decref(config);
    release(&b);
}
END_TEST

/* Whatever decides the numbers must agree, and the message names it; the rest may differ. */
START_TEST(what_must_agree) {
    built b = build();
    json_t *then = resume_options_of(&b);
    qa_error err = {0};
    const qa_train_options same = b.options;
    b.options.out_dir = "elsewhere";
    b.options.save_every = 3;
    b.options.eval_every = 9;
    b.options.data_path = "moved.jsonl";
    b.options.max_steps = 100; /* compared in steps: train/test_lengthening.c */
    b.options.epochs = 3.5;
    json_t *now = resume_options_of(&b);
    qa_expect_ok(qa_resume_options_check(then, now, "state", NULL, &err), &err);
    json_decref(now);
#define DIFFERS(change, key)                                                                                           \
    do {                                                                                                               \
        b.options = same;                                                                                              \
        change;                                                                                                        \
        json_t *other = resume_options_of(&b);                                                                         \
        qa_expect_error(qa_resume_options_check(then, other, "state", NULL, &err), QA_ERR_MISMATCH, &err, key);        \
        json_decref(other);                                                                                            \
    } while (0)
    DIFFERS(b.options.learning_rate = 0.5, "learning_rate");
    DIFFERS(b.options.schedule = QA_SCHEDULE_COSINE, "lr_scheduler_type");
    DIFFERS(b.options.seed = 6, "seed");
    DIFFERS(b.options.seed = UINT64_MAX, "seed");
    DIFFERS(b.options.micro_batch = 1, "micro_batch");
    DIFFERS(b.options.start_adapter = "somewhere", "start_adapter_fingerprint");
    DIFFERS(b.options.objective.beta = 0.2, "beta");
    DIFFERS(b.options.objective.kind = QA_PUBLISHED, "objective");
    DIFFERS(b.options.shuffle = false, "shuffle");
    DIFFERS(b.fixture.adapter->options.dropout = 0.1, "lora_dropout");
    b.fixture.adapter->options.dropout = 0.0;
    DIFFERS(b.fixture.adapter->options.targets[QA_TARGET_UP] = false, "target_modules");
    b.fixture.adapter->options.targets[QA_TARGET_UP] = true;
    qa_pairs_free(b.pairs);
    b.pairs = qa_training_pairs(&b.fixture, 3, 4, 4, 2);
    DIFFERS(b.options.max_length = 1, "data_fingerprint");
    json_decref(then);
    release(&b);
}
END_TEST

static void collect(void *user, qa_log_level level, const char *line) {
    char *said = user;
    if (level == QA_LOG_WARNING) {
        (void)snprintf(said + strlen(said), 4096 - strlen(said), "%s\n", line);
    }
}

/* Another base model of the same shape, other evaluation data: refused, by their fingerprints and naming both. Records
 * written before these were kept are one warning, and so is another kernel of the BLAS. */
START_TEST(continued_on_something_else) {
    built b = build();
    qa_error err = {0};
    char said[4096] = "";
    const qa_logger logger = {collect, said};
    json_t *then = resume_options_of(&b), *now = json_deep_copy(then);
    json_t *later = json_deep_copy(then); /* a run that a later version began has an option more */
    ck_assert_int_eq(json_object_set_new(later, "new_option", json_real(0.5)), 0);
    qa_expect_error(qa_resume_options_check(later, now, "state", &logger, &err), QA_ERR_MISMATCH, &err,
                    "(state) has new_option 0.5, which this run has not");
    json_decref(later);
    static const char *const refused[] = {"base_fingerprint", "eval_fingerprint", "chat_template",
                                          "published_data_quirks"};
    ck_assert_str_eq(json_string_value(json_object_get(then, "base_fingerprint")),
                     qa_model_fingerprint(b.fixture.model));
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        json_t *other = json_deep_copy(then);
        ck_assert_int_eq(json_object_set_new(other, refused[i], json_string("another")), 0);
        const qa_status status = qa_resume_options_check(other, now, "state", &logger, &err);
        qa_expect_error(status, QA_ERR_MISMATCH, &err, refused[i]);
        qa_expect_error(status, QA_ERR_MISMATCH, &err, "but was \"another\" in the run to continue (state)");
        json_decref(other);
    }
    ck_assert_str_eq(said, "");
    ck_assert_int_eq(json_object_set_new(then, "blas", json_string("another")), 0);
    qa_expect_ok(qa_resume_options_check(then, now, "state", &logger, &err), &err);
    ck_assert_ptr_nonnull(strstr(said, "blas (the library of matrix products or its kernel) is "));
    ck_assert_ptr_nonnull(strstr(said, "but was \"another\" before (state)"));
    ck_assert_ptr_eq(strchr(said, '\n') + 1, said + strlen(said));
    said[0] = '\0';
    ck_assert_int_eq(json_object_del(then, "blas"), 0);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        ck_assert_int_eq(json_object_del(then, refused[i]), 0);
    }
    qa_expect_ok(qa_resume_options_check(then, now, "state", &logger, &err), &err);
    ck_assert_ptr_nonnull(strstr(said, "base_fingerprint"));
    ck_assert_ptr_nonnull(strstr(said, "eval_fingerprint"));
    ck_assert_ptr_eq(strchr(said, '\n') + 1, said + strlen(said)); /* one line */
    json_decref(now);
    json_decref(then);
    release(&b);
}
END_TEST

/* Pairs of one conversation in ChatML. */
static qa_pairs *dialogues(const char *dir, qa_response_end response_end) {
    qa_pairs *pairs = NULL;
    qa_tokenizer *tokenizer = NULL;
    qa_error err = {0};
    const qa_pairs_options options = {.chat = QA_CHAT_CHATML,
                                      .vocab_size = TINY_BYTES_VOCAB,
                                      .max_length = 100,
                                      .strict = true,
                                      .response_end = response_end};
    tiny_tokenizer_write(dir, &(tiny_tokenizer_options){.kind = TINY_BYTES});
    qa_expect_ok(qa_tokenizer_load(&tokenizer, dir, &err), &err);
    char *path = qa_tempdir_write_text(dir, "pairs.jsonl",
                                       "{\"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: a\", \"rejected\": "
                                       "\"\\n\\nHuman: q\\n\\nAssistant: b\"}\n");
    qa_expect_ok(qa_pairs_load(&pairs, path, tokenizer, &options, &err), &err);
    qa_tokenizer_free(tokenizer);
    free(path);
    return pairs;
}

/* How dialogues were written is part of the record, and where responses end must agree; older records lack both. */
/* What one rank has and another has not, in either direction; and what may differ. */
static const struct {
    const char *key, *here, *there; /* JSON; NULL: not there */
    const char *message;            /* NULL: they go together */
} of_ranks[] = {
    {"threads", "2", "4", "threads is 2 here and 4 on rank 0; give the same --threads to all ranks"},
    {"seed", "1", "2", "seed is 1 here and 2 on rank 0; start all ranks with the same options"},
    {"save_every", "1", "2", "save_every is 1 here and 2 on rank 0"},
    {"qadapter_version", "\"0\"", "\"1\"", "install one version on all machines"},
    {"blas", "\"Zen\"", "\"Haswell\"", "blas (the library of matrix products or its kernel) is \"Zen\" here"},
    {"base_fingerprint", "\"a\"", "\"b\"", "numbers of config.json that it computes with) is \"a\" here and \"b\" on"},
    {"data_fingerprint", "\"a\"", "\"b\"", "data_fingerprint (the training data) is \"a\" here"},
    {"rank_pattern", NULL, "{}", "rank_pattern is nothing here and {} on rank 0"},
    {"rank_pattern", "{}", NULL, "rank_pattern is {} here and nothing on rank 0"},
    {"data_path", "\"/a/x\"", "\"/b/x\"", NULL},
    {"base_model", "\"/a\"", "\"/b\"", NULL},
    {"start_adapter", "\"/a\"", "\"/b\"", NULL},
};

START_TEST(what_ranks_must_share) {
    built b = build();
    qa_error err = {0};
    json_t *here = config_of(&b), *there = config_of(&b);
    qa_expect_ok(qa_training_config_compare(here, there, &err), &err);
    json_t *const sides[] = {here, there};
    const char *const values[] = {of_ranks[_i].here, of_ranks[_i].there};
    for (size_t i = 0; i < 2; i++) {
        (void)json_object_del(sides[i], of_ranks[_i].key);
        if (values[i] != NULL) {
            ck_assert_int_eq(
                json_object_set_new(sides[i], of_ranks[_i].key, json_loads(values[i], JSON_DECODE_ANY, NULL)), 0);
        }
    }
    const qa_status status = qa_training_config_compare(here, there, &err);
    if (of_ranks[_i].message == NULL) {
        qa_expect_ok(status, &err);
    } else {
        qa_expect_error(status, QA_ERR_MISMATCH, &err, of_ranks[_i].message);
    }
    json_decref(there);
    json_decref(here);
    release(&b);
}
END_TEST

START_TEST(how_dialogues_were_written) {
    built b = build();
    qa_error err = {0};
    qa_data_record record = {.chat = QA_CHAT_LLAMA2};
    char *dir = qa_tempdir_make();
    qa_pairs_free(b.pairs);
    b.pairs = dialogues(dir, QA_RESPONSE_END_TEMPLATE);
    json_t *config = config_of(&b), *whole = resume_options_of(&b);
    char *path = qa_tempdir_join(dir, "training_config.json");
    ck_assert_int_eq(json_dump_file(config, path, 0), 0);
    qa_expect_ok(qa_training_config_data(dir, &record, &err), &err);
    ck_assert_int_eq(record.chat, QA_CHAT_CHATML);
    ck_assert_int_eq(record.response_end, QA_RESPONSE_END_TEMPLATE);
    qa_pairs_free(b.pairs);
    b.pairs = dialogues(dir, QA_RESPONSE_END_TOKEN);
    json_t *token = resume_options_of(&b);
    qa_expect_error(qa_resume_options_check(whole, token, "state", NULL, &err), QA_ERR_MISMATCH, &err,
                    "response_end is \"token\" now but was \"template\"");
    json_t *old = json_deep_copy(token);
    json_object_del(old, "response_end");
    qa_expect_ok(qa_resume_options_check(old, token, "state", NULL, &err), &err);
    qa_expect_error(qa_resume_options_check(old, whole, "state", NULL, &err), QA_ERR_MISMATCH, &err, "response_end");
    json_decref(old);
    json_object_del(config, "response_end");
    json_object_del(config, "chat_template");
    ck_assert_int_eq(json_dump_file(config, path, 0), 0);
    qa_expect_ok(qa_training_config_data(dir, &record, &err), &err);
    ck_assert_int_eq(record.chat, QA_CHAT_NONE);
    ck_assert_int_eq(record.response_end, QA_RESPONSE_END_TOKEN);
    json_object_set_new(config, "response_end", json_string("newline"));
    ck_assert_int_eq(json_dump_file(config, path, 0), 0);
    qa_expect_error(qa_training_config_data(dir, &record, &err), QA_ERR_ARGUMENT, &err, "training_config.json: ");
    json_decref(token);
    json_decref(whole);
    json_decref(config);
    free(path);
    qa_tempdir_remove(dir);
    release(&b);
}
END_TEST

START_TEST(hexadecimal) {
    char hex[QA_HEX_BYTES];
    qa_hex64(hex, 0xfedcba9876543210u);
    ck_assert_str_eq(hex, "0xfedcba9876543210");
    qa_hex64(hex, 7);
    ck_assert_str_eq(hex, "0x0000000000000007");
}
END_TEST

static qa_status load_text(const char *text, bool *found, qa_objective *objective, qa_error *err) {
    char *dir = qa_tempdir_make();
    free(qa_tempdir_write_text(dir, "training_config.json", text));
    const qa_status status = qa_training_config_load(dir, found, objective, err);
    qa_tempdir_remove(dir);
    return status;
}

START_TEST(the_authors_file) {
    qa_objective objective = {0};
    bool found = false;
    qa_error err = {0};
    qa_expect_ok(load_text("{\"alpha_tilde\": 1, \"alpha_0\": 0.01, \"gamma\": 1.0, \"beta\": 0.1, \"other\": []}",
                           &found, &objective, &err),
                 &err);
    ck_assert(found);
    ck_assert_int_eq((int)objective.kind, QA_PUBLISHED);
    ck_assert_int_eq((int)objective.q_parametrisation, QA_Q_LOGITS);
    ck_assert_double_eq(objective.alpha_0, 0.01);
    ck_assert(!objective.length_normalisation);
}
END_TEST

START_TEST(no_file) {
    char *dir = qa_tempdir_make();
    qa_objective objective = {.beta = 42.0};
    bool found = true;
    qa_error err = {0};
    qa_expect_ok(qa_training_config_load(dir, &found, &objective, &err), &err);
    ck_assert(!found);
    ck_assert_double_eq(objective.beta, 42.0);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(bad_files) {
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"[1]", "training_config.json"},
        {"{\"alpha_tilde\": 1, \"alpha_0\": 0.01, \"gamma\": 1.0}", "beta"},
        {"{\"alpha_tilde\": 0, \"alpha_0\": 0.01, \"gamma\": 1.0, \"beta\": 0.1}", "alpha_tilde"},
        {"{\"alpha_tilde\": \"1\", \"alpha_0\": 0.01, \"gamma\": 1.0, \"beta\": 0.1}", "alpha_tilde"},
        {"{\"alpha_tilde\": 1, \"alpha_0\": 0.01, \"gamma\": 1.0, \"beta\": 0.1, \"objective\": \"dpo\"}", "dpo"},
        {"{\"alpha_tilde\": 1, \"alpha_0\": 0.01, \"gamma\": 1.0, \"beta\": 0.1, \"q_parametrisation\": 3}",
         "q_parametrisation"},
        {"{\"alpha_tilde\": 1, \"alpha_0\": 0.01, ", "training_config.json"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        qa_objective objective = {.beta = 42.0};
        bool found = true;
        qa_error err = {0};
        const qa_status status = load_text(bad[i].text, &found, &objective, &err);
        ck_assert_int_ne((int)status, QA_OK);
        ck_assert_msg(strstr(err.message, bad[i].part) != NULL, "case %zu: %s", i, err.message);
        ck_assert_msg(strstr(err.message, "training_config.json") != NULL, "case %zu: %s", i, err.message);
        ck_assert(!found);
        ck_assert_double_eq(objective.beta, 42.0);
    }
}
END_TEST

START_TEST(ranges_of_the_options) {
    qa_error err = {0};
    const qa_train_options good = qa_training_options("out");
    qa_train_options defaults = qa_train_defaults();
    qa_expect_ok(qa_train_options_check(&good, &err), &err);
    qa_expect_error(qa_train_options_check(&defaults, &err), QA_ERR_ARGUMENT, &err, "out_dir");
    defaults.out_dir = "out";
    qa_expect_ok(qa_train_options_check(&defaults, &err), &err);
#define REFUSES(change, name)                                                                                          \
    do {                                                                                                               \
        qa_train_options o = good;                                                                                     \
        change;                                                                                                        \
        qa_expect_error(qa_train_options_check(&o, &err), QA_ERR_ARGUMENT, &err, name);                                \
    } while (0)
    REFUSES(o.out_dir = "", "out_dir");
    REFUSES(o.learning_rate = -1e-4, "learning_rate");
    REFUSES(o.learning_rate = (double)NAN, "learning_rate");
    REFUSES(o.learning_rate = (double)INFINITY, "learning_rate");
    REFUSES(o.warmup_ratio = 1.5, "warmup_ratio");
    REFUSES(o.epochs = 0.0, "epochs");
    REFUSES(o.epochs = (double)NAN, "epochs");
    REFUSES(o.gradient_accumulation = 0, "gradient_accumulation");
    REFUSES(o.max_grad_norm = -1.0, "max_grad_norm");
    REFUSES(o.weight_decay = -0.1, "weight_decay");
    REFUSES(o.adam_beta1 = 1.0, "adam_beta1");
    REFUSES(o.adam_beta2 = -0.1, "adam_beta2");
    REFUSES(o.adam_epsilon = 0.0, "adam_epsilon");
    REFUSES(o.schedule = (qa_schedule)9, "schedule");
    REFUSES(o.objective.alpha_tilde = 0.0, "alpha_tilde");
    qa_train_options steps = good; /* epochs are not looked at when max_steps is given */
    steps.epochs = 0.0;
    steps.max_steps = 1;
    qa_expect_ok(qa_train_options_check(&steps, &err), &err);
}
END_TEST

static void check_recipe(const qa_train_options *o, const char *recipe, double warmup) {
    qa_objective objective;
    qa_error err = {0};
    qa_expect_ok(qa_objective_from_recipe(&objective, recipe, &err), &err);
    ck_assert_str_eq(o->recipe, recipe);
    ck_assert_int_eq((int)o->objective.kind, (int)objective.kind);
    ck_assert_int_eq((int)o->objective.q_parametrisation, (int)objective.q_parametrisation);
    ck_assert_double_eq(o->objective.alpha_tilde, objective.alpha_tilde);
    ck_assert_double_eq(o->objective.alpha_0, objective.alpha_0);
    ck_assert_double_eq(o->objective.gamma, objective.gamma);
    ck_assert_double_eq(o->objective.beta, objective.beta);
    ck_assert_double_eq(o->learning_rate, 3e-4);
    ck_assert_double_eq(o->warmup_ratio, warmup);
}

START_TEST(a_recipe_sets_objective_adapter_and_rate) {
    qa_train_options o = qa_train_defaults();
    qa_lora_options lora = {0};
    qa_error err = {0};
    check_recipe(&o, "theory", 0.1);
    qa_expect_ok(qa_train_recipe("published", &o, &lora, &err), &err);
    check_recipe(&o, "published", 0.0);
    ck_assert_uint_eq(lora.rank, 8);
    ck_assert_double_eq(lora.alpha, 16.0);
    ck_assert_double_eq(lora.dropout, 0.05);
    for (int target = 0; target < QA_TARGETS; target++) {
        ck_assert_int_eq(lora.targets[target], target == QA_TARGET_Q || target == QA_TARGET_V);
        ck_assert(qa_lora_defaults().targets[target]);
    }
    qa_expect_ok(qa_train_recipe("theory", NULL, &lora, &err), &err);
    ck_assert_uint_eq(lora.rank, qa_lora_defaults().rank);
    qa_expect_ok(qa_train_recipe("theory", &o, NULL, &err), &err);
    check_recipe(&o, "theory", 0.1);
    qa_expect_error(qa_train_recipe("paper", &o, &lora, &err), QA_ERR_ARGUMENT, &err, "paper");
}
END_TEST

START_TEST(an_option_is_set_by_its_name) {
    qa_train_options o = qa_train_defaults();
    qa_lora_options lora = qa_lora_defaults();
    qa_error err = {0};
    qa_expect_ok(qa_train_set(&o, &lora, "recipe", "published", &err), &err);
    qa_expect_ok(qa_train_set(&o, &lora, "lora_r", "4", &err), &err);
    qa_expect_ok(qa_train_set(&o, &lora, "learning-rate", "0.5", &err), &err);
    qa_expect_ok(qa_train_set(&o, &lora, "micro_batch_size", "all", &err), &err); /* an alias */
    qa_expect_ok(qa_train_set(&o, NULL, "alpha_0", "0.25", &err), &err);
    ck_assert_uint_eq(lora.rank, 4);
    ck_assert_double_eq(lora.alpha, 8.0); /* of 16 at rank 8 */
    ck_assert_double_eq(o.learning_rate, 0.5);
    ck_assert_uint_eq(o.micro_batch, 0);
    ck_assert_double_eq(o.objective.alpha_0, 0.25);
    ck_assert_int_eq(o.objective.kind, QA_PUBLISHED);
    qa_expect_error(qa_train_set(&o, &lora, "dpo-beta", "0.1", &err), QA_ERR_ARGUMENT, &err, "belongs to method dpo");
    qa_expect_error(qa_train_set(&o, NULL, "lora-r", "4", &err), QA_ERR_ARGUMENT, &err, "no option");
    qa_expect_error(qa_train_set(&o, &lora, "learning-rate", "-1", &err), QA_ERR_ARGUMENT, &err, "learning-rate");
    qa_expect_ok(qa_train_set(&o, &lora, "method", "dpo", &err), &err);
    qa_expect_ok(qa_train_set(&o, &lora, "dpo-beta", "0.3", &err), &err);
    ck_assert_double_eq(o.objective.dpo_beta, 0.3);
    ck_assert_ptr_null(o.recipe);
    qa_expect_error(qa_train_set(&o, &lora, "alpha-0", "1", &err), QA_ERR_ARGUMENT, &err, "belongs to method qadapter");
    qa_expect_error(qa_train_set(&o, &lora, "replay-ratio", "1", &err), QA_ERR_ARGUMENT, &err, "method replay");
}
END_TEST

START_TEST(the_other_defaults_are_the_published_values) {
    const qa_train_options o = qa_train_defaults();
    ck_assert_int_eq((int)o.schedule, QA_SCHEDULE_LINEAR);
    ck_assert_double_eq(o.max_grad_norm, 1.0);
    ck_assert_double_eq(o.weight_decay, 0.0);
    ck_assert_double_eq(o.adam_beta1, 0.9);
    ck_assert_double_eq(o.adam_beta2, 0.999);
    ck_assert_double_eq(o.adam_epsilon, 1e-8);
    ck_assert_double_eq(o.epochs, 3.0);
    ck_assert_uint_eq(o.micro_batch, 8);
    ck_assert_uint_eq(o.gradient_accumulation, 1);
    ck_assert(o.shuffle);
}
END_TEST

/* A mistyped adapter is not an adapter without the file. */
START_TEST(no_such_folder) {
    bool found = true;
    qa_objective objective;
    qa_error err = {0};
    qa_expect_error(qa_training_config_load("/nonexistent/adapter", &found, &objective, &err), QA_ERR_IO, &err,
                    "/nonexistent/adapter: no such folder");
}
END_TEST

Suite *train_training_config_suite(void);
Suite *train_training_config_suite(void) {
    Suite *suite = suite_create("train_training_config");
    TCase *tcase = tcase_create("training_config");
    tcase_add_test(tcase, no_such_folder);
    tcase_add_test(tcase, what_is_written_reads_back);
    tcase_add_test(tcase, every_option_is_recorded);
    tcase_add_test(tcase, what_must_agree);
    tcase_add_test(tcase, continued_on_something_else);
    tcase_add_loop_test(tcase, what_ranks_must_share, 0, (int)(sizeof of_ranks / sizeof of_ranks[0]));
    tcase_add_test(tcase, how_dialogues_were_written);
    tcase_add_test(tcase, hexadecimal);
    tcase_add_test(tcase, the_authors_file);
    tcase_add_test(tcase, no_file);
    tcase_add_test(tcase, bad_files);
    tcase_add_test(tcase, ranges_of_the_options);
    tcase_add_test(tcase, a_recipe_sets_objective_adapter_and_rate);
    tcase_add_test(tcase, an_option_is_set_by_its_name);
    tcase_add_test(tcase, the_other_defaults_are_the_published_values);
    suite_add_tcase(suite, tcase);
    return suite;
}
