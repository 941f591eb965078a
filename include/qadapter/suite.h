/* Suites: questions with automatically graded answers, and shares of classes among sampled answers beside the known
 * optimum of a preference. docs/formats.md describes the files. */
#ifndef QADAPTER_SUITE_H
#define QADAPTER_SUITE_H

#include "qadapter/data.h"
#include "qadapter/infer.h"
#include "qadapter/model.h"
#include "qadapter/objective.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

QA_BEGIN_DECLS

/* ---- graders ---- */

typedef enum qa_grader_kind {
    QA_GRADER_EXACT,    /* the answer, white space at both ends aside */
    QA_GRADER_CONTAINS, /* the answer appears in the response */
    QA_GRADER_CHOICE,   /* the last stand-alone capital letter A..Z of the response is the answer */
    QA_GRADER_REGEX     /* the answer, a PCRE2 pattern, matches somewhere in the response */
} qa_grader_kind;

typedef struct qa_grader qa_grader;
QA_MUST_CHECK qa_status qa_grader_create(qa_grader **grader, const char *kind, const char *answer, qa_error *err);
void qa_grader_free(qa_grader *grader); /* NULL is allowed */
/* A pattern that takes too much work on a response counts as no match, and the grader has given up. */
bool qa_grader_accepts(const qa_grader *grader, const char *response, size_t bytes);
bool qa_grader_gave_up(const qa_grader *grader);

/* ---- the known optimum ---- */

/* (M4) for a response-level reward that depends on the class alone, gamma = 1, alpha_0 = alpha_tilde: the share of
 * class k under the optimal customised policy, p_k exp(r_k / alpha_tilde) / sum. shares, optimum: [n], shares sum to 1
 * (all 0: so is the optimum). Finite for every finite reward. */
void qa_optimal_shares(double *optimum, const double *shares, const double *reward, size_t n, double alpha_tilde);
/* 1/2 sum |p - q|, [n]. */
double qa_total_variation(const double *p, const double *q, size_t n);

/* ---- suites ---- */

enum { QA_SUITE_MAX_CLASSES = 16, QA_SUITE_MAX_KINDS = 32, QA_SUITE_NAME_BYTES = 64 };

typedef struct qa_suite qa_suite;

/* path: a folder with suite.json, a suite.json, or a JSON Lines file of {"messages", "answer", "grader"} (a suite of
 * one skill). All questions and prompts are read and checked at once: an error names file and line. The ordinary text
 * must be there but is read by qa_suite_run; a preference's pairs need not be there yet. */
QA_MUST_CHECK qa_status qa_suite_load(qa_suite **suite, const char *path, qa_error *err);
void qa_suite_free(qa_suite *suite); /* NULL is allowed */

/* What its files hold that is not used. Owned by the suite. */
const qa_warnings *qa_suite_warnings(const qa_suite *suite);
const char *qa_suite_name(const qa_suite *suite); /* owned by the suite */

/* Right answers of n; and of the questions of one "kind". */
typedef struct qa_kind_result {
    char name[QA_SUITE_NAME_BYTES];
    size_t questions, right;
} qa_kind_result;

typedef struct qa_skill_result {
    char name[QA_SUITE_NAME_BYTES];
    size_t questions, right;
    size_t n_kinds; /* in the order in which they appear; those beyond the room count in the skill alone */
    qa_kind_result kinds[QA_SUITE_MAX_KINDS];
} qa_skill_result;

typedef struct qa_class_result {
    char name[QA_SUITE_NAME_BYTES];
    size_t count;     /* sampled answers of this class */
    double share;     /* of all */
    double error;     /* binomial standard error of the share */
    double generator; /* the world's own probability; NaN: not known */
    double base;      /* share under the base model as measured when it was made; NaN: not known */
    double optimum;   /* share under the optimal policy of the summed preferences; NaN: none asked for */
    double reward;    /* nats; NaN without a preference on these classes */
} qa_class_result;

typedef struct qa_shares_result {
    char name[QA_SUITE_NAME_BYTES];
    size_t answers, unclassified;
    size_t n_classes;
    qa_class_result classes[QA_SUITE_MAX_CLASSES];
    double mean_reward;     /* nats; NaN without a preference on these classes */
    double optimal_reward;  /* of the optimum */
    double total_variation; /* between shares and optimum; unclassified answers count as a class of their own */
    double kl_to_optimum; /* KL(shares || optimum), nats, likewise; half a count is added to every class on both sides,
                             so that it is finite, and 0 where the two agree */
    double sequence_kl; /* mean over answers of log pitilde - log pi1: an estimate of the KL per answer, nats; over all
                           sampled tokens, with those behind the text that ends an answer where no token does; NaN
                           without an adapter, and of a plain one that is not `measured` */
} qa_shares_result;

typedef struct qa_suite_result {
    size_t n_skills;
    qa_skill_result *skills; /* owned; qa_suite_result_free */
    size_t n_shares;
    qa_shares_result *shares;
    double ordinary_kl; /* KL(pitilde || pi1) per token on the skills' answers, nats; NaN: no adapter, no question, or a
                           plain adapter that is not `measured` */
    double perplexity;  /* of the policy on the suite's ordinary text; NaN: the suite has none */
    size_t perplexity_tokens;
    qa_warnings warnings; /* what there is to say of the ordinary text */
    double seconds;
} qa_suite_result;

/* A preference of the suite's in a sum: its reward counts `weight` times. */
typedef struct qa_suite_term {
    const char *preference;
    double weight; /* finite */
} qa_suite_term;

typedef struct qa_suite_options {
    const qa_objective
        *objective;            /* of the policy; NULL without an adapter. Of a mixture its alpha_tilde alone is read */
    const qa_mixture *mixture; /* the policy instead of an adapter's; NULL: none */
    size_t particles;          /* of a mixture: answers that are sampled for one (infer.h); 0: 1 */
    const qa_suite_term *sum;  /* [n_sum] the preferences whose summed reward, and its optimum, are reported */
    size_t n_sum;              /* 0: none */
    size_t limit;              /* questions per skill, prompts per share file, documents of the text; 0: all */
    size_t samples;            /* sampled answers per open prompt, >= 1 */
    size_t batch;
    bool measured; /* the divergences from pi1 are wanted of a plain adapter, too: then the base model runs beside it */
    uint64_t seed;
    qa_chat_template chat;
    const char *transcript; /* every answer as JSON Lines goes to this file; NULL: none */
    bool (*progress)(void *user, const char *what, size_t done, size_t total);
    void *user;
    const qa_chat *renderer; /* what writes dialogues instead of `chat`, any template; NULL: the one that chat names */
} qa_suite_options;

/* Skills are answered greedily, open prompts sampled at temperature 1 with nothing cut off. */
QA_MUST_CHECK qa_status qa_suite_run(const qa_suite *suite, qa_model *model, const qa_adapter *adapter,
                                     const qa_tokenizer *tokenizer, const qa_suite_options *options,
                                     qa_suite_result *result, qa_error *err);
void qa_suite_result_free(qa_suite_result *result);

/* Path of the held-out pairs of a preference (owned by the suite); NULL when there is no such preference or it names no
 * pairs. Whether the file is there is not checked. */
const char *qa_suite_preference_pairs(const qa_suite *suite, const char *preference);
bool qa_suite_has_preference(const qa_suite *suite, const char *preference);
/* "a, b, c" of the suite's preferences, owned by the suite. */
const char *qa_suite_preference_names(const qa_suite *suite);

QA_END_DECLS

#endif
