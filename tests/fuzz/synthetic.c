/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * synthetic - a device for the session fuzzer that has one of everything: every kind of BAR, register, interrupt and
 * doorbell, a ROM, config space of its own, and an action register behind which every host function is within reach.
 * Its device's thread; state in struct synthetic. Only the public header.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/fuzz/host.h"

#define OPS 4u
#define BUFFER 16384u
#define BLOB 100u

/* Registers of BAR 0, in the order of the table below. */
enum {
    RW, RO, WO, W1C, W1S, W1T, W0C, RC, RS, WONCE, RESERVED, UNIMP, LEVEL, MASK, ACTION, ADDR, LEN, WIDE,
    HOOKED, FIELDED, LIST, CHANNEL_CTL, CHANNEL_DATA, LOCKED, BIG, SPARSE, SWAPPED, CONFIG_REG
};

/* What a write of ACTION does: bits 0 to 7. The rest of it is an argument. */
enum {
    DO_SUBMIT_READ, DO_SUBMIT_WRITE, DO_SUBMIT_CHAIN, DO_READ, DO_WRITE, DO_MAP, DO_TOUCH, DO_CHECK, DO_UNMAP,
    DO_RAISE, DO_LOWER, DO_SIGNAL, DO_TIMER, DO_PERIOD, DO_CANCEL, DO_DEFER, DO_SET, DO_GUEST_ERROR, DO_DIRTY,
    DO_WATCH, DO_UNWATCH, DO_RING, DO_FAIL, ACTIONS
};

struct synthetic {
    const struct vfu_host *host;
    const struct vfu_host_regmap *regs;
    struct vfu_dma_op ops[OPS];
    uint32_t busy; /* bits of ops */
    uint32_t chain;
    struct vfu_dma_window window;
    int64_t timer;
    int event; /* watched, now and then */
    uint64_t rings;
    uint8_t buffers[OPS][BUFFER];
    uint8_t raw[256];
    uint8_t blob[BLOB];
};

/* ---- the register map */

#define R(id, at, bytes, kind)                                                                                         \
    .name = #id, .offset = (at), .size = (bytes), .access = (kind), .group = VFU_NONE, .hook = (id)
#define HOOKS VFU_REG_HOOK_READ | VFU_REG_HOOK_WRITE

static const struct vfu_enum modes[] = { { "off", 0 }, { "on", 1 }, { "both", 3 } };
static const struct vfu_field fields[] = {
    { .name = "LOW", .lsb = 0, .width = 4, .access = VFU_ACCESS_W1C, .reset = 5 },
    { .name = "MODE", .lsb = 4, .width = 2, .access = VFU_ACCESS_RW, .enums = modes, .nenums = 3 },
    { .name = "ONCE", .lsb = 8, .width = 8, .access = VFU_ACCESS_WONCE },
    { .name = "CLEARS", .lsb = 24, .width = 7, .access = VFU_ACCESS_RC, .reset = 0x55 },
};

static const struct vfu_reg registers[] = {
    [RW] = { R(RW, 0x00, 4, VFU_ACCESS_RW), .reset = 0x12345678 },
    [RO] = { R(RO, 0x04, 4, VFU_ACCESS_RO), .reset = 0xcafe },
    [WO] = { R(WO, 0x08, 2, VFU_ACCESS_WO) },
    [W1C] = { R(W1C, 0x0a, 2, VFU_ACCESS_W1C), .reset = 0xffff },
    [W1S] = { R(W1S, 0x0c, 4, VFU_ACCESS_W1S) },
    [W1T] = { R(W1T, 0x10, 4, VFU_ACCESS_W1T) },
    [W0C] = { R(W0C, 0x14, 4, VFU_ACCESS_W0C), .reset = UINT32_MAX },
    [RC] = { R(RC, 0x18, 1, VFU_ACCESS_RC), .reset = 0xff },
    [RS] = { R(RS, 0x19, 1, VFU_ACCESS_RS) },
    [WONCE] = { R(WONCE, 0x1a, 2, VFU_ACCESS_WONCE), .flags = VFU_REG_STICKY },
    [RESERVED] = { R(RESERVED, 0x1c, 4, VFU_ACCESS_RESERVED), .reset = 0xff00 },
    [UNIMP] = { R(UNIMP, 0x20, 8, VFU_ACCESS_UNIMP), .reset = 0x55 },
    [LEVEL] = { R(LEVEL, 0x28, 4, VFU_ACCESS_W1C) },
    [MASK] = { R(MASK, 0x2c, 4, VFU_ACCESS_RW), .reset = UINT32_MAX },
    [ACTION] = { R(ACTION, 0x30, 4, VFU_ACCESS_RW), .flags = HOOKS },
    [ADDR] = { R(ADDR, 0x38, 8, VFU_ACCESS_RW) },
    [LEN] = { R(LEN, 0x40, 4, VFU_ACCESS_RW), .reset = 4096 },
    [WIDE] = { R(WIDE, 0x48, 8, VFU_ACCESS_RW), .flags = VFU_REG_COMMIT_LAST | HOOKS },
    [HOOKED] = { R(HOOKED, 0x51, 4, VFU_ACCESS_RW), .flags = HOOKS },
    [FIELDED] = { R(FIELDED, 0x58, 4, VFU_ACCESS_INHERIT), .fields = fields, .nfields = 4,
                  .field_size = sizeof fields[0] },
    [LIST] = { R(LIST, 0x80, 4, VFU_ACCESS_RW), .count = 8, .stride = 8, .flags = VFU_REG_HOOK_WRITE },
    [CHANNEL_CTL] = { .name = "CHANNEL_CTL",
                      .group = 0,
                      .offset = 0,
                      .size = 4,
                      .access = VFU_ACCESS_RW,
                      .hook = CHANNEL_CTL,
                      .flags = HOOKS },
    [CHANNEL_DATA] = { .name = "CHANNEL_DATA",
                       .group = 0,
                       .offset = 8,
                       .size = 2,
                       .count = 4,
                       .access = VFU_ACCESS_RC,
                       .reset = 0xbeef },
    [LOCKED] = { R(LOCKED, 0x60, 4, VFU_ACCESS_RW), .reset = 7 },
    [BIG] = { R(BIG, 0x64, 8, VFU_ACCESS_RW), .flags = VFU_REG_BIG_ENDIAN | HOOKS },
    [SPARSE] = { .name = "SPARSE",
                 .region = 2,
                 .group = VFU_NONE,
                 .offset = 0x10,
                 .size = 8,
                 .count = 3,
                 .stride = 0x20,
                 .access = VFU_ACCESS_RW,
                 .hook = SPARSE,
                 .flags = VFU_REG_HOOK_WRITE },
    [SWAPPED] = { .name = "SWAPPED",
                  .region = 4,
                  .group = VFU_NONE,
                  .offset = 0x44,
                  .size = 4,
                  .access = VFU_ACCESS_W1T,
                  .reset = 0x01020304 },
    [CONFIG_REG] = { .name = "CONFIG_REG",
                     .region = VFU_REGION_CONFIG,
                     .group = VFU_NONE,
                     .offset = 0xfc,
                     .size = 4,
                     .access = VFU_ACCESS_W1T,
                     .hook = CONFIG_REG,
                     .flags = HOOKS },
};

static const struct vfu_group groups[] = {
    { .name = "channel", .region = 0, .count = 4, .offset = 0x100, .stride = 0x20 }
};

static const struct vfu_lock locks[] = {
    { .reg = LOCKED, .cond = RW, .mask = 1, .value = 1 },
    { .reg = LIST, .cond = VFU_NONE, .hook = 1 },
};

static const struct vfu_regmap map = {
    .struct_size = sizeof map,
    .regs = registers, .nregs = sizeof registers / sizeof registers[0], .reg_size = sizeof registers[0],
    .groups = groups, .ngroups = 1, .group_size = sizeof groups[0],
    .locks = locks, .nlocks = 2, .lock_size = sizeof locks[0],
};

/* ---- actions */

static uint64_t get(struct synthetic *s, uint32_t reg)
{
    return s->regs->get(s->host, reg, VFU_NONE, VFU_NONE);
}

static void dma_done(void *self, struct vfu_dma_op *op, int32_t status);

static void submit(struct synthetic *s, uint32_t flags)
{
    uint64_t len = get(s, LEN);

    for (uint32_t i = 0; i < OPS; i++) {
        if (s->busy >> i & 1)
            continue;
        s->ops[i] = (struct vfu_dma_op){
            .struct_size = sizeof s->ops[i],
            .flags = flags,
            .addr = get(s, ADDR) + i * len,
            .len = len < BUFFER ? len : BUFFER,
            .buf = s->buffers[i],
            .done = dma_done,
            .user = &s->ops[i],
        };
        s->busy |= 1u << i;
        if (s->host->dma_submit(s->host, &s->ops[i]))
            s->busy &= ~(1u << i);
        return;
    }
}

static void dma_done(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct synthetic *s = self;
    uint32_t i = (uint32_t)(op - s->ops);

    if (op->user != op || !(s->busy >> i & 1))
        abort(); /* done twice, or never submitted */
    s->busy &= ~(1u << i);
    s->regs->set(s->host, LEVEL, VFU_NONE, VFU_NONE, get(s, LEVEL) | (status ? 2 : 1));
    if (s->chain) {
        s->chain--;
        submit(s, op->flags ^ VFU_DMA_WRITE);
    }
}

static void deferred(void *arg)
{
    ((struct synthetic *)arg)->rings++;
}

/* Ready to be written it stays, so it is not watched for ever. */
static void event_ready(void *arg, uint32_t ready)
{
    struct synthetic *s = arg;
    eventfd_t count;

    (void)ready;
    eventfd_read(s->event, &count);
    if (s->rings++ % 2)
        s->host->unwatch_fd(s->host, s->event);
}

static int32_t act(struct synthetic *s, uint32_t value)
{
    const struct vfu_host *host = s->host;
    uint32_t arg = value >> 8;
    uint64_t addr = get(s, ADDR), len = get(s, LEN), room = len < BUFFER ? len : BUFFER;

    switch ((value & 0xff) % ACTIONS) {
    case DO_SUBMIT_READ: submit(s, 0); break;
    case DO_SUBMIT_WRITE: submit(s, VFU_DMA_WRITE); break;
    case DO_SUBMIT_CHAIN: s->chain = arg % 8; submit(s, 0); submit(s, VFU_DMA_WRITE); break;
    case DO_READ: host->dma_read(host, addr, s->raw, room < sizeof s->raw ? room : sizeof s->raw); break;
    case DO_WRITE: host->dma_write(host, addr, s->raw, room < sizeof s->raw ? room : sizeof s->raw); break;
    case DO_MAP:
        if (!s->window.data)
            host->dma_map(host, addr, len, arg % 4, &s->window);
        break;
    case DO_TOUCH:
        if (s->window.data && s->window.len)
            s->rings += s->window.data[arg % s->window.len];
        if (s->window.data && s->window.len && (s->window.prot & VFU_DMA_PROT_WRITE))
            s->window.data[arg % s->window.len] = (uint8_t)arg;
        break;
    case DO_CHECK: host->dma_check(host, &s->window); break;
    case DO_UNMAP: host->dma_unmap(host, &s->window); break;
    case DO_RAISE: host->irq_raise(host, arg % 40); break;
    case DO_LOWER: host->irq_lower(host, arg % 40); break;
    case DO_SIGNAL: host->irq_signal(host, arg % 8); break;
    case DO_TIMER: s->timer = host->timer_after(host, (uint64_t)arg * 1000, 0, arg, value); break;
    case DO_PERIOD: s->timer = host->timer_after(host, arg, arg, arg, value); break;
    case DO_CANCEL: host->timer_cancel(host, s->timer); break;
    case DO_DEFER: host->defer(host, deferred, s); break;
    case DO_SET: s->regs->set(host, arg % (CONFIG_REG + 2), arg >> 8 & 7, arg >> 12 & 7, arg); break;
    case DO_GUEST_ERROR: vfu_guest_errorf(host, "action %#x", value); break;
    case DO_DIRTY: host->dma_dirty(host, addr, len); break;
    case DO_WATCH: host->watch_fd(host, s->event, 1 + arg % 3, event_ready, s); break;
    case DO_UNWATCH: host->unwatch_fd(host, s->event); break;
    case DO_RING: eventfd_write(s->event, 1); break;
    default: return -EIO;
    }
    return 0;
}

/* ---- callbacks */

static int32_t on_read(void *self, struct vfu_reg_call *call)
{
    struct synthetic *s = self;

    if (call->hook == HOOKED)
        return (int32_t)(s->rings % 3) - 1; /* an error, the stored value, or the same replaced */
    if (call->hook != ACTION)
        return 0;
    call->value ^= s->rings;
    return VFU_REPLACE;
}

static int32_t on_write(void *self, struct vfu_reg_call *call)
{
    struct synthetic *s = self;

    s->rings += call->index == VFU_NONE ? 1 : call->index;
    if (call->hook == ACTION)
        return act(s, (uint32_t)call->value);
    if (call->hook == WIDE)
        call->value = call->raw ^ call->old;
    return call->hook == WIDE ? VFU_REPLACE : 0;
}

static int32_t is_locked(void *self, uint32_t hook, const struct vfu_reg_call *call)
{
    return (((struct synthetic *)self)->rings + hook + call->index) & 1;
}

static int32_t on_access(void *self, struct vfu_access *access)
{
    struct synthetic *s = self;

    if (access->offset % 64 == 63)
        return -EIO;
    if (access->data) {
        for (uint32_t i = 0; i < access->size; i++) {
            uint8_t *byte = &s->raw[(access->offset + i) % sizeof s->raw];

            if (access->flags & VFU_ACCESS_WRITE)
                *byte = access->data[i];
            else
                access->data[i] = *byte;
        }
    } else if (access->flags & VFU_ACCESS_WRITE) {
        memcpy(&s->raw[access->offset % (sizeof s->raw - 8)], &access->value, access->size);
    } else {
        memcpy(&access->value, &s->raw[access->offset % (sizeof s->raw - 8)], access->size);
    }
    return 0;
}

static void on_event(void *self, uint32_t event, uint64_t arg)
{
    struct synthetic *s = self;

    if (event % 2)
        s->regs->set(s->host, LEVEL, VFU_NONE, VFU_NONE, get(s, LEVEL) ^ arg);
    else
        act(s, (event >> 1 & 0xff) | (uint32_t)arg << 8);
}

static int32_t on_reset(void *self, uint32_t kind)
{
    struct synthetic *s = self;

    (void)kind;
    s->rings = 0;
    memset(s->raw, 0, sizeof s->raw);
    return 0;
}

static void on_attach(void *self, const struct vfu_client *client)
{
    ((struct synthetic *)self)->blob[0] = (uint8_t)client->max_msg_fds;
}

/* What was submitted in `done` meanwhile was refused: there is no client. */
static void on_detach(void *self)
{
    struct synthetic *s = self;

    if (s->busy || s->window.data)
        abort();
}

static void on_power(void *self, uint32_t state)
{
    ((struct synthetic *)self)->blob[1] = (uint8_t)state;
}

static void on_doorbell(void *self, uint32_t index, uint64_t value)
{
    struct synthetic *s = self;

    s->rings += index;
    if (value & 1)
        act(s, DO_RAISE | index << 8);
    else if (value & 2)
        submit(s, VFU_DMA_WRITE);
}

static int32_t save(void *self, struct vfu_sink *sink)
{
    struct synthetic *s = self;

    return sink->write(sink, s->blob, s->blob[2] % BLOB);
}

static int32_t load(void *self, struct vfu_source *source)
{
    struct synthetic *s = self;
    uint64_t left = source->left(source);

    if (left > BLOB)
        return -EINVAL;
    return source->read(source, s->blob, left);
}

/* ---- what it is */

static const struct vfu_area areas[] = { { 0x1000, 0x2000 }, { 0x8000, 0x8000 } };
static const struct vfu_bar bars[] = {
    { .index = 0, .type = VFU_BAR_MEM32, .size = 4096, .unmapped = VFU_UNMAPPED_ERROR },
    { .index = 1, .type = VFU_BAR_IO, .size = 64, .flags = VFU_BAR_RAW, .access_sizes = 1 | 2 | 4 },
    { .index = 2, .type = VFU_BAR_MEM64, .size = 0x10000, .flags = VFU_BAR_RAM | VFU_BAR_MMAP | VFU_BAR_PREFETCH,
      .areas = areas, .nareas = 2, .area_size = sizeof areas[0] },
    { .index = 4, .type = VFU_BAR_MEM32, .size = 0x10000, .flags = VFU_BAR_RAW | VFU_BAR_BIG_ENDIAN },
    { .index = 5, .type = VFU_BAR_MEM32, .size = 1 << 20, .flags = VFU_BAR_RAM, .unmapped = VFU_UNMAPPED_ONES },
};

static const struct vfu_doorbell doorbells[] = {
    { .bar = 4, .offset = 0x8000, .size = 4 },
    { .bar = 4, .offset = 0x8008, .size = 4, .match = 5, .flags = VFU_DOORBELL_MATCH },
    { .bar = 4, .offset = 0x8008, .size = 4, .match = 6, .flags = VFU_DOORBELL_MATCH, .share = 1 },
    { .bar = 4, .offset = 0x8010, .size = 8, .flags = VFU_DOORBELL_SHADOW },
    { .bar = 4, .offset = 0x8020, .size = 0, .share = 1 },
    { .bar = 1, .offset = 0x10, .size = 2 },
    { .bar = 0, .offset = 0x00, .size = 4 },
};

static int32_t describe_it(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    static const uint8_t vendor[] = { 12, 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    static const struct vfu_pci_cap caps[] = { { .id = 9, .size = sizeof vendor, .bytes = vendor } };
    static uint8_t rom[3000] = { 0x55, 0xaa, 6 };

    (void)host;
    (void)params;
    desc->caps = synthetic_plugin()->caps;
    desc->pci_flags = VFU_PCI_EXPRESS | VFU_PCI_FLR | VFU_PCI_PM;
    desc->vendor = 0x1af4;
    desc->device = 0xfafa;
    desc->class_code = 0xff0000;
    desc->msi_vectors = 8;
    desc->msix_vectors = 70;
    desc->msix_bar = 4;
    desc->msix_table = 0x1000;
    desc->msix_pba = 0x2000;
    desc->irq_level = 1 + LEVEL;
    desc->irq_mask = 1 + MASK;
    desc->bars = bars;
    desc->nbars = sizeof bars / sizeof bars[0];
    desc->bar_size = sizeof bars[0];
    desc->pci_caps = caps;
    desc->npci_caps = 1;
    desc->pci_cap_size = sizeof caps[0];
    desc->regmap = &map;
    desc->rom = rom;
    desc->rom_size = sizeof rom;
    desc->doorbells = doorbells;
    desc->ndoorbells = sizeof doorbells / sizeof doorbells[0];
    desc->doorbell_size = sizeof doorbells[0];
    return 0;
}

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    struct synthetic *s = calloc(1, sizeof *s);

    (void)params;
    if (!s)
        return -ENOMEM;
    s->host = host;
    s->regs = host->extension(host, VFU_EXT_REGMAP);
    s->window.struct_size = sizeof s->window;
    s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *self = s;
    return 0;
}

static void destroy(void *self)
{
    struct synthetic *s = self;

    if (s) {
        s->host->unwatch_fd(s->host, s->event);
        close(s->event);
    }
    free(s);
}

static const void *extension(const char *id)
{
    static const struct vfu_regmap_ops regmap_ops = {
        .struct_size = sizeof regmap_ops, .read = on_read, .write = on_write, .locked = is_locked,
    };
    static const struct vfu_migration_ops migration_ops = {
        .struct_size = sizeof migration_ops, .save = save, .load = load,
    };

    if (strcmp(id, VFU_EXT_REGMAP) == 0)
        return &regmap_ops;
    return strcmp(id, VFU_EXT_MIGRATION) == 0 ? &migration_ops : NULL;
}

const struct vfu_plugin *synthetic_plugin(void)
{
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        .caps = VFU_CAP_DMA | VFU_CAP_DMA_MAP | VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX | VFU_CAP_RESET |
                VFU_CAP_MMAP | VFU_CAP_DOORBELL | VFU_CAP_MIGRATION | VFU_CAP_TIMERS | VFU_CAP_FD_WATCH,
        .name = "synthetic",
        .version = VFU_SDK_VERSION,
        .sdk = VFU_SDK_VERSION,
        .describe = describe_it,
        .create = create,
        .destroy = destroy,
        .access = on_access,
        .reset = on_reset,
        .event = on_event,
        .attach = on_attach,
        .detach = on_detach,
        .power = on_power,
        .extension = extension,
        .doorbell = on_doorbell,
    };

    return &plugin;
}
