/* From dialogues and strings to token ids, and what makes a pair unusable.
 *
 * The boundary between prompt and response is a boundary between tokens: the two are encoded apart, so
 * the prompt's ids are the same on both sides and the same as at inference. The response is encoded as
 * the continuation of the prompt (text/text_begin.h). */
#include "data/form.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/plain_line.h"
#include "base/try.h"
#include "text/chat.h"
#include "text/text_begin.h"

#include <stdlib.h>
#include <string.h>

/* The authors' label boundary: their prompt length is cut at this default of a function argument. */
enum { PUBLISHED_LABEL_START = 256 };

static const char *const SKIP_REASONS[QA_SKIP_REASONS] = {
    [QA_SKIP_PROMPTS_DIFFER] = "prompts of the two sides differ",
    [QA_SKIP_RESPONSES_EQUAL] = "responses are equal",
    [QA_SKIP_RESPONSES_CUT_EQUAL] = "responses differ only behind the length limit",
    [QA_SKIP_RESPONSE_EMPTY] = "a response is empty",
    [QA_SKIP_PROMPT_EMPTY] = "prompt is empty",
    [QA_SKIP_PROMPT_TOO_LONG] = "prompt fills the length limit",
    [QA_SKIP_ID_OUT_OF_RANGE] = "a token id is outside the model's vocabulary",
    [QA_SKIP_NO_ASSISTANT_TURN] = "dialogue does not end with an assistant's turn",
    [QA_SKIP_TEMPLATE_REFUSES] = "chat template refuses the dialogue",
    [QA_SKIP_NOT_WRITTEN] = "a part of the example cannot be written",
    [QA_SKIP_RESPONSE_TURNS] = "a response has more than one message, which the chat template writes otherwise",
    [QA_SKIP_SCORES_TIED] = "scores are tied",
};

const char *qa_skip_reason_text(qa_skip_reason reason) {
    return (unsigned)reason < QA_SKIP_REASONS ? SKIP_REASONS[reason] : "unknown reason";
}

qa_status qa_pairs_skip(qa_pairs_loader *loader, qa_skip_reason reason, const char *detail, qa_error *err) {
    QA_FAIL_IF(loader->options->strict, err, QA_ERR_FORMAT, "%s%s%s (without --strict, the pair would be left out)",
               qa_skip_reason_text(reason), detail == NULL ? "" : ": ", detail == NULL ? "" : detail);
    qa_skip_report *report = &loader->pairs->report;
    if (report->count[reason]++ == 0) {
        report->first_line[reason] = loader->line;
        (void)qa_plain_line(report->first_detail[reason], QA_SKIP_DETAIL_BYTES, detail == NULL ? "" : detail);
    }
    return QA_OK;
}

/* ---- the last step: ids that are complete ---- */

static bool in_range(const qa_ids *ids, size_t vocab_size) {
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->data[i] < 0 || (size_t)ids->data[i] >= vocab_size) {
            return false;
        }
    }
    return true;
}

static bool same_ids(const qa_ids *a, size_t a_len, const qa_ids *b, size_t b_len) {
    return a_len == b_len && memcmp(a->data, b->data, a_len * sizeof a->data[0]) == 0;
}

static qa_status append_pair(qa_pairs *pairs, const qa_pairs_loader *loader, const qa_pair *pair, qa_error *err) {
    QA_TRY(QA_GROW(pairs->items, pairs->capacity, pairs->n + 1, err, "%zu pairs", pairs->n + 1));
    QA_TRY(qa_ids_append(&pairs->ids, loader->prompt.data, pair->prompt_len, err));
    QA_TRY(qa_ids_append(&pairs->ids, loader->chosen.data, pair->chosen_len, err));
    QA_TRY(qa_ids_append(&pairs->ids, loader->rejected.data, pair->rejected_len, err));
    pairs->items[pairs->n++] = *pair;
    return QA_OK;
}

static size_t larger_length(size_t a, size_t b) { return a > b ? a : b; }

/* Cuts a response so that it fits behind the prompt; what is cut does not end. */
static bool cut_response(size_t *length, bool *terminal, size_t room) {
    if (*length <= room) {
        return false;
    }
    *length = room;
    *terminal = false;
    return true;
}

qa_status qa_pairs_add_ids(qa_pairs_loader *loader, bool chosen_terminal, bool rejected_terminal, qa_error *err) {
    const qa_pairs_options *options = loader->options;
    qa_pairs *pairs = loader->pairs;
    const qa_ids *prompt = &loader->prompt;
    const qa_ids *chosen = &loader->chosen;
    const qa_ids *rejected = &loader->rejected;
    const bool single = pairs->form->responses;
    if (loader->full && !single) { /* a list of answers stays whole */
        return QA_OK;
    }
    if (chosen->n == 0 || (rejected->n == 0 && !single)) {
        return qa_pairs_skip(loader, QA_SKIP_RESPONSE_EMPTY, NULL, err);
    }
    if (prompt->n == 0) {
        return qa_pairs_skip(loader, QA_SKIP_PROMPT_EMPTY, NULL, err);
    }
    if (!in_range(prompt, options->vocab_size) || !in_range(chosen, options->vocab_size) ||
        !in_range(rejected, options->vocab_size)) {
        return qa_pairs_skip(loader, QA_SKIP_ID_OUT_OF_RANGE, NULL, err);
    }
    if (prompt->n >= options->max_length) {
        return qa_pairs_skip(loader, QA_SKIP_PROMPT_TOO_LONG, NULL, err);
    }
    qa_pair pair = {.prompt_len = prompt->n,
                    .chosen_len = chosen->n,
                    .rejected_len = rejected->n,
                    .chosen_terminal = chosen_terminal,
                    .rejected_terminal = rejected_terminal,
                    .label_start = prompt->n,
                    .line = loader->line,
                    .answer = loader->answer,
                    .undesirable = single && loader->undesirable};
    size_t room = options->max_length - prompt->n;
    size_t cuts = cut_response(&pair.chosen_len, &pair.chosen_terminal, room) ? 1 : 0;
    cuts += cut_response(&pair.rejected_len, &pair.rejected_terminal, room) ? 1 : 0;
    if (!single &&
        same_ids(chosen, pair.chosen_len, rejected, pair.rejected_len)) { /* also where only the cut-off parts differ */
        const bool equal = same_ids(chosen, chosen->n, rejected, rejected->n);
        return qa_pairs_skip(loader, equal ? QA_SKIP_RESPONSES_EQUAL : QA_SKIP_RESPONSES_CUT_EQUAL, NULL, err);
    }
    if (options->published_data && pair.label_start > PUBLISHED_LABEL_START) {
        pair.label_start = PUBLISHED_LABEL_START;
    }
    QA_TRY(append_pair(pairs, loader, &pair, err));
    pairs->report.truncated_responses += cuts;
    pairs->longest_prompt = larger_length(pairs->longest_prompt, pair.prompt_len);
    pairs->longest_response = larger_length(pairs->longest_response, larger_length(pair.chosen_len, pair.rejected_len));
    loader->full = options->max_pairs > 0 && pairs->n >= options->max_pairs;
    return QA_OK;
}

/* ---- text to ids ---- */

/* The prompt's ids into loader->prompt (text_begin.h). Under published_data the tokenizer's beginning comes in front in
 * any case, as in the authors' code. */
static qa_status encode_prompt(qa_pairs_loader *loader, const char *text, size_t bytes, bool from_template,
                               qa_error *err) {
    qa_ids *prompt = &loader->prompt;
    const qa_tokenizer *tokenizer = loader->tokenizer;
    prompt->n = 0;
    if (loader->options->published_data) {
        const qa_ids *beginning = qa_text_begin(tokenizer);
        QA_TRY(qa_ids_append(prompt, beginning->data, beginning->n, err));
        return qa_encode_rendered(tokenizer, text, bytes, prompt, err);
    }
    qa_pairs_note(loader, QA_SEEN_TWO_BEGINNINGS, !from_template && qa_text_doubles_begin(tokenizer, text, bytes));
    return from_template ? qa_encode_rendered(tokenizer, text, bytes, prompt, err)
                         : qa_encode_plain_text(tokenizer, text, bytes, prompt, err);
}

static qa_status encode_response(const qa_pairs_loader *loader, const char *text, size_t bytes, qa_ids *response,
                                 qa_error *err) {
    response->n = 0;
    return qa_encode_after(loader->tokenizer, &loader->prompt, text, bytes, response, err);
}

/* Ends a response that no template ends, unless it ends by itself. */
static qa_status close_response(const qa_pairs_loader *loader, qa_ids *response, qa_error *err) {
    return qa_answer_end_close(&loader->end, loader->tokenizer, loader->options->response_end, 0, response, err);
}

/* ---- dialogues ---- */

static void note_inner_end(qa_pairs_loader *loader, const qa_ids *response) {
    size_t ends = 0;
    for (size_t i = 0; i + 1 < response->n; i++) {
        const bool end = qa_answer_end_has(&loader->end, response->data[i]);
        ends += end ? 1 : 0;
        if (end && i + 2 == response->n && !qa_answer_end_has(&loader->end, response->data[i + 1])) {
            ends--; /* the newline that a template writes may stand behind the last one */
        }
    }
    qa_pairs_note(loader, QA_SEEN_INNER_END, ends > 0);
}

/* The content may bring the very end that the template writes: TRL trains both, and so do we, but it is seldom meant.
 */
static qa_status count_doubled_end(qa_pairs_loader *loader, const qa_ids *response, qa_error *err) {
    bool doubled = false;
    QA_TRY(qa_answer_end_doubled(&loader->end, loader->tokenizer, response->data, response->n, &doubled, err));
    qa_pairs_note(loader, QA_SEEN_DOUBLED_END, doubled);
    if (!doubled) {
        note_inner_end(loader, response);
    }
    return QA_OK;
}

static bool takes_whole_turn(const qa_pairs_loader *loader) {
    return loader->options->response_end == QA_RESPONSE_END_TEMPLATE;
}

/* Appends what is trained of an answer behind the turn's prompt. *ended: the template ends it. */
static qa_status append_answer(const qa_pairs_loader *loader, const qa_chat_turn *turn, const qa_message *answer,
                               qa_text *text, bool *ended, qa_error *err) {
    const bool whole = takes_whole_turn(loader);
    QA_TRY(qa_chat_turn_content(turn, loader->chat, answer->content, answer->content_bytes, whole, text, err));
    return qa_chat_turn_end(turn, loader->chat, loader->end.turn, whole, text, ended, err);
}

/* The dialogue's last message is trained as it stands, whatever the template makes of it. */
static qa_status note_rewritten(qa_pairs_loader *loader, const qa_dialogue *dialogue, qa_error *err) {
    bool keeps = true;
    QA_TRY(qa_chat_keeps(&loader->turn, loader->chat, dialogue->messages, dialogue->n, &loader->turns, &keeps, err));
    qa_pairs_note(loader, QA_SEEN_REWRITTEN, !keeps);
    return QA_OK;
}

static qa_status encode_new_answer(qa_pairs_loader *loader, const qa_dialogue *dialogue, qa_ids *response,
                                   qa_error *err) {
    const qa_message *answer = &dialogue->messages[dialogue->n - 1];
    bool ended = false;
    loader->text.n = 0;
    QA_TRY(note_rewritten(loader, dialogue, err));
    QA_TRY(append_answer(loader, &loader->turn, answer, &loader->text, &ended, err));
    QA_TRY(encode_response(loader, loader->text.data, loader->text.n, response, err));
    return ended ? count_doubled_end(loader, response, err) : close_response(loader, response, err);
}

void qa_pairs_encode_once(qa_pairs_loader *loader, bool on) {
    for (size_t i = 0; i < loader->encoded.n; i++) {
        qa_ids_free(&loader->encoded.answers[i].ids);
    }
    free(loader->encoded.answers);
    qa_text_free(&loader->encoded.prompt);
    memset(&loader->encoded, 0, sizeof loader->encoded);
    loader->encoded.on = on;
}

/* What is trained of the dialogue's answer, as ids; the same answer always stands behind the same prompt. */
static qa_status encode_answer(qa_pairs_loader *loader, const qa_dialogue *dialogue, qa_ids *response, qa_error *err) {
    const qa_message *answer = &dialogue->messages[dialogue->n - 1];
    for (size_t i = 0; i < loader->encoded.n; i++) {
        const struct qa_encoded_answer *known = &loader->encoded.answers[i];
        if (known->content == answer->content) {
            response->n = 0;
            return qa_ids_append(response, known->ids.data, known->ids.n, err);
        }
    }
    QA_TRY(encode_new_answer(loader, dialogue, response, err));
    if (!loader->encoded.on) {
        return QA_OK;
    }
    const size_t n = loader->encoded.n;
    QA_TRY(QA_GROW(loader->encoded.answers, loader->encoded.capacity, n + 1, err, "%zu answers", n + 1));
    loader->encoded.answers[n] = (struct qa_encoded_answer){.content = answer->content};
    loader->encoded.n++;
    return qa_ids_append(&loader->encoded.answers[n].ids, response->data, response->n, err);
}

/* An answer that was cut off. */
static qa_status encode_cut_answer(qa_pairs_loader *loader, const qa_dialogue *dialogue, qa_error *err) {
    const qa_message *answer = &dialogue->messages[dialogue->n - 1];
    loader->text.n = 0;
    QA_TRY(note_rewritten(loader, dialogue, err));
    QA_TRY(qa_chat_turn_content(&loader->turn, loader->chat, answer->content, answer->content_bytes,
                                takes_whole_turn(loader), &loader->text, err));
    return encode_response(loader, loader->text.data, loader->text.n, &loader->chosen, err);
}

static bool is_blank_answer(const qa_chat *chat, const qa_message *answer) {
    const char *content = answer->content;
    size_t bytes = answer->content_bytes;
    if (chat != NULL) {
        qa_chat_strip(chat, &content, &bytes);
    }
    return bytes == 0;
}

static bool ends_with_assistant(const qa_dialogue *dialogue) {
    return dialogue->n > 0 && strcmp(dialogue->messages[dialogue->n - 1].role, "assistant") == 0;
}

/* What the template does with a dialogue that its reader may not expect. */
static void note_turn(qa_pairs_loader *loader, const qa_dialogue *dialogue, size_t n_prompt) {
    const qa_chat_turn *turn = &loader->turn;
    qa_pairs_note(loader, QA_SEEN_OTHER_PROMPT, !turn->begins);
    qa_pairs_note(loader, QA_SEEN_INSERTED, turn->begins && qa_chat_turn_inserts(turn) && !takes_whole_turn(loader));
    qa_pairs_note(loader, QA_SEEN_NO_SYSTEM, qa_chat_drops_system(dialogue->messages, n_prompt, &turn->prompt));
}

/* The first n messages as the prompt of an answer. *skipped: the template refuses them, or an answer to them. */
static qa_status write_turn(qa_pairs_loader *loader, const qa_dialogue *dialogue, size_t n, qa_chat_turn *turn,
                            bool *skipped, qa_error *err) {
    qa_error reason = {.code = QA_OK};
    const qa_status status = qa_chat_turn_write(turn, loader->chat, dialogue->messages, n, &reason);
    *skipped = status == QA_ERR_FORMAT;
    if (*skipped) {
        return qa_pairs_skip(loader, QA_SKIP_TEMPLATE_REFUSES, reason.message, err);
    }
    return status == QA_OK ? QA_OK : qa_fail(err, status, "%s", reason.message);
}

/* The prompt's ids: the first n_prompt messages of loader->left. */
static qa_status encode_dialogue_prompt(qa_pairs_loader *loader, size_t n_prompt, bool *skipped, qa_error *err) {
    const qa_text *text = &loader->turn.prompt;
    qa_text *last = &loader->encoded.prompt;
    const char *asked = loader->left.messages[n_prompt - 1].content;
    *skipped = false;
    if (loader->encoded.on && loader->encoded.asked == asked && loader->encoded.n_asked == n_prompt) {
        return QA_OK;
    }
    loader->encoded.asked = NULL;
    QA_TRY(write_turn(loader, &loader->left, n_prompt, &loader->turn, skipped, err));
    loader->encoded.asked = *skipped ? NULL : asked;
    loader->encoded.n_asked = n_prompt;
    if (*skipped || (last->n > 0 && last->n == text->n && memcmp(last->data, text->data, text->n) == 0)) {
        return QA_OK;
    }
    note_turn(loader, &loader->left, n_prompt);
    last->n = 0;
    QA_TRY(loader->encoded.on ? qa_text_append(last, text->data, text->n, err) : QA_OK);
    return encode_prompt(loader, text->data, text->n, true, err);
}

/* ---- responses of several messages ---- */

static bool all_blank(const qa_chat *chat, const qa_dialogue *dialogue, size_t from) {
    bool blank = true;
    for (size_t i = from; i < dialogue->n && blank; i++) {
        blank = is_blank_answer(chat, &dialogue->messages[i]);
    }
    return blank;
}

/* Everything that the template writes from the prompt's end, which loader->turn holds, to the end of the last turn. */
static qa_status encode_turns(qa_pairs_loader *loader, const qa_dialogue *dialogue, qa_ids *response, bool *skipped,
                              qa_error *err) {
    qa_chat_turn *last = &loader->last_turn;
    qa_text *turns = &last->prompt;
    const qa_text *prompt = &loader->turn.prompt;
    const qa_message *answer = &dialogue->messages[dialogue->n - 1];
    bool ended = false;
    QA_TRY(write_turn(loader, dialogue, dialogue->n - 1, last, skipped, err));
    if (*skipped) {
        return QA_OK;
    }
    if (turns->n < prompt->n || (prompt->n > 0 && memcmp(turns->data, prompt->data, prompt->n) != 0)) {
        *skipped = true;
        return qa_pairs_skip(loader, QA_SKIP_RESPONSE_TURNS, NULL, err);
    }
    QA_TRY(append_answer(loader, last, answer, turns, &ended, err));
    QA_TRY(encode_response(loader, turns->data + prompt->n, turns->n - prompt->n, response, err));
    return ended ? QA_OK : close_response(loader, response, err);
}

static qa_status add_turns(qa_pairs_loader *loader, size_t n_prompt, qa_error *err) {
    const qa_dialogue *left = &loader->left;
    const qa_dialogue *right = &loader->right;
    bool skipped = false;
    if (all_blank(loader->chat, left, n_prompt) || all_blank(loader->chat, right, n_prompt)) {
        return qa_pairs_skip(loader, QA_SKIP_RESPONSE_EMPTY, NULL, err);
    }
    if (n_prompt == 0) {
        return qa_pairs_skip(loader, QA_SKIP_PROMPT_EMPTY, NULL, err);
    }
    QA_TRY(write_turn(loader, left, n_prompt, &loader->turn, &skipped, err));
    if (!skipped) {
        note_turn(loader, left, n_prompt);
        QA_TRY(encode_prompt(loader, loader->turn.prompt.data, loader->turn.prompt.n, true, err));
        QA_TRY(encode_turns(loader, left, &loader->chosen, &skipped, err));
    }
    if (!skipped) {
        QA_TRY(encode_turns(loader, right, &loader->rejected, &skipped, err));
    }
    return skipped ? QA_OK : qa_pairs_add_ids(loader, true, true, err);
}

qa_status qa_pairs_add_dialogues(qa_pairs_loader *loader, size_t explicit_prompt, bool terminal, qa_error *err) {
    const bool single = loader->pairs->form->responses;
    const qa_dialogue *left = &loader->left;
    const qa_dialogue *right = single ? left : &loader->right;
    const qa_chat *chat = loader->chat;
    const bool given = explicit_prompt != QA_PROMPT_IMPLICIT;
    bool skipped = false;
    if (given && (left->n == explicit_prompt || right->n == explicit_prompt)) {
        return qa_pairs_skip(loader, QA_SKIP_RESPONSE_EMPTY, NULL, err);
    }
    if (!ends_with_assistant(left) || !ends_with_assistant(right)) {
        return qa_pairs_skip(loader, QA_SKIP_NO_ASSISTANT_TURN, NULL, err);
    }
    size_t n_prompt = left->n - 1;
    if (right->n != left->n || !qa_dialogue_same(left, right, n_prompt)) {
        return given ? add_turns(loader, explicit_prompt, err)
                     : qa_pairs_skip(loader, QA_SKIP_PROMPTS_DIFFER, NULL, err);
    }
    const qa_message *chosen = &left->messages[n_prompt];
    const qa_message *rejected = &right->messages[n_prompt];
    if (is_blank_answer(chat, chosen) || is_blank_answer(chat, rejected)) {
        return qa_pairs_skip(loader, QA_SKIP_RESPONSE_EMPTY, NULL, err);
    }
    if (!single && qa_dialogue_same(left, right, left->n)) {
        return qa_pairs_skip(loader, QA_SKIP_RESPONSES_EQUAL, NULL, err);
    }
    if (n_prompt == 0) {
        return qa_pairs_skip(loader, QA_SKIP_PROMPT_EMPTY,
                             single ? NULL : "no \"prompt\", and no turn before the answer", err);
    }
    QA_TRY(encode_dialogue_prompt(loader, n_prompt, &skipped, err));
    if (skipped) {
        return QA_OK;
    }
    QA_TRY(terminal ? encode_answer(loader, left, &loader->chosen, err) : encode_cut_answer(loader, left, err));
    loader->rejected.n = 0;
    QA_TRY(single ? QA_OK : encode_answer(loader, right, &loader->rejected, err));
    return qa_pairs_add_ids(loader, terminal, !single, err);
}

/* ---- strings ---- */

static qa_status encode_prompt_text(qa_pairs_loader *loader, const json_t *prompt, qa_error *err) {
    const char *text = json_string_value(prompt);
    const size_t bytes = json_string_length(prompt);
    qa_pairs_note(loader, QA_SEEN_OPEN_PROMPT, bytes > 0 && text[bytes - 1] == ' ');
    return encode_prompt(loader, text, bytes, false, err);
}

/* A special token at the end that ends no generated answer gets an end token behind it, which may not be meant. */
static void count_other_end(qa_pairs_loader *loader, const qa_ids *response) {
    const int32_t last = response->n > 0 ? response->data[response->n - 1] : -1;
    qa_pairs_note(loader, QA_SEEN_OTHER_END,
                  last >= 0 && qa_tokenizer_is_special(loader->tokenizer, last) &&
                      !qa_answer_end_has(&loader->end, last));
}

/* A response that is text; not terminal: it was cut off, and gets no end. */
static qa_status encode_response_text(qa_pairs_loader *loader, const json_t *text, bool terminal, qa_ids *response,
                                      qa_error *err) {
    QA_TRY(encode_response(loader, json_string_value(text), json_string_length(text), response, err));
    if (!terminal) {
        return QA_OK;
    }
    count_other_end(loader, response);
    QA_TRY(close_response(loader, response, err));
    note_inner_end(loader, response);
    return QA_OK;
}

qa_status qa_pairs_add_text(qa_pairs_loader *loader, const json_t *prompt, const json_t *chosen, const json_t *rejected,
                            bool terminal, qa_error *err) {
    const bool single = rejected == NULL;
    if (json_string_length(chosen) == 0 || (!single && json_string_length(rejected) == 0)) {
        return qa_pairs_skip(loader, QA_SKIP_RESPONSE_EMPTY, NULL, err);
    }
    loader->rejected.n = 0;
    QA_TRY(encode_prompt_text(loader, prompt, err));
    QA_TRY(encode_response_text(loader, chosen, terminal, &loader->chosen, err));
    QA_TRY(single ? QA_OK : encode_response_text(loader, rejected, true, &loader->rejected, err));
    return qa_pairs_add_ids(loader, terminal, !single, err);
}
