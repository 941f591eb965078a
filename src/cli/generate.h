/* What the forms of `generate` share: one prompt, a conversation, a file of prompts. */
#ifndef QA_CLI_GENERATE_H
#define QA_CLI_GENERATE_H

#include "cli/answer.h"
#include "cli/best_of.h"
#include "cli/common.h"

typedef struct generate_args {
    cli_args shared;
    qa_sampling sampling;
    const char *prompt, *file, *ids, *in, *system, *policy; /* NULL: not given */
    bool chat, unique, first_turn, no_special, echo, print_ids, ignore_eos, kl, commands, no_history;
    size_t max_tokens, samples, batch, particles;
    size_t ctx_size; /* 0: not given */
    qa_option_list stop;
    cli_best_of_args best_of;
} generate_args;

static inline const generate_args *generate_args_of(const cli_run *run) { return (const generate_args *)run->args; }

/* A generate command with everything resolved. */
typedef struct generation_run {
    cli_run *run;
    qa_objective objective;
    qa_sampling sampling;
    const qa_chat *chat; /* NULL: none that can be used */
    bool chat_assumed;   /* the folder has no template, and none was named */
    qa_answer_end end;   /* nothing with --ignore-eos */
    const char **stops;  /* [n_stops], owned: --stop, then end.texts; the strings are borrowed */
    size_t n_stops;
    size_t n_given_stops; /* of them; the rest are the template's */
    bool print_ids;
} generation_run;

/* A generator of the policy: pi1, an adapter's, or the mixture that the run loaded. */
QA_MUST_CHECK qa_status generation_generator(const generation_run *generation, qa_policy policy,
                                             const qa_sampling *sampling, size_t capacity, qa_generator **generator,
                                             qa_error *err);

/* Feeds ids and times it; a prompt that leaves no room is an error that says by how much. */
QA_MUST_CHECK qa_status generation_feed(const generation_run *generation, qa_generator *generator, const qa_ids *ids,
                                        double *seconds, qa_error *err);

/* "prompt: 5 tokens, 812.3 tokens/s; generation: ..." on standard error; label may be "". */
void generation_say_speed(const generation_run *generation, const char *label, size_t prompt, double prompt_seconds,
                          const printed_answer *said, size_t capacity);

/* Whether the run has an adapter or a mixture. */
bool generation_is_customised(const generation_run *generation);

/* Whether log pi1 and KL(pi || pi1) of the tokens are to be told: of the customised policy, where the base model runs
 * beside it anyway, or with --kl. */
bool generation_measures(const generation_run *generation, qa_policy policy);

/* The answer to one prompt as a line of JSON; given: the prompt's text as it was given; weighed: as what --particles
 * chose it, NULL: as nothing. */
QA_MUST_CHECK qa_status generation_print_json(const generation_run *generation, qa_policy policy, const qa_text *given,
                                              const qa_ids *prompt, const printed_answer *said,
                                              const qa_answer *weighed, const cli_best_of *best, qa_error *err);

/* A conversation over the lines of standard input, with the base model, the customised policy, or both. */
QA_MUST_CHECK qa_status cli_converse(generation_run *generation, bool base, bool custom, size_t capacity,
                                     qa_error *err);

/* Answers the prompts of --in into --out. */
QA_MUST_CHECK qa_status cli_generate_file(generation_run *generation, qa_policy policy, qa_error *err);

#endif
