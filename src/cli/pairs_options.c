/* What the options and an adapter's record make of the data: chat template, where responses end, lengths, pairs (see
 * common.h). */
#include "cli/common.h"

#include "base/try.h"
#include "base/warnings.h"
#include "cli/format.h"

#include <stdio.h>
#include <string.h>

/* What differs from the data that the adapter was trained on, once. */
static void say_data(cli_run *run, const qa_data_record *record, qa_chat_template now) {
    const cli_args *args = run->args;
    if (run->said_data) {
        return;
    }
    run->said_data = true;
    if (record->chat != QA_CHAT_NONE && record->chat != now) {
        if (args->chat_template != NULL) {
            cli_warn(run, "--chat-template %s: %s was trained with the chat template %s, so it meets other prompts now",
                     args->chat_template, args->adapter, qa_chat_template_name(record->chat));
        } else {
            cli_say(run, "chat template %s, as %s was trained", qa_chat_template_name(record->chat), args->adapter);
        }
    }
    if (record->published_data && !args->published_quirks) {
        cli_warn(run,
                 "%s was trained on data with the authors' quirks (--published-data-quirks): where the tokenizer puts "
                 "a token in front of every text, its prompts had one more",
                 args->adapter);
    }
}

/* A template's marks that the tokenizer cuts in pieces: a warning. A named template whose end of turn is among them is
 * an error before anything is trained, but for `tokenize`, which shows what becomes of it. */
static qa_status check_marks(cli_run *run, qa_chat_template which, qa_error *err) {
    if (run->marks_checked || run->tokenizer == NULL || which == QA_CHAT_NONE || which == QA_CHAT_UNKNOWN) {
        return QA_OK;
    }
    qa_text missing = {0};
    bool end_missing = false;
    run->marks_checked = true;
    qa_status status = qa_chat_missing_marks(which, run->tokenizer, &missing, &end_missing, err);
    if (status == QA_OK && end_missing && run->args->chat_template != NULL &&
        strcmp(run->command->name, "tokenize") != 0) {
        status =
            qa_fail(err, QA_ERR_MISMATCH,
                    "the chat template %s needs tokens that the tokenizer does not have: %s; it would cut the end of "
                    "a turn in pieces, and nothing could stop on it. Name the template that the model was trained "
                    "with, or give the data as rendered text",
                    qa_chat_template_name(which), missing.data);
    } else if (status == QA_OK && missing.n > 0) {
        cli_warn(run, "the tokenizer has no single token for %s of the chat template %s and cuts %s in pieces%s",
                 missing.data, qa_chat_template_name(which), strchr(missing.data, ',') == NULL ? "it" : "them",
                 end_missing ? ": nothing can stop on the end of a turn" : "");
    }
    qa_text_free(&missing);
    return status;
}

qa_status cli_detect_template(cli_run *run, const char *dir, qa_chat_template *which, qa_error *err) {
    const qa_logger logger = cli_logger(run);
    qa_warnings warnings = {0};
    const qa_status status = qa_chat_template_compare(which, dir, &warnings, err);
    if (!run->said_template) {
        qa_warnings_log(&warnings, &logger);
    }
    run->said_template = true;
    qa_warnings_free(&warnings);
    return status;
}

static qa_status template_in(cli_run *run, const char *dir, qa_chat_template *which, bool *assumed, qa_error *err) {
    *assumed = false;
    if (run->args->chat_template != NULL) {
        return qa_chat_template_by_name(which, run->args->chat_template, err);
    }
    QA_TRY(cli_detect_template(run, dir, which, err));
    if (*which == QA_CHAT_NONE) {
        *which = QA_CHAT_PLAIN;
        *assumed = true;
    }
    return QA_OK;
}

qa_status cli_resolve_template(cli_run *run, qa_chat_template *which, bool *assumed, qa_error *err) {
    const cli_args *args = run->args;
    qa_data_record record = {0};
    QA_TRY(template_in(run, args->model, which, assumed, err));
    if (args->adapter == NULL) {
        return check_marks(run, *which, err);
    }
    QA_TRY(qa_training_config_data(args->adapter, &record, err));
    say_data(run, &record, *which);
    if (record.chat != QA_CHAT_NONE && args->chat_template == NULL) {
        *assumed = *assumed && *which == record.chat;
        *which = record.chat;
    }
    return check_marks(run, *which, err);
}

qa_status cli_resolve_template_of(cli_run *run, const char *dir, qa_chat_template *which, bool *assumed,
                                  qa_error *err) {
    QA_TRY(template_in(run, dir, which, assumed, err));
    return check_marks(run, *which, err);
}

/* --response-end > the authors', with their other quirks > what the adapter was trained with > the end token. */
static qa_status resolve_response_end(cli_run *run, qa_response_end *which, qa_error *err) {
    const cli_args *args = run->args;
    qa_data_record record = {0};
    if (args->response_end != NULL) {
        return qa_response_end_by_name(which, args->response_end, err);
    }
    if (args->adapter != NULL) {
        QA_TRY(qa_training_config_data(args->adapter, &record, err));
    }
    *which = args->published_quirks ? QA_RESPONSE_END_TEMPLATE : record.response_end;
    return QA_OK;
}

qa_status cli_resolve_micro_batch(cli_run *run, size_t *micro_batch, qa_error *err) {
    const cli_args *args = run->args;
    const bool given = cli_given(&run->options, "micro-batch") != NULL;
    *micro_batch = args->micro_batch;
    return given || args->adapter == NULL ? QA_OK : qa_training_config_micro_batch(args->adapter, micro_batch, err);
}

qa_status cli_resolve_max_length(cli_run *run, size_t *max_length, qa_error *err) {
    const size_t context = qa_model_get_info(run->model)->context;
    const size_t length = run->args->max_length;
    const bool given = cli_given(&run->options, "max-length") != NULL;
    if (length == 1) {
        return cli_bad_usage(run, err, "--max-length: expected at least 2, a token of prompt and one of response");
    }
    if (given && length > context) {
        return cli_bad_usage(run, err, "--max-length: expected at most %zu, the model's context, found \"%zu\"",
                             context, length);
    }
    *max_length = length < context ? length : context;
    return QA_OK;
}

qa_status cli_load_reader(cli_run *run, qa_objective *objective, size_t *max_length, size_t *micro_batch,
                          qa_error *err) {
    QA_TRY(cli_resolve_objective(run, objective, NULL, err));
    QA_TRY(cli_resolve_micro_batch(run, micro_batch, err));
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_resolve_max_length(run, max_length, err));
    QA_TRY(cli_load_adapter(run, err));
    return cli_load_tokenizer(run, false, err);
}

/* Which template was applied, if any, and where it lets responses end; "" for ids. */
static void template_text(const qa_pairs *pairs, qa_chat_template which, bool assumed, char *text, size_t bytes) {
    const char *name = qa_chat_template_name(which);
    text[0] = '\0';
    if (qa_pairs_kind_of(pairs) == QA_PAIRS_TEXT) {
        const bool has_one = !assumed && which != QA_CHAT_PLAIN;
        (void)snprintf(text, bytes, "; no chat template is applied to text%s%s%s",
                       has_one ? " (messages get the model's, " : "", has_one ? name : "", has_one ? ")" : "");
    } else if (qa_pairs_kind_of(pairs) == QA_PAIRS_DIALOGUES) {
        const bool more = qa_chat_after_turn(which)[0] != '\0';
        const bool whole = qa_pairs_response_end(pairs) == QA_RESPONSE_END_TEMPLATE;
        (void)snprintf(text, bytes, "; chat template %s%s%s", name, assumed ? " (the model's folder has none)" : "",
                       !more   ? ""
                       : whole ? "; responses end with the newline after the end token (--response-end template)"
                               : "; responses end with the end token (in TRL with the newline after it: --response-end "
                                 "template)");
    }
}

/* noun: "pair" or "response" */
static void say_pairs(cli_run *run, const char *path, const qa_pairs *pairs, const char *noun,
                      const char *template_text) {
    const size_t n = qa_pairs_count(pairs);
    cli_say(run, "%s: %zu %s%s (%s), longest prompt %zu, longest response %zu tokens%s", path, n, noun, cli_plural(n),
            qa_pairs_format(pairs), qa_pairs_longest_prompt(pairs), qa_pairs_longest_response(pairs), template_text);
    cli_warn_all(run, qa_pairs_warnings(pairs));
    const qa_skip_report *report = qa_pairs_report(pairs);
    for (int reason = 0; reason < QA_SKIP_REASONS; reason++) {
        if (report->count[reason] != 0) {
            const char *detail = report->first_detail[reason];
            cli_warn(run, "%s: skipped %zu %s%s: %s (first: %s %zu%s%s)", path, report->count[reason], noun,
                     cli_plural(report->count[reason]), qa_skip_reason_text((qa_skip_reason)reason),
                     report->elements ? "element" : "line", report->first_line[reason], detail[0] != '\0' ? ", " : "",
                     detail);
        }
    }
    if (report->truncated_responses != 0) {
        cli_say(run, "%s: %zu response%s cut at the length limit (kept; their last state is not terminal)", path,
                report->truncated_responses, cli_plural(report->truncated_responses));
    }
}

static qa_status load_pairs(cli_run *run, const char *path, size_t max_length, bool responses, qa_pairs **pairs,
                            qa_error *err) {
    const cli_args *args = run->args;
    const qa_model_info *info = qa_model_get_info(run->model);
    qa_chat_template which = QA_CHAT_PLAIN;
    bool assumed = false;
    qa_response_end response_end = QA_RESPONSE_END_TOKEN;
    QA_TRY(cli_resolve_template(run, &which, &assumed, err));
    QA_TRY(resolve_response_end(run, &response_end, err));
    const qa_pairs_options options = {
        .dsp_domain = args->dsp_domain,
        .chat = which,
        .vocab_size = info->vocab_size,
        .max_length = max_length,
        .eos_ids = info->eos_ids,
        .n_eos = info->n_eos,
        .strict = args->strict,
        .published_data = args->published_quirks,
        .response_end = response_end,
        .max_pairs = responses ? 0 : args->max_pairs,
        .responses = responses,
    };
    const double begun = cli_now();
    QA_TRY(qa_pairs_load(pairs, path, run->tokenizer, &options, err));
    cli_detail(run, "read and tokenised %s in %.2f s", path, cli_now() - begun);
    char text[CLI_LINE_BYTES];
    template_text(*pairs, which, assumed, text, sizeof text);
    say_pairs(run, path, *pairs, responses ? "response" : "pair", text);
    return QA_OK;
}

qa_status cli_load_pairs(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs, qa_error *err) {
    return load_pairs(run, path, max_length, false, pairs, err);
}

qa_status cli_load_responses(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs, qa_error *err) {
    return load_pairs(run, path, max_length, true, pairs, err);
}
