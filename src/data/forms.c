/* Which form an example has (form.h), and what to say of one that has none. A row that is complete in one form has that
 * form, whatever else it holds: its other keys are columns that nothing reads (columns.h). All examples of a file have
 * the form of its first. */
#include "data/forms.h"

#include "base/try.h"
#include "data/form.h"

#include <stdio.h>
#include <string.h>

#define FORM_ADDRESS(form) &qa_form_##form,
static const qa_form *const form_rows[] = {QA_FORMS(FORM_ADDRESS)};
enum { N_FORMS = sizeof form_rows / sizeof *form_rows };

static bool has(const json_t *row, const char *key) { return qa_pairs_member(row, key) != NULL; }

/* What a row without a form is taken for. */
static const char *looks_like(const json_t *row) {
    if (has(row, "conversations")) {
        return ": this looks like ShareGPT's form; write {\"role\", \"content\"} for its {\"from\", \"value\"} and "
               "name the two dialogues \"chosen\" and \"rejected\"";
    }
    if (has(row, "label")) {
        return ": this looks like single responses with labels, which train --method kto learns from; every other "
               "method needs pairs, a good and a bad answer to the same prompt";
    }
    if (has(row, "messages") || has(row, "completion")) {
        return ": this looks like single responses, which have nothing that they are preferred to (--replay-data and "
               "pretrain --corpus take such files)";
    }
    return "";
}

/* "\"chosen\" and \"rejected\", or ..." */
static const char *list_needs(bool responses, char *needs, size_t bytes) {
    size_t used = 0;
    for (size_t i = 0; i < N_FORMS && used < bytes; i++) {
        if (form_rows[i]->responses == responses && form_rows[i]->needs != NULL) {
            used += (size_t)snprintf(needs + used, bytes - used, "%s%s", used == 0 ? "" : ", or ", form_rows[i]->needs);
        }
    }
    return needs;
}

static qa_status no_form(const json_t *row, const qa_pairs_options *options, qa_error *err) {
    const bool chosen = has(row, "chosen"), rejected = has(row, "rejected"), responses = options->responses;
    const bool null = json_object_get(row, chosen ? "rejected" : "chosen") != NULL;
    char needs[QA_MESSAGE_BYTES] = "", single[QA_MESSAGE_BYTES] = "", found[QA_FOUND_BYTES];
    char hint[QA_COLUMN_HINT_BYTES];
    (void)list_needs(responses, needs, sizeof needs);
    (void)qa_column_map_hint(row, qa_pairs_column_use(options), hint);
    QA_FAIL_IF(options->either && !chosen && !rejected, err, QA_ERR_FORMAT,
               "a pair needs %.300s; a single response needs %.300s%s%s%s", needs,
               list_needs(true, single, sizeof single),
               options->labelled ? ", and a \"label\" that is true or false" : "", qa_columns_found(row, found), hint);
    if (!responses && !chosen && !rejected && !has(row, "label") &&
        (has(row, "output") || has(row, "completion") || has(row, "response")) && strstr(hint, "chosen") == NULL &&
        strstr(hint, "rejected") == NULL) {
        (void)snprintf(hint, sizeof hint, "; this looks like single answers, without a better and a worse one");
    }
    QA_FAIL_IF(responses, err, QA_ERR_FORMAT, "a response needs %s%s%s%s", needs,
               chosen ? "; this looks like preference pairs" : "", qa_columns_found(row, found), hint);
    return qa_fail(err, QA_ERR_FORMAT, "%s; an example needs %s%s%s%s",
                   !chosen && !rejected ? "\"chosen\" and \"rejected\" are missing"
                   : null    ? (chosen ? "\"rejected\" is missing (it is null)" : "\"chosen\" is missing (it is null)")
                   : !chosen ? "\"chosen\" is missing"
                             : "\"rejected\" is missing",
                   needs, qa_columns_found(row, found), hint, looks_like(row));
}

/* How well a row fits a form: the form that it fits best is its own. */
typedef enum form_fit { FIT_NONE, FIT_COMMON, FIT_PART, FIT_WHOLE, FIT_DOMAIN, FIT_IDS } form_fit;

static form_fit fit_of(const qa_form *form, const json_t *row, const qa_pairs_options *options) {
    size_t there = 0;
    for (size_t i = 0; i < form->needed; i++) {
        there += has(row, form->keys[i]) ? 1 : 0;
    }
    const bool ids = form->kind == QA_PAIRS_IDS;
    if (there < form->needed) {
        return ids && there > 0 ? FIT_PART : FIT_NONE;
    }
    return form->is != NULL && !form->is(row)               ? FIT_NONE
           : ids                                            ? FIT_IDS
           : form->by_domain && options->dsp_domain != NULL ? FIT_DOMAIN
           : form->common                                   ? FIT_COMMON
                                                            : FIT_WHOLE;
}

static qa_status find_form(const qa_form **form, const json_t *row, const qa_pairs_options *options, qa_error *err) {
    form_fit best = FIT_NONE;
    QA_FAIL_IF(!json_is_object(row), err, QA_ERR_FORMAT, "an example must be a JSON object, found %s",
               qa_column_kind(row));
    for (size_t i = 0; i < N_FORMS; i++) {
        const bool asked = options->either || form_rows[i]->responses == options->responses;
        const form_fit fit = asked ? fit_of(form_rows[i], row, options) : FIT_NONE;
        if (fit > best) {
            best = fit;
            *form = form_rows[i];
        }
    }
    if (best == FIT_NONE) {
        return no_form(row, options, err);
    }
    return (*form)->check == NULL ? QA_OK : (*form)->check(row, err);
}

static qa_status check_first(const qa_pairs_loader *loader, const qa_form *form, qa_error *err) {
    QA_FAIL_IF(form->kind != QA_PAIRS_IDS && loader->tokenizer == NULL, err, QA_ERR_ARGUMENT,
               "%s need a tokenizer, and none is given", form->name);
    QA_FAIL_IF(!form->by_domain && !form->responses && loader->options->dsp_domain != NULL, err, QA_ERR_ARGUMENT,
               "--dsp-domain is for files with \"query\" and \"responses\"; this one holds %s", form->name);
    return QA_OK;
}

/* The label of single responses, where it is read; else one that says not to learn them is an error. */
static qa_status read_label(qa_pairs_loader *loader, const json_t *row, bool first, qa_error *err) {
    const qa_pairs_options *options = loader->options;
    const json_t *label = qa_pairs_member(row, "label");
    char found[QA_FOUND_BYTES];
    qa_pairs *pairs = loader->pairs;
    if (!options->either) {
        QA_FAIL_IF(json_is_false(label), err, QA_ERR_FORMAT,
                   "\"label\" is false: the response is undesirable, and would be learned like the others; leave such "
                   "lines out");
        if (label != NULL && !json_is_true(label)) {
            qa_columns_note_unused(&loader->columns, "label", label);
        }
        return QA_OK;
    }
    QA_FAIL_IF(label != NULL && !json_is_boolean(label), err, QA_ERR_FORMAT,
               "\"label\" must be true (a desirable response) or false, found %s; where it is something else, give the "
               "column another name",
               qa_column_kind(label));
    QA_FAIL_IF(label == NULL && options->labelled, err, QA_ERR_FORMAT,
               "\"label\" is missing: a single response needs one here, true where it is desirable and else false; "
               "or give pairs (\"chosen\" and \"rejected\")%s",
               qa_columns_found(row, found));
    QA_FAIL_IF(!first && pairs->labelled != (label != NULL), err, QA_ERR_FORMAT,
               "\"label\" is %s, and the examples before have %s", label == NULL ? "missing" : "there",
               label == NULL ? "one" : "none");
    QA_FAIL_IF(label != NULL && qa_answer_list(row) != NULL, err, QA_ERR_FORMAT,
               "a list of answers has one \"label\" for all of them: give a line to every answer and its label");
    pairs->labelled = label != NULL;
    loader->undesirable = json_is_false(label);
    return QA_OK;
}

/* Under our names. */
static qa_status add_named_row(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    const qa_form *form = NULL;
    const qa_form **first = &loader->pairs->form;
    QA_TRY(find_form(&form, row, loader->options, err));
    QA_TRY(*first == NULL ? check_first(loader, form, err) : QA_OK);
    QA_TRY(form->responses ? read_label(loader, row, *first == NULL, err) : QA_OK);
    *first = *first == NULL ? form : *first;
    QA_FAIL_IF(*first != form, err, QA_ERR_FORMAT, "found %s in a file that begins with %s", form->name,
               (*first)->name);
    qa_error reason = {.code = QA_OK};
    if (qa_columns_check_row(&loader->columns, row, form->keys, form->kind, &reason) != QA_OK) {
        return qa_pairs_skip(loader, QA_SKIP_NOT_WRITTEN, reason.message, err);
    }
    QA_TRY(qa_pairs_check_strict(loader, err));
    const qa_rating rating = form->responses ? QA_RATING_AGREES : qa_columns_rating(row);
    QA_TRY(qa_pairs_note_or_refuse(loader, QA_SEEN_RATED_WORSE, rating == QA_RATING_CONTRADICTS, err));
    QA_TRY(qa_pairs_note_or_refuse(loader, QA_SEEN_RATED_EQUAL, rating == QA_RATING_EQUAL, err));
    return form->add(loader, row, err);
}

qa_status qa_form_add(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    json_t *named = NULL;
    QA_TRY(qa_column_map_apply(&loader->map, row, &loader->columns, &named, err));
    const qa_status status = add_named_row(loader, named, err);
    json_decref(named);
    return status;
}
