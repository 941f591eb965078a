/* Several adapters as one policy: --adapter A:0.5 --adapter B:0.5. */
#ifndef QA_CLI_MIXTURE_H
#define QA_CLI_MIXTURE_H

#include "cli/common.h"
#include "io/json_writer.h"

/* Takes the weights off the given adapters (weights.h), once: run->weights. A command that takes one adapter refuses
 * them. A path that exists is that path, a ':' in it or not. */
QA_MUST_CHECK qa_status cli_take_adapter_weights(cli_run *run, cli_args *args, qa_error *err);
/* That weights are for other commands, as wrong usage. */
qa_status cli_no_weights(cli_run *run, qa_error *err);

/* Where run->weights are: loads the adapters, each with the objective that it is read with. After the model. Adapters
 * of different models or tokenizers, and one that is there twice, are errors. */
QA_MUST_CHECK qa_status cli_load_mixture(cli_run *run, qa_error *err);
const qa_mixture *cli_mixture(const cli_run *run); /* NULL: none is loaded */

/* The template that dialogues are written with, as cli_resolve_chat: all adapters must have been trained with the same
 * one, unless --chat-template says which. dirs may be none. */
QA_MUST_CHECK qa_status cli_agree_on_chat(cli_run *run, const qa_option_list *dirs, const qa_chat **chat, bool *assumed,
                                          qa_error *err);

/* "A:0.5 + B:0.5". */
QA_MUST_CHECK qa_status cli_mixture_text(const cli_run *run, qa_text *text, qa_error *err);
/* "mixture": [{"adapter", "weight"}...], a member of the object that is open; nothing without a mixture. */
void cli_mixture_put(qa_json_writer *out, const cli_run *run);

#endif
