/* Vectors of equations (docs/conformance.md): inputs and outputs of one equation each, as JSON, with tolerances and
 * with what known mistakes give. Reading them, and comparing what another implementation wrote. */
#ifndef QA_GOLDEN_VECTORS_H
#define QA_GOLDEN_VECTORS_H

#include "golden/check.h"

#include <jansson.h>

#define QA_VECTORS_FORMAT "qadapter-conformance"
#define QA_CANDIDATE_FORMAT "qadapter-conformance-candidate"
enum { QA_VECTORS_VERSION = 1, QA_VECTOR_DIMS = 4, QA_VECTOR_NAME_BYTES = 96, QA_VECTOR_MISTAKES = 4 };

/* A number, or rectangular arrays of them. Zero-initialise; values are the owner's (free). */
typedef struct qa_vector_array {
    size_t n_dims, shape[QA_VECTOR_DIMS], count;
    double *values; /* [count] */
} qa_vector_array;

typedef struct qa_vector {
    const char *id;
    json_t *outputs, *tolerance, *mistakes; /* objects by name, an array of objects or NULL */
} qa_vector;

typedef struct qa_vectors {
    json_t **files; /* [n_files], owned: what the rest points into */
    size_t n_files;
    qa_vector *items; /* [n] in the order of the files and in each */
    size_t n, capacity;
} qa_vectors;

/* Whether the folder's manifest says that it holds vectors. */
bool qa_vectors_here(const char *dir);

/* Rejects, saying what and where: another version, a file whose digest is not the recorded one, an id that stands
 * twice, and everything that is not as the schema has it. */
QA_MUST_CHECK qa_status qa_vectors_open(qa_vectors **vectors, const char *dir, qa_error *err);
void qa_vectors_close(qa_vectors *vectors); /* NULL is allowed */

const qa_vector *qa_vectors_find(const qa_vectors *vectors, const char *id); /* NULL: none */
/* Whether a file says that it has this format, in the version that is known. */
QA_MUST_CHECK qa_status qa_vectors_check_format(const json_t *root, const char *format, const char *where,
                                                qa_error *err);

/* The verdict of a value that is no array of numbers, and why as text[bytes]; QA_VERDICT_OK and the array otherwise,
 * which may hold numbers that are not finite (written as "nan", "inf", "-inf"). QA_ERR_MEMORY alone. */
QA_MUST_CHECK qa_status qa_vector_array_read(qa_vector_array *array, const json_t *value, qa_golden_verdict *verdict,
                                             char *why, size_t bytes, qa_error *err);

/* One output of a vector, or what is wrong with a file or an id as a whole (`output` is then empty). */
typedef struct qa_vector_result {
    char id[QA_VECTOR_NAME_BYTES], output[QA_VECTOR_NAME_BYTES]; /* safe for a terminal */
    qa_golden_verdict verdict;
    double units; /* worst error in units of the tolerance */
    double tolerance, got, expected;
    char where[64];                             /* "[3, 17]", "" for a number alone */
    char detail[256];                           /* what is wrong where it is no number */
    const json_t *mistakes[QA_VECTOR_MISTAKES]; /* of the vectors: each gives all that is given of this one */
    size_t n_mistakes;
} qa_vector_result;

/* A mistake that explains departing vectors. */
typedef struct qa_vector_suspect {
    const char *name, *text;
    size_t explains, contradicted; /* departing vectors that it gives; vectors that have it and are something else */
} qa_vector_suspect;

typedef struct qa_vectors_report {
    qa_vector_result
        *results; /* [n] in the order of the vectors; files that cannot be read first, unknown names last */
    size_t n, capacity;
    size_t failures, departing;                /* results that are not ok; vectors that depart */
    size_t worst;                              /* the result of the most units; n when there is none */
    char (*missing)[2 * QA_VECTOR_NAME_BYTES]; /* [n_missing] "id" or "id: output" */
    size_t n_missing, missing_capacity;
    qa_vector_suspect *suspects; /* [n_suspects] that which explains the most first */
    size_t n_suspects, suspects_capacity;
    char dtype[16], made_by[128];
    char sentence[2048]; /* the verdict on the whole, for people */
} qa_vectors_report;

/* candidate: a folder of JSON files, or one of them. QA_OK also when it departs, lacks or cannot be read in part:
 * report->failures says so. An error only when there is nothing to read. Names point into `vectors`. */
QA_MUST_CHECK qa_status qa_vectors_check(qa_vectors_report *report, const qa_vectors *vectors, const char *candidate,
                                         qa_error *err);
void qa_vectors_report_free(qa_vectors_report *report);

/* ---- results as JSON (--report) ---- */

/* Both are a function of what was compared alone: paths are written as given. */
QA_MUST_CHECK qa_status qa_vectors_report_save(const qa_vectors_report *report, const char *suite,
                                               const char *candidate, bool complete, const char *path, qa_error *err);
QA_MUST_CHECK qa_status qa_golden_report_save(const qa_golden_report *report, const char *suite, const char *candidate,
                                              bool complete, const char *path, qa_error *err);

#endif
