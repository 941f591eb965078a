/* real_judge: judges of tools/replicate_real that need no person.
 *
 *   real_judge style   --train FILE --test FILE --domain NAME [--answers FILE] [--items FILE --out FILE]
 *     A bag of words: multinomial naive Bayes over lower-case words, add one half, all domains alike likely before the
 *     text is seen. Learns from lines {"domain", "text"}; prints, as JSON, its accuracy on the test's lines, and of
 *     answers ({"messages"} that end with one, as `generate --in` writes them) the share that it puts into the domain
 *     and the mean log-odds a word. Of items (`judge export`) it writes verdicts: for the answer with the higher
 * log-odds a word of the domain. real_judge lists   --items FILE --out FILE Items as lists of two answers to one
 * prompt, for `qadapter score`. real_judge reward  --items FILE --scores FILE --out FILE Verdicts for the answer with
 * the higher return, from what `score` printed of those lists. */
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"
#include "io/json_lines.h"
#include "support/arguments.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_DOMAINS = 16 };

typedef struct judge_options {
    const char *what, *train, *test, *domain, *answers, *items, *scores, *out;
} judge_options;

/* ---- lines ---- */

typedef struct line_list {
    json_t **rows; /* [n], owned */
    size_t n, capacity;
} line_list;

static qa_status keep_line(void *user, const json_t *row, qa_error *err) {
    line_list *list = user;
    QA_TRY(QA_GROW(list->rows, list->capacity, list->n + 1, err, "lines"));
    list->rows[list->n++] = json_incref((json_t *)(void *)(size_t)row);
    return QA_OK;
}

static qa_status read_lines(line_list *list, const char *path, qa_error *err) {
    qa_json_lines *lines = NULL;
    QA_TRY(qa_json_lines_open(&lines, path, err));
    const qa_status status = qa_json_lines_each(lines, keep_line, list, err);
    qa_json_lines_close(lines);
    return status;
}

static void free_lines(line_list *list) {
    for (size_t i = 0; i < list->n; i++) {
        json_decref(list->rows[i]);
    }
    free(list->rows);
}

static qa_status text_of_line(const json_t *row, const char *key, const char **text, qa_error *err) {
    return qa_json_get_string(row, key, true, "a line", text, err);
}

/* ---- the bag of words ---- */

typedef struct word_bag {
    json_t *words;                 /* word: number of its counts */
    double (*counts)[MAX_DOMAINS]; /* [n] */
    size_t n, capacity;
    const char *domains[MAX_DOMAINS]; /* borrowed */
    double total[MAX_DOMAINS];
    size_t n_domains, n_known;
} word_bag;

/* The next word at *text, lower-case, cut to the buffer; false at the end. Bytes beyond ASCII are letters. */
static bool next_word(const char **text, char word[64]) {
    size_t n = 0;
    while (**text != '\0' && !isalpha((unsigned char)**text) && (unsigned char)**text < 128) {
        ++*text;
    }
    for (; isalpha((unsigned char)**text) || **text == '\'' || (unsigned char)**text >= 128; ++*text) {
        if (n < 63) {
            word[n++] = (char)tolower((unsigned char)**text);
        }
    }
    word[n] = '\0';
    return n > 0;
}

static size_t domain_of(word_bag *bag, const char *name) {
    size_t d = 0;
    while (d < bag->n_domains && strcmp(bag->domains[d], name) != 0) {
        d++;
    }
    if (d == bag->n_domains && d < MAX_DOMAINS) {
        bag->domains[bag->n_domains++] = name;
    }
    return d;
}

/* The words of a text, each once; NULL: no memory. The caller owns it. */
static json_t *words_of(const char *text) {
    json_t *words = json_object();
    for (char word[64]; words != NULL && next_word(&text, word);) {
        if (json_object_set_new_nocheck(words, word, json_true()) != 0) {
            json_decref(words);
            return NULL;
        }
    }
    return words;
}

static qa_status learn_words(word_bag *bag, size_t domain, json_t *words, qa_error *err) {
    const char *word = NULL;
    json_t *unused = NULL;
    json_object_foreach(words, word, unused) {
        const json_t *known = json_object_get(bag->words, word);
        size_t at = (size_t)json_integer_value(known);
        if (known == NULL) {
            at = bag->n;
            QA_TRY(QA_GROW(bag->counts, bag->capacity, bag->n + 1, err, "words"));
            memset(bag->counts[bag->n++], 0, sizeof *bag->counts);
            if (json_object_set_new_nocheck(bag->words, word, json_integer((json_int_t)at)) != 0) {
                return QA_NO_MEMORY(err, "words");
            }
        }
        bag->counts[at][domain] += 1.0;
    }
    return QA_OK;
}

static qa_status learn_text(word_bag *bag, size_t domain, const char *text, qa_error *err) {
    json_t *words = words_of(text);
    const qa_status status = words == NULL ? QA_NO_MEMORY(err, "words") : learn_words(bag, domain, words, err);
    json_decref(words);
    return status;
}

/* Words that fewer than three texts have are forgotten. */
static void forget_rare_words(word_bag *bag) {
    const char *word = NULL;
    json_t *at = NULL;
    void *next = NULL;
    json_object_foreach_safe(bag->words, next, word, at) {
        double *counts = bag->counts[json_integer_value(at)], texts = 0.0;
        for (size_t d = 0; d < bag->n_domains; d++) {
            texts += counts[d];
        }
        for (size_t d = 0; d < bag->n_domains && texts >= 3.0; d++) {
            bag->total[d] += counts[d];
        }
        if (texts < 3.0) {
            (void)json_object_del(bag->words, word);
        }
    }
    bag->n_known = json_object_size(bag->words);
}

static qa_status learn_lines(word_bag *bag, const line_list *lines, qa_error *err) {
    bag->words = json_object();
    for (size_t i = 0; i < lines->n; i++) {
        const char *name = NULL, *text = NULL;
        QA_TRY(text_of_line(lines->rows[i], "domain", &name, err));
        QA_TRY(text_of_line(lines->rows[i], "text", &text, err));
        const size_t d = domain_of(bag, name);
        QA_FAIL_IF(d == MAX_DOMAINS, err, QA_ERR_LIMIT, "more than %d domains", MAX_DOMAINS);
        QA_TRY(learn_text(bag, d, text, err));
    }
    forget_rare_words(bag);
    return QA_OK;
}

/* log p(text | domain) of every domain, words that nobody used left out; how many counted. */
static size_t likelihoods(const word_bag *bag, const char *text, double log_p[MAX_DOMAINS]) {
    size_t counted = 0;
    const char *word = NULL;
    json_t *unused = NULL, *words = words_of(text);
    memset(log_p, 0, MAX_DOMAINS * sizeof *log_p);
    json_object_foreach(words, word, unused) {
        const json_t *known = json_object_get(bag->words, word);
        if (known == NULL) {
            continue;
        }
        counted++;
        for (size_t d = 0; d < bag->n_domains; d++) {
            log_p[d] += log((bag->counts[json_integer_value(known)][d] + 1.0) / (bag->total[d] + (double)bag->n_known));
        }
    }
    json_decref(words);
    return counted;
}

static size_t likeliest(const word_bag *bag, const double *log_p) {
    size_t best = 0;
    for (size_t d = 1; d < bag->n_domains; d++) {
        best = log_p[d] > log_p[best] ? d : best;
    }
    return best;
}

/* log p(domain | text) - log p(not the domain | text), a word. */
static double log_odds(const word_bag *bag, const char *text, size_t domain, size_t *best) {
    double log_p[MAX_DOMAINS], others = 0.0, highest = -(double)INFINITY;
    const size_t n = likelihoods(bag, text, log_p);
    *best = likeliest(bag, log_p);
    for (size_t d = 0; d < bag->n_domains; d++) {
        highest = d != domain ? fmax(highest, log_p[d]) : highest;
    }
    for (size_t d = 0; d < bag->n_domains; d++) {
        others += d != domain ? exp(log_p[d] - highest) : 0.0;
    }
    return n == 0 ? 0.0 : (log_p[domain] - highest - log(others)) / (double)n;
}

/* Whether both lines are of one query, the first of the domain and the second not. */
static bool is_pair(const json_t *a, const json_t *b, const char *domain) {
    return json_equal(json_object_get(a, "query"), json_object_get(b, "query")) == 1 &&
           strcmp(json_string_value(json_object_get(a, "domain")), domain) == 0 &&
           strcmp(json_string_value(json_object_get(b, "domain")), domain) != 0;
}

static void put_pairs_right(qa_json_writer *out, const line_list *lines, const double *odds, const char *domain) {
    double right = 0.0;
    size_t pairs = 0;
    for (size_t i = 0; i < lines->n; i++) {
        for (size_t k = 0; k < lines->n; k++) {
            if (is_pair(lines->rows[i], lines->rows[k], domain)) {
                pairs++;
                right += odds[i] > odds[k] ? 1.0 : odds[i] == odds[k] ? 0.5 : 0.0;
            }
        }
    }
    qa_json_put_number(out, "test_pairs_right", pairs > 0 ? right / (double)pairs : (double)NAN);
}

static qa_status test_bag(word_bag *bag, const char *path, size_t domain, qa_json_writer *out, qa_error *err) {
    line_list lines = {0};
    double *odds = NULL;
    size_t right = 0, of_domain = 0, found = 0;
    qa_status status = QA_OK;
    QA_GOTO(done, read_lines(&lines, path, err));
    QA_GOTO(done, QA_NEW(odds, lines.n + 1, err, "texts"));
    for (size_t i = 0; i < lines.n; i++) {
        const char *name = NULL, *text = NULL;
        size_t best = 0;
        QA_GOTO(done, text_of_line(lines.rows[i], "domain", &name, err));
        QA_GOTO(done, text_of_line(lines.rows[i], "text", &text, err));
        odds[i] = log_odds(bag, text, domain, &best);
        right += strcmp(bag->domains[best], name) == 0 ? 1 : 0;
        of_domain += strcmp(bag->domains[domain], name) == 0 ? 1 : 0;
        found += strcmp(bag->domains[domain], name) == 0 && best == domain ? 1 : 0;
    }
    qa_json_put_size(out, "tested", lines.n);
    qa_json_put_number(out, "test_accuracy", lines.n > 0 ? (double)right / (double)lines.n : (double)NAN);
    qa_json_put_number(out, "test_recall", of_domain > 0 ? (double)found / (double)of_domain : (double)NAN);
    put_pairs_right(out, &lines, odds, bag->domains[domain]);
done:
    free(odds);
    free_lines(&lines);
    return status;
}

static qa_status classify_answers(word_bag *bag, const char *path, size_t domain, qa_json_writer *out, qa_error *err) {
    line_list lines = {0};
    size_t wanted = 0;
    double odds = 0.0;
    qa_status status = QA_OK;
    QA_GOTO(done, read_lines(&lines, path, err));
    for (size_t i = 0; i < lines.n; i++) {
        const json_t *messages = json_object_get(lines.rows[i], "messages");
        const char *text = NULL;
        size_t best = 0;
        QA_GOTO(done, text_of_line(json_array_get(messages, json_array_size(messages) - 1), "content", &text, err));
        odds += log_odds(bag, text, domain, &best);
        wanted += best == domain ? 1 : 0;
    }
    qa_json_put_size(out, "answers", lines.n);
    qa_json_put_number(out, "share", lines.n > 0 ? (double)wanted / (double)lines.n : (double)NAN);
    qa_json_put_number(out, "log_odds", lines.n > 0 ? odds / (double)lines.n : (double)NAN);
done:
    free_lines(&lines);
    return status;
}

/* ---- verdicts ---- */

static void put_verdict(qa_json_writer *out, const json_t *item, double first, double second) {
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_put_string(out, "id", json_string_value(json_object_get(item, "id")));
    qa_json_put_string(out, "verdict", first > second ? "first" : first < second ? "second" : "tie");
    qa_json_close(out);
    qa_json_end_line(out);
}

static qa_status style_verdicts(word_bag *bag, const judge_options *o, size_t domain, qa_error *err) {
    static const char *const sides[] = {"first", "second"};
    line_list items = {0};
    qa_json_writer out = {0};
    qa_status status = QA_OK;
    qa_json_restart(&out, err);
    QA_GOTO(done, read_lines(&items, o->items, err));
    for (size_t i = 0; i < items.n; i++) {
        double odds[2] = {0.0, 0.0};
        for (size_t side = 0; side < 2; side++) {
            const char *text = NULL;
            size_t best = 0;
            QA_GOTO(done, text_of_line(items.rows[i], sides[side], &text, err));
            odds[side] = log_odds(bag, text, domain, &best);
        }
        put_verdict(&out, items.rows[i], odds[0], odds[1]);
    }
    QA_GOTO(done, out.status);
    status = qa_write_file(o->out, out.text.data, out.text.n, err);
done:
    qa_text_free(&out.text);
    free_lines(&items);
    return status;
}

static qa_status run_style(const judge_options *o, qa_error *err) {
    word_bag bag = {0};
    line_list train = {0};
    qa_json_writer out = {0};
    size_t domain = 0;
    qa_status status = QA_OK;
    qa_json_restart(&out, err);
    QA_GOTO(done, o->train != NULL && o->test != NULL && o->domain != NULL && (o->items == NULL) == (o->out == NULL)
                      ? QA_OK
                      : qa_fail(err, QA_ERR_ARGUMENT, "style: expected --train, --test and --domain"));
    QA_GOTO(done, read_lines(&train, o->train, err));
    QA_GOTO(done, learn_lines(&bag, &train, err));
    const size_t known = bag.n_domains;
    domain = domain_of(&bag, o->domain);
    QA_GOTO(done, domain < known ? QA_OK : qa_fail(err, QA_ERR_ARGUMENT, "%s has no domain %s", o->train, o->domain));
    qa_json_open_object(&out, NULL, QA_JSON_LINE);
    qa_json_put_size(&out, "words", bag.n_known);
    QA_GOTO(done, test_bag(&bag, o->test, domain, &out, err));
    QA_GOTO(done, o->answers == NULL ? QA_OK : classify_answers(&bag, o->answers, domain, &out, err));
    QA_GOTO(done, o->items == NULL ? QA_OK : style_verdicts(&bag, o, domain, err));
    qa_json_close(&out);
    qa_json_end_line(&out);
    QA_GOTO(done, out.status);
    (void)fwrite(out.text.data, 1, out.text.n, stdout);
done:
    qa_text_free(&out.text);
    free_lines(&train);
    json_decref(bag.words);
    free(bag.counts);
    return status;
}

static qa_status make_lists(const line_list *items, qa_json_writer *out) {
    for (size_t i = 0; i < items->n; i++) {
        const json_t *item = items->rows[i];
        char *messages = json_dumps(json_object_get(item, "messages"), JSON_ENSURE_ASCII);
        qa_json_open_object(out, NULL, QA_JSON_LINE);
        qa_json_put_raw(out, "prompt", messages == NULL ? "null" : messages);
        qa_json_open_array(out, "responses", QA_JSON_LINE);
        qa_json_put_string(out, NULL, json_string_value(json_object_get(item, "first")));
        qa_json_put_string(out, NULL, json_string_value(json_object_get(item, "second")));
        qa_json_close(out);
        qa_json_close(out);
        qa_json_end_line(out);
        free(messages);
    }
    return out->status;
}

/* Scores are a line an answer: `line` says of which item, `answer` which of the two. */
static qa_status reward_verdicts(const line_list *items, const char *path, qa_json_writer *out, qa_error *err) {
    line_list scores = {0};
    double(*returns)[2] = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, read_lines(&scores, path, err));
    QA_GOTO(done, QA_NEW(returns, items->n, err, "items"));
    for (size_t i = 0; i < 2 * items->n; i++) {
        returns[i / 2][i % 2] = (double)NAN;
    }
    for (size_t i = 0; i < scores.n; i++) {
        size_t line = 0, answer = 0;
        double value = 0.0;
        QA_GOTO(done, qa_json_get_size(scores.rows[i], "line", true, "a score", &line, err));
        QA_GOTO(done, qa_json_get_size(scores.rows[i], "answer", true, "a score", &answer, err));
        QA_GOTO(done, qa_json_get_double(scores.rows[i], "return", true, "a score", &value, err));
        QA_GOTO(done, line >= 1 && line <= items->n && answer < 2
                          ? QA_OK
                          : qa_fail(err, QA_ERR_MISMATCH, "%s: a score of line %zu", path, line));
        returns[line - 1][answer] = value;
    }
    for (size_t i = 0; i < items->n; i++) {
        if (isnan(returns[i][0]) || isnan(returns[i][1])) { /* an empty answer has no score: it loses */
            const double lowest = -(double)INFINITY;
            returns[i][0] = isnan(returns[i][0]) ? lowest : returns[i][0];
            returns[i][1] = isnan(returns[i][1]) ? lowest : returns[i][1];
        }
        put_verdict(out, items->rows[i], returns[i][0], returns[i][1]);
    }
    status = out->status;
done:
    free(returns);
    free_lines(&scores);
    return status;
}

static qa_status run_items(const judge_options *o, qa_error *err) {
    line_list items = {0};
    qa_json_writer out = {0};
    const bool lists = strcmp(o->what, "lists") == 0;
    qa_status status = QA_OK;
    qa_json_restart(&out, err);
    QA_GOTO(done, o->items != NULL && o->out != NULL && (lists || o->scores != NULL)
                      ? QA_OK
                      : qa_fail(err, QA_ERR_ARGUMENT, "%s: expected --items, --out%s", o->what,
                                lists ? "" : " and --scores"));
    QA_GOTO(done, read_lines(&items, o->items, err));
    QA_GOTO(done, lists ? make_lists(&items, &out) : reward_verdicts(&items, o->scores, &out, err));
    status = qa_write_file(o->out, out.text.data, out.text.n, err);
done:
    qa_text_free(&out.text);
    free_lines(&items);
    return status;
}

#define AT(field) offsetof(judge_options, field)
static const argument OPTIONS[] = {
    ARGUMENT("", ARGUMENT_TEXT, AT(what), "style|lists|reward", "", .required = true),
    ARGUMENT("--train", ARGUMENT_TEXT, AT(train), "FILE", "style: texts of known domains"),
    ARGUMENT("--test", ARGUMENT_TEXT, AT(test), "FILE", "style: others, to see how good the judge is"),
    ARGUMENT("--domain", ARGUMENT_TEXT, AT(domain), "NAME", "style: the wanted one"),
    ARGUMENT("--answers", ARGUMENT_TEXT, AT(answers), "FILE", "style: answers to put into domains"),
    ARGUMENT("--items", ARGUMENT_TEXT, AT(items), "FILE", "what judge export wrote"),
    ARGUMENT("--scores", ARGUMENT_TEXT, AT(scores), "FILE", "reward: what score printed of the lists"),
    ARGUMENT("--out", ARGUMENT_TEXT, AT(out), "FILE", "verdicts, or lists"),
    {.name = NULL}};

int main(int argc, char **argv) {
    judge_options o = {0};
    qa_error err = {0};
    bool help = false;
    qa_status status = arguments_read(&o, OPTIONS, 1, argc, argv, &help, &err);
    if (help) {
        printf("usage: real_judge style|lists|reward [OPTIONS]\n\n");
        arguments_print(OPTIONS);
        return EXIT_SUCCESS;
    }
    if (status == QA_OK) {
        status = strcmp(o.what, "style") == 0 ? run_style(&o, &err)
                 : strcmp(o.what, "lists") == 0 || strcmp(o.what, "reward") == 0
                     ? run_items(&o, &err)
                     : qa_fail(&err, QA_ERR_ARGUMENT, "expected style, lists or reward, found \"%s\"", o.what);
    }
    return tool_exit("real_judge", status, &err);
}
