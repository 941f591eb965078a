/* See value_head.h. */
#include "train/value_head.h"

#include "base/rng.h"
#include "base/try.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "train/run_folder.h"

#include <math.h>
#include <stdlib.h>

static const char weight_name[] = "v_head.summary.weight", bias_name[] = "v_head.summary.bias";

void qa_value_head_init(qa_real *head, size_t d, uint64_t seed) {
    qa_rng rng = qa_rng_seed(seed, 0);
    const double bound = 1.0 / sqrt((double)d);
    for (size_t j = 0; j < qa_value_head_count(d); j++) {
        head[j] = (qa_real)((2.0 * qa_rng_uniform(&rng) - 1.0) * bound);
    }
}

/* ---- the file ---- */

static qa_status write_head(const qa_real *head, size_t d, const char *path, qa_error *err) {
    qa_safetensors_writer *writer = NULL;
    const size_t weight[2] = {1, d}, bias[1] = {1};
    qa_status status = QA_OK;
    QA_TRY(qa_safetensors_writer_create(&writer, err));
    QA_GOTO(done, qa_safetensors_writer_add_real(writer, weight_name, QA_DTYPE_F32, 2, weight, head, err));
    QA_GOTO(done, qa_safetensors_writer_add_real(writer, bias_name, QA_DTYPE_F32, 1, bias, head + d, err));
    QA_GOTO(done, qa_safetensors_writer_save(writer, path, err));
done:
    qa_safetensors_writer_free(writer);
    return status;
}

qa_status qa_value_head_save(const qa_real *head, size_t d, const char *dir, qa_error *err) {
    char *path = NULL;
    QA_TRY(qa_join_path(&path, dir, QA_VALUE_HEAD_FILE, err));
    const qa_status status = write_head(head, d, path, err);
    free(path);
    return status;
}

static qa_status read_head_part(const qa_safetensors *file, const char *name, size_t n_dims, const size_t *shape,
                                qa_real *out, qa_error *err) {
    const qa_tensor *tensor = qa_safetensors_find(file, name);
    QA_FAIL_IF(tensor == NULL, err, QA_ERR_FORMAT, "%s: no tensor \"%s\"", qa_safetensors_path(file), name);
    QA_TRY(qa_tensor_check_shape(file, tensor, n_dims, shape, err));
    return qa_tensor_read_real(file, tensor, true, out, err);
}

static qa_status read_head(qa_real *head, size_t d, const char *path, qa_error *err) {
    qa_safetensors *file = NULL;
    qa_status status = QA_OK;
    QA_TRY(qa_safetensors_open(&file, path, err));
    QA_GOTO(done, read_head_part(file, weight_name, 2, (const size_t[2]){1, d}, head, err));
    QA_GOTO(done, read_head_part(file, bias_name, 1, (const size_t[1]){1}, head + d, err));
done:
    qa_safetensors_close(file);
    return status;
}

qa_status qa_value_head_load(qa_real *head, size_t d, const char *dir, bool *found, qa_error *err) {
    char *path = NULL;
    QA_TRY(qa_join_path(&path, dir, QA_VALUE_HEAD_FILE, err));
    *found = qa_path_exists(path);
    const qa_status status = *found ? read_head(head, d, path, err) : QA_OK;
    free(path);
    return status;
}

/* ---- arithmetic ---- */

void qa_value_head_forward(double *value, const qa_real *head, const qa_real *h, size_t n, size_t d) {
    for (size_t i = 0; i < n; i++) {
        double sum = (double)head[d];
        for (size_t j = 0; j < d; j++) {
            sum += (double)head[j] * (double)h[i * d + j];
        }
        value[i] = sum;
    }
}

/* What the element is multiplied with. */
static qa_real mask(double p, uint64_t key, size_t element) {
    const double uniform = (double)(qa_hash(key, element) >> 11) * 0x1p-53;
    return uniform < p ? 0 : (qa_real)(1.0 / (1.0 - p));
}

void qa_value_head_dropout(qa_real *h, size_t n, size_t d, double p, uint64_t key) {
    for (size_t i = 0; p > 0.0 && i < n * d; i++) {
        h[i] *= mask(p, key, i);
    }
}

void qa_value_head_backward(qa_real *gradient, qa_real *dh, const double *g_value, const qa_real *head,
                            const qa_real *h, size_t n, size_t d, double p, uint64_t key) {
    for (size_t i = 0; i < n; i++) {
        const qa_real g = (qa_real)g_value[i];
        for (size_t j = 0; j < d; j++) {
            gradient[j] += g * h[i * d + j];
            dh[i * d + j] += g * head[j] * (p > 0.0 ? mask(p, key, i * d + j) : 1);
        }
        gradient[d] += g;
    }
}
