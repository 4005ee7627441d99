/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * command - one handler for each client command of the vfio-user protocol. Runs on the device's thread.
 *
 * Everything in a message is the client's word: a handler is called with at least the payload its table entry names,
 * and checks every number in it before it is used.
 */
#include "core/session/command.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/session/feature.h"

/* Replies other than data: region info with the most mappable areas, echoes. */
#define REPLY_BOUND 16384u
#define AREAS_MAX ((REPLY_BOUND - 64u) / 16u)
_Static_assert(sizeof(struct vfu_msg_region_io_fds) + VFU_DOORBELLS_MAX * sizeof(struct vfu_msg_sub_region_shadow) <=
               REPLY_BOUND, "the list of doorbells has outgrown its reply");

/* A refusal that has its line in the log already, from where it was found out. */
static int counted(struct session *s, int error)
{
    s->dev->refusals += error != 0;
    return error;
}

/* ---- VERSION */

static int open_twin(struct session *s, int *theirs)
{
    int pair[2];
    int error;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    error = transport_open(&s->twin, pair[0]);
    s->twin.tap = s->main.tap;
    s->twin.tap_note = "twin socket";
    if (!error) {
        s->twin_watch.fd = pair[0];
        s->twin_watch.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
        error = loop_add(&s->dev->loop, &s->twin_watch);
    }
    if (error) {
        if (s->twin.fd >= 0)
            transport_close(&s->twin);
        else
            close(pair[0]);
        close(pair[1]);
        return error;
    }
    *theirs = pair[1];
    return 0;
}

static void close_twin(struct session *s)
{
    if (s->twin.fd < 0)
        return;
    loop_remove(&s->dev->loop, &s->twin_watch);
    transport_close(&s->twin);
}

static int handle_version(struct session *s, struct message *m)
{
    struct vfu_client client = { .struct_size = sizeof client };
    uint8_t reply[VERSION_REPLY_MAX];
    int theirs = -1, error;
    char why[160];
    uint32_t maps;
    size_t n;

    if (s->negotiated)
        return session_refuse(s, -EINVAL, m, "it comes once, first");
    if (version_parse(&s->version, m->body, m->size, why, sizeof why))
        return session_refuse(s, -EINVAL, m, "%s", why);
    if (s->version.twin_socket && (error = open_twin(s, &theirs)))
        log_warn(s->dev->name, "VERSION: no twin socket: %s", strerror(-error));
    client.max_msg_fds = s->version.max_msg_fds;
    client.max_data_xfer_size = s->version.max_data_xfer_size;
    client.caps = VFU_CAP_CLIENT_FDS | (theirs >= 0 ? VFU_CAP_CLIENT_TWIN_SOCKET : 0) |
                  (s->version.write_multiple ? VFU_CAP_CLIENT_WRITE_MULTI : 0);
    error = session_attach(s, &client);
    if (error) {
        if (theirs >= 0)
            close(theirs);
        close_twin(s);
        return counted(s, error);
    }
    if (!(s->dev->description.caps & VFU_CAP_MIGRATION))
        s->version.migration = false;
    maps = s->version.max_dma_maps < s->dev->max_dma_maps ? s->version.max_dma_maps : s->dev->max_dma_maps;
    dma_limit(s->dev->dma, maps, version_page(&s->version));
    n = version_reply(&s->version, maps, theirs >= 0 ? 0 : -1, reply);
    memcpy(session_reply(s, (uint32_t)n), reply, n);
    if (theirs >= 0)
        session_carry(s, &theirs, 1, true);
    return 0;
}

/* ---- what the device is */

/* A reply may follow one of any length, so it is not aligned: structures are made apart and copied. */
static void put(struct session *s, const void *payload, uint32_t size)
{
    memcpy(session_reply_raw(s, size), payload, size);
}

static int handle_get_info(struct session *s, struct message *m)
{
    struct vfio_device_info info;
    struct {
        uint32_t argsz, flags, num_regions, num_irqs;
    } reply = { .argsz = sizeof reply, .num_regions = DEVICE_REGIONS, .num_irqs = IRQ_INDEXES };

    memcpy(&info, m->body, 16);
    if (info.argsz < 16)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the reply has 16 bytes", info.argsz);
    reply.flags = VFIO_DEVICE_FLAGS_PCI;
    if (s->dev->description.caps & VFU_CAP_RESET)
        reply.flags |= VFIO_DEVICE_FLAGS_RESET;
    put(s, &reply, sizeof reply);
    return 0;
}

/* The capability that names the mappable parts, at its place behind the fixed structure. */
static void put_sparse(uint8_t *at, const struct region *region, uint32_t nareas)
{
    struct vfio_region_info_cap_sparse_mmap cap = {
        .header = { .id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1 },
        .nr_areas = nareas,
    };

    memcpy(at, &cap, sizeof cap);
    at += sizeof cap;
    for (uint32_t i = 0; i < nareas; i++, at += sizeof(struct vfio_region_sparse_mmap_area)) {
        struct vfio_region_sparse_mmap_area area = { region->areas[i].offset, region->areas[i].size };

        memcpy(at, &area, sizeof area);
    }
}

static uint32_t region_flags(const struct session *s, uint32_t index)
{
    if (device_region_size(s->dev, index) == 0)
        return 0;
    return index == VFU_REGION_ROM ? VFIO_REGION_INFO_FLAG_READ : VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
}

static int handle_get_region_info(struct session *s, struct message *m)
{
    struct vfio_region_info info;
    const struct region *region;
    uint8_t *reply;
    uint32_t nareas = 0, needed = sizeof info, argsz;

    memcpy(&info, m->body, sizeof info);
    argsz = info.argsz;
    if (argsz < sizeof info)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the reply has at least %zu bytes", argsz, sizeof info);
    if (info.index >= DEVICE_REGIONS)
        return session_refuse(s, -EINVAL, m, "index is %u, there are %u regions", info.index, DEVICE_REGIONS);
    region = device_region(s->dev, info.index);
    info.flags = region_flags(s, info.index);
    if (region && region->fd >= 0 && (region->flags & VFU_BAR_MMAP)) {
        info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
        nareas = region->nareas < AREAS_MAX ? region->nareas : AREAS_MAX;
    }
    if (nareas) {
        needed += (uint32_t)(sizeof(struct vfio_region_info_cap_sparse_mmap) +
                             nareas * sizeof(struct vfio_region_sparse_mmap_area));
        info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
    }
    reply = session_reply(s, needed > argsz ? (uint32_t)sizeof info : needed);
    info = (struct vfio_region_info){
        .argsz = needed,
        .flags = info.flags,
        .index = info.index,
        .cap_offset = nareas && needed <= argsz ? (uint32_t)sizeof info : 0,
        .size = device_region_size(s->dev, info.index),
    };
    memcpy(reply, &info, sizeof info);
    if (needed > argsz)
        return 0; /* the client asks again, with room */
    if (nareas)
        put_sparse(reply + sizeof info, region, nareas);
    if (info.flags & VFIO_REGION_INFO_FLAG_MMAP) {
        session_carry(s, &region->fd, 1, false);
        s->dev->mapped |= 1u << info.index;
    }
    return 0;
}

/* With too little room the client learns how much it takes, and how many sub-regions there are; nothing else. */
static int handle_get_region_io_fds(struct session *s, struct message *m)
{
    struct vfu_msg_region_io_fds info, head;
    struct ioevent_offer offer;
    int fds[TRANSPORT_FDS], error;
    uint8_t *reply;
    uint32_t size;

    memcpy(&info, m->body, sizeof info);
    if (info.argsz < sizeof info)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the reply has at least %zu bytes", info.argsz, sizeof info);
    if (info.flags || info.count || info.index >= DEVICE_REGIONS)
        return session_refuse(s, -EINVAL, m, "index is %u, flags are %#x, count is %u; there are %u regions, no flags, and "
                              "the count is the server's", info.index, info.flags, info.count, DEVICE_REGIONS);
    ioevent_plan(&s->dev->ioevent, info.index, s->dev->client.max_msg_fds, &offer);
    size = (uint32_t)sizeof head + offer.n * offer.entry_size;
    head = (struct vfu_msg_region_io_fds){ .argsz = size, .index = info.index, .count = offer.n };
    reply = session_reply(s, size > info.argsz ? (uint32_t)sizeof head : size);
    memcpy(reply, &head, sizeof head);
    if (size > info.argsz || !offer.n)
        return 0;
    error = ioevent_give(&s->dev->ioevent, &offer, reply + sizeof head, fds);
    if (error)
        return session_refuse(s, error, m, "no event fds for region %u: %s", info.index, strerror(-error));
    session_carry(s, fds, offer.nfds, false);
    return 0;
}

static int handle_get_irq_info(struct session *s, struct message *m)
{
    struct vfio_irq_info info;
    int error;

    memcpy(&info, m->body, sizeof info);
    if (info.argsz < sizeof info)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the reply has %zu bytes", info.argsz, sizeof info);
    error = irq_info(s->dev->irq, info.index, &info);
    if (error)
        return session_refuse(s, error, m, "index is %u, there are %u", info.index, IRQ_INDEXES);
    info.argsz = sizeof info;
    put(s, &info, sizeof info);
    return 0;
}

static int handle_set_irqs(struct session *s, struct message *m)
{
    struct vfio_irq_set set;

    memcpy(&set, m->body, sizeof set);
    if (m->fds_lost)
        return session_refuse(s, -EMFILE, m, "descriptors were lost: more than %u, or this process is at its limit",
                              TRANSPORT_FDS);
    return counted(s, irq_set(s->dev->irq, &set, m->body + sizeof set, m->size - (uint32_t)sizeof set, m->fds,
                              m->nfds));
}

static int handle_reset(struct session *s, struct message *m)
{
    int error = device_reset(s->dev, VFU_RESET_BUS);

    return error == -ENOTSUP ? session_refuse(s, error, m, "this device declares no reset") : error;
}

/* ---- memory of the client */

static int handle_dma_map(struct session *s, struct message *m)
{
    struct vfu_msg_dma_map map;
    int error;

    memcpy(&map, m->body, sizeof map);
    if (map.argsz < sizeof map)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the structure has %zu bytes", map.argsz, sizeof map);
    if (m->fds_lost)
        return session_refuse(s, -EMFILE, m, "the descriptor was lost: this process is at its limit");
    if (m->nfds > 1)
        return session_refuse(s, -EINVAL, m, "%u descriptors, one is the most", m->nfds);
    watch_event(&s->dev->watch, LOG_DEBUG, "DMA map 0x%llx, 0x%llx bytes%s%s%s", (unsigned long long)map.address,
                (unsigned long long)map.size, map.flags & VFU_DMA_MAP_READABLE ? ", read" : "",
                map.flags & VFU_DMA_MAP_WRITEABLE ? ", write" : "", m->nfds ? ", shared" : "");
    error = dma_map(s->dev->dma, map.address, map.size, map.flags, m->nfds ? m->fds[0] : -1, map.offset);
    if (!error && m->nfds) {
        close(m->fds[0]); /* known by now to be one that closes at once */
        m->fds[0] = -1;
    }
    return counted(s, error);
}

static int handle_dma_unmap(struct session *s, struct message *m)
{
    struct vfu_msg_dma_unmap unmap;
    int error = 0;

    memcpy(&unmap, m->body, sizeof unmap);
    if (unmap.argsz < sizeof unmap)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the structure has %zu bytes", unmap.argsz, sizeof unmap);
    if (unmap.flags & ~(VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP))
        return session_refuse(s, -EINVAL, m, "flags are %#x; GET_DIRTY_BITMAP (1) and ALL (2) are known", unmap.flags);
    watch_event(&s->dev->watch, LOG_DEBUG, "DMA unmap 0x%llx, 0x%llx bytes%s", (unsigned long long)unmap.address,
                (unsigned long long)unmap.size, unmap.flags & VFIO_DMA_UNMAP_FLAG_ALL ? " (all)" : "");
    if (unmap.flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP)
        return feature_dma_unmap(s, m, &unmap);
    if (unmap.flags & VFIO_DMA_UNMAP_FLAG_ALL) {
        if (unmap.address || unmap.size)
            return session_refuse(s, -EINVAL, m, "address and size must be 0 with the flag ALL");
        dma_unmap_all(s->dev->dma);
    } else {
        error = dma_unmap(s->dev->dma, unmap.address, unmap.size);
    }
    if (error)
        return counted(s, error);
    memcpy(session_reply(s, sizeof unmap), &unmap, sizeof unmap);
    return 0;
}

/* ---- accesses */

static const char *refusal(const struct session *s, int error)
{
    return error == -EBUSY && s->dev->stopped ? "stopped for migration" : strerror(-error);
}

static int refuse_access(struct session *s, const struct message *m, const struct vfu_msg_region_access *access)
{
    return session_refuse(s, -EINVAL, m, "offset %#llx, count %u in region %u of %#llx bytes, %u bytes in the message",
                          (unsigned long long)access->offset, access->count, access->region,
                          (unsigned long long)device_region_size(s->dev, access->region), m->size);
}

static bool access_fits(const struct session *s, const struct vfu_msg_region_access *access)
{
    uint64_t size = device_region_size(s->dev, access->region);

    return access->count > 0 && access->count <= TRANSPORT_MAX_DATA && access->offset <= size &&
           access->count <= size - access->offset;
}

static int handle_region_read(struct session *s, struct message *m)
{
    struct vfu_msg_region_access access;
    struct region *region;
    uint8_t *reply, *plain;
    int error;

    memcpy(&access, m->body, sizeof access);
    if (!access_fits(s, &access)) {
        watch_refused(s->dev, access.region, access.offset, access.count, NULL, false);
        return refuse_access(s, m, &access);
    }
    if (access.count >= SESSION_DIRECT_MIN && !transport_traced(&s->main) && (region = device_region(s->dev, access.region)) &&
        (plain = region_plain(region, access.offset, access.count, false))) {
        memcpy(session_reply(s, sizeof access), &access, sizeof access);
        s->direct = plain;
        s->direct_size = access.count;
        return 0;
    }
    reply = session_reply_raw(s, (uint32_t)sizeof access + access.count);
    memcpy(reply, &access, sizeof access);
    error = device_read(s->dev, access.region, access.offset, access.count, reply + sizeof access);
    return error ? session_refuse(s, error, m, "region %u, offset %#llx, count %u: the device refuses (%s)", access.region,
                                  (unsigned long long)access.offset, access.count, strerror(-error))
                 : 0;
}

static int handle_region_write(struct session *s, struct message *m)
{
    struct vfu_msg_region_access access;
    int error;

    memcpy(&access, m->body, sizeof access);
    if (access.count != m->size - sizeof access)
        return refuse_access(s, m, &access);
    if (!access_fits(s, &access)) {
        watch_refused(s->dev, access.region, access.offset, access.count, m->body + sizeof access, true);
        return refuse_access(s, m, &access);
    }
    memcpy(session_reply_raw(s, sizeof access), &access, sizeof access);
    error = device_write(s->dev, access.region, access.offset, access.count, m->body + sizeof access);
    return error ? session_refuse(s, error, m, "region %u, offset %#llx, count %u: the device refuses (%s)", access.region,
                                  (unsigned long long)access.offset, access.count, refusal(s, error))
                 : 0;
}

/* The writes are independent of each other: one that the device refuses does not keep the others from it. */
static int handle_write_multi(struct session *s, struct message *m)
{
    struct vfu_msg_write_multi multi;
    const uint8_t *at = m->body + sizeof multi, *end = m->body + m->size;
    struct vfu_msg_write_one one;
    struct reg_cell *cell = NULL; /* where the last one went, if it was a plain register: the next often goes there too */
    uint32_t region = 0;
    int result = 0;

    /* The reply to VERSION has it where the client proposed it: what was not proposed was not agreed on. */
    if (!s->version.write_multiple)
        return session_refuse(s, -ENOTSUP, m, "it was not negotiated: this client's VERSION has no write_multiple");
    memcpy(&multi, m->body, sizeof multi);
    if (multi.wr_cnt != (m->size - sizeof multi) / sizeof one || (m->size - sizeof multi) % sizeof one)
        return session_refuse(s, -EINVAL, m, "wr_cnt is %llu, the message has room for %zu writes",
                              (unsigned long long)multi.wr_cnt, (m->size - sizeof multi) / sizeof one);
    for (; at != end; at += sizeof one) {
        const uint8_t *data = at + offsetof(struct vfu_msg_write_one, data);
        int error = -EINVAL;

        /* Not the data: a copy of them, which is then read in another width, costs as much as the write. */
        memcpy(&one, at, offsetof(struct vfu_msg_write_one, data));
        if (!cell || one.offset != cell->offset || one.region != region || one.count != cell->size) {
            region = one.region;
            cell = region <= VFU_REGION_BAR5 && one.count <= sizeof one.data
                       ? device_write_cell(s->dev, region, one.offset, one.count) : NULL;
        }
        if (cell && (cell->plain & CELL_WRITE_PLAIN) && cell->size == one.count) {
            regcell_store(cell, data);
            continue;
        }
        if (cell) {
            regmap_write(s->dev->regions[region].map, cell, one.offset, one.count, data);
            cell = NULL; /* a hook may have changed everything */
            continue;
        }
        if (region <= VFU_REGION_BAR5 && one.count <= sizeof one.data &&
            device_write_plain(s->dev, region, one.offset, one.count, data))
            continue; /* memory */
        if (one.count >= 1 && one.count <= sizeof one.data)
            error = device_write(s->dev, one.region, one.offset, one.count, data);
        if (error)
            result = session_refuse(s, error, m, "write %zu: offset %#llx, count %u in region %u: refused (%s)",
                                    (size_t)(at - m->body) / sizeof one, (unsigned long long)one.offset, one.count,
                                    one.region, refusal(s, error));
    }
    memcpy(session_reply(s, sizeof multi), &multi, sizeof multi);
    return result;
}

/* ---- the table */

static const struct command commands[] = {
    [VFU_CMD_VERSION] = { "VERSION", sizeof(struct vfu_msg_version), handle_version, true },
    [VFU_CMD_DMA_MAP] = { "DMA_MAP", sizeof(struct vfu_msg_dma_map), handle_dma_map, false },
    [VFU_CMD_DMA_UNMAP] = { "DMA_UNMAP", sizeof(struct vfu_msg_dma_unmap), handle_dma_unmap, false },
    [VFU_CMD_DEVICE_GET_INFO] = { "DEVICE_GET_INFO", 16, handle_get_info, false },
    [VFU_CMD_DEVICE_GET_REGION_INFO] = { "DEVICE_GET_REGION_INFO", sizeof(struct vfio_region_info),
                                         handle_get_region_info, false },
    [VFU_CMD_DEVICE_GET_REGION_IO_FDS] = { "DEVICE_GET_REGION_IO_FDS", sizeof(struct vfu_msg_region_io_fds),
                                           handle_get_region_io_fds, false },
    [VFU_CMD_DEVICE_GET_IRQ_INFO] = { "DEVICE_GET_IRQ_INFO", sizeof(struct vfio_irq_info), handle_get_irq_info, false },
    [VFU_CMD_DEVICE_SET_IRQS] = { "DEVICE_SET_IRQS", sizeof(struct vfio_irq_set), handle_set_irqs, false },
    [VFU_CMD_REGION_READ] = { "REGION_READ", sizeof(struct vfu_msg_region_access), handle_region_read, false },
    [VFU_CMD_REGION_WRITE] = { "REGION_WRITE", sizeof(struct vfu_msg_region_access), handle_region_write, false },
    [VFU_CMD_DMA_READ] = { "DMA_READ", 0, NULL, false },
    [VFU_CMD_DMA_WRITE] = { "DMA_WRITE", 0, NULL, false },
    [VFU_CMD_DEVICE_RESET] = { "DEVICE_RESET", 0, handle_reset, false },
    [VFU_CMD_DIRTY_PAGES] = { "DIRTY_PAGES", 8, feature_dirty_pages, false },
    [VFU_CMD_REGION_WRITE_MULTI] = { "REGION_WRITE_MULTI", sizeof(struct vfu_msg_write_multi), handle_write_multi, false },
    [VFU_CMD_DEVICE_FEATURE] = { "DEVICE_FEATURE", sizeof(struct vfu_msg_device_feature), feature_handle, false },
    [VFU_CMD_MIG_DATA_READ] = { "MIG_DATA_READ", sizeof(struct vfu_msg_mig_data), feature_data_read, false },
    [VFU_CMD_MIG_DATA_WRITE] = { "MIG_DATA_WRITE", sizeof(struct vfu_msg_mig_data), feature_data_write, false },
};

const struct command *command_of(uint16_t number)
{
    static const struct command none = { "unknown command", 0, NULL, false };

    return number > VFU_CMD_LAST || !commands[number].name ? &none : &commands[number];
}

uint32_t command_reply_bound(const struct message *m)
{
    struct vfu_msg_region_access access;

    if (m->header.command != VFU_CMD_REGION_READ || m->size < sizeof access) {
        uint32_t bound = feature_reply_bound(m);

        return bound > REPLY_BOUND ? bound : REPLY_BOUND;
    }
    memcpy(&access, m->body, sizeof access);
    return (uint32_t)sizeof access + (access.count <= TRANSPORT_MAX_DATA ? access.count : 0);
}
