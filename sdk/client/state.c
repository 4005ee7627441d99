/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state - migration: the device's state machine, its state as bytes, and both together. The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

/* <linux/vfio.h> of 6.2 and later. */
#define FEATURE_MIGRATION 1u
#define FEATURE_MIG_DEVICE_STATE 2u

#define HEAD sizeof(struct vfu_msg_device_feature)
#define LIMIT (UINT64_C(4) << 30)
#define RUNNING_READS 65536u /* a device that runs may have something new for ever */

const char *vfuc_migration_name(uint32_t state)
{
    static const char *const names[] = {
        "ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P",
    };

    return state < sizeof names / sizeof names[0] ? names[state] : "an unknown state";
}

/* ---- features ---- */

/* Asks for a feature's `size` bytes. */
static int state_get(struct vfuc *c, uint32_t feature, void *data, uint32_t size)
{
    struct vfu_msg_device_feature head = { (uint32_t)HEAD + size, feature | VFIO_DEVICE_FEATURE_GET };
    uint8_t reply[64];
    int r = call_simple(c, VFU_CMD_DEVICE_FEATURE, &head, sizeof head, NULL, 0, reply, HEAD + size);

    if (r < 0)
        return r;
    if (r < (int)(HEAD + size))
        return conn_broken(c, -EPROTO, "DEVICE_FEATURE %u: a reply of %d bytes, expected %zu", feature, r, HEAD + size);
    memcpy(data, reply + HEAD, size);
    return 0;
}

int vfuc_migration_flags(struct vfuc *c, uint64_t *flags)
{
    *flags = 0;
    return state_get(c, FEATURE_MIGRATION, flags, sizeof *flags);
}

int vfuc_migration_state(struct vfuc *c, uint32_t *state)
{
    struct vfu_msg_mig_state data = { 0, 0 };
    int err = state_get(c, FEATURE_MIG_DEVICE_STATE, &data, sizeof data);

    *state = data.device_state;
    return err;
}

int vfuc_migration_set(struct vfuc *c, uint32_t state)
{
    struct {
        struct vfu_msg_device_feature head;
        struct vfu_msg_mig_state data;
    } set = { { sizeof set, FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_SET }, { state, UINT32_MAX } };
    int r = call_simple(c, VFU_CMD_DEVICE_FEATURE, &set, sizeof set, NULL, 0, NULL, 0);

    if (r < 0 && !c->broken && r != -ETIMEDOUT)
        conn_error(c, r, "the device does not go to %s: %s", vfuc_migration_name(state), strerror(-r));
    return r < 0 ? r : 0;
}

/* ---- data ---- */

static uint32_t state_chunk(const struct vfuc *c, size_t size)
{
    uint64_t most = c->server.max_data_xfer_size < CHUNK ? c->server.max_data_xfer_size : CHUNK;

    if (most > c->options.max_data_xfer_size)
        most = c->options.max_data_xfer_size;
    return size < most ? (uint32_t)size : (uint32_t)most;
}

/* One message: the data stay in the buffer until call_done(). Servers pad what they have to what was asked for, or
 * not. */
static int state_read(struct vfuc *c, uint32_t max, const uint8_t **data)
{
    struct vfu_msg_mig_data ask = { (uint32_t)sizeof ask + max, max }, reply;
    struct slot *slot;
    const uint8_t *body;
    size_t size;
    int err = call_queue(c, VFU_CMD_MIG_DATA_READ, &ask, sizeof ask, NULL, 0, NULL, 0, &slot);

    if (err)
        return err;
    slot->keep = true;
    err = call_wait(c, slot);
    if (err)
        return err;
    body = call_body(c, &size);
    if (size >= sizeof reply)
        memcpy(&reply, body, sizeof reply);
    if (size < sizeof reply || reply.size > max || reply.size > size - sizeof reply) {
        uint32_t said = size < sizeof reply ? 0 : reply.size;

        call_done(c);
        return conn_broken(c, -EPROTO, "MIG_DATA_READ of %u bytes: a reply of %zu bytes that says it has %u", max, size,
                           said);
    }
    *data = body + sizeof reply;
    return (int)reply.size;
}

int vfuc_migration_read(struct vfuc *c, void *data, size_t max)
{
    const uint8_t *bytes = NULL;
    int r = conn_ready(c);

    if (!r && !max)
        return conn_error(c, -EINVAL, "a read of 0 bytes");
    if (!r)
        r = state_read(c, state_chunk(c, max), &bytes);
    if (r < 0)
        return r;
    if (r)
        memcpy(data, bytes, (size_t)r);
    call_done(c);
    return r;
}

int vfuc_migration_write(struct vfuc *c, const void *data, size_t size)
{
    int err = conn_ready(c);

    while (!err && size) {
        uint32_t n = state_chunk(c, size);
        struct vfu_msg_mig_data head = { (uint32_t)sizeof head + n, n };
        struct slot *slot;

        err = call_queue(c, VFU_CMD_MIG_DATA_WRITE, &head, sizeof head, data, n, NULL, 0, &slot);
        if (err)
            break;
        slot->keep = true;
        err = call_wait(c, slot);
        if (!err)
            call_done(c);
        data = (const uint8_t *)data + n;
        size -= n;
    }
    return err;
}

/* ---- the whole of it ---- */

static bool state_transfer(struct vfuc_transfer *t, const struct vfuc_transfer *given)
{
    memset(t, 0, sizeof *t);
    if (given && given->struct_size < sizeof(size_t) + sizeof(uint32_t))
        return false;
    if (given)
        memcpy(t, given, given->struct_size < sizeof *t ? given->struct_size : sizeof *t);
    t->struct_size = sizeof *t;
    t->running_bytes = t->stopped_bytes = t->stopped_at = 0;
    if (!t->limit)
        t->limit = LIMIT;
    return t->flags <= VFUC_SAVE_STOPPED;
}

static void state_results(struct vfuc_transfer *given, const struct vfuc_transfer *t)
{
    size_t size = given ? given->struct_size : 0;

    if (!given)
        return;
    memcpy(given, t, size < sizeof *t ? size : sizeof *t);
    given->struct_size = size;
}

/* All that there is now, to the sink. */
static int state_pump(struct vfuc *c, const struct vfuc_transfer *t, uint32_t reads, uint64_t *bytes,
                      vfuc_sink_fn *sink, void *ctx)
{
    while (reads--) {
        const uint8_t *data = NULL;
        int err, n = state_read(c, state_chunk(c, CHUNK), &data);

        if (n < 0)
            return n;
        *bytes += (uint64_t)n;
        err = n ? t->running_bytes + t->stopped_bytes > t->limit ? -EFBIG : sink(ctx, data, (size_t)n) : 0;
        call_done(c);
        if (err == -EFBIG)
            return conn_error(c, err, "the device's state has more than %llu bytes", (unsigned long long)t->limit);
        if (err < 0)
            return conn_error(c, err, "its state was not taken: %s", strerror(-err));
        if (!n)
            return 0;
    }
    return 0;
}

/* What can go while the device runs. Not to be had: nothing is lost. */
static int state_running(struct vfuc *c, struct vfuc_transfer *t, vfuc_sink_fn *sink, void *ctx)
{
    uint64_t flags;
    int err = vfuc_migration_flags(c, &flags);

    if (err)
        return err;
    if (!(flags & VFUC_MIG_HAS_STOP_COPY))
        return conn_error(c, -ENOTSUP, "the device cannot be stopped and copied (its flags are 0x%llx)",
                          (unsigned long long)flags);
    if (t->flags & VFUC_SAVE_STOPPED || !(flags & VFUC_MIG_HAS_PRE_COPY))
        return 0;
    err = vfuc_migration_set(c, VFUC_MIG_PRE_COPY);
    if (err)
        return c->broken || err == -ETIMEDOUT ? err : 0;
    err = state_pump(c, t, RUNNING_READS, &t->running_bytes, sink, ctx);
    /* VFIO's word for: no more for now. */
    return err == -ENOMSG ? 0 : err;
}

static int state_save(struct vfuc *c, struct vfuc_transfer *t, vfuc_sink_fn *sink, void *ctx)
{
    int err = state_running(c, t, sink, ctx);

    if (err)
        return err;
    t->stopped_at = conn_now();
    err = vfuc_migration_set(c, VFUC_MIG_STOP_COPY);
    if (!err)
        err = state_pump(c, t, UINT32_MAX, &t->stopped_bytes, sink, ctx);
    return err ? err : vfuc_migration_set(c, VFUC_MIG_STOP);
}

int vfuc_save(struct vfuc *c, struct vfuc_transfer *transfer, vfuc_sink_fn *sink, void *ctx)
{
    struct vfuc_transfer t;
    char text[sizeof c->error];
    int err = conn_ready(c);

    if (err)
        return err;
    if (!state_transfer(&t, transfer))
        return conn_error(c, -EINVAL, "the options of the transfer make no sense");
    err = state_save(c, &t, sink, ctx);
    state_results(transfer, &t);
    if (!err || c->broken)
        return err;
    /* The first failure is the one to tell of. */
    memcpy(text, c->error, sizeof text);
    vfuc_migration_set(c, VFUC_MIG_RUNNING);
    if (!c->broken)
        memcpy(c->error, text, sizeof text);
    return err;
}

int vfuc_load(struct vfuc *c, struct vfuc_transfer *transfer, vfuc_source_fn *source, void *ctx)
{
    static const size_t piece = 65536;
    struct vfuc_transfer t;
    uint8_t data[65536];
    int n = 0, err = conn_ready(c);

    if (err)
        return err;
    if (!state_transfer(&t, transfer))
        return conn_error(c, -EINVAL, "the options of the transfer make no sense");
    t.stopped_at = conn_now();
    err = vfuc_migration_set(c, VFUC_MIG_RESUMING);
    while (!err && (n = source(ctx, data, piece)) > 0) {
        t.stopped_bytes += (uint64_t)n;
        err = t.stopped_bytes > t.limit ? conn_error(c, -EFBIG, "the state has more than %llu bytes",
                                                     (unsigned long long)t.limit)
                                        : vfuc_migration_write(c, data, (size_t)n);
    }
    if (!err && n < 0)
        err = conn_error(c, n, "its state could not be had: %s", strerror(-n));
    if (!err)
        err = vfuc_migration_set(c, VFUC_MIG_STOP);
    state_results(transfer, &t);
    return err;
}
