"""Adapters come and go: PEFT loads ours, we load PEFT's, and both have the same log-probabilities."""

import torch
from peft import LoraConfig, get_peft_model

import families
from common import BUNDLED, PREFERENCES, check, in_single, load, log_policies, read_rows, worst

# Forms of a LoRA adapter that PEFT writes: keywords of LoraConfig, on a Llama of two layers.
FORMS = {
    "all-linear": {"target_modules": "all-linear"},
    "short names": {"target_modules": ["q_proj", "v_proj"]},
    "whole names": {"target_modules": ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"]},
    "parts of paths": {"target_modules": ["self_attn.k_proj", "mlp.up_proj"]},
    "a pattern": {"target_modules": r".*\.(q|o)_proj"},
    "a pattern of one layer": {"target_modules": r"model\.layers\.1\..*(gate|up)_proj"},
    "names that are not there": {"target_modules": ["q_proj", "c_attn", "query_key_value"]},
    "layers_to_transform": {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    "a layer as a number": {"target_modules": ["v_proj"], "layers_to_transform": 0},
    "exclude_modules": {"target_modules": "all-linear", "exclude_modules": ["down_proj", "o_proj"]},
    "rank_pattern": {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"q_proj": 2, "layers.1.self_attn.v_proj": 5}},
    "alpha_pattern, rslora": {"target_modules": ["q_proj", "up_proj"], "alpha_pattern": {"up_proj": 9}, "use_rslora": True},
    "rslora": {"target_modules": "all-linear", "use_rslora": True},
    "pissa-like dropout": {"target_modules": "all-linear", "lora_dropout": 0.3},
}

# How a policy is made of the adapted logits z and the base model's z1.
POLICIES = {
    "softmax(z)": ({"recipe": "theory", "q_parametrisation": "logits", "alpha_0": 0}, lambda z, z1: z),
    "published": ({"recipe": "published", "objective": "theory"}, lambda z, z1: z + 0.01 * torch.log_softmax(z1, -1)),
    "residual": ({"recipe": "theory", "alpha_0": 0.5, "alpha_tilde": 0.7},
                 lambda z, z1: (z - z1 + 0.5 * torch.log_softmax(z1, -1)) / 0.7),
}


def id_pairs(bench, vocab_size, n=2):
    """A file of pairs of random ids, for models without a tokenizer."""
    rng = torch.Generator().manual_seed(1)

    def ids(n):
        return torch.randint(3, vocab_size, (n,), generator=rng).tolist()

    rows = [{"prompt_ids": ids(7), "chosen_ids": ids(9), "rejected_ids": ids(5)} for _ in range(n)]
    return bench.write(f"pairs-{vocab_size}-{n}.jsonl", rows)


def random_adapter(base, folder, seed=0, **config):
    """PEFT's adapter with A and B random, as float32, in a folder."""
    torch.manual_seed(seed)
    model = get_peft_model(base, LoraConfig(r=3, lora_alpha=5, task_type="CAUSAL_LM", **config),
                           autocast_adapter_dtype=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape) * (0.3 if "lora_A" in name else 0.1))
    model.save_pretrained(folder)
    return model.unload()


def compare(bench, base, folder, adapter, data, policies, double):
    """(policy, largest difference of log pi over both responses of every pair): in double from the library, in single
    from the program."""
    model, ours = bench.peer(base, adapter), bench.library("f64").Model(folder, threads=1) if double else None
    for name in policies:
        options, logits = POLICIES[name]
        found, expected = [], []
        for row in ours.score(data, ours.load_adapter(adapter, **options)) if double else bench.score(
                folder, data, adapter, *(f"--{key.replace('_', '-')}={value}" for key, value in options.items())):
            for side in (row["chosen"], row["rejected"]):
                ids, begin = side["input_ids"], side["prompt_len"]
                with torch.no_grad():
                    z = model(input_ids=torch.tensor([ids])).logits[0].double()
                    with model.disable_adapter():
                        z1 = model(input_ids=torch.tensor([ids])).logits[0].double()
                policy = torch.log_softmax(logits(z, z1), -1)
                found += side["log_pi"]
                expected += [policy[t - 1, ids[t]].item() for t in range(begin, len(ids))]
        yield name, worst(found, expected)
    model.unload()


@check("models", value=("log-probabilities of random models, one of every family, in double", 1e-11, "nats"))
def models(bench):
    """The base models themselves."""
    for name, folder in families.all_of(bench):
        model, found, expected = load(folder, double=True), [], []
        ours = bench.library("f64").Model(folder, threads=1)
        for row in ours.score(id_pairs(bench, families.SIZES["vocab_size"])):
            for side in (row["chosen"], row["rejected"]):
                ids, begin = side["input_ids"], side["prompt_len"]
                with torch.no_grad():
                    policy = log_policies(model, ids)
                found += side["log_pi1"]
                expected += [policy[t - 1, ids[t]].item() for t in range(begin, len(ids))]
        in_single()
        yield "value", name, worst(found, expected)


@check("peft-here", value=("PEFT's adapters here: every family, every form, in double", 1e-11, "nats"),
       bundled=("PEFT's adapter of the bundled model here, in single", 1e-4, "nats"))
def peft_here(bench):
    """We load PEFT's."""
    data = id_pairs(bench, families.SIZES["vocab_size"])
    for name, folder in families.all_of(bench):
        adapter = bench.folder(f"peft-here/{name}")
        base = random_adapter(load(folder, double=True), adapter, target_modules="all-linear")
        for policy, difference in compare(bench, base, folder, adapter, data, POLICIES, True):
            yield "value", f"{name}, {policy}", difference
        in_single()
    folder = families.make("LlamaForCausalLM", bench.folder("models/LlamaForCausalLM"))
    base = load(folder, double=True)
    for i, (form, config) in enumerate(FORMS.items()):
        adapter = bench.folder(f"peft-here/form-{i}")
        base = random_adapter(base, adapter, seed=i, **config)
        for _, difference in compare(bench, base, folder, adapter, data, ["softmax(z)"], True):
            yield "value", form, difference
    in_single()
    adapter = bench.folder("peft-here/bundled")
    base = random_adapter(load(BUNDLED), adapter, target_modules="all-linear")
    pairs = bench.write("village.jsonl", village(4))
    for policy, difference in compare(bench, base, BUNDLED, adapter, pairs, POLICIES, False):
        yield "bundled", policy, difference


def village(n):
    """Pairs of the bundled preferences."""
    return read_rows(PREFERENCES / "literature.test.jsonl", n)


@check("ours-in-peft", value=("our adapters in PEFT: every family, every method, in double", 1e-11, "nats"),
       bundled=("our adapters of the bundled model in PEFT, in single", 1e-4, "nats"))
def ours_in_peft(bench):
    """PEFT loads ours."""
    data = id_pairs(bench, families.SIZES["vocab_size"])
    steps = {"max_steps": 2, "learning_rate": 0.05, "warmup_ratio": 0, "lora_r": 3}
    for name, folder in families.all_of(bench):
        adapter = bench.folder(f"ours/{name}")
        bench.library("f64").Model(folder, threads=1).train(data, adapter, **steps)
        for policy, difference in compare(bench, load(folder, double=True), folder, adapter, data, POLICIES, True):
            yield "value", f"{name}, {policy}", difference
        in_single()
    pairs = bench.write("village.jsonl", village(4))
    for method in (["--recipe", "theory"], ["--recipe", "published"], ["--method", "dpo"], ["--method", "sft"]):
        adapter = bench.folder(f"ours/bundled-{method[1]}")
        given = [f"--{key.replace('_', '-')}={value}" for key, value in steps.items()]
        bench.run("train", "-q", "--model", BUNDLED, "--data", pairs, "--out", adapter, *given, *method)
        for policy, difference in compare(bench, load(BUNDLED), BUNDLED, adapter, pairs, POLICIES, False):
            yield "bundled", f"{method[1]}, {policy}", difference
