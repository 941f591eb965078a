/* The rows (base/option.h) of options that runs of all kinds have, for an options struct T; what differs from kind to
 * kind is an argument. */
#ifndef QA_TRAIN_OPTIMISER_ROWS_H
#define QA_TRAIN_OPTIMISER_ROWS_H

#include "base/option.h"

#define QA_OPTIMISED .group = QA_GROUP_OPTIMISER, .record = QA_RECORD_COMPARED
#define QA_STEPS(how) .group = QA_GROUP_RUN, .record = QA_RECORD_##how

#define QA_EPOCH_ROWS(T, many)                                                                                         \
    {"epochs",      QA_NUMBER(T, epochs),      QA_OPTIMISED,       .aliases = "num-train-epochs num-epochs",           \
     .letter = 'e', .range = QA_RANGE_ABOVE_0, .standard = (many), .help = "passes over the data"},                    \
    {                                                                                                                  \
        "max-steps", QA_SIZE(T, max_steps), QA_OPTIMISED, .aliases = "steps", .range = QA_RANGE_FROM_0,                \
                                                          .note = "as --epochs says",                                  \
                                                          .help = "optimiser steps, instead of --epochs"               \
    }

#define QA_RATE_ROW(T, rate)                                                                                           \
    {                                                                                                                  \
        "learning-rate", QA_NUMBER(T, learning_rate), QA_OPTIMISED,                                                    \
            .aliases = "lr", .range = QA_RANGE_ABOVE_0, .standard = (rate), .help = "of AdamW, at its highest"         \
    }

extern const qa_option_other qa_schedule_type;

#define QA_SCHEDULE_ROWS(T, kind)                                                                                      \
    {"lr-scheduler-type",                                                                                              \
     QA_OTHER(T, schedule, qa_schedule_type),                                                                          \
     QA_OPTIMISED,                                                                                                     \
     .aliases = "schedule lr-schedule lr-scheduler",                                                                   \
     .placeholder = "linear|cosine|constant|constant_with_warmup",                                                     \
     .standard = (kind),                                                                                               \
     .help = "how the learning rate falls after the warm-up; constant warms up, too, which in transformers only "      \
             "constant_with_warmup does"},                                                                             \
    {                                                                                                                  \
        "warmup-steps", QA_SIZE(T, warmup_steps), QA_OPTIMISED, .range = QA_RANGE_FROM_0,                              \
                                                                .help = "steps over which the learning rate rises"     \
    }

#define QA_WARMUP_RATIO_ROW(T, share, of_published)                                                                    \
    {                                                                                                                  \
        "warmup-ratio", QA_NUMBER(T, warmup_ratio), QA_OPTIMISED,                                                      \
            .placeholder = "P", .range = QA_RANGE_0_TO_1, .standard = (share), .published = (of_published),            \
            .help = "the same as a share of all steps, used when --warmup-steps is 0"                                  \
    }

#define QA_ADAMW_ROWS(T, decay, beta2)                                                                                 \
    {"max-grad-norm",                                                                                                  \
     QA_NUMBER(T, max_grad_norm),                                                                                      \
     QA_OPTIMISED,                                                                                                     \
     .aliases = "clip gradient-clipping",                                                                              \
     .range = QA_RANGE_FROM_0,                                                                                         \
     .standard = "1",                                                                                                  \
     .help = "a longer gradient is scaled to this norm; 0 never"},                                                     \
        {"weight-decay",           QA_NUMBER(T, weight_decay), QA_OPTIMISED,                                           \
         .range = QA_RANGE_FROM_0, .standard = (decay),        .help = "AdamW's decoupled decay"},                     \
        {"adam-beta1",      QA_NUMBER(T, adam_beta1),           QA_OPTIMISED, .range = QA_RANGE_0_TO_BELOW_1,          \
         .standard = "0.9", .help = "decay of the first moment"},                                                      \
        {"adam-beta2",        QA_NUMBER(T, adam_beta2),                                                                \
         QA_OPTIMISED,        .range = QA_RANGE_0_TO_BELOW_1,                                                          \
         .standard = (beta2), .help = "decay of the second moment"},                                                   \
    {                                                                                                                  \
        "adam-epsilon", QA_NUMBER(T, adam_epsilon), QA_OPTIMISED, .aliases = "adam-eps", .range = QA_RANGE_ABOVE_0,    \
                                                                  .standard = "1e-08",                                 \
                                                                  .help = "added to the root of the second moment"     \
    }

#define QA_RUN_ROWS(T, kept)                                                                                           \
    {"overwrite", QA_FLAG(T, overwrite), QA_STEPS(NONE), .aliases = "overwrite-output-dir",                            \
     .help = "replace the run that the folder holds"},                                                                 \
        {"resume", QA_FLAG(T, resume), QA_STEPS(NONE), .aliases = "resume-from-checkpoint",                            \
         .help = "continue the folder's run from its newest checkpoint; give the same options again"},                 \
        {"eval-every",                                                                                                 \
         QA_SIZE(T, eval_every),                                                                                       \
         QA_STEPS(KEPT),                                                                                               \
         .aliases = "eval-steps",                                                                                      \
         .range = QA_RANGE_FROM_0,                                                                                     \
         .note = "at the end only",                                                                                    \
         .help = "evaluate every N steps"},                                                                            \
        {"save-every",                                                                                                 \
         QA_SIZE(T, save_every),                                                                                       \
         QA_STEPS(KEPT),                                                                                               \
         .aliases = "save-steps",                                                                                      \
         .range = QA_RANGE_FROM_0,                                                                                     \
         .note = "at the end only",                                                                                    \
         .help = "write a checkpoint every N steps"},                                                                  \
        {"save-minutes",                                                                                               \
         QA_NUMBER(T, save_minutes),                                                                                   \
         QA_STEPS(NONE),                                                                                               \
         .placeholder = "M",                                                                                           \
         .range = QA_RANGE_FROM_0,                                                                                     \
         .standard = "15",                                                                                             \
         .help =                                                                                                       \
             "write a checkpoint also when the last one is M minutes old; the next one takes its place; 0: never"},    \
    {                                                                                                                  \
        "save-total-limit", QA_SIZE(T, save_total_limit), QA_STEPS(KEPT),                                              \
            .range = QA_RANGE_FROM_0, .standard = (kept), .help = "newest checkpoints that are kept; 0 keeps all"      \
    }

#define QA_RECOMPUTE_ROW(T)                                                                                            \
    {                                                                                                                  \
        "recompute", QA_FLAG(T, recompute), QA_STEPS(KEPT),                                                            \
            .aliases = "gradient-checkpointing activation-checkpointing",                                              \
            .help = "less memory, more time: keep only what enters a layer, and run the layer again when its "         \
                    "gradients are "                                                                                   \
                    "due; what is trained is the same, to the bit or but for rounding (docs/design.md)"                \
    }

#endif
