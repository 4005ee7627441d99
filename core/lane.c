/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane - register-sized accesses without ceremony. Runs on the device's thread; no locks.
 *
 * A message may be handled here only if session.c would do exactly the same with it: it is whole, a command without
 * descriptors, its sizes agree, its range lies in a BAR, and there is room for its reply. Everything is checked before
 * the device sees it; if one check fails, the message stays where it is.
 */
#include "core/lane.h"

#include <errno.h>
#include <string.h>

struct access_message {
    struct vfu_msg_header header;
    struct vfu_msg_region_access access;
    uint8_t data[8];
};
#define FIXED (sizeof(struct vfu_msg_header) + sizeof(struct vfu_msg_region_access))

/* The access lies in a BAR or the ROM. */
static bool in_bounds(const struct device *dev, const struct vfu_msg_region_access *access)
{
    uint64_t size;

    if (access->region > VFU_REGION_ROM || access->count - 1u >= 8u)
        return false;
    size = dev->regions[access->region].size;
    return access->offset <= size && access->count <= size - access->offset;
}

static void complain(struct session *s, const struct access_message *m, int error)
{
    const struct message message = { .header = m->header };

    session_refuse(s, error, &message, "region %u, offset %#llx, count %u: the device refuses (%s)", m->access.region,
                   (unsigned long long)m->access.offset, m->access.count, strerror(-error));
}

/* The reply begins as the request does: only its size, flags and error differ. What it carries is there already. */
static void reply(struct transport *t, const struct access_message *m, uint32_t size, int error)
{
    struct vfu_msg_header header = m->header;
    uint8_t *room = t->tx + t->tx_tail;

    header.size = error ? (uint32_t)sizeof header : size;
    header.flags = VFU_MSG_REPLY | (error ? VFU_MSG_ERROR : 0);
    header.error = (uint32_t)-error;
    memcpy(room, &header, sizeof header);
    memcpy(room + sizeof header, &m->access, sizeof m->access); /* behind an error it is not sent */
    transport_commit(t, header.size);
}

/* One message at the front. False: it is none for this lane. */
static bool one(struct session *s)
{
    struct transport *t = &s->main;
    size_t have = t->rx_tail - t->rx_head;
    struct access_message m;
    uint32_t size = FIXED;
    int error = 0;

    if (have < FIXED)
        return false;
    memcpy(&m, t->rx + t->rx_head, FIXED);
    if ((m.header.flags & VFU_MSG_TYPE_MASK) != VFU_MSG_COMMAND || m.header.size > have ||
        !in_bounds(s->dev, &m.access) || !transport_has_room(t, sizeof m))
        return false;
    if (m.header.command == VFU_CMD_REGION_READ && m.header.size == FIXED) {
        uint8_t *out = t->tx + t->tx_tail + FIXED;

        if (!device_read_plain(s->dev, m.access.region, m.access.offset, m.access.count, out))
            error = device_read(s->dev, m.access.region, m.access.offset, m.access.count, out);
        size += m.access.count;
    } else if (m.header.command == VFU_CMD_REGION_WRITE && m.header.size == FIXED + m.access.count) {
        const uint8_t *in = t->rx + t->rx_head + FIXED;

        if (!device_write_plain(s->dev, m.access.region, m.access.offset, m.access.count, in))
            error = device_write(s->dev, m.access.region, m.access.offset, m.access.count, in);
    } else {
        return false;
    }
    if (error)
        complain(s, &m, error);
    if (!(m.header.flags & VFU_MSG_NO_REPLY))
        reply(t, &m, size, error);
    t->rx_head += m.header.size;
    t->rx_position += m.header.size;
    return true;
}

void lane_run(struct session *s)
{
    /* Descriptors have to find their message, one reply that carries some leaves before others come, and the message
     * trace has each message from transport_next. */
    if (!s->negotiated || s->main.nin || s->main.nout || s->sinking || transport_traced(&s->main))
        return;
    while (s->main.rx_head != s->main.rx_tail && one(s))
        ;
}
