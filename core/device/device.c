/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device - one PCI function and the plugin behind it. Made and unmade on main's thread; otherwise on the device's own.
 */
#include "core/device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/plugin/hang.h"
#include "core/inspect/screen.h"
#include "core/device/instance.h"

#define QUIESCE_NS UINT64_C(1000000000) /* longer is reported */

/* ---- what the parts tell each other */

static void level_changed(void *ctx, uint64_t bits)
{
    struct device *dev = ctx;

    if (dev->own_level && dev->created)
        dev->plugin->table.irq_level(dev->self, bits);
    else
        irq_level(dev->irq, bits);
}

static void fire_event(void *ctx, uint32_t event, uint64_t arg)
{
    struct device *dev = ctx;

    /* A saved state may hold events of any number, also for a plugin that takes none. */
    if (event > VFU_EVENT_MAX)
        inner_event(dev, event >> 24, event & VFU_EVENT_MAX, arg);
    else if (dev->plugin->table.event)
        dev->plugin->table.event(dev->self, event, arg);
}

/* On another thread: this one is in quiesce. */
static void quiesce_late(void *ctx)
{
    struct device *dev = ctx;

    host_blame(dev->host, (int)HOST_RESULTS + (int)RESULT_QUIESCE,
               "its quiesce callback has not returned for %llu ms; until it does, its device answers nobody",
               (unsigned long long)(QUIESCE_NS / 1000000u));
}

/* Calls of the plugin's threads end first: it may wait for those threads. */
void device_quiesce(struct device *dev)
{
    struct hang hang;
    uint64_t took;

    if (!dev->created)
        return;
    host_quiet(dev->host, true);
    if (!VFU_HAS(&dev->plugin->table, quiesce))
        return;
    hang_begin(&hang, QUIESCE_NS, quiesce_late, dev);
    dev->plugin->table.quiesce(dev->self);
    took = hang_end(&hang);
    if (took > QUIESCE_NS)
        log_warn(dev->name, "the plugin %s took %llu ms to quiesce", dev->plugin->table.name,
                 (unsigned long long)(took / 1000000u));
}

static void resume(struct device *dev)
{
    if (!dev->created)
        return;
    host_quiet(dev->host, false);
    if (VFU_HAS(&dev->plugin->table, resume))
        dev->plugin->table.resume(dev->self);
}

/* Mapped memory goes: threads of the plugin's own must not be in it. */
static void memory_ends(void *ctx, bool on)
{
    struct device *dev = ctx;

    if (on && !dev->host->quiet) {
        dev->holding = true;
        device_quiesce(dev);
    } else if (!on && dev->holding) {
        dev->holding = false;
        resume(dev);
    }
}

int device_watch_level(struct device *from, struct device *dev)
{
    const struct vfu_desc *desc = &from->description.desc;

    return regmap_watch_level(from->map, desc->irq_level ? desc->irq_level - 1 : VFU_NONE,
                              desc->irq_mask ? desc->irq_mask - 1 : VFU_NONE, level_changed, dev);
}

/* Whatever may happen by itself. */
static void freeze(struct device *dev, bool frozen)
{
    dev->stopped = frozen;
    host_freeze(dev->host, frozen);
    streams_freeze(&dev->streams, frozen);
    transfer_freeze(&dev->transfer, frozen);
    timers_freeze(&dev->timers, frozen);
    irq_freeze(dev->irq, frozen);
    ioevent_freeze(&dev->ioevent, frozen);
    advance_wake(dev);
}

/* The plugin is quiet. Order: timers go, interrupts are lowered, registers set; then the plugin's own. */
static void wipe(struct device *dev, uint32_t kind)
{
    timers_clear(&dev->timers);
    irq_reset(dev->irq);
    ioevent_drain(&dev->ioevent);
    pci_config_reset(&dev->config);
    dev->power = 0;
    regmap_reset(dev->map, kind);
    if (dev->description.caps & VFU_CAP_RESET)
        host_result(dev->host, RESULT_RESET, dev->plugin->table.reset(dev->self, kind), 0);
}

/* A function level reset is the guest's: a migration beside which the device runs goes on; one that has stopped the
 * device ends. */
static int reset(struct device *dev, uint32_t kind)
{
    if (dev->resetting)
        return -EBUSY;
    dev->resetting = true;
    watch_event(&dev->watch, LOG_INFO, "reset (%s)",
                kind == VFU_RESET_FLR ? "function level" : kind == VFU_RESET_BUS ? "bus" : "power");
    transfer_cancel(&dev->transfer, -ECANCELED);
    if (!dev->stopped)
        device_quiesce(dev);
    wipe(dev, kind);
    if (dev->stopped) {
        migration_reset(&dev->migration);
        freeze(dev, false);
    }
    resume(dev);
    dev->resetting = false;
    return 0;
}

/* What is neither in the state nor started yet is done first: doorbells that the guest has rung, and deferred work of
 * accesses that have been answered. */
void device_freeze(struct device *dev)
{
    if (dev->stopped)
        return;
    ioevent_run(&dev->ioevent);
    host_run_deferred(dev->host);
    freeze(dev, true);
    device_quiesce(dev);
}

void device_thaw(struct device *dev)
{
    if (!dev->stopped)
        return;
    freeze(dev, false);
    resume(dev);
}

void device_wipe(struct device *dev)
{
    bool resetting = dev->resetting;

    dev->resetting = true;
    transfer_cancel(&dev->transfer, -ECANCELED);
    wipe(dev, VFU_RESET_BUS);
    dev->resetting = resetting;
}

/* ---- time */

int device_clock(struct device *dev, bool virtual)
{
    bool frozen = dev->timers.frozen;

    if (dev->clock.virtual == virtual)
        return 0;
    timers_freeze(&dev->timers, true);
    if (!dev->timers.frozen)
        return -ENOMEM;
    advance_cancel(dev);
    clock_disarm(&dev->clock, &dev->host->poll_timer); /* armed again when the loop is idle */
    clock_switch(&dev->clock, virtual);
    if (!frozen)
        timers_freeze(&dev->timers, false);
    return 0;
}

void device_tell(struct device *dev, struct json_t *event)
{
    if (dev->tell)
        dev->tell(dev->tell_ctx, event);
    else
        json_decref(event);
}

/* ---- the log of pages written */

static void written(void *ctx, uint64_t address, uint64_t len)
{
    dirty_mark(ctx, address, len);
}

int device_log_start(struct device *dev, uint64_t page_size, const struct dirty_range *ranges, uint32_t n)
{
    int error = dirty_start(dev->dirty, page_size, ranges, n);

    if (!error)
        dma_on_write(dev->dma, written, dev->dirty);
    return error;
}

void device_log_stop(struct device *dev)
{
    dma_on_write(dev->dma, NULL, NULL);
    dirty_stop(dev->dirty);
    dev->logging_pages = false;
}

/* ---- what config space tells */

static void config_command(void *ctx, uint16_t command)
{
    irq_config_intx(((struct device *)ctx)->irq, (command & 0x400) != 0);
}

static void config_msi(void *ctx, bool enabled, uint32_t mask_bits)
{
    (void)enabled; /* armed by SET_IRQS, not by this bit */
    irq_config_msi(((struct device *)ctx)->irq, mask_bits);
}

static void config_msix(void *ctx, bool enabled, bool function_mask)
{
    (void)enabled;
    irq_config_msix(((struct device *)ctx)->irq, function_mask);
}

static void config_power(void *ctx, uint32_t state)
{
    struct device *dev = ctx;
    bool woken = dev->power == 3 && state == 0;

    dev->power = state;
    if (woken && !dev->config.no_soft_reset && !dev->resetting)
        reset(dev, VFU_RESET_BUS);
    if (VFU_HAS(&dev->plugin->table, power))
        dev->plugin->table.power(dev->self, state);
}

static void config_flr(void *ctx)
{
    reset(ctx, VFU_RESET_FLR);
}

static uint32_t config_msi_pending(void *ctx)
{
    return irq_msi_pending(((struct device *)ctx)->irq);
}

static bool config_intx_status(void *ctx)
{
    return irq_asserted(((struct device *)ctx)->irq);
}

/* Not what a client sets up before the device runs: the plugin is quiet then. */
static void config_written(void *ctx, uint32_t offset, uint32_t size, uint32_t old, uint32_t value, uint32_t raw)
{
    struct device *dev = ctx;
    const struct vfu_config_call call = {
        .struct_size = sizeof call, .offset = offset, .size = size, .old = old, .value = value, .raw = raw,
    };

    if (dev->config_ops && !dev->stopped)
        dev->config_ops->written(dev->self, &call);
}

static const struct pci_config_events config_events = {
    .command = config_command,
    .msi = config_msi,
    .msix = config_msix,
    .power = config_power,
    .flr = config_flr,
    .msi_pending = config_msi_pending,
    .intx_status = config_intx_status,
    .written = config_written,
};

/* The MSI-X table and PBA as parts of a BAR. */
static bool msix_window(void *ctx, uint64_t offset, uint32_t size, uint8_t *bytes, bool write)
{
    struct device *dev = ctx;
    const struct vfu_desc *desc = &dev->description.desc;
    uint64_t table = desc->msix_table, pba = desc->msix_pba;

    if (offset >= table && offset + size <= table + irq_table_size(dev->irq)) {
        if (write)
            irq_table_write(dev->irq, (uint32_t)(offset - table), size, bytes);
        else
            irq_table_read(dev->irq, (uint32_t)(offset - table), size, bytes);
        return true;
    }
    if (offset >= pba && offset + size <= pba + irq_pba_size(dev->irq)) {
        if (!write)
            irq_pba_read(dev->irq, (uint32_t)(offset - pba), size, bytes);
        return true;
    }
    return false;
}

/* ---- making */

static void watch_msix(struct device *dev)
{
    const struct vfu_desc *desc = &dev->description.desc;
    struct region *region;
    uint64_t table_end, pba_end;

    if (!desc->msix_vectors)
        return;
    region = &dev->regions[desc->msix_bar];
    table_end = (uint64_t)desc->msix_table + irq_table_size(dev->irq);
    pba_end = (uint64_t)desc->msix_pba + irq_pba_size(dev->irq);
    region->window = msix_window;
    region->window_ctx = dev;
    region->window_start = desc->msix_table < desc->msix_pba ? desc->msix_table : desc->msix_pba;
    region->window_end = table_end > pba_end ? table_end : pba_end;
}

static int make_regions(struct device *dev)
{
    const struct description *d = &dev->description;
    int error = 0;

    for (uint32_t i = 0; i < d->nbars && !error; i++) {
        struct region *region = &dev->regions[d->bars[i].index];

        error = region_init(region, dev->name, &d->bars[i], dev->map);
        if (!error)
            error = instance_raw(dev, region, dev);
    }
    if (!error && d->desc.rom_size)
        error = region_init_rom(&dev->regions[VFU_REGION_ROM], dev->name, d->desc.rom, d->desc.rom_size);
    return error;
}

static int take_name(struct device *dev, const char *name)
{
    char *copy = strdup(name);

    if (!copy)
        return -ENOMEM;
    free(dev->name);
    dev->name = copy;
    return 0;
}

static void dma_idle(void *ctx)
{
    advance_wake(ctx);
}

static int make_parts(struct device *dev)
{
    const struct description *d = &dev->description;
    const struct vfu_desc *desc = &d->desc;
    int error = regmap_new(&dev->map, dev->name, desc->regmap, d->region_size);

    if (!error)
        error = make_regions(dev);
    if (!error)
        error = irq_new(&dev->irq, dev->name, (d->caps & VFU_CAP_INTX) != 0, desc->msi_vectors, desc->msix_vectors);
    if (!error) {
        struct vfu_desc allowed = *desc;

        allowed.caps = d->caps;
        error = pci_config_init(&dev->config, dev->name, &allowed, d->bars, d->nbars,
                                d->region_size[VFU_REGION_ROM], dev->map);
    }
    if (!error)
        error = ioevent_init(&dev->ioevent, dev->name, &dev->loop, desc, d->bars, d->nbars);
    if (!error)
        error = dma_new(&dev->dma, dev->name, dev->options.max_dma_maps);
    if (!error)
        error = dirty_new(&dev->dirty, dev->name, 0);
    if (error)
        return error;
    dev->ioevent.denied = !(d->caps & VFU_CAP_DOORBELL) || dev->intercepts;
    watch_msix(dev);
    watch_init(dev);
    pci_config_listen(&dev->config, &config_events, dev);
    if (d->caps & VFU_CAP_THREADS)
        dma_on_end(dev->dma, memory_ends, dev);
    timers_init(&dev->timers, &dev->clock, fire_event, dev);
    hold_init(dev);
    transfer_init(&dev->transfer, dev->name, &dev->loop, dev->dma, NULL);
    dev->transfer.idle = dma_idle;
    dev->transfer.idle_ctx = dev;
    return device_watch_level(dev, dev);
}

/* What a plugin says of a device that lacks parameters counts as long as its instance is there to keep it. */
static int keep_partial(struct device *dev)
{
    const struct vfu_desc *desc = &dev->description.desc;
    int error = 0;

    dev->partial = true;
    if (!dev->self)
        memset(&dev->description, 0, sizeof dev->description);
    if (desc->name && plugin_good_name(desc->name))
        error = take_name(dev, desc->name);
    if (!error && desc->doc && !(dev->doc = strdup(desc->doc)))
        error = -ENOMEM;
    dev->params.who = dev->name;
    dev->description.caps = (dev->self ? desc->caps : dev->plugin->table.caps) & PLUGIN_HOST_CAPS & ~dev->options.deny;
    return error;
}

static int load(struct device *dev)
{
    int error = instance_load(dev);

    if (!error)
        error = take_name(dev, instance_name(dev));
    if (error)
        return error;
    dev->params.who = dev->report.who = dev->displays.who = dev->name;
    streams_init(&dev->streams, &dev->loop, dev->name);
    error = make_parts(dev);
    dev->host->ready = error == 0;
    if (!error)
        error = instance_create(dev);
    if (!error)
        error = watch_start(dev, &dev->options.watch);
    /* A parameter that does not fit was explained by describe; whatever else went wrong is the plugin's doing. */
    return error == -EINVAL ? -ENOEXEC : error;
}

/* The command line's words are looked at again in a reload. */
static int take_options(struct device *dev, const struct device_options *options)
{
    dev->options = *options;
    dev->options.nitems = 0;
    dev->options.spec = strdup(options->spec);
    dev->options.items = calloc(options->nitems + 1u, sizeof *dev->options.items);
    if (!dev->options.spec || !dev->options.items)
        return -ENOMEM;
    for (; dev->options.nitems < options->nitems; dev->options.nitems++) {
        dev->options.items[dev->options.nitems] = strdup(options->items[dev->options.nitems]);
        if (!dev->options.items[dev->options.nitems])
            return -ENOMEM;
    }
    return 0;
}

static void free_options(struct device_options *options)
{
    for (uint32_t i = 0; i < options->nitems; i++)
        free(options->items[i]);
    free(options->items);
    free((char *)(uintptr_t)options->spec);
}

int device_new(struct device **out, const struct device_options *options)
{
    struct device *dev = calloc(1, sizeof *dev);
    int error;

    if (!dev)
        return -ENOMEM;
    for (uint32_t i = 0; i <= VFU_REGION_ROM; i++)
        dev->regions[i].fd = -1;
    dev->private_code = options->reload;
    dev->limits = options->limits;
    dev->limits.struct_size = sizeof dev->limits;
    dev->client_fd = -1;
    error = loop_init(&dev->loop);
    clock_init(&dev->clock, &dev->loop, options->virtual_time);
    if (!error)
        error = ask_init(&dev->ask, &dev->loop);
    if (!error)
        error = report_init(&dev->report, NULL);
    if (!error)
        error = display_init(&dev->displays);
    if (!error)
        error = take_options(dev, options);
    dev->loop.spin_us = options->spin_us;
    dev->max_dma_maps = options->max_dma_maps;
    if (!error)
        error = files_new(&dev->files);
    if (!error)
        error = load(dev);
    if (error == -EINVAL && dev->params.incomplete)
        error = keep_partial(dev);
    if (error) {
        device_free(dev);
        return error;
    }
    /* Registers have their reset values since they were made; what create set in them stays. */
    if (!dev->partial && (dev->description.caps & VFU_CAP_RESET))
        host_result(dev->host, RESULT_RESET, dev->plugin->table.reset(dev->self, VFU_RESET_POWER), 0);
    *out = dev;
    return 0;
}

void device_free(struct device *dev)
{
    if (!dev)
        return;
    if (dev->host)
        __atomic_store_n(&dev->host->maker, pthread_self(), __ATOMIC_RELAXED);
    if (dev->attached)
        device_detach(dev);
    if (dev->created)
        device_quiesce(dev);
    display_fini(&dev->displays); /* reads what the device and its BARs have */
    screen_forget(dev);
    instance_destroy(dev);
    watch_fini(dev);
    if (dev->timers.clock)
        timers_fini(&dev->timers);
    streams_fini(&dev->streams);
    clock_fini(&dev->clock);
    for (uint32_t i = 0; i <= VFU_REGION_ROM; i++)
        region_fini(&dev->regions[i]);
    pci_config_fini(&dev->config);
    irq_free(dev->irq);
    ioevent_fini(&dev->ioevent);
    dma_free(dev->dma);
    dirty_free(dev->dirty);
    image_free(&dev->migration.data);
    report_fini(&dev->report);
    ask_fini(&dev->ask);
    instance_free(dev);
    loop_fini(&dev->loop);
    instance_free_retired(dev);
    files_free(dev->files);
    free_options(&dev->options);
    free(dev->name);
    free(dev);
}

/* ---- accesses */

struct region *device_region(struct device *dev, uint32_t index)
{
    if (index > VFU_REGION_ROM || dev->regions[index].size == 0)
        return NULL;
    return &dev->regions[index];
}

uint64_t device_region_size(const struct device *dev, uint32_t index)
{
    if (index <= VFU_REGION_ROM)
        return dev->regions[index].size;
    return index == VFU_REGION_CONFIG ? dev->config.size : 0;
}

int device_read(struct device *dev, uint32_t index, uint64_t offset, uint32_t size, uint8_t *bytes)
{
    uint64_t limit = device_region_size(dev, index);

    if (offset > limit || size > limit - offset || size == 0) {
        watch_refused(dev, index, offset, size, NULL, false);
        return -EINVAL;
    }
    if (index == VFU_REGION_CONFIG) {
        pci_config_read(&dev->config, (uint32_t)offset, size, bytes);
        return 0;
    }
    return region_read(&dev->regions[index], offset, size, bytes);
}

/* What a client sets up on the other side before that runs; a device's own registers it may not touch. */
static bool writable_when_stopped(const struct device *dev, uint32_t index, uint64_t offset, uint32_t size)
{
    const struct vfu_desc *desc = &dev->description.desc;
    uint64_t span;

    if (index == VFU_REGION_CONFIG)
        return !regmap_find(dev->map, VFU_REGION_CONFIG, offset, offset + size, &span) && span == size;
    return desc->msix_vectors && index == desc->msix_bar && offset >= desc->msix_table &&
           offset + size <= desc->msix_table + (uint64_t)irq_table_size(dev->irq);
}

int device_write(struct device *dev, uint32_t index, uint64_t offset, uint32_t size, const uint8_t *bytes)
{
    uint64_t limit = device_region_size(dev, index);
    int error;

    if (offset > limit || size > limit - offset || size == 0) {
        watch_refused(dev, index, offset, size, bytes, true);
        return -EINVAL;
    }
    if (dev->stopped && !writable_when_stopped(dev, index, offset, size))
        return -EBUSY;
    if (index == VFU_REGION_CONFIG) {
        pci_config_write(&dev->config, (uint32_t)offset, size, bytes);
        return 0;
    }
    error = region_write(&dev->regions[index], offset, size, bytes);
    if (!error && !dev->regions[index].intercept) /* else it may have gone nowhere; device_access knows */
        ioevent_wrote(&dev->ioevent, index, offset, size, bytes);
    return error;
}

int device_access(struct device *dev, struct vfu_access *access)
{
    bool write = access->flags & VFU_ACCESS_WRITE;
    struct region *region;
    uint8_t bytes[8];
    int error;

    if (access->region > VFU_REGION_BAR5)
        return -EINVAL;
    region = &dev->regions[access->region];
    if (access->offset > region->size || access->size > region->size - access->offset || !access->size ||
        (access->size > 8 && !access->data))
        return -EINVAL;
    if (write && dev->stopped)
        return -EBUSY;
    error = region_access(region, access, bytes);
    if (!error && write)
        ioevent_wrote(&dev->ioevent, access->region, access->offset, access->size,
                      access->size > 8 ? access->data : bytes);
    return error;
}

/* ---- reset, attach, detach */

int device_reset(struct device *dev, uint32_t kind)
{
    int error;

    if (kind == VFU_RESET_BUS && !(dev->description.caps & VFU_CAP_RESET) && dev->migration.state == MIGRATION_RUNNING)
        return -ENOTSUP;
    error = reset(dev, kind);
    if (!error && kind != VFU_RESET_FLR)
        migration_reset(&dev->migration);
    return error;
}

int device_attach(struct device *dev, const struct vfu_client *client, struct transport *out, void (*kick)(void *ctx),
                  void *ctx)
{
    uint64_t needs = (dev->plugin->table.needs | dev->description.desc.needs) &
                     (VFU_CAP_CLIENT_FDS | VFU_CAP_CLIENT_TWIN_SOCKET | VFU_CAP_CLIENT_WRITE_MULTI);
    char names[128];

    if (needs & ~client->caps) {
        plugin_cap_names(needs & ~client->caps, names, sizeof names);
        log_limited(&dev->limit, dev->name, LOG_ERROR,
                    "VERSION: the client does not offer %s, which this device needs (ENOTSUP)", names);
        return -ENOTSUP;
    }
    dev->client = *client;
    dev->client.struct_size = sizeof dev->client;
    dev->attached = true;
    host_client(dev->host, client->caps);
    transfer_attach(&dev->transfer, out, client->max_data_xfer_size, kick, ctx);
    if (VFU_HAS(&dev->plugin->table, attach))
        dev->plugin->table.attach(dev->self, &dev->client);
    if (dev->tell)
        device_tell(dev, json_pack("{s:s}", "event", "attach"));
    return 0;
}

void device_detach(struct device *dev)
{
    if (!dev->attached)
        return;
    dev->attached = false;
    dev->mapped = 0;
    memset(&dev->client, 0, sizeof dev->client);
    host_client(dev->host, 0);
    transfer_detach(&dev->transfer, -ECANCELED);
    dma_unmap_all(dev->dma);
    irq_detach(dev->irq);
    ioevent_detach(&dev->ioevent);
    /* The next client finds a device that runs, and none of this one's log. */
    device_log_stop(dev);
    migration_reset(&dev->migration);
    device_thaw(dev);
    if (VFU_HAS(&dev->plugin->table, detach))
        dev->plugin->table.detach(dev->self);
    watch_detach(dev);
    if (dev->tell)
        device_tell(dev, json_pack("{s:s}", "event", "detach"));
}
