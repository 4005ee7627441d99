/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio_rig - see virtio_rig.h. */
#include "tests/unit/virtio_rig.h"

static struct rig *of(const struct vfu_host *host)
{
    return host->ctx;
}

static uint64_t reg_get(const struct vfu_host *host, uint32_t reg, uint32_t index, uint32_t group)
{
    (void)index;
    (void)group;
    return reg < VFU_VIRTIO_REGS ? of(host)->regs[reg] : 0;
}

static int32_t reg_set(const struct vfu_host *host, uint32_t reg, uint32_t index, uint32_t group, uint64_t value)
{
    struct rig *rig = of(host);

    (void)index;
    (void)group;
    if (reg < VFU_VIRTIO_REGS)
        rig->regs[reg] = rig->v.map[reg].size == 8 ? value : value & ((UINT64_C(1) << 8 * rig->v.map[reg].size) - 1);
    return 0;
}

/* Config space has two capabilities: MSI-X, off, and the first of the device. */
static int32_t config_read(const struct vfu_host *host, uint32_t offset, uint32_t size, void *bytes)
{
    static const uint8_t config[256] = { [0x34] = 0x40, [0x40] = 0x11, [0x41] = 0x4c, [0x4c] = 9 };

    (void)host;
    if (offset > sizeof config - size)
        return -EINVAL;
    memcpy(bytes, config + offset, size);
    return 0;
}

static const void *extension(const struct vfu_host *host, const char *id)
{
    static const struct vfu_host_regmap regmap = { .struct_size = sizeof regmap, .get = reg_get, .set = reg_set };
    static const struct vfu_host_config config = { .struct_size = sizeof config, .read = config_read };

    (void)host;
    return !strcmp(id, VFU_EXT_REGMAP) ? (const void *)&regmap : !strcmp(id, VFU_EXT_CONFIG) ? &config : NULL;
}

static uint64_t granted(const struct vfu_host *host)
{
    return of(host)->mode == RIG_MAPPED ? VFU_VIRTIO_CAPS : VFU_VIRTIO_CAPS & ~VFU_CAP_DMA_MAP;
}

static void say(const struct vfu_host *host, uint32_t level, const char *message)
{
    (void)host;
    (void)level;
    (void)message;
}

static void guest_error(const struct vfu_host *host, const char *message)
{
    of(host)->errors++;
    snprintf(of(host)->error, sizeof of(host)->error, "%s", message);
}

static uint8_t *at(struct rig *rig, uint64_t addr, uint64_t len)
{
    return !rig->gone && addr >= RIG_BASE && len <= RIG_SIZE && addr - RIG_BASE <= RIG_SIZE - len ? rig->memory + (addr - RIG_BASE) : NULL;
}

/* Words of a ring as one, for the driver of test_virtio_smp. */
static void copy(void *to, const void *from, uint64_t len, bool write)
{
    if (len == 2)
        vfu_virtq_copy16(to, from, write);
    else
        memcpy(to, from, len);
}

static int32_t dma_read(const struct vfu_host *host, uint64_t addr, void *buf, uint64_t len)
{
    const uint8_t *p = at(of(host), addr, len);

    if (!p)
        return -EFAULT;
    if (of(host)->mode == RIG_MESSAGES)
        return -EWOULDBLOCK;
    copy(buf, p, len, false);
    return 0;
}

static int32_t dma_write(const struct vfu_host *host, uint64_t addr, const void *buf, uint64_t len)
{
    uint8_t *p = at(of(host), addr, len);

    if (!p)
        return -EFAULT;
    if (of(host)->mode == RIG_MESSAGES)
        return -EWOULDBLOCK;
    copy(p, buf, len, true);
    return 0;
}

static int32_t dma_submit(const struct vfu_host *host, struct vfu_dma_op *op)
{
    struct rig *rig = of(host);

    if (rig->nops == RIG_OPS)
        return -ENOBUFS;
    rig->ops[rig->nops++] = op;
    return 0;
}

static int32_t dma_map(const struct vfu_host *host, uint64_t addr, uint64_t len, uint32_t prot, struct vfu_dma_window *w)
{
    uint8_t *p = at(of(host), addr, len);

    if (!p)
        return -EFAULT;
    w->addr = addr;
    w->len = len;
    w->prot = prot;
    w->data = p;
    return 0;
}

static int32_t dma_unmap(const struct vfu_host *host, struct vfu_dma_window *w)
{
    (void)host;
    w->data = NULL;
    return 0;
}

static int32_t dma_dirty(const struct vfu_host *host, uint64_t addr, uint64_t len)
{
    of(host)->dirty += at(of(host), addr, len) != NULL;
    return 0;
}

static int32_t irq_raise(const struct vfu_host *host, uint32_t vector)
{
    of(host)->irqs[vector < 7 ? vector : 7]++;
    return 0;
}

static int32_t irq_lower(const struct vfu_host *host, uint32_t vector)
{
    (void)host;
    (void)vector;
    return 0;
}

static int32_t defer(const struct vfu_host *host, void (*fn)(void *arg), void *arg)
{
    if (of(host)->later)
        return -ENOSPC;
    of(host)->later = fn;
    of(host)->later_arg = arg;
    return 0;
}

/* What came from a chain goes to it once more, piece by piece. */
struct filling {
    struct vfu_virtio_io io; /* first */
    struct rig *rig;
    uint8_t bytes[512];
};

static void filled(struct vfu_virtio_io *io, int32_t status)
{
    struct filling *f = (struct filling *)io;

    f->rig->nfills--;
    f->rig->ncancelled += status == -ECANCELED;
    if (status != -ECANCELED)
        vfu_virtio_done(io->chain, status ? 0 : (uint32_t)io->offset);
    free(f);
}

static bool fill(struct rig *rig, struct vfu_virtio_chain *chain)
{
    struct filling *f = calloc(1, sizeof *f);
    int32_t status;

    if (!f)
        return false;
    f->rig = rig;
    f->io = (struct vfu_virtio_io){ .chain = chain, .flags = VFU_DMA_WRITE, .buf = f->bytes, .done = filled };
    f->io.len = chain->writable < sizeof f->bytes ? chain->writable : sizeof f->bytes;
    rig->nfills++;
    status = vfu_virtio_submit(&f->io);
    if (status != 1)
        filled(&f->io, status);
    return true;
}

static void on_chain(void *self, struct vfu_virtq *q, struct vfu_virtio_chain *chain)
{
    struct rig *rig = self;
    uint8_t bytes[64];
    uint64_t n = chain->readable < sizeof bytes ? chain->readable : sizeof bytes;

    (void)q;
    rig->nchains++;
    if (n && !vfu_virtio_read(chain, 0, bytes, n))
        rig->bytes += n;
    if (rig->keep && rig->nheld < RIG_HELD) {
        rig->held[rig->nheld++] = chain;
        return;
    }
    if (!rig->fill || !fill(rig, chain))
        vfu_virtio_done(chain, (uint32_t)chain->writable);
}

static void on_reset(void *self, struct vfu_virtq *q)
{
    struct rig *rig = self;

    (void)q;
    rig->nresets++;
    rig->nheld = 0;
}

static void on_driver(void *self, bool ready)
{
    ((struct rig *)self)->ndriver += ready;
}

bool rig_new(struct rig *rig, enum rig_mode mode)
{
    static const struct vfu_virtio_queue_model queues[] = { { "a", RIG_QUEUE, 0 }, { "b", RIG_QUEUE, 2 } };
    static const struct vfu_virtio_model model = {
        .id = 63, .queues = queues, .nqueues = 2, .features = 1,
        .ops = { .chain = on_chain, .reset = on_reset, .driver = on_driver },
    };

    memset(rig, 0, sizeof *rig);
    rig->mode = mode;
    rig->host = (struct vfu_host){
        .struct_size = sizeof rig->host, .ctx = rig, .extension = extension, .granted = granted, .log = say,
        .guest_error = guest_error, .irq_raise = irq_raise, .irq_lower = irq_lower, .dma_read = dma_read,
        .dma_write = dma_write, .dma_submit = dma_submit, .dma_map = dma_map, .dma_unmap = dma_unmap,
        .dma_dirty = dma_dirty, .defer = defer,
    };
    rig->desc.struct_size = sizeof rig->desc;
    if (vfu_virtio_describe(&rig->v, &rig->host, &model, &rig->desc))
        return false;
    for (uint32_t i = 0; i < VFU_VIRTIO_REGS; i++)
        rig->regs[i] = rig->v.map[i].reset;
    if (vfu_virtio_create(&rig->v, &rig->host, rig))
        return false;
    return vfu_virtio_reset(&rig->v, VFU_RESET_POWER) == 0;
}

void rig_free(struct rig *rig)
{
    vfu_virtio_destroy(&rig->v);
}

void rig_put(struct rig *rig, uint32_t reg, uint64_t value)
{
    struct vfu_reg_call call = { .struct_size = sizeof call, .reg = reg, .hook = reg, .value = value };

    if (reg >= VFU_VIRTIO_REGS)
        return;
    call.old = rig->regs[reg];
    if (rig->v.map[reg].access == VFU_ACCESS_RO)
        return;
    reg_set(&rig->host, reg, VFU_NONE, VFU_NONE, value);
    call.value = rig->regs[reg];
    if ((rig->v.map[reg].flags & VFU_REG_HOOK_WRITE) && vfu_virtio_reg_write(&rig->v, &call) == VFU_REPLACE)
        reg_set(&rig->host, reg, VFU_NONE, VFU_NONE, call.value);
}

uint64_t rig_get(struct rig *rig, uint32_t reg)
{
    struct vfu_reg_call call = { .struct_size = sizeof call, .reg = reg, .hook = reg, .value = rig->regs[reg] };

    if (rig->v.map[reg].flags & VFU_REG_HOOK_READ)
        vfu_virtio_reg_read(&rig->v, &call);
    if (rig->v.map[reg].access == VFU_ACCESS_RC)
        rig->regs[reg] = 0;
    return call.value;
}

void rig_start(struct rig *rig, uint64_t features)
{
    features |= VFU_VIRTIO_F_VERSION_1;
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 3);
    rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE_SELECT, 0);
    rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE, features & UINT32_MAX);
    rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE_SELECT, 1);
    rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE, features >> 32);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 11);
    rig_put(rig, VFU_VIRTIO_R_CONFIG_MSIX_VECTOR, 0);
    for (uint32_t i = 0; i < 2; i++) {
        rig_put(rig, VFU_VIRTIO_R_QUEUE_SELECT, i);
        rig_put(rig, VFU_VIRTIO_R_QUEUE_MSIX_VECTOR, 1 + i);
        rig_put(rig, VFU_VIRTIO_R_QUEUE_DESC, RIG_DESC(i));
        rig_put(rig, VFU_VIRTIO_R_QUEUE_DRIVER, RIG_AVAIL(i));
        rig_put(rig, VFU_VIRTIO_R_QUEUE_DEVICE, RIG_USED(i));
        rig_put(rig, VFU_VIRTIO_R_QUEUE_ENABLE, 1);
    }
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 15);
    rig_serve(rig, 1000);
}

void rig_poke(struct rig *rig, uint64_t addr, uint64_t value, uint32_t size)
{
    vfu_virtq_put_le(rig->memory + (addr - RIG_BASE), value, size);
}

uint64_t rig_peek(const struct rig *rig, uint64_t addr, uint32_t size)
{
    const uint8_t *p = rig->memory + (addr - RIG_BASE);

    return size == 2 ? vfu_virtq_le16(p) : size == 4 ? vfu_virtq_le32(p) : vfu_virtq_le64(p);
}

void rig_desc(struct rig *rig, uint64_t table, uint32_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    rig_poke(rig, table + 16 * i, addr, 8);
    rig_poke(rig, table + 16 * i + 8, len, 4);
    rig_poke(rig, table + 16 * i + 12, flags, 2);
    rig_poke(rig, table + 16 * i + 14, next, 2);
}

void rig_offer(struct rig *rig, uint32_t queue, uint16_t head)
{
    uint16_t idx = (uint16_t)rig_peek(rig, RIG_AVAIL(queue) + 2, 2);

    rig_poke(rig, RIG_AVAIL(queue) + 4 + 2 * (idx % RIG_QUEUE), head, 2);
    rig_poke(rig, RIG_AVAIL(queue) + 2, (uint16_t)(idx + 1), 2);
}

void rig_kick(struct rig *rig, uint32_t queue)
{
    vfu_virtio_doorbell(&rig->v, queue, queue);
    rig_serve(rig, 1000);
}

void rig_serve(struct rig *rig, uint32_t most)
{
    while (most-- && (rig->nops || rig->later)) {
        if (rig->nops) {
            struct vfu_dma_op *op = rig->ops[0];
            uint8_t *p = at(rig, op->addr, op->len);

            memmove(rig->ops, rig->ops + 1, --rig->nops * sizeof rig->ops[0]);
            if (p && op->flags & VFU_DMA_WRITE)
                memcpy(p, op->buf, op->len);
            else if (p)
                memcpy(op->buf, p, op->len);
            op->done(rig, op, p ? 0 : -EFAULT);
        } else {
            void (*later)(void *arg) = rig->later;

            rig->later = NULL;
            later(rig->later_arg);
        }
    }
}

void rig_cancel(struct rig *rig)
{
    for (uint32_t n = rig->nops; n--;) {
        struct vfu_dma_op *op = rig->ops[0];

        memmove(rig->ops, rig->ops + 1, --rig->nops * sizeof rig->ops[0]);
        op->done(rig, op, -ECANCELED);
    }
}

void rig_memory(struct rig *rig, bool there)
{
    rig->gone = !there;
    for (uint32_t i = 0; i < rig->v.nqueues && !there; i++) {
        struct vfu_virtq *q = &rig->v.queues[i];

        q->desc_map.data = q->driver_map.data = q->device_map.data = NULL;
    }
}

void rig_finish(struct rig *rig, uint32_t i)
{
    while (i == VFU_NONE && rig->nheld)
        rig_finish(rig, rig->nheld - 1);
    if (i >= rig->nheld)
        return;
    struct vfu_virtio_chain *chain = rig->held[i];

    memmove(rig->held + i, rig->held + i + 1, (--rig->nheld - i) * sizeof rig->held[0]);
    vfu_virtio_done(chain, (uint32_t)chain->writable);
    rig_serve(rig, 1000);
}
