/* qadapter merge: an adapter in its model's weights, as a folder that any program loads, and what rounding made of it.
 */
#include "cli/common.h"
#include "cli/format.h"
#include "cli/outputs.h"
#include "cli/report.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/dtype.h"
#include "methods/method.h"
#include "model/merge.h"
#include "model/weights.h"
#include "text/chat.h"
#include "train/merged_folder.h"
#include "train/training_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

typedef struct merge_args {
    cli_args shared;
    const char *dtype;
    double shard_gb;
    bool overwrite;
} merge_args;

static const merge_args *merge_args_of(const cli_run *run) { return (const merge_args *)run->args; }

static const qa_option merge_rows[] = {
    {"out", QA_STRING(merge_args, shared.out), .letter = 'o', .aliases = "output-dir output", .placeholder = "DIR",
     .group = QA_GROUP_OUTPUT, .help = "folder of the merged model; it appears when it is complete"},
    {"dtype", QA_WORD(merge_args, dtype, "f32", "bf16", "f16", "f64"), .aliases = "torch-dtype save-dtype",
     .standard = "f32", .group = QA_GROUP_OUTPUT,
     .help =
         "what the weights are stored in; the shorter ones round what the adapter adds, and what that costs is told"},
    {"shard-gb", QA_NUMBER(merge_args, shard_gb), .aliases = "max-shard-size", .standard = "5",
     .range = QA_RANGE_ABOVE_0, .group = QA_GROUP_OUTPUT,
     .help = "gigabytes (10^9) of weights in one file at the most; a model in shards stays in as many at least"},
    {"overwrite", QA_FLAG(merge_args, overwrite), .group = QA_GROUP_OUTPUT,
     .help = "replace a merged model in --out, and nothing else"},
};
static const qa_option_table merge_table = QA_TABLE(merge_rows);
static const qa_option merge_data_words = {
    .group = QA_GROUP_DATA,
    .note = "8 answers of 64 tokens that the customised policy samples itself",
    .help = "texts on which the effect of rounding is measured: preference pairs, single responses or documents, JSON "
            "or JSON Lines"};
static const cli_table merge_tables[] = {
    {&cli_model_table, 0, "model adapter any-base", NULL},
    {&merge_table, 0, NULL, NULL},
    {&cli_pairs_table, 0, "data", &merge_data_words},
    CLI_READ_CHAT,
    {&cli_pairs_table, 0, "columns response-end max-length max-pairs dsp-domain", NULL},
    {&cli_reading_table, 0, "recipe", NULL},
    {&qa_objective_table, offsetof(cli_args, objective), NULL, NULL},
    CLI_METHOD_TABLES,
    {&cli_output_table, 0, "json", NULL},
};

static qa_dtype dtype_of(const cli_run *run) {
    const char *name = merge_args_of(run)->dtype;
    return strcmp(name, "bf16") == 0  ? QA_DTYPE_BF16
           : strcmp(name, "f16") == 0 ? QA_DTYPE_F16
           : strcmp(name, "f64") == 0 ? QA_DTYPE_F64
                                      : QA_DTYPE_F32;
}

static qa_status refuse_composed(cli_run *run, const qa_objective *objective, qa_error *err) {
    const bool logits = objective->q_parametrisation == QA_Q_LOGITS;
    return qa_fail(
        err, QA_ERR_UNSUPPORTED,
        "%s cannot be merged: its policy is softmax((Q + %g log pi1) / %g) with Q = %s, which is the softmax "
        "of no one model's logits, so that one set of weights with another policy would come out. What "
        "remains is to run both models: `qadapter generate` and `qadapter serve` with --model and "
        "--adapter, or both streams in another program (docs/tasks.md)",
        run->args->adapter, objective->alpha_0, objective->alpha_tilde,
        logits ? "the adapted logits" : "adapted - base logits");
}

/* ---- texts ---- */

/* What is measured on, as pairs that may lack a second response. */
typedef struct merge_texts {
    qa_pairs *pairs;
    qa_corpus *corpus;
    int32_t *ids; /* of sampled answers, each behind its beginning */
    qa_pair *items;
    size_t n;
    const char *what;
} merge_texts;

static void free_texts(merge_texts *texts) {
    free(texts->items);
    free(texts->ids);
    qa_corpus_free(texts->corpus);
    qa_pairs_free(texts->pairs);
}

static qa_pair document_pair(const int32_t *ids, size_t n) {
    return (qa_pair){.prompt = ids, .prompt_len = 1, .chosen = ids + 1, .chosen_len = n - 1, .label_start = 1};
}

static qa_status load_documents(cli_run *run, size_t max_length, qa_corpus **corpus, qa_error *err) {
    const qa_model_info *info = qa_model_get_info(run->model);
    const qa_chat *chat = NULL;
    bool assumed = false;
    QA_TRY(cli_resolve_chat(run, &chat, &assumed, err));
    return qa_corpus_load_chat(corpus, run->args->data, run->tokenizer, chat, QA_LEARN_ALL, max_length,
                               info->vocab_size, info->eos_ids, info->n_eos, run->args->columns, err);
}

/* Pairs, or else single responses, or else documents; what is none of them is told as no pairs. */
static qa_status load_texts(cli_run *run, merge_texts *texts, qa_error *err) {
    const char *path = run->args->data;
    qa_error other = {0};
    size_t max_length = 0;
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    qa_status status = cli_load_pairs(run, path, max_length, &texts->pairs, err);
    if (status == QA_ERR_FORMAT &&
        cli_load_responses(run, path, run->args->columns, max_length, &texts->pairs, &other) == QA_OK) {
        status = QA_OK;
    } else if (status == QA_ERR_FORMAT && load_documents(run, max_length, &texts->corpus, &other) == QA_OK) {
        status = QA_OK;
        cli_say(run, "%s: %zu document%s", path, qa_corpus_count(texts->corpus),
                cli_plural(qa_corpus_count(texts->corpus)));
    }
    QA_TRY(status);
    texts->n = texts->pairs != NULL ? qa_pairs_count(texts->pairs) : qa_corpus_count(texts->corpus);
    texts->what = path;
    QA_TRY(QA_NEW(texts->items, texts->n, err, "%zu texts", texts->n));
    for (size_t i = 0; i < texts->n; i++) {
        const qa_document *document = texts->corpus == NULL ? NULL : qa_corpus_at(texts->corpus, i);
        texts->items[i] = document == NULL ? *qa_pairs_at(texts->pairs, i) : document_pair(document->ids, document->n);
    }
    return QA_OK;
}

enum { SAMPLED_TEXTS = 8, SAMPLED_TOKENS = 64 };

typedef struct sampled_texts {
    merge_texts *texts;
    int32_t begin;
} sampled_texts;

static bool keep_answer(void *user, const qa_answer *answer) {
    const sampled_texts *sampled = user;
    merge_texts *texts = sampled->texts;
    int32_t *ids = texts->ids + texts->n * (SAMPLED_TOKENS + 1);
    ids[0] = sampled->begin;
    memcpy(ids + 1, answer->ids, answer->n * sizeof *ids);
    texts->items[texts->n++] = document_pair(ids, answer->n + 1);
    return true;
}

/* Without --data: what the policy writes itself, from the token that begins a sequence. */
static qa_status sample_texts(cli_run *run, const qa_objective *objective, merge_texts *texts, qa_error *err) {
    const qa_model_info *info = qa_model_get_info(run->model);
    sampled_texts sampled = {texts, info->bos_id >= 0 ? info->bos_id : info->n_eos > 0 ? info->eos_ids[0] : 0};
    const qa_ids prompt = {.data = &sampled.begin, .n = 1};
    const size_t room = info->context > 1 ? info->context - 1 : 1;
    qa_batch_options options = {.objective = objective,
                                .sampling = qa_sampling_defaults(),
                                .end_ids = info->eos_ids,
                                .n_end_ids = info->n_eos,
                                .max_tokens = room < SAMPLED_TOKENS ? room : SAMPLED_TOKENS,
                                .samples = SAMPLED_TEXTS,
                                .batch = SAMPLED_TEXTS,
                                .on_answer = keep_answer,
                                .should_stop = cli_should_stop,
                                .user = &sampled};
    texts->what = "sampled from the customised policy, seed 0";
    QA_TRY(QA_NEW(texts->items, SAMPLED_TEXTS, err, "texts"));
    QA_TRY(QA_NEW(texts->ids, SAMPLED_TEXTS * (SAMPLED_TOKENS + 1), err, "texts"));
    return qa_generate_batch(run->model, run->adapter, &prompt, 1, &options, err);
}

/* ---- merging ---- */

/* What outlives the base model and the adapter. */
typedef struct merging {
    merge_texts texts;
    qa_merged_folder folder;
    double *exact, *merged; /* log-probabilities of the texts */
    char base_fingerprint[QA_FINGERPRINT_BYTES], adapter_fingerprint[QA_FINGERPRINT_BYTES];
    json_t *chat;            /* the record of the adapter's training; NULL: none */
    double embedding_factor; /* of the base */
} merging;

static qa_status merge_weights(cli_run *run, merging *m, const qa_objective *objective, qa_error *err) {
    const merge_args *args = merge_args_of(run);
    bool template_written = false;
    (void)snprintf(m->base_fingerprint, sizeof m->base_fingerprint, "%s", qa_model_fingerprint(run->model));
    qa_adapter_fingerprint(run->adapter, m->adapter_fingerprint);
    m->embedding_factor = run->model->config.embedding_factor;
    QA_TRY(qa_merge_log_policy(&m->exact, run->model, run->adapter, objective, m->texts.items, m->texts.n,
                               cli_should_stop, NULL, err));
    QA_TRY(qa_model_merge(run->model, run->adapter, err));
    const double most = 9e18, bytes = args->shard_gb * 1e9;
    QA_TRY(qa_prefixed(qa_merged_folder_fill(&m->folder, run->model, dtype_of(run),
                                             (size_t)(bytes < most ? bytes : most), m->chat, &template_written, err),
                       err, "cannot merge into %s: ", args->shared.out));
    if (template_written) {
        cli_say(run, "chat_template.jinja is the template that %s was trained with, not the base's",
                args->shared.adapter);
    }
    return cli_interrupted() ? qa_fail(err, QA_ERR_INTERRUPTED, "interrupted") : QA_OK;
}

/* Gemma's factor on the embedding is rounded to what the weights are stored in: another dtype is another factor. */
static void warn_of_factor(cli_run *run, double base) {
    const double merged = run->model->config.embedding_factor;
    if (fabs(merged - base) > 1e-9 * fabs(base)) {
        cli_warn(
            run,
            "the family rounds its factor on the embedding to the dtype of the weights: %.10g in the base's files, "
            "%.10g in %s, so that the merged model is another one by more than its weights' rounding; --dtype as "
            "the base's keeps the factor",
            base, merged, merge_args_of(run)->dtype);
    }
}

/* What was written, loaded as any program loads it. */
static qa_status load_merged(cli_run *run, merging *m, qa_error *err) {
    qa_adapter_free(run->adapter);
    run->adapter = NULL;
    qa_model_free(run->model);
    run->model = NULL;
    QA_TRY(qa_prefixed(qa_model_load(&run->model, run->context, m->folder.temporary, err), err,
                       "the merged model does not load: "));
    warn_of_factor(run, m->embedding_factor);
    return qa_merge_log_policy(&m->merged, run->model, NULL, NULL, m->texts.items, m->texts.n, cli_should_stop, NULL,
                               err);
}

static qa_status print_merged(cli_run *run, const qa_merge_story *story, qa_error *err) {
    const qa_merge_rounding *r = &story->rounding;
    cli_report report = {0};
    cli_report_section(&report, "merged", "Merged model");
    cli_report_text(&report, "dir", "folder", run->args->out);
    cli_report_text(&report, "base_model", "base model", story->base);
    cli_report_text(&report, "base_fingerprint", "its fingerprint", story->base_fingerprint);
    cli_report_text(&report, "adapter", "adapter", story->adapter);
    cli_report_text(&report, "adapter_fingerprint", "its fingerprint", story->adapter_fingerprint);
    cli_report_text(&report, "stored_dtype", "stored in", qa_dtype_name(story->dtype));
    cli_report_text(&report, "fingerprint", "fingerprint", story->merged_fingerprint);
    cli_report_section(&report, "rounding", "How far rounding moved log-probabilities, against the composed policy");
    cli_report_text(&report, "measured_on", "measured on", story->measured_on);
    cli_report_count(&report, "tokens", "tokens", r->tokens, "");
    cli_report_count(&report, "responses", "responses", r->responses, "");
    cli_report_real(&report, "mean_per_token", "of a token, mean", r->mean_token, "nats");
    cli_report_real(&report, "largest_per_token", "of a token, at most", r->largest_token, "nats");
    cli_report_real(&report, "mean_per_response", "of a response, mean", r->mean_response, "nats");
    cli_report_real(&report, "largest_per_response", "of a response, at most", r->largest_response, "nats");
    const qa_status status = cli_report_print(&report, stdout, run->args->json, err);
    cli_report_free(&report);
    return status;
}

static qa_status finish_merge(cli_run *run, merging *m, const qa_objective *objective, qa_error *err) {
    qa_merge_story story = {.base = run->args->model,
                            .adapter = run->args->adapter,
                            .base_fingerprint = m->base_fingerprint,
                            .adapter_fingerprint = m->adapter_fingerprint,
                            .objective = objective,
                            .dtype = dtype_of(run),
                            .measured_on = m->texts.what};
    QA_TRY(load_merged(run, m, err));
    story.merged_fingerprint = qa_model_fingerprint(run->model);
    story.rounding = qa_merge_rounding_of(m->exact, m->merged, m->texts.items, m->texts.n);
    QA_TRY(qa_merged_folder_tell(&m->folder, &story, err));
    QA_TRY(qa_prefixed(qa_merged_folder_commit(&m->folder, err), err, "cannot merge into %s: ", run->args->out));
    return print_merged(run, &story, err);
}

static qa_status run_merge(cli_run *run, qa_error *err) {
    const merge_args *args = merge_args_of(run);
    merging m = {.folder = {.lock = -1}};
    qa_objective objective;
    qa_status status = QA_OK;
    QA_TRY(cli_check_other_folder(run, "model", err)); /* a folder is never replaced by what is made of it */
    QA_TRY(cli_check_other_folder(run, "adapter", err));
    QA_TRY(cli_resolve_objective(run, &objective, NULL, err));
    if (!qa_objective_is_plain(&objective)) {
        return refuse_composed(run, &objective, err);
    }
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_load_adapter(run, err));
    QA_FAIL_IF(qa_adapter_is_full(run->adapter), err, QA_ERR_ARGUMENT,
               "%s is a whole model already (train --full): there is nothing to merge", args->shared.adapter);
    QA_TRY(cli_load_tokenizer(run, false, err));
    cli_catch_interrupts(run->command->name, "stopping, nothing is left in --out");
    QA_GOTO(done, qa_merged_folder_begin(&m.folder, args->shared.out, args->overwrite, err));
    QA_GOTO(done, qa_training_config_chat(args->shared.adapter, &m.chat, err));
    QA_GOTO(done,
            args->shared.data != NULL ? load_texts(run, &m.texts, err) : sample_texts(run, &objective, &m.texts, err));
    QA_GOTO(done, merge_weights(run, &m, &objective, err));
    QA_GOTO(done, finish_merge(run, &m, &objective, err));
done:
    json_decref(m.chat);
    free(m.exact);
    free(m.merged);
    free_texts(&m.texts);
    qa_merged_folder_end(&m.folder);
    return status;
}

const cli_command cli_merge = {
    .name = "merge",
    .summary = "write a model with the adapter in its weights",
    .about = "Adds an adapter to its model's weights, W + s B A, and writes a Hugging Face folder that transformers, "
             "vLLM, llama.cpp's converter and this program load: config, weights under the names that the base's "
             "files have, tokenizer, chat template, a model card. Only for adapters whose policy is the softmax of "
             "the adapted logits: sft, replay, dpo, the recipe theory, and plain LoRA adapters of PEFT or TRL; others "
             "need both models at every token. The folder is loaded again before it gets its name, and the "
             "log-probabilities that it gives are compared with the composed policy's.",
    .examples = "qadapter merge --model MODEL --adapter ADAPTER --out MERGED\n"
                "qadapter merge --model MODEL --adapter ADAPTER --out MERGED --dtype bf16 --data eval.jsonl\n"
                "qadapter train --model MERGED --data others.jsonl --out SECOND",
    .required = "model adapter out",
    .replaces = qa_merged_folder_writes,
    CLI_TABLES(merge_tables),
    .args_bytes = sizeof(merge_args),
    .run = run_merge,
};
