/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * call - requests and their replies. Small messages are collected in one buffer and leave together; replies are matched
 * by id, in whatever order they come. The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

const char *call_name(uint16_t command)
{
    static const char *const names[] = {
        "command 0", "VERSION", "DMA_MAP", "DMA_UNMAP", "DEVICE_GET_INFO", "DEVICE_GET_REGION_INFO",
        "DEVICE_GET_REGION_IO_FDS", "DEVICE_GET_IRQ_INFO", "DEVICE_SET_IRQS", "REGION_READ", "REGION_WRITE", "DMA_READ",
        "DMA_WRITE", "DEVICE_RESET", "DIRTY_PAGES", "REGION_WRITE_MULTI", "DEVICE_FEATURE", "MIG_DATA_READ",
        "MIG_DATA_WRITE",
    };

    return command < sizeof names / sizeof names[0] ? names[command] : "unknown command";
}

static void call_saw(struct vfuc *c, const struct vfu_msg_header *header)
{
    c->seen = *header;
    c->met = true;
}

static int call_send(struct vfuc *c, struct iovec *iov, int n, const int *fds, uint32_t nfds)
{
    size_t sent = 0;
    int err = wire_send(&c->main, iov, n, fds, nfds, conn_deadline(c), &sent);

    if (!err)
        return 0;
    if (err == -ETIMEDOUT) {
        conn_broken(c, -EPROTO, "the server did not take a message in time (cut off after %zu bytes)", sent);
        return err;
    }
    if (err == -EPIPE || err == -ECONNRESET)
        return conn_broken(c, -ENOTCONN, "the server has closed the connection");
    return conn_broken(c, err, "cannot send: %s", strerror(-err));
}

int call_flush(struct vfuc *c)
{
    struct iovec iov = { c->tx, c->tx_len };

    if (!c->tx_len)
        return 0;
    c->tx_len = 0;
    return call_send(c, &iov, 1, NULL, 0);
}

/* The next id whose slot is free: a late reply's slot stays taken until it has come. */
static struct slot *call_slot(struct vfuc *c)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        uint16_t id = c->next_id++;
        struct slot *slot = &c->slots[id % SLOTS];

        if (slot->state != SLOT_FREE)
            continue;
        memset(slot, 0, sizeof *slot);
        slot->id = id;
        return slot;
    }
    return NULL;
}

static int call_put(struct vfuc *c, const struct vfu_msg_header *header, const void *fixed, size_t nfixed,
                    const void *body, size_t nbody, const int *fds, uint32_t nfds)
{
    struct iovec iov[4];
    int n = 0;

    if (!nfds && nbody <= TX_COPY && header->size <= TX_SIZE) {
        uint8_t *to;

        if (c->tx_len + header->size > TX_SIZE) {
            int err = call_flush(c);

            if (err)
                return err;
        }
        to = c->tx + c->tx_len;
        memcpy(to, header, HEADER);
        if (nfixed)
            memcpy(to + HEADER, fixed, nfixed);
        if (nbody)
            memcpy(to + HEADER + nfixed, body, nbody);
        c->tx_len += header->size;
        return 0;
    }
    if (nfds) {
        int err = call_flush(c);

        if (err)
            return err;
    }
    iov[n++] = (struct iovec){ c->tx, c->tx_len };
    iov[n++] = (struct iovec){ (void *)header, HEADER };
    iov[n++] = (struct iovec){ (void *)fixed, nfixed };
    iov[n++] = (struct iovec){ (void *)body, nbody };
    c->tx_len = 0;
    return call_send(c, iov, n, fds, nfds);
}

static bool call_is_access(uint16_t command)
{
    return command == VFU_CMD_REGION_READ || command == VFU_CMD_REGION_WRITE;
}

int call_queue(struct vfuc *c, uint16_t command, const void *fixed, size_t nfixed, const void *body, size_t nbody,
               const int *fds, uint32_t nfds, struct slot **slot)
{
    struct vfu_msg_header header = { .command = command, .size = (uint32_t)(HEADER + nfixed + nbody) };
    int err;

    if (c->broken)
        return c->broken;
    if (c->main.fd < 0)
        return conn_error(c, -ENOTCONN, "not connected");
    c->met = false;
    if (nbody > UINT32_MAX - HEADER - nfixed)
        return conn_error(c, -EMSGSIZE, "%s: a body of %zu bytes is too long", call_name(command), nbody);
    if (slot) {
        *slot = call_slot(c);
        if (!*slot)
            return conn_error(c, -EBUSY, "%u requests wait for their replies", SLOTS);
        header.id = (*slot)->id;
        (*slot)->command = command;
        (*slot)->due = HEADER;
    } else {
        header.id = c->next_id++;
        header.flags = VFU_MSG_NO_REPLY;
    }
    err = call_put(c, &header, fixed, nfixed, body, nbody, fds, nfds);
    if (err)
        return err;
    if (slot) {
        (*slot)->state = SLOT_WAITING;
        c->waiting++;
        c->special += !call_is_access(command);
        c->main.plain = !c->special;
    }
    return 0;
}

static void call_finish(struct vfuc *c, struct slot *slot, int err)
{
    c->waiting--;
    c->special -= !call_is_access(slot->command);
    slot->error = err;
    slot->state = slot->queued ? SLOT_FREE : SLOT_ANSWERED;
    if (!slot->queued)
        return;
    c->due -= slot->due;
    if (slot->status)
        *slot->status = err;
    if (err && !c->drain_error)
        c->drain_error = err;
}

/* Nobody waits for it any more; its id stays known until the reply comes, or the connection ends. */
static void call_lose(struct vfuc *c, struct slot *slot, int err)
{
    call_finish(c, slot, err);
    slot->state = c->broken ? SLOT_FREE : SLOT_LOST;
}

static int call_refused(struct vfuc *c, const struct slot *slot, const struct vfu_msg_header *header)
{
    int err = header->error >= 1 && header->error <= 4095 ? -(int)header->error : -EIO;
    const char *text = strerror(-err);

    if (slot->command == VFU_CMD_REGION_READ || slot->command == VFU_CMD_REGION_WRITE)
        return conn_error(c, err, "%s of %u bytes at 0x%llx of region %u: the server says: %s",
                          call_name(slot->command), slot->size, (unsigned long long)slot->offset, slot->region, text);
    return conn_error(c, err, "%s: the server says: %s", call_name(slot->command), text);
}

/* The fixed part of a region access's reply repeats the request. */
static int call_check_access(struct vfuc *c, const struct slot *slot, uint32_t size)
{
    const uint8_t *body = c->main.rx + c->main.head + HEADER;
    uint32_t expected = HEADER + (uint32_t)sizeof(struct vfu_msg_region_access);
    struct vfu_msg_region_access reply;

    if (slot->command == VFU_CMD_REGION_READ)
        expected += slot->size;
    if (size != expected)
        return conn_broken(c, -EPROTO, "reply id %u (%s): %u bytes, expected %u", slot->id, call_name(slot->command),
                           size, expected);
    memcpy(&reply, body, sizeof reply);
    if (reply.offset != slot->offset || reply.region != slot->region || reply.count != slot->size)
        return conn_broken(
            c, -EPROTO,
            "reply id %u (%s): region %u, offset 0x%llx, %u bytes; expected region %u, offset 0x%llx, %u bytes",
            slot->id, call_name(slot->command), reply.region, (unsigned long long)reply.offset, reply.count,
            slot->region, (unsigned long long)slot->offset, slot->size);
    return 0;
}

/* The id of the request that has waited longest. */
static uint16_t call_expected(const struct vfuc *c)
{
    uint16_t age = 0;

    for (uint32_t i = 0; i < SLOTS; i++) {
        if (c->slots[i].state == SLOT_WAITING && (uint16_t)(c->next_id - c->slots[i].id) > age)
            age = (uint16_t)(c->next_id - c->slots[i].id);
    }
    return (uint16_t)(c->next_id - age);
}

static struct slot *call_match(struct vfuc *c, const struct vfu_msg_header *header)
{
    struct slot *slot = &c->slots[header->id % SLOTS];

    if ((slot->state != SLOT_WAITING && slot->state != SLOT_LOST) || slot->id != header->id) {
        if (c->waiting)
            conn_broken(c, -EPROTO, "reply id %u (%s) answers nothing; the next one expected is %u", header->id,
                        call_name(header->command), call_expected(c));
        else
            conn_broken(c, -EPROTO, "reply id %u (%s) answers nothing; none is expected", header->id,
                        call_name(header->command));
        return NULL;
    }
    if (slot->command != header->command) {
        conn_broken(c, -EPROTO, "reply id %u is to %s (%u), expected %s (%u)", header->id, call_name(header->command),
                    header->command, call_name(slot->command), slot->command);
        return NULL;
    }
    return slot;
}

static int call_reply(struct vfuc *c, const struct vfu_msg_header *header)
{
    struct slot *slot = call_match(c, header);
    int err = 0;

    if (!slot)
        return c->broken;
    if (slot->state == SLOT_LOST) {
        slot->state = SLOT_FREE;
        wire_consume(&c->main, header->size);
        return 0;
    }
    if (header->flags & VFU_MSG_ERROR) {
        err = call_refused(c, slot, header);
    } else if (slot->keep) {
        c->kept = header->size;
        call_finish(c, slot, 0);
        return 0;
    } else {
        if (slot->command == VFU_CMD_REGION_READ || slot->command == VFU_CMD_REGION_WRITE)
            err = call_check_access(c, slot, header->size);
        if (err)
            return err;
        if (slot->command == VFU_CMD_REGION_READ)
            memcpy(slot->data, c->main.rx + c->main.head + HEADER + sizeof(struct vfu_msg_region_access), slot->size);
    }
    wire_consume(&c->main, header->size);
    call_finish(c, slot, err);
    return 0;
}

/* Takes in bytes, whichever socket has them. The first wait may block in the receive itself. */
static int call_got(struct vfuc *c, struct wire *wire, ssize_t n)
{
    size_t have = wire->tail - wire->head;

    if (n > 0 || n == -EAGAIN)
        return 0;
    if ((n == 0 || n == -ECONNRESET) && have)
        return conn_broken(c, -ENOTCONN, "the server has closed the %s %zu bytes into a message",
                           wire == &c->main ? "connection" : "twin socket", have);
    if (n == 0 || n == -ECONNRESET)
        return conn_broken(c, -ENOTCONN, "the server has closed the %s",
                           wire == &c->main ? "connection" : "twin socket");
    if (n == -ENOBUFS)
        return conn_broken(c, -EPROTO, "a message larger than the receive buffer");
    return conn_broken(c, (int)n, "cannot receive: %s", strerror((int)-n));
}

int call_receive(struct vfuc *c, uint64_t deadline, int extra)
{
    struct pollfd p[3] = { { c->main.fd, POLLIN, 0 }, { c->twin.fd, POLLIN, 0 }, { extra, POLLIN, 0 } };
    int r;

    do {
        r = poll(p, 3, conn_left(deadline));
    } while (r < 0 && errno == EINTR);
    if (r < 0)
        return -errno;
    if (r == 0)
        return -ETIMEDOUT;
    if (p[1].revents) {
        r = call_got(c, &c->twin, wire_receive(&c->twin, MSG_DONTWAIT));
        if (r < 0)
            return r;
    }
    if (p[0].revents)
        return call_got(c, &c->main, wire_receive(&c->main, MSG_DONTWAIT));
    return 0;
}

/* A long read's data go where they belong, without a copy: the reply's head has been seen, the rest has not. */
static int call_direct(struct vfuc *c, uint64_t deadline)
{
    size_t head = HEADER + sizeof(struct vfu_msg_region_access), have = c->main.tail - c->main.head, done;
    struct vfu_msg_header header;
    struct slot *slot;
    int err;

    if (have < head)
        return 0;
    memcpy(&header, c->main.rx + c->main.head, sizeof header);
    slot = &c->slots[header.id % SLOTS];
    if (header.command != VFU_CMD_REGION_READ || header.flags != VFU_MSG_REPLY || header.size < DIRECT ||
        slot->state != SLOT_WAITING || slot->id != header.id || slot->command != VFU_CMD_REGION_READ || slot->keep)
        return 0;
    call_saw(c, &header);
    err = call_check_access(c, slot, header.size);
    if (err)
        return err;
    done = have - head;
    memcpy(slot->data, c->main.rx + c->main.head + head, done);
    wire_consume(&c->main, have);
    while (done < slot->size) {
        ssize_t n = wire_receive_direct(&c->main, (uint8_t *)slot->data + done, slot->size - done, MSG_DONTWAIT);

        err = call_got(c, &c->main, n);
        if (err)
            return err;
        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        err = poll(&(struct pollfd){ c->main.fd, POLLIN, 0 }, 1, conn_left(deadline));
        if (err == 0 || conn_late(deadline)) {
            conn_broken(c, -EPROTO, "the server stopped inside a reply, after %zu of %u bytes of data", done,
                        slot->size);
            return -ETIMEDOUT;
        }
    }
    call_finish(c, slot, 0);
    return 1;
}

static int call_dispatch_wire(struct vfuc *c, struct wire *wire, uint64_t deadline)
{
    int served = 0;

    while (!c->kept) {
        struct vfu_msg_header header;
        ssize_t size = wire_message(wire);
        int r;

        if (size == 0) {
            r = wire == &c->main ? call_direct(c, deadline) : 0;
            if (r <= 0)
                return r < 0 ? r : served;
            continue;
        }
        memcpy(&header, wire->rx + wire->head, sizeof header);
        call_saw(c, &header);
        if (size < 0)
            return conn_broken(c, -EPROTO, "message of %u bytes from the server (16 to %zu are possible)", header.size,
                               wire->cap);
        if ((header.flags & VFU_MSG_TYPE_MASK) == VFU_MSG_REPLY && wire == &c->main) {
            r = call_reply(c, &header);
        } else if ((header.flags & VFU_MSG_TYPE_MASK) == VFU_MSG_COMMAND) {
            r = memory_serve(c, wire, (size_t)size);
            served++;
        } else {
            r = conn_broken(c, -EPROTO, "message id %u (%s) with senseless flags 0x%x", header.id,
                            call_name(header.command), header.flags);
        }
        if (r < 0)
            return r;
    }
    return served;
}

int call_dispatch(struct vfuc *c, uint64_t deadline)
{
    int served = 0, r;

    if (c->twin.tail != c->twin.head) {
        served = call_dispatch_wire(c, &c->twin, deadline);
        if (served < 0)
            return served;
    }
    if (c->main.tail == c->main.head)
        return served;
    r = call_dispatch_wire(c, &c->main, deadline);
    return r < 0 ? r : served + r;
}

/* Until the slot is answered. */
static int call_until(struct vfuc *c, const struct slot *slot, uint64_t deadline)
{
    bool block = c->twin.fd < 0;
    int err = call_flush(c);

    while (!err) {
        err = call_dispatch(c, deadline);
        if (err < 0 || slot->state != SLOT_WAITING)
            break;
        if (block) {
            ssize_t n = wire_receive(&c->main, 0);

            err = n == -EAGAIN ? -ETIMEDOUT : call_got(c, &c->main, n);
            block = false;
        } else {
            err = call_receive(c, deadline, -1);
            /* One who sends without end, but no reply, does not move the end of the time. */
            if (!err && conn_late(deadline))
                err = call_dispatch(c, deadline) < 0 || slot->state != SLOT_WAITING ? 0 : -ETIMEDOUT;
        }
    }
    return err < 0 ? err : 0;
}

/* What to say when the time is up: nothing came, or a part of a message, or other messages. */
static void call_timed_out(struct vfuc *c, const struct slot *slot)
{
    unsigned long long ms = c->options.timeout_ns / VFUC_NS_PER_MS;
    size_t have = c->main.tail - c->main.head;

    if (have >= HEADER)
        memcpy(&c->seen, c->main.rx + c->main.head, HEADER);
    if (have && have < HEADER)
        conn_error(c, -ETIMEDOUT, "%s: no reply within %llu ms, but %zu bytes of a header", call_name(slot->command),
                   ms, have);
    else if (have)
        conn_error(c, -ETIMEDOUT, "%s: no reply within %llu ms, but %zu of %u bytes of message id %u (%s, flags 0x%x)",
                   call_name(slot->command), ms, have, c->seen.size, c->seen.id, call_name(c->seen.command),
                   c->seen.flags);
    else if (c->met)
        conn_error(c, -ETIMEDOUT, "%s: no reply within %llu ms; the last message was id %u (%s, flags 0x%x)",
                   call_name(slot->command), ms, c->seen.id, call_name(c->seen.command), c->seen.flags);
    else
        conn_error(c, -ETIMEDOUT, "%s: no reply within %llu ms", call_name(slot->command), ms);
}

int call_wait(struct vfuc *c, struct slot *slot)
{
    int err = call_until(c, slot, conn_deadline(c));

    if (slot->state == SLOT_WAITING) {
        if (err == -ETIMEDOUT)
            call_timed_out(c, slot);
        call_lose(c, slot, err);
        return err;
    }
    slot->state = SLOT_FREE;
    return slot->error;
}

const uint8_t *call_body(const struct vfuc *c, size_t *size)
{
    *size = c->kept - HEADER;
    return c->main.rx + c->main.head + HEADER;
}

void call_done(struct vfuc *c)
{
    wire_consume(&c->main, c->kept);
    c->kept = 0;
}

int call_simple(struct vfuc *c, uint16_t command, const void *fixed, size_t nfixed, const int *fds, uint32_t nfds,
                void *reply, size_t reply_max)
{
    struct slot *slot;
    const uint8_t *body;
    size_t size;
    int err = conn_ready(c);

    if (!err)
        err = call_queue(c, command, fixed, nfixed, NULL, 0, fds, nfds, &slot);
    if (err)
        return err;
    slot->keep = true;
    err = call_wait(c, slot);
    if (err)
        return err;
    body = call_body(c, &size);
    if (reply_max)
        memcpy(reply, body, size < reply_max ? size : reply_max);
    call_done(c);
    return size > INT32_MAX ? -EPROTO : (int)size;
}

/* The oldest queued request that still waits, or NULL. */
static struct slot *call_oldest(struct vfuc *c)
{
    for (uint32_t i = 0; i < SLOTS && c->oldest_id != c->next_id; i++, c->oldest_id++) {
        struct slot *slot = &c->slots[c->oldest_id % SLOTS];

        if (slot->state == SLOT_WAITING && slot->queued && slot->id == c->oldest_id)
            return slot;
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (c->slots[i].state == SLOT_WAITING && c->slots[i].queued)
            return &c->slots[i];
    }
    return NULL;
}

/* The whole queue is lost: nobody knows what the server made of it. */
static void call_lose_all(struct vfuc *c, int err)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (c->slots[i].state == SLOT_WAITING && c->slots[i].queued)
            call_lose(c, &c->slots[i], err);
    }
}

static int call_await_oldest(struct vfuc *c)
{
    struct slot *slot = call_oldest(c);
    int err = slot ? call_until(c, slot, conn_deadline(c)) : 0;

    if (err == -ETIMEDOUT)
        call_timed_out(c, slot);
    if (err)
        call_lose_all(c, err);
    return err;
}

int call_make_room(struct vfuc *c, size_t due)
{
    while (c->waiting && (c->waiting >= SLOTS - 1 || c->due + due > c->main.cap / 2)) {
        int err;

        if (!call_oldest(c))
            break;
        err = call_await_oldest(c);
        if (err)
            return err;
    }
    return 0;
}

int vfuc_flush(struct vfuc *c)
{
    int err = conn_ready(c);

    return err ? err : call_flush(c);
}

int vfuc_drain(struct vfuc *c)
{
    int err = conn_ready(c), first;

    if (!err)
        err = call_flush(c);
    while (!err && call_oldest(c))
        err = call_await_oldest(c);
    if (err)
        call_lose_all(c, err);
    first = c->drain_error;
    c->drain_error = 0;
    return first ? first : err;
}
