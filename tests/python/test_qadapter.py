#!/usr/bin/env python3
"""qadapter.py beside the program: the same numbers, the same texts, the same adapters; and what misuse comes to.

    tests/python/test_qadapter.py MODULE_FOLDER QADAPTER       build/python and build/f32/qadapter

Needs Python 3.8 alone; numpy is tried where it is there.
"""

import array
import ctypes
import gc
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULE, PROGRAM = (sys.argv[1:3] if len(sys.argv) > 2 else (str(ROOT / "build/python"), str(ROOT / "build/f32/qadapter")))
sys.path.insert(0, MODULE)
import qadapter  # noqa: E402

try:
    import numpy
except ImportError:
    numpy = None

MODEL = str(ROOT / "weights/village/model")
PAIRS = str(ROOT / "weights/village/preferences/literature.test.jsonl")
ASKED = [{"role": "user", "content": "Tell me about figs."}]
TRAINED = {"max_steps": 3, "learning_rate": 0.003, "micro_batch": 2, "warmup_ratio": 0, "max_pairs": 6, "lora_r": 4,
           "seed": 7}
ARGUMENTS = [f"--{name.replace('_', '-')}={value}" for name, value in TRAINED.items()]


def program(*arguments):
    """Standard output of the program."""
    return subprocess.run([PROGRAM, *map(str, arguments)], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE).stdout.decode("utf-8")


def rows_of(path):
    """JSON Lines."""
    return [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]


def setUpModule():
    global work, model, adapter, folder
    warnings.simplefilter("ignore", qadapter.Warning)
    work = tempfile.mkdtemp()
    folder = os.path.join(work, "run")
    model = qadapter.Model(MODEL, threads=2)
    adapter = model.train(PAIRS, folder, **TRAINED)


def tearDownModule():
    model.close()
    shutil.rmtree(work)


class BesideTheProgram(unittest.TestCase):
    """Everything that both compute."""

    def test_training_writes_the_same_adapter(self):
        out = os.path.join(work, "by-program")
        program("train", "-q", "--threads", 2, "--model", MODEL, "--data", PAIRS, "--out", out, *ARGUMENTS)
        for name in ("adapter_model.safetensors", "adapter_config.json", "training_config.json"):
            mine, its = (pathlib.Path(f, name).read_bytes() for f in (folder, out))
            self.assertEqual(mine, its, name)
        by_program = rows_of(os.path.join(out, "metrics.jsonl"))
        mine = rows_of(os.path.join(folder, "metrics.jsonl"))
        self.assertEqual([m["loss"] for m in mine], [m["loss"] for m in by_program])

    def test_scores_are_the_same_numbers(self):
        lines = program("score", "-q", "--threads", 2, "--model", MODEL, "--adapter", folder, "--data", PAIRS,
                        "--max-pairs", 4, "--full").splitlines()
        found = model.score(PAIRS, adapter, max_pairs=4, full=True)
        self.assertEqual(len(found), len(lines))
        for mine, line in zip(found, lines):
            its = json.loads(line)
            for key in ("logit", "loss", "pref", "reg", "line"):
                self.assertEqual(mine[key], its[key], key)
            for side in ("chosen", "rejected"):
                for key in ("input_ids", "prompt_len", "terminal", "return"):
                    self.assertEqual(mine[side][key], its[side][key], key)
                for key in ("log_pi1", "q", "v", "reward", "log_pi"):
                    self.assertEqual(list(mine[side][key]), its[side][key], key)
                self.assertEqual([list(row) for row in mine[side]["full"]["q"]], its[side]["full"]["q"])

    def test_scores_of_a_list_and_of_another_objective(self):
        rows = rows_of(PAIRS)[:2]
        self.assertEqual([s["loss"] for s in model.score(rows, adapter)],
                         [s["loss"] for s in model.score(PAIRS, adapter, max_pairs=2)])
        its = json.loads(program("score", "-q", "--model", MODEL, "--adapter", folder, "--data", PAIRS, "--max-pairs", 1,
                                 "--alpha-0", "0.5", "--response-end", "template", "--recipe", "published"))
        mine = model.score(PAIRS, adapter, max_pairs=1, response_end="template",
                           objective={"recipe": "published", "alpha_0": 0.5})[0]
        self.assertEqual(mine["loss"], its["loss"])

    def test_texts_are_the_same(self):
        for options in ({"seed": 5}, {"temperature": 0}, {"seed": 3, "top_p": 0.7, "temperature": 1.3},
                        {"temperature": 0, "policy": "base"}):
            arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
            its = program("generate", "-q", "--dtype", "f32", "--model", MODEL, "--adapter", folder, "--chat", "--prompt",
                          ASKED[0]["content"], "-n", 40, *arguments)
            pieces = []
            answer = model.generate(ASKED, adapter, max_tokens=40, on_text=pieces.append, **options)
            self.assertEqual(answer.text, its.rstrip("\n"))
            self.assertEqual("".join(pieces), answer.text)
            self.assertIn(answer.end, ("token", "length"))

    def test_a_text_is_continued_and_stopped(self):
        its = program("generate", "-q", "--dtype", "f32", "--model", MODEL, "--prompt", "Figs are", "--temperature", 0,
                      "-n", 20, "--stop", "autumn")
        answer = model.generate("Figs are", temperature=0, max_tokens=20, stop="autumn")
        self.assertEqual(answer.text, its.rstrip("\n"))
        ids = model.encode_prompt("Figs are")
        self.assertEqual(model.generate(ids, temperature=0, max_tokens=20, stop=["autumn"]), answer)
        full = model.generate(ids, temperature=0, max_tokens=5, ignore_eos=True)
        self.assertEqual((len(full.ids), full.end), (5, "length"))

    def test_log_policies_are_those_of_scores(self):
        pair = model.score(PAIRS, adapter, max_pairs=1)[0]["chosen"]
        for n in (pair["prompt_len"], len(pair["input_ids"]) - 1):
            base, custom = model.log_policy(pair["input_ids"][:n], adapter)
            self.assertEqual(len(base), model.info["vocab_size"])
            self.assertAlmostEqual(sum(map(math.exp, custom)), 1, 6)
            at = n - pair["prompt_len"]
            self.assertAlmostEqual(base[pair["input_ids"][n]], pair["log_pi1"][at], 5)
            self.assertAlmostEqual(custom[pair["input_ids"][n]], pair["log_pi"][at], 5)
        every = model.log_policy(pair["input_ids"][:4], adapter, every=True)[1]
        self.assertEqual(len(every), 4)
        for a, b in zip(every[-1], model.log_policy(pair["input_ids"][:4], adapter)[1]):
            self.assertAlmostEqual(a, b, 4)
        base, same = model.log_policy("Figs")
        self.assertEqual(base, same)

    def test_evaluation_is_the_same(self):
        its = json.loads(program("eval", "-q", "--json", "--model", MODEL, "--adapter", folder, "--data", PAIRS,
                                 "--max-pairs", 5))
        mine = model.evaluate(PAIRS, adapter, max_pairs=5)
        for key in ("pairs", "accuracy", "margin_mean", "loss"):
            self.assertAlmostEqual(mine[key], its[key], 6, key)

    def test_tokenizer(self):
        tokenizer = model.tokenizer
        ids = tokenizer.encode("Figs are purple.\n")
        self.assertEqual(tokenizer.decode(ids), "Figs are purple.\n")
        self.assertEqual(tokenizer.token(1023), "<|im_end|>")
        self.assertIsNone(tokenizer.token(2**31 - 1))
        self.assertEqual(tokenizer.vocab_size, 1024)
        self.assertEqual(tokenizer.encode(""), [])

    def test_vectors_are_numpy_s_for_the_asking(self):
        base, _ = model.log_policy("Figs")
        self.assertIsInstance(base, array.array)
        if numpy is not None:
            self.assertAlmostEqual(float(numpy.exp(numpy.asarray(base)).sum()), 1, 6)
            ids = numpy.asarray(model.encode_prompt("Figs"))
            self.assertEqual(model.log_policy(ids)[0], base)
            self.assertEqual(model.generate("Figs", temperature=numpy.float32(0), max_tokens=numpy.int64(2)).ids,
                             model.generate("Figs", temperature=0, max_tokens=2).ids)


class Adapters(unittest.TestCase):
    def test_loaded_saved_and_turned(self):
        loaded = model.load_adapter(folder)
        self.assertEqual((loaded.rank, loaded.is_plain, loaded.objective["alpha_0"]), (4, True, 1.0))
        self.assertEqual(model.score(PAIRS, loaded, max_pairs=1), model.score(PAIRS, adapter, max_pairs=1))
        loaded.set(alpha_0=0.5)
        self.assertFalse(loaded.is_plain)
        self.assertNotEqual(model.log_policy("Figs", loaded)[1], model.log_policy("Figs", adapter)[1])
        copy = os.path.join(work, "copy")
        loaded.save(copy)
        plain = model.load_adapter(copy)  # without a record: the adapted model's own policy
        self.assertEqual(plain.objective["method"], "sft")
        self.assertEqual(model.load_adapter(copy, method="dpo", dpo_beta=0.3).objective["dpo_beta"], 0.3)
        self.assertEqual(model.load_adapter(copy, recipe="published").objective["alpha_0"], 0.01)
        self.assertEqual(model.load_adapter(copy, method="ipo", ipo_length="mean").objective["ipo_length"], "mean")
        self.assertEqual(model.load_adapter(copy, method="dpo", label_noise=0.2).objective["label_noise"], 0.2)

    def test_fresh_ones_are_the_base_model_and_are_trained_in_place(self):
        fresh = model.new_adapter(seed=3, lora_r=2, lora_target=["q_proj", "v_proj"])
        base, custom = model.log_policy("Figs", fresh)
        for a, b in zip(base, custom):
            self.assertAlmostEqual(a, b, 5)
        same = model.train(PAIRS, os.path.join(work, "in-place"), adapter=fresh, **dict(TRAINED, lora_r=2))
        self.assertIs(same, fresh)
        self.assertNotEqual(model.log_policy("Figs", fresh)[1], custom)

    def test_of_another_model(self):
        other = qadapter.Model(str(ROOT / "weights/demo/model")) if (ROOT / "weights/demo/model").exists() else None
        if other is None:
            self.skipTest("no other model")
        with self.assertRaises(qadapter.Error):
            other.load_adapter(folder)
        with self.assertRaises(qadapter.Error) as caught:
            other.generate([1, 2], adapter)
        self.assertEqual(caught.exception.code, "mismatch")
        other.close()


class Training(unittest.TestCase):
    def test_metrics_evaluation_and_methods(self):
        seen = []
        made = model.train(PAIRS, os.path.join(work, "dpo"), eval_data=PAIRS, on_metrics=seen.append, method="dpo",
                           dpo_beta=0.3, batch_size=4, **{k: v for k, v in TRAINED.items() if k != "micro_batch"})
        self.assertEqual([m["step"] for m in seen], [1, 2, 3, 3])
        self.assertIn("eval_loss", seen[-1])
        self.assertAlmostEqual(seen[0]["loss"], math.log(2), 6)
        self.assertEqual(made.objective["method"], "dpo")
        self.assertEqual(model.load_adapter(os.path.join(work, "dpo")).objective, made.objective)

    def test_a_callback_may_use_the_model_and_stop(self):
        texts, out = [], os.path.join(work, "stopped")
        mine = model.new_adapter(lora_r=4, seed=7)

        def look(metrics):
            texts.append(model.generate("Figs", mine, temperature=0, max_tokens=3).text)
            with self.assertRaises(qadapter.Error):
                model.close()
            with self.assertRaises(qadapter.Error):
                mine.close()
            with self.assertRaises(qadapter.Error):
                model.train(PAIRS, out + "2", max_steps=1)
            return metrics["step"] < 2

        with self.assertRaises(qadapter.Interrupted):
            model.train(PAIRS, out, adapter=mine, on_metrics=look, **TRAINED)
        self.assertEqual(len(texts), 2)
        model.train(PAIRS, out, resume=True, **TRAINED)
        self.assertEqual(pathlib.Path(out, "adapter_model.safetensors").read_bytes(),
                         pathlib.Path(folder, "adapter_model.safetensors").read_bytes())

    def test_what_a_callback_raises_comes_out(self):
        def fail(_metrics):
            raise RuntimeError("of mine")

        with self.assertRaisesRegex(RuntimeError, "of mine"):
            model.train(PAIRS, os.path.join(work, "raised"), on_metrics=fail, **TRAINED)

    def test_ctrl_c_leaves_a_checkpoint(self):
        out = os.path.join(work, "interrupted")
        # A process that a shell put into the background ignores it from the start, and Python then has no handler.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))

        def interrupt(metrics):
            if metrics["step"] == 2:
                os.kill(os.getpid(), signal.SIGINT)

        with self.assertRaises(KeyboardInterrupt):
            model.train(PAIRS, out, on_metrics=interrupt, **TRAINED)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        model.train(PAIRS, out, resume=True, **TRAINED)
        self.assertEqual(pathlib.Path(out, "adapter_model.safetensors").read_bytes(),
                         pathlib.Path(folder, "adapter_model.safetensors").read_bytes())

    def test_options_are_refused_by_name(self):
        for options, said in (({"learning_rat": 1}, "learning_rat"), ({"learning_rate": -1}, "learning_rate"),
                              ({"dpo_beta": 0.1}, "dpo_beta belongs to method dpo"), ({"method": "ppo"}, "ppo"),
                              ({"method": "dpo", "alpha_0": 1}, "alpha_0"), ({"max_steps": "many"}, "max_steps"),
                              ({"lora_r": 0}, "lora_r"), ({"recipe": "mine"}, "recipe"), ({"seed": 1.5}, "seed")):
            with self.assertRaisesRegex(qadapter.Error, said):
                model.train(PAIRS, os.path.join(work, "never"), **options)
        self.assertFalse(os.path.exists(os.path.join(work, "never")))


class Misuse(unittest.TestCase):
    """Nothing of this may end the process."""

    def test_closed_handles(self):
        mine = qadapter.Model(MODEL, threads=1)
        its = mine.load_adapter(folder)
        tokenizer = mine.tokenizer
        mine.close()
        mine.close()
        for use in (lambda: mine.generate("a"), lambda: mine.log_policy([1], its), lambda: its.parameters,
                    lambda: mine.info, lambda: tokenizer.encode("a"), lambda: its.save(work),
                    lambda: model.generate("a", its), lambda: mine.load_adapter(folder)):
            with self.assertRaises(qadapter.Error):
                use()
        self.assertIn("closed", repr(mine) + repr(its) + repr(tokenizer))

    def test_closed_while_it_answers(self):
        mine = qadapter.Model(MODEL, threads=1)
        with self.assertRaises(qadapter.Error):
            mine.generate("Figs", on_text=lambda _piece: mine.close())
        with self.assertRaises(qadapter.Error):
            mine.generate("Figs", on_text=lambda _piece: mine.tokenizer.close())
        with self.assertRaises(qadapter.Error):
            mine.generate("Figs")
        mine.close()

    def test_wrong_types_and_values(self):
        for use in (lambda: model.generate(5), lambda: model.generate(None), lambda: model.generate([]),
                    lambda: model.generate(""), lambda: model.generate([1.5]), lambda: model.generate([-1]),
                    lambda: model.generate([2**31]), lambda: model.generate([10**6]), lambda: model.generate("a", "b"),
                    lambda: model.generate([{"role": "user"}]), lambda: model.generate([{"role": 1, "content": "a"}]),
                    lambda: model.generate([{"role": "us\0er", "content": "a"}]), lambda: model.generate("a", max_tokens=0),
                    lambda: model.generate("a", max_tokens=1.5), lambda: model.generate("a", temperature=-1),
                    lambda: model.generate("a", temperature=float("nan")), lambda: model.generate("a", top_p="x"),
                    lambda: model.generate("a", seed=-1), lambda: model.generate("a", unknown=1),
                    lambda: model.generate("a", policy="both"), lambda: model.generate("a", stop=[""]),
                    lambda: model.generate("\ud800"), lambda: model.generate([1] * 600),
                    lambda: model.log_policy([1] * 600), lambda: model.score(5), lambda: model.score("no such file"),
                    lambda: model.score([]), lambda: model.score([{"nothing": 1}]), lambda: model.score(PAIRS, max_length=1),
                    lambda: model.score(PAIRS, micro_batch=0), lambda: model.score(PAIRS, objective={"alpha_0": -1}),
                    lambda: model.load_adapter("no such folder"), lambda: model.load_adapter(None),
                    lambda: model.load_adapter("a\0b"), lambda: model.load_adapter(folder, lora_r=3),
                    lambda: adapter.set(alpha_0="much"), lambda: model.new_adapter(lora_target="no_proj"),
                    lambda: model.tokenizer.encode(b"bytes"), lambda: model.tokenizer.decode(["a"]),
                    lambda: model.tokenizer.decode([2**40]), lambda: qadapter.Model("no such folder"),
                    lambda: qadapter.Model(MODEL, threads=-1), lambda: qadapter.Model(MODEL, dtype="int4"),
                    lambda: model.train(PAIRS, ""), lambda: model.train(PAIRS, work + "/n", on_metrics=3),
                    lambda: model.generate(ASKED, chat_template="no such template")):
            with self.assertRaises((qadapter.Error, TypeError, ValueError, OverflowError)):
                use()

    def test_an_error_has_the_library_s_words_and_its_code(self):
        with self.assertRaisesRegex(qadapter.Error, "no such file") as caught:
            model.score("no such file")
        self.assertEqual(caught.exception.code, "io")

    def test_threads_wait_for_each_other(self):
        texts = {}

        def speak(i):
            texts[i] = model.generate(ASKED, adapter, seed=i % 2, max_tokens=12).text

        threads = [threading.Thread(target=speak, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual({texts[i] for i in (0, 2, 4)}, {model.generate(ASKED, adapter, seed=0, max_tokens=12).text})

    @unittest.skipUnless(hasattr(os, "fork"), "no fork")
    def test_a_forked_process_is_told(self):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                model.generate("a")
            except qadapter.Error:
                status = 0
            os._exit(status)
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_memory_is_freed(self):
        def resident():
            with open("/proc/self/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        def once():
            mine = qadapter.Model(MODEL, threads=1)
            mine.generate("Figs", mine.load_adapter(folder), max_tokens=2)

        for _ in range(3):
            once()
        gc.collect()
        before = resident()
        for _ in range(12):
            once()
        gc.collect()
        self.assertLess(resident() - before, 6 * 2**20)  # one model is 8.5 MiB


class TheInterface(unittest.TestCase):
    """The structs are the compiler's; one that ctypes would lay out otherwise is refused."""

    def test_every_struct_of_the_headers(self):
        interface = qadapter._qa
        self.assertGreater(len(interface._structs), 30)
        for name in interface._structs:
            self.assertEqual(ctypes.sizeof(interface.struct(name)), interface._structs[name][0], name)

    def test_another_layout_is_refused(self):
        interface = qadapter._qa
        size, *fields = interface._structs["qa_sampling"]
        interface._structs["moved"] = [size, fields[0][:2] + (8, 8), *fields[1:]]
        interface._structs["grown"] = [size + 8, *fields]
        for name in ("moved", "grown"):
            with self.assertRaises(ImportError):
                interface.struct(name)
            del interface._structs[name]


if __name__ == "__main__":
    began = time.time()
    run = unittest.main(argv=sys.argv[:1] + sys.argv[3:], exit=False, verbosity=0).result
    print(f"python: {run.testsRun} tests, {'with' if numpy is not None else 'without'} numpy, Python "
          f"{sys.version.split()[0]}, {time.time() - began:.0f} s")
    sys.exit(not run.wasSuccessful())
