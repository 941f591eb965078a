#!/usr/bin/env python3
"""Compares the program with transformers on a folder of tools/peers/real_model, in single precision.

    tools/peers/real_model_compare.py QADAPTER FOLDER

The likeliest tokens behind a few prompts must be the same text; the log-probabilities of a text that is longer than
Gemma 3's window of 512 tokens within 1e-3 of each other. Exit status: 0 they agree, 1 they do not.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOKENS, TOLERANCE = 24, 1e-3
PROMPTS = ["What is the capital of France?", "Name three colours of the rainbow.", "Once upon a time"]


def rows_of(program, command, folder, data, *options):
    """What the program writes for the rows of data."""
    with tempfile.TemporaryDirectory() as work:
        rows = pathlib.Path(work) / "rows.jsonl"
        rows.write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
        argv = [program, command, "--model", folder, "--dtype", "f32", "--quiet", *options, str(rows)]
        out = subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in out.decode("utf-8").splitlines()]


def compare_text(program, folder, model, tokenizer):
    """Whether all is the same; the smallest lead of a likeliest token before the next."""
    chat = tokenizer.chat_template is not None
    rows = [{"messages": [{"role": "user", "content": p}]} if chat else {"prompt": p} for p in PROMPTS]
    answers = rows_of(program, "generate", folder, rows, "--temperature", "0", "--max-tokens", str(TOKENS), "--in")
    same, lead = True, float("inf")
    for row, answer in zip(rows, answers):
        if chat:
            ids = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_tensors="pt")
            ids = ids["input_ids"] if hasattr(ids, "keys") else ids
            found = answer["messages"][-1]["content"]
        else:
            ids = tokenizer(row["prompt"], return_tensors="pt").input_ids
            found = answer["completion"]
        out = model.generate(ids, do_sample=False, max_new_tokens=TOKENS, output_logits=True,
                             return_dict_in_generate=True)
        expected = tokenizer.decode(out.sequences[0, ids.shape[1]:], skip_special_tokens=True)
        for logits in out.logits:
            best = torch.topk(logits[0], 2).values
            lead = min(lead, float(best[0] - best[1]))
        if found != expected:
            print(f"real_model_compare: {folder}: expected {expected!r}\n  found {found!r}")
            same = False
    return same, lead


def compare_log_probabilities(program, folder, model):
    """The largest difference, and of how many tokens."""
    text = (pathlib.Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    row = {"prompt": text[:400], "chosen": text[400:3000], "rejected": text[3000:3200]}
    (scores,) = rows_of(program, "score", folder, [row], "--max-length", "4096", "--out", "-", "--data")
    worst, count = 0.0, 0
    for side in ("chosen", "rejected"):
        ids, begin = torch.tensor(scores[side]["input_ids"]), scores[side]["prompt_len"]
        with torch.no_grad():
            logits = model(ids[None]).logits[0, begin - 1:-1]
        rows = zip(logits, ids[begin:])
        expected = torch.stack([torch.log_softmax(row.double(), -1)[next_id] for row, next_id in rows])
        found = torch.tensor(scores[side]["log_pi1"], dtype=torch.float64)
        count += len(found)
        worst = max(worst, float((found - expected[:len(found)]).abs().max()))
    return worst, count


def main():
    program, folder = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    embedding = model.get_input_embeddings()
    if hasattr(embedding, "embed_scale"):  # Gemma's factor, as of a model that is loaded in the files' BF16
        embedding.embed_scale = embedding.embed_scale.to(torch.bfloat16).float()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    same, lead = compare_text(program, folder, model, tokenizer)
    worst, count = compare_log_probabilities(program, folder, model)
    print(f"{folder}: {len(PROMPTS)} greedy texts {'agree' if same else 'DIFFER'} (smallest lead {lead:.3g}); "
          f"log-probabilities of {count} tokens differ by at most {worst:.2g}")
    sys.exit(0 if same and worst <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
