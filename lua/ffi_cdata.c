/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_cdata - C values that scripts hold: structs, arrays, pointers and functions, with members, elements, arithmetic.
 *
 * A value that came from memory whose extent is known (its own, or a part of another's) cannot be used beyond it, and
 * keeps that memory alive. A pointer that C gave has no known extent. Runs on the script's thread.
 */
#include <string.h>

#include "lua/ffi_private.h"

static const char plain_key, final_key; /* the metatables' places in the registry */

static bool has_metatable(lua_State *L, const void *key)
{
    bool equal;

    lua_rawgetp(L, LUA_REGISTRYINDEX, key);
    equal = lua_rawequal(L, -1, -2);
    lua_pop(L, 1);
    return equal;
}

struct cdata *cdata_test(lua_State *L, int i)
{
    struct cdata *c = lua_touserdata(L, i);
    bool ours;

    if (!c || !lua_getmetatable(L, i))
        return NULL;
    ours = has_metatable(L, &plain_key) || has_metatable(L, &final_key);
    lua_pop(L, 1);
    return ours ? c : NULL;
}

static struct cdata *check(lua_State *L, int i)
{
    struct cdata *c = cdata_test(L, i);

    if (!c)
        luaL_error(L, "a C value expected, not %s", luaL_typename(L, i));
    return c;
}

struct cdata *cdata_own(lua_State *L, const struct ctype *t, uint64_t size)
{
    struct cdata *c;

    if (size > CTYPE_SIZE_MAX)
        luaL_error(L, "ffi: an object of over %d MiB", (int)(CTYPE_SIZE_MAX >> 20));
    c = lua_newuserdatauv(L, sizeof *c + (size_t)size, CDATA_VALUES);
    memset(c, 0, sizeof *c + (size_t)size);
    c->type = t;
    c->data = c->low = (uint8_t *)c->own;
    c->high = c->low + size;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &plain_key);
    lua_setmetatable(L, -2);
    return c;
}

struct cdata *cdata_push(lua_State *L, const struct ctype *t, void *data, int parent)
{
    struct cdata *c;

    if (parent)
        parent = lua_absindex(L, parent);
    c = lua_newuserdatauv(L, sizeof *c, CDATA_VALUES);
    memset(c, 0, sizeof *c);
    c->type = t;
    c->data = data;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &plain_key);
    lua_setmetatable(L, -2);
    if (parent) {
        /* A part of a part keeps the whole, unless the part has an end of its own that somebody waits for. */
        const struct cdata *whole = cdata_test(L, parent);

        if (whole) {
            bool final = lua_getiuservalue(L, parent, CDATA_FINALIZER) != LUA_TNIL || whole->callback;

            lua_pop(L, 1);
            if (!final && lua_getiuservalue(L, parent, CDATA_ANCHOR) != LUA_TNIL) {
                lua_setiuservalue(L, -2, CDATA_ANCHOR);
                return c;
            }
            if (!final)
                lua_pop(L, 1);
        }
        lua_pushvalue(L, parent);
        lua_setiuservalue(L, -2, CDATA_ANCHOR);
    }
    return c;
}

void cdata_finalized(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &final_key);
    lua_setmetatable(L, i);
}

bool cdata_reaches(const struct cdata *c, const uint8_t *p, uint64_t size)
{
    if (!c->high)
        return true;
    return (uintptr_t)p >= (uintptr_t)c->low && (uintptr_t)p <= (uintptr_t)c->high &&
           size <= (uintptr_t)c->high - (uintptr_t)p;
}

void cdata_describe(lua_State *L, int i)
{
    const struct cdata *c = cdata_test(L, i);

    if (c) {
        ctype_name(L, c->type, false);
        lua_pushfstring(L, "'%s'", lua_tostring(L, -1));
        lua_remove(L, -2);
    } else if (buffer_test(L, i)) {
        lua_pushliteral(L, "a buffer");
    } else {
        lua_pushstring(L, lua_isnil(L, i) ? "nil" : luaL_typename(L, i));
    }
}

/* ---- where a key leads ---- */

struct place {
    struct ctype *type;
    uint8_t *data;
    bool readonly, open; /* open: it reaches as far as what it is a part of */
};

/* The struct that c is or points to, or NULL. */
static const struct ctype *struct_of(const struct cdata *c)
{
    const struct ctype *t = c->type;

    if (t->kind == CTYPE_POINTER)
        t = t->elem;
    return t->kind == CTYPE_STRUCT ? t : NULL;
}

static void check_reach(lua_State *L, const struct cdata *c, const struct place *place)
{
    if (!cdata_reaches(c, place->data, place->type->size))
        luaL_error(L, "outside of the memory that this %s reaches",
                   c->type->kind == CTYPE_POINTER ? "pointer" : "object");
}

static void find_member(lua_State *L, const struct cdata *c, const char *key, struct place *place)
{
    const struct ctype *s = struct_of(c);
    struct cfield f;

    if (!s)
        luaL_error(L, "'%s' has no members", ctype_name(L, c->type, false));
    if (!s->complete)
        luaL_error(L, "'%s' is not defined, so it has no members", ctype_name(L, s, false));
    if (!ctype_find(s, key, &f))
        ctype_no_field(L, s, key);
    place->type = f.type;
    place->data = (uint8_t *)((uintptr_t)c->data + f.offset);
    place->readonly = f.readonly || c->readonly || (c->type->kind == CTYPE_POINTER && c->type->elem_const);
    place->open = f.type->open;
    check_reach(L, c, place);
}

/* Where the element i of c is, were it there. */
static uint8_t *element(lua_State *L, const struct cdata *c, lua_Integer i)
{
    const struct ctype *t = c->type;
    int64_t offset, to = 0;

    if (t->kind != CTYPE_ARRAY && t->kind != CTYPE_POINTER)
        luaL_error(L, "'%s' has no elements", ctype_name(L, t, false));
    if (!t->elem->complete || t->elem->open || !t->elem->size)
        luaL_error(L, "'%s' cannot be indexed: the size of an element is not known", ctype_name(L, t, false));
    if (__builtin_mul_overflow(i, (int64_t)t->elem->size, &offset) ||
        __builtin_add_overflow((int64_t)(intptr_t)c->data, offset, &to))
        luaL_error(L, "%I is far outside of '%s'", (LUAI_UACINT)i, ctype_name(L, t, false));
    return (uint8_t *)(uintptr_t)to;
}

static uint64_t count_of(const struct cdata *c)
{
    const struct ctype *t = c->type;

    if (!t->open)
        return t->count;
    return c->high && t->elem->size ? (uint64_t)(c->high - c->data) / t->elem->size : CTYPE_OPEN;
}

static void find_element(lua_State *L, const struct cdata *c, int key, struct place *place)
{
    const struct ctype *t = c->type;
    lua_Integer i;

    if (!util_integer(L, key, &i))
        luaL_error(L, "'%s' cannot be indexed with %s", ctype_name(L, t, false), luaL_typename(L, key));
    place->data = element(L, c, i);
    place->type = t->elem;
    place->readonly = t->elem_const || (t->kind == CTYPE_ARRAY && c->readonly);
    place->open = false;
    if (t->kind == CTYPE_ARRAY && (i < 0 || (uint64_t)i >= count_of(c)))
        luaL_error(L, "index %I is outside of '%s', which has %I elements", (LUAI_UACINT)i, ctype_name(L, t, false),
                   (LUAI_UACINT)count_of(c));
    check_reach(L, c, place);
}

static void find_place(lua_State *L, const struct cdata *c, struct place *place)
{
    if (lua_type(L, 2) == LUA_TSTRING)
        find_member(L, c, lua_tostring(L, 2), place);
    else
        find_element(L, c, 2, place);
}

static int cdata_index(lua_State *L)
{
    struct cdata *c = check(L, 1);
    struct place place;

    if (c->callback && lua_type(L, 2) == LUA_TSTRING) {
        const char *name = lua_tostring(L, 2);

        if (!strcmp(name, "free") || !strcmp(name, "set")) {
            lua_pushcfunction(L, *name == 'f' ? callback_release : callback_set);
            return 1;
        }
    }
    find_place(L, c, &place);
    conv_push(L, place.type, place.data, place.readonly, 1);
    if (place.open) {
        struct cdata *part = lua_touserdata(L, -1);

        part->high = c->high; /* NULL, if that is not known */
    }
    return 1;
}

static int cdata_newindex(lua_State *L)
{
    struct cdata *c = check(L, 1);
    struct place place;

    find_place(L, c, &place);
    if (place.readonly)
        return luaL_error(L, "%s is const", luaL_tolstring(L, 2, NULL));
    if (place.open)
        return luaL_error(L, "an open array is set element by element");
    if (!conv_put(L, place.type, place.data, 3, CONV_STORE)) {
        luaL_tolstring(L, 2, NULL);
        return luaL_error(L, "%s: %s", lua_tostring(L, -1), lua_tostring(L, -2));
    }
    return 0;
}

static int cdata_len(lua_State *L)
{
    const struct cdata *c = check(L, 1);

    if (c->type->kind != CTYPE_ARRAY || count_of(c) == CTYPE_OPEN)
        return luaL_error(L, "'%s' has no length that is known", ctype_name(L, c->type, false));
    lua_pushinteger(L, (lua_Integer)count_of(c));
    return 1;
}

/* ---- arithmetic of pointers ---- */

static int move(lua_State *L, int base, lua_Integer by)
{
    const struct cdata *c = check(L, base);
    uint8_t *to = element(L, c, by);
    struct ctype *t = c->type->kind == CTYPE_ARRAY
                          ? ctype_pointer(L, c->type->elem, c->type->elem_const || c->readonly)
                          : (struct ctype *)c->type;
    struct cdata *moved;

    /* One past the end is a place, as in C; whoever looks there is told. */
    if (!cdata_reaches(c, to, 0))
        return luaL_error(L, "a pointer outside of the memory it came from");
    if (!to) {
        luaL_pushfail(L);
        return 1;
    }
    moved = cdata_push(L, t, to, base);
    moved->low = c->low;
    moved->high = c->high;
    return 1;
}

static int cdata_add(lua_State *L)
{
    int base = cdata_test(L, 1) ? 1 : 2;

    return move(L, base, util_check_integer(L, 3 - base, "what is added to a pointer"));
}

static int cdata_sub(lua_State *L)
{
    const struct cdata *a = check(L, 1), *b = cdata_test(L, 2);
    lua_Integer n;

    if (!b) {
        n = util_check_integer(L, 2, "what is taken from a pointer");
        return n == LUA_MININTEGER ? luaL_error(L, "a pointer outside of the memory it came from") : move(L, 1, -n);
    }
    element(L, a, 0);
    element(L, b, 0);
    if (!ctype_same(a->type->elem, b->type->elem))
        return luaL_error(L, "a difference of pointers of two types");
    lua_pushinteger(L, (int64_t)((uintptr_t)a->data - (uintptr_t)b->data) / (int64_t)a->type->elem->size);
    return 1;
}

static int cdata_eq(lua_State *L)
{
    const struct cdata *a = cdata_test(L, 1), *b = cdata_test(L, 2);

    lua_pushboolean(L, a && b && a->data == b->data);
    return 1;
}

static int cdata_lt(lua_State *L)
{
    lua_pushboolean(L, (uintptr_t)check(L, 1)->data < (uintptr_t)check(L, 2)->data);
    return 1;
}

static int cdata_le(lua_State *L)
{
    lua_pushboolean(L, (uintptr_t)check(L, 1)->data <= (uintptr_t)check(L, 2)->data);
    return 1;
}

/* ---- the rest ---- */

static int cdata_call(lua_State *L)
{
    struct cdata *c = check(L, 1);
    const struct ctype *t = c->type;

    if (t->kind == CTYPE_POINTER && t->elem->kind == CTYPE_FUNCTION)
        t = t->elem;
    if (t->kind != CTYPE_FUNCTION)
        return luaL_error(L, "'%s' cannot be called", ctype_name(L, t, false));
    if (c->callback && !c->closure)
        return luaL_error(L, "the callback is freed");
    return ccall_call(L, (struct ctype *)t, c->data, c->name, 2, true);
}

static int cdata_tostring(lua_State *L)
{
    const struct cdata *c = check(L, 1);

    lua_pushfstring(L, "cdata<%s>: %p", ctype_name(L, c->type, false), (void *)c->data);
    return 1;
}

/* Its object is garbage: the C function that ends it, if there is one, and a callback's closure. */
static int cdata_gc(lua_State *L)
{
    struct cdata *c = check(L, 1), *f;

    if (c->closure)
        callback_free(c);
    if (lua_getiuservalue(L, 1, CDATA_FINALIZER) != LUA_TNIL) {
        f = check(L, -1);
        lua_pushnil(L);
        lua_setiuservalue(L, 1, CDATA_FINALIZER);
        lua_pushvalue(L, 1);
        ccall_call(L, (struct ctype *)(f->type->kind == CTYPE_POINTER ? f->type->elem : f->type), f->data, f->name, 3,
                   false);
    }
    return 0;
}

void cdata_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "__index", cdata_index }, { "__newindex", cdata_newindex }, { "__len", cdata_len },
        { "__add", cdata_add },     { "__sub", cdata_sub },           { "__eq", cdata_eq },
        { "__lt", cdata_lt },       { "__le", cdata_le },             { "__call", cdata_call },
        { NULL, NULL },
    };

    for (int final = 0; final < 2; final++) {
        lua_newtable(L);
        luaL_setfuncs(L, methods, 0);
        lua_pushcfunction(L, cdata_tostring);
        lua_setfield(L, -2, "__tostring");
        if (final) {
            lua_pushcfunction(L, cdata_gc);
            lua_setfield(L, -2, "__gc");
        }
        lua_pushliteral(L, "cdata");
        lua_setfield(L, -2, "__name");
        lua_pushliteral(L, "cdata");
        lua_setfield(L, -2, "__metatable");
        lua_rawsetp(L, LUA_REGISTRYINDEX, final ? &final_key : &plain_key);
    }
}
