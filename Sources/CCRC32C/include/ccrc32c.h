#ifndef MARTLET_CCRC32C_H
#define MARTLET_CCRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Whether this processor has an instruction for CRC-32C. To be asked first, by one thread.
bool martlet_crc32c_is_in_hardware(void);

/// Extends a checksum (0 for none) over `count` bytes with that instruction.
/// Only to be called where `martlet_crc32c_is_in_hardware` says true.
uint32_t martlet_crc32c_extend(uint32_t checksum, const void *bytes, size_t count);

#endif
