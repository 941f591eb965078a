/* (M5) to (M12): the equations of residual Q-learning, from their definitions. */
#include "conformance/task.h"

#include <math.h>
#include <string.h>

/* x_a = Qhat + alpha_0 log pi1 over alpha_tilde; without alpha_0 pi1 is not there, even where it is -inf. */
static R *exponents(const R *q, const R *log_pi1, size_t V, R alpha_0, R alpha_tilde) {
    R *x = room(V);
    for (size_t a = 0; a < V; a++) {
        x[a] = r_div(r_double(alpha_0) == 0.0 ? q[a] : r_add(q[a], r_mul(alpha_0, log_pi1[a])), alpha_tilde);
    }
    return x;
}

R *log_softmax(const R *x, size_t n) {
    R *y = room(n), lse = r_log_sum_exp(x, n);
    for (size_t a = 0; a < n; a++) {
        y[a] = r_sub(x[a], lse);
    }
    return y;
}

/* (M5), (M7) of every action, and slope[V], the derivative of the value. bare: without the alpha_tilde in front. */
static R value_and_policy(R *log_pi, R *slope, const R *q, const R *log_pi1, size_t V, R alpha_0, R alpha_tilde,
                          bool bare) {
    R *x = exponents(q, log_pi1, V, alpha_0, alpha_tilde);
    R lse = r_log_sum_exp((const R *)x, V), v = bare ? lse : r_mul(alpha_tilde, lse);
    for (size_t a = 0; a < V; a++) {
        R pi = r_exp(r_sub(x[a], lse));
        log_pi[a] = r_sub(x[a], bare ? r_div(v, alpha_tilde) : lse);
        slope[a] = bare ? r_div(pi, alpha_tilde) : pi;
    }
    return v;
}

static void state(task *t, bool policy) {
    const size_t V = dim(t, "q", 0);
    R *log_pi = room(V), *pi = room(V);
    R alpha_tilde = wrong(t, "alpha-tilde-missing") ? num(1) : in1(t, "alpha_tilde");
    R alpha_0 = wrong(t, "alpha-0-missing") ? num(1) : in1(t, "alpha_0");
    R v = value_and_policy(log_pi, pi, (const R *)in(t, "q"), (const R *)in(t, "log_pi1"), V, alpha_0, alpha_tilde,
                           wrong(t, "outer-alpha-tilde"));
    if (policy) {
        out_like(t, "log_pi", "q", log_pi);
        out_like(t, "pi", "q", pi);
    } else {
        out1(t, "v", v);
        out_like(t, "grad_q", "q", pi);
    }
}

static void m5(task *t) { state(t, false); }
static void m7(task *t) { state(t, true); }

/* E V(s'), times gamma. */
static R *next_values(const task *t) {
    const size_t S = dim(t, "next", 0), A = dim(t, "next", 1), T = dim(t, "next", 2);
    R *x = room(S * A), gamma = wrong(t, "gamma-missing") ? num(1) : in1(t, "gamma");
    for (size_t i = 0; i < S * A; i++) {
        x[i] = wrong(t, "value-state") ? in(t, "v")[i / A]
                                       : r_dot((const R *)in(t, "next") + i * T, (const R *)in(t, "v"), T);
        x[i] = r_mul(gamma, x[i]);
    }
    return x;
}

static void m6(task *t) {
    const size_t n = dim(t, "reward", 0) * dim(t, "reward", 1);
    R *next = next_values(t), *q = room(n);
    for (size_t i = 0; i < n; i++) {
        q[i] = r_add(in(t, "reward")[i], next[i]);
    }
    out_like(t, "q", "reward", q);
}

static void m8(task *t) {
    const size_t n = dim(t, "q", 0) * dim(t, "q", 1);
    R *next = next_values(t), *reward = room(n);
    for (size_t i = 0; i < n; i++) {
        reward[i] = r_sub(in(t, "q")[i], next[i]);
    }
    out_like(t, "reward", "q", reward);
}

/* (M9) log P(label) with a share of wrong labels, and its slope. */
R log_label(const task *t, R z, R *slope) {
    R eps = in_array(t, "label_noise") == NULL ? num(0) : in1(t, "label_noise"), one = num(1);
    R right = r_sigmoid(z), rest = r_sigmoid(r_neg(z)), share = r_sub(one, r_mul(num(2), eps));
    if (wrong(t, "label-noise-ignored")) {
        eps = num(0);
    }
    if (r_double(eps) == 0.0) {
        *slope = rest;
        return wrong(t, "log-of-sigmoid") && r_double(z) < -745.0 ? num(-(double)INFINITY)
               : wrong(t, "log-of-sigmoid") && r_double(z) > 37.0 ? num(0)
                                                                  : r_log_sigmoid(z);
    }
    if (wrong(t, "label-smoothing") || wrong(t, "robust-loss")) {
        const bool robust = wrong(t, "robust-loss");
        R sign = robust ? r_neg(eps) : eps, over = robust ? share : one;
        R of_right = r_mul(r_sub(one, eps), r_log_sigmoid(z)), of_wrong = r_mul(sign, r_log_sigmoid(r_neg(z)));
        *slope = r_div(r_sub(r_mul(r_sub(one, eps), rest), r_mul(sign, right)), over);
        return r_div(r_add(of_right, of_wrong), over);
    }
    R p = r_add(r_mul(r_sub(one, eps), right), r_mul(eps, rest));
    *slope = r_div(r_mul(share, r_mul(right, rest)), p);
    return r_log(p);
}

static void m9_label(task *t) {
    const size_t n = dim(t, "z", 0);
    R *log_p = room(n), *slope = room(n);
    for (size_t i = 0; i < n; i++) {
        log_p[i] = log_label(t, in(t, "z")[i], &slope[i]);
    }
    out_like(t, "log_label", "z", log_p);
    out_like(t, "grad_z", "z", slope);
}

static void m12(task *t) {
    const size_t T = dim(t, "log_pi1", 0), V = dim(t, "log_pi1", 1), K = dim(t, "weights", 0);
    R *mix = room(T * V), *log_z = room(T);
    for (size_t s = 0; s < T; s++) {
        R x[64];
        for (size_t a = 0; a < V; a++) {
            R base = in(t, "log_pi1")[s * V + a];
            x[a] = wrong(t, "mixture-without-pi1") || wrong(t, "mixture-of-probabilities") ? num(0) : base;
            for (size_t k = 0; k < K; k++) {
                R w = in(t, "weights")[k], log_pi = in(t, "log_pi")[(k * T + s) * V + a];
                if (wrong(t, "mixture-of-probabilities")) {
                    x[a] = r_add(x[a], r_mul(w, r_exp(log_pi)));
                } else if (r_double(w) != 0.0) {
                    x[a] = r_add(x[a], r_mul(w, wrong(t, "mixture-without-pi1") ? log_pi : r_sub(log_pi, base)));
                }
            }
            x[a] = wrong(t, "mixture-of-probabilities") ? r_log(r_abs(x[a])) : x[a];
        }
        log_z[s] = r_log_sum_exp(x, V);
        for (size_t a = 0; a < V; a++) {
            mix[s * V + a] = r_sub(x[a], log_z[s]);
        }
    }
    out_like(t, "log_mix", "log_pi1", mix);
    OUT(t, "log_z", log_z, T);
    out1(t, "log_weight", r_sum((const R *)log_z, T));
}

/* ---- (M5) to (M11) of a batch of pairs ---- */

enum { SIDES = 2, MOST_PAIRS = 4, MOST_COUNTED = 64 };

typedef struct transition {
    size_t row, state, action;
    size_t value; /* position of the state whose value is subtracted, or NONE */
    R weight, reward, g;
} transition;

static const size_t NONE = (size_t)-1;

typedef struct side {
    const char *names[10]; /* of ids, length, terminal, logits, base; return, v, reward, log_pi, gradient */
    R *q, *log_pi, *slope, *v, *gradient;
    R ret[MOST_PAIRS];
    transition list[MOST_COUNTED];
    size_t n;
} side;

typedef struct batch {
    size_t N, L, V;
    bool published;
    side sides[SIDES];
} batch;

static size_t prompt(const task *t, size_t row) { return in_at(t, "prompt_length", row); }

/* Qhat, V and log pitilde of every state of a row. */
static void states_of(const task *t, const batch *b, side *s, size_t row) {
    const bool logits = in_is(t, "parametrisation", "logits") != wrong(t, "parametrisation");
    const size_t length = in_at(t, s->names[1], row), V = b->V;
    for (size_t p = prompt(t, row) - 1; p < length; p++) {
        const size_t at = (row * b->L + p) * V;
        R *z = in(t, s->names[3]) + at, *z1 = in(t, s->names[4]) + at;
        R *log_pi1 = wrong(t, "log-softmax-missing") ? z1 : log_softmax((const R *)z1, V);
        R *of = wrong(t, "q-log-softmax") ? log_softmax((const R *)z, V) : z;
        for (size_t a = 0; a < V; a++) {
            s->q[at + a] = logits ? of[a] : r_sub(of[a], wrong(t, "q-log-softmax") ? log_pi1[a] : z1[a]);
        }
        s->v[row * b->L + p] =
            value_and_policy(s->log_pi + at, s->slope + at, (const R *)s->q + at, (const R *)log_pi1, V,
                             in1(t, "alpha_0"), in1(t, "alpha_tilde"), wrong(t, "outer-alpha-tilde"));
    }
}

/* Which transitions count, with whose value and with which weight. */
static void transitions_of(const task *t, const batch *b, side *s, size_t row) {
    const size_t P = prompt(t, row), length = in_at(t, s->names[1], row), first = s->n;
    const bool terminal = in_at(t, s->names[2], row) == 1 || wrong(t, "cut-off-is-terminal");
    size_t begin = b->published ? P : P - 1, end = b->published && length < b->L - 1 ? length : b->L - 1;
    end = b->published ? end - (wrong(t, "pad-transition") && end == length ? 1 : 0) : length - 1;
    begin += wrong(t, "mask-off-by-one") ? 1 : 0;
    for (size_t p = begin; p < end + (!b->published && wrong(t, "pad-transition") && length < b->L ? 1 : 0); p++) {
        const bool same = b->published != wrong(t, "value-state"), last = p + 1 >= length - (b->published ? 0 : 1);
        s->list[s->n++] = (transition){.row = row,
                                       .state = p,
                                       .action = in_at(t, s->names[0], row * b->L + p + 1),
                                       .value = same                                    ? p
                                                : p + 1 >= length || (last && terminal) ? NONE
                                                                                        : p + 1};
    }
    R counted = num((double)(s->n - first)), divisor = b->published ? num((double)(b->L - 1)) : num(1);
    R gamma = b->published ? num(1) : in1(t, "gamma"), c = wrong(t, "gamma-powers") ? gamma : num(1);
    divisor = in_flag(t, "length_normalisation") || wrong(t, "return-by-count") ? counted : divisor;
    divisor = wrong(t, "return-divisor") ? num((double)b->L) : divisor;
    for (size_t p = 0; wrong(t, "gamma-from-prompt") && p < P; p++) {
        c = r_mul(c, gamma);
    }
    s->ret[row] = num(0);
    for (size_t k = first; k < s->n; k++) {
        transition *x = &s->list[k];
        R q = s->q[(row * b->L + x->state) * b->V + x->action];
        x->weight = r_div(c, divisor);
        x->reward = x->value == NONE ? q : r_sub(q, r_mul(in1(t, "gamma"), s->v[row * b->L + x->value]));
        s->ret[row] = r_add(s->ret[row], r_mul(x->weight, x->reward));
        c = r_mul(c, gamma);
    }
}

/* The divisor of a squared reward: all that are counted, or as many times the mean of a pair's own. */
static R squares_divisor(const task *t, const batch *b, size_t row) {
    size_t all = 0, own = 0;
    for (size_t i = 0; i < SIDES; i++) {
        all += b->sides[i].n;
        for (size_t k = 0; k < b->sides[i].n; k++) {
            own += b->sides[i].list[k].row == row ? 1 : 0;
        }
    }
    return num((double)(wrong(t, "mean-of-means") ? own * b->N : wrong(t, "sum-over-transitions") ? 1 : all));
}

static void logit_gradient(const task *t, const batch *b, side *s) {
    for (size_t k = 0; k < s->n; k++) {
        const transition *x = &s->list[k];
        const size_t at = (x->row * b->L + x->state) * b->V;
        s->gradient[at + x->action] = r_add(s->gradient[at + x->action], x->g);
        for (size_t a = 0; x->value != NONE && !wrong(t, "value-stop-gradient") && a < b->V; a++) {
            const size_t of = (x->row * b->L + x->value) * b->V + a;
            s->gradient[of] = r_sub(s->gradient[of], r_mul(r_mul(in1(t, "gamma"), x->g), s->slope[of]));
        }
    }
    for (size_t row = 0; wrong(t, "q-log-softmax") && row < b->N * b->L; row++) {
        R *g = s->gradient + row * b->V, sum = r_sum((const R *)g, b->V);
        R *log_p = log_softmax((const R *)in(t, s->names[3]) + row * b->V, b->V);
        for (size_t a = 0; a < b->V; a++) {
            g[a] = r_sub(g[a], r_mul(r_exp(log_p[a]), sum));
        }
    }
}

static void put_side(task *t, const batch *b, side *s) {
    R *reward = room(b->N * b->L), *log_pi = room(b->N * b->L), *ret = room(b->N);
    for (size_t k = 0; k < s->n; k++) {
        const transition *x = &s->list[k];
        const size_t at = x->row * b->L + x->state;
        reward[at] = x->reward;
        log_pi[at] = s->log_pi[at * b->V + x->action];
    }
    memcpy(ret, s->ret, b->N * sizeof *ret);
    OUT(t, s->names[5], ret, b->N);
    OUT(t, s->names[6], s->v, b->N, b->L);
    OUT(t, s->names[7], reward, b->N, b->L);
    OUT(t, s->names[8], log_pi, b->N, b->L);
    OUT(t, s->names[9], s->gradient, b->N, b->L, b->V);
}

#define SIDE(S)                                                                                                        \
    {                                                                                                                  \
        .names = {                                                                                                     \
            S "_ids",                                                                                                  \
            S "_length",                                                                                               \
            S "_terminal",                                                                                             \
            S "_logits",                                                                                               \
            S "_base",                                                                                                 \
            S "_return",                                                                                               \
            S "_v",                                                                                                    \
            S "_reward",                                                                                               \
            S "_log_pi",                                                                                               \
            "grad_" S "_logits"                                                                                        \
        }                                                                                                              \
    }

static void pair(task *t) {
    static batch b;
    b = (batch){.N = dim(t, "chosen_logits", 0),
                .L = dim(t, "chosen_logits", 1),
                .V = dim(t, "chosen_logits", 2),
                .published = in_is(t, "objective", "published"),
                .sides = {SIDE("chosen"), SIDE("rejected")}};
    R *z = room(b.N), pref = num(0), reg = num(0), pairs = num(wrong(t, "sum-over-pairs") ? 1 : (double)b.N);
    for (size_t i = 0; i < SIDES; i++) {
        side *s = &b.sides[i];
        s->q = room(b.N * b.L * b.V), s->log_pi = room(b.N * b.L * b.V), s->gradient = room(b.N * b.L * b.V);
        s->slope = room(b.N * b.L * b.V);
        s->v = room(b.N * b.L);
        for (size_t row = 0; row < b.N; row++) {
            states_of(t, &b, s, row);
            transitions_of(t, &b, s, row);
        }
    }
    for (size_t row = 0; row < b.N; row++) {
        R slope = NULL, divisor = squares_divisor(t, &b, row);
        z[row] = r_sub(b.sides[0].ret[row], b.sides[1].ret[row]);
        R seen = wrong(t, "classes-exchanged") ? r_neg(z[row]) : z[row];
        pref = r_sub(pref, r_div(log_label(t, seen, &slope), pairs));
        slope = r_div(wrong(t, "classes-exchanged") ? slope : r_neg(slope), pairs);
        for (size_t i = 0; i < SIDES; i++) {
            for (size_t k = 0; k < b.sides[i].n; k++) {
                transition *x = &b.sides[i].list[k];
                if (x->row == row) {
                    R share = r_div(r_mul(in1(t, "beta"), x->reward), divisor);
                    reg = r_add(reg, r_mul(share, x->reward));
                    x->g = r_add(r_mul(i == 0 ? slope : r_neg(slope), x->weight), r_mul(num(2), share));
                }
            }
        }
    }
    out1(t, "loss", r_add(pref, reg));
    out1(t, "loss_pref", pref);
    out1(t, "loss_reg", reg);
    OUT(t, "z", z, b.N);
    for (size_t i = 0; i < SIDES; i++) {
        logit_gradient(t, &b, &b.sides[i]);
        put_side(t, &b, &b.sides[i]);
    }
}

const equation equations_of_q[] = {
    {"m5", m5, "outer-alpha-tilde alpha-tilde-missing alpha-0-missing"},
    {"m6", m6, "gamma-missing value-state"},
    {"m7", m7, "alpha-tilde-missing alpha-0-missing"},
    {"m8", m8, "gamma-missing value-state"},
    {"m9_label", m9_label, "label-noise-ignored label-smoothing robust-loss log-of-sigmoid"},
    {"m12", m12, "mixture-without-pi1 mixture-of-probabilities"},
    {"pair", pair,
     "log-softmax-missing q-log-softmax parametrisation outer-alpha-tilde value-state mask-off-by-one pad-transition "
     "cut-off-is-terminal gamma-powers gamma-from-prompt return-divisor return-by-count classes-exchanged "
     "label-noise-ignored label-smoothing robust-loss mean-of-means sum-over-pairs sum-over-transitions "
     "value-stop-gradient"},
    {NULL, NULL, NULL},
};
