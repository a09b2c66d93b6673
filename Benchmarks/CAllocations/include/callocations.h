#ifndef MARTLET_CALLOCATIONS_H
#define MARTLET_CALLOCATIONS_H

#include <stdint.h>

/// Calls of malloc, calloc, realloc and their kin that this process has made so far.
uint64_t martlet_allocations(void);

#endif
