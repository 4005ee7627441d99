/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls - the functions of the host table that work on the device. They run on the device's thread (or on main's,
 * before the device's loop does and after). A call from a thread of the plugin's own is handed over to it, if the
 * plugin has VFU_CAP_THREADS; else it is refused and reported once, by name.
 *
 * Every function is a row of the table `calls`, and a short function that packs its arguments.
 */
#include "core/plugin/calls.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "core/device/confighw.h"
#include "core/device/device.h"
#include "core/plugin/inner.h"

/* ---- calls that are made on the device's thread ------------------------------------------------------------------ */

/* A call on its way from another thread. */
struct crossing {
    struct cross_call call; /* first */
    struct host *host;
    enum host_call which;
    const struct call_args *args;
    uint64_t value;       /* of a register, which may look like any error */
    struct vfu_dma_op op; /* message DMA that the caller waits for */
};

#define ANY_IRQ (VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX)

static int64_t run_irq_raise(struct host *host, const struct call_args *a)
{
    int error = irq_raise(host->dev->irq, (uint32_t)a->n[0]);

    if (error == -EINVAL)
        host_blame(host, HOST_VECTOR, "interrupt vector %u is raised, which the device does not have (EINVAL)",
                   (uint32_t)a->n[0]);
    return error;
}

static int64_t run_irq_lower(struct host *host, const struct call_args *a)
{
    int error = irq_lower(host->dev->irq, (uint32_t)a->n[0]);

    if (error == -EINVAL)
        host_blame(host, HOST_VECTOR, "interrupt vector %u is lowered, which the device does not have (EINVAL)",
                   (uint32_t)a->n[0]);
    return error;
}

static int64_t run_irq_signal(struct host *host, const struct call_args *a)
{
    int error = irq_signal(host->dev->irq, (uint32_t)a->n[0]);

    if (error == -EINVAL)
        host_blame(host, HOST_IRQ_SIGNAL, "irq_signal is given %u; VFU_IRQ_ERR and VFU_IRQ_REQ make sense (EINVAL)",
                   (uint32_t)a->n[0]);
    return error;
}

static int64_t copy(struct host *host, const struct call_args *a, bool write)
{
    struct device *dev = host->dev;

    if (!dev->attached)
        return -ENOTCONN;
    if (dev->transfer.frozen)
        return -EBUSY;
    return dma_copy(dev->dma, a->n[0], a->p[0], a->n[1], write);
}

static int64_t run_dma_read(struct host *host, const struct call_args *a)
{
    return copy(host, a, false);
}

static int64_t run_dma_write(struct host *host, const struct call_args *a)
{
    return copy(host, a, true);
}

static int64_t run_dma_submit(struct host *host, const struct call_args *a)
{
    int error = transfer_submit_self(&host->dev->transfer, a->p[0], a->p[1]);

    if (error == -EALREADY)
        host_blame(host, HOST_DMA_SUBMIT, "dma_submit is given an op that is in flight (EALREADY)");
    return error;
}

static int64_t run_dma_map(struct host *host, const struct call_args *a)
{
    if (!host->dev->attached)
        return -ENOTCONN;
    if (host->dev->transfer.frozen)
        return -EBUSY;
    return dma_window_open(host->dev->dma, a->n[0], a->n[1], (uint32_t)a->n[2], a->p[0]);
}

static int64_t run_dma_unmap(struct host *host, const struct call_args *a)
{
    return dma_window_close(host->dev->dma, a->p[0]);
}

static int64_t run_dma_dirty(struct host *host, const struct call_args *a)
{
    if (dma_check(host->dev->dma, a->n[0], a->n[1], true) < 0)
        return -EFAULT;
    dma_wrote(host->dev->dma, a->n[0], a->n[1]);
    return 0;
}

static int64_t run_timer_after(struct host *host, const struct call_args *a)
{
    uint32_t event = (uint32_t)a->n[2];

    /* The upper bits say which of the plugins inside of each other has set it: see core/plugin/inner.c. */
    if (event >> 24 > host->dev->ninners)
        return -EINVAL;
    return timers_after(&host->dev->timers, a->n[0], a->n[1], event, a->n[3]);
}

static int64_t run_timer_cancel(struct host *host, const struct call_args *a)
{
    return timers_cancel(&host->dev->timers, (int64_t)a->n[0]);
}

static int64_t run_defer(struct host *host, const struct call_args *a)
{
    return work_defer(host, a->work, a->p[0]);
}

static int64_t run_watch_fd(struct host *host, const struct call_args *a)
{
    return work_watch(host, (int32_t)a->n[0], (uint32_t)a->n[1], a->ready, a->p[0]);
}

static int64_t run_unwatch_fd(struct host *host, const struct call_args *a)
{
    return work_unwatch(host, (int32_t)a->n[0]);
}

static int64_t run_reg_set(struct host *host, const struct call_args *a)
{
    return regmap_set(host->dev->map, (uint32_t)a->n[0], (uint32_t)a->n[1], (uint32_t)a->n[2], a->n[3]);
}

static int64_t run_poll_every(struct host *host, const struct call_args *a)
{
    return work_poll_every(host, a->n[0]);
}

/* A struct of the plugin's, which has to be there and to have `least` bytes. */
static bool given(struct host *host, enum host_call call, const void *what, uint32_t least)
{
    uint32_t size = 0;

    if (what)
        memcpy(&size, what, sizeof size);
    if (size >= least)
        return true;
    host_blame(host, (int)call, what ? "%s is given a struct of struct_size %u (EINVAL)" : "%s is given NULL (EINVAL)",
               calls_name(call), size);
    return false;
}

static int64_t run_bar_access(struct host *host, const struct call_args *a)
{
    if (!given(host, HOST_BAR_ACCESS, a->p[0], sizeof(struct vfu_access)))
        return -EINVAL;
    return device_access(host->dev, a->p[0]);
}

static int64_t run_irq_level(struct host *host, const struct call_args *a)
{
    irq_level(host->dev->irq, a->n[0]);
    return 0;
}

static int64_t run_config_read(struct host *host, const struct call_args *a)
{
    if (!a->p[0]) {
        host_blame(host, HOST_CONFIG_READ, "config read is given no place for the bytes (EINVAL)");
        return -EINVAL;
    }
    return confighw_read(&host->dev->config, (uint32_t)a->n[0], (uint32_t)a->n[1], a->p[0]);
}

static int64_t run_config_write(struct host *host, const struct call_args *a)
{
    int error = -EINVAL;

    if (!a->p[0])
        host_blame(host, HOST_CONFIG_WRITE, "config write is given no bytes (EINVAL)");
    else
        error = confighw_write(&host->dev->config, (uint32_t)a->n[0], (uint32_t)a->n[1], a->p[0]);
    if (error == -EACCES)
        host_blame(host, HOST_CONFIG_WRITE, "it writes %u bytes at %#x of config space, and some of that is not the "
                   "device's to change (EACCES)", (uint32_t)a->n[1], (uint32_t)a->n[0]);
    return error;
}

static int64_t run_region_look(struct host *host, const struct call_args *a)
{
    struct device *dev = host->dev;
    struct vfu_region_state *state = a->p[0], known = { 0 };
    uint32_t region = (uint32_t)a->n[0], size;
    bool decoded;

    if (!given(host, HOST_REGION_LOOK, state, offsetof(struct vfu_region_state, size)))
        return -EINVAL;
    size = state->struct_size < sizeof known ? state->struct_size : sizeof known;
    known.struct_size = state->struct_size;
    known.size = device_region_size(dev, region);
    if (!known.size)
        return -ENOENT;
    known.address = confighw_address(&dev->config, region, &decoded);
    known.flags = (decoded ? VFU_REGION_DECODED : 0) | (dev->mapped >> region & 1 ? VFU_REGION_MAPPED : 0);
    memcpy(state, &known, size);
    return 0;
}

static int64_t run_region_doorbell(struct host *host, const struct call_args *a)
{
    return ioevent_given(&host->dev->ioevent, (uint32_t)a->n[0]);
}

/* The operator's parameters are all that a device may reach. "inner.qmp=unix:..." of one that wraps others is one. */
bool calls_is_given(const struct params *params, const char *address)
{
    for (uint32_t i = 0; i < params->nitems; i++) {
        const char *value = strchr(params->items[i], '=');

        if (value && strcmp(value + 1, address) == 0)
            return true;
    }
    return false;
}

static int64_t run_qmp_execute(struct host *host, const struct call_args *a)
{
    const struct vfu_qmp_command *command = a->p[0];
    struct device *dev = host->dev;

    if (!command || command->struct_size < offsetof(struct vfu_qmp_command, command) || !command->address)
        return -EINVAL;
    if (!calls_is_given(&dev->params, command->address))
        return -EACCES;
    return qmp_execute(&host->qmp, &dev->loop, dev->name, command);
}

static int64_t run_stream_open(struct host *host, const struct call_args *a)
{
    const struct vfu_stream_spec *spec = a->p[0];
    struct vfu_stream **stream = a->p[1];

    if (!spec || !stream || spec->struct_size < sizeof *spec || !spec->spec || !spec->fn) {
        host_blame(host, HOST_STREAM_OPEN, "stream open is given no name, function or place for the stream (EINVAL)");
        return -EINVAL;
    }
    /* "pty" and "null" reach nothing of the operator's. */
    if (strchr(spec->spec, ':') && !calls_is_given(&host->dev->params, spec->spec)) {
        log_error(host->dev->name, "the stream %s is not opened: it is no parameter's value on the command line", spec->spec);
        return -EACCES;
    }
    return stream_open(&host->dev->streams, host, spec, stream);
}

static int64_t run_stream_read(struct host *host, const struct call_args *a)
{
    return stream_read(&host->dev->streams, a->p[0], a->p[1], a->n[0]);
}

static int64_t run_stream_write(struct host *host, const struct call_args *a)
{
    return stream_write(&host->dev->streams, a->p[0], a->p[1], a->n[0]);
}

static int64_t run_stream_look(struct host *host, const struct call_args *a)
{
    return stream_look(&host->dev->streams, a->p[0], a->p[1]);
}

static int64_t run_stream_break(struct host *host, const struct call_args *a)
{
    return stream_send_break(&host->dev->streams, a->p[0]);
}

static int64_t run_stream_hang_up(struct host *host, const struct call_args *a)
{
    return stream_hang_up(&host->dev->streams, a->p[0]);
}

static int64_t run_stream_close(struct host *host, const struct call_args *a)
{
    return stream_close(&host->dev->streams, a->p[0]);
}

static const struct {
    const char *name;
    uint64_t caps; /* one of these must be granted; 0: none */
    int64_t (*run)(struct host *host, const struct call_args *a);
} calls[HOST_CALLS] = {
    [HOST_PARAMS_DECLARE] = { "params_declare", 0, NULL },
    [HOST_IRQ_RAISE] = { "irq_raise", ANY_IRQ, run_irq_raise },
    [HOST_IRQ_LOWER] = { "irq_lower", ANY_IRQ, run_irq_lower },
    [HOST_IRQ_SIGNAL] = { "irq_signal", 0, run_irq_signal },
    [HOST_DMA_READ] = { "dma_read", VFU_CAP_DMA, run_dma_read },
    [HOST_DMA_WRITE] = { "dma_write", VFU_CAP_DMA, run_dma_write },
    [HOST_DMA_SUBMIT] = { "dma_submit", VFU_CAP_DMA, run_dma_submit },
    [HOST_DMA_MAP] = { "dma_map", VFU_CAP_DMA_MAP, run_dma_map },
    [HOST_DMA_UNMAP] = { "dma_unmap", VFU_CAP_DMA_MAP, run_dma_unmap },
    [HOST_DMA_DIRTY] = { "dma_dirty", VFU_CAP_DMA | VFU_CAP_DMA_MAP, run_dma_dirty },
    [HOST_TIMER_AFTER] = { "timer_after", VFU_CAP_TIMERS, run_timer_after },
    [HOST_TIMER_CANCEL] = { "timer_cancel", VFU_CAP_TIMERS, run_timer_cancel },
    [HOST_DEFER] = { "defer", VFU_CAP_TIMERS, run_defer },
    [HOST_WATCH_FD] = { "watch_fd", VFU_CAP_FD_WATCH, run_watch_fd },
    [HOST_UNWATCH_FD] = { "unwatch_fd", VFU_CAP_FD_WATCH, run_unwatch_fd },
    [HOST_REG_GET] = { "regmap get", 0, NULL },
    [HOST_REG_SET] = { "regmap set", 0, run_reg_set },
    [HOST_POLL_EVERY] = { "poll_every", VFU_CAP_POLL, run_poll_every },
    [HOST_OPEN] = { "open", 0, NULL },
    [HOST_CONFIG_READ] = { "config read", 0, run_config_read },
    [HOST_CONFIG_WRITE] = { "config write", 0, run_config_write },
    [HOST_REGION_LOOK] = { "regions look", 0, run_region_look },
    [HOST_REGION_DOORBELL] = { "regions doorbell", 0, run_region_doorbell },
    [HOST_BAR_ACCESS] = { "bar_access", 0, run_bar_access },
    [HOST_IRQ_LEVEL] = { "irq_level", ANY_IRQ, run_irq_level },
    [HOST_QMP_EXECUTE] = { "qmp execute", 0, run_qmp_execute },
    [HOST_STREAM_OPEN] = { "stream open", 0, run_stream_open },
    [HOST_STREAM_READ] = { "stream read", 0, run_stream_read },
    [HOST_STREAM_WRITE] = { "stream write", 0, run_stream_write },
    [HOST_STREAM_LOOK] = { "stream look", 0, run_stream_look },
    [HOST_STREAM_BREAK] = { "stream send_break", 0, run_stream_break },
    [HOST_STREAM_HANG_UP] = { "stream hang_up", 0, run_stream_hang_up },
    [HOST_STREAM_CLOSE] = { "stream close", 0, run_stream_close },
};

const char *calls_name(enum host_call call)
{
    return calls[call].name;
}

uint64_t calls_caps(enum host_call call)
{
    return calls[call].caps;
}

/* ---- from other threads ------------------------------------------------------------------------------------------ */

static void waited_for(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct crossing *c = (struct crossing *)((char *)op - offsetof(struct crossing, op));

    (void)self;
    cross_finish(&c->host->cross, &c->call, status);
}

static int64_t run_crossing(struct cross_call *call)
{
    struct crossing *c = (struct crossing *)call;
    const uint64_t *n = c->args->n;
    int64_t result;

    if (c->which == HOST_REG_GET) {
        c->value = regmap_get(c->host->dev->map, (uint32_t)n[0], (uint32_t)n[1], (uint32_t)n[2]);
        return 0;
    }
    result = calls[c->which].run(c->host, c->args);
    if (result != -EWOULDBLOCK || (c->which != HOST_DMA_READ && c->which != HOST_DMA_WRITE))
        return result;
    c->op = (struct vfu_dma_op){
        .struct_size = sizeof c->op,
        .flags = c->which == HOST_DMA_WRITE ? VFU_DMA_WRITE : 0,
        .addr = n[0],
        .len = n[1],
        .buf = c->args->p[0],
        .done = waited_for,
    };
    result = transfer_submit(&c->host->dev->transfer, &c->op);
    return result ? result : CROSS_LATER;
}

/* The device is quieted, or goes: the caller gets its buffer back. */
static void abandon_crossing(struct cross_call *call)
{
    struct crossing *c = (struct crossing *)call;

    transfer_withdraw(&c->host->dev->transfer, &c->op);
}

static int64_t hand_over(struct crossing *c, struct host *host, enum host_call call, const struct call_args *args)
{
    c->call.run = run_crossing;
    c->call.give_up = abandon_crossing;
    c->host = host_outermost(host);
    c->which = call;
    c->args = args;
    return cross_call(&c->host->cross, &c->call);
}

int64_t calls_invoke(const struct vfu_host *table, enum host_call call, const struct call_args *args)
{
    struct host *host = host_of(table);
    struct crossing crossing;
    bool elsewhere;
    int error = host_check(host, call, calls[call].caps, &elsewhere);

    if (error)
        return error;
    if (!elsewhere)
        return calls[call].run(host_outermost(host), args);
    return hand_over(&crossing, host, call, args);
}

uint64_t calls_reg_get(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index)
{
    struct host *host = host_of(table);
    const struct call_args args = { .n = { reg, index, group_index } };
    struct crossing crossing;
    bool elsewhere;

    if (host_check(host, HOST_REG_GET, 0, &elsewhere))
        return 0;
    if (!elsewhere)
        return regmap_get(host->dev->map, reg, index, group_index);
    return hand_over(&crossing, host, HOST_REG_GET, &args) ? 0 : crossing.value;
}

/* ---- the functions of the table ---------------------------------------------------------------------------------- */

static int32_t call_irq_raise(const struct vfu_host *table, uint32_t vector)
{
    return (int32_t)INVOKE(HOST_IRQ_RAISE, .n = { vector });
}

static int32_t call_irq_lower(const struct vfu_host *table, uint32_t vector)
{
    return (int32_t)INVOKE(HOST_IRQ_LOWER, .n = { vector });
}

static int32_t call_irq_signal(const struct vfu_host *table, uint32_t which)
{
    return (int32_t)INVOKE(HOST_IRQ_SIGNAL, .n = { which });
}

static int32_t call_dma_read(const struct vfu_host *table, uint64_t addr, void *buf, uint64_t len)
{
    return (int32_t)INVOKE(HOST_DMA_READ, .n = { addr, len }, .p = { buf });
}

static int32_t call_dma_write(const struct vfu_host *table, uint64_t addr, const void *buf, uint64_t len)
{
    return (int32_t)INVOKE(HOST_DMA_WRITE, .n = { addr, len }, .p = { (void *)(uintptr_t)buf });
}

static int32_t call_dma_submit(const struct vfu_host *table, struct vfu_dma_op *op)
{
    return (int32_t)INVOKE(HOST_DMA_SUBMIT, .p = { op, inner_submitter(op, host_of(table)->dev->self) });
}

static int32_t call_dma_map(const struct vfu_host *table, uint64_t addr, uint64_t len, uint32_t prot,
                            struct vfu_dma_window *window)
{
    return (int32_t)INVOKE(HOST_DMA_MAP, .n = { addr, len, prot }, .p = { window });
}

static int32_t call_dma_unmap(const struct vfu_host *table, struct vfu_dma_window *window)
{
    return (int32_t)INVOKE(HOST_DMA_UNMAP, .p = { window });
}

static int32_t call_dma_dirty(const struct vfu_host *table, uint64_t addr, uint64_t len)
{
    return (int32_t)INVOKE(HOST_DMA_DIRTY, .n = { addr, len });
}

static int64_t call_timer_after(const struct vfu_host *table, uint64_t delay, uint64_t period, uint32_t event,
                                uint64_t arg)
{
    return INVOKE(HOST_TIMER_AFTER, .n = { delay, period, event, arg });
}

static int32_t call_timer_cancel(const struct vfu_host *table, int64_t id)
{
    return (int32_t)INVOKE(HOST_TIMER_CANCEL, .n = { (uint64_t)id });
}

static int32_t call_defer(const struct vfu_host *table, void (*fn)(void *arg), void *arg)
{
    return (int32_t)INVOKE(HOST_DEFER, .work = fn, .p = { arg });
}

static int32_t call_watch_fd(const struct vfu_host *table, int32_t fd, uint32_t events,
                             void (*fn)(void *arg, uint32_t ready), void *arg)
{
    return (int32_t)INVOKE(HOST_WATCH_FD, .n = { (uint32_t)fd, events }, .ready = fn, .p = { arg });
}

static int32_t call_unwatch_fd(const struct vfu_host *table, int32_t fd)
{
    return (int32_t)INVOKE(HOST_UNWATCH_FD, .n = { (uint32_t)fd });
}

static int32_t call_poll_every(const struct vfu_host *table, uint64_t interval)
{
    return (int32_t)INVOKE(HOST_POLL_EVERY, .n = { interval });
}

static int32_t call_bar_access(const struct vfu_host *table, struct vfu_access *access)
{
    return (int32_t)INVOKE(HOST_BAR_ACCESS, .p = { access });
}

static int32_t call_irq_level(const struct vfu_host *table, uint64_t bits)
{
    return (int32_t)INVOKE(HOST_IRQ_LEVEL, .n = { bits });
}

void calls_fill(struct vfu_host *table)
{
    table->irq_raise = call_irq_raise;
    table->irq_lower = call_irq_lower;
    table->irq_signal = call_irq_signal;
    table->dma_read = call_dma_read;
    table->dma_write = call_dma_write;
    table->dma_submit = call_dma_submit;
    table->dma_map = call_dma_map;
    table->dma_unmap = call_dma_unmap;
    table->dma_dirty = call_dma_dirty;
    table->timer_after = call_timer_after;
    table->timer_cancel = call_timer_cancel;
    table->defer = call_defer;
    table->watch_fd = call_watch_fd;
    table->unwatch_fd = call_unwatch_fd;
    table->poll_every = call_poll_every;
    table->bar_access = call_bar_access;
    table->irq_level = call_irq_level;
}
