/* W += s B A, map by map: see merge.h. */
#include "model/merge.h"

#include "arch/tensors.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/try.h"
#include "model/digest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One map's weights, and its branch. */
typedef struct merged_map {
    qa_real *weight;      /* [out x in] */
    const qa_real *a, *b; /* [rank x in], [out x rank] */
    const qa_branch_place *at;
    double *sums; /* [threads x in] */
} merged_map;

enum { MERGED_ROWS = 8 }; /* rows of W of one task */

static void merge_rows(void *context, size_t task, size_t worker) {
    const merged_map *map = context;
    const size_t in = map->at->in, rank = map->at->rank, first = task * MERGED_ROWS;
    const size_t end = first + MERGED_ROWS < map->at->out ? first + MERGED_ROWS : map->at->out;
    double *sum = map->sums + worker * in;
    for (size_t o = first; o < end; o++) {
        qa_real *row = map->weight + o * in;
        memset(sum, 0, in * sizeof *sum);
        for (size_t r = 0; r < rank; r++) {
            const double b = (double)map->b[o * rank + r];
            const qa_real *a = map->a + r * in;
            for (size_t i = 0; i < in; i++) {
                sum[i] += b * (double)a[i];
            }
        }
        for (size_t i = 0; i < in; i++) {
            row[i] = (qa_real)((double)row[i] + map->at->scale * sum[i]);
        }
    }
}

/* The adapter's shape is the model's, and no map that it changes is in BF16. */
static qa_status check_merge(const qa_model *model, const qa_adapter *adapter, size_t *widest, qa_error *err) {
    char path[QA_TENSOR_NAME_BYTES];
    QA_FAIL_IF(adapter->family != model->config.family || adapter->layers != model->config.num_hidden_layers, err,
               QA_ERR_MISMATCH, "the adapter is of another model: %zu layers, %s has %zu", adapter->layers, model->dir,
               model->config.num_hidden_layers);
    for (size_t i = 0; i < adapter->layers * QA_TARGETS; i++) {
        const qa_branch_place *place = &adapter->places[i];
        const qa_linear *linear = &model->layers[i / QA_TARGETS].linear[i % QA_TARGETS];
        if (!place->present) {
            continue;
        }
        qa_module_path(path, adapter->family, i / QA_TARGETS, (qa_target)(i % QA_TARGETS));
        QA_FAIL_IF(place->in != linear->in || place->out != linear->out, err, QA_ERR_MISMATCH,
                   "the adapter is of another model: its branch of %s is %zu x %zu, the map %zu x %zu", path,
                   place->out, place->in, linear->out, linear->in);
        QA_FAIL_IF(linear->weight.real == NULL, err, QA_ERR_UNSUPPORTED,
                   "%s lies in memory in BF16, whose 8 bits would round away most of what the adapter adds: load the "
                   "model in the build's precision to merge",
                   path);
        *widest = place->in > *widest ? place->in : *widest;
    }
    return QA_OK;
}

static qa_status check_merged(const merged_map *map, const char *path, qa_error *err) {
    for (size_t i = 0; i < map->at->out * map->at->in; i++) {
        QA_FAIL_IF(!isfinite(map->weight[i]), err, QA_ERR_NAN, "%s: with the adapter, element %zu is too large", path,
                   i);
    }
    return QA_OK;
}

qa_status qa_model_merge(qa_model *model, const qa_adapter *adapter, qa_error *err) {
    qa_pool *pool = model->context->pool;
    merged_map map = {0};
    char path[QA_TENSOR_NAME_BYTES];
    size_t widest = 0, reals = 0;
    qa_status status = QA_OK;
    QA_TRY(check_merge(model, adapter, &widest, err));
    QA_FAIL_IF(!qa_mul_size(widest, qa_pool_threads(pool), &reals), err, QA_ERR_LIMIT, "matrices %zu wide", widest);
    QA_TRY(QA_NEW(map.sums, reals, err, "the sums of a merge"));
    model->fingerprint->known = false;
    for (size_t i = 0; i < adapter->layers * QA_TARGETS; i++) {
        const qa_branch_place *place = &adapter->places[i];
        if (place->present) {
            const qa_weight *weight = &model->layers[i / QA_TARGETS].linear[i % QA_TARGETS].weight;
            map.weight = (qa_real *)(uintptr_t)weight->real; /* in the model's arena, which is its own */
            map.a = adapter->parameters + place->a;
            map.b = adapter->parameters + place->b;
            map.at = place;
            qa_pool_run(pool, (place->out + MERGED_ROWS - 1) / MERGED_ROWS, merge_rows, &map);
            qa_module_path(path, adapter->family, i / QA_TARGETS, (qa_target)(i % QA_TARGETS));
            QA_GOTO(done, check_merged(&map, path, err));
        }
    }
done:
    free(map.sums);
    return status;
}
