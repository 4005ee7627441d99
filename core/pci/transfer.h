/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transfer - a device's asynchronous DMA: operations in order, mapped parts copied, the rest asked of the client in
 * DMA_READ and DMA_WRITE messages. Nothing here waits: a message is in flight while client commands go on being served.
 *
 * Several messages may be on their way, of at most 64 KiB together (stock clients truncate larger DMA_READ replies), and
 * none with more than the client's max_data_xfer_size. They leave in order, and a client handles them in order; what is
 * copied waits for the messages before it. So an operation sees what all before it have done. Every message has a time
 * limit; a reply that comes after it is recognised and dropped.
 * Runs on the device's thread.
 */
#ifndef CORE_TRANSFER_H
#define CORE_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/pci/dma.h"
#include "core/base/log.h"
#include "core/base/loop.h"
#include "core/wire/transport.h"

#define TRANSFER_MAX_OPS 4096u
#define TRANSFER_MESSAGE_MAX 65536u
#define TRANSFER_FLIGHTS 16u /* messages on their way */
#define TRANSFER_LATE_MAX 256u
#define TRANSFER_TIMEOUT_NS UINT64_C(5000000000)

/* A message that is on its way, or whose reply has come before that of an earlier one. */
struct transfer_flight {
    struct vfu_dma_op *op;
    uint64_t at; /* where in the operation */
    uint64_t deadline;
    uint32_t len;
    int32_t status; /* once it has arrived */
    uint16_t id;
    bool reading, arrived;
};

struct transfer {
    const char *who;
    struct loop *loop;
    struct dma *dma;
    void *self; /* the plugin's, for op->done */
    struct vfu_dma_op *first, *last;
    uint32_t nops;
    uint64_t moved;    /* bytes of the first op that are done */
    struct vfu_dma_op *next; /* of which something is to be sent or copied; the first, or one behind it */
    uint64_t sent;     /* bytes of that one that are done or on their way */
    struct transfer_flight flights[TRANSFER_FLIGHTS]; /* the oldest first */
    uint32_t nflights;
    uint32_t inflight; /* bytes in them */
    uint16_t next_id;
    bool frozen;      /* stopped for migration: replies are kept, nothing new starts */
    bool scheduled;   /* transfer_pump is deferred */
    bool pumping;     /* it runs */
    bool starved;     /* the next message waits for room in `out`: pump when some has left */
    uint64_t round;   /* of cancels: an op belongs to the one it was submitted in */
    uint16_t late[TRANSFER_LATE_MAX]; /* ids of messages given up, whose replies may still come */
    uint32_t nlate;
    uint32_t message_max;
    struct loop_timer timer; /* of the oldest message without a reply, or of one before it */
    struct log_limit limit;
    bool attached;    /* there is a client */
    struct transport *out; /* where messages go, or NULL */
    void (*kick)(void *ctx); /* output is waiting in `out` */
    void *ctx;
    void (*idle)(void *ctx); /* the last op has ended; may be NULL */
    void *idle_ctx;
};

void transfer_init(struct transfer *x, const char *who, struct loop *loop, struct dma *dma, void *self);
/* A client is here: messages go to `out`, in pieces of at most max_data bytes. */
void transfer_attach(struct transfer *x, struct transport *out, uint64_t max_data, void (*kick)(void *ctx), void *ctx);
/* The way for messages is gone, the client is not: everything ends with status, and from now on what only messages
 * reach fails with -EFAULT. */
void transfer_lose(struct transfer *x, int32_t status);
/* The client is gone: everything ends with status. */
void transfer_detach(struct transfer *x, int32_t status);

/* As vfu_host.dma_submit; -EALREADY: the op is in flight. */
int transfer_submit(struct transfer *x, struct vfu_dma_op *op);
/* The same, with another self for `done` than the device's. */
int transfer_submit_self(struct transfer *x, struct vfu_dma_op *op, void *self);
/* Takes an op back, if it is there still, without a call of `done`; a message in flight is given up. */
void transfer_withdraw(struct transfer *x, struct vfu_dma_op *op);
/* Ends every operation with status (-ECANCELED); a message in flight is given up. */
void transfer_cancel(struct transfer *x, int32_t status);
void transfer_freeze(struct transfer *x, bool frozen);

/* A message of type reply. 0, or -EINVAL if it answers nothing or does not fit what it answers (logged). */
int transfer_reply(struct transfer *x, const struct message *message);
/* Moves on: copies mapped parts, writes the next message into `out` as room allows. */
void transfer_pump(struct transfer *x);

#endif
