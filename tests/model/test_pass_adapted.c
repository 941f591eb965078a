/* The adapted stream alone: the states, logits, hidden rows and gradients of both streams run apart to the bit, with
 * the base stream's states as they were kept, and without a touch of the base stream's rows. */
#include "base/rng.h"
#include "model/pass.h"
#include "support/arrays.h"
#include "support/fixture.h"

#include <check.h>
#include <math.h>
#include <string.h>

/* The same input, with its streams apart, and without the base stream. */
static qa_packed apart(qa_packed in) {
    in.apart = true;
    return in;
}

static qa_packed alone(qa_packed in, const qa_real *base, size_t first) {
    in.base = base;
    in.first = first;
    return in;
}

enum { MAX_ROWS = 160, VOCABULARY = 61 };

/* Lengths of prompt, chosen and rejected response: few rows (the matvec's 8 and less), rows around its limit, around
 * BLAS' tiles, and one response alone. */
static const size_t lengths[][3] = {{1, 1, 1},    {2, 2, 1},    {3, 3, 2},  {3, 3, 3},   {5, 4, 7}, {9, 13, 11},
                                    {31, 40, 26}, {50, 64, 46}, {4, 12, 0}, {17, 80, 0}, {65, 1, 3}};

enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

typedef struct input {
    int32_t ids[MAX_ROWS];
    qa_packed packed;
    size_t rows, first; /* states are asked for from row `first` on */
    size_t states[MAX_ROWS], n_states;
} input;

static void make_input(input *in, const size_t length[3], uint64_t seed) {
    qa_rng rng = qa_rng_seed(seed, 3);
    in->rows = length[0] + length[1] + length[2];
    for (size_t i = 0; i < in->rows; i++) {
        in->ids[i] = (int32_t)qa_rng_below(&rng, VOCABULARY);
    }
    in->packed = (qa_packed){
        .trunk = {in->ids, length[0]},
        .branches = {{in->ids + length[0], length[1]}, {in->ids + length[0] + length[1], length[2]}},
        .n_branches = length[2] == 0 ? 1 : 2,
    };
    in->first = length[0] / 2;
    in->n_states = 0;
    for (size_t row = in->rows; row-- > in->first;) { /* not in order, and not every row */
        if (row % 5 != 3 || row == in->first) {
            in->states[in->n_states++] = row;
        }
    }
}

/* What a forward leaves, as copies. */
typedef struct left {
    qa_real *base, *adapted; /* [states x V] */
    qa_real *hidden;         /* [layers x rows x d] with backward */
    qa_real *gradient;       /* with backward */
} left;

static left look(qa_bag *bag, qa_pass *pass, const qa_fixture *f, const input *in, bool backward) {
    const size_t V = f->model->config.vocab_size, d = f->model->config.hidden_size;
    const size_t layers = f->model->config.num_hidden_layers;
    left out = {qa_bag_zeros(bag, in->n_states * V), qa_bag_zeros(bag, in->n_states * V), NULL, NULL};
    for (size_t at = 0; at < in->n_states; at += QA_HEAD_CHUNK) {
        const size_t count = in->n_states - at < QA_HEAD_CHUNK ? in->n_states - at : QA_HEAD_CHUNK;
        qa_real *base = NULL, *adapted = NULL;
        qa_pass_head(pass, at, count, &base, &adapted);
        memcpy(out.base + at * V, base, count * V * sizeof *base);
        memcpy(out.adapted + at * V, adapted, count * V * sizeof *base);
    }
    if (backward) {
        out.hidden = qa_bag_zeros(bag, layers * in->rows * d);
        for (size_t l = 0; l < layers; l++) {
            memcpy(out.hidden + l * in->rows * d, qa_pass_hidden(pass, l), in->rows * d * sizeof *out.hidden);
        }
        out.gradient = qa_bag_zeros(bag, f->adapter->count);
        qa_bag upstream = qa_bag_open(9);
        qa_pass_backward(pass, out.gradient, qa_bag_random(&upstream, in->n_states * d));
        qa_bag_close(&upstream);
    }
    return out;
}

static void expect_same(const char *what, const qa_real *got, const qa_real *expected, size_t n, size_t c) {
    ck_assert_msg(memcmp(got, expected, n * sizeof *got) == 0, "%s differ, lengths %zu", what, c);
}

/* The base stream's rows of the last layer, which stand before the adapted ones: overwritten with a pattern, and asked
 * whether it is still there. Whoever runs the base stream's layers writes them. */
static void poison(qa_pass *pass, const qa_fixture *f, const input *in, bool check) {
    const size_t reals = in->rows * f->model->config.hidden_size;
    qa_real *rows = (qa_real *)(uintptr_t)qa_pass_hidden(pass, f->model->config.num_hidden_layers - 1) - reals;
    for (size_t i = 0; i < reals; i++) {
        if (check) {
            ck_assert_msg(rows[i] == (qa_real)-77, "the base stream's row %zu was computed", i);
        }
        rows[i] = (qa_real)-77;
    }
}

static void check_case(const qa_fixture *f, qa_pass *pass, size_t c, uint64_t dropout_key, bool backward) {
    const size_t V = f->model->config.vocab_size, d = f->model->config.hidden_size;
    qa_error err = {0};
    qa_bag bag = qa_bag_open(c);
    input in, other;
    make_input(&in, lengths[c], c);
    make_input(&other, lengths[(c + 1) % N_LENGTHS], 99);
    qa_expect_ok(qa_pass_forward(pass, (qa_packed[]){apart(in.packed)}, in.states, in.n_states, dropout_key, &err),
                 &err);
    qa_real *kept = qa_bag_zeros(&bag, (in.rows - in.first) * d);
    qa_pass_base_states(pass, kept, in.first);
    const left both = look(&bag, pass, f, &in, backward);
    qa_expect_ok(qa_pass_forward(pass, &other.packed, other.states, other.n_states, 5, &err), &err);
    qa_expect_ok(qa_pass_forward(pass, &in.packed, in.states, 0, 6, &err), &err);
    if (backward) {
        poison(pass, f, &in, false);
    }
    qa_expect_ok(qa_pass_forward(pass, (qa_packed[]){alone(in.packed, kept, in.first)}, in.states, in.n_states,
                                 dropout_key, &err),
                 &err);
    if (backward) {
        poison(pass, f, &in, true);
    }
    const left alone = look(&bag, pass, f, &in, backward);
    expect_same("base logits", alone.base, both.base, in.n_states * V, c);
    expect_same("adapted logits", alone.adapted, both.adapted, in.n_states * V, c);
    if (backward) {
        expect_same("hidden rows", alone.hidden, both.hidden, f->model->config.num_hidden_layers * in.rows * d, c);
        expect_same("gradients", alone.gradient, both.gradient, f->adapter->count, c);
    }
    qa_bag_close(&bag);
}

static void check_model(const tiny_model_options *options, double dropout, size_t threads) {
    qa_lora_options lora = qa_fixture_lora();
    lora.dropout = dropout;
    qa_fixture f = qa_fixture_open(options, &lora, threads);
    for (int backward = 0; backward < 2; backward++) {
        qa_pass *pass = NULL;
        qa_error err = {0};
        const qa_pass_limits limits = {.max_rows = MAX_ROWS, .max_states = MAX_ROWS, .backward = backward == 1};
        qa_expect_ok(qa_pass_create(&pass, f.model, f.adapter, limits, &err), &err);
        for (size_t c = 0; c < N_LENGTHS; c++) {
            check_case(&f, pass, c, dropout > 0.0 && backward == 1 ? 31 + c : 0, backward == 1);
        }
        qa_pass_free(pass);
    }
    qa_fixture_close(&f);
}

static tiny_model_options model_of(size_t hidden, size_t intermediate, size_t head_dim) {
    tiny_model_options options = tiny_model_defaults();
    options.hidden_size = hidden;
    options.intermediate_size = intermediate;
    options.head_dim = head_dim;
    options.vocab_size = VOCABULARY;
    options.max_positions = MAX_ROWS;
    return options;
}

/* Small maps, and maps whose products are cut for the pool, with fewer and with more rows than columns. */
START_TEST(the_adapted_stream_is_the_same_alone) {
    const size_t threads = (size_t)_i;
    tiny_model_options options = model_of(16, 24, 4);
    check_model(&options, 0.0, threads);
    options = model_of(60, 172, 16);
    options.qkv_bias = true;
    options.tied = true;
    check_model(&options, 0.2, threads);
    options = model_of(192, 513, 48);
    options.layers = 1;
    check_model(&options, 0.1, threads);
}
END_TEST

/* The kept states are what reaches the head, and nothing else of the pass depends on them. */
START_TEST(kept_states_go_to_the_head_alone) {
    const tiny_model_options options = model_of(16, 24, 4);
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    const size_t V = f.model->config.vocab_size, d = f.model->config.hidden_size;
    const qa_pass_limits limits = {.max_rows = MAX_ROWS, .max_states = MAX_ROWS};
    qa_error err = {0};
    qa_pass *pass = NULL;
    input in;
    make_input(&in, lengths[4], 1);
    qa_bag bag = qa_bag_open(1);
    qa_expect_ok(qa_pass_create(&pass, f.model, f.adapter, limits, &err), &err);
    qa_real *kept = qa_bag_zeros(&bag, (in.rows - in.first) * d);
    qa_expect_ok(qa_pass_forward(pass, (qa_packed[]){apart(in.packed)}, in.states, in.n_states, 0, &err), &err);
    qa_pass_base_states(pass, kept, in.first);
    const left before = look(&bag, pass, &f, &in, false);
    kept[(in.states[2] - in.first) * d] = (qa_real)NAN; /* of one state */
    qa_expect_ok(
        qa_pass_forward(pass, (qa_packed[]){alone(in.packed, kept, in.first)}, in.states, in.n_states, 0, &err), &err);
    const left after = look(&bag, pass, &f, &in, false);
    expect_same("adapted logits", after.adapted, before.adapted, in.n_states * V, 4);
    for (size_t i = 0; i < in.n_states; i++) {
        ck_assert_int_eq(isnan(after.base[i * V]), i == 2);
    }
    qa_pass_free(pass);
    qa_bag_close(&bag);
    qa_fixture_close(&f);
}
END_TEST

START_TEST(bad_input_is_named) {
    const tiny_model_options options = model_of(16, 24, 4);
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    const qa_pass_limits limits = {.max_rows = MAX_ROWS, .max_states = MAX_ROWS};
    qa_error err = {0};
    qa_pass *pass = NULL, *single = NULL;
    input in;
    make_input(&in, lengths[4], 1);
    qa_bag bag = qa_bag_open(1);
    const qa_real *kept = qa_bag_zeros(&bag, in.rows * f.model->config.hidden_size);
    qa_expect_ok(qa_pass_create(&pass, f.model, f.adapter, limits, &err), &err);
    qa_expect_ok(qa_pass_create(&single, f.model, NULL, limits, &err), &err);
    qa_expect_error(
        qa_pass_forward(single, (qa_packed[]){alone(in.packed, kept, in.first)}, in.states, in.n_states, 0, &err),
        QA_ERR_ARGUMENT, &err, "without an adapter");
    qa_expect_error(
        qa_pass_forward(pass, (qa_packed[]){alone(in.packed, kept, in.first + 1)}, in.states, in.n_states, 0, &err),
        QA_ERR_ARGUMENT, &err, "asks for row");
    const size_t b = f.adapter->tensors[1].offset; /* B of the first layer's q_proj */
    f.adapter->parameters[b] = (qa_real)NAN;
    qa_expect_error(
        qa_pass_forward(pass, (qa_packed[]){alone(in.packed, kept, in.first)}, in.states, in.n_states, 0, &err),
        QA_ERR_NAN, &err, "in the adapted stream, after the attention of layer 0");
    qa_pass_free(pass);
    qa_pass_free(single);
    qa_bag_close(&bag);
    qa_fixture_close(&f);
}
END_TEST

Suite *model_pass_adapted_suite(void);
Suite *model_pass_adapted_suite(void) {
    Suite *suite = suite_create("model/pass_adapted");
    TCase *tcase = tcase_create("adapted");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, the_adapted_stream_is_the_same_alone, 1, 3);
    tcase_add_test(tcase, kept_states_go_to_the_head_alone);
    tcase_add_test(tcase, bad_input_is_named);
    suite_add_tcase(suite, tcase);
    return suite;
}
