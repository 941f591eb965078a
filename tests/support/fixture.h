/* A tiny model, loaded, with an adapter whose A and B are both random: what most tests of model, train and infer
 * start from. */
#ifndef QA_TESTS_FIXTURE_H
#define QA_TESTS_FIXTURE_H

#include "model/adapter.h"
#include "model/weights.h"
#include "support/tiny_model.h"

typedef struct qa_fixture {
    char *dir;
    qa_context *context;
    qa_model *model;
    qa_adapter *adapter;
} qa_fixture;

/* Fails the running test when anything goes wrong. lora NULL: no adapter. threads >= 1. */
qa_fixture qa_fixture_open(const tiny_model_options *options, const qa_lora_options *lora, size_t threads);
/* The same on a random model of this config.json, of any family. */
qa_fixture qa_fixture_of(const char *config, const qa_lora_options *lora, size_t threads);
void qa_fixture_close(qa_fixture *fixture);

/* In place of the adapter one that this adapter_config.json makes, A and B random. */
void qa_fixture_adapt(qa_fixture *fixture, const char *config);

/* Writes a folder of a random model of this config.json, norms and biases random, too; the numbers are floats. */
void qa_fixture_write_model(const char *dir, const char *config);

/* Rank 3, alpha 5, no dropout, on all seven linear maps. */
qa_lora_options qa_fixture_lora(void);

/* Fails the running test with the error's message unless status is QA_OK. */
void qa_expect_ok(qa_status status, const qa_error *err);

/* Fails unless status is `expected` and the message contains `part`. */
void qa_expect_error(qa_status status, qa_status expected, const qa_error *err, const char *part);

#endif
