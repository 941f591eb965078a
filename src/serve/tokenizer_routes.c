/* See tokenizer_routes.h. */
#include "serve/tokenizer_routes.h"

#include "base/try.h"
#include "serve/ask_prompts.h"
#include "serve/request_json.h"

void qa_put_tokenizer_info(const qa_served *served, qa_json_writer *out) {
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_put_string(out, "eos_token", qa_tokenizer_eos_text(served->tokenizer));
    qa_json_put_string(out, "bos_token", qa_tokenizer_bos_text(served->tokenizer));
    qa_json_put_string(out, "pad_token", served->pad_token);
    qa_json_put_string(out, "chat_template", served->template_text);
    qa_json_close(out);
}

static qa_status tokenize(const qa_served *served, json_t *root, qa_ids *ids, qa_refusal *refusal) {
    static const char *const known[] = {"model", "prompt", "messages", "add_special_tokens", "add_generation_prompt",
                                        NULL};
    json_t *prompt = qa_body_member(root, "prompt"), *messages = qa_body_member(root, "messages");
    bool add_special = true, prompts = true;
    size_t n_front = 0;
    QA_TRY(qa_body_only(root, known, refusal));
    QA_TRY(qa_body_flag(root, "add_special_tokens", &add_special, refusal));
    QA_TRY(qa_body_flag(root, "add_generation_prompt", &prompts, refusal));
    if (!prompts) {
        return qa_refuse(refusal, 400, "unsupported_parameter", "add_generation_prompt",
                         "\"add_generation_prompt\" must be true: dialogues are prompts here");
    }
    if ((prompt == NULL) == (messages == NULL)) {
        return qa_refuse(refusal, 400, NULL, "prompt", "one of \"prompt\" and \"messages\" must be given");
    }
    if (messages != NULL || json_is_array(prompt)) {
        return qa_served_encode_dialogue(served, messages != NULL ? messages : prompt,
                                         messages != NULL ? "messages" : "prompt", ids, refusal);
    }
    return json_is_string(prompt)
               ? qa_ask_encode_text(served, prompt, add_special, "prompt", ids, &n_front, refusal)
               : qa_refuse(refusal, 400, NULL, "prompt", "\"prompt\" must be a string or an array of messages");
}

qa_status qa_put_tokenized(const qa_served *served, const char *body, size_t bytes, qa_json_writer *out,
                           qa_refusal *refusal) {
    json_t *root = NULL;
    qa_ids ids = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_body_parse(&root, body, bytes, refusal));
    QA_GOTO(done, tokenize(served, root, &ids, refusal));
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_put_id_array(out, "tokens", ids.data, ids.n);
    qa_json_put_size(out, "count", ids.n);
    qa_json_put_size(out, "max_model_len", served->context);
    qa_json_close(out);
done:
    json_decref(root);
    qa_ids_free(&ids);
    return status;
}

qa_status qa_put_detokenized(const qa_served *served, const char *body, size_t bytes, qa_json_writer *out,
                             qa_refusal *refusal) {
    static const char *const known[] = {"model", "tokens", NULL};
    json_t *root = NULL;
    qa_ids ids = {0};
    qa_text text = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_body_parse(&root, body, bytes, refusal));
    QA_GOTO(done, qa_body_only(root, known, refusal));
    const json_t *tokens = json_object_get(root, "tokens");
    if (!json_is_array(tokens)) {
        status = qa_refuse(refusal, 400, NULL, "tokens", "\"tokens\" must be an array of token ids");
        goto done;
    }
    QA_GOTO(done, qa_served_read_ids(served, tokens, "tokens", &ids, refusal));
    QA_GOTO(done, qa_refuse_if_failed(
                      refusal, qa_tokenizer_decode(served->tokenizer, ids.data, ids.n, false, &text, &refusal->err),
                      "tokens"));
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_put_text(out, "prompt", text.data == NULL ? "" : text.data, text.n);
    qa_json_close(out);
done:
    json_decref(root);
    qa_ids_free(&ids);
    qa_text_free(&text);
    return status;
}
