/* OLMo 2's tensors and layer, which are OLMo 3's, too. */
#ifndef QA_ARCH_OLMO2_H
#define QA_ARCH_OLMO2_H

#include "arch/family.h"

extern const qa_tensor_table qa_olmo2_tensors;
extern const qa_operation_list qa_olmo2_layer;

#endif
