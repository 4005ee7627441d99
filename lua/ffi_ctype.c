/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_ctype - the C types of a script: made once each, named for messages, compared, and described to libffi.
 *
 * Runs on the script's thread; what allocates may raise, and holds nothing when it does.
 */
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "lua/ffi_private.h"

#define VALUE_ELEMENTS 4096u /* scalars in a struct that is passed by value */

static const struct {
    const char *name;
    enum ctype_kind kind;
    bool is_signed;
    uint8_t size, align;
} basics[BASICS] = {
    [BASIC_VOID] = { "void", CTYPE_VOID, false, 0, 1 },
    [BASIC_BOOL] = { "bool", CTYPE_BOOL, false, sizeof(bool), _Alignof(bool) },
    [BASIC_CHAR] = { "char", CTYPE_INT, CHAR_MIN < 0, 1, 1 },
    [BASIC_SCHAR] = { "signed char", CTYPE_INT, true, 1, 1 },
    [BASIC_UCHAR] = { "unsigned char", CTYPE_INT, false, 1, 1 },
    [BASIC_SHORT] = { "short", CTYPE_INT, true, sizeof(short), _Alignof(short) },
    [BASIC_USHORT] = { "unsigned short", CTYPE_INT, false, sizeof(short), _Alignof(short) },
    [BASIC_INT] = { "int", CTYPE_INT, true, sizeof(int), _Alignof(int) },
    [BASIC_UINT] = { "unsigned int", CTYPE_INT, false, sizeof(int), _Alignof(int) },
    [BASIC_LONG] = { "long", CTYPE_INT, true, sizeof(long), _Alignof(long) },
    [BASIC_ULONG] = { "unsigned long", CTYPE_INT, false, sizeof(long), _Alignof(long) },
    [BASIC_LLONG] = { "long long", CTYPE_INT, true, sizeof(long long), _Alignof(long long) },
    [BASIC_ULLONG] = { "unsigned long long", CTYPE_INT, false, sizeof(long long), _Alignof(long long) },
    [BASIC_FLOAT] = { "float", CTYPE_FLOAT, true, sizeof(float), _Alignof(float) },
    [BASIC_DOUBLE] = { "double", CTYPE_FLOAT, true, sizeof(double), _Alignof(double) },
};

#define INTEGER_OF(type, is_signed)                                                                                    \
    (sizeof(type) == 1             ? ((is_signed) ? BASIC_SCHAR : BASIC_UCHAR)                                         \
     : sizeof(type) == 2           ? ((is_signed) ? BASIC_SHORT : BASIC_USHORT)                                        \
     : sizeof(type) == sizeof(int) ? ((is_signed) ? BASIC_INT : BASIC_UINT)                                            \
     : sizeof(long) == 8           ? ((is_signed) ? BASIC_LONG : BASIC_ULONG)                                          \
                                   : ((is_signed) ? BASIC_LLONG : BASIC_ULLONG))

static const struct {
    const char *name;
    enum ctype_basic basic;
} typedefs[] = {
    { "int8_t", INTEGER_OF(int8_t, true) },      { "uint8_t", INTEGER_OF(uint8_t, false) },
    { "int16_t", INTEGER_OF(int16_t, true) },    { "uint16_t", INTEGER_OF(uint16_t, false) },
    { "int32_t", INTEGER_OF(int32_t, true) },    { "uint32_t", INTEGER_OF(uint32_t, false) },
    { "int64_t", INTEGER_OF(int64_t, true) },    { "uint64_t", INTEGER_OF(uint64_t, false) },
    { "intptr_t", INTEGER_OF(intptr_t, true) },  { "uintptr_t", INTEGER_OF(uintptr_t, false) },
    { "ptrdiff_t", INTEGER_OF(ptrdiff_t, true) }, { "size_t", INTEGER_OF(size_t, false) },
    { "ssize_t", INTEGER_OF(size_t, true) },     { "wchar_t", INTEGER_OF(wchar_t, WCHAR_MIN < 0) },
};

void ctype_open(lua_State *L, struct ffi_room *room)
{
    int *const refs[] = { &room->tags_ref, &room->names_ref, &room->keep_ref, &room->cache_ref };

    for (size_t i = 0; i < sizeof refs / sizeof refs[0]; i++) {
        lua_newtable(L);
        *refs[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    for (size_t i = 0; i < BASICS; i++) {
        room->basic[i].kind = basics[i].kind;
        room->basic[i].name = basics[i].name;
        room->basic[i].is_signed = basics[i].is_signed;
        room->basic[i].size = basics[i].size;
        room->basic[i].align = basics[i].align;
        room->basic[i].complete = i != BASIC_VOID;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, room->names_ref);
    for (size_t i = 0; i < sizeof typedefs / sizeof typedefs[0]; i++) {
        struct cname *name = util_alloc(L, sizeof *name);

        name->kind = CNAME_TYPE;
        name->type = &room->basic[typedefs[i].basic];
        lua_pushlightuserdata(L, name);
        lua_setfield(L, -2, typedefs[i].name);
    }
    lua_pop(L, 1);
}

struct ctype *ctype_new(lua_State *L, enum ctype_kind kind)
{
    struct ffi_room *room = room_of(L);
    struct ctype *t;

    /* Types are never freed, so a script that makes one for each length would grow for ever. */
    if (room->ntypes >= CTYPE_MAX)
        luaL_error(L, "ffi: over %d types; for lengths that vary there is \"[?]\"", (int)CTYPE_MAX);
    t = util_alloc(L, sizeof *t);
    room->ntypes++;
    t->kind = kind;
    t->align = 1;
    return t;
}

static uint32_t deeper(lua_State *L, const struct ctype *t)
{
    if (t->depth >= CTYPE_DEPTH)
        luaL_error(L, "ffi: types are nested over %d deep", (int)CTYPE_DEPTH);
    return t->depth + 1;
}

struct ctype *ctype_pointer(lua_State *L, struct ctype *t, bool is_const)
{
    struct ctype *p = t->pointers[is_const];
    uint32_t depth;

    if (p)
        return p;
    depth = deeper(L, t);
    p = ctype_new(L, CTYPE_POINTER);
    p->depth = depth;
    p->elem = t;
    p->elem_const = is_const;
    p->size = sizeof(void *);
    p->align = _Alignof(void *);
    p->complete = true;
    t->pointers[is_const] = p;
    return p;
}

struct ctype *ctype_array(lua_State *L, struct ctype *t, bool is_const, uint64_t count)
{
    struct ctype **bucket = &room_of(L)->arrays[(((uintptr_t)t >> 5) + count) % CTYPE_BUCKETS], *a;
    uint32_t depth;

    for (a = *bucket; a; a = a->next)
        if (a->elem == t && a->count == count && a->elem_const == is_const)
            return a;
    if (!t->complete || t->open)
        luaL_error(L, "ffi: an array of '%s', whose size is not known", ctype_name(L, t, false));
    if (count != CTYPE_OPEN && t->size && count > CTYPE_SIZE_MAX / t->size)
        luaL_error(L, "ffi: an array of over %d MiB", (int)(CTYPE_SIZE_MAX >> 20));
    depth = deeper(L, t);
    a = ctype_new(L, CTYPE_ARRAY);
    a->depth = depth;
    a->elem = t;
    a->elem_const = is_const;
    a->count = count;
    a->open = count == CTYPE_OPEN;
    a->size = a->open ? 0 : count * t->size;
    a->align = t->align;
    a->complete = !a->open;
    a->next = *bucket;
    *bucket = a;
    return a;
}

static bool same_parameters(const struct ctype *f, const struct cfield *params, uint32_t n)
{
    if (f->n != n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (f->fields[i].type != params[i].type)
            return false;
    return true;
}

struct ctype *ctype_function(lua_State *L, struct ctype *ret, const struct cfield *params, uint32_t n, bool variadic)
{
    uint32_t depth = deeper(L, ret);
    struct cfield *fields;
    struct ctype *f;

    for (f = ret->functions; f; f = f->next)
        if (f->variadic == variadic && same_parameters(f, params, n))
            return f;
    for (uint32_t i = 0; i < n; i++)
        if (deeper(L, params[i].type) > depth)
            depth = deeper(L, params[i].type);
    fields = util_alloc(L, (n + 1) * sizeof *fields);
    if (n)
        memcpy(fields, params, n * sizeof *fields);
    f = ctype_new(L, CTYPE_FUNCTION);
    f->depth = depth;
    f->elem = ret;
    f->fields = fields;
    f->n = n;
    f->variadic = variadic;
    f->next = ret->functions;
    ret->functions = f;
    return f;
}

const char *ctype_keep(lua_State *L, const char *text, size_t len)
{
    const char *kept;

    lua_rawgeti(L, LUA_REGISTRYINDEX, room_of(L)->keep_ref);
    kept = lua_pushlstring(L, text, len);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TSTRING) { /* long strings are not interned: the first one stands for all */
        kept = lua_tostring(L, -1);
        lua_pop(L, 3);
        return kept;
    }
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return kept;
}

/* ---- names ---- */

static void push_parameters(lua_State *L, const struct ctype *f)
{
    luaL_Buffer b;

    luaL_buffinit(L, &b);
    for (uint32_t i = 0; i < f->n; i++) {
        if (i)
            luaL_addstring(&b, ", ");
        ctype_name(L, f->fields[i].type, false);
        luaL_addvalue(&b);
    }
    if (f->variadic)
        luaL_addstring(&b, f->n ? ", ..." : "...");
    else if (!f->n)
        luaL_addstring(&b, "void");
    luaL_pushresult(&b);
}

/* Replaces the text on top, which stands for a thing of this type, by its declaration. */
static void wrap_name(lua_State *L, const struct ctype *t, bool is_const)
{
    const char *inner = lua_tostring(L, -1);
    const char *space = *inner && *inner != '[' ? " " : "";

    luaL_checkstack(L, 8, "a type");
    if (t->kind == CTYPE_POINTER) {
        bool group = t->elem->kind == CTYPE_ARRAY || t->elem->kind == CTYPE_FUNCTION;

        lua_pushfstring(L, group ? "(*%s%s)" : "*%s%s", is_const ? "const " : "", inner);
        lua_remove(L, -2);
        wrap_name(L, t->elem, t->elem_const);
        return;
    }
    if (t->kind == CTYPE_ARRAY) {
        if (t->count == CTYPE_OPEN)
            lua_pushfstring(L, "%s[?]", inner);
        else
            lua_pushfstring(L, "%s[%I]", inner, (LUAI_UACINT)t->count);
        lua_remove(L, -2);
        wrap_name(L, t->elem, t->elem_const);
        return;
    }
    if (t->kind == CTYPE_FUNCTION) {
        push_parameters(L, t);
        lua_pushfstring(L, "%s(%s)", lua_tostring(L, -2), lua_tostring(L, -1));
        lua_replace(L, -3);
        lua_pop(L, 1);
        wrap_name(L, t->elem, false);
        return;
    }
    lua_pushfstring(L, "%s%s%s%s", is_const ? "const " : "",
                    t->name       ? t->name
                    : t->is_union ? "union"
                                  : "struct",
                    space, inner);
    lua_remove(L, -2);
}

const char *ctype_name(lua_State *L, const struct ctype *t, bool is_const)
{
    lua_pushliteral(L, "");
    wrap_name(L, t, is_const);
    return lua_tostring(L, -1);
}

/* ---- comparing ---- */

static bool scalar_int(const struct ctype *t)
{
    return t->kind == CTYPE_INT || t->kind == CTYPE_ENUM;
}

bool ctype_same(const struct ctype *a, const struct ctype *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case CTYPE_INT:
        return a->size == b->size && a->is_signed == b->is_signed; /* long and long long */
    case CTYPE_POINTER:
        return a->elem_const == b->elem_const && ctype_same(a->elem, b->elem);
    case CTYPE_ARRAY:
        return a->count == b->count && a->elem_const == b->elem_const && ctype_same(a->elem, b->elem);
    case CTYPE_FUNCTION:
        if (a->n != b->n || a->variadic != b->variadic || !ctype_same(a->elem, b->elem))
            return false;
        for (uint32_t i = 0; i < a->n; i++)
            if (!ctype_same(a->fields[i].type, b->fields[i].type))
                return false;
        return true;
    default:
        return false;
    }
}

bool ctype_bytes(const struct ctype *t)
{
    return t->kind == CTYPE_INT && t->size == 1;
}

bool ctype_compatible(const struct ctype *to, const struct ctype *from)
{
    if (to->kind == CTYPE_VOID || from->kind == CTYPE_VOID)
        return to->kind != CTYPE_FUNCTION && from->kind != CTYPE_FUNCTION;
    if (scalar_int(to) && scalar_int(from))
        return to->size == from->size;
    return ctype_same(to, from);
}

/* ---- members ---- */

bool ctype_find(const struct ctype *t, const char *name, struct cfield *found)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->fields[i].name == name) {
            *found = t->fields[i];
            return true;
        }
    for (uint32_t i = 0; i < t->n; i++) {
        const struct cfield *f = &t->fields[i];

        if (f->name && !strcmp(f->name, name)) {
            *found = *f;
            return true;
        }
        if (!f->name && f->type && f->type->kind == CTYPE_STRUCT && ctype_find(f->type, name, found)) {
            found->offset += f->offset;
            found->readonly |= f->readonly;
            return true;
        }
    }
    return false;
}

static void add_names(lua_State *L, const struct ctype *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        if (!t->fields[i].name) {
            add_names(L, t->fields[i].type);
            continue;
        }
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, t->fields[i].name);
    }
}

void ctype_no_field(lua_State *L, const struct ctype *t, const char *name)
{
    luaL_checkstack(L, 8, "a type");
    lua_newtable(L);
    add_names(L, t);
    util_push_suggestion(L, -1, name);
    ctype_name(L, t, false);
    luaL_error(L, "'%s' has no member %s%s", lua_tostring(L, -1), name, lua_tostring(L, -2));
}

/* ---- for libffi ---- */

static uint64_t count_scalars(const struct ctype *t)
{
    uint64_t n = 0;

    if (t->kind == CTYPE_ARRAY) {
        n = t->count > VALUE_ELEMENTS ? VALUE_ELEMENTS + 1 : t->count * count_scalars(t->elem);
    } else if (t->kind == CTYPE_STRUCT) {
        for (uint32_t i = 0; i < t->n && n <= VALUE_ELEMENTS; i++)
            n += count_scalars(t->fields[i].type);
    } else {
        return 1;
    }
    return n > VALUE_ELEMENTS ? VALUE_ELEMENTS + 1 : n;
}

static const char *no_value_inside(const struct ctype *t)
{
    const char *why = NULL;

    if (t->kind == CTYPE_ARRAY)
        return t->count ? no_value_inside(t->elem) : "an array of no elements has no calling convention";
    if (t->kind != CTYPE_STRUCT)
        return NULL;
    if (t->is_union)
        return "unions by value are not supported";
    if (t->packed)
        return "packed structs by value are not supported";
    for (uint32_t i = 0; i < t->n && !why; i++)
        why = no_value_inside(t->fields[i].type);
    return why;
}

const char *ctype_no_value(const struct ctype *t)
{
    if (t->kind != CTYPE_STRUCT)
        return t->kind == CTYPE_ARRAY || t->kind == CTYPE_FUNCTION ? "it has no value that could be passed" : NULL;
    if (!t->complete)
        return "the struct is not defined";
    if (t->open)
        return "a struct that ends in an open array cannot be passed by value";
    if (!t->size)
        return "an empty struct has no calling convention";
    if (count_scalars(t) > VALUE_ELEMENTS)
        return "the struct is too large to be passed by value";
    return no_value_inside(t);
}

static ffi_type *integer_ffi(const struct ctype *t)
{
    switch (t->size) {
    case 1:
        return t->is_signed ? &ffi_type_sint8 : &ffi_type_uint8;
    case 2:
        return t->is_signed ? &ffi_type_sint16 : &ffi_type_uint16;
    case 4:
        return t->is_signed ? &ffi_type_sint32 : &ffi_type_uint32;
    default:
        return t->is_signed ? &ffi_type_sint64 : &ffi_type_uint64;
    }
}

/* libffi knows no arrays: their elements one by one are the same to every calling convention. */
static void add_elements(lua_State *L, struct ctype *t, ffi_type **elements, size_t *n)
{
    if (t->kind == CTYPE_ARRAY) {
        for (uint64_t i = 0; i < t->count; i++)
            add_elements(L, t->elem, elements, n);
    } else {
        elements[(*n)++] = ctype_ffi(L, t);
    }
}

static ffi_type *struct_ffi(lua_State *L, struct ctype *t)
{
    ffi_type *f = util_alloc(L, sizeof *f);
    size_t n = 0;

    f->type = FFI_TYPE_STRUCT;
    f->elements = util_alloc(L, (size_t)(count_scalars(t) + 1) * sizeof *f->elements);
    for (uint32_t i = 0; i < t->n; i++)
        add_elements(L, t->fields[i].type, f->elements, &n);
    if (ffi_get_struct_offsets(FFI_DEFAULT_ABI, f, NULL) != FFI_OK || f->size != t->size || f->alignment != t->align)
        luaL_error(L, "'%s' cannot be passed by value: libffi lays it out in another way", ctype_name(L, t, false));
    return f;
}

ffi_type *ctype_ffi(lua_State *L, struct ctype *t)
{
    switch (t->kind) {
    case CTYPE_VOID:
        return &ffi_type_void;
    case CTYPE_BOOL:
        return &ffi_type_uint8;
    case CTYPE_INT:
    case CTYPE_ENUM:
        return integer_ffi(t);
    case CTYPE_FLOAT:
        return t->size == sizeof(float) ? &ffi_type_float : &ffi_type_double;
    case CTYPE_POINTER:
        return &ffi_type_pointer;
    default:
        if (ctype_no_value(t))
            luaL_error(L, "'%s' cannot be passed by value: %s", ctype_name(L, t, false), ctype_no_value(t));
        if (!t->ffi)
            t->ffi = struct_ffi(L, t);
        return t->ffi;
    }
}
