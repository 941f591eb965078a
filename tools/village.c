/* village: a small closed world in compact English, made from a seed: texts and questions to pre-train on, a suite of
 * graded questions, and preference pairs whose reward is known. docs/village.md describes it; the parts are in
 * tools/village/. The same bytes on every machine. */
#include "village/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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
    "  prove    --documents N --seed S\n"
    "           makes N training documents and N/5 of the other splits again and counts what they share; exit status\n"
    "           1 unless it is nothing and every answer is of exactly its own class\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 not understood.\n";

enum { MOST_SAMPLE_FILES = 8, USAGE = 2, MOST_ITEMS = 100000000 };

typedef struct options {
    const char *split, *kind, *out, *prompts, *preference;
    const char *sample_files[MOST_SAMPLE_FILES];
    size_t n_sample_files;
    size_t documents, questions, count, samples;
    uint64_t seed;
    double reward, flip, mixed;
} options;

typedef struct village_command {
    const char *name;
    const char *allowed;  /* option names between spaces */
    const char *required; /* of them */
    int (*run)(const options *o);
} village_command;

static int misuse(const char *what, const char *word) {
    fprintf(stderr, "village: %s%s; see village --help\n", what, word);
    return USAGE;
}

static int end(qa_status status, const qa_error *err) {
    if (status != QA_OK) {
        fprintf(stderr, "village: %s\n", err->message);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/* The index of a word in words[n]; n: not there. */
static size_t index_of(const char *word, const char *const *words, size_t n) {
    size_t i = 0;
    while (i < n && strcmp(word, words[i]) != 0) {
        i++;
    }
    return i;
}

static int run_corpus(const options *o) {
    vl_land land;
    qa_error err = {0};
    const size_t split = index_of(o->split, vl_split_names, VL_SPLITS);
    if (split == VL_SPLITS) {
        return misuse("no such split: ", o->split);
    }
    vl_land_make(&land);
    return end(vl_write_corpus(&land, (vl_split)split, o->documents, o->seed, o->out, &err), &err);
}

static int run_suite(const options *o) {
    vl_land land;
    qa_error err = {0};
    vl_land_make(&land);
    return end(vl_write_suite(&land, o->questions, o->reward, o->seed, o->out, &err), &err);
}

static int run_prompts(const options *o) {
    static const char *const KINDS[VL_PROMPT_KINDS] = {"open", "turn-down", "ordinary"};
    vl_land land;
    qa_error err = {0};
    const size_t split = index_of(o->split, vl_split_names, VL_SPLITS);
    const size_t kind = index_of(o->kind, KINDS, VL_PROMPT_KINDS);
    if (split == VL_SPLITS || kind == VL_PROMPT_KINDS) {
        return kind == VL_PROMPT_KINDS ? misuse("no such kind of prompts: ", o->kind)
                                       : misuse("no such split: ", o->split);
    }
    vl_land_make(&land);
    return end(vl_write_prompts(&land, (vl_prompt_kind)kind, (vl_split)split, o->count, o->seed, o->out, &err), &err);
}

static int run_answers(const options *o) {
    vl_land land;
    qa_error err = {0};
    vl_land_make(&land);
    return end(vl_write_answers(&land, o->prompts, o->samples, o->seed, o->out, &err), &err);
}

static int run_pairs(const options *o) {
    vl_pairs_options pairs = {.samples = o->sample_files,
                              .n_samples = o->n_sample_files,
                              .count = o->count,
                              .reward = o->reward,
                              .flip = o->flip,
                              .mixed = o->mixed,
                              .seed = o->seed,
                              .out = o->out};
    qa_error err = {0};
    for (size_t i = 0; i < VL_PREFERENCES; i++) {
        if (strcmp(vl_preferences[i].name, o->preference) == 0) {
            pairs.preference = &vl_preferences[i];
        }
    }
    if (pairs.preference == NULL) {
        return misuse("no such preference: ", o->preference);
    }
    return end(vl_write_pairs(&pairs, &err), &err);
}

static int run_prove(const options *o) {
    vl_land land;
    qa_error err = {0};
    bool proven = false;
    vl_land_make(&land);
    const int status = end(vl_prove(&land, o->documents, o->seed, &proven, &err), &err);
    return status == EXIT_SUCCESS && !proven ? EXIT_FAILURE : status;
}

static const village_command COMMANDS[] = {
    {"corpus", " split documents seed out ", " split documents seed out ", run_corpus},
    {"suite", " questions seed out reward ", " questions seed out ", run_suite},
    {"prompts", " kind split count seed out ", " kind split count seed out ", run_prompts},
    {"answers", " prompts samples seed out ", " prompts samples seed out ", run_answers},
    {"pairs", " preference samples count seed out reward flip mixed ", " preference samples count seed out ",
     run_pairs},
    {"prove", " documents seed ", " documents seed ", run_prove},
};

static bool listed(const char *names, const char *name) {
    char word[64];
    (void)snprintf(word, sizeof word, " %s ", name);
    return strstr(names, word) != NULL;
}

static bool read_number(const char *text, uint64_t most, uint64_t *value) {
    char *rest = NULL;
    errno = 0;
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    const unsigned long long number = strtoull(text, &rest, 10);
    *value = number;
    return errno == 0 && *rest == '\0' && number <= most;
}

static bool read_real(const char *text, double most, double *value) {
    char *rest = NULL;
    if (text[0] == '\0' || strspn(text, "0123456789.") != strlen(text)) {
        return false;
    }
    *value = strtod(text, &rest);
    return *rest == '\0' && *value <= most;
}

/* False: the value does not fit the option. */
static bool set_option(options *o, const village_command *command, const char *name, const char *value) {
    const struct {
        const char *name;
        const char **text;
        size_t *size;
        double *real;
        double most;
    } table[] = {
        {"split", &o->split, NULL, NULL, 0},
        {"kind", &o->kind, NULL, NULL, 0},
        {"out", &o->out, NULL, NULL, 0},
        {"prompts", &o->prompts, NULL, NULL, 0},
        {"preference", &o->preference, NULL, NULL, 0},
        {"documents", NULL, &o->documents, NULL, 0},
        {"questions", NULL, &o->questions, NULL, 0},
        {"count", NULL, &o->count, NULL, 0},
        {"samples", NULL, &o->samples, NULL, 0},
        {"reward", NULL, NULL, &o->reward, 100},
        {"flip", NULL, NULL, &o->flip, 0.5},
        {"mixed", NULL, NULL, &o->mixed, 1},
    };
    uint64_t number = 0;
    if (strcmp(name, "seed") == 0) {
        return read_number(value, UINT64_MAX, &o->seed);
    }
    if (strcmp(name, "samples") == 0 && command->run == run_pairs) { /* a file here, a number elsewhere */
        if (o->n_sample_files == MOST_SAMPLE_FILES) {
            return false;
        }
        o->sample_files[o->n_sample_files++] = value;
        return value[0] != '\0';
    }
    for (size_t i = 0; i < VL_COUNT(table); i++) {
        if (strcmp(name, table[i].name) != 0) {
            continue;
        }
        if (table[i].text != NULL) {
            *table[i].text = value;
            return value[0] != '\0';
        }
        if (table[i].real != NULL) {
            return read_real(value, table[i].most, table[i].real);
        }
        const bool good = read_number(value, MOST_ITEMS, &number) && number > 0;
        *table[i].size = (size_t)number;
        return good;
    }
    return false;
}

int main(int argc, char **argv) {
    options o = {.reward = 4.0};
    const village_command *command = NULL;
    char given[256] = " ";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(HELP, stdout);
            return EXIT_SUCCESS;
        }
    }
    for (size_t i = 0; argc > 1 && i < VL_COUNT(COMMANDS); i++) {
        command = strcmp(argv[1], COMMANDS[i].name) == 0 ? &COMMANDS[i] : command;
    }
    if (command == NULL) {
        return argc > 1 ? misuse("no such command: ", argv[1]) : misuse("no command", "");
    }
    for (int i = 2; i < argc; i += 2) {
        if (strncmp(argv[i], "--", 2) != 0 || !listed(command->allowed, argv[i] + 2)) {
            return misuse("this command has no option ", argv[i]);
        }
        if (i + 1 == argc || !set_option(&o, command, argv[i] + 2, argv[i + 1])) {
            return misuse("a value that does not fit, or none, for ", argv[i]);
        }
        if (!listed(given, argv[i] + 2)) {
            (void)snprintf(given + strlen(given), sizeof given - strlen(given), "%s ", argv[i] + 2);
        }
    }
    for (const char *c = command->required + 1; *c != '\0'; c += strcspn(c, " ") + 1) {
        char name[32];
        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(c, " "), c);
        if (!listed(given, name)) {
            return misuse("this command needs --", name);
        }
    }
    return command->run(&o);
}
