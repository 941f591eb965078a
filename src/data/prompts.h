/* Prompts to answer, from JSON Lines: dialogues that end with the user's message, or texts to continue. They become the
 * ids that training makes of the same prompts (text/text_begin.h).
 *
 * A line's JSON is not kept: what an answer is written behind (`head`) is made when the line is read. */
#ifndef QA_DATA_PROMPTS_H
#define QA_DATA_PROMPTS_H

#include "qadapter/data.h"
#include "qadapter/text.h"

typedef struct qa_prompt {
    qa_ids ids;
    qa_text head; /* as JSON: a dialogue's messages behind "[", or a text */
    bool dialogue;
    size_t line; /* of the file */
} qa_prompt;

/* Zero-initialise; qa_prompts_free. */
typedef struct qa_prompts {
    qa_prompt *items; /* [n] */
    size_t n, capacity;
    size_t dialogues; /* of them */
    size_t repeated;  /* left out by qa_prompts_drop_repeated */
    qa_warnings warnings;
} qa_prompts;

typedef struct qa_prompts_options {
    const qa_tokenizer *tokenizer;
    const qa_chat *chat; /* NULL: none, and a dialogue is an error */
    bool bare;           /* nothing in front of texts that they do not bring */
    size_t context;      /* a prompt must be shorter */
    size_t vocab_size;   /* ids must be below it */
    bool first_turn;     /* of a dialogue its first message of the user alone */
    const char *columns; /* as in qa_pairs_options */
} qa_prompts_options;

/* Lines of preference data, too: where they have no prompt apart, what stands before the preferred answer, or DSP's
 * query, is one. path "-": standard input. At least one prompt is in the file; errors name file and line. */
QA_MUST_CHECK qa_status qa_prompts_load(qa_prompts *prompts, const char *path, const qa_prompts_options *options,
                                        qa_error *err);
/* Keeps the first of the prompts that are the same ids. */
QA_MUST_CHECK qa_status qa_prompts_drop_repeated(qa_prompts *prompts, qa_error *err);
void qa_prompts_free(qa_prompts *prompts);

/* The prompts as a set of pairs without responses; one that is not shorter than max_length is left out, and reported,
 * and what comes after the first most (0: no limit) is not taken. chat: that the prompts were written with, for the
 * record; NULL: none. */
QA_MUST_CHECK qa_status qa_pairs_of_prompts(qa_pairs **pairs, const qa_prompts *prompts, const qa_chat *chat,
                                            size_t max_length, size_t most, qa_error *err);

#endif
