/* Judges: two files of answers to the same prompts become items that a person or a model decides without knowing whose
 * answer is whose, each pair in both positions; their verdicts become win rates, agreement and position bias.
 *
 *     judge_pairs.c        two files of answers, matched by their prompts
 *     judge_export.c       items as JSON Lines and as a page, and the key to them
 *     judge_verdicts.c     the key and the judges' files, read back and checked against each other
 *     judge_results.c      what the verdicts say
 *     judge_statistics.c   intervals, tests, kappa: pure functions */
#ifndef QA_SUITE_JUDGE_H
#define QA_SUITE_JUDGE_H

#include "io/json.h"
#include "suite/judge_statistics.h"

enum { QA_JUDGE_ID_BYTES = 17 };

/* The first digits of the digest of an answer, a JSON string. */
void qa_judge_fingerprint(const json_t *answer, char fingerprint[QA_JUDGE_ID_BYTES]);

/* ---- export ---- */

/* Two answers to one prompt. */
typedef struct qa_answer_pair {
    json_t *prompt; /* a string, or the messages of a dialogue */
    json_t *answers[2];
    size_t prompt_index; /* of the prompts that are different, in the order of the first file */
} qa_answer_pair;

/* Zero-initialise; qa_answer_pairs_free. */
typedef struct qa_answer_pairs {
    qa_answer_pair *items; /* [n] */
    size_t n, capacity, prompts;
    qa_warnings warnings; /* columns that are not used */
} qa_answer_pairs;

/* Reads paths[2], answers as `generate --in --out` writes them ("messages", or "prompt" and "completion"). The k-th
 * answer of one file to a prompt belongs to the k-th of the other; an answer without a partner is QA_ERR_MISMATCH. */
QA_MUST_CHECK qa_status qa_answer_pairs_load(qa_answer_pairs *pairs, const char *const paths[2], qa_error *err);
void qa_answer_pairs_free(qa_answer_pairs *pairs);

typedef struct qa_judge_export_options {
    const char *names[2]; /* of the two files' policies */
    bool once;            /* each pair in one position only, which chance decides */
    uint64_t seed;        /* of the order and of the items' ids */
} qa_judge_export_options;

/* What export makes; zero-initialise, qa_judge_export_free. */
typedef struct qa_judge_exported {
    qa_text items, page, key; /* JSON Lines, HTML, JSON */
    size_t n, identical;      /* items; pairs that are none, since their answers are the same text */
} qa_judge_exported;

QA_MUST_CHECK qa_status qa_judge_export(qa_judge_exported *made, const qa_answer_pairs *pairs,
                                        const qa_judge_export_options *options, qa_error *err);
void qa_judge_export_free(qa_judge_exported *made);

/* ---- import ---- */

/* A pair as the key has it. */
typedef struct qa_judge_pair {
    size_t prompt;                           /* below qa_judge_key.prompts */
    bool identical;                          /* shown to nobody: a tie */
    char ids[2][QA_JUDGE_ID_BYTES];          /* of the items in which answer 0, 1 is shown first; "": there is none */
    char fingerprints[2][QA_JUDGE_ID_BYTES]; /* of the answers */
} qa_judge_pair;

/* Zero-initialise; qa_judge_key_free. An item is known by 2 * its pair + which answer is shown first. */
typedef struct qa_judge_key {
    char *names[2];
    qa_judge_pair *pairs; /* [n] */
    size_t n, prompts, items;
    json_t *places; /* id: item */
} qa_judge_key;

QA_MUST_CHECK qa_status qa_judge_key_load(qa_judge_key *key, const char *path, qa_error *err);
void qa_judge_key_free(qa_judge_key *key);

/* Whom a verdict is for, whichever was shown first. */
typedef enum qa_verdict { QA_VERDICT_NONE, QA_VERDICT_A, QA_VERDICT_TIE, QA_VERDICT_B } qa_verdict;
enum { QA_VERDICT_CATEGORIES = 3 }; /* all but none */
enum { QA_JUDGES_MOST = 256 };      /* each has a table of verdicts, and is compared with every other */

typedef struct qa_judge {
    char *name;
    unsigned char *verdicts; /* [2 * key->n], a qa_verdict each */
    size_t given;
} qa_judge;

/* Zero-initialise; qa_judges_free. */
typedef struct qa_judges {
    qa_judge *items; /* [n] */
    size_t n, capacity;
} qa_judges;

/* Adds the verdicts of a file: lines {"id", "verdict": "first", "second" or "tie", "judge"}; without a judge's name it
 * is the file's. More than QA_JUDGES_MOST judges, an unknown id, a second verdict on an item, a value that is no
 * verdict, texts that are not the exported ones: an error that names the line. */
QA_MUST_CHECK qa_status qa_judges_read(qa_judges *judges, const qa_judge_key *key, const char *path, qa_error *err);
/* QA_ERR_MISMATCH unless every judge has decided every item; with `partial`, at least one. */
QA_MUST_CHECK qa_status qa_judges_check(const qa_judges *judges, const qa_judge_key *key, bool partial, qa_error *err);
void qa_judges_free(qa_judges *judges);

typedef struct qa_judge_options {
    size_t resamples;
    uint64_t seed;
    double confidence;
} qa_judge_options;

/* A verdict counts 1, 1/2 (tie) or 0 for A, a pair the mean of its verdicts, a prompt the mean of its pairs. Of several
 * judges a pair counts the mean of the judges who decided it. Intervals of the first kind are bootstrapped over prompts
 * (qa_bootstrap_interval), since the verdicts on one prompt go together. */
typedef struct qa_judge_result {
    size_t verdicts, pairs;         /* pairs with a verdict or with the same answers */
    size_t a, ties, b;              /* verdicts */
    double win_rate;                /* of A, over pairs */
    qa_interval win_rate_interval;  /* bootstrap */
    size_t prompts_a, prompts_b;    /* prompts that count more, less than 1/2 */
    qa_interval prompts_interval;   /* Wilson, of prompts_a / (prompts_a + prompts_b) */
    double p_value;                 /* sign test of them */
    size_t first, second;           /* verdicts that are no ties: for the answer shown first, second */
    double first_share;             /* first / (first + second); 1/2: no position bias */
    qa_interval first_interval;     /* bootstrap */
    size_t both, both_agree;        /* pairs decided in both positions; ... for the same answer (or both ties) */
    size_t both_first, both_second; /* ... for what was shown first in both, second in both */
    double position_p_value;        /* sign test of those two; NaN for several judges at once */
} qa_judge_result;

/* judges[n] together. */
QA_MUST_CHECK qa_status qa_judge_measure(qa_judge_result *result, const qa_judge_key *key, const qa_judge *judges,
                                         size_t n, const qa_judge_options *options, qa_error *err);

typedef struct qa_agreement {
    size_t items;         /* that all of them decided */
    double agreed;        /* share with the same verdict by all */
    double kappa;         /* Cohen's of two judges, Fleiss' of more */
    qa_interval interval; /* of Cohen's: bootstrap over prompts; else NaN */
} qa_agreement;

QA_MUST_CHECK qa_status qa_judge_agreement(qa_agreement *agreement, const qa_judge_key *key,
                                           const qa_judge *const *judges, size_t n, const qa_judge_options *options,
                                           qa_error *err);

#endif
