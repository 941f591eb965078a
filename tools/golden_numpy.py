#!/usr/bin/env python3
"""Q-Adapter's forward quantities in NumPy: log pi1, Qhat, Vhat, rewards, returns, log pitilde and the losses.

    golden_numpy.py BUNDLE -o CANDIDATE [--compare]     recompute a golden bundle (docs/golden.md)

The shortest complete statement of what the method computes, in float64 and from the files up; gradients and training
are in golden_torch.py. The labels (M5) to (M10) are those of docs/equations.md.
"""
import argparse
import json
import os
import re
import sys

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return json.load(f)


def read_safetensors(*path):
    with open(os.path.join(*path), "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        flat = np.frombuffer(data[begin:end], DTYPES[info["dtype"]])
        if info["dtype"] == "BF16":  # the upper half of a float32
            flat = (flat.astype("<u4") << 16).view("<f4")
        tensors[name] = flat.reshape(info["shape"]).astype("<i8" if info["dtype"][0] == "I" else "<f8")
    return tensors


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"made_by": "golden_numpy.py"}}, 0
    for name, t in tensors.items():
        dtype = "I64" if t.dtype.kind == "i" else "F64"
        header[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [offset, offset + t.nbytes]}
        offset += t.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + b"".join(t.tobytes() for t in tensors.values()))


def log_sum_exp(x):
    top = x.max(-1, keepdims=True)
    return (top + np.log(np.exp(x - top).sum(-1, keepdims=True)))[..., 0]


def rope_frequencies(c, head_dim):
    scaling = c.get("rope_parameters") or c.get("rope_scaling") or {}
    theta = scaling.get("rope_theta") or c.get("rope_theta") or 10000.0
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    frequency = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    if kind == "llama3":  # fast pairs stay, slow ones are divided by the factor, those between are a blend
        turns = scaling["original_max_position_embeddings"] * frequency / (2 * np.pi)
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        keep = np.clip((turns - low) / (high - low), 0, 1)
        return keep * frequency + (1 - keep) * frequency / scaling["factor"]
    return frequency / {"default": 1.0, "linear": scaling.get("factor")}[kind]


def run_model(c, w, lora, scale, ids, start):
    """Llama, Mistral, Qwen 2 and 3, Gemma 3, OLMo 2, Phi-3: logits at positions start to the end, and the residual
    stream after every layer. Which norms a layer has, and which maps hold several, is seen from its tensors."""
    heads, T, gemma = c["num_attention_heads"], len(ids), c["architectures"][0].startswith("Gemma3")
    kv_heads = c.get("num_key_value_heads") or heads
    width = c.get("head_dim") or c["hidden_size"] // heads
    windowed = c["architectures"][0][:4] in ("Mist", "Phi3") and c.get("sliding_window")
    kinds = c.get("layer_types") or ["sliding_attention" if windowed else "full_attention"] * c["num_hidden_layers"]
    angles = {kind: np.arange(T)[:, None] * rope_frequencies(c, width) for kind in kinds}
    if gemma:  # a theta of its own in the layers that have a window
        local = c.get("rope_local_base_freq", 10000.0) ** (-np.arange(0, width, 2) / width)
        angles["sliding_attention"] = np.arange(T)[:, None] * local

    def norm(x, name):  # of a row, or of each head where the weights are those of one; x where there are none
        if name not in w:
            return x
        weights = w[name] + (1 if gemma else 0)
        rows = x.reshape(T, -1, len(weights))
        return (weights * rows / np.sqrt((rows * rows).mean(-1, keepdims=True) + c.get("rms_norm_eps", 1e-6))
                ).reshape(x.shape)

    def linear(x, name):  # W x + bias + s B A x
        y = x @ w[name + ".weight"].T + w.get(name + ".bias", 0.0)
        a, b = (lora.get(f"base_model.model.{name}.lora_{m}.weight") for m in "AB")
        return y if a is None else y + scale * (x @ a.T @ b.T)

    def maps(x, path, whole, names, widths):  # several maps, or the one that holds them all
        if f"{path}{whole}_proj.weight" in w:
            return np.split(linear(x, f"{path}{whole}_proj"), np.cumsum(widths)[:-1], -1)
        return [linear(x, f"{path}{name}_proj") for name in names]

    def rotate(x, angle):  # (heads, T, width): dimension j turns with j + width/2
        u, v = x[..., :width // 2], x[..., width // 2:]
        return np.concatenate((u * np.cos(angle) - v * np.sin(angle), v * np.cos(angle) + u * np.sin(angle)), -1)

    def activation(x):
        if gemma:
            return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))
        return x / (1 + np.exp(-x))

    x, hidden = w["model.embed_tokens.weight"][ids] * (np.sqrt(c["hidden_size"]) if gemma else 1.0), []
    scores = (c.get("query_pre_attn_scalar", 256) if gemma else width) ** -0.5
    for i, kind in enumerate(kinds):
        layer = f"model.layers.{i}."
        behind = layer + "post_feedforward_layernorm.weight" in w  # norms of what the branches add
        h = norm(x, layer + "input_layernorm.weight")
        q, k, v = maps(h, layer + "self_attn.", "qkv", "qkv", [heads * width, kv_heads * width, kv_heads * width])
        q, k = (norm(rows, f"{layer}self_attn.{m}_norm.weight") for m, rows in zip("qk", (q, k)))
        q, k, v = (rows.reshape(T, -1, width).swapaxes(0, 1) for rows in (q, k, v))
        q, k = rotate(q, angles[kind]), rotate(k, angles[kind]).repeat(heads // kv_heads, 0)
        v, seen = v.repeat(heads // kv_heads, 0), np.tri(T, dtype=bool)
        if kind == "sliding_attention":  # each position sees itself and the window - 1 before it
            seen &= ~np.tri(T, k=-c["sliding_window"], dtype=bool)
        score = np.where(seen, q @ k.swapaxes(1, 2) * scores, -np.inf)
        h = np.exp(score - log_sum_exp(score)[..., None]) @ v
        h = linear(h.swapaxes(0, 1).reshape(T, -1), layer + "self_attn.o_proj")
        x = x + (norm(h, layer + "post_attention_layernorm.weight") if behind else h)
        h = norm(x, layer + ("pre_feedforward_layernorm.weight" if behind else "post_attention_layernorm.weight"))
        gate, up = maps(h, layer + "mlp.", "gate_up", ("gate", "up"), [c["intermediate_size"]] * 2)
        h = linear(activation(gate) * up, layer + "mlp.down_proj")
        x = x + (norm(h, layer + "post_feedforward_layernorm.weight") if behind else h)
        hidden.append(x)
    head = w["model.embed_tokens.weight" if c.get("tie_word_embeddings") else "lm_head.weight"]
    return norm(x, "model.norm.weight")[start:] @ head.T, hidden


def recompute(folder, manifest):
    m, o, out = manifest, manifest["objective"], {}
    alpha, alpha_0, gamma, theory = o["alpha_tilde"], o["alpha_0"], o["gamma"], o["objective"] == "theory"
    model, adapter = os.path.join(folder, m["model"]), os.path.join(folder, m["adapter"])
    config, lora_config = read_json(model, "config.json"), read_json(adapter, "adapter_config.json")
    lora = read_safetensors(adapter, "adapter_model.safetensors")
    scale = lora_config["lora_alpha"] / lora_config["r"] ** (0.5 if lora_config.get("use_rslora") else 1)
    files, weights = ["model.safetensors"], {}
    if not os.path.exists(os.path.join(model, files[0])):
        files = sorted(set(read_json(model, "model.safetensors.index.json")["weight_map"].values()))
    for file in files:
        weights.update(read_safetensors(model, file))
    with open(os.path.join(folder, m["data"]), encoding="utf-8") as f:
        pairs = [json.loads(line) for line in f if line.strip()]

    groups = []  # of each micro-batch: differences of returns, rewards
    for i, pair in enumerate(pairs):
        if i % m["micro_batch"] == 0:
            groups.append(([], []))
            batch = pairs[i:i + m["micro_batch"]]
            longest = max(len(p["prompt_ids"] + p[s + "_ids"]) for p in batch for s in ("chosen", "rejected"))
        returns = []
        for side in ("chosen", "rejected"):
            ids = np.array(pair["prompt_ids"] + pair[side + "_ids"], dtype="<i8")
            T, P = len(ids), len(pair["prompt_ids"]) if theory else pair["label_start"]
            # States are the prefixes that end at positions P-1 to T-1; position p is state p - (P-1).
            z1, base = run_model(config, weights, {}, 0.0, ids, P - 1)
            z, adapted = run_model(config, weights, lora, scale, ids, P - 1)
            log_pi1 = z1 - log_sum_exp(z1)[:, None]
            q = z - z1 if o["q_parametrisation"] == "residual" else z
            v = alpha * log_sum_exp((q + alpha_0 * log_pi1) / alpha)                                # (M5)
            if theory:  # every response token is an action; the value of the next state, 0 at the end
                n = T - P
                state, action = np.arange(n), ids[P:]
                value = v[1:] * np.where(np.arange(n) == n - 1, not pair[side + "_terminal"], True)
                c = gamma ** np.arange(n) / (n if o["length_normalisation"] else 1)
            else:  # labelled positions but the row's last, padding to the longest row; the value of the same state
                position = np.arange(P, min(T, longest - 1))
                state, action = position - (P - 1), np.append(ids, m["pad_id"])[position + 1]
                value, c = v[state], np.full(len(position), 1 / (longest - 1))
            reward = q[state, action] - gamma * value                                               # (M6), (M8)
            log_pi = (q[state, action] + alpha_0 * log_pi1[state, action] - v[state]) / alpha       # (M7)
            returns.append((c * reward).sum())                                                      # (M9)
            groups[-1][1].append(reward)
            name = f"pair{i}.{side}."
            for stream, layers in (("base", base), ("adapted", adapted)):
                out.update({f"{name}{stream}.layer{j}.hidden": h for j, h in enumerate(layers)})
            out.update({name + "input_ids": ids, name + "log_pi1": log_pi1, name + "q": q, name + "v": v,
                        name + "reward": reward, name + "log_pi": log_pi, name + "return": returns[-1]})
        groups[-1][0].append(returns[0] - returns[1])
    if theory:  # one mean over everything, whatever the micro-batches
        groups = [tuple(sum(lists, []) for lists in zip(*groups))]
    rewards = [np.concatenate(r) for _, r in groups]
    out["loss.pref"] = np.mean([np.logaddexp(0, -np.array(z)).mean() for z, _ in groups])           # (M10)
    out["loss.reg"] = np.mean([o["beta"] * (r * r).sum() / max(len(r), 1) for r in rewards])
    out["loss"] = out["loss.pref"] + out["loss.reg"]
    return {name: np.asarray(t) for name, t in out.items()}


def compare(candidate, expected, tolerance):
    worst_of, skipped = {}, 0
    for name, value in expected.items():
        if name not in candidate:
            skipped += 1
            continue
        if candidate[name].shape != value.shape:
            sys.exit(f"golden_numpy.py: {name}: shape {candidate[name].shape}, the bundle has {value.shape}")
        size = max(np.linalg.norm(value), 1e-4 * np.sqrt(max(value.size, 1)))  # where all is 0, rounding may differ
        error = np.linalg.norm(candidate[name] - value) / size
        kind = re.sub(r"^pair\d+\.\w+\.", "", re.sub(r"layer\d+", "layer*", name))
        worst_of[kind] = max(worst_of.get(kind, (-1.0, "")), (error if error < np.inf else np.inf, name))
    for kind, (error, name) in worst_of.items():
        print(f"{kind:24} {error:8.1e}  {name}{'' if error <= tolerance else '   <-- above the tolerance'}")
    worst = max((error for error, _ in worst_of.values()), default=np.inf)
    print(f"worst relative error {worst:.1e}, tolerance {tolerance:g}; {skipped} tensors not computed here")
    return worst <= tolerance


def main():
    parser = argparse.ArgumentParser(description="Recomputes a golden bundle's forward quantities in NumPy.")
    parser.add_argument("bundle", metavar="BUNDLE", help="folder with manifest.json")
    parser.add_argument("-o", metavar="CANDIDATE", dest="output", help="safetensors file to write")
    parser.add_argument("--compare", action="store_true", help="print the worst errors; status 1 if one is too large")
    parser.add_argument("--tolerance", type=float, default=1e-9, help="relative, of every tensor's norm (default 1e-9)")
    args = parser.parse_args()
    found = recompute(args.bundle, read_json(args.bundle, "manifest.json"))
    if args.output:
        write_safetensors(args.output, found)
    if args.compare:
        sys.exit(not compare(found, read_safetensors(args.bundle, "golden.safetensors"), args.tolerance))


if __name__ == "__main__":
    main()
