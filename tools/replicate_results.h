/* The results of tools/replicate as replicate_tables reads them.
 *
 *   FOLDER/settings.tsv            name, tab, value: what the comparison was run with
 *   FOLDER/methods.tsv             tools/replicate_methods.tsv: the methods' names and titles, in their order
 *   FOLDER/jobs.list               one job a line: what there should be
 *   FOLDER/jobs.all                one job a line, further words after it: results of other jobs are left out
 *   FOLDER/jobs/JOB/result.json    {"job": {"group", "preference", "method", "seed", "steps", "kind", and numbers of
 *                                  PARAMETERS}, "checkpoints": [{"step", "file"}, ...]}; the last one is the end
 *                                  or, of a job that is no policy's evaluation, in place of the checkpoints
 *                                  "values": {name: number, ...}, shares, of its group and preference
 *   FOLDER/jobs/JOB/FILE           what `qadapter eval --suite --preference --json` printed
 *
 * group "base" is the model alone (one checkpoint, step 0), "main" the comparison of methods; a group with the name of
 * a parameter sweeps it. A result that cannot be used is named on standard error and counted, and the others go on. */
#ifndef REPLICATE_RESULTS_H
#define REPLICATE_RESULTS_H

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_BYTES = 128,
    MAX_SKILLS = 8,
    MAX_CLASSES = 16,
    MAX_CHECKPOINTS = 16,
    MAX_METHODS = 64,
    MAX_VALUES = 16,
    MAX_RESULTS = 4096,
    MAX_FILE_BYTES = 16 << 20
};

/* Numbers that jobs differ in, and how tables head them. NaN: the job does not say. */
static const char *const PARAMETERS[][2] = {
    {"alpha_0", "α₀"}, {"beta", "β"},        {"rank", "rank"},           {"noise", "labels turned round"},
    {"rate", "rate"},  {"weight", "weight"}, {"particles", "particles"}, {"steps", "steps"}};
enum { N_PARAMETERS = sizeof PARAMETERS / sizeof PARAMETERS[0], BETA = 1, STEPS = N_PARAMETERS - 1 };

/* Numbers of one evaluation; NaN: the evaluation does not say. */
typedef enum metric {
    SKILLS,       /* mean accuracy over the skills */
    ACCURACY,     /* held-out pairs ranked right */
    WANTED,       /* share of sampled answers of the class with the highest reward */
    VARIATION,    /* total variation between shares and optimum */
    KL_OPTIMUM,   /* KL(shares || optimum), nats */
    REWARD,       /* mean r2, nats */
    KL_ANSWER,    /* KL to the base per sampled answer, nats */
    KL_TOKEN,     /* KL to the base per token on ordinary prompts, nats */
    PERPLEXITY,   /* on ordinary text */
    UNCLASSIFIED, /* share of sampled answers of no class */
    FIRST_SKILL,
    FIRST_CLASS = FIRST_SKILL + MAX_SKILLS,
    N_METRICS = FIRST_CLASS + MAX_CLASSES
} metric;

typedef struct evaluation {
    double value[N_METRICS];
    size_t n_skills, n_classes;
    char skill[MAX_SKILLS][NAME_BYTES], class[MAX_CLASSES][NAME_BYTES];
    double optimum[MAX_CLASSES], base[MAX_CLASSES], generator[MAX_CLASSES]; /* shares */
    size_t wanted;                                                          /* class */
    double optimal_reward;
} evaluation;

typedef struct checkpoint {
    size_t step;
    evaluation found;
} checkpoint;

typedef struct result {
    char id[NAME_BYTES], group[NAME_BYTES], preference[NAME_BYTES], method[NAME_BYTES], kind[NAME_BYTES];
    size_t seed, steps;
    double parameter[N_PARAMETERS];
    size_t n; /* checkpoints, at least 1 */
    checkpoint at[MAX_CHECKPOINTS];
} result;

/* A job that is no policy's evaluation: numbers with names. */
typedef struct measured {
    char id[NAME_BYTES], group[NAME_BYTES], preference[NAME_BYTES];
    size_t n;
    char name[MAX_VALUES][NAME_BYTES];
    double value[MAX_VALUES];
} measured;

typedef struct results {
    const char *folder;
    result *data; /* [n], by id */
    size_t n, capacity;
    size_t bad, missing; /* files that cannot be used; jobs of jobs.list without a result */
    measured *other;     /* [n_other], by id */
    size_t n_other, other_capacity;
    char method[MAX_METHODS][2][NAME_BYTES]; /* [n_methods]: name and title */
    size_t n_methods;
} results;

/* ---- reading ---- */

/* Names go into Markdown and file names: letters, digits, . _ + - only. */
static bool is_plain_name(const char *name) {
    const size_t n = strlen(name);
    return n > 0 && n < NAME_BYTES && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-") == n;
}

static qa_status get_name(const json_t *object, const char *key, const char *where, char name[NAME_BYTES],
                          qa_error *err) {
    const char *value = NULL;
    QA_TRY(qa_json_get_string(object, key, true, where, &value, err));
    QA_FAIL_IF(!is_plain_name(value), err, QA_ERR_FORMAT,
               "%s: \"%s\": expected a name of letters, digits, '.', '_', '+' and '-'", where, key);
    memcpy(name, value, strlen(value) + 1);
    return QA_OK;
}

/* Missing or null: NaN. */
static qa_status get_number(const json_t *object, const char *key, const char *where, double least, double most,
                            double *value, qa_error *err) {
    *value = (double)NAN;
    QA_TRY(qa_json_get_double(object, key, false, where, value, err));
    QA_FAIL_IF(*value < least || *value > most, err, QA_ERR_FORMAT, "%s: \"%s\": expected %g to %g, found %g", where,
               key, least, most, *value);
    return QA_OK;
}

static qa_status must_be_object(const json_t *value, const char *where, const char *what, qa_error *err) {
    return json_is_object(value) ? QA_OK : qa_fail(err, QA_ERR_FORMAT, "%s: %s: expected an object", where, what);
}

/* The key of a member as a name. */
static qa_status take_name(char name[NAME_BYTES], const char *key, const char *where, qa_error *err) {
    QA_FAIL_IF(!is_plain_name(key), err, QA_ERR_FORMAT, "%s: expected names of letters, digits, '.', '_', '+' and '-'",
               where);
    memcpy(name, key, strlen(key) + 1);
    return QA_OK;
}

static qa_status check_count(size_t n, size_t most, const char *where, const char *what, qa_error *err) {
    QA_FAIL_IF(n == 0 || n > most, err, QA_ERR_FORMAT, "%s: expected 1 to %zu %s, found %zu", where, most, what, n);
    return QA_OK;
}

static qa_status read_skill(evaluation *e, size_t i, const char *name, const json_t *skill, const char *where,
                            qa_error *err) {
    size_t questions = 0, right = 0;
    QA_TRY(take_name(e->skill[i], name, where, err));
    QA_TRY(must_be_object(skill, where, name, err));
    QA_TRY(qa_json_get_size(skill, "questions", true, where, &questions, err));
    QA_TRY(qa_json_get_size(skill, "right", true, where, &right, err));
    QA_FAIL_IF(questions == 0 || right > questions, err, QA_ERR_FORMAT, "%s: skill \"%s\": %zu right answers of %zu",
               where, name, right, questions);
    e->value[FIRST_SKILL + i] = (double)right / (double)questions;
    return QA_OK;
}

static qa_status read_skills(evaluation *e, json_t *root, const char *where, qa_error *err) {
    json_t *skills = NULL;
    double sum = 0.0;
    QA_TRY(qa_json_get_object(root, "skills", true, where, &skills, err));
    e->n_skills = json_object_size(skills);
    QA_TRY(check_count(e->n_skills, MAX_SKILLS, where, "skills", err));
    size_t i = 0;
    for (void *at = json_object_iter(skills); at != NULL; at = json_object_iter_next(skills, at), i++) {
        QA_TRY(read_skill(e, i, json_object_iter_key(at), json_object_iter_value(at), where, err));
        sum += e->value[FIRST_SKILL + i];
    }
    e->value[SKILLS] = sum / (double)e->n_skills;
    return QA_OK;
}

static qa_status read_classes(evaluation *e, const json_t *shares, const char *where, qa_error *err) {
    json_t *classes = NULL;
    double best = -INFINITY;
    QA_TRY(qa_json_get_object(shares, "classes", true, where, &classes, err));
    e->n_classes = json_object_size(classes);
    QA_TRY(check_count(e->n_classes, MAX_CLASSES, where, "classes", err));
    size_t i = 0;
    for (void *at = json_object_iter(classes); at != NULL; at = json_object_iter_next(classes, at), i++) {
        const json_t *class = json_object_iter_value(at);
        double reward = 0.0;
        QA_TRY(take_name(e->class[i], json_object_iter_key(at), where, err));
        QA_TRY(must_be_object(class, where, e->class[i], err));
        QA_TRY(get_number(class, "share", where, 0.0, 1.0, &e->value[FIRST_CLASS + i], err));
        QA_TRY(get_number(class, "optimum", where, 0.0, 1.0, &e->optimum[i], err));
        QA_TRY(get_number(class, "base", where, 0.0, 1.0, &e->base[i], err));
        QA_TRY(get_number(class, "generator", where, 0.0, 1.0, &e->generator[i], err));
        QA_TRY(get_number(class, "reward", where, -INFINITY, INFINITY, &reward, err));
        if (reward > best) {
            best = reward;
            e->wanted = i;
        }
    }
    e->value[WANTED] = e->value[FIRST_CLASS + e->wanted];
    return QA_OK;
}

/* One kind of request that the preference speaks of; `sum`: its numbers are added to those of the others. */
static qa_status read_requests(evaluation *e, const json_t *shares, bool sum, const char *where, qa_error *err) {
    static const struct {
        metric what;
        const char *key;
        double least, most;
    } numbers[] = {{REWARD, "mean_reward", -INFINITY, INFINITY},
                   {VARIATION, "total_variation", 0.0, 1.0},
                   {KL_OPTIMUM, "kl_to_optimum", -INFINITY, INFINITY},
                   {KL_ANSWER, "sequence_kl", -INFINITY, INFINITY}};
    size_t answers = 0, unclassified = 0;
    double best = 0.0;
    QA_TRY(qa_json_get_size(shares, "answers", true, where, &answers, err));
    QA_TRY(qa_json_get_size(shares, "unclassified", true, where, &unclassified, err));
    QA_FAIL_IF(answers == 0 || unclassified > answers, err, QA_ERR_FORMAT, "%s: %zu unclassified answers of %zu", where,
               unclassified, answers);
    if (!sum) {
        QA_TRY(read_classes(e, shares, where, err));
    }
    e->value[UNCLASSIFIED] = (sum ? e->value[UNCLASSIFIED] : 0.0) + (double)unclassified / (double)answers;
    QA_TRY(get_number(shares, "optimal_reward", where, -INFINITY, INFINITY, &best, err));
    e->optimal_reward = (sum ? e->optimal_reward : 0.0) + best;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        double value = 0.0;
        QA_TRY(get_number(shares, numbers[i].key, where, numbers[i].least, numbers[i].most, &value, err));
        e->value[numbers[i].what] = (sum ? e->value[numbers[i].what] : 0.0) + value;
    }
    return QA_OK;
}

/* The shares that the preferences speak of: those with a mean reward. Of several kinds of request (a register and
 * refusals, say) the means over the kinds are taken; the classes are those of the first. */
static qa_status read_shares(evaluation *e, const json_t *root, const char *where, qa_error *err) {
    static const metric means[] = {REWARD, VARIATION, KL_OPTIMUM, KL_ANSWER, UNCLASSIFIED};
    json_t *all = NULL;
    size_t n = 0;
    QA_TRY(qa_json_get_object(root, "shares", true, where, &all, err));
    for (void *at = json_object_iter(all); at != NULL; at = json_object_iter_next(all, at)) {
        const json_t *one = json_object_iter_value(at);
        QA_TRY(must_be_object(one, where, "shares", err));
        if (json_is_number(json_object_get(one, "mean_reward"))) {
            QA_TRY(read_requests(e, one, n > 0, where, err));
            n++;
        }
    }
    QA_FAIL_IF(n == 0, err, QA_ERR_FORMAT, "%s: no shares with a \"mean_reward\": was eval run with --preference?",
               where);
    for (size_t i = 0; i < sizeof means / sizeof means[0]; i++) {
        e->value[means[i]] /= (double)n;
    }
    e->optimal_reward /= (double)n;
    return QA_OK;
}

/* The pairs may be missing (a checkpoint on the way). */
static qa_status read_held_out(evaluation *e, const json_t *root, const char *where, qa_error *err) {
    json_t *held_out = NULL;
    QA_TRY(qa_json_get_object(root, "held_out", false, where, &held_out, err));
    return held_out == NULL ? QA_OK : get_number(held_out, "accuracy", where, 0.0, 1.0, &e->value[ACCURACY], err);
}

static qa_status read_evaluation(evaluation *e, const char *path, qa_error *err) {
    json_t *root = NULL;
    qa_status status = QA_OK;
    for (size_t i = 0; i < N_METRICS; i++) {
        e->value[i] = (double)NAN;
    }
    QA_TRY(qa_json_load(&root, path, err));
    QA_GOTO(done, read_skills(e, root, path, err));
    QA_GOTO(done, read_shares(e, root, path, err));
    QA_GOTO(done, read_held_out(e, root, path, err));
    QA_GOTO(done, get_number(root, "ordinary_kl", path, -INFINITY, INFINITY, &e->value[KL_TOKEN], err));
    QA_GOTO(done, get_number(root, "perplexity", path, 1.0, INFINITY, &e->value[PERPLEXITY], err));
done:
    json_decref(root);
    return status;
}

static qa_status read_job(result *r, const json_t *root, const char *path, qa_error *err) {
    json_t *job = NULL;
    QA_TRY(qa_json_get_object(root, "job", true, path, &job, err));
    QA_TRY(get_name(job, "group", path, r->group, err));
    QA_TRY(get_name(job, "preference", path, r->preference, err));
    QA_TRY(get_name(job, "method", path, r->method, err));
    QA_TRY(qa_json_get_size(job, "seed", true, path, &r->seed, err));
    QA_TRY(qa_json_get_size(job, "steps", true, path, &r->steps, err));
    if (json_object_get(job, "kind") != NULL) {
        QA_TRY(get_name(job, "kind", path, r->kind, err));
    }
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        QA_TRY(get_number(job, PARAMETERS[i][0], path, 0.0, INFINITY, &r->parameter[i], err));
    }
    r->parameter[STEPS] = (double)r->steps;
    return QA_OK;
}

static qa_status read_checkpoints(result *r, const json_t *root, const char *dir, const char *path, qa_error *err) {
    json_t *list = NULL;
    QA_TRY(qa_json_get_array(root, "checkpoints", true, path, &list, err));
    r->n = json_array_size(list);
    QA_TRY(check_count(r->n, MAX_CHECKPOINTS, path, "checkpoints", err));
    for (size_t i = 0; i < r->n; i++) {
        const json_t *at = json_array_get(list, i);
        char name[NAME_BYTES];
        QA_TRY(must_be_object(at, path, "checkpoint", err));
        QA_TRY(qa_json_get_size(at, "step", true, path, &r->at[i].step, err));
        QA_TRY(get_name(at, "file", path, name, err));
        QA_FAIL_IF((i > 0 && r->at[i].step <= r->at[i - 1].step) || r->at[i].step > r->steps, err, QA_ERR_FORMAT,
                   "%s: step %zu of checkpoint %zu is out of order or beyond %zu steps", path, r->at[i].step, i + 1,
                   r->steps);
        char *file = NULL;
        QA_TRY(qa_join_path(&file, dir, name, err));
        const qa_status status = read_evaluation(&r->at[i].found, file, err);
        free(file);
        QA_TRY(status);
    }
    return QA_OK;
}

static qa_status read_values(measured *m, const json_t *root, const char *path, qa_error *err) {
    json_t *job = NULL, *values = NULL;
    *m = (measured){0};
    QA_TRY(qa_json_get_object(root, "job", true, path, &job, err));
    QA_TRY(get_name(job, "group", path, m->group, err));
    QA_TRY(get_name(job, "preference", path, m->preference, err));
    QA_TRY(qa_json_get_object(root, "values", true, path, &values, err));
    QA_TRY(check_count(json_object_size(values), MAX_VALUES, path, "values", err));
    for (void *at = json_object_iter(values); at != NULL; at = json_object_iter_next(values, at), m->n++) {
        QA_TRY(take_name(m->name[m->n], json_object_iter_key(at), path, err));
        QA_TRY(get_number(values, m->name[m->n], path, 0.0, 1.0, &m->value[m->n], err));
    }
    return QA_OK;
}

/* One of the two, by what result.json has; m->n says which. */
static qa_status read_result(result *r, measured *m, const char *dir, const char *id, qa_error *err) {
    char *path = NULL;
    json_t *root = NULL;
    qa_status status = QA_OK;
    *r = (result){0};
    *m = (measured){0};
    QA_GOTO(done, qa_join_path(&path, dir, "result.json", err));
    QA_GOTO(done, qa_json_load(&root, path, err));
    if (json_object_get(root, "values") != NULL) {
        QA_GOTO(done, read_values(m, root, path, err));
    } else {
        QA_GOTO(done, read_job(r, root, path, err));
        QA_GOTO(done, read_checkpoints(r, root, dir, path, err));
    }
    memcpy(r->id, id, strlen(id) + 1);
    memcpy(m->id, id, strlen(id) + 1);
done:
    json_decref(root);
    free(path);
    return status;
}

/* ---- all of them ---- */

/* A tool that is out of memory or cannot write has nothing else to do. */
static void check(qa_status status, const qa_error *err) {
    if (status != QA_OK) {
        fprintf(stderr, "replicate_tables: %s\n", err->message);
        exit(1);
    }
}

static char *joined(const char *dir, const char *name) {
    char *path = NULL;
    qa_error err = {0};
    check(qa_join_path(&path, dir, name, &err), &err);
    return path;
}

static void name_bad(results *all, const qa_error *err) {
    fprintf(stderr, "replicate_tables: left out: %s\n", err->message);
    all->bad++;
}

/* Skills and classes of one preference have to be the same everywhere, or there is nothing to compare. */
static bool fits(const results *all, const result *r, qa_error *err) {
    for (size_t i = 0; i < r->n + all->n; i++) {
        const result *other = i < r->n ? r : &all->data[i - r->n];
        const evaluation *a = &r->at[0].found, *b = i < r->n ? &r->at[i].found : &other->at[0].found;
        bool same = a->n_skills == b->n_skills && memcmp(a->skill, b->skill, sizeof a->skill) == 0;
        if (strcmp(r->preference, other->preference) == 0) {
            same = same && a->n_classes == b->n_classes && a->wanted == b->wanted &&
                   memcmp(a->class, b->class, sizeof a->class) == 0;
        }
        if (!same) {
            (void)qa_fail(err, QA_ERR_MISMATCH, "%s: its skills or classes are not those of %s", r->id, other->id);
            return false;
        }
    }
    return true;
}

static void add_result(results *all, const char *jobs, const char *id) {
    qa_error err = {0};
    if (!is_plain_name(id) || all->n >= MAX_RESULTS) {
        (void)qa_fail(&err, QA_ERR_FORMAT, "%s: a job of a strange name, or more than %d jobs", jobs, MAX_RESULTS);
        name_bad(all, &err);
        return;
    }
    char *dir = joined(jobs, id), *path = joined(dir, "result.json");
    if (qa_path_exists(path)) { /* else the job is not done */
        check(QA_GROW(all->data, all->capacity, all->n + 1, &err, "%zu results", all->n + 1), &err);
        check(QA_GROW(all->other, all->other_capacity, all->n_other + 1, &err, "%zu results", all->n_other + 1), &err);
        result *r = &all->data[all->n];
        measured *m = &all->other[all->n_other];
        const bool readable = read_result(r, m, dir, id, &err) == QA_OK;
        if (readable && m->n > 0) {
            all->n_other++;
        } else if (readable && fits(all, r, &err)) {
            all->n++;
        } else {
            name_bad(all, &err);
        }
    }
    free(path);
    free(dir);
}

static int by_id(const void *a, const void *b) {
    const result *x = a, *y = b;
    return strcmp(x->id, y->id);
}

/* The methods' names and titles; without the file, methods go by their names. */
static void read_methods(results *all) {
    qa_text text = {0};
    qa_error err = {0};
    char *path = joined(all->folder, "methods.tsv");
    if (qa_path_exists(path)) {
        check(qa_read_file(&text, path, MAX_FILE_BYTES, &err), &err);
    }
    for (char *line = text.n > 0 ? text.data : NULL; line != NULL && *line != '\0' && all->n_methods < MAX_METHODS;) {
        char *next = strchr(line, '\n'), *title = strchr(line, '\t'), *end = NULL;
        if (next != NULL) {
            *next++ = '\0';
        }
        if (line[0] != '#' && title != NULL && (end = strchr(title + 1, '\t')) != NULL && end - line < NAME_BYTES) {
            *title++ = '\0', *end = '\0';
            memcpy(all->method[all->n_methods][0], line, strlen(line) + 1);
            memcpy(all->method[all->n_methods++][1], title, strlen(title) + 1);
        }
        line = next;
    }
    qa_text_free(&text);
    free(path);
}

/* Jobs that should be there and are not: their number, and the first one's name. */
static void count_missing(results *all) {
    qa_error err = {0};
    qa_text list = {0};
    char *path = joined(all->folder, "jobs.list");
    if (qa_path_exists(path)) {
        check(qa_read_file(&list, path, MAX_FILE_BYTES, &err), &err);
        char *rest = list.n > 0 ? list.data : NULL;
        for (char *id = rest; id != NULL && *id != '\0'; id = rest) {
            id[strcspn(id, "\n")] = '\0';
            rest = id + strlen(id) + 1 < list.data + list.n ? id + strlen(id) + 1 : NULL;
            bool found = id[0] == '\0';
            for (size_t i = 0; i < all->n && !found; i++) {
                found = strcmp(all->data[i].id, id) == 0;
            }
            for (size_t i = 0; i < all->n_other && !found; i++) {
                found = strcmp(all->other[i].id, id) == 0;
            }
            if (!found && all->missing++ == 0) {
                fprintf(stderr, "replicate_tables: without a result: %.63s%s\n", id, " (the first)");
            }
        }
        if (all->missing > 0) {
            fprintf(stderr, "replicate_tables: %zu of the jobs in %s have no result\n", all->missing, path);
        }
    }
    qa_text_free(&list);
    free(path);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Whether a job belongs to what tools/replicate runs now; without its list of all jobs, every one does. */
static bool is_known(const qa_text *jobs, const char *id) {
    const size_t n = strlen(id);
    bool known = jobs->n == 0;
    for (const char *line = jobs->n > 0 ? jobs->data : NULL; line != NULL && !known; line = strchr(line, '\n')) {
        line += *line == '\n';
        known = strncmp(line, id, n) == 0 && line[n] == ' ';
    }
    return known;
}

/* In the order of the names, so that messages and tables do not depend on the file system. */
static void read_results(results *all) {
    char *jobs = joined(all->folder, "jobs"), **names = NULL;
    qa_text known = {0};
    char *path = joined(all->folder, "jobs.all");
    read_methods(all);
    size_t n = 0, capacity = 0;
    qa_error err = {0};
    if (qa_path_exists(path)) {
        check(qa_read_file(&known, path, MAX_FILE_BYTES, &err), &err);
    }
    DIR *dir = opendir(jobs);
    if (dir == NULL) {
        fprintf(stderr, "replicate_tables: %s is no folder that can be read; tools/replicate makes it\n", jobs);
        exit(1);
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.' || !is_known(&known, entry->d_name)) {
            continue;
        }
        check(QA_GROW(names, capacity, n + 1, &err, "%zu names", n + 1), &err);
        check(QA_COPY(names[n], entry->d_name, &err, "a name"), &err);
        n++;
    }
    (void)closedir(dir);
    if (n > 0) {
        qsort(names, n, sizeof *names, by_name);
    }
    for (size_t i = 0; i < n; i++) {
        add_result(all, jobs, names[i]);
        free(names[i]);
    }
    free(names);
    free(jobs);
    free(path);
    qa_text_free(&known);
    if (all->n > 0) {
        qsort(all->data, all->n, sizeof *all->data, by_id);
    }
    count_missing(all);
}

#endif
