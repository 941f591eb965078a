/* Packing documents into steps and passes, their loss against whole sequences run one by one, and the gradient of a
 * step by central differences in every tensor. */
#include "train/document_step.h"

#include "base/rng.h"
#include "model/pass.h"
#include "nn/softmax.h"
#include "support/compare.h"
#include "support/corpora.h"
#include "support/fixture.h"
#include "support/gradcheck.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"
#include "train/batch.h"
#include "train/document_plan.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
#define EXACT 1e-12 /* observed 4e-15 */
#else
#define EXACT 1e-5 /* observed 4e-7 */
#endif

/* ---- the plan ---- */

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Every document of the epoch is in exactly one step, in order; steps are not empty and differ by a document. */
static void check_plan(const qa_corpus *corpus, size_t batch_tokens) {
    const qa_pretrain_options options = {.batch_tokens = batch_tokens, .epochs = 2.0};
    const size_t n = qa_corpus_count(corpus);
    qa_document_plan plan;
    qa_error err = {0};
    qa_expect_ok(qa_document_plan_make(&plan, corpus, &options, &err), &err);
    ck_assert_uint_eq(plan.documents, n);
    ck_assert_uint_eq(plan.total_steps, 2 * plan.steps_per_epoch);
    size_t *order = malloc(n * sizeof *order), *first = malloc((plan.steps_per_epoch + 1) * sizeof *first);
    size_t longest = 0;
    for (size_t i = 0; i < n; i++) {
        longest = larger(longest, qa_document_rows(qa_corpus_at(corpus, i)));
    }
    for (size_t epoch = 0; epoch < 3; epoch++) {
        qa_epoch_order(order, n, true, 7, epoch);
        qa_document_plan_cut(&plan, corpus, order, first);
        ck_assert_uint_eq(first[0], 0);
        ck_assert_uint_eq(first[plan.steps_per_epoch], n);
        for (size_t s = 0; s < plan.steps_per_epoch; s++) {
            ck_assert_msg(first[s] < first[s + 1], "step %zu is empty", s);
            const qa_document_range range = {.corpus = corpus, .order = order, .begin = first[s], .end = first[s + 1]};
            const double rows = (double)qa_document_range_rows(&range);
            const double mean = (double)plan.rows / (double)plan.steps_per_epoch;
            ck_assert_msg(fabs(rows - mean) <= (double)longest + 1.0, "step %zu has %g rows, the mean is %g", s, rows,
                          mean);
        }
    }
    /* about as many rows as asked for, where that is possible */
    if (batch_tokens >= longest && batch_tokens <= plan.rows) {
        const double mean = (double)plan.rows / (double)plan.steps_per_epoch;
        ck_assert_msg(mean <= (double)batch_tokens + (double)longest && mean >= 0.5 * (double)batch_tokens,
                      "%g rows a step, asked for %zu", mean, batch_tokens);
    }
    free(order);
    free(first);
}

START_TEST(every_document_once_an_epoch) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        qa_corpus *corpus = qa_corpus_random(1 + 3 * seed, 2 + 5 * seed, 29, seed);
        for (size_t batch = 1; batch < 2000; batch = batch * 3 / 2 + 1) {
            check_plan(corpus, batch);
        }
        qa_corpus_free(corpus);
    }
}
END_TEST

START_TEST(passes_take_what_fits) {
    qa_corpus *corpus =
        qa_corpus_of("{\"ids\": [1,1,1]}\n{\"ids\": [1,1]}\n{\"ids\": [1,1,1,1,1,1,1]}\n{\"ids\": [1,1]}\n"
                     "{\"ids\": [1,1]}\n",
                     9, 5); /* rows 2 1 6 1 1 */
    const size_t order[5] = {2, 1, 0, 4, 3};
    ck_assert_uint_eq(qa_document_pass_end(corpus, NULL, 0, 5, 3), 2);
    ck_assert_uint_eq(qa_document_pass_end(corpus, NULL, 0, 5, 2), 1);
    ck_assert_uint_eq(qa_document_pass_end(corpus, NULL, 2, 5, 3), 3); /* one that is longer goes alone */
    ck_assert_uint_eq(qa_document_pass_end(corpus, NULL, 3, 5, 3), 5);
    ck_assert_uint_eq(qa_document_pass_end(corpus, NULL, 3, 4, 3), 4);
    ck_assert_uint_eq(qa_document_pass_end(corpus, order, 0, 5, 9), 3);
    ck_assert_uint_eq(qa_document_pass_end(corpus, order, 1, 5, 4), 4);
    qa_corpus_free(corpus);
}
END_TEST

/* ---- loss and gradient ---- */

/* A model to train, and a corpus of dialogues of which the answers are learned beside texts. */
typedef struct setting {
    char *dir;
    qa_context *context;
    qa_trainable *trainable;
    qa_corpus *corpus;
    qa_document_step *step;
} setting;

static const char dialogues[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"bc\"}]}\n"
    "{\"text\": \"some text\"}\n{\"text\": \"\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"d\"}, {\"role\": \"assistant\", \"content\": \"e\"}, "
    "{\"role\": "
    "\"user\", \"content\": \"f\"}, {\"role\": \"assistant\", \"content\": \"gh\"}]}\n{\"text\": \"x\"}\n";

static setting open_setting(bool tied, size_t rows) {
    setting s = {.dir = qa_tempdir_make()};
    qa_error err = {0};
    qa_tokenizer *tokenizer = NULL;
    tiny_model_options model = tiny_model_defaults();
    model.vocab_size = TINY_BYTES_VOCAB;
    model.max_positions = 128;
    model.tied = tied;
    tiny_model_write(s.dir, &model);
    tiny_tokenizer_write(s.dir, &(tiny_tokenizer_options){.kind = TINY_BYTES, .adds_bos = true});
    qa_expect_ok(qa_context_create(&s.context, 2, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_trainable_load(&s.trainable, s.context, s.dir, &err), &err);
    qa_expect_ok(qa_tokenizer_load(&tokenizer, s.dir, &err), &err);
    char *path = qa_tempdir_write_text(s.dir, "corpus.jsonl", dialogues);
    qa_expect_ok(
        qa_corpus_load(&s.corpus, path, tokenizer, QA_CHAT_CHATML, QA_LEARN_RESPONSES, 128, TINY_BYTES_VOCAB, &err),
        &err);
    qa_expect_ok(qa_document_step_create(&s.step, s.trainable->model, s.corpus, NULL,
                                         (qa_document_limits){.rows = rows, .backward = true}, &err),
                 &err);
    free(path);
    qa_tokenizer_free(tokenizer);
    return s;
}

static void close_setting(setting *s) {
    qa_document_step_free(s->step);
    qa_corpus_free(s->corpus);
    qa_trainable_free(s->trainable);
    qa_context_free(s->context);
    qa_tempdir_remove(s->dir);
}

static qa_document_range all_of(const setting *s) {
    return (qa_document_range){.corpus = s->corpus, .end = qa_corpus_count(s->corpus), .name = "the test"};
}

/* The loss of one document: the whole sequence through a pass of its own, one log-softmax after another. */
static double plain_loss(const setting *s, const qa_document *document) {
    const size_t V = s->trainable->model->config.vocab_size;
    const qa_pass_limits limits = {.max_rows = document->n, .max_states = 1};
    const qa_packed packed = {.trunk = {document->ids, document->n}};
    qa_pass *pass = NULL;
    qa_error err = {0};
    double loss = 0.0;
    qa_expect_ok(qa_pass_create(&pass, s->trainable->model, NULL, limits, &err), &err);
    for (size_t t = 1; t < document->n; t++) {
        if (document->learned[t]) {
            const size_t row = t - 1;
            qa_real *logits = NULL, *none = NULL;
            qa_expect_ok(qa_pass_forward(pass, &packed, &row, 1, 0, &err), &err);
            qa_pass_head(pass, 0, 1, &logits, &none);
            double sum = 0.0;
            for (size_t v = 0; v < V; v++) {
                sum += exp((double)logits[v]);
            }
            loss += log(sum) - (double)logits[document->ids[t]];
        }
    }
    qa_pass_free(pass);
    return loss;
}

static double loss_of(void *context) {
    setting *s = context;
    const qa_document_range range = all_of(s);
    qa_error err = {0};
    double loss = 0.0;
    qa_expect_ok(qa_document_step_run(s->step, &range, 0.0, NULL, &loss, &err), &err);
    return loss;
}

START_TEST(the_loss_is_that_of_whole_sequences) {
    for (size_t rows = 1; rows <= 64; rows *= 4) { /* one document a pass, to all in one */
        setting s = open_setting(false, rows);
        double expected = 0.0;
        for (size_t i = 0; i < qa_corpus_count(s.corpus); i++) {
            expected += plain_loss(&s, qa_corpus_at(s.corpus, i));
        }
        const double loss = loss_of(&s);
        ck_assert_msg(fabs(loss - expected) <= EXACT * expected, "%.15g, expected %.15g", loss, expected);
        double mean = 0.0;
        size_t tokens = 0;
        qa_error err = {0};
        qa_expect_ok(qa_corpus_loss(s.trainable->model, s.corpus, &mean, &tokens, &err), &err);
        ck_assert_uint_eq(tokens, qa_corpus_learned(s.corpus));
        const qa_document_range range = all_of(&s);
        ck_assert_uint_eq(tokens, qa_document_range_learned(&range));
        ck_assert_msg(fabs(mean * (double)tokens - expected) <= EXACT * expected, "mean %.15g", mean);
        close_setting(&s);
    }
}
END_TEST

/* The gradient of weight * loss, added to the trainable's. */
static void add_gradient(setting *s, double weight) {
    const qa_document_range range = all_of(s);
    qa_error err = {0};
    double loss = 0.0;
    qa_expect_ok(qa_document_step_run(s->step, &range, weight, &s->trainable->gradients, &loss, &err), &err);
    ck_assert(loss > 0.0);
}

static void check_gradient(bool tied, size_t rows) {
    setting s = open_setting(tied, rows);
    qa_trainable *t = s.trainable;
    add_gradient(&s, 1.0);
    for (size_t i = 0; i < t->n_tensors; i++) {
        const qa_parameter_tensor *tensor = &t->tensors[i];
        QA_ASSERT_GRADIENT(tensor->name, t->parameters + tensor->offset, tensor->count, t->gradient + tensor->offset,
                           loss_of, &s, 1e-5, 1e-7, tensor->rows == TINY_BYTES_VOCAB ? 200 : 10, 3 + i);
    }
    close_setting(&s);
}

START_TEST(the_gradient_of_a_step) {
    check_gradient(false, 1000);
    check_gradient(true, 12);
}
END_TEST

START_TEST(gradients_are_weighted_and_added) {
    setting s = open_setting(true, 1000);
    qa_trainable *t = s.trainable;
    add_gradient(&s, 0.25);
    qa_real *expected = malloc(t->count * sizeof *expected);
    for (size_t i = 0; i < t->count; i++) {
        expected[i] = 3 * t->gradient[i];
    }
    add_gradient(&s, 0.5);
    QA_ASSERT_REALS("a quarter and a half", t->gradient, expected, t->count, EXACT, 0.0);
    memset(t->gradient, 0, t->count * sizeof *t->gradient);
    close_setting(&s);

    s = open_setting(true, 12); /* in several passes */
    add_gradient(&s, 0.75);
    QA_ASSERT_REALS("several passes", s.trainable->gradient, expected, s.trainable->count, EXACT, 0.0);
    free(expected);
    close_setting(&s);
}
END_TEST

START_TEST(a_nan_names_the_document) {
    setting s = open_setting(false, 1000);
    const qa_document_range range = all_of(&s);
    qa_error err = {0};
    double loss = 0.0;
    /* an embedding that only the last document looks up: 'x' */
    const qa_parameter_tensor *tensor = &s.trainable->tensors[0];
    ck_assert_str_eq(tensor->name, "model.embed_tokens.weight");
    s.trainable->parameters[tensor->offset + (4 + 'x') * tensor->columns] = (qa_real)NAN;
    const qa_status status = qa_document_step_run(s.step, &range, 1.0, &s.trainable->gradients, &loss, &err);
    qa_expect_error(status, QA_ERR_NAN, &err, "of the test");
    close_setting(&s);

    s = open_setting(false, 1000);
    /* a row of the head, which a pass does not look at: every document's loss; the first one is named */
    for (size_t i = 0; i < s.trainable->n_tensors; i++) {
        if (strcmp(s.trainable->tensors[i].name, "lm_head.weight") == 0) {
            s.trainable->parameters[s.trainable->tensors[i].offset] = (qa_real)NAN;
        }
    }
    qa_document_range last = all_of(&s);
    last.begin = 3;
    qa_expect_error(qa_document_step_run(s.step, &last, 1.0, NULL, &loss, &err), QA_ERR_NAN, &err,
                    "document at line 4 of the test: the loss is nan");
    close_setting(&s);
}
END_TEST

static size_t bytes_of(const setting *s, qa_document_limits limits) {
    qa_error err = {0};
    size_t bytes = 0;
    qa_expect_ok(qa_document_step_bytes(s->trainable->model, s->corpus, NULL, limits, &bytes, &err), &err);
    return bytes;
}

START_TEST(the_memory_is_as_announced) {
    setting s = open_setting(false, 64);
    const size_t many = bytes_of(&s, (qa_document_limits){.rows = 4096, .backward = true});
    ck_assert_uint_lt(bytes_of(&s, (qa_document_limits){.rows = 4, .backward = true}), many);
    const size_t forward = bytes_of(&s, (qa_document_limits){.rows = 4096});
    ck_assert_uint_lt(forward, many);
    const size_t recomputed = bytes_of(&s, (qa_document_limits){.rows = 4096, .backward = true, .recompute = true});
    ck_assert_uint_lt(recomputed, many);
    ck_assert_uint_lt(forward, recomputed);
    /* no more rows than the corpus has */
    ck_assert_uint_eq(bytes_of(&s, (qa_document_limits){.rows = (size_t)1 << 60, .backward = true}), many);
    close_setting(&s);
}
END_TEST

Suite *train_document_step_suite(void);
Suite *train_document_step_suite(void) {
    Suite *suite = suite_create("train_document_step");
    TCase *plan = tcase_create("plan");
    TCase *step = tcase_create("step");
    tcase_set_timeout(step, 60);
    tcase_add_test(plan, every_document_once_an_epoch);
    tcase_add_test(plan, passes_take_what_fits);
    tcase_add_test(step, the_loss_is_that_of_whole_sequences);
    tcase_add_test(step, the_gradient_of_a_step);
    tcase_add_test(step, gradients_are_weighted_and_added);
    tcase_add_test(step, a_nan_names_the_document);
    tcase_add_test(step, the_memory_is_as_announced);
    suite_add_tcase(suite, plan);
    suite_add_tcase(suite, step);
    return suite;
}
