/* See page_routes.h. */
#include "serve/page_routes.h"

#include "base/memory.h"
#include "base/try.h"
#include "inspect/page.h"
#include "serve/request_json.h"
#include "text/text_begin.h"

#include <stdlib.h>

qa_status qa_page_of(const qa_served *served, qa_text *html, qa_error *err) {
    const char **names = NULL;
    qa_objective *objectives = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, QA_NEW(names, served->n_adapters, err, "the page"));
    QA_GOTO(done, QA_NEW(objectives, served->n_adapters, err, "the page"));
    for (size_t i = 0; i < served->n_adapters; i++) {
        names[i] = served->adapters[i].name;
        objectives[i] = served->adapters[i].objective;
    }
    status = qa_page_served(html, names, objectives, served->n_adapters, err);
done:
    free(names);
    free(objectives);
    return status;
}

/* A request, read. */
typedef struct inspection {
    const qa_served *served;
    json_t *root;
    qa_objective objective;
    qa_engine_policy policy;
    qa_ask_prompts prompts;
    qa_ids answer;
    bool terminal;
    size_t n_best;
    qa_text *out;
} inspection;

static qa_status read_inspected_answer(inspection *it, qa_refusal *refusal) {
    const json_t *ids = qa_body_member(it->root, "answer_ids"), *text = qa_body_member(it->root, "answer");
    const qa_ids *prompt = &it->prompts.items[0].ids;
    if ((ids == NULL) == (text == NULL)) {
        return qa_refuse(refusal, 400, NULL, "answer", "one of \"answer\" and \"answer_ids\" must be given");
    }
    if (ids != NULL ? !json_is_array(ids) : !json_is_string(text)) {
        return qa_refuse(refusal, 400, NULL, ids != NULL ? "answer_ids" : "answer",
                         "\"answer\" must be a string, \"answer_ids\" an array of token ids");
    }
    QA_TRY(ids != NULL ? qa_served_read_ids(it->served, ids, "answer_ids", &it->answer, refusal)
                       : qa_refuse_if_failed(refusal,
                                             qa_encode_after(it->served->tokenizer, prompt, json_string_value(text),
                                                             json_string_length(text), &it->answer, &refusal->err),
                                             "answer"));
    if (it->answer.n == 0 || it->answer.n > it->served->context - prompt->n) {
        return qa_refuse(refusal, 400, it->answer.n == 0 ? NULL : "context_length_exceeded",
                         ids != NULL ? "answer_ids" : "answer",
                         "the answer has %zu tokens; there must be one, and behind the prompt's %zu the context holds "
                         "%zu",
                         it->answer.n, prompt->n, it->served->context - prompt->n);
    }
    return QA_OK;
}

static qa_status read_inspection(inspection *it, const char *body, size_t bytes, qa_refusal *refusal) {
    static const char *const known[] = {"model",      "messages", "prompt", "answer",
                                        "answer_ids", "terminal", "n_best", NULL};
    const char *model = NULL;
    QA_TRY(qa_body_parse(&it->root, body, bytes, refusal));
    QA_TRY(qa_body_only(it->root, known, refusal));
    QA_TRY(qa_body_string(it->root, "model", &model, refusal));
    QA_TRY(qa_served_find(it->served, model == NULL ? "" : model, &it->objective, NULL, &it->policy, refusal));
    QA_TRY(qa_body_flag(it->root, "terminal", &it->terminal, refusal));
    json_t *messages = qa_body_member(it->root, "messages"), *prompt = qa_body_member(it->root, "prompt");
    const json_t *n_best = qa_body_member(it->root, "n_best");
    if ((messages == NULL) == (prompt == NULL)) {
        return qa_refuse(refusal, 400, NULL, "messages", "one of \"messages\" and \"prompt\" must be given");
    }
    if (n_best != NULL &&
        (!json_is_integer(n_best) || json_integer_value(n_best) < 0 || json_integer_value(n_best) > QA_ASK_MAX_BEST)) {
        return qa_refuse(refusal, 400, NULL, "n_best", "\"n_best\" must be a whole number from 0 to %d",
                         QA_ASK_MAX_BEST);
    }
    it->n_best = n_best == NULL ? QA_PAGE_BEST : (size_t)json_integer_value(n_best);
    QA_TRY(messages != NULL ? qa_ask_prompts_dialogue(&it->prompts, it->served, messages, 1, "messages", refusal)
                            : qa_ask_prompts_read(&it->prompts, it->served, prompt, 1, true, refusal));
    if (it->prompts.n != 1) {
        return qa_refuse(refusal, 400, NULL, "prompt", "one prompt at a time is looked into");
    }
    return read_inspected_answer(it, refusal);
}

static qa_status run_inspection(void *user, qa_error *err) {
    inspection *it = user;
    const qa_served *served = it->served;
    const qa_ids *prompt = &it->prompts.items[0].ids;
    return qa_page_inspect(it->out, served->model, it->policy.adapter, it->policy.objective, served->tokenizer,
                           prompt->data, prompt->n, it->answer.data, it->answer.n, it->terminal, it->n_best, err);
}

qa_status qa_put_inspected(qa_jobs *jobs, const qa_served *served, const char *body, size_t bytes, qa_text *out,
                           qa_refusal *refusal) {
    inspection it = {.served = served, .out = out};
    qa_status status = read_inspection(&it, body, bytes, refusal);
    if (status == QA_OK) {
        status = qa_jobs_run(jobs, run_inspection, &it, refusal);
    }
    qa_ask_prompts_free(&it.prompts);
    qa_ids_free(&it.answer);
    json_decref(it.root);
    return status;
}
