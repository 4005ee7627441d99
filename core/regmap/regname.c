/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regname - what the registers of a map are called, and the walk over all of them that saves and restores by name. Runs
 * on the device's thread; before it starts, on main's.
 */
#include "core/regmap/regmap_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"

void regmap_name(const struct regmap *map, const struct reg_cell *cell, char *text, size_t len)
{
    const struct reg_rule *rule = &map->rules[cell->reg];
    const struct vfu_reg *reg = &map->regs[cell->reg];
    char element[16] = "";

    if (rule->array)
        snprintf(element, sizeof element, "[%u]", cell->nr % rule->elements);
    if (rule->group)
        snprintf(text, len, "%s[%u].%s%s", map->groups[reg->group].name, cell->nr / rule->elements, reg->name, element);
    else
        snprintf(text, len, "%s%s", reg->name, element);
}

const struct vfu_reg *regmap_regs(const struct regmap *map, uint32_t *n)
{
    *n = map->nregs;
    return map->regs;
}

const struct vfu_group *regmap_groups(const struct regmap *map, uint32_t *n)
{
    *n = map->ngroups;
    return map->groups;
}

static int each_memo(const struct reg_memo *memo, char *name, uint32_t size,
                     int (*fn)(void *ctx, const char *name, uint32_t size, uint64_t value), void *ctx)
{
    char *end = name + strlen(name);
    int result = 0;

    if (memo->once) {
        strcpy(end, "!once");
        result = fn(ctx, name, size, memo->once);
    }
    if (!result && memo->mask) {
        strcpy(end, "!bytes");
        result = fn(ctx, name, size, memo->bytes);
        strcpy(end, "!mask");
        if (!result)
            result = fn(ctx, name, size, memo->mask);
    }
    return result;
}

int regmap_each(const struct regmap *map, int (*fn)(void *ctx, const char *name, uint32_t size, uint64_t value),
                void *ctx)
{
    int result = 0;

    for (uint32_t i = 0; i < map->ncells && !result; i++) {
        const struct reg_cell *cell = &map->cells[map->slots[i]];
        char name[REGMAP_FULL_NAME_MAX];

        regmap_name(map, cell, name, sizeof name);
        result = fn(ctx, name, cell->size, cell->value);
        if (!result && cell->memo != REGMAP_NOWHERE)
            result = each_memo(&map->memos[cell->memo], name, cell->size, fn, ctx);
    }
    return result;
}

/* "NAME" or "NAME[5]" up to one of ".!" or the end. False if it is neither. */
static bool parse_part(const char **text, char name[REGMAP_NAME_MAX + 1], uint32_t *index)
{
    size_t n = strcspn(*text, "[.!");
    uint64_t number = 0;

    if (!n || n > REGMAP_NAME_MAX)
        return false;
    memcpy(name, *text, n);
    name[n] = 0;
    *text += n;
    *index = VFU_NONE;
    if (**text != '[')
        return true;
    for (n = 1; (*text)[n] >= '0' && (*text)[n] <= '9' && n <= 8; n++)
        number = number * 10 + (uint64_t)((*text)[n] - '0');
    if (n == 1 || (*text)[n] != ']')
        return false;
    *index = (uint32_t)number;
    *text += n + 1;
    return **text == 0 || strchr(".!", **text);
}

static const struct reg_name *lookup(const struct regmap *map, uint32_t group, const char *name)
{
    struct reg_name key = { .group = group, .name = name };

    if (!map->names)
        return NULL;
    return bsearch(&key, map->names, (size_t)map->nregs + map->ngroups, sizeof key, regbuild_name_compare);
}

/* The cell of a full name; *rest is what is behind it, from the '!' or a field's '.' on. NULL if there is none. */
static struct reg_cell *cell_by_name(const struct regmap *map, const char *text, const char **rest)
{
    char part[REGMAP_NAME_MAX + 1];
    const struct reg_name *name;
    uint32_t index, group_index = VFU_NONE;

    if (!parse_part(&text, part, &index))
        return NULL;
    name = lookup(map, VFU_NONE, part);
    if (name && name->is_group) {
        uint32_t group = name->index;

        group_index = index;
        if (*text++ != '.' || !parse_part(&text, part, &index))
            return NULL;
        name = lookup(map, group, part);
    }
    if (!name || name->is_group)
        return NULL;
    *rest = text;
    return regmap_instance(map, name->index, index, group_index);
}

struct reg_cell *regmap_by_name(const struct regmap *map, const char *text, const struct vfu_field **field)
{
    const char *rest;
    struct reg_cell *cell = cell_by_name(map, text, &rest);
    const struct vfu_reg *reg;

    *field = NULL;
    if (!cell || !*rest)
        return cell;
    reg = &map->regs[cell->reg];
    for (uint32_t i = 0; *rest == '.' && i < reg->nfields && !*field; i++) {
        if (strcmp(reg->fields[i].name, rest + 1) == 0)
            *field = &reg->fields[i];
    }
    return *field ? cell : NULL;
}

int regmap_restore(struct regmap *map, const char *text, uint64_t value)
{
    const char *rest;
    struct reg_cell *cell = cell_by_name(map, text, &rest);
    struct reg_memo *memo = cell && cell->memo != REGMAP_NOWHERE ? &map->memos[cell->memo] : NULL;
    const struct reg_rule *rule;

    if (!cell)
        return -ENOENT;
    rule = &map->rules[cell->reg];
    value &= rule->width;
    if (!*rest) {
        cell->value = value;
        if (memo)
            *memo = (struct reg_memo){ 0 };
        return 0;
    }
    if (memo && rule->wonce && strcmp(rest, "!once") == 0)
        memo->once = value & rule->wonce;
    else if (memo && (rule->flags & VFU_REG_COMMIT_LAST) && strcmp(rest, "!bytes") == 0)
        memo->bytes = value;
    else if (memo && (rule->flags & VFU_REG_COMMIT_LAST) && strcmp(rest, "!mask") == 0)
        memo->mask = value;
    else
        return -ENOENT;
    return 0;
}

/* ---- from one map to another ---- */

#define TOLD_MAX 16u

struct carry {
    struct regmap *to;
    uint32_t told;
};

__attribute__((format(printf, 2, 3))) static void tell(struct carry *c, const char *format, ...)
{
    char text[512];
    va_list args;

    if (c->told++ >= TOLD_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_warn(c->to->who, "%s", text);
}

static const char *access_name(uint32_t access)
{
    static const char *const names[] = { "rw", "rw", "ro", "wo", "w1c", "w1s", "w1t",
                                         "w0c", "rc", "rs", "wonce", "reserved", "unimp" };

    return access < sizeof names / sizeof names[0] ? names[access] : "?";
}

/* The register of the same name, in a group of the same name if it is in one. NULL: there is none. */
static const struct vfu_reg *counterpart(const struct regmap *to, const char *group_name, const char *reg_name)
{
    const struct reg_name *name;
    uint32_t group = VFU_NONE;

    if (group_name) {
        name = lookup(to, VFU_NONE, group_name);
        if (!name || !name->is_group)
            return NULL;
        group = name->index;
    }
    name = lookup(to, group, reg_name);
    return name && !name->is_group ? &to->regs[name->index] : NULL;
}

static uint32_t kind(const struct vfu_reg *reg)
{
    return reg->access == VFU_ACCESS_INHERIT ? VFU_ACCESS_RW : reg->access;
}

/* A register that is an array now, or is none any more, has no element of the same name either. */
static void compare(struct carry *c, const struct regmap *from, const struct vfu_reg *old)
{
    const struct vfu_group *group = old->group == VFU_NONE ? NULL : &from->groups[old->group];
    const struct vfu_reg *reg = counterpart(c->to, group ? group->name : NULL, old->name);
    const char *in = group ? group->name : "", *dot = group ? "." : "";

    if (!reg || !reg->count != !old->count) {
        tell(c, "register %s%s%s is gone: its value is dropped", in, dot, old->name);
        return;
    }
    if (reg->size != old->size)
        tell(c, "register %s%s%s has %u bytes now, and had %u: its value is %s", in, dot, old->name, reg->size,
             old->size, reg->size < old->size ? "cut to fit" : "kept");
    if (kind(reg) != kind(old))
        tell(c, "register %s%s%s is \"%s\" now, and was \"%s\": its value is kept", in, dot, old->name,
             access_name(reg->access), access_name(old->access));
    if (reg->count < old->count || (group && c->to->groups[reg->group].count < group->count))
        tell(c, "register %s%s%s has fewer elements: the values of the last ones are dropped", in, dot, old->name);
}

static int put_value(void *ctx, const char *name, uint32_t size, uint64_t value)
{
    (void)size;
    (void)regmap_restore(ctx, name, value);
    return 0;
}

void regmap_carry(struct regmap *map, const struct regmap *from)
{
    struct carry c = { .to = map };

    for (uint32_t i = 0; i < from->nregs; i++)
        compare(&c, from, &from->regs[i]);
    if (c.told > TOLD_MAX)
        log_warn(map->who, "%u more registers are gone or different", c.told - TOLD_MAX);
    regmap_each(from, put_value, map);
    map->failures = from->failures;
}
