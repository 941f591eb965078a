/* The independent reference (automatic differentiation in float64) as a candidate: every case of QA_SHARED/oracle
 * passes the check against a bundle that is made from the same model, adapter, pairs and options, by the command itself
 * in the f64 build and by the library in the f32 build.
 *
 * The reference lists log pitilde of every response token; a bundle, of the counted transitions. Under the published
 * objective the difference is the first token, which is left out here, and the transition into the padding, which is
 * worked out from the reference's own rows. */
#include "base/checked.h"
#include "io/file.h"
#include "io/json.h"
#include "shared/shared.h"
#include "support/cli.h"
#include "support/fixture.h"
#include "support/golden.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const cases[] = {"theory-stories", "theory-llama3rope", "residual-untied", "published-qwen"};
enum { N_CASES = sizeof cases / sizeof cases[0], PATH_BYTES = 1024 };

#define MUST(call) qa_expect_ok((call), &err)

typedef struct inputs {
    char model[PATH_BYTES], adapter[PATH_BYTES], pairs[PATH_BYTES], expected[PATH_BYTES];
    qa_golden_options options;
} inputs;

static inputs inputs_of(const char *name) {
    inputs in = {.options = qa_golden_defaults()};
    qa_error err = {0};
    char file[PATH_BYTES];
    json_t *root = NULL;
    const char *objective = NULL, *q = NULL;
    qa_golden_options *o = &in.options;
    (void)snprintf(in.model, sizeof in.model, "%s/oracle/%s/model", shared_folder(), name);
    if (!qa_path_is_dir(in.model)) {
        (void)snprintf(in.model, sizeof in.model, "%s/models/stories260K", shared_folder());
    }
    (void)snprintf(in.adapter, sizeof in.adapter, "%s/oracle/%s/adapter", shared_folder(), name);
    (void)snprintf(in.pairs, sizeof in.pairs, "%s/oracle/%s/pairs.jsonl", shared_folder(), name);
    (void)snprintf(in.expected, sizeof in.expected, "%s/oracle/%s/expected.safetensors", shared_folder(), name);
    (void)snprintf(file, sizeof file, "%s/oracle/%s/case.json", shared_folder(), name);
    MUST(qa_json_load(&root, file, &err));
    MUST(qa_json_get_string(root, "objective", true, file, &objective, &err));
    MUST(qa_json_get_string(root, "q_parametrisation", true, file, &q, &err));
    MUST(qa_objective_kind_by_name(&o->objective.kind, objective, &err));
    MUST(qa_q_parametrisation_by_name(&o->objective.q_parametrisation, q, &err));
    MUST(qa_json_get_double(root, "alpha_tilde", true, file, &o->objective.alpha_tilde, &err));
    MUST(qa_json_get_double(root, "alpha_0", true, file, &o->objective.alpha_0, &err));
    MUST(qa_json_get_double(root, "gamma", true, file, &o->objective.gamma, &err));
    MUST(qa_json_get_double(root, "beta", true, file, &o->objective.beta, &err));
    MUST(qa_json_get_bool(root, "length_normalisation", true, file, &o->objective.length_normalisation, &err));
    MUST(qa_json_get_double(root, "learning_rate", true, file, &o->learning_rate, &err));
    MUST(qa_json_get_double(root, "max_grad_norm", true, file, &o->max_grad_norm, &err));
    MUST(qa_json_get_double(root, "weight_decay", true, file, &o->weight_decay, &err));
    json_decref(root);
    return in;
}

/* ---- the bundle ---- */

static void make_by_command(const inputs *in, const char *out) {
    const qa_golden_options *o = &in->options;
    char numbers[7][32];
    const double values[] = {o->objective.alpha_tilde, o->objective.alpha_0, o->objective.gamma, o->objective.beta,
                             o->learning_rate,         o->max_grad_norm,     o->weight_decay};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        (void)snprintf(numbers[i], sizeof numbers[i], "%.17g", values[i]);
    }
    qa_cli_expect(QA_CLI("golden", "make", "--model", in->model, "--adapter", in->adapter, "--data", in->pairs, "--out",
                         out, "--objective", qa_objective_kind_name(o->objective.kind), "--q-parametrisation",
                         qa_q_parametrisation_name(o->objective.q_parametrisation), "--alpha-tilde", numbers[0],
                         "--alpha-0", numbers[1], "--gamma", numbers[2], "--beta", numbers[3], "--lr", numbers[4],
                         "--max-grad-norm", numbers[5], "--weight-decay", numbers[6],
                         o->objective.length_normalisation ? "--length-normalisation" : "--no-length-normalisation",
                         "--steps", "2"),
                  0, NULL, NULL);
}

static void make_by_library(const inputs *in, const char *out, qa_context *context) {
    qa_error err = {0};
    qa_model *model = NULL;
    qa_adapter *adapter = NULL;
    qa_pairs *pairs = NULL;
    MUST(qa_model_load(&model, context, in->model, &err));
    MUST(qa_adapter_load(&adapter, model, in->adapter, &err));
    const qa_model_info *info = qa_model_get_info(model);
    const qa_pairs_options options = {
        .vocab_size = info->vocab_size, .max_length = 512, .eos_ids = info->eos_ids, .n_eos = info->n_eos};
    MUST(qa_pairs_load(&pairs, in->pairs, NULL, &options, &err));
    const qa_golden_inputs golden = {
        .model = model, .adapter = adapter, .adapter_dir = in->adapter, .pairs = pairs, .options = in->options};
    MUST(qa_golden_make(out, &golden, &err));
    qa_pairs_free(pairs);
    qa_adapter_free(adapter);
    qa_model_free(model);
}

/* ---- the candidate ---- */

static double *read_doubles(const qa_safetensors *file, const qa_tensor *tensor) {
    qa_error err = {0};
    double *values = qa_alloc_array(tensor->count, sizeof *values);
    ck_assert_ptr_nonnull(values);
    if (tensor->dtype == QA_DTYPE_I64) {
        int64_t *ids = qa_alloc_array(tensor->count, sizeof *ids);
        ck_assert_ptr_nonnull(ids);
        MUST(qa_tensor_read_int64(file, tensor, ids, &err));
        for (size_t i = 0; i < tensor->count; i++) {
            values[i] = (double)ids[i];
        }
        free(ids);
    } else {
        MUST(qa_tensor_read_double(file, tensor, true, values, &err));
    }
    return values;
}

/* Element [-1, column] of a side's rows (q, log_pi1), or the last of its v. */
static double last_of(const qa_safetensors *file, const char *prefix, const char *what, size_t column) {
    char name[128];
    (void)snprintf(name, sizeof name, "%s.%s", prefix, what);
    const qa_tensor *tensor = qa_safetensors_find(file, name);
    ck_assert_ptr_nonnull(tensor);
    double *values = read_doubles(file, tensor);
    const size_t width = tensor->n_dims == 2 ? tensor->shape[1] : 1;
    const double value = values[tensor->count - width + column];
    free(values);
    return value;
}

/* log pitilde of the counted transitions: without the first response token, with the padding where that is counted. */
static void put_published_log_pi(qa_golden_set *set, const qa_safetensors *file, const qa_tensor *tensor,
                                 const qa_golden_bundle *bundle) {
    const qa_objective *o = &bundle->options.objective;
    const qa_golden_tensor *golden = qa_golden_set_find(&bundle->golden, tensor->name);
    ck_assert_ptr_nonnull(golden);
    double *all = read_doubles(file, tensor), *counted = qa_alloc_array(tensor->count + 1, sizeof *counted);
    ck_assert_ptr_nonnull(counted);
    memcpy(counted, all + 1, (tensor->count - 1) * sizeof *counted);
    if (golden->count == tensor->count) {
        char prefix[128];
        const size_t pad = (size_t)qa_model_get_info(bundle->model)->eos_ids[0];
        (void)snprintf(prefix, sizeof prefix, "%.*s", (int)(strlen(tensor->name) - strlen(".log_pi")), tensor->name);
        counted[tensor->count - 1] =
            (last_of(file, prefix, "q", pad) + o->alpha_0 * last_of(file, prefix, "log_pi1", pad) -
             last_of(file, prefix, "v", 0)) /
            o->alpha_tilde;
    }
    qa_put(set, tensor->name, 1, golden->count, 0, counted);
    free(all);
    free(counted);
}

static void candidate_of(qa_golden_set *set, const char *path, const qa_golden_bundle *bundle) {
    qa_error err = {0};
    qa_safetensors *file = NULL;
    MUST(qa_safetensors_open(&file, path, &err));
    for (size_t i = 0; i < qa_safetensors_count(file); i++) {
        const qa_tensor *tensor = qa_safetensors_at(file, i);
        const char *end = strrchr(tensor->name, '.');
        if (bundle->options.objective.kind == QA_PUBLISHED && end != NULL && strcmp(end, ".log_pi") == 0) {
            put_published_log_pi(set, file, tensor, bundle);
            continue;
        }
        double *values = read_doubles(file, tensor);
        qa_put(set, tensor->name, tensor->n_dims, tensor->shape[0], tensor->shape[1], values);
        free(values);
    }
    qa_safetensors_close(file);
}

START_TEST(the_reference_passes) {
    qa_error err = {0};
    qa_context *context = NULL;
    const inputs in = inputs_of(cases[_i]);
    char *dir = qa_tempdir_make(), *out = qa_tempdir_join(dir, "bundle");
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    if (qa_real_dtype() == QA_DTYPE_F64) {
        make_by_command(&in, out);
    } else {
        make_by_library(&in, out, context);
    }
    qa_golden_bundle *bundle = qa_golden_open(context, out);
    qa_golden_set set = {0};
    candidate_of(&set, in.expected, bundle);
    ck_assert_uint_gt(set.n, 70);
    qa_golden_report report = qa_golden_report_of(bundle, &set, QA_DTYPE_F64);
    ck_assert_msg(report.failures == 0, "%s: %s", cases[_i], report.sentence);
    ck_assert_uint_eq(report.n, set.n);
    for (size_t i = 0; i < report.n_missing; i++) { /* the reference has everything but the residual streams */
        ck_assert_msg(strstr(report.missing[i], ".hidden") != NULL, "%s is missing", report.missing[i]);
    }
    printf("golden %-18s %zu tensors of the reference within tolerance\n", cases[_i], report.n);
    fflush(stdout);
    qa_golden_report_free(&report);
    qa_golden_set_free(&set);
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(skipped) {
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/oracle", shared_folder());
    ck_assert(!qa_path_is_dir(path));
}
END_TEST

Suite *shared_golden_suite(void);
Suite *shared_golden_suite(void) {
    Suite *suite = suite_create("shared_golden");
    TCase *tcase = tcase_create("golden");
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/oracle", shared_folder());
    tcase_set_timeout(tcase, 60);
    if (qa_path_is_dir(path)) {
        tcase_add_loop_test(tcase, the_reference_passes, 0, N_CASES);
    } else {
        printf("skipped: shared_golden (no folder %s)\n", path);
        tcase_add_test(tcase, skipped);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
