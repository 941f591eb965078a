/* SHA-256 (FIPS 180-4): digests of texts, of files, of a model's weights. */
#ifndef QA_BASE_SHA256_H
#define QA_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { QA_SHA256_BYTES = 32, QA_SHA256_HEX_BYTES = 65 };

/* A message of which a part has been seen. */
typedef struct qa_sha256 {
    uint32_t state[8];
    unsigned char block[64]; /* what does not fill a block yet */
    uint64_t bytes;          /* seen so far */
} qa_sha256;

qa_sha256 qa_sha256_begin(void);
void qa_sha256_add(qa_sha256 *sha, const void *data, size_t bytes);
/* The digest; the message is over. */
void qa_sha256_end(qa_sha256 *sha, unsigned char digest[QA_SHA256_BYTES]);

/* The digest as 64 lower-case hexadecimal digits and a '\0'. */
void qa_sha256_to_hex(const unsigned char digest[QA_SHA256_BYTES], char hex[QA_SHA256_HEX_BYTES]);

/* The digest of data[bytes] in the same form. */
void qa_sha256_hex(const void *data, size_t bytes, char hex[QA_SHA256_HEX_BYTES]);

#endif
