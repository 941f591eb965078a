/* cluster_plan: what a training step takes on so many machines, from what it takes on one. docs/cluster.md has the
 * formula and what its parts are:
 *
 *   step(R) = tokens of the fullest rank x seconds of a token        computing
 *           + bytes that a rank sends or gets / bandwidth            exchanging
 *           + messages that it sends x latency
 *           + update                                                 the same on every rank
 *
 * The pairs go to ranks as in training: qa_gradient_leaves and qa_cluster_cut, their nodes as of qa_gradient_nodes; the
 * mean over many steps whose pairs are drawn from the lengths. */
#include "base/checked.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "cluster/cluster.h"
#include "io/file.h"
#include "io/json.h"
#include "train/gradient_tree.h"

#include "support/arguments.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 200, MAX_RANKS = 4096 };

typedef struct options {
    const char *bench, *lengths;
    size_t pairs, bytes;
    double faster, gigabytes, microseconds, once;
    argument_list ranks;
    bool help;
} options;

#define ROW(name_, kind_, field_, value_, help_, ...)                                                                  \
    ARGUMENT(name_, ARGUMENT_##kind_, offsetof(options, field_), value_, help_, __VA_ARGS__)
static const argument OPTIONS[] = {
    ROW("--bench", TEXT, bench, "FILE", "of qadapter bench --measure train --json: tokens, seconds, parameters",
        .required = true),
    ROW("--pairs", SIZE, pairs, "N", "pairs of a step (default 64)", .least = 1, .most = 65536),
    ROW("--ranks", LIST, ranks, "N", "ranks, each on a machine of its own; several times (default 1, 2, 4, ... 64)"),
    ROW("--lengths", TEXT, lengths, "FILE", "tokens of a pair a line; steps are drawn from them (default: all alike)"),
    ROW("--faster", NUMBER, faster, "X", "a rank computes so many times as fast as what was measured (default 1)"),
    ROW("--gigabytes-per-second", NUMBER, gigabytes, "X", "of a machine's network, each way (default 1.18: 10 GbE)"),
    ROW("--microseconds", NUMBER, microseconds, "X", "that a message is on its way (default 30)"),
    ROW("--bytes", SIZE, bytes, "N", "of a number of the gradient, 4 or 8 (default 4)", .least = 4, .most = 8),
    ROW("--once", NUMBER, once, "SECONDS", "of every step that no rank takes off another, beside the update"),
    ROW("--help", FLAG, help, "", "print this"),
    {0}};

typedef struct costs {
    double token, update, gradient; /* seconds, seconds, bytes */
    size_t step_tokens;             /* of a pair, where no lengths are given */
    size_t *lengths, n_lengths;
} costs;

/* ---- reading ---- */

static qa_status read_bench(const options *o, costs *c, qa_error *err) {
    json_t *root = NULL, *train = NULL, *parts = NULL, *seconds = NULL;
    size_t tokens = 0, pairs = 0, parameters = 0;
    double step = 0.0;
    qa_status status = QA_OK;
    QA_GOTO(done, qa_json_load(&root, o->bench, err));
    QA_GOTO(done, qa_json_get_object(root, "train", true, o->bench, &train, err));
    QA_GOTO(done, qa_json_get_object(root, "parts", true, o->bench, &parts, err));
    QA_GOTO(done, qa_json_get_object(train, json_object_get(train, "one_rank_seconds") ? "one_rank_seconds" : "seconds",
                                     true, o->bench, &seconds, err));
    QA_GOTO(done, qa_json_get_double(seconds, "median", true, o->bench, &step, err));
    QA_GOTO(done, qa_json_get_size(train, "tokens", true, o->bench, &tokens, err));
    QA_GOTO(done, qa_json_get_size(train, "pairs", true, o->bench, &pairs, err));
    QA_GOTO(done, qa_json_get_size(train, "trainable_parameters", true, o->bench, &parameters, err));
    QA_GOTO(done, qa_json_get_double(parts, "optimiser", true, o->bench, &c->update, err));
    if (tokens == 0 || pairs == 0 || !(step > c->update)) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s: a step of %zu pairs and %zu tokens in %g s, the optimiser in %g s",
                         o->bench, pairs, tokens, step, c->update);
    } else {
        c->token = (step - c->update) / (double)tokens / o->faster;
        c->update /= o->faster;
        c->step_tokens = tokens / pairs;
        c->gradient = (double)parameters * (double)o->bytes;
    }
done:
    json_decref(root);
    return status;
}

/* A whole number from 1 a line; blank lines count as none. */
static qa_status read_lengths(const char *path, costs *c, qa_error *err) {
    enum { MAX_BYTES = 1 << 28 };
    qa_text text = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_read_file(&text, path, MAX_BYTES, err));
    QA_GOTO(done, QA_NEW(c->lengths, text.n / 2 + 1, err, "%s: its numbers", path));
    for (const char *at = text.data, *end = at + text.n; at < end;) {
        char *behind = NULL;
        const unsigned long length = strtoul(at, &behind, 10);
        if (behind == at || length == 0 || length > 1000000) {
            status = qa_fail(err, QA_ERR_FORMAT, "%s, number %zu: expected tokens from 1 to a million, one a line",
                             path, c->n_lengths + 1);
            goto done;
        }
        c->lengths[c->n_lengths++] = length;
        for (at = behind; at < end && (*at == '\n' || *at == '\r'); at++) {
        }
    }
    if (c->n_lengths == 0) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s: expected tokens of a pair, one a line, and found none", path);
    }
done:
    qa_text_free(&text);
    return status;
}

/* ---- planning ---- */

typedef struct plan {
    double fullest, mean, nodes, alone; /* tokens, tokens, of all ranks; seconds of one rank; means over steps */
    double bytes;                       /* that the busiest rank sends or gets */
} plan;

/* The costs of the leaves of a step that is drawn. */
static void draw_leaves(const costs *c, qa_rng *rng, size_t pairs, size_t items_of_leaf, size_t leaves,
                        size_t *tokens) {
    for (size_t leaf = 0; leaf < leaves; leaf++) {
        tokens[leaf] = 0;
        for (size_t i = leaf * items_of_leaf; i < pairs && i < (leaf + 1) * items_of_leaf; i++) {
            tokens[leaf] += c->n_lengths == 0 ? c->step_tokens : c->lengths[qa_rng_below(rng, c->n_lengths)];
        }
    }
}

/* A rank sends the slices of its own nodes to the others and gets its slice of theirs; then the merged slices go
 * round. */
static double busiest_bytes(const size_t *first, size_t ranks, double gradient, double *nodes) {
    const double slice = gradient / (double)ranks, others = (double)(ranks - 1);
    double all = 0.0, most = 0.0, least = HUGE_VAL;
    for (size_t r = 0; r < ranks; r++) {
        const double mine = (double)qa_gradient_nodes(first[r], first[r + 1]);
        all += mine;
        most = mine > most ? mine : most;
        least = mine < least ? mine : least;
    }
    *nodes += all;
    return ranks == 1 ? 0.0 : fmax(most * others * slice, (all - least) * slice) + others * slice;
}

static plan plan_ranks(const costs *c, size_t pairs, size_t ranks, size_t *first) {
    size_t items_of_leaf = 1, tokens[QA_TREE_LEAVES];
    const size_t leaves = qa_gradient_leaves(pairs, QA_TREE_LEAVES, &items_of_leaf);
    qa_rng rng = qa_rng_seed(1, 0);
    plan p = {0};
    for (size_t step = 0; step < STEPS; step++) {
        double all = 0.0, fullest = 0.0;
        draw_leaves(c, &rng, pairs, items_of_leaf, leaves, tokens);
        qa_cluster_cut(tokens, leaves, ranks, first);
        for (size_t r = 0; r < ranks; r++) {
            double sum = 0.0;
            for (size_t leaf = first[r]; leaf < first[r + 1]; leaf++) {
                sum += (double)tokens[leaf];
            }
            all += sum;
            fullest = fmax(fullest, sum);
        }
        p.fullest += fullest / STEPS;
        p.mean += all / (double)ranks / STEPS;
        p.bytes += busiest_bytes(first, ranks, c->gradient, &p.nodes) / STEPS;
    }
    p.nodes /= STEPS;
    p.alone = p.mean * (double)ranks * c->token + c->update;
    return p;
}

static void print_ranks(const options *o, const costs *c, size_t ranks, size_t *first) {
    const plan p = plan_ranks(c, o->pairs, ranks, first);
    const double log_ranks = ceil(log2((double)ranks)),
                 messages = ranks == 1 ? 0.0 : 2.0 * (double)(ranks - 1) + 5.0 * log_ranks;
    const double computing = p.fullest * c->token, update = c->update + o->once;
    const double exchanging = p.bytes / (1e9 * o->gigabytes) + 1e-6 * o->microseconds * messages;
    const double step = computing + exchanging + update, speed_up = (p.alone + o->once) / step;
    printf("| %zu | %.2f | %.3g | %.3g | %.3g | %.3g | %.1f | %.0f%% |\n", ranks, p.fullest / p.mean, computing,
           exchanging, update, step, speed_up, 100.0 * speed_up / (double)ranks);
}

static qa_status print_plan(const options *o, const costs *c, qa_error *err) {
    size_t *first = NULL;
    QA_TRY(QA_NEW(first, MAX_RANKS + 1, err, "%d ranks", MAX_RANKS));
    printf("| ranks | fullest / mean | computing, s | exchanging, s | update, s | step, s | speed-up | efficiency |\n"
           "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < o->ranks.n; i++) {
        char *end = NULL;
        const unsigned long ranks = strtoul(o->ranks.items[i], &end, 10);
        if (ranks < 1 || ranks > MAX_RANKS || *end != '\0') {
            free(first);
            return qa_fail(err, QA_ERR_ARGUMENT, "--ranks: expected a number from 1 to %d, found \"%s\"", MAX_RANKS,
                           o->ranks.items[i]);
        }
        print_ranks(o, c, ranks, first);
    }
    free(first);
    return QA_OK;
}

static qa_status run(const options *o, qa_error *err) {
    costs c = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, read_bench(o, &c, err));
    if (o->lengths != NULL) {
        QA_GOTO(done, read_lengths(o->lengths, &c, err));
    }
    QA_GOTO(done, print_plan(o, &c, err));
done:
    free(c.lengths);
    return status;
}

int main(int argc, char **argv) {
    options o = {.pairs = 64, .faster = 1.0, .gigabytes = 1.18, .microseconds = 30.0, .bytes = 4};
    qa_error err = {0};
    qa_status status = arguments_read(&o, OPTIONS, 1, argc, argv, &o.help, &err);
    if (status == QA_OK && o.help) {
        puts("usage: cluster_plan --bench FILE [OPTIONS]");
        arguments_print(OPTIONS);
        return EXIT_SUCCESS;
    }
    if (o.ranks.n == 0) {
        o.ranks = (argument_list){{"1", "2", "4", "8", "16", "32", "64"}, 7};
    }
    return tool_exit("cluster_plan", status == QA_OK ? run(&o, &err) : status, &err);
}
