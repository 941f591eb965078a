/* Form 6: one "query" with "responses" by domain; the domain that was asked for is preferred to each of the others. */
#include "base/try.h"
#include "data/form.h"

static qa_status check_domains(const qa_pairs_loader *loader, const json_t *query, json_t *responses, qa_error *err) {
    QA_FAIL_IF(!json_is_string(query) || !json_is_object(responses), err, QA_ERR_FORMAT,
               "\"query\" must be a string and \"responses\" an object of strings");
    char domains[QA_KEYS_BYTES];
    qa_columns_list(responses, false, domains);
    const char *wanted = loader->options->dsp_domain;
    QA_FAIL_IF(wanted == NULL, err, QA_ERR_ARGUMENT,
               "this file has one response per domain: name the preferred one with --dsp-domain (%s)", domains);
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(responses, key, value) {
        QA_FAIL_IF(!json_is_string(value), err, QA_ERR_FORMAT, "\"responses\".\"%.60s\" must be a string", key);
    }
    QA_FAIL_IF(json_object_get(responses, wanted) == NULL, err, QA_ERR_FORMAT,
               "\"responses\" has no domain \"%.60s\"; it has: %s", wanted, domains);
    QA_FAIL_IF(json_object_size(responses) < 2, err, QA_ERR_FORMAT,
               "\"responses\" holds only \"%.60s\": there is nothing to prefer it to", wanted);
    return QA_OK;
}

static qa_status add_domains(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    const json_t *query = qa_pairs_member(row, "query");
    json_t *responses = qa_pairs_member(row, "responses");
    QA_TRY(check_domains(loader, query, responses, err));
    const json_t *preferred = json_object_get(responses, loader->options->dsp_domain);
    const char *domain = NULL;
    json_t *other = NULL;
    json_object_foreach(responses, domain, other) {
        if (other != preferred) {
            QA_TRY(qa_dialogue_set_exchange(&loader->left, query, preferred, err));
            QA_TRY(qa_dialogue_set_exchange(&loader->right, query, other, err));
            QA_TRY(qa_pairs_add_dialogues(loader, QA_PROMPT_IMPLICIT, true, err));
        }
    }
    return QA_OK;
}

const qa_form qa_form_domains = {.name = "DSP queries with responses by domain",
                                 .needs = "\"query\" and \"responses\"",
                                 .keys = (const char *const[]){"query", "responses", NULL},
                                 .needed = 2,
                                 .kind = QA_PAIRS_DIALOGUES,
                                 .common = true,
                                 .by_domain = true,
                                 .add = add_domains};
