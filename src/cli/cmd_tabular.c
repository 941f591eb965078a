/* qadapter tabular: which subcommand, and which options it takes; recover and identities. */
#include "cli/tabular.h"
#include "rl/customisation.h"
#include "rl/proofs.h"

#include <string.h>

/* ---- options ---- */

#define ROW(kind, field) QA_##kind(tabular_args, field), .group = QA_GROUP_PROBLEM

/* What stands in front of a help's colon takes the option; an option that means nothing to the subcommand is a mistake,
 * not something to pass over. */
static const qa_option tabular_rows[] = {
    {"mdp", ROW(STRING, mdp), .placeholder = "FILE", .path = QA_PATH_READ,
     .help = "solve: the problem, as JSON (docs/tabular.md)"},
    {"n", ROW(SIZE, problems), .letter = 'n', .aliases = "problems", .range = QA_RANGE_FROM_1,
     .note = "1000, compose 60", .help = "recover, identities, compose: random problems to prove them on"},
    {"beta", ROW(NUMBER, beta), .range = QA_RANGE_FROM_0, .standard = "0.1",
     .help = "consistency, dial: weight of the regulariser where there is one"},
    {"pairs", ROW(SIZE, pairs), .range = QA_RANGE_FROM_1, .note = "consistency 100000, learn 30000, dial 1000",
     .help = "consistency: pairs of the largest sample; learn, dial: pairs to learn from"},
    {"seeds", ROW(SIZE, data_seeds), .range = QA_RANGE_1_TO_1024, .standard = "5",
     .help = "consistency, learn: samples of every size"},
    {"out", QA_STRING(tabular_args, shared.out), .letter = 'o', .aliases = "output output-file", .placeholder = "FILE",
     .group = QA_GROUP_OUTPUT, .path = QA_PATH_WRITTEN, .note = "none",
     .help = "write the data of the figure, as tab-separated values; a file appears when it is complete; - is standard "
             "output, instead of the text"},
};
static const qa_option_table tabular_table = QA_TABLE(tabular_rows);
static const cli_table tabular_tables[] = {{&tabular_table, 0, NULL, NULL},
                                           {&qa_customisation_table, offsetof(tabular_args, problem), NULL, NULL},
                                           {&cli_output_table, 0, "json", NULL}};

static const struct {
    const char *name;
    qa_status (*run)(cli_run *run, qa_error *err);
} subcommands[] = {{"recover", cli_tabular_recover},
                   {"identities", cli_tabular_identities},
                   {"consistency", cli_tabular_consistency},
                   {"learn", cli_tabular_learn},
                   {"dial", cli_tabular_dial},
                   {"compose", cli_tabular_compose},
                   {"solve", cli_tabular_solve}};

static qa_status run_tabular(cli_run *run, qa_error *err) {
    size_t which = 0;
    while (strcmp(subcommands[which].name, run->args->subcommand) != 0) {
        which++; /* the parser has found it among them */
    }
    return subcommands[which].run(run, err);
}

const cli_command cli_tabular = {
    .name = "tabular",
    .summary = "prove the equations on problems small enough to solve exactly",
    .about = "Needs no model. The first word says what is done:\n"
             "recover: random problems with known r1 and r2. The policy from pi1 and r2 alone is compared with "
             "the optimum for lambda r1 + r2 solved directly, and the reward with the one that the Q-function "
             "implies.\n"
             "identities: telescoping, DPO as a special case, and the limits of the inference dial, on random "
             "tables.\n"
             "consistency: preference pairs sampled from a known r2; how far the learned policy is from the true "
             "optimum, by number of pairs, for both objectives and parametrisations, with and without regulariser "
             "and wrong labels.\n"
             "learn: labels of which a share was turned round, taken as they are, with the share known, and with the "
             "share estimated; by the likelihood and by IPO, against the optimum that each aims at.\n"
             "dial: alpha_0 turned after learning; expected reward under r1 and r2, beside the exact optimum of "
             "every alpha_0.\n"
             "compose: several rewards that were learned apart; how far the token-level mixture of their policies is "
             "from the optimum for the sum, what its exact weights and a choice among samples mend, and learning one "
             "after the other.\n"
             "solve: a problem from a JSON file; every quantity of the method, and the optimum solved directly.\n"
             "The program built with PRECISION=f64 proves the equations; in single precision the same errors are "
             "larger.",
    .examples = "qadapter tabular recover --n 1000 --seed 1\n"
                "qadapter tabular identities\n"
                "qadapter tabular consistency --out consistency.tsv\n"
                "qadapter tabular learn --seed 2\n"
                "qadapter tabular dial --json\n"
                "qadapter tabular compose --n 60\n"
                "qadapter tabular solve --mdp docs/examples/mdp.json",
    .subcommands = "recover|identities|consistency|learn|dial|compose|solve",
    CLI_TABLES(tabular_tables),
    .args_bytes = sizeof(tabular_args),
    .run = run_tabular,
};

enum { STANDARD_PROBLEMS = 1000 };

static size_t problems_of(const cli_run *run) {
    const size_t given = tabular_args_of(run)->problems;
    return given == 0 ? STANDARD_PROBLEMS : given;
}

/* ---- recover ---- */

/* The worst of a kind of problems, or of all. */
static qa_recovery worst_of(const qa_recovery *all, size_t n, int kind, size_t *count) {
    qa_recovery worst = {0};
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        const qa_recovery *recovery = &all[i];
        if (kind != QA_PROBLEM_KINDS && (int)recovery->kind != kind) {
            continue;
        }
        worst.policy_error = qa_worse_error(recovery->policy_error, worst.policy_error);
        worst.log_policy_error = qa_worse_error(recovery->log_policy_error, worst.log_policy_error);
        worst.reward_error = qa_worse_error(recovery->reward_error, worst.reward_error);
        worst.q_error = qa_worse_error(recovery->q_error, worst.q_error);
        worst.bound = qa_worse_error(recovery->bound, worst.bound);
        worst.sweeps = recovery->sweeps > worst.sweeps ? recovery->sweeps : worst.sweeps;
        (*count)++;
    }
    return worst;
}

static void record_errors(cli_records *records, const qa_recovery *recovery) {
    cli_records_number(records, "policy_error", recovery->policy_error);
    cli_records_number(records, "log_policy_error", recovery->log_policy_error);
    cli_records_number(records, "reward_error", recovery->reward_error);
    cli_records_number(records, "q_error", recovery->q_error);
    cli_records_number(records, "sweeps", (double)recovery->sweeps);
    cli_records_number(records, "bound", recovery->bound);
}

static void record_problem(cli_records *records, const qa_recovery *recovery) {
    cli_records_row(records);
    cli_records_text(records, "problems", qa_problem_kind_name(recovery->kind));
    cli_records_number(records, "states", (double)recovery->S);
    cli_records_number(records, "actions", (double)recovery->A);
    cli_records_number(records, "gamma", recovery->gamma);
    cli_records_number(records, "lambda", recovery->lambda);
    cli_records_number(records, "alpha_1", recovery->alpha1);
    cli_records_number(records, "alpha_tilde", recovery->alpha_tilde);
    record_errors(records, recovery);
}

static void summarise_kind(cli_records *records, const char *name, const qa_recovery *worst, size_t count, bool text) {
    cli_records_row(records);
    cli_records_text(records, "problems", name);
    cli_records_number(records, "n", (double)count);
    record_errors(records, worst);
    if (text) {
        printf("%-28s %6zu %11.1e %11.1e %11.1e %11.1e %8zu %9.1e\n", name, count, worst->policy_error,
               worst->log_policy_error, worst->reward_error, worst->q_error, worst->sweeps, worst->bound);
    }
}

static void summarise_recovery(cli_run *run, const void *results, size_t n, cli_records *figure, cli_records *summary) {
    const bool text = cli_tabular_wants_text(run);
    const qa_recovery *all = results;
    size_t count = 0;
    const qa_recovery total = worst_of(all, n, QA_PROBLEM_KINDS, &count);
    for (size_t i = 0; i < n && run->args->out != NULL; i++) {
        record_problem(figure, &all[i]);
    }
    cli_records_head_number(summary, "worst_policy_error", total.policy_error);
    cli_records_head_number(summary, "worst_reward_error", total.reward_error);
    cli_records_head_number(summary, "worst_q_error", total.q_error);
    if (text) {
        printf("Policy recovery (I1) and the bijection (I2) on %zu random problems, seed %llu, %s; worst errors:\n\n",
               n, (unsigned long long)tabular_args_of(run)->problem.seed, qa_precision());
        printf("%-28s %6s %11s %11s %11s %11s %8s %9s\n", "problems", "n", "policy", "log policy", "r2", "Q", "sweeps",
               "bound");
    }
    for (int kind = 0; kind < QA_PROBLEM_KINDS; kind++) {
        const qa_recovery worst = worst_of(all, n, kind, &count);
        summarise_kind(summary, qa_problem_kind_name((qa_problem_kind)kind), &worst, count, text);
    }
    if (text) {
        printf("\nworst policy error (I1)  %.2e\nworst reward error (I2)  %.2e\nworst Q error (I2)       %.2e\n",
               total.policy_error, total.reward_error, total.q_error);
    }
}

static qa_status prove_recovery(void *result, const tabular_args *args, uint64_t problem, qa_error *err) {
    return qa_prove_recovery(result, args->problem.seed, problem, err);
}

qa_status cli_tabular_recover(cli_run *run, qa_error *err) {
    static const tabular_proof recovery = {sizeof(qa_recovery), prove_recovery, summarise_recovery};
    return cli_tabular_prove(run, &recovery, problems_of(run), err);
}

/* ---- identities ---- */

/* A row an identity: its errors, all of a qa_identities but what is none. */
static const struct identity_row {
    const char *label, *name, *what;
    size_t offset;
} identity_rows[] = {
#define IDENTITY(label, name, what)                                                                                    \
    { label, #name, what, offsetof(qa_identities, name) }
    IDENTITY("I3", telescoping, "R(y) = V(s_0) + sum of Q(s,a) - V(s)"),
    IDENTITY("I3", log_ratio, "that sum = alpha_tilde log pitilde(y) - alpha_0 log pi1(y)"),
    IDENTITY("I3", placement_loss, "preference term, value of the next state or of the same: loss"),
    IDENTITY("I3", placement_gradient, "... and gradient"),
    IDENTITY("I4", dpo_logit, "DPO is gamma = 1, alpha_0 = alpha_tilde, beta = 0: preference logit"),
    IDENTITY("I4", dpo_loss, "... loss"),
    IDENTITY("I4", dpo_gradient, "... gradient"),
    IDENTITY("I7", dial_zero, "Q = 0, alpha_0 = alpha_tilde: pitilde = pi1"),
    IDENTITY("I7", dial_softmax, "alpha_0 = 0: pitilde = softmax(Q / alpha_tilde)"),
#undef IDENTITY
};
enum { IDENTITIES = sizeof identity_rows / sizeof identity_rows[0] };

static double identity_error(const qa_identities *found, size_t i) {
    return *(const double *)(const void *)((const char *)found + identity_rows[i].offset);
}

/* Number by number, of which a qa_identities is made. */
static qa_identities worst_identities(const qa_identities *all, size_t n) {
    qa_identities worst = {0};
    for (size_t i = 0; i < n; i++) {
        for (size_t at = 0; at < sizeof worst; at += sizeof(double)) {
            double *so_far = (double *)(void *)((char *)&worst + at);
            *so_far = qa_worse_error(*(const double *)(const void *)((const char *)&all[i] + at), *so_far);
        }
    }
    return worst;
}

/* The dial's table is what --out writes, the only one here that makes a curve. */
static void summarise_dial(const qa_identities *worst, bool text, cli_records *figure) {
    double alpha = 1.0;
    for (int k = 0; k < QA_DIAL_STEPS; k++, alpha *= 10.0) {
        cli_records_row(figure);
        cli_records_number(figure, "alpha", alpha);
        cli_records_number(figure, "log_ratio", worst->dial_ratio[k]);
        cli_records_number(figure, "share_of_bound", worst->dial_share[k]);
        if (text) {
            printf("%8g  %12.3g  %8.5f\n", alpha, worst->dial_ratio[k], worst->dial_share[k]);
        }
    }
}

static void summarise_identities(cli_run *run, const void *results, size_t n, cli_records *figure,
                                 cli_records *summary) {
    const bool text = cli_tabular_wants_text(run);
    const qa_identities w = worst_identities(results, n);
    double worst = 0.0;
    for (size_t i = 0; i < IDENTITIES; i++) {
        worst = qa_worse_error(identity_error(&w, i), worst);
    }
    cli_records_head_number(summary, "worst_error", worst);
    cli_records_head_number(summary, "placement_at_gamma_09", w.placement_at_09);
    if (text) {
        printf("Telescoping (I3), DPO (I4), the dial (I7) on %zu random problems, seed %llu, %s; worst errors:\n\n", n,
               (unsigned long long)tabular_args_of(run)->problem.seed, qa_precision());
    }
    for (size_t i = 0; i < IDENTITIES; i++) {
        const struct identity_row *row = &identity_rows[i];
        cli_records_row(summary);
        cli_records_text(summary, "identity", row->label);
        cli_records_text(summary, "name", row->name);
        cli_records_number(summary, "error", identity_error(&w, i));
        if (text) {
            printf("%-3s  %-72s %9.1e\n", row->label, row->what, identity_error(&w, i));
        }
    }
    if (text) {
        printf("\nworst error  %.2e\n", worst);
        printf("\nNot an identity: at gamma = 0.9 the two placements' preference terms differ by up to %.2g.\n",
               w.placement_at_09);
        printf("\nI7, alpha_0 = alpha_tilde = alpha growing: the largest |log pitilde / pi1|, and the largest share of "
               "its\n"
               "bound (max Q - min Q) / alpha that any state reaches (at most 1):\n\n%8s  %12s  %8s\n",
               "alpha", "|log ratio|", "share");
    }
    summarise_dial(&w, text, figure);
}

static qa_status prove_identities(void *result, const tabular_args *args, uint64_t problem, qa_error *err) {
    return qa_prove_identities(result, args->problem.seed, problem, err);
}

qa_status cli_tabular_identities(cli_run *run, qa_error *err) {
    static const tabular_proof identities = {sizeof(qa_identities), prove_identities, summarise_identities};
    return cli_tabular_prove(run, &identities, problems_of(run), err);
}
