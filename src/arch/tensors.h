/* A model's tensors as a table: what its files call them, their shapes, when they are there and what they are for. It
 * is the one place where names of tensors stand; loading, saving, fingerprints, trained weights, LoRA's targets and
 * random weights are made from it. */
#ifndef QA_ARCH_TENSORS_H
#define QA_ARCH_TENSORS_H

#include "arch/config.h"
#include "arch/tensor_row.h"

enum { QA_TENSOR_NAME_BYTES = 96 };

size_t qa_width_of(const qa_config *config, qa_width width); /* 0: QA_VECTOR */
bool qa_tensor_is_there(const qa_config *config, const qa_tensor_row *row);
bool qa_tensor_in_layer(const qa_tensor_row *row);

/* The name of the tensor of a table's row, in layer l if it is in one. */
void qa_tensor_name(char name[QA_TENSOR_NAME_BYTES], const qa_tensor_table *table, const qa_tensor_row *row, size_t l);

/* The other name that files may have for it; false: there is none. */
bool qa_tensor_published_name(char name[QA_TENSOR_NAME_BYTES], const qa_tensor_table *table, const qa_tensor_row *row,
                              size_t l);

/* The row that the name of a tensor belongs to, either name of it, and its layer; NULL: none that the config asks for.
 */
const qa_tensor_row *qa_tensor_by_name(const qa_config *config, const char *name, size_t *l);

/* The row of a map's matrix; NULL: the family has no such map. */
const qa_tensor_row *qa_tensor_of_target(const qa_family *family, qa_target target);

/* The first row of a role; NULL: the family has none. */
const qa_tensor_row *qa_tensor_of_role(const qa_family *family, qa_role role);

/* Whether a tensor of that name is one of those that some writers add and that carry no weights: masks, frequencies. */
bool qa_tensor_is_ignored(const qa_family *family, const char *name);

/* Weights in all, a tied head not counted again. */
size_t qa_config_parameters(const qa_config *config);

/* The module of a map, as PEFT names it: "model.layers.0.self_attn.q_proj". */
void qa_module_path(char path[QA_TENSOR_NAME_BYTES], const qa_family *family, size_t layer, qa_target target);

/* in and out of a map; both 0: the family has none such. */
void qa_target_shape(const qa_config *config, qa_target target, size_t *in, size_t *out);

#endif
