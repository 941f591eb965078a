/* A model whose weights all learn: pre-training, and fine-tuning of all weights.
 *
 * All weights stand in one flat array, parameters[count], and a gradient of the same layout beside it, so that the
 * optimiser sees two arrays. The model's own pointers (model/weights.h) point into that array: whatever reads the
 * model reads the weights as they are now. A tied embedding is there once. */
#ifndef QA_MODEL_TRAINABLE_H
#define QA_MODEL_TRAINABLE_H

#include "base/real.h"
#include "io/dtype.h"
#include "model/adapter.h"
#include "model/weights.h"

typedef struct qa_norm_gradients {
    qa_real *w, *b;
} qa_norm_gradients;

/* Where the gradient of one layer's weights goes; NULL where there is no such tensor. */
typedef struct qa_layer_weight_gradients {
    qa_norm_gradients norm[QA_NORMS];
    qa_real *weight[QA_TARGETS]; /* [out x in] */
    qa_real *bias[QA_TARGETS];   /* [out] or NULL */
} qa_layer_weight_gradients;

typedef struct qa_weight_gradients {
    qa_real *embedding;          /* [V x d] */
    qa_real *position_embedding; /* [max_position_embeddings x d] or NULL */
    qa_norm_gradients final_norm;
    qa_real *head;  /* [V x d]; the embedding's when tied */
    qa_real *score; /* [labels x d] of a classifier, or NULL */
    qa_layer_weight_gradients *layers;
} qa_weight_gradients;

/* One tensor of the flat array. Matrices decay under AdamW; norms and biases do not. */
typedef struct qa_parameter_tensor {
    char name[96];        /* as in model.safetensors */
    size_t offset;        /* first element in parameters */
    size_t rows, columns; /* columns 0: a vector of `rows` */
    size_t count;
    bool into_residual;       /* o_proj, down_proj */
    bool is_norm, transposed; /* as in qa_weight_entry */
} qa_parameter_tensor;

struct qa_trainable {
    qa_model *model; /* owned; its weights are `parameters` */
    qa_arena arena;
    qa_real *parameters; /* [count], matrices first, then vectors: [0, decayed) decays */
    qa_real *gradient;   /* [count] its own, or another (qa_trainable_use_gradient) */
    size_t count, decayed;
    qa_parameter_tensor *tensors; /* [n_tensors] in the order of the array */
    size_t n_tensors;
    qa_weight_gradients gradients; /* pointers into `gradient` */
};

/* Fresh weights for the config: matrices normal with standard deviation `deviation`, those that write into the residual
 * stream (o_proj, down_proj) divided by sqrt(2 layers), norms 1, biases 0; a function of config, seed and tensor alone.
 * dir: a name for messages, copied. */
QA_MUST_CHECK qa_status qa_trainable_create(qa_trainable **trainable, qa_context *context, const qa_config *config,
                                            const char *dir, double deviation, uint64_t seed, qa_error *err);

/* The weights of a folder as they are, to train on. */
QA_MUST_CHECK qa_status qa_trainable_load(qa_trainable **trainable, qa_context *context, const char *dir,
                                          qa_error *err);

/* A copy of a loaded model's weights, to train on; of a family whose arithmetic depends on the files' dtype, with that
 * of F32. labels 0: of all of them, as they are; else of a language model's
 * without its head, with a fresh classification head of so many outputs, normal with transformers' deviation of 0.02, a
 * function of the seed. A family that has no such class in transformers is QA_ERR_UNSUPPORTED. */
QA_MUST_CHECK qa_status qa_trainable_copy(qa_trainable **trainable, qa_model *model, size_t labels, uint64_t seed,
                                          qa_error *err);
void qa_trainable_free(qa_trainable *trainable); /* NULL is allowed */

/* From here on `gradient`, and what points into it, is this array [count], which is borrowed. */
void qa_trainable_use_gradient(qa_trainable *trainable, qa_real *gradient);

/* The tensor that element i of the array belongs to, and where in it. */
const qa_parameter_tensor *qa_trainable_tensor_at(const qa_trainable *trainable, size_t i);

/* Writes dir/model.safetensors. */
QA_MUST_CHECK qa_status qa_trainable_save_weights(const qa_trainable *trainable, const char *dir, qa_dtype dtype,
                                                  qa_error *err);

/* The same, and dir/config.json, dir/generation_config.json (dtype F32, F16 or BF16; the folder is
 * there already): what qa_model_load and Hugging Face read. */
QA_MUST_CHECK qa_status qa_trainable_save(const qa_trainable *trainable, const char *dir, qa_dtype dtype,
                                          qa_error *err);

#endif
