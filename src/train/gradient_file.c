/* See gradient_file.h. */
#include "train/gradient_file.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/dtype.h"
#include "io/safetensors.h"

#include <stdio.h>

/* The range's documents as numbers. */
typedef struct documents {
    int64_t *lengths;       /* [n] */
    int64_t *ids, *learned; /* [tokens] */
    size_t n, tokens;
} documents;

static qa_status copy_documents(documents *d, const qa_document_range *range, qa_error *err) {
    *d = (documents){.n = range->end - range->begin};
    for (size_t i = range->begin; i < range->end; i++) {
        d->tokens += qa_document_range_at(range, i)->n;
    }
    d->lengths = qa_alloc_array(d->n, sizeof *d->lengths);
    d->ids = qa_alloc_array(d->tokens, sizeof *d->ids);
    d->learned = qa_alloc_array(d->tokens, sizeof *d->learned);
    if (d->lengths == NULL || d->ids == NULL || d->learned == NULL) {
        return QA_NO_MEMORY(err, "%zu tokens", d->tokens);
    }
    size_t at = 0;
    for (size_t i = 0; i < d->n; i++) {
        const qa_document *document = qa_document_range_at(range, range->begin + i);
        d->lengths[i] = (int64_t)document->n;
        for (size_t t = 0; t < document->n; t++, at++) {
            d->ids[at] = document->ids[t];
            d->learned[at] = document->learned[t] ? 1 : 0;
        }
    }
    return QA_OK;
}

static void free_documents(documents *d) {
    free(d->lengths);
    free(d->ids);
    free(d->learned);
}

static qa_status add_gradient_tensor(qa_safetensors_writer *writer, const char *kind, const qa_parameter_tensor *tensor,
                                     const qa_real *values, qa_error *err) {
    char name[sizeof tensor->name + 16];
    const size_t shape[2] = {tensor->rows, tensor->columns};
    (void)snprintf(name, sizeof name, "%s.%s", kind, tensor->name);
    return qa_safetensors_writer_add_real(writer, name, QA_DTYPE_REAL, tensor->columns == 0 ? 1 : 2, shape,
                                          values + tensor->offset, err);
}

static qa_status add_all(qa_safetensors_writer *writer, const qa_trainable *t, const documents *d, const double *loss,
                         qa_error *err) {
    QA_TRY(qa_safetensors_writer_add_double(writer, "loss", QA_DTYPE_F64, 0, NULL, loss, err));
    QA_TRY(qa_safetensors_writer_add_int64(writer, "documents.lengths", 1, &d->n, d->lengths, err));
    QA_TRY(qa_safetensors_writer_add_int64(writer, "documents.ids", 1, &d->tokens, d->ids, err));
    QA_TRY(qa_safetensors_writer_add_int64(writer, "documents.learned", 1, &d->tokens, d->learned, err));
    for (size_t i = 0; i < t->n_tensors; i++) {
        QA_TRY(add_gradient_tensor(writer, "weight", &t->tensors[i], t->parameters, err));
        QA_TRY(add_gradient_tensor(writer, "gradient", &t->tensors[i], t->gradient, err));
    }
    return QA_OK;
}

qa_status qa_gradient_file_save(const char *path, const qa_trainable *trainable, const qa_document_range *range,
                                double loss, qa_error *err) {
    qa_safetensors_writer *writer = NULL;
    documents d = {0};
    qa_status status = QA_OK;
    QA_GOTO(end, copy_documents(&d, range, err));
    QA_GOTO(end, qa_safetensors_writer_create(&writer, err));
    QA_GOTO(end, add_all(writer, trainable, &d, &loss, err));
    QA_GOTO(end, qa_safetensors_writer_save(writer, path, err));
end:
    qa_safetensors_writer_free(writer);
    free_documents(&d);
    return status;
}
