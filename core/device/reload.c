/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reload - another instance of the plugin in the place of the present one: see reload.h. Runs on the device's thread.
 *
 * `next` is a device without parts of its own: what is needed to load and describe an instance, and, once it has
 * changed places with the old one (instance_swap), what holds the old one until one of the two is destroyed.
 */
#include "core/device/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/device/image.h"
#include "core/device/instance.h"

#define NOTE_NS UINT64_C(200000000) /* longer is told */

/* What the old instance leaves to the new one, and what a failure puts back. */
struct legacy {
    bool keep; /* both instances keep state over a reload */
    struct image state; /* the plugin's */
    struct timer_image *timers;
    uint32_t ntimers;
    uint8_t *interrupts;
};

/* ---- is it the same device? -------------------------------------------------------------------------------------- */

struct fact {
    const char *name;
    uint64_t before, after;
};

__attribute__((format(printf, 2, 3))) static int other(const struct device *dev, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_error(dev->name, "not reloaded: %s. The client has this device already: restart vfu-host to change it", text);
    return -EXDEV;
}

static bool intercepts(const struct device *dev)
{
    for (uint32_t i = 0; i < dev->description.nbars; i++) {
        if (dev->description.bars[i].flags & VFU_BAR_INTERCEPT)
            return true;
    }
    return false;
}

static int compare_ids(const struct device *dev, const struct device *next)
{
    const struct vfu_desc *a = &dev->description.desc, *b = &next->description.desc;
    const uint64_t acaps = dev->description.caps, bcaps = next->description.caps;
    const struct fact facts[] = {
        { "vendor id", a->vendor, b->vendor },
        { "device id", a->device, b->device },
        { "subsystem vendor id", a->subsystem_vendor, b->subsystem_vendor },
        { "subsystem id", a->subsystem, b->subsystem },
        { "class code", a->class_code, b->class_code },
        { "revision", a->revision, b->revision },
        { "INTx", (acaps & VFU_CAP_INTX) != 0, (bcaps & VFU_CAP_INTX) != 0 },
        { "number of MSI vectors", a->msi_vectors, b->msi_vectors },
        { "number of MSI-X vectors", a->msix_vectors, b->msix_vectors },
        { "BAR of the MSI-X table", a->msix_vectors ? a->msix_bar : 0, b->msix_vectors ? b->msix_bar : 0 },
        { "MSI-X table offset", a->msix_vectors ? a->msix_table : 0, b->msix_vectors ? b->msix_table : 0 },
        { "MSI-X PBA offset", a->msix_vectors ? a->msix_pba : 0, b->msix_vectors ? b->msix_pba : 0 },
        { "size of config space", dev->config.size, next->description.region_size[VFU_REGION_CONFIG] },
        { "size of the ROM", dev->regions[VFU_REGION_ROM].size, next->description.region_size[VFU_REGION_ROM] },
        { "number of doorbells", dev->ioevent.nbells, b->ndoorbells },
        { "interception of accesses, beside doorbells", dev->ioevent.nbells && dev->intercepts,
          dev->ioevent.nbells && intercepts(next) },
        { "use of threads", (acaps & VFU_CAP_THREADS) != 0, (bcaps & VFU_CAP_THREADS) != 0 },
    };

    if (strcmp(instance_name(next), dev->name) != 0)
        return other(dev, "its name is %s now", instance_name(next));
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (facts[i].before != facts[i].after)
            return other(dev, "its %s was 0x%llx and is 0x%llx now", facts[i].name, (unsigned long long)facts[i].before,
                         (unsigned long long)facts[i].after);
    }
    return 0;
}

static const struct vfu_bar *bar_of(const struct device *dev, uint32_t index)
{
    for (uint32_t i = 0; i < dev->description.nbars; i++) {
        if (dev->description.bars[i].index == index)
            return &dev->description.bars[i];
    }
    return NULL;
}

static bool same_areas(const struct region *region, const struct vfu_bar *bar)
{
    size_t step = bar->area_size ? bar->area_size : sizeof(struct vfu_area);

    if (region->nareas != bar->nareas)
        return false;
    for (uint32_t i = 0; i < bar->nareas; i++) {
        struct vfu_area area = { 0 };

        memcpy(&area, (const char *)bar->areas + i * step, step < sizeof area ? step : sizeof area);
        if (area.offset != region->areas[i].offset || area.size != region->areas[i].size)
            return false;
    }
    return true;
}

static int compare_bars(const struct device *dev, const struct device *next)
{
    const uint32_t fixed = VFU_BAR_PREFETCH | VFU_BAR_RAM | VFU_BAR_MMAP;

    for (uint32_t i = 0; i <= VFU_REGION_BAR5; i++) {
        const struct region *region = &dev->regions[i];
        const struct vfu_bar *bar = bar_of(next, i);

        if (!bar && !region->size)
            continue;
        if (!bar || !region->size)
            return other(dev, "BAR %u is %s", i, bar ? "new" : "gone");
        if (bar->size != region->size)
            return other(dev, "BAR %u had 0x%llx bytes and has 0x%llx now", i, (unsigned long long)region->size,
                         (unsigned long long)bar->size);
        if (bar->type != region->type || (bar->flags & fixed) != (region->flags & fixed))
            return other(dev, "BAR %u is of another type now, or is memory, prefetchable or mappable as it was not", i);
        if (!same_areas(region, bar))
            return other(dev, "what a client may map of BAR %u is different", i);
    }
    return 0;
}

static int compare_doorbells(const struct device *dev, const struct device *next)
{
    const struct vfu_desc *desc = &next->description.desc;
    size_t step = desc->doorbell_size ? desc->doorbell_size : sizeof(struct vfu_doorbell);

    for (uint32_t i = 0; i < desc->ndoorbells; i++) {
        struct vfu_doorbell bell = { 0 };

        memcpy(&bell, (const char *)desc->doorbells + i * step, step < sizeof bell ? step : sizeof bell);
        if (memcmp(&bell, &dev->ioevent.bells[i], sizeof bell) != 0)
            return other(dev, "doorbell %u is different", i);
    }
    return 0;
}

static int compare_config(const struct device *dev, const struct device *next)
{
    const struct pci_config *a = &dev->config, *b = &next->config;

    for (uint32_t i = 0; i < a->size; i++) {
        if (a->initial[i] != b->initial[i] || a->writable[i] != b->writable[i] || a->w1c[i] != b->w1c[i])
            return other(dev, "config space is laid out differently, from offset 0x%x on (a capability?)", i);
    }
    return 0;
}

static int compare_needs(const struct device *dev, const struct device *next)
{
    uint64_t missing = next->plugin->table.needs | next->description.desc.needs;
    char names[128];

    missing &= (VFU_CAP_CLIENT_FDS | VFU_CAP_CLIENT_TWIN_SOCKET | VFU_CAP_CLIENT_WRITE_MULTI) & ~dev->client.caps;
    if (!missing || !dev->attached)
        return 0;
    plugin_cap_names(missing, names, sizeof names);
    return other(dev, "it needs %s now, which the client does not offer", names);
}

/* ---- making the new one ------------------------------------------------------------------------------------------ */

static int make_regions(struct device *dev, struct device *next)
{
    const struct description *d = &next->description;
    int error = 0;

    for (uint32_t i = 0; i < d->nbars && !error; i++) {
        const struct region *before = &dev->regions[d->bars[i].index];
        struct region *region = &next->regions[d->bars[i].index];

        error = region_init_again(region, dev->name, &d->bars[i], next->map, before);
        if (!error)
            error = instance_raw(next, region, dev);
        region->window = before->window;
        region->window_ctx = before->window_ctx;
        region->window_start = before->window_start;
        region->window_end = before->window_end;
    }
    if (!error && d->desc.rom_size)
        error = region_init_rom(&next->regions[VFU_REGION_ROM], dev->name, d->desc.rom, d->desc.rom_size);
    next->regions[VFU_REGION_ROM].self = dev;
    return error;
}

static int make_config(struct device *dev, struct device *next)
{
    struct vfu_desc allowed = next->description.desc;
    int error;

    allowed.caps = next->description.caps;
    error = pci_config_init(&next->config, dev->name, &allowed, next->description.bars, next->description.nbars,
                            next->description.region_size[VFU_REGION_ROM], next->map);
    return error ? error : compare_config(dev, next);
}

/* All that can be done while the old one runs: to load, to describe, to compare, to build the map. */
static int prepare(struct device *dev, struct device *next)
{
    int error = instance_load(next);

    if (!error)
        error = compare_ids(dev, next);
    if (!error)
        error = compare_bars(dev, next);
    if (!error)
        error = compare_doorbells(dev, next);
    if (!error)
        error = compare_needs(dev, next);
    if (!error)
        error = regmap_new(&next->map, dev->name, next->description.desc.regmap, next->description.region_size);
    if (!error)
        error = make_regions(dev, next);
    if (!error)
        error = make_config(dev, next);
    if (!error)
        error = device_watch_level(next, dev);
    return error;
}

static struct device *new_shell(struct device *dev)
{
    struct device *next = calloc(1, sizeof *next);

    if (!next)
        return NULL;
    for (uint32_t i = 0; i <= VFU_REGION_ROM; i++)
        next->regions[i].fd = -1;
    next->loop.epoll = next->loop.wake = -1;
    clock_init(&next->clock, &next->loop, false);
    next->name = dev->name;
    next->options = dev->options;
    next->limits = dev->limits;
    next->files = dev->files;
    next->private_code = true;
    return next;
}

static void free_retired(void *arg)
{
    instance_free_retired(arg);
}

/* The instance in the shell ends: the old one after a success, else the new one. */
static void end_shell(struct device *dev, struct device *next)
{
    if (next->host) {
        host_retire(next->host);
        display_disown(&dev->displays, next->host);
    }
    instance_destroy(next);
    instance_free(next);
    for (uint32_t i = 0; i <= VFU_REGION_BAR5; i++)
        region_forget(&next->regions[i]);
    region_fini(&next->regions[VFU_REGION_ROM]);
    pci_config_fini(&next->config);
    /* What the loop has queued may look at its host table once more: that goes behind it. */
    while (next->retired) {
        struct host *host = next->retired;

        next->retired = host->next_retired;
        instance_retire(dev, host);
    }
    (void)loop_post(&dev->loop, free_retired, dev);
    free(next);
}

/* ---- state ------------------------------------------------------------------------------------------------------- */

struct state_sink {
    struct vfu_sink sink; /* first */
    struct image *image;
};

static int32_t sink_write(struct vfu_sink *sink, const void *data, uint64_t len)
{
    struct image *image = ((struct state_sink *)sink)->image;

    return len > IMAGE_PLUGIN_MAX - image->size ? -ENOSPC : image_append(image, data, len);
}

struct state_source {
    struct vfu_source source; /* first */
    const uint8_t *at;
    uint64_t left;
};

static uint64_t source_left(struct vfu_source *source)
{
    return ((struct state_source *)source)->left;
}

static int32_t source_read(struct vfu_source *source, void *data, uint64_t len)
{
    struct state_source *s = (struct state_source *)source;

    if (len > s->left)
        return -EINVAL;
    if (len)
        memcpy(data, s->at, len);
    s->at += len;
    s->left -= len;
    return 0;
}

/* A plugin's state is the same for a reload as for a migration, which need not be allowed for that. */
static const struct vfu_migration_ops *state_ops(const struct device *dev)
{
    const struct vfu_plugin *table = &dev->plugin->table;
    const struct vfu_migration_ops *ops = VFU_HAS(table, extension) ? table->extension(VFU_EXT_MIGRATION) : NULL;

    return ops && VFU_HAS(ops, save) && VFU_HAS(ops, load) ? ops : NULL;
}

static int save_plugin(struct device *dev, struct legacy *legacy)
{
    const struct vfu_migration_ops *ops = state_ops(dev);
    struct state_sink sink = { { sink_write }, &legacy->state };
    int error = ops ? ops->save(dev->self, &sink.sink) : 0;

    if (!error)
        return 0;
    log_error(dev->name, "not reloaded: its state cannot be saved (%s)", strerror(error < 0 ? -error : EINVAL));
    return error < 0 ? error : -EINVAL;
}

static int load_plugin(struct device *dev, const struct legacy *legacy)
{
    const struct vfu_migration_ops *ops = state_ops(dev);
    struct state_source source = { { source_left, source_read }, legacy->state.data, legacy->state.size };
    int error = ops && source.left ? ops->load(dev->self, &source.source) : 0;

    if (!error)
        return 0;
    log_error(dev->name, "not reloaded: the new code does not take the state of the old (%s)",
              strerror(error < 0 ? -error : EINVAL));
    return error < 0 ? error : -EINVAL;
}

static int save_all(struct device *dev, struct legacy *legacy)
{
    legacy->ntimers = dev->timers.pending;
    legacy->timers = calloc(legacy->ntimers ? legacy->ntimers : 1, sizeof *legacy->timers);
    legacy->interrupts = malloc(irq_state_size(dev->irq) + 1u);
    if (!legacy->timers || !legacy->interrupts ||
        timers_save(&dev->timers, legacy->timers, legacy->ntimers) != legacy->ntimers) {
        log_error(dev->name, "not reloaded: out of memory");
        return -ENOMEM;
    }
    irq_state_save(dev->irq, legacy->interrupts);
    return legacy->keep ? save_plugin(dev, legacy) : 0;
}

static void free_legacy(struct legacy *legacy)
{
    image_free(&legacy->state);
    free(legacy->timers);
    free(legacy->interrupts);
}

/* The host's own state as the old instance has left it. Timers have their slots still, so that none can be missing. */
static void put_back(struct device *dev, const struct legacy *legacy)
{
    if (timers_load(&dev->timers, legacy->timers, legacy->ntimers))
        log_error(dev->name, "its pending events are lost");
    (void)irq_state_load(dev->irq, legacy->interrupts, irq_state_size(dev->irq));
}

/* ---- the change -------------------------------------------------------------------------------------------------- */

/* The new one has the device, which stands still; nothing of the old one is gone yet. */
static int start_new(struct device *dev, struct device *old, const struct legacy *legacy)
{
    const struct vfu_plugin *table = &dev->plugin->table;
    int error;

    if (!legacy->keep) {
        timers_clear(&dev->timers);
        irq_reset(dev->irq);
    }
    error = instance_create(dev);
    if (error)
        return error;
    if (!legacy->keep && (dev->description.caps & VFU_CAP_RESET))
        host_result(dev->host, RESULT_RESET, table->reset(dev->self, VFU_RESET_POWER), 0);
    if (dev->attached && VFU_HAS(table, attach))
        table->attach(dev->self, &dev->client);
    device_quiesce(dev);
    if (!legacy->keep)
        return 0;
    put_back(dev, legacy);
    regmap_carry(dev->map, old->map);
    return load_plugin(dev, legacy);
}

static void take_places(struct device *dev, struct device *next)
{
    const uint64_t client = __atomic_load_n(&dev->host->client_caps, __ATOMIC_RELAXED);

    next->host->dev = dev;
    next->host->cross.loop = &dev->loop;
    next->host->frozen = next->host->ready = true;
    host_client(next->host, client);
    next->params.who = dev->name;
    instance_swap(dev, next);
    inner_adopt(dev);
}

static int change(struct device *dev, struct device *next)
{
    struct legacy legacy = { .keep = dev->description.caps & next->description.caps & VFU_CAP_RELOAD };
    const uint32_t migration = dev->migration.state;
    int error;

    device_freeze(dev);
    error = save_all(dev, &legacy);
    if (!error) {
        take_places(dev, next);
        error = start_new(dev, next, &legacy);
        if (error) {
            instance_swap(dev, next);
            put_back(dev, &legacy);
        }
        dev->migration.state = migration;
    }
    if (!error) {
        /* The old one's DMA ends with it, and so do its windows. */
        host_retire(next->host);
        transfer_cancel(&dev->transfer, -ECANCELED);
        dma_window_end_all(dev->dma);
        if (!legacy.keep)
            ioevent_drain(&dev->ioevent);
        hold_reload(dev, next->map);
        watch_reload(dev);
        regmap_level(dev->map);
    }
    if (!error && !legacy.keep)
        log_warn(dev->name, "the device is reset: %s, so its state is not kept",
                 dev->options.deny & VFU_CAP_RELOAD ? "--deny has taken reload away"
                                                    : "the plugin does not declare VFU_CAP_RELOAD");
    /* The one that goes may use what it has while it goes; the other one does not run yet. */
    end_shell(dev, next);
    device_thaw(dev);
    free_legacy(&legacy);
    return error;
}

static int refuse(struct device *dev)
{
    const char *reason = dev->reloading   ? "a reload is under way"
                         : dev->resetting ? "a reset is under way"
                         : dev->hold.held ? "it is held at a break"
                         : dev->stopped   ? "it is stopped for migration"
                                          : NULL;

    if (!reason)
        return 0;
    log_error(dev->name, "not reloaded: %s", reason);
    return -EBUSY;
}

static int reload(struct device *dev)
{
    struct device *next;
    int error;

    next = new_shell(dev);
    if (!next) {
        log_error(dev->name, "not reloaded: out of memory");
        return -ENOMEM;
    }
    files_begin(dev->files);
    error = prepare(dev, next);
    if (error)
        end_shell(dev, next);
    else
        error = change(dev, next);
    files_end(dev->files, error == 0);
    return error;
}

int reload_now(struct device *dev, char *why, size_t len)
{
    const uint64_t start = loop_now();
    uint64_t took;
    int error;

    log_capture(why, len);
    error = refuse(dev);
    if (!error) {
        dev->reloading = true;
        error = reload(dev);
        dev->reloading = false;
        if (error)
            log_warn(dev->name, "the new code is not taken; the device goes on with the old");
    }
    log_capture(NULL, 0);
    if (error)
        return error;
    took = loop_now() - start;
    log_write(dev->name, took > NOTE_NS ? LOG_WARN : LOG_INFO, "reloaded in %.1f ms", (double)took / 1e6);
    return 0;
}
