/* Matrix products. A product is cut along its longer output side into one strip per worker (or a few),
 * and every worker calls the single-threaded BLAS for its strip: the strips are disjoint, and the pool
 * stays the only scheduler. Of several parts every one is cut as if it were alone, so BLAS gets the very
 * calls that it would get for that part: it may choose another kernel, and another order of additions,
 * for another number of rows, and for a row at another place. */
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS is not in POSIX 2008 */
#include "nn/blas.h"

#include "base/memory.h"

#include <cblas.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

void qa_blas_init(void) { openblas_set_num_threads(1); }

/* ---- room for OpenBLAS' buffers ---- */

static const size_t BUFFER_BYTES = (size_t)1 << 27; /* of one thread that multiplies (x86-64; elsewhere less) */
enum { WARM_SIDE = 192, MOST_YIELDS = 100000 };

/* Whether the buffers could be mapped; they are not kept. */
static bool have_room(size_t threads, void **mapped) {
    size_t n = 0;
    while (n < threads && (mapped[n] = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                                            0)) != MAP_FAILED) {
        n++;
    }
    for (size_t i = 0; i < n; i++) {
        (void)munmap(mapped[i], BUFFER_BYTES);
    }
    return n == threads;
}

static bool memory_is_limited(void) {
    struct rlimit addresses, data;
    return (getrlimit(RLIMIT_AS, &addresses) == 0 && addresses.rlim_cur != RLIM_INFINITY) ||
           (getrlimit(RLIMIT_DATA, &data) == 0 && data.rlim_cur != RLIM_INFINITY);
}

typedef struct warming {
    qa_real *a, *c; /* [WARM_SIDE x WARM_SIDE] read by all; as much for each worker */
    atomic_size_t arrived;
    size_t workers;
} warming;

/* A product in every worker at once, as far as that can be had. */
static void warm_worker(void *context, size_t task, size_t worker) {
    (void)worker;
    warming *w = context;
    atomic_fetch_add(&w->arrived, 1);
    for (int i = 0; i < MOST_YIELDS && atomic_load(&w->arrived) < w->workers; i++) {
        (void)sched_yield();
    }
    qa_gemm(NULL, QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, WARM_SIDE, WARM_SIDE, WARM_SIDE, 1, w->a, WARM_SIDE, w->a,
            WARM_SIDE, 0, w->c + task * WARM_SIDE * WARM_SIDE, WARM_SIDE);
}

qa_status qa_blas_take_room(qa_pool *pool, qa_error *err) {
    static atomic_size_t most; /* workers that have room */
    const size_t threads = qa_pool_threads(pool);
    if (atomic_load(&most) >= threads) {
        return QA_OK;
    }
    void **mapped = qa_alloc_array(threads, sizeof *mapped);
    warming w = {.a = qa_alloc_array((threads + 1) * WARM_SIDE, WARM_SIDE * sizeof *w.a), .workers = threads};
    if (mapped == NULL || w.a == NULL || !have_room(threads, mapped)) {
        free(mapped);
        free(w.a);
        return qa_fail(err, QA_ERR_MEMORY,
                       "matrix products take %zu MiB of address space in each of %zu threads, and this process has not "
                       "so much left: raise its limit (ulimit -v, ulimit -d), or use fewer threads",
                       BUFFER_BYTES >> 20, threads);
    }
    if (memory_is_limited()) {
        memset(w.a, 0, WARM_SIDE * WARM_SIDE * sizeof *w.a);
        w.c = w.a + WARM_SIDE * WARM_SIDE;
        qa_pool_run(pool, threads, warm_worker, &w);
    }
    free(mapped);
    free(w.a);
    atomic_store(&most, threads);
    return QA_OK;
}

const char *qa_blas_description(void) { return openblas_get_config(); }

typedef struct gemm_job {
    qa_transpose trans_a, trans_b;
    size_t m, n, k;
    qa_real alpha;
    const qa_real *a;
    size_t lda;
    const qa_real *b;
    size_t ldb;
    qa_real beta;
    qa_real *c;
    size_t ldc;
    bool along_m;  /* strips of rows of C; else strips of columns */
    size_t strip;  /* rows or columns of a strip */
    size_t strips; /* of a part */
} gemm_job;

static void gemm_strip(void *context, size_t task, size_t worker) {
    (void)worker;
    const gemm_job *job = context;
    size_t m = job->m, n = job->n, part = task / job->strips, begin = task % job->strips * job->strip;
    const qa_real *a = job->a + part * m * job->lda, *b = job->b;
    qa_real *c = job->c + part * m * job->ldc;
    if (job->along_m) {
        m = m - begin < job->strip ? m - begin : job->strip;
        a += job->trans_a == QA_TRANSPOSE ? begin : begin * job->lda;
        c += begin * job->ldc;
    } else {
        n = n - begin < job->strip ? n - begin : job->strip;
        b += job->trans_b == QA_TRANSPOSE ? begin * job->ldb : begin;
        c += begin;
    }
    QA_CBLAS(gemm)
    (CblasRowMajor, job->trans_a == QA_TRANSPOSE ? CblasTrans : CblasNoTrans,
     job->trans_b == QA_TRANSPOSE ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)job->k, job->alpha, a,
     (int)job->lda, b, (int)job->ldb, job->beta, c, (int)job->ldc);
}

/* The product over an empty inner dimension. */
static void scale_only(size_t m, size_t n, qa_real beta, qa_real *c, size_t ldc) {
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
        }
    }
}

/* Multiply-adds below which waking the workers costs more than it saves, and above which twice as many
 * strips as workers even out cores of unequal speed or load; every doubling of the strips costs the
 * BLAS about 3 % in packing (measured at 768 x 1536 x 576). */
static const double WORTH_THE_POOL = 4e5, WORTH_MORE_STRIPS = 4e8;
enum { STRIP_MULTIPLE = 16 }; /* of BLAS' register tiles */

/* Parts after the first need a matrix A that is not transposed: theirs are the rows after its own. */
static void gemm_parts(qa_pool *pool, size_t parts, qa_transpose trans_a, qa_transpose trans_b, size_t m, size_t n,
                       size_t k, qa_real alpha, const qa_real *a, size_t lda, const qa_real *b, size_t ldb,
                       qa_real beta, qa_real *c, size_t ldc) {
    if (m == 0 || n == 0) {
        return;
    }
    if (k == 0) {
        scale_only(parts * m, n, beta, c, ldc);
        return;
    }
    gemm_job job = {.trans_a = trans_a,
                    .trans_b = trans_b,
                    .m = m,
                    .n = n,
                    .k = k,
                    .alpha = alpha,
                    .a = a,
                    .lda = lda,
                    .b = b,
                    .ldb = ldb,
                    .beta = beta,
                    .c = c,
                    .ldc = ldc,
                    .along_m = m >= n};
    const double of_part = (double)m * (double)n * (double)k, work = (double)parts * of_part;
    const size_t side = job.along_m ? m : n, threads = qa_pool_threads(pool);
    const size_t strips = of_part < WORTH_THE_POOL || threads == 1 ? 1
                          : of_part < WORTH_MORE_STRIPS            ? threads
                                                                   : 2 * threads;
    job.strip = ((side + strips - 1) / strips + STRIP_MULTIPLE - 1) / STRIP_MULTIPLE * STRIP_MULTIPLE;
    job.strips = (side + job.strip - 1) / job.strip;
    qa_pool_run(work < WORTH_THE_POOL ? NULL : pool, parts * job.strips, gemm_strip, &job);
}

void qa_gemm(qa_pool *pool, qa_transpose trans_a, qa_transpose trans_b, size_t m, size_t n, size_t k, qa_real alpha,
             const qa_real *a, size_t lda, const qa_real *b, size_t ldb, qa_real beta, qa_real *c, size_t ldc) {
    gemm_parts(pool, 1, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void qa_gemm_stacked(qa_pool *pool, size_t parts, qa_transpose trans_b, size_t m, size_t n, size_t k, qa_real alpha,
                     const qa_real *a, size_t lda, const qa_real *b, size_t ldb, qa_real beta, qa_real *c, size_t ldc) {
    gemm_parts(pool, parts, QA_NO_TRANSPOSE, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void qa_gemm_naive(qa_transpose trans_a, qa_transpose trans_b, size_t m, size_t n, size_t k, qa_real alpha,
                   const qa_real *a, size_t lda, const qa_real *b, size_t ldb, qa_real beta, qa_real *c, size_t ldc) {
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++) {
                qa_real left = trans_a == QA_TRANSPOSE ? a[l * lda + i] : a[i * lda + l];
                qa_real right = trans_b == QA_TRANSPOSE ? b[j * ldb + l] : b[l * ldb + j];
                sum += (double)left * (double)right;
            }
            double before = beta == 0 ? 0 : (double)beta * (double)c[i * ldc + j];
            c[i * ldc + j] = (qa_real)(before + (double)alpha * sum);
        }
    }
}
