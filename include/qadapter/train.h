/* Training, scoring and evaluation on preference pairs. */
#ifndef QADAPTER_TRAIN_H
#define QADAPTER_TRAIN_H

#include "qadapter/data.h"
#include "qadapter/model.h"
#include "qadapter/objective.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

QA_BEGIN_DECLS

/* ---- scoring one pair ---- */

/* One side of a scored pair; arrays are owned by the scorer and valid until its next call. The n entries
 * are the counted transitions: every response token (theory), or those that the published code counts. */
typedef struct qa_side_score {
    size_t n;
    const double *log_pi1; /* [n] log pi1(a_t|s_t), nats */
    const double *q;       /* [n] Qhat(s_t, a_t) */
    const double *v;       /* [n] Vhat(s_t) */
    const double *reward;  /* [n] r2(s_t, a_t)   (M8); dpo, sft, replay: b log pi/pi_ref, see qa_evaluation */
    const double *log_ref; /* [n] log pi_ref(a_t|s_t): log_pi1, but of dpo with another reference */
    const double *log_pi;  /* [n] log pitilde(a_t|s_t)   (M7) */
    const double *kl;      /* [n] KL(pitilde || pi1) at s_t, nats */
    double ret;            /* R   (M9) */
    size_t states;         /* prompt_len.. : the states before every response token and the one after the last */
    const double *full_q, *full_log_pi1; /* [states x V], only when the scorer was made with full */
    const double *full_v;                /* [states] */
} qa_side_score;

typedef struct qa_pair_score {
    qa_side_score chosen, rejected;
    double logit; /* z = R(chosen) - R(rejected) */
    double pref;  /* -log sigmoid(z); sft, replay: mean of -log pi over the chosen response's tokens; kto: the loss of
                     both responses with a reference point of 0, since a pair alone has none */
    double reg;   /* beta * mean of this pair's squared rewards */
    double loss;  /* pref + reg: (M10) with this pair as the whole batch */
} qa_pair_score;

typedef struct qa_scorer qa_scorer;

/* Room for pairs up to the given lengths (tokens). adapter NULL: the base model alone (its logits are
 * then the Q-values, or 0 with the residual parametrisation). Model and adapter are borrowed. */
QA_MUST_CHECK qa_status qa_scorer_create(qa_scorer **scorer, qa_model *model, const qa_adapter *adapter,
                                         const qa_objective *objective, size_t max_prompt, size_t max_response,
                                         bool full, qa_error *err);
void qa_scorer_free(qa_scorer *scorer); /* NULL is allowed */

/* padded_length: the longest row (prompt + response, tokens) of the pair's micro-batch; used by the
 * published objective only. */
QA_MUST_CHECK qa_status qa_scorer_score(qa_scorer *scorer, const qa_pair *pair, size_t padded_length,
                                        qa_pair_score *score, qa_error *err);

/* The longest row among pairs [first, first + count) of a set. */
size_t qa_padded_length(const qa_pairs *pairs, size_t first, size_t count);

/* ---- evaluation ---- */

/* z is the method's own measure of preference: (M9) of the residual Q-function's rewards under qadapter; under the
 * other methods what the policy has moved from the base model's, or from another reference,
 *     z = b sum_t log pi(a_t|s_t)/pi_ref(a_t|s_t) over the chosen response - the same over the rejected one,
 * the implicit reward of DPO, with b = dpo_beta, ipo_tau, sppo_beta or kto_beta, or 1 for sft and replay; ipo may
 * divide each sum by its length. */
typedef struct qa_evaluation {
    size_t pairs;                            /* scored: pairs, or labelled responses */
    bool labelled;                           /* they are labelled responses (qa_pairs_labelled). Then "chosen" below are
                                                the desirable ones, "rejected" the others; margins are the difference of
                                                the two means, without percentiles; accuracy is the share of couples, a
                                                desirable one and another, of which the first has the larger return; the
                                                loss is kto's alone. What needs both classes is NaN without */
    size_t desirable;                        /* of them */
    double reference_point;                  /* kto: mean of z0 over micro-batches, nats; NaN else */
    double accuracy;                         /* share of pairs with z > 0; ties (equal but for rounding) count half */
    double margin_mean;                      /* of z */
    double margin_percentile[5];             /* 5, 25, 50, 75, 95 */
    double loss, pref_loss, chi2_loss;       /* over the whole set: (M10) and its two terms. Of the other methods
                                                pref_loss is the loss itself: DPO's, KTO's (a pair being two responses);
                                                sft and replay: the mean negative log-likelihood of the chosen
                                                responses' tokens */
    double q_mean, value_mean, reward_mean;  /* over counted transitions */
    double kl_per_token;                     /* KL(pitilde || pi1), mean over counted states of both sides, nats */
    double reward_chosen, reward_rejected;   /* means of R (M9) of the two responses, whose difference is the margin */
    double logps_chosen, logps_rejected;     /* means over the pairs of the sum of log pitilde over counted tokens */
    double nll_pi1_chosen, nll_pi1_rejected; /* nats per counted token */
    double nll_custom_chosen, nll_custom_rejected;    /* the same under pitilde */
    double hardest_pi1_chosen, hardest_custom_chosen; /* the least log-probability of a counted token of a chosen
                                                         response, median over the pairs, nats: far below 0 under
                                                         pitilde, such responses are preferred but not written */
    /* Of qadapter and dpo, else NaN: the share of turned labels that the pairs are likeliest with, if the margins are
     * what they say, and the ends of its 95% interval; and the same with their scale free, and that scale
     * (docs/tasks.md says what this can and cannot tell). */
    double label_noise, label_noise_low, label_noise_high;
    double label_noise_scaled, label_noise_scaled_low, label_noise_scaled_high, margin_scale;
    size_t tokens; /* prompt once and both responses, all pairs */
    double seconds;
} qa_evaluation;

/* micro_batch: pairs that share a padded length (published); 0 = the whole set. progress may be NULL;
 * it gets (user, pairs done, pairs in all) and returns false to stop (QA_ERR_INTERRUPTED). */
QA_MUST_CHECK qa_status qa_evaluate(qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs,
                                    const qa_objective *objective, size_t micro_batch,
                                    bool (*progress)(void *user, size_t done, size_t total), void *user,
                                    qa_evaluation *evaluation, qa_error *err);

/* The same, and of every pair how it is ranked, ranked[pairs]: 1 right, 0.5 a tie, 0 wrong; NULL: not wanted; not
 * set for labelled responses. */
QA_MUST_CHECK qa_status qa_evaluate_ranked(qa_model *model, const qa_adapter *adapter, const qa_pairs *pairs,
                                           const qa_objective *objective, size_t micro_batch, double *ranked,
                                           bool (*progress)(void *user, size_t done, size_t total), void *user,
                                           qa_evaluation *evaluation, qa_error *err);

/* ---- training ---- */

typedef enum qa_schedule { QA_SCHEDULE_LINEAR, QA_SCHEDULE_COSINE, QA_SCHEDULE_CONSTANT } qa_schedule;

const char *qa_schedule_name(qa_schedule schedule);
QA_MUST_CHECK qa_status qa_schedule_by_name(qa_schedule *schedule, const char *name, qa_error *err);

/* What one optimiser step did (or one evaluation found: then is_evaluation is true and the fields of
 * the optimiser are 0). */
/* What a step of ppo or rloo found of the answers that it wrote, and what it learned of them. Means over the answers,
 * or over their tokens; kl and entropy in nats. */
typedef struct qa_rollout_metrics {
    double score; /* as the reward model gives it, per answer */
    double kl;    /* sum over the answer of the penalty's estimate (k1: log pi - log pi1), which the controller sees */
    double kl_exact; /* sum over its states of KL(pi || pi1), whose mean is the same and varies less */
    double kl_coefficient;
    double objective;               /* score less coefficient times kl: what is maximised */
    double entropy;                 /* of a token */
    double policy_loss, value_loss; /* value_loss: NaN of rloo, as the next two */
    double explained_variance, value_clip_fraction;
    double ratio, clip_fraction; /* the largest mean ratio of a mini-batch; the share of clipped tokens or answers */
    double approx_kl;            /* of the policy to the one that wrote the answers, a token */
    double length, ended, empty; /* tokens of an answer; shares: of those with an end, of those that are an end alone */
    size_t skipped;              /* mini-batches, for their ratio */
} qa_rollout_metrics;

typedef struct qa_metrics {
    bool is_evaluation;
    size_t step, total_steps;          /* step 1 is the first */
    double epoch;                      /* epochs finished, with fraction */
    double loss, pref_loss, chi2_loss; /* loss = pref_loss + chi2_loss; see qa_evaluation */
    double margin, accuracy; /* mean of z, share of z > 0 (ties count half), over the batch; NaN at the steps of sft and
                                replay, which do not run the rejected responses; of labelled responses as in
                                qa_evaluation */
    bool has_reference_point;
    double reference_point; /* kto: mean of z0 over micro-batches, nats */
    double q_values_mean, values_mean, reward_mean;
    double kl_per_token;
    double reward_chosen, reward_rejected; /* as in qa_evaluation; rejected: NaN where the margin is */
    double logps_chosen, logps_rejected;
    double grad_norm; /* before clipping */
    double learning_rate;
    size_t tokens; /* of this step */
    double tokens_per_second;
    double seconds; /* since training began (this process) */
    size_t ranks;   /* processes that share the run; 0 or 1: this one alone */
    double
        waited_seconds; /* of this step or evaluation, where several do: by one of them in the mean, for the others */
    const qa_rollout_metrics *rollouts; /* of a step of ppo or rloo, whose loss is above, and all else of pairs 0; NULL:
                                           of another method */
} qa_metrics;

/* The line of metrics.jsonl in place of what *line held, newline included. Keys: step, epoch, loss, pref_loss,
 * chi2_loss, reward_margin, reward_accuracy, reference_point (kto), q_values_mean, values_mean, reward_mean,
 * kl_per_token, reward_chosen, reward_rejected, logps_chosen, logps_rejected, grad_norm, learning_rate, tokens,
 * tokens_per_second, seconds, of several ranks waited_seconds; an evaluation has "eval_" before all but step, epoch,
 * seconds and waited_seconds, and neither grad_norm nor learning_rate. Only tokens_per_second, seconds and
 * waited_seconds depend on anything but data, options and seed. */
QA_MUST_CHECK qa_status qa_metrics_line(qa_text *line, const qa_metrics *metrics, qa_error *err);

/* Where the frozen model's part of a pair is kept from one visit of the pair to the next, so that its layers are run
 * for a pair only once. The run's numbers are the same to the last bit in every mode. */
typedef enum qa_base_cache_mode {
    QA_BASE_CACHE_AUTO, /* memory, if that takes at most a quarter of the machine's, else disk */
    QA_BASE_CACHE_OFF,
    QA_BASE_CACHE_MEMORY,
    QA_BASE_CACHE_DISK /* in a file of out_dir that goes with the process */
} qa_base_cache_mode;

const char *qa_base_cache_mode_name(qa_base_cache_mode mode);
QA_MUST_CHECK qa_status qa_base_cache_mode_by_name(qa_base_cache_mode *mode, const char *name, qa_error *err);

/* What evaluations are compared by, to keep the best one or to end a run. */
typedef enum qa_watched {
    QA_WATCHED_LOSS,
    QA_WATCHED_PREF_LOSS,
    QA_WATCHED_ACCURACY,
    QA_WATCHED_MARGIN,
    QA_WATCHED_REWARD_CHOSEN,
    QA_WATCHED_LOGPS_CHOSEN,
    QA_WATCHED_KL
} qa_watched;

const char *qa_watched_name(qa_watched which);

/* How a run ended. */
typedef struct qa_train_outcome {
    size_t steps, total_steps; /* done, and planned */
    bool ended_early;          /* the evaluations got no better */
    bool compared;             /* evaluations were; else the rest is 0 */
    size_t best_step;
    double best_value; /* of early_stopping_metric */
} qa_train_outcome;

typedef struct qa_train_options {
    const char *out_dir;
    const char *base_model;     /* written into adapter_config.json */
    const char *start_adapter;  /* for the record: the folder that the adapter comes from; NULL: it is a fresh one */
    const char *recipe;         /* "published" or "theory": for the record, objective is what counts; NULL: neither */
    qa_objective objective;     /* and method */
    const qa_pairs *replay;     /* method replay: responses (qa_pairs_options.responses), borrowed; else NULL */
    double replay_ratio;        /* of them per pair of a step: each step's loss is the mean over the tokens of both */
    qa_rollout_options rollout; /* methods ppo and rloo */
    const char *reward_model;   /* the same: the folder of what scores answers */
    size_t reward_output;       /* of it, from 1; 0: the last one */
    /* The same, instead: scores[n] of n answers, where each of sequences[n] is a prompt and, from token starts[i] on,
     * the answer behind it; NULL: the reward model does it. */
    qa_status (*score)(void *user, const qa_ids *sequences, const size_t *starts, size_t n, double *scores,
                       qa_error *err);
    const int32_t *end_ids; /* the same: [n_end_ids] what ends an answer; n_end_ids 0: the model's own */
    size_t n_end_ids;
    uint64_t seed;
    double learning_rate;
    qa_schedule schedule;
    double warmup_ratio; /* of all steps; used when warmup_steps is 0 */
    size_t warmup_steps;
    double epochs; /* used when max_steps is 0 */
    size_t max_steps;
    size_t micro_batch;           /* pairs; 0 = the whole set as one micro-batch */
    size_t gradient_accumulation; /* micro-batches per optimiser step, >= 1 */
    double max_grad_norm;         /* 0: no clipping */
    double weight_decay, adam_beta1, adam_beta2, adam_epsilon;
    bool shuffle;                   /* a new order every epoch, from the seed */
    size_t eval_every;              /* steps; 0: at the end only, if there is evaluation data */
    size_t save_every;              /* steps; 0: at the end only */
    double save_minutes;            /* a checkpoint also when so many minutes have passed since
                                       the last one, which the next checkpoint replaces; 0: none.
                                       May be another when a run is resumed */
    size_t save_total_limit;        /* newest checkpoints kept; 0 = all */
    double val_size;                /* for the record: what of the data is held out for evaluation
                                       (qa_train_val_pairs); 0: nothing */
    size_t early_stopping_patience; /* the run ends after so many evaluations in a row that were
                                       no improvement of more than min_delta on the last that was
                                       one; 0: after its last step. With it and with keep_best
                                       there must be evaluations: eval_every */
    double early_stopping_min_delta;
    qa_watched early_stopping_metric;
    bool keep_best;                                       /* the adapter is that of the best evaluation, of equal ones
                                                             the first; it has a checkpoint, which no limit removes,
                                                             and those of former best ones go */
    qa_train_outcome *outcome;                            /* filled in when the run is over; NULL: nobody asks */
    qa_base_cache_mode base_cache;                        /* may be another when a run is resumed */
    bool recompute;                                       /* less memory, more time: backward runs the layers again
                                                             instead of having kept what it needs of them; may be another
                                                             when a run is resumed (docs/design.md: to which bits) */
    bool overwrite;                                       /* out_dir may hold another run: replace it */
    bool resume;                                          /* continue from out_dir's newest complete checkpoint */
    size_t max_length;                                    /* for the record */
    const char *data_path, *eval_data_path, *replay_path; /* for the record */
    const char *replay_columns;                           /* how replay was read; NULL: under our names */
    /* Called after every step and evaluation; NULL is allowed. Returns false to stop: a checkpoint is
     * written and qa_train returns QA_ERR_INTERRUPTED. */
    bool (*on_metrics)(void *user, const qa_metrics *metrics);
    /* Asked before every pair of a step and after every pair of an evaluation; NULL is allowed. Returns true to stop at
     * once: what is half done is thrown away, a checkpoint of the last whole step is written, and qa_train returns
     * QA_ERR_INTERRUPTED. Resumed, the run does it again, to the same bits. */
    bool (*should_stop)(void *user);
    void *user;
} qa_train_options;

/* Those of the recipe theory; what no recipe sets is the authors' where that makes sense on a laptop, and else chosen
 * (docs/design.md). */
qa_train_options qa_train_defaults(void);

/* Everything that a recipe sets: recipe, objective and warm-up of *options, and *lora whole; either may
 * be NULL. "theory" is for customising a model: the equations as derived, with the rank, targets and warm-up that
 * came nearest to the known optimum (docs/replication.md). "published" is for comparing with the authors' runs. */
QA_MUST_CHECK qa_status qa_train_recipe(const char *recipe, qa_train_options *options, qa_lora_options *lora,
                                        qa_error *err);

/* Sets one option by a name that it has on the command line of `train` ("learning-rate", "lr", '-' and '_' are the
 * same) from its text there: one of qa_train_options, of its objective and method ("alpha-0", "dpo-beta"), of *lora
 * ("lora-r", whose alpha goes with it), or "recipe", which sets what qa_train_recipe does. In an order that matters:
 * "recipe" first, "method", "lora-r", then all others. A name that is none, a value out of its range and an option of
 * another method are QA_ERR_ARGUMENT with the name in front. Texts and paths are borrowed. lora may be NULL: then its
 * options are none. */
QA_MUST_CHECK qa_status qa_train_set(qa_train_options *options, qa_lora_options *lora, const char *name,
                                     const char *value, qa_error *err);

/* How many of so many pairs val_size holds out, for qa_pairs_split: a number of them, or, below 1, a share, at least
 * one. QA_ERR_ARGUMENT where it is neither, or none would be left. */
QA_MUST_CHECK qa_status qa_train_val_pairs(double val_size, size_t pairs, size_t *held_out, qa_error *err);

/* Bytes of workspace that training on any pairs up to these lengths takes (one pair at a time), the adapter's
 * gradients and moments included, the model's weights not. step_items: pairs and replay examples of an optimiser step,
 * whose sum needs log2 of them gradients. recompute: as in qa_train_options. */
QA_MUST_CHECK qa_status qa_train_memory(const qa_model *model, const qa_lora_options *lora, size_t max_prompt,
                                        size_t max_response, size_t step_items, bool recompute, size_t *bytes,
                                        qa_error *err);

/* The same for these very pairs (evaluation and replay may be NULL): what qa_train allocates, and often much less,
 * because the longest prompt and the longest responses seldom meet in one pair. */
QA_MUST_CHECK qa_status qa_train_memory_for(const qa_model *model, const qa_lora_options *lora, const qa_pairs *train,
                                            const qa_pairs *evaluation, const qa_pairs *replay, size_t step_items,
                                            bool recompute, size_t *bytes, qa_error *err);

/* What dpo's reference adapter takes beside that. */
QA_MUST_CHECK qa_status qa_train_reference_memory(const qa_model *model, const qa_adapter *reference,
                                                  const qa_pairs *train, const qa_pairs *evaluation, size_t *bytes,
                                                  qa_error *err);

/* What options->base_cache comes to for these pairs: *mode is off, memory or disk, and what it takes beside
 * qa_train_memory_for. Only sets that the run visits more than once are kept; when there is none, the mode is off. */
QA_MUST_CHECK qa_status qa_train_base_cache(const qa_model *model, const qa_pairs *train, const qa_pairs *evaluation,
                                            const qa_train_options *options, qa_base_cache_mode *mode,
                                            size_t *memory_bytes, size_t *disk_bytes, qa_error *err);

/* Trains the adapter in place by options->objective.method, from what it is; evaluation may be NULL. With
 * QA_REFERENCE_ADAPTER the reference is the adapter's (qa_adapter_set_reference), or else a copy of it as it is handed
 * over, which it then has. Writes into out_dir:
 * adapter_config.json, adapter_model.safetensors, training_config.json, metrics.jsonl, checkpoint-STEP/. A NaN stops
 * the run, names pair and tensor, and leaves the last checkpoint. */
QA_MUST_CHECK qa_status qa_train(qa_model *model, qa_adapter *adapter, const qa_pairs *train,
                                 const qa_pairs *evaluation, const qa_train_options *options, qa_error *err);

/* Reads the objective that an adapter was trained with from dir/training_config.json. *found is false, and nothing else
 * changes, when there is no such file (an adapter from elsewhere); a dir that is no folder is QA_ERR_IO. A method that
 * trains the policy itself needs no more than `method`, dpo `dpo_beta` too. Any other file must hold alpha_tilde,
 * alpha_0, gamma and beta; one with only those, as the authors write it, is read as objective published,
 * parametrisation logits. */
QA_MUST_CHECK qa_status qa_training_config_load(const char *dir, bool *found, qa_objective *objective, qa_error *err);

/* Gives the adapter the reference that it was trained with, from dir/reference, where the record names one. *found is
 * false where it does not. One that is not there, or not the one that the record means, is an error that names it. */
QA_MUST_CHECK qa_status qa_training_config_reference(const char *dir, qa_adapter *adapter, const qa_model *model,
                                                     bool *found, qa_error *err);

/* The pairs per micro-batch of that run, 0 = the whole set: what its evaluations shared a padded length over.
 * *micro_batch stays as it is when the file is not there or does not say. */
QA_MUST_CHECK qa_status qa_training_config_micro_batch(const char *dir, size_t *micro_batch, qa_error *err);

/* What of an adapter's training data was held out, from the same file. */
typedef struct qa_held_out_record {
    double val_size; /* 0: nothing, or it does not say */
    uint64_t seed;
    uint64_t fingerprint; /* qa_pairs_fingerprint of it; 0: it does not say */
} qa_held_out_record;
QA_MUST_CHECK qa_status qa_training_config_held_out(const char *dir, qa_held_out_record *record, qa_error *err);

/* The base model that an adapter was trained on, and the adapter's own numbers, from the same file. */
typedef struct qa_base_record {
    char fingerprint[72]; /* qa_model_fingerprint; "": it does not say, or there is no such file */
    char name[256];       /* its folder or name then, perhaps cut short; "": it does not say */
    char tokenizer[19];   /* a word of the bytes of its tokenizer's files; "": it does not say, or had none */
    bool by_a_run;        /* the file was written by a run of this program, of whatever version */
    size_t lora_r;        /* these three stand in adapter_config.json, too; lora_r 0: it does not say */
    double lora_alpha;
    bool use_rslora;
} qa_base_record;
QA_MUST_CHECK qa_status qa_training_config_base(const char *dir, qa_base_record *record, qa_error *err);

/* That word for the tokenizer of a model's folder now; "" without one. */
QA_MUST_CHECK qa_status qa_tokenizer_files_hex(char hex[19], const char *dir, qa_error *err);

/* How the data of an adapter's training was written, from the same file; what it does not say stays the default. */
typedef struct qa_data_record {
    qa_chat_template chat;        /* that was applied; QA_CHAT_NONE: none was, or it does not say; QA_CHAT_UNKNOWN: one
                                     that has no name, whose text stands there */
    qa_response_end response_end; /* QA_RESPONSE_END_TOKEN where it does not say */
    bool published_data;          /* the data had the authors' quirks */
} qa_data_record;
QA_MUST_CHECK qa_status qa_training_config_data(const char *dir, qa_data_record *record, qa_error *err);

QA_END_DECLS

#endif
