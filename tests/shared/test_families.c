/* Every family against transformers and PEFT in float64: each case of QA_SHARED/families is a model, an adapter, a few
 * sequences and what comes out. Compared are logits and log-probabilities of both streams, the loss (the sum of
 * upstream * adapted logits) and its gradient by every tensor of the adapter, and greedy decoding; then two sequences
 * packed behind one prompt, and all of them as documents of one pass, against each alone. A case that is accepted must
 * be right; those that must be accepted are listed. Prints the worst errors of every case. */
#include "base/checked.h"
#include "golden/run.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/decode.h"
#include "model/pass.h"
#include "shared/shared.h"
#include "support/fixture.h"

#include <check.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *shared_families_suite(void);

/* What must be computed; other cases may be refused. */
/* clang-format off */
static const char *const computed[] = {
    "cohere", "ernie4_5", "exaone", "exaone4", "exaone4-hybrid", "gemma", "gemma-bf16-normaliser", "gemma2",
    "gemma2-caps", "gemma3", "gemma3-linear", "glm", "glm4", "gpt2", "gpt2-hub-names", "gpt_neox",
    "gpt_neox-sequential", "granite", "granitemoehybrid-nope", "granitemoehybrid-rope", "helium", "hunyuan",
    "internlm3", "llama", "llama-bias", "llama-dynamic", "llama-linear", "llama-llama3", "llama-longrope",
    "llama-yarn", "llama-yarn-mscale", "mistral-window", "nemotron", "olmo", "olmo2", "olmo3", "phi3",
    "phi3-longrope", "phi3-partial", "qwen2", "qwen2-window", "qwen2-yarn", "qwen3", "qwen3-bias", "qwen3-tied",
    "qwen3-window", "smollm3", "stablelm", "starcoder2"};
/* clang-format on */
enum { N_COMPUTED = sizeof computed / sizeof computed[0], MAX_CASES = 256, MAX_SEQUENCES = 16, MAX_IDS = 256 };

typedef enum family_kind {
    BASE_LOGITS,
    ADAPTED_LOGITS,
    BASE_LOGP,
    ADAPTED_LOGP,
    LOSS,
    GRADIENT,
    PACKED_LOGITS,
    PACKED_GRADIENT,
    DOCUMENTS,
    REFERENCE_LOGITS,
    REFERENCE_GRADIENT,
    FAMILY_KINDS
} family_kind;

/* Logits and log-probabilities absolutely, the loss relatively, a gradient by its tensor's largest element. */
typedef struct family_tolerance {
    const char *name;
    double f64, f32;
} family_tolerance;

static const family_tolerance tolerances[FAMILY_KINDS] = {
    [BASE_LOGITS] = {"base logits", 1e-10, 1e-4},
    [ADAPTED_LOGITS] = {"adapted logits", 1e-10, 1e-4},
    [BASE_LOGP] = {"base logp", 1e-10, 1e-4},
    [ADAPTED_LOGP] = {"adapted logp", 1e-10, 1e-4},
    [LOSS] = {"loss", 1e-10, 1e-4},
    [GRADIENT] = {"gradient", 1e-9, 1e-4},
    [PACKED_LOGITS] = {"packed logits", 1e-10, 1e-4},
    [PACKED_GRADIENT] = {"packed gradient", 1e-9, 1e-4},
    [DOCUMENTS] = {"documents", 1e-10, 1e-4},
    [REFERENCE_LOGITS] = {"reference logits", 1e-10, 1e-10},
    [REFERENCE_GRADIENT] = {"reference gradient", 1e-9, 1e-9},
};

typedef struct family_sequence {
    int32_t ids[MAX_IDS];
    size_t n, start;
} family_sequence;

typedef struct family_case {
    const char *name;
    qa_context *context;
    qa_model *model;
    qa_adapter *adapter;
    qa_safetensors *expected;
    size_t V, n;
    family_sequence sequences[MAX_SEQUENCES];
    double worst[FAMILY_KINDS];
    size_t compared[FAMILY_KINDS];
    size_t greedy; /* ids that agreed */
} family_case;

static char found_cases[MAX_CASES][64];
static size_t n_found;

#define MUST(call) qa_expect_ok((call), &err)

static char *family_path(const char *name, const char *file) {
    char inside[256];
    (void)snprintf(inside, sizeof inside, "families/%s/%s", name, file);
    char *path = qa_path_join(shared_folder(), inside);
    ck_assert_ptr_nonnull(path);
    return path;
}

static bool must_be_computed(const char *name) {
    for (size_t i = 0; i < N_COMPUTED; i++) {
        if (strcmp(name, computed[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- numbers ---- */

static double *doubles_of(size_t n) {
    double *values = qa_alloc_array(n, sizeof *values);
    ck_assert_ptr_nonnull(values);
    return values;
}

static qa_real *reals_of(size_t n) {
    qa_real *values = qa_alloc_array(n, sizeof *values);
    ck_assert_ptr_nonnull(values);
    return values;
}

static double *expected_numbers(const family_case *c, const char *name, size_t n) {
    qa_error err = {0};
    const qa_tensor *tensor = qa_safetensors_find(c->expected, name);
    ck_assert_msg(tensor != NULL, "%s: no tensor %s", c->name, name);
    ck_assert_msg(tensor->count == n, "%s: %s has %zu numbers, expected %zu", c->name, name, tensor->count, n);
    double *values = doubles_of(n);
    MUST(qa_tensor_read_double(c->expected, tensor, true, values, &err));
    return values;
}

/* unit: what an error is measured in. */
static void note(family_case *c, family_kind kind, const double *got, const double *expected, size_t n, double unit) {
    ck_assert_msg(n > 0 && unit > 0.0, "%s: nothing to compare of %s", c->name, tolerances[kind].name);
    for (size_t i = 0; i < n; i++) {
        const double error = fabs(got[i] - expected[i]) / unit;
        ck_assert_msg(isfinite(error), "%s: %s holds %g", c->name, tolerances[kind].name, got[i]);
        c->worst[kind] = fmax(c->worst[kind], error);
    }
    c->compared[kind] += n;
}

static double largest_of(const double *values, size_t n) {
    double largest = 0.0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(values[i]));
    }
    return largest;
}

static double *log_probabilities(const double *logits, const int32_t *ids, size_t n, size_t V) {
    double *log_p = doubles_of(n);
    for (size_t t = 0; t + 1 < n; t++) {
        const double *row = logits + t * V;
        double max = row[0], sum = 0.0;
        for (size_t a = 0; a < V; a++) {
            max = fmax(max, row[a]);
        }
        for (size_t a = 0; a < V; a++) {
            sum += exp(row[a] - max);
        }
        log_p[t] = row[ids[t + 1]] - max - log(sum);
    }
    return log_p;
}

/* ---- passes ---- */

typedef struct pass_result {
    double *base, *adapted; /* [rows x V] */
    double *gradient;       /* of the adapter; zeros without upstream */
} pass_result;

static void free_result(pass_result *result) {
    free(result->base);
    free(result->adapted);
    free(result->gradient);
}

static void take_head(const family_case *c, qa_pass *pass, size_t rows, const double *upstream, qa_real *dstates,
                      pass_result *result) {
    const size_t d = c->model->config.hidden_size;
    for (size_t first = 0; first < rows; first += QA_HEAD_CHUNK) {
        const size_t count = rows - first < QA_HEAD_CHUNK ? rows - first : QA_HEAD_CHUNK;
        qa_real *base = NULL, *adapted = NULL;
        qa_pass_head(pass, first, count, &base, &adapted);
        for (size_t i = 0; i < count * c->V; i++) {
            result->base[first * c->V + i] = (double)base[i];
            result->adapted[first * c->V + i] = (double)adapted[i];
        }
        for (size_t i = 0; upstream != NULL && i < count * c->V; i++) {
            adapted[i] = (qa_real)upstream[first * c->V + i];
        }
        if (upstream != NULL) {
            qa_pass_head_transpose(pass, dstates + first * d, adapted, count);
        }
    }
}

/* False where the pass refuses the input: then nothing is to be freed. */
static bool run_pass(const family_case *c, const qa_packed *packed, size_t rows, const double *upstream,
                     pass_result *result) {
    qa_error err = {0};
    qa_pass *pass = NULL;
    const qa_pass_limits limits = {.max_rows = rows,
                                   .max_states = rows,
                                   .max_documents = packed->n_documents,
                                   .backward = packed->n_documents == 0};
    size_t states[MAX_SEQUENCES * MAX_IDS];
    for (size_t i = 0; i < rows; i++) {
        states[i] = i;
    }
    MUST(qa_pass_create(&pass, c->model, c->adapter, limits, &err));
    const qa_status status = qa_pass_forward(pass, packed, states, rows, 0, &err);
    if (status == QA_OK) {
        qa_real *dstates = reals_of(rows * c->model->config.hidden_size), *gradient = reals_of(c->adapter->count);
        *result = (pass_result){doubles_of(rows * c->V), doubles_of(rows * c->V), doubles_of(c->adapter->count)};
        take_head(c, pass, rows, upstream, dstates, result);
        if (upstream != NULL) {
            qa_pass_backward(pass, gradient, dstates);
        }
        for (size_t i = 0; i < c->adapter->count; i++) {
            result->gradient[i] = (double)gradient[i];
        }
        free(dstates);
        free(gradient);
    } else {
        ck_assert_msg(status == QA_ERR_UNSUPPORTED || status == QA_ERR_LIMIT, "%s: %s", c->name, err.message);
    }
    qa_pass_free(pass);
    return status == QA_OK;
}

static pass_result run_sequence(const family_case *c, const int32_t *ids, size_t n, const double *upstream) {
    const qa_packed packed = {.trunk = {ids, n}};
    pass_result result = {0};
    ck_assert_msg(run_pass(c, &packed, n, upstream, &result), "%s: a sequence of %zu ids is refused", c->name, n);
    return result;
}

/* ---- each sequence alone ---- */

static void compare_rows(family_case *c, size_t i, const char *stream, family_kind logits_kind, family_kind logp_kind,
                         const double *logits) {
    const family_sequence *s = &c->sequences[i];
    char name[64];
    (void)snprintf(name, sizeof name, "seq%zu.%s_logits", i, stream);
    double *expected = expected_numbers(c, name, s->n * c->V);
    note(c, logits_kind, logits, expected, s->n * c->V, 1.0);
    free(expected);
    (void)snprintf(name, sizeof name, "seq%zu.%s_logp", i, stream);
    expected = expected_numbers(c, name, s->n - 1);
    double *log_p = log_probabilities(logits, s->ids, s->n, c->V);
    note(c, logp_kind, log_p, expected, s->n - 1, 1.0);
    free(log_p);
    free(expected);
}

static double *upstream_of(const family_case *c, size_t i) {
    char name[64];
    (void)snprintf(name, sizeof name, "seq%zu.upstream", i);
    return expected_numbers(c, name, c->sequences[i].n * c->V);
}

static void compare_gradient(family_case *c, family_kind kind, const double *gradient) {
    size_t tensors = 0;
    for (size_t i = 0; i < qa_safetensors_count(c->expected); i++) {
        tensors += strncmp(qa_safetensors_at(c->expected, i)->name, "grad.", 5) == 0;
    }
    ck_assert_msg(tensors == c->adapter->n_tensors, "%s: %zu tensors of the adapter, expected %zu", c->name,
                  c->adapter->n_tensors, tensors);
    for (size_t i = 0; i < tensors; i++) {
        const qa_adapter_tensor *tensor = &c->adapter->tensors[i];
        const size_t n = tensor->rows * tensor->columns;
        char name[192];
        (void)snprintf(name, sizeof name, "grad.%s", tensor->name);
        double *expected = expected_numbers(c, name, n);
        note(c, kind, gradient + tensor->offset, expected, n, largest_of(expected, n));
        free(expected);
    }
}

/* False where a sequence is refused. */
static bool sequences_are_taken(const family_case *c) {
    for (size_t i = 0; i < c->n && !must_be_computed(c->name); i++) {
        const qa_packed packed = {.trunk = {c->sequences[i].ids, c->sequences[i].n}};
        pass_result result = {0};
        if (!run_pass(c, &packed, c->sequences[i].n, NULL, &result)) {
            printf("families %-22s refused: sequence %zu\n", c->name, i);
            return false;
        }
        free_result(&result);
    }
    return true;
}

static void check_sequences(family_case *c) {
    double *gradient = doubles_of(c->adapter->count), loss = 0.0;
    for (size_t i = 0; i < c->n; i++) {
        double *upstream = upstream_of(c, i);
        pass_result got = run_sequence(c, c->sequences[i].ids, c->sequences[i].n, upstream);
        compare_rows(c, i, "base", BASE_LOGITS, BASE_LOGP, got.base);
        compare_rows(c, i, "adapted", ADAPTED_LOGITS, ADAPTED_LOGP, got.adapted);
        for (size_t j = 0; j < c->sequences[i].n * c->V; j++) {
            loss += upstream[j] * got.adapted[j];
        }
        for (size_t j = 0; j < c->adapter->count; j++) {
            gradient[j] += got.gradient[j];
        }
        free_result(&got);
        free(upstream);
    }
    double *expected = expected_numbers(c, "loss", 1);
    note(c, LOSS, &loss, expected, 1, fabs(*expected));
    compare_gradient(c, GRADIENT, gradient);
    free(expected);
    free(gradient);
}

/* ---- the reference ---- */

static void reference_rows(family_case *c, qa_ref_net *net, size_t i, const double *parameters, double *logits) {
    char name[64];
    (void)snprintf(name, sizeof name, "seq%zu.%s_logits", i, parameters == NULL ? "base" : "adapted");
    const size_t n = c->sequences[i].n;
    double *expected = expected_numbers(c, name, n * c->V);
    qa_ref_net_forward(net, c->sequences[i].ids, n, parameters);
    qa_ref_net_logits(net, 0, n, logits);
    note(c, REFERENCE_LOGITS, logits, expected, n * c->V, 1.0);
    free(expected);
}

/* The plain loops of src/reference, which are in double in every build. */
static void check_reference(family_case *c) {
    qa_error err = {0};
    qa_golden_setup setup = {0};
    qa_ref_net *net = NULL;
    double *gradient = doubles_of(c->adapter->count), *logits = doubles_of(MAX_IDS * c->V);
    MUST(qa_golden_setup_model(&setup, c->model, c->adapter, &err));
    MUST(qa_ref_net_create(&net, &setup.model, MAX_IDS, &err));
    for (size_t i = 0; i < c->n; i++) {
        double *upstream = upstream_of(c, i);
        reference_rows(c, net, i, NULL, logits);
        reference_rows(c, net, i, setup.parameters, logits);
        qa_ref_net_backward(net, gradient, 0, c->sequences[i].n, upstream);
        free(upstream);
    }
    compare_gradient(c, REFERENCE_GRADIENT, gradient);
    qa_ref_net_free(net);
    qa_golden_setup_free(&setup);
    free(gradient);
    free(logits);
}

/* ---- several in one pass ---- */

/* Rows of both branches, and the gradient of the sum over them of upstream * logits, against each branch behind its
 * own copy of the prompt. False where the pass refuses. */
static bool packed_is_separate(family_case *c, const family_sequence *s, size_t prompt, const int32_t *other,
                               size_t n_other) {
    const size_t n = s->n - prompt, rows = s->n + n_other, V = c->V;
    int32_t second[2 * MAX_IDS];
    const qa_packed packed = {
        .trunk = {s->ids, prompt}, .branches = {{s->ids + prompt, n}, {other, n_other}}, .n_branches = 2};
    double *upstream = doubles_of(rows * V);
    pass_result both = {0};
    for (size_t i = 0; i < rows * V; i++) {
        upstream[i] = i < prompt * V ? 0.0 : sin((double)(i * i % 977));
    }
    if (!run_pass(c, &packed, rows, upstream, &both)) {
        free(upstream);
        return false;
    }
    memcpy(second, s->ids, prompt * sizeof *second);
    memcpy(second + prompt, other, n_other * sizeof *other);
    pass_result first = run_sequence(c, s->ids, s->n, upstream);
    memcpy(upstream + prompt * V, upstream + s->n * V, n_other * V * sizeof *upstream);
    pass_result last = run_sequence(c, second, prompt + n_other, upstream);
    note(c, PACKED_LOGITS, both.base, first.base, s->n * V, 1.0);
    note(c, PACKED_LOGITS, both.adapted, first.adapted, s->n * V, 1.0);
    note(c, PACKED_LOGITS, both.base + s->n * V, last.base + prompt * V, n_other * V, 1.0);
    note(c, PACKED_LOGITS, both.adapted + s->n * V, last.adapted + prompt * V, n_other * V, 1.0);
    for (size_t i = 0; i < c->adapter->count; i++) {
        first.gradient[i] += last.gradient[i];
    }
    note(c, PACKED_GRADIENT, both.gradient, first.gradient, c->adapter->count,
         largest_of(first.gradient, c->adapter->count));
    free_result(&both);
    free_result(&first);
    free_result(&last);
    free(upstream);
    return true;
}

/* The longest sequence's response beside a response of another length; where RoPE depends on the length a pass may
 * refuse that, but not two of one length. */
static void check_packed(family_case *c) {
    const family_sequence *s = &c->sequences[c->n - 1];
    const size_t prompt = s->start, n = s->n - prompt;
    int32_t other[MAX_IDS];
    ck_assert_uint_gt(n, 3);
    for (size_t i = 0; i < n; i++) {
        other[i] = s->ids[s->n - 1 - i];
    }
    if (!packed_is_separate(c, s, prompt, other, 3)) {
        ck_assert_msg(qa_config_rope_depends_on_length(&c->model->config), "%s: a pair is refused", c->name);
        ck_assert_msg(packed_is_separate(c, s, prompt, other, n), "%s: a pair of one length is refused", c->name);
    }
}

/* All sequences as documents of one pass of the base model. */
static void check_documents(family_case *c) {
    qa_tokens documents[MAX_SEQUENCES];
    size_t rows = 0;
    for (size_t i = 0; i < c->n; i++) {
        documents[i] = (qa_tokens){c->sequences[i].ids, c->sequences[i].n};
        rows += c->sequences[i].n;
    }
    const qa_packed packed = {.documents = documents, .n_documents = c->n};
    pass_result all = {0};
    if (!run_pass(c, &packed, rows, NULL, &all)) {
        ck_assert_msg(qa_config_rope_depends_on_length(&c->model->config), "%s: documents are refused", c->name);
        return;
    }
    rows = 0;
    for (size_t i = 0; i < c->n; i++) {
        const size_t n = c->sequences[i].n * c->V;
        char name[64];
        (void)snprintf(name, sizeof name, "seq%zu.base_logits", i);
        double *expected = expected_numbers(c, name, n);
        note(c, DOCUMENTS, all.base + rows, expected, n, 1.0);
        free(expected);
        rows += n;
    }
    free_result(&all);
}

/* ---- greedy decoding ---- */

static int64_t *expected_ids(const family_case *c, const char *name, size_t *n) {
    qa_error err = {0};
    const qa_tensor *tensor = qa_safetensors_find(c->expected, name);
    ck_assert_msg(tensor != NULL && tensor->count > 0 && tensor->count < MAX_IDS, "%s: no tensor %s", c->name, name);
    int64_t *ids = qa_alloc_array(tensor->count, sizeof *ids);
    ck_assert_ptr_nonnull(ids);
    MUST(qa_tensor_read_int64(c->expected, tensor, ids, &err));
    *n = tensor->count;
    return ids;
}

static void check_greedy(family_case *c, const char *prefix) {
    qa_error err = {0};
    qa_kv_decoder *decoder = NULL;
    int32_t prompt[MAX_IDS], next = 0;
    size_t n_prompt = 0, n_ids = 0;
    char name[64];
    (void)snprintf(name, sizeof name, "%s.prompt", prefix);
    int64_t *before = expected_ids(c, name, &n_prompt);
    (void)snprintf(name, sizeof name, "%s.ids", prefix);
    int64_t *ids = expected_ids(c, name, &n_ids);
    for (size_t i = 0; i < n_prompt; i++) {
        prompt[i] = (int32_t)before[i];
    }
    MUST(qa_kv_decoder_create(&decoder, c->model, c->adapter, QA_KV_BOTH, n_prompt + n_ids, &err));
    for (size_t i = 0; i < n_ids; i++) {
        qa_real *base = NULL, *adapted = NULL;
        MUST(qa_kv_decoder_forward(decoder, i == 0 ? prompt : &next, i == 0 ? n_prompt : 1, &base, &adapted, &err));
        next = 0;
        for (size_t a = 1; a < c->V; a++) {
            next = adapted[a] > adapted[next] ? (int32_t)a : next;
        }
        ck_assert_msg(next == ids[i], "%s: %s.ids[%zu] is %d, expected %d", c->name, prefix, i, (int)next, (int)ids[i]);
        c->greedy++;
    }
    qa_kv_decoder_free(decoder);
    free(before);
    free(ids);
}

/* ---- a case ---- */

static void read_sequences(family_case *c) {
    qa_error err = {0};
    char *path = family_path(c->name, "sequences.json");
    json_t *root = NULL;
    MUST(qa_json_load(&root, path, &err));
    c->n = json_array_size(root);
    ck_assert_msg(c->n > 0 && c->n <= MAX_SEQUENCES, "%s: %zu sequences", path, c->n);
    for (size_t i = 0; i < c->n; i++) {
        const json_t *sequence = json_array_get(root, i), *ids = json_object_get(sequence, "ids");
        family_sequence *to = &c->sequences[i];
        to->n = json_array_size(ids);
        to->start = (size_t)json_integer_value(json_object_get(sequence, "start"));
        ck_assert_msg(to->start >= 1 && to->start < to->n && to->n <= MAX_IDS, "%s: sequence %zu", path, i);
        for (size_t t = 0; t < to->n; t++) {
            to->ids[t] = (int32_t)json_integer_value(json_array_get(ids, t));
        }
    }
    json_decref(root);
    free(path);
}

/* False where the model is refused. */
static bool open_family(family_case *c) {
    qa_error err = {0};
    char *model = family_path(c->name, "model"), *adapter = family_path(c->name, "adapter");
    char *expected = family_path(c->name, "expected.safetensors");
    MUST(qa_context_create(&c->context, 2, (qa_logger){0}, &err));
    const qa_status status = qa_model_load(&c->model, c->context, model, &err);
    if (status == QA_OK) {
        MUST(qa_adapter_load(&c->adapter, c->model, adapter, &err));
        MUST(qa_safetensors_open(&c->expected, expected, &err));
        c->V = c->model->config.vocab_size;
        read_sequences(c);
    } else {
        ck_assert_msg(!must_be_computed(c->name), "%s", err.message);
        ck_assert_msg(status == QA_ERR_UNSUPPORTED, "%s is not refused but fails: %s", c->name, err.message);
        printf("families %-22s refused: %s\n", c->name, err.message);
    }
    free(model);
    free(adapter);
    free(expected);
    return status == QA_OK;
}

static void close_family(family_case *c) {
    qa_safetensors_close(c->expected);
    qa_adapter_free(c->adapter);
    qa_model_free(c->model);
    qa_context_free(c->context);
}

static void report_family(const family_case *c) {
    printf("families %-22s %s", c->name, QA_REAL_NAME);
    for (family_kind k = 0; k < FAMILY_KINDS; k++) {
        printf("  %s %.1e", tolerances[k].name, c->worst[k]);
    }
    printf("  greedy %zu, %zu logits\n", c->greedy, c->compared[BASE_LOGITS] + c->compared[ADAPTED_LOGITS]);
    fflush(stdout);
    for (family_kind k = 0; k < FAMILY_KINDS; k++) {
        const double limit = sizeof(qa_real) == sizeof(double) ? tolerances[k].f64 : tolerances[k].f32;
        ck_assert_msg(c->worst[k] <= limit, "%s: %s off by %.3e, limit %.1e", c->name, tolerances[k].name, c->worst[k],
                      limit);
        ck_assert_uint_gt(c->compared[k] + (k == DOCUMENTS), 0);
    }
}

START_TEST(transformers_and_peft_compute_the_same) {
    family_case *c = qa_alloc_array(1, sizeof *c);
    ck_assert_ptr_nonnull(c);
    c->name = found_cases[_i];
    if (open_family(c) && sequences_are_taken(c)) {
        check_sequences(c);
        check_packed(c);
        check_documents(c);
        check_reference(c);
        check_greedy(c, "greedy");
        if (qa_safetensors_find(c->expected, "greedy_cross.ids") != NULL) {
            check_greedy(c, "greedy_cross");
        }
        report_family(c);
    }
    close_family(c);
    free(c);
}
END_TEST

START_TEST(every_listed_case_is_there) {
    for (size_t i = 0; i < N_COMPUTED; i++) {
        char *path = family_path(computed[i], "expected.safetensors");
        ck_assert_msg(qa_path_exists(path), "%s is missing", path);
        free(path);
    }
    printf("families: %zu cases, of which %d must be computed\n", n_found, (int)N_COMPUTED);
}
END_TEST

START_TEST(skipped_without_the_cases) { ck_assert_uint_eq(n_found, 0); }
END_TEST

static int compare_names(const void *a, const void *b) { return strcmp(a, b); }

/* Outside of any test: nothing is asserted. */
static void find_cases(void) {
    char *path = qa_path_join(shared_folder(), "families");
    DIR *folder = path == NULL ? NULL : opendir(path);
    n_found = 0;
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char *inside = entry->d_name[0] == '.' ? NULL : qa_path_join(path, entry->d_name);
        if (inside != NULL && qa_path_is_dir(inside) && n_found < MAX_CASES) {
            (void)snprintf(found_cases[n_found++], sizeof found_cases[0], "%.63s", entry->d_name);
        }
        free(inside);
    }
    if (folder != NULL) {
        closedir(folder);
    }
    free(path);
    qsort(found_cases, n_found, sizeof found_cases[0], compare_names);
}

Suite *shared_families_suite(void) {
    Suite *suite = suite_create("shared_families");
    TCase *tcase = tcase_create("families");
    tcase_set_timeout(tcase, 120);
    find_cases();
    if (n_found > 0) {
        tcase_add_loop_test(tcase, transformers_and_peft_compute_the_same, 0, (int)n_found);
        tcase_add_test(tcase, every_listed_case_is_there);
    } else {
        printf("skipped: shared_families (no folder families)\n");
        tcase_add_test(tcase, skipped_without_the_cases);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
