/* Running the program ($QA_BIN) from a test: arguments and standard input in; standard output, standard error and
 * exit status out. And a folder with everything that a command line needs. */
#ifndef QA_TESTS_CLI_H
#define QA_TESTS_CLI_H

#include <stdbool.h>
#include <stddef.h>

enum { QA_CLI_ARGS = 64, QA_CLI_SIGNALLED = 1000 };

typedef struct qa_cli_result {
    int status; /* the exit status; QA_CLI_SIGNALLED + number when a signal ended it */
    char *out;  /* standard output, zero-terminated */
    size_t out_bytes;
    char *err; /* standard error */
} qa_cli_result;

/* How to run it, where that matters. */
typedef struct qa_cli_how {
    const char *input;        /* standard input; NULL: empty */
    const char *output;       /* standard output goes to this path and not into the result */
    size_t file_limit;        /* RLIMIT_FSIZE, bytes; 0: none. SIGXFSZ keeps its deadly default. */
    size_t address_limit;     /* RLIMIT_AS, bytes; 0: none */
    bool close_output;        /* nobody reads standard output: its pipe is closed at the other end */
    bool no_error;            /* it starts with descriptor 2 closed */
    int signal;               /* sent once, when standard error contains signal_after */
    const char *signal_after; /* ... */
    int second_signal;        /* half a second after the first one, which then is half a second late */
    bool ignore_hangup;       /* as under nohup */
} qa_cli_how;

/* args: NULL-terminated, without the program's name. Takes more than 60 seconds: fails the running test. */
qa_cli_result qa_cli_run(const qa_cli_how *how, const char *const *args);
void qa_cli_free(qa_cli_result *result);

#define QA_CLI(...) qa_cli_run(NULL, (const char *const[]){__VA_ARGS__, NULL})
#define QA_CLI_HOW(how, ...) qa_cli_run((how), (const char *const[]){__VA_ARGS__, NULL})

/* Fails the running test, showing both outputs, unless the status is this one and the outputs contain these texts
 * (NULL: anything). */
void qa_cli_check(const qa_cli_result *result, int status, const char *out, const char *err);
/* The same, and frees the result. */
void qa_cli_expect(qa_cli_result result, int status, const char *out, const char *err);

/* A run that must succeed; its standard output (caller frees). */
char *qa_cli_output(const char *const *args);
#define QA_CLI_OUTPUT(...) qa_cli_output((const char *const[]){__VA_ARGS__, NULL})

/* Whether /dev/full is the device that is always full. */
bool qa_cli_has_full_device(void);

/* A folder with a tiny random Llama of 260 tokens and 128 positions, a byte-level tokenizer without a chat template,
 * pairs and, when asked for, an adapter trained on them for three steps by the program itself. */
typedef struct qa_cli_world {
    char *dir;
    char *model;   /* dir/model */
    char *pairs;   /* dir/pairs.jsonl: six pairs, already tokenised */
    char *texts;   /* dir/texts.jsonl: four pairs of text with a prompt */
    char *adapter; /* dir/adapter; not there unless asked for */
} qa_cli_world;

qa_cli_world qa_cli_world_make(bool with_adapter);
void qa_cli_world_free(qa_cli_world *world);

/* A second adapter of the world's model, by DPO: the path dir/other (free it). */
char *qa_cli_world_other(const qa_cli_world *world);
/* "path:weight" (free it). */
char *qa_cli_weighted(const char *path, const char *weight);

#endif
