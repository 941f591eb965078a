"""jax_runner.py VECTORS CANDIDATE: the vectors in JAX; gradients by jax.vjp. docs/conformance.md, docs/equations.md"""
import json, math, os, sys, types, jax, jax.numpy as jnp, numpy as np
def log_sigmoid(z):  # jax.nn's gradient loses digits where |z| is large
    return jnp.where(z < 0, z, 0) - jnp.log1p(jnp.exp(jnp.where(z < 0, z, -z)))
def scores(i, q, log_pi1):  # without alpha_0 pi1 is not there, even where it is -inf
    return (q + i.alpha_0 * log_pi1 if i.alpha_0 else q) / i.alpha_tilde
def log_label(z, noise):  # log((1 - noise) sigmoid(z) + noise sigmoid(-z))
    turned = log_sigmoid(-z) + (math.log(noise) if noise else -math.inf)
    return jnp.logaddexp(math.log1p(-noise) + log_sigmoid(z), turned)
def m5(i):  # and (M7)
    x = scores(i, i.q, i.log_pi1)
    return dict(v=i.alpha_tilde * jax.nn.logsumexp(x, -1), log_pi=jax.nn.log_softmax(x), pi=jax.nn.softmax(x))
def m12(i):
    x = i.log_pi1 + sum(w * (log_pi - i.log_pi1) for w, log_pi in zip(i.weights, i.log_pi) if w)
    return dict(log_mix=jax.nn.log_softmax(x), log_z=jax.nn.logsumexp(x, -1), log_weight=jax.nn.logsumexp(x, -1).sum())
def side_of_pairs(i, s):
    ids, T, terminal, z, base = (getattr(i, f"{s}_{n}") for n in ("ids", "length", "terminal", "logits", "base"))
    T, P, L, t = T[:, None], i.prompt_length[:, None], ids.shape[1], jnp.arange(ids.shape[1])
    q = z - base if i.parametrisation == "residual" else z
    x = scores(i, q, jax.nn.log_softmax(base))
    v = i.alpha_tilde * jax.nn.logsumexp(x, -1)
    action = jnp.where(t + 1 < T, jnp.roll(ids, -1, 1), i.pad_id)[..., None].astype(int)
    if i.objective == "theory":  # the next state's value, 0 after the end
        counted, value = (t >= P - 1) & (t < T - 1), jnp.roll(v, -1, 1) * ~((t == T - 2) & (terminal[:, None] == 1))
        weight = i.gamma ** (t - P + 1) / (counted.sum(-1, keepdims=True) if i.length_normalisation else 1)
    else:  # the same state's, from the first response token's on
        counted, value, weight = (t >= P) & (t < T) & (t < L - 1), v, 1 / (L - 1)
    reward = (jnp.take_along_axis(q, action, -1)[..., 0] - i.gamma * value) * counted  # (M8)
    return {"return": (weight * reward).sum(-1), "v": v * ((t >= P - 1) & (t < T)), "reward": reward,  # (M9)
            "log_pi": jnp.take_along_axis(jax.nn.log_softmax(x), action, -1)[..., 0] * counted}, counted.sum()
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
    labels, change = labels[:, 1:, None].astype(int), jax.nn.log_softmax(logits) - jax.nn.log_softmax(reference)
    return (jnp.take_along_axis(change[:, :-1], labels.clip(0), -1) * (labels != -100)).sum((1, 2))
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
    weight = jnp.where(i.desirable, i.desirable_weight, i.undesirable_weight)
    u = i.beta * (2 * i.desirable - 1) * (i.policy - i.reference - (point := i.mismatched_log_ratio.mean().clip(0)))
    return dict(loss=(weight * jax.nn.sigmoid(-u)).mean(), reference_point=point)
def ppo_advantages(i):
    d, n = i.log_old - i.log_ref, len(i.value)
    reward = -i.coefficient * {"k1": d, "abs": abs(d), "mse": d * d / 2}[i.estimator]
    reward = jnp.asarray(reward).at[-1].add(i.score)
    delta = reward + i.gamma * jnp.append(i.value[1:], 0) - i.value
    a = jnp.stack([sum((i.gamma * i.lambda_) ** (k - t) * delta[k] for k in range(t, n)) for t in range(n)])
    return dict(reward=reward, advantage=a, ret=a + i.value, whitened=(a - a.mean()) / jnp.sqrt(a.var(ddof=1) + 1e-8))
def sft(i):
    labels = i.labels[:, 1:, None].astype(int)
    picked = jnp.take_along_axis(jax.nn.log_softmax(i.logits)[:, :-1], labels.clip(0), -1)
    return dict(loss=-picked.mean(where=labels != -100))
def reward_model(i):
    return dict(loss=(i.centering * (i.chosen + i.rejected) ** 2 - log_sigmoid(i.chosen - i.rejected)).mean())
def clipped(rho, advantage, clip):
    return jnp.maximum(-rho * advantage, -rho.clip(1 - clip, 1 + clip) * advantage).mean()
def ppo_loss(i):
    held = i.value + (i.value_now - i.value).clip(-i.value_clip, i.value_clip) if i.value_clip else i.value_now
    value = jnp.maximum((i.value_now - i.ret) ** 2, (held - i.ret) ** 2).mean() / 2
    loss = clipped(jnp.exp(i.log_pi - i.log_old), i.advantage, i.clip)
    return dict(loss=loss + i.value_weight * value, policy_loss=loss, value_loss=value)
def rloo(i):
    ret, rho = i.score - i.coefficient * (i.log_old - i.log_ref).sum(-1), jnp.exp((i.log_pi - i.log_old).sum(-1))
    a = ret - (ret.sum() - ret) / (len(ret) - 1)
    return dict(loss=clipped(rho, a, i.clip), ret=ret, advantage=a, ratio=rho)
def rate(i, step):
    left = max(i.total - step, 0) / (i.total - i.warmup)
    shape = dict(constant=1, linear=left, cosine=math.sin(math.pi * left / 2) ** 2)[i.schedule]
    return i.learning_rate * (step / i.warmup if step < i.warmup else shape)
def adamw(i):
    p, m, v, rates, after = i.parameters, 0, 0, [rate(i, s) for s in range(len(i.gradient))], []
    norms = jnp.linalg.norm(i.gradient, axis=-1, keepdims=True)
    factors = jnp.minimum(1, (i.max_grad_norm or math.inf) / (norms + 1e-6))
    for step, (lr, g) in enumerate(zip(rates, i.gradient * factors), 1):
        m, v = i.beta1 * m + (1 - i.beta1) * g, i.beta2 * v + (1 - i.beta2) * g * g
        step_by = m / (1 - i.beta1 ** step) / (jnp.sqrt(v / (1 - i.beta2 ** step)) + i.epsilon)
        after.append(p := p * (1 - lr * i.weight_decay) - lr * step_by)
    return dict(parameters_after=jnp.stack(after), rates=rates, norms=norms[:, 0], m=m, v=v)
def lora(i):
    scale = i.lora_alpha / len(i.a) ** (0.5 if i.use_rslora else 1)
    return dict(y=i.x @ i.w.T + scale * (i.x * i.mask / (1 - i.rate)) @ i.a.T @ i.b.T)
def rope_frequency(i):
    d, old, theta, j = i.rotary, getattr(i, "original_max_position", 0), i.theta, jnp.arange(i.rotary // 2)
    if i.type == "dynamic":
        theta *= (getattr(i, "alpha", 0) or i.factor * max(i.sequence_length / old, 1) - i.factor + 1) ** (d / (d - 2))
    f = theta ** (-2 * j / d)
    if i.type == "longrope":
        return f / (i.long_factor if i.sequence_length > old else i.short_factor)
    slow = jnp.full_like(f, i.type == "linear")
    if i.type == "llama3":
        slow = 1 - ((old * f / math.tau - i.low_freq_factor) / (i.high_freq_factor - i.low_freq_factor)).clip(0, 1)
    if i.type == "yarn":
        low, high = (d * math.log(old / (b * math.tau)) / (2 * math.log(theta)) for b in (i.beta_fast, i.beta_slow))
        low, high = max(math.floor(low) if i.truncate else low, 0), min(math.ceil(high) if i.truncate else high, d - 1)
        slow = ((j - low) / (high - low)).clip(0, 1)
    return f / getattr(i, "factor", 1) * slow + f * (1 - slow)
def rope(i):
    f, (x, rest), factor = rope_frequency(i), jnp.split(i.x, [i.rotary], -1), getattr(i, "attention_factor", 1)
    cosine, sine = (factor * wave((i.positions[:, None] * f)[:, None]) for wave in (jnp.cos, jnp.sin))
    a, b = (x[..., 0::2], x[..., 1::2]) if i.interleaved else jnp.split(x, 2, -1)
    y = jnp.stack((a * cosine - b * sine, b * cosine + a * sine), -1 if i.interleaved else -2).reshape(x.shape)
    return dict(y=jnp.concatenate((y, rest), -1), frequency=f)
def attention(i):
    k, v = (jnp.repeat(x, i.q.shape[1] // x.shape[1], 1) for x in (i.k, i.v))
    score, key = i.scale * jnp.einsum("nhd,mhd->hnm", i.q, k), jnp.arange(len(k))
    score = i.soft_cap * jnp.tanh(score / i.soft_cap) if i.soft_cap else score
    distance = key[-len(i.q):, None] - key
    weights = jax.nn.softmax(score, where=(distance >= 0) & (distance < (i.window or len(k))))
    return dict(y=jnp.einsum("hnm,mhd->nhd", weights, v))
EQUATIONS = dict(
    globals(), m7=m5, dpo=dpo_logits, ipo=dpo_logits, sppo=dpo_logits,
    m8=lambda i: dict(reward=i.q - i.gamma * i.next @ i.v), m6=lambda i: dict(q=i.reward + i.gamma * i.next @ i.v),
    m9_label=lambda i: dict(log_label=log_label(i.z, i.label_noise)),
    ppo_coefficient=lambda i: dict(
        coefficient_next=i.coefficient * (1 + min(max(i.kl / i.target - 1, -0.2), 0.2) * i.responses / i.horizon)),
    schedule=lambda i: dict(rates=[rate(i, s) for s in range(i.total)]),
    rms_norm=lambda i: dict(y=(i.offset + i.w) * i.x / jnp.sqrt((i.x ** 2).mean(-1, keepdims=True) + i.epsilon)),
    log_softmax=lambda i: dict(y=jax.nn.log_softmax(i.x), log_sum_exp=jax.nn.logsumexp(i.x, -1)))
def run(vector):  # the outputs that the vector names; grad_X is d(first output . dy)/dX
    given = json.loads(json.dumps(vector["inputs"]).replace('"-inf"', "-Infinity").replace('"lambda"', '"lambda_"'))
    inputs = {k: np.array(v, float) if isinstance(v, list) else v for k, v in given.items()}
    wanted, e = {k: inputs[k] for k in inputs if "grad_" + k in vector["outputs"]}, vector["equation"]
    forward = lambda of: EQUATIONS[e](types.SimpleNamespace(equation=e, **{**inputs, **of}))
    def whole(of):  # compiled at once: operation by operation takes several times as long
        y, pull, out = jax.vjp(lambda of: (lambda out: (next(iter(out.values())), out))(forward(of)), of, has_aux=True)
        slopes = pull(inputs.get("dy", jnp.ones_like(y)))[0] if of else {}
        return {**out, **{"grad_" + k: g for k, g in slopes.items()}}
    return {k: jnp.asarray(v).tolist() for k, v in jax.jit(whole)(wanted).items() if k in vector["outputs"]}
if __name__ == "__main__":
    folder, to = sys.argv[1:3]
    jax.config.update("jax_enable_x64", True)
    head = {"format": "qadapter-conformance-candidate", "version": 1, "made_by": "JAX " + jax.__version__}
    os.makedirs(to, exist_ok=True)
    for name in json.load(open(f"{folder}/manifest.json"))["files"]:
        outputs = {v["id"]: run(v) for v in json.load(open(f"{folder}/{name}"))["vectors"]}
        json.dump({**head, "outputs": outputs}, open(f"{to}/{name}", "w"))
