/* Options that several commands take (see options.h). What only one takes is in its file; what the library reads, in
 * the library. */
#include "cli/options.h"

#include "base/try.h"
#include "data/column_map.h"

#include <stdio.h>

#define ROW(kind, ...) QA_##kind(cli_args, __VA_ARGS__)

/* ---- every command ---- */

static const qa_option common_rows[] = {
    {"threads", ROW(SIZE, threads), .letter = 't', .aliases = "n-threads num-threads", .range = QA_RANGE_1_TO_1024,
     .note = "all cores", .help = "threads that compute"},
    {"verbose", ROW(FLAG, verbose), .help = "say more on standard error"},
    {"quiet", ROW(FLAG, quiet), .letter = 'q', .aliases = "silent",
     .help = "say nothing on standard error but warnings and errors"},
    {"help", ROW(FLAG, help), .letter = 'h', .help = "print this help"},
};
const qa_option_table cli_common_table = QA_TABLE(common_rows);

#define CONFIG(its_name, also)                                                                                         \
    {                                                                                                                  \
        (its_name), ROW(STRING, config),                                                                               \
            .aliases = (also), .placeholder = "FILE", .path = QA_PATH_READ, .note = "none",                            \
            .help = "options by their names, as a JSON object, {\"learning-rate\": "                                   \
                    "0.0003, ...}, lists as arrays; what the "                                                         \
                    "command line says counts. For train also the training_config.json of a run"                       \
    }
static const qa_option config_rows[] = {CONFIG("config", "config-file options-file"), CONFIG("options-file", NULL)};
const qa_option_table cli_config_table = QA_TABLE(config_rows);

/* ---- model and adapter ---- */

static const qa_option model_rows[] = {
    {"model", ROW(STRING, model), .letter = 'm', .aliases = "model-name-or-path model-path base-model",
     .placeholder = "DIR", .path = QA_PATH_READ, .help = "folder of the frozen model, as Hugging Face lays it out"},
    {"adapter", ROW(STRING, adapter), .aliases = "lora adapter-name-or-path adapter-path peft", .placeholder = "DIR",
     .path = QA_PATH_READ, .note = "none: the model alone",
     .help = "folder of the adapter, as PEFT lays it out, or of the model that train --full left"},
    {"dtype", ROW(WORD, weights_dtype, "f32", "auto", "bf16"), .aliases = "torch-dtype", .note = "f32",
     .help = "matrices in memory: f32: in the program's precision; auto: those that the files have in BF16 stay in "
             "BF16, half the memory; bf16: rounded to BF16"},
    {"any-base", ROW(FLAG, any_base), .help = "go on where the adapter was trained on another base model than --model"},
};
const qa_option_table cli_model_table = QA_TABLE(model_rows);

static const qa_option adapters_rows[] = {
    {"adapter", ROW(LIST, adapters), .aliases = "lora adapter-name-or-path adapter-path peft", .placeholder = "DIR",
     .path = QA_PATH_READ,
     .help = "folder of an adapter, as PEFT lays it out, or of the model that train --full left; may be given several "
             "times"},
};
const qa_option_table cli_adapters_table = QA_TABLE(adapters_rows);

/* ---- dialogues and pairs ---- */

static qa_status parse_template(void *value, const char *text, qa_error *err) {
    *(const char **)value = text;
    return text[0] != '\0' ? QA_OK : qa_fail(err, QA_ERR_ARGUMENT, "expected a name or a file, found \"\"");
}

static void format_template(const void *value, char *text, size_t bytes) {
    const char *name = *(const char *const *)value;
    (void)snprintf(text, bytes, "%s", name == NULL ? "" : name);
}

static const char *list_templates(char *text, size_t bytes) {
    (void)snprintf(text, bytes, "%s", qa_chat_template_names());
    return text;
}

static const qa_option_other template_type = {parse_template, format_template, list_templates, false};

static const qa_option chat_rows[] = {
    {"chat-template", ROW(OTHER, chat_template, template_type), .aliases = "template", .placeholder = "NAME|FILE",
     .group = QA_GROUP_DATA, .path = QA_PATH_READ, .note = "the model folder's own; plain when it has none",
     .help = "how dialogues are written: a file with a template, the name of one of several in the model's folder, or "
             "one of"},
    {"template-arg", ROW(LIST, template_args), .key = "template_args", .aliases = "chat-template-arg",
     .placeholder = "NAME=VALUE", .group = QA_GROUP_DATA,
     .help =
         "a variable of the chat template, such as enable_thinking=false; VALUE is JSON, or else text; may be given "
         "several times"},
    {"date", ROW(STRING, date), .key = "template_date", .placeholder = "YYYY-MM-DD", .group = QA_GROUP_DATA,
     .note = "today", .help = "the day that the chat template writes where it asks for it"},
};
const qa_option_table cli_chat_table = QA_TABLE(chat_rows);

#define TRAINED_WITH "what the adapter was trained with; else "
const qa_option cli_chat_words = {.group = QA_GROUP_DATA,
                                  .note = TRAINED_WITH "the model folder's own; plain when it has none"};
const qa_option cli_chat_arg_words = {.group = QA_GROUP_DATA, .note = TRAINED_WITH "none"};
const qa_option cli_date_words = {.group = QA_GROUP_DATA, .note = TRAINED_WITH "today"};

static qa_status parse_columns(void *value, const char *text, qa_error *err) {
    qa_column_map map;
    *(const char **)value = text;
    QA_TRY(qa_column_map_parse(&map, text, QA_COLUMNS_OF_ANY, err));
    qa_column_map_free(&map);
    return QA_OK;
}

static const qa_option_other columns_type = {parse_columns, format_template, NULL, false};

static const qa_option pairs_rows[] = {
    {"data", ROW(STRING, data), .letter = 'd', .placeholder = "FILE", .group = QA_GROUP_DATA, .path = QA_PATH_READ,
     .aliases = "dataset dataset-name eval-file eval-data eval-dataset data-path data-dir",
     .help = "preference pairs, JSON or JSON Lines, in any known form"},
    {"columns", ROW(OTHER, columns, columns_type), .aliases = "column-mapping", .placeholder = "NAME=COLUMN,...",
     .group = QA_GROUP_DATA, .note = "the file has our names",
     .help = "which column of the file is which: prompt=question,chosen=good,rejected=bad; with system, instruction, "
             "input or history, which are strings, the row becomes a dialogue (docs/formats.md)"},
    {"response-end", ROW(WORD, response_end, "token", "template"), .group = QA_GROUP_DATA,
     .note = TRAINED_WITH "token, template with --published-data-quirks",
     .help =
         "a dialogue's response ends with the token that ends the turn, or with everything that the template writes "
         "up to the next turn, as in TRL: in ChatML and its kin and in Zephyr the newline after that token"},
    {"max-length", ROW(SIZE, max_length), .aliases = "cutoff-len cutoff-length max-seq-length", .group = QA_GROUP_DATA,
     .range = QA_RANGE_FROM_1, .standard = "512", .note = "%, or the model's context if that is shorter",
     .help = "tokens of prompt and response together; a longer response is cut, a pair whose prompt is longer is "
             "skipped"},
    {"max-pairs", ROW(SIZE, max_pairs), .aliases = "max-samples", .group = QA_GROUP_DATA, .range = QA_RANGE_FROM_1,
     .note = "all", .help = "use only the first N pairs"},
    {"dsp-domain", ROW(STRING, dsp_domain), .aliases = "data-class domain", .placeholder = "NAME",
     .group = QA_GROUP_DATA, .help = "raw DSP files: the domain whose response is preferred (academy, business...)"},
    {"strict", ROW(FLAG, strict), .group = QA_GROUP_DATA, .help = "a pair that would be skipped is an error"},
    {"published-data-quirks", ROW(FLAG, published_quirks), .group = QA_GROUP_DATA,
     .help = "prepare data as the authors' code does: label boundary at most 256 tokens, doubled beginning-of-sequence "
             "token, responses up to the next turn (--response-end template)"},
};
const qa_option_table cli_pairs_table = QA_TABLE(pairs_rows);
const qa_option cli_examples_words = {.group = QA_GROUP_DATA,
                                      .help =
                                          "preference pairs, single answers or lists of answers to one prompt, JSON "
                                          "or JSON Lines, in any known form"};
const qa_option cli_response_end_words = {.group = QA_GROUP_DATA,
                                          .note = "token; template with --published-data-quirks"};

/* ---- how an adapter is read ---- */

static const qa_option reading_rows[] = {
    {"recipe", ROW(WORD, recipe, "theory", "published"), .group = QA_GROUP_OBJECTIVE,
     .note = "what the adapter was trained with; else theory",
     .help = "sets the objective's options, each of which can still be given on its own"},
    {"micro-batch", ROW(SIZE_OR_ALL, micro_batch), .letter = 'b', .placeholder = "N|all",
     .aliases = "micro-batch-size per-device-eval-batch-size batch-size eval-batch-size", .group = QA_GROUP_OBJECTIVE,
     .range = QA_RANGE_FROM_1, .note = "what the adapter was trained with; else all",
     .help = "pairs that share a padded length (published objective only)"},
};
const qa_option_table cli_reading_table = QA_TABLE(reading_rows);

const qa_option cli_reading_words = {.group = QA_GROUP_OBJECTIVE, .note = "what the adapter was trained with; else %"};
const qa_option cli_method_words = {
    .group = QA_GROUP_OBJECTIVE,
    .note = "what the adapter was trained with; without a record sft, a plain LoRA adapter",
    .help = "how the adapter is read: qadapter as a residual Q-function (see --recipe); the others as the policy "
            "itself, softmax of the adapted model's logits"};

/* ---- what is said ---- */

static const qa_option output_rows[] = {
    {"json", ROW(FLAG, json), .group = QA_GROUP_OUTPUT, .help = "print JSON instead of a table"},
    {"log-every", ROW(SIZE, log_every), .aliases = "logging-steps log-steps", .group = QA_GROUP_RUN,
     .range = QA_RANGE_FROM_1, .note = "every step of short runs, else about every hundredth of the run or 10 seconds",
     .help = "when standard error is not a terminal: a line every N steps (metrics.jsonl has every step)"},
};
const qa_option_table cli_output_table = QA_TABLE(output_rows);
