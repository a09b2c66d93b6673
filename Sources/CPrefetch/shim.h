// The processor's instruction that asks for memory ahead of its use, which Swift can't say.
#include <stddef.h>

static inline void martlet_prefetch(const void *start, size_t count) {
    for (size_t offset = 0; offset < count; offset += 64)
        __builtin_prefetch((const char *)start + offset);
}
