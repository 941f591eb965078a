/* Pre-training as its caller sees it: the loss falls to the corpus' entropy, resuming gives the same bytes, a NaN loses
 * nothing, the folder is a model that loads, and what cannot be trained is refused by name. */
#include "qadapter/pretrain.h"

#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "support/corpora.h"
#include "support/fixture.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"
#include "support/training.h"

#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
#define EXACT 1e-12
#else
#define EXACT 1e-5
#endif

/* A shape, corpora of coin tosses, and an output folder. */
typedef struct setting {
    char *root, *model_dir, *config, *out;
    qa_context *context;
    qa_corpus *corpus, *evaluation;
    qa_pretrain_options options;
} setting;

static setting open_setting(size_t documents) {
    setting s = {.root = qa_tempdir_make()};
    qa_error err = {0};
    tiny_model_options model = tiny_model_defaults();
    model.tied = true;
    s.model_dir = qa_tempdir_join(s.root, "shape");
    s.out = qa_tempdir_join(s.root, "out");
    qa_expect_ok(qa_make_dirs(s.model_dir, &err), &err);
    tiny_model_write(s.model_dir, &model);
    s.config = qa_tempdir_join(s.model_dir, "config.json");
    qa_expect_ok(qa_context_create(&s.context, 2, (qa_logger){0}, &err), &err);
    s.corpus = qa_corpus_coins(documents, 1);
    s.evaluation = qa_corpus_coins(20, 2);
    s.options = qa_pretrain_defaults();
    s.options.out_dir = s.out;
    s.options.config_path = s.config;
    s.options.seed = 3;
    s.options.learning_rate = 1e-2;
    s.options.batch_tokens = 60; /* about 7 documents */
    s.options.micro_batch_tokens = 25;
    s.options.deviation = 0.1;
    return s;
}

static void close_setting(setting *s) {
    qa_corpus_free(s->corpus);
    qa_corpus_free(s->evaluation);
    qa_context_free(s->context);
    free(s->config);
    free(s->model_dir);
    free(s->out);
    qa_tempdir_remove(s->root);
}

static qa_status train(setting *s, qa_error *err) {
    return qa_pretrain(s->context, s->corpus, s->evaluation, &s->options, err);
}

static void must_train(setting *s) {
    qa_error err = {0};
    qa_expect_ok(train(s, &err), &err);
}

static bool there(const char *dir, const char *name) {
    char *path = qa_tempdir_join(dir, name);
    const bool exists = qa_path_exists(path);
    free(path);
    return exists;
}

/* The last evaluation's loss. */
static double evaluation_loss(const char *dir) {
    qa_metrics_lines lines = qa_metrics_read(dir);
    ck_assert_uint_ge(lines.n, 1);
    const double loss = qa_metrics_number(lines.line[lines.n - 1], "eval_loss");
    qa_metrics_lines_free(&lines);
    return loss;
}

/* ---- learning ---- */

START_TEST(the_loss_falls_to_the_entropy) {
    /* the tosses are log(2) each, the end is certain: nobody can do better, but for luck, on fresh documents */
    const double entropy = QA_COIN_TOSSES * log(2.0) / (QA_COIN_TOSSES + 1);
    setting s = open_setting(200);
    s.options.max_steps = 120;
    s.options.batch_tokens = 360;
    s.options.eval_every = 40;
    must_train(&s);
    qa_metrics_lines lines = qa_metrics_read(s.out);
    ck_assert_uint_eq(lines.n, 120 + 3);
    const double first = qa_metrics_number(lines.line[0], "loss");
    ck_assert_msg(fabs(first - log(29.0)) < 0.5, "random weights have the loss %g", first);
    for (size_t i = 0; i < lines.n; i++) {
        const bool evaluation = qa_metrics_is_evaluation(lines.line[i]);
        const double loss = qa_metrics_number(lines.line[i], evaluation ? "eval_loss" : "loss");
        const double perplexity = qa_metrics_number(lines.line[i], evaluation ? "eval_perplexity" : "perplexity");
        ck_assert_msg(fabs(perplexity - exp(loss)) < 1e-9 * perplexity, "perplexity %g", perplexity);
    }
    qa_metrics_lines_free(&lines);
    const double loss = evaluation_loss(s.out); /* observed 0.998 times the entropy: the sample's own frequencies */
    ck_assert_msg(fabs(loss - entropy) < 0.02 * entropy, "loss %g, entropy %g", loss, entropy);
    close_setting(&s);
}
END_TEST

START_TEST(documents_are_learned_by_heart) {
    setting s = open_setting(10);
    qa_corpus_free(s.corpus);
    s.corpus = qa_corpus_random(8, 12, 29, 4);
    qa_corpus_free(s.evaluation);
    s.evaluation = NULL;
    s.options.max_steps = 200;
    s.options.batch_tokens = 1000;
    s.options.weight_decay = 0.0;
    must_train(&s);
    qa_metrics_lines lines = qa_metrics_read(s.out);
    /* which of eight documents it is shows with the second token, one to two tokens later everything is certain */
    const double most = 8 * log(8.0) / (double)qa_corpus_learned(s.corpus);
    const double loss = qa_metrics_number(lines.line[lines.n - 1], "loss");
    ck_assert_msg(loss < 1.1 * most, "loss %g after learning by heart, expected about %g", loss, most);
    qa_metrics_lines_free(&lines);
    close_setting(&s);
}
END_TEST

START_TEST(metrics_are_those_of_the_schedule) {
    setting s = open_setting(60); /* 540 rows: 9 steps of 60 */
    s.options.epochs = 2.0;
    s.options.warmup_steps = 4;
    s.options.min_learning_rate_ratio = 0.1;
    must_train(&s);
    qa_metrics_lines lines = qa_metrics_read(s.out);
    ck_assert_uint_eq(lines.n, 18 + 1);
    size_t tokens = 0;
    for (size_t i = 0; i < 18; i++) {
        const double step = (double)i, done = (step - 4.0) / 14.0;
        const double cosine = 0.001 + 0.009 * 0.5 * (1.0 + cos(3.14159265358979323846 * done));
        const double expected = i < 4 ? 0.01 * step / 4.0 : cosine;
        const double rate = qa_metrics_number(lines.line[i], "learning_rate");
        ck_assert_msg(fabs(rate - expected) < 1e-12, "rate %g of step %zu, expected %g", rate, i, expected);
        ck_assert_msg(fabs(qa_metrics_number(lines.line[i], "epoch") - (step + 1.0) / 9.0) < 1e-12, "epoch");
        ck_assert(qa_metrics_number(lines.line[i], "grad_norm") > 0.0);
        tokens += (size_t)qa_metrics_number(lines.line[i], "tokens");
    }
    ck_assert_uint_eq(tokens, 2 * 540);
    qa_metrics_lines_free(&lines);
    close_setting(&s);
}
END_TEST

/* With decay and a learning rate but no gradient to speak of, matrices shrink and vectors stay. */
START_TEST(only_matrices_decay) {
    setting s = open_setting(10);
    qa_error err = {0};
    s.options.max_steps = 1;
    s.options.schedule = QA_SCHEDULE_CONSTANT;
    s.options.warmup_ratio = 0.0;
    s.options.weight_decay = 50.0; /* times the rate: half */
    s.options.adam_epsilon = 1e30; /* no step but the decay */
    s.options.dump_gradients = qa_tempdir_join(s.root, "first.safetensors");
    must_train(&s);
    qa_safetensors *before = NULL, *after = NULL;
    char *path = qa_tempdir_join(s.out, "model.safetensors");
    qa_expect_ok(qa_safetensors_open(&before, s.options.dump_gradients, &err), &err);
    qa_expect_ok(qa_safetensors_open(&after, path, &err), &err);
    for (size_t i = 0; i < qa_safetensors_count(after); i++) {
        char name[256];
        const qa_tensor *tensor = qa_safetensors_at(after, i);
        (void)snprintf(name, sizeof name, "weight.%s", tensor->name);
        const qa_tensor *first = qa_safetensors_find(before, name);
        ck_assert_msg(first != NULL && first->count == tensor->count, "%s", name);
        double *was = malloc(first->count * sizeof *was), *is = malloc(tensor->count * sizeof *is);
        qa_expect_ok(qa_tensor_read_double(before, first, true, was, &err), &err);
        qa_expect_ok(qa_tensor_read_double(after, tensor, true, is, &err), &err);
        const double factor = tensor->n_dims == 2 ? 0.5 : 1.0;
        for (size_t j = 0; j < tensor->count; j++) {
            ck_assert_msg(fabs(is[j] - factor * was[j]) < 1e-6, "%s[%zu] went from %g to %g", tensor->name, j, was[j],
                          is[j]);
        }
        free(was);
        free(is);
    }
    qa_safetensors_close(before);
    qa_safetensors_close(after);
    free((char *)(uintptr_t)s.options.dump_gradients);
    free(path);
    close_setting(&s);
}
END_TEST

START_TEST(the_gradients_of_the_first_step) {
    setting s = open_setting(10);
    qa_error err = {0};
    qa_safetensors *file = NULL;
    char *path = qa_tempdir_join(s.root, "gradients.safetensors");
    s.options.max_steps = 2;
    s.options.dump_gradients = path;
    must_train(&s);
    qa_expect_ok(qa_safetensors_open(&file, path, &err), &err);
    qa_metrics_lines lines = qa_metrics_read(s.out);
    double loss = 0.0, squares = 0.0;
    size_t gradients = 0;
    for (size_t i = 0; i < qa_safetensors_count(file); i++) {
        const qa_tensor *tensor = qa_safetensors_at(file, i);
        if (strcmp(tensor->name, "loss") == 0) {
            qa_expect_ok(qa_tensor_read_double(file, tensor, true, &loss, &err), &err);
        } else if (strncmp(tensor->name, "gradient.", 9) == 0) {
            double *values = malloc(tensor->count * sizeof *values);
            qa_expect_ok(qa_tensor_read_double(file, tensor, true, values, &err), &err);
            for (size_t j = 0; j < tensor->count; j++) {
                squares += values[j] * values[j];
            }
            free(values);
            gradients++;
        }
    }
    ck_assert_uint_eq(gradients, 1 + 2 * 9 + 1);                      /* tied embedding, two layers, the last norm */
    ck_assert_uint_eq(qa_safetensors_count(file), 2 * gradients + 4); /* weights, loss, documents */
    ck_assert(fabs(loss - qa_metrics_number(lines.line[0], "loss")) < 1e-12);
    const double norm = qa_metrics_number(lines.line[0], "grad_norm");
    ck_assert_msg(fabs(sqrt(squares) - norm) < 1e-9 * norm, "norm %g of the file, %g of the metrics", sqrt(squares),
                  norm);
    qa_metrics_lines_free(&lines);
    qa_safetensors_close(file);
    free(path);
    close_setting(&s);
}
END_TEST

static int64_t *integers(const qa_safetensors *file, const char *name, size_t n) {
    qa_error err = {0};
    const qa_tensor *tensor = qa_safetensors_find(file, name);
    ck_assert_msg(tensor != NULL && tensor->count == n, "%s", name);
    int64_t *values = malloc(n * sizeof *values);
    qa_expect_ok(qa_tensor_read_int64(file, tensor, values, &err), &err);
    return values;
}

START_TEST(the_documents_of_the_first_step) {
    setting s = open_setting(5); /* one step takes all of them, in some order */
    qa_error err = {0};
    qa_safetensors *file = NULL;
    char *path = qa_tempdir_join(s.root, "gradients.safetensors");
    s.options.max_steps = 1;
    s.options.dump_gradients = path;
    must_train(&s);
    enum { LENGTH = QA_COIN_TOSSES + 2 };
    qa_expect_ok(qa_safetensors_open(&file, path, &err), &err);
    int64_t *lengths = integers(file, "documents.lengths", 5), *ids = integers(file, "documents.ids", 5 * LENGTH),
            *learned = integers(file, "documents.learned", 5 * LENGTH);
    bool seen[5] = {false};
    for (size_t i = 0; i < 5; i++) {
        ck_assert_int_eq(lengths[i], LENGTH);
        for (size_t d = 0; d < 5; d++) {
            bool same = true;
            for (size_t t = 0; t < LENGTH; t++) {
                same = same && qa_corpus_at(s.corpus, d)->ids[t] == ids[i * LENGTH + t];
            }
            seen[d] = seen[d] || same;
        }
        for (size_t t = 0; t < LENGTH; t++) {
            ck_assert_int_eq(learned[i * LENGTH + t], t > 0);
        }
    }
    ck_assert(seen[0] && seen[1] && seen[2] && seen[3] && seen[4]);
    free(lengths);
    free(ids);
    free(learned);
    qa_safetensors_close(file);
    free(path);
    close_setting(&s);
}
END_TEST

/* ---- the folder ---- */

START_TEST(the_folder_is_a_model) {
    static const char *const dtypes[] = {"F32", "BF16", "F16"};
    for (size_t i = 0; i < 3; i++) {
        setting s = open_setting(30);
        qa_model *model = NULL;
        qa_error err = {0};
        double loss = 0.0;
        size_t tokens = 0;
        s.options.max_steps = 6;
        s.options.dtype = dtypes[i];
        must_train(&s);
        qa_expect_ok(qa_model_load(&model, s.context, s.out, &err), &err);
        const qa_model_info *info = qa_model_get_info(model);
        ck_assert_str_eq(info->stored_dtype, dtypes[i]);
        ck_assert_uint_eq(info->vocab_size, 29);
        ck_assert(info->tie_word_embeddings);
        ck_assert_uint_eq(info->n_eos, 1);
        ck_assert_int_eq(info->eos_ids[0], 2);
        qa_expect_ok(qa_corpus_loss(model, s.evaluation, &loss, &tokens, &err), &err);
        ck_assert_uint_eq(tokens, qa_corpus_learned(s.evaluation));
        const double expected = evaluation_loss(s.out);
        const double tolerance = i == 0 ? 1e-6 : i == 1 ? 2e-2 : 3e-3;
        ck_assert_msg(fabs(loss - expected) < tolerance, "%s: loss %.9g, in training %.9g", dtypes[i], loss, expected);
        /* so is its last checkpoint */
        char *checkpoint = qa_tempdir_join(s.out, "checkpoint-6");
        qa_expect_same_file(s.out, checkpoint, "model.safetensors");
        qa_expect_same_file(s.out, checkpoint, "config.json");
        free(checkpoint);
        qa_model_free(model);
        close_setting(&s);
    }
}
END_TEST

/* The weights are kept in F32, and the run is finished from there with another dtype. */
START_TEST(weights_that_f16_cannot_hold_are_not_lost) {
    setting s = open_setting(30);
    qa_model *model = NULL;
    qa_error err = {0};
    s.options.max_steps = 2;
    s.options.save_every = 1;
    s.options.learning_rate = 1e5;
    s.options.dtype = "F16";
    qa_expect_error(train(&s, &err), QA_ERR_NAN, &err, "nothing is lost: ");
    ck_assert_ptr_nonnull(strstr(err.message, "checkpoint-2 holds it in F32"));
    ck_assert_ptr_nonnull(strstr(err.message, "--resume"));
    ck_assert(!there(s.out, "model.safetensors"));
    s.options.resume = true;
    s.options.dtype = "F32";
    must_train(&s);
    char *checkpoint = qa_tempdir_join(s.out, "checkpoint-2");
    qa_expect_same_file(s.out, checkpoint, "model.safetensors");
    qa_expect_ok(qa_model_load(&model, s.context, s.out, &err), &err);
    ck_assert_str_eq(qa_model_get_info(model)->stored_dtype, "F32");
    qa_model_free(model);
    free(checkpoint);
    close_setting(&s);
}
END_TEST

START_TEST(the_tokenizer_goes_with_it) {
    setting s = open_setting(10);
    qa_error err = {0};
    tiny_model_options model = tiny_model_defaults();
    model.vocab_size = TINY_BYTES_VOCAB;
    model.vocab_size++; /* <pad>, which special_tokens_map.json declares */
    model.eos = false;  /* the config names no special ids: the tokenizer does */
    tiny_model_write(s.model_dir, &model);
    char *tokenizer = qa_tempdir_join(s.root, "tokenizer");
    qa_expect_ok(qa_make_dirs(tokenizer, &err), &err);
    tiny_tokenizer_write(tokenizer, &(tiny_tokenizer_options){.kind = TINY_BYTES});
    free(qa_tempdir_write_text(tokenizer, "chat_template.jinja", "any"));
    free(qa_tempdir_write_text(tokenizer, "special_tokens_map.json", "{\"pad_token\": \"<pad>\"}"));
    free(qa_tempdir_write_text(tokenizer, "added_tokens.json", "{}"));
    free(qa_tempdir_write_text(tokenizer, "notes.txt", "not ours"));
    s.options.tokenizer_dir = tokenizer;
    s.options.max_steps = 1;
    must_train(&s);
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                                        "special_tokens_map.json", "added_tokens.json"};
    char *checkpoint = qa_tempdir_join(s.out, "checkpoint-1");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        qa_expect_same_file(tokenizer, s.out, names[i]);
        qa_expect_same_file(tokenizer, checkpoint, names[i]);
    }
    ck_assert(!there(s.out, "notes.txt"));
    qa_model *loaded = NULL;
    qa_expect_ok(qa_model_load(&loaded, s.context, s.out, &err), &err);
    ck_assert_int_eq(qa_model_get_info(loaded)->bos_id, 0);
    ck_assert_uint_eq(qa_model_get_info(loaded)->n_eos, 1);
    ck_assert_int_eq(qa_model_get_info(loaded)->eos_ids[0], 1);
    qa_model_free(loaded);
    free(checkpoint);
    free(tokenizer);
    close_setting(&s);
}
END_TEST

START_TEST(another_run_is_not_overwritten_unasked) {
    setting s = open_setting(10);
    qa_error err = {0};
    s.options.max_steps = 1;
    must_train(&s);
    qa_expect_error(train(&s, &err), QA_ERR_EXISTS, &err, "holds another run");
    s.options.overwrite = true;
    free(qa_tempdir_write_text(s.out, "notes.txt", "mine"));
    must_train(&s);
    ck_assert(there(s.out, "notes.txt"));
    s.options.overwrite = false;
    s.options.resume = true; /* a finished run: nothing to do */
    must_train(&s);

    /* a model that lies there without a run is somebody's own */
    s.options.resume = false;
    s.options.overwrite = true;
    char *other = qa_tempdir_join(s.root, "other");
    qa_expect_ok(qa_make_dirs(other, &err), &err);
    free(qa_tempdir_write_text(other, "model.safetensors", "mine"));
    s.options.out_dir = other;
    qa_expect_error(train(&s, &err), QA_ERR_EXISTS, &err, "no run here made");
    ck_assert(there(other, "model.safetensors"));
    free(other);
    s.options.out_dir = s.model_dir; /* where the config is */
    qa_expect_error(train(&s, &err), QA_ERR_ARGUMENT, &err, "holds the config that training begins with");
    ck_assert(there(s.model_dir, "config.json") && there(s.model_dir, "model.safetensors"));
    s.options.overwrite = false;
    qa_expect_error(train(&s, &err), QA_ERR_EXISTS, &err, "holds");
    s.options.resume = true;
    qa_expect_error(train(&s, &err), QA_ERR_EXISTS, &err, "no checkpoint to resume from");
    close_setting(&s);
}
END_TEST

START_TEST(a_folder_that_holds_what_it_begins_with) {
    setting s = open_setting(10);
    qa_error err = {0};
    char *path = qa_tempdir_join(s.model_dir, "model.safetensors");
    tiny_model_options model = tiny_model_defaults();
    model.vocab_size = TINY_BYTES_VOCAB;
    tiny_model_write(s.model_dir, &model);
    qa_expect_ok(qa_remove_tree(path, &err), &err);
    tiny_tokenizer_write(s.model_dir, &(tiny_tokenizer_options){.kind = TINY_BYTES});
    s.options.out_dir = s.options.tokenizer_dir = s.model_dir;
    s.options.max_steps = 1;
    must_train(&s); /* config.json, tokenizer and model in one folder */
    ck_assert(there(s.model_dir, "tokenizer.json") && there(s.model_dir, "model.safetensors"));
    s.options.overwrite = true;
    qa_expect_error(train(&s, &err), QA_ERR_ARGUMENT, &err, "holds the config that training begins with");
    char *elsewhere = qa_tempdir_join(s.root, "config.json"), *text = qa_tempdir_read(s.config, NULL);
    free(qa_tempdir_write_text(s.root, "config.json", text));
    s.options.config_path = elsewhere;
    qa_expect_error(train(&s, &err), QA_ERR_ARGUMENT, &err, "holds the tokenizer that training begins with");
    ck_assert(there(s.model_dir, "tokenizer.json") && there(s.model_dir, "model.safetensors"));
    free(text);
    free(elsewhere);
    free(path);
    close_setting(&s);
}
END_TEST

/* ---- stopping and going on ---- */

typedef struct stop_request {
    size_t after; /* steps */
    bool at_evaluation;
    size_t first; /* the first step that was reported */
} stop_request;

static bool stop_after(void *user, const qa_pretrain_metrics *metrics) {
    stop_request *stop = user;
    if (!metrics->is_evaluation && stop->first == 0) {
        stop->first = metrics->step;
    }
    return metrics->is_evaluation ? !(stop->at_evaluation && metrics->step == stop->after)
                                  : stop->at_evaluation || metrics->step != stop->after;
}

static void prepare_to_stop(setting *s) {
    s->options.epochs = 2.5; /* 9 steps an epoch: 23 */
    s->options.eval_every = 5;
    s->options.save_every = 4;
    s->options.dtype = "BF16"; /* rounded files must not round the run */
}

/* A run stopped after some steps and resumed equals one that was not. */
static void check_resume(stop_request first, stop_request second) {
    setting whole = open_setting(60), parts = open_setting(60);
    qa_error err = {0};
    prepare_to_stop(&whole);
    must_train(&whole);
    prepare_to_stop(&parts);
    stop_request stops[] = {first, second, {0}};
    for (size_t i = 0; i < 3; i++) {
        parts.options.on_metrics = stop_after;
        parts.options.user = &stops[i];
        const qa_status status = train(&parts, &err);
        if (stops[i].after == 0) {
            qa_expect_ok(status, &err);
        } else {
            qa_expect_error(status, QA_ERR_INTERRUPTED, &err, "--resume continues");
            ck_assert(!there(parts.out, "model.safetensors"));
        }
        if (i > 0) {
            ck_assert_uint_eq(stops[i].first, stops[i - 1].after + 1);
        }
        parts.options.resume = true;
    }
    qa_expect_same_file(whole.out, parts.out, "model.safetensors");
    qa_expect_same_file(whole.out, parts.out, "config.json");
    qa_expect_same_metrics(whole.out, parts.out);
    char *a = qa_tempdir_join(whole.out, "checkpoint-23"), *b = qa_tempdir_join(parts.out, "checkpoint-23");
    qa_expect_same_file(a, b, "run_state.safetensors");
    free(a);
    free(b);
    close_setting(&whole);
    close_setting(&parts);
}

typedef struct question_count {
    size_t asked, stop_at; /* from 1; 0: never */
} question_count;

static bool count_questions(void *user) {
    question_count *count = user;
    return ++count->asked == count->stop_at;
}

/* Stopped before some pass, within a step or an evaluation, and resumed: what was half done is done again. */
START_TEST(stopping_between_passes) {
    setting whole = open_setting(60), parts = open_setting(60);
    qa_error err = {0};
    question_count all = {0};
    prepare_to_stop(&whole);
    whole.options.micro_batch_tokens = 30;
    whole.options.should_stop = count_questions;
    whole.options.user = &all;
    must_train(&whole);
    ck_assert_uint_gt(all.asked, 2 * 23); /* several passes a step */
    question_count some = {.stop_at = all.asked * (size_t)(_i + 1) / 9};
    prepare_to_stop(&parts);
    parts.options.micro_batch_tokens = 30;
    parts.options.should_stop = count_questions;
    parts.options.user = &some;
    qa_expect_error(train(&parts, &err), QA_ERR_INTERRUPTED, &err, "stopped after step ");
    ck_assert_uint_eq(some.asked, some.stop_at);
    parts.options.resume = true;
    qa_expect_ok(train(&parts, &err), &err);
    qa_expect_same_file(whole.out, parts.out, "model.safetensors");
    qa_expect_same_metrics(whole.out, parts.out);
    close_setting(&whole);
    close_setting(&parts);
}
END_TEST

START_TEST(resuming_gives_the_same_bytes) {
    check_resume((stop_request){.after = 3}, (stop_request){.after = 11});
    check_resume((stop_request){.after = 9},
                 (stop_request){.after = 15, .at_evaluation = true}); /* at an epoch's end */
}
END_TEST

START_TEST(the_same_run_twice) {
    setting a = open_setting(60), b = open_setting(60), c = open_setting(60);
    a.options.max_steps = b.options.max_steps = c.options.max_steps = 5;
    c.options.seed = 4;
    must_train(&a);
    must_train(&b);
    must_train(&c);
    qa_expect_same_file(a.out, b.out, "model.safetensors");
    qa_expect_same_metrics(a.out, b.out);
    qa_metrics_lines of_a = qa_metrics_read(a.out), of_c = qa_metrics_read(c.out);
    ck_assert(qa_metrics_number(of_a.line[0], "loss") != qa_metrics_number(of_c.line[0], "loss"));
    qa_metrics_lines_free(&of_a);
    qa_metrics_lines_free(&of_c);
    close_setting(&a);
    close_setting(&b);
    close_setting(&c);
}
END_TEST

/* One stream: running the layers again changes no bit, also of a run that is continued so. */
START_TEST(running_layers_again_changes_nothing_but_the_memory) {
    setting a = open_setting(60), b = open_setting(60);
    qa_error err = {0};
    qa_pretrain_plan kept, again;
    a.options.max_steps = b.options.max_steps = 6;
    b.options.recompute = true;
    qa_expect_ok(qa_pretrain_plan_make(&kept, a.context, a.corpus, a.evaluation, &a.options, &err), &err);
    qa_expect_ok(qa_pretrain_plan_make(&again, b.context, b.corpus, b.evaluation, &b.options, &err), &err);
    ck_assert_uint_lt(again.workspace_bytes, kept.workspace_bytes);
    must_train(&a);
    stop_request at_4 = {.after = 4};
    b.options.on_metrics = stop_after;
    b.options.user = &at_4;
    ck_assert_int_eq(train(&b, &err), QA_ERR_INTERRUPTED);
    b.options.on_metrics = NULL;
    b.options.recompute = false;
    b.options.resume = true;
    must_train(&b);
    qa_expect_same_file(a.out, b.out, "model.safetensors");
    qa_expect_same_metrics(a.out, b.out);
    close_setting(&a);
    close_setting(&b);
}
END_TEST

START_TEST(passes_of_any_size_give_the_same_training) {
    setting a = open_setting(60), b = open_setting(60);
    a.options.max_steps = b.options.max_steps = 5;
    b.options.micro_batch_tokens = 1000;
    must_train(&a);
    must_train(&b);
    qa_metrics_lines of_a = qa_metrics_read(a.out), of_b = qa_metrics_read(b.out);
    for (size_t i = 0; i < 5; i++) {
        const double x = qa_metrics_number(of_a.line[i], "loss"), y = qa_metrics_number(of_b.line[i], "loss");
        ck_assert_msg(fabs(x - y) < 10 * EXACT, "step %zu: %.15g and %.15g", i + 1, x, y);
    }
    qa_metrics_lines_free(&of_a);
    qa_metrics_lines_free(&of_b);
    close_setting(&a);
    close_setting(&b);
}
END_TEST

START_TEST(resuming_with_something_else) {
    setting s = open_setting(60);
    qa_error err = {0};
    stop_request stop = {.after = 3};
    prepare_to_stop(&s);
    s.options.on_metrics = stop_after;
    s.options.user = &stop;
    qa_expect_error(train(&s, &err), QA_ERR_INTERRUPTED, &err, "stopped after step 3 of 23");
    s.options.resume = true;
    const qa_pretrain_options right = s.options;
    s.options.learning_rate = 2e-2;
    qa_expect_error(train(&s, &err), QA_ERR_MISMATCH, &err, "learning_rate is 0.02 now but was 0.01");
    s.options = right;
    s.options.batch_tokens = 61;
    qa_expect_error(train(&s, &err), QA_ERR_MISMATCH, &err, "batch_tokens");
    s.options = right;
    qa_corpus *corpus = s.corpus;
    s.corpus = qa_corpus_coins(60, 5);
    qa_expect_error(train(&s, &err), QA_ERR_MISMATCH, &err, "data_fingerprint");
    qa_corpus_free(s.corpus);
    s.corpus = corpus;
    tiny_model_options model = tiny_model_defaults();
    tiny_model_write(s.model_dir, &model); /* not tied any more */
    qa_expect_error(train(&s, &err), QA_ERR_MISMATCH, &err, "tie_word_embeddings");
    model.tied = true;
    tiny_model_write(s.model_dir, &model);
    s.options.on_metrics = NULL;
    must_train(&s); /* nothing was lost by trying */
    close_setting(&s);
}
END_TEST

START_TEST(only_the_newest_checkpoints_are_kept) {
    setting s = open_setting(60);
    s.options.max_steps = 9;
    s.options.save_every = 2;
    s.options.save_total_limit = 2;
    must_train(&s);
    ck_assert(!there(s.out, "checkpoint-4") && !there(s.out, "checkpoint-6"));
    ck_assert(there(s.out, "checkpoint-8") && there(s.out, "checkpoint-9"));
    close_setting(&s);
}
END_TEST

START_TEST(a_diverging_run_loses_nothing) {
    setting s = open_setting(60);
    qa_error err = {0};
    s.options.max_steps = 9;
    s.options.save_every = 1;
    s.options.save_total_limit = 0;
    s.options.schedule = QA_SCHEDULE_CONSTANT;
    s.options.warmup_steps = 4; /* rates 0, 1/4, ... of too much */
    s.options.learning_rate = 1e300;
    const qa_status status = train(&s, &err);
    qa_expect_error(status, QA_ERR_NAN, &err, "step ");
    /* the first step had the rate 0: its checkpoint is there, complete, and resuming meets the same end */
    ck_assert(there(s.out, "checkpoint-1"));
    ck_assert(!there(s.out, "model.safetensors"));
    char first[QA_MESSAGE_BYTES];
    memcpy(first, err.message, sizeof first);
    s.options.resume = true;
    qa_expect_error(train(&s, &err), QA_ERR_NAN, &err, "step ");
    ck_assert_str_eq(first, err.message);
    close_setting(&s);
}
END_TEST

/* ---- what cannot be trained ---- */

static void expect_refused(setting *s, qa_status status, const char *message) {
    qa_error err = {0};
    qa_pretrain_plan plan;
    qa_expect_error(train(s, &err), status, &err, message);
    ck_assert(!there(s->out, "metrics.jsonl")); /* refused before anything is written */
    err = (qa_error){0};
    qa_expect_error(qa_pretrain_plan_make(&plan, s->context, s->corpus, s->evaluation, &s->options, &err), status, &err,
                    message);
}

START_TEST(what_does_not_fit_is_refused) {
    setting s = open_setting(10);
    const qa_pretrain_options right = s.options;
    qa_corpus *corpus = s.corpus;
    s.corpus = qa_corpus_random(80, 70, 29, 1); /* the context is 64 */
    expect_refused(&s, QA_ERR_LIMIT, "but the model's context is 64");
    qa_corpus_free(s.corpus);
    s.corpus = qa_corpus_random(9, 20, 300, 1);
    expect_refused(&s, QA_ERR_ARGUMENT, "outside the vocabulary of 29");
    qa_corpus *evaluation = s.evaluation;
    s.evaluation = s.corpus;
    s.corpus = corpus;
    s.options.eval_data_path = "validation.jsonl";
    expect_refused(&s, QA_ERR_ARGUMENT, "of validation.jsonl: the id");
    qa_corpus_free(s.evaluation);
    s.evaluation = evaluation;
    s.options = right;
    s.options.max_length = 65;
    expect_refused(&s, QA_ERR_ARGUMENT, "max_length 65 is above the model's context of 64");
    s.options = right;
    char *tokenizer = qa_tempdir_join(s.root, "tokenizer");
    qa_error err = {0};
    qa_expect_ok(qa_make_dirs(tokenizer, &err), &err);
    tiny_tokenizer_write(tokenizer, &(tiny_tokenizer_options){.kind = TINY_BYTES});
    s.options.tokenizer_dir = tokenizer;
    expect_refused(&s, QA_ERR_MISMATCH, "does not fit the model: it has 260 tokens, config.json's vocab_size is 29");
    s.options = right;
    s.options.config_path = "/nonexistent/config.json";
    expect_refused(&s, QA_ERR_IO, "/nonexistent/config.json");
    free(tokenizer);
    close_setting(&s);
}
END_TEST

START_TEST(configs_with_ids_outside_are_refused) {
    static const char *const lines[] = {"\"bos_token_id\": 29, \"eos_token_id\": 2,",
                                        "\"bos_token_id\": 1, \"eos_token_id\": [2, 29],"};
    static const char *const messages[] = {"bos_token_id 29 is outside the vocabulary of 29",
                                           "eos_token_id 29 is outside the vocabulary of 29"};
    setting s = open_setting(10);
    char *text = qa_tempdir_read(s.config, NULL);
    char *at = strstr(text, "\"bos_token_id\": 1, \"eos_token_id\": 2,");
    ck_assert_ptr_nonnull(at);
    *at = '\0';
    for (size_t i = 0; i < 2; i++) {
        char changed[4096];
        (void)snprintf(changed, sizeof changed, "%s%s%s", text, lines[i],
                       at + strlen("\"bos_token_id\": 1, \"eos_token_id\": 2,"));
        free(qa_tempdir_write_text(s.model_dir, "config.json", changed));
        expect_refused(&s, QA_ERR_FORMAT, messages[i]);
    }
    free(text);
    close_setting(&s);
}
END_TEST

START_TEST(options_out_of_range_are_refused) {
    setting s = open_setting(10);
    const qa_pretrain_options right = s.options;
#define REFUSED(field, value, message)                                                                                 \
    s.options = right;                                                                                                 \
    s.options.field = (value);                                                                                         \
    expect_refused(&s, QA_ERR_ARGUMENT, message)
    REFUSED(dtype, "F64", "expected one of f32|f16|bf16");
    REFUSED(dtype, "I8", "expected one of f32|f16|bf16");
    REFUSED(learning_rate, 0.0, "learning_rate");
    REFUSED(learning_rate, (double)NAN, "learning_rate");
    REFUSED(min_learning_rate_ratio, 1.5, "min_learning_rate_ratio");
    REFUSED(deviation, 0.0, "deviation");
    REFUSED(warmup_ratio, -0.1, "warmup_ratio");
    REFUSED(max_grad_norm, -1.0, "max_grad_norm");
    REFUSED(weight_decay, -1.0, "weight_decay");
    REFUSED(adam_beta1, 1.0, "adam_beta1");
    REFUSED(adam_beta2, 1.0, "adam_beta2");
    REFUSED(adam_epsilon, 0.0, "adam_epsilon");
    REFUSED(epochs, 0.0, "epochs");
    REFUSED(batch_tokens, 0, "batch_tokens");
    REFUSED(micro_batch_tokens, 0, "micro_batch_tokens");
    REFUSED(config_path, NULL, "config_path");
    REFUSED(schedule, (qa_schedule)7, "schedule");
    s.options = right;
    s.options.out_dir = "";
    qa_error err = {0};
    qa_expect_error(train(&s, &err), QA_ERR_ARGUMENT, &err, "out_dir");
    close_setting(&s);
}
END_TEST

static void keep_warning(void *user, qa_log_level level, const char *line) {
    if (level == QA_LOG_WARNING) {
        (void)snprintf(user, QA_MESSAGE_BYTES, "%s", line);
    }
}

START_TEST(a_corpus_shorter_than_a_step_is_said) {
    setting s = open_setting(2);
    char warning[QA_MESSAGE_BYTES] = "";
    qa_error err = {0};
    qa_context_free(s.context);
    qa_expect_ok(qa_context_create(&s.context, 1, (qa_logger){keep_warning, warning}, &err), &err);
    s.options.max_steps = 2;
    must_train(&s);
    ck_assert_msg(strstr(warning, "18 tokens to run, less than one step's 60") != NULL, "%s", warning);
    close_setting(&s);
}
END_TEST

START_TEST(the_plan_is_what_happens) {
    setting s = open_setting(60);
    qa_error err = {0};
    qa_pretrain_plan plan;
    s.options.epochs = 1.5;
    qa_expect_ok(qa_pretrain_plan_make(&plan, s.context, s.corpus, s.evaluation, &s.options, &err), &err);
    ck_assert_uint_eq(plan.documents, 60);
    ck_assert_uint_eq(plan.rows, 540);
    ck_assert_uint_eq(plan.steps_per_epoch, 9);
    ck_assert_uint_eq(plan.total_steps, 14);
    ck_assert_uint_gt(plan.workspace_bytes, 0);
    must_train(&s);
    qa_model *model = NULL;
    qa_expect_ok(qa_model_load(&model, s.context, s.out, &err), &err);
    ck_assert_uint_eq(qa_model_get_info(model)->parameters, plan.parameters);
    qa_metrics_lines lines = qa_metrics_read(s.out);
    ck_assert_uint_eq(lines.n, 14 + 1);
    qa_metrics_lines_free(&lines);
    qa_model_free(model);
    close_setting(&s);
}
END_TEST

Suite *train_pretrain_suite(void);
Suite *train_pretrain_suite(void) {
    Suite *suite = suite_create("train_pretrain");
    TCase *learning = tcase_create("learning");
    TCase *folder = tcase_create("folder");
    TCase *course = tcase_create("course");
    TCase *refused = tcase_create("refused");
    tcase_set_timeout(learning, 60);
    tcase_set_timeout(course, 60);
    tcase_add_test(learning, the_loss_falls_to_the_entropy);
    tcase_add_test(learning, documents_are_learned_by_heart);
    tcase_add_test(learning, metrics_are_those_of_the_schedule);
    tcase_add_test(learning, only_matrices_decay);
    tcase_add_test(learning, the_gradients_of_the_first_step);
    tcase_add_test(learning, the_documents_of_the_first_step);
    tcase_add_test(folder, the_folder_is_a_model);
    tcase_add_test(folder, weights_that_f16_cannot_hold_are_not_lost);
    tcase_add_test(folder, the_tokenizer_goes_with_it);
    tcase_add_test(folder, another_run_is_not_overwritten_unasked);
    tcase_add_test(folder, a_folder_that_holds_what_it_begins_with);
    tcase_add_test(course, resuming_gives_the_same_bytes);
    tcase_add_test(course, the_same_run_twice);
    tcase_add_test(course, passes_of_any_size_give_the_same_training);
    tcase_add_test(course, running_layers_again_changes_nothing_but_the_memory);
    tcase_add_test(course, resuming_with_something_else);
    tcase_add_test(course, only_the_newest_checkpoints_are_kept);
    tcase_add_test(course, a_diverging_run_loses_nothing);
    tcase_add_test(refused, what_does_not_fit_is_refused);
    tcase_add_test(refused, configs_with_ids_outside_are_refused);
    tcase_add_test(refused, options_out_of_range_are_refused);
    tcase_add_test(refused, a_corpus_shorter_than_a_step_is_said);
    tcase_add_test(refused, the_plan_is_what_happens);
    tcase_add_loop_test(learning, stopping_between_passes, 0, 8);
    suite_add_tcase(suite, learning);
    suite_add_tcase(suite, folder);
    suite_add_tcase(suite, course);
    suite_add_tcase(suite, refused);
    return suite;
}
