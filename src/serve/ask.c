/* See ask.h: the fields, one row each; what they mean together. The prompts are read in ask_prompts.c. */
#include "serve/ask.h"

#include "base/memory.h"
#include "base/try.h"
#include "serve/request_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- fields with a meaning of their own ---- */

/* One text that ends an answer. Where it is an added token's, the token itself does, since the text of an answer does
 * not have special tokens in it. */
static qa_status add_stop(qa_ask *ask, const qa_served *served, const json_t *value, qa_refusal *refusal) {
    const char *text = json_string_value(value);
    if (text == NULL || text[0] == '\0' || strlen(text) != json_string_length(value)) {
        return qa_refuse(refusal, 400, NULL, "stop",
                         "\"stop\" must be a string or an array of at most %d strings, none of them empty or with NUL "
                         "characters",
                         QA_ASK_MAX_STOPS);
    }
    const int32_t id = qa_tokenizer_token_id(served->tokenizer, text);
    if (id >= 0 && qa_tokenizer_is_special(served->tokenizer, id) && !qa_answer_end_has(&ask->end, id) &&
        ask->end.n_ids < QA_MAX_END_IDS) {
        ask->end.ids[ask->end.n_ids++] = id;
    }
    ask->stops[ask->n_stops++] = text;
    return QA_OK;
}

static qa_status read_stop(qa_ask *ask, const qa_served *served, json_t *value, qa_refusal *refusal) {
    const size_t n = json_is_array(value) ? json_array_size(value) : 1;
    if (n > QA_ASK_MAX_STOPS) {
        return qa_refuse(refusal, 400, NULL, "stop", "\"stop\" has %zu texts, at most %d are taken", n,
                         QA_ASK_MAX_STOPS);
    }
    for (size_t i = 0; i < n; i++) {
        QA_TRY(add_stop(ask, served, json_is_array(value) ? json_array_get(value, i) : value, refusal));
    }
    return QA_OK;
}

static qa_status read_seed(qa_ask *ask, const qa_served *served, json_t *value, qa_refusal *refusal) {
    (void)served;
    if (!json_is_integer(value)) {
        return qa_refuse(refusal, 400, NULL, "seed", "\"seed\" must be a whole number");
    }
    ask->sampling.seed = (uint64_t)json_integer_value(value);
    ask->seeded = true;
    return QA_OK;
}

/* In completions how many likeliest tokens, in chat whether there are to be log-probabilities. */
static qa_status read_logprobs(qa_ask *ask, const qa_served *served, json_t *value, qa_refusal *refusal) {
    (void)served;
    const json_int_t n = json_integer_value(value);
    if (ask->chat ? !json_is_boolean(value) : !json_is_integer(value) || n < 0 || n > QA_ASK_MAX_BEST) {
        return ask->chat ? qa_refuse(refusal, 400, NULL, "logprobs",
                                     "\"logprobs\" of a chat must be true or false (\"top_logprobs\" is the number)")
                         : qa_refuse(refusal, 400, NULL, "logprobs", "\"logprobs\" must be a whole number from 0 to %d",
                                     QA_ASK_MAX_BEST);
    }
    ask->logprobs = !ask->chat || json_is_true(value);
    ask->n_best = ask->chat ? ask->n_best : (size_t)n;
    return QA_OK;
}

static qa_status read_stream_options(qa_ask *ask, const qa_served *served, json_t *value, qa_refusal *refusal) {
    static const char *const known[] = {"include_usage", "include_obfuscation", NULL};
    (void)served;
    if (!json_is_object(value)) {
        return qa_refuse(refusal, 400, NULL, "stream_options", "\"stream_options\" must be an object");
    }
    QA_TRY(qa_body_only(value, known, refusal));
    return qa_body_flag(value, "include_usage", &ask->include_usage, refusal);
}

static qa_status read_prompt_field(qa_ask *ask, const qa_served *served, json_t *value, qa_refusal *refusal) {
    return qa_ask_prompts_read(&ask->prompts, served, value, ask->max_tokens > 0 ? 1 : 0, ask->add_special, refusal);
}

static qa_status read_messages(qa_ask *ask, const qa_served *served, json_t *value, qa_refusal *refusal) {
    return qa_ask_prompts_dialogue(&ask->prompts, served, value, ask->max_tokens > 0 ? 1 : 0, "messages", refusal);
}

/* ---- one row a field ---- */

typedef enum field_kind {
    FIELD_COUNT,   /* a whole number from `least` to `most`, into a size_t */
    FIELD_NUMBER,  /* a number of that range, into a double */
    FIELD_FLAG,    /* true or false, into a bool */
    FIELD_READ,    /* what `read` makes of it */
    FIELD_IGNORED, /* it does not change the answer */
    FIELD_NEUTRAL  /* it would, and is taken only where it says what happens anyway: `neutral`, as JSON */
} field_kind;

enum { IN_TEXT = 1, IN_CHAT = 2, IN_BOTH = 3 };

typedef struct field {
    const char *name;
    unsigned where;
    field_kind kind;
    size_t offset;
    double least, most; /* most 0: the context */
    qa_status (*read)(qa_ask *ask, const qa_served *served, json_t *value, qa_refusal *refusal);
    const char *neutral;
} field;

#define AT(member) offsetof(qa_ask, member)
#define NUMBER(name, member, least, most)                                                                              \
    { name, IN_BOTH, FIELD_NUMBER, AT(member), least, most, NULL, NULL }
#define COUNT_OF(name, where, member, least, most)                                                                     \
    { name, where, FIELD_COUNT, AT(member), least, most, NULL, NULL }
#define FLAG(name, where, member)                                                                                      \
    { name, where, FIELD_FLAG, AT(member), 0, 0, NULL, NULL }
#define READ(name, where, how)                                                                                         \
    { name, where, FIELD_READ, 0, 0, 0, how, NULL }
#define IGNORED(name)                                                                                                  \
    { name, IN_BOTH, FIELD_IGNORED, 0, 0, 0, NULL, NULL }
#define NEUTRAL(name, where, json)                                                                                     \
    { name, where, FIELD_NEUTRAL, 0, 0, 0, NULL, json }

/* What others depend on stands first: max_tokens before the prompts, the stops before nothing. */
static const field fields[] = {
    COUNT_OF("n", IN_BOTH, n, 1, QA_ASK_MAX_N),
    COUNT_OF("max_tokens", IN_BOTH, max_tokens, 0, 0),
    COUNT_OF("max_completion_tokens", IN_CHAT, max_tokens, 0, 0),
    NUMBER("temperature", sampling.temperature, 0, 2),
    NUMBER("top_p", sampling.top_p, 0, 1),
    NUMBER("min_p", sampling.min_p, 0, 1),
    NUMBER("repetition_penalty", sampling.repetition_penalty, 0.01, 100),
    COUNT_OF("top_k", IN_BOTH, sampling.top_k, -1, 1 << 30),
    READ("seed", IN_BOTH, read_seed),
    FLAG("stream", IN_BOTH, stream),
    READ("stream_options", IN_BOTH, read_stream_options),
    FLAG("echo", IN_TEXT, echo),
    FLAG("return_token_ids", IN_BOTH, return_ids),
    FLAG("ignore_eos", IN_BOTH, ignore_eos),
    FLAG("add_special_tokens", IN_TEXT, add_special),
    READ("logprobs", IN_BOTH, read_logprobs),
    COUNT_OF("top_logprobs", IN_CHAT, n_best, 0, QA_ASK_MAX_BEST),
    READ("stop", IN_BOTH, read_stop),
    READ("prompt", IN_TEXT, read_prompt_field),
    READ("messages", IN_CHAT, read_messages),
    IGNORED("model"), /* read first */
    IGNORED("user"),
    IGNORED("metadata"),
    IGNORED("store"),
    IGNORED("service_tier"),
    IGNORED("safety_identifier"),
    IGNORED("prompt_cache_key"),
    IGNORED("prompt_cache_retention"),
    IGNORED("parallel_tool_calls"),
    NEUTRAL("frequency_penalty", IN_BOTH, "0"),
    NEUTRAL("presence_penalty", IN_BOTH, "0"),
    NEUTRAL("logit_bias", IN_BOTH, "{}"),
    NEUTRAL("best_of", IN_TEXT, "1"),
    NEUTRAL("suffix", IN_TEXT, "\"\""),
    NEUTRAL("tools", IN_CHAT, "[]"),
    NEUTRAL("functions", IN_CHAT, "[]"),
    NEUTRAL("tool_choice", IN_CHAT, "\"none\""),
    NEUTRAL("function_call", IN_CHAT, "\"none\""),
    NEUTRAL("response_format", IN_BOTH, "{\"type\": \"text\"}"),
    NEUTRAL("modalities", IN_CHAT, "[\"text\"]"),
    NEUTRAL("echo", IN_CHAT, "false"),
    NEUTRAL("min_tokens", IN_BOTH, "0"),
    NEUTRAL("length_penalty", IN_BOTH, "1"),
    NEUTRAL("use_beam_search", IN_BOTH, "false"),
    NEUTRAL("include_stop_str_in_output", IN_BOTH, "false"),
    NEUTRAL("stop_token_ids", IN_BOTH, "[]"),
    NEUTRAL("skip_special_tokens", IN_BOTH, "true"),
    NEUTRAL("add_generation_prompt", IN_CHAT, "true"),
    NEUTRAL("continue_final_message", IN_CHAT, "false"),
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static const field *find_field(const char *name, bool chat) {
    for (size_t i = 0; i < FIELDS; i++) {
        if (strcmp(fields[i].name, name) == 0 && (fields[i].where & (chat ? IN_CHAT : IN_TEXT)) != 0) {
            return &fields[i];
        }
    }
    return NULL;
}

static qa_status read_number_field(const field *row, qa_ask *ask, const qa_served *served, const json_t *value,
                                   qa_refusal *refusal) {
    void *to = (char *)ask + row->offset;
    const double most = row->most == 0 ? (double)served->context : row->most;
    const double x = json_number_value(value);
    const bool whole = row->kind == FIELD_COUNT;
    if ((whole ? !json_is_integer(value) : !json_is_number(value)) || !isfinite(x) || x < row->least || x > most) {
        return qa_refuse(refusal, 400, NULL, row->name, "\"%s\" must be a %snumber from %g to %.10g%s", row->name,
                         whole ? "whole " : "", row->least, most, row->most == 0 ? ", the context in tokens" : "");
    }
    if (whole) {
        *(size_t *)to = x < 0 ? 0 : (size_t)x;
    } else {
        *(double *)to = x;
    }
    return QA_OK;
}

/* 0 and 0.0 are the same. */
static bool same_json(const json_t *a, const json_t *b) {
    return json_is_number(a) && json_is_number(b)
               ? !(json_number_value(a) < json_number_value(b)) && !(json_number_value(a) > json_number_value(b))
               : json_equal(a, b) != 0;
}

static qa_status check_neutral(const field *row, const json_t *value, qa_refusal *refusal) {
    json_t *neutral = json_loads(row->neutral, JSON_DECODE_ANY, NULL);
    const bool same = neutral != NULL && same_json(neutral, value);
    json_decref(neutral);
    return same ? QA_OK
                : qa_refuse(refusal, 400, "unsupported_parameter", row->name,
                            "\"%s\" would change the answer and is not supported: leave it out, or give %s", row->name,
                            row->neutral);
}

static qa_status read_field(const field *row, qa_ask *ask, const qa_served *served, json_t *value,
                            qa_refusal *refusal) {
    switch (row->kind) {
    case FIELD_COUNT:
    case FIELD_NUMBER: return read_number_field(row, ask, served, value, refusal);
    case FIELD_FLAG: return qa_body_flag(ask->root, row->name, (bool *)((char *)ask + row->offset), refusal);
    case FIELD_READ: return row->read(ask, served, value, refusal);
    case FIELD_NEUTRAL: return check_neutral(row, value, refusal);
    case FIELD_IGNORED: break;
    }
    return QA_OK;
}

/* ---- the whole ---- */

static qa_status check_fields(const qa_ask *ask, qa_refusal *refusal) {
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(ask->root, key, value) {
        if (find_field(key, ask->chat) == NULL) {
            return qa_refuse(refusal, 400, "unknown_parameter", key, "\"%.64s\" is no field of this request%s", key,
                             find_field(key, !ask->chat) == NULL ? ""
                             : ask->chat                         ? ", but of POST /v1/completions"
                                                                 : ", but of POST /v1/chat/completions");
        }
    }
    return QA_OK;
}

static qa_status read_model(qa_ask *ask, const qa_served *served, qa_refusal *refusal) {
    QA_TRY(qa_body_string(ask->root, "model", &ask->model, refusal));
    if (ask->model == NULL) {
        return qa_refuse(refusal, 400, NULL, "model", "\"model\" is missing (GET /v1/models lists the names)");
    }
    return qa_served_find(served, ask->model, &ask->objective, &ask->mixed, &ask->policy, refusal);
}

static qa_status begin_ask(qa_ask *ask, const qa_served *served, qa_refusal *refusal) {
    enum { TEXT_MAX_TOKENS = 16 }; /* OpenAI's */
    ask->n = 1;
    ask->add_special = true;
    ask->sampling = qa_sampling_defaults();
    ask->max_tokens = ask->chat || served->context < TEXT_MAX_TOKENS ? served->context : TEXT_MAX_TOKENS;
    ask->end = *served->end;
    return qa_refuse_if_failed(
        refusal, QA_NEW(ask->stops, QA_ASK_MAX_STOPS + QA_MAX_END_TEXTS, &refusal->err, "stop texts"), NULL);
}

/* What the fields mean together. */
static qa_status settle(qa_ask *ask, qa_refusal *refusal) {
    size_t answers = 0, tokens = 0, entries = 0;
    if (qa_body_member(ask->root, "max_completion_tokens") != NULL && qa_body_member(ask->root, "max_tokens") != NULL) {
        return qa_refuse(refusal, 400, NULL, "max_tokens", "\"max_tokens\" and \"max_completion_tokens\" are the same");
    }
    if (ask->prompts.n == 0) {
        return qa_refuse(refusal, 400, NULL, ask->chat ? "messages" : "prompt", "\"%s\" is missing",
                         ask->chat ? "messages" : "prompt");
    }
    if (ask->chat && ask->n_best > 0 && !ask->logprobs) {
        return qa_refuse(refusal, 400, NULL, "top_logprobs", "\"top_logprobs\" needs \"logprobs\": true");
    }
    if (ask->include_usage && !ask->stream) {
        return qa_refuse(refusal, 400, NULL, "stream_options", "\"stream_options\" needs \"stream\": true");
    }
    for (size_t i = 0; i < ask->prompts.n; i++) {
        tokens += ask->max_tokens + (ask->echo ? ask->prompts.items[i].ids.n : 0); /* each at most the context */
    }
    if (!qa_mul_size(ask->prompts.n, ask->n, &answers) || answers > QA_ASK_MAX_ANSWERS) {
        return qa_refuse(refusal, 400, NULL, ask->n > 1 ? "n" : "prompt",
                         "%zu prompts, %zu answers to each: at most %d answers to one request", ask->prompts.n, ask->n,
                         QA_ASK_MAX_ANSWERS);
    }
    if (ask->logprobs && (!qa_mul_size(tokens, ask->n * (ask->n_best + 1), &entries) || entries > QA_ASK_MAX_ENTRIES)) {
        return qa_refuse(refusal, 400, NULL, "logprobs",
                         "up to %zu log-probabilities in one answer, at most %d: ask for fewer prompts, answers or "
                         "tokens at once",
                         entries, QA_ASK_MAX_ENTRIES);
    }
    for (size_t i = 0; i < ask->end.n_texts && ask->prompts.dialogues && !ask->ignore_eos; i++) {
        ask->stops[ask->n_stops++] = ask->end.texts[i];
    }
    ask->end.n_ids = ask->ignore_eos ? 0 : ask->end.n_ids;
    return qa_refuse_if_failed(refusal, qa_sampling_check(&ask->sampling, &refusal->err), NULL);
}

qa_status qa_ask_read(qa_ask *ask, const qa_served *served, bool chat, const char *body, size_t bytes,
                      qa_refusal *refusal) {
    ask->chat = chat;
    QA_TRY(qa_body_parse(&ask->root, body, bytes, refusal));
    QA_TRY(read_model(ask, served, refusal));
    QA_TRY(check_fields(ask, refusal));
    QA_TRY(begin_ask(ask, served, refusal));
    for (size_t i = 0; i < FIELDS; i++) {
        json_t *value = qa_body_member(ask->root, fields[i].name);
        if (value != NULL && (fields[i].where & (chat ? IN_CHAT : IN_TEXT)) != 0) {
            QA_TRY(read_field(&fields[i], ask, served, value, refusal));
        }
    }
    return settle(ask, refusal);
}

void qa_ask_free(qa_ask *ask) {
    qa_ask_prompts_free(&ask->prompts);
    free(ask->stops);
    json_decref(ask->root);
    *ask = (qa_ask){0};
}
