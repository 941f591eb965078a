#!/usr/bin/env python3
"""A second opinion on golden bundles: Q-Adapter in plain PyTorch, in float64, every gradient by autograd.

    golden_torch.py BUNDLE -o CANDIDATE [--compare]             recompute a bundle (docs/golden.md)
    golden_torch.py --oracle DIR [--models DIR] [--compare]     the same for a plain reference case: a folder with
                                                                case.json, pairs.jsonl, adapter/, model/ and
                                                                expected.safetensors

It shares no code with the C program. It needs Python 3 and PyTorch 1.13 or newer, nothing else: safetensors files
are read and written by hand. The labels (M5) to (M11) are those of docs/equations.md.
"""
import argparse
import json
import math
import os
import re
import sys

import torch
import torch.nn.functional as F

REAL = torch.float64
SIDES = ("chosen", "rejected")
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
          "I64": torch.int64, "I32": torch.int32}
ARCHITECTURES = tuple(name + "ForCausalLM" for name in
                      ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma3", "Olmo2", "Phi3"))


def fail(message):
    sys.exit(os.path.basename(sys.argv[0]) + ": " + message)


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return json.load(f)


# ---- safetensors: 8 bytes of header length, a JSON header, then the raw little-endian data -------------------------

def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = bytearray(f.read())
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        (begin, end), shape = info["data_offsets"], info["shape"]
        if info["dtype"] not in DTYPES:
            fail(f"{path}: {name}: dtype {info['dtype']} is not supported")
        flat = torch.empty(math.prod(shape), dtype=DTYPES[info["dtype"]])
        if end > len(data) or end - begin != flat.numel() * flat.element_size():
            fail(f"{path}: {name}: bytes {begin} to {end} do not hold the shape {shape}")
        if end > begin:
            flat = torch.frombuffer(data[begin:end], dtype=flat.dtype)  # the slice is a copy, so it is aligned
        tensors[name] = flat.reshape(shape)
    return tensors


def write_safetensors(path, tensors):
    header, blobs, offset = {"__metadata__": {"format": "pt", "made_by": "golden_torch.py"}}, [], 0
    for name, value in tensors.items():
        dtype = next(key for key, known in DTYPES.items() if known == value.dtype)
        raw = value.contiguous()
        blob = (raw.view(torch.int16) if dtype == "BF16" else raw).numpy().tobytes()  # NumPy has no bfloat16
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.writelines(blobs)


# ---- the language model --------------------------------------------------------------------------------------------

def weight_files(folder):
    files = ["model.safetensors"]
    if not os.path.exists(os.path.join(folder, files[0])):
        files = sorted(set(read_json(folder, "model.safetensors.index.json")["weight_map"].values()))
    return [os.path.join(folder, file) for file in files]


def rope_frequencies(config, head_dim):
    """The angle per position of every pair of dimensions: default, linear or llama3 scaling."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = scaling.get("rope_theta") or config.get("rope_theta") or 10000.0
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=REAL) / head_dim)
    if kind == "default":
        return frequency
    if kind == "linear":
        return frequency / scaling["factor"]
    if kind != "llama3":
        fail(f"rope type {kind} is not supported")
    # llama3: what turns often within the original context stays, what turns seldom is slowed down by the factor, and
    # what lies between is a blend of the two.
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequency / (2 * math.pi)
    keep = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return keep * frequency + (1 - keep) * frequency / scaling["factor"]


class Model:
    """Llama, Mistral, Qwen 2 and 3, Gemma 3, OLMo 2 and Phi-3, as a function of token ids and of an adapter.
    Which norms a layer has, and which maps hold several, is seen from its tensors."""

    def __init__(self, folder):
        self.config = c = read_json(folder, "config.json")
        architecture = (c.get("architectures") or ["(none)"])[0]
        if architecture not in ARCHITECTURES:
            fail(f"{folder}: architecture {architecture} is not one of {', '.join(ARCHITECTURES)}")
        gemma = architecture.startswith("Gemma3")
        activation = c.get("hidden_activation", "gelu_pytorch_tanh") if gemma else c.get("hidden_act", "silu")
        if activation not in ("silu", "gelu_pytorch_tanh") or c.get("use_sliding_window"):
            fail(f"{folder}: only silu and gelu_pytorch_tanh, and no use_sliding_window")
        if c.get("partial_rotary_factor", 1.0) != 1.0 or c.get("attention_bias") and not architecture.startswith("Llama"):
            fail(f"{folder}: partial rotary embedding or biases are not supported here")
        self.gate = F.silu if activation == "silu" else lambda x: F.gelu(x, approximate="tanh")
        self.weights = {name: value.to(REAL) for file in weight_files(folder)
                        for name, value in read_safetensors(file).items()}
        self.layers = c["num_hidden_layers"]
        self.heads = c["num_attention_heads"]
        self.kv_heads = c.get("num_key_value_heads") or self.heads
        self.head_dim = c.get("head_dim") or c["hidden_size"] // self.heads
        self.eps = c.get("rms_norm_eps", 1e-6)
        self.head = "model.embed_tokens.weight" if c.get("tie_word_embeddings") else "lm_head.weight"
        self.norm_offset = 1.0 if gemma else 0.0
        self.factor = math.sqrt(c["hidden_size"]) if gemma else 1.0  # to be rounded in a model in BF16
        self.scale = (c.get("query_pre_attn_scalar", 256) if gemma else self.head_dim) ** -0.5
        windowed = architecture[:4] in ("Mist", "Phi3") and c.get("sliding_window")
        kinds = c.get("layer_types") or ["sliding_attention" if windowed else "full_attention"] * self.layers
        self.windows = [c["sliding_window"] if kind == "sliding_attention" else None for kind in kinds]
        local = dict(c, rope_theta=c.get("rope_local_base_freq", 10000.0), rope_scaling=None)
        self.frequencies = [rope_frequencies(local if gemma and window else c, self.head_dim)
                            for window in self.windows]

    def rms_norm(self, x, name):
        """Of the whole of x, or of each head where the weights are those of one."""
        w = self.norm_offset + self.weights[name]
        heads = x.unflatten(-1, (-1, len(w)))
        return (w * heads / torch.sqrt(heads.square().mean(-1, keepdim=True) + self.eps)).flatten(-2)

    def linear(self, x, name, adapter):
        """y = W x + bias + s B A x, the last term where the adapter has this matrix."""
        y = F.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))
        a = f"base_model.model.{name}.lora_A.weight"
        if adapter is not None and a in adapter.tensors:
            b = a.replace("lora_A", "lora_B")
            y = y + adapter.scale * F.linear(F.linear(x, adapter.tensors[a]), adapter.tensors[b])
        return y

    def rotate(self, x, frequency):
        """The rotary embedding of (T, width): in each head dimension j turns together with j + head_dim / 2."""
        x = x.unflatten(-1, (-1, self.head_dim))
        angle = (torch.arange(len(x), dtype=REAL)[:, None] * frequency)[:, None, :]
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * angle.cos() - second * angle.sin(),
                          second * angle.cos() + first * angle.sin()), dim=-1).flatten(1)

    def attention(self, q, k, v, window):
        """Causal attention with grouped queries: query head j looks at key/value head j / (heads / kv_heads). With a
        window position i sees itself and the window - 1 positions before it."""
        q, k, v = (t.unflatten(-1, (-1, self.head_dim)).transpose(0, 1) for t in (q, k, v))
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=0) for t in (k, v))
        every = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool)
        hidden = every.triu(1) | every.tril(-window) if window else every.triu(1)
        score = (q @ k.transpose(1, 2) * self.scale).masked_fill(hidden, -math.inf)
        return (score.softmax(-1) @ v).transpose(0, 1).flatten(1)

    def maps(self, layer, path, whole, parts, widths, h, adapter):
        """Several maps of h, or the one that holds them all."""
        if path + whole + "_proj.weight" in self.weights:
            layer[whole.replace("_proj", "")] = y = self.linear(h, path + whole + "_proj", adapter)
            layer.update(zip(parts, y.split(widths, dim=-1)))
        else:
            layer.update({name: self.linear(h, f"{path}{name}_proj", adapter) for name in parts})

    def norm_if_there(self, layer, name, x, weights):
        """x, or what the norm of that name makes of it, which then is a row of the layer."""
        if weights + ".weight" not in self.weights:
            return x
        layer[name] = self.rms_norm(x, weights + ".weight")
        return layer[name]

    def attention_branch(self, layer, weights, x, i, adapter):
        h, path = self.norm_if_there(layer, "attn_norm", x, weights + "input_layernorm"), weights + "self_attn."
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.maps(layer, path, "qkv", "qkv", [query, key, key], h, adapter)
        q, k = (self.norm_if_there(layer, name + "_norm", layer[name], f"{path}{name}_norm") for name in "qk")
        layer["q_rope"], layer["k_rope"] = (self.rotate(rows, self.frequencies[i]) for rows in (q, k))
        layer["attn"] = self.attention(layer["q_rope"], layer["k_rope"], layer["v"], self.windows[i])
        layer["attn_out"] = self.linear(layer["attn"], path + "o_proj", adapter)

    def mlp_branch(self, layer, weights, x, adapter):
        sandwich = weights + "post_feedforward_layernorm.weight" in self.weights
        before = "pre_feedforward_layernorm" if sandwich else "post_attention_layernorm"
        h, width = self.norm_if_there(layer, "mlp_norm", x, weights + before), self.config["intermediate_size"]
        self.maps(layer, weights + "mlp.", "gate_up", ("gate", "up"), [width, width], h, adapter)
        layer["act"] = self.gate(layer["gate"]) * layer["up"]
        layer["mlp_out"] = self.linear(layer["act"], weights + "mlp.down_proj", adapter)

    def behind(self, layer, branch, norm):
        """What a branch adds to the stream: normed where there are norms behind branches, else as it is."""
        if norm.replace("attention", "feedforward") + ".weight" not in self.weights:
            return layer.pop(branch + "_out")
        layer[branch + "_post_norm"] = self.rms_norm(layer[branch + "_out"], norm + ".weight")
        return layer[branch + "_post_norm"]

    def forward(self, ids, start, adapter=None):
        """Every intermediate by its name in the bundle; the logits at positions start to the end."""
        out = {"embed": self.weights["model.embed_tokens.weight"][ids] * self.factor}
        x = out["embed"]
        for i in range(self.layers):
            layer, weights = {}, f"model.layers.{i}."
            self.attention_branch(layer, weights, x, i, adapter)
            layer["mid"] = x = x + self.behind(layer, "attn", weights + "post_attention_layernorm")
            self.mlp_branch(layer, weights, x, adapter)
            layer["hidden"] = x = x + self.behind(layer, "mlp", weights + "post_feedforward_layernorm")
            out.update({f"layer{i}.{name}": value for name, value in layer.items()})
        out["final_norm"] = self.rms_norm(x, "model.norm.weight")
        out["logits"] = F.linear(out["final_norm"][start:], self.weights[self.head])
        return out


class Adapter:
    """A PEFT LoRA adapter: its tensors by their PEFT names, and the factor s."""

    def __init__(self, folder):
        c = read_json(folder, "adapter_config.json")
        if c.get("bias", "none") != "none" or c.get("use_dora") or c.get("rank_pattern") or c.get("alpha_pattern"):
            fail(f"{folder}: only plain LoRA, without bias, DoRA or patterns")
        self.scale = c["lora_alpha"] / (math.sqrt(c["r"]) if c.get("use_rslora") else c["r"])
        loaded = read_safetensors(os.path.join(folder, "adapter_model.safetensors"))
        self.tensors = {name: value.to(REAL).requires_grad_() for name, value in loaded.items()}


# ---- Q-Adapter -----------------------------------------------------------------------------------------------------

class Row:
    """A prompt with one response. Its states are the prefixes that end at the positions P-1, ..., T-1, P being the
    first position labelled as response; state i below is the prefix that ends at position P-1+i."""

    def __init__(self, pair, side, o):
        self.ids = torch.tensor(pair["prompt_ids"] + pair[side + "_ids"], dtype=torch.int64)
        self.P = len(pair["prompt_ids"]) if o["objective"] == "theory" else pair["label_start"]
        self.terminal = pair[side + "_terminal"]
        self.base = None

    def distributions(self, model, adapter, o):
        """log pi1, Qhat, Vhat and log pitilde at every state. The base model is a constant, run once."""
        if self.base is None:
            with torch.no_grad():
                self.base = model.forward(self.ids, self.P - 1)
            self.log_pi1 = self.base["logits"].log_softmax(-1)
        self.adapted = model.forward(self.ids, self.P - 1, adapter)
        self.q = self.adapted["logits"]
        if o["q_parametrisation"] == "residual":
            self.q = self.q - self.base["logits"]
        self.q.retain_grad()
        exponent = (self.q + o["alpha_0"] * self.log_pi1) / o["alpha_tilde"]
        self.v = o["alpha_tilde"] * exponent.logsumexp(-1)                                          # (M5)
        self.log_policy = exponent - self.v[:, None] / o["alpha_tilde"]                             # (M7)

    def transitions(self, longest, o):
        """The counted transitions: for each its state, its action, the state whose value its reward subtracts,
        whether that value counts (1) or is that of a terminal state (0), and its weight c_t in the return."""
        if o["objective"] == "theory":
            # Every response token is an action. The value is that of the next state, and 0 after the end token.
            n = len(self.ids) - self.P
            self.state, self.action = torch.arange(n), self.ids[self.P:]
            self.value_state = self.state + 1
            self.alive = torch.ones(n, dtype=REAL)
            if self.terminal:
                self.alive[-1] = 0.0
            self.c = o["gamma"] ** torch.arange(n, dtype=REAL) / (n if o["length_normalisation"] else 1)
        else:
            # The released code: a position counts when it is labelled as response itself, padding aside, so the
            # first response token is left out and the first padding token is in. The value is that of the same
            # state, and the sum is divided by the padded length minus one.
            position = torch.arange(self.P, min(len(self.ids), longest - 1))
            padded = torch.cat((self.ids, torch.tensor([o["pad_id"]])))
            self.state, self.action = position - (self.P - 1), padded[position + 1]
            self.value_state = self.state
            self.alive = torch.ones(len(position), dtype=REAL)
            self.c = torch.full((len(position),), 1.0 / (longest - 1), dtype=REAL)

    def rewards(self, o):
        # (M6) read from right to left: the reward that makes this Qhat a residual soft Q-function
        self.reward = self.q[self.state, self.action] - o["gamma"] * self.alive * self.v[self.value_state]  # (M8)
        self.ret = (self.c * self.reward).sum()                                                     # (M9)
        self.log_pi = self.log_policy[self.state, self.action]


def evaluate(pairs, model, adapter, o):
    """loss, its preference term and its regulariser (M10) of a list of (chosen, rejected) rows, one optimiser step.
    theory: every mean is over the whole list. published: over a micro-batch, and then over the micro-batches."""
    size = min(o["micro_batch"], len(pairs))
    batches = [pairs[i:i + size] for i in range(0, len(pairs), size)]
    for batch in batches:
        rows = [row for pair in batch for row in pair]
        longest = max(len(row.ids) for row in rows)
        for row in rows:
            row.distributions(model, adapter, o)
            row.transitions(longest, o)
            row.rewards(o)
    groups = [pairs] if o["objective"] == "theory" else batches
    prefs, regs = [], []
    for group in groups:
        z = torch.stack([chosen.ret - rejected.ret for chosen, rejected in group])
        r = torch.cat([row.reward for pair in group for row in pair])
        prefs.append(-F.logsigmoid(z).mean())                                                       # (M10)
        regs.append(o["beta"] * r.square().sum() / max(len(r), 1))
        # What (M11) needs: g_t = dL/dr_t, from the Bradley-Terry term and from the regulariser.
        for (chosen, rejected), logit in zip(group, z.detach()):
            for row, sign in ((chosen, -1.0), (rejected, 1.0)):
                row.g = sign * row.c * torch.sigmoid(-logit) / len(group) / len(groups)
                row.g += 2 * o["beta"] * row.reward.detach() / len(r) / len(groups)
    pref, reg = torch.stack(prefs).mean(), torch.stack(regs).mean()
    return pref + reg, pref, reg


def error_of_m11(pairs, o):
    """The worst relative difference between (M11) and what autograd found for dL/dQhat, over all rows."""
    worst = 0.0
    for row in (row for pair in pairs for row in pair):
        formula = torch.zeros_like(row.q)
        formula[row.state, row.action] += row.g
        pull = o["gamma"] * row.alive * row.g
        formula[row.value_state] -= pull[:, None] * row.log_policy.detach().exp()[row.value_state]  # (M11)
        worst = max(worst, relative_error(row.q.grad, formula, 1e-9))
    return worst


def recompute(model, adapter, pairs, o):
    """Every tensor of docs/golden.md, by name, and the error of (M11) against autograd."""
    out = {}
    loss, pref, reg = evaluate(pairs, model, adapter, o)
    loss.backward()
    for i, side, row in ((i, side, row) for i, pair in enumerate(pairs) for side, row in zip(SIDES, pair)):
        name = f"pair{i}.{side}."
        out[name + "input_ids"] = row.ids
        for stream, values in (("base", row.base), ("adapted", row.adapted)):
            out.update({f"{name}{stream}.{key}": value for key, value in values.items()
                        if o["all_activations"] or key.endswith(".hidden")})
        out.update({name + "log_pi1": row.log_pi1, name + "q": row.q, name + "v": row.v, name + "reward": row.reward,
                    name + "log_pi": row.log_pi, name + "return": row.ret})
        if o["log_pi_of_response"]:
            out[name + "log_pi"] = row.log_policy[:-1].gather(1, row.ids[row.P:, None])[:, 0]
    out.update({"loss.pref": pref, "loss.reg": reg, "loss": loss})
    for name, value in adapter.tensors.items():
        if value.grad is None:
            fail(f"no gradient reaches {name}: the model has no such matrix")
        out["grad." + name] = value.grad.clone()
    error = error_of_m11(pairs, o)

    parameters, a = list(adapter.tensors.values()), o["optimiser"]
    adamw = torch.optim.AdamW(parameters, lr=a["learning_rate"], betas=(a["adam_beta1"], a["adam_beta2"]),
                              eps=a["adam_epsilon"], weight_decay=a["weight_decay"])
    for k in range(1, a["steps"] + 1):
        adamw.zero_grad()
        loss = evaluate(pairs, model, adapter, o)[0]
        loss.backward()
        out[f"step{k}.loss"] = loss
        # Clipping multiplies by max_grad_norm / (norm + 1e-6) when that is below 1.
        for group in adamw.param_groups:
            group["lr"] = a["learning_rate"] * schedule(a, k - 1)
        out[f"step{k}.grad_norm"] = torch.nn.utils.clip_grad_norm_(parameters, a["max_grad_norm"] or math.inf)
        adamw.step()
        out.update({f"step{k}.{name}": value.detach().clone() for name, value in adapter.tensors.items()})
    return {name: value.detach() for name, value in out.items()}, error


def schedule(a, step):
    """What the learning rate is multiplied by: it rises over the warm-up, and then may fall to 0."""
    warmup, kind = a.get("warmup_steps", 0), a.get("schedule", "constant")
    if step < warmup:
        return step / warmup
    past = (step - warmup) / max(a["steps"] - warmup, 1)
    return {"constant": 1.0, "linear": 1 - past, "cosine": (1 + math.cos(math.pi * past)) / 2}[kind]


# ---- comparison ----------------------------------------------------------------------------------------------------

def relative_error(found, expected, floor):
    """||found - expected|| / ||expected||; the floor, times the root of the size, stands in for a smaller norm."""
    found, expected = found.to(REAL), expected.to(REAL)
    if expected.numel() == 0:
        return 0.0
    error = (found - expected).norm() / max(expected.norm().item(), floor * math.sqrt(expected.numel()))
    return error.item() if math.isfinite(error) else math.inf


def compare(candidate, expected, tolerance):
    """Prints the worst error of every kind of tensor; whether all of them are there and within the tolerance."""
    missing = [name for name in expected if name not in candidate]
    kinds = {}
    for name, value in expected.items():
        if name in missing:
            continue
        kind = re.sub(r"^(grad|step\d+)\..*(lora_.).*", r"\1.\2", re.sub(r"layer\d+", "layer*", name))
        kind = re.sub(r"^pair\d+\.\w+\.", "", kind)
        if candidate[name].shape != value.shape:
            fail(f"{name}: shape {list(candidate[name].shape)} recomputed, {list(value.shape)} in the reference")
        # Values in nats have a natural scale of 1: where all are 0, rounding errors are no disagreement.
        error = relative_error(candidate[name], value, 1e-9 if name.startswith("grad.") else 1e-4)
        count, worst, where = kinds.get(kind, (0, -1.0, ""))
        kinds[kind] = (count + 1,) + ((error, name) if error > worst else (worst, where))
    print(f"{'kind':28} {'tensors':>7}  {'worst':>8}  where")
    for kind, (count, worst, where) in kinds.items():
        print(f"{kind:28} {count:7}  {worst:8.1e}  {where}{'' if worst <= tolerance else '   <-- above the tolerance'}")
    for name in missing:
        print(f"{name}: in the reference, not recomputed")
    worst = max((worst for _, worst, _ in kinds.values()), default=math.inf)
    print(f"worst relative error {worst:.1e}, tolerance {tolerance:g}")
    return not missing and worst <= tolerance


# ---- bundles, reference cases, command line ------------------------------------------------------------------------

def read_pairs(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def open_bundle(folder):
    m = read_json(folder, "manifest.json")
    if m.get("format") != "qadapter-golden" or m.get("format_version") != 1:
        fail(f"{folder}: manifest.json is not that of a golden bundle of version 1")
    o = dict(m["objective"], micro_batch=m["micro_batch"], pad_id=m["pad_id"], optimiser=m["optimiser"],
             all_activations=m["all_activations"], log_pi_of_response=False)
    model, adapter, data = (os.path.join(folder, m[key]) for key in ("model", "adapter", "data"))
    return Model(model), Adapter(adapter), read_pairs(data), o, os.path.join(folder, "golden.safetensors")


def open_reference_case(folder, models):
    """case.json's options; one micro-batch; the label boundary is the prompt's length, at most 256 if published."""
    o = read_json(folder, "case.json")
    if o["lr_schedule"] != "constant":
        fail(f"{folder}: lr_schedule {o['lr_schedule']} is not supported")
    own, adapter = os.path.join(folder, "model"), os.path.join(folder, "adapter")
    if not os.path.isdir(own):
        name = read_json(adapter, "adapter_config.json")["base_model_name_or_path"]
        own = os.path.join(models, os.path.basename(name))
    model, pairs = Model(own), read_pairs(os.path.join(folder, "pairs.jsonl"))
    for pair in pairs:
        pair["label_start"] = len(pair["prompt_ids"])
        if o["objective"] == "published":
            pair["label_start"] = min(pair["label_start"], 256)
    end = model.config["eos_token_id"]
    o.update(micro_batch=len(pairs), pad_id=end[0] if isinstance(end, list) else end, all_activations=False,
             log_pi_of_response=True, optimiser=dict(o, adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8))
    return model, Adapter(adapter), pairs, o, os.path.join(folder, "expected.safetensors")


def main():
    parser = argparse.ArgumentParser(description="Recomputes a golden bundle in PyTorch.")
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="folder with manifest.json")
    parser.add_argument("-o", metavar="CANDIDATE", dest="output", help="safetensors file to write")
    parser.add_argument("--dtype", choices=["f64", "f32", "bf16", "f16"], default="f64",
                        help="of the candidate's tensors; the arithmetic is always float64 (default f64)")
    parser.add_argument("--compare", action="store_true", help="print the worst errors; status 1 if one is too large")
    parser.add_argument("--tolerance", type=float, default=1e-9, help="relative, of every tensor's norm (default 1e-9)")
    parser.add_argument("--oracle", metavar="DIR", help="a reference case instead of a bundle")
    parser.add_argument("--models", metavar="DIR", default=".", help="where the model is of a case without one")
    args = parser.parse_args()
    if (args.bundle is None) == (args.oracle is None) or not (args.output or args.compare):
        parser.error("give one BUNDLE or --oracle DIR, and -o CANDIDATE, --compare or both")
    torch.set_num_threads(1)
    try:
        model, adapter, pairs, o, expected = (open_bundle(args.bundle) if args.bundle
                                              else open_reference_case(args.oracle, args.models))
        pairs = [tuple(Row(pair, side, o) for side in SIDES) for pair in pairs]
        found, error = recompute(model, adapter, pairs, o)
        dtype = DTYPES[args.dtype.upper()]
        found = {name: value.to(dtype) if value.is_floating_point() else value for name, value in found.items()}
        if args.output:
            write_safetensors(args.output, found)
        if args.compare:
            good = compare(found, read_safetensors(expected), args.tolerance)
            print(f"(M11) against autograd's dL/dQhat: {error:.1e}")
            sys.exit(0 if good and error <= 1e-9 else 1)
    except KeyError as e:
        fail(f"there is no {e.args[0]}")
    except (OSError, ValueError) as e:
        fail(str(e))


if __name__ == "__main__":
    main()
