/* The man page, in roff's man macros, from the same tables as the help. Section titles are those of man-pages(7). */
#include "cli/help.h"

#include <string.h>

/* Text with what roff takes for its own escaped: backslashes, hyphens (so that options can be copied), and a dot or
 * an apostrophe at the beginning of a line. */
static void put_roff(FILE *to, const char *text, size_t bytes) {
    bool line_start = true;
    for (size_t i = 0; i < bytes; i++) {
        const char c = text[i];
        if (line_start && (c == '.' || c == '\'')) {
            fputs("\\&", to);
        }
        line_start = c == '\n';
        switch (c) {
        case '\\': fputs("\\e", to); break;
        case '-': fputs("\\-", to); break;
        case '\'': fputs("\\(aq", to); break;
        case '^': fputs("\\(ha", to); break;
        case '~': fputs("\\(ti", to); break;
        case '`': fputs("\\(ga", to); break;
        default: fputc(c, to);
        }
    }
}

static void put_roff_z(FILE *to, const char *text) { put_roff(to, text, strlen(text)); }

/* Paragraphs, separated by newlines in the text. */
static void put_paragraphs(FILE *to, const char *text) {
    while (*text != '\0') {
        const size_t length = strcspn(text, "\n");
        put_roff(to, text, length);
        fputc('\n', to);
        text += length;
        if (*text == '\n') {
            text++;
            fprintf(to, ".PP\n");
        }
    }
}

/* Lines as they are, indented. */
static void put_lines(FILE *to, const char *lines) {
    fprintf(to, ".RS 4\n.nf\n");
    put_roff_z(to, lines);
    fprintf(to, "\n.fi\n.RE\n");
}

static void put_synopsis(FILE *to, const cli_command *command) {
    cli_options options;
    char text[CLI_HELP_BYTES];
    cli_options_of(&options, command);
    fprintf(to, ".B qadapter %s\n", command->name);
    if (command->subcommands != NULL) {
        fprintf(to, ".I %s\n", command->subcommands);
    }
    for (size_t i = 0; i < options.n; i++) {
        const qa_option *row = &options.items[i].row;
        if (cli_is_required(command, row->name)) {
            fprintf(to, ".BI \\-\\-");
            put_roff_z(to, row->name);
            fprintf(to, " \" %s\"\n", qa_option_argument(row, text, sizeof text));
        }
    }
    fprintf(to, ".RI [ options ]\n.br\n");
}

static void put_option(FILE *to, const qa_option *option) {
    char text[CLI_HELP_BYTES], choices[CLI_HELP_BYTES];
    const char *argument = qa_option_argument(option, choices, sizeof choices);
    fprintf(to, ".TP\n\\fB");
    if (option->letter != '\0') {
        fprintf(to, "\\-%c\\fR, \\fB", option->letter);
    }
    fputs("\\-\\-", to);
    put_roff_z(to, option->name);
    fputs("\\fR", to);
    if (argument[0] != '\0') {
        fputs(" \\fI", to);
        put_roff_z(to, argument);
        fputs("\\fR", to);
    }
    fputc('\n', to);
    cli_help_text(option, text, sizeof text);
    put_roff_z(to, text);
    fputs(".\n", to);
    if (qa_option_default_text(option, text, sizeof text)) {
        fputs("Default: ", to);
        put_roff_z(to, text);
        fputs(".\n", to);
    }
    if (cli_alias_text(option, text, sizeof text)) {
        fputs("Also: ", to);
        put_roff_z(to, text);
        fputs(".\n", to);
    }
}

void cli_print_man_command(FILE *to, const cli_command *command) {
    cli_options options;
    cli_options_of(&options, command);
    fprintf(to, ".SS qadapter %s\n", command->name);
    put_paragraphs(to, command->about);
    for (int group = 0; group < QA_GROUPS; group++) {
        bool titled = false;
        for (size_t i = 0; i < options.n; i++) {
            if ((int)options.items[i].row.group != group) {
                continue;
            }
            if (!titled) {
                fprintf(to, ".PP\n.I %s\n", cli_group_title((qa_option_group)group));
                titled = true;
            }
            put_option(to, &options.items[i].row);
        }
    }
}

static void put_closing_sections(FILE *to) {
    fprintf(to,
            ".SH EXIT STATUS\n.TP\n.B 0\nThe command did what it was asked.\n.TP\n.B 1\n"
            "It failed; the message on standard error says why and what to do.\n.TP\n.B 2\nThe command line was "
            "wrong; nothing was done.\n.TP\n.B 128 + N\nSignal number N ended the command: 130 SIGINT (Ctrl\\-C), 138 "
            "SIGUSR1, 143 SIGTERM. Of train and pretrain: the last whole step has a checkpoint, and the same command "
            "with \\-\\-resume goes on. Of several ranks every one ends so, whichever got the signal.\n");
    fprintf(to, ".SH ENVIRONMENT\n.TP\n.B QA_CLUSTER_TIMEOUT\n"
                "Seconds for which one of several ranks (mpirun, srun) waits for the others before it ends the run; "
                "1800 if it is not set.\n");
    fprintf(to, ".SH FILES\n.TP\n.IR MODEL /config.json \", \" model.safetensors \", \" tokenizer.json\n"
                "The frozen model: a Hugging Face folder. Sharded weights need model.safetensors.index.json.\n"
                ".TP\n.IR ADAPTER /adapter_config.json \", \" adapter_model.safetensors\n"
                "The adapter, in PEFT's layout.\n"
                ".TP\n.IR ADAPTER /training_config.json\n"
                "The objective and every option of the training run; read by eval, score, generate and info.\n"
                ".TP\n.IR ADAPTER /metrics.jsonl\nOne line for every optimiser step and every evaluation.\n"
                ".TP\n.IR ADAPTER /checkpoint\\-STEP/\nCheckpoints, from which \\-\\-resume continues.\n");
    fprintf(to, ".SH EXAMPLES\n");
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        put_roff_z(to, cli_commands[i]->summary);
        fputs(":\n", to);
        put_lines(to, cli_commands[i]->examples);
        fprintf(to, ".PP\n");
    }
    fprintf(to, "The man page itself:\n");
    put_lines(to, "qadapter help --man > qadapter.1 && man ./qadapter.1");
    fprintf(to, ".SH SEE ALSO\nLi et al.,\n"
                ".IR \"Q\\-Adapter: Customizing Pre\\-trained LLMs to New Preferences with Forgetting Mitigation\" ,\n"
                "ICLR 2025, arXiv 2407.03856.\n");
}

void cli_print_man(FILE *to) {
    fprintf(to, ".TH QADAPTER 1 \"\" \"qadapter %s\" \"User Commands\"\n", qa_version());
    fprintf(to, ".SH NAME\nqadapter \\- customised language models by residual Q\\-learning\n");
    fprintf(to, ".SH SYNOPSIS\n");
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        put_synopsis(to, cli_commands[i]);
    }
    fprintf(to, ".B qadapter help\n.RI [ COMMAND ]\n.br\n.B qadapter help \\-\\-man\n.br\n.B qadapter \\-\\-version\n");
    fprintf(to, ".SH DESCRIPTION\n");
    put_paragraphs(to,
                   "qadapter trains LoRA adapters for frozen language models from preference "
                   "pairs, by residual Q-learning: the adapted model's outputs are Q-values, and the customised policy "
                   "weighs them against the base model's own log-probabilities. It measures such adapters, generates "
                   "text with them, and writes every quantity of the method out for comparison.\n"
                   "Options take their argument as --name value or --name=value; - and _ in names are the same; flags "
                   "can be turned off as --no-name. Of an option given twice the last one counts, except where it may "
                   "be given several times. A JSON file of options, --config FILE, lies under those of the command "
                   "line. Results go to standard output; progress, warnings and errors to standard "
                   "error.");
    fprintf(to, ".SH COMMANDS\n");
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        cli_print_man_command(to, cli_commands[i]);
    }
    put_closing_sections(to);
}
