/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device - one PCI function: its regions, config space, interrupts, timers, DMA, reset, and the plugin behind them.
 *
 * Made and unmade on main's thread while its loop does not run; everything else happens on the device's own thread.
 */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/inspect/advance.h"
#include "core/inspect/ask.h"
#include "core/base/clock.h"
#include "core/plugin/describe.h"
#include "core/pci/dirty.h"
#include "core/outside/display.h"
#include "core/pci/dma.h"
#include "core/base/files.h"
#include "core/plugin/guard.h"
#include "core/inspect/hold.h"
#include "core/plugin/host.h"
#include "core/plugin/inner.h"
#include "core/pci/ioevent.h"
#include "core/pci/irq.h"
#include "core/base/log.h"
#include "core/base/loop.h"
#include "core/device/migration.h"
#include "core/plugin/params.h"
#include "core/pci/pci_config.h"
#include "core/plugin/plugin.h"
#include "core/pci/region.h"
#include "core/regmap/regmap.h"
#include "core/outside/report.h"
#include "core/outside/stream.h"
#include "core/base/timers.h"
#include "core/wire/tracefile.h"
#include "core/pci/transfer.h"
#include "core/inspect/watch.h"

#define DEVICE_REGIONS 9u /* VFIO_PCI_NUM_REGIONS */

struct device_options {
    const char *spec; /* --plugin */
    char **items;     /* its KEY=VALUEs */
    uint32_t nitems;
    uint64_t deny; /* VFU_CAP_* that the operator does not allow */
    bool deny_plugins; /* nor to open other plugins */
    struct vfu_limits limits;
    uint32_t spin_us;
    uint32_t max_dma_maps;
    struct watch_options watch;
    bool virtual_time;
    bool reload; /* the plugin's file may change while it is loaded */
    bool lenient; /* without required parameters it is a `partial` device, to be looked at and freed, not an error */
};

struct device {
    char *name, *doc; /* doc: NULL if it has none */
    struct plugin *plugin;
    void *self;
    bool created;
    bool partial; /* only its plugin and its parameters are known: see device_options.lenient */
    struct host *host;
    struct inner *inners[INNER_MAX]; /* plugins that it wraps */
    uint32_t ninners;
    struct params params;
    struct description description;
    struct device_options options;
    struct files *files;  /* what the plugin is made of */
    struct host *retired; /* of former instances: the loop may have work with them still */
    bool private_code;    /* plugins are loaded from copies of their files */
    bool reloading;
    bool reload_queued;   /* atomic: --reload has asked for one that has not begun */
    struct vfu_limits limits;
    struct guard guard;
    struct regmap *map;
    struct region regions[VFU_REGION_ROM + 1];
    struct pci_config config;
    struct irq *irq;
    struct ioevent ioevent;
    struct dma *dma;
    struct loop loop;
    struct clock clock;
    struct timers timers;
    struct advance advance;
    struct ask ask;
    struct hold hold;
    struct transfer transfer;
    struct dirty *dirty; /* pages that the device has written */
    struct migration migration;
    struct watch watch; /* what hears of accesses */
    struct vfu_client client; /* zero while none is attached */
    const struct vfu_config_ops *config_ops; /* the plugin's, or NULL */
    uint32_t max_dma_maps;
    uint32_t mapped; /* a bit for each region whose memory the client has been given */
    bool intercepts; /* some BAR: no doorbell has an event fd */
    bool own_level;  /* the plugin does with the level register's bits what it likes */
    bool attached;
    bool resetting;
    bool holding; /* quiesced only while mapped memory goes */
    bool stopped; /* for migration: see device_freeze */
    bool logging_pages; /* `dirty` was started by DIRTY_PAGES */
    uint32_t power;
    struct reports report;
    struct displays displays;
    struct streams streams;
    struct log_limit limit; /* of guest errors */
    uint64_t guest_errors;
    uint64_t refusals; /* requests answered with an error */
    int client_fd;     /* of the session, -1: none */
    struct tracefile_tap tap; /* of its messages; set before its thread starts */
    /* Who hears of events: see device_tell. Set before the device's thread starts. */
    void (*tell)(void *ctx, struct json_t *event);
    void *tell_ctx;
};

/* 0; -EINVAL: a parameter does not fit (explained); another -errno: the plugin could not be loaded (explained). */
int device_new(struct device **out, const struct device_options *options);
void device_free(struct device *dev);

/* NULL if the device has no such region; config space is not a struct region. */
struct region *device_region(struct device *dev, uint32_t index);
uint64_t device_region_size(const struct device *dev, uint32_t index);

/* Software's access. 0; -EINVAL out of bounds or no such region; -EBUSY a write while stopped; the model's error. */
int device_read(struct device *dev, uint32_t index, uint64_t offset, uint32_t size, uint8_t *bytes);
int device_write(struct device *dev, uint32_t index, uint64_t offset, uint32_t size, const uint8_t *bytes);
/* The same, of a BAR and behind what the plugin intercepts, for vfu_host.bar_access. */
int device_access(struct device *dev, struct vfu_access *access);
/* The same, for plain registers and memory of a BAR or the ROM: inline, true if it was that. */
static inline bool device_read_plain(const struct device *dev, uint32_t bar, uint64_t offset, uint32_t size, uint8_t *bytes)
{
    return region_read_plain(&dev->regions[bar], offset, size, bytes);
}
/* The register that takes all of such a write, which nothing else hears of; or NULL. */
static inline struct reg_cell *device_write_cell(const struct device *dev, uint32_t bar, uint64_t offset, uint32_t size)
{
    return dev->stopped || ioevent_near(&dev->ioevent, bar, offset) ? NULL
                                                                    : region_cell(&dev->regions[bar], offset, size);
}

static inline bool device_write_plain(const struct device *dev, uint32_t bar, uint64_t offset, uint32_t size,
                                      const uint8_t *bytes)
{
    return !dev->stopped && !ioevent_near(&dev->ioevent, bar, offset) &&
           region_write_plain(&dev->regions[bar], offset, size, bytes);
}

/* Real or virtual time, from now on: what is pending keeps the time it had left. -ENOMEM: it stays as it was. */
int device_clock(struct device *dev, bool virtual);
/* For subscribers of the control socket: an object with "event" and more, which is taken over. NULL will do. */
void device_tell(struct device *dev, struct json_t *event);

/* VFU_RESET_*. -ENOTSUP for a bus reset of a device that declares no VFU_CAP_RESET, but in a migration, where it
 * leads back to RUNNING from every state. */
int device_reset(struct device *dev, uint32_t kind);

/*
 * For migration: holds the device where it is, and lets it go on. While it is stopped nothing of its state changes by
 * itself and nothing leaves it: timers stand still, deferred work, fd watches and doorbells wait, DMA in flight keeps
 * the replies that come and goes no further, interrupts are kept pending, and the plugin is quiesced. Reads are
 * answered. Writes are answered with -EBUSY, but for what a client sets up before the other side runs: config space
 * where no register of the plugin is, and the MSI-X table.
 */
void device_freeze(struct device *dev);
void device_thaw(struct device *dev);
/* For a reload: the plugin is told to stand still, and its threads' calls end; device_thaw is the way back. */
void device_quiesce(struct device *dev);
/* The level of the interrupts of `dev` comes from the registers of `from`. -EINVAL: see regmap_watch_level. */
int device_watch_level(struct device *from, struct device *dev);
/* Everything but memory as a reset leaves it, in a device that is stopped and stays so. */
void device_wipe(struct device *dev);

/* The dirty log of DMA writes; page_size and ranges as in dirty_start. device_log_stop may be called at any time. */
int device_log_start(struct device *dev, uint64_t page_size, const struct dirty_range *ranges, uint32_t n);
void device_log_stop(struct device *dev);

/* A client has negotiated: message DMA goes to `out`. -ENOTSUP if it lacks what the plugin needs of it (logged). */
int device_attach(struct device *dev, const struct vfu_client *client, struct transport *out, void (*kick)(void *ctx),
                  void *ctx);
/* It is gone: its memory, eventfds and DMA in flight go with it, the device's state stays. */
void device_detach(struct device *dev);

#endif
