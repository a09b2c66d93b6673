#include "cjemalloc.h"

#include <jemalloc/jemalloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Read by jemalloc when the process starts. One arena for all threads: with one for each, a member
   with 1 M keys took 558 MB after a restart instead of 486. */
const char *malloc_conf = "narenas:1";

static uint64_t allocated_by_this_thread(void) {
    uint64_t bytes = 0;
    size_t length = sizeof bytes;
    mallctl("thread.allocated", &bytes, &length, NULL, 0);
    return bytes;
}

const char *martlet_jemalloc_version(void) {
    const char *version = NULL;
    size_t length = sizeof version;
    uint64_t before = allocated_by_this_thread();
    /* Volatile: a compiler may leave out an allocation that nobody looks at. */
    void *volatile piece = malloc(64);
    int counted = allocated_by_this_thread() > before;
    free(piece);
    mallctl("version", &version, &length, NULL, 0);
    return counted ? version : NULL;
}
