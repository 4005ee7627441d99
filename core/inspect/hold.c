/* SPDX-License-Identifier: BSD-3-Clause */
/* hold - breaks at registers: see hold.h. The device's thread, but for hold_leave. */
#include "core/inspect/hold.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "core/device/device.h"
#include "core/regmap/regdump_private.h"
#include "core/regmap/regmap_private.h"

/* ---- breaks */

static void apply(struct device *dev, struct reg_cell *cell)
{
    uint32_t accesses = 0;

    for (uint32_t i = 0; i < dev->hold.nbreaks; i++) {
        if (dev->hold.breaks[i].cell == cell)
            accesses |= dev->hold.breaks[i].access;
    }
    regmap_halt(dev->map, cell, accesses);
}

static void take_away(struct device *dev, uint32_t i)
{
    struct hold *hold = &dev->hold;
    struct reg_cell *cell = hold->breaks[i].cell;

    hold->nbreaks--;
    memmove(&hold->breaks[i], &hold->breaks[i + 1], (hold->nbreaks - i) * sizeof hold->breaks[0]);
    apply(dev, cell);
}

static int clear(struct device *dev, const struct reg_cell *cell)
{
    int error = -ENOENT;

    for (uint32_t i = dev->hold.nbreaks; i > 0; i--) {
        if (dev->hold.breaks[i - 1].cell == cell) {
            take_away(dev, i - 1);
            error = 0;
        }
    }
    return error;
}

int hold_set(struct device *dev, const struct hold_break *wanted)
{
    struct hold *hold = &dev->hold;
    uint32_t i = 0;

    if (!wanted->access)
        return clear(dev, wanted->cell);
    while (i < hold->nbreaks && (hold->breaks[i].cell != wanted->cell || hold->breaks[i].owner != wanted->owner))
        i++;
    if (i == HOLD_BREAKS_MAX)
        return -ENOSPC;
    hold->nbreaks += i == hold->nbreaks;
    hold->breaks[i] = *wanted;
    apply(dev, wanted->cell);
    return 0;
}

void hold_forget(struct device *dev, uint64_t owner)
{
    for (uint32_t i = dev->hold.nbreaks; i > 0; i--) {
        if (dev->hold.breaks[i - 1].owner == owner)
            take_away(dev, i - 1);
    }
}

/* ---- held */

json_t *hold_view(const struct device *dev)
{
    const struct hold *hold = &dev->hold;

    return json_pack("{s:s, s:s, s:s, s:o, s:i, s:o}", "reg", hold->name, "access", hold->write ? "w" : "r", "region",
                     regdump_region(hold->region), "offset",
                     json_sprintf("0x%llx", (unsigned long long)hold->offset), "size", (int)hold->size, "value",
                     json_sprintf("0x%llx", (unsigned long long)hold->value));
}

static void tell(struct device *dev, const char *event, const char *key, const char *text)
{
    json_t *line = hold_view(dev);

    if (!line)
        return;
    json_object_set_new(line, "event", json_string(event));
    if (key)
        json_object_set_new(line, key, json_string(text));
    device_tell(dev, line);
}

static void warn(struct device *dev)
{
    char text[640];

    snprintf(text, sizeof text, "held at %s for %u s: its client waits, and gives up when its own time-out is over (QEMU's "
             "is 5 s unless x-msg-timeout says otherwise); 'continue' lets it go on", dev->hold.name,
             (unsigned)(HOLD_WARN_NS / 1000000000u));
    log_warn(dev->name, "%s", text);
    tell(dev, "warning", "text", text);
}

static uint64_t written(const struct device *dev, const struct reg_cell *cell, uint32_t size, const uint8_t *bytes)
{
    bool big = dev->map->regs[cell->reg].flags & VFU_REG_BIG_ENDIAN;
    uint64_t value = 0;

    for (uint32_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[big ? size - 1 - i : i] << (8 * i);
    return value;
}

static void note(struct device *dev, const struct reg_cell *cell, uint64_t offset, uint32_t size, const uint8_t *bytes)
{
    struct hold *hold = &dev->hold;

    regmap_name(dev->map, cell, hold->name, sizeof hold->name);
    hold->region = dev->map->regs[cell->reg].region;
    hold->offset = offset;
    hold->size = size;
    hold->write = bytes != NULL;
    hold->value = bytes ? written(dev, cell, size, bytes) : cell->value;
    hold->since = loop_now();
    hold->hits++;
    hold->go = false;
}

/* Milliseconds until something is due by itself; -1: nothing. */
static int wait_time(uint64_t now, uint64_t warning, uint64_t end)
{
    uint64_t next = warning < end ? warning : end;

    if (next == UINT64_MAX)
        return -1;
    if (next <= now)
        return 0;
    return next - now > UINT64_C(3600000000000) ? 3600000 : (int)((next - now + 999999u) / 1000000u);
}

/* Why it goes on. */
static const char *wait_held(struct device *dev, uint64_t timeout_ns)
{
    struct hold *hold = &dev->hold;
    uint64_t warning = dev->attached ? hold->since + HOLD_WARN_NS : UINT64_MAX;
    uint64_t end = timeout_ns ? hold->since + timeout_ns : UINT64_MAX, drained;

    for (;;) {
        struct pollfd fds[2] = { { .fd = dev->ask.wake, .events = POLLIN },
                                 { .fd = dev->client_fd, .events = POLLRDHUP } };
        uint64_t now = loop_now();

        if (__atomic_load_n(&hold->leave, __ATOMIC_ACQUIRE))
            return "the process ends";
        ask_run(&dev->ask);
        if (hold->go)
            return "asked";
        if (now >= end)
            return "timeout";
        if (now >= warning) {
            warn(dev);
            warning = UINT64_MAX;
        }
        (void)poll(fds, 2, wait_time(now, warning, end));
        if (fds[1].revents & (POLLRDHUP | POLLHUP | POLLERR))
            return "client gone";
        if (fds[0].revents)
            (void)!read(dev->ask.wake, &drained, sizeof drained);
    }
}

static void halted(void *ctx, struct reg_cell *cell, uint64_t offset, uint32_t size, const uint8_t *bytes)
{
    struct device *dev = ctx;
    struct hold *hold = &dev->hold;
    uint32_t access = bytes ? REGMAP_HALT_WRITE : REGMAP_HALT_READ, i = 0;
    uint64_t timeout_ns;
    const char *why;

    while (i < hold->nbreaks && (hold->breaks[i].cell != cell || !(hold->breaks[i].access & access)))
        i++;
    if (i == hold->nbreaks || hold->held || __atomic_load_n(&hold->leave, __ATOMIC_ACQUIRE))
        return;
    timeout_ns = hold->breaks[i].timeout_ns;
    if (hold->breaks[i].once)
        take_away(dev, i);
    note(dev, cell, offset, size, bytes);
    hold->held = true;
    ask_hold(&dev->ask, true);
    log_info(dev->name, "held at a %s of %s", bytes ? "write" : "read", hold->name);
    tell(dev, "break", NULL, NULL);
    why = wait_held(dev, timeout_ns);
    tell(dev, "continue", "why", why);
    log_info(dev->name, "goes on at %s (%s)", hold->name, why);
    ask_hold(&dev->ask, false);
    hold->held = false;
}

void hold_init(struct device *dev)
{
    regmap_on_halt(dev->map, halted, dev);
}

void hold_reload(struct device *dev, const struct regmap *former)
{
    struct hold *hold = &dev->hold;
    uint32_t kept = 0;

    hold_init(dev);
    for (uint32_t i = 0; i < hold->nbreaks; i++) {
        const struct vfu_field *field;
        char name[REGMAP_NAME_LEN];
        struct reg_cell *cell;

        regmap_name(former, hold->breaks[i].cell, name, sizeof name);
        cell = regmap_by_name(dev->map, name, &field);
        if (!cell) {
            log_warn(dev->name, "the break at register %s ends: it is gone", name);
            continue;
        }
        hold->breaks[kept] = hold->breaks[i];
        hold->breaks[kept++].cell = cell;
    }
    hold->nbreaks = kept;
    for (uint32_t i = 0; i < kept; i++)
        apply(dev, hold->breaks[i].cell);
}

void hold_continue(struct hold *hold)
{
    hold->go = true;
}

void hold_leave(struct device *dev)
{
    __atomic_store_n(&dev->hold.leave, true, __ATOMIC_RELEASE);
    if (dev->ask.loop)
        ask_wake(&dev->ask);
}
