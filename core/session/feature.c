/* SPDX-License-Identifier: BSD-3-Clause */
/* feature - the commands of migration and of dirty page logs: see feature.h. Runs on the device's thread. */
#include "core/session/feature.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "core/session/session.h"

#define ull(x) ((unsigned long long)(x))

#define HEAD sizeof(struct vfu_msg_device_feature)
#define METHODS (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET)

/* <linux/vfio.h> of 6.2 and later; the oldest base that we build on has 6.1. */
#define FEATURE_MIGRATION 1u
#define FEATURE_MIG_DEVICE_STATE 2u
#define FEATURE_DMA_LOGGING_START 6u
#define FEATURE_DMA_LOGGING_STOP 7u
#define FEATURE_DMA_LOGGING_REPORT 8u
#define FLAG_STOP_COPY 1u
#define FLAG_PRE_COPY 4u

/* As they stand behind the feature's head. */
struct control {
    uint64_t page_size;
    uint32_t num_ranges, reserved;
    /* struct dirty_range follow */
};

struct report {
    uint64_t iova, length, page_size;
    /* the bitmap follows in the reply */
};

/* Of earlier revisions: struct vfio_bitmap with its data behind it. */
struct bitmap {
    uint64_t page_size, size;
};

struct bitmap_range {
    uint64_t iova, length;
    struct bitmap bitmap;
};

static uint32_t data_limit(const struct session *s)
{
    return version_data_limit(&s->version);
}

static uint32_t bitmap_limit(const struct session *s)
{
    return version_bitmap_limit(&s->version);
}

/* ---- DEVICE_FEATURE ---- */

static int echo(struct session *s, const struct message *m)
{
    memcpy(session_reply_raw(s, m->size), m->body, m->size);
    return 0;
}

/* The reply of a GET: room for `size` bytes of data, or NULL where the client has too little. */
static void *answer(struct session *s, const struct vfu_msg_device_feature *request, uint32_t size)
{
    struct vfu_msg_device_feature head = { .argsz = (uint32_t)HEAD + size, .flags = request->flags };
    bool fits = request->argsz >= head.argsz;
    uint8_t *reply = session_reply_raw(s, (uint32_t)HEAD + (fits ? size : 0));

    memcpy(reply, &head, HEAD);
    return fits ? reply + HEAD : NULL;
}

static int get_migration(struct session *s, struct message *m, const struct vfu_msg_device_feature *request)
{
    uint64_t flags = FLAG_STOP_COPY | FLAG_PRE_COPY;
    void *data = answer(s, request, sizeof flags);

    (void)m;
    if (data)
        memcpy(data, &flags, sizeof flags);
    return 0;
}

static int get_state(struct session *s, const struct vfu_msg_device_feature *request)
{
    struct vfu_msg_mig_state state = { .device_state = s->dev->migration.state, .data_fd = UINT32_MAX };
    void *data = answer(s, request, sizeof state);

    if (data)
        memcpy(data, &state, sizeof state);
    return 0;
}

static int device_state(struct session *s, struct message *m, const struct vfu_msg_device_feature *request)
{
    struct migration *migration = &s->dev->migration;
    uint32_t before = migration->state;
    struct vfu_msg_mig_state state;
    int error;

    if (request->flags & VFIO_DEVICE_FEATURE_GET)
        return get_state(s, request);
    memcpy(&state, m->body + HEAD, sizeof state);
    error = migration_set(s->dev, state.device_state);
    if (error)
        return session_refuse(s, error, m, "device_state %u (%s): no way from %s, or it failed (%s); it is %s now",
                              state.device_state, migration_name(state.device_state), migration_name(before),
                              strerror(-error), migration_name(migration->state));
    return echo(s, m);
}

static int logging_start(struct session *s, struct message *m, const struct vfu_msg_device_feature *request)
{
    struct dirty_range *ranges;
    struct control control;
    size_t room = m->size - HEAD - sizeof control;
    int error;

    (void)request;
    memcpy(&control, m->body + HEAD, sizeof control);
    if (control.num_ranges > room / sizeof *ranges)
        return session_refuse(s, -EINVAL, m, "DMA_LOGGING_START: num_ranges is %u, the message has room for %zu",
                              control.num_ranges, room / sizeof *ranges);
    ranges = calloc(control.num_ranges ? control.num_ranges : 1, sizeof *ranges);
    if (!ranges)
        return session_refuse(s, -ENOMEM, m, "DMA_LOGGING_START: no memory for %u ranges", control.num_ranges);
    memcpy(ranges, m->body + HEAD + sizeof control, control.num_ranges * sizeof *ranges);
    error = device_log_start(s->dev, control.page_size, ranges, control.num_ranges);
    free(ranges);
    if (error)
        return session_refuse(s, error, m, "DMA_LOGGING_START: page_size %#llx, num_ranges %u: refused (%s)",
                              ull(control.page_size), control.num_ranges, strerror(-error));
    return echo(s, m);
}

static int logging_stop(struct session *s, struct message *m, const struct vfu_msg_device_feature *request)
{
    (void)request;
    device_log_stop(s->dev);
    return echo(s, m);
}

/* What the dirty log says: the line that it has written knows no command. */
static int refuse_pages(struct session *s, const struct message *m, int error, uint64_t iova, uint64_t length)
{
    return error ? session_refuse(s, error, m, "no bitmap of iova %#llx, length %#llx (%s)", ull(iova), ull(length),
                                  strerror(-error))
                 : 0;
}

static int logging_report(struct session *s, struct message *m, const struct vfu_msg_device_feature *request)
{
    struct report report;
    uint64_t bytes;
    uint8_t *data;
    int error;

    memcpy(&report, m->body + HEAD, sizeof report);
    bytes = dirty_bitmap_size(report.iova, report.length, report.page_size);
    if (bytes == 0 || bytes > bitmap_limit(s))
        return session_refuse(s, -EINVAL, m, "DMA_LOGGING_REPORT: iova %#llx, length %#llx, page_size %#llx: %s",
                              ull(report.iova), ull(report.length), ull(report.page_size),
                              bytes ? "the bitmap is larger than max_data_xfer_size or max_bitmap_size"
                                    : "not whole pages, or beyond 2^64");
    data = answer(s, request, (uint32_t)(sizeof report + bytes));
    if (!data && !dirty_active(s->dev->dirty))
        return session_refuse(s, -EINVAL, m, "DMA_LOGGING_REPORT: it is not started");
    if (!data)
        return 0;
    memcpy(data, &report, sizeof report);
    error = dirty_report(s->dev->dirty, report.iova, report.length, report.page_size, data + sizeof report, bytes, true);
    return refuse_pages(s, m, error, report.iova, report.length);
}

static const struct feature {
    uint32_t number, methods;
    uint64_t cap; /* a device without it does not offer the feature */
    uint32_t set_size, get_size; /* bytes of data in the request */
    int (*handle)(struct session *s, struct message *m, const struct vfu_msg_device_feature *request);
} features[] = {
    { FEATURE_MIGRATION, VFIO_DEVICE_FEATURE_GET, VFU_CAP_MIGRATION, 0, 0, get_migration },
    { FEATURE_MIG_DEVICE_STATE, METHODS, VFU_CAP_MIGRATION, sizeof(struct vfu_msg_mig_state), 0, device_state },
    { FEATURE_DMA_LOGGING_START, VFIO_DEVICE_FEATURE_SET, VFU_CAP_DMA, sizeof(struct control), 0, logging_start },
    { FEATURE_DMA_LOGGING_STOP, VFIO_DEVICE_FEATURE_SET, VFU_CAP_DMA, 0, 0, logging_stop },
    { FEATURE_DMA_LOGGING_REPORT, VFIO_DEVICE_FEATURE_GET, VFU_CAP_DMA, 0, sizeof(struct report), logging_report },
};

static const struct feature *find(const struct session *s, uint32_t number)
{
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        if (features[i].number == number && (s->dev->description.caps & features[i].cap))
            return &features[i];
    }
    return NULL;
}

int feature_handle(struct session *s, struct message *m)
{
    struct vfu_msg_device_feature request;
    const struct feature *feature;
    uint32_t method, needed;

    memcpy(&request, m->body, HEAD);
    method = request.flags & METHODS;
    if (request.argsz < HEAD)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the structure has at least %zu bytes", request.argsz, HEAD);
    if (request.flags & ~(VFIO_DEVICE_FEATURE_MASK | METHODS | VFIO_DEVICE_FEATURE_PROBE))
        return session_refuse(s, -EINVAL, m, "flags are %#x, of which some are unknown", request.flags);
    if (!(request.flags & VFIO_DEVICE_FEATURE_PROBE) && method != VFIO_DEVICE_FEATURE_GET &&
        method != VFIO_DEVICE_FEATURE_SET)
        return session_refuse(s, -EINVAL, m, "flags are %#x: one of GET and SET is needed, where nothing is probed",
                              request.flags);
    feature = find(s, request.flags & VFIO_DEVICE_FEATURE_MASK);
    if (!feature)
        return session_refuse(s, -ENOTTY, m, "feature %u is not offered by this device",
                              request.flags & VFIO_DEVICE_FEATURE_MASK);
    if (method & ~feature->methods)
        return session_refuse(s, -EINVAL, m, "feature %u cannot be %s", feature->number,
                              feature->methods & VFIO_DEVICE_FEATURE_GET ? "set" : "read");
    if ((request.flags & (VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PROBE)) && request.argsz < m->size)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the reply has the %u bytes of the request", request.argsz,
                              m->size);
    if (request.flags & VFIO_DEVICE_FEATURE_PROBE)
        return echo(s, m);
    needed = (uint32_t)HEAD + (method == VFIO_DEVICE_FEATURE_SET ? feature->set_size : feature->get_size);
    if (m->size < needed)
        return session_refuse(s, -EINVAL, m, "feature %u: its body has %u bytes, it needs %u", feature->number, m->size,
                              needed);
    return feature->handle(s, m, &request);
}

/* ---- MIG_DATA_READ, MIG_DATA_WRITE ---- */

static int refuse_state(struct session *s, const struct message *m, const char *where)
{
    return session_refuse(s, -EINVAL, m, "the device is in %s; data goes in %s",
                          migration_name(s->dev->migration.state), where);
}

int feature_data_read(struct session *s, struct message *m)
{
    struct vfu_msg_mig_data request, head;
    uint8_t *reply;
    int64_t n;

    memcpy(&request, m->body, sizeof request);
    if (!(s->dev->description.caps & VFU_CAP_MIGRATION))
        return session_refuse(s, -ENOTSUP, m, "this device cannot be migrated");
    if (request.size == 0 || request.size > data_limit(s))
        return session_refuse(s, -EINVAL, m, "size is %u, it can be from 1 to %u", request.size, data_limit(s));
    if (request.argsz < sizeof head + request.size)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the reply has %zu bytes", request.argsz,
                              sizeof head + request.size);
    /* Clients wait for as much as they have asked for; `size` says how much of it is data. */
    reply = session_reply_raw(s, (uint32_t)sizeof head + request.size);
    n = migration_read(s->dev, reply + sizeof head, request.size);
    if (n < 0)
        return refuse_state(s, m, "PRE_COPY and STOP_COPY");
    head = (struct vfu_msg_mig_data){ .argsz = (uint32_t)(sizeof head + (uint64_t)n), .size = (uint32_t)n };
    memcpy(reply, &head, sizeof head);
    memset(reply + sizeof head + n, 0, request.size - (uint64_t)n);
    return 0;
}

int feature_data_write(struct session *s, struct message *m)
{
    struct vfu_msg_mig_data request;
    int error;

    memcpy(&request, m->body, sizeof request);
    if (!(s->dev->description.caps & VFU_CAP_MIGRATION))
        return session_refuse(s, -ENOTSUP, m, "this device cannot be migrated");
    if (s->dev->migration.state != MIGRATION_RESUMING)
        return refuse_state(s, m, "RESUMING");
    if (request.argsz < sizeof request || request.size == 0 || request.size > TRANSPORT_MAX_DATA ||
        request.size != m->size - sizeof request)
        return session_refuse(s, -EINVAL, m, "argsz is %u, size is %u; it can be from 1 to %u, the message has %zu",
                              request.argsz, request.size, TRANSPORT_MAX_DATA, m->size - sizeof request);
    error = migration_write(s->dev, m->body + sizeof request, request.size);
    return error ? session_refuse(s, error, m, "%u bytes more are refused (%s)", request.size, strerror(-error)) : 0;
}

/* ---- dirty pages of earlier revisions ---- */

/* The client names its bitmap's size: at least what it takes, at most what a message carries. */
static int check_bitmap(struct session *s, const struct message *m, uint64_t iova, uint64_t length,
                        const struct bitmap *bitmap)
{
    uint64_t bytes = dirty_bitmap_size(iova, length, bitmap->page_size);

    if (bytes && bitmap->size >= bytes && bitmap->size <= bitmap_limit(s))
        return 0;
    return session_refuse(s, -EINVAL, m, "bitmap of iova %#llx, size %#llx, pgsize %#llx: %llu bytes, it needs %llu, "
                          "%u are the most", ull(iova), ull(length), ull(bitmap->page_size), ull(bitmap->size),
                          ull(bytes), bitmap_limit(s));
}

static int dirty_get(struct session *s, struct message *m, uint32_t argsz)
{
    const uint32_t fixed = sizeof(struct vfu_msg_device_feature) + sizeof(struct bitmap_range);
    struct bitmap_range range;
    uint32_t head[2];
    uint8_t *reply;
    int error;

    if (m->size < fixed)
        return session_refuse(s, -EINVAL, m, "its body has %u bytes, GET_BITMAP needs %u", m->size, fixed);
    memcpy(head, m->body, sizeof head);
    memcpy(&range, m->body + sizeof head, sizeof range);
    error = check_bitmap(s, m, range.iova, range.length, &range.bitmap);
    if (error)
        return error;
    head[0] = fixed + (uint32_t)range.bitmap.size;
    if (argsz < head[0]) {
        memcpy(session_reply_raw(s, sizeof head), head, sizeof head);
        return 0;
    }
    reply = session_reply(s, head[0]);
    memcpy(reply, head, sizeof head);
    memcpy(reply + sizeof head, &range, sizeof range);
    error = dirty_report(s->dev->dirty, range.iova, range.length, range.bitmap.page_size, reply + fixed,
                         range.bitmap.size, true);
    return refuse_pages(s, m, error, range.iova, range.length);
}

int feature_dirty_pages(struct session *s, struct message *m)
{
    uint32_t head[2]; /* argsz, flags */
    int error = 0;

    memcpy(head, m->body, sizeof head);
    if (!(s->dev->description.caps & VFU_CAP_DMA))
        return session_refuse(s, -ENOTSUP, m, "this device does no DMA");
    if (head[0] < sizeof head)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the structure has %zu bytes", head[0], sizeof head);
    switch (head[1]) {
    case VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
        if (s->dev->logging_pages)
            return 0; /* once more is as good as once */
        error = device_log_start(s->dev, 4096, NULL, 0);
        s->dev->logging_pages = error == 0;
        return error ? session_refuse(s, error, m, "START: refused (%s)", strerror(-error)) : 0;
    case VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
        device_log_stop(s->dev);
        return 0;
    case VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
        return dirty_get(s, m, head[0]);
    default:
        return session_refuse(s, -EINVAL, m, "flags are %#x; one of START (1), STOP (2), GET_BITMAP (4) is needed",
                              head[1]);
    }
}

int feature_dma_unmap(struct session *s, struct message *m, const struct vfu_msg_dma_unmap *unmap)
{
    struct bitmap bitmap;
    uint32_t fixed = (uint32_t)(sizeof *unmap + sizeof bitmap);
    uint8_t *reply;
    int error;

    if (unmap->flags != VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP || m->size < fixed)
        return session_refuse(s, -EINVAL, m, "flags are %#x, its body has %u bytes; GET_DIRTY_BITMAP stands alone, "
                              "with %u", unmap->flags, m->size, fixed);
    memcpy(&bitmap, m->body + sizeof *unmap, sizeof bitmap);
    error = check_bitmap(s, m, unmap->address, unmap->size, &bitmap);
    if (error)
        return error;
    if (unmap->argsz < fixed + bitmap.size)
        return session_refuse(s, -EINVAL, m, "argsz is %u, the reply has %llu bytes", unmap->argsz,
                              ull(fixed + bitmap.size));
    reply = session_reply(s, fixed + (uint32_t)bitmap.size);
    memcpy(reply, unmap, sizeof *unmap);
    memcpy(reply + sizeof *unmap, &bitmap, sizeof bitmap);
    /* First to see that it can be done; then, with the memory gone and nothing writing it, for good. */
    error = dirty_report(s->dev->dirty, unmap->address, unmap->size, bitmap.page_size, reply + fixed, bitmap.size,
                         false);
    if (error)
        return refuse_pages(s, m, error, unmap->address, unmap->size);
    error = dma_unmap(s->dev->dma, unmap->address, unmap->size);
    if (error) {
        s->dev->refusals++; /* it has its line */
        return error;
    }
    return dirty_report(s->dev->dirty, unmap->address, unmap->size, bitmap.page_size, reply + fixed, bitmap.size,
                        true);
}

/* ---- replies ---- */

/* A bitmap's size that is too large is refused before anything is written. */
static uint32_t with_data(uint64_t fixed, uint64_t size)
{
    return (uint32_t)(fixed + (size <= TRANSPORT_MAX_DATA ? size : 0));
}

static uint32_t feature_bound(const struct message *m)
{
    struct vfu_msg_device_feature request;
    struct report report;

    if (m->size < HEAD + sizeof report)
        return m->size;
    memcpy(&request, m->body, HEAD);
    if (request.flags != (FEATURE_DMA_LOGGING_REPORT | VFIO_DEVICE_FEATURE_GET))
        return m->size;
    memcpy(&report, m->body + HEAD, sizeof report);
    return with_data(HEAD + sizeof report, dirty_bitmap_size(report.iova, report.length, report.page_size));
}

uint32_t feature_reply_bound(const struct message *m)
{
    struct vfu_msg_mig_data data;
    struct bitmap bitmap;
    uint32_t at;

    switch (m->header.command) {
    case VFU_CMD_DEVICE_FEATURE:
        return feature_bound(m);
    case VFU_CMD_MIG_DATA_READ:
        if (m->size < sizeof data)
            return 0;
        memcpy(&data, m->body, sizeof data);
        return with_data(sizeof data, data.size);
    case VFU_CMD_DIRTY_PAGES:
        at = sizeof(struct vfu_msg_device_feature) + 16;
        break;
    case VFU_CMD_DMA_UNMAP:
        at = sizeof(struct vfu_msg_dma_unmap);
        break;
    default:
        return 0;
    }
    if (m->size < at + sizeof bitmap)
        return 0;
    memcpy(&bitmap, m->body + at, sizeof bitmap);
    return with_data(at + sizeof bitmap, bitmap.size);
}
