/* Losses of policies: from logits (sft, dpo_logits), and from summed log-probabilities. */
#include "conformance/task.h"

/* The sum over a row's labelled tokens of log softmax(logits) at the position before; *tokens: how many. */
static R row_log_probability(const task *t, const R *logits, const char *labels, size_t row, size_t L, size_t V,
                             size_t *tokens) {
    R sum = num(0);
    const size_t shift = wrong(t, "labels-not-shifted") ? 0 : 1;
    *tokens = 0;
    for (size_t p = shift; p < L; p++) {
        const double label = r_double(in(t, labels)[row * L + p]);
        if (label >= 0) {
            sum = r_add(sum, log_softmax(logits + (row * L + p - shift) * V, V)[(size_t)label]);
            ++*tokens;
        }
    }
    return sum;
}

/* Its gradient, times factor. */
static void add_log_probability_gradient(const task *t, R *gradient, const R *logits, const char *labels, size_t row,
                                         size_t L, size_t V, R factor) {
    const size_t shift = wrong(t, "labels-not-shifted") ? 0 : 1;
    for (size_t p = shift; p < L; p++) {
        const double label = r_double(in(t, labels)[row * L + p]);
        const size_t at = (row * L + p - shift) * V;
        for (size_t a = 0; label >= 0 && a < V; a++) {
            R p_a = r_exp(log_softmax(logits + at, V)[a]);
            gradient[at + a] =
                r_add(gradient[at + a], r_mul(factor, (double)a == label ? r_sub(num(1), p_a) : r_neg(p_a)));
        }
    }
}

static void sft(task *t) {
    const size_t N = dim(t, "logits", 0), L = dim(t, "logits", 1), V = dim(t, "logits", 2);
    const R *logits = (const R *)in(t, "logits");
    R *gradient = room(N * L * V), loss = num(0);
    size_t tokens[64], all = 0;
    for (size_t row = 0; row < N; row++) {
        (void)row_log_probability(t, logits, "labels", row, L, V, &tokens[row]);
        all += tokens[row];
    }
    for (size_t row = 0; row < N; row++) {
        R divisor = num((double)(wrong(t, "mean-of-means") ? tokens[row] * N : wrong(t, "sum-over-tokens") ? 1 : all));
        loss = r_sub(loss, r_div(row_log_probability(t, logits, "labels", row, L, V, &tokens[row]), divisor));
        add_log_probability_gradient(t, gradient, logits, "labels", row, L, V, r_div(num(-1), divisor));
    }
    out1(t, "loss", loss);
    out_like(t, "grad_logits", "logits", gradient);
}

/* -log P(label) of z = beta (h_w - h_l), over pairs; *slope: its derivative by h_w. */
static R dpo_term(const task *t, R h_w, R h_l, size_t pairs, R *z, R *slope) {
    R beta = wrong(t, "beta-missing") ? num(1) : in1(t, "beta"), of_z = NULL;
    R divisor = num(wrong(t, "sum-over-pairs") ? 1 : (double)pairs), sign = num(wrong(t, "classes-exchanged") ? -1 : 1);
    *z = r_mul(beta, r_sub(h_w, h_l));
    R loss = r_neg(r_div(log_label(t, r_mul(sign, *z), &of_z), divisor));
    *slope = r_neg(r_mul(sign, r_mul(beta, r_div(of_z, divisor))));
    return loss;
}

static void dpo_logits(task *t) {
    const size_t N = dim(t, "chosen_logits", 0), L = dim(t, "chosen_logits", 1), V = dim(t, "chosen_logits", 2);
    static const char *const logits[] = {"chosen_logits", "rejected_logits"};
    static const char *const reference[] = {"chosen_reference", "rejected_reference"};
    static const char *const labels[] = {"chosen_labels", "rejected_labels"};
    R *h[2] = {room(N), room(N)}, *gradient[2] = {room(N * L * V), room(N * L * V)}, loss = num(0);
    for (size_t row = 0; row < N; row++) {
        size_t tokens[2];
        R z = NULL, slope = NULL;
        for (size_t i = 0; i < 2; i++) {
            R of = row_log_probability(t, (const R *)in(t, logits[i]), labels[i], row, L, V, &tokens[i]);
            R ref = row_log_probability(t, (const R *)in(t, reference[i]), labels[i], row, L, V, &tokens[i]);
            h[i][row] = wrong(t, "reference-missing") ? of : r_sub(of, ref);
            h[i][row] = wrong(t, "log-ratio-mean") ? r_div(h[i][row], num((double)tokens[i])) : h[i][row];
        }
        loss = r_add(loss, dpo_term(t, h[0][row], h[1][row], N, &z, &slope));
        for (size_t i = 0; i < 2; i++) {
            R factor = wrong(t, "log-ratio-mean") ? r_div(slope, num((double)tokens[i])) : slope;
            add_log_probability_gradient(t, gradient[i], (const R *)in(t, logits[i]), labels[i], row, L, V,
                                         i == 0 ? factor : r_neg(factor));
        }
    }
    out1(t, "loss", loss);
    OUT(t, "chosen_log_ratio", h[0], N);
    OUT(t, "rejected_log_ratio", h[1], N);
    out_like(t, "grad_chosen_logits", "chosen_logits", gradient[0]);
    out_like(t, "grad_rejected_logits", "rejected_logits", gradient[1]);
}

/* h(y) = log pi(y) - log pi_ref(y) */
static R log_ratio(const task *t, const char *policy, const char *reference, size_t i) {
    return wrong(t, "reference-missing") ? in(t, policy)[i] : r_sub(in(t, policy)[i], in(t, reference)[i]);
}

static void put_pair_gradients(task *t, R loss, R *of_w, R *of_l) {
    out1(t, "loss", loss);
    out_like(t, "grad_policy_chosen", "policy_chosen", of_w);
    out_like(t, "grad_policy_rejected", "policy_rejected", of_l);
}

static void dpo(task *t) {
    const size_t N = dim(t, "policy_chosen", 0);
    R *of_w = room(N), *of_l = room(N), *z = room(N), loss = num(0);
    for (size_t i = 0; i < N; i++) {
        loss = r_add(loss, dpo_term(t, log_ratio(t, "policy_chosen", "reference_chosen", i),
                                    log_ratio(t, "policy_rejected", "reference_rejected", i), N, &z[i], &of_w[i]));
        of_l[i] = r_neg(of_w[i]);
    }
    put_pair_gradients(t, loss, of_w, of_l);
    OUT(t, "z", z, N);
}

static void ipo(task *t) {
    const size_t N = dim(t, "policy_chosen", 0);
    R *of_w = room(N), *of_l = room(N), loss = num(0), pairs = num(wrong(t, "sum-over-pairs") ? 1 : (double)N);
    const bool mean = in_is(t, "length", "mean") != wrong(t, "ipo-other-length");
    for (size_t i = 0; i < N; i++) {
        R n_w = mean ? in(t, "chosen_tokens")[i] : num(1), n_l = mean ? in(t, "rejected_tokens")[i] : num(1);
        R target = r_div(num(1), wrong(t, "ipo-target") ? in1(t, "tau") : r_mul(num(2), in1(t, "tau")));
        R off = r_sub(r_sub(r_div(log_ratio(t, "policy_chosen", "reference_chosen", i), n_w),
                            r_div(log_ratio(t, "policy_rejected", "reference_rejected", i), n_l)),
                      target);
        R scale = wrong(t, "ipo-scaled") ? r_div(r_mul(in1(t, "tau"), in1(t, "tau")), pairs) : r_div(num(1), pairs);
        loss = r_add(loss, r_mul(scale, r_mul(off, off)));
        R slope = r_mul(num(2), r_mul(scale, off));
        of_w[i] = r_div(slope, n_w);
        of_l[i] = r_neg(r_div(slope, n_l));
    }
    put_pair_gradients(t, loss, of_w, of_l);
}

static void sppo(task *t) {
    const size_t N = dim(t, "policy_chosen", 0);
    R *of_w = room(N), *of_l = room(N), loss = num(0), pairs = num(wrong(t, "sum-over-pairs") ? 1 : (double)N);
    R target = r_div(num(1), wrong(t, "sppo-target") ? in1(t, "beta") : r_mul(num(2), in1(t, "beta")));
    for (size_t i = 0; i < N; i++) {
        R off_w = r_sub(log_ratio(t, "policy_chosen", "reference_chosen", i), target);
        R off_l = r_add(log_ratio(t, "policy_rejected", "reference_rejected", i), target);
        loss = r_add(loss, r_div(r_add(r_mul(off_w, off_w), r_mul(off_l, off_l)), pairs));
        of_w[i] = r_div(r_mul(num(2), off_w), pairs);
        of_l[i] = r_div(r_mul(num(2), off_l), pairs);
    }
    put_pair_gradients(t, loss, of_w, of_l);
}

static void kto(task *t) {
    const size_t N = dim(t, "policy", 0), M = dim(t, "mismatched_log_ratio", 0);
    R *gradient = room(N), loss = num(0), beta = in1(t, "beta");
    R z0 = r_div(r_sum((const R *)in(t, "mismatched_log_ratio"), M), num((double)M));
    z0 = wrong(t, "kto-point-not-clamped") ? z0 : r_max(z0, num(0));
    z0 = wrong(t, "kto-point-missing") ? num(0) : z0;
    for (size_t i = 0; i < N; i++) {
        const bool desirable = in_at(t, "desirable", i) == 1;
        const char *weight = desirable != wrong(t, "kto-weights-exchanged") ? "desirable_weight" : "undesirable_weight";
        R point = wrong(t, "kto-point-unscaled") ? z0 : r_mul(beta, z0);
        R above = r_sub(r_mul(beta, log_ratio(t, "policy", "reference", i)), point);
        R u = desirable || wrong(t, "kto-one-sign") ? above : r_neg(above);
        R share = r_div(in1(t, weight), num((double)N)), slope = r_mul(beta, r_mul(r_sigmoid(u), r_sigmoid(r_neg(u))));
        loss = r_add(loss, r_mul(share, r_sigmoid(r_neg(u))));
        gradient[i] = r_mul(share, desirable || wrong(t, "kto-one-sign") ? r_neg(slope) : slope);
    }
    out1(t, "loss", loss);
    out1(t, "reference_point", z0);
    out_like(t, "grad_policy", "policy", gradient);
}

static void reward_model(task *t) {
    const size_t N = dim(t, "chosen", 0), K = dim(t, "chosen", 1);
    R *of_w = room(N * K), *of_l = room(N * K), loss = num(0);
    R divisor = num((double)(wrong(t, "sum-over-outputs") ? N : N * K));
    for (size_t i = 0; i < N * K; i++) {
        R z = r_sub(in(t, "chosen")[i], in(t, "rejected")[i]), sum = r_add(in(t, "chosen")[i], in(t, "rejected")[i]);
        R c = wrong(t, "centering-missing") ? num(0) : in1(t, "centering"), slope = r_sigmoid(r_neg(z));
        R of_sum = r_mul(num(2), r_mul(c, sum));
        loss = r_add(loss, r_div(r_sub(r_mul(c, r_mul(sum, sum)), r_log_sigmoid(z)), divisor));
        of_w[i] = r_div(r_sub(of_sum, slope), divisor);
        of_l[i] = r_div(r_add(of_sum, slope), divisor);
    }
    out1(t, "loss", loss);
    out_like(t, "grad_chosen", "chosen", of_w);
    out_like(t, "grad_rejected", "rejected", of_l);
}

#define OF_PAIRS "reference-missing sum-over-pairs"
#define OF_LABELS " beta-missing classes-exchanged label-noise-ignored label-smoothing robust-loss log-of-sigmoid"

const equation equations_of_losses[] = {
    {"sft", sft, "labels-not-shifted mean-of-means sum-over-tokens"},
    {"dpo_logits", dpo_logits, OF_PAIRS OF_LABELS " labels-not-shifted log-ratio-mean"},
    {"dpo", dpo, OF_PAIRS OF_LABELS},
    {"ipo", ipo, OF_PAIRS " ipo-target ipo-scaled ipo-other-length"},
    {"sppo", sppo, OF_PAIRS " sppo-target"},
    {"kto", kto,
     "reference-missing kto-point-not-clamped kto-point-missing kto-point-unscaled kto-weights-exchanged kto-one-sign"},
    {"reward_model", reward_model, "sum-over-outputs centering-missing"},
    {NULL, NULL, NULL},
};
