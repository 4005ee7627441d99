/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane - register-sized accesses without ceremony. Runs on the device's thread; no locks.
 *
 * A message may be handled here only if session.c would do exactly the same with it: it is whole, a command without
 * descriptors, its sizes agree, its range lies in a BAR, and there is room for its reply. Everything is checked before
 * the device sees it; if one check fails, the message stays where it is.
 */
#include "core/session/lane.h"

#include <errno.h>
#include <string.h>

/* As it stands in a buffer, at any alignment. */
struct access_message {
    struct vfu_msg_header header;
    struct vfu_msg_region_access access;
    uint8_t data[8];
} __attribute__((packed));
#define FIXED (sizeof(struct vfu_msg_header) + sizeof(struct vfu_msg_region_access))
#define LARGEST sizeof(struct access_message)

/* The access lies in a BAR or the ROM. */
static bool in_bounds(const struct device *dev, const struct access_message *m)
{
    uint64_t size;

    if (m->access.region > VFU_REGION_ROM || m->access.count - 1u >= 8u)
        return false;
    size = dev->regions[m->access.region].size;
    return m->access.offset <= size && m->access.count <= size - m->access.offset;
}

static void complain(struct session *s, const struct access_message *m, int error)
{
    const struct message message = { .header = m->header };

    session_refuse(s, error, &message, "region %u, offset %#llx, count %u: the device refuses (%s)", m->access.region,
                   (unsigned long long)m->access.offset, m->access.count, strerror(-error));
}

/* The reply begins as the request does: only its size, flags and error differ. What it carries is there already. Returns
 * where the next one goes. */
static inline uint8_t *reply(uint8_t *room, const struct access_message *m, uint32_t size, int error)
{
    struct vfu_msg_header header = {
        .id = m->header.id,
        .command = m->header.command,
        .size = error ? (uint32_t)sizeof header : size,
        .flags = VFU_MSG_REPLY | (error ? VFU_MSG_ERROR : 0),
        .error = (uint32_t)-error,
    };

    memcpy(room, &header, sizeof header);
    memcpy(room + sizeof header, &m->access, sizeof m->access); /* behind an error it is not sent */
    return room + header.size;
}

/*
 * As many as follow each other of the plainest kind: one register without a rule, read or written whole. Nothing but the
 * buffers and its value is touched, so nothing can change meanwhile, and where they end is told afterwards. The bounds
 * need no look: no register is outside of its region.
 */
static void plain_ones(struct session *s)
{
    struct transport *t = &s->main;
    const struct device *dev = s->dev;
    const uint8_t *front = t->rx + t->rx_head, *end = t->rx + t->rx_tail, *in = front;
    uint8_t *out = t->tx + t->tx_tail, *last = t->tx + TRANSPORT_TX_ROOM - LARGEST;

    while ((size_t)(end - in) >= FIXED && out <= last) {
        const struct access_message *m = (const void *)in;
        uint64_t offset = m->access.offset;
        uint32_t size = FIXED, count = m->access.count, bar = m->access.region, flags = m->header.flags;

        if ((flags & VFU_MSG_TYPE_MASK) != VFU_MSG_COMMAND || bar > VFU_REGION_ROM)
            break;
        if (m->header.command == VFU_CMD_REGION_READ && m->header.size == FIXED) {
            if (!device_read_plain(dev, bar, offset, count, out + FIXED))
                break;
            size += count;
            in += FIXED;
        } else if (m->header.command == VFU_CMD_REGION_WRITE && m->header.size == FIXED + count &&
                   FIXED + count <= (size_t)(end - in)) {
            if (!device_write_plain(dev, bar, offset, count, in + FIXED))
                break;
            in += FIXED + count;
        } else {
            break;
        }
        if (!(flags & VFU_MSG_NO_REPLY))
            out = reply(out, m, size, 0);
    }
    t->rx_head += (size_t)(in - front);
    t->rx_position += (size_t)(in - front);
    t->tx_tail = (size_t)(out - t->tx);
}

/* At the front is no message for this lane. Where less than a header has come, what stands there decides nothing. */
static inline bool leaves(const struct transport *t)
{
    const struct access_message *m = (const void *)(t->rx + t->rx_head);

    return m->header.command != VFU_CMD_REGION_READ && m->header.command != VFU_CMD_REGION_WRITE;
}

/* One message at the front. False: it is none for this lane. */
static __attribute__((noinline)) bool one(struct session *s)
{
    struct transport *t = &s->main;
    size_t have = t->rx_tail - t->rx_head;
    struct access_message m;
    uint32_t size = FIXED;
    int error;

    if (have < FIXED)
        return false;
    memcpy(&m, t->rx + t->rx_head, FIXED);
    if ((m.header.flags & VFU_MSG_TYPE_MASK) != VFU_MSG_COMMAND || m.header.size > have ||
        !in_bounds(s->dev, &m) || !transport_has_room(t, sizeof m))
        return false;
    if (m.header.command == VFU_CMD_REGION_READ && m.header.size == FIXED) {
        error = device_read(s->dev, m.access.region, m.access.offset, m.access.count, t->tx + t->tx_tail + FIXED);
        size += m.access.count;
    } else if (m.header.command == VFU_CMD_REGION_WRITE && m.header.size == FIXED + m.access.count) {
        error = device_write(s->dev, m.access.region, m.access.offset, m.access.count, t->rx + t->rx_head + FIXED);
    } else {
        return false;
    }
    if (error)
        complain(s, &m, error);
    if (!(m.header.flags & VFU_MSG_NO_REPLY))
        t->tx_tail = (size_t)(reply(t->tx + t->tx_tail, &m, size, error) - t->tx);
    t->rx_head += m.header.size;
    t->rx_position += m.header.size;
    return true;
}

void lane_run(struct session *s)
{
    struct transport *t = &s->main;

    /* Descriptors have to find their message, one reply that carries some leaves before others come, and the message
     * trace has each message from transport_next. */
    if (!s->negotiated || t->nin || t->nout || t->memory_left || s->sinking || transport_traced(t))
        return;
    while (t->rx_head != t->rx_tail && !leaves(t)) {
        plain_ones(s);
        if (t->rx_head == t->rx_tail || !one(s))
            break;
    }
}
