/* The results of a suite, as tables for people and as JSON for programs. */
#include "cli/eval.h"

#include "base/plain_line.h"
#include "base/try.h"
#include "cli/format.h"
#include "cli/mixture.h"
#include "io/json_writer.h"
#include "methods/method.h"

#include <math.h>
#include <string.h>

/* A share of labels and its interval: one line of the table, "0.102 (0.081 to 0.124)", three numbers in JSON; of
 * methods that have none only in JSON, as null. */
static void report_share(cli_report *report, const char *const keys[3], const char *label, double share, double low,
                         double high) {
    char number[CLI_NUMBER_BYTES], shown[128];
    if (!isnan(share)) {
        (void)snprintf(number, sizeof number, "%.17g", share);
        (void)snprintf(shown, sizeof shown, "%.3f (%.3f to %.3f)", share, low, high);
        cli_report_json(report, keys[0], label, number, shown);
    } else {
        qa_json_put_number(&report->json, keys[0], share);
    }
    qa_json_put_number(&report->json, keys[1], low);
    qa_json_put_number(&report->json, keys[2], high);
}

static void report_label_noise(cli_report *report, const qa_evaluation *e) {
    static const char *const as_said[3] = {"label_noise", "label_noise_low", "label_noise_high"};
    static const char *const scaled[3] = {"label_noise_scaled", "label_noise_scaled_low", "label_noise_scaled_high"};
    report_share(report, as_said, "labels turned round, by the margins", e->label_noise, e->label_noise_low,
                 e->label_noise_high);
    report_share(report, scaled, "  the margins' scale being free", e->label_noise_scaled, e->label_noise_scaled_low,
                 e->label_noise_scaled_high);
    qa_json_put_number(&report->json, "margin_scale", e->margin_scale);
}

/* Single responses with labels; the rows below call the desirable ones chosen. */
static void report_labelled(cli_report *report, const qa_evaluation *evaluation) {
    cli_report_count(report, "responses", "responses", evaluation->pairs, "");
    cli_report_count(report, "desirable", "  desirable (\"chosen\")", evaluation->desirable, "");
    cli_report_count(report, "undesirable", "  undesirable (\"rejected\")", evaluation->pairs - evaluation->desirable,
                     "");
    cli_report_real(report, "accuracy", "accuracy, of all couples of the two", evaluation->accuracy, "");
    cli_report_real(report, "reward_chosen", "R(desirable), mean", evaluation->reward_chosen, "");
    cli_report_real(report, "reward_rejected", "R(undesirable), mean", evaluation->reward_rejected, "");
    cli_report_real(report, "margin_mean", "  difference", evaluation->margin_mean, "");
}

void cli_report_evaluation(cli_report *report, const qa_evaluation *evaluation, const qa_objective *objective) {
    static const char *const percentiles[5][2] = {{"margin_p05", "margin, 5th percentile"},
                                                  {"margin_p25", "margin, 25th percentile"},
                                                  {"margin_p50", "margin, median"},
                                                  {"margin_p75", "margin, 75th percentile"},
                                                  {"margin_p95", "margin, 95th percentile"}};
    cli_report_text(report, "method", "method", qa_method_name(objective->method));
    if (objective->reference == QA_REFERENCE_ADAPTER) {
        cli_report_text(report, "reference", "rewards and margins against", "the adapter that training started from");
    }
    if (evaluation->labelled) {
        report_labelled(report, evaluation);
    } else {
        cli_report_count(report, "pairs", "pairs", evaluation->pairs, "");
        cli_report_real(report, "accuracy", "accuracy (ties count half)", evaluation->accuracy, "");
        cli_report_real(report, "margin_mean", "margin R(chosen) - R(rejected), mean", evaluation->margin_mean, "");
        for (int i = 0; i < 5; i++) {
            cli_report_real(report, percentiles[i][0], percentiles[i][1], evaluation->margin_percentile[i], "");
        }
    }
    if (isfinite(evaluation->reference_point)) {
        cli_report_real(report, "reference_point", "reference point, mean", evaluation->reference_point, "nats");
    }
    if (!evaluation->labelled || isfinite(evaluation->loss)) {
        cli_report_real(report, "loss", "loss", evaluation->loss, "");
        cli_report_real(report, "pref_loss", qa_method_of(objective)->loss_label, evaluation->pref_loss, "");
        cli_report_real(report, "chi2_loss", "  regulariser", evaluation->chi2_loss, "");
    }
    if (!evaluation->labelled) {
        report_label_noise(report, evaluation);
    }
    cli_report_real(report, "q_mean", "Q, mean over transitions", evaluation->q_mean, "");
    cli_report_real(report, "value_mean", "V, mean", evaluation->value_mean, "");
    cli_report_real(report, "reward_mean", "implied reward, mean", evaluation->reward_mean, "");
    cli_report_real(report, "kl_per_token", "KL(custom || base) per token", evaluation->kl_per_token, "nats");
    cli_report_real(report, "nll_pi1_chosen", "NLL of chosen, base", evaluation->nll_pi1_chosen, "nats/token");
    cli_report_real(report, "nll_custom_chosen", "NLL of chosen, custom", evaluation->nll_custom_chosen, "nats/token");
    cli_report_real(report, "nll_pi1_rejected", "NLL of rejected, base", evaluation->nll_pi1_rejected, "nats/token");
    cli_report_real(report, "nll_custom_rejected", "NLL of rejected, custom", evaluation->nll_custom_rejected,
                    "nats/token");
    cli_report_real(report, "hardest_pi1_chosen", "chosen's least likely token, base, median",
                    evaluation->hardest_pi1_chosen, "nats");
    cli_report_real(report, "hardest_custom_chosen", "chosen's least likely token, custom, median",
                    evaluation->hardest_custom_chosen, "nats");
    cli_report_count(report, "tokens", "tokens", evaluation->tokens, "");
    cli_report_real(report, "seconds", "time", evaluation->seconds, "s");
    cli_report_real(report, "tokens_per_second", "speed",
                    evaluation->seconds > 0.0 ? (double)evaluation->tokens / evaluation->seconds : 0.0, "tokens/s");
}

static double share_of(size_t right, size_t n) { return n > 0 ? (double)right / (double)n : (double)NAN; }

/* Binomial standard error of a share. */
static double error_of(size_t right, size_t n) {
    const double p = share_of(right, n);
    return sqrt(p * (1.0 - p) / (double)n);
}

double cli_skills_mean(const qa_suite_result *result, double *error) {
    double sum = 0.0;
    double squares = 0.0;
    for (size_t i = 0; i < result->n_skills; i++) {
        const qa_skill_result *skill = &result->skills[i];
        const double one = error_of(skill->right, skill->questions);
        sum += share_of(skill->right, skill->questions);
        squares += one * one;
    }
    const double n = (double)result->n_skills;
    *error = result->n_skills > 0 ? sqrt(squares) / n : (double)NAN;
    return result->n_skills > 0 ? sum / n : (double)NAN;
}

/* ---- JSON ---- */

static void put_right(qa_json_writer *out, size_t questions, size_t right) {
    qa_json_put_size(out, "questions", questions);
    qa_json_put_size(out, "right", right);
    qa_json_put_number(out, "accuracy", share_of(right, questions));
    qa_json_put_number(out, "error", error_of(right, questions));
}

static void put_skills(qa_json_writer *out, const qa_suite_result *result) {
    qa_json_open_object(out, "skills", QA_JSON_LINE);
    for (size_t i = 0; i < result->n_skills; i++) {
        const qa_skill_result *skill = &result->skills[i];
        qa_json_open_object(out, skill->name, QA_JSON_LINE);
        put_right(out, skill->questions, skill->right);
        qa_json_open_object(out, "kinds", QA_JSON_LINE);
        for (size_t k = 0; k < skill->n_kinds; k++) {
            qa_json_open_object(out, skill->kinds[k].name, QA_JSON_LINE);
            put_right(out, skill->kinds[k].questions, skill->kinds[k].right);
            qa_json_close(out);
        }
        qa_json_close(out);
        qa_json_close(out);
    }
    qa_json_close(out);
}

static void put_classes(qa_json_writer *out, const qa_shares_result *shares) {
    qa_json_open_object(out, "classes", QA_JSON_LINE);
    for (size_t k = 0; k < shares->n_classes; k++) {
        const qa_class_result *class_result = &shares->classes[k];
        qa_json_open_object(out, class_result->name, QA_JSON_LINE);
        qa_json_put_size(out, "count", class_result->count);
        qa_json_put_number(out, "share", class_result->share);
        qa_json_put_number(out, "error", class_result->error);
        qa_json_put_number(out, "generator", class_result->generator);
        qa_json_put_number(out, "base", class_result->base);
        qa_json_put_number(out, "optimum", class_result->optimum);
        qa_json_put_number(out, "reward", class_result->reward);
        qa_json_close(out);
    }
    qa_json_close(out);
}

static void put_shares(qa_json_writer *out, const qa_suite_result *result) {
    qa_json_open_object(out, "shares", QA_JSON_LINE);
    for (size_t i = 0; i < result->n_shares; i++) {
        const qa_shares_result *shares = &result->shares[i];
        qa_json_open_object(out, shares->name, QA_JSON_LINE);
        qa_json_put_size(out, "answers", shares->answers);
        qa_json_put_size(out, "unclassified", shares->unclassified);
        put_classes(out, shares);
        qa_json_put_number(out, "mean_reward", shares->mean_reward);
        qa_json_put_number(out, "optimal_reward", shares->optimal_reward);
        qa_json_put_number(out, "total_variation", shares->total_variation);
        qa_json_put_number(out, "kl_to_optimum", shares->kl_to_optimum);
        qa_json_put_number(out, "sequence_kl", shares->sequence_kl);
        qa_json_close(out);
    }
    qa_json_close(out);
}

/* The preferences of a sum, and how often each counts. */
static void put_sum(qa_json_writer *out, const eval_suite *suite) {
    if (suite->n_sum > 0) {
        qa_json_open_object(out, "preferences", QA_JSON_LINE);
        for (size_t i = 0; i < suite->n_sum; i++) {
            qa_json_put_number(out, suite->sum[i].preference, suite->sum[i].weight);
        }
        qa_json_close(out);
    }
}

static qa_status print_json(const suite_report *measured, qa_error *err) {
    const qa_suite_result *result = measured->result;
    cli_report report = {0};
    double error = 0.0;
    const double mean = cli_skills_mean(result, &error);
    cli_report_text(&report, "suite", "", qa_suite_name(measured->suite->suite));
    cli_report_text(&report, "model", "", measured->model);
    cli_report_text(&report, "adapter", "", measured->adapter);
    cli_report_text(&report, "preference", "", measured->suite->n_sum == 0 ? NULL : measured->suite->sum_text.data);
    put_sum(&report.json, measured->suite);
    cli_mixture_put(&report.json, measured->run);
    if (cli_mixture(measured->run) != NULL) {
        cli_report_count(&report, "particles", "", eval_args_of(measured->run)->particles, "");
    }
    cli_report_real(&report, "alpha_tilde", "", measured->objective->alpha_tilde, "");
    put_skills(&report.json, result);
    cli_report_real(&report, "skills_mean", "", mean, "");
    cli_report_real(&report, "skills_mean_error", "", error, "");
    put_shares(&report.json, result);
    qa_json_put_number(&report.json, "ordinary_kl", result->ordinary_kl);
    qa_json_put_number(&report.json, "perplexity", result->perplexity);
    qa_json_put_size(&report.json, "perplexity_tokens", result->perplexity_tokens);
    qa_json_put_number(&report.json, "seconds", result->seconds);
    if (measured->held_out == NULL) {
        cli_report_json(&report, "held_out", "", "null", "");
    } else {
        cli_report_section(&report, "held_out", "");
        cli_report_evaluation(&report, measured->held_out, measured->objective);
    }
    const qa_status status = cli_report_print(&report, stdout, true, err);
    cli_report_free(&report);
    return status;
}

/* ---- tables ---- */

/* "94.4%", or nothing where it is not known. */
static const char *percent_text(char buffer[CLI_NUMBER_BYTES], double share) {
    buffer[0] = '\0';
    if (isfinite(share)) {
        (void)snprintf(buffer, CLI_NUMBER_BYTES, "%.1f%%", 100.0 * share);
    }
    return buffer;
}

static const char *number(char buffer[CLI_NUMBER_BYTES], double value) {
    buffer[0] = '\0';
    if (isfinite(value)) {
        (void)snprintf(buffer, CLI_NUMBER_BYTES, "%.4g", value);
    }
    return buffer;
}

static void print_right(const char *indent, int width, const char *name, size_t right, size_t questions) {
    char share[CLI_NUMBER_BYTES];
    char error[CLI_NUMBER_BYTES];
    printf("%s%-*s  %7zu / %-7zu %7s  +- %s\n", indent, width - (int)strlen(indent), name, right, questions,
           percent_text(share, share_of(right, questions)), percent_text(error, error_of(right, questions)));
}

/* The kinds of a skill's questions, right / questions, as many on a line as fit. */
static void print_kinds_in_short(const qa_skill_result *skill) {
    enum { COLUMNS = 100 };
    int column = 0;
    for (size_t k = 0; k < skill->n_kinds && skill->n_kinds > 1; k++) { /* one kind says what the skill says */
        const qa_kind_result *kind = &skill->kinds[k];
        char name[4 * QA_SUITE_NAME_BYTES]; /* the file's own word */
        char text[sizeof name + 2 * CLI_NUMBER_BYTES];
        (void)qa_plain_line(name, sizeof name, kind->name);
        const int length = snprintf(text, sizeof text, "%s %zu/%zu%s", name, kind->right, kind->questions,
                                    k + 1 < skill->n_kinds ? "," : "");
        if (column == 0 || column + 1 + length > COLUMNS) {
            column = printf("%s    %s", column == 0 ? "" : "\n", text) - (column == 0 ? 0 : 1);
        } else {
            column += printf(" %s", text);
        }
    }
    printf("%s", column == 0 ? "" : "\n");
}

static void print_skills(const qa_suite_result *result, int width, bool kinds) {
    char share[CLI_NUMBER_BYTES];
    char error[CLI_NUMBER_BYTES];
    double mean_error = 0.0;
    if (result->n_skills == 0) {
        return;
    }
    printf("\n%-*s  %17s\n", width, "Skills", "right / questions");
    for (size_t i = 0; i < result->n_skills; i++) {
        const qa_skill_result *skill = &result->skills[i];
        print_right("  ", width, skill->name, skill->right, skill->questions);
        for (size_t k = 0; kinds && k < skill->n_kinds; k++) {
            print_right("    ", width, skill->kinds[k].name, skill->kinds[k].right, skill->kinds[k].questions);
        }
        if (!kinds) {
            print_kinds_in_short(skill);
        }
    }
    const double mean = cli_skills_mean(result, &mean_error);
    printf("  %-*s  %17s %7s  +- %s\n", width - 2, "mean of skills", "", percent_text(share, mean),
           percent_text(error, mean_error));
}

/* "  label  value" under a table; nothing where the value is not known. */
static void print_value(int width, const char *label, double value, const char *unit) {
    char text[CLI_NUMBER_BYTES];
    if (isfinite(value)) {
        printf("  %-*s  %s%s%s\n", width - 2, label, number(text, value), unit[0] == '\0' ? "" : " ", unit);
    }
}

static void print_shares(const qa_shares_result *shares, int width, double alpha_tilde) {
    char cell[6][CLI_NUMBER_BYTES];
    char title[QA_SUITE_NAME_BYTES + 32];
    (void)snprintf(title, sizeof title, "Shares: %s", shares->name);
    printf("\n%-*s  %7s %9s %9s %9s %9s %8s\n", width, title, "share", "", "optimum", "base", "generator", "reward");
    for (size_t k = 0; k < shares->n_classes; k++) {
        const qa_class_result *class_result = &shares->classes[k];
        (void)snprintf(cell[1], sizeof cell[1], "+- %s", percent_text(cell[0], class_result->error));
        printf("  %-*s  %7s %9s %9s %9s %9s %8s\n", width - 2, class_result->name,
               percent_text(cell[0], class_result->share), cell[1], percent_text(cell[2], class_result->optimum),
               percent_text(cell[3], class_result->base), percent_text(cell[4], class_result->generator),
               number(cell[5], class_result->reward));
    }
    if (shares->unclassified > 0) {
        printf("  %-*s  %7s\n", width - 2, "unclassified",
               percent_text(cell[0], share_of(shares->unclassified, shares->answers)));
    }
    printf("  %-*s  %zu\n", width - 2, "answers", shares->answers);
    print_value(width, "mean reward r2", shares->mean_reward, "nats");
    print_value(width, "  of the optimum", shares->optimal_reward, "nats");
    if (isfinite(shares->total_variation)) {
        (void)snprintf(title, sizeof title, "(alpha_tilde %g)", alpha_tilde);
        print_value(width, "total variation to optimum", shares->total_variation, title);
    }
    print_value(width, "KL to optimum", shares->kl_to_optimum, "nats");
    print_value(width, "KL to base per answer", shares->sequence_kl, "nats");
}

static int name_width(const qa_suite_result *result) {
    size_t width = 28;
    for (size_t i = 0; i < result->n_skills; i++) {
        const size_t length = strlen(result->skills[i].name) + 2;
        width = length > width ? length : width;
    }
    for (size_t i = 0; i < result->n_shares; i++) {
        const qa_shares_result *shares = &result->shares[i];
        width = strlen(shares->name) + 8 > width ? strlen(shares->name) + 8 : width;
        for (size_t k = 0; k < shares->n_classes; k++) {
            const size_t length = strlen(shares->classes[k].name) + 2;
            width = length > width ? length : width;
        }
    }
    return (int)width;
}

static void print_tables(const suite_report *measured) {
    const qa_suite_result *result = measured->result;
    const int width = name_width(result);
    char time[CLI_NUMBER_BYTES];
    printf("Suite %s: %s%s%s\n", qa_suite_name(measured->suite->suite), measured->model,
           measured->adapter == NULL ? "" : " with ",
           measured->adapter == NULL ? ", without an adapter" : measured->adapter);
    if (eval_args_of(measured->run)->particles > 1) {
        printf("Particles: %zu\n", eval_args_of(measured->run)->particles);
    }
    if (measured->suite->n_sum > 0) {
        printf("Preference%s: %s\n", measured->suite->n_sum > 1 ? "s" : "", measured->suite->sum_text.data);
    }
    print_skills(result, width, measured->kinds);
    for (size_t i = 0; i < result->n_shares; i++) {
        print_shares(&result->shares[i], width, measured->objective->alpha_tilde);
    }
    printf("\nPolicy\n");
    if (measured->held_out != NULL) {
        char share[CLI_NUMBER_BYTES];
        printf("  %-*s  %s of %zu pairs\n", width - 2, "held-out pairs, accuracy",
               percent_text(share, measured->held_out->accuracy), measured->held_out->pairs);
        print_value(width, "  KL to base per token", measured->held_out->kl_per_token, "nats");
    }
    print_value(width, "KL to base, ordinary answers", result->ordinary_kl, "nats/token");
    if (isfinite(result->perplexity)) {
        char text[CLI_NUMBER_BYTES];
        printf("  %-*s  %s on %zu tokens\n", width - 2, "perplexity, ordinary text", number(text, result->perplexity),
               result->perplexity_tokens);
    }
    cli_format_duration(time, sizeof time, result->seconds);
    printf("  %-*s  %s\n", width - 2, "time", time);
}

qa_status suite_report_print(const suite_report *measured, bool json, qa_error *err) {
    if (json) {
        return print_json(measured, err);
    }
    print_tables(measured);
    return QA_OK;
}
