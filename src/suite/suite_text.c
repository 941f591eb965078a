/* Perplexity of the policy on ordinary text: exp of the mean of -log pi(a_t|s_t) over the learned tokens of a corpus
 * (of a conversation the assistant's turns, of plain text all), pi being pi1 without an adapter and pitilde of (M7)
 * with one.
 *
 * Whole documents are packed into one pass over both streams, up to PACK_ROWS rows; the states are the rows before
 * learned tokens. A mixture, which has more streams, is asked by the engine of generation instead, a lot of documents
 * after the other. Ranks share out packs or lots; what is summed are the tokens' values, or the documents', in order.
 */
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "cluster/blocks.h"
#include "data/corpus.h"
#include "infer/engine.h"
#include "infer/policy.h"
#include "model/pass.h"
#include "qadapter/pretrain.h"
#include "suite/suite.h"
#include "text/answer_end.h"

#include <math.h>
#include <stdlib.h>

enum { PACK_ROWS = 512, PACKS_OF_RANK = 64 };

/* The documents of one pass, and the room for them. */
typedef struct pack_suite_texts {
    qa_tokens *documents; /* [n] */
    size_t n, rows;
    size_t *state_rows; /* [n_states] */
    int32_t *targets;   /* [n_states] the token after each state */
    size_t n_states;
    double *log_policy; /* [V] */
    double *log_p;      /* [n_states] of the targets */
    qa_pass *pass;
    const qa_objective *objective; /* NULL: pi1 */
    size_t V;
} pack_suite_texts;

static void pack_free(pack_suite_texts *pack) {
    free(pack->documents);
    free(pack->state_rows);
    free(pack->targets);
    free(pack->log_policy);
    free(pack->log_p);
    qa_pass_free(pack->pass);
}

static qa_status pack_create(pack_suite_texts *pack, qa_model *model, const qa_adapter *adapter,
                             const qa_objective *objective, size_t longest, qa_error *err) {
    const size_t rows = longest > PACK_ROWS ? longest : PACK_ROWS;
    const qa_pass_limits limits = {.max_rows = rows, .max_states = rows, .max_documents = rows};
    *pack = (pack_suite_texts){.documents = qa_alloc_array(rows, sizeof *pack->documents),
                               .state_rows = qa_alloc_array(rows, sizeof *pack->state_rows),
                               .targets = qa_alloc_array(rows, sizeof *pack->targets),
                               .log_p = qa_alloc_array(rows, sizeof *pack->log_p),
                               .V = qa_model_get_info(model)->vocab_size,
                               .objective = adapter == NULL ? NULL : objective};
    pack->log_policy = qa_alloc_array(pack->V, sizeof *pack->log_policy);
    if (pack->documents == NULL || pack->state_rows == NULL || pack->targets == NULL || pack->log_p == NULL ||
        pack->log_policy == NULL) {
        return QA_NO_MEMORY(err, "%zu rows of text", rows);
    }
    return qa_pass_create(&pack->pass, model, adapter, limits, err);
}

/* Adds a document, whose rows fit. */
static void pack_add(pack_suite_texts *pack, const qa_document *document) {
    pack->documents[pack->n++] = (qa_tokens){document->ids, document->n};
    for (size_t i = 1; i < document->n; i++) {
        if (document->learned[i]) {
            pack->state_rows[pack->n_states] = pack->rows + i - 1;
            pack->targets[pack->n_states++] = document->ids[i];
        }
    }
    pack->rows += document->n;
}

/* Runs the pass and gives log pi of every learned token. The pack is empty afterwards. */
static qa_status pack_run(pack_suite_texts *pack, qa_block_pieces *to, qa_error *err) {
    QA_TRY(qa_pass_forward(pack->pass, &(qa_packed){.documents = pack->documents, .n_documents = pack->n},
                           pack->state_rows, pack->n_states, 0, err));
    for (size_t first = 0; first < pack->n_states; first += QA_HEAD_CHUNK) {
        const size_t left = pack->n_states - first;
        const size_t count = left < QA_HEAD_CHUNK ? left : QA_HEAD_CHUNK;
        qa_real *base = NULL;
        qa_real *adapted = NULL;
        qa_pass_head(pack->pass, first, count, &base, &adapted);
        for (size_t i = 0; i < count; i++) {
            if (pack->objective == NULL) {
                qa_base_log_policy(pack->log_policy, base + i * pack->V, pack->V);
            } else {
                qa_custom_log_policy(pack->log_policy, base + i * pack->V, adapted + i * pack->V, pack->V,
                                     pack->objective);
            }
            const double log_p = pack->log_policy[pack->targets[first + i]];
            QA_FAIL_IF(!isfinite(log_p), err, QA_ERR_NAN, "the policy's log-probability of a token is %g", log_p);
            pack->log_p[first + i] = log_p;
        }
    }
    const size_t n = pack->n_states;
    pack->n = pack->rows = pack->n_states = 0;
    return qa_block_give(to, pack->log_p, n * sizeof *pack->log_p, err);
}

/* The text while it is measured: documents that run together are a part. */
typedef struct text_parts {
    const qa_corpus *corpus;
    size_t n; /* documents */
    const qa_suite_options *options;
    size_t *first, *costs; /* [n_parts + 1] its first document, [n_parts] its tokens */
    size_t n_parts;
    pack_suite_texts *pack;
    qa_model *model; /* of a mixture */
    size_t longest;
    double sum; /* of log pi */
} text_parts;

/* Whole documents of up to PACK_ROWS tokens together, or `at_most` of them. */
static qa_status cut_text(text_parts *text, size_t at_most, qa_error *err) {
    size_t rows = 0;
    QA_TRY(QA_NEW(text->first, text->n + 1, err, "%zu documents", text->n));
    QA_TRY(QA_NEW(text->costs, text->n + 1, err, "%zu documents", text->n));
    for (size_t i = 0; i < text->n; i++) {
        const size_t length = qa_corpus_at(text->corpus, i)->n, part = text->n_parts == 0 ? 0 : text->n_parts - 1;
        const bool full = at_most > 0 ? i % at_most == 0 : rows > PACK_ROWS || length > PACK_ROWS - rows;
        if (i == 0 || full) {
            text->first[text->n_parts++] = i;
            rows = 0;
        }
        rows += length;
        text->costs[i == 0 || full ? text->n_parts - 1 : part] += length;
    }
    text->first[text->n_parts] = text->n;
    return QA_OK;
}

static qa_status tell_text_progress(const text_parts *text, size_t done, qa_error *err) {
    const qa_suite_options *options = text->options;
    QA_FAIL_IF(options->progress != NULL && !options->progress(options->user, "text", done, text->n), err,
               QA_ERR_INTERRUPTED, "stopped after %zu of %zu documents", done, text->n);
    return QA_OK;
}

static qa_status run_pack(void *user, size_t part, qa_block_pieces *to, qa_error *err) {
    text_parts *text = user;
    for (size_t i = text->first[part]; i < text->first[part + 1]; i++) {
        pack_add(text->pack, qa_corpus_at(text->corpus, i));
    }
    QA_TRY(pack_run(text->pack, to, err));
    return tell_text_progress(text, text->first[part + 1], err);
}

static qa_status add_to_sum(void *user, const void *piece, size_t bytes, qa_error *err) {
    text_parts *text = user;
    (void)err;
    for (size_t i = 0; i < bytes / sizeof(double); i++) {
        text->sum += ((const double *)piece)[i];
    }
    return QA_OK;
}

static qa_status sum_parts(text_parts *text, qa_status (*run)(void *, size_t, qa_block_pieces *, qa_error *),
                           qa_error *err) {
    const qa_blocks blocks = {.n = text->n_parts,
                              .costs = text->costs,
                              .per_rank = PACKS_OF_RANK,
                              .everywhere = true,
                              .run = run,
                              .take = add_to_sum,
                              .user = text};
    return qa_blocks_run(text->model->context->cluster, &blocks, err);
}

/* ---- a mixture ---- */

enum { TEXTS_AT_ONCE = 8, TEXTS_OF_LOT = 32 };

/* A document while the engine reads it. */
typedef struct mixture_text {
    const qa_document *document;
    size_t at;  /* of the next token */
    double sum; /* of log pi of the learned ones */
    qa_error *err;
    qa_status status;
} mixture_text;

static bool take_text_token(void *user, const qa_engine_token *token) {
    mixture_text *text = user;
    text->sum += text->document->learned[text->at] && !token->first ? token->log_pi : 0.0;
    text->at++;
    return true;
}

static void end_text(void *user, qa_request_end end, const qa_error *err) {
    mixture_text *text = user;
    if (end == QA_END_FAILED) {
        text->status = err->code;
        *text->err = *err;
    }
}

/* One document after the other is added while there is room. texts[n]: of the documents from `first` on. */
static qa_status read_texts(qa_engine *engine, mixture_text *texts, const text_parts *text, size_t first, size_t n,
                            qa_error *err) {
    size_t added = 0;
    qa_error why = {0};
    while (added < n || qa_engine_live(engine) > 0) {
        for (; added < n && qa_engine_live(engine) + qa_engine_waiting(engine) < TEXTS_AT_ONCE; added++) {
            uint64_t handle = 0;
            texts[added] = (mixture_text){.document = qa_corpus_at(text->corpus, first + added), .err = &why};
            const qa_request request = {.policy = {.mixture = text->options->mixture},
                                        .prompt = texts[added].document->ids,
                                        .n_prompt = texts[added].document->n,
                                        .sampling = qa_sampling_defaults(),
                                        .echo = true,
                                        .on_token = take_text_token,
                                        .on_end = end_text,
                                        .user = &texts[added]};
            QA_TRY(qa_engine_add(engine, &request, &handle, err));
        }
        QA_TRY(qa_engine_step(engine, err));
        if (why.code != QA_OK) {
            *err = why;
            return why.code;
        }
        QA_TRY(tell_text_progress(text, first + added, err));
    }
    return QA_OK;
}

static qa_status run_mixture_lot(void *user, size_t part, qa_block_pieces *to, qa_error *err) {
    const text_parts *text = user;
    const qa_mixture *mixture = text->options->mixture;
    const size_t first = text->first[part], n = text->first[part + 1] - first;
    const qa_adapter *adapters[QA_MIXTURE_PARTS];
    const qa_engine_limits limits = {.slots = TEXTS_AT_ONCE,
                                     .capacity = text->longest > 0 ? text->longest : 1,
                                     .streams = TEXTS_AT_ONCE * (1 + mixture->n),
                                     .prompt_tokens = PACK_ROWS};
    mixture_text texts[TEXTS_OF_LOT];
    qa_engine *engine = NULL;
    for (size_t i = 0; i < mixture->n; i++) {
        adapters[i] = mixture->parts[i].adapter;
    }
    QA_TRY(qa_engine_create(&engine, text->model, adapters, mixture->n, &limits, err));
    qa_status status = read_texts(engine, texts, text, first, n, err);
    for (size_t i = 0; i < n && status == QA_OK; i++) {
        status = qa_block_give(to, &texts[i].sum, sizeof texts[i].sum, err);
    }
    qa_engine_free(engine);
    return status;
}

/* ---- the text ---- */

static void warn_of_text(const qa_corpus *corpus, const char *path, size_t context, qa_warnings *warnings) {
    const qa_warnings *said = qa_corpus_warnings(corpus);
    for (size_t i = 0; i < said->n; i++) {
        qa_warn(warnings, "%s", said->lines[i]);
    }
    if (qa_corpus_cut(corpus) > 0) {
        qa_warn(warnings, "%s: documents cut at the model's context of %zu tokens: %zu", path, context,
                qa_corpus_cut(corpus));
    }
    if (qa_corpus_skipped(corpus) > 0) {
        qa_warn(warnings, "%s: documents without a token to measure, left out: %zu", path, qa_corpus_skipped(corpus));
    }
}

qa_status qa_suite_perplexity(const char *path, qa_model *model, const qa_adapter *adapter,
                              const qa_tokenizer *tokenizer, const qa_suite_options *options, double *perplexity,
                              size_t *tokens, qa_warnings *warnings, qa_error *err) {
    const qa_model_info *info = qa_model_get_info(model);
    qa_corpus *corpus = NULL;
    pack_suite_texts pack = {0};
    text_parts text = {.options = options, .pack = &pack, .model = model};
    size_t n_ends = 0;
    qa_status status = QA_OK;
    int32_t ends[QA_MAX_END_IDS]; /* the tokenizer's own goes first (qa_model_prefer_eos) */
    *tokens = 0;
    if (qa_tokenizer_eos(tokenizer) >= 0) {
        ends[n_ends++] = qa_tokenizer_eos(tokenizer);
    }
    for (size_t i = 0; i < info->n_eos && n_ends < QA_MAX_END_IDS; i++) {
        ends[n_ends++] = info->eos_ids[i];
    }
    QA_GOTO(done, qa_corpus_load_chat(&corpus, path, tokenizer, options->renderer, QA_LEARN_RESPONSES,
                                      info->max_position_embeddings, info->vocab_size, ends, n_ends, NULL, err));
    warn_of_text(corpus, path, info->max_position_embeddings, warnings);
    text.corpus = corpus;
    text.n = qa_corpus_count(corpus);
    text.n = options->limit != 0 && options->limit < text.n ? options->limit : text.n;
    for (size_t i = 0; i < text.n; i++) {
        const qa_document *document = qa_corpus_at(corpus, i);
        text.longest = document->n > text.longest ? document->n : text.longest;
        for (size_t t = 1; t < document->n; t++) {
            *tokens += document->learned[t] ? 1 : 0;
        }
    }
    QA_GOTO(done, cut_text(&text, options->mixture == NULL ? 0 : TEXTS_OF_LOT, err));
    if (options->mixture == NULL) {
        QA_GOTO(done, pack_create(&pack, model, adapter, options->objective, text.longest, err));
    }
    QA_GOTO(done, sum_parts(&text, options->mixture == NULL ? run_pack : run_mixture_lot, err));
    *perplexity = *tokens > 0 ? exp(-text.sum / (double)*tokens) : (double)NAN;
done:
    free(text.first);
    free(text.costs);
    pack_free(&pack);
    qa_corpus_free(corpus);
    return status;
}
