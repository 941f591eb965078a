/* What a layer computes: LoRA, RMSNorm, RoPE, attention, log-softmax; forward and backward. */
#include "conformance/task.h"

#include <math.h>

static void log_softmax_row(task *t) {
    const size_t n = dim(t, "x", 0);
    R *x = in(t, "x"), *dy = in(t, "dy"), lse = r_log_sum_exp((const R *)x, n), sum = r_sum((const R *)dy, n);
    R *y = log_softmax((const R *)x, n), *gradient = room(n), most = x[0];
    for (size_t i = 0; i < n; i++) {
        gradient[i] = r_sub(dy[i], r_mul(r_exp(y[i]), sum));
        most = r_max(most, x[i]);
    }
    const bool possible = !isinf(r_double(lse));
    if (possible && wrong(t, "maximum-not-subtracted") && fabs(r_double(most)) > 745.0) {
        lse = num(r_double(most) > 0 ? (double)INFINITY : -(double)INFINITY);
        for (size_t i = 0; i < n; i++) {
            y[i] = r_neg(lse);
        }
    }
    if (possible) {
        out_like(t, "y", "x", y);
    }
    out1(t, "log_sum_exp", lse);
    if (possible) {
        out_like(t, "grad_x", "x", gradient);
    }
}

/* y[n x out] = x[n x in] w[out x in]^T */
static R *product(const R *x, const R *w, size_t n, size_t ins, size_t outs) {
    R *y = room(n * outs);
    for (size_t i = 0; i < n * outs; i++) {
        y[i] = r_dot(x + i / outs * ins, w + i % outs * ins, ins);
    }
    return y;
}

/* x[rows x columns]^T */
static R *transposed(const R *x, size_t rows, size_t columns) {
    R *y = room(rows * columns);
    for (size_t i = 0; i < rows * columns; i++) {
        y[i % columns * rows + i / columns] = x[i];
    }
    return y;
}

static R lora_scale(const task *t, size_t r) {
    R rank = num((double)r), alpha = in1(t, "lora_alpha");
    if (wrong(t, "lora-off")) {
        return num(0);
    }
    const bool root = in_flag(t, "use_rslora") != wrong(t, "lora-rslora");
    return wrong(t, "lora-scale") ? alpha : r_div(alpha, root ? r_sqrt(rank) : rank);
}

static void lora(task *t) {
    const size_t n = dim(t, "x", 0), ins = dim(t, "x", 1), outs = dim(t, "w", 0), r = dim(t, "a", 0);
    const R *x = (const R *)in(t, "x"), *w = (const R *)in(t, "w"), *a = (const R *)in(t, "a"),
            *b = (const R *)in(t, "b"), *dy = (const R *)in(t, "dy");
    R scale = lora_scale(t, r), *kept = room(n * ins), *sdy = room(n * outs), *factor = room(n * ins);
    R left = wrong(t, "dropout-unscaled") ? num(1) : r_sub(num(1), in1(t, "rate"));
    for (size_t i = 0; i < n * ins; i++) {
        factor[i] = r_div(in(t, "mask")[i], left);
        kept[i] = r_mul(x[i], factor[i]);
    }
    R *hidden = product((const R *)kept, a, n, ins, r), *branch = product((const R *)hidden, b, n, r, outs);
    R *y = product(wrong(t, "dropout-on-base") ? (const R *)kept : x, w, n, ins, outs);
    for (size_t i = 0; i < n * outs; i++) {
        y[i] = r_add(y[i], r_mul(scale, branch[i]));
        sdy[i] = r_mul(scale, dy[i]);
    }
    R *dhidden = product((const R *)sdy, (const R *)transposed(b, outs, r), n, outs, r);
    R *dkept = product((const R *)dhidden, (const R *)transposed(a, r, ins), n, r, ins);
    R *dx = product(dy, (const R *)transposed(w, outs, ins), n, outs, ins);
    for (size_t i = 0; i < n * ins; i++) {
        dx[i] = wrong(t, "dropout-on-base") ? r_mul(dx[i], factor[i]) : dx[i];
        dx[i] = r_add(dx[i], r_mul(dkept[i], factor[i]));
    }
    const R *dhidden_t = (const R *)transposed((const R *)dhidden, n, r),
            *kept_t = (const R *)transposed((const R *)kept, n, ins);
    const R *sdy_t = (const R *)transposed((const R *)sdy, n, outs),
            *hidden_t = (const R *)transposed((const R *)hidden, n, r);
    out_like(t, "y", "dy", y);
    out_like(t, "grad_x", "x", dx);
    out_like(t, "grad_a", "a", product(dhidden_t, kept_t, r, n, ins));
    out_like(t, "grad_b", "b", product(sdy_t, hidden_t, outs, n, r));
}

static void rms_norm(task *t) {
    const size_t n = dim(t, "x", 0), d = dim(t, "x", 1);
    R *y = room(n * d), *dx = room(n * d), *dw = room(d), width = num((double)d), *w = room(d);
    for (size_t i = 0; i < d; i++) {
        w[i] = wrong(t, "norm-offset") ? in(t, "w")[i] : r_add(in1(t, "offset"), in(t, "w")[i]);
    }
    for (size_t row = 0; row < n; row++) {
        const R *x = (const R *)in(t, "x") + row * d, *dy = (const R *)in(t, "dy") + row * d;
        const bool outside = wrong(t, "epsilon-outside"), sum = wrong(t, "sum-of-squares");
        R *g = room(d), squares = r_dot(x, x, d), divisor = sum ? num(1) : width, epsilon = in1(t, "epsilon");
        squares = r_div(squares, divisor);
        R inner = outside ? r_max(squares, given(1e-300)) : r_add(squares, epsilon), s = r_sqrt(inner);
        R c = r_div(num(1), outside ? r_add(s, epsilon) : s);
        for (size_t i = 0; i < d; i++) {
            g[i] = r_mul(dy[i], w[i]);
            y[row * d + i] = r_mul(w[i], r_mul(x[i], c));
            dw[i] = r_add(dw[i], r_mul(dy[i], r_mul(x[i], c)));
        }
        R factor = r_div(r_mul(r_mul(c, c), r_dot((const R *)g, x, d)), r_mul(divisor, s)); /* c g'x d root/dx */
        for (size_t i = 0; i < d; i++) {
            R through = wrong(t, "norm-constant") ? num(0) : r_mul(factor, x[i]);
            dx[row * d + i] = r_sub(r_mul(c, g[i]), through);
        }
    }
    out_like(t, "y", "x", y);
    out_like(t, "grad_x", "x", dx);
    out_like(t, "grad_w", "w", dw);
}

/* ---- RoPE ---- */

static R theta_of(const task *t, R dimensions) {
    R power = r_div(dimensions, r_sub(dimensions, num(2))), theta = in1(t, "theta");
    if (!in_is(t, "type", "dynamic") || wrong(t, "rope-type-missing")) {
        return theta;
    }
    if (in_array(t, "alpha") != NULL) {
        return r_mul(theta, r_pow(in1(t, "alpha"), power));
    }
    R original = in1(t, "original_max_position"), length = r_max(in1(t, "sequence_length"), original);
    R stretch = r_sub(r_div(r_mul(in1(t, "factor"), length), original), r_sub(in1(t, "factor"), num(1)));
    return r_mul(theta, r_pow(stretch, power));
}

static R llama3_frequency(const task *t, R f) {
    R turns = r_div(r_mul(in1(t, "original_max_position"), f), r_mul(num(2), r_pi()));
    R low = in1(t, "low_freq_factor"), high = in1(t, "high_freq_factor"), slow = r_div(f, in1(t, "factor"));
    if (r_cmp(turns, high) > 0 || r_cmp(turns, low) < 0) {
        return r_cmp(turns, high) > 0 ? f : slow;
    }
    R smooth = r_div(r_sub(turns, low), r_sub(high, low));
    return r_add(r_mul(r_sub(num(1), smooth), slow), r_mul(smooth, f));
}

/* The dimension that turns so many times over the original context, as it is or as a whole number. */
static R yarn_dimension(const task *t, R turns, R dimensions, double (*whole)(double)) {
    R ratio = r_div(in1(t, "original_max_position"), r_mul(turns, r_mul(num(2), r_pi())));
    R x = r_div(r_mul(dimensions, r_log(ratio)), r_mul(num(2), r_log(in1(t, "theta"))));
    return in_flag(t, "truncate") ? num(whole(r_double(x))) : x;
}

static R yarn_frequency(const task *t, R f, size_t i, R dimensions) {
    R low = r_max(yarn_dimension(t, in1(t, "beta_fast"), dimensions, floor), num(0));
    R high = yarn_dimension(t, in1(t, "beta_slow"), dimensions, ceil), most = r_sub(dimensions, num(1));
    high = r_cmp(high, most) > 0 ? most : high;
    R ramp = r_clip(r_div(r_sub(num((double)i), low), r_sub(high, low)), num(0), num(1));
    return r_add(r_mul(r_div(f, in1(t, "factor")), ramp), r_mul(f, r_sub(num(1), ramp)));
}

static R frequency_of(const task *t, size_t i, size_t rotary) {
    R dimensions = num((double)rotary), theta = theta_of(t, dimensions);
    R f = r_div(num(1), r_pow(theta, r_div(num(2.0 * (double)i), dimensions)));
    if (wrong(t, "rope-type-missing") || in_is(t, "type", "default") || in_is(t, "type", "dynamic")) {
        return f;
    }
    if (in_is(t, "type", "longrope")) {
        const bool is_long = r_cmp(in1(t, "sequence_length"), in1(t, "original_max_position")) > 0;
        return r_div(f, in(t, is_long != wrong(t, "longrope-other-factors") ? "long_factor" : "short_factor")[i]);
    }
    return in_is(t, "type", "linear")   ? r_div(f, in1(t, "factor"))
           : in_is(t, "type", "llama3") ? llama3_frequency(t, f)
                                        : yarn_frequency(t, f, i, dimensions);
}

/* y = x turned by the angle, or back. */
static void turn(const task *t, R *y, const R *x, const R *cosine, const R *sine, size_t rotary, bool back) {
    const bool interleaved = in_flag(t, "interleaved") != wrong(t, "rope-interleaved");
    for (size_t i = 0; i < rotary / 2; i++) {
        const size_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + rotary / 2;
        R s = back != wrong(t, "rope-backwards") ? r_neg(sine[i]) : sine[i];
        y[a] = r_sub(r_mul(x[a], cosine[i]), r_mul(x[b], s));
        y[b] = r_add(r_mul(x[b], cosine[i]), r_mul(x[a], s));
    }
}

static void rope(task *t) {
    const size_t n = dim(t, "x", 0), heads = dim(t, "x", 1), h = dim(t, "x", 2), rotary = in_size(t, "rotary");
    const size_t turned = wrong(t, "rope-whole-head") ? h : rotary;
    R *frequency = room(h / 2), *y = room(n * heads * h), *dx = room(n * heads * h);
    R factor = in_array(t, "attention_factor") == NULL || wrong(t, "attention-factor-missing")
                   ? num(1)
                   : in1(t, "attention_factor");
    for (size_t i = 0; i < turned / 2; i++) {
        frequency[i] = frequency_of(t, i, turned);
    }
    for (size_t row = 0; row < n; row++) {
        R cosine[64], sine[64];
        for (size_t i = 0; i < turned / 2; i++) {
            R angle = r_mul(in(t, "positions")[row], frequency[i]);
            cosine[i] = r_mul(factor, r_cos(angle));
            sine[i] = r_mul(factor, r_sin(angle));
        }
        for (size_t head = row * heads; head < (row + 1) * heads; head++) {
            for (size_t i = head * h; i < (head + 1) * h; i++) {
                y[i] = in(t, "x")[i];
                dx[i] = in(t, "dy")[i];
            }
            turn(t, y + head * h, (const R *)in(t, "x") + head * h, cosine, sine, turned, false);
            turn(t, dx + head * h, (const R *)in(t, "dy") + head * h, cosine, sine, turned, true);
        }
    }
    out_like(t, "y", "x", y);
    OUT(t, "frequency", frequency, rotary / 2);
    out_like(t, "grad_x", "x", dx);
}

/* ---- attention ---- */

static bool sees(const task *t, size_t query, size_t key) {
    size_t window = in_size(t, "window");
    window += window == 0 ? 0 : wrong(t, "window-one-more") ? 1 : wrong(t, "window-one-less") ? (size_t)-1 : 0;
    return (key <= query || wrong(t, "not-causal")) &&
           (window == 0 || wrong(t, "window-missing") || key + window > query);
}

static void attention(task *t) {
    const size_t n = dim(t, "q", 0), H = dim(t, "q", 1), h = dim(t, "q", 2), m = dim(t, "k", 0), G = dim(t, "k", 1);
    const R *q = (const R *)in(t, "q"), *k = (const R *)in(t, "k"), *v = (const R *)in(t, "v"),
            *dy = (const R *)in(t, "dy");
    R *y = room(n * H * h), *dq = room(n * H * h), *dk = room(m * G * h), *dv = room(m * G * h);
    R scale = wrong(t, "scale-missing") ? num(1) : in1(t, "scale"), cap = in1(t, "soft_cap");
    const bool capped = r_double(cap) != 0.0 && !wrong(t, "soft-cap-missing");
    for (size_t i = 0; i < n * H; i++) {
        const size_t group = wrong(t, "heads-interleaved") ? i % H % G : i % H / (H / G), query = i / H + m - n;
        R score[64], slope[64], p[64];
        size_t keys[64], seen = 0;
        for (size_t j = 0; j < m; j++) {
            if (sees(t, query, j)) {
                R s = r_mul(scale, r_dot(q + i * h, k + (j * G + group) * h, h));
                R bent = capped ? r_tanh(r_div(s, cap)) : NULL;
                score[seen] = capped ? r_mul(cap, bent) : s;
                slope[seen] = capped && !wrong(t, "soft-cap-gradient") ? r_sub(num(1), r_mul(bent, bent)) : num(1);
                keys[seen++] = (j * G + group) * h;
            }
        }
        R *log_p = log_softmax(score, seen), *dp = room(seen), mean = num(0);
        for (size_t j = 0; j < seen; j++) {
            p[j] = r_exp(log_p[j]);
            dp[j] = r_dot(dy + i * h, v + keys[j], h);
            mean = r_add(mean, r_mul(p[j], dp[j]));
        }
        for (size_t j = 0; j < seen; j++) {
            R ds = r_mul(r_mul(scale, slope[j]), r_mul(p[j], r_sub(dp[j], mean)));
            for (size_t c = 0; c < h; c++) {
                y[i * h + c] = r_add(y[i * h + c], r_mul(p[j], v[keys[j] + c]));
                dq[i * h + c] = r_add(dq[i * h + c], r_mul(ds, k[keys[j] + c]));
                dk[keys[j] + c] = r_add(dk[keys[j] + c], r_mul(ds, q[i * h + c]));
                dv[keys[j] + c] = r_add(dv[keys[j] + c], r_mul(p[j], dy[i * h + c]));
            }
        }
    }
    out_like(t, "y", "q", y);
    out_like(t, "grad_q", "q", dq);
    out_like(t, "grad_k", "k", dk);
    out_like(t, "grad_v", "v", dv);
}

const equation equations_of_layers[] = {
    {"log_softmax", log_softmax_row, "maximum-not-subtracted"},
    {"lora", lora, "lora-scale lora-rslora lora-off dropout-unscaled dropout-on-base"},
    {"rms_norm", rms_norm, "norm-offset epsilon-outside sum-of-squares norm-constant"},
    {"rope", rope,
     "rope-interleaved rope-type-missing rope-backwards rope-whole-head attention-factor-missing "
     "longrope-other-factors"},
    {"attention", attention,
     "window-one-more window-one-less window-missing soft-cap-missing soft-cap-gradient scale-missing "
     "heads-interleaved not-causal"},
    {NULL, NULL, NULL},
};
