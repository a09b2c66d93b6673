#ifndef MARTLET_CJEMALLOC_H
#define MARTLET_CJEMALLOC_H

/// jemalloc's version if it answers this process's `malloc`, or null if another allocator does.
const char *martlet_jemalloc_version(void);

#endif
