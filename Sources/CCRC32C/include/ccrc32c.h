#ifndef MARTLET_CCRC32C_H
#define MARTLET_CCRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Gets ready, by one thread before all else; false if this processor has no instruction for CRC-32C.
bool martlet_crc32c_prepare(void);

/// Extends a checksum (0 for none) over `count` bytes with that instruction.
/// Only to be called after `martlet_crc32c_prepare` said true.
uint32_t martlet_crc32c_extend(uint32_t checksum, const void *bytes, size_t count);

#endif
