/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regcell - where the values of registers are, and the shortest way to one: what regmap builds once and region looks
 * at for each access. Inline, since a plain register's access is little else. Runs on the device's thread.
 */
#ifndef CORE_REGCELL_H
#define CORE_REGCELL_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define REGMAP_PAGE_BITS 12
#define REGMAP_PAGE_SIZE (1u << REGMAP_PAGE_BITS)

/* What an access may do without a look at the register's rule: any part of it read; all of it written. */
#define CELL_READ_PLAIN (1u << 0)
#define CELL_WRITE_PLAIN (1u << 1)

/* One register instance. Cells are sorted by region and offset, so that the next one is the next in memory. */
struct reg_cell {
    uint64_t offset; /* in the region */
    uint64_t value;
    uint32_t reg;    /* index in regs and rules */
    uint32_t nr;     /* group index * elements + array index */
    uint32_t memo;   /* index in memos, or REGMAP_NOWHERE */
    uint8_t size;
    uint8_t plain;   /* CELL_*_PLAIN */
    uint8_t halt;    /* REGMAP_HALT_*: not plain, then */
};

/* Which cell covers each byte of a page: 0 is none, else 1 + its distance from `base`. Tables of pages that look alike
 * are shared. */
struct reg_page {
    const uint16_t *table; /* NULL: nothing here, unless the span is `sparse` */
    uint32_t base;
    bool sparse; /* no table was made: search */
};

/* The registers of one region. */
struct reg_span {
    struct reg_cell *cells;     /* of the whole map */
    uint32_t first, ncells;     /* the region's among them */
    uint64_t page0, npages;     /* pages that have an entry; npages 0 with cells: search */
    struct reg_page *pages;
};

/* The cell that covers the byte at offset, if a page table knows: NULL says nothing. */
static inline struct reg_cell *regcell_hit(const struct reg_span *span, uint64_t offset)
{
    uint64_t page = (offset >> REGMAP_PAGE_BITS) - span->page0;
    const struct reg_page *entry;
    uint32_t distance;

    if (page >= span->npages)
        return NULL;
    entry = &span->pages[page];
    if (!entry->table)
        return NULL;
    distance = entry->table[offset & (REGMAP_PAGE_SIZE - 1)];
    return distance ? &span->cells[entry->base + distance - 1] : NULL;
}

/* One move for what a driver takes for one: memory may be looked at by others meanwhile. */
static inline void regcell_copy(void *to, const void *from, uint32_t size)
{
    switch (size) {
    case 1: memcpy(to, from, 1); return;
    case 2: memcpy(to, from, 2); return;
    case 4: memcpy(to, from, 4); return;
    case 8: memcpy(to, from, 8); return;
    default: memcpy(to, from, size); return;
    }
}

/* 1 to 8 bytes in address order, as the number they are on a bus of that order. */
static inline uint64_t regcell_number(const uint8_t *bytes, uint32_t size, bool big)
{
    uint64_t value = 0;

    regcell_copy(&value, bytes, size);
    value = le64toh(value);
    return big ? __builtin_bswap64(value) >> (64 - 8 * size) : value;
}

static inline void regcell_bytes(uint8_t *bytes, uint32_t size, bool big, uint64_t value)
{
    value = htole64(big ? __builtin_bswap64(value) >> (64 - 8 * size) : value);
    regcell_copy(bytes, &value, size);
}

/* Up to 8 bytes of a plain register, which lie in it. */
static inline void regcell_load(const struct reg_cell *cell, uint64_t offset, uint32_t size, uint8_t *bytes)
{
    uint64_t value = htole64(cell->value >> (8 * (offset - cell->offset)));

    regcell_copy(bytes, &value, size);
}

/* All of a plain register. */
static inline void regcell_store(struct reg_cell *cell, const uint8_t *bytes)
{
    uint64_t value = 0;

    switch (cell->size) {
    case 1: memcpy(&value, bytes, 1); break;
    case 2: memcpy(&value, bytes, 2); break;
    case 4: memcpy(&value, bytes, 4); break;
    default: memcpy(&value, bytes, 8); break;
    }
    cell->value = le64toh(value);
}

#endif
