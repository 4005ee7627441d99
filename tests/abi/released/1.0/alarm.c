/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * alarm - a device of ABI 1.0, kept as it was written: an alarm clock with a register hook, an interrupt, a timer,
 * parameters and state of its own. plugins.test drives it through the skeleton's test. Runs on its device's thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <vfu/plugin.h>

enum { DELAY, STATUS, COUNT }; /* indexes in registers[] */
enum { EVENT_RING };
#define STATUS_RANG 1u

struct device {
    const struct vfu_host *host;
    const struct vfu_host_regmap *regs; /* the device's own way to its registers */
    int64_t timer;
};

/* Masks, resets and names: what this table says is done by the host. */
static const struct vfu_field status_fields[] = {
    { .name = "RANG", .lsb = 0, .width = 1, .access = VFU_ACCESS_W1C, .doc = "the alarm went off" },
};

static const struct vfu_reg registers[] = {
    [DELAY] = { .name = "DELAY", .offset = 0x00, .size = 4, .group = VFU_NONE, .flags = VFU_REG_HOOK_WRITE,
                .hook = DELAY, .doc = "microseconds until the alarm goes off; 0 stops it" },
    [STATUS] = { .name = "STATUS", .offset = 0x04, .size = 4, .group = VFU_NONE, .fields = status_fields, .nfields = 1,
                 .field_size = sizeof status_fields[0] },
    [COUNT] = { .name = "COUNT", .offset = 0x08, .size = 4, .group = VFU_NONE, .access = VFU_ACCESS_RO,
                .doc = "how often it went off" },
};

static const struct vfu_regmap map = {
    .struct_size = sizeof map, .regs = registers, .nregs = 3, .reg_size = sizeof registers[0],
};

/* Software has written DELAY; the register already holds the value. */
static int32_t on_write(void *self, struct vfu_reg_call *call)
{
    struct device *dev = self;

    if (dev->timer > 0)
        dev->host->timer_cancel(dev->host, dev->timer);
    dev->timer = 0;
    if (call->value)
        dev->timer = dev->host->timer_after(dev->host, call->value * 1000, 0, EVENT_RING, 0);
    return 0;
}

/* The timer has run down. STATUS is the interrupt's level (irq_level below): setting it is all. */
static void on_event(void *self, uint32_t event, uint64_t arg)
{
    struct device *dev = self;

    (void)event, (void)arg;
    dev->timer = 0;
    dev->regs->set(dev->host, STATUS, VFU_NONE, VFU_NONE, STATUS_RANG);
    dev->regs->set(dev->host, COUNT, VFU_NONE, VFU_NONE, dev->regs->get(dev->host, COUNT, VFU_NONE, VFU_NONE) + 1);
}

/* Registers and timers are reset already. */
static int32_t on_reset(void *self, uint32_t kind)
{
    struct device *dev = self;

    (void)kind;
    dev->timer = 0;
    return 0;
}

/* State that the host does not know: which of its timers is ours. It keeps its id wherever the device goes. */
static int32_t on_save(void *self, struct vfu_sink *sink)
{
    struct device *dev = self;

    return sink->write(sink, &dev->timer, sizeof dev->timer);
}

static int32_t on_load(void *self, struct vfu_source *source)
{
    struct device *dev = self;

    return source->read(source, &dev->timer, sizeof dev->timer);
}

static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    static const struct vfu_bar bars[] = { { .index = 0, .size = 4096, .access_sizes = 4 } };

    int64_t scale;

    (void)params;
    desc->caps = VFU_CAP_INTX | VFU_CAP_TIMERS | VFU_CAP_RESET | VFU_CAP_MIGRATION;
    if (host->param_int(host, "scale", &scale) || scale != 1000)
        return -EINVAL;
    desc->vendor = 0x1234;
    desc->device = 0x0001;
    desc->class_code = 0xff0000;
    desc->bars = bars;
    desc->nbars = 1;
    desc->bar_size = sizeof bars[0];
    desc->regmap = &map;
    desc->irq_level = 1 + STATUS;
    return 0;
}

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    struct device *dev = calloc(1, sizeof *dev);

    (void)params;
    if (!dev)
        return -ENOMEM;
    dev->host = host;
    dev->regs = host->extension(host, VFU_EXT_REGMAP);
    *self = dev;
    return 0;
}

static void destroy(void *self)
{
    free(self);
}

static const void *extension(const char *id)
{
    static const struct vfu_regmap_ops hooks = { .struct_size = sizeof hooks, .write = on_write };
    static const struct vfu_migration_ops migration = {
        .struct_size = sizeof migration, .save = on_save, .load = on_load,
    };

    if (strcmp(id, VFU_EXT_MIGRATION) == 0)
        return &migration;
    return strcmp(id, VFU_EXT_REGMAP) == 0 ? &hooks : NULL;
}

const struct vfu_plugin *vfu_plugin_entry(void)
{
    static const struct vfu_param params[] = {
        { .name = "scale", .doc = "nanoseconds in a unit of DELAY", .type = VFU_PARAM_INT, .fallback = "1000",
          .flags = VFU_PARAM_HAS_MIN, .min = 1 },
    };
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        .caps = VFU_CAP_INTX | VFU_CAP_TIMERS | VFU_CAP_RESET | VFU_CAP_MIGRATION,
        .name = "alarm",
        .version = "0.1",
        .summary = "An alarm clock",
        .sdk = VFU_SDK_VERSION,
        .params = params,
        .nparams = 1,
        .param_size = sizeof params[0],
        .describe = describe,
        .create = create,
        .destroy = destroy,
        .reset = on_reset,
        .event = on_event,
        .extension = extension,
    };

    return &plugin;
}
