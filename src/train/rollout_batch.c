/* See rollout_batch.h. */
#include "train/rollout_batch.h"

#include "base/arena.h"
#include "base/buffer.h"
#include "base/try.h"
#include "rl/ppo.h"

#include <math.h>

static void take_batch(void *owner, qa_arena *arena) {
    qa_rollout_batch *b = owner;
    double **const of_tokens[] = {&b->found.log_old, &b->found.log_ref, &b->found.full,
                                  &b->found.entropy, &b->found.value,   &b->penalty,
                                  &b->reward,        &b->advantage,     &b->ret};
    b->places = QA_TAKE(arena, qa_rollout_place, b->most);
    b->answers = QA_TAKE(arena, qa_rollout, b->most);
    b->ended = QA_TAKE(arena, bool, b->most);
    b->scores = QA_TAKE(arena, double, b->most);
    b->sequences = QA_TAKE(arena, qa_ids, b->most);
    b->starts = QA_TAKE(arena, size_t, b->most);
    b->scored = QA_TAKE(arena, qa_tokens, b->most);
    for (size_t i = 0; i < sizeof of_tokens / sizeof *of_tokens; i++) {
        *of_tokens[i] = QA_TAKE(arena, double, b->most_tokens);
    }
}

qa_status qa_rollout_batch_create(qa_rollout_batch *batch, size_t most, size_t most_tokens, qa_error *err) {
    batch->most = most;
    batch->most_tokens = most_tokens;
    return qa_prefixed(qa_arena_lay_out(&batch->arena, take_batch, batch, err), err, "%zu answers of a step: ", most);
}

void qa_rollout_batch_free(qa_rollout_batch *batch) {
    qa_ids_free(&batch->ids);
    qa_arena_free(&batch->arena);
}

/* ---- writing ---- */

typedef struct answer_writer {
    qa_rollout_batch *batch;
    const qa_train_options *options;
    const qa_ids *prompts;
    qa_status status;
    qa_error err;
} answer_writer;

static qa_status keep_written(answer_writer *writer, const qa_answer *said, qa_error *err) {
    qa_rollout_batch *batch = writer->batch;
    const qa_ids *prompt = &writer->prompts[said->prompt];
    const size_t i = batch->n;
    QA_FAIL_IF(i == batch->most || said->n > batch->most_tokens - batch->tokens, err, QA_ERR_LIMIT,
               "more answers, or longer ones, than a step has");
    QA_TRY(qa_ids_append(&batch->ids, prompt->data, prompt->n, err));
    QA_TRY(qa_ids_append(&batch->ids, said->ids, said->n, err));
    batch->places[i] = (qa_rollout_place){.n_prompt = prompt->n, .n = said->n, .first_token = batch->tokens};
    batch->ended[i] = said->ended;
    batch->tokens += said->n;
    batch->n++;
    return QA_OK;
}

static bool take_written(void *user, const qa_answer *said) {
    answer_writer *writer = user;
    writer->status = keep_written(writer, said, &writer->err);
    return writer->status == QA_OK;
}

static bool should_stop_writing(void *user) {
    const qa_train_options *o = ((const answer_writer *)user)->options;
    return o->should_stop != NULL && o->should_stop(o->user);
}

/* The ids no longer move: everything that points into them, and into the arrays of tokens. */
static void point(qa_rollout_batch *batch) {
    int32_t *ids = batch->ids.data;
    for (size_t i = 0; i < batch->n; i++) {
        qa_rollout_place *place = &batch->places[i];
        const size_t length = place->n_prompt + place->n, at = place->first_token;
        place->ids = ids;
        batch->sequences[i] = (qa_ids){.data = ids, .n = length};
        batch->starts[i] = place->n_prompt;
        batch->scored[i] = (qa_tokens){.ids = ids, .n = length};
        batch->answers[i] = (qa_rollout){.n = place->n,
                                         .log_old = batch->found.log_old + at,
                                         .penalty = batch->penalty + at,
                                         .value = batch->found.value + at,
                                         .reward = batch->reward + at,
                                         .advantage = batch->advantage + at,
                                         .ret = batch->ret + at};
        ids += length;
    }
}

qa_status qa_rollout_batch_write(qa_rollout_batch *batch, const qa_rollout_asking *asking, qa_error *err) {
    const qa_train_options *o = asking->options;
    const qa_model_info *info = &asking->model->info;
    answer_writer writer = {.batch = batch, .options = o, .prompts = asking->prompts};
    batch->n = batch->tokens = batch->ids.n = 0;
    qa_batch_options options = {.policy = QA_POLICY_CUSTOM,
                                .objective = &o->objective,
                                .sampling = qa_sampling_defaults(),
                                .end_ids = o->n_end_ids > 0 ? o->end_ids : info->eos_ids,
                                .n_end_ids = o->n_end_ids > 0 ? o->n_end_ids : info->n_eos,
                                .max_tokens = o->rollout.max_new_tokens,
                                .samples = o->rollout.samples,
                                .batch = o->rollout.at_once,
                                .together = o->rollout.at_once,
                                .on_answer = take_written,
                                .should_stop = should_stop_writing,
                                .user = &writer};
    options.sampling.seed = asking->seed;
    const qa_status status =
        qa_generate_batch(asking->model, asking->adapter, asking->prompts, asking->n_prompts, &options, err);
    if (writer.status != QA_OK) {
        return qa_fail(err, writer.status, "%s", writer.err.message);
    }
    QA_TRY(status);
    point(batch);
    return QA_OK;
}

/* ---- scoring and measuring ---- */

qa_status qa_rollout_batch_score(qa_rollout_batch *b, const qa_train_options *options, qa_reward_model *reward_model,
                                 qa_error *err) {
    if (options->score != NULL) {
        QA_TRY(options->score(options->user, b->sequences, b->starts, b->n, b->scores, err));
    } else {
        const size_t output = options->reward_output == 0 ? QA_REWARD_LAST_OUTPUT : options->reward_output - 1;
        QA_TRY(qa_prefixed(qa_reward_model_scores(reward_model, b->scored, b->n, output, b->scores, err), err,
                           "%s: ", options->reward_model));
    }
    for (size_t i = 0; i < b->n; i++) {
        QA_FAIL_IF(!isfinite(b->scores[i]), err, QA_ERR_NAN, "the score of answer %zu is %g", i + 1, b->scores[i]);
        b->answers[i].score = b->scores[i] - (b->ended[i] ? 0.0 : options->rollout.missing_end_penalty);
    }
    return QA_OK;
}

void qa_rollout_batch_penalise(qa_rollout_batch *batch, qa_kl_estimator which) {
    const qa_rollout_tokens *found = &batch->found;
    for (size_t t = 0; t < batch->tokens; t++) {
        batch->penalty[t] = qa_p1_penalty(which, found->log_old[t], found->log_ref[t], found->full[t]);
    }
}

void qa_rollout_batch_measure(const qa_rollout_batch *batch, qa_rollout_metrics *m) {
    const double n = (double)batch->n;
    for (size_t i = 0; i < batch->n; i++) {
        m->score += batch->scores[i] / n;
        m->ended += batch->ended[i] ? 1.0 / n : 0.0;
        m->empty += batch->ended[i] && batch->places[i].n == 1 ? 1.0 / n : 0.0;
    }
    for (size_t t = 0; t < batch->tokens; t++) {
        m->kl += batch->penalty[t] / n;
        m->kl_exact += batch->found.full[t] / n;
        m->entropy += batch->found.entropy[t] / (double)batch->tokens;
    }
    m->length = (double)batch->tokens / n;
}
