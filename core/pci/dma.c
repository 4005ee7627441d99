/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma - the client's memory as the device sees it. Runs on the device's thread.
 *
 * Regions do not overlap, so they sort by their first address: an array of blocks with up to BLOCK regions each. Both
 * levels are searched by halves in plain arrays of addresses; a map or unmap moves at most one block's worth.
 */
#include "core/pci/dma.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <vfu/protocol.h>

#include "core/pci/filemap.h"
#include "core/base/log.h"

#define BLOCK 256u
#define PAGE UINT64_C(4096)

struct region {
    uint64_t first, last; /* addresses; last is inclusive: a region may end at 2^64 */
    uint8_t *data;        /* of first; NULL: reached by messages only */
    struct filemap *map;
    struct vfu_dma_window *windows;
    uint32_t flags; /* VFU_DMA_MAP_* */
};

struct block {
    uint32_t n; /* never 0 */
    uint64_t first[BLOCK];
    struct region *regions[BLOCK];
};

/* A place among the regions. */
struct place {
    uint32_t block, slot;
};

struct dma {
    struct region *hit; /* the last one found; NULL: none */
    uint64_t *first;    /* of each block */
    struct block **blocks;
    uint32_t nblocks, capacity;
    uint32_t count, max;
    uint64_t page; /* what a region's address, offset and size are multiples of */
    void (*on_write)(void *ctx, uint64_t address, uint64_t len);
    void *on_write_ctx;
    void (*on_end)(void *ctx, bool on);
    void *on_end_ctx;
    struct filemaps maps;
    struct log_limit map_limit, fault_limit, window_limit;
    char *who;
};

/* What vfu_dma_window.reserved holds. */
enum { WINDOW_NEXT, WINDOW_PREVIOUS, WINDOW_REGION, WINDOW_OWNER };

#define refuse(dma, ...) log_limited(&(dma)->map_limit, (dma)->who, LOG_WARN, __VA_ARGS__)
#define ull(x) ((unsigned long long)(x))

int dma_new(struct dma **out, const char *who, uint32_t max_regions)
{
    struct dma *dma = calloc(1, sizeof *dma);

    if (!dma)
        return -ENOMEM;
    dma->who = who ? strdup(who) : NULL;
    if (who && !dma->who) {
        free(dma);
        return -ENOMEM;
    }
    dma->max = max_regions;
    dma->page = PAGE;
    dma->maps.who = dma->who;
    dma->maps.limit = &dma->map_limit;
    *out = dma;
    return 0;
}

void dma_limit(struct dma *dma, uint32_t max_regions, uint64_t page)
{
    dma->max = max_regions;
    dma->page = page;
}

void dma_free(struct dma *dma)
{
    if (!dma)
        return;
    dma_unmap_all(dma);
    filemap_done(&dma->maps);
    free(dma->first);
    free(dma->blocks);
    free(dma->who);
    free(dma);
}

uint32_t dma_count(const struct dma *dma)
{
    return dma->count;
}

/* ---- the sorted structure ---- */

/* How many of n ascending addresses are not above `address`. No branch depends on them: they cannot be predicted. */
static inline uint32_t not_above(const uint64_t *list, uint32_t n, uint64_t address)
{
    const uint64_t *base = list;

    while (n > 1) {
        uint32_t half = n / 2;

        base += base[half - 1] <= address ? half : 0;
        n -= half;
    }
    return (uint32_t)(base - list) + (n && *base <= address);
}

static inline struct region *region_at(const struct dma *dma, struct place place)
{
    return dma->blocks[place.block]->regions[place.slot];
}

/* The last region that begins at or before the address. False: there is none. */
static bool find_place(const struct dma *dma, uint64_t address, struct place *place)
{
    uint32_t block = not_above(dma->first, dma->nblocks, address);

    if (block == 0)
        return false;
    place->block = block - 1;
    place->slot = not_above(dma->blocks[block - 1]->first, dma->blocks[block - 1]->n, address) - 1;
    return true;
}

static bool next_place(const struct dma *dma, struct place *place)
{
    if (++place->slot < dma->blocks[place->block]->n)
        return true;
    place->slot = 0;
    return ++place->block < dma->nblocks;
}

/* The region with the address in it, or NULL. */
static inline struct region *find(struct dma *dma, uint64_t address)
{
    struct region *region = dma->hit;
    struct place place;

    if (region && address >= region->first && address <= region->last)
        return region;
    if (!find_place(dma, address, &place))
        return NULL;
    region = region_at(dma, place);
    if (address > region->last)
        return NULL;
    dma->hit = region;
    return region;
}

/* Room for an empty block at `index`. NULL: out of memory. */
static struct block *open_block(struct dma *dma, uint32_t index)
{
    struct block *block;

    if (dma->nblocks == dma->capacity) {
        uint32_t capacity = dma->capacity ? dma->capacity * 2 : 16;
        uint64_t *first = reallocarray(dma->first, capacity, sizeof *first);
        struct block **blocks;

        if (!first)
            return NULL;
        dma->first = first;
        blocks = reallocarray(dma->blocks, capacity, sizeof *blocks);
        if (!blocks)
            return NULL;
        dma->blocks = blocks;
        dma->capacity = capacity;
    }
    block = malloc(sizeof *block);
    if (!block)
        return NULL;
    block->n = 0;
    memmove(&dma->first[index + 1], &dma->first[index], (dma->nblocks - index) * sizeof dma->first[0]);
    memmove(&dma->blocks[index + 1], &dma->blocks[index], (dma->nblocks - index) * sizeof dma->blocks[0]);
    dma->blocks[index] = block;
    dma->nblocks++;
    return block;
}

static void close_block(struct dma *dma, uint32_t index)
{
    free(dma->blocks[index]);
    dma->nblocks--;
    memmove(&dma->first[index], &dma->first[index + 1], (dma->nblocks - index) * sizeof dma->first[0]);
    memmove(&dma->blocks[index], &dma->blocks[index + 1], (dma->nblocks - index) * sizeof dma->blocks[0]);
}

/* Moves the regions from `slot` on to the end of another block, which has the room. */
static void move_tail(struct block *from, uint32_t slot, struct block *to)
{
    uint32_t n = from->n - slot;

    memcpy(&to->first[to->n], &from->first[slot], n * sizeof to->first[0]);
    memcpy(&to->regions[to->n], &from->regions[slot], n * sizeof to->regions[0]);
    to->n += n;
    from->n = slot;
}

/* Makes place.block a block with room at place.slot. At either end a new block begins: full ones stay full when
 * regions come in order. */
static int make_room(struct dma *dma, struct place *place)
{
    struct block *block = dma->blocks[place->block], *fresh;
    uint32_t half = BLOCK / 2;

    if (block->n < BLOCK)
        return 0;
    if (place->slot == 0 || place->slot == BLOCK) {
        place->block += place->slot == BLOCK;
        place->slot = 0;
        return open_block(dma, place->block) ? 0 : -ENOMEM;
    }
    fresh = open_block(dma, place->block + 1);
    if (!fresh)
        return -ENOMEM;
    move_tail(block, half, fresh);
    dma->first[place->block + 1] = fresh->first[0];
    if (place->slot > half) {
        place->block++;
        place->slot -= half;
    }
    return 0;
}

/* Puts the region at the place: what is there now comes after it. */
static int insert(struct dma *dma, struct place place, struct region *region)
{
    struct block *block;
    uint32_t n;

    if (dma->nblocks == 0 && !open_block(dma, 0))
        return -ENOMEM;
    if (make_room(dma, &place))
        return -ENOMEM;
    block = dma->blocks[place.block];
    n = block->n++ - place.slot;
    memmove(&block->first[place.slot + 1], &block->first[place.slot], n * sizeof block->first[0]);
    memmove(&block->regions[place.slot + 1], &block->regions[place.slot], n * sizeof block->regions[0]);
    block->first[place.slot] = region->first;
    block->regions[place.slot] = region;
    dma->first[place.block] = block->first[0];
    dma->count++;
    return 0;
}

/* Joins a block with the one after it where the two are half empty, so that blocks are never many and hollow. */
static void join(struct dma *dma, uint32_t index)
{
    if (index + 1 >= dma->nblocks || dma->blocks[index]->n + dma->blocks[index + 1]->n > BLOCK / 2)
        return;
    move_tail(dma->blocks[index + 1], 0, dma->blocks[index]);
    close_block(dma, index + 1);
}

static void take_out(struct dma *dma, struct place place)
{
    struct block *block = dma->blocks[place.block];
    uint32_t n = --block->n - place.slot;

    dma->count--;
    if (block->n == 0) {
        close_block(dma, place.block);
        return;
    }
    memmove(&block->first[place.slot], &block->first[place.slot + 1], n * sizeof block->first[0]);
    memmove(&block->regions[place.slot], &block->regions[place.slot + 1], n * sizeof block->regions[0]);
    dma->first[place.block] = block->first[0];
    join(dma, place.block);
    if (place.block > 0)
        join(dma, place.block - 1);
}

/* ---- map and unmap ---- */

static int check_map(struct dma *dma, uint64_t address, uint64_t size, uint32_t flags, uint64_t offset)
{
    const uint32_t known = VFU_DMA_MAP_READABLE | VFU_DMA_MAP_WRITEABLE;

    if (size == 0 || (size & (dma->page - 1)))
        refuse(dma, "DMA_MAP: size 0x%llx is not a multiple of %llu above 0", ull(size), ull(dma->page));
    else if (address & (dma->page - 1))
        refuse(dma, "DMA_MAP: address 0x%llx is not a multiple of %llu", ull(address), ull(dma->page));
    else if (offset & (dma->page - 1))
        refuse(dma, "DMA_MAP: offset 0x%llx is not a multiple of %llu", ull(offset), ull(dma->page));
    else if (address + (size - 1) < address)
        refuse(dma, "DMA_MAP: address 0x%llx and size 0x%llx go beyond 2^64", ull(address), ull(size));
    else if (offset > INT64_MAX - (size < INT64_MAX ? size : INT64_MAX))
        refuse(dma, "DMA_MAP: offset 0x%llx and size 0x%llx go beyond 2^63", ull(offset), ull(size));
    else if (!(flags & known) || (flags & ~known))
        refuse(dma, "DMA_MAP: flags 0x%x are not 1 (readable), 2 (writeable) or both", flags);
    else
        return 0;
    return -EINVAL;
}

/* Where a region with these addresses would go; -EEXIST if another is there. */
static int find_room(struct dma *dma, uint64_t first, uint64_t last, struct place *place)
{
    struct region *other = NULL;

    if (dma->nblocks == 0) {
        *place = (struct place){0};
        return 0;
    }
    if (find_place(dma, last, place)) {
        other = region_at(dma, *place);
        place->slot++;
    } else {
        *place = (struct place){0};
    }
    if (!other || other->last < first)
        return 0;
    refuse(dma, "DMA_MAP: address 0x%llx, size 0x%llx overlaps the region at 0x%llx of size 0x%llx", ull(first),
           ull(last - first + 1), ull(other->first), ull(other->last - other->first + 1));
    return -EEXIST;
}

int dma_map(struct dma *dma, uint64_t address, uint64_t size, uint32_t flags, int fd, uint64_t offset)
{
    struct region *region;
    struct place place;
    int result = check_map(dma, address, size, flags, offset);

    if (result == 0)
        result = find_room(dma, address, address + (size - 1), &place);
    if (result)
        return result;
    if (dma->count >= dma->max) {
        refuse(dma, "DMA_MAP: address 0x%llx would be the region number %u, %u are allowed", ull(address),
               dma->count + 1, dma->max);
        return -ENOSPC;
    }
    region = calloc(1, sizeof *region);
    if (!region) {
        refuse(dma, "DMA_MAP: out of memory");
        return -ENOMEM;
    }
    region->first = address;
    region->last = address + (size - 1);
    region->flags = flags;
    if (fd >= 0) {
        result = filemap_get(&dma->maps, fd, offset, size, flags & VFU_DMA_MAP_WRITEABLE, &region->map);
        if (result) {
            free(region);
            return result;
        }
        region->data = region->map->base + (offset - region->map->offset);
    }
    result = insert(dma, place, region);
    if (result) {
        refuse(dma, "DMA_MAP: out of memory");
        if (region->map)
            filemap_put(&dma->maps, region->map);
        free(region);
    }
    return result;
}

static struct vfu_dma_window *window_at(const struct vfu_dma_window *window, int which)
{
    return (struct vfu_dma_window *)(uintptr_t)window->reserved[which];
}

/* Whoever looked through it saw zeros at some time, and may not have asked. */
static void end_window(struct dma *dma, const struct region *region, struct vfu_dma_window *window)
{
    if (filemap_lost(region->map, window->data, window->len))
        log_limited(&dma->fault_limit, dma->who, LOG_WARN,
                    "guest error: a window of %llu bytes at 0x%llx: the client has taken away memory behind it (file "
                    "shrunk?)", ull(window->len), ull(window->addr));
    /* Threads of a plugin may look at it. */
    __atomic_store_n(&window->data, NULL, __ATOMIC_RELEASE);
    memset(window->reserved, 0, sizeof window->reserved);
}

/* Ends what hangs on a region that is out of the structure. */
static void drop(struct dma *dma, struct region *region)
{
    const bool looked_at = region->windows && dma->on_end;
    struct vfu_dma_window *next;

    if (looked_at)
        dma->on_end(dma->on_end_ctx, true);
    for (struct vfu_dma_window *window = region->windows; window; window = next) {
        next = window_at(window, WINDOW_NEXT);
        end_window(dma, region, window);
    }
    if (region->map)
        filemap_put(&dma->maps, region->map);
    if (dma->hit == region)
        dma->hit = NULL;
    free(region);
    if (looked_at)
        dma->on_end(dma->on_end_ctx, false);
}

void dma_on_end(struct dma *dma, void (*fn)(void *ctx, bool on), void *ctx)
{
    dma->on_end = fn;
    dma->on_end_ctx = ctx;
}

int dma_unmap(struct dma *dma, uint64_t address, uint64_t size)
{
    struct place place;
    struct region *region;

    if (find_place(dma, address, &place)) {
        region = region_at(dma, place);
        if (size && region->first == address && region->last - region->first == size - 1) {
            take_out(dma, place);
            drop(dma, region);
            return 0;
        }
    }
    refuse(dma, "DMA_UNMAP: no region has address 0x%llx and size 0x%llx", ull(address), ull(size));
    return -ENOENT;
}

void dma_unmap_all(struct dma *dma)
{
    for (uint32_t i = 0; i < dma->nblocks; i++) {
        for (uint32_t slot = 0; slot < dma->blocks[i]->n; slot++)
            drop(dma, dma->blocks[i]->regions[slot]);
        free(dma->blocks[i]);
    }
    dma->nblocks = 0;
    dma->count = 0;
}

/* ---- access ---- */

static inline bool allows(const struct region *region, bool write)
{
    return region->flags & (write ? VFU_DMA_MAP_WRITEABLE : VFU_DMA_MAP_READABLE);
}

int dma_check(struct dma *dma, uint64_t address, uint64_t len, bool write)
{
    uint64_t last = address + (len - 1);
    struct region *region;
    struct place place;
    int result = 0;

    if (len == 0)
        return 0;
    if (last < address)
        return -EFAULT;
    region = find(dma, address);
    if (!region || !allows(region, write))
        return -EFAULT;
    if (last <= region->last)
        return region->data ? 0 : 1;
    find_place(dma, address, &place);
    for (;;) {
        uint64_t end = region->last;

        if (!allows(region, write))
            return -EFAULT;
        if (!region->data)
            result = 1;
        if (last <= end)
            return result;
        if (!next_place(dma, &place))
            return -EFAULT;
        region = region_at(dma, place);
        if (region->first != end + 1)
            return -EFAULT;
    }
}

static int copy_piece(const struct region *region, uint64_t address, uint8_t *buf, uint64_t len, bool write)
{
    uint8_t *client = region->data + (address - region->first);

    if (fault_copy(client, buf, len, write) || filemap_lost(region->map, client, len))
        return -EFAULT;
    return 0;
}

/* Over several regions, all of which have been checked. */
static int copy_span(struct dma *dma, uint64_t address, uint8_t *buf, uint64_t len, bool write)
{
    struct place place = {0};
    int result = 0;

    find_place(dma, address, &place);
    for (;;) {
        const struct region *region = region_at(dma, place);
        uint64_t piece = region->last - address < len - 1 ? region->last - address + 1 : len;

        result = copy_piece(region, address, buf, piece, write);
        if (result || piece == len)
            return result;
        address += piece;
        buf += piece;
        len -= piece;
        next_place(dma, &place);
    }
}

int dma_copy(struct dma *dma, uint64_t address, void *buf, uint64_t len, bool write)
{
    struct region *region;
    int result;

    if (len == 0)
        return 0;
    region = find(dma, address);
    if (region && len - 1 <= region->last - address && region->data && allows(region, write)) {
        result = copy_piece(region, address, buf, len, write);
    } else {
        result = dma_check(dma, address, len, write);
        if (result)
            return result > 0 ? -EWOULDBLOCK : result;
        result = copy_span(dma, address, buf, len, write);
    }
    if (write)
        dma_wrote(dma, address, len); /* also after a fault, which may have come half way */
    if (result)
        log_limited(&dma->fault_limit, dma->who, LOG_WARN,
                    "guest error: DMA %s of %llu bytes at 0x%llx: the client has taken away memory behind it (file shrunk?)",
                    write ? "write" : "read", ull(len), ull(address));
    return result;
}

int dma_piece(struct dma *dma, uint64_t address, uint64_t len, bool write, uint8_t **pointer, uint64_t *piece)
{
    struct region *region = find(dma, address);
    uint64_t left;

    if (!region || !allows(region, write))
        return -EFAULT;
    left = region->last - address; /* one less than what is left: it may be 2^64 */
    *pointer = region->data ? region->data + (address - region->first) : NULL;
    *piece = len == 0 || len - 1 <= left ? len : left + 1;
    return 0;
}

void dma_on_write(struct dma *dma, void (*fn)(void *ctx, uint64_t address, uint64_t len), void *ctx)
{
    dma->on_write = fn;
    dma->on_write_ctx = ctx;
}

void dma_wrote(struct dma *dma, uint64_t address, uint64_t len)
{
    if (dma->on_write && len)
        dma->on_write(dma->on_write_ctx, address, len);
}

int dma_each(struct dma *dma, int (*fn)(void *ctx, uint64_t address, uint64_t size, uint32_t flags, bool mapped), void *ctx)
{
    for (uint32_t i = 0; i < dma->nblocks; i++) {
        const struct block *block = dma->blocks[i];

        for (uint32_t slot = 0; slot < block->n; slot++) {
            const struct region *region = block->regions[slot];
            int result = fn(ctx, region->first, region->last - region->first + 1, region->flags, region->data);

            if (result)
                return result;
        }
    }
    return 0;
}

/* ---- windows ---- */

int dma_window_open(struct dma *dma, uint64_t address, uint64_t len, uint32_t prot, struct vfu_dma_window *window)
{
    const uint32_t known = VFU_DMA_PROT_READ | VFU_DMA_PROT_WRITE;
    struct region *region;

    if (window->struct_size < sizeof *window || len == 0 || !(prot & known) || (prot & ~known)) {
        log_limited(&dma->window_limit, dma->who, LOG_WARN,
                    "DMA window at 0x%llx: struct_size %u (at least %zu), length 0x%llx or prot 0x%x is not valid",
                    ull(address), window->struct_size, sizeof *window, ull(len), prot);
        return -EINVAL;
    }
    region = find(dma, address);
    if (!region || len - 1 > region->last - address || !region->data ||
        ((prot & VFU_DMA_PROT_READ) && !allows(region, false)) ||
        ((prot & VFU_DMA_PROT_WRITE) && !allows(region, true)))
        return -EFAULT;
    window->prot = prot;
    window->addr = address;
    window->len = len;
    window->reserved[WINDOW_PREVIOUS] = 0;
    window->reserved[WINDOW_NEXT] = (uintptr_t)region->windows;
    window->reserved[WINDOW_REGION] = (uintptr_t)region;
    window->reserved[WINDOW_OWNER] = (uintptr_t)dma;
    if (region->windows)
        region->windows->reserved[WINDOW_PREVIOUS] = (uintptr_t)window;
    region->windows = window;
    __atomic_store_n(&window->data, region->data + (address - region->first), __ATOMIC_RELEASE);
    return 0;
}

static void end_windows(struct dma *dma, struct region *region)
{
    struct vfu_dma_window *next;

    for (struct vfu_dma_window *window = region->windows; window; window = next) {
        next = window_at(window, WINDOW_NEXT);
        end_window(dma, region, window);
    }
    region->windows = NULL;
}

void dma_window_end_all(struct dma *dma)
{
    for (uint32_t b = 0; b < dma->nblocks; b++) {
        for (uint32_t i = 0; i < dma->blocks[b]->n; i++)
            end_windows(dma, dma->blocks[b]->regions[i]);
    }
}

int dma_window_check(const struct vfu_dma_window *window)
{
    const uint8_t *data = __atomic_load_n(&window->data, __ATOMIC_ACQUIRE);
    const struct region *region = (const struct region *)(uintptr_t)window->reserved[WINDOW_REGION];

    if (!data || !region || filemap_lost(region->map, data, window->len))
        return -EFAULT;
    return 0;
}

int dma_window_close(struct dma *dma, struct vfu_dma_window *window)
{
    struct vfu_dma_window *next = window_at(window, WINDOW_NEXT), *previous = window_at(window, WINDOW_PREVIOUS);
    struct region *region = (struct region *)(uintptr_t)window->reserved[WINDOW_REGION];

    if (!window->data)
        return -ENOENT; /* it has ended by itself, or was never open */
    if (window->reserved[WINDOW_OWNER] != (uintptr_t)dma) {
        log_limited(&dma->window_limit, dma->who, LOG_WARN, "DMA window at 0x%llx belongs to another device",
                    ull(window->addr));
        return -EINVAL;
    }
    if (previous)
        previous->reserved[WINDOW_NEXT] = (uintptr_t)next;
    else
        region->windows = next;
    if (next)
        next->reserved[WINDOW_PREVIOUS] = (uintptr_t)previous;
    end_window(dma, region, window);
    return 0;
}
