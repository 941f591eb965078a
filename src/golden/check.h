/* Comparing what another implementation wrote with a golden bundle, and finding out what it does otherwise. */
#ifndef QA_GOLDEN_CHECK_H
#define QA_GOLDEN_CHECK_H

#include "golden/bundle.h"
#include "golden/mistakes.h"

typedef enum qa_golden_verdict {
    QA_VERDICT_OK,
    QA_VERDICT_DEPARTS,    /* beyond the tolerance */
    QA_VERDICT_NOT_FINITE, /* a NaN or an infinity */
    QA_VERDICT_SHAPE,
    QA_VERDICT_DTYPE,   /* not one that a candidate may have */
    QA_VERDICT_UNKNOWN, /* the bundle has no such name */
    QA_VERDICT_TYPE,    /* no number; this and what follows in vectors alone */
    QA_VERDICT_TWICE,   /* an id that stands in two files */
    QA_VERDICT_FILE     /* cannot be read */
} qa_golden_verdict;

const char *qa_golden_verdict_name(qa_golden_verdict verdict); /* "ok", "DEPARTS"... */

/* "[3, 17]": dimensions, or the index of an element, as far as text[bytes] has room. */
void qa_golden_numbers_text(char *text, size_t bytes, size_t n, const size_t *numbers);

/* One tensor of the candidate. */
typedef struct qa_golden_result {
    char name[QA_GOLDEN_NAME_BYTES];
    qa_golden_verdict verdict;
    qa_dtype dtype;
    double absolute;      /* worst |got - expected|; of steps that depart as a whole, the least that is too much */
    double relative;      /* ... over the largest magnitude of the expected tensor; 0 if that is 0 */
    double limit;         /* what absolute may be */
    double got, expected; /* at the worst element */
    char where[48];       /* "[3, 17]", "" for a scalar */
    char shape[64], expected_shape[64];
} qa_golden_result;

typedef struct qa_golden_report {
    qa_golden_result *results; /* [n] in forward order; what the bundle does not have comes last */
    size_t n;
    size_t failures;      /* results that are not ok */
    size_t first;         /* the first of them, of gradients in the order of backward; n when there is none */
    const char **missing; /* [n_missing] names of the bundle that the candidate lacks; owned by the bundle */
    size_t n_missing;
    unsigned explained;  /* 1 << mistake of every one that alone makes all of the candidate's numbers */
    unsigned partly;     /* ... that makes the first departure, but not everything */
    char sentence[2048]; /* the verdict on the whole, for people */
} qa_golden_report;

/* override: instead of the bundle's tolerances; negative: not given. QA_OK also when the candidate departs:
 * report->failures says so. An unreadable file is an error. */
QA_MUST_CHECK qa_status qa_golden_check(qa_golden_report *report, const qa_golden_bundle *bundle, const char *candidate,
                                        qa_golden_tolerance override, qa_error *err);
void qa_golden_report_free(qa_golden_report *report);

#endif
