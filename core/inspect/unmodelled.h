/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * unmodelled - the accesses that met nothing the model knows: where, how often, and why. A table of fixed size, since a
 * driver chooses what stands in it. Runs on the device's thread; when that has ended, on main's.
 */
#ifndef CORE_UNMODELLED_H
#define CORE_UNMODELLED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/log.h"

#define UNMODELLED_MAX 256u

enum unmodelled_why {
    UNMODELLED_NOTHING,    /* no register, memory or handler there */
    UNMODELLED_WIDTH,      /* the region takes other widths */
    UNMODELLED_MISALIGNED,
    UNMODELLED_BEYOND,     /* behind the region's end */
    UNMODELLED_NO_REGION,
    UNMODELLED_NO_CAP,     /* config space: no capability or register there */
};

struct unmodelled_entry {
    uint64_t offset;
    uint64_t reads, writes;
    uint64_t first; /* the value of the first access, up to 8 bytes of it */
    uint64_t told;  /* accesses when it was last told of */
    uint32_t region, size;
    uint8_t why;
    uint8_t sizes; /* that the region takes */
};

/* Zeroed is ready to use. */
struct unmodelled {
    uint32_t n;
    struct unmodelled_entry entries[UNMODELLED_MAX]; /* in the order they were met */
    uint16_t slots[2 * UNMODELLED_MAX];              /* hashed: 1 + an index in entries, or 0 */
    uint64_t more, more_told;                        /* accesses that found no room */
};

/* Constant time, no memory. `sizes` as struct region's access_sizes; `value` is what was read or written. */
void unmodelled_note(struct unmodelled *u, uint32_t region, uint64_t offset, uint32_t size, enum unmodelled_why why,
                     uint32_t sizes, bool write, uint64_t value);
/* Sentences on the log, the most frequent first, for what has not been told yet; a few lines at most. */
void unmodelled_tell(struct unmodelled *u, const char *who, enum log_level level);
void unmodelled_forget(struct unmodelled *u);

/* "no register there" */
void unmodelled_why(const struct unmodelled_entry *entry, char *text, size_t len);
/* "bar0", "rom", "config", "region 12" */
const char *unmodelled_region(uint32_t region, char text[24]);
/* "51,200" */
const char *unmodelled_number(uint64_t n, char text[32]);

#endif
