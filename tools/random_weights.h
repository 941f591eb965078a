/* Random numbers for the tensors of a model as a safetensors file.
 *
 * Every block of BLOCK_ELEMENTS numbers has a random stream of its own, named by (seed, tensor, block): the weights
 * depend on the shape and the seed alone, not on threads or shards, and the dtype only rounds them. Tensors are made
 * and written block by block, so the memory needed does not grow with the model. */
#ifndef RANDOM_WEIGHTS_H
#define RANDOM_WEIGHTS_H

#include "base/buffer.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/try.h"
#include "io/dtype.h"
#include "io/file.h"
#include "io/json_writer.h"

#include "family_tensors.h"

#include <math.h>

enum { BLOCK_ELEMENTS = 16384, BLOCKS_AT_ONCE = 64 };

/* A run of blocks of one weight, made by the pool. */
typedef struct batch {
    const family_tensor *of;
    uint64_t seed;
    double std;
    qa_dtype dtype;
    size_t first_block;
    double *scratch;      /* [threads x BLOCK_ELEMENTS] */
    unsigned char *bytes; /* [BLOCKS_AT_ONCE x BLOCK_ELEMENTS elements] */
} batch;

static size_t block_elements(const family_tensor *w, size_t block) {
    const size_t left = w->count - block * BLOCK_ELEMENTS;
    return left < BLOCK_ELEMENTS ? left : BLOCK_ELEMENTS;
}

static void make_block(void *context, size_t task, size_t worker) {
    const batch *b = context;
    const size_t block = b->first_block + task;
    const size_t n = block_elements(b->of, block);
    double *x = b->scratch + worker * BLOCK_ELEMENTS;
    qa_rng rng = qa_rng_seed(b->seed, qa_hash(b->of->number, block));
    for (size_t i = 0; i < n; i += 2) { /* Box-Muller, both of its numbers */
        const double radius = b->std * sqrt(-2.0 * log(1.0 - qa_rng_uniform(&rng)));
        const double angle = 2.0 * 3.14159265358979323846 * qa_rng_uniform(&rng);
        x[i] = b->of->mean + radius * cos(angle);
        x[i + 1] = b->of->mean + radius * sin(angle); /* one too many when n is odd: the scratch has room */
    }
    qa_encode_double(b->dtype, x, n, b->bytes + task * BLOCK_ELEMENTS * qa_dtype_bytes(b->dtype));
}

static qa_status write_weight(qa_atomic_file *file, const family_tensor *w, batch *b, qa_pool *pool, qa_error *err) {
    const size_t blocks = (w->count + BLOCK_ELEMENTS - 1) / BLOCK_ELEMENTS;
    b->of = w;
    for (b->first_block = 0; b->first_block < blocks; b->first_block += BLOCKS_AT_ONCE) {
        const size_t left = blocks - b->first_block;
        const size_t now = left < BLOCKS_AT_ONCE ? left : BLOCKS_AT_ONCE;
        const size_t last = block_elements(w, b->first_block + now - 1);
        qa_pool_run(pool, now, make_block, b);
        QA_TRY(qa_atomic_write(file, b->bytes, ((now - 1) * BLOCK_ELEMENTS + last) * qa_dtype_bytes(b->dtype), err));
    }
    return QA_OK;
}

static qa_status append_header(qa_json_writer *header, const family_tensor *weights, size_t n, qa_dtype dtype,
                               qa_error *err) {
    size_t begin = 0;
    qa_json_open_object(header, NULL, QA_JSON_TIGHT);
    qa_json_put_raw(header, "__metadata__", "{\"format\":\"pt\"}");
    for (size_t i = 0; i < n; i++) {
        const size_t end = begin + weights[i].count * qa_dtype_bytes(dtype);
        qa_json_open_object(header, weights[i].name, QA_JSON_TIGHT);
        qa_json_put_string(header, "dtype", qa_dtype_name(dtype));
        qa_json_open_array(header, "shape", QA_JSON_TIGHT);
        qa_json_put_size(header, NULL, weights[i].rows);
        if (weights[i].columns > 0) {
            qa_json_put_size(header, NULL, weights[i].columns);
        }
        qa_json_close(header);
        qa_json_open_array(header, "data_offsets", QA_JSON_TIGHT);
        qa_json_put_size(header, NULL, begin);
        qa_json_put_size(header, NULL, end);
        qa_json_close(header);
        qa_json_close(header);
        begin = end;
    }
    qa_json_close(header);
    QA_TRY(header->status);
    while (header->text.n % 8 != 0) {
        QA_TRY(qa_text_append_z(&header->text, " ", err));
    }
    return QA_OK;
}

/* One safetensors file with weights[n]. */
static qa_status write_file(const char *path, const family_tensor *weights, size_t n, batch *b, qa_pool *pool,
                            qa_error *err) {
    qa_json_writer header = {.err = err};
    qa_atomic_file *file = NULL;
    unsigned char length[8];
    qa_status status = QA_OK;
    QA_GOTO(done, append_header(&header, weights, n, b->dtype, err));
    for (size_t i = 0; i < sizeof length; i++) {
        length[i] = (unsigned char)((uint64_t)header.text.n >> (8 * i) & 0xffu);
    }
    QA_GOTO(done, qa_atomic_open(&file, path, err));
    QA_GOTO(done, qa_atomic_write(file, length, sizeof length, err));
    QA_GOTO(done, qa_atomic_write(file, header.text.data, header.text.n, err));
    for (size_t i = 0; i < n; i++) {
        QA_GOTO(done, write_weight(file, &weights[i], b, pool, err));
    }
    status = qa_atomic_commit(file, err);
    file = NULL;
done:
    qa_atomic_abort(file);
    qa_text_free(&header.text);
    return status;
}

#endif
