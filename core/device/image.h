/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * image - the state of a device as bytes, and back: what migration moves.
 *
 * An image is little-endian and describes itself: a header (magic, version, length), sections (tag, length, bytes), and
 * a checksum. Sections, in this order; all but RAM come exactly once:
 *
 *   IDNT  who it is: the name, and numbers of the device (ids, regions, interrupts, a digest of the register map)
 *   CONF  config space, the power state in it
 *   REGS  each register by its name, with its value
 *   RAM   one piece of a memory BAR; pieces that are zero throughout are left out
 *   IRQS  levels, pending bits, masks, the MSI-X table: see irqimage.c
 *   TIMR  pending events, with what is left of their time
 *   PLUG  the plugin's own, from "vfu.migration/1"
 *   END   a checksum of all before it
 *
 * An image comes from outside. It is for the device that its identity names, and nobody else's. Runs on the device's
 * thread, while the device is stopped.
 */
#ifndef CORE_IMAGE_H
#define CORE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

struct device;

/* What a plugin's own part may be at most. */
#define IMAGE_PLUGIN_MAX (UINT64_C(64) << 20)

/* Bytes that grow at their end. All zero is an empty one. */
struct image {
    uint8_t *data;
    uint64_t size, room;
};

/* -ENOMEM. Grows by doubling: what it takes follows what has come, never what was announced. */
int image_append(struct image *image, const void *data, uint64_t size);
void image_free(struct image *image);

/* The whole state, behind what is in `image`. -ENOMEM, or what the plugin's save returned (logged). */
int image_save(struct device *dev, struct image *image);

/*
 * Puts a state in place of the present one. -EINVAL after a line in the log that says what is wrong: it is cut off, too
 * long or damaged, another device's, or the plugin refuses it; -ENOMEM. After a failure *clean says whether the device
 * is as a reset leaves it; false: its plugin has no reset to get rid of what it had loaded by then.
 */
int image_load(struct device *dev, const uint8_t *data, uint64_t size, bool *clean);

/* No image of this device is longer. */
uint64_t image_limit(const struct device *dev);

#endif
