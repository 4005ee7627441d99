/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frame - checks, converts and compares what a device shows: see frame.h. Any thread.
 */
#include "core/outside/frame.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "core/pci/region.h"

/* ---- checks ------------------------------------------------------------------------------------------------------ */

static uint32_t pixel_bytes(uint32_t format)
{
    switch (format) {
    case VFU_DISPLAY_XRGB8888:
    case VFU_DISPLAY_XBGR8888:
        return 4;
    case VFU_DISPLAY_RGB888:
    case VFU_DISPLAY_BGR888:
        return 3;
    case VFU_DISPLAY_RGB565:
    case VFU_DISPLAY_XRGB1555:
        return 2;
    case VFU_DISPLAY_C8:
    case VFU_DISPLAY_R8:
        return 1;
    default:
        return 0;
    }
}

/* The memory that the frame is in, and how much of it there is; NULL: none. */
static const uint8_t *find_memory(const struct vfu_display_frame *what, const struct region *regions, uint64_t *size)
{
    if (what->bar == VFU_NONE) {
        *size = what->size;
        return what->memory;
    }
    if (what->bar > VFU_REGION_BAR5 || !regions[what->bar].memory)
        return NULL;
    *size = regions[what->bar].size;
    return regions[what->bar].memory;
}

/* All lines but the last take a stride; the last one takes its pixels. */
static bool fits(const struct frame *frame, uint64_t offset, uint64_t size)
{
    uint64_t lines = frame->height - 1, need;

    if (frame->stride < frame->line || __builtin_mul_overflow(lines, frame->stride, &need) ||
        __builtin_add_overflow(need, frame->line, &need))
        return false;
    return offset <= size && need <= size - offset;
}

int frame_check(struct frame *frame, const struct vfu_display_frame *what, const struct region *regions)
{
    struct vfu_display_frame own = { 0 };
    const uint8_t *memory;
    uint64_t size = 0;

    *frame = (struct frame){ 0 };
    if (what->struct_size < offsetof(struct vfu_display_frame, palette))
        return -EINVAL;
    memcpy(&own, what, what->struct_size < sizeof own ? what->struct_size : sizeof own);
    frame->bytes = pixel_bytes(own.format);
    memory = find_memory(&own, regions, &size);
    if (!memory || !frame->bytes || !own.width || !own.height || own.width > VFU_DISPLAY_SIDE_MAX ||
        own.height > VFU_DISPLAY_SIDE_MAX || own.flags & ~(VFU_DISPLAY_MARKED | VFU_DISPLAY_BIG_ENDIAN) ||
        (own.format == VFU_DISPLAY_C8 && !own.palette))
        return -EINVAL;
    frame->line = own.width * frame->bytes;
    frame->stride = own.stride ? own.stride : frame->line;
    if (frame->stride > UINT32_MAX)
        return -EINVAL;
    frame->width = own.width;
    frame->height = own.height;
    if (!fits(frame, own.offset, size))
        return -EINVAL;
    frame->format = own.format;
    frame->own = own.bar == VFU_NONE;
    frame->marked = frame->own || own.flags & VFU_DISPLAY_MARKED;
    frame->big_endian = own.flags & VFU_DISPLAY_BIG_ENDIAN;
    if (own.format == VFU_DISPLAY_C8)
        memcpy(frame->palette, own.palette, sizeof frame->palette);
    frame->first = memory + own.offset;
    return 0;
}

/* ---- pixels ------------------------------------------------------------------------------------------------------ */

static uint32_t pixel(const struct frame *frame, const uint8_t *p)
{
    uint32_t v = 0;

    for (uint32_t i = 0; i < frame->bytes; i++)
        v |= (uint32_t)p[frame->big_endian && frame->bytes != 3 ? frame->bytes - 1 - i : i] << 8 * i;
    return v;
}

static uint32_t swap_red(uint32_t v)
{
    return (v & 0xff) << 16 | (v & 0xff00) | (v >> 16 & 0xff);
}

/* A colour of few bits, its upper ones repeated below: all ones stay all ones. */
static uint32_t widen(uint32_t v, uint32_t bits)
{
    v &= (1u << bits) - 1;
    return v << (8 - bits) | v >> (2 * bits - 8);
}

static uint32_t colour(const struct frame *frame, uint32_t v)
{
    switch (frame->format) {
    case VFU_DISPLAY_XBGR8888:
    case VFU_DISPLAY_BGR888:
        return swap_red(v);
    case VFU_DISPLAY_RGB565:
        return widen(v >> 11, 5) << 16 | widen(v >> 5, 6) << 8 | widen(v, 5);
    case VFU_DISPLAY_XRGB1555:
        return widen(v >> 10, 5) << 16 | widen(v >> 5, 5) << 8 | widen(v, 5);
    case VFU_DISPLAY_C8:
        return frame->palette[v & 0xff] & 0xffffff;
    case VFU_DISPLAY_R8:
        return (v & 0xff) * 0x010101;
    default:
        return v & 0xffffff;
    }
}

void frame_convert(const struct frame *frame, const uint8_t *pixels, uint32_t *rgb, uint32_t n)
{
    bool plain = frame->format == VFU_DISPLAY_XRGB8888 && !frame->big_endian;

    for (uint32_t i = 0; i < n; i++, pixels += frame->bytes) {
        if (plain)
            rgb[i] = ((uint32_t)pixels[0] | (uint32_t)pixels[1] << 8 | (uint32_t)pixels[2] << 16);
        else
            rgb[i] = colour(frame, pixel(frame, pixels));
    }
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

struct word {
    uint64_t v;
} __attribute__((packed, may_alias));

/* What races here is meant to: the guest draws whenever it likes, and what was missed is seen the next time. */
__attribute__((no_sanitize("thread"))) bool frame_compare(const uint8_t *memory, uint8_t *shadow, uint32_t n,
                                                          uint32_t *first, uint32_t *end)
{
    uint32_t i = 0;
    bool found = false;

    *first = *end = 0;
    for (; i < n; i += 8) {
        uint32_t room = n - i;

        if (room >= 8) {
            uint64_t v = ((const volatile struct word *)(memory + i))->v;

            if (v == ((struct word *)(shadow + i))->v)
                continue;
            ((struct word *)(shadow + i))->v = v;
        } else {
            bool same = true;

            for (uint32_t k = 0; k < room; k++) {
                uint8_t v = ((const volatile uint8_t *)memory)[i + k];

                same = same && v == shadow[i + k];
                shadow[i + k] = v;
            }
            if (same)
                continue;
        }
        if (!found)
            *first = i;
        found = true;
        *end = room < 8 ? n : i + 8;
    }
    return found;
}
