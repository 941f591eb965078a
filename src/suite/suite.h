/* Suites, inside the library: what a folder of questions becomes.
 *
 *     suite_lines.c   JSON Lines of questions and prompts
 *     suite_load.c    suite.json, checked against itself
 *     suite_run.c     prompts into answers, answers into grades and counts
 *     suite_shares.c  counts of classes beside the known optimum
 *     suite_text.c    perplexity on ordinary text
 *     transcript.c    every answer as JSON Lines */
#ifndef QA_SUITE_SUITE_H
#define QA_SUITE_SUITE_H

#include "data/pairs.h"
#include "io/json.h"
#include "qadapter/suite.h"
#include "suite/regex.h"

enum { QA_SUITE_DEFAULT_MAX_TOKENS = 256 };

/* One line: a conversation that waits for an answer, and how the answer is graded. */
typedef struct qa_suite_item {
    json_t *json;              /* the line; what follows points into it */
    qa_dialogue dialogue;      /* owned array, ends with a user's message */
    qa_grader *grader;         /* owned; NULL for an open prompt */
    const char *answer, *kind; /* NULL: none */
    size_t line;
} qa_suite_item;

typedef struct qa_suite_items {
    char *path; /* owned, for messages */
    qa_suite_item *items;
    size_t n, capacity;
} qa_suite_items;

typedef struct qa_suite_skill {
    char name[QA_SUITE_NAME_BYTES];
    size_t max_tokens;
    qa_suite_items questions;
} qa_suite_skill;

typedef struct qa_suite_class {
    char name[QA_SUITE_NAME_BYTES];
    qa_regex *pattern;
    double generator, base; /* NaN: not known */
} qa_suite_class;

typedef struct qa_suite_shares {
    char name[QA_SUITE_NAME_BYTES];
    size_t max_tokens;
    qa_suite_items prompts;
    size_t n_classes;
    qa_suite_class classes[QA_SUITE_MAX_CLASSES];
} qa_suite_shares;

typedef struct qa_suite_preference {
    char name[QA_SUITE_NAME_BYTES];
    size_t shares;                       /* index of what the reward is about */
    double reward[QA_SUITE_MAX_CLASSES]; /* of its classes, nats */
    char *pairs;                         /* path; NULL: none */
} qa_suite_preference;

struct qa_suite {
    char name[QA_SUITE_NAME_BYTES];
    size_t n_skills, n_shares, n_preferences;
    qa_suite_skill *skills;
    qa_suite_shares *shares;
    qa_suite_preference *preferences;
    char *text; /* path of the ordinary text; NULL: none */
    qa_text preference_names;
    qa_warnings warnings;
};

/* NULL when there is none of that name. */
const qa_suite_preference *qa_suite_find_preference(const qa_suite *suite, const char *name);

/* Reads path (copied): every line must be {"messages": ...} and, when graded, have "answer" and "grader". Errors name
 * file and line; what is not used is a warning. */
QA_MUST_CHECK qa_status qa_suite_items_read(qa_suite_items *items, const char *path, bool graded, qa_warnings *warnings,
                                            qa_error *err);
void qa_suite_items_free(qa_suite_items *items);

/* KL between the shares count[n] / total and q[n], nats, with half a count added to every class on both sides: finite,
 * and 0 where the two agree. */
double qa_smoothed_kl(const double *count, const double *q, size_t n, double total);

/* ---- results ---- */

/* The class of a response, n_classes: none of them. */
size_t qa_suite_classify(const qa_suite_shares *shares, const char *response, size_t bytes);

/* The reward of shares number i, summed over the options' preferences, into reward[QA_SUITE_MAX_CLASSES]; false: none
 * of them is about these shares. */
bool qa_suite_summed_reward(double *reward, const qa_suite *suite, size_t i, const qa_suite_options *options);

/* Fills what follows from the counts that are in *result: shares, errors and, with a reward of the classes (NULL:
 * none), everything about its optimum. */
void qa_suite_shares_finish(qa_shares_result *result, const qa_suite_shares *shares, const double *reward,
                            double alpha_tilde);

/* Perplexity of the policy on the learned tokens of a corpus file; what there is to say of the file is appended to
 * *warnings. */
QA_MUST_CHECK qa_status qa_suite_perplexity(const char *path, qa_model *model, const qa_adapter *adapter,
                                            const qa_tokenizer *tokenizer, const qa_suite_options *options,
                                            double *perplexity, size_t *tokens, qa_warnings *warnings, qa_error *err);

/* ---- the transcript ---- */

typedef struct qa_transcript qa_transcript;

/* path NULL: *transcript is NULL, and nothing is written. */
QA_MUST_CHECK qa_status qa_transcript_open(qa_transcript **transcript, const char *path, qa_error *err);
/* One answer to `item`. part: "skill" or "shares"; verdict: a class, or NULL for a graded answer, which is `right`. */
QA_MUST_CHECK qa_status qa_transcript_add(qa_transcript *transcript, const char *part, const char *name,
                                          const qa_suite_item *item, const qa_answer *answer, const qa_text *response,
                                          const char *verdict, bool right, qa_error *err);
QA_MUST_CHECK qa_status qa_transcript_commit(qa_transcript *transcript, qa_error *err); /* frees; NULL is allowed */
void qa_transcript_abort(qa_transcript *transcript);                                    /* NULL is allowed */

#endif
