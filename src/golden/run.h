/* Everything that a golden bundle holds, computed by the reference (src/reference) from model, adapter, pairs and
 * options; rightly, or with a known mistake. */
#ifndef QA_GOLDEN_RUN_H
#define QA_GOLDEN_RUN_H

#include "golden/options.h"
#include "golden/set.h"
#include "model/adapter.h"
#include "model/weights.h"
#include "qadapter/data.h"
#include "reference/step.h"

/* The inputs in the reference's own terms. */
typedef struct qa_golden_setup {
    qa_ref_model model;
    qa_ref_layer *layers;                       /* the model's */
    qa_operation operations[QA_MAX_OPERATIONS]; /* the model's, in the order of a mistake */
    qa_ref_row *rows; /* [pairs x QA_REF_SIDES]; every row's ids have room for one token more */
    size_t pairs;
    qa_ref_options options;
    size_t steps;
    const qa_adapter *adapter;
    double *parameters;
    int32_t bos_id; /* -1: none */
    int32_t *ids;   /* of all rows */
    qa_ref_memory memory;
} qa_golden_setup;

/* Model and adapter in the reference's terms, which are then setup->model and setup->parameters; both are borrowed.
 * setup is zero-initialised by the caller, and freed whatever is returned. */
QA_MUST_CHECK qa_status qa_golden_setup_model(qa_golden_setup *setup, const qa_model *model, const qa_adapter *adapter,
                                              qa_error *err);
void qa_golden_setup_free(qa_golden_setup *setup);

/* A stage of the reference, or the moment before it begins: stage QA_GOLDEN_INPUTS, where step is NULL. */
enum { QA_GOLDEN_INPUTS = QA_REF_STEPPED + 1 };
typedef struct qa_golden_moment {
    qa_golden_setup *setup;
    qa_ref_step *step;
    int stage;
    size_t row;    /* see qa_ref_observer */
    double number; /* the trial's */
} qa_golden_moment;

/* One way of making a known mistake (golden/mistakes.h): what is done otherwise, right after the computation of a
 * stage. */
typedef struct qa_golden_trial {
    unsigned mistake;
    const char *name; /* of the mistake, in its first trial */
    unsigned needs;
    unsigned stages;                          /* 1 << stage */
    void (*make)(const qa_golden_moment *at); /* NULL: nothing */
    double number;
    const char *text; /* "the value is taken at the same state...": what happened, as the end of a sentence */
} qa_golden_trial;

/* Appends all tensors to set, in forward order; without gradients, only what comes before them. Of the adapter the
 * current parameters are taken; it is not changed. mistake NULL: none. */
QA_MUST_CHECK qa_status qa_golden_run(qa_golden_set *set, const qa_model *model, const qa_adapter *adapter,
                                      const qa_pairs *pairs, const qa_golden_options *options, bool gradients,
                                      const qa_golden_trial *mistake, qa_error *err);

/* The model's beginning-of-sequence token, or -1: none, or none of its vocabulary. */
int32_t qa_golden_bos(const qa_model *model);

#endif
