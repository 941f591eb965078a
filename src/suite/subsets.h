/* Accuracy by subset, with RewardBench's weighting.
 *
 * Pairs whose rows have a "subset" are grouped by it. RewardBench's subsets make sections; within a section every
 * subset counts as often as it has prompts in the benchmark (math-prm as 984, to be worth as much as the code subsets
 * together), whatever part of it the data holds (copies of its scripts exchange the 154 and 250 of the two of xstest:
 * these are the numbers of its prompts); of its prior sets every subset counts alike. The score is the mean of the four
 * sections and the prior sets, these with weight 1/2, or of the four where no prior set is there.
 *
 * A tie counts half, as everywhere here; RewardBench's own scripts count one as wrong. */
#ifndef QA_SUITE_SUBSETS_H
#define QA_SUITE_SUBSETS_H

#include "qadapter/data.h"

typedef struct qa_subset {
    const char *name; /* of a pair of the set, borrowed */
    size_t pairs, ties;
    double right; /* ties count half */
} qa_subset;

enum { QA_SECTIONS = 5, QA_PRIOR_SETS = 4 };

typedef struct qa_section {
    const char *name;    /* "Chat", "Chat Hard", "Safety", "Reasoning", "Prior Sets" */
    size_t there, whole; /* subsets of it in the data, and in the benchmark */
    double accuracy;     /* NaN where none is there */
} qa_section;

typedef struct qa_subsets {
    qa_subset *subsets; /* [n] in the order of the data; pairs without one are not among them */
    size_t n;
    qa_section sections[QA_SECTIONS];
    double mean;  /* over the subsets, each alike */
    double score; /* RewardBench's; NaN unless all subsets of its four sections are there */
} qa_subsets;

/* ranked[pairs]: 1, 0.5 or 0 (qa_evaluate_ranked). Free with qa_subsets_free. n is 0 where no pair has a subset. */
QA_MUST_CHECK qa_status qa_subsets_find(qa_subsets *found, const qa_pairs *pairs, const double *ranked, qa_error *err);
void qa_subsets_free(qa_subsets *found);

#endif
