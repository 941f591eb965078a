/* See reply.h: how an answer grows. How it is written is in reply_json.c. */
#include "serve/reply.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- beginning and end ---- */

/* The prompt's text as it was given, or else as its ids read. */
static qa_status make_front(const qa_served *served, const qa_ask_prompt *prompt, qa_text *front, qa_error *err) {
    return prompt->text != NULL
               ? qa_text_append(front, prompt->text, prompt->bytes, err)
               : qa_tokenizer_decode(served->tokenizer, prompt->ids.data, prompt->ids.n, false, front, err);
}

static qa_status begin_choice(qa_reply *reply, size_t i, qa_error *err) {
    const qa_ask *ask = reply->ask;
    qa_choice *choice = &reply->choices[i];
    const qa_ask_prompt *prompt = choice->prompt = &ask->prompts.items[i / ask->n];
    choice->index = i;
    if (ask->echo) {
        choice->front = &reply->fronts[i / ask->n];
        QA_TRY(qa_decode_stream_create(&choice->echoed, reply->served->tokenizer, false, NULL, 0, err));
    }
    return qa_answer_text_begin(&choice->answer, reply->served->tokenizer, &ask->end, ask->stops, ask->n_stops,
                                prompt->ids.data, prompt->ids.n, err);
}

qa_status qa_reply_begin(qa_reply *reply, const qa_served *served, const qa_ask *ask, uint64_t number,
                         long long created, qa_error *err) {
    *reply = (qa_reply){.served = served, .ask = ask, .created = created};
    (void)snprintf(reply->id, sizeof reply->id, "%s-%llx", ask->chat ? "chatcmpl" : "cmpl", (unsigned long long)number);
    QA_TRY(QA_NEW(reply->choices, ask->prompts.n * ask->n, err, "%zu answers", ask->prompts.n * ask->n));
    reply->n_choices = ask->prompts.n * ask->n;
    QA_TRY(QA_NEW(reply->fronts, ask->prompts.n, err, "%zu prompts", ask->prompts.n));
    for (size_t i = 0; i < ask->prompts.n && ask->echo; i++) {
        QA_TRY(make_front(served, &ask->prompts.items[i], &reply->fronts[i], err));
    }
    for (size_t i = 0; i < reply->n_choices; i++) {
        QA_TRY(begin_choice(reply, i, err));
    }
    return QA_OK;
}

void qa_reply_free(qa_reply *reply) {
    for (size_t i = 0; i < reply->n_choices; i++) {
        qa_choice *choice = &reply->choices[i];
        qa_decode_stream_free(choice->echoed);
        qa_text_free(&choice->scratch);
        qa_answer_text_free(&choice->answer);
        free(choice->tokens);
        free(choice->best);
    }
    for (size_t i = 0; reply->fronts != NULL && i < reply->ask->prompts.n; i++) {
        qa_text_free(&reply->fronts[i]);
    }
    free(reply->fronts);
    free(reply->choices);
    qa_text_free(&reply->event.text);
    *reply = (qa_reply){0};
}

qa_request qa_reply_request(const qa_reply *reply, const qa_choice *choice) {
    const qa_ask *ask = reply->ask;
    return (qa_request){.policy = ask->policy,
                        .prompt = choice->prompt->ids.data,
                        .n_prompt = choice->prompt->ids.n,
                        .max_tokens = ask->max_tokens,
                        .sampling = ask->sampling,
                        .stream = {choice->index / ask->n, choice->index % ask->n},
                        .end_ids = ask->end.ids,
                        .n_end_ids = ask->end.n_ids,
                        .echo = ask->echo && ask->logprobs,
                        .n_best = ask->logprobs ? ask->n_best : 0};
}

/* ---- tokens ---- */

static size_t characters_in(const char *text, size_t bytes) {
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        n += ((unsigned char)text[i] & 0xc0U) != 0x80U;
    }
    return n;
}

static qa_status keep_token(const qa_reply *reply, qa_choice *choice, const qa_engine_token *token, qa_error *err) {
    const size_t wide = reply->ask->n_best;
    QA_TRY(QA_GROW(choice->tokens, choice->capacity, choice->n + 1, err, "log-probabilities"));
    QA_TRY(QA_GROW(choice->best, choice->best_capacity, (choice->n + 1) * wide + 1, err, "log-probabilities"));
    const size_t n_best = token->first ? 0 : token->n_best < wide ? token->n_best : wide;
    choice->tokens[choice->n] = (qa_reply_token){.id = token->id,
                                                 .first = token->first,
                                                 .log_pi = token->log_pi,
                                                 .offset = choice->characters,
                                                 .n_best = n_best};
    for (size_t i = 0; i < n_best; i++) {
        choice->best[choice->n * wide + i] = token->best[i];
    }
    choice->n++;
    return QA_OK;
}

/* A token of the prompt: what it adds to the text, unless the tokenizer put it in front of it. */
static qa_status take_of_prompt(qa_choice *choice, const qa_engine_token *token, qa_error *err) {
    choice->scratch.n = 0;
    if (choice->seen++ >= choice->prompt->n_front) {
        QA_TRY(qa_decode_stream_push(choice->echoed, token->id, &choice->scratch, err));
    }
    choice->characters += characters_in(choice->scratch.data, choice->scratch.n);
    return QA_OK;
}

static qa_status take_of_answer(const qa_reply *reply, qa_choice *choice, const qa_engine_token *token, bool *more,
                                qa_error *err) {
    qa_answer_text *answer = &choice->answer;
    if (choice->sampled++ == 0) {
        choice->characters = choice->front == NULL ? 0 : characters_in(choice->front->data, choice->front->n);
    }
    if (reply->ask->logprobs || reply->ask->return_ids) {
        QA_TRY(keep_token(reply, choice, token, err));
    }
    QA_TRY(qa_answer_text_take(answer, token->id, err));
    if (answer->text.n > choice->counted) { /* a stop text that is cut off makes it shorter */
        choice->characters += characters_in(answer->text.data + choice->counted, answer->text.n - choice->counted);
        choice->counted = answer->text.n;
    }
    *more = !answer->stopped;
    return QA_OK;
}

qa_status qa_reply_take(qa_reply *reply, qa_choice *choice, const qa_engine_token *token, bool *more, qa_error *err) {
    *more = true;
    if (!token->of_prompt) {
        return take_of_answer(reply, choice, token, more, err);
    }
    if (reply->ask->echo && reply->ask->logprobs) {
        QA_TRY(keep_token(reply, choice, token, err));
        QA_TRY(take_of_prompt(choice, token, err));
    }
    return QA_OK;
}

void qa_reply_end(qa_reply *reply, qa_choice *choice, qa_request_end end, const qa_error *err) {
    qa_refusal *failure = &reply->failure;
    if (choice->done) {
        return;
    }
    choice->done = true;
    reply->n_done++;
    qa_error finish = {0};
    const qa_status status = qa_answer_text_finish(&choice->answer, &finish);
    choice->stopped = choice->answer.stopped || choice->answer.ended || end == QA_END_TOKEN;
    if (failure->status != 0) {
        return;
    }
    if (end == QA_END_FAILED || status != QA_OK) {
        failure->err = end == QA_END_FAILED && err != NULL ? *err : finish;
        const qa_status code = failure->err.code == QA_OK ? QA_ERR_NAN : failure->err.code;
        (void)!qa_refuse_if_failed(failure, code == QA_ERR_MEMORY ? code : QA_ERR_NAN, NULL);
    } else if (end == QA_END_CANCELLED || (end == QA_END_CALLER && !choice->stopped)) {
        (void)qa_refuse(failure, 503, "cancelled", NULL, "the request was given up before its answer was complete");
    }
}

bool qa_reply_is_complete(const qa_reply *reply) {
    return reply->failure.status != 0 || reply->n_done == reply->n_choices;
}
