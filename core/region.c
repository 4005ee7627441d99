/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * region - checks a BAR, makes its memory, and cuts accesses among window, registers, memory and raw handler. Runs on
 * the device's thread. Memory with a file behind it may be mapped by the client, which changes it at any time: nothing
 * here reads a byte of it twice.
 */
#define _GNU_SOURCE
#include "core/region.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/log.h"

#define ALL_SIZES 15u
#define AREAS_MAX 4096u
#define ROM_MIN UINT64_C(2048)
#define ROM_MAX (UINT64_C(16) << 20) /* PCI Local Bus 3.0, 6.2.5.2 */

/* ---- making ------------------------------------------------------------------------------------------------- */

static bool power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

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
    if (!power_of_two(bar->size) || bar->size < types[bar->type].min || bar->size > types[bar->type].max) {
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

/* ---- cutting ------------------------------------------------------------------------------------------------ */

/* A width that the region allows, at its own alignment. */
static bool width_fits(const struct region *region, uint64_t offset, uint64_t size)
{
    return size <= 8 && power_of_two(size) && (region->access_sizes & size) && !(offset & (size - 1));
}

static uint32_t narrowest(const struct region *region)
{
    return region->access_sizes & -region->access_sizes;
}

/* The next piece of a long access: the widest that fits, or false and the bytes up to where one fits again. */
static bool cut(const struct region *region, uint64_t offset, uint64_t left, uint32_t *size)
{
    uint32_t least = narrowest(region);

    for (uint32_t width = 8; width; width /= 2) {
        if (width <= left && width_fits(region, offset, width)) {
            *size = width;
            return true;
        }
    }
    *size = least - (uint32_t)(offset & (least - 1));
    if (*size > left)
        *size = (uint32_t)left;
    return false;
}

static bool meets_window(const struct region *region, uint64_t offset, uint64_t size)
{
    return region->window && offset < region->window_end && offset + size > region->window_start;
}

/* The bytes from offset on that no register covers, up to limit; 0 on a register. */
static uint64_t gap(const struct region *region, uint64_t offset, uint64_t limit)
{
    uint64_t span;

    if (!region->map)
        return limit - offset;
    return regmap_find(region->map, region->index, offset, limit, &span) ? 0 : span;
}

/* True if some register, memory, handler or window answers for every byte of what is cut at register borders. */
static bool covered(const struct region *region, uint64_t offset, uint64_t end)
{
    if (region->memory || region->raw)
        return true;
    while (offset < end) {
        uint64_t span;

        if (region->window && offset >= region->window_start && offset < region->window_end) {
            offset = region->window_end;
            continue;
        }
        if (!region->map || !regmap_find(region->map, region->index, offset, end, &span))
            return false;
        offset += span;
    }
    return true;
}

/* For regions that answer an unmapped byte with an error: judged whole, before a register or handler is touched. */
static bool mapped(const struct region *region, uint64_t offset, uint64_t size)
{
    uint64_t end = offset + size;

    if (size <= 8)
        return width_fits(region, offset, size) && covered(region, offset, end);
    if ((region->map || !(region->memory || region->raw)) && ((offset | size) & (narrowest(region) - 1)))
        return false;
    return covered(region, offset, end);
}

/* Bytes that nothing answers for. Exactly one of in and out is set. */
static int unmapped(const struct region *region, uint64_t offset, uint32_t size, enum unmodelled_why why, uint8_t *in,
                    const uint8_t *out)
{
    int err = 0;

    if (region->readonly && out)
        return 0;
    if (region->unmapped == VFU_UNMAPPED_ERROR)
        err = -EINVAL;
    else if (in)
        memset(in, region->unmapped == VFU_UNMAPPED_ONES ? 0xff : 0, size);
    if (region->watch)
        region->watch->calls->unmodelled(region->watch, region->index, offset, size, why, region->access_sizes,
                                         in && err ? NULL : in ? in : out, out != NULL, err);
    return err;
}

/* Why an access of up to 8 bytes does not fit. */
static enum unmodelled_why misfit(const struct region *region, uint64_t size)
{
    return power_of_two(size) && (region->access_sizes & size) ? UNMODELLED_MISALIGNED : UNMODELLED_WIDTH;
}

static void other(struct region *region, enum watch_kind kind, uint64_t offset, uint32_t size, const uint8_t *bytes,
                  bool write)
{
    if (region->watching)
        region->watch->calls->other(region->watch, kind, region->index, offset, size, bytes, write);
}

static uint64_t from_bytes(const uint8_t *bytes, uint32_t size, bool big)
{
    uint64_t value = 0;

    regcell_copy(&value, bytes, size);
    value = le64toh(value);
    return big ? __builtin_bswap64(value) >> (64 - 8 * size) : value;
}

static void to_bytes(uint8_t *bytes, uint32_t size, bool big, uint64_t value)
{
    value = htole64(big ? __builtin_bswap64(value) >> (64 - 8 * size) : value);
    regcell_copy(bytes, &value, size);
}

typedef int32_t handler(void *self, struct vfu_access *access);

static int hand_to(struct region *region, handler *to, uint64_t offset, uint32_t size, uint8_t *in, const uint8_t *out)
{
    bool big = region->flags & VFU_BAR_BIG_ENDIAN;
    struct vfu_access access = {
        .struct_size = sizeof access,
        .region = region->index,
        .offset = offset,
        .size = size,
        .flags = out ? VFU_ACCESS_WRITE : 0,
    };
    int32_t result;

    if (size > 8) {
        access.data = out ? (uint8_t *)(uintptr_t)out : in;
        if (in)
            memset(in, 0, size); /* a handler that fills in less must not answer with what was there before */
    } else if (out) {
        access.value = from_bytes(out, size, big);
    }
    result = to(region->self, &access);
    if (result < 0)
        return result;
    if (in && size <= 8)
        to_bytes(in, size, big, access.value);
    return 0;
}

static int raw(struct region *region, uint64_t offset, uint32_t size, uint8_t *in, const uint8_t *out)
{
    int result;

    if (out)
        other(region, WATCH_RAW, offset, size, out, true);
    result = hand_to(region, region->raw, offset, size, in, out);
    if (in)
        other(region, WATCH_RAW, offset, size, result < 0 ? NULL : in, false);
    return result;
}

/* Bytes without registers. A raw handler of a region that has registers gets aligned integers only. */
static int fill(struct region *region, uint64_t offset, uint32_t size, uint8_t *in, const uint8_t *out)
{
    int err = 0;

    if (region->memory) {
        if (in)
            regcell_copy(in, region->memory + offset, size);
        else if (!region->readonly)
            regcell_copy(region->memory + offset, out, size);
        other(region, WATCH_MEMORY, offset, size, in ? in : out, out != NULL);
        return 0;
    }
    if (!region->raw)
        return unmapped(region, offset, size, UNMODELLED_NOTHING, in, out);
    if (!region->map && size > 8)
        return raw(region, offset, size, in, out);
    for (uint32_t done = 0; done < size && !err;) {
        uint32_t width = 8;

        while (width > size - done || ((offset + done) & (width - 1)))
            width /= 2;
        err = raw(region, offset + done, width, in ? in + done : NULL, out ? out + done : NULL);
        done += width;
    }
    return err;
}

/* Up to 8 bytes of a good width, cut at register borders. Exactly one of in and out is set. */
static int piece(struct region *region, uint64_t offset, uint32_t size, uint8_t *in, const uint8_t *out)
{
    uint32_t done = 0;

    while (done < size) {
        uint64_t span = size - done;
        struct reg_cell *cell = NULL;
        int err = 0;

        if (region->map)
            cell = regmap_find(region->map, region->index, offset + done, offset + size, &span);
        if (span > size - done)
            span = size - done;
        if (cell && out && region->watching)
            region->watch->calls->reg(region->watch, cell, offset + done, (uint32_t)span, size, out + done, true);
        if (cell && in)
            regmap_read(region->map, cell, offset + done, (uint32_t)span, in + done);
        else if (cell)
            regmap_write(region->map, cell, offset + done, (uint32_t)span, out + done);
        else
            err = fill(region, offset + done, (uint32_t)span, in ? in + done : NULL, out ? out + done : NULL);
        if (err)
            return err;
        if (cell && in && region->watching)
            region->watch->calls->reg(region->watch, cell, offset + done, (uint32_t)span, size, in + done, false);
        done += (uint32_t)span;
    }
    return 0;
}

static bool window(struct region *region, uint64_t offset, uint32_t size, uint8_t *in, const uint8_t *out)
{
    if (!meets_window(region, offset, size) ||
        !region->window(region->window_ctx, offset, size, in ? in : (uint8_t *)(uintptr_t)out, out != NULL))
        return false;
    other(region, WATCH_WINDOW, offset, size, in ? in : out, out != NULL);
    return true;
}

/* How much of a long access in a region with registers is one run of memory or nothing, and gives the same result when
 * it is not cut. Whole multiples of 8 that end on one, so that the pieces behind it are those that there would be. */
static uint32_t run(const struct region *region, uint64_t offset, uint32_t left)
{
    uint64_t end;

    if (region->raw || (offset & (narrowest(region) - 1)))
        return 0;
    end = (offset + gap(region, offset, offset + left)) & ~UINT64_C(7);
    if (meets_window(region, offset, left))
        return 0;
    return end > offset ? (uint32_t)(end - offset) : 0;
}

/* A long access, or what a window left of one. */
static int cut_long(struct region *region, uint64_t offset, uint32_t size, uint8_t *in, const uint8_t *out)
{
    uint32_t done = 0, width;
    int err = 0;

    if (!region->map && !meets_window(region, offset, size) && (size > 8 || !region->raw))
        return fill(region, offset, size, in, out);
    for (; done < size && !err; done += width) {
        uint64_t at = offset + done;
        uint8_t *to = in ? in + done : NULL;
        const uint8_t *from = out ? out + done : NULL;

        if ((width = run(region, at, size - done)))
            err = fill(region, at, width, to, from);
        else if (!cut(region, at, size - done, &width))
            err = window(region, at, width, to, from) ? 0 : unmapped(region, at, width, misfit(region, width), to,
                                                                     from);
        else if (!window(region, at, width, to, from))
            err = piece(region, at, width, to, from);
    }
    return err;
}

/* The parts before, in and behind the window, so that what lies beside it is not cut because of it. */
static int around_window(struct region *region, uint64_t offset, uint32_t size, uint8_t *in, const uint8_t *out)
{
    const uint64_t end = offset + size;
    const uint64_t borders[] = { region->window_start, region->window_end, end };
    uint64_t at = offset;
    int err = 0;

    for (uint32_t i = 0; i < 3 && !err; i++) {
        uint64_t stop = borders[i] < end ? borders[i] : end;
        uint32_t n = stop > at ? (uint32_t)(stop - at) : 0;
        uint8_t *to = in ? in + (at - offset) : NULL;
        const uint8_t *from = out ? out + (at - offset) : NULL;

        if (!n)
            continue;
        if (!window(region, at, n, to, from))
            err = cut_long(region, at, n, to, from);
        at += n;
    }
    return err;
}

/* Behind window and interceptor. */
static int access_rest(struct region *region, uint64_t offset, uint32_t size, uint8_t *in, const uint8_t *out)
{
    if (region->unmapped == VFU_UNMAPPED_ERROR && !mapped(region, offset, size))
        return unmapped(region, offset, size,
                        size > 8 || width_fits(region, offset, size) ? UNMODELLED_NOTHING : misfit(region, size), in, out);
    if (size > 8)
        return meets_window(region, offset, size) ? around_window(region, offset, size, in, out)
                                                  : cut_long(region, offset, size, in, out);
    if (!width_fits(region, offset, size))
        return unmapped(region, offset, size, misfit(region, size), in, out);
    return piece(region, offset, size, in, out);
}

static int access_slowly(struct region *region, uint64_t offset, uint32_t size, uint8_t *in, const uint8_t *out)
{
    if (window(region, offset, size, in, out) || (region->readonly && out))
        return 0;
    if (region->intercept)
        return hand_to(region, region->intercept, offset, size, in, out);
    return access_rest(region, offset, size, in, out);
}

int region_access(struct region *region, struct vfu_access *access, uint8_t bytes[8])
{
    bool write = access->flags & VFU_ACCESS_WRITE, big = region->flags & VFU_BAR_BIG_ENDIAN;
    uint8_t *data = access->size > 8 ? access->data : bytes;
    int err = 0;

    if (write && access->size <= 8)
        to_bytes(bytes, access->size, big, access->value);
    if (!window(region, access->offset, access->size, write ? NULL : data, write ? data : NULL))
        err = access_rest(region, access->offset, access->size, write ? NULL : data, write ? data : NULL);
    if (!err && !write && access->size <= 8)
        access->value = from_bytes(bytes, access->size, big);
    return err;
}

int region_read(struct region *region, uint64_t offset, uint32_t size, uint8_t *bytes)
{
    struct reg_cell *cell = region_cell(region, offset, size);
    const uint8_t *flat;

    if (cell)
        regmap_read(region->map, cell, offset, size, bytes);
    else if ((flat = region_flat(region, offset, size)))
        regcell_copy(bytes, flat, size);
    else
        return access_slowly(region, offset, size, bytes, NULL);
    return 0;
}

int region_write(struct region *region, uint64_t offset, uint32_t size, const uint8_t *bytes)
{
    struct reg_cell *cell = region_cell(region, offset, size);
    uint8_t *flat;

    if (cell)
        regmap_write(region->map, cell, offset, size, bytes);
    else if (!region->readonly && (flat = region_flat(region, offset, size)))
        regcell_copy(flat, bytes, size);
    else
        return access_slowly(region, offset, size, NULL, bytes);
    return 0;
}

void region_watch(struct region *region, bool on)
{
    region->watching = on;
    open_ways(region);
}

uint8_t *region_plain(struct region *region, uint64_t offset, uint64_t size, bool write)
{
    if (!region->memory || region->watching || region->intercept || !size || offset >= region->size ||
        size > region->size - offset)
        return NULL;
    if ((write && region->readonly) || meets_window(region, offset, size) || gap(region, offset, offset + size) != size)
        return NULL;
    if (size <= 8 ? !width_fits(region, offset, size)
                  : region->map && ((offset | size) & (narrowest(region) - 1)))
        return NULL;
    return region->memory + offset;
}
