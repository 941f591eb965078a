/* The program: finds the command, parses its options, runs it, prints its error. */
#include "cli/common.h"
#include "cli/config_file.h"
#include "cli/format.h"
#include "cli/help.h"
#include "cli/mixture.h"
#include "cli/outputs.h"
#include "cli/ranks.h"

#include "base/memory.h"
#include "base/sha256.h"
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
    QA_TRY(cli_share_inputs(run, err));
    return run->command->run(run, err);
}

/* All ranks run the same command, and one that several can run; what is printed is rank 0's. */
static qa_status join_ranks(cli_run *run, qa_error *err) {
    const size_t ranks = qa_cluster_ranks(run->cluster);
    if (ranks == 1) {
        return QA_OK;
    }
    unsigned char digest[QA_SHA256_BYTES];
    qa_sha256 name = qa_sha256_begin();
    qa_sha256_add(&name, run->command->name, strlen(run->command->name));
    qa_sha256_end(&name, digest);
    QA_TRY(qa_cluster_same(run->cluster, "command", digest, err));
    QA_FAIL_IF(!run->command->many_ranks, err, QA_ERR_UNSUPPORTED,
               "it runs in one process, and a launcher started %zu: start it without mpirun or srun", ranks);
    if (qa_cluster_rank(run->cluster) != 0) {
        cli_progress_silence();
        QA_FAIL_IF(freopen("/dev/null", "w", stdout) == NULL, err, QA_ERR_IO, "cannot open /dev/null: %s",
                   strerror(errno));
    }
    return QA_OK;
}

/* The one rank that tells says what failed; the exit status is that of all ranks. */
static int tell_failure(const cli_run *run, qa_status status, int signal_number, const char *message) {
    if (status == QA_OK) {
        return EXIT_GOOD;
    }
    if (qa_cluster_tells(run->cluster)) {
        (void)fflush(stdout); /* what was printed comes before the error */
        fprintf(stderr, "qadapter %s: %s\n", run->command->name, message);
    }
    if (status == QA_ERR_INTERRUPTED && signal_number != 0) {
        return CLI_EXIT_SIGNAL + signal_number;
    }
    if (!run->bad_usage) {
        return EXIT_FAILED;
    }
    if (qa_cluster_tells(run->cluster)) {
        fprintf(stderr, "qadapter %s --help lists the options.\n", run->command->name);
    }
    return EXIT_USAGE;
}

static int run_command(const cli_command *command, int argc, char **argv) {
    qa_error err = {0};
    cli_args *args = calloc(1, command->args_bytes);
    cli_run run = {.command = command, .args = args, .argc = argc, .argv = argv};
    cli_options_of(&run.options, command);
    qa_status status = args == NULL ? QA_NO_MEMORY(&err, "the options") : QA_OK;
    if (status == QA_OK) {
        status = qa_cluster_begin(&run.cluster, &err);
        status = status == QA_OK ? join_ranks(&run, &err) : status;
        status = status == QA_OK ? parse_and_run(&run, args, &err) : status;
    }
    int signal_number = cli_signal();
    status = qa_cluster_finish(run.cluster, status, &signal_number, &err);
    if (qa_cluster_ranks(run.cluster) > 1) {
        (void)signal(SIGTERM, SIG_IGN); /* that of a launcher which saw the first rank end with a failure */
    }
    cli_run_free(&run);
    cli_args_free(&run.options, args);
    const int exit_status = tell_failure(&run, status, signal_number, err.message);
    qa_cluster_end(run.cluster, exit_status);
    return exit_status;
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

/* What is no command. */
static int answer(int argc, char **argv) {
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
    return strcmp(word, "help") == 0 ? finish_output("help", run_help(argc, argv)) : unknown_command(word);
}

int main(int argc, char **argv) {
    start_without_threads_of_blas(argv);
    occupy_standard_descriptors();
    static char line[BUFSIZ]; /* a line at a time, so that what a signal handler says comes between two of them */
    (void)setvbuf(stderr, line, _IOLBF, sizeof line);
    (void)setlocale(LC_ALL, "C");   /* numbers with a point, whatever a preloaded library has chosen */
    (void)signal(SIGPIPE, SIG_DFL); /* a closed pipe ends the program quietly, whatever the parent had set */
    (void)signal(SIGXFSZ, SIG_IGN); /* a file over the limit is an error with a message, not a death */
    const cli_command *command = argc < 2 ? NULL : find_command(argv[1]);
    if (command != NULL) {
        return finish_output(command->name, run_command(command, argc, argv));
    }
    /* Nothing that ranks would have to meet for: the first one answers. */
    if (!qa_cluster_tells(NULL) &&
        (freopen("/dev/null", "w", stdout) == NULL || freopen("/dev/null", "w", stderr) == NULL)) {
        return EXIT_FAILED;
    }
    const int status = answer(argc, argv);
    qa_cluster_end(NULL, status);
    return status;
}
