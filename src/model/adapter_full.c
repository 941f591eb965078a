/* Adapters that are whole models: the adapted stream has weights of its own. See adapter.h. */
#include "arch/config.h"
#include "arch/family.h"
#include "base/memory.h"
#include "base/try.h"
#include "model/adapter_internal.h"
#include "model/trainable.h"
#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

/* Around `own`, which is the adapter's from then on. */
static qa_status make_full_adapter(qa_adapter **out, qa_model *own, qa_error *err) {
    const size_t layers = own->config.num_hidden_layers;
    qa_branch_place *places = NULL;
    QA_TRY(QA_NEW(*out, 1, err, "an adapter"));
    const qa_status status = QA_NEW(places, layers * QA_TARGETS, err, "an adapter");
    if (status != QA_OK) {
        free(*out);
        *out = NULL;
        return status;
    }
    **out = (qa_adapter){.own = own,
                         .uniform = true,
                         .family = own->config.family,
                         .layers = layers,
                         .places = places,
                         .count = qa_config_parameters(&own->config)};
    return QA_OK;
}

qa_status qa_adapter_create_full(qa_adapter **out, qa_model *model, qa_error *err) {
    qa_trainable *trainable = NULL;
    *out = NULL;
    QA_TRY(
        qa_prefixed(qa_trainable_copy(&trainable, model, 0, 0, err), err, "all weights of %s to train: ", model->dir));
    const qa_status status = make_full_adapter(out, trainable->model, err);
    if (status != QA_OK) {
        qa_trainable_free(trainable);
        return status;
    }
    (*out)->trainable = trainable;
    (*out)->parameters = trainable->parameters;
    return QA_OK;
}

/* The two compute alike: weights apart, whatever runs the one runs the other. */
static qa_status check_same_shape(const qa_model *own, const qa_model *base, qa_error *err) {
    const qa_config *a = &own->config, *b = &base->config;
    qa_config stored = *b; /* what some families compute with depends on the dtype of the files */
    char ours[QA_SHA256_HEX_BYTES], theirs[QA_SHA256_HEX_BYTES];
    QA_FAIL_IF(a->family != b->family || a->vocab_size != b->vocab_size || a->hidden_size != b->hidden_size ||
                   a->num_hidden_layers != b->num_hidden_layers || a->intermediate_size != b->intermediate_size,
               err, QA_ERR_MISMATCH,
               "%s has other dimensions than %s (%s: vocabulary %zu, width %zu, %zu layers of %zu; %s: %zu, %zu, %zu "
               "of %zu): it was not trained from it",
               own->dir, base->dir, a->family->architecture, a->vocab_size, a->hidden_size, a->num_hidden_layers,
               a->intermediate_size, b->family->architecture, b->vocab_size, b->hidden_size, b->num_hidden_layers,
               b->intermediate_size);
    /* the base's context is what rows are checked against, and positions may be rows of a table of the other's */
    QA_FAIL_IF(qa_config_context(a) != qa_config_context(b), err, QA_ERR_MISMATCH,
               "%s/config.json has a context of %zu tokens and that of %s one of %zu: it was not trained from it",
               own->dir, qa_config_context(a), base->dir, qa_config_context(b));
    qa_config_set_stored_dtype(&stored, QA_DTYPE_F32);
    qa_config_digest(a, ours);
    qa_config_digest(&stored, theirs);
    return strcmp(ours, theirs) == 0
               ? QA_OK
               : qa_fail(err, QA_ERR_MISMATCH,
                         "%s/config.json has other numbers that the model computes with (heads, RoPE, epsilon, "
                         "factors) than that of %s: it was not trained from it",
                         own->dir, base->dir);
}

qa_status qa_adapter_load_full(qa_adapter **out, const qa_model *model, const char *dir, qa_error *err) {
    qa_model *own = NULL;
    QA_TRY(qa_model_load(&own, model->context, dir, err));
    qa_status status = check_same_shape(own, model, err);
    status = status == QA_OK ? make_full_adapter(out, own, err) : status;
    if (status != QA_OK) {
        qa_model_free(own);
    }
    return status;
}

bool qa_adapter_is_full(const qa_adapter *adapter) { return adapter->own != NULL; }
