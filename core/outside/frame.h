/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frame - what a device says it shows: its checks, its pixel formats, and looking for what has changed in memory that a
 * guest writes to. No state, no locks.
 */
#ifndef CORE_FRAME_H
#define CORE_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

struct region;

#define FRAME_BYTES_MAX (UINT64_C(256) << 20) /* of the lines of one frame: 8192 x 8192 pixels of 4 bytes */

/* A frame that has been checked: every line lies inside of its memory. */
struct frame {
    const uint8_t *first; /* the first pixel; NULL: nothing is shown */
    uint32_t format, width, height;
    uint32_t bytes; /* of a pixel */
    uint32_t line;  /* bytes of a line's pixels */
    uint64_t stride;
    bool own;        /* in memory of the device's, which is read only while it calls */
    bool marked;     /* the device tells what has changed */
    bool big_endian;
    uint32_t palette[256];
};

/* regions: the device's, by index. -EINVAL: see struct vfu_host_display. */
int frame_check(struct frame *frame, const struct vfu_display_frame *what, const struct region *regions);
/* n pixels as 0x00RRGGBB. */
void frame_convert(const struct frame *frame, const uint8_t *pixels, uint32_t *rgb, uint32_t n);
/*
 * Brings `shadow` up to date with `memory`, n bytes each, of which somebody else may change `memory` meanwhile: every byte
 * is read once. True if something was different: at *first to *end - 1, whole words.
 */
bool frame_compare(const uint8_t *memory, uint8_t *shadow, uint32_t n, uint32_t *first, uint32_t *end);

#endif
