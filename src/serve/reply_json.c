/* See reply_json.h. */
#include "serve/reply_json.h"

#include "base/buffer.h"
#include "base/checked.h"
#include "base/try.h"
#include "inspect/rows.h"
#include "text/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- log-probabilities ---- */

static double finite_log(double log_pi) { return isfinite(log_pi) ? log_pi : QA_LOG_OF_NOTHING; }

/* The token's text, never NULL, into *text, whose old content goes. */
static void read_token(const qa_reply *reply, qa_json_writer *out, int32_t id, qa_text *text) {
    text->n = 0;
    if (out->status == QA_OK) {
        out->status = qa_text_append(text, "", 0, out->err);
    }
    if (out->status == QA_OK) {
        out->status = qa_token_text(reply->served->tokenizer, id, text, out->err);
    }
}

static void put_token_text(const qa_reply *reply, qa_json_writer *out, const char *key, int32_t id) {
    qa_text text = {0};
    read_token(reply, out, id, &text);
    qa_json_put_text(out, key, text.data, text.n);
    qa_text_free(&text);
}

/* {" the": -0.5, ...}, best first. Two ids may read alike (parts of a character do); the first, which is the larger,
 * stands. The token itself is always in there. */
static void put_top(const qa_reply *reply, qa_json_writer *out, const qa_reply_token *token,
                    const qa_likely_token *best) {
    qa_text texts[QA_ASK_MAX_BEST + 1] = {0};
    size_t n = 0;
    qa_json_open_object(out, NULL, QA_JSON_TIGHT);
    for (size_t i = 0; i <= token->n_best; i++) {
        const qa_likely_token own = {token->id, token->log_pi};
        const qa_likely_token *one = i < token->n_best ? &best[i] : &own;
        qa_text *text = &texts[n];
        bool there = false;
        read_token(reply, out, one->id, text);
        for (size_t k = 0; k < n && out->status == QA_OK; k++) {
            there = there || strcmp(texts[k].data, text->data) == 0; /* as a key ends at a NUL */
        }
        if (out->status == QA_OK && !there) {
            qa_json_put_number(out, text->data, finite_log(one->log_pi));
            n++;
        }
    }
    qa_json_close(out);
    for (size_t i = 0; i <= QA_ASK_MAX_BEST; i++) {
        qa_text_free(&texts[i]);
    }
}

/* Of completions, for tokens [from, to): four arrays. */
static void put_text_logprobs(const qa_reply *reply, qa_json_writer *out, const qa_choice *choice, size_t from,
                              size_t to) {
    const size_t wide = reply->ask->n_best;
    qa_json_open_object(out, "logprobs", QA_JSON_TIGHT);
    qa_json_open_array(out, "tokens", QA_JSON_TIGHT);
    for (size_t i = from; i < to; i++) {
        put_token_text(reply, out, NULL, choice->tokens[i].id);
    }
    qa_json_close(out);
    qa_json_open_array(out, "token_logprobs", QA_JSON_TIGHT);
    for (size_t i = from; i < to; i++) {
        if (choice->tokens[i].first) {
            qa_json_put_string(out, NULL, NULL);
        } else {
            qa_json_put_number(out, NULL, finite_log(choice->tokens[i].log_pi));
        }
    }
    qa_json_close(out);
    qa_json_open_array(out, "top_logprobs", QA_JSON_TIGHT);
    for (size_t i = from; i < to; i++) {
        if (choice->tokens[i].first) {
            qa_json_put_string(out, NULL, NULL);
        } else {
            put_top(reply, out, &choice->tokens[i], choice->best + i * wide);
        }
    }
    qa_json_close(out);
    qa_json_open_array(out, "text_offset", QA_JSON_TIGHT);
    for (size_t i = from; i < to; i++) {
        qa_json_put_size(out, NULL, choice->tokens[i].offset);
    }
    qa_json_close(out);
    qa_json_close(out);
}

/* "token", "logprob", "bytes" into the object that is open. */
static void put_chat_token(const qa_reply *reply, qa_json_writer *out, int32_t id, double log_pi) {
    qa_text text = {0};
    read_token(reply, out, id, &text);
    qa_json_put_text(out, "token", text.data, text.n);
    qa_json_put_number(out, "logprob", finite_log(log_pi));
    if (text.n > 0 && strstr(text.data, QA_REPLACEMENT) != NULL) {
        qa_json_put_string(out, "bytes", NULL); /* a part of a character */
    } else {
        qa_json_open_array(out, "bytes", QA_JSON_TIGHT);
        for (size_t i = 0; i < text.n; i++) {
            qa_json_put_size(out, NULL, (unsigned char)text.data[i]);
        }
        qa_json_close(out);
    }
    qa_text_free(&text);
}

static void put_chat_logprobs(const qa_reply *reply, qa_json_writer *out, const qa_choice *choice, size_t from,
                              size_t to) {
    qa_json_open_object(out, "logprobs", QA_JSON_TIGHT);
    qa_json_open_array(out, "content", QA_JSON_TIGHT);
    for (size_t i = from; i < to; i++) {
        const qa_likely_token *best = choice->best + i * reply->ask->n_best;
        qa_json_open_object(out, NULL, QA_JSON_TIGHT);
        put_chat_token(reply, out, choice->tokens[i].id, choice->tokens[i].log_pi);
        qa_json_open_array(out, "top_logprobs", QA_JSON_TIGHT);
        for (size_t k = 0; k < choice->tokens[i].n_best; k++) {
            qa_json_open_object(out, NULL, QA_JSON_TIGHT);
            put_chat_token(reply, out, best[k].id, best[k].log_pi);
            qa_json_close(out);
        }
        qa_json_close(out);
        qa_json_close(out);
    }
    qa_json_close(out);
    qa_json_put_string(out, "refusal", NULL);
    qa_json_close(out);
}

/* "logprobs" of the tokens [from, to), and where they are asked for the ids of those that are the answer's. */
static void put_tokens(const qa_reply *reply, qa_json_writer *out, const qa_choice *choice, size_t from, size_t to) {
    if (!reply->ask->logprobs) {
        qa_json_put_string(out, "logprobs", NULL);
    } else if (reply->ask->chat) {
        put_chat_logprobs(reply, out, choice, from, to);
    } else {
        put_text_logprobs(reply, out, choice, from, to);
    }
    if (reply->ask->return_ids) {
        qa_json_open_array(out, "token_ids", QA_JSON_TIGHT);
        for (size_t i = qa_larger(from, choice->seen); i < to; i++) {
            qa_json_put_ids(out, &choice->tokens[i].id, 1);
        }
        qa_json_close(out);
    }
}

/* ---- what answers and events share ---- */

static const char *finish_of(const qa_choice *choice) { return choice->stopped ? "stop" : "length"; }

static void put_head(const qa_reply *reply, qa_json_writer *out) {
    const bool chat = reply->ask->chat;
    qa_json_open_object(out, NULL, QA_JSON_TIGHT);
    qa_json_put_string(out, "id", reply->id);
    qa_json_put_string(out, "object",
                       !chat                ? "text_completion"
                       : reply->ask->stream ? "chat.completion.chunk"
                                            : "chat.completion");
    qa_json_put_size(out, "created", (size_t)reply->created);
    qa_json_put_string(out, "model", reply->ask->model);
}

static void put_usage(const qa_reply *reply, qa_json_writer *out) {
    size_t prompt = 0, sampled = 0;
    for (size_t i = 0; i < reply->ask->prompts.n; i++) {
        prompt += reply->ask->prompts.items[i].ids.n;
    }
    for (size_t i = 0; i < reply->n_choices; i++) {
        sampled += reply->choices[i].sampled;
    }
    qa_json_open_object(out, "usage", QA_JSON_TIGHT);
    qa_json_put_size(out, "prompt_tokens", prompt);
    qa_json_put_size(out, "completion_tokens", sampled);
    qa_json_put_size(out, "total_tokens", prompt + sampled);
    qa_json_close(out);
}

/* ---- the whole answer ---- */

static void put_choice(const qa_reply *reply, qa_json_writer *out, const qa_choice *choice) {
    const qa_text *text = &choice->answer.text;
    qa_json_open_object(out, NULL, QA_JSON_TIGHT);
    qa_json_put_size(out, "index", choice->index);
    if (reply->ask->chat) {
        qa_json_open_object(out, "message", QA_JSON_TIGHT);
        qa_json_put_string(out, "role", "assistant");
        qa_json_put_text(out, "content", text->data, text->n);
        qa_json_put_string(out, "refusal", NULL);
        qa_json_close(out);
    } else {
        qa_text whole = {0};
        if (choice->front != NULL && out->status == QA_OK) {
            out->status = qa_text_append(&whole, choice->front->data, choice->front->n, out->err);
        }
        if (out->status == QA_OK) {
            out->status = qa_text_append(&whole, text->data, text->n, out->err);
        }
        qa_json_put_text(out, "text", whole.data == NULL ? "" : whole.data, whole.n);
        qa_text_free(&whole);
    }
    put_tokens(reply, out, choice, 0, choice->n);
    qa_json_put_string(out, "finish_reason", finish_of(choice));
    qa_json_close(out);
}

void qa_reply_put(const qa_reply *reply, qa_json_writer *out) {
    put_head(reply, out);
    qa_json_open_array(out, "choices", QA_JSON_TIGHT);
    for (size_t i = 0; i < reply->n_choices; i++) {
        put_choice(reply, out, &reply->choices[i]);
    }
    qa_json_close(out);
    put_usage(reply, out);
    qa_json_close(out);
}

/* ---- events ---- */

static qa_status end_event(qa_reply *reply, qa_text *out, qa_error *err) {
    QA_TRY(reply->event.status);
    QA_TRY(qa_text_append_z(out, "data: ", err));
    QA_TRY(qa_text_append(out, reply->event.text.data, reply->event.text.n, err));
    return qa_text_append_z(out, "\n\n", err);
}

/* One event of a choice: text[bytes], the tokens up to `to`, and why it ended (NULL: it goes on). */
static qa_status put_event(qa_reply *reply, qa_choice *choice, const char *text, size_t bytes, size_t to,
                           const char *finish, qa_text *out, qa_error *err) {
    qa_json_writer *event = &reply->event;
    qa_json_restart(event, err);
    put_head(reply, event);
    qa_json_open_array(event, "choices", QA_JSON_TIGHT);
    qa_json_open_object(event, NULL, QA_JSON_TIGHT);
    qa_json_put_size(event, "index", choice->index);
    if (!reply->ask->chat) {
        qa_json_put_text(event, "text", text, bytes);
    } else {
        qa_json_open_object(event, "delta", QA_JSON_TIGHT);
        if (!choice->begun) {
            qa_json_put_string(event, "role", "assistant");
        }
        if (!choice->begun || bytes > 0 || finish == NULL) {
            qa_json_put_text(event, "content", text, bytes);
        }
        qa_json_close(event);
    }
    if (to > choice->sent_of) {
        put_tokens(reply, event, choice, choice->sent_of, to);
    } else {
        qa_json_put_string(event, "logprobs", NULL);
    }
    qa_json_put_string(event, "finish_reason", finish);
    qa_json_close(event);
    qa_json_close(event);
    if (reply->ask->include_usage) {
        qa_json_put_string(event, "usage", NULL);
    }
    qa_json_close(event);
    choice->begun = true;
    choice->sent_of = to;
    return end_event(reply, out, err);
}

static qa_status put_choice_events(qa_reply *reply, qa_choice *choice, qa_text *out, qa_error *err) {
    const qa_answer_text *answer = &choice->answer;
    const bool chat = reply->ask->chat;
    if (!choice->begun && (chat || choice->front != NULL)) {
        const qa_text *front = choice->front;
        QA_TRY(put_event(reply, choice, chat ? "" : front->data, chat ? 0 : front->n, 0, NULL, out, err));
    }
    if (answer->certain > choice->sent || choice->n > choice->sent_of) {
        const size_t from = choice->sent;
        choice->sent = answer->certain;
        QA_TRY(put_event(reply, choice, answer->text.data + from, answer->certain - from, choice->n, NULL, out, err));
    }
    if (choice->done && !choice->closed) {
        choice->closed = true;
        QA_TRY(put_event(reply, choice, "", 0, choice->n, finish_of(choice), out, err));
    }
    return QA_OK;
}

static qa_status put_usage_event(qa_reply *reply, qa_text *out, qa_error *err) {
    qa_json_writer *event = &reply->event;
    qa_json_restart(event, err);
    put_head(reply, event);
    qa_json_open_array(event, "choices", QA_JSON_TIGHT);
    qa_json_close(event);
    put_usage(reply, event);
    qa_json_close(event);
    return end_event(reply, out, err);
}

qa_status qa_reply_put_events(qa_reply *reply, qa_text *out, qa_error *err) {
    if (reply->over) {
        return QA_OK;
    }
    if (reply->failure.status != 0) { /* what there is was an answer that is not whole: its end is an error */
        reply->over = true;
        qa_json_restart(&reply->event, err);
        qa_refusal_put(&reply->event, &reply->failure);
        return end_event(reply, out, err);
    }
    for (size_t i = 0; i < reply->n_choices; i++) {
        QA_TRY(put_choice_events(reply, &reply->choices[i], out, err));
    }
    if (reply->n_done == reply->n_choices) {
        reply->over = true;
        if (reply->ask->include_usage) {
            QA_TRY(put_usage_event(reply, out, err));
        }
        QA_TRY(qa_text_append_z(out, "data: [DONE]\n\n", err));
    }
    return QA_OK;
}
