/* Sampling a token a from x[a] = log pi(a|s), a < V. The options act in this order, which is Hugging Face's:
 *
 *   1. repetition penalty p   l[a] = l[a] * p where l[a] < 0, else l[a] / p, for every token seen, with l[a] =
 *                             x[a] + log Z. With the log Z of infer/policy.h l is the row of logits where the policy
 *                             is the softmax of one model's, as in Hugging Face's; elsewhere log Z = 0 and l is the
 *                             policy's log-probabilities. Only the seen tokens go through log Z: without a penalty
 *                             no number depends on it.
 *   2. temperature T          w[a] = exp((x[a] - max x) / T): unnormalised probabilities, the largest is 1.
 *                             T = 0 is greedy: the largest x[a], ties to the lowest id, and nothing below applies.
 *   3. top-k                  the k largest w, and all that are equal to the k-th.
 *   4. top-p                  of those, renormalised, the fewest largest that add up to at least p; at least one.
 *   5. min-p                  of those, w[a] >= min_p: at least min_p times the most probable token's probability.
 *
 * Each filter keeps a beginning of the order "larger w first, ties by lower id", so together they amount to one
 * cut-off in that order. The order is never sorted in full: a heap over all tokens costs O(V) to build and
 * O(log V) for every token looked at, and is built for top-k and top-p only.
 *
 * 6. The draw inverts the cumulative distribution of what is left in order of id. So a filter that removes nothing
 *    changes nothing, and a seed gives the same tokens on every machine up to rounding of the log-probabilities. */
#include "infer/sampler.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLER_STREAM = 0x73616d70 }; /* the seed's stream of random numbers that is ours */

struct qa_sampler {
    qa_sampling sampling;
    qa_rng rng;
    size_t V;
    double *weight; /* [V] x, then w */
    int32_t *heap;  /* [V] ids; NULL without top-k and top-p */
    bool *seen;     /* [V]; NULL without a repetition penalty */
};

/* What the filters keep: w > weight, and of those with w == weight the ids up to last_id. */
typedef struct cutoff {
    double weight;
    int32_t last_id;
} cutoff;

#define ROW(kind, field) QA_##kind(qa_sampling, field), .group = QA_GROUP_SAMPLING

static const qa_option sampling_rows[] = {
    {"temperature", ROW(NUMBER, temperature), .aliases = "temp", .range = QA_RANGE_FROM_0, .standard = "1",
     .help = "divides the log-probabilities; 0 always takes the likeliest token"},
    {"top-k", ROW(SIZE, top_k), .range = QA_RANGE_FROM_0, .standard = "0", .note = "%: off",
     .help = "sample among the N likeliest tokens"},
    {"top-p", ROW(NUMBER, top_p), .placeholder = "P", .range = QA_RANGE_0_TO_1, .standard = "1", .note = "%: off",
     .help = "sample among the likeliest tokens that together reach probability P; 0 keeps the likeliest alone"},
    {"min-p", ROW(NUMBER, min_p), .placeholder = "P", .range = QA_RANGE_0_TO_1, .standard = "0", .note = "%: off",
     .help = "drop tokens less likely than P times the likeliest"},
    {"repetition-penalty", ROW(NUMBER, repetition_penalty), .aliases = "repeat-penalty", .range = QA_RANGE_ABOVE_0,
     .standard = "1", .note = "%: off",
     .help = "above 1: tokens that were already there are less likely; on logits, as in transformers; on "
             "log-probabilities where the policy is no softmax of one model's logits (recipe published, other alphas)"},
    {"seed", ROW(SEED, seed), .letter = 's', .standard = "0",
     .help = "of the sampling; the same seed gives the same answer"},
};
const qa_option_table qa_sampling_table = QA_TABLE(sampling_rows);

qa_sampling qa_sampling_defaults(void) {
    qa_sampling sampling = {0};
    qa_options_default(&qa_sampling_table, &sampling);
    return sampling;
}

qa_status qa_sampling_check(const qa_sampling *sampling, qa_error *err) {
    return qa_options_check(&qa_sampling_table, sampling, err);
}

qa_status qa_sampler_create(qa_sampler **out, const qa_sampling *sampling, size_t V, qa_error *err) {
    *out = NULL;
    QA_TRY(qa_sampling_check(sampling, err));
    QA_FAIL_IF(V == 0 || V > INT32_MAX, err, QA_ERR_ARGUMENT, "cannot sample from a vocabulary of %zu tokens", V);
    qa_sampler *sampler = NULL;
    QA_TRY(QA_NEW(sampler, 1, err, "a sampler"));
    sampler->sampling = *sampling;
    sampler->rng = qa_rng_seed(sampling->seed, SAMPLER_STREAM);
    sampler->V = V;
    const bool filtered = sampling->top_k > 0 || sampling->top_p < 1.0;
    const bool penalised = sampling->repetition_penalty != 1.0;
    sampler->weight = qa_alloc_array(V, sizeof *sampler->weight);
    sampler->heap = filtered ? qa_alloc_array(V, sizeof *sampler->heap) : NULL;
    sampler->seen = penalised ? qa_alloc_array(V, sizeof *sampler->seen) : NULL;
    if (sampler->weight == NULL || (filtered && sampler->heap == NULL) || (penalised && sampler->seen == NULL)) {
        qa_sampler_free(sampler);
        return QA_NO_MEMORY(err, "sampling from %zu tokens", V);
    }
    *out = sampler;
    return QA_OK;
}

void qa_sampler_free(qa_sampler *sampler) {
    if (sampler != NULL) {
        free(sampler->weight);
        free(sampler->heap);
        free(sampler->seen);
        free(sampler);
    }
}

void qa_sampler_restart(qa_sampler *sampler, size_t prompt, size_t sample) {
    sampler->rng = qa_rng_seed(sampler->sampling.seed, qa_hash(qa_hash(SAMPLER_STREAM, prompt), sample));
    if (sampler->seen != NULL) {
        memset(sampler->seen, 0, sampler->V * sizeof *sampler->seen);
    }
}

qa_status qa_sampler_turn(qa_sampler *sampler, const qa_sampling *sampling, bool restart, bool *turned, qa_error *err) {
    const bool filtered = sampling->top_k > 0 || sampling->top_p < 1.0;
    QA_TRY(qa_sampling_check(sampling, err));
    *turned = sampling->repetition_penalty == 1.0 || sampler->seen != NULL;
    if (!*turned) {
        return QA_OK;
    }
    if (filtered && sampler->heap == NULL) {
        sampler->heap = qa_alloc_array(sampler->V, sizeof *sampler->heap);
        QA_FAIL_IF(sampler->heap == NULL, err, QA_ERR_MEMORY, "out of memory: sampling from %zu tokens", sampler->V);
    }
    if (restart || sampling->seed != sampler->sampling.seed) {
        sampler->rng = qa_rng_seed(sampling->seed, SAMPLER_STREAM);
    }
    sampler->sampling = *sampling;
    return QA_OK;
}

void qa_sampler_see(qa_sampler *sampler, const int32_t *ids, size_t n) {
    for (size_t i = 0; sampler->seen != NULL && i < n; i++) {
        sampler->seen[ids[i]] = true;
    }
}

/* Step 1: x into weight[V]; *best is the lowest id with the largest x. */
static qa_status penalised_scores(qa_sampler *sampler, const double *log_policy, double log_normaliser, size_t *best,
                                  qa_error *err) {
    double *x = sampler->weight;
    const double penalty = sampler->sampling.repetition_penalty;
    *best = 0;
    for (size_t a = 0; a < sampler->V; a++) {
        x[a] = log_policy[a];
        QA_FAIL_IF(isnan(x[a]) || x[a] == INFINITY, err, QA_ERR_NAN, "the policy's log-probability of token %zu is %g",
                   a, x[a]);
        if (sampler->seen != NULL && sampler->seen[a]) {
            const double logit = x[a] + log_normaliser;
            x[a] = (logit < 0.0 ? logit * penalty : logit / penalty) - log_normaliser;
        }
        if (x[a] > x[*best]) {
            *best = a;
        }
    }
    QA_FAIL_IF(x[*best] == -INFINITY, err, QA_ERR_NAN, "the policy gives every one of its %zu tokens probability 0",
               sampler->V);
    return QA_OK;
}

/* ---- the order "larger weight first, ties by lower id", as a heap with the first on top ---- */

static bool comes_before(const double *w, int32_t a, int32_t b) { return w[a] > w[b] || (w[a] == w[b] && a < b); }

static void sift_down_tokens(int32_t *heap, size_t n, size_t i, const double *w) {
    const int32_t moving = heap[i];
    for (size_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && comes_before(w, heap[child + 1], heap[child])) {
            child++;
        }
        if (!comes_before(w, heap[child], moving)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

/* Takes the first off a heap of n; it ends up at heap[n - 1]. */
static int32_t pop_token(int32_t *heap, size_t n, const double *w) {
    const int32_t first = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = first;
    sift_down_tokens(heap, n - 1, 0, w);
    return first;
}

/* Steps 3 and 4. After `taken` pops the i-th token of the order stands at heap[n - 1 - i], i < taken. */
static cutoff top_k_top_p(qa_sampler *sampler) {
    const double *w = sampler->weight;
    int32_t *heap = sampler->heap;
    size_t n = 0;
    double total = 0.0; /* of the weights that top-p sees */
    for (size_t a = 0; a < sampler->V; a++) {
        if (w[a] > 0.0) {
            heap[n++] = (int32_t)a;
            total += w[a];
        }
    }
    for (size_t i = n / 2; i-- > 0;) {
        sift_down_tokens(heap, n, i, w);
    }
    cutoff kept = {0.0, -1};
    size_t k = n;
    size_t taken = 0;
    if (sampler->sampling.top_k > 0 && sampler->sampling.top_k < n) {
        k = sampler->sampling.top_k;
        total = 0.0;
        for (; taken < n && (taken < k || w[heap[0]] == kept.weight); taken++) { /* and all that tie with the k-th */
            kept.last_id = pop_token(heap, n - taken, w);
            kept.weight = w[kept.last_id];
            total += kept.weight;
        }
        k = taken;
    }
    const double enough = sampler->sampling.top_p * total;
    double sum = 0.0;
    for (size_t i = 0; sampler->sampling.top_p < 1.0 && i < k; i++) {
        const int32_t id = i < taken ? heap[n - 1 - i] : pop_token(heap, n - i, w);
        sum += w[id];
        if (sum >= enough) {
            kept.weight = w[id];
            kept.last_id = id;
            break;
        }
    }
    return kept;
}

/* Step 6. */
static int32_t draw_token(qa_sampler *sampler, cutoff kept) {
    double *w = sampler->weight;
    double total = 0.0;
    for (size_t a = 0; a < sampler->V; a++) {
        if (w[a] < kept.weight || (w[a] == kept.weight && (int32_t)a > kept.last_id)) {
            w[a] = 0.0;
        }
        total += w[a];
    }
    const double target = qa_rng_uniform(&sampler->rng) * total;
    double sum = 0.0;
    int32_t last = 0; /* the last token with a weight, should rounding keep the sum from passing the target */
    for (size_t a = 0; a < sampler->V; a++) {
        if (w[a] > 0.0) {
            last = (int32_t)a;
            sum += w[a];
            if (sum > target) {
                break;
            }
        }
    }
    return last;
}

bool qa_sampler_penalises(const qa_sampler *sampler) { return sampler->seen != NULL; }

qa_status qa_sampler_pick(qa_sampler *sampler, const double *log_policy, double log_normaliser, int32_t *id,
                          qa_error *err) {
    const qa_sampling *sampling = &sampler->sampling;
    double *w = sampler->weight;
    size_t best = 0;
    QA_TRY(penalised_scores(sampler, log_policy, log_normaliser, &best, err));
    if (sampling->temperature == 0.0) {
        *id = (int32_t)best;
        return QA_OK;
    }
    const double max = w[best];
    for (size_t a = 0; a < sampler->V; a++) {
        w[a] = exp((w[a] - max) / sampling->temperature); /* step 2 */
    }
    cutoff kept = {0.0, -1};
    if (sampler->heap != NULL) {
        kept = top_k_top_p(sampler);
    }
    if (sampling->min_p > kept.weight) { /* step 5 */
        kept.weight = sampling->min_p;
        kept.last_id = INT32_MAX;
    }
    *id = draw_token(sampler, kept);
    return QA_OK;
}
