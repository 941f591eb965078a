/* What one process serves: a model, its tokenizer and chat template, adapters, each with the objective that it is read
 * with; and the names under which clients ask for them. */
#ifndef QA_SERVE_SERVED_H
#define QA_SERVE_SERVED_H

#include "infer/engine.h"
#include "serve/refusal.h"
#include "text/answer_end.h"
#include "text/chat.h"

typedef struct qa_served_adapter {
    const char *name; /* of the model that it makes: "custom"... */
    const qa_adapter *adapter;
    qa_objective objective;
} qa_served_adapter;

/* Everything is borrowed and does not change while it is served. */
typedef struct qa_served {
    qa_model *model; /* NULL in tests of the protocol */
    const qa_tokenizer *tokenizer;
    const qa_chat *chat;               /* NULL: none that can be used */
    const qa_answer_end *end;          /* what ends an answer */
    const char *template_text;         /* of the chat template; NULL: none */
    const char *pad_token;             /* NULL: none */
    const qa_served_adapter *adapters; /* [n_adapters] */
    size_t n_adapters;
    size_t vocab_size;    /* of the model */
    size_t context;       /* tokens of a prompt with its answer */
    size_t model_context; /* what it could be at most */
    long long created;    /* seconds since 1970 */
} qa_served;

/* The name of an adapter beside n - 1 others: "custom" where it is alone, else its folder's last name. Two of one name,
 * "base", and names with a colon are QA_ERR_ARGUMENT. names: [n], of QA_SERVED_NAME_BYTES each. */
enum { QA_SERVED_NAME_BYTES = 256 };
QA_MUST_CHECK qa_status qa_served_name(char (*names)[QA_SERVED_NAME_BYTES], const char *const *dirs, size_t n,
                                       qa_error *err);

/* A mixture that a name asks for. */
typedef struct qa_served_mixture {
    qa_mixture_part parts[QA_MIXTURE_PARTS];
    qa_mixture mixture; /* of them */
} qa_served_mixture;

/* Whom `name` asks: "base", an adapter's name, or that with dials: "custom:alpha-0=0.5,alpha-tilde=1"; or a mixture of
 * adapters with their weights, "mix:formal=1,short=0.5" (where no adapter is called mix). *objective gets the adapter's
 * objective with its dials, *mixed the mixture (NULL: it is refused); policy points to it. */
QA_MUST_CHECK qa_status qa_served_find(const qa_served *served, const char *name, qa_objective *objective,
                                       qa_served_mixture *mixed, qa_engine_policy *policy, qa_refusal *refusal);

/* The answer to GET /v1/models (name NULL), or to GET /v1/models/NAME. */
QA_MUST_CHECK qa_status qa_served_put_models(const qa_served *served, const char *name, qa_json_writer *out,
                                             qa_refusal *refusal);

/* Appends the ids of a dialogue as the chat template writes it, with the beginning of an answer. `messages`: a JSON
 * array of messages, whose contents may be lists of text parts. param: the field, for messages. */
QA_MUST_CHECK qa_status qa_served_encode_dialogue(const qa_served *served, json_t *messages, const char *param,
                                                  qa_ids *ids, qa_refusal *refusal);

/* Appends the ids of a JSON array of token ids, which must be the model's. */
QA_MUST_CHECK qa_status qa_served_read_ids(const qa_served *served, const json_t *array, const char *param, qa_ids *ids,
                                           qa_refusal *refusal);

#endif
