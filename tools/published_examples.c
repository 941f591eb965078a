/* published_examples: the numbers of docs/published-code.md, computed by the library's own equations.
 *
 * A vocabulary of four tokens, a prompt of one, and seven prefixes with a made-up row of Qhat and of pi1 each. Two
 * preference pairs over them, small enough to follow by hand, through transitions, rewards, returns, loss and
 * gradient of both objectives. Four decimals, so that the single and the double build print the same. */
#include "base/real.h"
#include "qadapter/objective.h"
#include "rl/equations.h"
#include "rl/transitions.h"
#include "train/schedule.h"

#include <stdio.h>

enum { END, A, B, C, V }; /* the vocabulary, printed as . a b c; END is the padding token too */
enum { ROOT, AFTER_A, AFTER_AB, AFTER_AB_END, AFTER_B, AFTER_B_END, AFTER_END, PREFIXES };
enum { MAX_TOKENS = 6, MAX_STATES = MAX_TOKENS };

static const char token_names[V + 1] = ".abc";
static const char *const prefix_names[PREFIXES] = {"c", "c a", "c a b", "c a b .", "c b", "c b .", "c ."};

static const double pi1[PREFIXES][V] = {
    {0.125, 0.375, 0.375, 0.125}, {0.25, 0.125, 0.5, 0.125}, {0.5, 0.125, 0.25, 0.125}, {0.25, 0.25, 0.25, 0.25},
    {0.375, 0.25, 0.125, 0.25},   {0.5, 0.125, 0.125, 0.25}, {0.125, 0.5, 0.125, 0.25}};
static const double qhat[PREFIXES][V] = {{0.0, 1.0, -0.5, 0.25}, {-0.5, 0.0, 0.75, -1.0}, {1.0, 0.25, -0.5, 0.0},
                                         {0.5, 0.0, 0.0, -0.5},  {-1.0, 0.5, 0.0, 0.25},  {-0.75, 0.0, 0.5, 0.0},
                                         {0.25, 0.0, 0.0, 0.0}};

/* A prompt of one token and a response that ends; prefixes[k] is the row of state k. */
typedef struct response {
    int32_t ids[MAX_TOKENS];
    size_t length;
    size_t prefixes[MAX_STATES];
} response;

static const response AB = {{C, A, B, END}, 4, {ROOT, AFTER_A, AFTER_AB, AFTER_AB_END}};
static const response ONLY_B = {{C, B, END}, 3, {ROOT, AFTER_B, AFTER_B_END}};
static const response EMPTY = {{C, END}, 2, {ROOT, AFTER_END}};

typedef struct pair {
    const response *preferred, *dispreferred;
} pair;

static const pair PAIRS[] = {{&AB, &ONLY_B}, {&EMPTY, &ONLY_B}};
enum { FIRST_PAIR = 1, BOTH_PAIRS = 2 };

static qa_objective objective_of(qa_objective_kind kind) {
    return (qa_objective){.kind = kind, .alpha_tilde = 1.0, .alpha_0 = 0.5, .gamma = 1.0, .beta = 0.1};
}

/* As it is printed with four decimals: no minus sign before zero. */
static double fixed(double x) { return x > -0.00005 && x < 0.0 ? 0.0 : x; }

static void row_of(size_t prefix, qa_real q[V], qa_real log_pi1[V]) {
    for (size_t a = 0; a < V; a++) {
        q[a] = (qa_real)qhat[prefix][a];
        log_pi1[a] = (qa_real)log(pi1[prefix][a]);
    }
}

static double value_of(size_t prefix, const qa_objective *o) {
    qa_real q[V], log_pi1[V];
    row_of(prefix, q, log_pi1);
    return qa_m5_value(q, log_pi1, V, o->alpha_0, o->alpha_tilde);
}

/* ---- one response ---- */

typedef struct scored {
    qa_side side;
    size_t n;
    qa_transition transitions[MAX_STATES];
    double q[MAX_STATES], v[MAX_STATES], reward[MAX_STATES], weight[MAX_STATES], ret;
} scored;

/* Transitions, rewards (M8) and return (M9). With value_at_same_state every reward subtracts the value of its own
 * state, over the objective's transitions: quirk 1 alone. */
static scored score(const response *y, const qa_objective *o, size_t padded_length, bool value_at_same_state) {
    scored s = {.side = {.ids = y->ids, .length = y->length, .label_start = 1, .terminal = true}};
    s.n = qa_transition_count(&s.side, o, padded_length);
    qa_transitions_layout(s.transitions, &s.side, o, padded_length, END);
    for (size_t k = 0; k < qa_side_states(&s.side); k++) {
        s.v[k] = value_of(y->prefixes[k], o);
    }
    for (size_t t = 0; t < s.n; t++) {
        qa_transition *transition = &s.transitions[t];
        transition->value_state = value_at_same_state ? transition->state : transition->value_state;
        s.q[t] = qhat[y->prefixes[transition->state]][transition->action];
        s.weight[t] = transition->weight;
    }
    qa_transitions_rewards(s.reward, s.transitions, s.n, s.q, s.v, o->gamma);
    s.ret = qa_m9_return(s.weight, s.reward, s.n);
    return s;
}

static double sum_of_rewards(const scored *s) {
    double sum = 0.0;
    for (size_t t = 0; t < s->n; t++) {
        sum += s->reward[t];
    }
    return sum;
}

static void print_response(const char *what, const response *y, const scored *s) {
    printf("%s\n", what);
    for (size_t t = 0; t < s->n; t++) {
        const qa_transition *transition = &s->transitions[t];
        const bool ends = transition->value_state == QA_TERMINAL_STATE;
        printf("  %-8s-> %c   Q%9.4f   V%9.4f of %-8s  r%9.4f\n", prefix_names[y->prefixes[transition->state]],
               token_names[transition->action], fixed(s->q[t]), fixed(ends ? 0.0 : s->v[transition->value_state]),
               ends ? "the end" : prefix_names[y->prefixes[transition->value_state]], fixed(s->reward[t]));
    }
}

/* ---- pairs ---- */

static size_t longest_row(const pair *pairs, size_t n) {
    size_t longest = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t a = pairs[i].preferred->length, b = pairs[i].dispreferred->length;
        longest = a > longest ? a : longest;
        longest = b > longest ? b : longest;
    }
    return longest;
}

/* The terms of (M10) over pairs that share a micro-batch. */
typedef struct loss {
    double preference, regulariser, z; /* z of the last pair */
} loss;

static double counted_in(const pair *pairs, size_t n, const qa_objective *o) {
    const size_t padded_length = longest_row(pairs, n);
    size_t counted = 0;
    for (size_t i = 0; i < n; i++) {
        counted += score(pairs[i].preferred, o, padded_length, false).n;
        counted += score(pairs[i].dispreferred, o, padded_length, false).n;
    }
    return (double)counted;
}

/* A micro-batch's share of a loss whose means are over so many pairs and counted transitions. */
static loss share_of(const pair *pairs, size_t n, const qa_objective *o, double all_pairs, double counted) {
    loss found = {0};
    const size_t padded_length = longest_row(pairs, n);
    for (size_t i = 0; i < n; i++) {
        const scored w = score(pairs[i].preferred, o, padded_length, false);
        const scored l = score(pairs[i].dispreferred, o, padded_length, false);
        found.z = w.ret - l.ret;
        found.preference += qa_m10_preference_loss(found.z, 0.0, all_pairs);
        found.regulariser +=
            qa_m10_regulariser(w.reward, w.n, o->beta, counted) + qa_m10_regulariser(l.reward, l.n, o->beta, counted);
    }
    return found;
}

/* The loss of these pairs alone, in one micro-batch. */
static loss loss_of(const pair *pairs, size_t n, const qa_objective *o) {
    return share_of(pairs, n, o, (double)n, counted_in(pairs, n, o));
}

static loss sum(loss a, loss b) {
    return (loss){.preference = a.preference + b.preference, .regulariser = a.regulariser + b.regulariser};
}

static void print_loss(const char *what, loss found) {
    printf("%-36s preference%9.4f   regulariser%9.4f   loss%9.4f\n", what, fixed(found.preference),
           fixed(found.regulariser), fixed(found.preference + found.regulariser));
}

/* ---- the examples ---- */

static void the_rows(void) {
    const qa_objective o = objective_of(QA_THEORY);
    printf("THE ROWS\n%-10s%28s%36s%19s\n", "state", "Qhat of  .  a  b  c", "pi1 of  .  a  b  c", "Vhat");
    for (size_t prefix = 0; prefix < PREFIXES; prefix++) {
        printf("%-8s", prefix_names[prefix]);
        for (size_t a = 0; a < V; a++) {
            printf("%8.2f", qhat[prefix][a]);
        }
        printf("    ");
        for (size_t a = 0; a < V; a++) {
            printf("%8.3f", pi1[prefix][a]);
        }
        printf("    %9.4f\n", fixed(value_of(prefix, &o)));
    }
}

static void print_z(const char *what, const qa_objective *o, bool value_at_same_state) {
    const scored w = score(&AB, o, 0, value_at_same_state), l = score(&ONLY_B, o, 0, value_at_same_state);
    printf("gamma %.1f, %-15s R(a b .)%9.4f   R(b .)%9.4f   z%9.4f   mean r^2", o->gamma, what, fixed(w.ret),
           fixed(l.ret), fixed(w.ret - l.ret));
    const double counted = (double)(w.n + l.n);
    printf("%9.4f\n",
           fixed(qa_m10_regulariser(w.reward, w.n, 1.0, counted) + qa_m10_regulariser(l.reward, l.n, 1.0, counted)));
}

static void quirk_1(void) {
    qa_objective o = objective_of(QA_THEORY);
    printf("\nQUIRK 1: WHOSE VALUE\n");
    for (int same = 0; same < 2; same++) {
        const scored w = score(&AB, &o, 0, same != 0);
        print_response(same == 0 ? "a b .  value of the next state" : "a b .  value of the same state", &AB, &w);
    }
    print_z("next state:", &o, false);
    print_z("same state:", &o, true);
    o.gamma = 0.9;
    print_z("next state:", &o, false);
    print_z("same state:", &o, true);
}

static void quirk_2(void) {
    const qa_objective theory = objective_of(QA_THEORY), published = objective_of(QA_PUBLISHED);
    printf("\nQUIRK 2: WHICH TRANSITIONS COUNT\n");
    const response *const both[] = {&AB, &ONLY_B};
    static const char *const names[2][2] = {{"a b .  theory", "a b .  published, L = 4"},
                                            {"b .  theory", "b .  published, L = 4"}};
    for (size_t i = 0; i < 2; i++) {
        const scored t = score(both[i], &theory, 4, false), p = score(both[i], &published, 4, false);
        print_response(names[i][0], both[i], &t);
        print_response(names[i][1], both[i], &p);
    }
}

static void quirk_3(void) {
    printf("\nQUIRK 3: THE PADDED LENGTH\n");
    for (size_t length = 4; length <= 16; length *= 2) {
        for (int kind = 0; kind < 2; kind++) {
            const qa_objective o = objective_of(kind == 0 ? QA_PUBLISHED : QA_THEORY);
            const scored w = score(&AB, &o, length, false), l = score(&ONLY_B, &o, length, false);
            printf("longest row %2zu, %-10s sums%9.4f%9.4f   R%9.4f%9.4f   z%9.4f   -log sigmoid(z)%9.4f\n", length,
                   kind == 0 ? "published:" : "theory:", fixed(sum_of_rewards(&w)), fixed(sum_of_rewards(&l)),
                   fixed(w.ret), fixed(l.ret), fixed(w.ret - l.ret),
                   fixed(qa_m10_preference_loss(w.ret - l.ret, 0.0, 1.0)));
        }
    }
}

/* published: each micro-batch has its own means, and those are averaged; theory: one mean over the whole step. */
static void quirk_4(void) {
    printf("\nQUIRK 4: THE REGULARISER'S MEAN\n");
    const qa_objective published = objective_of(QA_PUBLISHED), theory = objective_of(QA_THEORY);
    const loss first = loss_of(PAIRS, 1, &published), second = loss_of(PAIRS + 1, 1, &published);
    printf("counted, published: %.0f in the first pair alone, %.0f in the second, %.0f in one micro-batch of both\n",
           counted_in(PAIRS, 1, &published), counted_in(PAIRS + 1, 1, &published),
           counted_in(PAIRS, BOTH_PAIRS, &published));
    print_loss("published, first pair alone", first);
    print_loss("published, second pair alone", second);
    print_loss("published, mean of two micro-batches",
               (loss){.preference = (first.preference + second.preference) / 2.0,
                      .regulariser = (first.regulariser + second.regulariser) / 2.0});
    print_loss("published, one micro-batch", loss_of(PAIRS, BOTH_PAIRS, &published));
    const double counted = counted_in(PAIRS, BOTH_PAIRS, &theory);
    print_loss("theory, two micro-batches", sum(share_of(PAIRS, 1, &theory, BOTH_PAIRS, counted),
                                                share_of(PAIRS + 1, 1, &theory, BOTH_PAIRS, counted)));
    print_loss("theory, one micro-batch", loss_of(PAIRS, BOTH_PAIRS, &theory));
}

/* The prompt c c a and the response b, END, with the boundary where it belongs and with a cap on it. */
static void quirk_5(void) {
    static const int32_t ids[] = {C, C, A, B, END};
    const qa_objective o = objective_of(QA_PUBLISHED);
    printf("\nQUIRK 5: THE LABEL BOUNDARY (prompt c c a, response b ., longest row 5)\n");
    for (size_t cap = 3; cap > 0; cap--) {
        const qa_side side = {.ids = ids, .length = 5, .label_start = cap, .terminal = true};
        qa_transition transitions[MAX_STATES];
        const size_t n = qa_transition_count(&side, &o, 5);
        qa_transitions_layout(transitions, &side, &o, 5, END);
        printf("masked prompt tokens: %zu, counted:", cap);
        for (size_t t = 0; t < n; t++) {
            const size_t position = cap - 1 + transitions[t].state; /* of the state's last token */
            printf("  %zu %c -> %c", position, token_names[ids[position]], token_names[transitions[t].action]);
        }
        printf("\n");
    }
}

/* The same pair with one more token in front of every prompt. */
static void quirk_6(void) {
    const qa_objective o = objective_of(QA_PUBLISHED);
    printf("\nQUIRK 6: ONE MORE TOKEN IN FRONT (rewards held fixed)\n");
    for (size_t extra = 0; extra < 2; extra++) {
        const scored w = score(&AB, &o, 4, false), l = score(&ONLY_B, &o, 4, false);
        qa_side side = w.side;
        side.length += extra;
        side.label_start += extra;
        const int32_t ids[] = {C, C, A, B, END};
        side.ids = ids + 1 - extra;
        qa_transition transitions[MAX_STATES];
        qa_transitions_layout(transitions, &side, &o, side.length, END);
        printf("L = %zu: counted %zu and %zu, c_t%9.4f   z%9.4f\n", side.length, w.n, l.n, fixed(transitions[0].weight),
               fixed(transitions[0].weight * (sum_of_rewards(&w) - sum_of_rewards(&l))));
    }
}

static void quirk_7(void) {
    printf("\nQUIRK 7: THE LEARNING RATE OF FOUR UPDATES\n");
    for (size_t step = 0; step < 4; step++) {
        printf("update %zu  %.3e\n", step + 1, qa_schedule_rate(QA_SCHEDULE_LINEAR, 3e-4, 0, 4, step));
    }
}

static void exchanged_classes(void) {
    const qa_objective o = objective_of(QA_PUBLISHED);
    const loss found = loss_of(PAIRS, FIRST_PAIR, &o);
    printf("\nEXCHANGED CLASSES\nright:     -log sigmoid( z)%9.4f   slope in z%9.4f\nexchanged: -log sigmoid(-z)%9.4f  "
           " slope in z%9.4f\n",
           fixed(qa_m10_preference_loss(found.z, 0.0, 1.0)), fixed(-qa_m9_wrong_order(found.z)),
           fixed(qa_m10_preference_loss(-found.z, 0.0, 1.0)), fixed(qa_m9_wrong_order(-found.z)));
}

/* From the return of `theory` to that of `published` at gamma = 1, one response. */
static void bridge(const char *name, const response *y) {
    const qa_objective theory = objective_of(QA_THEORY), published = objective_of(QA_PUBLISHED);
    const scored next = score(y, &theory, 4, false), same = score(y, &theory, 4, true);
    const scored p = score(y, &published, 4, false);
    const double first = same.reward[0];
    const double padding = p.n == same.n ? p.reward[p.n - 1] : 0.0;
    printf("%-6s theory%9.4f  - V(prompt)%9.4f  - first%9.4f  + padding%9.4f  = sum%9.4f  / 3 =%9.4f\n", name,
           fixed(next.ret), fixed(next.v[0]), fixed(first), fixed(padding),
           fixed(next.ret - next.v[0] - first + padding), fixed(p.ret));
}

static void the_bridge(void) {
    printf("\nFROM THEORY TO PUBLISHED, GAMMA = 1\n");
    bridge("a b .", &AB);
    bridge("b .", &ONLY_B);
}

/* (M11) of the first pair: dL/dQhat of every row. */
static void gradient_of(qa_objective_kind kind) {
    const qa_objective o = objective_of(kind);
    const size_t padded_length = longest_row(PAIRS, FIRST_PAIR);
    const response *const y[] = {PAIRS[0].preferred, PAIRS[0].dispreferred};
    const scored s[] = {score(y[0], &o, padded_length, false), score(y[1], &o, padded_length, false)};
    const double z = s[0].ret - s[1].ret, counted = (double)(s[0].n + s[1].n);
    qa_real dq[PREFIXES][V] = {{0}};
    for (size_t i = 0; i < 2; i++) {
        double g[MAX_STATES], value_gradient[MAX_STATES] = {0};
        qa_m11_reward_gradient(g, s[i].weight, s[i].reward, s[i].n,
                               qa_m10_return_gradient(z, 0.0, i == 0 ? 1 : -1, 1.0), o.beta, counted);
        qa_transitions_value_gradient(value_gradient, s[i].transitions, s[i].n, g, o.gamma);
        for (size_t t = 0; t < s[i].n; t++) {
            dq[y[i]->prefixes[s[i].transitions[t].state]][s[i].transitions[t].action] += (qa_real)g[t];
        }
        for (size_t k = 0; k < qa_side_states(&s[i].side); k++) {
            const size_t prefix = y[i]->prefixes[k];
            qa_real q[V], log_pi1[V], pi[V];
            row_of(prefix, q, log_pi1);
            (void)qa_m7_policy(pi, q, log_pi1, V, o.alpha_0, o.alpha_tilde);
            qa_m11_add_value_term(dq[prefix], pi, value_gradient[k], V);
        }
    }
    for (size_t prefix = 0; prefix < AFTER_END; prefix++) {
        printf("%-10s %-8s", qa_objective_kind_name(kind), prefix_names[prefix]);
        double sum = 0.0;
        for (size_t a = 0; a < V; a++) {
            printf("%9.4f", fixed((double)dq[prefix][a]));
            sum += (double)dq[prefix][a];
        }
        printf("   sum%9.4f\n", fixed(sum));
    }
}

int main(void) {
    the_rows();
    quirk_1();
    quirk_2();
    quirk_3();
    quirk_4();
    quirk_5();
    quirk_6();
    quirk_7();
    exchanged_classes();
    the_bridge();
    printf("\nTHE GRADIENT (M11) OF THE FIRST PAIR: dL/dQhat of  .  a  b  c\n");
    gradient_of(QA_THEORY);
    gradient_of(QA_PUBLISHED);
    return fflush(stdout) == 0 ? 0 : 1;
}
