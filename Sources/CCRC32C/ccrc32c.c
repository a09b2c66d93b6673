// The one thing that Swift can't say: the CRC-32C instruction of x86-64 (SSE 4.2). It takes three
// cycles for eight bytes, the tables in DurableLog/CRC32C.swift about fifteen.

#include "ccrc32c.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <nmmintrin.h>
#include <string.h>

bool martlet_crc32c_is_in_hardware(void) {
    unsigned int a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2);
}

__attribute__((target("sse4.2")))
uint32_t martlet_crc32c_extend(uint32_t checksum, const void *bytes, size_t count) {
    const unsigned char *next = bytes;
    uint64_t crc = ~checksum;
    for (; count >= 8; count -= 8, next += 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        crc = _mm_crc32_u64(crc, word);
    }
    for (; count > 0; count--, next++) crc = _mm_crc32_u8((uint32_t)crc, *next);
    return ~(uint32_t)crc;
}

#else

bool martlet_crc32c_is_in_hardware(void) { return false; }

uint32_t martlet_crc32c_extend(uint32_t checksum, const void *bytes, size_t count) {
    (void)bytes;
    (void)count;
    return checksum;
}

#endif
