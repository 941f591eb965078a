"""Whole answers: the composed policy in transformers and PEFT as docs/tasks.md writes it, and merged folders."""

import contextlib
import io
import json
import re
import subprocess

import torch
from transformers import AutoTokenizer

import families
from adapters import id_pairs, village
from common import BUNDLED, ROOT, Skip, check, in_single, load, log_policies, read_rows, worst

METHODS = {"published": ["--recipe", "published"], "theory": ["--recipe", "theory"], "dpo": ["--method", "dpo"],
           "sft": ["--method", "sft"]}


def trained(bench, method):
    """An adapter of the bundled model after twenty steps."""
    adapter = bench.folder(f"trained/{method}")
    if not adapter.exists():
        pairs = bench.write("train.jsonl", read_rows(ROOT / "weights/village/preferences/literature.train.jsonl", 160))
        bench.run("train", "-q", "--model", BUNDLED, "--data", pairs, "--out", adapter, "--max-steps", "20",
                  "--learning-rate", "0.002", *METHODS[method])
    return adapter


def spoiled(bench, adapter):
    """The adapter's folder, or a copy scaled by the mistake that is asked for."""
    if bench.scale == 1:
        return adapter
    import shutil

    from safetensors.torch import load_file, save_file
    copy = bench.folder(f"spoiled/{adapter.name}")
    if not copy.exists():
        shutil.copytree(adapter, copy)
        path = copy / "adapter_model.safetensors"
        save_file({name: t * (bench.scale if "lora_B" in name else 1) for name, t in load_file(path).items()}, path)
    return copy


def answers(bench, adapter, prompts, n):
    """What `qadapter generate` answers, greedily."""
    given = [] if adapter is None else ["--adapter", adapter]
    rows = bench.write("prompts.jsonl", [{"messages": prompt} for prompt in prompts])
    out = bench.run("generate", "-q", "--model", BUNDLED, *given, "--in", rows, "--temperature", "0", "--dtype", "f32",
                    "--max-tokens", str(n))
    return [json.loads(line)["messages"][-1]["content"] for line in out.splitlines()]


def from_document(model, adapter, prompt, n):
    """Runs the lines of docs/tasks.md with other names in them; what they print."""
    text = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    lines = re.search(r"```python\n(# The composed policy.*?)```", text, re.S)[1]
    for old, new in (("MODEL", model), ("ADAPTER", adapter), ("PROMPT", prompt), ("256", n)):
        lines = lines.replace(old, str(new))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(lines, "docs/tasks.md", "exec"), {"__name__": "document"})
    return out.getvalue().rstrip("\n")


@check("fifteen-lines", text=("the composed policy in the lines of docs/tasks.md: greedy texts that differ", 0, ""),
       value=("its log-probabilities and the program's", 1e-4, "nats"))
def fifteen_lines(bench):
    """Run as they stand there, for the published kind and for a residual one."""
    prompts = [row["prompt"] for row in village(200)[::50]][:2 if bench.quick else None]
    for method in ("published", "theory"):
        adapter = trained(bench, method)
        for prompt, expected in zip(prompts, answers(bench, adapter, prompts, 40)):
            found = from_document(BUNDLED, spoiled(bench, adapter), prompt[-1]["content"], 40)
            yield "text", f"{method}, {prompt[-1]['content']}", float(found != expected)
        model = bench.peer(load(BUNDLED), adapter)
        record = json.loads((adapter / "training_config.json").read_text(encoding="utf-8"))
        for row in bench.score(BUNDLED, bench.write("village.jsonl", village(4)), adapter):
            for side in (row["chosen"], row["rejected"]):
                ids, begin = side["input_ids"], side["prompt_len"]
                with torch.no_grad():
                    z = model(input_ids=torch.tensor([ids])).logits[0].double()
                    with model.disable_adapter():
                        z1 = model(input_ids=torch.tensor([ids])).logits[0].double()
                q = z - z1 if record["q_parametrisation"] == "residual" else z
                policy = torch.log_softmax((q + record["alpha_0"] * torch.log_softmax(z1, -1)) / record["alpha_tilde"], -1)
                counted = [policy[t - 1, ids[t]].item() for t in range(begin, len(ids))]
                if record["objective"] == "theory":  # published counts other transitions
                    yield "value", method, worst(side["log_pi"], counted)


@check("merged", text=("greedy texts of merged folders in transformers and of the two streams that differ", 0, ""),
       value=("log-probabilities of merged folders in transformers and of the two streams", 1e-4, "nats"),
       families=("the same of random models, one of every family, in double", 3e-5, "nats"))
def merged(bench):
    """`qadapter merge`, F32, then transformers alone."""
    if "merge" not in subprocess.run([bench.single, "--help"], stdout=subprocess.PIPE, check=True).stdout.decode():
        raise Skip("the program has no merge")
    prompts = [row["prompt"] for row in village(400)[::40]][:3 if bench.quick else None]
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    for method in ("theory", "dpo", "sft"):
        adapter = trained(bench, method)
        folder = bench.folder(f"merged/{method}")
        bench.run("merge", "-q", "--model", BUNDLED, "--adapter", spoiled(bench, adapter), "--out", folder, "--any-base")
        model = load(folder)
        for prompt, expected in zip(prompts, answers(bench, adapter, prompts, 40)):
            ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)
            out = model.generate(**ids, do_sample=False, max_new_tokens=40)[0, ids["input_ids"].shape[1]:]
            yield "text", f"{method}, {prompt[-1]['content']}", float(
                tokenizer.decode(out, skip_special_tokens=True) != expected)
        for row in bench.score(BUNDLED, bench.write("village.jsonl", village(4)), adapter):
            yield "value", method, sided(model, row)
    yield from merged_families(bench)


def sided(model, row):
    """The largest difference of a row's log pi from a model's log-probabilities."""
    found, expected = [], []
    for side in (row["chosen"], row["rejected"]):
        ids, begin = side["input_ids"], side["prompt_len"]
        with torch.no_grad():
            policy = log_policies(model, ids)
        found += side["log_pi"]
        expected += [policy[t - 1, ids[t]].item() for t in range(begin, len(ids))]
    return worst(found, expected)


def merged_families(bench):
    """Every family; the merged weights are floats, whatever computes."""
    data = id_pairs(bench, families.SIZES["vocab_size"])
    for name, base in families.all_of(bench):
        ours = bench.library("f64").Model(base, threads=1)
        adapter, folder = bench.folder(f"m/{name}"), bench.folder(f"f/{name}")
        rows = ours.score(data, ours.train(data, adapter, max_steps=2, learning_rate=0.05, warmup_ratio=0, lora_r=3))
        bench.run("merge", "-q", "--model", base, "--adapter", spoiled(bench, adapter), "--out", folder, "--any-base",
                  double=True)
        model = load(folder, double=True)
        for row in rows:
            yield "families", name, sided(model, row)
        in_single()
