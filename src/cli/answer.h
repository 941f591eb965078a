/* One answer: tokens sampled one by one, their text given out as soon as it is certain, until something ends it. */
#ifndef QA_CLI_ANSWER_H
#define QA_CLI_ANSWER_H

#include "qadapter.h"
#include "text/answer_end.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What ends an answer, and how it is printed. Everything is borrowed. */
typedef struct answer_options {
    const qa_answer_end *end; /* whose tokens end it and are not printed */
    const char *const *stops; /* [n_stops] texts that end it and are not printed */
    size_t n_stops;
    size_t max_tokens;
    bool print_ids; /* ids instead of text */
    bool silent;    /* nothing is printed */
} answer_options;

typedef enum answer_end {
    ANSWER_END_TOKEN,  /* one of end_ids */
    ANSWER_STOP,       /* one of stops */
    ANSWER_MAX_TOKENS, /* max_tokens reached */
    ANSWER_CONTEXT,    /* the caches are full */
    ANSWER_INTERRUPTED /* Ctrl-C */
} answer_end;

/* What came out. Zero-initialise; free with answer_free; a new run replaces the old content. */
typedef struct printed_answer {
    qa_ids ids;             /* every sampled token, the end token included */
    qa_token_value *values; /* [ids.n] */
    size_t values_capacity;
    qa_answer_text read; /* its text is what was printed (without a final newline that was added) */
    answer_end end;
    double seconds;
} printed_answer;

/* Samples from the generator, which has been fed; prints to standard output. `context` are the ids before the answer
 * (they decide on its leading space). tokenizer may be NULL with print_ids. */
QA_MUST_CHECK qa_status answer_run(printed_answer *answer, qa_generator *generator, const qa_tokenizer *tokenizer,
                                   const qa_ids *context, const answer_options *options, qa_error *err);
/* The same of an answer that was made already. */
QA_MUST_CHECK qa_status answer_take(printed_answer *answer, const qa_answer *said, const qa_tokenizer *tokenizer,
                                    const qa_ids *context, const answer_options *options, qa_error *err);
void answer_free(printed_answer *answer);

#endif
