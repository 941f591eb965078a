/* See verdict.h. */
#include "train/verdict.h"

#include "rl/equations.h"

#include <math.h>

enum { FEWEST_PAIRS = 16, MANY_PAIRS = 100, MANY_TOKENS = 4096 };
static const double least_gain = 1e-5;  /* nats a token, above what rounding makes of two equal streams */
static const double chance_loss = 1e-2; /* nats a token, or of the loss of a pair: what luck may be */

void qa_verdict_begin_epoch(qa_verdict *verdict) {
    verdict->before = verdict->epoch;
    verdict->epoch = (qa_ranking){0};
}

/* A response run alone: likelier where it is chosen, or desirable, and less so where it is not. */
static void add_alone(qa_ranking *ranking, const qa_pair *pair, const qa_pair_record *alone) {
    const double gain = alone->log_pi[QA_CHOSEN] - alone->log_pi1[QA_CHOSEN];
    ranking->tokens += alone->counted[QA_CHOSEN];
    ranking->undesirable |= pair->undesirable;
    ranking->gain += pair->undesirable ? -gain : gain;
}

void qa_verdict_add(qa_verdict *verdict, const qa_pair *pair, const qa_pair_record *record) {
    qa_ranking *ranking = &verdict->epoch;
    const double right = record->right;
    if (isnan(right)) {
        add_alone(ranking, pair, record);
        return;
    }
    ranking->pairs++;
    ranking->right += right;
    ranking->ties += right == 0.5 ? 1 : 0;
    ranking->loss -= qa_m9_log_preference(record->logit);
    if (pair->chosen_len != pair->rejected_len && right != 0.5) {
        const bool longer_chosen = pair->chosen_len > pair->rejected_len;
        ranking->unequal++;
        ranking->longer_chosen += longer_chosen ? 1 : 0;
        ranking->longer_wins += longer_chosen == (right > 0.5) ? 1 : 0;
    }
}

void qa_verdict_evaluated(qa_verdict *verdict, size_t pairs, double accuracy) {
    verdict->held_out = pairs;
    verdict->held_out_right = accuracy * (double)pairs;
}

static qa_ranking last_epoch(const qa_verdict *verdict) {
    qa_ranking last = verdict->epoch;
    const qa_ranking *before = &verdict->before;
    if (last.pairs < before->pairs || last.tokens < before->tokens) {
        last.pairs += before->pairs;
        last.right += before->right;
        last.ties += before->ties;
        last.loss += before->loss;
        last.tokens += before->tokens;
        last.gain += before->gain;
        last.undesirable |= before->undesirable;
        last.unequal += before->unequal;
        last.longer_chosen += before->longer_chosen;
        last.longer_wins += before->longer_wins;
    }
    return last;
}

static double percent(double part, size_t whole) { return 100.0 * part / (double)whole; }

static void say_not_learned(const qa_ranking *last, const qa_objective *objective, const qa_logger *logger) {
    const double right = percent(last->right, last->pairs);
    if (objective->kind == QA_PUBLISHED) {
        const double longer = last->unequal == 0 ? 0.0 : percent((double)last->longer_chosen, last->unequal);
        qa_log(
            logger, QA_LOG_WARNING,
            "the preference was not learned: %.0f%% of the last %zu training pairs are ranked right. The published "
            "objective's rewards begin near log-probabilities, so a longer response starts behind, and the chosen one "
            "is the longer in %.0f%% of the pairs; under the recipe theory every pair starts even",
            right, last->pairs, longer);
        return;
    }
    qa_log(
        logger, QA_LOG_WARNING,
        "the preference was not learned: %.0f%% of the last %zu training pairs are ranked right. Try more epochs or a "
        "higher learning rate; if it stays below one half, look whether chosen and rejected are exchanged",
        right, last->pairs);
}

/* What the preference loss is with no opinion at all: -log(1/2). */
static const double no_opinion = 0.69314718055994531;

/* Less than one half; of few pairs, by more than two standard deviations of a coin, so that a short run on good pairs
 * is not blamed for its luck. */
static bool ranked_worse_than_a_coin(const qa_ranking *last) {
    const double pairs = (double)last->pairs, chance = last->pairs < MANY_PAIRS ? sqrt(pairs) : 0.0;
    return last->right < 0.5 * pairs - chance;
}

static void say_of_ranking(const qa_ranking *last, const qa_objective *objective, const qa_logger *logger) {
    const double loss = last->loss / (double)last->pairs;
    if (last->ties == last->pairs) {
        qa_log(logger, QA_LOG_WARNING,
               "nothing was learned: in each of the last %zu training pairs both returns are equal but for rounding, "
               "as with a fresh adapter. Look at the learning rate, and whether the pairs' responses differ",
               last->pairs);
    } else if (ranked_worse_than_a_coin(last)) {
        say_not_learned(last, objective, logger);
    } else if (last->right >= 0.5 * (double)last->pairs && objective->kind == QA_THEORY &&
               loss > no_opinion + chance_loss) {
        qa_log(logger, QA_LOG_WARNING,
               "the mean loss of the last %zu training pairs is %.3g, above the %.3g of an adapter without an opinion, "
               "though %.0f%% of them are ranked right: those that are wrong are far off. Try a lower learning rate",
               last->pairs, loss, no_opinion, percent(last->right, last->pairs));
    }
}

static void say_of_held_out(const qa_verdict *verdict, const qa_ranking *last, const qa_logger *logger) {
    const double pairs = (double)verdict->held_out, right = verdict->held_out_right;
    if (verdict->held_out >= FEWEST_PAIRS && right < 0.5 * pairs && last->right > 0.5 * (double)last->pairs) {
        qa_log(logger, QA_LOG_WARNING,
               "what was learned does not hold for the evaluation's pairs: %.0f%% of its %zu are ranked right, of the "
               "last %zu training pairs %.0f%%",
               percent(right, verdict->held_out), verdict->held_out, last->pairs, percent(last->right, last->pairs));
    }
}

static void say_of_responses(const qa_ranking *last, const qa_logger *logger) {
    const double gain = last->gain / (double)last->tokens;
    const bool by_chance = last->tokens < MANY_TOKENS && gain < -least_gain && gain > -chance_loss;
    if (!(gain > least_gain) && !by_chance) {
        qa_log(
            logger, QA_LOG_WARNING,
            "nothing was learned: the %s last %zu tokens are %.3g nats a token %s than under the base model. Look at "
            "the learning rate: too low, and nothing moves; too high, and it gets worse",
            last->undesirable ? "responses'" : "chosen responses'", last->tokens, gain,
            last->undesirable ? "likelier (of undesirable ones: unlikelier)" : "likelier");
    }
}

void qa_verdict_say(const qa_verdict *verdict, const qa_objective *objective, const qa_logger *logger) {
    const qa_ranking last = last_epoch(verdict);
    if (last.tokens >= FEWEST_PAIRS) {
        say_of_responses(&last, logger);
    }
    if (last.pairs < FEWEST_PAIRS) {
        return;
    }
    say_of_ranking(&last, objective, logger);
    say_of_held_out(verdict, &last, logger);
    if (last.unequal < FEWEST_PAIRS) {
        return;
    }
    /* Nine in ten for the longer one (or against it), where the labels do not say so. */
    const double chosen = percent((double)last.longer_chosen, last.unequal);
    const double wins = percent((double)last.longer_wins, last.unequal);
    if ((wins >= 90.0 && chosen < 75.0) || (wins <= 10.0 && chosen > 25.0)) {
        qa_log(logger, QA_LOG_WARNING,
               "rewards %s with length: the longer response has the larger return in %.0f%% of the last %zu training "
               "pairs of unequal length, and is the chosen one in %.0f%%. %sairs whose responses are about equally "
               "long take "
               "that away",
               wins >= 90.0 ? "grow" : "fall", wins, last.unequal, chosen,
               !qa_method_of(objective)->residual ? "P"
               : objective->kind == QA_PUBLISHED  ? "The recipe theory or p"
                                                  : "Length normalisation or p");
    }
}

void qa_verdict_say_of_tokens(double loss, size_t steps, size_t vocab_size, const qa_logger *logger) {
    const double guess = log((double)vocab_size);
    if (steps >= QA_FEWEST_STEPS && !(loss < 0.99 * guess)) {
        qa_log(logger, QA_LOG_WARNING,
               "nothing was learned: the mean loss of the last %zu steps is %.4g nats a token, and guessing each of "
               "the %zu tokens alike has %.4g. Look at the learning rate: too low, and nothing moves; too high, and it "
               "gets worse",
               steps, loss, vocab_size, guess);
    }
}
