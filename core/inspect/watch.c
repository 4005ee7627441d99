/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watch - hands the driver's accesses to those who want to know: see watch.h. Runs on the device's thread; made and
 * unmade on main's.
 */
#include "core/inspect/watch.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/inspect/coverage.h"
#include "core/device/device.h"
#include "core/inspect/spin.h"
#include "core/inspect/trace.h"

/* ---- accesses ----------------------------------------------------------------------------------------------- */

static void on_register(struct watch *watch, const struct reg_cell *cell, uint64_t offset, uint32_t size, uint32_t width,
                        const uint8_t *bytes, bool write)
{
    if (coverage_on(watch->coverage))
        coverage_access(watch->coverage, cell, offset, size, width, bytes, write);
    if (watch->trace)
        trace_register(watch->trace, cell, offset, size, bytes, write);
    if (watch->spin && !write) {
        uint32_t n;
        uint64_t lanes, bits = trace_bits(&regmap_regs(watch->map, &n)[cell->reg], cell, offset, size, bytes, &lanes);

        spin_read(watch->spin, cell, bits, loop_now());
    }
}

static void on_other(struct watch *watch, enum watch_kind kind, uint32_t region, uint64_t offset, uint32_t size,
                     const uint8_t *bytes, bool write)
{
    if (!watch->trace)
        return;
    if (kind == WATCH_MEMORY)
        trace_range(watch->trace, "memory", region, offset, size, write);
    else if (kind == WATCH_WINDOW)
        trace_bytes(watch->trace, "MSI-X table", region, offset, size, bytes, write, 0, NULL);
    else
        trace_bytes(watch->trace, NULL, region, offset, size, bytes, write, bytes ? 0 : -EIO, "raw handler");
}

static void on_unmodelled(struct watch *watch, uint32_t region, uint64_t offset, uint32_t size, enum unmodelled_why why,
                          uint32_t sizes, const uint8_t *bytes, bool write, int error)
{
    struct unmodelled_entry entry = { .why = (uint8_t)why, .sizes = (uint8_t)sizes };
    char text[80];

    unmodelled_note(&watch->unmodelled, region, offset, size, why, sizes, write,
                    bytes ? trace_value(bytes, size, false) : 0);
    if (!watch->trace)
        return;
    unmodelled_why(&entry, text, sizeof text);
    trace_bytes(watch->trace, NULL, region, offset, size, bytes, write, error, text);
}

/* The header and the capabilities; in extended space, the place where a list of capabilities would begin. */
static bool modelled(const struct pci_config *config, uint32_t offset, uint32_t size)
{
    return offset < config->caps_end ||
           (offset >= PCI_CFG_SPACE_SIZE && offset + size <= PCI_CFG_SPACE_SIZE + 4);
}

static void on_config(struct watch *watch, const struct pci_config *config, uint32_t offset, uint32_t size, uint32_t width,
                      const uint8_t *bytes, bool write)
{
    /* More than 8 bytes at once is no driver, but the client itself that has a look at all of it. */
    if (width > 8) {
        if (watch->trace)
            trace_range(watch->trace, "config space", VFU_REGION_CONFIG, offset, size, write);
    } else if (!modelled(config, offset, size)) {
        on_unmodelled(watch, VFU_REGION_CONFIG, offset, size, UNMODELLED_NO_CAP, 0, bytes, write, 0);
    } else if (watch->trace) {
        trace_config(watch->trace, config, offset, size, bytes, write);
    }
}

void watch_refused(struct device *dev, uint32_t region, uint64_t offset, uint64_t size, const uint8_t *bytes, bool write)
{
    enum unmodelled_why why = device_region_size(dev, region) ? UNMODELLED_BEYOND : UNMODELLED_NO_REGION;

    if (size && size <= 8)
        on_unmodelled(&dev->watch, region, offset, (uint32_t)size, why, 0, bytes, write, -EINVAL);
}

void watch_rung(void *ctx, const struct vfu_doorbell *bell, uint64_t value)
{
    struct device *dev = ctx;
    uint64_t span, little = htole64(value);
    const struct reg_cell *cell;
    uint32_t size;

    if (bell->bar > VFU_REGION_BAR5)
        return;
    cell = regmap_find(dev->map, bell->bar, bell->offset, bell->offset + 8, &span);
    size = bell->size && bell->size < span ? bell->size : (uint32_t)span;
    if (cell)
        on_register(&dev->watch, cell, bell->offset, size, size, (const uint8_t *)&little, true);
    /* No lock decides on an event. */
    if (cell && dev->watch.trace)
        trace_judged(dev->watch.trace, cell, false);
}

static void judged(void *ctx, const struct reg_cell *cell, bool locked)
{
    const struct watch *watch = ctx;

    if (watch->trace)
        trace_judged(watch->trace, cell, locked);
}

/* ---- on and off --------------------------------------------------------------------------------------------- */

static const struct watch_calls calls = {
    .reg = on_register,
    .other = on_other,
    .config = on_config,
    .unmodelled = on_unmodelled,
};

void watch_init(struct device *dev)
{
    dev->watch.calls = &calls;
    dev->watch.who = dev->name;
    dev->watch.map = dev->map;
    for (uint32_t i = 0; i <= VFU_REGION_ROM; i++)
        dev->regions[i].watch = &dev->watch;
    dev->config.watch = &dev->watch;
}

static void interrupt_sent(void *ctx, const char *kind, uint32_t vector)
{
    struct watch *watch = ctx;

    if (vector == VFU_NONE)
        trace_line(watch->trace, "interrupt %s", kind);
    else
        trace_line(watch->trace, "interrupt %s %u", kind, vector);
}

void watch_event(struct watch *watch, enum log_level level, const char *format, ...)
{
    char text[160];
    va_list args;

    if (!watch->trace || log_threshold < (int)level)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    trace_line(watch->trace, "%s", text);
}

void watch_switch(struct device *dev)
{
    const struct watch *watch = &dev->watch;
    bool on = coverage_on(watch->coverage) || watch->trace || watch->spin;

    for (uint32_t i = 0; i <= VFU_REGION_ROM; i++)
        region_watch(&dev->regions[i], on);
    dev->ioevent.rung = on ? watch_rung : NULL;
    dev->ioevent.rung_ctx = dev;
}

static int start_lines(struct device *dev, const struct watch_options *options)
{
    struct watch *watch = &dev->watch;
    uint32_t bar = dev->description.nbars == 1 ? dev->description.bars[0].index : VFU_NONE;
    int error = 0;

    if (options->trace)
        error = trace_new(&watch->trace, dev->name, dev->map, bar, &dev->loop, NULL, NULL);
    if (watch->trace)
        irq_on_send(dev->irq, interrupt_sent, watch);
    if (watch->trace && watch->map)
        regmap_on_judged(watch->map, judged, watch);
    if (options->spin && !error)
        error = spin_new(&watch->spin, dev->name, dev->map, &dev->loop, options->spin, NULL, NULL);
    return error;
}

int watch_start(struct device *dev, const struct watch_options *options)
{
    struct watch *watch = &dev->watch;
    int error = 0;

    if (options->coverage) {
        error = coverage_new(&watch->coverage, dev->map);
        if (!error)
            coverage_switch(watch->coverage, true);
    }
    if (!error)
        error = start_lines(dev, options);
    if (error)
        log_error(dev->name, "no memory to watch accesses with");
    watch_switch(dev);
    return error;
}

static void stop_lines(struct device *dev)
{
    if (dev->irq)
        irq_on_send(dev->irq, NULL, NULL);
    if (dev->watch.map)
        regmap_on_judged(dev->watch.map, NULL, NULL);
    trace_free(dev->watch.trace);
    spin_free(dev->watch.spin);
    dev->watch.trace = NULL;
    dev->watch.spin = NULL;
}

void watch_reload(struct device *dev)
{
    struct watch *watch = &dev->watch;
    int error = 0;

    watch_init(dev);
    if (watch->trace)
        trace_forget(watch->trace);
    stop_lines(dev);
    if (watch->coverage) {
        error = coverage_carry(&watch->coverage, dev->map);
        if (error) {
            coverage_free(watch->coverage);
            watch->coverage = NULL;
        }
    }
    if (start_lines(dev, &dev->options.watch) || error)
        log_error(dev->name, "no memory to watch accesses with: they are watched no more");
    watch_switch(dev);
}

void watch_detach(struct device *dev)
{
    if (dev->watch.trace)
        trace_forget(dev->watch.trace);
    if (dev->watch.spin)
        spin_tell(dev->watch.spin, UINT64_MAX);
    unmodelled_tell(&dev->watch.unmodelled, dev->name, LOG_INFO);
}

void watch_fini(struct device *dev)
{
    stop_lines(dev);
    coverage_free(dev->watch.coverage);
    dev->watch.coverage = NULL;
    unmodelled_tell(&dev->watch.unmodelled, dev->name, LOG_WARN);
}
