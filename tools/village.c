/* village: a small closed world in compact English, made from a seed: texts and questions to pre-train on, a suite of
 * graded questions, and preference pairs whose reward is known. docs/village.md describes it; the parts are in
 * tools/village/. The same bytes on every machine. */
#include "support/arguments.h"
#include "village/commands.h"

#include "base/try.h"

#include <stdio.h>
#include <string.h>

static const char HELP[] =
    "usage: village COMMAND [--option VALUE ...]\n"
    "A small closed world for pre-training and customising small language models; the same bytes for the same seed.\n"
    "\n"
    "  corpus   --split train|validation|test --documents N --seed S --out FILE\n"
    "           texts and questions with answers, in the corpus' mixture, as JSON Lines\n"
    "  suite    --questions N --seed S --out DIR [--reward R]\n"
    "           suite.json and N lines in each of its files, of the test split; R nats for a wanted class (default 4)\n"
    "  prompts  --kind open|turn-down|ordinary --split train|validation|test --count N --seed S --out FILE\n"
    "           N different prompts without answers\n"
    "  answers  --prompts FILE --samples N --seed S --out FILE\n"
    "           the world's own answers to open requests and requests to turn down, N to each prompt\n"
    "  pairs    --preference academy|business|entertainment|literature|harmless --samples FILE [--samples FILE ...]\n"
    "           --count N --seed S --out FILE [--reward R] [--flip P] [--mixed P]\n"
    "           pairs of two answers to the same prompt, labelled by Bradley-Terry with reward R (default 4 nats) for\n"
    "           the wanted class; a label is turned round with probability --flip (0 to 0.5, default 0);\n"
    "           with probability --mixed (default 0) just one of the two answers is of the wanted class\n"
    "  counts   --preference NAME --samples FILE\n"
    "           how many answers are of each class, and which of these the preference wants\n"
    "  prove    --documents N --seed S\n"
    "           makes N training documents and N/5 of the other splits again and counts what they share; exit status\n"
    "           1 unless it is nothing and every answer is of exactly its own class\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 not understood.\n";

typedef struct options {
    const char *split, *kind, *out, *prompts, *preference;
    argument_list sample_files;
    size_t documents, questions, count, samples, seed;
    double reward, flip, mixed;
} options;

typedef struct village_command {
    const char *name;
    const argument *arguments;
    qa_status (*run)(const options *o, qa_error *err);
} village_command;

/* The index of a word in words[n]. */
static qa_status index_of(size_t *i, const char *what, const char *word, const char *const *words, size_t n,
                          qa_error *err) {
    *i = 0;
    while (*i < n && strcmp(word, words[*i]) != 0) {
        (*i)++;
    }
    return *i < n ? QA_OK : qa_fail(err, QA_ERR_ARGUMENT, "no such %s: %s", what, word);
}

static qa_status run_corpus(const options *o, qa_error *err) {
    vl_land land;
    size_t split = 0;
    QA_TRY(index_of(&split, "split", o->split, vl_split_names, VL_SPLITS, err));
    vl_land_make(&land);
    return vl_write_corpus(&land, (vl_split)split, o->documents, o->seed, o->out, err);
}

static qa_status run_suite(const options *o, qa_error *err) {
    vl_land land;
    vl_land_make(&land);
    return vl_write_suite(&land, o->questions, o->reward, o->seed, o->out, err);
}

static qa_status run_prompts(const options *o, qa_error *err) {
    static const char *const KINDS[VL_PROMPT_KINDS] = {"open", "turn-down", "ordinary"};
    vl_land land;
    size_t split = 0, kind = 0;
    QA_TRY(index_of(&split, "split", o->split, vl_split_names, VL_SPLITS, err));
    QA_TRY(index_of(&kind, "kind of prompts", o->kind, KINDS, VL_PROMPT_KINDS, err));
    vl_land_make(&land);
    return vl_write_prompts(&land, (vl_prompt_kind)kind, (vl_split)split, o->count, o->seed, o->out, err);
}

static qa_status run_answers(const options *o, qa_error *err) {
    vl_land land;
    vl_land_make(&land);
    return vl_write_answers(&land, o->prompts, o->samples, o->seed, o->out, err);
}

static qa_status find_preference(const vl_preference **preference, const options *o, qa_error *err) {
    const char *names[VL_PREFERENCES];
    size_t i = 0;
    for (size_t k = 0; k < VL_PREFERENCES; k++) {
        names[k] = vl_preferences[k].name;
    }
    QA_TRY(index_of(&i, "preference", o->preference, names, VL_PREFERENCES, err));
    *preference = &vl_preferences[i];
    return QA_OK;
}

static qa_status run_counts(const options *o, qa_error *err) {
    const vl_preference *preference = NULL;
    QA_TRY(find_preference(&preference, o, err));
    return vl_print_counts(preference, o->sample_files.items[0], err);
}

static qa_status run_pairs(const options *o, qa_error *err) {
    const vl_preference *preference = NULL;
    QA_TRY(find_preference(&preference, o, err));
    const vl_pairs_options pairs = {.preference = preference,
                                    .samples = o->sample_files.items,
                                    .n_samples = o->sample_files.n,
                                    .count = o->count,
                                    .reward = o->reward,
                                    .flip = o->flip,
                                    .mixed = o->mixed,
                                    .seed = o->seed,
                                    .out = o->out};
    return vl_write_pairs(&pairs, err);
}

static qa_status run_prove(const options *o, qa_error *err) {
    vl_land land;
    bool proven = false;
    vl_land_make(&land);
    QA_TRY(vl_prove(&land, o->documents, o->seed, &proven, err));
    return proven ? QA_OK : qa_fail(err, QA_ERR_MISMATCH, "not proven");
}

#define NEEDED_TEXT(name, field) ARGUMENT(name, ARGUMENT_TEXT, offsetof(options, field), "", "", .required = true)
#define NEEDED_COUNT(name, field)                                                                                      \
    ARGUMENT(name, ARGUMENT_SIZE, offsetof(options, field), "", "", .required = true, .least = 1, .most = 1e8)
#define SEED ARGUMENT("--seed", ARGUMENT_SIZE, offsetof(options, seed), "", "", .required = true)
#define NUMBER(name, field, most_) ARGUMENT(name, ARGUMENT_NUMBER, offsetof(options, field), "", "", .most = (most_))
#define OUT                                                                                                            \
    NEEDED_TEXT("--out", out), { .name = NULL }

static const argument CORPUS[] = {NEEDED_TEXT("--split", split), NEEDED_COUNT("--documents", documents), SEED, OUT};
static const argument SUITE[] = {NEEDED_COUNT("--questions", questions), SEED, NUMBER("--reward", reward, 100), OUT};
static const argument PROMPTS[] = {NEEDED_TEXT("--kind", kind), NEEDED_TEXT("--split", split),
                                   NEEDED_COUNT("--count", count), SEED, OUT};
static const argument ANSWERS[] = {NEEDED_TEXT("--prompts", prompts), NEEDED_COUNT("--samples", samples), SEED, OUT};
static const argument PAIRS[] = {
    NEEDED_TEXT("--preference", preference),
    ARGUMENT("--samples", ARGUMENT_LIST, offsetof(options, sample_files), "", "", .required = true),
    NEEDED_COUNT("--count", count),
    SEED,
    NUMBER("--reward", reward, 100),
    NUMBER("--flip", flip, 0.5),
    NUMBER("--mixed", mixed, 1),
    OUT};
static const argument COUNTS[] = {
    NEEDED_TEXT("--preference", preference),
    ARGUMENT("--samples", ARGUMENT_LIST, offsetof(options, sample_files), "", "", .required = true),
    {.name = NULL}};
static const argument PROVE[] = {NEEDED_COUNT("--documents", documents), SEED, {.name = NULL}};

static const village_command COMMANDS[] = {{"corpus", CORPUS, run_corpus},    {"suite", SUITE, run_suite},
                                           {"prompts", PROMPTS, run_prompts}, {"answers", ANSWERS, run_answers},
                                           {"pairs", PAIRS, run_pairs},       {"counts", COUNTS, run_counts},
                                           {"prove", PROVE, run_prove}};

/* All that a command line asks for; *help: the help alone. */
static qa_status village(int argc, char **argv, bool *help, qa_error *err) {
    options o = {.reward = 4.0};
    const village_command *command = NULL;
    *help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    for (size_t i = 0; argc > 1 && i < VL_COUNT(COMMANDS); i++) {
        command = strcmp(argv[1], COMMANDS[i].name) == 0 ? &COMMANDS[i] : command;
    }
    if (*help || command == NULL) {
        return *help ? QA_OK : qa_fail(err, QA_ERR_ARGUMENT, "no such command: %s", argc > 1 ? argv[1] : "(none)");
    }
    QA_TRY(arguments_read(&o, command->arguments, 2, argc, argv, help, err));
    return *help ? QA_OK : command->run(&o, err);
}

int main(int argc, char **argv) {
    qa_error err = {0};
    bool help = false;
    const qa_status status = village(argc, argv, &help, &err);
    if (help) {
        fputs(HELP, stdout);
    }
    if (status == QA_ERR_ARGUMENT) {
        qa_error whole = {0};
        return tool_exit("village", qa_fail(&whole, status, "%s; see village --help", err.message), &whole);
    }
    return tool_exit("village", status, &err);
}
