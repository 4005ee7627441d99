/* SPDX-License-Identifier: BSD-3-Clause */
/* image_private - the format, shared by image.c and imageload.c. No state. */
#ifndef CORE_IMAGE_PRIVATE_H
#define CORE_IMAGE_PRIVATE_H

#include "core/device/image.h"
#include "core/pci/region.h"

#define IMAGE_MAGIC UINT64_C(0x454741494d554656) /* "VFUIMAGE" */
#define IMAGE_VERSION 1u
#define IMAGE_HEAD 24u      /* magic 8, version 4, 0 4, length of all 8 */
#define IMAGE_LENGTH_AT 16u
#define IMAGE_SECTION_HEAD 16u /* tag 4, 0 4, length 8 */
#define IMAGE_MEMORY_HEAD 16u  /* BAR 4, 0 4, offset 8 */
#define IMAGE_TIMER_SIZE 40u   /* id, left, period, arg 8 each, event 4, 0 4 */

#define IMAGE_TAG(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define IMAGE_IDENTITY IMAGE_TAG('I', 'D', 'N', 'T')
#define IMAGE_CONFIG IMAGE_TAG('C', 'O', 'N', 'F')
#define IMAGE_REGISTERS IMAGE_TAG('R', 'E', 'G', 'S')
#define IMAGE_MEMORY IMAGE_TAG('R', 'A', 'M', ' ')
#define IMAGE_INTERRUPTS IMAGE_TAG('I', 'R', 'Q', 'S')
#define IMAGE_TIMERS IMAGE_TAG('T', 'I', 'M', 'R')
#define IMAGE_PLUGIN IMAGE_TAG('P', 'L', 'U', 'G')
#define IMAGE_END IMAGE_TAG('E', 'N', 'D', ' ')

/* What both sides must have in common, each with its name for the log. */
struct image_fact {
    const char *name;
    uint64_t value;
};
#define IMAGE_FACTS 33u
uint32_t image_identity(const struct device *dev, struct image_fact facts[IMAGE_FACTS]);

uint64_t image_sum(const uint8_t *data, uint64_t size);

#endif
