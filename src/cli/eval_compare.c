/* qadapter eval with several adapters: the base model and each of them on the same pairs or the same suite, one after
 * the other, in one table. Each is read by its own record. The pairs are read once, unless two adapters were trained on
 * dialogues that were written in different ways, or are measured on what each held out: then each meets its own. */
#include "cli/eval.h"

#include "base/memory.h"
#include "base/plain_line.h"
#include "base/try.h"
#include "cli/cells.h"
#include "cli/format.h"
#include "methods/method.h"
#include "text/chat_open.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One line of the table. */
typedef struct compared_row {
    const char *adapter; /* NULL: the base model */
    qa_objective objective;
    qa_evaluation pairs;
    qa_suite_result suite;
} compared_row;

typedef struct comparison {
    cli_run *run;
    compared_row *rows; /* [n] */
    size_t n;
    eval_suite named;       /* its suite NULL: none */
    const char *pairs_path; /* NULL: no pairs */
    qa_pairs *pairs;
    json_t *chat;                /* how they were written; NULL: by no template */
    qa_data_record data;         /* and where responses end */
    qa_held_out_record held_out; /* with --held-out: which of them they are */
    size_t max_length;
} comparison;

/* ---- measuring ---- */

/* The pairs as this adapter reads them. */
static qa_status read_compared_pairs(comparison *c, bool first, qa_error *err) {
    cli_run *run = c->run;
    const qa_chat *chat = NULL;
    bool assumed = false;
    qa_data_record data = {0};
    qa_held_out_record held = {0};
    QA_TRY(cli_resolve_chat(run, &chat, &assumed, err));
    QA_TRY(qa_training_config_data(run->args->adapter, &data, err));
    QA_TRY(eval_args_of(run)->held_out ? qa_training_config_held_out(run->args->adapter, &held, err) : QA_OK);
    json_t *written = chat == NULL ? json_null() : json_deep_copy(qa_chat_record(chat));
    const bool written_alike = json_equal(written, c->chat) == 1 && data.response_end == c->data.response_end;
    const bool same = !first && written_alike && held.val_size == c->held_out.val_size &&
                      held.seed == c->held_out.seed && held.fingerprint == c->held_out.fingerprint;
    json_decref(c->chat);
    c->chat = written;
    c->data = data;
    c->held_out = held;
    if (same || c->pairs_path == NULL) {
        return QA_OK;
    }
    if (!first) {
        cli_warn(run, "%s was trained %s: its pairs are read anew, and its numbers are of other %s", run->args->adapter,
                 written_alike ? "with other pairs held out" : "on dialogues that are written in another way",
                 written_alike ? "pairs" : "tokens");
    }
    qa_pairs_free(c->pairs);
    c->pairs = NULL;
    return cli_eval_load_pairs(run, c->pairs_path, c->max_length, &c->pairs, err);
}

static qa_status measure_row(comparison *c, compared_row *row, const qa_adapter *adapter, qa_error *err) {
    cli_run *run = c->run;
    size_t micro_batch = 0;
    if (c->pairs != NULL) {
        QA_TRY(cli_resolve_micro_batch(run, &micro_batch, err));
        QA_TRY(cli_eval_on_pairs(run, c->pairs, &row->objective, adapter, micro_batch, NULL, &row->pairs, err));
    }
    return c->named.suite == NULL
               ? QA_OK
               : cli_eval_on_suite(run, &c->named, &row->objective, adapter, false, &row->suite, err);
}

/* Adapter number i, and before the first one the base model. */
static qa_status measure_adapter(comparison *c, size_t i, qa_error *err) {
    cli_run *run = c->run;
    compared_row *row = &c->rows[i + 1];
    row->adapter = run->args->adapters.items[i];
    cli_use_adapter(run, row->adapter);
    cli_forget_chat(run);
    QA_TRY(cli_resolve_objective(run, &row->objective, NULL, err));
    QA_TRY(cli_load_adapter(run, err));
    QA_TRY(read_compared_pairs(c, i == 0, err));
    if (i == 0) {
        QA_TRY(qa_objective_from_recipe(&c->rows[0].objective, "theory", err)); /* nothing is asked of it */
        QA_TRY(measure_row(c, &c->rows[0], NULL, err));
    }
    return measure_row(c, row, run->adapter, err);
}

/* ---- the table ---- */

enum { MOST_COMPARED = 64, HEADER_BYTES = QA_SUITE_NAME_BYTES + 16, NAME_COLUMNS = 40 };

/* A column, filled for every row by one function. */
typedef struct compared_column {
    char header[HEADER_BYTES];
    bool percent, of_adapters; /* says nothing of the base model */
    double (*value)(const compared_row *row, size_t at);
    size_t at;
} compared_column;

#define OF_PAIRS(field)                                                                                                \
    static double pairs_##field(const compared_row *row, size_t at) {                                                  \
        (void)at;                                                                                                      \
        return row->pairs.field;                                                                                       \
    }
OF_PAIRS(accuracy)
OF_PAIRS(margin_mean)
OF_PAIRS(loss)
OF_PAIRS(reward_chosen)
OF_PAIRS(reward_rejected)
OF_PAIRS(kl_per_token)
OF_PAIRS(nll_custom_chosen)
OF_PAIRS(nll_custom_rejected)

static double skills_mean(const compared_row *row, size_t at) {
    double error = 0.0;
    (void)at;
    return cli_skills_mean(&row->suite, &error);
}
static double skill_share(const compared_row *row, size_t at) {
    const qa_skill_result *skill = &row->suite.skills[at];
    return skill->questions > 0 ? (double)skill->right / (double)skill->questions : (double)NAN;
}
static double share_reward(const compared_row *row, size_t at) { return row->suite.shares[at].mean_reward; }
static double share_distance(const compared_row *row, size_t at) { return row->suite.shares[at].total_variation; }
static double share_kl(const compared_row *row, size_t at) { return row->suite.shares[at].sequence_kl; }
static double suite_kl(const compared_row *row, size_t at) {
    (void)at;
    return row->suite.ordinary_kl;
}
static double suite_perplexity(const compared_row *row, size_t at) {
    (void)at;
    return row->suite.perplexity;
}

typedef struct compared_table {
    compared_column columns[MOST_COMPARED]; /* [n] */
    size_t n;
} compared_table;

static void add_column(compared_table *table, const char *header, const char *more, compared_column column) {
    if (table->n < MOST_COMPARED) {
        (void)snprintf(column.header, sizeof column.header, "%s%s", header, more);
        table->columns[table->n++] = column;
    }
}

static void add_pairs_columns(compared_table *table, bool brief) {
    add_column(table, brief ? "pairs" : "accuracy", "",
               (compared_column){.percent = true, .of_adapters = true, .value = pairs_accuracy});
    add_column(table, "margin", "", (compared_column){.of_adapters = true, .value = pairs_margin_mean});
    if (brief) {
        return;
    }
    add_column(table, "loss", "", (compared_column){.of_adapters = true, .value = pairs_loss});
    add_column(table, "R chosen", "", (compared_column){.of_adapters = true, .value = pairs_reward_chosen});
    add_column(table, "R rejected", "", (compared_column){.of_adapters = true, .value = pairs_reward_rejected});
    add_column(table, "KL/token", "", (compared_column){.of_adapters = true, .value = pairs_kl_per_token});
    add_column(table, "NLL chosen", "", (compared_column){.value = pairs_nll_custom_chosen});
    add_column(table, "NLL rejected", "", (compared_column){.value = pairs_nll_custom_rejected});
}

/* All rows are of one suite, and have the same skills and shares. */
static void add_suite_columns(compared_table *table, const qa_suite_result *suite) {
    add_column(table, "skills", "", (compared_column){.percent = true, .value = skills_mean});
    for (size_t i = 0; suite->n_skills > 1 && i < suite->n_skills; i++) {
        add_column(table, suite->skills[i].name, "", (compared_column){.percent = true, .value = skill_share, .at = i});
    }
    for (size_t i = 0; i < suite->n_shares; i++) {
        const char *of = suite->n_shares > 1 ? suite->shares[i].name : "";
        add_column(table, of, of[0] == '\0' ? "reward" : " reward", (compared_column){.value = share_reward, .at = i});
        add_column(table, of, of[0] == '\0' ? "TV" : " TV", (compared_column){.value = share_distance, .at = i});
        add_column(table, of, of[0] == '\0' ? "KL/answer" : " KL/answer",
                   (compared_column){.of_adapters = true, .value = share_kl, .at = i});
    }
    add_column(table, "KL/token", "", (compared_column){.of_adapters = true, .value = suite_kl});
    add_column(table, "perplexity", "", (compared_column){.value = suite_perplexity});
}

static bool says_something(const comparison *c, const compared_column *column) {
    for (size_t i = 0; i < c->n; i++) {
        if (isfinite(column->value(&c->rows[i], column->at))) {
            return true;
        }
    }
    return false;
}

static const char *cell_text(char text[CLI_NUMBER_BYTES], const compared_row *row, const compared_column *column) {
    const double value = column->value(row, column->at);
    (void)snprintf(text, CLI_NUMBER_BYTES, column->percent ? "%.1f%%" : "%.4g",
                   column->percent ? 100.0 * value : value);
    return !isfinite(value) || (row->adapter == NULL && column->of_adapters) ? "-" : text;
}

static qa_status append_compared_name(qa_text *text, const char *name, size_t columns, qa_error *err) {
    char plain[4096];
    const size_t bytes = qa_plain_line(plain, sizeof plain, name);
    return cli_append_cell(text, plain, bytes, columns, true, err);
}

static size_t name_columns(const comparison *c) {
    size_t columns = 0;
    for (size_t i = 0; i < c->n; i++) {
        const char *name = c->rows[i].adapter == NULL ? "base" : c->rows[i].adapter;
        const size_t one = cli_columns(name, strlen(name));
        columns = one > columns ? one : columns;
    }
    return columns < NAME_COLUMNS ? columns : NAME_COLUMNS;
}

static qa_status append_compared_table(qa_text *text, const comparison *c, const compared_table *table, qa_error *err) {
    const size_t names = name_columns(c);
    for (size_t r = 0; r <= c->n; r++) { /* the headers first */
        const compared_row *row = r == 0 ? NULL : &c->rows[r - 1];
        char cell[HEADER_BYTES + 32], number[CLI_NUMBER_BYTES];
        const char *method = row == NULL ? "method" : row->adapter == NULL ? "" : qa_method_name(row->objective.method);
        QA_TRY(append_compared_name(text, row == NULL ? "" : row->adapter == NULL ? "base" : row->adapter, names, err));
        (void)snprintf(cell, sizeof cell, "  %-8s", method);
        QA_TRY(qa_text_append_z(text, cell, err));
        for (size_t i = 0; i < table->n; i++) {
            const compared_column *column = &table->columns[i];
            const int width = strlen(column->header) < 8 ? 8 : (int)strlen(column->header);
            (void)snprintf(cell, sizeof cell, "  %*s", width,
                           row == NULL ? column->header : cell_text(number, row, column));
            QA_TRY(says_something(c, column) ? qa_text_append_z(text, cell, err) : QA_OK);
        }
        QA_TRY(qa_text_append_z(text, "\n", err));
    }
    return QA_OK;
}

static qa_status print_compared(const comparison *c, qa_error *err) {
    compared_table table = {.n = 0};
    qa_text text = {0};
    if (c->named.suite != NULL) {
        add_suite_columns(&table, &c->rows[0].suite);
    }
    if (c->pairs != NULL) {
        add_pairs_columns(&table, c->named.suite != NULL);
    }
    qa_status status = append_compared_table(&text, c, &table, err);
    if (status == QA_OK) {
        status = cli_put(text.data, text.n, err);
    }
    qa_text_free(&text);
    return status == QA_OK ? cli_flush(err) : status;
}

/* ---- JSON ---- */

/* As of one adapter, with its folder in front and both sides' numbers behind. */
static qa_status print_pairs_row(const compared_row *row, qa_error *err) {
    cli_report report = {0};
    cli_report_text(&report, "adapter", "", row->adapter);
    cli_report_evaluation(&report, &row->pairs, &row->objective);
    if (!row->pairs.labelled) { /* which have them above */
        cli_report_real(&report, "reward_chosen", "", row->pairs.reward_chosen, "");
        cli_report_real(&report, "reward_rejected", "", row->pairs.reward_rejected, "");
    }
    cli_report_real(&report, "logps_chosen", "", row->pairs.logps_chosen, "");
    cli_report_real(&report, "logps_rejected", "", row->pairs.logps_rejected, "");
    const qa_status status = cli_report_print(&report, stdout, true, err);
    cli_report_free(&report);
    return status;
}

static qa_status print_compared_json(const comparison *c, qa_error *err) {
    for (size_t i = 0; i < c->n; i++) {
        const compared_row *row = &c->rows[i];
        const suite_report report = {.run = c->run,
                                     .suite = &c->named,
                                     .model = c->run->args->model,
                                     .adapter = row->adapter,
                                     .objective = &row->objective,
                                     .result = &row->suite,
                                     .held_out = c->pairs == NULL ? NULL : &row->pairs};
        printf(i == 0 ? "[\n" : ",\n");
        QA_TRY(c->named.suite == NULL ? print_pairs_row(row, err) : suite_report_print(&report, true, err));
    }
    printf("]\n");
    return cli_flush(err);
}

/* ---- all of it ---- */

static qa_status compare(comparison *c, qa_error *err) {
    cli_run *run = c->run;
    const bool suite = eval_args_of(run)->suite != NULL;
    QA_TRY(QA_NEW(c->rows, c->n, err, "the comparison"));
    QA_TRY(suite ? cli_eval_find_suite(run, &c->named, err) : QA_OK);
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_load_tokenizer(run, suite, err));
    QA_TRY(cli_resolve_max_length(run, &c->max_length, err));
    c->pairs_path = suite ? cli_eval_suite_pairs(run, &c->named) : run->args->data;
    cli_catch_interrupts(run->command->name, "stopping");
    for (size_t i = 0; i + 1 < c->n; i++) {
        QA_TRY(measure_adapter(c, i, err));
    }
    return run->args->json ? print_compared_json(c, err) : print_compared(c, err);
}

qa_status cli_eval_compare(cli_run *run, qa_error *err) {
    comparison c = {.run = run, .n = run->args->adapters.n + 1};
    const qa_status status = compare(&c, err);
    for (size_t i = 0; c.rows != NULL && i < c.n; i++) {
        qa_suite_result_free(&c.rows[i].suite);
    }
    free(c.rows);
    qa_pairs_free(c.pairs);
    cli_eval_suite_free(&c.named);
    json_decref(c.chat);
    return status;
}
