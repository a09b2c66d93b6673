// What a store on this machine can't leave out, and nothing else: sockets, and for puts two followers and three synced files. No request is
// looked at, nothing is kept, nothing is checked: no store to use. What it reaches under a load is what the load generator, the kernel and the
// disk allow; ceiling.sh runs it beside Martlet.
//   ceiling PORT BYTES                        answers each request with so many bytes, at once
//   ceiling PORT BYTES FILE PEER PEER         answers when its own file and a follower's have it, or both followers'
//   ceiling follow PORT FILE                  a follower
// Serves on the loopback until it is ended, and says when it listens; a follower ends with its leader.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void stop(const char *what) {
    fprintf(stderr, "ceiling: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void check(int holds, const char *what) {
    if (!holds) stop(what);
}

// MARK: The loop

enum { eventsATurn = 256, lookNanoseconds = 100000 };

static int poll;

static void await(int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    check(epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event) == 0, "epoll_ctl");
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

// Looks on before it sleeps, like Martlet: with 64 × 1 it came to a fifth more answers than without.
static int happened(struct epoll_event *events) {
    int64_t bedtime = now() + lookNanoseconds;
    do {
        int count = epoll_wait(poll, events, eventsATurn, 0);
        if (count > 0) return count;
        sched_yield();
    } while (now() < bedtime);
    int count = epoll_wait(poll, events, eventsATurn, -1);
    check(count >= 0 || errno == EINTR, "epoll_wait");
    return count;
}

static void writeAll(int descriptor, const void *bytes, size_t count) {
    while (count > 0) {
        ssize_t written = write(descriptor, bytes, count);
        check(written > 0, "write");
        bytes = (const char *)bytes + written;
        count -= written;
    }
}

static struct sockaddr_in loopback(const char *port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(atoi(port)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void sendAtOnce(int descriptor) {
    int yes = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

static int listening(const char *port) {
    int descriptor = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    check(bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    check(listen(descriptor, 1024) == 0, "listen");
    puts("listening");
    fflush(stdout);
    return descriptor;
}

static int connected(const char *port) {
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(port);
    check(connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    sendAtOnce(descriptor);
    return descriptor;
}

// MARK: The file

enum { fileBytes = 256 << 20, blockBytes = 512, maxGathered = 8 << 20 };

// What gathers while a write is under way, and what is written.
struct Bytes {
    char *bytes;
    size_t count;
};

static aio_context_t context;
static int file, synced, isWriting;
static int64_t offset;
static struct Bytes gathered, written;
// The last batch of each.
static uint64_t gatheredBatch, writtenBatch, syncedBatch;

static void gather(const void *bytes, size_t count) {
    check(gathered.count + count <= maxGathered, "more is gathered than there is room for");
    memcpy(gathered.bytes + gathered.count, bytes, count);
    gathered.count += count;
}

static char *aligned(size_t count) {
    void *bytes = NULL;
    check(posix_memalign(&bytes, 4096, count) == 0, "posix_memalign");
    memset(bytes, 0, count);
    return bytes;
}

// Filled with zeroes, so that a later write changes no length and finds its blocks.
static void openFile(const char *path) {
    gathered.bytes = aligned(maxGathered);
    written.bytes = aligned(maxGathered);
    file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    check(file >= 0, path);
    for (int filled = 0; filled < fileBytes; filled += maxGathered)
        writeAll(file, gathered.bytes, maxGathered);
    check(fsync(file) == 0, "fsync");
    check(syscall(SYS_io_setup, 1, &context) == 0, "io_setup");
    synced = eventfd(0, EFD_NONBLOCK);
    await(synced);
}

// One write at a time, past the cache and synced.
static void writeGathered(void) {
    if (isWriting || gathered.count == 0) return;
    struct Bytes free = written;
    written = gathered;
    gathered = (struct Bytes){free.bytes, 0};
    writtenBatch = gatheredBatch;
    size_t count = (written.count + blockBytes - 1) / blockBytes * blockBytes;
    if (offset + (int64_t)count > fileBytes) offset = 0;
    struct iocb request = {
        .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = file,
        .aio_buf = (uintptr_t)written.bytes, .aio_nbytes = count, .aio_offset = offset,
        .aio_rw_flags = RWF_DSYNC, .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = synced};
    struct iocb *requests[] = {&request};
    check(syscall(SYS_io_submit, context, 1, requests) == 1, "io_submit");
    offset += count;
    isWriting = 1;
}

static void writeEnded(void) {
    eventfd_t count;
    eventfd_read(synced, &count);
    struct io_event event;
    check(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1, "io_getevents");
    check(event.res > 0, "the write failed");
    syncedBatch = writtenBatch;
    isWriting = 0;
}

// MARK: Followers

// Before the bytes of a batch; its number is also the answer to it.
struct BatchHead {
    uint64_t number, bytes;
};

static void follow(const char *port, const char *path) {
    int listener = listening(port);
    openFile(path);
    int leader = accept(listener, NULL, NULL);
    check(leader >= 0, "accept");
    sendAtOnce(leader);
    await(leader);
    static char received[1 << 20];
    size_t count = 0;
    struct epoll_event events[eventsATurn];
    for (;;) {
        int happenedCount = happened(events);
        for (int i = 0; i < happenedCount; i++) {
            if (events[i].data.fd == synced) {
                writeEnded();
                writeAll(leader, &syncedBatch, sizeof syncedBatch);
                continue;
            }
            ssize_t more = read(leader, received + count, sizeof received - count);
            if (more <= 0) exit(0);
            count += more;
        }
        char *next = received, *end = received + count;
        struct BatchHead head;
        while ((size_t)(end - next) >= sizeof head) {
            memcpy(&head, next, sizeof head);
            if ((size_t)(end - next) < sizeof head + head.bytes) break;
            gather(next, sizeof head + head.bytes);
            gatheredBatch = head.number;
            next += sizeof head + head.bytes;
        }
        count = end - next;
        memmove(received, next, count);
        writeGathered();
    }
}

// MARK: Clients

enum { maxConnections = 4096, maxStreams = 1024, receivedBytes = 1 << 16, maxMessage = 4096, maxCalls = 1 << 16 };
enum { data = 0, headers = 1, settings = 4, ping = 6, windowUpdate = 8 };
enum { endStream = 1, acknowledged = 1, endHeaders = 4 };

struct Connection {
    // Of the preface that hasn't come.
    size_t prefaceLeft;
    // Whether the client's table has the answer's fields.
    int isTold;
    size_t count;
    uint8_t received[receivedBytes];
    // The answers of this turn.
    uint8_t *answers;
    size_t answerBytes;
};

// A request that has come to its end.
struct Call {
    int connection;
    uint8_t stream[4];
};

static struct Connection *connections[maxConnections];
static struct Call calls[maxCalls];
static uint64_t callsBegun, callsAnswered;
static uint8_t message[maxMessage];
static size_t messageBytes;

static uint8_t *frame(
    uint8_t *to, uint8_t type, uint8_t flags, const uint8_t *stream, const void *payload,
    size_t count
) {
    uint8_t head[5] = {count >> 16, count >> 8, count, type, flags};
    memcpy(to, head, 5);
    memcpy(to + 5, stream, 4);
    memcpy(to + 9, payload, count);
    return to + 9 + count;
}

// The frames that Martlet answers with.
static uint8_t *answer(uint8_t *to, struct Connection *connection, const uint8_t *stream) {
    // `:status: 200`; then `content-type` and `grpc-status`, to be remembered (RFC 7541 section 6.2.1).
    static const uint8_t tellingHead[] = "\x88\x5f\x10" "application/grpc";
    static const uint8_t tellingEnd[] = "\x40\x0b" "grpc-status" "\x01" "0";
    // What was told last comes first in the table.
    static const uint8_t toldHead[] = {0x88, 0x80 | 63}, toldEnd[] = {0x80 | 62};
    if (connection->isTold) {
        to = frame(to, headers, endHeaders, stream, toldHead, sizeof toldHead);
        to = frame(to, data, 0, stream, message, messageBytes);
        return frame(to, headers, endHeaders | endStream, stream, toldEnd, sizeof toldEnd);
    }
    connection->isTold = 1;
    to = frame(to, headers, endHeaders, stream, tellingHead, sizeof tellingHead - 1);
    to = frame(to, data, 0, stream, message, messageBytes);
    return frame(to, headers, endHeaders | endStream, stream, tellingEnd, sizeof tellingEnd - 1);
}

static void opened(int descriptor) {
    static const uint8_t none[4] = {0};
    // As many streams as there is room for answers; a window that never fills.
    static const uint8_t streams[] = {0, 3, 0, 0, maxStreams >> 8, maxStreams & 255}, window[] = {0x7f, 0xff, 0, 0};
    check(descriptor >= 0 && descriptor < maxConnections, "accept");
    struct Connection *connection = calloc(1, sizeof *connection);
    check(connection != NULL, "calloc");
    connection->prefaceLeft = sizeof "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" - 1;
    connection->answers = malloc(maxStreams * (maxMessage + 128));
    check(connection->answers != NULL, "malloc");
    connections[descriptor] = connection;
    sendAtOnce(descriptor);
    uint8_t greeting[64];
    uint8_t *end = frame(greeting, settings, 0, none, streams, sizeof streams);
    end = frame(end, windowUpdate, 0, none, window, sizeof window);
    writeAll(descriptor, greeting, end - greeting);
    await(descriptor);
}

static void closed(int descriptor) {
    close(descriptor);
    free(connections[descriptor]->answers);
    free(connections[descriptor]);
    connections[descriptor] = NULL;
}

// `kept` takes each request's body, as the entry that a put makes.
static void received(int descriptor, void kept(const void *, size_t)) {
    struct Connection *connection = connections[descriptor];
    ssize_t more = read(
        descriptor, connection->received + connection->count, receivedBytes - connection->count);
    if (more <= 0) return closed(descriptor);
    connection->count += more;
    if (connection->count < connection->prefaceLeft) return;
    uint8_t *next = connection->received + connection->prefaceLeft;
    uint8_t *end = connection->received + connection->count;
    connection->prefaceLeft = 0;
    uint8_t reply[64];
    while (end - next >= 9) {
        size_t payload = next[0] << 16 | next[1] << 8 | next[2];
        if ((size_t)(end - next) < 9 + payload) break;
        uint8_t type = next[3], flags = next[4];
        if (type == data) kept(next + 9, payload);
        if ((type == headers || type == data) && flags & endStream) {
            struct Call *call = &calls[callsBegun++ % maxCalls];
            check(callsBegun - callsAnswered <= maxCalls, "too many calls");
            call->connection = descriptor;
            memcpy(call->stream, next + 5, sizeof call->stream);
        }
        if (type == settings && !(flags & acknowledged))
            writeAll(
                descriptor, reply, frame(reply, settings, acknowledged, next + 5, "", 0) - reply);
        if (type == ping && !(flags & acknowledged))
            writeAll(
                descriptor, reply,
                frame(reply, ping, acknowledged, next + 5, next + 9, payload) - reply);
        next += 9 + payload;
    }
    connection->count = end - next;
    memmove(connection->received, next, connection->count);
}

// One write for each connection.
static void answerUntil(uint64_t end) {
    static int dirty[maxConnections];
    int dirtyCount = 0;
    for (; callsAnswered < end; callsAnswered++) {
        struct Call *call = &calls[callsAnswered % maxCalls];
        struct Connection *connection = connections[call->connection];
        if (!connection) continue;
        if (connection->answerBytes == 0) dirty[dirtyCount++] = call->connection;
        uint8_t *to = connection->answers + connection->answerBytes;
        connection->answerBytes += answer(to, connection, call->stream) - to;
    }
    for (int i = 0; i < dirtyCount; i++) {
        struct Connection *connection = connections[dirty[i]];
        writeAll(dirty[i], connection->answers, connection->answerBytes);
        connection->answerBytes = 0;
    }
}

// MARK: Leading

enum { maxBatchesUnderWay = 4 };

// The batch that gathers, its head first.
static char batch[maxGathered];
static size_t batchBytes = sizeof(struct BatchHead);
static uint64_t batchesSent, batchesCommitted;
static uint64_t lastCalls[maxBatchesUnderWay];
static int peers[2];
static uint64_t acknowledgedBatch[2];

static void keepNothing(const void *bytes, size_t count) {
    (void)bytes;
    (void)count;
}

static void addToBatch(const void *bytes, size_t count) {
    check(batchBytes + count <= sizeof batch, "a batch larger than there is room for");
    memcpy(batch + batchBytes, bytes, count);
    batchBytes += count;
}

static void sendBatch(void) {
    struct BatchHead head = {batchesSent + 1, batchBytes - sizeof head};
    if (head.bytes == 0 || batchesSent - batchesCommitted == maxBatchesUnderWay) return;
    memcpy(batch, &head, sizeof head);
    for (int i = 0; i < 2; i++) writeAll(peers[i], batch, batchBytes);
    gather(batch, batchBytes);
    gatheredBatch = ++batchesSent;
    lastCalls[batchesSent % maxBatchesUnderWay] = callsBegun;
    batchBytes = sizeof head;
}

static uint64_t secondOf(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c < high ? c : high;
}

static void commit(void) {
    uint64_t number = secondOf(syncedBatch, acknowledgedBatch[0], acknowledgedBatch[1]);
    if (number == batchesCommitted) return;
    batchesCommitted = number;
    answerUntil(lastCalls[number % maxBatchesUnderWay]);
}

static void acknowledgedBy(int peer) {
    uint64_t numbers[64];
    // Eight bytes each, which TCP on the loopback doesn't cut.
    ssize_t count = read(peers[peer], numbers, sizeof numbers);
    check(count > 0 && count % sizeof *numbers == 0, "a follower is gone");
    acknowledgedBatch[peer] = numbers[count / sizeof *numbers - 1];
}

static void serve(int listener, int leads) {
    await(listener);
    struct epoll_event events[eventsATurn];
    for (;;) {
        int count = happened(events);
        for (int i = 0; i < count; i++) {
            int descriptor = events[i].data.fd;
            if (descriptor == listener) opened(accept(listener, NULL, NULL));
            else if (leads && descriptor == synced) writeEnded();
            else if (leads && descriptor == peers[0]) acknowledgedBy(0);
            else if (leads && descriptor == peers[1]) acknowledgedBy(1);
            else received(descriptor, leads ? addToBatch : keepNothing);
        }
        if (leads) {
            sendBatch();
            writeGathered();
            commit();
        } else {
            answerUntil(callsBegun);
        }
    }
}

int main(int count, char **arguments) {
    poll = epoll_create1(0);
    if (count == 4 && strcmp(arguments[1], "follow") == 0) follow(arguments[2], arguments[3]);
    if (count != 3 && count != 6) {
        fprintf(stderr, "usage: ceiling PORT BYTES [FILE PEER PEER] | ceiling follow PORT FILE\n");
        return 2;
    }
    messageBytes = strtoul(arguments[2], NULL, 10);
    check(messageBytes <= maxMessage, "the answer is too large");
    int leads = count == 6;
    if (leads) {
        openFile(arguments[3]);
        for (int i = 0; i < 2; i++) await(peers[i] = connected(arguments[4 + i]));
    }
    serve(listening(arguments[1]), leads);
}
