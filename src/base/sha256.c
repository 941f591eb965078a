/* SHA-256 as FIPS 180-4 states it: the message is padded to blocks of 64 bytes, each block runs 64
 * rounds over a state of eight 32-bit words. Speed does not matter here. */
#include "base/sha256.h"

#include <stdint.h>
#include <string.h>

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t ROUND_CONSTANTS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, unsigned bits) { return (x >> bits) | (x << (32 - bits)); }

static void sha256_block(uint32_t state[8], const unsigned char block[64]) {
    uint32_t w[64];
    for (size_t t = 0; t < 16; t++) {
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 | (uint32_t)block[4 * t + 2] << 8 |
               (uint32_t)block[4 * t + 3];
    }
    for (size_t t = 16; t < 64; t++) {
        uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ (w[t - 15] >> 3);
        uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ (w[t - 2] >> 10);
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    uint32_t v[8]; /* a, b, c, d, e, f, g, h of the standard */
    memcpy(v, state, sizeof v);
    for (size_t t = 0; t < 64; t++) {
        uint32_t sum1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + sum1 + choice + ROUND_CONSTANTS[t] + w[t];
        uint32_t sum0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + sum0 + majority;
    }
    for (size_t i = 0; i < 8; i++) {
        state[i] += v[i];
    }
}

qa_sha256 qa_sha256_begin(void) {
    return (qa_sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void qa_sha256_add(qa_sha256 *sha, const void *data, size_t bytes) {
    const unsigned char *input = data;
    while (bytes > 0) {
        const size_t used = sha->bytes % sizeof sha->block;
        const size_t left = sizeof sha->block - used, n = bytes < left ? bytes : left;
        memcpy(sha->block + used, input, n);
        if (n == left) {
            sha256_block(sha->state, sha->block);
        }
        sha->bytes += n;
        input += n;
        bytes -= n;
    }
}

void qa_sha256_end(qa_sha256 *sha, unsigned char digest[QA_SHA256_BYTES]) {
    /* The rest, a one bit, zeros, and the length in bits fill one more block or two. */
    static const unsigned char padding[64] = {0x80};
    const uint64_t bits = sha->bytes * 8;
    const size_t rest = sha->bytes % 64;
    unsigned char length[8];
    for (size_t i = 0; i < sizeof length; i++) {
        length[i] = (unsigned char)(bits >> (56 - 8 * i));
    }
    qa_sha256_add(sha, padding, (rest < 56 ? 56 : 120) - rest);
    qa_sha256_add(sha, length, sizeof length);
    for (size_t i = 0; i < QA_SHA256_BYTES; i++) {
        digest[i] = (unsigned char)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
    }
}

void qa_sha256_to_hex(const unsigned char digest[QA_SHA256_BYTES], char hex[QA_SHA256_HEX_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < QA_SHA256_BYTES; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[QA_SHA256_HEX_BYTES - 1] = '\0';
}

void qa_sha256_hex(const void *data, size_t bytes, char hex[QA_SHA256_HEX_BYTES]) {
    unsigned char digest[QA_SHA256_BYTES];
    qa_sha256 sha = qa_sha256_begin();
    qa_sha256_add(&sha, data, bytes);
    qa_sha256_end(&sha, digest);
    qa_sha256_to_hex(digest, hex);
}
