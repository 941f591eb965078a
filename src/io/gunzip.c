/* See gunzip.h. */
#include "io/gunzip.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/input.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool qa_is_gzip(const unsigned char *data, size_t n) { return n >= 2 && data[0] == 0x1f && data[1] == 0x8b; }

#if defined(QA_HAVE_ZLIB)

#include <zlib.h>

/* Weak, so that a program may be linked to this library without zlib, as long as its data are not packed. */
#pragma weak inflateInit2_
#pragma weak inflate
#pragma weak inflateReset
#pragma weak inflateEnd

enum { PACKED_BYTES = 1 << 16 };

/* Text shrinks to a tenth; a thousandth is the most that the format can say. */
enum { MOST_GROWTH = 200, FREE_BYTES = 1 << 26 };

struct qa_gunzip {
    const char *name;
    int descriptor;
    z_stream stream;
    bool inside, behind;                /* a member has begun and not ended; one has ended */
    bool ended;                         /* of the descriptor */
    uint64_t packed, unpacked;          /* bytes so far */
    unsigned char buffer[PACKED_BYTES]; /* packed data; stream.next_in points into it */
};

qa_status qa_gunzip_open(qa_gunzip **gunzip, const unsigned char *first, size_t n_first, int descriptor,
                         const char *name, qa_error *err) {
    qa_gunzip *it = NULL;
    *gunzip = NULL;
    QA_FAIL_IF(inflateInit2_ == NULL, err, QA_ERR_UNSUPPORTED,
               "%s is gzip data, and this program was linked without zlib: unpack it first (gzip -d), or link with -lz",
               name);
    QA_TRY(QA_NEW(it, 1, err, "unpacking %s", name));
    *it = (qa_gunzip){.name = name, .descriptor = descriptor, .packed = n_first};
    if (n_first > PACKED_BYTES || inflateInit2(&it->stream, 15 + 16) != Z_OK) {
        free(it);
        return QA_NO_MEMORY(err, "unpacking %s", name);
    }
    memcpy(it->buffer, first, n_first);
    it->stream.next_in = it->buffer;
    it->stream.avail_in = (uInt)n_first;
    *gunzip = it;
    return QA_OK;
}

void qa_gunzip_close(qa_gunzip *gunzip) {
    if (gunzip != NULL) {
        (void)inflateEnd(&gunzip->stream);
        free(gunzip);
    }
}

static qa_status read_packed(qa_gunzip *it, qa_error *err) {
    size_t got = 0;
    if (it->stream.avail_in == 0 && !it->ended) {
        QA_TRY(qa_read_some(it->descriptor, it->name, it->buffer, sizeof it->buffer, &got, err));
        it->ended = got == 0;
        it->packed += got;
        it->stream.next_in = it->buffer;
        it->stream.avail_in = (uInt)got;
    }
    return QA_OK;
}

static qa_status damaged(const qa_gunzip *it, const char *what, qa_error *err) {
    return qa_fail(err, QA_ERR_FORMAT,
                   "%s: the gzip data are damaged: %s, behind %llu bytes of text; copy or download the file again",
                   it->name, what, (unsigned long long)it->unpacked);
}

/* Behind a member: another one, zeros that fill a block, or the end. */
static qa_status begin_member(qa_gunzip *it, qa_error *err) {
    z_stream *stream = &it->stream;
    while (it->behind && (stream->avail_in > 0 ? *stream->next_in == 0 : !it->ended)) {
        if (stream->avail_in > 0) {
            stream->next_in++;
            stream->avail_in--;
        }
        QA_TRY(read_packed(it, err));
    }
    if (stream->avail_in > 0) {
        QA_FAIL_IF(*stream->next_in != 0x1f, err, QA_ERR_FORMAT,
                   "%s: behind the gzip data, which unpack to %llu bytes, stands something else", it->name,
                   (unsigned long long)it->unpacked);
        (void)inflateReset(stream);
        it->inside = true;
    }
    return QA_OK;
}

/* Unpacks into what the stream has room for. */
static qa_status unpack(qa_gunzip *it, qa_error *err) {
    const uInt room = it->stream.avail_out;
    const int result = inflate(&it->stream, Z_NO_FLUSH);
    it->unpacked += room - it->stream.avail_out;
    it->inside = result != Z_STREAM_END;
    it->behind = it->behind || !it->inside;
    QA_FAIL_IF(result == Z_MEM_ERROR, err, QA_ERR_MEMORY, "out of memory: unpacking %s", it->name);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
        return damaged(it, it->stream.msg != NULL ? it->stream.msg : "they are no gzip data", err);
    }
    QA_FAIL_IF(
        it->unpacked > FREE_BYTES && it->unpacked / MOST_GROWTH > it->packed, err, QA_ERR_LIMIT,
        "%s: its gzip data unpack to more than %d times their size, which no text does; unpack it first if it is "
        "what it should be",
        it->name, MOST_GROWTH);
    return QA_OK;
}

qa_status qa_gunzip_read(qa_gunzip *gunzip, void *to, size_t n, size_t *got, qa_error *err) {
    z_stream *stream = &gunzip->stream;
    *got = 0;
    stream->next_out = to;
    stream->avail_out = (uInt)(n < PACKED_BYTES ? n : PACKED_BYTES);
    const uInt room = stream->avail_out;
    while (stream->avail_out == room) {
        QA_TRY(read_packed(gunzip, err));
        if (!gunzip->inside) {
            QA_TRY(begin_member(gunzip, err));
        }
        if (!gunzip->inside) {
            return QA_OK;
        }
        QA_TRY(unpack(gunzip, err));
        if (gunzip->inside && stream->avail_out == room && stream->avail_in == 0 && gunzip->ended) {
            return damaged(gunzip, "they end too early", err);
        }
    }
    *got = room - stream->avail_out;
    return QA_OK;
}

#else

qa_status qa_gunzip_open(qa_gunzip **gunzip, const unsigned char *first, size_t n_first, int descriptor,
                         const char *name, qa_error *err) {
    (void)first;
    (void)n_first;
    (void)descriptor;
    *gunzip = NULL;
    return qa_fail(err, QA_ERR_UNSUPPORTED,
                   "%s is gzip data, and this program was built without zlib: unpack it first (gzip -d), or build with "
                   "zlib (Debian, Ubuntu: zlib1g-dev)",
                   name);
}

void qa_gunzip_close(qa_gunzip *gunzip) { (void)gunzip; }

qa_status qa_gunzip_read(qa_gunzip *gunzip, void *to, size_t n, size_t *got, qa_error *err) {
    (void)gunzip;
    (void)to;
    (void)n;
    *got = 0;
    return qa_fail(err, QA_ERR_UNSUPPORTED, "built without zlib");
}

#endif
