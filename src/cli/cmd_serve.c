/* qadapter serve: base model and customised policies over HTTP (src/serve), until a signal ends it. */
#include "cli/common.h"
#include "cli/format.h"
#include "cli/mixture.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"
#include "methods/method.h"
#include "rl/objective.h"
#include "serve/server.h"
#include "text/chat_folder.h"
#include "text/chat_texts.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- options ---- */

typedef struct serve_args {
    cli_args shared;
    const char *host, *key_file;
    qa_option_list api_keys;
    size_t port, parallel, ctx_size, max_body, max_queue;
    double timeout;
} serve_args;

#define ROW(kind, ...) QA_##kind(serve_args, __VA_ARGS__), .group = QA_GROUP_RUN

static const qa_option serve_rows[] = {
    {"dtype", QA_WORD(serve_args, shared.weights_dtype, "auto", "f32", "bf16"), .aliases = "torch-dtype",
     .note = "auto",
     .help = "matrices in memory: auto: as the files have them, BF16 or else the program's precision; f32: the latter; "
             "bf16: rounded to BF16"},
    {"host", ROW(STRING, host), .placeholder = "ADDRESS", .standard = "127.0.0.1",
     .help = "where to listen: an address or a name of this machine; 0.0.0.0 is every address: then give "
             "--api-key-file"},
    {"port", ROW(SIZE, port), .standard = "8080", .help = "0 takes a free one"},
    {"parallel", ROW(SIZE, parallel), .aliases = "slots max-num-seqs", .range = QA_RANGE_1_TO_1024, .standard = "8",
     .help = "answers that are made at once; costs memory, and changes no answer but for rounding"},
    {"ctx-size", ROW(SIZE, ctx_size), .letter = 'c', .aliases = "context-length context-size n-ctx max-model-len",
     .range = QA_RANGE_FROM_1, .note = "the model's context, at most 4096",
     .help = "tokens of a prompt with its answer"},
    {"api-key-file", ROW(STRING, key_file), .placeholder = "FILE", .path = QA_PATH_READ,
     .help = "keys, a line each, one of which a request must bring (Authorization: Bearer KEY)"},
    {"api-key", ROW(LIST, api_keys), .placeholder = "KEY",
     .help = "such a key, which everybody on this machine can read in the list of processes; may be given several "
             "times"},
    {"max-body", ROW(SIZE, max_body), .range = QA_RANGE_FROM_1, .standard = "8388608",
     .help = "bytes of a request's body; more is refused with 413"},
    {"max-queue", ROW(SIZE, max_queue), .range = QA_RANGE_1_TO_1024, .standard = "64",
     .help = "requests that wait or are answered at once; more are refused with 503"},
    {"timeout", ROW(NUMBER, timeout), .placeholder = "SECONDS", .range = QA_RANGE_ABOVE_0, .standard = "600",
     .help = "the longest that a request may take, waiting included"},
};
static const qa_option_table serve_table = QA_TABLE(serve_rows);
static const qa_option serve_chat_words = {
    .group = QA_GROUP_INPUT,
    .note = "what the adapters were trained with; else the model folder's own; plain when it has none"};
static const qa_option serve_arg_words = {.group = QA_GROUP_INPUT, .note = "what the adapters were trained with"};
static const cli_table serve_tables[] = {
    {&cli_model_table, 0, "model any-base", NULL},
    {&cli_adapters_table, 0, NULL, NULL},
    {&cli_reading_table, 0, "recipe", NULL},
    {&qa_objective_table, offsetof(cli_args, objective), "q-parametrisation alpha-tilde alpha-0", NULL},
    CLI_METHOD_TABLES,
    {&serve_table, 0, NULL, NULL},
    {&cli_chat_table, 0, "chat-template", &serve_chat_words},
    {&cli_chat_table, 0, "template-arg date", &serve_arg_words}};

enum { DEFAULT_SERVE_CONTEXT = 4096, MAX_PORT = 65535, MAX_TIMEOUT = 1000000, MAX_KEYS_BYTES = 1 << 16 };

static const serve_args *serve_args_of(const cli_run *run) { return (const serve_args *)run->args; }

/* ---- what is served ---- */

typedef struct serving {
    cli_run *run;
    qa_served served;
    qa_answer_end end;
    const qa_option_list *dirs;          /* of the adapters */
    const qa_adapter **loaded;           /* [dirs->n] */
    qa_served_adapter *adapters;         /* [dirs->n] */
    char (*names)[QA_SERVED_NAME_BYTES]; /* [dirs->n] */
    qa_chat_source source;               /* the folder's template */
    json_t *tokenizer_config;
    qa_text key_text;
    const char **keys; /* [n_keys], in key_text */
    size_t n_keys;
    qa_engine *engine;
    qa_server *server;
} serving;

static void free_serving(serving *it) {
    qa_server_stop(it->server);
    qa_engine_free(it->engine);
    for (size_t i = 0; it->loaded != NULL && i < it->dirs->n; i++) {
        qa_adapter_free((qa_adapter *)(uintptr_t)it->loaded[i]);
    }
    free(it->loaded);
    free(it->adapters);
    free(it->names);
    free(it->keys);
    qa_text_free(&it->source.text);
    json_decref(it->tokenizer_config);
    qa_text_free(&it->key_text);
}

static qa_status load_served_adapter(serving *it, size_t i, qa_error *err) {
    cli_run *run = it->run;
    cli_use_adapter(run, it->dirs->items[i]);
    QA_TRY(cli_resolve_objective(run, &it->adapters[i].objective, NULL, err));
    QA_TRY(cli_load_adapter(run, err));
    it->loaded[i] = it->adapters[i].adapter = run->adapter;
    it->adapters[i].name = it->names[i];
    run->adapter = NULL; /* it is ours now */
    return QA_OK;
}

static qa_status load_served_adapters(serving *it, qa_error *err) {
    const size_t n = it->dirs->n;
    QA_TRY(QA_NEW(it->loaded, n, err, "%zu adapters", n));
    QA_TRY(QA_NEW(it->adapters, n, err, "%zu adapters", n));
    QA_TRY(QA_NEW(it->names, n, err, "%zu adapters", n));
    QA_TRY(cli_usage_if(it->run, qa_served_name(it->names, it->dirs->items, n, err)));
    for (size_t i = 0; i < n; i++) {
        QA_TRY(load_served_adapter(it, i, err));
    }
    it->served.adapters = it->adapters;
    it->served.n_adapters = n;
    return QA_OK;
}

static qa_status resolve_served_chat(serving *it, qa_error *err) {
    bool assumed = false;
    QA_TRY(cli_agree_on_chat(it->run, it->dirs, &it->served.chat, &assumed, err));
    if (assumed) {
        cli_say(it->run, "%s has no chat template: using plain (--chat-template names another)", it->run->args->model);
    }
    return QA_OK;
}

/* The name of the padding token, for clients that ask for it; nothing here pads. */
static const char *find_pad_token(serving *it) {
    qa_error ignored = {0};
    char *path = qa_path_join(it->run->args->model, "tokenizer_config.json");
    const bool read = path != NULL && qa_json_load(&it->tokenizer_config, path, &ignored) == QA_OK;
    const json_t *pad = read ? json_object_get(it->tokenizer_config, "pad_token") : NULL;
    free(path);
    pad = json_is_object(pad) ? json_object_get(pad, "content") : pad;
    return json_is_string(pad) ? json_string_value(pad) : qa_tokenizer_eos_text(it->run->tokenizer);
}

/* Word for word: a template that has a name here stands in the folder, or is one of our own. */
static const char *find_template_text(serving *it) {
    const qa_chat *chat = it->served.chat;
    const char *own = chat == NULL ? NULL : qa_chat_recorded_text(qa_chat_record(chat));
    qa_error ignored = {0};
    if (chat == NULL || own != NULL) {
        return own;
    }
    const bool found = qa_chat_source_in(&it->source, it->run->args->model, NULL, NULL, &ignored) == QA_OK;
    return found && it->source.which == qa_chat_which(chat) ? it->source.text.data
                                                            : qa_chat_builtin_text(qa_chat_which(chat));
}

static qa_status choose_served_context(serving *it, qa_error *err) {
    const size_t limit = qa_model_get_info(it->run->model)->context, asked = serve_args_of(it->run)->ctx_size;
    if (asked > limit) {
        return cli_bad_usage(it->run, err, "--ctx-size: expected at most %zu, the model's context, found \"%zu\"",
                             limit, asked);
    }
    it->served.model_context = limit;
    it->served.context = asked > 0 ? asked : limit < DEFAULT_SERVE_CONTEXT ? limit : DEFAULT_SERVE_CONTEXT;
    return QA_OK;
}

static qa_status load_serving(serving *it, qa_error *err) {
    cli_run *run = it->run;
    qa_served *served = &it->served;
    QA_TRY(cli_load_model_as(run, QA_WEIGHTS_STORED, err));
    const qa_model_info *info = qa_model_get_info(run->model);
    QA_TRY(choose_served_context(it, err));
    QA_TRY(load_served_adapters(it, err));
    QA_TRY(cli_load_tokenizer(run, true, err));
    QA_TRY(resolve_served_chat(it, err));
    QA_TRY(qa_answer_end_find(&it->end, served->chat, run->tokenizer, info->eos_ids, info->n_eos, err));
    served->model = run->model;
    served->tokenizer = run->tokenizer;
    served->end = &it->end;
    served->template_text = find_template_text(it);
    served->pad_token = find_pad_token(it);
    served->vocab_size = info->vocab_size;
    served->created = (long long)time(NULL);
    const size_t parallel = serve_args_of(run)->parallel, mixed = 1 + it->served.n_adapters; /* streams of a mixture */
    const bool few = it->served.n_adapters > 0 && 2 * parallel < mixed;
    const qa_engine_limits limits = {.slots = parallel, .capacity = served->context, .streams = few ? mixed : 0};
    const qa_status status = qa_engine_create(&it->engine, run->model, it->loaded, it->served.n_adapters, &limits, err);
    return status == QA_ERR_MEMORY
               ? qa_prefixed(status, err, "%zu answers at once (--parallel) of %zu tokens (--ctx-size): ", limits.slots,
                             limits.capacity)
               : status;
}

/* ---- keys ---- */

static qa_status read_keys(serving *it, qa_error *err) {
    const char *path = serve_args_of(it->run)->key_file;
    const qa_option_list *given = &serve_args_of(it->run)->api_keys;
    char *save = NULL;
    if (path != NULL) {
        QA_TRY(qa_read_file(&it->key_text, path, MAX_KEYS_BYTES, err));
    }
    QA_TRY(QA_NEW(it->keys, given->n + it->key_text.n / 2 + 1, err, "keys"));
    for (char *word = it->key_text.n == 0 ? NULL : strtok_r(it->key_text.data, " \t\r\n", &save); word != NULL;
         word = strtok_r(NULL, " \t\r\n", &save)) {
        it->keys[it->n_keys++] = word;
    }
    QA_FAIL_IF(path != NULL && it->n_keys == 0, err, QA_ERR_FORMAT,
               "%s has no key: write one, a line of letters and digits", path);
    for (size_t i = 0; i < given->n; i++) {
        if (given->items[i][0] == '\0') {
            return cli_bad_usage(it->run, err, "--api-key: expected letters and digits, found \"\"");
        }
        it->keys[it->n_keys++] = given->items[i];
    }
    return QA_OK;
}

/* ---- the command ---- */

static void say_ready(const serving *it) {
    cli_run *run = it->run;
    if (!qa_server_is_local(it->server) && it->n_keys == 0) {
        cli_warn(run, "whoever reaches this port may ask: --api-key-file lets in those with a key only");
    }
    char names[CLI_LINE_BYTES] = "base";
    for (size_t i = 0, used = 4; i < it->served.n_adapters && used < sizeof names; i++) {
        used += (size_t)snprintf(names + used, sizeof names - used, ", %s", it->names[i]);
    }
    cli_say(run, "%s serves %s (%zu at once, %zu tokens each); Ctrl-C ends", qa_server_url(it->server), names,
            serve_args_of(run)->parallel, it->served.context);
}

/* Until the first signal, and then until what runs has its answers. A second one ends the process. */
static void wait_for_the_end(serving *it) {
    const struct timespec moment = {.tv_nsec = 50000000L};
    while (!cli_interrupted()) {
        (void)nanosleep(&moment, NULL);
    }
    qa_server_drain(it->server);
    while (!qa_server_is_idle(it->server)) {
        (void)nanosleep(&moment, NULL);
    }
}

static qa_status serve_until_signal(serving *it, qa_error *err) {
    const serve_args *args = serve_args_of(it->run);
    const qa_server_options options = {.served = &it->served,
                                       .engine = it->engine,
                                       .host = args->host,
                                       .port = (unsigned)args->port,
                                       .keys = it->keys,
                                       .n_keys = it->n_keys,
                                       .max_body = args->max_body,
                                       .max_queue = args->max_queue,
                                       .timeout = args->timeout};
    (void)signal(SIGPIPE, SIG_IGN); /* a client that goes away is no reason to */
    cli_catch_interrupts(it->run->command->name, "finishing what runs");
    QA_TRY(qa_server_start(&it->server, &options, err));
    say_ready(it);
    wait_for_the_end(it);
    return QA_OK;
}

static qa_status run_serve(cli_run *run, qa_error *err) {
    serving it = {.run = run, .dirs = &run->args->adapters};
    qa_status status = QA_OK;
    if (serve_args_of(run)->port > MAX_PORT) {
        return cli_bad_usage(run, err, "--port: expected at most %d, found \"%zu\"", MAX_PORT,
                             serve_args_of(run)->port);
    }
    if (serve_args_of(run)->timeout > MAX_TIMEOUT) {
        return cli_bad_usage(run, err, "--timeout: expected at most %d seconds, found \"%g\"", MAX_TIMEOUT,
                             serve_args_of(run)->timeout);
    }
    QA_TRY(run->weights == NULL ? QA_OK : cli_no_weights(run, err));
    QA_TRY(qa_server_available(err));
    QA_GOTO(done, read_keys(&it, err));
    QA_GOTO(done, load_serving(&it, err));
    QA_GOTO(done, serve_until_signal(&it, err));
done:
    free_serving(&it);
    return status;
}

const cli_command cli_serve = {
    .name = "serve",
    .summary = "answer over HTTP, as OpenAI's interface has it",
    .about =
        "One process serves the model (its name is base) and every --adapter, from one copy of the weights: custom "
        "where there is one adapter, else the last name of its folder, and with dials "
        "custom:alpha-0=0.5,alpha-tilde=1; several together are mix:NAME=1,NAME=0.5. A line on standard error says "
        "when it is ready, and where; docs/serve.md "
        "has the protocol: POST /v1/completions and /v1/chat/completions, GET /v1/models, /health, "
        "/tokenizer_info, POST /tokenize, /detokenize, and a page at /.\n"
        "SIGTERM or Ctrl-C refuses what is new and finishes what runs; a second one ends it at once.",
    .examples = "qadapter serve --model MODEL --adapter ADAPTER\n"
                "qadapter serve --model MODEL --adapter runs/formal --adapter runs/plain --host 0.0.0.0 --port 8000 "
                "--api-key-file keys",
    .required = "model",
    CLI_TABLES(serve_tables),
    .args_bytes = sizeof(serve_args),
    .run = run_serve,
};
