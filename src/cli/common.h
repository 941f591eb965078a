/* What the commands share: a run with its model, tokenizer and adapter, and how it talks to people.
 *
 * A command is a function (run, err) -> status. main() makes the run, prints the error, and frees everything. */
#ifndef QA_CLI_COMMON_H
#define QA_CLI_COMMON_H

#include "cli/options.h"
#include "cli/progress.h"
#include "cluster/cluster.h"

#include <jansson.h>

typedef struct cli_run {
    const cli_command *command;
    const cli_args *args; /* the beginning of the command's own struct */
    cli_options options;  /* what was given */
    int argc;
    char **argv;
    bool bad_usage; /* the failure is the command line's: exit status 2 */
    char *snapshot; /* the folder that --model stands for in the Hub's download cache; NULL: the one that it names */
    cli_progress progress;
    qa_cluster *cluster; /* main()'s; NULL: one rank */
    qa_context *context;
    qa_model *model;
    qa_tokenizer *tokenizer;
    qa_adapter *adapter;
    double *weights;        /* of args->adapters; NULL: they have none, and are no mixture */
    qa_mixture_part *parts; /* [mixture.n], what is in them owned */
    qa_mixture mixture;
    bool said_template; /* what the model folder's templates disagree about has been told */
    qa_chat *chat;      /* NULL: none that can be used */
    bool chat_resolved, chat_assumed;
    char date[16]; /* of the run to resume; "": none */
} cli_run;

void cli_run_free(cli_run *run);

/* A line on standard error: always / unless --quiet / with --verbose only. "qadapter COMMAND: " stands before it. */
void cli_warn(cli_run *run, const char *format, ...) QA_PRINTF(2, 3);
void cli_warn_all(cli_run *run, const qa_warnings *warnings); /* every line */
/* The whole of a text file (qa_read_file) without a byte-order mark, which is said; a file that is no text but
 * something else that can be told (gzip data, a git-lfs pointer...) is QA_ERR_FORMAT. */
QA_MUST_CHECK qa_status cli_read_text(cli_run *run, qa_text *text, const char *path, size_t max_bytes, qa_error *err);
void cli_say(cli_run *run, const char *format, ...) QA_PRINTF(2, 3);
void cli_detail(cli_run *run, const char *format, ...) QA_PRINTF(2, 3);

/* Where the library's lines go: warnings as above, the rest with --verbose only. */
qa_logger cli_logger(cli_run *run);

/* Fails as wrong usage (exit status 2). */
qa_status cli_bad_usage(cli_run *run, qa_error *err, const char *format, ...) QA_PRINTF(3, 4);
/* Marks an error that a check of the given options returned as wrong usage. */
qa_status cli_usage_if(cli_run *run, qa_status status);

/* Where --model is a folder of the Hub's download cache (models--OWNER--NAME), makes it the snapshot that is meant. */
QA_MUST_CHECK qa_status cli_resolve_hub_folder(cli_run *run, cli_args *args, qa_error *err);

/* Makes run->context, once. cli_load_model does it by itself. */
QA_MUST_CHECK qa_status cli_open_context(cli_run *run, qa_error *err);

/* base_model_name_or_path of an adapter's adapter_config.json; the caller frees *name, NULL: none. */
QA_MUST_CHECK qa_status cli_adapter_base_name(const char *dir, char **name, qa_error *err);

/* Each loads into the run what --model and --adapter name. */
QA_MUST_CHECK qa_status cli_load_model(cli_run *run, qa_error *err);
/* What --dtype says, or else `otherwise`; cli_load_model's is the program's precision. */
QA_MUST_CHECK qa_status cli_load_model_as(cli_run *run, qa_weights_dtype otherwise, qa_error *err);
qa_weights_dtype cli_weights_dtype(const cli_args *args, qa_weights_dtype otherwise);
/* required: a folder without tokenizer.json is an error; else run->tokenizer stays NULL. After the model: its
 * end-of-sequence token becomes the model's first one. */
QA_MUST_CHECK qa_status cli_load_tokenizer(cli_run *run, bool required, qa_error *err);
/* Loads a folder's tokenizer into the run and says what its files disagree about. */
QA_MUST_CHECK qa_status cli_load_tokenizer_of(cli_run *run, const char *dir, qa_error *err);
/* Whether the adapter belongs to the loaded model (adapter_base.c); cli_load_adapter does it by itself. */
QA_MUST_CHECK qa_status cli_check_base(cli_run *run, qa_error *err);
/* After qa_adapter_load failed with `status`: where the adapter's record names another base model, err says that. */
QA_MUST_CHECK qa_status cli_explain_unread_adapter(cli_run *run, qa_status status, qa_error *err);
/* Makes dir (NULL: none) the adapter that the functions below and above read; the one that is loaded goes. */
void cli_use_adapter(cli_run *run, const char *dir);
/* Nothing without --adapter. After the model; another model than the adapter's is an error unless --any-base. */
QA_MUST_CHECK qa_status cli_load_adapter(cli_run *run, qa_error *err);
/* For a command that asks nothing more of the base model's policy: a plain adapter (qa_objective_is_plain) goes into
 * the loaded weights, unless they are in BF16, and *adapter becomes NULL: what runs from now on is one model. */
QA_MUST_CHECK qa_status cli_merge_plain(cli_run *run, const qa_objective *objective, const qa_adapter **adapter,
                                        qa_error *err);

/* What a command needs that measures an adapter on pairs: objective, model, adapter and, where there is one, tokenizer;
 * how long pairs may be and how many share a padded length. */
QA_MUST_CHECK qa_status cli_load_reader(cli_run *run, qa_objective *objective, size_t *max_length, size_t *micro_batch,
                                        qa_error *err);

/* The objective: explicit option > --method, --recipe > what the adapter was trained with > softmax of the adapted
 * logits for an adapter without a record, the recipe theory without an adapter. Tells on standard error what it settled
 * on, and what was assumed. *recipe, if not NULL, becomes the recipe's name. */
QA_MUST_CHECK qa_status cli_resolve_objective(cli_run *run, qa_objective *objective, const char **recipe,
                                              qa_error *err);
/* The objective of `train`: as above under --method qadapter, the method's own under the others (*recipe is then NULL);
 * options that belong to another method are wrong usage. */
QA_MUST_CHECK qa_status cli_resolve_method(cli_run *run, qa_objective *objective, const char **recipe, qa_error *err);

/* The recipe's LoRA options, overridden by those of the command line. */
QA_MUST_CHECK qa_status cli_lora_options(cli_run *run, qa_lora_options *options, qa_error *err);
enum { CLI_LINE_BYTES = 512 };

/* What the folder has (qa_chat_template_compare); its warnings are told once. */
QA_MUST_CHECK qa_status cli_detect_template(cli_run *run, const char *dir, qa_chat_template *which, qa_error *err);

/* The chat template, once: --chat-template, else what the adapter was trained with, else the folder's, else plain
 * (*assumed is then true); with --template-arg and --date. *chat NULL: the folder's cannot be used, which was said. */
QA_MUST_CHECK qa_status cli_resolve_chat(cli_run *run, const qa_chat **chat, bool *assumed, qa_error *err);
/* The same in another folder. */
QA_MUST_CHECK qa_status cli_resolve_chat_of(cli_run *run, const char *dir, const qa_chat **chat, bool *assumed,
                                            qa_error *err);
/* It is resolved anew by the next of these: for another adapter. */
void cli_forget_chat(cli_run *run);
/* Without --date: the day of the run that is resumed in dir. */
void cli_take_date(cli_run *run, const char *dir);

/* --max-length, or its default. */
QA_MUST_CHECK qa_status cli_resolve_max_length(cli_run *run, size_t *max_length, qa_error *err);

/* Pairs that share a padded length, 0 = all: --micro-batch, else what the adapter was trained with, else all. */
QA_MUST_CHECK qa_status cli_resolve_micro_batch(cli_run *run, size_t *micro_batch, qa_error *err);

/* Loads pairs by the options of the command line (model and, where there is one, tokenizer are loaded already) and
 * says what was found and what was skipped. */
QA_MUST_CHECK qa_status cli_load_pairs(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs,
                                       qa_error *err);

/* The same for a file of pairs or of single responses with labels (qa_pairs_labelled). */
QA_MUST_CHECK qa_status cli_load_preferences(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs,
                                             qa_error *err);

/* The same for a file of single responses (text.h: qa_pairs_options.responses). */
QA_MUST_CHECK qa_status cli_load_responses(cli_run *run, const char *path, const char *columns, size_t max_length,
                                           qa_pairs **pairs, qa_error *err);

/* The same for a file of pairs or of single responses, as its first example is (qa_pairs_single). */
QA_MUST_CHECK qa_status cli_load_examples(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs,
                                          qa_error *err);

/* The same for one single response, an object as a line of such a file. */
QA_MUST_CHECK qa_status cli_load_response(cli_run *run, const json_t *row, size_t max_length, qa_pairs **pairs,
                                          qa_error *err);

/* Weights, workspace, base cache (0: none) and how that compares with this machine's memory, on standard error. */
void cli_say_memory(cli_run *run, size_t weights, size_t workspace, size_t cache, bool recompute);

/* Appends the word to text as a shell wants it. */
QA_MUST_CHECK qa_status cli_append_shell_word(qa_text *text, const char *word, qa_error *err);

/* Writes to standard output now; a failure names standard output and the reason. */
QA_MUST_CHECK qa_status cli_put(const char *data, size_t bytes, qa_error *err);
QA_MUST_CHECK qa_status cli_flush(qa_error *err);
/* A token a line: its id and its piece as it stands in the vocabulary. */
void cli_print_tokens(const cli_run *run, const int32_t *ids, size_t n);

#endif
