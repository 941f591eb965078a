/* See normaliser.h. */
#include "text/normaliser.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"

#include <stdlib.h>
#include <string.h>

/* A chain of Replace steps can multiply a text's length again and again; no honest one comes near this. */
enum { MOST_GROWTH = 64, SMALL_TEXT = 4096 };

/* Units of work: of a step whatever it does, and of a byte that a normal form makes. */
enum { STEP_WORK = 32, FORM_WORK = 8 };

void qa_normal_step_free(qa_normal_step *step) {
    qa_text_free(&step->content);
    qa_pattern_free(step->pattern);
    memset(step, 0, sizeof *step);
}

void qa_normaliser_free(qa_normaliser *normaliser) {
    for (size_t i = 0; i < normaliser->n; i++) {
        qa_normal_step_free(&normaliser->steps[i]);
    }
    free(normaliser->steps);
    memset(normaliser, 0, sizeof *normaliser);
}

qa_status qa_normaliser_add(qa_normaliser *normaliser, const qa_normal_step *step, qa_error *err) {
    QA_TRY(QA_GROW(normaliser->steps, normaliser->capacity, normaliser->n + 1, err, "a normaliser"));
    normaliser->steps[normaliser->n++] = *step;
    return QA_OK;
}

void qa_normal_scratch_free(qa_normal_scratch *scratch) {
    qa_text_free(&scratch->text[0]);
    qa_text_free(&scratch->text[1]);
    qa_match_scratch_free(&scratch->match);
}

static qa_status run_step(const qa_normal_step *step, qa_match_scratch *match, const char *text, size_t n, size_t most,
                          qa_text *out, qa_error *err) {
    switch (step->kind) {
    case QA_NORMAL_PREPEND:
        QA_TRY(qa_text_append(out, step->content.data, n > 0 ? step->content.n : 0, err));
        return qa_text_append(out, text, n, err);
    case QA_NORMAL_REPLACE:
        return qa_pattern_replace(step->pattern, match, text, n, step->content.data, step->content.n, most, out, err);
    case QA_NORMAL_FORM: return qa_normal_form_append(step->form, text, n, out, err);
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "unknown normaliser step %d", (int)step->kind);
}

qa_status qa_normalise(const qa_normaliser *normaliser, bool prefix, qa_normal_scratch *scratch, const char *text,
                       size_t n, const char **out, size_t *out_n, qa_error *err) {
    size_t limit = 0;
    QA_FAIL_IF(!qa_add_size(n, SMALL_TEXT, &limit) || !qa_mul_size(limit, MOST_GROWTH, &limit), err, QA_ERR_LIMIT,
               "a text of %zu bytes is too long", n);
    qa_text_work own = qa_text_work_of(n);
    qa_text_work *work = scratch->match.work != NULL ? scratch->match.work : &own;
    for (size_t i = 0; i < normaliser->n; i++) {
        const qa_normal_step *step = &normaliser->steps[i];
        if (step->kind == QA_NORMAL_PREPEND && !prefix) {
            continue;
        }
        qa_text *result = &scratch->text[i % 2];
        if (result->data == text) {
            result = &scratch->text[1 - i % 2]; /* a step was left out */
        }
        result->n = 0;
        QA_TRY(qa_text_append(result, "", 0, err));
        QA_TRY(run_step(step, &scratch->match, text, n, limit, result, err));
        QA_FAIL_IF(result->n > limit, err, QA_ERR_LIMIT, "the normaliser makes the text more than %d times as long",
                   MOST_GROWTH);
        QA_FAIL_IF(
            !qa_text_work_spend(work, STEP_WORK + (n + result->n) * (step->kind == QA_NORMAL_FORM ? FORM_WORK : 1)),
            err, QA_ERR_LIMIT, "normalizer: its %zu steps make too much work of the text", normaliser->n);
        text = result->data;
        n = result->n;
    }
    *out = text;
    *out_n = n;
    return QA_OK;
}
