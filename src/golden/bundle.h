/* A golden bundle as a folder: writing one, and reading one back with every byte checked (docs/golden.md). */
#ifndef QA_GOLDEN_BUNDLE_H
#define QA_GOLDEN_BUNDLE_H

#include "golden/run.h"
#include "io/safetensors.h"

#include <jansson.h>

/* An element may be off by relative * (largest magnitude in its tensor) + absolute. */
typedef struct qa_golden_tolerance {
    double relative, absolute;
} qa_golden_tolerance;

/* By the dtype in which a candidate stores its numbers: F64, F32, F16, BF16 (so indexed by qa_dtype), and by kind. */
enum { QA_GOLDEN_DTYPES = QA_DTYPE_BF16 + 1 };
typedef struct qa_golden_tolerances {
    qa_golden_tolerance at[QA_GOLDEN_DTYPES][QA_GOLDEN_KINDS];
} qa_golden_tolerances;

/* ---- writing ---- */

typedef struct qa_golden_inputs {
    const qa_model *model;
    const qa_adapter *adapter;
    const char *adapter_dir;
    const qa_pairs *pairs;
    const char *text_path;     /* the file that the pairs were tokenised from; NULL: they were ids already */
    const char *chat_template; /* how it was rendered; NULL without text */
    bool published_data_quirks;
    bool link;      /* record where model and adapter are instead of copying them */
    bool overwrite; /* dir may hold a bundle already */
    qa_golden_options options;
} qa_golden_inputs;

/* Makes dir with everything in it; manifest.json comes last, so that an interrupted run leaves no bundle. Inputs that
 * are in dir already stay where they are. QA_ERR_EXISTS when dir holds a bundle and overwrite is false. */
QA_MUST_CHECK qa_status qa_golden_make(const char *dir, const qa_golden_inputs *inputs, qa_error *err);

/* Refuses a tolerance that no number could miss: a relative one above 1, an absolute one above `most` times the
 * bundle's largest number. Negative members are none. */
QA_MUST_CHECK qa_status qa_golden_tolerance_check(const qa_golden_tolerance *tolerance, const qa_golden_set *golden,
                                                  double most, qa_error *err);

/* The tolerances of a bundle with these numbers. */
void qa_golden_tolerances_make(qa_golden_tolerances *tolerances, const qa_golden_set *golden,
                               const qa_golden_options *options);

/* ---- reading ---- */

typedef struct qa_golden_bundle {
    char *dir;
    qa_model *model;
    qa_adapter *adapter;
    qa_pairs *pairs;
    qa_golden_options options;
    qa_golden_tolerances tolerances;
    qa_golden_set golden;
} qa_golden_bundle;

/* The context is borrowed and must outlive the bundle. Rejects, saying what and where: another format version, a
 * manifest or a file whose digest is not the recorded one, missing files, and everything that does not fit together. */
QA_MUST_CHECK qa_status qa_golden_bundle_open(qa_golden_bundle **bundle, qa_context *context, const char *dir,
                                              qa_error *err);
void qa_golden_bundle_close(qa_golden_bundle *bundle); /* NULL is allowed */

/* ---- what both need ---- */

#define QA_GOLDEN_FORMAT "qadapter-golden"
enum { QA_GOLDEN_VERSION = 1 };
#define QA_GOLDEN_NO_DIGEST "0000000000000000000000000000000000000000000000000000000000000000"

/* values[tensor->count] = the tensor's whole numbers. */
QA_MUST_CHECK qa_status qa_golden_read_ids(double *values, const qa_safetensors *file, const qa_tensor *tensor,
                                           qa_error *err);

/* dir/path, or path itself when it starts with '/'; the caller frees it. */
QA_MUST_CHECK qa_status qa_golden_path(char **full, const char *dir, const char *path, qa_error *err);

/* Size and digest of dir/name are those of a manifest's entry {"bytes", "sha256"}. */
QA_MUST_CHECK qa_status qa_golden_check_file(const char *dir, const char *name, const json_t *entry, qa_error *err);

/* QA_ERR_UNSUPPORTED for one that is a whole model. */
QA_MUST_CHECK qa_status qa_golden_check_adapter(const qa_adapter *adapter, const char *path, qa_error *err);

#endif
