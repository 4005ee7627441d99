/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ring - a libFuzzer harness of the virtio library: an input is a driver that does what it likes. Its first bytes choose how
 * memory is reached and what is negotiated; then come steps, each an opcode and what it needs: writes to registers and to
 * the rings' memory, kicks, messages that arrive, chains that are done, saves and loads. One device of unit tests' rig.
 */
#include <stdlib.h>

#include "tests/unit/virtio_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *p;
    size_t left;
};

static uint64_t take(struct input *in, uint32_t n)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < n && in->left; i++, in->p++, in->left--)
        value |= (uint64_t)*in->p << 8 * i;
    return value;
}

struct store {
    struct vfu_sink sink;
    struct vfu_source source;
    uint8_t data[16384];
    uint64_t n, at;
};

static int32_t store_write(struct vfu_sink *sink, const void *data, uint64_t len)
{
    struct store *s = (struct store *)sink;

    if (len > sizeof s->data - s->n)
        return -ENOSPC;
    memcpy(s->data + s->n, data, len);
    s->n += len;
    return 0;
}

static int32_t store_read(struct vfu_source *source, void *data, uint64_t len)
{
    struct store *s = (struct store *)(void *)((char *)source - offsetof(struct store, source));

    if (len > s->n - s->at)
        return -EINVAL;
    memcpy(data, s->data + s->at, len);
    s->at += len;
    return 0;
}

/* The state goes out and comes back, with one byte of it changed if `wrong` is not 0. */
static void move(struct rig *rig, uint32_t where, uint8_t wrong)
{
    struct store *s = calloc(1, sizeof *s);

    if (!s)
        return;
    s->sink.write = store_write;
    s->source.read = store_read;
    rig_serve(rig, 1000); /* the host ends what is in flight before it loads */
    vfu_virtio_quiesce(&rig->v);
    rig_serve(rig, 1000);
    if (!vfu_virtio_save(&rig->v, &s->sink)) {
        s->data[where % s->n] ^= wrong;
        if (vfu_virtio_load(&rig->v, &s->source))
            vfu_virtio_reset(&rig->v, VFU_RESET_BUS);
    }
    vfu_virtio_resume(&rig->v);
    free(s);
}

static void step(struct rig *rig, struct input *in)
{
    static const uint8_t writable[] = {
        VFU_VIRTIO_R_DEVICE_STATUS, VFU_VIRTIO_R_QUEUE_SELECT, VFU_VIRTIO_R_QUEUE_SIZE, VFU_VIRTIO_R_QUEUE_MSIX_VECTOR,
        VFU_VIRTIO_R_QUEUE_ENABLE, VFU_VIRTIO_R_QUEUE_DESC, VFU_VIRTIO_R_QUEUE_DRIVER, VFU_VIRTIO_R_QUEUE_DEVICE,
        VFU_VIRTIO_R_DRIVER_FEATURE, VFU_VIRTIO_R_DRIVER_FEATURE_SELECT, VFU_VIRTIO_R_CONFIG_MSIX_VECTOR,
        VFU_VIRTIO_R_WINDOW_DATA, VFU_VIRTIO_R_WINDOW_LENGTH,
    };
    uint32_t op = (uint32_t)take(in, 1), q = op >> 4 & 1, i;
    uint64_t value;

    switch (op & 15) {
    case 0:
        i = writable[take(in, 1) % sizeof writable];
        rig_put(rig, i, take(in, rig->v.map[i].size));
        return;
    case 1:
        i = (uint32_t)take(in, 2);
        rig_poke(rig, RIG_BASE + i % (RIG_SIZE - 8), take(in, 8), 8);
        return;
    case 2:
    case 3:
    case 4:
        i = (uint32_t)take(in, 1) % RIG_QUEUE;
        value = take(in, 2);
        rig_desc(rig, op & 32 ? RIG_BUFFER + 0x1000 : RIG_DESC(q), i, op & 64 ? take(in, 8) : RIG_BUFFER + value % 0x1800,
                 (uint32_t)take(in, 2) & 0x1fff, (uint16_t)take(in, 1), (uint16_t)(take(in, 1) % (RIG_QUEUE + 1)));
        return;
    case 5:
    case 6:
        rig_offer(rig, q, (uint16_t)(take(in, 1) % (RIG_QUEUE + 1)));
        return;
    case 7:
        rig_poke(rig, RIG_AVAIL(q) + (op & 32 ? 2 : 4 + 2 * RIG_QUEUE), take(in, 2), 2);
        return;
    case 8:
    case 9:
        vfu_virtio_doorbell(&rig->v, q, 0);
        return;
    case 10:
        rig_serve(rig, 1 + (uint32_t)(op >> 4));
        return;
    case 11:
        rig_finish(rig, (uint32_t)take(in, 1) % RIG_HELD);
        return;
    case 12:
        rig->keep = op & 16;
        rig->fill = op & 32;
        if (op & 64)
            rig_memory(rig, op & 128);
        return;
    case 13:
        i = (uint32_t)take(in, 2);
        move(rig, i, (uint8_t)take(in, 1));
        return;
    case 14:
        rig_start(rig, (op & 16 ? VFU_VIRTIO_F_INDIRECT_DESC : 0) | (op & 32 ? VFU_VIRTIO_F_EVENT_IDX : 0));
        return;
    default:
        if (op & 64) {
            vfu_virtio_config_changed(&rig->v);
            rig_get(rig, op & 128 ? VFU_VIRTIO_R_CONFIG_GENERATION : VFU_VIRTIO_R_ISR);
            return;
        }
        if (op & 32)
            rig_cancel(rig);
        else
            rig_serve(rig, 1000);
        if (op & 16)
            vfu_virtio_detach(&rig->v);
        else
            vfu_virtio_reset(&rig->v, VFU_RESET_BUS);
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct rig *rig = malloc(sizeof *rig);
    uint32_t how = (uint32_t)take(&in, 1);

    if (rig && rig_new(rig, how % 3)) {
        rig->keep = how & 16;
        rig_start(rig, (how & 4 ? VFU_VIRTIO_F_INDIRECT_DESC : 0) | (how & 8 ? VFU_VIRTIO_F_EVENT_IDX : 0));
        while (in.left)
            step(rig, &in);
        rig_serve(rig, 1000);
        rig_cancel(rig);
        for (uint32_t i = 0; i < rig->v.nqueues; i++)
            if (rig->v.queues[i].nbusy > rig->v.queues[i].size || rig->v.queues[i].inflight > rig->v.queues[i].nbusy)
                abort();
        rig_free(rig);
    }
    free(rig);
    return 0;
}
