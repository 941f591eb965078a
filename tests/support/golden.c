/* See golden.h. */
#include "support/golden.h"

#include "base/checked.h"
#include "methods/method.h"
#include "model/pass.h"
#include "support/fixture.h"
#include "support/tempdir.h"
#include "train/batch.h"
#include "train/pair_step.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const qa_golden_suite[] = {
    "theory-logits",      "theory-residual",  "theory-discounted",  "theory-llama3",   "theory-normalised",
    "theory-qwen2",       "theory-one-token", "theory-bf16",        "theory-long",     "theory-text",
    "theory-activations", "published-logits", "published-residual", "published-qwen2", "published-micro-batches",
    "published-chat",     "theory-qwen3",     "theory-gemma3",      "theory-olmo2",    "published-phi3",
    "published-optimiser"};
const size_t qa_golden_suite_n = sizeof qa_golden_suite / sizeof qa_golden_suite[0];

#define MUST(call) qa_expect_ok((call), &err)

qa_dtype qa_real_dtype(void) { return strcmp(QA_REAL_DTYPE, "F64") == 0 ? QA_DTYPE_F64 : QA_DTYPE_F32; }

qa_golden_bundle *qa_golden_open(qa_context *context, const char *name) {
    qa_error err = {0};
    qa_golden_bundle *bundle = NULL;
    char path[512];
    (void)snprintf(path, sizeof path, "%s%s", strchr(name, '/') == NULL ? "weights/golden/" : "", name);
    MUST(qa_golden_bundle_open(&bundle, context, path, &err));
    return bundle;
}

void qa_put(qa_golden_set *set, const char *name, size_t n_dims, size_t rows, size_t columns, const double *values) {
    qa_error err = {0};
    qa_golden_kind kind;
    const size_t shape[2] = {rows, columns};
    double *to = NULL;
    ck_assert_msg(qa_golden_kind_of(&kind, name), "%s", name);
    MUST(qa_golden_set_add(set, name, kind, n_dims, shape, &to, &err));
    const size_t count = (n_dims > 0 ? rows : 1) * (n_dims > 1 ? columns : 1);
    if (count > 0) {
        memcpy(to, values, count * sizeof *to);
    }
}

static double *doubles(const qa_real *values, size_t n) {
    double *copy = qa_alloc_array(n, sizeof *copy);
    ck_assert_ptr_nonnull(copy);
    for (size_t i = 0; i < n; i++) {
        copy[i] = (double)values[i];
    }
    return copy;
}

static const char *const side_names[] = {"chosen", "rejected"};

/* ---- the residual stream ---- */

/* Rows of a side out of those of the packed pair. */
static void put_side_rows(qa_golden_set *set, const char *name, const qa_pair *pair, size_t side, const qa_real *rows,
                          size_t d) {
    const size_t response = side == 0 ? pair->chosen_len : pair->rejected_len;
    const size_t skip = pair->prompt_len + (side == 0 ? 0 : pair->chosen_len);
    const size_t T = pair->prompt_len + response;
    double *values = qa_alloc_array(T * d, sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t i = 0; i < T * d; i++) {
        values[i] = (double)rows[i < pair->prompt_len * d ? i : i + (skip - pair->prompt_len) * d];
    }
    qa_put(set, name, 2, T, d, values);
    free(values);
}

static void put_hidden(qa_golden_set *set, qa_model *model, const qa_adapter *adapter, const char *stream,
                       const qa_pairs *pairs) {
    qa_error err = {0};
    const qa_model_info *info = qa_model_get_info(model);
    const size_t rows = qa_pairs_longest_prompt(pairs) + 2 * qa_pairs_longest_response(pairs);
    qa_pass *pass = NULL;
    MUST(qa_pass_create(&pass, model, adapter, (qa_pass_limits){.max_rows = rows, .max_states = 1, .backward = true},
                        &err));
    for (size_t p = 0; p < qa_pairs_count(pairs); p++) {
        const qa_pair *pair = qa_pairs_at(pairs, p);
        const qa_packed packed = {.trunk = {pair->prompt, pair->prompt_len},
                                  .branches = {{pair->chosen, pair->chosen_len}, {pair->rejected, pair->rejected_len}},
                                  .n_branches = 2};
        const size_t state = 0;
        MUST(qa_pass_forward(pass, &packed, &state, 1, 0, &err));
        for (size_t i = 0; i < 2 * info->num_hidden_layers; i++) {
            char name[128];
            (void)snprintf(name, sizeof name, "pair%zu.%s.%s.layer%zu.hidden", p, side_names[i % 2], stream, i / 2);
            put_side_rows(set, name, pair, i % 2, qa_pass_hidden(pass, i / 2), info->hidden_size);
        }
    }
    qa_pass_free(pass);
}

/* ---- scores, loss, gradient ---- */

static void put_side(qa_golden_set *set, size_t p, size_t s, const qa_pair *pair, const qa_side_score *score,
                     size_t V) {
    const int32_t *response = s == 0 ? pair->chosen : pair->rejected;
    const size_t T = pair->prompt_len + (s == 0 ? pair->chosen_len : pair->rejected_len);
    double *ids = qa_alloc_array(T, sizeof *ids);
    ck_assert_ptr_nonnull(ids);
    for (size_t t = 0; t < T; t++) {
        ids[t] = (double)(t < pair->prompt_len ? pair->prompt[t] : response[t - pair->prompt_len]);
    }
    const struct {
        const char *name;
        size_t n_dims, rows, columns;
        const double *values;
    } parts[] = {{"input_ids", 1, T, 0, ids},
                 {"log_pi1", 2, score->states, V, score->full_log_pi1},
                 {"q", 2, score->states, V, score->full_q},
                 {"v", 1, score->states, 0, score->full_v},
                 {"reward", 1, score->n, 0, score->reward},
                 {"log_pi", 1, score->n, 0, score->log_pi},
                 {"return", 0, 0, 0, &score->ret}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "pair%zu.%s.%s", p, side_names[s], parts[i].name);
        qa_put(set, name, parts[i].n_dims, parts[i].rows, parts[i].columns, parts[i].values);
    }
    free(ids);
}

static qa_train_options plan_options(const qa_golden_options *options, size_t pairs) {
    qa_train_options train = qa_train_defaults();
    train.objective = options->objective;
    train.micro_batch = options->micro_batch;
    train.gradient_accumulation = pairs; /* the whole file is one step */
    train.learning_rate = options->learning_rate;
    train.adam_beta1 = options->adam_beta1;
    train.adam_beta2 = options->adam_beta2;
    train.adam_epsilon = options->adam_epsilon;
    train.weight_decay = options->weight_decay;
    train.max_grad_norm = options->max_grad_norm;
    train.max_steps = options->steps;
    train.schedule = options->schedule;
    train.warmup_steps = options->warmup_steps;
    train.warmup_ratio = 0.0;
    train.shuffle = false;
    return train;
}

static void put_adapter(qa_golden_set *set, const char *prefix, const qa_adapter *adapter, const qa_real *values) {
    for (size_t i = 0; i < adapter->n_tensors; i++) {
        const qa_adapter_tensor *tensor = &adapter->tensors[i];
        char name[QA_GOLDEN_NAME_BYTES];
        double *copy = doubles(values + tensor->offset, tensor->rows * tensor->columns);
        (void)snprintf(name, sizeof name, "%s.%s", prefix, tensor->name);
        qa_put(set, name, 2, tensor->rows, tensor->columns, copy);
        free(copy);
    }
}

static void put_scores(qa_golden_set *set, qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs,
                       const qa_golden_options *options) {
    qa_error err = {0};
    qa_scorer *scorer = NULL;
    const size_t n = qa_pairs_count(pairs);
    const size_t micro = options->micro_batch == 0 ? n : options->micro_batch;
    MUST(qa_scorer_create(&scorer, model, adapter, &options->objective, qa_pairs_longest_prompt(pairs),
                          qa_pairs_longest_response(pairs), true, &err));
    for (size_t p = 0; p < n; p++) {
        const qa_pair *pair = qa_pairs_at(pairs, p);
        const size_t first = p / micro * micro;
        qa_pair_score score;
        MUST(qa_scorer_score(scorer, pair, qa_padded_length(pairs, first, n - first < micro ? n - first : micro),
                             &score, &err));
        put_side(set, p, 0, pair, &score.chosen, qa_model_get_info(model)->vocab_size);
        put_side(set, p, 1, pair, &score.rejected, qa_model_get_info(model)->vocab_size);
    }
    qa_scorer_free(scorer);
}

/* Back from the actions alone, as if every Vhat were a constant; for the pair of the step's last forward. */
static void backward_detached(qa_real *gradient, const qa_pair_step *step, qa_model *model, const qa_adapter *adapter,
                              const qa_pair *pair, const qa_objective *objective, const qa_divisors *divisors) {
    qa_error err = {0};
    qa_pass *pass = NULL;
    const size_t d = qa_model_get_info(model)->hidden_size, tokens = qa_pair_tokens(pair);
    const qa_packed packed = {.trunk = {pair->prompt, pair->prompt_len},
                              .branches = {{pair->chosen, pair->chosen_len}, {pair->rejected, pair->rejected_len}},
                              .n_branches = 2};
    size_t *rows = qa_alloc_array(tokens, sizeof *rows), n = 0;
    double *g = qa_alloc_array(tokens, sizeof *g);
    qa_real *dstates = qa_alloc_array(tokens * d, sizeof *dstates);
    ck_assert(rows != NULL && g != NULL && dstates != NULL);
    MUST(qa_pass_create(&pass, model, adapter,
                        (qa_pass_limits){.max_rows = tokens, .max_states = tokens, .backward = true}, &err));
    for (size_t s = 0; s < QA_SIDES; s++) {
        const qa_side_step *found = qa_pair_step_side(step, s);
        qa_method_of(objective)->gradient(g, found, s, qa_pair_step_logit(step), objective, divisors);
        for (size_t t = 0; t < found->n; t++) {
            const size_t position =
                qa_pair_side(pair, s == QA_CHOSEN, objective).label_start - 1 + found->transitions[t].state;
            const bool behind_chosen = s == QA_REJECTED && position >= pair->prompt_len;
            rows[n] = position + (behind_chosen ? pair->chosen_len : 0);
            qa_pass_add_head_row(pass, dstates + n * d, (qa_real)g[t], found->transitions[t].action);
            n++;
        }
    }
    MUST(qa_pass_forward(pass, &packed, rows, n, 0, &err));
    qa_pass_backward(pass, gradient, dstates);
    qa_pass_free(pass);
    free(rows);
    free(g);
    free(dstates);
}

void qa_product_gradient(qa_golden_set *set, qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs,
                         const qa_golden_options *options, bool detached) {
    qa_error err = {0};
    qa_plan plan;
    qa_pair_step *step = NULL;
    const qa_train_options train = plan_options(options, qa_pairs_count(pairs));
    const qa_pair_limits limits = {.max_prompt = qa_pairs_longest_prompt(pairs),
                                   .max_response = qa_pairs_longest_response(pairs),
                                   .backward = true};
    qa_real *gradient = qa_alloc_array(adapter->count, sizeof *gradient);
    size_t *order = qa_alloc_array(qa_pairs_count(pairs), sizeof *order);
    double pref = 0.0, reg = 0.0;
    ck_assert(gradient != NULL && order != NULL);
    MUST(qa_plan_make(&plan, qa_pairs_count(pairs), &train, &err));
    qa_epoch_order(order, plan.pairs, false, 0, 0);
    const qa_batch batch = qa_plan_batch(&plan, 0);
    MUST(qa_pair_step_create(&step, model, adapter, &options->objective, limits, &err));
    for (size_t i = 0; i < batch.micro_batches; i++) {
        const qa_divisors divisors = qa_batch_divisors(&plan, &batch, i, pairs, order, &options->objective);
        size_t first = 0, count = 0;
        qa_micro_batch(&plan, &batch, i, &first, &count);
        for (size_t p = first; p < first + count; p++) {
            MUST(qa_pair_step_forward(step, qa_pairs_at(pairs, p),
                                      &(qa_pair_visit){.padded_length = divisors.padded_length}, &err));
            const qa_pair_loss loss = qa_pair_step_loss(step, &divisors);
            pref += loss.pref;
            reg += loss.reg;
            if (detached) {
                backward_detached(gradient, step, model, adapter, qa_pairs_at(pairs, p), &options->objective,
                                  &divisors);
            } else {
                qa_pair_step_backward(step, gradient, &divisors);
            }
        }
    }
    const double loss = pref + reg;
    qa_put(set, "loss.pref", 0, 0, 0, &pref);
    qa_put(set, "loss.reg", 0, 0, 0, &reg);
    qa_put(set, "loss", 0, 0, 0, &loss);
    put_adapter(set, "grad", adapter, gradient);
    qa_pair_step_free(step);
    free(gradient);
    free(order);
}

/* ---- the training loop ---- */

typedef struct step_watch {
    qa_golden_set *set;
    const qa_adapter *adapter;
} step_watch;

static bool on_metrics(void *user, const qa_metrics *metrics) {
    const step_watch *watch = user;
    char name[64];
    (void)snprintf(name, sizeof name, "step%zu.loss", metrics->step);
    qa_put(watch->set, name, 0, 0, 0, &metrics->loss);
    (void)snprintf(name, sizeof name, "step%zu.grad_norm", metrics->step);
    qa_put(watch->set, name, 0, 0, 0, &metrics->grad_norm);
    (void)snprintf(name, sizeof name, "step%zu", metrics->step);
    put_adapter(watch->set, name, watch->adapter, watch->adapter->parameters);
    return true;
}

static void put_steps(qa_golden_set *set, qa_model *model, const char *adapter_dir, const qa_pairs *pairs,
                      const qa_golden_options *options) {
    qa_error err = {0};
    qa_adapter *adapter = NULL;
    char *dir = qa_tempdir_make();
    MUST(qa_adapter_load(&adapter, model, adapter_dir, &err));
    step_watch user = {set, adapter};
    qa_train_options train = plan_options(options, qa_pairs_count(pairs));
    train.out_dir = dir;
    train.base_model = "model";
    train.overwrite = true;
    train.on_metrics = on_metrics;
    train.user = &user;
    MUST(qa_train(model, adapter, pairs, NULL, &train, &err));
    qa_adapter_free(adapter);
    qa_tempdir_remove(dir);
}

void qa_product_numbers(qa_golden_set *set, qa_model *model, const qa_adapter *adapter, const char *adapter_dir,
                        const qa_pairs *pairs, const qa_golden_options *options) {
    qa_error err = {0};
    qa_adapter *off = NULL; /* an adapter that changes nothing: its adapted stream is the base model's */
    MUST(qa_adapter_load(&off, model, adapter_dir, &err));
    memset(off->parameters, 0, off->count * sizeof *off->parameters);
    put_hidden(set, model, off, "base", pairs);
    put_hidden(set, model, adapter, "adapted", pairs);
    qa_adapter_free(off);
    put_scores(set, model, adapter, pairs, options);
    qa_product_gradient(set, model, adapter, pairs, options, false);
    put_steps(set, model, adapter_dir, pairs, options);
}

/* ---- files and reports ---- */

void qa_golden_save(const qa_golden_set *set, const char *path, qa_dtype dtype) {
    qa_error err = {0};
    qa_safetensors_writer *writer = NULL;
    int64_t **ids = qa_alloc_array(set->n, sizeof *ids);
    ck_assert_ptr_nonnull(ids);
    MUST(qa_safetensors_writer_create(&writer, &err));
    for (size_t i = 0; i < set->n; i++) {
        const qa_golden_tensor *tensor = &set->tensors[i];
        if (tensor->kind != QA_GOLDEN_IDS) {
            MUST(qa_safetensors_writer_add_double(writer, tensor->name, dtype, tensor->n_dims, tensor->shape,
                                                  tensor->values, &err));
            continue;
        }
        ids[i] = qa_alloc_array(tensor->count, sizeof **ids);
        ck_assert_ptr_nonnull(ids[i]);
        for (size_t j = 0; j < tensor->count; j++) {
            ids[i][j] = (int64_t)tensor->values[j];
        }
        MUST(qa_safetensors_writer_add_int64(writer, tensor->name, tensor->n_dims, tensor->shape, ids[i], &err));
    }
    MUST(qa_safetensors_writer_save(writer, path, &err));
    qa_safetensors_writer_free(writer);
    for (size_t i = 0; i < set->n; i++) {
        free(ids[i]);
    }
    free(ids);
}

qa_golden_report qa_golden_report_of(const qa_golden_bundle *bundle, const qa_golden_set *set, qa_dtype dtype) {
    qa_error err = {0};
    qa_golden_report report;
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_join(dir, "candidate.safetensors");
    qa_golden_save(set, path, dtype);
    MUST(qa_golden_check(&report, bundle, path, (qa_golden_tolerance){-1.0, -1.0}, &err));
    free(path);
    qa_tempdir_remove(dir);
    return report;
}
