/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * map - vfu.reg, vfu.flag, vfu.field, vfu.group: the register map as the script writes it, checked at its lines.
 *
 * Each of them makes a userdata that points to a declaration in the script's arena; a BAR or the config space takes
 * them in. Runs while the script loads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/binding.h"

#define REG_TYPE "vfu.reg"
#define FIELD_TYPE "vfu.field"
#define GROUP_TYPE "vfu.group"

#define MAP_INSTANCES (1u << 20) /* registers of a BAR, arrays and groups counted out */
#define MAP_FIELDS 64

struct field_spec {
    struct vfu_field f;
    bool flag;
};

static const char *const access_names[] = {
    [VFU_ACCESS_INHERIT] = "",    [VFU_ACCESS_RW] = "rw",
    [VFU_ACCESS_RO] = "ro",       [VFU_ACCESS_WO] = "wo",
    [VFU_ACCESS_W1C] = "w1c",     [VFU_ACCESS_W1S] = "w1s",
    [VFU_ACCESS_W1T] = "w1t",     [VFU_ACCESS_W0C] = "w0c",
    [VFU_ACCESS_RC] = "rc",       [VFU_ACCESS_RS] = "rs",
    [VFU_ACCESS_WONCE] = "wonce", [VFU_ACCESS_RESERVED] = "reserved",
    [VFU_ACCESS_UNIMP] = "unimp", NULL,
};

static void push_decl(lua_State *L, void *decl, const char *type)
{
    *(void **)lua_newuserdatauv(L, sizeof decl, 0) = decl;
    luaL_setmetatable(L, type);
}

static void *test_decl(lua_State *L, int i, const char *type)
{
    void **ud = luaL_testudata(L, i, type);

    return ud ? *ud : NULL;
}

void map_push(lua_State *L, struct reg_decl *reg)
{
    push_decl(L, reg, REG_TYPE);
}

struct reg_decl *map_test(lua_State *L, int i)
{
    return test_decl(L, i, REG_TYPE);
}

/* The text at i as the name of a `what`, interned as long as the script lives. */
static const char *check_name(lua_State *L, int i, const char *what)
{
    const char *name = lua_type(L, i) == LUA_TSTRING ? lua_tostring(L, i) : NULL;

    if (!name || !util_is_name(name) || strlen(name) > 63)
        luaL_error(L, "a %s's name must be an identifier of up to 63 letters, digits and _, not %s", what,
                   luaL_tolstring(L, i, NULL));
    lua_rawgeti(L, LUA_REGISTRYINDEX, script_of(L)->names_ref);
    lua_pushvalue(L, i);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return util_strdup(L, name);
}

static uint32_t check_access(lua_State *L, int i, const char *what)
{
    const char *name = lua_tostring(L, i), *better;

    for (uint32_t a = VFU_ACCESS_RW; access_names[a]; a++)
        if (!strcmp(access_names[a], name))
            return a;
    better = util_suggest(name, access_names + 1);
    luaL_error(L, "%s: no access kind \"%s\"%s%s%s", what, name, better ? "; did you mean " : "", better ? better : "",
               better ? "?" : "");
    return 0;
}

/* The values of an option that holds raw bits: they must fit, or be the sign extension of ones that do (~0). */
static uint64_t check_bits(lua_State *L, int i, const char *what, unsigned bits)
{
    lua_Integer v = util_check_integer(L, i, what);

    if (bits < 64 && (uint64_t)v >> bits && (v >> (bits - 1)) != -1) {
        char text[64];

        snprintf(text, sizeof text, "0x%llx does not fit into %u bit%s", (unsigned long long)v, bits,
                 bits == 1 ? "" : "s");
        luaL_error(L, "%s: %s", what, text);
    }
    return bits < 64 ? (uint64_t)v & ((UINT64_C(1) << bits) - 1) : (uint64_t)v;
}

/* ---- fields ---- */

/* A table gives names in no particular order, and what is generated from them is to be the same each time. */
static void sort_enum(struct vfu_enum *enums, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        struct vfu_enum e = enums[i];
        uint32_t j = i;

        for (; j > 0 && (enums[j - 1].value > e.value ||
                         (enums[j - 1].value == e.value && strcmp(enums[j - 1].name, e.name) > 0)); j--)
            enums[j] = enums[j - 1];
        enums[j] = e;
    }
}

/* The name on top of the stack, which is new to the table at `seen`. */
static const char *enum_name(lua_State *L, int seen, const struct field_spec *spec)
{
    lua_pushvalue(L, -1);
    if (lua_rawget(L, seen) != LUA_TNIL)
        luaL_error(L, "field %s: two values of its enum are named %s", spec->f.name, lua_tostring(L, -2));
    lua_pushvalue(L, -2);
    lua_pushboolean(L, 1);
    lua_rawset(L, seen);
    lua_pop(L, 1);
    return util_strdup(L, lua_tostring(L, -1));
}

static void read_enum(lua_State *L, int i, struct field_spec *spec)
{
    struct vfu_enum *enums;
    uint32_t n = 0, count = 0;
    int seen;

    lua_newtable(L);
    seen = lua_gettop(L);

    for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1))
        count++;
    enums = util_alloc(L, count * sizeof *enums + 1);
    for (lua_Integer k = 1; k <= (lua_Integer)lua_rawlen(L, i); k++) {
        if (lua_rawgeti(L, i, k) != LUA_TSTRING)
            luaL_error(L, "field %s: item %I of its enum is no string", spec->f.name, k);
        enums[n].name = enum_name(L, seen, spec);
        enums[n].value = (uint64_t)k - 1;
        if (spec->f.width < 64 && enums[n].value >> spec->f.width)
            luaL_error(L, "field %s: \"%s\" is %I, which does not fit into %d bits", spec->f.name, enums[n].name, k - 1,
                       spec->f.width);
        lua_pop(L, 1);
        n++;
    }
    for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            if (!lua_isinteger(L, -2))
                luaL_error(L, "field %s: an enum is a list of names, or {name = value}", spec->f.name);
            continue;
        }
        lua_pushvalue(L, -2);
        enums[n].name = enum_name(L, seen, spec);
        lua_pop(L, 1);
        enums[n].value = check_bits(L, -1, enums[n].name, spec->f.width);
        n++;
    }
    if (n != count)
        luaL_error(L, "field %s: a list's names are for 0, 1, 2 and so on, without holes; other values go as "
                   "{name = value}", spec->f.name);
    lua_pop(L, 1);
    sort_enum(enums, n);
    spec->f.enums = enums;
    spec->f.nenums = n;
}

/* [access] [, enum] [, options] from argument i on. The last table is options if it has only option keys. */
static void read_field_tail(lua_State *L, struct field_spec *spec, int i, bool with_enum, const char *what)
{
    static const char *const options[] = { "doc", "reset", NULL };
    int top = lua_gettop(L);

    if (i <= top && lua_type(L, i) == LUA_TSTRING)
        spec->f.access = (uint8_t)check_access(L, i++, what);
    if (i <= top && lua_isnil(L, i))
        i++;
    if (with_enum && i <= top && lua_istable(L, i)) {
        bool only = true;

        for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1)) {
            const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";

            /* {reset = 5} could be an enum of one name; as the last table of two it is not asked. */
            if (strcmp(key, "doc") && strcmp(key, "reset"))
                only = false;
        }
        if (i < top || !only)
            read_enum(L, i++, spec);
    }
    if (i <= top && !lua_isnil(L, i)) {
        if (!lua_istable(L, i))
            luaL_error(L, "%s: options are a table, not %s", what, luaL_typename(L, i));
        util_keys(L, i, what, options, false);
        spec->f.doc = util_opt_string(L, i, what, "doc");
        if (lua_getfield(L, i, "reset") != LUA_TNIL) {
            if (spec->flag && lua_isboolean(L, -1))
                spec->f.reset = (uint64_t)lua_toboolean(L, -1);
            else
                spec->f.reset = check_bits(L, -1, what, spec->f.width);
        }
        lua_pop(L, 1);
        i++;
    }
    if (i <= top)
        luaL_error(L, "%s: too many arguments", what);
}

static int make_field(lua_State *L, bool flag)
{
    struct field_spec *spec = util_alloc(L, sizeof *spec);
    const char *kind = flag ? "flag" : "field";
    char what[80];
    lua_Integer lsb, width = 1;

    spec->flag = flag;
    spec->f.name = check_name(L, 1, kind);
    snprintf(what, sizeof what, "%s %s", kind, spec->f.name);
    if (!strcmp(spec->f.name, "value"))
        return luaL_error(L, "no field can be named value: REG.value is the whole register");
    lsb = util_check_integer(L, 2, flag ? "a flag's bit" : "a field's lowest bit");
    if (lsb < 0 || lsb > 63)
        return luaL_error(L, "%s: bit %I is not from 0 to 63", what, lsb);
    if (!flag) {
        width = util_check_integer(L, 3, "a field's width");
        if (width < 1 || width > 64 - lsb)
            return luaL_error(L, "%s: %I bits from bit %I on do not fit into 64", what, width, lsb);
    }
    spec->f.lsb = (uint8_t)lsb;
    spec->f.width = (uint8_t)width;
    read_field_tail(L, spec, flag ? 3 : 4, !flag, what);
    push_decl(L, spec, FIELD_TYPE);
    return 1;
}

int map_flag(lua_State *L)
{
    return make_field(L, true);
}

int map_field(lua_State *L)
{
    return make_field(L, false);
}

/* ---- registers ---- */

const char *map_intern(lua_State *L, const char *name)
{
    const char *key;

    lua_rawgeti(L, LUA_REGISTRYINDEX, script_of(L)->names_ref);
    key = lua_pushstring(L, name);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3); /* holds on to the string, so the pointer stays the one */
    lua_pop(L, 1);
    return key;
}

static void read_fields(lua_State *L, int i, struct reg_decl *reg, const char *what)
{
    uint32_t n = (uint32_t)lua_rawlen(L, i);
    struct vfu_field *fields;
    uint64_t taken = 0;

    if (!n)
        return;
    if (n > MAP_FIELDS)
        luaL_error(L, "%s: more than %d fields", what, MAP_FIELDS);
    fields = util_alloc(L, n * sizeof *fields);
    reg->info = util_alloc(L, n * sizeof *reg->info);
    for (uint32_t k = 0; k < n; k++) {
        struct field_spec *spec;
        uint64_t mask;

        lua_rawgeti(L, i, k + 1);
        spec = test_decl(L, -1, FIELD_TYPE);
        if (!spec)
            luaL_error(L, "%s: item %d of its list is %s, not a flag or field", what, (int)k + 1, luaL_typename(L, -1));
        if (spec->f.lsb + spec->f.width > reg->r.size * 8)
            luaL_error(L, "%s: field %s ends at bit %d, the register at bit %d", what, spec->f.name,
                       spec->f.lsb + spec->f.width - 1, (int)reg->r.size * 8 - 1);
        mask = (spec->f.width == 64 ? UINT64_MAX : (UINT64_C(1) << spec->f.width) - 1) << spec->f.lsb;
        for (uint32_t j = 0; j < k; j++) {
            if (!strcmp(fields[j].name, spec->f.name))
                luaL_error(L, "%s: two fields are named %s", what, spec->f.name);
            if (mask & taken && fields[j].lsb < spec->f.lsb + spec->f.width &&
                spec->f.lsb < fields[j].lsb + fields[j].width)
                luaL_error(L, "%s: fields %s and %s overlap", what, fields[j].name, spec->f.name);
        }
        taken |= mask;
        fields[k] = spec->f;
        reg->info[k].flag = spec->flag;
        reg->info[k].key = map_intern(L, spec->f.name);
        lua_pop(L, 1);
    }
    reg->r.fields = fields;
    reg->r.nfields = n;
    reg->r.field_size = sizeof *fields;
}

static void read_reg_options(lua_State *L, int i, struct reg_decl *reg, const char *what)
{
    static const char *const options[] = { "reset", "doc", "count", "stride", "sticky", "commit", "big_endian", NULL };

    util_keys(L, i, what, options, true);
    read_fields(L, i, reg, what);
    reg->r.doc = util_opt_string(L, i, what, "doc");
    reg->r.count = (uint32_t)util_opt_integer(L, i, what, "count", 0, 1, MAP_INSTANCES);
    reg->r.stride = (uint64_t)util_opt_integer(L, i, what, "stride", 0, reg->r.size, INT64_MAX);
    if (reg->r.stride && !reg->r.count)
        luaL_error(L, "%s: a stride without a count", what);
    if (lua_getfield(L, i, "reset") != LUA_TNIL)
        reg->r.reset = check_bits(L, -1, what, reg->r.size * 8);
    lua_pop(L, 1);
    if (util_opt_bool(L, i, what, "sticky"))
        reg->r.flags |= VFU_REG_STICKY;
    if (util_opt_bool(L, i, what, "big_endian"))
        reg->r.flags |= VFU_REG_BIG_ENDIAN;
    const char *commit = util_opt_string(L, i, what, "commit");
    if (commit && strcmp(commit, "last"))
        luaL_error(L, "%s: commit can be \"last\", not \"%s\"", what, commit);
    if (commit)
        reg->r.flags |= VFU_REG_COMMIT_LAST;
}

int map_reg(lua_State *L)
{
    struct reg_decl *reg = util_alloc(L, sizeof *reg);
    int top = lua_gettop(L), i = 4;
    char what[80];
    lua_Integer offset, size;

    reg->r.name = reg->full = check_name(L, 1, "register");
    reg->where = util_where(L, 1);
    reg->read_ref = reg->write_ref = LUA_NOREF;
    reg->r.group = VFU_NONE;
    reg->r.access = VFU_ACCESS_RW;
    snprintf(what, sizeof what, "register %s", reg->r.name);
    offset = util_check_integer(L, 2, "a register's offset");
    size = util_check_integer(L, 3, "a register's size in bytes");
    if (offset < 0)
        return luaL_error(L, "%s: its offset is negative", what);
    if (size != 1 && size != 2 && size != 4 && size != 8)
        return luaL_error(L, "%s: %I bytes; a register has 1, 2, 4 or 8", what, size);
    reg->r.offset = (uint64_t)offset;
    reg->r.size = (uint32_t)size;
    if (i <= top && lua_type(L, i) == LUA_TSTRING)
        reg->r.access = check_access(L, i++, what);
    else if (i <= top && lua_isnil(L, i))
        i++;
    if (i <= top && !lua_isnil(L, i)) {
        if (!lua_istable(L, i))
            return luaL_error(L, "%s: fields and options are a table, not %s", what, luaL_typename(L, i));
        read_reg_options(L, i, reg, what);
        i++;
    }
    if (i <= top)
        return luaL_error(L, "%s: too many arguments", what);
    push_decl(L, reg, REG_TYPE);
    return 1;
}

int map_group(lua_State *L)
{
    static const char *const options[] = { "count", "stride", NULL };
    struct group_decl *group = util_alloc(L, sizeof *group);
    char what[80];
    lua_Integer offset;
    uint32_t n;

    group->g.name = check_name(L, 1, "group");
    group->where = util_where(L, 1);
    snprintf(what, sizeof what, "group %s", group->g.name);
    offset = util_check_integer(L, 2, "a group's offset");
    if (offset < 0)
        return luaL_error(L, "%s: its offset is negative", what);
    if (!lua_istable(L, 3) || !lua_istable(L, 4))
        return luaL_error(L, "%s: use vfu.group(name, offset, {count=, stride=}, {registers})", what);
    util_keys(L, 3, what, options, false);
    group->g.offset = (uint64_t)offset;
    group->g.count = (uint32_t)util_opt_integer(L, 3, what, "count", 1, 1, MAP_INSTANCES);
    group->g.stride = (uint64_t)util_opt_integer(L, 3, what, "stride", 0, 1, INT64_MAX);
    if (group->g.count > 1 && !group->g.stride)
        return luaL_error(L, "%s: a count needs a stride", what);
    if (lua_rawlen(L, 4) > MAP_INSTANCES)
        return luaL_error(L, "%s: more than %d registers", what, (int)MAP_INSTANCES);
    n = (uint32_t)lua_rawlen(L, 4);
    group->regs = util_alloc(L, (n + 1) * sizeof *group->regs);
    for (uint32_t k = 0; k < n; k++) {
        lua_rawgeti(L, 4, k + 1);
        struct reg_decl *reg = test_decl(L, -1, REG_TYPE);

        if (!reg)
            return luaL_error(L, "%s: item %d of its list is %s, not a register", what, (int)k + 1,
                              luaL_typename(L, -1));
        if (reg->used)
            return util_fail(L, reg->where, "register %s is used twice", reg->r.name);
        for (uint32_t j = 0; j < group->nregs; j++)
            if (!strcmp(group->regs[j]->r.name, reg->r.name))
                return util_fail(L, reg->where, "group %s has two registers named %s", group->g.name, reg->r.name);
        reg->used = true;
        lua_pushfstring(L, "%s.%s", group->g.name, reg->r.name);
        reg->full = util_strdup(L, lua_tostring(L, -1));
        group->regs[group->nregs++] = reg;
        lua_pop(L, 2);
    }
    push_decl(L, group, GROUP_TYPE);
    return 1;
}

/* ---- taking them into a region ---- */

struct reg_decl *map_find(struct script *s, const char *full)
{
    for (uint32_t i = 0; i < s->reglist.n; i++) {
        struct reg_decl *reg = s->reglist.items[i];

        if (!strcmp(reg->full, full))
            return reg;
    }
    return NULL;
}

static void check_bounds(lua_State *L, const struct reg_decl *reg, const struct group_decl *group, uint64_t region_size,
                         const char *region_name)
{
    uint64_t last = reg->r.offset, step = reg->r.stride ? reg->r.stride : reg->r.size;
    bool over = false;

    if (reg->r.count > 1)
        over |= __builtin_mul_overflow(step, reg->r.count - 1, &step) || __builtin_add_overflow(last, step, &last);
    if (group) {
        uint64_t reach;

        over |= __builtin_mul_overflow(group->g.stride, group->g.count - 1, &reach) ||
                __builtin_add_overflow(last, reach, &last) || __builtin_add_overflow(last, group->g.offset, &last);
    }
    over |= __builtin_add_overflow(last, reg->r.size, &last);
    if (over || last > region_size)
        util_fail(L, reg->where, "register %s ends at 0x%llx, outside of %s, which has 0x%llx bytes", reg->full,
                  over ? ~0ULL : (unsigned long long)last, region_name, (unsigned long long)region_size);
}

static void add_reg(lua_State *L, struct reg_decl *reg, struct group_decl *group, uint32_t region, uint64_t region_size,
                    const char *region_name)
{
    struct script *s = script_of(L);

    if (reg->used && !group)
        util_fail(L, reg->where, "register %s is used twice", reg->r.name);
    reg->used = true;
    check_bounds(L, reg, group, region_size, region_name);
    reg->r.region = region;
    reg->r.group = group ? group->id : VFU_NONE;
    reg->id = reg->r.hook = s->reglist.n;
    util_append(L, &s->reglist, reg);
}

void map_add(lua_State *L, int list, uint32_t region, uint64_t region_size, const char *region_name)
{
    struct script *s = script_of(L);
    lua_Integer n;

    if (lua_isnoneornil(L, list))
        return;
    if (!lua_istable(L, list))
        luaL_error(L, "%s: registers are a list {reg(...), ...}, not %s", region_name, luaL_typename(L, list));
    n = (lua_Integer)lua_rawlen(L, list);
    for (lua_Integer k = 1; k <= n; k++) {
        struct group_decl *group;
        struct reg_decl *reg;

        lua_rawgeti(L, list, k);
        reg = test_decl(L, -1, REG_TYPE);
        group = test_decl(L, -1, GROUP_TYPE);
        if (reg) {
            add_reg(L, reg, NULL, region, region_size, region_name);
            object_push_reg(L, reg);
            object_member(L, s, reg->r.name, reg->where, true);
        } else if (group) {
            if (group->used)
                util_fail(L, group->where, "group %s is used twice", group->g.name);
            group->used = true;
            group->g.region = region;
            group->id = s->groups.n;
            util_append(L, &s->groups, group);
            for (uint32_t j = 0; j < group->nregs; j++)
                add_reg(L, group->regs[j], group, region, region_size, region_name);
            object_push_group(L, group);
            object_member(L, s, group->g.name, group->where, true);
        } else {
            luaL_error(L, "%s: item %I of its list is %s, not a register or group", region_name, k,
                       luaL_typename(L, -1));
        }
        lua_pop(L, 1);
    }
    map_check(L, s, region);
}

struct span {
    uint64_t start, end;
    const struct reg_decl *reg;
};

static int compare_spans(const void *a, const void *b)
{
    const struct span *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static uint64_t instances(const struct script *s, const struct reg_decl *reg)
{
    const struct group_decl *group = reg->r.group == VFU_NONE ? NULL : s->groups.items[reg->r.group];

    return (uint64_t)(reg->r.count ? reg->r.count : 1) * (group ? group->g.count : 1);
}

static struct span *put_spans(const struct script *s, const struct reg_decl *reg, struct span *span)
{
    const struct group_decl *group = reg->r.group == VFU_NONE ? NULL : s->groups.items[reg->r.group];
    uint64_t step = reg->r.stride ? reg->r.stride : reg->r.size;

    for (uint64_t g = 0; g < (group ? group->g.count : 1); g++)
        for (uint64_t i = 0; i < (reg->r.count ? reg->r.count : 1); i++, span++) {
            span->start = reg->r.offset + i * step + (group ? group->g.offset + g * group->g.stride : 0);
            span->end = span->start + reg->r.size;
            span->reg = reg;
        }
    return span;
}

/* Overlaps, told at the line of the register that came later. */
void map_check(lua_State *L, struct script *s, uint32_t region)
{
    struct span *spans, *end;
    uint64_t n = 0;

    for (uint32_t i = 0; i < s->reglist.n; i++) {
        const struct reg_decl *reg = s->reglist.items[i];

        if (reg->r.region == region)
            n += instances(s, reg);
        if (n > MAP_INSTANCES)
            util_fail(L, reg->where, "register %s: the region has more than %u registers, arrays counted out",
                      reg->full, MAP_INSTANCES);
    }
    spans = end = lua_newuserdatauv(L, n * sizeof *spans, 0);
    for (uint32_t i = 0; i < s->reglist.n; i++) {
        const struct reg_decl *reg = s->reglist.items[i];

        if (reg->r.region == region)
            end = put_spans(s, reg, end);
    }
    if (n)
        qsort(spans, n, sizeof *spans, compare_spans);
    for (uint64_t i = 1; i < n; i++) {
        const struct reg_decl *a = spans[i - 1].reg, *b = spans[i].reg;

        if (spans[i - 1].end <= spans[i].start)
            continue;
        if (a->id > b->id) {
            const struct reg_decl *t = a;
            a = b;
            b = t;
        }
        util_fail(L, b->where, "register %s overlaps %s at offset 0x%llx", b->full, a == b ? "itself" : a->full,
                  (unsigned long long)spans[i].start);
    }
    lua_pop(L, 1);
}

void map_open(lua_State *L)
{
    static const char *const types[] = { REG_TYPE, FIELD_TYPE, GROUP_TYPE };
    struct script *s = script_of(L);

    lua_newtable(L);
    s->names_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    s->key_value = map_intern(L, "value");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        luaL_newmetatable(L, types[i]);
        lua_pushstring(L, types[i]);
        lua_setfield(L, -2, "__metatable");
        lua_pop(L, 1);
    }
}
