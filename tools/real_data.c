/* real_data: what tools/replicate_real trains and measures on, from files of domain-specific preferences (DSP), arrays
 * or lines of {"query", "responses": {"academy", "business", "entertainment", "literature", "normal"}}.
 *
 * Every query counts once, however many files have it, and belongs to one of three groups that share none: to train on,
 * to train the judges on, held out. A pair prefers a domain's response to another's. Written are, for every domain D:
 *
 *     train.D.jsonl     pairs, one a query; what the response is preferred to goes round the other domains
 *     few.D.jsonl       as many pairs, all four of every query, of a quarter of the queries
 *     judge.D.jsonl     pairs of the judges' queries, one each
 *     heldout.D.jsonl   pairs of the held-out queries: one each, then a second one each...
 *
 * and queries.jsonl (to train on), prompts.jsonl (held out), style.jsonl and styletest.jsonl ({"query", "domain",
 * "text"}, all responses of the judges' queries and of those that are left over, and of the held-out ones). The same
 * files and seed give the same bytes. */
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"
#include "io/json_lines.h"
#include "support/arguments.h"

#include <stdio.h>
#include <stdlib.h>

enum { DOMAINS = 5, STYLE_QUERIES = 6000 };
static const char *const domain_names[DOMAINS] = {"academy", "business", "entertainment", "literature", "normal"};

typedef struct data_options {
    argument_list files, domains;
    const char *out;
    size_t train, judge, held_out, seed;
} data_options;

typedef struct query_row {
    json_t *query, *responses[DOMAINS]; /* of `row` */
    json_t *row;
} query_row;

typedef struct queries {
    query_row *rows; /* [n] */
    size_t n, capacity;
    json_t *seen;
} queries;

static qa_status read_query(void *user, const json_t *row, qa_error *err) {
    queries *all = user;
    query_row found = {.query = json_object_get(row, "query")};
    const json_t *responses = json_object_get(row, "responses");
    QA_FAIL_IF(!json_is_string(found.query), err, QA_ERR_FORMAT, "no \"query\": is this a file of DSP?");
    for (size_t d = 0; d < DOMAINS; d++) {
        found.responses[d] = json_object_get(responses, domain_names[d]);
        QA_FAIL_IF(!json_is_string(found.responses[d]), err, QA_ERR_FORMAT, "no response of the domain \"%s\"",
                   domain_names[d]);
        if (json_string_length(found.responses[d]) == 0) {
            return QA_OK; /* nothing to learn from */
        }
    }
    const char *key = json_string_value(found.query);
    if (json_object_get(all->seen, key) != NULL) {
        return QA_OK;
    }
    if (json_object_set_new(all->seen, key, json_true()) != 0) {
        return QA_NO_MEMORY(err, "queries");
    }
    QA_TRY(QA_GROW(all->rows, all->capacity, all->n + 1, err, "queries"));
    found.row = json_copy((json_t *)(void *)(size_t)row); /* keeps the members */
    all->rows[all->n++] = found;
    return found.row == NULL ? QA_NO_MEMORY(err, "queries") : QA_OK;
}

static qa_status read_queries(queries *all, const argument_list *files, qa_error *err) {
    all->seen = json_object();
    for (size_t i = 0; i < files->n; i++) {
        qa_json_lines *lines = NULL;
        QA_TRY(qa_json_lines_open(&lines, files->items[i], err));
        const qa_status status = qa_json_lines_each(lines, read_query, all, err);
        qa_json_lines_close(lines);
        QA_TRY(status);
    }
    return QA_OK;
}

/* ---- writing ---- */

static void put_turn(qa_json_writer *out, const char *key, const char *role, const json_t *text) {
    qa_json_open_array(out, key, QA_JSON_LINE);
    qa_json_put_message(out, role, json_string_value(text), json_string_length(text));
    qa_json_close(out);
}

/* The domain's response is preferred to that of the `round`-th of the other domains. */
static void put_pair(qa_json_writer *out, const query_row *row, size_t domain, size_t round) {
    const size_t other = (domain + 1 + round % (DOMAINS - 1)) % DOMAINS;
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    put_turn(out, "prompt", "user", row->query);
    put_turn(out, "chosen", "assistant", row->responses[domain]);
    put_turn(out, "rejected", "assistant", row->responses[other]);
    qa_json_close(out);
    qa_json_end_line(out);
}

static void put_query(qa_json_writer *out, const query_row *row) {
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    put_turn(out, "messages", "user", row->query);
    qa_json_close(out);
    qa_json_end_line(out);
}

static void put_style(qa_json_writer *out, const query_row *row) {
    for (size_t d = 0; d < DOMAINS; d++) {
        qa_json_open_object(out, NULL, QA_JSON_LINE);
        qa_json_put_string(out, "query", json_string_value(row->query));
        qa_json_put_string(out, "domain", domain_names[d]);
        qa_json_put_text(out, "text", json_string_value(row->responses[d]), json_string_length(row->responses[d]));
        qa_json_close(out);
        qa_json_end_line(out);
    }
}

/* dir/NAME, or dir/NAME.DOMAIN.jsonl; the writer is empty afterwards. */
static qa_status save_lines(qa_json_writer *out, const char *dir, const char *name, const char *domain, qa_error *err) {
    char file[128];
    char *path = NULL;
    QA_TRY(out->status);
    (void)snprintf(file, sizeof file, "%s%s%s.jsonl", name, domain == NULL ? "" : ".", domain == NULL ? "" : domain);
    QA_TRY(qa_join_path(&path, dir, file, err));
    const qa_status status = qa_write_file(path, out->text.data, out->text.n, err);
    free(path);
    qa_json_restart(out, err);
    return status;
}

/* Rows [n] with one pair each, or with the first `rounds` of their pairs, round by round. */
static qa_status save_pairs(qa_json_writer *out, const query_row *rows, size_t n, size_t domain, size_t rounds,
                            const char *dir, const char *name, qa_error *err) {
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < n; i++) {
            put_pair(out, &rows[i], domain, i + round);
        }
    }
    return save_lines(out, dir, name, domain_names[domain], err);
}

static qa_status find_domain(size_t *domain, const char *name, qa_error *err) {
    for (*domain = 0; *domain < DOMAINS; ++*domain) {
        if (strcmp(domain_names[*domain], name) == 0) {
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "--domain: no domain \"%s\"", name);
}

static qa_status save_groups(const queries *all, const data_options *o, qa_json_writer *out, qa_error *err) {
    const query_row *held_out = all->rows, *train = held_out + o->held_out, *judge = train + o->train;
    const query_row *end = all->rows + (all->n < (size_t)STYLE_QUERIES ? all->n : (size_t)STYLE_QUERIES);
    for (size_t i = 0; i < o->domains.n; i++) {
        size_t domain = 0;
        QA_TRY(find_domain(&domain, o->domains.items[i], err));
        QA_TRY(save_pairs(out, train, o->train, domain, 1, o->out, "train", err));
        QA_TRY(save_pairs(out, train, (o->train + 3) / 4, domain, DOMAINS - 1, o->out, "few", err));
        QA_TRY(save_pairs(out, judge, o->judge, domain, 1, o->out, "judge", err));
        QA_TRY(save_pairs(out, held_out, o->held_out, domain, DOMAINS - 1, o->out, "heldout", err));
    }
    for (size_t i = 0; i < o->train; i++) {
        put_query(out, &train[i]);
    }
    QA_TRY(save_lines(out, o->out, "queries", NULL, err));
    for (size_t i = 0; i < o->held_out; i++) {
        put_query(out, &held_out[i]);
    }
    QA_TRY(save_lines(out, o->out, "prompts", NULL, err));
    for (const query_row *row = judge; row < judge + o->judge || row < end; row++) {
        put_style(out, row);
    }
    QA_TRY(save_lines(out, o->out, "style", NULL, err));
    for (size_t i = 0; i < o->held_out; i++) {
        put_style(out, &held_out[i]);
    }
    return save_lines(out, o->out, "styletest", NULL, err);
}

/* Where there are fewer queries than were asked for: at most a quarter is held out, the others share the rest. */
static qa_status fit_groups(data_options *o, size_t n, qa_error *err) {
    const size_t learned = o->train + o->judge;
    o->held_out = o->held_out < n / 4 ? o->held_out : n / 4;
    if (n - o->held_out < learned) {
        o->train = (n - o->held_out) * o->train / learned;
        o->judge = n - o->held_out - o->train;
    }
    QA_FAIL_IF(o->train < 4 || o->judge < 4 || o->held_out < 2, err, QA_ERR_FORMAT,
               "%zu queries with responses of all domains are too few", n);
    return QA_OK;
}

static qa_status shuffle_rows(queries *all, uint64_t seed, qa_error *err) {
    qa_rng rng = qa_rng_seed(seed, 0);
    size_t *order = NULL;
    query_row *rows = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, QA_NEW(order, all->n, err, "queries"));
    QA_GOTO(done, QA_NEW(rows, all->n, err, "queries"));
    for (size_t i = 0; i < all->n; i++) {
        order[i] = i;
    }
    qa_rng_shuffle(&rng, order, all->n);
    for (size_t i = 0; i < all->n; i++) {
        rows[i] = all->rows[order[i]];
    }
    memcpy(all->rows, rows, all->n * sizeof *rows);
done:
    free(order);
    free(rows);
    return status;
}

#define AT(field) offsetof(data_options, field)
static const argument OPTIONS[] = {
    ARGUMENT("--dsp", ARGUMENT_LIST, AT(files), "FILE", "a file of DSP; several", .required = true),
    ARGUMENT("--domain", ARGUMENT_LIST, AT(domains), "NAME", "whose responses are preferred; several",
             .required = true),
    ARGUMENT("--out", ARGUMENT_TEXT, AT(out), "DIR", "where the files go", .required = true),
    ARGUMENT("--train", ARGUMENT_SIZE, AT(train), "N", "queries to train on", .least = 1),
    ARGUMENT("--judge", ARGUMENT_SIZE, AT(judge), "N", "queries to train the judges on", .least = 1),
    ARGUMENT("--held-out", ARGUMENT_SIZE, AT(held_out), "N", "queries to measure on", .least = 1),
    ARGUMENT("--seed", ARGUMENT_SIZE, AT(seed), "N", "which query is in which group"),
    {.name = NULL}};

int main(int argc, char **argv) {
    data_options o = {.train = 640, .judge = 400, .held_out = 60};
    queries all = {0};
    qa_json_writer out = {0};
    qa_error err = {0};
    bool help = false;
    qa_status status = arguments_read(&o, OPTIONS, 1, argc, argv, &help, &err);
    if (help) {
        printf("usage: real_data --dsp FILE --domain NAME --out DIR\n\n");
        arguments_print(OPTIONS);
        return EXIT_SUCCESS;
    }
    QA_GOTO(done, status);
    qa_json_restart(&out, &err);
    QA_GOTO(done, qa_make_dirs(o.out, &err));
    QA_GOTO(done, read_queries(&all, &o.files, &err));
    QA_GOTO(done, all.n == 0 ? qa_fail(&err, QA_ERR_FORMAT, "no queries in the files") : QA_OK);
    QA_GOTO(done, shuffle_rows(&all, o.seed, &err));
    QA_GOTO(done, fit_groups(&o, all.n, &err));
    QA_GOTO(done, save_groups(&all, &o, &out, &err));
    printf("%zu queries: %zu to train on, %zu for the judges, %zu held out\n", all.n, o.train, o.judge, o.held_out);
done:
    for (size_t i = 0; i < all.n; i++) {
        json_decref(all.rows[i].row);
    }
    free(all.rows);
    json_decref(all.seen);
    qa_text_free(&out.text);
    return tool_exit("real_data", status, &err);
}
