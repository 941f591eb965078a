/* The prompt that --prompt, --file or --ids give, as tokens. */
#ifndef QA_CLI_PROMPT_H
#define QA_CLI_PROMPT_H

#include "cli/common.h"

/* The options' values; NULL: not given. One of the first three is. */
typedef struct cli_prompt_words {
    const char *prompt, *file, *ids, *system;
    bool chat, no_special;
} cli_prompt_words;

/* Appends the ids of a list, "1 403, 407" or "[1, 403]"; option: its name, for the message. */
QA_MUST_CHECK qa_status cli_parse_ids(cli_run *run, const char *option, const char *text, qa_ids *ids, qa_error *err);

/* The text of --prompt, --prompt - or --file. One newline at the end of a file or of standard input is not part of
 * it (*shortened). */
QA_MUST_CHECK qa_status cli_read_prompt(cli_run *run, const cli_prompt_words *words, qa_text *text, bool *shortened,
                                        qa_error *err);

/* The prompt as text (with words->chat as the template writes it; empty for --ids without a tokenizer) and ids; given:
 * NULL, or the text as it was given. */
QA_MUST_CHECK qa_status cli_make_prompt(cli_run *run, const cli_prompt_words *words, const qa_chat *chat,
                                        qa_text *given, qa_text *text, qa_ids *ids, qa_error *err);

#endif
