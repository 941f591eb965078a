#!/usr/bin/env python3
"""A second opinion on pre-training: the loss of a step and the gradient of every weight, in plain PyTorch and float64.

    pretrain_torch.py FOLDER DUMP [--tolerance X]

DUMP is what `qadapter pretrain --dump-gradients DUMP --out FOLDER` wrote: the first step's documents, weights, loss and
gradients. Every document is run on its own, all its tokens, nothing packed; the gradients are autograd's. The exit
status is 0 only if the loss and all gradients agree: each tensor's largest difference, relative to its largest gradient.
"""
import argparse
import sys

import torch

from golden_torch import REAL, Model, fail, read_safetensors


def documents_of(dump):
    """Ids and learned flags of every document."""
    lengths = dump["documents.lengths"].tolist()
    if sum(lengths) != len(dump["documents.ids"]) or sum(lengths) != len(dump["documents.learned"]):
        fail("the documents' lengths do not add up")
    return list(zip(dump["documents.ids"].split(lengths), dump["documents.learned"].bool().split(lengths)))


def mean_loss(model, documents):
    """-log p(token | those before it), over every learned token of every document."""
    total, learned = torch.zeros((), dtype=REAL), 0
    for ids, is_learned in documents:
        log_p = model.forward(ids, 0)["logits"].log_softmax(-1)
        taken = log_p[:-1].gather(1, ids[1:, None])[:, 0]
        total = total - taken[is_learned[1:]].sum()
        learned += int(is_learned[1:].sum())
    return total / learned


def worst_difference(dump, model):
    """The largest relative difference of a gradient, with the tensor's name."""
    worst = (0.0, "")
    for name, weight in model.weights.items():
        theirs, ours = dump["gradient." + name].to(REAL), weight.grad
        if theirs.shape != ours.shape or not torch.isfinite(theirs).all():
            return float("inf"), name
        scale = max(ours.abs().max().item(), 1e-300)
        worst = max(worst, ((theirs - ours).abs().max().item() / scale, name))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the model: its config.json")
    parser.add_argument("dump", help="what --dump-gradients wrote")
    parser.add_argument("--tolerance", type=float, default=1e-9, help="largest relative difference (default 1e-9)")
    args = parser.parse_args()
    dump, model = read_safetensors(args.dump), Model(args.folder)
    names = {name[len("weight."):] for name in dump if name.startswith("weight.")}
    if names != set(model.weights):
        fail("dump and model differ in their tensors: " + ", ".join(sorted(names ^ set(model.weights))))
    model.weights = {name: dump["weight." + name].to(REAL).requires_grad_() for name in sorted(names)}
    documents = documents_of(dump)
    loss = mean_loss(model, documents)
    loss.backward()
    off = abs(loss.item() - dump["loss"].item()) / loss.item()
    error, name = worst_difference(dump, model)
    agree = off <= args.tolerance and error <= args.tolerance
    print(f"{len(documents)} documents, {len(names)} tensors: loss {loss.item():.12g} (relative difference {off:.1e}), "
          f"gradients {error:.1e} (worst: {name}){'' if agree else '  DISAGREES'}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
