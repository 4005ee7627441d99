/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conn - what the files of the client library share: one connection, its sockets, its requests in flight.
 *
 * wire.c    bytes and fds of one socket, message framing
 * conn.c    a connection's life, its errors
 * hello.c   the negotiation
 * call.c    requests, their replies, pipelining
 * access.c  regions: reads, writes, posted, several at once
 * memory.c  the client's memory, and the server's requests for it
 * intr.c    interrupts
 * device.c  what the device says of itself
 * map.c     regions mapped into this process
 * bell.c    doorbells
 * state.c   migration
 * dirty.c   logs of the pages that the device has written
 * raw.c     bytes for tests
 * spawn.c   a server of the client's own; needs none of the others
 *
 * One thread at a time for each connection; nothing is shared between connections.
 */
#ifndef CLIENT_CONN_H
#define CLIENT_CONN_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <vfu/client.h>
#include <vfu/protocol.h>

#define HEADER sizeof(struct vfu_msg_header)
#define MIB 1048576u

/* ---- wire ----------------------------------------------------------------------------------------------------- */

#define WIRE_FDS 64u /* descriptors that wait for their message */

struct wire {
    int fd;            /* -1: not connected */
    bool eof;          /* the server has closed */
    bool plain;        /* no message with descriptors is expected: those that come all the same are not taken */
    uint8_t *rx;       /* received: rx[head] to rx[tail - 1] */
    size_t cap, head, tail;
    uint64_t position; /* of rx[head], counted from the first byte of the connection */
    uint32_t nfds;
    int fds[WIRE_FDS];
    uint64_t fd_at[WIRE_FDS]; /* a byte of the message that they came with */
};

int wire_open(struct wire *wire, int fd, size_t largest);
void wire_close(struct wire *wire);
/* One recvmsg into the buffer: bytes, 0 at the end, -EAGAIN, -ENOBUFS (the buffer is full), -errno. */
ssize_t wire_receive(struct wire *wire, int flags);
/* Straight to where the bytes belong: used inside a message only, when the buffer is empty. */
ssize_t wire_receive_direct(struct wire *wire, void *to, size_t size, int flags);
/* The message at the head: its size if it is complete, 0 if not, -EPROTO if its size makes no sense. */
ssize_t wire_message(const struct wire *wire);
/* Takes the message's fds (closing what exceeds max), and the message off the buffer. */
uint32_t wire_take_fds(struct wire *wire, size_t size, int *fds, uint32_t max);
void wire_consume(struct wire *wire, size_t size);
/* Sends everything, fds with the first byte. While the socket is full, what arrives is buffered, so that two sides
 * that both send do not wait for each other. `iov` is used up. `sent`, if not NULL, is the bytes that left. */
int wire_send(struct wire *wire, struct iovec *iov, int n, const int *fds, uint32_t nfds, uint64_t deadline,
              size_t *sent);

/* ---- connection ----------------------------------------------------------------------------------------------- */

#define SLOTS 256u
#define TX_SIZE 65536u
#define TX_COPY 16384u   /* larger data are sent from where they are */
#define DIRECT 16384u    /* larger read data are received where they belong */
#define CHUNK MIB        /* the most that one region access carries */
#define INTR_INDEXES 5u
#define INTR_MAX 4096u

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_ANSWERED, SLOT_LOST };

/* A request whose reply is to come. */
struct slot {
    uint8_t state; /* enum slot_state */
    bool queued;   /* nobody waits for it but vfuc_drain */
    bool keep;     /* the reply stays in the buffer for the one who waits */
    uint16_t id, command;
    uint32_t region, size;
    uint64_t offset;
    void *data;    /* where a region read's data go */
    int *status;   /* of a queued one; may be NULL */
    int error;     /* 0 or -errno, once answered */
    uint32_t due;  /* bytes of the expected reply */
};

struct memory {
    uint64_t address, size;
    uint32_t flags;
    bool own; /* made by vfuc_memory_new */
    uint8_t *mem;
};

struct intr {
    uint32_t count;
    int *fds;
};

#define REGIONS 9u

struct maps {
    uint32_t n;
    struct vfuc_map *maps;
};

#define BELLS_MAX 256u

/* What GET_REGION_IO_FDS has said of one region. */
struct bells {
    uint32_t n, nfds;
    int fds[WIRE_FDS];
    struct bell {
        struct vfuc_doorbell info;
        int fd;              /* one of fds, or -1 */
        uint64_t *shadow;    /* inside one of mem, or NULL */
    } *list;
    uint32_t nmem;
    struct { void *at; size_t size; int fd; } mem[WIRE_FDS];
};

struct vfuc {
    struct vfuc_options options; /* with the defaults filled in */
    struct wire main, twin;
    bool negotiated;
    int broken;                  /* -EPROTO, -ENOTCONN: nothing works any more */
    char error[320];
    struct vfu_msg_header seen;  /* of the last message that came */
    bool met;                    /* there was one since the last request */
    char *server_json;
    struct vfuc_server server;

    uint8_t *tx;
    size_t tx_len;
    struct slot slots[SLOTS];
    uint16_t next_id, oldest_id;
    uint32_t waiting;            /* slots in SLOT_WAITING */
    uint32_t special;            /* of them, those whose reply may bring descriptors */
    size_t due;                  /* bytes of their replies */
    int drain_error;
    size_t kept;                 /* a kept reply at the head of main: its size */

    struct memory *memory;       /* by address */
    uint32_t nmemory, memory_room;
    vfuc_dma_fn *dma_fn;
    void *dma_ctx;
    uint8_t *scratch;            /* a DMA message's data */
    uint64_t dma_requests, dma_bytes;
    struct intr intr[INTR_INDEXES];
    struct maps maps[REGIONS];
    struct bells *bells[REGIONS];
};

uint64_t conn_now(void);
uint64_t conn_deadline(const struct vfuc *c);
/* Milliseconds until then for poll(2), rounded up; -1 for ever. */
int conn_left(uint64_t deadline);
/* Notes the text and returns err. */
int conn_error(struct vfuc *c, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same, and every later call returns err (-EPROTO, -ENOTCONN) with this text. */
int conn_broken(struct vfuc *c, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Whether the time is up. */
bool conn_late(uint64_t deadline);
/* 0 if a request may be sent now. */
int conn_ready(struct vfuc *c);

int hello_negotiate(struct vfuc *c);

/* Builds and queues one message; large bodies, and those with fds, leave at once. The slot is NULL for a posted one. */
int call_queue(struct vfuc *c, uint16_t command, const void *fixed, size_t nfixed, const void *body, size_t nbody,
               const int *fds, uint32_t nfds, struct slot **slot);
int call_flush(struct vfuc *c);
/* Waits until the slot is answered, frees it and returns its result. A kept reply: call_body, then call_done. */
int call_wait(struct vfuc *c, struct slot *slot);
const uint8_t *call_body(const struct vfuc *c, size_t *size);
void call_done(struct vfuc *c);
/* A synchronous request with a small reply: the whole of it. Returns the body's size or -errno. */
int call_simple(struct vfuc *c, uint16_t command, const void *fixed, size_t nfixed, const int *fds, uint32_t nfds,
                void *reply, size_t reply_max);
/* Handles what has been received: requests served, or -errno. Stops behind a kept reply. */
int call_dispatch(struct vfuc *c, uint64_t deadline);
/* One receive on whichever socket has something; -ETIMEDOUT. `extra` is one more fd to wake up for, or -1. */
int call_receive(struct vfuc *c, uint64_t deadline, int extra);
/* Waits for queued requests until one more with a reply of `due` bytes has room. */
int call_make_room(struct vfuc *c, size_t due);
const char *call_name(uint16_t command);

/* Answers the request at the head of `wire`, which is complete, and takes it off. */
int memory_serve(struct vfuc *c, struct wire *wire, size_t size);
/* The range is mapped no more. */
void memory_forget(struct vfuc *c, uint64_t address, uint64_t size);
void memory_close(struct vfuc *c);
void intr_close(struct vfuc *c);
void map_close(struct vfuc *c);
void bell_close(struct vfuc *c);

#endif
