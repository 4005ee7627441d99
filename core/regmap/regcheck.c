/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regcheck - takes a plugin's register map in: copies it, whatever the size of the plugin's structs, fills defaults
 * in, and refuses what makes no sense with one line that names it. Runs once, when a device is made, on any thread.
 * Overlaps and names used twice are found later, by regbuild, where everything is sorted.
 */
#include "core/regmap/regmap_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/plugin/plugin.h"

#define ENUMS_MAX 65536u

static const uint32_t reg_flags =
    VFU_REG_HOOK_READ | VFU_REG_HOOK_WRITE | VFU_REG_STICKY | VFU_REG_COMMIT_LAST | VFU_REG_BIG_ENDIAN;

void *regcheck_alloc(struct regmap *map, uint64_t n, uint64_t size)
{
    struct reg_chunk *chunk;
    uint64_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2 ||
        !(chunk = calloc(1, sizeof *chunk + 8 + (size_t)bytes))) {
        log_error(map->who, "no memory for the register map");
        return NULL;
    }
    chunk->next = map->chunks;
    map->chunks = chunk;
    return (char *)chunk + 16; /* keeps the allocator's alignment */
}
_Static_assert(sizeof(struct reg_chunk) + 8 == 16, "alignment of regcheck_alloc");

const char *regcheck_region(uint32_t region, char text[16])
{
    if (region == VFU_REGION_CONFIG)
        return "config space";
    if (region == VFU_REGION_ROM)
        return "the ROM";
    snprintf(text, 16, "BAR %u", region);
    return text;
}

/* n elements of `size` bytes (0: as ours) into an array of `own` bytes each. NULL if out of memory. */
static void *copy_array(struct regmap *map, const void *src, uint32_t n, uint32_t size, size_t own)
{
    char *copy = regcheck_alloc(map, n, own);
    size_t each;

    if (!copy)
        return NULL;
    if (!size)
        size = (uint32_t)own;
    each = size < own ? size : own;
    for (uint32_t i = 0; i < n; i++)
        memcpy(copy + i * own, (const char *)src + (size_t)i * size, each);
    return copy;
}

static const char *copy_text(struct regmap *map, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = regcheck_alloc(map, n, 1);

    return copy ? memcpy(copy, text, n) : NULL;
}

static int copy_doc(struct regmap *map, const char **doc)
{
    return *doc && !(*doc = copy_text(map, *doc)) ? -ENOMEM : 0;
}

static bool identifier(const char *name)
{
    size_t n = 0;

    for (; name[n]; n++) {
        char c = name[n];

        if (n == REGMAP_NAME_MAX ||
            !(c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (n && c >= '0' && c <= '9')))
            return false;
    }
    return n > 0;
}

/* Copies a name that must be an identifier. `what` and `number` tell which one it is, should it have none. */
static int copy_name(struct regmap *map, const char **name, const char *what, uint32_t number)
{
    if (!*name) {
        log_error(map->who, "%s %u of the register map has no name", what, number);
        return -EINVAL;
    }
    if (!identifier(*name)) {
        log_error(map->who, "%s %u of the register map: its name \"%.64s\" is no identifier of 1 to %u letters, digits "
                  "and _", what, number, *name, REGMAP_NAME_MAX);
        return -EINVAL;
    }
    *name = copy_text(map, *name);
    return *name ? 0 : -ENOMEM;
}

static uint64_t ones(uint32_t bits)
{
    return bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

static int copy_enums(struct regmap *map, const struct vfu_reg *reg, struct vfu_field *field)
{
    struct vfu_enum *copy;

    if (!field->nenums) {
        field->enums = NULL;
        return 0;
    }
    if (!field->enums || field->nenums > ENUMS_MAX) {
        log_error(map->who, "field %s.%s: bad list of %u names", reg->name, field->name, field->nenums);
        return -EINVAL;
    }
    copy = copy_array(map, field->enums, field->nenums, sizeof *copy, sizeof *copy);
    if (!copy)
        return -ENOMEM;
    for (uint32_t i = 0; i < field->nenums; i++) {
        if (!copy[i].name || !copy[i].name[0]) {
            log_error(map->who, "field %s.%s: value %u of its list has no name", reg->name, field->name, i);
            return -EINVAL;
        }
        if (copy[i].value > ones(field->width)) {
            log_error(map->who, "field %s.%s: value %.64s (0x%llx) does not fit into %u bits", reg->name, field->name,
                      copy[i].name, (unsigned long long)copy[i].value, field->width);
            return -EINVAL;
        }
        copy[i].name = copy_text(map, copy[i].name);
        if (!copy[i].name)
            return -ENOMEM;
    }
    field->enums = copy;
    return 0;
}

static int copy_field(struct regmap *map, const struct vfu_reg *reg, struct vfu_field *field, uint32_t number)
{
    int err = copy_name(map, &field->name, "a register's field", number);

    if (err)
        return err;
    if (strcmp(field->name, "value") == 0) {
        log_error(map->who, "register %s: a field cannot be named value, which is the whole register", reg->name);
        return -EINVAL;
    }
    if (!field->width || field->lsb >= reg->size * 8 || field->width > reg->size * 8 - field->lsb) {
        log_error(map->who, "field %s.%s (bit %u, width %u) is outside its register of %u bits", reg->name, field->name,
                  field->lsb, field->width, reg->size * 8);
        return -EINVAL;
    }
    if (field->access > VFU_ACCESS_UNIMP || field->flags) {
        log_error(map->who, "field %s.%s: unknown access %u or flags 0x%x", reg->name, field->name, field->access,
                  field->flags);
        return -EINVAL;
    }
    if (field->reset > ones(field->width)) {
        log_error(map->who, "field %s.%s: its reset value 0x%llx does not fit into %u bits", reg->name, field->name,
                  (unsigned long long)field->reset, field->width);
        return -EINVAL;
    }
    if (field->access == VFU_ACCESS_INHERIT)
        field->access = (uint8_t)reg->access;
    err = copy_doc(map, &field->doc);
    return err ? err : copy_enums(map, reg, field);
}

static uint64_t field_mask(const struct vfu_field *field)
{
    return ones(field->width) << field->lsb;
}

static int copy_fields(struct regmap *map, struct vfu_reg *reg)
{
    struct vfu_field *fields;

    if (!reg->nfields) {
        reg->fields = NULL;
        return 0;
    }
    if (!reg->fields || reg->nfields > reg->size * 8) {
        log_error(map->who, "register %s: %u fields for %u bits", reg->name, reg->nfields, reg->size * 8);
        return -EINVAL;
    }
    if (!plugin_elements_fit(map->who, "vfu_reg.fields", reg->nfields, reg->field_size,
                             offsetof(struct vfu_field, access)))
        return -EINVAL;
    fields = copy_array(map, reg->fields, reg->nfields, reg->field_size, sizeof *fields);
    if (!fields)
        return -ENOMEM;
    for (uint32_t i = 0; i < reg->nfields; i++) {
        int err = copy_field(map, reg, &fields[i], i);

        if (err)
            return err;
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(fields[k].name, fields[i].name) == 0) {
                log_error(map->who, "register %s has two fields named %s", reg->name, fields[i].name);
                return -EINVAL;
            }
            if (field_mask(&fields[k]) & field_mask(&fields[i])) {
                log_error(map->who, "register %s: fields %s (%u-%u) and %s (%u-%u) overlap", reg->name, fields[k].name,
                          fields[k].lsb, fields[k].lsb + fields[k].width - 1, fields[i].name, fields[i].lsb,
                          fields[i].lsb + fields[i].width - 1);
                return -EINVAL;
            }
        }
        reg->reset |= fields[i].reset << fields[i].lsb;
    }
    reg->fields = fields;
    reg->field_size = sizeof *fields;
    return 0;
}

/* Where the last instance of a register ends; false if that is beyond 2^64. */
static bool reg_end(const struct vfu_reg *reg, const struct vfu_group *group, uint64_t *end)
{
    uint64_t far = 0;

    *end = reg->offset;
    if (__builtin_add_overflow(*end, reg->size, end))
        return false;
    if (reg->count && (__builtin_mul_overflow(reg->stride, (uint64_t)reg->count - 1, &far) ||
                       __builtin_add_overflow(*end, far, end)))
        return false;
    if (group && (__builtin_mul_overflow(group->stride, (uint64_t)group->count - 1, &far) ||
                  __builtin_add_overflow(*end, far, end) || __builtin_add_overflow(*end, group->offset, end)))
        return false;
    return true;
}

static int check_place(struct regmap *map, const struct vfu_reg *reg, const uint64_t region_size[REGMAP_REGIONS])
{
    const struct vfu_group *group = reg->group == VFU_NONE ? NULL : &map->groups[reg->group];
    const char *prefix = group ? group->name : "", *dot = group ? "." : "";
    char text[16], other[16];
    uint64_t end;

    if (reg->region >= REGMAP_REGIONS || reg->region == VFU_REGION_ROM || !region_size[reg->region]) {
        log_error(map->who, "register %s%s%s is in %s, which the device does not have or which holds no registers",
                  prefix, dot, reg->name, regcheck_region(reg->region, text));
        return -EINVAL;
    }
    if (group && group->region != reg->region) {
        log_error(map->who, "register %s.%s is in %s, its group in %s", group->name, reg->name,
                  regcheck_region(reg->region, text), regcheck_region(group->region, other));
        return -EINVAL;
    }
    if (!reg_end(reg, group, &end) || end > region_size[reg->region]) {
        log_error(map->who, "register %s%s%s (offset 0x%llx, %u bytes, %u times) is outside %s of 0x%llx bytes", prefix,
                  dot, reg->name, (unsigned long long)reg->offset, reg->size, reg->count ? reg->count : 1,
                  regcheck_region(reg->region, text), (unsigned long long)region_size[reg->region]);
        return -EINVAL;
    }
    return 0;
}

static int check_reset(struct regmap *map, struct vfu_reg *reg)
{
    uint64_t width = ones(reg->size * 8), above = reg->reset & ~width;

    /* -1 and ~0 of a wider integer mean all ones, not too large. */
    if (above && above != ~width) {
        log_error(map->who, "register %s: its reset value 0x%llx does not fit into %u bytes", reg->name,
                  (unsigned long long)reg->reset, reg->size);
        return -EINVAL;
    }
    reg->reset &= width;
    return 0;
}

static int copy_reg(struct regmap *map, struct vfu_reg *reg, uint32_t number,
                    const uint64_t region_size[REGMAP_REGIONS])
{
    int err = copy_name(map, &reg->name, "register", number);

    if (err)
        return err;
    if (reg->size != 1 && reg->size != 2 && reg->size != 4 && reg->size != 8) {
        log_error(map->who, "register %s: a size of %u bytes; 1, 2, 4 or 8 it can be", reg->name, reg->size);
        return -EINVAL;
    }
    if (reg->access > VFU_ACCESS_UNIMP || (reg->flags & ~reg_flags)) {
        log_error(map->who, "register %s: unknown access %u or flags 0x%x", reg->name, reg->access,
                  reg->flags & ~reg_flags);
        return -EINVAL;
    }
    if (reg->group != VFU_NONE && reg->group >= map->ngroups) {
        log_error(map->who, "register %s: there is no group %u", reg->name, reg->group);
        return -EINVAL;
    }
    if (reg->access == VFU_ACCESS_INHERIT)
        reg->access = VFU_ACCESS_RW;
    if (!reg->stride)
        reg->stride = reg->size;
    err = check_reset(map, reg);
    if (!err)
        err = check_place(map, reg, region_size);
    if (!err)
        err = copy_doc(map, &reg->doc);
    return err ? err : copy_fields(map, reg);
}

static int copy_groups(struct regmap *map, const struct vfu_regmap *desc)
{
    if (!plugin_elements_fit(map->who, "vfu_regmap.groups", desc->ngroups, desc->group_size, sizeof *map->groups))
        return -EINVAL;
    map->groups = copy_array(map, desc->groups, desc->ngroups, desc->group_size, sizeof *map->groups);
    if (!map->groups)
        return -ENOMEM;
    map->ngroups = desc->ngroups;
    for (uint32_t i = 0; i < map->ngroups; i++) {
        struct vfu_group *group = &map->groups[i];
        int err = copy_name(map, &group->name, "group", i);

        if (err)
            return err;
        if (!group->count || group->count > REGMAP_INSTANCES_MAX || (group->count > 1 && !group->stride)) {
            log_error(map->who, "group %s: a count of %u, 0x%llx bytes apart", group->name, group->count,
                      (unsigned long long)group->stride);
            return -EINVAL;
        }
    }
    return 0;
}

static int copy_regs(struct regmap *map, const struct vfu_regmap *desc, const uint64_t region_size[REGMAP_REGIONS])
{
    uint64_t total = 0;

    if (!plugin_elements_fit(map->who, "vfu_regmap.regs", desc->nregs, desc->reg_size,
                             offsetof(struct vfu_reg, access)))
        return -EINVAL;
    map->regs = copy_array(map, desc->regs, desc->nregs, desc->reg_size, sizeof *map->regs);
    if (!map->regs)
        return -ENOMEM;
    map->nregs = desc->nregs;
    for (uint32_t i = 0; i < map->nregs; i++) {
        struct vfu_reg *reg = &map->regs[i];
        int err = copy_reg(map, reg, i, region_size);

        if (err)
            return err;
        /* Cannot overflow: below 2^52 is added each time to what is at most 2^20. */
        total += (uint64_t)(reg->count ? reg->count : 1) * (reg->group == VFU_NONE ? 1 : map->groups[reg->group].count);
        if (total > REGMAP_INSTANCES_MAX) {
            log_error(map->who, "register %s: with it the map has %llu registers, counting arrays and groups; "
                      "%u is the most", reg->name, (unsigned long long)total, REGMAP_INSTANCES_MAX);
            return -EINVAL;
        }
    }
    map->ncells = (uint32_t)total;
    return 0;
}

/* The instance of the condition follows from the instance that is written: the same group member, the same element. */
static bool lock_reaches(const struct vfu_reg *reg, const struct vfu_reg *cond)
{
    return (cond->group == VFU_NONE || cond->group == reg->group) && (!cond->count || cond->count == reg->count);
}

static int check_lock(struct regmap *map, const struct vfu_lock *lock, uint32_t number)
{
    const struct vfu_reg *reg, *cond;

    if (lock->reg >= map->nregs || (lock->cond != VFU_NONE && lock->cond >= map->nregs) || lock->invert > 1) {
        log_error(map->who, "lock %u: register %u, condition register %u of %u, invert %u", number, lock->reg,
                  lock->cond, map->nregs, lock->invert);
        return -EINVAL;
    }
    if (lock->cond == VFU_NONE)
        return 0;
    reg = &map->regs[lock->reg];
    cond = &map->regs[lock->cond];
    if (!lock_reaches(reg, cond)) {
        log_error(map->who, "lock of %s: its condition %s is one of many, and %s does not tell which", reg->name,
                  cond->name, reg->name);
        return -EINVAL;
    }
    if (!lock->mask || (lock->mask & ~ones(cond->size * 8)) || (lock->value & ~lock->mask)) {
        log_error(map->who, "lock of %s: mask 0x%llx, value 0x%llx cannot be of register %s of %u bytes", reg->name,
                  (unsigned long long)lock->mask, (unsigned long long)lock->value, cond->name, cond->size);
        return -EINVAL;
    }
    return 0;
}

static int copy_locks(struct regmap *map, const struct vfu_regmap *desc)
{
    if (!plugin_elements_fit(map->who, "vfu_regmap.locks", desc->nlocks, desc->lock_size,
                             offsetof(struct vfu_lock, invert)))
        return -EINVAL;
    map->locks = copy_array(map, desc->locks, desc->nlocks, desc->lock_size, sizeof *map->locks);
    if (!map->locks)
        return -ENOMEM;
    map->nlocks = desc->nlocks;
    for (uint32_t i = 0; i < map->nlocks; i++) {
        int err = check_lock(map, &map->locks[i], i);

        if (err)
            return err;
    }
    return 0;
}

int regcheck_copy(struct regmap *map, const struct vfu_regmap *plugins, const uint64_t region_size[REGMAP_REGIONS])
{
    struct vfu_regmap desc = { 0 };
    int err;

    if (plugins->struct_size < offsetof(struct vfu_regmap, groups)) {
        log_error(map->who, "the register map says it has a struct_size of %u", plugins->struct_size);
        return -EINVAL;
    }
    memcpy(&desc, plugins, plugins->struct_size < sizeof desc ? plugins->struct_size : sizeof desc);
    if ((desc.nregs && !desc.regs) || (desc.ngroups && !desc.groups) || (desc.nlocks && !desc.locks) ||
        desc.nregs > REGMAP_INSTANCES_MAX || desc.ngroups > REGMAP_INSTANCES_MAX ||
        desc.nlocks > REGMAP_INSTANCES_MAX) {
        log_error(map->who, "the register map has %u registers, %u groups, %u locks: a list is missing or too long",
                  desc.nregs, desc.ngroups, desc.nlocks);
        return -EINVAL;
    }
    err = copy_groups(map, &desc);
    if (!err)
        err = copy_regs(map, &desc, region_size);
    return err ? err : copy_locks(map, &desc);
}
