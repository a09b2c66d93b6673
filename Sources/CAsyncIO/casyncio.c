// Linux's asynchronous writes (`man 2 io_submit`), which Swift can't reach: variadic system calls.

#define _GNU_SOURCE
#include "casyncio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const int martlet_open_directly = O_DIRECT;

int martlet_asyncio_open(unsigned long *context, int *signal) {
    aio_context_t made = 0;
    if (syscall(SYS_io_setup, 1, &made) != 0) return errno;
    *signal = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (*signal < 0) {
        int reason = errno;
        syscall(SYS_io_destroy, made);
        return reason;
    }
    *context = made;
    return 0;
}

int martlet_asyncio_begin(unsigned long context, int file, const void *bytes, size_t count,
                          off_t offset, int signal) {
    struct iocb request;
    memset(&request, 0, sizeof request);
    request.aio_lio_opcode = IOCB_CMD_PWRITE;
    request.aio_fildes = (uint32_t)file;
    request.aio_buf = (uint64_t)(uintptr_t)bytes;
    request.aio_nbytes = count;
    request.aio_offset = offset;
    request.aio_rw_flags = RWF_DSYNC | RWF_NOWAIT;
    request.aio_flags = IOCB_FLAG_RESFD;
    request.aio_resfd = (uint32_t)signal;
    struct iocb *requests[1] = {&request};
    long begun = syscall(SYS_io_submit, (aio_context_t)context, 1, requests);
    if (begun == 1) return 0;
    return begun < 0 ? errno : EAGAIN;
}

int martlet_asyncio_take(unsigned long context, int64_t *result) {
    struct io_event event;
    struct timespec now = {0, 0};
    long taken;
    do {
        taken = syscall(SYS_io_getevents, (aio_context_t)context, 0, 1, &event, &now);
    } while (taken < 0 && errno == EINTR);
    if (taken < 1) return 0;
    *result = event.res;
    return 1;
}
