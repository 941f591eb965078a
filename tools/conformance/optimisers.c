/* AdamW with decay, clipping and a schedule. */
#include "conformance/task.h"

/* The rate of update number step, from 0. */
static R rate_of(const task *t, size_t step) {
    const size_t warmup = in_size(t, "warmup"), total = in_size(t, "total");
    step += wrong(t, "schedule-late") ? 1 : 0;
    if (step < warmup) {
        return r_div(r_mul(in1(t, "learning_rate"), num((double)step)), num((double)warmup));
    }
    if (in_is(t, "schedule", "constant")) {
        return in1(t, "learning_rate");
    }
    if (step >= total) {
        return num(0);
    }
    const size_t from = wrong(t, "warmup-not-subtracted") ? 0 : warmup;
    R past = r_div(num((double)(step - from)), num((double)(total - from)));
    R left = r_div(num((double)(total - step)), num((double)(total - from)));
    R cosine = r_div(r_add(num(1), r_cos(r_mul(r_pi(), past))), num(2));
    return r_mul(in1(t, "learning_rate"), in_is(t, "schedule", "cosine") ? cosine : left);
}

static void schedule(task *t) {
    const size_t total = in_size(t, "total");
    R *rates = room(total);
    for (size_t s = 0; s < total; s++) {
        rates[s] = rate_of(t, s);
    }
    OUT(t, "rates", rates, total);
}

/* min(1, most / (norm + 1e-6)), as PyTorch's clip_grad_norm_. */
static R clip_factor(const task *t, R norm) {
    R most = in1(t, "max_grad_norm");
    if (r_double(most) == 0.0 || wrong(t, "clipping")) {
        return num(1);
    }
    R factor = r_div(most, r_add(norm, given(1e-6)));
    return r_cmp(factor, num(1)) < 0 ? factor : num(1);
}

static void update(const task *t, R *p, R *m, R *v, R g, R rate, size_t step) {
    R beta1 = in1(t, "beta1"), beta2 = in1(t, "beta2"), one = num(1), epsilon = in1(t, "epsilon");
    R decay = wrong(t, "weight-decay-missing") ? num(0) : in1(t, "weight_decay"), count = num((double)(step + 1));
    if (wrong(t, "weight-decay-coupled")) {
        g = r_add(g, r_mul(decay, *p));
        decay = num(0);
    }
    *p = r_mul(*p, r_sub(one, r_mul(rate, decay)));
    *m = r_add(r_mul(beta1, *m), r_mul(r_sub(one, beta1), g));
    *v = r_add(r_mul(beta2, *v), r_mul(r_sub(one, beta2), r_mul(g, g)));
    const bool bare = wrong(t, "bias-correction");
    R first = bare ? *m : r_div(*m, r_sub(one, r_pow(beta1, count)));
    R second = bare ? *v : r_div(*v, r_sub(one, r_pow(beta2, count)));
    R root = wrong(t, "epsilon-inside") ? r_sqrt(r_add(second, epsilon)) : r_add(r_sqrt(second), epsilon);
    *p = r_sub(*p, r_mul(rate, r_div(first, root)));
}

static void adamw(task *t) {
    const size_t steps = dim(t, "gradient", 0), n = dim(t, "gradient", 1);
    R *p = room(n), *m = room(n), *v = room(n), *rates = room(steps), *norms = room(steps), *after = room(steps * n);
    for (size_t i = 0; i < n; i++) {
        p[i] = in(t, "parameters")[i];
    }
    for (size_t s = 0; s < steps; s++) {
        const R *g = (const R *)in(t, "gradient") + s * n;
        rates[s] = rate_of(t, s);
        norms[s] = r_sqrt(r_dot(g, g, n));
        R factor = clip_factor(t, norms[s]);
        for (size_t i = 0; i < n; i++) {
            update(t, &p[i], &m[i], &v[i], r_mul(factor, g[i]), rates[s], s);
            after[s * n + i] = p[i];
        }
    }
    OUT(t, "parameters_after", after, steps, n);
    OUT(t, "rates", rates, steps);
    OUT(t, "norms", norms, steps);
    OUT(t, "m", m, n);
    OUT(t, "v", v, n);
}

const equation equations_of_optimisers[] = {
    {"adamw", adamw,
     "weight-decay-missing weight-decay-coupled bias-correction epsilon-inside clipping "
     "schedule-late"},
    {"schedule", schedule, "schedule-late warmup-not-subtracted"},
    {NULL, NULL, NULL},
};
