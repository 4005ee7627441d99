/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transfer - a device's asynchronous DMA. Runs on the device's thread; no locks.
 *
 * `done` is never called inside transfer_submit: a pump is deferred instead. It may submit again, cancel, or reset the
 * device, so the list is looked at afresh after each call of it.
 */
#include "core/transfer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Of one deferred pump: a model that submits in `done` for ever must let the client in. */
#define OPS_A_PUMP 64
/* In the op's reserved words: the list's link, and transfer.round as it was submitted. */
#define LINK 0
#define ROUND 1
#define SELF 2 /* what `done` is called with */
#define MARK 3 /* mark_of(op) while it is in the list */

static struct vfu_dma_op *next_of(const struct vfu_dma_op *op)
{
    return (struct vfu_dma_op *)(uintptr_t)op->reserved[LINK];
}

/* Nothing that stands there by chance, or was copied from another op. */
static uint64_t mark_of(const struct transfer *x, const struct vfu_dma_op *op)
{
    return ((uint64_t)(uintptr_t)op * UINT64_C(0x9e3779b97f4a7c15)) ^ (uint64_t)(uintptr_t)x ^ UINT64_C(0x76667564);
}

static bool listed(const struct transfer *x, const struct vfu_dma_op *op)
{
    const struct vfu_dma_op *at = x->first;

    while (at && at != op)
        at = next_of(at);
    return at;
}

static void deferred_pump(void *arg)
{
    struct transfer *x = arg;

    x->scheduled = false;
    transfer_pump(x);
}

static bool schedule(struct transfer *x)
{
    if (!x->scheduled && loop_defer(x->loop, deferred_pump, x) == 0)
        x->scheduled = true;
    return x->scheduled;
}

/* The message in flight is given up: its reply, should it come, is dropped without an error. */
static void give_up(struct transfer *x)
{
    if (!x->inflight)
        return;
    loop_disarm(x->loop, &x->timer);
    if (!x->reading)
        dma_wrote(x->dma, x->first->addr + x->moved, x->inflight); /* it may have arrived all the same */
    x->inflight = 0;
    if (x->nlate == TRANSFER_LATE_MAX) {
        memmove(x->late, x->late + 1, (TRANSFER_LATE_MAX - 1) * sizeof x->late[0]);
        x->nlate--;
    }
    x->late[x->nlate++] = x->id;
}

static void finish_first(struct transfer *x, int32_t status)
{
    struct vfu_dma_op *op = x->first;

    x->first = next_of(op);
    if (!x->first)
        x->last = NULL;
    if ((op->flags & VFU_DMA_WRITE) && x->moved)
        dma_wrote(x->dma, op->addr, x->moved);
    x->nops--;
    x->moved = 0;
    x->failed = 0;
    op->reserved[LINK] = op->reserved[MARK] = 0;
    op->done((void *)(uintptr_t)op->reserved[SELF], op, status);
    if (!x->nops && x->idle)
        x->idle(x->idle_ctx);
}

/* The first op has failed. Its plugin hears of it when the device runs. */
static void fail_first(struct transfer *x, int32_t status)
{
    if (x->frozen)
        x->failed = status;
    else
        finish_first(x, status);
}

static void timed_out(struct loop_timer *timer)
{
    struct transfer *x = (struct transfer *)((char *)timer - offsetof(struct transfer, timer));

    log_limited(&x->limit, x->who, LOG_ERROR,
                "%s of %u bytes at %#llx: no reply from the client in %llu s; the DMA fails (ETIMEDOUT)",
                x->reading ? "DMA_READ" : "DMA_WRITE", x->inflight, (unsigned long long)(x->first->addr + x->moved),
                (unsigned long long)(TRANSFER_TIMEOUT_NS / 1000000000u));
    give_up(x);
    fail_first(x, -ETIMEDOUT);
    schedule(x);
}

void transfer_init(struct transfer *x, const char *who, struct loop *loop, struct dma *dma, void *self)
{
    memset(x, 0, sizeof *x);
    x->who = who;
    x->loop = loop;
    x->dma = dma;
    x->self = self;
    x->timer.fn = timed_out;
}

void transfer_attach(struct transfer *x, struct transport *out, uint64_t max_data, void (*kick)(void *ctx), void *ctx)
{
    x->attached = true;
    x->out = out;
    x->message_max = max_data < TRANSFER_MESSAGE_MAX ? (uint32_t)max_data : TRANSFER_MESSAGE_MAX;
    x->kick = kick;
    x->ctx = ctx;
    x->nlate = 0;
    x->inflight = 0;
    x->frozen = x->starved = false;
    x->next_id = 0;
}

void transfer_cancel(struct transfer *x, int32_t status)
{
    uint64_t round = x->round++;

    give_up(x);
    /* What `done` submits comes behind and stays, also where `done` cancels in its turn. */
    while (x->first && x->first->reserved[ROUND] <= round)
        finish_first(x, status);
    if (x->first)
        schedule(x);
    else if (x->idle)
        x->idle(x->idle_ctx);
}

void transfer_lose(struct transfer *x, int32_t status)
{
    x->out = NULL;
    x->starved = false;
    transfer_cancel(x, status);
}

void transfer_detach(struct transfer *x, int32_t status)
{
    x->attached = false;
    x->out = NULL;
    x->frozen = false;
    transfer_cancel(x, status);
    x->nlate = 0;
}

void transfer_freeze(struct transfer *x, bool frozen)
{
    x->frozen = frozen;
    if (!frozen && x->first)
        schedule(x);
}

int transfer_submit(struct transfer *x, struct vfu_dma_op *op)
{
    return transfer_submit_self(x, op, x->self);
}

int transfer_submit_self(struct transfer *x, struct vfu_dma_op *op, void *self)
{
    if (!op || op->struct_size < offsetof(struct vfu_dma_op, reserved) + sizeof op->reserved || !op->done ||
        (op->flags & ~VFU_DMA_WRITE) || (op->len && !op->buf))
        return -EINVAL;
    if (!x->attached)
        return -ENOTCONN;
    if (x->frozen)
        return -EBUSY;
    /* The mark tells; only where somebody has overwritten it, or it is a lie, does the list. */
    if (op == x->first || op == x->last || (op->reserved[MARK] == mark_of(x, op) && listed(x, op)))
        return -EALREADY;
    if (x->nops >= TRANSFER_MAX_OPS || !schedule(x))
        return -ENOBUFS;
    op->reserved[LINK] = 0;
    op->reserved[ROUND] = x->round;
    op->reserved[SELF] = (uint64_t)(uintptr_t)self;
    op->reserved[MARK] = mark_of(x, op);
    if (x->last)
        x->last->reserved[LINK] = (uint64_t)(uintptr_t)op;
    else
        x->first = op;
    x->last = op;
    x->nops++;
    return 0;
}

void transfer_withdraw(struct transfer *x, struct vfu_dma_op *op)
{
    struct vfu_dma_op *before = NULL;

    for (struct vfu_dma_op *at = x->first; at != op; at = next_of(at)) {
        if (!at)
            return;
        before = at;
    }
    if (before) {
        before->reserved[LINK] = op->reserved[LINK];
    } else {
        give_up(x);
        if ((op->flags & VFU_DMA_WRITE) && x->moved)
            dma_wrote(x->dma, op->addr, x->moved);
        x->moved = 0;
        x->failed = 0;
        x->first = next_of(op);
    }
    if (x->last == op)
        x->last = before;
    x->nops--;
    op->reserved[LINK] = op->reserved[MARK] = 0;
    if (x->first)
        schedule(x);
}

/* Its place in the list of messages given up; nlate: it is none of them. */
static uint32_t find_late(const struct transfer *x, uint16_t id)
{
    uint32_t i = 0;

    while (i < x->nlate && x->late[i] != id)
        i++;
    return i;
}

/* Writes one message for the `n` bytes at the first op's present place. False: no room now. */
static bool send_message(struct transfer *x, struct vfu_dma_op *op, uint32_t n)
{
    bool write = (op->flags & VFU_DMA_WRITE) != 0;
    uint32_t size = (uint32_t)(sizeof(struct vfu_msg_header) + sizeof(struct vfu_msg_dma_access)) + (write ? n : 0);
    struct vfu_msg_header header = { .command = write ? VFU_CMD_DMA_WRITE : VFU_CMD_DMA_READ, .size = size };
    struct vfu_msg_dma_access access = { .address = op->addr + x->moved, .count = n };
    uint8_t *room = transport_room(x->out, size);

    if (!room)
        return false;
    do
        x->id = x->next_id++;
    while (find_late(x, x->id) < x->nlate);
    header.id = x->id;
    memcpy(room, &header, sizeof header);
    memcpy(room + sizeof header, &access, sizeof access);
    if (write)
        memcpy(room + sizeof header + sizeof access, (uint8_t *)op->buf + x->moved, n);
    transport_commit(x->out, size);
    x->inflight = n;
    x->reading = !write;
    return true;
}

/* One step of the first op. 0: it is done; 1: a message is in flight, or waits for room; -errno: it has failed. */
static int step(struct transfer *x, struct vfu_dma_op *op)
{
    bool write = (op->flags & VFU_DMA_WRITE) != 0;

    if (x->moved == 0) {
        int error = dma_check(x->dma, op->addr, op->len, write);

        if (error < 0)
            return error;
    }
    while (x->moved < op->len) {
        uint8_t *pointer;
        uint64_t piece;
        int error = dma_piece(x->dma, op->addr + x->moved, op->len - x->moved, write, &pointer, &piece);

        if (error)
            return error;
        if (!pointer) {
            uint32_t n = piece < x->message_max ? (uint32_t)piece : x->message_max;

            if (!x->out)
                return -EFAULT;
            if (!send_message(x, op, n))
                return 1;
            return loop_arm(x->loop, &x->timer, loop_now() + TRANSFER_TIMEOUT_NS) ? -ENOMEM : 1;
        }
        error = dma_copy(x->dma, op->addr + x->moved, (uint8_t *)op->buf + x->moved, piece, write);
        if (error)
            return error;
        x->moved += piece;
    }
    return 0;
}

void transfer_pump(struct transfer *x)
{
    x->starved = false;
    for (int n = 0; x->first && x->attached && !x->inflight && !x->frozen; n++) {
        int status;

        if (n == OPS_A_PUMP) {
            schedule(x);
            break;
        }
        status = x->failed ? x->failed : step(x, x->first);
        if (status > 0) {
            x->starved = !x->inflight;
            break;
        }
        give_up(x);
        finish_first(x, status);
    }
    if (x->out && transport_pending(x->out))
        x->kick(x->ctx);
}

/* The reply of a message that was given up earlier: it comes once. */
static bool is_late(struct transfer *x, uint16_t id)
{
    uint32_t i = find_late(x, id);

    if (i == x->nlate)
        return false;
    memmove(x->late + i, x->late + i + 1, (x->nlate - i - 1) * sizeof x->late[0]);
    x->nlate--;
    return true;
}

/* 0, or what is wrong with a reply to the message in flight. */
static const char *misfit(const struct transfer *x, const struct message *message, struct vfu_msg_dma_access *access)
{
    size_t data = x->reading ? x->inflight : 0;

    /* The count of a DMA_WRITE reply is 8 bytes in some clients and 4 in others, as the specification has both. */
    if (message->size < (x->reading ? sizeof *access : 12))
        return "a short reply";
    memset(access, 0, sizeof *access);
    memcpy(access, message->body, message->size < sizeof *access ? message->size : sizeof *access);
    if (access->address != x->first->addr + x->moved)
        return "a reply for another address";
    if (access->count != x->inflight)
        return "a reply with another count";
    if (x->reading && message->size != sizeof *access + data)
        return "a reply of another length";
    return NULL;
}

int transfer_reply(struct transfer *x, const struct message *message)
{
    const struct vfu_msg_header *header = &message->header;
    struct vfu_msg_dma_access access;
    const char *why;
    int status = 0;

    if (!x->inflight || header->id != x->id || header->command != (x->reading ? VFU_CMD_DMA_READ : VFU_CMD_DMA_WRITE)) {
        if (is_late(x, header->id))
            return 0;
        log_limited(&x->limit, x->who, LOG_WARN, "a reply (command %u, id %u) answers nothing that was asked",
                    header->command, header->id);
        return -EINVAL;
    }
    if (header->flags & VFU_MSG_ERROR) {
        status = -EIO;
        log_limited(&x->limit, x->who, LOG_WARN, "%s of %u bytes at %#llx: the client answered with error %u (%s)",
                    x->reading ? "DMA_READ" : "DMA_WRITE", x->inflight,
                    (unsigned long long)(x->first->addr + x->moved), header->error, strerror((int)header->error));
    } else if ((why = misfit(x, message, &access))) {
        status = -EIO;
        log_limited(&x->limit, x->who, LOG_WARN, "%s of %u bytes at %#llx: the client sent %s; the DMA fails (EIO)",
                    x->reading ? "DMA_READ" : "DMA_WRITE", x->inflight,
                    (unsigned long long)(x->first->addr + x->moved), why);
    } else if (x->reading) {
        memcpy((uint8_t *)x->first->buf + x->moved, message->body + sizeof access, x->inflight);
    }
    loop_disarm(x->loop, &x->timer);
    x->moved += x->inflight;
    x->inflight = 0;
    if (status)
        fail_first(x, status);
    transfer_pump(x);
    return 0;
}
