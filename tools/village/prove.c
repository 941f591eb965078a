/* prove: makes the splits again and counts, with sets of the strings themselves, what they share: prompts, documents,
 * villages and keys. Also classifies every open and turn-down answer, and counts how often each fact of the land is
 * stated in the training texts. */
#include "village/classify.h"
#include "village/commands.h"

#include "base/try.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLER = 5 }; /* the other splits have a fifth of the documents */

typedef enum aspect { PROMPTS, DOCUMENTS, VILLAGES, KEYS, ASPECTS } aspect;

typedef struct proof {
    const vl_land *land;
    vl_classifier classifiers[VL_SHARES];
    vl_set seen[VL_SPLITS][ASPECTS];
    vl_set words;
    vl_set statements;                                  /* of the land, as sentences without a full stop */
    size_t *stated;                                     /* [statements.capacity]: in training documents */
    size_t documents[VL_SKILLS], characters[VL_SKILLS]; /* of training */
    size_t answers[VL_SHARES], wrong[VL_SHARES], classes[VL_SHARES][VL_MAX_CLASSES + 1]; /* of all splits */
} proof;

/* ---- counting one item ---- */

static qa_status count_words(proof *p, const char *text, qa_error *err) {
    char word[64];
    size_t n = 0;
    bool added;
    for (const char *c = text;; c++) {
        if (isalpha((unsigned char)*c) && n + 1 < sizeof word) {
            word[n++] = (char)tolower((unsigned char)*c);
            continue;
        }
        word[n] = '\0';
        if (n > 0) {
            QA_TRY(vl_set_add(&p->words, word, &added, err));
        }
        n = 0;
        if (*c == '\0') {
            return QA_OK;
        }
    }
}

/* Sentences that state a fact of the land. */
static void count_statements(proof *p, const vl_line *text) {
    vl_line copy = *text;
    for (char *sentence = copy.s, *next; sentence != NULL; sentence = next) {
        next = strstr(sentence, ". ");
        if (next != NULL) {
            *next = '\0';
            next += 2;
        }
        const size_t n = strlen(sentence);
        if (n > 0 && sentence[n - 1] == '.') {
            sentence[n - 1] = '\0';
        }
        const size_t at = vl_set_find(&p->statements, sentence);
        if (at < p->statements.capacity) {
            p->stated[at]++;
        }
    }
}

static void classify(proof *p, const vl_item *item) {
    for (size_t i = 0; i < VL_SHARES; i++) {
        if (vl_shares[i].skill != item->skill) {
            continue;
        }
        const size_t class = vl_class_of(&p->classifiers[i], item->answer.s, item->answer.n);
        const size_t matching = vl_classes_matching(&p->classifiers[i], item->answer.s, item->answer.n);
        p->answers[i]++;
        p->classes[i][class]++;
        p->wrong[i] += class != item->register_of || matching != 1 ? 1 : 0;
    }
}

static qa_status count_item(proof *p, vl_split split, const vl_item *item, qa_error *err) {
    vl_line document;
    bool added;
    vl_clear(&document);
    VL_FILL(&document, "$1 $2", item->prompt.s, item->answer.s);
    QA_FAIL_IF(document.full, err, QA_ERR_LIMIT, "a document of more than %d bytes: %s", VL_LINE_BYTES, item->prompt.s);
    QA_TRY(vl_set_add(&p->seen[split][DOCUMENTS], document.s, &added, err));
    QA_TRY(vl_set_add(&p->seen[split][KEYS], item->key.s, &added, err));
    if (item->skill != VL_TEXT) {
        QA_TRY(vl_set_add(&p->seen[split][PROMPTS], item->prompt.s, &added, err));
    }
    if (item->world) {
        QA_TRY(vl_set_add(&p->seen[split][VILLAGES], item->key.s, &added, err));
    }
    classify(p, item);
    if (split != VL_TRAIN) {
        return QA_OK;
    }
    p->documents[item->skill]++;
    p->characters[item->skill] += item->prompt.n + item->answer.n;
    count_statements(p, &item->answer);
    return count_words(p, document.s, err);
}

/* ---- all items ---- */

static qa_status prepare(proof *p, qa_error *err) {
    bool added;
    for (size_t i = 0; i < VL_SHARES; i++) {
        QA_TRY(vl_classifier_open(&p->classifiers[i], &vl_shares[i], err));
    }
    for (size_t i = 0; i < p->land->n_facts; i++) {
        for (size_t way = 0; way < 2; way++) {
            vl_line line;
            vl_clear(&line);
            vl_state(&line, &p->land->facts[i], way);
            vl_sentence_case(&line);
            QA_TRY(vl_set_add(&p->statements, line.s, &added, err));
        }
    }
    p->stated = calloc(p->statements.capacity, sizeof *p->stated);
    return p->stated == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory for counts") : QA_OK;
}

/* The corpora, and of the test split also the questions that a suite of this seed would have. */
static qa_status count_all(proof *p, size_t documents, uint64_t seed, qa_error *err) {
    vl_item item;
    for (vl_split split = VL_TRAIN; split < VL_SPLITS; split++) {
        const size_t n = split == VL_TRAIN ? documents : (documents + SMALLER - 1) / SMALLER;
        for (size_t i = 0; i < n; i++) {
            QA_TRY(vl_corpus_item(p->land, seed, split, i, &item, err));
            QA_TRY(count_item(p, split, &item, err));
        }
    }
    for (unsigned skill = 0; skill < VL_SKILLS; skill++) {
        for (size_t i = 0; i < documents / SMALLER / VL_SKILLS; i++) {
            qa_rng rng = vl_stream(seed, VL_FOR_SUITE, skill, i);
            QA_TRY(vl_draw(p->land, &rng, (vl_skill)skill, VL_TEST, &item, err));
            QA_TRY(count_item(p, VL_TEST, &item, err));
        }
    }
    return QA_OK;
}

/* ---- what came out ---- */

static size_t shared(const vl_set *a, const vl_set *b) {
    size_t n = 0;
    for (size_t i = 0; i < a->capacity; i++) {
        n += a->slots[i] != NULL && vl_set_find(b, a->slots[i]) < b->capacity ? 1 : 0;
    }
    return n;
}

static bool print_overlap(const proof *p) {
    static const char *const NAMES[ASPECTS] = {"prompts", "documents", "villages", "keys"};
    bool disjoint = true;
    printf("different          train  validation        test   shared by any two\n");
    for (size_t a = 0; a < ASPECTS; a++) {
        const size_t both = shared(&p->seen[VL_VALIDATION][a], &p->seen[VL_TRAIN][a]) +
                            shared(&p->seen[VL_TEST][a], &p->seen[VL_TRAIN][a]) +
                            shared(&p->seen[VL_TEST][a], &p->seen[VL_VALIDATION][a]);
        printf("%-12s %11zu %11zu %11zu %11zu\n", NAMES[a], p->seen[VL_TRAIN][a].n, p->seen[VL_VALIDATION][a].n,
               p->seen[VL_TEST][a].n, both);
        disjoint = disjoint && both == 0;
    }
    return disjoint;
}

static bool print_classes(const proof *p) {
    bool right = true;
    for (size_t i = 0; i < VL_SHARES; i++) {
        printf("\n%s: %zu answers, %zu not of exactly their own class\n", vl_shares[i].name, p->answers[i],
               p->wrong[i]);
        for (size_t c = 0; c < vl_shares[i].n && p->answers[i] > 0; c++) {
            printf("  %-14s share %.4f, probability %.2f\n", vl_shares[i].classes[c].name,
                   (double)p->classes[i][c] / (double)p->answers[i], vl_shares[i].classes[c].share / 100.0);
        }
        right = right && p->wrong[i] == 0;
    }
    return right;
}

static void print_coverage(const proof *p, size_t documents) {
    size_t least = SIZE_MAX, most = 0, never = 0, characters = 0;
    for (size_t i = 0; i < p->statements.capacity; i++) {
        if (p->statements.slots[i] != NULL) {
            least = p->stated[i] < least ? p->stated[i] : least;
            most = p->stated[i] > most ? p->stated[i] : most;
            never += p->stated[i] == 0 ? 1 : 0;
        }
    }
    printf("\ntraining documents    share  characters each\n");
    for (size_t s = 0; s < VL_SKILLS; s++) {
        const double n = p->documents[s] == 0 ? 1.0 : (double)p->documents[s];
        printf("%-12s %8zu %7.3f %10.1f\n", vl_skill_names[s], p->documents[s],
               (double)p->documents[s] / (double)documents, (double)p->characters[s] / n);
        characters += p->characters[s];
    }
    printf("%-12s %8zu %7.3f %10.1f\n", "all", documents, 1.0, (double)characters / (double)documents);
    printf("\n%zu facts of the land in %zu sentences, each stated %zu to %zu times, %zu never; %zu different words\n",
           p->land->n_facts, p->statements.n, least, most, never, p->words.n);
}

qa_status vl_prove(const vl_land *land, size_t documents, uint64_t seed, bool *proven, qa_error *err) {
    qa_status status = QA_OK;
    proof *p = calloc(1, sizeof *p);
    *proven = false;
    QA_FAIL_IF(p == NULL, err, QA_ERR_MEMORY, "out of memory");
    p->land = land;
    QA_GOTO(done, prepare(p, err));
    QA_GOTO(done, count_all(p, documents, seed, err));
    const bool disjoint = print_overlap(p), right = print_classes(p);
    print_coverage(p, documents);
    *proven = disjoint && right;
    printf("\n%s\n", *proven ? "proven: the splits share nothing, and every answer is of its own class"
                             : "NOT PROVEN: see the counts above");
done:
    for (size_t i = 0; i < VL_SPLITS; i++) {
        for (size_t a = 0; a < ASPECTS; a++) {
            vl_set_free(&p->seen[i][a]);
        }
    }
    for (size_t i = 0; i < VL_SHARES; i++) {
        vl_classifier_close(&p->classifiers[i]);
    }
    vl_set_free(&p->words);
    vl_set_free(&p->statements);
    free(p->stated);
    free(p);
    return status;
}
