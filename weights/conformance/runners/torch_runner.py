"""The vectors in PyTorch: every equation forward in float64, gradients by autograd, AdamW and clipping PyTorch's own.
torch_runner.py VECTORS CANDIDATE [float32] reads and writes a folder: docs/conformance.md, docs/equations.md."""
import json, math, os, sys, types, torch, torch.nn.functional as F
def scores(i, q, log_pi1):  # without alpha_0 pi1 is not there, even where it is -inf
    return (q + i.alpha_0 * log_pi1 if i.alpha_0 else q) / i.alpha_tilde
def log_label(z, noise):  # log((1 - noise) sigmoid(z) + noise sigmoid(-z))
    turned = F.logsigmoid(-z) + (math.log(noise) if noise else -math.inf)
    return torch.logaddexp(math.log1p(-noise) + F.logsigmoid(z), turned)
def m5(i):  # and (M7)
    x = scores(i, i.q, i.log_pi1)
    return dict(v=i.alpha_tilde * x.logsumexp(-1), log_pi=x.log_softmax(-1), pi=x.softmax(-1))
def m12(i):
    x = i.log_pi1 + sum(w * (log_pi - i.log_pi1) for w, log_pi in zip(i.weights, i.log_pi) if w)
    return dict(log_mix=x.log_softmax(-1), log_z=x.logsumexp(-1), log_weight=x.logsumexp(-1).sum())
def side_of_pairs(i, s):
    ids, T, terminal, z, base = (getattr(i, f"{s}_{n}") for n in ("ids", "length", "terminal", "logits", "base"))
    T, P, L, t = T[:, None], i.prompt_length[:, None], ids.shape[1], torch.arange(ids.shape[1])
    q = z - base if i.parametrisation == "residual" else z
    x = scores(i, q, base.log_softmax(-1))
    v, action = i.alpha_tilde * x.logsumexp(-1), torch.where(t + 1 < T, ids.roll(-1, 1), i.pad_id).long()[..., None]
    if i.objective == "theory":  # the next state's value, 0 after the end
        counted, value = (t >= P - 1) & (t < T - 1), v.roll(-1, 1) * ~((t == T - 2) & (terminal[:, None] == 1))
        weight = i.gamma ** (t - P + 1) / (counted.sum(-1, keepdim=True) if i.length_normalisation else 1)
    else:  # the same state's, from the first response token's on
        counted, value, weight = (t >= P) & (t < T) & (t < L - 1), v, 1 / (L - 1)
    reward = (q.gather(-1, action)[..., 0] - i.gamma * value) * counted                            # (M8)
    return {"return": (weight * reward).sum(-1), "v": v * ((t >= P - 1) & (t < T)), "reward": reward,  # (M9)
            "log_pi": x.log_softmax(-1).gather(-1, action)[..., 0] * counted}, counted.sum()
def pair(i):
    (w, n_w), (l, n_l) = side_of_pairs(i, "chosen"), side_of_pairs(i, "rejected")
    pref = -log_label(w["return"] - l["return"], i.label_noise).mean()                             # (M10)
    reg = i.beta * sum((s["reward"] ** 2).sum() for s in (w, l)) / (n_w + n_l)
    return dict(loss=pref + reg, loss_pref=pref, loss_reg=reg, z=w["return"] - l["return"],
                **{f"{s}_{k}": v for s, d in dict(chosen=w, rejected=l).items() for k, v in d.items()})
def log_ratio(i, side):  # of sums, or of logits whose next token's label is not -100
    if hasattr(i, "policy_" + side):
        return getattr(i, "policy_" + side) - getattr(i, "reference_" + side)
    labels, logits, reference = (getattr(i, side + name) for name in ("_labels", "_logits", "_reference"))
    labels, change = labels[:, 1:, None].long(), (logits.log_softmax(-1) - reference.log_softmax(-1))[:, :-1]
    return (change.gather(-1, labels.clamp(min=0)) * (labels != -100)).sum((1, 2))
def dpo_logits(i):  # DPO, IPO, SPPO
    w, l = log_ratio(i, "chosen"), log_ratio(i, "rejected")
    if i.equation == "ipo":
        margin = w / i.chosen_tokens - l / i.rejected_tokens if i.length == "mean" else w - l
        return dict(loss=((margin - 0.5 / i.tau) ** 2).mean())
    if i.equation == "sppo":
        return dict(loss=((w - 0.5 / i.beta) ** 2 + (l + 0.5 / i.beta) ** 2).mean())
    z = i.beta * (w - l)
    return dict(loss=-log_label(z, i.label_noise).mean(), z=z, chosen_log_ratio=w, rejected_log_ratio=l)
def kto(i):
    point, y = i.mismatched_log_ratio.mean().clamp(min=0), i.desirable
    u = i.beta * (2 * y - 1) * (i.policy - i.reference - point)
    weight = y * i.desirable_weight + (1 - y) * i.undesirable_weight
    return dict(loss=(weight * torch.sigmoid(-u)).mean(), reference_point=point)
def ppo_advantages(i):
    d, n = i.log_old - i.log_ref, len(i.value)
    reward = -i.coefficient * {"k1": d, "abs": d.abs(), "mse": d * d / 2}[i.estimator]
    reward[-1] += i.score
    delta = reward + i.gamma * F.pad(i.value[1:], (0, 1)) - i.value
    a = torch.stack([sum((i.gamma * i.lambda_) ** (k - t) * delta[k] for k in range(t, n)) for t in range(n)])
    return dict(reward=reward, advantage=a, ret=a + i.value, whitened=(a - a.mean()) / (a.var() + 1e-8).sqrt())
def reward_model(i):
    return dict(loss=(i.centering * (i.chosen + i.rejected) ** 2 - F.logsigmoid(i.chosen - i.rejected)).mean())
def clipped(rho, advantage, clip):
    return torch.maximum(-rho * advantage, -rho.clamp(1 - clip, 1 + clip) * advantage).mean()
def ppo_loss(i):
    held = i.value + (i.value_now - i.value).clamp(-i.value_clip, i.value_clip) if i.value_clip else i.value_now
    value = torch.maximum((i.value_now - i.ret) ** 2, (held - i.ret) ** 2).mean() / 2
    loss = clipped((i.log_pi - i.log_old).exp(), i.advantage, i.clip)
    return dict(loss=loss + i.value_weight * value, policy_loss=loss, value_loss=value)
def rloo(i):
    ret, rho = i.score - i.coefficient * (i.log_old - i.log_ref).sum(-1), (i.log_pi - i.log_old).sum(-1).exp()
    a = ret - (ret.sum() - ret) / (len(ret) - 1)
    return dict(loss=clipped(rho, a, i.clip), ret=ret, advantage=a, ratio=rho)
def rate(i, step):
    left = max(i.total - step, 0) / (i.total - i.warmup)
    shape = {"constant": 1, "linear": left, "cosine": math.sin(math.pi * left / 2) ** 2}[i.schedule]
    return i.learning_rate * (step / i.warmup if step < i.warmup else shape)
def adamw(i):
    p = torch.nn.Parameter(i.parameters.clone())
    optimiser = torch.optim.AdamW([p], 1.0, (i.beta1, i.beta2), i.epsilon, i.weight_decay)
    rates, norms, after = [rate(i, s) for s in range(len(i.gradient))], [], []
    for lr, gradient in zip(rates, i.gradient):
        p.grad, optimiser.param_groups[0]["lr"] = gradient.clone(), lr
        norms.append(torch.nn.utils.clip_grad_norm_([p], i.max_grad_norm or math.inf).item())
        optimiser.step()
        after.append(p.tolist())
    m, v = (optimiser.state[p][name] for name in ("exp_avg", "exp_avg_sq"))
    return dict(parameters_after=after, rates=rates, norms=norms, m=m, v=v)
def lora(i):
    scale = i.lora_alpha / (math.sqrt(len(i.a)) if i.use_rslora else len(i.a))
    return dict(y=i.x @ i.w.T + scale * (i.x * i.mask / (1 - i.rate)) @ i.a.T @ i.b.T)
def rope_frequency(i):
    d, old, theta, j = i.rotary, getattr(i, "original_max_position", 0), i.theta, torch.arange(i.rotary // 2).to(DTYPE)
    if i.type == "dynamic":
        theta *= (getattr(i, "alpha", 0) or i.factor * max(i.sequence_length / old, 1) - i.factor + 1) ** (d / (d - 2))
    f = theta ** (-2 * j / d)
    if i.type == "longrope":
        return f / (i.long_factor if i.sequence_length > old else i.short_factor)
    slow = torch.full_like(f, i.type == "linear")
    if i.type == "llama3":
        slow = 1 - ((old * f / math.tau - i.low_freq_factor) / (i.high_freq_factor - i.low_freq_factor)).clamp(0, 1)
    if i.type == "yarn":
        low, high = (d * math.log(old / (b * math.tau)) / (2 * math.log(theta)) for b in (i.beta_fast, i.beta_slow))
        low, high = max(math.floor(low) if i.truncate else low, 0), min(math.ceil(high) if i.truncate else high, d - 1)
        slow = ((j - low) / (high - low)).clamp(0, 1)
    return f / getattr(i, "factor", 1) * slow + f * (1 - slow)
def rope(i):
    f, (x, rest), factor = rope_frequency(i), i.x.tensor_split([i.rotary], -1), getattr(i, "attention_factor", 1)
    cosine, sine = (factor * wave((i.positions[:, None] * f)[:, None]) for wave in (torch.cos, torch.sin))
    a, b = (x[..., 0::2], x[..., 1::2]) if i.interleaved else x.chunk(2, -1)
    y = torch.stack((a * cosine - b * sine, b * cosine + a * sine), -1 if i.interleaved else -2).reshape(x.shape)
    return dict(y=torch.cat((y, rest), -1), frequency=f)
def attention(i):
    k, v = (x.repeat_interleave(i.q.shape[1] // x.shape[1], 1) for x in (i.k, i.v))
    score, key = i.scale * torch.einsum("nhd,mhd->hnm", i.q, k), torch.arange(len(k))
    score = i.soft_cap * (score / i.soft_cap).tanh() if i.soft_cap else score
    distance = key[-len(i.q):, None] - key
    seen = (distance >= 0) & (distance < (i.window or len(k)))
    return dict(y=torch.einsum("hnm,mhd->nhd", score.masked_fill(~seen, -math.inf).softmax(-1), v))
EQUATIONS = dict(
    globals(), m7=m5, dpo=dpo_logits, ipo=dpo_logits, sppo=dpo_logits,
    m8=lambda i: dict(reward=i.q - i.gamma * i.next @ i.v), m6=lambda i: dict(q=i.reward + i.gamma * i.next @ i.v),
    m9_label=lambda i: dict(log_label=log_label(i.z, i.label_noise)),
    sft=lambda i: dict(loss=F.cross_entropy(i.logits[:, :-1].flatten(0, 1), i.labels[:, 1:].flatten().long())),
    ppo_coefficient=lambda i: dict(
        coefficient_next=i.coefficient * (1 + min(max(i.kl / i.target - 1, -0.2), 0.2) * i.responses / i.horizon)),
    schedule=lambda i: dict(rates=[rate(i, s) for s in range(i.total)]),
    rms_norm=lambda i: dict(y=F.rms_norm(i.x, i.w.shape, i.offset + i.w, i.epsilon)),
    log_softmax=lambda i: dict(y=i.x.log_softmax(-1), log_sum_exp=i.x.logsumexp(-1)))
def read(value):
    text = json.dumps(value).replace('"-inf"', "-Infinity")
    return torch.tensor(json.loads(text), dtype=DTYPE) if isinstance(value, list) else value
def run(vector):  # the outputs that the vector names; grad_X is d(first output . dy)/dX
    inputs = {k.replace("lambda", "lambda_"): read(v) for k, v in vector["inputs"].items()}
    i, named = types.SimpleNamespace(equation=vector["equation"], **inputs), vector["outputs"]
    wanted = {name: inputs[name[5:]].requires_grad_() for name in named if name.startswith("grad_")}
    out = EQUATIONS[i.equation](i)
    for first in list(out.values())[:1] if wanted else []:
        dy = getattr(i, "dy", torch.ones_like(first))
        out.update(zip(wanted, torch.autograd.grad(first, list(wanted.values()), dy)))
    return {k: v.tolist() if torch.is_tensor(v) else v for k, v in out.items() if k in named}
if __name__ == "__main__":
    folder, to, dtype = (sys.argv + ["float64"])[1:4]
    DTYPE, head = getattr(torch, dtype), {"format": "qadapter-conformance-candidate", "version": 1, "dtype": dtype}
    os.makedirs(to, exist_ok=True)
    for name in json.load(open(f"{folder}/manifest.json"))["files"]:
        outputs = {v["id"]: run(v) for v in json.load(open(f"{folder}/{name}"))["vectors"]}
        json.dump({**head, "made_by": f"PyTorch {torch.__version__}", "outputs": outputs}, open(f"{to}/{name}", "w"))
