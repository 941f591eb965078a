/* Parsing a command line by the table of options_table.c. Long options take their argument as --name value or
 * --name=value, '-' and '_' in names are the same, flags can be turned off with --no-name; of a repeated option the
 * last one counts, except for lists. */
#include "cli/options.h"

#include "base/memory.h"
#include "base/try.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double GOLDEN_LEARNING_RATE = 1e-2; /* as qa_golden_defaults() */

static void pretrain_defaults(cli_args *args) {
    const qa_pretrain_options pretrain = qa_pretrain_defaults();
    args->learn = "all";
    args->dtype = "f32";
    args->batch_tokens = pretrain.batch_tokens;
    args->micro_batch_tokens = pretrain.micro_batch_tokens;
    args->deviation = pretrain.deviation;
    args->learning_rate = pretrain.learning_rate;
    args->min_learning_rate_ratio = pretrain.min_learning_rate_ratio;
    args->schedule = qa_schedule_name(pretrain.schedule);
    args->warmup_steps = pretrain.warmup_steps;
    args->warmup_ratio = pretrain.warmup_ratio;
    args->epochs = pretrain.epochs;
    args->max_steps = pretrain.max_steps;
    args->max_grad_norm = pretrain.max_grad_norm;
    args->weight_decay = pretrain.weight_decay;
    args->adam_beta1 = pretrain.adam_beta1;
    args->adam_beta2 = pretrain.adam_beta2;
    args->adam_epsilon = pretrain.adam_epsilon;
    args->eval_every = pretrain.eval_every;
    args->save_every = pretrain.save_every;
    args->save_total_limit = pretrain.save_total_limit;
    args->save_minutes = pretrain.save_minutes;
    args->seed = pretrain.seed;
}

void cli_args_init(cli_args *args, unsigned command) {
    const qa_train_options train = qa_train_defaults();
    const qa_sampling sampling = qa_sampling_defaults();
    *args = (cli_args){
        .alpha_tilde = (double)NAN,
        .alpha_0 = (double)NAN,
        .gamma = (double)NAN,
        .beta = (double)NAN,
        .lambda = (double)NAN,
        .alpha1 = (double)NAN,
        .micro_batch = command == CLI_GOLDEN ? 0 : CLI_NOT_GIVEN,
        .dpo_beta = (double)NAN,
        .replay_ratio = (double)NAN,
        .lora_alpha = (double)NAN,
        .lora_dropout = (double)NAN,
        .learning_rate = train.learning_rate,
        .warmup_ratio = (double)NAN,
        .epochs = train.epochs,
        .max_grad_norm = train.max_grad_norm,
        .weight_decay = train.weight_decay,
        .adam_beta1 = train.adam_beta1,
        .adam_beta2 = train.adam_beta2,
        .adam_epsilon = train.adam_epsilon,
        .schedule = qa_schedule_name(train.schedule),
        .warmup_steps = train.warmup_steps,
        .max_steps = train.max_steps,
        .gradient_accumulation = train.gradient_accumulation,
        .shuffle = train.shuffle,
        .seed = command == CLI_TRAIN     ? train.seed
                : command == CLI_TABULAR ? 1
                                         : sampling.seed,
        .eval_every = train.eval_every,
        .save_every = train.save_every,
        .save_total_limit = train.save_total_limit,
        .save_minutes = train.save_minutes,
        .base_cache = qa_base_cache_mode_name(train.base_cache),
        .prompt_length = 128,
        .response_length = 128,
        .temperature = sampling.temperature,
        .top_k = sampling.top_k,
        .top_p = sampling.top_p,
        .min_p = sampling.min_p,
        .repetition_penalty = sampling.repetition_penalty,
        .steps = 2,
        .relative = -1.0,
        .absolute = -1.0,
    };
    if (command == CLI_PRETRAIN) {
        pretrain_defaults(args);
    }
    if (command == CLI_GOLDEN) {
        args->learning_rate = GOLDEN_LEARNING_RATE;
    }
    if (command == CLI_BENCH) {
        args->recipe = "theory";
        args->seed = train.seed;
        args->max_pairs = 1;
        args->prompt_length = args->response_length = 0;
        args->repeats = 5;
        args->tokens = 16;
    }
}

void cli_args_free(cli_args *args) {
    free(args->stop.items);
    args->stop = (cli_list){0};
}

/* Whether name[bytes] is `other`, '-' and '_' being the same. */
static bool same_name(const char *name, size_t bytes, const char *other, size_t other_bytes) {
    if (bytes != other_bytes) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        if ((name[i] == '_' ? '-' : name[i]) != other[i]) {
            return false;
        }
    }
    return true;
}

static bool has_name(const cli_option *option, const char *name, size_t bytes) {
    if (same_name(name, bytes, option->name, strlen(option->name))) {
        return true;
    }
    for (const char *alias = option->aliases; *alias != '\0';) {
        const size_t length = strcspn(alias, " ");
        if (same_name(name, bytes, alias, length)) {
            return true;
        }
        alias += length + strspn(alias + length, " ");
    }
    return false;
}

static const cli_option *find_name(unsigned commands, const char *name, size_t bytes) {
    for (size_t i = 0; i < cli_n_options; i++) {
        if ((cli_options[i].commands & commands) != 0 && has_name(&cli_options[i], name, bytes)) {
            return &cli_options[i];
        }
    }
    return NULL;
}

static const cli_option *find_letter(unsigned commands, char letter) {
    for (size_t i = 0; i < cli_n_options; i++) {
        if ((cli_options[i].commands & commands) != 0 && letter != '\0' && cli_options[i].letter == letter) {
            return &cli_options[i];
        }
    }
    return NULL;
}

/* ---- did you mean ---- */

enum { LONGEST_NAME = 63 };

/* Insertions, deletions, substitutions and exchanges of neighbours that turn a into b (optimal string alignment). */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m) {
    size_t cost[LONGEST_NAME + 1][LONGEST_NAME + 1];
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            size_t best = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            best = cost[i - 1][j] + 1 < best ? cost[i - 1][j] + 1 : best;
            best = cost[i][j - 1] + 1 < best ? cost[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && cost[i - 2][j - 2] + 1 < best) {
                best = cost[i - 2][j - 2] + 1;
            }
            cost[i][j] = best;
        }
    }
    return cost[n][m];
}

/* How far `name` is from `other`, or SIZE_MAX when too far to have been meant. */
static size_t distance_of(const char *name, size_t n, const char *other, size_t m) {
    if (n == 0 || n > LONGEST_NAME || m > LONGEST_NAME) {
        return SIZE_MAX;
    }
    if (n >= 3 && n < m && strncmp(name, other, n) == 0) {
        return 1; /* the beginning of a name */
    }
    const size_t limit = n <= 3 ? 1 : n <= 7 ? 2 : 3;
    const size_t distance = edit_distance(name, n, other, m);
    return distance <= limit ? distance : SIZE_MAX;
}

const char *cli_closest(const char *name, const char *const *names, size_t n) {
    const char *closest = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        const size_t distance = distance_of(name, strlen(name), names[i], strlen(names[i]));
        if (distance < best) {
            best = distance;
            closest = names[i];
        }
    }
    return closest;
}

/* The option of the command that was probably meant by name[bytes], or NULL. */
static const cli_option *closest_option(unsigned command, const char *name, size_t bytes) {
    char plain[LONGEST_NAME + 1];
    if (bytes > LONGEST_NAME) {
        return NULL;
    }
    for (size_t i = 0; i < bytes; i++) {
        plain[i] = name[i] == '_' ? '-' : (char)tolower((unsigned char)name[i]);
    }
    const cli_option *closest = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < cli_n_options; i++) {
        const cli_option *option = &cli_options[i];
        if ((option->commands & command) == 0) {
            continue;
        }
        size_t distance = distance_of(plain, bytes, option->name, strlen(option->name));
        for (const char *alias = option->aliases; *alias != '\0';) {
            const size_t length = strcspn(alias, " ");
            const size_t other = distance_of(plain, bytes, alias, length);
            distance = other < distance ? other : distance;
            alias += length + strspn(alias + length, " ");
        }
        if (distance < best) {
            best = distance;
            closest = option;
        }
    }
    return closest;
}

/* The commands that have an option, with commas. */
static const char *owners_of(char *names, size_t room, const cli_option *option) {
    size_t used = 0;
    names[0] = '\0';
    for (size_t i = 0; i < cli_n_commands && used < room; i++) {
        if ((cli_commands[i].bit & option->commands) != 0) {
            const int n = snprintf(names + used, room - used, "%s%s", used == 0 ? "" : ", ", cli_commands[i].name);
            used += n < 0 ? room : (size_t)n;
        }
    }
    return names;
}

/* name[bytes] without dashes; `shown` as it was typed. */
static qa_status unknown_option(const cli_command *command, const char *name, size_t bytes, const char *shown,
                                qa_error *err) {
    const cli_option *close = closest_option(command->bit, name, bytes);
    if (close != NULL) {
        return qa_fail(err, QA_ERR_ARGUMENT, "unknown option %s; did you mean --%s?", shown, close->name);
    }
    const cli_option *other = find_name(CLI_ALL, name, bytes);
    char names[128];
    if (other != NULL && owners_of(names, sizeof names, other)[0] != '\0') {
        return qa_fail(err, QA_ERR_ARGUMENT, "unknown option %s: it belongs to qadapter %s", shown, names);
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "unknown option %s", shown);
}

/* ---- values ---- */

/* Where an option's value goes. */
static void *destination_of(cli_args *args, const cli_option *option) { return (char *)args + option->destination; }

static bool in_range(cli_range range, double x) {
    switch (range) {
    case CLI_ANY: return true;
    case CLI_FROM_0: return x >= 0.0;
    case CLI_FROM_1: return x >= 1.0;
    case CLI_1_TO_1024: return x >= 1.0 && x <= 1024.0;
    case CLI_ABOVE_0: return x > 0.0;
    case CLI_ABOVE_0_TO_1: return x > 0.0 && x <= 1.0;
    case CLI_0_TO_1: return x >= 0.0 && x <= 1.0;
    case CLI_0_TO_BELOW_1: return x >= 0.0 && x < 1.0;
    }
    return false;
}

static const char *range_text(cli_range range) {
    switch (range) {
    case CLI_ANY: break;
    case CLI_FROM_0: return " of at least 0";
    case CLI_FROM_1: return " of at least 1";
    case CLI_1_TO_1024: return " from 1 to 1024";
    case CLI_ABOVE_0: return " above 0";
    case CLI_ABOVE_0_TO_1: return " above 0 and at most 1";
    case CLI_0_TO_1: return " from 0 to 1";
    case CLI_0_TO_BELOW_1: return " of at least 0 and below 1";
    }
    return "";
}

/* Digits only: no sign, no space, no fraction. */
static bool parse_unsigned(const char *text, unsigned long long *value) {
    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0') {
        return false;
    }
    errno = 0;
    *value = strtoull(text, NULL, 10);
    return errno == 0;
}

static qa_status parse_size(const cli_option *option, const char *shown, const char *text, size_t *value,
                            qa_error *err) {
    const bool all = option->kind == CLI_SIZE_OR_ALL;
    unsigned long long number = 0;
    if (all && strcmp(text, "all") == 0) {
        *value = 0;
        return QA_OK;
    }
    /* not above INT64_MAX: what training_config.json and a checkpoint say of it is a JSON integer */
    if (!parse_unsigned(text, &number) || number > SIZE_MAX || number > INT64_MAX ||
        !in_range(option->range, (double)number)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "%s: expected a whole number%s%s, found \"%s\"", shown,
                       range_text(option->range), all ? ", or all" : "", text);
    }
    *value = (size_t)number;
    return QA_OK;
}

static qa_status parse_double(const cli_option *option, const char *shown, const char *text, double *value,
                              qa_error *err) {
    char *end = NULL;
    errno = 0;
    const double number = isspace((unsigned char)text[0]) ? (double)NAN : strtod(text, &end);
    const bool underflow = errno == ERANGE && fabs(number) < 1.0;
    if (end == text || end == NULL || *end != '\0' || !isfinite(number) || (errno != 0 && !underflow) ||
        !in_range(option->range, number)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "%s: expected a number%s, found \"%s\"", shown, range_text(option->range),
                       text);
    }
    *value = number;
    return QA_OK;
}

/* Whether text is one of "a|b". */
static bool is_one_of(const char *choices, const char *text) {
    for (const char *choice = choices; *choice != '\0';) {
        const size_t length = strcspn(choice, "|");
        if (strlen(text) == length && strncmp(text, choice, length) == 0) {
            return true;
        }
        choice += length + strspn(choice + length, "|");
    }
    return false;
}

bool cli_is_subcommand(const cli_command *command, const char *word) {
    return command->subcommands != NULL && is_one_of(command->subcommands, word);
}

static qa_status parse_choice(const cli_option *option, const char *shown, const char *text, const char **value,
                              qa_error *err) {
    if (is_one_of(option->choices, text)) {
        *value = text;
        return QA_OK;
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "%s: expected one of %s, found \"%s\"", shown, option->choices, text);
}

static bool is_flag(const cli_option *option) { return option->kind == CLI_FLAG || option->kind == CLI_SWITCH; }

/* yes and no in the ways people write them; false when it is neither. */
static bool parse_truth(const char *text, bool *value) {
    static const char *const yes[] = {"true", "True", "yes", "on", "1"};
    static const char *const no[] = {"false", "False", "no", "off", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *value = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static void set_flag(cli_args *args, const cli_option *option, bool value) {
    if (option->kind == CLI_SWITCH) {
        *(cli_switch *)destination_of(args, option) = value ? CLI_ON : CLI_OFF;
    } else {
        *(bool *)destination_of(args, option) = value;
    }
}

static qa_status append_string(cli_list *list, const char *text, qa_error *err) {
    QA_TRY(QA_GROW(list->items, list->capacity, list->n + 1, err, "the command line"));
    list->items[list->n++] = text;
    return QA_OK;
}

/* Puts the option's argument where it belongs. */
static qa_status set_value(cli_args *args, const cli_option *option, const char *shown, const char *text,
                           qa_error *err) {
    void *to = destination_of(args, option);
    bool truth = false;
    bool targets[QA_TARGETS];
    qa_chat_template which;
    unsigned long long number = 0;
    qa_error inner = {0};
    switch (option->kind) {
    case CLI_FLAG:
    case CLI_SWITCH:
        if (!parse_truth(text, &truth)) {
            return qa_fail(err, QA_ERR_ARGUMENT, "%s: expected true or false, found \"%s\"", shown, text);
        }
        set_flag(args, option, truth);
        return QA_OK;
    case CLI_TEMPLATE:
        if (qa_chat_template_by_name(&which, text, &inner) != QA_OK || which == QA_CHAT_NONE ||
            which == QA_CHAT_UNKNOWN) {
            return qa_fail(err, QA_ERR_ARGUMENT, "%s: expected one of %s, found \"%s\"", shown,
                           qa_chat_template_names(), text);
        }
        *(const char **)to = text;
        return QA_OK;
    case CLI_TARGETS:
        if (qa_targets_parse(targets, text, &inner) != QA_OK) {
            return qa_fail(err, QA_ERR_ARGUMENT, "%s: %s", shown, inner.message);
        }
        *(const char **)to = text;
        return QA_OK;
    case CLI_STRING:
    case CLI_OPERAND: *(const char **)to = text; return QA_OK;
    case CLI_STRINGS: return append_string(to, text, err);
    case CLI_SIZE:
    case CLI_SIZE_OR_ALL: return parse_size(option, shown, text, to, err);
    case CLI_SEED:
        if (!parse_unsigned(text, &number)) {
            return qa_fail(err, QA_ERR_ARGUMENT, "%s: expected a whole number of at least 0, found \"%s\"", shown,
                           text);
        }
        *(uint64_t *)to = number;
        return QA_OK;
    case CLI_DOUBLE: return parse_double(option, shown, text, to, err);
    case CLI_CHOICE: return parse_choice(option, shown, text, to, err);
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "%s: an option of unknown kind", shown);
}

/* ---- the command line ---- */

/* An option as it stands in argv. */
typedef struct given {
    const cli_option *option;
    char shown[LONGEST_NAME + 4]; /* with its dashes, without its argument */
    const char *attached;         /* the argument that is written in the same word, or NULL */
    bool negated;                 /* --no-x */
} given;

static qa_status recognise_long(given *it, const cli_command *command, const char *word, qa_error *err) {
    const char *name = word + 2;
    const size_t bytes = strcspn(name, "=");
    (void)snprintf(it->shown, sizeof it->shown, "--%.*s", (int)(bytes > LONGEST_NAME ? LONGEST_NAME : bytes), name);
    it->attached = name[bytes] == '=' ? name + bytes + 1 : NULL;
    it->option = find_name(command->bit, name, bytes);
    if (it->option == NULL && bytes > 3 && same_name(name, 3, "no-", 3)) {
        it->option = find_name(command->bit, name + 3, bytes - 3);
        it->negated = true;
        if (it->option != NULL && !is_flag(it->option)) {
            it->option = NULL;
        }
        if (it->option != NULL && it->attached != NULL) {
            return qa_fail(err, QA_ERR_ARGUMENT, "%s takes no argument, found \"%s\"", it->shown, it->attached);
        }
    }
    return it->option != NULL ? QA_OK : unknown_option(command, name, bytes, it->shown, err);
}

/* -x, -x value, -xvalue, -x=value; and names that another program writes with one dash. */
static qa_status recognise_letter(given *it, const cli_command *command, const char *word, qa_error *err) {
    const size_t bytes = strcspn(word + 1, "=");
    if (bytes > 1 && find_name(command->bit, word + 1, bytes) != NULL) {
        return qa_fail(err, QA_ERR_ARGUMENT, "unknown option %.*s; did you mean -%.*s?", (int)bytes + 1, word,
                       (int)bytes + 1, word);
    }
    it->option = find_letter(command->bit, word[1]);
    if (it->option == NULL || (word[2] != '\0' && is_flag(it->option))) {
        (void)snprintf(it->shown, sizeof it->shown, "%.*s", LONGEST_NAME, word);
        return unknown_option(command, word + 1, bytes, it->shown, err);
    }
    (void)snprintf(it->shown, sizeof it->shown, "-%c", word[1]);
    it->attached = word[2] == '\0' ? NULL : word + (word[2] == '=' ? 3 : 2);
    return QA_OK;
}

/* Whether a word is one of the command's own options, and so not the argument that another one is missing. */
static bool is_option(const cli_command *command, const char *word) {
    if (word[0] == '-' && word[1] == '-') {
        return find_name(command->bit, word + 2, strcspn(word + 2, "=")) != NULL;
    }
    return word[0] == '-' && word[1] != '\0' && word[2] == '\0' && find_letter(command->bit, word[1]) != NULL;
}

/* The next of the command's operands that has no value yet; NULL: none. */
static const cli_option *next_operand(const cli_args *args, const cli_command *command) {
    for (size_t i = 0; i < cli_n_options; i++) {
        const cli_option *option = &cli_options[i];
        if (option->kind == CLI_OPERAND && (option->commands & command->bit) != 0 &&
            *(const char *const *)((const char *)args + option->destination) == NULL) {
            return option;
        }
    }
    return NULL;
}

static qa_status check_required(const cli_args *args, const cli_command *command, qa_error *err) {
    for (size_t i = 0; i < cli_n_options; i++) {
        const cli_option *option = &cli_options[i];
        if ((option->required & command->bit) == 0) {
            continue;
        }
        const char *const *value = (const char *const *)((const char *)args + option->destination);
        if (*value == NULL) {
            return qa_fail(err, QA_ERR_ARGUMENT, "missing --%s %s: %s", option->name, option->placeholder,
                           option->help);
        }
    }
    return QA_OK;
}

/* A word that belongs to no option. */
static qa_status unexpected(const char *word, const cli_option *before, qa_error *err) {
    if (before != NULL && before->kind == CLI_TARGETS) {
        return qa_fail(err, QA_ERR_ARGUMENT,
                       "unexpected argument \"%s\": the names of --%s are one word, separated by commas", word,
                       before->name);
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "unexpected argument \"%s\": everything is given by options", word);
}

qa_status cli_parse(cli_args *args, const cli_command *command, int argc, char **argv, int first, qa_error *err) {
    const cli_option *before = NULL; /* the last option seen */
    for (int i = first; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            args->help = true;
            args->subcommand = cli_is_subcommand(command, argv[first]) ? argv[first] : NULL;
            return QA_OK;
        }
    }
    for (int i = first; i < argc; i++) {
        const char *word = argv[i];
        given it = {0};
        if (i == first && cli_is_subcommand(command, word)) {
            args->subcommand = word;
            continue;
        }
        if (word[0] != '-' || word[1] == '\0') {
            if (command->subcommands != NULL && args->subcommand == NULL) {
                return qa_fail(err, QA_ERR_ARGUMENT, "unknown word \"%s\": expected one of %s", word,
                               command->subcommands);
            }
            const cli_option *operand = next_operand(args, command);
            if (operand != NULL) {
                QA_TRY(set_value(args, operand, operand->placeholder, word, err));
                continue;
            }
            return unexpected(word, before, err);
        }
        QA_TRY(word[1] == '-' ? recognise_long(&it, command, word, err) : recognise_letter(&it, command, word, err));
        bool truth = true;
        before = it.option;
        if (it.attached != NULL) {
            QA_TRY(set_value(args, it.option, it.shown, it.attached, err));
        } else if (is_flag(it.option)) {
            if (!it.negated && i + 1 < argc && parse_truth(argv[i + 1], &truth)) {
                i++;
            }
            set_flag(args, it.option, it.negated ? false : truth);
        } else if (i + 1 >= argc || is_option(command, argv[i + 1])) {
            return qa_fail(err, QA_ERR_ARGUMENT, "%s: missing its argument %s", it.shown, it.option->placeholder);
        } else {
            i++;
            QA_TRY(set_value(args, it.option, it.shown, argv[i], err));
        }
    }
    if (command->subcommands != NULL && args->subcommand == NULL) {
        return qa_fail(err, QA_ERR_ARGUMENT, "the first word must be one of %s", command->subcommands);
    }
    return check_required(args, command, err);
}
