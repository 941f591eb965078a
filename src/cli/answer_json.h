/* A generated answer's values, token by token, as JSON: what `generate --json` adds to an answer. */
#ifndef QA_CLI_ANSWER_JSON_H
#define QA_CLI_ANSWER_JSON_H

#include "io/json_writer.h"
#include "qadapter/infer.h"
#include "qadapter/text.h"

typedef struct cli_answer_values {
    const int32_t *ids;           /* [n] sampled, the end token included */
    const qa_token_value *values; /* [n] */
    size_t n, prompt_tokens;
    bool stopped;  /* by an end token or a stop text; else its length ended it */
    bool measured; /* log_pi1 and kl are known and of interest */
} cli_answer_values;

/* Members of the object that is open: "finish_reason": "stop" or "length", "usage": {"prompt_tokens",
 * "completion_tokens", "total_tokens"}, "tokens": [{"id", "text", "log_pi"}...], and if measured "log_pi1" and "kl" of
 * each, and their sums "log_ratio" and "kl". tokenizer NULL: no texts. */
void cli_put_answer_values(qa_json_writer *out, const qa_tokenizer *tokenizer, const cli_answer_values *answer);

#endif
