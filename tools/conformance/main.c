/* conformance CASES DIR: the vectors of weights/conformance, from the cases of cases.json (docs/conformance.md).
 *
 * A case names an equation and gives its inputs, as numbers or as {"random": [shape], "scale": s} and {"log_policy":
 * [shape]}, which are filled with multiples of 1/64. What comes out is computed at 256 bits and rounded once; gradients
 * are compared with central differences; every mistake that can be made in the equation is made, and written down where
 * it shows in single precision, too. The same bytes on every machine. */
#include "base/rng.h"
#include "base/sha256.h"
#include "conformance/task.h"
#include "io/file.h"
#include "io/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, SMALL = 16, STEP_BITS = 80, SCALE_BITS = 29 }; /* single precision has 29 bits fewer */
static const double CONSTANT = 1.0, EPSILON = 0x1p-52, LEAST_TOLERANCE = 0x1p-155;

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("conformance: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

static void check(qa_status status, const qa_error *err) {
    if (status != QA_OK) {
        die("%s", err->message);
    }
}

/* ---- arrays ---- */

static const array *find(const array *arrays, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(arrays[i].name, name) == 0) {
            return &arrays[i];
        }
    }
    return NULL;
}

const array *in_array(const task *t, const char *name) { return find(t->in, t->n_in, name); }

static const array *need(const task *t, const char *name) {
    const array *a = in_array(t, name);
    if (a == NULL) {
        die("an input is missing: %s", name);
    }
    return a;
}

R *in(const task *t, const char *name) { return need(t, name)->x; }
R in1(const task *t, const char *name) { return need(t, name)->x[0]; }
size_t in_at(const task *t, const char *name, size_t i) { return (size_t)r_double(need(t, name)->x[i]); }
size_t in_size(const task *t, const char *name) { return in_at(t, name, 0); }
size_t dim(const task *t, const char *name, size_t which) { return need(t, name)->shape[which]; }
bool in_flag(const task *t, const char *name) { return json_is_true(json_object_get(t->given, name)); }
bool in_is(const task *t, const char *name, const char *text) {
    const char *value = json_string_value(json_object_get(t->given, name));
    return value != NULL && strcmp(value, text) == 0;
}
bool wrong(const task *t, const char *mistake) { return t->wrong != NULL && strcmp(t->wrong, mistake) == 0; }

R *room(size_t n) {
    static R memory[1 << 22];
    static size_t at;
    at = at + n > sizeof memory / sizeof memory[0] ? 0 : at; /* a ring: far more than one vector needs */
    R *x = memory + at;
    at += n;
    for (size_t i = 0; i < n; i++) {
        x[i] = num(0);
    }
    return x;
}

void out_shape(task *t, const char *name, size_t dims, const size_t *shape, R *x) {
    array *a = &t->out[t->n_out++];
    *a = (array){.name = name, .dims = dims, .n = 1, .x = x};
    for (size_t i = 0; i < dims; i++) {
        a->shape[i] = shape[i];
        a->n *= shape[i];
    }
}

void out_like(task *t, const char *name, const char *input, R *x) {
    out_shape(t, name, need(t, input)->dims, need(t, input)->shape, x);
}

void out1(task *t, const char *name, R x) {
    R *one = room(1);
    one[0] = x;
    out_shape(t, name, 0, NULL, one);
}

/* ---- inputs ---- */

/* About normal, in multiples of 1/64, by no function of a library. */
static double random_number(qa_rng *rng, double scale) {
    double sum = -2.0;
    for (int i = 0; i < 4; i++) {
        sum += qa_rng_uniform(rng);
    }
    return floor(sum * 1.75 * scale * 64.0 + 0.5) / 64.0;
}

static json_t *random_array(const json_t *shape, size_t from, const json_t *spec, qa_rng *rng) {
    const double scale = json_number_value(json_object_get(spec, "scale"));
    if (from == json_array_size(shape)) {
        const bool policy = json_object_get(spec, "log_policy") != NULL;
        const double x = random_number(rng, scale == 0.0 ? 1.0 : scale);
        return json_real(policy ? -1.75 - x * 0.9375 : x + json_number_value(json_object_get(spec, "shift")));
    }
    json_t *all = json_array();
    for (json_int_t i = 0; i < json_integer_value(json_array_get(shape, from)); i++) {
        json_array_append_new(all, random_array(shape, from + 1, spec, rng));
    }
    return all;
}

/* The inputs with their random parts filled in. */
static json_t *filled(const json_t *inputs, const char *id) {
    uint64_t seed = 0;
    for (const char *c = id; *c != '\0'; c++) {
        seed = qa_hash(seed, (unsigned char)*c);
    }
    qa_rng rng = qa_rng_seed(seed, 0);
    json_t *all = json_object(), *value = NULL;
    const char *key = NULL;
    json_object_foreach((json_t *)(uintptr_t)inputs, key, value) {
        json_t *shape = json_object_get(value, "random");
        shape = shape == NULL ? json_object_get(value, "log_policy") : shape;
        json_object_set_new(all, key, shape == NULL ? json_incref(value) : random_array(shape, 0, value, &rng));
    }
    return all;
}

static double number_of(const json_t *value) {
    const char *text = json_string_value(value);
    return text == NULL ? json_number_value(value) : strtod(text, NULL);
}

static void read_numbers(array *a, const json_t *value, size_t depth, R **at) {
    if (!json_is_array(value)) {
        *(*at)++ = json_is_integer(value) ? num(number_of(value)) : given(number_of(value));
        return;
    }
    if (depth >= MOST_DIMENSIONS) {
        die("%s has more than %d dimensions", a->name, MOST_DIMENSIONS);
    }
    a->shape[depth] = json_array_size(value);
    a->dims = depth + 1 > a->dims ? depth + 1 : a->dims;
    for (size_t i = 0; i < json_array_size(value); i++) {
        read_numbers(a, json_array_get(value, i), depth + 1, at);
    }
}

static size_t count_numbers(const json_t *value) {
    size_t n = json_is_array(value) ? 0 : 1;
    for (size_t i = 0; i < json_array_size(value); i++) {
        n += count_numbers(json_array_get(value, i));
    }
    return n;
}

/* A number among the inputs that is moved by +-2^-STEP_BITS. */
typedef struct step {
    const char *name;
    size_t i;
    int sign; /* 0: none */
} step;

static void run(const equation *e, task *t, const json_t *inputs, const char *mistake, step s) {
    const char *key = NULL;
    json_t *value = NULL;
    *t = (task){.given = inputs, .wrong = mistake};
    json_object_foreach((json_t *)(uintptr_t)inputs, key, value) {
        if (json_is_boolean(value) || json_is_string(value)) {
            continue;
        }
        array *a = &t->in[t->n_in++];
        *a = (array){.name = key, .n = count_numbers(value)};
        a->x = room(a->n);
        R *at = a->x;
        read_numbers(a, value, 0, &at);
        if (s.sign != 0 && strcmp(key, s.name) == 0) {
            a->x[s.i] = moved(a->x[s.i], s.sign, STEP_BITS);
        }
    }
    e->compute(t);
}

/* ---- gradients ---- */

/* What gradients are of: the sum of dy times the first output. */
static void weighted(mpfr_t result, const equation *e, const json_t *inputs, const char *mistake, step s) {
    static task t;
    const size_t mark = pool_mark();
    run(e, &t, inputs, mistake, s);
    const array *dy = in_array(&t, "dy"), *y = &t.out[0];
    R sum = num(0);
    for (size_t i = 0; i < y->n; i++) {
        if (isfinite(r_double(y->x[i]))) { /* what is ruled out stays so */
            sum = r_add(sum, dy == NULL ? y->x[i] : r_mul(dy->x[i], y->x[i]));
        }
    }
    mpfr_set(result, sum->v, MPFR_RNDN);
    pool_release(mark);
}

/* Central differences: their own error is of the order of 2^-160. With a mistake, too: what an implementation that
 * makes it differentiates; but for mistakes that are of gradients alone or of rounding. most: of outputs of so many
 * numbers. */
static void check_gradients(const equation *e, const task *t, const json_t *inputs, const char *id, size_t most) {
    mpfr_t up, down, limit;
    mpfr_inits2(256, up, down, limit, (mpfr_ptr)0);
    for (size_t k = 0; k < t->n_out; k++) {
        const char *name = t->out[k].name;
        const array *input = strncmp(name, "grad_", 5) == 0 ? in_array(t, name + 5) : NULL;
        for (size_t i = 0; input != NULL && input->n <= most && i < input->n; i++) {
            if (!isfinite(r_double(input->x[i]))) {
                continue;
            }
            weighted(up, e, inputs, t->wrong, (step){input->name, i, 1});
            weighted(down, e, inputs, t->wrong, (step){input->name, i, -1});
            mpfr_sub(up, up, down, MPFR_RNDN);
            mpfr_mul_2si(up, up, STEP_BITS - 1, MPFR_RNDN);
            mpfr_sub(up, up, t->out[k].x[i]->v, MPFR_RNDN);
            mpfr_abs(up, up, MPFR_RNDN);
            mpfr_add_ui(limit, t->out[k].x[i]->e, 1, MPFR_RNDN);
            mpfr_mul_2si(limit, limit, -120, MPFR_RNDN);
            if (!mpfr_lessequal_p(up, limit)) {
                die("%s: %s[%zu] is not what central differences say, by %g (%s)", id, name, i,
                    mpfr_get_d(up, MPFR_RNDN), t->wrong == NULL ? "no mistake" : t->wrong);
            }
        }
    }
    mpfr_clears(up, down, limit, (mpfr_ptr)0);
}

/* ---- what is written ---- */

static void put_number(qa_json_writer *w, const char *key, double x) {
    if (isnan(x)) {
        die("%s is not a number", key == NULL ? "an element" : key);
    }
    if (isinf(x)) {
        qa_json_put_string(w, key, x < 0 ? "-inf" : "inf");
    } else {
        qa_json_put_number(w, key, x);
    }
}

static void put_nested(qa_json_writer *w, const char *key, const array *a, size_t depth, const double **at) {
    if (depth == a->dims || depth >= MOST_DIMENSIONS) {
        put_number(w, key, *(*at)++);
        return;
    }
    qa_json_open_array(w, key, QA_JSON_LINE);
    for (size_t i = 0; i < a->shape[depth]; i++) {
        put_nested(w, NULL, a, depth + 1, at);
    }
    qa_json_close(w);
}

static void put_array(qa_json_writer *w, const array *a) {
    double *x = malloc(a->n * sizeof *x);
    for (size_t i = 0; x != NULL && i < a->n; i++) {
        x[i] = r_double(a->x[i]);
        x[i] = x[i] == 0.0 ? 0.0 : x[i];
    }
    const double *at = x;
    if (x != NULL) {
        put_nested(w, a->name, a, 0, &at);
    }
    free(x);
}

static void put_json_value(qa_json_writer *w, const char *key, const json_t *value) {
    if (json_is_array(value)) {
        qa_json_open_array(w, key, QA_JSON_LINE);
        for (size_t i = 0; i < json_array_size(value); i++) {
            put_json_value(w, NULL, json_array_get(value, i));
        }
        qa_json_close(w);
    } else if (json_is_string(value)) {
        qa_json_put_string(w, key, json_string_value(value));
    } else if (json_is_boolean(value)) {
        qa_json_put_bool(w, key, json_is_true(value));
    } else {
        qa_json_put_number(w, key, json_number_value(value));
    }
}

/* CONSTANT x the largest bound x epsilon, rounded up to two digits. */
static double tolerance_of(const array *a) {
    double most = 0.0;
    for (size_t i = 0; i < a->n; i++) {
        most = fmax(most, mpfr_get_d(a->x[i]->e, MPFR_RNDU));
    }
    char digits[32];
    (void)snprintf(digits, sizeof digits, "%.1e", fmax(1.05 * CONSTANT * EPSILON * most, LEAST_TOLERANCE));
    return strtod(digits, NULL);
}

/* Beyond the tolerance of single precision, twice over. */
static bool differs(const array *a, const array *right) {
    const double tolerance = ldexp(tolerance_of(right), SCALE_BITS + 1);
    bool any = false;
    for (size_t i = 0; i < a->n; i++) {
        const double x = r_double(a->x[i]), y = r_double(right->x[i]);
        any = any || (x != y && !(fabs(x - y) <= tolerance));
    }
    return any;
}

/* The outputs of a mistake that differ: the small ones, or the first where no small one does. False: none. */
static bool put_mistake(qa_json_writer *w, const task *bad, const task *right, const char *name, const char *text) {
    size_t small = 0, all = 0;
    bool differ[MOST_ARRAYS] = {false};
    for (size_t k = 0; k < right->n_out; k++) {
        differ[k] = differs(&bad->out[k], &right->out[k]);
        all += differ[k] ? 1 : 0;
        small += differ[k] && right->out[k].n <= SMALL ? 1 : 0;
    }
    if (all == 0) {
        return false;
    }
    qa_json_open_object(w, NULL, QA_JSON_LINE);
    qa_json_put_string(w, "name", name);
    qa_json_put_string(w, "text", text);
    qa_json_open_object(w, "outputs", QA_JSON_LINE);
    for (size_t k = 0; k < right->n_out; k++) {
        if (differ[k] && (small == 0 || right->out[k].n <= SMALL)) {
            put_array(w, &bad->out[k]);
            small += small == 0 ? 1 : 0;
        }
    }
    qa_json_close(w);
    qa_json_close(w);
    return true;
}

static void put_mistakes(qa_json_writer *w, const equation *e, const task *right, const json_t *inputs, const char *id,
                         json_t *texts) {
    static task bad;
    char *names = strdup(e->mistakes), *rest = NULL;
    qa_json_open_array(w, "mistakes", QA_JSON_BLOCK);
    for (char *name = strtok_r(names, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest)) {
        json_t *entry = json_object_get(texts, name);
        if (!json_is_string(json_object_get(entry, "text"))) {
            die("the mistake %s has no text in the cases", name);
        }
        run(e, &bad, inputs, name, (step){0});
        if (!json_is_true(json_object_get(entry, "no_differences"))) {
            check_gradients(e, &bad, inputs, id, SMALL);
        }
        if (put_mistake(w, &bad, right, name, json_string_value(json_object_get(entry, "text")))) {
            json_object_set_new(entry, "seen", json_true());
        }
    }
    qa_json_close(w);
    free(names);
}

/* ---- a vector ---- */

static const equation *equation_named(const char *name) {
    const equation *const tables[] = {equations_of_q, equations_of_losses, equations_of_rollouts,
                                      equations_of_optimisers, equations_of_layers};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        for (const equation *e = tables[i]; e->name != NULL; e++) {
            if (strcmp(e->name, name) == 0) {
                return e;
            }
        }
    }
    die("no equation is called %s", name);
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static void put_vector(qa_json_writer *w, const json_t *one, json_t *texts, json_t *ids) {
    static task right;
    const char *id = text_of(one, "id"), *key = NULL;
    const equation *e = equation_named(text_of(one, "equation"));
    json_t *inputs = filled(json_object_get(one, "inputs"), id), *value = NULL;
    const json_t *since = json_object_get(one, "since");
    if (json_object_get(ids, id) != NULL) {
        die("two vectors are called %s", id);
    }
    json_object_set_new(ids, id, json_true());
    run(e, &right, inputs, NULL, (step){0});
    check_gradients(e, &right, inputs, id, SIZE_MAX);
    qa_json_open_object(w, NULL, QA_JSON_BLOCK);
    qa_json_put_string(w, "id", id);
    qa_json_put_size(w, "since", since == NULL ? 1 : (size_t)json_integer_value(since));
    qa_json_put_string(w, "label", text_of(one, "label"));
    qa_json_put_string(w, "equation", e->name);
    qa_json_put_string(w, "about", text_of(one, "about"));
    qa_json_open_object(w, "inputs", QA_JSON_BLOCK);
    json_object_foreach(inputs, key, value) { put_json_value(w, key, value); }
    qa_json_close(w);
    qa_json_open_object(w, "outputs", QA_JSON_BLOCK);
    for (size_t k = 0; k < right.n_out; k++) {
        put_array(w, &right.out[k]);
    }
    qa_json_close(w);
    qa_json_open_object(w, "tolerance", QA_JSON_LINE);
    for (size_t k = 0; k < right.n_out; k++) {
        qa_json_put_number(w, right.out[k].name, tolerance_of(&right.out[k]));
    }
    qa_json_close(w);
    put_mistakes(w, e, &right, inputs, id, texts);
    qa_json_close(w);
    json_decref(inputs);
    pool_release(0);
}

/* ---- files ---- */

static void save(const char *dir, const char *name, const qa_text *text) {
    char path[4096];
    qa_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    check(qa_write_file(path, text->data, text->n, &err), &err);
}

static void put_head(qa_json_writer *w) {
    qa_json_open_object(w, NULL, QA_JSON_BLOCK);
    qa_json_put_string(w, "format", "qadapter-conformance");
    qa_json_put_size(w, "version", VERSION);
}

static void put_file(qa_json_writer *manifest, const char *dir, const char *name, const qa_text *text) {
    char hex[QA_SHA256_HEX_BYTES];
    qa_sha256_hex(text->data, text->n, hex);
    qa_json_open_object(manifest, name, QA_JSON_LINE);
    qa_json_put_size(manifest, "bytes", text->n);
    qa_json_put_string(manifest, "sha256", hex);
    qa_json_close(manifest);
    save(dir, name, text);
}

static void put_group(qa_json_writer *manifest, const char *dir, const char *group, const json_t *cases, json_t *texts,
                      json_t *ids) {
    qa_error err = {0};
    qa_json_writer w = {.err = &err};
    char name[256];
    (void)snprintf(name, sizeof name, "%s.json", group);
    put_head(&w);
    qa_json_put_string(&w, "group", group);
    qa_json_open_array(&w, "vectors", QA_JSON_BLOCK);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        put_vector(&w, json_array_get(cases, i), texts, ids);
    }
    qa_json_close(&w);
    qa_json_close(&w);
    qa_json_end_line(&w);
    check(w.status, &err);
    put_file(manifest, dir, name, &w.text);
    qa_text_free(&w.text);
}

int main(int argc, char **argv) {
    qa_error err = {0};
    qa_json_writer manifest = {.err = &err};
    json_t *cases = NULL, *value = NULL, *ids = json_object();
    const char *key = NULL;
    if (argc != 3) {
        die("usage: conformance CASES DIR");
    }
    check(qa_json_load(&cases, argv[1], &err), &err);
    json_t *texts = json_object_get(cases, "mistakes");
    put_head(&manifest);
    qa_json_open_object(&manifest, "files", QA_JSON_BLOCK);
    json_object_foreach(json_object_get(cases, "groups"), key, value) {
        put_group(&manifest, argv[2], key, value, texts, ids);
    }
    json_object_foreach(texts, key, value) {
        if (json_object_get(value, "seen") == NULL) {
            die("no vector shows the mistake %s", key);
        }
    }
    qa_json_close(&manifest);
    qa_json_close(&manifest);
    qa_json_end_line(&manifest);
    check(manifest.status, &err);
    save(argv[2], "manifest.json", &manifest.text);
    qa_text_free(&manifest.text);
    json_decref(ids);
    json_decref(cases);
    return 0;
}
