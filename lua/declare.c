/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * declare - dev:bar, dev:config, dev:lock: what the device is made of; and, when the script has ended, the description
 * that the host gets. vfu.device is in device.c. Runs while the script loads.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/binding.h"

static struct script *check_self(lua_State *L, const char *method)
{
    struct script *s = script_of(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref);
    if (!lua_rawequal(L, 1, -1))
        luaL_error(L, "call it as dev:%s(...), with a colon", method);
    lua_pop(L, 1);
    if (s->wrap)
        luaL_error(L, "dev:%s: what a wrapped device is made of, its plugin says", method);
    if (s->sealed)
        luaL_error(L, "dev:%s declares, so it belongs to the script's own lines, not into a hook", method);
    return s;
}

/* ---- dev:bar ---- */

static void read_sizes(lua_State *L, struct vfu_bar *b, const char *what)
{
    if (lua_getfield(L, 3, "sizes") != LUA_TNIL) {
        lua_Integer n = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0;

        for (lua_Integer k = 1; k <= n; k++) {
            lua_Integer size = 0;

            lua_rawgeti(L, -1, k);
            if (!util_integer(L, -1, &size) || size < 1 || size > 8 || size & (size - 1))
                luaL_error(L, "%s: sizes are of 1, 2, 4 and 8, not %s", what, luaL_tolstring(L, -1, NULL));
            b->access_sizes |= (uint32_t)size;
            lua_pop(L, 1);
        }
        if (!b->access_sizes)
            luaL_error(L, "%s: sizes is a list such as {4, 8}", what);
    }
    lua_pop(L, 1);
}

static uint32_t read_choice(lua_State *L, const char *what, const char *key, const char *const *names)
{
    const char *value = util_opt_string(L, 3, what, key), *better;

    for (uint32_t i = 0; names[i]; i++)
        if (!value || !strcmp(value, names[i]))
            return i;
    better = util_suggest(value, names);
    luaL_error(L, "%s: %s cannot be \"%s\"%s%s%s", what, key, value, better ? "; did you mean " : "",
               better ? better : "", better ? "?" : "");
    return 0;
}

static void read_mmap(lua_State *L, struct script *s, struct vfu_bar *b, const char *what)
{
    int type = lua_getfield(L, 3, "mmap");

    if (type == LUA_TTABLE) {
        uint32_t n = (uint32_t)lua_rawlen(L, -1);
        struct vfu_area *areas = util_alloc(L, n * sizeof *areas + 1);

        for (uint32_t k = 0; k < n; k++) {
            lua_Integer pair[2] = { 0, 0 };

            if (lua_rawgeti(L, -1, k + 1) != LUA_TTABLE)
                luaL_error(L, "%s: mmap is true or a list of {offset, size}", what);
            for (int j = 0; j < 2; j++) {
                lua_rawgeti(L, -1, j + 1);
                pair[j] = util_check_integer(L, -1, "mmap: offset and size");
                lua_pop(L, 1);
            }
            if (pair[0] < 0 || pair[1] < 1 || (uint64_t)pair[0] > b->size ||
                (uint64_t)pair[1] > b->size - (uint64_t)pair[0])
                luaL_error(L, "%s: mmap area %d is not inside", what, (int)k + 1);
            if ((pair[0] | pair[1]) & 4095)
                luaL_error(L, "%s: mmap area %d is not page-aligned (4096 bytes)", what, (int)k + 1);
            areas[k].offset = (uint64_t)pair[0];
            areas[k].size = (uint64_t)pair[1];
            lua_pop(L, 1);
        }
        b->areas = areas;
        b->nareas = n;
        b->area_size = sizeof *areas;
    } else if (type != LUA_TNIL && type != LUA_TBOOLEAN) {
        luaL_error(L, "%s: mmap is true or a list of {offset, size}", what);
    }
    if (lua_toboolean(L, -1)) {
        if (!(b->flags & VFU_BAR_RAM))
            luaL_error(L, "%s: mmap needs ram = true", what);
        b->flags |= VFU_BAR_MMAP;
        s->d.caps |= VFU_CAP_MMAP;
    }
    lua_pop(L, 1);
}

static void check_bar_size(lua_State *L, const struct vfu_bar *b, const char *what)
{
    static const struct {
        uint64_t min, max;
        const char *text;
    } limits[] = {
        [VFU_BAR_MEM32] = { 16, UINT64_C(1) << 31, "16 bytes to 2 GiB" },
        [VFU_BAR_MEM64] = { 16, UINT64_C(1) << 62, "16 bytes to 2^62" },
        [VFU_BAR_IO] = { 4, 256, "4 to 256 bytes" },
    };

    if (b->size & (b->size - 1) || b->size < limits[b->type].min || b->size > limits[b->type].max)
        luaL_error(L, "%s: size must be a power of two, %s", what, limits[b->type].text);
    if (b->type == VFU_BAR_MEM64 && b->index == 5)
        luaL_error(L, "%s: a 64-bit BAR takes two places, and there is no BAR 6", what);
}

int declare_bar(lua_State *L)
{
    static const char *const options[] = { "size", "type", "prefetch",  "sizes",      "unmapped",
                                           "ram",  "mmap", "doorbells", "big_endian", NULL };
    static const char *const types[] = { "mem32", "mem64", "io", NULL };
    static const char *const unmapped[] = { "zeros", "ones", "error", NULL };
    struct script *s = check_self(L, "bar");
    struct bar_decl *bar = util_alloc(L, sizeof *bar);
    struct vfu_bar *b = &bar->b;
    lua_Integer index = util_check_integer(L, 2, "a BAR's index");
    char what[16];

    if (index < 0 || index > 5)
        return luaL_error(L, "a BAR's index is from 0 to 5, not %I", index);
    snprintf(what, sizeof what, "BAR %d", (int)index);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 4);
    util_keys(L, 3, what, options, false);
    if (s->bars[index])
        return luaL_error(L, "%s is declared twice", what);
    bar->where = util_where(L, 1);
    bar->read_ref = bar->write_ref = LUA_NOREF;
    b->index = (uint32_t)index;
    b->size = (uint64_t)util_opt_integer(L, 3, what, "size", 0, 1, INT64_C(1) << 62);
    b->type = read_choice(L, what, "type", types);
    b->unmapped = read_choice(L, what, "unmapped", unmapped);
    check_bar_size(L, b, what);
    if ((index && s->bars[index - 1] && s->bars[index - 1]->b.type == VFU_BAR_MEM64) ||
        (b->type == VFU_BAR_MEM64 && s->bars[index + 1]))
        return luaL_error(L, "%s: its place is taken by a 64-bit BAR's upper half", what);
    if (util_opt_bool(L, 3, what, "prefetch"))
        b->flags |= VFU_BAR_PREFETCH;
    if (util_opt_bool(L, 3, what, "ram"))
        b->flags |= VFU_BAR_RAM;
    if (util_opt_bool(L, 3, what, "big_endian"))
        b->flags |= VFU_BAR_BIG_ENDIAN;
    read_sizes(L, b, what);
    read_mmap(L, s, b, what);
    doorbell_declare(L, bar, what);
    s->bars[index] = bar;
    map_add(L, 4, b->index, b->size, what);
    hooks_push_bar(L, bar);
    return 1;
}

/* ---- dev:config ---- */

static void read_caps(lua_State *L, struct script *s)
{
    static const char *const options[] = { "id", "bytes", NULL };
    lua_Integer n;

    if (lua_getfield(L, 2, "caps") == LUA_TNIL)
        return;
    if (!lua_istable(L, -1))
        luaL_error(L, "dev:config: caps is a list of {id =, bytes =}");
    n = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer k = 1; k <= n; k++) {
        struct vfu_pci_cap *cap = util_alloc(L, sizeof *cap);
        const char *bytes;
        size_t size;
        int i;

        if (lua_rawgeti(L, -1, k) != LUA_TTABLE)
            luaL_error(L, "dev:config: caps is a list of {id =, bytes =}");
        i = lua_gettop(L);
        util_keys(L, i, "a capability", options, false);
        cap->id = (uint8_t)util_opt_integer(L, i, "a capability", "id", 9, 1, 0xff); /* 9: vendor-specific */
        if (lua_getfield(L, i, "bytes") != LUA_TSTRING)
            luaL_error(L, "a capability: bytes is a string: what follows id and next pointer");
        bytes = lua_tolstring(L, -1, &size);
        if (size > 190)
            luaL_error(L, "a capability: %d bytes; 190 is the most", (int)size);
        cap->size = (uint16_t)size;
        cap->bytes = memcpy(util_alloc(L, size + 1), bytes, size);
        util_append(L, &s->caps, cap);
        lua_pop(L, 2);
    }
}

int declare_config(lua_State *L)
{
    static const char *const options[] = { "caps", NULL };
    struct script *s = check_self(L, "config");

    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 3);
    util_keys(L, 2, "dev:config", options, false);
    read_caps(L, s);
    map_add(L, 3, VFU_REGION_CONFIG, s->d.pci_flags & VFU_PCI_EXPRESS ? 4096 : 256, "config space");
    return 0;
}

/* ---- dev:lock ---- */

static struct reg_decl *find_reg(lua_State *L, struct script *s, const char *name, const char *where)
{
    struct reg_decl *reg = map_find(s, name);

    if (reg)
        return reg;
    lua_newtable(L);
    for (uint32_t i = 0; i < s->reglist.n; i++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, ((struct reg_decl *)s->reglist.items[i])->full);
    }
    util_push_suggestion(L, -1, name);
    if (where)
        util_fail(L, where, "no register named %s%s", name, lua_tostring(L, -1));
    luaL_error(L, "no register named %s%s", name, lua_tostring(L, -1));
    return NULL;
}

/* "REG", "REG.FIELD", "GROUP.REG.FIELD", each with a "!" before it: the bits that are looked at. */
static void read_condition(lua_State *L, struct script *s, struct vfu_lock *lock, const char *text)
{
    struct reg_decl *reg;
    const char *dot;

    lock->invert = 1; /* any of the bits set: they do not equal 0 */
    if (*text == '!') {
        lock->invert = 0;
        text++;
    }
    lock->value = 0;
    reg = map_find(s, text);
    dot = strrchr(text, '.');
    if (!reg && dot) {
        lua_pushlstring(L, text, (size_t)(dot - text));
        reg = find_reg(L, s, lua_tostring(L, -1), NULL);
        lua_pop(L, 1);
        for (uint32_t k = 0; k < reg->r.nfields; k++) {
            const struct vfu_field *f = &reg->r.fields[k];

            if (!strcmp(f->name, dot + 1))
                lock->mask = (f->width == 64 ? UINT64_MAX : (UINT64_C(1) << f->width) - 1) << f->lsb;
        }
        if (!lock->mask)
            luaL_error(L, "dev:lock: register %s has no field %s", reg->full, dot + 1);
    } else {
        reg = find_reg(L, s, text, NULL);
        lock->mask = UINT64_MAX;
    }
    if (reg->r.count || reg->r.group != VFU_NONE)
        luaL_error(L, "dev:lock: %s is one of many; use a function as the condition", reg->full);
    lock->cond = reg->id;
}

int declare_lock(lua_State *L)
{
    struct script *s = check_self(L, "lock");
    struct lock_decl proto = { .ref = LUA_NOREF };
    lua_Integer n;

    if (lua_type(L, 2) == LUA_TSTRING) {
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, 2);
        lua_rawseti(L, -2, 1);
        lua_replace(L, 2);
    }
    if (!lua_istable(L, 2))
        return luaL_error(L, "dev:lock: names is a list of register names");
    if (lua_isfunction(L, 3)) {
        proto.l.cond = VFU_NONE;
        lua_pushvalue(L, 3);
        proto.ref = luaL_ref(L, LUA_REGISTRYINDEX);
    } else if (lua_type(L, 3) == LUA_TSTRING) {
        read_condition(L, s, &proto.l, lua_tostring(L, 3));
    } else {
        return luaL_error(L, "dev:lock: the condition is \"REG.FIELD\", \"!REG.FIELD\" or a function");
    }
    n = (lua_Integer)lua_rawlen(L, 2);
    if (!n)
        return luaL_error(L, "dev:lock: names is a list of register names, and this one is empty");
    for (lua_Integer k = 1; k <= n; k++) {
        struct lock_decl *lock = util_alloc(L, sizeof *lock);

        *lock = proto;
        if (lua_rawgeti(L, 2, k) != LUA_TSTRING)
            return luaL_error(L, "dev:lock: names is a list of register names");
        lock->l.reg = find_reg(L, s, lua_tostring(L, -1), NULL)->id;
        lock->l.hook = s->locks.n;
        lock->name_ref = luaL_ref(L, LUA_REGISTRYINDEX);
        util_append(L, &s->locks, lock);
    }
    return 0;
}

/* ---- the description ---- */

static void finish_map(lua_State *L, struct script *s)
{
    struct vfu_regmap *map = util_alloc(L, sizeof *map);
    struct vfu_reg *regs = util_alloc(L, s->reglist.n * sizeof *regs + 1);
    struct vfu_group *groups = util_alloc(L, s->groups.n * sizeof *groups + 1);
    struct vfu_lock *locks = util_alloc(L, s->locks.n * sizeof *locks + 1);

    for (uint32_t i = 0; i < s->reglist.n; i++) {
        struct reg_decl *reg = s->reglist.items[i];

        reg->r.flags |= reg->read_ref != LUA_NOREF ? VFU_REG_HOOK_READ : 0;
        reg->r.flags |= reg->write_ref != LUA_NOREF ? VFU_REG_HOOK_WRITE : 0;
        regs[i] = reg->r;
    }
    for (uint32_t i = 0; i < s->groups.n; i++)
        groups[i] = ((struct group_decl *)s->groups.items[i])->g;
    for (uint32_t i = 0; i < s->locks.n; i++)
        locks[i] = ((struct lock_decl *)s->locks.items[i])->l;
    map->struct_size = sizeof *map;
    map->regs = regs;
    map->nregs = s->reglist.n;
    map->reg_size = sizeof *regs;
    map->groups = groups;
    map->ngroups = s->groups.n;
    map->group_size = sizeof *groups;
    map->locks = locks;
    map->nlocks = s->locks.n;
    map->lock_size = sizeof *locks;
    s->d.regmap = map;
}

static uint32_t irq_register(lua_State *L, struct script *s, const char *name)
{
    const struct reg_decl *reg;

    if (!name)
        return 0;
    reg = find_reg(L, s, name, s->where);
    if (reg->r.count || reg->r.group != VFU_NONE)
        util_fail(L, s->where, "irq: register %s is one of many", name);
    return 1 + reg->id;
}

void declare_finish(lua_State *L, struct vfu_desc *desc)
{
    struct script *s = script_of(L);

    if (s->wrap) {
        wrap_finish(L, desc);
        return;
    }
    if (s->virtio)
        virtio_finish(L);
    struct vfu_bar *bars = util_alloc(L, 6 * sizeof *bars);
    struct vfu_pci_cap *caps = util_alloc(L, s->caps.n * sizeof *caps + 1);

    for (uint32_t i = 0; i < 6; i++) {
        struct bar_decl *bar = s->bars[i];

        if (!bar)
            continue;
        if (bar->read_ref != LUA_NOREF || bar->write_ref != LUA_NOREF) {
            if (bar->b.flags & VFU_BAR_RAM)
                util_fail(L, bar->where, "BAR %u: ram = true leaves nothing to bar.read and bar.write", i);
            bar->b.flags |= VFU_BAR_RAW;
        }
        bars[desc->nbars++] = bar->b;
    }
    for (uint32_t i = 0; i < s->caps.n; i++)
        caps[i] = *(struct vfu_pci_cap *)s->caps.items[i];
    desc->bars = bars;
    desc->bar_size = sizeof *bars;
    desc->pci_caps = caps;
    desc->npci_caps = s->caps.n;
    desc->pci_cap_size = sizeof *caps;
    desc->irq_level = irq_register(L, s, s->irq_level);
    desc->irq_mask = irq_register(L, s, s->irq_mask);
    finish_map(L, s);
    doorbell_finish(L, s, desc);
    desc->self = s;
}
