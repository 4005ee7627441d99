/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_module - `require "ffi"`: the functions of the module, and who may have it.
 *
 * Runs on the script's thread.
 */
#include <string.h>

#include "lua/ffi_private.h"

#define CTYPE_TYPE "ctype"
#define ROOM_TYPE "ffi state"

/* ---- arguments ---- */

static struct ctype *ctype_test(lua_State *L, int i)
{
    struct ctype **t = luaL_testudata(L, i, CTYPE_TYPE);

    return t ? *t : NULL;
}

struct ctype *module_type(lua_State *L, int i)
{
    struct ctype *t = ctype_test(L, i);
    const struct cdata *c;

    if (t)
        return t;
    if (lua_type(L, i) == LUA_TSTRING)
        return cdef_type(L, i);
    c = cdata_test(L, i);
    if (!c)
        luaL_error(L, "a C type expected: its text, a ctype or a C value, not %s", luaL_typename(L, i));
    return (struct ctype *)c->type;
}

/* Memory that an argument stands for. */
struct span {
    uint8_t *p;
    uint64_t size; /* UINT64_MAX: not known */
    bool readonly;
};

static void take_span(lua_State *L, int i, const char *what, struct span *span)
{
    const struct cdata *c = cdata_test(L, i);
    struct buffer *b = buffer_test(L, i);
    size_t n;

    if (lua_type(L, i) == LUA_TSTRING) {
        span->p = (uint8_t *)(uintptr_t)lua_tolstring(L, i, &n);
        span->size = n + 1;
        span->readonly = true;
    } else if (b && b->data) {
        span->p = b->data;
        span->size = b->size;
        span->readonly = false;
    } else if (c && c->type->kind != CTYPE_FUNCTION && !c->callback) {
        bool elem_const = c->type->kind != CTYPE_STRUCT && c->type->elem_const;

        span->p = c->data;
        span->size = c->high ? (uint64_t)(c->high - c->data) : UINT64_MAX;
        span->readonly = elem_const || (c->type->kind != CTYPE_POINTER && c->readonly);
    } else {
        cdata_describe(L, i);
        luaL_error(L, "%s: a pointer, an array, a struct or a buffer expected, not %s", what, lua_tostring(L, -1));
    }
}

static uint64_t check_length(lua_State *L, int i, const char *what, const struct span *span)
{
    lua_Integer n = util_check_integer(L, i, "the length");

    if (n < 0 || (uint64_t)n > CTYPE_SIZE_MAX)
        luaL_error(L, "%s: a length of %I", what, (LUAI_UACINT)n);
    if ((uint64_t)n > span->size)
        luaL_error(L, "%s: %I bytes, where there are %I", what, (LUAI_UACINT)n, (LUAI_UACINT)span->size);
    return (uint64_t)n;
}

static lua_Integer check_count(lua_State *L, int i)
{
    lua_Integer n = util_check_integer(L, i, "the number of elements");

    if (n < 0 || (uint64_t)n > CTYPE_SIZE_MAX)
        luaL_error(L, "ffi: %I elements", (LUAI_UACINT)n);
    return n;
}

/* The size of an open type with n elements at its end. */
static uint64_t open_size(lua_State *L, const struct ctype *t, uint64_t n)
{
    const struct ctype *a = t->kind == CTYPE_ARRAY ? t : t->fields[t->n - 1].type;
    uint64_t start = t->kind == CTYPE_ARRAY ? 0 : t->fields[t->n - 1].offset, size;

    if (a->elem->size && n > (CTYPE_SIZE_MAX - start) / a->elem->size)
        luaL_error(L, "ffi: an object of over %d MiB", (int)(CTYPE_SIZE_MAX >> 20));
    size = start + n * a->elem->size;
    return size < t->size ? t->size : size;
}

/* ---- the functions ---- */

static int module_cdef(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);

    cdef_parse(L, text, n);
    return 0;
}

/* ffi.new(type [, count] [, values...]), and a ctype called. */
static int module_new(lua_State *L)
{
    struct ctype *t = module_type(L, 1);
    int first = 2;
    uint64_t size = t->size, count = t->count;
    struct cdata *c;

    if (t->kind != CTYPE_ARRAY && t->kind != CTYPE_STRUCT) {
        uint64_t zero = 0;

        if (t->kind == CTYPE_VOID || t->kind == CTYPE_FUNCTION)
            return luaL_error(L, "ffi.new: '%s' is no object", ctype_name(L, t, false));
        if (lua_gettop(L) > 2)
            return luaL_error(L, "ffi.new: %d values for '%s'", lua_gettop(L) - 1, ctype_name(L, t, false));
        if (t->kind == CTYPE_POINTER && cdata_test(L, 2)) { /* it keeps what it points to */
            void *p;

            if (!conv_pointer(L, t, 2, CONV_STORE, &p))
                return luaL_error(L, "ffi.new: %s", lua_tostring(L, -1));
            return conv_cast(L, t, 2);
        }
        if (!lua_isnoneornil(L, 2) && !conv_put(L, t, &zero, 2, CONV_STORE))
            return luaL_error(L, "ffi.new: %s", lua_tostring(L, -1));
        conv_push(L, t, (uint8_t *)&zero, false, 0); /* a plain value of Lua's; an object of it is an array of one */
        return 1;
    }
    if (!t->complete && !t->open)
        return luaL_error(L, "ffi.new: '%s' is not defined", ctype_name(L, t, false));
    if (t->open) {
        count = (uint64_t)check_count(L, first++);
        size = open_size(L, t, count);
    }
    c = cdata_own(L, t, size);
    lua_insert(L, first); /* below its values */
    if (!conv_list(L, t, c->data, count, first + 1, lua_gettop(L) - first))
        return luaL_error(L, "ffi.new: %s", lua_tostring(L, -1));
    lua_settop(L, first);
    return 1;
}

static int module_cast(lua_State *L)
{
    struct ctype *t = module_type(L, 1);

    luaL_checkany(L, 2);
    lua_settop(L, 2);
    return conv_cast(L, t, 2);
}

static int module_typeof(lua_State *L)
{
    struct ctype *t = module_type(L, 1), **ud;

    if (ctype_test(L, 1)) {
        lua_settop(L, 1);
        return 1;
    }
    ud = lua_newuserdatauv(L, sizeof *ud, 0);
    *ud = t;
    luaL_setmetatable(L, CTYPE_TYPE);
    return 1;
}

static int module_sizeof(lua_State *L)
{
    struct ctype *t = module_type(L, 1);
    const struct cdata *c = cdata_test(L, 1);

    if (t->open && c && c->high)
        lua_pushinteger(L, (lua_Integer)(c->high - c->data));
    else if (t->open && !lua_isnoneornil(L, 2))
        lua_pushinteger(L, (lua_Integer)open_size(L, t, (uint64_t)check_count(L, 2)));
    else if (t->complete || t->kind == CTYPE_ENUM)
        lua_pushinteger(L, (lua_Integer)t->size);
    else
        luaL_pushfail(L); /* as the size of void is not known */
    return 1;
}

static int module_alignof(lua_State *L)
{
    lua_pushinteger(L, module_type(L, 1)->align);
    return 1;
}

static int module_offsetof(lua_State *L)
{
    struct ctype *t = module_type(L, 1);
    const char *name = luaL_checkstring(L, 2);
    struct cfield f;

    if (t->kind != CTYPE_STRUCT || !t->complete)
        return luaL_error(L, "ffi.offsetof: '%s' has no members", ctype_name(L, t, false));
    if (!ctype_find(t, name, &f))
        ctype_no_field(L, t, name);
    lua_pushinteger(L, (lua_Integer)f.offset);
    return 1;
}

static int module_istype(lua_State *L)
{
    const struct ctype *t = module_type(L, 1);
    const struct cdata *c = cdata_test(L, 2);

    luaL_checkany(L, 2);
    lua_pushboolean(L, c && (ctype_same(t, c->type) || (t->kind == CTYPE_STRUCT && c->type->kind == CTYPE_POINTER &&
                                                        c->type->elem == t)));
    return 1;
}

static int module_string(lua_State *L)
{
    struct span span;
    uint64_t n;

    take_span(L, 1, "ffi.string", &span);
    if (!lua_isnoneornil(L, 2)) {
        n = check_length(L, 2, "ffi.string", &span);
    } else {
        const struct cdata *c = cdata_test(L, 1);

        if (c && (c->type->kind == CTYPE_STRUCT || (c->type->elem->kind != CTYPE_VOID && c->type->elem->size != 1)))
            return luaL_error(L, "ffi.string: '%s' has no end of its own: give a length",
                              ctype_name(L, c->type, false));
        n = span.size == UINT64_MAX ? strlen((const char *)span.p) : strnlen((const char *)span.p, (size_t)span.size);
    }
    lua_pushlstring(L, (const char *)span.p, (size_t)n);
    return 1;
}

static int module_copy(lua_State *L)
{
    struct span to, from;
    uint64_t n;

    take_span(L, 1, "ffi.copy", &to);
    take_span(L, 2, "ffi.copy", &from);
    if (to.readonly)
        return luaL_error(L, "ffi.copy: the destination is const");
    if (lua_isnoneornil(L, 3) && lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "ffi.copy: a length is needed, except for a string");
    n = lua_isnoneornil(L, 3) ? from.size : check_length(L, 3, "ffi.copy: the source", &from);
    if (n > to.size)
        return luaL_error(L, "ffi.copy: %I bytes, where there are %I", (LUAI_UACINT)n, (LUAI_UACINT)to.size);
    memmove(to.p, from.p, (size_t)n);
    return 0;
}

static int module_fill(lua_State *L)
{
    struct span to;
    uint64_t n;

    take_span(L, 1, "ffi.fill", &to);
    n = check_length(L, 2, "ffi.fill", &to);
    if (to.readonly)
        return luaL_error(L, "ffi.fill: the destination is const");
    memset(to.p, lua_isnoneornil(L, 3) ? 0 : (int)util_check_integer(L, 3, "the byte"), (size_t)n);
    return 0;
}

static int module_errno(lua_State *L)
{
    struct ffi_room *room = room_of(L);

    lua_pushinteger(L, room->saved_errno);
    if (!lua_isnoneornil(L, 1))
        room->saved_errno = (int)util_check_integer(L, 1, "errno");
    return 1;
}

/* ffi.gc(value, f): f is of C, since nothing could stop one of Lua at that place. */
static int module_gc(lua_State *L)
{
    const struct cdata *c = cdata_test(L, 1), *f = cdata_test(L, 2);
    const struct ctype *t = f ? f->type : NULL;
    void *p;

    if (!c || c->callback || c->type->kind == CTYPE_FUNCTION)
        return luaL_error(L, "ffi.gc: a pointer, an array or a struct expected");
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        if (t && t->kind == CTYPE_POINTER)
            t = t->elem;
        if (!t || t->kind != CTYPE_FUNCTION || f->callback) {
            cdata_describe(L, 2);
            return luaL_error(L, "ffi.gc: the finalizer is a C function, not %s", lua_tostring(L, -1));
        }
        if (t->n != 1 || t->variadic || t->fields[0].type->kind != CTYPE_POINTER)
            return luaL_error(L, "ffi.gc: the finalizer takes one pointer, unlike '%s'", ctype_name(L, t, false));
        if (!conv_pointer(L, t->fields[0].type, 1, CONV_ARGUMENT, &p))
            return luaL_error(L, "ffi.gc: %s", lua_tostring(L, -1));
        lua_settop(L, 2);
        cdata_finalized(L, 1);
    }
    lua_setiuservalue(L, 1, CDATA_FINALIZER);
    return 1;
}

static int type_tostring(lua_State *L)
{
    lua_pushfstring(L, "ctype<%s>", ctype_name(L, module_type(L, 1), false));
    return 1;
}

static int type_eq(lua_State *L)
{
    const struct ctype *a = ctype_test(L, 1), *b = ctype_test(L, 2);

    lua_pushboolean(L, a && b && ctype_same(a, b));
    return 1;
}

/* ---- opening ---- */

static int room_gc(lua_State *L)
{
    callback_close(lua_touserdata(L, 1));
    script_of(L)->ffi = NULL;
    return 0;
}

/* The room is made before all that it is for, so Lua ends it last. */
static void open_room(lua_State *L)
{
    struct ffi_room *room = lua_newuserdatauv(L, sizeof *room, 0);

    memset(room, 0, sizeof *room);
    room->script = script_of(L);
    luaL_newmetatable(L, ROOM_TYPE);
    lua_pushcfunction(L, room_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    luaL_ref(L, LUA_REGISTRYINDEX);
    script_of(L)->ffi = room;
    ctype_open(L, room);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    room->callbacks_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void open_types(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "__call", module_new }, { "__tostring", type_tostring }, { "__eq", type_eq }, { NULL, NULL },
    };

    luaL_newmetatable(L, CTYPE_TYPE);
    luaL_setfuncs(L, methods, 0);
    lua_pushliteral(L, CTYPE_TYPE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    cdata_open(L);
    clib_open(L);
}

void module_check_needs(lua_State *L)
{
    struct script *s = script_of(L);

    if (s->ffi_where && !(s->d.needs & VFU_CAP_FFI))
        util_fail(L, s->ffi_where, "ffi is required here, but vfu.device has no needs = {\"ffi\"}");
}

int module_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "cdef", module_cdef },       { "load", clib_load },         { "new", module_new },
        { "cast", module_cast },       { "typeof", module_typeof },   { "sizeof", module_sizeof },
        { "alignof", module_alignof }, { "offsetof", module_offsetof }, { "istype", module_istype },
        { "string", module_string },   { "copy", module_copy },       { "fill", module_fill },
        { "errno", module_errno },     { "gc", module_gc },           { NULL, NULL },
    };
    struct script *s = script_of(L);

    if (!(s->host->caps & VFU_CAP_FFI))
        return luaL_error(L, "ffi is not given to this device: --deny ffi has taken it away");
    s->ffi_where = util_where(L, 1);
    if (!*s->ffi_where) /* pcall(require, "ffi") */
        s->ffi_where = util_where(L, 2);
    if (s->declared)
        module_check_needs(L);
    if (!s->ffi) {
        open_room(L);
        open_types(L);
    }
    luaL_newlib(L, functions);
    clib_push(L, NULL, "ffi.C");
    lua_setfield(L, -2, "C");
    return 1;
}
