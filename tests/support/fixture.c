/* See fixture.h. */
#include "support/fixture.h"

#include "base/rng.h"
#include "io/json.h"
#include "model/adapter_internal.h"
#include "model/trainable.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

void qa_expect_ok(qa_status status, const qa_error *err) {
    if (status != QA_OK) {
        ck_abort_msg("%s: %s", qa_status_name(status), err->message);
    }
}

void qa_expect_error(qa_status status, qa_status expected, const qa_error *err, const char *part) {
    if (status != expected) {
        ck_abort_msg("status is %s, expected %s: %s", qa_status_name(status), qa_status_name(expected), err->message);
    }
    if (strstr(err->message, part) == NULL) {
        ck_abort_msg("the message lacks \"%s\": %s", part, err->message);
    }
}

qa_lora_options qa_fixture_lora(void) {
    qa_lora_options options = {.rank = 3, .alpha = 5};
    for (qa_target t = QA_TARGET_Q; t <= QA_TARGET_DOWN; t++) {
        options.targets[t] = true;
    }
    return options;
}

static void randomise(qa_adapter *adapter) {
    qa_rng rng = qa_rng_seed(12, 0);
    for (size_t i = 0; i < adapter->count; i++) {
        adapter->parameters[i] = (qa_real)(0.3 * qa_rng_normal(&rng));
    }
}

void qa_fixture_adapt(qa_fixture *fixture, const char *config) {
    json_t *root = NULL;
    qa_branch_plan *plan = NULL;
    qa_lora_options options;
    qa_error err = {0};
    qa_expect_ok(qa_json_parse(&root, config, strlen(config), "adapter_config.json", 0, &err), &err);
    qa_expect_ok(qa_adapter_plan_read(&plan, &options, root, &fixture->model->config, NULL, &err), &err);
    qa_adapter_free(fixture->adapter);
    qa_expect_ok(qa_adapter_allocate(&fixture->adapter, fixture->model, &options, plan, &err), &err);
    randomise(fixture->adapter);
    free(plan);
    json_decref(root);
}

void qa_fixture_write_model(const char *dir, const char *text) {
    qa_context *context = NULL;
    qa_trainable *weights = NULL;
    qa_config config;
    qa_error err = {0};
    char *path = qa_tempdir_write_text(dir, "config.json", text);
    qa_expect_ok(qa_config_load_file(&config, path, NULL, &err), &err);
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_trainable_create(&weights, context, &config, dir, 0.25, 7, &err), &err);
    qa_rng rng = qa_rng_seed(9, 0);
    for (size_t i = weights->decayed; i < weights->count; i++) {
        weights->parameters[i] += (qa_real)(0.2 * qa_rng_normal(&rng));
    }
    qa_expect_ok(qa_trainable_save(weights, dir, QA_DTYPE_F32, &err), &err);
    qa_trainable_free(weights);
    qa_context_free(context);
    free(path);
}

/* Loads what stands in the folder. */
static qa_fixture load_fixture(char *dir, const qa_lora_options *lora, size_t threads) {
    qa_fixture fixture = {.dir = dir};
    qa_error err = {0};
    qa_expect_ok(qa_context_create(&fixture.context, threads, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_model_load(&fixture.model, fixture.context, fixture.dir, &err), &err);
    if (lora != NULL) {
        qa_expect_ok(qa_adapter_create(&fixture.adapter, fixture.model, lora, 11, &err), &err);
        randomise(fixture.adapter);
    }
    return fixture;
}

qa_fixture qa_fixture_open(const tiny_model_options *options, const qa_lora_options *lora, size_t threads) {
    char *dir = qa_tempdir_make();
    tiny_model_write(dir, options);
    return load_fixture(dir, lora, threads);
}

qa_fixture qa_fixture_of(const char *config, const qa_lora_options *lora, size_t threads) {
    char *dir = qa_tempdir_make();
    qa_fixture_write_model(dir, config);
    return load_fixture(dir, lora, threads);
}

void qa_fixture_close(qa_fixture *fixture) {
    qa_adapter_free(fixture->adapter);
    qa_model_free(fixture->model);
    qa_context_free(fixture->context);
    qa_tempdir_remove(fixture->dir);
}
