/* Commands of a conversation (chat.h): lines that begin with '/'. What they answer goes to standard error; standard
 * output has answers alone. The dials are rows of the option tables, whose ranges they have. */
#include "cli/chat.h"

#include "base/memory.h"
#include "base/plain_line.h"
#include "base/try.h"
#include "cli/line_sink.h"
#include "cli/outputs.h"
#include "data/dialogue.h"
#include "infer/sampler.h"
#include "io/file.h"
#include "io/json_lines.h"
#include "io/json_writer.h"
#include "rl/objective.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell(const char *format, ...) QA_PRINTF(1, 2);

static void tell(const char *format, ...) {
    char text[QA_MESSAGE_BYTES], line[QA_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)qa_plain_line(line, sizeof line, text);
    fprintf(stderr, "%s\n", line);
}

/* ---- dials ---- */

static const qa_option chat_rows[] = {
    {"max-tokens", QA_SIZE(chat_session, max_tokens), .range = QA_RANGE_FROM_1, .help = "longest answer, tokens"},
};

typedef struct chat_dial {
    const qa_option *row;
    void *of; /* the struct that it lies in */
} chat_dial;

static const qa_option *chat_dial_row(const qa_option_table *table, const char *name) {
    const qa_option *found = &table->rows[0];
    for (size_t i = 0; i < table->n; i++) {
        found = strcmp(table->rows[i].name, name) == 0 ? &table->rows[i] : found;
    }
    return found;
}

/* The dials, one after the other; false: there are no more. */
static bool dial_at(chat_session *session, size_t index, chat_dial *dial) {
    const size_t n = qa_sampling_table.n;
    *dial = index == 0      ? (chat_dial){chat_dial_row(&qa_objective_table, "alpha-0"), &session->with->objective}
            : index == 1    ? (chat_dial){chat_dial_row(&qa_objective_table, "alpha-tilde"), &session->with->objective}
            : index < 2 + n ? (chat_dial){&qa_sampling_table.rows[index - 2], &session->with->sampling}
                            : (chat_dial){&chat_rows[0], session};
    return index < 3 + n;
}

static bool is_dial(const chat_dial *dial, const char *name) {
    const char *at = NULL;
    size_t bytes = 0;
    while (qa_option_next_name(dial->row, &at, &bytes) != NULL) {
        if (strlen(name) == bytes && memcmp(at, name, bytes) == 0) {
            return true;
        }
    }
    return false;
}

static void tell_dial(const chat_dial *dial) {
    char text[QA_OPTION_TEXT_BYTES];
    const bool known = qa_option_text(dial->row, dial->of, text, sizeof text);
    const bool free_length = strcmp(dial->row->name, "max-tokens") == 0 && strcmp(text, "0") == 0;
    tell("  %-20s %s", dial->row->name, free_length ? "what fits" : known ? text : "none");
}

/* A value that is out of range, or that the others do not allow, changes nothing. */
static qa_status turn_chat_dial(chat_session *session, const chat_dial *dial, const char *value) {
    const qa_objective objective = session->with->objective;
    const qa_sampling sampling = session->with->sampling;
    const bool of_objective = dial->of == &session->with->objective;
    qa_error err = {0};
    qa_status status = QA_OK;
    if (of_objective && session->with->run->adapter == NULL) {
        tell("/%s is for an adapter's policy, and there is %s", dial->row->name,
             generation_is_customised(session->with) ? "a mixture, whose policies are read as they were trained"
                                                     : "no adapter (--adapter)");
        return QA_OK;
    }
    status = value[0] == '\0' ? QA_OK : qa_option_set(dial->row, dial->of, value, &err);
    status = status == QA_OK && of_objective ? qa_objective_check(&session->with->objective, &err) : status;
    if (status != QA_OK) {
        session->with->objective = objective;
        session->with->sampling = sampling;
        tell("/%s: %s", dial->row->name, err.message);
        return QA_OK;
    }
    session->changed = session->changed || value[0] != '\0';
    if (value[0] != '\0' && strcmp(dial->row->name, "seed") == 0) {
        session->restart = true;
        session->retries = 0;
    }
    tell_dial(dial);
    return QA_OK;
}

/* ---- saving and chat_loading ---- */

/* {"prompt": [...], "completion": [...]}: every reader of prompts and of responses takes it. */
static void write_branch(qa_json_writer *line, const chat_branch *branch, bool named) {
    const bool answered = strcmp(branch->messages[branch->n - 1].role, "assistant") == 0;
    const size_t n_prompt = branch->n - (answered ? 1 : 0);
    qa_json_open_object(line, NULL, QA_JSON_LINE);
    qa_json_open_array(line, "prompt", QA_JSON_LINE);
    for (size_t i = 0; i < branch->n; i++) {
        const qa_message *message = &branch->messages[i];
        if (i == n_prompt) {
            qa_json_close(line);
            qa_json_open_array(line, "completion", QA_JSON_LINE);
        }
        qa_json_put_message(line, message->role, message->content, message->content_bytes);
    }
    qa_json_close(line);
    if (answered && branch->cut) {
        qa_json_put_bool(line, "terminal", false);
    }
    if (named) {
        qa_json_put_string(line, "model", chat_policy_name(branch));
    }
    qa_json_close(line);
    qa_json_end_line(line);
}

static qa_status write_conversation(const chat_session *session, const char *path, qa_error *err) {
    qa_json_writer line = {.err = err};
    cli_line_sink sink = {0};
    for (size_t b = 0; b < session->n_branches; b++) {
        write_branch(&line, &session->branches[b], session->n_branches > 1);
    }
    qa_status status = line.status;
    status = status == QA_OK ? cli_line_sink_open(&sink, path, err) : status;
    if (status == QA_OK) {
        status = cli_line_sink_close(&sink, cli_line_sink_write(&sink, &line.text, err), err);
    }
    qa_text_free(&line.text);
    return status;
}

static qa_status save(chat_session *session, const char *path) {
    cli_run *run = session->with->run;
    const bool bad_usage = run->bad_usage, replaced = qa_path_exists(path);
    qa_error err = {0};
    if (session->branches[0].n == 0) {
        tell("/save: there is nothing to save yet");
        return QA_OK;
    }
    qa_status status = cli_check_output(run, "/save", path, &err);
    run->bad_usage = bad_usage;
    status = status == QA_OK ? write_conversation(session, path, &err) : status;
    if (status != QA_OK) {
        tell("%s%s", strstr(err.message, "/save") == NULL ? "/save: " : "", err.message);
    } else if (strcmp(path, "-") != 0) {
        tell("saved: %s%s", path, replaced ? " (replaced)" : "");
    }
    return QA_OK;
}

/* The messages of a line: "messages", or "prompt" and "completion". */
static qa_status read_conversation(const json_t *line, qa_dialogue *dialogue, qa_error *err) {
    static const char *const KEYS[] = {"messages", "prompt", "completion"};
    qa_columns columns = {0};
    dialogue->n = 0;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const json_t *messages = qa_pairs_member(line, KEYS[i]);
        QA_FAIL_IF(messages != NULL && !json_is_array(messages), err, QA_ERR_FORMAT,
                   "\"%s\" must be a list of messages", KEYS[i]);
        QA_TRY(messages == NULL ? QA_OK : qa_dialogue_push_json(dialogue, messages, KEYS[i], &columns, err));
    }
    QA_FAIL_IF(dialogue->n == 0, err, QA_ERR_FORMAT, "no conversation: \"messages\", or \"prompt\" and \"completion\"");
    return QA_OK;
}

/* One line is every branch's conversation; two are one branch's each. */
typedef struct chat_loading {
    chat_session *session;
    qa_dialogue dialogue;
    chat_branch read[2]; /* their messages alone */
    size_t n;            /* lines so far */
} chat_loading;

static qa_status load_line(void *user, const json_t *line, qa_error *err) {
    chat_loading *it = user;
    QA_FAIL_IF(it->n == it->session->n_branches, err, QA_ERR_FORMAT, "one conversation is expected%s",
               it->n == 1 ? " (two with /policy both)" : ", or two");
    bool terminal = true;
    QA_TRY(read_conversation(line, &it->dialogue, err));
    QA_TRY(qa_pairs_flag(line, "terminal", &terminal, err));
    for (size_t b = it->n; b < it->session->n_branches; b++) {
        QA_TRY(chat_take_messages(&it->read[b], it->dialogue.messages, it->dialogue.n, err));
        it->read[b].cut = !terminal;
    }
    it->n++;
    return QA_OK;
}

static qa_status load(chat_session *session, const char *path, qa_error *err) {
    chat_loading it = {.session = session};
    qa_json_lines *lines = NULL;
    qa_error failure = {0};
    qa_status status = qa_json_lines_open(&lines, path, &failure);
    status = status == QA_OK ? qa_json_lines_each(lines, load_line, &it, &failure) : status;
    qa_json_lines_close(lines);
    free(it.dialogue.messages);
    const bool good = status == QA_OK && it.n > 0;
    for (size_t b = 0; b < session->n_branches; b++) {
        chat_branch *branch = &session->branches[b];
        if (good) { /* the conversation until now goes, as what failed does otherwise */
            const chat_branch before = *branch;
            branch->messages = it.read[b].messages;
            branch->n = it.read[b].n;
            branch->room = it.read[b].room;
            branch->cut = it.read[b].cut;
            it.read[b] = (chat_branch){.messages = before.messages, .n = before.n};
        }
        chat_branch_free(&it.read[b]);
    }
    if (!good) {
        tell("/load: %s", status == QA_OK ? "there is no conversation in it" : failure.message);
        return QA_OK;
    }
    const chat_branch *branch = &session->branches[0];
    tell("loaded: %zu message%s", branch->n, branch->n == 1 ? "" : "s");
    return strcmp(branch->messages[branch->n - 1].role, "user") == 0 ? chat_answer(session, err) : QA_OK;
}

/* ---- the commands ---- */

static qa_status on_policy(chat_session *session, const char *text, qa_error *err) {
    const bool both = strcmp(text, "both") == 0, base = both || strcmp(text, "base") == 0,
               custom = both || strcmp(text, "custom") == 0;
    if (!base && !custom) {
        tell("/policy: expected one of base|custom|both, found \"%s\"", text);
        return QA_OK;
    }
    if (custom && !generation_is_customised(session->with)) {
        tell("/policy %s needs --adapter", text);
        return QA_OK;
    }
    QA_TRY(chat_set_policy(session, base, custom, err));
    tell("policy: %s%s", text, both ? ": each goes on behind its own answers" : "");
    return QA_OK;
}

static qa_status on_system(chat_session *session, const char *text, qa_error *err) {
    const chat_branch *branch = &session->branches[0];
    const bool none = strcmp(text, "\"\"") == 0;
    if (text[0] != '\0') {
        QA_TRY(chat_set_system(session, none ? "" : text, err));
    }
    const bool there = branch->n > 0 && strcmp(branch->messages[0].role, "system") == 0;
    tell("  %-20s %s", "system", there ? branch->messages[0].content : "none");
    return QA_OK;
}

static qa_status on_undo(chat_session *session, const char *text, qa_error *err) {
    (void)text;
    (void)err;
    const bool any = chat_take_back(session, false);
    tell(any ? "the last turn is taken back" : "/undo: there is no turn to take back");
    return QA_OK;
}

static qa_status on_retry(chat_session *session, const char *text, qa_error *err) {
    (void)text;
    if (!chat_take_back(session, true)) {
        tell("/retry: there is no answer yet");
        return QA_OK;
    }
    if (session->with->sampling.temperature == 0.0 && !session->changed) {
        tell("with temperature 0 the answer is the same");
    }
    session->retries++;
    return chat_answer(session, err);
}

static qa_status on_reset(chat_session *session, const char *text, qa_error *err) {
    (void)text;
    (void)err;
    chat_reset(session);
    tell("the conversation begins anew%s", session->branches[0].n > 0 ? ", with its system message" : "");
    return QA_OK;
}

static qa_status on_save(chat_session *session, const char *text, qa_error *err) {
    (void)err;
    return save(session, text);
}

static qa_status on_show(chat_session *session, const char *text, qa_error *err) {
    const chat_branch *branch = &session->branches[0];
    size_t turns = 0;
    (void)text;
    for (size_t i = 0; i < branch->n; i++) {
        turns += strcmp(branch->messages[i].role, "user") == 0 ? 1 : 0;
    }
    tell("  %-20s %s", "policy", session->n_branches == 2 ? "both" : chat_policy_name(branch));
    chat_dial dial;
    for (size_t i = 0; dial_at(session, i, &dial); i++) {
        if (dial.of != &session->with->objective || session->with->run->adapter != NULL) {
            tell_dial(&dial);
        }
    }
    QA_TRY(on_system(session, "", err));
    tell("  %-20s %s", "chat template", qa_chat_name(session->with->chat));
    tell("  %-20s %zu", "turns", turns);
    tell("  %-20s %zu of %zu tokens", "in the caches", branch->ids.n, session->capacity);
    return QA_OK;
}

static qa_status on_help(chat_session *session, const char *text, qa_error *err);

static const struct chat_verb {
    const char *name, *argument, *help;
    bool needs_argument;
    qa_status (*run)(chat_session *session, const char *text, qa_error *err); /* NULL: the end */
} VERBS[] = {
    {"help", "", "this list", false, on_help},
    {"show", "", "what is set", false, on_show},
    {"policy", " base|custom|both", "who answers: the model, the customised model, or each behind its own answers",
     true, on_policy},
    {"system", " TEXT", "the system message; \"\" for none", false, on_system},
    {"undo", "", "take the last turn back", false, on_undo},
    {"retry", "", "answer the last turn anew", false, on_retry},
    {"reset", "", "begin anew; the system message stays", false, on_reset},
    {"save", " FILE", "write the conversation as JSON Lines, for generate --in, score, train and /load", true, on_save},
    {"load", " FILE", "go on with a conversation that was saved", true, load},
    {"quit", "", "end (also Ctrl-D)", false, NULL},
};
enum { N_VERBS = sizeof VERBS / sizeof *VERBS, MOST_NAMES = 32 };

static qa_status on_help(chat_session *session, const char *text, qa_error *err) {
    (void)text;
    (void)err;
    for (size_t i = 0; i < N_VERBS; i++) {
        char usage[64];
        (void)snprintf(usage, sizeof usage, "/%s%s", VERBS[i].name, VERBS[i].argument);
        tell("  %-26s %s", usage, VERBS[i].help);
    }
    chat_dial dial;
    for (size_t i = 0; dial_at(session, i, &dial); i++) {
        char usage[64], argument[QA_OPTION_TEXT_BYTES];
        (void)snprintf(usage, sizeof usage, "/%s %s", dial.row->name,
                       qa_option_argument(dial.row, argument, sizeof argument));
        tell("  %-26s %s", usage, dial.row->help);
    }
    tell("A dial without a value tells it; with one it counts from the next answer on. A line that ends with \\ goes "
         "on, "
         "and \"\"\" begins and ends a block of lines. // in front sends a message that begins with /.");
    return QA_OK;
}

static void tell_unknown(chat_session *session, const char *name) {
    const char *names[MOST_NAMES];
    size_t n = 0;
    chat_dial dial;
    for (size_t i = 0; i < N_VERBS && n < MOST_NAMES; i++) {
        names[n++] = VERBS[i].name;
    }
    for (size_t i = 0; dial_at(session, i, &dial) && n < MOST_NAMES; i++) {
        names[n++] = dial.row->name;
    }
    const char *close = cli_closest(name, names, n);
    tell("unknown command /%.60s%s%s%s", name, close == NULL ? "; /help lists them" : "; did you mean /",
         close == NULL ? "" : close, close == NULL ? "" : "?");
}

static qa_status run_verb(chat_session *session, const struct chat_verb *verb, const char *text, bool *end,
                          qa_error *err) {
    if (verb->needs_argument && text[0] == '\0') {
        tell("/%s needs%s", verb->name, verb->argument);
        return QA_OK;
    }
    if (verb->argument[0] == '\0' && text[0] != '\0') {
        tell("/%s takes nothing behind it, found \"%.60s\"", verb->name, text);
        return QA_OK;
    }
    *end = verb->run == NULL;
    return *end ? QA_OK : verb->run(session, text, err);
}

/* One command, without blanks behind it. */
static qa_status run_chat_line(chat_session *session, const char *line, bool *end, qa_error *err) {
    char name[64];
    const size_t bytes = strcspn(line + 1, " \t\n");
    const char *text = line + 1 + bytes;
    text += strspn(text, " \t\n");
    (void)snprintf(name, sizeof name, "%.*s", (int)(bytes < sizeof name ? bytes : sizeof name - 1), line + 1);
    for (char *c = name; *c != '\0'; c++) {
        *c = *c == '_' ? '-' : *c;
    }
    const bool quits = strcmp(name, "exit") == 0 || strcmp(name, "bye") == 0 || strcmp(name, "q") == 0;
    for (size_t i = 0; i < N_VERBS; i++) {
        if (strcmp(VERBS[i].name, quits ? "quit" : name) == 0) {
            return run_verb(session, &VERBS[i], text, end, err);
        }
    }
    chat_dial dial;
    for (size_t i = 0; dial_at(session, i, &dial); i++) {
        if (is_dial(&dial, name)) {
            return turn_chat_dial(session, &dial, text);
        }
    }
    tell_unknown(session, name);
    return QA_OK;
}

qa_status chat_command(chat_session *session, const char *line, bool *end, qa_error *err) {
    char *copy = NULL;
    QA_TRY(QA_COPY(copy, line, err, "a command"));
    for (size_t n = strlen(copy); n > 0 && strchr(" \t\n", copy[n - 1]) != NULL;) {
        copy[--n] = '\0';
    }
    const qa_status status = run_chat_line(session, copy, end, err);
    free(copy);
    return status;
}
