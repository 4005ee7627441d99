/* SPDX-License-Identifier: BSD-3-Clause */
/* regionmake - checks a BAR, makes a region of it with its memory, and unmakes it. On main's thread, or in a reload. */
#define _GNU_SOURCE
#include "core/pci/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/log.h"

#define ALL_SIZES 15u
#define AREAS_MAX 4096u
#define ROM_MIN UINT64_C(2048)
#define ROM_MAX (UINT64_C(16) << 20) /* PCI Local Bus 3.0, 6.2.5.2 */

static int check_size(const char *who, const struct vfu_bar *bar)
{
    static const struct {
        const char *name;
        uint64_t min, max;
    } types[] = {
        [VFU_BAR_MEM32] = { "a 32-bit memory BAR", 16, UINT64_C(1) << 31 },
        [VFU_BAR_MEM64] = { "a 64-bit memory BAR", 16, UINT64_C(1) << 62 },
        [VFU_BAR_IO] = { "an I/O BAR", 4, 256 },
    };

    if (bar->index > VFU_REGION_BAR5 || bar->type > VFU_BAR_IO) {
        log_error(who, "there is no BAR %u of type %u", bar->index, bar->type);
        return -EINVAL;
    }
    if (bar->type == VFU_BAR_MEM64 && bar->index == VFU_REGION_BAR5) {
        log_error(who, "BAR 5 cannot be a 64-bit BAR: it would take BAR 6 too");
        return -EINVAL;
    }
    if (!region_power_of_two(bar->size) || bar->size < types[bar->type].min || bar->size > types[bar->type].max) {
        log_error(who, "BAR %u: a size of 0x%llx; %s has a power of two from 0x%llx to 0x%llx", bar->index,
                  (unsigned long long)bar->size, types[bar->type].name, (unsigned long long)types[bar->type].min,
                  (unsigned long long)types[bar->type].max);
        return -EINVAL;
    }
    return 0;
}

static int check_flags(const char *who, const struct vfu_bar *bar)
{
    const uint32_t known = VFU_BAR_PREFETCH | VFU_BAR_RAM | VFU_BAR_MMAP | VFU_BAR_BIG_ENDIAN | VFU_BAR_RAW |
                           VFU_BAR_INTERCEPT;
    const char *wrong = NULL;

    if ((bar->flags & ~known) || (bar->access_sizes & ~ALL_SIZES) || bar->unmapped > VFU_UNMAPPED_ERROR)
        wrong = "unknown flags, access sizes or kind of unmapped access";
    else if ((bar->flags & VFU_BAR_RAM) && (bar->flags & VFU_BAR_RAW))
        wrong = "it is either memory or has a raw handler where no register is";
    else if ((bar->flags & VFU_BAR_MMAP) && !(bar->flags & VFU_BAR_RAM))
        wrong = "it can be mapped only if it is memory";
    else if (bar->type == VFU_BAR_IO && (bar->flags & (VFU_BAR_MMAP | VFU_BAR_PREFETCH)))
        wrong = "an I/O BAR cannot be mapped or prefetched";
    else if ((bar->flags & VFU_BAR_INTERCEPT) && (bar->flags & VFU_BAR_MMAP))
        wrong = "what the client maps cannot be intercepted";
    else if (bar->nareas && !(bar->flags & VFU_BAR_MMAP))
        wrong = "it has mappable areas, but is not mappable";
    else if (bar->nareas > AREAS_MAX || (bar->nareas && !bar->areas))
        wrong = "too many mappable areas, or a list that is missing";
    if (!wrong)
        return 0;
    log_error(who, "BAR %u: %s (flags 0x%x, access sizes 0x%x, unmapped %u, %u areas)", bar->index, wrong, bar->flags,
              bar->access_sizes, bar->unmapped, bar->nareas);
    return -EINVAL;
}

static int copy_areas(struct region *region, const struct vfu_bar *bar)
{
    size_t size = bar->area_size ? bar->area_size : sizeof *region->areas;
    size_t each = size < sizeof *region->areas ? size : sizeof *region->areas;

    if (!bar->nareas)
        return 0;
    region->areas = calloc(bar->nareas, sizeof *region->areas);
    if (!region->areas) {
        log_error(region->who, "BAR %u: no memory for its list of areas", region->index);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < bar->nareas; i++)
        memcpy(&region->areas[i], (const char *)bar->areas + i * size, each);
    region->nareas = bar->nareas;
    return 0;
}

/* A register inside what the client maps would never see an access. */
static int check_area(const struct region *region, uint64_t offset, uint64_t size)
{
    struct reg_cell *cell;
    char name[64];
    uint64_t span;

    if (!region->map)
        return 0;
    cell = regmap_find(region->map, region->index, offset, offset + size, &span);
    if (!cell && span == size)
        return 0;
    if (!cell)
        cell = regmap_find(region->map, region->index, offset + span, offset + size, &span);
    regmap_name(region->map, cell, name, sizeof name);
    log_error(region->who, "BAR %u: register %s lies in the mappable area 0x%llx-0x%llx, where accesses do not "
              "reach it", region->index, name, (unsigned long long)offset, (unsigned long long)(offset + size - 1));
    return -EINVAL;
}

static int check_areas(const struct region *region)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), after = 0;
    int err = 0;

    if (!(region->flags & VFU_BAR_MMAP))
        return 0;
    if (region->size < page) {
        log_error(region->who, "BAR %u: 0x%llx bytes are less than a page, and cannot be mapped", region->index,
                  (unsigned long long)region->size);
        return -EINVAL;
    }
    if (!region->nareas)
        return check_area(region, 0, region->size);
    for (uint32_t i = 0; i < region->nareas && !err; i++) {
        const struct vfu_area *area = &region->areas[i];

        if ((area->offset | area->size) % page || !area->size || area->offset < after ||
            area->offset >= region->size || area->size > region->size - area->offset) {
            log_error(region->who, "BAR %u: mappable area %u (offset 0x%llx, size 0x%llx) is not of whole pages "
                      "inside the BAR, behind the one before", region->index, i, (unsigned long long)area->offset,
                      (unsigned long long)area->size);
            return -EINVAL;
        }
        after = area->offset + area->size;
        err = check_area(region, area->offset, area->size);
    }
    return err;
}

/* Its pages come into being when they are touched. */
static int make_memory(struct region *region, bool shared)
{
    void *memory;

    if (shared) {
        region->fd = memfd_create("vfu-bar", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (region->fd < 0 || ftruncate(region->fd, (off_t)region->size) < 0 ||
            fcntl(region->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
            log_error(region->who, "region %u: no file of 0x%llx bytes for its memory: %s", region->index,
                      (unsigned long long)region->size, strerror(errno));
            return -ENOMEM;
        }
    }
    memory = mmap(NULL, region->size, PROT_READ | PROT_WRITE,
                  shared ? MAP_SHARED | MAP_NORESERVE : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, region->fd, 0);
    if (memory == MAP_FAILED) {
        log_error(region->who, "region %u: no memory of 0x%llx bytes: %s", region->index,
                  (unsigned long long)region->size, strerror(errno));
        return -ENOMEM;
    }
    region->memory = memory;
    return 0;
}

/* What the inline ways may use. */
static void open_ways(struct region *region)
{
    bool open = !region->watching && !(region->flags & VFU_BAR_INTERCEPT);

    region->registers = open && region->map ? regmap_span(region->map, region->index) : NULL;
    region->flat = open && !region->map ? region->memory : NULL;
}

void region_watch(struct region *region, bool on)
{
    region->watching = on;
    open_ways(region);
}

static int init(struct region *region, const char *who, const struct vfu_bar *bar, struct regmap *map,
                const struct region *before)
{
    int err;

    *region = (struct region){ .who = who, .fd = -1 };
    err = check_size(who, bar);
    if (!err)
        err = check_flags(who, bar);
    if (err)
        return err;
    region->index = bar->index;
    region->size = bar->size;
    region->type = bar->type;
    region->flags = bar->flags;
    region->access_sizes = bar->access_sizes ? bar->access_sizes : ALL_SIZES;
    region->unmapped = bar->unmapped;
    region->map = regmap_any(map, bar->index) ? map : NULL;
    err = copy_areas(region, bar);
    if (!err)
        err = check_areas(region);
    if (!err && before) {
        region->memory = before->memory;
        region->fd = before->fd;
    } else if (!err && (bar->flags & VFU_BAR_RAM)) {
        err = make_memory(region, bar->flags & VFU_BAR_MMAP);
    }
    if (err) {
        region_fini(region);
        return err;
    }
    if (region->map && (bar->flags & VFU_BAR_BIG_ENDIAN))
        regmap_big_endian(map, bar->index);
    open_ways(region);
    return 0;
}

int region_init(struct region *region, const char *who, const struct vfu_bar *bar, struct regmap *map)
{
    return init(region, who, bar, map, NULL);
}

int region_init_again(struct region *region, const char *who, const struct vfu_bar *bar, struct regmap *map,
                      const struct region *before)
{
    return init(region, who, bar, map, before);
}

int region_init_rom(struct region *region, const char *who, const uint8_t *image, uint64_t size)
{
    int err;

    *region = (struct region){ .who = who, .fd = -1 };
    if (!image || !size || size > ROM_MAX) {
        log_error(who, "an expansion ROM of %llu bytes; it can have up to %llu", (unsigned long long)size,
                  (unsigned long long)ROM_MAX);
        return -EINVAL;
    }
    region->index = VFU_REGION_ROM;
    region->access_sizes = ALL_SIZES;
    region->readonly = true;
    for (region->size = ROM_MIN; region->size < size; region->size *= 2)
        ;
    err = make_memory(region, false);
    if (err) {
        region_fini(region);
        return err;
    }
    memcpy(region->memory, image, size);
    mprotect(region->memory, region->size, PROT_READ);
    open_ways(region);
    return 0;
}

void region_forget(struct region *region)
{
    region->memory = NULL;
    region->fd = -1;
    region_fini(region);
}

void region_fini(struct region *region)
{
    if (region->memory)
        munmap(region->memory, region->size);
    if (region->fd >= 0)
        close(region->fd);
    free(region->areas);
    *region = (struct region){ .who = region->who, .index = region->index, .fd = -1 };
}
