/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * inner - plugins that another plugin wraps: see inner.h.
 *
 * Each has a host table of its own. Its functions check as the device's own do, for this plugin and by its name, and
 * call the same function of the table that the wrapper was handed, which may be the device's own, another inner one, or
 * a copy with a wrapper's functions in it. So every wrapper sees what those inside of it ask for.
 *
 * Two things must find their way back: the `done` of a DMA gets the self of the plugin that has submitted it, which
 * `submitting` remembers while the call is on its way out, and an event has the plugin's number in its upper 8 bits.
 */
#include "core/plugin/inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device/device.h"

#define EVENT_SHIFT 24

struct inner {
    struct host host;       /* first: its table's ctx */
    struct vfu_inner given; /* what the wrapper holds */
    struct vfu_plugin copy; /* the plugin's table in the host's own size */
    const struct vfu_host *outer;
    struct plugin *plugin;
    struct params params;
    struct vfu_params items;
    char who[160];
};

static struct inner *inner_of(const struct vfu_host *table)
{
    return (struct inner *)host_of(table);
}

static int check(const struct vfu_host *table, enum host_call call)
{
    bool elsewhere;

    return host_check(host_of(table), call, calls_caps(call), &elsewhere);
}

/* ---- functions that go outwards ------------------------------------------------------------------------------ */

/* Calls the same function of the table outside, if this one may. */
#define OUTWARDS(call, function, ...)                                                                                  \
    const struct vfu_host *outer = inner_of(table)->outer;                                                             \
    int error = check(table, call);                                                                                    \
                                                                                                                       \
    return error ? error : outer->function(outer, ##__VA_ARGS__)

static uint64_t inner_granted(const struct vfu_host *table)
{
    const struct vfu_host *outer = inner_of(table)->outer;
    const uint64_t client = VFU_CAP_CLIENT_FDS | VFU_CAP_CLIENT_TWIN_SOCKET | VFU_CAP_CLIENT_WRITE_MULTI;

    if (host_gone(&inner_of(table)->host))
        return 0;
    return outer->granted(outer) & (__atomic_load_n(&inner_of(table)->host.granted, __ATOMIC_RELAXED) | client);
}

static void inner_log(const struct vfu_host *table, uint32_t level, const char *message)
{
    log_write(inner_of(table)->who, level > VFU_LOG_DEBUG ? LOG_DEBUG : (enum log_level)level, "%s",
              message ? message : "(null)");
}

static void inner_guest_error(const struct vfu_host *table, const char *message)
{
    const struct vfu_host *outer = inner_of(table)->outer;

    if (!host_gone(&inner_of(table)->host))
        outer->guest_error(outer, message);
}

static int32_t inner_irq_raise(const struct vfu_host *table, uint32_t vector)
{
    OUTWARDS(HOST_IRQ_RAISE, irq_raise, vector);
}

static int32_t inner_irq_lower(const struct vfu_host *table, uint32_t vector)
{
    OUTWARDS(HOST_IRQ_LOWER, irq_lower, vector);
}

static int32_t inner_irq_signal(const struct vfu_host *table, uint32_t which)
{
    OUTWARDS(HOST_IRQ_SIGNAL, irq_signal, which);
}

static int32_t inner_dma_read(const struct vfu_host *table, uint64_t addr, void *buf, uint64_t len)
{
    OUTWARDS(HOST_DMA_READ, dma_read, addr, buf, len);
}

static int32_t inner_dma_write(const struct vfu_host *table, uint64_t addr, const void *buf, uint64_t len)
{
    OUTWARDS(HOST_DMA_WRITE, dma_write, addr, buf, len);
}

static _Thread_local struct {
    const struct vfu_dma_op *op;
    void *self;
} submitting;

void *inner_submitter(const struct vfu_dma_op *op, void *self)
{
    return op && submitting.op == op ? submitting.self : self;
}

/* A wrapper on the way may submit an op of its own instead: that one is the wrapper's. */
static int32_t inner_dma_submit(const struct vfu_host *table, struct vfu_dma_op *op)
{
    const struct inner *inner = inner_of(table);
    const struct vfu_host *outer = inner->outer;
    int32_t error = check(table, HOST_DMA_SUBMIT);
    const struct vfu_dma_op *op_before = submitting.op;
    void *self_before = submitting.self;

    if (error)
        return error;
    submitting.self = inner_submitter(op, inner->given.self);
    submitting.op = op;
    error = outer->dma_submit(outer, op);
    submitting.op = op_before;
    submitting.self = self_before;
    return error;
}

static int32_t inner_dma_map(const struct vfu_host *table, uint64_t addr, uint64_t len, uint32_t prot,
                             struct vfu_dma_window *window)
{
    OUTWARDS(HOST_DMA_MAP, dma_map, addr, len, prot, window);
}

static int32_t inner_dma_check(const struct vfu_host *table, const struct vfu_dma_window *window)
{
    const struct vfu_host *outer = inner_of(table)->outer;

    return host_gone(&inner_of(table)->host) ? -ESHUTDOWN : outer->dma_check(outer, window);
}

static int32_t inner_dma_unmap(const struct vfu_host *table, struct vfu_dma_window *window)
{
    OUTWARDS(HOST_DMA_UNMAP, dma_unmap, window);
}

static int32_t inner_dma_dirty(const struct vfu_host *table, uint64_t addr, uint64_t len)
{
    OUTWARDS(HOST_DMA_DIRTY, dma_dirty, addr, len);
}

static uint64_t inner_now(const struct vfu_host *table)
{
    const struct vfu_host *outer = inner_of(table)->outer;

    return host_gone(&inner_of(table)->host) ? loop_now() : outer->now(outer);
}

static int64_t inner_timer_after(const struct vfu_host *table, uint64_t delay, uint64_t period, uint32_t event,
                                 uint64_t arg)
{
    uint32_t index = inner_of(table)->host.index, from = event >> EVENT_SHIFT;

    /* Marked already if it comes from further inside. */
    if (from && (from <= index || from > inner_of(table)->host.dev->ninners))
        return -EINVAL;
    if (!from)
        event |= index << EVENT_SHIFT;
    OUTWARDS(HOST_TIMER_AFTER, timer_after, delay, period, event, arg);
}

static int32_t inner_timer_cancel(const struct vfu_host *table, int64_t id)
{
    OUTWARDS(HOST_TIMER_CANCEL, timer_cancel, id);
}

static int32_t inner_defer(const struct vfu_host *table, void (*fn)(void *arg), void *arg)
{
    OUTWARDS(HOST_DEFER, defer, fn, arg);
}

static int32_t inner_watch_fd(const struct vfu_host *table, int32_t fd, uint32_t events,
                              void (*fn)(void *arg, uint32_t ready), void *arg)
{
    OUTWARDS(HOST_WATCH_FD, watch_fd, fd, events, fn, arg);
}

static int32_t inner_unwatch_fd(const struct vfu_host *table, int32_t fd)
{
    OUTWARDS(HOST_UNWATCH_FD, unwatch_fd, fd);
}

static void *inner_bar_memory(const struct vfu_host *table, uint32_t bar)
{
    const struct vfu_host *outer = inner_of(table)->outer;

    return host_gone(&inner_of(table)->host) ? NULL : outer->bar_memory(outer, bar);
}

static int32_t inner_poll_every(const struct vfu_host *table, uint64_t interval)
{
    OUTWARDS(HOST_POLL_EVERY, poll_every, interval);
}

static int32_t inner_bar_access(const struct vfu_host *table, struct vfu_access *access)
{
    OUTWARDS(HOST_BAR_ACCESS, bar_access, access);
}

static int32_t inner_irq_level(const struct vfu_host *table, uint64_t bits)
{
    OUTWARDS(HOST_IRQ_LEVEL, irq_level, bits);
}

/* ---- extensions -------------------------------------------------------------------------------------------------- */

static const struct vfu_host_regmap *outer_regmap(const struct vfu_host *outer)
{
    return outer->extension(outer, VFU_EXT_REGMAP);
}

static uint64_t inner_reg_get(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index)
{
    const struct vfu_host *outer = inner_of(table)->outer;

    return check(table, HOST_REG_GET) ? 0 : outer_regmap(outer)->get(outer, reg, index, group_index);
}

static int32_t inner_reg_set(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index,
                             uint64_t value)
{
    const struct vfu_host *outer = inner_of(table)->outer;
    int error = check(table, HOST_REG_SET);

    return error ? error : outer_regmap(outer)->set(outer, reg, index, group_index, value);
}

static const struct vfu_host_config *outer_config(const struct vfu_host *outer)
{
    return outer->extension(outer, VFU_EXT_CONFIG);
}

static int32_t inner_config_read(const struct vfu_host *table, uint32_t offset, uint32_t size, void *bytes)
{
    const struct vfu_host *outer = inner_of(table)->outer;
    int error = check(table, HOST_CONFIG_READ);

    return error ? error : outer_config(outer)->read(outer, offset, size, bytes);
}

static int32_t inner_config_write(const struct vfu_host *table, uint32_t offset, uint32_t size, const void *bytes)
{
    const struct vfu_host *outer = inner_of(table)->outer;
    int error = check(table, HOST_CONFIG_WRITE);

    return error ? error : outer_config(outer)->write(outer, offset, size, bytes);
}

static const struct vfu_host_regions *outer_regions(const struct vfu_host *outer)
{
    return outer->extension(outer, VFU_EXT_REGIONS);
}

static int32_t inner_region_look(const struct vfu_host *table, uint32_t region, struct vfu_region_state *state)
{
    const struct vfu_host *outer = inner_of(table)->outer;
    int error = check(table, HOST_REGION_LOOK);

    return error ? error : outer_regions(outer)->look(outer, region, state);
}

static int32_t inner_region_doorbell(const struct vfu_host *table, uint32_t index)
{
    const struct vfu_host *outer = inner_of(table)->outer;
    int error = check(table, HOST_REGION_DOORBELL);

    return error ? error : outer_regions(outer)->doorbell(outer, index);
}

static int32_t inner_report(const struct vfu_host *table, const struct vfu_report *what)
{
    const struct vfu_host *outer = inner_of(table)->outer;
    const struct vfu_host_report *report = host_gone(&inner_of(table)->host) ? NULL : outer->extension(outer, VFU_EXT_REPORT);

    return report ? report->report(outer, what) : -ESHUTDOWN;
}

static int32_t inner_watch_file(const struct vfu_host *table, const char *path)
{
    const struct vfu_host *outer = inner_of(table)->outer;
    const struct vfu_host_reload *reload = outer->extension(outer, VFU_EXT_RELOAD);

    return reload ? reload->watch(outer, path) : -ENOTSUP;
}

static int32_t inner_qmp_execute(const struct vfu_host *table, const struct vfu_qmp_command *command)
{
    const struct vfu_host *outer = inner_of(table)->outer;
    int error = check(table, HOST_QMP_EXECUTE);
    const struct vfu_host_qmp *qmp = error ? NULL : outer->extension(outer, VFU_EXT_QMP);

    return error ? error : qmp->execute(outer, command);
}

static const struct vfu_host_stream *outer_stream(const struct vfu_host *outer)
{
    return outer->extension(outer, VFU_EXT_STREAM);
}

/* Calls the same function of the extension outside, if this one may. */
#define STREAM_OUTWARDS(call, function, ...)                                                                           \
    const struct vfu_host *outer = inner_of(table)->outer;                                                             \
    int error = check(table, call);                                                                                    \
                                                                                                                       \
    return error ? error : outer_stream(outer)->function(outer, __VA_ARGS__)

static int32_t inner_stream_open(const struct vfu_host *table, const struct vfu_stream_spec *spec, struct vfu_stream **stream)
{
    STREAM_OUTWARDS(HOST_STREAM_OPEN, open, spec, stream);
}

static int64_t inner_stream_read(const struct vfu_host *table, struct vfu_stream *stream, void *bytes, uint64_t len)
{
    STREAM_OUTWARDS(HOST_STREAM_READ, read, stream, bytes, len);
}

static int64_t inner_stream_write(const struct vfu_host *table, struct vfu_stream *stream, const void *bytes, uint64_t len)
{
    STREAM_OUTWARDS(HOST_STREAM_WRITE, write, stream, bytes, len);
}

static int32_t inner_stream_look(const struct vfu_host *table, struct vfu_stream *stream, struct vfu_stream_state *state)
{
    STREAM_OUTWARDS(HOST_STREAM_LOOK, look, stream, state);
}

static int32_t inner_stream_break(const struct vfu_host *table, struct vfu_stream *stream)
{
    STREAM_OUTWARDS(HOST_STREAM_BREAK, send_break, stream);
}

static int32_t inner_stream_hang_up(const struct vfu_host *table, struct vfu_stream *stream)
{
    STREAM_OUTWARDS(HOST_STREAM_HANG_UP, hang_up, stream);
}

static int32_t inner_stream_close(const struct vfu_host *table, struct vfu_stream *stream)
{
    STREAM_OUTWARDS(HOST_STREAM_CLOSE, close, stream);
}

static const struct vfu_host_display *outer_display(const struct vfu_host *table)
{
    const struct vfu_host *outer = inner_of(table)->outer;

    return host_gone(&inner_of(table)->host) ? NULL : outer->extension(outer, VFU_EXT_DISPLAY);
}

static int32_t inner_display_open(const struct vfu_host *table, const char *outputs)
{
    const struct vfu_host_display *display = outer_display(table);

    return display ? display->open(inner_of(table)->outer, outputs) : -ESHUTDOWN;
}

static int32_t inner_display_show(const struct vfu_host *table, int32_t number, const struct vfu_display_frame *frame)
{
    const struct vfu_host_display *display = outer_display(table);

    return display ? display->show(inner_of(table)->outer, number, frame) : -ESHUTDOWN;
}

static int32_t inner_display_changed(const struct vfu_host *table, int32_t number, uint32_t x, uint32_t y, uint32_t width,
                                     uint32_t height)
{
    const struct vfu_host_display *display = outer_display(table);

    return display ? display->changed(inner_of(table)->outer, number, x, y, width, height) : -ESHUTDOWN;
}

/* Functions of an extension get the caller's table, so each needs one of its own here; data passes as it is. */
static const void *inner_extension(const struct vfu_host *table, const char *id)
{
    static const struct vfu_host_regmap regmap = { sizeof regmap, 0, inner_reg_get, inner_reg_set };
    static const struct vfu_host_config config = { sizeof config, 0, inner_config_read, inner_config_write };
    static const struct vfu_host_regions regions = { sizeof regions, 0, inner_region_look, inner_region_doorbell };
    static const struct vfu_host_report report = { sizeof report, 0, inner_report };
    static const struct vfu_host_reload reload = { sizeof reload, 0, inner_watch_file };
    static const struct vfu_host_qmp qmp = { sizeof qmp, 0, inner_qmp_execute };
    static const struct vfu_host_stream stream = {
        sizeof stream, 0, inner_stream_open, inner_stream_read, inner_stream_write, inner_stream_look, inner_stream_break,
        inner_stream_hang_up, inner_stream_close,
    };
    static const struct vfu_host_display display = {
        sizeof display, 0, inner_display_open, inner_display_show, inner_display_changed,
    };
    static const struct {
        const char *id;
        const void *extension; /* NULL: as it is */
    } all[] = {
        { VFU_EXT_REGMAP, &regmap },
        { VFU_EXT_LIMITS, NULL },
        { VFU_EXT_CONFIG, &config },
        { VFU_EXT_REGIONS, &regions },
        { VFU_EXT_REPORT, &report },
        { VFU_EXT_RELOAD, &reload },
        { VFU_EXT_QMP, &qmp },
        { VFU_EXT_STREAM, &stream },
        { VFU_EXT_DISPLAY, &display },
    };
    const struct vfu_host *outer = inner_of(table)->outer;

    if (host_gone(&inner_of(table)->host) || !id)
        return NULL;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const void *extension = strcmp(id, all[i].id) == 0 ? outer->extension(outer, id) : NULL;

        if (extension)
            return all[i].extension ? all[i].extension : extension;
    }
    return NULL;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void free_inner(struct inner *inner)
{
    params_fini(&inner->params);
    for (uint32_t i = 0; inner->items.items && i < inner->items.nitems; i++)
        free((char *)(uintptr_t)inner->items.items[i]);
    free((void *)(uintptr_t)inner->items.items);
    plugin_unload(inner->plugin);
    free(inner);
}

static int copy_items(struct inner *inner, const char *const *items, uint32_t n)
{
    char **copy = calloc(n + 1u, sizeof *copy);

    inner->items.struct_size = sizeof inner->items;
    inner->items.items = (const char *const *)copy;
    if (!copy)
        return -ENOMEM;
    for (; inner->items.nitems < n; inner->items.nitems++) {
        copy[inner->items.nitems] = strdup(items[inner->items.nitems]);
        if (!copy[inner->items.nitems])
            return -ENOMEM;
    }
    params_init(&inner->params, inner->who, copy, n);
    return 0;
}

/* Only what the table outside has, which may be an older wrapper's. */
static void fill_table(struct inner *inner)
{
    const struct vfu_host *outer = inner->outer;
    struct vfu_host *table = &inner->host.table;

    table->struct_size = sizeof *table;
    table->abi_version = VFU_ABI_VERSION;
    table->caps = outer->caps;
    table->version = outer->version;
    table->ctx = inner;
    host_fill_params(table);
    table->log = inner_log;
    table->open = inner_open;
#define FORWARD(member)                                                                                                \
    if (VFU_HAS(outer, member))                                                                                        \
        table->member = inner_##member
    FORWARD(extension);
    FORWARD(granted);
    FORWARD(guest_error);
    FORWARD(irq_raise);
    FORWARD(irq_lower);
    FORWARD(irq_signal);
    FORWARD(dma_read);
    FORWARD(dma_write);
    FORWARD(dma_submit);
    FORWARD(dma_map);
    FORWARD(dma_check);
    FORWARD(dma_unmap);
    FORWARD(dma_dirty);
    FORWARD(now);
    FORWARD(timer_after);
    FORWARD(timer_cancel);
    FORWARD(defer);
    FORWARD(watch_fd);
    FORWARD(unwatch_fd);
    FORWARD(bar_memory);
    FORWARD(poll_every);
    FORWARD(bar_access);
    FORWARD(irq_level);
#undef FORWARD
}

static void name_it(struct inner *inner, const struct host *wrapper)
{
    const char *around = wrapper->index ? wrapper->who : wrapper->plugin;

    snprintf(inner->who, sizeof inner->who, "%.90s/%.64s", around, inner->plugin->table.name);
    inner->host.who = inner->who;
    inner->host.plugin = inner->plugin->table.name;
}

static int load(struct inner *inner, const struct vfu_host *host, const char *spec, const char *const *items,
                uint32_t n)
{
    struct host *wrapper = host_of(host);
    const struct vfu_plugin *table;
    int error = (wrapper->dev->private_code ? plugin_load_private : plugin_load)(&inner->plugin, spec, host->caps);

    if (error)
        return error == -EINVAL ? -ENOEXEC : error;
    files_add(wrapper->dev->files, inner->plugin->source ? inner->plugin->source : inner->plugin->path);
    table = &inner->plugin->table;
    inner->copy = *table;
    inner->copy.struct_size = sizeof inner->copy;
    inner->outer = host;
    inner->host.dev = wrapper->dev;
    inner->host.own = wrapper->own;
    inner->host.params = &inner->params;
    name_it(inner, wrapper);
    error = copy_items(inner, items, n);
    if (error)
        return error;
    inner->items.source = inner->plugin->source;
    fill_table(inner);
    inner->given = (struct vfu_inner){
        .struct_size = sizeof inner->given,
        .plugin = &inner->copy,
        .host = &inner->host.table,
        .params = &inner->items,
    };
    return table->params ? params_declare(&inner->params, table->params, table->nparams, table->param_size) : 0;
}

int32_t inner_open(const struct vfu_host *host, const char *spec, const char *const *items, uint32_t nitems,
                   struct vfu_inner **out)
{
    struct host *wrapper = host_of(host);
    struct device *dev = wrapper->dev;
    struct inner *inner;
    bool elsewhere;
    int error = host_check(wrapper, HOST_OPEN, 0, &elsewhere);

    if (error)
        return error;
    if (elsewhere || !wrapper->own->describing || !spec || (nitems && !items)) {
        host_blame(wrapper, HOST_OPEN, "open is called outside of describe, or without a name or items (EINVAL)");
        return -EINVAL;
    }
    if (dev->options.deny_plugins) {
        log_error(dev->name, "%s cannot be opened: --deny plugin leaves each device to itself", spec);
        return -EPERM;
    }
    if (dev->ninners >= INNER_MAX) {
        log_error(dev->name, "cannot open %s: %u plugins are inside of each other already", spec, INNER_MAX);
        return -ELOOP;
    }
    inner = calloc(1, sizeof *inner);
    if (!inner)
        return -ENOMEM;
    error = load(inner, host, spec, items, nitems);
    if (error) {
        free_inner(inner);
        return error;
    }
    dev->inners[dev->ninners++] = inner;
    inner->host.index = dev->ninners;
    *out = &inner->given;
    return 0;
}

int inner_settle(struct device *dev)
{
    for (uint32_t i = 0; i < dev->ninners; i++) {
        struct inner *inner = dev->inners[i];
        int error = inner->params.declared ? 0 : params_declare(&inner->params, NULL, 0, 0);

        if (error)
            return error;
        __atomic_store_n(&inner->host.granted, inner->copy.caps & dev->description.caps, __ATOMIC_RELAXED);
    }
    return 0;
}

void inner_event(struct device *dev, uint32_t index, uint32_t event, uint64_t arg)
{
    struct inner *inner = index && index <= dev->ninners ? dev->inners[index - 1] : NULL;

    if (inner && inner->copy.event)
        inner->copy.event(inner->given.self, event, arg);
}

void inner_adopt(struct device *dev)
{
    for (uint32_t i = 0; i < dev->ninners; i++)
        dev->inners[i]->host.dev = dev;
}

void inner_free_all(struct device *dev)
{
    while (dev->ninners)
        free_inner(dev->inners[--dev->ninners]);
}
