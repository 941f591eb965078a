/* real_tables: the tables of docs/real-model.md, from what tools/replicate_real left.
 *
 *   FOLDER/settings.tsv            the setting, key and value
 *   FOLDER/jobs/NAME/eval.json     `eval --json` on held-out pairs
 *   FOLDER/jobs/NAME/suite.json    `eval --suite --kl --json` on what the base model knows
 *   FOLDER/jobs/NAME/style.json    `real_judge style` on the answers to held-out queries; of the base model
 * style-DOMAIN.json FOLDER/jobs/NAME/judged.json   `judge import --json`: judges words and reward, the policy being a,
 * the base model b FOLDER/jobs/NAME/transcript.jsonl, seconds
 *
 * A number that is not there is a dash. */
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"
#include "io/json_lines.h"
#include "support/arguments.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { SHOWN_PROMPTS = 4, MOST_BYTES = 1 << 24 };

typedef struct table_options {
    const char *document, *tsv, *folder;
} table_options;

static const struct {
    const char *name, *title;
} methods[] = {{"theory", "Q-Adapter, theory"},
               {"published", "Q-Adapter, published"},
               {"sft", "fine-tuning"},
               {"replay", "replay"},
               {"dpo", "DPO, b = 0.1"}};
enum { METHODS = sizeof methods / sizeof methods[0] };
static const char *const domains[] = {"academy", "business", "entertainment", "literature", "normal"};
enum { DOMAINS = sizeof domains / sizeof domains[0] };

static void put(qa_text *text, const char *format, ...) QA_PRINTF(2, 3);
static void put(qa_text *text, const char *format, ...) {
    char line[4096];
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (n < 0 || qa_text_append_z(text, line, NULL) != QA_OK) {
        abort();
    }
}

/* ---- what was measured ---- */

/* A file of a job, NULL where it is not there or not JSON; the caller's. */
static json_t *load(const char *folder, const char *job, const char *file) {
    char path[4096];
    json_t *root = NULL;
    (void)snprintf(path, sizeof path, "%s/jobs/%s/%s", folder, job, file);
    return qa_path_exists(path) && qa_json_load(&root, path, NULL) == QA_OK ? root : NULL;
}

typedef struct job {
    json_t *eval, *suite, *style, *judged, *result;
} job;

static job load_job(const char *folder, const char *name) {
    return (job){load(folder, name, "eval.json"), load(folder, name, "suite.json"), load(folder, name, "style.json"),
                 load(folder, name, "judged.json"), load(folder, name, "result.json")};
}

static void free_job(job *of) {
    json_decref(of->eval);
    json_decref(of->suite);
    json_decref(of->style);
    json_decref(of->judged);
    json_decref(of->result);
}

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static void put_number(qa_text *text, double value, double scale, int digits, const char *unit) {
    if (isnan(value)) {
        put(text, " - |");
    } else {
        put(text, " %.*f%s |", digits, scale * value, unit);
    }
}

/* The win rate over the base model by one of the two judges, with its interval. */
static void put_win_rate(qa_text *text, const json_t *judged, size_t judge) {
    const json_t *of = json_array_get(json_object_get(judged, "judges"), judge);
    const json_t *interval = json_object_get(of, "win_rate_interval");
    const double rate = json_is_true(json_object_get(judged, "same")) ? 0.5 : number(of, "win_rate_a");
    if (isnan(rate)) {
        put(text, " - |");
    } else if (interval == NULL) {
        put(text, " %.1f%% |", 100.0 * rate);
    } else {
        put(text, " %.1f%% [%.1f, %.1f] |", 100.0 * rate, 100.0 * json_number_value(json_array_get(interval, 0)),
            100.0 * json_number_value(json_array_get(interval, 1)));
    }
}

/* ---- tables ---- */

static void put_learned_row(qa_text *text, const char *title, const job *of) {
    put(text, "| %s |", title);
    put_number(text, number(of->eval, "accuracy"), 100.0, 1, "%");
    put_number(text, number(of->eval, "margin_mean"), 1.0, 2, "");
    put_number(text, number(of->style, "share"), 100.0, 1, "%");
    put_win_rate(text, of->judged, 0);
    put_win_rate(text, of->judged, 1);
    put_number(text, number(of->result, "seconds"), 1.0 / 60.0, 0, "");
    put(text, "\n");
}

static void put_kept_row(qa_text *text, const char *title, const job *of) {
    const json_t *ordinary = json_object_get(json_object_get(of->suite, "shares"), "ordinary");
    const json_t *knowledge = json_object_get(json_object_get(of->suite, "skills"), "knowledge");
    put(text, "| %s |", title);
    put_number(text, number(ordinary, "sequence_kl"), 1.0, 2, "");
    put_number(text, number(of->suite, "ordinary_kl"), 1.0, 4, "");
    put_number(text, number(of->suite, "perplexity"), 1.0, 2, "");
    put_number(text, number(knowledge, "accuracy"), 100.0, 1, "%");
    put_number(text, number(knowledge, "questions"), 1.0, 0, "");
    put(text, "\n");
}

/* Rows of the base model and of all methods in a domain: what was learned, or what was kept. */
static void put_domain(qa_text *text, const char *folder, const char *domain, bool kept) {
    char name[128];
    put(text,
        kept ? "| policy | KL to the base, an answer | KL, a token | perplexity | common knowledge | questions |\n"
               "| --- | ---: | ---: | ---: | ---: | ---: |\n"
             : "| policy | held-out pairs | margin, nats | in the style, by words | wins over the base, words | wins, "
               "reward | minutes |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    (void)snprintf(name, sizeof name, "style-%s.json", domain);
    job base = load_job(folder, "base");
    base.style = load(folder, "base", name);
    json_decref(base.result); /* its time is that of other things */
    base.result = NULL;
    (kept ? put_kept_row : put_learned_row)(text, "base", &base);
    free_job(&base);
    for (size_t m = 0; m < METHODS; m++) {
        (void)snprintf(name, sizeof name, "main-%s-%s", domain, methods[m].name);
        job of = load_job(folder, name);
        (kept ? put_kept_row : put_learned_row)(text, methods[m].title, &of);
        free_job(&of);
    }
}

/* As many pairs, of all queries and of a quarter of them. */
static void put_queries(qa_text *text, const char *folder, const char *domain) {
    static const char *const titles[] = {"one pair a query", "four pairs a query, a quarter of the queries"};
    char name[128];
    put(text, "| training pairs | held-out pairs | margin, nats | in the style, by words | wins over the base, words | "
              "wins, reward | minutes |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof name, i == 0 ? "main-%s-theory" : "few-%s", domain);
        job of = load_job(folder, name);
        put_learned_row(text, titles[i], &of);
        free_job(&of);
    }
}

static void put_judges(qa_text *text, const char *folder) {
    char name[128];
    put(text, "| domain | words: domain found, of five | words: pairs ranked right | reward: pairs ranked right |\n"
              "| --- | ---: | ---: | ---: |\n");
    for (size_t d = 0; d < DOMAINS; d++) {
        (void)snprintf(name, sizeof name, "main-%s-theory", domains[d]);
        job of = load_job(folder, name);
        (void)snprintf(name, sizeof name, "reward-%s", domains[d]);
        job reward = load_job(folder, name);
        if (of.style != NULL || reward.eval != NULL) {
            put(text, "| %s |", domains[d]);
            put_number(text, number(of.style, "test_accuracy"), 100.0, 1, "%");
            put_number(text, number(of.style, "test_pairs_right"), 100.0, 1, "%");
            put_number(text, number(reward.eval, "accuracy"), 100.0, 1, "%");
            put(text, "\n");
        }
        free_job(&of);
        free_job(&reward);
    }
}

static void put_setup(qa_text *text, const char *folder) {
    char path[4096];
    qa_text lines = {0};
    (void)snprintf(path, sizeof path, "%s/settings.tsv", folder);
    put(text, "| | |\n| --- | --- |\n");
    if (qa_read_file(&lines, path, MOST_BYTES, NULL) == QA_OK && lines.n > 0) {
        for (char *at = lines.data; at < lines.data + lines.n;) {
            const size_t n = strcspn(at, "\n"), key = strcspn(at, "\t\n");
            put(text, "| %.*s | %.*s |\n", (int)key, at, (int)(n - key - (key < n ? 1 : 0)),
                at + key + (key < n ? 1 : 0));
            at += n + 1;
        }
    }
    qa_text_free(&lines);
}

/* What the figure shows: a row a policy whose KL to the base and whose answers were measured. */
static void put_points(qa_text *text, const char *folder) {
    char name[128];
    put(text, "domain\tmethod\ttitle\tkl\twins\tlow\thigh\n");
    for (size_t i = 0; i < DOMAINS * METHODS; i++) {
        const size_t m = i % METHODS;
        (void)snprintf(name, sizeof name, "main-%s-%s", domains[i / METHODS], methods[m].name);
        job of = load_job(folder, name);
        const double kl = number(json_object_get(json_object_get(of.suite, "shares"), "ordinary"), "sequence_kl");
        const json_t *judge = json_array_get(json_object_get(of.judged, "judges"), 0);
        const json_t *interval = json_object_get(judge, "win_rate_interval");
        if (!isnan(kl) && interval != NULL) {
            put(text, "%s\t%s\t%s\t%.6g\t%.6g\t%.6g\t%.6g\n", domains[i / METHODS], methods[m].name, methods[m].title,
                kl, number(judge, "win_rate_a"), json_number_value(json_array_get(interval, 0)),
                json_number_value(json_array_get(interval, 1)));
        }
        free_job(&of);
    }
}

/* The figure, once it is drawn: FOLDER/figure says where. */
static void put_figure(qa_text *text, const char *folder) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/figure", folder);
    if (qa_path_exists(path)) {
        put(text, "![Wins over the base model's answers against the KL to it](figures/real-model.svg)\n");
    }
}

/* ---- answers beside each other ---- */

typedef struct shown_answers {
    const char *title;
    qa_text *text;
    size_t which, seen; /* the prompt that is shown; how many came so far */
    bool heading;
} shown_answers;

/* One line, without what Markdown would read. */
static void put_quoted(qa_text *text, const char *from) {
    for (; *from != '\0'; from++) {
        if (*from == '\n') {
            put(text, " / ");
        } else if (strchr("|*_<`#[", *from) != NULL) {
            put(text, "\\%c", *from);
        } else {
            put(text, "%c", *from);
        }
    }
}

static qa_status show_answer(void *user, const json_t *row, qa_error *err) {
    shown_answers *shown = user;
    const json_t *messages = json_object_get(row, "messages");
    (void)err;
    if (json_object_get(row, "shares") == NULL || shown->seen++ != shown->which) {
        return QA_OK;
    }
    const size_t n = json_array_size(messages);
    if (shown->heading && n >= 2) {
        put(shown->text, "**");
        put_quoted(shown->text, json_string_value(json_object_get(json_array_get(messages, n - 2), "content")));
        put(shown->text, "**\n\n");
    }
    put(shown->text, "- %s: ", shown->title);
    put_quoted(shown->text, json_string_value(json_object_get(json_array_get(messages, n - 1), "content")));
    put(shown->text, "%s\n", json_is_false(json_object_get(row, "ended")) ? " ..." : "");
    return QA_OK;
}

static void show_job(qa_text *text, const char *folder, const char *name, const char *title, size_t which,
                     bool heading) {
    char path[4096];
    qa_json_lines *lines = NULL;
    shown_answers shown = {title, text, which, 0, heading};
    (void)snprintf(path, sizeof path, "%s/jobs/%s/transcript.jsonl", folder, name);
    if (qa_path_exists(path) && qa_json_lines_open(&lines, path, NULL) == QA_OK) {
        const qa_status status = qa_json_lines_each(lines, show_answer, &shown, NULL);
        qa_json_lines_close(lines);
        put(text, status == QA_OK ? "" : "- %s: not readable\n", title);
    }
}

static void put_answers(qa_text *text, const char *folder, const char *domain) {
    char name[128];
    for (size_t which = 0; which < SHOWN_PROMPTS; which++) {
        put(text, which == 0 ? "" : "\n");
        show_job(text, folder, "base", "base", which, true);
        for (size_t m = 0; m < METHODS; m++) {
            (void)snprintf(name, sizeof name, "main-%s-%s", domain, methods[m].name);
            show_job(text, folder, name, methods[m].title, which, false);
        }
    }
}

/* ---- the document ---- */

static bool put_table(qa_text *text, const char *folder, const char *name) {
    const char *dash = strrchr(name, '-'), *domain = dash == NULL ? "" : dash + 1;
    if (strcmp(name, "setup") == 0) {
        put_setup(text, folder);
    } else if (strcmp(name, "judges") == 0) {
        put_judges(text, folder);
    } else if (strcmp(name, "figure") == 0) {
        put_figure(text, folder);
    } else if (strncmp(name, "learned-", 8) == 0 || strncmp(name, "kept-", 5) == 0) {
        put_domain(text, folder, domain, name[0] == 'k');
    } else if (strncmp(name, "queries-", 8) == 0) {
        put_queries(text, folder, domain);
    } else if (strncmp(name, "answers-", 8) == 0) {
        put_answers(text, folder, domain);
    } else {
        return false;
    }
    return true;
}

static qa_status update_document(const table_options *o, qa_error *err) {
    static const char begin[] = "<!-- table ", end[] = "<!-- end -->";
    qa_text old = {0}, made = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_read_file(&old, o->document, MOST_BYTES, err));
    const char *at = old.data;
    for (const char *mark; at != NULL && (mark = strstr(at, begin)) != NULL;) {
        char name[64];
        const char *behind = strstr(mark, " -->\n"), *close = strstr(mark, end);
        const size_t n = behind == NULL ? 0 : (size_t)(behind - mark) - (sizeof begin - 1);
        if (behind == NULL || close == NULL || n >= sizeof name) {
            status = qa_fail(err, QA_ERR_FORMAT, "%s: a table that does not end", o->document);
            goto done;
        }
        (void)snprintf(name, sizeof name, "%.*s", (int)n, mark + sizeof begin - 1);
        QA_GOTO(done, qa_text_append(&made, at, (size_t)(behind + 5 - at), err));
        put(&made, "\n");
        if (!put_table(&made, o->folder, name)) {
            status = qa_fail(err, QA_ERR_FORMAT, "%s: no table \"%s\"", o->document, name);
            goto done;
        }
        put(&made, "\n");
        at = close;
    }
    QA_GOTO(done, qa_text_append_z(&made, at == NULL ? "" : at, err));
    status = qa_write_file(o->document, made.data, made.n, err);
done:
    qa_text_free(&old);
    qa_text_free(&made);
    return status;
}

static qa_status write_points(const table_options *o, qa_error *err) {
    qa_text text = {0};
    put_points(&text, o->folder);
    const qa_status status = qa_write_file(o->tsv, text.data, text.n, err);
    qa_text_free(&text);
    return status;
}

static qa_status run(const table_options *o, qa_error *err) {
    QA_TRY(o->document == NULL ? QA_OK : update_document(o, err));
    return o->tsv == NULL ? QA_OK : write_points(o, err);
}

#define AT(field) offsetof(table_options, field)
static const argument OPTIONS[] = {
    ARGUMENT("--update", ARGUMENT_TEXT, AT(document), "FILE",
             "replace what stands between <!-- table NAME --> and <!-- end --> in FILE"),
    ARGUMENT("--tsv", ARGUMENT_TEXT, AT(tsv), "FILE", "the points of the figure"),
    ARGUMENT("", ARGUMENT_TEXT, AT(folder), "FOLDER", "what tools/replicate_real left", .required = true),
    {.name = NULL}};

int main(int argc, char **argv) {
    table_options o = {0};
    qa_error err = {0};
    bool help = false;
    const qa_status status = arguments_read(&o, OPTIONS, 1, argc, argv, &help, &err);
    if (help) {
        printf("usage: real_tables [--update FILE] [--tsv FILE] FOLDER\n\n");
        arguments_print(OPTIONS);
        return EXIT_SUCCESS;
    }
    return tool_exit("real_tables", status == QA_OK ? run(&o, &err) : status, &err);
}
