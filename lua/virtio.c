/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio - require "vfu.virtio": virtio.device, which declares a device of <vfu/virtio.h>, and what the host's callbacks
 * have to do with it. Chains, as the script sees them, are in chain.c.
 *
 * Registers of the transport are registers of the device like any other; their hooks are the library's. The device's
 * thread, but for declarations.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lua/virtio_private.h"

/* ---- what a script says ---------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint32_t id;
} type_ids[] = {
    { "net", VFU_VIRTIO_ID_NET },       { "block", VFU_VIRTIO_ID_BLOCK },     { "console", VFU_VIRTIO_ID_CONSOLE },
    { "rng", VFU_VIRTIO_ID_RNG },       { "balloon", VFU_VIRTIO_ID_BALLOON }, { "scsi", VFU_VIRTIO_ID_SCSI },
    { "p9", VFU_VIRTIO_ID_9P },         { "gpu", VFU_VIRTIO_ID_GPU },         { "input", VFU_VIRTIO_ID_INPUT },
    { "vsock", VFU_VIRTIO_ID_VSOCK },   { "crypto", VFU_VIRTIO_ID_CRYPTO },   { "fs", VFU_VIRTIO_ID_FS },
    { "i2c", VFU_VIRTIO_ID_I2C },       { "gpio", VFU_VIRTIO_ID_GPIO },
};

static void read_queues(lua_State *L, struct script *s, struct vfu_virtio_model *model)
{
    static const char *const options[] = { "name", "size", "depth", NULL };
    struct vfu_virtio_queue_model *queues;

    if (lua_getfield(L, 2, "queues") != LUA_TTABLE || !lua_rawlen(L, -1) || lua_rawlen(L, -1) > VFU_VIRTIO_QUEUES_MAX)
        luaL_error(L, "virtio.device: queues is a list of 1 to %d {name =, size =}", (int)VFU_VIRTIO_QUEUES_MAX);
    model->nqueues = (uint32_t)lua_rawlen(L, -1);
    queues = util_alloc(L, model->nqueues * sizeof *queues);
    s->virtio->hooks = util_alloc(L, model->nqueues * sizeof *s->virtio->hooks);
    for (uint32_t k = 0; k < model->nqueues; k++) {
        int i;

        if (lua_rawgeti(L, -1, k + 1) != LUA_TTABLE)
            luaL_error(L, "virtio.device: queues is a list of {name =, size =}");
        i = lua_gettop(L);
        util_keys(L, i, "a queue", options, false);
        queues[k].name = util_opt_string(L, i, "a queue", "name");
        if (!queues[k].name || !util_is_name(queues[k].name))
            luaL_error(L, "queue %d: its name must be an identifier: the function dev.queue:NAME is called for it", (int)k);
        for (uint32_t j = 0; j < k; j++)
            if (!strcmp(queues[j].name, queues[k].name))
                luaL_error(L, "two queues are named %s", queues[k].name);
        queues[k].size = (uint32_t)util_opt_integer(L, i, "a queue", "size", 256, 1, VFU_VIRTIO_SIZE_MAX);
        if (queues[k].size & (queues[k].size - 1))
            luaL_error(L, "queue %s: a size is a power of two, not %d", queues[k].name, (int)queues[k].size);
        queues[k].depth = (uint32_t)util_opt_integer(L, i, "a queue", "depth", 0, 0, VFU_VIRTIO_SIZE_MAX);
        s->virtio->hooks[k] = LUA_NOREF;
        lua_pop(L, 1);
    }
    model->queues = queues;
    lua_pop(L, 1);
}

/* {NAME = bit}: the bits, and the table kept for dev:feature. */
static uint64_t read_features(lua_State *L, struct script *s)
{
    uint64_t features = 0;

    if (lua_getfield(L, 2, "features") == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    luaL_checktype(L, -1, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        lua_Integer bit = 0;

        if (lua_type(L, -2) != LUA_TSTRING || !util_integer(L, -1, &bit))
            luaL_error(L, "virtio.device: features is a table {NAME = bit}");
        if (bit < 0 || bit > 63 || !(VFU_VIRTIO_F_TYPE >> bit & 1))
            luaL_error(L, "feature %s: bit %I is not of a device type: those are 0 to 23 and 50 to 63",
                       lua_tostring(L, -2), bit);
        features |= UINT64_C(1) << bit;
    }
    s->virtio->features_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return features;
}

/* The options of vfu.device out of those of virtio.device, and the call. Leaves the device. */
static void declare_plain(lua_State *L, const struct vfu_desc *d)
{
    static const char *const passed[] = { "doc", "params", "state", "needs" };

    lua_pushcfunction(L, declare_device);
    lua_pushvalue(L, 1);
    lua_createtable(L, 0, 6);
    for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++) {
        lua_getfield(L, 2, passed[i]);
        lua_setfield(L, -2, passed[i]);
    }
    const struct {
        const char *name;
        lua_Integer value;
    } ids[] = { { "vendor", d->vendor }, { "device", d->device }, { "subsystem_vendor", d->subsystem_vendor },
                { "subsystem", d->subsystem }, { "revision", d->revision }, { "class", d->class_code },
                { "msix", d->msix_vectors } };
    lua_createtable(L, 0, 8);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        lua_pushinteger(L, ids[i].value);
        lua_setfield(L, -2, ids[i].name);
    }
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "intx");
    lua_setfield(L, -2, "pci");
    lua_createtable(L, 0, 1);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "map");
    lua_setfield(L, -2, "dma");
    lua_call(L, 2, 1);
}

/* Registers of the library as if the script had written them down: onto a list, from number `from` to before `to`. */
static void push_library(lua_State *L, struct script *s, uint32_t from, uint32_t to)
{
    lua_createtable(L, (int)(to - from), 0);
    for (uint32_t i = from; i < to; i++) {
        struct reg_decl *reg = util_alloc(L, sizeof *reg);

        reg->r = s->virtio->v.map[i];
        reg->where = s->where;
        reg->full = reg->r.name;
        reg->read_ref = reg->write_ref = LUA_NOREF;
        reg->info = util_alloc(L, reg->r.nfields * sizeof *reg->info + 1);
        for (uint32_t k = 0; k < reg->r.nfields; k++) {
            reg->info[k].key = map_intern(L, reg->r.fields[k].name);
            reg->info[k].flag = true;
        }
        map_push(L, reg);
        lua_rawseti(L, -2, (lua_Integer)(i - from) + 1);
    }
}

/* The bytes of device configuration space, whose registers move to their place in the BAR. */
static uint32_t move_config(lua_State *L)
{
    uint64_t end = 0;

    if (lua_getfield(L, 2, "config") != LUA_TNIL && !lua_istable(L, -1))
        luaL_error(L, "virtio.device: config is a list {reg(...), ...}");
    for (lua_Integer k = 1; lua_istable(L, -1) && k <= (lua_Integer)lua_rawlen(L, -1); k++) {
        struct reg_decl *reg;
        uint64_t n, each;

        lua_rawgeti(L, -1, k);
        reg = map_test(L, -1);
        if (!reg)
            luaL_error(L, "virtio.device: item %I of config is %s, not a register", k, luaL_typename(L, -1));
        n = reg->r.count ? reg->r.count : 1;
        each = reg->r.stride ? reg->r.stride : reg->r.size;
        if (n > 4096 || each > 4096 || reg->r.offset > 4096 || reg->r.offset + (n - 1) * each + reg->r.size > 4096)
            util_fail(L, reg->where, "register %s: device configuration space has up to 4096 bytes", reg->full);
        if (reg->r.offset + (n - 1) * each + reg->r.size > end)
            end = reg->r.offset + (n - 1) * each + reg->r.size;
        if (!reg->used)
            reg->r.offset += VFU_VIRTIO_DEVICE_AT;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return (uint32_t)end;
}

static void add_parts(lua_State *L, struct script *s, const struct vfu_desc *d)
{
    struct bar_decl *bar = util_alloc(L, sizeof *bar);
    int top = lua_gettop(L);

    bar->b = s->virtio->v.bar;
    bar->where = s->where;
    bar->read_ref = bar->write_ref = LUA_NOREF;
    bar->bells = s->virtio->v.bells;
    bar->nbells = d->ndoorbells;
    s->bars[0] = bar;
    push_library(L, s, 0, VFU_VIRTIO_R_WINDOW_BAR);
    map_add(L, top + 1, 0, bar->b.size, "BAR 0");
    push_library(L, s, VFU_VIRTIO_R_WINDOW_BAR, VFU_VIRTIO_REGS);
    map_add(L, top + 2, VFU_REGION_CONFIG, 256, "config space");
    lua_getfield(L, 2, "config");
    map_add(L, top + 3, 0, VFU_VIRTIO_NOTIFY_AT, "device configuration space");
    for (uint32_t i = 0; i < d->npci_caps; i++)
        util_append(L, &s->caps, &s->virtio->v.caps[i]);
    lua_settop(L, top);
}

/* ---- dev.queue ---------------------------------------------------------------------------------------------------------- */

static int *find_queue(lua_State *L)
{
    struct virtio *x = script_of(L)->virtio;
    const char *name = luaL_tolstring(L, 2, NULL);

    lua_newtable(L);
    for (uint32_t i = 0; i < x->v.nqueues; i++) {
        if (!strcmp(x->v.model.queues[i].name, name))
            return &x->hooks[i];
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, x->v.model.queues[i].name);
    }
    util_push_suggestion(L, -1, name);
    luaL_error(L, "no queue is named %s%s", name, lua_tostring(L, -1));
    return NULL;
}

static int queue_newindex(lua_State *L)
{
    int *ref = find_queue(L);

    if (script_of(L)->sealed)
        return luaL_error(L, "hooks are set while the script loads, not later");
    if (!lua_isfunction(L, 3))
        return luaL_error(L, "queue.%s must be a function, not %s", luaL_tolstring(L, 2, NULL), luaL_typename(L, 3));
    luaL_unref(L, LUA_REGISTRYINDEX, *ref);
    lua_pushvalue(L, 3);
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int queue_index(lua_State *L)
{
    int *ref = find_queue(L);

    if (*ref == LUA_NOREF)
        lua_pushnil(L);
    else
        lua_rawgeti(L, LUA_REGISTRYINDEX, *ref);
    return 1;
}

static void push_queues(lua_State *L)
{
    static const luaL_Reg meta[] = { { "__index", queue_index }, { "__newindex", queue_newindex }, { NULL, NULL } };

    lua_newtable(L);
    luaL_newlib(L, meta);
    lua_pushliteral(L, "hooks");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

/* ---- methods ------------------------------------------------------------------------------------------------------------- */

static int device_feature(lua_State *L)
{
    struct script *s = script_of(L);
    lua_Integer bit;

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->virtio->features_ref);
    lua_getfield(L, -1, luaL_checkstring(L, 2));
    if (!util_integer(L, -1, &bit)) {
        util_push_suggestion(L, -2, lua_tostring(L, 2));
        return luaL_error(L, "the device offers no feature %s%s", lua_tostring(L, 2), lua_tostring(L, -1));
    }
    lua_pushboolean(L, (int)(s->virtio->v.features >> bit & 1));
    return 1;
}

static struct script *check_runs(lua_State *L, const char *what)
{
    struct script *s = script_of(L);

    if (!s->regs)
        luaL_error(L, "dev:%s is for a device that runs, not while the script loads", what);
    return s;
}

static int device_config_changed(lua_State *L)
{
    vfu_virtio_config_changed(&check_runs(L, "config_changed")->virtio->v);
    return 0;
}

static int device_broken(lua_State *L)
{
    vfu_virtio_broken(&check_runs(L, "broken")->virtio->v, luaL_checkstring(L, 2));
    return 0;
}

/* ---- virtio.device ------------------------------------------------------------------------------------------------------- */

static void on_driver(void *self, bool ready)
{
    struct script *s = self;

    if (s->on[HOOK_DRIVER] == LUA_NOREF)
        return;
    lua_pushboolean(s->L, ready);
    hooks_on(s, HOOK_DRIVER, "driver", 1);
}

static int device_new(lua_State *L)
{
    static const char *const options[] = { "doc",      "params", "state", "needs", "id", "queues",
                                           "features", "config", "class", "vectors", NULL };
    static const luaL_Reg methods[] = {
        { "feature", device_feature }, { "config_changed", device_config_changed }, { "broken", device_broken }
    };
    struct vfu_virtio_model model = { .ops = { .chain = chain_come, .reset = chain_reset, .driver = on_driver } };
    struct script *s = script_of(L);
    struct vfu_desc d = { .struct_size = sizeof d };

    if (s->virtio)
        return luaL_error(L, "virtio.device: one script, one device; this is the second");
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    util_keys(L, 2, "virtio.device", options, false);
    s->virtio = util_alloc(L, sizeof *s->virtio);
    model.id = (uint32_t)util_opt_integer(L, 2, "virtio.device", "id", 0, 1, 63);
    if (!model.id)
        return luaL_error(L, "virtio.device: id is missing: the device's type, virtio.ID.rng for one");
    read_queues(L, s, &model);
    model.features = read_features(L, s);
    model.class_code = (uint32_t)util_opt_integer(L, 2, "virtio.device", "class", 0, 0, 0xffffff);
    model.vectors = (uint32_t)util_opt_integer(L, 2, "virtio.device", "vectors", 0, 1, 2048);
    model.config_size = move_config(L);
    if (vfu_virtio_describe(&s->virtio->v, s->host, &model, &d))
        return luaL_error(L, "virtio.device: this device cannot be made");
    declare_plain(L, &d); /* at 3 */
    s->where = util_where(L, 1);
    add_parts(L, s, &d);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        lua_pushcfunction(L, methods[i].func);
        object_member(L, s, methods[i].name, s->where, false);
    }
    push_queues(L);
    object_member(L, s, "queue", s->where, false);
    lua_settop(L, 3);
    return 1;
}

int virtio_open(lua_State *L)
{
    static const luaL_Reg functions[] = { { "device", device_new }, { NULL, NULL } };

    chain_open(L);
    luaL_newlib(L, functions);
    lua_createtable(L, 0, (int)(sizeof type_ids / sizeof type_ids[0]));
    for (size_t i = 0; i < sizeof type_ids / sizeof type_ids[0]; i++) {
        lua_pushinteger(L, type_ids[i].id);
        lua_setfield(L, -2, type_ids[i].name);
    }
    lua_setfield(L, -2, "ID");
    return 1;
}

void virtio_finish(lua_State *L)
{
    struct script *s = script_of(L);

    for (uint32_t i = 0; i < s->virtio->v.nqueues; i++)
        if (s->virtio->hooks[i] == LUA_NOREF)
            util_fail(L, s->where, "queue %s has no function dev.queue:%s", s->virtio->v.model.queues[i].name,
                      s->virtio->v.model.queues[i].name);
}

/* ---- callbacks ------------------------------------------------------------------------------------------------------------ */

int32_t virtio_create(struct script *s)
{
    return vfu_virtio_create(&s->virtio->v, s->host, s);
}

void virtio_destroy(struct script *s)
{
    vfu_virtio_destroy(&s->virtio->v);
}

bool virtio_owns(const struct script *s, uint32_t reg)
{
    const struct vfu_reg_call call = { .reg = reg };

    return vfu_virtio_owns(&s->virtio->v, &call);
}

int32_t virtio_read(struct script *s, struct vfu_reg_call *call)
{
    return vfu_virtio_reg_read(&s->virtio->v, call);
}

int32_t virtio_write(struct script *s, struct vfu_reg_call *call)
{
    return vfu_virtio_reg_write(&s->virtio->v, call);
}

bool virtio_ring(struct script *s, uint32_t index, uint64_t value)
{
    if (index >= s->virtio->v.nqueues)
        return false;
    vfu_virtio_doorbell(&s->virtio->v, index, value);
    return true;
}

void virtio_reset(struct script *s, uint32_t kind)
{
    vfu_virtio_reset(&s->virtio->v, kind);
}

void virtio_detach(struct script *s)
{
    vfu_virtio_detach(&s->virtio->v);
}

void virtio_quiesce(struct script *s)
{
    vfu_virtio_quiesce(&s->virtio->v);
}

void virtio_resume(struct script *s)
{
    vfu_virtio_resume(&s->virtio->v);
    chain_resume(s);
}

int32_t virtio_save(struct script *s, struct vfu_sink *sink)
{
    return vfu_virtio_save(&s->virtio->v, sink);
}

int32_t virtio_load(struct script *s, struct vfu_source *source)
{
    return vfu_virtio_load(&s->virtio->v, source);
}
