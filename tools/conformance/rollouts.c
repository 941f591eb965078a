/* PPO (P1 to P7) and RLOO (R1 to R3). */
#include "conformance/task.h"

static R penalty(const task *t, size_t i) {
    R difference = r_sub(in(t, "log_old")[i], in(t, "log_ref")[i]);
    if (in_is(t, "estimator", "mse")) {
        return r_div(r_mul(difference, difference), num(wrong(t, "mse-without-half") ? 1 : 2));
    }
    return in_is(t, "estimator", "abs") && !wrong(t, "estimator-ignored") ? r_abs(difference) : difference;
}

static void whiten(const task *t, R *y, const R *x, size_t n) {
    R mean = r_div(r_sum(x, n), num((double)n)), squares = num(0);
    for (size_t i = 0; i < n; i++) {
        R off = r_sub(x[i], mean);
        squares = r_add(squares, r_mul(off, off));
    }
    R variance = r_div(squares, num((double)n - (wrong(t, "population-variance") ? 0 : 1)));
    for (size_t i = 0; i < n; i++) {
        y[i] = r_div(r_sub(x[i], mean), r_sqrt(r_add(variance, given(1e-8))));
    }
}

static void ppo_advantages(task *t) {
    const size_t n = dim(t, "value", 0);
    R *reward = room(n), *advantage = room(n), *ret = room(n), *whitened = room(n);
    R gamma = in1(t, "gamma"), lambda = wrong(t, "gae-lambda-missing") ? num(1) : in1(t, "lambda");
    for (size_t i = n; i-- > 0;) {
        const bool last = i + 1 == n;
        R next_value = !last ? in(t, "value")[i + 1] : wrong(t, "end-not-terminal") ? in(t, "value")[i] : num(0);
        R score = last || wrong(t, "score-at-every-token") ? in1(t, "score") : num(0);
        R cost = r_mul(in1(t, "coefficient"), penalty(t, i));
        reward[i] = wrong(t, "penalty-sign") ? r_add(score, cost) : r_sub(score, cost);
        R delta = r_sub(r_add(reward[i], r_mul(gamma, next_value)), in(t, "value")[i]);
        advantage[i] = last ? delta : r_add(delta, r_mul(r_mul(gamma, lambda), advantage[i + 1]));
        ret[i] = r_add(advantage[i], in(t, "value")[i]);
    }
    whiten(t, whitened, (const R *)advantage, n);
    out_like(t, "reward", "value", reward);
    out_like(t, "advantage", "value", advantage);
    out_like(t, "ret", "value", ret);
    out_like(t, "whitened", "value", whitened);
}

/* (P5) max(-rho A, -clip(rho) A); *slope: by log pi. */
static R clipped_loss(const task *t, R rho, R advantage, R *slope) {
    R e = in1(t, "clip"), free = r_neg(r_mul(rho, advantage));
    R held = r_neg(r_mul(r_clip(rho, r_sub(num(1), e), r_add(num(1), e)), advantage));
    const bool frees = (r_cmp(free, held) >= 0) != wrong(t, "ppo-other-side") || wrong(t, "clip-missing");
    const bool within = r_cmp(free, held) == 0; /* the two are the same */
    *slope = frees || within || wrong(t, "clipped-gradient") ? free : num(0);
    return frees ? free : held;
}

static void ppo_loss(task *t) {
    const size_t n = dim(t, "log_pi", 0);
    R *of_pi = room(n), *of_value = room(n), policy = num(0), value = num(0);
    R clip = in1(t, "value_clip"), tokens = num((double)n), half = num(wrong(t, "value-without-half") ? 1 : 0.5);
    for (size_t i = 0; i < n; i++) {
        R slope = NULL, now = in(t, "value_now")[i], old = in(t, "value")[i], ret = in(t, "ret")[i];
        R rho = r_exp(r_sub(in(t, "log_pi")[i], in(t, "log_old")[i]));
        policy = r_add(policy, r_div(clipped_loss(t, rho, in(t, "advantage")[i], &slope), tokens));
        of_pi[i] = r_div(slope, tokens);
        R free = r_sub(now, ret), held = r_sub(r_clip(now, r_sub(old, clip), r_add(old, clip)), ret);
        const bool frees =
            r_cmp(r_abs(free), r_abs(held)) >= 0 || r_double(clip) == 0.0 || wrong(t, "value-clip-missing");
        R off = frees ? free : held;
        value = r_add(value, r_div(r_mul(half, r_mul(off, off)), tokens));
        of_value[i] = frees ? r_div(r_mul(in1(t, "value_weight"), r_mul(r_mul(num(2), half), free)), tokens) : num(0);
    }
    out1(t, "loss", r_add(policy, r_mul(in1(t, "value_weight"), value)));
    out1(t, "policy_loss", policy);
    out1(t, "value_loss", value);
    out_like(t, "grad_log_pi", "log_pi", of_pi);
    out_like(t, "grad_value_now", "value_now", of_value);
}

static void ppo_coefficient(task *t) {
    R error = r_sub(r_div(in1(t, "kl"), in1(t, "target")), num(1)), most = given(0.2);
    error = wrong(t, "clip-missing") ? error : r_clip(error, r_neg(most), most);
    R factor = r_add(num(1), r_div(r_mul(error, in1(t, "responses")), in1(t, "horizon")));
    out1(t, "coefficient_next", r_mul(in1(t, "coefficient"), factor));
}

static void rloo(task *t) {
    const size_t k = dim(t, "log_pi", 0), n = dim(t, "log_pi", 1);
    R *ret = room(k), *advantage = room(k), *ratio = room(k), *gradient = room(k * n), loss = num(0);
    R samples = num((double)k);
    for (size_t i = 0; i < k; i++) {
        R cost = num(0), change = num(0);
        for (size_t j = i * n; j < (i + 1) * n; j++) {
            cost = r_add(cost, r_sub(in(t, "log_old")[j], in(t, "log_ref")[j]));
            change = r_add(change, r_sub(in(t, "log_pi")[j], in(t, "log_old")[j]));
        }
        change = wrong(t, "ratio-of-means") ? r_div(change, num((double)n)) : change;
        cost = r_mul(in1(t, "coefficient"), cost);
        ret[i] = wrong(t, "penalty-sign") ? r_add(in(t, "score")[i], cost) : r_sub(in(t, "score")[i], cost);
        ratio[i] = r_exp(change);
    }
    R sum = r_sum((const R *)ret, k);
    for (size_t i = 0; i < k; i++) {
        R slope = NULL, others = r_div(r_sub(sum, ret[i]), num((double)k - 1));
        advantage[i] = r_sub(ret[i], wrong(t, "own-baseline") ? r_div(sum, samples) : others);
        loss = r_add(loss, r_div(clipped_loss(t, ratio[i], advantage[i], &slope), samples));
        for (size_t j = i * n; j < (i + 1) * n; j++) {
            gradient[j] = r_div(slope, wrong(t, "ratio-of-means") ? num((double)(k * n)) : samples);
        }
    }
    out1(t, "loss", loss);
    OUT(t, "ret", ret, k);
    OUT(t, "advantage", advantage, k);
    OUT(t, "ratio", ratio, k);
    out_like(t, "grad_log_pi", "log_pi", gradient);
}

const equation equations_of_rollouts[] = {
    {"ppo_advantages", ppo_advantages,
     "score-at-every-token gae-lambda-missing end-not-terminal population-variance penalty-sign estimator-ignored "
     "mse-without-half"},
    {"ppo_loss", ppo_loss, "ppo-other-side clip-missing clipped-gradient value-without-half value-clip-missing"},
    {"ppo_coefficient", ppo_coefficient, "clip-missing"},
    {"rloo", rloo, "own-baseline penalty-sign ratio-of-means ppo-other-side clip-missing"},
    {NULL, NULL, NULL},
};
