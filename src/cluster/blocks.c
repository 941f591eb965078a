/* See blocks.h. A piece travels as its length and its bytes, filled up to a multiple of 8. */
#include "cluster/blocks.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_ALIGNMENT = 8 };

struct qa_block_pieces {
    const qa_blocks *blocks;
    bool alone;              /* nothing travels */
    size_t begin, end;       /* the block at hand */
    size_t own_begin, own_n; /* this rank's part of it */
    qa_text mine;            /* this rank's pieces of the block */
};

static size_t piece_filling(size_t bytes) { return (PIECE_ALIGNMENT - bytes % PIECE_ALIGNMENT) % PIECE_ALIGNMENT; }

qa_status qa_block_give(qa_block_pieces *to, const void *piece, size_t bytes, qa_error *err) {
    static const char zeros[PIECE_ALIGNMENT];
    const uint64_t length = bytes;
    if (to->alone) {
        return to->blocks->take(to->blocks->user, piece, bytes, err);
    }
    QA_TRY(qa_text_append(&to->mine, (const char *)&length, sizeof length, err));
    QA_TRY(qa_text_append(&to->mine, piece, bytes, err));
    return qa_text_append(&to->mine, zeros, piece_filling(bytes), err);
}

size_t qa_block_progress(const qa_block_pieces *of, size_t item) {
    const size_t own = of->own_n == 0 ? 1 : of->own_n;
    return of->begin + (size_t)((double)(of->end - of->begin) * (double)(item + 1 - of->own_begin) / (double)own);
}

static qa_status take_pieces(const qa_blocks *blocks, const char *all, size_t bytes, qa_error *err) {
    for (size_t at = 0; at < bytes;) {
        uint64_t length = 0;
        const size_t left = bytes - at;
        if (left >= sizeof length) {
            memcpy(&length, all + at, sizeof length);
        }
        QA_FAIL_IF(left < sizeof length || length > left - sizeof length ||
                       piece_filling((size_t)length) > left - sizeof length - length,
                   err, QA_ERR_FORMAT, "what other ranks found: a piece of %llu bytes where %zu of %zu are left",
                   (unsigned long long)length, left, bytes);
        at += sizeof length;
        QA_TRY(blocks->take(blocks->user, all + at, (size_t)length, err));
        at += (size_t)length + piece_filling((size_t)length);
    }
    return QA_OK;
}

/* Rank 0's text also at the others. */
static qa_status share_pieces(qa_cluster *cluster, char **all, size_t *bytes, qa_error *err) {
    qa_status status = qa_cluster_share(cluster, bytes, sizeof *bytes, err);
    if (status == QA_OK && qa_cluster_rank(cluster) != 0) {
        status = QA_NEW(*all, *bytes + 1, err, "%zu bytes of other ranks", *bytes);
    }
    return status == QA_OK ? qa_cluster_share(cluster, *all, *bytes, err) : status;
}

static qa_status run_own_part(const qa_blocks *blocks, qa_block_pieces *own, qa_error *err) {
    for (size_t i = own->own_begin; i < own->own_begin + own->own_n; i++) {
        QA_TRY(blocks->run(blocks->user, i, own, err));
    }
    return QA_OK;
}

/* first[ranks + 1]: of the block's parts. */
static qa_status run_block(qa_cluster *cluster, const qa_blocks *blocks, qa_block_pieces *own, size_t *first,
                           qa_error *err) {
    const size_t rank = qa_cluster_rank(cluster);
    char *all = NULL;
    size_t bytes = 0;
    qa_cluster_cut(blocks->costs == NULL ? NULL : blocks->costs + own->begin, own->end - own->begin,
                   qa_cluster_ranks(cluster), first);
    own->own_begin = own->begin + first[rank];
    own->own_n = first[rank + 1] - first[rank];
    own->mine.n = 0;
    qa_status status = run_own_part(blocks, own, err);
    if (own->alone) {
        return status;
    }
    QA_TRY(qa_cluster_agree(cluster, status, err)); /* one that was stopped stops all of them side by side */
    status = qa_cluster_texts(cluster, own->mine.data, own->mine.n, &all, &bytes, err);
    if (status == QA_OK && blocks->everywhere) {
        status = share_pieces(cluster, &all, &bytes, err);
    }
    if (status == QA_OK) {
        status = take_pieces(blocks, all, bytes, err);
        status = blocks->everywhere ? qa_cluster_agree(cluster, status, err) : status;
    }
    free(all);
    return status;
}

qa_status qa_blocks_run(qa_cluster *cluster, const qa_blocks *blocks, qa_error *err) {
    const size_t ranks = qa_cluster_ranks(cluster);
    const size_t whole = blocks->n / ranks < blocks->per_rank ? blocks->n : ranks * blocks->per_rank;
    qa_block_pieces own = {.blocks = blocks, .alone = ranks == 1};
    size_t *first = NULL;
    qa_status status = QA_NEW(first, ranks + 1, err, "the parts of %zu ranks", ranks);
    for (; own.begin < blocks->n && status == QA_OK; own.begin = own.end) {
        own.end = blocks->n - own.begin < whole ? blocks->n : own.begin + whole;
        status = run_block(cluster, blocks, &own, first, err);
    }
    qa_text_free(&own.mine);
    free(first);
    return status;
}
