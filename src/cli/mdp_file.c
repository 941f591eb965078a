/* Reading a problem from JSON:
 *
 *     { "S": 2, "A": 2, "P": [[[...S...] ...A] ...S], "r1": [[...A...] ...S], "r2": the same,
 *       "gamma": 0.9, "lambda": 1, "alpha1": 1, "alpha_tilde": 1, "terminal": [false, true] }
 *
 * "terminal" may be missing: no state is then. Shapes are checked before anything is allocated by them. */
#include "cli/mdp_file.h"

#include "base/checked.h"
#include "base/try.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 3, ELEMENT_BYTES = 64 };

/* An element of a member: "P[1][0]". */
static void element_text(char element[ELEMENT_BYTES], const char *key, const size_t *index, size_t depth) {
    size_t used = (size_t)snprintf(element, ELEMENT_BYTES, "%s", key);
    for (size_t i = 0; i < depth && used < ELEMENT_BYTES; i++) {
        used += (size_t)snprintf(element + used, ELEMENT_BYTES - used, "[%zu]", index[i]);
    }
}

/* Goes through nested arrays whose lengths are dims[depth..dims_n); appends the numbers to out unless it is NULL. */
static qa_status walk(const json_t *value, const char *path, const char *key, const size_t *dims, size_t dims_n,
                      size_t *index, size_t depth, double **out, qa_error *err) {
    char element[ELEMENT_BYTES];
    element_text(element, key, index, depth);
    if (depth == dims_n) {
        const double number = json_is_number(value) ? json_number_value(value) : (double)NAN;
        QA_FAIL_IF(!isfinite(number), err, QA_ERR_FORMAT, "%s: %s: expected a number", path, element);
        if (out != NULL) {
            *(*out)++ = number;
        }
        return QA_OK;
    }
    QA_FAIL_IF(!json_is_array(value) || json_array_size(value) != dims[depth], err, QA_ERR_FORMAT,
               "%s: %s: expected an array of %zu, found %s%.0zu", path, element, dims[depth],
               json_is_array(value) ? "one of " : "something else", json_is_array(value) ? json_array_size(value) : 0);
    for (size_t i = 0; i < dims[depth]; i++) {
        index[depth] = i;
        QA_TRY(walk(json_array_get(value, i), path, key, dims, dims_n, index, depth + 1, out, err));
    }
    return QA_OK;
}

/* The member's numbers, all of them, in a new array. */
static qa_status read_table(double **table, const json_t *root, const char *path, const char *key, const size_t *dims,
                            size_t dims_n, qa_error *err) {
    size_t index[MAX_DEPTH] = {0}, entries = 1;
    json_t *member = NULL;
    QA_TRY(qa_json_get_array(root, key, true, path, &member, err));
    QA_TRY(walk(member, path, key, dims, dims_n, index, 0, NULL, err)); /* the file does hold that many numbers */
    for (size_t i = 0; i < dims_n; i++) {
        entries *= dims[i];
    }
    *table = qa_alloc_array(entries, sizeof **table);
    QA_FAIL_IF(*table == NULL, err, QA_ERR_MEMORY, "%s: out of memory for %s", path, key);
    double *next = *table;
    return walk(member, path, key, dims, dims_n, index, 0, &next, err);
}

static qa_status read_mdp_terminal(bool **terminal, const json_t *root, const char *path, size_t S, qa_error *err) {
    json_t *member = NULL;
    QA_TRY(qa_json_get_array(root, "terminal", false, path, &member, err));
    QA_FAIL_IF(member != NULL && json_array_size(member) != S, err, QA_ERR_FORMAT,
               "%s: terminal: expected an array of %zu, found one of %zu", path, S, json_array_size(member));
    *terminal = qa_alloc_array(S, sizeof **terminal);
    QA_FAIL_IF(*terminal == NULL, err, QA_ERR_MEMORY, "%s: out of memory for %zu states", path, S);
    for (size_t s = 0; member != NULL && s < S; s++) {
        const json_t *value = json_array_get(member, s);
        QA_FAIL_IF(!json_is_boolean(value), err, QA_ERR_FORMAT, "%s: terminal[%zu]: expected true or false", path, s);
        (*terminal)[s] = json_is_true(value);
    }
    return QA_OK;
}

/* A misspelt member would otherwise be passed over. */
static qa_status check_state_names(const json_t *root, const char *path, qa_error *err) {
    static const char *const known[] = {"S",     "A",      "P",      "r1",          "r2",
                                        "gamma", "lambda", "alpha1", "alpha_tilde", "terminal"};
    for (void *at = json_object_iter((json_t *)(uintptr_t)root); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)root, at)) {
        const char *key = json_object_iter_key(at);
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            found |= strcmp(key, known[i]) == 0;
        }
        QA_FAIL_IF(!found, err, QA_ERR_FORMAT,
                   "%s: unknown member \"%.40s\"; known are S, A, P, r1, r2, gamma, lambda, alpha1, "
                   "alpha_tilde, terminal",
                   path, key);
    }
    return QA_OK;
}

static qa_status read_mdp_numbers(cli_mdp *out, const json_t *root, const char *path, qa_error *err) {
    QA_TRY(qa_json_get_size(root, "S", true, path, &out->mdp.S, err));
    QA_TRY(qa_json_get_size(root, "A", true, path, &out->mdp.A, err));
    QA_TRY(qa_json_get_double(root, "gamma", true, path, &out->mdp.gamma, err));
    QA_TRY(qa_json_get_double(root, "lambda", true, path, &out->lambda, err));
    QA_TRY(qa_json_get_double(root, "alpha1", true, path, &out->alpha1, err));
    QA_TRY(qa_json_get_double(root, "alpha_tilde", true, path, &out->alpha_tilde, err));
    QA_FAIL_IF(out->mdp.S == 0 || out->mdp.A == 0, err, QA_ERR_FORMAT,
               "%s: S = %zu and A = %zu: expected at least one state and one action", path, out->mdp.S, out->mdp.A);
    QA_FAIL_IF(!(out->alpha1 > 0.0) || !(out->alpha_tilde > 0.0) || !(out->lambda >= 0.0), err, QA_ERR_FORMAT,
               "%s: alpha1 = %g, alpha_tilde = %g, lambda = %g: expected temperatures above 0 and a weight of "
               "at least 0",
               path, out->alpha1, out->alpha_tilde, out->lambda);
    return QA_OK;
}

static qa_status read_mdp(cli_mdp *out, const json_t *root, const char *path, qa_error *err) {
    QA_FAIL_IF(!json_is_object(root), err, QA_ERR_FORMAT, "%s: expected a JSON object", path);
    QA_TRY(check_state_names(root, path, err));
    QA_TRY(read_mdp_numbers(out, root, path, err));
    const size_t shape[MAX_DEPTH] = {out->mdp.S, out->mdp.A, out->mdp.S};
    QA_TRY(read_table(&out->p, root, path, "P", shape, 3, err));
    QA_TRY(read_table(&out->r1, root, path, "r1", shape, 2, err));
    QA_TRY(read_table(&out->r2, root, path, "r2", shape, 2, err));
    QA_TRY(read_mdp_terminal(&out->terminal, root, path, out->mdp.S, err));
    out->mdp.p = out->p;
    out->mdp.terminal = out->terminal;
    return qa_prefixed(qa_mdp_check(&out->mdp, err), err, "%s: ", path);
}

qa_status cli_mdp_load(cli_mdp *out, const char *path, qa_error *err) {
    json_t *root = NULL;
    *out = (cli_mdp){0};
    QA_TRY(qa_json_load(&root, path, err));
    const qa_status status = read_mdp(out, root, path, err);
    json_decref(root);
    if (status != QA_OK) {
        cli_mdp_free(out);
    }
    return status;
}

void cli_mdp_free(cli_mdp *problem) {
    free(problem->p);
    free(problem->r1);
    free(problem->r2);
    free(problem->terminal);
    *problem = (cli_mdp){0};
}
