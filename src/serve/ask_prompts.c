/* See ask_prompts.h. */
#include "serve/ask_prompts.h"

#include "base/memory.h"
#include "base/try.h"
#include "text/text_begin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum prompt_kind { PROMPT_TEXT, PROMPT_IDS, PROMPT_MESSAGES, PROMPT_NONE } prompt_kind;

/* What one prompt is. An empty array could be ids or messages, and has no tokens either way. */
static prompt_kind kind_of(const json_t *value) {
    const json_t *first = json_array_get(value, 0);
    return json_is_string(value)                                 ? PROMPT_TEXT
           : json_is_array(value) && json_is_integer(first)      ? PROMPT_IDS
           : json_is_array(value) && json_is_object(first)       ? PROMPT_MESSAGES
           : json_is_array(value) && json_array_size(value) == 0 ? PROMPT_IDS
                                                                 : PROMPT_NONE;
}

qa_status qa_ask_encode_text(const qa_served *served, const json_t *text, bool add_special, const char *param,
                             qa_ids *ids, size_t *n_front, qa_refusal *refusal) {
    const char *data = json_string_value(text);
    const size_t bytes = json_string_length(text);
    qa_error *err = &refusal->err;
    const qa_ids *front = qa_text_begin(served->tokenizer);
    const qa_status status = add_special ? qa_encode_plain_text(served->tokenizer, data, bytes, ids, err)
                                         : qa_encode_rendered(served->tokenizer, data, bytes, ids, err);
    const bool begins = status == QA_OK && front->n > 0 && ids->n >= front->n &&
                        memcmp(ids->data, front->data, front->n * sizeof *front->data) == 0;
    *n_front = 0;
    if (begins) { /* unless the text brings them */
        qa_ids bare = {0};
        const qa_status again = qa_encode_rendered(served->tokenizer, data, bytes, &bare, err);
        *n_front = again == QA_OK && bare.n < ids->n ? ids->n - bare.n : 0;
        qa_ids_free(&bare);
        QA_TRY(qa_refuse_if_failed(refusal, again, param));
    }
    return qa_refuse_if_failed(refusal, status, param);
}

static qa_status check_length(const qa_served *served, const qa_ids *ids, size_t room, const char *param,
                              qa_refusal *refusal) {
    if (ids->n == 0) {
        return qa_refuse(refusal, 400, NULL, param, "%s has no tokens: give some text", param);
    }
    if (ids->n + room <= served->context) {
        return QA_OK;
    }
    return qa_refuse(refusal, 400, "context_length_exceeded", param,
                     "%s has %zu tokens, and the context holds %zu%s: shorten it (lm-evaluation-harness: "
                     "max_length=%zu)%s",
                     param, ids->n, served->context, room > 0 ? " with at least one for the answer" : "",
                     served->context,
                     served->context < served->model_context ? ", or start the server with a larger --ctx-size" : "");
}

static qa_status new_prompts(qa_ask_prompts *prompts, size_t n, qa_refusal *refusal) {
    return qa_refuse_if_failed(refusal, QA_NEW(prompts->items, n, &refusal->err, "%zu prompts", n), NULL);
}

static qa_status read_one(qa_ask_prompts *prompts, const qa_served *served, json_t *value, size_t room,
                          bool add_special, const char *param, qa_refusal *refusal) {
    qa_ask_prompt *prompt = &prompts->items[prompts->n++];
    const prompt_kind kind = kind_of(value);
    if (kind == PROMPT_TEXT) {
        prompt->text = json_string_value(value);
        prompt->bytes = json_string_length(value);
        QA_TRY(qa_ask_encode_text(served, value, add_special, param, &prompt->ids, &prompt->n_front, refusal));
    } else if (kind == PROMPT_IDS) {
        QA_TRY(qa_served_read_ids(served, value, param, &prompt->ids, refusal));
    } else {
        QA_TRY(qa_served_encode_dialogue(served, value, param, &prompt->ids, refusal));
        prompts->dialogues = true;
    }
    return check_length(served, &prompt->ids, room, param, refusal);
}

qa_status qa_ask_prompts_dialogue(qa_ask_prompts *prompts, const qa_served *served, json_t *messages, size_t room,
                                  const char *param, qa_refusal *refusal) {
    qa_ask_prompt *prompt = NULL;
    QA_TRY(new_prompts(prompts, 1, refusal));
    prompt = &prompts->items[prompts->n++];
    prompts->dialogues = true;
    QA_TRY(qa_served_encode_dialogue(served, messages, param, &prompt->ids, refusal));
    return check_length(served, &prompt->ids, room, param, refusal);
}

static qa_status read_list(qa_ask_prompts *prompts, const qa_served *served, json_t *list, size_t room,
                           bool add_special, qa_refusal *refusal) {
    const size_t n = json_array_size(list);
    const prompt_kind kind = kind_of(json_array_get(list, 0));
    if (n > QA_ASK_MAX_ANSWERS) {
        return qa_refuse(refusal, 400, NULL, "prompt", "%zu prompts: at most %d in one request", n, QA_ASK_MAX_ANSWERS);
    }
    QA_TRY(new_prompts(prompts, n, refusal));
    for (size_t i = 0; i < n; i++) {
        char param[QA_REFUSAL_PARAM_BYTES];
        json_t *value = json_array_get(list, i);
        (void)snprintf(param, sizeof param, "prompt[%zu]", i);
        if (kind_of(value) != kind) {
            return qa_refuse(refusal, 400, NULL, "prompt", "%s is of another kind than the first", param);
        }
        QA_TRY(read_one(prompts, served, value, room, add_special, param, refusal));
    }
    return QA_OK;
}

qa_status qa_ask_prompts_read(qa_ask_prompts *prompts, const qa_served *served, json_t *value, size_t room,
                              bool add_special, qa_refusal *refusal) {
    if (kind_of(value) != PROMPT_NONE) {
        QA_TRY(new_prompts(prompts, 1, refusal));
        return read_one(prompts, served, value, room, add_special, "prompt", refusal);
    }
    return json_is_array(value) && kind_of(json_array_get(value, 0)) != PROMPT_NONE
               ? read_list(prompts, served, value, room, add_special, refusal)
               : qa_refuse(
                     refusal, 400, NULL, "prompt",
                     "\"prompt\" must be a string, an array of strings, an array of token ids, an array of arrays "
                     "of token ids, or an array of messages");
}

void qa_ask_prompts_free(qa_ask_prompts *prompts) {
    for (size_t i = 0; i < prompts->n; i++) {
        qa_ids_free(&prompts->items[i].ids);
    }
    free(prompts->items);
    *prompts = (qa_ask_prompts){0};
}
