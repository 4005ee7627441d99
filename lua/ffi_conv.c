/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_conv - between Lua values and C memory. What a type cannot hold is refused, not cut; ffi.cast cuts.
 *
 * Runs on the script's thread. Functions that give false have pushed a message and left what they found.
 */
#include <math.h>
#include <string.h>

#include "lua/ffi_private.h"

bool conv_fail(lua_State *L, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    lua_pushvfstring(L, format, args);
    va_end(args);
    return false;
}

static bool refuse(lua_State *L, const struct ctype *t, int i)
{
    i = lua_absindex(L, i);
    luaL_checkstack(L, 10, "a message");
    cdata_describe(L, i);
    ctype_name(L, t, false);
    return conv_fail(L, "%s where '%s' is wanted", lua_tostring(L, -2), lua_tostring(L, -1));
}

/* ---- C to Lua ---- */

static uint64_t load_integer(const struct ctype *t, const uint8_t *from)
{
    uint64_t v64 = 0;
    uint32_t v32;
    uint16_t v16;

    switch (t->size) {
    case 1:
        return t->is_signed ? (uint64_t)(int8_t)*from : *from;
    case 2:
        memcpy(&v16, from, 2);
        return t->is_signed ? (uint64_t)(int16_t)v16 : v16;
    case 4:
        memcpy(&v32, from, 4);
        return t->is_signed ? (uint64_t)(int32_t)v32 : v32;
    default:
        memcpy(&v64, from, 8);
        return v64;
    }
}

static void store_integer(const struct ctype *t, void *to, uint64_t v)
{
    uint8_t v8 = (uint8_t)v;
    uint16_t v16 = (uint16_t)v;
    uint32_t v32 = (uint32_t)v;

    switch (t->size) {
    case 1:
        memcpy(to, &v8, 1);
        return;
    case 2:
        memcpy(to, &v16, 2);
        return;
    case 4:
        memcpy(to, &v32, 4);
        return;
    default:
        memcpy(to, &v, 8);
    }
}

static void push_float(lua_State *L, const struct ctype *t, const uint8_t *from)
{
    float f;
    double d;

    if (t->size == sizeof f) {
        memcpy(&f, from, sizeof f);
        d = (double)f;
    } else {
        memcpy(&d, from, sizeof d);
    }
    lua_pushnumber(L, d);
}

static void push_address(lua_State *L, const struct ctype *t, void *p)
{
    if (p)
        cdata_push(L, t, p, 0);
    else
        lua_pushnil(L);
}

void conv_push(lua_State *L, struct ctype *t, uint8_t *from, bool readonly, int parent)
{
    struct cdata *c;
    void *p;

    switch (t->kind) {
    case CTYPE_BOOL:
        lua_pushboolean(L, *from);
        return;
    case CTYPE_INT:
    case CTYPE_ENUM:
        lua_pushinteger(L, (lua_Integer)load_integer(t, from));
        return;
    case CTYPE_FLOAT:
        push_float(L, t, from);
        return;
    case CTYPE_POINTER:
        memcpy(&p, from, sizeof p);
        push_address(L, t, p);
        return;
    case CTYPE_ARRAY:
    case CTYPE_STRUCT:
        c = cdata_push(L, t, from, parent);
        c->readonly = readonly;
        c->low = from;
        c->high = t->complete && !t->open ? (uint8_t *)((uintptr_t)from + t->size) : NULL;
        return;
    case CTYPE_FUNCTION:
        push_address(L, t, from);
        return;
    default:
        lua_pushnil(L);
    }
}

/* ---- scalars ---- */

static bool put_integer(lua_State *L, const struct ctype *t, void *to, int i)
{
    unsigned bits = (unsigned)t->size * 8;
    lua_Integer v;

    if (t->kind == CTYPE_ENUM && lua_type(L, i) == LUA_TSTRING) {
        struct cfield f;

        if (!ctype_find(t, lua_tostring(L, i), &f))
            return conv_fail(L, "'%s' has no name \"%s\"", ctype_name(L, t, false), lua_tostring(L, i));
        v = f.value;
    } else if (lua_isboolean(L, i)) {
        v = lua_toboolean(L, i);
    } else if (!util_integer(L, i, &v)) {
        if (lua_type(L, i) != LUA_TNUMBER)
            return refuse(L, t, i);
        return conv_fail(L, "%s is no integer", luaL_tolstring(L, i, NULL));
    }
    /* As signed or as unsigned: masks of bits are written both ways. */
    if (bits < 64 && (v < -((int64_t)1 << (bits - 1)) || v >= (int64_t)1 << bits))
        return conv_fail(L, "%I does not fit into '%s'", (LUAI_UACINT)v, ctype_name(L, t, false));
    store_integer(t, to, (uint64_t)v);
    return true;
}

static bool put_bool(lua_State *L, const struct ctype *t, void *to, int i)
{
    lua_Integer v;

    if (lua_isboolean(L, i))
        *(uint8_t *)to = (uint8_t)lua_toboolean(L, i);
    else if (util_integer(L, i, &v))
        *(uint8_t *)to = v != 0;
    else
        return refuse(L, t, i);
    return true;
}

static bool put_float(lua_State *L, const struct ctype *t, void *to, int i)
{
    double d = lua_tonumber(L, i);
    float f = (float)d;

    if (lua_type(L, i) != LUA_TNUMBER)
        return refuse(L, t, i);
    if (t->size == sizeof f)
        memcpy(to, &f, sizeof f);
    else
        memcpy(to, &d, sizeof d);
    return true;
}

/* ---- pointers ---- */

static bool pointer_from_cdata(lua_State *L, const struct ctype *t, const struct cdata *c, int i, void **pointer)
{
    const struct ctype *from = c->type;
    bool is_const = c->readonly;

    if (c->callback && !c->closure)
        return conv_fail(L, "the callback is freed");
    if (from->kind == CTYPE_POINTER || from->kind == CTYPE_ARRAY) {
        bool whole = from->kind == CTYPE_ARRAY && ctype_same(t->elem, from); /* a pointer to the array itself */

        is_const = from->elem_const || (from->kind == CTYPE_ARRAY && c->readonly);
        if (!whole)
            from = from->elem;
    }
    if (!ctype_compatible(t->elem, from))
        return refuse(L, t, i);
    if (is_const && !t->elem_const) {
        refuse(L, t, i);
        lua_pushliteral(L, ", which would lose its const");
        lua_concat(L, 2);
        return false;
    }
    *pointer = c->data;
    return true;
}

bool conv_pointer(lua_State *L, struct ctype *t, int i, int mode, void **pointer)
{
    const struct ctype *elem = t->elem;
    bool bytes = elem->kind == CTYPE_VOID || ctype_bytes(elem);
    struct cdata *c;
    struct buffer *b;

    i = lua_absindex(L, i);
    luaL_checkstack(L, 10, "a pointer");
    *pointer = NULL;
    if (lua_isnil(L, i))
        return true;
    c = cdata_test(L, i);
    if (c)
        return pointer_from_cdata(L, t, c, i, pointer);
    if (lua_type(L, i) == LUA_TSTRING && bytes) {
        if (mode != CONV_ARGUMENT)
            return conv_fail(L, "a string cannot be stored in '%s': copy it to an array that lives as long",
                             ctype_name(L, t, false));
        if (!t->elem_const)
            return conv_fail(L, "a string where '%s' is wanted: strings do not change; copy it to an array",
                             ctype_name(L, t, false));
        *pointer = (void *)(uintptr_t)lua_tostring(L, i);
        return true;
    }
    b = buffer_test(L, i);
    if (b && bytes && mode == CONV_ARGUMENT) {
        *pointer = b->data;
        return b->data ? true : conv_fail(L, "the BAR's memory is there once the device runs");
    }
    if (lua_isfunction(L, i) && elem->kind == CTYPE_FUNCTION) {
        if (mode != CONV_ARGUMENT)
            return conv_fail(L, "a Lua function cannot be stored: make a callback with ffi.cast and keep it");
        callback_new(L, t, i); /* the call that it is for frees it: see ccall.c */
        *pointer = ((struct cdata *)lua_touserdata(L, -1))->data;
        return true;
    }
    return refuse(L, t, i);
}

/* ---- arrays and structs ---- */

static bool array_from_string(lua_State *L, uint8_t *to, uint64_t count, int i)
{
    size_t n;
    const char *text = lua_tolstring(L, i, &n);

    if (n > count)
        return conv_fail(L, "a string of %I bytes does not fit into %I", (LUAI_UACINT)n, (LUAI_UACINT)count);
    memcpy(to, text, n);
    if (n < count)
        to[n] = 0;
    return true;
}

/* n values of the table at i, from index first on. */
static bool array_from_list(lua_State *L, struct ctype *elem, uint8_t *to, uint64_t count, int i, lua_Integer first,
                            lua_Integer n)
{
    if ((uint64_t)n > count)
        return conv_fail(L, "%I values for %I elements", (LUAI_UACINT)n, (LUAI_UACINT)count);
    for (lua_Integer k = 0; k < n; k++) {
        lua_rawgeti(L, i, first + k);
        if (!conv_put(L, elem, to + (uint64_t)k * elem->size, -1, CONV_STORE))
            return conv_fail(L, "[%I]: %s", (LUAI_UACINT)k, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    for (uint64_t k = 1; n == 1 && k < count; k++) /* one value is for all of them */
        memcpy(to + k * elem->size, to, elem->size);
    return true;
}

static bool array_from_table(lua_State *L, struct ctype *elem, uint8_t *to, uint64_t count, int i)
{
    lua_Integer first = lua_rawgeti(L, i, 0) == LUA_TNIL;

    lua_pop(L, 1);
    return array_from_list(L, elem, to, count, i, first, (lua_Integer)lua_rawlen(L, i) + 1 - first);
}

bool conv_array(lua_State *L, struct ctype *elem, uint8_t *to, uint64_t count, int i)
{
    const struct cdata *c = cdata_test(L, i);

    luaL_checkstack(L, 10, "an array");
    i = lua_absindex(L, i);
    if (lua_istable(L, i))
        return array_from_table(L, elem, to, count, i);
    if (lua_type(L, i) == LUA_TSTRING && ctype_bytes(elem))
        return array_from_string(L, to, count, i);
    if (c && c->type->kind == CTYPE_ARRAY && ctype_same(c->type->elem, elem) && c->high) {
        uint64_t n = (uint64_t)(c->high - c->data);

        if (n > count * elem->size)
            return conv_fail(L, "an array of %I bytes does not fit into %I", (LUAI_UACINT)n,
                             (LUAI_UACINT)(count * elem->size));
        memmove(to, c->data, n);
        return true;
    }
    cdata_describe(L, i);
    ctype_name(L, elem, false);
    return conv_fail(L, "%s where an array of '%s' is wanted", lua_tostring(L, -2), lua_tostring(L, -1));
}

static bool struct_from_list(lua_State *L, struct ctype *t, uint8_t *to, int i, lua_Integer n)
{
    if ((uint64_t)n > (t->is_union && t->n ? 1 : t->n))
        return conv_fail(L, "%I values for '%s'", (LUAI_UACINT)n, ctype_name(L, t, false));
    for (lua_Integer k = 0; k < n; k++) {
        const struct cfield *f = &t->fields[k];

        lua_rawgeti(L, i, k + 1);
        if (f->type->open)
            return conv_fail(L, "an open array is set element by element");
        if (!conv_put(L, f->type, to + f->offset, -1, CONV_STORE))
            return conv_fail(L, "%s: %s", f->name ? f->name : "?", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    return true;
}

/* The table at i, its string keys being members and its list their values in order. */
static bool struct_from_table(lua_State *L, struct ctype *t, uint8_t *to, int i)
{
    if (!struct_from_list(L, t, to, i, (lua_Integer)lua_rawlen(L, i)))
        return false;
    for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1)) {
        struct cfield f;

        if (lua_type(L, -2) != LUA_TSTRING)
            continue;
        if (!ctype_find(t, lua_tostring(L, -2), &f))
            ctype_no_field(L, t, lua_tostring(L, -2)); /* raises */
        if (f.type->open)
            return conv_fail(L, "an open array is set element by element");
        if (!conv_put(L, f.type, to + f.offset, -1, CONV_STORE))
            return conv_fail(L, "%s: %s", f.name, lua_tostring(L, -1));
    }
    return true;
}

static bool put_struct(lua_State *L, struct ctype *t, uint8_t *to, int i)
{
    const struct cdata *c = cdata_test(L, i);

    if (!t->complete)
        return conv_fail(L, "'%s' is not defined", ctype_name(L, t, false));
    if (lua_istable(L, i))
        return struct_from_table(L, t, to, i);
    if (!c || c->type != t || !cdata_reaches(c, c->data, t->size))
        return refuse(L, t, i);
    memmove(to, c->data, t->size);
    return true;
}

bool conv_put(lua_State *L, struct ctype *t, void *to, int i, int mode)
{
    void *pointer;

    luaL_checkstack(L, 10, "a value");
    i = lua_absindex(L, i);
    switch (t->kind) {
    case CTYPE_BOOL:
        return put_bool(L, t, to, i);
    case CTYPE_INT:
    case CTYPE_ENUM:
        return put_integer(L, t, to, i);
    case CTYPE_FLOAT:
        return put_float(L, t, to, i);
    case CTYPE_POINTER:
        if (!conv_pointer(L, t, i, mode, &pointer))
            return false;
        memcpy(to, &pointer, sizeof pointer);
        return true;
    case CTYPE_ARRAY:
        return conv_array(L, t->elem, to, t->open ? 0 : t->count, i);
    case CTYPE_STRUCT:
        return put_struct(L, t, to, i);
    default:
        return refuse(L, t, i);
    }
}

/* Is the only value at i that of the whole object, not that of its first part? */
static bool is_whole(lua_State *L, const struct ctype *t, int i)
{
    const struct cdata *c = cdata_test(L, i);

    if (c && t->kind == CTYPE_ARRAY)
        return c->type->kind == CTYPE_ARRAY && ctype_same(c->type->elem, t->elem);
    if (c)
        return c->type == t;
    return lua_istable(L, i) || (t->kind == CTYPE_ARRAY && lua_type(L, i) == LUA_TSTRING && ctype_bytes(t->elem));
}

bool conv_list(lua_State *L, struct ctype *t, uint8_t *to, uint64_t count, int i, int n)
{
    bool ok;

    if (!n)
        return true;
    if (n == 1 && is_whole(L, t, i))
        return t->kind == CTYPE_ARRAY ? conv_array(L, t->elem, to, count, i) : conv_put(L, t, to, i, CONV_STORE);
    lua_createtable(L, n, 0);
    for (int k = 0; k < n; k++) {
        lua_pushvalue(L, i + k);
        lua_rawseti(L, -2, k + 1);
    }
    ok = t->kind == CTYPE_ARRAY ? array_from_list(L, t->elem, to, count, lua_absindex(L, -1), 1, n)
                                : struct_from_list(L, t, to, lua_absindex(L, -1), n);
    if (ok)
        lua_pop(L, 1);
    return ok;
}

/* ---- casts ---- */

static int cast_number(lua_State *L, struct ctype *t, int i)
{
    struct cdata *c = cdata_test(L, i);
    uint64_t bits = 0;
    lua_Integer v;
    double d;

    if (c)
        v = (lua_Integer)(uintptr_t)c->data;
    else if (lua_isnil(L, i))
        v = 0;
    else if (lua_isboolean(L, i))
        v = lua_toboolean(L, i);
    else if (lua_type(L, i) == LUA_TSTRING && t->kind == CTYPE_ENUM && put_integer(L, t, &bits, i))
        v = (lua_Integer)load_integer(t, (uint8_t *)&bits);
    else if (lua_type(L, i) != LUA_TNUMBER)
        return cdata_describe(L, i), luaL_error(L, "ffi.cast: %s is no number", lua_tostring(L, -1));
    else if (!util_integer(L, i, &v)) {
        d = lua_tonumber(L, i);
        if (t->kind == CTYPE_FLOAT) {
            v = 0;
        } else if (d >= -9223372036854775808.0 && d < 9223372036854775808.0) {
            v = (lua_Integer)d;
        } else if (d >= 0 && d < 18446744073709551616.0) {
            v = (lua_Integer)(uint64_t)d;
        } else {
            return luaL_error(L, "ffi.cast: %f is beyond 64 bits", d);
        }
    }
    if (t->kind == CTYPE_BOOL) {
        lua_pushboolean(L, lua_type(L, i) == LUA_TNUMBER ? lua_tonumber(L, i) != 0 : v != 0);
    } else if (t->kind == CTYPE_FLOAT) {
        d = lua_type(L, i) == LUA_TNUMBER ? lua_tonumber(L, i) : (double)v;
        lua_pushnumber(L, t->size == sizeof(float) ? (double)(float)d : d);
    } else {
        store_integer(t, &bits, (uint64_t)v);
        lua_pushinteger(L, (lua_Integer)load_integer(t, (uint8_t *)&bits));
    }
    return 1;
}

/* A pointer to memory of n bytes that the value at i keeps. */
static int push_bounded(lua_State *L, const struct ctype *t, void *p, uint8_t *low, uint8_t *high, int i)
{
    struct cdata *c = cdata_push(L, t, p, i);

    c->low = low;
    c->high = high;
    return 1;
}

static int cast_pointer(lua_State *L, struct ctype *t, int i)
{
    struct cdata *c = cdata_test(L, i);
    struct buffer *b;
    lua_Integer v;
    size_t n;

    if (lua_isnil(L, i) || (util_integer(L, i, &v) && !v)) {
        lua_pushnil(L);
        return 1;
    }
    if (c) {
        if (c->callback && !c->closure)
            return luaL_error(L, "ffi.cast: the callback is freed");
        return push_bounded(L, t, c->data, c->low, c->high, i);
    }
    if (util_integer(L, i, &v))
        return push_bounded(L, t, (void *)(uintptr_t)v, NULL, NULL, 0);
    b = buffer_test(L, i);
    if (b) {
        if (!b->data)
            return luaL_error(L, "ffi.cast: the BAR's memory is there once the device runs");
        return push_bounded(L, t, b->data, b->data, b->data + b->size, i);
    }
    if (lua_type(L, i) == LUA_TSTRING) {
        uint8_t *text = (uint8_t *)(uintptr_t)lua_tolstring(L, i, &n);

        if (!t->elem_const)
            return luaL_error(L, "ffi.cast: strings do not change: cast to a pointer to const, or copy it to an array");
        return push_bounded(L, t, text, text, text + n + 1, i);
    }
    if (lua_isfunction(L, i) && t->elem->kind == CTYPE_FUNCTION) {
        callback_new(L, t, i);
        return 1;
    }
    cdata_describe(L, i);
    ctype_name(L, t, false);
    return luaL_error(L, "ffi.cast: %s cannot be '%s'", lua_tostring(L, -2), lua_tostring(L, -1));
}

int conv_cast(lua_State *L, struct ctype *t, int i)
{
    switch (t->kind) {
    case CTYPE_BOOL:
    case CTYPE_INT:
    case CTYPE_ENUM:
    case CTYPE_FLOAT:
        return cast_number(L, t, i);
    case CTYPE_POINTER:
        return cast_pointer(L, t, i);
    default:
        return luaL_error(L, "ffi.cast: to '%s'; a cast makes numbers and pointers", ctype_name(L, t, false));
    }
}
