#ifndef MARTLET_CASYNCIO_H
#define MARTLET_CASYNCIO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// The flag of `open` for writes past the system's cache, which Glibc hides from Swift.
extern const int martlet_open_directly;

/// Makes room for one write at a time, and the descriptor that becomes readable when it has
/// completed. Returns 0 or an errno value.
int martlet_asyncio_open(unsigned long *context, int *signal);

/// Begins a write that completes when its bytes are on the platters. Returns 0 or an errno value;
/// EAGAIN if it could only be begun by waiting for something. The bytes must stay as they are until
/// it has completed.
int martlet_asyncio_begin(unsigned long context, int file, const void *bytes, size_t count,
                          off_t offset, int signal);

/// What became of the write: 1 and the bytes written or a negative errno value, 0 if it hasn't
/// completed.
int martlet_asyncio_take(unsigned long context, int64_t *result);

#endif
