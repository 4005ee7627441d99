/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport - bytes and descriptors in and out of one socket: message framing and batching, no meaning.
 *
 * Input is read in bulk into one buffer, and messages are handed out in place. Output is gathered in another buffer
 * and leaves in one send. Neither ever blocks: a partial message waits in the buffer, output that the peer does not
 * take waits until it does. Runs on its session's thread. Allocates when it is opened, never later.
 */
#ifndef CORE_TRANSPORT_H
#define CORE_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfu/protocol.h>

#include "core/wire/tracefile.h"

/* Descriptors taken with one message, and what VERSION offers as max_msg_fds. */
#define TRANSPORT_FDS 16u
/* The data one message may carry, and room for everything that stands before it. */
#define TRANSPORT_MAX_DATA 1048576u
#define TRANSPORT_MAX_MESSAGE (TRANSPORT_MAX_DATA + 4096u)

/* Of the transmit buffer: the largest reply, and those of a batch before it. */
#define TRANSPORT_TX_ROOM (TRANSPORT_MAX_MESSAGE + 128u * 1024u)

/* A message in the receive buffer: valid until the next call that receives. */
struct message {
    struct vfu_msg_header header;
    uint8_t *body;
    uint32_t size; /* of the body */
    uint32_t nfds;
    int fds[TRANSPORT_FDS]; /* closed by transport_done unless the slot was set to -1 */
    bool fds_lost;          /* some did not arrive: more than TRANSPORT_FDS, or the process has no room for them */
};

struct transport_fds {
    uint64_t position; /* in the stream, of the last byte of the receive that they came with */
    uint32_t n;
    bool lost;
    int fds[TRANSPORT_FDS];
};

/* What each message needs comes first. */
struct transport {
    int fd;
    uint32_t nin, nout;
    bool close_out;
    uint8_t *rx, *tx; /* one mapping */
    size_t rx_head, rx_tail;
    size_t tx_head, tx_tail;
    uint64_t rx_position; /* of rx_head, in the stream */
    /* Bytes that a message being received goes to instead of the buffer; see transport_sink. */
    size_t sink_left;
    uint8_t *sink;
    /* Bytes that follow the transmit buffer without a copy; see transport_append_memory. */
    size_t memory_left;
    const uint8_t *memory;
    /* The message trace; set right after transport_open. What is before `traced` in the stream is in it. */
    struct tracefile_tap tap;
    const char *tap_note; /* of every message, or NULL */
    uint64_t traced;
    struct transport_fds in[4]; /* nin of them */
    /* nout descriptors that ride on the message in tx[out_start, out_end). */
    size_t out_start, out_end;
    int out[TRANSPORT_FDS];
};

enum transport_result {
    TRANSPORT_MORE,  /* something came, and there may be more */
    TRANSPORT_EMPTY, /* nothing more for now: wait for the socket */
    TRANSPORT_EOF,   /* the peer is gone */
    TRANSPORT_FULL,  /* the buffer holds unhandled messages: handle some first */
};

/* Takes over fd, which becomes non-blocking. */
int transport_open(struct transport *t, int fd);
void transport_close(struct transport *t);

/* One receive, as much as fits. -errno for a broken socket. */
int transport_receive(struct transport *t);

/*
 * The next whole message, in place; its descriptors with it. 1; 0 if there is none yet; -EINVAL if what stands there
 * cannot be a message (size below 16 or above the largest): message->header is filled in, nothing after it means
 * anything.
 */
int transport_next(struct transport *t, struct message *message);
/* The message could not be handled yet: the next transport_next gives it again, descriptors and all. */
void transport_put_back(struct transport *t, struct message *message);
/* The message has been handled: its bytes and descriptors go. */
void transport_done(struct transport *t, struct message *message);

/* Nothing has been received that is not handled, not even a part of a message. */
static inline bool transport_taken(const struct transport *t)
{
    return t->rx_head == t->rx_tail && !t->sink_left;
}

/* The beginning of a message that has not arrived whole: its header and the bytes behind it that are there. 0 if less
 * than a header is there. */
int transport_peek(struct transport *t, struct vfu_msg_header *header, const uint8_t **body, size_t *have);
/* Eats `skip` bytes at the front of the buffer (a header), and takes the message's next `size` bytes, those in the
 * buffer and those to come, to `memory`. transport_sunk tells when they are all there. */
void transport_sink(struct transport *t, size_t skip, uint8_t *memory, size_t size);
static inline bool transport_sunk(const struct transport *t)
{
    return t->sink_left == 0;
}

/* Room for `size` bytes of output in one piece, or NULL: flush, and if that does not help wait for the socket. What is
 * asked for and not committed is forgotten. */
uint8_t *transport_room(struct transport *t, size_t size);
/* True if there is room at tx + tx_tail as things stand. */
static inline bool transport_has_room(const struct transport *t, size_t size)
{
    return !t->memory_left && TRANSPORT_TX_ROOM - t->tx_tail >= size;
}
/* One message. */
void transport_trace_out(struct transport *t, size_t size);
static inline void transport_commit(struct transport *t, size_t size)
{
    t->tx_tail += size;
    if (t->tap.file)
        transport_trace_out(t, size);
}
/* Messages are traced: each has to be in a buffer as a whole, and to pass through here. */
static inline bool transport_traced(const struct transport *t)
{
    return t->tap.file;
}
/* The `size` bytes to be committed next are a message that carries these descriptors; not while another waits. */
bool transport_can_carry(const struct transport *t);
void transport_carry(struct transport *t, size_t size, const int *fds, uint32_t n, bool close_after);
/* `size` bytes of `memory` follow what is committed, without a copy. The memory must stay. One at a time: until it has
 * left, transport_room gives NULL. */
void transport_append_memory(struct transport *t, const uint8_t *memory, size_t size);

/* Sends what waits. 0: all gone; -EAGAIN: the peer is slow; another -errno: the socket is broken. */
int transport_flush(struct transport *t);
static inline bool transport_pending(const struct transport *t)
{
    return t->tx_head != t->tx_tail || t->memory_left;
}

#endif
