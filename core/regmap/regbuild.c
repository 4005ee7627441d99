/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regbuild - lays a checked register map out for speed: masks of each register, cells sorted by place, page tables,
 * names. Finds overlapping registers and names used twice on the way. Runs once, when a device is made, on any thread.
 */
#define _GNU_SOURCE
#include "core/regmap/regmap_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"

/* 2^20 pages are 4 GiB of a BAR: a directory of 16 MiB, of which only what is used is ever touched. */
#define DIRECTORY_MAX (UINT64_C(1) << 20)
/* Page tables of 8 KiB each that differ; a map that needs more is searched instead. */
#define TABLES_MAX 2048u

/* The mask of the kind in the rule, or NULL for those that only keep their bits. */
static uint64_t *kind_mask(struct reg_rule *rule, uint32_t access)
{
    switch (access) {
    case VFU_ACCESS_RW: return &rule->rw;
    case VFU_ACCESS_WO: return &rule->wo;
    case VFU_ACCESS_W1C: return &rule->w1c;
    case VFU_ACCESS_W1S: return &rule->w1s;
    case VFU_ACCESS_W1T: return &rule->w1t;
    case VFU_ACCESS_W0C: return &rule->w0c;
    case VFU_ACCESS_RC: return &rule->rc;
    case VFU_ACCESS_RS: return &rule->rs;
    case VFU_ACCESS_WONCE: return &rule->wonce;
    case VFU_ACCESS_UNIMP: return &rule->unimp;
    default: return NULL; /* read-only, reserved */
    }
}

static void build_rule(const struct regmap *map, struct reg_rule *rule, const struct vfu_reg *reg)
{
    uint64_t *mask;

    rule->width = UINT64_MAX >> (64 - 8 * reg->size);
    rule->reset = reg->reset;
    rule->flags = reg->flags;
    rule->hook = reg->hook;
    rule->size = (uint8_t)reg->size;
    rule->array = reg->count > 0;
    rule->group = reg->group != VFU_NONE;
    rule->elements = reg->count ? reg->count : 1;
    rule->groups = rule->group ? map->groups[reg->group].count : 1;
    if (!reg->nfields && (mask = kind_mask(rule, reg->access)))
        *mask = rule->width;
    for (uint32_t i = 0; i < reg->nfields; i++) {
        const struct vfu_field *field = &reg->fields[i];

        mask = kind_mask(rule, field->access);
        if (mask)
            *mask |= UINT64_MAX >> (64 - field->width) << field->lsb;
    }
    rule->as_is = rule->width & ~(rule->wo | rule->w1c | rule->w1s | rule->w1t | rule->w0c);
}

/* Locks in the order of their registers, each register's in the order they were declared. */
static int build_locks(struct regmap *map)
{
    struct vfu_lock *sorted = regcheck_alloc(map, map->nlocks, sizeof *sorted);
    uint32_t at = 0;

    if (!sorted)
        return -ENOMEM;
    for (uint32_t i = 0; i < map->nlocks; i++)
        map->rules[map->locks[i].reg].nlocks++;
    for (uint32_t i = 0; i < map->nregs; i++) {
        map->rules[i].lock = at;
        at += map->rules[i].nlocks;
        map->rules[i].nlocks = 0;
    }
    for (uint32_t i = 0; i < map->nlocks; i++) {
        struct reg_rule *rule = &map->rules[map->locks[i].reg];

        sorted[rule->lock + rule->nlocks++] = map->locks[i];
    }
    map->locks = sorted;
    return 0;
}

static bool needs_memo(const struct reg_rule *rule)
{
    return rule->wonce || (rule->flags & VFU_REG_COMMIT_LAST);
}

void regbuild_plain(struct regmap *map, struct reg_cell *cell)
{
    const struct reg_rule *rule = &map->rules[cell->reg];

    cell->plain = 0;
    /* A single byte has no order. */
    if ((rule->flags & VFU_REG_BIG_ENDIAN) && cell->size > 1)
        return;
    if (!(rule->flags & VFU_REG_HOOK_READ) && !(rule->wo | rule->rc | rule->rs | rule->unimp))
        cell->plain |= CELL_READ_PLAIN;
    if (!(rule->flags & (VFU_REG_HOOK_WRITE | VFU_REG_COMMIT_LAST)) && rule->rw == rule->width && !rule->nlocks &&
        !rule->watched)
        cell->plain |= CELL_WRITE_PLAIN;
    if (cell->halt & REGMAP_HALT_READ)
        cell->plain &= (uint8_t)~CELL_READ_PLAIN;
    if (cell->halt & REGMAP_HALT_WRITE)
        cell->plain &= (uint8_t)~CELL_WRITE_PLAIN;
}

static int cell_compare(const void *a, const void *b, void *arg)
{
    const struct regmap *map = arg;
    const struct reg_cell *x = a, *y = b;
    uint32_t rx = map->regs[x->reg].region, ry = map->regs[y->reg].region;

    if (rx != ry)
        return rx < ry ? -1 : 1;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->reg != y->reg ? (x->reg < y->reg ? -1 : 1) : (x->nr > y->nr) - (x->nr < y->nr);
}

static void make_cells(struct regmap *map)
{
    uint32_t at = 0;

    for (uint32_t r = 0; r < map->nregs; r++) {
        const struct vfu_reg *reg = &map->regs[r];
        const struct vfu_group *group = reg->group == VFU_NONE ? NULL : &map->groups[reg->group];
        struct reg_rule *rule = &map->rules[r];

        rule->first = at;
        for (uint32_t g = 0; g < rule->groups; g++) {
            for (uint32_t i = 0; i < rule->elements; i++) {
                struct reg_cell *cell = &map->cells[at];

                cell->offset = reg->offset + i * reg->stride + (group ? group->offset + g * group->stride : 0);
                cell->reg = r;
                cell->nr = at++ - rule->first;
                cell->value = rule->reset;
                cell->size = rule->size;
                cell->memo = needs_memo(rule) ? map->nmemos++ : REGMAP_NOWHERE;
            }
        }
    }
}

static int check_overlaps(const struct regmap *map)
{
    for (uint32_t i = 1; i < map->ncells; i++) {
        const struct reg_cell *a = &map->cells[i - 1], *b = &map->cells[i];
        char one[REGMAP_FULL_NAME_MAX], two[REGMAP_FULL_NAME_MAX], where[16];

        if (map->regs[a->reg].region != map->regs[b->reg].region || b->offset - a->offset >= a->size)
            continue;
        regmap_name(map, a, one, sizeof one);
        regmap_name(map, b, two, sizeof two);
        log_error(map->who, "registers %s (0x%llx-0x%llx) and %s (0x%llx-0x%llx) overlap in %s", one,
                  (unsigned long long)a->offset, (unsigned long long)a->offset + a->size - 1, two,
                  (unsigned long long)b->offset, (unsigned long long)b->offset + b->size - 1,
                  regcheck_region(map->regs[a->reg].region, where));
        return -EINVAL;
    }
    return 0;
}

static int build_cells(struct regmap *map)
{
    map->cells = regcheck_alloc(map, map->ncells, sizeof *map->cells);
    map->slots = regcheck_alloc(map, map->ncells, sizeof *map->slots);
    if (!map->cells || !map->slots)
        return -ENOMEM;
    make_cells(map);
    map->memos = regcheck_alloc(map, map->nmemos, sizeof *map->memos);
    if (!map->memos)
        return -ENOMEM;
    qsort_r(map->cells, map->ncells, sizeof *map->cells, cell_compare, map);
    for (uint32_t i = 0; i < REGMAP_REGIONS; i++)
        map->spans[i].cells = map->cells;
    for (uint32_t i = 0; i < map->ncells; i++) {
        struct reg_cell *cell = &map->cells[i];
        struct reg_span *span = &map->spans[map->regs[cell->reg].region];

        map->slots[map->rules[cell->reg].first + cell->nr] = i;
        if (!span->ncells++)
            span->first = i;
        regbuild_plain(map, cell);
    }
    return check_overlaps(map);
}

/* Fills a page's table from cell `at` on, whose distances count from there. The first cell that lies beyond is
 * returned: it, or the one before that reaches over the border, opens the next page. */
static uint32_t draw_page(const struct regmap *map, uint32_t at, uint32_t end, uint64_t start, uint16_t *table)
{
    uint32_t i = at;

    memset(table, 0, REGMAP_PAGE_SIZE * sizeof *table);
    for (; i < end && (map->cells[i].offset < start || map->cells[i].offset - start < REGMAP_PAGE_SIZE); i++) {
        const struct reg_cell *cell = &map->cells[i];

        for (uint32_t b = 0; b < cell->size; b++) {
            uint64_t byte = cell->offset + b - start; /* wraps for bytes of the page before, and so is large */

            if (byte < REGMAP_PAGE_SIZE)
                table[byte] = (uint16_t)(i - at + 1);
        }
    }
    return i;
}

/* Queues and channels that repeat every few pages have tables that are alike: the last one made is tried again. */
static const uint16_t *keep_table(struct regmap *map, const uint16_t *drawn, const uint16_t **last, uint32_t *ntables)
{
    uint16_t *table;

    if (*last && memcmp(*last, drawn, REGMAP_PAGE_SIZE * sizeof *drawn) == 0)
        return *last;
    if (*ntables == TABLES_MAX)
        return NULL;
    table = regcheck_alloc(map, REGMAP_PAGE_SIZE, sizeof *table);
    if (!table)
        return NULL; /* searched then; slower is better than not at all */
    memcpy(table, drawn, REGMAP_PAGE_SIZE * sizeof *table);
    ++*ntables;
    return *last = table;
}

static int build_pages(struct regmap *map, struct reg_span *span, uint32_t *ntables)
{
    uint32_t at = span->first, end = span->first + span->ncells;
    uint64_t page = map->cells[at].offset >> REGMAP_PAGE_BITS;
    uint64_t last_page = (map->cells[end - 1].offset + map->cells[end - 1].size - 1) >> REGMAP_PAGE_BITS;
    const uint16_t *last = NULL;
    uint16_t drawn[REGMAP_PAGE_SIZE];

    span->page0 = page;
    if (last_page - page >= DIRECTORY_MAX)
        return 0;
    span->pages = regcheck_alloc(map, last_page - page + 1, sizeof *span->pages);
    if (!span->pages)
        return -ENOMEM;
    span->npages = last_page - page + 1;
    while (at < end) {
        struct reg_page *entry = &span->pages[page - span->page0];
        uint32_t next = draw_page(map, at, end, page << REGMAP_PAGE_BITS, drawn);

        entry->table = keep_table(map, drawn, &last, ntables);
        entry->base = at;
        entry->sparse = !entry->table;
        const struct reg_cell *tail = &map->cells[next - 1];

        if ((tail->offset + tail->size - 1) >> REGMAP_PAGE_BITS > page) { /* reaches over the border */
            at = next - 1;
            page++;
        } else {
            at = next;
            page = at < end ? map->cells[at].offset >> REGMAP_PAGE_BITS : page;
        }
    }
    return 0;
}

int regbuild_name_compare(const void *a, const void *b)
{
    const struct reg_name *x = a, *y = b;

    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int build_names(struct regmap *map)
{
    uint32_t n = map->nregs + map->ngroups;

    map->names = regcheck_alloc(map, n, sizeof *map->names);
    if (!map->names)
        return -ENOMEM;
    for (uint32_t i = 0; i < map->ngroups; i++)
        map->names[i] = (struct reg_name){ VFU_NONE, i, true, map->groups[i].name };
    for (uint32_t i = 0; i < map->nregs; i++)
        map->names[map->ngroups + i] = (struct reg_name){ map->regs[i].group, i, false, map->regs[i].name };
    qsort(map->names, n, sizeof *map->names, regbuild_name_compare);
    for (uint32_t i = 1; i < n; i++) {
        const struct reg_name *name = &map->names[i];

        if (regbuild_name_compare(name - 1, name) != 0)
            continue;
        if (name->group == VFU_NONE)
            log_error(map->who, "the name %s is used twice among registers and groups", name->name);
        else
            log_error(map->who, "group %s has two registers named %s", map->groups[name->group].name, name->name);
        return -EINVAL;
    }
    return 0;
}

int regbuild_all(struct regmap *map)
{
    uint32_t ntables = 0;
    int err;

    map->rules = regcheck_alloc(map, map->nregs, sizeof *map->rules);
    if (!map->rules)
        return -ENOMEM;
    for (uint32_t i = 0; i < map->nregs; i++)
        build_rule(map, &map->rules[i], &map->regs[i]);
    err = build_locks(map);
    if (!err)
        err = build_names(map);
    if (!err)
        err = build_cells(map);
    for (uint32_t i = 0; i < REGMAP_REGIONS && !err; i++)
        if (map->spans[i].ncells)
            err = build_pages(map, &map->spans[i], &ntables);
    return err;
}
