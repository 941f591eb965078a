/* What of the base stream is worth keeping, how much that is, and where it goes (base_cache.h). */
#include "train/base_plan.h"

#include "base/checked.h"
#include "base/try.h"
#include "cluster/cluster.h"
#include "methods/method.h"
#include "model/weights.h"

#include <stdint.h>
#include <unistd.h>

enum { AUTO_SHARE = 4 /* auto: at most 1/4 of the machine's memory */ };

size_t qa_machine_memory(void) {
#ifdef _SC_PHYS_PAGES
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t bytes = 0;
    return pages > 0 && page > 0 && qa_mul_size((size_t)pages, (size_t)page, &bytes) ? bytes : 0;
#else
    return 0;
#endif
}

size_t qa_base_rows(const qa_pair *pair, const qa_objective *objective, bool one_sided) {
    const size_t label_start = qa_pair_side(pair, true, objective).label_start;
    const size_t first = label_start == 0 || label_start > pair->prompt_len ? 0 : label_start - 1;
    return pair->prompt_len - first + pair->chosen_len + (one_sided ? 0 : pair->rejected_len);
}

/* Which sets the run visits more than once. */
static void choose_sets(qa_base_plan *base, const qa_plan *plan, const qa_pairs *train, const qa_pairs *evaluation,
                        const qa_train_options *options) {
    size_t replayed = 0, count = 0;
    if (options->replay != NULL) {
        qa_replay_range(plan, plan->total_steps, options->replay_ratio, &replayed, &count);
    }
    const bool replay = options->replay != NULL && replayed > qa_pairs_count(options->replay);
    const bool evaluations = options->eval_every > 0 && options->eval_every < plan->total_steps;
    base->sets[QA_KEPT_TRAIN] = plan->total_steps > plan->steps_per_epoch ? train : NULL;
    base->sets[QA_KEPT_EVALUATION] = evaluations ? evaluation : NULL;
    base->sets[QA_KEPT_REPLAY] = replay ? options->replay : NULL;
    base->one_sided[QA_KEPT_TRAIN] = qa_method_of(&options->objective)->one_sided;
    base->one_sided[QA_KEPT_REPLAY] = true;
}

static qa_status count_rows(qa_base_plan *base, qa_error *err) {
    for (qa_kept_set set = QA_KEPT_TRAIN; set < QA_KEPT_SETS; set++) {
        const qa_pairs *pairs = base->sets[set];
        for (size_t i = 0; pairs != NULL && i < qa_pairs_count(pairs); i++) {
            const size_t rows = qa_base_rows(qa_pairs_at(pairs, i), base->objective, base->one_sided[set]);
            QA_FAIL_IF(!qa_add_size(base->rows, rows, &base->rows), err, QA_ERR_LIMIT,
                       "the base cache's rows do not fit the address space");
            base->longest = rows > base->longest ? rows : base->longest;
            base->entries++;
        }
    }
    return QA_OK;
}

void qa_base_arrays_take(qa_base_arrays *kept, qa_arena *arena, const qa_base_plan *base) {
    const bool on_disk = base->mode == QA_BASE_CACHE_DISK;
    size_t reals = 0;
    arena->overflow |= !qa_mul_size(on_disk ? base->longest : base->rows, base->width, &reals);
    kept->begin = QA_TAKE(arena, size_t, base->entries + 1);
    kept->sum = on_disk ? QA_TAKE(arena, uint64_t, base->entries) : NULL;
    kept->present = QA_TAKE(arena, bool, base->entries);
    kept->memory = QA_TAKE(arena, qa_real, reals);
    if (base->objective->reference == QA_REFERENCE_ADAPTER) {
        kept->reference = QA_TAKE(arena, double, base->rows);
        kept->has_reference = QA_TAKE(arena, bool, base->entries);
    }
}

qa_status qa_base_plan_bytes(const qa_base_plan *base, size_t *memory, size_t *disk, qa_error *err) {
    qa_base_arrays measured = {0};
    qa_arena arena = qa_arena_measure();
    *memory = *disk = 0;
    if (base->mode == QA_BASE_CACHE_OFF) {
        return QA_OK;
    }
    qa_base_arrays_take(&measured, &arena, base);
    QA_TRY(qa_arena_bytes(&arena, memory, err));
    if (base->mode != QA_BASE_CACHE_DISK) {
        return QA_OK;
    }
    return qa_mul_size(base->rows, base->width, disk) && qa_mul_size(*disk, sizeof(qa_real), disk) &&
                   *disk <= (size_t)INT64_MAX
               ? QA_OK
               : qa_fail(err, QA_ERR_LIMIT, "the base cache's file would be too large for any disk");
}

qa_status qa_base_plan_make(qa_base_plan *base, const qa_plan *plan, size_t width, const qa_pairs *train,
                            const qa_pairs *evaluation, const qa_train_options *options, size_t machine_bytes,
                            qa_error *err) {
    *base = (qa_base_plan){.mode = options->base_cache, .objective = &options->objective, .width = width};
    choose_sets(base, plan, train, evaluation, options);
    QA_TRY(count_rows(base, err));
    if (base->entries == 0) {
        base->mode = QA_BASE_CACHE_OFF;
    } else if (base->mode == QA_BASE_CACHE_AUTO) {
        base->mode = QA_BASE_CACHE_MEMORY;
        QA_TRY(qa_base_plan_bytes(base, &base->memory_bytes, &base->disk_bytes, err));
        base->mode = base->memory_bytes <= machine_bytes / AUTO_SHARE ? QA_BASE_CACHE_MEMORY : QA_BASE_CACHE_DISK;
    }
    return qa_base_plan_bytes(base, &base->memory_bytes, &base->disk_bytes, err);
}

qa_status qa_train_base_cache(const qa_model *model, const qa_pairs *train, const qa_pairs *evaluation,
                              const qa_train_options *options, qa_base_cache_mode *mode, size_t *memory_bytes,
                              size_t *disk_bytes, qa_error *err) {
    qa_plan plan;
    qa_base_plan base;
    QA_TRY(qa_plan_make(&plan, qa_pairs_count(train), options, err));
    QA_TRY(qa_base_plan_make(&base, &plan, qa_model_get_info(model)->hidden_size, train, evaluation, options,
                             qa_machine_memory() / qa_cluster_neighbours(model->context->cluster), err));
    *mode = base.mode;
    *memory_bytes = base.memory_bytes;
    *disk_bytes = base.disk_bytes;
    return QA_OK;
}
