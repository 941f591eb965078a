/* A generated answer's values, token by token, as JSON: what `generate --json` adds to an answer. */
#ifndef QA_CLI_ANSWER_JSON_H
#define QA_CLI_ANSWER_JSON_H

#include "cli/best_of.h"
#include "cli/common.h"
#include "io/json_writer.h"
#include "qadapter/infer.h"
#include "qadapter/text.h"

typedef struct cli_answer_values {
    const int32_t *ids;           /* [n] sampled, the end token included */
    const qa_token_value *values; /* [n] */
    size_t n, prompt_tokens;
    bool stopped;             /* by an end token or a stop text; else its length ended it */
    bool measured;            /* log_pi1 and kl are known and of interest */
    const cli_run *run;       /* of a policy that is its mixture if it has one; NULL: of none */
    const qa_answer *weighed; /* as what --particles chose it; NULL: as nothing */
    const cli_best_of *best;  /* that chose it; NULL: nothing did */
} cli_answer_values;

/* Members of the object that is open: "finish_reason": "stop" or "length", "usage": {"prompt_tokens",
 * "completion_tokens", "total_tokens"}, "tokens": [{"id", "text", "log_pi"}...], and if measured "log_pi1" and "kl" of
 * each, and their sums "log_ratio" and "kl". Of a mixture also its weights, "log_z" of each token and their sum
 * "log_weight"; of one that was chosen among particles what all of them weigh. tokenizer NULL: no texts. */
void cli_put_answer_values(qa_json_writer *out, const qa_tokenizer *tokenizer, const cli_answer_values *answer);

#endif
