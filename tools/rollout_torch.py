#!/usr/bin/env python3
"""A second opinion on ppo and rloo: their advantages, losses and gradients in PyTorch, in float64, by autograd.

    rollout_torch.py [FILE]           FILE: what tools/rollout_cases writes; standard input if not given
    rollout_torch.py --trl [FILE]     the losses of rloo, too, from TRL's own RLOOTrainer, if it is there

It shares no code with the C program; the labels are those of docs/equations.md. Prints the largest difference of each
quantity. Exit status: 0 all within 1e-10, 1 not.
"""
import json
import sys
import types

import torch

REAL = torch.float64
BOUND = 1e-10


def rows(case, name):
    """[tensor] of every answer."""
    return [torch.tensor(answer[name], dtype=REAL) for answer in case["answers"]]


def padded(parts):
    """([answers x longest], mask)"""
    longest = max(len(part) for part in parts)
    table = torch.zeros(len(parts), longest, dtype=REAL)
    mask = torch.zeros(len(parts), longest, dtype=REAL)
    for i, part in enumerate(parts):
        table[i, :len(part)] = part
        mask[i, :len(part)] = 1
    return table, mask


def mean(x, mask):
    return (x * mask).sum() / mask.sum()


def clipped_loss(ratio, advantage, clip):  # (P5)
    return torch.maximum(-advantage * ratio, -advantage * torch.clamp(ratio, 1 - clip, 1 + clip))


def ppo(case, log_pi, value_now):
    """(advantages, returns, policy loss, value loss) of tables [answers x tokens]."""
    old, mask = padded(rows(case, "log_old"))
    reference, _ = padded(rows(case, "log_ref"))
    value, _ = padded(rows(case, "value"))
    rewards = -case["kl_coefficient"] * (old - reference) * mask  # (P1), (P2)
    last = mask.sum(1).long() - 1
    rewards[torch.arange(len(last)), last] += torch.tensor([answer["score"] for answer in case["answers"]], dtype=REAL)
    advantage = torch.zeros_like(rewards)
    carried = torch.zeros(len(last), dtype=REAL)
    for t in reversed(range(rewards.shape[1])):  # (P3)
        following = value[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros(len(last), dtype=REAL)
        delta = rewards[:, t] + case["gae_gamma"] * following - value[:, t]
        carried = (delta + case["gae_gamma"] * case["gae_lambda"] * carried) * mask[:, t]
        advantage[:, t] = carried
    returns = advantage + value
    if case["whiten"]:  # (P4)
        center = mean(advantage, mask)
        variance = mean((advantage - center) ** 2, mask) * mask.sum() / (mask.sum() - 1)
        advantage = (advantage - center) * torch.rsqrt(variance + 1e-8)
    policy = mean(clipped_loss(torch.exp((log_pi - old) * mask), advantage, case["clip_range"]), mask)
    within = torch.clamp(value_now, value - case["value_clip"], value + case["value_clip"])
    error = torch.maximum((value_now - returns) ** 2, (within - returns) ** 2)  # (P6)
    return advantage, returns, policy, 0.5 * mean(error, mask)


def rloo(case, log_pi):
    """(advantage of every answer, loss)"""
    old, mask = padded(rows(case, "log_old"))
    reference, _ = padded(rows(case, "log_ref"))
    score = torch.tensor([answer["score"] for answer in case["answers"]], dtype=REAL)
    reward = (score - case["kl_coefficient"] * ((old - reference) * mask).sum(1)).view(-1, case["samples"])  # (R1)
    baseline = (reward.sum(1, keepdim=True) - reward) / (case["samples"] - 1)  # (R2)
    advantage = (reward - baseline).view(-1)
    ratio = torch.exp(((log_pi - old) * mask).sum(1))
    return advantage, clipped_loss(ratio, advantage, case["clip_range"]).mean()  # (R3)


def trl_loss(case, log_pi, advantage):
    """RLOOTrainer's own loss of these log-probabilities."""
    from collections import defaultdict
    from trl import RLOOTrainer
    old, mask = padded(rows(case, "log_old"))
    trainer = types.SimpleNamespace(
        epsilon_low=case["clip_range"], epsilon_high=case["clip_range"], beta=0.0, aux_loss_enabled=False,
        model=types.SimpleNamespace(training=True), _metrics=defaultdict(lambda: defaultdict(list)),
        accelerator=types.SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x,
                                          gather_for_metrics=lambda x: x),
        _get_per_token_logps_and_entropies=lambda *_, **__: (log_pi, torch.zeros_like(log_pi), None))
    inputs = defaultdict(lambda: None, prompt_ids=torch.zeros(len(mask), 1, dtype=torch.long),
                         prompt_mask=torch.ones(len(mask), 1), completion_ids=mask.long(), completion_mask=mask,
                         old_logps=(old * mask).sum(1), advantages=advantage.detach())
    return RLOOTrainer._compute_loss(trainer, None, inputs)


class Differences(dict):
    """The largest of each quantity."""

    def note(self, name, ours, theirs):
        difference = (torch.as_tensor(ours, dtype=REAL) - theirs.detach()).abs().max().item()
        self[name] = max(self.get(name, 0.0), difference if difference == difference else float("inf"))


def compare(case, differences, with_trl):
    log_pi, mask = padded(rows(case, "log_pi"))
    log_pi.requires_grad_()
    ours = {name: padded(rows(case, name))[0] for name in ("advantage", "g")}
    if case["method"] == "ppo":
        ours |= {name: padded(rows(case, name))[0] for name in ("return", "g_value")}
        value_now = padded(rows(case, "value_now"))[0].requires_grad_()
        advantage, returns, policy, values = ppo(case, log_pi, value_now)
        (policy + case["value_weight"] * values).backward()
        differences.note("ppo returns", ours["return"], returns * mask)
        differences.note("ppo value loss", case["value_loss"], values)
        differences.note("ppo value gradient", ours["g_value"], value_now.grad * mask)
    else:
        each, policy = rloo(case, log_pi)
        policy.backward()
        advantage = each[:, None].expand_as(mask)
        if with_trl:
            differences.note("rloo loss of TRL", case["policy_loss"], trl_loss(case, log_pi.detach(), each))
    differences.note(case["method"] + " advantages", ours["advantage"], advantage * mask)
    differences.note(case["method"] + " policy loss", case["policy_loss"], policy)
    differences.note(case["method"] + " policy gradient", ours["g"], log_pi.grad * mask)


def main(arguments):
    with_trl = "--trl" in arguments
    files = [name for name in arguments if name != "--trl"]
    differences = Differences()
    with open(files[0], encoding="utf-8") if files else sys.stdin as source:
        for line in source:
            compare(json.loads(line), differences, with_trl)
    for name, difference in sorted(differences.items()):
        print(f"{name:24} {difference:.1e}")
    return 0 if differences and max(differences.values()) <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
