/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * region - cuts accesses among window, registers, memory and raw handler; regionmake makes regions. Runs on the device's
 * thread. Memory with a file behind it may be mapped by the client, which changes it at any time: nothing here reads a
 * byte of it twice.
 */
#include "core/pci/region.h"

#include <errno.h>
#include <string.h>

/* A width that the region allows, at its own alignment. */
static bool width_fits(const struct region *region, uint64_t offset, uint64_t size)
{
    return size <= 8 && region_power_of_two(size) && (region->access_sizes & size) && !(offset & (size - 1));
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
    return region_power_of_two(size) && (region->access_sizes & size) ? UNMODELLED_MISALIGNED : UNMODELLED_WIDTH;
}

static void other(struct region *region, enum watch_kind kind, uint64_t offset, uint32_t size, const uint8_t *bytes,
                  bool write)
{
    if (region->watching)
        region->watch->calls->other(region->watch, kind, region->index, offset, size, bytes, write);
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
        access.value = regcell_number(out, size, big);
    }
    result = to(region->self, &access);
    if (result < 0)
        return result;
    if (in && size <= 8)
        regcell_bytes(in, size, big, access.value);
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
        regcell_bytes(bytes, access->size, big, access->value);
    if (!window(region, access->offset, access->size, write ? NULL : data, write ? data : NULL))
        err = access_rest(region, access->offset, access->size, write ? NULL : data, write ? data : NULL);
    if (!err && !write && access->size <= 8)
        access->value = regcell_number(bytes, access->size, big);
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
