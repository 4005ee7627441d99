/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * region - one BAR (or the ROM): its memory, its registers, its raw handler, and how an access is cut among them.
 *
 * Rules of an access, the same for C and Lua devices:
 *   up to 8 bytes   a width outside access_sizes, or a misaligned offset, counts as unmapped as a whole;
 *                   else it is cut at register borders, lowest address first: registers, then RAM or raw handler or
 *                   "unmapped" between them
 *   longer          cut into the widest allowed aligned pieces, except over RAM and raw handlers in a region without
 *                   registers, which get the whole
 * Runs on the device's thread. Memory that the client maps is a memfd.
 */
#ifndef CORE_REGION_H
#define CORE_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/regmap/regcell.h"
#include "core/regmap/regmap.h"
#include "core/inspect/watch.h"

static inline bool region_power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

struct region {
    /* For the inline ways, all that they look at. NULL: there is no such way. */
    const struct reg_span *registers; /* those of `map` */
    uint8_t *flat;                    /* `memory`, where nothing but it answers */
    /* A window that the host serves itself (MSI-X table and PBA), judged before anything else: the span in which
     * `window` is asked at all. Empty without one. */
    uint64_t window_start, window_end;
    uint64_t size; /* 0: the region does not exist */
    uint32_t type, flags, access_sizes, unmapped; /* as struct vfu_bar */
    struct regmap *map; /* NULL, or it holds registers of this region */
    uint8_t *memory;    /* VFU_BAR_RAM: the whole size; NULL otherwise */
    const char *who;
    uint32_t index;
    int fd;             /* memfd behind memory, or -1 */
    struct vfu_area *areas; /* mappable parts; nareas 0 with VFU_BAR_MMAP: all of it */
    uint32_t nareas;
    bool readonly; /* ROM: writes are dropped */
    /* The plugin's raw handler, or NULL. */
    int32_t (*raw)(void *self, struct vfu_access *access);
    void *self;
    /* The plugin's interceptor, or NULL: it gets each access whole, behind the window. */
    int32_t (*intercept)(void *self, struct vfu_access *access);
    /* True if it took the access. */
    bool (*window)(void *ctx, uint64_t offset, uint32_t size, uint8_t *bytes, bool write);
    void *window_ctx;
    struct watch *watch; /* told of what met nothing; may be NULL */
    bool watching;       /* and of all else: region_watch */
};

/*
 * Checks the BAR (index, type, size, areas, flags) and makes its memory. 0, -EINVAL, -ENOMEM (logged). Overwrites
 * *region: raw, self and window are set afterwards. With VFU_BAR_BIG_ENDIAN the map's registers of the BAR become big
 * endian. The memory behind fd is sealed: a client cannot change its size.
 */
int region_init(struct region *region, const char *who, const struct vfu_bar *bar, struct regmap *map);
/* The same over the memory of another one, of the same size and with the same flags for it, which stays in its hands:
 * a client may have mapped it. Of the two only one is ended with region_fini; the other is just forgotten, but for its
 * areas: region_forget. */
int region_init_again(struct region *region, const char *who, const struct vfu_bar *bar, struct regmap *map,
                      const struct region *before);
void region_forget(struct region *region);
/* The expansion ROM: read-only, size rounded up to a power of two of at least 2048, at most 16 MiB; zeros behind the
 * image. */
int region_init_rom(struct region *region, const char *who, const uint8_t *image, uint64_t size);
void region_fini(struct region *region);

/* The caller has checked that offset + size <= region->size and size > 0. 0 or the protocol's -errno. */
int region_read(struct region *region, uint64_t offset, uint32_t size, uint8_t *bytes);
int region_write(struct region *region, uint64_t offset, uint32_t size, const uint8_t *bytes);

/* Whether region->watch hears of every access. */
void region_watch(struct region *region, bool on);
/* What the access does without the interceptor; offset and size are checked, as above. bytes: those of `value`. */
int region_access(struct region *region, struct vfu_access *access, uint8_t bytes[8]);

/* An access of an allowed width, at its own alignment, and outside of the window. Any offset and size. */
static inline bool region_fits(const struct region *region, uint64_t offset, uint32_t size)
{
    return (region->access_sizes & size) && !((size | offset) & (size - 1)) &&
           !(offset < region->window_end && offset + size > region->window_start);
}

/* The memory that such an access goes to; NULL: it is another kind of access. */
static inline uint8_t *region_flat(const struct region *region, uint64_t offset, uint32_t size)
{
    return region->flat && region_fits(region, offset, size) && size <= region->size && offset <= region->size - size
               ? region->flat + offset : NULL;
}

/* The register that such an access begins in. What lies beyond the region's end hits none. */
static inline struct reg_cell *region_register(const struct region *region, uint64_t offset, uint32_t size)
{
    return region->registers && region_fits(region, offset, size) ? regcell_hit(region->registers, offset) : NULL;
}

/* The register that takes all of such an access, or NULL. */
static inline struct reg_cell *region_cell(const struct region *region, uint64_t offset, uint32_t size)
{
    struct reg_cell *cell = region_register(region, offset, size);

    return cell && offset - cell->offset + size <= cell->size ? cell : NULL;
}

/* The shortest ways: an access of an allowed width to one plain register, or to memory. False: not that, and nothing
 * has happened. Any offset and size. */
static inline bool region_read_plain(const struct region *region, uint64_t offset, uint32_t size, uint8_t *bytes)
{
    const struct reg_cell *cell = region_cell(region, offset, size);
    const uint8_t *flat;

    if (cell) {
        if (!(cell->plain & CELL_READ_PLAIN))
            return false;
        regcell_load(cell, offset, size, bytes);
        return true;
    }
    flat = region_flat(region, offset, size);
    if (flat)
        regcell_copy(bytes, flat, size);
    return flat;
}

static inline bool region_write_plain(const struct region *region, uint64_t offset, uint32_t size, const uint8_t *bytes)
{
    struct reg_cell *cell = region_cell(region, offset, size);
    uint8_t *flat;

    if (cell) {
        if (!(cell->plain & CELL_WRITE_PLAIN) || cell->size != size)
            return false;
        regcell_store(cell, bytes);
        return true;
    }
    flat = region->readonly ? NULL : region_flat(region, offset, size);
    if (flat)
        regcell_copy(flat, bytes, size);
    return flat;
}

/* Plain memory from end to end of this span, without register, window or handler: the session may send from it and
 * receive into it. NULL if not, and where region_read or region_write would not treat it all as memory (widths,
 * bounds). A read-only region is plain for reads only. */
uint8_t *region_plain(struct region *region, uint64_t offset, uint64_t size, bool write);

#endif
