/* See reward_model.h. Sequences are run as documents of a pass (model/pass.h), as many at a time as fit. */
#include "train/reward_model.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "qadapter/text.h"
#include "qadapter/train.h"
#include "train/shared_step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PASS_ROWS = 512, SHOWN_DIGITS = 12 };

struct qa_reward_model {
    qa_model *model;
    bool owns_model;
    qa_pass *pass; /* of `rows` rows; NULL: none yet */
    size_t rows;
    qa_cluster *cluster; /* whose ranks share the passes of a call */
};

/* ---- whose it is ---- */

static bool same_token(const qa_tokenizer *a, const qa_tokenizer *b, int32_t id) {
    const char *of_a = qa_tokenizer_token(a, id), *of_b = qa_tokenizer_token(b, id);
    return of_a == NULL || of_b == NULL ? of_a == of_b : strcmp(of_a, of_b) == 0;
}

/* Every token is the same one. */
static qa_status compare_tokenizers(const char *dir, const char *base_dir, qa_error *err) {
    qa_tokenizer *own = NULL, *of_base = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, qa_tokenizer_load(&own, dir, err));
    QA_GOTO(done, qa_tokenizer_load(&of_base, base_dir, err));
    const size_t n = qa_tokenizer_vocab_size(own), of_other = qa_tokenizer_vocab_size(of_base);
    QA_GOTO(done, n == of_other ? QA_OK
                                : qa_fail(err, QA_ERR_MISMATCH,
                                          "%s: a reward model of another tokenizer: it has %zu tokens, that of %s %zu",
                                          dir, n, base_dir, of_other));
    for (size_t id = 0; id < n; id++) {
        QA_GOTO(done, same_token(own, of_base, (int32_t)id)
                          ? QA_OK
                          : qa_fail(err, QA_ERR_MISMATCH,
                                    "%s: a reward model of another tokenizer: token %zu is not that of %s", dir, id,
                                    base_dir));
    }
done:
    qa_tokenizer_free(own);
    qa_tokenizer_free(of_base);
    return status;
}

/* By the bytes of their files; where those differ, token by token. */
static qa_status check_tokenizer_of(const char *dir, const char *base_dir, const char *recorded, qa_error *err) {
    char own[sizeof((qa_base_record *)0)->tokenizer], of_base[sizeof((qa_base_record *)0)->tokenizer];
    QA_TRY(qa_tokenizer_files_hex(own, dir, err));
    QA_TRY(qa_tokenizer_files_hex(of_base, base_dir, err));
    if (of_base[0] == '\0' || strcmp(own, of_base) == 0 || (own[0] == '\0' && strcmp(recorded, of_base) == 0)) {
        return QA_OK;
    }
    QA_FAIL_IF(own[0] == '\0' && recorded[0] != '\0', err, QA_ERR_MISMATCH,
               "%s: a reward model of another tokenizer: it was trained with other files than those of %s", dir,
               base_dir);
    return own[0] == '\0' || !qa_holds(dir, "tokenizer.json") || !qa_holds(base_dir, "tokenizer.json")
               ? QA_OK
               : compare_tokenizers(dir, base_dir, err);
}

static qa_status check_reward_base(const qa_model *model, const qa_model *base, qa_error *err) {
    const char *dir = model->info.dir;
    qa_base_record record = {0};
    QA_TRY(qa_training_config_base(dir, &record, err));
    const char *found = record.fingerprint[0] == '\0' ? "" : qa_model_fingerprint(base);
    QA_FAIL_IF(strcmp(found, record.fingerprint) != 0, err, QA_ERR_MISMATCH,
               "%s is the reward model of another base model: it was made from %s (fingerprint %.*s), and %s is "
               "another (%.*s)",
               dir, record.name, (int)SHOWN_DIGITS, record.fingerprint, base->info.dir, (int)SHOWN_DIGITS, found);
    QA_FAIL_IF(model->config.vocab_size != base->config.vocab_size, err, QA_ERR_MISMATCH,
               "%s is the reward model of another base model: its vocabulary has %zu tokens, that of %s %zu", dir,
               model->config.vocab_size, base->info.dir, base->config.vocab_size);
    QA_TRY(check_tokenizer_of(dir, base->info.dir, record.tokenizer, err));
    if (record.fingerprint[0] == '\0') {
        qa_log(&base->context->logger, QA_LOG_WARNING,
               "%s does not say which model it was made from: whether its scores mean anything for answers of %s "
               "cannot be checked",
               dir, base->info.dir);
    }
    return QA_OK;
}

/* ---- making ---- */

qa_status qa_reward_model_of(qa_reward_model **out, qa_model *model, qa_error *err) {
    *out = NULL;
    qa_reward_model *reward_model = NULL;
    QA_TRY(QA_NEW(reward_model, 1, err, "a reward model"));
    reward_model->model = model;
    *out = reward_model;
    return QA_OK;
}

qa_status qa_reward_model_load(qa_reward_model **out, qa_context *context, const char *dir, const qa_model *base,
                               qa_error *err) {
    *out = NULL;
    qa_model *model = NULL;
    qa_status status = QA_OK;
    QA_GOTO(failed, qa_prefixed(qa_model_load_classifier(&model, context, dir, err), err, "the reward model: "));
    QA_GOTO(failed, base == NULL ? QA_OK : check_reward_base(model, base, err));
    QA_GOTO(failed, qa_reward_model_of(out, model, err));
    (*out)->owns_model = true;
    return QA_OK;
failed:
    qa_model_free(model);
    return status;
}

void qa_reward_model_free(qa_reward_model *reward_model) {
    if (reward_model != NULL) {
        qa_pass_free(reward_model->pass);
        if (reward_model->owns_model) {
            qa_model_free(reward_model->model);
        }
        free(reward_model);
    }
}

size_t qa_reward_model_outputs(const qa_reward_model *reward_model) { return reward_model->model->config.labels; }

void qa_reward_model_share(qa_reward_model *reward_model) {
    reward_model->cluster = reward_model->model->context->cluster;
}

const qa_model *qa_reward_model_model(const qa_reward_model *reward_model) { return reward_model->model; }

/* ---- scoring ---- */

size_t qa_last_token(const qa_config *config, const int32_t *ids, size_t n) {
    size_t last = n - 1;
    while (last > 0 && ids[last] == config->pad_id) {
        last--;
    }
    return last;
}

double qa_score_of_state(const qa_model *model, const qa_real *state, size_t output) {
    const size_t d = model->config.hidden_size;
    const qa_real *weight = model->score.real + output * d;
    double sum = 0.0;
    for (size_t i = 0; i < d; i++) {
        sum += (double)weight[i] * (double)state[i];
    }
    return sum;
}

/* A pass with room for so many rows in one. */
static qa_status make_room(qa_reward_model *reward_model, size_t rows, qa_error *err) {
    rows = rows < PASS_ROWS ? PASS_ROWS : rows;
    if (reward_model->pass != NULL && reward_model->rows >= rows) {
        return QA_OK;
    }
    qa_pass_free(reward_model->pass);
    reward_model->pass = NULL;
    reward_model->rows = rows;
    const qa_pass_limits limits = {.max_rows = rows, .max_states = rows, .max_documents = rows};
    return qa_pass_create(&reward_model->pass, reward_model->model, NULL, limits, err);
}

/* A call: sequences begin[i] .. begin[i + 1] - 1 run in pass i. */
typedef struct scored_sequences {
    qa_reward_model *reward_model;
    const qa_tokens *sequences;
    size_t output;
    size_t *begin, *costs, *states; /* one allocation, that of begin; costs in tokens; states: the rows to read */
    double *scores;
} scored_sequences;

/* As many sequences in a pass as fit into PASS_ROWS, in order, a longer one alone: a function of the sequences alone,
 * and not of the room that an earlier call has made. Returns the number of passes. */
static size_t fill_passes(const scored_sequences *scored, size_t n) {
    size_t passes = 0, rows = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || rows + scored->sequences[i].n > PASS_ROWS) {
            scored->begin[passes++] = i;
            rows = 0;
        }
        rows += scored->sequences[i].n;
        scored->costs[passes - 1] = rows;
    }
    scored->begin[passes] = n;
    return passes;
}

static qa_status run_scored_pass(void *user, size_t pass, qa_real *gradient, void *record, qa_error *err) {
    const scored_sequences *scored = user;
    qa_reward_model *reward_model = scored->reward_model;
    const size_t first = scored->begin[pass], taken = scored->begin[pass + 1] - first;
    const char *dir = reward_model->model->info.dir;
    const qa_packed packed = {.documents = scored->sequences + first, .n_documents = taken};
    size_t rows = 0;
    (void)gradient;
    (void)record;
    for (size_t i = 0; i < taken; i++) {
        const qa_tokens *sequence = &scored->sequences[first + i];
        scored->states[i] = rows + qa_last_token(&reward_model->model->config, sequence->ids, sequence->n);
        rows += sequence->n;
    }
    QA_TRY(qa_prefixed(qa_pass_forward(reward_model->pass, &packed, scored->states, taken, 0, err), err,
                       "reward model %s, of %zu sequences from number %zu on: ", dir, taken, first + 1));
    for (size_t i = 0; i < taken; i++) {
        const qa_real *state = qa_pass_states(reward_model->pass) + i * reward_model->model->config.hidden_size;
        const double score = qa_score_of_state(reward_model->model, state, scored->output);
        QA_FAIL_IF(!isfinite(score), err, QA_ERR_NAN, "reward model %s: the score of sequence %zu is %g", dir,
                   first + i + 1, score);
        scored->scores[first + i] = score;
    }
    return QA_OK;
}

static qa_status run_sequences(scored_sequences *scored, size_t n, qa_error *err) {
    qa_cluster *cluster = scored->reward_model->cluster;
    QA_TRY(QA_NEW(scored->begin, 3 * n + 1, err, "%zu scores", n));
    scored->costs = scored->begin + n + 1;
    scored->states = scored->costs + n;
    const size_t passes = fill_passes(scored, n);
    const qa_shared_items items = {.n = passes, .costs = scored->costs, .run = run_scored_pass, .user = scored};
    qa_status status = qa_shared_run(cluster, NULL, &items, err);
    if (status == QA_OK) {
        status = qa_shared_gather(cluster, &items, scored->begin, scored->scores, sizeof *scored->scores, err);
    }
    free(scored->begin);
    return status;
}

qa_status qa_reward_model_scores(qa_reward_model *reward_model, const qa_tokens *sequences, size_t n, size_t output,
                                 double *scores, qa_error *err) {
    const size_t outputs = qa_reward_model_outputs(reward_model);
    size_t longest = 1;
    output = output == QA_REWARD_LAST_OUTPUT ? outputs - 1 : output;
    QA_FAIL_IF(output >= outputs, err, QA_ERR_ARGUMENT, "reward model %s: output %zu of %zu",
               reward_model->model->info.dir, output + 1, outputs);
    for (size_t i = 0; i < n; i++) {
        QA_FAIL_IF(sequences[i].n == 0, err, QA_ERR_ARGUMENT, "sequence %zu has no token to score", i + 1);
        QA_TRY(qa_prefixed(qa_config_check_length(&reward_model->model->config, sequences[i].n, err), err,
                           "reward model %s, sequence %zu: ", reward_model->model->info.dir, i + 1));
        longest = sequences[i].n > longest ? sequences[i].n : longest;
    }
    QA_TRY(make_room(reward_model, longest, err));
    scored_sequences scored = {
        .reward_model = reward_model, .sequences = sequences, .output = output, .scores = scores};
    return run_sequences(&scored, n, err);
}

qa_status qa_reward_model_answers(qa_reward_model *reward_model, qa_tokens prompt, const qa_tokens *answers, size_t n,
                                  size_t output, double *scores, qa_error *err) {
    size_t total = 0;
    int32_t *ids = NULL;
    qa_tokens *sequences = NULL;
    qa_status status = QA_OK;
    for (size_t i = 0; i < n; i++) {
        total += prompt.n + answers[i].n;
    }
    QA_GOTO(done, QA_NEW(ids, total + 1, err, "%zu tokens", total));
    QA_GOTO(done, QA_NEW(sequences, n + 1, err, "%zu sequences", n));
    for (size_t i = 0, at = 0; i < n; i++) {
        sequences[i] = (qa_tokens){.ids = ids + at, .n = prompt.n + answers[i].n};
        memcpy(ids + at, prompt.ids, prompt.n * sizeof *ids);
        memcpy(ids + at + prompt.n, answers[i].ids, answers[i].n * sizeof *ids);
        at += sequences[i].n;
    }
    status = qa_reward_model_scores(reward_model, sequences, n, output, scores, err);
done:
    free(ids);
    free(sequences);
    return status;
}
