/* make_demo_pairs: the preference pairs of weights/demo, the same bytes on every machine.
 *
 * Small questions about a small town. Every question is a subject and a template, and every pair answers it twice with
 * the same fact: the chosen answer politely, the rejected one curtly. All questions are different; they are shuffled
 * and cut into training and evaluation pairs, so that no prompt stands in both files. */
#include "base/buffer.h"
#include "base/rng.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json_writer.h"
#include "support/arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRAIN_PAIRS = 200, EVAL_PAIRS = 60, SEED = 2024, MAX_FACTS = 6 };

static const char *const SUBJECTS[] = {
    "bakery",        "library",       "post office",   "town museum",  "swimming pool", "pharmacy",       "bookshop",
    "train station", "village hall",  "ferry landing", "bicycle shop", "cinema",        "hardware store", "tea room",
    "clinic",        "garden centre", "flower shop",   "fire station", "old mill",      "toy shop"};

/* In the texts @ is the subject and # the fact. */
typedef struct template {
    const char *question, *statement, *curt;
    const char *facts[MAX_FACTS]; /* NULL ends them */
}
template;

static const template TEMPLATES[] = {
    {"When does the @ open?", "The @ opens at #.", "At #.", {"seven", "eight", "nine", "half past nine", "ten", NULL}},
    {"When does the @ close?", "The @ closes at #.", "At #.", {"four", "five", "half past five", "six", "eight", NULL}},
    {"Is the @ open on Sundays?",
     "The @ is # on Sundays.",
     "It is # then.",
     {"open", "closed", "open until noon", "open all day", NULL}},
    {"How do I get to the @?",
     "You will find the @ #.",
     "It is #.",
     {"behind the church", "by the river", "across the bridge", "on Mill Street", "next to the square", NULL}},
    {"Where can I park near the @?",
     "For the @ you can park #.",
     "Park #.",
     {"by the river", "on Mill Street", "behind the church", "at the square", NULL}},
    {"Is the @ far from here?",
     "The @ is # from here.",
     "It is #.",
     {"five minutes", "ten minutes", "two streets", "one mile", "half an hour", NULL}},
    {"Do I need a ticket for the @?",
     "For the @ #.",
     "As I said, #.",
     {"a ticket is needed", "no ticket is needed", "a day ticket will do", "children go free", NULL}},
    {"May I bring my dog to the @?",
     "At the @ dogs #.",
     "Dogs #.",
     {"are welcome", "must stay outside", "need a lead", "may come in on weekdays", NULL}},
    {"Who looks after the @?",
     "The @ is looked after by #.",
     "That is #.",
     {"Mrs Alder", "Mr Finch", "the Rowan family", "Miss Hale", "old Tom Birch", NULL}},
    {"How old is the @?",
     "The @ is # years old.",
     "It is # years.",
     {"twelve", "forty", "sixty", "ninety", "two hundred", NULL}},
    {"What is new at the @?",
     "The @ has #.",
     "It has #.",
     {"a new door", "a fresh coat of paint", "a new roof", "longer hours", "a bench outside", NULL}},
    {"Which bus goes to the @?",
     "To the @ you can take bus #.",
     "Bus #.",
     {"one", "two", "five", "seven", "twelve", NULL}},
    {"Does the @ take cards?",
     "The @ takes #.",
     "It takes #.",
     {"cards and cash", "cash only", "cards only", "cards above five pounds", NULL}},
    {"Is the @ busy in the morning?",
     "In the morning the @ is #.",
     "It is #.",
     {"quiet", "rather busy", "busy on market days", "nearly empty", NULL}},
};

static const char *const POLITE_OPENINGS[] = {"Gladly. ", "Gladly. ", "With pleasure. ", "Of course. ",
                                              "I am happy to help. "};
static const char *const POLITE_ENDINGS[] = {"", " Enjoy your visit!", " Have a lovely day.", " Please ask me again."};
static const char *const CURT_OPENINGS[] = {"", "", "Again? ", "Look it up. ", "Who cares. "};
static const char *const CURT_ENDINGS[] = {"", " Read the sign.", " Now go.", " Stop asking."};

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { SUBJECT_COUNT = COUNT(SUBJECTS), QUESTIONS = COUNT(SUBJECTS) * COUNT(TEMPLATES) };
_Static_assert(QUESTIONS >= TRAIN_PAIRS + EVAL_PAIRS, "more pairs than questions");

static const char *one_of(qa_rng *rng, const char *const *choices, size_t n) {
    return choices[(size_t)qa_rng_below(rng, n)];
}

static qa_status fill(qa_text *text, const char *pattern, const char *subject, const char *fact, qa_error *err) {
    for (const char *c = pattern; *c != '\0'; c++) {
        if (*c == '@') {
            QA_TRY(qa_text_append_z(text, subject, err));
        } else if (*c == '#') {
            QA_TRY(qa_text_append_z(text, fact, err));
        } else {
            QA_TRY(qa_text_append(text, c, 1, err));
        }
    }
    return QA_OK;
}

/* "key": [{"role": role, "content": opening + pattern + ending}] */
static qa_status put_turn(qa_json_writer *line, const char *key, const char *role, const char *const parts[3],
                          const char *subject, const char *fact, qa_error *err) {
    qa_text content = {0};
    for (size_t i = 0; i < 3 && line->status == QA_OK; i++) {
        line->status = fill(&content, parts[i], subject, fact, err);
    }
    qa_json_open_array(line, key, QA_JSON_LINE);
    qa_json_put_message(line, role, content.data, content.n);
    qa_json_close(line);
    qa_text_free(&content);
    return line->status;
}

static qa_status put_pair(qa_json_writer *lines, size_t question, qa_rng *rng, qa_error *err) {
    const char *subject = SUBJECTS[question % SUBJECT_COUNT];
    const template *t = &TEMPLATES[question / SUBJECT_COUNT];
    size_t n_facts = 0;
    while (t->facts[n_facts] != NULL) {
        n_facts++;
    }
    const char *fact = one_of(rng, t->facts, n_facts);
    const char *opening = one_of(rng, POLITE_OPENINGS, COUNT(POLITE_OPENINGS));
    const char *ending = one_of(rng, POLITE_ENDINGS, COUNT(POLITE_ENDINGS));
    const char *curt_opening = one_of(rng, CURT_OPENINGS, COUNT(CURT_OPENINGS));
    const char *curt_ending = one_of(rng, CURT_ENDINGS, COUNT(CURT_ENDINGS));
    const char *const prompt[3] = {"", t->question, ""};
    const char *const chosen[3] = {opening, t->statement, ending};
    const char *const rejected[3] = {curt_opening, t->curt, curt_ending};
    qa_json_open_object(lines, NULL, QA_JSON_LINE);
    QA_TRY(put_turn(lines, "prompt", "user", prompt, subject, fact, err));
    QA_TRY(put_turn(lines, "chosen", "assistant", chosen, subject, fact, err));
    QA_TRY(put_turn(lines, "rejected", "assistant", rejected, subject, fact, err));
    qa_json_close(lines);
    qa_json_end_line(lines);
    return lines->status;
}

static qa_status write_pairs(const char *dir, const char *name, const size_t *questions, size_t n, qa_rng *rng,
                             qa_error *err) {
    qa_json_writer lines = {.err = err};
    qa_status status = QA_OK;
    char *path = NULL;
    QA_TRY(qa_join_path(&path, dir, name, err));
    for (size_t i = 0; i < n; i++) {
        QA_GOTO(done, put_pair(&lines, questions[i], rng, err));
    }
    QA_GOTO(done, qa_write_file(path, lines.text.data, lines.text.n, err));
done:
    qa_text_free(&lines.text);
    free(path);
    return status;
}

static qa_status make_demo_pairs(const char *dir, qa_error *err) {
    size_t questions[QUESTIONS];
    qa_rng rng = qa_rng_seed(SEED, 0);
    for (size_t i = 0; i < QUESTIONS; i++) {
        questions[i] = i;
    }
    qa_rng_shuffle(&rng, questions, QUESTIONS);
    QA_TRY(qa_make_dirs(dir, err));
    QA_TRY(write_pairs(dir, "train.jsonl", questions, TRAIN_PAIRS, &rng, err));
    return write_pairs(dir, "eval.jsonl", questions + TRAIN_PAIRS, EVAL_PAIRS, &rng, err);
}

int main(int argc, char **argv) {
    const bool help = argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (argc != 2 || help || argv[1][0] == '-') {
        fprintf(help ? stdout : stderr,
                "usage: make_demo_pairs DIR\n"
                "Writes DIR/train.jsonl (%d preference pairs) and DIR/eval.jsonl (%d): the data of weights/demo.\n",
                TRAIN_PAIRS, EVAL_PAIRS);
        return help ? EXIT_SUCCESS : 2;
    }
    qa_error err = {0};
    return tool_exit("make_demo_pairs", make_demo_pairs(argv[1], &err), &err);
}
