/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wrap - vfu.plugin and inner:wrap: another device model inside of the script's, as <vfu/wrap.h> has it.
 *
 * The script's description is the inner plugin's, with BARs that are intercepted where hooks look at accesses. What the
 * script keeps of its own (state, events) is saved in front of what the inner plugin saves. Runs on the script's thread.
 */
#include "lua/wrap_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WRAP_MAGIC "VFUW"
#define WRAP_ITEMS 256u

void *wrap_inner(struct script *s)
{
    return &s->wrap->wrap;
}

/* ---- vfu.plugin ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && !strcmp(text + n - m, end);
}

/* A file that the script names is beside it, if there is one; else it is as it stands. */
static const char *find_file(lua_State *L, struct script *s, const char *spec)
{
    const char *slash = strrchr(s->path, '/');
    char *path;
    size_t dir;

    if (*spec == '/' || !slash || !(ends_with(spec, ".lua") || ends_with(spec, ".so")))
        return util_strdup(L, spec);
    dir = (size_t)(slash + 1 - s->path);
    path = util_alloc(L, dir + strlen(spec) + 1);
    memcpy(path, s->path, dir);
    strcpy(path + dir, spec);
    return access(path, R_OK) ? util_strdup(L, spec) : path;
}

/* "KEY=VALUE" of the pair on top of the stack. */
static const char *make_item(lua_State *L)
{
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    const char *value = NULL;

    if (!*key || strchr(key, '='))
        luaL_error(L, "vfu.plugin: a parameter's name is a string, not %s", luaL_tolstring(L, -2, NULL));
    if (lua_isboolean(L, -1))
        value = lua_toboolean(L, -1) ? "on" : "off";
    else if (lua_type(L, -1) == LUA_TNUMBER || lua_type(L, -1) == LUA_TSTRING)
        value = luaL_tolstring(L, -1, NULL);
    else
        luaL_error(L, "vfu.plugin: parameter %s is a number, string or boolean, not %s", key, luaL_typename(L, -1));
    lua_pushfstring(L, "%s=%s", key, value);
    return util_strdup(L, lua_tostring(L, -1));
}

static bool named_by(const char *item, const char *key)
{
    size_t n = strlen(key);

    return !strncmp(item, key, n) && item[n] == '=';
}

/* The table at 2, and what the command line says with "inner." in front, which comes first. */
static uint32_t collect_items(lua_State *L, const char **items, uint32_t given)
{
    uint32_t n = given;

    if (lua_isnil(L, 2))
        return n;
    for (lua_pushnil(L); lua_next(L, 2); lua_settop(L, 3)) {
        const char *item = make_item(L);
        bool overridden = false;

        for (uint32_t i = 0; i < given; i++)
            overridden = overridden || named_by(items[i], lua_tostring(L, 3));
        if (overridden)
            continue;
        if (n == WRAP_ITEMS)
            luaL_error(L, "vfu.plugin: more than %d parameters", (int)WRAP_ITEMS);
        items[n++] = item;
    }
    return n;
}

static int inner_newindex(lua_State *L)
{
    return luaL_error(L, "a plugin has nothing to assign; its hooks are given to inner:wrap{...}");
}

static int inner_missing(lua_State *L)
{
    const char *key = luaL_tolstring(L, 2, NULL);

    util_push_suggestion(L, 1, key);
    return luaL_error(L, "a plugin has wrap, name, version and summary, no %s%s", key, lua_tostring(L, -1));
}

static int inner_wrap(lua_State *L);

static void push_inner(lua_State *L, struct wrapper *w)
{
    const struct vfu_plugin *plugin = w->wrap.plugin;

    lua_createtable(L, 0, 4);
    lua_pushcfunction(L, inner_wrap);
    lua_setfield(L, -2, "wrap");
    lua_pushstring(L, plugin->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, plugin->version ? plugin->version : "");
    lua_setfield(L, -2, "version");
    lua_pushstring(L, plugin->summary ? plugin->summary : "");
    lua_setfield(L, -2, "summary");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, inner_missing);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    util_push_proxy(L, "plugin", inner_newindex);
    lua_pushvalue(L, -1);
    w->inner_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

int wrap_plugin(lua_State *L)
{
    struct script *s = script_of(L);
    const char *spec, **items;
    struct wrapper *w;
    uint32_t given, n;
    int32_t err;

    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_error(L, "vfu.plugin: a path or a plugin's name, not %s", luaL_typename(L, 1));
    lua_settop(L, 2);
    if (!lua_isnil(L, 2) && !lua_istable(L, 2))
        return luaL_error(L, "vfu.plugin: the parameters are a table {NAME = value}, not %s", luaL_typename(L, 2));
    if (s->sealed)
        return luaL_error(L, "vfu.plugin: a plugin is opened while the script loads, not later");
    if (s->wrap || s->declared)
        return luaL_error(L, "vfu.plugin: one script, one device; this is the second");
    if (!VFU_HAS(s->host, open) || !VFU_HAS(s->host, bar_access) || !VFU_HAS(s->host, irq_level))
        return luaL_error(L, "vfu.plugin: this host (%s) is too old to wrap plugins", s->host->version);
    items = util_alloc(L, WRAP_ITEMS * sizeof *items);
    spec = find_file(L, s, lua_tostring(L, 1));
    given = s->given ? vfu_wrap_items(s->given, "inner.", items, WRAP_ITEMS) : 0;
    n = collect_items(L, items, given);
    w = util_alloc(L, sizeof *w);
    w->s = s;
    for (int i = 0; i < WRAP_HOOKS; i++)
        w->hooks[i] = w->next[i] = LUA_NOREF;
    err = vfu_wrap_open(&w->wrap, s->host, spec, items, n);
    if (err == -EINVAL && given)
        s->result = err; /* the user's own words do not fit, as has been said */
    if (err)
        return luaL_error(L, "vfu.plugin: %s cannot be opened; the line above says why", spec);
    s->wrap = w;
    push_inner(L, w);
    return 1;
}

/* ---- inner:wrap ---- */

/* A bit is a flag, as in a script's own map, unless it has names. */
static void copy_fields(lua_State *L, struct reg_decl *reg)
{
    const struct vfu_reg from = reg->r;
    uint32_t step = from.field_size ? from.field_size : (uint32_t)sizeof(struct vfu_field);
    struct vfu_field *fields = util_alloc(L, from.nfields * sizeof *fields + 1);

    reg->info = util_alloc(L, from.nfields * sizeof *reg->info + 1);
    for (uint32_t i = 0; i < from.nfields; i++) {
        memcpy(&fields[i], (const char *)from.fields + (size_t)i * step, step < sizeof *fields ? step : sizeof *fields);
        reg->info[i].key = map_intern(L, fields[i].name);
        reg->info[i].flag = fields[i].width == 1 && !fields[i].nenums;
    }
    reg->r.fields = fields;
}

/* dev.regs gets the inner plugin's registers and groups. */
static void add_registers(lua_State *L, struct script *s, const struct vfu_regmap *map)
{
    uint32_t reg_step, group_step;
    struct group_decl *groups;
    struct reg_decl *regs;

    if (!map || !map->nregs)
        return;
    reg_step = map->reg_size ? map->reg_size : (uint32_t)sizeof(struct vfu_reg);
    group_step = map->group_size ? map->group_size : (uint32_t)sizeof(struct vfu_group);
    groups = util_alloc(L, map->ngroups * sizeof *groups + 1);
    regs = util_alloc(L, map->nregs * sizeof *regs);
    for (uint32_t i = 0; i < map->ngroups; i++) {
        memcpy(&groups[i].g, (const char *)map->groups + (size_t)i * group_step,
               group_step < sizeof groups->g ? group_step : sizeof groups->g);
        groups[i].regs = util_alloc(L, map->nregs * sizeof *groups[i].regs);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->regs_ref);
    for (uint32_t i = 0; i < map->nregs; i++) {
        struct reg_decl *reg = &regs[i];

        memcpy(&reg->r, (const char *)map->regs + (size_t)i * reg_step,
               reg_step < sizeof reg->r ? reg_step : sizeof reg->r);
        reg->id = i;
        reg->read_ref = reg->write_ref = LUA_NOREF;
        reg->full = reg->r.name;
        copy_fields(L, reg);
        if (reg->r.group < map->ngroups) {
            struct group_decl *group = &groups[reg->r.group];

            lua_pushfstring(L, "%s.%s", group->g.name, reg->r.name);
            reg->full = util_strdup(L, lua_tostring(L, -1));
            lua_pop(L, 1);
            group->regs[group->nregs++] = reg;
            continue;
        }
        object_push_reg(L, reg);
        lua_setfield(L, -2, reg->r.name);
    }
    for (uint32_t i = 0; i < map->ngroups; i++) {
        object_push_group(L, &groups[i]);
        lua_setfield(L, -2, groups[i].g.name);
    }
    lua_pop(L, 1);
}

static void take_hooks(lua_State *L, struct wrapper *w)
{
    for (uint32_t i = 0; i < WRAP_HOOKS; i++) {
        const char *name = wraphook_name(i);
        int type = lua_getfield(L, 2, name);

        if (type != LUA_TNIL && type != LUA_TFUNCTION)
            luaL_error(L, "inner:wrap: %s is a function, not %s", name, luaL_typename(L, -1));
        if (type == LUA_TFUNCTION)
            w->hooks[i] = luaL_ref(L, LUA_REGISTRYINDEX);
        else
            lua_pop(L, 1);
    }
}

static bool has(const struct wrapper *w, uint32_t hook)
{
    return w->hooks[hook] != LUA_NOREF;
}

/* What the inner plugin is must be something that these hooks can see. */
static void check_hooks(lua_State *L, const struct wrapper *w)
{
    const struct vfu_desc *d = &w->inner.desc;
    const char *name = d->name;
    bool dma = has(w, WRAP_DMA_READ) || has(w, WRAP_DMA_WRITE);

    if (dma && !(d->caps & VFU_CAP_DMA))
        luaL_error(L, "inner:wrap: %s does no DMA: %s would never be called", name,
                   has(w, WRAP_DMA_READ) ? "dma_read" : "dma_write");
    if (has(w, WRAP_RAISE) && !(d->caps & (VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX)))
        luaL_error(L, "inner:wrap: %s has no interrupt: raise would never be called", name);
    if ((has(w, WRAP_READ) || has(w, WRAP_WRITE)) && !d->nbars)
        luaL_error(L, "inner:wrap: %s has no BAR: there is nothing to read or write", name);
    if ((dma || has(w, WRAP_RAISE)) && (d->caps & VFU_CAP_THREADS))
        luaL_error(L, "inner:wrap: %s has threads of its own, which cannot call a script: no dma_read, dma_write or raise",
                   name);
    if (dma && (d->needs & VFU_CAP_DMA_MAP))
        luaL_error(L, "inner:wrap: %s needs to map memory (dma_map), which dma_read and dma_write cannot see", name);
    if ((has(w, WRAP_READ) || has(w, WRAP_WRITE)) && (d->needs & VFU_CAP_MMAP))
        luaL_error(L, "inner:wrap: %s needs its client to map memory (mmap), which read and write cannot see", name);
}

/* The inner plugin's own word, into w->inner. */
static void describe_inner(lua_State *L, struct wrapper *w)
{
    struct vfu_desc *d = &w->inner.desc;
    int32_t err;

    d->struct_size = sizeof *d;
    d->self = w->s;
    err = vfu_wrap_describe(&w->wrap, w->s->host, NULL, NULL, 0, d);
    if (!err && d->nbars <= 6 && (!d->nbars || d->bars))
        return;
    if (err == -EINVAL) { /* explained; the parameters may be the script's or the user's */
        luaL_where(L, 1);
        vfu_logf(w->s->host, VFU_LOG_ERROR, "%sinner:wrap: the parameters of %s do not fit", lua_tostring(L, -1),
                 w->wrap.plugin->name);
        w->s->result = err;
    }
    luaL_error(L, "inner:wrap: %s does not say what it is (error %d)", w->wrap.plugin->name, (int)-err);
}

static int inner_wrap(lua_State *L)
{
    static const char *const options[] = { "read",  "write",  "dma_read", "dma_write", "raise",
                                           "state", "params", "needs",    NULL };
    struct script *s = script_of(L);
    struct wrapper *w = s->wrap;

    lua_settop(L, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, w->inner_ref);
    if (!lua_rawequal(L, 1, -1))
        return luaL_error(L, "call it as inner:wrap{...}, with a colon");
    lua_pop(L, 1);
    if (lua_isnil(L, 2)) {
        lua_newtable(L);
        lua_replace(L, 2);
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    if (w->wrapped)
        return luaL_error(L, "inner:wrap: a plugin is wrapped once; a wrapper can be wrapped by another script");
    w->wrapped = true;
    util_keys(L, 2, "inner:wrap", options, false);
    s->where = util_where(L, 1);
    take_hooks(L, w);
    wraphook_open(L, w);
    describe_inner(L, w);
    check_hooks(L, w);
    memcpy(&s->d, &w->inner.desc, sizeof s->d);
    s->d.caps |= VFU_CAP_RESET | VFU_CAP_TIMERS;
    device_needs(L, s, 2, "inner:wrap");
    module_check_needs(L);
    object_device(L, s); /* at 3 */
    params_declare(L, s, 2);
    object_member(L, s, "params", "", false);
    lua_rawgeti(L, LUA_REGISTRYINDEX, w->inner_ref);
    object_member(L, s, "inner", "", false);
    device_state(L, s, 2, "inner:wrap");
    add_registers(L, s, s->d.regmap);
    s->declared = true;
    return 1;
}

/* Where hooks see what the host or the client would do by itself, they get it. */
void wrap_finish(lua_State *L, struct vfu_desc *desc)
{
    struct script *s = script_of(L);
    struct wrapper *w = s->wrap;
    uint32_t step = desc->bar_size ? desc->bar_size : (uint32_t)sizeof w->bars[0];
    bool sees = has(w, WRAP_READ) || has(w, WRAP_WRITE);

    for (uint32_t i = 0; i < desc->nbars; i++) {
        memcpy(&w->bars[i], (const char *)desc->bars + (size_t)i * step,
               step < sizeof w->bars[i] ? step : sizeof w->bars[i]);
        if (sees) {
            w->bars[i].flags = (w->bars[i].flags & ~VFU_BAR_MMAP) | VFU_BAR_INTERCEPT;
            w->bars[i].nareas = 0;
        }
    }
    desc->bars = w->bars;
    desc->bar_size = sizeof w->bars[0];
    if (sees)
        desc->caps &= ~VFU_CAP_MMAP;
    if (has(w, WRAP_DMA_READ) || has(w, WRAP_DMA_WRITE))
        desc->caps &= ~VFU_CAP_DMA_MAP;
    if (has(w, WRAP_RAISE) && desc->irq_level)
        desc->pci_flags |= VFU_PCI_OWN_LEVEL;
    desc->self = s;
}

/* ---- life ---- */

int32_t wrap_create(struct script *s)
{
    return vfu_wrap_create(&s->wrap->wrap);
}

void wrap_destroy(struct script *s)
{
    wrapdma_cancel(s);
    vfu_wrap_destroy(&s->wrap->wrap);
}

/* Only a device that a script wraps polls, or has a level of its own. */
int32_t wrap_poll(void *self)
{
    struct script *s = self;

    return s->wrap ? vfu_wrap_poll(&s->wrap->wrap) : 0;
}

void wrap_irq_level(void *self, uint64_t bits)
{
    struct script *s = self;

    if (s->wrap)
        vfu_wrap_irq_level(&s->wrap->wrap, bits);
}

/* ---- state ---- */

struct memory_sink {
    struct vfu_sink sink; /* first */
    uint8_t *data;
    uint64_t n, room;
};

static int32_t memory_write(struct vfu_sink *sink, const void *data, uint64_t len)
{
    struct memory_sink *m = (struct memory_sink *)sink;

    if (len > m->room - m->n) {
        uint64_t room = (m->n + len) * 2;
        uint8_t *more = room < ((uint64_t)1 << 31) ? realloc(m->data, room) : NULL;

        if (!more)
            return -ENOMEM;
        m->data = more;
        m->room = room;
    }
    memcpy(m->data + m->n, data, len);
    m->n += len;
    return 0;
}

struct memory_source {
    struct vfu_source source; /* first */
    const uint8_t *p;
    uint64_t n;
};

static uint64_t memory_left(struct vfu_source *source)
{
    return ((struct memory_source *)source)->n;
}

static int32_t memory_read(struct vfu_source *source, void *data, uint64_t len)
{
    struct memory_source *m = (struct memory_source *)source;

    if (len > m->n)
        return -EINVAL;
    if (len)
        memcpy(data, m->p, len);
    m->p += len;
    m->n -= len;
    return 0;
}

/* A wrapper with nothing of its own saves what the inner plugin saves, so that the two can be exchanged. */
int32_t wrap_save(struct script *s, struct vfu_sink *sink)
{
    struct memory_sink own = { .sink = { memory_write } };
    uint8_t length[8];
    int32_t err = 0;

    if (!save_empty(s)) {
        err = save_own(s, &own.sink);
        buffer_pull_integer(length, 8, (lua_Integer)own.n);
        if (!err)
            err = sink->write(sink, WRAP_MAGIC, 4);
        if (!err)
            err = sink->write(sink, length, 8);
        if (!err)
            err = sink->write(sink, own.data, own.n);
        free(own.data);
    }
    return err ? err : vfu_wrap_save(&s->wrap->wrap, sink);
}

static int32_t load_parts(struct script *s, const uint8_t *data, uint64_t n)
{
    struct memory_source part = { { memory_left, memory_read }, data, n };
    uint64_t own = 0;
    int32_t err;

    if (n >= 12 && !memcmp(data, WRAP_MAGIC, 4)) {
        for (int i = 7; i >= 0; i--)
            own = own << 8 | data[4 + i];
        if (own > n - 12) {
            state_report_text(s, "load", "the saved state ends too early");
            return -EINVAL;
        }
        part.p = data + 12;
        part.n = own;
        err = load_own(s, &part.source);
        if (err)
            return err;
        part.p = data + 12 + own;
        part.n = n - 12 - own;
    }
    return vfu_wrap_load(&s->wrap->wrap, &part.source);
}

int32_t wrap_load(struct script *s, struct vfu_source *source)
{
    uint64_t n = source->left(source);
    uint8_t *data = malloc(n + 1);
    int32_t err;

    if (!data)
        return -ENOMEM;
    err = source->read(source, data, n);
    if (!err)
        err = load_parts(s, data, n);
    free(data);
    return err;
}
