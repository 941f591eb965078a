/* The gradients of one step of pre-training and all that they were made of, in a file for other implementations. */
#ifndef QA_TRAIN_GRADIENT_FILE_H
#define QA_TRAIN_GRADIENT_FILE_H

#include "train/document_step.h"

/* Writes safetensors. "loss": a scalar, F64, the mean over the range's learned tokens. Of every tensor "weight.NAME"
 * and "gradient.NAME", in the build's precision. Of the documents, as I64: "documents.lengths" [n], and "documents.ids"
 * and "documents.learned" (0 or 1) [sum of the lengths], one document after the other. */
QA_MUST_CHECK qa_status qa_gradient_file_save(const char *path, const qa_trainable *trainable,
                                              const qa_document_range *range, double loss, qa_error *err);

#endif
