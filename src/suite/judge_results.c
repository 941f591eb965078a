/* What verdicts say: win rates, position bias, agreement. */
#include "suite/judge.h"

#include "base/memory.h"
#include "base/try.h"

#include <math.h>
#include <stdlib.h>

/* ---- shares, bootstrapped over prompts ---- */

/* Sums of each prompt: a share is the sum of parts over the sum of wholes. */
typedef struct prompt_sums {
    double *part, *whole; /* [n] */
    size_t n;
} prompt_sums;

static qa_status prompt_sums_create(prompt_sums *sums, size_t n, qa_error *err) {
    sums->n = n;
    QA_TRY(QA_NEW(sums->part, n, err, "%zu prompts", n));
    return QA_NEW(sums->whole, n, err, "%zu prompts", n);
}

static void prompt_sums_free(prompt_sums *sums) {
    free(sums->part);
    free(sums->whole);
}

static double share_of_sums(void *user, const size_t *weight) {
    const prompt_sums *sums = user;
    double part = 0.0, whole = 0.0;
    for (size_t i = 0; i < sums->n; i++) {
        const double times = weight == NULL ? 1.0 : (double)weight[i];
        part += times * sums->part[i];
        whole += times * sums->whole[i];
    }
    return whole > 0.0 ? part / whole : (double)NAN;
}

static qa_status bootstrap_share(double *share, qa_interval *interval, prompt_sums *sums,
                                 const qa_judge_options *options, qa_error *err) {
    *share = share_of_sums(sums, NULL);
    return qa_bootstrap_interval(interval, share_of_sums, sums, sums->n, options->resamples, options->seed,
                                 options->confidence, err);
}

/* ---- one judge's verdicts on one pair ---- */

static double verdict_score(qa_verdict verdict) {
    return verdict == QA_VERDICT_A ? 1.0 : verdict == QA_VERDICT_TIE ? 0.5 : 0.0;
}

/* Whether the verdict is for what was shown first, answer `first`. */
static bool is_for_first(qa_verdict verdict, size_t first) {
    return verdict == (first == 0 ? QA_VERDICT_A : QA_VERDICT_B);
}

/* Counts the judge's verdicts on the pair; how many. *score += the mean of them. */
static size_t count_pair(qa_judge_result *result, prompt_sums *positions, const qa_judge_pair *pair,
                         const unsigned char *verdicts, double *score) {
    size_t given = 0, for_first = 0, for_second = 0;
    double sum = 0.0;
    for (size_t first = 0; first < 2; first++) {
        const qa_verdict verdict = (qa_verdict)verdicts[first];
        if (verdict == QA_VERDICT_NONE) {
            continue;
        }
        given++;
        sum += verdict_score(verdict);
        result->a += verdict == QA_VERDICT_A ? 1 : 0;
        result->ties += verdict == QA_VERDICT_TIE ? 1 : 0;
        result->b += verdict == QA_VERDICT_B ? 1 : 0;
        for_first += is_for_first(verdict, first) ? 1 : 0;
        for_second += is_for_first(verdict, 1 - first) ? 1 : 0;
    }
    result->verdicts += given;
    result->first += for_first;
    result->second += for_second;
    positions->part[pair->prompt] += (double)for_first;
    positions->whole[pair->prompt] += (double)(for_first + for_second);
    if (given == 2) {
        result->both++;
        result->both_agree += verdicts[0] == verdicts[1] ? 1 : 0;
        result->both_first += for_first == 2 ? 1 : 0;
        result->both_second += for_second == 2 ? 1 : 0;
    }
    *score += given > 0 ? sum / (double)given : 0.0;
    return given;
}

static void count_verdicts(qa_judge_result *result, prompt_sums *wins, prompt_sums *positions, const qa_judge_key *key,
                           const qa_judge *judges, size_t n) {
    for (size_t i = 0; i < key->n; i++) {
        const qa_judge_pair *pair = &key->pairs[i];
        double score = pair->identical ? 0.5 : 0.0, judged = pair->identical ? 1.0 : 0.0;
        for (size_t j = 0; j < n && !pair->identical; j++) {
            judged += count_pair(result, positions, pair, &judges[j].verdicts[2 * i], &score) > 0 ? 1.0 : 0.0;
        }
        if (judged > 0.0) {
            result->pairs++;
            wins->part[pair->prompt] += score / judged;
            wins->whole[pair->prompt] += 1.0;
        }
    }
}

static void test_prompts(qa_judge_result *result, const prompt_sums *wins, double confidence) {
    const double tiny = 1e-9; /* above the rounding of a sum of halves and thirds */
    for (size_t i = 0; i < wins->n; i++) {
        const double above = wins->part[i] - 0.5 * wins->whole[i];
        result->prompts_a += above > tiny ? 1 : 0;
        result->prompts_b += above < -tiny ? 1 : 0;
    }
    result->prompts_interval = qa_wilson_interval(result->prompts_a, result->prompts_a + result->prompts_b, confidence);
    result->p_value = qa_sign_test(result->prompts_a, result->prompts_b);
}

qa_status qa_judge_measure(qa_judge_result *result, const qa_judge_key *key, const qa_judge *judges, size_t n,
                           const qa_judge_options *options, qa_error *err) {
    prompt_sums wins = {0}, positions = {0};
    qa_status status = QA_OK;
    *result = (qa_judge_result){0};
    QA_GOTO(done, prompt_sums_create(&wins, key->prompts, err));
    QA_GOTO(done, prompt_sums_create(&positions, key->prompts, err));
    count_verdicts(result, &wins, &positions, key, judges, n);
    test_prompts(result, &wins, options->confidence);
    QA_GOTO(done, bootstrap_share(&result->win_rate, &result->win_rate_interval, &wins, options, err));
    QA_GOTO(done, bootstrap_share(&result->first_share, &result->first_interval, &positions, options, err));
    result->position_p_value =
        n == 1 ? qa_sign_test(result->both_first, result->both_second) : (double)NAN; /* judges see the same pairs */
done:
    prompt_sums_free(&wins);
    prompt_sums_free(&positions);
    return status;
}

/* ---- agreement ---- */

enum { PAIRS_OF_CATEGORIES = QA_VERDICT_CATEGORIES * QA_VERDICT_CATEGORIES };

/* Of two judges: counts[prompt][first's category][second's]. */
typedef struct prompt_counts {
    size_t (*counts)[PAIRS_OF_CATEGORIES];
    size_t n;
} prompt_counts;

static double kappa_of_prompts(void *user, const size_t *weight) {
    const prompt_counts *prompts = user;
    size_t sum[PAIRS_OF_CATEGORIES] = {0};
    for (size_t i = 0; i < prompts->n; i++) {
        for (size_t c = 0; c < PAIRS_OF_CATEGORIES; c++) {
            sum[c] += (weight == NULL ? 1 : weight[i]) * prompts->counts[i][c];
        }
    }
    return qa_cohen_kappa(sum, QA_VERDICT_CATEGORIES);
}

/* The item's counts of categories; false where a judge has not decided it. */
static bool count_item(size_t counts[QA_VERDICT_CATEGORIES], const qa_judge *const *judges, size_t n, size_t item) {
    memset(counts, 0, QA_VERDICT_CATEGORIES * sizeof *counts);
    for (size_t j = 0; j < n; j++) {
        if (judges[j]->verdicts[item] == QA_VERDICT_NONE) {
            return false;
        }
        counts[judges[j]->verdicts[item] - QA_VERDICT_A]++;
    }
    return true;
}

static bool all_agree(const size_t counts[QA_VERDICT_CATEGORIES], size_t n) {
    return counts[0] == n || counts[1] == n || counts[2] == n;
}

static qa_status agree_of_two(qa_agreement *agreement, prompt_counts *prompts, const qa_judge_options *options,
                              qa_error *err) {
    agreement->kappa = kappa_of_prompts(prompts, NULL);
    return qa_bootstrap_interval(&agreement->interval, kappa_of_prompts, prompts, prompts->n, options->resamples,
                                 options->seed, options->confidence, err);
}

qa_status qa_judge_agreement(qa_agreement *agreement, const qa_judge_key *key, const qa_judge *const *judges, size_t n,
                             const qa_judge_options *options, qa_error *err) {
    prompt_counts prompts = {.n = key->prompts};
    size_t(*subjects)[QA_VERDICT_CATEGORIES] = NULL, items = 0, same = 0;
    qa_status status = QA_OK;
    QA_GOTO(done, QA_NEW(subjects, 2 * key->n, err, "%zu items", 2 * key->n));
    QA_GOTO(done, QA_NEW(prompts.counts, prompts.n, err, "%zu prompts", prompts.n));
    for (size_t item = 0; item < 2 * key->n; item++) {
        if (count_item(subjects[items], judges, n, item)) {
            const size_t first = judges[0]->verdicts[item] - QA_VERDICT_A;
            const size_t second = judges[n - 1]->verdicts[item] - QA_VERDICT_A;
            prompts.counts[key->pairs[item / 2].prompt][first * QA_VERDICT_CATEGORIES + second]++;
            same += all_agree(subjects[items++], n) ? 1 : 0;
        }
    }
    *agreement = (qa_agreement){.items = items,
                                .agreed = items > 0 ? (double)same / (double)items : (double)NAN,
                                .interval = {(double)NAN, (double)NAN}};
    if (n == 2) {
        status = agree_of_two(agreement, &prompts, options, err);
    } else {
        agreement->kappa = qa_fleiss_kappa(subjects[0], items, QA_VERDICT_CATEGORIES);
    }
done:
    free(subjects);
    free(prompts.counts);
    return status;
}
