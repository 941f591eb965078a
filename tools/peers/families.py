"""A tiny random model of every family, made and written by transformers."""

import torch
import transformers

SIZES = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 48, "max_position_embeddings": 64, "bos_token_id": 1,
         "eos_token_id": 2, "pad_token_id": 0}

# Class, and what its configuration has beside the sizes.
FAMILIES = {
    "LlamaForCausalLM": {},
    "MistralForCausalLM": {"sliding_window": None},
    "Qwen2ForCausalLM": {},
    "Qwen3ForCausalLM": {},
    "GemmaForCausalLM": {},
    "Gemma2ForCausalLM": {"query_pre_attn_scalar": 9, "sliding_window": 8},
    "Gemma3ForCausalLM": {"query_pre_attn_scalar": 6, "sliding_window": 8},
    "SmolLM3ForCausalLM": {},
    "GraniteForCausalLM": {"attention_multiplier": 0.3, "embedding_multiplier": 2.0, "logits_scaling": 3.0,
                           "residual_multiplier": 0.5},
    "GraniteMoeHybridForCausalLM": {"num_local_experts": 0, "layer_types": ["attention", "attention"],
                                    "shared_intermediate_size": 20, "mamba_n_heads": 4, "mamba_d_head": 8},
    "Phi3ForCausalLM": {},
    "OlmoForCausalLM": {},
    "Olmo2ForCausalLM": {},
    "Olmo3ForCausalLM": {"sliding_window": 8},
    "Ernie4_5ForCausalLM": {},
    "HunYuanDenseV1ForCausalLM": {},
    "ExaoneForCausalLM": {},
    "Exaone4ForCausalLM": {"sliding_window": 8},
    "StableLmForCausalLM": {"partial_rotary_factor": 0.5},
    "Starcoder2ForCausalLM": {"sliding_window": None},
    "GPT2LMHeadModel": {},
    "GPTNeoXForCausalLM": {"rotary_pct": 0.5},
    "CohereForCausalLM": {"logit_scale": 0.5},
    "NemotronForCausalLM": {},
    "HeliumForCausalLM": {},
    "GlmForCausalLM": {},
    "Glm4ForCausalLM": {},
}


def make(name, folder, seed=0, **more):
    """Writes the model; None where this transformers does not have the class."""
    kind = getattr(transformers, name, None)
    if kind is None:
        return None
    torch.manual_seed(seed)
    model = kind(kind.config_class(**{**SIZES, **FAMILIES[name], **more}))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.normal_(0, 0.3)
            if parameter.ndim == 1 and key.endswith("weight"):
                parameter.add_(1)  # a norm's
    model.save_pretrained(folder)
    return folder


def all_of(bench):
    """(name, folder) of every family that this transformers has; of every fourth, where cases are to be few."""
    for i, name in enumerate(FAMILIES):
        if not bench.quick or i % 4 == 0:
            folder = make(name, bench.folder(f"models/{name}"))
            if folder is not None:
                yield name, folder
