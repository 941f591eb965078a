#!/usr/bin/env python3
"""The checks of tools/peers/run, which has made an environment for them.

    tools/peers/checks.py [--only NAME,...] [--quick] [--write FILE] [--mistake FACTOR] [--expect-failure] [--list]
"""

import argparse
import math
import pathlib
import sys
import tempfile
import time
import traceback

import common

import adapters  # noqa: F401
import training  # noqa: F401
import composed  # noqa: F401
import harness  # noqa: F401
import real_models  # noqa: F401


def run(bench, name):
    """Rows (what, cases, worst, bound, unit, case) of one check."""
    function, found = common.CHECKS[name], {}
    for measure, case, difference in function(bench):
        cases, most, where = found.get(measure, (0, 0.0, ""))
        worse = math.isnan(difference) or (difference > most and not math.isnan(most))
        found[measure] = (cases + 1, difference if worse else most, case if worse or not where else where)
    for measure, (what, bound, unit) in function.measures.items():
        cases, most, where = found.get(measure, (0, math.nan, "there is no case"))
        yield what, cases, most, bound, unit, where


def versions():
    """The peers, as a line of text."""
    from importlib.metadata import version
    return ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "trl", "lm-eval"))


def amount(value, unit):
    """A number of the table, with its unit."""
    return f"{value:.1e} {unit}".rstrip() if value else "0"


HEAD = """# Beside its peers

`tools/peers/run` (`make peers`) compares the program with the programs that people use beside it, on tiny random models and on
the bundled one: transformers, PEFT, TRL, lm-evaluation-harness, and the authors' objective by their own formula. It makes a
virtual environment for them (build/peers-venv, or the one that `PEERS_VENV` names), needs no network otherwise, and fails where a
difference is beyond its bound. `--only NAME,...` runs single checks, `--list` names them, `--quick` has fewer cases (CI runs
that), `--write docs/peers.md` writes this page, `--self-test` gives every peer an adapter (of a reward model: its head) that is
scaled by 1.01 and succeeds only if every check notices. What a check compares, and how, stands at the head of its function in
tools/peers.

"""

TAIL = """
"In double" is the program built with `PRECISION=f64` beside transformers in float64, where single precision is double even in
norms, RoPE tables and softmax, which name it; "in single" is float32 on both sides, and the difference is rounding. Gradients are
the whole adapter's, A and B random, divided by the largest element; ours are read from the weights after one step, which are
written in single precision. A row without a unit counts texts or token ids that differ.

What the peers do otherwise, and what makes them equal here:

- TRL and the authors' code take everything that a chat template writes behind an answer for a part of it, here an answer ends
  with its end token: `--response-end template` ([formats.md](formats.md#where-a-response-ends)).
- TRL's step over micro-batches of unequal sizes is the mean of their means, ours the mean over all pairs; here a step is one
  micro-batch.
- TRL's DPOTrainer takes a copy of an adapter that it is handed as its reference. Here both sides have the base model.
- TRL tokenises prompt and text response as one text, ours apart; prompts that end in white space differ.
- TRL's RewardTrainer wants one output (`--reward-outputs 1`). The published runs trained two, which are compared with their
  formula.
- transformers loads a model in the dtype that its config names: `dtype=torch.float32` is said in every check. BF16 is 0.08 nats a
  token away on the bundled model.
- lm-evaluation-harness moves white space from the end of a context to the continuation, and assumes 2,048 tokens of context unless
  `max_length=` says otherwise ([serve.md](serve.md#lm-evaluation-harness)).
"""


def document(rows):
    """docs/peers.md."""
    lines = ["| check | what | cases | worst difference | bound |", "| --- | --- | ---: | ---: | ---: |"]
    for name, (what, cases, most, bound, unit, _) in rows:
        lines.append(f"| `{name}` | {what} | {cases} | {amount(most, unit)} | {amount(bound, unit)} |")
    return HEAD + f"With {versions()}:\n\n" + "\n".join(lines) + "\n" + TAIL


def parse():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="names of checks, separated by commas")
    parser.add_argument("--quick", action="store_true", help="fewer cases")
    parser.add_argument("--write", help="a file for the table")
    parser.add_argument("--mistake", type=float, default=1.0, help="scale every adapter that a peer gets by this")
    parser.add_argument("--expect-failure", action="store_true", help="succeed if every check fails")
    parser.add_argument("--list", action="store_true", help="print the names of the checks")
    parser.add_argument("--single", default=common.ROOT / "build/f32/qadapter")
    parser.add_argument("--double", default=common.ROOT / "build/f64/qadapter")
    given = parser.parse_args()
    unknown = set(filter(None, given.only.split(","))) - set(common.CHECKS)
    if unknown:
        parser.error(f"no check {', '.join(sorted(unknown))}; there are {', '.join(common.CHECKS)}")
    return given


def run_all(given, bench):
    """(rows, how many checks failed)"""
    rows, failed = [], 0
    for name in filter(None, given.only.split(",")) if given.only else common.CHECKS:
        began, good = time.time(), True
        try:
            for row in run(bench, name):
                what, cases, most, bound, unit, where = row
                fine = cases > 0 and most <= bound
                good = good and fine
                rows.append((name, row))
                print(f"{'' if fine else 'FAILED: '}{what}: {cases} cases, worst {amount(most, unit)}, bound "
                      f"{amount(bound, unit)}{'' if fine else ', at: ' + where}", flush=True)
        except common.Skip as reason:
            print(f"{name}: skipped: {reason}", flush=True)
            continue
        except Exception:
            traceback.print_exc()
            good = False
        failed += not good
        print(f"  {name}: {'passed' if good else 'failed'}, {time.time() - began:.0f} s", flush=True)
        if given.expect_failure and good:
            print(f"FAILED: {name} passes, although every adapter that the peers got was scaled by {given.mistake}")
    return rows, failed


def main():
    given = parse()
    if given.list:
        print("\n".join(common.CHECKS))
        return 0
    quiet()
    libraries = {"f32": common.ROOT / "build/python", "f64": common.ROOT / "build/python-f64"}
    with tempfile.TemporaryDirectory() as work:
        bench = common.Bench(work, given.single, given.double, libraries, given.mistake, given.quick)
        rows, failed = run_all(given, bench)
    checks = len({name for name, _ in rows})
    if given.write and failed == 0:
        pathlib.Path(given.write).write_text(document(rows), encoding="utf-8")
    if given.expect_failure:
        return 0 if failed == checks and checks > 0 else 1
    print(f"peers: {checks - failed} of {checks} checks passed ({versions()})")
    return 0 if failed == 0 and checks > 0 else 1


def quiet():
    """Progress bars and advice of the peers, off."""
    import logging
    import warnings

    import datasets
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


if __name__ == "__main__":
    sys.exit(main())
