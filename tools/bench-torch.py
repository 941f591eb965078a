#!/usr/bin/env python3
"""A training step of the authors' algorithm in PyTorch, timed: what `qadapter bench --recipe published` is compared with.

    bench-torch.py --model FOLDER --data PAIRS [--pairs N] [--threads N] [--repeats N] [--lora-r N] ...

PAIRS are JSON Lines of token ids (docs/formats.md, form 7), the first --pairs of which are one micro-batch. Both rows of
every pair are padded to the longest row and go through the model twice, without and with the adapter, in single
precision; logits are made at all positions, gradients by automatic differentiation, the update by AdamW. Prints JSON:
seconds of a step (the first one, which warms up, aside), the loss of the first step, the peak of resident memory.
It needs Python 3 and PyTorch 1.13 or newer, nothing else.
"""
import argparse
import json
import math
import mmap
import os
import resource
import statistics
import time

import torch
import torch.nn.functional as F

from golden_torch import ARCHITECTURES, fail, read_json, rope_frequencies, weight_files

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
ALPHA_TILDE, ALPHA_0, GAMMA, BETA = 1.0, 0.01, 1.0, 0.1  # the published recipe


# ---- the frozen model ----------------------------------------------------------------------------------------------

def read_safetensors(path):
    """Every tensor in single precision. The file is mapped, so that it need not be in memory as a whole."""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as data:
        start = 8 + int.from_bytes(data[:8], "little")
        tensors = {}
        for name, info in json.loads(data[8:start]).items():
            if name == "__metadata__":
                continue
            if info["dtype"] not in DTYPES:
                fail(f"{path}: {name}: dtype {info['dtype']} is not supported")
            flat = torch.frombuffer(data, dtype=DTYPES[info["dtype"]], count=math.prod(info["shape"]),
                                    offset=start + info["data_offsets"][0])
            tensors[name] = flat.to(torch.float32, copy=True).reshape(info["shape"])
            del flat  # the map can be closed only when nothing looks into it
        return tensors


class Llama:
    """Llama, Mistral (without sliding window) and Qwen2: token ids [rows x T] to logits [rows x T x V]."""

    def __init__(self, folder):
        self.config = c = read_json(folder, "config.json")
        architecture = (c.get("architectures") or ["(none)"])[0]
        if architecture not in ARCHITECTURES or (architecture[0] == "M" and c.get("sliding_window")):
            fail(f"{folder}: {architecture} is not one of {', '.join(ARCHITECTURES)} without sliding window")
        self.weights = {name: value for file in weight_files(folder) for name, value in read_safetensors(file).items()}
        self.layers = c["num_hidden_layers"]
        self.heads = c["num_attention_heads"]
        self.group = self.heads // (c.get("num_key_value_heads") or self.heads)
        self.head_dim = c.get("head_dim") or c["hidden_size"] // self.heads
        self.eps = c.get("rms_norm_eps", 1e-6)
        self.head = "model.embed_tokens.weight" if c.get("tie_word_embeddings") else "lm_head.weight"
        self.frequency = rope_frequencies(c, self.head_dim)

    def norm(self, x, name):
        return self.weights[name] * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))

    def linear(self, x, name, adapter):
        y = F.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))
        return y if adapter is None else y + adapter.branch(x, name)

    def rotate(self, x):
        """x [rows x heads x T x head_dim]"""
        angle = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * self.frequency
        cosine, sine = (torch.cat((t, t), -1).to(x.dtype) for t in (angle.cos(), angle.sin()))
        low, high = x.chunk(2, -1)
        return x * cosine + torch.cat((-high, low), -1) * sine

    def attention(self, x, where, adapter):
        q, k, v = (self.linear(x, where + name, adapter).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
                   for name in ATTENTION[:3])
        q, k = self.rotate(q), self.rotate(k)
        k, v = (t.repeat_interleave(self.group, dim=1) for t in (k, v))
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        score = (q @ k.transpose(2, 3) / math.sqrt(self.head_dim)).masked_fill(future, -math.inf)
        mixed = (score.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return self.linear(mixed, where + "o_proj", adapter)

    def mlp(self, x, where, adapter):
        gate, up = self.linear(x, where + "gate_proj", adapter), self.linear(x, where + "up_proj", adapter)
        return self.linear(F.silu(gate) * up, where + "down_proj", adapter)

    def logits(self, ids, adapter=None):
        x = F.embedding(ids, self.weights["model.embed_tokens.weight"])
        for i in range(self.layers):
            layer = f"model.layers.{i}."
            x = x + self.attention(self.norm(x, layer + "input_layernorm.weight"), layer + "self_attn.", adapter)
            x = x + self.mlp(self.norm(x, layer + "post_attention_layernorm.weight"), layer + "mlp.", adapter)
        return F.linear(self.norm(x, "model.norm.weight"), self.weights[self.head])


class LoRA:
    """A fresh adapter, as PEFT makes it: A uniform in +-1/sqrt(in), B zero."""

    def __init__(self, model, targets, rank, alpha, dropout):
        self.scale, self.dropout = alpha / rank, dropout
        self.a, self.b = {}, {}
        for name, weight in model.weights.items():
            if name.startswith("model.layers.") and name.split(".")[-2] in targets:
                out, into = weight.shape
                name = name[:-len(".weight")]
                self.a[name] = torch.empty(rank, into).uniform_(-into ** -0.5, into ** -0.5).requires_grad_()
                self.b[name] = torch.zeros(out, rank).requires_grad_()

    def parameters(self):
        return list(self.a.values()) + list(self.b.values())

    def branch(self, x, name):
        if name not in self.a:
            return 0.0
        return self.scale * F.linear(F.linear(F.dropout(x, self.dropout), self.a[name]), self.b[name])


# ---- a step of Q-Adapter as it was published -----------------------------------------------------------------------

class Batch:
    """All rows of a micro-batch, chosen ones first, padded to the longest; which tokens are response."""

    def __init__(self, pairs, pad_id):
        rows = [(p["prompt_ids"], p[side + "_ids"]) for side in ("chosen", "rejected") for p in pairs]
        self.n, self.length = len(pairs), max(len(prompt) + len(response) for prompt, response in rows)
        self.ids = torch.full((len(rows), self.length), pad_id)
        self.response = torch.zeros(len(rows), self.length)
        for i, (prompt, response) in enumerate(rows):
            end = len(prompt) + len(response)
            self.ids[i, :end] = torch.tensor(prompt + response)
            self.response[i, len(prompt):end] = 1.0


def loss_of(model, adapter, batch):
    """The value is of the state itself, a transition counts by the token that its state ends with, and a return is
    divided by the padded length less one (docs/published-code.md)."""
    with torch.no_grad():
        log_pi1 = model.logits(batch.ids).log_softmax(-1)
    q = model.logits(batch.ids, adapter)
    v = ALPHA_TILDE * ((q + ALPHA_0 * log_pi1) / ALPHA_TILDE).logsumexp(-1)
    taken = q[:, :-1].gather(-1, batch.ids[:, 1:, None])[..., 0]
    counted = batch.response[:, :-1]
    reward = (taken - GAMMA * v[:, :-1]) * counted
    chosen, rejected = (reward.sum(-1) / (batch.length - 1)).split(batch.n)
    return -F.logsigmoid(chosen - rejected).mean() + BETA * reward.square().sum() / counted.sum().clamp(min=1.0)


def step(model, adapter, batch, optimiser):
    optimiser.zero_grad(set_to_none=True)
    loss = loss_of(model, adapter, batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
    optimiser.step()
    return loss.item()


# ---- the command line ----------------------------------------------------------------------------------------------

def read_pairs(path, n):
    with open(path, encoding="utf-8") as f:
        pairs = [json.loads(line) for line in f if line.strip()][:n]
    if len(pairs) < n:
        fail(f"{path}: --pairs asks for {n}, but there are {len(pairs)}")
    return pairs


def end_of_sequence(folder, config):
    """The id that pads, unless --pad-id names it: generation_config.json's, else config.json's first."""
    path = os.path.join(folder, "generation_config.json")
    found = (read_json(path) if os.path.exists(path) else {}).get("eos_token_id", config.get("eos_token_id"))
    found = found[0] if isinstance(found, list) else found
    return 0 if found is None else found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--data", required=True, metavar="FILE", help="pairs of token ids, JSON Lines")
    parser.add_argument("--pairs", type=int, default=1, metavar="N", help="pairs of a step (default 1)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="timed steps (default 5)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of OpenMP (default 1)")
    parser.add_argument("--lora-r", type=int, default=8, metavar="N")
    parser.add_argument("--lora-alpha", type=float, default=16.0, metavar="X")
    parser.add_argument("--lora-dropout", type=float, default=0.05, metavar="P")
    parser.add_argument("--lora-target", default="q_proj,v_proj", metavar="LIST", help="or all-linear")
    parser.add_argument("--pad-id", type=int, metavar="ID", help="default: the model's end of sequence")
    args = parser.parse_args()
    if min(args.pairs, args.repeats, args.threads, args.lora_r) < 1:
        parser.error("--pairs, --repeats, --threads and --lora-r are at least 1")
    args.targets = ATTENTION + MLP if args.lora_target == "all-linear" else args.lora_target.split(",")
    unknown = set(args.targets) - set(ATTENTION + MLP)
    if unknown:
        parser.error(f"--lora-target: {', '.join(sorted(unknown))} is no linear map")
    return args


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    try:
        model = Llama(args.model)
        pad_id = end_of_sequence(args.model, model.config) if args.pad_id is None else args.pad_id
        batch = Batch(read_pairs(args.data, args.pairs), pad_id)
    except KeyError as e:
        fail(f"there is no {e.args[0]}")
    except (OSError, ValueError) as e:
        fail(str(e))
    adapter = LoRA(model, args.targets, args.lora_r, args.lora_alpha, args.lora_dropout)
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=3e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses, seconds = [], []
    for _ in range(1 + args.repeats):
        begun = time.perf_counter()
        losses.append(step(model, adapter, batch, optimiser))
        seconds.append(time.perf_counter() - begun)
    timed = seconds[1:]
    print(json.dumps({"torch": torch.__version__, "threads": args.threads, "pairs": args.pairs,
                      "padded_tokens": batch.ids.numel(),
                      "trainable_parameters": sum(p.numel() for p in adapter.parameters()),
                      "loss": losses[0], "last_loss": losses[-1],
                      "seconds": {"median": statistics.median(timed), "min": min(timed), "max": max(timed)},
                      "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}, indent=2))


if __name__ == "__main__":
    main()
