"""Small real models, which `real_model` makes of what Python packages ship, in transformers and here, in single."""

import json
import subprocess
import sys

import torch
from transformers import AutoTokenizer

from common import ROOT, Skip, check, load, log_policies, worst

TOKENS = 24
PROMPTS = ["What is the capital of France?", "Name three colours of the rainbow.", "Once upon a time"]


def made(bench, name):
    """The model's folder in build/real, downloaded and converted the first time."""
    folder = ROOT / "build/real" / name
    if not (folder / "model.safetensors").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        status = subprocess.run([sys.executable, ROOT / "tools/peers/real_model", name, folder], check=False).returncode
        if status == 3:
            raise Skip(f"{name} cannot be downloaded")
        if status != 0:
            raise RuntimeError(f"real_model {name}: exit status {status}")
    return folder


def texts(bench, folder, model, tokenizer):
    """(prompt, whether the greedy texts differ)"""
    chat = tokenizer.chat_template is not None
    rows = [{"messages": [{"role": "user", "content": p}]} if chat else {"prompt": p} for p in PROMPTS]
    lines = bench.run("generate", "-q", "--model", folder, "--dtype", "f32", "--temperature", "0", "--max-tokens", TOKENS,
                      "--in", bench.write("real.jsonl", rows)).splitlines()
    for prompt, row, answer in zip(PROMPTS, rows, map(json.loads, lines)):
        ids = (tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_tensors="pt",
                                             return_dict=True) if chat else tokenizer(prompt, return_tensors="pt")).input_ids
        out = model.generate(ids, do_sample=False, max_new_tokens=TOKENS)[0, ids.shape[1]:]
        found = answer["messages"][-1]["content"] if chat else answer["completion"]
        yield prompt, float(found != tokenizer.decode(out, skip_special_tokens=True))


@check("real-models", text=("greedy texts of small real models that differ", 0, ""),
       value=("their log-probabilities, of a text longer than Gemma 3's window, in single", 1e-3, "nats"))
def real_models(bench):
    """SmolLM2-135M-Instruct and Gemma 3 270M."""
    for name in ("smollm2",) if bench.quick else ("smollm2", "gemma3"):
        folder = made(bench, name)
        model, tokenizer = load(folder), AutoTokenizer.from_pretrained(folder)
        embedding = model.get_input_embeddings()
        if hasattr(embedding, "embed_scale"):  # Gemma's factor, as of a model that is loaded in the files' BF16
            embedding.embed_scale = embedding.embed_scale.to(torch.bfloat16).float()
        for prompt, differs in texts(bench, folder, model, tokenizer):
            yield "text", f"{name}: {prompt}", differs
        text = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
        data = bench.write("long.jsonl", [{"prompt": text[:400], "chosen": text[400:3000], "rejected": text[3000:3200]}])
        (row,) = bench.score(folder, data, None, "--max-length", "4096")
        for side in (row["chosen"], row["rejected"]):
            ids, begin = side["input_ids"], side["prompt_len"]
            with torch.no_grad():
                policy = log_policies(model, ids)
            yield "value", name, worst(side["log_pi1"], [policy[t - 1, ids[t]].item() for t in range(begin, len(ids))])
