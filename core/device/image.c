/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * image - the state of a device as bytes: see image.h. This file saves; imageload.c loads. Device's thread.
 */
#define _GNU_SOURCE
#include "core/device/image.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/device/device.h"
#include "core/device/image_private.h"

#define PAGE UINT64_C(4096)
#define PIECE_MAX (UINT64_C(1) << 20)

/* ---- bytes ---- */

int image_append(struct image *image, const void *data, uint64_t size)
{
    if (size > image->room - image->size) {
        uint64_t room = image->room ? image->room : 4096;
        uint8_t *grown;

        if (size > UINT64_MAX / 4 - image->size)
            return -ENOMEM;
        while (room - image->size < size)
            room *= 2;
        grown = realloc(image->data, room);
        if (!grown)
            return -ENOMEM;
        image->data = grown;
        image->room = room;
    }
    if (size)
        memcpy(image->data + image->size, data, size);
    image->size += size;
    return 0;
}

void image_free(struct image *image)
{
    free(image->data);
    *image = (struct image){ 0 };
}

/* What saving goes on with: after an error nothing more is written. */
struct writer {
    struct image *image;
    int error;
};

static void put(struct writer *w, const void *data, uint64_t size)
{
    if (!w->error)
        w->error = image_append(w->image, data, size);
}

static void put_number(struct writer *w, uint64_t value, uint32_t size)
{
    uint64_t le = htole64(value);

    put(w, &le, size);
}

static void put_text(struct writer *w, const char *text)
{
    size_t n = strlen(text);

    put_number(w, n, 2);
    put(w, text, n);
}

/* A section's length is known when it is complete. */
static uint64_t begin(struct writer *w, uint32_t tag)
{
    put_number(w, tag, 4);
    put_number(w, 0, 4);
    put_number(w, 0, 8);
    return w->image->size;
}

static void finish(struct writer *w, uint64_t start)
{
    uint64_t size = htole64(w->image->size - start);

    if (!w->error)
        memcpy(w->image->data + start - sizeof size, &size, sizeof size);
}

/*
 * Every step can be undone, so that two inputs of one length which differ in one word never have the same sum; the
 * rest is as good as chance. It finds damage, not forgery.
 */
uint64_t image_sum(const uint8_t *data, uint64_t size)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325) ^ size;

    while (size) {
        uint64_t word = 0, n = size < sizeof word ? size : sizeof word;

        memcpy(&word, data, n);
        sum = (sum ^ le64toh(word)) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
        data += n;
        size -= n;
    }
    return sum;
}

/* ---- who it is ---- */

static uint64_t mix(uint64_t digest, const void *data, size_t size)
{
    return (digest ^ image_sum(data, size)) * UINT64_C(0xff51afd7ed558ccd);
}

static uint64_t mix_number(uint64_t digest, uint64_t value)
{
    uint64_t le = htole64(value);

    return mix(digest, &le, sizeof le);
}

/* Names, places and widths: what makes a saved value mean the same here. */
static uint64_t map_digest(const struct regmap *map)
{
    uint32_t nregs, ngroups;
    const struct vfu_reg *regs = regmap_regs(map, &nregs);
    const struct vfu_group *groups = regmap_groups(map, &ngroups);
    uint64_t digest = 0;

    for (uint32_t i = 0; i < ngroups; i++) {
        digest = mix(digest, groups[i].name, strlen(groups[i].name));
        digest = mix_number(digest, groups[i].region);
        digest = mix_number(digest, groups[i].count);
        digest = mix_number(digest, groups[i].offset);
        digest = mix_number(digest, groups[i].stride);
    }
    for (uint32_t i = 0; i < nregs; i++) {
        digest = mix(digest, regs[i].name, strlen(regs[i].name));
        digest = mix_number(digest, regs[i].region);
        digest = mix_number(digest, regs[i].group);
        digest = mix_number(digest, regs[i].offset);
        digest = mix_number(digest, regs[i].size);
        digest = mix_number(digest, regs[i].count);
        digest = mix_number(digest, regs[i].stride);
        digest = mix_number(digest, regs[i].flags & VFU_REG_BIG_ENDIAN);
    }
    return digest;
}

uint32_t image_identity(const struct device *dev, struct image_fact facts[IMAGE_FACTS])
{
    static const char *const sizes[] = { "BAR 0 size", "BAR 1 size", "BAR 2 size", "BAR 3 size",
                                         "BAR 4 size", "BAR 5 size", "ROM size" };
    static const char *const flags[] = { "BAR 0 flags", "BAR 1 flags", "BAR 2 flags", "BAR 3 flags",
                                         "BAR 4 flags", "BAR 5 flags", "ROM flags" };
    static const char *const types[] = { "BAR 0 type", "BAR 1 type", "BAR 2 type", "BAR 3 type",
                                         "BAR 4 type", "BAR 5 type", "ROM type" };
    const struct vfu_desc *desc = &dev->description.desc;
    const struct image_fact fixed[] = {
        { "vendor id", desc->vendor },
        { "device id", desc->device },
        { "subsystem vendor id", desc->subsystem_vendor },
        { "subsystem id", desc->subsystem },
        { "class code", desc->class_code },
        { "revision", desc->revision },
        { "config space size", dev->config.size },
        { "INTx", (dev->description.caps & VFU_CAP_INTX) != 0 },
        { "number of MSI vectors", desc->msi_vectors },
        { "number of MSI-X vectors", desc->msix_vectors },
        { "MSI-X table offset", desc->msix_vectors ? desc->msix_table : 0 },
        { "register map (digest)", map_digest(dev->map) },
    };
    uint32_t n = sizeof fixed / sizeof fixed[0];

    _Static_assert(sizeof fixed / sizeof fixed[0] + 3 * (VFU_REGION_ROM + 1) == IMAGE_FACTS, "IMAGE_FACTS");
    memcpy(facts, fixed, sizeof fixed);
    for (uint32_t i = 0; i <= VFU_REGION_ROM; i++) {
        const struct region *region = &dev->regions[i];

        facts[n++] = (struct image_fact){ sizes[i], region->size };
        facts[n++] = (struct image_fact){ types[i], region->type };
        /* Whether a client maps it is a matter of the operator's, not of the state. */
        facts[n++] = (struct image_fact){ flags[i], region->flags & (VFU_BAR_RAM | VFU_BAR_BIG_ENDIAN | VFU_BAR_RAW) };
    }
    return n;
}

static void save_identity(const struct device *dev, struct writer *w)
{
    struct image_fact facts[IMAGE_FACTS];
    uint32_t n = image_identity(dev, facts);
    uint64_t start = begin(w, IMAGE_IDENTITY);

    put_text(w, dev->name);
    put_number(w, n, 4);
    for (uint32_t i = 0; i < n; i++)
        put_number(w, facts[i].value, 8);
    finish(w, start);
}

/* ---- the host's part ---- */

static int save_register(void *ctx, const char *name, uint32_t size, uint64_t value)
{
    struct writer *w = ctx;

    put_text(w, name);
    put_number(w, size, 1);
    put_number(w, value, 8);
    return w->error;
}

static void save_registers(const struct device *dev, struct writer *w)
{
    uint64_t start = begin(w, IMAGE_REGISTERS);

    regmap_each(dev->map, save_register, w);
    finish(w, start);
}

static bool all_zero(const uint8_t *page, uint64_t size)
{
    return page[0] == 0 && memcmp(page, page + 1, size - 1) == 0;
}

/* The next piece of the memory, from *at on, in which something is not zero: its length, 0 if there is none. */
static uint64_t next_piece(const struct region *region, uint64_t *at)
{
    uint64_t end;

    while (*at < region->size) {
        uint64_t page = region->size - *at < PAGE ? region->size - *at : PAGE;

        /* A hole in the file is not looked into: that would fill it with pages. */
        if (region->fd >= 0 && *at % PIECE_MAX == 0) {
            off_t data = lseek(region->fd, (off_t)*at, SEEK_DATA);

            if (data < 0 && errno == ENXIO)
                return 0;
            if (data > (off_t)*at) {
                *at = (uint64_t)data / PAGE * PAGE;
                continue;
            }
        }
        if (!all_zero(region->memory + *at, page))
            break;
        *at += page;
    }
    if (*at >= region->size)
        return 0;
    end = *at;
    do
        end += region->size - end < PAGE ? region->size - end : PAGE;
    while (end < region->size && end - *at < PIECE_MAX &&
           !all_zero(region->memory + end, region->size - end < PAGE ? region->size - end : PAGE));
    return end - *at;
}

static void save_memory(const struct device *dev, struct writer *w)
{
    for (uint32_t i = 0; i <= VFU_REGION_BAR5 && !w->error; i++) {
        const struct region *region = &dev->regions[i];
        uint64_t at = 0, piece;

        if (!region->memory)
            continue;
        while (!w->error && (piece = next_piece(region, &at))) {
            uint64_t start = begin(w, IMAGE_MEMORY);

            put_number(w, i, 4);
            put_number(w, 0, 4);
            put_number(w, at, 8);
            put(w, region->memory + at, piece);
            finish(w, start);
            at += piece;
        }
    }
}

static void save_interrupts(const struct device *dev, struct writer *w)
{
    uint32_t size = irq_state_size(dev->irq);
    uint8_t *state = malloc(size ? size : 1);
    uint64_t start = begin(w, IMAGE_INTERRUPTS);

    if (!state) {
        w->error = -ENOMEM;
        return;
    }
    irq_state_save(dev->irq, state);
    put(w, state, size);
    finish(w, start);
    free(state);
}

static void save_timers(const struct device *dev, struct writer *w)
{
    uint32_t n = dev->timers.pending;
    struct timer_image *images = calloc(n ? n : 1, sizeof *images);
    uint64_t start = begin(w, IMAGE_TIMERS);

    if (!images || timers_save(&dev->timers, images, n) != n)
        w->error = -ENOMEM;
    for (uint32_t i = 0; i < n && !w->error; i++) {
        put_number(w, (uint64_t)images[i].id, 8);
        put_number(w, images[i].left, 8);
        put_number(w, images[i].period, 8);
        put_number(w, images[i].arg, 8);
        put_number(w, images[i].event, 4);
        put_number(w, 0, 4);
    }
    finish(w, start);
    free(images);
}

/* ---- the plugin's ---- */

struct plugin_sink {
    struct vfu_sink sink; /* first */
    struct image *image;
    uint64_t left;
};

static int32_t sink_write(struct vfu_sink *sink, const void *data, uint64_t len)
{
    struct plugin_sink *s = (struct plugin_sink *)sink;

    if (len > s->left)
        return -ENOSPC;
    s->left -= len;
    return image_append(s->image, data, len);
}

static void save_plugin(struct device *dev, struct writer *w)
{
    struct plugin_sink sink = { .sink.write = sink_write, .image = w->image, .left = IMAGE_PLUGIN_MAX };
    uint64_t start = begin(w, IMAGE_PLUGIN);

    if (!w->error && dev->migration.ops) {
        w->error = dev->migration.ops->save(dev->self, &sink.sink);
        if (w->error > 0)
            w->error = -EINVAL;
        if (w->error)
            log_limited(&dev->migration.limited, dev->name, LOG_WARN, "its state cannot be saved: the plugin says %s",
                        strerror(-w->error));
    }
    finish(w, start);
}

int image_save(struct device *dev, struct image *image)
{
    struct writer w = { .image = image };
    uint64_t first = image->size, start, size;

    put_number(&w, IMAGE_MAGIC, 8);
    put_number(&w, IMAGE_VERSION, 4);
    put_number(&w, 0, 4);
    put_number(&w, 0, 8);
    save_identity(dev, &w);
    start = begin(&w, IMAGE_CONFIG);
    put(&w, dev->config.bytes, dev->config.size);
    finish(&w, start);
    save_registers(dev, &w);
    save_memory(dev, &w);
    save_interrupts(dev, &w);
    save_timers(dev, &w);
    save_plugin(dev, &w);
    start = begin(&w, IMAGE_END);
    put_number(&w, 0, 8);
    finish(&w, start);
    if (w.error) {
        if (w.error == -ENOMEM)
            log_limited(&dev->migration.limited, dev->name, LOG_WARN,
                        "its state cannot be saved: out of memory after %llu bytes",
                        (unsigned long long)(image->size - first));
        return w.error;
    }
    size = htole64(image->size - first);
    memcpy(image->data + first + IMAGE_LENGTH_AT, &size, sizeof size);
    size = htole64(image_sum(image->data + first, image->size - first - sizeof size));
    memcpy(image->data + image->size - sizeof size, &size, sizeof size);
    return 0;
}

/* ---- how long one can be ---- */

static int count_register(void *ctx, const char *name, uint32_t size, uint64_t value)
{
    (void)size;
    (void)value;
    *(uint64_t *)ctx += strlen(name) + 2 + 1 + 8;
    return 0;
}

uint64_t image_limit(const struct device *dev)
{
    uint64_t registers = 0, limit = UINT64_C(65536) + IMAGE_PLUGIN_MAX + dev->config.size;

    regmap_each(dev->map, count_register, &registers);
    /* Beside its value a register may remember three things more, each under a longer name. */
    limit += 8 * registers;
    limit += irq_state_size(dev->irq);
    limit += (uint64_t)TIMERS_MAX * IMAGE_TIMER_SIZE;
    for (uint32_t i = 0; i <= VFU_REGION_BAR5; i++) {
        const struct region *region = &dev->regions[i];

        /* Every other page in a section of its own. */
        if (region->memory)
            limit += region->size + (region->size / (2 * PAGE) + 1) * (IMAGE_SECTION_HEAD + IMAGE_MEMORY_HEAD);
    }
    return limit;
}
