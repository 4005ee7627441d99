/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regmap - the register map engine at work: accesses, hooks, locks, resets, levels. regcheck and regbuild make the map,
 * regname knows what registers are called; here nothing allocates after regmap_new. Runs on the device's thread. Hooks
 * may come back in through regmap_get and regmap_set, and may cause a reset: nothing read before a hook is trusted
 * after it.
 */
#include "core/regmap/regmap_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"

int regmap_new(struct regmap **out, const char *who, const struct vfu_regmap *desc,
               const uint64_t region_size[REGMAP_REGIONS])
{
    struct regmap *map = calloc(1, sizeof *map);
    char *copy;
    int err = 0;

    if (!map) {
        log_error(who, "no memory for the register map");
        return -ENOMEM;
    }
    map->who = who;
    if (who) {
        copy = regcheck_alloc(map, strlen(who) + 1, 1);
        if (copy)
            map->who = strcpy(copy, who);
        else
            err = -ENOMEM;
    }
    if (!err && desc)
        err = regcheck_copy(map, desc, region_size);
    if (!err && desc)
        err = regbuild_all(map);
    if (err) {
        regmap_free(map);
        return err;
    }
    *out = map;
    return 0;
}

void regmap_free(struct regmap *map)
{
    if (!map)
        return;
    while (map->chunks) {
        struct reg_chunk *chunk = map->chunks;

        map->chunks = chunk->next;
        free(chunk);
    }
    free(map);
}

int regmap_bind(struct regmap *map, const struct vfu_regmap_ops *ops, void *self)
{
    struct vfu_regmap_ops own = { 0 };

    if (ops)
        memcpy(&own, ops, ops->struct_size < sizeof own ? ops->struct_size : sizeof own);
    for (uint32_t i = 0; i < map->nregs; i++) {
        const char *missing = NULL;

        if ((map->regs[i].flags & VFU_REG_HOOK_READ) && !own.read)
            missing = "read";
        if ((map->regs[i].flags & VFU_REG_HOOK_WRITE) && !own.write)
            missing = "write";
        if (missing) {
            log_error(map->who, "register %s has a %s hook, but the plugin's %s has no function for it",
                      map->regs[i].name, missing, VFU_EXT_REGMAP);
            return -EINVAL;
        }
    }
    for (uint32_t i = 0; i < map->nlocks; i++) {
        if (map->locks[i].cond == VFU_NONE && !own.locked) {
            log_error(map->who, "register %s has a lock function, but the plugin's %s has none",
                      map->regs[map->locks[i].reg].name, VFU_EXT_REGMAP);
            return -EINVAL;
        }
    }
    map->ops = own;
    map->self = self;
    return 0;
}

void regmap_swap(struct regmap *map, struct vfu_regmap_ops *ops, void **self)
{
    const struct vfu_regmap_ops old_ops = map->ops;
    void *old_self = map->self;

    map->ops = *ops;
    map->self = *self;
    *ops = old_ops;
    *self = old_self;
}

void regmap_big_endian(struct regmap *map, uint32_t region)
{
    const struct reg_span *span;

    if (region >= REGMAP_REGIONS)
        return;
    span = &map->spans[region];
    for (uint32_t i = span->first; i < span->first + span->ncells; i++) {
        struct reg_cell *cell = &map->cells[i];

        map->regs[cell->reg].flags |= VFU_REG_BIG_ENDIAN;
        map->rules[cell->reg].flags |= VFU_REG_BIG_ENDIAN;
        regbuild_plain(map, cell);
    }
}

/* ---- finding ------------------------------------------------------------------------------------------------ */

bool regmap_any(const struct regmap *map, uint32_t region)
{
    return map && region < REGMAP_REGIONS && map->spans[region].ncells;
}

uint32_t regmap_count(const struct regmap *map)
{
    return map->ncells;
}

const struct reg_cell *regmap_cell(const struct regmap *map, uint32_t place)
{
    return &map->cells[place];
}

uint32_t regmap_place(const struct regmap *map, const struct reg_cell *cell)
{
    return (uint32_t)(cell - map->cells);
}

/* The first cell of the span that begins beyond offset; the index after the last if there is none. */
static uint32_t cell_after(const struct regmap *map, const struct reg_span *span, uint64_t offset)
{
    uint32_t low = span->first, high = span->first + span->ncells;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (map->cells[middle].offset > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static struct reg_cell *find_slowly(const struct regmap *map, uint32_t region, uint64_t offset, uint64_t limit,
                                    uint64_t *span)
{
    const struct reg_span *cells = &map->spans[region];
    uint32_t after = cell_after(map, cells, offset);

    if (after > cells->first) {
        struct reg_cell *cell = &map->cells[after - 1];

        if (offset - cell->offset < cell->size) {
            *span = cell->size - (offset - cell->offset);
            return cell;
        }
    }
    if (after < cells->first + cells->ncells && map->cells[after].offset < limit)
        limit = map->cells[after].offset;
    *span = limit - offset;
    return NULL;
}

struct reg_cell *regmap_find(const struct regmap *map, uint32_t region, uint64_t offset, uint64_t limit, uint64_t *span)
{
    struct reg_cell *cell = regcell_hit(&map->spans[region], offset);

    if (!cell)
        return find_slowly(map, region, offset, limit, span);
    *span = cell->offset + cell->size - offset;
    return cell;
}

const struct reg_span *regmap_span(const struct regmap *map, uint32_t region)
{
    return regmap_any(map, region) ? &map->spans[region] : NULL;
}

struct reg_cell *regmap_instance(const struct regmap *map, uint32_t reg, uint32_t index, uint32_t group_index)
{
    const struct reg_rule *rule;

    if (reg >= map->nregs)
        return NULL;
    rule = &map->rules[reg];
    if (rule->array ? index >= rule->elements : index != VFU_NONE)
        return NULL;
    if (rule->group ? group_index >= rule->groups : group_index != VFU_NONE)
        return NULL;
    return &map->cells[map->slots[rule->first + (rule->group ? group_index : 0) * rule->elements +
                                  (rule->array ? index : 0)]];
}

/* ---- levels ------------------------------------------------------------------------------------------------- */

static uint64_t level_bits(const struct regmap *map)
{
    return map->level ? map->level->value & (map->mask ? map->mask->value : UINT64_MAX) : 0;
}

/* A watched register may have changed. Reported at once, even from within a hook. */
static void level_touched(struct regmap *map)
{
    uint64_t bits = level_bits(map);

    if (bits == map->bits)
        return;
    map->bits = bits;
    if (map->changed)
        map->changed(map->changed_ctx, bits);
}

void regmap_level(struct regmap *map)
{
    map->bits = level_bits(map);
    if (map->level && map->changed)
        map->changed(map->changed_ctx, map->bits);
}

static int watch_cell(struct regmap *map, uint32_t reg, const char *what, struct reg_cell **out)
{
    struct reg_cell *cell = regmap_instance(map, reg, VFU_NONE, VFU_NONE);

    *out = NULL;
    if (reg == VFU_NONE)
        return 0;
    if (!cell) {
        log_error(map->who, "the interrupt's %s register is %s%s", what, reg < map->nregs ? map->regs[reg].name : "",
                  reg < map->nregs ? ", one of an array or group; it must be a plain register" : "not in the map");
        return -EINVAL;
    }
    *out = cell;
    map->rules[reg].watched = true;
    regbuild_plain(map, cell);
    return 0;
}

int regmap_watch_level(struct regmap *map, uint32_t level_reg, uint32_t mask_reg,
                       void (*changed)(void *ctx, uint64_t bits), void *ctx)
{
    int err = watch_cell(map, level_reg, "level", &map->level);

    if (!err)
        err = watch_cell(map, mask_reg, "mask", &map->mask);
    if (err) {
        map->level = map->mask = NULL;
        return err;
    }
    map->changed = changed;
    map->changed_ctx = ctx;
    map->bits = 0;
    return 0;
}

/* ---- software's access -------------------------------------------------------------------------------------- */

/* How far an access's bits are from bit 0 of the register. */
static uint32_t bit_shift(const struct reg_rule *rule, const struct reg_cell *cell, uint64_t offset, uint32_t size)
{
    uint32_t at = (uint32_t)(offset - cell->offset);

    return 8 * (rule->flags & VFU_REG_BIG_ENDIAN ? cell->size - at - size : at);
}

static void fill_call(const struct reg_rule *rule, const struct reg_cell *cell, struct vfu_reg_call *call)
{
    *call = (struct vfu_reg_call){
        .struct_size = sizeof *call,
        .hook = rule->hook,
        .reg = cell->reg,
        .index = rule->array ? cell->nr % rule->elements : VFU_NONE,
        .group_index = rule->group ? cell->nr / rule->elements : VFU_NONE,
        .size = cell->size,
        .value = cell->value,
    };
}

/* Once for each register, by the name of the instance that was met first. */
static void report_unimplemented(struct regmap *map, struct reg_rule *rule, const struct reg_cell *cell,
                                 const char *done)
{
    char name[REGMAP_FULL_NAME_MAX], where[16];

    rule->reported = true;
    regmap_name(map, cell, name, sizeof name);
    log_warn(map->who, "register %s (%s, offset 0x%llx) is not implemented and was %s", name,
             regcheck_region(map->regs[cell->reg].region, where), (unsigned long long)cell->offset, done);
}

static uint64_t read_slowly(struct regmap *map, struct reg_rule *rule, struct reg_cell *cell, uint64_t lanes)
{
    uint64_t value = cell->value & ~rule->wo;

    if (rule->unimp == rule->width && !rule->reported)
        report_unimplemented(map, rule, cell, "read");
    if ((rule->flags & VFU_REG_HOOK_READ) && map->ops.read) {
        uint32_t resets = map->resets;
        struct vfu_reg_call call;
        int32_t result;

        fill_call(rule, cell, &call);
        result = map->ops.read(map->self, &call);
        if (result < 0) {
            map->failures++;
            return rule->width; /* and nothing is cleared: software has not seen it */
        }
        value = result == VFU_REPLACE ? call.value & rule->width : cell->value & ~rule->wo;
        if (resets != map->resets)
            return value;
    }
    if ((rule->rc | rule->rs) & lanes) {
        cell->value = (cell->value & ~(rule->rc & lanes)) | (rule->rs & lanes);
        if (rule->watched)
            level_touched(map);
    }
    return value;
}

void regmap_read(struct regmap *map, struct reg_cell *cell, uint64_t offset, uint32_t size, uint8_t *bytes)
{
    struct reg_rule *rule;
    uint32_t shift;

    if (cell->plain & CELL_READ_PLAIN) {
        regcell_load(cell, offset, size, bytes);
        return;
    }
    if (cell->halt & REGMAP_HALT_READ)
        map->halt(map->halt_ctx, cell, offset, size, NULL);
    rule = &map->rules[cell->reg];
    shift = bit_shift(rule, cell, offset, size);
    regcell_bytes(bytes, size, rule->flags & VFU_REG_BIG_ENDIAN,
         read_slowly(map, rule, cell, UINT64_MAX >> (64 - 8 * size) << shift) >> shift);
}

/* What a write makes of the register. bits is 0 outside of lanes, the bits of the bytes that were written. */
static inline uint64_t merge(const struct reg_rule *rule, uint64_t old, uint64_t once, uint64_t bits, uint64_t lanes)
{
    uint64_t set = (rule->rw | (rule->wonce & ~once)) & lanes;
    uint64_t value = (old & ~(set | rule->wo)) | (bits & (set | rule->wo));

    value &= ~(bits & rule->w1c);
    value |= bits & rule->w1s;
    value ^= bits & rule->w1t;
    return value & ~(rule->w0c & lanes & ~bits);
}

/* The bits as sent, with those that were not as their kinds have it. */
static uint64_t as_sent(const struct reg_rule *rule, uint64_t old, uint64_t bits, uint64_t lanes)
{
    return bits | (((old & rule->as_is) | rule->w0c) & ~lanes);
}

static bool lock_holds(const struct regmap *map, const struct vfu_lock *lock, const struct reg_rule *rule,
                       const struct reg_cell *cell)
{
    const struct reg_rule *cond = &map->rules[lock->cond];
    uint32_t at = cond->first;
    uint64_t value;

    if (cond->group)
        at += cell->nr / rule->elements * cond->elements;
    if (cond->array)
        at += cell->nr % rule->elements;
    value = map->cells[map->slots[at]].value;
    return ((value & lock->mask) == lock->value) != lock->invert;
}

/* A lock function that fails is a bus error: the write is dropped as well. */
static bool judge(struct regmap *map, const struct reg_rule *rule, const struct reg_cell *cell, uint64_t bits,
                  uint64_t lanes)
{
    for (uint32_t i = rule->lock; i < rule->lock + rule->nlocks; i++) {
        const struct vfu_lock *lock = &map->locks[i];
        struct vfu_reg_call call;

        if (lock->cond != VFU_NONE) {
            if (lock_holds(map, lock, rule, cell))
                return true;
        } else if (map->ops.locked) {
            uint64_t once = cell->memo == REGMAP_NOWHERE ? 0 : map->memos[cell->memo].once;

            fill_call(rule, cell, &call);
            call.old = cell->value;
            call.value = merge(rule, cell->value, once, bits, lanes);
            call.raw = as_sent(rule, cell->value, bits, lanes);
            if (map->ops.locked(map->self, lock->hook, &call) != 0)
                return true;
        }
    }
    return false;
}

static bool locked(struct regmap *map, const struct reg_rule *rule, const struct reg_cell *cell, uint64_t bits,
                   uint64_t lanes)
{
    bool locked = judge(map, rule, cell, bits, lanes);

    if (map->judged)
        map->judged(map->judged_ctx, cell, locked);
    return locked;
}

/* Stores what is written, then tells the hook. */
static void commit(struct regmap *map, struct reg_rule *rule, struct reg_cell *cell, uint64_t bits, uint64_t lanes)
{
    struct reg_memo none = { 0 }, *memo = cell->memo == REGMAP_NOWHERE ? &none : &map->memos[cell->memo];
    uint64_t old = cell->value, once = memo->once;

    cell->value = merge(rule, old, once, bits, lanes);
    memo->once |= rule->wonce & lanes;
    if ((rule->flags & VFU_REG_HOOK_WRITE) && map->ops.write) {
        uint32_t resets = map->resets;
        struct vfu_reg_call call;
        int32_t result;

        fill_call(rule, cell, &call);
        call.old = old;
        call.raw = as_sent(rule, old, bits, lanes);
        result = map->ops.write(map->self, &call);
        map->failures += result < 0;
        if (result == VFU_REPLACE) {
            cell->value = call.value & rule->width;
        } else if (result < 0 && resets == map->resets) { /* a reset in between has the last word */
            cell->value = old;
            memo->once = once;
        }
    }
    if (rule->watched)
        level_touched(map);
}

static void write_slowly(struct regmap *map, struct reg_rule *rule, struct reg_cell *cell, uint64_t bits,
                         uint64_t lanes, bool last)
{
    struct reg_memo *memo = rule->flags & VFU_REG_COMMIT_LAST ? &map->memos[cell->memo] : NULL;
    uint64_t before = memo ? memo->mask & ~lanes : 0;

    if (rule->unimp && !rule->reported &&
        (rule->unimp == rule->width || ((bits ^ cell->value) & rule->unimp & lanes)))
        report_unimplemented(map, rule, cell, "written");
    if (rule->nlocks && locked(map, rule, cell, memo ? bits | (memo->bytes & before) : bits, lanes | before)) {
        if (memo && last)
            memo->bytes = memo->mask = 0;
        return;
    }
    if (memo) {
        /* Read again: a lock function may have caused a reset, which forgets what was collected. */
        bits |= memo->bytes & memo->mask & ~lanes;
        lanes |= memo->mask;
        memo->bytes = last ? 0 : bits;
        memo->mask = last ? 0 : lanes;
        if (!last)
            return;
    }
    if (rule->wonce || (rule->flags & VFU_REG_HOOK_WRITE)) {
        commit(map, rule, cell, bits, lanes);
        return;
    }
    cell->value = merge(rule, cell->value, 0, bits, lanes);
    if (rule->watched)
        level_touched(map);
}

void regmap_write(struct regmap *map, struct reg_cell *cell, uint64_t offset, uint32_t size, const uint8_t *bytes)
{
    struct reg_rule *rule;
    uint32_t shift;

    if ((cell->plain & CELL_WRITE_PLAIN) && size == cell->size) {
        regcell_store(cell, bytes);
        return;
    }
    if (cell->halt & REGMAP_HALT_WRITE)
        map->halt(map->halt_ctx, cell, offset, size, bytes);
    rule = &map->rules[cell->reg];
    shift = bit_shift(rule, cell, offset, size);
    write_slowly(map, rule, cell, regcell_number(bytes, size, rule->flags & VFU_REG_BIG_ENDIAN) << shift,
                 UINT64_MAX >> (64 - 8 * size) << shift, offset + size == cell->offset + cell->size);
}

/* ---- the hardware's access ---------------------------------------------------------------------------------- */

uint64_t regmap_get(const struct regmap *map, uint32_t reg, uint32_t index, uint32_t group_index)
{
    const struct reg_cell *cell = regmap_instance(map, reg, index, group_index);

    return cell ? cell->value : 0;
}

int regmap_set(struct regmap *map, uint32_t reg, uint32_t index, uint32_t group_index, uint64_t value)
{
    struct reg_cell *cell = regmap_instance(map, reg, index, group_index);

    if (!cell)
        return -EINVAL;
    regmap_set_cell(map, cell, value);
    return 0;
}

void regmap_set_cell(struct regmap *map, struct reg_cell *cell, uint64_t value)
{
    const struct reg_rule *rule = &map->rules[cell->reg];

    cell->value = value & rule->width;
    if (rule->watched)
        level_touched(map);
}

const struct reg_cell *regmap_declared(const struct regmap *map, uint32_t i)
{
    return &map->cells[map->slots[i]];
}

void regmap_on_halt(struct regmap *map, regmap_halt_fn *halt, void *ctx)
{
    map->halt = halt;
    map->halt_ctx = ctx;
}

void regmap_on_judged(struct regmap *map, regmap_judged_fn *judged, void *ctx)
{
    map->judged = judged;
    map->judged_ctx = ctx;
}

bool regmap_has_lock(const struct regmap *map, const struct reg_cell *cell)
{
    return map->rules[cell->reg].nlocks;
}

void regmap_halt(struct regmap *map, struct reg_cell *cell, uint32_t accesses)
{
    cell->halt = (uint8_t)accesses;
    regbuild_plain(map, cell);
}

void regmap_reset(struct regmap *map, uint32_t kind)
{
    map->resets++;
    for (uint32_t i = 0; i < map->ncells; i++) {
        struct reg_cell *cell = &map->cells[i];
        const struct reg_rule *rule = &map->rules[cell->reg];
        bool keep = (rule->flags & VFU_REG_STICKY) && kind != VFU_RESET_POWER;

        if (!keep)
            cell->value = rule->reset;
        if (cell->memo != REGMAP_NOWHERE)
            map->memos[cell->memo] = (struct reg_memo){ .once = keep ? map->memos[cell->memo].once : 0 };
    }
    regmap_level(map);
}

uint64_t regmap_failures(const struct regmap *map)
{
    return map ? map->failures : 0;
}
