/* See prompts.h. */
#include "data/prompts.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "data/pairs.h"
#include "io/json_lines.h"
#include "text/chat_turn.h"
#include "text/text_begin.h"

#include <stdlib.h>
#include <string.h>

typedef struct prompts_loader {
    qa_prompts *prompts;
    const qa_prompts_options *options;
    const qa_json_lines *lines;
    qa_columns columns;   /* keys that hold something and are not used */
    qa_column_map map;    /* names of the file's columns */
    qa_dialogue dialogue; /* scratch */
    qa_text text;         /* scratch */
    size_t json_texts;    /* texts that are a conversation written as JSON */
    size_t no_system;     /* dialogues whose system message the template leaves out */
} prompts_loader;

static void free_prompt(qa_prompt *prompt) {
    qa_ids_free(&prompt->ids);
    qa_text_free(&prompt->head);
}

void qa_prompts_free(qa_prompts *prompts) {
    for (size_t i = 0; i < prompts->n; i++) {
        free_prompt(&prompts->items[i]);
    }
    free(prompts->items);
    qa_warnings_free(&prompts->warnings);
    *prompts = (qa_prompts){0};
}

/* ---- one line ---- */

/* Of the dialogue the first message of the user. */
static void keep_first_turn(qa_dialogue *dialogue) {
    for (size_t i = 0; i < dialogue->n; i++) {
        if (strcmp(dialogue->messages[i].role, "user") == 0) {
            dialogue->messages[0] = dialogue->messages[i];
            dialogue->n = 1;
        }
    }
}

/* loader->dialogue: its ids by the chat template, and the head of its output line. */
static qa_status answer_dialogue(prompts_loader *loader, qa_prompt *to, const char *name, qa_error *err) {
    const qa_prompts_options *options = loader->options;
    qa_dialogue *dialogue = &loader->dialogue;
    if (options->first_turn) {
        keep_first_turn(dialogue);
    }
    QA_FAIL_IF(dialogue->n == 0 || strcmp(dialogue->messages[dialogue->n - 1].role, "user") != 0, err, QA_ERR_FORMAT,
               "the last of \"%s\" must be the user's: it is what is answered", name);
    to->dialogue = true;
    loader->prompts->dialogues++;
    QA_TRY(qa_chat_encode(options->chat, dialogue->messages, dialogue->n, &loader->text, &to->ids, err));
    loader->no_system += qa_chat_drops_system(dialogue->messages, dialogue->n, &loader->text) ? 1 : 0;
    qa_json_writer head = {.err = err};
    qa_json_open_array(&head, NULL, QA_JSON_LINE);
    for (size_t i = 0; i < dialogue->n; i++) {
        const qa_message *message = &dialogue->messages[i];
        qa_json_put_message(&head, message->role, message->content, message->content_bytes);
    }
    to->head = head.text;
    return head.status;
}

static qa_status read_dialogue(prompts_loader *loader, qa_prompt *to, const json_t *messages, const char *name,
                               qa_error *err) {
    loader->dialogue.n = 0;
    QA_TRY(qa_dialogue_push_json(&loader->dialogue, messages, name, &loader->columns, err));
    return answer_dialogue(loader, to, name, err);
}

/* The dialogue of a row of preference data whose prompt stands in its answers: in front of the preferred one, or as
 * DSP's query. *name: where; NULL: nowhere. */
static qa_status read_preference(prompts_loader *loader, const json_t *line, const char **name, qa_error *err) {
    qa_dialogue *dialogue = &loader->dialogue;
    const json_t *chosen = qa_pairs_member(line, "chosen"), *query = qa_pairs_member(line, "query");
    const json_t *text = json_array_get(qa_pairs_member(line, "text"), 0);
    const char *hh = json_string_value(chosen);
    bool loose = false;
    dialogue->n = 0;
    *name = json_is_array(chosen) || (hh != NULL && qa_begins_hh_turn(hh, json_string_length(chosen))) ? "chosen"
            : json_is_string(query) && qa_pairs_member(line, "responses") != NULL                      ? "query"
            : json_is_string(text) && qa_pairs_member(line, "score") != NULL                           ? "text"
                                                                                                       : NULL;
    if (*name == NULL) {
        return QA_OK;
    }
    if (strcmp(*name, "query") == 0) {
        const qa_message asked = {
            .role = "user", .content = json_string_value(query), .content_bytes = json_string_length(query)};
        return qa_dialogue_push(dialogue, asked, err);
    }
    QA_TRY(json_is_array(chosen) ? qa_dialogue_push_json(dialogue, chosen, *name, &loader->columns, err)
           : hh != NULL          ? qa_dialogue_push_hh(dialogue, hh, json_string_length(chosen), *name, &loose, err)
                        : qa_dialogue_push_exchange(dialogue, json_string_value(text), json_string_length(text), *name,
                                                    &loose, err));
    dialogue->n -= dialogue->n > 0 ? 1 : 0; /* the answer */
    return QA_OK;
}

/* A text to continue. */
static qa_status read_text(prompts_loader *loader, qa_prompt *to, const json_t *value, qa_error *err) {
    const qa_prompts_options *options = loader->options;
    const char *text = json_string_value(value);
    const size_t bytes = json_string_length(value);
    loader->json_texts += qa_column_holds_messages(value) ? 1 : 0;
    QA_TRY(options->bare ? qa_encode_rendered(options->tokenizer, text, bytes, &to->ids, err)
                         : qa_encode_plain_text(options->tokenizer, text, bytes, &to->ids, err));
    return qa_json_append_string(&to->head, text, bytes, err);
}

/* Answers that a line brings are not looked at: files of pairs, of responses and of questions hold prompts, too. */
static qa_status check_columns(prompts_loader *loader, const json_t *line, const char *used, bool dialogue,
                               qa_error *err) {
    const char *const known[] = {used,          "chosen",     "rejected", "completion", "response", "responses",
                                 "completions", "candidates", "terminal", "answer",     "grader",   "reference",
                                 "label",       "query",      "text",     "score",      "prompt",   NULL};
    return qa_columns_check_row(&loader->columns, line, known, dialogue ? QA_PAIRS_DIALOGUES : QA_PAIRS_TEXT, err);
}

static qa_status check_prompt_ids(const qa_ids *ids, const qa_prompts_options *options, qa_error *err) {
    QA_FAIL_IF(ids->n == 0, err, QA_ERR_FORMAT, "the prompt has no tokens: give some text");
    QA_FAIL_IF(ids->n >= options->context, err, QA_ERR_LIMIT,
               "the prompt has %zu tokens; the model's context holds %zu, and an answer needs at least one", ids->n,
               options->context);
    for (size_t i = 0; i < ids->n; i++) {
        QA_FAIL_IF(ids->data[i] < 0 || (size_t)ids->data[i] >= options->vocab_size, err, QA_ERR_MISMATCH,
                   "token %zu of the prompt has the id %ld, outside the model's vocabulary of %zu", i,
                   (long)ids->data[i], options->vocab_size);
    }
    return QA_OK;
}

static qa_status read_prompt_line(prompts_loader *loader, qa_prompt *to, const json_t *line, qa_error *err) {
    const json_t *messages = qa_pairs_member(line, "messages");
    const json_t *prompt = qa_pairs_member(line, "prompt");
    const char *name = NULL;
    char found[QA_FOUND_BYTES], hint[QA_COLUMN_HINT_BYTES];
    loader->text.n = 0;
    if (messages == NULL && !json_is_array(prompt) &&
        (prompt == NULL || json_is_array(qa_pairs_member(line, "chosen")))) { /* a string beside dialogues is in them */
        QA_TRY(read_preference(loader, line, &name, err));
    }
    QA_TRY(check_columns(loader, line, messages != NULL ? "messages" : "prompt",
                         name != NULL || json_is_array(messages != NULL ? messages : prompt), err));
    if (name != NULL) {
        QA_TRY(answer_dialogue(loader, to, name, err));
    } else if (json_is_array(messages)) {
        QA_TRY(read_dialogue(loader, to, messages, "messages", err));
    } else if (messages == NULL && json_is_array(prompt)) {
        QA_TRY(read_dialogue(loader, to, prompt, "prompt", err));
    } else if (messages == NULL && json_is_string(prompt)) {
        QA_TRY(read_text(loader, to, prompt, err));
    } else {
        return qa_fail(
            err, QA_ERR_FORMAT,
            "expected {\"messages\": [...]}, {\"prompt\": [...]} or {\"prompt\": \"...\"}, or preference data%s%s",
            qa_columns_found(line, found), qa_column_map_hint(line, QA_COLUMNS_OF_PROMPTS, hint));
    }
    return check_prompt_ids(&to->ids, loader->options, err);
}

/* ---- the file ---- */

static qa_status push_prompt(void *user, const json_t *line, qa_error *err) {
    prompts_loader *loader = user;
    qa_prompts *prompts = loader->prompts;
    QA_TRY(QA_GROW(prompts->items, prompts->capacity, prompts->n + 1, err, "%zu prompts", prompts->n + 1));
    prompts->items[prompts->n++] = (qa_prompt){.line = qa_json_lines_number(loader->lines)};
    json_t *named = NULL;
    QA_TRY(qa_column_map_apply(&loader->map, line, &loader->columns, &named, err));
    const qa_status status = read_prompt_line(loader, &prompts->items[prompts->n - 1], named, err);
    json_decref(named);
    return status;
}

static qa_status check_prompts(const prompts_loader *loader, qa_error *err) {
    const char *name = qa_json_lines_name(loader->lines);
    QA_FAIL_IF(loader->prompts->n == 0, err, QA_ERR_FORMAT, "%s: there is no prompt in it", name);
    return qa_prefixed(qa_column_map_check_seen(&loader->map, err), err, "%s: ", name);
}

qa_status qa_prompts_load(qa_prompts *prompts, const char *path, const qa_prompts_options *options, qa_error *err) {
    prompts_loader loader = {.prompts = prompts, .options = options};
    qa_json_lines *lines = NULL;
    QA_TRY(qa_column_map_parse(&loader.map, options->columns, QA_COLUMNS_OF_PROMPTS, err));
    qa_status status = qa_json_lines_open(&lines, path, err);
    if (status != QA_OK) {
        qa_column_map_free(&loader.map);
        return status;
    }
    loader.lines = lines;
    status = qa_json_lines_each(lines, push_prompt, &loader, err);
    status = status == QA_OK ? check_prompts(&loader, err) : status;
    if (status == QA_OK) {
        qa_columns_warn(&loader.columns, qa_json_lines_name(lines), &prompts->warnings);
    }
    if (loader.json_texts > 0) {
        qa_warn(&prompts->warnings,
                "%s: texts that are a conversation written as JSON: %zu; they are continued as the text that they are: "
                "write the messages as a list, not as a string",
                qa_json_lines_name(lines), loader.json_texts);
    }
    if (loader.no_system > 0) {
        qa_warn(&prompts->warnings, "%s: dialogues whose system message the chat template leaves out: %zu",
                qa_json_lines_name(lines), loader.no_system);
    }
    qa_json_lines_close(lines);
    qa_column_map_free(&loader.map);
    free(loader.dialogue.messages);
    qa_text_free(&loader.text);
    return status;
}

/* ---- repeated prompts ---- */

typedef struct prompt_order {
    const qa_ids *ids;
    size_t index;
} prompt_order;

static int compare_ids(const qa_ids *a, const qa_ids *b) {
    return a->n != b->n ? (a->n < b->n ? -1 : 1) : memcmp(a->data, b->data, a->n * sizeof *a->data);
}

/* By ids, equal ones in the order of the file. */
static int compare_prompts(const void *left, const void *right) {
    const prompt_order *a = left;
    const prompt_order *b = right;
    const int order = compare_ids(a->ids, b->ids);
    return order != 0 ? order : a->index < b->index ? -1 : 1;
}

qa_status qa_prompts_drop_repeated(qa_prompts *prompts, qa_error *err) {
    prompt_order *places = calloc(prompts->n, sizeof *places);
    bool *repeated = calloc(prompts->n, sizeof *repeated);
    if (places == NULL || repeated == NULL) {
        free(places);
        free(repeated);
        return QA_NO_MEMORY(err, "comparing %zu prompts", prompts->n);
    }
    for (size_t i = 0; i < prompts->n; i++) {
        places[i] = (prompt_order){&prompts->items[i].ids, i};
    }
    qsort(places, prompts->n, sizeof *places, compare_prompts);
    for (size_t i = 1; i < prompts->n; i++) {
        repeated[places[i].index] = compare_ids(places[i - 1].ids, places[i].ids) == 0;
    }
    size_t kept = 0;
    for (size_t i = 0; i < prompts->n; i++) {
        if (repeated[i]) {
            free_prompt(&prompts->items[i]);
        } else {
            prompts->items[kept++] = prompts->items[i];
        }
    }
    prompts->repeated = prompts->n - kept;
    prompts->n = kept;
    free(places);
    free(repeated);
    return QA_OK;
}
