/* qadapter judge: pairs of answers for people or models to decide between, and what their verdicts say. */
#include "cli/common.h"
#include "cli/format.h"
#include "cli/line_sink.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "suite/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

typedef struct judge_args {
    cli_args shared;
    const char *files[2], *names[2], *key, *html; /* NULL: not given */
    bool once, overwrite, partial;
    qa_option_list verdicts;
    qa_judge_options statistics; /* its seed is export's, too */
} judge_args;

static const judge_args *judge_args_of(const cli_run *run) { return (const judge_args *)run->args; }

#define ROW(kind, ...) QA_##kind(judge_args, __VA_ARGS__)

static const qa_option judge_rows[] = {
    {"verdicts", ROW(LIST, verdicts), .placeholder = "FILE", .operand = true, .group = QA_GROUP_INPUT,
     .path = QA_PATH_READ, .help = "import: the judges' files, JSON Lines of \"id\" and \"verdict\""},
    {"a", ROW(STRING, files[0]), .placeholder = "FILE", .group = QA_GROUP_INPUT, .path = QA_PATH_READ,
     .help = "export: answers of one policy, as generate --in --out writes them"},
    {"b", ROW(STRING, files[1]), .placeholder = "FILE", .group = QA_GROUP_INPUT, .path = QA_PATH_READ,
     .help = "export: those of the other, to the same prompts"},
    {"name-a", ROW(STRING, names[0]), .placeholder = "NAME", .group = QA_GROUP_INPUT, .note = "the file's",
     .help = "export: what import shall call the first policy"},
    {"name-b", ROW(STRING, names[1]), .placeholder = "NAME", .group = QA_GROUP_INPUT, .note = "the file's",
     .help = "export: what it shall call the other"},
    {"once", ROW(FLAG, once), .group = QA_GROUP_DATA,
     .help = "export: every pair in one position only, by chance, in place of both"},
    {"partial", ROW(FLAG, partial), .group = QA_GROUP_DATA,
     .help = "import: count the verdicts that are there where some are missing"},
    {"confidence", ROW(NUMBER, statistics.confidence), .range = QA_RANGE_0_TO_BELOW_1, .group = QA_GROUP_DATA,
     .standard = "0.95", .help = "import: of the intervals"},
    {"resamples", ROW(SIZE, statistics.resamples), .range = QA_RANGE_FROM_1, .group = QA_GROUP_DATA,
     .standard = "10000", .help = "import: of the bootstrap"},
    {"seed", ROW(SEED, statistics.seed), .group = QA_GROUP_DATA, .standard = "0",
     .help = "export: of the order and of the ids; import: of the bootstrap"},
    {"out", QA_STRING(judge_args, shared.out), .letter = 'o', .aliases = "output", .placeholder = "FILE",
     .group = QA_GROUP_OUTPUT, .path = QA_PATH_WRITTEN, .help = "export: the items to decide, as JSON Lines"},
    {"html", ROW(STRING, html), .placeholder = "FILE", .group = QA_GROUP_OUTPUT, .path = QA_PATH_WRITTEN,
     .note = "none", .help = "export: the same as a page, to fill in in a browser or to print"},
    {"key", ROW(STRING, key), .placeholder = "FILE", .group = QA_GROUP_OUTPUT, .path = QA_PATH_WRITTEN,
     .help = "export, import: which item is which pair in which order; not for the judges' eyes"},
    {"overwrite", ROW(FLAG, overwrite), .group = QA_GROUP_OUTPUT,
     .help = "export: replace files that are there, and what somebody may have filled in"},
};
static const qa_option_table judge_table = QA_TABLE(judge_rows);
static const cli_table judge_tables[] = {{&judge_table, 0, NULL, NULL}, {&cli_output_table, 0, "json", NULL}};

/* ---- export ---- */

/* name becomes --name-a or --name-b, or else the file's name without folders and ending (scratch: free it). */
static qa_status policy_name(const judge_args *args, size_t side, const char **name, char **scratch, qa_error *err) {
    const char *slash = strrchr(args->files[side], '/');
    *name = args->names[side];
    if (*name == NULL) {
        QA_TRY(QA_COPY(*scratch, slash == NULL ? args->files[side] : slash + 1, err, "a name"));
        char *dot = strchr(*scratch, '.');
        if (dot != NULL && dot != *scratch) {
            *dot = '\0';
        }
        *name = *scratch;
    }
    return QA_OK;
}

static qa_status check_not_there(cli_run *run, qa_error *err) {
    const judge_args *args = judge_args_of(run);
    const char *const paths[] = {args->shared.out, args->key, args->html};
    for (size_t i = 0; i < 3 && !args->overwrite; i++) {
        QA_FAIL_IF(paths[i] != NULL && strcmp(paths[i], "-") != 0 && qa_path_exists(paths[i]), err, QA_ERR_EXISTS,
                   "%s is there already; --overwrite replaces it, with what may be filled in there", paths[i]);
    }
    return QA_OK;
}

/* All files appear, or none. */
static qa_status write_exported(const judge_args *args, const qa_judge_exported *made, qa_error *err) {
    const char *const paths[] = {args->shared.out, args->html, args->key};
    const qa_text *const texts[] = {&made->items, &made->page, &made->key};
    cli_line_sink sinks[3] = {{0}};
    bool open[3] = {false};
    qa_status status = QA_OK;
    for (size_t i = 0; i < 3 && status == QA_OK; i++) {
        if (paths[i] != NULL) {
            status = cli_line_sink_open(&sinks[i], paths[i], err);
            open[i] = status == QA_OK;
            status = status == QA_OK ? cli_line_sink_write(&sinks[i], texts[i], err) : status;
        }
    }
    for (size_t i = 0; i < 3; i++) {
        status = open[i] ? cli_line_sink_close(&sinks[i], status, err) : status;
    }
    return status;
}

static qa_status export_pairs(cli_run *run, const char *const names[2], qa_error *err) {
    const judge_args *args = judge_args_of(run);
    const qa_judge_export_options options = {{names[0], names[1]}, args->once, args->statistics.seed};
    qa_answer_pairs pairs = {0};
    qa_judge_exported made = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_answer_pairs_load(&pairs, args->files, err));
    cli_warn_all(run, &pairs.warnings);
    QA_GOTO(done, qa_judge_export(&made, &pairs, &options, err));
    QA_GOTO(done, write_exported(args, &made, err));
    cli_say(run, "%zu pairs of answers to %zu prompt%s: %zu item%s to decide, each pair in %s", pairs.n, pairs.prompts,
            cli_plural(pairs.prompts), made.n, cli_plural(made.n), args->once ? "one position" : "both positions");
    if (made.identical > 0) {
        cli_say(run, "%zu pair%s of equal answers left out; import counts %s as a tie", made.identical,
                cli_plural(made.identical), made.identical == 1 ? "it" : "each");
    }
    cli_say(run, "%s is not for the judges: it says whose answer is whose", args->key);
done:
    qa_answer_pairs_free(&pairs);
    qa_judge_export_free(&made);
    return status;
}

static qa_status run_judge_export(cli_run *run, qa_error *err) {
    const judge_args *args = judge_args_of(run);
    const char *names[2];
    char *scratch[2] = {NULL, NULL};
    qa_status status = QA_OK;
    if (args->files[0] == NULL || args->files[1] == NULL || args->shared.out == NULL || args->key == NULL) {
        return cli_bad_usage(run, err, "export: expected --a FILE, --b FILE, --out FILE and --key FILE");
    }
    for (size_t side = 0; side < 2 && status == QA_OK; side++) {
        status = policy_name(args, side, &names[side], &scratch[side], err);
    }
    if (status == QA_OK && strcmp(names[0], names[1]) == 0) {
        status = cli_bad_usage(run, err, "export: both policies are called \"%s\"; --name-a and --name-b name them",
                               names[0]);
    }
    QA_GOTO(done, status);
    QA_GOTO(done, check_not_there(run, err));
    status = export_pairs(run, names, err);
done:
    free(scratch[0]);
    free(scratch[1]);
    return status;
}

/* ---- import ---- */

/* What is printed: of every judge, of all together, and between them. */
typedef struct judge_report {
    const judge_args *args;
    const qa_judge_key *key;
    const qa_judges *judges;

    qa_json_writer json;
} judge_report;

static void put_interval(qa_json_writer *out, const char *key, qa_interval interval) {
    const double ends[] = {interval.low, interval.high};
    qa_json_put_numbers(out, key, ends, 2);
}

static void put_result(qa_json_writer *out, const char *key, const char *judge, const qa_judge_result *of) {
    qa_json_open_object(out, key, QA_JSON_BLOCK);
    if (judge != NULL) {
        qa_json_put_string(out, "judge", judge);
    }
    qa_json_put_size(out, "verdicts", of->verdicts);
    qa_json_put_size(out, "pairs", of->pairs);
    qa_json_put_size(out, "verdicts_a", of->a);
    qa_json_put_size(out, "ties", of->ties);
    qa_json_put_size(out, "verdicts_b", of->b);
    qa_json_put_number(out, "win_rate_a", of->win_rate);
    put_interval(out, "win_rate_interval", of->win_rate_interval);
    qa_json_put_size(out, "prompts_a", of->prompts_a);
    qa_json_put_size(out, "prompts_b", of->prompts_b);
    put_interval(out, "prompts_interval", of->prompts_interval);
    qa_json_put_number(out, "p_value", of->p_value);
    qa_json_put_size(out, "first", of->first);
    qa_json_put_size(out, "second", of->second);
    qa_json_put_number(out, "first_share", of->first_share);
    put_interval(out, "first_interval", of->first_interval);
    qa_json_put_size(out, "both_positions", of->both);
    qa_json_put_size(out, "both_agree", of->both_agree);
    qa_json_put_size(out, "both_first", of->both_first);
    qa_json_put_size(out, "both_second", of->both_second);
    qa_json_put_number(out, "position_p_value", of->position_p_value);
    qa_json_close(out);
}

static void put_agreement(qa_json_writer *out, const char *const *names, size_t n, const qa_agreement *agreement) {
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_open_array(out, "judges", QA_JSON_LINE);
    for (size_t i = 0; i < n; i++) {
        qa_json_put_string(out, NULL, names[i]);
    }
    qa_json_close(out);
    qa_json_put_string(out, "kappa_of", n == 2 ? "Cohen" : "Fleiss");
    qa_json_put_size(out, "items", agreement->items);
    qa_json_put_number(out, "agreed", agreement->agreed);
    qa_json_put_number(out, "kappa", agreement->kappa);
    put_interval(out, "interval", agreement->interval);
    qa_json_close(out);
}

static const char *share_text(char text[CLI_NUMBER_BYTES], double share, qa_interval interval) {
    if (isnan(share)) {
        (void)snprintf(text, CLI_NUMBER_BYTES, "none");
    } else {
        (void)snprintf(text, CLI_NUMBER_BYTES, "%.1f%% [%.1f%%, %.1f%%]", 100.0 * share, 100.0 * interval.low,
                       100.0 * interval.high);
    }
    return text;
}

static void print_judge(const judge_report *report, const char *judge, const qa_judge_result *of) {
    char text[CLI_NUMBER_BYTES];
    const size_t decided = of->prompts_a + of->prompts_b;
    cli_put_plain(stdout, judge);
    printf("\n  verdicts             %zu: %zu for ", of->verdicts, of->a);
    cli_put_plain(stdout, report->key->names[0]);
    printf(", %zu tie%s, %zu for ", of->ties, cli_plural(of->ties), of->b);
    cli_put_plain(stdout, report->key->names[1]);
    printf("\n  win rate             %s over %zu pairs, of ", share_text(text, of->win_rate, of->win_rate_interval),
           of->pairs);
    cli_put_plain(stdout, report->key->names[0]);
    printf("\n");
    printf("  prompts it wins      %zu of %zu that are no ties: %s, sign test p = %.2g\n", of->prompts_a, decided,
           share_text(text, decided > 0 ? (double)of->prompts_a / (double)decided : (double)NAN, of->prompts_interval),
           of->p_value);
    printf("  for the one in front %zu of %zu verdicts: %s\n", of->first, of->first + of->second,
           share_text(text, of->first_share, of->first_interval));
    if (of->both > 0) {
        printf("  in both positions    %zu pairs: %zu decided alike, %zu for the first both times, %zu for the second",
               of->both, of->both_agree, of->both_first, of->both_second);
        printf(isnan(of->position_p_value) ? "\n" : ", sign test p = %.2g\n", of->position_p_value);
    }
    printf("\n");
}

static void print_agreement(const char *const *names, size_t n, const qa_agreement *agreement) {
    for (size_t i = 0; i < n; i++) {
        printf(i == 0 ? "  " : ", ");
        cli_put_plain(stdout, names[i]);
    }
    if (agreement->items == 0) {
        printf(": no items that all have decided\n");
        return;
    }
    printf(": the same verdict on %.1f%% of %zu items, ", 100.0 * agreement->agreed, agreement->items);
    if (isnan(agreement->kappa)) { /* one kind of verdict alone: chance would agree, too */
        printf("no kappa\n");
        return;
    }
    printf("%s kappa %.3f", n == 2 ? "Cohen's" : "Fleiss'", agreement->kappa);
    if (isfinite(agreement->interval.low)) {
        printf(" [%.3f, %.3f]", agreement->interval.low, agreement->interval.high);
    }
    printf("\n");
}

/* One of the agreements, computed and put; `judges` are all or two of them. */
static qa_status agree_of(judge_report *report, const qa_judge *const *judges, size_t n, qa_error *err) {
    qa_agreement agreement;
    const char **names = NULL;
    QA_TRY(qa_judge_agreement(&agreement, report->key, judges, n, &report->args->statistics, err));
    QA_TRY(QA_NEW(names, n, err, "judges"));
    for (size_t i = 0; i < n; i++) {
        names[i] = judges[i]->name;
    }
    if (report->args->shared.json) {
        put_agreement(&report->json, names, n, &agreement);
    } else {
        print_agreement(names, n, &agreement);
    }
    free(names);
    return QA_OK;
}

static qa_status report_agreement(judge_report *report, qa_error *err) {
    const qa_judges *judges = report->judges;
    const qa_judge **all = NULL;
    qa_status status = QA_OK;
    QA_TRY(QA_NEW(all, judges->n, err, "judges"));
    for (size_t i = 0; i < judges->n; i++) {
        all[i] = &judges->items[i];
    }
    for (size_t i = 0; i < judges->n && status == QA_OK; i++) {
        for (size_t j = i + 1; j < judges->n && status == QA_OK; j++) {
            status = agree_of(report, (const qa_judge *const[]){all[i], all[j]}, 2, err);
        }
    }
    if (status == QA_OK && judges->n > 2) {
        status = agree_of(report, all, judges->n, err);
    }
    free(all);
    return status;
}

static qa_status report_judges(judge_report *report, qa_error *err) {
    const qa_judges *judges = report->judges;
    const bool json = report->args->shared.json, together = judges->n > 1;
    for (size_t j = 0; j < judges->n + (together ? 1 : 0); j++) {
        qa_judge_result result;
        const bool all = j == judges->n;
        const char *name = all ? "all judges together" : judges->items[j].name;
        QA_TRY(qa_judge_measure(&result, report->key, &judges->items[all ? 0 : j], all ? judges->n : 1,
                                &report->args->statistics, err));
        if (json) {
            if (all) {
                qa_json_close(&report->json);
            }
            put_result(&report->json, all ? "together" : NULL, all ? NULL : name, &result);
        } else {
            print_judge(report, name, &result);
        }
    }
    if (json && !together) {
        qa_json_close(&report->json);
    }
    return QA_OK;
}

static void head_text(const judge_report *report, size_t identical) {
    printf(
        "%zu pairs of answers to %zu prompts, %zu of them equal, which count as ties. %g%% intervals in brackets.\n\n",
        report->key->n, report->key->prompts, identical, 100.0 * report->args->statistics.confidence);
}

static void head_json(judge_report *report, size_t identical, qa_error *err) {
    qa_json_writer *out = &report->json;
    qa_json_restart(out, err);
    qa_json_open_object(out, NULL, QA_JSON_BLOCK);
    qa_json_put_string(out, "a", report->key->names[0]);
    qa_json_put_string(out, "b", report->key->names[1]);
    qa_json_put_size(out, "prompts", report->key->prompts);
    qa_json_put_size(out, "pairs", report->key->n);
    qa_json_put_size(out, "identical", identical);
    qa_json_put_number(out, "confidence", report->args->statistics.confidence);
    qa_json_put_size(out, "resamples", report->args->statistics.resamples);
    qa_json_open_array(out, "judges", QA_JSON_BLOCK);
}

static qa_status report_verdicts(judge_report *report, qa_error *err) {
    const bool json = report->args->shared.json;
    size_t identical = 0;
    for (size_t i = 0; i < report->key->n; i++) {
        identical += report->key->pairs[i].identical ? 1 : 0;
    }
    if (json) {
        head_json(report, identical, err);
    } else {
        head_text(report, identical);
    }
    QA_TRY(report_judges(report, err));
    if (json) {
        qa_json_open_array(&report->json, "agreement", QA_JSON_BLOCK);
    } else if (report->judges->n > 1) {
        printf("agreement\n");
    }
    QA_TRY(report_agreement(report, err));
    if (json) {
        qa_json_close(&report->json);
        qa_json_close(&report->json);
        qa_json_end_line(&report->json);
        QA_TRY(report->json.status);
        QA_TRY(cli_put(report->json.text.data, report->json.text.n, err));
    }
    return cli_flush(err);
}

static qa_status run_judge_import(cli_run *run, qa_error *err) {
    const judge_args *args = judge_args_of(run);
    qa_judge_key key = {0};
    qa_judges judges = {0};
    judge_report report = {.args = args, .key = &key, .judges = &judges};
    qa_status status = QA_OK;
    if (args->key == NULL || args->verdicts.n == 0) {
        return cli_bad_usage(run, err, "import: expected --key FILE and at least one file of verdicts");
    }
    QA_GOTO(done, qa_judge_key_load(&key, args->key, err));
    for (size_t i = 0; i < args->verdicts.n; i++) {
        QA_GOTO(done, qa_judges_read(&judges, &key, args->verdicts.items[i], err));
    }
    QA_GOTO(done, qa_judges_check(&judges, &key, args->partial, err));
    status = report_verdicts(&report, err);
done:
    qa_text_free(&report.json.text);
    qa_judges_free(&judges);
    qa_judge_key_free(&key);
    return status;
}

static qa_status run_judge(cli_run *run, qa_error *err) {
    return strcmp(run->args->subcommand, "export") == 0 ? run_judge_export(run, err) : run_judge_import(run, err);
}

const cli_command cli_judge = {
    .name = "judge",
    .summary = "let people or models decide which answers are better",
    .about =
        "Needs no model. The first word says what is done:\n"
        "export: two files of answers to the same prompts become items, {\"id\", \"prompt\" or \"messages\", "
        "\"first\", \"second\", \"verdict\": null}, every pair in both positions and nothing that says whose answer is "
        "whose. A judge sets \"verdict\" to \"first\", \"second\" or \"tie\", in the file or in the page (--html).\n"
        "import: reads the judges' files back: win rate (a tie counts one half, a pair the mean of its two positions) "
        "with an interval bootstrapped over prompts, the prompts won with Wilson's interval and a sign test, how often "
        "the answer in front is preferred, and the judges' agreement, Cohen's or Fleiss' kappa. A line may name its "
        "\"judge\"; else it is the file's name.",
    .examples = "qadapter judge export --a base.jsonl --b customised.jsonl --out pairs.jsonl --html pairs.html --key "
                "key.json\n"
                "qadapter judge import --key key.json anna.jsonl model.jsonl",
    .subcommands = "export|import",
    CLI_TABLES(judge_tables),
    .args_bytes = sizeof(judge_args),
    .run = run_judge,
};
