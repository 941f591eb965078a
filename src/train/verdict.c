/* See verdict.h. */
#include "train/verdict.h"

#include "train/pair_metrics.h"

#include <math.h>

enum { FEWEST_PAIRS = 16 };

void qa_verdict_begin_epoch(qa_verdict *verdict) {
    verdict->before = verdict->epoch;
    verdict->epoch = (qa_ranking){0};
}

void qa_verdict_add(qa_verdict *verdict, const qa_pair *pair, const qa_pair_step *step) {
    qa_ranking *ranking = &verdict->epoch;
    const double right = qa_ranked_right(step);
    if (isnan(right)) {
        return;
    }
    ranking->pairs++;
    ranking->right += right;
    if (pair->chosen_len != pair->rejected_len && right != 0.5) {
        const bool longer_chosen = pair->chosen_len > pair->rejected_len;
        ranking->unequal++;
        ranking->longer_chosen += longer_chosen ? 1 : 0;
        ranking->longer_wins += longer_chosen == (right > 0.5) ? 1 : 0;
    }
}

static qa_ranking last_epoch(const qa_verdict *verdict) {
    qa_ranking last = verdict->epoch;
    if (last.pairs < verdict->before.pairs) {
        last.pairs += verdict->before.pairs;
        last.right += verdict->before.right;
        last.unequal += verdict->before.unequal;
        last.longer_chosen += verdict->before.longer_chosen;
        last.longer_wins += verdict->before.longer_wins;
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

void qa_verdict_say(const qa_verdict *verdict, const qa_objective *objective, const qa_logger *logger) {
    const qa_ranking last = last_epoch(verdict);
    if (last.pairs < FEWEST_PAIRS) {
        return;
    }
    if (last.right < 0.5 * (double)last.pairs) {
        say_not_learned(&last, objective, logger);
    }
    if (last.unequal < FEWEST_PAIRS) {
        return;
    }
    /* Nine in ten for the longer one (or against it), where the labels do not say so. */
    const double chosen = percent((double)last.longer_chosen, last.unequal);
    const double wins = percent((double)last.longer_wins, last.unequal);
    if ((wins >= 90.0 && chosen < 75.0) || (wins <= 10.0 && chosen > 25.0)) {
        qa_log(
            logger, QA_LOG_WARNING,
            "rewards %s with length: the longer response has the larger return in %.0f%% of the last %zu training "
            "pairs of unequal length, and is the chosen one in %.0f%%. %s, or pairs whose responses are about equally "
            "long, take that away",
            wins >= 90.0 ? "grow" : "fall", wins, last.unequal, chosen,
            objective->kind == QA_PUBLISHED ? "The recipe theory" : "Length normalisation");
    }
}
