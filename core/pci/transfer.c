/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transfer - a device's asynchronous DMA. Runs on the device's thread; no locks.
 *
 * `done` is never called inside transfer_submit: a pump is deferred instead, or is what calls. It may submit again,
 * cancel, or reset the device, so the list is looked at afresh after each call of it.
 *
 * The timer is armed for the oldest message's time limit or for one before it: a reply leaves it alone, and where it goes
 * off for a message that has been answered it is armed for the oldest there is then.
 */
#include "core/pci/transfer.h"

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

/* ---- messages on their way --------------------------------------------------------------------------------------- */

static struct transfer_flight *oldest(struct transfer *x)
{
    for (uint32_t i = 0; i < x->nflights; i++)
        if (!x->flights[i].arrived)
            return &x->flights[i];
    return NULL;
}

static void remove_flight(struct transfer *x, uint32_t i)
{
    x->inflight -= x->flights[i].len;
    if (i < --x->nflights)
        memmove(x->flights + i, x->flights + i + 1, (x->nflights - i) * sizeof x->flights[0]);
}

/* Its reply, should it come, is dropped without an error. */
static void expect_late(struct transfer *x, const struct transfer_flight *flight)
{
    if (!flight->reading)
        dma_wrote(x->dma, flight->op->addr + flight->at, flight->len); /* it may have arrived all the same */
    if (x->nlate == TRANSFER_LATE_MAX) {
        memmove(x->late, x->late + 1, (TRANSFER_LATE_MAX - 1) * sizeof x->late[0]);
        x->nlate--;
    }
    x->late[x->nlate++] = flight->id;
}

/* It is given up, and its op fails in its turn. */
static void end_flight(struct transfer *x, struct transfer_flight *flight, int32_t status)
{
    expect_late(x, flight);
    flight->arrived = true;
    flight->status = status;
    schedule(x);
}

/* Sees to a timer that is not armed. A message that nobody would give up is given up now. */
static void set_timer(struct transfer *x)
{
    struct transfer_flight *flight;

    while (!loop_armed(&x->timer) && (flight = oldest(x)) && loop_arm(x->loop, &x->timer, flight->deadline))
        end_flight(x, flight, -ENOMEM);
}

/* The messages of this op, or of all, are given up. */
static void give_up(struct transfer *x, const struct vfu_dma_op *op)
{
    for (uint32_t i = 0; i < x->nflights;) {
        if (op && x->flights[i].op != op) {
            i++;
            continue;
        }
        if (!x->flights[i].arrived)
            expect_late(x, &x->flights[i]);
        else if (!x->flights[i].reading)
            dma_wrote(x->dma, x->flights[i].op->addr + x->flights[i].at, x->flights[i].len);
        remove_flight(x, i);
    }
}

/* ---- the ends of operations -------------------------------------------------------------------------------------- */

static void finish_first(struct transfer *x, int32_t status)
{
    struct vfu_dma_op *op = x->first;

    if (x->nflights)
        give_up(x, op);
    x->first = next_of(op);
    if (!x->first)
        x->last = NULL;
    if (x->next == op) {
        x->next = x->first;
        x->sent = 0;
    }
    if ((op->flags & VFU_DMA_WRITE) && x->moved)
        dma_wrote(x->dma, op->addr, x->moved);
    x->nops--;
    x->moved = 0;
    op->reserved[LINK] = op->reserved[MARK] = 0;
    op->done((void *)(uintptr_t)op->reserved[SELF], op, status);
    if (!x->nops && x->idle)
        x->idle(x->idle_ctx);
}

/* Takes replies in, in the order of their messages. Its plugin hears of an op's end when the device runs. */
static void settle(struct transfer *x)
{
    while (!x->frozen && x->nflights && x->flights[0].arrived) {
        const struct transfer_flight flight = x->flights[0];

        remove_flight(x, 0);
        if (!flight.status)
            x->moved += flight.len;
        if (flight.status || x->moved == flight.op->len)
            finish_first(x, flight.status);
    }
}

static void end_late(struct transfer *x, struct transfer_flight *flight)
{
    log_limited(&x->limit, x->who, LOG_ERROR,
                "%s of %u bytes at %#llx: no reply from the client in %llu s; the DMA fails (ETIMEDOUT)",
                flight->reading ? "DMA_READ" : "DMA_WRITE", flight->len,
                (unsigned long long)(flight->op->addr + flight->at),
                (unsigned long long)(TRANSFER_TIMEOUT_NS / 1000000000u));
    end_flight(x, flight, -ETIMEDOUT);
}

static void timed_out(struct loop_timer *timer)
{
    struct transfer *x = (struct transfer *)((char *)timer - offsetof(struct transfer, timer));
    struct transfer_flight *flight = oldest(x);

    if (flight && flight->deadline <= timer->deadline)
        end_late(x, flight);
    set_timer(x);
    settle(x);
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
    x->nflights = x->inflight = 0;
    x->frozen = x->starved = false;
    x->next_id = 0;
}

void transfer_cancel(struct transfer *x, int32_t status)
{
    uint64_t round = x->round++;

    give_up(x, NULL);
    loop_disarm(x->loop, &x->timer);
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
    if (x->nops >= TRANSFER_MAX_OPS || (!x->pumping && !schedule(x)))
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
    if (!x->next) {
        x->next = op;
        x->sent = 0;
    }
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
    give_up(x, op);
    if (before) {
        before->reserved[LINK] = op->reserved[LINK];
    } else {
        if ((op->flags & VFU_DMA_WRITE) && x->moved)
            dma_wrote(x->dma, op->addr, x->moved);
        x->moved = 0;
        x->first = next_of(op);
    }
    if (x->next == op) {
        x->next = next_of(op);
        x->sent = 0;
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

static bool is_used(const struct transfer *x, uint16_t id)
{
    for (uint32_t i = 0; i < x->nflights; i++)
        if (x->flights[i].id == id)
            return true;
    return find_late(x, id) < x->nlate;
}

/* Writes one message for the `n` bytes at the next op's present place. False: no room now. */
static bool send_message(struct transfer *x, struct vfu_dma_op *op, uint32_t n)
{
    bool write = (op->flags & VFU_DMA_WRITE) != 0;
    uint32_t size = (uint32_t)(sizeof(struct vfu_msg_header) + sizeof(struct vfu_msg_dma_access)) + (write ? n : 0);
    struct vfu_msg_header header = { .command = write ? VFU_CMD_DMA_WRITE : VFU_CMD_DMA_READ, .size = size };
    struct vfu_msg_dma_access access = { .address = op->addr + x->sent, .count = n };
    uint8_t *room = transport_room(x->out, size);

    x->starved = !room;
    if (!room)
        return false;
    do
        header.id = x->next_id++;
    while (is_used(x, header.id));
    memcpy(room, &header, sizeof header);
    memcpy(room + sizeof header, &access, sizeof access);
    if (write)
        memcpy(room + sizeof header + sizeof access, (uint8_t *)op->buf + x->sent, n);
    transport_commit(x->out, size);
    x->flights[x->nflights++] = (struct transfer_flight){ .op = op, .at = x->sent, .len = n, .id = header.id,
                                                          .reading = !write,
                                                          .deadline = loop_now() + TRANSFER_TIMEOUT_NS };
    x->inflight += n;
    x->sent += n;
    set_timer(x);
    return true;
}

/* A piece that goes by message. False: it has to wait. */
static bool ask_client(struct transfer *x, struct vfu_dma_op *op, uint64_t piece)
{
    uint32_t n = piece < x->message_max ? (uint32_t)piece : x->message_max;

    if (x->nflights == TRANSFER_FLIGHTS || (x->nflights && x->inflight + n > TRANSFER_MESSAGE_MAX))
        return false;
    return send_message(x, op, n);
}

/* Goes on with the next op. 0: all of it is done or on its way; 1: it has to wait; -errno: it has failed. */
static int step(struct transfer *x, struct vfu_dma_op *op)
{
    bool write = (op->flags & VFU_DMA_WRITE) != 0;

    if (!op->len && x->nflights)
        return 1;
    while (x->sent < op->len) {
        uint8_t *pointer;
        uint64_t piece;
        int error = dma_piece(x->dma, op->addr + x->sent, op->len - x->sent, write, &pointer, &piece);

        /* All of it is looked at before any of it moves. */
        if (!error && x->sent == 0 && piece < op->len)
            error = dma_check(x->dma, op->addr, op->len, write);
        if (error < 0)
            return error;
        if (!pointer) {
            if (!x->out)
                return -EFAULT;
            if (!ask_client(x, op, piece))
                return 1;
            continue;
        }
        if (x->nflights)
            return 1;
        error = dma_copy(x->dma, op->addr + x->sent, (uint8_t *)op->buf + x->sent, piece, write);
        if (error)
            return error;
        x->sent += piece;
        x->moved += piece;
    }
    return 0;
}

void transfer_pump(struct transfer *x)
{
    x->starved = false;
    x->pumping = true; /* what `done` submits is seen to here */
    settle(x);
    for (int n = 0; x->next && x->attached && !x->frozen; n++) {
        struct vfu_dma_op *op = x->next;
        int status;

        if (n == OPS_A_PUMP) {
            schedule(x);
            break;
        }
        status = step(x, op);
        if (status > 0 || (status < 0 && x->nflights))
            break; /* what has failed ends in its turn */
        if (x->nflights) {
            x->next = next_of(op);
            x->sent = 0;
        } else {
            finish_first(x, status);
        }
    }
    x->pumping = false;
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

/* 0, or what is wrong with the reply to a message. */
static const char *misfit(const struct transfer_flight *flight, const struct message *message,
                          struct vfu_msg_dma_access *access)
{
    size_t data = flight->reading ? flight->len : 0;

    /* The count of a DMA_WRITE reply is 8 bytes in some clients and 4 in others, as the specification has both. */
    if (message->size < (flight->reading ? sizeof *access : 12))
        return "a short reply";
    memset(access, 0, sizeof *access);
    memcpy(access, message->body, message->size < sizeof *access ? message->size : sizeof *access);
    if (access->address != flight->op->addr + flight->at)
        return "a reply for another address";
    if (access->count != flight->len)
        return "a reply with another count";
    if (flight->reading && message->size != sizeof *access + data)
        return "a reply of another length";
    return NULL;
}

static struct transfer_flight *find_flight(struct transfer *x, const struct vfu_msg_header *header)
{
    for (uint32_t i = 0; i < x->nflights; i++) {
        struct transfer_flight *flight = &x->flights[i];

        if (!flight->arrived && flight->id == header->id &&
            header->command == (flight->reading ? VFU_CMD_DMA_READ : VFU_CMD_DMA_WRITE))
            return flight;
    }
    return NULL;
}

/* What the client says of it: its end. */
static int arrive(struct transfer *x, const struct transfer_flight *flight, const struct message *message)
{
    const struct vfu_msg_header *header = &message->header;
    const char *what = flight->reading ? "DMA_READ" : "DMA_WRITE", *why;
    unsigned long long address = flight->op->addr + flight->at;
    struct vfu_msg_dma_access access;

    if (header->flags & VFU_MSG_ERROR) {
        log_limited(&x->limit, x->who, LOG_WARN, "%s of %u bytes at %#llx: the client answered with error %u (%s)", what,
                    flight->len, address, header->error, strerror((int)header->error));
        return -EIO;
    }
    why = misfit(flight, message, &access);
    if (why) {
        log_limited(&x->limit, x->who, LOG_WARN, "%s of %u bytes at %#llx: the client sent %s; the DMA fails (EIO)", what,
                    flight->len, address, why);
        return -EIO;
    }
    if (flight->reading)
        memcpy((uint8_t *)flight->op->buf + flight->at, message->body + sizeof access, flight->len);
    return 0;
}

int transfer_reply(struct transfer *x, const struct message *message)
{
    struct transfer_flight *flight = find_flight(x, &message->header);

    if (!flight) {
        if (is_late(x, message->header.id))
            return 0;
        log_limited(&x->limit, x->who, LOG_WARN, "a reply (command %u, id %u) answers nothing that was asked",
                    message->header.command, message->header.id);
        return -EINVAL;
    }
    flight->status = arrive(x, flight, message);
    flight->arrived = true;
    transfer_pump(x);
    return 0;
}
