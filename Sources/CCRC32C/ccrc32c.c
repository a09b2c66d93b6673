// The one thing that Swift can't say: the CRC-32C instruction of x86-64 (SSE 4.2). It takes three
// cycles for eight bytes, the tables in DurableLog/CRC32C.swift about fifteen. Each waits for the one
// before; so longer inputs are summed up as three rows side by side, which takes one cycle. A sum is
// linear: that of a row is shifted by the length of the row behind it and added.

#include "ccrc32c.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <nmmintrin.h>
#include <string.h>

// Bytes of a row.
enum { row = 512 };

// What each byte of a sum becomes behind a row of zeroes.
static uint32_t shifted[4][256];

__attribute__((target("sse4.2")))
static void fill_table(void) {
    for (int place = 0; place < 4; place++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint64_t crc = byte << (8 * place);
            for (int word = 0; word < row / 8; word++) crc = _mm_crc32_u64(crc, 0);
            shifted[place][byte] = (uint32_t)crc;
        }
    }
}

static uint32_t shift(uint32_t crc) {
    return shifted[0][crc & 0xff] ^ shifted[1][crc >> 8 & 0xff] ^ shifted[2][crc >> 16 & 0xff]
        ^ shifted[3][crc >> 24];
}

static uint64_t word_at(const unsigned char *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

bool martlet_crc32c_prepare(void) {
    unsigned int a, b, c = 0, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_2)) return false;
    fill_table();
    return true;
}

__attribute__((target("sse4.2")))
uint32_t martlet_crc32c_extend(uint32_t checksum, const void *bytes, size_t count) {
    const unsigned char *next = bytes;
    uint64_t crc = ~checksum;
    for (; count >= 3 * row; count -= 3 * row, next += 3 * row) {
        uint64_t second = 0, third = 0;
        for (int offset = 0; offset < row; offset += 8) {
            crc = _mm_crc32_u64(crc, word_at(next + offset));
            second = _mm_crc32_u64(second, word_at(next + row + offset));
            third = _mm_crc32_u64(third, word_at(next + 2 * row + offset));
        }
        crc = shift(shift((uint32_t)crc) ^ (uint32_t)second) ^ third;
    }
    for (; count >= 8; count -= 8, next += 8) crc = _mm_crc32_u64(crc, word_at(next));
    for (; count > 0; count--, next++) crc = _mm_crc32_u8((uint32_t)crc, *next);
    return ~(uint32_t)crc;
}

#else

bool martlet_crc32c_prepare(void) { return false; }

uint32_t martlet_crc32c_extend(uint32_t checksum, const void *bytes, size_t count) {
    (void)bytes;
    (void)count;
    return checksum;
}

#endif
