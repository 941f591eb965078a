/* The program: finds the command, parses its options, runs it, prints its error. */
#include "cli/common.h"
#include "cli/config_file.h"
#include "cli/format.h"
#include "cli/help.h"
#include "cli/mixture.h"
#include "cli/outputs.h"

#include "base/memory.h"
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

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, MOST_COMMANDS = 64 };

static const cli_command *find_command(const char *name) {
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        if (strcmp(cli_commands[i]->name, name) == 0) {
            return cli_commands[i];
        }
    }
    return NULL;
}

static int unknown_command(const char *name) {
    const char *names[MOST_COMMANDS];
    size_t n = 0;
    for (; cli_commands[n] != NULL && n < MOST_COMMANDS; n++) {
        names[n] = cli_commands[n]->name;
    }
    const char *close = cli_closest(name, names, n);
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

static void say_config(cli_run *run) {
    const cli_options *options = &run->options;
    if (options->not_taken.n > 0) {
        cli_say(run, "%s is the record of a run; not taken from it, since they are no options: %s", run->args->config,
                options->not_taken.data);
    }
    if (options->taken.n > 0) {
        cli_detail(run, "options of %s: %s", run->args->config, options->taken.data);
    }
}

static qa_status parse_and_run(cli_run *run, cli_args *args, qa_error *err) {
    QA_TRY(cli_usage_if(run, cli_parse(&run->options, args, run->argc, run->argv, 2, err)));
    if (args->help) {
        cli_print_help(stdout, run->command, args->subcommand);
        return QA_OK;
    }
    QA_TRY(cli_usage_if(run, cli_read_config(&run->options, args, err)));
    QA_TRY(cli_usage_if(run, cli_check_given(&run->options, args, err)));
    say_config(run);
    if (args->quiet && args->verbose) {
        return cli_bad_usage(run, err, "--quiet and --verbose contradict each other");
    }
    QA_TRY(cli_resolve_hub_folder(run, args, err));
    QA_TRY(cli_take_adapter_weights(run, args, err));
    QA_TRY(cli_check_outputs(run, err));
    return run->command->run(run, err);
}

static int run_command(const cli_command *command, int argc, char **argv) {
    qa_error err = {0};
    cli_args *args = calloc(1, command->args_bytes);
    cli_run run = {.command = command, .args = args, .argc = argc, .argv = argv};
    cli_options_of(&run.options, command);
    const qa_status status = args == NULL ? QA_NO_MEMORY(&err, "the options") : parse_and_run(&run, args, &err);
    cli_run_free(&run);
    cli_args_free(&run.options, args);
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
