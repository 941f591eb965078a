"""The vectors in TRL: DPOTrainer's and SFTTrainer's own collators and losses, on a model whose logits are given.

    trl_runner.py VECTORS CANDIDATE      VECTORS: folder with manifest.json; CANDIDATE: folder to write

The trainers compute log-probabilities of logits in single precision: the candidate says float32. Of sums of
log-probabilities (dpo, ipo, sppo) their loss alone is run. What TRL does not have is left out: labels with noise (its
"robust" is another loss, docs/equations.md) and IPO of sums, not of means. docs/conformance.md says what a vector is.
"""
import json
import os
import sys
import tempfile
import types
import warnings

warnings.simplefilter("ignore", FutureWarning)
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TQDM_DISABLE="1", TRL_EXPERIMENTAL_SILENCE="1", TRANSFORMERS_VERBOSITY="error")

import torch
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutputWithPast


class GivenHidden(torch.nn.Module):
    """Where a transformer would be: its last hidden states are the vector's logits, for the head is the identity."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, input_ids, **_):
        return BaseModelOutputWithPast(last_hidden_state=self.logits[:, :input_ids.shape[1]])


def model_of(logits):
    V = logits.shape[-1]
    model = LlamaForCausalLM(LlamaConfig(vocab_size=V, hidden_size=V, intermediate_size=4, num_hidden_layers=1, head_dim=4,
                                         num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=False,
                                         pad_token_id=0, bos_token_id=None, eos_token_id=1))
    model.model = GivenHidden(logits)
    model.lm_head.weight.data = torch.eye(V)
    model.get_output_embeddings = lambda: model.lm_head
    return model


def tokenizer_of(V):
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(V)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="t0", eos_token="t1")


def trainer_of(kind, config, row, model, **more):
    """A trainer with one row of data that is never asked for."""
    arguments = config(output_dir=tempfile.mkdtemp(), report_to="none", use_cpu=True, bf16=False, save_strategy="no",
                       gradient_checkpointing=False, max_length=None, disable_tqdm=True, **more.pop("options", {}))
    return kind(model=model, args=arguments, train_dataset=Dataset.from_list([row]),
                processing_class=tokenizer_of(model.config.vocab_size), **more)


def rows_of(labels):
    """(prompt ids, response ids) of each row: where the label is -100 the token is any, and trailing ones are padding."""
    rows = []
    for row in labels:
        first = next(t for t, label in enumerate(row) if label != -100)
        last = max(t for t, label in enumerate(row) if label != -100)
        rows.append(([0] * first, row[first:last + 1]))
    return rows


def sft(i):
    model = model_of(torch.tensor(i.logits))
    trainer = trainer_of(trl.SFTTrainer, trl.SFTConfig, {"prompt": "t2", "completion": "t3"}, model,
                         options={"completion_only_loss": True})
    batch = trainer.data_collator([{"input_ids": prompt + response, "labels": [-100] * len(prompt) + response}
                                   for prompt, response in rows_of(i.labels)])
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return {"loss": loss.item(), "grad_logits": model.model.logits.grad.tolist()}


def dpo_logits(i):
    N = len(i.chosen_logits)
    model, reference = (model_of(torch.tensor(chosen + rejected)) for chosen, rejected in (
        (i.chosen_logits, i.rejected_logits), (i.chosen_reference, i.rejected_reference)))
    trainer = trainer_of(trl.DPOTrainer, trl.DPOConfig, {"prompt": "t2", "chosen": "t3", "rejected": "t2"}, model,
                         ref_model=reference, options={"beta": i.beta})
    batch = trainer.data_collator([{"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected} for
                                   (prompt, chosen), (_, rejected) in zip(rows_of(i.chosen_labels), rows_of(i.rejected_labels))])
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradient = model.model.logits.grad
    return {"loss": loss.item(), "grad_chosen_logits": gradient[:N].tolist(), "grad_rejected_logits": gradient[N:].tolist()}


class GivenSums(torch.nn.Module):
    """A model that says at once what its tokens' log-probabilities are: all of it at the first, 0 at the others."""

    def __init__(self, sums):
        super().__init__()
        self.sums = sums

    def forward(self, input_ids, **_):
        rest = torch.zeros(len(self.sums), input_ids.shape[1] - 2, dtype=torch.float64)
        log_probs = torch.cat((self.sums[:, None], rest), 1)
        return types.SimpleNamespace(log_probs=log_probs, entropy=log_probs * 0, mean_logits=log_probs * 0,
                                     is_top1=log_probs > 0)


def of_sums(i, kind, beta):
    counts = [[int(n) for n in getattr(i, side + "_tokens", [1] * len(i.policy_chosen))] for side in ("chosen", "rejected")]
    trainer = trainer_of(trl.DPOTrainer, trl.DPOConfig, {"prompt": "t2", "chosen": "t3", "rejected": "t2"},
                         model_of(torch.zeros(1, 1, 5)), options={"beta": beta, "loss_type": kind},
                         ref_model=model_of(torch.zeros(1, 1, 5)))
    batch = trainer.data_collator([{"prompt_ids": [2], "chosen_ids": [3] * n, "rejected_ids": [3] * m} for n, m in zip(*counts)])
    sides = [torch.tensor(getattr(i, "policy_" + side), dtype=torch.float64, requires_grad=True)
             for side in ("chosen", "rejected")]
    trainer.ref_model = GivenSums(torch.tensor(i.reference_chosen + i.reference_rejected, dtype=torch.float64))
    loss = trainer.compute_loss(GivenSums(torch.cat(sides)), batch)
    loss.backward()
    return {"loss": loss.item(), "grad_policy_chosen": sides[0].grad.tolist(), "grad_policy_rejected": sides[1].grad.tolist()}


def run(vector):
    """The outputs of a vector that TRL has; None of another."""
    i, name = types.SimpleNamespace(**vector["inputs"]), vector["equation"]
    if getattr(i, "label_noise", 0) or getattr(i, "length", "mean") == "sum":
        return None
    return (sft(i) if name == "sft" else dpo_logits(i) if name == "dpo_logits" else of_sums(i, "sigmoid", i.beta)
            if name == "dpo" else of_sums(i, "ipo", i.tau) if name == "ipo" else of_sums(i, "sppo_hard", i.beta)
            if name == "sppo" else None)


if __name__ == "__main__":
    folder, to = sys.argv[1:3]
    with open(os.path.join(folder, "losses.json")) as file:
        found = {vector["id"]: run(vector) for vector in json.load(file)["vectors"]}
    os.makedirs(to, exist_ok=True)
    with open(os.path.join(to, "losses.json"), "w") as file:
        json.dump({"format": "qadapter-conformance-candidate", "version": 1, "dtype": "float32",
                   "made_by": f"TRL {trl.__version__}", "outputs": {k: v for k, v in found.items() if v}}, file)
