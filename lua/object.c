/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * object - the device as the script sees it: dev.REG.FIELD, dev.GROUP[i].REG, dev.state, dev:method.
 *
 * The device, its regs, arrays and groups are empty tables whose __index is a table of members: reading a member costs
 * no call, and every assignment meets __newindex. A register is a userdata with C access functions, resolved once.
 * Runs on the script's thread, inside protected calls.
 */
#include <stdio.h>
#include <string.h>

#include "lua/binding.h"

#define REGISTER_TYPE "register"

struct reg_ud {
    const struct reg_decl *reg;
    uint32_t index, group_index;
};

static uint64_t width_mask(unsigned bits)
{
    return bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

/* ---- a register ---- */

static int find_field(lua_State *L, const struct reg_decl *reg, const char *key)
{
    uint32_t n = reg->r.nfields;

    for (uint32_t i = 0; i < n; i++)
        if (reg->info[i].key == key)
            return (int)i;
    for (uint32_t i = 0; i < n; i++) /* long names are not interned */
        if (!strcmp(reg->r.fields[i].name, key))
            return (int)i;
    lua_createtable(L, 0, (int)n + 1);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "value");
    for (uint32_t i = 0; i < n; i++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, reg->r.fields[i].name);
    }
    util_push_suggestion(L, -1, key);
    return luaL_error(L, "register %s has no field %s%s", reg->full, key, lua_tostring(L, -1));
}

static const struct vfu_host_regmap *live(lua_State *L, struct script *s)
{
    if (!s->regs)
        luaL_error(L, "registers hold values once the device runs, not while the script loads; give reg a reset value");
    return s->regs;
}

static const char *check_key(lua_State *L, const struct reg_decl *reg)
{
    if (lua_type(L, 2) != LUA_TSTRING)
        luaL_error(L, "register %s is not an array", reg->full);
    return lua_tostring(L, 2);
}

static int reg_index(lua_State *L)
{
    const struct reg_ud *ud = lua_touserdata(L, 1);
    struct script *s = script_of(L);
    const char *key = check_key(L, ud->reg);
    const struct vfu_host_regmap *regs = live(L, s);
    const struct vfu_field *f;
    uint64_t v;
    int i;

    if (key == s->key_value) {
        lua_pushinteger(L, (lua_Integer)regs->get(s->host, ud->reg->id, ud->index, ud->group_index));
        return 1;
    }
    i = find_field(L, ud->reg, key);
    f = &ud->reg->r.fields[i];
    v = regs->get(s->host, ud->reg->id, ud->index, ud->group_index) >> f->lsb & width_mask(f->width);
    if (ud->reg->info[i].flag) {
        lua_pushboolean(L, v != 0);
        return 1;
    }
    for (uint32_t k = 0; k < f->nenums; k++)
        if (f->enums[k].value == v) {
            lua_pushstring(L, f->enums[k].name);
            return 1;
        }
    lua_pushinteger(L, (lua_Integer)v);
    return 1;
}

/* The raw bits of the field's new value at 3; raises if it does not fit. */
static uint64_t field_bits(lua_State *L, const struct reg_decl *reg, int i)
{
    const struct vfu_field *f = &reg->r.fields[i];
    lua_Integer v;

    if (reg->info[i].flag) {
        if (!lua_isboolean(L, 3))
            luaL_error(L, "%s.%s is a flag: true or false, not %s", reg->full, f->name, luaL_tolstring(L, 3, NULL));
        return (uint64_t)lua_toboolean(L, 3);
    }
    if (f->nenums && lua_type(L, 3) == LUA_TSTRING) {
        const char *name = lua_tostring(L, 3);

        lua_newtable(L);
        for (uint32_t k = 0; k < f->nenums; k++) {
            if (!strcmp(f->enums[k].name, name))
                return f->enums[k].value;
            lua_pushboolean(L, 1);
            lua_setfield(L, -2, f->enums[k].name);
        }
        util_push_suggestion(L, -1, name);
        luaL_error(L, "%s.%s cannot be \"%s\"%s", reg->full, f->name, name, lua_tostring(L, -1));
    }
    if (!util_integer(L, 3, &v))
        luaL_error(L, "%s.%s takes %s, not %s", reg->full, f->name, f->nenums ? "a name or an integer" : "an integer",
                   luaL_tolstring(L, 3, NULL));
    if ((uint64_t)v & ~width_mask(f->width))
        luaL_error(L, "%s.%s has %d bit%s; %I does not fit", reg->full, f->name, f->width, f->width == 1 ? "" : "s", v);
    return (uint64_t)v;
}

static int reg_newindex(lua_State *L)
{
    const struct reg_ud *ud = lua_touserdata(L, 1);
    const struct reg_decl *reg = ud->reg;
    struct script *s = script_of(L);
    const char *key = check_key(L, reg);
    const struct vfu_host_regmap *regs = live(L, s);
    const struct vfu_field *f;
    uint64_t bits, mask;
    lua_Integer v;
    int i;

    if (key == s->key_value) {
        if (!util_integer(L, 3, &v))
            return luaL_error(L, "%s.value takes an integer, not %s", reg->full, luaL_tolstring(L, 3, NULL));
        bits = (uint64_t)v & width_mask(reg->r.size * 8);
    } else {
        i = find_field(L, reg, key);
        f = &reg->r.fields[i];
        mask = width_mask(f->width) << f->lsb;
        bits = field_bits(L, reg, i) << f->lsb;
        bits |= regs->get(s->host, reg->id, ud->index, ud->group_index) & ~mask;
    }
    regs->set(s->host, reg->id, ud->index, ud->group_index, bits);
    return 0;
}

/* "GROUP[1].NAME[2]" */
static void push_name(lua_State *L, const struct reg_ud *ud)
{
    const char *dot = strchr(ud->reg->full, '.');
    luaL_Buffer b;

    luaL_buffinit(L, &b);
    if (dot && ud->group_index != VFU_NONE) {
        luaL_addlstring(&b, ud->reg->full, (size_t)(dot - ud->reg->full));
        lua_pushfstring(L, "[%d]", (int)ud->group_index);
        luaL_addvalue(&b);
        luaL_addstring(&b, dot);
    } else {
        luaL_addstring(&b, ud->reg->full);
    }
    if (ud->index != VFU_NONE) {
        lua_pushfstring(L, "[%d]", (int)ud->index);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
}

static int reg_tostring(lua_State *L)
{
    const struct reg_ud *ud = lua_touserdata(L, 1);
    struct script *s = script_of(L);
    char text[32];

    if (s->regs)
        snprintf(text, sizeof text, " = 0x%llx",
                 (unsigned long long)s->regs->get(s->host, ud->reg->id, ud->index, ud->group_index));
    else
        text[0] = '\0';
    push_name(L, ud);
    lua_pushfstring(L, "register %s%s", lua_tostring(L, -1), text);
    return 1;
}

bool object_test_reg(lua_State *L, int i, const struct reg_decl **reg, uint64_t *value)
{
    const struct reg_ud *ud = luaL_testudata(L, i, REGISTER_TYPE);
    struct script *s = script_of(L);

    if (!ud || !s->regs)
        return false;
    *reg = ud->reg;
    *value = s->regs->get(s->host, ud->reg->id, ud->index, ud->group_index);
    return true;
}

static void push_reg_ud(lua_State *L, const struct reg_decl *reg, uint32_t index, uint32_t group_index)
{
    struct reg_ud *ud = lua_newuserdatauv(L, sizeof *ud, 0);

    ud->reg = reg;
    ud->index = index;
    ud->group_index = group_index;
    luaL_setmetatable(L, REGISTER_TYPE);
}

/* ---- arrays and groups: made element by element, when first asked for ---- */

static void push_reg(lua_State *L, struct reg_decl *reg, uint32_t group_index);

static int refuse_newindex(lua_State *L)
{
    const char *what = lua_tostring(L, lua_upvalueindex(2));

    return luaL_error(L, "%s cannot be assigned; a register is %s.value = ...", luaL_tolstring(L, 2, NULL), what);
}

static int missing_register(lua_State *L)
{
    const char *key = luaL_tolstring(L, 2, NULL);

    util_push_suggestion(L, 1, key);
    return luaL_error(L, "%s has no register %s%s", lua_tostring(L, lua_upvalueindex(1)), key, lua_tostring(L, -1));
}

/* Called with the members table and an index it does not have yet. Upvalues: what (light), group index, a group? */
static int element_index(lua_State *L)
{
    void *decl = lua_touserdata(L, lua_upvalueindex(1));
    uint32_t group_index = (uint32_t)lua_tointeger(L, lua_upvalueindex(2));
    bool is_group = lua_toboolean(L, lua_upvalueindex(3));
    struct group_decl *group = decl;
    struct reg_decl *reg = decl;
    const char *name = is_group ? group->g.name : reg->full;
    uint32_t count = is_group ? group->g.count : reg->r.count;
    lua_Integer i;

    if (!util_integer(L, 2, &i))
        return luaL_error(L, "%s is an array: %s[i].%s", name, name, is_group ? "REG" : "value");
    if (i < 0 || i >= (lua_Integer)count)
        return luaL_error(L, "%s[%I] is out of range: there are 0 to %d", name, i, (int)count - 1);
    if (is_group) {
        lua_createtable(L, 0, (int)group->nregs);
        for (uint32_t k = 0; k < group->nregs; k++) {
            push_reg(L, group->regs[k], (uint32_t)i);
            lua_setfield(L, -2, group->regs[k]->r.name);
        }
        lua_createtable(L, 0, 1);
        lua_pushstring(L, name);
        lua_pushcclosure(L, missing_register, 1);
        lua_setfield(L, -2, "__index");
        lua_setmetatable(L, -2);
        util_push_proxy(L, name, refuse_newindex);
    } else {
        push_reg_ud(L, reg, (uint32_t)i, group_index);
    }
    lua_pushvalue(L, -1);
    lua_rawseti(L, 1, i);
    return 1;
}

static void push_elements(lua_State *L, void *decl, uint32_t group_index, bool is_group, const char *name)
{
    lua_newtable(L); /* members */
    lua_createtable(L, 0, 1);
    lua_pushlightuserdata(L, decl);
    lua_pushinteger(L, group_index);
    lua_pushboolean(L, is_group);
    lua_pushcclosure(L, element_index, 3);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    util_push_proxy(L, name, refuse_newindex);
}

static void push_reg(lua_State *L, struct reg_decl *reg, uint32_t group_index)
{
    if (reg->r.count)
        push_elements(L, reg, group_index, false, reg->full);
    else
        push_reg_ud(L, reg, VFU_NONE, group_index);
}

void object_push_reg(lua_State *L, struct reg_decl *reg)
{
    push_reg(L, reg, VFU_NONE);
}

void object_push_group(lua_State *L, struct group_decl *group)
{
    push_elements(L, group, VFU_NONE, true, group->g.name);
}

/* ---- state ---- */

/* What is nested is looked at when the state is saved: a check of each assignment stays cheap. */
void object_check_state(lua_State *L, int i, const char *name)
{
    int type = lua_type(L, i);

    if (type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING || buffer_test(L, i))
        return;
    if (type != LUA_TTABLE) {
        const char *what = luaL_typename(L, i);

        if (luaL_getmetafield(L, i, "__name") == LUA_TSTRING)
            what = lua_tostring(L, -1);
        luaL_error(
            L, "state %s: a %s cannot be saved; state is nil, booleans, numbers, strings, buffers and trees of them",
            name, what);
    }
    if (lua_getmetatable(L, i))
        luaL_error(L, "state %s: a table with a metatable cannot be saved", name);
}

/* ---- the device ---- */

static int device_newindex(lua_State *L)
{
    struct script *s = script_of(L);
    const char *key;

    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "the device has no numbered members");
    key = lua_tostring(L, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->state_ref);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TNIL) {
        object_check_state(L, 3, key);
        lua_pushvalue(L, 2);
        lua_pushvalue(L, 3);
        lua_rawset(L, lua_upvalueindex(1));
        return 0;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->regs_ref);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TNIL)
        return luaL_error(L, "%s is a register: assign %s.value or a field of it", key, key);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return luaL_error(L, "%s is the device's own and cannot be assigned", key);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->state_ref);
    util_push_suggestion(L, -1, key);
    return luaL_error(L, "%s is not declared; name it in vfu.device's state%s", key, lua_tostring(L, -1));
}

/* Called with the members table and the name that it does not have. */
static int device_missing(lua_State *L)
{
    struct script *s = script_of(L);
    const char *key;

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->state_ref);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TNIL) {
        lua_pushnil(L); /* a declared state value that is nil */
        return 1;
    }
    key = luaL_tolstring(L, 2, NULL);
    if (!strcmp(key, "dma"))
        return luaL_error(L, "the device has no DMA: give vfu.device a dma = true");
    util_push_suggestion(L, 1, key);
    return luaL_error(L, "the device has no register, state or method %s%s", key, lua_tostring(L, -1));
}

static int device_tostring(lua_State *L)
{
    lua_pushfstring(L, "device %s", script_of(L)->d.name);
    return 1;
}

static int regs_newindex(lua_State *L)
{
    const char *key = luaL_tolstring(L, 2, NULL);

    return luaL_error(L, "assign regs.%s.value or a field of it", key);
}

/* Adds the value on top to the device's members (and regs), and pops it. */
void object_member(lua_State *L, struct script *s, const char *name, const char *where, bool reg)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->members_ref);
    lua_pushstring(L, name);
    if (lua_rawget(L, -2) != LUA_TNIL)
        util_fail(L, where, "the name %s is taken by the device's own, a register, a group or state", name);
    lua_pop(L, 1);
    lua_pushstring(L, name);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    if (reg) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->regs_ref);
        lua_pushstring(L, name);
        lua_pushvalue(L, -4);
        lua_rawset(L, -3);
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
}

static void push_missing(lua_State *L, lua_CFunction fn)
{
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, fn);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

void object_device(lua_State *L, struct script *s)
{
    static const luaL_Reg methods[] = {
        { "bar", declare_bar },
        { "config", declare_config },
        { "config_read", config_read },
        { "config_write", config_write },
        { "lock", declare_lock },
        { "after", event_after },
        { "every", event_every },
        { "granted", grant_granted },
        { "guest_error", log_guest_error },
        { "report", report_report },
        { NULL, NULL },
    };
    static const char *const kinds[] = { "read", "write", "event", "on" };

    lua_newtable(L);
    s->state_ref = luaL_ref(L, LUA_REGISTRYINDEX);

    lua_newtable(L); /* regs */
    lua_pushvalue(L, -1);
    s->regs_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "the device");
    lua_pushcclosure(L, missing_register, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    util_push_proxy(L, "regs", regs_newindex);

    lua_newtable(L); /* members */
    luaL_setfuncs(L, methods, 0);
    lua_insert(L, -2);
    lua_setfield(L, -2, "regs");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        hooks_push(L, kinds[i]);
        lua_setfield(L, -2, kinds[i]);
    }
    irq_push(L);
    lua_setfield(L, -2, "irq");
    if (s->d.caps & VFU_CAP_DMA) {
        dma_push(L);
        lua_setfield(L, -2, "dma");
    }
    lua_pushvalue(L, -1);
    s->members_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    push_missing(L, device_missing);
    util_push_proxy(L, "device", device_newindex);
    lua_getmetatable(L, -1);
    lua_pushcfunction(L, device_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    s->dev_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

void object_open(lua_State *L)
{
    static const luaL_Reg meta[] = {
        { "__index", reg_index }, { "__newindex", reg_newindex }, { "__tostring", reg_tostring }, { NULL, NULL }
    };

    luaL_newmetatable(L, REGISTER_TYPE);
    luaL_setfuncs(L, meta, 0);
    lua_pushliteral(L, REGISTER_TYPE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
