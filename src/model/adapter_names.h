/* The names of an adapter file's tensors, as PEFT spells them, whatever wrote the file. */
#ifndef QA_MODEL_ADAPTER_NAMES_H
#define QA_MODEL_ADAPTER_NAMES_H

#include "io/safetensors.h"

typedef struct qa_adapter_name {
    char *name; /* "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" */
    const qa_tensor *tensor;
} qa_adapter_name;

/* Zero-initialise; close in any case. The file stays open longer. */
typedef struct qa_adapter_names {
    qa_adapter_name *names; /* [n], sorted */
    size_t n;
} qa_adapter_names;

/* What wrappers of a model leave in a name means nothing and goes: `_orig_mod.` (torch.compile) and
 * `_fsdp_wrapped_module.`, `_checkpoint_wrapped_module.` anywhere, `module.` (data parallel) and any number of
 * `base_model.model.` in front, the adapter's own name in `lora_A.NAME.weight`. Two tensors that then have one name,
 * and two adapters in one file, are QA_ERR_FORMAT. */
QA_MUST_CHECK qa_status qa_adapter_names_open(qa_adapter_names *names, const qa_safetensors *file, qa_error *err);
const qa_tensor *qa_adapter_names_find(const qa_adapter_names *names, const char *name); /* NULL: none */
void qa_adapter_names_close(qa_adapter_names *names);

#endif
