/* The frozen weights of a model: matrices in the build's precision or in BF16, vectors in the build's precision. */
#ifndef QA_MODEL_WEIGHTS_H
#define QA_MODEL_WEIGHTS_H

#include "arch/tensors.h"
#include "base/arena.h"
#include "base/context.h"
#include "base/real.h"
#include "base/sha256.h"
#include "nn/linear.h"
#include "qadapter/model.h"

/* One linear map: weight[out x in], bias[out] or NULL. */
typedef struct qa_linear {
    qa_weight weight;
    const qa_real *bias;
    size_t in, out;
} qa_linear;

/* Weights of a norm; NULL where there are none. */
typedef struct qa_norm_weights {
    const qa_real *w, *b;
} qa_norm_weights;

/* One transformer layer. linear[] is indexed by qa_target, norm[] by qa_norm_name; those that the family does not have
 * are zeros. */
typedef struct qa_layer {
    qa_norm_weights norm[QA_NORMS];
    qa_linear linear[QA_TARGETS];
} qa_layer;

typedef struct qa_fingerprint qa_fingerprint; /* model/digest.h */

struct qa_model {
    qa_context *context; /* borrowed */
    qa_config config;
    qa_model_info info;
    char *dir;
    qa_arena arena;                    /* holds every weight */
    qa_panels panels;                  /* room for the products with BF16 matrices */
    qa_weight embedding;               /* [V x d] */
    const qa_real *position_embedding; /* [max_position_embeddings x d]; NULL: positions are not learned */
    qa_norm_weights final_norm;        /* [d] */
    qa_weight head;                    /* [V x d]; the embedding when tied */
    qa_weight score;                   /* [labels x d], of a classifier in the head's place; else not there */
    qa_layer *layers;                  /* [num_hidden_layers] */
    double *rope_frequency[QA_ROPES];  /* [rotary_dim / 2] each, of a sequence within the model's context */
    double rope_factor[QA_ROPES];      /* on their cosines and sines */
    bool weights_change;               /* they are being trained: what was computed from them is not kept */
    qa_fingerprint *fingerprint;
};

/* One tensor of a model, as its files name it. */
typedef struct qa_weight_entry {
    const char *name; /* valid during the visit */
    const qa_tensor_row *row;
    size_t layer;
    size_t rows, columns;   /* columns 0: a vector */
    const qa_real **weight; /* the model's pointer to it, of a matrix that to its reals */
    qa_weight *matrix;      /* NULL: a vector */
    bool into_residual;     /* a linear map that writes into the residual stream: o_proj, down_proj */
    bool is_norm;           /* multiplies what was normed */
    bool transposed;        /* the files have it as columns x rows */
} qa_weight_entry;

typedef qa_status (*qa_weight_visit)(void *user, const qa_weight_entry *entry, qa_error *err);

/* Visits every tensor that the model's config asks for, in a fixed order (a tied head is not one of its own); ends
 * with the first failure. */
QA_MUST_CHECK qa_status qa_model_each_weight(qa_model *model, qa_weight_visit visit, void *user, qa_error *err);

/* A model of config's shape whose weights are not there yet: every pointer to one is NULL. dir is copied. */
QA_MUST_CHECK qa_status qa_model_make(qa_model **model, qa_context *context, const qa_config *config, const char *dir,
                                      qa_error *err);

/* To be called when the weights are there: ties the head, fills in model->info. */
void qa_model_complete(qa_model *model, const char *stored_dtype, const char *memory_dtype, size_t weight_bytes);

/* The weights of a folder with a classification head ("...ForSequenceClassification"), in the build's precision;
 * qa_model_load refuses those, and this one language models, by name. */
QA_MUST_CHECK qa_status qa_model_load_classifier(qa_model **model, qa_context *context, const char *dir, qa_error *err);

/* A digest of the settings that a model may have beside its shape, theta, epsilon and biases: scales, caps, windows,
 * the types of RoPE that came with them. False: it has none. */
bool qa_config_later_settings(const qa_config *config, char hex[QA_SHA256_HEX_BYTES]);

/* A digest of all that the forward pass takes from the config besides the tensors' shapes. */
void qa_config_digest(const qa_config *config, char hex[QA_SHA256_HEX_BYTES]);

#endif
