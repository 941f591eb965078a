"""What the checks share: the program, the library, models in PyTorch, and the register of checks."""

import json
import math
import os
import pathlib
import subprocess
import sys
import types

import torch
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "weights/village/model"
PREFERENCES = ROOT / "weights/village/preferences"

CHECKS = {}


def check(name, **measures):
    """Registers a function that yields (measure, case, difference); measures: name=(what, bound, unit)."""
    def register(function):
        function.measures = measures
        CHECKS[name] = function
        return function
    return register


class Skip(Exception):
    """What a check needs is not there."""


class Bench:
    """What a run of the checks works with."""

    def __init__(self, work, single, double, libraries, scale, quick):
        self.work, self.single, self.double, self.quick = pathlib.Path(work), single, double, quick
        self.libraries = libraries  # folders of libqadapter.so by precision
        self.scale = scale  # of every adapter that a peer gets: 1, but for trying that a check fails

    def folder(self, name):
        """A fresh folder's path."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name, rows):
        """A file of JSON Lines."""
        path = self.folder(name)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def run(self, *arguments, double=False):
        """Standard output of the program."""
        program = self.double if double else self.single
        done = subprocess.run([program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{program} {' '.join(map(str, arguments))}: {done.stderr.decode('utf-8', 'replace')}")
        return done.stdout.decode("utf-8")

    def score(self, model, data, adapter=None, *options, double=False):
        """The rows of `qadapter score`."""
        given = [] if adapter is None else ["--adapter", adapter]
        lines = self.run("score", "-q", "--model", model, *given, "--data", data, *options, double=double).splitlines()
        return [json.loads(line) for line in lines]

    def library(self, precision):
        """qadapter.py with the library of this precision."""
        if precision not in _libraries:
            path = pathlib.Path(self.libraries[precision], "qadapter.py")
            module = types.ModuleType("qadapter_" + precision)
            module.__file__ = str(path)
            exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
            _libraries[precision] = module
        return _libraries[precision]

    def peer(self, model, adapter):
        """transformers' model with PEFT's adapter on it, scaled by the mistake that is asked for."""
        from peft import PeftModel
        made = PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False, is_trainable=True)
        self.spoil(made)
        return made.eval()

    def spoil(self, model):
        """The mistake that is asked for, on an adapter that a peer has."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.mul_(self.scale)


_libraries = {}
torch.set_num_threads(1)  # the models are tiny


# ---- transformers in single and in double ----

class _Double:
    """torch, in which single precision is double: transformers names float32 in norms, RoPE and softmax."""

    def __getattr__(self, name):
        return torch.float64 if name in ("float32", "float") else getattr(torch, name)


def load(folder, double=False):
    """A model in float32, or in float64 in every operation."""
    config = AutoConfig.from_pretrained(folder)
    kind = AutoModelForCausalLM._model_mapping[type(config)]
    modules = [sys.modules[kind.__module__], sys.modules["transformers.modeling_rope_utils"]]
    kept = torch.Tensor.float
    if double:
        torch.Tensor.float = torch.Tensor.double
    for module in modules:
        module.torch = _Double() if double else torch
    try:
        model = kind.from_pretrained(folder, dtype=torch.float64 if double else torch.float32,
                                     attn_implementation="eager")
    finally:
        if not double:
            torch.Tensor.float = kept
    return model.eval()


def in_single():
    """Ends what load(double=True) began."""
    torch.Tensor.float = _single_float
    for module in list(sys.modules.values()):
        if isinstance(getattr(module, "torch", None), _Double):
            module.torch = torch


_single_float = torch.Tensor.float


def log_policies(model, ids):
    """[n, V] log-probabilities behind each of ids[n], in double."""
    return torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].double(), -1)


def worst(found, expected):
    """The largest difference of two sequences; infinity where their lengths differ, NaN where one is there."""
    found, expected = list(map(float, found)), list(map(float, expected))
    if len(found) != len(expected):
        return math.inf
    differences = [abs(a - b) for a, b in zip(found, expected)]
    return math.nan if any(map(math.isnan, differences)) else max(differences, default=0.0)


def unlike(found, expected):
    """How many items of two sequences differ."""
    return sum(a != b for a, b in zip(found, expected)) + abs(len(found) - len(expected))


def read_rows(path, n=None):
    """JSON Lines."""
    rows = [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]
    return rows[:n]


os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
