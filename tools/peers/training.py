"""The first step of training: TRL's trainers and the authors' formula beside ours, loss and gradient."""

import json
import math
import pathlib
import subprocess
import sys
from unittest import mock

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from adapters import random_adapter, village
from common import BUNDLED, ROOT, check, in_single, load, read_rows, unlike, worst

# Templates of the kinds that people use: tokens to add to the bundled tokenizer, and the text; None is its own, ChatML.
TEMPLATES = {
    "chatml": None,
    "llama 3": (["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
                "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + "
                "'<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
                "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"),
    "mistral": (["<s>", "[INST]", "[/INST]", "</s>"],
                "{{ '<s>' }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
                "{% else %}{{ m['content'] + '</s>' }}{% endif %}{% endfor %}"),
    "zephyr": (["<|user|>", "<|assistant|>", "</s>"],
               "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '</s>' + '\n' }}{% endfor %}"
               "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"),
    "gemma": (["<bos>", "<start_of_turn>", "<end_of_turn>"],
              "{{ '<bos>' }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else "
              "m['role']) + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}"
              "{{ '<start_of_turn>model\n' }}{% endif %}"),
}


def templated(bench, name):
    """The bundled model with another template, whose tokens get random rows of the embedding."""
    if TEMPLATES[name] is None:
        return BUNDLED
    folder, (tokens, text) = bench.folder(f"templates/{name}"), TEMPLATES[name]
    if not folder.exists():
        torch.manual_seed(len(name))
        tokenizer, model = AutoTokenizer.from_pretrained(BUNDLED), load(BUNDLED)
        tokenizer.add_special_tokens({"additional_special_tokens": tokens, "eos_token": tokens[-1]})
        tokenizer.chat_template = text
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


# ---- a step of ours ----

RATE, EPSILON = 1e6, 1.0


def our_step(bench, precision, folder, adapter, data, epsilon=EPSILON, **options):
    """(loss, gradient by the tensors' names) of one step from a PEFT adapter, over all of the data. AdamW's first step
    is -rate g / (|g| + epsilon): an epsilon of the gradient's size or above and a larger rate give it, whatever the weights."""
    library, seen = bench.library(precision), []
    model = library.Model(folder, threads=1)
    out = bench.folder("step")
    model.train(data, out, adapter=model.load_adapter(adapter), on_metrics=seen.append, overwrite=True, max_steps=1,
                **{"micro_batch": "all", "shuffle": False, "learning_rate": RATE, "adam_epsilon": epsilon,
                   "max_grad_norm": 0, "lr_scheduler_type": "constant", "warmup_ratio": 0, **options})
    before, after = load_file(adapter / "adapter_model.safetensors"), load_file(out / "adapter_model.safetensors")
    gradient = {}
    for name, weights in before.items():
        moved = weights.double() - after[name].double()
        gradient[name] = moved.sign() * moved.abs() * epsilon / (RATE - moved.abs())
    return seen[0]["loss"], gradient


def our_full_step(bench, folder, data, start=None, **options):
    """The same of all weights of a copy of the model, or of the reward model of the folder start."""
    seen, before = [], load_file((start or folder) / "model.safetensors")
    model, out = bench.library("f32").Model(folder, threads=1), bench.folder("full-step" if start is None else "reward-step")
    model.train(data, out, on_metrics=seen.append, overwrite=True, max_steps=1, micro_batch="all", shuffle=False,
                learning_rate=RATE, adam_epsilon=EPSILON, max_grad_norm=0, lr_scheduler_type="constant",
                **{"warmup_ratio": 0, "full": True, **options})
    after = load_file(out / "model.safetensors")
    moved = {name: weights.double() - after[name].double() for name, weights in before.items()}
    return seen[0]["loss"], {name: m.sign() * m.abs() * EPSILON / (RATE - m.abs()) for name, m in moved.items()}


def distance(found, model):
    """The largest difference of a gradient from that of PEFT's parameters, by the largest magnitude of either."""
    expected = {name.replace(".default.", "."): p.grad for name, p in model.named_parameters() if ".default." in name}
    if expected.keys() != found.keys() or any(g is None for g in expected.values()):
        return math.inf
    scale = max(g.abs().max().item() for g in expected.values())
    return max(worst(found[name].flatten(), expected[name].flatten()) for name in found) / scale


def full_distance(found, model):
    """The same of all parameters."""
    expected = {name: p.grad for name, p in model.named_parameters() if name in found}
    if expected.keys() != found.keys():
        return math.inf
    scale = max(g.abs().max().item() for g in expected.values())
    return max(worst(found[name].flatten(), expected[name].flatten()) for name in found) / scale


# ---- TRL ----

def arguments(kind, bench, **more):
    """A trainer's configuration: the batch is the whole of the data, and nothing is saved or told."""
    return kind(output_dir=str(bench.folder("trl")), per_device_train_batch_size=4, report_to="none", use_cpu=True,
                bf16=False, gradient_checkpointing=False, max_length=None, save_strategy="no", **more)


def trl_step(trainer):
    """(loss, batch): the trainer's own loss of its one batch, whose gradient is then there."""
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), batch


def rows_of(batch, mask="attention_mask"):
    """The rows of a batch without padding, in an order of their own."""
    return sorted(ids[kept.bool()].tolist() for ids, kept in zip(batch["input_ids"], batch[mask]))


def sides(bench, folder, data, *which):
    """The same of ours, with everything that the template writes behind the answer."""
    rows = bench.score(folder, data, None, "--response-end", "template", "--alpha-0", "0", "--q-parametrisation", "logits")
    return sorted(row[side]["input_ids"] for row in rows for side in which)


def trl_cases(bench):
    """(template, folder, adapter, rows, file) for every template."""
    for name in ("chatml", "zephyr") if bench.quick else TEMPLATES:
        folder = templated(bench, name)
        adapter = bench.folder(f"trl-adapters/{name}")
        if not adapter.exists():
            random_adapter(load(folder), adapter, target_modules="all-linear")
        rows = village(4)
        yield name, folder, adapter, rows, bench.write("trl.jsonl", rows)


@check("trl-dpo", ids=("DPOTrainer's rows, for each kind of template", 0, ""),
       loss=("DPOTrainer's loss of a batch, in single", 2e-5, "nats"),
       gradient=("DPOTrainer's first gradient, by its largest element", 5e-5, ""))
def trl_dpo(bench):
    """An adapter with A and B random; the reference is the base model on both sides."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    for name, folder, adapter, rows, data in trl_cases(bench):
        model = bench.peer(load(folder), adapter)
        trainer = DPOTrainer(model=model, ref_model=load(folder), args=arguments(DPOConfig, bench, beta=0.3),
                             train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(folder))
        loss, batch = trl_step(trainer)
        found, gradient = our_step(bench, "f32", folder, adapter, data, method="dpo", dpo_beta=0.3, response_end="template")
        yield "ids", name, unlike(sides(bench, folder, data, "chosen", "rejected"), rows_of(batch))
        yield "loss", name, abs(loss - found)
        yield "gradient", name, distance(gradient, model)


# Its loss, what its log-sigmoid is replaced by (NOISE: the log of the probability of a label that is wrong so often; 0: by
# nothing), and ours. "robust" is not among them: it is linear in the noise, an unbiased estimate of the loss without noise,
# and not a likelihood (docs/equations.md).
TRL_LOSSES = {
    "ipo": ("ipo", 0.0, {"method": "ipo", "ipo_tau": 0.3, "ipo_length": "mean"}),
    "sppo_hard": ("sppo_hard", 0.0, {"method": "sppo", "sppo_beta": 0.3}),
    "sigmoid, labels with noise": ("sigmoid", 0.2, {"method": "dpo", "dpo_beta": 0.3, "label_noise": 0.2}),
}


@check("trl-losses", loss=("DPOTrainer's losses ipo, sppo_hard, and of labels with noise: a batch, in single, relative", 2e-5, ""),
       gradient=("their first gradients, by their largest element", 5e-5, ""))
def trl_losses(bench):
    """As trl-dpo, one template; a squared loss is as large as the square of a log-ratio, so it is compared by its size."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    _, folder, adapter, rows, data = next(trl_cases(bench))
    log_sigmoid = torch.nn.functional.logsigmoid
    for name, (kind, noise, ours) in TRL_LOSSES.items():
        model = bench.peer(load(folder), adapter)
        trainer = DPOTrainer(model=model, ref_model=load(folder), args=arguments(DPOConfig, bench, beta=0.3, loss_type=kind),
                             train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(folder))
        label = lambda z: torch.logaddexp(log_sigmoid(z) + math.log(1 - noise), log_sigmoid(-z) + math.log(noise))
        with mock.patch.object(torch.nn.functional, "logsigmoid", label if noise > 0 else log_sigmoid):
            loss, _ = trl_step(trainer)
        found, gradient = our_step(bench, "f32", folder, adapter, data, response_end="template", epsilon=1e3, **ours)
        yield "loss", name, abs(loss - found) / max(1.0, abs(loss))
        yield "gradient", name, distance(gradient, model)


@check("trl-kto", loss=("KTOTrainer's losses kto and apo_zero_unpaired of a batch, in single", 2e-5, "nats"),
       gradient=("their first gradients, by their largest element", 5e-5, ""))
def trl_kto(bench):
    """Responses with labels, six in one batch, and pairs taken apart; a small beta, since log-ratios of a random adapter are
    large and gains saturate. TRL puts a prompt together with the response before."""
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer
    _, folder, adapter, pairs, _ = next(trl_cases(bench))
    singles = [{"prompt": row["prompt"], "completion": row["chosen" if i % 3 else "rejected"], "label": i % 3 > 0}
               for i, row in enumerate(village(6))]
    for name, rows, kind, point in (("labels", singles, "kto", "previous"), ("no reference point", singles, "apo_zero_unpaired", "none"),
                                    ("pairs", pairs[:3], "kto", "previous")):
        model = bench.peer(load(folder), adapter)
        config = arguments(KTOConfig, bench, beta=0.003, loss_type=kind, desirable_weight=0.8, undesirable_weight=1.7)
        config.per_device_train_batch_size = 6
        trainer = KTOTrainer(model=model, ref_model=load(folder), args=config, train_dataset=Dataset.from_list(rows),
                             processing_class=AutoTokenizer.from_pretrained(folder))
        loss, _ = trl_step(trainer)
        found, gradient = our_step(bench, "f32", folder, adapter, bench.write("trl-kto.jsonl", rows), method="kto", kto_beta=0.003,
                                   desirable_weight=0.8, undesirable_weight=1.7, kto_reference_point=point,
                                   response_end="template")
        yield "loss", name, abs(loss - found)
        yield "gradient", name, distance(gradient, model)


# TRL's trainer has one output. Of several, as published, every one has the loss of its own, and all the same weight.
REWARDS = {"one output": (1, 0.0), "one output, centred": (1, 0.05), "two outputs": (2, 0.0), "two outputs, centred": (2, 0.05)}


def reward_start(bench, folder, data, outputs):
    """The reward model that training starts from, with its fresh head: the first step of a warm-up has a rate of 0."""
    out = bench.folder(f"reward-start/{outputs}")
    bench.library("f32").Model(folder, threads=1).train(data, out, overwrite=True, method="reward", reward_outputs=outputs,
                                                        max_steps=1, warmup_steps=2, response_end="template")
    return out


def published_reward_step(model, batch, centering):
    """The published loss of a batch, chosen rows first, whose gradient is then there."""
    chosen, rejected = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.chunk(2)
    loss = -torch.nn.functional.logsigmoid(chosen - rejected).mean() + centering * ((chosen + rejected)**2).mean()
    loss.backward()
    return loss.item()


@check("trl-reward", loss=("RewardTrainer's loss of a batch, one output, as it is and centred, in single", 2e-5, "nats"),
       gradient=("its first gradient of all weights and the head, by its largest element", 5e-5, ""),
       torch=("the published loss of two outputs by autograd, in single", 2e-5, "nats"),
       autograd=("its first gradient, by its largest element", 5e-5, ""))
def trl_reward(bench):
    """All weights of the bundled model with a fresh head, on TRL's own batch."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer
    rows, tokenizer = village(4), AutoTokenizer.from_pretrained(BUNDLED)
    data = bench.write("trl.jsonl", rows)
    one = reward_start(bench, BUNDLED, data, 1)
    for name, (outputs, centering) in list(REWARDS.items())[::3 if bench.quick else 1]:
        start = one if outputs == 1 else reward_start(bench, BUNDLED, data, outputs)
        model = AutoModelForSequenceClassification.from_pretrained(start, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():  # the mistake that is asked for, in the head
            model.score.weight.mul_(bench.scale)
        config = arguments(RewardConfig, bench, disable_dropout=True, center_rewards_coefficient=centering or None)
        made = lambda of: RewardTrainer(model=of, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
        if outputs == 1:
            loss, _ = trl_step(made(model))
        else:
            other = AutoModelForSequenceClassification.from_pretrained(one, dtype=torch.float32)
            loss = published_reward_step(model, next(iter(made(other).get_train_dataloader())), centering)
        found, gradient = our_full_step(bench, BUNDLED, data, start=start, method="reward", warmup_steps=0,
                                        reward_outputs=outputs, reward_centering=centering, response_end="template")
        yield "loss" if outputs == 1 else "torch", name, abs(loss - found)
        yield "gradient" if outputs == 1 else "autograd", name, full_distance(gradient, model)


@check("trl-sft", ids=("SFTTrainer's rows, for each kind of template", 0, ""),
       loss=("SFTTrainer's loss of a batch, in single", 2e-5, "nats"),
       gradient=("SFTTrainer's first gradient, by its largest element", 5e-5, ""))
def trl_sft(bench):
    """Chosen responses as completions of their prompts."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer
    for name, folder, adapter, rows, data in trl_cases(bench):
        model = bench.peer(load(folder), adapter)
        completions = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
        trainer = SFTTrainer(model=model, args=arguments(SFTConfig, bench), train_dataset=Dataset.from_list(completions),
                             processing_class=AutoTokenizer.from_pretrained(folder))
        loss, batch = trl_step(trainer)
        found, gradient = our_step(bench, "f32", folder, adapter, data, method="sft", response_end="template")
        kept = "attention_mask" if "attention_mask" in batch else "labels"
        yield "ids", name, unlike(sides(bench, folder, data, "chosen"), rows_of(batch, kept))
        yield "loss", name, abs(loss - found)
        yield "gradient", name, distance(gradient, model)


@check("trl-full", loss=("DPOTrainer's and SFTTrainer's loss of a batch without PEFT, in single", 2e-5, "nats"),
       gradient=("the first gradient of all weights, by its largest element", 5e-5, ""))
def trl_full(bench):
    """All weights of the bundled model; DPO's reference is the model itself, as it was."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
    rows = village(4)
    data, tokenizer = bench.write("trl.jsonl", rows), AutoTokenizer.from_pretrained(BUNDLED)
    completions = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    trainers = {
        "dpo": lambda model: DPOTrainer(model=model, ref_model=load(BUNDLED), processing_class=tokenizer,
                                        args=arguments(DPOConfig, bench, beta=0.3), train_dataset=Dataset.from_list(rows)),
        "sft": lambda model: SFTTrainer(model=model, args=arguments(SFTConfig, bench), processing_class=tokenizer,
                                        train_dataset=Dataset.from_list(completions))}
    for method, make in trainers.items():
        model = load(BUNDLED)
        with torch.no_grad():  # the mistake that is asked for
            model.model.norm.weight.mul_(bench.scale)
        loss, _ = trl_step(make(model))
        found, gradient = our_full_step(bench, BUNDLED, data, method=method, response_end="template",
                                        **({"dpo_beta": 0.3} if method == "dpo" else {}))
        yield "loss", method, abs(loss - found)
        yield "gradient", method, full_distance(gradient, model)


# ---- the authors' objective ----

def authors_rows(tokenizer, pairs, prompt_cap=256, cap=512):
    """Both sides' rows as their data preparation makes them: [(ids, number of masked tokens)], all chosen ones first.
    The dialogue is rendered whole and tokenised, special tokens and all; the prompt is tokenised by itself, and cut."""
    made = []
    for side in ("chosen", "rejected"):
        for pair in pairs:
            whole = tokenizer.apply_chat_template(pair["prompt"] + pair[side], tokenize=False)
            prompt = tokenizer.apply_chat_template(pair["prompt"], tokenize=False, add_generation_prompt=True)
            made.append((tokenizer(whole).input_ids[:cap], len(tokenizer(prompt).input_ids[:prompt_cap])))
    return made


def authors_loss(model, rows, alpha_tilde, alpha_0, gamma, beta, pad):
    """Their loss of one micro-batch (docs/published-code.md): Qhat are the adapted logits, the value is that of the same
    state, a state counts if its last token is of the response, sums are over the padded length less one."""
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [pad] * (length - len(row)) for row, _ in rows])
    attention = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row, _ in rows])
    counted = torch.tensor([[int(begin <= t < len(row)) for t in range(length)] for row, begin in rows])[:, :-1].bool()
    q = model(input_ids=ids, attention_mask=attention).logits
    with torch.no_grad(), model.disable_adapter():
        log_pi1 = torch.log_softmax(model(input_ids=ids, attention_mask=attention).logits, -1)
    value = alpha_tilde * torch.logsumexp((q + alpha_0 * log_pi1) / alpha_tilde, -1)
    reward = q[:, :-1].gather(-1, ids[:, 1:, None])[..., 0] - gamma * value[:, :-1]
    chosen, rejected = ((reward * counted).sum(1) / (length - 1)).chunk(2)
    return -torch.nn.functional.logsigmoid(chosen - rejected).mean() + beta * (reward**2 * counted).sum() / counted.sum()


SETTINGS = {
    "as published": {},
    "other numbers": {"alpha_0": 0.5, "alpha_tilde": 0.8, "gamma": 0.9, "beta": 0.3},
    "pairs one by one": {"micro_batch": 1},
    "micro-batches of two": {"micro_batch": 2, "alpha_0": 0.2},
}


def authors_case(bench, model, folder, adapter, data, precision, setting):
    """(loss, gradient): differences of one setting, on a fresh gradient."""
    numbers = {"alpha_tilde": 1.0, "alpha_0": 0.01, "gamma": 1.0, "beta": 0.1}
    numbers.update({key: value for key, value in setting.items() if key in numbers})
    tokenizer, pairs = AutoTokenizer.from_pretrained(folder), read_rows(data)
    size = setting.get("micro_batch", len(pairs))
    model.zero_grad()
    total = 0.0
    for first in range(0, len(pairs), size):
        rows = authors_rows(tokenizer, pairs[first:first + size])
        loss = authors_loss(model, rows, pad=tokenizer.eos_token_id, **numbers) * size / len(pairs)
        loss.backward()
        total += loss.item()
    found, gradient = our_step(bench, precision, folder, adapter, data, recipe="published", published_data_quirks=True,
                               micro_batch=size, gradient_accumulation_steps=len(pairs) // size, lora_dropout=0, **numbers)
    return abs(total - found), distance(gradient, model)


@check("authors", loss=("the authors' formula on PEFT's model and `published`, on their rows: loss, in double", 1e-10, ""),
       gradient=("the same: gradient, by its largest element (ours is read from weights in single)", 1e-6, ""),
       single=("the same in single: loss", 2e-5, ""))
def authors(bench):
    """Templates that begin with a token and that write something behind the answer, the tokenizer's own quirks."""
    for name, folder, adapter, _, data in trl_cases(bench):
        for precision in ("f64", "f32"):
            model = bench.peer(load(folder, double=precision == "f64"), adapter)
            for setting, numbers in SETTINGS.items():
                loss, gradient = authors_case(bench, model, folder, adapter, data, precision, numbers)
                if precision == "f64":
                    yield "loss", f"{name}, {setting}", loss
                    yield "gradient", f"{name}, {setting}", gradient
                else:
                    yield "single", f"{name}, {setting}", loss
            in_single()


@check("trl-rloo", loss=("RLOOTrainer's loss of random answers, in double", 1e-10, "nats"),
       torch=("advantages, losses and gradients of ppo and rloo by autograd, in double", 1e-10, ""))
def trl_rloo(bench):
    """The cases of tools/rollout_cases, by tools/rollout_torch.py."""
    sys.path.insert(0, str(ROOT / "tools"))
    import rollout_torch
    cases = subprocess.run([pathlib.Path(bench.double).parent / "tools/rollout_cases"], stdout=subprocess.PIPE, check=True)
    for number, line in enumerate(cases.stdout.decode("utf-8").splitlines()):
        case = json.loads(line)
        for answer in case["answers"]:
            answer["log_pi"] = [value * bench.scale for value in answer["log_pi"]]
        differences = rollout_torch.Differences()
        rollout_torch.compare(case, differences, with_trl=True)
        for name, difference in differences.items():
            yield "loss" if name.endswith("TRL") else "torch", f"case {number}, {name}", difference
