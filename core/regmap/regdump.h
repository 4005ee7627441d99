/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regdump - a register map written out: JSON, a C header, Markdown, CMSIS-SVD. Main's thread. The same map gives the
 * same bytes each time. regtext makes texts of scripts fit for each format.
 *
 * JSON has these keys, always all of them. What does not apply is null. Whatever may need 64 bits, and PCI ids, are
 * strings of hexadecimal digits ("0x1f"); the rest are integers.
 *
 *   version    1; goes up when a key changes its meaning or goes away, not when one is added
 *   device     name, doc, vendor, device
 *   regions    those of the device, by index: name ("bar0" to "bar5", "rom", "config"), index, size, widths (a list of the bytes
 *              that an access may have, of 1, 2, 4, 8)
 *   groups     as declared: name, region (a name), offset, count, stride
 *   registers  as declared: name, region (a name), offset (in the region, or in the group), size (bytes), access,
 *              count and stride (null: no array), group (a name, or null), reset, doc, flags (a list of "sticky",
 *              "commit_last", "big_endian"), fields as declared: name, lsb, width, access, enums (name, value), doc,
 *              reset (unshifted)
 *
 * access is one of "rw", "ro", "wo", "w1c", "w1s", "w1t", "w0c", "rc", "rs", "wonce", "reserved", "unimp".
 */
#ifndef CORE_REGDUMP_H
#define CORE_REGDUMP_H

#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "core/regmap/regmap.h"

struct regdump_device {
    const char *name;
    const char *doc; /* NULL: none */
    uint16_t vendor, device;
    uint64_t region_size[REGMAP_REGIONS];
    uint8_t widths[REGMAP_REGIONS]; /* 1 | 2 | 4 | 8; 0 means all of them */
};

/* format: "json", "header", "markdown" or "svd". 0; -EINVAL: another format; -ENOMEM; -EIO. */
int regdump(FILE *out, const struct regmap *map, const struct regdump_device *about, const char *format);

/* The JSON as an object, on any thread; NULL: no memory. */
json_t *regdump_json(const struct regmap *map, const struct regdump_device *about);
/* A text of a plugin's as a JSON string: what is no UTF-8 in it is replaced. NULL gives null; the result NULL: no memory. */
json_t *regdump_text(const char *text);

#endif
