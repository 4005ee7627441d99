/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watch - what the driver's accesses are told to: coverage counters, the trace of accesses by name, the detector of
 * polling. What met nothing is always noted. Regions and config space call in here.
 *
 * While something watches, regions hide their registers from the inline ways (struct region.registers), so that every
 * access comes by; while nothing does, those ways know nothing of it. Runs on the device's thread.
 */
#ifndef CORE_WATCH_H
#define CORE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/regmap/regcell.h"
#include "core/inspect/unmodelled.h"

struct coverage;
struct device;
struct pci_config;
struct regmap;
struct spin;
struct trace;
struct vfu_doorbell;

struct watch;

/* Bytes that a part of the device other than a register answers for. */
enum watch_kind { WATCH_MEMORY, WATCH_RAW, WATCH_WINDOW };

/* What regions and config space call; a table, since they stand below those who listen. */
struct watch_calls {
    /* The `size` bytes at `offset`, which lie in the cell, as part of an access of `width` bytes. Before a write takes
     * effect, after a read. */
    void (*reg)(struct watch *watch, const struct reg_cell *cell, uint64_t offset, uint32_t size, uint32_t width,
                const uint8_t *bytes, bool write);
    void (*other)(struct watch *watch, enum watch_kind kind, uint32_t region, uint64_t offset, uint32_t size,
                  const uint8_t *bytes, bool write);
    /* Bytes of config space without a register over them, of an access of `width` bytes. Called always. */
    void (*config)(struct watch *watch, const struct pci_config *config, uint32_t offset, uint32_t size, uint32_t width,
                   const uint8_t *bytes, bool write);
    /* Bytes that nothing answers for; `error`: how the access is answered. Called always. */
    void (*unmodelled)(struct watch *watch, uint32_t region, uint64_t offset, uint32_t size, enum unmodelled_why why,
                       uint32_t sizes, const uint8_t *bytes, bool write, int error);
};

struct watch {
    const struct watch_calls *calls;
    const char *who;
    struct regmap *map;
    struct unmodelled unmodelled;
    /* NULL: off */
    struct coverage *coverage;
    struct trace *trace;
    struct spin *spin;
};

/* What is wanted from the start: the command line. */
struct watch_options {
    bool coverage, trace;
    uint64_t spin; /* reads in a second, 0: off */
};

/* When the device's parts are made: what met nothing is noted from now on. */
void watch_init(struct device *dev);
/* When its plugin is bound. 0 or -ENOMEM (logged). */
int watch_start(struct device *dev, const struct watch_options *options);
/* Registers hide or show themselves again, after coverage has been switched. */
void watch_switch(struct device *dev);
/* For a reload: the regions and the map are others. What has been counted goes on by name. The former map is there yet. */
void watch_reload(struct device *dev);
/* The client is gone: lines that wait are written. */
void watch_detach(struct device *dev);
/* The device goes. */
void watch_fini(struct device *dev);

/* An access outside of what the device has, which the protocol refuses. */
void watch_refused(struct device *dev, uint32_t region, uint64_t offset, uint64_t size, const uint8_t *bytes, bool write);
/* What else is worth a line of the trace, from this level on. */
void watch_event(struct watch *watch, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A write that came as an event on a descriptor. */
void watch_rung(void *ctx, const struct vfu_doorbell *bell, uint64_t value);

#endif
