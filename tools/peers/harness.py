"""lm-evaluation-harness, unmodified, against `qadapter serve`: every value beside `qadapter score`'s, every text beside
`qadapter generate`'s."""

import contextlib
import json
import os
import re
import signal
import subprocess

from transformers import AutoTokenizer

from common import BUNDLED, ROOT, Skip, check, read_rows, worst
from composed import spoiled, trained

TASKS = ROOT / "tools/peers/tasks"
# Names of models, and what they are to `score`, which is to count every token of an answer.
NAMES = {"base": [], "custom": ["--objective", "theory"],
         "custom:alpha-0=0.5,alpha-tilde=0.8": ["--objective", "theory", "--alpha-0", "0.5", "--alpha-tilde", "0.8"]}

# How lm-eval asks: its name of the client, and what that is told.
OWN = {"tokenizer": str(BUNDLED), "tokenizer_backend": "huggingface"}
MODES = {
    "ids": ("local-completions", {**OWN, "batch_size": 4}),
    "texts": ("local-completions", {**OWN, "tokenized_requests": False}),
    "remote tokenizer": ("local-completions", {"tokenizer_backend": "remote", "batch_size": 3}),
    "four at once": ("local-completions", {**OWN, "num_concurrent": 4, "batch_size": 2}),
}


def questions(n):
    """Questions of the bundled suite that list their answers: {"question", "choices", "answer", "reference"}."""
    made = []
    for row in read_rows(ROOT / "weights/village/suite/facts.jsonl"):
        question, reference = row["messages"][0]["content"], row["reference"]
        listed = re.search(r"\? ([^?]+)\?$", question)
        words = re.split(r", | or ", listed[1]) if listed else []
        right = [i for i, word in enumerate(words) if word.lower() in reference.lower().rstrip(".").split()]
        if len(words) > 2 and len(right) == 1:
            pattern = re.compile(re.escape(words[right[0]]), re.I)
            made.append({"question": question, "answer": right[0], "reference": reference,
                         "choices": [" " + pattern.sub(word, reference) for word in words]})
    return made[:n]


@contextlib.contextmanager
def served(bench, *adapters, double=False):
    """The address of a server of the bundled model."""
    given = [word for adapter in adapters for word in ("--adapter", adapter)]
    program = bench.double if double else bench.single
    server = subprocess.Popen([program, "serve", "--model", BUNDLED, *given, "--port", "0", "--threads", "1"],
                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        for line in server.stderr:
            address = re.search(r"http://[\d.:]+", line)
            if address:
                break
            if "libmicrohttpd" in line:
                raise Skip("the program was built without libmicrohttpd")
        else:
            raise RuntimeError("qadapter serve ended")
        yield address[0]
    finally:
        server.send_signal(signal.SIGTERM)
        server.stderr.close()
        server.wait(30)


def evaluate(bench, client, arguments, task, **more):
    """lm-eval's results: {"results", "samples"}."""
    import lm_eval
    from lm_eval.tasks import TaskManager
    here = os.getcwd()
    os.chdir(bench.work)
    try:
        return lm_eval.simple_evaluate(
            model=client, model_args={**arguments, "max_length": 512}, tasks=[task], log_samples=True, bootstrap_iters=0,
            task_manager=TaskManager(include_path=str(TASKS), include_defaults=False), **more)
    finally:
        os.chdir(here)


def encode_pair(tokenizer, context, continuation):
    """Ids of both as lm-eval makes them: white space at the end of the context goes to the continuation."""
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, continuation = context[:-spaces], context[-spaces:] + continuation
    whole, begin = tokenizer(context + continuation).input_ids, tokenizer(context).input_ids
    return begin, whole[len(begin):]


def scored(bench, name, adapter, requests, double):
    """log pi of every continuation, by `qadapter score`: the sum, and its tokens' values."""
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    rows = []
    for context, continuation in requests:
        prompt, response = encode_pair(tokenizer, context, continuation)
        rows.append({"prompt_ids": prompt, "response_ids": response, "terminal": False})
    data = bench.write("answers.jsonl", rows)
    given = None if name == "base" else adapter
    options = [*NAMES[name], "--threads", "1"]
    return [sum(row["log_pi"]) for row in bench.score(BUNDLED, data, given, *options, double=double)]


def choices(bench, address, name, adapter, mode, double=False, **more):
    """(value, accuracy): differences of one run of the multiple-choice task."""
    client, arguments = MODES[mode]
    out = evaluate(bench, client, {**arguments, "model": name, "base_url": address + "/v1/completions"}, "village_choices",
                   **more)
    samples = sorted(out["samples"]["village_choices"], key=lambda sample: sample["doc_id"])
    requests = [tuple(request[:2]) for sample in samples for request in sample["arguments"]]
    values = [float(response[0][0]) for sample in samples for response in sample["resps"]]
    expected, right, at = scored(bench, name, adapter, requests, double), 0, 0
    for sample in samples:
        mine = expected[at:at + len(sample["arguments"])]
        at += len(mine)
        right += mine.index(max(mine)) == sample["doc"]["answer"]
    return worst(values, expected), abs(out["results"]["village_choices"]["acc,none"] - right / len(samples))


@check("lm-eval-choices", value=("log-likelihoods of lm-eval's multiple choice and `score`'s", 1e-4, "nats"),
       double=("the same of the program in double", 1e-10, "nats"),
       accuracy=("accuracies that lm-eval prints, and those of `score`'s values", 1e-12, ""))
def lm_eval_choices(bench):
    """local-completions: ids, texts, the server's own tokenizer, several requests at once; with a chat template."""
    adapter = trained(bench, "published")
    bench.write("choices.jsonl", questions(4 if bench.quick else 10))
    with served(bench, spoiled(bench, adapter)) as address:
        for name in NAMES:
            for mode in ["ids"] if name != "custom" else ["ids", "texts"] if bench.quick else MODES:
                value, accuracy = choices(bench, address, name, adapter, mode)
                yield "value", f"{name}, {mode}", value
                yield "accuracy", f"{name}, {mode}", accuracy
        value, accuracy = choices(bench, address, "custom", adapter, "ids", apply_chat_template=True)
        yield "value", "custom, ids, chat template", value
        yield "accuracy", "custom, ids, chat template", accuracy
    with served(bench, spoiled(bench, adapter), double=True) as address:
        for name in NAMES:
            yield "double", name, choices(bench, address, name, adapter, "ids", double=True)[0]


@check("lm-eval-answers", text=("texts of lm-eval's generation and `generate`'s that differ", 0, ""))
def lm_eval_answers(bench):
    """local-completions and local-chat-completions, greedily."""
    adapter = trained(bench, "published")
    rows = questions(4 if bench.quick else 10)
    bench.write("choices.jsonl", rows)
    with served(bench, spoiled(bench, adapter)) as address:
        for name in ("base", "custom"):
            given = [] if name == "base" else ["--adapter", adapter]
            for mode in ("ids", "texts", "chat"):
                chat = mode == "chat"
                client, arguments = ("local-chat-completions", {}) if chat else MODES[mode]
                route = "/v1/chat/completions" if chat else "/v1/completions"
                out = evaluate(bench, client, {**arguments, "model": name, "base_url": address + route}, "village_answers",
                               apply_chat_template=chat)
                asked = [{"messages": [{"role": "user", "content": row["question"]}]} if chat else
                         {"prompt": row["question"]} for row in rows]
                lines = bench.run("generate", "-q", "--model", BUNDLED, *given, "--in", bench.write("asked.jsonl", asked),
                                  "--temperature", "0", "--max-tokens", "24", "--stop", "\n").splitlines()
                found = {sample["doc"]["question"]: sample["resps"][0][0] for sample in out["samples"]["village_answers"]}
                for row, line in zip(rows, map(json.loads, lines)):
                    expected = line["messages"][-1]["content"] if chat else line["completion"]
                    yield "text", f"{name}, {mode}: {row['question']}", float(found[row["question"]] != expected)
