/* qadapter generate: one prompt, a conversation (chat_loop.c) or a file of prompts (generate_file.c), with the
 * customised policy or the base model's. */
#include "cli/answer_json.h"
#include "cli/generate.h"
#include "cli/mixture.h"
#include "cli/prompt.h"

#include "base/memory.h"
#include "base/try.h"
#include "infer/sampler.h"
#include "methods/method.h"
#include "rl/objective.h"
#include "text/text_begin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- options ---- */

#define ROW(kind, ...) QA_##kind(generate_args, __VA_ARGS__)
#define INPUT(kind, ...) ROW(kind, __VA_ARGS__), .group = QA_GROUP_INPUT
#define SAMPLING(kind, ...) ROW(kind, __VA_ARGS__), .group = QA_GROUP_SAMPLING
#define OUTPUT(kind, ...) ROW(kind, __VA_ARGS__), .group = QA_GROUP_OUTPUT

static const qa_option generate_rows[] = {
    {"dtype", ROW(WORD, shared.weights_dtype, "auto", "f32", "bf16"), .aliases = "torch-dtype", .note = "auto",
     .help = "matrices in memory: auto: as the files have them, BF16 or else the program's precision; f32: the latter; "
             "bf16: rounded to BF16"},
    {"prompt", INPUT(STRING, prompt), .letter = 'p', .placeholder = "TEXT",
     .help = "the text to continue; - reads it from standard input"},
    {"file", INPUT(STRING, file), .letter = 'f', .aliases = "prompt-file", .placeholder = "FILE", .path = QA_PATH_READ,
     .help = "the text to continue is in this file"},
    {"ids", INPUT(STRING, ids), .aliases = "prompt-ids", .placeholder = "LIST",
     .help = "the prompt as token ids, separated by commas or spaces; needs no tokenizer (then ids are printed too)"},
    {"in", INPUT(STRING, in), .letter = 'i', .aliases = "input input-file", .placeholder = "FILE", .path = QA_PATH_READ,
     .help = "answer every line of these JSON Lines: {\"messages\": [...]}, or {\"prompt\": text or messages}; - is "
             "standard input"},
    {"unique", INPUT(FLAG, unique), .help = "with --in: leave out prompts that were there before"},
    {"first-turn", INPUT(FLAG, first_turn),
     .help = "with --in: of every dialogue answer the user's first message alone"},
    {"chat", INPUT(FLAG, chat), .aliases = "conversation cnv interactive",
     .help = "write the prompt through the chat template; without a prompt every line of standard input is a turn of "
             "one conversation"},
    {"system", INPUT(STRING, system), .aliases = "system-prompt sys", .placeholder = "TEXT",
     .help = "with --chat: the system message"},
    {"commands", INPUT(FLAG, commands),
     .help = "with --chat: lines that begin with / are commands, and messages may have several lines, also where "
             "standard input is no terminal"},
    {"no-history", INPUT(FLAG, no_history), .help = "with --chat: keep no history of what is typed"},
    {"no-special", INPUT(FLAG, no_special), .aliases = "no-special-tokens",
     .help = "add no special tokens (such as <s>) to the prompt"},
    {"ctx-size", INPUT(SIZE, ctx_size), .letter = 'c', .aliases = "context-length context-size n-ctx",
     .range = QA_RANGE_FROM_1, .note = "what is needed; with --chat the model's context, at most 4096",
     .help = "tokens of prompt and answers that the caches hold"},
    {"policy", SAMPLING(WORD, policy, "base", "custom", "both"), .note = "custom; base without an adapter",
     .help = "who answers: the model, the customised model, or one after the other"},
    {"max-tokens", SAMPLING(SIZE, max_tokens), .letter = 'n', .aliases = "n-predict predict max-new-tokens",
     .range = QA_RANGE_FROM_1, .standard = "256", .note = "%, or what fits", .help = "longest answer, tokens"},
    {"samples", SAMPLING(SIZE, samples), .aliases = "num-return-sequences num-samples", .range = QA_RANGE_FROM_1,
     .standard = "1", .help = "with --in: answers to every prompt"},
    {"particles", SAMPLING(SIZE, particles), .range = QA_RANGE_FROM_1, .standard = "1",
     .help = "of a mixture: sample so many answers for each and choose one by its weight; the more, the closer to the "
             "policy that all of its adapters' rewards together would make"},
    {"batch", SAMPLING(SIZE, batch), .letter = 'b', .aliases = "batch-size", .range = QA_RANGE_FROM_1, .standard = "32",
     .help = "with --in: answers that are made at once; costs memory, and changes no answer but for rounding"},
    {"stop", SAMPLING(LIST, stop), .aliases = "stop-string reverse-prompt", .placeholder = "TEXT",
     .help = "end the answer before this text; may be given several times"},
    {"ignore-eos", SAMPLING(FLAG, ignore_eos), .help = "go on after an end-of-sequence token"},
    {"echo", OUTPUT(FLAG, echo), .help = "print the prompt in front of the answer"},
    {"print-ids", OUTPUT(FLAG, print_ids), .help = "print the answer's token ids instead of its text"},
    {"kl", OUTPUT(FLAG, kl),
     .help = "with --in and --json: say log pi - log pi1 and KL(pi || pi1) of a plain adapter, too (theory with both "
             "alphas 1, sft, replay, dpo), which else runs without the base model beside it; of any other they are "
             "always said"},
    {"json", OUTPUT(FLAG, shared.json),
     .help = "a JSON object for a prompt, with the answer's tokens and their log-probabilities, why it ended, and how "
             "many tokens there were; with --in the same members in every line"},
    {"out", OUTPUT(STRING, shared.out), .letter = 'o', .aliases = "output output-file", .placeholder = "FILE",
     .path = QA_PATH_WRITTEN, .note = "standard output",
     .help = "with --in: where the JSON Lines go; a file appears when it is complete; - is standard output"},
};
static const qa_option_table generate_table = QA_TABLE(generate_rows);
static const qa_option generate_chat_words = {
    .group = QA_GROUP_INPUT,
    .note = "what the adapter was trained with; else the model folder's own; plain when it has none"};
static const qa_option generate_arg_words = {.group = QA_GROUP_INPUT, .note = "what the adapter was trained with"};
static const qa_option generate_columns_words = {.group = QA_GROUP_INPUT,
                                                 .note = "the file has our names",
                                                 .help = "with --in: which column of the file is which, such as "
                                                         "prompt=text or instruction=question,system=system_prompt"};
static const qa_option generate_adapter_words = {
    .group = QA_GROUP_GENERAL,
    .note = "none: the model alone",
    .help = "folder of the adapter, as PEFT lays it out; one or several with weights, --adapter A:0.5 --adapter B:0.5, "
            "are a mixture: at every token pi1 times the ratios of their policies to it, each to the power of its "
            "weight"};
static const cli_table generate_tables[] = {
    {&cli_model_table, 0, "model", NULL},
    {&cli_adapters_table, 0, NULL, &generate_adapter_words},
    {&cli_model_table, 0, "any-base", NULL},
    {&cli_reading_table, 0, "recipe", NULL},
    {&qa_objective_table, offsetof(cli_args, objective), "q-parametrisation alpha-tilde alpha-0", NULL},
    CLI_METHOD_TABLES,
    {&qa_sampling_table, offsetof(generate_args, sampling), NULL, NULL},
    {&generate_table, 0, NULL, NULL},
    {&cli_best_of_table, offsetof(generate_args, best_of), NULL, NULL},
    {&cli_reward_table, offsetof(generate_args, best_of.reward), NULL, NULL},
    {&cli_pairs_table, 0, "columns", &generate_columns_words},
    {&cli_chat_table, 0, "chat-template", &generate_chat_words},
    {&cli_chat_table, 0, "template-arg date", &generate_arg_words}};

enum { DEFAULT_CHAT_CONTEXT = 4096 };

/* ---- what ends an answer ---- */

/* --stop, and what the template of a dialogue ends with where it is no token. */
static qa_status collect_stops(generation_run *generation, bool dialogues, qa_error *err) {
    const qa_option_list *given = &generate_args_of(generation->run)->stop;
    const size_t n_own = dialogues ? generation->end.n_texts : 0;
    QA_TRY(QA_NEW(generation->stops, given->n + n_own + 1, err, "stop texts"));
    for (size_t i = 0; i < given->n; i++) {
        generation->stops[generation->n_stops++] = given->items[i];
    }
    generation->n_given_stops = generation->n_stops;
    for (size_t i = 0; i < n_own; i++) {
        generation->stops[generation->n_stops++] = generation->end.texts[i];
    }
    return QA_OK;
}

static qa_status prepare_ends(generation_run *generation, qa_error *err) {
    cli_run *run = generation->run;
    const qa_model_info *info = qa_model_get_info(run->model);
    QA_TRY(cli_mixture(run) == NULL
               ? cli_resolve_chat(run, &generation->chat, &generation->chat_assumed, err)
               : cli_agree_on_chat(run, &run->args->adapters, &generation->chat, &generation->chat_assumed, err));
    if (generate_args_of(run)->chat && generation->chat_assumed) {
        cli_say(run, "%s has no chat template: using plain (--chat-template names another)", run->args->model);
    }
    if (!generate_args_of(run)->ignore_eos) {
        QA_TRY(qa_answer_end_find(&generation->end, generation->chat, run->tokenizer, info->eos_ids, info->n_eos, err));
    }
    return collect_stops(generation, generate_args_of(run)->chat || generate_args_of(run)->in != NULL, err);
}

/* ---- generating ---- */

static qa_status print_echo(const generation_run *generation, const qa_text *text, const qa_ids *ids, qa_error *err) {
    if (!generation->print_ids) {
        return cli_put(text->data, text->n, err);
    }
    for (size_t i = 0; i < ids->n; i++) {
        printf("%d ", (int)ids->data[i]);
    }
    return QA_OK;
}

/* A prompt as it was given, as the model gets it, and its ids. */
typedef struct prompt_at_hand {
    qa_text given, text;
    qa_ids ids;
} prompt_at_hand;

static answer_options options_of_prompt(const generation_run *generation) {
    const generate_args *args = generate_args_of(generation->run);
    return (answer_options){.end = &generation->end,
                            .stops = generation->stops,
                            .n_stops = generation->n_stops,
                            .max_tokens = args->max_tokens,
                            .print_ids = generation->print_ids,
                            .silent = args->shared.json};
}

/* The answer that was chosen among particles, or as the best of several, on its way out. */
typedef struct weighed_prompt {
    const generation_run *generation;
    const prompt_at_hand *prompt;
    qa_policy policy;
    cli_best_of *best; /* NULL: particles */
    qa_status status;  /* of what stopped it */
    qa_error err;
} weighed_prompt;

static qa_status print_weighed(const weighed_prompt *of, const qa_answer *answer, printed_answer *said, qa_error *err) {
    const generation_run *generation = of->generation;
    const answer_options options = options_of_prompt(generation);
    if (generate_args_of(generation->run)->echo) {
        QA_TRY(print_echo(generation, &of->prompt->text, &of->prompt->ids, err));
    }
    QA_TRY(answer_take(said, answer, generation->run->tokenizer, &of->prompt->ids, &options, err));
    if (of->best == NULL) {
        cli_say(generation->run,
                "answer %zu of %zu, chosen by its weight: they are worth %.3g samples of the exact distribution",
                answer->chosen + 1, answer->particles, answer->effective_samples);
    } else {
        cli_best_of_say(generation->run, of->best);
    }
    return options.silent ? generation_print_json(generation, of->policy, &of->prompt->given, &of->prompt->ids, said,
                                                  of->best == NULL ? answer : NULL, of->best, err)
                          : QA_OK;
}

static bool take_weighed(void *user, const qa_answer *answer) {
    weighed_prompt *of = user;
    printed_answer said = {0};
    of->status = of->best == NULL ? QA_OK : cli_best_of_add(of->best, answer, &answer, &of->err);
    if (of->status == QA_OK && answer != NULL) {
        of->status = print_weighed(of, answer, &said, &of->err);
    }
    answer_free(&said);
    return of->status == QA_OK;
}

static qa_status value_of_prompt(void *user, const qa_answer *answers, size_t n, double *values, qa_error *err) {
    const weighed_prompt *of = user;
    (void)n;
    return cli_best_of_value(of->best, &of->prompt->ids, answers, values, err);
}

/* The answer of a mixture that --particles corrects, or the best of several. */
static qa_status answer_chosen(generation_run *generation, qa_policy policy, size_t capacity,
                               const prompt_at_hand *prompt, qa_error *err) {
    const generate_args *args = generate_args_of(generation->run);
    const size_t n = prompt->ids.n, many = args->best_of.n;
    weighed_prompt of = {.generation = generation, .prompt = prompt, .policy = policy};
    QA_FAIL_IF(n >= capacity, err, QA_ERR_LIMIT,
               "%zu tokens do not fit: the context holds %zu, and at least one is needed for an answer", n, capacity);
    const size_t most = args->max_tokens < capacity - n ? args->max_tokens : capacity - n;
    const qa_batch_options options = {.policy = policy,
                                      .objective = &generation->objective,
                                      .mixture = policy == QA_POLICY_CUSTOM ? cli_mixture(generation->run) : NULL,
                                      .sampling = generation->sampling,
                                      .end_ids = generation->end.ids,
                                      .n_end_ids = generation->end.n_ids,
                                      .max_tokens = most,
                                      .samples = many,
                                      .particles = args->particles,
                                      .batch = args->batch,
                                      .measured = args->kl,
                                      .value = many > 1 ? value_of_prompt : NULL,
                                      .on_answer = take_weighed,
                                      .should_stop = cli_should_stop,
                                      .user = &of};
    if (many > 1) {
        QA_TRY(cli_best_of_open(&of.best, generation->run, &args->best_of, &generation->objective, n, most, err));
    }
    const qa_status status =
        qa_generate_batch(generation->run->model, generation->run->adapter, &prompt->ids, 1, &options, err);
    cli_best_of_free(of.best);
    if (of.status != QA_OK) { /* it says more than that the answers were stopped */
        *err = of.err;
        return of.status;
    }
    return status == QA_ERR_INTERRUPTED ? qa_fail(err, status, "interrupted") : status;
}

static qa_status answer_prompt(generation_run *generation, qa_policy policy, const char *label, size_t capacity,
                               const prompt_at_hand *prompt, qa_error *err) {
    const generate_args *args = generate_args_of(generation->run);
    const qa_ids *ids = &prompt->ids;
    const bool json = args->shared.json, measured = json && generation_measures(generation, policy);
    qa_generator *generator = NULL;
    printed_answer said = {0};
    double seconds = 0.0;
    qa_status status = QA_OK;
    const answer_options options = options_of_prompt(generation);
    if ((policy == QA_POLICY_CUSTOM && args->particles > 1) || args->best_of.n > 1) {
        return answer_chosen(generation, policy, capacity, prompt, err);
    }
    QA_GOTO(done, generation_generator(generation, policy, &generation->sampling, capacity, &generator, err));
    QA_GOTO(done, measured ? qa_generator_measure(generator, err) : QA_OK);
    QA_GOTO(done, generation_feed(generation, generator, ids, &seconds, err));
    if (args->echo) {
        QA_GOTO(done, print_echo(generation, &prompt->text, ids, err));
    }
    QA_GOTO(done, answer_run(&said, generator, generation->run->tokenizer, ids, &options, err));
    generation_say_speed(generation, label, ids->n, seconds, &said, capacity);
    if (said.end == ANSWER_INTERRUPTED) {
        status = qa_fail(err, QA_ERR_INTERRUPTED, "interrupted");
    } else if (json) {
        status = generation_print_json(generation, policy, &prompt->given, ids, &said, NULL, NULL, err);
    }
done:
    answer_free(&said);
    qa_generator_free(generator);
    return status;
}

/* Tokens that the caches hold: --ctx-size, else what `wanted` asks for, at most the model's context. */
static qa_status choose_capacity(cli_run *run, size_t wanted, size_t *capacity, qa_error *err) {
    const size_t limit = qa_model_get_info(run->model)->context;
    if (generate_args_of(run)->ctx_size > limit) {
        return cli_bad_usage(run, err, "--ctx-size: expected at most %zu, the model's context, found \"%zu\"", limit,
                             generate_args_of(run)->ctx_size);
    }
    *capacity = generate_args_of(run)->ctx_size != 0 ? generate_args_of(run)->ctx_size
                : wanted < limit                     ? wanted
                                                     : limit;
    return QA_OK;
}

static bool has_prompt(const generate_args *args) {
    return args->prompt != NULL || args->file != NULL || args->ids != NULL;
}

static bool policy_is(const generate_args *args, const char *name) {
    return strcmp(args->policy != NULL ? args->policy : args->shared.adapter != NULL ? "custom" : "base", name) == 0;
}

static qa_status answer_one_prompt(generation_run *generation, qa_error *err) {
    const generate_args *args = generate_args_of(generation->run);
    const size_t max_tokens = args->max_tokens;
    prompt_at_hand prompt = {{0}, {0}, {0}};
    size_t capacity = 0;
    qa_status status = QA_OK;
    const bool titles = policy_is(args, "both") && !args->shared.json;
    const cli_prompt_words words = {args->prompt, args->file, args->ids, args->system, args->chat, args->no_special};
    QA_GOTO(done,
            cli_make_prompt(generation->run, &words, generation->chat, &prompt.given, &prompt.text, &prompt.ids, err));
    const size_t n = prompt.ids.n;
    QA_GOTO(done,
            choose_capacity(generation->run, n > SIZE_MAX - max_tokens ? SIZE_MAX : n + max_tokens, &capacity, err));
    cli_catch_interrupts(generation->run->command->name, "stopping");
    if (policy_is(args, "both")) {
        QA_GOTO(done, titles ? cli_put("[base]\n", 7, err) : QA_OK);
        QA_GOTO(done, answer_prompt(generation, QA_POLICY_BASE, "base: ", capacity, &prompt, err));
        QA_GOTO(done, titles ? cli_put("\n[custom]\n", 10, err) : QA_OK);
        QA_GOTO(done, answer_prompt(generation, QA_POLICY_CUSTOM, "custom: ", capacity, &prompt, err));
    } else {
        const qa_policy policy = policy_is(args, "base") ? QA_POLICY_BASE : QA_POLICY_CUSTOM;
        QA_GOTO(done, answer_prompt(generation, policy, "", capacity, &prompt, err));
    }
done:
    qa_text_free(&prompt.given);
    qa_text_free(&prompt.text);
    qa_ids_free(&prompt.ids);
    return status;
}

/* ---- the command ---- */

/* --in makes the prompts, their order and their form, and what belongs to one prompt or one conversation has no
 * meaning with it; nor has what belongs to it without it. */
static qa_status check_file_arguments(cli_run *run, qa_error *err) {
    const size_t ranks = qa_cluster_ranks(run->cluster);
    static const char *const single[] = {"prompt", "file", "ids", "chat", "system", "ctx-size", "echo", "print-ids"};
    static const char *const many[] = {"out", "samples", "batch", "unique", "first-turn", "columns"};
    const generate_args *args = generate_args_of(run);
    if (args->in == NULL && ranks > 1) {
        return cli_bad_usage(run, err,
                             "several ranks share a file of prompts, --in FILE; one prompt or conversation is "
                             "for one process, and a launcher started %zu",
                             ranks);
    }
    for (size_t i = 0; args->in != NULL && i < sizeof single / sizeof *single; i++) {
        if (cli_given(&run->options, single[i]) != NULL) {
            return cli_bad_usage(run, err, "--%s is for one prompt or conversation: not with --in", single[i]);
        }
    }
    if (args->in != NULL && policy_is(args, "both")) {
        return cli_bad_usage(run, err, "--policy both is for one prompt or conversation: not with --in");
    }
    for (size_t i = 0; args->in == NULL && i < sizeof many / sizeof *many; i++) {
        if (cli_given(&run->options, many[i]) != NULL) {
            return cli_bad_usage(run, err, "--%s needs --in FILE", many[i]);
        }
    }
    return QA_OK;
}

/* What --best-of cannot be with. */
static qa_status check_best_of_arguments(cli_run *run, qa_error *err) {
    const generate_args *args = generate_args_of(run);
    QA_TRY(cli_best_of_check(run, &args->best_of, err));
    if (args->best_of.n == 1) {
        return QA_OK;
    }
    if (args->chat && !has_prompt(args)) {
        return cli_bad_usage(run, err, "--best-of is for a prompt or --in: not for a conversation");
    }
    if (policy_is(args, "both")) {
        return cli_bad_usage(run, err,
                             "--policy both and --best-of exclude each other: the answers of one are chosen from");
    }
    if (args->samples > 1 || args->particles > 1) {
        return cli_bad_usage(run, err, "--best-of and --%s exclude each other",
                             args->samples > 1 ? "samples" : "particles");
    }
    if (args->sampling.temperature == 0.0) {
        return cli_bad_usage(run, err, "--best-of: with --temperature 0 all answers are the same");
    }
    return QA_OK;
}

/* Several adapters are a mixture; --particles corrects one, and samples nothing else. */
static qa_status check_mixture_arguments(cli_run *run, qa_error *err) {
    const generate_args *args = generate_args_of(run);
    const qa_sampling *sampling = &args->sampling;
    if (args->shared.adapters.n > 1 && run->weights == NULL) {
        return cli_bad_usage(run, err,
                             "%zu adapters are given: with weights they answer as one policy, --adapter %s:0.5 "
                             "--adapter %s:0.5",
                             args->shared.adapters.n, args->shared.adapters.items[0], args->shared.adapters.items[1]);
    }
    if (args->particles == 1) {
        return QA_OK;
    }
    if (run->weights == NULL || policy_is(args, "base")) {
        return cli_bad_usage(run, err, "--particles corrects a mixture: give adapters with weights, --adapter DIR:0.5");
    }
    if (args->chat && !has_prompt(args)) {
        return cli_bad_usage(run, err, "--particles is for a prompt or --in: not for a conversation");
    }
    if (sampling->temperature != 1.0 || sampling->top_k != 0 || sampling->top_p != 1.0 || sampling->min_p != 0.0 ||
        sampling->repetition_penalty != 1.0) {
        return cli_bad_usage(run, err,
                             "--particles weighs samples of the mixture itself: not with --temperature, --top-k, "
                             "--top-p, --min-p or --repetition-penalty");
    }
    return QA_OK;
}

static qa_status check_prompt_arguments(cli_run *run, qa_error *err) {
    const generate_args *args = generate_args_of(run);
    QA_TRY(check_file_arguments(run, err));
    QA_TRY(check_mixture_arguments(run, err));
    QA_TRY(check_best_of_arguments(run, err));
    const int prompts = (args->prompt != NULL) + (args->file != NULL) + (args->ids != NULL);
    if (prompts > 1) {
        return cli_bad_usage(run, err, "--prompt, --file and --ids exclude each other");
    }
    if (prompts == 0 && !args->chat && args->in == NULL) {
        return cli_bad_usage(run, err, "missing --prompt TEXT: the text to continue (or --file, --ids, --chat, --in)");
    }
    if (args->chat && args->ids != NULL) {
        return cli_bad_usage(run, err, "--ids are the model's own input: not with --chat");
    }
    if (args->kl && args->in == NULL && !args->shared.json) {
        return cli_bad_usage(run, err, "--kl needs --in FILE or --json");
    }
    if (args->shared.json && args->in == NULL && (prompts == 0 || args->echo || args->print_ids)) {
        return cli_bad_usage(run, err,
                             prompts == 0 ? "--json is for a prompt or --in: not for a conversation"
                                          : "--json has prompt and ids: not with --echo and --print-ids");
    }
    if (args->system != NULL && !args->chat) {
        return cli_bad_usage(run, err, "--system needs --chat");
    }
    if (args->print_ids && args->stop.n > 0) {
        return cli_bad_usage(run, err, "--stop compares text: not with --print-ids");
    }
    if (args->shared.adapter == NULL && !policy_is(args, "base")) {
        return cli_bad_usage(run, err, "--policy %s needs --adapter", args->policy);
    }
    if (args->chat && prompts == 0 && (args->print_ids || args->echo)) {
        return cli_bad_usage(run, err, "--print-ids and --echo need a prompt: --chat alone converses");
    }
    if ((args->commands || args->no_history) && !(args->chat && prompts == 0)) {
        return cli_bad_usage(run, err, "--%s is for a conversation: --chat without a prompt",
                             args->commands ? "commands" : "no-history");
    }
    return QA_OK;
}

/* Whether an adapter is needed: by the policy, or because a conversation may change it. */
static bool takes_adapter(const generate_args *args) {
    const bool converses = args->chat && !has_prompt(args) && (args->commands || isatty(STDIN_FILENO) == 1);
    const bool values = args->best_of.n > 1 && args->best_of.reward.dir == NULL;
    return !policy_is(args, "base") || ((converses || values) && args->shared.adapter != NULL);
}

static qa_status load_generation(generation_run *generation, qa_error *err) {
    cli_run *run = generation->run;
    const generate_args *args = generate_args_of(run);
    generation->sampling = args->sampling;
    QA_TRY(cli_usage_if(run, qa_sampling_check(&generation->sampling, err)));
    const bool adapted = takes_adapter(args), mixes = adapted && run->weights != NULL;
    if (adapted && !mixes) {
        QA_TRY(cli_resolve_objective(run, &generation->objective, NULL, err));
    }
    QA_TRY(cli_load_model_as(run, QA_WEIGHTS_STORED, err));
    if (adapted) {
        QA_TRY(mixes ? cli_load_mixture(run, err) : cli_load_adapter(run, err));
    }
    QA_TRY(cli_load_tokenizer(run, args->ids == NULL, err));
    generation->print_ids = args->print_ids || run->tokenizer == NULL;
    if (args->in != NULL && args->no_special && qa_text_begin(run->tokenizer)->n > 0) {
        cli_warn(run, "--no-special: these prompts go without what the tokenizer puts in front of every text, but in "
                      "training it stands there");
    }
    return prepare_ends(generation, err);
}

static qa_status run_generate(cli_run *run, qa_error *err) {
    generation_run generation = {.run = run};
    qa_status status = QA_OK;
    size_t capacity = 0;
    const qa_option_list *adapters = &run->args->adapters;
    cli_use_adapter(run, adapters->n > 0 ? adapters->items[0] : NULL);
    QA_TRY(check_prompt_arguments(run, err));
    const qa_policy policy = policy_is(generate_args_of(run), "base") ? QA_POLICY_BASE : QA_POLICY_CUSTOM;
    QA_GOTO(done, load_generation(&generation, err));
    if (generate_args_of(run)->in != NULL) {
        QA_GOTO(done, cli_generate_file(&generation, policy, err));
        goto done;
    }
    if (has_prompt(generate_args_of(run))) {
        QA_GOTO(done, answer_one_prompt(&generation, err));
        goto done;
    }
    QA_GOTO(done, choose_capacity(run, DEFAULT_CHAT_CONTEXT, &capacity, err));
    const bool custom = !policy_is(generate_args_of(run), "base"), both = policy_is(generate_args_of(run), "both");
    QA_GOTO(done, cli_converse(&generation, !custom || both, custom, capacity, err));
done:
    free(generation.stops);
    return status;
}

const cli_command cli_generate = {
    .name = "generate",
    .summary = "continue a text, chat, or answer a file of prompts, with the customised policy",
    .about =
        "Continues a prompt with the policy that the adapter and the base model make together, or with the "
        "base model's own. --alpha-0 and --alpha-tilde turn the balance of the two without training again. "
        "Text is printed as it comes; the prompt is not repeated unless --echo asks for it.\n"
        "--in answers a whole file, many prompts at a time. Every line is a dialogue that ends with the "
        "user's message, {\"messages\": [...]} or {\"prompt\": [...]}, and comes out as {\"messages\": "
        "[...]} with the answer appended; or a text, {\"prompt\": \"...\"}, and comes out as {\"prompt\": "
        "\"...\", \"completion\": \"...\"}. The answers are in the order of the prompts, --samples of each "
        "in a row; \"terminal\": false marks those that --max-tokens cut off. With --temperature 0 --unique "
        "that is what `train --method replay` rehearses. Preference data has prompts, too: --first-turn --max-tokens "
        "256 "
        "answers each of its first questions once, as the paper's authors made their replay data.\n"
        "--chat without a prompt is a conversation. At a terminal, and with --commands, lines that begin with / are "
        "commands: /help lists them. /policy both lets the base model and the customised policy answer the same "
        "turns, each behind its own answers.\n"
        "Adapters with weights answer together, as a mixture of their policies; --particles corrects what mixing "
        "token by token gets wrong.\n"
        "--json adds every token's log-probability under the policy and, where the base model runs beside it (or "
        "with --kl), under pi1, and KL(pi || pi1).",
    .examples = "qadapter generate --model MODEL --adapter ADAPTER --prompt 'Once upon a time'\n"
                "qadapter generate --model MODEL --adapter ADAPTER --policy both --temperature 0 --prompt 'Once upon "
                "a time'\n"
                "qadapter generate --model MODEL --adapter ADAPTER --chat\n"
                "qadapter generate --model MODEL --adapter A:1 --adapter B:0.5 --particles 8 --prompt 'Once upon a "
                "time'\n"
                "qadapter generate --model MODEL --in prompts.jsonl --samples 4 --out answers.jsonl",
    .required = "model",
    .on_the_way = true,
    CLI_TABLES(generate_tables),
    .args_bytes = sizeof(generate_args),
    .run = run_generate,
    .many_ranks = true,
};
