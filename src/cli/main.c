/* The program: finds the command, parses its options, runs it, prints its error. */
#include "cli/common.h"
#include "cli/format.h"
#include "cli/help.h"
#include "cli/outputs.h"

#include "base/try.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

const cli_command cli_commands[] = {
    {"info", CLI_INFO, "tell what a model and an adapter are, and what they cost",
     "Loads a model and tells its architecture, every dimension, its parameters and those that an adapter trains, its "
     "tokenizer and chat template, and the memory that training and generation take. With --adapter also what the "
     "adapter is and what it was trained for. A folder that holds only a tokenizer is described as well.",
     "qadapter info --model MODEL\nqadapter info --model MODEL --adapter ADAPTER --json", cli_cmd_info, NULL},
    {"tokenize", CLI_TOKENIZE, "turn text and dialogues into token ids and back",
     "Reads JSON Lines and writes one line for each. A line is taken by the first of these members that it has:\n"
     "{\"messages\": [{\"role\": \"user\", \"content\": \"...\"}...], \"add_generation_prompt\": false} gives "
     "{\"text\": "
     "..., \"ids\": [...]}, the dialogue as the chat template writes it, encoded without further special tokens;\n"
     "{\"ids\": [...], \"skip_special_tokens\": false} gives {\"text\": ...};\n"
     "{\"text\": \"...\", \"add_special\": true} gives {\"ids\": [...], \"decoded\": ...}.\n"
     "The folder needs no config.json and no weights.",
     "echo '{\"text\": \"Once upon a time\"}' | qadapter tokenize --model MODEL\n"
     "qadapter tokenize --model MODEL --text 'Once upon a time'",
     cli_cmd_tokenize, NULL},
    {"train", CLI_TRAIN, "train an adapter on preference pairs",
     "Trains a LoRA adapter as the residual Q-function of the given preferences and writes it in PEFT's layout, with "
     "training_config.json and metrics.jsonl beside it; --method trains the same adapter by supervised fine-tuning, "
     "replay or DPO instead. Ctrl-C, SIGTERM, SIGHUP (a terminal that closes), SIGUSR1, SIGUSR2 and SIGXCPU leave "
     "the step or the evaluation, write a checkpoint of the last whole step and tell how to resume; a second Ctrl-C or "
     "SIGTERM ends the program at once. The exit status is then 128 and the signal's number.",
     "qadapter train --model MODEL --data train.jsonl --out ADAPTER --eval-data eval.jsonl\n"
     "qadapter train --model MODEL --data train.jsonl --out ADAPTER --recipe published --batch-size 512 "
     "--micro-batch 1\nqadapter train --model MODEL --data train.jsonl --out ADAPTER --method dpo --dpo-beta 0.1\n"
     "qadapter train --model MODEL --data train.jsonl --out ADAPTER --resume",
     cli_cmd_train, NULL},
    {"pretrain", CLI_PRETRAIN, "train a small model from nothing",
     "Next-token training of all weights of a small model from random ones, on documents packed into steps so that "
     "none "
     "attends to another. Leaves a Hugging Face folder, with training_config.json, metrics.jsonl and checkpoints "
     "beside "
     "it. Signals are taken as by `train`: Ctrl-C leaves the step, writes a checkpoint and tells how to resume.",
     "qadapter pretrain --config config.json --tokenizer TOKENIZER --corpus train.jsonl --eval-corpus validation.jsonl "
     "--out MODEL --dtype bf16\n"
     "qadapter pretrain --config config.json --tokenizer TOKENIZER --corpus train.jsonl --out MODEL --epochs 2 "
     "--save-every 200 --resume",
     cli_cmd_pretrain, NULL},
    {"eval", CLI_EVAL, "measure an adapter on preference pairs and on a suite of questions",
     "Scores every pair and tells accuracy, margins, losses, rewards, how far the customised policy is from the base "
     "model, and the negative log-likelihood of both responses under both. Method and objective are those that the "
     "adapter was trained with, unless options say otherwise.\n"
     "With --suite it answers questions and grades them, samples answers to open requests and tells the shares of "
     "their "
     "classes, and measures the perplexity of ordinary text. With --preference it also tells how far these shares are "
     "from those of the optimal policy, which follow from the base model's, and the accuracy on held-out pairs. "
     "Without "
     "--adapter the model alone is measured.",
     "qadapter eval --model MODEL --adapter ADAPTER --data eval.jsonl\n"
     "qadapter eval --model weights/village/model --adapter ADAPTER --suite village --preference academy\n"
     "qadapter eval --model MODEL --suite questions.jsonl --transcript answers.jsonl\n"
     "qadapter eval --model MODEL --adapter ADAPTER --data eval.jsonl --json",
     cli_cmd_eval, NULL},
    {"score", CLI_SCORE, "write every quantity of the method for every pair",
     "Writes one JSON line per pair: for both sides the token ids, and at every counted transition log pi1, Q, V, the "
     "implied reward and log pi of the customised policy; the return; and the pair's logit and loss. Numbers have as "
     "many digits as it takes to read them back exactly. Meant for comparing implementations.",
     "qadapter score --model MODEL --adapter ADAPTER --data pairs.jsonl --out scores.jsonl\n"
     "qadapter score --model MODEL --adapter ADAPTER --data pairs.jsonl --full | head -n 1",
     cli_cmd_score, NULL},
    {"generate", CLI_GENERATE, "continue a text, chat, or answer a file of prompts, with the customised policy",
     "Continues a prompt with the policy that the adapter and the base model make together, or with the base model's "
     "own. --alpha-0 and --alpha-tilde turn the balance of the two without training again. Text is printed as it "
     "comes; the prompt is not repeated unless --echo asks for it.\n"
     "--in answers a whole file, many prompts at a time. Every line is a dialogue that ends with the user's message, "
     "{\"messages\": [...]} or {\"prompt\": [...]}, and comes out as {\"messages\": [...]} with the answer appended; "
     "or a "
     "text, {\"prompt\": \"...\"}, and comes out as {\"prompt\": \"...\", \"completion\": \"...\"}. The answers are in "
     "the order of the prompts, --samples of each in a row; \"terminal\": false marks those that --max-tokens cut off. "
     "With --temperature 0 --unique that is what `train --method "
     "replay` rehearses.",
     "qadapter generate --model MODEL --adapter ADAPTER --prompt 'Once upon a time'\n"
     "qadapter generate --model MODEL --adapter ADAPTER --policy both --temperature 0 --prompt 'Once upon a time'\n"
     "qadapter generate --model MODEL --adapter ADAPTER --chat\n"
     "qadapter generate --model MODEL --in prompts.jsonl --samples 4 --out answers.jsonl",
     cli_cmd_generate, NULL},
    {"tabular", CLI_TABULAR, "prove the equations on problems small enough to solve exactly",
     "Needs no model. The first word says what is done:\n"
     "recover: random problems with known r1 and r2. The policy from pi1 and r2 alone is compared with the optimum for "
     "lambda r1 + r2 solved directly, and the reward with the one that the Q-function implies.\n"
     "identities: telescoping, DPO as a special case, and the limits of the inference dial, on random tables.\n"
     "consistency: preference pairs sampled from a known r2; how far the learned policy is from the true optimum, by "
     "number of pairs, for both objectives and parametrisations, with and without regulariser and wrong labels.\n"
     "dial: alpha_0 turned after learning; expected reward under r1 and r2, beside the exact optimum of every "
     "alpha_0.\n"
     "solve: a problem from a JSON file; every quantity of the method, and the optimum solved directly.\n"
     "The program built with PRECISION=f64 proves the equations; in single precision the same errors are larger.",
     "qadapter tabular recover --n 1000 --seed 1\nqadapter tabular identities\n"
     "qadapter tabular consistency --out consistency.tsv\nqadapter tabular dial --json\n"
     "qadapter tabular solve --mdp docs/examples/mdp.json",
     cli_cmd_tabular, "recover|identities|consistency|dial|solve"},
    {"golden", CLI_GOLDEN, "check another implementation of the method against this one",
     "make writes a golden bundle: model, adapter, pairs, every option, and every number that the method makes of "
     "them, "
     "in double precision, by plain loops in a fixed order that give the same bits on every machine. It needs the "
     "program built with PRECISION=f64, --model, --adapter, --data and --out.\n"
     "check compares a safetensors file that another implementation wrote with a bundle. It prints a table in forward "
     "order and one sentence: the first tensor that departs, and which of the known mistakes, made on the bundle's "
     "inputs, gives these numbers. The exit status is 0 only if everything given is within tolerance. "
     "docs/golden.md tells what is in a bundle and how to write a candidate.",
     "qadapter golden check weights/golden/theory-logits candidate.safetensors\n"
     "qadapter golden make --model MODEL --adapter ADAPTER --data pairs.jsonl --out BUNDLE --all-activations",
     cli_cmd_golden, "make|check"},
    {"bench", CLI_BENCH, "measure speed and memory against what the machine allows",
     "Times loading, a training step, a prompt and the generation of a token, and beside each its floor, in turns in "
     "the "
     "same process: the bare matrix products of the step and of the prompt by BLAS with its own threads, and one read "
     "of "
     "the weights for a token. The training step is timed twice: as of a pair's first visit, and as of later epochs, "
     "when "
     "what the frozen model makes of the pair is kept. Tells medians, smallest and largest, the floor's share of the "
     "time, what the time of a "
     "training step goes into, and the memory that was planned and taken. Speed depends on the machine and on what "
     "else "
     "runs on it; the ratios do less.\n"
     "The adapter is a fresh one and nothing is written. docs/speed.md tells what each figure is.",
     "qadapter bench --model MODEL\n"
     "qadapter bench --model MODEL --lora-target all-linear --prompt-length 256 --response-length 64 --json\n"
     "qadapter bench --model MODEL --data train.jsonl --pairs 8 --recipe published\n"
     "qadapter bench --model MODEL --measure decode --prompt-length 1024",
     cli_cmd_bench, NULL},
};

const size_t cli_n_commands = sizeof cli_commands / sizeof cli_commands[0];

static const cli_command *find_command(const char *name) {
    for (size_t i = 0; i < cli_n_commands; i++) {
        if (strcmp(cli_commands[i].name, name) == 0) {
            return &cli_commands[i];
        }
    }
    return NULL;
}

static int unknown_command(const char *name) {
    const char *names[sizeof cli_commands / sizeof cli_commands[0]];
    for (size_t i = 0; i < cli_n_commands; i++) {
        names[i] = cli_commands[i].name;
    }
    const char *close = cli_closest(name, names, cli_n_commands);
    fputs("qadapter: unknown command \"", stderr);
    cli_put_plain(stderr, name);
    fputc('"', stderr);
    if (close != NULL) {
        fprintf(stderr, "; did you mean %s?", close);
    }
    fprintf(stderr, "\n\n");
    cli_print_usage(stderr);
    return EXIT_USAGE;
}

/* Everything on standard output must have arrived: a full disk is a failure, not a success. */
static int finish_output(const char *who, int status) {
    const int failed = ferror(stdout);
    if (fclose(stdout) != 0 || failed) {
        if (status == EXIT_GOOD) {
            fprintf(stderr, "qadapter%s%s: cannot write to standard output%s%s\n", who[0] == '\0' ? "" : " ", who,
                    errno == 0 ? "" : ": ", errno == 0 ? "" : strerror(errno));
            return EXIT_FAILED;
        }
    }
    return status;
}

static int run_help(int argc, char **argv) {
    if (argc == 2) {
        cli_print_overview(stdout);
        return EXIT_GOOD;
    }
    if (argc == 4 && find_command(argv[2]) != NULL && cli_is_subcommand(find_command(argv[2]), argv[3])) {
        cli_print_help(stdout, find_command(argv[2]), argv[3]);
        return EXIT_GOOD;
    }
    if (argc > 3) {
        fprintf(stderr, "qadapter help: expected one command, found %d words\n", argc - 2);
        return EXIT_USAGE;
    }
    if (strcmp(argv[2], "--man") == 0) {
        cli_print_man(stdout);
        return EXIT_GOOD;
    }
    if (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0 || strcmp(argv[2], "help") == 0) {
        cli_print_overview(stdout);
        return EXIT_GOOD;
    }
    const cli_command *command = find_command(argv[2]);
    if (command == NULL) {
        return unknown_command(argv[2]);
    }
    cli_print_help(stdout, command, NULL);
    return EXIT_GOOD;
}

static qa_status parse_and_run(cli_run *run, cli_args *args, qa_error *err) {
    const qa_status parsed = cli_parse(args, run->command, run->argc, run->argv, 2, err);
    if (parsed != QA_OK) {
        return cli_usage_if(run, parsed);
    }
    if (args->help) {
        cli_print_help(stdout, run->command, args->subcommand);
        return QA_OK;
    }
    if (args->quiet && args->verbose) {
        return cli_bad_usage(run, err, "--quiet and --verbose contradict each other");
    }
    QA_TRY(cli_check_outputs(run, err));
    return run->command->run(run, err);
}

static int run_command(const cli_command *command, int argc, char **argv) {
    cli_args args;
    qa_error err = {0};
    cli_args_init(&args, command->bit);
    cli_run run = {.command = command, .args = &args, .argc = argc, .argv = argv};
    const qa_status status = parse_and_run(&run, &args, &err);
    cli_run_free(&run);
    cli_args_free(&args);
    if (status == QA_OK) {
        return EXIT_GOOD;
    }
    (void)fflush(stdout); /* what was printed comes before the error */
    fprintf(stderr, "qadapter %s: %s\n", command->name, err.message);
    if (status == QA_ERR_INTERRUPTED && cli_signal() != 0) {
        return CLI_EXIT_SIGNAL + cli_signal();
    }
    if (run.bad_usage) {
        fprintf(stderr, "qadapter %s --help lists the options.\n", command->name);
        return EXIT_USAGE;
    }
    return EXIT_FAILED;
}

/* A file opened while 0, 1 or 2 is closed would get that number, and what is printed would end up in it. Each is taken
 * by /dev/null opened the wrong way round, so that using it stays the error that it is. */
static void occupy_standard_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) == -1) {
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* the lowest free number, which is fd */
        }
    }
}

static bool is_limited(int resource) {
    struct rlimit limit;
    return getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

/* OpenBLAS starts threads of its own before main() begins, which this program never uses. Where there is no room for
 * their buffers (ulimit -v) they ask for it for ever, and the program never ends. So where memory is limited the
 * program is started once more, without them, whatever OPENBLAS_NUM_THREADS says: it would not be heeded anyway. */
static void start_without_threads_of_blas(char **argv) {
    static const char name[] = "OPENBLAS_NUM_THREADS";
    const char *set = getenv(name);
    if ((set == NULL || strcmp(set, "1") != 0) && (is_limited(RLIMIT_AS) || is_limited(RLIMIT_DATA)) &&
        setenv(name, "1", 1) == 0) {
        (void)execv("/proc/self/exe", argv); /* where there is no /proc it goes on as it is */
    }
}

int main(int argc, char **argv) {
    start_without_threads_of_blas(argv);
    occupy_standard_descriptors();
    static char line[BUFSIZ]; /* a line at a time, so that what a signal handler says comes between two of them */
    (void)setvbuf(stderr, line, _IOLBF, sizeof line);
    (void)setlocale(LC_ALL, "C");   /* numbers with a point, whatever a preloaded library has chosen */
    (void)signal(SIGPIPE, SIG_DFL); /* a closed pipe ends the program quietly, whatever the parent had set */
    (void)signal(SIGXFSZ, SIG_IGN); /* a file over the limit is an error with a message, not a death */
    if (argc < 2) {
        cli_print_usage(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 || strcmp(word, "version") == 0) {
        printf("qadapter %s (%s)\n", qa_version(), qa_precision());
        return finish_output("", EXIT_GOOD);
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        cli_print_overview(stdout);
        return finish_output("", EXIT_GOOD);
    }
    if (strcmp(word, "help") == 0) {
        return finish_output("help", run_help(argc, argv));
    }
    const cli_command *command = find_command(word);
    if (command == NULL) {
        return unknown_command(word);
    }
    return finish_output(command->name, run_command(command, argc, argv));
}
