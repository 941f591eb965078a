/* A run on a tiny model with a random adapter: answers that are known from a generator of one sequence, shares that are
 * counted again from the transcript, perplexity that is summed again token by token. */
#include "base/buffer.h"
#include "io/json.h"
#include "qadapter/pretrain.h"
#include "qadapter/suite.h"
#include "support/expect.h"
#include "support/fixture.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *suite_run_suite(void);

enum { CONTEXT = 128, QUESTIONS = 12, MAX_TOKENS = 9, PROMPTS = 5, SAMPLES = 8 };

/* The same sums over packed rows and over one sequence at a time. */
#ifdef QA_F64
static const double TOLERANCE = 1e-12; /* observed 3e-15 */
#else
static const double TOLERANCE = 5e-6; /* observed 5e-8 */
#endif

static const qa_objective OBJECTIVE = {
    .q_parametrisation = QA_Q_RESIDUAL, .alpha_0 = 0.8, .alpha_tilde = 0.7, .gamma = 1.0};

typedef struct suite_world {
    qa_fixture fixture;
    qa_tokenizer *tokenizer;
    char *dir; /* of the suite */
} suite_world;

static suite_world open_world(void) {
    tiny_model_options options = tiny_model_defaults();
    options.vocab_size = TINY_BYTES_VOCAB;
    options.max_positions = CONTEXT;
    options.spread = 2.0; /* answers that differ from prompt to prompt */
    const qa_lora_options lora = qa_fixture_lora();
    const tiny_tokenizer_options tokenizer = {.kind = TINY_BYTES};
    suite_world world = {.fixture = qa_fixture_open(&options, &lora, 2), .dir = qa_tempdir_make()};
    qa_error err = {0};
    tiny_tokenizer_write(world.fixture.dir, &tokenizer);
    expect_ok(qa_tokenizer_load(&world.tokenizer, world.fixture.dir, &err), &err);
    return world;
}

static void close_world(suite_world *world) {
    qa_tokenizer_free(world->tokenizer);
    qa_fixture_close(&world->fixture);
    qa_tempdir_remove(world->dir);
}

static qa_suite_options options_of(const suite_world *world) {
    (void)world;
    const qa_suite_options options = {
        .objective = &OBJECTIVE, .samples = SAMPLES, .batch = 7, .seed = 3, .chat = QA_CHAT_CHATML};
    return options;
}

static qa_suite *load(const char *path) {
    qa_suite *suite = NULL;
    qa_error err = {0};
    expect_ok(qa_suite_load(&suite, path, &err), &err);
    return suite;
}

static qa_suite_result run(const suite_world *world, const char *path, const qa_adapter *adapter,
                           const qa_suite_options *options) {
    qa_suite *suite = load(path);
    qa_suite_result result;
    qa_error err = {0};
    expect_ok(qa_suite_run(suite, world->fixture.model, adapter, world->tokenizer, options, &result, &err), &err);
    qa_suite_free(suite);
    return result;
}

/* ---- skills ---- */

static void question_text(char text[64], size_t i) {
    (void)snprintf(text, 64, "Question %zu about %c%c", i, (char)('a' + i % 26), (char)('z' - 2 * i % 26));
}

/* The greedy answer of a generator of one sequence; what the KL summed to, and over how many tokens. */
static void answer(const suite_world *world, const char *question, const qa_adapter *adapter, qa_text *text, double *kl,
                   size_t *tokens) {
    qa_error err = {0};
    qa_text prompt = {0};
    qa_ids ids = {0};
    qa_ids said = {0};
    qa_generator *custom = NULL;
    qa_generator *base = NULL;
    const qa_message message = {"user", question, strlen(question)};
    qa_sampling sampling = qa_sampling_defaults();
    double pi[TINY_BYTES_VOCAB], pi1[TINY_BYTES_VOCAB];
    sampling.temperature = 0.0;
    expect_ok(qa_chat_render(QA_CHAT_CHATML, world->tokenizer, &message, 1, true, &prompt, &err), &err);
    expect_ok(qa_tokenizer_encode(world->tokenizer, prompt.data, prompt.n, (qa_encode_options){0}, &ids, &err), &err);
    expect_ok(qa_generator_create(&custom, world->fixture.model, adapter, QA_POLICY_CUSTOM, &OBJECTIVE, &sampling,
                                  CONTEXT, &err),
              &err);
    expect_ok(qa_generator_create(&base, world->fixture.model, NULL, QA_POLICY_BASE, NULL, &sampling, CONTEXT, &err),
              &err);
    expect_ok(qa_generator_feed(custom, ids.data, ids.n, &err), &err);
    expect_ok(qa_generator_feed(base, ids.data, ids.n, &err), &err);
    for (size_t i = 0; i < MAX_TOKENS; i++) {
        int32_t id = 0;
        expect_ok(qa_generator_log_policy(custom, pi, &err), &err);
        expect_ok(qa_generator_log_policy(base, pi1, &err), &err);
        for (size_t a = 0; a < TINY_BYTES_VOCAB; a++) {
            *kl += exp(pi[a]) * (pi[a] - pi1[a]);
        }
        expect_ok(qa_generator_next(custom, &id, &err), &err);
        expect_ok(qa_generator_feed(base, &id, 1, &err), &err);
        ++*tokens;
        if (id >= 1 && id <= 3) { /* </s>, the config's 2, <|im_end|> */
            break;
        }
        expect_ok(qa_ids_push(&said, id, &err), &err);
    }
    expect_ok(qa_tokenizer_decode(world->tokenizer, said.data, said.n, true, text, &err), &err);
    qa_generator_free(custom);
    qa_generator_free(base);
    qa_text_free(&prompt);
    qa_ids_free(&ids);
    qa_ids_free(&said);
}

/* A file of questions whose answers are the model's own, with `more` behind them; two kinds. */
static char *write_questions(const suite_world *world, const qa_adapter *adapter, const char *more, double *kl,
                             size_t *tokens) {
    qa_text lines = {0};
    qa_error err = {0};
    size_t n = 0;
    for (size_t i = 0; n < QUESTIONS; i++) {
        char question[64];
        qa_text said = {0};
        double its_kl = 0.0;
        size_t its_tokens = 0;
        ck_assert_uint_lt(i, 10 * QUESTIONS);
        question_text(question, i);
        answer(world, question, adapter, &said, &its_kl, &its_tokens);
        if (said.n == 0 || memchr(said.data, '\0', said.n) == NULL) { /* a suite's answers hold no NUL */
            expect_ok(qa_text_append_z(&said, more, &err), &err);
            expect_ok(qa_text_append_z(&lines, "{\"messages\": [{\"role\": \"user\", \"content\": \"", &err), &err);
            expect_ok(qa_text_append_z(&lines, question, &err), &err);
            expect_ok(qa_text_append_z(&lines, "\"}], \"grader\": \"exact\", \"answer\": ", &err), &err);
            expect_ok(qa_json_append_string(&lines, said.data, said.n, &err), &err);
            const char *kind = n % 3 == 0 ? ", \"kind\": \"third\"}\n" : ", \"kind\": \"other\"}\n";
            expect_ok(qa_text_append_z(&lines, kind, &err), &err);
            *kl += its_kl;
            *tokens += its_tokens;
            n++;
        }
        qa_text_free(&said);
    }
    char *path = qa_tempdir_write(world->dir, "q.jsonl", lines.data, lines.n);
    qa_text_free(&lines);
    return path;
}

/* A definition that gives the questions their length. */
static void write_definition(const suite_world *world, const char *rest) {
    char text[4096];
    (void)snprintf(text, sizeof text, "{\"name\": \"tiny\"%s}", rest);
    free(qa_tempdir_write_text(world->dir, "suite.json", text));
}

static void check_greedy(const qa_adapter *(*which)(const suite_world *world)) {
    suite_world world = open_world();
    const qa_adapter *adapter = which(&world);
    const qa_suite_options options = options_of(&world);
    double kl = 0.0;
    size_t tokens = 0;
    write_definition(&world, ", \"skills\": [{\"name\": \"own\", \"file\": \"q.jsonl\", \"max_tokens\": 9}]");
    free(write_questions(&world, adapter, "", &kl, &tokens));
    qa_suite_result result = run(&world, world.dir, adapter, &options);
    ck_assert_uint_eq(result.n_skills, 1);
    ck_assert_str_eq(result.skills[0].name, "own");
    ck_assert_uint_eq(result.skills[0].questions, QUESTIONS);
    ck_assert_uint_eq(result.skills[0].right, QUESTIONS);
    ck_assert_uint_eq(result.skills[0].n_kinds, 2);
    ck_assert_str_eq(result.skills[0].kinds[0].name, "third");
    ck_assert_uint_eq(result.skills[0].kinds[0].questions, QUESTIONS / 3);
    ck_assert_uint_eq(result.skills[0].kinds[1].right, QUESTIONS - QUESTIONS / 3);
    ck_assert(isnan(result.perplexity));
    if (adapter == NULL) {
        ck_assert(isnan(result.ordinary_kl));
    } else {
        ck_assert(result.ordinary_kl > 1e-4);
        expect_near(result.ordinary_kl, kl / (double)tokens, TOLERANCE, "ordinary KL");
    }
    qa_suite_result_free(&result);

    free(write_questions(&world, adapter, "x", &kl, &tokens));
    result = run(&world, world.dir, adapter, &options);
    ck_assert_uint_eq(result.skills[0].questions, QUESTIONS);
    ck_assert_uint_eq(result.skills[0].right, 0);
    qa_suite_result_free(&result);
    close_world(&world);
}

static const qa_adapter *no_adapter(const suite_world *world) {
    (void)world;
    return NULL;
}

static const qa_adapter *the_adapter(const suite_world *world) { return world->fixture.adapter; }

START_TEST(greedy_answers_of_the_model_are_right) { check_greedy(no_adapter); }
END_TEST

START_TEST(greedy_answers_of_the_policy_are_right) { check_greedy(the_adapter); }
END_TEST

/* The policy's answers are not the model's: the adapter takes part. */
START_TEST(the_adapter_makes_a_difference) {
    suite_world world = open_world();
    const qa_suite_options options = options_of(&world);
    double kl = 0.0;
    size_t tokens = 0;
    char *path = write_questions(&world, world.fixture.adapter, "", &kl, &tokens);
    write_definition(&world, ", \"skills\": [{\"name\": \"own\", \"file\": \"q.jsonl\", \"max_tokens\": 9}]");
    qa_suite_result result = run(&world, world.dir, NULL, &options);
    ck_assert_uint_lt(result.skills[0].right, QUESTIONS);
    qa_suite_result_free(&result);
    free(path);
    close_world(&world);
}
END_TEST

/* ---- shares ---- */

static const char SHARES[] =
    ", \"shares\": [{\"name\": \"letters\", \"file\": \"open.jsonl\", \"max_tokens\": 9, \"classes\": ["
    "{\"name\": \"vowel\", \"pattern\": \"[aeiou]\", \"base\": 0.3, \"generator\": 0.25}, "
    "{\"name\": \"digit\", \"pattern\": \"[0-9]\", \"base\": 0.69, \"generator\": 0.75}]}], "
    "\"preferences\": [{\"name\": \"vowels\", \"shares\": \"letters\", \"reward\": {\"vowel\": 1.5}}]";

static void write_prompts(const suite_world *world) {
    char text[PROMPTS * 96] = "";
    for (size_t i = 0; i < PROMPTS; i++) {
        const size_t used = strlen(text);
        (void)snprintf(text + used, sizeof text - used,
                       "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell %zu\"}]}\n", i);
    }
    free(qa_tempdir_write_text(world->dir, "open.jsonl", text));
}

/* Counts the transcript's verdicts again from its texts: [0] vowel, [1] digit, [2] neither. */
static void recount(const char *path, size_t count[3], double *log_ratio) {
    char *text = qa_tempdir_read(path, NULL);
    size_t lines = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++) {
        json_t *json = NULL;
        qa_error err = {0};
        expect_ok(qa_json_parse(&json, line, strlen(line), "transcript", 0, &err), &err);
        const json_t *messages = json_object_get(json, "messages");
        ck_assert_uint_eq(json_array_size(messages), 2);
        const json_t *last = json_array_get(messages, 1);
        ck_assert_str_eq(json_string_value(json_object_get(last, "role")), "assistant");
        const char *said = json_string_value(json_object_get(last, "content"));
        const size_t bytes = json_string_length(json_object_get(last, "content"));
        size_t k = 2;
        for (size_t i = 0; i < bytes; i++) {
            k = said[i] != '\0' && strchr("aeiou", said[i]) != NULL ? 0 : k;
        }
        for (size_t i = 0; i < bytes && k == 2; i++) {
            k = said[i] >= '0' && said[i] <= '9' ? 1 : k;
        }
        static const char *const names[3] = {"vowel", "digit", "unclassified"};
        ck_assert_str_eq(json_string_value(json_object_get(json, "class")), names[k]);
        ck_assert_str_eq(json_string_value(json_object_get(json, "shares")), "letters");
        ck_assert_int_eq(json_integer_value(json_object_get(json, "line")), (json_int_t)(lines / SAMPLES + 1));
        ck_assert_int_eq(json_integer_value(json_object_get(json, "sample")), (json_int_t)(lines % SAMPLES));
        count[k]++;
        *log_ratio += json_number_value(json_object_get(json, "log_ratio"));
        json_decref(json);
    }
    ck_assert_uint_eq(lines, PROMPTS * SAMPLES);
    free(text);
}

static void check_optimum(const qa_shares_result *shares, const size_t count[3]) {
    /* base shares 0.3, 0.69 and, of no class, 0.01; reward 1.5, 0, 0 */
    const double w[3] = {0.3 * exp(1.5 / OBJECTIVE.alpha_tilde), 0.69, 0.01};
    const double sum = w[0] + w[1] + w[2];
    const double n = PROMPTS * SAMPLES;
    double distance = 0.0;
    double kl = 0.0;
    for (int k = 0; k < 3; k++) {
        const double p = ((double)count[k] + 0.5) / (n + 1.5);
        distance += 0.5 * fabs((double)count[k] / n - w[k] / sum);
        kl += p * log(p / ((n * w[k] / sum + 0.5) / (n + 1.5)));
    }
    expect_near(shares->classes[0].optimum, w[0] / sum, 1e-12, "optimum");
    expect_near(shares->classes[1].optimum, w[1] / sum, 1e-12, "optimum");
    expect_near(shares->mean_reward, 1.5 * (double)count[0] / n, 1e-12, "mean reward");
    expect_near(shares->optimal_reward, 1.5 * w[0] / sum, 1e-12, "optimal reward");
    expect_near(shares->total_variation, distance, 1e-12, "total variation");
    expect_near(shares->kl_to_optimum, kl, 1e-12, "KL");
}

START_TEST(shares_are_counted) {
    suite_world world = open_world();
    qa_suite_options options = options_of(&world);
    char *transcript = qa_tempdir_join(world.dir, "transcript.jsonl");
    size_t count[3] = {0, 0, 0};
    double log_ratio = 0.0;
    write_prompts(&world);
    write_definition(&world, SHARES);
    options.sum = &(qa_suite_term){"vowels", 1.0};
    options.n_sum = 1;
    options.transcript = transcript;
    qa_suite_result result = run(&world, world.dir, world.fixture.adapter, &options);
    recount(transcript, count, &log_ratio);
    const qa_shares_result *shares = &result.shares[0];
    ck_assert_uint_eq(result.n_shares, 1);
    ck_assert_uint_eq(shares->answers, PROMPTS * SAMPLES);
    ck_assert_uint_eq(shares->unclassified, count[2]);
    ck_assert_uint_eq(shares->n_classes, 2);
    for (size_t k = 0; k < 2; k++) {
        const qa_class_result *class = &shares->classes[k];
        const double share = (double)count[k] / (PROMPTS * SAMPLES);
        ck_assert_uint_gt(count[k], 0); /* or the test would see nothing */
        ck_assert_uint_eq(class->count, count[k]);
        ck_assert_double_eq(class->share, share);
        expect_near(class->error, sqrt(share * (1.0 - share) / (PROMPTS * SAMPLES)), 1e-15, "error");
        ck_assert_double_eq(class->base, k == 0 ? 0.3 : 0.69);
        ck_assert_double_eq(class->generator, k == 0 ? 0.25 : 0.75);
        ck_assert_double_eq(class->reward, k == 0 ? 1.5 : 0.0);
    }
    check_optimum(shares, count);
    expect_near(shares->sequence_kl, log_ratio / (PROMPTS * SAMPLES), 1e-12, "KL per answer");
    ck_assert_double_ne(shares->sequence_kl, 0.0);
    qa_suite_result_free(&result);
    free(transcript);
    close_world(&world);
}
END_TEST

START_TEST(without_a_preference_there_is_no_optimum) {
    suite_world world = open_world();
    const qa_suite_options options = options_of(&world);
    write_prompts(&world);
    write_definition(&world, SHARES);
    qa_suite_result result = run(&world, world.dir, NULL, &options);
    const qa_shares_result *shares = &result.shares[0];
    ck_assert_uint_eq(shares->answers, PROMPTS * SAMPLES);
    ck_assert(isnan(shares->mean_reward) && isnan(shares->total_variation) && isnan(shares->kl_to_optimum));
    ck_assert(isnan(shares->classes[0].optimum) && isnan(shares->classes[0].reward) && isnan(shares->sequence_kl));
    qa_suite_result_free(&result);
    close_world(&world);
}
END_TEST

/* The seed decides, and the limit cuts. */
START_TEST(seeds_and_limits) {
    suite_world world = open_world();
    qa_suite_options options = options_of(&world);
    char *paths[3] = {qa_tempdir_join(world.dir, "a"), qa_tempdir_join(world.dir, "b"),
                      qa_tempdir_join(world.dir, "c")};
    char *texts[3];
    write_prompts(&world);
    write_definition(&world, SHARES);
    options.limit = 2;
    for (int i = 0; i < 3; i++) {
        options.seed = i == 2 ? 4 : 3;
        options.transcript = paths[i];
        qa_suite_result result = run(&world, world.dir, NULL, &options);
        ck_assert_uint_eq(result.shares[0].answers, 2 * SAMPLES);
        qa_suite_result_free(&result);
        texts[i] = qa_tempdir_read(paths[i], NULL);
    }
    ck_assert_str_eq(texts[0], texts[1]);
    ck_assert_str_ne(texts[0], texts[2]);
    for (int i = 0; i < 3; i++) {
        free(paths[i]);
        free(texts[i]);
    }
    close_world(&world);
}
END_TEST

/* ---- ordinary text ---- */

/* exp of the mean of -log pi over learned tokens, one document and one token at a time. */
static double plain_perplexity(const suite_world *world, const char *path, const qa_adapter *adapter, size_t *tokens) {
    qa_corpus *corpus = NULL;
    qa_error err = {0};
    const qa_sampling sampling = qa_sampling_defaults();
    double log_policy[TINY_BYTES_VOCAB];
    double sum = 0.0;
    expect_ok(qa_corpus_load(&corpus, path, world->tokenizer, QA_CHAT_CHATML, QA_LEARN_RESPONSES, CONTEXT,
                             TINY_BYTES_VOCAB, &err),
              &err);
    for (size_t d = 0; d < qa_corpus_count(corpus); d++) {
        const qa_document *document = qa_corpus_at(corpus, d);
        qa_generator *generator = NULL;
        expect_ok(qa_generator_create(&generator, world->fixture.model, adapter, QA_POLICY_CUSTOM, &OBJECTIVE,
                                      &sampling, CONTEXT, &err),
                  &err);
        for (size_t i = 0; i < document->n; i++) {
            if (document->learned[i]) {
                expect_ok(qa_generator_log_policy(generator, log_policy, &err), &err);
                sum += log_policy[document->ids[i]];
                ++*tokens;
            }
            expect_ok(qa_generator_feed(generator, &document->ids[i], 1, &err), &err);
        }
        qa_generator_free(generator);
    }
    qa_corpus_free(corpus);
    return exp(-sum / (double)*tokens);
}

START_TEST(perplexity_token_by_token) {
    suite_world world = open_world();
    const qa_suite_options options = options_of(&world);
    const qa_adapter *adapters[2] = {NULL, world.fixture.adapter};
    double found[2];
    char text[8192] = "{\"text\": \"It rains.\"}\n";
    for (int i = 0; i < 30; i++) { /* more rows than one pass takes */
        const size_t used = strlen(text);
        (void)snprintf(text + used, sizeof text - used,
                       "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi %d\"}, {\"role\": \"assistant\", "
                       "\"content\": \"%.*s!\"}]}\n",
                       i, 1 + i * 2 % 40, "Good evening to you and to all your family");
    }
    char *path = qa_tempdir_write_text(world.dir, "text.jsonl", text);
    write_definition(&world, ", \"text\": {\"file\": \"text.jsonl\"}");
    for (int i = 0; i < 2; i++) {
        size_t tokens = 0;
        const double expected = plain_perplexity(&world, path, adapters[i], &tokens);
        qa_suite_result result = run(&world, world.dir, adapters[i], &options);
        ck_assert_uint_eq(result.perplexity_tokens, tokens);
        expect_near(result.perplexity, expected, TOLERANCE, "perplexity");
        found[i] = result.perplexity;
        qa_suite_result_free(&result);
    }
    ck_assert(fabs(found[0] - found[1]) > 1e-3 * found[0]);
    free(path);
    close_world(&world);
}
END_TEST

/* The ordinary text is read as training reads it, and what is left out or not used of it is told. */
START_TEST(what_the_text_leaves_out_is_told) {
    suite_world world = open_world();
    const qa_suite_options options = options_of(&world);
    char text[2048] = "{\"text\": \"\", \"title\": \"t\"}\n{\"text\": \"";
    memset(text + strlen(text), 'a', 1000);
    (void)strcat(text, "\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
                       "\"content\": \"a<|im_end|>\"}]}\n");
    free(qa_tempdir_write_text(world.dir, "text.jsonl", text));
    write_definition(&world, ", \"text\": {\"file\": \"text.jsonl\"}");
    qa_suite_result result = run(&world, world.dir, NULL, &options);
    static const char *const parts[] = {"not used: title", "an end token of their own: 1 (first: line 3)",
                                        "documents cut at the model's context", "left out: 1"};
    ck_assert_uint_eq(result.warnings.n, sizeof parts / sizeof parts[0]);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        ck_assert_msg(strstr(result.warnings.lines[i], parts[i]) != NULL, "%s", result.warnings.lines[i]);
    }
    qa_suite_result_free(&result);
    close_world(&world);
}
END_TEST

/* A text that ends with any of the model's end-of-sequence ids gets no second end. */
START_TEST(a_text_ends_with_any_of_the_models_ids) {
    suite_world world = open_world();
    const qa_suite_options options = options_of(&world);
    const qa_model_info *info = qa_model_get_info(world.fixture.model);
    size_t tokens[2];
    for (int i = 0; i < 2; i++) {
        char text[128];
        const char *end = i == 0 ? "" : qa_tokenizer_token(world.tokenizer, info->eos_ids[info->n_eos - 1]);
        (void)snprintf(text, sizeof text, "{\"text\": \"It rains.%s\"}\n", end);
        free(qa_tempdir_write_text(world.dir, "text.jsonl", text));
        write_definition(&world, ", \"text\": {\"file\": \"text.jsonl\"}");
        qa_suite_result result = run(&world, world.dir, NULL, &options);
        tokens[i] = result.perplexity_tokens;
        qa_suite_result_free(&result);
    }
    ck_assert_uint_eq(tokens[0], tokens[1]);
    close_world(&world);
}
END_TEST

/* ---- what goes wrong ---- */

static void expect_refusal(const suite_world *world, const qa_suite_options *options, qa_status code,
                           const char *message) {
    qa_suite *suite = load(world->dir);
    qa_suite_result result;
    qa_error err = {0};
    expect_error(
        qa_suite_run(suite, world->fixture.model, world->fixture.adapter, world->tokenizer, options, &result, &err),
        code, &err, message);
    qa_suite_free(suite);
}

static bool stop_soon(void *user, const char *what, size_t done, size_t total) {
    ck_assert_str_eq(what, "letters");
    ck_assert_uint_eq(total, PROMPTS * SAMPLES);
    *(size_t *)user = done;
    return done < 11;
}

START_TEST(refusals) {
    suite_world world = open_world();
    qa_suite_options options = options_of(&world);
    write_prompts(&world);
    write_definition(&world, SHARES);
    options.samples = 0;
    expect_refusal(&world, &options, QA_ERR_ARGUMENT, "samples and batch must be 1 or more");
    options = options_of(&world);
    options.objective = NULL;
    expect_refusal(&world, &options, QA_ERR_ARGUMENT, "an adapter needs an objective");
    options = options_of(&world);
    options.sum = &(qa_suite_term){"sweets", 1.0};
    options.n_sum = 1;
    expect_refusal(&world, &options, QA_ERR_ARGUMENT, "has no preference \"sweets\"; it has vowels");
    options = options_of(&world);
    options.chat = QA_CHAT_UNKNOWN;
    expect_refusal(&world, &options, QA_ERR_UNSUPPORTED, "open.jsonl:1: ");
    options = options_of(&world);
    char *nowhere = qa_tempdir_join(world.dir, "none/transcript");
    options.transcript = nowhere;
    expect_refusal(&world, &options, QA_ERR_IO, "none/transcript");
    free(nowhere);
    close_world(&world);
}
END_TEST

START_TEST(stopping_leaves_no_transcript) {
    suite_world world = open_world();
    qa_suite_options options = options_of(&world);
    char *transcript = qa_tempdir_join(world.dir, "transcript.jsonl");
    size_t done = 0;
    write_prompts(&world);
    write_definition(&world, SHARES);
    const size_t before = qa_tempdir_entries(world.dir);
    options.transcript = transcript;
    options.progress = stop_soon;
    options.user = &done;
    expect_refusal(&world, &options, QA_ERR_INTERRUPTED, "stopped after 11");
    ck_assert_uint_eq(done, 11);
    ck_assert_uint_eq(qa_tempdir_entries(world.dir), before);
    free(transcript);
    close_world(&world);
}
END_TEST

START_TEST(a_transcript_on_a_full_disk) {
    suite_world world = open_world();
    qa_suite_options options = options_of(&world);
    char *device = qa_tempdir_full_device(world.dir);
    write_prompts(&world);
    write_definition(&world, SHARES);
    if (device != NULL) {
        options.transcript = device;
        expect_refusal(&world, &options, QA_ERR_IO, "No space left");
    }
    free(device);
    close_world(&world);
}
END_TEST

START_TEST(a_prompt_longer_than_the_context) {
    suite_world world = open_world();
    const qa_suite_options options = options_of(&world);
    char text[512];
    (void)snprintf(text, sizeof text,
                   "{\"messages\": [{\"role\": \"user\", \"content\": \"short\"}]}\n\n{\"messages\": [{\"role\": "
                   "\"user\", \"content\": \"%0150d\"}]}\n",
                   0);
    free(qa_tempdir_write_text(world.dir, "open.jsonl", text));
    write_definition(&world, SHARES);
    expect_refusal(&world, &options, QA_ERR_LIMIT, "open.jsonl:3: the prompt has ");
    close_world(&world);
}
END_TEST

Suite *suite_run_suite(void) {
    Suite *suite = suite_create("suite_run");
    TCase *tcase = tcase_create("run");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, greedy_answers_of_the_model_are_right);
    tcase_add_test(tcase, greedy_answers_of_the_policy_are_right);
    tcase_add_test(tcase, the_adapter_makes_a_difference);
    tcase_add_test(tcase, shares_are_counted);
    tcase_add_test(tcase, without_a_preference_there_is_no_optimum);
    tcase_add_test(tcase, seeds_and_limits);
    tcase_add_test(tcase, perplexity_token_by_token);
    tcase_add_test(tcase, what_the_text_leaves_out_is_told);
    tcase_add_test(tcase, a_text_ends_with_any_of_the_models_ids);
    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, stopping_leaves_no_transcript);
    tcase_add_test(tcase, a_transcript_on_a_full_disk);
    tcase_add_test(tcase, a_prompt_longer_than_the_context);
    suite_add_tcase(suite, tcase);
    return suite;
}
