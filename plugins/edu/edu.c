/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * edu - QEMU's educational PCI device, as a plugin: identification, a complement, a factorial that takes its time,
 * interrupts raised on request, and a DMA engine with a 4 KiB buffer. Register-compatible with docs/specs/edu.rst of
 * QEMU; examples/edu.lua is the same device as a script.
 *
 * Runs on its device's thread alone; all state is in struct edu and in the register map.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <vfu/plugin.h>

#define BUFFER_AT UINT64_C(0x40000)
#define BUFFER_SIZE 4096u
#define DMA_DELAY_NS 100000u

enum { ID, LIVE, FACT, STATUS, IRQ, RAISE, ACK, SRC, DST, COUNT, CMD };

#define STATUS_COMPUTING UINT64_C(0x01)
#define STATUS_IRQFACT UINT64_C(0x80)
#define IRQ_FACT UINT64_C(0x001)
#define IRQ_DMA UINT64_C(0x100)
#define CMD_RUN UINT64_C(1)
#define CMD_TO_HOST UINT64_C(2)
#define CMD_IRQ UINT64_C(4)

enum { EVENT_FACTORIAL, EVENT_DMA };

struct edu {
    const struct vfu_host *host;
    const struct vfu_host_regmap *regs;
    uint64_t dma_mask;
    uint8_t buffer[BUFFER_SIZE];
    uint8_t bounce[BUFFER_SIZE]; /* a DMA in flight: what a reset finds half done is not in the buffer */
    struct vfu_dma_op op;
    bool moving;  /* op is in flight */
    bool restart; /* it was, where this state was saved: it starts anew when the device runs */
};

/* ---- the register map */

static const struct vfu_field status_fields[] = {
    { .name = "COMPUTING", .lsb = 0, .width = 1, .access = VFU_ACCESS_RO, .doc = "the factorial is being computed" },
    { .name = "IRQFACT", .lsb = 7, .width = 1, .access = VFU_ACCESS_RW, .doc = "raise an interrupt when it is done" },
};

static const struct vfu_field irq_fields[] = {
    { .name = "FACT", .lsb = 0, .width = 1 },
    { .name = "DMA", .lsb = 8, .width = 1 },
};

static const struct vfu_enum directions[] = { { "to_device", 0 }, { "to_host", 1 } };

static const struct vfu_field cmd_fields[] = {
    { .name = "RUN", .lsb = 0, .width = 1, .doc = "starts the transfer; 0 when it has ended" },
    { .name = "DIR", .lsb = 1, .width = 1, .enums = directions, .nenums = 2 },
    { .name = "IRQ", .lsb = 2, .width = 1, .doc = "raise an interrupt when it has ended" },
};

#define FIELDS(f) .fields = (f), .nfields = sizeof(f) / sizeof((f)[0]), .field_size = sizeof((f)[0])
#define REG(id, at, bytes, kind) .name = #id, .offset = (at), .size = (bytes), .access = (kind), .group = VFU_NONE, .hook = (id)
#define ON_WRITE .flags = VFU_REG_HOOK_WRITE

static const struct vfu_reg edu_regs[] = {
    [ID] = { REG(ID, 0x00, 4, VFU_ACCESS_RO), .reset = 0x010000ed, .doc = "0xRRrr00ed: major, minor, magic" },
    [LIVE] = { REG(LIVE, 0x04, 4, VFU_ACCESS_RW), ON_WRITE, .doc = "reads back the complement of what was written" },
    [FACT] = { REG(FACT, 0x08, 4, VFU_ACCESS_RW), ON_WRITE, .doc = "write n, poll STATUS.COMPUTING, read n!" },
    [STATUS] = { REG(STATUS, 0x20, 4, VFU_ACCESS_RW), FIELDS(status_fields) },
    [IRQ] = { REG(IRQ, 0x24, 4, VFU_ACCESS_RO), FIELDS(irq_fields), .doc = "why the interrupt is asserted" },
    [RAISE] = { REG(RAISE, 0x60, 4, VFU_ACCESS_WO), ON_WRITE, .doc = "sets bits of IRQ" },
    [ACK] = { REG(ACK, 0x64, 4, VFU_ACCESS_WO), ON_WRITE, .doc = "clears bits of IRQ" },
    [SRC] = { REG(SRC, 0x80, 8, VFU_ACCESS_RW), .doc = "where the DMA reads; the buffer is at 0x40000" },
    [DST] = { REG(DST, 0x88, 8, VFU_ACCESS_RW), .doc = "where the DMA writes" },
    [COUNT] = { REG(COUNT, 0x90, 8, VFU_ACCESS_RW), .doc = "bytes, up to 4096" },
    [CMD] = { REG(CMD, 0x98, 8, VFU_ACCESS_RW), ON_WRITE, FIELDS(cmd_fields) },
};

/* While a transfer runs, its registers do not change. */
static const struct vfu_lock edu_locks[] = {
    { .reg = SRC, .cond = CMD, .mask = CMD_RUN, .value = CMD_RUN },
    { .reg = DST, .cond = CMD, .mask = CMD_RUN, .value = CMD_RUN },
    { .reg = COUNT, .cond = CMD, .mask = CMD_RUN, .value = CMD_RUN },
    { .reg = CMD, .cond = CMD, .mask = CMD_RUN, .value = CMD_RUN },
};

static const struct vfu_regmap edu_map = {
    .struct_size = sizeof edu_map,
    .regs = edu_regs,
    .nregs = sizeof edu_regs / sizeof edu_regs[0],
    .reg_size = sizeof edu_regs[0],
    .locks = edu_locks,
    .nlocks = sizeof edu_locks / sizeof edu_locks[0],
    .lock_size = sizeof edu_locks[0],
};

static uint64_t get(const struct edu *edu, uint32_t reg)
{
    return edu->regs->get(edu->host, reg, VFU_NONE, VFU_NONE);
}

static void set(const struct edu *edu, uint32_t reg, uint64_t value)
{
    edu->regs->set(edu->host, reg, VFU_NONE, VFU_NONE, value);
}

/* ---- behaviour */

static void start(struct edu *edu, uint64_t delay, uint32_t event, uint64_t arg)
{
    if (edu->host->timer_after(edu->host, delay, 0, event, arg) < 0)
        edu->host->log(edu->host, VFU_LOG_ERROR, "no timer is left");
}

static int32_t on_write(void *self, struct vfu_reg_call *call)
{
    struct edu *edu = self;

    switch (call->hook) {
    case LIVE:
        call->value = ~call->value;
        return VFU_REPLACE;
    case RAISE:
        set(edu, IRQ, get(edu, IRQ) | call->value);
        return 0;
    case ACK:
        set(edu, IRQ, get(edu, IRQ) & ~call->value);
        return 0;
    case FACT:
        if (get(edu, STATUS) & STATUS_COMPUTING) {
            call->value = call->old;
            return VFU_REPLACE;
        }
        set(edu, STATUS, get(edu, STATUS) | STATUS_COMPUTING);
        start(edu, 0, EVENT_FACTORIAL, call->value);
        return 0;
    default: /* CMD */
        if (call->value & CMD_RUN)
            start(edu, DMA_DELAY_NS, EVENT_DMA, 0);
        return 0;
    }
}

static const struct vfu_regmap_ops edu_regmap_ops = { .struct_size = sizeof edu_regmap_ops, .write = on_write };

/* Zero is reached after 34 steps at the latest, whatever a guest asks for. */
static void factorial(struct edu *edu, uint64_t n)
{
    uint32_t product = 1;

    for (uint64_t i = 2; i <= n && product; i++)
        product *= (uint32_t)i;
    set(edu, FACT, product);
    set(edu, STATUS, get(edu, STATUS) & ~STATUS_COMPUTING);
    if (get(edu, STATUS) & STATUS_IRQFACT)
        set(edu, IRQ, get(edu, IRQ) | IRQ_FACT);
}

static void dma_end(struct edu *edu)
{
    uint64_t cmd = get(edu, CMD);

    set(edu, CMD, cmd & ~CMD_RUN);
    if (cmd & CMD_IRQ)
        set(edu, IRQ, get(edu, IRQ) | IRQ_DMA);
}

static void dma_done(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct edu *edu = self;

    edu->moving = false;
    if (status == -ECANCELED)
        return; /* a reset sets the registers, a lost client leaves the transfer hanging */
    if (status)
        vfu_guest_errorf(edu->host, "DMA %s of %llu bytes at %#llx: %s", op->flags & VFU_DMA_WRITE ? "write" : "read",
                         (unsigned long long)op->len, (unsigned long long)op->addr, strerror(-status));
    else if (!(op->flags & VFU_DMA_WRITE))
        memcpy(edu->buffer + (uintptr_t)op->user, edu->bounce, op->len);
    dma_end(edu);
}

static void dma(struct edu *edu)
{
    bool to_host = (get(edu, CMD) & CMD_TO_HOST) != 0;
    uint64_t src = get(edu, SRC), dst = get(edu, DST), count = get(edu, COUNT);
    uint64_t at = (to_host ? src : dst) - BUFFER_AT;
    int32_t status;

    if (count > BUFFER_SIZE || at > BUFFER_SIZE - count) {
        vfu_guest_errorf(edu->host, "DMA of %llu bytes at %#llx is outside the buffer", (unsigned long long)count,
                         (unsigned long long)(to_host ? src : dst));
        dma_end(edu);
        return;
    }
    if (to_host)
        memcpy(edu->bounce, edu->buffer + at, count);
    edu->op = (struct vfu_dma_op){
        .struct_size = sizeof edu->op,
        .flags = to_host ? VFU_DMA_WRITE : 0,
        .addr = (to_host ? dst : src) & edu->dma_mask,
        .len = count,
        .buf = edu->bounce,
        .done = dma_done,
        .user = (void *)(uintptr_t)at,
    };
    status = edu->host->dma_submit(edu->host, &edu->op);
    edu->moving = status == 0;
    if (status)
        dma_done(edu, &edu->op, status);
}

static void on_event(void *self, uint32_t event, uint64_t arg)
{
    if (event == EVENT_FACTORIAL)
        factorial(self, arg);
    else
        dma(self);
}

static int32_t on_reset(void *self, uint32_t kind)
{
    struct edu *edu = self;

    (void)kind;
    memset(edu->buffer, 0, sizeof edu->buffer);
    edu->restart = false;
    return 0;
}

/* ---- migration: registers and timers are the host's business; left is the buffer, and whether a DMA was in flight */

static int32_t on_save(void *self, struct vfu_sink *sink)
{
    struct edu *edu = self;
    uint8_t moving = edu->moving || edu->restart;
    int32_t status = sink->write(sink, &moving, 1);

    return status ? status : sink->write(sink, edu->buffer, sizeof edu->buffer);
}

static int32_t on_load(void *self, struct vfu_source *source)
{
    struct edu *edu = self;
    uint8_t moving;
    int32_t status = source->read(source, &moving, 1);

    if (status || moving > 1 || source->left(source) != sizeof edu->buffer)
        return -EINVAL;
    edu->restart = moving;
    return source->read(source, edu->buffer, sizeof edu->buffer);
}

/* SRC, DST and COUNT are locked during a transfer: they say what it was. */
static void on_resume(void *self)
{
    struct edu *edu = self;

    if (!edu->restart)
        return;
    edu->restart = false;
    dma(edu);
}

/* ---- the plugin */

static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    static const struct vfu_bar bars[] = {
        { .index = 0, .size = 1 << 20, .access_sizes = 4 | 8, .unmapped = VFU_UNMAPPED_ONES },
    };

    (void)host;
    (void)params;
    desc->caps = VFU_CAP_DMA | VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_RESET | VFU_CAP_MIGRATION | VFU_CAP_TIMERS;
    desc->doc = "Teaching device, register-compatible with QEMU's edu";
    desc->vendor = 0x1234;
    desc->device = 0x11e8;
    desc->revision = 0x10;
    desc->class_code = 0x00ff00;
    desc->msi_vectors = 1;
    desc->irq_level = 1 + IRQ;
    desc->bars = bars;
    desc->nbars = 1;
    desc->bar_size = sizeof bars[0];
    desc->regmap = &edu_map;
    return 0;
}

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    struct edu *edu = calloc(1, sizeof *edu);
    int64_t mask;

    (void)params;
    if (!edu)
        return -ENOMEM;
    edu->host = host;
    edu->regs = host->extension(host, VFU_EXT_REGMAP);
    if (host->param_int(host, "dma_mask", &mask) == 0)
        edu->dma_mask = (uint64_t)mask;
    *self = edu;
    return 0;
}

static void destroy(void *self)
{
    free(self);
}

static const void *extension(const char *id)
{
    static const struct vfu_migration_ops migration = {
        .struct_size = sizeof migration,
        .save = on_save,
        .load = on_load,
    };

    if (strcmp(id, VFU_EXT_MIGRATION) == 0)
        return &migration;
    return strcmp(id, VFU_EXT_REGMAP) == 0 ? &edu_regmap_ops : NULL;
}

const struct vfu_plugin *vfu_plugin_entry(void)
{
    static const struct vfu_param params[] = {
        { .name = "dma_mask", .doc = "addresses the DMA engine can reach", .type = VFU_PARAM_INT, .fallback = "0x0fffffff" },
    };
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        .caps = VFU_CAP_DMA | VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_RESET | VFU_CAP_MIGRATION | VFU_CAP_TIMERS,
        .name = "edu",
        .version = VFU_SDK_VERSION,
        .summary = "Teaching device, register-compatible with QEMU's edu",
        .sdk = VFU_SDK_VERSION,
        .params = params,
        .nparams = 1,
        .param_size = sizeof params[0],
        .describe = describe,
        .create = create,
        .destroy = destroy,
        .reset = on_reset,
        .event = on_event,
        .resume = on_resume,
        .extension = extension,
    };

    return &plugin;
}
