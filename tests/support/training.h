/* What the tests of the train room start from: pairs for a tiny model, objectives with no special numbers, options of a
 * short run. */
#ifndef QA_TESTS_TRAINING_H
#define QA_TESTS_TRAINING_H

#include "qadapter/train.h"
#include "support/fixture.h"

/* Random tokenised pairs that fit the model (tiny_pairs_write), loaded; the caller frees them. */
qa_pairs *qa_training_pairs(const qa_fixture *fixture, size_t pairs, size_t max_prompt, size_t max_response,
                            uint64_t seed);

/* Random tokenised single responses, as method replay reads them; the caller frees them. */
qa_pairs *qa_training_responses(const qa_fixture *fixture, size_t n, size_t max_prompt, size_t max_response,
                                uint64_t seed);

/* The same with labels, every third one undesirable. */
qa_pairs *qa_training_labelled(const qa_fixture *fixture, size_t n, size_t max_prompt, size_t max_response,
                               uint64_t seed);

/* alpha_tilde 0.8, alpha_0 0.6, gamma 0.9, beta 0.3. */
qa_objective qa_training_objective(qa_objective_kind kind, qa_q_parametrisation q_parametrisation);

/* qa_train_defaults with out_dir, base_model "tiny", learning rate 1e-2 without warm-up, micro-batches of 2, two of
 * them a step, and the theory objective in the residual parametrisation. */
qa_train_options qa_training_options(const char *out_dir);

/* A fresh adapter (B = 0) for the fixture's model in place of its random one. */
void qa_training_fresh_adapter(qa_fixture *fixture, const qa_lora_options *lora, uint64_t seed);

/* Fails unless the two files hold the same bytes. */
void qa_expect_same_file(const char *dir_a, const char *dir_b, const char *name);

#endif
