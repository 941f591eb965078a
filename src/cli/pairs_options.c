/* What the options and an adapter's record make of the data: chat template, where responses end, lengths, pairs (see
 * common.h). */
#include "cli/common.h"

#include "base/try.h"
#include "base/warnings.h"
#include "cli/format.h"
#include "data/pairs.h"
#include "io/file.h"
#include "text/answer_end.h"
#include "text/chat_open.h"
#include "train/training_config.h"

#include <stdio.h>
#include <string.h>

/* ---- the chat template ---- */

/* A template's marks that the tokenizer cuts in pieces: a warning. A named template whose end of turn is among them is
 * an error before anything is trained, but for the commands that show what becomes of it. */
static qa_status check_marks(cli_run *run, qa_error *err) {
    const qa_model_info *info = run->model == NULL ? NULL : qa_model_get_info(run->model);
    const char *command = run->command->name;
    const bool shows = strcmp(command, "tokenize") == 0 || strcmp(command, "render") == 0;
    qa_text missing = {0};
    qa_answer_end end;
    qa_status status = QA_OK;
    if (run->tokenizer == NULL || run->chat == NULL) {
        return QA_OK;
    }
    QA_TRY(qa_answer_end_find(&end, run->chat, run->tokenizer, info == NULL ? NULL : info->eos_ids,
                              info == NULL ? 0 : info->n_eos, err));
    QA_GOTO(done, qa_answer_end_missing(&end, qa_chat_which(run->chat), run->tokenizer, &missing, err));
    if (end.in_pieces && run->args->chat_template != NULL && !shows) {
        status =
            qa_fail(err, QA_ERR_MISMATCH,
                    "the chat template %s needs tokens that the tokenizer does not have: %s; it would cut the end of "
                    "a turn in pieces, and nothing could stop on it. Name the template that the model was trained "
                    "with, or give the data as rendered text",
                    qa_chat_name(run->chat), missing.data);
    } else if (missing.n > 0) {
        cli_warn(run, "the tokenizer has no single token for %s of the chat template %s and cuts %s in pieces%s",
                 missing.data, qa_chat_name(run->chat), strchr(missing.data, ',') == NULL ? "it" : "them",
                 end.in_pieces ? ": nothing can stop on the end of a turn" : "");
    }
done:
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

/* --chat-template, else the folder's, else plain. One in the folder that cannot be used is a warning: only dialogues
 * need it. */
static qa_status open_here(cli_run *run, qa_chat_options options, qa_error *err) {
    qa_chat_template which = QA_CHAT_UNKNOWN;
    if (options.name == NULL) {
        QA_TRY(qa_chat_template_detect(&which, options.dir, err)); /* what the files disagree about says the chat */
    }
    run->chat_assumed = which == QA_CHAT_NONE;
    QA_TRY(run->chat_assumed ? cli_detect_template(run, options.dir, &which, err) : QA_OK);
    options.name = run->chat_assumed ? qa_chat_template_name(QA_CHAT_PLAIN) : options.name;
    qa_error why;
    const qa_status status = qa_chat_open(&run->chat, &options, run->tokenizer, &why);
    if (status == QA_ERR_ARGUMENT) {
        return cli_bad_usage(run, err, "%s", why.message);
    }
    if (status != QA_OK && options.name == NULL && status != QA_ERR_MEMORY) {
        QA_TRY(cli_detect_template(run, options.dir, &which, err));
        cli_warn(run, "the chat template of %s cannot be used, and dialogues need another: %s", options.dir,
                 why.message);
        return QA_OK;
    }
    return status == QA_OK ? QA_OK : qa_fail(err, status, "%s", why.message);
}

/* Whether both write the same, arguments and date aside. */
static bool same_chat(const qa_chat *a, const qa_chat *b) {
    const char *text = a == NULL ? NULL : qa_chat_recorded_text(qa_chat_record(a));
    const char *other = b == NULL ? NULL : qa_chat_recorded_text(qa_chat_record(b));
    return a != NULL && b != NULL &&
           (text == NULL || other == NULL ? text == other && qa_chat_which(a) == qa_chat_which(b)
                                          : strcmp(text, other) == 0);
}

/* What the adapter was trained with, which stands before the folder's; what differs is said once. */
static qa_status prefer_recorded(cli_run *run, const qa_chat_options *options, qa_error *err) {
    const cli_args *args = run->args;
    json_t *record = NULL;
    qa_chat *recorded = NULL;
    qa_data_record data = {0};
    QA_TRY(qa_training_config_data(args->adapter, &data, err));
    QA_TRY(qa_training_config_chat(args->adapter, &record, err));
    const qa_status status = qa_prefixed(qa_chat_reopen(&recorded, record, options, run->tokenizer, err), err,
                                         "%s/training_config.json: ", args->adapter);
    json_decref(record);
    QA_TRY(status);
    const bool same = same_chat(recorded, run->chat);
    if (recorded != NULL && !same && args->chat_template != NULL) {
        cli_warn(run, "--chat-template %s: %s was trained with the chat template %s, so it meets other prompts now",
                 args->chat_template, args->adapter, qa_chat_name(recorded));
    } else if (recorded != NULL && !same) {
        cli_say(run, "chat template %s, as %s was trained", qa_chat_name(recorded), args->adapter);
    }
    if (data.published_data && !args->published_quirks) {
        cli_warn(run,
                 "%s was trained on data with the authors' quirks (--published-data-quirks): where the tokenizer puts "
                 "a token in front of every text, its prompts had one more",
                 args->adapter);
    }
    if (recorded != NULL && (same || args->chat_template == NULL)) {
        qa_chat *other = run->chat;
        run->chat_assumed = run->chat_assumed && same;
        run->chat = recorded;
        recorded = other;
    }
    qa_chat_free(recorded);
    return QA_OK;
}

static qa_status open_chat_in(cli_run *run, const char *dir, qa_error *err) {
    const cli_args *args = run->args;
    const qa_chat_options options = {.name = args->chat_template,
                                     .dir = dir,
                                     .args = args->template_args.items,
                                     .n_args = args->template_args.n,
                                     .date = args->date != NULL     ? args->date
                                             : run->date[0] != '\0' ? run->date
                                                                    : NULL};
    QA_TRY(open_here(run, options, err));
    QA_TRY(args->adapter == NULL ? QA_OK : prefer_recorded(run, &options, err));
    if (run->chat != NULL) {
        cli_warn_all(run, qa_chat_warnings(run->chat));
    }
    return check_marks(run, err);
}

qa_status cli_resolve_chat_of(cli_run *run, const char *dir, const qa_chat **chat, bool *assumed, qa_error *err) {
    if (!run->chat_resolved) {
        QA_TRY(open_chat_in(run, dir, err));
        run->chat_resolved = true;
    }
    *chat = run->chat;
    *assumed = run->chat_assumed;
    return QA_OK;
}

qa_status cli_resolve_chat(cli_run *run, const qa_chat **chat, bool *assumed, qa_error *err) {
    return cli_resolve_chat_of(run, run->args->model, chat, assumed, err);
}

void cli_forget_chat(cli_run *run) {
    qa_chat_free(run->chat);
    run->chat = NULL;
    run->chat_resolved = run->chat_assumed = false;
}

void cli_take_date(cli_run *run, const char *dir) {
    json_t *record = NULL;
    qa_error ignored;
    if (run->args->date == NULL && qa_path_is_dir(dir) && qa_training_config_chat(dir, &record, &ignored) == QA_OK &&
        record != NULL) {
        (void)snprintf(run->date, sizeof run->date, "%s", qa_chat_recorded_date(record));
    }
    json_decref(record);
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
static void template_text(const qa_pairs *pairs, const qa_chat *chat, bool assumed, char *text, size_t bytes) {
    const char *name = chat == NULL ? "" : qa_chat_name(chat);
    text[0] = '\0';
    if (qa_pairs_kind_of(pairs) == QA_PAIRS_TEXT) {
        const bool has_one = !assumed && chat != NULL && qa_chat_which(chat) != QA_CHAT_PLAIN;
        (void)snprintf(text, bytes, "; no chat template is applied to text%s%s%s",
                       has_one ? " (messages get the model's, " : "", has_one ? name : "", has_one ? ")" : "");
    } else if (qa_pairs_kind_of(pairs) == QA_PAIRS_DIALOGUES) {
        const char *more = qa_pairs_writes_behind(pairs);
        const bool whole = qa_pairs_response_end(pairs) == QA_RESPONSE_END_TEMPLATE;
        const size_t used = (size_t)snprintf(text, bytes, "; chat template %s%s", name,
                                             assumed ? " (the model's folder has none)" : "");
        if (more != NULL && whole && used < bytes) {
            (void)snprintf(text + used, bytes - used,
                           "; responses end with %s after the end token (--response-end template)", more);
        } else if (more != NULL && used < bytes) {
            (void)snprintf(text + used, bytes - used,
                           "; responses end with the end token (in TRL with %s after it: --response-end template)",
                           more);
        }
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

/* What a file may hold. */
typedef enum data_kind { DATA_PAIRS, DATA_RESPONSES, DATA_EITHER, DATA_PREFERENCES } data_kind;

/* row NULL: a file; else one example, of which only warnings are said. */
static qa_status load_pairs(cli_run *run, const char *path, const json_t *row, size_t max_length, data_kind kind,
                            const char *columns, qa_pairs **pairs, qa_error *err) {
    const cli_args *args = run->args;
    const qa_model_info *info = qa_model_get_info(run->model);
    const qa_chat *chat = NULL;
    bool assumed = false;
    qa_response_end response_end = QA_RESPONSE_END_TOKEN;
    QA_TRY(cli_resolve_chat(run, &chat, &assumed, err));
    QA_TRY(resolve_response_end(run, &response_end, err));
    const qa_pairs_options options = {
        .dsp_domain = args->dsp_domain,
        .chat = QA_CHAT_UNKNOWN,
        .renderer = chat,
        .vocab_size = info->vocab_size,
        .max_length = max_length,
        .eos_ids = info->eos_ids,
        .n_eos = info->n_eos,
        .strict = args->strict,
        .published_data = args->published_quirks,
        .response_end = response_end,
        .max_pairs = kind == DATA_RESPONSES ? 0 : args->max_pairs,
        .responses = kind == DATA_RESPONSES,
        .either = kind == DATA_EITHER || kind == DATA_PREFERENCES,
        .labelled = kind == DATA_PREFERENCES,
        .columns = columns,
    };
    const double begun = cli_now();
    if (row != NULL) {
        QA_TRY(qa_pairs_of_row(pairs, row, path, run->tokenizer, &options, err));
        cli_warn_all(run, qa_pairs_warnings(*pairs));
        return QA_OK;
    }
    QA_TRY(qa_pairs_load(pairs, path, run->tokenizer, &options, err));
    cli_detail(run, "read and tokenised %s in %.2f s", path, cli_now() - begun);
    char text[CLI_LINE_BYTES];
    template_text(*pairs, chat, assumed, text, sizeof text);
    say_pairs(run, path, *pairs, qa_pairs_single(*pairs) ? "response" : "pair", text);
    if (qa_pairs_labelled(*pairs)) {
        const size_t undesirable = qa_pairs_undesirable(*pairs);
        cli_say(run, "%s: %zu desirable, %zu undesirable", path, qa_pairs_count(*pairs) - undesirable, undesirable);
    }
    return QA_OK;
}

qa_status cli_load_pairs(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs, qa_error *err) {
    return load_pairs(run, path, NULL, max_length, DATA_PAIRS, run->args->columns, pairs, err);
}

qa_status cli_load_preferences(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs, qa_error *err) {
    return load_pairs(run, path, NULL, max_length, DATA_PREFERENCES, run->args->columns, pairs, err);
}

qa_status cli_load_responses(cli_run *run, const char *path, const char *columns, size_t max_length, qa_pairs **pairs,
                             qa_error *err) {
    return load_pairs(run, path, NULL, max_length, DATA_RESPONSES, columns, pairs, err);
}

qa_status cli_load_examples(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs, qa_error *err) {
    return load_pairs(run, path, NULL, max_length, DATA_EITHER, run->args->columns, pairs, err);
}

qa_status cli_load_response(cli_run *run, const json_t *row, size_t max_length, qa_pairs **pairs, qa_error *err) {
    return load_pairs(run, "the answer given", row, max_length, DATA_RESPONSES, NULL, pairs, err);
}
