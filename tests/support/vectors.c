/* See vectors.h. */
#include "support/vectors.h"

#include "io/json.h"
#include "support/expect.h"

#include <stdio.h>
#include <stdlib.h>

/* A candidate in single precision: 29 bits fewer. */
static double epsilons(void) { return sizeof(qa_real) == sizeof(double) ? 1.0 : 0x1p29; }

/* One vector on its way, and memory that is free again at the next. */
typedef struct trial {
    const json_t *vector, *inputs;
    size_t given; /* outputs that were compared */
    double worst; /* error in units of the tolerance */
    double doubles[1 << 15];
    qa_real reals[1 << 15];
    size_t n_doubles, n_reals;
} trial;

static trial t;

double *doubles(size_t n) {
    ck_assert_uint_le(t.n_doubles + n, sizeof t.doubles / sizeof t.doubles[0]);
    double *x = t.doubles + t.n_doubles;
    t.n_doubles += n;
    memset(x, 0, n * sizeof *x);
    return x;
}

qa_real *reals(size_t n) {
    ck_assert_uint_le(t.n_reals + n, sizeof t.reals / sizeof t.reals[0]);
    qa_real *x = t.reals + t.n_reals;
    t.n_reals += n;
    memset(x, 0, n * sizeof *x);
    return x;
}

/* ---- JSON ---- */

static size_t flatten(const json_t *value, double *x, size_t n) {
    if (!json_is_array(value)) {
        const char *text = json_string_value(value);
        x[n] = text == NULL ? json_number_value(value) : strtod(text, NULL);
        return n + 1;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        n = flatten(json_array_get(value, i), x, n);
    }
    return n;
}

const json_t *input(const char *name) {
    const json_t *value = json_object_get(t.inputs, name);
    ck_assert_msg(value != NULL, "no input %s", name);
    return value;
}

double *in(const char *name) {
    double x[VECTOR_MOST];
    const size_t n = flatten(input(name), x, 0);
    double *copy = doubles(n);
    memcpy(copy, x, n * sizeof *copy);
    return copy;
}

qa_real *in_reals(const char *name) {
    double x[VECTOR_MOST];
    const size_t n = flatten(input(name), x, 0);
    qa_real *copy = reals(n);
    for (size_t i = 0; i < n; i++) {
        copy[i] = (qa_real)x[i];
    }
    return copy;
}

double in1(const char *name) { return json_object_get(t.inputs, name) == NULL ? 0.0 : in(name)[0]; }
size_t in_size(const char *name) { return (size_t)in1(name); }
bool in_flag(const char *name) { return json_is_true(json_object_get(t.inputs, name)); }
bool in_is(const char *name, const char *text) { return strcmp(json_string_value(input(name)), text) == 0; }

size_t dim(const char *name, size_t which) {
    const json_t *value = input(name);
    for (; which > 0; which--) {
        value = json_array_get(value, 0);
    }
    return json_array_size(value);
}

/* ---- comparing ---- */

/* The error in units of the tolerance; infinite where one of the two is not a number. */
static double units(double got, double expected, double tolerance) {
    return got == expected ? 0.0 : isfinite(got - expected) ? fabs(got - expected) / tolerance : (double)INFINITY;
}

static const char *id(void) { return json_string_value(json_object_get(t.vector, "id")); }

void out(const char *name, const double *x, size_t n) {
    double expected[VECTOR_MOST];
    const json_t *value = json_object_get(json_object_get(t.vector, "outputs"), name);
    const double tolerance = json_number_value(json_object_get(json_object_get(t.vector, "tolerance"), name));
    if (value == NULL) {
        return; /* of a row that is ruled out, log_sum_exp is all there is */
    }
    ck_assert_uint_eq(flatten(value, expected, 0), n);
    for (size_t i = 0; i < n; i++) {
        const double off = units(x[i], expected[i], tolerance * epsilons());
        ck_assert_msg(off <= 1.0, "%s: %s[%zu] is %.17g, expected %.17g, off by %g tolerances", id(), name, i, x[i],
                      expected[i], off);
        t.worst = off > t.worst ? off : t.worst;
    }
    t.given++;
}

void out1(const char *name, double x) { out(name, &x, 1); }

void out_reals(const char *name, const qa_real *x, size_t n) {
    double *copy = doubles(n);
    for (size_t i = 0; i < n; i++) {
        copy[i] = (double)x[i];
    }
    out(name, copy, n);
}

bool has_output(const char *name) { return json_object_get(json_object_get(t.vector, "outputs"), name) != NULL; }

static const char *equation_of(void) { return json_string_value(json_object_get(t.vector, "equation")); }
bool is_equation(const char *name) { return strcmp(equation_of(), name) == 0; }

static json_t *load_group(const char *group) {
    json_t *root = NULL;
    qa_error err = {0};
    char path[128];
    (void)snprintf(path, sizeof path, "weights/conformance/%s.json", group);
    expect_ok(qa_json_load(&root, path, &err), &err);
    ck_assert_uint_gt(json_array_size(json_object_get(root, "vectors")), 0);
    return root;
}

static void begin_vector(const json_t *root, size_t i) {
    t = (trial){.vector = json_array_get(json_object_get(root, "vectors"), i)};
    t.inputs = json_object_get(t.vector, "inputs");
}

void run_vectors(const char *group, const vector_function *functions) {
    json_t *root = load_group(group);
    const size_t n = json_array_size(json_object_get(root, "vectors"));
    double worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        const vector_function *function = functions;
        begin_vector(root, i);
        while (function->equation != NULL && !is_equation(function->equation)) {
            function++;
        }
        ck_assert_msg(function->equation != NULL, "%s: no function for %s", id(), equation_of());
        function->run();
        ck_assert_msg(t.given == json_object_size(json_object_get(t.vector, "outputs")), "%s: %zu outputs", id(),
                      t.given);
        worst = t.worst > worst ? t.worst : worst;
    }
    printf("    %s: %zu vectors, at worst %.3f of the tolerance\n", group, n, worst);
    json_decref(root);
}

/* The worst output of a mistake is beyond its tolerance. */
static void expect_caught(const json_t *mistake, const char *name, const json_t *value) {
    double got[VECTOR_MOST], expected[VECTOR_MOST], worst = 0.0;
    const size_t n = flatten(json_object_get(json_object_get(t.vector, "outputs"), name), expected, 0);
    const double tolerance = json_number_value(json_object_get(json_object_get(t.vector, "tolerance"), name));
    ck_assert_uint_eq(flatten(value, got, 0), n);
    for (size_t j = 0; j < n; j++) {
        const double off = units(got[j], expected[j], tolerance * 0x1p29);
        worst = off > worst ? off : worst;
    }
    ck_assert_msg(worst > 1.0, "%s: %s passes with the mistake %s", id(), name,
                  json_string_value(json_object_get(mistake, "name")));
}

void expect_mistakes(const char *group) {
    json_t *root = load_group(group), *value = NULL;
    const char *name = NULL;
    size_t mistakes = 0;
    for (size_t i = 0; i < json_array_size(json_object_get(root, "vectors")); i++) {
        begin_vector(root, i);
        const json_t *all = json_object_get(t.vector, "mistakes");
        for (size_t k = 0; k < json_array_size(all); k++, mistakes++) {
            json_t *outputs = json_object_get(json_array_get(all, k), "outputs");
            ck_assert_uint_gt(json_object_size(outputs), 0);
            json_object_foreach(outputs, name, value) { expect_caught(json_array_get(all, k), name, value); }
        }
    }
    ck_assert_uint_gt(mistakes, 10);
    json_decref(root);
}
