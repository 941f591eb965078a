/* Golden bundles for tests: those of weights/golden, candidates put together from the product's own numbers, and their
 * reports. Tests run in the project's folder. */
#ifndef QA_TESTS_GOLDEN_H
#define QA_TESTS_GOLDEN_H

#include "golden/check.h"

extern const char *const qa_golden_suite[]; /* names of the bundles */
extern const size_t qa_golden_suite_n;

/* A bundle of the suite or, when name holds a '/', of any folder; opened. */
qa_golden_bundle *qa_golden_open(qa_context *context, const char *name);

/* What the product's passes, equations and training loop (not golden_run) make of inputs: every name that a bundle
 * without --all-activations has, appended to set. The adapter is not changed. */
void qa_product_numbers(qa_golden_set *set, qa_model *model, const qa_adapter *adapter, const char *adapter_dir,
                        const qa_pairs *pairs, const qa_golden_options *options);

/* Loss and gradients alone. detached: no gradient goes through a value. */
void qa_product_gradient(qa_golden_set *set, qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs,
                         const qa_golden_options *options, bool detached);

/* Adds a tensor with these values. */
void qa_put(qa_golden_set *set, const char *name, size_t n_dims, size_t rows, size_t columns, const double *values);

/* Writes the set as a safetensors file of that dtype (ids as I64). */
void qa_golden_save(const qa_golden_set *set, const char *path, qa_dtype dtype);

/* Writes the set into a temporary file, checks it against the bundle; the caller frees the report. */
qa_golden_report qa_golden_report_of(const qa_golden_bundle *bundle, const qa_golden_set *set, qa_dtype dtype);

/* The build's own dtype. */
qa_dtype qa_real_dtype(void);

#endif
